//! The only door to the operating system's processes: client of the keeper, control groups, log pipes, clock.
//!
//! Nothing here decides. A process is asked for with [`Launch`]; what becomes of it comes to its sink, in order.

use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::tree::{Identity, Stdin};

/// One process to be started in the control group of one generation of one child.
pub struct Launch {
    /// Path of the child, e.g. `acs/naming`.
    pub path: Arc<str>,
    /// Generation of the child.
    pub generation: u64,
    /// The service itself, or a helper of it.
    pub role: Role,
    /// Program and arguments; the first without a slash is looked up in the environment's `PATH`.
    pub command: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// User, group, limits.
    pub identity: Identity,
    /// `None`: woodward's own.
    pub working_directory: Option<PathBuf>,
    /// Made before the start, owned by the user.
    pub directories: Vec<PathBuf>,
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output and error; `None`: `/dev/null`.
    pub output: Option<Arc<OwnedFd>>,
    /// Further descriptors: number in the child, descriptor here.
    pub descriptors: Vec<(RawFd, Arc<OwnedFd>)>,
    /// Gets every [`ProcessEvent`], in order, from the daemon's one thread; must not block.
    pub sink: Box<dyn FnMut(ProcessEvent) + Send>,
}

/// Which process of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The service's main process.
    Main,
    /// A hook, stop command or probe; numbered by the worker.
    Helper(u32),
}

/// What becomes of a process. `Started` or `Failed` first; after `Started`, `Exited`, then (main process only, when
/// nothing is left in the control group or process group) `Emptied`.
#[derive(Debug)]
pub enum ProcessEvent {
    /// Executed.
    Started {
        /// Process id.
        pid: i32,
    },
    /// Not executed; nothing runs.
    Failed(SpawnError),
    /// Ended and reaped.
    Exited(ExitStatus),
    /// Nothing of its generation is left.
    Emptied,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// `exit(n)`.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Not known.
    Unknown,
}

/// Why a process could not be started. The message is the part after `cannot start PATH: `.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program.
    #[error("{program}: not found in {searched}")]
    NotFound {
        /// As written.
        program: String,
        /// `PATH`, or the directory.
        searched: String,
    },
    /// It is there, but may not be executed.
    #[error("{program}: not executable")]
    NotExecutable {
        /// As written.
        program: String,
    },
    /// No such user.
    #[error("user {0}: not known on this host")]
    NoUser(String),
    /// No such group.
    #[error("group {0}: not known on this host")]
    NoGroup(String),
    /// A step between clone and exec failed, or the clone itself.
    #[error("{step}: {source}")]
    Step {
        /// What was being done, e.g. `working directory /srv/x`.
        step: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The main process.
    Main,
    /// Everything of the generation.
    All,
}
