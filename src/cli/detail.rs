//! One child in full: state, command, keys, last runs, last lines.

use super::page;
use super::style::{Style, WIDTH, blanks, lasted, wrap};
use crate::control::message::{Run, Shown};
use crate::record::Line;
use crate::record::words::{self, leaf};
use crate::runtime::view::{Kind, Row, State};

/// Where and when it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Milliseconds since 1970, UTC.
    pub now: u64,
    /// Seconds east of Greenwich.
    pub zone: i32,
    /// Looks.
    pub style: Style,
}

/// Where the values of the keys begin.
const VALUE: usize = 14;

/// The details. `subtree` is the page of a supervisor, empty for a worker.
pub fn detail(shown: &Shown, subtree: &str, looks: Looks) -> String {
    let Some(row) = shown.rows.first() else {
        return format!("{}: not there now; a temporary child is forgotten when it ends\n", shown.path);
    };
    let mut out = if subtree.is_empty() { head(row, looks) } else { format!("{subtree}\n") };
    let style = looks.style;
    let mut key = |name: &str, value: &str| {
        for (at, line) in wrap(&style.text(value), WIDTH - 1 - VALUE).iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            out.push_str(&format!("  {name:<width$}{line}\n", width = VALUE - 2));
        }
    };
    if let Some(text) = &shown.description {
        key("description", text);
    }
    if let Some(pid) = row.pid {
        key("pid", &format!("{pid}, generation {}", row.generation));
    }
    if !shown.command.is_empty() {
        key("command", &quoted(&shown.command));
    }
    for (name, value) in &shown.settings {
        key(name, value);
    }
    if let Some(pulse) = &row.health {
        key("health", &pulse.now().words(looks.zone));
    }
    if let Some(memory) = shown.memory {
        let of = if memory.group { "its control group" } else { "its main process (PSS)" };
        key("memory", &format!("{}, {of}", size(memory.bytes)));
    }
    if let Some(text) = &row.status_text {
        key("status", &format!("\"{text}\""));
    }
    if row.kind != Kind::Supervisor {
        key("restarts", &row.restarts.to_string());
        out.push_str(&runs(&shown.runs, looks));
    }
    out.push_str(&lines(row, &shown.lines, looks));
    out
}

/// `! acs/manager: parked, again in 3m: exit 1, 4 times in 10m; for 12m`
fn head(row: &Row, looks: Looks) -> String {
    let since = words::from_rfc3339(&row.since).unwrap_or(looks.now);
    let time = lasted(looks.now.saturating_sub(since));
    let reason = page::reason(row, looks.now, looks.zone);
    let text = match row.state {
        State::Up => plus(format!("up for {time}"), &reason),
        State::Done => plus(format!("done, {time} ago"), &reason),
        State::Stopped => plus(format!("stopped for {time}"), &reason),
        State::Waiting | State::Starting | State::Backoff | State::Stopping | State::Parked => {
            format!("{reason}; for {time}")
        }
    };
    let (mark, colour) = page::marked(row, looks.style);
    let text = looks.style.text(&format!("{}: {text}", row.path));
    let mut out = String::new();
    for (at, line) in wrap(&text, WIDTH - 3).iter().enumerate() {
        let front = if at == 0 { looks.style.paint(colour, mark) } else { " ".to_owned() };
        out.push_str(&format!("{front} {line}\n"));
    }
    out.push('\n');
    out
}

fn plus(state: String, reason: &str) -> String {
    if reason.is_empty() { state } else { format!("{state}; {reason}") }
}

/// `12.3M`, as sizes are written in tree files.
fn size(bytes: u64) -> String {
    let units = [(1u64 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1}{name}", bytes as f64 / unit as f64),
        None => bytes.to_string(),
    }
}

/// As a shell would take it.
fn quoted(command: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c))
    };
    let words = command.iter().map(|word| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// When, how long, how ended.
fn runs(runs: &[Run], looks: Looks) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut out = "\nlast runs:\n".to_owned();
    for run in runs {
        let day = words::day(run.started, looks.zone);
        let started = words::clock(run.started, looks.zone);
        let time = lasted(run.ended.unwrap_or(looks.now).saturating_sub(run.started));
        let how = match (&run.how, run.ended) {
            (Some(how), _) => how.as_str(),
            (None, Some(_)) => "ended",
            (None, None) => "runs",
        };
        for (at, line) in wrap(&looks.style.text(how), WIDTH - 1 - 33).iter().enumerate() {
            match at {
                0 => out.push_str(&format!("  {day} {started}  {time:>8}  {line}\n")),
                _ => out.push_str(&format!("{}{line}\n", blanks(33))),
            }
        }
    }
    out
}

/// The last lines; a supervisor's with the child in front.
fn lines(row: &Row, lines: &[Line], looks: Looks) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut out = format!("\nlast lines (woodward logs {}):\n", row.path);
    for line in lines {
        let clock = words::clock(line.at, looks.zone);
        let front = if line.path == row.path { String::new() } else { format!("{}: ", leaf(&line.path)) };
        out.push_str(&format!("  {clock} {front}{}\n", shown(&line.text, looks.style)));
    }
    out
}

/// A line of a child as a terminal may show it: control characters would steer the terminal.
pub fn shown(text: &str, style: Style) -> String {
    let text = if style.unicode { text.to_owned() } else { style.text(text) };
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::Memory;
    use crate::runtime::view::{Failure, Health};

    const NOW: u64 = 1_795_230_800_000;

    fn shown_manager() -> Shown {
        let line = |seq, text: &str| Line {
            seq,
            at: NOW - 2000 + seq,
            path: "acs/manager".to_owned(),
            generation: 7,
            text: text.to_owned(),
        };
        let run = |generation, began: u64, ended: Option<u64>, how: Option<&str>| Run {
            generation,
            started: NOW - began,
            ended: ended.map(|ended| NOW - ended),
            how: how.map(str::to_owned),
        };
        Shown {
            path: "acs/manager".to_owned(),
            rows: vec![Row {
                path: "acs/manager".to_owned(),
                kind: Kind::Service,
                state: State::Starting,
                pid: Some(91_310),
                generation: 7,
                restarts: 1,
                since: words::rfc3339(NOW - 2000),
                reason: None,
                held: None,
                next: Some(words::rfc3339(NOW + 48_000)),
                exit: None,
                strategy: None,
                limit: None,
                waits_for: Some("\"Manager Application initialized\"".to_owned()),
                dropped_lines: 0,
                status_text: None,
                health: Some(
                    Health {
                        good: 5,
                        asked: 7,
                        last_failure: Some(Failure {
                            at: words::rfc3339(NOW - 1000),
                            text: "tcp 127.0.0.1:3210: connection refused".to_owned(),
                        }),
                        ..Health::default()
                    }
                    .into(),
                ),
            }],
            description: Some("The ACS manager".to_owned()),
            command: ["maciManagerJ", "-n", "a b"].map(str::to_owned).to_vec(),
            memory: Some(Memory { bytes: 12_900_000, group: true }),
            settings: vec![
                ("restart".to_owned(), "permanent".to_owned()),
                ("checks".to_owned(), "tcp 127.0.0.1:3210 every 20s, 3 misses".to_owned()),
                ("ready".to_owned(), "\"Manager Application initialized\", within 50s".to_owned()),
                ("shutdown".to_owned(), "10s".to_owned()),
            ],
            runs: vec![
                run(3, 90_000_000, Some(3000), Some("SIGKILL, not sent by woodward")),
                run(7, 2000, None, None),
            ],
            lines: vec![line(1, "reading /alma/ACS"), line(2, "\x1b[2Jcleared?")],
        }
    }

    #[test]
    fn a_child_in_full() {
        let looks = Looks { now: NOW, zone: 0, style: Style::plain(true) };
        insta::assert_snapshot!(detail(&shown_manager(), "", looks), @r#"
    ~ acs/manager: starting, 2 of 50s: "Manager Application initialized"; for 2s

      description The ACS manager
      pid         91310, generation 7
      command     maciManagerJ -n 'a b'
      restart     permanent
      checks      tcp 127.0.0.1:3210 every 20s, 3 misses
      ready       "Manager Application initialized", within 50s
      shutdown    10s
      health      5 of 7; last failure 03:13:19: tcp 127.0.0.1:3210: connection
                  refused
      memory      12.3M, its control group
      restarts    1

    last runs:
      2026-11-20 02:13:20        1d  SIGKILL, not sent by woodward
      2026-11-21 03:13:18        2s  runs

    last lines (woodward logs acs/manager):
      03:13:18 reading /alma/ACS
      03:13:18 ?[2Jcleared?
    "#);
    }

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(quoted(&["sh", "-c", "echo it's"].map(str::to_owned)), "sh -c 'echo it'\\''s'");
    }
}
