//! `unit`: an existing unit of systemd in the place of a command.
//!
//! Its process is not ours. What stands for it is one of our own, `attend`, which has systemd start and stop the unit,
//! is ready when that has started it, and ends as its main process does; so that the engine and the keeper see a child
//! like any other. Who the unit runs as, with what and where, is said in its own file.

use super::settings::Settings;
use super::value::Table;
use super::variables::Variables;

/// This program, for a child that is one of our own processes: what the keeper is.
pub const OWN: &str = "/proc/self/exe";
/// The verb.
pub const VERB: &str = "attend";

/// What is started for a unit.
pub fn command(unit: &str) -> Vec<String> {
    [OWN, VERB, unit].map(str::to_owned).to_vec()
}

/// What runs last: nothing of the unit is left after it, whatever became of the process that stood for it.
pub fn end(unit: &str) -> Vec<String> {
    [OWN, VERB, "--end", unit].map(str::to_owned).to_vec()
}

/// Keys that say how a process is started; they belong into the file of the unit.
const IN_ITS_FILE: &[&str] = &[
    "command_on_restart",
    "user",
    "group",
    "supplementary_groups",
    "umask",
    "nice",
    "oom_score_adjust",
    "limits",
    "working_directory",
    "directories",
    "stdin",
    "environment",
    "environment_file",
    "pass_environment",
    "output",
    "log_rate_limit",
    "listen",
    "memory_max",
    "memory_high",
    "cpu_weight",
    "cpu_quota",
    "tasks_max",
    "io_weight",
    "no_new_privileges",
    "capabilities",
    "private_tmp",
    "read_only_paths",
    "harden",
    "stop",
];

/// What holds for a worker that is a unit. `own` is what stands at the worker itself.
pub fn check(vars: &mut Variables, own: &Table, settings: &Settings, path: &str) {
    let Some(entry) = own.entry("unit") else { return };
    if let Some(command) = own.entry("command") {
        let message = format!("{path} has both `command` and `unit`");
        vars.report.error(command.key_span, message).hint("a unit brings its own command");
    }
    if let Some(why) = settings.text("unit").and_then(|unit| wrong(&unit)) {
        let hint = "the whole name of a service: \"nginx.service\", \"getty@tty1.service\"";
        vars.report.error(entry.value.span, format!("{path}: {why}")).hint(hint);
    }
    for key in IN_ITS_FILE {
        if let Some(entry) = own.entry(key) {
            let message = format!("{path}: `{key}` does not apply to a unit");
            vars.report.error(entry.key_span, message).hint("it belongs into the file of the unit");
        }
    }
    for (table, key) in [("ready", "fd"), ("ready", "log"), ("health", "watchdog")] {
        if let Some(entry) = own.get(table).and_then(|value| value.table()?.entry(key)) {
            let message = format!("{path}: `{table}.{key}` does not apply to a unit");
            vars.report.error(entry.key_span, message).hint("systemd has the descriptors of its process");
        }
    }
}

/// What is wrong with a name, if anything is (`systemd.unit(5)`).
fn wrong(unit: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let Some(stem) = unit.strip_suffix(".service").filter(|stem| !stem.is_empty()) else {
        return Some(format!("{unit:?} is no service"));
    };
    match stem {
        _ if !stem.chars().all(allowed) || unit.len() > 255 => Some(format!("{unit:?} is no name of a unit")),
        _ if stem.ends_with('@') => Some(format!("{unit:?} is a template, which runs only as an instance")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_services() {
        for good in ["nginx.service", "getty@tty1.service", "a\\x2db.service"] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for bad in ["nginx", ".service", "a b.service", "x.target", "getty@.service", "a/b.service"] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
    }
}
