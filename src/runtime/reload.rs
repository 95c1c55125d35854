//! Another plan for a tree that runs: who reads it, and what comes of it.
//!
//! The daemon reads, with the environment and the host that `woodward run` gave it, as its own user: whoever asks names
//! the file and `--var`s and nothing else. Variables given before stay unless they are given anew. SIGHUP, and
//! `woodward apply` without a file, read every tree again from where it was read last.
//!
//! All or nothing: a file is read, planned and checked completely, against the other trees too, before the kernel hears
//! of it; the kernel then keeps what was read ([`super::applied`]) and hands the plan to the engine.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use woodward_engine::Reply;

use super::applied::{Applied, Source};
use super::inbox::Input;
use super::{Handle, Who};
use crate::tree::diff::Change;
use crate::tree::{self, Options, Plan, Severity, sockets};

/// A tree as it was read.
pub(super) struct Proposal {
    pub(super) plan: Arc<Plan>,
    pub(super) source: Source,
    pub(super) options: Options,
    /// Where each key of each path stands.
    pub(super) places: HashMap<(String, String), String>,
}

/// Why nothing was applied, and nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The kernel is gone.
    #[error("cannot apply: the daemon is stopping")]
    Closed,
    /// Errors in the file: all diagnostics, each with its place.
    #[error("{0}")]
    Broken(String),
    /// No tree of this name runs here.
    #[error("cannot apply {file}: no tree {id} runs here")]
    NotRunning {
        /// The file.
        file: String,
        /// Its tree.
        id: String,
        /// Those that run.
        running: Vec<String>,
    },
    /// An instance of a template does not fit the new one.
    #[error("cannot apply: {path}: {why}")]
    Instance {
        /// The instance.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// What was read could not be kept.
    #[error("cannot apply: what was read cannot be kept: {0}")]
    NotKept(#[from] std::io::Error),
}

/// What an apply does, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Id of the tree.
    pub tree: String,
    /// Every path, those that go last.
    pub paths: Vec<PathForecast>,
}

impl Forecast {
    /// `stay 11, restart 2, start 1, stop 0`: services, not supervisors.
    pub fn count(&self) -> String {
        let words = What::ALL.map(|what| format!("{what} {}", self.number(what)));
        words.join(", ")
    }

    /// So many services.
    pub fn number(&self, what: What) -> usize {
        self.paths.iter().filter(|path| !path.supervisor && path.what == what).count()
    }
}

/// What becomes of one path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathForecast {
    /// Full path.
    pub path: String,
    /// A supervisor; else a worker.
    pub supervisor: bool,
    /// What becomes of it.
    pub what: What,
    /// `restart`: it goes along with this path.
    pub with: Option<String>,
    /// Keys of the tree file that differ.
    pub changed: Vec<Changed>,
    /// The generation that runs; 0: none.
    pub generation: u64,
}

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Left alone.
    Stay,
    /// Stopped and started.
    Restart,
    /// Started.
    Start,
    /// Stopped, and planned no more.
    Stop,
}

impl What {
    /// In the order in which they are shown.
    pub const ALL: [What; 4] = [What::Stay, What::Restart, What::Start, What::Stop];
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Stay => "stay",
            What::Restart => "restart",
            What::Start => "start",
            What::Stop => "stop",
        })
    }
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Which, and when that takes effect.
    #[serde(flatten)]
    pub change: Change,
    /// `acs.toml:12`, if it stands anywhere.
    pub place: Option<String>,
}

/// What the kernel says to a proposal: the forecast, and unless it was only asked, when it is done.
pub(super) type Verdict = Result<(Forecast, Option<oneshot::Receiver<Reply>>), Refused>;

/// A reload under way.
pub struct Reload {
    /// What it does.
    pub forecast: Forecast,
    /// The engine's answer when everything has been started; `None`: nothing is done.
    pub done: Option<oneshot::Receiver<Reply>>,
}

impl Handle {
    /// Applies `file`, or with `None` every tree from where it was read last. `dry`: only says what would be done.
    pub async fn apply(
        &self,
        file: Option<PathBuf>,
        vars: Vec<(String, String)>,
        dry: bool,
        who: Who,
    ) -> Result<Vec<Reload>, Refused> {
        // One after the other: what is read is compared with what runs.
        let _turn = self.reloading.lock().await;
        let applied = self.applied.load_full();
        let plans = self.plans();
        let read = move || proposals(&applied, file.as_deref(), &vars, &plans);
        let proposals = tokio::task::spawn_blocking(read).await.map_err(|_| Refused::Closed)??;
        let mut reloads = Vec::new();
        for proposal in proposals {
            let (answer, answered) = oneshot::channel();
            self.inbox.post(Input::Apply { proposal: Box::new(proposal), dry, who: who.clone(), answer });
            let (forecast, done) = answered.await.map_err(|_| Refused::Closed)??;
            reloads.push(Reload { forecast, done });
        }
        Ok(reloads)
    }
}

/// Reads what is to be applied and checks it, alone and beside what else runs.
fn proposals(
    applied: &Applied,
    file: Option<&Path>,
    vars: &[(String, String)],
    running: &[Arc<Plan>],
) -> Result<Vec<Proposal>, Refused> {
    let files: Vec<PathBuf> = match file {
        Some(file) => vec![file.to_path_buf()],
        None => applied.sources().iter().map(|source| source.file.clone()).collect(),
    };
    let mut proposals = Vec::new();
    let mut broken = Vec::new();
    for file in files {
        match read(applied, &file, vars, running) {
            Ok(proposal) => proposals.push(proposal),
            Err(Refused::Broken(text)) => broken.push(text),
            Err(other) => return Err(other),
        }
    }
    let news = |id: &str| proposals.iter().find(|new| *new.plan.tree.id == *id).map(|new| &new.plan);
    let plans: Vec<&Arc<Plan>> = running.iter().map(|old| news(&old.tree.id).unwrap_or(old)).collect();
    for (n, plan) in plans.iter().enumerate() {
        if let Some((address, one, other)) =
            plans[..n].iter().find_map(|before| sockets::shared(before, plan))
        {
            broken.push(format!(
                "cannot apply: {other} listens on {address}, and so does {one}; nothing was changed"
            ));
        }
    }
    if broken.is_empty() { Ok(proposals) } else { Err(Refused::Broken(broken.join("\n"))) }
}

fn read(
    applied: &Applied,
    file: &Path,
    vars: &[(String, String)],
    running: &[Arc<Plan>],
) -> Result<Proposal, Refused> {
    // Which tree it is stands in the file, and with which variables that was run so far depends on it.
    let known = applied.sources().iter().find(|source| source.file == file);
    let with = |known: Option<&Source>| {
        let mut all = known.map(|source| source.vars.clone()).unwrap_or_default();
        all.retain(|(name, _)| !vars.iter().any(|(given, _)| given == name));
        all.extend(vars.iter().cloned());
        Options { vars: all, ..applied.options() }
    };
    // As it is shown to people.
    let shown = tree::relative(file);
    let mut options = with(known);
    let mut reading = tree::read(&shown, &options);
    let id = reading.plan.as_ref().map(|plan| plan.tree.id.to_string());
    let of_tree = applied.sources().iter().find(|source| Some(&source.id) == id.as_ref());
    if known.is_none() && of_tree.is_some_and(|source| !source.vars.is_empty()) {
        options = with(of_tree);
        reading = tree::read(&shown, &options);
    }
    let errors = reading.diagnostics.iter().filter(|said| said.severity == Severity::Error).count();
    let Some(plan) = reading.plan else {
        let s = if errors == 1 { "" } else { "s" };
        let mut text: String = reading.diagnostics.iter().map(|said| format!("{said}\n")).collect();
        text += &format!("cannot apply {}: {errors} error{s}; nothing was changed", shown.display());
        return Err(Refused::Broken(text));
    };
    let id = plan.tree.id.to_string();
    if !running.iter().any(|running| running.tree.id == plan.tree.id) {
        let running = running.iter().map(|plan| plan.tree.id.to_string()).collect();
        return Err(Refused::NotRunning { file: shown.display().to_string(), id, running });
    }
    let place = |said: tree::Said| {
        let place = said.place?;
        Some(((said.path, said.key), format!("{}:{}", place.file, place.line)))
    };
    let places = reading.said.into_iter().filter_map(place).collect();
    let source = Source { id, file: file.to_path_buf(), vars: options.vars.clone() };
    Ok(Proposal { plan: Arc::new(plan), source, options, places })
}
