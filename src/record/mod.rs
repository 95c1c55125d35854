//! Everything observable that woodward writes: facts, the lines of its children, the history.

mod device;
pub mod fact;
pub mod history;
mod ledger;
mod rate;
mod ring;
mod rotate;
pub mod why;
pub mod words;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::os::Os;
use crate::runtime::view::View;
use crate::tree::WorkerPlan;
use fact::FactLine;
use why::Why;

/// Where a daemon records.
#[derive(Clone, Debug)]
pub struct Places {
    /// Run state, dies with the boot: log pipes and segments.
    pub run: PathBuf,
    /// History; `None`: kept in memory only.
    pub history: Option<PathBuf>,
    /// The journal's socket for native records; the journal is there if this is. [`JOURNAL`] but in tests.
    pub journal: PathBuf,
    /// How facts and lines look on woodward's own standard output and error.
    pub console: Console,
}

impl Places {
    /// The usual journal, text on the console.
    pub fn new(run: PathBuf, history: Option<PathBuf>) -> Places {
        Places { run, history, journal: PathBuf::from(JOURNAL), console: Console::Text }
    }
}

/// Where journald listens.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// How facts and lines look on woodward's own standard output and error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Console {
    /// The path in front.
    #[default]
    Text,
    /// One object a line.
    Json,
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
pub struct Record {}

impl Record {
    /// Opens the history and the places for logs. Must be called inside the tokio runtime.
    /// `os`: the keeper shares the log pipes and drains them while the daemon is away; `None`: nobody does.
    pub fn open(places: Places, os: Option<Os>) -> std::io::Result<Record> {
        let _ = (places, os);
        todo!()
    }

    /// Records a fact; its `seq` is filled in here.
    pub fn fact(&self, line: FactLine) {
        let _ = line;
        todo!()
    }

    /// Facts kept in memory about `path` and everything below it (`""`: all), oldest first.
    pub fn facts(&self, path: &str) -> Vec<Arc<FactLine>> {
        let _ = path;
        todo!()
    }

    /// Facts from now on.
    pub fn follow_facts(&self) -> tokio::sync::broadcast::Receiver<Arc<FactLine>> {
        todo!()
    }

    /// `why PATH`: from facts, view and last lines. `zone`: seconds east of Greenwich, for times of day.
    pub fn why(&self, path: &str, view: &View, zone: i32) -> Why {
        let _ = (path, view, zone);
        todo!()
    }

    /// The stream of one child; made at its first start, the same one for all its generations.
    pub fn stream(&self, worker: &WorkerPlan, path: &str) -> std::io::Result<Stream> {
        let _ = (worker, path);
        todo!()
    }

    /// The last `n` lines of these children and everything below them, in order of time.
    pub fn lines(&self, paths: &[String], n: usize) -> Vec<Arc<Line>> {
        let _ = (paths, n);
        todo!()
    }

    /// Lines from now on, of all children.
    pub fn follow_lines(&self) -> tokio::sync::broadcast::Receiver<Arc<Line>> {
        todo!()
    }
}

/// The output of one child: a pipe, a bounded segment behind it, a bounded ring of lines, the sinks.
#[derive(Clone, Debug)]
pub struct Stream {}

impl Stream {
    /// What the child gets as standard output and error; `None`: not captured.
    pub fn writer(&self) -> Option<Arc<OwnedFd>> {
        todo!()
    }

    /// Everything written so far was the last generation's; from now on it is this one's.
    pub async fn begin(&self, generation: u64, incident: u64) {
        let _ = (generation, incident);
        todo!()
    }

    /// The generation has ended and nothing of it is left: what it wrote is read to the end, an unfinished line is
    /// closed. Best awaited between *emptied* and telling the engine, so that `why` has the last lines.
    pub async fn end(&self) {
        todo!()
    }

    /// Resolves when a line of this generation contains `text`.
    pub async fn wait_for(&self, generation: u64, text: String) {
        let _ = (generation, text);
        todo!()
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        todo!()
    }
}
