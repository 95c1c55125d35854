//! `woodward sweep`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::report::{Code, Failure, end, print};
use super::run::{self, Trees};
use crate::os;

/// Ends what is left of a run whose woodward was killed
///
/// Not needed to run it again: `woodward run` goes on with what is there. As
/// ExecStopPost= of a unit it does nothing after a failure ($SERVICE_RESULT),
/// because systemd is about to start woodward again; after a stop that took
/// too long it does.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    trees: Trees,
    /// Run state and history are in this directory
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Time between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    within: Duration,
}

/// Ends it.
pub fn run(args: Args) -> ExitCode {
    end(sweep(args).map(|()| Code::Done))
}

fn sweep(mut args: Args) -> Result<(), Failure> {
    if std::env::var("SERVICE_RESULT").is_ok_and(|result| result != "success" && result != "timeout") {
        print("nothing is swept: woodward failed, and the next one goes on with what runs\n");
        return Ok(());
    }
    let state = run::state_of(&mut args.trees, args.state.as_deref())?;
    let cannot = |why: String| Failure::new(Code::Failed, format!("cannot sweep {}: {why}", state.display()));
    let swept = woodward_keeper::sweep(&state, args.within, || os::sweep(&state));
    match swept.map_err(|e| cannot(e.to_string()))? {
        Ok(0) => Ok(()),
        Ok(count) => {
            let es = if count == 1 { "" } else { "es" };
            print(&format!("{count} process{es} ended\n"));
            Ok(())
        }
        Err(pid) => {
            Err(Failure::new(Code::TryAgain, cannot(format!("woodward serves it, pid {pid}")).message)
                .hint("woodward stop, or SIGTERM to that process"))
        }
    }
}
