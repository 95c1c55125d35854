//! What is known of the register, and when it is not believed.
//!
//! The whole is read once and then followed by the watch; after a gap it is read again. Revisions only rise: a store that
//! answers with less than was seen was emptied or restored, and a term that stands by what was seen is ended rather than
//! run in doubt. Nothing is believed of it until it has gone beyond that.

use super::machine::Cluster;
use super::register::{Owner, Why};
use super::{Effect, Epoch, Fact, Key, Value};
use crate::time::Time;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// Not asked for yet.
    Not,
    /// Asked for, when that much had been seen.
    Asked { since: Time, seen: u64 },
    /// Known, and watched.
    Known,
    /// Older than what was seen; asked for again then.
    Doubted { again: Time },
}

impl Reading {
    pub fn is_known(&self) -> bool {
        *self == Reading::Known
    }
}

impl Cluster {
    /// Asks for the whole register, unless that is under way.
    pub(super) fn ask(&mut self, fx: &mut Vec<Effect>) {
        if !matches!(self.reading, Reading::Asked { .. }) {
            self.reading = Reading::Asked { since: self.now, seen: self.seen };
            self.behind = None;
            fx.push(Effect::Read);
        }
    }

    pub(super) fn read_if_need_be(&mut self, fx: &mut Vec<Effect>) {
        let patience = self.config.timing.hold;
        match &mut self.reading {
            Reading::Not => {
                if let super::term::Life::Ending { term, .. } = self.life {
                    fx.push(Effect::End { term });
                }
                self.keep_what_was_found(fx);
                self.ask(fx);
            }
            Reading::Asked { since, .. } if *since + patience <= self.now => {
                *since = self.now;
                fx.push(Effect::Read);
            }
            Reading::Doubted { again } if *again <= self.now => self.ask(fx),
            Reading::Known if self.behind.is_some_and(|since| since + patience / 2 <= self.now) => {
                self.ask(fx)
            }
            _ => {}
        }
    }

    pub(super) fn reading_deadline(&self) -> Option<Time> {
        let patience = self.config.timing.hold;
        match &self.reading {
            Reading::Not => Some(self.now),
            Reading::Asked { since, .. } => Some(*since + patience),
            Reading::Doubted { again } => Some(*again),
            Reading::Known => self.behind.map(|since| since + patience / 2),
        }
    }

    pub(super) fn read(&mut self, revision: u64, entries: Vec<(Key, u64, Value)>, fx: &mut Vec<Effect>) {
        match self.reading {
            Reading::Asked { seen, .. } if revision < seen => return self.doubt(revision, fx),
            Reading::Asked { .. } => {}
            // The answer to an asking of before.
            _ if revision < self.register.revision || !self.reading.is_known() => return,
            _ => {}
        }
        let first = self.register.revision == 0;
        self.reading = Reading::Known;
        self.dirty = true;
        let now: BTreeMap<Key, (u64, Value)> =
            entries.into_iter().map(|(key, revision, value)| (key, (revision, value))).collect();
        let maintenance = self.register.maintenance().is_some();
        let before = std::mem::take(&mut self.register.entries);
        self.register.revision = revision;
        for key in before.keys().filter(|key| !now.contains_key(*key)) {
            self.notice(key, None, false, fx);
        }
        for (key, (at, value)) in &now {
            if before.get(key).is_none_or(|(before, _)| before != at) {
                self.notice(key, Some(value), false, fx);
                if let (false, Key::Owner(_), Value::Owner(owner)) = (first, key, value) {
                    self.tell_owner(key, *at, owner, fx);
                }
            }
        }
        self.register.entries = now;
        self.tell_maintenance(maintenance, fx);
        self.news(revision, fx);
    }

    pub(super) fn changed(
        &mut self,
        revision: u64,
        changes: Vec<(Key, Option<Value>)>,
        fx: &mut Vec<Effect>,
    ) {
        if !self.reading.is_known() || revision <= self.register.revision {
            return;
        }
        let maintenance = self.register.maintenance().is_some();
        self.register.revision = revision;
        for (key, value) in changes {
            self.notice(&key, value.as_ref(), true, fx);
            if let Some(Value::Owner(owner)) = &value {
                self.tell_owner(&key, revision, owner, fx);
            }
            match value {
                Some(value) => drop(self.register.entries.insert(key, (revision, value))),
                None => drop(self.register.entries.remove(&key)),
            }
        }
        self.tell_maintenance(maintenance, fx);
        self.news(revision, fx);
    }

    fn tell_maintenance(&self, before: bool, fx: &mut Vec<Effect>) {
        let on = self.register.maintenance().is_some();
        if on != before {
            fx.push(Effect::Fact(Fact::Maintenance { on }));
        }
    }

    /// Something was learnt.
    fn news(&mut self, revision: u64, fx: &mut Vec<Effect>) {
        self.know(revision);
        if self.register.revision >= self.seen {
            self.behind = None;
        }
        self.dirty |= self.desk.waits_for_news() || self.scribe.waits_for_news();
        if self.dirty {
            self.look_at_the_epoch(fx);
            self.look_at_the_owners(fx);
        }
    }

    /// The store has gone so far.
    pub(super) fn know(&mut self, revision: u64) {
        self.seen = self.seen.max(revision);
        if self.register.revision < self.seen {
            self.behind.get_or_insert(self.now);
        }
    }

    pub(super) fn lost(&mut self, fx: &mut Vec<Effect>) {
        if self.reading.is_known() {
            self.ask(fx);
        }
    }

    /// The store is older than what was seen.
    pub(super) fn doubt(&mut self, revision: u64, fx: &mut Vec<Effect>) {
        if self.standing().is_some() || self.register.revision > 0 {
            fx.push(Effect::Fact(Fact::StoreOlder { revision, seen: self.seen }));
        }
        self.end_term("the store is older than what was seen of it".into(), fx);
        self.rest();
        self.register = super::Register::default();
        self.sights.clear();
        self.behind = None;
        self.reading = Reading::Doubted { again: self.now + self.config.timing.hold };
    }

    /// A key has changed; `live`: just now, not some time before.
    fn notice(&mut self, key: &Key, value: Option<&Value>, live: bool, fx: &mut Vec<Effect>) {
        match key {
            Key::Epoch(node) if *node == self.config.me => {
                let member = value.and_then(|value| match value {
                    Value::Epoch(member) => Some(member),
                    _ => None,
                });
                self.look_at_namesake(member, live);
            }
            Key::Beat(node) if *node == self.config.me && live => {
                let member = self.register.member(node).cloned();
                self.look_at_namesake(member.as_ref(), live);
            }
            Key::Beat(node) if *node != self.config.me => self.beat_seen(node, false, live, fx),
            Key::Epoch(node) if *node != self.config.me => match value {
                Some(Value::Epoch(member)) if member.fenced.is_none() => self.beat_seen(node, true, live, fx),
                _ => self.term_seen_to_end(node),
            },
            Key::Owner(group) => {
                if let (Some(i), Some(Value::Owner(owner))) = (self.index(group), value)
                    && matches!(owner.why, Why::Failback | Why::Rollback(_))
                {
                    self.parts[i].flapped = Some(self.now);
                }
            }
            _ => {}
        }
        self.dirty |= !matches!(key, Key::Beat(_));
    }

    /// A new owner is told by whoever decided it and by whoever it is.
    fn tell_owner(&self, key: &Key, revision: u64, owner: &Owner, fx: &mut Vec<Effect>) {
        let Key::Owner(group) = key else { return };
        let me = &self.config.me;
        if owner.by != *me && owner.node.as_ref() != Some(me) {
            return;
        }
        fx.push(Effect::Fact(Fact::Given {
            group: group.clone(),
            epoch: Epoch(revision),
            from: owner.from.clone(),
            to: owner.node.clone(),
            why: owner.why.clone(),
        }));
        if let (None, Why::Broken(why)) = (&owner.node, &owner.why) {
            fx.push(Effect::Fact(Fact::Broken { group: group.clone(), why: why.clone() }));
        }
    }
}
