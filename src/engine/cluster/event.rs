//! Everything that can wake a cluster.

use super::register::{Key, Order, Value};
use super::{Epoch, Name, Term};
use crate::event::ReqId;

/// An outcome, news of the register, a request, or the passing of time. What belongs to a term or an epoch that is over is
/// dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The whole register as of `revision`; the answer to [`super::Effect::Read`].
    Read {
        /// Of the store.
        revision: u64,
        /// Everything in it, each with the revision it was written at.
        entries: Vec<(Key, u64, Value)>,
    },
    /// What one revision has changed; `None`: the key is gone. In order, each once; a revision already known is dropped.
    Changed {
        /// Of the store.
        revision: u64,
        /// Which keys.
        changes: Vec<(Key, Option<Value>)>,
    },
    /// The watch has a gap: everything must be read again.
    Lost,
    /// What became of a transaction. Each gets one answer, in any order, at any time, or none if the daemon dies.
    Answered {
        /// Which.
        id: u64,
        /// What.
        answer: Answer,
    },
    /// The keeper holds this deadline: beats may go on.
    Armed {
        /// Number of the arming.
        number: u64,
    },
    /// The keeper does not answer: nothing of this node may be relied on, and its groups are killed by this side.
    Unguarded,
    /// The deadline has passed and everything of this term was killed; or, with the keeper gone, this side has done so.
    Fired {
        /// Which.
        term: Term,
    },
    /// All of a group is ready, and its addresses are up.
    Up {
        /// Which.
        group: Name,
        /// Of which start.
        epoch: Epoch,
    },
    /// A child of a group that is up was restarted: it is not quiet.
    Restarted {
        /// Which.
        group: Name,
    },
    /// Nothing of a group runs any more, nor has it an address here.
    Down {
        /// Which.
        group: Name,
        /// Of which start.
        epoch: Epoch,
        /// Why.
        how: Down,
    },
    /// Something of a group does not end although it was killed (a process in uninterruptible sleep).
    Stuck {
        /// Which.
        group: Name,
        /// Of which start.
        epoch: Epoch,
    },
    /// How the probe of a group on this node went; else why not.
    Probed {
        /// Which.
        group: Name,
        /// What came of it.
        result: Result<(), String>,
    },
    /// What became of the fencing of a node; else why not.
    Fenced {
        /// Which.
        node: Name,
        /// What came of it.
        result: Result<(), String>,
    },
    /// Somebody asks.
    Request {
        /// Comes back in [`super::Effect::Reply`].
        id: ReqId,
        /// What.
        request: Request,
    },
    /// Time has passed.
    Tick,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Done, at this revision.
    Done(u64),
    /// Not done: a condition does not hold.
    Refused,
    /// Nobody knows: no answer in time, or an error on the way. It may even be done later.
    Unknown,
}

/// Why nothing of a group runs any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    /// It was asked to stop.
    Asked,
    /// The tree gave up (`exhausted = "failover"`), or could not be started; its last words.
    GaveUp(String),
    /// It shut itself down, or its essential child ended: it is done, here and elsewhere.
    Done,
    /// A person stopped the tree here: it stays down.
    Stopped,
}

/// What people ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A group on another node; `None`: on the next best.
    Move {
        /// Which.
        group: Name,
        /// Where.
        to: Option<Name>,
        /// Whose word.
        order: Order,
    },
    /// All groups off a node that another one is able to run, and none back, until [`Request::Undrain`]. What can go
    /// nowhere stays where it is.
    Drain {
        /// Which.
        node: Name,
        /// Whose word.
        order: Order,
    },
    /// It may run groups again.
    Undrain {
        /// Which.
        node: Name,
    },
    /// Nothing is started, stopped, moved or taken over by itself; deadlines hold all the same.
    Maintain {
        /// On or off.
        on: bool,
        /// Whose word.
        order: Order,
    },
    /// Forget that a group gave up, on this node or (`None`) on all: a person has mended it.
    Forgive {
        /// Which.
        group: Name,
        /// Where.
        node: Option<Name>,
    },
    /// A group that is down by a person's word, or broken, may run again.
    Start {
        /// Which.
        group: Name,
    },
    /// A person has made sure that a node is off: as good as fencing it.
    Confirm {
        /// Which.
        node: Name,
    },
    /// This node stops: its groups go to others, then [`super::Effect::Left`].
    Leave,
}
