//! A linearizable register in memory, with revisions, transactions and the whole past: what etcd is to a cluster.

use woodward_engine::cluster::{Answer, Condition, Key, Register, Transaction, Value, Write};

/// What one revision has changed, as a watch tells it.
pub type Changes = Vec<(Key, Option<Value>)>;

/// The register as it is, and how it came to be.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// As it is.
    pub register: Register,
    /// Each revision with its changes; the oldest may have been forgotten.
    pub past: Vec<(u64, Changes)>,
}

impl Store {
    /// Carries a transaction out whole, or not at all.
    pub fn commit(&mut self, transaction: &Transaction) -> Answer {
        let holds = |Condition::At(key, at): &Condition| self.register.revision_of(key) == *at;
        if !transaction.conditions.iter().all(holds) {
            return Answer::Refused;
        }
        for (i, write) in transaction.writes.iter().enumerate() {
            let key = |write: &Write| match write {
                Write::Put(key, _) | Write::Delete(key) => key.clone(),
            };
            let twice = transaction.writes[..i].iter().any(|before| key(before) == key(write));
            assert!(!twice, "{:?} is written twice in one transaction", key(write));
        }
        let next = self.register.revision + 1;
        let mut changes = Changes::new();
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => {
                    self.register.entries.insert(key.clone(), (next, value.clone()));
                    changes.push((key.clone(), Some(value.clone())));
                }
                Write::Delete(key) if self.register.entries.remove(key).is_some() => {
                    changes.push((key.clone(), None));
                }
                Write::Delete(_) => {}
            }
        }
        // As in etcd, what changes nothing makes no revision.
        if changes.is_empty() {
            return Answer::Done(self.register.revision);
        }
        self.register.revision = next;
        self.past.push((next, changes));
        Answer::Done(next)
    }

    /// Everything in it.
    pub fn entries(&self) -> Vec<(Key, u64, Value)> {
        self.register.entries.iter().map(|(key, (at, value))| (key.clone(), *at, value.clone())).collect()
    }

    /// The first change after a revision.
    pub fn after(&self, revision: u64) -> Option<&(u64, Changes)> {
        let at = self.past.partition_point(|(of, _)| *of <= revision);
        self.past.get(at)
    }

    /// Drops what nobody watches any more: everything up to `revision`.
    pub fn forget(&mut self, revision: u64) {
        let at = self.past.partition_point(|(of, _)| *of <= revision);
        self.past.drain(..at);
    }
}
