//! Who gets a group that has nobody, and which of several nodes.

use crate::play::*;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Fact, Group, Request};

#[test]
fn the_best_node_takes_a_group_without_owner_at_once() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(200);
    assert_eq!(world.runs("db"), Some("h1"));
    assert_eq!(world.owner("db"), (Some("h1"), Some(Why::First)));
    assert_eq!(world.started("db"), world.facts[0].0, "nothing was waited for");
}

#[test]
fn another_takes_it_only_after_the_better_had_wait_to_show_up() {
    let mut world = World::new("h2", &[group("db", "h1 h2")]);
    world.run(2900);
    assert_eq!(world.runs("db"), None);
    world.run(200);
    assert_eq!(world.runs("db"), Some("h2"));
}

#[test]
fn the_better_one_that_shows_up_in_time_gets_it() {
    let groups = [group("db", "h1 h2")];
    let mut world = World::new("h2", &groups);
    world.run(2000);
    world.boot("h1", &groups);
    world.run(200);
    assert_eq!(world.runs("db"), Some("h1"));
    world.run(10_000);
    assert_eq!(world.given("db"), 1);
}

#[test]
fn greater_priority_starts_first_and_who_follows_after_whom_it_follows() {
    let low = Group { priority: -1, ..group("a-low", "h1") };
    let high = Group { priority: 5, with: vec![name("zz")], ..group("high", "h1") };
    let mut world = World::new("h1", &[low, high, group("mid", "h1"), group("zz", "h1")]);
    world.run(100);
    let started: Vec<String> = world
        .facts
        .iter()
        .filter_map(|(_, _, fact)| match fact {
            Fact::Starting { group, .. } => Some(group.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(started, ["mid", "zz", "high", "a-low"]);
}

#[test]
fn groups_apart_never_share_a_node_and_one_rather_stays_down() {
    let b = Group { apart: vec![name("a")], ..group("b", "h1 h2") };
    let mut world = World::new("h1 h2", &[group("a", "h1 h2"), b]);
    world.run(4000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h1"), Some("h2")));
    world.kill("h1");
    world.run(10_000);
    assert_eq!((world.runs("a"), world.runs("b")), (None, Some("h2")));
    assert!(matches!(world.owner("a"), (None, Some(Why::Broken(_)))));
    let why = world.view("h2").why_not(&name("a"), &name("h2"));
    assert_eq!(why, ["b runs there, which it is to be apart from"]);
}

#[test]
fn groups_with_each_other_go_together_where_both_are_able() {
    let b = Group { with: vec![name("a")], ..group("b", "h3 h2 h1") };
    let mut world = World::new("h1 h2 h3", &[group("a", "h1 h2"), b]);
    world.run(4000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h1"), Some("h1")));
    world.kill("h1");
    world.run(10_000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h2"), Some("h2")));
}

#[test]
fn a_follower_comes_after_its_leader_has_moved() {
    let b = Group { with: vec![name("a")], ..group("b", "h1 h2") };
    let mut world = World::new("h1 h2", &[group("a", "h1 h2"), b]);
    world.run(4000);
    let to = Some(name("h2"));
    world.ask("h1", Request::Move { group: name("a"), to, order: order() }).expect("it can move");
    world.run(1000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h2"), Some("h2")));
    assert_eq!(world.owner("b").1, Some(Why::Follows(name("a"))));
    world.run(60_000);
    assert_eq!((world.given("a"), world.given("b")), (2, 2), "and then nothing moves");
}

#[test]
fn who_asks_to_be_together_in_a_circle_does_not_chase_each_other() {
    let a = Group { with: vec![name("b")], ..group("a", "h1 h2") };
    let b = Group { with: vec![name("a")], ..group("b", "h1 h2") };
    let mut world = World::new("h1 h2", &[a, b]);
    world.run(4000);
    world
        .ask("h1", Request::Move { group: name("b"), to: Some(name("h2")), order: order() })
        .expect("it can");
    world.run(60_000);
    assert!(world.given("a") + world.given("b") <= 4);
}

#[test]
fn a_hundred_groups_are_placed_and_taken_over() {
    let groups: Vec<Group> = (0..300).map(|n| group(&format!("g{n}"), "h1 h2")).collect();
    let mut world = World::new("h1 h2", &groups);
    world.run(4000);
    assert!(groups.iter().all(|g| world.runs(&g.name) == Some("h1")));
    world.kill("h1");
    world.run(4000);
    assert!(groups.iter().all(|g| world.runs(&g.name) == Some("h2")));
}

#[test]
fn apart_holds_where_the_one_who_decides_has_only_one_of_the_trees() {
    let (g1, g2) = (group("g1", "h1"), Group { apart: vec![name("g1")], ..group("g2", "h3 h1 h2") });
    let mut world = World::empty();
    world.boot("h1", &[g1, g2.clone()]);
    world.boot("h2", std::slice::from_ref(&g2));
    world.boot("h3", std::slice::from_ref(&g2));
    world.run(5000);
    world.kill("h3");
    world.run(5000);
    assert_eq!((world.runs("g1"), world.runs("g2")), (Some("h1"), Some("h2")));
}

#[test]
fn of_two_apart_that_were_given_to_a_node_at_once_one_goes_on() {
    let b = Group { apart: vec![name("a")], ..group("b", "h1 h2") };
    let groups = [group("a", "h1 h2"), b];
    let mut world = World::new("h1 h2", &groups);
    world.run(4000);
    // As if another had decided at the same time, not knowing of it.
    world.kill("h2");
    world.give("b", "h1");
    world.boot("h2", &groups);
    world.run(4000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h1"), Some("h2")));
}
