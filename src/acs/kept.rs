//! What an imported tree says of itself, read back: which ports its containers have, whether a person changed it, and
//! what another one would change.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The line by which an imported tree is known; a sum of everything below it follows.
const MARK: &str = "# imported from an ACS database: ";

/// The line for a tree of which `below` is everything below the line.
pub(super) fn mark(below: &str) -> String {
    format!("{MARK}{:016x}\n", sum(below))
}

/// Who wrote a tree file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// An import, and nobody after it.
    Import,
    /// An import, and then somebody else.
    Changed,
    /// Somebody else.
    Foreign,
}

/// Who wrote this.
pub fn hand(text: &str) -> Hand {
    let Some((_, rest)) = text.split_once(MARK) else { return Hand::Foreign };
    let (said, below) = rest.split_once('\n').unwrap_or((rest, ""));
    if said == format!("{:016x}", sum(below)) { Hand::Import } else { Hand::Changed }
}

/// FNV-1a: against accidents, not against anybody.
fn sum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The port of each container, counted from the first one of containers.
pub(super) fn ports(text: &str) -> BTreeMap<String, u32> {
    let Ok(tree) = text.parse::<Table>() else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    children(&tree, "", &mut |path, child| {
        let command = child.get("command").and_then(Value::as_array);
        let mut words = command.into_iter().flatten().filter_map(Value::as_str);
        if let Some(port) = words.find_map(port) {
            all.insert(path.rsplit('/').next().unwrap_or_default().to_owned(), port);
        }
    });
    all
}

/// `…${ports + 4}`.
fn port(word: &str) -> Option<u32> {
    let (_, rest) = word.split_once("${ports")?;
    let sum = rest.strip_suffix('}')?.trim();
    if sum.is_empty() { Some(0) } else { sum.strip_prefix('+')?.trim().parse().ok() }
}

/// What differs between two trees, a line for each child that came, went or changed.
pub fn changes(old: &str, new: &str) -> Vec<String> {
    let (Ok(old), Ok(new)) = (old.parse::<Table>(), new.parse::<Table>()) else { return Vec::new() };
    let (before, after) = (flat(&old), flat(&new));
    let mut lines = Vec::new();
    for (path, child) in &after {
        match before.get(path) {
            None => lines.push(format!("+ {path}")),
            Some(other) => {
                let keys = keys(other, child);
                if !keys.is_empty() {
                    lines.push(format!("~ {path}: {}", keys.join(", ")));
                }
            }
        }
    }
    lines.extend(before.keys().filter(|path| !after.contains_key(*path)).map(|path| format!("- {path}")));
    lines
}

/// The root is called `tree`, its children by their paths below it.
fn flat(tree: &Table) -> BTreeMap<String, Table> {
    let mut all = BTreeMap::from([("the tree itself".to_owned(), own(tree))]);
    children(tree, "", &mut |path, child| {
        all.insert(path.to_owned(), own(child));
    });
    all
}

/// A child without its children.
fn own(child: &Table) -> Table {
    child.iter().filter(|(key, _)| *key != "child").map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn children(of: &Table, path: &str, each: &mut impl FnMut(&str, &Table)) {
    for child in of.get("child").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table) {
        let id = child.get("id").and_then(Value::as_str).unwrap_or_default();
        let path = if path.is_empty() { id.to_owned() } else { format!("{path}/{id}") };
        each(&path, child);
        children(child, &path, each);
    }
}

fn keys(old: &Table, new: &Table) -> Vec<String> {
    let all: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    all.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_tree_is_known_by_its_sum() {
        let text = format!("# a title\n{}id = \"acs\"\n", mark("id = \"acs\"\n"));
        assert_eq!(hand(&text), Hand::Import);
        assert_eq!(hand(&text.replace("acs\"", "acs2\"")), Hand::Changed);
        assert_eq!(hand("id = \"acs\"\n"), Hand::Foreign);
    }

    #[test]
    fn ports_are_read_back() {
        let text = "[[child]]\nid = \"g\"\n[[child.child]]\nid = \"a\"\ncommand = [\"x\", \"iiop://${addr}:${ports}\"]\n\
                    [[child.child]]\nid = \"b\"\ncommand = [\"x\", \"${ports + 14}\", \"${manager}\"]\n";
        assert_eq!(ports(text), BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 14)]));
    }

    #[test]
    fn what_came_went_and_changed_is_named() {
        let old = "[[child]]\nid = \"a\"\ncommand = \"x\"\n[[child]]\nid = \"b\"\n";
        let new = "[[child]]\nid = \"a\"\ncommand = \"y\"\nshutdown = \"1s\"\n[[child]]\nid = \"c\"\n";
        assert_eq!(changes(old, new), ["~ a: command, shutdown", "+ c", "- b"]);
    }
}
