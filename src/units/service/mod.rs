//! Everything about one process, as lines of its unit: what is executed, as whom, with what, and how it is stopped.
//!
//! | file | keys of the tree |
//! |---|---|
//! | `command.rs` | `command`, `command_on_restart`, `directories`, hooks, `stop`, `shutdown`, `reload` |
//! | `identity.rs` | `user` ... `limits`, `working_directory` |
//! | `environment.rs` | `environment`, `environment_file`, `pass_environment` |
//! | `streams.rs` | `stdin`, `output`, `log_rate_limit`; fields of the journal |
//! | `limits.rs` | `memory_max` ... `harden` |
//!
//! The rules of supervision (`Restart=`, `After=`, ...) are written by [`super::native`], readiness and health by
//! `readiness`. What is not said in a tree is systemd's default, with four exceptions, where woodward's is another one
//! and a line says so: SIGPIPE is not ignored, tasks are not limited, lines of output are not limited, and a process
//! killed for memory does not take its siblings of the same service along.

mod command;
mod environment;
mod identity;
mod limits;
mod streams;
#[cfg(test)]
mod tests;

use woodward_engine::spec;

use super::{Deviates, Deviation, Options, Scope, Section, Unit, escape, slices};
use crate::tree::WorkerPlan;

pub use environment::holds_secrets;

/// One worker while its unit is written.
struct Writer<'w> {
    unit: &'w mut Unit,
    plan: &'w WorkerPlan,
    child: &'w spec::Child,
    options: &'w Options,
    deviations: &'w mut Vec<Deviates>,
}

/// Everything about the process of a worker. [`super::readiness::lines`] follow.
pub fn lines(
    unit: &mut Unit,
    plan: &WorkerPlan,
    child: &spec::Child,
    options: &Options,
    deviations: &mut Vec<Deviates>,
) {
    let mut writer = Writer { unit, plan, child, options, deviations };
    writer.about();
    writer.command();
    writer.stop();
    writer.identity();
    writer.environment();
    writer.streams();
    writer.resources();
    writer.sandbox();
}

impl Writer<'_> {
    fn set(
        &mut self,
        key: &'static str,
        value: impl Into<String>,
        tree_key: &'static str,
        rule: &'static str,
    ) {
        self.unit.set(Section::Service, key, value, tree_key, rule);
    }

    fn deviates(&mut self, deviation: Deviation, text: impl Into<String>) {
        let path = self.plan.path.clone();
        self.deviations.push(Deviates { deviation, path, text: text.into() });
    }

    /// The manager of a user cannot do it: said, and left out.
    fn not_for_users(&mut self, key: &str) -> bool {
        let user = self.options.scope == Scope::User;
        if user {
            self.deviates(
                Deviation::UserManager,
                format!("`{key}` is left out: a user's manager may not do it"),
            );
        }
        user
    }

    /// The unit's name without its ending.
    fn stem(&self) -> &str {
        let name = self.unit.name.as_str();
        name.strip_suffix(".service").unwrap_or(name).trim_end_matches('@')
    }

    fn about(&mut self) {
        let plan = self.plan;
        let text =
            plan.description.as_ref().map_or_else(|| plan.path.clone(), |d| format!("{}: {d}", plan.path));
        let rule = "What people read in systemctl and in the journal.";
        self.unit.set(Section::Unit, "Description", escape::text(&text), "description", rule);
        let source = &self.options.source;
        if source.is_absolute() {
            let source = source.display().to_string();
            let file = escape::address(&source);
            let rule = "systemctl help shows the tree.";
            self.unit.set(Section::Unit, "Documentation", file, "", rule);
            let rule = "systemctl tells of a tree file that has changed.";
            self.unit.set(Section::Unit, "SourcePath", escape::specifiers(&source), "", rule);
        }
        let slice = slices::of_worker(&plan.path, self.options);
        self.set("Slice", escape::specifiers(&slice), "", "The control group of its supervisor.");
    }
}
