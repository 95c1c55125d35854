//! woodward as a unit of a real systemd, in throw-away namespaces.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{program, repository};

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

/// A systemd with these units, our program in `/usr/bin`, and a tree in `/etc/woodward/trees`. Dropping it ends all.
pub struct Systemd {
    name: String,
    _dir: tempfile::TempDir,
}

impl Systemd {
    /// With the units of this repository; `change` may change a file: name, text.
    pub fn up(tree: &str, change: impl Fn(&str, String) -> String) -> Systemd {
        Systemd::with(tree, |_, units| {
            for file in ["woodward.service", "woodward@.service"] {
                let text = fs::read_to_string(repository("units").join(file)).expect("a unit");
                fs::write(units.join(file), change(file, text)).expect("written");
            }
        })
    }

    /// With the units that `write` writes: it is told the file of the tree and the directory for units.
    pub fn with(tree: &str, write: impl FnOnce(&Path, &Path)) -> Systemd {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("woodward-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let (units, trees) = (dir.path().join("units"), dir.path().join("trees"));
        fs::create_dir(&units).and_then(|()| fs::create_dir(&trees)).expect("made");
        let file = trees.join("t.toml");
        fs::write(&file, tree).expect("written");
        write(&file, &units);
        let bed = Systemd { name, _dir: dir };
        let bind = |from: &Path, to: &str| format!("{}:{to}", from.display());
        let (program, trees) = (bind(&program(), "/usr/bin/woodward"), bind(&trees, "/etc/woodward/trees"));
        let out = bed.bed(
            "up",
            [OsStr::new("-u"), units.as_ref(), "-b".as_ref(), program.as_ref()]
                .into_iter()
                .chain(["-b".as_ref(), OsStr::new(&trees)]),
        );
        assert!(out.status.success(), "{}", text(&out));
        bed
    }

    fn bed<'a>(&self, verb: &str, args: impl IntoIterator<Item = &'a OsStr>) -> Output {
        let mut command = Command::new(repository("tests/systemd-bed/systemd-bed"));
        command.arg(verb).args(["-n", &self.name]).args(args).env("SYSTEMD_BED_QUIET", "1");
        command.output().expect("the bed can be started")
    }

    /// A shell script inside; what it prints. It must succeed.
    pub fn sh(&self, script: &str) -> String {
        let out = self.bed("exec", ["--", "sh", "-c", script].map(OsStr::new));
        assert!(out.status.success(), "{script}: {}\n{}", text(&out), self.journal_of("*.service"));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Whether a shell script inside succeeds.
    pub fn holds(&self, script: &str) -> bool {
        self.bed("exec", ["--", "sh", "-c", script].map(OsStr::new)).status.success()
    }

    /// Waits until a shell script inside succeeds.
    pub fn wait(&self, script: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.holds(script) {
            assert!(Instant::now() < end, "in vain: {script}\n{}", self.journal_of("*.service"));
            sleep(Duration::from_millis(50));
        }
    }

    /// All messages of woodward's unit.
    pub fn journal(&self) -> String {
        self.journal_of("woodward")
    }

    /// All messages of the units of this pattern.
    pub fn journal_of(&self, units: &str) -> String {
        text(&self.bed("journal", ["-u", units, "-o", "cat", "--no-pager"].map(OsStr::new)))
    }

    /// A property of woodward's unit.
    pub fn property(&self, name: &str) -> String {
        self.sh(&format!("systemctl show woodward -P {name}"))
    }

    /// The number of a service's process inside, as its tree knows it.
    pub fn pid(&self, path: &str) -> i64 {
        let rows: Vec<Value> = serde_json::from_str(&self.sh("woodward status --json")).expect("an array");
        let row = rows.iter().find(|row| row["path"] == path).expect("a row");
        row["pid"].as_i64().expect("it runs")
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.bed("down", ["--now"].map(OsStr::new));
    }
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn two() -> String {
    let child = |id: &str| format!("[[child]]\nid = {id:?}\ncommand = [\"sleep\", \"1000\"]\n");
    format!("id = \"t\"\n{}{}", child("a"), child("b"))
}

fn as_it_is(_: &str, text: String) -> String {
    text
}

/// Started, everything up, both processes in the store.
fn started(change: impl Fn(&str, String) -> String) -> Systemd {
    let bed = Systemd::up(&two(), change);
    bed.sh("systemctl start woodward");
    bed.wait("woodward is-up");
    bed.wait("[ $(systemctl show -P NFileDescriptorStore woodward) = 2 ]");
    bed
}

/// Waits until another main process than this is ready.
fn wait_for_another(bed: &Systemd, main: &str) {
    bed.wait(&format!(
        "systemctl -q is-active woodward && [ $(systemctl show -P MainPID woodward) != {main} ] && woodward is-up"
    ));
}

#[test]
fn a_killed_keeper_is_started_again_and_what_ended_meanwhile_is_known() {
    let bed = started(as_it_is);
    let (main, a, b) = (bed.property("MainPID"), bed.pid("t/a"), bed.pid("t/b"));
    // The keeper is stopped first, so that the end falls into the time when nobody watches.
    bed.sh(&format!("kill -STOP {main}; kill -TERM {a}; kill -KILL {main}"));
    wait_for_another(&bed, &main);
    assert_eq!(bed.pid("t/b"), b);
    assert_ne!(bed.pid("t/a"), a);
    let why = bed.sh("woodward why t/a");
    assert!(why.contains("SIGTERM") && !why.contains("unknown"), "{why}");
    bed.wait("[ $(systemctl show -P NFileDescriptorStore woodward) = 2 ]");
    assert!(!bed.journal().contains("status unknown"), "{}", bed.journal());
}

#[test]
fn systemctl_stop_stops_all_in_order_and_leaves_nothing() {
    let bed = started(as_it_is);
    bed.sh("systemctl stop woodward");
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"), "{}", bed.sh("ps ax"));
    assert_eq!(bed.property("Result"), "success");
    assert_eq!(bed.property("NFileDescriptorStore"), "0");
    let journal = bed.journal();
    let (b, a) = (journal.rfind("t/b: asked to stop"), journal.rfind("t/a: asked to stop"));
    assert!(b.is_some() && b < a, "{journal}");
}

#[test]
fn systemctl_restart_is_an_ordered_stop_and_a_start() {
    let bed = started(as_it_is);
    let (main, a) = (bed.property("MainPID"), bed.pid("t/a"));
    bed.sh("systemctl restart woodward");
    wait_for_another(&bed, &main);
    assert_ne!(bed.pid("t/a"), a);
    assert_eq!(bed.sh("pgrep -cx sleep"), "2");
}

#[test]
fn systemctl_reload_applies_what_has_changed_and_nothing_else() {
    let bed = started(as_it_is);
    let (main, a, b) = (bed.property("MainPID"), bed.pid("t/a"), bed.pid("t/b"));
    bed.sh("sed -i '0,/1000/s//2000/' /etc/woodward/trees/t.toml; systemctl reload woodward");
    bed.wait("pgrep -fx 'sleep 2000' && woodward is-up");
    assert_ne!(bed.pid("t/a"), a);
    assert_eq!((bed.property("MainPID"), bed.pid("t/b")), (main, b));
    bed.wait("[ $(systemctl show woodward -P ActiveState) = active ]");
    // A broken file changes nothing.
    bed.sh("echo nonsense >> /etc/woodward/trees/t.toml; systemctl reload woodward");
    bed.wait("journalctl -u woodward | grep -q 'nothing was changed'");
    assert_eq!(bed.pid("t/b"), b);
    assert!(bed.holds("systemctl -q is-active woodward"));
}

#[test]
fn a_keeper_that_hangs_is_replaced_by_the_watchdog_and_services_live_on() {
    let bed = started(|_, unit| unit.replace("WatchdogSec=30", "WatchdogSec=2"));
    let (main, a, b) = (bed.property("MainPID"), bed.pid("t/a"), bed.pid("t/b"));
    bed.sh(&format!("kill -STOP {main}"));
    wait_for_another(&bed, &main);
    assert_eq!((bed.pid("t/a"), bed.pid("t/b")), (a, b));
    assert!(bed.journal().contains("atchdog"), "{}", bed.journal());
    // One that is well is left alone.
    let main = bed.property("MainPID");
    bed.sh("sleep 5");
    assert_eq!(bed.property("MainPID"), main);
}

#[test]
fn upgraded_under_systemd_it_stays_the_main_process() {
    let bed = started(as_it_is);
    let (main, a) = (bed.property("MainPID"), bed.pid("t/a"));
    bed.sh("cp /usr/bin/woodward /usr/bin/woodward-new && woodward upgrade /usr/bin/woodward-new");
    bed.wait("woodward is-up");
    assert_eq!((bed.property("MainPID"), bed.pid("t/a")), (main.clone(), a));
    assert_eq!(bed.sh(&format!("readlink /proc/{main}/exe")), "/usr/bin/woodward-new");
    bed.sh("systemctl stop woodward");
    assert!(!bed.holds("pgrep -x 'sleep|woodward-new'"));
}

#[test]
fn the_units_are_in_order() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    for file in ["woodward.service", "woodward@.service"] {
        fs::copy(repository("units").join(file), dir.path().join(file)).expect("copied");
    }
    let bind: PathBuf = program();
    let mut command = Command::new(repository("tests/systemd-bed/systemd-bed"));
    command.arg("verify").arg("-b").arg(format!("{}:/usr/bin/woodward", bind.display())).arg(dir.path());
    let out = command.output().expect("the bed can be started");
    assert!(out.status.success(), "{}", text(&out));
}

/// A unit that is there already, and a tree with it behind a child of our own.
fn with_a_unit(keys: &str) -> Systemd {
    let tree = "id = \"t\"\nsemantics = \"otp\"\nintensity = 3\nperiod = \"1h\"\nstrategy = \"rest_for_one\"\n\
         [[child]]\nid = \"a\"\ncommand = [\"sleep\", \"1000\"]\n\
         [[child]]\nid = \"u\"\nunit = \"own.service\"\nshutdown = \"1s\"\n";
    let bed = Systemd::up(tree, as_it_is);
    let unit = format!("[Service]\nType=exec\nExecStart=sleep 1000\n{keys}\n");
    bed.sh(&format!("cat >/etc/systemd/system/own.service <<'END'\n{unit}END\nsystemctl daemon-reload"));
    bed
}

#[test]
fn an_existing_unit_is_a_child_like_any_other() {
    let bed = with_a_unit("");
    bed.sh("systemctl start woodward");
    bed.wait("woodward is-up && systemctl is-active own");
    let row = || -> Value {
        let rows: Vec<Value> = serde_json::from_str(&bed.sh("woodward status --json")).expect("an array");
        rows.into_iter().find(|row| row["path"] == "t/u").expect("a row")
    };
    assert_eq!(row()["kind"], "unit");
    let started = |unit: &str| bed.sh(&format!("systemctl show {unit} -P InvocationID"));
    // Its main process is killed: it has ended, and is started again.
    let first = started("own");
    bed.sh("systemctl kill --kill-whom=main --signal=KILL own");
    bed.wait(&format!("[ $(systemctl show own -P InvocationID) != {first} ] && woodward is-up"));
    assert_eq!((&row()["restarts"], &row()["exit"]), (&1.into(), &"SIGKILL".into()), "{}", row());
    // It goes along with its elder.
    let second = started("own");
    bed.sh("kill -9 $(woodward status t/a --json | grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*')");
    bed.wait(&format!("[ $(systemctl show own -P InvocationID) != {second} ] && woodward is-up"));
    // The daemon dies: it goes on.
    let third = started("own");
    bed.sh("kill -9 $(pgrep -xP $(systemctl show woodward -P MainPID) woodward)");
    bed.wait("woodward is-up");
    assert_eq!(started("own"), third);
    // What stands for it is killed: nothing of it is left behind, and it is started again.
    bed.sh(&format!("kill -9 {}", row()["pid"]));
    bed.wait(&format!("[ $(systemctl show own -P InvocationID) != {third} ] && woodward is-up"));
    bed.sh("woodward stop t/u");
    assert!(!bed.holds("systemctl is-active own"));
    bed.sh("woodward start t/u && systemctl is-active own && systemctl stop woodward");
    assert!(!bed.holds("systemctl is-active own"));
}

#[test]
fn a_unit_that_does_not_stop_is_killed() {
    let bed = with_a_unit("ExecStop=sleep 1000\nTimeoutStopSec=infinity");
    bed.sh("systemctl start woodward");
    bed.wait("woodward is-up");
    bed.sh("woodward stop t/u");
    assert_eq!(bed.sh("systemctl show own -P ActiveState"), "failed");
}

#[test]
fn a_unit_that_systemd_restarts_by_itself_is_refused() {
    let bed = with_a_unit("Restart=always");
    bed.sh("systemctl start woodward || true");
    bed.wait("journalctl -o cat | grep -q 'systemd restarts it by itself, Restart=always'");
    assert!(!bed.holds("systemctl is-active own"));
}
