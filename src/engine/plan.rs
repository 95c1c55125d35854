//! Specifications as the engine keeps them: shared between incarnations, checked once.
//!
//! A [`crate::spec::Tree`] comes in by value and is turned into [`Sup`]s and [`Item`]s behind `Arc`, so that a new
//! incarnation of a supervisor copies pointers and nothing else.

use crate::spec::{
    self, AutoShutdown, Children, Exhausted, InitialStart, Kind, Order, Restart, Shutdown, Strategy,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// A child specification.
#[derive(Debug)]
pub(crate) struct Item {
    pub id: Arc<str>,
    pub restart: Restart,
    pub significant: bool,
    pub shutdown: Shutdown,
    pub after: Vec<Box<str>>,
    pub backoff: Option<spec::Backoff>,
    pub kind: ItemKind,
}

#[derive(Debug)]
pub(crate) enum ItemKind {
    Worker(spec::Worker),
    Supervisor(Arc<Sup>),
}

/// Supervisor flags and the children of every new incarnation.
#[derive(Debug)]
pub(crate) struct Sup {
    pub strategy: Strategy,
    pub intensity: u32,
    pub period: u32,
    pub auto_shutdown: AutoShutdown,
    pub order: Order,
    pub initial_start: InitialStart,
    pub exhausted: Exhausted,
    pub retry_after: Option<Duration>,
    /// In start order; of `simple_one_for_one` the one template.
    pub items: Vec<Arc<Item>>,
    /// No two children with one id, no combination that OTP refuses, every `after` known and without a cycle.
    pub valid: bool,
}

impl Item {
    pub fn new(child: spec::Child) -> Item {
        Item {
            id: child.id.into(),
            restart: child.restart,
            significant: child.significant,
            shutdown: child.shutdown,
            after: child.after,
            backoff: child.backoff,
            kind: match child.kind {
                Kind::Worker(worker) => ItemKind::Worker(worker),
                Kind::Supervisor(supervisor) => ItemKind::Supervisor(Arc::new(Sup::new(supervisor))),
            },
        }
    }

    pub fn worker(&self) -> Option<&spec::Worker> {
        match &self.kind {
            ItemKind::Worker(worker) => Some(worker),
            ItemKind::Supervisor(_) => None,
        }
    }

    pub fn supervisor(&self) -> Option<&Arc<Sup>> {
        match &self.kind {
            ItemKind::Worker(_) => None,
            ItemKind::Supervisor(sup) => Some(sup),
        }
    }

    /// OTP's `bad_combination`: significance needs a supervisor that shuts down by itself and a child that can end.
    pub fn fits(&self, auto_shutdown: AutoShutdown) -> bool {
        !self.significant || (self.restart != Restart::Permanent && auto_shutdown != AutoShutdown::Never)
    }
}

impl Sup {
    pub fn new(supervisor: spec::Supervisor) -> Sup {
        let children = match supervisor.children {
            Children::List(children) => children,
            Children::Template(child) => vec![*child],
        };
        let items: Vec<Arc<Item>> = children.into_iter().map(|child| Arc::new(Item::new(child))).collect();
        let valid = items.iter().all(|item| item.fits(supervisor.auto_shutdown))
            && ids_are_unique(&items)
            && edges_are_sound(&items);
        Sup {
            strategy: supervisor.strategy,
            intensity: supervisor.intensity,
            period: supervisor.period,
            auto_shutdown: supervisor.auto_shutdown,
            order: supervisor.order,
            initial_start: supervisor.initial_start,
            exhausted: supervisor.exhausted,
            retry_after: supervisor.retry_after,
            items,
            valid,
        }
    }

    /// Without children.
    pub fn empty() -> Sup {
        Sup::new(spec::Supervisor::default())
    }

    /// Valid, and so is everything below.
    pub fn is_sound(&self) -> bool {
        self.valid && self.items.iter().filter_map(|item| item.supervisor()).all(|sup| sup.is_sound())
    }

    pub fn is_pool(&self) -> bool {
        self.strategy == Strategy::SimpleOneForOne
    }
}

fn ids_are_unique(items: &[Arc<Item>]) -> bool {
    let mut seen = HashSet::with_capacity(items.len());
    items.iter().all(|item| seen.insert(&item.id))
}

/// Every `after` names a sibling, and nobody waits for itself.
fn edges_are_sound(items: &[Arc<Item>]) -> bool {
    if items.iter().all(|item| item.after.is_empty()) {
        return true;
    }
    let index: HashMap<&str, usize> = items.iter().enumerate().map(|(i, item)| (&*item.id, i)).collect();
    let mut missing: Vec<usize> = items.iter().map(|item| item.after.len()).collect();
    let mut dependents = vec![Vec::new(); items.len()];
    for (i, item) in items.iter().enumerate() {
        for id in &item.after {
            match index.get(&**id) {
                Some(&target) => dependents[target].push(i),
                None => return false,
            }
        }
    }
    let mut free: Vec<usize> = (0..items.len()).filter(|&i| missing[i] == 0).collect();
    let mut reached = 0;
    while let Some(i) = free.pop() {
        reached += 1;
        for &d in &dependents[i] {
            missing[d] -= 1;
            if missing[d] == 0 {
                free.push(d);
            }
        }
    }
    reached == items.len()
}
