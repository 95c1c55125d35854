//! Why a child is as it is: the chain of facts behind its last change, and what comes next.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::Line;
use super::fact::FactLine;
use crate::runtime::view::Row;

/// Everything `why` is composed from. A pure function of it, so that it can be tested.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Whom it is asked about: full path.
    pub path: &'a str,
    /// Facts, oldest first; those about others are needed too.
    pub facts: &'a [FactLine],
    /// The published view; empty without a daemon.
    pub rows: &'a [&'a Row],
    /// Last lines of children, in order of time; only those that matter are shown.
    pub lines: &'a [Arc<Line>],
    /// Milliseconds since 1970, UTC.
    pub now: u64,
    /// Seconds east of Greenwich, for times of day.
    pub zone: i32,
}

/// The answer. `text()` is what a person reads, the fields are `why --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Whom it was asked about.
    pub path: String,
    /// One sentence with full paths.
    pub answer: String,
    /// Cause to effect.
    pub facts: Vec<FactLine>,
}

/// Explains the last change of a path.
pub fn explain(known: &Known<'_>) -> Why {
    let _ = known;
    todo!()
}

impl Why {
    /// Lines of at most 80 columns, each with its newline.
    pub fn text(&self) -> String {
        todo!()
    }
}
