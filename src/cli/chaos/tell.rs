//! What chaos prints: a line per fault and per recovery as they happen, and the sum.

use std::time::Duration;

use serde::Serialize;

use super::super::availability::pages;
use super::super::report::{self, Failure};
use super::super::style::{Style, WIDTH, wrap};
use super::super::target::misread;
use super::schedule::{Planned, Wish};
use crate::os::clock;
use crate::record::availability::Availability;
use crate::record::words::{about, span};
use crate::runtime::faults::{Done, Kind};

/// Tells it, and keeps count.
pub(super) struct Teller {
    json: bool,
    style: Style,
    said: Said,
}

/// All of it, as `--json` prints it.
#[derive(Default, Serialize)]
struct Said {
    seed: u64,
    tree: String,
    planned: Vec<Planned>,
    /// Slots for which no limit had room.
    left_out: u64,
    faults: Vec<Outcome>,
    skipped: Vec<Skipped>,
    broken: Vec<String>,
    availability: Option<Availability>,
}

#[derive(Serialize)]
struct Outcome {
    n: u64,
    /// Milliseconds from the begin.
    at: u64,
    #[serde(flatten)]
    done: Done,
    path: String,
    kind: Kind,
    /// Milliseconds until all of its branch was up again and the fault was over.
    over_after: Option<u64>,
    /// Services that were started again.
    restarted: usize,
}

#[derive(Serialize)]
struct Skipped {
    n: u64,
    why: String,
}

impl Teller {
    pub(super) fn new(json: bool) -> Teller {
        Teller { json, style: Style::here(), said: Said::default() }
    }

    pub(super) fn seed(&self) -> u64 {
        self.said.seed
    }

    pub(super) fn begin(&mut self, wish: &Wish, planned: &[Planned], left_out: u64) {
        self.said.seed = wish.seed;
        self.said.tree.clone_from(&wish.tree);
        self.said.planned = planned.to_vec();
        self.said.left_out = left_out;
        let limits = match left_out {
            0 => String::new(),
            n => format!("; {n} more would use up a limit"),
        };
        let (seed, faults, time) = (wish.seed, planned.len(), span(wish.time));
        self.line(&format!("chaos on {}: seed {seed}, {faults} faults in {time}{limits}", wish.tree));
    }

    /// The schedule, for those who only want to see it.
    pub(super) fn planned(&self, planned: &[Planned]) {
        if self.json {
            // Numbers and texts: nothing in it can fail.
            return report::print(&(serde_json::to_string_pretty(&self.said).unwrap_or_default() + "\n"));
        }
        for Planned { n, at, path, kind, time, .. } in planned {
            let time = if *time > 0 {
                format!(" for {}", span(Duration::from_millis(*time)))
            } else {
                String::new()
            };
            self.event(*at, *n, path, &format!("{}{time}", kind.name()));
        }
    }

    pub(super) fn done(&mut self, at: u64, planned: &Planned, done: &Done) {
        self.event(at, planned.n, &planned.path, &done.text);
        self.said.faults.push(Outcome {
            n: planned.n,
            at,
            done: done.clone(),
            path: planned.path.clone(),
            kind: planned.kind,
            over_after: None,
            restarted: 0,
        });
    }

    pub(super) fn skipped(&mut self, at: u64, planned: &Planned, why: &str) {
        self.event(at, planned.n, &planned.path, &format!("{} left out: {why}", planned.kind.name()));
        self.said.skipped.push(Skipped { n: planned.n, why: why.to_owned() });
    }

    pub(super) fn over(&mut self, at: u64, planned: &Planned, age: u64, restarted: usize) {
        if let Some(outcome) = self.said.faults.iter_mut().find(|outcome| outcome.n == planned.n) {
            outcome.over_after = Some(age);
            outcome.restarted = restarted;
        }
        let after = about(Duration::from_millis(age));
        let text = match (planned.kind, restarted) {
            (Kind::Daemon, _) => format!("another daemon after {after} at most"),
            (_, 0) => format!("over after {after}, nothing was restarted"),
            (_, 1) => format!("up again after {after}"),
            (_, n) => format!("{n} up again after {after}"),
        };
        self.event(at, planned.n, &planned.path, &text);
    }

    pub(super) fn end(&mut self, broken: &[String], found: Option<Availability>) -> Result<(), Failure> {
        self.said.broken = broken.to_vec();
        if self.json {
            self.said.availability = found;
            let text = serde_json::to_string_pretty(&self.said).map_err(|error| misread(&error))?;
            report::print(&(text + "\n"));
            return Ok(());
        }
        let Said { faults, skipped, .. } = &self.said;
        let slowest = faults.iter().filter_map(|outcome| outcome.over_after).max().unwrap_or(0);
        let restarted: usize = faults.iter().map(|outcome| outcome.restarted).sum();
        self.line(&format!(
            "\n{} faults, {} left out; {restarted} restarts explained, the slowest over after {}",
            faults.len(),
            skipped.len(),
            about(Duration::from_millis(slowest)),
        ));
        if broken.is_empty() {
            self.line("nothing is broken: no orphan, no doubled process, everything is up\n");
        }
        for what in broken {
            let mut lines = wrap(&self.style.text(what), WIDTH - 8).into_iter();
            self.line(&format!("broken: {}", lines.next().unwrap_or_default()));
            lines.for_each(|line| self.line(&format!("        {line}")));
        }
        if let Some(found) = found {
            let zone = clock::zone(found.until);
            report::print(&pages(&found, zone, self.style).join("\n"));
        }
        Ok(())
    }

    /// `  0:02.4   3  t/a  SIGKILL to its main process, pid 123`.
    fn event(&self, at: u64, n: u64, path: &str, text: &str) {
        let head = format!("{:>3}:{:02}.{} {n:>4}  ", at / 60_000, at / 1000 % 60, at % 1000 / 100);
        let mut lines = wrap(&self.style.text(&format!("{path}  {text}")), WIDTH - head.len()).into_iter();
        self.line(&format!("{head}{}", lines.next().unwrap_or_default()));
        lines.for_each(|line| self.line(&format!("{:width$}{line}", "", width = head.len())));
    }

    fn line(&self, text: &str) {
        if !self.json {
            report::print(&format!("{text}\n"));
        }
    }
}
