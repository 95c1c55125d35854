//! Which line of a unit comes from which key of the tree, and by which rule.
//!
//! A file is compared with what the tree says now, line by line. A line that the tree does not say is of a person, if
//! the file was changed since it was generated; else the tree, or how it was asked for, is another now. What stands in a
//! drop-in is always a person's.

use super::model::{Line, Section, Unit, Why};
use super::read::{Assignment, Loaded};

/// A line of a unit as systemd reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// `Service`.
    pub section: String,
    /// systemd's word.
    pub key: String,
    /// What it says.
    pub value: String,
    /// The unit's file or a drop-in of it.
    pub file: String,
    /// Its line in that file, from 1; 0: it is not there.
    pub line: u32,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a line comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// From the tree.
    Tree(Why),
    /// It marks the file as generated.
    Mark,
    /// From a drop-in, which is a person's.
    DropIn,
    /// A person has written it into the file.
    Hand,
    /// The tree said so when the file was generated, and does not any more.
    Former,
    /// The tree says so, and the file does not.
    Missing(Why),
}

/// Keys that the writer of files adds.
const MARKS: &[&str] = &["Tree", "Path", "Hash"];

/// Keys of a supervisor. In `[Unit]` of a child they are those of the one above it.
const OF_SUPERVISORS: &[&str] = &["auto_shutdown", "exhausted", "intensity", "order", "period", "strategy"];

/// Explains a unit. `rendered`: what the tree says now; `whole`: nobody has changed the file since it was generated.
pub fn explain(loaded: &Loaded, rendered: Option<&Unit>, whole: bool) -> Vec<Explained> {
    let mut left: Vec<_> = rendered.into_iter().flat_map(|unit| &unit.lines).collect();
    let fragment = loaded.files.first().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for assignment in &loaded.assignments {
        let same = left.iter().position(|line| {
            line.key == assignment.key
                && line.section.to_string() == assignment.section
                && line.value == assignment.value
        });
        let origin = match same {
            _ if assignment.file.name != fragment => Origin::DropIn,
            Some(at) => Origin::Tree(why(rendered, left.remove(at))),
            None if assignment.section == "X-Woodward" && MARKS.contains(&&*assignment.key) => Origin::Mark,
            None if whole => Origin::Former,
            None => Origin::Hand,
        };
        found.push(line(assignment, origin));
    }
    let missing = left.into_iter().map(|line| Explained {
        section: line.section.to_string(),
        key: line.key.to_owned(),
        value: line.value.clone(),
        file: fragment.clone(),
        line: 0,
        origin: Origin::Missing(why(rendered, line)),
    });
    found.extend(missing);
    found
}

/// Whose key it is: a child stands where it stands by what is said of the supervisor above.
fn why(unit: Option<&Unit>, line: &Line) -> Why {
    let mut why = line.why.clone();
    let Some((above, id)) = line.why.path.rsplit_once('/') else { return why };
    let stem = unit.and_then(|unit| unit.name.rsplit_once('.')).map_or("", |(stem, _)| stem);
    let is_child = stem.trim_end_matches('@').ends_with(id);
    if is_child && line.section == Section::Unit && OF_SUPERVISORS.contains(&why.key) {
        above.clone_into(&mut why.path);
    }
    why
}

fn line(assignment: &Assignment, origin: Origin) -> Explained {
    Explained {
        section: assignment.section.clone(),
        key: assignment.key.clone(),
        value: assignment.value.clone(),
        file: assignment.file.name.clone(),
        line: assignment.key_at.0,
        origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::read::{Entry, Shelf};
    use std::sync::Arc;

    fn rendered() -> Unit {
        let mut unit = Unit::new("t-a.service", "t/a");
        unit.set(Section::Service, "ExecStart", "/bin/true", "command", "what it runs");
        unit.set(Section::Service, "TimeoutStopSec", "5s", "shutdown", "asked, and killed after this time");
        unit
    }

    /// The first word of each origin, of a file with a drop-in.
    fn check(text: &str, drop_in: &str, whole: bool, expected: &[&str]) {
        let mut shelf = Shelf::default();
        let at = shelf.directory("/etc");
        shelf.put(at, "t-a.service", Entry::Text(Arc::from(text.as_bytes())));
        if !drop_in.is_empty() {
            shelf.put(at, "t-a.service.d/10-x.conf", Entry::Text(Arc::from(drop_in.as_bytes())));
        }
        let loaded = shelf.load("t-a.service").unwrap();
        let word = |explained: Explained| {
            let origin = format!("{:?}", explained.origin);
            let word = origin.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_owned();
            format!("{}={} {word}", explained.key, explained.value)
        };
        let found: Vec<String> = explain(&loaded, Some(&rendered()), whole).into_iter().map(word).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_line_is_of_the_tree_or_of_somebody() {
        let same = format!("{}\n[X-Woodward]\nTree=t\n", rendered());
        check(&same, "", true, &["ExecStart=/bin/true Tree", "TimeoutStopSec=5s Tree", "Tree=t Mark"]);
        let other = same.replace("5s", "7s");
        let with = |word: &str| {
            [
                "ExecStart=/bin/true Tree",
                &format!("TimeoutStopSec=7s {word}"),
                "Tree=t Mark",
                "TimeoutStopSec=5s Missing",
            ]
            .map(str::to_owned)
        };
        check(&other, "", true, &with("Former").each_ref().map(String::as_str));
        check(&other, "", false, &with("Hand").each_ref().map(String::as_str));
        let drop_in = "[Service]\nTimeoutStopSec=9s\n";
        check(
            &same,
            drop_in,
            true,
            &[
                "ExecStart=/bin/true Tree",
                "TimeoutStopSec=5s Tree",
                "Tree=t Mark",
                "TimeoutStopSec=9s DropIn",
            ],
        );
    }
}
