//! The difference between what runs and another plan: one comparison for what an apply does and for what it would do.

use crate::Engine;
use crate::apply::Ticket;
use crate::child::{ChildIx, St, Stop, Want};
use crate::effect::ErrorKind;
use crate::event::{Apply, Gen, Key, PathId};
use crate::forest;
use crate::node::{NodeIx, Phase};
use crate::plan::{Item, Sup};
use crate::spec::{Order, Restart, Strategy};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Children and a new plan.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Planned no more.
    pub removed: Vec<ChildIx>,
    /// What they run is not what is planned.
    pub changed: Vec<ChildIx>,
    /// Go with a changed one: who, because of whom.
    pub dragged: Vec<(ChildIx, ChildIx)>,
}

/// What an apply would do to one path now.
#[derive(Clone, Debug, PartialEq)]
pub struct Prospect {
    /// Full path.
    pub path: String,
    /// What happens to it.
    pub what: Outlook,
    /// It runs now, under this generation; 0: it does not.
    pub generation: Gen,
    /// What it runs.
    pub key: Option<Key>,
}

/// What happens to a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Outlook {
    /// It is left alone; what it will be started with next may change.
    Stays,
    /// It stops and starts again: what it runs has changed, or it goes with this path.
    Restarts(Option<String>),
    /// It starts.
    Starts,
    /// It stops, and is planned no more.
    Stops,
}

impl Engine {
    /// Compares the children of a running supervisor with its new plan.
    pub(crate) fn difference(&self, n: NodeIx, new: &Sup, keys: &Ticket) -> Difference {
        let old = &self.nodes[n].sup;
        let mut difference = Difference::default();
        let alike = |a: &Item, b: &Item| a.supervisor().is_some() == b.supervisor().is_some();
        if old.is_pool() || new.is_pool() {
            let (a, b) = (&old.items.first(), &new.items.first());
            let same =
                old.is_pool() && new.is_pool() && a.zip(*b).is_some_and(|(a, b)| a.id == b.id && alike(a, b));
            for c in self.children(n) {
                if !same {
                    difference.removed.push(c);
                } else if self.wanted_of_instance(c, &old.items[0], &new.items[0], keys) != self.kids[c].key
                    && self.is_restarted_by_key(c, new.items[0].restart)
                {
                    difference.changed.push(c);
                }
            }
            return difference;
        }
        let before: HashSet<&str> = old.items.iter().map(|item| &*item.id).collect();
        let after: HashMap<&str, (usize, &Item)> =
            new.items.iter().enumerate().map(|(i, item)| (&*item.id, (i, &**item))).collect();
        let mut stay: Vec<(usize, ChildIx)> = Vec::new();
        for c in self.children(n) {
            let item = &self.kids[c].item;
            match after.get(&*item.id) {
                Some(&(i, planned)) if alike(item, planned) => {
                    stay.push((i, c));
                    if self.runs_another(c, planned) && self.is_restarted_by_key(c, planned.restart) {
                        difference.changed.push(c);
                    }
                }
                None if !before.contains(&*item.id) => stay.push((usize::MAX, c)),
                _ => difference.removed.push(c),
            }
        }
        stay.sort_by_key(|&(i, _)| i);
        difference.changed.sort_by_key(|c| stay.iter().position(|(_, x)| x == c));
        difference.dragged = self.dragged(new, &after, &stay, &difference.changed);
        difference
    }

    pub(crate) fn runs_another(&self, c: ChildIx, planned: &Item) -> bool {
        let (Some(old), Some(new)) = (self.kids[c].worker(), planned.worker()) else { return false };
        let unready = matches!(self.kids[c].st, St::Starting | St::Up { ready: false });
        self.kids[c].key != new.key
            || old.oneshot != new.oneshot
            || unready && old.ready.probe != new.ready.probe
    }

    /// Whether another key means a restart now.
    pub(crate) fn is_restarted_by_key(&self, c: ChildIx, restart: Restart) -> bool {
        let child = &self.kids[c];
        let runs = match child.st {
            St::Up { .. } | St::Starting | St::Ended { .. } | St::Pending { .. } | St::Done => true,
            St::Stopping { why: Stop::Declined, .. } => false,
            St::Stopping { .. } => child.want == Want::Up,
            St::Down | St::Waiting | St::Parked => false,
        };
        runs && restart != Restart::Temporary && !self.is_held(c)
    }

    /// Whom crashes of the changed ones would take along under the new plan.
    fn dragged(
        &self,
        new: &Sup,
        planned: &HashMap<&str, (usize, &Item)>,
        stay: &[(usize, ChildIx)],
        changed: &[ChildIx],
    ) -> Vec<(ChildIx, ChildIx)> {
        let mut seen: HashSet<ChildIx> = changed.iter().copied().collect();
        let mut dragged = Vec::new();
        if changed.is_empty() || new.strategy == Strategy::OneForOne {
            return dragged;
        }
        let takes_part = |x: ChildIx| !self.is_held(x) && self.kids[x].st != St::Parked;
        let id_of = |c: ChildIx| &*self.kids[c].item.id;
        let by_dependencies = new.order == Order::Dependencies;
        let after = |x: ChildIx| {
            let own = &self.kids[x].item.after;
            planned.get(id_of(x)).map_or(own, |(_, item)| &item.after)
        };
        for &c in changed {
            let group: Vec<ChildIx> = match new.strategy {
                Strategy::OneForAll => stay.iter().map(|&(_, x)| x).collect(),
                _ if by_dependencies => {
                    let mut names: HashSet<&str> = HashSet::from([id_of(c)]);
                    loop {
                        let before = names.len();
                        for &(_, x) in stay {
                            if after(x).iter().any(|a| names.contains(&**a)) {
                                names.insert(id_of(x));
                            }
                        }
                        if names.len() == before {
                            break;
                        }
                    }
                    stay.iter().map(|&(_, x)| x).filter(|&x| names.contains(id_of(x))).collect()
                }
                _ => stay.iter().map(|&(_, x)| x).skip_while(|&x| x != c).collect(),
            };
            for x in group {
                if takes_part(x) && seen.insert(x) {
                    dragged.push((x, c));
                }
            }
        }
        dragged
    }
}

impl Engine {
    /// What [`crate::Verb::Apply`] would do now, path by path: first what stays or starts, in the order of the new
    /// plan, then what goes. The same comparison as that of the apply itself.
    pub fn foresee(&self, path: &str, apply: &Apply) -> Result<Vec<Prospect>, ErrorKind> {
        let root = self.root_to_apply(path, apply)?;
        let item = forest::root_item(apply.tree.clone());
        let mut prospects = Vec::new();
        self.foresee_child(root, &item, &Outlook::Stays, &Arc::new(apply.instances.clone()), &mut prospects);
        Ok(prospects)
    }

    fn foresee_child(
        &self,
        c: ChildIx,
        item: &Item,
        what: &Outlook,
        keys: &Ticket,
        prospects: &mut Vec<Prospect>,
    ) {
        let child = &self.kids[c];
        let generation = if child.st.is_live() { child.generation } else { Gen(0) };
        let key = child.worker().map(|_| child.key);
        prospects.push(Prospect { path: self.places.spell(child.path), what: what.clone(), generation, key });
        let Some(new) = item.supervisor() else { return };
        match child.sub.filter(|&n| self.nodes[n].phase != Phase::Opening) {
            Some(n) if *what == Outlook::Stays && !self.nodes[n].is_ending() => {
                self.foresee_node(n, new, keys, prospects)
            }
            Some(n) if *what == Outlook::Stops => {
                for c in self.children(n) {
                    self.foresee_child(c, &self.kids[c].item.clone(), what, keys, prospects);
                }
            }
            Some(n) => self.foresee_again(n, child.path, new, what, prospects),
            None if matches!(what, Outlook::Restarts(_) | Outlook::Starts) => {
                self.foresee_fresh(child.path, new, prospects)
            }
            None => {}
        }
    }

    fn foresee_node(&self, n: NodeIx, new: &Sup, keys: &Ticket, prospects: &mut Vec<Prospect>) {
        let Difference { removed, changed, dragged } = self.difference(n, new, keys);
        let removed: HashSet<ChildIx> = removed.into_iter().collect();
        let changed: HashSet<ChildIx> = changed.into_iter().collect();
        let dragged: HashMap<ChildIx, ChildIx> = dragged.into_iter().collect();
        let above = self.nodes[n].path;
        let planned: HashMap<&str, Restart> =
            new.items.iter().map(|item| (&*item.id, item.restart)).collect();
        let of = |c: ChildIx| {
            let own = self.kids[c].item.restart;
            let restart = planned.get(&*self.kids[c].item.id).copied().unwrap_or(own);
            let runs = !matches!(self.kids[c].st, St::Down);
            let with = dragged.get(&c).map(|&with| self.places.spell(self.kids[with].path));
            match with {
                _ if removed.contains(&c) => Outlook::Stops,
                _ if changed.contains(&c) => Outlook::Restarts(None),
                Some(_) if restart == Restart::Temporary => Outlook::Stops,
                Some(with) if runs => Outlook::Restarts(Some(with)),
                Some(_) => Outlook::Starts,
                None => Outlook::Stays,
            }
        };
        let was = &self.nodes[n].sup;
        let mut listed = HashSet::new();
        for item in new.items.iter().filter(|_| !new.is_pool()) {
            match self.child_by_id(n, &item.id) {
                Some(c) if removed.contains(&c) => {
                    listed.insert(c);
                    self.foresee_other_kind(c, item, prospects);
                }
                Some(c) => {
                    listed.insert(c);
                    self.foresee_child(c, item, &of(c), keys, prospects);
                }
                None => {
                    let alike = |old: &&Arc<Item>| {
                        old.id == item.id && old.supervisor().is_some() == item.supervisor().is_some()
                    };
                    if was.is_pool() || !was.items.iter().any(|old| alike(&old)) {
                        self.foresee_new(&self.places.spell(above), item, prospects);
                    }
                }
            }
        }
        for c in self.children(n).filter(|c| !listed.contains(c)) {
            self.foresee_child(c, &self.kids[c].item.clone(), &of(c), keys, prospects);
        }
    }

    /// A worker that becomes a supervisor, or the reverse.
    fn foresee_other_kind(&self, c: ChildIx, new: &Item, prospects: &mut Vec<Prospect>) {
        let first = prospects.len();
        self.foresee_child(c, &self.kids[c].item.clone(), &Outlook::Stops, &Ticket::default(), prospects);
        if self.is_held(c) {
            return;
        }
        if prospects[first].generation != Gen(0) {
            prospects[first].what = Outlook::Restarts(None);
        } else {
            prospects[first].what = Outlook::Starts;
        }
        if let Some(sup) = new.supervisor() {
            self.foresee_fresh(self.kids[c].path, sup, prospects);
        }
    }

    /// Below a supervisor that restarts: all that is planned comes back, and nothing else.
    pub(crate) fn foresee_again(
        &self,
        n: NodeIx,
        above: PathId,
        new: &Sup,
        why: &Outlook,
        prospects: &mut Vec<Prospect>,
    ) {
        let items: HashMap<&str, &Arc<Item>> =
            new.items.iter().filter(|_| !new.is_pool()).map(|item| (&*item.id, item)).collect();
        let mut there = HashSet::new();
        for c in self.children(n) {
            let id = &*self.kids[c].item.id;
            let planned = items.get(id).copied();
            let stays_down = self.is_held(c) || self.kids[c].st == St::Parked;
            there.insert(id);
            let what = match planned {
                None => Outlook::Stops,
                Some(_) if stays_down && !self.kids[c].st.is_live() => Outlook::Stays,
                Some(_) if stays_down => Outlook::Stops,
                Some(_) if self.kids[c].st.is_live() => why.clone(),
                Some(_) => Outlook::Starts,
            };
            let item = planned.unwrap_or(&self.kids[c].item).clone();
            self.foresee_child(c, &item, &what, &Ticket::default(), prospects);
        }
        for item in new.items.iter().filter(|item| !new.is_pool() && !there.contains(&*item.id)) {
            self.foresee_new(&self.places.spell(above), item, prospects);
        }
    }

    fn foresee_fresh(&self, above: PathId, new: &Sup, prospects: &mut Vec<Prospect>) {
        for item in new.items.iter().filter(|_| !new.is_pool()) {
            self.foresee_new(&self.places.spell(above), item, prospects);
        }
    }

    fn foresee_new(&self, above: &str, item: &Item, prospects: &mut Vec<Prospect>) {
        let path = format!("{above}/{}", item.id);
        let mut nearest = &*path;
        while self.places.find(nearest).is_none()
            && let Some((above, _)) = nearest.rsplit_once('/')
        {
            nearest = above;
        }
        let kept_down =
            self.places.find(nearest).is_some_and(|p| self.places.is_held(p) || self.places.is_kept_down(p));
        let what = if kept_down { Outlook::Stays } else { Outlook::Starts };
        prospects.push(Prospect { path: path.clone(), what: what.clone(), generation: Gen(0), key: None });
        if let Some(sup) = item.supervisor().filter(|sup| !sup.is_pool() && what == Outlook::Starts) {
            sup.items.iter().for_each(|item| self.foresee_new(&path, item, prospects));
        }
    }
}
