//! Which files make a unit: the fragment, its template, its drop-ins, links; `systemd.unit(5)`.
//!
//! Drop-ins of all directories (`NAME.d`, the template's, `prefix-.service.d`, `service.d`) are read in the order of
//! their *file names*; of two with one file name the one in the more special directory counts. The directories of the
//! shelf come first to last, as systemd searches them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::keys;
use super::specifiers::Name;
use super::text::{self, Assignment};
use super::words::{self, Command, Escapes, Problem, Word};
use crate::tree::{Diagnostic, Severity};

/// Directories of unit files.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    directories: Vec<Directory>,
}

/// One of them.
#[derive(Clone, Debug)]
struct Directory {
    path: String,
    /// By name: `a.service`, `a.service.d/10-x.conf`, `a.target.wants/b.service`.
    files: BTreeMap<String, Entry>,
}

/// What lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    Text(Arc<[u8]>),
    /// A link to another unit (its name), or to `/dev/null`.
    Link(String),
}

/// A unit with everything that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Its name; an alias leads to the name of the file.
    pub name: Name,
    /// Other names.
    pub aliases: Vec<String>,
    /// Files it was read from, the fragment first.
    pub files: Vec<String>,
    /// In the order in which systemd reads them.
    pub assignments: Vec<Assignment>,
    /// Links in `.wants`, `.requires` and `.upholds`: the key that they stand for, and the other unit.
    pub links: Vec<(&'static str, String)>,
    /// It is a link to `/dev/null` or an empty file.
    pub masked: bool,
    /// What was ignored while reading.
    pub diagnostics: Vec<Diagnostic>,
    /// A file of it was refused.
    pub refused: bool,
}

impl Shelf {
    /// A directory behind those there are; its place, for [`Shelf::put`].
    pub fn directory(&mut self, path: impl Into<String>) -> usize {
        self.directories.push(Directory { path: path.into(), files: BTreeMap::new() });
        self.directories.len() - 1
    }

    /// Puts a file or link into a directory.
    pub fn put(&mut self, directory: usize, name: impl Into<String>, entry: Entry) {
        self.directories[directory].files.insert(name.into(), entry);
    }

    /// Names of all units in a directory.
    pub fn units(&self, directory: usize) -> impl Iterator<Item = &str> {
        let names = self.directories[directory].files.keys().map(String::as_str);
        names.filter(|name| !name.contains('/') && keys::is_kind(&Name::of(name).kind))
    }

    /// Names of all units in all directories.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = (0..self.directories.len()).flat_map(|at| self.units(at)).collect();
        names.into_iter()
    }

    /// Reads a unit; `None` if there is no file, link or drop-in for it.
    pub fn load(&self, name: &str) -> Option<Loaded> {
        let mut unit = Loaded { name: Name::of(name), ..Loaded::default() };
        let mut looked_for = name.to_owned();
        for _ in 0..10 {
            match self.fragment(&looked_for) {
                Some((_, _, Entry::Link(target))) if target == "/dev/null" => unit.masked = true,
                Some((_, _, Entry::Link(target))) => {
                    let target = file_name(target);
                    let target = instance_of(target, &unit.name);
                    if target != looked_for {
                        unit.aliases.push(std::mem::replace(&mut looked_for, target));
                        unit.name = Name::of(&looked_for);
                        continue;
                    }
                }
                Some((directory, file, Entry::Text(bytes))) => {
                    unit.masked = bytes.is_empty();
                    unit.read(&format!("{directory}/{file}"), bytes);
                }
                None => {}
            }
            break;
        }
        let links =
            self.directories.iter().flat_map(|directory| &directory.files).filter_map(|(name, entry)| {
                let Entry::Link(target) = entry else { return None };
                (!name.contains('/') && file_name(target) == unit.name.full).then(|| name.clone())
            });
        unit.aliases.extend(links.collect::<Vec<_>>());
        unit.aliases.sort();
        unit.aliases.dedup();
        for (path, bytes) in self.drop_ins(&unit) {
            unit.read(&path, bytes);
        }
        unit.links = self.links(&unit);
        (unit.masked || !unit.files.is_empty()).then_some(unit)
    }

    /// The file or link of a unit, or of its template.
    fn fragment(&self, name: &str) -> Option<(&str, String, &Entry)> {
        let template = Name::of(name).template();
        [Some(name.to_owned()), template].into_iter().flatten().find_map(|name| {
            let found =
                self.directories.iter().find_map(|d| d.files.get(&name).map(|entry| (&*d.path, entry)));
            found.map(|(directory, entry)| (directory, name, entry))
        })
    }

    fn drop_ins(&self, unit: &Loaded) -> Vec<(String, &[u8])> {
        let names = std::iter::once(&unit.name.full).chain(&unit.aliases);
        let mut owners: Vec<String> = names.flat_map(|name| owners(&Name::of(name))).collect();
        owners.push(unit.name.kind.clone());
        let mut found: BTreeMap<&str, (String, &Entry)> = BTreeMap::new();
        for owner in owners {
            for directory in &self.directories {
                let below = format!("{owner}.d/");
                let files = directory.files.range(below.clone()..);
                for (path, entry) in files.take_while(|(path, _)| path.starts_with(&below)) {
                    let file = &path[below.len()..];
                    if file.ends_with(".conf") && !file.starts_with('.') {
                        let path = format!("{}/{path}", directory.path);
                        found.entry(file).or_insert((path, entry));
                    }
                }
            }
        }
        let texts = found.into_values().filter_map(|(path, entry)| match entry {
            Entry::Text(bytes) => Some((path, &**bytes)),
            Entry::Link(_) => None,
        });
        texts.collect()
    }

    fn links(&self, unit: &Loaded) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let names = std::iter::once(&unit.name.full).chain(&unit.aliases);
        let names: Vec<String> =
            names.flat_map(|name| [Some(name.clone()), Name::of(name).template()]).flatten().collect();
        for (ending, key) in [("wants", "Wants"), ("requires", "Requires"), ("upholds", "Upholds")] {
            for name in &names {
                let below = format!("{name}.{ending}/");
                for directory in &self.directories {
                    let files = directory.files.range(below.clone()..);
                    for (path, entry) in files.take_while(|(path, _)| path.starts_with(&below)) {
                        let masked = *entry == Entry::Link("/dev/null".to_owned());
                        let other = instance_of(&path[below.len()..], &unit.name);
                        if !masked && !found.contains(&(key, other.clone())) {
                            found.push((key, other));
                        }
                    }
                }
            }
        }
        found
    }
}

/// `foo@.service` seen from `bar@x.service` is `foo@x.service`; from `bar.service` it is `foo@bar.service`.
fn instance_of(name: &str, from: &Name) -> String {
    let instance = from.instance.as_deref().unwrap_or(&from.prefix);
    if Name::of(name).is_template() && !instance.is_empty() {
        return name.replacen('@', &format!("@{instance}"), 1);
    }
    name.to_owned()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whose drop-ins a unit reads, the most special first: `a-b@i.service`, `a-.service`, `a-b@.service`.
fn owners(name: &Name) -> Vec<String> {
    let mut found = vec![name.full.clone()];
    let stem = name.full.rsplit_once('.').map_or(&*name.full, |(stem, _)| stem);
    let stem = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    for (at, _) in stem.trim_end_matches('-').rmatch_indices('-') {
        found.push(format!("{}.{}", &stem[..=at], name.kind));
    }
    found.extend(name.template());
    found
}

impl Loaded {
    fn read(&mut self, path: &str, bytes: &[u8]) {
        let parsed = text::parse(path, bytes);
        self.files.push(path.to_owned());
        self.assignments.extend(parsed.assignments);
        self.diagnostics.extend(parsed.diagnostics);
        self.refused |= parsed.refused;
    }

    /// All assignments of a key, in order.
    pub fn all<'u>(&'u self, section: &'u str, key: &'u str) -> impl Iterator<Item = &'u Assignment> {
        self.assignments.iter().filter(move |a| a.section == section && a.key == key)
    }

    /// The one that counts of a key with a single value; an empty one takes it back.
    pub fn last(&self, section: &str, key: &str) -> Option<&Assignment> {
        let last = self.assignments.iter().rfind(|a| a.section == section && a.key == key);
        last.filter(|assignment| !assignment.value.is_empty())
    }

    /// The same, as text with specifiers filled in; the default if there is none.
    pub fn text(&self, section: &str, key: &str, default: &str) -> String {
        self.last(section, key).map_or_else(|| default.to_owned(), |a| self.name.expand(&a.value).0)
    }

    /// Those that count of a key with many values: behind the last empty one.
    pub fn many(&self, section: &str, key: &str) -> Vec<&Assignment> {
        let all: Vec<&Assignment> =
            self.assignments.iter().filter(|a| a.section == section && a.key == key).collect();
        let from = all.iter().rposition(|a| a.value.is_empty()).map_or(0, |at| at + 1);
        all[from..].to_vec()
    }

    /// Units named by a dependency, with where; specifiers are filled in. An empty value takes nothing back.
    pub fn units(&self, key: &str) -> Vec<(String, &Assignment, Word)> {
        let mut found = Vec::new();
        for assignment in self.assignments.iter().filter(|a| a.section == "Unit" && a.key == key) {
            let (words, _) = words::split(&assignment.value, Escapes::Keep);
            let name = |text: &str| instance_of(&self.name.expand(text).0, &self.name);
            found.extend(words.into_iter().map(|word| (name(&word.text), assignment, word)));
        }
        found
    }

    /// The words of a key, specifiers not filled in.
    pub fn words(&self, section: &str, key: &str) -> Vec<(&Assignment, Word)> {
        let mut found = Vec::new();
        for assignment in self.many(section, key) {
            let words = words::split(&assignment.value, Escapes::C).0;
            found.extend(words.into_iter().map(|word| (assignment, word)));
        }
        found
    }

    /// The command lines of a key, specifiers not filled in.
    pub fn commands(&self, section: &str, key: &str) -> Vec<(&Assignment, Command)> {
        let mut found = Vec::new();
        for assignment in self.many(section, key) {
            found.extend(
                words::commands(&assignment.value).0.into_iter().map(|command| (assignment, command)),
            );
        }
        found
    }

    /// What is wrong inside values: quotes, escapes, words that systemd ignores.
    pub fn problems(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for assignment in &self.assignments {
            let problems = match &*assignment.key {
                key if key.starts_with("Exec") && !matches!(key, "ExecPaths" | "ExecSearchPath") => {
                    words::commands(&assignment.value).1
                }
                "Environment" => environment(&assignment.value),
                _ => Vec::new(),
            };
            let said = problems.into_iter().map(|problem| {
                let severity = if problem.fatal { Severity::Error } else { Severity::Warning };
                assignment.at_value(severity, problem.range, problem.message)
            });
            found.extend(said);
        }
        found
    }
}

fn environment(value: &str) -> Vec<Problem> {
    let (words, mut problems) = words::split(value, Escapes::C);
    problems.extend(words.iter().filter_map(|word| words::variable(word).err()));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Entry {
        Entry::Text(Arc::from(text.as_bytes()))
    }

    fn shelf(files: &[(&str, &str)]) -> Shelf {
        let mut shelf = Shelf::default();
        let (etc, lib) = (shelf.directory("etc"), shelf.directory("lib"));
        for (path, content) in files {
            let (directory, name) = path.split_once('/').expect("a directory in front");
            let entry =
                content.strip_prefix("-> ").map_or_else(|| text(content), |to| Entry::Link(to.into()));
            shelf.put(if directory == "etc" { etc } else { lib }, name, entry);
        }
        shelf
    }

    #[test]
    fn drop_ins_are_read_by_file_name_and_the_more_special_one_counts() {
        let shelf = shelf(&[
            ("etc/x-a.service", "[Service]\nEnvironment=A=0"),
            ("etc/x-a.service.d/10-y.conf", ""),
            ("lib/service.d/50-t.conf", ""),
            ("etc/x-.service.d/30-p.conf", ""),
            ("lib/service.d/20-same.conf", ""),
            ("lib/x-a.service.d/20-same.conf", ""),
            ("lib/x-a.service.d/readme", ""),
        ]);
        let unit = shelf.load("x-a.service").expect("it is there");
        assert_eq!(
            unit.files,
            [
                "etc/x-a.service",
                "etc/x-a.service.d/10-y.conf",
                "lib/x-a.service.d/20-same.conf",
                "etc/x-.service.d/30-p.conf",
                "lib/service.d/50-t.conf"
            ]
        );
    }

    #[test]
    fn instances_come_from_templates_aliases_from_links() {
        let shelf = shelf(&[
            ("lib/t@.service", "[Unit]\nAfter=%i.service"),
            ("lib/t@.service.d/1.conf", ""),
            ("etc/t@one.service.d/2.conf", ""),
            ("etc/other@.service", "-> /lib/t@.service"),
            ("etc/masked.service", "-> /dev/null"),
            ("lib/masked.service", "[Unit]"),
            ("etc/w@.target", "[Unit]"),
            ("etc/w@.target.wants/t@.service", "-> /lib/t@.service"),
        ]);
        let unit = shelf.load("t@one.service").expect("it is there");
        assert_eq!(unit.files, ["lib/t@.service", "lib/t@.service.d/1.conf", "etc/t@one.service.d/2.conf"]);
        assert_eq!(unit.units("After")[0].0, "one.service");
        let alias = shelf.load("other@x.service").expect("it is there");
        assert_eq!(
            (&*alias.name.full, alias.aliases.contains(&"other@x.service".into())),
            ("t@x.service", true)
        );
        assert!(shelf.load("masked.service").expect("it is there").masked);
        assert_eq!(
            shelf.load("w@5.target").expect("it is there").links,
            [("Wants", "t@5.service".to_owned())]
        );
        assert!(shelf.load("nobody.service").is_none());
    }

    #[test]
    fn an_empty_value_takes_back_but_no_dependency() {
        let shelf = shelf(&[
            ("lib/a.service", "[Unit]\nAfter=b.service\nAfter=\n[Service]\nExecStart=/bin/a\nUser=u\nUser="),
            ("etc/a.service.d/x.conf", "[Service]\nExecStart=\nExecStart=/bin/b c"),
        ]);
        let unit = shelf.load("a.service").expect("it is there");
        assert_eq!(unit.units("After").len(), 1);
        assert_eq!(unit.last("Service", "User"), None);
        let commands = unit.commands("Service", "ExecStart");
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].1.program, "/bin/b");
        assert_eq!(commands[0].0.place(8).to_owned().line, 3);
    }
}
