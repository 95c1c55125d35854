//! This node's own right to run.

use crate::play::*;
use woodward_engine::cluster::{Answer, Effect, Event, Fact, Register};

#[test]
fn cut_off_from_the_register_everything_is_killed_before_another_takes_over() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.node("h1").cut = true;
    world.run(2400);
    assert_eq!(world.runs("db"), Some("h1"), "its right still stands");
    world.run(150);
    assert_eq!(world.runs("db"), None, "and now not");
    world.run(700);
    assert_eq!(world.runs("db"), Some("h2"));
    assert_eq!(world.told(|fact| matches!(fact, Fact::StoreAway { .. })), 1);
}

#[test]
fn without_any_register_groups_end_at_their_deadline_and_come_back_with_it() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    for node in ["h1", "h2"] {
        world.node(node).cut = true;
    }
    world.run(60_000);
    assert_eq!(world.runs("db"), None);
    for node in ["h1", "h2"] {
        world.node(node).cut = false;
    }
    world.run(6000);
    assert!(world.runs("db").is_some());
}

#[test]
fn answers_that_are_lost_keep_nobody_alive_and_a_short_loss_ends_nothing() {
    let mut world = World::new("h1", &[group("db", "h1")]);
    world.run(5000);
    world.answers = Some(Answer::Unknown);
    world.run(1900);
    world.answers = None;
    world.run(1000);
    assert_eq!((world.runs("db"), world.given("db")), (Some("h1"), 1));
    world.answers = Some(Answer::Unknown);
    world.run(2600);
    assert_eq!(world.runs("db"), None, "beats were done and nobody knew");
}

#[test]
fn beats_go_on_every_beat_whatever_is_outstanding() {
    let mut world = World::new("h1", &[]);
    world.run(5000);
    let beats = |world: &World| {
        world.effects.iter().filter(|(_, _, e)| matches!(e, Effect::Commit { beat: true, .. })).count()
    };
    let before = beats(&world);
    world.answers = Some(Answer::Unknown);
    world.run(2000);
    assert_eq!(beats(&world) - before, 4);
}

#[test]
fn a_keeper_that_does_not_answer_ends_the_beats_and_then_the_term() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5100);
    world.node("h1").keeper_stopped = true;
    let from = world.now;
    world.run(4000);
    let ended = world
        .effects
        .iter()
        .find(|(at, node, e)| *at >= from && &**node == "h1" && matches!(e, Effect::End { .. }));
    let ended = ended.expect("the term was ended from this side").0.since(from).as_millis();
    assert!(
        (1600..=2200).contains(&ended),
        "{ended} ms: two thirds of hold after the arming that was not answered"
    );
    let late = world.effects.iter().filter(|(at, node, e)| {
        at.since(from) > ms(400 + 840)
            && at.since(from) < ms(2200)
            && &**node == "h1"
            && matches!(e, Effect::Commit { beat: true, .. })
    });
    assert_eq!(late.count(), 0, "no beat once a third of hold is over");
    assert_eq!(world.runs("db"), Some("h2"));
}

#[test]
fn unguarded_everything_ends_at_once() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.tell("h1", Event::Unguarded);
    assert_eq!(world.runs("db"), None);
    world.run(3200);
    assert_eq!(world.runs("db"), Some("h2"), "it stays away for long enough");
}

#[test]
fn the_next_daemon_of_the_same_keeper_goes_on_with_the_same_epoch() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    let epoch = world.nodes["h1"].running[&name("db")];
    world.run(1000);
    world.resume("h1");
    world.run(20_000);
    assert_eq!(world.nodes["h1"].running.get(&name("db")), Some(&epoch));
    assert_eq!(world.effects.iter().filter(|(_, _, e)| matches!(e, Effect::Keep { .. })).count(), 1);
    assert_eq!(world.given("db"), 1);
}

#[test]
fn a_daemon_that_comes_after_the_deadline_joins_anew() {
    let mut world = World::new("h1", &[group("db", "h1")]);
    world.run(5000);
    let saved = world.nodes["h1"].cluster.saved().expect("a term stands");
    world.run(0);
    let config = world.nodes["h1"].config.clone();
    let late = woodward_engine::Time(saved.deadline.0 + 1);
    let mut cluster = woodward_engine::cluster::Cluster::resume(config, saved.clone(), late);
    let mut effects = Vec::new();
    cluster.handle(late, 0, Event::Tick, &mut effects);
    assert!(
        matches!(&effects[..], [Effect::End { term }, Effect::Read] if *term == saved.term),
        "{effects:?}"
    );
}

#[test]
fn a_store_that_goes_back_ends_the_term_and_is_not_believed() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    let old = world.register.clone();
    world.run(20_000);
    world.register = Register { revision: old.revision, entries: old.entries.clone() };
    world.run(10_000);
    assert_eq!(world.runs("db"), None);
    assert!(world.told(|fact| matches!(fact, Fact::StoreOlder { .. })) >= 2);
    // A person has set the store beyond what was seen.
    world.register.revision += 1_000_000;
    world.run(20_000);
    assert!(world.runs("db").is_some());
}

#[test]
fn an_emptied_store_ends_the_term_and_it_begins_anew() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.register.entries.clear();
    world.register.revision += 1;
    world.run(20_000);
    assert_eq!(world.runs("db"), Some("h1"));
    assert!(world.told(|fact| matches!(fact, Fact::TermOver { .. })) >= 2);
}

#[test]
fn a_watch_that_is_lost_or_silent_is_read_anew() {
    let mut world = World::new("h1 h2", &[group("db", "h1 h2")]);
    world.run(5000);
    world.tell("h2", Event::Lost);
    world.node("h2").watches = false;
    world.run(3000);
    assert!(world.nodes["h2"].watches, "what its own beats told it was not shown");
    assert_eq!((world.runs("db"), world.given("db")), (Some("h1"), 1));
}

#[test]
fn two_nodes_of_one_name_do_not_end_each_others_terms_for_ever() {
    let groups = [group("db", "h1")];
    let mut world = World::new("h1", &groups);
    world.run(5000);
    world.boot_as("h1", "twin", &groups);
    world.run(60_000);
    let joined = world.told(|fact| matches!(fact, Fact::Joined { .. }));
    assert_eq!(joined, 2, "the one that was there stays away while the other beats");
    let why = |fact: &Fact| matches!(fact, Fact::TermOver { why, .. } if why == "another node is called h1");
    assert_eq!(world.told(why), 1);
}
