//! What a rendering says of itself: which units, how they were made, where they mean something else than the tree.
//! For people on standard error, so that units may go to standard output; as an object with `--json`.

use std::path::Path;

use serde::Serialize;

use super::super::report::{self, Code, Failure};
use super::super::style::{WIDTH, blanks, wrap};
use super::asked::Rendered;
use crate::units::Mode;
use crate::units::manifest::{File, Step, What};

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
    /// With `--template`: units that no template gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misfits: Vec<Misfit>,
    /// What became of the files; null: none were written or compared.
    pub files: Option<Files>,
}

/// A directory of units, by what had to be done in it.
#[derive(Debug, Serialize)]
pub struct Files {
    /// Where.
    pub directory: String,
    /// It was done.
    pub written: bool,
    /// Names of files that were not there.
    pub new: Vec<String>,
    /// Names of files with another text.
    pub changed: Vec<String>,
    /// Names of files that the tree no longer has.
    pub removed: Vec<String>,
    /// How many were as they shall be.
    pub same: usize,
    /// Drop-ins of units that went: they stay.
    pub drop_ins: Vec<String>,
}

/// A unit.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// File name.
    pub name: String,
    /// Path of its child.
    pub path: String,
    /// The whole file, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
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

/// A unit of one value of a template.
#[derive(Debug, Serialize)]
pub struct Misfit {
    /// File name.
    pub unit: String,
    /// systemd's word of the line that differs; empty: other lines.
    pub key: &'static str,
    /// Its value.
    pub value: String,
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
                .map(|unit| Unit { name: unit.name.clone(), path: unit.path.clone(), text: None })
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
            misfits: rendered
                .misfits
                .iter()
                .map(|misfit| Misfit {
                    unit: misfit.unit.clone(),
                    key: misfit.key,
                    value: misfit.value.clone(),
                })
                .collect(),
            files: None,
        }
    }

    /// With the texts of the files.
    pub fn texts(&mut self, files: &[File]) {
        for (unit, file) in self.units.iter_mut().zip(files) {
            unit.text = Some(file.text.clone());
        }
    }

    /// With what must be done in a directory.
    pub fn files(&mut self, dir: &Path, steps: &[Step]) {
        let names = |what| {
            let steps = steps.iter().filter(|step| step.what == what);
            steps.map(|step| step.name.clone()).collect::<Vec<_>>()
        };
        let removed = names(What::Removed);
        let drop_ins = removed.iter().map(|name| format!("{name}.d")).filter(|name| dir.join(name).is_dir());
        self.files = Some(Files {
            directory: dir.display().to_string(),
            written: false,
            new: names(What::New),
            changed: names(What::Changed),
            same: names(What::Same).len(),
            drop_ins: drop_ins.collect(),
            removed,
        });
    }

    /// It has been done.
    pub fn done(&mut self) {
        self.files.iter_mut().for_each(|files| files.written = true);
    }

    /// Warnings about the tree, then what became of it.
    pub fn tell(&self, rendered: &Rendered, json: bool) -> Result<(), Failure> {
        rendered.warnings.iter().for_each(|warning| eprintln!("{warning}"));
        if !json {
            eprint!("{}", self.text());
            return Ok(());
        }
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new(Code::Failed, format!("cannot write the report: {error}")))?;
        report::print(&(text + "\n"));
        Ok(())
    }

    /// Deviations that say the same, with all their paths.
    fn alike(&self) -> Vec<(&Deviation, Vec<&str>)> {
        let mut alike: Vec<(&Deviation, Vec<&str>)> = Vec::new();
        for deviates in &self.deviations {
            let same = |(first, _): &&mut (&Deviation, _)| {
                (first.name, &first.text) == (deviates.name, &deviates.text)
            };
            match alike.iter_mut().find(same) {
                Some((_, paths)) => paths.push(&deviates.path),
                None => alike.push((deviates, vec![&deviates.path])),
            }
        }
        alike
    }

    /// For people.
    fn text(&self) -> String {
        let n = self.units.len();
        let how = if self.mode == Mode::Auto.name() { String::new() } else { format!(", {}", self.mode) };
        let mut out = format!(
            "{}: {n} unit{} for systemd {}{how}\n",
            self.tree,
            if n == 1 { "" } else { "s" },
            self.release
        );
        for choice in &self.choices {
            out += &lines(&format!("{}: {}, {}", choice.path, choice.mode, choice.reason), 2);
        }
        for (first, paths) in self.alike() {
            let accepted = if first.accepted { ", accepted" } else { "" };
            let head = format!("{}{accepted}: {}", first.name, first.text);
            out += &lines(&head, 2);
            out += &lines(&paths.join(", "), 4);
        }
        for Misfit { unit, key, value } in &self.misfits {
            let what = if key.is_empty() { value.clone() } else { format!("{key}={value}") };
            out += &lines(&format!("{unit}: no template gives it: {what}"), 2);
        }
        if let Some(files) = self.files.as_ref().filter(|files| files.written) {
            let Files { directory, new, changed, removed, same, drop_ins, .. } = files;
            let [new, changed, removed] = [new, changed, removed].map(Vec::len);
            out +=
                &format!("{directory}: {new} new, {changed} changed, {removed} removed, {same} as before\n");
            for name in drop_ins {
                out += &format!("{directory}/{name} stays: drop-ins are yours\n");
            }
        }
        out
    }
}

/// Wrapped at this indent.
fn lines(text: &str, indent: usize) -> String {
    wrap(text, WIDTH - indent).into_iter().map(|line| format!("{}{line}\n", blanks(indent))).collect()
}
