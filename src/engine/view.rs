//! What can be seen of a child from outside: one [`Row`], the source of every status.

use crate::event::{Exit, Gen, Key, PathId, Reason};
use crate::time::Time;

/// The state of one child or supervisor.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its path.
    pub path: PathId,
    /// The supervisor above it; `None` for a root.
    pub parent: Option<PathId>,
    /// Of a worker, what it runs.
    pub key: Option<Key>,
    /// The generation that runs or ran last; 0: never started.
    pub generation: Gen,
    /// State.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Restarts since the tree was started: every start by a restart decision (own or dragged along).
    pub restarts: u32,
    /// How it ended last.
    pub exit: Option<Exit>,
    /// As it was judged.
    pub reason: Option<Reason>,
    /// A person's hold on this very path.
    pub hold: Option<Hold>,
    /// A person stopped it.
    pub stopped_by_hand: bool,
    /// When a back-off, a parking or a deadline of readiness ends.
    pub next: Option<Time>,
    /// It waits for this sibling (by dependencies).
    pub waits_for: Option<PathId>,
    /// Of a supervisor or a child with its own limit: restarts in the window now.
    pub used: u32,
}

/// A hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its end.
    pub until: Option<Time>,
}

/// States as a person sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for its turn or for what it is after.
    Waiting,
    /// Started, not yet ready. A supervisor: not all of its children have been ready once.
    Starting,
    /// Up and ready.
    Up,
    /// A restart is pending.
    Backoff,
    /// Asked or killed, not yet gone.
    Stopping,
    /// Down.
    Stopped,
    /// A one-shot that did its work, or a child that declined.
    Done,
    /// Down until a person or a time.
    Parked,
}
