//! From the engine's rows to the published view.
//!
//! Rows stand in chunks of 64 that are shared with the views published before: a change copies the pointers of its
//! chunk and no other. Only a child that has come or gone lays out everything anew, and even then by pointer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use woodward_engine::{Engine, PathId, Time, view};

use super::view::{Row, View};
use crate::os::clock;

/// Rows in a chunk.
const CHUNK: usize = 64;
/// How often within its period a window is looked at.
const FADES: u32 = 10;

/// Keeps the published view in step with the engine.
pub(super) struct Publisher {
    view: Arc<ArcSwap<View>>,
    chunks: Vec<Arc<Vec<Arc<Row>>>>,
    places: HashMap<PathId, usize>,
    version: u64,
    started: String,
    changed: Vec<PathId>,
    /// Those of them that nobody has collected, and those collected last.
    unseen: Vec<PathId>,
    seen: Vec<PathId>,
    /// Rows whose restarts in the window become fewer with time, without any event, and when to look at them again.
    fading: HashSet<PathId>,
    look_again: Option<Time>,
}

impl Publisher {
    /// An empty view; `started` as in [`View`].
    pub(super) fn new(view: Arc<ArcSwap<View>>, started: String) -> Publisher {
        Publisher {
            view,
            chunks: Vec::new(),
            places: HashMap::new(),
            version: 0,
            started,
            changed: Vec::new(),
            unseen: Vec::new(),
            seen: Vec::new(),
            fading: HashSet::new(),
            look_again: None,
        }
    }

    /// Begins anew, for another engine; what is published goes on.
    pub(super) fn renew(&mut self) {
        let (view, started) = (self.view.clone(), self.started.clone());
        *self = Publisher { version: self.version, ..Publisher::new(view, started) };
    }

    /// When a row changes by time alone.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.look_again
    }

    /// Something of this row has changed that the engine does not know.
    pub(super) fn touch(&mut self, path: Option<PathId>) {
        self.changed.extend(path);
    }

    /// The engine has changed these.
    pub(super) fn hear(&mut self, changed: &[PathId]) {
        self.changed.extend(changed);
        self.unseen.extend(changed);
    }

    /// What the engine has changed since the last time.
    pub(super) fn collect(&mut self, engine: &mut Engine) -> &[PathId] {
        self.seen.clear();
        std::mem::swap(&mut self.seen, &mut self.unseen);
        let known = self.seen.len();
        engine.take_changed(&mut self.seen);
        self.changed.extend(&self.seen[known..]);
        &self.seen
    }

    /// Something has changed that is not published yet.
    pub(super) fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Publishes what has changed since the last time. `print` makes a row; `gone` hears of paths that are no more.
    pub(super) fn publish(
        &mut self,
        engine: &mut Engine,
        print: impl Fn(&Engine, &view::Row) -> Row,
        mut gone: impl FnMut(&str),
    ) {
        let now = clock::now();
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
            self.changed.extend(self.fading.drain());
        }
        self.collect(engine);
        if self.changed.is_empty() {
            return;
        }
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let mut moved = false;
        for id in changed.drain(..) {
            let row = engine.row(id).map(|row| Arc::new(print(engine, &row)));
            if let Some(limit) = row.as_ref().and_then(|row| row.limit).filter(|limit| limit.used > 0) {
                self.fading.insert(id);
                let again = now + Duration::from_secs(limit.period.into()) / FADES + Duration::from_secs(1);
                self.look_again = Some(self.look_again.map_or(again, |at| at.min(again)));
            }
            let Some(&at) = self.places.get(&id) else {
                moved |= row.is_some();
                continue;
            };
            let old = &mut Arc::make_mut(&mut self.chunks[at / CHUNK])[at % CHUNK];
            let same = row.as_ref().is_some_and(|row| row.path == old.path);
            if !same {
                // Vanished, or its number is another child's now.
                moved = true;
                gone(&old.path);
            }
            if let Some(row) = row {
                *old = row;
            }
        }
        self.changed = changed;
        if moved {
            self.lay_out(engine, print);
        }
        self.version += 1;
        let (version, started, chunks) = (self.version, self.started.clone(), self.chunks.clone());
        self.view.store(Arc::new(View { version, started, chunks }));
    }

    /// Everything anew; rows that were printed before are printed still.
    fn lay_out(&mut self, engine: &Engine, print: impl Fn(&Engine, &view::Row) -> Row) {
        let rows = engine.rows();
        let print = |row: &view::Row| match self.places.get(&row.path) {
            Some(&at) => self.chunks[at / CHUNK][at % CHUNK].clone(),
            None => Arc::new(print(engine, row)),
        };
        let chunks =
            rows.chunks(CHUNK).map(|chunk| Arc::new(chunk.iter().map(print).collect::<Vec<_>>())).collect();
        self.places = rows.iter().enumerate().map(|(at, row)| (row.path, at)).collect();
        self.chunks = chunks;
    }
}
