//! Order by list: OTP's discipline. One operation at a time, one child at a time.
//!
//! Every operation, from the initial start to `terminate_child`, is one value: *stop these in reverse, start those in
//! order, then do this*. While something is between start and *started*, or is stopping, the mailbox is closed. While
//! only readiness is awaited it is open, and what is decided then is merged into the operation: the new group's
//! running members stop, then the new group and what was still to be started starts, and what the old one was for
//! still holds. An operation waits for readiness only if it has another child to start.
//!
//! A pool (`simple_one_for_one`) is listed too; at its end all instances are asked at once.

use crate::apply::{Swap, Ticket};
use crate::child::{ChildIx, St, Want};
use crate::effect::ErrorKind;
use crate::fact::{Incident, What};
use crate::node::{Msg, NodeIx, WaitOf};
use crate::spec::Strategy;
use crate::{Engine, Reason, Reply};

/// Children, taken from the end; a single one needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    first: Option<ChildIx>,
    more: Vec<ChildIx>,
}

impl Slots {
    pub fn one(c: ChildIx) -> Slots {
        Slots { first: Some(c), more: Vec::new() }
    }

    pub fn push(&mut self, c: ChildIx) {
        match self.first {
            None => self.first = Some(c),
            Some(_) => self.more.push(c),
        }
    }

    pub fn last(&self) -> Option<ChildIx> {
        self.more.last().copied().or(self.first)
    }

    pub fn pop(&mut self) -> Option<ChildIx> {
        self.more.pop().or_else(|| self.first.take())
    }

    pub fn len(&self) -> usize {
        self.more.len() + usize::from(self.first.is_some())
    }

    /// Whether it is among them; `seq` is the order in which, or against which, they stand.
    pub fn contains(&self, c: ChildIx, seq: impl Fn(ChildIx) -> u32) -> bool {
        let ascends = match (self.first, self.more.last()) {
            (Some(first), Some(&last)) => seq(first) < seq(last),
            _ => true,
        };
        self.first == Some(c)
            || self
                .more
                .binary_search_by(|&x| if ascends { seq(x).cmp(&seq(c)) } else { seq(c).cmp(&seq(x)) })
                .is_ok()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ChildIx> + '_ {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

impl FromIterator<ChildIx> for Slots {
    fn from_iter<I: IntoIterator<Item = ChildIx>>(children: I) -> Slots {
        let mut children = children.into_iter();
        Slots { first: children.next(), more: children.collect() }
    }
}

/// Stop these, start those, then.
#[derive(Debug, Default)]
pub(crate) struct Op {
    /// In start order: the last one stops first.
    pub stop: Slots,
    /// In reverse start order: the last one starts first.
    pub start: Slots,
    pub then: Then,
    pub incident: Incident,
    /// Between stop and start: the plans change places.
    pub swap: Option<Box<Swap>>,
    /// The apply it is part of.
    pub ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more: the initial start, a restart, a request.
    #[default]
    Rest,
    /// The supervisor ends.
    Die(Reason),
}

impl Op {
    /// Takes a child out of what is still to be done.
    pub fn forget(&mut self, c: ChildIx) {
        self.stop = self.stop.iter().filter(|&x| x != c).collect();
        self.start = self.start.iter().filter(|&x| x != c).collect();
    }
}

/// Where a supervisor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Waits for an outcome and takes no message.
    Closed,
    /// Waits for readiness only.
    Open,
    /// Nothing to do.
    Idle,
}

impl Engine {
    pub(crate) fn boot(&mut self, n: NodeIx, children: Vec<ChildIx>) {
        let start = children.into_iter().rev().collect();
        self.begin(n, Op { start, incident: self.cause, ..Op::default() });
    }

    /// Who has to stop or start is saved.
    fn touch_all(&mut self, op: &Op) {
        for c in op.stop.iter().chain(op.start.iter()) {
            self.touch(c);
        }
    }

    /// Carries the operation on as far as it goes.
    pub(crate) fn step(&mut self, n: NodeIx) -> Step {
        loop {
            let Some(op) = &self.nodes[n].op else { return Step::Idle };
            self.cause = op.incident;
            if let Some(c) = op.stop.last() {
                match self.kids[c].st {
                    St::Up { .. } | St::Starting => {
                        self.ask(c);
                        return Step::Closed;
                    }
                    St::Stopping { .. } => return Step::Closed,
                    st => {
                        self.pop_stop(n);
                        if let St::Ended { reason, .. } = st {
                            self.judge(c, reason);
                        }
                        self.put_down(c);
                    }
                }
            } else if op.swap.is_some() {
                let swap = self.nodes[n].op.as_mut().and_then(|op| op.swap.take());
                swap.into_iter().for_each(|swap| self.swap(n, *swap));
                if self.nodes[n].by_dependencies() {
                    return self.look_around(n);
                }
            } else if let Some(c) = op.start.last() {
                match self.kids[c].st {
                    St::Starting | St::Stopping { .. } => return Step::Closed,
                    St::Up { ready: false } if op.start.len() > 1 => return Step::Open,
                    St::Waiting if self.may_start(c) => self.start(c),
                    St::Waiting => {
                        self.pop_start(n);
                        self.set(c, St::Down);
                    }
                    _ => self.pop_start(n),
                }
            } else {
                if let Then::Die(reason) = op.then {
                    self.node_ended(n, reason);
                    return Step::Closed;
                }
                self.nodes[n].op = None;
            }
        }
    }

    /// What is held is started at a person's request only.
    pub(crate) fn may_start(&self, c: ChildIx) -> bool {
        !self.is_held(c) || self.is_wanted_by_hand(c)
    }

    fn pop_stop(&mut self, n: NodeIx) {
        if let Some(c) = self.nodes[n].op.as_mut().and_then(|op| op.stop.pop()) {
            self.touch(c);
            let time = self.stop_time(c);
            if let Some(deadline) = &mut self.nodes[n].deadline {
                deadline.left = deadline.left.saturating_sub(time);
            }
        }
    }

    fn pop_start(&mut self, n: NodeIx) {
        if let Some(c) = self.nodes[n].op.as_mut().and_then(|op| op.start.pop()) {
            self.touch(c);
        }
    }

    /// Begins an operation, or merges it into one that waits for readiness.
    pub(crate) fn begin(&mut self, n: NodeIx, mut op: Op) {
        self.touch_all(&op);
        if let Some(old) = self.nodes[n].op.take() {
            let mut start: Vec<ChildIx> = op.start.iter().chain(old.start.iter()).collect();
            start.sort_by_key(|&c| std::cmp::Reverse(self.kids[c].seq));
            start.dedup();
            let mut stop: Vec<ChildIx> = op.stop.iter().chain(old.stop.iter()).collect();
            stop.sort_by_key(|&c| self.kids[c].seq);
            stop.dedup();
            op = Op {
                stop: stop.into_iter().collect(),
                start: start.into_iter().collect(),
                then: old.then,
                swap: op.swap.or(old.swap),
                ticket: op.ticket.or(old.ticket),
                ..op
            };
        }
        self.nodes[n].op = Some(op);
        self.wake(n);
    }

    pub(crate) fn bring_up_listed(&mut self, n: NodeIx, c: ChildIx) {
        self.begin(n, Op { start: Slots::one(c), incident: self.cause, ..Op::default() });
    }

    pub(crate) fn bring_down_listed(&mut self, n: NodeIx, c: ChildIx) {
        self.begin(n, Op { stop: Slots::one(c), incident: self.cause, ..Op::default() });
    }

    /// Who restarts with `c`, `c` among them, in start order.
    pub(crate) fn group_listed(&self, n: NodeIx, c: ChildIx) -> Vec<ChildIx> {
        let seq = self.kids[c].seq;
        match self.nodes[n].sup.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => vec![c],
            Strategy::RestForOne => {
                let mut behind: Vec<ChildIx> =
                    self.children(n).rev().take_while(|&x| self.kids[x].seq > seq).collect();
                behind.push(c);
                behind.reverse();
                behind
            }
            Strategy::OneForAll => self.list_children(n),
        }
    }

    /// The group of `c` stops and, unless that waits for a back-off, starts again.
    pub(crate) fn restart_group_listed(&mut self, n: NodeIx, c: ChildIx, group: &[ChildIx], now: bool) {
        let mut stop = Slots::default();
        let mut start = Vec::new();
        for &x in group {
            if x != c && (self.is_held(x) || self.kids[x].st == St::Parked) {
                continue;
            }
            if self.kids[x].st.is_live() {
                stop.push(x);
                if x != c {
                    self.drag_along(x, c);
                }
            } else if now || x != c {
                self.disarm(x);
                self.set(x, St::Waiting);
            }
            self.kids[x].want = Want::Up;
            if x == c || !self.kids[x].is_temporary() {
                start.push(x);
            }
        }
        let start = if now { start.into_iter().rev().collect() } else { Slots::default() };
        self.begin(n, Op { stop, start, incident: self.cause, ..Op::default() });
    }

    /// As above for a group of one that is down: nothing is allocated.
    pub(crate) fn restart_alone(&mut self, n: NodeIx, c: ChildIx) {
        if self.kids[c].st != St::Waiting {
            self.disarm(c);
            self.set(c, St::Waiting);
        }
        self.kids[c].want = Want::Up;
        self.bring_up_listed(n, c);
    }

    /// The operation is replaced by stopping everything.
    pub(crate) fn stop_all(&mut self, n: NodeIx, reason: Reason) {
        let stop: Slots = self.children(n).filter(|&c| self.kids[c].st.is_live()).collect();
        if self.nodes[n].sup.is_pool() {
            for c in stop.iter() {
                if matches!(self.kids[c].st, St::Up { .. } | St::Starting) {
                    self.ask(c);
                }
            }
        }
        let op = Op { stop, then: Then::Die(reason), incident: self.cause, ..Op::default() };
        self.touch_all(&op);
        if let Some(old) = self.nodes[n].op.replace(op) {
            self.touch_all(&old);
        }
    }

    /// `c` is what the operation waits for.
    pub(crate) fn is_in_flight(&self, c: ChildIx) -> bool {
        self.node_of(c).op.as_ref().is_some_and(|op| op.stop.len() == 0 && op.start.last() == Some(c))
    }

    /// A start failed: what the rest of the operation becomes.
    pub(crate) fn shorten(&mut self, n: NodeIx, c: ChildIx) {
        let node = &mut self.nodes[n];
        let Some(op) = &mut node.op else { return };
        if matches!(node.sup.strategy, Strategy::OneForOne | Strategy::SimpleOneForOne) {
            op.forget(c);
        } else {
            // Those behind wait for the retry, which is the restart of the whole group; a person's start goes on, and so
            // does what another plan put in front of the one that failed.
            let goes_on =
                |x: &ChildIx| node.waiters.iter().any(|w| w.child == *x) || self.kids[*x].st == St::Starting;
            let kept = op.start.iter().filter(|x| *x != c && goes_on(x)).collect();
            let dropped = std::mem::replace(&mut op.start, kept);
            dropped.iter().for_each(|c| self.touch(c));
        }
    }

    /// A person stops a child that the operation is starting or still has to start: as if it had declined.
    pub(crate) fn cancel_start(&mut self, n: NodeIx, c: ChildIx) -> bool {
        let Some(op) = &self.nodes[n].op else { return false };
        if !op.start.iter().any(|x| x == c) {
            return false;
        }
        match self.kids[c].st {
            St::Starting | St::Up { ready: false } => self.ask_because(c, crate::child::Stop::Declined),
            St::Waiting | St::Pending { .. } | St::Down => {
                if let Some(op) = &mut self.nodes[n].op {
                    op.forget(c);
                }
                self.touch(c);
                self.answer(c, |of| of != WaitOf::Gone, Reply::Error(ErrorKind::Overtaken));
                self.put_down(c);
            }
            _ => return false,
        }
        self.wake(n);
        true
    }

    /// A hold was released: starts what would be up.
    pub(crate) fn released_listed(&mut self, n: NodeIx, children: Vec<ChildIx>) {
        let start = children.into_iter().rev().collect();
        self.begin(n, Op { start, incident: self.cause, ..Op::default() });
    }

    /// The message to try again goes to the end of the supervisor's own mailbox, so that others get their turn.
    pub(crate) fn try_again(&mut self, c: ChildIx) {
        self.set(c, St::Pending { until: None });
        let (n, path) = (self.kids[c].node, self.kids[c].path);
        self.post(n, Msg::Retry(path));
    }

    /// A sibling stops or starts because of `c`.
    pub(crate) fn drag_along(&mut self, x: ChildIx, c: ChildIx) {
        self.kids[x].incident = self.cause;
        let with = self.kids[c].path;
        self.fact(x, What::DraggedAlong { with });
    }
}
