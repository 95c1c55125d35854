//! Per subtree the first mode that is faithful.
//!
//! A supervisor of which plain units would mean something else, in a way that nobody has agreed to, is hosted by
//! `woodward run TREE --at PATH`: one unit in the place where its anchor would stand. To its parent it is a worker;
//! order, propagation, restart type and the parent's account of restarts apply to it as to any other. A worker that
//! plain units cannot say makes its supervisor supervised. As little as possible: what is native so far is rendered
//! again with the stand-ins in it, until nothing deviates. If the root does, the whole tree is one supervised unit.

use std::collections::BTreeMap;

use woodward_engine::spec::{Child, Children, Kind, Ready, Restart, Supervisor, Worker};

use super::{
    Choice, Deviates, Error, Mode, Options, Rendering, Section, Unit, escape, native, refuse, supervised,
};
use crate::tree::{Plan, Probe, WorkerPlan, cut};

/// What the supervisor above says about the unit of a subtree; all else about its process is woodward's.
const FROM_ABOVE: &[&str] = &[
    "Restart",
    "RestartSec",
    "RestartSteps",
    "RestartMaxDelaySec",
    "RestartMode",
    "RemainAfterExit",
    "Slice",
];

/// The units of a tree.
pub fn render(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    choose(plan, options, &|plan, options| {
        let rendering = native::render(plan, options)?;
        refuse(&rendering).map(|()| rendering)
    })
}

/// The units of a tree of which it is known what is supervised, by path, and why: as it was once chosen.
pub fn as_chosen(
    plan: &Plan,
    options: &Options,
    reasons: &BTreeMap<String, String>,
) -> Result<Rendering, Error> {
    if let Some(reason) = reasons.get(&*plan.tree.id) {
        return Ok(supervised::whole(plan, options, reason));
    }
    let shown = with_stand_ins(plan, reasons, options);
    Ok(finish(plan, &shown, reasons, native::render(&shown, options)?, options))
}

/// Supervised subtrees, and why.
type Reasons = BTreeMap<String, String>;

fn choose(
    plan: &Plan,
    options: &Options,
    native: &dyn Fn(&Plan, &Options) -> Result<Rendering, Error>,
) -> Result<Rendering, Error> {
    let mut reasons = Reasons::new();
    loop {
        if let Some(reason) = reasons.get(&*plan.tree.id) {
            return Ok(supervised::whole(plan, options, reason));
        }
        let shown = with_stand_ins(plan, &reasons, options);
        let more = match native(&shown, options) {
            Ok(rendering) => {
                let more = unfaithful(&shown, &rendering, options);
                if more.is_empty() {
                    return Ok(finish(plan, &shown, &reasons, rendering, options));
                }
                more
            }
            Err(Error::Impossible { path, text }) => {
                Reasons::from([(host_of(&shown, &path), format!("{path}: {text}"))])
            }
        };
        for (path, reason) in more {
            let ends_all = path != *plan.tree.id && has_essential(plan, &path);
            let (path, reason) = match ends_all {
                true => (
                    plan.tree.id.to_string(),
                    format!("{reason}; and what is essential below {path} ends the tree"),
                ),
                false => (path, reason),
            };
            if !reasons.keys().any(|above| cut::is_within(&path, above)) {
                reasons.retain(|below, _| !cut::is_within(below, &path));
                reasons.insert(path, reason);
            }
        }
    }
}

fn with_stand_ins(plan: &Plan, reasons: &Reasons, options: &Options) -> Plan {
    cut::stand_in(plan, &mut |path| reasons.contains_key(path).then(|| stand_in(plan, path, options)))
}

/// The supervisors that native units would not be true to, each with its reason; those of them that are not below
/// another one.
fn unfaithful(shown: &Plan, rendering: &Rendering, options: &Options) -> Reasons {
    let mut all: BTreeMap<String, Vec<&Deviates>> = BTreeMap::new();
    for deviates in rendering.unaccepted(options).filter(|deviates| !deviates.deviation.by_hand()) {
        all.entry(host_of(shown, &deviates.path)).or_default().push(deviates);
    }
    all.into_iter().map(|(host, all)| (host, reason(&all))).collect()
}

/// The first in full, the others by name.
fn reason(all: &[&Deviates]) -> String {
    let Some(first) = all.first() else { return String::new() };
    let mut others: Vec<&str> = all.iter().map(|d| d.deviation.name()).collect();
    others.retain(|name| *name != first.deviation.name());
    others.sort_unstable();
    others.dedup();
    let also = if others.is_empty() { String::new() } else { format!("; also {}", others.join(", ")) };
    format!("{}: {}: {}{also}", first.path, first.deviation, first.text)
}

/// The supervisor that has to be supervised for what is at a path: itself, or the one above a worker.
fn host_of(shown: &Plan, path: &str) -> String {
    let is_supervisor = shown.supervisors.iter().any(|supervisor| supervisor.path == path);
    match path.rsplit_once('/') {
        Some((above, _)) if !is_supervisor => above.to_owned(),
        _ => path.to_owned(),
    }
}

/// The end of an essential worker is the end of the whole tree, which a subtree alone cannot say.
fn has_essential(plan: &Plan, path: &str) -> bool {
    fn below(supervisor: &Supervisor) -> bool {
        let children = match &supervisor.children {
            Children::List(children) => children.as_slice(),
            Children::Template(child) => std::slice::from_ref(&**child),
        };
        children.iter().any(|Child { kind, .. }| match kind {
            Kind::Worker(worker) => worker.essential,
            Kind::Supervisor(inner) => below(inner),
        })
    }
    cut::at(plan, path).is_ok_and(|cut| below(&cut.tree.root))
}

/// The worker that a supervised subtree is to its parent.
fn stand_in(plan: &Plan, path: &str, options: &Options) -> (Worker, WorkerPlan) {
    let description = plan.supervisors.iter().find(|s| s.path == path).and_then(|s| s.description.clone());
    let text = |path: &std::path::Path| path.display().to_string();
    let command =
        [text(&options.program), "run".to_owned(), text(&options.source), "--at".to_owned(), path.to_owned()];
    let worker = Worker { ready: Ready { probe: true, ..Ready::default() }, ..Worker::default() };
    let plan = WorkerPlan {
        path: path.to_owned(),
        description,
        command: command.into(),
        ready: Some(Probe::Notify),
        ..WorkerPlan::default()
    };
    (worker, plan)
}

/// Gives the units of supervised subtrees their process, and says what was chosen.
fn finish(
    plan: &Plan,
    shown: &Plan,
    reasons: &Reasons,
    mut rendering: Rendering,
    options: &Options,
) -> Rendering {
    for (path, reason) in reasons {
        let unit =
            rendering.units.iter_mut().find(|unit| unit.path == *path && unit.name.ends_with(".service"));
        let (Some(unit), Ok(cut)) = (unit, cut::at(plan, path)) else { continue };
        let restart = restart_of(plan, path);
        unit.lines.retain(|line| line.section != Section::Service || FROM_ABOVE.contains(&line.key));
        supervised::ends(unit, restart);
        supervised::process(unit, &cut, Some(path), restart != Restart::Temporary, options);
        say(unit, reason);
    }
    let native = |path: &str| Choice {
        path: path.to_owned(),
        mode: Mode::Native,
        reason: match accepted(path, &rendering) {
            names if names.is_empty() => "plain units mean the same".to_owned(),
            names => format!("plain units mean the same but for {names}"),
        },
    };
    let mut choices: Vec<Choice> =
        shown.supervisors.iter().map(|supervisor| native(&supervisor.path)).collect();
    choices.extend(reasons.iter().map(|(path, reason)| Choice {
        path: path.clone(),
        mode: Mode::Supervised,
        reason: reason.clone(),
    }));
    let place = |path: &str| plan.supervisors.iter().position(|supervisor| supervisor.path == path);
    choices.sort_by_key(|choice| place(&choice.path));
    Rendering { choices, ..rendering }
}

/// Names of the deviations of a supervisor and of its workers.
fn accepted(path: &str, rendering: &Rendering) -> String {
    let of_it = |at: &str| at == path || at.rsplit_once('/').is_some_and(|(above, _)| above == path);
    let mut names: Vec<&str> =
        rendering.deviations.iter().filter(|d| of_it(&d.path)).map(|d| d.deviation.name()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn say(unit: &mut Unit, reason: &str) {
    unit.set(Section::Woodward, "Mode", Mode::Supervised.name(), "", "what `auto` chose");
    unit.set(
        Section::Woodward,
        "Reason",
        escape::specifiers(reason),
        "",
        "why it is not made of plain units",
    );
}

/// The restart type of the supervisor at a path below the root.
fn restart_of(plan: &Plan, path: &str) -> Restart {
    let mut at = &plan.tree.root;
    let mut restart = Restart::Permanent;
    for id in path.split('/').skip(1) {
        let Children::List(children) = &at.children else { return restart };
        let Some(child) = children.iter().find(|child| *child.id == *id) else { return restart };
        restart = child.restart;
        let Kind::Supervisor(inner) = &child.kind else { return restart };
        at = inner;
    }
    restart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;
    use crate::units::{Deviation, names};

    const TREE: &str = r#"
        id = "t"
        [[child]]
        id = "a"
        command = "true"
        [[child]]
        id = "s"
        restart = "transient"
        [[child.child]]
        id = "b"
        command = "true"
        [[child.child]]
        id = "u"
        [[child.child.child]]
        id = "c"
        command = "true"
        [[child]]
        id = "v"
        [[child.child]]
        id = "d"
        command = "true"
        ESSENTIAL
    "#;

    fn plan(essential: bool) -> Plan {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        let line = if essential { "essential = true" } else { "" };
        std::fs::write(&file, TREE.replace("ESSENTIAL", line)).unwrap();
        tree::load(&file, &tree::Options::default()).map_err(|errors| format!("{errors:?}")).unwrap().0
    }

    fn options() -> Options {
        Options { accepted: Vec::new(), ..crate::units::tests::options() }
    }

    /// A renderer that makes a unit per worker and supervisor, and deviates at these paths, as long as they are there:
    /// a path with `!` cannot be rendered at all, one with `*` deviates as whatever it is.
    fn deviating<'a>(at: &'a [&'a str]) -> impl Fn(&Plan, &Options) -> Result<Rendering, Error> + 'a {
        move |plan, options| {
            let supervisors: Vec<&str> = plan.supervisors.iter().map(|s| s.path.as_str()).collect();
            let workers = plan.workers.iter().map(|worker| worker.path.as_str());
            let all: Vec<&str> = supervisors.iter().copied().chain(workers).collect();
            let mut rendering = Rendering::default();
            for path in &all {
                let mut unit = Unit::new(format!("{}.service", names::stem(&options.prefix, path)), *path);
                unit.set(Section::Unit, "PartOf", "t.service", "", "of the test");
                unit.set(Section::Service, "Restart", "always", "", "of the test");
                unit.set(Section::Service, "KillMode", "mixed", "", "of the test");
                rendering.units.push(unit);
            }
            for place in at {
                let path = place.trim_end_matches(['!', '*']);
                let there = all.contains(&path) && (!supervisors.contains(&path) || !place.ends_with('!'));
                let stands_in = plan.workers.iter().any(|w| w.path == path && w.ready.is_some());
                if !there || stands_in && !place.ends_with('*') {
                    continue;
                }
                if place.ends_with('!') {
                    return Err(Error::Impossible { path: path.to_owned(), text: "no way".to_owned() });
                }
                let (deviation, text) = (Deviation::TimePerCommand, "of the test".to_owned());
                rendering.deviations.push(Deviates { deviation, path: path.to_owned(), text });
            }
            Ok(rendering)
        }
    }

    /// What is supervised, and what has a unit.
    fn check(at: &[&str], supervised: &[&str], units: &[&str]) {
        let rendering = choose(&plan(false), &options(), &deviating(at)).unwrap();
        let chosen: Vec<&str> = rendering
            .choices
            .iter()
            .filter(|choice| choice.mode == Mode::Supervised)
            .map(|choice| choice.path.as_str())
            .collect();
        assert_eq!(chosen, supervised, "{at:?}");
        let mut paths: Vec<&str> = rendering.units.iter().map(|unit| unit.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, units, "{at:?}");
        for path in supervised {
            let unit = rendering.units.iter().find(|unit| unit.path == *path).unwrap();
            let start = unit.values(Section::Service, "ExecStart").next().unwrap();
            let at = if *path == "t" { "/t.toml".to_owned() } else { format!("--at {path}") };
            assert!(start.ends_with(&at), "{start}");
            assert_eq!(unit.values(Section::Woodward, "Reason").count(), 1);
        }
    }

    #[test]
    fn as_little_as_possible_is_supervised() {
        let all = ["t", "t/a", "t/s", "t/s/b", "t/s/u", "t/s/u/c", "t/v", "t/v/d"];
        check(&[], &[], &all);
        check(&["t/s/u"], &["t/s/u"], &["t", "t/a", "t/s", "t/s/b", "t/s/u", "t/v", "t/v/d"]);
        check(&["t/s/u/c"], &["t/s/u"], &["t", "t/a", "t/s", "t/s/b", "t/s/u", "t/v", "t/v/d"]);
        check(&["t/s/b"], &["t/s"], &["t", "t/a", "t/s", "t/v", "t/v/d"]);
        check(&["t/s/u/c", "t/v/d"], &["t/s/u", "t/v"], &["t", "t/a", "t/s", "t/s/b", "t/s/u", "t/v"]);
    }

    #[test]
    fn one_above_another_hosts_both() {
        check(&["t/s/u/c", "t/s/b"], &["t/s"], &["t", "t/a", "t/s", "t/v", "t/v/d"]);
    }

    #[test]
    fn what_cannot_be_said_at_all_is_supervised_too() {
        check(&["t/v/d!"], &["t/v"], &["t", "t/a", "t/s", "t/s/b", "t/s/u", "t/s/u/c", "t/v"]);
    }

    #[test]
    fn a_stand_in_that_deviates_makes_its_parent_supervised() {
        check(&["t/s/u*"], &["t/s"], &["t", "t/a", "t/s", "t/v", "t/v/d"]);
    }

    #[test]
    fn a_root_that_deviates_is_one_unit() {
        check(&["t"], &["t"], &["t"]);
        check(&["t/a"], &["t"], &["t"]);
    }

    #[test]
    fn what_is_essential_keeps_the_tree_together() {
        let rendering = choose(&plan(true), &options(), &deviating(&["t/v"])).unwrap();
        assert_eq!(rendering.units.len(), 1);
        assert!(rendering.choices[0].reason.contains("essential"), "{:?}", rendering.choices);
    }

    #[test]
    fn what_is_accepted_stays_native_and_is_said() {
        let options = Options { accepted: vec![Deviation::TimePerCommand], ..options() };
        let rendering = choose(&plan(false), &options, &deviating(&["t/v/d"])).unwrap();
        assert!(rendering.choices.iter().all(|choice| choice.mode == Mode::Native));
        let v = rendering.choices.iter().find(|choice| choice.path == "t/v").unwrap();
        assert!(v.reason.contains("time-per-command"), "{}", v.reason);
    }

    #[test]
    fn the_unit_of_a_subtree_keeps_its_place_and_its_ends_mean_what_a_supervisors_mean() {
        let rendering = choose(&plan(false), &options(), &deviating(&["t/s/b"])).unwrap();
        let unit = rendering.units.iter().find(|unit| unit.path == "t/s").unwrap();
        let value = |section, key| unit.values(section, key).collect::<Vec<_>>().join("|");
        assert_eq!(value(Section::Unit, "PartOf"), "t.service");
        assert_eq!(value(Section::Service, "Restart"), "always");
        assert_eq!(value(Section::Service, "KillMode"), "process");
        assert_eq!(value(Section::Service, "RestartPreventExitStatus"), "1 64 77 78");
        assert_eq!(value(Section::Service, "Type"), "notify");
    }
}
