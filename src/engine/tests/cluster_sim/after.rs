//! What must be so when all is mended.

use crate::cluster_world::keeper::Phase;
use crate::world::World;
use woodward_engine::cluster::group::Failback;
use woodward_engine::cluster::register::{Order, Why};
use woodward_engine::cluster::{Group, Name, Request};

/// Mends everything, waits, and looks; then lets a node die of which it was foreseen what follows, then drains one.
pub fn all_is_well_in_the_end(world: &mut World) {
    let order = Order { by: "mender".into(), text: None };
    for n in 0..world.hosts.len() {
        world.boot(n);
        world.begin_again(n);
    }
    let mut at = world.plan.heal + 15_000;
    world.live(at);
    for n in 0..world.hosts.len() {
        let node = world.plan.nodes[n].clone();
        world.ask(n, Request::Undrain { node });
    }
    world.ask(0, Request::Maintain { on: false, order: order.clone() });
    at = world.plan.end;
    world.live(at - 20_000);
    let before = world.judge.moves.len();
    world.live(at);
    if world.judge.wrong.is_some() {
        return;
    }
    world.judge.all_answered();
    if world.judge.moves.len() > before {
        let last = world.judge.moves.last().cloned();
        world.judge.blame(|| format!("I8: groups still move in the end: {last:?}"));
    }
    in_the_end(world, None, true);
    let (faults, seconds) = (world.plan.faults.len(), world.plan.end / 1000);
    world.judge.moves_are_bounded(faults, seconds);
    if world.judge.wrong.is_some() {
        return;
    }
    a_node_dies(world, &mut at);
    if world.judge.wrong.is_none() {
        a_node_is_drained(world, at, order);
    }
}

/// Where a group is up.
pub fn up_at(world: &World, group: &Name) -> Vec<usize> {
    let up = |n: &usize| world.hosts[*n].keeper.runs.get(group).is_some_and(|run| run.phase == Phase::Up);
    (0..world.hosts.len()).filter(up).collect()
}

/// Whether two groups must not share a node, by the word of either.
fn apart(one: &Group, other: &Group) -> bool {
    one.apart.contains(&other.name) || other.apart.contains(&one.name)
}

/// Whether two groups have anything to do with each other.
fn related(world: &World, group: &Group) -> bool {
    let of = |g: &Group| !g.with.is_empty() || !g.apart.is_empty();
    of(group)
        || world.plan.groups.iter().any(|g| g.with.contains(&group.name) || g.apart.contains(&group.name))
}

/// Whether a group could run on a node as things are, were it not for the one left out.
fn able(world: &World, group: &Group, node: &Name, without: Option<usize>) -> bool {
    let n = world.plan.nodes.iter().position(|name| name == node).expect("known");
    let free = |other: &Group| !apart(group, other) || !world.hosts[n].keeper.runs.contains_key(&other.name);
    Some(n) != without && world.plan.groups.iter().all(free)
}

/// Each group that can run is up on exactly one node, and on the best one if it comes back by itself.
fn in_the_end(world: &mut World, without: Option<usize>, best: bool) {
    let mut wrong = None;
    for group in &world.plan.groups {
        let at = up_at(world, &group.name);
        let able = |node: &&Name| able(world, group, node, without);
        if let Some(node) = group.nodes.iter().find(able).filter(|_| at.is_empty()) {
            wrong = Some(format!("I6: {} is nowhere, and {node} is able", group.name));
        }
        if let (Failback::Earned(_), false, true) = (&group.failback, related(world, group), best) {
            let home = world.plan.nodes.iter().position(|name| *name == group.nodes[0]).expect("known");
            // Where a person has moved it, it stays.
            let owner = world.store.register.owner(&group.name);
            let moved = owner.is_some_and(|(_, owner)| matches!(owner.why, Why::Moved(_)));
            if !moved && !at.is_empty() && !at.contains(&home) {
                wrong = Some(format!(
                    "I6: {} stays on n{}, and {} is better",
                    group.name,
                    at[0] + 1,
                    group.nodes[0]
                ));
            }
        }
    }
    if let Some(wrong) = wrong {
        world.judge.blame(|| wrong);
    }
}

/// What was foreseen of a node's death happens.
fn a_node_dies(world: &mut World, at: &mut u64) {
    let n = (world.plan.seed % world.hosts.len() as u64) as usize;
    let teller = (n + 1) % world.hosts.len();
    let _ = teller;
    world.cut(n);
    let longest = world.plan.takes.iter().map(|(start, _)| start * 2).max().unwrap_or(0);
    *at += world.plan.timing.wait.as_millis() as u64 + longest + 12_000;
    world.live(*at);
    if world.judge.wrong.is_none() {
        in_the_end(world, Some(n), false);
    }
    world.boot(n);
    *at += 45_000;
    world.live(*at);
    if world.judge.wrong.is_none() {
        in_the_end(world, None, true);
    }
}

/// A drained node becomes empty, and everything that can run elsewhere does.
fn a_node_is_drained(world: &mut World, at: u64, order: Order) {
    let n = (world.plan.seed / 7 % world.hosts.len() as u64) as usize;
    let node = world.plan.nodes[n].clone();
    world.ask((n + 1) % world.hosts.len(), Request::Drain { node, order });
    world.live(at + 20_000);
    let mut stays: Vec<Name> = world.hosts[n].keeper.runs.keys().cloned().collect();
    // Nothing is brought down for a place that does not exist.
    stays.retain(|name| {
        let group = world.plan.groups.iter().find(|g| g.name == *name).expect("known");
        group.nodes.iter().any(|node| able(world, group, node, Some(n)))
    });
    if !stays.is_empty() {
        world.judge.blame(|| format!("drained: n{} still has {stays:?}", n + 1));
    }
    in_the_end(world, Some(n), false);
    world.judge.all_answered();
}
