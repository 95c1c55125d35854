//! Where a group may run: one pure function for takeover, move, drain, failback and foresight.
//!
//! A node is *able* to run a group if it is in the group's list, has its tree, is alive, is not drained, the group has not
//! given up there lately, and nothing runs there that the group must be apart from. Among able nodes the one wins on which
//! the group is with the most of those it is to be with, then the one that stands first in its list. Something that runs
//! is not moved by this: it is asked only when a group needs a place.

use super::register::Order;
use super::{Group, Name, Register, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It beats.
    Alive,
    /// It may: it was read of, and not watched for long enough.
    Doubtful,
    /// It has never joined, or left in order.
    Absent,
    /// Its beats do not come.
    Silent,
    /// Its term was ended by another node.
    Fenced,
}

/// Why a group cannot run on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// The group's list does not have it.
    NotListed,
    /// It does not have the tree.
    NoTree,
    /// It cannot be relied on.
    Away(Presence),
    /// By a person.
    Drained(Order),
    /// The group gave up there; its last words.
    Avoided(String),
    /// A group that it must not share a node with.
    Apart(Name),
    /// It is to leave it.
    Leaves,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NotListed => write!(f, "not in the list of its nodes"),
            Obstacle::NoTree => write!(f, "does not have its tree"),
            Obstacle::Away(Presence::Alive) => write!(f, "is alive"),
            Obstacle::Away(Presence::Doubtful) => write!(f, "has not been seen to beat yet"),
            Obstacle::Away(Presence::Absent) => write!(f, "is not in the cluster"),
            Obstacle::Away(Presence::Silent) => write!(f, "does not beat"),
            Obstacle::Away(Presence::Fenced) => write!(f, "was fenced and has not come back"),
            Obstacle::Drained(order) => match &order.text {
                Some(text) => write!(f, "drained by {} ({text})", order.by),
                None => write!(f, "drained by {}", order.by),
            },
            Obstacle::Avoided(why) => write!(f, "gave up there: {why}"),
            Obstacle::Apart(group) => write!(f, "{group} runs there, which it is to be apart from"),
            Obstacle::Leaves => write!(f, "it is to leave it"),
        }
    }
}

/// What placement looks at, with what was decided but is not in the register yet.
pub(super) struct Board<'a> {
    pub register: &'a Register,
    pub groups: &'a [Group],
    pub presence: BTreeMap<Name, Presence>,
    /// Pairs of groups that must not share a node, as any node has announced them.
    pub apart: BTreeSet<(Name, Name)>,
    /// Groups placed in this decision.
    pub given: BTreeMap<Name, Option<Name>>,
    /// Where groups have just given up: group and node.
    pub shunned: Vec<(Name, Name, String)>,
}

/// What is asked of a placement beyond the rules.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// There if it is able, whatever stands before it.
    pub prefer: Option<&'a Name>,
    /// Not there.
    pub except: Option<&'a Name>,
    /// Nodes that are away may still come: one that stands earlier is waited for.
    pub patient: bool,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// There.
    On(Name),
    /// Nowhere for now: that one may turn out to be able.
    WaitsFor(Name),
    /// Nobody is able; of each node why not.
    Nobody(String),
}

impl<'a> Board<'a> {
    /// Before anything is decided.
    pub fn new(register: &'a Register, groups: &'a [Group], presence: BTreeMap<Name, Presence>) -> Board<'a> {
        let announced = register.entries.values().filter_map(|(_, value)| match value {
            Value::Epoch(member) => Some(member.apart.iter().cloned()),
            _ => None,
        });
        let apart = announced.flatten().chain(pairs_apart(groups)).collect();
        Board { register, groups, presence, apart, given: BTreeMap::new(), shunned: Vec::new() }
    }

    pub fn presence(&self, node: &Name) -> Presence {
        self.presence.get(node).copied().unwrap_or(Presence::Absent)
    }

    /// On which node a group is, as far as it is decided.
    pub fn node_of(&self, group: &Name) -> Option<&Name> {
        match self.given.get(group) {
            Some(node) => node.as_ref(),
            None => self.register.owner(group).and_then(|(_, owner)| owner.node.as_ref()),
        }
    }

    /// What keeps a group from running on a node; empty: nothing.
    pub fn obstacles(&self, group: &Group, node: &Name) -> Vec<Obstacle> {
        let mut found = Vec::new();
        if !group.nodes.contains(node) {
            found.push(Obstacle::NotListed);
        }
        let presence = self.presence(node);
        if presence != Presence::Alive {
            found.push(Obstacle::Away(presence));
        } else if !self.register.member(node).is_some_and(|member| member.groups.contains(&group.name)) {
            found.push(Obstacle::NoTree);
        }
        if let Some(order) = self.register.drained(node) {
            found.push(Obstacle::Drained(order.clone()));
        }
        let shunned = self.shunned.iter().find(|(g, n, _)| *g == group.name && n == node);
        let noted = self.register.avoid(&group.name, node).map(|avoid| &avoid.why);
        if let Some(why) = shunned.map(|(_, _, why)| why).or(noted) {
            found.push(Obstacle::Avoided(why.clone()));
        }
        for (a, b) in &self.apart {
            let other = match (a, b) {
                (a, b) if *a == group.name => b,
                (a, b) if *b == group.name => a,
                _ => continue,
            };
            if self.node_of(other) == Some(node) {
                found.push(Obstacle::Apart(other.clone()));
            }
        }
        found
    }

    /// The first thing that keeps a group from running on a node and will not be gone as soon as that node is seen to beat.
    pub fn obstacle(&self, group: &Group, node: &Name) -> Option<Obstacle> {
        self.obstacles(group, node).into_iter().find(|o| *o != Obstacle::Away(Presence::Doubtful))
    }

    /// Of the groups it is to be with: how many would be elsewhere if it ran there.
    fn without(&self, group: &Group, node: &Name) -> usize {
        let mates = self.groups.iter().filter(|other| are_with(group, other));
        mates
            .filter(|mate| match self.node_of(&mate.name) {
                Some(other) if self.presence(other) == Presence::Alive => other != node,
                _ => !self.obstacles(mate, node).is_empty(),
            })
            .count()
    }

    /// Where a group shall run.
    pub fn place(&self, group: &Group, wanted: Wanted) -> Placed {
        let mut best: Option<((bool, usize, usize), &Name)> = None;
        let mut hoped: Option<((bool, usize, usize), &Name)> = None;
        let mut reasons = Vec::new();
        for (index, node) in group.nodes.iter().enumerate() {
            let mut obstacles = self.obstacles(group, node);
            if wanted.except == Some(node) {
                obstacles.push(Obstacle::Leaves);
            }
            let rank = (wanted.prefer != Some(node), self.without(group, node), index);
            let better = |best: &Option<(_, _)>| best.as_ref().is_none_or(|(found, _)| rank < *found);
            let may_come = match obstacles.as_slice() {
                [Obstacle::Away(presence)] => wanted.patient || *presence == Presence::Doubtful,
                _ => false,
            };
            if obstacles.is_empty() && better(&best) {
                best = Some((rank, node));
            } else if may_come && better(&hoped) {
                hoped = Some((rank, node));
            }
            if let Some(first) = obstacles.first() {
                reasons.push(format!("{node}: {first}"));
            }
        }
        match (best, hoped) {
            (Some((rank, _)), Some((hope, node))) if wanted.patient && hope < rank => {
                Placed::WaitsFor(node.clone())
            }
            (Some((_, node)), _) => Placed::On(node.clone()),
            (None, Some((_, node))) => Placed::WaitsFor(node.clone()),
            (None, None) if reasons.is_empty() => Placed::Nobody("no node is to run it".into()),
            (None, None) => Placed::Nobody(reasons.join("; ")),
        }
    }

    /// Notes what was decided.
    pub fn give(&mut self, group: &Name, node: Option<Name>) {
        self.given.insert(group.clone(), node);
    }
}

/// Pairs of groups that must not share a node, the lesser name first.
pub(super) fn pairs_apart(groups: &[Group]) -> Vec<(Name, Name)> {
    let pairs =
        groups.iter().flat_map(|group| group.apart.iter().map(|other| (group.name.clone(), other.clone())));
    let mut pairs: Vec<_> =
        pairs.filter(|(a, b)| a != b).map(|(a, b)| if a < b { (a, b) } else { (b, a) }).collect();
    pairs.sort();
    pairs.dedup();
    pairs
}

/// One of them asks to share a node with the other.
pub(super) fn are_with(a: &Group, b: &Group) -> bool {
    a.name != b.name && (a.with.contains(&b.name) || b.with.contains(&a.name))
}

/// Sorts groups into the order in which a node starts them: the greater priority first, and each after those that it is to
/// be with; names decide between equals, and priority where groups ask for each other in a circle.
pub(super) fn in_starting_order(groups: &mut Vec<Group>) {
    groups.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
    let mut left = std::mem::take(groups);
    while !left.is_empty() {
        let waits = |group: &Group| {
            left.iter().any(|other| other.name != group.name && group.with.contains(&other.name))
        };
        let next = left.iter().position(|group| !waits(group)).unwrap_or(0);
        groups.push(left.remove(next));
    }
}
