//! A supervisor: its anchor, a process that does nothing and stands for it.
//!
//! The anchor's start is the beginning of an incarnation, its end the supervisor's end: `Restart=` says what becomes of
//! it, and its automatic restart is followed by everything below. It wants its children, so that all of them start,
//! those too that had ended.

use woodward_engine::spec::{Exhausted, Restart, Strategy, Supervisor};

use super::layout::{At, Layout};
use super::{line, worker};
use crate::units::{Options, Scope, Section, Unit, slices};

/// The anchor of a supervisor; order, strategy and meter of the supervisor above are others' to write.
pub fn anchor(layout: &Layout<'_>, at: At, supervisor: &Supervisor, options: &Options) -> Unit {
    let place = &layout.places[at];
    let mut unit = Unit::new(place.unit.clone(), place.path.clone());
    line::description(&mut unit, place.description.unwrap_or(&place.path), options);
    let wanted: Vec<At> = place
        .children
        .iter()
        .copied()
        .filter(|&child| !layout.is_template(child) && !layout.places[child].lazy)
        .collect();
    if !wanted.is_empty() {
        let children = layout.units(wanted);
        unit.set(Section::Unit, "Wants", children, "", "a supervisor starts all its children");
    }
    let rule = "what stands for its children in the order is up as long as it is";
    unit.set(Section::Unit, "Wants", super::order::names(layout, at), "", rule);
    for &child in &place.children {
        if let Some(target) = super::strategy::again(layout, child) {
            let rule = "what starts ended transient children again is up as long as their supervisor";
            unit.set(Section::Unit, "Wants", target.name, "restart", rule);
        }
    }
    if supervisor.strategy == Strategy::SimpleOneForOne {
        let meter = format!("{}-meter.service", place.stem);
        let rule = "its first run says that instances of the last incarnation do not come back";
        unit.set(Section::Unit, "Wants", meter, "strategy", rule);
    }
    unit.set(Section::Service, "Type", "exec", "", "up when its process is there");
    unit.set(
        Section::Service,
        "ExecStart",
        "/usr/bin/sleep infinity",
        "",
        "a process that stands for the supervisor",
    );
    unit.set(Section::Service, "Slice", slices::name(&place.path, options), "", "its control group");
    unit.set(
        Section::Service,
        "RuntimeDirectory",
        place.state_below_run(),
        "intensity",
        "counts and marks of this incarnation, gone with it",
    );
    worker::restart(place.child.map_or(Restart::Permanent, |child| child.restart), &mut unit);
    if supervisor.exhausted == Exhausted::Park && place.parent.is_some() {
        let rule = "parked: not started again when it has given up";
        unit.set(Section::Service, "RestartPreventExitStatus", "SIGUSR1", "exhausted", rule);
    }
    if place.parent.is_none() {
        let target = match options.scope {
            Scope::System => "multi-user.target",
            Scope::User => "default.target",
        };
        unit.set(Section::Install, "WantedBy", target, "", "enabled, the tree starts at boot");
    }
    unit
}
