//! Back to a better node.

use crate::play::*;
use woodward_engine::cluster::group::Failback;
use woodward_engine::cluster::register::{Probe, Why};
use woodward_engine::cluster::{Event, Fact, Group, Key, Request, Value};

fn returned(db: Group) -> World {
    let groups = [db];
    let mut world = World::new("h1 h2", &groups);
    world.run(5000);
    world.kill("h1");
    world.run(5000);
    assert_eq!(world.runs("db"), Some("h2"));
    world.boot("h1", &groups);
    world
}

#[test]
fn it_goes_back_after_steady_beats() {
    let mut world = returned(earned(group("db", "h1 h2"), false));
    world.run(4000);
    assert_eq!(world.runs("db"), Some("h2"));
    world.run(2000);
    assert_eq!(world.runs("db"), Some("h1"));
    assert_eq!(world.owner("db").1, Some(Why::Failback));
}

#[test]
fn a_gap_in_the_beats_begins_it_anew() {
    let mut world = returned(earned(group("db", "h1 h2"), false));
    for _ in 0..5 {
        world.run(3000);
        world.node("h1").frozen = true;
        world.run(1900);
        world.node("h1").frozen = false;
    }
    assert_eq!(world.runs("db"), Some("h2"));
    world.run(6000);
    assert_eq!(world.runs("db"), Some("h1"));
}

#[test]
fn it_waits_until_the_group_is_quiet() {
    let mut world = returned(earned(group("db", "h1 h2"), false));
    for _ in 0..10 {
        world.run(1500);
        world.tell("h2", Event::Restarted { group: name("db") });
    }
    assert_eq!(world.runs("db"), Some("h2"));
    world.run(2500);
    assert_eq!(world.runs("db"), Some("h1"));
}

#[test]
fn the_better_node_runs_the_probe_first() {
    let mut world = returned(earned(group("db", "h1 h2"), true));
    world.probe = Some(Err("no disk".into()));
    world.run(8000);
    assert_eq!(world.runs("db"), Some("h2"));
    let waits = |world: &World, words: &str| {
        world.told(|fact| matches!(fact, Fact::FailbackWaits { why, .. } if why.contains(words)))
    };
    assert_eq!(waits(&world, "no disk"), 1);
    world.probe = Some(Ok(()));
    world.run(8000);
    assert_eq!(world.runs("db"), Some("h1"));
}

#[test]
fn a_probe_that_gets_no_answer_moves_nothing() {
    let mut world = returned(earned(group("db", "h1 h2"), true));
    world.probe = None;
    world.run(60_000);
    assert_eq!(world.runs("db"), Some("h2"));
}

#[test]
fn it_returns_to_where_it_was_if_it_does_not_come_up_there() {
    for tree in [Tree::GivesUp(500), Tree::Hangs] {
        let db = Group { start_within: Some(ms(3000)), ..earned(group("db", "h1 h2 h3"), false) };
        let mut world = returned(db.clone());
        world.boot("h3", &[db]);
        world.trees.insert((name("h1"), name("db")), tree);
        world.run(12_000);
        assert_eq!(world.runs("db"), Some("h2"));
        assert!(matches!(world.owner("db").1, Some(Why::Rollback(_))), "{:?}", world.owner("db"));
        world.run(300_000);
        assert_eq!(world.runs("db"), Some("h2"), "that node is avoided");
    }
}

#[test]
fn not_twice_within_the_flap_window() {
    let mut world = returned(earned(group("db", "h1 h2"), false));
    world.run(7000);
    assert_eq!(world.runs("db"), Some("h1"));
    let back = world.now;
    let groups = [earned(group("db", "h1 h2"), false)];
    world.kill("h1");
    world.run(4000);
    world.boot("h1", &groups);
    world.run(30_000);
    assert_eq!(world.runs("db"), Some("h2"));
    world.run(30_000);
    assert_eq!(world.runs("db"), Some("h1"));
    assert!(world.started("db").since(back) > ms(55_000));
}

#[test]
fn what_a_person_moved_stays() {
    let mut world = World::new("h1 h2", &[earned(group("db", "h1 h2"), false)]);
    world.run(10_000);
    world
        .ask("h1", Request::Move { group: name("db"), to: Some(name("h2")), order: order() })
        .expect("it can");
    world.run(300_000);
    assert_eq!(world.runs("db"), Some("h2"));
}

#[test]
fn manual_proposes_and_never_does_not() {
    for (failback, told) in [(Failback::Manual, 1), (Failback::Never, 0)] {
        let mut world = returned(Group { failback, ..group("db", "h1 h2") });
        world.run(60_000);
        assert_eq!(world.runs("db"), Some("h2"));
        assert_eq!(world.told(|fact| matches!(fact, Fact::FailbackWaits { .. })), told);
    }
}

#[test]
fn an_old_answer_of_a_probe_does_not_count() {
    let mut world = returned(earned(group("db", "h1 h2"), true));
    world.probe = None;
    world.run(6000);
    // It answers just when the group has ceased to be quiet, and that lasts.
    let epoch = world.nodes["h2"].running[&name("db")];
    world.tell("h2", Event::Restarted { group: name("db") });
    let answer = Probe { node: name("h1"), epoch, result: Some(Ok(())) };
    world.put(Key::Probe(name("db")), Value::Probe(answer));
    for _ in 0..70 {
        world.tell("h2", Event::Restarted { group: name("db") });
        world.run(1000);
    }
    world.probe = Some(Err("no disk".into()));
    world.run(10_000);
    assert_eq!(world.runs("db"), Some("h2"), "it was asked again");
}
