//! Which strategy units really implement: what systemd restarts and stops when one of them crashes.
//!
//! By what was seen on systemd 252 and 257, for a crash that `Restart=` answers:
//!
//! | the dependent has | it is |
//! |---|---|
//! | `Wants=`, `After=`, `Upholds=` | kept |
//! | `Requires=`, `Requisite=`, `PartOf=` | restarted |
//! | `BindsTo=` | stopped and lost; restarted if `RestartSec=0` or the other `Upholds=` it |
//! | `StopPropagatedFrom=` | stopped and lost |
//! | any of them, with `RestartMode=direct` | kept |
//!
//! Who is restarted that way is, to its own dependents, restarted by hand: they are restarted with it. `Restart=` of the
//! dependent makes no difference.

use std::collections::{BTreeMap, BTreeSet};

use super::super::scene::Scene;

/// What a crash does besides to the unit itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Restarted, the crashed unit first.
    pub restarted: BTreeSet<usize>,
    /// Stopped, and never started again.
    pub lost: BTreeSet<usize>,
}

/// Strategies in OTP's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody else is restarted.
    OneForOne,
    /// Those that start behind it are.
    RestForOne,
    /// All are.
    OneForAll,
}

/// Members that restart one another, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// In start order.
    pub members: Vec<usize>,
    /// In OTP's words; the nearest if `exact` is false.
    pub strategy: Strategy,
    /// Every crash does what the strategy says.
    pub exact: bool,
}

impl Strategy {
    /// OTP's word.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::OneForOne => "one_for_one",
            Strategy::RestForOne => "rest_for_one",
            Strategy::OneForAll => "one_for_all",
        }
    }
}

/// What a crash of a unit does.
pub fn crash(scene: &Scene, at: usize) -> Fates {
    let mut fates = Fates::default();
    let service = scene.units[at].service.as_ref();
    let restarts = service.is_some_and(|service| service.restarts());
    let direct = service.is_some_and(|service| service.direct);
    let at_once = service.is_some_and(|service| service.delay.is_zero());
    let (mut restarted, mut lost) = (Vec::new(), Vec::new());
    if restarts {
        fates.restarted.insert(at);
    }
    if restarts && direct {
        return fates;
    }
    for edge in scene.naming(at, &["Requires", "Requisite", "PartOf", "BindsTo", "StopPropagatedFrom"]) {
        let upheld = || scene.said(at, &["Upholds"]).any(|upholds| upholds.to == Some(edge.from));
        match edge.key {
            "StopPropagatedFrom" => lost.push(edge.from),
            "BindsTo" if !restarts || (!at_once && !upheld()) => lost.push(edge.from),
            _ if restarts => restarted.push(edge.from),
            _ => {}
        }
    }
    while let Some(next) = lost.pop() {
        if next != at && fates.lost.insert(next) {
            let following = ["Requires", "Requisite", "PartOf", "BindsTo", "StopPropagatedFrom"];
            lost.extend(scene.naming(next, &following).map(|edge| edge.from));
        }
    }
    while let Some(next) = restarted.pop() {
        if !fates.lost.contains(&next) && fates.restarted.insert(next) {
            let following = ["Requires", "Requisite", "PartOf", "BindsTo"];
            restarted.extend(scene.naming(next, &following).map(|edge| edge.from));
        }
    }
    fates
}

/// Which of the members each starts behind; over targets too, which wait for what they want.
pub fn after(scene: &Scene, members: &[usize]) -> BTreeMap<usize, BTreeSet<usize>> {
    let among: BTreeSet<usize> = members.iter().copied().collect();
    let one = |late: usize| {
        let (mut found, mut seen, mut left) = (BTreeSet::new(), BTreeSet::from([late]), vec![late]);
        while let Some(next) = left.pop() {
            for (elder, _) in scene.elders(next) {
                if !seen.insert(elder) {
                    continue;
                }
                if among.contains(&elder) {
                    found.insert(elder);
                } else if scene.units[elder].loaded.name.kind == "target" {
                    left.push(elder);
                }
            }
        }
        found.remove(&late);
        found
    };
    members.iter().map(|late| (*late, one(*late))).collect()
}

/// Members in start order: each behind those it is after, else as given. In a circle somebody must be first.
pub fn in_order(members: &[usize], after: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < members.len() {
        let free = |at: &&usize| {
            let elders = after.get(at).into_iter().flatten();
            !order.contains(at)
                && elders.into_iter().all(|elder| order.contains(elder) || !members.contains(elder))
        };
        let left = |at: &&usize| !order.contains(at);
        let Some(next) = members.iter().find(free).or_else(|| members.iter().find(left)) else { break };
        order.push(*next);
    }
    order
}

/// Members that restart or lose one another, together; each once, in start order.
pub fn groups(scene: &Scene, members: &[usize]) -> Vec<Group> {
    let after = after(scene, members);
    let fates: BTreeMap<usize, Fates> = members.iter().map(|at| (*at, crash(scene, *at))).collect();
    let mut of: BTreeMap<usize, usize> = members.iter().map(|at| (*at, *at)).collect();
    for (at, fate) in &fates {
        for other in fate.restarted.iter().chain(&fate.lost) {
            if let (Some(from), Some(to)) = (of.get(other).copied(), of.get(at).copied()) {
                of.values_mut().filter(|group| **group == from).for_each(|group| *group = to);
            }
        }
    }
    let order = in_order(members, &after);
    let mut found: Vec<Group> = Vec::new();
    for at in &order {
        if found.iter().any(|group| group.members.contains(at)) {
            continue;
        }
        let members: Vec<usize> = order.iter().copied().filter(|other| of[other] == of[at]).collect();
        found.push(judged(members, &fates, &after));
    }
    found
}

fn judged(
    members: Vec<usize>,
    fates: &BTreeMap<usize, Fates>,
    after: &BTreeMap<usize, BTreeSet<usize>>,
) -> Group {
    let all: BTreeSet<usize> = members.iter().copied().collect();
    let restarting: Vec<usize> =
        members.iter().copied().filter(|at| fates[at].restarted.contains(at)).collect();
    let matches = |strategy: Strategy| {
        let agree = |at: &&usize| {
            let here: BTreeSet<usize> = fates[at].restarted.intersection(&all).copied().collect();
            let lost = fates[at].lost.intersection(&all).count();
            here == dragged(strategy, **at, &members, after) && lost == 0
        };
        restarting.iter().filter(agree).count()
    };
    let best = [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll]
        .into_iter()
        .rev()
        .max_by_key(|strategy| matches(*strategy))
        .unwrap_or(Strategy::OneForOne);
    let best = if members.len() == 1 { Strategy::OneForOne } else { best };
    let loses = members.iter().any(|at| !fates[at].lost.is_disjoint(&all));
    let exact = matches(best) == restarting.len() && !loses;
    Group { members, strategy: best, exact }
}

/// Whom a strategy restarts with a member.
pub fn dragged(
    strategy: Strategy,
    at: usize,
    members: &[usize],
    after: &BTreeMap<usize, BTreeSet<usize>>,
) -> BTreeSet<usize> {
    match strategy {
        Strategy::OneForOne => BTreeSet::from([at]),
        Strategy::OneForAll => members.iter().copied().collect(),
        Strategy::RestForOne => {
            let mut found = BTreeSet::from([at]);
            loop {
                let more: Vec<usize> = members
                    .iter()
                    .copied()
                    .filter(|late| !found.contains(late) && !after[late].is_disjoint(&found))
                    .collect();
                if more.is_empty() {
                    return found;
                }
                found.extend(more);
            }
        }
    }
}
