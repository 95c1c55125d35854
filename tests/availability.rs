//! How much of the time a tree was up, from what was recorded about real processes.

use serde_json::Value;

use crate::bed::{Bed, kill};

fn tree() -> String {
    let child = |id: &str| format!("[[child]]\nid = {id:?}\ncommand = [\"sleep\", \"1000\"]\n");
    format!("id = \"t\"\nstrategy = \"rest_for_one\"\nintensity = 1000\n{}{}", child("a"), child("b"))
}

/// The figures of one path.
fn figures(text: &str, path: &str) -> Value {
    let found: Value = serde_json::from_str(text).expect("availability --json is JSON");
    let rows = found[0]["rows"].as_array().expect("rows are an array").clone();
    rows.into_iter().find(|row| row["path"] == path).unwrap_or_else(|| panic!("no {path} in {text}"))
}

#[test]
fn crashes_count_and_stops_by_hand_do_not() {
    let mut bed = Bed::up(&tree());
    kill(bed.pid("t/a"), libc::SIGKILL);
    bed.wait("the restart", |bed| bed.row("t/a")["restarts"] == 1);
    bed.wait_until_up();
    bed.ask(&["stop", "t/b"]);
    bed.ask(&["start", "t/b"]);
    let state = bed.path().join("state");
    let check = |text: &str| {
        let of = |path: &str| figures(text, path);
        assert_eq!([of("t/a"), of("t/b"), of("t")].map(|row| row["interruptions"].as_u64()), [Some(1); 3]);
        assert_eq!(of("t/b")["causes"][0]["path"], "t/a", "{text}");
        assert_eq!(of("t/b")["causes"][0]["text"], "killed by SIGKILL");
        assert!(of("t/b")["planned"].to_string().contains("stopped by "), "{text}");
        assert_eq!(of("t")["goals"][0]["window"], "day");
    };
    check(&bed.ask(&["availability", "--json"]));
    assert_eq!(figures(&bed.ask(&["availability", "a", "--json"]), "t/a")["interruptions"], 1);
    let text = bed.ask(&["availability"]);
    assert!(text.starts_with("t: ") && text.lines().all(|line| line.chars().count() <= 80), "{text}");

    // The histories tell the same without a daemon, and say that none runs.
    kill(bed.daemon(), libc::SIGTERM);
    bed.wait_for_the_end();
    let state = state.to_str().expect("a path in UTF-8");
    let out = bed.client(&["availability", "--json", "--state", state]);
    assert_eq!(out.status.code(), Some(69));
    check(&String::from_utf8_lossy(&out.stdout));
}
