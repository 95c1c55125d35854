//! How it is now, and what comes next.

use std::time::Duration;

use super::answer::{hand, holder, word};
use super::{Chain, Known, some};
use crate::record::view::{Exhausted, Kind, Limit, Row, State};
use crate::record::words::{about, clock, from_rfc3339, is_within, leaf, parent, span};

/// `up for 38s`.
pub(super) fn now(known: &Known<'_>) -> Option<String> {
    let row = known.row(known.path)?;
    let since = from_rfc3339(&row.since).map(|at| known.now.saturating_sub(at));
    let lasts = since.map(|ms| format!(" for {}", about(Duration::from_millis(ms)))).unwrap_or_default();
    let mut text = format!("{}{lasts}", word(row.state));
    if let Some(pulse) = &row.health {
        text.push_str(&format!(", health {}", pulse.now().words(known.zone)));
    }
    if let Some(wanted) = row.waits_for.as_ref() {
        text.push_str(&format!("; waits for {wanted}"));
    }
    if let Some(left) = left(known, row) {
        let what = match row.state {
            State::Starting => "given up in",
            _ => "again in",
        };
        text.push_str(&format!("; {what} {left}"));
    }
    if let Some((at, held)) = holder(known, known.path) {
        let whole = if at == known.path { String::new() } else { format!("{at} is ") };
        text.push_str(&format!("; {whole}held{}", hand(held, known.zone)));
    }
    if row.dropped_lines > 0 {
        text.push_str(&format!("; {} lines of its output dropped", row.dropped_lines));
    }
    Some(text)
}

/// How much more it takes until somebody gives up, and what that means.
pub(super) fn next(known: &Known<'_>, chain: &Chain<'_>) -> Option<String> {
    let row = known.row(known.path)?;
    if matches!(row.state, State::Parked | State::Stopped | State::Done) {
        return None;
    }
    // The account its crashes go to: its own, of a supervisor the one of its children, else the supervisor's.
    let account = match row.limit {
        Some(_) => row,
        None => known.row(parent(known.path)?)?,
    };
    let limit = account.limit?;
    let more = (limit.intensity + 1).saturating_sub(limit.used).max(1);
    let crashes = if more == 1 { "crash" } else { "crashes" };
    let below = if account.kind == Kind::Supervisor { "below" } else { "of" };
    let counted = chain.all.iter().rfind(|fact| fact.kind == "restart" && fact.number("count") != Some(0));
    let period = Duration::from_secs(limit.period.into());
    let window = counted.filter(|_| limit.used > 0).map(|fact| fact.at + u64::from(limit.period) * 1000);
    let window = match window.filter(|end| *end > known.now) {
        Some(end) => format!("by {}", clock(end, known.zone)),
        None => format!("within {}", span(period)),
    };
    let again = if limit.used > 0 { "more " } else { "" };
    let then = then(known, account, &limit);
    Some(format!("{more} {again}{crashes} {below} {} {window} and it {then}", account.path))
}

/// What giving up means: `gives up: acs restarts it, which counts there (0 of 3 in 5m); naming and cdb stay up`.
fn then(known: &Known<'_>, row: &Row, limit: &Limit) -> String {
    match (limit.exhausted, parent(&row.path)) {
        (Some(Exhausted::Park), _) => "is parked".to_owned(),
        (Some(Exhausted::Failover), _) => "gives up: another node shall have the tree".to_owned(),
        (Some(Exhausted::Reboot), _) => "gives up: the machine is rebooted".to_owned(),
        (Some(Exhausted::Exit), _) | (_, None) => "gives up: the tree ends".to_owned(),
        (_, Some(_)) if row.kind != Kind::Supervisor => "gives up".to_owned(),
        (_, Some(above)) => {
            let Some(above) = known.row(above) else { return "gives up".to_owned() };
            let counts = above.limit.map(|limit| {
                let period = span(Duration::from_secs(limit.period.into()));
                format!(", which counts there ({} of {} in {period})", limit.used, limit.intensity)
            });
            let counts = counts.unwrap_or_default();
            format!("gives up: {} restarts it{counts}{}", leaf(&above.path), stay(known, above, row))
        }
    }
}

/// Who is not touched by a restart of `row`: `; naming and cdb stay up`.
fn stay(known: &Known<'_>, above: &Row, row: &Row) -> String {
    let place = known.rows.iter().position(|other| other.path == row.path).unwrap_or(0);
    let stays = |(at, other): &(usize, &&Row)| {
        let sibling = parent(&other.path) == Some(above.path.as_str()) && other.path != row.path;
        let spared = match above.strategy.as_deref() {
            Some("one_for_all") => false,
            Some("rest_for_one") => *at < place,
            _ => true,
        };
        sibling && spared && other.state == State::Up && !is_within(&other.path, &row.path)
    };
    let names: Vec<&str> =
        known.rows.iter().enumerate().filter(stays).map(|(_, other)| leaf(&other.path)).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("; {one} stays up"),
        names => format!("; {} stay up", some(names)),
    }
}

/// How long until a back-off, a parking or a deadline of readiness ends.
fn left(known: &Known<'_>, row: &Row) -> Option<String> {
    let next = from_rfc3339(row.next.as_deref()?)?;
    Some(about(Duration::from_millis(next.saturating_sub(known.now))))
}
