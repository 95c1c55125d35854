//! The kernel's mailbox: a queue in front of its actor, emptied as a whole in one turn.
//!
//! The engine wants all events of a moment before it hears that time has passed, and one publication of the view for
//! all of them. An actor's own mailbox cannot say that it is empty, so it only carries the word that a turn is due,
//! and what there is to do waits here. Unbounded: who fills it is bounded (one outcome per step of a worker, one
//! request per connection).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::ActorRef;
use tokio::sync::oneshot;
use woodward_engine::{Gen, Reply, Verb};

use super::reload::{Proposal, Verdict};
use super::worker::Said;
use super::{InstanceError, Nudge, NudgeError, Who};

/// A turn of the kernel is due.
pub(super) struct Turn;

/// What the kernel has to look at.
pub(super) enum Input {
    /// A request for the engine.
    Request { path: Box<str>, verb: Verb, who: Who, answer: oneshot::Sender<Reply> },
    /// An instance of a template.
    Instance { path: Box<str>, args: Vec<(String, String)>, who: Who, answer: InstanceAnswer },
    /// Something has happened to a generation that has no actor.
    Look { generation: Gen },
    /// A signal or a reload.
    Nudge { path: Box<str>, nudge: Nudge, who: Who, answer: oneshot::Sender<Result<(), NudgeError>> },
    /// A worker has something to say.
    Said { generation: Gen, said: Said },
    /// A worker's actor failed; sent by the kernel to itself, so that everything the worker said goes before.
    WorkerFailed { actor: ractor::ActorId, why: String },
    /// A tree was read anew.
    Apply { proposal: Box<Proposal>, dry: bool, who: Who, answer: oneshot::Sender<Verdict> },
    /// A group's tree is to run.
    Plant { group: Arc<str>, epoch: u64 },
    /// A group's tree is to end.
    Uproot { group: Arc<str>, epoch: u64, kill: bool },
    /// What runs in any group has been killed.
    TermOver,
    /// Ordered stop of everything.
    ShutDown { who: Who },
    /// No more patience: kill everything.
    KillAll,
    /// The kernel is to hold this path, and to panic.
    #[cfg(test)]
    Poison { path: Box<str> },
    /// The worker of this path is to panic.
    #[cfg(test)]
    Fault { path: Box<str> },
}

/// Where the answer to [`Input::Instance`] goes.
pub(super) type InstanceAnswer = oneshot::Sender<Result<Reply, InstanceError>>;

/// The sending side. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Inbox(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    inputs: VecDeque<Input>,
    state: State,
}

#[derive(Default)]
enum State {
    /// The kernel's actor is not there yet.
    #[default]
    Closed,
    /// Nothing has been said since the last turn began.
    Quiet(ActorRef<Turn>),
    /// A turn is on its way.
    Called(ActorRef<Turn>),
    /// It has begun, and takes whatever comes meanwhile.
    Busy(ActorRef<Turn>),
}

impl Inbox {
    /// From now on turns are called for.
    pub(super) fn open(&self, kernel: ActorRef<Turn>) {
        let mut queue = self.lock();
        queue.state = State::Quiet(kernel);
        if !queue.inputs.is_empty() {
            queue.call();
        }
    }

    /// Drops what waits and whatever comes: nobody will look at it.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.state = State::Closed;
        queue.inputs.clear();
    }

    /// Puts something in; dropped when the kernel is gone, which whoever waits for an answer notices.
    pub(super) fn post(&self, input: Input) {
        let mut queue = self.lock();
        if !matches!(queue.state, State::Closed) {
            queue.inputs.push_back(input);
            queue.call();
        }
    }

    /// Calls for a turn.
    pub(super) fn call(&self) {
        self.lock().call();
    }

    /// Everything that waits; the turn has begun, or goes on.
    pub(super) fn take(&self) -> VecDeque<Input> {
        let mut queue = self.lock();
        queue.state = match std::mem::take(&mut queue.state) {
            State::Called(kernel) | State::Quiet(kernel) | State::Busy(kernel) => State::Busy(kernel),
            State::Closed => State::Closed,
        };
        std::mem::take(&mut queue.inputs)
    }

    /// Ends a turn, whether it took anything or not. Another one is called for if there is more to do: `again`, or something waits.
    pub(super) fn rest(&self, again: bool) {
        let mut queue = self.lock();
        queue.state = match std::mem::take(&mut queue.state) {
            State::Busy(kernel) | State::Called(kernel) | State::Quiet(kernel) => State::Quiet(kernel),
            State::Closed => State::Closed,
        };
        if again || !queue.inputs.is_empty() {
            queue.call();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn call(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Quiet(kernel) => match kernel.cast(Turn) {
                Ok(()) => State::Called(kernel),
                Err(_) => State::Closed,
            },
            other => other,
        };
    }
}
