//! Woodward on three hosts, etcd on each, and groups that write to the witness.

use std::process::Output;

use super::bed::{Bed, HOSTS};
use crate::bed::{program, repository};

/// How soon things happen on a site.
pub enum Rhythm {
    /// `fast`.
    Fast,
    /// The same, with a wall clock that can be moved.
    FastOwnClock,
    /// Long enough for a daemon to come back on a busy machine.
    Patient,
}

/// Three hosts with everything on them.
pub struct Site {
    pub bed: Bed,
    groups: Vec<String>,
    own_clock: bool,
}

impl Site {
    /// Groups of these names, each with all hosts as its nodes, the first group on h1, the second on h2, ...; up and at work.
    pub fn up(name: &str, groups: &[&str], rhythm: &Rhythm) -> Site {
        let bed = Bed::up(name);
        bed.etcd();
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let site = Site { bed, groups, own_clock: matches!(rhythm, Rhythm::FastOwnClock) };
        for host in HOSTS {
            site.furnish(host, rhythm);
            site.start(host);
        }
        site.wait_for_work();
        site
    }

    /// The files of a host: settings, trees, the program whose exec can be made to hang.
    fn furnish(&self, host: &str, rhythm: &Rhythm) {
        let etcd = HOSTS.map(|host| format!("\"http://{host}:2379\"")).join(", ");
        self.bed.write(host, "/etc/woodward/woodward.toml", &format!("etcd = [{etcd}]\n"));
        for (n, group) in self.groups.iter().enumerate() {
            let path = format!("/etc/woodward/trees/{group}.toml");
            self.bed.write(host, &path, &tree(group, n, rhythm));
        }
        self.bed.write(host, "/usr/local/bin/worker", "#!/bin/sh\nexec sleep 100000\n");
        self.bed.shell(host, "chmod 755 /usr/local/bin/worker");
    }

    /// Starts woodward on a host, now and at each power-on.
    pub fn start(&self, host: &str) {
        let program = program().canonicalize().expect("the program is built");
        let program = program.to_str().expect("a path in UTF-8");
        let clock: &[&str] = if self.own_clock { &["--clock"] } else { &[] };
        self.bed.spawn(host, "woodward", clock, &[program, "run"]);
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }

    /// Every group is at work somewhere.
    pub fn works(&self) -> bool {
        self.groups().all(|group| self.bed.active(group).is_some())
    }

    /// Waits until every group is at work somewhere.
    pub fn wait_for_work(&self) {
        self.bed.wait("every group to be at work", |_| self.works());
    }

    /// Who works on a group; waits until somebody does.
    pub fn owner(&self, group: &str) -> String {
        self.bed.wait(&format!("somebody to work on {group}"), |bed| bed.active(group)).host
    }

    /// Number of the keeper of a host.
    pub fn keeper(&self, host: &str) -> i32 {
        let out = self.bed.shell(host, "cat /run/bed/pids/woodward");
        number(&out).unwrap_or_else(|| panic!("no keeper on {host}: {out:?}"))
    }

    /// Number of the daemon of a host, if there is one now.
    pub fn daemon(&self, host: &str) -> Option<i32> {
        // The keeper has made it; its command line has the hidden verb.
        let script = "pgrep -P $(cat /run/bed/pids/woodward) -f 'woodward daemon'";
        number(&self.bed.shell(host, script))
    }

    /// Numbers of the processes of a group that write to the witness, on a host.
    pub fn writers(&self, host: &str, group: &str) -> Vec<i32> {
        let out = self.bed.exec(host, &["pgrep", "-f", &format!("^[^ ]*python3 .*/probe {group}$")]);
        String::from_utf8_lossy(&out.stdout).split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Starts woodward again where its keeper has ended.
    pub fn revive(&self, host: &str) {
        if !self.bed.shell(host, "kill -0 $(cat /run/bed/pids/woodward)").status.success() {
            self.start(host);
        }
    }

    /// A signal to the keeper or the daemon.
    pub fn signal(&self, host: &str, signal: &str, pid: i32) {
        self.bed.exec(host, &["kill", &format!("-{signal}"), &pid.to_string()]);
    }
}

/// A tree whose services misbehave where a file in /run/mischief tells them to.
fn tree(group: &str, n: usize, rhythm: &Rhythm) -> String {
    let mut nodes = HOSTS.map(|host| format!("{host:?}"));
    nodes.rotate_left(n % HOSTS.len());
    let timing = match rhythm {
        Rhythm::Fast | Rhythm::FastOwnClock => "\"fast\"",
        Rhythm::Patient => "{ beat = \"500ms\", hold = \"15s\", wait = \"18s\" }",
    };
    format!(
        r#"id        = "{group}"
intensity = 2
period    = "1m"

[failover]
nodes           = [{nodes}]
timing          = {timing}
address         = ["10.77.0.{address}/24 dev eth0"]
failback        = "manual"
failure_timeout = "20s"
isolate         = "pid"

[[child]]
id          = "writer"
command     = ["{probe}", "{group}"]
environment = {{ PROBE_SINK = "c1:7070", PROBE_PORT = "{port}" }}

[[child]]
id      = "worker"
command = ["/usr/local/bin/worker"]

# Ends badly while there is a reason.
[[child]]
id      = "moody"
command = ["sh", "-c", "while [ ! -e /run/mischief/{group}.bad ]; do sleep 0.2; done; exit 1"]
backoff = false

# As many processes as it may have, each busy making more.
[[child]]
id      = "bomb"
user    = "nobody"
limits  = {{ nproc = 200 }}
command = ["sh", "-c", "while [ ! -e /run/mischief/{group}.bomb ]; do sleep 0.2; done; exec {bomb}"]
"#,
        nodes = nodes.join(", "),
        address = 200 + n,
        port = 7800 + n,
        probe = repository("tests/cluster-bed/probe").display(),
        bomb = repository("tests/cluster-bed/bomb").display(),
    )
}

fn number(out: &Output) -> Option<i32> {
    String::from_utf8_lossy(&out.stdout).split_whitespace().next()?.parse().ok()
}
