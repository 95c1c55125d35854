//! `woodward completions SHELL`.

use std::process::ExitCode;

use clap_complete::Shell;

use super::report::{self, Code};

/// Prints a completion script: bash, zsh, fish, elvish or powershell.
#[derive(clap::Args)]
#[command(
    after_help = "For bash: woodward completions bash > ~/.local/share/bash-completion/completions/woodward"
)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

/// Prints it.
pub fn run(args: Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "woodward", &mut script);
    report::print(&String::from_utf8_lossy(&script));
    Code::Done.into()
}
