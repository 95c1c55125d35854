//! The control group of a whole tree: the one handle that reaches everything of it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::Os;
use super::cgroup::{Cgroups, Group};
use super::client::Client;

/// The directory above those of all children of a tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TreeGroup(Group);

impl Os {
    /// The control group of a tree; `None`: there are no control groups here.
    pub fn tree_group(&self, tree: &str) -> Option<TreeGroup> {
        self.client.tree_group(tree)
    }
}

impl Client {
    pub fn tree_group(&self, tree: &str) -> Option<TreeGroup> {
        Some(TreeGroup::of(self.cgroups.as_ref()?, tree))
    }
}

impl TreeGroup {
    pub(super) fn of(cgroups: &Cgroups, tree: &str) -> TreeGroup {
        TreeGroup(cgroups.tree(tree))
    }

    /// Makes it, if need be, and opens the file that ends everything in it when a `1` is written to it.
    pub fn kill_file(&self) -> io::Result<OwnedFd> {
        fs::create_dir_all(self.0.directory())?;
        File::options().write(true).open(self.0.directory().join("cgroup.kill")).map(OwnedFd::from)
    }

    /// The file that says whether somebody is in it.
    pub fn events_file(&self) -> io::Result<OwnedFd> {
        File::open(self.0.directory().join("cgroup.events")).map(OwnedFd::from)
    }

    /// Makes it, if need be.
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.directory())
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.0.directory()
    }

    /// Everything in it and below it.
    pub fn processes(&self) -> Vec<i32> {
        self.0.all_processes()
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
