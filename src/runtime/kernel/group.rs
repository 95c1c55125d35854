//! The kernel's part in groups: see [`crate::runtime::groups`].

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use woodward_engine::effect::{ErrorKind, TreeEnd};
use woodward_engine::view::State;
use woodward_engine::{Fact, Gen, PathId, Reply, Verb, What};

use super::super::groups::{Happening, root};
use super::{Kernel, Stop, Who};
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::record::words::leaf;

/// The groups that are planted.
#[derive(Default)]
pub(super) struct Planted(HashMap<Arc<str>, Planting>);

/// One tree of a group, from its planting to its end.
struct Planting {
    epoch: u64,
    /// It is to end now.
    killing: bool,
    /// The person who has stopped it.
    by: Option<Who>,
    /// What was last said of a child of it that failed.
    words: String,
}

impl Planting {
    fn new(epoch: u64) -> Planting {
        Planting { epoch, killing: false, by: None, words: String::new() }
    }
}

impl Planted {
    /// Those that an earlier daemon left running.
    pub(super) fn found(groups: Vec<(Arc<str>, u64)>) -> Planted {
        Planted(groups.into_iter().map(|(group, epoch)| (group, Planting::new(epoch))).collect())
    }

    pub(super) fn has(&self, group: &str) -> bool {
        self.0.contains_key(group)
    }
}

impl Kernel {
    /// A tree that a cluster places.
    pub(super) fn is_group(&self, tree: &str) -> bool {
        self.plans.load().iter().any(|plan| *plan.tree.id == *tree && plan.failover.is_some())
    }

    /// This tree is a cluster's, and away.
    pub(super) fn is_away(&self, tree: &str) -> bool {
        self.is_group(tree) && !self.planted.has(tree)
    }

    pub(super) fn has_groups(&self) -> bool {
        self.plans.load().iter().any(|plan| plan.failover.is_some())
    }

    /// Whether what is asked to stop is to be killed.
    pub(super) fn kills(&self, generation: Gen) -> bool {
        let of_group = || {
            let live = self.live.get(&generation)?;
            self.planted.0.get(root(&live.seat.child.path))
        };
        self.trees.stop == Stop::Killing || of_group().is_some_and(|planting| planting.killing)
    }

    pub(super) fn plant_group(&mut self, group: &Arc<str>, epoch: u64) {
        let tree = self.table.trees().into_iter().find(|tree| *tree.id == **group);
        let Some(tree) = tree.filter(|_| self.trees.stop == Stop::No && !self.planted.has(group)) else {
            let words = "the daemon is stopping".to_owned();
            return self.groups.tell(
                group,
                epoch,
                Happening::Ended { how: TreeEnd::Stopped, by: None, words },
            );
        };
        self.planted.0.insert(group.clone(), Planting::new(epoch));
        self.ask(group, Verb::AddTree(Box::new(tree)));
    }

    pub(super) fn uproot(&mut self, group: &str, epoch: u64, kill: bool) {
        let Some(planting) = self.planted.0.get_mut(group).filter(|planting| planting.epoch == epoch) else {
            let (how, words) = (TreeEnd::Stopped, String::new());
            return self.groups.tell(group, epoch, Happening::Ended { how, by: None, words });
        };
        planting.killing |= kill;
        if kill {
            let of_group = |live: &&super::Live| root(&live.seat.child.path) == group;
            self.live.values().filter(of_group).for_each(|live| live.seat.kill());
        }
        self.ask(group, Verb::StopTree);
    }

    /// What runs in any group has been killed.
    pub(super) fn term_over(&mut self) {
        let planted: Vec<(Arc<str>, u64)> =
            self.planted.0.iter().map(|(group, planting)| (group.clone(), planting.epoch)).collect();
        planted.iter().for_each(|(group, epoch)| self.uproot(group, *epoch, true));
    }

    /// A person's word about the root of a group: its stop is told to the cluster and lasts there, its start is the
    /// cluster's. `None`: it was dealt with.
    pub(super) fn ask_of_group(
        &mut self,
        path: &str,
        verb: Verb,
        who: &Who,
        answer: oneshot::Sender<Reply>,
    ) -> Option<(Verb, oneshot::Sender<Reply>)> {
        if !matches!(verb, Verb::Start | Verb::Stop { .. }) || !self.is_group(path) {
            return Some((verb, answer));
        }
        match (&verb, self.planted.0.get_mut(path)) {
            (Verb::Stop { .. }, Some(planting)) => {
                planting.by = Some(who.clone());
                let said = who.text.as_ref().map(|text| format!(": \"{text}\"")).unwrap_or_default();
                let text = format!("stopped by {}{said}", who.by);
                let fact = FactLine::note(clock::wall(), 0, path, 0, "stopped_by_hand", text);
                self.record.fact(fact.with("by", who.by.clone()));
                Some((Verb::StopTree, answer))
            }
            (Verb::Start, None) => {
                self.groups.tell(path, 0, Happening::Wanted { by: who.clone() });
                // Whoever asked may have gone away.
                let _ = answer.send(Reply::Ok);
                None
            }
            (Verb::Stop { .. }, None) => {
                // As above.
                let _ = answer.send(Reply::Error(ErrorKind::Noproc));
                None
            }
            _ => Some((verb, answer)),
        }
    }

    /// What a fact means for a group.
    pub(super) fn hear_of_group(&mut self, fact: &Fact, path: &str) {
        let Some(planting) = self.planted.0.get_mut(root(path)) else { return };
        match fact.what {
            What::Ready if root(path) == path => self.groups.tell(path, planting.epoch, Happening::Ready),
            What::Restart { .. } => {
                self.groups.tell(root(path), planting.epoch, Happening::Restarted);
            }
            What::LimitExceeded { .. } | What::StartFailed { .. } | What::Ended { asked: false, .. } => {
                if let Some(reason) = self.sayings.reason(path).filter(|_| root(path) != path) {
                    planting.words = format!("{}: {reason}", leaf(path));
                }
            }
            _ => {}
        }
    }

    /// The tree of a group has ended; `false`: it is none.
    pub(super) fn group_ended(&mut self, tree: &str, how: TreeEnd) -> bool {
        let Some(Planting { epoch, by, words, .. }) = self.planted.0.remove(tree) else { return false };
        self.groups.tell(tree, epoch, Happening::Ended { how, by, words });
        true
    }

    /// Those that go on from an earlier daemon: all of them may have been ready for long.
    pub(super) fn tell_of_found(&mut self) {
        for (group, planting) in &self.planted.0 {
            let root = self.engine.find(group).and_then(|id: PathId| self.engine.row(id));
            match root.map(|row| row.state) {
                Some(State::Up) => self.groups.tell(group, planting.epoch, Happening::Ready),
                _ => continue,
            }
        }
    }
}
