//! Who else is alive: when a change of each node's beat was last seen, on this node's own clock.
//!
//! A node that was not seen to change for the `wait` it has announced is *silent*: its own deadline has passed, and it may be
//! challenged. One that was only read of, and has not been seen to beat since, is *in doubt*: nothing is given to it yet.

use super::machine::Cluster;
use super::place::Presence;
use super::{Effect, Fact, Name, Sight};
use crate::time::Time;
use std::time::Duration;

/// What is remembered of another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    /// Last change.
    pub at: Time,
    /// Since when its beats have come without a gap longer than half of its `hold`.
    pub steady: Time,
    /// It was seen to change, not only read of.
    pub proved: bool,
    /// It is silent, and that was told.
    pub silent: bool,
}

impl Cluster {
    /// This node should have been awake so much earlier. What the others did meanwhile it has not seen yet: as much more
    /// time is theirs.
    pub(super) fn slept(&mut self, late: Duration) {
        if late >= self.config.timing.beat {
            for seen in self.sights.values_mut().filter(|seen| !seen.silent) {
                seen.at = seen.at + late;
            }
        }
    }

    /// Its beat or its epoch has changed.
    pub(super) fn beat_seen(&mut self, node: &Name, epoch: bool, live: bool, fx: &mut Vec<Effect>) {
        let now = self.now;
        let gap = self.register.member(node).map_or(Duration::ZERO, |member| member.timing.hold / 2);
        // Read of before, and another since: it beats. Two keys of one reading prove nothing.
        let known = self.sights.get(node).is_some_and(|seen| seen.at < now);
        let seen = self.sights.entry(node.clone()).or_insert(Seen {
            at: now,
            steady: now,
            proved: false,
            silent: false,
        });
        if epoch || now.since(seen.at) > gap {
            seen.steady = now;
        }
        seen.at = now;
        let now_proved = live || (!epoch && (seen.proved || known));
        let proved = std::mem::replace(&mut seen.proved, now_proved);
        if std::mem::take(&mut seen.silent) {
            fx.push(Effect::Fact(Fact::NodeBack { node: node.clone() }));
            self.dirty = true;
        }
        self.dirty |= !proved;
    }

    /// Its term is over: what it says no longer counts.
    pub(super) fn term_seen_to_end(&mut self, node: &Name) {
        if let Some(seen) = self.sights.get_mut(node) {
            seen.proved = false;
        }
    }

    /// Tells who has fallen silent.
    pub(super) fn look_around(&mut self, fx: &mut Vec<Effect>) {
        if !self.reading.is_known() {
            return;
        }
        let (now, register) = (self.now, &self.register);
        for (node, seen) in &mut self.sights {
            let Some(member) = register.member(node).filter(|member| member.fenced.is_none()) else {
                continue;
            };
            if !seen.silent && seen.at + member.timing.wait <= now {
                seen.silent = true;
                seen.proved = false;
                let silent = now.since(seen.at).as_millis() as u64;
                fx.push(Effect::Fact(Fact::NodeDead { node: node.clone(), silent }));
                self.dirty = true;
            }
        }
    }

    pub(super) fn sight_deadline(&self) -> Option<Time> {
        if !self.reading.is_known() {
            return None;
        }
        let watched = self.sights.iter().filter(|(_, seen)| !seen.silent);
        let moments = watched.filter_map(|(node, seen)| {
            let member = self.register.member(node).filter(|member| member.fenced.is_none())?;
            Some(seen.at + member.timing.wait)
        });
        moments.min()
    }

    /// Whether something may be given to it.
    pub(super) fn presence(&self, node: &Name) -> Presence {
        let Some(member) = self.register.member(node) else { return Presence::Absent };
        match (&member.fenced, self.sights.get(node)) {
            _ if *node == self.config.me => match self.standing() {
                Some(_) if self.leaving.is_none() => Presence::Alive,
                _ => Presence::Absent,
            },
            (Some(by), _) if by == node => Presence::Absent,
            (Some(_), _) => Presence::Fenced,
            (None, Some(seen)) if seen.silent => Presence::Silent,
            (None, Some(seen)) if seen.proved => Presence::Alive,
            (None, _) => Presence::Doubtful,
        }
    }

    /// For people.
    pub(super) fn sight_of(&self, node: &Name) -> Sight {
        let at = self.sights.get(node).map_or(self.now, |seen| seen.at);
        match self.presence(node) {
            Presence::Alive | Presence::Doubtful => Sight::Fresh { at },
            Presence::Silent => Sight::Silent { at },
            Presence::Fenced => Sight::Fenced,
            Presence::Absent => Sight::Absent,
        }
    }
}
