//! In place of [`member`](../member.rs) in the small build: no cluster can be taken part in.

use std::convert::Infallible;
use std::path::Path;

use super::report::{Code, Failure};
use crate::os::Os;
use crate::record::Record;
use crate::runtime::Handle;
use crate::runtime::groups::Groups;
use crate::settings::Settings;
use crate::tree::Plan;

/// There is none.
pub(super) struct Member(Infallible);

/// As above.
pub(super) struct Joined {
    pub(super) handle: Infallible,
}

pub(super) async fn of(
    plans: &[Plan],
    _: &Settings,
    _: Option<&str>,
    _: &Os,
    _: &Path,
) -> Result<Option<Member>, Failure> {
    let Some(group) = plans.iter().find(|plan| plan.failover.is_some()) else { return Ok(None) };
    let message = format!("cannot run {}: the small build has no [failover]", group.tree.id);
    Err(Failure::new(Code::Config, message).hint("the full build, or failover = false in a layer"))
}

impl Member {
    pub(super) fn groups(&self) -> Groups {
        match self.0 {}
    }

    pub(super) fn join(self, _: Handle, _: Record) -> Joined {
        match self.0 {}
    }
}

impl Joined {
    pub(super) async fn leave(handle: Infallible) {
        match handle {}
    }

    pub(super) async fn failed(&mut self) {
        match self.handle {}
    }
}
