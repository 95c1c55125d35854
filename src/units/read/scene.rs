//! Units seen together: who names whom, who starts behind whom, and what of that systemd adds by itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use super::super::release::Release;
use super::load::{Loaded, Shelf};
use super::text::Assignment;
use super::values::{self, INFINITY};
use crate::tree::{Diagnostic, Severity};

/// Units and what binds them.
#[derive(Debug)]
pub struct Scene {
    /// The release that reads them.
    pub release: Release,
    /// Those that were asked for first, in that order; then the others.
    pub units: Vec<Unit>,
    /// What they say of one another.
    pub edges: Vec<Edge>,
    places: HashMap<String, usize>,
    after: Vec<BTreeMap<usize, Option<usize>>>,
}

/// A unit of a scene.
#[derive(Debug)]
pub struct Unit {
    /// As it was read.
    pub loaded: Loaded,
    /// It was asked for; the others are there for reference.
    pub asked: bool,
    /// What counts when it ends; of services.
    pub service: Option<Service>,
}

/// One unit names another.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Who says it.
    pub from: usize,
    /// `PartOf`.
    pub key: &'static str,
    /// Whom: its name.
    pub name: String,
    /// The same, if it is in the scene.
    pub to: Option<usize>,
    /// Where; `None`: a link in a directory, or systemd itself.
    pub at: Option<(Assignment, Range<usize>)>,
}

/// Where something is said: the bytes of a value. `None`: a link.
type Said = Option<(Assignment, Range<usize>)>;

/// When a service is started again.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// `Type=` as this release takes it.
    pub kind: String,
    /// `Restart=` as this release takes it.
    pub restart: String,
    /// `RestartSec=`.
    pub delay: Duration,
    /// `RestartMode=direct`: nobody else is told.
    pub direct: bool,
    /// `RemainAfterExit=`.
    pub remains: bool,
    /// So many starts in this time, then none; `None`: no limit.
    pub limit: Option<(u32, Duration)>,
    /// A limit is written.
    pub limit_said: bool,
}

/// Dependencies of `[Unit]` that name units.
pub const DEPENDENCIES: &[&str] = &[
    "Wants",
    "Requires",
    "Requisite",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Conflicts",
    "After",
    "Before",
    "OnFailure",
    "OnSuccess",
    "StopPropagatedFrom",
    "PropagatesStopTo",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "JoinsNamespaceOf",
];

/// Values of `Type=`, and the release that brought each.
pub const TYPES: &[(&str, u32)] = &[
    ("simple", 0),
    ("exec", 240),
    ("forking", 0),
    ("oneshot", 0),
    ("dbus", 0),
    ("notify", 0),
    ("notify-reload", 253),
    ("idle", 0),
];

/// Values of `Restart=`.
pub const RESTARTS: &[&str] =
    &["no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always"];

impl Scene {
    /// The asked units, every other unit of the shelf, and whoever they name.
    pub fn new(shelf: &Shelf, asked: &[String], release: Release) -> Scene {
        let mut scene = Scene {
            release,
            units: Vec::new(),
            edges: Vec::new(),
            places: HashMap::new(),
            after: Vec::new(),
        };
        asked.iter().for_each(|name| scene.add(shelf, name, true));
        shelf.names().filter(|name| !name.contains("@.")).for_each(|name| scene.add(shelf, name, false));
        let mut next = 0;
        while next < scene.units.len() {
            let names: Vec<String> = scene.named(next).into_iter().map(|(_, name, _)| name).collect();
            names.iter().for_each(|name| scene.add(shelf, name, false));
            next += 1;
        }
        scene.edges = (0..scene.units.len()).flat_map(|at| scene.edges_of(at)).collect();
        scene.order();
        scene
    }

    /// The place of a unit by one of its names.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The name of a unit.
    pub fn name(&self, at: usize) -> &str {
        &self.units[at].loaded.name.full
    }

    /// What a unit says by one of these keys.
    pub fn said<'s>(&'s self, from: usize, keys: &'s [&str]) -> impl Iterator<Item = &'s Edge> {
        self.edges.iter().filter(move |edge| edge.from == from && keys.contains(&edge.key))
    }

    /// Who names this unit by one of these keys.
    pub fn naming<'s>(&'s self, to: usize, keys: &'s [&str]) -> impl Iterator<Item = &'s Edge> {
        self.edges.iter().filter(move |edge| edge.to == Some(to) && keys.contains(&edge.key))
    }

    /// Whether `late` starts behind `early`, by their own words and systemd's.
    pub fn is_after(&self, late: usize, early: usize) -> bool {
        self.after[late].contains_key(&early)
    }

    /// Those a unit starts behind; with the edge that says so, if one does.
    pub fn elders(&self, late: usize) -> impl Iterator<Item = (usize, Option<&Edge>)> {
        self.after[late].iter().map(|(early, edge)| (*early, edge.map(|edge| &self.edges[edge])))
    }

    /// Something about an edge, at its place.
    pub fn at(&self, edge: &Edge, message: impl Into<String>) -> Diagnostic {
        match &edge.at {
            Some((assignment, range)) => assignment.at_value(Severity::Warning, range.clone(), message),
            None => self.about(edge.from, message),
        }
    }

    /// Something about a whole unit.
    pub fn about(&self, unit: usize, message: impl Into<String>) -> Diagnostic {
        let loaded = &self.units[unit].loaded;
        let first = loaded.assignments.first().map(|a| a.at_key(Severity::Warning, ""));
        let mut said = first.unwrap_or(Diagnostic {
            severity: Severity::Warning,
            message: String::new(),
            place: None,
            excerpt: None,
            hint: None,
            allowed: None,
        });
        said.message = message.into();
        said.excerpt = None;
        said
    }

    fn add(&mut self, shelf: &Shelf, name: &str, asked: bool) {
        if self.places.contains_key(name) {
            return;
        }
        let Some(loaded) = shelf.load(name) else { return };
        if let Some(there) = self.places.get(&loaded.name.full) {
            let there = *there;
            self.places.insert(name.to_owned(), there);
            return;
        }
        let at = self.units.len();
        let names = [name.to_owned(), loaded.name.full.clone()].into_iter().chain(loaded.aliases.clone());
        names.for_each(|name| {
            self.places.entry(name).or_insert(at);
        });
        let service =
            (loaded.name.kind == "service" && !loaded.masked).then(|| Service::of(&loaded, self.release));
        self.units.push(Unit { loaded, asked, service });
    }

    /// Key, name and place of everything a unit names.
    fn named(&self, at: usize) -> Vec<(&'static str, String, Said)> {
        let loaded = &self.units[at].loaded;
        let written = DEPENDENCIES.iter().flat_map(|key| {
            let units = loaded.units(key).into_iter();
            units.map(|(name, assignment, word)| (*key, name, Some((assignment.clone(), word.range))))
        });
        let links = loaded.links.iter().map(|(key, name)| (*key, name.clone(), None));
        written.chain(links).collect()
    }

    fn edges_of(&self, from: usize) -> Vec<Edge> {
        let named = self.named(from).into_iter();
        named.map(|(key, name, at)| Edge { from, key, to: self.find(&name), name, at }).collect()
    }

    /// `After=`, `Before=`, and what systemd adds: targets behind what they want, services behind their sockets.
    fn order(&mut self) {
        self.after = vec![BTreeMap::new(); self.units.len()];
        for (index, edge) in self.edges.iter().enumerate() {
            let Some(to) = edge.to else { continue };
            match edge.key {
                "After" => self.after[edge.from].insert(to, Some(index)),
                "Before" => self.after[to].insert(edge.from, Some(index)),
                _ => None,
            };
        }
        for edge in &self.edges {
            let Some(to) = edge.to else { continue };
            let default = |at: usize| {
                let text = self.units[at].loaded.text("Unit", "DefaultDependencies", "yes");
                values::boolean(&text) != Some(false)
            };
            let pulls = ["Wants", "Requires", "Requisite", "BindsTo", "Upholds"].contains(&edge.key);
            let target = self.units[edge.from].loaded.name.kind == "target";
            if pulls
                && target
                && default(edge.from)
                && default(to)
                && !self.after[to].contains_key(&edge.from)
            {
                self.after[edge.from].entry(to).or_insert(None);
            }
        }
        for at in 0..self.units.len() {
            let loaded = &self.units[at].loaded;
            if loaded.name.kind != "socket" {
                continue;
            }
            let stem = loaded.name.full.trim_end_matches("socket");
            let service = loaded.text("Socket", "Service", &format!("{stem}service"));
            if let Some(service) = self.find(&service) {
                self.after[service].entry(at).or_insert(None);
            }
        }
    }

    /// A circle of units that each start behind the next; each is said once, the smallest place first.
    pub fn circles(&self) -> Vec<Vec<usize>> {
        let mut found: BTreeSet<Vec<usize>> = BTreeSet::new();
        // 0: not seen, 1: on the way, 2: done.
        let mut state = vec![0; self.units.len()];
        for start in 0..self.units.len() {
            let mut way: Vec<(usize, Vec<usize>)> = Vec::new();
            let elders = |at: usize| self.after[at].keys().copied().collect::<Vec<_>>();
            if state[start] == 0 {
                state[start] = 1;
                way.push((start, elders(start)));
            }
            while let Some((at, left)) = way.last_mut() {
                let at = *at;
                let Some(next) = left.pop() else {
                    state[at] = 2;
                    way.pop();
                    continue;
                };
                match state[next] {
                    0 => {
                        state[next] = 1;
                        way.push((next, elders(next)));
                    }
                    1 => {
                        let from = way.iter().position(|(at, _)| *at == next).unwrap_or_default();
                        let mut circle: Vec<usize> = way[from..].iter().map(|(at, _)| *at).collect();
                        let least =
                            circle.iter().enumerate().min_by_key(|(_, at)| **at).map_or(0, |(n, _)| n);
                        circle.rotate_left(least);
                        found.insert(circle);
                    }
                    _ => {}
                }
            }
        }
        found.into_iter().collect()
    }
}

impl Service {
    /// What a service says of its end.
    pub fn of(loaded: &Loaded, release: Release) -> Service {
        let text = |key: &str, default: &str| loaded.text("Service", key, default);
        let known = |kind: &String| TYPES.iter().any(|(name, since)| name == kind && *since <= release.0);
        let said = Some(text("Type", "")).filter(known);
        let kind = said.unwrap_or_else(|| {
            let commands = loaded.commands("Service", "ExecStart");
            match (loaded.last("Service", "BusName"), commands.is_empty()) {
                (Some(_), _) => "dbus",
                (None, true) => "oneshot",
                (None, false) => "simple",
            }
            .to_owned()
        });
        let restart = text("Restart", "no");
        let span = |section, key| {
            loaded.last(section, key).and_then(|a| values::span(&loaded.name.expand(&a.value).0))
        };
        let either = |keys: &[&str]| {
            let said = |a: &&Assignment| {
                keys.contains(&&*a.key)
                    && (a.section == "Unit" || (a.section == "Service" && a.key != "StartLimitIntervalSec"))
            };
            loaded.assignments.iter().rfind(said)
        };
        let interval = either(&["StartLimitIntervalSec", "StartLimitInterval"]);
        let burst = either(&["StartLimitBurst"]);
        let seconds = interval.and_then(|a| values::span(&a.value)).unwrap_or(Duration::from_secs(10));
        let starts = burst.and_then(|a| a.value.parse().ok()).unwrap_or(5);
        Service {
            kind,
            restart: if RESTARTS.contains(&&*restart) { restart } else { "no".to_owned() },
            delay: span("Service", "RestartSec").unwrap_or(Duration::from_millis(100)),
            direct: release.0 >= 254 && text("RestartMode", "normal") != "normal",
            remains: values::boolean(&text("RemainAfterExit", "no")) == Some(true),
            limit: (starts > 0 && !seconds.is_zero()).then_some((starts, seconds)),
            limit_said: interval.is_some() || burst.is_some(),
        }
    }

    /// It is started again by systemd when it crashes.
    pub fn restarts(&self) -> bool {
        !matches!(&*self.restart, "no" | "on-success") && self.delay != INFINITY
    }

    /// Crash after crash it comes to its limit.
    pub fn limit_is_reached(&self) -> bool {
        let fast = |(starts, interval): (u32, Duration)| {
            interval == INFINITY || self.delay.saturating_mul(starts) < interval
        };
        self.limit.is_some_and(fast)
    }
}
