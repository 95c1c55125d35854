//! `woodward stop`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Stops children by hand; they stay down until started.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot stop: not built yet").report()
}
