//! Calm random worlds, in which nothing crashes: whatever plans are applied, and at whatever moment, in the end what
//! runs is what is planned; and what [`Engine::foresee`] says before is what has happened after.

#[path = "common/random.rs"]
mod random;

#[path = "common/mutate.rs"]
mod mutate;

#[path = "common/forest.rs"]
mod forest;

use forest::{Flavour, random_tree};
use mutate::mutate;
use random::Random;
use std::collections::{BTreeMap, BTreeSet};
use woodward_engine::event::Key;
use woodward_engine::spec::*;
use woodward_engine::view::State;
use woodward_engine::{Apply, Effect, Engine, Event, Exit, Gen, Outlook, Prospect, ReqId, Time, Verb};

const FLAVOUR: Flavour = Flavour { dependencies: 40, plain: false };

struct Calm {
    random: Random,
    engine: Engine,
    now: Time,
    tree: Tree,
    /// What will happen next, in any order.
    coming: Vec<Event>,
    /// Who runs: generation and key by path; of a supervisor the key is 0.
    runs: BTreeMap<String, (Gen, Key)>,
    requests: u64,
    answered: BTreeSet<u64>,
    /// Requests that no stopped sibling can hold up.
    applies: Vec<u64>,
}

impl Calm {
    fn new(seed: u64) -> Calm {
        let mut random = Random::new(seed);
        let mut tree = random_tree(&mut random, FLAVOUR);
        calm_down(&mut tree.root);
        let (engine, now) = (Engine::new(), Time(1000));
        let mut calm = Calm {
            random,
            engine,
            now,
            tree,
            coming: Vec::new(),
            runs: BTreeMap::new(),
            requests: 0,
            answered: BTreeSet::new(),
            applies: Vec::new(),
        };
        let tree = Box::new(calm.tree.clone());
        calm.ask("t", Verb::AddTree(tree));
        calm
    }

    fn ask(&mut self, path: &str, verb: Verb) {
        self.requests += 1;
        let id = ReqId(self.requests);
        self.tell(Event::Request { id, path: path.into(), verb });
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Start { generation, path, key, .. } => {
                    let path = self.engine.path(path);
                    let oneshot = is_oneshot(&self.tree, &path);
                    self.runs.insert(path, (generation, key));
                    self.coming.push(if oneshot {
                        Event::Ended { generation, exit: Exit::Code(0) }
                    } else {
                        Event::Ready { generation }
                    });
                }
                Effect::Open { generation, path } => {
                    self.runs.insert(self.engine.path(path), (generation, Key(0)));
                    self.coming.push(Event::Started { generation });
                }
                Effect::Close { path, .. } => drop(self.runs.remove(&self.engine.path(path))),
                Effect::Ask { generation, .. } | Effect::Kill { generation } => {
                    self.coming.push(Event::Ended { generation, exit: Exit::Code(0) });
                }
                Effect::Reply { id, .. } => assert!(self.answered.insert(id.0), "{id:?} is answered twice"),
                Effect::Fact(_) => {}
                Effect::TreeEnded { how, .. } => panic!("the tree ended: {how:?}"),
            }
        }
    }

    /// Something of what is to come.
    fn go_on(&mut self) -> bool {
        if self.coming.is_empty() {
            let Some(at) = self.engine.next_deadline() else { return false };
            self.now = self.now.max(at);
            self.tell(Event::Tick);
            return true;
        }
        let i = self.random.below(self.coming.len());
        let event = self.coming.remove(i);
        if let Event::Ended { generation, .. } = event {
            self.runs.retain(|_, (g, _)| *g != generation);
            self.coming.retain(|e| !matches!(e, Event::Ready { generation: g } | Event::Ended { generation: g, .. } if *g == generation));
        }
        self.tell(event);
        true
    }

    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            if !self.go_on() {
                return assert!(self.applies.iter().all(|id| self.answered.contains(id)), "not answered");
            }
        }
        panic!("it does not come to rest");
    }

    fn waiting(&self) -> BTreeSet<String> {
        let rows = self.engine.rows().into_iter();
        rows.filter(|row| row.state == State::Waiting).map(|row| self.engine.path(row.path)).collect()
    }

    fn another_plan(&mut self) -> Apply {
        let mut tree = self.tree.clone();
        mutate(&mut self.random, FLAVOUR, &mut tree);
        calm_down(&mut tree.root);
        Apply { tree, instances: Vec::new() }
    }

    fn apply(&mut self, apply: Apply) {
        self.tree = apply.tree.clone();
        self.applies.push(self.requests + 1);
        self.ask("t", Verb::Apply(Box::new(apply)));
    }
}

/// Nothing is too late, nothing ends the tree.
fn calm_down(sup: &mut Supervisor) {
    let children = match &mut sup.children {
        Children::List(list) => list.iter_mut().collect(),
        Children::Template(child) => vec![&mut **child],
    };
    for child in children {
        child.significant = false;
        match &mut child.kind {
            Kind::Supervisor(sup) => calm_down(sup),
            Kind::Worker(worker) => {
                (worker.ready.within, worker.runtime_max, worker.essential) = (None, None, false);
            }
        }
    }
}

fn child_at<'a>(tree: &'a Tree, path: &str) -> Option<&'a Child> {
    let mut sup = &tree.root;
    let mut found = None;
    for id in path.split('/').skip(1) {
        let child = match &sup.children {
            Children::List(list) => list.iter().find(|child| *child.id == *id)?,
            Children::Template(child) => child,
        };
        if let Kind::Supervisor(below) = &child.kind {
            sup = below;
        }
        found = Some(child);
    }
    found
}

fn is_oneshot(tree: &Tree, path: &str) -> bool {
    matches!(child_at(tree, path), Some(Child { kind: Kind::Worker(Worker { oneshot: true, .. }), .. }))
}

/// Workers that must run now, with their keys.
fn planned(above: &str, sup: &Supervisor, into: &mut BTreeMap<String, Key>) {
    let Children::List(list) = &sup.children else { return };
    for child in list.iter().filter(|child| child.restart != Restart::Temporary) {
        let path = format!("{above}/{}", child.id);
        match &child.kind {
            Kind::Supervisor(sup) => planned(&path, sup, into),
            Kind::Worker(worker) if worker.oneshot => {}
            Kind::Worker(worker) => drop(into.insert(path, worker.key)),
        }
    }
}

fn temporaries(above: &str, sup: &Supervisor, into: &mut BTreeSet<String>) {
    let Children::List(list) = &sup.children else { return };
    for child in list {
        let path = format!("{above}/{}", child.id);
        if let Kind::Supervisor(sup) = &child.kind {
            temporaries(&path, sup, into);
        }
        if child.restart == Restart::Temporary {
            into.insert(path);
        }
    }
}

fn worlds(check: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (first, worlds) = (number("WOODWARD_SEED").unwrap_or(1), number("WOODWARD_WORLDS").unwrap_or(2000));
    for seed in first..first + worlds {
        let lived = std::panic::catch_unwind(|| check(seed));
        assert!(lived.is_ok(), "world {seed} broke");
    }
}

#[test]
fn in_the_end_what_runs_is_what_is_planned() {
    worlds(|seed| {
        let mut calm = Calm::new(seed);
        let mut passing = BTreeSet::new();
        temporaries("t", &calm.tree.root, &mut passing);
        for _ in 0..1 + calm.random.below(4) {
            for _ in 0..calm.random.below(25) {
                calm.go_on();
            }
            let apply = calm.another_plan();
            calm.apply(apply);
            temporaries("t", &calm.tree.root, &mut passing);
        }
        calm.come_to_rest();
        let mut wanted = BTreeMap::new();
        planned("t", &calm.tree.root, &mut wanted);
        // What was temporary may have been over when it became something else.
        wanted.retain(|path, _| !passing.iter().any(|p| path == p || path.starts_with(&format!("{p}/"))));
        for (path, key) in &wanted {
            assert_eq!(calm.runs.get(path).map(|(_, key)| key), Some(key), "{path}");
        }
        for path in calm.runs.keys().filter(|path| *path != "t") {
            assert!(child_at(&calm.tree, path).is_some(), "{path} runs and is not planned");
        }
    });
}

#[test]
fn what_is_foreseen_happens_and_nothing_else() {
    worlds(|seed| {
        let mut calm = Calm::new(seed);
        calm.come_to_rest();
        for _ in 0..3 {
            let paths: Vec<String> = calm.runs.keys().cloned().collect();
            for _ in 0..calm.random.below(3) {
                let path = calm.random.pick(&paths);
                let verb = match calm.random.below(4) {
                    0 if path != "t" => Verb::Stop { with_dependents: false },
                    1 if path != "t" => Verb::Hold { until: None },
                    2 => Verb::Start,
                    _ => Verb::StartInstance { key: None },
                };
                calm.ask(&path, verb);
            }
            calm.come_to_rest();
            let apply = calm.another_plan();
            let (before, old) = (calm.runs.clone(), calm.tree.clone());
            // What waits for one that is down starts if the new plan does not let it wait, and what is new may have
            // to wait.
            let waited = calm.waiting();
            let foreseen = calm.engine.foresee("t", &apply).expect("a sound plan");
            calm.apply(apply);
            calm.come_to_rest();
            let waits = calm.waiting();
            let mut seen = BTreeSet::new();
            for Prospect { path, what, .. } in &foreseen {
                assert!(seen.insert(path), "{path} is told twice");
                let (was, is) = (before.get(path).map(|r| r.0), calm.runs.get(path).map(|r| r.0));
                let oneshot = is_oneshot(&calm.tree, path) || is_oneshot(&old, path);
                let waits = waits.iter().any(|w| path == w || path.starts_with(&format!("{w}/")));
                let right = match what {
                    Outlook::Stays => was == is || waited.contains(path),
                    Outlook::Restarts(_) => was.is_some() && is > was || oneshot || waits,
                    Outlook::Starts => was.is_none() && is.is_some() || oneshot || waits,
                    Outlook::Stops => is.is_none(),
                };
                assert!(right, "{path}: {what:?}, before {was:?}, after {is:?}; {foreseen:?}");
            }
            for path in before.keys().chain(calm.runs.keys()) {
                assert!(seen.contains(path), "{path} was not told of");
            }
        }
    });
}
