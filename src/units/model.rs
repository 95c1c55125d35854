//! A unit as a list of lines, each with its reason; and its text.

use std::fmt::{self, Display, Write as _};

/// A unit file.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// File name: `acs-naming.service`.
    pub name: String,
    /// Path of the child it stands for.
    pub path: String,
    /// In the order of the file: sections do not mix.
    pub lines: Vec<Line>,
}

/// One assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Where it stands.
    pub section: Section,
    /// systemd's word.
    pub key: &'static str,
    /// As it is written: already escaped.
    pub value: String,
    /// Where it comes from.
    pub why: Why,
}

/// Where a line comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// Path of the child whose key it is.
    pub path: String,
    /// The key of the tree: `shutdown`, `ready.tcp`; empty if it follows from the shape of the tree.
    pub key: &'static str,
    /// The rule, in one sentence.
    pub rule: &'static str,
}

/// Sections of a unit file, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "systemd's names")]
pub enum Section {
    Unit,
    Service,
    Socket,
    Slice,
    Install,
    /// `[X-Woodward]`: systemd skips it.
    Woodward,
}

impl Unit {
    /// An empty unit for a child.
    pub fn new(name: impl Into<String>, path: impl Into<String>) -> Unit {
        Unit { name: name.into(), path: path.into(), lines: Vec::new() }
    }

    /// Adds a line at the end of its section. The value is written as it is: escape it first ([`super::escape`]).
    pub fn set(
        &mut self,
        section: Section,
        key: &'static str,
        value: impl Into<String>,
        tree_key: &'static str,
        rule: &'static str,
    ) {
        let at = self.lines.partition_point(|before| before.section <= section);
        self.insert(at, section, key, value.into(), tree_key, rule);
    }

    /// Adds a line in front of the others of its key, if there are any; else as [`Unit::set`] does.
    pub fn set_first(
        &mut self,
        section: Section,
        key: &'static str,
        value: impl Into<String>,
        tree_key: &'static str,
        rule: &'static str,
    ) {
        let same = self.lines.iter().position(|line| line.section == section && line.key == key);
        let end = || self.lines.partition_point(|before| before.section <= section);
        let at = same.unwrap_or_else(end);
        self.insert(at, section, key, value.into(), tree_key, rule);
    }

    fn insert(
        &mut self,
        at: usize,
        section: Section,
        key: &'static str,
        value: String,
        tree_key: &'static str,
        rule: &'static str,
    ) {
        let why = Why { path: self.path.clone(), key: tree_key, rule };
        self.lines.insert(at, Line { section, key, value, why });
    }

    /// The values of a key, in order.
    pub fn values(&self, section: Section, key: &str) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(move |line| line.section == section && line.key == key)
            .map(|line| line.value.as_str())
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Unit => "Unit",
            Section::Service => "Service",
            Section::Socket => "Socket",
            Section::Slice => "Slice",
            Section::Install => "Install",
            Section::Woodward => "X-Woodward",
        })
    }
}

/// The text of the file.
impl Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut section = None;
        for line in &self.lines {
            if section != Some(line.section) {
                let gap = if section.is_some() { "\n" } else { "" };
                writeln!(text, "{gap}[{}]", line.section)?;
                section = Some(line.section);
            }
            writeln!(text, "{}={}", line.key, line.value)?;
        }
        f.write_str(&text)
    }
}
