//! Time lines summed up.

use std::collections::BTreeMap;

use super::timeline::{Cause, Condition, Span};
use super::{Figures, GOALS, Share};

/// The sums over one time.
pub(super) fn over(path: &str, spans: &[Span], since: u64, until: u64) -> Figures {
    let mut sums = Figures { path: path.to_owned(), ..Figures::default() };
    let (mut repaired, mut repair_ms) = (0u64, 0u64);
    let (mut causes, mut planned) = (BTreeMap::new(), BTreeMap::new());
    for (at, span) in spans.iter().enumerate() {
        let ms = span.until.min(until).saturating_sub(span.from.max(since));
        if ms == 0 && (span.until <= since || span.from >= until) {
            continue;
        }
        match span.condition {
            Condition::Absent => {}
            Condition::Up => sums.up_ms += ms,
            Condition::Unknown => sums.unknown_ms += ms,
            Condition::Planned => {
                sums.planned_ms += ms;
                share(&mut planned, &span.cause, ms);
            }
            Condition::Down => {
                sums.down_ms += ms;
                sums.interruptions += 1;
                share(&mut causes, &span.cause, ms);
                if spans.get(at + 1).is_some_and(|next| next.condition == Condition::Up && next.from < until)
                {
                    repaired += 1;
                    repair_ms += span.until - span.from;
                }
            }
        }
    }
    let counted = sums.up_ms + sums.down_ms;
    sums.ratio = (counted > 0).then(|| sums.up_ms as f64 / counted as f64);
    sums.mttr_ms = repair_ms.checked_div(repaired);
    sums.mtbf_ms = sums.up_ms.checked_div(u64::from(sums.interruptions));
    sums.causes = ranked(causes);
    sums.planned = ranked(planned);
    sums
}

/// The highest goal that `ratio` meets.
pub(super) fn met(ratio: f64) -> Option<u32> {
    GOALS.into_iter().rfind(|goal| ratio >= f64::from(*goal) / 100_000.0)
}

type Shares<'a> = BTreeMap<(&'a str, &'a str), (u32, u64)>;

fn share<'a>(shares: &mut Shares<'a>, cause: &'a Cause, ms: u64) {
    let (times, sum) = shares.entry((&cause.path, &cause.text)).or_default();
    *times += 1;
    *sum += ms;
}

fn ranked(shares: Shares<'_>) -> Vec<Share> {
    let share = |((path, text), (times, ms)): ((&str, &str), (u32, u64))| Share {
        path: path.to_owned(),
        text: text.to_owned(),
        times,
        ms,
    };
    let mut ranked: Vec<Share> = shares.into_iter().map(share).collect();
    ranked.sort_by_key(|share| std::cmp::Reverse((share.times, share.ms)));
    ranked
}

/// The time line of a supervisor: at each moment as the worst of its children, with the cause of the one that was so
/// first.
pub(super) fn together<'a>(children: impl Iterator<Item = &'a [Span]>) -> Vec<Span> {
    // A child leaves one condition and enters another in one step.
    let mut steps: Vec<(u64, Option<&Span>, Option<&Span>)> = Vec::new();
    for spans in children {
        let mut before = None;
        for span in spans {
            steps.push((span.from, before, Some(span)));
            before = Some(span);
        }
        steps.extend(before.map(|last| (last.until, before, None)));
    }
    steps.sort_by_key(|(at, ..)| *at);
    let mut present: [Vec<&Span>; 5] = Default::default();
    let mut merged: Vec<Span> = Vec::new();
    for (at, before, after) in steps {
        if let Some(before) = before {
            present[before.condition as usize].retain(|span| !std::ptr::eq(*span, before));
        }
        if let Some(after) = after {
            present[after.condition as usize].push(after);
        }
        if let Some(last) = merged.last_mut() {
            last.until = at;
        }
        let Some(worst) = present.iter().rev().find_map(|spans| spans.first()) else { continue };
        if merged.last().is_none_or(|last| last.condition != worst.condition) {
            merged.push(Span { from: at, until: at, ..(*worst).clone() });
        }
    }
    merged.retain(|span| span.until > span.from || span.condition == Condition::Down);
    merged
}
