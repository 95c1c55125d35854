//! What was applied: everything that was read for the plans that run, kept in the run state (`applied.json`), so that a
//! daemon that its keeper has started again plans the same, whatever lies on the disk by then.
//!
//! Written, as one file in one stroke, when a daemon begins and before each plan is applied; with it, which generations
//! still run something else. A daemon that dies in the middle of an apply leaves that to the next one, which finishes
//! it: it plans what was applied, and restarts what still runs something else.
//!
//! It belongs to one keeper. A fresh `woodward run` reads the disk, but if it finds services of an earlier run, with the
//! environment and the host of that one; they are compared with what it had applied, and what differs restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::os::clock;
use crate::tree::files::{Files, Seen};
use crate::tree::{self, Options, Plan, WorkerPlan, diff};

const FILE: &str = "applied.json";

/// A tree and where it is read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Id of the tree.
    pub id: String,
    /// Its file; absolute.
    pub file: PathBuf,
    /// `--var`s, in the order given.
    pub vars: Vec<(String, String)>,
}

/// What was applied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// Which keeper's daemon wrote it: process and start time.
    keeper: (i32, u64),
    environment: BTreeMap<String, String>,
    host: String,
    init: bool,
    /// The subtree that is run, if it is not the whole tree.
    #[serde(default)]
    at: Option<String>,
    sources: Vec<Source>,
    seen: Seen,
    /// Path and generation of what runs by an earlier plan.
    outdated: BTreeSet<(String, u64)>,
    #[serde(skip)]
    run: Option<PathBuf>,
    /// What an earlier run had for paths for which this one has something else.
    #[serde(skip)]
    former: BTreeMap<String, WorkerPlan>,
}

impl Applied {
    /// These trees, as they were read with `options`. `run`: the run state; `None`: nothing is kept.
    pub fn new(run: Option<PathBuf>, options: &Options, sources: Vec<Source>) -> Applied {
        Applied {
            keeper: keeper(),
            environment: options.environment.clone(),
            host: options.host.clone(),
            init: options.init,
            at: options.at.clone(),
            sources,
            seen: options.files.seen(),
            outdated: BTreeSet::new(),
            run,
            former: BTreeMap::new(),
        }
    }

    /// An earlier run, of another keeper, had this.
    pub fn after(mut self, earlier: &Applied, plans: &[Plan]) -> Applied {
        let had = earlier.workers();
        let workers = plans.iter().flat_map(|plan| &plan.workers);
        let differing = workers.filter_map(|worker| {
            let old = had.get(&worker.path)?;
            (!diff::is_same(old, worker)).then(|| (worker.path.clone(), old.clone()))
        });
        self.former = differing.collect();
        self.outdated.clone_from(&earlier.outdated);
        self
    }

    /// What a generation that is found runs, if that is not what is planned.
    pub(super) fn former(
        &self,
        path: &str,
        generation: u64,
        planned: Option<&WorkerPlan>,
    ) -> Option<WorkerPlan> {
        let outdated = || self.outdated.contains(&(path.to_owned(), generation));
        self.former.get(path).or_else(|| planned.filter(|_| outdated())).cloned()
    }

    /// What was kept last; `None`: nothing that can be read.
    pub fn kept(run: &Path) -> Option<Applied> {
        let kept: Applied = serde_json::from_slice(&std::fs::read(run.join(FILE)).ok()?).ok()?;
        Some(Applied { run: Some(run.to_path_buf()), ..kept })
    }

    /// It is of this daemon's keeper: what it says holds.
    pub fn is_ours(&self) -> bool {
        self.keeper == keeper()
    }

    /// Where the trees are read from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How a file is read now: from the disk, with the environment and the host that this run began with.
    pub fn options(&self) -> Options {
        let (environment, host, at) = (self.environment.clone(), self.host.clone(), self.at.clone());
        Options { environment, host, init: self.init, at, ..Options::default() }
    }

    /// How the files are read as they were.
    pub fn options_as_seen(&self) -> Options {
        Options { files: Files::as_seen(self.seen.clone()), ..self.options() }
    }

    /// The workers of an earlier run's plans, by path.
    fn workers(&self) -> BTreeMap<String, WorkerPlan> {
        let plan = |source: &Source| {
            let options = Options { vars: source.vars.clone(), ..self.options_as_seen() };
            tree::load(&source.file, &options).ok()
        };
        let plans = self.sources.iter().filter_map(plan);
        plans.flat_map(|(plan, _)| plan.workers).map(|worker| (worker.path.clone(), worker)).collect()
    }

    /// Another plan for a tree, read with `options`.
    pub(super) fn put(&mut self, source: Source, options: &Options) {
        self.sources.iter_mut().filter(|old| old.id == source.id).for_each(|old| *old = source.clone());
        self.seen.go_on(options.files.seen());
    }

    /// These run by an earlier plan.
    pub(super) fn outdate(&mut self, path: &str, generation: u64) {
        self.outdated.insert((path.to_owned(), generation));
    }

    /// Generations that are gone need not be remembered.
    pub(super) fn retain(&mut self, lives: impl Fn(u64) -> bool) {
        self.outdated.retain(|(_, generation)| lives(*generation));
    }

    /// Writes it down, in one stroke.
    pub fn keep(&self) -> io::Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let new = run.join(format!("{FILE}.new"));
        // Its owner's alone: values of environment files are in it.
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(new, run.join(FILE))
    }
}

/// The process above this one, and when it was started.
fn keeper() -> (i32, u64) {
    let pid = nix::unistd::getppid().as_raw();
    (pid, clock::started(pid))
}
