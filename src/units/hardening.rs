//! What the unit of `woodward run` is forbidden: only what no service below it needs, as they say themselves, because a
//! restriction of the unit holds for everything below.
//!
//! | line | written when every service below says |
//! |---|---|
//! | `NoNewPrivileges=` | `no_new_privileges` |
//! | `CapabilityBoundingSet=` | `capabilities`; with woodward's own |
//! | `ProtectSystem=full`, `ProtectHome=read-only` | `harden = "strict"`, with no `directories` there |
//! | `ProtectKernel*=`, `ProtectClock=`, `ProtectHostname=`, `SystemCallArchitectures=`, `SystemCallFilter=` | `harden = "strict"` |
//!
//! Never: `ProtectControlGroups=` (it makes groups), `PrivateDevices=` and `@mount` (it makes the sandboxes of its
//! services), `ProtectProc=` (it looks at what is not its own), `PrivateTmp=` (services have their own, or share).

use std::collections::BTreeSet;

use super::{Options, Scope, Section, Unit};
use crate::tree::Plan;
use crate::tree::sandbox::CAPABILITIES;

/// What the keeper and the stage before each service need: other users' files and processes, control groups and mounts,
/// limits, addresses of sockets.
const OWN: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
];

/// Sets of system calls that neither woodward nor a service under `harden = "strict"` may use.
const FORBIDDEN: &str = "~@clock @module @obsolete @raw-io @reboot @swap";

/// Adds the lines.
pub(super) fn lines(unit: &mut Unit, plan: &Plan, options: &Options) {
    let mut set = |key, value: &str, tree_key, rule| unit.set(Section::Service, key, value, tree_key, rule);
    let workers = &plan.workers;
    if workers.is_empty() {
        return;
    }
    if workers.iter().all(|worker| worker.sandbox.no_new_privileges) {
        let rule = "no service below may gain privileges";
        set("NoNewPrivileges", "yes", "no_new_privileges", rule);
    }
    let strict = workers.iter().all(|worker| worker.sandbox.strict.is_some());
    if strict {
        set("SystemCallArchitectures", "native", "harden", "so it is for each service below");
    }
    // What follows takes privileges or mounts, which a manager of a user has not.
    if options.scope == Scope::User {
        return;
    }
    if workers.iter().all(|worker| worker.sandbox.capabilities.is_some()) {
        let theirs = workers.iter().filter_map(|worker| worker.sandbox.capabilities.as_ref()).flatten();
        let theirs = theirs.filter_map(|number| CAPABILITIES.get(usize::from(*number)).copied());
        let all: BTreeSet<&str> = theirs.chain(OWN.iter().copied()).collect();
        let all = all.into_iter().collect::<Vec<_>>().join(" ");
        set(
            "CapabilityBoundingSet",
            &all,
            "capabilities",
            "woodward's own, and all that services below may have",
        );
    }
    if !strict {
        return;
    }
    let writes = |above: &[&str]| {
        let mut directories = workers.iter().flat_map(|worker| worker.sandbox.strict.iter().flatten());
        directories.any(|dir| above.iter().any(|above| dir.starts_with(above)))
    };
    if !writes(&["/usr", "/boot", "/efi", "/etc"]) {
        set("ProtectSystem", "full", "harden", "no service below has `directories` there");
    }
    if !writes(&["/home", "/root", "/run/user"]) {
        set("ProtectHome", "read-only", "harden", "no service below has `directories` there");
    }
    for key in [
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectClock",
        "ProtectHostname",
    ] {
        set(key, "yes", "harden", "so it is for each service below");
    }
    set("SystemCallFilter", FORBIDDEN, "harden", "no service below may, and woodward does not");
    set("SystemCallErrorNumber", "EPERM", "harden", "as it is for each service below");
}
