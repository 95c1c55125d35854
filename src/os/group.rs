//! The control group of a whole tree: the one handle that reaches everything of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use super::Os;
use super::cgroup::Group;

/// The directory above those of all children of a tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TreeGroup(Group);

impl Os {
    /// The control group of a tree; `None`: there are no control groups here.
    pub fn tree_group(&self, tree: &str) -> Option<TreeGroup> {
        Some(TreeGroup(self.client.cgroups.as_ref()?.tree(tree)))
    }
}

impl TreeGroup {
    /// Makes it, if need be, and opens the file that ends everything in it when a `1` is written to it.
    pub fn kill_file(&self) -> io::Result<OwnedFd> {
        fs::create_dir_all(self.0.directory())?;
        File::options().write(true).open(self.0.directory().join("cgroup.kill")).map(OwnedFd::from)
    }

    /// SIGKILL to everything in it.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Nothing but zombies in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Kills, again and again, and returns when nothing is left.
    pub async fn cleared(&self) {
        self.0.emptied(true).await;
    }
}
