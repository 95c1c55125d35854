//! What a cluster tells.

use super::register::Why;
use super::{Epoch, Name, Term};

/// Something that has happened, on this node or seen from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// This node is a member.
    Joined {
        /// Its term.
        term: Term,
    },
    /// This node's term is over.
    TermOver {
        /// Which.
        term: Term,
        /// The groups that were killed with it.
        groups: Vec<Name>,
        /// `no beat was confirmed in time`, `fenced by h2`, ...
        why: String,
    },
    /// The register does not answer; the right to run ends in so many milliseconds.
    StoreAway {
        /// Milliseconds.
        left: u64,
    },
    /// It answers again.
    StoreBack,
    /// A node was not seen for `wait`.
    NodeDead {
        /// Which.
        node: Name,
        /// Milliseconds since its last beat was seen.
        silent: u64,
    },
    /// It is seen again.
    NodeBack {
        /// Which.
        node: Name,
    },
    /// A group has a new owner. Told by whoever decided it, and by the new owner.
    Given {
        /// Which.
        group: Name,
        /// Since when.
        epoch: Epoch,
        /// From whom.
        from: Option<Name>,
        /// To whom; `None`: to nobody.
        to: Option<Name>,
        /// Why.
        why: Why,
    },
    /// It is brought up here.
    Starting {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
    },
    /// It is up here.
    Active {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
        /// Milliseconds since it was given to this node.
        took: u64,
    },
    /// It is brought down here.
    Stopping {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
    },
    /// Nothing of it runs here any more.
    Down {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
        /// Milliseconds the stop took.
        took: u64,
    },
    /// No node is able to run it: a person is needed.
    Broken {
        /// Which.
        group: Name,
        /// Of each node why not.
        why: String,
    },
    /// It was killed and does not end: nobody else starts it.
    Stuck {
        /// Which.
        group: Name,
        /// Its token.
        epoch: Epoch,
    },
    /// The register is older than what was seen of it (it was restored or emptied): nothing runs by it until it has gone
    /// beyond that, or a person has started this node anew.
    StoreOlder {
        /// Its revision.
        revision: u64,
        /// What was seen.
        seen: u64,
    },
    /// A node was fenced, or not.
    Fenced {
        /// Which.
        node: Name,
        /// What came of it.
        result: Result<(), String>,
    },
    /// What a person wished for cannot be done any more: the wish is forgotten.
    NotMoved {
        /// Which.
        group: Name,
        /// Where it was to go, and why it does not.
        why: String,
    },
    /// A failback is not done yet.
    FailbackWaits {
        /// Which.
        group: Name,
        /// Where it would go.
        to: Name,
        /// What for.
        why: String,
    },
    /// Nothing is done by itself, or again.
    Maintenance {
        /// On or off.
        on: bool,
    },
}
