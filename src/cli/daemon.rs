//! `woodward daemon`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// The daemon itself, started by its keeper.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot daemon: not built yet").report()
}
