//! What is foreseen of the death of nodes is what happens when they die.

use crate::play::*;
use crate::random::Random;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Group, Request};

/// Groups with lists of nodes in any order, some of which are apart or wanted together.
fn groups(random: &mut Random, nodes: &[&str]) -> Vec<Group> {
    let names = ["a", "b", "c", "d", "e"];
    let mut groups = Vec::new();
    for (n, own) in names.iter().enumerate().take(1 + random.below(names.len())) {
        let mut list = nodes.to_vec();
        for at in (1..list.len()).rev() {
            list.swap(at, random.below(at + 1));
        }
        list.truncate(1 + random.below(list.len()));
        let mut group = group(own, &list.join(" "));
        group.priority = random.below(3) as i32;
        if n > 0 {
            let other = name(names[random.below(n)]);
            match random.below(4) {
                0 => group.apart.push(other),
                1 => group.with.push(other),
                _ => {}
            }
        }
        groups.push(group);
    }
    groups
}

#[test]
fn what_is_foreseen_of_a_death_happens() {
    let nodes = ["h1", "h2", "h3", "h4"];
    let mut moved = 0;
    for seed in 1..=600 {
        let mut random = Random::new(seed);
        let groups = groups(&mut random, &nodes);
        let mut world = World::new(&nodes.join(" "), &groups);
        world.run(10_000);
        let drained = random.chance(30).then(|| random.pick(&nodes));
        if let Some(node) = drained {
            world.ask("h1", Request::Drain { node: name(node), order: order() }).expect("a word");
            world.run(5_000);
        }
        let dead = random.pick(&nodes);
        let witness = nodes.into_iter().find(|node| *node != dead).expect("another node");
        let foreseen = world.nodes[witness].cluster.view().foresee(&[name(dead)]);
        let before: Vec<_> = groups.iter().map(|g| world.runs(&g.name).map(str::to_owned)).collect();
        world.kill(dead);
        world.run(10_000);
        for (group, before) in groups.iter().zip(before) {
            let now = world.runs(&group.name);
            let said = foreseen.iter().find(|said| said.group == group.name);
            match (&before, said) {
                (Some(node), Some(said)) if node == dead => {
                    moved += 1;
                    assert_eq!(now, said.to.as_deref().ok(), "seed {seed}, {}: {foreseen:#?}", group.name);
                }
                // What could not leave a drained node may be able to now: a death makes room, too. And who is wanted together
                // with one that has moved may follow it: neither is foreseen.
                (Some(node), None) if drained == Some(node) => {}
                (Some(_), None) if matches!(world.owner(&group.name).1, Some(Why::Follows(_))) => {}
                (before, said) => {
                    assert!(said.is_none(), "seed {seed}, {} was on {before:?}: {said:?}", group.name);
                    assert_eq!(now, before.as_deref(), "seed {seed}, {} had no reason to move", group.name);
                }
            }
        }
    }
    assert!(moved > 200, "{moved} groups were on a node that died");
}
