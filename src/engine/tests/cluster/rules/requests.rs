//! What people are answered.

use crate::play::*;
use woodward_engine::cluster::register::Wish;
use woodward_engine::cluster::{Fact, Foreseen, Group, Key, Request, Value};

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2"), group("only", "h1")]);
    world.run(5000);
    let asks = [
        ("db", Some("h1"), "db is on h1 already"),
        ("db", Some("h7"), "h7 cannot run db: not in the list of its nodes"),
        ("only", None, "no other node can run only"),
        ("nix", None, "this node does not have the tree of nix"),
    ];
    for (group, to, why) in asks {
        let request = Request::Move { group: name(group), to: to.map(name), order: order() };
        assert_eq!(world.ask("h2", request), Err(why.into()), "{group} {to:?}");
    }
    assert_eq!(world.ask("h2", Request::Start { group: name("db") }), Err("h1 has db already".into()));
    let drain = Request::Drain { node: name("h9"), order: order() };
    assert_eq!(world.ask("h2", drain), Err("no node is called h9".into()));
}

#[test]
fn without_a_register_everything_is_refused() {
    let mut world = World::empty();
    world.boot("h1", &[group("db", "h1")]);
    world.node("h1").cut = true;
    let answer = world.ask("h1", Request::Maintain { on: true, order: order() });
    assert_eq!(answer, Err("the register is not known: the store does not answer".into()));
}

#[test]
fn what_is_foreseen_is_what_happens() {
    let b = Group { apart: vec![name("a")], priority: 7, ..group("b", "h1 h3 h2") };
    let c = Group { with: vec![name("a")], ..group("c", "h1 h3 h2") };
    let groups = [group("a", "h1 h2 h3"), b, c, group("only", "h1")];
    let mut world = World::new("h1 h2 h3", &groups);
    world.trees.insert((name("h1"), name("c")), Tree::Up(700));
    world.run(10_000);
    let foreseen = world.view("h3").foresee(&[name("h1")]);
    let on_h1 = groups.iter().filter(|g| world.runs(&g.name) == Some("h1")).count();
    assert_eq!(foreseen.len(), on_h1);
    for Foreseen { group, to, predicted, .. } in &foreseen {
        if &**group == "c" {
            assert_eq!(*predicted, Some(3700), "wait and its start");
        }
        if &**group == "only" {
            let why = "h1: does not beat".to_string();
            assert_eq!(*to, Err(why));
        }
    }
    world.kill("h1");
    world.run(5000);
    for Foreseen { group, to, .. } in foreseen {
        assert_eq!(world.runs(&group), to.ok().as_deref(), "{group}");
    }
}

#[test]
fn a_wish_that_cannot_be_met_any_more_is_forgotten_and_told() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    let wish = Wish { to: Some(name("h2")), order: order() };
    world.kill("h2");
    world.run(4000);
    world.put(Key::Move(name("db")), Value::Move(wish));
    world.run(1000);
    assert_eq!(
        world.told(|fact| matches!(fact, Fact::NotMoved { why, .. } if why == "h2: does not beat")),
        1
    );
    assert!(world.register.wish(&name("db")).is_none());
    world.boot("h2", &[group("db", "h1 h2")]);
    world.run(20_000);
    assert_eq!(world.runs("db"), Some("h1"));
}

#[test]
fn a_wish_waits_for_a_node_that_was_only_read_of() {
    let groups = [group("db", "h1 h2")];
    let mut world = World::new("h1 h2", &groups);
    world.run(5000);
    world.node("h2").cut = true;
    world.resume("h1");
    world.run(1);
    let request = Request::Move { group: name("db"), to: Some(name("h2")), order: order() };
    world.ask("h1", request).expect("h2 may be alive");
    world.run(100);
    assert_eq!(world.runs("db"), Some("h1"));
    world.node("h2").cut = false;
    world.run(1000);
    assert_eq!(world.runs("db"), Some("h2"));
}
