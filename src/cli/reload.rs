//! `woodward reload`.

use std::process::ExitCode;

use super::act::{Manner, Wish, act};

/// Has services reload by themselves, as their `reload` says
#[derive(clap::Args)]
pub struct Args {
    /// Services: paths or any unique ends of them
    #[arg(required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

/// Has them reload.
pub fn run(args: Args) -> ExitCode {
    act(&args.manner, &Wish { verb: "reload", paths: &args.paths, query: Vec::new() })
}
