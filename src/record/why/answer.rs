//! The answer in one sentence.

use super::{Chain, Known, some};
use crate::record::fact::FactLine;
use crate::record::view::{Held, Row, State};
use crate::record::words::{clock, from_rfc3339, is_within, parent};

/// What became of the path, and because of what, with full paths.
pub(super) fn answer(known: &Known<'_>, chain: &Chain<'_>) -> String {
    let path = known.path;
    if let Some(row) = known.row(path) {
        if let Some(not) = not_happened(known, row) {
            return format!("{path} {not}");
        }
        let calm = row.state == State::Up && row.restarts == 0;
        if calm && chain.own().all(|fact| fact.kind != "ended") && chain.started_again().is_empty() {
            if chain.own().any(|fact| fact.kind == "adopted") {
                return format!("{path} was found running by this daemon and has not been restarted since");
            }
            let root = parent(path).map(|_| path.split('/').next().unwrap_or(path));
            let with = root.map(|root| format!(" with {root}")).unwrap_or_default();
            return format!("{path} was started{with} and has not been restarted since");
        }
    }
    let Some(cause) = chain.cause() else {
        return match known.row(path) {
            Some(row) => format!("{path} is {}; nothing is recorded about it", word(row.state)),
            None => format!("nothing is recorded about {path}"),
        };
    };
    let happened = happened(chain);
    match because(chain, cause) {
        Some(because) => format!("{path} {happened} {because}"),
        None => format!("{path} {happened}"),
    }
}

/// What keeps it from being started.
fn not_happened(known: &Known<'_>, row: &Row) -> Option<String> {
    let state = |path: &str| known.row(path).map_or("not up", |other| word(other.state));
    match row.state {
        State::Waiting => {
            if let Some(other) = &row.waits_for {
                return Some(format!("is not started: waits for {other}, which is {}", state(other)));
            }
            let before = known.rows.iter().take_while(|other| other.path != row.path);
            let siblings = before.filter(|other| parent(&other.path) == parent(&row.path));
            let busy = siblings.filter(|other| !matches!(other.state, State::Up | State::Done)).last();
            Some(match busy {
                Some(other) => {
                    format!(
                        "is not started: it is the turn of {}, which is {}",
                        other.path,
                        word(other.state)
                    )
                }
                None => "is not started: waits for its turn".to_owned(),
            })
        }
        State::Stopped | State::Backoff | State::Parked => {
            let (at, held) = holder(known, &row.path)?;
            let whole = if at == row.path { String::new() } else { format!("{at} is ") };
            Some(format!("is not restarted: {whole}held{}", hand(held, known.zone)))
        }
        _ => None,
    }
}

/// The nearest hold at or above a path.
pub(super) fn holder<'a>(known: &Known<'a>, path: &str) -> Option<(&'a str, &'a Held)> {
    let above = known.rows.iter().filter(|row| is_within(path, &row.path));
    above.filter_map(|row| Some((row.path.as_str(), row.held.as_ref()?))).next_back()
}

/// ` by ana until 04:00: "mirror is being moved"`.
pub(super) fn hand(held: &Held, zone: i32) -> String {
    let until = held.until.as_deref().and_then(from_rfc3339);
    let until = until.map(|at| format!(" until {}", &clock(at, zone)[..5])).unwrap_or_default();
    let text = held.text.as_ref().map(|text| format!(": \"{text}\"")).unwrap_or_default();
    let by = if held.by.is_empty() { String::new() } else { format!(" by {}", held.by) };
    format!("{by}{until}{text}")
}

/// What the incident came to for the path.
fn happened(chain: &Chain<'_>) -> String {
    let was = |kinds: &[&str]| chain.own().any(|fact| kinds.contains(&fact.kind.as_str()));
    let again = was(&["ended", "asked", "killed", "start_failed", "backoff", "sick"]);
    let last = chain
        .own()
        .rfind(|fact| !matches!(fact.kind.as_str(), "restart" | "limit_exceeded" | "auto_shutdown"));
    let Some(last) = last else {
        // Something happened below it.
        return match chain.started_again().as_slice() {
            [] => "has been told of a crash".to_owned(),
            names => format!("restarted {}", some(names)),
        };
    };
    match last.kind.as_str() {
        "ready" | "started" | "started_by_hand" if again => "was restarted",
        "ready" | "started" | "started_by_hand" => "was started",
        "starting" | "dragged_along" => "is being started",
        "done" => "did its work",
        "declined" => "declined to start",
        "ended" if last.flag("asked") => "was stopped",
        "ended" => "ended and is not restarted",
        "sick" | "asked" | "killed" | "stopping" => "is being stopped",
        "stuck" => "was killed but is not gone",
        "start_failed" => "could not be started",
        "backoff" => "waits for its restart",
        "parked" => "is parked",
        "held" => "is held",
        "released" => "was released",
        "stopped_by_hand" => "was stopped",
        "tree_ended" => "ended",
        _ => return format!("is as it is: {}", last.text),
    }
    .to_owned()
}

/// The cause: ` because acs/logging/channel was killed`, ` by ana`.
fn because(chain: &Chain<'_>, cause: &FactLine) -> Option<String> {
    let itself = cause.path == chain.path;
    let whom = if itself { "it" } else { cause.path.as_str() };
    let by = cause.word("by");
    let fate = match cause.kind.as_str() {
        "ended" if chain.chaos.is_some() => "was killed by chaos".to_owned(),
        "ended" => fate(cause),
        "sick" => "failed its health check".to_owned(),
        "start_failed" => cause.text.replacen("start failed: ", "could not be started: ", 1),
        "stopped_by_hand" | "held" | "released" | "started_by_hand" => {
            let did = cause.kind.strip_suffix("_by_hand").unwrap_or(&cause.kind);
            let by = by.map_or("by hand".to_owned(), |by| format!("by {by}"));
            return Some(if itself { by } else { format!("because {whom} was {did} {by}") });
        }
        "restart" => {
            let by = by.map_or("by hand".to_owned(), |by| format!("by {by}"));
            return Some(if itself { by } else { format!("because {whom} was restarted {by}") });
        }
        "starting" | "started" if !itself => return Some(format!("with {whom}")),
        "stopping" => "was stopped".to_owned(),
        _ => return None,
    };
    let limit = chain.own().any(|fact| fact.kind == "limit_exceeded");
    let limit = if limit { ", once more than its limit allows" } else { "" };
    Some(format!("because {whom} {fate}{limit}"))
}

/// How something ended: `was killed`, `ended with exit 1`.
fn fate(ended: &FactLine) -> String {
    let exit = ended.word("exit").unwrap_or("not known");
    if let Some(cause) = ended.word("error").filter(|_| ended.kind == "ended") {
        return format!("ended ({cause})");
    }
    match (exit, ended.flag("asked")) {
        (_, true) => "was stopped".to_owned(),
        ("SIGKILL", _) => "was killed".to_owned(),
        ("not known", _) => "ended while nobody was watching: status unknown".to_owned(),
        (signal, _) if ended.number("exit_signal").is_some() => format!("was ended by {signal}"),
        (exit, _) => format!("ended with {exit}"),
    }
}

/// A state as a person says it.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Up => "up",
        State::Backoff => "backing off",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Done => "done",
        State::Parked => "parked",
    }
}
