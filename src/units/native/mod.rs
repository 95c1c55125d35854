//! Plain units: a service per worker, an anchor per supervisor, and nothing of ours that decides at run time.
//!
//! ```text
//! layout      where every child stands
//! order       After=                    who starts behind whom
//! strategy    PartOf=                   who goes down and up with whom
//! meter       …-meter, …-abort          intensity, period, exhausted
//! supervisor  the anchor                an incarnation
//! worker      Restart=                  restart types and ends
//! ```
//!
//! What a service runs, and when it is ready, is written by `service` and `readiness`.

mod deviates;
mod layout;
mod line;
mod meter;
mod order;
mod strategy;
mod supervisor;
mod worker;

use super::{Error, Options, Rendering, Unit};
use crate::tree::Plan;
use layout::{At, Layout, What};

/// The units of a tree.
pub fn render(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    let layout = Layout::of(plan, options);
    let mut rendering = Rendering::default();
    for at in 0..layout.places.len() {
        place(plan, options, &layout, at, &mut rendering);
    }
    Ok(rendering)
}

/// The units of a place: its own first, then those beside it.
fn place(plan: &Plan, options: &Options, layout: &Layout<'_>, at: At, rendering: &mut Rendering) {
    let place = &layout.places[at];
    let (mut unit, beside) = match place.what {
        What::Supervisor(supervisor) => {
            let anchor = supervisor::anchor(layout, at, supervisor, options);
            (anchor, meter::units(layout, at, supervisor, options))
        }
        What::Worker(worker) | What::Template(worker) => {
            let mut unit = Unit::new(place.unit.clone(), place.path.clone());
            let (Some(child), Some(described)) = (place.child, plan.workers.get(worker.key.0 as usize))
            else {
                return;
            };
            worker::lines(child, worker, &mut unit);
            super::service::lines(&mut unit, described, child, options, &mut rendering.deviations);
            super::readiness::lines(&mut unit, described, child, options, &mut rendering.deviations);
            (unit, Vec::new())
        }
    };
    rendering.deviations.extend(deviates::of(layout, at));
    order::lines(layout, at, &mut unit);
    meter::of_child(layout, at, &mut unit);
    strategy::lines(layout, at, &mut unit);
    rendering.units.push(unit);
    rendering.units.extend(strategy::again(layout, at));
    rendering.units.extend(beside);
}
