//! Everything that can wake the engine.

use crate::spec;
use crate::time::Time;
use std::fmt;

/// One start attempt of one child. One counter for the whole engine, never reused; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gen(pub u64);

/// The embedder's name for what a worker spec starts (an index into its own table).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// A path of the forest as a small number. [`crate::Engine::path`] spells it out; valid as long as the child is
/// known, and for one that has just vanished until the next call of `handle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// The asker's own number of a request; comes back once in [`crate::Effect::Reply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReqId(pub u64);

/// An outcome, a request, or the passing of time. An event about a generation that is no longer current is counted
/// and dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The start function returned: the program was executed, the subtree opened. Ready too, if the spec asks no more.
    Started {
        /// Which attempt.
        generation: Gen,
    },
    /// The readiness condition holds (implies `Started`). For a one-shot: never; it has `Ended`.
    Ready {
        /// Which attempt.
        generation: Gen,
    },
    /// OTP's `ignore`: declined to start, no process, no error.
    Declined {
        /// Which attempt.
        generation: Gen,
    },
    /// The start failed and nothing of it is left running.
    Failed {
        /// Which attempt.
        generation: Gen,
        /// How.
        why: FailedStart,
    },
    /// The process was reaped *and* nothing of it is left. Last event of a generation. Of a supervisor's generation:
    /// it was killed from outside, as only tests can; its children get no orderly shutdown.
    Ended {
        /// Which attempt.
        generation: Gen,
        /// How.
        exit: Exit,
    },
    /// A health check failed: decided like an abnormal end now, but the child must still be stopped.
    Sick {
        /// Which attempt.
        generation: Gen,
    },
    /// A request. `path` is resolved when the request is processed.
    Request {
        /// Comes back in the reply.
        id: ReqId,
        /// Full path of the supervisor (OTP verbs) or of the child or supervisor (verbs of a person).
        path: Box<str>,
        /// What is wanted.
        verb: Verb,
    },
    /// Time has passed: deadlines that are due act. Sent after all other events of a moment.
    Tick,
}

/// How a process or task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// `exit(n)`.
    Code(i32),
    /// By signal n.
    Signal(i32),
    /// A task or actor of the embedder, in OTP's words.
    Reason(Reason),
    /// It ended, nobody knows how. Counts as a crash.
    Unknown,
}

/// Exit reasons (OTP). The first three are *calm*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `normal`.
    Normal,
    /// `shutdown`.
    Shutdown,
    /// `{shutdown, Term}`.
    ShutdownTerm,
    /// Any other error.
    Crash,
    /// Killed.
    Killed,
    /// A supervisor that could not start because of a child: `{shutdown, {failed_to_start_child, ...}}`.
    FailedStart,
    /// Bad child specifications.
    BadSpec,
    /// *Beyond OTP*: started, but not ready in time.
    NotReady,
    /// *Beyond OTP*: a health check failed.
    Sick,
}

impl Reason {
    /// `normal`, `shutdown` and `{shutdown, _}`.
    pub fn is_calm(self) -> bool {
        matches!(self, Reason::Normal | Reason::Shutdown | Reason::ShutdownTerm | Reason::FailedStart)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Normal => "normal",
            Reason::Shutdown => "shutdown",
            Reason::ShutdownTerm => "shutdown_term",
            Reason::Crash => "crash",
            Reason::Killed => "killed",
            Reason::FailedStart => "failed_start",
            Reason::BadSpec => "bad_spec",
            Reason::NotReady => "not_ready",
            Reason::Sick => "sick",
        })
    }
}

/// Why a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailedStart {
    /// It could not be started at all (no such program, no descriptors, ...): details are the embedder's.
    Error,
    /// It ran and ended before it was ready.
    Ended(Exit),
    /// It ran and was not ready in time.
    TooLate,
    /// A child of this supervisor could not be started.
    Child,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    // ---- OTP's API; the path names the supervisor
    /// `start_child/2`. Appended to the start order.
    StartChild(Box<spec::Child>),
    /// `start_child/2` of a `simple_one_for_one` supervisor. `key` overrides the template's key for this instance,
    /// also in its restarts.
    StartInstance {
        /// What to start instead of the template's own key.
        key: Option<Key>,
    },
    /// `terminate_child/2`; the spec stays.
    TerminateChild(Box<str>),
    /// `restart_child/2`.
    RestartChild(Box<str>),
    /// `delete_child/2`.
    DeleteChild(Box<str>),
    /// `get_childspec/2`.
    GetChildspec(Box<str>),
    /// `which_children/1`.
    WhichChildren,
    /// `count_children/1`.
    CountChildren,
    /// The supervisor stops its children in order and ends with this reason, as if by itself.
    StopSelf(Reason),
    /// `sys:suspend/1`: look at no message until `Resume`. For tests.
    Suspend,
    /// `sys:resume/1`.
    Resume,

    // ---- a person's verbs; the path names a child, a supervisor or a tree
    /// Wanted up: lifts hold by `Stop`, empties the window of a parked one, hurries a back-off. Never counted.
    Start,
    /// Stopped, and stays so until `Start`: a hold without end, then terminate.
    Stop {
        /// By dependencies: those that are `after` it too.
        with_dependents: bool,
    },
    /// What a crash of it would do, in order, uncounted.
    Restart {
        /// Leave its siblings alone.
        only: bool,
    },
    /// Restarts below are suspended until `Release` or this time.
    Hold {
        /// End of the hold.
        until: Option<Time>,
    },
    /// Restarts on again; what ended meanwhile and would have been restarted is started.
    Release,
    /// Give up waiting for a child that cannot be killed.
    Abandon,

    // ---- the forest; the path is the tree's id
    /// Adds a tree and starts it.
    AddTree(Box<spec::Tree>),
    /// The whole tree stops, in reverse order, for good. Overtakes whatever it is doing.
    StopTree,
    /// Another plan for a tree that is there; the difference is carried out. Answered when all of it has been started;
    /// `Overtaken` by the next one.
    Apply(Box<Apply>),
}

/// Another plan for a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    /// The plan. A worker whose [`Key`] is the one it runs stays, whatever else has changed: the embedder gives what
    /// is the same to it the same key.
    pub tree: spec::Tree,
    /// Which instances of pools, by the key of their own that they have, shall run what instead.
    pub instances: Vec<(Key, Key)>,
}
