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

/// Explains the last change of a child, cause first, and what comes next.
#[derive(clap::Args)]
pub struct Args {
    /// A child or supervisor: its path or any unique end of it.
    path: String,
    /// The same as an object.
    #[arg(long)]
    json: bool,
    /// Where `run --state` put the history, when no daemon runs.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Explains it.
pub fn run(args: Args) -> ExitCode {
    report::end(why(&args).map(|text| {
        report::print(&text);
        Code::Done
    }))
}

fn why(args: &Args) -> Result<String, Failure> {
    let zone = clock::zone(clock::wall());
    let (note, why) = match args.target.client() {
        Ok(client) => {
            let (endpoint, path) = client.locate(&args.path)?;
            (String::new(), client.get(endpoint, &format!("/v1/why?path={}&zone={zone}", encode(&path)))?)
        }
        Err(failure) if failure.code == Code::NoDaemon => last_known(args, zone, failure)?,
        Err(failure) => return Err(failure),
    };
    if args.json {
        return match serde_json::to_string_pretty(&why) {
            Ok(text) => Ok(text + "\n"),
            Err(error) => Err(Failure::new(Code::Failed, format!("cannot write JSON: {error}"))),
        };
    }
    Ok(note + &why.text())
}

/// From the history; the failure to reach a daemon when there is none.
fn last_known(args: &Args, zone: i32, failure: Failure) -> Result<(String, Why), Failure> {
    let known = last::known(args.state.as_deref());
    if known.is_empty() {
        return Err(failure);
    }
    let now = clock::wall();
    let (last, path) = last::locate(&known, &args.path)?;
    let ago = lasted(now.saturating_sub(last.seen));
    let note = format!("not running; from the history, last seen {ago} ago\n");
    let why = explain(&Known { path: &path, facts: &last.facts, rows: &[], lines: &[], now, zone });
    Ok((note, why))
}
