//! The facts kept in memory: bounded, and quick to find by path and by incident.
//!
//! They are kept as the JSON that also goes to the history: a sixth of what the values would take, and a daemon with a
//! thousand services has thousands of them. One path may keep so many: a child that crashes over and over pushes
//! its own old facts out, not those of its neighbours.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::fact::FactLine;
use super::words::is_within;
use crate::settings::Settings;

/// Facts by their number, and the numbers of each path.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Bytes of facts kept, all paths together.
    bound: usize,
    /// Facts kept per path.
    per_path: usize,
    last: u64,
    bytes: usize,
    facts: BTreeMap<u64, Entry>,
    paths: BTreeMap<Arc<str>, VecDeque<u64>>,
}

#[derive(Debug)]
struct Entry {
    path: Arc<str>,
    incident: u64,
    json: Arc<[u8]>,
}

impl Ledger {
    /// Empty, for as much as these say.
    pub(super) fn new(settings: &Settings) -> Ledger {
        Ledger {
            bound: settings.memory_facts.bytes(),
            per_path: settings.memory_facts_per_child.0 as usize,
            last: 0,
            bytes: 0,
            facts: BTreeMap::new(),
            paths: BTreeMap::new(),
        }
    }

    /// Keeps a fact of an earlier daemon, oldest first; numbers go on after it.
    pub(super) fn take_over(&mut self, line: &FactLine, json: Arc<[u8]>) {
        if !self.facts.contains_key(&line.seq) {
            self.last = self.last.max(line.seq);
            self.push(line, json);
        }
    }

    /// The greatest number of an incident that is known.
    pub(super) fn last_incident(&self) -> u64 {
        self.facts.values().map(|entry| entry.incident).max().unwrap_or(0)
    }

    /// The number of the next fact.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Keeps a fact that has its number.
    pub(super) fn push(&mut self, line: &FactLine, json: Arc<[u8]>) {
        let path = match self.paths.get_key_value(line.path.as_str()) {
            Some((path, _)) => path.clone(),
            None => Arc::from(line.path.as_str()),
        };
        let seqs = self.paths.entry(path.clone()).or_default();
        seqs.push_back(line.seq);
        let full = seqs.len() > self.per_path;
        let first = seqs.front().copied();
        self.bytes += json.len();
        self.facts.insert(line.seq, Entry { path, incident: line.incident, json });
        if let Some(first) = first.filter(|_| full) {
            self.remove(first);
        }
        while self.bytes > self.bound {
            let Some((oldest, _)) = self.facts.first_key_value() else { break };
            self.remove(*oldest);
        }
    }

    /// Facts about `path` and everything below it, oldest first.
    pub(super) fn within(&self, path: &str) -> Vec<FactLine> {
        if path.is_empty() {
            return self.read(self.facts.keys().copied());
        }
        let from = self.paths.range::<str, _>((Bound::Included(path), Bound::Unbounded));
        // `a/b` and `a/b/c` are within `a/b`; `a/b#1`, which stands between them, is not.
        let near = from.take_while(|(key, _)| key.starts_with(path));
        let mut seqs: Vec<u64> =
            near.filter(|(key, _)| is_within(key, path)).flat_map(|(_, seqs)| seqs.iter().copied()).collect();
        seqs.sort_unstable();
        self.read(seqs.into_iter())
    }

    /// Facts of these incidents, oldest first, and those of the daemon itself, which part them.
    pub(super) fn of_incidents(&self, incidents: &[u64]) -> Vec<FactLine> {
        let own = |entry: &Entry| entry.incident == 0 && entry.path.is_empty();
        let found = self.facts.iter().filter(|(_, entry)| own(entry) || incidents.contains(&entry.incident));
        self.read(found.map(|(seq, _)| *seq))
    }

    fn read(&self, seqs: impl Iterator<Item = u64>) -> Vec<FactLine> {
        let entries = seqs.filter_map(|seq| self.facts.get(&seq));
        entries.filter_map(|entry| serde_json::from_slice(&entry.json).ok()).collect()
    }

    fn remove(&mut self, seq: u64) {
        let Some(entry) = self.facts.remove(&seq) else { return };
        self.bytes -= entry.json.len();
        let Some(seqs) = self.paths.get_mut(&entry.path) else { return };
        // It is the oldest of its path, whoever asked for its removal.
        seqs.pop_front();
        if seqs.is_empty() {
            self.paths.remove(&entry.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ledger: &mut Ledger, path: &str, incident: u64, text: &str) {
        let mut line = FactLine::note(0, incident, path, 1, "test", text.to_owned());
        line.seq = ledger.next();
        let json = serde_json::to_vec(&line).expect("plain values");
        ledger.push(&line, json.into());
    }

    fn texts(lines: Vec<FactLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn facts_are_found_by_path_and_by_incident() {
        let mut ledger = Ledger::new(&Settings::default());
        for (path, incident, text) in [("a", 1, "1"), ("a/b/c", 1, "2"), ("a/b#1", 2, "3"), ("a/b", 2, "4")] {
            push(&mut ledger, path, incident, text);
        }
        let check = |path, found: &[&str]| assert_eq!(texts(ledger.within(path)), found);
        check("a/b", &["2", "4"]);
        check("a", &["1", "2", "3", "4"]);
        check("", &["1", "2", "3", "4"]);
        check("a/", &[]);
        assert_eq!(texts(ledger.of_incidents(&[2])), ["3", "4"]);
    }

    #[test]
    fn a_child_that_crashes_for_ever_pushes_out_its_own_facts_only() {
        let mut ledger = Ledger::new(&Settings::default());
        push(&mut ledger, "quiet", 1, "here");
        for n in 0..10_000 {
            push(&mut ledger, "loud", n, &n.to_string());
        }
        assert_eq!(texts(ledger.within("quiet")), ["here"]);
        let loud = texts(ledger.within("loud"));
        assert_eq!((loud.len(), loud[255].as_str()), (256, "9999"));
    }

    #[test]
    fn memory_is_bounded_over_all_paths() {
        let mut ledger = Ledger::new(&Settings::default());
        for n in 0..50_000 {
            push(&mut ledger, &format!("t/{}", n % 1000), n, "some text of a usual length, say so");
        }
        assert!(ledger.bytes <= ledger.bound);
        let kept: usize = ledger.facts.values().map(|entry| entry.json.len()).sum();
        assert_eq!(ledger.bytes, kept);
        assert_eq!(ledger.facts.len(), ledger.paths.values().map(VecDeque::len).sum::<usize>());
    }
}
