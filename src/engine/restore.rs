//! The engine as it was: supervisors and children put back into the states they were saved in, as far as what was found
//! allows.
//!
//! From above: a supervisor that was open is open again at once, with its window and its phase; then each of its
//! children; then what its operation had still to do. Only then the ends that nobody has looked at are looked at, by
//! the rules of every end.

use crate::adopt::{Fate, Found, SavedChild, SavedPath, SavedState};
use crate::child::{ChildIx, St, Want};
use crate::event::{Exit, Gen, PathId};
use crate::fact::{Fact, What};
use crate::listed::{Op, Slots, Then};
use crate::node::{FOREST_NODE, Msg, Node, NodeIx, Phase};
use crate::place::Places;
use crate::plan::Sup;
use crate::restart::Window;
use crate::stop::STUCK;
use crate::timers::Alarm;
use crate::{Effect, Engine};
use std::collections::HashMap;
use std::sync::Arc;

/// What waits for the turn of its path.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub past: HashMap<PathId, SavedPath>,
    pub found: HashMap<PathId, Found>,
}

impl Memory {
    /// This generation was running there when it was saved.
    pub fn knows(&self, id: PathId, generation: Gen) -> bool {
        self.past.get(&id).is_some_and(|past| {
            past.generation == generation && past.child.as_ref().is_some_and(|child| child.state.is_live())
        })
    }

    /// Somebody was found there or below.
    fn expects(&self, places: &Places, path: PathId) -> bool {
        self.found.keys().any(|&id| places.is_below(id, path))
    }

    /// Nobody came for it.
    pub fn left(self) -> impl Iterator<Item = Found> {
        let mut left: Vec<Found> = self.found.into_values().collect();
        left.sort_by_key(|found| found.generation);
        left.into_iter()
    }
}

/// Ends that are looked at when their supervisor is complete.
type Ends = Vec<(ChildIx, Exit)>;

impl Engine {
    pub(crate) fn restore_tree(&mut self, root: ChildIx, memory: &mut Memory) {
        let child = memory.past.get(&self.kids[root].path).and_then(|past| past.child.as_ref());
        if let (Some(end), Some(tree)) =
            (child.and_then(|child| child.end), self.trees.iter_mut().find(|tree| tree.root == root))
        {
            tree.end = Some(end);
        }
        self.restore(root, memory, &mut Vec::new());
        self.wake(FOREST_NODE);
    }

    fn restore(&mut self, c: ChildIx, memory: &mut Memory, ends: &mut Ends) {
        let path = self.kids[c].path;
        let past = memory.past.remove(&path);
        let child = past.as_ref().and_then(|past| past.child.clone());
        if let Some(child) = &child {
            self.recall(c, child);
        }
        let sup = self.kids[c].item.supervisor().filter(|sup| sup.valid).cloned();
        match (sup, memory.found.remove(&path)) {
            (Some(sup), _) => {
                let was_open = child.as_ref().is_some_and(|child| child.supervisor.is_some());
                if was_open || memory.expects(&self.places, path) {
                    self.reopen(c, &sup, past, memory);
                } else {
                    let state = child.map(|child| match child.state {
                        St::Starting | St::Up { .. } => St::Waiting,
                        St::Stopping { .. } => St::Down,
                        state => state,
                    });
                    self.rest(c, state);
                }
            }
            (None, Some(found)) => self.take_over(c, found, past, ends),
            (None, None) => match child.map(|child| child.state) {
                Some(St::Starting) => self.rest(c, Some(St::Waiting)),
                Some(state @ (St::Up { .. } | St::Stopping { .. })) => {
                    self.is_at(c, self.kids[c].past.generation);
                    self.put_back(c, state);
                    ends.push((c, Exit::Unknown));
                }
                state => self.rest(c, state),
            },
        }
    }

    /// What does not depend on what was found.
    fn recall(&mut self, c: ChildIx, saved: &SavedChild) {
        let child = &mut self.kids[c];
        child.want = if saved.wanted { Want::Up } else { Want::Down };
        (child.incident, child.at, child.was_ready) = (saved.incident, saved.at, saved.was_ready);
        if saved.n > 0 || !saved.delay.is_zero() {
            let beyond = child.beyond();
            (beyond.n, beyond.delay) = (saved.n, saved.delay);
        }
        child.wanted_key = saved.key.unwrap_or(child.wanted_key);
        child.key = child.wanted_key;
    }

    /// Nothing of it runs.
    fn rest(&mut self, c: ChildIx, state: Option<SavedState>) {
        let path = self.kids[c].path;
        let parked = self.places[path].parked();
        let is_new = state.is_none();
        let state = state.unwrap_or_else(|| match parked {
            Some(until) if until.is_none_or(|until| until > self.now) => St::Parked,
            _ if self.places.is_held(path) => St::Down,
            _ => St::Waiting,
        });
        if is_new && parked.is_some() && state == St::Waiting {
            self.places.stick(path, |s| s.parked = None);
        }
        let (n, generation) = (self.kids[c].node, self.kids[c].generation);
        match state {
            St::Parked => {
                self.put_back(c, state);
                if let Some(until) = parked.flatten() {
                    self.arm(c, until, Alarm::Unpark(c));
                }
                return;
            }
            St::Ended { .. } => self.post(n, Msg::End(c, generation)),
            St::Pending { until: Some(until) } => self.arm(c, until, Alarm::Go(c)),
            St::Pending { until: None } => self.post(n, Msg::Retry(path)),
            _ => {}
        }
        self.put_back(c, state);
    }

    /// Its process was found.
    fn take_over(&mut self, c: ChildIx, found: Found, past: Option<SavedPath>, ends: &mut Ends) {
        let Found { generation, key, fate, .. } = found;
        let saved = past.filter(|past| past.generation == generation).and_then(|past| past.child);
        let until = saved.as_ref().and_then(|saved| saved.until);
        self.is_at(c, generation);
        if saved.as_ref().is_some_and(|saved| saved.sick) {
            self.kids[c].beyond().sick = generation;
        }
        self.kids[c].key = key.unwrap_or(self.kids[c].key);
        if saved.is_none() && self.node_of(c).sup.is_pool() {
            self.kids[c].wanted_key = self.kids[c].key;
        }
        self.kids[c].want = saved.as_ref().map_or(Want::Up, |_| self.kids[c].want);
        // Not a link of the chain it belongs to.
        let fact = Fact { incident: self.cause, path: self.kids[c].path, generation, what: What::Adopted };
        self.fx.push(Effect::Fact(fact));
        let state = saved.map(|saved| saved.state).filter(|state| state.is_live());
        match (state, fate) {
            (Some(state @ (St::Stopping { .. } | St::Up { ready: true })), Fate::Ended(exit)) => {
                self.put_back(c, state);
                ends.push((c, exit));
            }
            (Some(state @ St::Stopping { killed: true, .. }), _) => {
                self.put_back(c, state);
                self.fx.push(Effect::Kill { generation });
                self.arm(c, self.now + STUCK, Alarm::Stuck(c));
            }
            (Some(state @ St::Stopping { .. }), _) => {
                self.put_back(c, state);
                let within = until.map(|until| until.since(self.now));
                self.fx.push(Effect::Ask { generation, within });
                if let Some(until) = until {
                    self.arm(c, until, Alarm::Kill(c));
                }
            }
            (Some(state @ St::Up { ready: true }), _) => self.put_back(c, state),
            (Some(_), Fate::Ended(exit)) => {
                self.put_back(c, St::Up { ready: false });
                ends.push((c, exit));
            }
            (None, Fate::Ended(exit)) => {
                self.set(c, St::Starting);
                self.became_ready(c);
                ends.push((c, exit));
            }
            (_, Fate::Starting) => {
                self.put_back(c, St::Starting);
                self.limit_start(c);
            }
            (_, Fate::Ready) if !self.kids[c].worker().is_some_and(|w| w.oneshot) => {
                self.set(c, St::Starting);
                self.became_ready(c);
            }
            (state, Fate::Ready | Fate::Started) => {
                let first = state != Some(St::Up { ready: false });
                self.set(c, St::Starting);
                self.limit_start(c);
                self.has_started(c, first);
            }
        }
    }

    /// From now on events of this generation are about it.
    fn is_at(&mut self, c: ChildIx, generation: Gen) {
        self.generations.insert(generation, c);
        let child = &mut self.kids[c];
        child.generation = generation;
        (child.past.generation, child.past.started) = (generation, true);
    }

    /// As it was, since when it was.
    fn put_back(&mut self, c: ChildIx, state: St) {
        let since = self.kids[c].past.since;
        self.set(c, state);
        self.kids[c].past.since = since;
    }

    fn reopen(&mut self, c: ChildIx, sup: &Arc<Sup>, past: Option<SavedPath>, memory: &mut Memory) {
        let path = self.kids[c].path;
        let (mut open, mut state, mut until, mut generation) = (None, St::Starting, None, Gen(0));
        let mut window = Window::default();
        if let Some(past) = past
            && let Some(child) = past.child
            && child.supervisor.is_some()
        {
            (open, state, until, generation) = (child.supervisor, child.state, child.until, past.generation);
            window = Window::from_runs(past.window.runs);
        }
        if open.is_none() {
            generation = self.new_generation();
        }
        self.is_at(c, generation);
        self.put_back(c, if state.is_live() { state } else { St::Starting });
        let phase = if open.as_ref().is_none_or(|open| open.boots) { Phase::Boot } else { Phase::Run };
        let mut node = Node::new(Some(c), path, sup.clone(), phase);
        (node.window, node.ready) = (window, open.as_ref().is_some_and(|open| open.ready));
        let n = self.nodes.add(node);
        self.kids[c].sub = Some(n);
        self.fx.push(Effect::Open { generation, path });
        self.restore_children(n, open.is_some(), memory);
        if let Some(open) = &open
            && let Some(reason) = open.ending
        {
            self.nodes[n].phase = Phase::Ending(reason);
            self.nodes[n].gave_up = open.gave_up.then_some(sup.exhausted);
            if let Some(until) = until {
                self.restore_deadline(n, until);
                self.arm(c, until, Alarm::Sweep(c));
            }
            self.wind_down(n, reason);
        }
        self.wake(n);
    }

    fn restore_children(&mut self, n: NodeIx, was_open: bool, memory: &mut Memory) {
        let (path, sup) = (self.nodes[n].path, self.nodes[n].sup.clone());
        let mut list = Vec::new();
        if sup.is_pool() {
            let is_there = |past: &SavedPath| was_open && past.child.is_some();
            let saved = memory.past.iter().filter(|(_, past)| is_there(past)).map(|(&id, _)| id);
            let mut ids: Vec<PathId> = saved.chain(memory.found.keys().copied()).collect();
            ids.retain(|&id| self.places[id].parent == path);
            ids.sort_by_key(|&id| (instance_number(&self.places[id].name), id));
            ids.dedup();
            list.extend(ids.into_iter().map(|id| (id, sup.items[0].clone())));
        } else {
            for item in &sup.items {
                let id = self.places.intern(path, &item.id, false);
                // Temporary and ended, or deleted: not there before the next incarnation.
                let is_dropped = was_open && memory.past.get(&id).is_some_and(|past| past.child.is_none());
                if !is_dropped || memory.found.contains_key(&id) {
                    list.push((id, item.clone()));
                }
            }
        }
        let mut marks = Vec::new();
        let (mut stop, mut start) = (Vec::new(), Vec::new());
        let mut children = Vec::new();
        for (id, item) in list {
            let past = memory.past.get(&id);
            let own_window = past.filter(|_| item.worker().is_some()).map(|past| past.window.runs.clone());
            let child = past.and_then(|past| past.child.as_ref()).filter(|_| was_open);
            let (stops, starts) = child.map_or((false, true), |child| (child.stops, child.starts));
            let since = self.places[id].past.since;
            let c = self.add_child(n, item, id, St::Down);
            self.kids[c].past.since = since;
            if let Some(runs) = own_window.filter(|runs| !runs.is_empty()) {
                self.kids[c].beyond().window = Window::from_runs(runs);
            }
            children.push(c);
            if stops {
                marks.push(c);
                stop.push(c);
            }
            if starts {
                start.push(c);
            }
        }
        let by_dependencies = self.nodes[n].by_dependencies();
        if by_dependencies {
            self.link_all_edges(n);
        }
        let mut ends = Vec::new();
        for &c in &children {
            self.restore(c, memory, &mut ends);
        }
        if by_dependencies {
            marks.into_iter().for_each(|c| self.mark(c));
            self.nodes[n].changed.extend(&children);
        } else {
            // What is down and not among them is not to be started by this operation.
            start.retain(|&c| self.kids[c].st != St::Down);
            let op = Op {
                stop: stop.into_iter().collect(),
                start: start.into_iter().rev().collect::<Slots>(),
                then: Then::Rest,
                incident: self.cause,
                ..Op::default()
            };
            self.nodes[n].op = (op.stop.len() + op.start.len() > 0).then_some(op);
        }
        for (c, exit) in ends {
            self.child_ended(c, exit, None);
        }
        self.apply_to_found(n);
        let waits = |&&c: &&ChildIx| self.kids[c].st == St::Down && self.kids[c].want == Want::Up;
        if children.iter().filter(waits).any(|&c| !self.is_held(c)) {
            // Released, and its supervisor had not come to it.
            self.post(n, Msg::Release);
        }
        self.wake(n);
    }
}

fn instance_number(name: &str) -> u32 {
    name.rsplit_once('#').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}
