//! The cluster at work: hosts with keepers and daemons, trees, a network, the register; everything at its time.

mod faults;
mod host;
mod net;
mod trees;
mod words;

use crate::cluster_world::keeper::Keeper;
use crate::cluster_world::store::Store;
use crate::judge::Judge;
use crate::plan::Plan;
use crate::random::Random;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use woodward_engine::cluster::{Answer, Cluster, Down, Epoch, Event, Name, Saved, Term, Transaction};
use woodward_engine::time::Time;

/// What happens at some time. The first number is the node, the second the life of its daemon or of its keeper.
#[derive(Clone, Debug)]
enum Next {
    Begin(usize),
    End(usize),
    /// The daemon looks at its clock.
    Turn(usize, u64),
    /// The keeper looks at its clock.
    Look(usize, u64),
    /// A transaction arrives at the store.
    Arrive {
        node: usize,
        life: u64,
        id: u64,
        transaction: Transaction,
        beat: bool,
    },
    /// The daemon hears something.
    Hear(usize, u64, Event),
    /// The daemon hears of a transaction, if it has not yet.
    Outcome(usize, u64, u64, Answer),
    /// The register is read for a node.
    Reading(usize, u64),
    /// A watch has something to tell.
    News(usize, u64),
    /// The keeper gets an order.
    Order(usize, u64, Order),
    /// A tree gets on: it is up, or down.
    Tree(usize, u64, usize, Epoch, Progress),
    /// A daemon begins.
    Born(usize, u64),
    /// The daemon looks whether its keeper still answers.
    Ping(usize, u64),
    Pong(usize, u64),
    /// A fence agent does its work.
    Fence {
        by: usize,
        life: u64,
        node: Name,
    },
}

#[derive(Clone, Debug)]
enum Order {
    Begin(Term),
    Arm(Term, u64, Time),
    End(Term),
    Ping,
}

#[derive(Clone, Debug, PartialEq)]
enum Progress {
    Up,
    Down(Down),
    Stopped,
}

/// One host.
pub struct Host {
    pub power: bool,
    pub frozen: u32,
    naps: u32,
    keeper_naps: u32,
    /// Cut off: requests, answers; and the watch alone.
    deaf: u32,
    mute: u32,
    stalled: u32,
    loss: u64,
    slow: u64,
    /// Its clock when the run began, and how it runs.
    offset: u64,
    rate: i64,
    wall: i64,
    pub keeper: Keeper,
    keeper_life: u64,
    greatest: Term,
    pub daemon: Option<Cluster>,
    pub life: u64,
    saved: Option<Saved>,
    /// Nothing is begun again by itself.
    pub left: bool,
    open: Vec<u64>,
    watch: Option<u64>,
    news_under_way: bool,
    waits: Option<(u64, u64)>,
    pong: u64,
    /// What happens when it wakes.
    held: Vec<Next>,
    /// True time at which it last woke, microseconds.
    pub woke: u64,
}

/// Everything.
pub struct World {
    pub plan: Plan,
    random: Random,
    /// Microseconds.
    pub now: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    what: Vec<Option<Next>>,
    pub hosts: Vec<Host>,
    pub store: Store,
    store_away: u32,
    late: Vec<u64>,
    stuck: Vec<u32>,
    bad: Vec<(usize, usize)>,
    pub judge: Judge,
    asked: u64,
}

const MS: u64 = 1000;

impl World {
    pub fn new(plan: Plan) -> World {
        let mut random = Random::new(plan.seed ^ 0xabcd);
        let hosts = plan.rates.iter().enumerate().map(|(n, rate)| Host {
            power: true,
            frozen: 0,
            naps: 0,
            keeper_naps: 0,
            deaf: 0,
            mute: 0,
            stalled: 0,
            loss: 0,
            slow: 0,
            offset: 1_000_000_000 * (n as u64 + 1) + random.next() % 1_000_000,
            rate: *rate,
            wall: 0,
            keeper: Keeper::default(),
            keeper_life: 0,
            greatest: Term::default(),
            daemon: None,
            life: 0,
            saved: None,
            left: false,
            open: Vec::new(),
            watch: None,
            news_under_way: false,
            waits: None,
            pong: 0,
            held: Vec::new(),
            woke: 0,
        });
        let mut world = World {
            random: Random::new(plan.seed ^ 0x5555),
            now: 0,
            queue: BinaryHeap::new(),
            what: Vec::new(),
            hosts: hosts.collect(),
            store: Store::default(),
            store_away: 0,
            late: vec![1; plan.groups.len()],
            stuck: vec![0; plan.groups.len()],
            bad: Vec::new(),
            judge: Judge::new(&plan),
            asked: 0,
            plan,
        };
        for n in 0..world.hosts.len() {
            let at = world.random.next() % (500 * MS);
            world.at(at, Next::Born(n, 0));
        }
        for f in 0..world.plan.faults.len() {
            let fault = &world.plan.faults[f];
            let (at, until) = (fault.at * MS, (fault.at + fault.lasts) * MS);
            world.at(at, Next::Begin(f));
            world.at(until, Next::End(f));
        }
        world
    }

    /// Lives until `until` milliseconds, or until something is wrong.
    pub fn live(&mut self, until: u64) {
        while let Some(Reverse((at, _, what))) = self.queue.peek().copied() {
            if at > until * MS || self.judge.wrong.is_some() {
                break;
            }
            self.queue.pop();
            self.now = at;
            let next = self.what[what].take().expect("happens once");
            let quiet = matches!(
                next,
                Next::News(..) | Next::Outcome(..) | Next::Arrive { .. } | Next::Ping(..) | Next::Pong(..)
            );
            self.happen(next);
            if !quiet || std::mem::take(&mut self.judge.stirred) {
                self.look();
            }
        }
        self.now = self.now.max(until * MS);
    }

    fn at(&mut self, at: u64, next: Next) {
        let number = self.what.len();
        self.what.push(Some(next));
        self.queue.push(Reverse((at.max(self.now), number as u64, number)));
    }

    fn soon(&mut self, most: u64, next: Next) {
        let at = self.now + self.random.next() % most.max(1);
        self.at(at, next);
    }

    /// A host's clock, milliseconds.
    pub fn clock(&self, n: usize) -> Time {
        let host = &self.hosts[n];
        let ran = self.now as i64 + self.now as i64 * host.rate / 1_000_000;
        Time((host.offset as i64 + ran) as u64 / MS)
    }

    /// When a host's clock will show this.
    fn when(&self, n: usize, time: Time) -> u64 {
        let host = &self.hosts[n];
        let ran = (time.0 * MS + MS - 1).saturating_sub(host.offset) as i64;
        (ran * 1_000_000 / (1_000_000 + host.rate) + 2).max(0) as u64
    }

    fn wall(&self, n: usize) -> u64 {
        (1_700_000_000_000 + (self.now / MS) as i64 + self.hosts[n].wall) as u64
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let at = self.now;
        self.judge.note(at, text);
    }

    fn name(&self, n: usize) -> Name {
        self.plan.nodes[n].clone()
    }

    fn number_of(&self, group: &Name) -> usize {
        self.plan.groups.iter().position(|g| g.name == *group).expect("known")
    }

    fn happen(&mut self, next: Next) {
        let Some(next) = self.held_up(next) else { return };
        match next {
            Next::Begin(f) => self.fault(f, true),
            Next::End(f) => self.fault(f, false),
            Next::Turn(n, life) if self.hosts[n].life == life => self.tell(n, Event::Tick),
            Next::Hear(n, life, event) if self.hosts[n].life == life => self.tell(n, event),
            Next::Outcome(n, life, id, answer)
                if self.hosts[n].life == life && self.hosts[n].open.contains(&id) =>
            {
                self.hosts[n].open.retain(|other| *other != id);
                self.tell(n, Event::Answered { id, answer });
            }
            Next::Look(n, life) if self.hosts[n].keeper_life == life => self.keeper_looks(n),
            Next::Order(n, life, order) if self.hosts[n].keeper_life == life => self.order(n, order),
            Next::Arrive { node, life, id, transaction, beat } => {
                self.arrive(node, life, id, &transaction, beat)
            }
            Next::Reading(n, life) if self.hosts[n].life == life => self.reading(n),
            Next::News(n, life) if self.hosts[n].life == life => self.news(n),
            Next::Tree(n, life, g, epoch, progress) if self.hosts[n].keeper_life == life => {
                self.tree(n, g, epoch, progress);
            }
            Next::Born(n, life) if self.hosts[n].life == life && self.hosts[n].daemon.is_none() => {
                self.born(n)
            }
            Next::Ping(n, life) if self.hosts[n].life == life => self.ping(n),
            Next::Pong(n, life) if self.hosts[n].life == life => self.hosts[n].pong = self.now,
            Next::Fence { by, life, node } => self.fence(by, life, &node),
            _ => {}
        }
    }

    /// What stands still does it later.
    fn held_up(&mut self, next: Next) -> Option<Next> {
        let (n, naps) = match &next {
            Next::Turn(n, _) | Next::Hear(n, ..) | Next::Outcome(n, ..) | Next::Reading(n, _) => {
                (*n, self.hosts[*n].naps)
            }
            Next::Ping(n, _) | Next::Pong(n, _) | Next::News(n, _) => (*n, self.hosts[*n].naps),
            Next::Look(n, _) | Next::Order(n, ..) => (*n, self.hosts[*n].keeper_naps),
            Next::Tree(n, ..) | Next::Born(n, _) => (*n, 0),
            _ => return Some(next),
        };
        if self.hosts[n].frozen > 0 || naps > 0 {
            self.hosts[n].held.push(next);
            return None;
        }
        Some(next)
    }

    fn wakes(&mut self, n: usize) {
        self.hosts[n].woke = self.now;
        let life = self.hosts[n].keeper_life;
        self.soon(10 * MS, Next::Look(n, life));
        // What was sent to the keeper comes in order, as over a socket, and before what is sent from now on.
        for next in std::mem::take(&mut self.hosts[n].held) {
            match next {
                Next::Order(..) => self.at(self.now, next),
                _ => self.soon(12 * MS, next),
            }
        }
        let life = self.hosts[n].life;
        self.soon(12 * MS, Next::Turn(n, life));
    }

    /// It has not been awake for longer than a kill takes, and its deadline has passed.
    fn waking(&self, n: usize) -> bool {
        let host = &self.hosts[n];
        // With the daemon gone too nobody is left who could kill; the gate and the address's lifetime end what it can do.
        let two = host.naps > 0 || host.daemon.is_none();
        host.keeper.due(self.clock(n))
            && (self.now - host.woke < 20 * MS && host.woke > 0 || host.keeper_naps > 0 && two)
    }

    /// What runs there can act: its host is on and awake, and no keeper is just about to kill it.
    pub fn able(&self, n: usize) -> bool {
        let host = &self.hosts[n];
        host.power && host.frozen == 0 && !self.waking(n)
    }

    fn look(&mut self) {
        let mut at_work: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        for n in 0..self.hosts.len() {
            if self.able(n) {
                for group in self.hosts[n].keeper.runs.keys() {
                    at_work.entry(group.clone()).or_default().push(n);
                }
            }
        }
        self.judge.at_work(&at_work);
    }
}
