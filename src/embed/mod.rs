//! woodward inside another program: one tree of services and tasks, by OTP's rules and with OTP's defaults.
//!
//! A *service* is an OS process, a *task* a future of this program; both are children of equal right, under supervisors
//! that restart, order and escalate. The keeper is one thread here: it waits for its own processes only, never for any
//! child, so that the program's own children stay its own. Services end with the program.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use woodward::embed::{Builder, Service, Strategy, Supervisor, Task};
//!
//! let tree = Supervisor::new("telescope")
//!     .strategy(Strategy::RestForOne)
//!     .child(Service::new("simulator", ["sleep", "1000"]))
//!     .child(Task::new("poller", |task| async move {
//!         task.stopped().await;
//!         Ok(())
//!     }));
//! let running = Builder::new(tree).start().await?;
//! assert!(running.ready().await);
//! running.stop().await?;
//! # Ok(())
//! # }
//! ```

mod child;
mod running;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use crate::runtime::task::{Context, Outcome};
pub use crate::tree::{Check, Health, KillMode, Output, Probe, Stop, WorkerPlan};
pub use child::{AnyChild, Child, Service, Supervisor, Task};
pub use running::{Lost, Running, StartError};
pub use woodward_engine::spec::{
    AutoShutdown, Backoff, Exhausted, InitialStart, Order, Restart, Shutdown, Strategy,
};

/// Why a tree cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot build {path}: {why}")]
pub struct BuildError {
    /// Path of the child.
    pub path: String,
    /// One clause.
    pub why: String,
}

/// What is to be started, and with what around it.
#[derive(Debug)]
pub struct Builder {
    tree: Supervisor,
    directory: Option<PathBuf>,
    history: Option<PathBuf>,
    socket: Option<PathBuf>,
    console: bool,
}

impl Builder {
    /// A tree; its root supervisor gives it its name.
    pub fn new(tree: Supervisor) -> Builder {
        Builder { tree, directory: None, history: None, socket: None, console: false }
    }

    /// A directory for what lives while the tree does; made if it is not there. Default: one of its own below the
    /// system's directory for temporary files, removed in the end.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.directory = Some(directory.into());
        self
    }

    /// Where facts are kept beyond the end of the program; default: nowhere.
    pub fn history(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.history = Some(directory.into());
        self
    }

    /// A socket for `woodward status --socket FILE` and the other verbs; default: none.
    pub fn socket(mut self, file: impl Into<PathBuf>) -> Builder {
        self.socket = Some(file.into());
        self
    }

    /// Facts and lines of output go to standard error if there is no journal; default: they do not.
    pub fn console(mut self, console: bool) -> Builder {
        self.console = console;
        self
    }

    /// Starts the tree. Must be called inside a tokio runtime; all tasks run there.
    ///
    /// # Errors
    /// A tree that makes no sense, a directory or socket that cannot be used.
    pub async fn start(self) -> Result<Running, StartError> {
        running::start(self).await
    }
}
