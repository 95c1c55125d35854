//! Who starts behind whom, and where a chain has a hole.

use std::collections::BTreeSet;

use super::super::scene::{Edge, Service};
use super::{Findings, Level, Pitfall};

const ORDER_MISSING: Pitfall = Pitfall {
    name: "order-missing",
    level: Level::Warning,
    means: "Requires=, Requisite= or BindsTo= without After=: both start at the same time, and when the other has \
            reached its start limit, its dependents are started beside a dead provider",
    remedy: "After= the same unit",
};
const WANTS_UNORDERED: Pitfall = Pitfall {
    name: "wants-unordered",
    level: Level::Note,
    means: "Wants= a service without After= or Before= it: both start at the same time",
    remedy: "After= the same unit, if it is needed while starting",
};
const AFTER_HOLE: Pitfall = Pitfall {
    name: "after-hole",
    level: Level::Warning,
    means: "After= is not handed on through a unit that has no job: of a chain in which only the ends are restarted \
            together, both ends stop and start at the same time",
    remedy: "After= every earlier unit of the group, not the next one alone",
};
const PART_OF_HOLE: Pitfall = Pitfall {
    name: "part-of-hole",
    level: Level::Warning,
    means: "PartOf= is not followed through a unit that is inactive: with the middle one dead, stopping the first \
            leaves the last running",
    remedy: "PartOf= every unit above, not the next one alone",
};
const ORDER_CIRCLE: Pitfall = Pitfall {
    name: "order-circle",
    level: Level::Error,
    means: "units that each start behind the next in a circle: systemd throws one of the jobs away, at boot a \
            different unit each time it changes",
    remedy: "take one After= or Before= away",
};

pub const ALL: &[&Pitfall] = &[&ORDER_MISSING, &WANTS_UNORDERED, &AFTER_HOLE, &PART_OF_HOLE, &ORDER_CIRCLE];

pub fn unit(findings: &mut Findings<'_>, at: usize) {
    missing(findings, at);
    after_hole(findings, at);
    part_of_hole(findings, at);
}

fn missing(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    for edge in scene.said(at, &["Requires", "Requisite", "BindsTo", "Wants"]) {
        let Some(to) = edge.to.filter(|to| *to != at) else { continue };
        let both = scene.units[at].service.is_some() && scene.units[to].service.is_some();
        let conflicts = scene.said(at, &["Conflicts"]).any(|other| other.to == Some(to));
        if !both || edge.at.is_none() || conflicts || scene.is_after(at, to) || scene.is_after(to, at) {
            continue;
        }
        let (own, other) = (scene.name(at), scene.name(to));
        if edge.key == "Wants" {
            findings.say(&WANTS_UNORDERED, at, scene.at(edge, format!("{own} does not wait for {other}")));
            continue;
        }
        let message =
            format!("{own} does not wait for {other}, and is started beside it when it has failed for good");
        findings.say(&ORDER_MISSING, at, scene.at(edge, message));
    }
}

/// Those that are restarted with a unit: itself first.
fn group(findings: &Findings<'_>, of: usize) -> BTreeSet<usize> {
    let scene = findings.scene;
    let (mut group, mut left) = (BTreeSet::from([of]), vec![of]);
    while let Some(next) = left.pop() {
        for edge in scene.naming(next, &["PartOf", "Requires", "Requisite", "BindsTo"]) {
            if group.insert(edge.from) {
                left.push(edge.from);
            }
        }
    }
    group
}

fn after_hole(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    for edge in scene.said(at, &["PartOf", "Requires", "BindsTo"]) {
        let Some(first) = edge.to.filter(|to| *to != at && scene.units[*to].service.is_some()) else {
            continue;
        };
        if !scene.units[first].service.as_ref().is_some_and(|s| s.restarts() && !s.direct) {
            continue;
        }
        let group = group(findings, first);
        if path(findings, at, first, &group) || scene.is_after(first, at) {
            continue;
        }
        let everywhere = (0..scene.units.len()).filter(|u| scene.units[*u].service.is_some()).collect();
        if path(findings, at, first, &everywhere) {
            let message = format!(
                "when {} crashes, it and {} stop and start at the same time: those between them have no job then",
                scene.name(first),
                scene.name(at)
            );
            findings.say(&AFTER_HOLE, at, scene.at(edge, message));
        }
    }
}

/// `late` is after `early`, step by step over these units.
fn path(findings: &Findings<'_>, late: usize, early: usize, over: &BTreeSet<usize>) -> bool {
    let (mut seen, mut left) = (BTreeSet::from([late]), vec![late]);
    while let Some(next) = left.pop() {
        for (elder, _) in findings.scene.elders(next) {
            if elder == early {
                return true;
            }
            if over.contains(&elder) && seen.insert(elder) {
                left.push(elder);
            }
        }
    }
    false
}

fn part_of_hole(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let own: Vec<&Edge> = scene.said(at, &["PartOf", "Requires", "BindsTo", "StopPropagatedFrom"]).collect();
    let covered: BTreeSet<usize> = own.iter().filter_map(|edge| edge.to).collect();
    for edge in own.iter().filter(|edge| edge.key == "PartOf") {
        let Some(middle) = edge.to else { continue };
        for above in scene.said(middle, &["PartOf"]) {
            let Some(first) = above.to.filter(|to| *to != at && !covered.contains(to)) else { continue };
            // Only a unit that can be down by itself is a hole; members of a mesh are part of one another.
            let mesh = scene.said(first, &["PartOf"]).any(|edge| edge.to == Some(middle));
            let service = scene.units[middle].service.as_ref();
            let ends = |service: &Service| service.restart != "always" || service.limit.is_some();
            let start = scene.units[middle].loaded.commands("Service", "ExecStart");
            let sleeps = start.first().is_some_and(|(_, command)| command.program.ends_with("/sleep"));
            if mesh || sleeps || !service.is_some_and(ends) {
                continue;
            }
            let message = format!(
                "when {} is down, stopping {} leaves {} running",
                scene.name(middle),
                scene.name(first),
                scene.name(at)
            );
            findings.say(&PART_OF_HOLE, at, scene.at(edge, message));
        }
    }
}

/// Circles of order, each said at the first unit of it that was asked for.
pub fn circles(findings: &mut Findings<'_>) {
    let scene = findings.scene;
    for circle in scene.circles() {
        let Some(start) = circle.iter().position(|at| scene.units[*at].asked) else { continue };
        let mut way = circle.clone();
        way.rotate_left(start);
        let at = way[0];
        let names: Vec<&str> = way.iter().chain(&way[..1]).map(|at| scene.name(*at)).collect();
        let message = format!("a circle: {}", names.join(" after "));
        let next = way.get(1).copied().unwrap_or(at);
        let said = scene.elders(at).find(|(elder, _)| *elder == next).and_then(|(_, edge)| edge);
        let said = match said.filter(|edge| edge.from == at) {
            Some(edge) => scene.at(edge, message),
            None => scene.about(at, message),
        };
        findings.say(&ORDER_CIRCLE, at, said);
    }
}
