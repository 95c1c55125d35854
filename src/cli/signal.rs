//! `woodward signal`.

use std::process::ExitCode;

use super::act::{Manner, Wish, act};
use crate::tree::units;

/// Sends a signal to the main process of a service
#[derive(clap::Args)]
pub struct Args {
    /// Service: its path or any unique end of it
    path: String,
    /// Its name, e.g. SIGUSR1; USR1 will do
    #[arg(value_name = "SIGNAL", value_parser = signal)]
    signal: String,
    #[command(flatten)]
    manner: Manner,
}

/// The full name of a signal.
fn signal(text: &str) -> Result<String, String> {
    let name = if text.starts_with("SIG") { text.to_owned() } else { format!("SIG{text}") };
    units::signal(&name).map(|_| name)
}

/// Sends it.
pub fn run(args: Args) -> ExitCode {
    let query = vec![("signal".to_owned(), args.signal)];
    act(&args.manner, &Wish { verb: "signal", paths: &[args.path], query })
}
