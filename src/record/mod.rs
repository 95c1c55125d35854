//! Everything observable that woodward writes: facts, the lines of its children, the history.
//!
//! ```text
//! kernel ──► fact ──► memory, run state ┬──► history (disk)
//!                                       ├──► journal, or console
//!                                       └──► followers
//! child ──► FIFO ──► segment ──► logger: lines ──► ring (memory)
//!                                       ├──► journal, console or file
//!                                       └──► followers, readiness by log
//! ```
//!
//! Nothing in this room ever makes a child or the daemon wait: what is slow (disk, journal, console) has a thread of its
//! own behind a bounded queue, and what does not fit is dropped, counted, and shown in the stream it is missing from.

pub mod availability;
mod console;
mod cutter;
mod device;
pub mod fact;
mod files;
pub mod history;
mod journal;
pub mod kinds;
mod ledger;
mod logger;
mod mounts;
mod own;
mod rate;
pub mod recent;
mod ring;
mod rotate;
mod sinks;
mod stream;
#[cfg(test)]
mod tests;
pub mod view;
pub mod why;
pub mod words;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::os::pipe::LogPipe;
use crate::os::{Os, clock};
use crate::settings::Settings;
use crate::tree::{Output, Probe, WorkerPlan};
use cutter::Cutter;
use fact::FactLine;
use ledger::Ledger;
use logger::Logger;
use recent::Recent;
use ring::Ring;
use sinks::Sinks;
pub use stream::Stream;
use stream::{Intake, Source};
use view::View;
use why::{Known, Why};

/// The first fact of each daemon.
const DAEMON_STARTED: &str = "daemon_started";
/// Facts and lines that a slow follower may be behind before it misses some.
const FOLLOWED: usize = 1024;
/// Longest that an answer waits for the logger.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a daemon records.
#[derive(Clone, Debug)]
pub struct Places {
    /// Run state, dies with the boot: log pipes and segments.
    pub run: PathBuf,
    /// History; `None`: kept in memory only.
    pub history: Option<PathBuf>,
    /// The journal's socket for native records; the journal is there if this is. [`JOURNAL`] but in tests.
    pub journal: PathBuf,
    /// How much is kept, and how it looks.
    pub settings: Settings,
    /// Standard output and error are woodward's to write to; false inside another program.
    pub console: bool,
}

impl Places {
    /// The usual journal, default settings.
    pub fn new(run: PathBuf, history: Option<PathBuf>) -> Places {
        Places { run, history, journal: PathBuf::from(JOURNAL), settings: Settings::default(), console: true }
    }
}

/// Where journald listens.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// Who asks, for the record.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Who {
    /// Login name or uid.
    pub by: String,
    /// What they wrote with it (`hold -m`).
    pub text: Option<String>,
}

/// One line of output of a child.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// Grows by one with each line of this child.
    pub seq: u64,
    /// When it was read, milliseconds since 1970, UTC.
    pub at: u64,
    /// Whose.
    pub path: String,
    /// Of which generation.
    pub generation: u64,
    /// Without the newline; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// The record of one daemon. Cheap to clone; no call blocks.
#[derive(Clone, Debug)]
pub struct Record(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Places,
    os: Option<Os>,
    ledger: Mutex<Ledger>,
    recent: Mutex<Recent>,
    /// Facts that are in memory only so far.
    fresh: Mutex<Fresh>,
    facts: broadcast::Sender<Arc<FactLine>>,
    streams: Mutex<Streams>,
    lines: broadcast::Sender<Arc<Line>>,
    logger: Arc<Logger>,
    sinks: Arc<Sinks>,
}

/// Facts, and how the history has them.
#[derive(Debug, Default)]
struct Fresh {
    facts: Vec<FactLine>,
    lines: Vec<u8>,
}

#[derive(Debug, Default)]
struct Streams {
    by_path: BTreeMap<Arc<str>, Arc<Source>>,
    /// Number of the last one with the logger.
    last: u64,
}

impl Record {
    /// Opens the history and the places for logs, starts the threads. Must be called inside the tokio runtime.
    ///
    /// `os`: the keeper shares the log pipes and drains them while the daemon is away; `None`: nobody does.
    pub fn open(places: Places, os: Option<Os>) -> io::Result<Record> {
        let back = Back::default();
        let logger = Arc::new(Logger::start()?);
        let settings = &places.settings;
        let mut ledger = Ledger::new(settings);
        let (recent, earlier) = Recent::open(&places.run, settings.memory_facts.0, &mut ledger);
        let inner = Arc::new(Inner {
            sinks: Arc::new(Sinks::start(&places, &logger, &back)?),
            logger,
            ledger: Mutex::new(ledger),
            recent: Mutex::new(recent),
            fresh: Mutex::default(),
            places,
            os,
            facts: broadcast::Sender::new(FOLLOWED),
            streams: Mutex::default(),
            lines: broadcast::Sender::new(FOLLOWED),
        });
        let _ = back.0.set(Arc::downgrade(&inner));
        let follows = !earlier.is_empty();
        inner.sinks.earlier(earlier);
        if let Some(os) = &inner.os {
            tokio::spawn(take_over(os.clone(), Arc::downgrade(&inner.logger)));
        }
        let text =
            format!("daemon started, woodward {}, pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
        let started = FactLine::note(clock::wall(), 0, "", 0, DAEMON_STARTED, text);
        let started = match clock::boot() {
            Some(boot) => started.with("boot", boot),
            None => started,
        };
        // Whether numbers of facts and incidents go on after those of an earlier daemon.
        inner.fact(if follows { started.with("follows", true) } else { started });
        inner.keep();
        Ok(Record(inner))
    }

    /// Records a fact; its `seq` is filled in here. It is in memory at once, and everywhere else with the next
    /// [`Record::keep`].
    pub fn fact(&self, line: FactLine) {
        self.0.fact(line);
    }

    /// Facts recorded since the last time go to the run state, the history, the journal: once per turn of the kernel, before
    /// anybody is answered, so that many facts cost one system call each.
    pub fn keep(&self) {
        self.0.keep();
    }

    /// Facts kept in memory about `path` and everything below it (`""`: all), oldest first.
    pub fn facts(&self, path: &str) -> Vec<Arc<FactLine>> {
        lock(&self.0.ledger).within(path).into_iter().map(Arc::new).collect()
    }

    /// All facts there are: the history of all daemons, or, if none is kept, what is in memory. Reading it may take
    /// a while, and a thread of its own.
    pub async fn history(&self) -> Vec<FactLine> {
        self.keep();
        let _ = tokio::time::timeout(PATIENCE, self.0.sinks.flushed()).await;
        let read = match self.0.places.history.clone() {
            Some(dir) => tokio::task::spawn_blocking(move || history::read(&dir)).await.ok(),
            None => None,
        };
        match read {
            Some(Ok(facts)) if !facts.is_empty() => facts,
            _ => lock(&self.0.ledger).within(""),
        }
    }

    /// Takes `tracing` events as woodward's own diagnostics: for the daemon to make it the program's.
    pub fn diagnostics(&self) -> tracing::Dispatch {
        self.0.sinks.own()
    }

    /// The greatest number of an incident that this or an earlier daemon of this boot has recorded and that is still known:
    /// the next one's has to be greater.
    pub fn last_incident(&self) -> u64 {
        lock(&self.0.ledger).last_incident()
    }

    /// Facts from now on.
    pub fn follow_facts(&self) -> broadcast::Receiver<Arc<FactLine>> {
        self.0.facts.subscribe()
    }

    /// `why PATH`: from facts, view and last lines. `zone`: seconds east of Greenwich, for times of day.
    pub fn why(&self, path: &str, view: &View, zone: i32) -> Why {
        let facts = {
            let ledger = lock(&self.0.ledger);
            let mut incidents: Vec<u64> = ledger.within(path).iter().map(|fact| fact.incident).collect();
            // What belongs to none: harm on purpose.
            incidents.push(0);
            ledger.of_incidents(&incidents)
        };
        let rows: Vec<_> = view.rows().collect();
        let children: Vec<String> = facts.iter().map(|fact| fact.path.clone()).collect();
        let lines = self.lines(&children, usize::MAX);
        why::explain(&Known { path, facts: &facts, rows: &rows, lines: &lines, now: clock::wall(), zone })
    }

    /// The stream of one child; made at its first start, the same one for all its generations.
    pub fn stream(&self, worker: &WorkerPlan, path: &str) -> io::Result<Stream> {
        let inner = &self.0;
        let mut streams = lock(&inner.streams);
        if let Some(source) = streams.by_path.get(path) {
            return Ok(Stream { source: source.clone(), logger: inner.logger.clone() });
        }
        // Readiness by a line needs the lines, whether they go anywhere or not.
        let captured = worker.output != Output::Null || matches!(worker.ready, Some(Probe::Log(_)));
        let intake = match captured {
            true => Some(Intake::new(LogPipe::open(&inner.places.run, path, inner.os.as_ref())?)),
            false => None,
        };
        let mut ring = Ring::new(inner.places.settings.memory_lines.bytes());
        if let Some(intake) = &intake {
            // What cannot be read is not shown.
            let _ = intake.last_lines(&mut |line| ring.push(line.0, line.1, line.2, line.3));
        }
        streams.last += 1;
        let path: Arc<str> = Arc::from(path);
        let source = Arc::new(Source {
            path: path.clone(),
            token: streams.last,
            intake: intake.map(Mutex::new),
            ring: Mutex::new(ring),
            waiters: Mutex::default(),
            dropped: AtomicU64::new(0),
            sinks: inner.sinks.of(&worker.output),
        });
        streams.by_path.insert(path, source.clone());
        let cutter =
            Cutter::new(source.clone(), inner.sinks.clone(), inner.lines.clone(), worker.log_rate_limit);
        inner.logger.add(cutter);
        Ok(Stream { source, logger: inner.logger.clone() })
    }

    /// Where a child writes its output to; `None`: its output is not captured, or it was never started.
    pub fn writer(&self, path: &str) -> Option<Arc<OwnedFd>> {
        let source = lock(&self.0.streams).by_path.get(path)?.clone();
        Stream { source, logger: self.0.logger.clone() }.writer()
    }

    /// The child is no more: its stream is read to the end and its pipe removed.
    pub fn forget(&self, path: &str) {
        if let Some(source) = lock(&self.0.streams).by_path.remove(path) {
            self.0.logger.remove(source.token);
            LogPipe::remove(&self.0.places.run, path);
        }
    }

    /// The last `n` lines of these children and everything below them, in order of time.
    pub fn lines(&self, paths: &[String], n: usize) -> Vec<Arc<Line>> {
        let streams = lock(&self.0.streams);
        let wanted = streams.by_path.values().filter(|source| {
            paths.is_empty() || paths.iter().any(|path| words::is_within(&source.path, path))
        });
        let mut lines: Vec<Line> =
            wanted.flat_map(|source| lock(&source.ring).last(n, &source.path)).collect();
        lines.sort_by_key(|line| line.at);
        lines.drain(..lines.len().saturating_sub(n));
        lines.into_iter().map(Arc::new).collect()
    }

    /// Lines of one child dropped so far.
    pub fn dropped(&self, path: &str) -> u64 {
        let streams = lock(&self.0.streams);
        streams.by_path.get(path).map_or(0, |source| source.dropped.load(Ordering::Relaxed))
    }

    /// Lines from now on, of all children.
    pub fn follow_lines(&self) -> broadcast::Receiver<Arc<Line>> {
        self.0.lines.subscribe()
    }

    /// Resolves when what children wrote before is in [`Record::lines`]; soon, or after two seconds.
    pub async fn settled(&self) {
        let _ = tokio::time::timeout(PATIENCE, self.0.logger.settled()).await;
    }

    /// The daemon ends: resolves when all lines and facts are where they belong, or after `flush_within` of the
    /// settings: a disk that hangs does not keep it.
    pub async fn close(&self) {
        self.keep();
        self.settled().await;
        let _ = tokio::time::timeout(self.0.places.settings.flush_within.0, self.0.sinks.flushed()).await;
    }
}

/// Whenever the keeper hands the log pipes back, what it has read is looked at.
async fn take_over(os: Os, logger: Weak<Logger>) {
    loop {
        os.log_turn().await;
        let Some(logger) = logger.upgrade() else { return };
        logger.look_at_all();
    }
}

/// The way back from a device to the facts.
#[derive(Clone, Debug, Default)]
struct Back(Arc<OnceLock<Weak<Inner>>>);

impl Back {
    fn note(&self, path: &str, kind: &str, text: String) {
        if let Some(record) = self.0.get().and_then(Weak::upgrade) {
            record.fact(FactLine::note(clock::wall(), 0, path, 0, kind, text));
            record.keep();
        }
    }
}

impl Inner {
    fn fact(&self, mut line: FactLine) {
        let mut ledger = lock(&self.ledger);
        line.seq = ledger.next();
        // Text, numbers and truth values: nothing in it can fail.
        let json: Arc<[u8]> = serde_json::to_vec(&line).unwrap_or_default().into();
        ledger.push(&line, json.clone());
        // Under the lock, so that followers and devices see facts in their order. Without followers it is nobody's loss.
        if self.facts.receiver_count() > 0 {
            let _ = self.facts.send(Arc::new(line.clone()));
        }
        let mut fresh = lock(&self.fresh);
        history::encode(&json, &mut fresh.lines);
        fresh.facts.push(line);
    }

    fn keep(&self) {
        // Held to the end: what another thread keeps meanwhile comes after it.
        let mut recent = lock(&self.recent);
        let Fresh { facts, lines } = std::mem::take(&mut *lock(&self.fresh));
        if facts.is_empty() {
            return;
        }
        recent.append(&lines);
        self.sinks.facts(facts, lines);
    }
}

/// A panic under one of these locks leaves nothing half-done that another could trip over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
