//! `woodward release`.

use std::process::ExitCode;

use super::act::{Manner, Wish, act};

/// Turns restarts on again, and starts what ended meanwhile
#[derive(clap::Args)]
pub struct Args {
    /// Children or subtrees: paths or any unique ends of them
    #[arg(required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

/// Releases them.
pub fn run(args: Args) -> ExitCode {
    act(&args.manner, &Wish { verb: "release", paths: &args.paths, query: Vec::new() })
}
