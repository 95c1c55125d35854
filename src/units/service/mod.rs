//! Everything about the process of a worker.

use woodward_engine::spec::Child;

use super::{Deviates, Options, Section, Unit, escape};
use crate::tree::WorkerPlan;

/// Writes what is run.
pub fn lines(unit: &mut Unit, plan: &WorkerPlan, _: &Child, _: &Options, _: &mut Vec<Deviates>) {
    let command = escape::command("", &plan.command);
    unit.set(Section::Service, "ExecStart", command, "command", "what is run");
}
