//! Plain units: a service per worker, an anchor per supervisor, and nothing of ours that decides at run time.
//!
//! ```text
//! layout      where every child stands
//! order       After=, ….target          who starts behind whom
//! strategy    PartOf=                   who goes down and up with whom
//! meter       …-meter, …-abort, …-retry intensity, period, exhausted, limit, retry_after
//! delay       …-delay                   backoff
//! ends        ExecStopPost=             auto_shutdown, essential
//! boot        ExecStopPost=             initial_start
//! supervisor  the anchor                an incarnation
//! worker      Restart=                  restart types and ends
//! ```
//!
//! What a service runs, and when it is ready, is written by `service` and `readiness`.

mod boot;
mod delay;
mod deviates;
mod ends;
mod layout;
mod line;
mod meter;
mod order;
mod strategy;
mod supervisor;
#[cfg(test)]
mod tests;
mod worker;

pub use boot::UP;

use super::{Error, Options, Rendering, Unit, slices, sockets, template};
use crate::tree::Plan;
use layout::{At, Layout, What};

/// The units of a tree.
pub fn render(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    let layout = Layout::of(plan, options);
    let mut rendering = Rendering::default();
    for at in 0..layout.places.len() {
        place(plan, options, &layout, at, &mut rendering);
    }
    rendering.units.extend(slices::units(plan, options));
    Ok(rendering)
}

/// The units of a place: its own first, then those beside it.
fn place(plan: &Plan, options: &Options, layout: &Layout<'_>, at: At, rendering: &mut Rendering) {
    let place = &layout.places[at];
    let (mut unit, beside) = match place.what {
        What::Supervisor(supervisor) => {
            let anchor = supervisor::anchor(layout, at, supervisor, options);
            let mut beside = meter::of_supervisor(layout, at, supervisor, options);
            beside.extend(order::targets(layout, at, options));
            (anchor, beside)
        }
        What::Worker(worker) | What::Template(worker) => {
            let mut unit = Unit::new(place.unit.clone(), place.path.clone());
            let (Some(child), Some(described)) = (place.child, plan.workers.get(worker.key.0 as usize))
            else {
                return;
            };
            let pool = matches!(place.what, What::Template(_));
            let template = pool.then(|| template::argument(described, &mut rendering.deviations));
            let described = template.as_ref().unwrap_or(described);
            let lazily = sockets::restarted(described, child);
            worker::lines(&lazily, worker, &mut unit);
            super::service::lines(&mut unit, described, child, options, &mut rendering.deviations);
            super::readiness::lines(&mut unit, described, child, options, &mut rendering.deviations);
            super::readiness::relies(&mut unit, described, &layout.units(order::relied(layout, at)));
            template::fill(&mut unit);
            let root = &layout.places[0].unit;
            let mut beside = sockets::units(&mut unit, described, root, options, &mut rendering.deviations);
            if let (true, Some(parent)) = (described.lazy, place.parent) {
                let parent = &layout.places[parent].unit;
                for anchor in rendering.units.iter_mut().filter(|unit| unit.name == *parent) {
                    sockets::want(anchor, &beside);
                }
            }
            let own = worker.limit.as_ref();
            beside.extend(own.map(|limit| meter::of_limit(layout, at, limit, options)).unwrap_or_default());
            (unit, beside)
        }
    };
    rendering.deviations.extend(deviates::of(layout, at, options));
    order::lines(layout, at, &mut unit);
    meter::of_child(layout, at, options, &mut unit);
    delay::of_child(layout, at, &mut unit);
    strategy::lines(layout, at, &mut unit);
    ends::lines(layout, at, options, &mut unit);
    boot::lines(layout, at, options, &mut unit);
    rendering.units.push(unit);
    rendering.units.extend(strategy::again(layout, at));
    rendering.units.extend(beside);
    rendering.units.extend(delay::units(layout, at, options));
}
