//! Everything a cluster asks for.

use super::{Epoch, Fact, Name, Term, Transaction};
use crate::event::ReqId;
use crate::time::Time;

/// An order, an answer, or something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the whole register and watch it from there. Outcome: `Read`, or `Lost` later.
    Read,
    /// Carry out a transaction. Outcome: `Answered`.
    Commit {
        /// Comes back.
        id: u64,
        /// What.
        transaction: Transaction,
        /// A beat: sent through every member of the store at once, again and again being harmless, and given up after two
        /// beats. Else it is sent once.
        beat: bool,
    },
    /// A new term begins: the keeper shall hold its deadline. Whatever is left of an earlier one is killed.
    Begin {
        /// Which.
        term: Term,
    },
    /// The right to run lasts until then: the keeper moves the deadline, and with it address and gate. Outcome: `Armed`, or none.
    Arm {
        /// Which term.
        term: Term,
        /// Number of the arming.
        number: u64,
        /// On the clock of `handle`.
        deadline: Time,
    },
    /// Nothing of this term may run any more: everything is killed now, whatever the clock says. Outcome: `Fired`.
    End {
        /// Which.
        term: Term,
    },
    /// Bring a group up, bound to the deadline of this term before anything of it starts. Outcomes: `Up`, `Down`.
    Start {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
        /// Bound to it.
        term: Term,
    },
    /// A group that was found running goes on under this epoch: the daemon was another, the keeper the same.
    Keep {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
    },
    /// Take a group down in order, addresses first. Outcome: `Down`.
    Stop {
        /// Which.
        group: Name,
        /// Of which start.
        epoch: Epoch,
    },
    /// Try whether a group could run here (`failback.probe`). Outcome: `Probed`.
    Probe {
        /// Which.
        group: Name,
    },
    /// Cut a node's power. Outcome: `Fenced`.
    Fence {
        /// Which.
        node: Name,
        /// The groups for which it is wanted: theirs are the agents.
        groups: Vec<Name>,
    },
    /// Answer a request; else why not, in words behind `cannot ...: `.
    Reply {
        /// Which.
        id: ReqId,
        /// What.
        result: Result<(), String>,
    },
    /// This node has left the cluster in order.
    Left,
    /// Something to record and, if it says so, to mail.
    Fact(Fact),
}
