//! Parts of a plan: one subtree as a tree of its own, and a plan without some of its subtrees.
//!
//! A subtree that is hosted alone keeps its full paths. Above it stand the supervisors it has in the tree, each with
//! this one child and nothing to decide: whatever ends the subtree ends them, and so the tree. What that end means is
//! for whoever hosts it to say. Everything that is inherited from above is in the plans of the workers already.

use std::collections::BTreeSet;

use woodward_engine::event::Key;
use woodward_engine::spec::{self, AutoShutdown, Child, Children, Exhausted, Kind, Restart, Supervisor};

use super::hints;
use super::plan::{Plan, WorkerPlan};

/// There is no such subtree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot run {path} alone: {why}")]
pub struct CutError {
    /// The path that was asked for.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
    /// A path that may have been meant, or the one to take instead.
    pub instead: Option<String>,
}

/// The subtree at a supervisor's full path as a tree of its own. At the root: the plan as it is.
pub fn at(plan: &Plan, path: &str) -> Result<Plan, CutError> {
    let mut plan = plan.clone();
    if path == &*plan.tree.id {
        return Ok(plan);
    }
    let Some(below) = path.strip_prefix(&*plan.tree.id).and_then(|rest| rest.strip_prefix('/')) else {
        return Err(unknown(&plan, path));
    };
    match alone(&plan.tree.root, below) {
        Some((root, Kind::Supervisor(_))) => plan.tree.root = root,
        Some((_, Kind::Worker(_))) => {
            let instead = path.rsplit_once('/').map(|(above, _)| above.to_owned());
            return Err(CutError { path: path.to_owned(), why: "it is no supervisor", instead });
        }
        None => return Err(unknown(&plan, path)),
    }
    plan.tree.shutdown = None;
    plan.at = Some(path.to_owned());
    let kept = |planned: &str| is_within(planned, path) || is_within(path, planned);
    plan.supervisors.retain(|supervisor| kept(&supervisor.path));
    plan.left_out.retain(|left| is_within(&left.path, path));
    rekey(&mut plan);
    Ok(plan)
}

/// The plan with workers in the places of supervisors: `stand_in` says by which worker a path is stood in for; it
/// takes over the supervisor's id, restart type, significance, deadline and order among its siblings.
pub fn stand_in(plan: &Plan, stand_in: &mut dyn FnMut(&str) -> Option<(spec::Worker, WorkerPlan)>) -> Plan {
    let mut plan = plan.clone();
    let mut gone = BTreeSet::new();
    let mut workers = std::mem::take(&mut plan.workers);
    let id = plan.tree.id.to_string();
    replace(&mut plan.tree.root, &id, &mut workers, &mut gone, stand_in);
    plan.workers = workers;
    let stays = |planned: &str| !gone.iter().any(|gone: &String| is_within(planned, gone));
    plan.supervisors.retain(|supervisor| stays(&supervisor.path));
    plan.left_out.retain(|left| stays(&left.path));
    rekey(&mut plan);
    plan
}

/// `path` is `above` or below it.
pub fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A supervisor that passes everything on, with the child on the way to `below`, and what is at the end of that way.
fn alone(supervisor: &Supervisor, below: &str) -> Option<(Supervisor, Kind)> {
    let (id, rest) = below.split_once('/').map_or((below, None), |(id, rest)| (id, Some(rest)));
    let Children::List(children) = &supervisor.children else { return None };
    let mut child = children.iter().find(|child| *child.id == *id)?.clone();
    let end = match (rest, &child.kind) {
        (None, kind) => kind.clone(),
        (Some(rest), Kind::Supervisor(inner)) => {
            let (inner, end) = alone(inner, rest)?;
            child.kind = Kind::Supervisor(inner);
            end
        }
        (Some(_), Kind::Worker(_)) => return None,
    };
    // Giving up is told from ending as planned by the end of the tree, where the subtree can end as planned at all.
    let calm = matches!(&child.kind, Kind::Supervisor(inner) if inner.auto_shutdown != AutoShutdown::Never);
    child.restart = if calm { Restart::Transient } else { Restart::Permanent };
    child.significant = calm;
    child.after = Vec::new();
    child.backoff = None;
    let auto_shutdown = if calm { AutoShutdown::AnySignificant } else { AutoShutdown::Never };
    let passes_on = Supervisor {
        intensity: 0,
        period: 1,
        auto_shutdown,
        exhausted: Exhausted::Escalate,
        children: Children::List(vec![child]),
        ..Supervisor::default()
    };
    Some((passes_on, end))
}

fn replace(
    supervisor: &mut Supervisor,
    path: &str,
    workers: &mut Vec<WorkerPlan>,
    gone: &mut BTreeSet<String>,
    stand_in: &mut dyn FnMut(&str) -> Option<(spec::Worker, WorkerPlan)>,
) {
    let Children::List(children) = &mut supervisor.children else { return };
    for child in children {
        let path = format!("{path}/{}", child.id);
        let Kind::Supervisor(inner) = &mut child.kind else { continue };
        match stand_in(&path) {
            Some((mut worker, plan)) => {
                workers.push(plan);
                worker.key = Key(u32::try_from(workers.len() - 1).unwrap_or(u32::MAX));
                child.kind = Kind::Worker(worker);
                gone.insert(path);
            }
            None => replace(inner, &path, workers, gone, stand_in),
        }
    }
}

/// Workers of which nothing is left in the tree are dropped.
fn rekey(plan: &mut Plan) {
    let mut kept = Vec::new();
    each(&mut plan.tree.root, &mut |child| {
        if let Kind::Worker(worker) = &mut child.kind {
            kept.push(plan.workers[worker.key.0 as usize].clone());
            worker.key = Key(u32::try_from(kept.len() - 1).unwrap_or(u32::MAX));
        }
    });
    plan.workers = kept;
}

fn each(supervisor: &mut Supervisor, visit: &mut dyn FnMut(&mut Child)) {
    let children = match &mut supervisor.children {
        Children::List(children) => children.as_mut_slice(),
        Children::Template(child) => std::slice::from_mut(&mut **child),
    };
    for child in children {
        visit(child);
        if let Kind::Supervisor(inner) = &mut child.kind {
            each(inner, visit);
        }
    }
}

fn unknown(plan: &Plan, path: &str) -> CutError {
    let paths = plan.supervisors.iter().map(|supervisor| supervisor.path.as_str());
    let instead = hints::nearest(path, paths).map(str::to_owned);
    CutError { path: path.to_owned(), why: "no such path", instead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Options, load};

    const TREE: &str = r#"
        id = "t"
        strategy = "one_for_all"
        shutdown = "9s"
        environment = { FROM = "above" }
        [[child]]
        id = "a"
        command = "true"
        [[child]]
        id = "s"
        shutdown = "3s"
        [[child.child]]
        id = "b"
        command = "true"
        [[child.child]]
        id = "inner"
        auto_shutdown = "any_significant"
        [[child.child.child]]
        id = "c"
        command = "true"
        restart = "transient"
        significant = true
        [[child]]
        id = "z"
        command = "true"
    "#;

    fn plan() -> Plan {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, TREE).unwrap();
        load(&file, &Options::default()).map_err(|errors| format!("{errors:?}")).unwrap().0
    }

    fn workers(plan: &Plan) -> Vec<&str> {
        plan.workers.iter().map(|worker| worker.path.as_str()).collect()
    }

    /// Every key leads to the worker of that path.
    fn keys_fit(plan: &Plan) {
        fn go(plan: &Plan, supervisor: &Supervisor, path: &str) {
            for child in crate::tree::outline::children(supervisor) {
                let path = format!("{path}/{}", child.id);
                match &child.kind {
                    Kind::Worker(worker) => assert_eq!(plan.workers[worker.key.0 as usize].path, path),
                    Kind::Supervisor(inner) => go(plan, inner, &path),
                }
            }
        }
        go(plan, &plan.tree.root, &plan.tree.id);
    }

    #[test]
    fn a_subtree_keeps_its_paths_and_what_it_inherits() {
        let cut = at(&plan(), "t/s").unwrap();
        assert_eq!(workers(&cut), ["t/s/b", "t/s/inner/c"]);
        keys_fit(&cut);
        assert!(cut.workers[0].environment.contains(&("FROM".to_owned(), "above".to_owned())));
        let paths: Vec<&str> = cut.supervisors.iter().map(|supervisor| supervisor.path.as_str()).collect();
        assert_eq!(paths, ["t", "t/s", "t/s/inner"]);
        let inner = at(&plan(), "t/s/inner").unwrap();
        assert_eq!(workers(&inner), ["t/s/inner/c"]);
        keys_fit(&inner);
    }

    #[test]
    fn above_a_subtree_nothing_is_decided() {
        let cut = at(&plan(), "t/s").unwrap();
        let Children::List(children) = &cut.tree.root.children else { panic!("a list") };
        assert_eq!((children.len(), cut.tree.root.intensity), (1, 0));
        assert_eq!(children[0].restart, Restart::Permanent);
        // Its own deadline stays; that of the whole tree is somebody else's.
        assert_eq!(children[0].shutdown, spec::Shutdown::Time(std::time::Duration::from_secs(3)));
        assert_eq!(cut.tree.shutdown, None);
        let inner = at(&plan(), "t/s/inner").unwrap();
        let Children::List(children) = &inner.tree.root.children else { panic!("a list") };
        let Kind::Supervisor(s) = &children[0].kind else { panic!("a supervisor") };
        assert_eq!((inner.tree.root.intensity, s.intensity), (0, 0));
        assert_eq!(s.auto_shutdown, AutoShutdown::AnySignificant);
    }

    #[test]
    fn the_root_is_the_whole_tree() {
        let plan = plan();
        assert_eq!(at(&plan, "t").unwrap().tree, plan.tree);
    }

    #[test]
    fn what_cannot_be_cut_is_said_with_what_can() {
        let error = at(&plan(), "t/s/b").unwrap_err();
        assert_eq!((error.why, error.instead.as_deref()), ("it is no supervisor", Some("t/s")));
        let error = at(&plan(), "t/x").unwrap_err();
        assert_eq!(error.why, "no such path");
        assert!(at(&plan(), "tt/s").is_err());
    }

    #[test]
    fn a_worker_stands_in_for_a_supervisor() {
        let plan = plan();
        let mut asked = Vec::new();
        let other = stand_in(&plan, &mut |path| {
            asked.push(path.to_owned());
            let plan = WorkerPlan { path: path.to_owned(), ..WorkerPlan::default() };
            (path == "t/s").then(|| (spec::Worker::default(), plan))
        });
        assert_eq!(asked, ["t/s"]);
        assert_eq!(workers(&other), ["t/a", "t/s", "t/z"]);
        keys_fit(&other);
        let paths: Vec<&str> = other.supervisors.iter().map(|supervisor| supervisor.path.as_str()).collect();
        assert_eq!(paths, ["t"]);
    }
}
