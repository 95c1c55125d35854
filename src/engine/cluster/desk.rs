//! One decision under way at a time, and what became of transactions.
//!
//! A decision is made from the register as it is known, and its transaction holds only if that is still so: whoever
//! decides twice, or too late, is refused. So an answer that never comes, or is not known, costs time and nothing else:
//! the next decision is made from what the watch has shown by then, and of two under way one alone can be done.

use super::machine::Cluster;
use super::{Answer, Effect, Transaction};
use crate::event::ReqId;
use crate::time::Time;

/// Whether there may be a next decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Desk {
    /// Yes.
    Free,
    /// Its transaction is on the way.
    Waiting { id: u64, since: Time },
    /// It is done; when the watch has shown it.
    Settling { revision: u64, since: Time },
    /// It was refused or nobody knows; when the watch has gone beyond that revision, or at that time.
    Resting { revision: u64, until: Time },
}

impl Desk {
    pub fn waits_for_news(&self) -> bool {
        matches!(self, Desk::Settling { .. } | Desk::Resting { .. })
    }
}

/// A transaction on the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub id: u64,
    pub sent: Time,
    /// The greatest revision known of when it was sent: what is done is done after it.
    pub seen: u64,
    pub what: What,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Beat,
    Join,
    Leave,
    Decision,
    Note,
    Request(ReqId),
}

impl Cluster {
    /// Whether `desk` is free; if not, sees to it that this is looked at again.
    pub(super) fn is_free(&mut self, desk: fn(&mut Cluster) -> &mut Desk) -> bool {
        let (now, patience, known) = (self.now, self.config.timing.hold, self.register.revision);
        let again = match *desk(self) {
            Desk::Free => return true,
            Desk::Waiting { since, .. } => since + patience,
            Desk::Settling { revision, .. } if revision <= known => now,
            Desk::Settling { since, .. } => since + patience,
            Desk::Resting { revision, .. } if revision < known => now,
            Desk::Resting { until, .. } => until,
        };
        if again <= now {
            *desk(self) = Desk::Free;
            return true;
        }
        self.wake_at(again);
        false
    }

    /// Sends the decision of a desk.
    pub(super) fn send(
        &mut self,
        transaction: Transaction,
        what: What,
        desk: fn(&mut Cluster) -> &mut Desk,
        fx: &mut Vec<Effect>,
    ) {
        let id = self.commit(transaction, false, fx);
        self.pending.retain(|p| p.what != what);
        self.pending.push(Pending { id, sent: self.now, seen: self.seen, what });
        *desk(self) = Desk::Waiting { id, since: self.now };
        self.wake_at(self.now + self.config.timing.hold);
    }

    pub(super) fn answered(&mut self, id: u64, answer: Answer, fx: &mut Vec<Effect>) {
        let Some(at) = self.pending.iter().position(|p| p.id == id) else { return };
        let pending = self.pending.remove(at);
        if let Answer::Done(revision) = answer {
            if revision < pending.seen {
                if let What::Request(id) = pending.what {
                    fx.push(Effect::Reply {
                        id,
                        result: Err("the store is older than what was seen of it".into()),
                    });
                }
                return self.doubt(revision, fx);
            }
            self.know(revision);
        }
        match (pending.what, answer) {
            (What::Beat, Answer::Done(_)) => self.confirmed(pending.sent, fx),
            (What::Beat, Answer::Refused) => self.end_term("fenced by another node".into(), fx),
            (What::Beat, Answer::Unknown) => {}
            (What::Join, Answer::Done(revision)) => self.joined(id, revision, fx),
            (What::Join, _) => self.not_joined(id, fx),
            // The watch shows it; else it is tried again.
            (What::Leave, _) => {
                self.wake_at(self.now + self.config.timing.beat);
                if !matches!(answer, Answer::Done(_)) {
                    self.ask(fx);
                }
            }
            (What::Decision, answer) => self.settle(&pending, answer, |cluster| &mut cluster.desk),
            (What::Note, answer) => self.settle(&pending, answer, |cluster| &mut cluster.scribe),
            (What::Request(id), answer) => {
                let result = match answer {
                    Answer::Done(_) => Ok(()),
                    Answer::Refused => Err("it has changed meanwhile".into()),
                    Answer::Unknown => Err("the store gave no answer: it may be done, or not".into()),
                };
                fx.push(Effect::Reply { id, result });
            }
        }
    }

    fn settle(&mut self, pending: &Pending, answer: Answer, desk: fn(&mut Cluster) -> &mut Desk) {
        let (now, until) = (self.now, self.now + self.config.timing.beat);
        if !matches!(*desk(self), Desk::Waiting { id, .. } if id == pending.id) {
            return;
        }
        *desk(self) = match answer {
            Answer::Done(revision) => Desk::Settling { revision, since: now },
            Answer::Refused => Desk::Resting { revision: pending.seen, until },
            Answer::Unknown => Desk::Resting { revision: u64::MAX, until },
        };
        self.dirty = true;
    }
}
