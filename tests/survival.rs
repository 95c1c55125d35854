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
    let mut bed = Bed::up(&three());
    let (kept, dropped) = (bed.pid("t/a"), bed.pid("t/c"));
    bed.kill_keeper();
    let tree = three();
    let file = bed.write("tree.toml", tree.rsplit_once("[[child]]").expect("three children").0);
    bed.run(&[file.as_os_str()]);
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
    kill_the_daemon(&bed);
    bed.wait_until_up();
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

#[test]
fn a_kernel_that_fails_again_and_again_costs_no_service() {
    let bed = Bed::up_with(&three(), "WOODWARD_DEBUG_PANIC", "t/b");
    let paths = ["t/a", "t/b", "t/c"];
    let before = paths.map(|path| (bed.pid(path), bed.generation(path)));
    let first = engine_room(&bed).expect("a daemon runs");
    assert!(bed.client(&["hold", "t/a", "-m", "measuring"]).status.success());
    for _ in 0..3 {
        assert_eq!(engine_room(&bed), Some(first));
        assert!(!bed.client(&["hold", "t/b"]).status.success());
    }
    bed.wait("another daemon", |bed| {
        engine_room(bed).is_some_and(|new| new != first) && bed.client(&["status", "--json"]).status.success()
    });
    assert_eq!(paths.map(|path| (bed.pid(path), bed.generation(path))), before);
    assert_eq!(bed.row("t/a")["held"]["text"], "measuring");
    let failures =
        bed.ask(&["events", "--json"]).lines().filter(|line| line.contains("kernel_failed")).count();
    assert_eq!(failures, 3);
    bed.stop();
}

#[test]
fn words_of_persons_survive_the_daemon() {
    let bed = Bed::up(&three());
    bed.ask(&["hold", "t/a", "-m", "measuring"]);
    bed.ask(&["stop", "t/b"]);
    let before = ["t/a", "t/b"].map(|path| bed.row(path));
    for _ in 0..2 {
        kill_the_daemon(&bed);
        for row in &before {
            let now = bed.row(row["path"].as_str().expect("a path"));
            for key in ["state", "held", "reason", "exit", "restarts", "generation", "pid"] {
                assert_eq!(now[key], row[key], "{key}");
            }
        }
    }
    // Still held: an end is noted, and nothing follows.
    kill(bed.pid("t/a"), libc::SIGKILL);
    bed.wait("the end", |bed| bed.state("t/a") == "stopped");
    kill_the_daemon(&bed);
    assert_eq!(bed.state("t/a"), "stopped");
    bed.ask(&["release", "t/a"]);
    bed.wait("the start", |bed| bed.state("t/a") == "up");
    bed.ask(&["start", "t/b"]);
    assert_eq!(bed.state("t/b"), "up");
    bed.stop();
}

#[test]
fn a_back_off_goes_on_and_restarts_count_on() {
    let text = "id = \"t\"\nintensity = 2\nperiod = \"1h\"\n[[child]]\nid = \"a\"\n\
                backoff = { immediate = 1, first = \"1h\", max = \"1h\" }\ncommand = [\"sleep\", \"1000\"]\n\
                [[child]]\nid = \"b\"\ncommand = [\"sleep\", \"1000\"]\nbackoff = false\n";
    let bed = Bed::up(text);
    kill(bed.pid("t/a"), libc::SIGKILL);
    bed.wait("the restart", |bed| bed.row("t/a")["restarts"] == 1 && bed.state("t/a") == "up");
    kill_the_daemon(&bed);
    kill(bed.pid("t/a"), libc::SIGKILL);
    bed.wait("the delay", |bed| bed.state("t/a") == "backoff");
    let next = bed.row("t/a")["next"].as_str().expect("a time")[..16].to_owned();
    kill_the_daemon(&bed);
    let row = bed.row("t/a");
    assert_eq!((row["state"].as_str(), &row["restarts"]), (Some("backoff"), &1.into()));
    assert_eq!(row["next"].as_str().expect("a time")[..14], next[..14]);
    assert_eq!(bed.row("t")["limit"]["used"], 2);
    // One too many, over three daemons.
    let keeper = bed.daemon();
    kill(bed.pid("t/b"), libc::SIGKILL);
    let mut bed = bed;
    assert_eq!(bed.wait_for_the_end().code(), Some(1), "{}", bed.output());
    assert!(!lives(keeper));
    assert_eq!(bed.leftovers(), [] as [String; 0]);
}

#[test]
fn a_oneshot_is_not_done_twice_and_instances_keep_their_arguments() {
    let text = "id = \"t\"\n[[child]]\nid = \"once\"\nkind = \"oneshot\"\n\
                command = [\"sh\", \"-c\", \"echo once >> log\"]\nstop.kill = \"group\"\n\
                [[child]]\nid = \"pool\"\nstrategy = \"simple_one_for_one\"\nintensity = 100\n\
                [child.template]\nid = \"w\"\nbackoff = false\n\
                command = [\"sh\", \"-c\", \"echo $0 >> log; exec sleep 1000\", \"${arg.name}\"]\n";
    let bed = Bed::up(text);
    bed.ask(&["start", "t/pool", "--arg", "name=ada"]);
    bed.wait("its line", |bed| bed.read("log") == "once\nada\n");
    let pid = bed.pid("t/pool/w#1");
    kill_the_daemon(&bed);
    assert_eq!((bed.pid("t/pool/w#1"), bed.state("t/once").as_str()), (pid, "done"));
    kill(pid, libc::SIGKILL);
    bed.wait("another line", |bed| bed.read("log") == "once\nada\nada\n");
    bed.ask(&["start", "t/pool", "--arg", "name=bob"]);
    bed.wait("the second", |bed| bed.read("log").ends_with("bob\n"));
    assert_eq!(bed.state("t/pool/w#2"), "up");
    bed.stop();
}

#[test]
fn what_is_being_stopped_when_the_daemon_dies_is_stopped_by_the_next_one() {
    let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let text = format!(
        "id = \"t\"\n[[child]]\nid = \"a\"\nshutdown = \"2s\"\nready = {{ log = \"up\" }}\n\
         command = [\"sh\", \"-c\", {script:?}]\n"
    );
    let bed = Bed::up(&text);
    let pid = bed.pid("t/a");
    let mut asked = bed.command().args(["stop", "t/a"]).spawn().expect("the program can be started");
    bed.wait("the stop", |bed| bed.state("t/a") == "stopping");
    kill_the_daemon(&bed);
    asked.wait().expect("our own child can be waited for");
    bed.wait("its end", |bed| bed.state("t/a") == "stopped");
    assert!(!lives(pid));
    bed.stop();
}

#[test]
fn what_a_service_says_while_no_daemon_listens_is_heard_by_the_next_one() {
    let notify = "import os, socket, time\n\
                  while not os.path.exists('go'): time.sleep(0.001)\n\
                  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n\
                  open('said', 'w').close()\ntime.sleep(1000)\n";
    let newline = "while [ ! -e go ]; do sleep 0.001; done; echo >&3; touch wrote; exec sleep 1000";
    let text = format!(
        "id = \"t\"\norder = \"dependencies\"\n\
         [[child]]\nid = \"n\"\nready = {{ notify = true }}\ncommand = [\"python3\", \"-c\", {notify:?}]\n\
         [[child]]\nid = \"d\"\nready = {{ fd = 3 }}\ncommand = [\"sh\", \"-c\", {newline:?}]\n"
    );
    let bed = Bed::started(&text);
    bed.wait("both to be started", |bed| ["t/n", "t/d"].iter().all(|path| bed.row(path)["pid"].is_number()));
    let daemon = engine_room(&bed).expect("a daemon runs");
    kill(daemon, libc::SIGSTOP);
    bed.write("go", "");
    bed.wait("both to speak", |bed| ["said", "wrote"].iter().all(|name| bed.path().join(name).exists()));
    kill(daemon, libc::SIGKILL);
    bed.wait("both to be ready", |bed| bed.client(&["is-up"]).status.success());
    bed.stop();
}

/// SIGTERM to the keeper: everything must end without a daemon's help.
fn check_stopped_by_the_keeper(mut bed: Bed) {
    kill(bed.daemon(), libc::SIGTERM);
    assert_eq!(bed.wait_for_the_end().code(), Some(75), "{}", bed.output());
    assert_eq!(bed.leftovers(), [] as [String; 0]);
}

#[test]
fn with_a_stopped_daemon_sigterm_stops_everything() {
    let bed = Bed::up(&three());
    kill(engine_room(&bed).expect("a daemon runs"), libc::SIGSTOP);
    check_stopped_by_the_keeper(bed);
}

#[test]
fn with_a_daemon_that_dies_again_and_again_sigterm_stops_everything() {
    let bed = Bed::up(&three());
    // What was applied is lost, and what lies on the disk is no tree.
    bed.write("tree.toml", "id = ");
    bed.write("state/t/run/applied.json", "");
    kill(engine_room(&bed).expect("a daemon runs"), libc::SIGKILL);
    bed.wait("a complaint", |bed| bed.output().contains("nothing was started"));
    check_stopped_by_the_keeper(bed);
}

#[test]
fn everything_is_shown_as_it_was_after_the_death_of_the_daemon() {
    let child = |n: usize| format!("[[child]]\nid = \"w{n}\"\ncommand = [\"sleep\", \"1000\"]\n");
    let bed = Bed::up(&format!("id = \"t\"\n{}", (0..300).map(child).collect::<String>()));
    let shown = |bed: &Bed| -> Vec<_> {
        let rows = bed.status().into_iter();
        rows.map(|row| ["path", "state", "pid", "generation", "restarts"].map(|key| row[key].clone()))
            .collect()
    };
    let before = shown(&bed);
    kill_the_daemon(&bed);
    assert_eq!(shown(&bed), before);
    bed.stop();
}
