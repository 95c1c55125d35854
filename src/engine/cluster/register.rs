//! The register: keys, values, transactions, and what is known of them here.
//!
//! ```text
//! node/N/epoch      term of N, its rhythm, the groups it could run      changed when N joins, or by whoever takes over from N
//! node/N/beat       a counter, each beat one more                       by N alone, while its epoch key is as it wrote it
//! node/N/drained    who drained it and why                              by a person, through any node
//! group/G/owner     a node or nobody, since when and why                revision = the group's epoch
//! group/G/state     starting, active, stopping, down (why)              for people and for failback; no decision about safety
//! group/G/avoid/N   why it shall not run there for a while              by N, and taken away by N when its time is over
//! group/G/move      a person wants it on another node                   taken away by the owner
//! group/G/probe     whether a better node could run it, and its answer  asked by the owner, answered by that node
//! maintenance       who wants nothing to move, and why                  by a person
//! ```

use super::{Epoch, Name, Term, Timing};
use std::collections::BTreeMap;

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `node/N/epoch`
    Epoch(Name),
    /// `node/N/beat`
    Beat(Name),
    /// `node/N/drained`
    Drained(Name),
    /// `group/G/owner`
    Owner(Name),
    /// `group/G/state`
    State(Name),
    /// `group/G/avoid/N`
    Avoid(Name, Name),
    /// `group/G/move`
    Move(Name),
    /// `group/G/probe`
    Probe(Name),
    /// `maintenance`
    Maintenance,
}

/// What stands under a key; each key has its own kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Of [`Key::Epoch`].
    Epoch(Member),
    /// Of [`Key::Beat`].
    Beat(u64),
    /// Of [`Key::Owner`].
    Owner(Owner),
    /// Of [`Key::State`].
    State(State),
    /// Of [`Key::Avoid`].
    Avoid(Avoid),
    /// Of [`Key::Move`].
    Move(Wish),
    /// Of [`Key::Probe`].
    Probe(Probe),
    /// Of [`Key::Drained`] and [`Key::Maintenance`].
    Order(Order),
}

/// What a node says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// One more with each joining and each takeover.
    pub term: Term,
    /// Who has ended this node's term; itself: it left in order; `None`: the term stands.
    pub fenced: Option<Name>,
    /// Its rhythm.
    pub timing: Timing,
    /// The groups whose trees it has.
    pub groups: Vec<Name>,
    /// Pairs of groups of its trees that must not share a node: others need not have both trees to heed it.
    pub apart: Vec<(Name, Name)>,
    /// Wall clock at the joining, milliseconds since 1970; for people.
    pub since: u64,
}

/// Who has a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `None`: nobody, until somebody is able.
    pub node: Option<Name>,
    /// Who had it before.
    pub from: Option<Name>,
    /// Why it is there: no move without a reason.
    pub why: Why,
    /// Who decided that.
    pub by: Name,
    /// Wall clock of that, milliseconds since 1970; for people.
    pub since: u64,
}

/// Why a group is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It had no owner and this node was the best able one.
    First,
    /// The node it was on is dead; last beat seen so many milliseconds before the takeover, on the clock of who took over.
    Dead {
        /// Milliseconds.
        silent: u64,
        /// Whether it was fenced: `Some(true)` yes, `Some(false)` in vain.
        fenced: Option<bool>,
    },
    /// The node it was on had joined anew: what it had before is given out again.
    Rejoined,
    /// It gave up there; the tree's last words.
    GaveUp(String),
    /// It was not ready in time there.
    Late,
    /// A person moved it.
    Moved(Order),
    /// The node it was on is being drained.
    Drained(Order),
    /// The node it was on was stopped in order.
    Left,
    /// A better node has proved itself.
    Failback,
    /// The failback has failed: back to where it was.
    Rollback(String),
    /// It follows a group it is to be with, or makes room for one it must not be with.
    Follows(Name),
    /// A person stopped it, or it is done; its last words. Nobody has it until a person starts it.
    Stopped(String),
    /// No node is able: each was tried and avoided, or is away. The sentence says of each node why not.
    Broken(String),
}

/// How far a group is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Of which epoch.
    pub epoch: Epoch,
    /// What.
    pub phase: Phase,
    /// Milliseconds its last start took from ownership to ready, as measured by its owner; for predictions.
    pub start_took: Option<u64>,
    /// Milliseconds its last stop took.
    pub stop_took: Option<u64>,
    /// Wall clock, milliseconds since 1970; for people.
    pub since: u64,
}

/// See [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Its owner brings it up.
    Starting,
    /// Ready.
    Active,
    /// Its owner brings it down.
    Stopping,
    /// Down: a person stopped it, or it shut itself down. It stays down until a person starts it.
    Stopped,
}

/// A person wants a group elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Where; `None`: anywhere but here.
    pub to: Option<Name>,
    /// Whose wish.
    pub order: Order,
}

/// A group gave up on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Avoid {
    /// Its last words.
    pub why: String,
    /// Wall clock, milliseconds since 1970; for people.
    pub since: u64,
}

/// The owner of a group asks a better node whether the group could run there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The better node.
    pub node: Name,
    /// Of the ownership under which it is asked.
    pub epoch: Epoch,
    /// The answer, once there is one; else why not.
    pub result: Option<Result<(), String>>,
}

/// A person's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Order {
    /// Who.
    pub by: String,
    /// Why, if it was said.
    pub text: Option<String>,
}

/// What must hold for a transaction to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The key was last written at this revision; 0: there is none.
    At(Key, u64),
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Writes.
    Put(Key, Value),
    /// Takes away; one that is not there is no error.
    Delete(Key),
}

/// All or nothing: if all conditions hold, all writes are done, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What is done.
    pub writes: Vec<Write>,
}

/// What is known of the register: everything in it at `revision`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Register {
    /// All changes up to this one have been seen.
    pub revision: u64,
    /// Each key with its value and the revision it was written at.
    pub entries: BTreeMap<Key, (u64, Value)>,
}

impl Register {
    /// The revision a key was written at; 0: there is none.
    pub fn revision_of(&self, key: &Key) -> u64 {
        self.entries.get(key).map_or(0, |(revision, _)| *revision)
    }

    /// What a node has said of itself.
    pub fn member(&self, node: &Name) -> Option<&Member> {
        match self.entries.get(&Key::Epoch(node.clone())) {
            Some((_, Value::Epoch(member))) => Some(member),
            _ => None,
        }
    }

    /// Who has a group, and the epoch that began with it.
    pub fn owner(&self, group: &Name) -> Option<(Epoch, &Owner)> {
        match self.entries.get(&Key::Owner(group.clone())) {
            Some((revision, Value::Owner(owner))) => Some((Epoch(*revision), owner)),
            _ => None,
        }
    }

    /// What stands under a key.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Why a group shall not run on a node.
    pub fn avoid(&self, group: &Name, node: &Name) -> Option<&Avoid> {
        match self.get(&Key::Avoid(group.clone(), node.clone()))? {
            Value::Avoid(avoid) => Some(avoid),
            _ => None,
        }
    }

    /// Who drained a node.
    pub fn drained(&self, node: &Name) -> Option<&Order> {
        match self.get(&Key::Drained(node.clone()))? {
            Value::Order(order) => Some(order),
            _ => None,
        }
    }

    /// Who wants nothing to happen by itself.
    pub fn maintenance(&self) -> Option<&Order> {
        match self.get(&Key::Maintenance)? {
            Value::Order(order) => Some(order),
            _ => None,
        }
    }

    /// Whether a person wants a group elsewhere.
    pub fn wish(&self, group: &Name) -> Option<&Wish> {
        match self.get(&Key::Move(group.clone()))? {
            Value::Move(wish) => Some(wish),
            _ => None,
        }
    }

    /// Whether a better node is asked for a group, and what it says.
    pub fn probe(&self, group: &Name) -> Option<&Probe> {
        match self.get(&Key::Probe(group.clone()))? {
            Value::Probe(probe) => Some(probe),
            _ => None,
        }
    }

    /// How far a group is.
    pub fn state(&self, group: &Name) -> Option<&State> {
        match self.entries.get(&Key::State(group.clone())) {
            Some((_, Value::State(state))) => Some(state),
            _ => None,
        }
    }
}
