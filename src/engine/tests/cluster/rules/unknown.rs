//! Answers that nobody knows, doubled or late: never twice, and never nothing.

use crate::play::*;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Answer, Down, Effect, Epoch, Event, Request, Term};
use woodward_engine::{ReqId, Time};

#[test]
fn a_handover_whose_answer_is_lost_is_done_once() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.ask("h1", Request::Move { group: name("db"), to: None, order: order() }).expect("it can");
    world.answers = Some(Answer::Unknown);
    world.run(1500);
    world.answers = None;
    world.run(2000);
    assert_eq!((world.runs("db"), world.given("db")), (Some("h2"), 2));
}

#[test]
fn a_released_epoch_is_not_run_again_by_the_next_daemon() {
    let mut world = World::new("h1", &[group("db", "h1")]);
    world.run(5000);
    let epoch = world.nodes["h1"].running[&name("db")];
    world.node("h1").cut = true;
    world.tell("h1", Event::Down { group: name("db"), epoch, how: Down::GaveUp("x".into()) });
    world.resume("h1");
    world.node("h1").cut = false;
    world.run(1000);
    assert!(world.nodes["h1"].running[&name("db")] > epoch);
    assert_eq!(world.owner("db").1, Some(Why::Rejoined));
}

#[test]
fn whatever_comes_late_doubled_or_of_strangers_changes_nothing() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    let epoch = world.nodes["h1"].running[&name("db")];
    let (db, none) = (name("db"), name("none"));
    let events = [
        Event::Answered { id: 1, answer: Answer::Refused },
        Event::Answered { id: 999_999, answer: Answer::Refused },
        Event::Armed { number: 0 },
        Event::Armed { number: 999_999 },
        Event::Fired { term: Term(77) },
        Event::Up { group: db.clone(), epoch },
        Event::Up { group: none.clone(), epoch },
        Event::Down { group: db.clone(), epoch: Epoch(1), how: Down::Done },
        Event::Down { group: none.clone(), epoch, how: Down::Done },
        Event::Stuck { group: db.clone(), epoch: Epoch(1) },
        Event::Probed { group: db.clone(), result: Ok(()) },
        Event::Fenced { node: name("h2"), result: Ok(()) },
        Event::Read { revision: 1, entries: Vec::new() },
        Event::Changed { revision: 1, changes: Vec::new() },
        Event::Tick,
    ];
    for event in events {
        world.tell("h1", event.clone());
        world.run(700);
        assert_eq!((world.runs("db"), world.given("db")), (Some("h1"), 1), "{event:?}");
    }
}

#[test]
fn what_runs_here_and_is_given_away_by_a_stranger_ends_the_term() {
    let mut world = World::new("h1", &[group("db", "h1")]);
    world.run(5000);
    let at = Time(world.now.0);
    world.register.entries.remove(&woodward_engine::cluster::Key::Owner(name("db")));
    world.register.revision += 1;
    world.tell("h1", Event::Lost);
    world.run(3000);
    assert!(world.effects.iter().any(|(then, _, e)| *then >= at && matches!(e, Effect::End { .. })));
    assert_eq!(world.runs("db"), Some("h1"), "and then it is given anew");
}

#[test]
fn every_request_is_answered_once() {
    let mut world = World::new("h1", &[group("db", "h1")]);
    world.answers = Some(Answer::Unknown);
    for id in 0..20 {
        world.tell(
            "h1",
            Event::Request { id: ReqId(id), request: Request::Maintain { on: id % 2 == 0, order: order() } },
        );
        world.run(200);
    }
    let replies = world.effects.iter().filter(|(_, _, e)| matches!(e, Effect::Reply { .. })).count();
    assert_eq!(replies, 20);
}
