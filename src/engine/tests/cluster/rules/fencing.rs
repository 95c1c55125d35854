//! Power fencing before a takeover.

use crate::play::*;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Effect, Event, Fencing, Group, Request};

fn world(fencing: Fencing) -> World {
    let db = Group { fencing, ..group("db", "h1 h2 h3") };
    let mut world = World::new("h1 h2 h3", &[db, group("web", "h1 h2 h3")]);
    world.run(5000);
    world.node("h1").frozen = true;
    world
}

fn fences(world: &World) -> usize {
    world.effects.iter().filter(|(_, _, effect)| matches!(effect, Effect::Fence { .. })).count()
}

#[test]
fn required_waits_for_the_fence_and_the_others_do_not() {
    let mut world = world(Fencing::Required);
    world.fence = Err("no answer".into());
    world.run(4000);
    assert_eq!((world.owner("web").0, world.owner("db").0), (Some("h2"), Some("h1")));
    assert_eq!(fences(&world), 1, "by one node alone");
    world.run(25_000);
    assert_eq!(fences(&world), 3, "again and again");
    world.fence = Ok(());
    world.run(11_000);
    assert_eq!(world.runs("db"), Some("h2"));
    assert!(matches!(world.owner("db").1, Some(Why::Dead { fenced: Some(true), .. })));
}

#[test]
fn best_effort_goes_on_whatever_comes_of_it() {
    let mut world = world(Fencing::BestEffort);
    world.fence = Err("no answer".into());
    world.run(4000);
    assert_eq!(world.owner("db").0, Some("h2"));
    assert!(matches!(world.owner("db").1, Some(Why::Dead { fenced: Some(false), .. })));
}

#[test]
fn a_person_can_say_that_it_is_off() {
    let mut world = world(Fencing::Required);
    world.fence = Err("no answer".into());
    world.run(4000);
    world.kill("h1");
    world.ask("h3", Request::Confirm { node: name("h1") }).expect("it is dead");
    world.run(1000);
    assert_eq!(world.owner("db").0, Some("h2"));
    let alive = world.ask("h3", Request::Confirm { node: name("h2") });
    assert_eq!(alive, Err("h2 is alive".into()));
}

#[test]
fn a_node_that_rejoins_proves_that_nothing_of_it_runs() {
    let mut world = world(Fencing::Required);
    world.fence = Err("no answer".into());
    world.run(4000);
    world.node("h1").frozen = false;
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h1"));
    assert_eq!(world.owner("db").1, Some(Why::Rejoined));
}

#[test]
fn if_whoever_fences_dies_another_does_it() {
    let mut world = world(Fencing::Required);
    world.fence = Err("no answer".into());
    world.run(3500);
    assert_eq!(fences(&world), 1);
    world.kill("h2");
    world.fence = Ok(());
    world.run(75_000);
    assert_eq!(world.runs("db"), Some("h3"));
}

#[test]
fn who_has_the_tree_fences_at_once_when_the_one_who_ended_the_term_has_not() {
    let db = Group { fencing: Fencing::Required, ..group("db", "h1 h3") };
    let web = group("web", "h2 h1");
    let mut world = World::empty();
    world.boot("h1", &[db.clone(), web.clone()]);
    world.boot("h2", &[web]);
    world.boot("h3", &[db]);
    world.run(5000);
    world.kill("h1");
    world.run(4000);
    assert_eq!(world.runs("db"), Some("h3"));
}

#[test]
fn what_does_not_end_is_started_by_nobody_else_unless_its_node_can_be_fenced() {
    for (fencing, node) in [(Fencing::None, "h1"), (Fencing::Required, "h2")] {
        let db = Group { fencing, ..group("db", "h1 h2") };
        let mut world = World::new("h1 h2", &[db]);
        world.run(5000);
        let epoch = world.nodes["h1"].running[&name("db")];
        world.tell("h1", Event::Stuck { group: name("db"), epoch });
        world.run(5000);
        assert_eq!(world.owner("db").0, Some(node), "{fencing:?}");
    }
}
