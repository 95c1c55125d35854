//! The runtime: the kernel actor that owns the engine, and one worker actor per running child.

mod readiness;
pub mod view;

use std::sync::Arc;

use woodward_engine::{Reply, Time, Verb};

use crate::record::Record;
use crate::tree::Plan;
use view::View;

/// What the rest of the house sees of a running kernel. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

/// Who asks, for the record.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Who {
    /// Login name or uid.
    pub by: String,
    /// What they wrote with it (`hold -m`).
    pub text: Option<String>,
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

impl Handle {
    /// The published view; never waits.
    pub fn view(&self) -> Arc<View> {
        todo!()
    }

    /// Asks the engine and waits for its one answer. The view of the reply is published before this returns.
    pub async fn request(&self, path: &str, verb: Verb, who: Who) -> Result<Reply, Closed> {
        let _ = (path, verb, who);
        todo!()
    }

    /// Makes an instance of the template of the `simple_one_for_one` supervisor `path` with these `${arg.…}` (name,
    /// value) and waits for the engine's one answer.
    pub async fn start_instance(
        &self,
        path: &str,
        args: &[(String, String)],
        who: Who,
    ) -> Result<Reply, InstanceError> {
        let _ = (path, args, who);
        todo!()
    }

    /// The engine's clock, for times in a [`Verb`].
    pub fn now(&self) -> Time {
        todo!()
    }

    /// Ordered stop of everything, then the daemon ends.
    pub fn shut_down(&self, who: Who) {
        let _ = who;
        todo!()
    }

    /// Facts and lines.
    pub fn record(&self) -> &Record {
        todo!()
    }

    /// The plans that run.
    pub fn plans(&self) -> Vec<Arc<Plan>> {
        todo!()
    }
}
