//! Trees as systemd units: what a tree means, in the words of systemd.
//!
//! ```text
//! Plan ─┬─ auto: which way, per subtree ─┬─ native      a service per worker, an anchor per supervisor ─┐
//!       │                                └─ supervised  one service that is `woodward run`             ─┴─ Units ─ text
//!       └─ deviation: what this systemd cannot say, by name
//! ```
//!
//! Everything here is a function of the plan and the [`Options`]: no clock, no disk, no environment, so that two
//! renderings of one tree are the same bytes. Every line of a unit knows which key of the tree it comes from and by
//! which rule ([`Why`]). What a release of systemd cannot express is a [`Deviates`], never silence.

pub mod auto;
pub mod deviation;
pub mod escape;
pub mod explain;
pub mod forecast;
mod hardening;
pub mod manifest;
pub mod model;
pub mod names;
pub mod native;
pub mod read;
pub mod readiness;
mod refuse;
pub mod release;
pub mod service;
pub mod slices;
pub mod sockets;
pub mod supervised;
pub mod template;

use std::borrow::Cow;
use std::path::PathBuf;

use crate::tree::{Plan, unit};

pub use deviation::{Deviates, Deviation};
pub use model::{Line, Section, Unit, Why};
pub use refuse::refuse;
pub use release::Release;

/// How a tree becomes units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Plain units; nothing of ours at run time but, where asked for, `woodward ready`.
    Native,
    /// One unit whose main process is `woodward run`.
    Supervised,
    /// Per subtree the first of these that is faithful.
    #[default]
    Auto,
}

/// Whose manager the units are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// PID 1.
    #[default]
    System,
    /// `systemd --user`.
    User,
}

/// What is asked of a rendering.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which way.
    pub mode: Mode,
    /// The release that will read the units.
    pub release: Release,
    /// Whose manager will.
    pub scope: Scope,
    /// In front of every unit's name.
    pub prefix: String,
    /// Where the tree file will lie when the units run: `SourcePath=`, and what `woodward run` is given.
    pub source: PathBuf,
    /// Where `woodward` will lie.
    pub program: PathBuf,
    /// What the tree's variables were set to; `woodward run` is told so.
    pub vars: Vec<(String, String)>,
    /// The environment the tree was read with; `woodward run` has it too.
    pub environment: Vec<(String, String)>,
    /// Deviations that are agreed to: `auto` stays native in spite of them, `--strict` lets them pass.
    pub accepted: Vec<Deviation>,
}

/// What became of a tree.
#[derive(Clone, Debug, Default)]
pub struct Rendering {
    /// In start order; auxiliary units stand behind the supervisor they belong to.
    pub units: Vec<Unit>,
    /// Where the units mean something else than the tree, in tree order.
    pub deviations: Vec<Deviates>,
    /// Per subtree, in tree order: path, the mode chosen, why.
    pub choices: Vec<Choice>,
}

/// Why a tree has no units.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nothing that could be written would do what this child asks for.
    #[error("cannot make a unit of {path}: {text}")]
    Impossible {
        /// Path of the child.
        path: String,
        /// What is in the way.
        text: String,
    },
}

/// The units of a tree.
pub fn generate(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    let plan = &*with_program(plan, options);
    let rendering = match options.mode {
        Mode::Native => native::render(plan, options),
        Mode::Supervised => supervised::render(plan, options),
        Mode::Auto => auto::render(plan, options),
    }?;
    refuse::refuse(&rendering)?;
    Ok(rendering)
}

/// What stands for a unit in the tree is this program, which has to be called by its name in a unit.
fn with_program<'p>(plan: &'p Plan, options: &Options) -> Cow<'p, Plan> {
    if plan.workers.iter().all(|worker| worker.unit.is_none()) {
        return Cow::Borrowed(plan);
    }
    let mut plan = plan.clone();
    for worker in plan.workers.iter_mut().filter(|worker| worker.unit.is_some()) {
        let commands = std::iter::once(&mut worker.command).chain(&mut worker.after_stop);
        for own in commands.filter_map(|command| command.first_mut()).filter(|word| *word == unit::OWN) {
            *own = options.program.to_string_lossy().into_owned();
        }
    }
    Cow::Owned(plan)
}

impl Rendering {
    /// Deviations that nobody has agreed to: `--strict` refuses them.
    pub fn unaccepted<'r>(&'r self, options: &'r Options) -> impl Iterator<Item = &'r Deviates> {
        self.deviations.iter().filter(|deviates| !options.accepted.contains(&deviates.deviation))
    }
}

impl Mode {
    /// All of them.
    pub const ALL: &[Mode] = &[Mode::Native, Mode::Supervised, Mode::Auto];

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Supervised => "supervised",
            Mode::Auto => "auto",
        }
    }
}

/// What was chosen for a subtree.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Path of the supervisor or worker.
    pub path: String,
    /// `Native` or `Supervised`.
    pub mode: Mode,
    /// One sentence.
    pub reason: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For a system's manager of the oldest release.
    pub fn options() -> Options {
        Options {
            mode: Mode::Auto,
            release: Release::OLDEST,
            scope: Scope::System,
            prefix: String::new(),
            source: PathBuf::from("/etc/woodward/trees/t.toml"),
            program: PathBuf::from("/usr/bin/woodward"),
            vars: Vec::new(),
            environment: Vec::new(),
            accepted: Vec::new(),
        }
    }
}
