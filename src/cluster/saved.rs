//! What the next daemon of this node must know to go on with what runs: `cluster.json` in the run state.
//!
//! It counts for the keeper that wrote it alone, and only while that keeper holds a deadline for the same term. The
//! deadline itself is not in it: the keeper has it.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use woodward_engine::Time;
use woodward_engine::cluster::config::Held;
use woodward_engine::cluster::register::{Owner, Why};
use woodward_engine::cluster::{Epoch, Saved, Term, Value};

use crate::os::{clock, guard};
use crate::store::words::{self, Prefix};

/// The file, and what stands in it.
pub(super) struct SavedFile {
    path: PathBuf,
    written: Option<Words>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Words {
    /// The keeper, and when it was started.
    keeper: (i32, u64),
    term: u64,
    revision: u64,
    seen: u64,
    groups: Vec<HeldWords>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HeldWords {
    group: String,
    epoch: u64,
    up: bool,
    /// Why it is being brought down, as an owner key has it.
    stopping: Option<String>,
}

impl SavedFile {
    pub(super) fn new(path: PathBuf) -> SavedFile {
        SavedFile { path, written: None }
    }

    /// What an earlier daemon of this keeper wrote. The deadline has yet to be asked for.
    pub(super) fn read(&self, keeper: i32) -> Option<Saved> {
        let words: Words = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        let Words { keeper: writer, term, revision, seen, groups } = words;
        (writer == name_of(keeper)).then(|| Saved {
            term: Term(term),
            revision,
            deadline: Time::default(),
            seen,
            groups: groups.into_iter().map(held).collect(),
        })
    }

    /// Writes it if it says something else than before.
    pub(super) fn write(&mut self, keeper: i32, saved: Option<Saved>) -> io::Result<()> {
        let words = saved.map(|saved| Words {
            keeper: name_of(keeper),
            term: saved.term.0,
            revision: saved.revision,
            seen: saved.seen,
            groups: saved.groups.into_iter().map(held_words).collect(),
        });
        if words == self.written {
            return Ok(());
        }
        match &words {
            Some(words) => {
                let new = self.path.with_extension("new");
                fs::write(&new, serde_json::to_vec(words)?)?;
                fs::rename(&new, &self.path)?;
            }
            None => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        self.written = words;
        Ok(())
    }
}

fn held_words(held: Held) -> HeldWords {
    let owner = |why| Owner { node: None, from: None, why, by: "".into(), since: 0 };
    HeldWords {
        group: held.group.to_string(),
        epoch: held.epoch.0,
        up: held.up,
        stopping: held.stopping.map(|why| words::value(&Value::Owner(owner(why)))),
    }
}

fn held(words: HeldWords) -> Held {
    let why = |text: String| match Prefix::of("x").read(b"/woodward/x/group/x/owner", text.as_bytes()) {
        Ok((_, Value::Owner(owner))) => owner.why,
        // It was to go, whatever for.
        _ => Why::Left,
    };
    Held {
        group: words.group.into(),
        epoch: Epoch(words.epoch),
        up: words.up,
        stopping: words.stopping.map(why),
    }
}

/// What was saved, if the keeper holds a deadline for that term which is still to come.
pub(super) fn still_standing(saved: Saved, found: Option<&guard::Held>) -> Option<Saved> {
    let found = found.filter(|found| found.term == saved.term && found.fired.is_none())?;
    let deadline = found.deadline.filter(|deadline| *deadline > clock::lasting())?;
    Some(Saved { deadline, ..saved })
}

/// A process, told apart from any other of this boot.
fn name_of(pid: i32) -> (i32, u64) {
    (pid, clock::started(pid))
}
