//! This node's term: from its joining to the end of its right to run anything.
//!
//! ```text
//! Outside ──join──► Joining ──done──► Member ──deadline, fenced, unguarded──► Ending ──all dead──► Outside
//!    ▲                 │ refused, unknown      └── left in order ──► Ending ──► Left
//!    └─────────────────┘
//! ```
//!
//! The deadline is counted from the *sending* of a beat, and moved only when the beat is known to be done. A beat is sent
//! every [`super::Timing::beat`] whatever became of those before, as long as the keeper has answered the last arming within a
//! third of `hold`; if it has not within two thirds, the term is ended from here. A missed deadline is final for its term.

use super::desk::{Pending, What};
use super::machine::Cluster;
use super::place::pairs_apart;
use super::register::Member;
use super::{Condition, Config, Effect, Fact, Key, Name, Saved, Term, Transaction, Value, Write};
use crate::time::Time;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    /// Nothing of ours runs; joins when the register is known, and not before that time.
    Outside { again: Time },
    /// Its new epoch key is on the way.
    Joining { id: u64, sent: Time, term: Term },
    /// It may run what it is given.
    Member(Standing),
    /// Everything is being killed; joins anew after that, and not before that time.
    Ending { term: Term, again: Time },
    /// In order, for good.
    Left,
}

/// A term that stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Standing {
    pub term: Term,
    /// Of the epoch key: as long as it is this one, the term stands.
    pub revision: u64,
    /// Since when the others are watched.
    pub since: Time,
    /// The right to run ends here.
    pub deadline: Time,
    /// What was given up to this revision is not accepted any more.
    pub seen: u64,
    /// The last epoch accepted in it.
    pub accepted: u64,
    /// Sending of the last beat that is known to be done.
    pub confirmed: Time,
    pub next_beat: Time,
    /// The last beat's number.
    pub beat: u64,
    /// The last arming's number.
    pub number: u64,
    /// The keeper has answered one.
    pub armed: bool,
    /// Since when it owes an answer.
    pub unanswered: Option<Time>,
    /// The register does not answer, and that was told.
    pub away: bool,
}

impl Standing {
    fn new(term: Term, revision: u64, seen: u64, now: Time, sent: Time, config: &Config) -> Standing {
        Standing {
            term,
            revision,
            since: now,
            deadline: sent + config.timing.hold,
            seen,
            accepted: seen,
            confirmed: sent,
            next_beat: sent + config.timing.beat,
            beat: 0,
            number: 0,
            armed: false,
            unanswered: None,
            away: false,
        }
    }

    /// The keeper owes no answer for longer than a third of `hold`.
    fn is_guarded(&self, now: Time, hold: Duration) -> bool {
        self.unanswered.is_none_or(|since| now < since + hold / 3)
    }
}

impl Cluster {
    pub(super) fn standing(&self) -> Option<&Standing> {
        match &self.life {
            Life::Member(standing) => Some(standing),
            _ => None,
        }
    }

    pub(super) fn standing_mut(&mut self) -> Option<&mut Standing> {
        match &mut self.life {
            Life::Member(standing) => Some(standing),
            _ => None,
        }
    }

    pub(super) fn resume_term(&mut self, saved: &Saved) {
        self.config.after = self.config.after.max(saved.term);
        if saved.deadline <= self.now {
            self.life = Life::Ending { term: saved.term, again: self.now };
            return;
        }
        let hold = self.config.timing.hold;
        let sent = Time(saved.deadline.0.saturating_sub(hold.as_millis() as u64));
        let standing = Standing::new(saved.term, saved.revision, saved.seen, self.now, sent, &self.config);
        self.life = Life::Member(Standing { next_beat: self.now, armed: true, ..standing });
    }

    /// What the clock alone decides.
    pub(super) fn look_at_the_clock(&mut self, fx: &mut Vec<Effect>) {
        let (now, timing) = (self.now, self.config.timing);
        match &mut self.life {
            Life::Member(standing) => {
                if standing.deadline <= now {
                    self.end_term("no beat was confirmed in time".into(), fx);
                } else if standing.unanswered.is_some_and(|since| since + timing.hold * 2 / 3 <= now) {
                    self.end_unguarded(fx);
                } else if !standing.away && standing.confirmed + timing.hold / 2 <= now {
                    standing.away = true;
                    let left = standing.deadline.since(now).as_millis() as u64;
                    fx.push(Effect::Fact(Fact::StoreAway { left }));
                }
            }
            Life::Joining { sent, .. } if *sent + timing.hold <= now => self.join_again(fx),
            _ => {}
        }
    }

    pub(super) fn term_deadline(&self) -> Option<Time> {
        let timing = self.config.timing;
        match &self.life {
            Life::Outside { again } => self.reading.is_known().then_some(*again),
            Life::Joining { sent, .. } => Some(*sent + timing.hold),
            Life::Member(standing) => {
                let guarded = standing.is_guarded(self.now, timing.hold).then_some(standing.next_beat);
                let unanswered = standing.unanswered.map(|since| since + timing.hold * 2 / 3);
                let away = (!standing.away).then_some(standing.confirmed + timing.hold / 2);
                [guarded, unanswered, away, Some(standing.deadline)].into_iter().flatten().min()
            }
            Life::Ending { .. } | Life::Left => None,
        }
    }

    // ------------------------------------------------------------------ joining

    pub(super) fn join_if_need_be(&mut self, fx: &mut Vec<Effect>) {
        let Life::Outside { again } = self.life else { return };
        if self.leaving.is_some() {
            return self.left(fx);
        }
        if again > self.now || !self.reading.is_known() {
            return;
        }
        let me = self.config.me.clone();
        let before = self.register.member(&me).map_or(Term(0), |member| member.term);
        let term = Term(before.max(self.config.after).0 + 1);
        let key = Key::Epoch(me);
        let transaction = Transaction {
            conditions: vec![Condition::At(key.clone(), self.register.revision_of(&key))],
            writes: vec![Write::Put(key, Value::Epoch(self.member(term, None)))],
        };
        let id = self.commit(transaction, false, fx);
        self.pending.push(Pending { id, sent: self.now, seen: self.seen, what: What::Join });
        self.config.after = term;
        self.life = Life::Joining { id, sent: self.now, term };
    }

    /// What this node says of itself.
    fn member(&self, term: Term, fenced: Option<Name>) -> Member {
        let groups = self.config.groups.iter().filter(|g| g.nodes.contains(&self.config.me));
        Member {
            term,
            fenced,
            timing: self.config.timing,
            groups: groups.map(|g| g.name.clone()).collect(),
            apart: pairs_apart(&self.config.groups),
            since: self.wall,
        }
    }

    pub(super) fn joined(&mut self, id: u64, revision: u64, fx: &mut Vec<Effect>) {
        let Life::Joining { id: own, sent, term } = self.life else { return };
        if own != id {
            return;
        }
        let standing = Standing::new(term, revision, revision, self.now, sent, &self.config);
        if standing.deadline <= self.now {
            // Nothing has begun yet that would have to end.
            return self.join_again(fx);
        }
        self.life = Life::Member(standing);
        fx.push(Effect::Begin { term });
        self.arm(fx);
        fx.push(Effect::Fact(Fact::Joined { term }));
        self.dirty = true;
        self.look_at_the_epoch(fx);
    }

    pub(super) fn not_joined(&mut self, id: u64, fx: &mut Vec<Effect>) {
        if matches!(self.life, Life::Joining { id: own, .. } if own == id) {
            self.join_again(fx);
        }
    }

    /// Whatever became of it, what stands in the register now is asked for first.
    fn join_again(&mut self, fx: &mut Vec<Effect>) {
        self.life = Life::Outside { again: self.now + self.config.timing.beat };
        self.ask(fx);
    }

    // ------------------------------------------------------------------ beats

    pub(super) fn beat_if_due(&mut self, fx: &mut Vec<Effect>) {
        let (now, timing) = (self.now, self.config.timing);
        let me = self.config.me.clone();
        let Some(standing) = self.standing_mut() else { return };
        if standing.next_beat > now || !standing.is_guarded(now, timing.hold) {
            return;
        }
        standing.next_beat = now + timing.beat;
        standing.beat += 1;
        let (revision, beat) = (standing.revision, standing.beat);
        let transaction = Transaction {
            conditions: vec![Condition::At(Key::Epoch(me.clone()), revision)],
            writes: vec![Write::Put(Key::Beat(me), Value::Beat(beat))],
        };
        self.pending.retain(|p| p.what != What::Beat || now < p.sent + timing.hold);
        let id = self.commit(transaction, true, fx);
        self.pending.push(Pending { id, sent: now, seen: self.seen, what: What::Beat });
    }

    /// A beat sent then is done.
    pub(super) fn confirmed(&mut self, sent: Time, fx: &mut Vec<Effect>) {
        let hold = self.config.timing.hold;
        let Some(standing) = self.standing_mut() else { return };
        standing.confirmed = standing.confirmed.max(sent);
        if std::mem::take(&mut standing.away) {
            fx.push(Effect::Fact(Fact::StoreBack));
        }
        if sent + hold > standing.deadline {
            standing.deadline = sent + hold;
            self.arm(fx);
        }
    }

    fn arm(&mut self, fx: &mut Vec<Effect>) {
        let now = self.now;
        let Some(standing) = self.standing_mut() else { return };
        standing.number += 1;
        standing.unanswered.get_or_insert(now);
        let Standing { term, number, deadline, .. } = *standing;
        fx.push(Effect::Arm { term, number, deadline });
    }

    pub(super) fn armed(&mut self, number: u64) {
        let now = self.now;
        let Some(standing) = self.standing_mut() else { return };
        if number == 0 || number > standing.number {
            return;
        }
        // It has answered just now; what it still owes it owes from now on.
        standing.unanswered = (number < standing.number).then_some(now);
        if !std::mem::replace(&mut standing.armed, true) {
            self.dirty = true;
        }
    }

    // ------------------------------------------------------------------ the end

    /// Kills everything of the term that stands.
    pub(super) fn end_term(&mut self, why: String, fx: &mut Vec<Effect>) {
        let Some(term) = self.standing().map(|standing| standing.term) else { return };
        fx.push(Effect::End { term });
        self.tell_the_end(term, why, fx);
        self.life = Life::Ending { term, again: self.now };
    }

    /// Without its keeper a node can run nothing. It stays away for long enough to be taken for dead, else it would keep
    /// groups to itself by joining again and again.
    pub(super) fn end_unguarded(&mut self, fx: &mut Vec<Effect>) {
        self.end_term("the keeper does not answer".into(), fx);
        self.rest();
    }

    /// What is in this node's name is of a term that it has not begun: another one has its name, and as long as that one is
    /// there, this one stays away rather than end the other's terms for ever.
    pub(super) fn look_at_namesake(&mut self, member: Option<&Member>, live: bool) {
        let known = live || self.config.after > Term(0);
        if known && member.is_some_and(|member| member.fenced.is_none() && member.term > self.config.after) {
            self.rest();
        }
    }

    /// The register was emptied or restored: whoever still runs by what it said before has noticed by then.
    pub(super) fn rest(&mut self) {
        let later = self.now + self.config.timing.wait * 2;
        if let Life::Ending { again, .. } | Life::Outside { again } = &mut self.life {
            *again = later;
        }
    }

    /// All of a term was killed.
    pub(super) fn fired(&mut self, term: Term, fx: &mut Vec<Effect>) {
        let again = match &self.life {
            Life::Ending { term: own, again } if *own == term => *again,
            Life::Member(standing) if standing.term == term => {
                self.tell_the_end(term, "its deadline has passed".into(), fx);
                self.now
            }
            _ => return,
        };
        self.nothing_runs_here();
        self.desk = super::desk::Desk::Free;
        self.scribe = super::desk::Desk::Free;
        self.life = Life::Outside { again };
        self.dirty = true;
    }

    fn tell_the_end(&self, term: Term, why: String, fx: &mut Vec<Effect>) {
        let held = self.config.groups.iter().zip(&self.parts).filter(|(_, part)| part.epoch().is_some());
        let groups = held.map(|(group, _)| group.name.clone()).collect();
        fx.push(Effect::Fact(Fact::TermOver { term, groups, why }));
    }

    /// Whether the register still says what it said when the term began.
    pub(super) fn look_at_the_epoch(&mut self, fx: &mut Vec<Effect>) {
        let Some(standing) = self.standing() else { return };
        let key = Key::Epoch(self.config.me.clone());
        if self.register.revision < standing.revision || self.register.revision_of(&key) == standing.revision
        {
            return;
        }
        let why = match self.register.member(&self.config.me).and_then(|member| member.fenced.clone()) {
            Some(by) if by == self.config.me && self.leaving.is_some() => "it has left".into(),
            Some(by) => format!("fenced by {by}"),
            None if self.register.revision_of(&key) == 0 => "its epoch was taken away".into(),
            None => format!("another node is called {}", self.config.me),
        };
        let fenced = self.register.member(&self.config.me).is_some_and(|member| member.fenced.is_some());
        self.end_term(why, fx);
        if !fenced {
            self.rest();
        }
    }

    /// Leaves once nothing stands in this node's name.
    pub(super) fn leave_cluster(&mut self, fx: &mut Vec<Effect>) {
        if self.leaving.is_none() {
            return;
        }
        let hold = self.config.timing.hold;
        if let Some(sent) = self.pending.iter().find(|p| p.what == What::Leave).map(|p| p.sent)
            && self.now < sent + hold
        {
            return self.wake_at(sent + hold);
        }
        let Some(standing) = self.standing() else { return };
        let runs = self.parts.iter().any(|part| part.epoch().is_some());
        if runs || self.owns_what_it_could_give() || self.register.revision < standing.revision {
            return;
        }
        let key = Key::Epoch(self.config.me.clone());
        let me = self.config.me.clone();
        let transaction = Transaction {
            conditions: vec![Condition::At(key.clone(), standing.revision)],
            writes: vec![Write::Put(key, Value::Epoch(self.member(standing.term, Some(me))))],
        };
        let id = self.commit(transaction, false, fx);
        self.pending.retain(|p| p.what != What::Leave);
        self.pending.push(Pending { id, sent: self.now, seen: self.seen, what: What::Leave });
        self.wake_at(self.now + hold);
    }

    /// Out, nothing runs, and it does not join again.
    pub(super) fn left(&mut self, fx: &mut Vec<Effect>) {
        self.life = Life::Left;
        for id in self.leaving.take().unwrap_or_default() {
            fx.push(Effect::Reply { id, result: Ok(()) });
        }
        fx.push(Effect::Left);
    }
}
