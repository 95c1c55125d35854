//! `woodward why`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::last;
use super::report::{self, Code, Failure};
use super::style::lasted;
use super::target::Target;
use crate::control::client::encode;
use crate::os::clock;
use crate::record::why::{Known, Why, explain};

/// Explains the last change of a child, and what comes next
#[derive(clap::Args)]
pub struct Args {
    /// A child or supervisor: its path or any unique end of it
    path: String,
    /// The same as an object
    #[arg(long)]
    json: bool,
    /// Where `run --state` put the history
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Explains it.
pub fn run(args: Args) -> ExitCode {
    report::end(why(&args))
}

fn why(args: &Args) -> Result<Code, Failure> {
    let zone = clock::zone(clock::wall());
    match args.target.client() {
        Ok(client) => {
            let (endpoint, path) = match client.locate(&args.path) {
                Ok(found) => found,
                Err(unknown) => return of_another(args, zone, unknown.into()),
            };
            let why: Why = client.get(endpoint, &format!("/v1/why?path={}&zone={zone}", encode(&path)))?;
            print(args, &why)?;
            Ok(Code::Done)
        }
        Err(failure) if failure.code == Code::NoDaemon => last_known(args, zone, failure),
        Err(failure) => Err(failure),
    }
}

fn print(args: &Args, why: &Why) -> Result<(), Failure> {
    if !args.json {
        report::print(&why.text());
        return Ok(());
    }
    match serde_json::to_string_pretty(&why) {
        Ok(text) => report::print(&(text + "\n")),
        Err(error) => return Err(Failure::new(Code::Failed, format!("cannot write JSON: {error}"))),
    }
    Ok(())
}

/// Perhaps a path of a tree whose own daemon does not run while others do.
fn of_another(args: &Args, zone: i32, unknown: Failure) -> Result<Code, Failure> {
    let known = last::known(args.state.as_deref(), args.target.is_settled());
    if unknown.code != Code::Usage || last::locate(&known, &args.path).is_err() {
        return Err(unknown);
    }
    last_known(args, zone, last::absent())
}

/// From the history, if there is one; that no daemon was reached is a failure all the same.
fn last_known(args: &Args, zone: i32, failure: Failure) -> Result<Code, Failure> {
    let known = last::known(args.state.as_deref(), args.target.is_settled());
    if known.is_empty() {
        return Err(failure);
    }
    let now = clock::wall();
    let (last, path) = last::locate(&known, &args.path)?;
    if !args.json {
        report::print(&format!("not running; last seen {} ago\n", lasted(now.saturating_sub(last.seen))));
    }
    print(args, &explain(&Known { path: &path, facts: last.facts(), rows: &[], lines: &[], now, zone }))?;
    Err(failure)
}
