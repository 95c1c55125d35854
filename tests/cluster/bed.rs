//! Hosts of `tests/cluster-bed`, under a name of their own; taken down whatever becomes of the test.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::bed::{program, repository};

/// The members; `c1` is a client outside, with the witness's door to the network.
pub const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(150);

/// Hosts. Dropping it takes everything down.
pub struct Bed {
    name: String,
}

/// What the witness says of a group.
#[derive(Debug, Deserialize)]
pub struct Judged {
    pub group: String,
    pub writes: u64,
    /// Times in which two hosts worked at once.
    pub overlaps: u64,
    /// Writes with a token lower than one seen before.
    pub stale: u64,
    /// Of these those at the instant of waking, which are not counted in `stale`.
    pub waking: u64,
    /// Host, token, first and last write (seconds since 1970), how many.
    pub spans: Vec<(String, u64, f64, f64, u64)>,
}

/// One piece of work, as the witness saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub at: f64,
    pub host: String,
    pub token: u64,
}

impl Bed {
    /// Three hosts and a client; nothing runs on them yet.
    pub fn up(name: &str) -> Bed {
        let bed = Bed { name: format!("{name}-{}", std::process::id()) };
        let program = program().canonicalize().expect("the program is built");
        let beside = program.parent().expect("a program is in a directory");
        let share = [repository(""), beside.to_owned()];
        let share = share.iter().flat_map(|path| ["--share".to_owned(), path.display().to_string()]);
        let args: Vec<String> = ["up".to_owned(), "--fresh".to_owned()].into_iter().chain(share).collect();
        bed.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        bed
    }

    /// A command of the bed; it must succeed.
    pub fn run(&self, args: &[&str]) -> String {
        let out = self.command(args).output().expect("the bed's program can be started");
        assert!(out.status.success(), "bed {args:?}: {}", said(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Runs a program in a host and waits for it.
    pub fn exec(&self, host: &str, command: &[&str]) -> Output {
        let args = [&["exec", host, "--"], command].concat();
        self.command(&args).output().expect("the bed's program can be started")
    }

    /// The same by a shell.
    pub fn shell(&self, host: &str, script: &str) -> Output {
        self.exec(host, &["sh", "-c", script])
    }

    /// Writes a file in a host, and the directories it is in.
    pub fn write(&self, host: &str, path: &str, text: &str) {
        let script = "mkdir -p \"$(dirname \"$1\")\" && cat > \"$1\"";
        let mut command = self.command(&["exec", host, "--", "sh", "-c", script, "-", path]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the bed's program can be started");
        child.stdin.take().expect("it has a pipe").write_all(text.as_bytes()).expect("it reads");
        assert!(child.wait_with_output().expect("it ends").status.success(), "{path} of {host}");
    }

    /// Starts a program in the background of a host, and again at each power-on.
    pub fn spawn(&self, host: &str, name: &str, options: &[&str], command: &[&str]) {
        self.run(&[&["spawn", host, name, "--enable"], options, &["--"], command].concat());
    }

    /// Starts one once.
    pub fn spawn_once(&self, host: &str, name: &str, command: &[&str]) {
        self.run(&[&["spawn", host, name, "--"], command].concat());
    }

    /// etcd on all members, with 50 ms and 500 ms.
    pub fn etcd(&self) {
        self.run(&["etcd", "start", "--heartbeat", "50", "--election", "500", "--quota", "16000000"]);
    }

    /// Who leads etcd.
    pub fn leader(&self) -> String {
        self.run(&["etcd", "leader", "--wait", "60"]).trim().to_owned()
    }

    /// Makes this host etcd's leader.
    pub fn lead(&self, host: &str) {
        self.wait(&format!("{host} to lead etcd"), |bed| {
            let script = "export ETCDCTL_API=3; e=http://127.0.0.1:2379; \
                          id=$(etcdctl --endpoints=$e endpoint status | cut -d, -f2 | tr -d ' ')\n\
                          for h in h1 h2 h3; do etcdctl --command-timeout=2s --endpoints=http://$h:2379 move-leader $id && break; done";
            bed.shell(host, script);
            bed.leader() == host
        });
    }

    /// Every etcd answers.
    pub fn all_of_etcd(&self) -> bool {
        self.run(&["etcd", "status"]).matches("etcd:leader").count() == 1
            && self.run(&["etcd", "status"]).matches("etcd:follower").count() == HOSTS.len() - 1
    }

    /// What the witness has seen since then (seconds since 1970).
    pub fn verdict(&self, since: f64) -> Vec<Judged> {
        let out = self.command(&["verdict", "--json", "--since", &since.to_string()]).output();
        let out = out.expect("the bed's program can be started");
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&out)))
    }

    /// The last work of a group.
    pub fn last(&self, group: &str) -> Option<Work> {
        let mut file = fs::File::open(self.file("witness.log")).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(1 << 16))).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        text.lines().rev().find_map(|line| {
            let mut words = line.split(' ');
            let at = words.next()?.parse().ok()?;
            (words.next()? == group).then_some(())?;
            Some(Work { at, host: words.next()?.to_owned(), token: words.next()?.parse().ok()? })
        })
    }

    /// The host that works on a group, if it did so within the last half second.
    pub fn active(&self, group: &str) -> Option<Work> {
        self.last(group).filter(|work| now() - work.at < 0.5)
    }

    /// What was done to the hosts, one event a line.
    pub fn events(&self) -> String {
        fs::read_to_string(self.file("events.jsonl")).unwrap_or_default()
    }

    /// Waits until there is an answer; fails with what it waited for and what all hosts said.
    pub fn wait<A: Answer>(&self, what: &str, ask: impl Fn(&Bed) -> A) -> A::Of {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self).answer() {
                return answer;
            }
            assert!(Instant::now() < end, "waited in vain for {what}\n{}", self.report());
            sleep(Duration::from_millis(50));
        }
    }

    /// What happened and what the daemons said of it.
    pub fn report(&self) -> String {
        let events = self.events();
        let events: Vec<&str> = events.lines().rev().take(20).collect();
        let mut text = events.into_iter().rev().collect::<Vec<_>>().join("\n");
        for host in HOSTS {
            let out = self.shell(host, "tail -n 40 /var/log/bed/woodward.log");
            text += &format!("\n--- {host}\n{}", String::from_utf8_lossy(&out.stdout));
        }
        text
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new("/run/cluster-bed").join(&self.name).join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(repository("tests/cluster-bed/bed"));
        command.args(args).env("CLUSTER_BED", &self.name).stdin(Stdio::null());
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let out = self.command(&["down"]).output();
        if !out.as_ref().is_ok_and(|out| out.status.success()) && !std::thread::panicking() {
            panic!("the bed {} was not taken down: {out:?}", self.name);
        }
    }
}

/// What can be waited for: that something holds, or a value.
pub trait Answer {
    type Of;
    fn answer(self) -> Option<Self::Of>;
}

impl Answer for bool {
    type Of = ();
    fn answer(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Answer for Option<T> {
    type Of = T;
    fn answer(self) -> Option<T> {
        self
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs_f64()
}

fn said(out: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", out.status, text(&out.stdout), text(&out.stderr))
}
