//! Where a cluster's register is kept: transactions and watches, and nothing else of what a store may offer. No lease, no
//! lock, no election of the store takes part in who runs what.
//!
//! | rule | room |
//! |---|---|
//! | etcd | [`etcd`] |
//! | keys and values as a store writes them | [`words`] |
//! | in this process, for tests and embedders | [`memory`] |

pub mod etcd;
pub mod http;
pub mod memory;
pub mod tls;
pub mod words;

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc::UnboundedReceiver;
use woodward_engine::cluster::{Answer, Key, Transaction, Value};

pub use memory::Memory;

/// A future that a store hands out.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A linearizable store with revisions. Cheap to share; every call returns at once and may be dropped.
///
/// A transaction writes each key once at most, and has up to 128 conditions and 128 writes: that is what etcd takes unless
/// it is told otherwise (`--max-txn-ops`). One that changes nothing makes no revision.
pub trait Store: Send + Sync {
    /// Carries out a transaction. A *beat* is hedged: it may go through several members at once, each on connections that
    /// are used for nothing else, and is [`Answer::Unknown`] after two beats; anything else goes through one member, is
    /// never sent twice, and is `Unknown` when it was sent and no answer came.
    fn commit(&self, transaction: Transaction, beat: bool) -> Later<Answer>;

    /// Everything in the register.
    fn read(&self) -> Later<Result<Snapshot, StoreError>>;

    /// All changes after `revision`, in order, each revision whole. Goes on through another member by itself when one
    /// fails. Ends with [`Watched::Lost`] when something was missed. Dropping the receiver ends it.
    fn watch(&self, after: u64) -> UnboundedReceiver<Watched>;

    /// What is known of each member of the store, without asking anybody: for people, and for whoever wants the leader
    /// elsewhere.
    fn members(&self) -> Vec<Seat>;

    /// Makes another member lead the store. `member`: its address, as [`Store::members`] has it.
    fn lead(&self, member: &str) -> Later<Result<(), StoreError>>;
}

/// One member of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    /// As the settings name it.
    pub member: String,
    /// Why it cannot be used, if that is so: its own words, or what happened to the connection. `None` before it was asked.
    pub fault: Option<String>,
    /// Whether it led the store when it was last asked.
    pub leads: bool,
}

/// The register at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Of the store.
    pub revision: u64,
    /// Each key with the revision it was written at, in the order of the keys. What cannot be read as what its key
    /// says is left out, and told as a diagnostic; a transaction that takes it for absent is refused.
    pub entries: Vec<(Key, u64, Value)>,
}

/// News from a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// One revision's changes; `None`: the key is gone, or what stands there cannot be read.
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
