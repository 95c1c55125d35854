//! Which sockets stay open: those of services that run or are to run again.
//!
//! Between two generations, during a back-off, while a supervisor above restarts everything, who connects waits. When
//! a person has stopped the child or something above it, when it is parked, done, or in no plan any more, nobody would
//! ever accept: then its sockets are closed, and who connects is refused.

use std::collections::HashSet;
use std::sync::Arc;

use woodward_engine::view::State;
use woodward_engine::{Engine, PathId};

use super::table::Table;
use super::worker::Child;
use crate::os::Os;
use crate::tree::Listen;

/// Closes the sockets nobody will accept at.
pub(super) fn tidy<'k>(
    os: &Os,
    engine: &Engine,
    table: &'k Table,
    children: impl Iterator<Item = &'k Arc<Child>>,
) {
    let open = os.open_sockets();
    if open.is_empty() {
        return;
    }
    let mut wanted = HashSet::new();
    let planned = table.plans().map(|plan| (plan.path.as_str(), plan));
    // Instances of a template have paths of their own, and may share a socket.
    for (path, plan) in planned.chain(children.map(|child| (&*child.path, &*child.plan))) {
        if !plan.listen.is_empty() && engine.find(path).is_some_and(|id| runs(engine, id)) {
            wanted.extend(plan.listen.iter().map(Listen::key));
        }
    }
    for name in open.iter().filter(|name| !wanted.contains(&***name)) {
        os.close_socket(name);
    }
}

/// It runs, or will, as far as it and all supervisors above it are concerned.
fn runs(engine: &Engine, id: PathId) -> bool {
    let Some(row) = engine.row(id) else { return false };
    let down = matches!(row.state, State::Parked | State::Done) || row.stopped_by_hand;
    match row.parent {
        _ if down => false,
        Some(parent) => runs(engine, parent),
        None => row.state != State::Stopped,
    }
}
