//! `woodward completions SHELL`.

use std::process::ExitCode;

use clap_complete::Shell;

use super::report::{self, Code};

/// Prints a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "In bash: source <(woodward completions bash)")]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints it.
pub fn run(args: Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "woodward", &mut script);
    report::print(&String::from_utf8_lossy(&script));
    Code::Done.into()
}
