//! `woodward check`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Reads tree files and reports every error in them.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot check: not built yet").report()
}
