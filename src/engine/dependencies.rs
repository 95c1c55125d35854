//! Order by dependencies: no operation object, an always open mailbox; per child a state and a mark, and two
//! predicates that are looked at after every change, for the child and its neighbours.
//!
//! * A marked child shall stop. It may stop when no dependent is still running *and marked*; dependents that are down
//!   do not hide those behind them.
//! * A waiting child may start when everything it is `after` is ready or done and not marked, **and** no transitive
//!   dependent (under `one_for_all`: nobody) is marked and still running: nothing starts over a running dependent.
//!
//! A crash marks the running members of its group and makes the others wait; several groups unite by themselves. A
//! marked child that ends by itself is consumed. What a person stops is stopped alone: its dependents go on.

use crate::Engine;
use crate::child::{ChildIx, Edges, St, Want};
use crate::listed::Step;
use crate::node::{NodeIx, Phase};
use crate::spec::Strategy;
use std::collections::HashSet;

impl Engine {
    /// Looks at every child that changed, and at those it matters to, until nothing changes any more.
    pub(crate) fn look_around(&mut self, n: NodeIx) -> Step {
        let mut batch = Vec::new();
        loop {
            std::mem::swap(&mut batch, &mut self.nodes[n].changed);
            if batch.is_empty() {
                if !self.may_swap(n) {
                    break;
                }
                let swap = self.nodes[n].swap.take();
                swap.into_iter().for_each(|swap| self.swap(n, *swap));
                if !self.nodes[n].by_dependencies() {
                    return self.step(n);
                }
            }
            for c in batch.drain(..) {
                if self.kids[c].node == n {
                    self.consider(n, c);
                    self.consider_neighbours(n, c);
                }
            }
        }
        match self.nodes[n].phase {
            Phase::Ending(reason) => {
                if self.nodes[n].live == 0 {
                    self.node_ended(n, reason);
                }
                Step::Closed
            }
            _ => Step::Idle,
        }
    }

    fn consider(&mut self, n: NodeIx, c: ChildIx) {
        let child = &self.kids[c];
        match child.st {
            St::Ended { reason, .. } if child.mark => {
                self.cause = child.incident;
                self.judge(c, reason);
                self.put_down(c);
            }
            St::Up { .. } | St::Starting if child.mark && self.may_stop(c) => {
                self.cause = child.incident;
                self.ask(c);
            }
            St::Waiting if !self.may_start(c) => self.set(c, St::Down),
            St::Waiting if self.has_what_it_needs(n, c) => {
                if self.is_barred(n, c) {
                    self.nodes[n].barred.push(c);
                } else {
                    self.cause = child.incident;
                    self.start(c);
                }
            }
            _ => {}
        }
    }

    fn consider_neighbours(&mut self, n: NodeIx, c: ChildIx) {
        let mut look = self.edges(c, |e| &e.dependents).to_vec();
        look.retain(|&x| self.kids[x].st == St::Waiting);
        if self.nodes[n].marked > 0 {
            look.extend(self.nearest(c, |e| &e.after));
        }
        self.nodes[n].barred.extend(look);
        if !self.kids[c].st.is_live() || self.kids[c].st == (St::Up { ready: true }) {
            for x in std::mem::take(&mut self.nodes[n].barred) {
                if self.kids[x].node == n {
                    self.consider(n, x);
                }
            }
        }
    }

    fn may_stop(&self, c: ChildIx) -> bool {
        self.nearest(c, |e| &e.dependents).iter().all(|&d| !self.kids[d].mark)
    }

    /// The live ones next to `c` in that direction, the last in the list first; those that are down do not hide the ones
    /// behind them.
    fn nearest(&self, c: ChildIx, which: impl Fn(&Edges) -> &Vec<ChildIx>) -> Vec<ChildIx> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut open = vec![c];
        while let Some(x) = open.pop() {
            for &y in self.edges(x, &which) {
                if seen.insert(y) {
                    if self.kids[y].st.is_live() { found.push(y) } else { open.push(y) }
                }
            }
        }
        found.sort_by_key(|&x| std::cmp::Reverse(self.kids[x].seq));
        found
    }

    fn has_what_it_needs(&self, n: NodeIx, c: ChildIx) -> bool {
        !self.nodes[n].is_ending()
            && !self.is_frozen(n, c)
            && self
                .edges(c, |e| &e.after)
                .iter()
                .all(|&a| matches!(self.kids[a].st, St::Up { ready: true } | St::Done) && !self.kids[a].mark)
    }

    fn is_barred(&self, n: NodeIx, c: ChildIx) -> bool {
        let node = &self.nodes[n];
        if node.sup.strategy == Strategy::OneForAll {
            let delayed = |x: ChildIx| matches!(self.kids[x].st, St::Pending { until: Some(_) });
            return node.marked > 0 || node.phase == Phase::Run && self.children(n).any(delayed);
        }
        node.marked > 0 && self.dependents(c).iter().any(|&d| self.kids[d].mark && self.kids[d].st.is_live())
    }

    fn edges(&self, c: ChildIx, which: impl Fn(&Edges) -> &Vec<ChildIx>) -> &[ChildIx] {
        self.kids[c].edges.as_deref().map_or(&[], |e| which(e).as_slice())
    }

    /// Transitive dependents of `c`, without it, in no particular order.
    fn dependents(&self, c: ChildIx) -> Vec<ChildIx> {
        let mut found = Vec::new();
        let mut seen = HashSet::from([c]);
        let mut open = vec![c];
        while let Some(x) = open.pop() {
            for &d in self.edges(x, |e| &e.dependents) {
                if seen.insert(d) {
                    found.push(d);
                    open.push(d);
                }
            }
        }
        found
    }

    /// What a crash of `c` takes along, `c` among them, in list order.
    pub(crate) fn group_by_dependencies(&self, n: NodeIx, c: ChildIx) -> Vec<ChildIx> {
        match self.nodes[n].sup.strategy {
            Strategy::OneForAll => self.list_children(n),
            _ => {
                let mut group = self.dependents(c);
                group.push(c);
                group.sort_by_key(|&x| self.kids[x].seq);
                group
            }
        }
    }

    /// Running members are marked; the others wait, but for `c` while its delay lasts.
    pub(crate) fn restart_group_by_dependencies(
        &mut self,
        n: NodeIx,
        c: ChildIx,
        group: &[ChildIx],
        now: bool,
    ) {
        let takes_part = |x: ChildIx| x == c || !(self.is_held(x) || self.kids[x].st == St::Parked);
        let group: Vec<ChildIx> = group.iter().copied().filter(|&x| takes_part(x)).collect();
        let (live, down): (Vec<ChildIx>, Vec<ChildIx>) =
            group.into_iter().partition(|&x| self.kids[x].st.is_live());
        for x in live.into_iter().rev() {
            self.kids[x].want = Want::Up;
            if x != c {
                self.drag_along(x, c);
            }
            self.mark(x);
        }
        for x in down.into_iter().filter(|&x| now || x != c) {
            self.kids[x].want = Want::Up;
            self.kids[x].incident = self.cause;
            self.disarm(x);
            self.set(x, St::Waiting);
        }
        self.wake(n);
    }

    pub(crate) fn mark(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        if !std::mem::replace(&mut self.kids[c].mark, true) {
            self.nodes[n].marked += 1;
            self.touch(c);
        } else if let Some(swap) = &mut self.nodes[n].swap {
            swap.marked.retain(|&x| x != c);
        }
        self.nodes[n].changed.push(c);
        self.wake(n);
    }

    pub(crate) fn unmark(&mut self, c: ChildIx) {
        if std::mem::take(&mut self.kids[c].mark) {
            let n = self.kids[c].node;
            self.nodes[n].marked -= 1;
            self.touch(c);
        }
    }

    /// Stops one child, whoever depends on it.
    pub(crate) fn bring_down_by_dependencies(&mut self, c: ChildIx) {
        match self.kids[c].st {
            St::Up { .. } | St::Starting => {
                self.mark(c);
                self.ask(c);
            }
            st if st.is_live() => self.mark(c),
            _ => self.put_down(c),
        }
    }

    /// The supervisor ends: everything that runs is marked.
    pub(crate) fn mark_all(&mut self, n: NodeIx) {
        self.nodes[n].barred.clear();
        for c in self.list_children(n).into_iter().rev() {
            if self.kids[c].st.is_live() {
                self.kids[c].incident = self.cause;
                self.mark(c);
            }
        }
    }

    /// By a person, with everything that is `after` it, in reverse order.
    pub(crate) fn stop_with_dependents(&mut self, n: NodeIx, c: ChildIx) {
        for x in self.dependents(c) {
            let path = self.kids[x].path;
            self.places.stick(path, |s| s.stopped = true);
            self.path_fact(path, crate::What::StoppedByHand);
            self.kids[x].want = Want::Down;
            self.kids[x].incident = self.cause;
            if self.kids[x].st.is_live() { self.mark(x) } else { self.put_down(x) }
        }
        self.kids[c].want = Want::Down;
        if self.kids[c].st.is_live() {
            self.mark(c);
        }
        self.wake(n);
    }

    pub(crate) fn link_all_edges(&mut self, n: NodeIx) {
        for c in self.list_children(n) {
            self.link_what_it_is_after(c);
        }
    }

    /// A child was added: it has edges to siblings, and siblings that knew its id before have edges to it.
    pub(crate) fn link_edges(&mut self, c: ChildIx) {
        let n = self.kids[c].node;
        if !self.nodes[n].by_dependencies() {
            return;
        }
        self.link_what_it_is_after(c);
        let id = self.kids[c].item.id.clone();
        for d in self.list_children(n) {
            if self.kids[d].item.after.iter().any(|after| **after == *id) {
                self.link(d, c);
            }
        }
    }

    fn link_what_it_is_after(&mut self, c: ChildIx) {
        let (n, item) = (self.kids[c].node, self.kids[c].item.clone());
        for id in &item.after {
            if let Some(a) = self.child_by_id(n, id) {
                self.link(c, a);
            }
        }
    }

    fn link(&mut self, c: ChildIx, after: ChildIx) {
        self.kids[c].edges.get_or_insert_default().after.push(after);
        self.kids[after].edges.get_or_insert_default().dependents.push(c);
    }

    pub(crate) fn unlink_edges(&mut self, c: ChildIx) {
        let Some(edges) = self.kids[c].edges.take() else { return };
        let n = self.kids[c].node;
        for &a in &edges.after {
            if let Some(e) = &mut self.kids[a].edges {
                e.dependents.retain(|&x| x != c);
            }
        }
        for &d in &edges.dependents {
            if let Some(e) = &mut self.kids[d].edges {
                e.after.retain(|&x| x != c);
            }
        }
        // They may have waited for nobody else, to stop or to start.
        for x in edges.after.into_iter().chain(edges.dependents) {
            self.nodes[n].notice(x);
        }
        self.wake(n);
    }
}
