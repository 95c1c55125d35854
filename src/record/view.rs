//! The published view: what `status` shows, read without asking anybody.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::words::{clock, from_rfc3339};

/// One supervisor or worker, as `status --json` prints it. Keys are added, never renamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Full path.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Its state.
    pub state: State,
    /// Main process, while one runs.
    pub pid: Option<i32>,
    /// Generation; 0 when never started.
    pub generation: u64,
    /// Restarts since the tree was started.
    pub restarts: u32,
    /// Since when it is in this state: RFC 3339, UTC, milliseconds.
    pub since: String,
    /// The last change in one clause: `killed by SIGKILL`, `restarted with channel`.
    pub reason: Option<String>,
    /// A person's hold.
    pub held: Option<Held>,
    /// When a back-off, a parking or a deadline of readiness ends, as `since`.
    pub next: Option<String>,
    /// How it ended last: `exit 1`, `SIGKILL`.
    pub exit: Option<String>,
    /// Supervisors: strategy.
    pub strategy: Option<String>,
    /// Supervisors and children with an account of their own: restarts in the window, limit, window in seconds.
    pub limit: Option<Limit>,
    /// What readiness waits for, while starting: `log "Manager Application …"`.
    pub waits_for: Option<String>,
    /// Lines of output dropped (rate limit, full disk), since the daemon's start.
    pub dropped_lines: u64,
    /// `STATUS=` of sd_notify.
    pub status_text: Option<String>,
    /// Its health, while it is watched.
    #[serde(default)]
    pub health: Option<Pulse>,
}

/// The health of what runs. It changes with each check, which publishes nothing: rows share it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Health", into = "Health")]
pub struct Pulse(Arc<Mutex<Health>>);

impl From<Health> for Pulse {
    fn from(health: Health) -> Pulse {
        Pulse(Arc::new(Mutex::new(health)))
    }
}

impl From<Pulse> for Health {
    fn from(pulse: Pulse) -> Health {
        pulse.now()
    }
}

/// What is known of the health of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Good answers; of a watchdog, signs of life.
    pub good: u32,
    /// Good answers and misses.
    pub asked: u32,
    /// The last miss.
    pub last_failure: Option<Failure>,
    /// It starves by these figures and has its grace period.
    pub starved: Option<String>,
    /// It is not asked while this path is not up.
    pub waits_for: Option<String>,
}

impl Health {
    /// `7 of 7`, and whatever keeps it from being asked. `zone`: seconds east of Greenwich.
    pub fn words(&self, zone: i32) -> String {
        let mut text = format!("{} of {}", self.good, self.asked);
        if let Some(other) = &self.waits_for {
            text.push_str(&format!("; not asked while {other} is not up"));
        }
        if let Some(figures) = &self.starved {
            text.push_str(&format!("; starved, one grace period: {figures}"));
        }
        if let Some(failure) = &self.last_failure {
            let at = from_rfc3339(&failure.at).map(|at| format!(" {}", clock(at, zone))).unwrap_or_default();
            text.push_str(&format!("; last failure{at}: {}", failure.text));
        }
        text
    }
}

/// A missed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When, as `since` of a row.
    pub at: String,
    /// Why, in one clause: `tcp 127.0.0.1:3201: connection refused`.
    pub text: String,
}

impl Pulse {
    /// What is known now.
    pub fn now(&self) -> Health {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the last answer was missed.
    pub fn why(&self) -> String {
        self.now().last_failure.map(|failure| failure.text).unwrap_or_default()
    }

    /// Changes what is known.
    pub fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl PartialEq for Pulse {
    fn eq(&self, other: &Pulse) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.now() == other.now()
    }
}

/// Kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Kind {
    Supervisor,
    Service,
    Oneshot,
    Unit,
    Task,
}

/// States of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the engine's states, see woodward_engine::view::State")]
pub enum State {
    Waiting,
    Starting,
    Up,
    Backoff,
    Stopping,
    Stopped,
    Done,
    Parked,
}

/// A hold by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Who.
    pub by: String,
    /// Why, as they wrote it.
    pub text: Option<String>,
    /// Its end, as `since` of a row.
    pub until: Option<String>,
}

/// An account of restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Restarts in the window.
    pub used: u32,
    /// Limit.
    pub intensity: u32,
    /// Window in seconds.
    pub period: u32,
    /// What giving up means; `None`: not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exhausted: Option<Exhausted>,
}

/// What giving up means, in the words of tree files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "see woodward_engine::spec::Exhausted")]
pub enum Exhausted {
    Escalate,
    Park,
    Exit,
    Failover,
    Reboot,
}

/// Everything `status` shows. Rows are in start order, each supervisor before its children.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Grows with every publication.
    pub version: u64,
    /// When the daemon was started, as `since` of a row.
    pub started: String,
    /// Rows in chunks, so that publishing a change copies the pointers of one chunk and not the forest.
    pub chunks: Vec<Arc<Vec<Arc<Row>>>>,
}

impl View {
    /// All rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|row| &**row))
    }

    /// The row of a path.
    pub fn row(&self, path: &str) -> Option<&Row> {
        self.rows().find(|row| row.path == path)
    }
}
