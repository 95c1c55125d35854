//! The devices of everything that goes to disk: one for the history, one for the log files of each mounted file system, so
//! that a disk that hangs holds up no other.
//!
//! A full disk stops nothing: what cannot be written is dropped and counted, which is said once as a fact, and again in the file
//! when it can be written. Every further batch tries again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::device::Work;
use super::history;
use super::recent::Earlier;
use super::rotate::{Rotating, Unwritten};
use super::stream::Batch;
use super::{Back, lock};

/// What can be asked of it.
#[derive(Debug)]
pub(super) enum Job {
    /// Lines of a child to its file.
    Lines(Arc<LogFile>, Arc<Batch>),
    /// So many facts to the history, as it has them.
    Facts(Vec<u8>, u64),
    /// Facts of earlier daemons, oldest first: those that it did not write in time go to the history.
    Earlier(Vec<Earlier>),
}

/// The log file of one child.
#[derive(Debug)]
pub(super) struct LogFile(Mutex<Guarded>);

/// A file, and what it has missed.
#[derive(Debug)]
struct Guarded {
    file: Rotating,
    /// Lines since the last that was written; while there are any, trouble has been said.
    missed: u64,
    /// Why.
    error: String,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, max_size: Option<u64>, keep: u32) -> LogFile {
        LogFile(Mutex::new(Guarded::new(Rotating::new(path, max_size, keep))))
    }

    /// Until it is dropped whoever writes to this file waits, as on a disk that hangs.
    #[cfg(test)]
    pub(super) fn hang(&self) -> impl Sized {
        lock(&self.0)
    }
}

/// The files' thread.
pub(super) struct Files {
    history: Option<Guarded>,
    /// Facts were written since the last sync.
    dirty: bool,
    back: Back,
}

impl Files {
    pub(super) fn new(history: Option<Rotating>, back: Back) -> Files {
        Files { history: history.map(Guarded::new), dirty: false, back }
    }

    fn lines(&self, file: &LogFile, batch: &Batch) {
        let mut file = lock(&file.0);
        match file.append(&batch.bytes, batch.lines, |missed, error| {
            format!("woodward: {missed} lines dropped: {error}\n").into_bytes()
        }) {
            Outcome::Fine => {}
            Outcome::Fails { missed, first } => {
                batch.source.count_dropped(missed);
                if first {
                    let text = format!(
                        "cannot write {}: {}; its lines are dropped and counted",
                        file.name(),
                        file.error
                    );
                    self.back.note(&batch.source.path, "output_lost", text);
                }
            }
            Outcome::Back { missed } => {
                let text = format!("writes {} again; {missed} lines were dropped", file.name());
                self.back.note(&batch.source.path, "output_back", text);
            }
        }
    }

    fn catch_up(&mut self, facts: &[Earlier]) {
        let Some(directory) = self.history.as_ref().and_then(|history| history.file.path().parent()) else {
            return;
        };
        let marks: Vec<(u64, u64)> = facts.iter().map(|fact| (fact.seq, fact.at)).collect();
        let known = history::known(history::last(directory).as_ref(), &marks);
        let mut lines = Vec::new();
        facts[known..].iter().for_each(|fact| history::encode(&fact.json, &mut lines));
        if !lines.is_empty() {
            self.facts(&lines, (facts.len() - known) as u64);
        }
    }

    fn facts(&mut self, lines: &[u8], facts: u64) {
        let Some(history) = &mut self.history else { return };
        let outcome = history.append(lines, facts, |_, _| Vec::new());
        self.dirty = true;
        let text = match outcome {
            Outcome::Fine | Outcome::Fails { first: false, .. } => return,
            Outcome::Fails { .. } => {
                format!("cannot write {}: {}; facts are kept in memory only", history.name(), history.error)
            }
            Outcome::Back { missed } => {
                format!("writes {} again; {missed} facts are not in it", history.name())
            }
        };
        let kind = if matches!(outcome, Outcome::Back { .. }) { "history_back" } else { "history_lost" };
        self.back.note("", kind, text);
    }
}

impl Work for Files {
    type Job = Job;

    fn work(&mut self, job: Job) {
        match job {
            Job::Lines(file, batch) => self.lines(&file, &batch),
            Job::Facts(lines, facts) => self.facts(&lines, facts),
            Job::Earlier(facts) => self.catch_up(&facts),
        }
    }

    fn idle(&mut self) {
        if let Some(history) = self.history.as_mut().filter(|_| self.dirty) {
            // What it cannot do is said by the next append.
            let _ = history.file.sync();
        }
        self.dirty = false;
    }
}

/// What became of an append.
enum Outcome {
    Fine,
    /// So many were not written; the first time in a row, or not.
    Fails {
        missed: u64,
        first: bool,
    },
    /// Written, after so many were not.
    Back {
        missed: u64,
    },
}

impl Guarded {
    fn new(file: Rotating) -> Guarded {
        Guarded { file, missed: 0, error: String::new() }
    }

    fn name(&self) -> String {
        self.file.path().display().to_string()
    }

    /// Appends, after a word about what was missed before.
    fn append(&mut self, bytes: &[u8], lines: u64, word: impl FnOnce(u64, &str) -> Vec<u8>) -> Outcome {
        let missed = self.missed;
        let result = match missed {
            0 => self.file.append(bytes),
            _ => {
                let word = word(missed, &self.error);
                let told = self.file.append(&word).map_err(|unwritten| Unwritten { written: 0, ..unwritten });
                told.and_then(|()| self.file.append(bytes))
            }
        };
        match result {
            Ok(()) if missed == 0 => Outcome::Fine,
            Ok(()) => {
                self.missed = 0;
                Outcome::Back { missed }
            }
            Err(Unwritten { written, error }) => {
                let done = memchr::memchr_iter(b'\n', &bytes[..written]).count() as u64;
                self.error = plain(&error);
                self.missed += lines - done;
                Outcome::Fails { missed: lines - done, first: missed == 0 }
            }
        }
    }
}

/// `No space left on device`, without `(os error 28)`.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
