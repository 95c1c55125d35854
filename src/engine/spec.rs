//! What the engine is told to keep: trees, supervisors, children.
//!
//! Words and defaults are OTP's (`supervisor(3)`); [`Default`] gives OTP's values. Keys that OTP does not have are
//! marked *beyond OTP* and default to "as OTP does". Tree files have other defaults; they are applied by the reader
//! of tree files, never here.

use crate::event::Key;
use std::time::Duration;

/// One tree: a root supervisor with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// First part of every path in this tree.
    pub id: Box<str>,
    /// The root supervisor. Its `exhausted` may be any value.
    pub root: Supervisor,
    /// *Beyond OTP.* Deadline for stopping the whole tree; `None`: none.
    pub shutdown: Option<Duration>,
    /// Seed of the jitter of every back-off in this tree.
    pub seed: u64,
}

/// Supervisor flags and child specifications.
#[derive(Clone, Debug, PartialEq)]
pub struct Supervisor {
    /// What the end of one child does to its siblings.
    pub strategy: Strategy,
    /// More restarts than this ...
    pub intensity: u32,
    /// ... within this many whole seconds (at least 1): give up.
    pub period: u32,
    /// Whether the calm end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// *Beyond OTP.* The discipline by which siblings start and stop.
    pub order: Order,
    /// *Beyond OTP.* What a child that fails in the initial start means.
    pub initial_start: InitialStart,
    /// *Beyond OTP.* What giving up means.
    pub exhausted: Exhausted,
    /// *Beyond OTP.* A parked supervisor is tried again after this time.
    pub retry_after: Option<Duration>,
    /// The children, in start order, or the template of `simple_one_for_one`.
    pub children: Children,
}

impl Default for Supervisor {
    fn default() -> Self {
        Supervisor {
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: 5,
            auto_shutdown: AutoShutdown::Never,
            order: Order::Listed,
            initial_start: InitialStart::Fail,
            exhausted: Exhausted::Escalate,
            retry_after: None,
            children: Children::List(Vec::new()),
        }
    }
}

/// The children of a supervisor.
#[derive(Clone, Debug, PartialEq)]
pub enum Children {
    /// In start order.
    List(Vec<Child>),
    /// The worker of which `simple_one_for_one` starts instances. Its `id` names them: `id#1`, `id#2`, ...
    Template(Box<Child>),
}

/// A child specification.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Unique among its siblings.
    pub id: Box<str>,
    /// When it is restarted.
    pub restart: Restart,
    /// Whether its end counts for `auto_shutdown`.
    pub significant: bool,
    /// How it is stopped. For a supervisor a time is the deadline of its whole subtree (*beyond OTP*).
    pub shutdown: Shutdown,
    /// *Beyond OTP*, with [`Order::Dependencies`]: ids of siblings that must be ready before it starts.
    pub after: Vec<Box<str>>,
    /// *Beyond OTP.* Delay of restarts; `None`: at once, as OTP.
    pub backoff: Option<Backoff>,
    /// Worker or supervisor.
    pub kind: Kind,
}

/// What a child is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A process, task or one-shot.
    Worker(Worker),
    /// A supervisor with children of its own.
    Supervisor(Supervisor),
}

/// What is special about workers. All but `key` is *beyond OTP*.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worker {
    /// The embedder's name for what has to be started; handed back in [`crate::Effect::Start`].
    pub key: Key,
    /// It does its work and ends; a good end is OTP's `ignore`, any other a failed start.
    pub oneshot: bool,
    /// When it counts as ready.
    pub ready: Ready,
    /// An account of restarts of its own, instead of the supervisor's.
    pub limit: Option<Limit>,
    /// How its exit statuses are read.
    pub ends: Ends,
    /// Its final end stops the tree, and its status is the tree's.
    pub essential: bool,
    /// Longest time a one-shot may run; later is a failed start.
    pub runtime_max: Option<Duration>,
    /// How it is stopped when a health check has failed; `None`: as always.
    pub shutdown_if_sick: Option<Shutdown>,
}

/// Readiness: *started* is not yet *ready*.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    /// There is a condition besides having started: [`crate::Event::Ready`] will say that it holds.
    pub probe: bool,
    /// From the start on, the condition must hold within this time; `None`: no limit.
    pub within: Option<Duration>,
    /// It must hold (without a probe: have run) this long.
    pub settle: Duration,
}

/// How the ends of an OS process are read beyond "0 is calm".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ends {
    /// Calm besides exit 0.
    pub success: Vec<Status>,
    /// No retry can help: parked at once, whatever its type, uncounted.
    pub prevent: Vec<Status>,
    /// Restarted, whatever its type.
    pub force: Vec<Status>,
    /// The signal by which we ask it to stop, e.g. 15.
    pub stop_signal: i32,
}

/// An exit status to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// `exit(n)`.
    Code(i32),
    /// Ended by signal n.
    Signal(i32),
}

/// Restart strategies (OTP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Only the child that ended.
    OneForOne,
    /// All children.
    OneForAll,
    /// The child that ended and those started after it (by dependencies: its transitive dependents).
    RestForOne,
    /// One template, instances added at run time.
    SimpleOneForOne,
}

/// `auto_shutdown` (OTP 24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// Never.
    Never,
    /// When any significant child ended by itself and is not restarted.
    AnySignificant,
    /// When the last one did.
    AllSignificant,
}

/// *Beyond OTP*: start and stop discipline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// One after the other, in list order; stopped in reverse (OTP).
    Listed,
    /// All at once but for `after`; stopped in reverse.
    Dependencies,
}

/// *Beyond OTP*: what a failed start in the initial start of a supervisor means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InitialStart {
    /// What was started is stopped, the start of the supervisor fails (OTP).
    Fail,
    /// It is a crash, retried and counted.
    Retry,
}

/// *Beyond OTP*: what giving up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exhausted {
    /// Below the root: an ended child of the parent (OTP). At the root: as `Exit`.
    Escalate,
    /// Down, until a person or `retry_after`.
    Park,
    /// Root: the tree has ended.
    Exit,
    /// Root: hand the tree to another node.
    Failover,
    /// Root: reboot the machine.
    Reboot,
}

/// Restart types (OTP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless the end was calm.
    Transient,
    /// Never.
    Temporary,
}

/// How a child is stopped (OTP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// Killed at once.
    BrutalKill,
    /// Asked, and killed after this time.
    Time(Duration),
    /// Asked, and waited for.
    Infinity,
}

/// *Beyond OTP*: delay of restarts. Restart n (from 0 since it was last quiet) comes at once while `n < immediate`,
/// else after `first * factor^(n - immediate)`, at most `max`, more or less `jitter_percent`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// So many restarts without delay.
    pub immediate: u32,
    /// First delay.
    pub first: Duration,
    /// Growth.
    pub factor: f64,
    /// Longest delay.
    pub max: Duration,
    /// 0 to 100; a function of seed, path and n, so a replay gives the same.
    pub jitter_percent: u8,
    /// Ready for so long without a break: n is 0 again.
    pub reset_after: Duration,
}

/// *Beyond OTP*: an account of restarts of one child.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// More restarts than this ...
    pub intensity: u32,
    /// ... within this many seconds.
    pub period: u32,
    /// `Park` or `Escalate`.
    pub exhausted: Exhausted,
    /// A parked child is tried again after this time.
    pub retry_after: Option<Duration>,
}
