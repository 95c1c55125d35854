//! Verbs that change something: start, stop, restart, hold, release.

use serde_json::Value;

use super::{TREE, check};
use crate::bed::{Bed, kill, lives};

#[test]
fn what_is_stopped_stays_down_until_it_is_started() {
    let bed = Bed::up(TREE);
    let pid = bed.pid("t/web");
    let text = check(&bed, &["stop", "web"], 0, &["web  stopping ", "t/web is stopped"]);
    assert!(text.contains("stopped after"), "{text}");
    assert!(!lives(pid));
    check(&bed, &["status"], 0, &["degraded, 2 of 3 up", "stopped by"]);
    check(&bed, &["restart", "web"], 1, &["cannot restart t/web: "]);
    check(&bed, &["start", "web"], 0, &["web  starting ", "up after", "t/web is up, pid"]);
    assert_ne!(bed.pid("t/web"), pid);

    bed.stop();
}

#[test]
fn a_restart_takes_along_what_a_crash_would() {
    let bed = Bed::up(TREE);
    let second = bed.generation("t/pair/second");
    check(&bed, &["restart", "first"], 0, &["restarts with t/pair/first: second", "t/pair/first is up, pid"]);
    bed.wait_until_up();
    assert!(bed.generation("t/pair/second") > second);
    assert_eq!(bed.row("t/pair")["limit"]["used"], 0);
    let (first, second) = (bed.generation("t/pair/first"), bed.generation("t/pair/second"));
    let text = check(&bed, &["restart", "--only", "first"], 0, &["t/pair/first is up"]);
    assert!(!text.contains("second"), "{text}");
    assert!(bed.generation("t/pair/first") > first);
    assert_eq!(bed.generation("t/pair/second"), second);
    bed.stop();
}

#[test]
fn a_start_that_fails_says_why_with_its_last_lines() {
    let tree = TREE.to_owned()
        + "[[child]]\nid = \"bad\"\nlimit = { intensity = 0, exhausted = \"park\" }\nready.file = \"never\"\n\
           command = [\"sh\", \"-c\", \"echo no database; exit 42\"]\n";
    let bed = Bed::started(&tree);
    bed.wait("it to be parked", |bed| bed.state("t/bad") == "parked");
    let texts =
        ["exit 42 before it was ready", "| no database", "t/bad is parked", "cannot start t/bad: ", "hint: "];
    check(&bed, &["start", "bad"], 1, &texts);
    bed.stop();
}

#[test]
fn a_hold_is_seen_and_suspends_restarts() {
    let bed = Bed::up(TREE);
    let text = ["t/pair is up; held by ", "until ", "\"mirror is being moved\""];
    check(&bed, &["hold", "pair", "--for", "2h", "-m", "mirror is being moved"], 0, &text);
    check(&bed, &["status"], 0, &["= pair", "\"mirror is being"]);
    kill(bed.pid("t/pair/first"), libc::SIGKILL);
    bed.wait("its end", |bed| bed.row("t/pair/first")["pid"].is_null());
    let held = bed.row("t/pair")["held"].clone();
    assert_eq!(held["text"], "mirror is being moved");
    assert_eq!(bed.state("t/pair/second"), "up");
    check(&bed, &["release", "pair"], 0, &["not held"]);
    bed.wait_until_up();
    assert_eq!(bed.row("t/pair")["held"], Value::Null);
    bed.stop();
}

#[test]
fn who_does_not_wait_is_told_so() {
    let slow = "[[child]]\nid = \"slow\"\nready.file = \"ready\"\ncommand = [\"sleep\", \"1000\"]\n";
    let bed = Bed::started(&(TREE.to_owned() + slow));
    bed.wait("a first process", |bed| bed.row("t/slow")["pid"].is_number());
    let first = bed.generation("t/slow");
    check(&bed, &["restart", "--no-wait", "slow"], 0, &["t/slow: restart asked for, not waited for"]);
    bed.wait("a second process", |bed| {
        bed.generation("t/slow") > first && bed.row("t/slow")["pid"].is_number()
    });
    bed.write("ready", "");
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn all_paths_are_looked_up_before_anything_is_done() {
    let bed = Bed::up(TREE);
    let pid = bed.pid("t/web");
    check(&bed, &["stop", "web", "wbe"], 64, &["cannot find wbe", "did you mean t/web?"]);
    assert_eq!(bed.pid("t/web"), pid);
    check(&bed, &["stop", "web", "second"], 0, &["t/web is stopped", "t/pair/second is stopped"]);
    bed.stop();
}

#[test]
fn steps_can_be_read_by_programs() {
    let bed = Bed::up(TREE);
    let text = bed.ask(&["restart", "--json", "first"]);
    let steps: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a step is JSON")).collect();
    assert_eq!(steps[0]["what"], "plan");
    assert_eq!(steps[0]["goes_along"][0], "t/pair/second");
    let last = steps.last().expect("there is an outcome");
    assert_eq!((&last["what"], &last["problem"]), (&"outcome".into(), &Value::Null));
    assert_eq!(last["row"]["path"], "t/pair/first");
    bed.stop();
}

#[test]
fn an_instance_of_a_template_is_started_and_stopped() {
    let tree = "id = \"t\"\n[[child]]\nid = \"pool\"\nstrategy = \"simple_one_for_one\"\n\
                [child.template]\nid = \"w\"\ncommand = [\"sh\", \"-c\", \"echo I am ${arg.name}; exec sleep 1000\"]\n";
    let bed = Bed::up(tree);
    check(&bed, &["start", "pool"], 0, &["t/pool is up"]);
    check(&bed, &["start", "pool", "--arg", "nmae=x"], 64, &["cannot start an instance of t/pool", "hint: "]);
    check(&bed, &["start", "pool", "--arg", "name=Ada"], 0, &["t/pool/w#", "is up, pid"]);
    let path = bed.status().last().expect("there are rows")["path"].as_str().expect("text").to_owned();
    bed.wait("its line", |bed| bed.ask(&["logs", &path]).contains("I am Ada"));
    check(&bed, &["stop", &path], 0, &[&path]);
    bed.wait("its end", |bed| bed.status().len() == 2);
    bed.stop();
}

#[test]
fn what_is_after_a_stopped_child_stays_up() {
    let tree = "id = \"t\"\norder = \"dependencies\"\n\
                [[child]]\nid = \"db\"\ncommand = [\"sleep\", \"1000\"]\n\
                [[child]]\nid = \"app\"\nafter = [\"db\"]\ncommand = [\"sleep\", \"1000\"]\n";
    let bed = Bed::up(tree);
    check(&bed, &["stop", "db"], 0, &["stays up, although after t/db: app", "t/db is stopped"]);
    assert_eq!(bed.state("t/app"), "up");
    bed.stop();
}
