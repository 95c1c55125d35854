//! Reload: a running tree is given another plan, and the difference is carried out, no more.
//!
//! The new plan comes as one request for the whole tree and is handed down as a message per supervisor, parents before
//! children. Each supervisor compares its own children with the new plan and then goes one way:
//! *stop what goes and what runs something else* (in reverse, by the old plan) → *swap the plans* → *start what is new
//! or runs something else* (in order, by the new plan). Nothing of it is counted.
//!
//! | child | |
//! |---|---|
//! | same id and kind, same [`Key`] | stays; everything else of its specification changes in place |
//! | … another key | restarts, with what a crash of it would drag along under the *new* plan |
//! | … another key, temporary or held | goes on as it is; the next start is by the new plan |
//! | … another key, pending | starts at once, its back-off at zero. With the same key it keeps its delay |
//! | … another key, a one-shot that is done | runs again |
//! | … down, parked, stopped by a person | stays down, with the new specification |
//! | planned no more, or of another kind | stops and is forgotten, with what a person said of it |
//! | new, or of another kind | starts |
//! | added through the API | stays, at the end |
//! | planned and deleted through the API, or temporary and over | comes back with the next incarnation |
//! | instance of a pool | stays while its key does, else restarts, one after the other |
//!
//! Windows, counters and delays stay. A supervisor that waits for readiness takes its part at once; else the part waits
//! for its turn like a request. A part that has not come up is replaced by a later one.

use crate::child::{ChildIx, NOBODY, St, Want};
use crate::difference::Difference;
use crate::effect::ErrorKind;
use crate::event::{Apply, Key, PathId, ReqId};
use crate::fact::{ByApply, Incident, What};
use crate::forest;
use crate::listed::Op;
use crate::node::{Msg, NodeIx, Phase, WaitOf};
use crate::place::FOREST;
use crate::plan::{Item, Sup};
use crate::spec::{Restart, Worker};
use crate::timers::Alarm;
use crate::{Engine, Reply};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Held by every part that is not done yet: the request is answered when nobody else has it. Which instances of pools
/// get which key.
pub(crate) type Ticket = Arc<Vec<(Key, Key)>>;

/// What of a new plan is for one supervisor.
#[derive(Debug)]
pub(crate) struct Part {
    sup: Arc<Sup>,
    ticket: Ticket,
    incident: Incident,
}

/// A part whose stops are under way.
#[derive(Debug)]
pub(crate) struct Swap {
    part: Part,
    /// Start after the swap, if they are still there.
    again: Vec<ChildIx>,
    /// By dependencies: must be down before the swap, and start only after it.
    frozen: Vec<ChildIx>,
    /// By dependencies: marked for this swap and for nothing else.
    pub marked: Vec<ChildIx>,
}

impl Engine {
    /// A new plan has arrived for the tree `path`.
    pub(crate) fn apply(&mut self, id: ReqId, path: &str, apply: Apply) {
        let root = match self.root_to_apply(path, &apply) {
            Ok(root) => root,
            Err(kind) => return self.reply(id, Reply::Error(kind)),
        };
        let Apply { tree, instances } = apply;
        let ticket = Arc::new(instances);
        if let Some(of) = self.trees.iter_mut().find(|t| t.root == root) {
            of.seed = tree.seed;
            if let Some((earlier, _)) = of.applying.replace((id, ticket.clone())) {
                self.reply(earlier, Reply::Error(ErrorKind::Overtaken));
            }
        }
        let item = Arc::new(forest::root_item(tree));
        let (place, old) = (self.kids[root].path, self.kids[root].item.clone());
        if let (Some(old), Some(new)) = (old.supervisor(), item.supervisor()) {
            self.replan(place, old, new);
        }
        self.respec(root, item);
        self.hand_down(root, &ticket);
    }

    pub(crate) fn root_to_apply(&self, path: &str, apply: &Apply) -> Result<ChildIx, ErrorKind> {
        let root = self.places.below(FOREST, path).and_then(|place| self.places[place].child);
        let root = root.ok_or(ErrorKind::NotFound)?;
        let item = forest::root_item(apply.tree.clone());
        let sound = item.supervisor().is_some_and(|sup| sup.is_sound());
        if *apply.tree.id == *path && sound { Ok(root) } else { Err(ErrorKind::BadSpec) }
    }

    /// All parts are done: the request is answered.
    pub(crate) fn answer_applied(&mut self) {
        for i in 0..self.trees.len() {
            if let Some((id, _)) =
                self.trees[i].applying.take_if(|(_, ticket)| Arc::strong_count(ticket) == 1)
            {
                let ends = self.kids[self.trees[i].root].sub.is_some_and(|n| self.nodes[n].is_ending());
                self.reply(id, if ends { Reply::Error(ErrorKind::Overtaken) } else { Reply::Ok });
            }
        }
    }

    /// A supervisor whose record has the new plan gets its part.
    fn hand_down(&mut self, c: ChildIx, ticket: &Ticket) {
        let (Some(n), Some(sup)) = (self.kids[c].sub, self.kids[c].item.supervisor()) else { return };
        let part = Part { sup: sup.clone(), ticket: ticket.clone(), incident: self.cause };
        let node = &mut self.nodes[n];
        if node.is_ending() {
            return;
        }
        if node.phase == Phase::Opening {
            node.sup = part.sup.clone();
        }
        node.mail.retain(|msg| !matches!(msg, Msg::Apply(_)));
        self.post(n, Msg::Apply(Box::new(part)));
    }

    /// What was found running something else than planned restarts as by a reload.
    pub(crate) fn apply_to_found(&mut self, n: NodeIx) {
        if self.children(n).any(|c| self.kids[c].key != self.kids[c].wanted_key) {
            let part =
                Part { sup: self.nodes[n].sup.clone(), ticket: Ticket::default(), incident: self.cause };
            self.post(n, Msg::Apply(Box::new(part)));
        }
    }

    /// The turn of a part has come.
    pub(crate) fn apply_part(&mut self, n: NodeIx, part: Part) {
        self.cause = part.incident;
        let waits = self.nodes[n].swap.take();
        for c in waits.iter().flat_map(|swap| &swap.marked).copied() {
            if self.is_child_of(c, n)
                && self.kids[c].mark
                && matches!(self.kids[c].st, St::Up { .. } | St::Starting)
            {
                self.unmark(c);
                self.nodes[n].changed.push(c);
            }
        }
        let Difference { removed, changed, dragged } = self.difference(n, &part.sup, &part.ticket);
        if self.nodes[n].sup.is_pool() && part.sup.is_pool() && removed.is_empty() {
            return self.apply_to_pool(n, part, changed);
        }
        // What an earlier part has stopped, or is stopping, and this one does not remove starts with this one.
        let mut again = Vec::new();
        if let Some(swap) = waits {
            let on_its_way = |c: &ChildIx| matches!(self.kids[*c].st, St::Stopping { .. } | St::Ended { .. });
            let down = |c: &ChildIx| !self.kids[*c].st.is_live();
            again.extend(swap.again.iter().copied().filter(down));
            again.extend(swap.frozen.iter().copied().filter(on_its_way));
        }
        again.retain(|&c| self.is_child_of(c, n) && !removed.contains(&c));
        again.iter().for_each(|&c| self.kids[c].want = Want::Up);
        for &c in &removed {
            self.kids[c].want = Want::Down;
            self.kids[c].incident = self.cause;
            if self.kids[c].st.is_live() {
                self.fact(c, What::ByApply { what: ByApply::Stopped });
            }
        }
        for &c in &changed {
            self.kids[c].want = Want::Up;
            self.kids[c].incident = self.cause;
            self.fact(c, What::ByApply { what: ByApply::Restarted });
        }
        for &(x, because) in &dragged {
            self.kids[x].want = Want::Up;
            if self.kids[x].st.is_live() {
                self.drag_along(x, because);
            }
        }
        // Whether what stops now starts again is a matter of the new plan.
        let planned: HashMap<&str, Restart> =
            part.sup.items.iter().map(|item| (&*item.id, item.restart)).collect();
        for &c in changed.iter().chain(dragged.iter().map(|(x, _)| x)) {
            let child = &mut self.kids[c];
            child.traits.restart = planned.get(&*child.item.id).copied().unwrap_or(child.traits.restart);
            child.past.restarts += u32::from(child.st.is_live());
        }
        again.extend(changed.iter().copied().chain(dragged.iter().map(|&(x, _)| x)));
        let frozen: Vec<ChildIx> = removed.into_iter().chain(again.iter().copied()).collect();
        let mut live: Vec<ChildIx> = frozen.iter().copied().filter(|&c| self.kids[c].st.is_live()).collect();
        live.sort_by_key(|&c| self.kids[c].seq);
        live.dedup();
        if self.nodes[n].by_dependencies() {
            let mut marked = Vec::new();
            live.retain(|&c| !self.is_being_cancelled(c));
            for c in live.into_iter().rev() {
                if !self.kids[c].mark {
                    marked.push(c);
                }
                self.mark(c);
            }
            self.nodes[n].swap = Some(Box::new(Swap { part, again, frozen, marked }));
            self.wake(n);
        } else {
            let old = self.nodes[n].op.take().unwrap_or_default();
            let ticket = Some(part.ticket.clone());
            let swap = Some(Box::new(Swap { part, again, frozen, marked: Vec::new() }));
            let stop = live.into_iter().collect();
            self.nodes[n].op = Some(Op { stop, swap, ticket, incident: self.cause, ..old });
            self.wake(n);
        }
        self.touch_children(n);
    }

    /// By dependencies: everything that goes or restarts is down.
    pub(crate) fn may_swap(&self, n: NodeIx) -> bool {
        let node = &self.nodes[n];
        node.swap.as_ref().is_some_and(|swap| {
            let down = |&c: &ChildIx| !self.is_child_of(c, n) || !self.kids[c].st.is_live();
            let stays_so = swap.part.sup.order == node.sup.order && !swap.part.sup.is_pool();
            swap.frozen.iter().all(down) && (stays_so || node.marked == 0)
        })
    }

    /// By list: it starts after the swap.
    pub(crate) fn starts_after_swap(&self, c: ChildIx) -> bool {
        let op = self.node_of(c).op.as_ref();
        op.and_then(|op| op.swap.as_ref()).is_some_and(|swap| swap.again.contains(&c))
    }

    /// By dependencies: it starts after the swap.
    pub(crate) fn is_frozen(&self, n: NodeIx, c: ChildIx) -> bool {
        self.nodes[n].swap.as_ref().is_some_and(|swap| swap.frozen.contains(&c))
    }

    /// The plans change places, and what is to start does.
    pub(crate) fn swap(&mut self, n: NodeIx, swap: Swap) {
        let Swap { part, mut again, .. } = swap;
        self.cause = part.incident;
        let removed = self.difference(n, &part.sup, &part.ticket).removed;
        for c in removed.into_iter().filter(|&c| !self.kids[c].st.is_live()).collect::<Vec<ChildIx>>() {
            self.answer(c, |of| of == WaitOf::Gone, Reply::Ok);
            self.answer(c, |_| true, Reply::Error(ErrorKind::Overtaken));
            if let Some(op) = &mut self.nodes[n].op {
                op.forget(c);
            }
            again.retain(|&x| x != c);
            self.drop_child(c);
        }
        again.retain(|&c| self.is_child_of(c, n));
        let was_listed = !self.nodes[n].by_dependencies();
        let old = std::mem::replace(&mut self.nodes[n].sup, part.sup.clone());
        let mut fresh = Vec::new();
        if !part.sup.is_pool() {
            let known: HashMap<&str, bool> = old
                .items
                .iter()
                .filter(|_| !old.is_pool())
                .map(|i| (&*i.id, i.supervisor().is_some()))
                .collect();
            for item in &part.sup.items {
                match self.child_by_id(n, &item.id) {
                    Some(c) if self.kids[c].st.is_live() && self.kids[c].is_supervisor() => {
                        self.respec(c, item.clone());
                        self.hand_down(c, &part.ticket);
                    }
                    Some(c) => self.respec(c, item.clone()),
                    None if known.get(&*item.id) == Some(&item.supervisor().is_some()) => {}
                    None => fresh.push(item.clone()),
                }
            }
        }
        for item in fresh {
            let place = self.places.intern(self.nodes[n].path, &item.id, false);
            let c = self.add_planned(n, item, place);
            self.kids[c].incident = self.cause;
            if self.kids[c].st == St::Waiting {
                self.fact(c, What::ByApply { what: ByApply::Started });
                again.push(c);
            }
        }
        self.reorder(n);
        for &c in &again {
            self.make_wait(c);
        }
        self.go_by_new_plan(n, again, was_listed, part.ticket);
    }

    /// Down, and to be started.
    fn make_wait(&mut self, c: ChildIx) {
        if self.kids[c].st.is_live() || self.kids[c].st == St::Parked || self.is_held(c) {
            return;
        }
        if self.kids[c].wanted_key != self.kids[c].key
            && let Some(beyond) = &mut self.kids[c].beyond
        {
            beyond.n = 0;
        }
        self.kids[c].want = Want::Up;
        self.disarm(c);
        self.set(c, St::Waiting);
    }

    fn touch_children(&mut self, n: NodeIx) {
        self.list_children(n).into_iter().for_each(|c| self.touch(c));
    }

    fn go_by_new_plan(&mut self, n: NodeIx, again: Vec<ChildIx>, was_listed: bool, ticket: Ticket) {
        let all = self.list_children(n);
        for &c in &all {
            self.unlink_edges(c);
        }
        if self.nodes[n].by_dependencies() {
            self.nodes[n].op = None;
            self.link_all_edges(n);
            for c in all {
                self.nodes[n].notice(c);
            }
        } else {
            let node = &mut self.nodes[n];
            node.changed.clear();
            node.barred.clear();
            let old = node.op.take().unwrap_or_default();
            let mut start: HashSet<ChildIx> = old.start.iter().chain(again).collect();
            start.extend(self.waiting_for_nobody(n, was_listed));
            let start = all.into_iter().rev().filter(|c| start.contains(c)).collect();
            self.nodes[n].op =
                Some(Op { start, swap: None, ticket: Some(ticket), incident: self.cause, ..old });
        }
        self.touch_children(n);
        self.wake(n);
    }

    /// By list: those that wait and will not start with the restart of a sibling whose delay is not over. Whom they
    /// waited for may have gone, or the strategy changed.
    fn waiting_for_nobody(&self, n: NodeIx, was_listed: bool) -> Vec<ChildIx> {
        let mut with_another = HashSet::new();
        for p in self.children(n).filter(|&c| was_listed && self.kids[c].st.is_pending()) {
            with_another.extend(self.group_listed(n, p));
        }
        let waits = |c: &ChildIx| match self.kids[*c].st {
            St::Waiting => !with_another.contains(c),
            // By dependencies several are in flight at once; the list goes on behind the last of them.
            St::Starting | St::Up { ready: false } => !was_listed,
            _ => false,
        };
        self.children(n).filter(waits).collect()
    }

    /// Children in the order of the plan; those added through the API at the end.
    pub(crate) fn reorder(&mut self, n: NodeIx) {
        let position: HashMap<&str, usize> =
            self.nodes[n].sup.items.iter().enumerate().map(|(i, item)| (&*item.id, i)).collect();
        let mut all = self.list_children(n);
        all.sort_by_key(|&c| position.get(&*self.kids[c].item.id).copied().unwrap_or(usize::MAX));
        self.relink(n, &all);
    }

    /// Links the children of a supervisor in this order.
    fn relink(&mut self, n: NodeIx, all: &[ChildIx]) {
        let mut last = NOBODY;
        self.nodes[n].first = NOBODY;
        for (&c, seq) in all.iter().zip(1..) {
            self.kids[c].prev = last;
            self.kids[c].seq = seq;
            self.kids[c].next = NOBODY;
            match last {
                NOBODY => self.nodes[n].first = c,
                last => self.kids[last].next = c,
            }
            last = c;
        }
        let node = &mut self.nodes[n];
        node.last = last;
        node.last_seq = all.len() as u32;
    }

    /// Instances stay; those whose key has changed restart one after the other.
    fn apply_to_pool(&mut self, n: NodeIx, part: Part, changed: Vec<ChildIx>) {
        let old = self.nodes[n].sup.items[0].clone();
        self.nodes[n].sup = part.sup.clone();
        let template = part.sup.items[0].clone();
        for c in self.list_children(n) {
            let wanted = self.wanted_of_instance(c, &old, &template, &part.ticket);
            self.respec(c, template.clone());
            self.want_key(c, wanted);
        }
        for c in changed {
            let generation = self.kids[c].generation;
            self.post(n, Msg::Renew(Box::new((c, generation, part.ticket.clone(), part.incident))));
        }
    }

    pub(crate) fn wanted_of_instance(&self, c: ChildIx, old: &Item, new: &Item, keys: &Ticket) -> Key {
        let of = |item: &Item| item.worker().map(|w| w.key).unwrap_or_default();
        let wanted = self.kids[c].wanted_key;
        match keys.iter().find(|(from, _)| *from == wanted) {
            Some(&(_, to)) => to,
            None if wanted == of(old) => of(new),
            None => wanted,
        }
    }

    /// The turn of one instance has come.
    pub(crate) fn renew(&mut self, n: NodeIx, c: ChildIx, ticket: Ticket) {
        let child = &self.kids[c];
        if child.key == child.wanted_key || !self.is_restarted_by_key(c, child.item.restart) {
            return;
        }
        self.kids[c].incident = self.cause;
        self.fact(c, What::ByApply { what: ByApply::Restarted });
        let live = self.kids[c].st.is_live();
        if !live {
            self.make_wait(c);
        }
        self.kids[c].past.restarts += 1;
        self.restart_group_listed(n, c, &[c], true);
        if let Some(op) = &mut self.nodes[n].op {
            op.ticket = Some(ticket);
        }
    }

    fn is_child_of(&self, c: ChildIx, n: NodeIx) -> bool {
        self.kids[c].node == n && self.places[self.kids[c].path].child == Some(c)
    }

    /// A child gets another specification. What its running generation was started with is in `key`.
    fn respec(&mut self, c: ChildIx, item: Arc<Item>) {
        let wanted = item.worker().map(|w| w.key).unwrap_or_default();
        self.replace_item(c, item);
        self.want_key(c, wanted);
        // One that waited for a condition which is there no more would wait for ever.
        if self.kids[c].st == (St::Up { ready: false })
            && let Some(Worker { oneshot: false, ready, .. }) = self.kids[c].worker()
            && !ready.probe
        {
            let settled = self.now + ready.settle;
            self.arm(c, settled, Alarm::Settled(c));
        }
    }

    fn want_key(&mut self, c: ChildIx, key: Key) {
        self.kids[c].wanted_key = key;
        self.places.touch(self.kids[c].path);
    }

    /// Places of what is planned no more go with their children; those of what is new are made.
    fn replan(&mut self, place: PathId, old: &Sup, new: &Sup) {
        let planned: HashMap<&str, &Item> =
            new.items.iter().filter(|_| !new.is_pool()).map(|item| (&*item.id, &**item)).collect();
        let mut before: HashMap<&str, &Item> = HashMap::new();
        for item in old.items.iter().filter(|_| !old.is_pool()) {
            before.insert(&item.id, item);
            if !planned.contains_key(&*item.id)
                && let Some(gone) = self.places.below(place, &item.id)
            {
                self.unplan(gone);
            }
        }
        for item in new.items.iter().filter(|_| !new.is_pool()) {
            let below = self.places.intern(place, &item.id, false);
            self.places[below].dynamic = false;
            let empty = Sup::empty();
            let old = before.get(&*item.id).and_then(|old| old.supervisor());
            let new = item.supervisor();
            if old.is_some() || new.is_some() {
                self.replan(below, old.map_or(&empty, |sup| sup), new.map_or(&empty, |sup| sup));
            }
        }
    }

    fn unplan(&mut self, place: PathId) {
        for below in self.places.all_below(place) {
            self.unplan(below);
        }
        self.places.stick(place, |sticky| *sticky = Default::default());
        self.places[place].dynamic = true;
        if self.places[place].child.is_none() {
            self.places.vanish(place);
        }
    }
}
