//! The runtime: the kernel actor that owns the engine, and one worker actor per running child.
//!
//! * [`kernel`]: takes what has happened, asks the engine, carries out what it decides; never waits for a child.
//! * [`worker`]: one generation of one child: hooks, process, readiness, stop ladder, end.
//! * [`readiness`]: the conditions themselves.
//! * [`health`]: what is asked of those that are ready, and whether one that does not answer hangs or starves.
//! * [`publish`]: the view that `status` shows, read without asking anybody.
//! * [`table`]: what the engine's keys mean. [`inbox`]: the kernel's mailbox. [`rows`]: how a row is printed.
//! * [`task`]: futures of this program as children.
//! * [`sockets`]: which of them stay open.
//! * [`faults`]: harm on purpose, for `woodward chaos`.
//! * [`groups`]: trees that a cluster places.
//! * [`reload`]: another plan for a tree that runs. [`applied`]: what was read, for the next daemon.
//! * [`journal`]: what the next daemon must know. [`block`]: which generations are used up, should that be lost.

pub mod applied;
mod block;
pub mod faults;
pub mod groups;
pub(crate) mod health;
mod inbox;
mod journal;
mod kernel;
mod publish;
pub(crate) mod readiness;
pub mod reload;
mod rows;
mod sockets;
mod table;
pub mod task;
#[cfg(test)]
mod tests;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use woodward_engine::effect::TreeEnd;
use woodward_engine::{Reply, Time, Verb};

use crate::os::notify::NotifyServer;
use crate::os::pressure::Memory;
use crate::os::{Os, clock};
use crate::record::Record;
pub use crate::record::{Who, view};
use crate::tree::Plan;
use applied::Applied;
use faults::Faults;
use groups::Groups;
use inbox::{Inbox, Input};
use task::Tasks;
use view::View;

/// What the rest of the house sees of a running kernel. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    os: Os,
    inbox: Inbox,
    view: Arc<ArcSwap<View>>,
    record: Record,
    plans: Arc<ArcSwap<Vec<Arc<Plan>>>>,
    applied: Arc<ArcSwap<Applied>>,
    /// One reload at a time.
    reloading: Arc<tokio::sync::Mutex<()>>,
    faults: Faults,
    groups: Groups,
}

/// The kernel is gone or rebuilding itself; try again.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the kernel: it is stopping")]
pub struct Closed;

/// Why an instance of a template was not asked for.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// No kernel.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// An argument is missing or unknown, or what is made of them is no valid worker.
    #[error("cannot start an instance of {path}: {why}")]
    Arguments {
        /// The `simple_one_for_one` supervisor.
        path: String,
        /// What is wrong with them.
        why: String,
    },
}

/// What is done to a running service without the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// This signal to its main process.
    Signal(i32),
    /// Its own reload.
    Reload,
}

/// Why a service was not nudged.
#[derive(Debug, thiserror::Error)]
pub enum NudgeError {
    /// No kernel.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// A supervisor, or nothing.
    #[error("cannot reach {0}: it is no service")]
    NoWorker(String),
    /// The tree file says nothing of a reload.
    #[error("cannot reload {0}: it has no `reload`")]
    NoReload(String),
    /// No main process.
    #[error("cannot {verb} {path}: it does not run")]
    NotRunning {
        /// `signal` or `reload`.
        verb: &'static str,
        /// Which.
        path: String,
    },
    /// Its reload command.
    #[error("cannot reload {path}: {why}")]
    Failed {
        /// Which.
        path: String,
        /// How the command ended.
        why: String,
    },
}

/// What a kernel needs besides the trees.
pub struct Surroundings {
    /// The keeper's client.
    pub os: Os,
    /// The sd_notify server; without it a service that shall notify is never ready.
    pub notify: Option<NotifyServer>,
    /// Where facts and lines go.
    pub record: Record,
    /// Directory of the run state; `None`: nothing outlives this process.
    pub run: Option<PathBuf>,
    /// What runs and stands in no plan is killed when it has not stopped after this time.
    pub evict_within: Duration,
    /// Harm on purpose.
    pub faults: Faults,
    /// What was read for these plans.
    pub applied: Applied,
    /// What is shared with a cluster.
    pub groups: Groups,
    /// What the tasks in these plans do; a program that runs tree files has none.
    pub tasks: Tasks,
}

/// How it all ended: each tree with its end, in that order.
pub type Ends = Vec<(String, TreeEnd)>;

/// Starts a kernel that runs these plans. The second value resolves when all trees have ended and nothing of them
/// runs; it fails when the kernel itself does. Must be called inside a tokio runtime.
pub async fn start(surroundings: Surroundings, plans: Vec<Plan>) -> (Handle, oneshot::Receiver<Ends>) {
    kernel::start(surroundings, plans).await
}

impl Handle {
    /// The published view; never waits.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Asks the engine and waits for its one answer. The view of the reply is published before this returns.
    pub async fn request(&self, path: &str, verb: Verb, who: Who) -> Result<Reply, Closed> {
        let (answer, answered) = oneshot::channel();
        self.inbox.post(Input::Request { path: path.into(), verb, who, answer });
        answered.await.map_err(|_| Closed)
    }

    /// Makes an instance of the template of the `simple_one_for_one` supervisor `path` with these `${arg.…}` (name,
    /// value) and waits for the engine's one answer.
    pub async fn start_instance(
        &self,
        path: &str,
        args: &[(String, String)],
        who: Who,
    ) -> Result<Reply, InstanceError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.post(Input::Instance { path: path.into(), args: args.to_vec(), who, answer });
        answered.await.map_err(|_| Closed)?
    }

    /// Sends a signal to a service, or has it reload; a reload command has ended when this returns.
    pub async fn nudge(&self, path: &str, nudge: Nudge, who: Who) -> Result<(), NudgeError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.post(Input::Nudge { path: path.into(), nudge, who, answer });
        answered.await.map_err(|_| Closed)?
    }

    /// Memory that a generation takes now, if that can be told; `pid` is its main process.
    pub fn memory(&self, path: &str, generation: u64, pid: i32) -> Option<Memory> {
        self.os.memory(path, generation, pid)
    }

    /// The engine's clock, for times in a [`Verb`].
    pub fn now(&self) -> Time {
        clock::now()
    }

    /// Ordered stop of everything, then the daemon ends.
    pub fn shut_down(&self, who: Who) {
        self.inbox.post(Input::ShutDown { who });
    }

    /// No more patience: everything that runs is killed, and whatever is asked to stop from now on.
    pub fn kill_all(&self) {
        self.inbox.post(Input::KillAll);
    }

    /// Harm on purpose.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Facts and lines.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The plans that run.
    pub fn plans(&self) -> Vec<Arc<Plan>> {
        self.plans.load().to_vec()
    }
}
