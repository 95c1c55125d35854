//! Readiness: started is not yet ready. Each service here waits for the file `go` before it makes its condition true.

use std::net::TcpListener;

use crate::bed::{Bed, lives};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    listener.local_addr().expect("it has an address").port()
}

/// A tree in which `s` has this command and this condition, and `next` comes after it.
fn tree(command: &str, ready: &str) -> String {
    format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\ncommand = {command}\nready = {{ {ready} }}\n[[child]]\nid = \"next\"\ncommand = [\"sleep\", \"1000\"]\n"
    )
}

/// Shell text after the file `go` is there.
fn shell(then: &str) -> String {
    format!(
        "[\"sh\", \"-c\", {:?}]",
        format!("while [ ! -e go ]; do sleep 0.01; done; {then}; exec sleep 1000")
    )
}

/// Python text after the file `go` is there.
fn python(then: &str) -> String {
    let text = format!(
        "import os, socket, sys, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n{then}\ntime.sleep(1000)\n"
    );
    format!("[\"python3\", \"-c\", {text:?}]")
}

fn check(command: &str, ready: &str) {
    let bed = Bed::started(&tree(command, ready));
    bed.wait("the service to be started", |bed| bed.row("t/s")["pid"].is_number());
    assert_eq!((bed.state("t/s").as_str(), bed.state("t/next").as_str()), ("starting", "waiting"), "{ready}");
    bed.write("go", "");
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn notify_is_ready_when_the_service_says_so() {
    let say = "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\na = os.environ['NOTIFY_SOCKET']\n\
               s.sendto(b'READY=1\\nSTATUS=serving', '\\0' + a[1:] if a[0] == '@' else a)";
    let bed = Bed::started(&tree(&python(say), "notify = true"));
    bed.wait("the service to be started", |bed| bed.row("t/s")["pid"].is_number());
    assert_eq!(bed.state("t/s"), "starting");
    bed.write("go", "");
    bed.wait_until_up();
    bed.wait("its status text", |bed| bed.row("t/s")["status_text"] == "serving");
    bed.stop();
}

#[test]
fn a_newline_on_a_descriptor_is_ready() {
    check(&shell("echo up >&3"), "fd = 3");
}

#[test]
fn an_accepted_tcp_connection_is_ready() {
    let port = free_port();
    check(
        &python(&format!("l = socket.create_server(('127.0.0.1', {port}))")),
        &format!("tcp = \"127.0.0.1:{port}\""),
    );
}

#[test]
fn an_accepted_unix_connection_is_ready() {
    check(&python("l = socket.socket(socket.AF_UNIX)\nl.bind('here')\nl.listen()"), "unix = \"here\"");
}

#[test]
fn an_http_answer_is_ready() {
    let port = free_port();
    let serve = format!(
        "import http.server\nhttp.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()"
    );
    check(&python(&serve), &format!("http = \"http://127.0.0.1:{port}/\""));
}

#[test]
fn a_command_that_succeeds_is_ready() {
    check(&shell("touch made"), "exec = [\"test\", \"-e\", \"made\"]");
}

#[test]
fn a_line_of_output_is_ready() {
    check(&shell("echo the service is now running fine"), "log = \"is now running\"");
}

#[test]
fn a_file_written_after_the_start_is_ready() {
    check(&shell("echo IOR:0 > reference"), "file = \"reference\", contains = \"IOR:\"");
}

#[test]
fn a_file_of_the_last_run_is_not_ready() {
    let mut bed = Bed::new();
    bed.write("reference", "IOR:0");
    let file = bed.write("tree.toml", &tree(&shell("echo IOR:1 > reference"), "file = \"reference\""));
    bed.run(&[file]);
    bed.wait("the service to be started", |bed| {
        bed.client(&["status", "--json"]).status.success() && bed.row("t/s")["pid"].is_number()
    });
    assert_eq!(bed.state("t/s"), "starting");
    bed.write("go", "");
    bed.wait_until_up();
    bed.stop();
}

#[test]
fn a_service_that_is_not_ready_in_time_is_stopped_and_tried_again() {
    let text = "id = \"t\"\nintensity = 1000\n[[child]]\nid = \"s\"\ncommand = [\"sh\", \"-c\", \"echo $$ >> pids; exec sleep 1000\"]\n\
                ready = { file = \"never\", within = \"300ms\" }\nbackoff = { immediate = 1, first = \"1h\", max = \"1h\" }\n";
    let bed = Bed::started(text);
    bed.wait("two failed starts", |bed| {
        bed.state("t/s") == "backoff" && bed.read("pids").lines().count() == 2
    });
    let row = bed.row("t/s");
    assert!(row["reason"].as_str().is_some_and(|text| text.contains("not ready in time")), "{row}");
    for pid in bed.read("pids").lines() {
        assert!(!lives(pid.parse().expect("a process number")));
    }
    bed.stop();
}

#[test]
fn an_end_before_it_is_ready_is_a_failed_start() {
    let text = "id = \"t\"\nintensity = 1000\n[[child]]\nid = \"s\"\ncommand = [\"sh\", \"-c\", \"exit 42\"]\nready = { file = \"never\" }\n\
                backoff = { immediate = 0, first = \"1h\", max = \"1h\" }\n";
    let bed = Bed::started(text);
    bed.wait("the back-off", |bed| bed.state("t/s") == "backoff");
    assert_eq!(bed.row("t/s")["reason"], "exit 42 before it was ready");
    bed.stop();
}
