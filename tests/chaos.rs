//! Harm to live trees, by a seed: nobody is left behind, nothing runs twice, and `why` explains it all.

use serde_json::Value;

use crate::bed::{Bed, lives};

/// Services that end at once and services that have children of their own, in groups that go along with each other.
fn tree(root: &str) -> String {
    let quick = "backoff = { immediate = 1000 }\n";
    let alone = |id: &str| format!("id = {id:?}\ncommand = [\"sleep\", \"1000\"]\n{quick}");
    let family = "[\"sh\", \"-c\", \"sleep 1000 & sleep 1000 & echo here; wait\"]";
    format!(
        "id = \"t\"\nintensity = 1000\n{root}\n[[child]]\n{}[[child]]\nid = \"family\"\ncommand = {family}\n{quick}\
         [[child]]\nid = \"g\"\nstrategy = \"rest_for_one\"\nintensity = 1000\n[[child.child]]\n{}[[child.child]]\n{}",
        alone("a"),
        alone("x"),
        alone("y")
    )
}

fn started(root: &str, setting: &str) -> Bed {
    let mut bed = Bed::new();
    let file = bed.write("tree.toml", &tree(root));
    bed.run(&["--set", setting, file.to_str().expect("a path in UTF-8")]);
    bed.wait_until_up();
    bed
}

/// A run of it: what it says, and that it found nothing broken.
fn chaos(bed: &Bed, args: &[&str]) -> Value {
    let out = bed.client(&[&["chaos", "t", "--json", "--patience", "60s"], args].concat());
    let text = String::from_utf8_lossy(&out.stdout);
    let said: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {out:?}"));
    assert_eq!(said["broken"], Value::Array(Vec::new()), "{text}\n{}", bed.output());
    assert!(out.status.success());
    said
}

fn faults(said: &Value) -> &Vec<Value> {
    said["faults"].as_array().expect("faults are an array")
}

#[test]
fn chaos_breaks_nothing_where_crashes_restart_by_list() {
    let bed = started("strategy = \"rest_for_one\"", "chaos=on");
    let said = chaos(&bed, &["--seed", "7", "--for", "6s", "--rate", "5/s"]);
    assert!(faults(&said).len() > 2, "{said}");
    assert!(faults(&said).iter().any(|fault| fault["restarted"].as_u64() > Some(1)), "{said}");
    assert_eq!(said["availability"]["rows"][0]["path"], "t");
    let facts = bed.ask(&["events", "--json"]);
    assert!(facts.contains("\"kind\":\"chaos\"") && facts.contains("\"seed\":7"), "{facts}");
    bed.stop();
}

#[test]
fn chaos_breaks_nothing_where_crashes_restart_by_dependencies_and_the_daemon_dies() {
    let bed = started("order = \"dependencies\"", "chaos=on");
    let said = chaos(&bed, &["--seed", "3", "--for", "6s", "--rate", "5/s", "--daemon"]);
    assert!(faults(&said).iter().any(|fault| fault["kind"] == "daemon"), "{said}");
    let facts = bed.ask(&["events", "--json"]);
    assert!(
        facts.contains("\"fault\":\"daemon\""),
        "what the daemon did last is known to the next one: {facts}"
    );
    assert!(faults(&said).iter().any(|fault| fault["restarted"].as_u64() > Some(0)), "{said}");
    bed.stop();
}

#[test]
fn the_same_seed_plans_the_same_faults() {
    let bed = started("", "chaos=on");
    let plan = |seed: &str| bed.ask(&["chaos", "t", "--seed", seed, "--for", "5m", "--dry-run"]);
    assert_eq!(plan("5"), plan("5"));
    assert_ne!(plan("5"), plan("6"));
    assert!(plan("5").lines().count() > 20 && plan("5").lines().all(|line| line.chars().count() <= 80));
    let only = bed.ask(&["chaos", "t", "--on", "g", "--faults", "hang,flood", "--dry-run"]);
    assert!(only.lines().skip(1).all(|line| line.contains("t/g/")), "{only}");
    bed.stop();
}

#[test]
fn chaos_is_refused_unless_it_is_allowed() {
    let bed = started("", "chaos=off");
    let before = bed.pid("t/a");
    let out = bed.client(&["chaos", "t", "--for", "5m"]);
    assert_eq!(out.status.code(), Some(77), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("chaos=on"), "{out:?}");
    assert_eq!(bed.pid("t/a"), before);
    bed.stop();
}

#[test]
fn what_is_stopped_goes_on_though_chaos_and_daemon_were_killed() {
    let bed = started("", "chaos=on");
    let pid = bed.pid("t/a");
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().trim().chars().next()
    };
    // As chaos does, and then is not there any more.
    let ask = |query: &str| {
        let socket = bed.socket();
        let out = std::process::Command::new("curl")
            .args(["-sS", "-X", "POST", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://w/v1/chaos?{query}"))
            .output()
            .expect("curl is there");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let said = ask("path=t/a&fault=hang&time=60000");
    assert!(said.contains("SIGSTOP"), "{said}");
    bed.wait("it to be stopped", |_| state() == Some('T'));
    assert!(ask("path=t/a&fault=kill").contains("not over"), "one fault of a child at a time");
    assert!(ask("path=t&fault=daemon").contains("SIGKILL to the daemon"));
    bed.wait("it to go on", |_| state() != Some('T'));
    assert!(lives(pid));
    bed.wait_until_up();
    assert_eq!(bed.pid("t/a"), pid);
    bed.stop();
}
