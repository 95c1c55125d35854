//! `woodward why`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Explains the last change of a child, cause first.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot why: not built yet").report()
}
