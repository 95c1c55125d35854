//! Workers: one actor is one generation of one child, from its start to the proof that nothing of it is left.
//!
//! ```text
//! Opening ─► Before(n) ─► Launching ─► Proving ─► Greeting(n) ─► Serving        asked to stop, from
//!    │           │            │           │            │            │           Proving, Greeting, Serving:
//!    │           │            │           └────────────┴────────────┴─────────► Commanding ─► Signalled
//!    │           │            │                  the main process ends                  │
//!    └───────────┴────────────┴──────────────────────┬──────────────────────────────────┘
//!                                                    ▼
//!                                   Clearing ─► After(n) ─► Sweeping ─► Closing ─► Over
//! ```
//!
//! *Before*, *Greeting* and *After* run the hooks `before_start`, `after_ready`, `after_stop`, one after the other;
//! *Proving* waits for the readiness condition, *Commanding* for the stop command; *Clearing* ends when the process
//! is reaped and its control group is empty. *Over* has been said to the kernel: the last message, exactly once.
//!
//! An actor is there while there is work of its own to do: hooks, a stop command, the proof of readiness. One that
//! serves and waits gives its actor up and is given a new one at the first event, since an actor that only waits costs
//! more memory than everything else of a service. A *plain* child, with nothing to run or to ask beside its main
//! process, has none at all: each of its steps is one order to the keeper, done in the kernel's own turn.
//!
//! A lazy service listens between *Opening* and *Before*; see [`listening`].
//!
//! A worker decides nothing: the kernel asks it to stop or kills it, and it says what has become of that. What it
//! knows lives in its [`Seat`], outside the actor, and every message only means "look again". So an actor that
//! panicked is replaced by a new one for the same seat, which goes on where the old one was, and so it is with a step
//! that panicked in the kernel's turn; the service never notices.

mod commands;
mod listening;
mod probing;
mod seat;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use woodward_engine::Exit;

use super::health::Life;
use crate::os::SpawnError;
pub(super) use probing::{ask_once, run_once};
pub(super) use seat::{Child, House, Seat};

/// Something in the seat has changed.
pub(super) struct Look;

/// What a worker says to the kernel.
#[derive(Debug)]
pub(super) enum Said {
    /// Executed.
    Started,
    /// Its condition holds and its `after_ready` hooks have succeeded.
    Ready,
    /// Last: the start failed and nothing of it is left.
    Failed(StartError),
    /// Last: it ended and nothing of it is left.
    Ended(Exit),
    /// Why it is about to end, if that is known: one clause.
    Cause(String),
    /// A note for the record: a word in snake_case and a clause.
    Note(&'static str, String),
    /// `STATUS=` of sd_notify; empty: nothing any more.
    Status(String),
    /// What it says of its own liveness.
    Life(Life),
    /// Question n of its health was answered.
    Answered(u32, Result<(), String>),
}

/// Why a start failed: the part after `cannot start PATH: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StartError {
    /// All of it: `omniNames: not found in /usr/bin:/bin`.
    pub(super) text: String,
    /// As much as fits into a row: `omniNames: not found`.
    pub(super) short: String,
}

impl From<String> for StartError {
    fn from(text: String) -> StartError {
        StartError { short: text.clone(), text }
    }
}

impl From<&SpawnError> for StartError {
    fn from(error: &SpawnError) -> StartError {
        let text = error.to_string();
        match error {
            SpawnError::NotFound { program, .. } => {
                StartError { short: format!("{program}: not found"), text }
            }
            _ => StartError::from(text),
        }
    }
}

/// The actor. It has no state but its seat.
pub(super) struct Worker;

impl Actor for Worker {
    type Msg = Look;
    type State = Arc<Seat>;
    type Arguments = Arc<Seat>;

    async fn pre_start(&self, _: ActorRef<Look>, seat: Arc<Seat>) -> Result<Arc<Seat>, ActorProcessingErr> {
        Ok(seat)
    }

    async fn post_start(&self, me: ActorRef<Look>, seat: &mut Arc<Seat>) -> Result<(), ActorProcessingErr> {
        self.handle(me, Look, seat).await
    }

    async fn handle(
        &self,
        me: ActorRef<Look>,
        _: Look,
        seat: &mut Arc<Seat>,
    ) -> Result<(), ActorProcessingErr> {
        seat.look_at_all();
        seat.prepare().await;
        seat.advance();
        if seat.leaves() {
            me.stop(None);
        }
        Ok(())
    }
}
