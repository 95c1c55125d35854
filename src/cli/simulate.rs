//! `woodward simulate`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Shows what would happen, on a virtual clock.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot simulate: not built yet").report()
}
