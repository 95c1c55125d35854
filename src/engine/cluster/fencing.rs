//! Power fencing of a node whose term was ended, for the groups that ask for it.
//!
//! The term is ended first, in the register: that it could be is the proof that the node did not beat. Only then is its
//! power cut, by whoever ended the term; if that one is gone too, by the next. Groups that do not ask for it are given on
//! meanwhile. [`Fencing::BestEffort`] waits for the attempt, [`Fencing::Required`] for its success, and the attempt is
//! repeated.

use super::machine::Cluster;
use super::owners::STEP;
use super::place::Presence;
use super::{Effect, Fact, Fencing, Name};
use crate::time::Time;
use std::time::Duration;

/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(10);

/// How far the fencing of a node is, whose epoch was written at `revision`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fence {
    pub revision: u64,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Its turn comes then.
    Waits { at: Time },
    /// The agents are at work.
    Asked,
    /// It has no power any more.
    Done { at: Time },
    /// In vain, for the first time then; the last time at `last`.
    Failed { at: Time, last: Time },
}

impl Cluster {
    /// Fences whom groups wait for.
    pub(super) fn fence(&mut self, fx: &mut Vec<Effect>) {
        if !self.may_decide() {
            return;
        }
        let current = |node: &Name, fence: &Fence| {
            let key = super::Key::Epoch(node.clone());
            self.register.revision_of(&key) == fence.revision
        };
        let stale: Vec<Name> = self
            .fences
            .iter()
            .filter(|(node, fence)| !current(node, fence))
            .map(|(node, _)| node.clone())
            .collect();
        for node in stale {
            self.fences.remove(&node);
        }
        if self.register.maintenance().is_some() {
            return;
        }
        for node in self.nodes().cloned().collect::<Vec<_>>() {
            let groups = self.wait_for_fencing(&node);
            if !groups.is_empty() {
                self.fence_node(node, groups, fx);
            }
        }
    }

    /// The groups in a node's name that are given on only when it was fenced, if it is to be.
    fn wait_for_fencing(&self, node: &Name) -> Vec<Name> {
        let ended = self.register.member(node).and_then(|member| member.fenced.as_ref());
        if ended.is_none_or(|by| by == node) || *node == self.config.me {
            return Vec::new();
        }
        let groups = self.config.groups.iter().filter(|group| group.fencing != Fencing::None);
        let owned = groups.filter(|group| {
            self.register.owner(&group.name).is_some_and(|(_, owner)| owner.node.as_ref() == Some(node))
        });
        owned.map(|group| group.name.clone()).collect()
    }

    fn fence_node(&mut self, node: Name, groups: Vec<Name>, fx: &mut Vec<Effect>) {
        let now = self.now;
        let revision = self.register.revision_of(&super::Key::Epoch(node.clone()));
        let turn = self.turn_to_fence(&node, &groups);
        let fence = self
            .fences
            .entry(node.clone())
            .or_insert(Fence { revision, state: State::Waits { at: now + turn } });
        let at = match fence.state {
            State::Waits { at } => at,
            State::Failed { last, .. } => last + AGAIN,
            State::Asked | State::Done { .. } => return,
        };
        if at > now {
            return self.wake_at(at);
        }
        fence.state = State::Asked;
        fx.push(Effect::Fence { node, groups });
    }

    /// Nothing for whoever has ended the term. If that one is seen and has all the trees, the others give it time; else they wait
    /// for each other.
    fn turn_to_fence(&self, node: &Name, groups: &[Name]) -> Duration {
        let by = self.register.member(node).and_then(|member| member.fenced.as_ref());
        let has = |by: &Name| {
            self.register
                .member(by)
                .is_some_and(|member| groups.iter().all(|group| member.groups.contains(group)))
        };
        match by {
            Some(by) if *by == self.config.me => Duration::ZERO,
            Some(by) if self.presence(by) == Presence::Alive && has(by) => {
                AGAIN * 6 + STEP * self.rank_against(node)
            }
            _ => STEP * (1 + self.rank_against(node)),
        }
    }

    /// Since when a group of a node may be given on, and whether the node has no power.
    pub(super) fn fenced_since(&self, node: &Name, fencing: Fencing) -> Option<(bool, Time)> {
        match &self.fences.get(node)?.state {
            State::Done { at } => Some((true, *at)),
            State::Failed { at, .. } if fencing == Fencing::BestEffort => Some((false, *at)),
            _ => None,
        }
    }

    pub(super) fn fenced(&mut self, node: &Name, result: Result<(), String>, fx: &mut Vec<Effect>) {
        let now = self.now;
        let Some(fence) = self.fences.get_mut(node) else { return };
        match (&fence.state, &result) {
            (State::Done { .. }, _) => return,
            (_, Ok(())) => fence.state = State::Done { at: now },
            (State::Failed { at, .. }, Err(_)) => fence.state = State::Failed { at: *at, last: now },
            (_, Err(_)) => fence.state = State::Failed { at: now, last: now },
        }
        fx.push(Effect::Fact(Fact::Fenced { node: node.clone(), result }));
        self.dirty = true;
    }
}
