//! The forest and its one function.

use crate::event::{Event, Gen, PathId};
use crate::view::Row;
use crate::{Effect, Time};

/// The whole forest: every tree, every supervisor, every child.
#[derive(Debug, Default)]
pub struct Engine {}

impl Engine {
    /// An empty forest.
    pub fn new() -> Engine {
        Engine {}
    }

    /// Decides what follows from `event` at `now` and appends it to `effects`. Total: any event in any state.
    pub fn handle(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        let _ = (now, event, effects);
        todo!()
    }

    /// When `Tick` is wanted at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        todo!()
    }

    /// The full path, ids joined by `/`.
    pub fn path(&self, id: PathId) -> String {
        let _ = id;
        todo!()
    }

    /// The path of a full name.
    pub fn find(&self, path: &str) -> Option<PathId> {
        let _ = path;
        todo!()
    }

    /// The path whose attempt this is, while it is current.
    pub fn path_of(&self, generation: Gen) -> Option<PathId> {
        let _ = generation;
        todo!()
    }

    /// All rows, each supervisor before its children, in start order.
    pub fn rows(&self) -> Vec<Row> {
        todo!()
    }

    /// One row.
    pub fn row(&self, id: PathId) -> Option<Row> {
        let _ = id;
        todo!()
    }

    /// Paths whose row may have changed since the last call.
    pub fn take_changed(&mut self, into: &mut Vec<PathId>) {
        let _ = into;
        todo!()
    }
}
