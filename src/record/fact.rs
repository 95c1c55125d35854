//! A fact as it is recorded: what the engine or a worker said, with names and wall-clock time.

use serde::{Deserialize, Serialize};

/// One line of `events`, one step of `why`, one row of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FactLine {
    /// Grows by one with each fact of this daemon.
    pub seq: u64,
    /// Milliseconds since 1970, UTC.
    pub at: u64,
    /// The chain of cause and effect it belongs to.
    pub incident: u64,
    /// Whom it is about.
    pub path: String,
    /// Which attempt; 0 when none.
    pub generation: u64,
    /// What kind, e.g. `ended`, `restart`, `ready`: snake_case names of the engine's facts and the workers' notes.
    pub kind: String,
    /// The clause a person reads: `ended: SIGKILL, not sent by woodward`.
    pub text: String,
    /// Everything else of it, by name (`exit`, `reason`, `strategy`, `others`, `count`, `with`, `until`, `pid`, ...).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
}
