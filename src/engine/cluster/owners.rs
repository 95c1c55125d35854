//! Whose a group is to be: given on by its owner, taken from the dead, given to somebody who has none.
//!
//! All that can be decided at one moment is decided in one transaction, from the register as it is known here: its
//! conditions are this node's own epoch, the owner key of each group that is given, and the epoch of each node that is
//! given one. While a node's epoch stands, only that node gives its groups away. Ending the term of a dead one is
//! conditioned on its epoch *and its beat*: it fails if that node is not dead.
//!
//! A group is *free* if nobody has it, or the node in whose name it is has no term any more. Whoever has its tree may give
//! it out; the node it goes to at once, the others each a little later, should that one not do it.

use super::desk::What;
use super::groups::{Here, Then};
use super::machine::Cluster;
use super::place::{Board, Placed, Presence, Wanted};
use super::register::{Avoid, Member, Owner, Phase, Why};
use super::{Condition, Effect, Epoch, Fencing, Key, Name, Term, Transaction, Value, Write};
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between one challenger and the next.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// A transaction being put together.
#[derive(Default)]
pub(super) struct Draft {
    pub conditions: Vec<Condition>,
    pub writes: Vec<Write>,
}

impl Draft {
    pub fn require(&mut self, key: Key, revision: u64) {
        let condition = Condition::At(key, revision);
        if !self.conditions.contains(&condition) {
            self.conditions.push(condition);
        }
    }

    /// Stores take 128 of each in one transaction as they come (etcd's `--max-txn-ops`): what does not fit follows in
    /// the next.
    pub fn is_full(&self) -> bool {
        self.conditions.len().max(self.writes.len()) > 120
    }

    pub fn put(&mut self, key: Key, value: Value) {
        self.writes.push(Write::Put(key, value));
    }
}

/// Why a group may be given out by this node.
enum Free {
    /// It never had an owner, or none was able: now one is.
    Nobody,
    /// The node in whose name it is has no term.
    From { node: Name, why: Why },
}

impl Cluster {
    pub(super) fn board(&self) -> Board<'_> {
        let mut presence: BTreeMap<Name, Presence> =
            self.nodes().map(|node| (node.clone(), self.presence(node))).collect();
        presence.insert(self.config.me.clone(), self.presence(&self.config.me));
        Board::new(&self.register, &self.config.groups, presence)
    }

    /// What is known is no older than this node's own term, and the deadline stands.
    pub(super) fn may_decide(&self) -> bool {
        self.reading.is_known()
            && self
                .standing()
                .is_some_and(|standing| standing.armed && standing.revision <= self.register.revision)
    }

    /// One decision, if one is to be made.
    pub(super) fn decide(&mut self, fx: &mut Vec<Effect>) {
        if !self.may_decide() {
            return;
        }
        self.note_who_is_free();
        if !self.is_free(|cluster| &mut cluster.desk) {
            return;
        }
        let mut draft = Draft::default();
        let mut wake = Vec::new();
        let mut board = self.board();
        self.give_on(&mut board, &mut draft);
        if self.register.maintenance().is_none() {
            self.take_from_the_dead(&mut board, &mut draft, &mut wake);
            self.give_out(&mut board, &mut draft, &mut wake);
        }
        self.forgive(&mut draft, &mut wake);
        self.forget(&mut draft);
        drop(board);
        for at in wake {
            self.wake_at(at);
        }
        if !draft.writes.is_empty() {
            let revision = self.standing().map_or(0, |standing| standing.revision);
            draft.require(Key::Epoch(self.config.me.clone()), revision);
            let transaction = Transaction { conditions: draft.conditions, writes: draft.writes };
            self.send(transaction, What::Decision, |cluster| &mut cluster.desk, fx);
        }
    }

    /// Writes the owner of a group, if it is still the one that is known.
    fn give(&self, i: usize, to: Option<&Name>, why: Why, board: &mut Board, draft: &mut Draft) {
        let group = &self.config.groups[i].name;
        let before = self.register.owner(group);
        let key = Key::Owner(group.clone());
        draft.require(key.clone(), self.register.revision_of(&key));
        if let Some(to) = to.filter(|to| **to != self.config.me) {
            let epoch = Key::Epoch(to.clone());
            let revision = self.register.revision_of(&epoch);
            draft.require(epoch, revision);
        }
        let from = before.and_then(|(_, owner)| owner.node.clone().or_else(|| owner.from.clone()));
        draft.put(
            key,
            Value::Owner(Owner {
                node: to.cloned(),
                from,
                why,
                by: self.config.me.clone(),
                since: self.wall,
            }),
        );
        for key in [Key::Move(group.clone()), Key::Probe(group.clone())] {
            if self.register.entries.contains_key(&key) {
                draft.writes.push(Write::Delete(key));
            }
        }
        board.give(group, to.cloned());
    }

    // ------------------------------------------------------------------ from this node

    /// Gives on what is down here, and what is in this node's name and runs nowhere.
    fn give_on(&self, board: &mut Board, draft: &mut Draft) {
        let maintenance = self.register.maintenance().is_some();
        for i in 0..self.parts.len() {
            if draft.is_full() {
                return;
            }
            match &self.parts[i].here {
                Here::Released { epoch, then } if self.mine(i) == Some(*epoch) => {
                    let by_person = matches!(then.why, Why::Moved(_) | Why::Stopped(_) | Why::Left);
                    if by_person || !maintenance {
                        self.give_released(i, *epoch, then, board, draft);
                    }
                }
                Here::Nothing if self.is_stale(i) && !maintenance => {
                    let why = if self.leaving.is_some() { Why::Left } else { Why::Rejoined };
                    let stays = Wanted { prefer: Some(&self.config.me), ..Wanted::default() };
                    self.give_if_able(i, why, stays, board, draft);
                }
                _ => {}
            }
        }
    }

    fn give_released(&self, i: usize, epoch: Epoch, then: &Then, board: &mut Board, draft: &mut Draft) {
        let (group, me) = (&self.config.groups[i], &self.config.me);
        if let Some(words) = &then.failed {
            if self.register.avoid(&group.name, me).is_none() {
                let avoid = Avoid { why: words.clone(), since: self.wall };
                draft.put(Key::Avoid(group.name.clone(), me.clone()), Value::Avoid(avoid));
            }
            board.shunned.push((group.name.clone(), me.clone(), words.clone()));
        }
        if let Why::Stopped(_) = then.why {
            if let Some(state) = self.new_state(i, epoch, Phase::Stopped) {
                draft.put(Key::State(group.name.clone()), Value::State(state));
            }
            return self.give(i, None, then.why.clone(), board, draft);
        }
        if let Some(state) = self.new_state(i, epoch, Phase::Stopping) {
            draft.put(Key::State(group.name.clone()), Value::State(state));
        }
        let wish = self.register.wish(&group.name).and_then(|wish| wish.to.as_ref());
        let elsewhere = Wanted { prefer: then.to.as_ref().or(wish), except: Some(me), patient: false };
        match board.place(group, elsewhere) {
            Placed::On(node) => self.give(i, Some(&node), then.why.clone(), board, draft),
            // Rather here again than nowhere, unless it has failed here or this node leaves.
            _ => self.give_if_able(i, then.why.clone(), Wanted::default(), board, draft),
        }
    }

    /// Where it can go; to nobody if no node is able.
    fn give_if_able(&self, i: usize, why: Why, wanted: Wanted, board: &mut Board, draft: &mut Draft) {
        match board.place(&self.config.groups[i], wanted) {
            Placed::On(node) => self.give(i, Some(&node), why, board, draft),
            Placed::Nobody(reasons) => self.give(i, None, Why::Broken(reasons), board, draft),
            Placed::WaitsFor(_) => {}
        }
    }

    /// What stands in this node's name and will not as soon as it has been decided: there is something left to do before it
    /// can leave.
    pub(super) fn owns_what_it_could_give(&self) -> bool {
        self.register.maintenance().is_none() && (0..self.parts.len()).any(|i| self.mine(i).is_some())
    }

    // ------------------------------------------------------------------ from the dead

    /// Ends the term of a silent node in whose name there are groups; they are free with that. One node at a time.
    fn take_from_the_dead(&self, board: &mut Board, draft: &mut Draft, wake: &mut Vec<Time>) {
        for (node, seen) in self.sights.iter().filter(|(_, seen)| seen.silent) {
            let Some(member) = self.register.member(node).filter(|member| member.fenced.is_none()) else {
                continue;
            };
            if !self.owns_anything(node) {
                continue;
            }
            let moment = seen.at + member.timing.wait + STEP * self.rank_against(node);
            if moment > self.now {
                wake.push(moment);
                continue;
            }
            for key in [Key::Epoch(node.clone()), Key::Beat(node.clone())] {
                let revision = self.register.revision_of(&key);
                draft.require(key, revision);
            }
            let ended = Member {
                term: Term(member.term.0 + 1),
                fenced: Some(self.config.me.clone()),
                ..member.clone()
            };
            draft.put(Key::Epoch(node.clone()), Value::Epoch(ended));
            let silent = self.now.since(seen.at).as_millis() as u64;
            for i in 0..self.parts.len() {
                let group = &self.config.groups[i];
                let owner = self.register.owner(&group.name).and_then(|(_, owner)| owner.node.as_ref());
                if owner == Some(node) && group.fencing == Fencing::None && !draft.is_full() {
                    self.give_if_able(i, Why::Dead { silent, fenced: None }, Wanted::default(), board, draft);
                }
            }
            return;
        }
    }

    fn owns_anything(&self, node: &Name) -> bool {
        self.register
            .entries
            .values()
            .any(|(_, value)| matches!(value, Value::Owner(owner) if owner.node.as_ref() == Some(node)))
    }

    /// How many are to challenge a dead node before this one: those that stand earlier in the list of the first of its
    /// groups, then by name.
    pub(super) fn rank_against(&self, dead: &Name) -> u32 {
        let first = self.config.groups.iter().find(|group| {
            self.register.owner(&group.name).is_some_and(|(_, owner)| owner.node.as_ref() == Some(dead))
        });
        let place = |node: &Name| {
            let nodes = first.map_or(&[][..], |group| &group.nodes);
            (nodes.iter().position(|n| n == node).unwrap_or(usize::MAX), node.clone())
        };
        let own = place(&self.config.me);
        let alive = self.nodes().filter(|node| self.presence(node) == Presence::Alive);
        alive.filter(|node| place(node) < own).count() as u32
    }

    // ------------------------------------------------------------------ to somebody

    /// Since when each group is free, on this node's clock.
    fn note_who_is_free(&mut self) {
        for i in 0..self.parts.len() {
            let free = self.free(i).is_some();
            let since = self.parts[i].free.filter(|_| free).or(free.then_some(self.now));
            self.parts[i].free = since;
        }
    }

    /// Whether a group is free.
    fn free(&self, i: usize) -> Option<Free> {
        let Some((_, owner)) = self.register.owner(&self.config.groups[i].name) else {
            return Some(Free::Nobody);
        };
        let Some(node) = &owner.node else {
            return (!matches!(owner.why, Why::Stopped(_))).then_some(Free::Nobody);
        };
        if *node == self.config.me {
            return None;
        }
        let why = match self.register.member(node) {
            Some(member) if member.fenced.is_none() => return None,
            Some(member) if member.fenced.as_ref() == Some(node) => Why::Left,
            _ => Why::Dead { silent: self.silent(node), fenced: None },
        };
        Some(Free::From { node: node.clone(), why })
    }

    /// Milliseconds since a node was last seen.
    pub(super) fn silent(&self, node: &Name) -> u64 {
        self.sights.get(node).map_or(0, |seen| self.now.since(seen.at).as_millis() as u64)
    }

    /// Gives free groups to the best node.
    fn give_out(&self, board: &mut Board, draft: &mut Draft, wake: &mut Vec<Time>) {
        let Some(standing) = self.standing() else { return };
        let watched = standing.since + self.config.timing.wait;
        for i in 0..self.parts.len() {
            let group = &self.config.groups[i];
            if draft.is_full() {
                return;
            }
            let (Some(free), Some(since)) = (self.free(i), self.parts[i].free) else { continue };
            let (why, since) = match free {
                Free::Nobody => (Why::First, since),
                Free::From { node, why } => match (why, group.fencing) {
                    (Why::Dead { silent, .. }, Fencing::BestEffort | Fencing::Required) => {
                        match self.fenced_since(&node, group.fencing) {
                            Some((fenced, at)) => (Why::Dead { silent, fenced: Some(fenced) }, at),
                            None => continue,
                        }
                    }
                    // Its epoch key was taken away by hand: it knows by then.
                    (why, _) if self.register.member(&node).is_none() => {
                        (why, since + self.config.timing.wait)
                    }
                    (why, _) => (why, since),
                },
            };
            let never = self.register.owner(&group.name).is_none();
            let patient = self.now < watched && never;
            match board.place(group, Wanted { patient, ..Wanted::default() }) {
                Placed::On(node) => {
                    let moment = since + STEP * self.rank_for(group, &node, board);
                    if moment > self.now {
                        wake.push(moment);
                    } else {
                        self.give(i, Some(&node), why, board, draft);
                    }
                }
                // Whoever waits for it will hear of it, or has waited long enough then.
                Placed::WaitsFor(_) => wake.extend((watched > self.now).then_some(watched)),
                Placed::Nobody(reasons) => {
                    let owner = self.register.owner(&group.name).map(|(_, owner)| owner);
                    let told = owner
                        .is_some_and(|owner| matches!(owner.why, Why::Broken(_)) && owner.node.is_none());
                    let moment = watched.max(since + STEP * self.rank_for(group, &self.config.me, board));
                    if moment > self.now {
                        wake.push(moment);
                    } else if !told {
                        self.give(i, None, Why::Broken(reasons), board, draft);
                    }
                }
            }
        }
    }

    /// How many are to give a group to `to` before this node does: that node itself, then the others by name.
    fn rank_for(&self, group: &super::Group, to: &Name, board: &Board) -> u32 {
        let me = &self.config.me;
        if to == me {
            return 0;
        }
        let others = group.nodes.iter().filter(|node| board.presence(node) == Presence::Alive);
        1 + others.filter(|node| **node != *to && **node < *me).count() as u32
    }

    /// Takes away the notes that groups gave up here, each when its time is over.
    fn forgive(&self, draft: &mut Draft, wake: &mut Vec<Time>) {
        for (group, part) in self.config.groups.iter().zip(&self.parts) {
            let Some(at) = part.forgive else { continue };
            let key = Key::Avoid(group.name.clone(), self.config.me.clone());
            if at > self.now {
                wake.push(at);
            } else if !draft.is_full() && self.register.entries.contains_key(&key) {
                draft.require(key.clone(), self.register.revision_of(&key));
                draft.writes.push(Write::Delete(key));
            }
        }
    }

    /// Takes away wishes that cannot be met.
    fn forget(&self, draft: &mut Draft) {
        for (group, part) in self.config.groups.iter().zip(&self.parts) {
            let key = Key::Move(group.name.clone());
            if let Some(revision) = part.forget
                && self.register.revision_of(&key) == revision
                && !draft.is_full()
            {
                draft.require(key.clone(), revision);
                draft.writes.push(Write::Delete(key));
            }
        }
    }

    /// When the notes that groups gave up here are to be taken away.
    pub(super) fn count_avoids(&mut self) {
        for i in 0..self.parts.len() {
            let group = &self.config.groups[i];
            let noted = self.register.avoid(&group.name, &self.config.me).is_some();
            let at = self.now + group.failure_timeout;
            let part = &mut self.parts[i];
            part.forgive = noted.then(|| part.forgive.unwrap_or(at));
        }
    }
}
