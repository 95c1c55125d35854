//! Stopping: two rungs, ask and kill, with one deadline between; the deadline of a whole subtree; what counts as a
//! proper end.
//!
//! A supervisor's `shutdown` is the deadline of everything below it. A child that is asked is given
//! `shutdown × min(1, remaining / L)`, L being the shutdown times of the longest chain from it through those that stop
//! after it (`infinity` counts as the whole deadline), so that the first hang leaves something for the last in line.
//! At the deadline all that is left is killed in one sweep.

use crate::child::{ChildIx, St, Stop, Want};
use crate::effect::{Effect, TreeEnd};
use crate::fact::What;
use crate::node::{Deadline, FOREST_NODE, NodeIx, WaitOf};
use crate::spec::Shutdown;
use crate::time::Time;
use crate::timers::Alarm;
use crate::{Engine, Reason, Reply};
use std::collections::HashMap;
use std::time::Duration;

/// A kill is repeated so often while something does not die.
pub(crate) const STUCK: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) fn ask(&mut self, c: ChildIx) {
        self.ask_because(c, Stop::Asked);
    }

    pub(crate) fn ask_because(&mut self, c: ChildIx, why: Stop) {
        if why == Stop::Asked {
            self.kids[c].incident = self.cause;
        }
        let within = self.time_to_stop(c);
        if within == Some(Duration::ZERO) && self.kids[c].shutdown() == Shutdown::BrutalKill {
            if let Some(sub) = self.kids[c].sub {
                self.set(c, St::Stopping { why, killed: true });
                self.end_node(sub, Reason::Killed);
                self.sweep(c);
            } else {
                self.kill(c, why);
            }
            return;
        }
        self.fact(c, What::Asked { within });
        self.set(c, St::Stopping { why, killed: false });
        self.disarm(c);
        if let Some(sub) = self.kids[c].sub {
            if let Some(within) = within {
                self.nodes[sub].deadline = Some(Deadline::new(self.now, within));
                self.arm(c, self.now + within, Alarm::Sweep(c));
            }
            self.end_node(sub, Reason::Shutdown);
        } else {
            let generation = self.kids[c].generation;
            self.fx.push(Effect::Ask { generation, within });
            if let Some(within) = within {
                self.arm(c, self.now + within, Alarm::Kill(c));
            }
        }
    }

    /// Kills everything of a worker, again every second until it is gone.
    pub(crate) fn kill(&mut self, c: ChildIx, why: Stop) {
        self.set(c, St::Stopping { why, killed: true });
        self.fact(c, What::Killed);
        let generation = self.kids[c].generation;
        self.fx.push(Effect::Kill { generation });
        self.arm(c, self.now + STUCK, Alarm::Stuck(c));
    }

    /// The time to stop is over.
    pub(crate) fn stop_time_over(&mut self, c: ChildIx) {
        if let St::Stopping { why, killed: false } = self.kids[c].st {
            self.kill(c, why);
        }
    }

    pub(crate) fn stuck(&mut self, c: ChildIx) {
        if let St::Stopping { killed: true, .. } = self.kids[c].st {
            self.fact(c, What::Stuck);
            let generation = self.kids[c].generation;
            self.fx.push(Effect::Kill { generation });
            self.arm(c, self.now + STUCK, Alarm::Stuck(c));
        }
    }

    /// The deadline of a subtree: everything left in it is killed.
    pub(crate) fn sweep(&mut self, c: ChildIx) {
        let Some(n) = self.kids[c].sub else { return };
        for x in self.list_children(n) {
            let st = self.kids[x].st;
            match (st, self.kids[x].sub) {
                (St::Ended { .. }, _) => {}
                (_, Some(sub)) if st.is_live() => {
                    if !matches!(st, St::Stopping { .. }) {
                        self.set(x, St::Stopping { why: Stop::Asked, killed: true });
                    }
                    self.disarm(x);
                    self.end_node(sub, Reason::Shutdown);
                    self.sweep(x);
                }
                (St::Stopping { killed: true, .. }, None) => {}
                (St::Stopping { why, .. }, None) => self.kill(x, why),
                (St::Starting | St::Up { .. }, None) => self.kill(x, Stop::Asked),
                _ => {}
            }
        }
    }

    /// How long `c` is given; `None`: for ever.
    fn time_to_stop(&self, c: ChildIx) -> Option<Duration> {
        let own = match self.kids[c].shutdown() {
            Shutdown::BrutalKill => return Some(Duration::ZERO),
            Shutdown::Time(time) => Some(time),
            Shutdown::Infinity => None,
        };
        let node = self.node_of(c);
        let Some(deadline) = node.deadline.as_ref().filter(|_| node.is_ending()) else { return own };
        let own = own.unwrap_or(deadline.whole);
        let remaining = Duration::from_millis(deadline.end.0.saturating_sub(self.now.0));
        let chain = if node.sup.is_pool() { own } else { deadline.chain(c) };
        if chain <= remaining || chain.is_zero() {
            return Some(own.min(remaining));
        }
        Some(own.mul_f64(remaining.as_secs_f64() / chain.as_secs_f64()))
    }

    /// The shutdown time of `c` as a link of a chain.
    pub(crate) fn stop_time(&self, c: ChildIx) -> Duration {
        match (self.kids[c].shutdown(), &self.node_of(c).deadline) {
            (Shutdown::BrutalKill, _) | (_, None) => Duration::ZERO,
            (Shutdown::Time(time), _) => time,
            (Shutdown::Infinity, Some(deadline)) => deadline.whole,
        }
    }

    /// A supervisor begins to end: its deadline is set and shared out.
    pub(crate) fn share_out(&mut self, n: NodeIx) {
        if self.nodes[n].deadline.is_none()
            && let Some(c) = self.nodes[n].child
            && let Some(time) = self.deadline_of(c)
        {
            self.nodes[n].deadline = Some(Deadline::new(self.now, time));
            self.arm(c, self.now + time, Alarm::Sweep(c));
        }
        if self.nodes[n].deadline.is_none() {
            return;
        }
        let live: Vec<ChildIx> = self.children(n).filter(|&c| self.kids[c].st.is_live()).collect();
        let mut chains = HashMap::new();
        if self.nodes[n].by_dependencies() {
            for &c in &live {
                self.chain(c, &mut chains);
            }
        }
        let left = live.iter().map(|&c| self.stop_time(c)).sum();
        if let Some(deadline) = &mut self.nodes[n].deadline {
            deadline.left = left;
            deadline.chains = chains;
        }
    }

    /// The rest of the time it had.
    pub(crate) fn restore_deadline(&mut self, n: NodeIx, end: Time) {
        let whole = self.nodes[n].child.and_then(|c| self.deadline_of(c));
        let whole = whole.unwrap_or_else(|| end.since(self.now));
        self.nodes[n].deadline = Some(Deadline { end, ..Deadline::new(self.now, whole) });
    }

    fn deadline_of(&self, c: ChildIx) -> Option<Duration> {
        match self.kids[c].shutdown() {
            Shutdown::Time(time) => Some(time),
            Shutdown::BrutalKill | Shutdown::Infinity => None,
        }
    }

    /// Longest chain from `c` through what it is `after`, which stops later. An explicit stack: graphs may be deep.
    fn chain(&self, c: ChildIx, chains: &mut HashMap<ChildIx, Duration>) {
        let mut stack = vec![c];
        while let Some(&x) = stack.last() {
            let after = self.kids[x].edges.as_ref().map(|e| e.after.as_slice()).unwrap_or_default();
            let open = stack.len();
            stack.extend(after.iter().filter(|a| !chains.contains_key(a)));
            if stack.len() == open {
                let below = after.iter().map(|a| chains[a]).max().unwrap_or_default();
                let own = if self.kids[x].st.is_live() { self.stop_time(x) } else { Duration::ZERO };
                chains.insert(x, own + below);
                stack.pop();
            }
        }
    }

    /// OTP's `shutdown_error`: it ended in another way than it should have.
    pub(crate) fn judge(&mut self, c: ChildIx, reason: Reason) {
        let child = &self.kids[c];
        let brutal = child.shutdown() == Shutdown::BrutalKill;
        let permanent = child.item.restart == crate::spec::Restart::Permanent;
        let proper = match reason {
            Reason::Killed => brutal,
            Reason::Shutdown => !brutal || !permanent,
            Reason::Normal | Reason::ShutdownTerm => !permanent,
            _ => false,
        };
        let n = child.node;
        if proper || self.nodes[n].child.is_none() && n != FOREST_NODE {
            return;
        }
        if self.nodes[n].is_ending() && self.nodes[n].sup.is_pool() {
            let improper = &mut self.nodes[n].improper;
            match improper.iter_mut().find(|(r, _)| *r == reason) {
                Some((_, count)) => *count += 1,
                None => improper.push((reason, 1)),
            }
        } else {
            self.fact(c, What::ReportShutdownError { reason, count: None });
        }
    }

    /// A child was stopped by its supervisor, or has already been down when its turn came.
    pub(crate) fn put_down(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        self.unmark(c);
        self.disarm(c);
        let ending = self.nodes[n].is_ending();
        let goes_up = !ending && self.kids[c].want == Want::Up && !self.is_held(c);
        if self.kids[c].st == St::Parked {
            return;
        }
        if !goes_up {
            self.answer(c, |of| of != WaitOf::Gone, Reply::Error(crate::effect::ErrorKind::Overtaken));
        }
        self.answer(c, |of| of == WaitOf::Gone, Reply::Ok);
        let delay = self.kids[c].beyond.as_mut().map(|b| std::mem::take(&mut b.delay)).unwrap_or_default();
        if goes_up && !delay.is_zero() {
            let until = (self.kids[c].at + delay).max(self.now);
            self.set(c, St::Pending { until: Some(until) });
            self.arm(c, until, Alarm::Go(c));
        } else if goes_up && !self.kids[c].is_temporary() {
            self.set(c, St::Waiting);
        } else if let Some(until) = self.places[self.kids[c].path].parked().filter(|_| !ending) {
            self.park(c, until);
        } else {
            self.set(c, St::Down);
            if n == FOREST_NODE {
                self.tree_ended(c);
            } else if self.is_dropped_when_down(c) && !ending {
                self.drop_child(c);
            }
        }
    }

    /// Everything of a tree stops from above.
    pub(crate) fn stop_tree(&mut self, c: ChildIx, how: TreeEnd) {
        self.note_tree_end(c, how);
        self.kids[c].want = Want::Down;
        self.bring_down(c);
    }
}

impl Deadline {
    fn new(now: Time, whole: Duration) -> Deadline {
        Deadline { end: now + whole, whole, left: Duration::ZERO, chains: HashMap::new() }
    }

    fn chain(&self, c: ChildIx) -> Duration {
        self.chains.get(&c).copied().unwrap_or(self.left)
    }
}
