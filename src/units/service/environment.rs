//! What a process finds in its environment.
//!
//! A secret (a variable that comes from an `environment_file`) spelled into a unit can be read by everybody: in the file,
//! and over D-Bus.

use super::Writer;
use crate::tree::WorkerPlan;
use crate::units::{Deviation, Unit, escape};

/// Whether values from an `environment_file` are spelled into it: such a file is nobody's business but root's.
pub fn holds_secrets(unit: &Unit) -> bool {
    unit.lines.iter().any(|line| line.key == "Environment" && line.why.key == "environment_file")
}

impl Writer<'_> {
    pub(super) fn environment(&mut self) {
        let plan = self.plan;
        let own = escape::word(&format!("WOODWARD_PATH={}", plan.path));
        self.set("Environment", own, "", "A service can know its path.");
        for (name, value) in plan.environment.iter().filter(|(name, value)| escape::is_variable(name, value))
        {
            let key = if plan.secret_names.contains(name) { "environment_file" } else { "environment" };
            let line = escape::word(&format!("{name}={value}"));
            self.set("Environment", line, key, "A variable, word for word.");
        }
        if !plan.secret_names.is_empty() {
            let names = plan.secret_names.join(", ");
            self.deviates(
                Deviation::SecretInUnit,
                format!("{names}: from an `environment_file` into the unit"),
            );
        }
        if let Some(path) = plan.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path) {
            let directories = escape::colons(path);
            if !directories.is_empty() {
                let rule = "Programs without a slash are found where the child's PATH says.";
                self.set("ExecSearchPath", directories, "environment", rule);
            }
        }
        if mentions_generation(plan) {
            let text =
                "WOODWARD_GENERATION is not set: systemd numbers no starts; INVOCATION_ID tells them apart";
            self.deviates(Deviation::NoGeneration, text);
        }
    }

    /// Known at run time only.
    pub(super) fn is_from_file(&self, _name: &str) -> bool {
        false
    }
}

fn mentions_generation(plan: &WorkerPlan) -> bool {
    let hooks = plan.before_start.iter().chain(&plan.after_ready).chain(&plan.after_stop);
    let commands = hooks.chain([&plan.command]).chain(&plan.command_on_restart).chain(&plan.stop.command);
    commands.flatten().any(|word| word.contains("WOODWARD_GENERATION"))
}
