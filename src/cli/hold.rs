//! `woodward hold`.

use std::process::ExitCode;
use std::time::Duration;

use super::act::{Manner, Wish, act};

/// Suspends restarts, until `release` or for a time
#[derive(clap::Args)]
pub struct Args {
    /// Children or subtrees: paths or any unique ends of them
    #[arg(required = true)]
    paths: Vec<String>,
    /// End by itself after this time, e.g. 2h
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Why, for those who see it
    #[arg(short, long = "message", value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    manner: Manner,
}

/// Holds them.
pub fn run(args: Args) -> ExitCode {
    let mut query = Vec::new();
    if let Some(time) = args.time {
        query.push(("for".to_owned(), format!("{}ms", time.as_millis())));
    }
    if let Some(text) = args.message {
        query.push(("text".to_owned(), text));
    }
    act(&args.manner, &Wish { verb: "hold", paths: &args.paths, query })
}
