//! The mini-ACS under woodward: fourteen real CORBA processes, and what each failure restarts.
//!
//! Needs what `examples/mini-acs/install` installs; without it these tests fail, they do not skip.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;

use crate::bed::{Bed, kill, lives, repository};

/// Every port of one ACS instance below its base, as the trees of these tests use them.
const OFFSETS: [u16; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 20, 50, 52, 54, 56];

/// Instance numbers given out in this test run, so that parallel tests do not look for free ports at the same moment.
static TAKEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// A running mini-ACS on an instance number of its own.
struct Acs {
    bed: Bed,
    instance: Instance,
}

/// An instance number that nobody else of this test run has.
pub struct Instance(u16);

impl Instance {
    /// 1 to 9.
    pub fn number(&self) -> u16 {
        self.0
    }
}

impl Acs {
    fn up() -> Acs {
        Acs::up_with(&[])
    }

    /// With further variables.
    fn up_with(vars: &[&str]) -> Acs {
        let container = repository("examples/mini-acs/cpp/miniContainer");
        assert!(
            container.exists(),
            "{} is missing: examples/mini-acs/install builds it",
            container.display()
        );
        let mut acs = Acs { bed: Bed::new(), instance: free_instance() };
        let instance = format!("instance={}", acs.instance.number());
        let tmp = format!("tmp={}", acs.bed.path().display());
        let tree = repository("supervisors/acs.toml");
        let vars = [&*instance, &*tmp].into_iter().chain(vars.iter().copied());
        let args = vars.flat_map(|var| ["--var", var]);
        let args: Vec<&str> = [tree.to_str().expect("a path in UTF-8")].into_iter().chain(args).collect();
        acs.bed.run(&args);
        acs.bed.wait_until_up();
        acs
    }

    /// Path and generation of every process.
    fn generations(&self) -> BTreeMap<String, u64> {
        let rows = self.bed.status().into_iter().filter(|row| row["kind"] == "service");
        rows.map(|row| {
            (
                row["path"].as_str().expect("a path").to_owned(),
                row["generation"].as_u64().expect("a generation"),
            )
        })
        .collect()
    }

    /// Does `harm`, waits until `victim` has been started again and all is up, and gives the paths of all that are new.
    fn restarted_by(&self, victim: &str, harm: impl FnOnce()) -> Vec<String> {
        let before = self.generations();
        harm();
        self.bed
            .wait(&format!("{victim} to be started again"), |_| self.generations()[victim] > before[victim]);
        self.bed.wait_until_up();
        self.generations()
            .into_iter()
            .filter(|(path, generation)| before[path] != *generation)
            .map(|(path, _)| path)
            .collect()
    }

    /// `kill -9` of one process; gives the paths of all that were started again.
    fn restarted_by_kill_of(&self, victim: &str) -> Vec<String> {
        self.restarted_by(victim, || kill(self.bed.pid(victim), libc::SIGKILL))
    }

    /// `miniacs.py ctl ARGS`: what it prints, if it succeeds.
    fn ctl(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new("python3");
        command.arg(repository("examples/mini-acs/miniacs.py")).arg("ctl").args(args);
        let out = command
            .env("ACS_INSTANCE", self.instance.number().to_string())
            .output()
            .expect("python3 is there");
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Paths of services in the order in which their processes ended.
    fn ended(&self) -> Vec<String> {
        let facts = self.bed.ask(&["events", "--json"]);
        let facts = facts
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a fact is JSON"));
        let ends = facts.filter(|fact| fact["kind"] == "ended");
        let paths = ends.map(|fact| fact["path"].as_str().expect("a path").to_owned());
        let services = self.generations();
        paths.filter(|path| services.contains_key(path)).collect()
    }

    /// How many containers the manager knows.
    fn logged_in(&self) -> usize {
        self.ctl(&["containers"]).map_or(0, |text| text.lines().count())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(|e| e.into_inner()).retain(|n| *n != self.0);
    }
}

/// An instance of which no port is taken, the ports of more notification services too.
pub fn free_instance() -> Instance {
    let mut taken = TAKEN.lock().unwrap_or_else(|e| e.into_inner());
    let free = |n: &u16| {
        !taken.contains(n)
            && OFFSETS.iter().all(|offset| TcpListener::bind(("0.0.0.0", 3000 + 100 * n + offset)).is_ok())
    };
    let instance = (1..=9).find(free).expect("an ACS instance number is free");
    taken.push(instance);
    Instance(instance)
}

#[test]
fn a_hung_channel_is_found_and_restarted_with_its_logger_and_nobody_else() {
    let acs = Acs::up_with(&["check=500ms"]);
    acs.bed.wait("everybody to have answered", |bed| {
        let services = bed.status().into_iter().filter(|row| row["kind"] == "service");
        // The interface repository is not critical: it is asked once a minute.
        services
            .filter(|row| row["path"] != "acs/interface-repository")
            .all(|row| row["health"]["good"].as_u64() > Some(0))
    });
    let hung = acs.restarted_by("acs/logging/channel", || {
        kill(acs.bed.pid("acs/logging/channel"), libc::SIGSTOP);
    });
    assert_eq!(hung, ["acs/logging/channel", "acs/logging/logger"]);
    let facts = acs.bed.ask(&["events", "--json"]);
    let facts =
        facts.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a fact is JSON"));
    let sick: Vec<_> = facts.filter(|fact| fact["kind"] == "sick").map(|fact| fact["path"].clone()).collect();
    assert_eq!(sick, ["acs/logging/channel"]);
}

#[test]
fn all_fourteen_come_up_and_stop_in_the_reverse_order() {
    let acs = Acs::up();
    assert_eq!(acs.generations().len(), 14);
    assert!(acs.bed.status().iter().all(|row| row["restarts"] == 0), "{:?}", acs.bed.status());
    assert_eq!(acs.logged_in(), 3);
    let pids: Vec<i32> = acs.generations().keys().map(|path| acs.bed.pid(path)).collect();
    acs.bed.ask(&["stop", "acs"]);
    assert!(!pids.into_iter().any(lives));
    let ends = acs.ended();
    let at = |child: &str| {
        ends.iter().position(|path| path == child).unwrap_or_else(|| panic!("{child} in {ends:?}"))
    };
    assert!(at("acs/containers/MountContainer") < at("acs/manager"));
    assert!(at("acs/manager") < at("acs/cdb"));
    assert!(at("acs/cdb") < at("acs/logging/logger"));
    assert!(at("acs/logging/logger") < at("acs/logging/channel"));
    assert_eq!(ends.last().map(String::as_str), Some("acs/naming"));
}

#[test]
fn naming_restarts_alone_and_keeps_its_bindings() {
    let acs = Acs::up();
    assert_eq!(acs.restarted_by_kill_of("acs/naming"), ["acs/naming"]);
    assert!(acs.ctl(&["resolve", "MACI/MountContainer"]).is_some(), "the binding of a container is lost");
}

#[test]
fn the_logger_follows_its_channel_but_not_the_other_way_round() {
    let acs = Acs::up();
    assert_eq!(
        acs.restarted_by_kill_of("acs/logging/channel"),
        ["acs/logging/channel", "acs/logging/logger"]
    );
    assert_eq!(acs.restarted_by_kill_of("acs/logging/logger"), ["acs/logging/logger"]);
}

#[test]
fn the_manager_comes_back_in_recovery_mode_and_knows_its_containers() {
    let acs = Acs::up();
    let containers = |acs: &Acs| acs.ctl(&["containers"]).unwrap_or_default();
    let before = containers(&acs);
    assert_eq!(acs.restarted_by_kill_of("acs/manager"), ["acs/manager"]);
    let command =
        std::fs::read(format!("/proc/{}/cmdline", acs.bed.pid("acs/manager"))).expect("the manager runs");
    assert!(String::from_utf8_lossy(&command).contains("--recover"));
    let pids = |text: &str| {
        text.lines().map(|l| l.split(" handle").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    acs.bed.wait("the containers to be known again", |_| acs.logged_in() == 3);
    assert_eq!(pids(&containers(&acs)), pids(&before), "the same processes");
}

#[test]
fn a_container_that_crashes_or_exits_restarts_alone_and_logs_in_again() {
    let acs = Acs::up();
    for (container, fault) in [("AcquisitionContainer", ["crash", "0"]), ("ScheduleContainer", ["exit", "7"])]
    {
        let path = format!("acs/containers/{container}");
        let harm = || {
            assert!(
                acs.ctl(&["fault", container, fault[0], fault[1]]).is_some(),
                "{container} takes no fault"
            )
        };
        assert_eq!(acs.restarted_by(&path, harm), [path.as_str()]);
        acs.bed.wait("it to be logged in", |_| acs.logged_in() == 3);
    }
}

#[test]
fn a_container_that_hangs_is_left_alone_until_a_person_restarts_it() {
    let acs = Acs::up();
    let path = "acs/containers/MountContainer";
    assert!(acs.ctl(&["fault", "MountContainer", "hang", "0"]).is_some(), "MountContainer takes no fault");
    acs.bed.wait("it to hang", |_| acs.ctl(&["ping", "MountContainer", "--timeout", "1"]).is_none());
    assert_eq!(acs.bed.row(path)["restarts"], 0);
    let restart = || drop(acs.bed.ask(&["restart", path]));
    assert_eq!(acs.restarted_by(path, restart), [path]);
    acs.bed.wait("it to answer", |_| acs.ctl(&["ping", "MountContainer", "--timeout", "1"]).is_some());
}

#[test]
fn sigterm_stops_all_and_leaves_nothing() {
    let mut acs = Acs::up();
    std::mem::replace(&mut acs.bed, Bed::new()).stop();
}
