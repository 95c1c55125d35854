//! Bad input and bad luck: each gets a clear error or a defined behaviour; nothing is half started, nothing is orphaned.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use crate::bed::{Bed, kill, lives};

/// A tree of one service.
fn tree(keys: &str) -> String {
    format!("id = \"t\"\n[[child]]\nid = \"s\"\n{keys}\n")
}

fn sleeper() -> String {
    tree(r#"command = ["sleep", "1000"]"#)
}

/// Runs `woodward run ARGS` to its end, which must be an error with this code that contains these texts, and must have
/// started nothing.
fn check_refused(bed: &Bed, args: &[&str], code: i32, texts: &[&str]) {
    let places = ["sock", "state"].map(|name| bed.path().join(name).to_str().expect("UTF-8").to_owned());
    let mut all = vec!["run"];
    all.extend(args);
    if !args.contains(&"--socket") {
        all.extend(["--socket", &places[0], "--state", &places[1]]);
    }
    let Output { status, stdout, stderr } = bed.client(&all);
    let said = String::from_utf8_lossy(&stderr).into_owned() + &String::from_utf8_lossy(&stdout);
    assert_eq!(status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "no {text:?} in: {said}");
    }
}

#[test]
fn a_missing_program_is_named_and_the_others_run() {
    let text = sleeper() + "[[child]]\nid = \"gone\"\ncommand = [\"/no/such/program\"]\n";
    let bed = Bed::started(&format!("order = \"dependencies\"\nintensity = 100\n{text}"));
    bed.wait("the other service", |bed| bed.state("t/s") == "up");
    bed.wait("a failed start", |bed| bed.row("t/gone")["reason"].to_string().contains("/no/such/program"));
    assert_ne!(bed.state("t/gone"), "up");
    bed.stop();
}

#[test]
fn a_tree_file_that_cannot_be_read_starts_nothing() {
    let bed = Bed::new();
    let path = |name: &str| bed.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    check_refused(&bed, &[&path("missing.toml")], 78, &["missing.toml"]);
    fs::create_dir(bed.path().join("directory.toml")).expect("a directory can be made");
    check_refused(&bed, &[&path("directory.toml")], 78, &["directory.toml"]);
    fs::write(bed.path().join("latin1.toml"), b"id = \"caf\xe9\"\n").expect("a file can be written");
    check_refused(&bed, &[&path("latin1.toml")], 78, &["latin1.toml"]);
    let good = bed.write("good.toml", &sleeper());
    let bad = bed.write("bad.toml", "id = \"bad\"\n[[child]]\nid = \"x\"\ncomand = \"true\"\n");
    check_refused(
        &bed,
        &[good.to_str().expect("UTF-8"), bad.to_str().expect("UTF-8")],
        78,
        &["bad.toml:4:1", "command"],
    );
    assert_eq!(bed.leftovers(), [] as [String; 0]);
}

#[test]
fn a_second_daemon_on_one_socket_is_refused_and_names_the_first() {
    let bed = Bed::up(&sleeper());
    let service = (bed.pid("t/s"), bed.generation("t/s"));
    let file = bed.path().join("tree.toml");
    let (socket, other, state) = (bed.socket(), bed.path().join("other"), bed.path().join("state"));
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let first = bed.daemon().to_string();
    check_refused(&bed, &[&text(&file), "--socket", &text(&socket), "--state", &text(&other)], 75, &[&first]);
    check_refused(&bed, &[&text(&file), "--socket", &text(&other), "--state", &text(&state)], 75, &[&first]);
    assert_eq!((bed.pid("t/s"), bed.generation("t/s")), service);
    bed.stop();
}

#[test]
fn a_stale_socket_is_replaced() {
    let mut bed = Bed::new();
    drop(UnixListener::bind(bed.socket()).expect("a socket can be bound"));
    let file = bed.write("tree.toml", &sleeper());
    bed.run(&[file]);
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn without_a_free_descriptor_a_start_fails_and_is_tried_again() {
    let keys = r#"backoff = { immediate = 0, first = "50ms", max = "50ms" }"#;
    let bed = Bed::up(&format!("intensity = 100000\n{}{keys}\n", sleeper()));
    let set_limit = |files: u64| {
        let limit = format!("--nofile={files}:4096");
        let prlimit = Command::new("prlimit").args(["--pid", &bed.daemon().to_string(), &limit]).status();
        assert!(prlimit.expect("prlimit is there").success());
    };
    set_limit(0);
    kill(bed.pid("t/s"), libc::SIGKILL);
    bed.wait("a failed start", |bed| bed.ask(&["events", "--json"]).contains("start_failed"));
    set_limit(4096);
    bed.wait("the service again", |bed| bed.state("t/s") == "up");
    bed.stop();
}

#[test]
fn what_a_service_leaves_behind_is_killed_before_its_restart() {
    let script =
        "setsid sleep 1000 & echo $! >> left; [ -e second ] && exec sleep 1000; touch second; exit 0";
    let bed = Bed::started(&tree(&format!("command = [\"sh\", \"-c\", {script:?}]")));
    bed.wait("the second generation", |bed| {
        bed.row("t/s")["restarts"] == 1 && bed.read("left").lines().count() == 2
    });
    let left: Vec<i32> =
        bed.read("left").lines().map(|line| line.parse().expect("a process number")).collect();
    assert!(!lives(left[0]), "what the first generation left behind still runs");
    assert!(lives(left[1]));
    bed.stop();
    assert!(!lives(left[1]));
}

#[test]
fn ready_from_a_stranger_is_not_believed() {
    let script = "import os, socket, time\n\
                  while not os.path.exists('go'): time.sleep(0.01)\n\
                  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  a = os.environ['NOTIFY_SOCKET']\n\
                  s.sendto(b'READY=1', '\\0' + a[1:] if a[0] == '@' else a)\n\
                  time.sleep(1000)\n";
    let bed = Bed::new();
    bed.write("service.py", script);
    let file =
        bed.write("tree.toml", &tree("command = [\"python3\", \"service.py\"]\nready = { notify = true }"));
    let mut bed = bed;
    bed.run(&[file]);
    bed.wait("the service to be started", |bed| {
        bed.client(&["status", "--json"]).status.success() && bed.row("t/s")["pid"].is_number()
    });
    let environment = || fs::read(format!("/proc/{}/environ", bed.pid("t/s"))).unwrap_or_default();
    let address = || {
        let entry = environment()
            .split(|b| *b == 0)
            .find_map(|e| e.strip_prefix(b"NOTIFY_SOCKET=").map(<[u8]>::to_vec));
        entry.and_then(|address| String::from_utf8(address).ok())
    };
    bed.wait("its environment", |_| address().is_some());
    let address = address().expect("it has just been there");
    let stranger = UnixDatagram::unbound().expect("a socket can be made");
    match address.strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a name");
            stranger.send_to_addr(b"READY=1", &name).expect("the socket takes it");
        }
        None => drop(stranger.send_to(b"READY=1", &address).expect("the socket takes it")),
    }
    bed.wait("the stranger to be seen", |bed| bed.ask(&["events", "--json"]).contains("stranger"));
    assert_eq!(bed.state("t/s"), "starting");
    bed.write("go", "");
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn a_full_disk_for_logs_blocks_nobody() {
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; touch written; exec sleep 1000";
    let output = "output = { file = \"/dev/full\" }";
    let bed = Bed::up(&tree(&format!("command = [\"sh\", \"-c\", {script:?}]\n{output}")));
    bed.wait("the service to have written all its lines", |bed| bed.path().join("written").exists());
    assert_eq!((bed.state("t/s").as_str(), &bed.row("t/s")["restarts"]), ("up", &0.into()));
    bed.stop();
}

#[test]
fn a_service_that_closes_its_output_goes_on() {
    let script = "exec >&- 2>&-; touch closed; exec sleep 1000";
    let bed = Bed::up(&tree(&format!("command = [\"sh\", \"-c\", {script:?}]")));
    bed.wait("its output to be closed", |bed| bed.path().join("closed").exists());
    assert_eq!((bed.state("t/s").as_str(), &bed.row("t/s")["restarts"]), ("up", &0.into()));
    bed.stop();
}

#[test]
fn a_service_that_floods_its_output_delays_nobody() {
    let text = tree("command = [\"yes\"]\noutput = { file = \"flood.log\", max_size = \"1M\", keep = 1 }");
    let bed = Bed::up(&text);
    bed.wait("a full file", |bed| bed.path().join("flood.log").metadata().is_ok_and(|m| m.len() > 500_000));
    let first = bed.generation("t/s");
    bed.ask(&["restart", "t/s"]);
    bed.wait("the second generation", |bed| bed.generation("t/s") > first && bed.state("t/s") == "up");
    bed.stop();
}

#[test]
fn sigterm_in_the_first_milliseconds_leaves_nothing() {
    for milliseconds in [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50] {
        let mut bed = Bed::new();
        let file = bed.write("tree.toml", &sleeper());
        bed.run(&[file]);
        sleep(Duration::from_millis(milliseconds));
        kill(bed.daemon(), libc::SIGTERM);
        let status = bed.wait_for_the_end();
        // Killed by the signal itself: before the first line of the program, so nothing was started.
        use std::os::unix::process::ExitStatusExt;
        assert!(
            status.code() == Some(0) || status.signal() == Some(libc::SIGTERM),
            "after {milliseconds} ms: {status}"
        );
        assert_eq!(bed.leftovers(), [] as [String; 0], "after {milliseconds} ms");
    }
}
