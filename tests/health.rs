//! Health of real processes: a hang is found and decided, starvation gets one grace period, and what relies on a dead
//! service is left alone. Times are short here, and waited for without a limit of their own.

use std::net::TcpListener;

use serde_json::Value;

use crate::bed::{Bed, kill};
use crate::survival::{engine_room, kill_the_daemon};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    listener.local_addr().expect("it has an address").port()
}

/// A service that answers each connection on `port`; a stopped one leaves the askers without an answer.
fn server(id: &str, port: u16, keys: &str) -> String {
    let text = format!(
        "import socketserver\nclass H(socketserver.BaseRequestHandler):\n    def handle(self):\n        \
         self.request.recv(999); self.request.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n')\n\
         socketserver.TCPServer.allow_reuse_address = True\n\
         socketserver.ThreadingTCPServer(('127.0.0.1', {port}), H).serve_forever()\n"
    );
    format!(
        "[[child]]\nid = \"{id}\"\ncommand = [\"python3\", \"-c\", {text:?}]\n\
         ready = {{ http = \"http://127.0.0.1:{port}/\" }}\n{keys}\n"
    )
}

/// The facts of this kind about a path.
fn facts(bed: &Bed, path: &str, kind: &str) -> Vec<Value> {
    let output = bed.client(&["events", "--json", path]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a fact a line"));
    all.filter(|fact| fact["path"] == path && fact["kind"] == kind).collect()
}

const OFTEN: &str =
    "health = { every = \"200ms\", timeout = \"500ms\", misses = 3, shutdown = \"brutal_kill\" }";

#[test]
fn what_hangs_is_sick_and_exactly_its_group_restarts() {
    let ports = [free_port(), free_port(), free_port()];
    let tree = format!(
        "id = \"t\"\nstrategy = \"rest_for_one\"\nintensity = 50\n[defaults]\n{OFTEN}\n{}{}{}",
        server("a", ports[0], ""),
        server("b", ports[1], ""),
        server("c", ports[2], ""),
    );
    let bed = Bed::up(&tree);
    let [a, b, c] = ["t/a", "t/b", "t/c"].map(|path| bed.pid(path));
    bed.wait("some good answers", |bed| bed.row("t/b")["health"]["good"].as_u64() > Some(2));
    kill(b, libc::SIGSTOP);
    bed.wait("b and c to be others", |bed| {
        bed.row("t/b")["restarts"] == 1 && bed.row("t/c")["restarts"] == 1
    });
    bed.wait_until_up();
    assert_eq!(bed.pid("t/a"), a, "a stands before b and stays");
    assert!(bed.pid("t/b") != b && bed.pid("t/c") != c);
    let sick = facts(&bed, "t/b", "sick");
    assert_eq!(sick.len(), 1);
    let text = sick[0]["text"].as_str().unwrap_or_default();
    let expected =
        format!("its health check failed: http://127.0.0.1:{}/: no answer within 500ms, 3 times", ports[1]);
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!((facts(&bed, "t/a", "sick").len(), facts(&bed, "t/c", "sick").len()), (0, 0));
    let reason = bed.row("t/b")["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.starts_with("health: http")), "{reason}");
    let why = bed.client(&["why", "t/b"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("failed its health check"), "{why}");
    bed.stop();
}

#[test]
fn what_is_after_a_dead_service_is_not_asked_until_it_is_back() {
    let ports = [free_port(), free_port()];
    // c answers only as long as a does, as a client of it would.
    let tree = format!(
        "id = \"t\"\norder = \"dependencies\"\nintensity = 50\n{}{}",
        server("a", ports[0], ""),
        server(
            "b",
            ports[1],
            &format!(
                "after = [\"a\"]\nhealth = {{ tcp = \"127.0.0.1:{}\", every = \"100ms\", timeout = \"500ms\", misses = 2 }}",
                ports[0]
            )
        ),
    );
    let bed = Bed::up(&tree);
    let b = bed.pid("t/b");
    bed.wait("some good answers", |bed| bed.row("t/b")["health"]["good"].as_u64() > Some(2));
    assert!(bed.client(&["stop", "t/a"]).status.success());
    bed.wait("b to be left alone", |bed| bed.row("t/b")["health"]["waits_for"] == "t/a");
    let asked = bed.row("t/b")["health"]["asked"].clone();
    let suspended = facts(&bed, "t/b", "suspended");
    assert_eq!(suspended[0]["text"], "health is not asked while t/a is not up");
    assert!(bed.client(&["start", "t/a"]).status.success());
    bed.wait("b to be asked again", |bed| bed.row("t/b")["health"]["asked"].as_u64() > asked.as_u64());
    let count = |kind| facts(&bed, "t/b", kind).len();
    assert_eq!((count("suspended"), count("resumed"), count("sick")), (1, 1, 0));
    assert_eq!(bed.pid("t/b"), b);
    bed.stop();
}

/// A service that says `WATCHDOG=1` all the time and counts that in the file `beats`; in its generation g it falls silent
/// when there is a file `mute-g`, and says `WATCHDOG=trigger` when there is a file `trigger-g`.
fn fed(id: &str, keys: &str) -> String {
    let text = "import os, socket, time\n\
         s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         s.setblocking(False)\n\
         def say(word):\n    \
             try: s.sendto(word, os.environ['NOTIFY_SOCKET'])\n    \
             except BlockingIOError: pass\n\
         g = os.environ['WOODWARD_GENERATION']\n\
         open('usec', 'w').write(os.environ['WATCHDOG_USEC'])\n\
         n = 0\n\
         while True:\n    \
             if not os.path.exists('mute-' + g): n += 1; say(b'WATCHDOG=1')\n    \
             if os.path.exists('trigger-' + g): say(b'WATCHDOG=trigger'); time.sleep(1000)\n    \
             open('beats', 'w').write(str(n))\n    \
             time.sleep(0.05)\n";
    format!("[[child]]\nid = \"{id}\"\ncommand = [\"python3\", \"-c\", {text:?}]\n{keys}\n")
}

fn beats(bed: &Bed) -> u64 {
    bed.read("beats").trim().parse().unwrap_or(0)
}

#[test]
fn a_watchdog_that_is_not_fed_ends_its_service() {
    let tree = format!(
        "id = \"t\"\nintensity = 50\n{}",
        fed("s", "health = { watchdog = \"3s\", shutdown = \"brutal_kill\" }")
    );
    let bed = Bed::up(&tree);
    bed.wait("signs of life", |bed| bed.row("t/s")["health"]["good"].as_u64() > Some(3));
    assert_eq!(bed.read("usec"), "3000000");
    let first = bed.generation("t/s");
    bed.write(&format!("mute-{first}"), "");
    bed.wait("another one", |bed| bed.generation("t/s") > first);
    let sick = facts(&bed, "t/s", "sick");
    assert_eq!(sick[0]["text"], "its health check failed: no WATCHDOG=1 within 3s");
    bed.wait("signs of life again", |bed| bed.row("t/s")["health"]["good"].as_u64() > Some(3));
    let second = bed.generation("t/s");
    bed.write(&format!("trigger-{second}"), "");
    bed.wait("a third one", |bed| bed.generation("t/s") > second);
    let sick = facts(&bed, "t/s", "sick");
    assert_eq!(sick[sick.len() - 1]["text"], "its health check failed: it said WATCHDOG=trigger");
    bed.stop();
}

#[test]
fn a_daemon_that_did_not_run_blames_no_service() {
    let tree = format!("id = \"t\"\n{}", fed("s", "health = { watchdog = \"1500ms\" }"));
    let bed = Bed::up(&tree);
    bed.wait("signs of life", |bed| bed.row("t/s")["health"]["good"].as_u64() > Some(3));
    let daemon = engine_room(&bed).expect("a daemon runs");
    let before = beats(&bed);
    kill(daemon, libc::SIGSTOP);
    // Two seconds and more of its time, by its own clock.
    bed.wait("many words that nobody hears", |bed| beats(bed) > before + 40);
    kill(daemon, libc::SIGCONT);
    let good = || bed.row("t/s")["health"]["good"].as_u64().unwrap_or(0);
    let heard = good();
    bed.wait("signs of life that are heard again", |_| good() > heard + 20);
    assert_eq!(facts(&bed, "t/s", "sick").len(), 0);
    assert_eq!(bed.row("t/s")["restarts"], 0);
    bed.stop();
}

#[test]
fn a_starved_service_gets_one_grace_period() {
    // It falls silent and has a hog beside it in its control group: four times as many as there are processors.
    let text = "import multiprocessing, os, time\n\
         def spin():\n    os.nice(19)\n    while True: pass\n\
         for _ in range(4 * os.cpu_count()): multiprocessing.Process(target=spin, daemon=True).start()\n\
         open('beat', 'w').close()\ntime.sleep(1000)\n";
    let tree = format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nrestart = \"temporary\"\ncommand = [\"python3\", \"-c\", {text:?}]\n\
         ready = {{ file = \"beat\" }}\n\
         health = {{ file = \"beat\", max_age = \"500ms\", every = \"1s\", misses = 4, shutdown = \"brutal_kill\" }}\n"
    );
    let bed = Bed::up(&tree);
    bed.wait("the end of it", |bed| !facts(bed, "t/s", "ended").is_empty());
    let starved = facts(&bed, "t/s", "starved");
    assert_eq!(starved.len(), 1, "{starved:?}");
    let text = starved[0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("one grace period: ") && text.contains("it waited for a processor"), "{text}");
    let sick = facts(&bed, "t/s", "sick");
    assert_eq!(sick.len(), 1);
    assert!(sick[0]["at"].as_u64() > starved[0]["at"].as_u64());
    bed.stop();
}

#[test]
fn a_new_daemon_goes_on_watching() {
    let port = free_port();
    let tree = format!("id = \"t\"\nintensity = 50\n[defaults]\n{OFTEN}\n{}", server("a", port, ""));
    let bed = Bed::up(&tree);
    let a = bed.pid("t/a");
    kill_the_daemon(&bed);
    bed.wait("good answers", |bed| bed.row("t/a")["health"]["good"].as_u64() > Some(1));
    assert_eq!(bed.pid("t/a"), a);
    kill(a, libc::SIGSTOP);
    bed.wait("another a", |bed| bed.row("t/a")["pid"].as_i64().is_some_and(|pid| pid != i64::from(a)));
    bed.stop();
}

#[test]
fn a_service_reloads_as_its_tree_says() {
    let shell = |trap: &str| {
        format!("[\"sh\", \"-c\", {:?}]", format!("{trap}touch up; while :; do sleep 0.05; done"))
    };
    let tree = format!(
        "id = \"t\"\n[defaults]\nready.file = \"up\"\nstop.kill = \"group\"\n\
         [[child]]\nid = \"a\"\ncommand = {}\nreload.signal = \"SIGHUP\"\n\
         [[child]]\nid = \"b\"\nready = false\ncommand = [\"sleep\", \"1000\"]\nreload.command = [\"sh\", \"-c\", \"echo $MAINPID > b\"]\n\
         [[child]]\nid = \"c\"\nready = false\ncommand = [\"sleep\", \"1000\"]\nreload.command = \"false\"\n\
         [[child]]\nid = \"d\"\nready = false\ncommand = [\"sleep\", \"1000\"]\n",
        shell("trap 'echo hup >> a' HUP; trap 'echo usr1 >> a' USR1; ")
    );
    let bed = Bed::up(&tree);
    let told = |args: &[&str]| {
        let output = bed.client(args);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = told(&["reload", "a"]);
    assert_eq!(code, Some(0), "{text}");
    bed.wait("the signal", |bed| bed.read("a") == "hup\n");
    assert!(told(&["signal", "t/a", "USR1"]).1.contains("sent SIGUSR1"));
    bed.wait("the other signal", |bed| bed.read("a") == "hup\nusr1\n");
    assert_eq!(told(&["reload", "b"]).0, Some(0));
    assert_eq!(bed.read("b").trim(), bed.pid("t/b").to_string());
    let (code, text) = told(&["reload", "c"]);
    assert!(code == Some(1) && text.contains("cannot reload t/c: false: exit 1"), "{code:?} {text}");
    let (code, text) = told(&["reload", "d"]);
    assert!(code == Some(64) && text.contains("hint: reload = "), "{code:?} {text}");
    let (code, text) = told(&["signal", "t", "SIGHUP"]);
    assert!(code == Some(64) && text.contains("it is no service"), "{code:?} {text}");
    assert_eq!(facts(&bed, "t/a", "reloaded").len() + facts(&bed, "t/a", "signalled").len(), 2);
    bed.stop();
}
