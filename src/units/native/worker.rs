//! A worker: when systemd restarts it.
//!
//! Restart types are `Restart=`; what systemd calls clean and the tree does not is told apart. A calm end is exit 0 or
//! one of `success_exit_status`. Every signal that is not ours is a crash; systemd calls SIGTERM, SIGHUP, SIGINT and
//! SIGPIPE clean, so a transient child is restarted after them by force. The signal by which we ask a child to stop must
//! not leave its unit failed, and must be a crash when a stranger sends it: a success, and forced.

use woodward_engine::spec::{Child, Restart, Shutdown, Status, Worker};

use crate::tree::units as words;
use crate::units::{Section, Unit};

/// Signals that systemd calls clean: SIGHUP, SIGINT, SIGPIPE, SIGTERM.
pub const CLEAN: [i32; 4] = [1, 2, 13, 15];
const SIGKILL: i32 = 9;
/// SIGRTMIN of the C library.
const FIRST_REAL_TIME: i32 = 34;

/// Writes when a worker restarts.
pub fn lines(child: &Child, worker: &Worker, unit: &mut Unit) {
    restart(child.restart, unit);
    if worker.oneshot {
        unit.set(
            Section::Service,
            "RemainAfterExit",
            "yes",
            "kind",
            "a one-shot that has done its work stays done, and does it again in a group restart",
        );
    }
    let ends = &worker.ends;
    let asked = match child.shutdown {
        Shutdown::BrutalKill => SIGKILL,
        Shutdown::Time(_) | Shutdown::Infinity => ends.stop_signal,
    };
    let strange = (!worker.oneshot && !CLEAN.contains(&asked)).then_some(Status::Signal(asked));
    let mut success = ends.success.clone();
    success.extend(strange.filter(|status| !ends.success.contains(status)));
    let clean = CLEAN.iter().copied().filter(|_| !worker.oneshot).map(Status::Signal);
    let mut force: Vec<Status> = match child.restart {
        Restart::Transient => clean.chain(strange).filter(|status| !ends.success.contains(status)).collect(),
        Restart::Permanent | Restart::Temporary => Vec::new(),
    };
    // Not allowed for a one-shot, and not needed: to it every signal is a failure.
    force.extend(ends.force.iter().filter(|_| child.restart != Restart::Temporary && !worker.oneshot));
    let lists: [(&'static str, &[Status], &'static str, &'static str); 3] = [
        (
            "SuccessExitStatus",
            &success,
            "success_exit_status",
            "calm besides exit 0; and the signal by which it is asked to stop",
        ),
        (
            "RestartPreventExitStatus",
            &ends.prevent,
            "restart_prevent_exit_status",
            "no retry can help: it stays down, whatever its type",
        ),
        (
            "RestartForceExitStatus",
            &force,
            "restart",
            "every signal that is not ours is a crash; and restart_force_exit_status",
        ),
    ];
    for (key, statuses, tree_key, rule) in lists {
        if !statuses.is_empty() {
            let value: Vec<String> = statuses.iter().map(|status| written(*status)).collect();
            unit.set(Section::Service, key, value.join(" "), tree_key, rule);
        }
    }
}

/// Writes a restart type. There is no delay here: siblings stop at once, and back-off is waited for elsewhere.
pub fn restart(restart: Restart, unit: &mut Unit) {
    let (value, rule) = match restart {
        Restart::Permanent => ("always", "a permanent child is restarted after every end"),
        Restart::Transient => ("on-failure", "a transient child is restarted unless its end was calm"),
        Restart::Temporary => ("no", "a temporary child is never restarted"),
    };
    unit.set(Section::Service, "Restart", value, "restart", rule);
    if restart != Restart::Temporary {
        unit.set(Section::Service, "RestartSec", "0", "", "its group stops at once, not after a delay");
    }
    unit.set(
        Section::Unit,
        "StartLimitIntervalSec",
        "0",
        "intensity",
        "restarts are counted by the meter of the supervisor, not by each unit",
    );
}

/// An exit status as systemd writes it: a number, or the name of a signal.
pub fn written(status: Status) -> String {
    match status {
        Status::Code(code) => code.to_string(),
        Status::Signal(number) if (FIRST_REAL_TIME..=64).contains(&number) => {
            format!("RTMIN+{}", number - FIRST_REAL_TIME)
        }
        Status::Signal(number) => words::signal_name(number),
    }
}
