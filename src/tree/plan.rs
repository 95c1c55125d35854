//! The plan: a tree file fully read, checked and expanded. An immutable value; nothing in it still needs the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use woodward_engine::spec;

use super::failover::Failover;
use super::resources::Resources;
use super::sandbox::Sandbox;
use super::sockets::Listen;

/// One tree, ready to be run, simulated or printed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the engine is told.
    pub tree: spec::Tree,
    /// What its [`woodward_engine::Key`]s mean: `workers[key]`. A template is a worker too.
    pub workers: Vec<WorkerPlan>,
    /// Supervisors, the root first, each before its children.
    pub supervisors: Vec<SupervisorPlan>,
    /// Children that are not planned, with the reason.
    pub left_out: Vec<LeftOut>,
    /// It is a group of a cluster: it runs where the cluster says. Never of a subtree alone.
    pub failover: Option<Failover>,
    /// Only the subtree at this path is planned; `None`: the whole tree.
    pub at: Option<String>,
}

impl Plan {
    /// Ties the workers to the keeper if the whole is a group of a cluster.
    pub(super) fn bind(&mut self) {
        let bound = match &self.failover {
            None => Bound::No,
            Some(failover) if failover.isolate => Bound::Namespace,
            Some(_) => Bound::Keeper,
        };
        self.workers.iter_mut().for_each(|worker| worker.bound = bound);
    }

    /// What tells it from all other plans that run on a host: the tree's id, or the path of the subtree.
    pub fn name(&self) -> &str {
        self.at.as_deref().unwrap_or(&self.tree.id)
    }
}

/// What is said of a supervisor besides its engine spec.
#[derive(Clone, Debug)]
pub struct SupervisorPlan {
    /// Full path.
    pub path: String,
    /// Free text.
    pub description: Option<String>,
}

/// A child of the file that is not planned.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Full path it would have had.
    pub path: String,
    /// `cdb = "xml"` or `enabled = false`.
    pub reason: String,
}

/// Everything needed to run one worker. Variables, inheritance and environment files are resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerPlan {
    /// Full path; of a template the supervisor's path and the template's id.
    pub path: String,
    /// Free text.
    pub description: Option<String>,
    /// A one-shot.
    pub oneshot: bool,
    /// A task of the program that embeds woodward: it has no process and no command. Never in a tree file.
    pub task: bool,
    /// A service of systemd, which `command` stands for: [`super::unit`].
    pub unit: Option<String>,
    /// Program and arguments. In a template, `${arg.name}` is still in it.
    pub command: Vec<String>,
    /// For every start of this run of the tree but the first.
    pub command_on_restart: Option<Vec<String>>,
    /// Who it runs as, and with what.
    pub identity: Identity,
    /// `None`: woodward's own.
    pub working_directory: Option<PathBuf>,
    /// Made before each start, owned by the user.
    pub directories: Vec<PathBuf>,
    /// Standard input.
    pub stdin: Stdin,
    /// The whole environment, woodward's own already mixed in as `pass_environment` says, sorted by name. Workers with
    /// the same environment share it.
    pub environment: Arc<Vec<(String, String)>>,
    /// Commands before the start; each must succeed.
    pub before_start: Vec<Vec<String>>,
    /// Commands after readiness; each must succeed.
    pub after_ready: Vec<Vec<String>>,
    /// Commands after the end; failures are reported.
    pub after_stop: Vec<Vec<String>>,
    /// Where its output goes.
    pub output: Output,
    /// Lines beyond this are dropped and counted.
    pub log_rate_limit: Option<RateLimit>,
    /// The readiness condition; its times are the engine's.
    pub ready: Option<Probe>,
    /// What it may use of the machine.
    pub resources: Resources,
    /// What it may do.
    pub sandbox: Sandbox,
    /// Sockets it is given, in the order of its descriptors.
    pub listen: Vec<Listen>,
    /// Its process is started when somebody connects.
    pub lazy: bool,
    /// With `lazy`: ends besides exit 0 after which it waits for somebody again.
    pub calm_ends: Vec<spec::Status>,
    /// How it is asked to stop.
    pub stop: Stop,
    /// What is asked while it runs.
    pub health: Option<Health>,
    /// Its own reload.
    pub reload: Option<Reload>,
    /// The names (never the values) of variables that came from an `environment_file`.
    pub secret_names: Vec<String>,
    /// The files they came from, or would come from if they were there, in the order in which they are read.
    pub environment_files: Vec<EnvironmentFile>,
    /// What of woodward's own environment is passed on; already in `environment`.
    pub passes: Passes,
    /// Whether its life depends on the keeper's.
    pub bound: Bound,
}

/// Whether a process outlives the keeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// It does: its right to run has no end.
    #[default]
    No,
    /// Of a failover group: it is started only while the right of the group stands, and the kernel kills it when the
    /// keeper dies.
    Keeper,
    /// And so does everything it has started, wherever that has gone (`isolate = "pid"`).
    Namespace,
}

/// A file with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentFile {
    /// Where it lies, or will lie.
    pub path: PathBuf,
    /// It may be missing.
    pub may_miss: bool,
    /// It was there when the tree was read.
    pub there: bool,
    /// Everybody who reads such files reads the same: no escapes, no expansions.
    pub plain: bool,
    /// Names in it to which an `environment` gives another value.
    pub overridden: Vec<String>,
}

/// Which of woodward's own variables a service is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Passes {
    /// All.
    #[default]
    All,
    /// None.
    None,
    /// These.
    Names(Vec<String>),
}

/// Identity and limits of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Name or number.
    pub user: Option<String>,
    /// Name or number; default: the user's.
    pub group: Option<String>,
    /// Names or numbers.
    pub supplementary_groups: Vec<String>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// `setrlimit(2)`: soft and hard; `u64::MAX` is infinity.
    pub limits: Vec<(Resource, u64, u64)>,
}

/// Resources of `setrlimit(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the manual page")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// Standard input of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe that never ends.
    Open,
    /// woodward's own.
    Inherit,
}

/// Where the output of a service goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Output {
    /// The journal if there is one, else woodward's own standard error.
    #[default]
    Auto,
    /// The journal.
    Journal,
    /// woodward's own standard output, the path in front.
    Inherit,
    /// Nowhere, and not captured.
    Null,
    /// A file with rotation.
    File {
        /// Which.
        file: PathBuf,
        /// Bytes after which it is rotated; `None`: never.
        max_size: Option<u64>,
        /// Old files kept.
        keep: u32,
    },
}

/// A rate limit on lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// So many lines ...
    pub lines: u32,
    /// ... in this time.
    pub per: Duration,
}

/// A readiness condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// `READY=1` on `NOTIFY_SOCKET`.
    Notify,
    /// A newline on this descriptor.
    Fd(i32),
    /// A TCP connection is accepted: `host:port`.
    Tcp(String),
    /// A connection to this unix socket is accepted.
    Unix(PathBuf),
    /// An HTTP GET answers 2xx, 3xx or exactly `status`.
    Http {
        /// `http://host:port/path`.
        url: String,
        /// The one status wanted.
        status: Option<u16>,
    },
    /// A command ends with 0.
    Exec(Vec<String>),
    /// A line of output contains this text.
    Log(String),
    /// A file was written after the start.
    File {
        /// Which.
        path: PathBuf,
        /// And contains this.
        contains: Option<String>,
    },
    /// A CORBA object is there: `corbaloc::host:port/key`.
    Corbaloc(String),
}

impl Probe {
    /// It can be asked again with the same answer, as long as nothing has changed.
    pub fn repeats(&self) -> bool {
        match self {
            Probe::Tcp(_) | Probe::Unix(_) | Probe::Http { .. } | Probe::Exec(_) | Probe::Corbaloc(_) => true,
            Probe::Notify | Probe::Fd(_) | Probe::Log(_) | Probe::File { .. } => false,
        }
    }
}

/// Checks of a service that is ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// From the beginning of one check to that of the next; not for a watchdog.
    pub every: Duration,
    /// For one check.
    pub timeout: Duration,
    /// So many failures in a row: it hangs.
    pub misses: u32,
    /// From readiness to the first check.
    pub start_after: Duration,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A condition that can be asked again and again.
    Probe(Probe),
    /// A file was written lately.
    Fresh {
        /// Which.
        path: PathBuf,
        /// Its last write is at most so long ago.
        max_age: Duration,
    },
    /// Nothing: the service says `WATCHDOG=1` at least this often.
    Watchdog(Duration),
}

/// The reload of a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Reload {
    /// This signal to the main process.
    Signal(i32),
    /// This command.
    Command(Vec<String>),
}

/// How a service is asked to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// First this command; whoever is left when it returns gets the signal.
    pub command: Option<Vec<String>>,
    /// Number of the signal.
    pub signal: i32,
    /// Who gets it.
    pub kill: KillMode,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { command: None, signal: 15, kill: KillMode::Mixed }
    }
}

/// Who gets the stop signal, and who is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillMode {
    /// The signal to the main process, SIGKILL later to all.
    #[default]
    Mixed,
    /// Both to all.
    Group,
    /// Both to the main process only; the others are never waited for.
    Process,
}
