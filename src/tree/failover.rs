//! The `[failover]` table: which nodes may run the tree, and by what rules.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use woodward_engine::cluster::{self, Timing};

/// What a tree says of its place in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// What the cluster decides by.
    pub group: cluster::Group,
    /// The rhythm; all trees of a node have the same.
    pub timing: Timing,
    /// Brought up on the node that runs the tree, after it is ready, and taken down first.
    pub addresses: Vec<Address>,
    /// Nothing of the tree sends to the network past the deadline, whatever is frozen.
    pub gate: bool,
    /// Services in a process namespace of their own, so that what forks away dies with the keeper too.
    pub isolate: bool,
    /// Refuse to run where nothing but this host's own software ends the tree in time.
    pub strict: bool,
    /// How a node is fenced, by the fence agents' convention; by node name, `*`: any.
    pub agents: Vec<Agent>,
    /// Run on the better node before the tree goes back to it.
    pub probe: Option<Vec<String>>,
}

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which.
    pub ip: IpAddr,
    /// Length of the network's prefix, bits.
    pub prefix: u8,
    /// Network interface.
    pub device: String,
}

/// A fence agent: a command that reads its options, `name=value` lines, from its standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Program and arguments.
    pub command: Vec<String>,
    /// File with options, read when it is used; `{node}` in a value is the node to be fenced.
    pub options_file: Option<PathBuf>,
    /// It has failed if it has not ended after this time.
    pub within: Duration,
}
