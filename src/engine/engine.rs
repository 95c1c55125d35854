//! The forest and its one function.
//!
//! | rule | room |
//! |---|---|
//! | what wakes the engine, what it asks for, what it tells | `event`, `effect`, `fact`, `view` |
//! | states of children; the one function that writes them | `child` |
//! | supervisors: the mailbox | `node` |
//! | supervisors: opened, started, ready, ending | `incarnation` |
//! | order by list: one operation at a time (OTP) | `listed` |
//! | order by dependencies: marks and two predicates | `dependencies` |
//! | outcomes: started, ready, declined, failed, ended | `outcome` |
//! | decisions: matrix, counting, giving up, parking | `decide`, `restart` |
//! | the ladder, deadlines of subtrees, proper ends | `stop` |
//! | OTP's API | `request` |
//! | what a person says of a path | `hold`, `place` |
//! | trees | `forest` |
//! | another plan for a tree | `apply`, `difference` |
//! | saving and adopting | `adopt`, `restore` |

use crate::child::{ChildIx, Children};
use crate::event::{Event, Gen, PathId};
use crate::fact::Incident;
use crate::forest::{Tree, forest_node};
use crate::node::{NodeIx, Nodes};
use crate::place::Places;
use crate::timers::{Alarm, Ticket, Timers};
use crate::{Effect, Time};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// The whole forest: every tree, every supervisor, every child.
#[derive(Debug)]
pub struct Engine {
    pub(crate) now: Time,
    pub(crate) places: Places,
    pub(crate) kids: Children,
    pub(crate) nodes: Nodes,
    pub(crate) trees: Vec<Tree>,
    /// Who has which current generation.
    pub(crate) generations: HashMap<Gen, ChildIx, BuildHasherDefault<GenHasher>>,
    pub(crate) timers: Timers,
    pub(crate) runnable: VecDeque<NodeIx>,
    /// The chain that what is decided now belongs to.
    pub(crate) cause: Incident,
    pub(crate) fx: Vec<Effect>,
    last_generation: u64,
    last_incident: u64,
    stale: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            now: Time::default(),
            places: Places::default(),
            kids: Children::default(),
            nodes: Nodes::new(forest_node()),
            trees: Vec::new(),
            generations: HashMap::default(),
            timers: Timers::default(),
            runnable: VecDeque::new(),
            cause: Incident::default(),
            fx: Vec::new(),
            last_generation: 0,
            last_incident: 0,
            stale: 0,
        }
    }
}

impl Engine {
    /// An empty forest.
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Decides what follows from `event` at `now` and appends it to `effects`. Total: any event in any state. A `now`
    /// before that of the last call counts as the same moment.
    pub fn handle(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        self.begin_turn(now, effects);
        let child = self.child_of(&event);
        match (event, child) {
            (Event::Request { id, path, verb }, _) => self.request(id, &path, verb),
            (Event::Tick, _) => self.tick(),
            (event, Some(c)) => self.outcome(event, c),
            (_, None) => self.stale += 1,
        }
        self.end_turn(effects);
    }

    fn outcome(&mut self, event: Event, c: ChildIx) {
        match event {
            Event::Started { .. } => self.started(c),
            Event::Ready { .. } => self.ready(c),
            Event::Declined { .. } => self.declined(c),
            Event::Failed { why, .. } => self.failed(c, why),
            Event::Ended { .. } if self.kids[c].is_supervisor() => self.node_killed(c),
            Event::Ended { exit, .. } => self.child_ended(c, exit, None),
            Event::Sick { .. } => self.reported_sick(c),
            Event::Request { .. } | Event::Tick => {}
        }
    }

    /// Deadlines that are due act, in their order; everything that follows from one does before the next.
    fn tick(&mut self) {
        while let Some((at, ticket, alarm)) = self.timers.first() {
            if at > self.now {
                break;
            }
            self.timers.pop();
            if is_valid(&self.kids, &self.places, at, ticket, alarm) {
                if let Some(c) = alarm.child() {
                    self.kids[c].ticket = Ticket::default();
                    self.touch(c);
                }
                self.cause = self.new_incident();
                self.alarm(alarm);
                self.run_all();
            }
        }
    }

    pub(crate) fn begin_turn(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.places.bury();
        std::mem::swap(&mut self.fx, effects);
    }

    pub(crate) fn end_turn(&mut self, effects: &mut Vec<Effect>) {
        self.run_all();
        self.answer_applied();
        let Engine { timers, kids, places, .. } = self;
        timers.tidy(|at, ticket, alarm| is_valid(kids, places, at, ticket, alarm));
        std::mem::swap(&mut self.fx, effects);
    }

    /// When `Tick` is wanted at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, ..)| at)
    }

    /// Events that were dropped because their generation was not current.
    pub fn stale_events(&self) -> u64 {
        self.stale
    }

    /// The full path, ids joined by `/`.
    pub fn path(&self, id: PathId) -> String {
        self.places.spell(id)
    }

    /// The path of a full name.
    pub fn find(&self, path: &str) -> Option<PathId> {
        self.places.find(path)
    }

    /// The path whose attempt this is, while it is current.
    pub fn path_of(&self, generation: Gen) -> Option<PathId> {
        self.generations.get(&generation).map(|&c| self.kids[c].path)
    }

    /// Generations up to this one were used before: those to come are greater.
    pub fn reserve_generations(&mut self, up_to: Gen) {
        self.last_generation = self.last_generation.max(up_to.0);
    }

    /// The greatest generation given out so far.
    pub fn last_generation(&self) -> Gen {
        Gen(self.last_generation)
    }

    /// Numbers of incidents up to this one were used before.
    pub fn reserve_incidents(&mut self, up_to: Incident) {
        self.last_incident = self.last_incident.max(up_to.0);
    }

    /// The greatest number of an incident given out so far.
    pub fn last_incident(&self) -> Incident {
        Incident(self.last_incident)
    }

    /// Paths whose row, or what is saved of them, may have changed since the last call, also those that have vanished.
    /// To be called before `handle` is called again, else a path that has vanished cannot be spelled any more.
    pub fn take_changed(&mut self, into: &mut Vec<PathId>) {
        while let Some((id, child)) = self.places.pop_dirty() {
            if let Some(c) = child {
                self.kids[c].dirty = false;
            }
            into.push(id);
        }
    }

    pub(crate) fn new_generation(&mut self) -> Gen {
        self.last_generation += 1;
        Gen(self.last_generation)
    }

    pub(crate) fn new_incident(&mut self) -> Incident {
        self.last_incident += 1;
        Incident(self.last_incident)
    }
}

/// A deadline holds while its child has the ticket, the end of a hold while the hold has that end.
fn is_valid(kids: &Children, places: &Places, at: Time, ticket: Ticket, alarm: Alarm) -> bool {
    match (alarm, alarm.child()) {
        (_, Some(c)) => kids[c].ticket == ticket,
        (Alarm::Release(path), None) => {
            places[path].sticky.as_ref().and_then(|s| s.hold).is_some_and(|hold| hold.until == Some(at))
        }
        (_, None) => false,
    }
}

/// Generations are numbers in sequence: new ones lie side by side in the table, and the top bits, by which it tells
/// neighbours apart, are spread.
#[derive(Debug, Default)]
pub(crate) struct GenHasher(u64);

impl Hasher for GenHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n ^ (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & (0x7f << 57));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
