//! The last facts in the run state, for the daemon that follows this one.
//!
//! The history is on a disk, which may be slow, full, or not there, so it is written behind and never waited for: a
//! daemon that is killed loses what it had not written yet, and the next one must not wait for a disk before it has its
//! services. So the facts of each turn of the kernel are also appended to `facts` in the run state, by one `write(2)` to
//! a file system in memory. It is bounded by the settings as the memory is, and dies with the boot: the file `facts.boot` says of which
//! boot it is, for run states that somebody keeps on a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fact::FactLine;
use super::history;
use super::ledger::Ledger;
use super::rotate::Rotating;
use crate::os::clock;

/// The file that is appended to.
#[derive(Debug)]
pub(super) struct Recent {
    file: Rotating,
    /// The last append failed, and that has been said.
    failing: bool,
}

/// A fact of an earlier daemon: enough to find it in a history, and its text.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    pub(super) seq: u64,
    pub(super) at: u64,
    pub(super) json: Arc<[u8]>,
}

impl Recent {
    /// Opens it. The facts of earlier daemons of this boot, oldest first, are taken into the ledger.
    pub(super) fn open(run: &Path, bytes: u64, ledger: &mut Ledger) -> (Recent, Vec<Earlier>) {
        let boot = (run.join("facts.boot"), clock::boot().unwrap_or_default());
        if std::fs::read_to_string(&boot.0).ok().as_deref() != Some(&boot.1) {
            // What cannot be removed or written here cannot be appended to either.
            history::files(&file(run)).iter().for_each(|file| drop(std::fs::remove_file(file)));
            let _ = std::fs::create_dir_all(run).and_then(|()| std::fs::write(&boot.0, &boot.1));
        }
        let mut facts = Vec::new();
        let each = |line: FactLine, json: &[u8]| {
            let json: Arc<[u8]> = json.into();
            ledger.take_over(&line, json.clone());
            facts.push(Earlier { seq: line.seq, at: line.at, json });
        };
        // What cannot be read is not known.
        let _ = history::each(&file(run), each);
        (Recent { file: Rotating::new(file(run), Some(bytes / 2), 1), failing: false }, facts)
    }

    /// Appends facts as the history has them. What cannot be written is in memory, and on its way to the history.
    pub(super) fn append(&mut self, lines: &[u8]) {
        let failed = self.file.append(lines).err().map(|unwritten| unwritten.error);
        if let (Some(error), false) = (&failed, self.failing) {
            let file = self.file.path().display();
            tracing::error!(%file, %error, "the next daemon will not know all facts");
        }
        self.failing = failed.is_some();
    }
}

/// The facts in a run state, oldest first; without a daemon too.
pub fn read(run: &Path) -> Vec<FactLine> {
    let mut facts = Vec::new();
    let _ = history::each(&file(run), |line, _| facts.push(line));
    facts
}

fn file(run: &Path) -> PathBuf {
    run.join("facts")
}
