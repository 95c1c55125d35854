//! What a process finds in its environment.
//!
//! What comes from an `environment_file` is a secret until somebody says otherwise: a value in a unit can be read by
//! everybody, in the file and over D-Bus. So it stays in its file, which systemd reads at each start
//! (`EnvironmentFile=`). systemd lets files win over `Environment=`; what the tree sets otherwise is set by `env` in
//! front of the command. A file that systemd would read differently (escapes, `env -0`) is spelled out after all, which
//! is a deviation.

use super::Writer;
use crate::tree::{Passes, WorkerPlan};
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
        let files = reads_files(plan);
        for (name, value) in plan.environment.iter().filter(|(name, value)| escape::is_variable(name, value))
        {
            let secret = plan.secret_names.contains(name);
            if secret && files {
                continue;
            }
            let key = if secret { "environment_file" } else { "environment" };
            let line = escape::word(&format!("{name}={value}"));
            self.set("Environment", line, key, "A variable, word for word.");
        }
        if files {
            for file in &plan.environment_files {
                let path = self.absolute(&file.path);
                let may_miss = if file.may_miss { "-" } else { "" };
                let rule = "Its values stay in it: what is in a unit can be read by everybody.";
                self.set("EnvironmentFile", format!("{may_miss}{path}"), "environment_file", rule);
            }
            let table = plan.environment.iter().any(|(name, _)| !plan.secret_names.contains(name));
            for file in plan.environment_files.iter().filter(|file| !file.there && table) {
                let text = format!("what {} will say goes over `environment`", file.path.display());
                self.deviates(Deviation::FileWins, text);
            }
        } else if !plan.secret_names.is_empty() {
            let names = plan.secret_names.join(", ");
            self.deviates(
                Deviation::SecretInUnit,
                format!("{names}: systemd would read the file differently"),
            );
        }
        match &plan.passes {
            Passes::All => {}
            Passes::None => {
                let rule = "Nothing of the manager's own environment.";
                let of_manager = ["PATH", "LANG"];
                let given = |name: &&&str| plan.environment.iter().any(|(given, _)| given == *name);
                let names: Vec<&str> = of_manager.iter().filter(|name| !given(name)).copied().collect();
                // A file may bring them at run time.
                if !names.is_empty() && plan.environment_files.is_empty() {
                    self.set("UnsetEnvironment", names.join(" "), "pass_environment", rule);
                }
                let text = "variables of systemd itself stay: INVOCATION_ID, JOURNAL_STREAM, ...";
                self.deviates(Deviation::OwnVariables, format!("`pass_environment = false`: {text}"));
            }
            Passes::Names(names) => {
                let fitting = names.iter().map(String::as_str).filter(|name| escape::is_variable(name, ""));
                let fitting = escape::words(fitting);
                if !fitting.is_empty() {
                    let rule = "These of the manager's own environment.";
                    self.set("PassEnvironment", fitting, "pass_environment", rule);
                }
                let text = "systemd passes PATH and LANG and variables of its own besides";
                self.deviates(Deviation::OwnVariables, format!("`pass_environment`: {text}"));
            }
        }
        if let Some(path) = plan.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path) {
            let directories = escape::colons(path);
            if !directories.is_empty() && !self.searches_by_env() {
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

    /// `PATH` is known at run time only.
    pub(super) fn searches_by_env(&self) -> bool {
        let plan = self.plan;
        let known = plan.environment.iter().any(|(name, _)| name == "PATH");
        let secret = plan.secret_names.iter().any(|name| name == "PATH");
        reads_files(plan) && (secret || (!known && plan.environment_files.iter().any(|file| !file.there)))
    }

    /// Variables that only `env` can set: systemd does not take the name, or lets a file win.
    pub(super) fn odd_variables(&self) -> Vec<(&str, &str)> {
        let plan = self.plan;
        let files = reads_files(plan);
        let odd = |(name, value): &(&str, &str)| {
            let lost =
                |name: &str| plan.environment_files.iter().any(|f| f.overridden.iter().any(|o| o == name));
            !escape::is_variable(name, value) || (files && lost(name))
        };
        plan.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(odd).collect()
    }
}

/// systemd can read the files itself.
fn reads_files(plan: &WorkerPlan) -> bool {
    !plan.environment_files.is_empty() && plan.environment_files.iter().all(|file| file.plain)
}

fn mentions_generation(plan: &WorkerPlan) -> bool {
    let hooks = plan.before_start.iter().chain(&plan.after_ready).chain(&plan.after_stop);
    let commands = hooks.chain([&plan.command]).chain(&plan.command_on_restart).chain(&plan.stop.command);
    commands.flatten().any(|word| word.contains("WOODWARD_GENERATION"))
}
