//! Supervisors: one record per incarnation, with a mailbox of its own.
//!
//! A supervisor takes its messages in arrival order. By list it carries out one operation at a time ([`crate::listed`])
//! and its mailbox is closed meanwhile, but for a start that only waits for readiness; by dependencies its mailbox is
//! always open ([`crate::dependencies`]). Outcomes of children are not messages: they change the child at once, and the
//! supervisor is woken to see what follows. An end by itself is both: the child is `Ended` at once, and a message tells
//! when its turn to be looked at has come.
//!
//! ```text
//!  Opening ─► Boot ─► Run ─► Ending(reason) ─► Gone
//!                └──────────────▲
//! ```
//!
//! A new incarnation is a new record. Children added at run time, counters and messages of the old one vanish with it.

use crate::apply::{Part, Swap, Ticket};
use crate::child::{ChildIx, NOBODY, St};
use crate::event::{Event, Gen, PathId, ReqId, Verb};
use crate::fact::Incident;
use crate::listed::{Op, Step};
use crate::place::FOREST;
use crate::plan::Sup;
use crate::restart::Window;
use crate::spec::{Exhausted, Order};
use crate::time::Time;
use crate::{Effect, Engine, Reason, Reply};
use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeIx(pub u32);

/// The parent of all trees.
pub(crate) const FOREST_NODE: NodeIx = NodeIx(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its subtree is being opened; it has no children yet.
    Opening,
    /// The initial start.
    Boot,
    Run,
    Ending(Reason),
    Gone,
}

/// What waits in a mailbox.
#[derive(Debug)]
pub(crate) enum Msg {
    /// A child ended by itself.
    End(ChildIx, Gen),
    /// Its health check failed.
    Sick(ChildIx, Gen),
    /// Try again: a restart failed.
    Retry(PathId),
    /// A back-off or a parking is over.
    Go(ChildIx, Gen),
    /// A hold was released.
    Release,
    /// Another plan.
    Apply(Box<Part>),
    /// Another plan for an instance of a pool; and whose part of it that is.
    Renew(Box<(ChildIx, Gen, Ticket, Incident)>),
    Request(Box<Request>),
}

#[derive(Debug)]
pub(crate) struct Request {
    pub id: ReqId,
    /// The supervisor, or for the verbs of a person whom they are about.
    pub to: PathId,
    pub verb: Verb,
    pub incident: Incident,
    /// Number of the instance asked for.
    pub instance: u32,
}

/// Somebody waits for what becomes of a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub child: ChildIx,
    pub id: ReqId,
    pub of: WaitOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitOf {
    /// `start_child`: a failure forgets the child.
    Add,
    /// `restart_child`: a failure leaves it down.
    Back,
    /// A person's start: a failure is tried again.
    Start,
    /// Down.
    Gone,
}

/// The time for a whole subtree to stop.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    pub end: Time,
    pub whole: Duration,
    /// By list: shutdown times of all that still have to stop.
    pub left: Duration,
    /// By dependencies: for each child, of the longest chain through those that stop after it.
    pub chains: HashMap<ChildIx, Duration>,
}

#[derive(Debug)]
pub(crate) struct Node {
    /// Its record as a child; `None`: the forest, or a supervisor that was killed and whose children still end.
    pub child: Option<ChildIx>,
    pub path: PathId,
    pub sup: Arc<Sup>,
    pub phase: Phase,
    pub first: ChildIx,
    pub last: ChildIx,
    pub len: u32,
    pub last_seq: u32,
    pub mail: VecDeque<Msg>,
    pub op: Option<Op>,
    pub suspended: bool,
    pub queued: bool,
    pub window: Window,
    pub live: u32,
    pub live_significant: u32,
    pub unready: u32,
    pub ready: bool,
    pub waiters: Vec<Waiter>,
    /// Who asked it to end by itself.
    pub stoppers: Vec<ReqId>,
    pub deadline: Option<Deadline>,
    /// It gave up.
    pub gave_up: Option<Exhausted>,
    /// Improper ends of instances at its end.
    pub improper: Vec<(Reason, u32)>,
    /// By dependencies: children whose state changed.
    pub changed: Vec<ChildIx>,
    /// By dependencies: children that could start but for a sibling that must stop first.
    pub barred: Vec<ChildIx>,
    pub marked: u32,
    /// By dependencies: another plan, once what it stops is down.
    pub swap: Option<Box<Swap>>,
}

impl Node {
    pub fn new(child: Option<ChildIx>, path: PathId, sup: Arc<Sup>, phase: Phase) -> Node {
        Node {
            child,
            path,
            sup,
            phase,
            first: NOBODY,
            last: NOBODY,
            len: 0,
            last_seq: 0,
            mail: VecDeque::new(),
            op: None,
            suspended: false,
            queued: false,
            window: Window::default(),
            live: 0,
            live_significant: 0,
            unready: 0,
            ready: false,
            waiters: Vec::new(),
            stoppers: Vec::new(),
            deadline: None,
            gave_up: None,
            improper: Vec::new(),
            changed: Vec::new(),
            barred: Vec::new(),
            marked: 0,
            swap: None,
        }
    }

    pub fn by_dependencies(&self) -> bool {
        self.sup.order == Order::Dependencies && !self.sup.is_pool()
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Gone)
    }

    /// A child has changed.
    pub fn notice(&mut self, c: ChildIx) {
        if self.by_dependencies() {
            self.changed.push(c);
        }
    }

    /// There is something to see besides the mailbox.
    pub fn wants_to_look(&self) -> bool {
        self.op.is_some() || !self.changed.is_empty() || !self.ready
    }

    /// A child is dropped.
    pub fn forget(&mut self, c: ChildIx) {
        self.changed.retain(|&x| x != c);
        self.barred.retain(|&x| x != c);
    }
}

/// Records and a list of free ones.
#[derive(Debug)]
pub(crate) struct Nodes {
    all: Vec<Node>,
    free: Vec<NodeIx>,
}

impl Nodes {
    pub fn new(forest: Node) -> Nodes {
        Nodes { all: vec![forest], free: Vec::new() }
    }

    pub fn add(&mut self, node: Node) -> NodeIx {
        match self.free.pop() {
            Some(n) => {
                self[n] = node;
                n
            }
            None => {
                self.all.push(node);
                NodeIx(u32::try_from(self.all.len() - 1).expect("fewer than 2^32 supervisors"))
            }
        }
    }

    pub fn free(&mut self, n: NodeIx) {
        self.free.push(n);
    }
}

impl Index<NodeIx> for Nodes {
    type Output = Node;
    fn index(&self, n: NodeIx) -> &Node {
        &self.all[n.0 as usize]
    }
}

impl IndexMut<NodeIx> for Nodes {
    fn index_mut(&mut self, n: NodeIx) -> &mut Node {
        &mut self.all[n.0 as usize]
    }
}

impl Engine {
    pub(crate) fn wake(&mut self, n: NodeIx) {
        let node = &mut self.nodes[n];
        if !node.queued && node.phase != Phase::Gone {
            node.queued = true;
            self.runnable.push_back(n);
        }
    }

    pub(crate) fn post(&mut self, n: NodeIx, msg: Msg) {
        self.nodes[n].mail.push_back(msg);
        self.wake(n);
    }

    /// Lets every woken supervisor go on until all of them wait.
    pub(crate) fn run_all(&mut self) {
        while let Some(n) = self.runnable.pop_front() {
            self.run(n);
            self.nodes[n].queued = false;
        }
    }

    fn run(&mut self, n: NodeIx) {
        loop {
            if matches!(self.nodes[n].phase, Phase::Opening | Phase::Gone) {
                return;
            }
            let step = if self.nodes[n].by_dependencies() { self.look_around(n) } else { self.step(n) };
            match step {
                Step::Closed => return,
                Step::Open => self.announce(n),
                Step::Idle => self.check_ready(n),
            }
            if self.nodes[n].suspended {
                return;
            }
            let msg = match step {
                Step::Open => self.take_open_message(n),
                _ => self.nodes[n].mail.pop_front(),
            };
            match msg {
                Some(msg) => self.receive(n, msg),
                None => return,
            }
        }
    }

    /// While only readiness is awaited, requests stay in the queue and everything else is taken.
    fn take_open_message(&mut self, n: NodeIx) -> Option<Msg> {
        let mail = &mut self.nodes[n].mail;
        let i = mail.iter().position(|msg| match msg {
            Msg::End(..) | Msg::Sick(..) | Msg::Retry(_) | Msg::Go(..) => true,
            // What is not ready may never be, and the next plan may be what mends it.
            Msg::Apply(_) => true,
            Msg::Release | Msg::Renew(_) => false,
            Msg::Request(request) => {
                matches!(request.verb, Verb::StopSelf(_) | Verb::TerminateChild(_) | Verb::Stop { .. })
            }
        })?;
        mail.remove(i)
    }

    fn receive(&mut self, n: NodeIx, msg: Msg) {
        match msg {
            Msg::End(c, generation) => {
                if self.is_current(c, generation) && matches!(self.kids[c].st, St::Ended { .. }) {
                    self.cause = self.kids[c].incident;
                    self.ended_by_itself(n, c);
                }
            }
            Msg::Sick(c, generation) => {
                if self.is_current(c, generation)
                    && matches!(self.kids[c].st, St::Up { .. })
                    && !self.kids[c].is_sick()
                {
                    self.cause = self.kids[c].incident;
                    self.sick(n, c);
                }
            }
            Msg::Retry(path) => {
                if let Some(c) = self.places[path].child
                    && self.kids[c].node == n
                    && self.kids[c].st == (St::Pending { until: None })
                {
                    self.cause = self.kids[c].incident;
                    self.retry(n, c);
                }
            }
            Msg::Go(c, generation) => {
                if self.is_current(c, generation) {
                    self.cause = self.kids[c].incident;
                    self.go(n, c);
                }
            }
            Msg::Release => {
                self.cause = self.new_incident();
                self.released(n);
            }
            Msg::Apply(part) => self.apply_part(n, *part),
            Msg::Renew(renew) => {
                let (c, generation, ticket, incident) = *renew;
                if self.is_current(c, generation) {
                    self.cause = incident;
                    self.renew(n, c, ticket);
                }
            }
            Msg::Request(request) => {
                self.cause = request.incident;
                self.serve(n, *request);
            }
        }
    }

    pub(crate) fn is_current(&self, c: ChildIx, generation: Gen) -> bool {
        self.kids[c].generation == generation
    }

    /// The supervisor at a path, if one runs there.
    pub(crate) fn node_at(&self, path: PathId) -> Option<NodeIx> {
        if path == FOREST {
            return Some(FOREST_NODE);
        }
        self.places[path].child.and_then(|c| self.kids[c].sub)
    }

    pub(crate) fn reply(&mut self, id: ReqId, reply: Reply) {
        self.fx.push(Effect::Reply { id, reply });
    }

    /// Answers those who wait for this child; `of` tells whom.
    pub(crate) fn answer(&mut self, c: ChildIx, of: impl Fn(WaitOf) -> bool, reply: Reply) {
        let n = self.kids[c].node;
        if self.nodes[n].waiters.is_empty() {
            return;
        }
        let (mine, others) =
            std::mem::take(&mut self.nodes[n].waiters).into_iter().partition(|w| w.child == c && of(w.of));
        self.nodes[n].waiters = others;
        let mine: Vec<Waiter> = mine;
        for waiter in mine {
            self.reply(waiter.id, reply.clone());
        }
    }

    pub(crate) fn waits(&self, c: ChildIx, of: WaitOf) -> bool {
        self.node_of(c).waiters.iter().any(|w| w.child == c && w.of == of)
    }
}

/// Events name a generation; this is who has it.
impl Engine {
    pub(crate) fn child_of(&self, event: &Event) -> Option<ChildIx> {
        match event {
            Event::Started { generation }
            | Event::Ready { generation }
            | Event::Declined { generation }
            | Event::Failed { generation, .. }
            | Event::Ended { generation, .. }
            | Event::Sick { generation } => self.generations.get(generation).copied(),
            Event::Request { .. } | Event::Tick => None,
        }
    }
}
