//! The status page: one line per child, whatever is not up in full, 80 columns.
//!
//! Columns: the tree with marks and ids (0-29), pid (right, to 35), for (to 43), restarts (to 53), reason (55-79). What
//! is too long for its column goes on in the next line, never out of the page.

use std::collections::HashMap;

use super::style::{Colour, Style, WIDTH, blanks, lasted, width, wrap};
use crate::record::words::{self, is_within, leaf, span};
use crate::runtime::view::{Held, Kind, Row, State};

/// Right ends of the columns.
const PID: usize = 35;
const FOR: usize = 8;
const RESTARTS: usize = 10;
/// Where the reason begins.
const REASON: usize = 55;
/// Where the strategy of a supervisor begins.
const STRATEGY: usize = 17;
/// A supervisor with more children shows only those that are not up.
const CROWD: usize = 8;

/// Everything a page is made from.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Trees, or one subtree: each supervisor before its children.
    pub rows: &'a [Row],
    /// Host name; empty: not said.
    pub host: &'a str,
    /// Right end of the head line: how long the daemon has been up, or when it was last seen.
    pub daemon: &'a str,
    /// No daemon runs: this is what was last known, and so many of its processes still live.
    pub left: Option<usize>,
    /// Milliseconds since 1970, UTC.
    pub now: u64,
    /// Seconds east of Greenwich.
    pub zone: i32,
    /// Also what is up, in crowds.
    pub all: bool,
    /// There are other trees, so that only full paths are sure to be unique.
    pub others: bool,
    /// Looks.
    pub style: Style,
}

/// The page: a head line, columns, and what to ask next. Lines end with newlines.
pub fn page(page: &Page<'_>) -> String {
    let mut out = String::new();
    let mut rest = page.rows;
    while let Some(top) = rest.first() {
        let end = rest.iter().position(|row| !is_within(&row.path, &top.path)).unwrap_or(rest.len());
        let (tree, others) = rest.split_at(end);
        if !out.is_empty() {
            out.push('\n');
        }
        page.tree(tree, &mut out);
        rest = others;
    }
    if let Some(footer) = page.footer() {
        out.push('\n');
        out.push_str(&footer);
    }
    out
}

/// Workers that are up or done, and all workers.
pub fn count(rows: &[Row]) -> (usize, usize) {
    let workers = || rows.iter().filter(|row| row.kind != Kind::Supervisor);
    (workers().filter(|row| is_up(row)).count(), workers().count())
}

/// What a tree is, in one word.
pub fn word(rows: &[Row]) -> (&'static str, Colour) {
    let Some(top) = rows.first() else { return ("empty", Colour::Dim) };
    let trouble = || rows.iter().any(|row| matches!(row.state, State::Parked | State::Backoff));
    match top.state {
        State::Parked => ("gave up", Colour::BoldRed),
        State::Stopping => ("stopping", Colour::Yellow),
        State::Stopped => ("stopped", Colour::Dim),
        State::Starting | State::Waiting if !trouble() => ("starting", Colour::Yellow),
        State::Up | State::Done if rows.iter().all(is_up) => ("running", Colour::Green),
        _ => ("degraded", Colour::Yellow),
    }
}

/// The last change of a row, and what it waits for, in one clause.
pub fn reason(row: &Row, now: u64, zone: i32) -> String {
    let left = || row.next.as_deref().and_then(words::from_rfc3339).map(|next| next.saturating_sub(now));
    let since = words::from_rfc3339(&row.since);
    let told = row.reason.as_deref().unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    match row.state {
        State::Parked => match left() {
            Some(left) => parts.push(with(&format!("parked, again in {}", coarse(left)), told)),
            None => parts.push(with("parked", told)),
        },
        State::Backoff => match left() {
            Some(left) => parts.push(with(&format!("again in {}", coarse(left)), told)),
            None => parts.push(with("to be restarted", told)),
        },
        State::Starting | State::Stopping => {
            let doing = if row.state == State::Starting { "starting" } else { "stopping" };
            let next = row.next.as_deref().and_then(words::from_rfc3339);
            let doing = match (since, next) {
                (Some(since), Some(next)) if next > since => {
                    let within = coarse(next - since);
                    format!("{doing}, {} of {within}", now.saturating_sub(since) / 1000)
                }
                _ => doing.to_owned(),
            };
            let what =
                if row.state == State::Starting { row.waits_for.as_deref().unwrap_or(told) } else { told };
            parts.push(with(&doing, what));
        }
        State::Waiting => parts.push(match &row.waits_for {
            Some(path) => format!("waits for {}", leaf(path)),
            None => with("waits for its turn", told),
        }),
        State::Up | State::Done | State::Stopped if !told.is_empty() => parts.push(told.to_owned()),
        State::Up | State::Done | State::Stopped => {}
    }
    if let Some(held) = &row.held {
        let at = if row.state == State::Up { 0 } else { parts.len() };
        parts.insert(at, held_by(held, zone));
    }
    if let Some(limit) = row.limit.filter(|limit| limit.used > 0 && row.state != State::Parked) {
        let period = span(std::time::Duration::from_secs(limit.period.into()));
        parts.push(format!("limit {} in {period}: used {}", limit.intensity, limit.used));
    }
    if row.dropped_lines > 0 {
        parts.push(format!("{} lines dropped", row.dropped_lines));
    }
    if parts.is_empty()
        && let Some(text) = &row.status_text
    {
        parts.push(format!("\"{text}\""));
    }
    parts.join("; ")
}

/// `held by ana until 04:00: "mirror is being moved"`.
pub fn held_by(held: &Held, zone: i32) -> String {
    let mut text = format!("held by {}", held.by);
    if let Some(until) = held.until.as_deref().and_then(words::from_rfc3339) {
        text.push_str(" until ");
        text.push_str(&words::clock(until, zone)[..5]);
    }
    match &held.text {
        Some(why) => format!("{text}: \"{why}\""),
        None => text,
    }
}

/// Whether a reason says no more than the state itself.
fn is_said_by(reason: &str, state: State) -> bool {
    matches!(
        (state, reason),
        (State::Starting, "starting")
            | (State::Stopping, "stopping")
            | (State::Waiting, "waits for its turn")
    )
}

/// Whether nothing is to be said about it.
fn is_up(row: &Row) -> bool {
    matches!(row.state, State::Up | State::Done)
}

fn with(doing: &str, what: &str) -> String {
    if what.is_empty() || what == doing { doing.to_owned() } else { format!("{doing}: {what}") }
}

/// A span to come: tenths of a second while it is short, begun minutes in full when it is long.
fn coarse(ms: u64) -> String {
    match ms {
        0..10_000 => words::about(std::time::Duration::from_millis(ms)),
        10_000..60_000 => lasted(ms),
        _ => lasted(ms.div_ceil(60_000) * 60_000),
    }
}

/// The mark of a row and its colour.
pub fn marked(row: &Row, style: Style) -> (&'static str, Colour) {
    let (unicode, ascii, colour) = mark(row);
    (if style.unicode { unicode } else { ascii }, colour)
}

fn mark(row: &Row) -> (&'static str, &'static str, Colour) {
    match row.state {
        State::Parked => ("!", "!", Colour::BoldRed),
        State::Stopped => ("-", "-", Colour::Dim),
        _ if row.held.is_some() => ("=", "=", Colour::Cyan),
        State::Up => ("●", "*", Colour::Green),
        State::Done => ("✓", "+", Colour::DimGreen),
        State::Waiting | State::Starting | State::Stopping | State::Backoff => ("~", "~", Colour::Yellow),
    }
}

/// One line of the table, before it is laid out.
struct Entry {
    depth: usize,
    mark: (&'static str, &'static str, Colour),
    name: String,
    strategy: Option<String>,
    pid: String,
    lasted: String,
    restarts: String,
    reason: String,
}

impl Page<'_> {
    fn tree(&self, rows: &[Row], out: &mut String) {
        let top = &rows[0];
        let (word, colour) = word(rows);
        let (up, all) = count(rows);
        let host = if self.host.is_empty() { String::new() } else { format!(" on {}", self.host) };
        let left = match self.left {
            None => format!("{}{host}: {word}, {up} of {all} up", top.path),
            Some(0) => format!("{}{host}: not running, nothing of it is left", top.path),
            Some(1) => format!("{}{host}: not running, 1 of its processes lives", top.path),
            Some(n) => format!("{}{host}: not running, {n} of its processes live", top.path),
        };
        let shown = left.replacen(word, &self.style.paint(colour, word), 1);
        let gap = (WIDTH - 1).saturating_sub(width(&left) + width(self.daemon));
        if gap >= 2 {
            out.push_str(&format!("{shown}{}{}\n", blanks(gap), self.daemon));
        } else {
            out.push_str(&format!("{shown}\n  {}\n", self.daemon));
        }
        let why = reason(top, self.now, self.zone);
        if !is_said_by(&why, top.state) {
            for line in wrap(&self.style.text(&why), WIDTH - 2) {
                out.push_str(&format!("  {line}\n"));
            }
        }
        let mut entries = Vec::new();
        self.children(rows, 0, &mut entries);
        if entries.iter().any(|entry| !entry.restarts.is_empty()) {
            let columns = format!("{:>PID$}{:>FOR$}{:>RESTARTS$}", "pid", "for", "restarts");
            out.push_str(&self.style.paint(Colour::Dim, &columns));
            out.push('\n');
        }
        let mut spilled: Vec<String> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let own = wrap(&self.style.text(&entry.reason), WIDTH - 1 - REASON);
            let lines = if own.is_empty() { std::mem::take(&mut spilled) } else { own };
            // A summary has nothing to say: the reason of its supervisor goes on beside it.
            let room = entries.get(at + 1).is_some_and(|next| next.reason.is_empty() && next.pid.is_empty());
            let (now, later) = lines.split_at(if room { lines.len().min(1) } else { lines.len() });
            spilled = later.to_vec();
            self.lay_out(entry, now, out);
        }
    }

    /// Entries of all children of `rows[0]`; in a crowd one line for those that are up.
    fn children(&self, rows: &[Row], depth: usize, entries: &mut Vec<Entry>) {
        let mut subtrees = Vec::new();
        let mut rest = &rows[1..];
        while let Some(top) = rest.first() {
            let end = rest.iter().position(|row| !is_within(&row.path, &top.path)).unwrap_or(rest.len());
            let (subtree, others) = rest.split_at(end);
            subtrees.push(subtree);
            rest = others;
        }
        let crowd = subtrees.len() > CROWD && !self.all;
        let quiet = |subtree: &[Row]| subtree.iter().all(|row| is_up(row) && row.held.is_none());
        if crowd && subtrees.iter().any(|subtree| quiet(subtree)) {
            let (up, all) = count(rows);
            entries.push(Entry {
                depth,
                mark: ("●", "*", Colour::Green),
                name: format!("{up} of {all} up"),
                strategy: None,
                pid: String::new(),
                lasted: String::new(),
                restarts: String::new(),
                reason: String::new(),
            });
        }
        for subtree in subtrees {
            if crowd && quiet(subtree) {
                continue;
            }
            entries.push(self.entry(&subtree[0], depth));
            self.children(subtree, depth + 1, entries);
        }
    }

    fn entry(&self, row: &Row, depth: usize) -> Entry {
        let supervisor = row.kind == Kind::Supervisor;
        let since = words::from_rfc3339(&row.since);
        let name = leaf(&row.path).to_owned();
        let mut reason = reason(row, self.now, self.zone);
        let mut strategy = row.strategy.clone().filter(|_| supervisor);
        let begin = STRATEGY.max(2 * depth + 3 + width(&name));
        if let Some(long) = strategy.take_if(|strategy| begin + width(strategy) > PID) {
            reason = with(&long, &reason);
        }
        Entry {
            depth,
            mark: mark(row),
            name,
            strategy,
            pid: match row.pid {
                Some(pid) => pid.to_string(),
                None if supervisor => String::new(),
                None => "-".to_owned(),
            },
            lasted: since.map(|since| lasted(self.now.saturating_sub(since))).unwrap_or_default(),
            restarts: row.restarts.to_string(),
            reason,
        }
    }

    fn lay_out(&self, entry: &Entry, reason: &[String], out: &mut String) {
        let style = self.style;
        let lines = format!("{} ", style.line()).repeat(entry.depth);
        let (unicode, ascii, colour) = entry.mark;
        let mark = if style.unicode { unicode } else { ascii };
        let mut label = format!("{lines}{mark} {}", entry.name);
        let mut reason = reason.to_vec();
        if let Some(strategy) = &entry.strategy {
            let padded =
                format!("{label}{} {strategy}", blanks((STRATEGY - 1).saturating_sub(width(&label))));
            if width(&padded) <= PID {
                label = padded;
            }
        }
        let painted = style.paint(colour, mark);
        let mut first = label.clone();
        // Once: the mark, not the same letter in an id.
        first.replace_range(lines.len()..lines.len() + mark.len(), &painted);
        let columns = format!("{:>FOR$}{:>RESTARTS$}", entry.lasted, entry.restarts);
        let room = PID
            .checked_sub(width(&label) + width(&entry.pid))
            .filter(|room| *room > 0 || entry.pid.is_empty());
        let mut line = match room {
            Some(room) => format!("{first}{}{}{columns}", blanks(room), entry.pid),
            None => {
                out.push_str(first.trim_end());
                out.push('\n');
                format!("{lines}{}{:>pid$}{columns}", style.line(), entry.pid, pid = PID - width(&lines) - 1)
            }
        };
        let more = reason.split_off(reason.len().min(1));
        if let Some(text) = reason.first() {
            let painting = line.chars().count()
                - if line.contains(&painted) { width(&painted) - width(mark) } else { 0 };
            line.push_str(&blanks(REASON.saturating_sub(painting)));
            line.push_str(text);
        }
        out.push_str(line.trim_end());
        out.push('\n');
        for text in more {
            let front = format!("{lines}{}", style.line());
            out.push_str(&format!("{front}{}{text}\n", blanks(REASON.saturating_sub(width(&front)))));
        }
    }

    /// What to ask next, if anything is not well.
    fn footer(&self) -> Option<String> {
        let short = Short::of(self.rows);
        let name =
            |row: &'_ Row| if self.others { row.path.clone() } else { short.name(&row.path).to_owned() };
        let by = |states: &[State]| self.rows.iter().find(|row| states.contains(&row.state));
        let worst = by(&[State::Parked])
            .or_else(|| by(&[State::Backoff]))
            .or_else(|| by(&[State::Starting, State::Stopping]).filter(|row| row.kind != Kind::Supervisor))
            .or_else(|| by(&[State::Waiting]))?;
        let why = format!("why: woodward why {}", name(worst));
        if self.left.is_some() {
            return Some(format!("{why}\n"));
        }
        let speaking = self
            .rows
            .iter()
            .find(|row| row.pid.is_some() && !is_up(row))
            .or(Some(worst).filter(|row| row.kind != Kind::Supervisor));
        let Some(row) = speaking else { return Some(format!("{why}\n")) };
        let lines = format!("lines: woodward logs -n 20 {}", name(row));
        let gap = if width(&why) + width(&lines) + 4 < WIDTH { "    " } else { "\n" };
        Some(format!("{why}{gap}{lines}\n"))
    }
}

/// The shortest name of a path that is still unique.
struct Short<'a> {
    leaves: HashMap<&'a str, u32>,
}

impl<'a> Short<'a> {
    fn of(rows: &'a [Row]) -> Short<'a> {
        let mut leaves = HashMap::new();
        for row in rows {
            *leaves.entry(leaf(&row.path)).or_insert(0) += 1;
        }
        Short { leaves }
    }

    /// The last id where it is unique, else all of it.
    fn name<'b>(&self, path: &'b str) -> &'b str {
        match self.leaves.get(leaf(path)) {
            Some(1) => leaf(path),
            _ => path,
        }
    }
}

#[cfg(test)]
mod tests;
