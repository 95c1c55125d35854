//! `woodward is-up`.

use std::process::ExitCode;
use std::time::Duration;

use super::report::{self, Code, Failure};
use super::target::Target;
use crate::control::client::{Client, encode};
use crate::control::message::Up;
use crate::os::clock;

/// Between two questions while waiting.
const AGAIN: Duration = Duration::from_millis(100);

/// Says by its exit code whether everything is up or done
#[derive(clap::Args)]
pub struct Args {
    /// A child or subtree [default: everything]
    path: Option<String>,
    /// Wait so long for it, and for a daemon, e.g. 30s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Say what is not up, as an object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Asks until it is, or the time is over.
pub fn run(args: Args) -> ExitCode {
    let end = clock::now() + args.wait.unwrap_or_default();
    loop {
        let answer = ask(&args);
        let good = answer.as_ref().is_ok_and(|up| up.up);
        // While it starts there may be no daemon yet, and no such path yet.
        let hopeless = matches!(&answer, Err(failure) if failure.code == Code::NotPermitted);
        if good || hopeless || clock::now() >= end {
            return report::end(answer.map(|up| say(&args, &up)));
        }
        Client::pause(AGAIN);
    }
}

fn say(args: &Args, up: &Up) -> Code {
    if args.json
        && let Ok(text) = serde_json::to_string(up)
    {
        report::print(&(text + "\n"));
    }
    if up.up { Code::Done } else { Code::Failed }
}

fn ask(args: &Args) -> Result<Up, Failure> {
    let client = args.target.client()?;
    if let Some(asked) = &args.path {
        let (endpoint, path) = client.locate(asked)?;
        return Ok(client.get(endpoint, &format!("/v1/up?path={}", encode(&path)))?);
    }
    let mut missing = Vec::new();
    for endpoint in client.endpoints() {
        let up: Up = client.get(endpoint, "/v1/up")?;
        missing.extend(up.missing);
    }
    Ok(Up { up: missing.is_empty(), missing })
}
