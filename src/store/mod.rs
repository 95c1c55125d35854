//! Where a cluster's register is kept: transactions and watches, and nothing else of what a store may offer. No lease, no
//! lock, no election of the store takes part in who runs what.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc::UnboundedReceiver;
use woodward_engine::cluster::{Answer, Key, Transaction, Value};

/// A future that a store hands out.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A linearizable store with revisions. Cheap to share; every call returns at once and may be dropped.
pub trait Store: Send + Sync {
    /// Carries out a transaction. A *beat* goes through every member at once, each on a connection of its own that is used for
    /// nothing else, and is [`Answer::Unknown`] after `beat`; anything else goes through one member, is never sent twice, and
    /// is `Unknown` when it was sent and no answer came.
    fn commit(&self, transaction: Transaction, beat: bool) -> Later<Answer>;

    /// Everything in the register.
    fn read(&self) -> Later<Result<Snapshot, StoreError>>;

    /// All changes after `revision`, in order, each revision whole. Goes on through another member by itself when one
    /// fails. Ends with [`Watched::Lost`] when something was missed. Dropping the receiver ends it.
    fn watch(&self, after: u64) -> UnboundedReceiver<Watched>;
}

/// The register at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Of the store.
    pub revision: u64,
    /// Each key with the revision it was written at. What cannot be read as what its key says is left out and told by the
    /// store's own diagnostics.
    pub entries: Vec<(Key, u64, Value)>,
}

/// News from a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// One revision's changes; `None`: the key is gone.
    Changed {
        /// Of the store.
        revision: u64,
        /// Which.
        changes: Vec<(Key, Option<Value>)>,
    },
    /// There is a gap (the store has forgotten what came next): read again.
    Lost,
}

/// Why the store gave no answer. All of it is "store away" to the cluster: tried again, never a reason to fail.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody answers, or not in time.
    #[error("cannot reach the store at {member}: {why}")]
    Away {
        /// Which member was asked last.
        member: String,
        /// What happened.
        why: String,
    },
    /// It answers, and refuses: login, permission, no room, a version that is not known.
    #[error("cannot use the store at {member}: {why}")]
    Refused {
        /// Which member.
        member: String,
        /// Its words.
        why: String,
    },
}
