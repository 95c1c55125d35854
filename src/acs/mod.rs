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

pub mod model;
mod project;
mod read;
mod text;
mod xml;

use crate::tree::{Diagnostic, Report, Severity};

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
