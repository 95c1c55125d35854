//! What holds across keys and between siblings.

use std::collections::{BTreeMap, BTreeSet};

use woodward_engine::spec::{self, AutoShutdown, Kind, Order};

use super::decode::{self, At};
use super::expand::{Made, Reader};
use super::health;
use super::hints;
use super::keys::{self, Keys};
use super::settings::Settings;
use super::source::Span;
use super::unit;
use super::value::{Data, Table, Value};
use super::variables::{Context, Mode, Variables};

/// A name in `after` that is no sibling.
pub struct Stranger {
    /// Who says it.
    pub path: String,
    /// The name.
    pub name: String,
    /// Where.
    pub span: Span,
    /// Ids of its siblings.
    pub siblings: Vec<String>,
}

/// A child with `command` (or `unit`) is a worker; a child with any key that only supervisors have is one; anything
/// else is a worker that lacks its command.
pub fn is_worker(table: &Table) -> bool {
    let command = |key| table.has(key);
    let only_supervisor =
        |key: &str| keys::find(keys::AT_INNER, key).is_some() && keys::find(keys::AT_WORKER, key).is_none();
    command("command") || command("unit") || !table.entries.iter().any(|entry| only_supervisor(&entry.key))
}

/// Checks a tree as written, everything below it too, children that will be left out included.
pub fn shape(vars: &mut Variables, table: &Table, keys: Keys, path: &str) {
    let context = Context { mode: Mode::Literal, ..Context::default() };
    decode::table(vars, table, At { keys, name: path, around: None }, &context);
    if let Some(defaults) = table.get("defaults") {
        let name = format!("[defaults] of {path}");
        match defaults.table() {
            Some(defaults) => {
                decode::table(
                    vars,
                    defaults,
                    At { keys: keys::AT_DEFAULTS, name: &name, around: Some(keys) },
                    &context,
                );
            }
            None => not_a_table(vars, defaults, "defaults"),
        }
    }
    for key in ["vars", "template", "each", "only"] {
        if let Some(value) = table.get(key).filter(|value| value.table().is_none()) {
            not_a_table(vars, value, key);
        }
    }
    if let Some(template) = table.get("template").and_then(Value::table) {
        let path = format!("the template of {path}");
        decode::table(
            vars,
            template,
            At { keys: keys::AT_TEMPLATE, name: &path, around: Some(keys) },
            &context,
        );
    }
    if let Some(value) =
        table.get("child").filter(|value| value.list().is_none_or(|l| l.iter().any(|c| c.table().is_none())))
    {
        vars.report.error(value.span, "`child` wants a list of tables").hint("write [[child]]");
    }
    for child in table.tables("child").chain(&table.overlays) {
        let path = format!("{path}/{}", child.text("id").unwrap_or("?"));
        if !is_worker(child) {
            shape(vars, child, keys::AT_INNER, &path);
            continue;
        }
        mixed(vars, child, &path);
        decode::table(
            vars,
            &without_supervisor_keys(child),
            At { keys: keys::AT_WORKER, name: &path, around: None },
            &context,
        );
        for key in ["each", "only"] {
            if let Some(value) = child.get(key).filter(|value| value.table().is_none()) {
                not_a_table(vars, value, key);
            }
        }
    }
}

fn not_a_table(vars: &mut Variables, value: &Value, key: &str) {
    let kind = value.kind();
    vars.report.error(value.span, format!("`{key}` wants a table, not {kind}"));
}

/// Keys of a supervisor beside a command.
fn mixed(vars: &mut Variables, child: &Table, path: &str) {
    let Some(command) = child.entry("command").or_else(|| child.entry("unit")) else { return };
    for entry in child.entries.iter().filter(|entry| is_supervisors_only(&entry.key)) {
        let span = match &entry.value.data {
            Data::List(list) if entry.key == "child" => {
                list.first().map_or(entry.key_span, |first| first.span)
            }
            _ => entry.key_span,
        };
        let what = if entry.key == "child" { "children".to_owned() } else { format!("`{}`", entry.key) };
        vars.report
            .error(span, format!("{path} has both `{}` and {what}", command.key))
            .hint("a child is a worker with a command, or a supervisor with children");
    }
}

fn is_supervisors_only(key: &str) -> bool {
    keys::find(keys::AT_INNER, key).is_some() && keys::find(keys::AT_WORKER, key).is_none()
}

/// A worker's table without what [`mixed`] has reported.
pub fn without_supervisor_keys(table: &Table) -> Table {
    let mut table = table.clone();
    if table.has("command") || table.has("unit") {
        table.entries.retain(|entry| !is_supervisors_only(&entry.key));
    }
    table
}

/// What holds across the keys of a worker. `own` is what stands at the worker itself.
pub fn worker(vars: &mut Variables, own: &Table, settings: &Settings, oneshot: bool, path: &str) {
    let explained = |entry: &str| {
        hints::key(entry, keys::names(keys::AT_WORKER)).is_some_and(|key| key == "command")
            && keys::find(keys::AT_WORKER, entry).is_none()
    };
    if !own.has("command") && !own.has("unit") && !own.entries.iter().any(|entry| explained(&entry.key)) {
        let message = format!("{path} has neither `command` nor children");
        vars.report
            .error(own.span, message)
            .hint("a worker has a `command`, a supervisor has [[child.child]]");
    }
    let mut refuse = |key: &str, message: &str| {
        if let Some(entry) = own.entry(key) {
            vars.report.error(entry.key_span, format!("{path}: {message}"));
        }
    };
    if oneshot {
        refuse("ready", "`ready` does not apply to a one-shot: it is ready when it ended well");
        if settings.word("restart") == Some("permanent") {
            refuse("restart", "a one-shot cannot be permanent: its success is its end");
        }
    } else {
        refuse("runtime_max", "`runtime_max` is for one-shots only");
    }
    if settings.boolean("significant")
        && !oneshot
        && settings.word("restart").is_none_or(|word| word == "permanent")
    {
        refuse("significant", "a permanent child cannot be significant: it never ends for good");
    }
    if settings.word("restart") == Some("temporary") {
        refuse("restart_force_exit_status", "a temporary child is never restarted");
    }
    let parks = settings.table("limit").is_some_and(|limit| limit.word("exhausted") != Some("escalate"));
    if settings.boolean("essential") && parks {
        refuse("essential", "an essential child cannot park: its `limit` needs exhausted = \"escalate\"");
    }
    health::worker(vars, own, settings, oneshot, path);
    unit::check(vars, own, settings, path);
}

/// `only = { a = 1, x.field = 2 }` as pairs of names and wanted values.
pub fn conditions<'t>(table: &'t Table, prefix: &str) -> Vec<(String, Span, &'t Value)> {
    let mut all = Vec::new();
    for entry in &table.entries {
        let name = format!("{prefix}{}", entry.key);
        match entry.value.table() {
            Some(inner) => all.extend(conditions(inner, &format!("{name}."))),
            None => all.push((name, entry.key_span, &entry.value)),
        }
    }
    all
}

/// What holds between siblings: significance, `after`, cycles. Fills in the engine's `after`.
pub fn siblings(reader: &mut Reader, spec: &spec::Supervisor, parent: &str, made: &mut [Made]) {
    let ids: Vec<String> = made.iter().map(|made| made.child.id.to_string()).collect();
    let left_out: BTreeSet<String> = reader
        .left_out
        .iter()
        .filter_map(|left| left.path.strip_prefix(parent)?.strip_prefix('/').map(str::to_owned))
        .collect();
    for made in made.iter_mut() {
        if made.child.significant && spec.auto_shutdown == AutoShutdown::Never {
            let message = format!("{} is significant, but {parent} never shuts itself down", made.path);
            reader.report().error(made.span, message).hint("auto_shutdown = \"any_significant\" there");
        }
        if made.child.significant
            && matches!(made.child.kind, Kind::Supervisor(_))
            && made.child.restart == spec::Restart::Permanent
        {
            let message = format!("{} is permanent and cannot be significant", made.path);
            reader.report().error(made.span, message);
        }
        if let Some((_, span)) = made.after.first().filter(|_| spec.order == Order::Listed) {
            reader
                .report()
                .error(*span, format!("`after` means nothing under order = \"listed\" in {parent}"))
                .hint("order = \"dependencies\" there, or leave it out: the list is the order");
            continue;
        }
        for (name, span) in made.after.clone() {
            if *name == *made.child.id {
                reader.report().error(span, format!("{} is after itself", made.path));
            } else if ids.contains(&name) {
                if !made.child.after.iter().any(|id| **id == *name) {
                    made.child.after.push(name.into());
                }
            } else if !left_out.contains(&name) {
                reader.strangers.push(Stranger {
                    path: made.path.clone(),
                    name,
                    span,
                    siblings: ids.clone(),
                });
            }
        }
    }
    cycles(reader, made);
}

/// A cycle of `after` among siblings, with its path.
fn cycles(reader: &mut Reader, made: &mut [Made]) {
    let place: BTreeMap<&str, usize> =
        made.iter().enumerate().map(|(at, made)| (&*made.child.id, at)).collect();
    let next = |at: usize| {
        made[at].child.after.iter().filter_map(|id| place.get(&**id).copied()).collect::<Vec<usize>>()
    };
    let mut done = vec![false; made.len()];
    let mut broken = Vec::new();
    for start in 0..made.len() {
        let mut trail: Vec<(usize, Vec<usize>)> = Vec::new();
        if !done[start] {
            trail.push((start, next(start)));
        }
        while let Some((at, left)) = trail.last_mut() {
            let at = *at;
            match left.pop() {
                None => {
                    done[at] = true;
                    trail.pop();
                }
                Some(to) => match trail.iter().position(|(on, _)| *on == to) {
                    Some(from) => {
                        let ids: Vec<&str> =
                            trail[from..].iter().map(|(on, _)| &*made[*on].child.id).collect();
                        broken.push((at, to, ids.join(" is after ")));
                    }
                    None if !done[to] => trail.push((to, next(to))),
                    None => {}
                },
            }
        }
    }
    for (at, to, chain) in broken {
        let to = made[to].child.id.clone();
        let span =
            made[at].after.iter().find(|(name, _)| **name == *to).map_or(made[at].span, |(_, span)| *span);
        reader.report().error(span, format!("a cycle: {chain} is after {to}"));
        made[at].child.after.retain(|id| *id != to);
    }
}

/// Says of each name in `after` that is no sibling where it is, and what to write there.
pub fn strangers(reader: &mut Reader) {
    let paths: Vec<String> = (reader.workers.iter().map(|worker| worker.path.clone()))
        .chain(reader.supervisors.iter().map(|supervisor| supervisor.path.clone()))
        .collect();
    for stranger in std::mem::take(&mut reader.strangers) {
        let Stranger { path, name, span, siblings } = stranger;
        let found = paths.iter().find(|other| **other == name || other.ends_with(&format!("/{name}")));
        let hint = match found {
            Some(other) => elsewhere(&path, other),
            None => hints::nearest(&name, siblings.iter().map(String::as_str))
                .map(|name| format!("did you mean \"{name}\"?")),
        };
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        reader.report().error(span, format!("\"{name}\" is no child of {parent}")).maybe_hint(hint);
    }
}

/// Which two ancestors are siblings, and what to write there.
fn elsewhere(path: &str, other: &str) -> Option<String> {
    let (mine, theirs): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), other.split('/').collect());
    let same = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let (a, b) = (mine.get(same), theirs.get(same));
    match (a, b) {
        (Some(_), Some(b)) => {
            Some(format!("it is {other}: write after = [\"{b}\"] at {}", mine[..=same].join("/")))
        }
        _ => Some(format!("it is {other}, which is above or below {path}")),
    }
}
