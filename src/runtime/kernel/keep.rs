//! Writing down what the next daemon must know: see [`crate::runtime::journal`].
//!
//! After each decision what it changed is put into one entry. The entry is written before a start that has been decided
//! goes out, so that no generation runs that nobody knows of, and at the end of the turn. Only then the keeper is told
//! that it need not keep the ends that were heard.

use std::io;
use std::sync::Arc;

use woodward_engine::{Effect, PathId};

use super::{Gen, Kernel};
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::runtime::journal::{Entry, SavedEnd, SavedPath};

/// What is not written down yet.
#[derive(Default)]
pub(super) struct Unkept {
    /// What has changed.
    entry: Entry,
    /// Ends that the keeper keeps until they are in the journal.
    owed: Vec<(Arc<str>, Gen)>,
}

impl Unkept {
    /// An end was heard.
    pub(super) fn owe(&mut self, path: Arc<str>, generation: Gen) {
        self.owed.push((path, generation));
    }

    /// A tree has ended.
    pub(super) fn end(&mut self, tree: String, how: SavedEnd) {
        self.entry.ends.push((tree, how));
    }

    fn append(&mut self, later: &mut Unkept) {
        self.entry.append(&mut later.entry);
        self.owed.append(&mut later.owed);
    }
}

impl Kernel {
    /// The engine has decided: what it has changed is noted, what it wants is queued.
    pub(super) fn follow(&mut self) {
        let starts = self.decided.iter().any(|effect| matches!(effect, Effect::Start { .. }));
        self.effects.extend(self.decided.drain(..));
        let mut changed = std::mem::take(&mut self.changed);
        self.engine.take_changed(&mut changed);
        self.publisher.hear(&changed);
        for id in changed.drain(..) {
            if self.journal.is_on() {
                self.note(id);
            }
        }
        self.changed = changed;
        if starts {
            self.keep();
        }
    }

    fn note(&mut self, id: PathId) {
        match self.engine.saved(id) {
            Some(saved) => self.unkept.entry.paths.push(self.words(saved)),
            None => self.unkept.entry.gone.push(self.engine.path(id)),
        }
    }

    fn words(&self, saved: woodward_engine::adopt::SavedPath) -> SavedPath {
        let key = saved.child.as_ref().and_then(|child| child.key);
        let arguments = key.and_then(|key| self.table.worker(key)).map(|entry| entry.arguments.clone());
        SavedPath::of(saved, arguments.unwrap_or_default())
    }

    /// Writes what has been noted.
    fn keep(&mut self) {
        self.trust();
        let entry = &mut self.sound.entry;
        if !entry.is_empty() {
            entry.generation = self.engine.last_generation().0;
            entry.incident = self.engine.last_incident().0;
            let written = self.journal.write(entry);
            entry.clear();
            self.say_if_lost(written);
        }
        for (path, generation) in self.sound.owed.drain(..) {
            self.house.os.acknowledge(&path, generation.0);
        }
    }

    /// The event before this one is done with, and nothing has panicked.
    pub(super) fn trust(&mut self) {
        self.sound.append(&mut self.unkept);
    }

    /// Writes what the events before this one have done; what this one did is forgotten.
    pub(super) fn keep_sound(&mut self) {
        self.unkept = Unkept::default();
        self.keep();
    }

    /// Writes everything that has to be written in this turn.
    pub(super) fn keep_all(&mut self) {
        if self.journal.is_on() {
            self.unkept.entry.said.extend(self.sayings.take_changed(false));
        }
        self.keep();
        if self.journal.wants_all() {
            self.keep_everything();
        }
    }

    /// Writes the journal anew.
    pub(super) fn keep_everything(&mut self) {
        if !self.journal.is_on() {
            return;
        }
        let saved = self.engine.save();
        let all = Entry {
            generation: saved.last_generation.0,
            incident: saved.last_incident.0,
            paths: saved.paths.into_iter().map(|saved| self.words(saved)).collect(),
            gone: Vec::new(),
            said: self.sayings.take_changed(true),
            ends: self.trees.ends.iter().map(|(tree, how)| (tree.clone(), (*how).into())).collect(),
        };
        self.sound.entry.clear();
        self.unkept.entry.clear();
        match self.journal.rewrite(&all) {
            Ok(false) => {}
            Ok(true) => {
                let text = "what the next daemon must know is written down again".to_owned();
                self.record.fact(FactLine::note(clock::wall(), 0, "", 0, "kept_again", text));
            }
            Err(error) => self.say_if_lost(Err(error)),
        }
    }

    fn say_if_lost(&self, written: io::Result<()>) {
        if let Err(error) = written {
            let text = format!("what the next daemon must know is not written down: {error}");
            self.record.fact(FactLine::note(clock::wall(), 0, "", 0, "not_kept", text));
        }
    }
}
