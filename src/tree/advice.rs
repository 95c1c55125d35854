//! What `check` says beyond errors: trees that can be run, but probably do not do what is wanted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use woodward_engine::spec::{self, Exhausted, Kind, Order, Restart, Shutdown, Strategy};

use super::accounts;
use super::diagnostic::Report;
use super::environment;
use super::expand::{Level, Made};
use super::patience;
use super::plan::{KillMode, WorkerPlan};
use super::settings::{Settings, Typed};
use super::units;
use super::value::{Table, Value};
use super::variables::Mode;
use super::words;
use super::worker::find_program;
use super::{resources, sandbox};

/// Warnings about a supervisor and its children.
pub fn supervisor(
    report: &mut Report,
    written: &Table,
    settings: &Settings,
    spec: &spec::Supervisor,
    made: &[Made],
    level: &Level,
) {
    let path = &level.path;
    let mut alike: BTreeMap<String, (&Made, usize)> = BTreeMap::new();
    for made in made.iter().filter(|made| matches!(made.child.kind, Kind::Worker(_))) {
        if let Some(what) = limit(spec, made, level.otp) {
            alike.entry(what).and_modify(|(_, more)| *more += 1).or_insert((made, 0));
        }
    }
    for (what, (made, more)) in alike {
        let whom = if more == 0 { made.path.clone() } else { format!("{} (as {more} more)", made.path) };
        report.warning(made.span, what).about(&whom);
    }
    let restarted = made.iter().filter(|made| {
        let own_limit =
            matches!(&made.child.kind, Kind::Worker(worker) if worker.limit.is_some() || worker.oneshot);
        made.child.restart != Restart::Temporary && !own_limit
    });
    let restarted = restarted.count();
    if spec.strategy == Strategy::OneForOne && spec.intensity > 0 && restarted > spec.intensity as usize {
        let span = settings.span("intensity").unwrap_or(written.span);
        let message = format!(
            "{path} would give up if all its {restarted} services crashed once within {}: intensity is {}",
            units::show(Duration::from_secs(spec.period.into())),
            spec.intensity
        );
        report.warning(span, message);
    }
    if spec.strategy == Strategy::RestForOne
        && spec.order == Order::Dependencies
        && made.iter().all(|made| made.child.after.is_empty())
    {
        let span = settings.span("strategy").unwrap_or(written.span);
        report
            .warning(span, format!("rest_for_one in {path} drags nobody along: no child is `after` another"));
    }
    let own = match settings.get("shutdown") {
        Some(Typed::Duration(own)) => Some(*own),
        _ => None,
    };
    let sum: Duration = made.iter().filter_map(|made| time(made.child.shutdown)).sum();
    if let (Some(own), Some(span)) = (own, settings.span("shutdown"))
        && sum > own
        && spec.order == Order::Listed
    {
        let message = format!(
            "the children of {path} may take {} to stop, {path} itself has {}",
            units::show(sum),
            units::show(own)
        );
        report.warning(span, message);
    }
    environment_names(report, written);
}

fn time(shutdown: Shutdown) -> Option<Duration> {
    if let Shutdown::Time(time) = shutdown { Some(time) } else { None }
}

/// A limit that is never reached, or at once.
fn limit(spec: &spec::Supervisor, made: &Made, otp: bool) -> Option<String> {
    let patience = patience::of(spec, &made.child)?;
    let parks = match &made.child.kind {
        Kind::Worker(spec::Worker { limit: Some(limit), .. }) => limit.exhausted == Exhausted::Park,
        _ => false,
    };
    let end = if parks { "be parked" } else { "give up" };
    let after = units::show_about(patience.gives_up_after);
    if patience.never() {
        let (crashes, period) = (patience.intensity + 1, units::show(patience.period));
        return Some(format!(
            "would never {end}: delays spread {crashes} crashes over {after}, the limit counts {period}"
        ));
    }
    let hasty = !otp && patience.intensity > 0 && patience.gives_up_after < Duration::from_secs(1);
    hasty.then(|| format!("would {end} {after} after its first crash"))
}

/// Warnings about a worker.
pub fn worker(report: &mut Report, own: &Table, settings: &Settings, plan: &WorkerPlan, mode: Mode) {
    environment_names(report, own);
    let span = settings.span("command").unwrap_or(own.span);
    let program = plan.command.first().map_or("", String::as_str);
    let shell = words::is_shell(program);
    if shell
        && plan.stop.kill == KillMode::Mixed
        && plan.command.get(1).is_some_and(|flag| flag.starts_with('-') && flag.ends_with('c'))
    {
        let script = plan.command.get(2).map_or("", String::as_str);
        if !script.split([';', '&', '|', '\n']).any(|command| command.trim_start().starts_with("exec ")) {
            let message = format!("the shell of {} does not pass signals on to what it runs", plan.path);
            report
                .warning(span, message)
                .hint("write `exec` in front of the last command, or stop.kill = \"group\"");
        }
    }
    let listed = own.get("command").and_then(Value::list).unwrap_or_default();
    let dollar = |value: &&Value| value.text().is_some_and(names_a_variable);
    if let Some(element) = listed.iter().find(dollar).filter(|_| !shell) {
        let text = element.text().unwrap_or_default();
        report
            .warning(element.span, format!("{text} arrives as it is: there is no shell"))
            .hint("${env.NAME} takes a variable of woodward's environment");
    }
    resources::advise(report, settings, plan);
    sandbox::advise(report, settings, plan, mode == Mode::Template);
    if mode != Mode::Template {
        host(report, settings, plan);
    }
}

/// `$NAME` as a shell would take it.
fn names_a_variable(text: &str) -> bool {
    text.match_indices('$')
        .any(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

fn environment_names(report: &mut Report, table: &Table) {
    let entries = table.get("environment").and_then(Value::table).map(|table| &table.entries);
    for entry in entries.into_iter().flatten().filter(|entry| environment::is_secret_name(&entry.key)) {
        report
            .warning(entry.key_span, format!("{} is in the tree file for everybody to read", entry.key))
            .hint("an environment_file keeps it apart, and its values are never printed");
    }
}

/// What this host lacks.
fn host(report: &mut Report, settings: &Settings, plan: &WorkerPlan) {
    let commands =
        [("command", Some(&plan.command)), ("command_on_restart", plan.command_on_restart.as_ref())];
    for (key, command) in commands {
        let Some(span) = settings.span(key) else { continue };
        let Some(program) = command.and_then(|command| command.first()) else { continue };
        if find_program(plan, program).is_none() {
            report.host(span, format!("program {program} is not found on this host"));
        }
    }
    if let (Some(user), Some(span)) = (&plan.identity.user, settings.span("user"))
        && user.parse::<u32>().is_err()
        && !matches!(accounts::user(user), Ok(Some(_)))
    {
        report.host(span, format!("user {user} is not known on this host"));
    }
    if let (Some(group), Some(span)) = (&plan.identity.group, settings.span("group"))
        && group.parse::<u32>().is_err()
        && !matches!(accounts::group(group), Ok(Some(_)))
    {
        report.host(span, format!("group {group} is not known on this host"));
    }
    if let (Some(dir), Some(span)) = (&plan.working_directory, settings.span("working_directory")) {
        let made = plan.directories.iter().any(|made| Path::new(made).starts_with(dir));
        if !made && !dir.is_dir() {
            report.host(span, format!("directory {} is not there on this host", dir.display()));
        }
    }
}
