//! The only door to the operating system's processes: client of the keeper, control groups, log pipes, clock.
//!
//! Nothing here decides. A process is asked for with [`Launch`]; what becomes of it comes to its sink, in
//! order.

#[cfg(feature = "full")]
pub mod aside;
pub mod bank;
mod census;
mod cgroup;
mod client;
pub mod clock;
mod family;
#[cfg(feature = "full")]
pub mod fuse;
mod group;
pub mod guard;
mod limits;
pub mod memory;
#[cfg(feature = "full")]
pub mod net;
pub mod notify;
mod orders;
pub mod pipe;
pub mod pressure;
mod program;
mod slots;
mod socket;
pub mod stage;
#[cfg(test)]
mod tests;

use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use census::Members;
pub use group::TreeGroup;

use crate::tree::{Bound, Identity, KillMode, Resources, Sandbox, Stdin};

/// The keeper's client. Cheap to clone; any thread may call, sinks are called on the daemon's one thread.
#[derive(Clone, Debug)]
pub struct Os {
    client: Arc<client::Client>,
}

/// Gets every [`ProcessEvent`] of one process, in order, from the daemon's one thread; must not block.
pub type Sink = Box<dyn FnMut(ProcessEvent) + Send>;

/// What the keeper had when this daemon began: one line per process that runs or whose end nobody has taken
/// note of.
#[derive(Clone, Debug)]
pub struct Found {
    /// Path of the child.
    pub path: Arc<str>,
    /// Its generation.
    pub generation: u64,
    /// Which process of it.
    pub role: Role,
    /// Process id; 0 if it was never executed.
    pub pid: i32,
    /// `None`: it runs.
    pub ended: Option<ExitStatus>,
}

impl Os {
    /// Takes up work on the channel the keeper gave this daemon (or [`library`] this program) and reads its
    /// snapshot. `state` is the state directory: it names the control groups. Processes of an earlier run
    /// under the same name that no keeper knows are killed first. Must be called inside the tokio runtime.
    pub async fn connect(channel: OwnedFd, state: &Path) -> std::io::Result<Os> {
        let limits = limits::Limits::new(cgroup::id_of(state)?);
        Os::connect_with(channel, cgroup::Cgroups::find(state), limits).await
    }

    async fn connect_with(
        channel: OwnedFd,
        cgroups: Option<cgroup::Cgroups>,
        limits: limits::Limits,
    ) -> std::io::Result<Os> {
        let connected =
            tokio::time::timeout(client::PATIENCE, client::Client::connect(channel, cgroups, limits)).await;
        Ok(Os { client: connected.map_err(|_| std::io::ErrorKind::TimedOut)?? })
    }

    /// What was there already. Each line must be adopted or killed; the same answer at every call.
    pub fn found(&self) -> Vec<Found> {
        self.client.found()
    }

    /// Events of a found main process go to `sink` from now on; first of all `Started`, and the end if it has
    /// ended. Returned is its process id, if it runs as far as is known.
    pub fn adopt(&self, path: &str, generation: u64, kill: KillMode, sink: Sink) -> Option<i32> {
        self.client.adopt(path, generation, kill, sink)
    }

    /// The end of this main process is written down: the keeper need not keep it for a next daemon any more. A start
    /// of the same path acknowledges what was there before.
    pub fn acknowledge(&self, path: &str, generation: u64) {
        self.client.acknowledge(path, generation);
    }

    /// A found main process has ended, and that is known already.
    pub fn dismiss(&self, path: &str, generation: u64) {
        self.client.dismiss(path, generation);
    }

    /// The keeper's process.
    pub fn keeper(&self) -> i32 {
        self.client.keeper
    }

    /// Starts a process. The outcome comes to its sink, never before this returns. Generations of a path
    /// only grow. Directories are made, names of users looked up, the program searched here, each time.
    pub fn launch(&self, launch: Launch) {
        self.client.launch(launch);
    }

    /// Sends a signal. A generation that is no longer there gets nothing.
    pub fn signal(&self, path: &str, generation: u64, role: Role, signal: i32, scope: Scope) {
        self.client.signal(path, generation, role, signal, scope);
    }

    /// A stop command is about to run: until it is over, what the main process leaves behind is left alone, for
    /// the command is among it.
    pub fn command(&self, path: &str, generation: u64) {
        self.client.command(path, generation);
    }

    /// It is over.
    pub fn command_over(&self, path: &str, generation: u64) {
        self.client.command_over(path, generation);
    }

    /// SIGKILL to everything of the generation, again until nothing is left (kill mode `process`: to the main
    /// process).
    pub fn kill(&self, path: &str, generation: u64) {
        self.client.kill(path, generation);
    }

    /// SIGKILL to whatever is left of a generation whose main process has ended or was never started (a hook
    /// failed); `done` is called when nothing is left, never before this returns.
    pub fn clear(&self, path: &str, generation: u64, done: Box<dyn FnOnce() + Send>) {
        self.client.clear(path, generation, done);
    }

    /// How many processes of this child the kernel has killed for want of memory, in all; `None`: not known.
    pub fn killed_for_memory(&self, path: &str) -> Option<u64> {
        self.client.limits.killed(self.client.cgroups.as_ref(), path)
    }

    /// The main process of this generation has ended and nothing of it is left; another one may follow in the
    /// same generation.
    pub fn rest(&self, path: &str, generation: u64) {
        self.client.rest(path, generation);
    }

    /// The child is gone for good: its name, its control group and its place in the keeper are free.
    pub fn forget(&self, path: &str) {
        self.client.forget(path);
    }

    /// Does this process belong to this generation? By control group, else by session.
    pub fn owns(&self, path: &str, generation: u64, pid: i32) -> bool {
        self.client.owner(pid).is_some_and(|(owner, of)| *owner == *path && of == generation)
    }

    /// As long as the returned value lives, small orders (signals) wait for each other and go in one message.
    pub fn together(&self) -> Together<'_> {
        self.client.lock().corked = true;
        Together { client: &self.client }
    }

    /// All processes of all generations, also of such as should be no more; `None`: there are no control groups to
    /// tell by.
    pub fn census(&self) -> Option<Vec<Members>> {
        self.client.census()
    }

    /// Sends a signal to one process if it belongs to this generation; which is looked at with the process held, so
    /// that it reaches no other one. Fails with `ESRCH` if it does not.
    pub fn signal_member(&self, path: &str, generation: u64, pid: i32, signal: i32) -> std::io::Result<()> {
        self.client.signal_member(path, generation, pid, signal)
    }

    /// SIGTERM, SIGINT and SIGHUP that the keeper got. One receiver: the first call has it. It ends when the
    /// keeper is gone.
    pub fn signals(&self) -> tokio::sync::mpsc::UnboundedReceiver<i32> {
        self.client.signals()
    }

    /// Resolves when the keeper, which empties the log pipes while this daemon begins or hangs, hands them
    /// back.
    pub async fn log_turn(&self) {
        self.client.log_turn().await;
    }

    /// Children of children that were left to the keeper and have ended, so far.
    pub fn orphans(&self) -> u64 {
        self.client.orphans()
    }

    /// sd_notify to whoever started woodward, e.g. `READY=1`.
    pub fn notify(&self, text: &str) {
        self.client.notify(text);
    }

    /// The keeper executes this file as soon as this daemon has ended; what runs goes on. Call it last, then return
    /// from `main`.
    pub fn replace(&self, file: OwnedFd) {
        self.client.replace(file);
    }

    /// The keeper ends with this code as soon as this daemon has ended; what still runs then is killed. Call
    /// it last, then return from `main`.
    pub fn exit(&self, code: u8) {
        self.client.exit(code);
    }
}

/// See [`Os::together`].
pub struct Together<'a> {
    client: &'a client::Client,
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        self.client.uncork(&mut self.client.lock());
    }
}

/// The processes of a generation, for a keeper that takes over from one that was killed: by control group, else
/// by the mark in their environment. `name` is that of the keeper's entry.
pub fn members(state: &Path, name: &str, generation: u64) -> Vec<i32> {
    let path = name.split(slots::HELPER).next().unwrap_or(name);
    match cgroup::Cgroups::find(state) {
        Some(cgroups) => cgroups.group(path, generation).processes(),
        None => family::marked(&format!("{path}#{generation}")),
    }
}

/// Ends everything in the control groups of this state directory, and removes them. Waits until nothing is left.
pub fn sweep(state: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let (Some(cgroups), Ok(runtime)) = (cgroup::Cgroups::find(state), runtime) {
        runtime.block_on(async {
            for group in cgroups.all().iter().rev() {
                group.emptied(true).await;
                group.remove();
            }
        });
    }
}

/// A keeper as a thread of this program: the channel for [`Os::connect`]. It waits for its own children only,
/// never for any child, and stops its services when the channel closes.
pub fn library() -> std::io::Result<OwnedFd> {
    woodward_keeper::thread()
}

/// The channel that the keeper left to this process, at [`woodward_keeper::CHANNEL`]. Fails if there is none:
/// this process was not started by a keeper. To be called once.
pub fn channel() -> std::io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: asks only.
    let flags = unsafe { libc::fcntl(woodward_keeper::CHANNEL, libc::F_GETFD) };
    // SAFETY: writes to `kind`.
    let kind = unsafe {
        let (mut kind, mut size) = (0i32, size_of::<i32>() as libc::socklen_t);
        let at = (&raw mut kind).cast();
        libc::getsockopt(woodward_keeper::CHANNEL, libc::SOL_SOCKET, libc::SO_TYPE, at, &mut size);
        kind
    };
    if flags < 0 || kind != libc::SOCK_SEQPACKET {
        return Err(std::io::Error::other("not started by a keeper"));
    }
    // SAFETY: open, and nobody in this program has another idea of what it is.
    Ok(unsafe { OwnedFd::from_raw_fd(woodward_keeper::CHANNEL) })
}

/// What is the same at every start of one program. Shared: the keeper's copy of it is laid out once for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Path of the child, e.g. `acs/naming`.
    pub path: Arc<str>,
    /// Program and arguments; the first without a slash is looked up in the environment's `PATH` at each
    /// start.
    pub command: Vec<String>,
    /// The environment, without the additions of one start.
    pub environment: Arc<Vec<(String, String)>>,
    /// User, group, limits.
    pub identity: Identity,
    /// `None`: woodward's own.
    pub working_directory: Option<PathBuf>,
    /// Made before each start, owned by the user.
    pub directories: Vec<PathBuf>,
    /// Standard input.
    pub stdin: Stdin,
    /// What it may use of the machine.
    pub resources: Resources,
    /// What it may do.
    pub sandbox: Sandbox,
    /// Of a failover group: started only while the right of its group stands (see [`guard`]), and killed by the kernel
    /// when the keeper dies.
    pub bound: Bound,
}

/// One process to be started in the control group of one generation of one child.
pub struct Launch {
    /// What.
    pub program: Arc<Program>,
    /// Generation of the child.
    pub generation: u64,
    /// The service itself, or a helper of it.
    pub role: Role,
    /// Environment of this start, on top (`WOODWARD_GENERATION`, `NOTIFY_SOCKET`, `MAINPID`). At most 16 KiB.
    pub additions: Vec<(&'static str, String)>,
    /// Standard output and error; `None`: `/dev/null`.
    pub output: Option<Arc<OwnedFd>>,
    /// Further descriptors: number in the child (3 or more), descriptor here. At most 14.
    pub descriptors: Vec<(RawFd, Arc<OwnedFd>)>,
    /// What its stop reaches; with `process` its leftovers are left alone. Ignored for helpers.
    pub kill: KillMode,
    /// Where the outcome goes.
    pub sink: Sink,
}

/// Which process of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The service's main process.
    Main,
    /// A hook, stop command or probe; numbered by the worker.
    Helper(u32),
}

/// What becomes of a process. `Started` or `Failed` first; after `Started`, `Exited`, then (main process
/// only, when nothing is left in the control group or process group) `Emptied`.
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
    /// A script whose interpreter is missing.
    #[error("{program}: its interpreter {interpreter} is not found")]
    NoInterpreter {
        /// As written.
        program: String,
        /// From its first line.
        interpreter: String,
    },
    /// No such user.
    #[error("user {0}: not known on this host")]
    NoUser(String),
    /// No such group.
    #[error("group {0}: not known on this host")]
    NoGroup(String),
    /// Of a failover group whose right to run here is over, or has not begun.
    #[error("this node has no right to run it: the deadline has passed")]
    NoRight,
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
