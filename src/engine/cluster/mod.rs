//! Which node of a cluster runs which tree: the second pure function of the house.
//!
//! A tree with `[failover]` is a *group*. `Cluster::handle` takes the time and one [`Event`] and appends [`Effect`]s,
//! as the engine of trees does, and knows nothing of it: it says "start this group", and is told "it is up", "it has
//! given up". There is one `Cluster` on each node; they meet in a *register*, a few keys in a store that is
//! linearizable (etcd), and nowhere else.
//!
//! # The protocol: a heartbeat register with epochs
//!
//! * Time belongs to the nodes, not to the store. A node may run its groups until its *deadline*: [`Timing::hold`] after
//!   the **sending** of the last beat that the register has confirmed. Past it, the node kills.
//! * Another node may take over what it has watched in vain for [`Timing::wait`] **on its own clock**. Since
//!   `hold < wait`, the one has ended before the other begins, whoever was frozen, cut off or slow.
//! * The takeover is one transaction: *if the beat and the epoch of the dead node are still those I have seen*, its epoch is
//!   raised (which refuses every beat it may still send) and all its groups get new owners, in one decision.
//! * Whoever owns a group in which *life* is the revision of its owner key: the group's [`Epoch`], its fencing token.
//!   It only rises, and each has one owner.
//! * While a node's epoch stands, only that node changes the owner of a group it owns: it gives the group to the
//!   next one (a planned move, a tree that gave up) when nothing of it runs any more.
//!
//! No lease, no lock, and no clock of the store takes part.
//!
//! | rule | room |
//! |---|---|
//! | how long is waited for what | [`timing`] |
//! | what a group asks for | [`group`] |
//! | this node's part, what outlives its daemon, what people see | [`config`] |
//! | keys, values, transactions; what is known of them here | [`register`] |
//! | the machine: one turn, and which room has which rule | `machine` |
//! | where a group may run, and why not | [`place`] |
//! | what would happen if | [`foresee`] |
//! | what wakes a cluster, what it asks for, what it tells | [`event`], [`effect`], [`fact`] |

pub mod config;
mod desk;
pub mod effect;
pub mod event;
pub mod fact;
mod failback;
mod fencing;
pub mod foresee;
pub mod group;
mod groups;
mod handover;
mod machine;
mod owners;
pub mod place;
mod reading;
pub mod register;
mod requests;
mod scribe;
mod sight;
mod term;
pub mod timing;

pub use config::{Config, Held, Saved, Sight, View};
pub use effect::Effect;
pub use event::{Answer, Down, Event, Request};
pub use fact::Fact;
pub use foresee::Foreseen;
pub use group::{Fencing, Group};
pub use machine::Cluster;
pub use register::{Condition, Key, Register, Transaction, Value, Write};
pub use timing::Timing;

use std::sync::Arc;

/// Name of a node or of a group.
pub type Name = Arc<str>;

/// The revision at which a group was given to its owner: rises with every owner, is never used twice, and is the
/// token that a service shows to what it shares with other nodes (`FENCING_TOKEN`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// One life of a node in the cluster, from its joining to the end of its right to run anything: the number in its epoch
/// key. The keeper arms deadlines for one term at a time, and for none that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);
