//! Tree files: from TOML text to a [`Plan`], or to *all* the reasons why not.

mod diagnostic;
mod plan;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

pub use diagnostic::{Diagnostic, Severity};
pub use plan::*;
pub use source::Place;

/// What is said of a tree besides its files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--var name=value`, in the order given.
    pub vars: Vec<(String, String)>,
    /// woodward's own environment: for `${env.NAME}`, `WOODWARD_VAR_NAME` and `pass_environment`.
    pub environment: BTreeMap<String, String>,
    /// Short name of this host: `${host}`. `--var host=` goes before it.
    pub host: String,
}

impl Options {
    /// Environment and host name of this process.
    pub fn of_this_process() -> Options {
        let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
        let host = nix::unistd::gethostname().map(text).unwrap_or_default();
        Options {
            vars: Vec::new(),
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            host: host.split('.').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Reads a tree file, its layers and everything it includes. With the plan come the warnings; without one, all errors
/// and warnings.
pub fn load(path: &Path, options: &Options) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let _ = (path, options);
    todo!()
}
