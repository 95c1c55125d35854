//! `woodward restart`.

use std::process::ExitCode;

use super::act::{Manner, Wish, act};

/// Does what a crash would do, in order and uncounted
#[derive(clap::Args)]
pub struct Args {
    /// Children or subtrees: paths or any unique ends of them
    #[arg(required = true)]
    paths: Vec<String>,
    /// Leave the siblings alone
    #[arg(long)]
    only: bool,
    #[command(flatten)]
    manner: Manner,
}

/// Restarts them.
pub fn run(args: Args) -> ExitCode {
    let query = if args.only { vec![("only".to_owned(), "true".to_owned())] } else { Vec::new() };
    act(&args.manner, &Wish { verb: "restart", paths: &args.paths, query })
}
