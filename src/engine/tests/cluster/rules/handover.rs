//! Groups that leave a node which is alive.

use crate::play::*;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Fact, Group, Request};

#[test]
fn a_planned_move_costs_its_stop_and_its_start_and_no_more() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    let asked = world.now;
    world.ask("h2", Request::Move { group: name("db"), to: None, order: order() }).expect("it can");
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h2"));
    assert_eq!(world.started("db").since(asked), ms(50), "the stop");
    assert_eq!(world.owner("db").1, Some(Why::Moved(order())));
}

#[test]
fn one_that_gives_up_goes_to_the_next_and_that_node_is_avoided_for_a_while() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.trees.insert((name("h1"), name("db")), Tree::GivesUp(300));
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h2"));
    assert_eq!(world.owner("db").1, Some(Why::GaveUp("it crashes".into())));
    let why = world.view("h2").why_not(&name("db"), &name("h1"));
    assert_eq!(why, ["gave up there: it crashes"]);
    world.run(601_000);
    assert!(world.view("h2").why_not(&name("db"), &name("h1")).is_empty(), "its time is over");
    assert_eq!(world.runs("db"), Some("h2"), "and it stays where it is");
}

#[test]
fn when_all_have_given_up_it_is_broken_and_told_once() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    for node in ["h1", "h2"] {
        world.trees.insert((name(node), name("db")), Tree::GivesUp(300));
    }
    world.run(300_000);
    assert_eq!(world.runs("db"), None);
    assert!(matches!(world.owner("db"), (None, Some(Why::Broken(_)))), "{:?}", world.owner("db"));
    assert_eq!(world.told(|fact| matches!(fact, Fact::Broken { .. })), 1);
    assert_eq!(world.given("db"), 3, "first here, then there, then nobody");
    // One is able again.
    world.trees.insert((name("h2"), name("db")), Tree::Up(100));
    world.ask("h1", Request::Forgive { group: name("db"), node: Some(name("h2")) }).expect("it is mended");
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h2"));
}

#[test]
fn broken_groups_are_tried_again_by_themselves_and_moves_stay_bounded() {
    let mut world = World::new("h1 h2 h3", &[group("db", "h1 h2 h3")]);
    for node in ["h1", "h2", "h3"] {
        world.trees.insert((name(node), name("db")), Tree::GivesUp(300));
    }
    world.run(3_600_000);
    assert!(world.given("db") <= 6 * 6 + 4, "{} in an hour", world.given("db"));
}

#[test]
fn one_that_is_not_ready_in_time_counts_as_given_up() {
    let db = Group { start_within: Some(ms(2000)), ..group("db", "h1 h2") };
    let mut world = World::new("h1 h2", &[db]);
    world.trees.insert((name("h1"), name("db")), Tree::Hangs);
    world.run(2300);
    assert_eq!(world.runs("db"), Some("h2"));
    assert_eq!(world.owner("db").1, Some(Why::Late));
}

#[test]
fn a_drained_node_gives_all_away_gets_nothing_and_what_can_go_nowhere_stays() {
    let groups = [group("a", "h1 h2"), group("b", "h1 h2"), group("only", "h1")];
    let mut world = World::new("h1 h2", &groups);
    world.run(5000);
    world.ask("h2", Request::Drain { node: name("h1"), order: order() }).expect("a word");
    world.run(1000);
    assert_eq!((world.runs("a"), world.runs("b")), (Some("h2"), Some("h2")));
    assert_eq!(world.runs("only"), Some("h1"));
    assert_eq!(world.owner("a").1, Some(Why::Drained(order())));
    world.kill("h2");
    world.run(5000);
    assert_eq!(world.runs("a"), None);
    world.ask("h1", Request::Undrain { node: name("h1") }).expect("a word");
    world.run(1000);
    assert_eq!(world.runs("a"), Some("h1"));
}

#[test]
fn a_node_that_stops_gives_all_to_others_and_leaves() {
    let mut world = World::new("h1 h2", &[group("a", "h1 h2"), group("b", "h1 h2"), group("only", "h1")]);
    world.run(5000);
    world.ask("h1", Request::Leave).expect("it leaves");
    assert!(world.nodes["h1"].left);
    world.run(1000);
    assert_eq!((world.runs("a"), world.runs("b"), world.runs("only")), (Some("h2"), Some("h2"), None));
    assert_eq!(world.owner("a").1, Some(Why::Left));
    world.run(20_000);
    assert_eq!(world.told(|fact| matches!(fact, Fact::NodeDead { .. })), 0, "it did not die");
}

#[test]
fn a_node_that_is_stopped_under_maintenance_gives_its_groups_on_for_a_person_has_stopped_it() {
    let mut world = World::new("h1 h2", &[group("a", "h1 h2")]);
    world.run(5000);
    world.ask("h2", Request::Maintain { on: true, order: order() }).expect("a word");
    world.ask("h1", Request::Leave).expect("it leaves");
    world.run(1000);
    assert_eq!((world.runs("a"), world.owner("a").1), (Some("h2"), Some(Why::Left)));
}

#[test]
fn a_node_that_stops_while_the_register_is_away_leaves_all_the_same() {
    let mut world = World::new("h1", &[group("a", "h1")]);
    world.run(5000);
    world.node("h1").cut = true;
    world.ask("h1", Request::Leave).expect("it leaves");
    assert!(world.nodes["h1"].left);
    assert_eq!(world.runs("a"), None);
}

#[test]
fn under_maintenance_what_gave_up_stays_down_until_it_ends() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.trees.insert((name("h1"), name("db")), Tree::GivesUp(2000));
    world.run(1000);
    world.ask("h1", Request::Maintain { on: true, order: order() }).expect("a word");
    world.run(60_000);
    assert_eq!(world.runs("db"), None);
    world.ask("h1", Request::Maintain { on: false, order: order() }).expect("a word");
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h2"));
}
