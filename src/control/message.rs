//! What daemon and client say to each other, as JSON. Keys are added, never renamed, and always present.

use serde::{Deserialize, Serialize};

use crate::record::Line;
use crate::record::fact::FactLine;
use crate::runtime::reload::Forecast;
use crate::runtime::view::Row;

/// Something could not be done. The body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `cannot …: …`.
    pub error: String,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// The exit code of a client that meets it: 1, 64, 69, 75, 77 or 78.
    pub code: u8,
    /// If the PATH fits several, all of them.
    pub paths: Vec<String>,
}

impl Problem {
    /// A problem without hint.
    pub fn new(code: u8, error: impl Into<String>) -> Problem {
        Problem { error: error.into(), hint: None, code, paths: Vec::new() }
    }

    /// With a remedy.
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    /// Version.
    pub woodward: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Short host name.
    pub host: String,
    /// When it was started: RFC 3339, UTC, milliseconds.
    pub started: String,
    /// Ids of its trees; of a subtree that runs alone its path.
    pub trees: Vec<String>,
    /// Facts and lines that followers were too slow for, since the daemon's start.
    pub dropped: u64,
}

/// What a PATH may mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Full paths.
    pub paths: Vec<String>,
    /// When there is none: one that looks like it.
    pub nearest: Option<String>,
}

/// Whether everything planned is up or done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Up {
    /// Everything is.
    pub up: bool,
    /// Paths that are not.
    pub missing: Vec<String>,
}

/// One child in detail, or the rows of a subtree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Full path.
    pub path: String,
    /// The row asked for and everything below it; none: planned, but not there now.
    pub rows: Vec<Row>,
    /// Free text from the tree file.
    pub description: Option<String>,
    /// Program and arguments; empty for a supervisor.
    pub command: Vec<String>,
    /// Memory that it takes now; null when that cannot be told.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// Its keys in a few words each, in the order of the tree format: (`restart`, `permanent, …`).
    pub settings: Vec<(String, String)>,
    /// The last runs, oldest first.
    pub runs: Vec<Run>,
    /// The last lines of output, oldest first.
    pub lines: Vec<Line>,
}

/// Memory of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How much.
    pub bytes: u64,
    /// Of its whole control group; else the proportional set size of its main process.
    pub group: bool,
}

/// One run of a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which.
    pub generation: u64,
    /// Its start, milliseconds since 1970, UTC.
    pub started: u64,
    /// Its end; null while it runs.
    pub ended: Option<u64>,
    /// How it ended: `exit 1`.
    pub how: Option<String>,
}

/// A line of the answer to a verb that changes something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Step {
    /// First: what is going to happen.
    Plan {
        /// Whom it is about, full path.
        path: String,
        /// Siblings that are restarted with it.
        goes_along: Vec<String>,
        /// Siblings that are `after` it and stay up all the same.
        stays_up: Vec<String>,
    },
    /// First of an apply: what becomes of each path.
    Forecast(Forecast),
    /// As it happens.
    Fact(FactLine),
    /// Last.
    Outcome {
        /// Whom it was about; of an instance its own path.
        path: String,
        /// Its state now; null when it is gone.
        row: Option<Box<Row>>,
        /// Null: done (or, without waiting, under way).
        problem: Option<Problem>,
        /// If a start failed, the last lines of output.
        lines: Vec<Line>,
    },
}

/// A line of a followed stream that stands for what the follower was too slow for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// So many facts or lines.
    pub dropped: u64,
}
