//! Another plan for a tree that runs, with real processes: `apply`, `apply --dry-run` and SIGHUP.

use std::collections::BTreeMap;

use crate::bed::{Bed, kill};
use crate::survival::kill_the_daemon;
use serde_json::Value;

/// Generation and process of every worker that runs.
fn running(bed: &Bed) -> BTreeMap<String, (u64, i64)> {
    let rows = bed.status().into_iter().filter_map(|row| {
        let (path, pid) = (row["path"].as_str()?.to_owned(), row["pid"].as_i64()?);
        Some((path, (row["generation"].as_u64()?, pid)))
    });
    rows.collect()
}

fn forecast(bed: &Bed, args: &[&str]) -> Value {
    let out = bed.ask(&[&["apply", "--json"], args].concat());
    let first = out.lines().next().unwrap_or_else(|| panic!("no answer"));
    serde_json::from_str(first).expect("a line of JSON")
}

/// What a forecast says of a path: `stay`, `restart`, `start`, `stop`.
fn what<'f>(forecast: &'f Value, path: &str) -> &'f str {
    let of = |row: &&Value| row["path"] == path;
    let row = forecast["paths"].as_array().expect("paths").iter().find(of);
    row.and_then(|row| row["what"].as_str()).unwrap_or_else(|| panic!("no {path} in {forecast}"))
}

/// Applies a new text of the tree: a dry run first, which must touch nothing and foretell exactly what happens then.
fn apply(bed: &Bed, tree: &str) -> Value {
    let file = bed.write("tree.toml", tree);
    let file = file.to_str().expect("a path in UTF-8");
    let before = running(bed);
    let foretold = forecast(bed, &[file, "--dry-run"]);
    assert_eq!(running(bed), before, "a dry run touched something");
    assert_eq!(forecast(bed, &[file]), foretold);
    bed.wait_until_up();
    let after = running(bed);
    for row in foretold["paths"].as_array().expect("paths") {
        let path = row["path"].as_str().expect("a path");
        if row["supervisor"] == true {
            continue;
        }
        let (was, is) = (before.get(path), after.get(path));
        let right = match row["what"].as_str() {
            Some("stay") => was == is,
            Some("restart") => was.is_some() && is.is_some() && was != is,
            Some("start") => was.is_none() && is.is_some(),
            Some("stop") => is.is_none(),
            _ => false,
        };
        assert!(right, "{row}: before {was:?}, after {is:?}");
    }
    assert!(after.keys().all(|path| what(&foretold, path) != "stop"));
    foretold
}

fn sleeper(id: &str, seconds: u32) -> String {
    format!("[[child]]\nid = \"{id}\"\ncommand = \"sleep {seconds}\"\n")
}

fn tree(head: &str, children: &[String]) -> String {
    format!("id = \"t\"\n{head}\n{}", children.concat())
}

#[test]
fn unchanged_children_keep_their_processes_whatever_comes_and_goes() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| sleeper(id, 1000));
    let bed = Bed::up(&tree("", &[a.clone(), b.clone(), c.clone()]));
    let (first, last) = (bed.pid("t/a"), bed.pid("t/c"));
    // One goes, one comes, the order turns round.
    let foretold = apply(&bed, &tree("", &[c.clone(), d.clone(), a.clone()]));
    assert_eq!((what(&foretold, "t/b"), what(&foretold, "t/d")), ("stop", "start"));
    // A rename is one that goes and one that comes.
    let foretold = apply(&bed, &tree("intensity = 9", &[c, sleeper("e", 1000), a]));
    assert_eq!((what(&foretold, "t/d"), what(&foretold, "t/e")), ("stop", "start"));
    assert_eq!((bed.pid("t/a"), bed.pid("t/c")), (first, last));
    assert!(!bed.status().iter().any(|row| row["path"] == "t/b"));
    bed.stop();
}

#[test]
fn a_changed_command_restarts_it_and_what_a_crash_of_it_would_drag_along() {
    let head = "strategy = \"rest_for_one\"";
    let bed = Bed::up(&tree(head, &["a", "b", "c"].map(|id| sleeper(id, 1000))));
    let foretold = apply(&bed, &tree(head, &[sleeper("a", 1000), sleeper("b", 1001), sleeper("c", 1000)]));
    let row = foretold["paths"].as_array().expect("paths").iter().find(|row| row["path"] == "t/b");
    let changed = &row.expect("t/b")["changed"][0];
    assert_eq!((&changed["key"], &changed["effect"]), (&"command".into(), &"restart".into()));
    assert_eq!(changed["place"], "tree.toml:8");
    let along = foretold["paths"].as_array().expect("paths").iter().find(|row| row["path"] == "t/c");
    assert_eq!(along.expect("t/c")["with"], "t/b");
    assert!(bed.ask(&["why", "t/b"]).contains("restarted by apply: command changed"));
    let text = bed.ask(&["apply", "tree.toml", "--dry-run"]);
    assert_eq!(text, "stay 3\nrestart 0\nstart 0\nstop 0\n");
    bed.stop();
}

#[test]
fn a_broken_file_or_another_tree_changes_nothing() {
    let bed = Bed::up(&tree("", &[sleeper("a", 1000)]));
    let before = running(&bed);
    bed.write("tree.toml", "id = \"t\"\n[[child]]\nid = \"a\"\ncomand = \"sleep 1\"\nrestart = \"often\"\n");
    let out = bed.client(&["apply", "tree.toml"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{text}");
    for expected in ["tree.toml:4:1: error", "tree.toml:5:", "nothing was changed"] {
        assert!(text.contains(expected), "{text}");
    }
    bed.write("other.toml", "id = \"u\"\n[[child]]\nid = \"a\"\ncommand = \"sleep 1\"\n");
    let out = bed.client(&["apply", "other.toml"]);
    assert_eq!(out.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no tree u runs here"));
    assert_eq!(running(&bed), before);
    bed.stop();
}

#[test]
fn sighup_does_the_same_and_says_what_is_wrong() {
    let bed = Bed::up(&tree("", &[sleeper("a", 1000), sleeper("b", 1000)]));
    let before = running(&bed);
    bed.write("tree.toml", "id = 3");
    kill(bed.daemon(), libc::SIGHUP);
    bed.wait("the error to be said", |bed| bed.output().contains("nothing was changed"));
    assert_eq!(running(&bed), before);
    bed.write("tree.toml", &tree("", &[sleeper("a", 1000), sleeper("b", 1001)]));
    kill(bed.daemon(), libc::SIGHUP);
    bed.wait("b to run anew", |bed| running(bed).get("t/b").is_some_and(|b| *b != before["t/b"]));
    assert_eq!(running(&bed)["t/a"], before["t/a"]);
    bed.wait("it to be said", |bed| bed.output().contains("applied t: stay 1, restart 1, start 0, stop 0"));
    bed.stop();
}

#[test]
fn instances_survive_an_unchanged_template_and_go_over_to_a_changed_one() {
    let pool = |seconds: &str, shutdown: u32| {
        format!(
            "id = \"t\"\n[[child]]\nid = \"p\"\nstrategy = \"simple_one_for_one\"\n\
             [child.template]\nid = \"x\"\ncommand = \"sleep {seconds}${{arg.n}}\"\nshutdown = \"{shutdown}s\"\n"
        )
    };
    let bed = Bed::up(&pool("10", 5));
    bed.ask(&["start", "t/p", "--arg", "n=1"]);
    bed.ask(&["start", "t/p", "--arg", "n=2"]);
    let before = running(&bed);
    assert_eq!(before.len(), 2);
    apply(&bed, &pool("10", 6));
    assert_eq!(running(&bed), before);
    let foretold = apply(&bed, &pool("20", 6));
    assert_eq!(what(&foretold, "t/p/x#2"), "restart");
    let command = std::fs::read(format!("/proc/{}/cmdline", bed.pid("t/p/x#2"))).expect("its command line");
    assert_eq!(command, b"sleep\x00202\x00");
    bed.stop();
}

#[test]
fn a_start_that_is_never_ready_is_mended_by_an_apply() {
    let child = |ready: &str| format!("[[child]]\nid = \"a\"\ncommand = \"sleep 1000\"\nready = {ready}\n");
    let never = child("{ file = \"never\", within = \"1h\" }");
    let bed = Bed::started(&tree("", &[never, sleeper("b", 1000)]));
    bed.wait("a to be starting", |bed| bed.state("t/a") == "starting" && bed.row("t/a")["pid"].is_i64());
    assert_eq!(bed.state("t/b"), "waiting");
    bed.write("tree.toml", &tree("", &[child("{ exec = \"true\" }"), sleeper("b", 1000)]));
    bed.ask(&["apply"]);
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn a_back_off_goes_on_unless_its_command_has_changed() {
    let child = |command: &str| {
        let backoff = "{ immediate = 0, first = \"1h\", max = \"1h\" }";
        format!("[[child]]\nid = \"a\"\ncommand = \"{command}\"\nbackoff = {backoff}\n")
    };
    let bed = Bed::started(&tree("", &[child("false"), sleeper("b", 1000)]));
    bed.wait("a to back off", |bed| bed.state("t/a") == "backoff");
    let before = bed.generation("t/a");
    bed.write("tree.toml", &tree("intensity = 9", &[child("false"), sleeper("b", 1000)]));
    bed.ask(&["apply"]);
    assert_eq!((bed.state("t/a"), bed.generation("t/a")), ("backoff".to_owned(), before));
    bed.write("tree.toml", &tree("", &[child("sleep 1000"), sleeper("b", 1000)]));
    bed.ask(&["apply"]);
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn a_later_apply_replaces_what_an_earlier_one_has_not_done() {
    // A child that takes its time to stop holds the first apply up.
    let slow = |n: u32| {
        format!(
            "[[child]]\nid = \"slow\"\nshutdown = \"1h\"\ncommand = [\"sh\", \"-c\", \
             \"trap : TERM; while ! test -e go{n}; do sleep 0.05; done\"]\n"
        )
    };
    let bed = Bed::up(&tree("", &[sleeper("a", 1000), slow(1)]));
    let a = bed.pid("t/a");
    bed.write("tree.toml", &tree("", &[sleeper("a", 1001), slow(2), sleeper("x", 1000)]));
    bed.ask(&["apply", "--no-wait"]);
    bed.wait("slow to be stopping", |bed| bed.state("t/slow") == "stopping");
    bed.write("tree.toml", &tree("", &[sleeper("a", 1001), slow(2), sleeper("y", 1000)]));
    bed.ask(&["apply", "--no-wait"]);
    bed.write("tree.toml", &tree("", &[sleeper("a", 1001), slow(2), sleeper("z", 1000)]));
    bed.ask(&["apply", "--no-wait"]);
    bed.write("go1", "");
    bed.wait("the last one to be done", |bed| bed.status().iter().any(|row| row["path"] == "t/z"));
    bed.wait_until_up();
    let paths: Vec<String> = running(&bed).into_keys().collect();
    assert_eq!(paths, ["t/a", "t/slow", "t/z"]);
    assert_ne!(bed.pid("t/a"), a);
    assert!(!bed.output().contains("t/y started"), "what was replaced was done");
    bed.write("go2", "");
    bed.stop();
}

#[test]
fn a_file_that_was_edited_or_spoilt_changes_nothing_before_it_is_applied() {
    let bed = Bed::up(&tree("", &[sleeper("a", 1000), sleeper("b", 1000)]));
    let before = running(&bed);
    bed.write("tree.toml", "this is no TOML");
    kill_the_daemon(&bed);
    bed.wait_until_up();
    assert_eq!(running(&bed), before);
    bed.write("tree.toml", &tree("", &[sleeper("a", 1000)]));
    kill_the_daemon(&bed);
    bed.wait_until_up();
    assert_eq!(running(&bed), before);
    let foretold = apply(&bed, &tree("", &[sleeper("a", 1000)]));
    assert_eq!(what(&foretold, "t/b"), "stop");
    kill_the_daemon(&bed);
    bed.wait_until_up();
    assert_eq!(running(&bed).len(), 1);
    bed.stop();
}

#[test]
fn an_apply_that_the_daemon_did_not_survive_is_finished_by_the_next_one() {
    let slow = |n: u32| {
        format!(
            "[[child]]\nid = \"slow\"\nshutdown = \"1h\"\ncommand = [\"sh\", \"-c\", \
             \"trap : TERM; while ! test -e go{n}; do sleep 0.05; done\"]\n"
        )
    };
    let bed = Bed::up(&tree("", &[sleeper("a", 1000), sleeper("b", 1000), slow(1)]));
    let before = running(&bed);
    bed.write("tree.toml", &tree("", &[sleeper("a", 1000), sleeper("b", 1001), slow(2), sleeper("x", 1000)]));
    bed.ask(&["apply", "--no-wait"]);
    bed.wait("slow to be stopping", |bed| bed.state("t/slow") == "stopping");
    assert_eq!(running(&bed)["t/b"], before["t/b"]);
    kill_the_daemon(&bed);
    bed.write("go1", "");
    bed.wait("b to run anew", |bed| running(bed).get("t/b").is_some_and(|b| *b != before["t/b"]));
    bed.wait("x to run", |bed| running(bed).contains_key("t/x"));
    assert_eq!(running(&bed)["t/a"], before["t/a"]);
    let command = std::fs::read(format!("/proc/{}/cmdline", bed.pid("t/b"))).expect("its command line");
    assert_eq!(command, b"sleep\x001001\x00");
    bed.wait("the new slow to run", |bed| running(bed).get("t/slow").is_some_and(|s| *s != before["t/slow"]));
    bed.write("go2", "");
    bed.stop();
}

#[test]
fn a_fresh_run_restarts_what_it_finds_running_something_else() {
    let mut bed = Bed::up(&tree("", &[sleeper("a", 1000), sleeper("b", 1000)]));
    let before = running(&bed);
    bed.kill_keeper();
    let file = bed.write("tree.toml", &tree("", &[sleeper("a", 1000), sleeper("b", 1001)]));
    bed.run(&[file.as_os_str()]);
    bed.wait("the new daemon to answer", |bed| bed.client(&["status", "--json"]).status.success());
    bed.wait("b to run anew", |bed| running(bed).get("t/b").is_some_and(|b| *b != before["t/b"]));
    assert_eq!(running(&bed)["t/a"], before["t/a"]);
    bed.stop();
}

#[test]
fn what_needs_no_restart_holds_at_once() {
    let child = |extra: &str| format!("{}{extra}\n", sleeper("a", 1000));
    let bed = Bed::up(&tree("", &[child("")]));
    let pid = bed.pid("t/a");
    apply(&bed, &tree("", &[child("stop = { command = \"touch stopped\" }\nafter_stop = \"touch after\"")]));
    assert_eq!(bed.pid("t/a"), pid);
    bed.ask(&["stop", "t/a"]);
    assert!(bed.path().join("stopped").exists() && bed.path().join("after").exists());
    bed.ask(&["start", "t/a"]);
    let pid = bed.pid("t/a");
    apply(
        &bed,
        &tree("", &[child("health = { exec = \"touch asked\", every = \"100ms\", timeout = \"50ms\" }")]),
    );
    bed.wait("the new check to be made", |bed| bed.path().join("asked").exists());
    assert_eq!(bed.pid("t/a"), pid);
    bed.stop();
}

#[test]
fn variables_stay_as_they_were_given_and_environment_files_show_up() {
    let mut bed = Bed::new();
    bed.write("env", "COLOUR=red\n");
    let text = "id = \"t\"\n[vars]\nn = 1\n[[child]]\nid = \"a\"\ncommand = \"sleep 100${n}\"\n\
                environment_file = \"env\"\n";
    let file = bed.write("tree.toml", text);
    let file = file.to_str().expect("a path in UTF-8").to_owned();
    bed.run(&[file.as_str(), "--var", "n=2"]);
    bed.wait("the daemon to answer", |bed| bed.client(&["status", "--json"]).status.success());
    bed.wait_until_up();
    assert_eq!(what(&forecast(&bed, &["--dry-run"]), "t/a"), "stay");
    let foretold = forecast(&bed, &["--dry-run", "--var", "n=3"]);
    assert_eq!(what(&foretold, "t/a"), "restart");
    bed.write("env", "COLOUR=blue\n");
    let text = bed.ask(&["apply", "--dry-run"]);
    assert!(text.contains("t/a  environment.COLOUR (tree.toml:7)"), "{text}");
    assert!(!text.contains("blue"), "{text}");
    bed.stop();
}
