//! One state of a small cluster, what can happen in it, and what must never be.

mod daemon;
mod happen;
mod judge;
mod words;

use crate::broken::Broken;
use crate::canon::{self, Digest};
use crate::cluster_world::keeper::{Keeper, Phase};
use crate::cluster_world::store::Store;
use std::cell::OnceCell;
use std::fmt::{self, Debug};
use std::rc::Rc;
use woodward_engine::cluster::register::{Member, Why};
use woodward_engine::cluster::{
    Answer, Cluster, Condition, Config, Down, Effect, Event, Fact, Group, Key, Name, Request, Saved, Timing,
    Transaction, Value, Write,
};
use woodward_engine::event::ReqId;
use woodward_engine::time::Time;

/// Milliseconds of a step of time: a node challenges so much later for each rank.
pub const TICK: u64 = 50;
/// Beat, hold and wait in steps.
pub const TIMING: Timing = Timing::millis(TICK, 3 * TICK, 4 * TICK);
/// What lies longer ago makes no difference.
const PAST: u64 = 6 * TICK;

/// How much of everything may go wrong, and for how long it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the very beginning; else from when every group is up.
    pub cold: bool,
    /// Steps of time.
    pub ticks: u64,
    /// Hosts that freeze.
    pub freezes: u8,
    /// Daemons that stand still, their keepers awake.
    pub naps: u8,
    /// Hosts that lose power.
    pub crashes: u8,
    /// Daemons that die alone.
    pub deaths: u8,
    /// Trees that give up.
    pub failures: u8,
    /// Watches that tear.
    pub tears: u8,
    /// For each node, how many steps one of its messages may be late or, thereafter, lost; 0: all come at once.
    pub late: Vec<u64>,
    /// For each node, whether its watch may lag.
    pub lags: Vec<bool>,
    /// In how many steps of time something may be on its way.
    pub messages: u8,
    /// What is asked, once each, at any moment.
    pub requests: Vec<(usize, Request)>,
}

impl Budget {
    /// Nothing goes wrong, and no time goes by.
    pub fn none(nodes: usize) -> Budget {
        Budget {
            cold: false,
            ticks: 0,
            freezes: 0,
            naps: 0,
            crashes: 0,
            deaths: 0,
            failures: 0,
            tears: 0,
            late: vec![0; nodes],
            lags: vec![false; nodes],
            messages: 0,
            requests: Vec::new(),
        }
    }
}

/// A transaction on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    id: u64,
    transaction: Transaction,
    sent: Time,
    /// The answer, when it has been carried out.
    answer: Option<Answer>,
    /// The node was told that nobody knows.
    given_up: bool,
    beat: bool,
}

impl Flight {
    /// What only people read is written at once.
    fn is_note(&self) -> bool {
        self.transaction.writes.iter().all(|write| matches!(write, Write::Put(Key::State(_), _)))
    }
}

/// A revision, said so for [`canon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(u64);

/// One host with keeper and daemon.
#[derive(Clone, Debug)]
pub struct Node {
    /// The daemon; `None`: dead.
    pub cluster: Option<Cluster>,
    pub keeper: Keeper,
    saved: Option<Saved>,
    power: bool,
    /// Nothing of the host runs.
    frozen: bool,
    /// The daemon stands still.
    naps: bool,
    /// It woke in this very step.
    woke: bool,
    reading: bool,
    /// What its watch has told last.
    watch: Option<Revision>,
    flights: Vec<Flight>,
    /// What keeper and trees have told while the daemon stood still.
    inbox: Vec<Event>,
}

impl Node {
    fn awake(&self) -> bool {
        self.power && !self.frozen
    }
    fn listens(&self) -> bool {
        self.awake() && !self.naps && self.cluster.is_some()
    }
}

/// A part of a state: shared as long as it does not change, and read once.
#[derive(Clone)]
struct Part<T>(Rc<(T, OnceCell<Digest>)>);

impl<T: Clone + Debug> Part<T> {
    fn new(part: T) -> Part<T> {
        Part(Rc::new((part, OnceCell::new())))
    }
    fn digest(&self) -> &Digest {
        self.0.1.get_or_init(|| Digest::new(&self.0.0))
    }
    fn get(&self) -> &T {
        &self.0.0
    }
    fn change(&mut self) -> &mut T {
        if Rc::strong_count(&self.0) > 1 || self.0.1.get().is_some() {
            *self = Part::new(self.0.0.clone());
        }
        &mut Rc::get_mut(&mut self.0).expect("just made").0
    }
}

/// Everything.
#[derive(Clone)]
pub struct State {
    now: u64,
    nodes: Vec<Part<Node>>,
    store: Part<Store>,
    left: Part<Budget>,
    /// What must never be, and is.
    pub wrong: Option<String>,
}

/// What never changes in one search.
pub struct World {
    pub names: Vec<Name>,
    pub groups: Vec<Group>,
    pub broken: Broken,
}

/// Something that happens. Numbers: the node, and of its flights or groups which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Clock,
    Turn(usize),
    Fire(usize),
    Carry(usize, usize),
    Answer(usize, usize),
    GiveUp(usize, usize),
    Lose(usize, usize),
    Read(usize),
    News(usize),
    Tear(usize),
    Freeze(usize),
    Thaw(usize),
    Nap(usize),
    Wake(usize),
    Cut(usize),
    Boot(usize),
    Die(usize),
    Born(usize),
    Up(usize, Name),
    Gone(usize, Name),
    Fail(usize, Name),
    Ask(usize),
}

/// What a search hopes to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub takeover: bool,
    pub rejoin: bool,
    pub handover: bool,
    pub kept: bool,
    pub gave_up: bool,
    pub fired: bool,
}

impl State {
    /// All hosts on, no daemon has read anything yet.
    pub fn new(world: &World, budget: &Budget) -> State {
        let node = Node {
            cluster: None,
            keeper: Keeper::default(),
            saved: None,
            power: true,
            frozen: false,
            naps: false,
            woke: false,
            reading: false,
            watch: None,
            flights: Vec::new(),
            inbox: Vec::new(),
        };
        let calm = Budget { ticks: u64::MAX, ..Budget::none(world.names.len()) };
        let mut state = State {
            now: 100 * TICK,
            nodes: vec![Part::new(node); world.names.len()],
            store: Part::new(Store::default()),
            left: Part::new(if budget.cold { budget.clone() } else { calm }),
            wrong: None,
        };
        let mut seen = Seen::default();
        for n in 0..world.names.len() {
            state.born(world, n, &mut seen);
        }
        state.settle(world, &mut seen);
        if !budget.cold {
            for _ in 0..20 {
                while let Some(act) = state.acts().into_iter().find(|act| matches!(act, Act::Up(..))) {
                    state = state.after(world, &act, &mut seen);
                }
                state = state.after(world, &Act::Clock, &mut seen);
            }
            assert!(state.wrong.is_none(), "{:?}", state.wrong);
            *state.left.change() = budget.clone();
        }
        state
    }

    /// By what it is known; see [`canon`].
    pub fn key(&self) -> u128 {
        let nodes = self.nodes.iter().enumerate().map(|(n, node)| (node.digest(), self.clock(n).0));
        let others = [(self.store.digest(), self.now), (self.left.digest(), self.now)];
        canon::key(nodes.chain(others), PAST)
    }

    /// Hosts' clocks have nothing to do with each other.
    fn clock(&self, n: usize) -> Time {
        Time(self.now + 1_000_000 * (n as u64 + 1))
    }

    fn node(&self, n: usize) -> &Node {
        self.nodes[n].get()
    }

    /// Whether nothing of a node's is late.
    pub fn prompt(&self, n: usize) -> bool {
        let left = self.left.get();
        left.messages == 0 || left.late[n] == 0
    }

    /// What a node does at once, if it has not just woken: then the order is anybody's.
    fn at_once(&self, n: usize) -> Option<Act> {
        let (node, now) = (self.node(n), self.clock(n));
        if !node.awake() {
            return None;
        }
        if node.keeper.due(now) {
            return Some(Act::Fire(n));
        }
        let cluster = node.cluster.as_ref().filter(|_| node.listens())?;
        if cluster.next_deadline().is_some_and(|due| due <= now) {
            return Some(Act::Turn(n));
        }
        let late = if self.prompt(n) { 0 } else { self.left.get().late[n] };
        for (f, flight) in node.flights.iter().enumerate().filter(|(_, flight)| !flight.given_up) {
            match flight.answer {
                None if late == 0 || flight.is_note() => return Some(Act::Carry(n, f)),
                // That it was done and nobody heard of it is an answer that was given up before.
                Some(_) if late == 0 || !flight.beat => return Some(Act::Answer(n, f)),
                _ if now.0 - flight.sent.0 >= late * TICK => return Some(Act::GiveUp(n, f)),
                _ => {}
            }
        }
        let news = || node.watch.is_some_and(|Revision(at)| self.store.get().after(at).is_some());
        if self.left.get().failures == 0
            && let Some((group, _)) = node.keeper.runs.iter().find(|(_, run)| run.phase == Phase::Starting)
        {
            return Some(Act::Up(n, group.clone()));
        }
        let lags = self.left.get().messages > 0 && self.left.get().lags[n];
        match lags {
            false if node.reading => Some(Act::Read(n)),
            false if news() => Some(Act::News(n)),
            _ => None,
        }
    }

    /// Does what is done at once.
    pub fn settle(&mut self, world: &World, seen: &mut Seen) {
        let mut n = 0;
        while n < self.nodes.len() && self.wrong.is_none() {
            match self.at_once(n).filter(|_| !self.node(n).woke) {
                Some(act) => {
                    self.happen(world, &act, seen);
                    self.judge(world);
                    n = 0;
                }
                None => n += 1,
            }
        }
    }

    /// All that can happen now.
    pub fn acts(&self) -> Vec<Act> {
        let mut acts: Vec<Act> = (0..self.nodes.len()).filter_map(|n| self.at_once(n)).collect();
        let left = self.left.get();
        if acts.is_empty() && left.ticks > 0 {
            acts.push(Act::Clock);
        }
        for n in 0..self.nodes.len() {
            let node = self.node(n);
            if !node.power {
                acts.push(Act::Boot(n));
                continue;
            }
            if node.frozen {
                acts.push(Act::Thaw(n));
            } else if left.freezes > 0 {
                acts.push(Act::Freeze(n));
            }
            if left.crashes > 0 {
                acts.push(Act::Cut(n));
            }
            for (f, flight) in node.flights.iter().enumerate() {
                match flight.answer {
                    None => acts.push(Act::Carry(n, f)),
                    Some(_) if node.listens() && !flight.given_up => acts.push(Act::Answer(n, f)),
                    Some(_) => {}
                }
                if flight.given_up && flight.answer.is_none() {
                    acts.push(Act::Lose(n, f));
                }
            }
            if node.awake() {
                if node.naps {
                    acts.push(Act::Wake(n));
                } else if node.cluster.is_none() {
                    acts.push(Act::Born(n));
                }
                for (group, run) in &node.keeper.runs {
                    match run.phase {
                        Phase::Starting => acts.push(Act::Up(n, group.clone())),
                        Phase::Stopping => acts.push(Act::Gone(n, group.clone())),
                        Phase::Up => {}
                    }
                    if run.phase != Phase::Stopping && left.failures > 0 {
                        acts.push(Act::Fail(n, group.clone()));
                    }
                }
            }
            if node.listens() {
                if left.naps > 0 {
                    acts.push(Act::Nap(n));
                }
                if left.deaths > 0 {
                    acts.push(Act::Die(n));
                }
                if node.reading {
                    acts.push(Act::Read(n));
                }
                if let Some(Revision(at)) = node.watch {
                    if self.store.get().after(at).is_some() {
                        acts.push(Act::News(n));
                    }
                    if left.tears > 0 {
                        acts.push(Act::Tear(n));
                    }
                }
            }
        }
        for (r, (n, _)) in left.requests.iter().enumerate() {
            if self.node(*n).listens() {
                acts.push(Act::Ask(r));
            }
        }
        let mut once = Vec::with_capacity(acts.len());
        for act in acts {
            if !once.contains(&act) {
                once.push(act);
            }
        }
        once
    }
}

impl Node {
    /// The daemon is gone: what it had asked may still be carried out, and nobody hears of it.
    fn orphaned(&mut self) {
        (self.naps, self.reading, self.watch) = (false, false, None);
        self.inbox.clear();
        self.flights.retain(|flight| flight.answer.is_none());
        for flight in &mut self.flights {
            flight.given_up = true;
        }
    }
}
