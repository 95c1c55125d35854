//! What was last known of trees whose daemon does not run: their histories, folded.

use std::collections::HashMap;
use std::path::Path;

use super::report::{Code, Failure};
use super::target;
use crate::control::places::Kept;
use crate::control::resolve;
use crate::record::fact::FactLine;
use crate::record::{history, words};
use crate::runtime::view::{Held, Kind, Row, State};

/// One tree as it was left.
#[derive(Clone, Debug)]
pub struct Last {
    /// All facts that can be read, oldest first.
    pub all: Vec<FactLine>,
    /// The place of the first one of its last run.
    begin: usize,
    /// Its rows at the end of them.
    pub rows: Vec<Row>,
    /// The last fact: milliseconds since 1970, UTC.
    pub seen: u64,
}

/// All trees with a history that can be read. With a socket of its own (`elsewhere`) a daemon may be any: then only what
/// is in `state` is its history.
pub fn known(state: Option<&Path>, elsewhere: bool) -> Vec<Last> {
    if elsewhere && state.is_none() {
        return Vec::new();
    }
    target::host().kept(state).into_values().filter_map(|kept| Last::of(facts(&kept)?)).collect()
}

/// All facts of what was kept.
pub fn facts(kept: &Kept) -> Option<Vec<FactLine>> {
    history::read_with(kept.history.as_deref(), kept.run.as_deref()).ok()
}

/// The daemon of a tree that is known is not there, while others are.
pub fn absent() -> Failure {
    Failure::new(Code::NoDaemon, "cannot reach its daemon: it does not run").hint("woodward run FILE")
}

/// The one tree and full path that `asked` means.
pub fn locate<'a>(known: &'a [Last], asked: &str) -> Result<(&'a Last, String), Failure> {
    let paths = || known.iter().flat_map(|last| last.rows.iter().map(|row| row.path.as_str()));
    let found = resolve::candidates(asked, paths());
    match found.as_slice() {
        [path] => known
            .iter()
            .find(|last| last.rows.iter().any(|row| row.path == *path))
            .map(|last| (last, (*path).to_owned()))
            .ok_or_else(|| Failure::usage(format!("cannot find {asked}: no such path"))),
        [] => {
            let failure = Failure::usage(format!("cannot find {asked}: no such path in what is last known"));
            Err(match resolve::nearest(asked, paths()) {
                Some(path) => failure.hint(format!("did you mean {path}?")),
                None => failure.hint("woodward status"),
            })
        }
        several => {
            let several = resolve::listed(several);
            Err(Failure::usage(format!("cannot tell which {asked} is meant:{several}"))
                .hint("write more of the path"))
        }
    }
}

/// How many processes of these rows still live: the pid is there and its environment names the path.
pub fn living(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.pid.is_some_and(|pid| lives(pid, &row.path))).count()
}

fn lives(pid: i32, path: &str) -> bool {
    let wanted = format!("WOODWARD_PATH={path}");
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

impl Last {
    /// `None`: nothing in it.
    fn of(all: Vec<FactLine>) -> Option<Last> {
        let root = |fact: &FactLine| !fact.path.contains('/');
        // Each run of a tree begins with the start of its root.
        let begin = all.iter().rposition(|fact| root(fact) && fact.kind == "starting").unwrap_or(0);
        let seen = all.last()?.at;
        Some(Last { rows: rows(&all[begin..]), all, begin, seen })
    }

    /// The facts of its last run, oldest first.
    pub fn facts(&self) -> &[FactLine] {
        &self.all[self.begin..]
    }
}

/// The rows that these facts leave behind, each supervisor before its children, in order of first mention.
pub fn rows(facts: &[FactLine]) -> Vec<Row> {
    let mut order: Vec<&str> = Vec::new();
    let mut rows: HashMap<&str, Row> = HashMap::new();
    for fact in facts.iter().filter(|fact| !fact.path.is_empty()) {
        let row = rows.entry(&fact.path).or_insert_with(|| {
            order.push(&fact.path);
            blank(&fact.path)
        });
        fold(row, fact);
    }
    let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut tops = Vec::new();
    for path in order {
        match words::parent(path).filter(|parent| rows.contains_key(parent)) {
            Some(parent) => children.entry(parent).or_default().push(path),
            None => tops.push(path),
        }
    }
    let mut sorted = Vec::with_capacity(rows.len());
    let mut stack: Vec<&str> = tops.into_iter().rev().collect();
    while let Some(path) = stack.pop() {
        let below = children.remove(path);
        if let Some(mut row) = rows.remove(path) {
            if below.is_some() {
                row.kind = Kind::Supervisor;
            }
            sorted.push(row);
        }
        stack.extend(below.into_iter().flatten().rev());
    }
    sorted
}

pub(super) fn blank(path: &str) -> Row {
    Row {
        path: path.to_owned(),
        kind: Kind::Service,
        state: State::Stopped,
        pid: None,
        generation: 0,
        restarts: 0,
        since: String::new(),
        reason: None,
        held: None,
        next: None,
        exit: None,
        strategy: None,
        limit: None,
        waits_for: None,
        dropped_lines: 0,
        status_text: None,
        health: None,
    }
}

/// What a fact changes in its row.
pub(super) fn fold(row: &mut Row, fact: &FactLine) {
    row.generation = row.generation.max(fact.generation);
    let state = match fact.kind.as_str() {
        "starting" => State::Starting,
        "started" => {
            row.pid = fact.number("pid").and_then(|pid| i32::try_from(pid).ok());
            return;
        }
        "ready" => State::Up,
        "done" | "declined" => State::Done,
        "ended" | "start_failed" | "stopped_by_hand" => State::Stopped,
        "asked" | "stopping" => State::Stopping,
        "backoff" => State::Backoff,
        "parked" => State::Parked,
        "restart" | "dragged_along" => {
            row.restarts += 1;
            row.reason = Some(fact.text.clone());
            return;
        }
        "held" => {
            let word = |name: &str| fact.word(name).map(str::to_owned);
            let by = word("by").unwrap_or_default();
            row.held = Some(Held { by, text: word("text"), until: until(fact) });
            return;
        }
        "released" => {
            row.held = None;
            return;
        }
        _ => return,
    };
    row.state = state;
    row.since = words::rfc3339(fact.at);
    if !matches!(state, State::Up | State::Starting | State::Stopping) {
        row.pid = None;
        if !matches!(state, State::Parked | State::Backoff) {
            let how = fact.text.strip_prefix("ended: ").unwrap_or(&fact.text);
            row.reason = how.split(';').next().map(str::to_owned);
        }
    }
    row.next = until(fact);
}

fn until(fact: &FactLine) -> Option<String> {
    fact.number("until").map(words::rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_folded_into_rows() {
        let mut at = 0;
        let mut fact = |path: &str, generation, kind: &str, text: &str| {
            at += 1000;
            FactLine::note(at, 1, path, generation, kind, text.to_owned())
        };
        let facts = vec![
            fact("t", 1, "starting", ""),
            fact("t/old", 2, "starting", ""),
            fact("t", 3, "starting", ""),
            fact("t/a", 4, "starting", ""),
            fact("t/g", 5, "starting", ""),
            fact("t/a", 4, "ready", "ready"),
            fact("t/g/b", 6, "starting", ""),
            fact("t/g/b", 6, "ended", "ended: exit 1"),
            fact("t/g/b", 6, "restart", "one_for_one: restart 1"),
        ];
        let last = Last::of(facts).unwrap();
        let seen: Vec<_> = last.rows.iter().map(|row| (row.path.as_str(), row.kind, row.state)).collect();
        assert_eq!(
            seen,
            [
                ("t", Kind::Supervisor, State::Starting),
                ("t/a", Kind::Service, State::Up),
                ("t/g", Kind::Supervisor, State::Starting),
                ("t/g/b", Kind::Service, State::Stopped),
            ]
        );
        assert_eq!(last.rows[3].restarts, 1);
        assert_eq!(last.seen, 9000);
    }

    #[test]
    fn a_pid_of_somebody_else_is_not_ours() {
        assert!(!lives(std::process::id().cast_signed(), "t/a"));
    }
}
