//! A register in memory: every handle that is cloned from one sees the same, with the revisions that etcd would give. For
//! tests, and for embedders whose nodes are threads of one program.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use woodward_engine::cluster::{Answer, Condition, Key, Transaction, Value, Write};

use super::{Later, Seat, Snapshot, Store, StoreError, Watched};

/// A handle on a register in memory. A clone is cut off with it; [`Memory::another`] is not.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    /// Which handle, for who is cut off.
    handle: u64,
}

#[derive(Debug)]
struct Shared {
    revision: u64,
    /// Changes before this revision are forgotten.
    compacted: u64,
    entries: BTreeMap<Key, (u64, Value)>,
    /// Each revision's changes.
    history: BTreeMap<u64, Vec<(Key, Option<Value>)>>,
    watches: Vec<Watch>,
    /// Handles that are cut off.
    away: Vec<u64>,
    handles: u64,
}

#[derive(Debug)]
struct Watch {
    handle: u64,
    /// The last revision it was told.
    told: u64,
    news: UnboundedSender<Watched>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// An empty register, at revision 1 as an empty etcd is.
    pub fn new() -> Memory {
        let shared = Shared {
            revision: 1,
            compacted: 0,
            entries: BTreeMap::new(),
            history: BTreeMap::new(),
            watches: Vec::new(),
            away: Vec::new(),
            handles: 1,
        };
        Memory { shared: Arc::new(Mutex::new(shared)), handle: 0 }
    }

    /// Another handle on the same register, that is cut off apart from this one.
    pub fn another(&self) -> Memory {
        let mut shared = self.lock();
        shared.handles += 1;
        Memory { shared: self.shared.clone(), handle: shared.handles - 1 }
    }

    /// Cuts this handle off, or ends that: transactions are unknown and not done, reads fail, watches stay silent and go
    /// on where they were.
    pub fn cut_off(&self, away: bool) {
        let mut shared = self.lock();
        shared.away.retain(|handle| *handle != self.handle);
        if away {
            shared.away.push(self.handle);
        }
        shared.tell();
    }

    /// Forgets what was changed before `revision`, as etcd does when it is compacted.
    pub fn compact(&self, revision: u64) {
        let mut shared = self.lock();
        shared.compacted = shared.compacted.max(revision.min(shared.revision));
        let compacted = shared.compacted;
        shared.history.retain(|revision, _| *revision >= compacted);
        shared.tell();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn commit(&mut self, transaction: Transaction) -> Answer {
        let revision_of = |key: &Key| self.entries.get(key).map_or(0, |(revision, _)| *revision);
        if !transaction.conditions.iter().all(|Condition::At(key, revision)| revision_of(key) == *revision) {
            return Answer::Refused;
        }
        let revision = self.revision + 1;
        let mut changes = Vec::new();
        for write in transaction.writes {
            match write {
                Write::Put(key, value) => {
                    self.entries.insert(key.clone(), (revision, value.clone()));
                    changes.push((key, Some(value)));
                }
                Write::Delete(key) => {
                    if self.entries.remove(&key).is_some() {
                        changes.push((key, None));
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.revision = revision;
            self.history.insert(revision, changes);
            self.tell();
        }
        Answer::Done(self.revision)
    }

    /// Tells each watch that can hear it what it does not know yet.
    fn tell(&mut self) {
        let Shared { watches, history, away, compacted, .. } = self;
        watches.retain_mut(|watch| {
            if away.contains(&watch.handle) {
                return true;
            }
            if watch.told + 1 < *compacted {
                let _ = watch.news.send(Watched::Lost);
                return false;
            }
            for (revision, changes) in history.range(watch.told + 1..) {
                let news = Watched::Changed { revision: *revision, changes: changes.clone() };
                if watch.news.send(news).is_err() {
                    return false;
                }
                watch.told = *revision;
            }
            !watch.news.is_closed()
        });
    }
}

impl Store for Memory {
    fn commit(&self, transaction: Transaction, _beat: bool) -> Later<Answer> {
        let mut shared = self.lock();
        let away = shared.away.contains(&self.handle);
        Box::pin(ready(if away { Answer::Unknown } else { shared.commit(transaction) }))
    }

    fn read(&self) -> Later<Result<Snapshot, StoreError>> {
        let shared = self.lock();
        let away = shared.away.contains(&self.handle);
        Box::pin(ready(if away {
            Err(StoreError::Away { member: "memory".to_owned(), why: "it is cut off".to_owned() })
        } else {
            let entries =
                shared.entries.iter().map(|(key, (revision, value))| (key.clone(), *revision, value.clone()));
            Ok(Snapshot { revision: shared.revision, entries: entries.collect() })
        }))
    }

    fn watch(&self, after: u64) -> UnboundedReceiver<Watched> {
        let (news, receiver) = unbounded_channel();
        let mut shared = self.lock();
        shared.watches.push(Watch { handle: self.handle, told: after, news });
        shared.tell();
        receiver
    }

    fn members(&self) -> Vec<Seat> {
        let away = self.lock().away.contains(&self.handle);
        let fault = away.then(|| "it is cut off".to_owned());
        vec![Seat { member: "memory".to_owned(), fault, leads: true }]
    }

    fn lead(&self, _member: &str) -> Later<Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(n: u64) -> Write {
        Write::Put(Key::Beat("h1".into()), Value::Beat(n))
    }

    fn put(conditions: Vec<Condition>, n: u64) -> Transaction {
        Transaction { conditions, writes: vec![beat(n)] }
    }

    /// All that a watch has told so far.
    fn told(watch: &mut UnboundedReceiver<Watched>) -> Vec<Watched> {
        std::iter::from_fn(|| watch.try_recv().ok()).collect()
    }

    fn changed(revision: u64, n: Option<u64>) -> Watched {
        Watched::Changed { revision, changes: vec![(Key::Beat("h1".into()), n.map(Value::Beat))] }
    }

    #[tokio::test]
    async fn a_transaction_is_done_if_all_its_conditions_hold() {
        let store = Memory::new();
        let key = Key::Beat("h1".into());
        assert_eq!(store.commit(put(vec![Condition::At(key.clone(), 0)], 1), true).await, Answer::Done(2));
        assert_eq!(store.commit(put(vec![Condition::At(key.clone(), 0)], 2), true).await, Answer::Refused);
        let both = vec![Condition::At(key.clone(), 2), Condition::At(Key::Maintenance, 1)];
        assert_eq!(store.commit(put(both, 3), false).await, Answer::Refused);
        let other = store.another();
        assert_eq!(other.commit(put(vec![Condition::At(key.clone(), 2)], 4), false).await, Answer::Done(3));
        let entries = vec![(key.clone(), 3, Value::Beat(4))];
        assert_eq!(store.read().await, Ok(Snapshot { revision: 3, entries }));
        let gone = Transaction { conditions: Vec::new(), writes: vec![Write::Delete(key)] };
        assert_eq!(store.commit(gone.clone(), false).await, Answer::Done(4));
        // What changes nothing makes no revision.
        assert_eq!(store.commit(gone, false).await, Answer::Done(4));
        assert_eq!(store.read().await, Ok(Snapshot { revision: 4, entries: Vec::new() }));
    }

    #[tokio::test]
    async fn a_watch_tells_every_revision_in_order_and_says_when_some_are_forgotten() {
        let store = Memory::new();
        let mut early = store.watch(1);
        for n in 1..=3 {
            store.another().commit(put(Vec::new(), n), false).await;
        }
        assert_eq!(told(&mut early), [changed(2, Some(1)), changed(3, Some(2)), changed(4, Some(3))]);
        assert_eq!(told(&mut store.watch(2)), [changed(3, Some(2)), changed(4, Some(3))]);
        store.compact(4);
        assert_eq!(told(&mut store.watch(2)), [Watched::Lost]);
        assert_eq!(told(&mut store.watch(3)), [changed(4, Some(3))]);
        assert_eq!(told(&mut early), []);
    }

    #[tokio::test]
    async fn a_handle_that_is_cut_off_knows_nothing_and_goes_on_where_it_was() {
        let store = Memory::new();
        let other = store.another();
        let mut watch = other.watch(1);
        other.cut_off(true);
        assert_eq!(other.commit(put(Vec::new(), 1), true).await, Answer::Unknown);
        assert!(other.read().await.is_err());
        assert_eq!(store.commit(put(Vec::new(), 2), true).await, Answer::Done(2));
        assert_eq!(told(&mut watch), []);
        other.cut_off(false);
        assert_eq!(told(&mut watch), [changed(2, Some(2))]);
    }
}
