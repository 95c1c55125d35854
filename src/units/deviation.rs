//! What plain units cannot say: the named deviations. Each is listed in `units/README.md` and has a test that shows it.

use std::fmt::{self, Display};

use super::release::Release;

/// A difference between a tree and its native units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deviation {
    /// A stop by hand follows `PartOf=` too.
    StopTakesAlong,
    /// systemd keeps no word of a person: what was stopped starts with its supervisor.
    StopDoesNotLast,
    /// A start follows `Wants=`, whether what is started runs or not.
    StartReachesBelow,
    /// What is parked is not remembered longer than its supervisor runs.
    ParkingDoesNotLast,
    /// systemd restarts with the group before anybody has counted.
    ParkingRestartsTheGroup,
    /// A parked child is one that was not started, which ends nothing.
    ParkingIsNoEnd,
    /// systemd stops each unit in its own time.
    NoDeadline,
    /// systemd knows one machine.
    NoFailover,
    /// A tree of units has no process that could end with a status.
    NoExitStatus,
    /// The meter's marks have no unit that waits for an instance.
    DelayIsFixed,
    /// systemd measures each command of a start and of a stop by itself, woodward all of them together.
    TimePerCommand,
    /// A service that may say `WATCHDOG=1` may say `READY=1` too.
    ReadyByItsOwnWord,
    /// `ExecStop=` is not executed for a service that hangs.
    NoStopCommandWhenSick,
    /// A unit has no woodward to inherit standard input and output from.
    Inherit,
    /// systemd appends to files and never rotates them.
    LogRotation,
    /// journald's limit of lines grows with the room on its disk, and there is none for files.
    LogRate,
    /// What comes from an environment file can be read in the unit and over D-Bus.
    SecretInUnit,
    /// systemd does not number starts.
    NoGeneration,
    /// The manager of a user cannot change the user, raise priorities or give capabilities.
    UserManager,
    /// systemd hands over sockets of several units in any order.
    SocketOrder,
    /// A socket unit starts its service whoever has stopped it.
    SocketStarts,
    /// systemd lets files win over `Environment=`.
    FileWins,
    /// systemd gives each service variables of its own, whatever `pass_environment` says.
    OwnVariables,
    /// The name of an instance is one text, and there are no other arguments.
    OneArgument,
    /// With `KillMode=control-group` systemd asks what a dead main process has left behind, and waits for it.
    LeftoversAsked,
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
        Deviation::StopTakesAlong,
        Deviation::StopDoesNotLast,
        Deviation::StartReachesBelow,
        Deviation::ParkingDoesNotLast,
        Deviation::ParkingRestartsTheGroup,
        Deviation::ParkingIsNoEnd,
        Deviation::NoDeadline,
        Deviation::NoFailover,
        Deviation::NoExitStatus,
        Deviation::DelayIsFixed,
        Deviation::TimePerCommand,
        Deviation::ReadyByItsOwnWord,
        Deviation::NoStopCommandWhenSick,
        Deviation::Inherit,
        Deviation::LogRotation,
        Deviation::LogRate,
        Deviation::SecretInUnit,
        Deviation::NoGeneration,
        Deviation::UserManager,
        Deviation::SocketOrder,
        Deviation::SocketStarts,
        Deviation::FileWins,
        Deviation::OwnVariables,
        Deviation::OneArgument,
        Deviation::LeftoversAsked,
    ];

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Deviation::StopTakesAlong => "stop-takes-along",
            Deviation::StopDoesNotLast => "stop-does-not-last",
            Deviation::StartReachesBelow => "start-reaches-below",
            Deviation::ParkingDoesNotLast => "parking-does-not-last",
            Deviation::ParkingRestartsTheGroup => "parking-restarts-the-group",
            Deviation::ParkingIsNoEnd => "parking-is-no-end",
            Deviation::NoDeadline => "no-deadline",
            Deviation::NoFailover => "no-failover",
            Deviation::NoExitStatus => "no-exit-status",
            Deviation::DelayIsFixed => "delay-is-fixed",
            Deviation::TimePerCommand => "time-per-command",
            Deviation::ReadyByItsOwnWord => "ready-by-its-own-word",
            Deviation::NoStopCommandWhenSick => "no-stop-command-when-sick",
            Deviation::Inherit => "inherit",
            Deviation::LogRotation => "log-rotation",
            Deviation::LogRate => "log-rate",
            Deviation::SecretInUnit => "secret-in-unit",
            Deviation::NoGeneration => "no-generation",
            Deviation::UserManager => "user-manager",
            Deviation::SocketOrder => "socket-order",
            Deviation::SocketStarts => "socket-starts",
            Deviation::FileWins => "file-wins",
            Deviation::OwnVariables => "own-variables",
            Deviation::OneArgument => "one-argument",
            Deviation::LeftoversAsked => "leftovers-asked",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Deviation> {
        Deviation::ALL.iter().copied().find(|deviation| deviation.name() == name)
    }

    /// What it is, in one sentence.
    pub fn means(self) -> &'static str {
        match self {
            Deviation::StopTakesAlong => "a stop by hand stops also those that restart with it",
            Deviation::StopDoesNotLast => {
                "a child that was stopped by hand starts again when a supervisor above it does"
            }
            Deviation::StartReachesBelow => {
                "a start by hand of a supervisor that runs starts what is down below it"
            }
            Deviation::ParkingDoesNotLast => "a parked child begins anew when a supervisor above it does",
            Deviation::ParkingRestartsTheGroup => {
                "the end after which a child is parked restarts its group once more, without it"
            }
            Deviation::ParkingIsNoEnd => "for auto_shutdown a parked child has not ended",
            Deviation::NoDeadline => "a supervisor's own shutdown does not hold for what is below it",
            Deviation::NoFailover => "a tree that has given up is not handed to another node",
            Deviation::NoExitStatus => "the status of the essential child is nobody's",
            Deviation::DelayIsFixed => "instances of a template restart without back-off",
            Deviation::TimePerCommand => {
                "each command of a start or a stop has the whole time, not all of them together"
            }
            Deviation::ReadyByItsOwnWord => {
                "READY=1 makes a service with a watchdog ready, whatever its condition of readiness is"
            }
            Deviation::NoStopCommandWhenSick => {
                "a service that hangs gets the stop signal without its stop command"
            }
            Deviation::Inherit => {
                "there is nobody whose standard input or output could be inherited: /dev/null and the journal stand in"
            }
            Deviation::LogRotation => "a log file is not rotated",
            Deviation::LogRate => {
                "journald's limit of lines depends on the room on its disk, and holds for no file"
            }
            Deviation::SecretInUnit => "a value from an environment_file stands in the unit",
            Deviation::NoGeneration => "WOODWARD_GENERATION is not set",
            Deviation::UserManager => "a user's manager may not do it",
            Deviation::SocketOrder => "several sockets come in any order of descriptors",
            Deviation::SocketStarts => {
                "the sockets of a service that was stopped by hand stay open, and who connects starts it"
            }
            Deviation::FileWins => "an environment file that was not there goes over `environment`",
            Deviation::LeftoversAsked => {
                "what a dead main process leaves behind is asked and waited for, not killed at once"
            }
            Deviation::OneArgument => "an instance of a template has one argument",
            Deviation::OwnVariables => "systemd gives each service a few variables of its own",
        }
    }

    /// Whether it changes only what a person does by hand: what the tree does by itself is as it is written.
    pub fn by_hand(self) -> bool {
        matches!(
            self,
            Deviation::StopTakesAlong
                | Deviation::StopDoesNotLast
                | Deviation::StartReachesBelow
                | Deviation::SocketStarts
        )
    }

    /// The first release without it, if there is one.
    pub fn until(self) -> Option<Release> {
        None
    }
}

impl Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
