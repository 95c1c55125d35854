//! `woodward cluster` on real nodes: several daemons on this machine, each with its own name, and one real etcd.

use std::fs;
use std::process::Output;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, kill};
use crate::etcd::Etcd;
use crate::survival::engine_room;

/// Two nodes may run it, best first; it gives up after its second crash.
fn tree(id: &str, nodes: &[&str]) -> String {
    let nodes: Vec<String> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
    format!(
        "id = \"{id}\"\nintensity = 1\nperiod = \"1m\"\n\
         [failover]\nnodes = [{}]\ngate = false\nfailback = \"never\"\n\
         [[child]]\nid = \"web\"\ncommand = [\"sh\", \"-c\", \"echo up; exec sleep 1000\"]\n\
         ready = {{ log = \"up\" }}\nbackoff = false\n",
        nodes.join(", ")
    )
}

/// Nodes and their register.
struct Site {
    nodes: Vec<(&'static str, Bed)>,
    trees: Vec<(&'static str, String)>,
    etcd: Etcd,
}

impl Site {
    /// These trees on these nodes, all up.
    fn up(nodes: &[&'static str], trees: &[(&'static str, &[&str])]) -> Site {
        let etcd = Etcd::of(1);
        let trees = trees.iter().map(|(id, nodes)| (*id, tree(id, nodes))).collect();
        let nodes = nodes.iter().map(|node| (*node, Bed::new())).collect();
        let mut site = Site { nodes, trees, etcd };
        let names: Vec<&str> = site.nodes.iter().map(|(name, _)| *name).collect();
        names.iter().for_each(|name| site.start(name));
        site.wait("all groups to be up", |sheet| {
            let groups = sheet["groups"].as_array().expect("an array");
            let up = groups.iter().filter(|group| group["phase"] == "active").count();
            up == site.trees.len()
                && sheet["nodes"]
                    .as_array()
                    .is_some_and(|all| all.iter().all(|node| node["state"] == "alive"))
        });
        site.nodes.iter().for_each(|(name, _)| site.wait_until_it_hears_all(name));
        site
    }

    /// Until a node has seen the beats of all others change: before, it does not rely on them.
    fn wait_until_it_hears_all(&self, node: &str) {
        let silent = || -> Vec<(String, Option<u64>)> {
            let sheet = self.sheet_of(node);
            let nodes = sheet["nodes"].as_array().cloned().unwrap_or_default();
            let others = nodes.iter().filter(|other| other["name"] != node);
            others.map(|other| (other["name"].to_string(), other["silent"].as_u64())).collect()
        };
        let end = Instant::now() + Duration::from_secs(60);
        let mut before = silent();
        while before.iter().any(|(_, silent)| *silent != Some(0)) {
            assert!(Instant::now() < end, "{node} does not hear {before:?}");
            sleep(Duration::from_millis(20));
            for ((_, before), (_, now)) in before.iter_mut().zip(silent()) {
                // Less than a moment ago: a beat was seen in between. It is remembered as no silence.
                let heard = *before == Some(0) || before.zip(now).is_some_and(|(before, now)| now < before);
                *before = if heard { Some(0) } else { now.map(|now| now.max(1)) };
            }
        }
    }

    fn start(&mut self, node: &str) {
        let (url, trees) = (self.etcd.url(0), self.trees.clone());
        let (_, bed) = self.nodes.iter_mut().find(|(name, _)| *name == node).expect("a node");
        bed.settings(&format!("node = \"{node}\"\netcd = [\"{url}\"]\n"));
        let files: Vec<_> = trees.iter().map(|(id, text)| bed.write(&format!("{id}.toml"), text)).collect();
        bed.run(&files);
    }

    fn bed(&self, node: &str) -> &Bed {
        &self.nodes.iter().find(|(name, _)| *name == node).expect("a node").1
    }

    /// `woodward cluster ARGS` on a node.
    fn cluster(&self, node: &str, args: &[&str]) -> Output {
        let args: Vec<&str> = ["cluster"].iter().chain(args).copied().collect();
        self.bed(node).client(&args)
    }

    /// What it prints, and its exit code.
    fn said(&self, node: &str, args: &[&str]) -> (String, Option<i32>) {
        let output = self.cluster(node, args);
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.code())
    }

    /// The sheet of the last node, which the tests leave alone.
    fn sheet(&self) -> Value {
        let (node, _) = self.nodes.last().expect("a node");
        self.sheet_of(node)
    }

    fn sheet_of(&self, node: &str) -> Value {
        let output = self.cluster(node, &["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn wait(&self, what: &str, good: impl Fn(&Value) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        let known = || Some(self.sheet()).filter(Value::is_object);
        while !known().is_some_and(|sheet| good(&sheet)) {
            let logs = || self.nodes.iter().map(|(name, bed)| format!("{name}:\n{}", bed.output()));
            assert!(
                Instant::now() < end,
                "waited for {what}\n{:#}\n{}",
                self.sheet(),
                logs().collect::<String>()
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// Where a group is up.
    fn home(&self, group: &str) -> Option<String> {
        let sheet = self.sheet();
        let part = sheet["groups"].as_array()?.iter().find(|part| part["group"] == group)?;
        (part["phase"] == "active").then(|| part["node"].as_str().map(str::to_owned))?
    }

    /// Crashes the service of a group until the tree has given up on its node.
    fn crash(&self, group: &str, node: &str) {
        let path = format!("{group}/web");
        for _ in 0..2 {
            let pid = self.bed(node).pid(&path);
            kill(pid, libc::SIGKILL);
            self.bed(node).wait("the crash to be seen", |bed| {
                bed.status().iter().all(|row| row["path"] != *path || row["pid"] != pid)
            });
            if self.home(group).as_deref() != Some(node) {
                return;
            }
            sleep(Duration::from_millis(20));
            self.bed(node).wait("its restart, or the end of its tree", |bed| {
                let rows = bed.status();
                let row = rows.iter().find(|row| row["path"] == *path);
                row.is_none_or(|row| row["state"] == "up" || row["state"] == "stopped")
            });
        }
    }

    /// The record of a node, in a file.
    fn record(&self, node: &str) -> String {
        let text = self.bed(node).ask(&["events", "--since", "1d", "--json"]);
        self.bed(node).write("record.jsonl", &text).display().to_string()
    }

    fn stop(self) {
        for (_, bed) in self.nodes {
            bed.stop();
        }
    }
}

#[test]
fn groups_are_moved_and_drained_by_word_and_the_records_prove_it() {
    let site = Site::up(&["n1", "n2", "n3"], &[("acs", &["n1", "n2"]), ("grid", &["n2", "n1"])]);
    assert_eq!((site.home("acs").as_deref(), site.home("grid").as_deref()), (Some("n1"), Some("n2")));

    let (text, code) = site.said("n3", &["move", "acs", "-m", "new disk"]);
    assert_eq!(code, Some(0), "{text}");
    // How long it was without service is said if it was long enough to be seen.
    assert!(text.contains("acs is on n2, epoch "), "{text}");
    assert_eq!(site.home("acs").as_deref(), Some("n2"));
    let (text, code) = site.said("n1", &["move", "acs", "n2"]);
    assert_eq!((text.contains("acs is on n2 already"), code), (true, Some(1)), "{text}");
    let (text, code) = site.said("n1", &["move", "asc"]);
    assert_eq!((text.contains("did you mean acs?"), code), (true, Some(64)), "{text}");
    let (text, _) = site.said("n2", &["why", "acs"]);
    assert!(text.starts_with("acs is on n2: moved by ") && text.contains("\"new disk\""), "{text}");
    assert!(text.contains("not on n1: it could run there"), "{text}");
    // A node on which it is not says where it is.
    assert!(site.bed("n1").ask(&["status"]).contains("acs: on n2 for "));
    assert!(site.bed("n1").ask(&["status", "acs/web"]).starts_with("acs: on n2 for "));

    let (text, code) = site.said("n1", &["drain", "n2"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!((site.home("acs").as_deref(), site.home("grid").as_deref()), (Some("n1"), Some("n1")));
    let (text, code) = site.said("n1", &["move", "acs", "n2"]);
    assert_eq!((text.contains("n2 cannot run acs: drained by "), code), (true, Some(1)), "{text}");
    assert_eq!(site.said("n1", &["undrain", "n2"]).1, Some(0));
    assert_eq!(site.said("n1", &["move", "grid", "n2"]).1, Some(0));

    assert_eq!(site.said("n1", &["maintenance", "on", "-m", "kernel"]).1, Some(0));
    assert!(site.said("n2", &["status"]).0.contains("maintenance by "));
    assert_eq!(site.said("n1", &["maintenance", "off"]).1, Some(0));
    assert!(!site.said("n2", &["status"]).0.contains("maintenance by "));

    // What was done in order is proved by the records alone; a forged end is found.
    let (one, two) = (site.record("n1"), site.record("n2"));
    let (text, code) = site.said("n3", &["audit", &one, &two]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("no two overlapped") && text.contains("by cause"), "{text}");
    let sockets: Vec<String> = site.nodes.iter().map(|(_, bed)| bed.socket().display().to_string()).collect();
    let (live, code) = site.said("n3", &["audit", "--node", &sockets[0], "--node", &sockets[1]]);
    assert_eq!((live, code), (text, Some(0)));
    let forged: Vec<String> = fs::read_to_string(&one)
        .expect("the record")
        .lines()
        .filter(|line| !(line.contains("\"group_given\"") && line.contains("\"from\":\"n1\"")))
        .map(|line| {
            let mut fact: Value = serde_json::from_str(line).expect("a fact");
            if fact["kind"] == "group_down" {
                fact["at"] = (fact["at"].as_u64().expect("a time") + 3000).into();
            }
            fact.to_string()
        })
        .collect();
    let forged = site.bed("n1").write("forged.jsonl", &forged.join("\n")).display().to_string();
    let (text, code) = site.said("n3", &["audit", &forged, &two]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("OVERLAP: epoch "), "{text}");
    site.stop();
}

#[test]
fn what_if_says_what_then_happens() {
    let mut site = Site::up(
        &["n1", "n2", "n3"],
        &[("acs", &["n1", "n2"]), ("grid", &["n1", "n3", "n2"]), ("db", &["n1"])],
    );
    let output = site.cluster("n3", &["what-if", "kill", "n1", "--json"]);
    let foretold: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let of = |group: &str, key: &str| {
        let all = foretold.as_array().expect("an array");
        all.iter().find(|one| one["group"] == group).expect("it is foretold")[key].clone()
    };
    assert_eq!((of("acs", "to"), of("grid", "to"), of("db", "to")), ("n2".into(), "n3".into(), Value::Null));
    assert!(of("acs", "predicted").as_u64().is_some_and(|ms| ms >= 3000), "{foretold}");
    let (text, _) = site.said("n3", &["what-if", "kill", "n1"]);
    assert!(text.contains("db    n1  stays down"), "{text}");
    assert_eq!(site.said("n3", &["what-if", "kill", "nobody"]).1, Some(64));

    // Nothing was done by asking.
    assert_eq!(site.home("acs").as_deref(), Some("n1"));
    let (_, bed) = &mut site.nodes[0];
    let daemon = engine_room(bed).expect("a daemon runs");
    let keeper = bed.daemon();
    kill(daemon, libc::SIGSTOP);
    kill(keeper, libc::SIGKILL);
    kill(daemon, libc::SIGKILL);
    bed.wait_for_the_end();
    site.wait("the others to have what they were foretold", |_| {
        site.home("acs").as_deref() == Some("n2") && site.home("grid").as_deref() == Some("n3")
    });
    let sheet = site.sheet();
    let db = sheet["groups"].as_array().expect("an array").iter().find(|part| part["group"] == "db");
    assert_ne!(db.expect("it is known")["phase"], "active");
    // The dead node has recorded no end: nobody calls that proved.
    site.start("n1");
    site.wait("db to be back with its node", |_| site.home("db").is_some());
    let (one, two) = (site.record("n1"), site.record("n2"));
    let (text, code) = site.said("n3", &["audit", &one, &two, "--group", "acs"]);
    assert_eq!((text.contains("not proved: epoch "), code), (true, Some(2)), "{text}");
    site.stop();
}

#[test]
fn a_group_that_no_node_can_run_waits_for_a_person() {
    let site = Site::up(&["n1", "n2"], &[("acs", &["n1", "n2"])]);
    site.crash("acs", "n1");
    site.wait("the other node", |_| site.home("acs").as_deref() == Some("n2"));
    let (text, _) = site.said("n2", &["status"]);
    assert!(text.contains("avoids n1 for ") && text.contains("it gave up"), "{text}");
    site.crash("acs", "n2");
    site.wait("nobody to have it", |sheet| sheet["groups"][0]["node"].is_null());
    let (text, _) = site.said("n1", &["why", "acs"]);
    assert!(text.starts_with("acs is on no node: no node is able: n1: gave up there"), "{text}");
    let (text, code) = site.said("n1", &["forgive", "acs", "n1"]);
    assert_eq!(code, Some(0), "{text}");
    site.wait("the forgiven node", |_| site.home("acs").as_deref() == Some("n1"));

    // Stopped by a person it stays down, until a person starts it.
    assert!(site.bed("n1").client(&["stop", "acs"]).status.success());
    site.wait("nobody to have it", |sheet| sheet["groups"][0]["node"].is_null());
    let (text, code) = site.said("n2", &["start", "acs"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("acs is on n1, epoch ") || text.contains("acs is on n2, epoch "), "{text}");
    site.stop();
}
