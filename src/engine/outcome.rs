//! Outcomes: what a start, a child and a supervisor report back, in any order and at any moment.
//!
//! Two outcomes of a start: *started* (the program runs; OTP's start function returned) and *ready*. A child that ends
//! between the two has failed to start, a one-shot has done its work. An outcome that does not fit the state of its
//! generation is dropped.

use crate::child::{ChildIx, St, Stop, Want};
use crate::effect::{Effect, ErrorKind};
use crate::event::{Exit, FailedStart, Gen};
use crate::fact::What;
use crate::node::{Msg, Node, Phase, WaitOf};
use crate::plan::ItemKind;
use crate::restart::{self, Verdict};
use crate::spec::{Ends, InitialStart, Worker};
use crate::time::Time;
use crate::timers::Alarm;
use crate::{Engine, Reason, Reply};
use std::time::Duration;

/// How the ends of a worker are read that says nothing about them.
static PLAIN: Ends = Ends { success: Vec::new(), prevent: Vec::new(), force: Vec::new(), stop_signal: 0 };

impl Engine {
    /// A start attempt goes out.
    pub(crate) fn start(&mut self, c: ChildIx) {
        self.disarm(c);
        let generation = self.new_generation();
        self.generations.insert(generation, c);
        let child = &mut self.kids[c];
        child.generation = generation;
        child.incident = self.cause;
        child.want = Want::Up;
        child.key = child.wanted_key;
        let path = child.path;
        child.past.generation = generation;
        let first = !std::mem::replace(&mut child.past.started, true);
        self.set(c, St::Starting);
        self.fact(c, What::Starting);
        let child = &mut self.kids[c];
        if child.traits.plain {
            self.fx.push(Effect::Start { generation, path, key: child.key, first });
            return;
        }
        match &child.item.kind {
            ItemKind::Worker(_) => {
                self.fx.push(Effect::Start { generation, path, key: child.key, first });
                self.limit_start(c);
            }
            ItemKind::Supervisor(sup) => {
                let node = Node::new(Some(c), path, sup.clone(), Phase::Opening);
                child.sub = Some(self.nodes.add(node));
                self.fx.push(Effect::Open { generation, path });
                if self.is_tree(c) {
                    self.forget_tree_end(c);
                }
            }
        }
    }

    /// How long it may take until it is ready, or done.
    pub(crate) fn limit_start(&mut self, c: ChildIx) {
        let Some(worker) = self.kids[c].worker() else { return };
        let limit =
            if worker.oneshot { min(worker.runtime_max, worker.ready.within) } else { worker.ready.within };
        if let Some(limit) = limit {
            self.arm(c, self.now + limit, Alarm::TooLate(c));
        }
    }

    pub(crate) fn started(&mut self, c: ChildIx) {
        let st = self.kids[c].st;
        if let Some(n) = self.kids[c].sub {
            if self.nodes[n].phase == Phase::Opening {
                self.fact(c, What::Started);
                self.cause = self.kids[c].incident;
                if matches!(st, St::Stopping { .. }) {
                    self.node_ended(n, Reason::Shutdown);
                } else {
                    self.opened(n);
                }
            }
            return;
        }
        if st == St::Starting {
            self.has_started(c, true);
        }
    }

    /// A worker was executed; `first`: that has not been recorded yet.
    pub(crate) fn has_started(&mut self, c: ChildIx, first: bool) {
        if first {
            self.fact(c, What::Started);
        }
        if self.kids[c].traits.plain {
            self.became_ready(c);
            return;
        }
        let Some(worker) = self.kids[c].worker() else { return };
        let settle = worker.ready.settle;
        let waits = worker.ready.probe || worker.oneshot;
        if !waits && settle.is_zero() {
            self.disarm(c);
            self.became_ready(c);
        } else {
            self.set(c, St::Up { ready: false });
            if !waits {
                self.arm(c, self.now + settle, Alarm::Settled(c));
            }
        }
    }

    pub(crate) fn ready(&mut self, c: ChildIx) {
        if self.kids[c].st == St::Starting {
            self.started(c);
        }
        let Some(Worker { oneshot: false, ready, .. }) = self.kids[c].worker() else { return };
        if self.kids[c].st != (St::Up { ready: false }) || !ready.probe {
            return;
        }
        let settle = ready.settle;
        if settle.is_zero() {
            self.disarm(c);
            self.became_ready(c);
        } else {
            self.arm(c, self.now + settle, Alarm::Settled(c));
        }
    }

    /// A latch per generation: nothing but an end takes it back.
    pub(crate) fn became_ready(&mut self, c: ChildIx) {
        self.kids[c].at = self.now;
        self.set(c, St::Up { ready: true });
        self.fact(c, What::Ready);
        self.answer(c, |of| of != WaitOf::Gone, Reply::Ok);
    }

    /// OTP's `ignore`.
    pub(crate) fn declined(&mut self, c: ChildIx) {
        self.generations.remove(&self.kids[c].generation);
        self.forget_unopened(c);
        self.fact(c, What::Declined);
        match self.kids[c].st {
            St::Starting | St::Up { ready: false } => self.done(c, Reply::Ignored),
            St::Stopping { .. } => self.child_down(c, Reason::Shutdown),
            _ => {}
        }
    }

    /// Did its work, or declined to do it. No process and not an error: the specification stays.
    fn done(&mut self, c: ChildIx, reply: Reply) {
        self.disarm(c);
        self.answer(c, |of| of != WaitOf::Gone, reply);
        self.answer(c, |of| of == WaitOf::Gone, Reply::Ok);
        self.kids[c].at = self.now;
        self.set(c, St::Done);
        if self.is_tree(c) {
            self.tree_ended(c);
        } else if self.is_dropped_when_down(c) {
            self.leave_op(c);
            self.drop_child(c);
        }
    }

    fn leave_op(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        if let Some(op) = &mut self.nodes[n].op {
            op.forget(c);
        }
    }

    pub(crate) fn failed(&mut self, c: ChildIx, why: FailedStart) {
        if !matches!(self.kids[c].st, St::Starting | St::Up { ready: false } | St::Stopping { .. }) {
            return;
        }
        if self.kids[c].sub.is_some_and(|n| self.nodes[n].phase != Phase::Opening) {
            return;
        }
        self.generations.remove(&self.kids[c].generation);
        self.forget_unopened(c);
        if let St::Stopping { .. } = self.kids[c].st {
            self.child_down(c, Reason::Shutdown);
        } else {
            self.start_failed(c, why);
        }
    }

    /// A supervisor that did not even open has a record nobody knows of.
    fn forget_unopened(&mut self, c: ChildIx) {
        let Some(n) = self.kids[c].sub.filter(|&n| self.nodes[n].phase == Phase::Opening) else { return };
        self.kids[c].sub = None;
        let node = &mut self.nodes[n];
        node.phase = Phase::Gone;
        for msg in std::mem::take(&mut node.mail) {
            if let Msg::Request(request) = msg {
                self.reply(request.id, Reply::Error(ErrorKind::Noproc));
            }
        }
        self.nodes.free(n);
    }

    /// The start of `c` failed and nothing of it runs: who waited decides what follows.
    pub(crate) fn start_failed(&mut self, c: ChildIx, why: FailedStart) {
        let n = self.kids[c].node;
        self.disarm(c);
        self.unmark(c);
        self.kids[c].at = self.now;
        self.fact(c, What::StartFailed { why });
        let error = Reply::Error(ErrorKind::StartFailed);
        if self.nodes[n].is_ending() {
            self.set(c, St::Down);
        } else if self.is_tree(c) {
            self.set(c, St::Down);
            self.answer(c, |of| of != WaitOf::Gone, error);
            self.tree_ended(c);
        } else if self.waits(c, WaitOf::Add) {
            self.answer(c, |_| true, error);
            self.leave_op(c);
            self.drop_child(c);
        } else if self.waits(c, WaitOf::Back) {
            self.answer(c, |_| true, error);
            self.leave_op(c);
            self.kids[c].want = Want::Down;
            self.set(c, St::Down);
        } else {
            self.answer(c, |_| true, error);
            self.fact(c, What::ReportStartError);
            self.start_failed_in_operation(c);
        }
        self.wake(n);
    }

    fn start_failed_in_operation(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        if self.is_initial(c) && self.nodes[n].sup.initial_start == InitialStart::Fail {
            self.set(c, St::Down);
            self.end_node(n, Reason::FailedStart);
            return;
        }
        self.shorten(n, c);
        if self.kids[c].is_temporary() {
            self.leave_op(c);
            self.drop_child(c);
        } else if self.is_held(c) {
            self.set(c, St::Down);
        } else {
            self.try_again(c);
        }
    }

    /// Its supervisor is not up yet, and it has not been.
    fn is_initial(&self, c: ChildIx) -> bool {
        self.node_of(c).phase == Phase::Boot && !self.kids[c].was_ready
    }

    /// A process or task, or with `parks` a supervisor that gave up, is gone.
    pub(crate) fn child_ended(&mut self, c: ChildIx, exit: Exit, parks: Option<Option<Time>>) {
        let st = self.kids[c].st;
        let n = self.kids[c].node;
        let (asked, killed, late) = match st {
            St::Stopping { killed, why } => (true, killed, why == Stop::TooLate),
            _ => (false, false, false),
        };
        if !st.is_live() || matches!(st, St::Ended { .. }) {
            return;
        }
        let generation = self.kids[c].generation;
        self.generations.remove(&generation);
        self.disarm(c);
        let ends = match self.kids[c].traits.plain && !asked {
            true => Some(&PLAIN),
            false => self.kids[c].worker().map(|w| &w.ends),
        };
        let reason = match (exit, ends) {
            _ if late => Reason::NotReady,
            (Exit::Reason(reason), _) => reason,
            (exit, Some(ends)) => {
                restart::reason_of(exit, ends, !matches!(st, St::Starting | St::Up { .. }), killed)
            }
            (_, None) => Reason::Crash,
        };
        if st == (St::Up { ready: true }) && !self.kids[c].is_supervisor() {
            self.kids[c].incident = self.new_incident();
        }
        self.rest_if_quiet(c);
        self.kids[c].at = self.now;
        let past = &mut self.kids[c].past;
        (past.exit, past.reason) = (Some(exit), Some(reason));
        self.fact(c, What::Ended { exit, reason, asked });
        if let Some(until) = parks {
            self.set(c, St::Ended { reason, early: false });
            self.park(c, until);
            return;
        }
        match st {
            St::Stopping { why: Stop::Asked, .. } => self.child_down(c, reason),
            St::Stopping { why: Stop::Declined, .. } => self.done(c, Reply::Ignored),
            St::Stopping { why: Stop::TooLate, .. } => {
                if self.is_initial(c) || self.is_in_flight(c) || self.nodes[n].is_ending() {
                    self.start_failed(c, FailedStart::TooLate);
                } else {
                    self.set(c, St::Ended { reason, early: false });
                    self.post(n, Msg::End(c, generation));
                }
            }
            St::Up { ready: true } => {
                self.set(c, St::Ended { reason, early: false });
                self.post(n, Msg::End(c, generation));
            }
            _ => self.ended_before_ready(c, exit, reason, generation),
        }
    }

    fn ended_before_ready(&mut self, c: ChildIx, exit: Exit, reason: Reason, generation: Gen) {
        let n = self.kids[c].node;
        let worker = self.kids[c].worker();
        let is_done = worker.is_some_and(|w| w.oneshot)
            && matches!(reason, Reason::Normal | Reason::Shutdown | Reason::ShutdownTerm);
        let prevented = worker.is_some_and(|w| {
            restart::verdict(self.kids[c].item.restart, reason, exit, Some(&w.ends)) == Verdict::Park
        });
        if is_done {
            self.fact(c, What::Done);
            self.done(c, Reply::Ok);
        } else if self.nodes[n].is_ending() {
            self.set(c, St::Down);
        } else if prevented {
            self.set(c, St::Ended { reason, early: true });
            self.park(c, None);
        } else if self.is_in_flight(c) || self.kids[c].mark {
            let why =
                if self.kids[c].is_supervisor() { FailedStart::Child } else { FailedStart::Ended(exit) };
            if self.kids[c].mark { self.child_down(c, reason) } else { self.start_failed(c, why) }
        } else {
            self.set(c, St::Ended { reason, early: true });
            self.post(n, Msg::End(c, generation));
        }
    }

    /// Was asked to stop, and has: the discipline judges it when its turn comes.
    pub(crate) fn child_down(&mut self, c: ChildIx, reason: Reason) {
        self.set(c, St::Ended { reason, early: false });
        let n = self.kids[c].node;
        self.wake(n);
    }

    /// *Not ready in time*: it is never left running. One that is going to be stopped anyway is asked in its turn.
    pub(crate) fn too_late(&mut self, c: ChildIx) {
        let node = self.node_of(c);
        let goes = node.is_ending()
            || self.kids[c].mark
            || node.op.as_ref().is_some_and(|op| op.stop.iter().any(|x| x == c));
        if !goes && matches!(self.kids[c].st, St::Starting | St::Up { ready: false }) {
            self.cause = self.kids[c].incident;
            self.ask_because(c, Stop::TooLate);
        }
    }

    /// A health check failed: the supervisor looks at it in its turn, once.
    pub(crate) fn reported_sick(&mut self, c: ChildIx) {
        let child = &self.kids[c];
        if matches!(child.st, St::Up { .. }) && child.worker().is_some() && !child.is_sick() {
            self.kids[c].incident = self.new_incident();
            self.fact(c, What::Sick);
            let (n, generation) = (self.kids[c].node, self.kids[c].generation);
            self.post(n, Msg::Sick(c, generation));
        }
    }

    /// Up without a break for `reset_after`: the back-off begins anew.
    fn rest_if_quiet(&mut self, c: ChildIx) {
        let child = &mut self.kids[c];
        if let (Some(beyond), Some(backoff)) = (&mut child.beyond, &child.item.backoff)
            && child.st == (St::Up { ready: true })
            && self.now.since(child.at) >= backoff.reset_after
        {
            beyond.n = 0;
        }
    }
}

fn min(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
