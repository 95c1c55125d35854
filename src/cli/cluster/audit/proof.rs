//! Whether two epochs of a group overlapped, from the records of the nodes.
//!
//! An epoch *lives* on a node from `group_starting` to `group_down`, or to the end of its node's term. Of two lives on one
//! node the order of the record's lines says which came first. Of two on different nodes:
//!
//! * **by cause**: the earlier owner has recorded the end of its life, and *after it* that it gave the group away. The later
//!   epoch is that gift or comes after it, so no clock is asked.
//! * **by clocks**: the one had ended, the other began, by the wall clocks of their nodes, further apart than these
//!   clocks may differ. Moves that both nodes have recorded tell how far they do.
//!
//! What is neither is not proved, and it is said what is missing. What the protocol promises (nobody lives past its deadline)
//! is no proof here: that is what is being audited.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::record::fact::FactLine;

/// The record of one node, its lines in the order in which they were written.
#[derive(Clone, Debug)]
pub struct Record {
    /// The node.
    pub node: String,
    /// Its lines.
    pub facts: Vec<FactLine>,
}

/// What is found about one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Audit {
    /// Which.
    pub group: String,
    /// Its lives, by epoch.
    pub lives: Vec<Life>,
    /// Of every life but the first, how it is known that the one before was over.
    pub proofs: Vec<Proof>,
    /// Two at once, each in a sentence.
    pub overlaps: Vec<String>,
    /// What is not proved, and what is missing, each in a sentence.
    pub unproved: Vec<String>,
}

/// An epoch on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Life {
    /// Its number.
    pub epoch: u64,
    /// Where.
    pub node: String,
    /// From when, by that node's wall clock: milliseconds since 1970.
    pub from: u64,
    /// Until when; null: there is no record of its end.
    pub until: Option<u64>,
    /// How it ended.
    pub how: String,
    /// Place of its first line in the record, and of its last.
    #[serde(skip)]
    lines: (usize, Option<usize>),
    /// It had ended by then, but nobody knows when.
    #[serde(skip)]
    at_the_latest: Option<u64>,
}

/// How it is known that an epoch had ended before a later one began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// The later one.
    pub epoch: u64,
    /// `order`, `cause` or `clocks`.
    pub by: &'static str,
    /// Milliseconds between the end of the one and the beginning of the other, by their nodes' clocks.
    pub gap: i64,
}

/// All groups that these records tell of. `error`: so far the clocks of two nodes may differ, milliseconds.
pub fn audit(records: &[Record], error: u64) -> Vec<Audit> {
    let groups: BTreeSet<&str> = (records.iter().flat_map(|record| &record.facts))
        .filter(|fact| fact.kind == "group_starting" && !fact.path.is_empty())
        .map(|fact| fact.path.as_str())
        .collect();
    let clocks = Clocks::of(records, error);
    groups.iter().map(|group| Auditor { group, records, clocks: &clocks }.audit()).collect()
}

struct Auditor<'a> {
    group: &'a str,
    records: &'a [Record],
    clocks: &'a Clocks,
}

/// Whether one life ended before another began.
enum Order {
    Proved(&'static str, i64),
    Overlap(String),
    Unproved(String),
}

impl Auditor<'_> {
    fn audit(&self) -> Audit {
        let mut lives: Vec<Life> = self.records.iter().flat_map(|record| self.lives(record)).collect();
        lives.sort_by(|a, b| (a.epoch, &a.node).cmp(&(b.epoch, &b.node)));
        let (mut proofs, mut overlaps, mut unproved) = (Vec::new(), Vec::new(), self.strays());
        let mut last: BTreeMap<&str, &Life> = BTreeMap::new();
        for life in &lives {
            // The last life of each node: those before it have ended before it began, or that was said of them.
            let before: Vec<&Life> = last.values().copied().collect();
            let latest = before.iter().map(|earlier| earlier.epoch).max();
            for earlier in before {
                match self.order(earlier, life) {
                    Order::Proved(by, gap) if Some(earlier.epoch) == latest => {
                        proofs.push(Proof { epoch: life.epoch, by, gap });
                    }
                    Order::Proved(..) => {}
                    Order::Overlap(text) => overlaps.push(text),
                    Order::Unproved(text) => unproved.push(text),
                }
            }
            last.insert(&life.node, life);
        }
        Audit { group: self.group.to_owned(), lives, proofs, overlaps, unproved }
    }

    /// The epochs that lived on a node.
    fn lives(&self, record: &Record) -> Vec<Life> {
        let mut lives: Vec<Life> = Vec::new();
        let mut boot = None;
        for (n, fact) in record.facts.iter().enumerate() {
            let own = fact.path == self.group;
            let open = lives.last_mut().filter(|life| life.until.is_none() && life.at_the_latest.is_none());
            match (fact.kind.as_str(), open) {
                ("group_starting", _) if own => {
                    let Some(epoch) = fact.number("epoch") else { continue };
                    lives.push(Life {
                        epoch,
                        node: record.node.clone(),
                        from: fact.at,
                        until: None,
                        how: "there is no record of its end".to_owned(),
                        lines: (n, None),
                        at_the_latest: None,
                    });
                }
                ("group_down" | "term_over", Some(life)) if own => {
                    if fact.kind == "group_down" && fact.number("epoch") != Some(life.epoch) {
                        continue;
                    }
                    (life.until, life.lines.1, life.how) = (Some(fact.at), Some(n), fact.text.clone());
                }
                // Before it joins anew, a node has killed all it had.
                ("cluster_joined", Some(life)) => {
                    (life.at_the_latest, life.lines.1) = (Some(fact.at), Some(n));
                    life.how = "its end is not recorded; its node joined anew later".to_owned();
                }
                ("daemon_started", open) => {
                    let now = fact.word("boot").map(str::to_owned);
                    if let Some(life) = open.filter(|_| boot.is_some() && now.is_some() && boot != now) {
                        (life.at_the_latest, life.lines.1) = (Some(fact.at), Some(n));
                        life.how = "its end is not recorded; its node was started anew later".to_owned();
                    }
                    boot = now.or(boot);
                }
                _ => {}
            }
        }
        lives
    }

    /// Whether `a`, the lower epoch, had ended before `b` began.
    fn order(&self, a: &Life, b: &Life) -> Order {
        let names = format!("epoch {} on {} and epoch {} on {}", a.epoch, a.node, b.epoch, b.node);
        if a.epoch == b.epoch {
            return Order::Overlap(format!("{names}: one epoch has two owners"));
        }
        let gap = |until: u64| b.from as i64 - self.clocks.shifted(&a.node, &b.node, until);
        if a.node == b.node {
            return match a.lines.1 {
                Some(end) if end <= b.lines.0 => Order::Proved("order", gap(a.until.unwrap_or(b.from))),
                Some(_) => Order::Overlap(format!("{names}: the later began before the earlier had ended")),
                None => Order::Overlap(format!("{names}: the later began, and the earlier has no end")),
            };
        }
        if let (Some(until), true) = (a.until, self.gave_away(a, b)) {
            return Order::Proved("cause", gap(until));
        }
        let error = i64::try_from(self.clocks.error).unwrap_or(i64::MAX);
        match (a.until.map(gap), a.at_the_latest.map(gap)) {
            (Some(gap), _) if gap > error && !self.clocks.jumped(a, b) => Order::Proved("clocks", gap),
            (Some(gap), _) if gap < -error && !self.clocks.jumped(a, b) => Order::Overlap(format!(
                "{names}: {} began {} ms before {} had ended ({})",
                b.node, -gap, a.node, a.how
            )),
            (Some(_), _) if self.clocks.jumped(a, b) => {
                Order::Unproved(format!("{names}: a clock was set back meanwhile"))
            }
            (Some(gap), _) => Order::Unproved(format!(
                "{names}: {gap} ms apart, and the clocks of these nodes may differ by {error} ms"
            )),
            (None, Some(latest)) if latest > error => Order::Proved("clocks", latest),
            (None, _) => Order::Unproved(format!("{names}: of the earlier {}{}", a.how, self.silence(a, b))),
        }
    }

    /// Whether the owner of `a` has recorded, after its end, that it gave the group away: to `b` or earlier.
    fn gave_away(&self, a: &Life, b: &Life) -> bool {
        let Some((record, end)) = self.record(&a.node).zip(a.lines.1) else { return false };
        record.facts[end..].iter().any(|fact| {
            let epoch = fact.number("epoch").unwrap_or_default();
            fact.kind == "group_given"
                && fact.path == self.group
                && fact.word("from") == Some(&a.node)
                && epoch > a.epoch
                && epoch <= b.epoch
        })
    }

    /// What the later owner says of the earlier one's silence.
    fn silence(&self, a: &Life, b: &Life) -> String {
        let facts = self.record(&b.node).map_or(&[][..], |record| &record.facts[..=b.lines.0]);
        let dead = facts.iter().rev().find(|fact| {
            fact.kind == "node_dead" && fact.word("about") == Some(&a.node) && fact.number("silent").is_some()
        });
        let silent = dead.and_then(|fact| fact.number("silent"));
        silent.map_or(String::new(), |ms| {
            format!(
                "; {} had seen no beat of {} for {ms} ms, which is longer than its right to run",
                b.node, a.node
            )
        })
    }

    /// Services that were started outside every life of their group. What is older than the first life is not judged.
    fn strays(&self) -> Vec<String> {
        let below = format!("{}/", self.group);
        let mut found = Vec::new();
        for record in self.records {
            let lives = self.lives(record);
            let Some(first) = lives.first().map(|life| life.lines.0) else { continue };
            let within = |n: usize| {
                lives.iter().any(|life| life.lines.0 <= n && life.lines.1.is_none_or(|end| n <= end))
            };
            let stray = record
                .facts
                .iter()
                .enumerate()
                .skip(first)
                .find(|(n, fact)| fact.kind == "started" && fact.path.starts_with(&below) && !within(*n));
            if let Some((_, fact)) = stray {
                found.push(format!("{} was started on {} outside every epoch", fact.path, record.node));
            }
        }
        found
    }

    fn record(&self, node: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.node == node)
    }
}

/// How the wall clocks of the nodes stand to each other.
#[derive(Debug)]
pub struct Clocks {
    /// So far two may differ beyond what is known of them, milliseconds.
    error: u64,
    /// Of two nodes: by how much the clock of the second is ahead, from so many moves that both have recorded.
    pairs: BTreeMap<(String, String), (i64, usize)>,
    /// Of each node the lines at which its clock had been set back.
    back: BTreeMap<String, Vec<usize>>,
}

/// So many common moves are needed before one clock is corrected by another.
const ENOUGH: usize = 3;

impl Clocks {
    fn of(records: &[Record], error: u64) -> Clocks {
        let mut pairs = BTreeMap::new();
        for a in records {
            for b in records.iter().filter(|b| b.node != a.node) {
                let given = |record: &Record| -> BTreeMap<(String, u64), u64> {
                    let given = record.facts.iter().filter(|fact| fact.kind == "group_given");
                    given
                        .filter_map(|fact| Some(((fact.path.clone(), fact.number("epoch")?), fact.at)))
                        .collect()
                };
                let (of_a, of_b) = (given(a), given(b));
                let mut ahead: Vec<i64> = of_a
                    .iter()
                    .filter_map(|(key, at)| of_b.get(key).map(|other| *other as i64 - *at as i64))
                    .collect();
                ahead.sort_unstable();
                if let Some(median) = ahead.get(ahead.len() / 2) {
                    pairs.insert((a.node.clone(), b.node.clone()), (*median, ahead.len()));
                }
            }
        }
        let back = records.iter().map(|record| {
            let steps = record.facts.windows(2).enumerate();
            let back = steps.filter(|(_, two)| two[1].at + error < two[0].at).map(|(n, _)| n + 1);
            (record.node.clone(), back.collect())
        });
        Clocks { error, pairs, back: back.collect() }
    }

    /// A moment of one node by the clock of another.
    fn shifted(&self, from: &str, to: &str, at: u64) -> i64 {
        let known = self.pairs.get(&(from.to_owned(), to.to_owned()));
        at as i64 + known.filter(|(_, n)| *n >= ENOUGH).map_or(0, |(ahead, _)| *ahead)
    }

    /// Whether a clock was set back while the earlier lived, or while the later did: then no clock proves anything.
    fn jumped(&self, a: &Life, b: &Life) -> bool {
        let within = |life: &Life, from: usize, until: usize| {
            self.back.get(&life.node).is_some_and(|back| back.iter().any(|n| (from..=until).contains(n)))
        };
        within(a, a.lines.0, a.lines.1.unwrap_or(usize::MAX)) || within(b, b.lines.0, b.lines.0 + 1)
    }
}

#[cfg(test)]
mod tests;
