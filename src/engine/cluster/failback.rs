//! Back to a better node, when that one has earned it.
//!
//! The owner asks it of the first able node that stands before its own in the group's list: its beats have come without a
//! gap for `steady`, the group is up here and nothing of it was restarted for `quiet`, the last failback of it that was seen
//! is longer ago than `flap`, and, if the group has one, the probe succeeds there. For that the owner writes
//! `group/G/probe`, the better node sees its name in it, runs the probe and writes the answer beside it. Then the group goes
//! over like any other; if it does not come up there, it returns and that node is avoided for a while.
//!
//! What a person has moved stays where it was moved to, and a group that is to be with another waits for that one to go.

use super::group::{Earned, Failback};
use super::groups::{Here, Then};
use super::machine::Cluster;
use super::place::are_with;
use super::register::{Probe, Why};
use super::{Effect, Epoch, Fact, Key, Name, Value};
use crate::time::Time;
use std::time::Duration;

/// An answer of a better node counts for so long, or for `steady` if that is longer.
const FRESH: Duration = Duration::from_secs(60);

/// Whether a group may go back now.
enum Earning {
    /// Yes.
    Done,
    /// No, for this reason; looked at again then, if nothing happens before.
    Waits(String, Option<Time>),
}

impl Cluster {
    /// Lets a group of this node go back, or says what that waits for.
    pub(super) fn earn_failback(&mut self, i: usize, epoch: Epoch, fx: &mut Vec<Effect>) {
        let up = matches!(self.parts[i].here, Here::Active { .. });
        let Some(to) = self.better_node(i, epoch).filter(|_| up) else {
            self.parts[i].waits = None;
            return;
        };
        match self.earning(i, epoch, &to) {
            Earning::Done => {
                self.parts[i].waits = None;
                self.stop_group(i, Then { to: Some(to), ..Then::because(Why::Failback) }, fx);
            }
            Earning::Waits(why, at) => {
                if let Some(at) = at {
                    self.wake_at(at);
                }
                if self.parts[i].waits.as_ref() != Some(&why) {
                    self.parts[i].waits = Some(why.clone());
                    let group = self.config.groups[i].name.clone();
                    fx.push(Effect::Fact(Fact::FailbackWaits { group, to, why }));
                }
            }
        }
    }

    /// The first able node before this one, if the group would go back to it at all.
    fn better_node(&self, i: usize, epoch: Epoch) -> Option<Name> {
        let group = &self.config.groups[i];
        if group.failback == Failback::Never {
            return None;
        }
        let (_, owner) = self.register.owner(&group.name).filter(|(own, _)| *own == epoch)?;
        if matches!(owner.why, Why::Moved(_)) || self.register.maintenance().is_some() {
            return None;
        }
        let own = group.nodes.iter().position(|node| *node == self.config.me)?;
        if own == 0 {
            return None;
        }
        let board = self.board();
        let better = group.nodes[..own].iter().find(|node| board.obstacles(group, node).is_empty())?;
        // Those that stand before it lead; it follows.
        let mut leaders = self.config.groups[..i].iter().filter(|other| are_with(group, other));
        leaders
            .all(|leader| board.node_of(&leader.name).is_none_or(|node| node == better))
            .then(|| better.clone())
    }

    fn earning(&mut self, i: usize, epoch: Epoch, to: &Name) -> Earning {
        let now = self.now;
        let Failback::Earned(earned) = self.config.groups[i].failback.clone() else {
            return Earning::Waits("a person moves it".into(), None);
        };
        let Here::Active { quiet, .. } = self.parts[i].here else {
            return Earning::Waits(String::new(), None);
        };
        let Some(steady) = self.sights.get(to).map(|seen| seen.steady + earned.steady) else {
            return Earning::Waits(format!("{to} has not been seen to beat"), None);
        };
        if steady > now {
            return Earning::Waits(format!("{to} is to beat steadily"), Some(steady));
        }
        if quiet + earned.quiet > now {
            return Earning::Waits("it is to be quiet here".into(), Some(quiet + earned.quiet));
        }
        if let Some(flap) = self.parts[i].flapped.map(|at| at + earned.flap).filter(|flap| *flap > now) {
            return Earning::Waits("it went back a short while ago".into(), Some(flap));
        }
        if earned.probe { self.probe(i, epoch, to, &earned) } else { Earning::Done }
    }

    /// Whether the better node has answered; else asks it, again after `steady` if it could not.
    fn probe(&mut self, i: usize, epoch: Epoch, to: &Name, earned: &Earned) -> Earning {
        let group = &self.config.groups[i].name;
        let asked = self.register.probe(group).filter(|probe| probe.node == *to && probe.epoch == epoch);
        let again = self.parts[i].asked.map_or(self.now, |at| at + earned.steady);
        let fresh = self.parts[i].asked.is_some_and(|at| self.now < at + earned.steady.max(FRESH));
        match asked.map(|probe| probe.result.clone()) {
            Some(Some(Ok(()))) if fresh => return Earning::Done,
            Some(Some(Err(why))) if again > self.now => {
                return Earning::Waits(format!("{to} could not run it: {why}"), Some(again));
            }
            Some(None) => {}
            Some(Some(_)) | None => self.parts[i].ask = Some(to.clone()),
        }
        Earning::Waits(format!("{to} is trying whether it could run it"), None)
    }

    /// Runs a probe that is asked of this node.
    pub(super) fn run_probes(&mut self, fx: &mut Vec<Effect>) {
        for i in 0..self.parts.len() {
            let group = &self.config.groups[i].name;
            let probe = self
                .register
                .probe(group)
                .filter(|probe| probe.node == self.config.me && probe.result.is_none());
            let asked = probe.map(|probe| probe.epoch);
            let running = self.parts[i].probing.as_ref().map(|(epoch, _)| *epoch);
            if asked == running {
                continue;
            }
            if asked.is_some() {
                fx.push(Effect::Probe { group: group.clone() });
            }
            self.parts[i].probing = asked.map(|epoch| (epoch, None));
        }
    }

    pub(super) fn probed(&mut self, group: &Name, result: Result<(), String>) {
        let Some(i) = self.index(group) else { return };
        if let Some((_, answer @ None)) = &mut self.parts[i].probing {
            *answer = Some(result);
            self.dirty = true;
        }
    }

    /// The answer to be written, with the revision of the question.
    pub(super) fn probe_to_answer(&self, i: usize) -> Option<(u64, Value)> {
        let (epoch, result) = self.parts[i].probing.clone()?;
        let group = &self.config.groups[i].name;
        let probe = self.register.probe(group)?;
        let open = probe.node == self.config.me && probe.epoch == epoch && probe.result.is_none();
        let revision = self.register.revision_of(&Key::Probe(group.clone()));
        (open && result.is_some()).then(|| (revision, Value::Probe(Probe { result, ..probe.clone() })))
    }
}
