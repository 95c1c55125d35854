//! Requests: OTP's whole supervisor API, answered by the supervisor when their turn comes. Every request is answered
//! exactly once; one that a supervisor did not get to is answered `noproc` when it ends.

use crate::child::{ChildIx, St, Want};
use crate::effect::{ChildInfo, ChildState, ErrorKind};
use crate::event::{Key, PathId, ReqId, Verb};
use crate::fact::What;
use crate::node::{FOREST_NODE, Msg, NodeIx, Request, WaitOf, Waiter};
use crate::plan::Item;
use crate::{Engine, Reply};
use std::sync::Arc;

impl Engine {
    /// A request has arrived: it is put into the mailbox of the supervisor it is for. The verbs of a person leave
    /// their mark on the path at once.
    pub(crate) fn request(&mut self, id: ReqId, path: &str, verb: Verb) {
        let incident = self.new_incident();
        self.cause = incident;
        match verb {
            Verb::AddTree(tree) => self.add_tree(id, *tree),
            Verb::Apply(apply) => self.apply(id, path, *apply),
            Verb::StopTree => self.stop_tree_by_request(id, path),
            Verb::Suspend | Verb::Resume => self.suspend(id, path, verb == Verb::Suspend),
            Verb::Start
            | Verb::Stop { .. }
            | Verb::Restart { .. }
            | Verb::Hold { .. }
            | Verb::Release
            | Verb::Abandon => match self.places.find(path) {
                Some(to) => self.by_hand(Request { id, to, verb, incident, instance: 0 }),
                None => self.reply(id, Reply::Error(ErrorKind::NotFound)),
            },
            _ => self.deliver(id, path, verb),
        }
    }

    fn deliver(&mut self, id: ReqId, path: &str, verb: Verb) {
        let node = self.places.find(path).and_then(|to| Some((to, self.node_at(to)?)));
        let Some((to, n)) = node else {
            self.reply(id, Reply::Error(ErrorKind::Noproc));
            return;
        };
        let mut instance = 0;
        if let Verb::StartInstance { .. } = verb {
            self.places[to].instances += 1;
            self.places.touch(to);
            instance = self.places[to].instances;
        }
        if let Verb::TerminateChild(child) = &verb
            && let Some(c) = self.child_by_id(n, child)
            && self.overtakes(n, c)
        {
            self.kids[c].want = Want::Down;
            self.touch(c);
            self.wait_for(c, id, WaitOf::Gone);
            self.cancel(n, c);
            return;
        }
        self.post(n, Msg::Request(Box::new(Request { id, to, verb, incident: self.cause, instance })));
    }

    /// A stop of what is in flight, or still to be started by the current operation, does not wait for its turn: else
    /// a hanging start could not be cancelled.
    pub(crate) fn overtakes(&self, n: NodeIx, c: ChildIx) -> bool {
        let node = &self.nodes[n];
        !node.by_dependencies()
            && !node.is_ending()
            && !self.is_being_cancelled(c)
            && node.op.as_ref().is_some_and(|op| op.stop.len() == 0 && op.start.iter().any(|x| x == c))
            && matches!(self.kids[c].st, St::Starting | St::Up { ready: false } | St::Waiting)
    }

    pub(crate) fn cancel(&mut self, n: NodeIx, c: ChildIx) {
        if !self.cancel_start(n, c) {
            self.bring_down(c);
        }
    }

    fn suspend(&mut self, id: ReqId, path: &str, suspended: bool) {
        let reply = match self.places.find(path).and_then(|to| self.node_at(to)) {
            Some(n) => {
                self.nodes[n].suspended = suspended;
                self.wake(n);
                Reply::Ok
            }
            None => Reply::Error(ErrorKind::Noproc),
        };
        self.reply(id, reply);
    }

    /// The turn of a request has come.
    pub(crate) fn serve(&mut self, n: NodeIx, request: Request) {
        let Request { id, to, verb, instance, .. } = request;
        let answer = match verb {
            Verb::StartChild(child) => self.start_child(n, id, Item::new(*child)),
            Verb::StartInstance { key } => self.start_instance(n, id, key, instance),
            Verb::TerminateChild(child) => self.terminate_child(n, id, &child),
            Verb::RestartChild(child) => self.restart_child(n, id, &child),
            Verb::DeleteChild(child) => Some(self.delete_child(n, &child)),
            Verb::GetChildspec(child) => Some(self.get_childspec(n, &child)),
            Verb::WhichChildren => Some(self.which_children(n)),
            Verb::CountChildren => Some(self.count_children(n)),
            Verb::StopSelf(reason) => {
                self.nodes[n].stoppers.push(id);
                self.end_node(n, reason);
                None
            }
            verb => self.serve_person(n, id, to, verb),
        };
        if let Some(reply) = answer {
            self.reply(id, reply);
        }
    }

    pub(crate) fn wait_for(&mut self, child: ChildIx, id: ReqId, of: WaitOf) {
        let n = self.kids[child].node;
        self.nodes[n].waiters.push(Waiter { child, id, of });
    }

    pub(crate) fn child_by_id(&self, n: NodeIx, id: &str) -> Option<ChildIx> {
        let place = self.places.below(self.nodes[n].path, id)?;
        self.places[place].child.filter(|&c| self.kids[c].node == n)
    }

    fn start_child(&mut self, n: NodeIx, id: ReqId, item: Item) -> Option<Reply> {
        let error = |kind| Some(Reply::Error(kind));
        let node = &self.nodes[n];
        if node.sup.is_pool() {
            return error(ErrorKind::SimpleOneForOne);
        }
        if !item.fits(node.sup.auto_shutdown) {
            return error(ErrorKind::BadSpec);
        }
        match self.child_by_id(n, &item.id).map(|c| self.kids[c].st) {
            Some(st) if st.is_live() => return error(ErrorKind::AlreadyStarted),
            Some(_) => return error(ErrorKind::AlreadyPresent),
            None => {}
        }
        if node.by_dependencies() && item.after.iter().any(|after| self.child_by_id(n, after).is_none()) {
            return error(ErrorKind::BadSpec);
        }
        self.add_and_start(n, id, Arc::new(item));
        None
    }

    fn add_and_start(&mut self, n: NodeIx, id: ReqId, item: Arc<Item>) -> ChildIx {
        let path = self.nodes[n].path;
        let place = self.places.intern(path, &item.id, true);
        self.intern_below(place, &item);
        let c = self.add_child(n, item, place, St::Waiting);
        self.link_edges(c);
        self.wait_for(c, id, WaitOf::Add);
        self.bring_up(c);
        c
    }

    /// An instance of a pool: `template#number`.
    fn start_instance(&mut self, n: NodeIx, id: ReqId, key: Option<Key>, number: u32) -> Option<Reply> {
        if !self.nodes[n].sup.is_pool() {
            return Some(Reply::Error(ErrorKind::BadSpec));
        }
        let template = self.nodes[n].sup.items[0].clone();
        let name: Arc<str> = format!("{}#{number}", template.id).into();
        let place = self.places.intern(self.nodes[n].path, &name, true);
        let c = self.add_child(n, template, place, St::Waiting);
        if let Some(key) = key {
            (self.kids[c].key, self.kids[c].wanted_key) = (key, key);
        }
        self.wait_for(c, id, WaitOf::Add);
        self.bring_up(c);
        None
    }

    fn terminate_child(&mut self, n: NodeIx, id: ReqId, child: &str) -> Option<Reply> {
        let Some(c) = self.child_by_id(n, child) else { return Some(Reply::Error(self.unknown(n, child))) };
        self.terminate(n, id, c)
    }

    pub(crate) fn terminate(&mut self, n: NodeIx, id: ReqId, c: ChildIx) -> Option<Reply> {
        self.kids[c].want = Want::Down;
        self.touch(c);
        match self.kids[c].st {
            St::Parked => return Some(Reply::Ok),
            _ if self.overtakes(n, c) => {
                self.wait_for(c, id, WaitOf::Gone);
                self.cancel(n, c);
            }
            st if st.is_live() => {
                self.wait_for(c, id, WaitOf::Gone);
                self.bring_down(c);
            }
            _ => {
                self.wait_for(c, id, WaitOf::Gone);
                let done = self.kids[c].st == St::Done;
                self.put_down_resting(c, done);
            }
        }
        None
    }

    /// Cancels a pending restart, or leaves what is down where it is.
    fn put_down_resting(&mut self, c: ChildIx, done: bool) {
        if done {
            self.answer(c, |_| true, Reply::Ok);
        } else {
            self.put_down(c);
        }
    }

    fn restart_child(&mut self, n: NodeIx, id: ReqId, child: &str) -> Option<Reply> {
        let error = |kind| Some(Reply::Error(kind));
        if self.nodes[n].sup.is_pool() {
            return error(ErrorKind::SimpleOneForOne);
        }
        let Some(c) = self.child_by_id(n, child) else { return error(ErrorKind::NotFound) };
        match self.kids[c].st {
            St::Pending { .. } => error(ErrorKind::Restarting),
            st if st.is_live() => error(ErrorKind::Running),
            st => {
                self.wait_for(c, id, WaitOf::Back);
                if st == St::Parked {
                    self.unpark(c)
                } else {
                    self.bring_up(c)
                }
                None
            }
        }
    }

    fn delete_child(&mut self, n: NodeIx, child: &str) -> Reply {
        if self.nodes[n].sup.is_pool() {
            return Reply::Error(ErrorKind::SimpleOneForOne);
        }
        let Some(c) = self.child_by_id(n, child) else { return Reply::Error(ErrorKind::NotFound) };
        match self.kids[c].st {
            St::Pending { .. } => Reply::Error(ErrorKind::Restarting),
            st if st.is_live() => Reply::Error(ErrorKind::Running),
            _ => {
                self.answer(c, |_| true, Reply::Error(ErrorKind::Overtaken));
                if let Some(op) = &mut self.nodes[n].op {
                    op.forget(c);
                }
                self.drop_child(c);
                Reply::Ok
            }
        }
    }

    fn get_childspec(&self, n: NodeIx, child: &str) -> Reply {
        let sup = &self.nodes[n].sup;
        let item = match self.child_by_id(n, child) {
            Some(c) => &self.kids[c].item,
            None if sup.is_pool() && *sup.items[0].id == *child => &sup.items[0],
            None => return Reply::Error(ErrorKind::NotFound),
        };
        Reply::Spec {
            restart: item.restart,
            significant: item.significant,
            shutdown: item.shutdown,
            supervisor: item.supervisor().is_some(),
        }
    }

    /// By id a pool knows nobody; of an instance it does not know either, the name is unknown.
    fn unknown(&self, n: NodeIx, child: &str) -> ErrorKind {
        if self.nodes[n].sup.is_pool() && !child.contains('#') {
            ErrorKind::SimpleOneForOne
        } else {
            ErrorKind::NotFound
        }
    }

    fn which_children(&self, n: NodeIx) -> Reply {
        let line = |c: ChildIx| {
            let child = &self.kids[c];
            let state = match child.st {
                st if st.is_live() => ChildState::Running,
                St::Pending { .. } => ChildState::Restarting,
                _ => ChildState::Undefined,
            };
            ChildInfo {
                id: Some((*self.places[child.path].name).into()),
                state,
                supervisor: child.is_supervisor(),
            }
        };
        if !self.nodes[n].sup.is_pool() {
            return Reply::Children(self.children(n).rev().map(line).collect());
        }
        let (running, pending): (Vec<ChildInfo>, Vec<ChildInfo>) =
            self.children(n).map(line).partition(|child| child.state == ChildState::Running);
        let anonymous = pending.into_iter().map(|child| ChildInfo { id: None, ..child });
        Reply::Children(running.into_iter().chain(anonymous).collect())
    }

    /// A child whose end is still queued does not count as active, but for pools (as OTP counts).
    fn count_children(&self, n: NodeIx) -> Reply {
        let pool = self.nodes[n].sup.is_pool();
        let mut counts = [0, 0, 0, 0];
        for c in self.children(n) {
            let child = &self.kids[c];
            counts[0] += 1;
            counts[1] += usize::from(child.st.is_live() && (pool || !matches!(child.st, St::Ended { .. })));
            counts[if child.is_supervisor() { 2 } else { 3 }] += 1;
        }
        if pool {
            counts[0] = 1;
        }
        Reply::Counts(counts)
    }

    /// A person's verb whose turn has come.
    fn serve_person(&mut self, n: NodeIx, id: ReqId, to: PathId, verb: Verb) -> Option<Reply> {
        if self.places[to].parent != self.nodes[n].path {
            // The path is no more, and its number may be somebody else's.
            return Some(Reply::Error(ErrorKind::NotFound));
        }
        let Some(c) = self.places[to].child.filter(|&c| self.kids[c].node == n) else {
            return self.serve_missing(n, id, to, verb);
        };
        match verb {
            Verb::Start => {
                self.fact(c, What::StartedByHand);
                self.start_by_hand(n, id, c)
            }
            Verb::Stop { with_dependents } => {
                if with_dependents && self.nodes[n].by_dependencies() && self.kids[c].st.is_live() {
                    self.wait_for(c, id, WaitOf::Gone);
                    self.stop_with_dependents(n, c);
                    return None;
                }
                if n == FOREST_NODE {
                    self.note_tree_end(c, crate::effect::TreeEnd::Stopped);
                }
                self.terminate(n, id, c)
            }
            Verb::Restart { only } => match self.kids[c].st {
                _ if self.kids[c].is_temporary() => Some(Reply::Error(ErrorKind::Temporary)),
                _ if self.places[to].is_stopped() => Some(Reply::Error(ErrorKind::Held)),
                St::Parked => {
                    self.wait_for(c, id, WaitOf::Start);
                    self.unpark(c);
                    None
                }
                _ => {
                    self.wait_for(c, id, WaitOf::Start);
                    self.restart_by_hand(n, c, only);
                    None
                }
            },
            _ => Some(Reply::Error(ErrorKind::NotFound)),
        }
    }

    fn start_by_hand(&mut self, n: NodeIx, id: ReqId, c: ChildIx) -> Option<Reply> {
        match self.kids[c].st {
            St::Up { ready: true } | St::Ended { .. } => return Some(Reply::Ok),
            St::Starting | St::Up { ready: false } => self.wait_for(c, id, WaitOf::Start),
            St::Stopping { .. } => {
                self.kids[c].want = Want::Up;
                self.touch(c);
                self.wait_for(c, id, WaitOf::Start);
            }
            St::Pending { .. } => {
                self.wait_for(c, id, WaitOf::Start);
                self.kids[c].incident = self.cause;
                self.restart_group(n, c, false);
            }
            St::Parked => {
                self.wait_for(c, id, WaitOf::Start);
                self.unpark(c);
            }
            St::Down | St::Waiting | St::Done => {
                self.wait_for(c, id, WaitOf::Start);
                self.bring_up(c);
            }
        }
        None
    }

    /// No record: a planned temporary child that has ended can be started again by a person, in its place.
    fn serve_missing(&mut self, n: NodeIx, id: ReqId, to: PathId, verb: Verb) -> Option<Reply> {
        let name = self.places[to].name.clone();
        let planned = self.nodes[n]
            .sup
            .items
            .iter()
            .find(|item| item.id == name && !self.nodes[n].sup.is_pool())
            .cloned();
        match (verb, planned) {
            (Verb::Start, Some(item)) => {
                self.places[to].dynamic = false;
                let c = self.add_child(n, item, to, St::Waiting);
                self.reorder(n);
                self.link_edges(c);
                self.wait_for(c, id, WaitOf::Start);
                self.bring_up(c);
                None
            }
            (Verb::Stop { .. }, Some(_)) => Some(Reply::Ok),
            _ => Some(Reply::Error(ErrorKind::NotFound)),
        }
    }

    /// Places for everything planned below a child, so that it can be seen before it was ever started.
    pub(crate) fn intern_below(&mut self, place: PathId, item: &Item) {
        let Some(sup) = item.supervisor().filter(|sup| !sup.is_pool()) else { return };
        for item in &sup.items {
            let below = self.places.intern(place, &item.id, false);
            self.intern_below(below, item);
        }
    }
}
