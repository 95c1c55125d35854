//! Units into a tree: commands, environment, types, users, limits, readiness, stop, hooks, sockets, resources; the
//! strategy that they really implement; and by name everything that has no key in a tree.
//!
//! Units that woodward rendered become the tree they came from ([`own`]). Others become workers of one root that start
//! by dependencies; those that restart one another ([`group`]) become a supervisor with the strategy that does so.

mod command;
pub mod group;
mod own;
mod socket;
mod text;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use super::lint::{self, Finding};
use super::scene::Scene;
use super::text::Assignment;
use crate::tree::Place;

use group::{Group, Strategy};
use text::{Node, string, table};
use worker::Reader;

/// Keys about other units: judged for all units together.
const TOGETHER: &[&str] = &[
    "Wants",
    "Requires",
    "Requisite",
    "BindsTo",
    "PartOf",
    "Upholds",
    "After",
    "Before",
    "StopPropagatedFrom",
    "DefaultDependencies",
    "Conflicts",
];

/// Everything about an import.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The tree file.
    pub text: String,
    /// What was not carried over.
    pub left: Vec<Left>,
    /// Unit, and what is a little different in the tree.
    pub remarks: Vec<(String, String)>,
    /// The strategies found, each with its units.
    pub found: Vec<Found>,
    /// Pitfalls in the units.
    pub pitfalls: Vec<Finding>,
}

/// A strategy, as units implement it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Names of the units, in start order.
    pub units: Vec<String>,
    /// In OTP's words.
    pub strategy: String,
    /// Every crash does what the strategy says.
    pub exact: bool,
    /// One sentence.
    pub text: String,
}

/// A line of a unit that has no counterpart.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// Name of the unit.
    pub unit: String,
    /// Its key.
    pub key: String,
    /// As it is written there.
    pub value: String,
    /// Where.
    pub place: Option<Place>,
    /// Why.
    pub why: String,
}

impl Left {
    fn new(unit: &str, assignment: &Assignment, why: impl Into<String>) -> Left {
        Left {
            unit: unit.to_owned(),
            key: assignment.key.clone(),
            value: assignment.value.clone(),
            place: Some(assignment.place(0)),
            why: why.into(),
        }
    }

    fn comment(&self) -> String {
        let (line, file) = match &self.place {
            Some(place) => (format!(":{}", place.line), place.file.rsplit('/').next().unwrap_or_default()),
            None => (String::new(), &*self.unit),
        };
        format!("left: {}={} ({file}{line}): {}", self.key, short(&self.value), self.why)
    }
}

fn short(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= 60 {
        return clean;
    }
    format!("{}...", clean.chars().take(57).collect::<String>())
}

/// Makes a tree of the asked units; of a target, of everything it wants. `None`: there is no service among them.
pub fn import(scene: &Scene, id: Option<&str>) -> Option<Imported> {
    let members = members(scene);
    if members.is_empty() {
        return None;
    }
    let mut imported = Imported { pitfalls: lint::lint(scene), ..Imported::default() };
    let own = members.iter().all(|at| own::path(scene, *at).is_some());
    let root = own.then(|| own::import(scene, &members, &mut imported)).flatten();
    let mut root = root.unwrap_or_else(|| others(scene, &members, &mut imported));
    if let Some(id) = id {
        root.id = text::id(id);
    }
    imported.text = root.root();
    Some(imported)
}

/// Services: those that were asked for, and those that asked targets want.
fn members(scene: &Scene) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    let mut left: Vec<usize> = (0..scene.units.len()).rev().filter(|at| scene.units[*at].asked).collect();
    let targets = |at: usize| scene.units[at].loaded.name.kind == "target";
    while let Some(at) = left.pop() {
        let unit = &scene.units[at];
        if !seen.insert(at) || unit.loaded.masked {
            continue;
        }
        // A template beside its instances is no service of its own.
        let instances = |other: usize| {
            scene.units[other].loaded.name.template().as_deref() == Some(&*unit.loaded.name.full)
        };
        if unit.service.is_some()
            && !(unit.loaded.name.is_template() && (0..scene.units.len()).any(instances))
        {
            found.push(at);
        }
        if targets(at) && unit.asked && !unit.loaded.name.is_template() {
            let pulled = scene.said(at, &["Wants", "Requires", "Requisite", "BindsTo", "Upholds"]);
            let mut pulled: Vec<usize> = pulled.filter_map(|edge| edge.to).collect();
            pulled.extend((0..scene.units.len()).filter(|other| {
                let wanted = scene.units[*other].loaded.assignments.iter();
                scene.units[*other].asked
                    && wanted.into_iter().any(|a| {
                        a.section == "Install" && a.value.split_whitespace().any(|w| w == scene.name(at))
                    })
            }));
            pulled.reverse();
            left.extend(pulled);
        }
    }
    found
}

/// Units of others: one root, its workers by dependencies, groups as supervisors.
fn others(scene: &Scene, members: &[usize], imported: &mut Imported) -> Node {
    let after = group::after(scene, members);
    let groups = group::groups(scene, members);
    let names: BTreeMap<usize, String> = members.iter().map(|at| (*at, stem(scene, *at))).collect();
    let mut root = Node { id: root_id(scene, members), ..Node::default() };
    root.comments = vec![
        "Made of systemd units by `woodward units import`. Lines that begin with \"left:\" were not carried over.".into(),
    ];
    root.set("order", "\"dependencies\"");
    root.set(
        "environment",
        table([("PATH", string("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))]),
    );
    root.set("defaults.pass_environment", "false");
    root.set("defaults.shutdown", "\"90s\"");
    root.set("defaults.ready.within", "\"90s\"");
    root.set("defaults.stop.kill", "\"group\"");
    let alone: Vec<String> =
        groups.iter().filter(|g| g.members.len() == 1).map(|g| scene.name(g.members[0]).to_owned()).collect();
    if !alone.is_empty() {
        let text = "a crash of one restarts nobody else".to_owned();
        imported.found.push(Found { units: alone, strategy: "one_for_one".to_owned(), exact: true, text });
    }
    // A member of a group is seen from outside by the name of its group.
    let mut outside: BTreeMap<usize, String> = names.clone();
    let mut used: BTreeSet<String> = names.values().cloned().collect();
    for group in groups.iter().filter(|group| group.members.len() > 1) {
        let mut name = format!("{}-group", names[&group.members[0]]);
        while !used.insert(name.clone()) {
            name.push('_');
        }
        group.members.iter().for_each(|at| {
            outside.insert(*at, name.clone());
        });
    }
    for group in &groups {
        let node = |at: usize, imported: &mut Imported| {
            let reader = Reader::new(scene, at, false);
            let mut node = Node { id: names[&at].clone(), lines: reader.lines, ..Node::default() };
            let mut left = reader.left;
            left.extend(strangers(scene, at, members));
            node.comments = vec![scene.name(at).to_owned()];
            node.comments.extend(left.iter().map(Left::comment));
            node.comments.extend(reader.remarks.iter().map(|text| format!("note: {text}")));
            let pitfalls = imported.pitfalls.iter().filter(|finding| finding.unit == scene.name(at));
            node.comments
                .extend(pitfalls.map(|f| format!("pitfall: {}: {}", f.pitfall.name, f.said.message)));
            imported.left.extend(left);
            imported.remarks.extend(reader.remarks.into_iter().map(|text| (scene.name(at).to_owned(), text)));
            node
        };
        let foreign = |at: &usize, own: &[usize]| -> BTreeSet<String> {
            after[at].iter().filter(|e| !own.contains(e)).map(|e| outside[e].clone()).collect()
        };
        if let [at] = group.members[..] {
            let mut child = node(at, imported);
            child.after = foreign(&at, &[at]).into_iter().collect();
            root.children.push(child);
            continue;
        }
        let mut child = Node { id: outside[&group.members[0]].clone(), ..Node::default() };
        child.comments = vec![describe(scene, group, imported)];
        child.set("strategy", string(group.strategy.name()));
        child.set("order", "\"dependencies\"");
        let behind: BTreeSet<String> =
            group.members.iter().flat_map(|at| foreign(at, &group.members)).collect();
        child.after = behind.into_iter().collect();
        for at in &group.members {
            let mut below = node(*at, imported);
            below.after =
                after[at].iter().filter(|e| group.members.contains(e)).map(|e| names[e].clone()).collect();
            child.children.push(below);
        }
        root.children.push(child);
    }
    uncircle(&mut root, imported);
    root
}

/// One sentence about a group; also for the report.
fn describe(scene: &Scene, group: &Group, imported: &mut Imported) -> String {
    let name = |at: &usize| scene.name(*at).to_owned();
    let after = group::after(scene, &group.members);
    let mut crashes = Vec::new();
    for at in &group.members {
        let fates = group::crash(scene, *at);
        let here = |set: &BTreeSet<usize>| {
            let names: Vec<String> = group.members.iter().filter(|m| set.contains(m)).map(name).collect();
            names.join(", ")
        };
        let wanted = group::dragged(group.strategy, *at, &group.members, &after);
        let agrees = fates.restarted == wanted && fates.lost.is_empty();
        if fates.restarted.contains(at) && !agrees {
            let lost = if fates.lost.is_empty() {
                String::new()
            } else {
                format!(", stops for good {}", here(&fates.lost))
            };
            crashes.push(format!(
                "under systemd a crash of {} restarts {}{lost}; here it restarts {}",
                name(at),
                here(&fates.restarted),
                here(&wanted)
            ));
        }
    }
    let strategy = group.strategy.name();
    let text = if group.exact {
        format!("what systemd does at a crash of one of these is {strategy}")
    } else {
        let what = if group.strategy == Strategy::OneForOne {
            "nothing OTP has a word for"
        } else {
            "not quite what OTP has a word for"
        };
        format!(
            "what systemd does at a crash of one of these is {what}; {strategy} is the nearest\n{}",
            crashes.join("\n")
        )
    };
    let found = Found {
        units: group.members.iter().map(name).collect(),
        strategy: strategy.to_owned(),
        exact: group.exact,
        text: text.clone(),
    };
    imported.found.push(found);
    text
}

/// Dependencies on what is not in the tree.
fn strangers(scene: &Scene, at: usize, members: &[usize]) -> Vec<Left> {
    let inside = |to: usize| {
        let kind = &*scene.units[to].loaded.name.kind;
        members.contains(&to) || (kind == "target" && scene.units[to].asked) || kind == "socket"
    };
    let mut found: Vec<Left> = Vec::new();
    for edge in scene.edges.iter().filter(|edge| edge.from == at && TOGETHER.contains(&edge.key)) {
        let Some((assignment, range)) = &edge.at else { continue };
        let why = match edge.key {
            "Conflicts" => "a tree has no conflicts",
            "Upholds" => "`restart = \"permanent\"` of the other",
            _ if edge.to.is_some_and(inside) => continue,
            _ => "not in this tree",
        };
        let mut left = Left::new(scene.name(at), assignment, why);
        left.place = Some(assignment.place(range.start));
        left.value = edge.name.clone();
        found.push(left);
    }
    found
}

/// Groups may wait for one another in a circle where their members do not: one `after` has to go.
fn uncircle(root: &mut Node, imported: &mut Imported) {
    let ids: Vec<String> = root.children.iter().map(|child| child.id.clone()).collect();
    let mut started: BTreeSet<String> = BTreeSet::new();
    while started.len() < ids.len() {
        let free = |child: &&mut Node| {
            !started.contains(&child.id) && child.after.iter().all(|id| started.contains(id))
        };
        if let Some(child) = root.children.iter_mut().find(free) {
            started.insert(child.id.clone());
            continue;
        }
        let Some(child) = root.children.iter_mut().find(|child| !started.contains(&child.id)) else { break };
        let (kept, dropped): (Vec<String>, Vec<String>) =
            std::mem::take(&mut child.after).into_iter().partition(|id| started.contains(id));
        child.after = kept;
        for id in dropped {
            let why = "a group would wait for one that waits for it".to_owned();
            child.comments.push(format!("left: after {id}: {why}"));
            imported.left.push(Left {
                unit: child.id.clone(),
                key: "After".into(),
                value: id,
                place: None,
                why,
            });
        }
        started.insert(child.id.clone());
    }
}

fn stem(scene: &Scene, at: usize) -> String {
    let name = scene.name(at);
    text::id(name.strip_suffix(".service").unwrap_or(name))
}

/// The asked target, or what all names begin with.
fn root_id(scene: &Scene, members: &[usize]) -> String {
    let target = scene.units.iter().find(|unit| unit.asked && unit.loaded.name.kind == "target");
    if let Some(target) = target {
        return text::id(target.loaded.name.full.trim_end_matches(".target"));
    }
    let names: Vec<String> = members.iter().map(|at| stem(scene, *at)).collect();
    let Some(first) = names.first() else { return "units".to_owned() };
    let common = first.char_indices().map(|(at, c)| &first[..at + c.len_utf8()]);
    let common = common
        .take_while(|start| names.iter().all(|name| name.starts_with(start)))
        .last()
        .unwrap_or_default();
    let common = common.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    if common.is_empty() || names.len() == 1 { "units".to_owned() } else { common.to_owned() }
}
