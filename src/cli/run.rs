//! `woodward run`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Runs the trees of these files: the daemon, in the foreground.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot run: not built yet").report()
}
