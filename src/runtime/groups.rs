//! Trees with `[failover]`: planted and stopped by the word of a cluster, not by being in a file.
//!
//! The kernel has them in its table like all others, and leaves them out until it is told ([`Handle::plant`]). What becomes
//! of one it tells whoever decides where it runs, by the epoch of the planting, so that what is late is known to be.
//!
//! ```text
//! Away ──plant──► Planted ──uproot, a person's stop, its own end──► (engine stops it) ──TreeEnded──► Away
//! ```
//!
//! When the right to run is over, everything of these trees has been killed by the keeper. The kernel hears of it
//! ([`Handle::term_over`]) before it hears of any of these ends: it stops the trees without patience, so that no supervisor
//! takes for a crash, and starts again, what may not run.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use woodward_engine::effect::TreeEnd;

use super::inbox::Input;
use super::{Handle, Who};

/// What a service is told of its group, and a number that only grows with each owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The fencing token.
    pub epoch: u64,
    /// A file with the same number.
    pub file: PathBuf,
}

/// Something has become of a group's tree.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Whose.
    pub group: Arc<str>,
    /// Of which planting; of a tree that is away 0.
    pub epoch: u64,
    /// What.
    pub what: Happening,
}

/// See [`News`].
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// All of it is ready: the root is up.
    Ready,
    /// Something in it was restarted.
    Restarted,
    /// Nothing of it runs any more.
    Ended {
        /// Why.
        how: TreeEnd,
        /// Who has stopped it, if that was a person.
        by: Option<Who>,
        /// What was last said of a child of it that failed: `b: exit 1, 4 times in 5s`; empty: nothing.
        words: String,
    },
    /// A person wants it up, and it is away.
    Wanted {
        /// Who.
        by: Who,
    },
    /// Its rules are others: another plan was applied.
    Replanned,
}

/// What kernel and cluster share of the groups. Cheap to clone; the default is for programs without a cluster.
#[derive(Clone, Default)]
pub struct Groups(Arc<Shared>);

#[derive(Default)]
struct Shared {
    node: String,
    news: Option<UnboundedSender<News>>,
    tokens: Mutex<HashMap<Arc<str>, Token>>,
}

impl Groups {
    /// For this node; `news` goes to the cluster. `running`: groups that go on where an earlier daemon left them.
    pub fn new(
        node: &str,
        news: UnboundedSender<News>,
        running: impl IntoIterator<Item = (Arc<str>, Token)>,
    ) -> Groups {
        let tokens = Mutex::new(running.into_iter().collect());
        Groups(Arc::new(Shared { node: node.to_owned(), news: Some(news), tokens }))
    }

    /// The token of a group, from now on.
    pub fn give(&self, group: &Arc<str>, token: Token) {
        self.lock().insert(group.clone(), token);
    }

    /// Groups that have a token.
    pub(super) fn tokens(&self) -> Vec<(Arc<str>, u64)> {
        self.lock().iter().map(|(group, token)| (group.clone(), token.epoch)).collect()
    }

    pub(super) fn tell(&self, group: &str, epoch: u64, what: Happening) {
        if let Some(news) = &self.0.news {
            // A cluster that has ended ends the daemon.
            let _ = news.send(News { group: group.into(), epoch, what });
        }
    }

    /// What every process of a group finds in its environment; nothing for all others.
    pub(super) fn additions(&self, path: &str) -> Vec<(&'static str, String)> {
        if self.0.news.is_none() {
            return Vec::new();
        }
        let group = root(path);
        let Some(token) = self.lock().get(group).cloned() else { return Vec::new() };
        vec![
            ("FENCING_TOKEN", token.epoch.to_string()),
            ("FENCING_TOKEN_FILE", token.file.to_string_lossy().into_owned()),
            ("WOODWARD_GROUP", group.to_owned()),
            ("WOODWARD_NODE", self.0.node.clone()),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Token>> {
        self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("node", &self.0.node).finish_non_exhaustive()
    }
}

/// The group's part of a path.
pub(super) fn root(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

impl Handle {
    /// Starts a group's tree under this token. What becomes of it is told.
    pub fn plant(&self, group: &Arc<str>, token: Token) {
        let epoch = token.epoch;
        self.groups.give(group, token);
        self.inbox.post(Input::Plant { group: group.clone(), epoch });
    }

    /// The token of a group that goes on.
    pub fn give_token(&self, group: &Arc<str>, token: Token) {
        self.groups.give(group, token);
    }

    /// Stops the tree of this planting, in order, or with `kill` at once. Told when it has ended, also if it had before.
    pub fn uproot(&self, group: &Arc<str>, epoch: u64, kill: bool) {
        self.inbox.post(Input::Uproot { group: group.clone(), epoch, kill });
    }

    /// Everything of all groups was killed, or is going to be right after this call: no tree of them may restart anything.
    pub fn term_over(&self) {
        self.inbox.post(Input::TermOver);
    }
}
