//! `initial_start = "fail"`: what has started is taken back.

use super::bed::Bed;

fn started(tree: &str) -> Bed {
    let mut bed = Bed::up();
    let rendering = super::render_with(&super::plan("t", tree), &super::options());
    let units: Vec<(String, String)> =
        rendering.units.iter().map(|unit| (unit.name.clone(), unit.to_string())).collect();
    bed.load(&units);
    bed.sh("systemctl start --no-block t.service");
    bed
}

fn child(depth: &str, id: &str, command: &str, keys: &str) -> String {
    format!(
        "[[{depth}]]\nid = {id:?}\ncommand = [\"sh\", \"-c\", {command:?}]\nready = {{ notify = true }}\n{keys}\n"
    )
}

/// Ready, then for ever there.
const GOOD: &str = "systemd-notify --ready; exec sleep infinity";
/// Counts its starts, and is never ready.
const BAD: &str = "echo start >>/proof/starts; exit 1";
const STARTS: &str = "wc -l </proof/starts";

#[test]
fn a_failed_first_start_takes_back_what_has_started() {
    let (a, b) = (child("child", "a", GOOD, ""), child("child", "b", BAD, ""));
    let c = child("child", "c", "touch /proof/c; exec sleep infinity", "");
    let mut bed =
        started(&format!("id = \"t\"\nsemantics = \"otp\"\nintensity = 5\nperiod = \"1h\"\n{a}{b}{c}"));
    bed.wait("[ -e /proof/starts ] && [ -z \"$(systemctl list-jobs --no-legend)\" ] && ! systemctl -q is-active t t-a t-b t-c");
    assert_eq!((bed.sh(STARTS).trim(), bed.sh("ls /proof/c 2>/dev/null")), ("1", String::new()));
}

#[test]
fn a_failed_first_start_below_is_one_of_all_that_start_with_it() {
    let below = child("child.child", "b", BAD, "");
    let s = format!("[[child]]\nid = \"s\"\ninitial_start = \"fail\"\nintensity = 5\n{below}");
    let tree = format!(
        "id = \"t\"\nsemantics = \"otp\"\nintensity = 5\nperiod = \"1h\"\n{}{s}",
        child("child", "a", GOOD, "")
    );
    let mut bed = started(&tree);
    bed.wait("[ -e /proof/starts ] && [ -z \"$(systemctl list-jobs --no-legend)\" ] && ! systemctl -q is-active t t-a t-s t-s-b");
    assert_eq!(bed.sh(STARTS).trim(), "1");
}

#[test]
fn a_failed_restart_is_counted_and_not_taken_back() {
    // Good at its first start, bad at the next two, good again.
    let b = "n=$(cat /proof/n 2>/dev/null || echo 0); echo $((n+1)) >/proof/n; \
             case $n in 1|2) exit 1;; esac; systemd-notify --ready; exec sleep infinity";
    let tree = format!(
        "id = \"t\"\nsemantics = \"otp\"\nintensity = 5\nperiod = \"1h\"\n{}{}",
        child("child", "a", GOOD, ""),
        child("child", "b", b, "")
    );
    let mut bed = started(&tree);
    bed.wait("systemctl -q is-active t.target t-b");
    let a = bed.sh("systemctl show -P InvocationID t-a");
    bed.sh("systemctl kill --kill-whom=main -s KILL t-b");
    bed.wait("[ \"$(cat /proof/n)\" = 4 ] && systemctl -q is-active t-b");
    assert_eq!(bed.sh("systemctl show -P InvocationID t-a"), a);
}
