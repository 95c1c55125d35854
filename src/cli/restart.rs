//! `woodward restart`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Does what a crash would do, in order and uncounted.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot restart: not built yet").report()
}
