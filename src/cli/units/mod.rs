//! `woodward units`: trees as systemd units. What units say is made in [`crate::units`], from a plan; here are the
//! files, `systemctl`, and what people are told.
//!
//! ```text
//! TREE, flags ─ asked ─ Plan, Options ─ units::generate ─ texts ─┬─ a directory: generate, check, diff
//!                                                               └─ systemctl:   install, remove
//! ```

mod apply;
mod asked;
mod check;
mod diff;
mod explain;
mod generate;
pub mod generator;
mod import;
mod install;
mod lint;
mod place;
mod remove;
mod said;
mod shelf;
mod systemctl;

use std::process::ExitCode;

use clap::Subcommand;

use super::report;

/// Turns trees into systemd units
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Generate(generate::Args),
    Apply(apply::Args),
    Explain(explain::Args),
    Lint(lint::Args),
    Import(import::Args),
    Check(check::Args),
    Diff(diff::Args),
    Install(install::Args),
    Remove(remove::Args),
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    report::end(match args.verb {
        Verb::Generate(args) => generate::run(&args),
        Verb::Apply(args) => apply::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::Install(args) => install::run(&args),
        Verb::Remove(args) => remove::run(&args),
    })
}
