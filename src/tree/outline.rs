//! What follows from a plan without running it: waves, what each crash drags along, how long a stop may take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use woodward_engine::spec::{Child, Children, Kind, Order, Shutdown, Strategy, Supervisor};

/// The children of a supervisor, as a list; a template counts as one.
pub fn children(supervisor: &Supervisor) -> &[Child] {
    match &supervisor.children {
        Children::List(children) => children,
        Children::Template(child) => std::slice::from_ref(child),
    }
}

/// The wave in which each child starts, from 1: its place in the list, or by dependencies one more than the last of
/// those it is after.
pub fn waves(supervisor: &Supervisor) -> Vec<usize> {
    let children = children(supervisor);
    if supervisor.order == Order::Listed {
        return (1..=children.len()).collect();
    }
    let before = predecessors(children);
    let mut waves = vec![0; children.len()];
    for at in in_start_order(&before) {
        waves[at] = before[at].iter().map(|from| waves[*from]).max().unwrap_or(0) + 1;
    }
    waves
}

/// Which children a crash of each one restarts, itself included, in start order.
pub fn groups(supervisor: &Supervisor) -> Vec<Vec<usize>> {
    let children = children(supervisor);
    let all = 0..children.len();
    match (supervisor.strategy, supervisor.order) {
        (Strategy::OneForOne | Strategy::SimpleOneForOne, _) => all.map(|at| vec![at]).collect(),
        (Strategy::OneForAll, _) => all.clone().map(|_| all.clone().collect()).collect(),
        (Strategy::RestForOne, Order::Listed) => all.clone().map(|at| (at..all.end).collect()).collect(),
        (Strategy::RestForOne, Order::Dependencies) => {
            let before = predecessors(children);
            let order = in_start_order(&before);
            all.map(|at| {
                let mut group = BTreeSet::from([at]);
                for other in &order {
                    if before[*other].iter().any(|from| group.contains(from)) {
                        group.insert(*other);
                    }
                }
                group.into_iter().collect()
            })
            .collect()
        }
    }
}

/// Whether some of the children are after each other in a circle.
pub fn is_cyclic(children: &[Child]) -> bool {
    in_start_order(&predecessors(children)).len() < children.len()
}

/// The chain of children that takes longest to stop, in stop order, each with its time; `None`: no limit.
pub fn slowest_stop(supervisor: &Supervisor) -> Vec<(usize, Option<Duration>)> {
    let children = children(supervisor);
    let times: Vec<Option<Duration>> = children.iter().map(stop_time).collect();
    if supervisor.order == Order::Listed {
        return (0..children.len()).rev().map(|at| (at, times[at])).collect();
    }
    let before = predecessors(children);
    let mut longest: Vec<(Duration, Vec<usize>)> = vec![(Duration::ZERO, Vec::new()); children.len()];
    let far = |time: Option<Duration>| time.unwrap_or(Duration::from_secs(u32::MAX.into()));
    for at in in_start_order(&before) {
        let from = before[at].iter().map(|from| longest[*from].clone()).max_by_key(|(time, _)| *time);
        let (time, mut chain) = from.unwrap_or_default();
        chain.push(at);
        longest[at] = (time.saturating_add(far(times[at])), chain);
    }
    let chain = longest.into_iter().max_by_key(|(time, _)| *time).map(|(_, chain)| chain).unwrap_or_default();
    chain.into_iter().rev().map(|at| (at, times[at])).collect()
}

/// How long a child may take to stop; `None`: no limit.
fn stop_time(child: &Child) -> Option<Duration> {
    let own = match child.shutdown {
        Shutdown::BrutalKill => return Some(Duration::ZERO),
        Shutdown::Time(time) => Some(time),
        Shutdown::Infinity => None,
    };
    match &child.kind {
        Kind::Worker(_) => own,
        Kind::Supervisor(supervisor) => match (own, total(&slowest_stop(supervisor))) {
            (Some(own), Some(below)) => Some(own.min(below)),
            (own, below) => own.or(below),
        },
    }
}

/// The sum of a chain; `None`: no limit.
pub fn total(chain: &[(usize, Option<Duration>)]) -> Option<Duration> {
    chain.iter().try_fold(Duration::ZERO, |sum, (_, time)| time.map(|time| sum.saturating_add(time)))
}

/// Of each child, those it is after.
fn predecessors(children: &[Child]) -> Vec<Vec<usize>> {
    let place: BTreeMap<&str, usize> =
        children.iter().enumerate().map(|(at, child)| (&*child.id, at)).collect();
    children
        .iter()
        .map(|child| child.after.iter().filter_map(|id| place.get(&**id).copied()).collect())
        .collect()
}

/// Every child behind those it is after. There are no cycles in a plan.
fn in_start_order(before: &[Vec<usize>]) -> Vec<usize> {
    let mut left: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut behind = vec![Vec::new(); before.len()];
    for (at, from) in before.iter().enumerate() {
        from.iter().for_each(|from| behind[*from].push(at));
    }
    let mut order: Vec<usize> = (0..before.len()).filter(|at| left[*at] == 0).collect();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        for other in &behind[at] {
            left[*other] -= 1;
            if left[*other] == 0 {
                order.push(*other);
            }
        }
    }
    order
}
