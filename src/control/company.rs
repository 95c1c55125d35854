//! Who is concerned when a person restarts or stops one child: read from the plan, to be said beforehand.

use std::collections::HashSet;
use std::sync::Arc;

use woodward_engine::spec::{Child, Children, Kind, Order, Restart, Strategy, Supervisor};

use crate::tree::Plan;

/// Full paths of the siblings that a crash of `path` restarts too, in start order; temporary ones only end.
pub(super) fn goes_along(plans: &[Arc<Plan>], path: &str) -> Vec<String> {
    let Some(family) = Family::of(plans, path) else { return Vec::new() };
    match family.supervisor.strategy {
        Strategy::OneForOne | Strategy::SimpleOneForOne => Vec::new(),
        Strategy::OneForAll => family.paths(|_, child| *child.id != *family.id),
        Strategy::RestForOne if family.supervisor.order == Order::Dependencies => {
            let dependents = family.dependents();
            family.paths(|_, child| dependents.contains(&*child.id))
        }
        Strategy::RestForOne => {
            let own = family.children.iter().position(|child| *child.id == *family.id);
            family.paths(|at, _| own.is_some_and(|own| at > own))
        }
    }
}

/// Full paths of the siblings that are `after` `path`, directly or not: they stay up when a person stops it.
pub(super) fn stays_up(plans: &[Arc<Plan>], path: &str) -> Vec<String> {
    let Some(family) = Family::of(plans, path) else { return Vec::new() };
    let dependents = family.dependents();
    family.paths(|_, child| dependents.contains(&*child.id))
}

/// A child among its siblings.
struct Family<'a> {
    parent: &'a str,
    id: &'a str,
    supervisor: &'a Supervisor,
    children: &'a [Child],
}

impl<'a> Family<'a> {
    /// `None` for a root, an instance, or a path that is not planned.
    fn of(plans: &'a [Arc<Plan>], path: &'a str) -> Option<Family<'a>> {
        let (parent, id) = path.rsplit_once('/')?;
        let mut ids = parent.split('/');
        let root = ids.next()?;
        let mut supervisor = &plans.iter().find(|plan| *plan.tree.id == *root)?.tree.root;
        for id in ids {
            let Children::List(children) = &supervisor.children else { return None };
            let child = children.iter().find(|child| *child.id == *id)?;
            let Kind::Supervisor(below) = &child.kind else { return None };
            supervisor = below;
        }
        let Children::List(children) = &supervisor.children else { return None };
        Some(Family { parent, id, supervisor, children })
    }

    /// Ids of all that are `after` this child, directly or not.
    fn dependents(&self) -> HashSet<&'a str> {
        let mut found: HashSet<&str> = HashSet::from([self.id]);
        loop {
            let before = found.len();
            for child in self.children {
                if child.after.iter().any(|id| found.contains(&**id)) {
                    found.insert(&child.id);
                }
            }
            if found.len() == before {
                break;
            }
        }
        found.remove(self.id);
        found
    }

    fn paths(&self, wanted: impl Fn(usize, &Child) -> bool) -> Vec<String> {
        let children = self.children.iter().enumerate();
        children
            .filter(|(at, child)| child.restart != Restart::Temporary && wanted(*at, child))
            .map(|(_, child)| format!("{}/{}", self.parent, child.id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::outline;
    use woodward_engine::spec::{Shutdown, Tree, Worker};

    fn child(id: &str, after: &[&str]) -> Child {
        Child {
            id: id.into(),
            restart: Restart::Permanent,
            significant: false,
            shutdown: Shutdown::BrutalKill,
            after: after.iter().map(|id| (*id).into()).collect(),
            backoff: None,
            kind: Kind::Worker(Worker::default()),
        }
    }

    fn plan(strategy: Strategy, order: Order) -> Vec<Arc<Plan>> {
        let children = vec![child("a", &[]), child("b", &["a"]), child("c", &[]), child("d", &["b"])];
        let inner =
            Supervisor { strategy, order, children: Children::List(children), ..Supervisor::default() };
        let inner = Child { kind: Kind::Supervisor(inner), ..child("in", &[]) };
        let root = Supervisor { children: Children::List(vec![inner]), ..Supervisor::default() };
        let tree = Tree { id: "t".into(), root, shutdown: None, seed: 0 };
        vec![Arc::new(Plan {
            tree,
            workers: Vec::new(),
            supervisors: Vec::new(),
            left_out: Vec::new(),
            failover: None,
            at: None,
        })]
    }

    #[test]
    fn a_restart_drags_along_what_a_crash_would() {
        let check = |strategy, order, expected: &[&str]| {
            let plans = plan(strategy, order);
            assert_eq!(goes_along(&plans, "t/in/a"), expected, "{strategy:?} {order:?}");
            // `plan` draws the same.
            let Some(family) = Family::of(&plans, "t/in/a") else { panic!("t/in/a is planned") };
            assert_eq!(outline::groups(family.supervisor)[0].len(), expected.len() + 1);
        };
        check(Strategy::OneForOne, Order::Listed, &[]);
        check(Strategy::OneForAll, Order::Listed, &["t/in/b", "t/in/c", "t/in/d"]);
        check(Strategy::RestForOne, Order::Listed, &["t/in/b", "t/in/c", "t/in/d"]);
        check(Strategy::RestForOne, Order::Dependencies, &["t/in/b", "t/in/d"]);
    }

    #[test]
    fn those_after_a_stopped_child_stay_up() {
        let plans = plan(Strategy::OneForOne, Order::Dependencies);
        assert_eq!(stays_up(&plans, "t/in/a"), ["t/in/b", "t/in/d"]);
        assert_eq!(stays_up(&plans, "t/in/d"), [""; 0]);
        assert_eq!(stays_up(&plans, "t"), [""; 0]);
        assert_eq!(stays_up(&plans, "t/no/such"), [""; 0]);
    }
}
