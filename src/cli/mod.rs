//! The command line: one file per verb, each with its `Args` and a `run` that ends in an exit code.
//!
//! What all verbs share stands in [`report`]: exit codes, and errors as `cannot …: …` with a `hint: …` on a line of
//! its own. Verbs that talk to a daemon use [`crate::control::client`]; what they print is made by pure functions
//! from what the daemon answered.

mod act;
mod apply;
mod attend;
mod availability;
mod chaos;
mod check;
mod cluster;
mod command;
mod completions;
mod daemon;
mod detail;
mod differing;
mod events;
mod guard;
mod hints;
mod hold;
mod import;
mod is_up;
mod last;
mod logs;
mod member;
mod page;
mod passing;
mod plan;
mod ready;
mod release;
mod reload;
mod replay;
pub mod report;
mod restart;
mod run;
mod settings;
mod signal;
mod simulate;
mod start;
mod status;
mod stop;
mod story;
mod style;
mod sweep;
mod target;
mod trial;
mod units;
mod upgrade;
mod why;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::os::stage;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use report::{Code, Failure};

/// Supervision trees by Erlang's rules for the services of a machine.
#[derive(Parser)]
#[command(name = "woodward", version, max_term_width = 80, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Args),
    #[command(hide = true)]
    Daemon(daemon::Args),
    #[command(hide = true)]
    Attend(attend::Args),
    #[command(hide = true)]
    Trial(daemon::Args),
    Check(check::Args),
    Import(import::Args),
    Plan(plan::Args),
    Simulate(simulate::Args),
    Replay(replay::Args),
    Status(status::Args),
    Why(why::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Apply(apply::Args),
    Hold(hold::Args),
    Release(release::Args),
    Signal(signal::Args),
    Reload(reload::Args),
    Logs(logs::Args),
    Events(events::Args),
    Availability(availability::Args),
    Cluster(cluster::Args),
    Chaos(chaos::Args),
    IsUp(is_up::Args),
    Settings(settings::Args),
    Upgrade(upgrade::Args),
    Units(units::Args),
    #[command(hide = true)]
    Generator(units::generator::Args),
    Sweep(sweep::Args),
    Ready(Box<ready::Args>),
    Guard(guard::Args),
    Completions(completions::Args),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == stage::VERB) {
        woodward_keeper::first::unblock();
        return stage::enter(args);
    }
    crate::os::memory::frugal();
    if let Some(code) = woodward_keeper::resume(crate::os::members) {
        return ExitCode::from(code);
    }
    let cli = match Cli::try_parse_from(line(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    if !matches!(cli.verb, Verb::Run(_)) {
        woodward_keeper::first::unblock();
    }
    match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Daemon(args) => daemon::run(args),
        Verb::Attend(args) => attend::run(args),
        Verb::Trial(args) => trial::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Plan(args) => plan::run(args),
        Verb::Simulate(args) => simulate::run(args),
        Verb::Replay(args) => replay::run(args),
        Verb::Status(args) => status::run(args),
        Verb::Why(args) => why::run(args),
        Verb::Start(args) => start::run(args),
        Verb::Stop(args) => stop::run(args),
        Verb::Restart(args) => restart::run(args),
        Verb::Apply(args) => apply::run(args),
        Verb::Hold(args) => hold::run(args),
        Verb::Release(args) => release::run(args),
        Verb::Signal(args) => signal::run(args),
        Verb::Reload(args) => reload::run(args),
        Verb::Logs(args) => logs::run(args),
        Verb::Events(args) => events::run(args),
        Verb::Availability(args) => availability::run(args),
        Verb::Cluster(args) => cluster::run(args),
        Verb::Chaos(args) => chaos::run(args),
        Verb::IsUp(args) => is_up::run(args),
        Verb::Settings(args) => settings::run(args),
        Verb::Upgrade(args) => upgrade::run(args),
        Verb::Units(args) => units::run(args),
        Verb::Generator(args) => units::generator::run(&args),
        Verb::Sweep(args) => sweep::run(args),
        Verb::Ready(args) => ready::run(*args),
        Verb::Guard(args) => guard::run(args),
        Verb::Completions(args) => completions::run(args),
    }
}

/// The command line with its verb: systemd calls a generator by its name.
fn line(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut args = args.peekable();
    let name = args.peek().map(Path::new).and_then(Path::file_name);
    let verb = (name == Some(units::generator::NAME.as_ref())).then(|| "generator".into());
    args.next().into_iter().chain(verb).chain(args)
}

/// The whole command line, for completions.
fn command() -> clap::Command {
    Cli::command()
}

/// Help and version are asked for and end well; everything else is wrong use.
fn refused(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            report::print(&error.render().to_string());
            Code::Done.into()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            Code::Usage.into()
        }
        ErrorKind::InvalidSubcommand => {
            let word = match error.get(ContextKind::InvalidSubcommand) {
                Some(ContextValue::String(word)) => word.as_str(),
                _ => "",
            };
            let failure = Failure::usage(format!("cannot do {word:?}: no such verb"));
            let line = command();
            let ours: Vec<&str> = line.get_subcommands().map(clap::Command::get_name).collect();
            match hints::verb(word, &ours) {
                Some(hint) => failure.hint(hint),
                None => failure.hint("woodward --help"),
            }
            .report()
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let what: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let hint = format!("woodward {}--help", verbs(std::env::args().skip(1)));
            Failure::usage(format!("cannot read the command line: {}", what.join(" "))).hint(hint).report()
        }
    }
}

/// The verbs a command line begins with, each with a blank behind it.
fn verbs(words: impl Iterator<Item = String>) -> String {
    let (mut at, mut verbs) = (command(), String::new());
    for word in words {
        let Some(verb) = at.find_subcommand(&word).cloned() else { break };
        verbs.push_str(&format!("{word} "));
        at = verb;
    }
    verbs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_says_what_it_does_in_80_columns() {
        let mut line = command();
        let mut pages = vec![line.render_help().to_string()];
        for verb in line.get_subcommands_mut() {
            assert!(verb.get_about().is_some(), "{} has no description", verb.get_name());
            pages.push(verb.render_help().to_string());
            for verb in verb.get_subcommands_mut() {
                assert!(verb.get_about().is_some(), "{} has no description", verb.get_name());
                pages.push(verb.render_help().to_string());
            }
        }
        let lines = pages.iter().flat_map(|page| page.lines());
        let wide: Vec<&str> = lines.filter(|line| line.chars().count() > style::WIDTH).collect();
        assert!(wide.is_empty(), "too wide:\n{}", wide.join("\n"));
    }

    #[test]
    fn the_hint_names_the_verb_that_was_meant() {
        let check = |words: &[&str], hint: &str| {
            assert_eq!(verbs(words.iter().map(|word| (*word).to_owned())), hint, "{words:?}");
        };
        check(&["status", "--nonsense"], "status ");
        check(&["units", "generate", "--nonsense"], "units generate ");
        check(&["--nonsense"], "");
    }

    #[test]
    fn words_of_others_are_understood() {
        let check = |word: &str, hint: &str| {
            assert_eq!(hints::verb(word, &["status", "start"]).as_deref(), Some(hint), "{word}");
        };
        check("ps", "woodward status");
        check("up", "woodward run FILE");
        check("statsu", "woodward status");
        check("daemon-reload", "woodward apply FILE");
        assert_eq!(hints::verb("completely-else", &["status"]), None);
    }
}
