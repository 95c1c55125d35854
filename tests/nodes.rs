//! Nodes of a cluster as real `woodward run` processes side by side, each with places of its own, and a real etcd. No
//! network is between them, and no host dies: that is tried in the bed (`cluster`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bed::{Bed, kill, lives};
use crate::etcd::Etcd;

/// Two services, the first of which says who it is.
const GROUP: &str = r#"
id = "g"
intensity = 1
period = "1m"
[failover]
nodes = ["n0", "n1", "n2"]
timing = "fast"
gate = false
failback = "manual"
[[child]]
id = "a"
command = "sh -c 'echo $WOODWARD_NODE $WOODWARD_GROUP $FENCING_TOKEN $(cat $FENCING_TOKEN_FILE) >> ${OUT}; exec sleep 1000'"
[[child]]
id = "b"
command = "sleep 1000"
"#;

struct Nodes {
    etcd: Etcd,
    nodes: Vec<Bed>,
    shared: tempfile::TempDir,
    tree: String,
    failing: bool,
}

impl Nodes {
    /// So many nodes that have joined; the first one has the group.
    fn of(count: usize) -> Nodes {
        Nodes::with(count, GROUP)
    }

    fn with(count: usize, tree: &str) -> Nodes {
        Nodes::made(count, tree, false)
    }

    fn made(count: usize, tree: &str, failing: bool) -> Nodes {
        let shared = tempfile::tempdir().expect("a temporary directory can be made");
        let tree = tree.replace("${OUT}", &shared.path().join("out").display().to_string());
        let tree = tree.replace("${DIR}", &shared.path().display().to_string());
        let sendmail = program(shared.path(), "sendmail", "cat >>$dir/mails");
        let mut nodes = Nodes { etcd: Etcd::of(1), nodes: Vec::new(), shared, tree, failing };
        for at in 0..count {
            let mut bed = Bed::new();
            let url = nodes.etcd.url(0);
            bed.settings(&format!(
                "node = \"n{at}\"\netcd = [\"{url}\"]\nmail_to = \"ops@site\"\nsendmail = \"{sendmail}\"\n"
            ));
            bed.write("g.toml", &nodes.tree);
            nodes.nodes.push(bed);
            nodes.run(at);
            nodes.wait_until_joined(at);
            if at == 0 {
                nodes.wait_until_up(0);
            }
        }
        nodes
    }

    fn run(&mut self, at: usize) {
        // A request to the cluster is enough to have that part of a daemon fail, which must not take the time that a
        // trace takes; in a release nothing is.
        self.nodes[at].run_with(&["g.toml"], |command| match self.failing {
            true => command.env("WOODWARD_DEBUG_PANIC", "cluster").env("RUST_BACKTRACE", "0"),
            false => command,
        });
    }

    fn wait_until_joined(&self, at: usize) {
        self.nodes[at].wait("the node to join", |bed| !facts(bed, "cluster_joined").is_empty());
    }

    fn wait_until_up(&self, at: usize) {
        self.nodes[at].wait("the group to be up here", is_active);
    }

    /// Keeper and daemon die at once.
    fn kill(&mut self, at: usize) {
        kill(daemon_of(&self.nodes[at]), libc::SIGKILL);
        self.nodes[at].kill_keeper();
    }

    /// Who said that it runs, each with its token: in order.
    fn said(&self) -> Vec<(String, u64)> {
        let text = fs::read_to_string(self.shared.path().join("out")).unwrap_or_default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [node, "g", token, file] = words[..] else { panic!("{line}") };
            assert_eq!(token, file, "environment and file say the same");
            (node.to_owned(), token.parse().expect("a token is a number"))
        };
        text.lines().map(line).collect()
    }

    /// Tokens rise with each owner.
    fn wait_for_words(&self, nodes: &[&str]) {
        let names = || self.said().into_iter().map(|(node, _)| node).collect::<Vec<_>>();
        self.nodes[0].wait("the words of the service", |_| names().len() >= nodes.len());
        assert_eq!(names(), nodes);
        let said = self.said();
        let rises = |pair: &[(String, u64)]| pair[0].0 == pair[1].0 || pair[0].1 < pair[1].1;
        assert!(said.windows(2).all(rises), "{said:?}");
    }
}

/// A program of shell text; `$dir` in it is where it stands.
fn program(dir: &Path, name: &str, text: &str) -> String {
    let file = dir.join(name);
    fs::write(&file, format!("#!/bin/sh\ndir={}\n{text}\n", dir.display()))
        .expect("a program can be written");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("it can be made executable");
    file.display().to_string()
}

fn facts(bed: &Bed, kind: &str) -> Vec<Value> {
    let output = bed.client(&["events", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let all: Vec<Value> = serde_json::from_str(&text)
        .unwrap_or_else(|_| text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect());
    all.into_iter().filter(|fact| fact["kind"] == kind).collect()
}

fn row(bed: &Bed, path: &str) -> Option<Value> {
    let output = bed.client(&["status", "--json"]);
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).ok()?;
    rows.into_iter().find(|row| row["path"] == path)
}

fn pid(bed: &Bed, path: &str) -> Option<i32> {
    row(bed, path)?["pid"].as_i64().map(|pid| pid as i32)
}

/// All of the group is up here, and the cluster has been told.
fn is_active(bed: &Bed) -> bool {
    let last = |kind| facts(bed, kind).last().and_then(|fact| fact["seq"].as_u64()).unwrap_or(0);
    let told = last("group_active");
    pid(bed, "g/a").is_some()
        && pid(bed, "g/b").is_some()
        && told > last("group_down")
        && told > last("term_over")
}

fn is_away(bed: &Bed) -> bool {
    pid(bed, "g/a").is_none() && pid(bed, "g/b").is_none()
}

fn daemon_of(bed: &Bed) -> i32 {
    let keeper = bed.daemon();
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let is_daemon = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"daemon")
    };
    let mut pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.find(is_daemon).expect("the keeper has a daemon")
}

fn pids(bed: &Bed) -> [i32; 2] {
    ["g/a", "g/b"].map(|path| pid(bed, path).expect("it runs"))
}

#[test]
fn a_group_runs_on_one_node_and_its_death_brings_it_up_on_another() {
    let mut nodes = Nodes::of(2);
    nodes.wait_for_words(&["n0"]);
    assert!(is_away(&nodes.nodes[1]));
    let old = pids(&nodes.nodes[0]);
    nodes.kill(0);
    nodes.wait_until_up(1);
    assert!(!old.iter().any(|pid| lives(*pid)), "services of a failover group die with their keeper");
    nodes.wait_for_words(&["n0", "n1"]);
    nodes.run(0);
    nodes.nodes[0].wait("the node to be back", |bed| facts(bed, "cluster_joined").len() == 2);
    assert!(is_away(&nodes.nodes[0]), "it does not go back by itself");
}

#[test]
fn a_dead_node_is_fenced_before_its_group_goes_on_and_people_are_told() {
    let fencing = r#"[failover.fencing]
command = "${DIR}/agent"
options_file = "${DIR}/options"
policy = "required"
within = "10s"
[[child]]"#;
    let mut nodes = Nodes::with(2, &GROUP.replacen("[[child]]", fencing, 1));
    let dir = nodes.shared.path().to_owned();
    // Its controller does not answer until it was mended.
    let agent = "options=$(cat)\n[ -e $dir/mended ] || { echo no route with s3cret >&2; exit 1; }\n\
                 echo \"$options\" >>$dir/asked\ncase \"$options\" in *action=status*) exit 2;; esac";
    program(&dir, "agent", agent);
    fs::write(dir.join("options"), "passwd=s3cret\nplug={node}-ipmi\n").expect("options can be written");
    nodes.wait_for_words(&["n0"]);
    nodes.kill(0);
    let told = |what: &str| fs::read_to_string(dir.join("mails")).unwrap_or_default().contains(what);
    nodes.nodes[1].wait("the first mail", |_| told("Subject: [woodward woodward] n0 cannot be fenced\n"));
    assert!(is_away(&nodes.nodes[1]), "it runs though its node was not fenced");
    fs::write(dir.join("mended"), "").expect("it can be mended");
    nodes.wait_until_up(1);
    nodes.wait_for_words(&["n0", "n1"]);
    nodes.nodes[1].wait("the second mail", |_| told("Subject: [woodward woodward] g moves from n0 to n1\n"));
    assert!(told("and it was fenced\n") && told("agent: action=off: exit 1: no route with ***"));
    let asked = fs::read_to_string(dir.join("asked")).expect("the agent was asked");
    let options = "passwd=s3cret\nplug=n0-ipmi\n";
    assert!(asked.starts_with(&format!("action=off\n{options}action=status\n{options}")), "{asked}");
    let all = nodes.nodes[1].client(&["events", "--json"]);
    let all = String::from_utf8_lossy(&all.stdout);
    assert!(all.contains("n0 was fenced") && !all.contains("s3cret") && !told("s3cret"), "{all}");
}

#[test]
fn a_group_that_gives_up_is_moved_at_once_and_so_is_one_that_a_person_moves() {
    let nodes = Nodes::of(3);
    for words in [&["n0"][..], &["n0", "n0"]] {
        nodes.wait_for_words(words);
        nodes.nodes[0].wait("its process", |bed| pid(bed, "g/a").is_some_and(lives));
        kill(pid(&nodes.nodes[0], "g/a").expect("it runs"), libc::SIGKILL);
    }
    nodes.wait_until_up(1);
    let given = facts(&nodes.nodes[1], "group_given");
    let text = given.last().expect("it was given")["text"].to_string();
    assert!(text.contains("it gave up: a: killed by SIGKILL, 2 times in 1m"), "{text}");
    assert!(is_away(&nodes.nodes[0]));
    nodes.nodes[0].ask(&["cluster", "move", "g", "n2"]);
    nodes.wait_until_up(2);
    assert!(is_away(&nodes.nodes[1]));
    nodes.nodes[2].ask(&["cluster", "drain", "n2"]);
    nodes.wait_until_up(1);
    assert!(is_away(&nodes.nodes[2]));
    nodes.wait_for_words(&["n0", "n0", "n1", "n2", "n1"]);
}

#[test]
fn a_node_that_is_stopped_leaves_in_order_and_its_groups_go_on_elsewhere() {
    let mut nodes = Nodes::of(2);
    let keeper = nodes.nodes[0].daemon();
    kill(keeper, libc::SIGTERM);
    nodes.wait_until_up(1);
    let end = nodes.nodes[0].wait_for_the_end();
    assert!(end.success(), "{end}");
    nodes.wait_for_words(&["n0", "n1"]);
    let given = facts(&nodes.nodes[1], "group_given");
    assert!(
        given.last().expect("it was given")["text"].to_string().contains("its node was stopped in order")
    );
    assert!(facts(&nodes.nodes[1], "node_dead").is_empty(), "nobody had to find it dead");
    // The last one has nobody to give it to.
    kill(nodes.nodes[1].daemon(), libc::SIGTERM);
    assert!(nodes.nodes[1].wait_for_the_end().success());
}

#[test]
fn a_daemon_that_is_killed_is_followed_by_one_that_goes_on_with_the_same_processes() {
    let nodes = Nodes::of(2);
    let before = pids(&nodes.nodes[0]);
    for n in 2..4 {
        let old = daemon_of(&nodes.nodes[0]);
        kill(old, libc::SIGKILL);
        nodes.nodes[0].wait("the next daemon", |bed| facts(bed, "daemon_started").len() == n);
    }
    nodes.nodes[0].wait("the same processes", |bed| pid(bed, "g/b").is_some());
    assert_eq!(pids(&nodes.nodes[0]), before);
    // It beats again: else its right to run would be over by now.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(pids(&nodes.nodes[0]), before);
    nodes.wait_for_words(&["n0"]);
    assert!(facts(&nodes.nodes[1], "node_dead").is_empty());
    assert!(facts(&nodes.nodes[0], "restart").is_empty());
}

#[cfg(debug_assertions)]
#[test]
fn a_cluster_task_that_panics_ends_its_daemon_and_the_next_one_goes_on() {
    let nodes = Nodes::made(1, GROUP, true);
    let before = pids(&nodes.nodes[0]);
    nodes.nodes[0].client(&["cluster", "drain", "n0"]);
    nodes.nodes[0].wait("the next daemon", |bed| facts(bed, "daemon_started").len() == 2);
    nodes.nodes[0].wait("the same processes", |bed| pid(bed, "g/b").is_some());
    assert_eq!(pids(&nodes.nodes[0]), before);
    assert!(facts(&nodes.nodes[0], "term_over").is_empty());
}

#[test]
fn a_node_that_is_stopped_while_the_store_is_away_ends_all_the_same() {
    let mut nodes = Nodes::of(1);
    let before = pids(&nodes.nodes[0]);
    nodes.etcd.freeze(0);
    kill(nodes.nodes[0].daemon(), libc::SIGTERM);
    assert!(nodes.nodes[0].wait_for_the_end().success());
    assert!(!before.iter().any(|pid| lives(*pid)));
}

#[test]
fn without_a_store_everything_of_a_group_ends_at_the_deadline_and_comes_back_with_it() {
    let nodes = Nodes::of(1);
    let before = pids(&nodes.nodes[0]);
    nodes.etcd.freeze(0);
    nodes.nodes[0]
        .wait("the end of its right to run", |bed| is_away(bed) && !before.iter().any(|p| lives(*p)));
    let node = &nodes.nodes[0];
    assert_eq!(
        (facts(node, "restart").len(), facts(node, "limit_exceeded").len()),
        (0, 0),
        "no storm of restarts"
    );
    nodes.etcd.thaw(0);
    nodes.nodes[0].wait("the group again", |bed| facts(bed, "group_active").len() >= 2);
    nodes.nodes[0].wait("its words", |_| nodes.said().len() >= 2);
    let said = nodes.said();
    assert!(said.windows(2).all(|lives| lives[0].1 < lives[1].1), "another life has another token: {said:?}");
}

#[test]
fn a_frozen_daemon_loses_its_groups_at_the_deadline_and_joins_anew() {
    let nodes = Nodes::of(2);
    let before = pids(&nodes.nodes[0]);
    let daemon = daemon_of(&nodes.nodes[0]);
    kill(daemon, libc::SIGSTOP);
    nodes.wait_until_up(1);
    assert!(!before.iter().any(|pid| lives(*pid)));
    kill(daemon, libc::SIGCONT);
    nodes.nodes[0].wait("the node to join anew", |bed| facts(bed, "cluster_joined").len() == 2);
    assert!(is_away(&nodes.nodes[0]));
    let node = &nodes.nodes[0];
    assert_eq!((facts(node, "restart").len(), facts(node, "limit_exceeded").len()), (0, 0));
    nodes.wait_for_words(&["n0", "n1"]);
}

#[test]
fn a_person_stops_a_group_everywhere_and_starts_it_again() {
    let nodes = Nodes::of(2);
    nodes.nodes[0].ask(&["stop", "g"]);
    nodes.nodes[0].wait("its end", is_away);
    nodes.nodes[0].wait("the cluster to know", |bed| facts(bed, "group_down").len() == 1);
    assert!(is_away(&nodes.nodes[1]));
    nodes.nodes[1].ask(&["cluster", "start", "g"]);
    nodes.nodes[0].wait("it to run somewhere", |_| nodes.said().len() == 2);
}

#[test]
fn another_plan_of_a_group_is_applied_where_it_runs_and_where_it_does_not() {
    let nodes = Nodes::of(2);
    let before = pids(&nodes.nodes[0]);
    let other = nodes.tree.replace("command = \"sleep 1000\"", "command = \"sleep 2000\"");
    for node in &nodes.nodes {
        let file: PathBuf = node.write("g.toml", &other);
        node.ask(&["apply", &file.display().to_string()]);
    }
    nodes.nodes[0].wait("the other process", |bed| pid(bed, "g/b").is_some_and(|pid| pid != before[1]));
    assert_eq!(pid(&nodes.nodes[0], "g/a"), Some(before[0]));
    nodes.nodes[0].ask(&["cluster", "move", "g", "n1"]);
    nodes.wait_until_up(1);
    let line = fs::read_to_string(format!("/proc/{}/cmdline", pids(&nodes.nodes[1])[1])).unwrap_or_default();
    assert_eq!(line, "sleep\x002000\0");
}

#[test]
fn a_tree_with_failover_is_refused_where_it_cannot_take_part() {
    let check = |settings: &str, args: &[&str], wanted: &str| {
        let mut bed = Bed::new();
        bed.settings(settings);
        bed.write("g.toml", &GROUP.replace("${OUT}", "/dev/null"));
        bed.run(args);
        assert_eq!(bed.wait_for_the_end().code(), Some(78), "{}", bed.output());
        assert!(bed.output().contains(wanted), "{}", bed.output());
    };
    check(
        "",
        &["g.toml"],
        "cannot run g: it has [failover], and the setting `etcd` names no member of a store",
    );
    let etcd = "etcd = [\"http://127.0.0.1:1\"]\n";
    check(
        etcd,
        &["g.toml", "--at", "g"],
        "cannot run g: it has [failover], and a cluster places whole trees",
    );
}
