//! `woodward upgrade`: another file takes over from daemon and keeper, and the services do not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::{Bed, kill, lives, program};
use crate::keeper_death::{doubled_or_lost, restless};
use crate::survival::engine_room;

/// How often it is done in a row under load.
const TIMES: usize = 50;

fn tree() -> String {
    let child = |id: &str| format!("[[child]]\nid = {id:?}\ncommand = [\"sleep\", \"1000\"]\n");
    format!("id = \"t\"\n{}{}", child("a"), child("b"))
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit(')').next().expect("a name");
    rest.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a parent")
}

#[test]
fn another_file_takes_over_and_services_stay_its_children() {
    let bed = Bed::up(&tree());
    let before = ["t/a", "t/b"].map(|path| (bed.pid(path), bed.generation(path)));
    let (keeper, daemon) = (bed.daemon(), engine_room(&bed).expect("a daemon runs"));
    let new = bed.path().join("new");
    fs::copy(program(), &new).expect("copied");
    let said = bed.ask(&["upgrade", "new"]);
    assert!(said.contains("t: woodward"), "{said}");
    assert_eq!(fs::read_link(format!("/proc/{keeper}/exe")).expect("it runs"), new);
    let next = engine_room(&bed).expect("a daemon runs");
    assert_ne!(next, daemon);
    assert_eq!(fs::read_link(format!("/proc/{next}/exe")).expect("it runs"), new);
    bed.wait_until_up();
    assert_eq!(["t/a", "t/b"].map(|path| (bed.pid(path), bed.generation(path))), before);
    assert_eq!(before.map(|(pid, _)| parent(pid)), [keeper; 2]);
    // Another run is refused as before, the end of a child is seen as before, and a stop leaves nothing.
    let mut second = bed.command();
    second
        .arg("run")
        .arg("tree.toml")
        .arg("--state")
        .arg(bed.path().join("state"))
        .arg("--socket")
        .arg("other");
    assert_eq!(second.output().expect("started").status.code(), Some(75));
    kill(before[0].0, libc::SIGKILL);
    bed.wait("the restart", |bed| bed.generation("t/a") > before[0].1);
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn a_file_that_fails_its_trial_changes_nothing() {
    let bed = Bed::up(&tree());
    let daemon = engine_room(&bed).expect("a daemon runs");
    let text = bed.write("text", "no program\n");
    let check = |file: &Path, expected: &str| {
        let out = bed.client(&["upgrade", file.to_str().expect("a path")]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(expected), "{}: {said}", file.display());
        assert_eq!(engine_room(&bed), Some(daemon), "{}", file.display());
    };
    check(Path::new("/no/such/file"), "No such file");
    check(Path::new("/bin/true"), "no woodward that could take over");
    check(Path::new("/bin/false"), "its trial run failed");
    check(&text, "not executable");
    // What was applied counts, not what lies on the disk by now.
    fs::write(bed.path().join("tree.toml"), "id = ").expect("written");
    bed.ask(&["upgrade"]);
    assert_ne!(engine_room(&bed), Some(daemon));
    bed.stop();
}

#[test]
fn replaced_again_and_again_under_load_nothing_is_lost_and_nothing_doubled() {
    let bed = Bed::started(&restless(6));
    bed.wait("the steady ones", |bed| ["t/a", "t/b"].iter().all(|path| bed.state(path) == "up"));
    let before = ["t/a", "t/b"].map(|path| (bed.pid(path), bed.generation(path)));
    for _ in 0..TIMES {
        bed.ask(&["upgrade"]);
    }
    let starts = bed.read("starts").lines().count();
    bed.wait("everything to go on", |bed| bed.read("starts").lines().count() > starts + 50);
    assert_eq!(["t/a", "t/b"].map(|path| (bed.pid(path), bed.generation(path))), before, "{}", bed.output());
    assert_eq!(before.map(|(pid, _)| parent(pid)), [bed.daemon(); 2]);
    assert_eq!(doubled_or_lost(&bed), "");
    // They were its children all the time: every end has its status.
    assert!(!bed.output().contains("status unknown"), "{}", bed.output());
    bed.stop();
}

#[test]
fn no_line_is_lost_while_another_file_takes_over() {
    let tree = "id = \"t\"\nintensity = 1000000\n[[child]]\nid = \"a\"\nbackoff = false\noutput.file = \"lines\"\n\
                command = [\"sh\", \"-c\", \"for n in 1 2 3 4 5 6 7 8 9; do echo line $WOODWARD_GENERATION $n; \
                sleep 0.002; done; echo line $WOODWARD_GENERATION 10\"]\n";
    let bed = Bed::started(tree);
    for _ in 0..5 {
        bed.ask(&["upgrade"]);
    }
    let count = |bed: &Bed| bed.read("lines").lines().count();
    let so_far = count(&bed);
    bed.wait("more lines", |bed| count(bed) > so_far + 30);
    let lines = bed.read("lines");
    let mut said: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for line in lines.lines().filter_map(|line| line.split_once("line ")?.1.split_once(' ')) {
        said.entry(line.0.parse().expect("a number")).or_default().insert(line.1);
    }
    // The last one may still be speaking.
    said.pop_last();
    let missing: Vec<_> = said.iter().filter(|(_, numbers)| numbers.len() != 10).collect();
    assert!(missing.is_empty(), "of {}: {missing:?}", said.len());
    bed.stop();
}

#[test]
fn no_connection_is_refused_while_another_file_takes_over() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number");
    let script = "import socket; socket.socket(fileno=3).accept()[0].sendall(b'hello')";
    let bed = Bed::up(&format!(
        "id = \"t\"\nintensity = 1000000\n[[child]]\nid = \"s\"\nbackoff = {{ immediate = 0, first = \"50ms\", factor = 1 }}\n\
         restart = \"permanent\"\nlisten = [{{ stream = \"{free}\" }}]\ncommand = [\"python3\", \"-c\", {script:?}]\n"
    ));
    let over = Arc::new(AtomicBool::new(false));
    let client = std::thread::spawn({
        let over = over.clone();
        move || {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(free).expect("not refused");
                let mut text = String::new();
                served += stream.read_to_string(&mut text).map_or(0, |_| text.len() / 5);
            }
            served
        }
    });
    for _ in 0..5 {
        bed.ask(&["upgrade"]);
    }
    over.store(true, Ordering::Relaxed);
    assert!(client.join().expect("never refused") > 0);
    bed.stop();
}

#[test]
fn a_signal_in_the_middle_of_it_is_obeyed_after_it() {
    let mut bed = Bed::up(&tree());
    let services = ["t/a", "t/b"].map(|path| bed.pid(path));
    let daemon = engine_room(&bed).expect("a daemon runs");
    let mut upgrade = bed.command().arg("upgrade").spawn().expect("started");
    bed.wait("the end of the daemon", |_| !lives(daemon));
    kill(bed.daemon(), libc::SIGTERM);
    assert_eq!(bed.wait_for_the_end().code(), Some(0), "{}", bed.output());
    assert!(!services.iter().any(|&pid| lives(pid)));
    upgrade.kill().ok();
    upgrade.wait().ok();
    assert_eq!(bed.leftovers(), [] as [String; 0]);
}
