//! What would happen if nodes died, by the same placement that is used when they do.

use super::place::{Board, Placed, Presence, Wanted};
use super::register::Why;
use super::{Fencing, Group, Name, Sight, View};
use std::collections::BTreeMap;

/// What would become of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Foreseen {
    /// Which.
    pub group: Name,
    /// Where it is.
    pub from: Name,
    /// Where it would go; else of each node why not.
    pub to: Result<Name, String>,
    /// Its place in the order in which groups start there, from 1.
    pub order: usize,
    /// Milliseconds from the death of the node until it is up elsewhere: what is waited for the node, and what its last start
    /// took; `None`: its start was never measured, or it waits for fencing or for a node.
    pub predicted: Option<u64>,
}

impl View {
    fn board(&self) -> Board<'_> {
        let mut presence: BTreeMap<Name, Presence> = self
            .seen
            .iter()
            .map(|(node, sight)| {
                let presence = match sight {
                    Sight::Absent => Presence::Absent,
                    Sight::Fresh { .. } => Presence::Alive,
                    Sight::Silent { .. } => Presence::Silent,
                    Sight::Fenced => Presence::Fenced,
                };
                (node.clone(), presence)
            })
            .collect();
        let own = if self.term.is_some() { Presence::Alive } else { Presence::Absent };
        presence.insert(self.me.clone(), own);
        Board::new(&self.register, &self.groups, presence)
    }

    /// What would become of the groups whose trees this node has if these nodes died now, in the order of starting.
    pub fn foresee(&self, dead: &[Name]) -> Vec<Foreseen> {
        let mut board = self.board();
        for node in dead {
            board.presence.insert(node.clone(), Presence::Silent);
        }
        let mut started: BTreeMap<Name, usize> = BTreeMap::new();
        let mut foreseen = Vec::new();
        for group in &self.groups {
            let Some(from) = self.register.owner(&group.name).and_then(|(_, owner)| owner.node.clone())
            else {
                continue;
            };
            if !dead.contains(&from) {
                continue;
            }
            let to = match board.place(group, Wanted::default()) {
                _ if self.register.maintenance().is_some() => {
                    Err("maintenance: nothing is taken over".into())
                }
                Placed::On(node) => Ok(node),
                Placed::WaitsFor(node) => Err(format!("{node} has not been seen to beat yet")),
                Placed::Nobody(reasons) => Err(reasons),
            };
            board.give(&group.name, to.as_ref().ok().cloned());
            let order = to.as_ref().map_or(0, |node| {
                let order = started.entry(node.clone()).or_default();
                *order += 1;
                *order
            });
            let predicted = to.as_ref().ok().and_then(|_| self.predict(group, &from));
            foreseen.push(Foreseen { group: group.name.clone(), from, to, order, predicted });
        }
        foreseen
    }

    fn predict(&self, group: &Group, from: &Name) -> Option<u64> {
        if group.fencing != Fencing::None {
            return None;
        }
        let took = self.register.state(&group.name)?.start_took?;
        let wait = self.register.member(from)?.timing.wait.as_millis() as u64;
        Some(wait + took)
    }

    /// Why a group does not run on a node; empty: it does, or it could. Each a clause whose subject is the node.
    pub fn why_not(&self, group: &Name, node: &Name) -> Vec<String> {
        let Some(rules) = self.groups.iter().find(|g| g.name == *group) else {
            return vec![format!("this node does not have the tree of {group}")];
        };
        let board = self.board();
        if board.node_of(group) == Some(node) && board.presence(node) == Presence::Alive {
            return Vec::new();
        }
        let mut reasons: Vec<String> =
            board.obstacles(rules, node).iter().map(|obstacle| obstacle.to_string()).collect();
        if let Some((_, owner)) = self.register.owner(group)
            && owner.node.is_none()
            && let Why::Stopped(why) = &owner.why
        {
            reasons.push(format!("may not: {why}"));
        }
        reasons
    }
}
