//! The keys of systemd: which section of which kind of unit knows which, and from which release on.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::release::Release;
use super::text::Assignment;
use crate::tree::{Diagnostic, Severity, nearest};

/// Key → the release that brought it (0: older than the manuals remember), by group.
static GROUPS: LazyLock<HashMap<&'static str, HashMap<&'static str, u32>>> = LazyLock::new(|| {
    let mut groups: HashMap<&str, HashMap<&str, u32>> = HashMap::new();
    let mut group = "";
    for word in TABLE.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace) {
        match word.split_once(':') {
            Some((name, "")) => group = name,
            Some((key, release)) => {
                groups.entry(group).or_default().insert(key, release.parse().unwrap_or(0));
            }
            None => {
                groups.entry(group).or_default().insert(word, 0);
            }
        }
    }
    groups
});

const TABLE: &str = include_str!("keys.txt");

/// Endings of unit names with their own section, and the groups of keys that it knows.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("service", "Service", &["Service", "exec", "kill", "cgroup"]),
    ("socket", "Socket", &["Socket", "exec", "kill", "cgroup"]),
    ("mount", "Mount", &["Mount", "exec", "kill", "cgroup"]),
    ("swap", "Swap", &["Swap", "exec", "kill", "cgroup"]),
    ("scope", "Scope", &["Scope", "kill", "cgroup"]),
    ("slice", "Slice", &["Slice", "cgroup"]),
    ("timer", "Timer", &["Timer"]),
    ("path", "Path", &["Path"]),
    ("automount", "Automount", &["Automount"]),
    ("target", "Target", &[]),
    ("device", "Device", &[]),
];

/// `service`, `target` and the like: endings of names of units.
pub fn is_kind(ending: &str) -> bool {
    KINDS.iter().any(|(kind, ..)| *kind == ending)
}

/// The release that brought a key of a section; `None`: no release known here has it.
pub fn since(section: &str, key: &str) -> Option<Release> {
    groups(section).iter().find_map(|group| GROUPS.get(group)?.get(key)).copied().map(Release)
}

/// Sections of a kind of unit that systemd reads.
pub fn sections(kind: &str) -> Vec<&'static str> {
    let own = KINDS.iter().find(|(ending, ..)| *ending == kind).map(|(_, section, _)| *section);
    ["Unit"].into_iter().chain(own.filter(|own| !groups(own).is_empty())).chain(["Install"]).collect()
}

fn groups(section: &str) -> &'static [&'static str] {
    match section {
        "Unit" => &["Unit"],
        "Install" => &["Install"],
        _ => KINDS.iter().find(|(_, name, _)| *name == section).map_or(&[], |(.., groups)| groups),
    }
}

/// Keys of a section that a release knows.
pub fn known(section: &str, release: Release) -> impl Iterator<Item = &'static str> + Clone {
    let groups = groups(section).iter().filter_map(|group| GROUPS.get(group));
    groups.flatten().filter(move |(_, since)| **since <= release.0).map(|(key, _)| *key)
}

/// What is wrong with a key, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// This kind of unit has no such section.
    Section,
    /// It belongs into another section.
    Elsewhere(&'static str),
    /// A younger release brought it.
    Younger(Release),
    /// No release has it; perhaps this is meant.
    Unknown(Option<&'static str>),
}

/// Looks a key up for a kind of unit (`service`) and a release.
pub fn wrong(kind: &str, assignment: &Assignment, release: Release) -> Option<Wrong> {
    let (section, key) = (&*assignment.section, &*assignment.key);
    if section.starts_with("X-") || key.starts_with("X-") {
        return None;
    }
    if !sections(kind).contains(&section) {
        return Some(Wrong::Section);
    }
    match since(section, key) {
        Some(since) if since <= release => None,
        Some(since) => Some(Wrong::Younger(since)),
        None => {
            let elsewhere = sections(kind).into_iter().find(|other| since_in(other, key, release));
            Some(
                elsewhere
                    .map_or_else(|| Wrong::Unknown(nearest(key, known(section, release))), Wrong::Elsewhere),
            )
        }
    }
}

fn since_in(section: &str, key: &str, release: Release) -> bool {
    since(section, key).is_some_and(|since| since <= release)
}

/// The same as a warning.
pub fn check(kind: &str, assignment: &Assignment, release: Release) -> Option<Diagnostic> {
    let (section, key) = (&*assignment.section, &*assignment.key);
    let wrong = wrong(kind, assignment, release)?;
    let mut said = assignment.at_key(Severity::Warning, "");
    match wrong {
        Wrong::Section => {
            said.message = format!("a {kind} has no section [{section}]: `{key}` is ignored");
            said.allowed =
                Some(sections(kind).iter().map(|s| format!("[{s}]")).collect::<Vec<_>>().join(", "));
        }
        Wrong::Elsewhere(other) => {
            said.message = format!("`{key}` is ignored in [{section}]");
            said.hint = Some(format!("it belongs into [{other}]"));
        }
        Wrong::Younger(since) => {
            said.message = format!("systemd {release} does not know `{key}` and ignores it");
            said.hint = Some(format!("systemd {since} brought it"));
        }
        Wrong::Unknown(near) => {
            said.message = format!("unknown key `{key}` in [{section}]: ignored");
            said.hint = near.map(|near| format!("did you mean `{near}`?"));
        }
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: &str, section: &str, key: &str, release: u32, expected: Option<Wrong>) {
        let assignment = Assignment::made("a", section, key, "x");
        assert_eq!(wrong(unit, &assignment, Release(release)), expected, "{section} {key} {release}");
    }

    #[test]
    fn a_key_is_known_in_its_section_from_its_release_on() {
        check("service", "Service", "ExecStart", 252, None);
        check("service", "Service", "LimitNOFILE", 252, None);
        check("slice", "Slice", "MemoryMax", 252, None);
        check("service", "Service", "RestartMode", 254, None);
        check("service", "Service", "RestartMode", 252, Some(Wrong::Younger(Release(254))));
        check("service", "Service", "After", 252, Some(Wrong::Elsewhere("Unit")));
        check("service", "Service", "StartLimitIntervalSec", 252, Some(Wrong::Elsewhere("Unit")));
        check("service", "Service", "StartLimitBurst", 252, None);
        check("service", "Service", "Retsart", 252, Some(Wrong::Unknown(Some("Restart"))));
        check("service", "Unit", "Colour", 252, Some(Wrong::Unknown(None)));
        check("target", "Service", "ExecStart", 252, Some(Wrong::Section));
        check("service", "X-Mine", "Colour", 252, None);
        check("service", "Unit", "X-Colour", 252, None);
    }
}
