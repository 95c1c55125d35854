//! `woodward start`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Starts children by hand; never counted in any limit.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot start: not built yet").report()
}
