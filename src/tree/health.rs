//! Liveness of a worker: what is asked while it runs, how often, and how many misses mean that it hangs.
//!
//! The probe is that of `health`; without one it is that of `ready`, if it can be asked again. A table that is only
//! inherited and finds no probe means no check; one that stands at the worker itself without any is an error, since
//! somebody meant it. `class` is a preset of `every` after the Grid paper; whichever stands further in wins. A watchdog
//! is not asked but listened to, so `every`, `timeout` and `misses` mean nothing beside it.

use std::path::PathBuf;
use std::time::Duration;

use woodward_engine::spec::Shutdown;

use super::keys;
use super::plan::{Check, Health, Probe, Reload};
use super::settings::{Settings, Typed};
use super::supervisor;
use super::value::{Data, Table, Value};
use super::variables::Variables;

/// Between two checks, by class.
const CLASSES: &[(&str, Duration)] = &[
    ("critical", Duration::from_secs(20)),
    ("not_so_critical", Duration::from_secs(40)),
    ("not_critical", Duration::from_secs(60)),
];

/// The checks of a worker whose readiness is proved by `ready`; `at` places a path.
pub fn health(
    settings: &Settings,
    ready: Option<&Probe>,
    probe: Option<Probe>,
    at: impl Fn(&str) -> PathBuf,
) -> Option<Health> {
    let table = settings.table("health")?;
    let watchdog = table.duration("watchdog").map(Check::Watchdog);
    let file = table.text("file").zip(table.duration("max_age"));
    let file = file.map(|(path, max_age)| Check::Fresh { path: at(&path), max_age });
    let again = || ready.filter(|probe| probe.repeats()).cloned().map(Check::Probe);
    let check = watchdog.or(file).or_else(|| probe.map(Check::Probe)).or_else(again)?;
    let class = CLASSES.iter().find(|(name, _)| Some(*name) == table.word("class"));
    let every = table.duration("every").or(class.map(|(_, every)| *every));
    Some(Health {
        check,
        every: every.unwrap_or(Duration::from_secs(10)),
        timeout: table.duration("timeout").unwrap_or(Duration::from_secs(3)),
        misses: table.integer("misses").unwrap_or(3),
        start_after: table.duration("start_after").unwrap_or_default(),
    })
}

/// How long a hung process is given instead of the child's `shutdown`.
pub fn shutdown(settings: &Settings) -> Option<Shutdown> {
    let written = settings.table("health")?.get("shutdown")?;
    Some(supervisor::shutdown(Some(written), Shutdown::Infinity))
}

/// The service's own reload.
pub fn reload(settings: &Settings) -> Option<Reload> {
    let table = settings.table("reload")?;
    match table.get("signal") {
        Some(Typed::Signal(number)) => Some(Reload::Signal(*number)),
        _ => table.strings("command").map(Reload::Command),
    }
}

/// What holds between the keys of one `health` table. `whole`: it is complete, what it inherits included.
pub fn rules(vars: &mut Variables, written: &Table, settings: &Settings, whole: bool) {
    let report = &mut vars.report;
    if let (Some(_), Some(class)) = (written.entry("every"), written.entry("class")) {
        report.error(class.key_span, "`class` sets `every`, and that is given already");
    }
    for key in ["every", "timeout", "max_age", "watchdog"] {
        if let (Some(Duration::ZERO), Some(span)) = (settings.duration(key), settings.span(key)) {
            report.error(span, format!("`{key}` cannot be \"0ms\""));
        }
    }
    if let Some(file) = written.entry("file").filter(|_| whole && !written.has("max_age")) {
        report.error(file.key_span, "`file` of health needs `max_age`").hint("such as max_age = \"1m\"");
    }
}

/// What holds between the keys of one `reload` table.
pub fn reload_rules(vars: &mut Variables, value: &Value, written: &Table) {
    match (written.entry("signal"), written.entry("command")) {
        (Some(_), Some(command)) => {
            vars.report
                .error(command.key_span, "`reload` takes one of `signal` and `command`, and there is both");
        }
        (None, None) => {
            vars.report.error(value.span, "`reload` needs `signal` or `command`");
        }
        _ => {}
    }
}

/// What holds between `health` and the rest of a worker. `own` is what stands at the worker itself.
pub fn worker(vars: &mut Variables, own: &Table, settings: &Settings, oneshot: bool, path: &str) {
    let Some(entry) = own.entry("health").filter(|entry| !matches!(entry.value.data, Data::Boolean(false)))
    else {
        return;
    };
    if oneshot {
        vars.report.error(entry.key_span, format!("{path}: `health` does not apply to a one-shot: it ends"));
        return;
    }
    let Some(table) = settings.table("health") else { return };
    let asked = |key: &&str| table.get(key).is_some();
    let again = settings.table("ready").is_some_and(|ready| {
        ["tcp", "unix", "http", "exec", "corbaloc"].iter().any(|key| ready.get(key).is_some())
    });
    if !again && !keys::PROBES.iter().any(asked) {
        vars.report
            .error(
                entry.key_span,
                format!("{path}: `health` has no probe, and `ready` has none to ask again"),
            )
            .hint("tcp, unix, http, exec, corbaloc, file with max_age, or watchdog");
    }
    if let (Some(_), Some(written)) = (table.get("watchdog"), entry.value.table()) {
        for key in ["every", "class", "timeout", "misses"] {
            if let Some(entry) = written.entry(key) {
                vars.report.error(
                    entry.key_span,
                    format!("{path}: `{key}` means nothing beside `watchdog`: nobody asks"),
                );
            }
        }
    }
}
