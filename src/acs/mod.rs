//! A deployment of the ALMA Common Software (ACS) as trees: the files of its configuration database in, one tree file
//! per host out. Pure: no disk, no clock, no environment.
//!
//! ```text
//! bytes ─ text ─ xml ──┬─ read ────┬─ Deployment ─ place ─ write ─ tree files
//!      (encoding)      └─ project ─┘  (model)     (hosts, ports)
//! ```
//!
//! Everything that is wrong is said with file, line and column, in the form of the diagnostics of trees; with one error
//! there is no tree at all.

mod kept;
pub mod model;
mod place;
mod project;
mod read;
mod summary;
mod text;
mod write;
mod xml;

use std::collections::BTreeMap;

use crate::tree::{Diagnostic, Report, Severity};

pub use kept::{Hand, changes, hand};

use model::Deployment;

/// A file as it was found.
#[derive(Clone, Debug)]
pub struct File {
    /// Path below `MACI`, parts split by `/`.
    pub path: String,
    /// As it is shown to people.
    pub shown: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Everything that an import reads.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// XML files below `MACI`.
    pub records: Vec<File>,
    /// A project of the command centre.
    pub project: Option<File>,
    /// A definition of services.
    pub definition: Option<File>,
}

/// What is said of an import besides its files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The instance; else that of the project, the definition, or 0.
    pub instance: Option<u8>,
    /// Host of manager and services; else that of project, definition or the only services daemon.
    pub manager_host: Option<String>,
    /// Hosts of single containers, and of all that nobody else gives one.
    pub hosts: Vec<(Option<String>, String)>,
    /// Short name of this host.
    pub here: String,
    /// Trees that are there already, by host: their containers keep their ports.
    pub there: BTreeMap<String, String>,
}

/// What an import makes.
#[derive(Clone, Debug)]
pub struct Import {
    /// Tree files by host.
    pub trees: BTreeMap<String, String>,
    /// Warnings.
    pub said: Vec<Diagnostic>,
    /// What was read and where it went, for people; several lines.
    pub summary: String,
}

/// Makes trees. With them come the warnings; without them, all errors and warnings.
pub fn import(input: &Input, options: &Options) -> Result<Import, Vec<Diagnostic>> {
    let mut report = Report::default();
    let deployment = deployment(&mut report, input);
    // With errors in the files, what follows from them would only be said twice.
    if report.errors() > 0 {
        return Err(report.finish().1);
    }
    let placement = place::place(&mut report, &deployment, options);
    if report.errors() > 0 {
        return Err(report.finish().1);
    }
    let trees = placement.hosts.keys().map(|host| (host.clone(), write::tree(&placement, host))).collect();
    let summary = summary::text(&deployment, &placement);
    Ok(Import { trees, said: report.finish().1, summary })
}

/// Reads a deployment. With it come the warnings; without one, all errors and warnings.
pub fn read(input: &Input) -> Result<(Deployment, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut report = Report::default();
    let deployment = deployment(&mut report, input);
    let (_, said) = report.finish();
    if said.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(said);
    }
    Ok((deployment, said))
}

fn deployment(report: &mut Report, input: &Input) -> Deployment {
    let mut deployment = Deployment::default();
    read::database(report, input, &mut deployment);
    deployment.project = input.project.as_ref().and_then(|file| project::project(report, file));
    deployment.definition = input.definition.as_ref().and_then(|file| project::definition(report, file));
    for name in deployment.definition.iter().flat_map(|definition| definition.channels.clone()) {
        read::add_channel(&mut deployment.channels, &name);
    }
    deployment
}

#[cfg(test)]
mod tests;
