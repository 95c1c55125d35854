//! The life of one incarnation of a supervisor: opened, started, ready, ending, gone.
//!
//! *Started* for its parent: the initial start is over, or only waits for readiness. *Ready*: every child that wants to
//! be up has been ready once, or cannot be for now; a latch. *Ending*: everything below stops in reverse, whatever was
//! going on is thrown away, and whoever waited for it is answered. Its end is then an end of a child of its parent.

use crate::child::{ChildIx, St, Stop};
use crate::effect::ErrorKind;
use crate::event::PathId;
use crate::fact::What;
use crate::node::{Msg, NodeIx, Phase};
use crate::plan::Item;
use crate::spec::Exhausted;
use crate::time::Time;
use crate::timers::Alarm;
use crate::{Effect, Engine, Exit, Reason, Reply};
use std::sync::Arc;

impl Engine {
    /// The subtree is open: children are made, and the initial start begins.
    pub(crate) fn opened(&mut self, n: NodeIx) {
        let sup = self.nodes[n].sup.clone();
        if !sup.valid {
            self.node_ended(n, Reason::BadSpec);
            return;
        }
        self.nodes[n].phase = Phase::Boot;
        let path = self.nodes[n].path;
        self.places.touch(path);
        let mut first_start = Vec::new();
        if !sup.is_pool() {
            for item in &sup.items {
                let place = self.places.intern(path, &item.id, false);
                let c = self.add_planned(n, item.clone(), place);
                if self.kids[c].st == St::Waiting {
                    first_start.push(c);
                }
            }
        }
        if self.nodes[n].by_dependencies() {
            self.link_all_edges(n);
            self.announce(n);
        } else {
            self.boot(n, first_start);
        }
        self.wake(n);
    }

    /// A child of a new incarnation: down if a person or a parking keeps it down.
    pub(crate) fn add_planned(&mut self, n: NodeIx, item: Arc<Item>, place: PathId) -> ChildIx {
        match self.places[place].parked() {
            Some(until) if until.is_none_or(|until| until > self.now) => {
                let c = self.add_child(n, item, place, St::Parked);
                if let Some(until) = until {
                    self.arm(c, until, Alarm::Unpark(c));
                }
                return c;
            }
            Some(_) => self.places.stick(place, |s| s.parked = None),
            None => {}
        }
        let st = if self.places.is_held(place) { St::Down } else { St::Waiting };
        self.add_child(n, item, place, st)
    }

    /// For its parent it has started.
    pub(crate) fn announce(&mut self, n: NodeIx) {
        if let Some(c) = self.nodes[n].child
            && self.kids[c].st == St::Starting
        {
            self.set(c, St::Up { ready: false });
        }
    }

    /// Looked at whenever it has nothing else to do.
    pub(crate) fn check_ready(&mut self, n: NodeIx) {
        let node = &mut self.nodes[n];
        if node.ready || node.is_ending() {
            return;
        }
        self.announce(n);
        let node = &mut self.nodes[n];
        if node.unready == 0 {
            node.ready = true;
            node.phase = Phase::Run;
            let child = node.child;
            if let Some(c) = child {
                self.touch(c);
            }
            if let Some(c) = child
                && self.kids[c].st == (St::Up { ready: false })
            {
                self.became_ready(c);
            }
        }
    }

    /// Everything below stops in reverse order, then the supervisor ends with `reason`. Overtakes whatever it is doing.
    pub(crate) fn end_node(&mut self, n: NodeIx, reason: Reason) {
        match self.nodes[n].phase {
            // It has no children yet: it ends as soon as it is open.
            Phase::Opening | Phase::Ending(_) | Phase::Gone => return,
            Phase::Boot | Phase::Run => {}
        }
        self.nodes[n].phase = Phase::Ending(reason);
        self.nodes[n].swap = None;
        if let Some(c) = self.nodes[n].child {
            self.touch(c);
            self.fact(c, What::Stopping { reason });
        }
        for waiter in std::mem::take(&mut self.nodes[n].waiters) {
            self.reply(waiter.id, Reply::Error(ErrorKind::Noproc));
        }
        self.wind_down(n, reason);
    }

    /// It is ending: what does not run stays down, the rest stops.
    pub(crate) fn wind_down(&mut self, n: NodeIx, reason: Reason) {
        for c in self.list_children(n) {
            if !self.kids[c].st.is_live() && self.kids[c].st != St::Parked {
                self.disarm(c);
                self.set(c, St::Down);
            }
        }
        self.share_out(n);
        if self.nodes[n].by_dependencies() {
            self.mark_all(n)
        } else {
            self.stop_all(n, reason)
        }
        self.wake(n);
    }

    /// Nothing of it runs: the record goes, and the parent hears of it.
    pub(crate) fn node_ended(&mut self, n: NodeIx, reason: Reason) {
        for (reason, count) in std::mem::take(&mut self.nodes[n].improper) {
            if let Some(c) = self.nodes[n].child {
                self.fact(c, What::ReportShutdownError { reason, count: Some(count) });
            }
        }
        self.drop_all_children(n);
        let node = &mut self.nodes[n];
        node.phase = Phase::Gone;
        let mail = std::mem::take(&mut node.mail);
        let stoppers = std::mem::take(&mut node.stoppers);
        let (child, gave_up, cause) = (node.child, node.gave_up, node.op.take().map(|op| op.incident));
        for msg in mail {
            if let Msg::Request(request) = msg {
                self.reply(request.id, Reply::Error(ErrorKind::Noproc));
            }
        }
        for id in stoppers {
            self.reply(id, Reply::Ok);
        }
        self.nodes.free(n);
        let Some(c) = child else { return };
        if let Some(exhausted) = gave_up
            && self.is_tree(c)
        {
            self.root_gave_up(c, exhausted);
        }
        self.kids[c].sub = None;
        if let Some(cause) = cause {
            self.kids[c].incident = cause;
        }
        let (generation, path) = (self.kids[c].generation, self.kids[c].path);
        self.fx.push(Effect::Close { generation, path });
        let parks = gave_up == Some(Exhausted::Park) && !matches!(self.kids[c].st, St::Stopping { .. });
        self.child_ended(c, Exit::Reason(reason), parks.then(|| self.retry_time(c)));
    }

    fn retry_time(&self, c: ChildIx) -> Option<Time> {
        let sup = self.kids[c].item.supervisor()?;
        sup.retry_after.map(|after| self.now + after)
    }

    /// A supervisor was killed from outside: its parent sees the end at once, its children get no orderly shutdown.
    /// Only tests can do that; there are no supervisor processes.
    pub(crate) fn node_killed(&mut self, c: ChildIx) {
        let Some(n) = self.kids[c].sub.take() else { return };
        let node = &mut self.nodes[n];
        node.child = None;
        node.suspended = false;
        let (waiters, stoppers) = (std::mem::take(&mut node.waiters), std::mem::take(&mut node.stoppers));
        for id in waiters.iter().map(|w| w.id).chain(stoppers) {
            self.reply(id, Reply::Error(ErrorKind::Noproc));
        }
        if self.nodes[n].phase == Phase::Opening {
            self.nodes[n].phase = Phase::Gone;
            self.nodes.free(n);
        } else {
            self.nodes[n].phase = Phase::Ending(Reason::Killed);
            for x in self.list_children(n) {
                match (self.kids[x].st, self.kids[x].sub) {
                    (St::Ended { .. }, _) => {}
                    (st, Some(sub)) if st.is_live() => {
                        self.set(x, St::Stopping { why: Stop::Asked, killed: false });
                        self.end_node(sub, Reason::Killed);
                    }
                    (st, None) if st.is_live() => self.kill(x, Stop::Asked),
                    _ => {
                        self.disarm(x);
                        self.set(x, St::Down);
                    }
                }
            }
            if self.nodes[n].by_dependencies() {
                self.mark_all(n)
            } else {
                self.stop_all(n, Reason::Killed)
            }
            self.wake(n);
        }
        self.child_ended(c, Exit::Reason(Reason::Killed), None);
    }
}
