//! `woodward replay` of a real run: its history, fact by fact, and whose state each one changed.
//!
//! It is the facts that are gone through, not the engine's events: every fact of a history is there for as long as the
//! history goes back, over restarts of daemons and of the machine, whereas the engine could be run again only from the
//! start of its tree, and a daemon that takes over begins in the middle. The engine's own traces are of `simulate` and
//! of its tests; `replay` reads them too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::last::{self, blank, fold};
use super::report::{Code, Failure};
use super::target;
use crate::control::places::Kept;
use crate::record::fact::FactLine;
use crate::record::words;
use crate::runtime::view::{Row, State};

/// The facts of a history directory, or of the daemon of that name; `None`: it is neither.
pub fn find(what: &Path, state: Option<&Path>) -> Result<Option<Vec<FactLine>>, Failure> {
    let kept = match what.is_dir() {
        true => Some(Kept { history: Some(what.to_owned()), run: None }),
        false if what.exists() => None,
        false => what.to_str().and_then(|id| target::host().kept(state).remove(id)),
    };
    let Some(kept) = kept else { return Ok(None) };
    match last::facts(&kept) {
        Some(facts) if !facts.is_empty() => Ok(Some(facts)),
        _ => {
            let message = format!("cannot replay {}: there is no history in it", what.display());
            Err(Failure::new(Code::Config, message))
        }
    }
}

/// The rows of a history up to some fact.
pub struct Story {
    zone: i32,
    day: String,
    steps: usize,
    rows: BTreeMap<String, Row>,
}

impl Story {
    /// Before the first fact; times of day are those of this zone, seconds east of Greenwich.
    pub fn new(zone: i32) -> Story {
        Story { zone, day: String::new(), steps: 0, rows: BTreeMap::new() }
    }

    /// One fact and what it changes; `all`: how many there are.
    pub fn step(&mut self, fact: &FactLine, all: usize) -> String {
        self.steps += 1;
        let mut text = String::new();
        let day = words::day(fact.at, self.zone);
        if day != self.day {
            let _ = writeln!(text, "{day}");
            self.day = day;
        }
        let clock = words::clock_ms(fact.at, self.zone);
        let incident = match fact.incident {
            0 => String::new(),
            number => format!("  (incident {number:04x})"),
        };
        let path = if fact.path.is_empty() { "woodward" } else { &fact.path };
        let _ = writeln!(text, "{}/{all}  {clock}  {path}  {}{incident}", self.steps, fact.text);
        if fact.path.is_empty() {
            return text;
        }
        let row = self.rows.entry(fact.path.clone()).or_insert_with(|| blank(&fact.path));
        let before = (row.generation > 0).then_some((row.state, row.generation));
        fold(row, fact);
        let after = (row.state, row.generation);
        if before != Some(after) && row.generation > 0 {
            let _ = writeln!(text, "    {}: {} -> {}", fact.path, said(before), said(Some(after)));
        }
        text
    }

    /// How everything was in the end.
    pub fn end(&self) -> String {
        let mut text = format!("end after {} facts\n", self.steps);
        for row in self.rows.values() {
            let _ = writeln!(text, "    {}: {}", row.path, said(Some((row.state, row.generation))));
        }
        text
    }
}

fn said(found: Option<(State, u64)>) -> String {
    match found {
        None => "not there".to_owned(),
        Some((state, 0)) => format!("{state:?}").to_lowercase(),
        Some((state, generation)) => format!("{} as {generation}", format!("{state:?}").to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_gone_through_fact_by_fact() {
        let mut at = 1_795_230_800_000;
        let mut fact = |path: &str, generation, kind: &str, text: &str| {
            at += 1000;
            FactLine::note(at, u64::from(!path.is_empty()), path, generation, kind, text.to_owned())
        };
        let facts = [
            fact("", 0, "daemon_started", "daemon started"),
            fact("t/a", 2, "starting", "starting"),
            fact("t/a", 2, "ready", "ready"),
            fact("t/a", 2, "ended", "ended: exit 1"),
        ];
        let mut story = Story::new(0);
        let mut text: String = facts.iter().map(|fact| story.step(fact, facts.len())).collect();
        text.push_str(&story.end());
        insta::assert_snapshot!(text, @r"
        2026-11-21
        1/4  03:13:21.000  woodward  daemon started
        2/4  03:13:22.000  t/a  starting  (incident 0001)
            t/a: not there -> starting as 2
        3/4  03:13:23.000  t/a  ready  (incident 0001)
            t/a: starting as 2 -> up as 2
        4/4  03:13:24.000  t/a  ended: exit 1  (incident 0001)
            t/a: up as 2 -> stopped as 2
        end after 4 facts
            t/a: stopped as 2
        ");
    }
}
