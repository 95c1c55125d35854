//! The keeper of a node, as far as a cluster relies on it: the process that holds the deadline and the groups, and kills.

use std::collections::BTreeMap;
use std::time::Duration;
use woodward_engine::cluster::{Epoch, Name, Term};
use woodward_engine::time::Time;

/// How far a group's processes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Being started.
    Starting,
    /// Ready.
    Up,
    /// Being stopped.
    Stopping,
}

/// The processes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The token they were given.
    pub epoch: Epoch,
    /// Whose deadline kills them; `None`: nobody's (a broken keeper).
    pub bound: Option<Term>,
    /// How far.
    pub phase: Phase,
}

/// Holder of the deadline.
#[derive(Clone, Debug, Default)]
pub struct Keeper {
    /// The term that stands.
    pub term: Option<Term>,
    /// No term up to this one is begun again.
    pub greatest: Term,
    /// How far ahead a deadline may lie.
    hold: Duration,
    /// Of the term; `None`: never armed.
    pub deadline: Option<Time>,
    /// What runs.
    pub runs: BTreeMap<Name, Run>,
}

impl Keeper {
    /// Opens a term; whatever is left of an earlier one is killed. Refused if it is not greater than all before.
    pub fn begin(&mut self, term: Term, hold: Duration) -> bool {
        if term <= self.greatest {
            return false;
        }
        self.kill();
        (self.term, self.greatest, self.hold, self.deadline) = (Some(term), term, hold, None);
        true
    }

    /// Moves the deadline; whether it did.
    pub fn arm(&mut self, term: Term, deadline: Time, now: Time) -> bool {
        let stands = self.term == Some(term) && !self.due(now);
        if !stands || deadline <= now || deadline > now + self.hold {
            return false;
        }
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.max(deadline)));
        true
    }

    /// Whether the deadline has passed and nothing was done about it yet.
    pub fn due(&self, now: Time) -> bool {
        self.term.is_some() && self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Ends the term if it is this one: everything bound is killed. Whether it stood.
    pub fn end(&mut self, term: Term) -> bool {
        if self.term != Some(term) {
            return false;
        }
        self.kill();
        self.term = None;
        true
    }

    /// Takes in a group that is started; refused without a right to run, or while something of it runs.
    pub fn bind(&mut self, group: &Name, epoch: Epoch, term: Term, now: Time) -> bool {
        let right = self.term == Some(term) && self.deadline.is_some_and(|deadline| now < deadline);
        if !right || self.runs.contains_key(group) {
            return false;
        }
        self.runs.insert(group.clone(), Run { epoch, bound: Some(term), phase: Phase::Starting });
        true
    }

    fn kill(&mut self) {
        self.runs.retain(|_, run| run.bound.is_none());
    }
}
