//! `woodward start`.

use std::process::ExitCode;

use super::act::{Manner, Wish, act};
use super::report::Failure;

/// Starts children by hand, uncounted; a parked one begins anew
#[derive(clap::Args)]
pub struct Args {
    /// Children or subtrees: paths or any unique ends of them
    #[arg(required = true)]
    paths: Vec<String>,
    /// Makes an instance of a template [repeatable]
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    args: Vec<(String, String)>,
    #[command(flatten)]
    manner: Manner,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((format!("arg.{name}"), value.to_owned())),
        _ => Err("not NAME=VALUE".to_owned()),
    }
}

/// Starts them.
pub fn run(args: Args) -> ExitCode {
    if !args.args.is_empty() && args.paths.len() > 1 {
        return Failure::usage("cannot start instances of several templates at once")
            .hint("one PATH with its --arg NAME=VALUE")
            .report();
    }
    act(&args.manner, &Wish { verb: "start", paths: &args.paths, query: args.args })
}
