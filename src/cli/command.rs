//! `woodward run -- COMMAND`: one command, supervised in this process alone. The rules stand in
//! [`woodward_keeper::init`].

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Duration;

use woodward_keeper::init::{self, Command, Reach};

use super::report::Failure;

/// How one command is supervised.
#[cfg_attr(feature = "full", derive(clap::Args))]
#[cfg_attr(feature = "full", group(skip))]
#[cfg_attr(feature = "full", command(next_help_heading = "For run -- COMMAND"))]
pub(super) struct Args {
    /// One command instead of trees, as an init has it
    #[cfg_attr(feature = "full", arg(last = true, value_name = "COMMAND", conflicts_with_all = ["files", "vars", "socket", "state", "set", "init"]))]
    pub(super) command: Vec<OsString>,
    /// Whom signals reach: tree, group or process
    ///
    /// `tree`: SIGTERM all, others the command; `group`: SIGTERM all, others
    /// its process group; `process`: the command only.
    #[cfg_attr(feature = "full", arg(long, value_name = "WHOM", value_parser = reach))]
    pub(super) signals: Option<Reach>,
    /// Turn a signal into another: TERM:QUIT; 15:0 drops
    #[cfg_attr(feature = "full", arg(long, value_name = "FROM:TO", value_parser = rewrite))]
    pub(super) rewrite: Vec<(u8, u8)>,
    /// Exit codes of the command reported as 0
    #[cfg_attr(feature = "full", arg(long, value_name = "CODE", value_delimiter = ','))]
    pub(super) success: Vec<u8>,
    /// Time for what it leaves behind [default: 5s]
    #[cfg_attr(feature = "full", arg(long, value_name = "TIME", value_parser = humantime::parse_duration))]
    pub(super) grace: Option<Duration>,
    /// Be sent this signal when the parent process ends
    #[cfg_attr(feature = "full", arg(long, value_name = "SIGNAL", value_parser = signal))]
    pub(super) parent_death: Option<u8>,
    /// Say which orphans are reaped
    #[cfg_attr(feature = "full", arg(long, short))]
    pub(super) verbose: bool,
}

impl Args {
    /// An option for a command, and no command.
    pub fn is_stray(&self) -> bool {
        let Args { command, signals, rewrite, success, grace, parent_death, verbose } = self;
        let lists = rewrite.is_empty() && success.is_empty();
        let given = signals.is_some() || grace.is_some() || parent_death.is_some() || *verbose || !lists;
        command.is_empty() && given
    }

    /// `run -- COMMAND`, not `run FILE`.
    pub fn is_given(&self) -> bool {
        !self.command.is_empty()
    }
}

/// Does it.
pub(super) fn run(args: Args) -> ExitCode {
    let word = |word: OsString| CString::new(word.into_vec());
    let Ok(arguments) = args.command.into_iter().map(word).collect() else {
        return Failure::usage("cannot run the command: a zero byte in it").report();
    };
    ExitCode::from(init::supervise(Command {
        arguments,
        rewrite: args.rewrite,
        success: args.success,
        reach: args.signals.unwrap_or(Reach::Tree),
        grace: args.grace.unwrap_or(init::GRACE),
        parent_death: args.parent_death,
        verbose: args.verbose,
    }))
}

pub(super) fn reach(text: &str) -> Result<Reach, String> {
    match text {
        "tree" => Ok(Reach::Tree),
        "group" => Ok(Reach::Group),
        "process" => Ok(Reach::Process),
        _ => Err("tree, group or process".to_owned()),
    }
}

pub(super) fn rewrite(text: &str) -> Result<(u8, u8), String> {
    let (from, to) = text.split_once(':').ok_or("not FROM:TO")?;
    Ok((signal(from)?, if to == "0" { 0 } else { signal(to)? }))
}

/// A number or a name, with or without SIG.
pub(super) fn signal(text: &str) -> Result<u8, String> {
    if let Ok(number @ 1..=64) = text.parse::<u8>() {
        return Ok(number);
    }
    let name = format!("SIG{}", text.strip_prefix("SIG").unwrap_or(text));
    match name.parse::<nix::sys::signal::Signal>() {
        Ok(signal) => Ok(signal as u8),
        Err(_) => Err(format!("{text}: not a signal: 1 to 64, or a name as TERM")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        assert_eq!(rewrite("15:3"), Ok((15, 3)));
        assert_eq!(rewrite("SIGTERM:QUIT"), Ok((15, 3)));
        assert_eq!(rewrite("64:0"), Ok((64, 0)));
        for wrong in ["15", "0:15", "65:1", "15:", "NONE:1"] {
            assert!(rewrite(wrong).is_err(), "{wrong}");
        }
    }
}
