//! `woodward status`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Shows the tree, or one child with its last lines.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot status: not built yet").report()
}
