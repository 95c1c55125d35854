//! The world of a simulation: a virtual clock, and workers that do what a tree file says of them and nothing else.
//!
//! | asked for | outcome |
//! |---|---|
//! | start | executed after 1 ms; ready 100 ms later if there is a condition, plus `settle`; a one-shot is done after 100 ms |
//! | ask | ended, exit 0, after 20 ms |
//! | kill | ended by SIGKILL after 1 ms |
//!
//! A [`Fault`] makes one worker do something else. Events of a moment come before its deadlines.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use woodward_engine::effect::TreeEnd;
use woodward_engine::spec::{self, Kind};
use woodward_engine::view::State;
use woodward_engine::{Effect, Engine, Event, Exit, Fact, FailedStart, Gen, Key, PathId, ReqId, Time, Verb};

use super::fault::{Fault, Reason};
use crate::record::fact::{Extras, FactLine, Scene};
use crate::tree::{Plan, WorkerPlan};

const EXECUTED: Duration = Duration::from_millis(1);
const READY: Duration = Duration::from_millis(100);
const ENDS: Duration = Duration::from_millis(20);
const KILLED: Duration = Duration::from_millis(1);
/// A crash that is repeated comes so long after the child is up again.
const AGAIN: Duration = Duration::from_millis(100);
/// A tree that is not at rest after so long never will be.
const LONGEST: Duration = Duration::from_secs(3600);
/// Nor one that needs more steps.
const MOST_STEPS: usize = 500_000;

/// A tree on a virtual clock.
pub struct World<'p> {
    plan: &'p Plan,
    workers: HashMap<Key, &'p spec::Worker>,
    engine: Engine,
    /// The clock.
    pub now: Time,
    queue: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    keys: HashMap<Gen, Key>,
    faults: HashMap<String, Trouble>,
    /// What happened since it was last taken.
    pub facts: Vec<FactLine>,
    /// How the tree ended.
    pub ended: Option<TreeEnd>,
}

/// A fault that is happening.
struct Trouble {
    reason: Reason,
    /// So many times more; `None`: always.
    left: Option<u32>,
}

impl<'p> World<'p> {
    /// A tree that has not been started.
    pub fn new(plan: &'p Plan) -> World<'p> {
        let mut workers = HashMap::new();
        collect(&plan.tree.root, &mut workers);
        World {
            plan,
            workers,
            engine: Engine::new(),
            now: Time(0),
            queue: BTreeMap::new(),
            sequence: 0,
            keys: HashMap::new(),
            faults: HashMap::new(),
            facts: Vec::new(),
            ended: None,
        }
    }

    /// Starts the tree.
    pub fn start(&mut self) {
        self.request(&self.plan.tree.id.clone(), Verb::AddTree(Box::new(self.plan.tree.clone())));
    }

    /// Stops the tree.
    pub fn stop(&mut self) {
        self.request(&self.plan.tree.id.clone(), Verb::StopTree);
    }

    fn request(&mut self, path: &str, verb: Verb) {
        self.handle(Event::Request { id: ReqId(self.sequence), path: path.into(), verb });
    }

    /// Lets a fault happen. `false`: it needs a running child, and this one is not running.
    pub fn fault(&mut self, fault: &Fault) -> bool {
        let row = self.engine.find(&fault.path).and_then(|path| self.engine.row(path));
        let running =
            row.filter(|row| matches!(row.state, State::Up | State::Starting)).map(|row| row.generation);
        let mut left = fault.times;
        let exit = match fault.reason.exit() {
            Some(exit) => {
                left = left.map(|times| times - 1);
                exit
            }
            None => Exit::Code(1),
        };
        if left != Some(0) {
            self.faults.insert(fault.path.clone(), Trouble { reason: fault.reason, left });
        }
        match running {
            Some(generation) if fault.reason != Reason::HangsInStop => {
                self.handle(Event::Ended { generation, exit });
                true
            }
            Some(_) => true,
            None => fault.reason.exit().is_none(),
        }
    }

    /// Goes on until nothing happens any more by itself, or until `until`. `false`: it never rests.
    pub fn rest(&mut self, until: Option<Time>) -> bool {
        let longest = self.now + LONGEST;
        for _ in 0..MOST_STEPS {
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let deadline = self.engine.next_deadline().filter(|_| !self.at_rest());
            let next = match (event, deadline) {
                (Some(event), Some(deadline)) => event.min(deadline),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => return true,
            };
            if until.is_some_and(|until| next > until) {
                return true;
            }
            if next > longest {
                return false;
            }
            self.now = self.now.max(next);
            match self.queue.first_entry().filter(|entry| entry.key().0 <= next) {
                Some(entry) => {
                    let event = entry.remove();
                    self.deliver(event);
                }
                None => self.handle(Event::Tick),
            }
        }
        false
    }

    /// Children that are where they want to be, and those that are not, with what they do.
    pub fn children(&self) -> (usize, Vec<(String, State)>) {
        let workers = self.engine.rows().into_iter().filter(|row| row.key.is_some());
        let mut up = 0;
        let mut others = Vec::new();
        for row in workers {
            match row.state {
                State::Up | State::Done => up += 1,
                state => others.push((self.engine.path(row.path), state)),
            }
        }
        (up, others)
    }

    /// Nothing is on its way: only a parking or a hold may end by itself.
    fn at_rest(&self) -> bool {
        let moves = |state| matches!(state, State::Starting | State::Backoff | State::Stopping);
        self.ended.is_some() || !self.engine.rows().iter().any(|row| row.key.is_some() && moves(row.state))
    }

    fn deliver(&mut self, event: Event) {
        let ready = match event {
            Event::Ready { generation } => self.engine.path_of(generation).map(|path| (generation, path)),
            _ => None,
        };
        self.handle(event);
        let Some((generation, path)) = ready else { return };
        let path = self.engine.path(path);
        let exit = self.faults.get(&path).and_then(|trouble| trouble.reason.exit());
        if let Some(exit) = exit.filter(|_| self.spend(&path)) {
            self.later(AGAIN, Event::Ended { generation, exit });
        }
    }

    fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.handle(self.now, event, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Open { generation, .. } => self.later(Duration::ZERO, Event::Started { generation }),
            Effect::Start { generation, path, key, .. } => {
                self.keys.insert(generation, key);
                self.begin(generation, path, key);
            }
            Effect::Ask { generation, .. } => {
                if !self.troubled(generation, Reason::HangsInStop) {
                    self.later(ENDS, Event::Ended { generation, exit: Exit::Code(0) });
                }
            }
            Effect::Kill { generation } => {
                self.later(KILLED, Event::Ended { generation, exit: Exit::Signal(9) })
            }
            Effect::Fact(fact) => self.tell(&fact),
            Effect::TreeEnded { how, .. } => self.ended = Some(how),
            Effect::Close { .. } | Effect::Reply { .. } => {}
        }
    }

    fn begin(&mut self, generation: Gen, path: PathId, key: Key) {
        let path = self.engine.path(path);
        let reason = self.faults.get(&path).map(|trouble| trouble.reason);
        if reason == Some(Reason::FailsToStart) && self.spend(&path) {
            return self.later(EXECUTED, Event::Failed { generation, why: FailedStart::Error });
        }
        let hangs = reason == Some(Reason::HangsInStart) && self.spend(&path);
        let Some(worker) = self.workers.get(&key).copied() else { return };
        if worker.oneshot {
            self.later(EXECUTED, Event::Started { generation });
            if !hangs {
                self.later(READY, Event::Ended { generation, exit: Exit::Code(0) });
            }
            return;
        }
        let condition = if worker.ready.probe { READY } else { Duration::ZERO };
        let ready = EXECUTED + condition + worker.ready.settle;
        // Without a condition the execution itself is what may hang.
        if ready > EXECUTED {
            self.later(EXECUTED, Event::Started { generation });
        }
        if !hangs {
            self.later(ready, Event::Ready { generation });
        }
    }

    /// Whether the fault of a child happens once more; it is one time less then.
    fn spend(&mut self, path: &str) -> bool {
        let Some(trouble) = self.faults.get_mut(path) else { return false };
        match &mut trouble.left {
            None => true,
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    self.faults.remove(path);
                }
                true
            }
        }
    }

    fn troubled(&mut self, generation: Gen, reason: Reason) -> bool {
        let path = self.engine.path_of(generation).map(|path| self.engine.path(path));
        path.is_some_and(|path| {
            self.faults.get(&path).is_some_and(|trouble| trouble.reason == reason) && self.spend(&path)
        })
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    fn tell(&mut self, fact: &Fact) {
        let key = self.keys.get(&fact.generation);
        let worker: Option<&WorkerPlan> = key.and_then(|key| self.plan.workers.get(key.0 as usize));
        let ready = key.and_then(|key| self.workers.get(key)).map(|worker| &worker.ready);
        let extras = Extras {
            worker,
            settle: ready.map(|ready| ready.settle).unwrap_or_default(),
            within: ready.and_then(|ready| ready.within),
            ..Extras::default()
        };
        let scene = Scene { at: self.now.0, now: self.now, path: &|path| self.engine.path(path) };
        self.facts.push(FactLine::of(fact, &scene, &extras));
    }
}

fn collect<'p>(supervisor: &'p spec::Supervisor, into: &mut HashMap<Key, &'p spec::Worker>) {
    for child in crate::tree::outline::children(supervisor) {
        match &child.kind {
            Kind::Worker(worker) => drop(into.insert(worker.key, worker)),
            Kind::Supervisor(inner) => collect(inner, into),
        }
    }
}
