//! Verbs that only ask: status, why, logs, events, is-up.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{TREE, check};
use crate::bed::{Bed, kill};

#[test]
fn status_shows_the_tree() {
    let bed = Bed::up(TREE);
    let page = check(&bed, &["status"], 0, &["t on ", "running, 3 of 3 up", "woodward 0.1", "rest_for_one"]);
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(page.contains(&bed.pid("t/web").to_string()), "{page}");
    check(&bed, &["status", "pair"], 0, &["t/pair on ", "first", "second"]);
    let one = check(&bed, &["status", "web"], 0, &["t/web: up for", "command", "sleep 1000", "permanent"]);
    assert!(
        one.contains("last lines (woodward logs t/web)") && one.contains("listening on port 80"),
        "{one}"
    );
    bed.stop();
}

#[test]
fn status_json_has_every_key_of_every_row() {
    let bed = Bed::up(TREE);
    let rows = bed.status();
    let paths: Vec<&str> = rows.iter().filter_map(|row| row["path"].as_str()).collect();
    assert_eq!(paths, ["t", "t/web", "t/pair", "t/pair/first", "t/pair/second"]);
    for row in &rows {
        for key in "path kind state pid generation restarts since reason held next exit".split(' ') {
            assert!(row.get(key).is_some(), "no {key} in {row}");
        }
    }
    let some: Vec<Value> = serde_json::from_str(&bed.ask(&["status", "--json", "pair"])).expect("JSON");
    assert_eq!(some.len(), 3);
    bed.stop();
}

#[test]
fn a_crash_is_seen_everywhere() {
    let bed = Bed::up(TREE);
    let (pid, before) = (bed.pid("t/pair/first"), bed.generation("t/pair/second"));
    kill(pid, libc::SIGKILL);
    bed.wait("both again", |bed| bed.generation("t/pair/second") > before && bed.state("t/pair") == "up");
    bed.wait_until_up();
    check(&bed, &["status"], 0, &["killed by SIGKILL", "restarted with first", "used 1"]);
    let killed = format!("pid {pid}");
    check(&bed, &["events"], 0, &["t/pair/first", "ended: SIGKILL", "rest_for_one", &killed]);
    check(&bed, &["why", "second"], 0, &["t/pair/second", "t/pair/first", "SIGKILL"]);
    check(&bed, &["status", "first"], 0, &["last runs:", "SIGKILL, not sent by", "restarts"]);
    let facts = bed.ask(&["events", "--json", "first"]);
    let kinds: Vec<String> = facts
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a fact is JSON"))
        .filter_map(|fact| fact["kind"].as_str().map(str::to_owned))
        .collect();
    assert!(
        kinds.iter().any(|kind| kind == "ended") && kinds.iter().any(|kind| kind == "restart"),
        "{kinds:?}"
    );
    bed.stop();
}

#[test]
fn logs_have_the_path_in_front_when_there_are_several() {
    let bed = Bed::up(TREE);
    bed.wait("the lines", |bed| bed.ask(&["logs"]).lines().count() == 2);
    let all = bed.ask(&["logs"]);
    assert!(all.contains(" t/web: listening on port 80\n"), "{all}");
    assert!(all.contains(" t/pair/first: first is here\n"), "{all}");
    let one = bed.ask(&["logs", "web"]);
    assert!(one.ends_with(" listening on port 80\n") && !one.contains("t/web"), "{one}");
    assert_eq!(bed.ask(&["logs", "-n", "0"]), "");
    bed.stop();
}

#[test]
fn following_ends_when_the_daemon_does() {
    let mut bed = Bed::up(TREE);
    let follow = |args: &[&str]| {
        let mut command = bed.command();
        let child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        child.expect("the program can be started")
    };
    let (mut lines, mut facts) = (follow(&["logs", "-f", "first"]), follow(&["events", "-f"]));
    let mut reader = BufReader::new(lines.stdout.take().expect("it is piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("what there is comes first");
    assert!(line.contains("first is here"), "{line}");
    bed.ask(&["restart", "first"]);
    line.clear();
    reader.read_line(&mut line).expect("what comes is told");
    assert!(line.contains("first is here"), "{line}");
    kill(bed.daemon(), libc::SIGTERM);
    assert_eq!(bed.wait_for_the_end().code(), Some(0));
    assert_eq!(lines.wait().expect("it can be waited for").code(), Some(75));
    let mut reader = BufReader::new(facts.stdout.take().expect("it is piped")).lines();
    assert!(reader.any(|line| line.is_ok_and(|line| line.contains("ended"))));
    assert_eq!(facts.wait().expect("it can be waited for").code(), Some(75));
}

#[test]
fn is_up_says_it_with_its_exit_code() {
    let bed = Bed::up(TREE);
    assert_eq!(check(&bed, &["is-up"], 0, &[]), "");
    bed.ask(&["stop", "web"]);
    assert_eq!(check(&bed, &["is-up"], 1, &[]), "");
    check(&bed, &["is-up", "pair"], 0, &[]);
    check(&bed, &["is-up", "--json"], 1, &["{\"up\":false,\"missing\":[\"t/web\"]}"]);
    bed.stop();
}

#[test]
fn is_up_waits_for_a_daemon_to_come() {
    let mut bed = Bed::new();
    let file = bed.write("tree.toml", TREE);
    let mut waits = bed.command().args(["is-up", "--wait", "60s"]).spawn().expect("it can be started");
    bed.run(&[file]);
    assert_eq!(waits.wait().expect("it can be waited for").code(), Some(0));
    assert_eq!(bed.state("t/web"), "up");
    bed.stop();
}

#[test]
fn the_last_known_state_outlives_the_daemon() {
    let mut bed = Bed::up(TREE);
    kill(bed.daemon(), libc::SIGTERM);
    bed.wait_for_the_end();
    let state = bed.path().join("state").to_str().expect("UTF-8").to_owned();
    check(
        &bed,
        &["status", "--state", &state],
        69,
        &["t: not running", "nothing of it is left", "last seen"],
    );
    check(&bed, &["events", "--state", &state, "web"], 69, &["t/web", "started", "not running"]);
    check(&bed, &["why", "--state", &state, "web"], 69, &["not running", "t/web"]);
}
