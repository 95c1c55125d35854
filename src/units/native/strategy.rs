//! Who goes down and up with whom, by `PartOf=`.
//!
//! `PartOf=` follows a stop and an automatic restart, in one transaction, but not through a unit that is down. So a unit
//! names *every* supervisor above it, and every sibling whose crash restarts it: under `rest_for_one` the elder ones,
//! under `one_for_all` all. A temporary sibling restarts nobody.
//!
//! Who is down is not restarted by `PartOf=`. A transient child that has ended starts again with its group: it has a
//! target beside it that stays up, restarts with the group, and wants the child. A temporary one goes down with its
//! group and stays down: it does not start while the mark of a restart is there, which the meter writes.

use woodward_engine::spec::Restart;

use super::layout::{At, Layout, Place};
use crate::units::{Section, Unit};

/// Writes with whom a place goes down and up.
pub fn lines(layout: &Layout<'_>, at: At, unit: &mut Unit) {
    let place = &layout.places[at];
    let drags = layout.drags(at);
    if place.parent.is_none() {
        return;
    }
    part_of(layout, place, &drags, unit);
}

fn part_of(layout: &Layout<'_>, place: &Place<'_>, drags: &[At], unit: &mut Unit) {
    let mut above = Vec::new();
    for (depth, &ancestor) in place.ancestors.iter().enumerate() {
        let ancestor = &layout.places[ancestor];
        above.push(ancestor.unit.clone());
        // By its target a supervisor that gives up stops what is left below, in one transaction.
        above.extend((depth > 0).then(|| format!("{}.target", ancestor.stem)));
    }
    let rule = "a child goes down and up with every supervisor above it";
    unit.set(Section::Unit, "PartOf", above.join(" "), "", rule);
    if !drags.is_empty() {
        let siblings = layout.units(drags.iter().copied());
        unit.set(
            Section::Unit,
            "PartOf",
            siblings,
            "strategy",
            "it goes down and up with the siblings whose crash restarts it",
        );
    }
}

/// The target that starts an ended transient child again with its group, if it has a group.
pub fn again(layout: &Layout<'_>, at: At) -> Option<Unit> {
    let place = &layout.places[at];
    let drags = layout.drags(at);
    if !place.is(Restart::Transient) || drags.is_empty() {
        return None;
    }
    let mut unit = Unit::new(format!("{}-again.target", place.stem), place.path.clone());
    unit.set(
        Section::Unit,
        "Description",
        format!("{}: started again with its group", place.path),
        "",
        "who reads the journal",
    );
    part_of(layout, place, &drags, &mut unit);
    unit.set(
        Section::Unit,
        "Wants",
        place.unit.clone(),
        "restart",
        "a transient child that has ended starts again when its group restarts",
    );
    Some(unit)
}
