//! Faults on purpose, for `woodward chaos`: each is done through the keeper to a generation that is named, so that
//! nothing outside the tree is ever touched, and each is over by itself.
//!
//! | fault | what is done | over |
//! |---|---|---|
//! | `kill` `kill-one` `kill-all` | SIGKILL to the main process, to another one of its group, to all | at once |
//! | `hang` | SIGSTOP to the main process | SIGCONT after its time |
//! | `slow-start` | SIGKILL; the next process is stopped at its start | SIGCONT after its time |
//! | `exec-failure` | SIGKILL; the next start fails | with it, or after a minute |
//! | `flood` | lines into its output | after its time |
//! | `daemon` | SIGKILL to the daemon itself | at once |
//!
//! What is stopped is noted in the run state *before* it is stopped: should the daemon die meanwhile, the next one lets
//! it go on, first of all. At a launch this costs one load of a number, zero unless a fault waits for a start.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use woodward_engine::Time;

use crate::os::{Members, Os, Role, Scope, SpawnError, clock};
use crate::record::Record;
use crate::record::fact::FactLine;
use crate::record::view::{Row, State};
use crate::record::words::span;

/// Longest time of a fault.
pub const LONGEST: Duration = Duration::from_secs(60);
/// What waits for a start and finds none is dropped after this time.
const WAITS: Duration = Duration::from_secs(60);
/// Between two portions of a flood.
const PORTION: Duration = Duration::from_millis(5);
/// Writes of one portion, and lines of one write: at most 4096 bytes, which go into a pipe whole or not at all. About
/// 30 000 lines a second.
const WRITES: usize = 4;
const LINES: usize = 40;
/// The daemon's answer is on its way before it dies.
const LAST_WORD: Duration = Duration::from_millis(50);

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "see the table above")]
pub enum Kind {
    Kill,
    KillOne,
    KillAll,
    Hang,
    SlowStart,
    ExecFailure,
    Flood,
    Daemon,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Kind::Kill,
        Kind::KillOne,
        Kind::KillAll,
        Kind::Hang,
        Kind::SlowStart,
        Kind::ExecFailure,
        Kind::Flood,
        Kind::Daemon,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::KillOne => "kill-one",
            Kind::KillAll => "kill-all",
            Kind::Hang => "hang",
            Kind::SlowStart => "slow-start",
            Kind::ExecFailure => "exec-failure",
            Kind::Flood => "flood",
            Kind::Daemon => "daemon",
        }
    }

    /// The way back.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One fault that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whom; of a `daemon` fault the tree.
    pub path: String,
    /// What.
    pub kind: Kind,
    /// How long, where it has a length.
    pub time: Duration,
    /// Which process, of those that `kill-one` may take.
    pub pick: u64,
    /// Where it comes from, for the record: seed of the schedule and number in it.
    pub origin: (u64, u64),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The generation it was done to; 0: the daemon.
    pub generation: u64,
    /// The clause of the record.
    pub text: String,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The setting `chaos` is off.
    #[error("cannot do harm here: this daemon does not allow chaos")]
    NotAllowed,
    /// The child is not up.
    #[error("cannot do {0} to {1}: it is not up")]
    NotUp(&'static str, String),
    /// Another fault of it is not over.
    #[error("cannot do {0} to {1}: its last fault is not over")]
    Busy(&'static str, String),
    /// The system said no.
    #[error("cannot do {0} to {1}: {2}")]
    Failed(&'static str, String, String),
}

/// The faults of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    allowed: bool,
    os: Os,
    record: Record,
    file: Option<PathBuf>,
    /// So many wait for a start.
    waiting: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// What waits for a start, and until when.
    at_start: HashMap<String, (AtStart, Time)>,
    stopped: BTreeMap<String, u64>,
    flooded: Vec<String>,
}

#[derive(Clone, Copy)]
enum AtStart {
    Fail,
    Stop(Duration),
}

impl Faults {
    /// `allowed`: whether any can be asked for. `run`: directory of the run state.
    pub fn new(allowed: bool, os: Os, record: Record, run: Option<PathBuf>) -> Faults {
        Faults(Arc::new(Inner {
            allowed,
            os,
            record,
            file: run.map(|run| run.join("stopped-by-chaos")),
            waiting: AtomicUsize::new(0),
            table: Mutex::default(),
        }))
    }

    /// What an earlier daemon had stopped goes on. To be called when all that was found is adopted.
    pub(super) fn release_left(&self) {
        let Some(file) = &self.0.file else { return };
        let Ok(text) = fs::read_to_string(file) else { return };
        for (path, generation) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
            if let Ok(generation) = generation.parse() {
                self.0.os.signal(path, generation, Role::Main, libc::SIGCONT, Scope::Main);
                self.note(
                    path,
                    generation,
                    "chaos: goes on; the daemon that had stopped it is no more".into(),
                );
            }
        }
        // It would only be said once more.
        let _ = fs::remove_file(file);
    }

    /// All processes there are, for those who look for what should not be there. `Err`: not allowed; `None`: without
    /// control groups nobody can tell.
    pub fn census(&self) -> Result<Option<Vec<Members>>, FaultError> {
        self.allowed()?;
        Ok(self.0.os.census())
    }

    /// Does it. `row`: of the child as it is now. Must be called inside the tokio runtime.
    pub fn inject(&self, fault: &Fault, row: Option<&Row>) -> Result<Done, FaultError> {
        self.allowed()?;
        let (name, path) = (fault.kind.name(), &fault.path);
        if fault.kind == Kind::Daemon {
            tokio::spawn(async {
                tokio::time::sleep(LAST_WORD).await;
                // What it is told cannot be told: it is gone.
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
            });
            return Ok(self.done(fault, 0, format!("SIGKILL to the daemon, pid {}", std::process::id())));
        }
        let up = row.filter(|row| row.state == State::Up).and_then(|row| Some((row.generation, row.pid?)));
        let (generation, pid) = up.ok_or_else(|| FaultError::NotUp(name, path.clone()))?;
        if self.is_busy(path) {
            return Err(FaultError::Busy(name, path.clone()));
        }
        let failed = |error: io::Error| FaultError::Failed(name, path.clone(), error.to_string());
        let kill = || self.0.os.signal(path, generation, Role::Main, libc::SIGKILL, Scope::Main);
        let time = fault.time.min(LONGEST);
        let text = match fault.kind {
            Kind::Kill => {
                kill();
                format!("SIGKILL to its main process, pid {pid}")
            }
            Kind::KillOne => match self.other(path, generation, pid, fault.pick) {
                Some(other) => {
                    self.0.os.signal_member(path, generation, other, libc::SIGKILL).map_err(failed)?;
                    format!("SIGKILL to one of its processes, pid {other}")
                }
                None => {
                    kill();
                    format!("SIGKILL to its only process, pid {pid}")
                }
            },
            Kind::KillAll => {
                self.0.os.kill(path, generation);
                "SIGKILL to all its processes".to_owned()
            }
            Kind::Hang => {
                self.stop(path, generation, time).map_err(failed)?;
                format!("SIGSTOP to its main process, pid {pid}, for {}", span(time))
            }
            Kind::SlowStart => {
                self.wait_for_start(path, AtStart::Stop(time));
                kill();
                format!("SIGKILL to its main process, pid {pid}, and a start {} longer", span(time))
            }
            Kind::ExecFailure => {
                self.wait_for_start(path, AtStart::Fail);
                kill();
                format!("SIGKILL to its main process, pid {pid}, and a start that fails")
            }
            Kind::Flood => {
                let output = self.0.record.writer(path);
                let output = output.ok_or_else(|| failed(io::Error::other("its output is not captured")))?;
                self.flood(path, &output, time).map_err(failed)?;
                format!("a flood of lines for {}", span(time))
            }
            Kind::Daemon => return Err(FaultError::NotUp(name, path.clone())),
        };
        Ok(self.done(fault, generation, text))
    }

    /// A start that is to fail, and how.
    pub(super) fn at_launch(&self, path: &str) -> Option<SpawnError> {
        if self.0.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut table = self.lock();
        matches!(table.at_start.get(path)?.0, AtStart::Fail).then(|| {
            table.at_start.remove(path);
            self.0.waiting.store(table.at_start.len(), Ordering::Relaxed);
            SpawnError::Step { step: "exec".to_owned(), source: io::Error::other("made to fail by chaos") }
        })
    }

    /// A process has been started: perhaps it is to be slow.
    pub(super) fn started(&self, path: &str, generation: u64) {
        if self.0.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let stop = {
            let mut table = self.lock();
            let stop = match table.at_start.get(path) {
                Some((AtStart::Stop(time), _)) => Some(*time),
                _ => None,
            };
            if stop.is_some() {
                table.at_start.remove(path);
                self.0.waiting.store(table.at_start.len(), Ordering::Relaxed);
            }
            stop
        };
        if let Some(time) = stop
            && let Err(error) = self.stop(path, generation, time)
        {
            self.note(path, generation, format!("chaos: its start is not made slow: {error}"));
        }
    }

    fn allowed(&self) -> Result<(), FaultError> {
        if self.0.allowed { Ok(()) } else { Err(FaultError::NotAllowed) }
    }

    fn is_busy(&self, path: &str) -> bool {
        let table = self.lock();
        table.at_start.contains_key(path)
            || table.stopped.contains_key(path)
            || table.flooded.iter().any(|flooded| flooded == path)
    }

    /// One of the processes of a generation that is not its main process.
    fn other(&self, path: &str, generation: u64, main: i32, pick: u64) -> Option<i32> {
        let members = self.0.os.census()?;
        let own = members.into_iter().find(|one| one.path == path && one.generation == generation)?;
        let others: Vec<i32> = own.pids.into_iter().filter(|pid| *pid != main).collect();
        let pick = pick.checked_rem(others.len() as u64)?;
        others.get(usize::try_from(pick).ok()?).copied()
    }

    fn stop(&self, path: &str, generation: u64, time: Duration) -> io::Result<()> {
        self.lock().stopped.insert(path.to_owned(), generation);
        self.keep()?;
        self.0.os.signal(path, generation, Role::Main, libc::SIGSTOP, Scope::Main);
        let (faults, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            faults.0.os.signal(&path, generation, Role::Main, libc::SIGCONT, Scope::Main);
            faults.lock().stopped.remove(&path);
            // An entry too many only makes the next daemon send a SIGCONT that changes nothing.
            let _ = faults.keep();
            faults.note(&path, generation, "chaos: goes on".to_owned());
        });
        Ok(())
    }

    /// Who is stopped, for the next daemon.
    fn keep(&self) -> io::Result<()> {
        let Some(file) = &self.0.file else { return Ok(()) };
        let table = self.lock();
        let mut text = String::new();
        table.stopped.iter().for_each(|(path, generation)| text += &format!("{path} {generation}\n"));
        let new = file.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, file)
    }

    fn wait_for_start(&self, path: &str, what: AtStart) {
        let until = clock::now() + WAITS;
        let mut table = self.lock();
        table.at_start.insert(path.to_owned(), (what, until));
        self.0.waiting.store(table.at_start.len(), Ordering::Relaxed);
        let (faults, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(WAITS).await;
            let mut table = faults.lock();
            // Meanwhile another one may wait.
            table.at_start.retain(|waiting, (_, end)| *waiting != path || *end > until);
            faults.0.waiting.store(table.at_start.len(), Ordering::Relaxed);
        });
    }

    /// Lines into the pipe of a child, as many as fit: nobody is kept waiting for them.
    fn flood(&self, path: &str, output: &OwnedFd, time: Duration) -> io::Result<()> {
        let mut pipe = not_blocking(output)?;
        let line = "chaos: one of very many lines that nobody needs, and that everybody has to cope with\n";
        let portion = line.repeat(LINES);
        self.lock().flooded.push(path.to_owned());
        let (faults, path) = (self.clone(), path.to_owned());
        tokio::spawn(async move {
            let end = clock::now() + time;
            while clock::now() < end {
                for _ in 0..WRITES {
                    // A full pipe takes none, and that is enough of a flood.
                    let _ = pipe.write(portion.as_bytes());
                }
                tokio::time::sleep(PORTION).await;
            }
            faults.lock().flooded.retain(|flooded| *flooded != path);
        });
        Ok(())
    }

    fn done(&self, fault: &Fault, generation: u64, text: String) -> Done {
        let (seed, n) = fault.origin;
        let fact =
            FactLine::note(clock::wall(), 0, &fault.path, generation, "chaos", format!("chaos: {text}"));
        self.0.record.fact(fact.with("fault", fault.kind.name()).with("seed", seed).with("n", n));
        // At once: no turn of the kernel may follow.
        self.0.record.keep();
        Done { generation, text }
    }

    fn note(&self, path: &str, generation: u64, text: String) {
        self.0.record.fact(FactLine::note(clock::wall(), 0, path, generation, "chaos", text));
        self.0.record.keep();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same pipe with a state of its own: the child's end goes on blocking.
fn not_blocking(output: &OwnedFd) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", output.as_raw_fd());
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)
}
