//! Real etcd on this machine's loopback: one member or several, at ports that the kernel chooses, with data in memory. All of
//! it ends with the fixture.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of etcd.
pub struct Etcd {
    dir: tempfile::TempDir,
    members: Vec<Member>,
    flags: Vec<String>,
    scheme: &'static str,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Etcd {
    /// So many members that answer, with the timing of the preset `fast`.
    pub fn of(members: usize) -> Etcd {
        Etcd::with(members, "http", &[])
    }

    /// The same with more flags for each; `{dir}` in one is a directory of the fixture's own, made by `prepare`.
    pub fn with(members: usize, scheme: &'static str, flags: &[&str]) -> Etcd {
        Etcd::prepared(members, scheme, flags, |_| {})
    }

    /// The same after `prepare` has written what the flags name.
    pub fn prepared(members: usize, scheme: &'static str, flags: &[&str], prepare: impl Fn(&Path)) -> Etcd {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new()
            .prefix("woodward-etcd")
            .tempdir_in(place)
            .expect("a temporary directory can be made");
        prepare(dir.path());
        let files = dir.path().display().to_string();
        let flags = flags.iter().map(|flag| flag.replace("{dir}", &files)).collect();
        // All at once, so that no port comes twice.
        let ports: Vec<_> =
            (0..2 * members).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect();
        let port = |at: usize| ports[at].local_addr().expect("a listener has an address").port();
        let members = (0..members)
            .map(|at| Member { client: port(2 * at), peer: port(2 * at + 1), process: None })
            .collect();
        drop(ports);
        let mut etcd = Etcd { dir, members, flags, scheme };
        for at in 0..etcd.members.len() {
            etcd.start(at);
        }
        for at in 0..etcd.members.len() {
            etcd.wait_for(at);
        }
        etcd
    }

    /// What [`Etcd::prepared`] has written.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Addresses of all members.
    pub fn urls(&self) -> Vec<String> {
        (0..self.members.len()).map(|at| self.url(at)).collect()
    }

    /// Address of one.
    pub fn url(&self, at: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.members[at].client)
    }

    /// Starts a member; it goes on with the data it has.
    pub fn start(&mut self, at: usize) {
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer);
        let all: Vec<String> =
            self.members.iter().enumerate().map(|(at, member)| format!("m{at}={}", peer(member))).collect();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("m{at}.log")))
            .expect("a log can be made");
        let process = Command::new("etcd")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .arg("--name")
            .arg(format!("m{at}"))
            .arg("--data-dir")
            .arg(self.dir.path().join(format!("m{at}")))
            .args(["--listen-client-urls", &self.url(at), "--advertise-client-urls", &self.url(at)])
            .args(["--listen-peer-urls", &peer(&self.members[at])])
            .args(["--initial-advertise-peer-urls", &peer(&self.members[at])])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-token", &all[0]])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd is installed (apt install etcd-server)");
        self.members[at].process = Some(process);
    }

    /// Waits until a member takes part.
    pub fn wait_for(&self, at: usize) {
        let url = self.url(at);
        let begun = Instant::now();
        while !self.asked(&[&url], &["endpoint", "health"]).status.success() {
            if begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.dir.path().join(format!("m{at}.log")));
                panic!("etcd did not come up:\n{}", log.unwrap_or_default());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut process) = self.members[at].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// SIGSTOP: its connections stay open and say nothing.
    pub fn freeze(&self, at: usize) {
        self.signal(at, libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self, at: usize) {
        self.signal(at, libc::SIGCONT);
    }

    fn signal(&self, at: usize, signal: i32) {
        let process = self.members[at].process.as_ref().expect("the member runs");
        let pid = nix::unistd::Pid::from_raw(process.id().try_into().expect("a pid is small"));
        let signal = nix::sys::signal::Signal::try_from(signal).expect("it is a signal");
        nix::sys::signal::kill(pid, signal).expect("a child can be signalled");
    }

    /// Which member leads; asked of those that run.
    pub fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            for (at, member) in self.members.iter().enumerate().filter(|(_, m)| m.process.is_some()) {
                let said = self.asked(&[&self.url(at)], &["endpoint", "status", "-w", "json"]);
                let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
                let status = &said[0]["Status"];
                if status["leader"].is_u64() && status["leader"] == status["header"]["member_id"] {
                    return at;
                }
                let _ = member;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            sleep(Duration::from_millis(50));
        }
    }

    /// What `etcdctl ARGS` says, asked of all members; it must succeed.
    pub fn ctl(&self, args: &[&str]) -> String {
        let urls = self.urls();
        let said = self.asked(&urls.iter().map(String::as_str).collect::<Vec<_>>(), args);
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "etcdctl {args:?}: {errors}");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// `etcdctl ARGS`, whatever it says.
    pub fn asked(&self, urls: &[&str], args: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(urls.join(","));
        if self.scheme == "https" {
            command.arg("--cacert").arg(self.file("ca.pem"));
            command.arg("--cert").arg(self.file("client.pem")).arg("--key").arg(self.file("client.key"));
        }
        command
            .args(["--dial-timeout", "2s", "--command-timeout", "5s"])
            .args(args)
            .output()
            .expect("etcdctl is installed (apt install etcd-client)")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}
