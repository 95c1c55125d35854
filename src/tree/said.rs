//! What was said about each child, key by key, and where: the lines of `plan FILE PATH`.

use super::environment::{Environment, From};
use super::expand::Reader;
use super::keys::{self, Key, Keys, Kind, Support};
use super::settings::{Settings, Typed};
use super::source::{Place, Sources};
use super::variables::quoted;

/// A key of a child, with its value after variables and inheritance.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Path of the child or supervisor.
    pub path: String,
    /// Key, dotted in a table.
    pub key: String,
    /// As it would be written; `(not shown)` for a value from an environment file.
    pub value: String,
    /// Where it stands; `None`: a default.
    pub place: Option<Place>,
}

/// Tables whose defaults hold although nothing is written.
const ALWAYS: &[&str] = &["backoff", "ready", "stop"];

/// Remembers what was written about a child, and the defaults of what was not.
pub fn say(reader: &mut Reader, path: &str, settings: &Settings, at: Keys, otp: bool) {
    let Some(said) = &mut reader.said else { return };
    written(said, &reader.vars.report.sources, path, settings, "");
    let worker = keys::find(at, "command").is_some();
    let oneshot = settings.word("kind") == Some("oneshot");
    let group = settings.table("failover").is_some();
    let mut unwritten = Vec::new();
    for key in at.iter().flat_map(|group| group.iter()).filter(|key| key.support == Support::Yes) {
        let none = (oneshot && matches!(key.name, "ready" | "restart")) || (otp && key.name == "backoff");
        match key.kind {
            Kind::Table(inner) => match settings.get(key.name) {
                Some(Typed::Table(table)) => defaults(&mut unwritten, table, inner, key.name),
                None if worker && ALWAYS.contains(&key.name) && !none => {
                    defaults(&mut unwritten, &Settings::default(), inner, key.name);
                }
                _ => {}
            },
            _ if !none && settings.get(key.name).is_none() && !key.default.is_empty() => {
                unwritten.push((key.name.to_owned(), default(key, otp)));
                if let ("exhausted", true, Some(last)) = (key.name, group, unwritten.last_mut()) {
                    last.1 = "\"failover\"".to_owned();
                }
            }
            _ => {}
        }
    }
    for (key, value) in unwritten {
        if !said.iter().rev().take_while(|said| said.path == path).any(|said| said.key == key) {
            said.push(Said { path: path.to_owned(), key, value, place: None });
        }
    }
}

/// Remembers where the variables of an environment come from; not those that are woodward's own.
pub fn environment(reader: &mut Reader, path: &str, environment: &Environment) {
    let Some(said) = &mut reader.said else { return };
    for (name, (value, from)) in environment {
        let (value, span) = match from {
            From::Own => continue,
            From::Table(span) => (quoted(value), *span),
            From::File(span) => ("(not shown)".to_owned(), *span),
        };
        let place = Some(reader.vars.report.sources.place(span));
        said.push(Said { path: path.to_owned(), key: format!("environment.{name}"), value, place });
    }
}

fn written(said: &mut Vec<Said>, sources: &Sources, path: &str, settings: &Settings, prefix: &str) {
    for setting in &settings.all {
        let key = format!("{prefix}{}", setting.key);
        match &setting.typed {
            Typed::Pairs(_) => {}
            Typed::Table(table) => written(said, sources, path, table, &format!("{key}.")),
            typed => {
                let (value, place) = (typed.to_string(), Some(sources.place(setting.span)));
                said.push(Said { path: path.to_owned(), key, value, place });
            }
        }
    }
}

fn defaults(into: &mut Vec<(String, String)>, table: &Settings, inner: Keys, name: &str) {
    let keys = inner.iter().flat_map(|group| group.iter());
    let left = keys.filter(|key| table.get(key.name).is_none() && !key.default.is_empty());
    into.extend(left.map(|key| (format!("{name}.{}", key.name), default(key, false))));
}

/// A default as it would be written.
fn default(key: &Key, otp: bool) -> String {
    let text = match (key.name, otp) {
        ("intensity", true) => "1",
        ("period", true) => "5s",
        ("initial_start", true) => "fail",
        _ => key.default,
    };
    match key.kind {
        Kind::Boolean | Kind::Integer(..) | Kind::Number(..) | Kind::Pass => text.to_owned(),
        _ => format!("\"{text}\""),
    }
}
