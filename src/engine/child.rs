//! Children: one record per child of a living supervisor, and the one function that writes its state.
//!
//! ```text
//!             ┌──────── declined, one-shot done ──────► Done
//!  Waiting ─► Starting ─► Up{ready:false} ─► Up{ready:true} ──► Ended ──► (decided) ─► Waiting, Pending, Down, Parked
//!     ▲           └───────── failed start ──┴────────────► Pending          or the record is dropped (temporary)
//!     └── Pending (again, or after a delay)          Stopping: from Starting or Up; ends in Ended, judged by who asked
//! ```
//!
//! `Starting` is between the effect and its outcome; `Up{ready:false}` has been executed and is not ready. `Ended` has
//! ended, and its supervisor has not yet looked: OTP calls such a child running. `Pending{None}` is OTP's `restarting`:
//! the message to try again is in the supervisor's mailbox; `Pending{Some}` is counted and waits for its back-off.

use crate::event::{Gen, Key, PathId};
use crate::fact::{Fact, Incident, What};
use crate::node::{Node, NodeIx};
use crate::place::{FOREST, Past};
use crate::plan::Item;
use crate::restart::Window;
use crate::spec::{Ends, Restart, Shutdown, Worker};
use crate::time::Time;
use crate::timers::{Alarm, Ticket};
use crate::{Effect, Engine, Reason};
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildIx(pub u32);

/// End of a list of siblings.
pub(crate) const NOBODY: ChildIx = ChildIx(u32::MAX);

/// The state of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum St {
    /// Not running, and nobody is about to start it.
    Down,
    /// Its turn will come.
    Waiting,
    /// Between the effect and its outcome.
    Starting,
    /// Executed.
    Up {
        /// And ready.
        ready: bool,
    },
    /// Ended, and its supervisor has not looked.
    Ended {
        /// As it was judged.
        reason: Reason,
        /// Before it was ready.
        early: bool,
    },
    /// Asked or killed, and not gone.
    Stopping {
        /// What its end will mean.
        why: Stop,
        /// Killed.
        killed: bool,
    },
    /// To be started again.
    Pending {
        /// After this time; `None`: when its supervisor comes to it, and counted then.
        until: Option<Time>,
    },
    /// A one-shot that did its work, or a child that declined.
    Done,
    /// Down until a person or a time.
    Parked,
}

/// What the end of a stopping child will mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its supervisor wants it down.
    Asked,
    /// It was not ready in time: a failed start.
    TooLate,
    /// A person stopped it while it was starting: as if it had declined.
    Declined,
}

impl St {
    /// There is, or may be, something that runs; or its end has not been looked at.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, St::Starting | St::Up { .. } | St::Ended { .. } | St::Stopping { .. })
    }

    pub(crate) fn is_pending(self) -> bool {
        matches!(self, St::Pending { .. })
    }
}

/// Where a child goes when it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Up,
    Down,
}

/// Neighbours by `after`.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    pub after: Vec<ChildIx>,
    pub dependents: Vec<ChildIx>,
}

#[derive(Debug)]
pub(crate) struct Child {
    pub node: NodeIx,
    pub path: PathId,
    pub st: St,
    pub generation: Gen,
    pub incident: Incident,
    /// Ready: since when. Down: when it ended or failed.
    pub at: Time,
    /// What its generation runs.
    pub key: Key,
    /// What its next one will run.
    pub wanted_key: Key,
    pub traits: Traits,
    /// It is on the list of changed rows.
    pub dirty: bool,
    pub past: Past,
    pub item: Arc<Item>,
    pub prev: ChildIx,
    pub next: ChildIx,
    /// Position among its siblings: greater is later.
    pub seq: u32,
    /// Of a supervisor, its incarnation.
    pub sub: Option<NodeIx>,
    pub want: Want,
    /// By dependencies: shall stop.
    pub mark: bool,
    /// Was ready once in this incarnation of its supervisor.
    pub was_ready: bool,
    pub ticket: Ticket,
    pub edges: Option<Box<Edges>>,
    pub beyond: Option<Box<Beyond>>,
}

/// What most children never have.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// Restarts since it was last quiet.
    pub n: u32,
    /// What its ticket stands for.
    pub deadline: Time,
    /// Once down, its restart waits so long (a sick child that is still being stopped).
    pub delay: Duration,
    /// Its own account.
    pub window: Window,
    /// The generation whose failed health check has been decided: it hangs, until it is gone.
    pub sick: Gen,
}

/// What every end asks of a specification, at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub restart: Restart,
    pub significant: bool,
    pub supervisor: bool,
    /// A worker with nothing that OTP does not have.
    pub plain: bool,
}

impl Traits {
    fn new(item: &Item) -> Traits {
        let otp = Worker { key: Key(0), ..Worker::default() };
        let plain = |worker: &Worker| {
            let ends = Ends { stop_signal: worker.ends.stop_signal, ..Ends::default() };
            *worker == Worker { key: worker.key, ends, ..otp }
        };
        Traits {
            restart: item.restart,
            significant: item.significant,
            supervisor: item.supervisor().is_some(),
            plain: item.backoff.is_none() && item.worker().is_some_and(plain),
        }
    }
}

impl Child {
    pub fn is_temporary(&self) -> bool {
        self.traits.restart == Restart::Temporary
    }

    pub fn worker(&self) -> Option<&Worker> {
        self.item.worker()
    }

    /// A health check of what runs now has failed, and that has been decided.
    pub fn is_sick(&self) -> bool {
        self.beyond.as_ref().is_some_and(|beyond| beyond.sick == self.generation && self.generation != Gen(0))
    }

    /// How it is stopped, as it is now.
    pub fn shutdown(&self) -> Shutdown {
        let sick = self.worker().filter(|_| self.is_sick()).and_then(|worker| worker.shutdown_if_sick);
        sick.unwrap_or(self.item.shutdown)
    }

    pub fn is_supervisor(&self) -> bool {
        self.traits.supervisor
    }

    pub fn beyond(&mut self) -> &mut Beyond {
        self.beyond.get_or_insert_default()
    }

    /// Its supervisor is not ready as long as this holds.
    fn is_unready(&self) -> bool {
        !self.was_ready
            && matches!(
                self.st,
                St::Starting
                    | St::Up { ready: false }
                    | St::Pending { .. }
                    | St::Stopping { why: Stop::TooLate, .. }
                    | St::Ended { early: true, .. }
            )
    }

    /// What `all_significant` counts: running, or with a pending restart.
    fn is_live_significant(&self) -> bool {
        self.traits.significant && (self.st.is_live() || self.st.is_pending())
    }
}

/// Records and a list of free ones.
#[derive(Debug, Default)]
pub(crate) struct Children {
    all: Vec<Child>,
    free: Vec<ChildIx>,
}

impl Children {
    pub fn add(&mut self, child: Child) -> ChildIx {
        match self.free.pop() {
            Some(c) => {
                self[c] = child;
                c
            }
            None => {
                self.all.push(child);
                ChildIx(u32::try_from(self.all.len() - 1).expect("fewer than 2^32 children"))
            }
        }
    }

    pub fn free(&mut self, c: ChildIx) {
        self.free.push(c);
    }
}

impl Index<ChildIx> for Children {
    type Output = Child;
    fn index(&self, c: ChildIx) -> &Child {
        &self.all[c.0 as usize]
    }
}

impl IndexMut<ChildIx> for Children {
    fn index_mut(&mut self, c: ChildIx) -> &mut Child {
        &mut self.all[c.0 as usize]
    }
}

impl Engine {
    /// The only writer of a child's state. Keeps the counters of its supervisor, its row and its discipline in step.
    pub(crate) fn set(&mut self, c: ChildIx, st: St) {
        let child = &mut self.kids[c];
        let node = &mut self.nodes[child.node];
        let before = (child.st.is_live(), child.is_live_significant(), child.is_unready());
        child.st = st;
        if let St::Up { ready: true } = st {
            child.was_ready = true;
        }
        let after = (child.st.is_live(), child.is_live_significant(), child.is_unready());
        count(&mut node.live, before.0, after.0);
        count(&mut node.live_significant, before.1, after.1);
        count(&mut node.unready, before.2, after.2);
        node.notice(c);
        let (n, wanted) = (child.node, node.wants_to_look());
        child.past.since = self.now;
        self.touch(c);
        if wanted {
            self.wake(n);
        }
    }

    /// Puts a new child at the end of the start order.
    pub(crate) fn add_child(&mut self, n: NodeIx, item: Arc<Item>, path: PathId, st: St) -> ChildIx {
        let node = &mut self.nodes[n];
        let past = self.places[path].past;
        node.last_seq += 1;
        node.len += 1;
        let key = item.worker().map(|w| w.key).unwrap_or_default();
        let c = self.kids.add(Child {
            node: n,
            path,
            st: St::Down,
            generation: past.generation,
            traits: Traits::new(&item),
            dirty: false,
            past,
            item,
            incident: self.cause,
            at: self.now,
            prev: node.last,
            next: NOBODY,
            seq: node.last_seq,
            key,
            wanted_key: key,
            sub: None,
            want: Want::Up,
            mark: false,
            was_ready: false,
            ticket: Ticket::default(),
            edges: None,
            beyond: None,
        });
        if node.last == NOBODY {
            node.first = c;
        } else {
            self.kids[node.last].next = c;
        }
        node.last = c;
        self.places[path].child = Some(c);
        self.set(c, st);
        c
    }

    /// Gives a child another specification and keeps the counters of its supervisor in step.
    pub(crate) fn replace_item(&mut self, c: ChildIx, item: Arc<Item>) {
        let child = &mut self.kids[c];
        let before = child.is_live_significant();
        child.traits = Traits::new(&item);
        child.item = item;
        let after = child.is_live_significant();
        count(&mut self.nodes[child.node].live_significant, before, after);
    }

    /// Forgets a child and its specification.
    pub(crate) fn drop_child(&mut self, c: ChildIx) {
        self.set(c, St::Down);
        self.disarm(c);
        self.unlink_edges(c);
        let Child { node: n, prev, next, path, past, .. } = self.kids[c];
        let node = &mut self.nodes[n];
        node.len -= 1;
        node.forget(c);
        if prev == NOBODY {
            node.first = next;
        } else {
            self.kids[prev].next = next;
        }
        if next == NOBODY {
            node.last = prev;
        } else {
            self.kids[next].prev = prev;
        }
        self.places.vacate(path, c, past);
        self.kids[c].generation = Gen(0);
        self.kids.free(c);
    }

    /// Forgets the children of a supervisor that has ended.
    pub(crate) fn drop_all_children(&mut self, n: NodeIx) {
        for c in self.list_children(n) {
            self.disarm(c);
            self.places.vacate(self.kids[c].path, c, self.kids[c].past);
            self.kids[c].generation = Gen(0);
            self.kids.free(c);
        }
        let node = &mut self.nodes[n];
        (node.first, node.last, node.len) = (NOBODY, NOBODY, 0);
    }

    /// All children of a supervisor, in start order.
    pub(crate) fn children(&self, n: NodeIx) -> impl DoubleEndedIterator<Item = ChildIx> + '_ {
        Siblings {
            kids: &self.kids,
            front: self.nodes[n].first,
            back: self.nodes[n].last,
            left: self.nodes[n].len,
        }
    }

    /// The same as a list of their own, for those who change states on the way.
    pub(crate) fn list_children(&self, n: NodeIx) -> Vec<ChildIx> {
        self.children(n).collect()
    }

    /// Sets the one valid deadline of a child.
    pub(crate) fn arm(&mut self, c: ChildIx, at: Time, alarm: Alarm) {
        self.disarm(c);
        let ticket = self.timers.set(at, alarm);
        self.kids[c].ticket = ticket;
        self.kids[c].beyond().deadline = at;
        self.touch(c);
    }

    pub(crate) fn disarm(&mut self, c: ChildIx) {
        if self.kids[c].ticket != Ticket::default() {
            self.kids[c].ticket = Ticket::default();
            self.timers.forget();
            self.touch(c);
        }
    }

    /// Something of it that is saved has changed.
    pub(crate) fn touch(&mut self, c: ChildIx) {
        if !std::mem::replace(&mut self.kids[c].dirty, true) {
            self.places.touch(self.kids[c].path);
        }
    }

    /// Records what happened to a child.
    pub(crate) fn fact(&mut self, c: ChildIx, what: What) {
        let child = &self.kids[c];
        let fact = Fact { incident: child.incident, path: child.path, generation: child.generation, what };
        self.fx.push(Effect::Fact(fact));
    }

    pub(crate) fn is_held(&self, c: ChildIx) -> bool {
        self.places.is_held(self.kids[c].path)
    }

    pub(crate) fn node_of(&self, c: ChildIx) -> &Node {
        &self.nodes[self.kids[c].node]
    }

    pub(crate) fn is_tree(&self, c: ChildIx) -> bool {
        self.places[self.kids[c].path].parent == FOREST
    }

    /// Dropped from its supervisor's list when it is down.
    pub(crate) fn is_dropped_when_down(&self, c: ChildIx) -> bool {
        self.kids[c].is_temporary() || self.node_of(c).sup.is_pool()
    }
}

fn count(counter: &mut u32, before: bool, after: bool) {
    *counter = *counter + u32::from(after) - u32::from(before);
}

struct Siblings<'a> {
    kids: &'a Children,
    front: ChildIx,
    back: ChildIx,
    left: u32,
}

impl Iterator for Siblings<'_> {
    type Item = ChildIx;
    fn next(&mut self) -> Option<ChildIx> {
        self.left = self.left.checked_sub(1)?;
        let c = self.front;
        self.front = self.kids[c].next;
        Some(c)
    }
}

impl DoubleEndedIterator for Siblings<'_> {
    fn next_back(&mut self) -> Option<ChildIx> {
        self.left = self.left.checked_sub(1)?;
        let c = self.back;
        self.back = self.kids[c].prev;
        Some(c)
    }
}
