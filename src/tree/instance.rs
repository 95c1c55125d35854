//! Instances of a template: `${arg.name}` replaced by what `start PATH --arg name=value` gives.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::hints;
use super::plan::{Check, Output, Probe, Reload, WorkerPlan};
use super::sockets::Address;

const OPEN: &str = "${arg.";

/// The plan of one instance. Errors say which argument is missing or unknown.
pub fn instantiate(template: &WorkerPlan, args: &[(String, String)]) -> Result<WorkerPlan, String> {
    let mut plan = template.clone();
    let mut used = BTreeSet::new();
    let mut missing = BTreeSet::new();
    let mut fill = |text: &mut String| *text = filled(text, args, &mut used, &mut missing);
    texts(&mut plan, &mut fill);
    if let Some(name) = missing.first() {
        return Err(format!("{} needs an argument `{name}`", template.path));
    }
    if let Some((name, _)) = args.iter().find(|(name, _)| !used.contains(name)) {
        let near = hints::nearest(name, used.iter().map(String::as_str));
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(format!("{} takes no argument `{name}`{near}", template.path));
    }
    Ok(plan)
}

fn filled(
    text: &str,
    args: &[(String, String)],
    used: &mut BTreeSet<String>,
    missing: &mut BTreeSet<String>,
) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("$${") {
            out.push_str("${");
            rest = behind;
        } else if let Some((name, behind)) = rest.strip_prefix(OPEN).and_then(|inner| inner.split_once('}')) {
            match args.iter().rev().find(|(given, _)| given == name) {
                Some((_, value)) => out.push_str(value),
                None => drop(missing.insert(name.to_owned())),
            }
            used.insert(name.to_owned());
            rest = behind;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

/// Every string of a plan that may hold an argument.
fn texts(plan: &mut WorkerPlan, fill: &mut impl FnMut(&mut String)) {
    let path = |path: &mut PathBuf, fill: &mut dyn FnMut(&mut String)| {
        let mut text = path.to_string_lossy().into_owned();
        fill(&mut text);
        *path = PathBuf::from(text);
    };
    plan.command.iter_mut().chain(plan.command_on_restart.iter_mut().flatten()).for_each(&mut *fill);
    let hooks = plan.before_start.iter_mut().chain(&mut plan.after_ready).chain(&mut plan.after_stop);
    hooks.flatten().chain(plan.stop.command.iter_mut().flatten()).for_each(&mut *fill);
    if plan.environment.iter().any(|(_, value)| value.contains("${")) {
        Arc::make_mut(&mut plan.environment).iter_mut().for_each(|(_, value)| fill(value));
    }
    plan.working_directory.iter_mut().chain(&mut plan.directories).for_each(|dir| path(dir, fill));
    if let Output::File { file, .. } = &mut plan.output {
        path(file, fill);
    }
    let sandbox = &mut plan.sandbox;
    sandbox
        .read_only_paths
        .iter_mut()
        .chain(sandbox.strict.iter_mut().flatten())
        .for_each(|dir| path(dir, fill));
    for listen in &mut plan.listen {
        match &mut listen.address {
            Address::Stream(text) | Address::Datagram(text) => fill(text),
            Address::Unix(file) => path(file, fill),
        }
    }
    match plan.health.as_mut().map(|health| &mut health.check) {
        Some(Check::Probe(asked)) => probe(asked, fill, &path),
        Some(Check::Fresh { path: file, .. }) => path(file, fill),
        Some(Check::Watchdog(_)) | None => {}
    }
    if let Some(Reload::Command(command)) = &mut plan.reload {
        command.iter_mut().for_each(&mut *fill);
    }
    if let Some(ready) = &mut plan.ready {
        probe(ready, fill, &path);
    }
}

fn probe(
    probe: &mut Probe,
    fill: &mut impl FnMut(&mut String),
    path: &impl Fn(&mut PathBuf, &mut dyn FnMut(&mut String)),
) {
    match probe {
        Probe::Tcp(text) | Probe::Log(text) | Probe::Corbaloc(text) | Probe::Http { url: text, .. } => {
            fill(text)
        }
        Probe::Exec(command) => command.iter_mut().for_each(fill),
        Probe::Unix(file) => path(file, fill),
        Probe::File { path: file, contains } => {
            path(file, fill);
            contains.iter_mut().for_each(fill);
        }
        Probe::Notify | Probe::Fd(_) => {}
    }
}
