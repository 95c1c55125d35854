//! Saving what runs, and taking over what is found running.

use crate::Engine;
use crate::child::{ChildIx, St};
use crate::event::{Exit, Gen, PathId};
use crate::fact::What;
use std::collections::HashMap;

/// What was found running, until its supervisor comes to start it.
#[derive(Debug, Default)]
pub(crate) struct Foundlings {
    by_path: HashMap<PathId, Gen>,
    fate: HashMap<Gen, Option<Exit>>,
}

impl Engine {
    /// A found child ended before its supervisor came to it.
    pub(crate) fn foundling_ended(&mut self, generation: Gen, exit: Exit) -> bool {
        match self.foundlings.fate.get_mut(&generation) {
            Some(fate) => {
                fate.get_or_insert(exit);
                true
            }
            None => false,
        }
    }

    /// In place of a start: it is running already.
    pub(crate) fn adopts(&mut self, c: ChildIx) -> bool {
        let path = self.kids[c].path;
        let Some(generation) = self.foundlings.by_path.remove(&path) else { return false };
        let fate = self.foundlings.fate.remove(&generation).flatten();
        self.generations.remove(&self.kids[c].generation);
        self.generations.insert(generation, c);
        self.kids[c].generation = generation;
        self.places[path].generation = generation;
        self.fact(c, What::Started);
        self.became_ready(c);
        if let Some(exit) = fate {
            self.child_ended(c, exit, None);
        }
        true
    }

    pub(crate) fn is_running(&self, c: ChildIx) -> bool {
        matches!(self.kids[c].st, St::Up { .. })
    }
}
