//! What a rendering says of itself: which units, how they were made, where they mean something else than the tree.
//! For people on standard error, so that units may go to standard output; as an object with `--json`.

use serde::Serialize;

use super::super::style::{WIDTH, blanks, wrap};
use super::asked::Rendered;
use crate::units::Mode;

/// The report of a rendering.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Id of the tree.
    pub tree: String,
    /// As asked.
    pub mode: &'static str,
    /// Of systemd.
    pub release: u32,
    /// In start order.
    pub units: Vec<Unit>,
    /// What `auto` chose, in tree order.
    pub choices: Vec<Choice>,
    /// In tree order.
    pub deviations: Vec<Deviation>,
}

/// A unit.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// File name.
    pub name: String,
    /// Path of its child.
    pub path: String,
}

/// How a subtree was made.
#[derive(Debug, Serialize)]
pub struct Choice {
    /// Its path.
    pub path: String,
    /// `native` or `supervised`.
    pub mode: &'static str,
    /// One sentence.
    pub reason: String,
}

/// Where the units mean something else than the tree.
#[derive(Debug, Serialize)]
pub struct Deviation {
    /// Path of the child.
    pub path: String,
    /// Its name.
    pub name: &'static str,
    /// What it means there.
    pub text: String,
    /// `--accept` names it.
    pub accepted: bool,
}

impl Report {
    /// Of a rendering.
    pub fn of(rendered: &Rendered) -> Report {
        let Rendered { plan, options, rendering, .. } = rendered;
        let accepted = |deviation| options.accepted.contains(&deviation);
        Report {
            tree: plan.tree.id.to_string(),
            mode: options.mode.name(),
            release: options.release.0,
            units: rendering
                .units
                .iter()
                .map(|unit| Unit { name: unit.name.clone(), path: unit.path.clone() })
                .collect(),
            choices: rendering
                .choices
                .iter()
                .map(|choice| Choice {
                    path: choice.path.clone(),
                    mode: choice.mode.name(),
                    reason: choice.reason.clone(),
                })
                .collect(),
            deviations: rendering
                .deviations
                .iter()
                .map(|deviates| Deviation {
                    path: deviates.path.clone(),
                    name: deviates.deviation.name(),
                    text: deviates.text.clone(),
                    accepted: accepted(deviates.deviation),
                })
                .collect(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let n = self.units.len();
        let how = if self.mode == Mode::Auto.name() { String::new() } else { format!(", {}", self.mode) };
        let mut out = format!(
            "{}: {n} unit{} for systemd {}{how}\n",
            self.tree,
            if n == 1 { "" } else { "s" },
            self.release
        );
        for choice in &self.choices {
            out += &entry(&format!("{}: {}", choice.path, choice.mode), &choice.reason);
        }
        for deviates in &self.deviations {
            let accepted = if deviates.accepted { ", accepted" } else { "" };
            out += &entry(&format!("{}: {}{accepted}", deviates.path, deviates.name), &deviates.text);
        }
        out
    }
}

/// A line, and what is to be said about it below.
fn entry(head: &str, text: &str) -> String {
    let lines = wrap(text, WIDTH - 4).into_iter().map(|line| format!("{}{line}\n", blanks(4)));
    format!("  {head}\n{}", lines.collect::<String>())
}
