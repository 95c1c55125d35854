//! What a service may do: the sandbox keys, and `harden = "strict"`, which sets them all.

use std::path::{Path, PathBuf};

use super::diagnostic::Report;
use super::plan::WorkerPlan;
use super::settings::{Settings, Typed};

/// Restrictions of a service; it begins with them, and so do its hooks, probes and its stop command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// `execve` gives nobody more rights.
    pub no_new_privileges: bool,
    /// All the capabilities there are for it, by number; `None`: as they are.
    pub capabilities: Option<Vec<u8>>,
    /// `/tmp` and `/var/tmp` of its own, empty at each start.
    pub private_tmp: bool,
    /// It cannot write below these.
    pub read_only_paths: Vec<PathBuf>,
    /// `harden = "strict"`: everything read-only but these, few devices, nothing of the kernel's to be set.
    pub strict: Option<Vec<PathBuf>>,
}

/// Names of capabilities; the place is the number.
pub const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Sandbox {
    /// As written. `directories` are those of the service: what it may write under `harden = "strict"`.
    pub fn of(settings: &Settings, directories: &[PathBuf], at: impl Fn(&str) -> PathBuf) -> Sandbox {
        let strict = settings.word("harden") == Some("strict");
        let set = |key| match settings.get(key) {
            Some(Typed::Boolean(boolean)) => *boolean,
            _ => strict,
        };
        let number = |name: &String| {
            CAPABILITIES.iter().position(|known| known == name).and_then(|at| u8::try_from(at).ok())
        };
        let listed = settings.strings("capabilities").map(|names| names.iter().filter_map(number).collect());
        Sandbox {
            no_new_privileges: set("no_new_privileges"),
            capabilities: listed.or_else(|| strict.then(Vec::new)),
            private_tmp: set("private_tmp"),
            read_only_paths: settings
                .strings("read_only_paths")
                .unwrap_or_default()
                .iter()
                .map(|path| at(path))
                .collect(),
            strict: strict.then(|| directories.to_vec()),
        }
    }

    /// Nothing is restricted.
    pub fn is_none(&self) -> bool {
        *self == Sandbox::default()
    }

    /// A mount namespace is the only way to it.
    pub fn needs_mounts(&self) -> bool {
        self.private_tmp || self.strict.is_some()
    }
}

/// Whether somebody who is not root may make a user namespace on this host, and with it mounts of his own.
pub fn user_namespaces() -> bool {
    let number =
        |file: &str| std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
    number("/proc/sys/user/max_user_namespaces").is_some_and(|most| most > 0)
        && number("/proc/sys/kernel/unprivileged_userns_clone") != Some(0)
        && number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") != Some(1)
}

/// Names that are none, paths that are not there, and what woodward cannot do on this host or as this user.
pub fn advise(report: &mut Report, settings: &Settings, plan: &WorkerPlan, template: bool) {
    if let (Some(Typed::Strings(names)), Some(span)) =
        (settings.get("capabilities"), settings.span("capabilities"))
    {
        for name in names.iter().filter(|name| !CAPABILITIES.contains(&name.as_str())) {
            let near = super::hints::nearest(
                &format!("CAP_{}", name.to_uppercase().trim_start_matches("CAP_")),
                CAPABILITIES.iter().copied(),
            );
            let hint = near.map(|near| format!("did you mean \"{near}\"?"));
            report.error(span, format!("unknown capability \"{name}\"")).maybe_hint(hint);
        }
    }
    if plan.sandbox.strict.is_some()
        && !plan.sandbox.no_new_privileges
        && let Some(span) = settings.span("no_new_privileges")
    {
        report.error(span, "`harden = \"strict\"` does not go without `no_new_privileges`");
    }
    if template {
        return;
    }
    let sandbox = &plan.sandbox;
    if let Some(span) = settings.span("read_only_paths") {
        for path in sandbox.read_only_paths.iter().filter(|path| !path.is_absolute()) {
            let message = format!(
                "`read_only_paths`: {} is relative, and there is no working_directory",
                path.display()
            );
            report.error(span, message);
        }
        for path in sandbox.read_only_paths.iter().filter(|path| path.is_absolute() && !path.exists()) {
            report.host(span, format!("read-only path {} is not there on this host", path.display()));
        }
    }
    if sandbox.private_tmp {
        let hidden =
            |path: &&PathBuf| ["/tmp", "/var/tmp"].iter().any(|tmp| Path::new(path).starts_with(tmp));
        let key = ["private_tmp", "harden"].into_iter().find_map(|key| settings.span(key));
        let directories = plan.directories.iter().chain(&plan.working_directory);
        if let (Some(hidden), Some(span)) = (directories.into_iter().find(hidden), key) {
            let message = format!("{} is hidden from {} by its private /tmp", hidden.display(), plan.path);
            report.warning(span, message);
        }
    }
    if nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut say = |key: &str, message: &str| {
        if let Some(span) = settings.span(key) {
            report.host(span, format!("`{key}`: {message}"));
        }
    };
    match &sandbox.capabilities {
        Some(names) if !names.is_empty() => {
            say("capabilities", "only root can give capabilities: it cannot be started here");
        }
        Some(_) if !sandbox.no_new_privileges => {
            say("capabilities", "without root the bounding set stays: no_new_privileges holds instead");
        }
        _ => {}
    }
    if sandbox.needs_mounts() && !user_namespaces() {
        let message = "this host lets only root make mounts: it cannot be started here";
        say(if sandbox.strict.is_some() { "harden" } else { "private_tmp" }, message);
    } else if !sandbox.needs_mounts() && !sandbox.read_only_paths.is_empty() {
        let message = "without root Landlock holds them: no_new_privileges with it, and what is made beside them later \
                       cannot be written either";
        say("read_only_paths", message);
    }
}
