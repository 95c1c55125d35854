//! `woodward plan`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Prints the resulting tree: start order, and what each crash drags along.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot plan: not built yet").report()
}
