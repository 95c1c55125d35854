//! `woodward upgrade`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;

use super::report::{Code, Failure, end, print};
use super::target::Target;
use crate::control::client::{Client, Endpoint, encode};
use crate::control::message::Daemon;
use crate::os::clock;

/// Between two looks at whether the new one answers.
const AGAIN: Duration = Duration::from_millis(10);
/// A daemon that takes longer to come back is given up on.
const PATIENCE: Duration = Duration::from_secs(30);

/// Replaces daemon and keeper by another file; services go on
#[derive(clap::Args)]
pub struct Args {
    /// The new program [default: the one this command runs from]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// Upgrades every daemon there is, one after the other.
pub fn run(args: Args) -> ExitCode {
    end(upgrade(&args).map(|()| Code::Done))
}

fn upgrade(args: &Args) -> Result<(), Failure> {
    let cannot = |why: String| Failure::new(Code::Failed, format!("cannot upgrade: {why}"));
    let file = match &args.file {
        Some(file) => std::path::absolute(file),
        None => std::env::current_exe(),
    };
    let file = file.map_err(|e| cannot(e.to_string()))?;
    let inode = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let wanted = inode(&file).map_err(|e| cannot(format!("{}: {e}", file.display())))?;
    let client = args.target.client()?;
    for endpoint in client.endpoints() {
        let question = format!("/v1/upgrade?file={}", encode(&file.display().to_string()));
        let asked = client.stream(&Method::POST, vec![(endpoint, question)], |_| Ok(()));
        let lives = || client.get::<Daemon>(endpoint, "/v1").is_ok_and(|d| d.pid == endpoint.daemon.pid);
        if let Err(problem) = asked
            && lives()
        {
            return Err(problem.into());
        }
        let daemon = successor(&client, endpoint).ok_or_else(|| {
            cannot("the new daemon does not answer".to_owned())
                .hint("standard error of woodward run says why")
        })?;
        let trees = daemon.trees.join(", ");
        if inode(Path::new(&format!("/proc/{}/exe", daemon.pid))).is_ok_and(|runs| runs != wanted) {
            return Err(cannot(format!("{trees}: the keeper could not execute {}", file.display()))
                .hint("standard error of woodward run says why; services are as before"));
        }
        let (before, after) = (&endpoint.daemon.woodward, &daemon.woodward);
        print(&format!("{trees}: woodward {before} replaced by {after}, daemon pid {}\n", daemon.pid));
    }
    Ok(())
}

/// The daemon that follows this one.
fn successor(client: &Client, endpoint: &Endpoint) -> Option<Daemon> {
    let end = clock::now() + PATIENCE;
    while clock::now() < end {
        match client.get::<Daemon>(endpoint, "/v1") {
            Ok(daemon) if daemon.pid != endpoint.daemon.pid => return Some(daemon),
            _ => Client::pause(AGAIN),
        }
    }
    None
}
