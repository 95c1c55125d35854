//! `woodward events`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Prints facts, one a line.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot events: not built yet").report()
}
