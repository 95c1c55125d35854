//! `run TREE` as PID 1, and with `--init` elsewhere.

use super::*;

/// A service that ends well when asked to, with this exit code.
const OBEDIENT: &str = "trap 'exit 5' TERM; echo service is up; while :; do sleep 0.01; done";

/// A tree with one essential service.
fn tree(script: &str) -> String {
    format!(
        "id = \"box\"\nshutdown = \"20s\"\n[[child]]\nid = \"web\"\nessential = true\nrestart = \"temporary\"\n\
         command = [\"sh\", \"-c\", '''{script}''']\n"
    )
}

/// Runs a tree as an init.
fn run(how: As, tree: &str) -> Init {
    let dir = directory();
    fs::write(dir.path().join("tree.toml"), tree).expect("a file can be written");
    let init: &[&str] = if how == As::Process { &["--init"] } else { &[] };
    Init::run_in(how, dir, &[&["run", "tree.toml", "--socket", "sock", "--state", "state"], init].concat())
}

/// A question from outside, over the socket.
fn ask(init: &Init, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(bed::program());
    command.args(args).arg("--socket").arg(init.path().join("sock"));
    command.output().expect("the program can be started")
}

#[test]
fn the_end_of_the_essential_service_is_the_end_with_its_code() {
    for how in BOTH {
        assert_eq!(run(how, &tree("exit 7")).code(), 7);
        assert_eq!(run(how, &tree("kill -9 $$")).code(), 137);
    }
}

#[test]
fn a_signal_to_stop_stops_in_order_and_the_code_is_the_essential_services() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGPWR] {
        for how in BOTH {
            let mut init = run(how, &tree(OBEDIENT));
            init.says("service is up");
            init.signal(signal);
            assert_eq!(init.code(), 5, "{how:?}: {}", init.read("errors"));
        }
    }
    let mut init = run(As::Pid1, &tree("echo service is up; exec sleep 1000"));
    init.says("service is up");
    init.signal(libc::SIGTERM);
    assert_eq!(init.code(), 143);
}

#[test]
fn without_an_essential_service_an_ordered_stop_is_0() {
    let mut init = run(As::Pid1, &tree(OBEDIENT).replace("essential = true", "essential = false"));
    init.says("service is up");
    init.signal(libc::SIGTERM);
    assert_eq!(init.code(), 0);
}

#[test]
fn other_signals_go_to_the_essential_service() {
    let script = "for s in USR1 USR2 WINCH QUIT ALRM RTMIN; do trap \"echo got $s.\" $s; done
        echo service is up; while :; do sleep 0.01; done";
    for how in BOTH {
        let init = run(how, &tree(script).replace("[\"sh\"", "[\"bash\""));
        init.says("service is up");
        let signals = [("USR1", 10), ("USR2", 12), ("WINCH", 28), ("QUIT", 3), ("ALRM", 14), ("RTMIN", 34)];
        for (name, number) in signals {
            init.signal(number);
            init.says(&format!("got {name}."));
        }
        // Those of a terminal are nobody's here.
        init.signal(libc::SIGTSTP);
        assert!(ask(&init, &["is-up"]).status.success());
    }
}

#[test]
fn every_orphan_is_reaped_below_a_tree() {
    for how in BOTH {
        let init = run(
            how,
            &tree("for n in 1 2 3 4 5 6 7 8; do (sleep 0.02 & ); done; echo service is up; exec sleep 1000"),
        );
        init.says("service is up");
        until("no zombie and no orphan", || {
            // The daemon and the service.
            let all = children(init.pid());
            (all.len() == 2 && all.iter().all(|pid| state(*pid) != Some('Z'))).then_some(())
        });
    }
}

#[test]
fn what_no_service_minds_is_told_before_the_end() {
    // With kill = "process" a stop leaves the others alone: only the init's own end is theirs.
    let script = "setsid sh -c \"trap 'echo told > $D/orphan; sleep 0.2; echo done >> $D/orphan; exit' TERM
        echo orphan is up; while :; do sleep 0.01; done\" &
        echo service is up; exec sleep 1000";
    for how in BOTH {
        let mut init = run(how, &format!("{}stop = {{ kill = \"process\" }}\n", tree(script)));
        init.says("service is up");
        init.says("orphan is up");
        init.signal(libc::SIGTERM);
        assert_eq!(init.code(), 143);
        assert_eq!(init.read("orphan"), "told\ndone\n", "{how:?}");
    }
}

#[test]
fn what_entered_the_container_from_outside_is_told_too() {
    let mut init = run(As::Pid1, &tree(OBEDIENT));
    init.says("service is up");
    let script =
        "trap 'echo told > $D/entered; exit' TERM; echo in > $D/entered; while :; do sleep 0.01; done";
    let mut entered = Command::new("nsenter")
        .args(["--target", &init.pid().to_string(), "--pid", "--mount", "sh", "-c", script])
        .env("D", init.path())
        .spawn()
        .expect("util-linux is there");
    until("it to be in", || init.read("entered").contains("in").then_some(()));
    init.signal(libc::SIGTERM);
    assert_eq!(init.code(), 5);
    entered.wait().ok();
    assert_eq!(init.read("entered"), "told\n");
}

#[test]
fn as_pid_1_a_root_without_shutdown_is_a_warning() {
    let endless = tree("exit 0").replace("shutdown = \"20s\"\n", "");
    let mut init = run(As::Pid1, &endless);
    assert_eq!(init.code(), 0);
    assert!(init.read("errors").contains("box has no `shutdown`"), "{}", init.read("errors"));
    let file = init.write("endless.toml", &endless);
    let file = file.to_str().expect("a path");
    let says = |args: &[&str]| {
        let out = Command::new(bed::program()).args(args).output().expect("the program can be started");
        String::from_utf8_lossy(&out.stdout).contains("box has no `shutdown`")
    };
    assert!(says(&["check", "--init", file]));
    assert!(!says(&["check", file]));
    let bounded = init.write("bounded.toml", &tree("exit 0"));
    assert!(!says(&["check", "--init", bounded.to_str().expect("a path")]));
}

#[test]
fn on_a_read_only_root_the_socket_is_in_dev_shm() {
    let dir = directory();
    fs::write(dir.path().join("tree.toml"), tree(OBEDIENT)).expect("a file can be written");
    // A namespace of its own, so only this view of the file system becomes read-only.
    let before = "mount --make-rprivate /; mount -o remount,bind,ro / || exit 99
        for d in /run /tmp /var/lib; do mount --bind $d $d; mount -o remount,bind,ro $d; done
        mount -t tmpfs shm /dev/shm";
    let mut init = Init::shell(As::Pid1, dir, before, &["run", "tree.toml"]);
    init.says("service is up");
    let root = format!("/proc/{}/root", init.pid());
    let socket = format!("{root}/dev/shm/woodward-0/box.sock");
    let out = Command::new(bed::program()).args(["is-up", "--wait", "20s", "--socket", &socket]).output();
    assert!(out.expect("the program can be started").status.success());
    let said = "woodward: the socket is /dev/shm/woodward-0/box.sock\n";
    assert_eq!(init.read("errors").matches(said).count(), 1, "{}", init.read("errors"));
    init.signal(libc::SIGTERM);
    assert_eq!(init.code(), 5);
}

#[test]
fn sigterm_in_the_first_milliseconds_ends_a_tree_too() {
    for delay in 0..12 {
        let mut init = run(As::Process, &tree(OBEDIENT));
        let program = bed::program();
        let link = format!("/proc/{}/exe", init.pid());
        until("the program to be executed", || (fs::read_link(&link).ok()? == program).then_some(()));
        sleep(Duration::from_micros(400 * delay));
        init.signal(libc::SIGTERM);
        // Before its first instructions block signals, it is any process. Later it is stopped before or after its
        // service has begun to listen.
        let code = init.code();
        assert!([0, 5, 143].contains(&code), "{code}: {}", init.read("errors"));
    }
}
