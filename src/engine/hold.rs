//! What a person says of a path, and what sticks to it: `hold`, `release`, `stop`, `start`.
//!
//! The word is written down at once, even while the supervisor above is busy or down; what follows from it is a
//! message in that supervisor's mailbox. *Held* (by `hold` or by `stop`, on the path or above it) means: running
//! children are left alone, an end is recorded and nothing follows from it, group restarts neither stop nor start it, a
//! new incarnation does not start it. A stop from above still stops it, and a person may start and stop it.

use crate::child::{ChildIx, St};
use crate::effect::ErrorKind;
use crate::event::{Exit, PathId, Verb};
use crate::fact::{Fact, What};
use crate::node::{FOREST_NODE, Msg, NodeIx, Request};
use crate::place::FOREST;
use crate::time::Time;
use crate::timers::Alarm;
use crate::view::Hold;
use crate::{Effect, Engine, Reply};

impl Engine {
    /// A person's verb has arrived.
    pub(crate) fn by_hand(&mut self, request: Request) {
        let Request { id, to, .. } = request;
        match request.verb {
            Verb::Hold { until } => {
                self.hold(to, until);
                self.reply(id, Reply::Ok);
                return;
            }
            Verb::Release => {
                self.release(to);
                self.reply(id, Reply::Ok);
                return;
            }
            Verb::Abandon => {
                let reply = self.abandon(to);
                self.reply(id, reply);
                return;
            }
            Verb::Start => {
                self.places.stick(to, |s| s.stopped = false);
                if self.node_at(self.places[to].parent).is_none() {
                    self.places.stick(to, |s| s.parked = None);
                }
            }
            Verb::Stop { .. } => {
                self.places.stick(to, |s| s.stopped = true);
                self.path_fact(to, What::StoppedByHand);
            }
            _ => {}
        }
        let Some(n) = self.node_at(self.places[to].parent) else {
            let stop = matches!(request.verb, Verb::Stop { .. });
            self.reply(id, if stop { Reply::Ok } else { Reply::Error(ErrorKind::Noproc) });
            return;
        };
        if matches!(request.verb, Verb::Stop { .. })
            && let Some(c) = self.places[to].child
            && self.kids[c].node == n
            && self.overtakes(n, c)
        {
            if let Some(reply) = self.terminate(n, id, c) {
                self.reply(id, reply);
            }
            return;
        }
        self.post(n, Msg::Request(Box::new(request)));
    }

    fn hold(&mut self, path: PathId, until: Option<Time>) {
        self.places.stick(path, |s| s.hold = Some(Hold { until }));
        if let Some(until) = until {
            self.timers.set(until, Alarm::Release(path));
        }
        self.path_fact(path, What::Held { until });
    }

    /// By a person, or because its time is over. Every supervisor at, above and below hears of it.
    pub(crate) fn release(&mut self, path: PathId) {
        if self.places[path].sticky.as_ref().is_none_or(|s| s.hold.is_none()) {
            return;
        }
        self.places.stick(path, |s| s.hold = None);
        self.path_fact(path, What::Released);
        if let Some(n) = self.node_at(self.places[path].parent) {
            self.post(n, Msg::Release);
        }
        if let Some(n) = self.node_at(path).filter(|_| path != FOREST) {
            self.release_below(n);
        }
    }

    fn release_below(&mut self, n: NodeIx) {
        self.post(n, Msg::Release);
        for sub in self.children(n).filter_map(|c| self.kids[c].sub).collect::<Vec<NodeIx>>() {
            self.release_below(sub);
        }
    }

    /// Gives up waiting for something that does not die.
    fn abandon(&mut self, path: PathId) -> Reply {
        match self.places[path].child {
            Some(c) if matches!(self.kids[c].st, St::Stopping { .. }) && self.kids[c].sub.is_none() => {
                self.child_ended(c, Exit::Unknown, None);
                Reply::Ok
            }
            Some(c) if self.kids[c].st.is_live() => Reply::Error(ErrorKind::Running),
            _ => Reply::Error(ErrorKind::NotFound),
        }
    }

    /// A fact about a path, with or without a child there.
    pub(crate) fn path_fact(&mut self, path: PathId, what: What) {
        let place = &self.places[path];
        let generation = place.child.map_or(place.past, |c| self.kids[c].past).generation;
        self.fx.push(Effect::Fact(Fact { incident: self.cause, path, generation, what }));
    }

    /// The tree a supervisor belongs to: its root's record.
    pub(crate) fn tree_of(&self, n: NodeIx) -> ChildIx {
        let mut at = n;
        loop {
            match self.nodes[at].child {
                Some(c) if self.kids[c].node == FOREST_NODE => return c,
                Some(c) => at = self.kids[c].node,
                None => return crate::child::NOBODY,
            }
        }
    }
}
