//! What is wrong with units although systemd takes them: each pitfall has a name, says on which event what is left
//! dead or lost, and how it is cured. What they do was seen on a real systemd.

mod order;
mod process;
mod reading;
mod restarts;
#[cfg(test)]
mod tests;
mod together;

use std::fmt;

use super::scene::{Scene, Unit};
use super::text::Assignment;
use crate::tree::{Diagnostic, Severity};

/// How bad a pitfall is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// systemd refuses the unit or ignores what is written.
    Error,
    /// On some event something stays dead, is lost, or is taken along.
    Warning,
    /// It works, but not as it looks.
    Note,
}

/// Something that units are often wrong in.
#[derive(Debug, PartialEq, Eq)]
pub struct Pitfall {
    /// Its name, which stays.
    pub name: &'static str,
    /// How bad.
    pub level: Level,
    /// What happens, in general.
    pub means: &'static str,
    /// What helps.
    pub remedy: &'static str,
}

/// A pitfall in a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which.
    pub pitfall: &'static Pitfall,
    /// Name of the unit.
    pub unit: String,
    /// Where, and what happens there; the remedy is its hint.
    pub said: Diagnostic,
}

/// All pitfalls, by subject.
pub fn all() -> impl Iterator<Item = &'static Pitfall> {
    [reading::ALL, together::ALL, order::ALL, restarts::ALL, process::ALL].into_iter().flatten().copied()
}

/// Everything found in the units that were asked for, unit by unit, in the order of the text.
pub fn lint(scene: &Scene) -> Vec<Finding> {
    let mut findings = Findings { scene, found: Vec::new() };
    for at in (0..scene.units.len()).filter(|at| scene.units[*at].asked && !scene.units[*at].loaded.masked) {
        reading::unit(&mut findings, at);
        together::unit(&mut findings, at);
        order::unit(&mut findings, at);
        restarts::unit(&mut findings, at);
        process::unit(&mut findings, at);
    }
    order::circles(&mut findings);
    let place = |finding: &Finding| {
        let place = finding.said.place.as_ref();
        place.map(|place| (place.file.clone(), place.line, place.column))
    };
    let mut found = findings.found;
    found.sort_by_cached_key(|f| (scene.find(&f.unit), place(f), f.pitfall.level, f.pitfall.name));
    found.dedup();
    found
}

/// What has been found so far.
struct Findings<'s> {
    scene: &'s Scene,
    found: Vec<Finding>,
}

impl<'s> Findings<'s> {
    /// A unit of the scene.
    fn unit(&self, at: usize) -> &'s Unit {
        &self.scene.units[at]
    }

    /// One more, in the words of the diagnostic.
    fn say(&mut self, pitfall: &'static Pitfall, at: usize, mut said: Diagnostic) {
        said.hint = said.hint.or_else(|| Some(pitfall.remedy.to_owned()).filter(|remedy| !remedy.is_empty()));
        let unit = self.scene.name(at).to_owned();
        self.found.push(Finding { pitfall, unit, said });
    }

    /// One more, about an assignment's value.
    fn value(&mut self, pitfall: &'static Pitfall, at: usize, a: &Assignment, message: impl Into<String>) {
        self.say(pitfall, at, a.whole(Severity::Warning, message));
    }

    /// One more, about a key's value if it is written, else about the unit.
    fn key(
        &mut self,
        pitfall: &'static Pitfall,
        at: usize,
        (section, key): (&str, &str),
        message: impl Into<String>,
    ) {
        let said = match self.unit(at).loaded.last(section, key) {
            Some(assignment) => assignment.whole(Severity::Warning, message),
            None => self.scene.about(at, message),
        };
        self.say(pitfall, at, said);
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, name) = (self.pitfall.level, self.pitfall.name);
        let mut plain = self.said.clone();
        plain.hint = None;
        plain.message = format!("{name}: {}", plain.message);
        plain.severity = Severity::Warning;
        f.write_str(&plain.to_string().replacen("warning:", &format!("{level}:"), 1))?;
        let gutter = self.said.place.as_ref().map_or(2, |place| place.line.to_string().len().max(2));
        self.said.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n{:gutter$} = hint: {hint}", ""))
    }
}
