//! Names of units out of paths of children.
//!
//! A name is the prefix and the ids from the root on, joined by `-`: short, and what people type. Three things can go
//! wrong with it, and each has its rule:
//!
//! * `@` would make a template: it is written as `systemd-escape(1)` does, `\x40`. A dot at the very beginning would hide
//!   the file: `\x2e`.
//! * Two children have the same name (`a/b-c` and `a-b/c`): the `-` within their ids becomes `\x2d`, for these two only.
//! * A child has the name of an auxiliary unit (a worker `meter` beside the meter of its supervisor): the first
//!   character of its id is escaped too. `systemd-escape --unescape` gives the id back in every case.
//!
//! Slices are another matter: in them `-` *is* the hierarchy, so ids are always escaped there ([`super::slices`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Plan;

/// What follows the name of a supervisor or worker in the names of units that belong to it.
pub const AUXILIARY: &[&str] = &["meter", "abort", "delay", "retry"];

/// The name of a unit without its ending, as long as nothing else has it: prefix, then the ids from the root on, joined
/// by `-`. Ids hold `[A-Za-z0-9_.:@-]` only.
pub fn stem(prefix: &str, path: &str) -> String {
    shown(format!("{prefix}{}", path.replace('/', "-")))
}

fn shown(joined: String) -> String {
    let joined = joined.replace('@', "\\x40");
    match joined.strip_prefix('.') {
        Some(rest) => format!("\\x2e{rest}"),
        None => joined,
    }
}

/// An id as `systemd-escape` writes it: with no `-` in it.
pub fn escaped(id: &str) -> String {
    id.replace('-', "\\x2d").replace('@', "\\x40")
}

/// The names of a whole tree: different for different paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    prefix: String,
    /// By path, where the plain name will not do.
    special: BTreeMap<String, String>,
}

impl Names {
    /// The names of a tree.
    pub fn of(plan: &Plan, prefix: &str) -> Names {
        let supervisors = plan.supervisors.iter().map(|supervisor| supervisor.path.as_str());
        Names::among(supervisors, plan.workers.iter().map(|worker| worker.path.as_str()), prefix)
    }

    fn among<'p>(
        supervisors: impl Iterator<Item = &'p str> + Clone,
        workers: impl Iterator<Item = &'p str> + Clone,
        prefix: &str,
    ) -> Names {
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        let paths = supervisors.chain(workers);
        paths.clone().for_each(|path| *taken.entry(stem(prefix, path)).or_default() += 1);
        let auxiliary: BTreeSet<String> = paths
            .clone()
            .flat_map(|path| AUXILIARY.iter().map(move |word| format!("{}-{word}", stem(prefix, path))))
            .collect();
        let mut special = BTreeMap::new();
        for path in paths {
            let plain = stem(prefix, path);
            if auxiliary.contains(&plain) {
                special.insert(path.to_owned(), shown(prefix.to_owned()) + &joined(path, true));
            } else if taken[&plain] > 1 {
                special.insert(path.to_owned(), shown(prefix.to_owned()) + &joined(path, false));
            }
        }
        Names { prefix: prefix.to_owned(), special }
    }

    /// The name of a child's unit without its ending.
    pub fn stem(&self, path: &str) -> String {
        self.special.get(path).cloned().unwrap_or_else(|| stem(&self.prefix, path))
    }
}

fn joined(path: &str, last_too: bool) -> String {
    let mut ids: Vec<String> = path.split('/').map(escaped).collect();
    if let Some(id) = ids.last_mut().filter(|_| last_too)
        && let Some(first) = id.bytes().next().filter(|first| *first != b'\\')
    {
        *id = format!("\\x{first:02x}{}", &id[1..]);
    }
    ids.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(supervisors: &[&str], workers: &[&str], expected: &[&str]) {
        let names = Names::among(supervisors.iter().copied(), workers.iter().copied(), "p-");
        let paths = supervisors.iter().chain(workers);
        assert_eq!(paths.map(|path| names.stem(path)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn names_are_plain_where_nothing_is_in_the_way() {
        check(&["t"], &["t/a-b", "t/c:d", "t/e@f"], &["p-t", "p-t-a-b", "p-t-c:d", "p-t-e\\x40f"]);
    }

    #[test]
    fn paths_that_would_share_a_name_are_escaped() {
        check(
            &["t", "t/a"],
            &["t/a-b", "t/a/b", "t/c"],
            &["p-t", "p-t-a", "p-t-a\\x2db", "p-t-a-b", "p-t-c"],
        );
    }

    #[test]
    fn a_child_with_the_name_of_an_auxiliary_unit_gives_way() {
        check(&["t"], &["t/meter", "t/a"], &["p-t", "p-t-\\x6deter", "p-t-a"]);
    }

    #[test]
    fn a_dot_in_front_hides_no_unit() {
        assert_eq!(stem("", ".t/a"), "\\x2et-a");
    }
}
