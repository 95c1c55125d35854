//! Settings of the daemon, as a person meets them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::bed::{Bed, kill};
use crate::survival::{engine_room, kill_the_daemon};

const TREE: &str = "id = \"t\"\n[[child]]\nid = \"a\"\ncommand = [\"sleep\", \"1000\"]\n";

/// A bed whose `woodward run` reads these settings.
fn started(settings: &str) -> Bed {
    let mut bed = Bed::new();
    let file = bed.write("tree.toml", TREE);
    bed.settings(settings);
    bed.run(&[file.as_os_str()]);
    bed.wait_until_up();
    bed
}

fn said(bed: &Bed, key: &str) -> (String, String) {
    let sheets: Value = serde_json::from_str(&bed.ask(&["settings", "--json"])).expect("it is JSON");
    let lines = sheets[0]["settings"].as_array().expect("an array");
    let line = lines.iter().find(|line| line["key"] == key).unwrap_or_else(|| panic!("no {key} in {sheets}"));
    let text = |name: &str| line[name].as_str().expect("a text").to_owned();
    (text("value"), text("origin"))
}

#[test]
fn a_running_daemon_says_what_it_uses_and_what_would_hold_now() {
    let mut bed = started("history_keep = 3\n");
    let place = |line: u32| format!("{}:{line}", bed.path().join("woodward.toml").display());
    assert_eq!(said(&bed, "history_keep"), ("3".to_owned(), place(1)));
    assert_eq!(said(&bed, "memory_facts"), ("2M".to_owned(), "default".to_owned()));
    assert_eq!(said(&bed, "socket").0, bed.socket().display().to_string());
    let now = place(2);
    bed.settings("\nhistory_keep = 4\n");
    assert_eq!(said(&bed, "history_keep").0, "3");
    assert!(bed.ask(&["settings"]).contains(&now));
    bed.stop();
}

#[test]
fn a_wrong_setting_starts_nothing_and_says_where() {
    let mut bed = Bed::new();
    let file = bed.write("tree.toml", TREE);
    bed.settings("histry_keep = 3\n");
    bed.run(&[file.as_os_str()]);
    assert_eq!(bed.wait_for_the_end().code(), Some(78));
    let output = bed.output();
    assert!(
        output.contains("woodward.toml:1:1: error: unknown key `histry_keep`, did you mean `history_keep`?")
    );
    assert!(output.contains("1 error in the settings; nothing was started"), "{output}");
}

#[test]
fn settings_spoilt_meanwhile_end_nothing_that_runs() {
    let mut bed = started("history_keep = 3\n");
    let pid = bed.pid("t/a");
    bed.settings("history_keep = \n");
    kill_the_daemon(&bed);
    bed.settings("history_keep = 5\n");
    assert_eq!((bed.pid("t/a"), said(&bed, "history_keep").0), (pid, "3".to_owned()));
    assert!(bed.ask(&["events", "--json"]).contains("settings stay as they were"));
    kill(engine_room(&bed).expect("a daemon runs"), libc::SIGKILL);
    bed.wait("the mended setting", |bed| {
        bed.client(&["settings"]).status.success() && said(bed, "history_keep").0 == "5"
    });
    bed.stop();
}

#[test]
fn a_group_is_let_in_by_name() {
    let bed = started("socket_group = \"daemon\"\n");
    let mode = fs::metadata(bed.socket()).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    // A member of the group, who is neither the daemon's user nor root; and one who is not.
    let ask = |group: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "nobody", "--regid", group, "--clear-groups"]);
        let word = "GET /v1/status HTTP/1.0\r\nHost: w\r\n\r\n";
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      s.sendall(sys.argv[2].encode())\nprint(s.recv(99).decode())";
        let output = command.args(["/usr/bin/python3", "-c", script]).arg(bed.socket()).arg(word).output();
        String::from_utf8_lossy(&output.expect("setpriv is there").stdout).into_owned()
    };
    fs::set_permissions(bed.path(), fs::Permissions::from_mode(0o711)).expect("it is ours");
    assert!(ask("daemon").contains("200 OK"), "{}", ask("daemon"));
    assert_eq!(ask("nogroup"), "");
    bed.stop();
}
