//! What can be seen of a child from outside: one [`Row`], the source of every status.

use crate::Engine;
use crate::child::{ChildIx, St};
use crate::event::{Exit, Gen, Key, PathId, Reason};
use crate::node::{FOREST_NODE, Phase};
use crate::place::FOREST;
use crate::plan::{Item, Sup};
use crate::spec::Strategy;
use crate::time::Time;
use crate::timers::Ticket;
use std::sync::Arc;

/// The state of one child or supervisor.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its path.
    pub path: PathId,
    /// The supervisor above it; `None` for a root.
    pub parent: Option<PathId>,
    /// Of a worker, what it runs.
    pub key: Option<Key>,
    /// The generation that runs or ran last; 0: never started.
    pub generation: Gen,
    /// State.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Restarts since the tree was started: every start by a restart decision (own or dragged along).
    pub restarts: u32,
    /// How it ended last.
    pub exit: Option<Exit>,
    /// As it was judged.
    pub reason: Option<Reason>,
    /// A person's hold on this very path.
    pub hold: Option<Hold>,
    /// A person stopped it.
    pub stopped_by_hand: bool,
    /// When a back-off, a parking or a deadline of readiness ends.
    pub next: Option<Time>,
    /// It waits for this sibling (by dependencies).
    pub waits_for: Option<PathId>,
    /// Of a supervisor or a child with its own limit: restarts in the window now.
    pub used: u32,
}

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its end.
    pub until: Option<Time>,
}

/// States as a person sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for its turn or for what it is after.
    Waiting,
    /// Started, not yet ready. A supervisor: not all of its children have been ready once.
    Starting,
    /// Up and ready.
    Up,
    /// A restart is pending.
    Backoff,
    /// Asked or killed, not yet gone.
    Stopping,
    /// Down.
    Stopped,
    /// A one-shot that did its work, or a child that declined.
    Done,
    /// Down until a person or a time.
    Parked,
}

impl Engine {
    /// All rows, each supervisor before its children, in start order. Planned children of a supervisor that does not
    /// run are among them.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for c in self.children(FOREST_NODE) {
            self.push_rows(c, &mut rows);
        }
        rows
    }

    /// How the first essential worker of the tree `root` ended last; `None`: it has none, or it has never ended.
    pub fn essential_exit(&self, root: PathId) -> Option<Exit> {
        let root_of = |mut path: PathId| {
            while self.places[path].parent != FOREST {
                path = self.places[path].parent;
            }
            path
        };
        let mut rows = self.rows().into_iter().filter(|row| row.key.is_some() && root_of(row.path) == root);
        rows.find(|row| {
            self.planned_at(row.path).is_some_and(|item| item.worker().is_some_and(|w| w.essential))
        })?
        .exit
    }

    /// One row; `None` when nobody is known there.
    pub fn row(&self, id: PathId) -> Option<Row> {
        if id == FOREST || !self.places.contains(id) {
            return None;
        }
        match self.places[id].child {
            Some(c) => Some(self.row_of(c)),
            None => self.planned(id).map(|item| self.row_of_absent(id, &item)),
        }
    }

    /// Whom a child cannot do without, nearest first: of its siblings and those of the supervisors above it, by
    /// dependencies those it is `after`, transitively; by list, under `rest_for_one` and `one_for_all`, those that are
    /// started before it.
    pub fn relies_on(&self, id: PathId) -> Vec<PathId> {
        let mut found = Vec::new();
        let mut at = if self.places.contains(id) { self.places[id].child } else { None };
        while let Some(c) = at {
            let n = self.kids[c].node;
            let siblings = if self.nodes[n].by_dependencies() {
                self.transitively_after(c)
            } else {
                match self.nodes[n].sup.strategy {
                    Strategy::RestForOne | Strategy::OneForAll => {
                        self.children(n).take_while(|&x| x != c).collect()
                    }
                    Strategy::OneForOne | Strategy::SimpleOneForOne => Vec::new(),
                }
            };
            found.extend(siblings.into_iter().map(|x| self.kids[x].path));
            at = self.nodes[n].child.filter(|_| n != FOREST_NODE);
        }
        found
    }

    fn transitively_after(&self, c: ChildIx) -> Vec<ChildIx> {
        let after = |c: ChildIx| self.kids[c].edges.as_ref().map_or(&[][..], |edges| edges.after.as_slice());
        let mut found: Vec<ChildIx> = after(c).to_vec();
        let mut next = 0;
        while let Some(&x) = found.get(next) {
            for &y in after(x) {
                if !found.contains(&y) {
                    found.push(y);
                }
            }
            next += 1;
        }
        found
    }

    fn push_rows(&self, c: ChildIx, rows: &mut Vec<Row>) {
        rows.push(self.row_of(c));
        match (self.kids[c].sub, self.kids[c].item.supervisor()) {
            (Some(n), _) if self.nodes[n].phase != Phase::Opening => {
                for c in self.children(n) {
                    self.push_rows(c, rows);
                }
            }
            (_, Some(sup)) => self.push_absent(self.kids[c].path, sup, rows),
            (_, None) => {}
        }
    }

    fn push_absent(&self, above: PathId, sup: &Sup, rows: &mut Vec<Row>) {
        for item in sup.items.iter().filter(|_| !sup.is_pool()) {
            let Some(path) = self.places.below(above, &item.id) else { continue };
            rows.push(self.row_of_absent(path, item));
            if let Some(sup) = item.supervisor() {
                self.push_absent(path, sup, rows);
            }
        }
    }

    /// The specification of a path, whoever is there.
    pub(crate) fn planned_at(&self, id: PathId) -> Option<Arc<Item>> {
        match self.places[id].child {
            Some(c) => Some(self.kids[c].item.clone()),
            None => self.planned(id),
        }
    }

    /// The specification of a path nobody is at now.
    fn planned(&self, id: PathId) -> Option<Arc<Item>> {
        let place = &self.places[id];
        if place.parent == FOREST {
            return None;
        }
        let above = match self.places[place.parent].child {
            Some(c) if self.kids[c].sub.is_some_and(|n| self.nodes[n].phase != Phase::Opening) => {
                return None;
            }
            Some(c) => self.kids[c].item.clone(),
            None => self.planned(place.parent)?,
        };
        above.supervisor()?.items.iter().find(|item| item.id == place.name).cloned()
    }

    pub(crate) fn row_of(&self, c: ChildIx) -> Row {
        let child = &self.kids[c];
        let sup = child.item.supervisor();
        let used = match (child.sub, &child.beyond, child.worker().and_then(|w| w.limit.as_ref())) {
            (Some(n), ..) => self.nodes[n].window.count(self.now, self.nodes[n].sup.period),
            (None, Some(beyond), Some(limit)) => beyond.window.count(self.now, limit.period),
            _ => 0,
        };
        let waits_for = child
            .edges
            .as_ref()
            .filter(|_| child.st == St::Waiting)
            .and_then(|e| {
                e.after.iter().find(|&&a| !matches!(self.kids[a].st, St::Up { ready: true } | St::Done))
            })
            .map(|&a| self.kids[a].path);
        let ends = child.sub.is_some_and(|n| self.nodes[n].is_ending());
        Row {
            key: sup.is_none().then_some(child.key),
            state: match child.st {
                _ if ends => State::Stopping,
                St::Down => State::Stopped,
                St::Waiting => State::Waiting,
                St::Starting | St::Up { ready: false } => State::Starting,
                St::Up { ready: true } => State::Up,
                St::Ended { .. } | St::Stopping { .. } => State::Stopping,
                St::Pending { .. } => State::Backoff,
                St::Done => State::Done,
                St::Parked => State::Parked,
            },
            next: child.beyond.as_ref().filter(|_| self.is_armed(c)).map(|b| b.deadline),
            waits_for,
            used,
            ..self.row_of_place(child.path)
        }
    }

    fn row_of_absent(&self, path: PathId, item: &Item) -> Row {
        let place = &self.places[path];
        let parked = place.parked();
        let state = if parked.is_some() { State::Parked } else { State::Stopped };
        Row { key: item.worker().map(|w| w.key), state, next: parked.flatten(), ..self.row_of_place(path) }
    }

    /// What is known of a path, whoever is there.
    fn row_of_place(&self, path: PathId) -> Row {
        let place = &self.places[path];
        let past = place.child.map_or(place.past, |c| self.kids[c].past);
        Row {
            path,
            parent: (place.parent != FOREST).then_some(place.parent),
            key: None,
            generation: past.generation,
            state: State::Stopped,
            since: past.since,
            restarts: past.restarts,
            exit: past.exit,
            reason: past.reason,
            hold: place.sticky.as_ref().and_then(|s| s.hold),
            stopped_by_hand: place.is_stopped(),
            next: None,
            waits_for: None,
            used: 0,
        }
    }

    pub(crate) fn is_armed(&self, c: ChildIx) -> bool {
        self.kids[c].ticket != Ticket::default()
    }
}
