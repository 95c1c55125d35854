//! `woodward stop`.

use std::process::ExitCode;

use super::act::{Manner, Wish, act};

/// Stops children by hand; they stay down until `start`
#[derive(clap::Args)]
pub struct Args {
    /// Children or subtrees: paths or any unique ends of them
    #[arg(required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

/// Stops them.
pub fn run(args: Args) -> ExitCode {
    act(&args.manner, &Wish { verb: "stop", paths: &args.paths, query: Vec::new() })
}
