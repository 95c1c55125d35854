//! Order of start and stop, by `After=`.
//!
//! `After=` orders the jobs of one transaction, and not through a unit that has no job in it: between a, b and c in a
//! row, nothing orders a and c while b is down. So a unit names *every* unit it starts behind, not the next one: its
//! anchor and those above, and with each of them and itself the elder siblings; by dependencies, those it is `after`,
//! directly or not. The stop is the reverse.
//!
//! Two kinds of targets keep that short. They have no process, are up as long as their supervisor, and restart with
//! whatever restarts what they stand for, so that they have a job whenever it matters:
//!
//! * the target of a supervisor is behind everything below it: to be behind a supervisor is to be behind anchor and
//!   target, whatever there is below;
//! * in a long list, one after every [`ROW`] children is behind them and the one before: a child names those of its row
//!   and the target before.

use woodward_engine::spec::{Order, Strategy};

use super::layout::{At, Layout, What};
use super::line;
use crate::units::{Options, Section, Unit};

/// So many children of a list know each other by name.
const ROW: usize = 32;

/// Writes the order of a place.
pub fn lines(layout: &Layout<'_>, at: At, unit: &mut Unit) {
    let place = &layout.places[at];
    let mut before = Vec::new();
    for &step in place.ancestors.iter().chain([&at]) {
        before.extend(elders(layout, step));
        if step != at {
            before.push(layout.places[step].unit.clone());
        }
    }
    if !before.is_empty() {
        let (key, rule) = match layout.above(at).map(|(_, supervisor)| supervisor.order) {
            Some(Order::Dependencies) => (
                "after",
                "behind what it is after, directly or not, and behind what its supervisor is behind",
            ),
            _ => ("", "one after the other, in the order of the tree; the stop is the reverse"),
        };
        unit.set(Section::Unit, "After", before.join(" "), key, rule);
    }
    if layout.is_template(at) {
        let later = later(layout, at);
        if !later.is_empty() {
            let rule = "instances have no names beforehand, so they say themselves who is behind them";
            unit.set(Section::Unit, "Before", layout.units(later), "", rule);
        }
    }
}

/// The targets of a supervisor.
pub fn targets(layout: &Layout<'_>, at: At, options: &Options) -> Vec<Unit> {
    let place = &layout.places[at];
    let What::Supervisor(supervisor) = place.what else { return Vec::new() };
    let mut units = Vec::new();
    let mut above = place.ancestors.clone();
    above.push(at);
    let rows: Vec<&[At]> = rows(layout, at).collect();
    for (n, row) in rows.iter().enumerate().take(rows.len().saturating_sub(1)) {
        let Some(&first) = row.first() else { continue };
        let Some(&next) = rows[n + 1].first() else { continue };
        let mut unit =
            target(layout, at, &row_name(layout, at, n), "a part of its list has started", options);
        let mut behind = elders(layout, first);
        behind.extend(row.iter().flat_map(|&child| whole(layout, child)));
        let rule = "behind a row of the list, and the row before";
        unit.set(Section::Unit, "After", behind.join(" "), "", rule);
        let mut drags = layout.drags(next);
        if supervisor.strategy == Strategy::OneForAll {
            drags.push(next);
        }
        part_of(layout, &above, &drags, &mut unit);
        units.push(unit);
    }
    let name = format!("{}.target", place.stem);
    let mut unit = target(layout, at, &name, "all below it has started", options);
    let mut behind = vec![place.unit.clone()];
    match rows.split_last() {
        Some((last, before)) if supervisor.order == Order::Listed => {
            behind.extend((0..before.len()).map(|n| row_name(layout, at, n)));
            behind.extend(last.iter().flat_map(|&child| whole(layout, child)));
        }
        _ => behind.extend(place.children.iter().flat_map(|&child| whole(layout, child))),
    }
    unit.set(Section::Unit, "After", behind.join(" "), "", "behind everything below the supervisor");
    part_of(layout, &above, &[], &mut unit);
    units.push(unit);
    units
}

fn target(layout: &Layout<'_>, at: At, name: &str, text: &str, options: &Options) -> Unit {
    let path = &layout.places[at].path;
    let mut unit = Unit::new(name, path.clone());
    line::description(&mut unit, &format!("{path}: {text}"), options);
    unit
}

fn part_of(layout: &Layout<'_>, above: &[At], drags: &[At], unit: &mut Unit) {
    let rule = "it has a job whenever what it stands for has one";
    unit.set(Section::Unit, "PartOf", layout.units(above.iter().copied()), "", rule);
    if !drags.is_empty() {
        unit.set(Section::Unit, "PartOf", layout.units(drags.iter().copied()), "strategy", rule);
    }
}

/// The elder siblings of a place, as short as it can be said.
fn elders(layout: &Layout<'_>, at: At) -> Vec<String> {
    let Some((parent, supervisor)) = layout.above(at) else { return Vec::new() };
    if supervisor.order == Order::Dependencies {
        return layout.elders(at).into_iter().flat_map(|elder| whole(layout, elder)).collect();
    }
    let siblings = &layout.places[parent].children;
    let nth = layout.places[at].nth;
    let row = nth / ROW;
    let before = (row > 0).then(|| row_name(layout, parent, row - 1));
    let named = siblings[row * ROW..nth].iter().flat_map(|&elder| whole(layout, elder));
    before.into_iter().chain(named).collect()
}

/// A place with all below it. Templates are no units.
fn whole(layout: &Layout<'_>, at: At) -> Vec<String> {
    let place = &layout.places[at];
    match place.what {
        What::Supervisor(_) => vec![place.unit.clone(), format!("{}.target", place.stem)],
        What::Worker(_) => vec![place.unit.clone()],
        What::Template(_) => Vec::new(),
    }
}

/// The rows of a list; by dependencies there is one.
fn rows<'l>(layout: &'l Layout<'_>, at: At) -> impl Iterator<Item = &'l [At]> {
    let children = &layout.places[at].children;
    let listed = matches!(layout.places[at].what, What::Supervisor(s) if s.order == Order::Listed);
    children.chunks(if listed { ROW } else { children.len().max(1) })
}

fn row_name(layout: &Layout<'_>, at: At, n: usize) -> String {
    format!("{}-row{}.target", layout.places[at].stem, n + 1)
}

/// The names of a supervisor's targets.
pub fn names(layout: &Layout<'_>, at: At) -> String {
    let rows = rows(layout, at).count();
    let rows = (0..rows.saturating_sub(1)).map(|n| row_name(layout, at, n));
    rows.chain([format!("{}.target", layout.places[at].stem)]).collect::<Vec<_>>().join(" ")
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
    let mut found = Vec::new();
    for &step in &layout.places[at].ancestors {
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
