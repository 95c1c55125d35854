//! `woodward logs`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Prints lines of children.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot logs: not built yet").report()
}
