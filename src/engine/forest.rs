//! The forest: the supervisor of all trees, and the one that never restarts anything.
//!
//! Its children are the root supervisors, side by side, its mailbox is always open. The end of a root is the end of its
//! tree: `exhausted` of the root says what it means.

use crate::apply::Ticket;
use crate::child::{ChildIx, NOBODY, St, Want};
use crate::effect::{Effect, ErrorKind, TreeEnd};
use crate::event::ReqId;
use crate::fact::What;
use crate::node::{FOREST_NODE, Node, Phase, WaitOf};
use crate::place::FOREST;
use crate::plan::{Item, ItemKind, Sup};
use crate::spec::{self, Exhausted, Order, Restart, Shutdown};
use crate::{Engine, Reply};
use std::sync::Arc;

/// What is known of a tree besides its root.
#[derive(Debug)]
pub(crate) struct Tree {
    pub root: ChildIx,
    /// Seed of its jitter.
    pub seed: u64,
    /// Why it is ending; the first word counts.
    pub end: Option<TreeEnd>,
    /// Another plan is being applied: who waits for that.
    pub applying: Option<(ReqId, Ticket)>,
}

/// A root as a child of the forest.
pub(crate) fn root_item(tree: spec::Tree) -> Item {
    Item {
        id: tree.id.into(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: tree.shutdown.map_or(Shutdown::Infinity, Shutdown::Time),
        after: Vec::new(),
        backoff: None,
        kind: ItemKind::Supervisor(Arc::new(Sup::new(tree.root))),
    }
}

pub(crate) fn forest_node() -> Node {
    let sup = Sup::new(spec::Supervisor { order: Order::Dependencies, ..Default::default() });
    let mut node = Node::new(None, FOREST, Arc::new(sup), Phase::Run);
    node.ready = true;
    node
}

impl Engine {
    pub(crate) fn add_tree(&mut self, id: ReqId, tree: spec::Tree) {
        match self.plant(tree) {
            Some(c) => {
                self.wait_for(c, id, WaitOf::Start);
                self.bring_up(c);
            }
            None => self.reply(id, Reply::Error(ErrorKind::TreeExists)),
        }
    }

    /// Makes the root's record, down; `None` if a tree of that name lives.
    pub(crate) fn plant(&mut self, tree: spec::Tree) -> Option<ChildIx> {
        let seed = tree.seed;
        let item = root_item(tree);
        let place = self.places.intern(FOREST, &item.id, false);
        if let Some(old) = self.places[place].child {
            if self.kids[old].st.is_live() || self.kids[old].st.is_pending() {
                return None;
            }
            self.trees.retain(|t| t.root != old);
            self.drop_child(old);
        }
        self.intern_below(place, &item);
        let c = self.add_child(FOREST_NODE, Arc::new(item), place, St::Down);
        self.trees.push(Tree { root: c, seed, end: None, applying: None });
        Some(c)
    }

    pub(crate) fn stop_tree_by_request(&mut self, id: ReqId, path: &str) {
        let root = self.places.below(FOREST, path).and_then(|place| self.places[place].child);
        match root {
            Some(c) if self.kids[c].st.is_live() => {
                self.wait_for(c, id, WaitOf::Gone);
                self.stop_tree(c, TreeEnd::Stopped);
            }
            Some(c) if self.kids[c].st == St::Parked => {
                self.disarm(c);
                self.set(c, St::Down);
                self.forget_tree_end(c);
                self.note_tree_end(c, TreeEnd::Stopped);
                self.tree_ended(c);
                self.reply(id, Reply::Ok);
            }
            Some(_) | None => self.reply(id, Reply::Error(ErrorKind::Noproc)),
        }
    }

    pub(crate) fn note_tree_end(&mut self, root: ChildIx, how: TreeEnd) {
        if let Some(tree) = self.trees.iter_mut().find(|tree| tree.root == root) {
            tree.end.get_or_insert(how);
            self.touch(root);
        }
    }

    /// What it was going to end with does not count any more: it was parked, or starts again.
    pub(crate) fn forget_tree_end(&mut self, root: ChildIx) {
        if let Some(tree) = self.trees.iter_mut().find(|tree| tree.root == root) {
            tree.end = None;
            self.touch(root);
        }
    }

    pub(crate) fn seed_of(&self, root: ChildIx) -> u64 {
        self.trees.iter().find(|tree| tree.root == root && root != NOBODY).map_or(0, |tree| tree.seed)
    }

    /// A root that gave up: before its end is looked at.
    pub(crate) fn root_gave_up(&mut self, root: ChildIx, exhausted: Exhausted) {
        self.note_tree_end(
            root,
            match exhausted {
                Exhausted::Failover => TreeEnd::Failover,
                Exhausted::Reboot => TreeEnd::Reboot,
                Exhausted::Escalate | Exhausted::Park | Exhausted::Exit => TreeEnd::GaveUp,
            },
        );
    }

    /// Nothing of the tree runs any more.
    pub(crate) fn tree_ended(&mut self, root: ChildIx) {
        self.kids[root].want = Want::Down;
        let Some(tree) = self.trees.iter_mut().find(|tree| tree.root == root) else { return };
        let started = self.kids[root].was_ready;
        let how = tree.end.take().unwrap_or(if started { TreeEnd::Shutdown } else { TreeEnd::GaveUp });
        self.kids[root].was_ready = false;
        let path = self.kids[root].path;
        self.fact(root, What::TreeEnded { how });
        self.fx.push(Effect::TreeEnded { path, how });
    }
}
