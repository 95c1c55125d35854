//! The daemon dies, the services do not notice.

use std::fs;

use crate::bed::{Bed, kill, lives};

/// The child of the keeper in which the engine lives.
pub fn engine_room(bed: &Bed) -> Option<i32> {
    let keeper = bed.daemon();
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).nth(1) == Some(b"daemon")
    })
}

/// SIGKILL to the daemon; returns when its successor answers.
pub fn kill_the_daemon(bed: &Bed) {
    let old = engine_room(bed).expect("a daemon runs");
    kill(old, libc::SIGKILL);
    bed.wait("another daemon", |bed| {
        engine_room(bed).is_some_and(|new| new != old) && bed.client(&["status", "--json"]).status.success()
    });
}

fn three() -> String {
    let child = |id: &str| {
        format!("[[child]]\nid = {id:?}\ncommand = [\"sh\", \"-c\", \"echo {id} >> log; exec sleep 1000\"]\n")
    };
    format!("id = \"t\"\nintensity = 1000\n{}{}{}", child("a"), child("b"), child("c"))
}

#[test]
fn services_survive_their_daemon_with_process_and_generation() {
    let bed = Bed::up(&three());
    let paths = ["t/a", "t/b", "t/c"];
    let before = paths.map(|path| (bed.pid(path), bed.generation(path)));
    for _ in 0..3 {
        kill_the_daemon(&bed);
        bed.wait_until_up();
        assert_eq!(paths.map(|path| (bed.pid(path), bed.generation(path))), before);
    }
    assert_eq!(bed.read("log"), "a\nb\nc\n");
    kill(before[1].0, libc::SIGKILL);
    bed.wait("the restart", |bed| {
        bed.row("t/b")["pid"].as_i64().is_some_and(|pid| pid != i64::from(before[1].0))
    });
    assert!(bed.generation("t/b") > before[1].1);
    bed.stop();
}

#[test]
fn a_service_that_ended_without_a_daemon_is_restarted_by_the_next_one() {
    let bed = Bed::up(&three());
    let (old, service) = (engine_room(&bed).expect("a daemon runs"), bed.pid("t/b"));
    kill(old, libc::SIGSTOP);
    kill(service, libc::SIGKILL);
    kill(old, libc::SIGKILL);
    bed.wait("the restart", |bed| {
        bed.client(&["status", "--json"]).status.success()
            && bed.row("t/b")["pid"].as_i64().is_some_and(|pid| pid != i64::from(service))
    });
    bed.wait_until_up();
    assert_eq!(bed.read("log"), "a\nb\nc\nb\n");
    bed.stop();
}

#[test]
fn a_service_that_is_no_longer_in_the_file_is_stopped() {
    let bed = Bed::up(&three());
    let (kept, dropped) = (bed.pid("t/a"), bed.pid("t/c"));
    let file = three();
    bed.write("tree.toml", file.rsplit_once("[[child]]").expect("three children").0);
    kill_the_daemon(&bed);
    bed.wait("the end of c", |_| !lives(dropped));
    bed.wait_until_up();
    assert_eq!(bed.pid("t/a"), kept);
    assert_eq!(bed.status().len(), 3);
    bed.stop();
}

#[test]
fn a_broken_tree_file_does_not_end_what_runs() {
    let bed = Bed::up(&three());
    let before = ["t/a", "t/b", "t/c"].map(|path| bed.pid(path));
    bed.write("tree.toml", "id = ");
    kill(engine_room(&bed).expect("a daemon runs"), libc::SIGKILL);
    bed.wait("a complaint", |bed| bed.output().contains("nothing was started"));
    assert!(before.iter().all(|&pid| lives(pid)));
    bed.write("tree.toml", &three());
    bed.wait("another daemon", |bed| bed.client(&["is-up"]).status.success());
    assert_eq!(["t/a", "t/b", "t/c"].map(|path| bed.pid(path)), before);
    bed.stop();
}

#[test]
fn a_new_daemon_tells_what_happened_before_its_birth() {
    let bed = Bed::up(&three());
    kill(bed.pid("t/b"), libc::SIGKILL);
    bed.wait("the restart", |bed| bed.row("t/b")["restarts"] == 1 && bed.state("t/b") == "up");
    let told = bed.ask(&["events", "--json"]);
    let first = bed.ask(&["why", "t/b"]);
    kill_the_daemon(&bed);
    bed.wait_until_up();
    let after = bed.ask(&["events", "--json"]);
    assert!(after.starts_with(&told), "{told}\n---\n{after}");
    assert_eq!(after.matches("daemon started").count(), 2);
    // The chain of the crash is the same; what follows it is of another moment.
    let chain = |text: &str| text.split("\nnow ").next().map(str::to_owned);
    assert_eq!(chain(&bed.ask(&["why", "t/b"])), chain(&first));
    let numbers = after
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["seq"].as_u64());
    assert!(numbers.zip(1..).all(|(found, expected)| found == expected));
    bed.stop();
}

#[test]
fn without_any_daemon_the_last_facts_are_read_all_the_same() {
    let mut bed = Bed::up(&three());
    kill(bed.pid("t/b"), libc::SIGKILL);
    bed.wait("the restart", |bed| bed.row("t/b")["restarts"] == 1 && bed.state("t/b") == "up");
    let state = bed.path().join("state");
    let room = engine_room(&bed).expect("a daemon runs");
    kill(bed.daemon(), libc::SIGKILL);
    kill(room, libc::SIGKILL);
    let _ = bed.wait_for_the_end();
    // Nothing but the run state may have them.
    fs::remove_dir_all(state.join("t/history")).expect("it is there");
    let ask = |verb: &[&str]| {
        let mut command = bed.command();
        command.env_remove("WOODWARD_SOCKET").args(verb).arg("--state").arg(&state);
        String::from_utf8_lossy(&command.output().expect("the program runs").stdout).into_owned()
    };
    assert!(ask(&["events", "t/b"]).contains("ended: SIGKILL"), "{}", ask(&["events", "t/b"]));
    assert!(
        ask(&["why", "t/b"]).contains("t/b was restarted because it was killed"),
        "{}",
        ask(&["why", "t/b"])
    );
}
