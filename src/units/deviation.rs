//! What plain units cannot say: the named deviations. Each is listed in `units/README.md` and has a test that shows it.

use std::fmt::{self, Display};

use super::release::Release;

/// A difference between a tree and its native units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deviation {
    /// systemd counts restarts in windows that stand one behind the other, OTP in one that slides.
    TumblingWindow,
    /// `TimeoutStartSec=` begins anew for each command of a start, `within` is for all of them.
    TimePerCommand,
    /// A check is not suspended while something the service relies on is down.
    JudgedAlone,
    /// systemd's watchdog begins with the main process, not at readiness and `start_after`.
    WatchdogAtOnce,
    /// A service that may say `WATCHDOG=1` may say `READY=1` too.
    ReadyByItsOwnWord,
    /// `ExecStop=` is not executed for a service that hangs.
    NoStopCommandWhenSick,
}

/// A deviation at a place of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviates {
    /// Which.
    pub deviation: Deviation,
    /// Path of the child.
    pub path: String,
    /// What it means there.
    pub text: String,
}

impl Deviation {
    /// All of them.
    pub const ALL: &[Deviation] = &[
        Deviation::TumblingWindow,
        Deviation::TimePerCommand,
        Deviation::JudgedAlone,
        Deviation::WatchdogAtOnce,
        Deviation::ReadyByItsOwnWord,
        Deviation::NoStopCommandWhenSick,
    ];

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Deviation::TumblingWindow => "tumbling-window",
            Deviation::TimePerCommand => "time-per-command",
            Deviation::JudgedAlone => "judged-alone",
            Deviation::WatchdogAtOnce => "watchdog-at-once",
            Deviation::ReadyByItsOwnWord => "ready-by-its-own-word",
            Deviation::NoStopCommandWhenSick => "no-stop-command-when-sick",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Deviation> {
        Deviation::ALL.iter().copied().find(|deviation| deviation.name() == name)
    }

    /// What it is, in one sentence.
    pub fn means(self) -> &'static str {
        match self {
            Deviation::TumblingWindow => {
                "restarts are counted from the first one on, not over the last period"
            }
            Deviation::TimePerCommand => {
                "within holds for each command of a start, not for all of them together"
            }
            Deviation::JudgedAlone => {
                "a service is asked, and judged, also while what it relies on does not answer"
            }
            Deviation::WatchdogAtOnce => {
                "a service has to say WATCHDOG=1 from its start on, not from readiness and start_after on"
            }
            Deviation::ReadyByItsOwnWord => {
                "READY=1 makes a service with a watchdog ready, whatever its condition of readiness is"
            }
            Deviation::NoStopCommandWhenSick => {
                "a service that hangs gets the stop signal without its stop command"
            }
        }
    }

    /// The first release without it, if there is one.
    pub fn until(self) -> Option<Release> {
        match self {
            Deviation::TumblingWindow
            | Deviation::TimePerCommand
            | Deviation::JudgedAlone
            | Deviation::WatchdogAtOnce
            | Deviation::ReadyByItsOwnWord
            | Deviation::NoStopCommandWhenSick => None,
        }
    }
}

impl Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
