//! Everything the engine can ask for.

use crate::event::{Gen, Key, PathId, ReqId};
use crate::fact::Fact;
use crate::spec;
use std::time::Duration;

/// To be carried out in this order. Outcomes come back as events, in whatever order they happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Start a worker. Outcomes: `Started`, `Ready`, `Declined`, `Failed`, `Ended`.
    Start {
        /// The attempt.
        generation: Gen,
        /// Whom.
        path: PathId,
        /// What.
        key: Key,
        /// Never started before in this run of the tree.
        first: bool,
    },
    /// Open the subtree of a supervisor, before its children. Outcomes: `Started`, `Declined`, `Failed`. There is no
    /// `Ended` for it: the engine closes it by [`Effect::Close`].
    Open {
        /// The attempt.
        generation: Gen,
        /// Whom.
        path: PathId,
    },
    /// A supervisor has begun to stop or has never come up, and all its children are down: its subtree is closed.
    Close {
        /// The attempt.
        generation: Gen,
        /// Whom.
        path: PathId,
    },
    /// Ask it to stop: stop command, then signal. Outcome: `Ended`.
    Ask {
        /// Whom.
        generation: Gen,
        /// When it will be killed, for information: the deadline is the engine's own.
        within: Option<Duration>,
    },
    /// Kill everything of it. Outcome: `Ended`.
    Kill {
        /// Whom.
        generation: Gen,
    },
    /// The one answer to a request.
    Reply {
        /// Whose.
        id: ReqId,
        /// What.
        reply: Reply,
    },
    /// Something to record.
    Fact(Fact),
    /// A tree has ended and nothing of it runs.
    TreeEnded {
        /// Its root.
        path: PathId,
        /// Why.
        how: TreeEnd,
    },
}

/// Why a tree ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeEnd {
    /// It was asked to.
    Stopped,
    /// Its essential child ended; the status is the tree's.
    Essential(crate::event::Exit),
    /// It gave up: `exhausted = "exit"`, or its start failed.
    GaveUp,
    /// It shut itself down (`auto_shutdown`, `StopSelf`).
    Shutdown,
    /// It gave up: another node shall have it.
    Failover,
    /// It gave up: the machine shall be rebooted.
    Reboot,
}

/// Answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Done.
    Ok,
    /// The start function declined (`{ok, undefined}`).
    Ignored,
    /// Not done.
    Error(ErrorKind),
    /// `get_childspec`.
    Spec {
        /// Restart type.
        restart: spec::Restart,
        /// Significant.
        significant: bool,
        /// Shutdown.
        shutdown: spec::Shutdown,
        /// A supervisor.
        supervisor: bool,
    },
    /// `which_children`: latest in start order first.
    Children(Vec<ChildInfo>),
    /// `count_children`: specs, active, supervisors, workers.
    Counts([usize; 4]),
}

/// A line of `which_children`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildInfo {
    /// Child id; of an instance its name, of an instance whose restart is pending `None`.
    pub id: Option<Box<str>>,
    /// Running, not, or restarting.
    pub state: ChildState,
    /// A supervisor.
    pub supervisor: bool,
}

/// What `which_children` says of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// A pid.
    Running,
    /// `undefined`.
    Undefined,
    /// `restarting`.
    Restarting,
}

/// Why a request was refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The supervisor is not running, or ended before it could answer.
    Noproc,
    /// No such child.
    NotFound,
    /// `start_child`: this id exists and runs.
    AlreadyStarted,
    /// `start_child`: this id exists and does not run.
    AlreadyPresent,
    /// It runs.
    Running,
    /// Its restart is pending.
    Restarting,
    /// The start attempt failed.
    StartFailed,
    /// The child spec is refused.
    BadSpec,
    /// Not available with this strategy.
    SimpleOneForOne,
    /// *Beyond OTP*: a temporary child cannot be restarted by hand.
    Temporary,
    /// *Beyond OTP*: overtaken by a stop from above or by another request.
    Overtaken,
    /// *Beyond OTP*: that tree exists already.
    TreeExists,
    /// *Beyond OTP*: held by a person, who must release it first.
    Held,
}
