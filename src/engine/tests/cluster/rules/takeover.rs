//! What becomes of the groups of a node that died.

use crate::play::*;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Effect, Event, Fact, Group, Request, Write};

#[test]
fn all_groups_of_a_dead_node_are_given_in_one_transaction_after_its_wait() {
    let groups: Vec<Group> = (1..=5).map(|n| group(&format!("g{n}"), "h1 h2 h3")).collect();
    let mut world = World::new("h1 h2 h3", &groups);
    world.run(10_100);
    let died = world.now;
    world.kill("h1");
    world.run(4000);
    for group in &groups {
        assert_eq!(world.runs(&group.name), Some("h2"), "{}", group.name);
        assert!(matches!(world.owner(&group.name).1, Some(Why::Dead { fenced: None, .. })));
        let took = world.started(&group.name).since(died).as_millis();
        assert!((2400..=3000).contains(&took), "{took} ms");
    }
    let takeovers = world.effects.iter().filter(|(at, _, effect)| {
        matches!(effect, Effect::Commit { transaction, beat: false, .. } if *at > died
            && transaction.writes.iter().any(|w| matches!(w, Write::Put(key, _) if format!("{key:?}").starts_with("Epoch"))))
    });
    assert_eq!(takeovers.count(), 1, "the second in rank found it done");
}

#[test]
fn a_frozen_node_that_wakes_is_fenced_and_joins_anew() {
    let groups = [group("db", "h1 h2")];
    let mut world = World::new("h1 h2", &groups);
    world.run(5000);
    world.node("h1").frozen = true;
    world.run(5000);
    assert_eq!(world.owner("db").0, Some("h2"));
    world.node("h1").frozen = false;
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h2"));
    assert_eq!(world.told(|fact| matches!(fact, Fact::TermOver { .. })), 1);
    assert_eq!(world.told(|fact| matches!(fact, Fact::Joined { .. })), 3);
    world.kill("h2");
    world.run(4000);
    assert_eq!(world.runs("db"), Some("h1"), "it is able again");
}

#[test]
fn frozen_for_less_than_hold_nothing_happens() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    for _ in 0..20 {
        world.node("h1").frozen = true;
        world.run(1900);
        world.node("h1").frozen = false;
        world.run(700);
    }
    assert_eq!(world.given("db"), 1);
}

#[test]
fn a_watcher_that_was_frozen_itself_takes_nothing_from_who_beats() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.node("h2").frozen = true;
    world.run(60_000);
    world.node("h2").frozen = false;
    world.run(5000);
    assert_eq!((world.runs("db"), world.given("db")), (Some("h1"), 1));
    let dead = |fact: &Fact| matches!(fact, Fact::NodeDead { node, .. } if &**node == "h1");
    assert_eq!(world.told(dead), 0, "it slept itself");
}

#[test]
fn one_that_dies_while_it_gets_a_group_is_followed_by_the_next() {
    let mut world = World::new("h1 h2 h3", &[group("db", "h1 h2 h3")]);
    world.trees.insert((name("h2"), name("db")), Tree::Hangs);
    world.run(5000);
    world.kill("h1");
    world.run(3500);
    assert_eq!(world.runs("db"), Some("h2"));
    world.kill("h2");
    world.run(4000);
    assert_eq!(world.runs("db"), Some("h3"));
}

#[test]
fn a_challenger_without_the_tree_ends_the_term_and_whoever_has_it_takes_the_group() {
    let (a, b) = (group("a", "h1 h2"), group("b", "h1 h3"));
    let mut world = World::empty();
    world.boot("h1", &[a.clone(), b.clone()]);
    world.boot("h2", &[a]);
    world.boot("h3", &[b]);
    world.run(5000);
    world.kill("h1");
    world.run(4000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h2"), Some("h3")));
}

#[test]
fn a_whole_cluster_that_lost_power_goes_on_where_it_was() {
    let groups = [group("db", "h1 h2")];
    let mut world = World::new("h1 h2", &groups);
    world.run(5000);
    world
        .ask("h1", Request::Move { group: name("db"), to: Some(name("h2")), order: order() })
        .expect("it can");
    world.run(1000);
    world.kill("h1");
    world.kill("h2");
    world.run(60_000);
    world.boot("h2", &groups);
    world.run(100);
    world.boot("h1", &groups);
    world.run(5000);
    assert_eq!(world.runs("db"), Some("h2"));
    assert_eq!(world.owner("db").1, Some(Why::Rejoined), "under a new epoch");
}

#[test]
fn under_maintenance_nothing_is_taken_over_and_afterwards_it_is() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.ask("h2", Request::Maintain { on: true, order: order() }).expect("a word");
    world.kill("h1");
    world.run(60_000);
    assert_eq!(world.runs("db"), None);
    world.ask("h2", Request::Maintain { on: false, order: order() }).expect("a word");
    world.run(300);
    assert_eq!(world.runs("db"), Some("h2"));
}

#[test]
fn what_is_stopped_or_done_stays_down_when_its_node_dies() {
    let groups = [group("db", "h1 h2")];
    let mut world = World::new("h1 h2", &groups);
    world.run(5000);
    let epoch = world.nodes["h1"].running[&name("db")];
    let how = woodward_engine::cluster::Down::Done;
    world.tell("h1", Event::Down { group: name("db"), epoch, how });
    world.run(1000);
    assert!(matches!(world.owner("db"), (None, Some(Why::Stopped(_)))));
    world.kill("h1");
    world.run(20_000);
    assert_eq!(world.runs("db"), None);
    world.ask("h2", Request::Start { group: name("db") }).expect("a person wants it");
    world.run(300);
    assert_eq!(world.runs("db"), Some("h2"));
}
