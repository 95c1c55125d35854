//! `woodward replay`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Steps through a recorded trace.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot replay: not built yet").report()
}
