//! What other unit files would do to what runs: a small model of how systemd carries stops and restarts on.
//!
//! | a unit is | those that name it with | and are up |
//! |---|---|---|
//! | restarted | `PartOf=`, `Requires=`, `Requisite=`, `BindsTo=` | are restarted in the same transaction |
//! | stopped | these, and `StopPropagatedFrom=` | are stopped in the same transaction |
//! | started | `After=` | wait for it, if they are being started |
//!
//! Not through a unit that is down. `After=` orders the jobs of a transaction: who starts later stops earlier. Which
//! keys take a restart at all is a table, [`takes_restart`]: a daemon-reload is enough for all of `[Unit]`, and of
//! `[Service]` for what systemd looks at only when something ends, or writes into the control group at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::read::{Entry, Loaded, Shelf};

/// Keys of `[Service]` that hold without a restart: looked at when the service ends, is stopped or is asked to reload, or
/// when it starts the next time; and what systemd writes into the control group when it reads the unit again.
const WITHOUT_RESTART: &[&str] = &[
    "CPUQuota",
    "CPUWeight",
    "ExecCondition",
    "ExecReload",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "FinalKillSignal",
    "IOWeight",
    "KillMode",
    "KillSignal",
    "MemoryHigh",
    "MemoryMax",
    "OOMPolicy",
    "Restart",
    "RestartForceExitStatus",
    "RestartKillSignal",
    "RestartMaxDelaySec",
    "RestartMode",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestartSteps",
    "SendSIGHUP",
    "SendSIGKILL",
    "SuccessExitStatus",
    "TasksMax",
    "TimeoutAbortSec",
    "TimeoutStartFailureMode",
    "TimeoutStartSec",
    "TimeoutStopFailureMode",
    "TimeoutStopSec",
];

/// Which dependencies carry a restart on, and a stop.
const RESTART: &[&str] = &["PartOf", "Requires", "Requisite", "BindsTo"];
const STOP: &[&str] = &["PartOf", "Requires", "Requisite", "BindsTo", "StopPropagatedFrom"];

/// Unit files as they refer to each other.
#[derive(Debug)]
pub struct Model {
    units: BTreeMap<String, Loaded>,
}

/// What happens to a unit, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its name.
    pub unit: String,
    /// What happens.
    pub what: What,
    /// Because of this.
    pub because: Because,
}

/// What happens to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is stopped, and its file goes.
    Stop,
    /// It is stopped and started.
    Restart,
    /// It is started.
    Start,
    /// Its file changes; what runs goes on.
    Reread,
}

/// Why something happens to a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// These keys of its file differ.
    Keys(Vec<String>),
    /// It follows this unit, by this key.
    Follows {
        /// The other one.
        unit: String,
        /// `PartOf`.
        key: &'static str,
    },
    /// There was no such file.
    New,
    /// There is no such file any more.
    Gone,
    /// It was down, and somebody wants it up.
    Wanted,
}

/// What other files would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// All units to which something happens: those that stop in the order in which they stop, then those that restart
    /// and start in the order in which they start, then those that go on.
    pub fates: Vec<Fate>,
}

impl Model {
    /// Of files: name, text. `instances`: names of units made from templates among them.
    pub fn of<'t>(
        files: impl IntoIterator<Item = (&'t str, &'t str)>,
        instances: &BTreeSet<String>,
    ) -> Model {
        let mut shelf = Shelf::default();
        let directory = shelf.directory("");
        let mut names: BTreeSet<String> = instances.clone();
        for (name, text) in files {
            shelf.put(directory, name, Entry::Text(Arc::from(text.as_bytes())));
            names.insert(name.to_owned());
        }
        let units = names.into_iter().filter_map(|name| shelf.load(&name).map(|unit| (name, unit))).collect();
        Model { units }
    }

    /// Names of all units.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.units.keys().map(String::as_str)
    }

    /// Whom a restart of these restarts, themselves included, each with whom it follows.
    pub fn restarted(
        &self,
        first: &BTreeSet<String>,
        up: &BTreeSet<String>,
    ) -> BTreeMap<String, Option<Because>> {
        self.carried(first, up, RESTART)
    }

    /// Whom a stop of these stops, themselves included, each with whom it follows.
    pub fn stopped(
        &self,
        first: &BTreeSet<String>,
        up: &BTreeSet<String>,
    ) -> BTreeMap<String, Option<Because>> {
        self.carried(first, up, STOP)
    }

    fn carried(
        &self,
        first: &BTreeSet<String>,
        up: &BTreeSet<String>,
        by: &[&'static str],
    ) -> BTreeMap<String, Option<Because>> {
        let mut followers: BTreeMap<String, Vec<(&str, &'static str)>> = BTreeMap::new();
        for (name, unit) in self.units.iter().filter(|(name, _)| up.contains(*name)) {
            for key in by {
                for (other, ..) in unit.units(key) {
                    followers.entry(other).or_default().push((name, key));
                }
            }
        }
        let mut found: BTreeMap<String, Option<Because>> =
            first.iter().map(|name| (name.clone(), None)).collect();
        let mut open: Vec<String> = first.iter().cloned().collect();
        while let Some(next) = open.pop() {
            for (name, key) in followers.get(&next).into_iter().flatten() {
                if !found.contains_key(*name) {
                    let because = Because::Follows { unit: next.clone(), key };
                    found.insert((*name).to_owned(), Some(because));
                    open.push((*name).to_owned());
                }
            }
        }
        found
    }

    /// These in the order in which one transaction starts them; the reverse is that of their stops. Those between which
    /// there is no order stand by name.
    pub fn order(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut left: BTreeSet<String> = names.into_iter().collect();
        let mut before: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in &left {
            let Some(unit) = self.units.get(name) else { continue };
            let after = unit.units("After").into_iter().map(|(other, ..)| (name.clone(), other));
            let earlier = unit.units("Before").into_iter().map(|(other, ..)| (other, name.clone()));
            for (late, early) in after.chain(earlier).filter(|(a, b)| left.contains(a) && left.contains(b)) {
                before.entry(late).or_default().insert(early);
            }
        }
        let mut order = Vec::new();
        while !left.is_empty() {
            let waits = |name: &&String| before.get(*name).is_some_and(|early| !early.is_disjoint(&left));
            // A cycle, which systemd would break somewhere: by name.
            let next = left.iter().find(|name| !waits(name)).or(left.first()).cloned();
            let Some(next) = next else { break };
            left.remove(&next);
            order.push(next);
        }
        order
    }

    /// The units that a start of this one starts with it, if they are down: it wants or requires them.
    pub fn pulls(&self, name: &str) -> Vec<String> {
        let Some(unit) = self.units.get(name) else { return Vec::new() };
        let keys = ["Wants", "Requires", "BindsTo", "Upholds"];
        keys.iter().flat_map(|key| unit.units(key)).map(|(other, ..)| other).collect()
    }

    /// What systemd does by itself after this unit's process has died of a signal: who restarts, in start order. Nothing
    /// if it is not restarted. Meters, which only count, are left out by the caller.
    pub fn crash(&self, name: &str, up: &BTreeSet<String>) -> Vec<String> {
        let restarts = self.units.get(name).is_some_and(|unit| {
            matches!(
                &*unit.text("Service", "Restart", "no"),
                "always" | "on-failure" | "on-abnormal" | "on-abort"
            )
        });
        if !restarts {
            return Vec::new();
        }
        let first = BTreeSet::from([name.to_owned()]);
        self.order(self.restarted(&first, up).into_keys())
    }

    fn is_service(name: &str) -> bool {
        name.ends_with(".service") || name.ends_with(".socket")
    }
}

/// The keys in which two files differ, with their sections where that is not `[Service]`.
pub fn differing(old: &Loaded, new: &Loaded) -> Vec<(String, String)> {
    let values = |unit: &Loaded| -> BTreeMap<(String, String), Vec<String>> {
        let mut all: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for assignment in &unit.assignments {
            let key = (assignment.section.clone(), assignment.key.clone());
            all.entry(key).or_default().push(assignment.value.clone());
        }
        all
    };
    let (old, new) = (values(old), values(new));
    let keys: BTreeSet<&(String, String)> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

/// Whether a running unit has to be restarted for a key to hold.
pub fn takes_restart(section: &str, key: &str) -> bool {
    match section {
        "Service" => !WITHOUT_RESTART.contains(&key),
        "Socket" => true,
        _ => false,
    }
}

/// What happens if the files `old` become `new`. `up`: the units that are active now. `wanted`: units that shall be up
/// afterwards although they are down.
pub fn forecast(old: &Model, new: &Model, up: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Forecast {
    let mut fates = Vec::new();
    let gone: BTreeSet<String> = up
        .iter()
        .filter(|name| old.units.contains_key(*name) && !new.units.contains_key(*name))
        .cloned()
        .collect();
    let stops = old.order(gone.iter().cloned());
    fates.extend(stops.into_iter().rev().map(|unit| Fate { unit, what: What::Stop, because: Because::Gone }));
    let mut changed = BTreeMap::new();
    let mut reread = Vec::new();
    for (name, unit) in &new.units {
        let Some(before) = old.units.get(name) else { continue };
        let keys = differing(before, unit);
        if keys.is_empty() || keys.iter().all(|(section, _)| section == "X-Woodward") {
            continue;
        }
        let restart = keys.iter().any(|(section, key)| takes_restart(section, key));
        let names = keys.into_iter().filter(|(section, key)| !restart || takes_restart(section, key));
        let because = Because::Keys(names.map(|(_, key)| key).collect());
        if restart && up.contains(name) && Model::is_service(name) {
            changed.insert(name.clone(), because);
        } else {
            reread.push(Fate { unit: name.clone(), what: What::Reread, because });
        }
    }
    let stays: BTreeSet<String> = up.difference(&gone).cloned().collect();
    let mut begins: BTreeMap<String, (What, Because)> = BTreeMap::new();
    for (name, follows) in new.restarted(&changed.keys().cloned().collect(), &stays) {
        let because = changed.get(&name).cloned().or(follows).unwrap_or(Because::Wanted);
        begins.insert(name, (What::Restart, because));
    }
    for (name, because) in started(old, new, &stays, wanted) {
        begins.entry(name).or_insert((What::Start, because));
    }
    reread.retain(|fate| !begins.contains_key(&fate.unit));
    for unit in new.order(begins.keys().cloned()) {
        if let Some((what, because)) = begins.remove(&unit) {
            fates.push(Fate { unit, what, because });
        }
    }
    fates.extend(reread);
    Forecast { fates }
}

/// What is to be started: new units that one which is up wants, what is wanted, and what these pull in. One-shots that
/// leave nothing behind (meters) come with the others and are no news.
fn started(
    old: &Model,
    new: &Model,
    up: &BTreeSet<String>,
    wanted: &BTreeSet<String>,
) -> BTreeMap<String, Because> {
    let is_new = |name: &String| new.units.contains_key(name) && !old.units.contains_key(name);
    let by_those_up =
        up.iter().flat_map(|name| new.pulls(name)).filter(is_new).map(|name| (name, Because::New));
    let wanted = wanted.iter().filter(|name| !up.contains(*name)).map(|name| (name.clone(), Because::Wanted));
    let mut open: Vec<(String, Because)> = by_those_up.chain(wanted).collect();
    let mut found = BTreeMap::new();
    while let Some((name, because)) = open.pop() {
        let Some(unit) = new.units.get(&name) else { continue };
        if up.contains(&name) || found.contains_key(&name) {
            continue;
        }
        let passing = unit.text("Service", "Type", "") == "oneshot"
            && unit.text("Service", "RemainAfterExit", "no") != "yes"
            && !because.is_direct();
        for pulled in new.pulls(&name) {
            let key = if is_new(&pulled) {
                Because::New
            } else {
                Because::Follows { unit: name.clone(), key: "Wants" }
            };
            open.push((pulled, key));
        }
        if !passing {
            found.insert(name, because);
        }
    }
    found
}

impl Because {
    fn is_direct(&self) -> bool {
        matches!(self, Because::Wanted)
    }
}

impl Forecast {
    /// Names of those to which this happens, in order.
    pub fn of(&self, what: What) -> Vec<&str> {
        self.fates.iter().filter(|fate| fate.what == what).map(|fate| fate.unit.as_str()).collect()
    }

    /// Those of the restarted ones that no other one of them restarts: to restart these is to restart all.
    pub fn roots(&self) -> Vec<&str> {
        let direct = |fate: &&Fate| fate.what == What::Restart && matches!(fate.because, Because::Keys(_));
        self.fates.iter().filter(direct).map(|fate| fate.unit.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(lines: &str) -> String {
        let (unit, service) = lines.split_once('|').unwrap_or((lines, ""));
        let body = |text: &str| text.split(';').map(|line| format!("{}\n", line.trim())).collect::<String>();
        format!("[Unit]\n{}[Service]\n{}", body(unit), body(service))
    }

    /// `name: unit lines | service lines`, one a line.
    fn model(text: &str) -> Model {
        let files: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.trim().split_once(':'))
            .map(|(name, lines)| (format!("{name}.service"), unit(lines)))
            .collect();
        Model::of(files.iter().map(|(name, text)| (name.as_str(), text.as_str())), &BTreeSet::new())
    }

    fn set(names: &str) -> BTreeSet<String> {
        names.split_whitespace().map(|name| format!("{name}.service")).collect()
    }

    fn short<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
        let names = names.into_iter().map(|name| name.trim_end_matches(".service"));
        names.collect::<Vec<_>>().join(" ")
    }

    const REST_FOR_ONE: &str = "
        t: Wants=a.service b.service c.service|ExecStart=anchor
        a: PartOf=t.service;After=t.service|ExecStart=a;Restart=always
        b: PartOf=t.service a.service;After=t.service a.service|ExecStart=b;Restart=always
        c: PartOf=t.service a.service b.service;After=t.service a.service b.service|ExecStart=c;Restart=no";

    #[test]
    fn a_restart_is_carried_on_to_whom_the_files_say_and_in_their_order() {
        let model = model(REST_FOR_ONE);
        let check = |crash: &str, up: &str, restarted: &str| {
            let found = model.crash(&format!("{crash}.service"), &set(up));
            assert_eq!(short(found.iter().map(String::as_str)), restarted, "{crash} of {up}");
        };
        check("a", "t a b c", "a b c");
        check("b", "t a b c", "b c");
        check("c", "t a b c", "");
        check("a", "t a c", "a c");
    }

    #[test]
    fn nothing_is_carried_through_a_unit_that_is_down() {
        let model = model("a: |\n b: PartOf=a.service|\n c: PartOf=b.service|");
        let found = model.restarted(&set("a"), &set("a c"));
        assert_eq!(short(found.keys().map(String::as_str)), "a");
        let found = model.restarted(&set("a"), &set("a b c"));
        assert_eq!(short(found.keys().map(String::as_str)), "a b c");
    }

    /// From REST_FOR_ONE with something replaced: what stops, restarts, starts, is only read again.
    fn check(change: impl Fn(&str) -> String, up: &str, wanted: &str, expected: [&str; 4]) {
        let (old, new) = (model(REST_FOR_ONE), model(&change(REST_FOR_ONE)));
        let forecast = forecast(&old, &new, &set(up), &set(wanted));
        let of = |what| short(forecast.of(what));
        assert_eq!(
            [of(What::Stop), of(What::Restart), of(What::Start), of(What::Reread)],
            expected.map(str::to_owned)
        );
    }

    #[test]
    fn what_takes_a_restart_takes_its_followers_along() {
        check(|text| text.replace("ExecStart=b", "ExecStart=b2"), "t a b c", "", ["", "b c", "", ""]);
        check(|text| text.replace("ExecStart=b", "ExecStart=b2"), "t a c", "", ["", "", "", "b"]);
    }

    #[test]
    fn what_systemd_takes_over_at_once_restarts_nobody() {
        let change = |text: &str| {
            text.replace("Restart=no", "Restart=always;TimeoutStopSec=3").replace("a:", "a:Description=x;")
        };
        check(change, "t a b c", "", ["", "", "", "a c"]);
    }

    #[test]
    fn the_new_starts_and_the_gone_stops_and_nobody_else() {
        let without_b = |text: &str| {
            let lines = text.lines().filter(|line| !line.trim().starts_with("b:")).collect::<Vec<_>>();
            lines.join("\n").replace(" b.service", "")
        };
        check(without_b, "t a b c", "", ["b", "", "", "c t"]);
        let (old, new) = (model(&without_b(REST_FOR_ONE)), model(REST_FOR_ONE));
        let forecast = forecast(&old, &new, &set("t a c"), &BTreeSet::new());
        assert_eq!(
            (short(forecast.of(What::Start)), short(forecast.of(What::Restart))),
            ("b".into(), String::new())
        );
    }

    #[test]
    fn a_tree_that_is_down_stays_so_unless_it_is_wanted() {
        let same = |text: &str| text.to_owned();
        check(same, "", "", ["", "", "", ""]);
        check(same, "", "t", ["", "", "t a b c", ""]);
    }
}
