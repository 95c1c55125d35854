//! Faults on the command line: `PATH[=REASON][*TIMES][@TIME]`.

use std::str::FromStr;
use std::time::Duration;

use woodward_engine::Exit;

use crate::tree::units;

/// What happens to a child.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// As written, later the full path.
    pub path: String,
    /// What.
    pub reason: Reason,
    /// How often; `None`: always.
    pub times: Option<u32>,
    /// When, on the clock of the simulation; `None`: 10 s after the tree has come to rest.
    pub at: Option<Duration>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It ends by itself.
    Ends(Exit),
    /// Its start fails.
    FailsToStart,
    /// It is started and never ready.
    HangsInStart,
    /// It does not end when asked.
    HangsInStop,
}

impl Reason {
    /// How it ends, if it does.
    pub fn exit(self) -> Option<Exit> {
        match self {
            Reason::Ends(exit) => Some(exit),
            Reason::FailsToStart | Reason::HangsInStart | Reason::HangsInStop => None,
        }
    }

    /// It is about starts: one that runs is ended first.
    pub fn is_about_starts(self) -> bool {
        matches!(self, Reason::FailsToStart | Reason::HangsInStart)
    }
}

const REASONS: &str =
    "crash, normal, kill, exit:N, signal:NAME, fails_to_start, hangs_in_start or hangs_in_stop";

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let (rest, at) = match text.rsplit_once('@') {
            Some((rest, time)) if units::duration(time).is_ok() => (rest, units::duration(time).ok()),
            _ => (text, None),
        };
        let (rest, times) = match rest.rsplit_once('*') {
            Some((rest, "always")) => (rest, None),
            Some((rest, times)) => match times.parse() {
                Ok(times @ 1..) => (rest, Some(times)),
                _ => return Err(format!("\"{times}\" is no number of times, nor `always`")),
            },
            None => (rest, Some(1)),
        };
        let (path, reason) = rest.split_once('=').unwrap_or((rest, "crash"));
        Ok(Fault { path: path.to_owned(), reason: reason.parse()?, times, at })
    }
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Reason, String> {
        let unknown = || format!("\"{text}\" is none of {REASONS}");
        Ok(match text {
            "crash" => Reason::Ends(Exit::Code(1)),
            "normal" => Reason::Ends(Exit::Code(0)),
            "kill" => Reason::Ends(Exit::Signal(9)),
            "fails_to_start" => Reason::FailsToStart,
            "hangs_in_start" => Reason::HangsInStart,
            "hangs_in_stop" => Reason::HangsInStop,
            _ => match text.split_once(':') {
                Some(("exit", code)) => {
                    Reason::Ends(Exit::Code(code.parse::<u8>().map_err(|_| unknown())?.into()))
                }
                Some(("signal", name)) => Reason::Ends(Exit::Signal(units::signal(name)?)),
                _ => return Err(unknown()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_path_a_reason_a_number_and_a_time() {
        let check = |text: &str, reason, times, at: Option<u64>| {
            let fault: Fault = text.parse().unwrap();
            let at = at.map(Duration::from_secs);
            assert_eq!(fault, Fault { path: "a/b".to_owned(), reason, times, at }, "{text}");
        };
        check("a/b", Reason::Ends(Exit::Code(1)), Some(1), None);
        check("a/b=kill*6@90s", Reason::Ends(Exit::Signal(9)), Some(6), Some(90));
        check("a/b=exit:42*always", Reason::Ends(Exit::Code(42)), None, None);
        check("a/b=signal:SIGSEGV", Reason::Ends(Exit::Signal(11)), Some(1), None);
        check("a/b*2", Reason::Ends(Exit::Code(1)), Some(2), None);
        check("a/b=hangs_in_stop@0ms", Reason::HangsInStop, Some(1), Some(0));
        for text in ["a=burns", "a=exit:999", "a=crash*0", "a*x", "a=signal:TERM"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
