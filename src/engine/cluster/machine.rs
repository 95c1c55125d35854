//! The cluster as one node sees it, and its one function.
//!
//! Each turn: first the clock (a term whose deadline has passed is over before anything else is believed), then the event,
//! then whatever follows: read, look at the others, join, beat, accept and give, write down.
//!
//! | rule | room |
//! |---|---|
//! | this node's term: joining, beats, deadline, the end | `term` |
//! | what is known of the register, and when it is doubted | `reading` |
//! | who else is alive | `sight` |
//! | where a group may run | `place` |
//! | what of each group is here; the one function that writes it | `groups` |
//! | why a group leaves this node | `handover` |
//! | when it goes back to a better one | `failback` |
//! | owners: given on, taken from the dead, given for the first time; fencing | `owners`, `fencing` |
//! | one decision under way at a time; what became of it | `desk` |
//! | states of groups, probes: what is written for others to read | `scribe` |
//! | words of persons | `requests` |
//! | what would happen if | `foresee` |

use super::desk::{Desk, Pending};
use super::fencing::Fence;
use super::groups::Part;
use super::place::in_starting_order;
use super::reading::Reading;
use super::sight::Seen;
use super::term::Life;
use super::{Config, Effect, Event, Key, Name, Register, Saved, Transaction, View};
use crate::event::ReqId;
use crate::time::Time;
use std::collections::BTreeMap;

/// One node's part in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// Groups in the order in which they start.
    pub(super) config: Config,
    pub(super) now: Time,
    /// Wall clock of this turn, milliseconds since 1970: written into the register for people, never compared.
    pub(super) wall: u64,
    pub(super) life: Life,
    pub(super) reading: Reading,
    pub(super) register: Register,
    /// The greatest revision known of: from the watch, or from what became of a transaction.
    pub(super) seen: u64,
    /// Since when the watch has not shown what is known of.
    pub(super) behind: Option<Time>,
    pub(super) sights: BTreeMap<Name, Seen>,
    /// One for each group of `config`.
    pub(super) parts: Vec<Part>,
    pub(super) fences: BTreeMap<Name, Fence>,
    pub(super) desk: Desk,
    pub(super) scribe: Desk,
    pub(super) pending: Vec<Pending>,
    pub(super) last_id: u64,
    /// This node stops, and who asked for it.
    pub(super) leaving: Option<Vec<ReqId>>,
    /// Something has changed that decisions depend on.
    pub(super) dirty: bool,
    /// Or will have at this time.
    pub(super) wake: Option<Time>,
}

impl Cluster {
    /// A node that joins anew. Nothing of any group may run on it: the embedder has seen to that. The first effects come
    /// out of the first call of `handle`.
    pub fn new(config: Config, now: Time) -> Cluster {
        Cluster::with_life(config, now, Life::Outside { again: now }, 0)
    }

    /// A daemon that goes on with the term of the one before it: same keeper, same processes, same epochs, if the deadline
    /// stands. Else the term is ended first, and the node joins anew.
    pub fn resume(config: Config, saved: Saved, now: Time) -> Cluster {
        let mut cluster = Cluster::with_life(config, now, Life::Outside { again: now }, saved.seen);
        cluster.resume_term(&saved);
        cluster.resume_groups(&saved.groups);
        cluster
    }

    fn with_life(mut config: Config, now: Time, life: Life, seen: u64) -> Cluster {
        in_starting_order(&mut config.groups);
        let parts = config.groups.iter().map(|_| Part::default()).collect();
        Cluster {
            config,
            now,
            wall: 0,
            life,
            reading: Reading::Not,
            register: Register::default(),
            seen,
            behind: None,
            sights: BTreeMap::new(),
            parts,
            fences: BTreeMap::new(),
            desk: Desk::Free,
            scribe: Desk::Free,
            pending: Vec::new(),
            last_id: 0,
            leaving: None,
            dirty: true,
            wake: None,
        }
    }

    /// Decides what follows from `event` at `now` (on the clock that runs on through suspend) and appends it to `effects`.
    /// Total: any event in any state. A `now` before that of the last call counts as the same moment. `wall` (milliseconds
    /// since 1970) is only written down.
    pub fn handle(&mut self, now: Time, wall: u64, event: Event, effects: &mut Vec<Effect>) {
        if let Some(due) = self.next_deadline() {
            self.slept(now.since(due));
        }
        self.now = self.now.max(now);
        self.wall = wall;
        self.look_at_the_clock(effects);
        self.take(event, effects);
        self.read_if_need_be(effects);
        self.look_around(effects);
        self.join_if_need_be(effects);
        self.beat_if_due(effects);
        if self.dirty || self.wake.is_some_and(|wake| wake <= self.now) {
            self.dirty = false;
            self.wake = None;
            self.accept(effects);
            self.leave_groups(effects);
            self.run_probes(effects);
            self.fence(effects);
            self.forget_wishes(effects);
            self.decide(effects);
            self.write_down(effects);
            self.leave_cluster(effects);
        }
    }

    fn take(&mut self, event: Event, fx: &mut Vec<Effect>) {
        match event {
            Event::Read { revision, entries } => self.read(revision, entries, fx),
            Event::Changed { revision, changes } => self.changed(revision, changes, fx),
            Event::Lost => self.lost(fx),
            Event::Answered { id, answer } => self.answered(id, answer, fx),
            Event::Armed { number } => self.armed(number),
            Event::Unguarded => self.end_unguarded(fx),
            Event::Fired { term } => self.fired(term, fx),
            Event::Up { group, epoch } => self.up(&group, epoch, fx),
            Event::Restarted { group } => self.restarted(&group),
            Event::Down { group, epoch, how } => self.down(&group, epoch, how, fx),
            Event::Stuck { group, epoch } => self.stuck(&group, epoch, fx),
            Event::Probed { group, result } => self.probed(&group, result),
            Event::Fenced { node, result } => self.fenced(&node, result, fx),
            Event::Request { id, request } => self.request(id, request, fx),
            Event::Tick => {}
        }
    }

    /// When `handle` must be called at the latest, with [`Event::Tick`] if nothing else happens. Waking earlier is harmless.
    pub fn next_deadline(&self) -> Option<Time> {
        let moments = [self.term_deadline(), self.reading_deadline(), self.sight_deadline(), self.wake];
        let next = moments.into_iter().flatten().min();
        if self.dirty { Some(self.now) } else { next }
    }

    /// What is known here, for people and for foresight.
    pub fn view(&self) -> View {
        View {
            register: self.register.clone(),
            me: self.config.me.clone(),
            now: self.now,
            groups: self.config.groups.clone(),
            term: self.standing().map(|standing| (standing.term, standing.deadline)),
            seen: self.nodes().map(|node| (node.clone(), self.sight_of(node))).collect(),
        }
    }

    /// What the next daemon of this node must know; `None`: no term stands, it joins anew.
    pub fn saved(&self) -> Option<Saved> {
        let standing = self.standing()?;
        let held = self.config.groups.iter().zip(&self.parts);
        Some(Saved {
            term: standing.term,
            revision: standing.revision,
            deadline: standing.deadline,
            seen: standing.seen.max(standing.accepted),
            groups: held.filter_map(|(group, part)| part.held(&group.name)).collect(),
        })
    }

    /// Other rules for the groups, or other groups. What runs here of a group that is gone is given to others. A group that
    /// has come can be taken by this node once it has joined anew: others know its groups from its joining.
    pub fn configure(&mut self, now: Time, config: Config) {
        self.now = self.now.max(now);
        let mut groups = config.groups;
        for old in &self.config.groups {
            let part = self.part(&old.name);
            if !groups.iter().any(|g| g.name == old.name) && part.is_some_and(|p| p.epoch().is_some()) {
                groups.push(super::Group { nodes: Vec::new(), ..old.clone() });
            }
        }
        in_starting_order(&mut groups);
        let mut old: BTreeMap<Name, Part> =
            self.config.groups.iter().map(|g| g.name.clone()).zip(std::mem::take(&mut self.parts)).collect();
        self.parts = groups.iter().map(|g| old.remove(&g.name).unwrap_or_default()).collect();
        self.config.groups = groups;
        self.dirty = true;
    }

    /// A number for a transaction, an arming.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn wake_at(&mut self, at: Time) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) fn index(&self, group: &Name) -> Option<usize> {
        self.config.groups.iter().position(|g| g.name == *group)
    }

    pub(super) fn part(&self, group: &Name) -> Option<&Part> {
        self.index(group).map(|i| &self.parts[i])
    }

    /// Nodes that have ever joined.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Name> {
        self.register.entries.keys().filter_map(|key| match key {
            Key::Epoch(node) => Some(node),
            _ => None,
        })
    }

    pub(super) fn commit(&mut self, transaction: Transaction, beat: bool, fx: &mut Vec<Effect>) -> u64 {
        let id = self.next_id();
        fx.push(Effect::Commit { id, transaction, beat });
        id
    }
}
