//! Order of start and stop, by `After=`.
//!
//! `After=` orders the jobs of one transaction, and not through a unit that has no job in it. So a unit names *every*
//! unit that it starts behind, not the next one: its anchor and those above, and with each of them and itself the elder
//! siblings with all below them. By dependencies the elder siblings are those it is `after`, directly or not. The stop
//! is the reverse.

use woodward_engine::spec::{Order, Strategy};

use super::layout::{At, Layout, What};
use crate::units::{Section, Unit};

/// Writes the order of a place.
pub fn lines(layout: &Layout<'_>, at: At, unit: &mut Unit) {
    let before = earlier(layout, at);
    if !before.is_empty() {
        let (key, rule) = match layout.above(at).map(|(_, supervisor)| supervisor.order) {
            Some(Order::Dependencies) => (
                "after",
                "by dependencies: behind what it is after, with all below, and behind what its supervisor is behind",
            ),
            _ => ("", "one after the other, in the order of the tree; the stop is the reverse"),
        };
        unit.set(Section::Unit, "After", layout.units(before), key, rule);
    }
    if layout.is_template(at) {
        let later = later(layout, at);
        if !later.is_empty() {
            unit.set(
                Section::Unit,
                "Before",
                layout.units(later),
                "",
                "instances have no names beforehand, so they say themselves who is behind them",
            );
        }
    }
}

/// Everything that starts before a place, in start order. Templates are no units and left out.
fn earlier(layout: &Layout<'_>, at: At) -> Vec<At> {
    let place = &layout.places[at];
    let mut found = Vec::new();
    for &step in place.ancestors.iter().chain([&at]) {
        for elder in layout.elders(step) {
            found.extend(layout.places[elder].range.clone());
        }
        if step != at {
            found.push(step);
        }
    }
    found.retain(|&at| !layout.is_template(at));
    found
}

/// The workers that a place cannot do without: below siblings of itself and of those above it, by dependencies those it
/// is after, by list, under `rest_for_one` and `one_for_all`, those before it. The rule of the engine's `relies_on`.
pub fn relied(layout: &Layout<'_>, at: At) -> Vec<At> {
    let mut found = Vec::new();
    for &step in layout.places[at].ancestors.iter().chain([&at]) {
        let relies = layout.above(step).is_some_and(|(_, above)| match above.order {
            Order::Dependencies => true,
            Order::Listed => matches!(above.strategy, Strategy::RestForOne | Strategy::OneForAll),
        });
        for elder in layout.elders(step).into_iter().filter(|_| relies) {
            found.extend(layout.places[elder].range.clone());
        }
    }
    found.retain(|&at| matches!(layout.places[at].what, What::Worker(_)));
    found
}

/// Everything that starts behind a place.
fn later(layout: &Layout<'_>, at: At) -> Vec<At> {
    let place = &layout.places[at];
    let mut found = Vec::new();
    for &step in &place.ancestors {
        let Some((parent, _)) = layout.above(step) else { continue };
        for &sibling in &layout.places[parent].children {
            if layout.elders(sibling).contains(&step) {
                found.extend(layout.places[sibling].range.clone());
            }
        }
    }
    found.retain(|&at| !layout.is_template(at));
    found.sort_unstable();
    found
}
