//! What the engine's keys mean here: the workers of all plans that run, and what is printed of their supervisors.
//!
//! Every plan counts its workers from 0. The kernel runs several plans in one engine, so the keys of each are moved
//! behind those of the plans before it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use woodward_engine::{Key, spec};

use crate::tree::{Plan, WorkerPlan};

/// All workers that can be started, by key, and all supervisors, by path.
#[derive(Default)]
pub(super) struct Table {
    workers: Vec<Entry>,
    supervisors: HashMap<Box<str>, Account>,
    /// Each plan, and the number of its first worker.
    plans: Vec<(Arc<Plan>, usize)>,
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
        let base = self.workers.len();
        self.workers.extend((0..plan.workers.len()).map(|index| Entry {
            plan: WorkerRef::Planned(plan.clone(), index),
            limit: None,
            shutdown: None,
            within: None,
            settle: Duration::ZERO,
            arguments: Vec::new(),
        }));
        self.tree(&plan, base);
        self.plans.push((plan, base));
    }

    /// The trees of all plans, to be handed to the engine.
    pub(super) fn trees(&mut self) -> Vec<spec::Tree> {
        let plans = self.plans.clone();
        plans.iter().map(|(plan, base)| self.tree(plan, *base)).collect()
    }

    fn tree(&mut self, plan: &Plan, base: usize) -> spec::Tree {
        let mut tree = plan.tree.clone();
        let path = tree.id.to_string();
        self.supervisor(base, &path, &mut tree.root);
        tree
    }

    fn supervisor(&mut self, base: usize, path: &str, supervisor: &mut spec::Supervisor) {
        let (intensity, period, exhausted) = (supervisor.intensity, supervisor.period, supervisor.exhausted);
        let account = Account { strategy: Some(supervisor.strategy), intensity, period, exhausted };
        self.supervisors.insert(path.into(), account);
        match &mut supervisor.children {
            spec::Children::List(children) => children.iter_mut().for_each(|c| self.child(base, path, c)),
            spec::Children::Template(child) => self.child(base, path, child),
        }
    }

    fn child(&mut self, base: usize, above: &str, child: &mut spec::Child) {
        match &mut child.kind {
            spec::Kind::Supervisor(supervisor) => {
                self.supervisor(base, &format!("{above}/{}", child.id), supervisor);
            }
            spec::Kind::Worker(worker) => {
                let at = base + worker.key.0 as usize;
                worker.key = key(at);
                let Some(entry) = self.workers.get_mut(at) else { return };
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
        let of = |entry: &Entry| entry.plan.path.rsplit_once('/').is_some_and(|(above, _)| above == path);
        let at = self.workers.iter().position(|entry| is_pool && of(entry))?;
        Some((key(at), &self.workers[at].plan))
    }

    /// Plans of all workers.
    pub(super) fn plans(&self) -> impl Iterator<Item = &WorkerPlan> {
        self.workers.iter().map(|entry| &*entry.plan)
    }

    /// The worker planned under this path.
    pub(super) fn find(&self, path: &str) -> Option<Key> {
        self.workers.iter().position(|entry| entry.plan.path == path).map(key)
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

fn key(index: usize) -> Key {
    Key(u32::try_from(index).expect("fewer workers than 4 billion"))
}
