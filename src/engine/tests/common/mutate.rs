//! Another plan made of a plan: a few random changes, and it stays sound.

use crate::forest::{Flavour, random_child};
use crate::random::Random;
use std::time::Duration;
use woodward_engine::event::Key;
use woodward_engine::spec::*;

/// One to four changes.
pub fn mutate(random: &mut Random, flavour: Flavour, tree: &mut Tree) {
    for _ in 0..1 + random.below(4) {
        change(random, flavour, &mut tree.root, 1);
    }
}

fn change(random: &mut Random, flavour: Flavour, sup: &mut Supervisor, level: usize) {
    let list = match &mut sup.children {
        Children::Template(child) => {
            if random.chance(50) {
                change_child(random, child, sup.auto_shutdown);
            }
            return;
        }
        Children::List(list) => list,
    };
    let below = list.iter().filter(|child| matches!(child.kind, Kind::Supervisor(_))).count();
    if below > 0 && random.chance(60) {
        let i = random.below(below);
        let into = list.iter_mut().filter_map(|child| match &mut child.kind {
            Kind::Supervisor(sup) => Some(sup),
            Kind::Worker(_) => None,
        });
        into.skip(i).take(1).for_each(|sup| change(random, flavour, sup, level + 1));
        return;
    }
    let n = list.len();
    match random.below(8) {
        0 | 1 if n > 0 => {
            let i = random.below(n);
            change_child(random, &mut list[i], sup.auto_shutdown);
        }
        2 if n > 0 => {
            let gone = list.remove(random.below(n)).id;
            list.iter_mut().for_each(|child| child.after.retain(|id| *id != gone));
        }
        3 | 4 => {
            let Some(id) = (0..8).map(|i| format!("c{i}")).find(|id| list.iter().all(|c| *c.id != **id))
            else {
                return;
            };
            let mut child = random_child(random, flavour, level, &id, sup.auto_shutdown);
            if sup.order == Order::Dependencies {
                child.after = list.iter().filter(|_| random.chance(30)).map(|c| c.id.clone()).collect();
            }
            list.insert(random.below(n + 1), child);
        }
        5 if n > 1 => {
            let (i, j) = (random.below(n), random.below(n));
            list.swap(i, j);
        }
        6 => {
            sup.strategy = random.pick(&[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]);
            sup.intensity = random.below(6) as u32;
        }
        7 if random.chance(flavour.dependencies) => {
            sup.order = random.pick(&[Order::Listed, Order::Dependencies]);
        }
        _ => sup.period = 1 + random.below(10) as u32,
    }
}

fn change_child(random: &mut Random, child: &mut Child, auto: AutoShutdown) {
    match random.below(4) {
        0 => {
            child.restart = random.pick(&[Restart::Permanent, Restart::Transient, Restart::Temporary]);
            let oneshot = matches!(&child.kind, Kind::Worker(worker) if worker.oneshot);
            if oneshot && child.restart == Restart::Permanent {
                child.restart = Restart::Transient;
            }
            child.significant &= child.restart != Restart::Permanent && auto != AutoShutdown::Never;
        }
        1 => child.shutdown = Shutdown::Time(Duration::from_millis(random.next() % 2000)),
        _ => {
            if let Kind::Worker(worker) = &mut child.kind {
                worker.key = Key(random.below(4) as u32);
            }
        }
    }
}
