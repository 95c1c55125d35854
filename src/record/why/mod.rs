//! Why a child is as it is: the chain of facts behind its last change, and what comes next.
//!
//! The chain is the last *incident* that touched the path: everything that followed from one crash, one request, one
//! deadline. It is told in four parts:
//!
//! 1. the answer in one sentence with full paths; for what did not happen too ("is not started: waits for acs/cdb");
//! 2. cause to effect, in milliseconds from the cause: facts about the path, about the one that caused it, and about the
//!    supervisors between; of other children only the names;
//! 3. `now` and `next`, from the view: without a daemon they are missing;
//! 4. the last lines of the one that ended.
//!
//! All of it is a pure function of [`Known`].

mod answer;
mod outlook;
mod text;

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fact::FactLine;
use super::words::{is_within, leaf, parent};
use super::{DAEMON_STARTED, Line};
use crate::record::view::Row;

/// Lines of output shown of the one that ended.
const LAST_LINES: usize = 5;
/// Steps shown of a long chain: so many from its beginning, so many from its end.
const FIRST_STEPS: usize = 6;
const LAST_STEPS: usize = 18;

/// Everything `why` is composed from.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Whom it is asked about: full path.
    pub path: &'a str,
    /// Facts, oldest first; those about others are needed too.
    pub facts: &'a [FactLine],
    /// The published view; empty without a daemon.
    pub rows: &'a [&'a Row],
    /// Last lines of children, in order of time; only those that matter are shown.
    pub lines: &'a [Arc<Line>],
    /// Milliseconds since 1970, UTC.
    pub now: u64,
    /// Seconds east of Greenwich, for times of day.
    pub zone: i32,
}

/// The answer. `text()` is what a person reads, the fields are `why --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Whom it was asked about.
    pub path: String,
    /// One sentence with full paths.
    pub answer: String,
    /// Cause to effect.
    pub facts: Vec<Step>,
    /// How many facts in the middle of a long chain were left out.
    pub left_out: usize,
    /// How it is now.
    pub now: Option<String>,
    /// What comes next.
    pub next: Option<String>,
    /// The last lines of the one that ended, before its end.
    pub lines: Vec<Line>,
    /// Milliseconds since 1970, UTC: when this was composed.
    pub at: u64,
    /// Seconds east of Greenwich, for times of day.
    pub zone: i32,
}

/// One fact of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds from the cause.
    pub after: u64,
    /// Whose line it is: of a decision the supervisor's.
    pub who: String,
    /// What a person reads: as the fact's own, with names where the fact has numbers.
    pub text: String,
    /// The fact.
    pub fact: FactLine,
}

/// Explains the last change of a path.
pub fn explain(known: &Known<'_>) -> Why {
    let chain = Chain::of(known);
    let mut facts = chain.steps();
    let left_out = facts.len().saturating_sub(FIRST_STEPS + LAST_STEPS);
    if left_out > 0 {
        facts.drain(FIRST_STEPS..FIRST_STEPS + left_out);
    }
    Why {
        path: known.path.to_owned(),
        answer: answer::answer(known, &chain),
        facts,
        left_out,
        now: outlook::now(known),
        next: outlook::next(known, &chain),
        lines: chain.last_lines(known.lines),
        at: known.now,
        zone: known.zone,
    }
}

impl<'a> Known<'a> {
    fn row(&self, path: &str) -> Option<&'a Row> {
        self.rows.iter().find(|row| row.path == path).copied()
    }
}

/// The incident that touched the path last.
struct Chain<'a> {
    path: &'a str,
    /// Its facts, the cause first; empty: nothing ever happened to the path.
    all: Vec<&'a FactLine>,
    /// The harm on purpose that the cause came from.
    chaos: Option<&'a FactLine>,
}

impl<'a> Chain<'a> {
    fn of(known: &Known<'a>) -> Chain<'a> {
        let path = known.path;
        // Incidents are numbered anew by a daemon that follows none of the same boot.
        let anew = |fact: &FactLine| fact.kind == DAEMON_STARTED && !fact.flag("follows");
        let runs = || known.facts.split(anew).rev();
        let touched = |fact: &&FactLine| is_within(&fact.path, path) && fact.incident != 0;
        // That a daemon died and another one took over is not what happened to the path, unless nothing else did.
        let happened = |run: &'a [FactLine]| {
            let taken_over = takeovers(run);
            let found = run.iter().rfind(|fact| touched(fact) && !taken_over.contains(&fact.incident));
            Some((run, found?.incident))
        };
        let any = |run: &'a [FactLine]| Some((run, run.iter().rfind(touched)?.incident));
        let last = runs().find_map(happened).or_else(|| runs().find_map(any));
        let Some((run, incident)) = last else { return Chain { path, all: Vec::new(), chaos: None } };
        let chain =
            Chain { path, all: run.iter().filter(|fact| fact.incident == incident).collect(), chaos: None };
        let chaos = chain.cause().and_then(|cause| harm(run, cause));
        Chain { chaos, ..chain }
    }

    /// Where it began.
    fn cause(&self) -> Option<&'a FactLine> {
        self.all.iter().find(|fact| !is_report(fact)).copied()
    }

    /// Facts about the path itself, oldest first.
    fn own(&self) -> impl DoubleEndedIterator<Item = &'a FactLine> {
        self.all.iter().filter(|fact| fact.path == self.path && !is_report(fact)).copied()
    }

    fn steps(&self) -> Vec<Step> {
        let Some(cause) = self.cause() else { return Vec::new() };
        let step = |(at, fact): (usize, &&FactLine)| Step {
            after: fact.at.saturating_sub(cause.at),
            who: match fact.kind.as_str() {
                "restart" => parent(&fact.path).unwrap_or(&fact.path).to_owned(),
                _ => fact.path.clone(),
            },
            text: match fact.kind.as_str() {
                "restart" => super::fact::restart_clause(fact, &self.along(at)),
                // It was, in a way; the step before says so.
                "ended" if self.chaos.is_some() => fact.text.replace(", not sent by woodward", ""),
                _ => fact.text.clone(),
            },
            fact: (**fact).clone(),
        };
        let told = self.all.iter().enumerate().filter(|(at, fact)| self.tells(*at, fact));
        let harm = self.chaos.map(|fact| Step {
            after: 0,
            who: fact.path.clone(),
            text: fact.text.clone(),
            fact: fact.clone(),
        });
        harm.into_iter().chain(told.map(step)).collect()
    }

    /// Whether a fact says something about this path that no other says better.
    fn tells(&self, at: usize, fact: &FactLine) -> bool {
        let later = &self.all[at + 1..];
        let followed_by = |kinds: &[&str]| {
            later.iter().any(|next| next.path == fact.path && kinds.contains(&next.kind.as_str()))
        };
        let said_elsewhere = match fact.kind.as_str() {
            "starting" => followed_by(&["started", "start_failed", "declined", "done"]),
            "backoff" => followed_by(&["started"]),
            // The decision names those who go along.
            "dragged_along" => self.all[..at].iter().any(|before| before.kind == "restart"),
            _ => is_report(fact),
        };
        let about = is_within(&fact.path, self.path)
            || is_within(self.path, &fact.path)
            || self.cause().is_some_and(|cause| cause.path == fact.path);
        about && !said_elsewhere
    }

    /// Those below the path that were restarted, in order.
    fn started_again(&self) -> Vec<&'a str> {
        if !self.all.iter().any(|fact| fact.kind == "restart") {
            return Vec::new();
        }
        let started = self.all.iter().filter(|fact| fact.kind == "started" && fact.path != self.path);
        let mut names: Vec<&str> = Vec::new();
        for fact in started.filter(|fact| is_within(&fact.path, self.path)) {
            let name = leaf(&fact.path);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Who goes along with the restart at `at`: `logger goes too`.
    fn along(&self, at: usize) -> String {
        let restart = self.all[at];
        let later = self.all[at + 1..].iter().take_while(|fact| fact.kind != "restart");
        let goes = |fact: &&&FactLine| {
            fact.kind == "dragged_along" && fact.word("with") == Some(restart.path.as_str())
        };
        let mut names: Vec<&str> = later.filter(goes).map(|fact| leaf(&fact.path)).collect();
        // First the one that is asked about.
        names.sort_unstable_by_key(|name| (*name != leaf(self.path), *name));
        names.dedup();
        match names.as_slice() {
            [] => match restart.number("others").unwrap_or(0) {
                0 => String::new(),
                1 => "1 more goes too".to_owned(),
                n => format!("{n} more go too"),
            },
            [one] => format!("{one} goes too"),
            names => format!("{} go too", some(names)),
        }
    }

    /// What the one that ended wrote last.
    fn last_lines(&self, lines: &[Arc<Line>]) -> Vec<Line> {
        let ends = |fact: &&&FactLine| matches!(fact.kind.as_str(), "ended" | "start_failed");
        // Of the cause; of a start that failed again and again, of the last attempt.
        let Some(cause) = self.cause() else { return Vec::new() };
        let ended = match ends(&&cause) {
            true => Some(cause),
            false => self.all.iter().filter(ends).rfind(|fact| fact.path == self.path).copied(),
        };
        let Some(ended) = ended else { return Vec::new() };
        let its = lines.iter().filter(|line| line.path == ended.path && line.generation == ended.generation);
        let mut last: Vec<Line> = its.rev().take(LAST_LINES).map(|line| (**line).clone()).collect();
        last.reverse();
        last
    }
}

/// The incidents that are nothing but a new daemon that takes over what runs.
fn takeovers(facts: &[FactLine]) -> HashSet<u64> {
    let adopted = facts.iter().filter(|fact| fact.kind == "adopted").map(|fact| fact.incident);
    let mut found: HashSet<u64> = adopted.collect();
    let calm = |kind: &str| ["adopted", "starting", "started", "ready"].contains(&kind);
    for fact in facts.iter().filter(|fact| !calm(&fact.kind)) {
        found.remove(&fact.incident);
    }
    found
}

/// `a`, `a and b`, `a, b and 3 more`.
fn some(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [one, two, more @ ..] => format!("{one}, {two} and {} more", more.len()),
    }
}

/// What `woodward chaos` did to the process of which `cause` tells the end, if it was that.
fn harm<'a>(run: &'a [FactLine], cause: &FactLine) -> Option<&'a FactLine> {
    let killed = cause.kind == "ended" && cause.word("exit") == Some("SIGKILL") && !cause.flag("asked");
    let done = |fact: &&FactLine| {
        fact.kind == "chaos"
            && fact.path == cause.path
            && fact.generation == cause.generation
            && fact.text.contains("SIGKILL")
            && fact.at <= cause.at
    };
    run.iter().rfind(done).filter(|_| killed)
}

/// OTP's reports say again what the facts beside them say.
fn is_report(fact: &FactLine) -> bool {
    fact.kind.starts_with("report_")
}

#[cfg(test)]
mod tests;
