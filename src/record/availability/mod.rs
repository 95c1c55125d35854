//! Availability: facts in, figures out.
//!
//! Rules, each with its test. Time is *up*, *down*, *planned*, *unknown*, or not counted at all (before a child was first
//! mentioned, and after it has left the plan). Down is what a fault caused, from the end of the process (or from the
//! moment woodward asked it to stop because of a sibling's fault) to the next *ready*. Planned is what somebody wanted: a
//! stop, restart or hold by a person, a changed plan, an ordered stop of the tree, the host being down. Unknown is when
//! nobody looked and it cannot be told afterwards. The ratio is up ÷ (up + down): planned and unknown time is counted
//! apart and never improves it.
//!
//! A supervisor, and so a tree, is up while every child below it that is planned is up or done; else it is what the
//! worst of them is: down, unknown, planned. An interruption is one unbroken time of being down, with the cause that it
//! began with.

mod figures;
#[cfg(test)]
mod tests;
mod timeline;

use serde::{Deserialize, Serialize};

use super::fact::FactLine;
use super::words::{is_within, parent};
use timeline::{Span, Timelines};

/// The times that goals are looked at over: name and length in ms.
const WINDOWS: [(&str, u64); 3] = [("day", 86_400_000), ("week", 7 * 86_400_000), ("month", 30 * 86_400_000)];
/// The goals, in thousandths of a percent.
const GOALS: [u32; 4] = [99_000, 99_900, 99_990, 99_999];

/// What is known and asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Facts, oldest first, of one daemon after the other.
    pub facts: &'a [FactLine],
    /// A child or supervisor and all below it; `""`: everything.
    pub path: &'a str,
    /// Nothing before that is counted: milliseconds since 1970, UTC.
    pub since: Option<u64>,
    /// Until then.
    pub now: u64,
    /// A daemon runs; otherwise nothing is known after the last fact.
    pub live: bool,
}

/// The figures of some paths over one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Availability {
    /// Begin of the records: milliseconds since 1970, UTC.
    pub records_since: u64,
    /// Begin of the time that is counted.
    pub since: u64,
    /// Its end.
    pub until: u64,
    /// Supervisors before their children.
    pub rows: Vec<Figures>,
}

/// The figures of one path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Whose.
    pub path: String,
    /// It has children.
    pub supervisor: bool,
    /// Milliseconds up, or done.
    pub up_ms: u64,
    /// Milliseconds down by a fault.
    pub down_ms: u64,
    /// Milliseconds not up because somebody wanted that.
    pub planned_ms: u64,
    /// Milliseconds of which nobody knows.
    pub unknown_ms: u64,
    /// Up ÷ (up + down), from 0 to 1; `None`: neither.
    pub ratio: Option<f64>,
    /// Times of being down.
    pub interruptions: u32,
    /// Mean time from an interruption to being up again, ms, of those that are over.
    pub mttr_ms: Option<u64>,
    /// Mean time up between failures, ms: time up ÷ interruptions.
    pub mtbf_ms: Option<u64>,
    /// Why it was down, most often first.
    pub causes: Vec<Share>,
    /// Why it was not up on purpose, most often first.
    pub planned: Vec<Share>,
    /// Over the last day, week and month.
    pub goals: Vec<Goal>,
}

/// One cause and what it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// With whom it began; empty: with nobody of the tree.
    pub path: String,
    /// One clause.
    pub text: String,
    /// How often.
    pub times: u32,
    /// Milliseconds, all times together.
    pub ms: u64,
}

/// What was met over one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// `day`, `week`, `month`.
    pub window: String,
    /// How much of it there are records of, ms.
    pub recorded_ms: u64,
    /// The whole of it, ms.
    pub of_ms: u64,
    /// Up ÷ (up + down) in it.
    pub ratio: Option<f64>,
    /// The highest of 99, 99.9, 99.99 and 99.999 percent that was met, in thousandths of a percent; `None`: not even 99.
    pub met: Option<u32>,
}

/// Computes the figures.
pub fn availability(asked: &Asked<'_>) -> Availability {
    let begin = asked.facts.first().map_or(asked.now, |fact| fact.at.min(asked.now));
    let lines = timeline::read(asked.facts, asked.now, asked.live);
    let since = asked.since.unwrap_or(begin).clamp(begin, asked.now.max(begin));
    let mut rows = Vec::new();
    for path in sorted(&lines) {
        if !is_within(path, asked.path) {
            continue;
        }
        let own = lines.spans.get(path);
        let merged;
        let (spans, supervisor) = match own {
            Some(spans) => (spans.as_slice(), false),
            None => {
                let below = lines.spans.iter().filter(|(key, _)| is_within(key, path));
                merged = figures::together(below.map(|(_, spans)| spans.as_slice()));
                (merged.as_slice(), true)
            }
        };
        rows.push(of(path, supervisor, spans, since, begin, asked.now));
    }
    Availability { records_since: begin, since, until: asked.now, rows }
}

fn of(path: &str, supervisor: bool, spans: &[Span], since: u64, begin: u64, now: u64) -> Figures {
    let goals = WINDOWS.iter().map(|(name, length)| {
        let from = now.saturating_sub(*length).max(begin);
        let ratio = figures::over(path, spans, from, now).ratio;
        Goal {
            window: (*name).to_owned(),
            recorded_ms: now.saturating_sub(from),
            of_ms: *length,
            ratio,
            met: ratio.and_then(figures::met),
        }
    });
    Figures { supervisor, goals: goals.collect(), ..figures::over(path, spans, since, now) }
}

/// Supervisors before their children, otherwise in order of first mention.
fn sorted(lines: &Timelines) -> Vec<&str> {
    let known = |path: &str| lines.order.iter().any(|other| other == path);
    let mut children: std::collections::HashMap<&str, Vec<&str>> = std::collections::HashMap::new();
    let mut tops = Vec::new();
    for path in &lines.order {
        match parent(path).filter(|above| known(above)) {
            Some(above) => children.entry(above).or_default().push(path),
            None => tops.push(path.as_str()),
        }
    }
    let mut sorted = Vec::with_capacity(lines.order.len());
    let mut stack: Vec<&str> = tops.into_iter().rev().collect();
    while let Some(path) = stack.pop() {
        sorted.push(path);
        stack.extend(children.remove(path).into_iter().flatten().rev());
    }
    sorted
}
