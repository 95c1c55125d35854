//! This node's part in a cluster: carries out what [`woodward_engine::cluster`] decides, and tells it what came of it.
//!
//! ```text
//! store ◄── transactions, reads ── TASK ── begin, arm, end ──► keeper's guard
//!   └────── changes, answers ────►  │ ◄──── armed, fired ──────────┘
//!                                   ├── start, stop ──► LIFE of each group ── plant, uproot ──► kernel
//!                                   │ ◄─ up, down ──────┘     │ ◄──── ready, ended ──────────────┘
//!                                   │                         └── bind, gate, addresses
//!                                   └──► record, published view
//! ```
//!
//! Nothing here decides who runs what. The [`task`] is one loop around the engine's `Cluster`: whatever happens becomes
//! an event, what follows is carried out at once, and whatever takes time is a future whose outcome is the next event. A
//! [`life`] brings one group up and down, in order. All of it lives on the daemon's one thread; if any of it panics, the
//! daemon ends and its keeper starts the next one, which goes on from what was [`saved`] if the right to run still stands.
//!
//! * [`handle`]: what the rest of the house sees of it.
//! * [`network`]: addresses and the gate.
//! * [`token`]: the number of a group's epoch in a file, for its services.
//! * [`words`]: what is recorded of it.
//! * [`fence`]: power fencing by agents.
//! * [`mail`]: who is to be told, by mail or a webhook.

mod command;
pub mod fence;
mod handle;
mod life;
pub mod mail;
mod network;
mod saved;
mod task;
#[cfg(test)]
mod tests;
mod token;
pub mod words;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use woodward_engine::cluster::config::Held;
use woodward_engine::cluster::{Config, Name, Saved, Term, Timing};

use crate::os::guard::Guard;
use crate::os::net::NetError;
use crate::os::{Os, TreeGroup};
use crate::record::Record;
use crate::runtime::groups::{Groups, News, Token};
use crate::store::Store;
use crate::tree::Plan;
use crate::tree::failover::Failover;
pub use handle::Handle;
use mail::Mail;
use network::Network;
use saved::SavedFile;

/// How long what an earlier life left behind may take to die.
const LEFTOVERS: Duration = Duration::from_secs(10);

/// Why this node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// What would have to die at the deadline cannot be told apart.
    #[error("cannot run {group}: it has [failover], and there are no control groups here to end it by")]
    NoControlGroups {
        /// Which tree.
        group: Name,
    },
    /// What an earlier life left does not die.
    #[error("cannot run {group}: processes {left:?} of an earlier life were killed and do not end")]
    Undead {
        /// Which tree.
        group: Name,
        /// Process ids.
        left: Vec<i32>,
    },
    /// Addresses or the gate.
    #[error(transparent)]
    Network(#[from] NetError),
}

impl Problem {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Problem::NoControlGroups { .. } => {
                Some("run woodward as root, or where it may make control groups")
            }
            Problem::Undead { .. } => {
                Some("they hang in the kernel: mend the disk or file server, or reboot")
            }
            Problem::Network(error) => error.hint().or(Some("or run it without: gate = false in [failover]")),
        }
    }
}

/// Everything that is there before the kernel begins.
pub struct Prepared {
    node: Name,
    os: Os,
    guard: Guard,
    run: PathBuf,
    /// The greatest term this keeper has held.
    after: Term,
    saved: Option<Saved>,
    file: SavedFile,
    plans: Vec<Plan>,
    network: Network,
    groups: Groups,
    news: UnboundedReceiver<News>,
}

/// Looks at what an earlier daemon left: groups whose right to run still stands go on, and everything of all others is
/// killed before this returns. `run`: directory of the run state. At least one of the plans is a group.
pub async fn prepare(os: &Os, run: &Path, node: &Name, plans: &[Plan]) -> Result<Prepared, Problem> {
    let guard = os.guard();
    let found = guard.found();
    let file = SavedFile::new(run.join("cluster.json"));
    let saved = file.read(os.keeper()).and_then(|saved| saved::still_standing(saved, found.as_ref()));
    let after = found.map(|found| found.term).unwrap_or_default();
    if saved.is_none() && after != Term::default() {
        // It may stand still, and nobody goes on with it.
        guard.end(after);
    }
    let held: HashMap<Name, &Held> =
        saved.iter().flat_map(|saved| &saved.groups).map(|held| (held.group.clone(), held)).collect();
    let mut directories = Vec::new();
    let mut going_on = Vec::new();
    for failover in failovers(plans) {
        let group = &failover.group.name;
        let directory = os.tree_group(group).ok_or_else(|| no_control_groups(group))?;
        match held.get(group) {
            Some(held) => {
                let token = Token { epoch: held.epoch.0, file: token::place(run, group) };
                going_on.push((group.clone(), token));
            }
            None => {
                let swept = os.sweep_group(group, LEFTOVERS).await;
                swept.map_err(|left| Problem::Undead { group: group.clone(), left })?;
            }
        }
        directories.push((failover, directory));
    }
    let network = open_network(run, &directories, &held)?;
    let (tell, news) = unbounded_channel();
    let groups = Groups::new(node, tell, going_on);
    let (node, os, run, plans) = (node.clone(), os.clone(), run.to_owned(), plans.to_vec());
    Ok(Prepared { node, os, guard, run, after, saved, file, plans, network, groups, news })
}

fn open_network(
    run: &Path,
    groups: &[(&Failover, TreeGroup)],
    held: &HashMap<Name, &Held>,
) -> Result<Network, NetError> {
    let failovers: Vec<&Failover> = groups.iter().map(|(failover, _)| *failover).collect();
    let any = groups.first().map(|(_, directory)| directory);
    let network = Network::open(run, any, &failovers, held.is_empty())?;
    for (failover, directory) in groups {
        if let Some(held) = held.get(&failover.group.name) {
            network.find(&failover.group.name, directory, failover, held.up && held.stopping.is_none());
        }
    }
    Ok(network)
}

fn no_control_groups(group: &Name) -> Problem {
    Problem::NoControlGroups { group: group.clone() }
}

impl Prepared {
    /// What the kernel shares with it.
    pub fn groups(&self) -> Groups {
        self.groups.clone()
    }

    /// Joins. The task ends when this node has left in order ([`woodward_engine::cluster::Request::Leave`]), and else only
    /// by a panic.
    pub fn start(
        self,
        kernel: crate::runtime::Handle,
        record: Record,
        store: Arc<dyn Store>,
        mail: Mail,
    ) -> (Handle, JoinHandle<()>) {
        let node = self.node.clone();
        let (asks, asked) = unbounded_channel();
        let members = store.clone();
        let (task, view) = task::Task::new(self, kernel, record, store, mail);
        (Handle { node, asks, view, store: members }, tokio::spawn(task.run(asked)))
    }
}

fn failovers<P: Borrow<Plan>>(plans: &[P]) -> impl Iterator<Item = &Failover> {
    plans.iter().filter_map(|plan| plan.borrow().failover.as_ref())
}

/// This node's part. All its groups have one rhythm ([`crate::tree::together`]).
fn config<P: Borrow<Plan>>(node: &Name, plans: &[P], after: Term) -> Config {
    let timing = failovers(plans).next().map_or(Timing::NORMAL, |failover| failover.timing);
    let groups = failovers(plans).map(|failover| failover.group.clone()).collect();
    Config { me: node.clone(), timing, groups, after }
}
