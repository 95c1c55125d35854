//! Ends that end more: `auto_shutdown` and `essential`.
//!
//! They ask for an end by itself that is not followed by a restart. `ExecStopPost=` is executed at every end, tells how
//! the process ended, and while it runs a stop or restart by systemd still has its job: without one the end was the
//! child's own. What it leads to is the abort of the supervisor, or of the root.

use woodward_engine::spec::{AutoShutdown, Ends, Restart, Status};

use super::layout::{At, Layout, Place, What};
use super::meter::systemctl;
use super::worker::{CLEAN, written};
use crate::units::{Options, Section, Unit, escape};

/// Writes what the end of a child ends.
pub fn lines(layout: &Layout<'_>, at: At, options: &Options, unit: &mut Unit) {
    let place = &layout.places[at];
    let Some((parent, supervisor)) = layout.above(at) else { return };
    if place.is_significant(supervisor) {
        let others: Vec<At> = (layout.places[parent].children.iter().copied())
            .filter(|&other| other != at && layout.places[other].is_significant(supervisor))
            .filter(|_| supervisor.auto_shutdown == AutoShutdown::AllSignificant)
            .collect();
        let rule = "the end of a significant child that is not restarted ends its supervisor";
        line(layout, place, &others, &layout.places[parent], ("auto_shutdown", rule), options, unit);
    }
    if let What::Worker(worker) = place.what
        && worker.essential
    {
        let rule = "its final end stops the tree";
        line(layout, place, &[], &layout.places[0], ("essential", rule), options, unit);
    }
}

fn line(
    layout: &Layout<'_>,
    place: &Place<'_>,
    others: &[At],
    ended: &Place<'_>,
    (key, rule): (&'static str, &'static str),
    options: &Options,
    unit: &mut Unit,
) {
    let ctl = systemctl(options);
    let own = if place.unit.contains("@.") { "%n".to_owned() } else { escape::shell(&place.unit) };
    let mut script = format!("case $({ctl} show -P Job {own}) in \"\"|0) ;; *) exit;; esac; ");
    script.push_str(&is_final(place));
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(|&at| escape::shell(&layout.places[at].unit)).collect();
        script.push_str(&format!(
            "for s in $({ctl} show -P ActiveState {}); do case $s in active|activating|reloading) exit;; esac; done; ",
            others.join(" ")
        ));
    }
    let abort = escape::shell(&format!("{}-abort.service", ended.stem));
    script.push_str(&format!("{ctl} --no-block start {abort}"));
    let command = escape::command("+", &["/bin/sh", "-c", &script]);
    unit.set(Section::Service, "ExecStopPost", command, key, rule);
}

/// Leaves the script unless the end is one after which the child is not restarted.
fn is_final(place: &Place<'_>) -> String {
    let none = Ends::default();
    let ends = match place.what {
        What::Worker(worker) | What::Template(worker) => &worker.ends,
        What::Supervisor(_) => &none,
    };
    let pattern = |result: &str, status: Status| match status {
        Status::Code(code) => format!("{result}:exited:{code}"),
        Status::Signal(_) => format!("{result}:killed:{}", written(status).trim_start_matches("SIG")),
    };
    let any = |result: &str, statuses: &[Status]| -> Option<String> {
        let all: Vec<String> = statuses.iter().map(|status| pattern(result, *status)).collect();
        (!all.is_empty()).then(|| all.join("|"))
    };
    let mut arms = Vec::new();
    arms.extend(any("*", &ends.prevent).map(|pattern| format!("{pattern}) ;;")));
    arms.extend(any("*", &ends.force).map(|pattern| format!("{pattern}) exit;;")));
    match place.child.map(|child| child.restart) {
        Some(Restart::Temporary) => return String::new(),
        Some(Restart::Transient) => {
            // A signal that we would stop it by is a success for systemd too.
            let ours = [libc::SIGKILL, ends.stop_signal].into_iter().filter(|signal| *signal > 0);
            let crashes: Vec<Status> = (CLEAN.into_iter().chain(ours).map(Status::Signal))
                .filter(|status| !ends.success.contains(status) && !matches!(place.what, What::Supervisor(_)))
                .collect();
            arms.extend(any("*", &crashes).map(|pattern| format!("{pattern}) exit;;")));
            arms.push("success:*) ;;".into());
        }
        Some(Restart::Permanent) | None => {}
    }
    arms.push("*) exit;;".into());
    format!("case $SERVICE_RESULT:$EXIT_CODE:$EXIT_STATUS in {} esac; ", arms.join(" "))
}
