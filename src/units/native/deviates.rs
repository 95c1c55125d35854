//! What the native way says otherwise than the tree because of the tree's shape: the deviations of supervision.

use super::layout::{At, Layout};
use crate::units::{Deviates, Deviation};

/// Those at a place.
pub fn of(layout: &Layout<'_>, at: At) -> Vec<Deviates> {
    [stop_takes_along(layout, at), stop_does_not_last(layout, at)].into_iter().flatten().collect()
}

/// Said once, of the whole tree.
fn stop_does_not_last(layout: &Layout<'_>, at: At) -> Option<Deviates> {
    let place = &layout.places[at];
    place.parent.is_none().then(|| Deviates {
        deviation: Deviation::StopDoesNotLast,
        path: place.path.clone(),
        text: "systemctl stop of a child lasts until a supervisor above it starts again".to_owned(),
    })
}

/// `PartOf=` follows a restart and a stop alike.
fn stop_takes_along(layout: &Layout<'_>, at: At) -> Option<Deviates> {
    let along = layout.units(layout.dragged(at));
    (!along.is_empty()).then(|| Deviates {
        deviation: Deviation::StopTakesAlong,
        path: layout.places[at].path.clone(),
        text: format!("systemctl stop of it stops {along} too"),
    })
}
