//! Services under the rules of the tree: who starts and stops in which order, who restarts with whom, what runs around a
//! service.

use crate::bed::{Bed, kill, lives};

/// A service that notes its start and its stop in the file `log` and is ready when it has.
fn noting(id: &str) -> String {
    let script = format!(
        "echo +{id} >> log; touch {id}.up; trap 'echo -{id} >> log; exit 0' TERM; while :; do sleep 1000 & wait; done"
    );
    format!(
        "[[child]]\nid = {id:?}\ncommand = [\"sh\", \"-c\", {script:?}]\nready = {{ file = \"{id}.up\" }}\nbackoff = {{ immediate = 1000 }}\n"
    )
}

fn tree(root: &str, ids: &[&str]) -> String {
    ids.iter().fold(format!("id = \"t\"\n{root}\n"), |text, id| text + &noting(id))
}

fn lines(bed: &Bed) -> Vec<String> {
    bed.read("log").lines().map(str::to_owned).collect()
}

#[test]
fn children_start_in_list_order_and_stop_in_reverse() {
    let bed = Bed::up(&tree("", &["a", "b", "c"]));
    assert_eq!(lines(&bed), ["+a", "+b", "+c"]);
    bed.ask(&["stop", "t/b"]);
    assert_eq!(lines(&bed), ["+a", "+b", "+c", "-b"]);
    bed.ask(&["start", "t/b"]);
    bed.ask(&["restart", "t/a"]);
    assert_eq!(lines(&bed)[4..], ["+b", "-a", "+a"]);
    kill(bed.daemon(), libc::SIGTERM);
    bed.wait("the end", |bed| lines(bed).len() == 10);
    assert_eq!(lines(&bed)[7..], ["-c", "-b", "-a"]);
    bed.stop();
}

#[test]
fn a_crash_restarts_those_the_strategy_names() {
    fn check(strategy: &str, expected: &[&str]) {
        let bed = Bed::up(&tree(&format!("strategy = {strategy:?}"), &["a", "b", "c"]));
        let paths = ["t/a", "t/b", "t/c"];
        let before = paths.map(|path| (bed.pid(path), bed.generation(path)));
        kill(before[1].0, libc::SIGKILL);
        bed.wait("the restart", |bed| bed.row("t/b")["restarts"] == 1);
        bed.wait_until_up();
        let restarted: Vec<&str> = (0..3)
            .filter(|&n| {
                let now = (bed.pid(paths[n]), bed.generation(paths[n]));
                assert_eq!(now.0 != before[n].0, now.1 > before[n].1);
                now != before[n]
            })
            .map(|n| paths[n])
            .collect();
        assert_eq!(restarted, expected, "{strategy}");
        assert_eq!(bed.row("t/b")["reason"], "killed by SIGKILL");
        bed.stop();
    }
    check("one_for_one", &["t/b"]);
    check("rest_for_one", &["t/b", "t/c"]);
    check("one_for_all", &["t/a", "t/b", "t/c"]);
}

#[test]
fn a_transient_service_that_ends_well_stays_down() {
    let text = "id = \"t\"\n[[child]]\nid = \"s\"\nrestart = \"transient\"\ncommand = [\"sh\", \"-c\", \"exit 0\"]\n";
    let bed = Bed::started(text);
    bed.wait("its end", |bed| bed.state("t/s") == "stopped");
    assert_eq!(
        (bed.row("t/s")["restarts"].as_u64(), bed.row("t/s")["exit"].as_str()),
        (Some(0), Some("exit 0"))
    );
    bed.stop();
}

#[test]
fn a_root_that_gives_up_ends_the_daemon_with_1() {
    let text = "id = \"t\"\nintensity = 2\n[[child]]\nid = \"s\"\ncommand = [\"false\"]\nbackoff = { immediate = 9 }\n";
    let mut bed = Bed::new();
    let file = bed.write("tree.toml", text);
    bed.run(&[file]);
    assert_eq!(bed.wait_for_the_end().code(), Some(1), "{}", bed.output());
}

#[test]
fn a_second_start_uses_the_command_for_restarts() {
    let text = "id = \"t\"\n[[child]]\nid = \"s\"\ncommand = [\"sh\", \"-c\", \"echo cold >> log; exec sleep 1000\"]\n\
                command_on_restart = [\"sh\", \"-c\", \"echo recovery >> log; exec sleep 1000\"]\nbackoff = { immediate = 9 }\n";
    let bed = Bed::up(text);
    bed.wait("the first", |bed| lines(bed) == ["cold"]);
    kill(bed.pid("t/s"), libc::SIGKILL);
    bed.wait("the second", |bed| lines(bed) == ["cold", "recovery"]);
    bed.stop();
}

#[test]
fn a_oneshot_is_done_when_it_ended_well_and_the_next_one_waits_for_it() {
    let text = "id = \"t\"\n[[child]]\nid = \"prepare\"\nkind = \"oneshot\"\ncommand = [\"sh\", \"-c\", \"while [ ! -e go ]; do sleep 0.01; done; echo prepared >> log\"]\n";
    let bed = Bed::started(&(text.to_owned() + &noting("s")));
    bed.wait("the oneshot to run", |bed| bed.row("t/prepare")["pid"].is_number());
    assert_eq!(bed.state("t/s"), "waiting");
    bed.write("go", "");
    bed.wait_until_up();
    assert_eq!(bed.state("t/prepare"), "done");
    assert_eq!(lines(&bed), ["prepared", "+s"]);
    bed.stop();
}

#[test]
fn a_oneshot_that_fails_is_tried_again() {
    let script = "echo try >> log; [ $(wc -l < log) -ge 3 ]";
    let text = format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nkind = \"oneshot\"\ncommand = [\"sh\", \"-c\", {script:?}]\nbackoff = {{ immediate = 9 }}\n"
    );
    let bed = Bed::up(&text);
    assert_eq!((lines(&bed).len(), bed.state("t/s")), (3, "done".to_owned()));
    bed.stop();
}

#[test]
fn hooks_run_around_the_service_and_learn_how_it_ended() {
    let hook = |text: &str| format!("[\"sh\", \"-c\", {:?}]", format!("echo {text} >> log"));
    let text = format!(
        "id = \"t\"\n{}before_start = [{}, {}]\nafter_ready = {}\nafter_stop = {}\n",
        noting("s"),
        hook("before 1 $WOODWARD_PATH"),
        hook("before 2"),
        hook("ready"),
        hook("after $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS"),
    );
    let bed = Bed::up(&text);
    assert_eq!(lines(&bed), ["before 1 t/s", "before 2", "+s", "ready"]);
    kill(bed.pid("t/s"), libc::SIGKILL);
    bed.wait("the restart", |bed| lines(bed).len() == 9);
    assert_eq!(lines(&bed)[4..6], ["after signal killed KILL", "before 1 t/s"]);
    bed.wait_until_up();
    bed.ask(&["stop", "t/s"]);
    assert_eq!(lines(&bed)[9..], ["-s", "after success exited 0"]);
    bed.stop();
}

#[test]
fn a_failing_hook_is_a_failed_start_and_leaves_nothing_running() {
    fn check(hook: &str, reason: &str) {
        let text = format!(
            "id = \"t\"\nintensity = 1000\n[[child]]\nid = \"s\"\ncommand = [\"sleep\", \"1000\"]\n{hook}\nbackoff = {{ immediate = 0, first = \"1h\", max = \"1h\" }}\n"
        );
        let bed = Bed::started(&text);
        bed.wait("the back-off", |bed| bed.state("t/s") == "backoff");
        let row = bed.row("t/s");
        assert!(row["reason"].as_str().is_some_and(|text| text.contains(reason)), "{row}");
        bed.wait("nothing to run", |bed| !bed.leftovers().iter().any(|line| line.contains("sleep")));
        bed.stop();
    }
    check("before_start = [\"sh\", \"-c\", \"setsid sleep 1000 & exit 3\"]", "before_start sh: exit 3");
    check("after_ready = [\"sh\", \"-c\", \"exit 4\"]", "after_ready sh: exit 4");
    check("before_start = [\"/no/such/hook\"]", "/no/such/hook: not found");
}

#[test]
fn a_service_gets_its_path_and_generation_and_no_other_variable_of_woodwards() {
    let text = "id = \"t\"\n[[child]]\nid = \"s\"\npass_environment = false\nenvironment = { A = \"1\" }\n\
                command = [\"/bin/sh\", \"-c\", \"cat /proc/$$/environ | tr '\\\\0' '\\\\n' | sort > env; exec sleep 1000\"]\nready = { file = \"env\", contains = \"WOODWARD_PATH\" }\n";
    let bed = Bed::up(text);
    let environment = bed.read("env");
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names, ["A", "WOODWARD_GENERATION", "WOODWARD_PATH"], "{environment}");
    assert!(environment.contains("WOODWARD_PATH=t/s\n"));
    let pid = bed.pid("t/s");
    bed.stop();
    assert!(!lives(pid));
}

#[test]
fn whoever_started_woodward_is_told_when_all_is_up_and_when_it_stops() {
    let bed = Bed::new();
    let file = bed.write("tree.toml", &tree("", &["a", "b"]));
    let address = bed.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&address).expect("a socket can be bound");
    manager.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a time can be set");
    let mut woodward = bed.command();
    woodward.env("NOTIFY_SOCKET", &address).arg("run").arg(file).arg("--socket").arg(bed.socket());
    let mut woodward =
        woodward.arg("--state").arg(bed.path().join("state")).spawn().expect("the program can be started");
    let heard = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let n = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{wanted} was never heard: {e}"));
            if String::from_utf8_lossy(&buffer[..n]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    heard("READY=1");
    assert_eq!(lines(&bed), ["+a", "+b"]);
    heard("STATUS=2 of 2 up");
    kill(woodward.id().cast_signed(), libc::SIGTERM);
    heard("STOPPING=1");
    assert!(woodward.wait().expect("our own child can be waited for").success());
    assert_eq!(lines(&bed)[2..], ["-b", "-a"]);
}
