//! What a group asks for: the `[failover]` table of a tree.

use super::Name;
use std::time::Duration;

/// A group. All nodes read the same tree file; what they are told here differs in nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The tree's id.
    pub name: Name,
    /// Nodes that may run it, best first.
    pub nodes: Vec<Name>,
    /// When it goes back to a better node.
    pub failback: Failback,
    /// Whether the node it was on is fenced before another one takes over.
    pub fencing: Fencing,
    /// Groups it wants to be on the same node with. It does not run without a node rather than apart from them: that one of
    /// them cannot go where the others are keeps it down no longer than it keeps the others.
    pub with: Vec<Name>,
    /// Groups it must not share a node with; it rather stays down.
    pub apart: Vec<Name>,
    /// A node on which it gave up is tried again after this time (Pacemaker's `failure-timeout`).
    pub failure_timeout: Duration,
    /// It must be ready so long after it was given to a node, else it counts as given up there; `None`: no limit.
    pub start_within: Option<Duration>,
    /// Of groups that start on a node at once, those with the greater number start first.
    pub priority: i32,
}

/// When a group returns to a node that stands earlier in its list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failback {
    /// Not by itself; a person moves it. [`Failback::Never`] does not even propose it.
    Manual,
    /// Stays where it is as long as that works.
    Never,
    /// When the better node has proved itself.
    Earned(Earned),
}

/// How a better node proves itself. The group returns to where it was if it does not come up there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Earned {
    /// Its beats have come without a gap (longer than half of its `hold`) for so long.
    pub steady: Duration,
    /// The group has been up, and nothing of it was restarted, for so long.
    pub quiet: Duration,
    /// Not twice within this time.
    pub flap: Duration,
    /// A command must succeed there first ([`super::Effect::Probe`]).
    pub probe: bool,
}

/// Power fencing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fencing {
    /// None: deadlines, the gate and the token are relied on.
    None,
    /// It is tried; the takeover goes on whatever comes of it.
    BestEffort,
    /// No takeover of this group without its success.
    Required,
}
