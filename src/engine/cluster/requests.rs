//! Words of persons. Each is checked against what is known here, written into the register, and answered when it stands
//! there; whoever is concerned acts when the watch shows it.

use super::desk::{Pending, What};
use super::fencing::{Fence, State};
use super::machine::Cluster;
use super::place::{Obstacle, Presence};
use super::register::{Order, Owner, Why, Wish};
use super::{Condition, Effect, Key, Name, Request, Transaction, Value, Write};
use crate::event::ReqId;

impl Cluster {
    pub(super) fn request(&mut self, id: ReqId, request: Request, fx: &mut Vec<Effect>) {
        if request == Request::Leave {
            self.leaving.get_or_insert_default().push(id);
            self.dirty = true;
            if matches!(self.life, super::term::Life::Left) {
                self.left(fx);
            }
            return;
        }
        let transaction = if self.reading.is_known() {
            self.transaction_for(request)
        } else {
            Err("the register is not known: the store does not answer".into())
        };
        match transaction {
            Ok(transaction) if transaction.writes.is_empty() => fx.push(Effect::Reply { id, result: Ok(()) }),
            Ok(transaction) => {
                let number = self.commit(transaction, false, fx);
                self.pending.push(Pending {
                    id: number,
                    sent: self.now,
                    seen: self.seen,
                    what: What::Request(id),
                });
            }
            Err(why) => fx.push(Effect::Reply { id, result: Err(why) }),
        }
    }

    /// What is to be written; nothing if it is so already.
    fn transaction_for(&mut self, request: Request) -> Result<Transaction, String> {
        match request {
            Request::Move { group, to, order } => self.wish_for(group, to, order),
            Request::Drain { node, order } => {
                self.must_be_a_node(&node)?;
                Ok(put(Key::Drained(node), Value::Order(order)))
            }
            Request::Undrain { node } => {
                self.must_be_a_node(&node)?;
                Ok(self.delete(vec![Key::Drained(node)]))
            }
            Request::Maintain { on: true, order } => Ok(put(Key::Maintenance, Value::Order(order))),
            Request::Maintain { on: false, .. } => Ok(self.delete(vec![Key::Maintenance])),
            Request::Forgive { group, node } => {
                self.must_be_a_group(&group)?;
                Ok(self.delete(self.avoids_of(&group, node.as_ref())))
            }
            Request::Start { group } => self.start(group),
            Request::Confirm { node } => self.confirm(&node),
            Request::Leave => Ok(Transaction::default()),
        }
    }

    fn wish_for(&self, group: Name, to: Option<Name>, order: Order) -> Result<Transaction, String> {
        let i = self.must_be_a_group(&group)?;
        let Some((epoch, Owner { node: Some(owner), .. })) = self.register.owner(&group) else {
            return Err(format!("no node has {group}; see why, then start it"));
        };
        if to.as_ref() == Some(owner) {
            return Err(format!("{group} is on {owner} already"));
        }
        let rules = &self.config.groups[i];
        let board = self.board();
        let able = |node: &Name| *node != *owner && board.obstacle(rules, node).is_none();
        match &to {
            Some(to) => {
                if let Some(obstacle) = board.obstacle(rules, to) {
                    return Err(format!("{to} cannot run {group}: {obstacle}"));
                }
            }
            None if rules.nodes.iter().any(able) => {}
            None => return Err(format!("no other node can run {group}")),
        }
        let presence = board.presence(owner);
        if !matches!(presence, Presence::Alive | Presence::Doubtful) {
            return Err(format!("{owner}, which has {group}: {}", Obstacle::Away(presence)));
        }
        let mut transaction = put(Key::Move(group.clone()), Value::Move(Wish { to, order }));
        transaction.conditions.push(Condition::At(Key::Owner(group), epoch.0));
        Ok(transaction)
    }

    fn start(&self, group: Name) -> Result<Transaction, String> {
        self.must_be_a_group(&group)?;
        let key = Key::Owner(group.clone());
        let Some((epoch, owner)) = self.register.owner(&group) else { return Ok(Transaction::default()) };
        if let Some(node) = &owner.node {
            return Err(format!("{node} has {group} already"));
        }
        let mut transaction = self.delete(self.avoids_of(&group, None));
        transaction.conditions.push(Condition::At(key.clone(), epoch.0));
        let free = Owner {
            node: None,
            from: owner.from.clone(),
            why: Why::First,
            by: self.config.me.clone(),
            since: self.wall,
        };
        transaction.writes.push(Write::Put(key, Value::Owner(free)));
        Ok(transaction)
    }

    fn confirm(&mut self, node: &Name) -> Result<Transaction, String> {
        self.must_be_a_node(node)?;
        if let presence @ (Presence::Alive | Presence::Doubtful) = self.presence(node) {
            return Err(format!("{node} {}", Obstacle::Away(presence)));
        }
        let revision = self.register.revision_of(&Key::Epoch(node.clone()));
        self.fences.insert(node.clone(), Fence { revision, state: State::Done { at: self.now } });
        self.dirty = true;
        Ok(Transaction::default())
    }

    fn must_be_a_group(&self, group: &Name) -> Result<usize, String> {
        self.index(group).ok_or_else(|| format!("this node does not have the tree of {group}"))
    }

    fn must_be_a_node(&self, node: &Name) -> Result<(), String> {
        let known = self.register.member(node).is_some()
            || self.config.groups.iter().any(|group| group.nodes.contains(node));
        known.then_some(()).ok_or_else(|| format!("no node is called {node}"))
    }

    fn avoids_of(&self, group: &Name, node: Option<&Name>) -> Vec<Key> {
        let keys = self.register.entries.keys().filter(|key| match key {
            Key::Avoid(g, n) => g == group && node.is_none_or(|node| node == n),
            _ => false,
        });
        keys.cloned().collect()
    }

    /// Takes away those of the keys that are there.
    fn delete(&self, keys: Vec<Key>) -> Transaction {
        let there = keys.into_iter().filter(|key| self.register.entries.contains_key(key));
        Transaction { conditions: Vec::new(), writes: there.map(Write::Delete).collect() }
    }
}

fn put(key: Key, value: Value) -> Transaction {
    Transaction { conditions: Vec::new(), writes: vec![Write::Put(key, value)] }
}
