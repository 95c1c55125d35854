//! `woodward is-up`.

use std::process::ExitCode;

use super::report::{Code, Failure};

/// Silent; exit 0 when everything planned is up or done.
#[derive(clap::Args)]
pub struct Args {}

/// Does it.
pub fn run(_: Args) -> ExitCode {
    Failure::new(Code::Failed, "cannot is-up: not built yet").report()
}
