//! Where every child of a tree stands: its unit, its neighbours, what lies below it. Read by all rules of the native way.
//!
//! Places are numbered in the order of start (an anchor, then what is below it), so that a subtree is a range.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use woodward_engine::spec::{
    self, AutoShutdown, Child, Children, Kind, Order, Restart, Strategy, Supervisor,
};

use crate::tree::Plan;
use crate::units::Options;
use crate::units::names::Names;

/// The number of a place.
pub type At = usize;

/// A tree, flat.
pub struct Layout<'p> {
    /// In start order, the root first.
    pub places: Vec<Place<'p>>,
    /// The time for stopping all of it.
    pub deadline: Option<Duration>,
}

/// A child of the tree, or its root.
pub struct Place<'p> {
    /// Path from the root.
    pub path: String,
    /// Name of its unit without the ending.
    pub stem: String,
    /// Name of its unit.
    pub unit: String,
    /// Above it; `None`: it is the root.
    pub parent: Option<At>,
    /// All above it, the root first.
    pub ancestors: Vec<At>,
    /// Its place in the list of its supervisor.
    pub nth: usize,
    /// The siblings it is after, directly or not, in the order of the list. Empty in a list.
    needs: Vec<At>,
    /// Directly below it.
    pub children: Vec<At>,
    /// It and all below it.
    pub range: Range<At>,
    /// As what its supervisor knows it; `None`: it is the root.
    pub child: Option<&'p Child>,
    /// What it is.
    pub what: What<'p>,
    /// What its file says of it, if it is a supervisor.
    pub description: Option<&'p str>,
    /// Its sockets are started instead of it.
    pub lazy: bool,
}

/// Kinds of places.
#[derive(Clone, Copy)]
pub enum What<'p> {
    /// Its unit is an anchor.
    Supervisor(&'p Supervisor),
    /// Its unit is a service.
    Worker(&'p spec::Worker),
    /// Its unit is a template.
    Template(&'p spec::Worker),
}

impl<'p> Layout<'p> {
    /// Lays out a tree.
    pub fn of(plan: &'p Plan, options: &Options) -> Layout<'p> {
        let mut layout = Layout {
            places: Vec::with_capacity(plan.workers.len() + plan.supervisors.len()),
            deadline: plan.tree.shutdown,
        };
        let what = What::Supervisor(&plan.tree.root);
        let names = Names::of(plan, &options.prefix);
        layout.add(&names, None, plan.tree.id.to_string(), None, what);
        let described: HashMap<&str, &str> = (plan.supervisors.iter())
            .filter_map(|supervisor| Some((supervisor.path.as_str(), supervisor.description.as_deref()?)))
            .collect();
        for place in &mut layout.places {
            place.description = described.get(place.path.as_str()).copied();
            if let What::Worker(worker) = place.what {
                place.lazy = plan.workers.get(worker.key.0 as usize).is_some_and(|worker| worker.lazy);
            }
        }
        layout
    }

    fn add(
        &mut self,
        names: &Names,
        parent: Option<At>,
        path: String,
        child: Option<&'p Child>,
        what: What<'p>,
    ) -> At {
        let at = self.places.len();
        let stem = names.stem(&path);
        let ending = if matches!(what, What::Template(_)) { "@.service" } else { ".service" };
        let mut ancestors = parent.map(|parent| self.places[parent].ancestors.clone()).unwrap_or_default();
        ancestors.extend(parent);
        self.places.push(Place {
            unit: format!("{stem}{ending}"),
            path,
            stem,
            parent,
            ancestors,
            nth: 0,
            needs: Vec::new(),
            children: Vec::new(),
            range: at..at + 1,
            child,
            what,
            description: None,
            lazy: false,
        });
        if let What::Supervisor(supervisor) = what {
            for child in children(supervisor) {
                let path = format!("{}/{}", self.places[at].path, child.id);
                let what = match &child.kind {
                    Kind::Supervisor(below) => What::Supervisor(below),
                    Kind::Worker(worker) if matches!(supervisor.children, Children::Template(_)) => {
                        What::Template(worker)
                    }
                    Kind::Worker(worker) => What::Worker(worker),
                };
                let child = self.add(names, Some(at), path, Some(child), what);
                self.places[child].nth = self.places[at].children.len();
                self.places[at].children.push(child);
            }
            if supervisor.order == Order::Dependencies {
                self.find_needs(at);
            }
        }
        self.places[at].range.end = self.places.len();
        at
    }

    /// The supervisor of a place, and what is said of it.
    pub fn above(&self, at: At) -> Option<(At, &'p Supervisor)> {
        let parent = self.places[at].parent?;
        match self.places[parent].what {
            What::Supervisor(supervisor) => Some((parent, supervisor)),
            What::Worker(_) | What::Template(_) => None,
        }
    }

    /// The strategy of a supervisor.
    pub fn strategy(&self, at: At) -> Option<Strategy> {
        match self.places[at].what {
            What::Supervisor(supervisor) => Some(supervisor.strategy),
            What::Worker(_) | What::Template(_) => None,
        }
    }

    /// Whether its unit is a template.
    pub fn is_template(&self, at: At) -> bool {
        matches!(self.places[at].what, What::Template(_))
    }

    /// Names of units, as a value that is a list.
    pub fn units(&self, places: impl IntoIterator<Item = At>) -> String {
        let mut text = String::new();
        for at in places {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&self.places[at].unit);
        }
        text
    }

    /// The siblings behind which a place starts: all elder ones, or by dependencies all it is after.
    pub fn elders(&self, at: At) -> Vec<At> {
        let Some((parent, supervisor)) = self.above(at) else { return Vec::new() };
        let siblings = &self.places[parent].children;
        match supervisor.order {
            Order::Listed => siblings[..self.places[at].nth].to_vec(),
            Order::Dependencies => self.places[at].needs.clone(),
        }
    }

    /// Notes for the children of a supervisor which siblings each is after, directly or not.
    fn find_needs(&mut self, supervisor: At) {
        let siblings = self.places[supervisor].children.clone();
        let child = |at: At| self.places[at].child;
        let nth: HashMap<&str, usize> =
            (siblings.iter().enumerate()).filter_map(|(nth, &at)| Some((&*child(at)?.id, nth))).collect();
        let after: Vec<Vec<usize>> = (siblings.iter())
            .map(|&at| child(at).map_or(&[][..], |child| &child.after))
            .map(|after| after.iter().filter_map(|id| nth.get(&**id).copied()).collect())
            .collect();
        for (n, &at) in siblings.iter().enumerate() {
            let mut needed = vec![false; siblings.len()];
            let mut open = after[n].clone();
            while let Some(next) = open.pop() {
                if !std::mem::replace(&mut needed[next], true) {
                    open.extend(&after[next]);
                }
            }
            let needs = siblings.iter().zip(needed).filter(|(_, needed)| *needed).map(|(&at, _)| at);
            self.places[at].needs = needs.collect();
        }
    }

    /// The siblings whose crash restarts a place: by the strategy, and never a temporary one, for which nobody restarts.
    pub fn drags(&self, at: At) -> Vec<At> {
        let Some((parent, supervisor)) = self.above(at) else { return Vec::new() };
        let mut group = match supervisor.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => Vec::new(),
            Strategy::RestForOne => self.elders(at),
            Strategy::OneForAll => self.places[parent].children.clone(),
        };
        group.retain(|&sibling| sibling != at && !self.places[sibling].is(Restart::Temporary));
        group
    }
}

impl Layout<'_> {
    /// The siblings that the crash of a place restarts: [`Layout::drags`] the other way round.
    pub fn dragged(&self, at: At) -> Vec<At> {
        let Some((parent, supervisor)) = self.above(at) else { return Vec::new() };
        if self.places[at].is(Restart::Temporary) {
            return Vec::new();
        }
        let siblings = self.places[parent].children.iter().copied().filter(|&sibling| sibling != at);
        let nth = self.places[at].nth;
        match (supervisor.strategy, supervisor.order) {
            (Strategy::OneForOne | Strategy::SimpleOneForOne, _) => Vec::new(),
            (Strategy::OneForAll, _) => siblings.collect(),
            (Strategy::RestForOne, Order::Listed) => {
                siblings.filter(|&sibling| self.places[sibling].nth > nth).collect()
            }
            (Strategy::RestForOne, Order::Dependencies) => {
                siblings.filter(|&sibling| self.places[sibling].needs.contains(&at)).collect()
            }
        }
    }
}

impl Place<'_> {
    /// Whether it has this restart type. The root has none.
    pub fn is(&self, restart: Restart) -> bool {
        self.child.is_some_and(|child| child.restart == restart)
    }

    /// Whether its end counts for the `auto_shutdown` of this supervisor.
    pub fn is_significant(&self, supervisor: &Supervisor) -> bool {
        supervisor.auto_shutdown != AutoShutdown::Never && self.child.is_some_and(|child| child.significant)
    }

    /// Its own name among the marks of its supervisor.
    pub fn mark(&self) -> String {
        self.stem.replace('\\', "+")
    }

    /// Where the marks and counts of a supervisor lie: gone with its anchor, so that a new incarnation begins anew. In
    /// a value that takes specifiers; no backslash, which would have to be escaped in each kind of value.
    pub fn state(&self) -> String {
        format!("%t/{}", self.state_below_run())
    }

    /// The same for `RuntimeDirectory=`.
    pub fn state_below_run(&self) -> String {
        format!("woodward-units/{}", self.mark())
    }
}

fn children(supervisor: &Supervisor) -> &[Child] {
    match &supervisor.children {
        Children::List(list) => list,
        Children::Template(template) => std::slice::from_ref(template),
    }
}
