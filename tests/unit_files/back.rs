//! Trees that became units come back as the trees they were; units of others become trees that can be run.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use woodward::tree::outline::{children, groups, waves};
use woodward::tree::{self, Plan};
use woodward::units::read::import;
use woodward::units::read::lint::lint;
use woodward::units::read::load::Entry;
use woodward::units::read::{Scene, Shelf};
use woodward::units::{self, Mode, Options, Release, Scope, manifest};
use woodward_engine::spec::{Child, Kind, Restart, Shutdown, Supervisor};

use crate::bed::repository;
use crate::random::Random;
use crate::units::random_tree;

fn options() -> Options {
    Options {
        mode: Mode::Native,
        release: Release::default(),
        scope: Scope::System,
        prefix: String::new(),
        source: PathBuf::from("/etc/woodward/trees/tree.toml"),
        program: PathBuf::from("/usr/bin/woodward"),
        vars: Vec::new(),
        environment: Vec::new(),
        accepted: Vec::new(),
    }
}

fn plan(file: &Path) -> Plan {
    match tree::load(file, &tree::Options::default()) {
        Ok((plan, _)) => plan,
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let text = fs::read_to_string(file).unwrap_or_default();
            panic!("{}\n{text}", errors.join("\n"))
        }
    }
}

/// The plan of a tree of this text.
pub fn plan_of(text: &str) -> Plan {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("tree.toml");
    fs::write(&file, text).expect("written");
    plan(&file)
}

/// The native units of a plan, read.
fn scene(plan: &Plan) -> Scene {
    let rendering = units::generate(plan, &options()).expect("every tree can be rendered");
    let mut shelf = Shelf::default();
    let directory = shelf.directory("units");
    let files = manifest::files(plan, &options(), &rendering);
    for file in &files {
        shelf.put(directory, file.name.clone(), Entry::Text(file.text.as_bytes().into()));
    }
    let names: Vec<String> = files.into_iter().map(|file| file.name).collect();
    Scene::new(&shelf, &names, Release::default())
}

/// What a plan means, as far as units say it: a line per supervisor and worker.
fn meaning(plan: &Plan) -> String {
    let mut out = String::new();
    supervisor(plan, &plan.tree.id, &plan.tree.root, &mut out);
    // By this a program is looked up in the PATH of its service; it may be the tree's word or that of the units.
    out.replace("[\"/usr/bin/env\", ", "[")
}

fn supervisor(plan: &Plan, path: &str, spec: &Supervisor, out: &mut String) {
    let list = children(spec);
    let names: Vec<&str> = list.iter().map(|child| &*child.id).collect();
    // Who is never restarted, or has an account of its own, does not count.
    let own = |child: &Child| matches!(&child.kind, Kind::Worker(worker) if worker.limit.is_some());
    let counts = list.iter().any(|child| child.restart != Restart::Temporary && !own(child));
    let limits = if counts { format!("{} in {}s", spec.intensity, spec.period) } else { "none".into() };
    writeln!(out, "{path}: {names:?}, waves {:?}, {limits}, {:?}", waves(spec), spec.retry_after)
        .expect("text");
    // The end of a temporary child restarts nobody, so it may not tell which strategy it is.
    for (at, group) in groups(spec).iter().enumerate() {
        let lasting: Vec<&str> = group
            .iter()
            .filter(|other| **other == at || list[**other].restart != Restart::Temporary)
            .map(|other| names[*other])
            .collect();
        if list[at].restart != Restart::Temporary {
            writeln!(out, "  a crash of {} restarts {lasting:?}", names[at]).expect("text");
        }
    }
    let significant = list.iter().filter(|child| child.significant).count();
    writeln!(out, "  {significant} significant, {:?}", (significant > 1).then_some(spec.auto_shutdown))
        .expect("text");
    // Only a worker can fail in its start.
    let fails = list.iter().any(|child| matches!(child.kind, Kind::Worker(_)));
    writeln!(out, "  {:?}", fails.then_some(spec.initial_start)).expect("text");
    list.iter().for_each(|below| child(plan, &format!("{path}/{}", below.id), below, out));
}

fn child(plan: &Plan, path: &str, spec: &Child, out: &mut String) {
    let backoff = spec.backoff.as_ref().filter(|_| spec.restart != Restart::Temporary);
    writeln!(out, "{path}: {:?}, {:?} significant, {backoff:?}", spec.restart, spec.significant)
        .expect("text");
    let worker = match &spec.kind {
        Kind::Supervisor(below) => return supervisor(plan, path, below, out),
        Kind::Worker(worker) => worker,
    };
    let shutdown = if let Shutdown::Time(time) = spec.shutdown {
        format!("{time:?}")
    } else {
        format!("{:?}", spec.shutdown)
    };
    let made = &plan.workers[worker.key.0 as usize];
    let mut ends = worker.ends.clone();
    ends.success.sort_by_key(|status| format!("{status:?}"));
    if spec.restart == Restart::Temporary {
        ends.force.clear();
    }
    writeln!(out, "  {:?} {shutdown} {ends:?} {:?} {:?}", worker.oneshot, worker.limit, worker.essential)
        .expect("text");
    writeln!(
        out,
        "  {:?} {:?} {:?}",
        worker.ready.within.filter(|_| !worker.oneshot),
        worker.runtime_max,
        made.ready
    )
    .expect("text");
    writeln!(out, "  {:?} {:?} {:?}", made.command, made.command_on_restart, made.environment).expect("text");
    writeln!(
        out,
        "  {:?} {:?} {:?} {:?}",
        made.before_start, made.after_ready, made.after_stop, made.directories
    )
    .expect("text");
    writeln!(out, "  {:?} {:?} {:?} {:?}", made.identity, made.working_directory, made.stop, made.reload)
        .expect("text");
    writeln!(out, "  {:?} {:?} {:?} {:?}", made.health, made.resources, made.listen, made.lazy)
        .expect("text");
}

/// What is found in the units of a plan, left of them, or different in the tree that they become.
fn differences(name: &str, plan: &Plan) -> Option<String> {
    let scene = scene(plan);
    // What a tree asks for may be a pitfall.
    let asked = ["stop-timeout-infinity", "kill-mode-process"];
    let found = lint(&scene).into_iter().filter(|finding| !asked.contains(&finding.pitfall.name));
    let found: Vec<String> = found.map(|finding| finding.to_string()).collect();
    let imported = import::import(&scene, None).expect("there are services");
    let left = imported.left.iter().map(|left| format!("left: {}: {}={}", left.unit, left.key, left.value));
    let (before, after) = (meaning(plan), meaning(&plan_of(&imported.text)));
    let pairs = before.lines().zip(after.lines()).filter(|(a, b)| a != b);
    let lines = pairs.take(3).map(|(a, b)| format!("- {a}\n+ {b}"));
    let all: Vec<String> = found.into_iter().chain(left).chain(lines).collect();
    (!all.is_empty() || before != after).then(|| format!("{name}:\n{}", all.join("\n")))
}

#[test]
fn the_trees_of_this_house_come_back_from_their_units() {
    for name in ["minimal.toml", "acs.toml", "acs-real.toml", "grid.toml", "integral.toml"] {
        let plan = plan(&repository("supervisors").join(name));
        if let Some(differences) = differences(name, &plan) {
            panic!("{differences}");
        }
    }
}

#[test]
fn random_trees_come_back_from_their_units() {
    let mut wrong = Vec::new();
    for seed in 1..=200 {
        let id = format!("t{seed}");
        let plan = plan_of(&random_tree::tree(&id, &mut Random::new(seed)));
        wrong.extend(differences(&id, &plan));
    }
    assert!(wrong.is_empty(), "{} of 200\n{}", wrong.len(), wrong.join("\n"));
}
