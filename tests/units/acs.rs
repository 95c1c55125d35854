//! The mini-ACS under a real systemd: fourteen real CORBA processes as native units, and as one unit that is
//! `woodward run`.
//!
//! Needs what `examples/mini-acs/install` installs; without it these tests fail, they do not skip.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use super::bed::Bed;
use crate::bed::{program, repository};

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every process, and those that must be ready before it starts and gone only after it.
const PARTS: [(&str, &[&str]); 14] = [
    ("naming", &[]),
    ("interface-repository", &["naming"]),
    ("notify", &["naming"]),
    ("notify-archive", &["naming"]),
    ("notify-alarm", &["naming"]),
    ("logging/channel", &["naming"]),
    ("logging/logger", &["logging/channel"]),
    ("cdb", &["logging/logger"]),
    ("acs-log", &["naming", "logging/logger"]),
    ("alarm", &["cdb", "notify-alarm"]),
    ("manager", &["naming", "cdb"]),
    ("containers/MountContainer", &["manager"]),
    ("containers/ScheduleContainer", &["manager"]),
    ("containers/AcquisitionContainer", &["manager"]),
];

/// A booted systemd with the units of the mini-ACS, none started.
struct Acs(Bed);

impl Acs {
    fn rendered(mode: &str) -> Acs {
        let container = repository("examples/mini-acs/cpp/miniContainer");
        assert!(
            container.exists(),
            "{} is missing: examples/mini-acs/install builds it",
            container.display()
        );
        let mut bed = Bed::seeing(&[&repository("")]);
        let mut generate = Command::new(program());
        generate.args(["units", "generate", "--mode", mode, "--program", "/usr/bin/woodward"]);
        generate.args(["--env", "ACS_TMP=/run/acs"]).arg(repository("supervisors/acs.toml"));
        let out = generate.arg("-o").arg(bed.path().join("units")).output().expect("woodward runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        bed.sh("cp /proof/units/* /run/systemd/system && systemctl daemon-reload");
        Acs(bed)
    }

    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Bed) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&mut self.0) {
            let journal = || "systemctl list-units -a 'acs*'; journalctl --no-pager -n 60";
            assert!(Instant::now() < end, "in vain: {what}\n{}", self.0.sh(journal()));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A property of the unit of each part.
    fn properties(&mut self, name: &str) -> BTreeMap<&'static str, String> {
        let units = PARTS.map(|(part, _)| unit(part)).join(" ");
        // An empty value is a line as well; one line between two units.
        let said = self.0.sh(&format!("systemctl show -p {name} {units} | grep ="));
        let values: Vec<String> =
            said.lines().filter_map(|line| line.split_once('=')).map(|(_, value)| value.to_owned()).collect();
        assert_eq!(values.len(), PARTS.len(), "{said}");
        PARTS.iter().map(|(part, _)| *part).zip(values).collect()
    }

    fn times(&mut self, name: &str) -> BTreeMap<&'static str, u64> {
        let times = self.properties(name).into_iter();
        times.map(|(part, time)| (part, time.parse().expect("microseconds"))).collect()
    }

    /// All parts are up, and nothing is being done.
    fn wait_until_up(&mut self) {
        self.wait("everything to be up", |bed| {
            let units = PARTS.map(|(part, _)| unit(part)).join(" ");
            let up = bed.sh(&format!("systemctl is-active {units} | grep -cx active"));
            up == PARTS.len().to_string() && bed.sh("systemctl list-jobs --no-legend").is_empty()
        });
    }

    /// SIGKILL to the main process of one part; the parts that were started again.
    fn restarted_by_kill_of(&mut self, victim: &'static str) -> Vec<&'static str> {
        let before = self.properties("InvocationID");
        self.0.sh(&format!("systemctl kill --kill-whom=main -s KILL {}", unit(victim)));
        let id = before[victim].clone();
        self.wait(&format!("{victim} to be started again"), |bed| {
            let now = bed.sh(&format!("systemctl show -P InvocationID {}", unit(victim)));
            !now.is_empty() && now != id
        });
        self.wait_until_up();
        let now = self.properties("InvocationID");
        PARTS.iter().map(|(part, _)| *part).filter(|part| now[part] != before[part]).collect()
    }

    /// How many containers the manager knows.
    fn logged_in(&mut self) -> usize {
        let miniacs = repository("examples/mini-acs/miniacs.py");
        let said =
            self.0.sh(&format!("ACS_INSTANCE=2 python3 {} ctl containers 2>/dev/null", miniacs.display()));
        said.lines().filter(|line| line.contains("Container")).count()
    }

    fn wait_until_all_have_logged_in(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.logged_in() != 3 {
            assert!(Instant::now() < end, "the containers have not logged in at the manager");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Processes of the mini-ACS.
    fn processes(&mut self) -> String {
        self.0.sh("ps -eo comm=,args= | grep -E '^(omni|miniC|python3|woodward)'")
    }
}

fn unit(part: &str) -> String {
    format!("acs-{}.service", part.replace('/', "-"))
}

#[test]
fn the_mini_acs_runs_as_native_units() {
    let mut acs = Acs::rendered("native");
    acs.0.sh("systemctl start acs.service");
    acs.wait_until_up();
    let (started, ready) =
        (acs.times("ExecMainStartTimestampMonotonic"), acs.times("ActiveEnterTimestampMonotonic"));
    for (part, before) in PARTS {
        for other in before {
            assert!(ready[other] <= started[part], "{part} was started before {other} was ready");
        }
    }
    acs.wait_until_all_have_logged_in();

    for (part, _) in PARTS {
        let expected = if part == "logging/channel" { vec![part, "logging/logger"] } else { vec![part] };
        assert_eq!(acs.restarted_by_kill_of(part), expected, "{part} was killed");
    }
    acs.wait_until_all_have_logged_in();

    acs.0.sh("systemctl stop acs.service");
    let (asked, gone) =
        (acs.times("ActiveExitTimestampMonotonic"), acs.times("InactiveEnterTimestampMonotonic"));
    for (part, before) in PARTS {
        for other in before {
            assert!(gone[part] <= asked[other], "{other} was asked to stop before {part} was gone");
        }
    }
    assert_eq!(acs.processes(), "", "nothing is left");
    let failed = acs.0.sh("systemctl list-units --failed --no-legend 'acs*'");
    assert_eq!(failed, "", "a stop is no failure");
}

/// Path and generation of every process, as woodward knows them.
fn generations(bed: &mut Bed) -> BTreeMap<String, u64> {
    let said = bed.sh("woodward status --json");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let rows = rows.into_iter().filter(|row| row["kind"] == "service");
    let named = |row: &serde_json::Value| row["path"].as_str().map(|path| path.replacen("acs/", "", 1));
    rows.map(|row| (named(&row).expect("a path"), row["generation"].as_u64().expect("a generation")))
        .collect()
}

#[test]
fn the_mini_acs_runs_as_one_supervised_unit() {
    let mut acs = Acs::rendered("supervised");
    acs.0.sh("systemctl start acs.service");
    acs.wait("woodward to be up", |bed| bed.sh("woodward is-up > /dev/null && echo up") == "up");
    let before = generations(&mut acs.0);
    assert!(PARTS.iter().all(|(part, _)| before.contains_key(*part)), "{before:?}");
    acs.wait_until_all_have_logged_in();

    let unit_before = acs.0.sh("systemctl show -P MainPID acs.service");
    acs.0.sh("woodward signal acs/logging/channel KILL");
    acs.wait("the channel to be started again", |bed| {
        generations(bed)["logging/channel"] > before["logging/channel"]
            && bed.sh("woodward is-up > /dev/null && echo up") == "up"
    });
    let now = generations(&mut acs.0);
    let new: Vec<&str> =
        before.keys().map(String::as_str).filter(|part| now[*part] != before[*part]).collect();
    assert_eq!(new, ["logging/channel", "logging/logger"]);
    assert_eq!(acs.0.sh("systemctl show -P MainPID acs.service"), unit_before, "it is the same woodward");

    acs.0.sh("systemctl stop acs.service");
    assert_eq!(acs.processes(), "", "nothing is left");
    assert_eq!(acs.0.sh("systemctl show -P Result acs.service"), "success");
}
