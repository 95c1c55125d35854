//! What the engine's keys mean here: the workers of all plans that run, and what is printed of their supervisors.
//!
//! Every plan counts its workers from 0. The kernel runs several plans in one engine, one after the other for one tree,
//! so that workers get keys here: the same key as before where a process of the one is a process of the other
//! ([`diff::is_same`]), which is how the engine knows whom a new plan restarts.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use woodward_engine::{Key, spec};

use crate::tree::{Plan, WorkerPlan, diff};

/// All workers that can be started, by key, and all supervisors, by path.
#[derive(Default)]
pub(super) struct Table {
    workers: Vec<Entry>,
    supervisors: HashMap<Box<str>, Account>,
    /// The plans that hold, each with the keys of its workers.
    plans: Vec<Renewal>,
    /// Every key that a path of a plan ever had; the last one is planned now, if the path is.
    keys: HashMap<Box<str>, Vec<Key>>,
    planned: HashSet<Box<str>>,
}

/// A plan with the keys that its workers will have.
#[derive(Clone)]
pub(super) struct Renewal {
    plan: Arc<Plan>,
    keys: Vec<Key>,
}

/// One worker.
pub(super) struct Entry {
    /// Its plan.
    pub(super) plan: WorkerRef,
    /// Its own account of restarts.
    pub(super) limit: Option<Account>,
    /// How long it may take to stop; `None`: as long as it wants.
    pub(super) shutdown: Option<Duration>,
    /// How long it may take until it is ready.
    pub(super) within: Option<Duration>,
    /// How long it must have been ready.
    pub(super) settle: Duration,
    /// Of an instance: what it was made with.
    pub(super) arguments: Vec<(String, String)>,
}

/// Restarts allowed, and of a supervisor the strategy.
#[derive(Clone, Copy)]
pub(super) struct Account {
    pub(super) strategy: Option<spec::Strategy>,
    pub(super) intensity: u32,
    pub(super) period: u32,
    pub(super) exhausted: spec::Exhausted,
}

/// A worker's plan: a place in the plan it came with, or one made for an instance.
#[derive(Clone)]
pub(super) enum WorkerRef {
    Planned(Arc<Plan>, usize),
    Instance(Arc<WorkerPlan>),
}

impl WorkerRef {
    /// The very same value.
    pub(super) fn is(&self, other: &WorkerRef) -> bool {
        std::ptr::eq(&**self, &**other)
    }
}

impl Deref for WorkerRef {
    type Target = WorkerPlan;

    fn deref(&self) -> &WorkerPlan {
        match self {
            WorkerRef::Planned(plan, index) => &plan.workers[*index],
            WorkerRef::Instance(plan) => plan,
        }
    }
}

impl Table {
    /// Takes in a plan.
    pub(super) fn add(&mut self, plan: Arc<Plan>) {
        let renewal = self.renew(plan, |_| false);
        self.commit(renewal);
    }

    /// The trees of all plans, to be handed to the engine.
    pub(super) fn trees(&self) -> Vec<spec::Tree> {
        self.plans.iter().map(Renewal::tree).collect()
    }

    /// Finds keys for the workers of a plan. `fresh`: this worker is to get a new one all the same.
    pub(super) fn renew(&self, plan: Arc<Plan>, fresh: impl Fn(&WorkerPlan) -> bool) -> Renewal {
        let mut next = self.workers.len();
        let mut keys = Vec::with_capacity(plan.workers.len());
        for worker in &plan.workers {
            let known = self.keys.get(&*worker.path).into_iter().flatten().rev();
            let same = |key: &&Key| self.worker(**key).is_some_and(|old| diff::is_same(&old.plan, worker));
            match known.copied().find(|key| same(&key)).filter(|_| !fresh(worker)) {
                Some(key) => keys.push(key),
                None => {
                    keys.push(key(next));
                    next += 1;
                }
            }
        }
        Renewal { plan, keys }
    }

    /// From now on by this plan.
    pub(super) fn commit(&mut self, renewal: Renewal) {
        let Renewal { plan, keys } = &renewal;
        let is_mine = |path: &str| path.split('/').next() == Some(&*plan.tree.id);
        self.supervisors.retain(|path, _| !is_mine(path));
        for path in self.planned.extract_if(|path| is_mine(path)).collect::<Vec<Box<str>>>() {
            // What runs by the old plan must not keep all of it in memory.
            if let Some(entry) = self.find_last(&path).and_then(|key| self.workers.get_mut(key.0 as usize))
                && let WorkerRef::Planned(..) = entry.plan
            {
                entry.plan = WorkerRef::Instance(Arc::new((*entry.plan).clone()));
            }
        }
        for (index, key) in keys.iter().enumerate() {
            let at = key.0 as usize;
            while self.workers.len() <= at {
                self.workers.push(Entry::new(WorkerRef::Planned(plan.clone(), index)));
            }
            self.workers[at].plan = WorkerRef::Planned(plan.clone(), index);
            let path: Box<str> = plan.workers[index].path.as_str().into();
            let known = self.keys.entry(path.clone()).or_default();
            known.retain(|old| old != key);
            known.push(*key);
            self.planned.insert(path);
        }
        let tree = renewal.tree();
        self.supervisor(&tree.id, &tree.root);
        match self.plans.iter_mut().find(|old| old.plan.tree.id == tree.id) {
            Some(old) => *old = renewal,
            None => self.plans.push(renewal),
        }
    }

    /// Takes in what an earlier plan had for a path: something runs by it.
    pub(super) fn former(&mut self, worker: WorkerPlan) -> Key {
        self.workers.push(Entry::new(WorkerRef::Instance(Arc::new(worker))));
        key(self.workers.len() - 1)
    }

    fn supervisor(&mut self, path: &str, supervisor: &spec::Supervisor) {
        let (intensity, period, exhausted) = (supervisor.intensity, supervisor.period, supervisor.exhausted);
        let account = Account { strategy: Some(supervisor.strategy), intensity, period, exhausted };
        self.supervisors.insert(path.into(), account);
        match &supervisor.children {
            spec::Children::List(children) => children.iter().for_each(|c| self.child(path, c)),
            spec::Children::Template(child) => self.child(path, child),
        }
    }

    fn child(&mut self, above: &str, child: &spec::Child) {
        match &child.kind {
            spec::Kind::Supervisor(supervisor) => {
                self.supervisor(&format!("{above}/{}", child.id), supervisor);
            }
            spec::Kind::Worker(worker) => {
                let Some(entry) = self.workers.get_mut(worker.key.0 as usize) else { return };
                entry.limit = worker.limit.as_ref().map(|limit| Account {
                    strategy: None,
                    intensity: limit.intensity,
                    period: limit.period,
                    exhausted: limit.exhausted,
                });
                entry.shutdown = match child.shutdown {
                    spec::Shutdown::BrutalKill => Some(Duration::ZERO),
                    spec::Shutdown::Time(time) => Some(time),
                    spec::Shutdown::Infinity => None,
                };
                entry.within = worker.ready.within;
                entry.settle = worker.ready.settle;
            }
        }
    }

    /// Takes in a worker made from the template `key`.
    pub(super) fn add_instance(
        &mut self,
        template: Key,
        plan: WorkerPlan,
        arguments: Vec<(String, String)>,
    ) -> Option<Key> {
        let of = self.workers.get(template.0 as usize)?;
        let entry = Entry {
            plan: WorkerRef::Instance(Arc::new(plan)),
            limit: of.limit,
            shutdown: of.shutdown,
            within: of.within,
            settle: of.settle,
            arguments,
        };
        self.workers.push(entry);
        Some(key(self.workers.len() - 1))
    }

    /// The template of the `simple_one_for_one` supervisor `path`.
    pub(super) fn template(&self, path: &str) -> Option<(Key, &WorkerPlan)> {
        let is_pool = self.supervisors.get(path)?.strategy == Some(spec::Strategy::SimpleOneForOne);
        let of = |planned: &str| planned.rsplit_once('/').is_some_and(|(above, _)| above == path);
        let key = self.find_last(self.planned.iter().find(|planned| is_pool && of(planned))?)?;
        Some((key, &self.worker(key)?.plan))
    }

    /// What is planned now.
    pub(super) fn plans(&self) -> impl Iterator<Item = &WorkerPlan> {
        self.planned.iter().filter_map(|path| Some(&*self.worker(self.find(path)?)?.plan))
    }

    /// The worker planned under this path.
    pub(super) fn find(&self, path: &str) -> Option<Key> {
        self.planned.contains(path).then(|| self.find_last(path)).flatten()
    }

    /// A key that a plan gave this path, at some time.
    pub(super) fn is_of_plan(&self, path: &str, key: Key) -> bool {
        self.keys.get(path).is_some_and(|keys| keys.contains(&key))
    }

    fn find_last(&self, path: &str) -> Option<Key> {
        self.keys.get(path)?.last().copied()
    }

    /// Another plan of an instance; the process is the same.
    pub(super) fn replan_instance(&mut self, key: Key, plan: WorkerPlan) {
        if let Some(entry) = self.workers.get_mut(key.0 as usize) {
            entry.plan = WorkerRef::Instance(Arc::new(plan));
        }
    }

    /// The worker of a key.
    pub(super) fn worker(&self, key: Key) -> Option<&Entry> {
        self.workers.get(key.0 as usize)
    }

    /// What is printed of a supervisor.
    pub(super) fn supervisor_of(&self, path: &str) -> Option<Account> {
        self.supervisors.get(path).copied()
    }
}

impl Renewal {
    /// The engine's tree with the keys that hold here.
    pub(super) fn tree(&self) -> spec::Tree {
        fn place(supervisor: &mut spec::Supervisor, keys: &[Key]) {
            let children = match &mut supervisor.children {
                spec::Children::List(children) => children.iter_mut().collect(),
                spec::Children::Template(child) => vec![&mut **child],
            };
            for child in children {
                match &mut child.kind {
                    spec::Kind::Supervisor(supervisor) => place(supervisor, keys),
                    spec::Kind::Worker(worker) => worker.key = keys[worker.key.0 as usize],
                }
            }
        }
        let mut tree = self.plan.tree.clone();
        place(&mut tree.root, &self.keys);
        tree
    }

    /// The plan itself.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

impl Entry {
    fn new(plan: WorkerRef) -> Entry {
        Entry {
            plan,
            limit: None,
            shutdown: None,
            within: None,
            settle: Duration::ZERO,
            arguments: Vec::new(),
        }
    }
}

fn key(index: usize) -> Key {
    Key(u32::try_from(index).expect("fewer workers than 4 billion"))
}
