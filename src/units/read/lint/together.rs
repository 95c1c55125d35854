//! What becomes of one unit when another ends.

use std::time::Duration;

use super::super::scene::{Edge, Service};
use super::super::values::{self, INFINITY};
use super::{Findings, Level, Pitfall};

const BINDS_TO_LOSES: Pitfall = Pitfall {
    name: "binds-to-loses",
    level: Level::Warning,
    means: "BindsTo= a unit that systemd restarts after a delay (100ms by default): at each of its crashes the \
            dependent is stopped and never comes back, whatever its own Restart= says",
    remedy: "PartOf= and After=, with Wants= to pull it in: the restart is then passed on",
};
const STOP_PROPAGATED_LOSES: Pitfall = Pitfall {
    name: "stop-propagated-loses",
    level: Level::Warning,
    means: "StopPropagatedFrom= a unit that systemd restarts: the dependent is stopped at each crash and stays dead",
    remedy: "PartOf=, unless it is meant to end with it",
};
const REQUIRES_FIRST_FAILURE: Pitfall = Pitfall {
    name: "requires-first-failure",
    level: Level::Warning,
    means: "Requires= and After= a unit that fails its first start and then comes up by its Restart=: the waiting \
            dependent has failed with \"dependency\" and is never started",
    remedy: "Wants= and After=; or, from systemd 254 on, RestartMode=direct in the other unit",
};
const LIMIT_EATEN: Pitfall = Pitfall {
    name: "limit-eaten",
    level: Level::Warning,
    means: "restarts passed on by PartOf=, Requires= or BindsTo= use up the dependent's own start limit: it ends in \
            start-limit-hit without ever having crashed",
    remedy: "StartLimitIntervalSec=0 in the dependent",
};
const LIMIT_UNPINNED: Pitfall = Pitfall {
    name: "limit-unpinned",
    level: Level::Warning,
    means: "a start limit on a unit that nothing refers to and systemd does not restart: the unit is unloaded when \
            it ends, its count with it, and the limit never strikes",
    remedy: "Wants= or After= this unit from one that stays loaded",
};
const DIRECT_KEEPS: Pitfall = Pitfall {
    name: "direct-keeps-dependents",
    level: Level::Warning,
    means: "RestartMode=direct passes no restart on: PartOf=, Requires= and BindsTo= dependents run on with a \
            provider that was replaced",
    remedy: "RestartMode=normal where dependents must follow",
};
const UPHOLDS_UNDOES_STOP: Pitfall = Pitfall {
    name: "upholds-undoes-stop",
    level: Level::Note,
    means: "Upholds= starts the other unit again whenever it is down: systemctl stop is undone at once",
    remedy: "stop the unit that says Upholds= as well, or Wants= and Restart=",
};
const STOPS_UNNEEDED: Pitfall = Pitfall {
    name: "stops-unneeded",
    level: Level::Warning,
    means: "StopWhenUnneeded= on a unit that no other wants or requires: it is stopped as soon as it is started",
    remedy: "Wants= it from the unit that needs it; [Install] alone does so only while it is enabled",
};

pub const ALL: &[&Pitfall] = &[
    &BINDS_TO_LOSES,
    &STOP_PROPAGATED_LOSES,
    &REQUIRES_FIRST_FAILURE,
    &LIMIT_EATEN,
    &LIMIT_UNPINNED,
    &DIRECT_KEEPS,
    &UPHOLDS_UNDOES_STOP,
    &STOPS_UNNEEDED,
];

pub fn unit(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let own = scene.name(at);
    let edges: Vec<(&Edge, usize)> =
        scene.edges.iter().filter(|e| e.from == at).filter_map(|e| Some((e, e.to?))).collect();
    for (edge, to) in edges {
        let other = scene.name(to);
        let Some(service) = scene.units[to].service.as_ref() else { continue };
        let delayed = service.restarts() && !service.direct;
        match edge.key {
            "BindsTo" if delayed && !service.delay.is_zero() && !upheld(findings, at, to) => {
                let message =
                    format!("when {other} crashes and is restarted, {own} is stopped and stays dead");
                findings.say(&BINDS_TO_LOSES, at, scene.at(edge, message));
            }
            "StopPropagatedFrom" if delayed && !findings.never_restarted(at) => {
                let message =
                    format!("when {other} crashes and is restarted, {own} is stopped and stays dead");
                findings.say(&STOP_PROPAGATED_LOSES, at, scene.at(edge, message));
            }
            "Requires" | "Requisite"
                if delayed && scene.is_after(at, to) && can_fail(findings, to, service) =>
            {
                let message = format!(
                    "if the first start of {other} fails and its restart succeeds, {own} is not started"
                );
                findings.say(&REQUIRES_FIRST_FAILURE, at, scene.at(edge, message));
            }
            _ => {}
        }
        if matches!(edge.key, "BindsTo" | "PartOf" | "Requires") && service.restarts() && service.direct {
            let message = format!("{other} has RestartMode=direct: {own} is not restarted with it");
            findings.say(&DIRECT_KEEPS, at, scene.at(edge, message));
        }
        if edge.key == "Upholds" {
            let message = format!("systemctl stop {other} is undone at once as long as {own} is active");
            findings.say(&UPHOLDS_UNDOES_STOP, at, scene.at(edge, message));
        }
    }
    limits(findings, at);
    unneeded(findings, at);
}

/// The other unit starts this one again.
fn upheld(findings: &Findings<'_>, at: usize, by: usize) -> bool {
    findings.scene.said(by, &["Upholds"]).any(|edge| edge.to == Some(at))
}

impl Findings<'_> {
    /// It is meant to end: nothing would start it again.
    fn never_restarted(&self, at: usize) -> bool {
        self.unit(at).service.as_ref().is_some_and(|service| service.restart == "no")
    }
}

/// A start can fail: it is more than a fork.
fn can_fail(findings: &Findings<'_>, at: usize, service: &Service) -> bool {
    let loaded = &findings.unit(at).loaded;
    !matches!(&*service.kind, "simple" | "idle")
        || ["ExecStartPre", "ExecCondition", "ExecStartPost"]
            .iter()
            .any(|key| !loaded.commands("Service", key).is_empty())
}

/// How often these other units may start one within a time, because they are restarted themselves.
fn limits(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let Some((starts, interval)) = scene.units[at].service.as_ref().and_then(|service| service.limit) else {
        return;
    };
    let mut providers: Vec<(usize, &Edge)> = scene
        .said(at, &["PartOf", "Requires", "BindsTo", "Requisite"])
        .filter_map(|edge| Some((edge.to?, edge)))
        .collect();
    providers.sort_by_key(|(to, _)| *to);
    providers.dedup_by_key(|(to, _)| *to);
    let restarts = |to: usize| {
        let service = scene.units[to].service.as_ref().filter(|s| s.restarts() && !s.direct)?;
        let by_delay = times(interval, service.delay.max(Duration::from_millis(1)));
        let by_limit = match service.limit {
            Some((starts, every)) if every >= interval => u64::from(starts),
            Some((starts, every)) => u64::from(starts).saturating_mul(times(interval, every).max(1)),
            None => u64::MAX,
        };
        Some(by_delay.min(by_limit))
    };
    let counted: Vec<(usize, &Edge, u64)> =
        providers.into_iter().filter_map(|(to, edge)| Some((to, edge, restarts(to)?))).collect();
    let sum = counted.iter().fold(0_u64, |sum, (.., n)| sum.saturating_add(*n));
    if let [(to, edge, _), rest @ ..] = &counted[..]
        && sum > u64::from(starts)
    {
        let many = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let message = format!(
            "{starts} crashes of {}{many} within {}: {} has used up its own start limit and stays dead",
            scene.name(*to),
            crate::tree::units::show(interval),
            scene.name(at)
        );
        findings.say(&LIMIT_EATEN, at, scene.at(edge, message));
    }
    let unit = &scene.units[at];
    let service = unit.service.as_ref().filter(|s| s.limit_said && s.restart == "no");
    let wanted = unit.loaded.assignments.iter().any(|a| a.section == "Install" && a.key.ends_with("By"));
    let pinned = scene.edges.iter().any(|edge| edge.to == Some(at) && edge.from != at);
    if service.is_some() && !wanted && !pinned && !unit.loaded.name.is_template() {
        let key = if unit.loaded.last("Unit", "StartLimitBurst").is_some() {
            "StartLimitBurst"
        } else {
            "StartLimitIntervalSec"
        };
        let message = format!("{} is unloaded when it ends, and its count with it", scene.name(at));
        findings.key(&LIMIT_UNPINNED, at, ("Unit", key), message);
    }
}

/// How often `part` fits into `whole`.
fn times(whole: Duration, part: Duration) -> u64 {
    if whole == INFINITY {
        return u64::MAX;
    }
    u64::try_from(whole.as_micros() / part.as_micros().max(1)).unwrap_or(u64::MAX)
}

fn unneeded(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let loaded = &scene.units[at].loaded;
    let stops = loaded.last("Unit", "StopWhenUnneeded");
    // Other kinds of units are pulled in by devices, sleep and the like.
    let service = scene.units[at].service.is_some() && !loaded.name.is_template();
    if stops.and_then(|a| values::boolean(&a.value)) != Some(true) || !service {
        return;
    }
    if scene.naming(at, &["Wants", "Requires", "Requisite", "BindsTo", "Upholds"]).next().is_none() {
        let message =
            format!("nothing here wants {}: it is stopped as soon as it is started", scene.name(at));
        findings.key(&STOPS_UNNEEDED, at, ("Unit", "StopWhenUnneeded"), message);
    }
}
