//! Stopping: stop command, signal, SIGKILL of all that is left; and that nothing of it makes anybody wait.

use crate::bed::{Bed, kill, lives};

fn service(script: &str, keys: &str) -> String {
    format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\ncommand = [\"sh\", \"-c\", {script:?}]\nready = {{ file = \"up\" }}\n{keys}\n"
    )
}

#[test]
fn a_service_that_ignores_its_signal_is_killed_when_its_time_is_over() {
    let bed = Bed::up(&service("trap '' TERM; touch up; exec sleep 1000", "shutdown = \"200ms\""));
    let pid = bed.pid("t/s");
    bed.ask(&["stop", "t/s"]);
    assert!(!lives(pid));
    assert_eq!((bed.state("t/s").as_str(), bed.row("t/s")["exit"].as_str()), ("stopped", Some("SIGKILL")));
    assert!(bed.ask(&["events", "--json"]).contains("\"killed\""));
    bed.stop();
}

#[test]
fn brutal_kill_does_not_ask() {
    let bed = Bed::up(&service(
        "trap 'touch asked; exit 0' TERM; touch up; while :; do sleep 1000 & wait; done",
        "shutdown = \"brutal_kill\"",
    ));
    bed.ask(&["stop", "t/s"]);
    assert_eq!(bed.row("t/s")["exit"], "SIGKILL");
    assert!(!bed.path().join("asked").exists());
    bed.stop();
}

#[test]
fn the_stop_command_comes_first_and_the_signal_gets_who_is_left() {
    let script = "trap 'echo term >> log; exit 0' TERM; touch up; while :; do sleep 1000 & wait; done";
    let command = "echo command $MAINPID >> log";
    let bed = Bed::up(&service(script, &format!("stop.command = [\"sh\", \"-c\", {command:?}]")));
    let pid = bed.pid("t/s");
    bed.ask(&["stop", "t/s"]);
    assert_eq!(bed.read("log"), format!("command {pid}\nterm\n"));
    bed.stop();
}

#[test]
fn a_stop_command_is_not_killed_with_the_process_it_stops() {
    let command =
        "kill $MAINPID; while kill -0 $MAINPID 2>/dev/null; do :; done; sleep 0.3; echo over >> log";
    let bed = Bed::up(&service(
        "touch up; exec sleep 1000",
        &format!("stop.command = [\"sh\", \"-c\", {command:?}]"),
    ));
    bed.ask(&["stop", "t/s"]);
    assert_eq!(bed.read("log"), "over\n");
    bed.ask(&["start", "t/s"]);
    bed.stop();
}

#[test]
fn a_stop_command_that_takes_too_long_is_killed() {
    let command = "kill $MAINPID; sleep 1000";
    let keys = format!("shutdown = \"300ms\"\nstop.command = [\"sh\", \"-c\", {command:?}]");
    let bed = Bed::up(&service("touch up; exec sleep 1000", &keys));
    bed.ask(&["stop", "t/s"]);
    assert_eq!(bed.state("t/s"), "stopped");
    assert!(bed.leftovers().iter().all(|line| !line.contains("sleep 1000")), "{:?}", bed.leftovers());
    bed.stop();
}

#[test]
fn the_stop_signal_is_the_one_of_the_file() {
    let script = "trap 'echo int >> log; exit 0' INT; touch up; while :; do sleep 1000 & wait; done";
    let bed = Bed::up(&service(script, "stop.signal = \"SIGINT\""));
    bed.ask(&["stop", "t/s"]);
    assert_eq!(bed.read("log"), "int\n");
    bed.stop();
}

#[test]
fn in_group_mode_everybody_gets_the_signal_and_has_time() {
    let member = "sh -c 'trap \"sleep 0.2; echo member >> log; exit 0\" TERM; touch up; while :; do sleep 1000 & wait; done' &";
    let bed = Bed::up(&service(&format!("{member} exec sleep 1000"), "stop.kill = \"group\""));
    bed.ask(&["stop", "t/s"]);
    assert_eq!(bed.read("log"), "member\n");
    bed.stop();
}

#[test]
fn a_thousand_children_stop_at_once_and_status_answers_meanwhile() {
    let text = "id = \"t\"\norder = \"dependencies\"\n[[child]]\nid = \"s${i}\"\neach.i = 1000\nshutdown = \"infinity\"\n\
                command = [\"sh\", \"-c\", \"trap '' TERM; exec sleep 1000\"]\n";
    let mut bed = Bed::up(text);
    bed.wait("all to ignore their signal", |bed| {
        bed.status().iter().filter_map(|row| row["pid"].as_i64()).all(|pid| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with("sleep")
        })
    });
    kill(bed.daemon(), libc::SIGTERM);
    bed.wait("all to be asked", |bed| {
        bed.status().iter().filter(|row| row["kind"] == "service" && row["state"] == "stopping").count()
            == 1000
    });
    bed.wait("whom it waits for", |bed| bed.output().contains("and 997 more"));
    assert_eq!(bed.status().len(), 1001);
    kill(bed.daemon(), libc::SIGTERM);
    assert_eq!(bed.wait_for_the_end().code(), Some(0), "{}", bed.output());
    assert_eq!(bed.leftovers(), [] as [String; 0]);
}
