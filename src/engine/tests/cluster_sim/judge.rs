//! What must never be, looked at after everything that happens; and the account of what did.

use crate::plan::{Plan, What};
use std::collections::BTreeMap;
use std::time::Duration;
use woodward_engine::cluster::register::{Register, Why};
use woodward_engine::cluster::{Epoch, Fact, Group, Key, Name, Request, Transaction, Value, Write};
use woodward_engine::event::ReqId;

/// A group has got another owner.
#[derive(Clone, Debug)]
pub struct Move {
    /// Microseconds.
    pub at: u64,
    pub group: Name,
    pub from: Option<Name>,
    pub to: Option<Name>,
    pub why: Why,
}

/// The account.
pub struct Judge {
    pub wrong: Option<String>,
    /// What has happened, if it is kept.
    pub trace: Option<Vec<(u64, String)>>,
    pub moves: Vec<Move>,
    /// What was seen, for the sake of the whole.
    pub kept_apart: u64,
    nodes: Vec<Name>,
    groups: Vec<Group>,
    /// The greatest token each group was started with, and where.
    started: BTreeMap<Name, (Epoch, usize)>,
    /// Each request: node, life, times answered.
    requests: BTreeMap<ReqId, (usize, u64, u32)>,
    /// A person has said that failures shall be forgotten.
    forgiving: bool,
    /// Something was started.
    pub stirred: bool,
}

impl Judge {
    pub fn new(plan: &Plan) -> Judge {
        let forgiving = |fault: &crate::plan::Fault| {
            matches!(
                &fault.what,
                What::Ask(_, Request::Forgive { .. } | Request::Start { .. } | Request::Move { .. })
            )
        };
        Judge {
            wrong: None,
            trace: None,
            moves: Vec::new(),
            kept_apart: 0,
            nodes: plan.nodes.clone(),
            groups: plan.groups.clone(),
            started: BTreeMap::new(),
            requests: BTreeMap::new(),
            forgiving: plan.faults.iter().any(forgiving),
            stirred: false,
        }
    }

    pub fn note(&mut self, at: u64, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push((at, text()));
        }
    }

    pub fn blame(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            let what = what();
            if let Some(trace) = &mut self.trace {
                let at = trace.last().map_or(0, |(at, _)| *at);
                trace.push((at, format!("!! {what}")));
            }
            self.wrong = Some(what);
        }
    }

    // ---- requests

    pub fn asked(&mut self, id: ReqId, n: usize, life: u64) {
        self.requests.insert(id, (n, life, 0));
    }

    pub fn answered(&mut self, id: ReqId) {
        let times = self.requests.get_mut(&id).map(|(.., times)| {
            *times += 1;
            *times
        });
        if times != Some(1) {
            self.blame(|| format!("request {id:?} is answered {times:?} times"));
        }
    }

    /// Whoever waits for a daemon that died waits no more.
    pub fn died(&mut self, n: usize, life: u64) {
        self.requests.retain(|_, (of, since, _)| *of != n || *since >= life);
    }

    /// Everybody has got an answer.
    pub fn all_answered(&mut self) {
        if let Some(id) = self.requests.iter().find(|(_, (.., times))| *times == 0).map(|(id, _)| *id) {
            self.blame(|| format!("request {id:?} was never answered"));
        }
    }

    // ---- starts

    /// A group is started.
    pub fn started(&mut self, register: &Register, n: usize, group: &Name, epoch: Epoch, waking: bool) {
        let me = self.nodes[n].clone();
        let owner = register.owner(group).map(|(at, owner)| (at, owner.node.clone()));
        if !waking && owner != Some((epoch, Some(me.clone()))) {
            self.blame(|| format!("I3: {me} starts {group} with {epoch:?}, and the register says {owner:?}"));
        }
        let older = |(before, at): &(Epoch, usize)| epoch < *before || (epoch == *before && *at != n);
        if let Some((before, at)) = self.started.get(group).copied().filter(older) {
            let at = self.nodes[at].clone();
            self.blame(|| format!("I2: {group} starts on {me} with {epoch:?} after {before:?} on {at}"));
        }
        self.stirred = true;
        self.started.insert(group.clone(), (epoch, n));
    }

    // ---- the register

    /// A transaction was done; `able` is what runs on each node and can act.
    pub fn changed(
        &mut self,
        at: u64,
        before: &Register,
        transaction: &Transaction,
        n: usize,
        able: &[Vec<Name>],
    ) {
        let me = self.nodes[n].clone();
        for write in &transaction.writes {
            match write {
                Write::Put(Key::Owner(group), Value::Owner(owner)) => {
                    let was = before.owner(group).and_then(|(_, owner)| owner.node.clone());
                    if owner.by != me {
                        self.blame(|| format!("I7: {me} signs the owner of {group} as {}", owner.by));
                    }
                    if was.is_some() && owner.from != was {
                        self.blame(|| format!("I7: {group} comes from {was:?}, written is {:?}", owner.from));
                    }
                    if matches!((&owner.why, &owner.node), (Why::Broken(words), None) if words.is_empty()) {
                        self.blame(|| format!("I7: {group} is broken without a word"));
                    }
                    if let Some(to) = &owner.node {
                        let may = self.groups.iter().any(|g| g.name == *group && g.nodes.contains(to));
                        if !may {
                            self.blame(|| format!("{group} is given to {to}, which is not among its nodes"));
                        }
                    }
                    let runs = was.as_ref().and_then(|was| self.nodes.iter().position(|node| node == was));
                    if was != owner.node && runs.is_some_and(|n| able[n].contains(group)) {
                        self.blame(|| format!("I1: {group} is given away from {was:?} while it runs there"));
                    }
                    if was != owner.node {
                        let (group, to, why) = (group.clone(), owner.node.clone(), owner.why.clone());
                        self.moves.push(Move { at, group, from: was, to, why });
                    }
                }
                Write::Put(Key::Epoch(node), Value::Epoch(member)) => {
                    let earlier = before.member(node).map(|member| member.term);
                    // A node that leaves in order ends its term itself.
                    let leaves = *node == me && member.fenced.as_ref() == Some(&me);
                    if earlier.is_some_and(|e| e > member.term || e == member.term && !leaves) {
                        self.blame(|| {
                            format!("I3: the term of {node} goes from {earlier:?} to {:?}", member.term)
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// What is told must be true.
    pub fn fact(&mut self, n: usize, fact: &Fact) {
        if let Fact::Broken { group, why } = fact
            && why.is_empty()
        {
            self.blame(|| format!("I7: n{} tells that {group} is broken, and not why", n + 1));
        }
    }

    // ---- who is at work

    /// Which nodes have which group at work.
    pub fn at_work(&mut self, at_work: &BTreeMap<Name, Vec<usize>>) {
        for (group, nodes) in at_work {
            if nodes.len() > 1 {
                self.blame(|| {
                    format!("I1: {group} is at work on {:?}", nodes.iter().map(|n| n + 1).collect::<Vec<_>>())
                });
            }
        }
        for g in 0..self.groups.len() {
            for a in 0..self.groups[g].apart.len() {
                let (one, other) = (&self.groups[g].name, &self.groups[g].apart[a]);
                let (Some(mine), Some(theirs)) = (at_work.get(one), at_work.get(other)) else { continue };
                if let Some(n) = mine.iter().find(|n| theirs.contains(n)) {
                    let text = format!("{one} and {other} shall be apart, and are both on n{}", n + 1);
                    self.blame(|| text);
                }
                self.kept_apart += 1;
            }
        }
    }

    // ---- how often

    /// No group comes back to where it gave up before its time, and the whole of the moves is bounded by what has happened.
    pub fn moves_are_bounded(&mut self, faults: usize, seconds: u64) {
        let mut wrong = None;
        if !self.forgiving {
            let gave_up = |m: &&Move| matches!(m.why, Why::GaveUp(_) | Why::Late);
            for (i, first) in self.moves.iter().enumerate().filter(|(_, m)| gave_up(m)) {
                let again =
                    self.moves[i + 1..].iter().filter(|m| m.group == first.group && m.from == first.from);
                let group = self.groups.iter().find(|g| g.name == first.group).expect("known");
                let soonest = group.failure_timeout.mul_f64(0.95);
                if let Some(again) = again.clone().find(gave_up) {
                    let after = Duration::from_micros(again.at - first.at);
                    if after < soonest {
                        wrong = Some(format!(
                            "I8: {} gives up on {:?} again after {after:?}",
                            first.group, first.from
                        ));
                    }
                }
            }
        }
        let each =
            |group: &Group| self.moves.iter().filter(|m| m.group == group.name && m.to.is_some()).count();
        for group in &self.groups {
            let most = 4 + 3 * faults + seconds as usize / 10;
            if each(group) > most {
                wrong = Some(format!(
                    "I8: {} was moved {} times in {seconds} s by {faults} faults",
                    group.name,
                    each(group)
                ));
            }
        }
        if let Some(wrong) = wrong {
            self.blame(|| wrong);
        }
    }
}
