//! What the native way says otherwise than the tree because of the tree's shape: the deviations of supervision.

use woodward_engine::spec::{Exhausted, Shutdown, Supervisor};

use super::layout::{At, Layout, What};
use crate::units::{Deviates, Deviation, Options, Scope, escape};

/// Those at a place.
pub fn of(layout: &Layout<'_>, at: At, options: &Options) -> Vec<Deviates> {
    let mut found = Vec::new();
    let mut says = |deviation, text: String| {
        found.push(Deviates { deviation, path: layout.places[at].path.clone(), text });
    };
    if let What::Supervisor(supervisor) = layout.places[at].what {
        of_supervisor(layout, at, supervisor, &mut says);
        if supervisor.exhausted == Exhausted::Reboot && options.scope == Scope::User {
            says(Deviation::UserManager, "`exhausted`: it stops, and the machine goes on".to_owned());
        }
    }
    if let What::Worker(worker) = layout.places[at].what
        && worker.essential
    {
        says(Deviation::NoExitStatus, "its end stops the tree, its status ends nothing".to_owned());
    }
    if layout.is_template(at) && super::delay::backoff(&layout.places[at]).is_some() {
        says(Deviation::DelayIsFixed, "its instances restart at once".to_owned());
    }
    match layout.above(at) {
        // Of the whole tree it is said once.
        None => {
            let text = "systemctl stop of a child lasts until a supervisor above it starts again";
            says(Deviation::StopDoesNotLast, text.to_owned());
            let text = "systemctl start of a supervisor starts what is down below it, also if it runs itself";
            says(Deviation::StartReachesBelow, text.to_owned());
        }
        // `PartOf=` follows a restart and a stop alike.
        Some(_) => {
            let along = layout.units(layout.dragged(at));
            if !along.is_empty() && has_account(layout, at) {
                let text = format!("the crash that parks it restarts {along} once more");
                says(Deviation::ParkingRestartsTheGroup, text);
            }
            if !along.is_empty() {
                says(Deviation::StopTakesAlong, format!("systemctl stop of it stops {along} too"));
            }
            if parks(layout, at)
                && layout.above(at).is_some_and(|(_, above)| layout.places[at].is_significant(above))
            {
                let text = "once parked, it counts for auto_shutdown as if it still ran";
                says(Deviation::ParkingIsNoEnd, text.to_owned());
            }
            if parks(layout, at) {
                let text = "once parked, it starts again when a supervisor above it does";
                says(Deviation::ParkingDoesNotLast, text.to_owned());
            }
        }
    }
    found
}

fn of_supervisor(
    layout: &Layout<'_>,
    at: At,
    supervisor: &Supervisor,
    says: &mut impl FnMut(Deviation, String),
) {
    let place = &layout.places[at];
    let shutdown = match place.child {
        Some(child) => child.shutdown,
        None => layout.deadline.map_or(Shutdown::Infinity, Shutdown::Time),
    };
    match shutdown {
        Shutdown::Infinity => {}
        Shutdown::BrutalKill => says(Deviation::NoDeadline, "what is below it is asked to stop".to_owned()),
        Shutdown::Time(time) => {
            let text = format!("what is below it may take longer than {} to stop", escape::time(time));
            says(Deviation::NoDeadline, text);
        }
    }
    if supervisor.exhausted == Exhausted::Failover {
        says(Deviation::NoFailover, "it stops here and starts nowhere else".to_owned());
    }
}

/// Whether a place below the root can be parked.
fn parks(layout: &Layout<'_>, at: At) -> bool {
    match layout.places[at].what {
        What::Supervisor(supervisor) => supervisor.exhausted == Exhausted::Park,
        What::Worker(worker) | What::Template(worker) => {
            has_account(layout, at) || !worker.ends.prevent.is_empty()
        }
    }
}

/// Whether a place is parked when its own account is used up.
fn has_account(layout: &Layout<'_>, at: At) -> bool {
    match layout.places[at].what {
        What::Supervisor(_) => false,
        What::Worker(worker) | What::Template(worker) => {
            worker.limit.as_ref().is_some_and(|limit| limit.exhausted == Exhausted::Park)
        }
    }
}
