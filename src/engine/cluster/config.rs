//! What a node's cluster is made of, and what outlives its daemon.

use super::register::Why;
use super::{Epoch, Group, Name, Register, Term, Timing};
use crate::time::Time;

/// This node's part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node.
    pub me: Name,
    /// Its rhythm; see [`Timing::check`].
    pub timing: Timing,
    /// The groups whose trees this node has.
    pub groups: Vec<Group>,
    /// The greatest term the keeper has ever held a deadline for, else 0: the next one is greater, whatever became of the
    /// register meanwhile.
    pub after: Term,
}

/// What the next daemon of this node must know to go on with the same processes: written whenever it changes, and
/// before the effects of that turn are carried out. Without it a node joins anew, and whatever it runs is killed first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Saved {
    /// The term.
    pub term: Term,
    /// Revision of the epoch key that began it.
    pub revision: u64,
    /// Until when the keeper lets run what runs. It changes with each beat and need not be written so often: who resumes
    /// asks the keeper.
    pub deadline: Time,
    /// The greatest revision at which this node has begun its term or was given a group: what was given up to then is either
    /// among `groups`, or was released and never runs again under that epoch.
    pub seen: u64,
    /// What runs or is being stopped here, each with its epoch.
    pub groups: Vec<Held>,
}

/// A group that runs here, or is being stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Which.
    pub group: Name,
    /// Its token.
    pub epoch: Epoch,
    /// It has been up.
    pub up: bool,
    /// It is being brought down, and why.
    pub stopping: Option<Why>,
}

/// What is known on this node, for people and for foresight: who is alive, who has what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The register as of its revision.
    pub register: Register,
    /// This node.
    pub me: Name,
    /// When this was looked at.
    pub now: Time,
    /// The groups whose trees this node has, in the order in which they start.
    pub groups: Vec<Group>,
    /// The term that stands here, and its deadline; `None`: none, this node may run nothing.
    pub term: Option<(Term, Time)>,
    /// Nodes, in the order of their names: when a beat of each was last seen to change.
    pub seen: Vec<(Name, Sight)>,
}

/// What this node sees of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// It has never joined, or left in order.
    Absent,
    /// Its beats come.
    Fresh {
        /// Last change, on this node's clock.
        at: Time,
    },
    /// They do not: not for its `wait`.
    Silent {
        /// Last change, on this node's clock.
        at: Time,
    },
    /// Its term was ended by another node, and it has not joined anew.
    Fenced,
}
