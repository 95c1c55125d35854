//! Each named deviation, shown: the rendering names it at its place, and a real systemd does what it says.

use std::fs;
use std::path::Path;

use woodward::units::{Deviation, Options, Scope};

use super::bed::Bed;
use crate::bed::repository;

/// The units of a tree of this name, started; the deviation is named at this path.
fn shown(deviation: Deviation, path: &str, tree: &str) -> Bed {
    let mut bed = Bed::up();
    let units = named(deviation, path, tree, super::options());
    bed.load(&units);
    bed.sh("systemctl start t.service");
    bed
}

/// Names and texts of the units.
fn named(deviation: Deviation, path: &str, tree: &str, options: Options) -> Vec<(String, String)> {
    let rendering = super::render_with(&super::plan("t", tree), &options);
    let named = rendering.deviations.iter().any(|d| d.deviation == deviation && d.path == path);
    assert!(named, "{deviation} is not named at {path}: {:?}", rendering.deviations);
    rendering.units.iter().map(|unit| (unit.name.clone(), unit.to_string())).collect()
}

/// A child that does nothing, with these keys.
fn sleeper(id: &str, keys: &str) -> String {
    format!("[[child]]\nid = {id:?}\ncommand = [\"sleep\", \"infinity\"]\nbackoff = false\n{keys}\n")
}

/// A service of a tree `t` that runs a script.
fn script(text: &str, keys: &str) -> String {
    format!(
        "id = \"t\"\n[[child]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", {text:?}]\nbackoff = false\n{keys}\n"
    )
}

#[test]
fn every_deviation_has_a_row_and_a_test() {
    let readme = fs::read_to_string(repository("units/README.md")).expect("it is there");
    let tests = fs::read_to_string(repository("tests/units/deviations.rs")).expect("it is there");
    for deviation in Deviation::ALL {
        let test = format!("deviation_{}", deviation.name().replace('-', "_"));
        let row = format!("| `{}` | {} | `{test}` |", deviation.name(), deviation.means());
        assert!(readme.contains(&row), "units/README.md has no row\n{row}");
        assert!(tests.contains(&format!("fn {test}()")), "no test {test}");
    }
    assert_eq!(readme.matches("| `deviation_").count(), Deviation::ALL.len(), "a row for what is none");
}

const STOPPED: &str = "! systemctl -q is-active t-a";
const RUNS: &str = "systemctl -q is-active t-a";

#[test]
fn deviation_stop_takes_along() {
    let tree = format!("id = \"t\"\nstrategy = \"rest_for_one\"\n{}{}", sleeper("a", ""), sleeper("b", ""));
    let mut bed = shown(Deviation::StopTakesAlong, "t/a", &tree);
    bed.wait("systemctl -q is-active t-b");
    bed.sh("systemctl stop t-a");
    bed.wait("! systemctl -q is-active t-b");
}

#[test]
fn deviation_stop_does_not_last() {
    let mut bed = shown(Deviation::StopDoesNotLast, "t", &format!("id = \"t\"\n{}", sleeper("a", "")));
    bed.sh("systemctl stop t-a");
    bed.wait(STOPPED);
    bed.sh("systemctl restart t");
    bed.wait(RUNS);
}

#[test]
fn deviation_start_reaches_below() {
    let tree = format!("id = \"t\"\n{}", sleeper("a", "restart = \"temporary\""));
    let mut bed = shown(Deviation::StartReachesBelow, "t", &tree);
    bed.wait(RUNS);
    bed.sh("systemctl kill -s KILL t-a");
    bed.wait(STOPPED);
    let before = bed.sh("systemctl show -P InvocationID t");
    bed.sh("systemctl start t");
    bed.wait(RUNS);
    assert_eq!(bed.sh("systemctl show -P InvocationID t"), before, "the supervisor itself went on");
}

#[test]
fn deviation_parking_does_not_last() {
    let limit = "limit = { intensity = 0, period = \"1h\", exhausted = \"park\" }";
    let mut bed =
        shown(Deviation::ParkingDoesNotLast, "t/a", &format!("id = \"t\"\n{}", sleeper("a", limit)));
    bed.wait(RUNS);
    bed.sh("systemctl kill -s KILL t-a");
    bed.wait("[ $(systemctl show -P ActiveState t-a) = inactive ]");
    bed.sh("systemctl restart t");
    bed.wait(RUNS);
}

#[test]
fn deviation_parking_restarts_the_group() {
    let limit = "limit = { intensity = 0, period = \"1h\", exhausted = \"park\" }";
    let tree = format!("id = \"t\"\nstrategy = \"one_for_all\"\n{}{}", sleeper("a", limit), sleeper("b", ""));
    let mut bed = shown(Deviation::ParkingRestartsTheGroup, "t/a", &tree);
    bed.wait(&format!("{RUNS} t-b"));
    let before = bed.sh("systemctl show -P InvocationID t-b");
    bed.sh("systemctl kill -s KILL t-a");
    bed.wait(&format!("systemctl -q is-active t-b && [ $(systemctl show -P InvocationID t-b) != {before} ]"));
    bed.wait(STOPPED);
}

#[test]
fn deviation_parking_is_no_end() {
    let keys = "restart = \"transient\"\nsignificant = true\nlimit = { intensity = 0, period = \"1h\", exhausted = \"park\" }";
    let (a, b) = (sleeper("a", keys), sleeper("b", ""));
    let tree = format!("id = \"t\"\nauto_shutdown = \"any_significant\"\n{a}{b}");
    let mut bed = shown(Deviation::ParkingIsNoEnd, "t/a", &tree);
    bed.wait(&format!("{RUNS} t-b"));
    bed.sh("systemctl kill -s KILL t-a");
    bed.wait("journalctl | grep -q 't-a.service.*skipped'");
    bed.wait("systemctl -q is-active t && systemctl -q is-active t-b");
}

#[test]
fn deviation_time_per_command() {
    let keys = "before_start = [[\"sleep\", \"1\"], [\"sleep\", \"1\"]]\nready = { notify = true, within = \"1500ms\" }";
    let tree = script("systemd-notify --ready; exec sleep infinity", keys);
    // All of it takes longer than `within`, no part of it does.
    let mut bed = shown(Deviation::TimePerCommand, "t/a", &tree);
    bed.wait(RUNS);
    assert_eq!(bed.sh("systemctl show -P NRestarts t-a"), "0");
}

#[test]
fn deviation_ready_by_its_own_word() {
    let keys = "ready = { log = \"never said\", within = \"1h\" }\nhealth = { watchdog = \"1h\" }";
    let tree = script("systemd-notify --ready; exec sleep infinity", keys);
    let mut bed = shown(Deviation::ReadyByItsOwnWord, "t/a", &tree);
    bed.wait(RUNS);
}

#[test]
fn deviation_no_stop_command_when_sick() {
    let keys = "health = { watchdog = \"1s\" }\nstop = { command = [\"touch\", \"/run/asked\"] }";
    let mut bed = shown(Deviation::NoStopCommandWhenSick, "t/a", &script("exec sleep infinity", keys));
    bed.wait("journalctl -u t-a | grep -q 'Watchdog timeout'");
    assert_eq!(bed.sh("ls /run/asked >/dev/null 2>&1 || echo not asked"), "not asked");
    bed.wait(RUNS);
    bed.sh("systemctl stop t-a");
    bed.wait("[ -e /run/asked ]");
}

#[test]
fn deviation_inherit() {
    let tree = script(
        "echo here; readlink /proc/self/fd/0; exec sleep infinity",
        "output = \"inherit\"\nstdin = \"inherit\"",
    );
    let mut bed = shown(Deviation::Inherit, "t/a", &tree);
    bed.wait("journalctl -o cat -u t-a | grep -qx here && journalctl -o cat -u t-a | grep -qx /dev/null");
}

#[test]
fn deviation_log_rotation() {
    let tree = script(
        "yes | head -c 100000; exec sleep infinity",
        "output = { file = \"/run/a.log\", max_size = \"1K\", keep = 2 }",
    );
    let mut bed = shown(Deviation::LogRotation, "t/a", &tree);
    bed.wait("[ $(stat -c %s /run/a.log) = 100000 ] && [ $(ls /run | grep -c a.log) = 1 ]");
}

#[test]
fn deviation_log_rate() {
    let tree = script(
        "seq 100; exec sleep infinity",
        "output = { file = \"/run/a.log\" }\nlog_rate_limit = { lines = 10, per = \"1h\" }",
    );
    let mut bed = shown(Deviation::LogRate, "t/a", &tree);
    bed.wait("[ $(wc -l </run/a.log) = 100 ]");
}

/// A file of the environment: systemd cannot read what is separated by NUL.
fn environment_file(dir: &Path, text: &str) -> String {
    let file = dir.join("env");
    fs::write(&file, text).expect("a file can be written");
    format!("environment_file = {:?}", file.display().to_string())
}

#[test]
fn deviation_secret_in_unit() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let tree = script("exec sleep infinity", &environment_file(dir.path(), "SECRET=hush\0OTHER=x\0"));
    let mut bed = shown(Deviation::SecretInUnit, "t/a", &tree);
    assert!(bed.sh("systemctl show -P Environment t-a").contains("SECRET=hush"));
}

#[test]
fn deviation_file_wins() {
    let tree = script(
        "echo \"COLOUR is $COLOUR\"; exec sleep infinity",
        "environment_file = \"-/run/late.env\"\nenvironment = { COLOUR = \"red\" }",
    );
    let mut bed = Bed::up();
    bed.sh("echo COLOUR=blue >/run/late.env");
    bed.load(&named(Deviation::FileWins, "t/a", &tree, super::options()));
    bed.sh("systemctl start t");
    bed.wait("journalctl -o cat -u t-a | grep -qx 'COLOUR is blue'");
}

#[test]
fn deviation_no_generation() {
    let tree = script("echo \"number:$WOODWARD_GENERATION:\"; exec sleep infinity", "");
    let mut bed = shown(Deviation::NoGeneration, "t/a", &tree);
    bed.wait("journalctl -o cat -u t-a | grep -qx number::");
}

#[test]
fn deviation_own_variables() {
    let tree = script("/usr/bin/env; exec /usr/bin/sleep infinity", "pass_environment = false");
    let mut bed = shown(Deviation::OwnVariables, "t/a", &tree);
    bed.wait("journalctl -o cat -u t-a | grep -q ^INVOCATION_ID=");
}

#[test]
fn deviation_user_manager() {
    let tree = script("exec sleep infinity", "user = \"nobody\"");
    let options = Options { scope: Scope::User, ..super::options() };
    let mut bed = Bed::up();
    let units = named(Deviation::UserManager, "t/a", &tree, options);
    bed.write(&units, "/etc/systemd/user");
    bed.sh("systemctl start user@0.service; export XDG_RUNTIME_DIR=/run/user/0; systemctl --user start t.service");
    bed.wait("systemctl --user -q is-active t-a.service");
    assert_eq!(bed.sh("stat -c %U /proc/$(systemctl --user show -P MainPID t-a.service)"), "root");
}

#[test]
fn deviation_socket_order() {
    let tree = script(
        "echo \"order $LISTEN_FDNAMES\"; exec sleep infinity",
        "listen = [{ name = \"z\", unix = \"/run/z\" }, { name = \"a\", unix = \"/run/a\" }]",
    );
    // Each of them is there, under its name; which is first nobody says.
    let mut bed = shown(Deviation::SocketOrder, "t/a", &tree);
    bed.wait("journalctl -o cat -u t-a | grep -qx 'order z:a\\|order a:z'");
}

#[test]
fn deviation_socket_starts() {
    let tree = script("exec sleep infinity", "listen = [{ name = \"a\", unix = \"/run/a\" }]");
    let mut bed = shown(Deviation::SocketStarts, "t/a", &tree);
    bed.wait(RUNS);
    bed.sh("systemctl stop t-a.service");
    bed.wait(STOPPED);
    bed.sh("python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/a\")'");
    bed.wait(RUNS);
}

#[test]
fn deviation_one_argument() {
    let tree = "id = \"t\"\nstrategy = \"simple_one_for_one\"\n[template]\nid = \"w\"\n\
                command = [\"sh\", \"-c\", \"echo ${arg.one} ${arg.other}; exec sleep infinity\"]\n";
    let mut bed = shown(Deviation::OneArgument, "t/w", tree);
    // The first run of the meter is the beginning of the supervisor, and no instance belongs to it.
    bed.wait("[ -e /run/woodward-units/t/group ] && [ $(systemctl show -P ActiveState t-meter) = inactive ]");
    bed.sh("systemctl start t-w@x.service");
    bed.wait("systemctl -q is-active t-w@x.service");
    bed.wait("journalctl -o cat -u t-w@x.service | grep -qx 'x x'");
}

#[test]
fn deviation_leftovers_asked() {
    let text = "sh -c 'trap \"touch /run/asked; exit\" TERM; while :; do sleep 0.05; done' & sleep 0.5; kill -KILL $$";
    let tree = script(text, "stop = { kill = \"group\" }\nrestart = \"temporary\"");
    let mut bed = shown(Deviation::LeftoversAsked, "t/a", &tree);
    bed.wait("[ -e /run/asked ]");
}

#[test]
fn deviation_no_deadline() {
    let deaf = "[[child.child]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"]\nshutdown = \"3s\"\n";
    let tree = format!("id = \"t\"\n[[child]]\nid = \"s\"\nshutdown = \"1s\"\n{deaf}");
    let mut bed = shown(Deviation::NoDeadline, "t/s", &tree);
    bed.wait("systemctl -q is-active t-s-a");
    let before: f64 = bed.sh("cut -d' ' -f1 /proc/uptime").parse().expect("seconds");
    bed.sh("systemctl stop t-s");
    let after: f64 = bed.sh("cut -d' ' -f1 /proc/uptime").parse().expect("seconds");
    assert!(after - before > 2.5, "its own time, not that of its supervisor");
}

#[test]
fn deviation_no_exit_status() {
    let tree = format!("id = \"t\"\n{}", sleeper("a", "essential = true"));
    named(Deviation::NoExitStatus, "t/a", &tree, super::options());
}

#[test]
fn deviation_delay_is_fixed() {
    let tree = "id = \"t\"\n[[child]]\nid = \"p\"\nstrategy = \"simple_one_for_one\"\n[child.template]\nid = \"w\"\ncommand = [\"sleep\", \"infinity\"]\n";
    let units = named(Deviation::DelayIsFixed, "t/p/w", tree, super::options());
    assert!(units.iter().all(|(name, _)| !name.ends_with("-w-delay.service")));
}

#[test]
fn deviation_no_failover() {
    let mut plan = super::plan("t", &format!("id = \"t\"\n{}", sleeper("a", "")));
    plan.tree.root.exhausted = woodward_engine::spec::Exhausted::Failover;
    let rendering = super::render_with(&plan, &super::options());
    assert!(rendering.deviations.iter().any(|d| d.deviation == Deviation::NoFailover && d.path == "t"));
}
