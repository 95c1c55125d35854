//! What a service may use of the machine, and what it may do.

use super::Writer;
use crate::tree::sandbox::CAPABILITIES;
use crate::units::{Scope, escape};

/// What `harden = "strict"` takes away, beside what has keys of its own. The table in `supervisors/README.md` is this
/// list: no more is forbidden in a unit than by woodward itself.
const STRICT: &[(&str, &str, &str)] = &[
    ("ProtectSystem", "strict", "Everything is read-only but its own directories."),
    ("ProtectHome", "read-only", "Homes too."),
    ("ProtectControlGroups", "yes", "Control groups are read-only."),
    ("PrivateDevices", "yes", "Few devices, none of hardware."),
    ("ProtectKernelTunables", "yes", "What sets the kernel is read-only."),
    ("ProtectKernelModules", "yes", "No modules are loaded."),
    ("ProtectKernelLogs", "yes", "The kernel's log is not read."),
    ("ProtectClock", "yes", "Clocks are not set."),
    ("SystemCallArchitectures", "native", "Calls of another architecture end it."),
    (
        "SystemCallFilter",
        "~@clock @module @mount @reboot @swap @debug @raw-io @keyring @obsolete",
        "Calls that change the machine or look into other processes.",
    ),
    ("SystemCallErrorNumber", "EPERM", "They are refused, not deadly."),
];

impl Writer<'_> {
    pub(super) fn resources(&mut self) {
        let resources = &self.plan.resources;
        if let Some(bytes) = resources.memory_max {
            let rule = "Beyond it the kernel kills.";
            self.set("MemoryMax", bytes.to_string(), "memory_max", rule);
        }
        if let Some(bytes) = resources.memory_high {
            self.set("MemoryHigh", bytes.to_string(), "memory_high", "Beyond it it is slowed down.");
        }
        if let Some(weight) = resources.cpu_weight {
            self.set("CPUWeight", weight.to_string(), "cpu_weight", "Share of the processors under load.");
        }
        if let Some(percent) = resources.cpu_quota {
            self.set("CPUQuota", format!("{percent}%"), "cpu_quota", "Most it gets, of one processor.");
        }
        let tasks = resources.tasks_max.map_or_else(|| "infinity".to_owned(), |most| most.to_string());
        self.set(
            "TasksMax",
            tasks,
            "tasks_max",
            "Processes and threads; systemd's own limit is no part of the tree.",
        );
        if let Some(weight) = resources.io_weight {
            self.set("IOWeight", weight.to_string(), "io_weight", "Share of the disks under load.");
        }
        let rule = "One process killed for memory is not the end of the service; if it is the main one, it has crashed.";
        self.set("OOMPolicy", "continue", "", rule);
        self.set("IgnoreSIGPIPE", "no", "", "A service finds what every program finds.");
    }

    pub(super) fn sandbox(&mut self) {
        let sandbox = &self.plan.sandbox;
        if sandbox.no_new_privileges {
            let rule = "Nothing it executes gives it more rights.";
            self.set("NoNewPrivileges", "yes", "no_new_privileges", rule);
        }
        if let Some(numbers) = &sandbox.capabilities
            && !(self.options.scope == Scope::User && numbers.is_empty() && sandbox.no_new_privileges)
            && !self.not_for_users("capabilities")
        {
            let known = numbers.iter().filter_map(|number| CAPABILITIES.get(usize::from(*number)));
            let names = known.copied().collect::<Vec<_>>().join(" ");
            let rule = "All the capabilities there are for it.";
            self.set("CapabilityBoundingSet", names.clone(), "capabilities", rule);
            let user = self.plan.identity.user.as_deref();
            if !names.is_empty() && user.is_some_and(|user| !matches!(user, "root" | "0")) {
                self.set(
                    "AmbientCapabilities",
                    names,
                    "capabilities",
                    "And it has them, though it is not root.",
                );
            }
        }
        if sandbox.private_tmp {
            self.set(
                "PrivateTmp",
                "yes",
                "private_tmp",
                "A /tmp and a /var/tmp of its own, empty at each start.",
            );
        }
        if let Some(writable) = &sandbox.strict {
            for (key, value, rule) in STRICT {
                self.set(key, *value, "harden", rule);
            }
            if !writable.is_empty() {
                // `-`: it is there when the command starts, but not yet when it is being made.
                let paths: Vec<String> = writable.iter().map(|path| format!("-{}", path.display())).collect();
                let words = escape::words(paths.iter().map(String::as_str));
                self.set("ReadWritePaths", words, "directories", "What it may write in spite of that.");
            }
        }
        if !sandbox.read_only_paths.is_empty() {
            let paths: Vec<String> =
                sandbox.read_only_paths.iter().map(|path| path.display().to_string()).collect();
            let words = escape::words(paths.iter().map(String::as_str));
            self.set(
                "ReadOnlyPaths",
                words,
                "read_only_paths",
                "It cannot write below these; they must be there.",
            );
        }
    }
}
