//! What the native way says otherwise than the tree because of the tree's shape: the deviations of supervision.

use super::layout::{At, Layout};
use crate::units::{Deviates, Deviation};

/// Those at a place.
pub fn of(layout: &Layout<'_>, at: At) -> Vec<Deviates> {
    stop_takes_along(layout, at).into_iter().collect()
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
