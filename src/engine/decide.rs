//! Decisions: what follows from an end by itself.
//!
//! One pipeline for every restart: *decide* (matrix, count, give up?) → *stop the group* → *wait for the delay* →
//! *start the group*. A restart counts when the end, or the message to try again, is looked at, and never again when
//! its delay is over. The end of a supervisor is looked at by its parent like any other: escalation is no channel of
//! its own.

use crate::child::{ChildIx, St, Stop, Traits, Want};
use crate::effect::{ErrorKind, TreeEnd};
use crate::event::{Exit, FailedStart};
use crate::fact::What;
use crate::node::{FOREST_NODE, Msg, NodeIx, WaitOf};
use crate::restart::{self, Verdict};
use crate::spec::{AutoShutdown, Exhausted, Limit, Restart, Strategy};
use crate::time::Time;
use crate::timers::Alarm;
use crate::{Engine, Reason, Reply};
use std::time::Duration;

impl Engine {
    /// The turn of a child's end has come.
    pub(crate) fn ended_by_itself(&mut self, n: NodeIx, c: ChildIx) {
        let St::Ended { reason, early } = self.kids[c].st else { return };
        let exit = self.kids[c].past.exit.unwrap_or(Exit::Unknown);
        if n == FOREST_NODE && !early {
            self.set(c, St::Down);
            self.tree_ended(c);
            return;
        }
        let Traits { restart, plain, .. } = self.kids[c].traits;
        let ends = if plain { None } else { self.kids[c].worker().map(|w| &w.ends) };
        let verdict = restart::verdict(restart, reason, exit, ends);
        if self.is_held(c) {
            self.ended_while_held(c, early || verdict == Verdict::Restart);
            return;
        }
        if early {
            let why =
                if self.kids[c].is_supervisor() { FailedStart::Child } else { FailedStart::Ended(exit) };
            self.start_failed(c, why);
            return;
        }
        if restart == Restart::Permanent || !reason.is_calm() {
            self.fact(c, What::ReportChildTerminated { reason });
        }
        match verdict {
            Verdict::Restart => self.count_restart(n, c),
            Verdict::Park => self.park(c, None),
            Verdict::Stay => self.stays_down(n, c, exit),
        }
    }

    /// Recorded; nothing is counted, nothing follows. A release starts it if it would have been restarted.
    fn ended_while_held(&mut self, c: ChildIx, would_restart: bool) {
        self.answer(c, |_| true, Reply::Error(ErrorKind::Held));
        if self.is_dropped_when_down(c) && !would_restart {
            self.drop_child(c);
        } else {
            self.kids[c].want = if would_restart { Want::Up } else { Want::Down };
            self.set(c, St::Down);
        }
    }

    fn stays_down(&mut self, n: NodeIx, c: ChildIx, exit: Exit) {
        self.kids[c].want = Want::Down;
        self.set(c, St::Down);
        let essential = self.kids[c].worker().is_some_and(|w| w.essential);
        let shuts_down = self.is_last_significant(n, c);
        if shuts_down {
            self.fact(c, What::AutoShutdown);
        }
        let tree = self.tree_of(n);
        if self.is_dropped_when_down(c) {
            self.drop_child(c);
        }
        if essential {
            self.stop_tree(tree, TreeEnd::Essential(exit));
        } else if shuts_down {
            self.end_node(n, Reason::Shutdown);
        }
    }

    fn is_last_significant(&self, n: NodeIx, c: ChildIx) -> bool {
        self.kids[c].traits.significant
            && match self.nodes[n].sup.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => self.nodes[n].live_significant == 0,
            }
    }

    /// A health check failed: decided as an abnormal end now, but the child still has to be stopped.
    pub(crate) fn sick(&mut self, n: NodeIx, c: ChildIx) {
        if self.is_held(c) || n == FOREST_NODE {
            return;
        }
        self.kids[c].beyond().sick = self.kids[c].generation;
        self.touch(c);
        self.fact(c, What::ReportChildTerminated { reason: Reason::Sick });
        if self.kids[c].is_temporary() {
            self.kids[c].want = Want::Down;
            self.bring_down(c);
        } else {
            self.count_restart(n, c);
        }
    }

    /// A restart failed and the message to try again has come up.
    pub(crate) fn retry(&mut self, n: NodeIx, c: ChildIx) {
        if self.is_held(c) {
            self.set(c, St::Down);
        } else {
            self.count_restart(n, c);
        }
    }

    /// A back-off is over, or a parked child's time: not counted again.
    pub(crate) fn go(&mut self, n: NodeIx, c: ChildIx) {
        match self.kids[c].st {
            St::Pending { until: Some(_) } if self.is_held(c) => self.set(c, St::Down),
            St::Pending { until: Some(_) } => self.restart_group(n, c, false),
            St::Parked if !self.is_held(c) => self.unpark(c),
            _ => {}
        }
    }

    fn count_restart(&mut self, n: NodeIx, c: ChildIx) {
        let plain = self.kids[c].traits.plain;
        let own = if plain { None } else { self.kids[c].worker().and_then(|w| w.limit.clone()) };
        let node = &mut self.nodes[n];
        let (count, intensity, period) = match &own {
            Some(limit) => {
                let window = &mut self.kids[c].beyond().window;
                (window.add(self.now, limit.period), limit.intensity, limit.period)
            }
            None => {
                self.places.touch(node.path);
                (node.window.add(self.now, node.sup.period), node.sup.intensity, node.sup.period)
            }
        };
        if count > intensity {
            self.exceeded(n, c, own);
            return;
        }
        let delay = self.next_delay(c);
        let (alone, many);
        let group: &[ChildIx] = if self.is_restarted_alone(n) {
            alone = [c];
            &alone
        } else {
            many = self.group(n, c);
            &many
        };
        let others = group.len() as u32 - 1;
        let strategy = self.nodes[n].sup.strategy;
        self.kids[c].incident = self.cause;
        self.fact(c, What::Restart { strategy, others, count, intensity, period, own_limit: own.is_some() });
        self.restart_after(n, c, group, delay);
    }

    fn exceeded(&mut self, n: NodeIx, c: ChildIx, own: Option<Limit>) {
        let then = own.as_ref().map_or(self.nodes[n].sup.exhausted, |limit| limit.exhausted);
        self.fact(c, What::LimitExceeded { then, own_limit: own.is_some() });
        match own {
            Some(Limit { exhausted: Exhausted::Park, retry_after, .. }) => {
                let until = retry_after.map(|after| self.now + after);
                self.park(c, until);
            }
            _ => self.give_up(n, c),
        }
    }

    /// OTP: the restart that was one too many is not carried out; what remains stops, and the supervisor ends.
    fn give_up(&mut self, n: NodeIx, c: ChildIx) {
        if !self.kids[c].st.is_live() || matches!(self.kids[c].st, St::Ended { .. }) {
            self.set(c, St::Down);
        }
        self.nodes[n].gave_up = Some(self.nodes[n].sup.exhausted);
        self.end_node(n, Reason::Shutdown);
    }

    fn next_delay(&mut self, c: ChildIx) -> Duration {
        if self.kids[c].traits.plain {
            return Duration::ZERO;
        }
        let n = self.kids[c].beyond.as_ref().map_or(0, |b| b.n);
        let Some(backoff) = &self.kids[c].item.backoff else { return Duration::ZERO };
        let tree = self.tree_of(self.kids[c].node);
        let salt = restart::salt(self.seed_of(tree), &self.places.spell(self.kids[c].path));
        let delay = restart::delay(backoff, n, salt);
        self.kids[c].beyond().n = n.saturating_add(1);
        delay
    }

    /// The group stops at once; it starts when it is down and the delay is over, which runs from the end of the process.
    fn restart_after(&mut self, n: NodeIx, c: ChildIx, group: &[ChildIx], delay: Duration) {
        let until = self.kids[c].at + delay;
        let lives = matches!(self.kids[c].st, St::Up { .. });
        if delay.is_zero() || (!lives && until <= self.now) {
            self.carry_out(n, c, group, true);
            return;
        }
        let nth = self.kids[c].beyond().n.saturating_sub(1);
        self.kids[c].want = Want::Up;
        if lives {
            self.kids[c].beyond().delay = delay;
            self.fact(c, What::Backoff { until: self.now + delay, n: nth });
        } else {
            self.set(c, St::Pending { until: Some(until) });
            self.arm(c, until, Alarm::Go(c));
            self.fact(c, What::Backoff { until, n: nth });
            if group.len() == 1 {
                return;
            }
        }
        self.carry_out(n, c, group, false);
    }

    /// The restart of the group of `c`, decided and counted before, or not to be counted.
    pub(crate) fn restart_group(&mut self, n: NodeIx, c: ChildIx, only: bool) {
        let group = if only { vec![c] } else { self.group(n, c) };
        self.carry_out(n, c, &group, true);
    }

    fn carry_out(&mut self, n: NodeIx, c: ChildIx, group: &[ChildIx], now: bool) {
        self.kids[c].incident = self.cause;
        if let St::Ended { .. } = self.kids[c].st {
            self.set(c, St::Waiting);
        }
        for &x in group {
            let child = &mut self.kids[x];
            child.past.restarts += u32::from(x == c || child.st.is_live());
            self.touch(x);
        }
        if self.nodes[n].by_dependencies() {
            self.restart_group_by_dependencies(n, c, group, now);
        } else if group.len() == 1 && now && !self.kids[c].st.is_live() {
            self.restart_alone(n, c);
        } else {
            self.restart_group_listed(n, c, group, now);
        }
    }

    fn is_restarted_alone(&self, n: NodeIx) -> bool {
        matches!(self.nodes[n].sup.strategy, Strategy::OneForOne | Strategy::SimpleOneForOne)
    }

    fn group(&self, n: NodeIx, c: ChildIx) -> Vec<ChildIx> {
        if self.is_restarted_alone(n) {
            vec![c]
        } else if self.nodes[n].by_dependencies() {
            self.group_by_dependencies(n, c)
        } else {
            self.group_listed(n, c)
        }
    }

    /// Down until a person or a time. It sticks to the path, whatever happens above.
    pub(crate) fn park(&mut self, c: ChildIx, until: Option<Time>) {
        let n = self.kids[c].node;
        self.answer(c, |_| true, Reply::Error(ErrorKind::StartFailed));
        if self.nodes[n].is_ending() {
            self.set(c, St::Down);
            return;
        }
        if matches!(self.kids[c].st, St::Up { .. }) {
            // Sick, and not to be restarted: it stops first.
            self.places.stick(self.kids[c].path, |s| s.parked = Some(until));
            self.kids[c].want = Want::Down;
            self.bring_down(c);
            return;
        }
        let path = self.kids[c].path;
        self.disarm(c);
        self.places.stick(path, |s| s.parked = Some(until));
        self.unmark(c);
        self.set(c, St::Parked);
        self.fact(c, What::Parked { until });
        if let Some(until) = until {
            self.arm(c, until, Alarm::Unpark(c));
        }
        if self.is_last_significant(n, c) {
            self.fact(c, What::AutoShutdown);
            self.end_node(n, Reason::Shutdown);
        }
        self.wake(n);
    }

    /// Its time is over or a person wants it: started, uncounted, its account empty.
    pub(crate) fn unpark(&mut self, c: ChildIx) {
        let path = self.kids[c].path;
        self.places.stick(path, |s| s.parked = None);
        self.disarm(c);
        if let Some(beyond) = &mut self.kids[c].beyond {
            beyond.window.clear();
            beyond.n = 0;
        }
        self.set(c, St::Waiting);
        self.bring_up(c);
    }

    /// Starts a child that is down, as an operation of its own.
    pub(crate) fn bring_up(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        self.disarm(c);
        self.kids[c].want = Want::Up;
        self.set(c, St::Waiting);
        if !self.nodes[n].by_dependencies() {
            self.bring_up_listed(n, c);
        }
    }

    /// Stops a child and leaves it where its `want` says.
    pub(crate) fn bring_down(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        if self.nodes[n].is_ending() {
            return;
        }
        if self.nodes[n].by_dependencies() {
            self.bring_down_by_dependencies(c);
        } else {
            self.bring_down_listed(n, c);
        }
    }

    /// A hold was released: starts, in order, what ended meanwhile and would have been restarted, and tries what was
    /// parked if its time has come.
    pub(crate) fn released(&mut self, n: NodeIx) {
        let down: Vec<ChildIx> = self
            .children(n)
            .filter(|&c| self.kids[c].st == St::Down && self.kids[c].want == Want::Up && !self.is_held(c))
            .collect();
        for &c in &down {
            self.set(c, St::Waiting);
        }
        let overdue =
            |c: &ChildIx| self.places[self.kids[*c].path].parked().flatten().is_some_and(|at| at <= self.now);
        let parked: Vec<ChildIx> = self
            .children(n)
            .filter(|c| self.kids[*c].st == St::Parked && !self.is_held(*c))
            .filter(overdue)
            .collect();
        for c in parked {
            self.unpark(c);
        }
        if !self.nodes[n].by_dependencies() && !down.is_empty() {
            self.released_listed(n, down);
        }
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::TooLate(c) => self.too_late(c),
            Alarm::Settled(c) => {
                if self.kids[c].st == (St::Up { ready: false }) {
                    self.became_ready(c);
                }
            }
            Alarm::Kill(c) => self.stop_time_over(c),
            Alarm::Stuck(c) => self.stuck(c),
            Alarm::Sweep(c) => self.sweep(c),
            Alarm::Go(c) | Alarm::Unpark(c) => {
                let (n, generation) = (self.kids[c].node, self.kids[c].generation);
                self.post(n, Msg::Go(c, generation));
            }
            Alarm::Release(path) => self.release(path),
        }
    }

    /// A restart by a person: the group of a crash, uncounted.
    pub(crate) fn restart_by_hand(&mut self, n: NodeIx, c: ChildIx, only: bool) {
        let strategy = self.nodes[n].sup.strategy;
        let group = if only { vec![c] } else { self.group(n, c) };
        let (others, intensity, period) =
            (group.len() as u32 - 1, self.nodes[n].sup.intensity, self.nodes[n].sup.period);
        self.kids[c].incident = self.cause;
        self.fact(c, What::Restart { strategy, others, count: 0, intensity, period, own_limit: false });
        self.carry_out(n, c, &group, true);
    }

    pub(crate) fn is_wanted_by_hand(&self, c: ChildIx) -> bool {
        [WaitOf::Add, WaitOf::Back, WaitOf::Start].iter().any(|&of| self.waits(c, of))
    }

    pub(crate) fn is_being_cancelled(&self, c: ChildIx) -> bool {
        matches!(self.kids[c].st, St::Stopping { why: Stop::Declined, .. })
    }
}
