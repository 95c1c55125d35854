//! `woodward release`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Turns restarts on again.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot release: not built yet").report()
}
