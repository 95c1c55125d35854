//! `woodward hold`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Suspends the restarts of a subtree.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot hold: not built yet").report()
}
