//! What the comparison has to know of a tree: who is below whom, and whose events are in order.

use woodward::tree::Plan;
use woodward_engine::spec::{Child, Children, Kind, Order, Restart, Strategy, Supervisor};

/// A child and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub path: String,
    pub worker: bool,
    pub restart: Restart,
    /// Of a supervisor.
    pub strategy: Strategy,
    pub order: Order,
    pub intensity: u32,
    /// It has an account of restarts of its own.
    pub limit: bool,
    /// Ids of the siblings that it is `after`.
    after: Vec<String>,
}

/// A tree, parents before children, in start order.
#[derive(Clone, Debug)]
pub struct Shape {
    pub id: String,
    pub nodes: Vec<Node>,
}

impl Shape {
    pub fn of(plan: &Plan) -> Shape {
        let id = plan.tree.id.to_string();
        let mut shape = Shape { id: id.clone(), nodes: Vec::new() };
        shape.add_supervisor(&plan.tree.root, id, Restart::Permanent, Vec::new());
        shape
    }

    fn add_supervisor(
        &mut self,
        supervisor: &Supervisor,
        path: String,
        restart: Restart,
        after: Vec<String>,
    ) {
        let (strategy, order) = (supervisor.strategy, supervisor.order);
        let intensity = supervisor.intensity;
        let node = Node {
            path: path.clone(),
            worker: false,
            restart,
            strategy,
            order,
            intensity,
            limit: false,
            after,
        };
        self.nodes.push(node);
        if let Children::List(children) = &supervisor.children {
            children.iter().for_each(|child| self.add(child, &path));
        }
    }

    fn add(&mut self, child: &Child, parent: &str) {
        let path = format!("{parent}/{}", child.id);
        let after = child.after.iter().map(ToString::to_string).collect();
        match &child.kind {
            Kind::Supervisor(supervisor) => self.add_supervisor(supervisor, path, child.restart, after),
            Kind::Worker(worker) => self.nodes.push(Node {
                path,
                worker: true,
                restart: child.restart,
                strategy: Strategy::OneForOne,
                order: Order::Listed,
                intensity: 0,
                limit: worker.limit.is_some(),
                after,
            }),
        }
    }

    pub fn node(&self, path: &str) -> &Node {
        self.nodes.iter().find(|node| node.path == path).expect("a path of the tree")
    }

    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.worker)
    }

    /// Whether the tree says which of two workers comes first when both start or stop.
    pub fn in_order(&self, a: &str, b: &str) -> bool {
        let (mut at, mut rest_a, mut rest_b) = (self.id.clone(), ids(a), ids(b));
        loop {
            let (Some(one), Some(other)) = (rest_a.next(), rest_b.next()) else { return false };
            if one != other {
                return match self.node(&at).order {
                    Order::Listed => true,
                    Order::Dependencies => self.relies(&at, one, other) || self.relies(&at, other, one),
                };
            }
            at = format!("{at}/{one}");
        }
    }

    /// The siblings that restart when a child crashes.
    pub fn goes_along(&self, path: &str) -> Vec<String> {
        let Some((parent, id)) = path.rsplit_once('/') else { return Vec::new() };
        if self.node(path).restart == Restart::Temporary {
            return Vec::new();
        }
        let siblings = self.nodes.iter().map(|node| &*node.path).filter_map(|sibling| {
            let (above, sibling) = sibling.rsplit_once('/')?;
            (above == parent && sibling != id).then_some(sibling)
        });
        let siblings: Vec<&str> = siblings.collect();
        let of = self.node(parent);
        let place = |id: &str| self.nodes.iter().position(|node| node.path == format!("{parent}/{id}"));
        let goes = |sibling: &&str| match (of.strategy, of.order) {
            (Strategy::OneForAll, _) => true,
            (Strategy::RestForOne, Order::Listed) => place(sibling) > place(id),
            (Strategy::RestForOne, Order::Dependencies) => self.relies(parent, sibling, id),
            (Strategy::OneForOne | Strategy::SimpleOneForOne, _) => false,
        };
        siblings.into_iter().filter(goes).map(|sibling| format!("{parent}/{sibling}")).collect()
    }

    /// Whether a child is `after` a sibling, perhaps by way of others.
    fn relies(&self, parent: &str, child: &str, on: &str) -> bool {
        let after = &self.node(&format!("{parent}/{child}")).after;
        after.iter().any(|elder| elder == on || self.relies(parent, elder, on))
    }
}

fn ids(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}

/// Whether a path is this one or below it.
pub fn is_within(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
