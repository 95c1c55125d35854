//! Why a group leaves this node while it could go on: a person moves it, the node is drained or stops, it is not ready in
//! time, it follows another group, a better node has proved itself. It is brought down first, and given on when nothing of
//! it runs. Nothing is brought down for a place that does not exist, unless the node stops.

use super::groups::{Here, LATE, Then};
use super::machine::Cluster;
use super::place::{Board, Placed, Wanted};
use super::register::{Owner, Why};
use super::{Effect, Epoch, Fact, Key, Name};

impl Cluster {
    /// Brings down what is to leave.
    pub(super) fn leave_groups(&mut self, fx: &mut Vec<Effect>) {
        self.count_avoids();
        if !self.may_decide() {
            return;
        }
        for i in 0..self.parts.len() {
            let (Here::Starting { epoch, .. } | Here::Active { epoch, .. }) = self.parts[i].here else {
                continue;
            };
            if let Some(then) = self.reason_to_leave(i, epoch) {
                self.stop_group(i, then, fx);
            } else {
                self.earn_failback(i, epoch, fx);
            }
        }
    }

    fn reason_to_leave(&mut self, i: usize, epoch: Epoch) -> Option<Then> {
        if self.leaving.is_some() {
            return Some(Then::because(Why::Left));
        }
        if !self.config.groups[i].nodes.contains(&self.config.me) {
            return Some(Then::because(Why::Left));
        }
        if let Some(then) = self.wished(i) {
            return Some(then);
        }
        if self.register.maintenance().is_some() {
            return None;
        }
        if let Some(order) = self.register.drained(&self.config.me)
            && self.elsewhere(i, &self.board()).is_some()
        {
            return Some(Then::because(Why::Drained(order.clone())));
        }
        if let Some(then) = self.follows(i, epoch) {
            return Some(then);
        }
        if !self.is_late(i) {
            return None;
        }
        let then = self.gave_up(i, LATE.into());
        Some(match then.why {
            Why::Rollback(_) => then,
            _ => Then { why: Why::Late, ..then },
        })
    }

    /// A node that would take it.
    fn elsewhere(&self, i: usize, board: &Board) -> Option<Name> {
        let wanted = Wanted { except: Some(&self.config.me), ..Wanted::default() };
        match board.place(&self.config.groups[i], wanted) {
            Placed::On(node) => Some(node),
            _ => None,
        }
    }

    fn wished(&self, i: usize) -> Option<Then> {
        let group = &self.config.groups[i];
        let wish = self.register.wish(&group.name)?;
        let board = self.board();
        let to = match &wish.to {
            Some(to) if *to != self.config.me && board.obstacles(group, to).is_empty() => to.clone(),
            Some(_) => return None,
            None => self.elsewhere(i, &board)?,
        };
        Some(Then { to: Some(to), ..Then::because(Why::Moved(wish.order.clone())) })
    }

    /// A wish that came true otherwise, or cannot any more, is not kept for a day when it could.
    pub(super) fn forget_wishes(&mut self, fx: &mut Vec<Effect>) {
        for i in 0..self.parts.len() {
            let (Here::Starting { .. } | Here::Active { .. }) = self.parts[i].here else {
                self.parts[i].forget = None;
                continue;
            };
            let group = &self.config.groups[i].name;
            let Some(wish) = self.register.wish(group).filter(|_| self.may_decide()) else {
                self.parts[i].forget = None;
                continue;
            };
            let revision = self.register.revision_of(&Key::Move(group.clone()));
            if self.parts[i].forget == Some(revision) {
                continue;
            }
            let board = self.board();
            let rules = &self.config.groups[i];
            let why = match &wish.to {
                Some(to) if *to == self.config.me => Some(format!("it is on {to} already")),
                Some(to) => board.obstacle(rules, to).map(|obstacle| format!("{to}: {obstacle}")),
                None => {
                    let mut others = rules.nodes.iter().filter(|node| **node != self.config.me);
                    let none = others.all(|node| board.obstacle(rules, node).is_some());
                    none.then(|| "no other node can run it".into())
                }
            };
            // One that may yet be seen to beat is waited for.
            let Some(why) = why else { continue };
            fx.push(Effect::Fact(Fact::NotMoved { group: group.clone(), why }));
            self.parts[i].forget = Some(revision);
        }
    }

    /// A group that it is to be with, and that stands before it, was given to another node later than it came here.
    fn follows(&self, i: usize, epoch: Epoch) -> Option<Then> {
        let group = &self.config.groups[i];
        if group.with.is_empty() {
            return None;
        }
        let board = self.board();
        self.config.groups[..i].iter().filter(|leader| group.with.contains(&leader.name)).find_map(|leader| {
            let (since, owner) = self.register.owner(&leader.name)?;
            let Owner { node: Some(node), .. } = owner else { return None };
            let follows = since > epoch && *node != self.config.me && board.obstacles(group, node).is_empty();
            follows
                .then(|| Then { to: Some(node.clone()), ..Then::because(Why::Follows(leader.name.clone())) })
        })
    }

    fn is_late(&mut self, i: usize) -> bool {
        let (Here::Starting { since, .. }, Some(within)) =
            (&self.parts[i].here, self.config.groups[i].start_within)
        else {
            return false;
        };
        let at = *since + within;
        if at > self.now {
            self.wake_at(at);
        }
        at <= self.now
    }
}
