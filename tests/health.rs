//! Health of real processes: a hang is found and decided, starvation gets one grace period, and what relies on a dead
//! service is left alone. Times are short here, and waited for without a limit of their own.

use std::net::TcpListener;

use serde_json::Value;

use crate::bed::{Bed, kill};

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

fn pid(bed: &Bed, path: &str) -> i32 {
    bed.row(path)["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("it runs")
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
    let [a, b, c] = ["t/a", "t/b", "t/c"].map(|path| pid(&bed, path));
    bed.wait("some good answers", |bed| bed.row("t/b")["health"]["good"].as_u64() > Some(2));
    kill(b, libc::SIGSTOP);
    bed.wait("b and c to be others", |bed| {
        bed.row("t/b")["restarts"] == 1 && bed.row("t/c")["restarts"] == 1
    });
    bed.wait_until_up();
    assert_eq!(pid(&bed, "t/a"), a, "a stands before b and stays");
    assert!(pid(&bed, "t/b") != b && pid(&bed, "t/c") != c);
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
    let b = pid(&bed, "t/b");
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
    assert_eq!(pid(&bed, "t/b"), b);
    bed.stop();
}
