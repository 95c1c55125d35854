//! Any event in any state.

use crate::play::*;
use woodward_engine::cluster::register::Phase;
use woodward_engine::cluster::register::{Avoid, Member, Owner, Probe, State, Why, Wish};
use woodward_engine::cluster::{
    Answer, Cluster, Config, Down, Effect, Epoch, Event, Fencing, Group, Key, Name, Request, Term, Timing,
    Value,
};
use woodward_engine::{ReqId, Time};

/// Numbers that repeat with their seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn node(&mut self) -> Name {
        name(self.one(&["h1", "h2", "h3", "h9"]))
    }

    fn group(&mut self) -> Name {
        name(self.one(&["a", "b", "c", "x"]))
    }

    fn why(&mut self) -> Why {
        let (words, node) = (String::from("?"), self.group());
        self.one(&[
            Why::First,
            Why::Failback,
            Why::Left,
            Why::Rejoined,
            Why::Moved(order()),
            Why::Stopped(words.clone()),
            Why::Broken(words.clone()),
            Why::Rollback(words),
            Why::Follows(node),
        ])
    }

    fn result(&mut self) -> Result<(), String> {
        if self.below(2) == 0 { Ok(()) } else { Err("?".into()) }
    }

    /// A key with a value of its kind, or nearly always.
    fn entry(&mut self, revision: u64) -> (Key, Option<Value>) {
        let (node, group) = (self.node(), self.group());
        let epoch = Epoch(self.below(revision + 2));
        let to = (self.below(3) > 0).then(|| self.node());
        let timing = self.one(&[Timing::FAST, Timing::NORMAL]);
        let groups = vec![name("a"), name("b"), name("c")];
        let member =
            Member { term: Term(self.below(9)), fenced: to.clone(), timing, groups, apart: vec![], since: 0 };
        let owner = Owner { node: to.clone(), from: to.clone(), why: self.why(), by: node.clone(), since: 0 };
        let result = (self.below(2) == 0).then(|| self.result());
        let phase = self.one(&[Phase::Starting, Phase::Active, Phase::Stopping, Phase::Stopped]);
        let state = State { epoch, phase, start_took: Some(7), stop_took: None, since: 0 };
        let (key, value) = match self.below(12) {
            0 => (Key::Epoch(node), Value::Epoch(Member { fenced: None, ..member })),
            1 => (Key::Epoch(node), Value::Epoch(member)),
            2 | 3 => (Key::Beat(node), Value::Beat(revision)),
            4 => (Key::Drained(node), Value::Order(order())),
            5 | 6 => (Key::Owner(group), Value::Owner(owner)),
            7 => (Key::State(group), Value::State(state)),
            8 => (Key::Avoid(group, node), Value::Avoid(Avoid { why: "?".into(), since: 0 })),
            9 => (Key::Move(group), Value::Move(Wish { to, order: order() })),
            10 => (Key::Probe(group), Value::Probe(Probe { node, epoch, result })),
            _ => (Key::Maintenance, if self.below(9) == 0 { Value::Beat(1) } else { Value::Order(order()) }),
        };
        let there = self.below(4) > 0;
        (key, there.then_some(value))
    }

    fn request(&mut self) -> Request {
        let (node, group) = (self.node(), self.group());
        match self.below(30) {
            0 => Request::Leave,
            n if n < 6 => Request::Move { group, to: (n < 4).then_some(node), order: order() },
            n if n < 10 => Request::Drain { node, order: order() },
            n if n < 15 => Request::Undrain { node },
            n if n < 18 => Request::Maintain { on: n < 16, order: order() },
            n if n < 22 => Request::Forgive { group, node: (n < 20).then_some(node) },
            n if n < 26 => Request::Start { group },
            _ => Request::Confirm { node },
        }
    }

    /// Something that fits what was asked for, most of the time, and something that does not.
    fn event(&mut self, asked: &[Effect], revision: &mut u64) -> Event {
        let (group, epoch) = (self.group(), Epoch(self.below(*revision + 2)));
        let how = self.one(&[Down::Asked, Down::Done, Down::Stopped, Down::GaveUp("?".into())]);
        if let Some(effect) = (!asked.is_empty() && self.below(3) > 0).then(|| self.one(asked)) {
            match effect {
                Effect::Read => {
                    *revision += self.below(3);
                    let entries = (0..self.below(12)).filter_map(|_| {
                        let at = 1 + self.below(*revision + 1);
                        let (key, value) = self.entry(*revision);
                        Some((key, at, value?))
                    });
                    return Event::Read { revision: *revision, entries: entries.collect() };
                }
                Effect::Commit { id, .. } => {
                    *revision += 1;
                    let answers =
                        [Answer::Done(*revision), Answer::Refused, Answer::Unknown, Answer::Done(*revision)];
                    return Event::Answered { id, answer: self.one(&answers) };
                }
                Effect::Arm { number, .. } => return Event::Armed { number },
                Effect::End { term } | Effect::Begin { term } if self.below(4) == 0 => {
                    return Event::Fired { term };
                }
                Effect::Start { group, epoch, .. } | Effect::Keep { group, epoch } => {
                    return if self.below(3) > 0 {
                        Event::Up { group, epoch }
                    } else {
                        Event::Down { group, epoch, how }
                    };
                }
                Effect::Stop { group, epoch } => return Event::Down { group, epoch, how },
                Effect::Probe { group } => return Event::Probed { group, result: self.result() },
                Effect::Fence { node, .. } => return Event::Fenced { node, result: self.result() },
                _ => {}
            }
        }
        match self.below(16) {
            0..6 => {
                *revision += self.below(3);
                let changes = (0..1 + self.below(3)).map(|_| self.entry(*revision)).collect();
                Event::Changed { revision: *revision, changes }
            }
            6 => Event::Lost,
            7 => {
                Event::Answered { id: self.below(50), answer: self.one(&[Answer::Refused, Answer::Done(1)]) }
            }
            8 => Event::Armed { number: self.below(50) },
            9 => Event::Unguarded,
            10 => Event::Fired { term: Term(self.below(9)) },
            11 => Event::Restarted { group },
            12 => Event::Stuck { group, epoch },
            13 => Event::Down { group, epoch, how },
            _ => Event::Request { id: ReqId(*revision), request: self.request() },
        }
    }
}

#[test]
fn any_event_in_any_state_is_answered_and_the_clock_goes_on() {
    for seed in 1..400u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let groups = vec![
            Group {
                fencing: Fencing::Required,
                start_within: Some(ms(900)),
                ..earned(group("a", "h2 h1 h3"), true)
            },
            Group { with: vec![name("a")], apart: vec![name("c")], ..group("b", "h1 h2") },
            earned(group("c", "h2 h1"), false),
        ];
        let config = Config { me: name("h1"), timing: Timing::FAST, groups, after: Term(0) };
        let mut now = Time(1_000_000);
        let mut cluster = Cluster::new(config.clone(), now);
        let (mut asked, mut revision) = (Vec::new(), 1);
        for _ in 0..400 {
            let event = if dice.below(3) == 0 { Event::Tick } else { dice.event(&asked, &mut revision) };
            let mut effects = Vec::new();
            cluster.handle(now, 0, event, &mut effects);
            asked
                .extend(effects.into_iter().filter(|e| !matches!(e, Effect::Fact(_) | Effect::Reply { .. })));
            asked.drain(..asked.len().saturating_sub(12));
            // Ticks alone come to rest: each moment that is named lies ahead of the one before.
            for turn in 0.. {
                assert!(turn < 50, "seed {seed}: does not come to rest at {now:?}: {cluster:#?}");
                if cluster.next_deadline().is_none_or(|at| at > now) {
                    break;
                }
                cluster.handle(now, 0, Event::Tick, &mut Vec::new());
            }
            if dice.below(3) == 0 {
                now = Time(now.0 + dice.below(700));
            }
            if dice.below(60) == 0
                && let Some(saved) = cluster.saved()
            {
                cluster = Cluster::resume(config.clone(), saved, now);
            }
        }
        let _ = cluster.view().foresee(&[name("h2"), name("h1")]);
    }
}
