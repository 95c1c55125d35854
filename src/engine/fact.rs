//! What happened, as values: each is recorded once, by one place, and read back by `why`, `events` and the history.

use crate::effect::TreeEnd;
use crate::event::{Exit, FailedStart, Gen, PathId, Reason};
use crate::spec::{Exhausted, Strategy};
use crate::time::Time;
use std::time::Duration;

/// A chain of cause and effect: everything that follows from one crash, one request, one deadline has its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incident(pub u64);

/// One thing that happened to one child or supervisor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// The chain it belongs to.
    pub incident: Incident,
    /// Whom it is about.
    pub path: PathId,
    /// Which attempt; 0 when none.
    pub generation: Gen,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A start attempt goes out.
    Starting,
    /// Found running and taken over under its old generation.
    Adopted,
    /// Executed (supervisor: opened).
    Started,
    /// Ready (supervisor: all its children are, or need not be).
    Ready,
    /// Declined.
    Declined,
    /// A one-shot did its work.
    Done,
    /// A start failed.
    StartFailed {
        /// How.
        why: FailedStart,
    },
    /// A child or supervisor ended.
    Ended {
        /// How the process ended, of a supervisor `Exit::Reason`.
        exit: Exit,
        /// As it is judged.
        reason: Reason,
        /// We had asked it to.
        asked: bool,
    },
    /// A health check failed.
    Sick,
    /// A restart was decided, and counted if `count > 0`. About the child that ended.
    Restart {
        /// The strategy applied.
        strategy: Strategy,
        /// How many other children stop or start with it.
        others: u32,
        /// Restarts in the window, this one included; 0: not counted (a person asked).
        count: u32,
        /// Limit.
        intensity: u32,
        /// Window, seconds.
        period: u32,
        /// The child's own account, not the supervisor's.
        own_limit: bool,
    },
    /// Stopped and started again because of `with`.
    DraggedAlong {
        /// The sibling that caused it.
        with: PathId,
    },
    /// Another plan was applied.
    ByApply {
        /// What follows for this child.
        what: ByApply,
    },
    /// The restart waits.
    Backoff {
        /// Until then.
        until: Time,
        /// Number of the restart since it was last quiet, from 0.
        n: u32,
    },
    /// Asked to stop.
    Asked {
        /// Time until it is killed.
        within: Option<Duration>,
    },
    /// Killed, the time to stop being over (or `brutal_kill`).
    Killed,
    /// Killed, but not gone.
    Stuck,
    /// OTP's report `child_terminated`: a child ended by itself, and it is permanent or the reason is not calm.
    ReportChildTerminated {
        /// Why.
        reason: Reason,
    },
    /// OTP's report `start_error`.
    ReportStartError,
    /// OTP's report `shutdown_error`: it ended in another way than asked; of a pool `count` instances at once.
    ReportShutdownError {
        /// Why.
        reason: Reason,
        /// Instances, for a pool.
        count: Option<u32>,
    },
    /// The limit is exceeded (OTP's report `max_intensity`): about the child that was to be restarted.
    LimitExceeded {
        /// What follows.
        then: Exhausted,
        /// The child's own account.
        own_limit: bool,
    },
    /// A significant child's end shuts its supervisor down. About the child.
    AutoShutdown,
    /// Parked: down until a person or the time.
    Parked {
        /// Tried again then.
        until: Option<Time>,
    },
    /// Held by a person.
    Held {
        /// End.
        until: Option<Time>,
    },
    /// Released by a person, or the hold's time is over.
    Released,
    /// Stopped by a person.
    StoppedByHand,
    /// Started by a person.
    StartedByHand,
    /// A supervisor begins to stop.
    Stopping {
        /// With this reason.
        reason: Reason,
    },
    /// The tree has ended.
    TreeEnded {
        /// How.
        how: TreeEnd,
    },
}

/// What applying another plan means for a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByApply {
    /// It is new, and starts.
    Started,
    /// What it runs has changed: it stops and starts again. Not counted.
    Restarted,
    /// It is planned no more, and stops.
    Stopped,
}
