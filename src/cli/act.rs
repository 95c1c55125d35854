//! What the verbs that change something have in common: ask, tell as it happens, end with the outcome.

use std::collections::HashMap;
use std::process::ExitCode;

use hyper::Method;

use super::detail::shown;
use super::page;
use super::report::{self, Code, Failure};
use super::style::{Style, blanks, width};
use super::target::{Target, misread};
use crate::control::client::encode;
use crate::control::message::{Problem, Step};
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::record::words::{self, about, leaf, parent};
use crate::runtime::view::{Row, State};

/// Which daemon, and how it is told.
#[derive(clap::Args)]
pub struct Manner {
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// What happens, one object a line, the outcome last
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// One wish for one or several children.
pub struct Wish<'a> {
    /// `start`, `stop`, `restart`, `hold`, `release`, `signal`, `reload`.
    pub verb: &'static str,
    /// For whom.
    pub paths: &'a [String],
    /// Further names and values.
    pub query: Vec<(String, String)>,
}

/// Asks for each path in turn. All paths are looked up first: if one is wrong, nothing is done.
pub fn act(manner: &Manner, wish: &Wish<'_>) -> ExitCode {
    report::end(all(manner, wish))
}

fn all(manner: &Manner, wish: &Wish<'_>) -> Result<Code, Failure> {
    let client = manner.target.client()?;
    let mut located = Vec::new();
    for asked in wish.paths {
        located.push(client.locate(asked)?);
    }
    let mut worst = Code::Done;
    for (endpoint, path) in located {
        let mut uri = format!("/v1/{}?path={}", wish.verb, encode(&path));
        for (name, value) in &wish.query {
            uri.push_str(&format!("&{}={}", encode(name), encode(value)));
        }
        if manner.no_wait {
            uri.push_str("&no_wait=true");
        }
        let mut teller = Teller::new(wish.verb, &path, !manner.no_wait, Style::here());
        client.stream(&Method::POST, vec![(endpoint, uri)], |text| {
            let step: Step = serde_json::from_str(text).map_err(|error| misread(&error))?;
            let told = teller.step(&step, clock::wall());
            report::print(&if manner.json { format!("{text}\n") } else { told });
            Ok(())
        })?;
        match teller.end() {
            Ok(()) => {}
            Err(failure) => {
                failure.report();
                worst = if worst == Code::Done { failure.code } else { worst };
            }
        }
    }
    Ok(worst)
}

/// Turns steps into lines. One line per child: it is begun when something starts or stops, and ended, if no other child
/// came in between, when that is done.
pub(super) struct Teller {
    verb: &'static str,
    path: String,
    wait: bool,
    style: Style,
    /// Child whose line is not ended yet.
    open: Option<String>,
    /// What each is doing, and since when (milliseconds since 1970).
    doing: HashMap<String, (&'static str, u64)>,
    /// Main processes seen.
    pids: HashMap<String, u64>,
    outcome: Option<Option<Problem>>,
}

impl Teller {
    pub(super) fn new(verb: &'static str, path: &str, wait: bool, style: Style) -> Teller {
        let (doing, pids) = (HashMap::new(), HashMap::new());
        Teller { verb, path: path.to_owned(), wait, style, open: None, doing, pids, outcome: None }
    }

    /// What a step adds to the output.
    pub(super) fn step(&mut self, step: &Step, now: u64) -> String {
        match step {
            Step::Plan { path, goes_along, stays_up } => {
                let names =
                    |paths: &[String]| paths.iter().map(|path| leaf(path)).collect::<Vec<_>>().join(", ");
                match (goes_along.is_empty(), stays_up.is_empty()) {
                    (false, _) => format!("restarts with {path}: {}\n", names(goes_along)),
                    (_, false) => format!("stays up, although after {path}: {}\n", names(stays_up)),
                    (true, true) => String::new(),
                }
            }
            Step::Forecast(_) => String::new(),
            Step::Fact(fact) => self.fact(fact),
            Step::Outcome { path, row, problem, lines } => {
                let mut out = self.close();
                let indent = blanks(width(self.name(path)) + 2);
                for line in lines {
                    out.push_str(&format!("{indent}| {}\n", shown(&line.text, self.style)));
                }
                out.push_str(&self.summary(path, row.as_deref(), problem.as_ref(), now));
                self.outcome = Some(problem.clone());
                self.style.text(&out)
            }
        }
    }

    /// The failure to report, if it came to that.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.outcome {
            Some(None) => Ok(()),
            Some(Some(problem)) => Err(problem.into()),
            None => {
                let error = format!("cannot tell how {} ended: the daemon went away", self.verb);
                Err(Failure::new(Code::TryAgain, error).hint("woodward status"))
            }
        }
    }

    /// A path without what all have in common.
    fn name<'a>(&self, path: &'a str) -> &'a str {
        let above = parent(&self.path).unwrap_or_default();
        path.strip_prefix(above).map_or(path, |rest| rest.trim_start_matches('/'))
    }

    fn fact(&mut self, fact: &FactLine) -> String {
        let told = match fact.kind.as_str() {
            "starting" => return self.begin(fact, "starting"),
            "asked" | "stopping" => return self.begin(fact, "stopping"),
            "started" => {
                if let Some(pid) = fact.number("pid") {
                    self.pids.insert(fact.path.clone(), pid);
                }
                return String::new();
            }
            "ready" => {
                let pid = self.pids.get(&fact.path).map(|pid| format!(", pid {pid}")).unwrap_or_default();
                format!("up{}{pid}", self.after(fact))
            }
            "done" => format!("done{}", self.after(fact)),
            "declined" => "declined to start".to_owned(),
            "start_failed" => {
                let why = fact.text.strip_prefix("start failed: ").unwrap_or(&fact.text);
                format!("failed{}: {why}", self.after(fact))
            }
            // A start that failed: `start_failed` says more.
            "ended" if self.doing.get(&fact.path).is_some_and(|(doing, _)| *doing == "starting") => {
                return String::new();
            }
            "ended" if fact.flag("asked") => {
                let how = fact.text.strip_prefix("ended: ").and_then(|how| how.split(';').next());
                let how = how.map(|how| format!(": {how}")).unwrap_or_default();
                format!("stopped{}{how}", self.after(fact))
            }
            "ended" | "killed" | "stuck" | "limit_exceeded" | "signalled" | "reloaded" => fact.text.clone(),
            _ => return String::new(),
        };
        let goes_on = self.open.as_deref() == Some(fact.path.as_str());
        if goes_on {
            self.open = None;
            return self.style.text(&format!(" {told}\n"));
        }
        self.style.text(&format!("{}{}  {told}\n", self.close(), self.name(&fact.path)))
    }

    /// Begins a line, unless it is known that it does that.
    fn begin(&mut self, fact: &FactLine, doing: &'static str) -> String {
        if self.doing.get(&fact.path).is_some_and(|(known, _)| *known == doing) {
            return String::new();
        }
        self.doing.insert(fact.path.clone(), (doing, fact.at));
        let out = format!("{}{}  {doing} {}", self.close(), self.name(&fact.path), self.style.dots());
        self.open = Some(fact.path.clone());
        out
    }

    /// Ends a line that was begun.
    fn close(&mut self) -> String {
        if self.open.take().is_some() { "\n".to_owned() } else { String::new() }
    }

    /// How long what is now over has lasted.
    fn after(&mut self, fact: &FactLine) -> String {
        match self.doing.remove(&fact.path) {
            Some((_, began)) => {
                let time = std::time::Duration::from_millis(fact.at.saturating_sub(began));
                format!(" after {}", about(time))
            }
            None => String::new(),
        }
    }

    /// The last line: how it is now.
    fn summary(&self, path: &str, row: Option<&Row>, problem: Option<&Problem>, now: u64) -> String {
        if !self.wait && problem.is_none() {
            return format!("{path}: {} asked for, not waited for\n", self.verb);
        }
        let Some(row) = row else { return format!("{path} is gone\n") };
        let zone = clock::zone(now);
        let state = match row.state {
            State::Up => match row.pid {
                Some(pid) => format!("is up, pid {pid}"),
                None => "is up".to_owned(),
            },
            State::Done => "is done".to_owned(),
            State::Stopped if self.verb == "stop" && problem.is_none() => {
                format!("is stopped, until woodward start {path}")
            }
            State::Stopped => "is stopped".to_owned(),
            State::Waiting => "waits".to_owned(),
            State::Starting => "is starting".to_owned(),
            State::Stopping => "is stopping".to_owned(),
            State::Parked => "is parked".to_owned(),
            State::Backoff => match row.next.as_deref().and_then(words::from_rfc3339) {
                Some(next) => {
                    let left = std::time::Duration::from_millis(next.saturating_sub(now));
                    format!("is backing off, again in {}", about(left))
                }
                None => "is backing off".to_owned(),
            },
        };
        let held = match &row.held {
            Some(held) if row.state != State::Stopped => format!("; {}", page::held_by(held, zone)),
            _ => String::new(),
        };
        let released = if self.verb == "release" && row.held.is_none() { "; not held" } else { "" };
        format!("{path} {state}{held}{released}\n")
    }
}

#[cfg(test)]
mod tests;
