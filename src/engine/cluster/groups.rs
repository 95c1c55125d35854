//! What of each group is on this node, and the one function that writes it.
//!
//! ```text
//! Nothing ──given to us──► Starting ──up──► Active ──we decide──► Stopping ──down──► Released ──given on──► Nothing
//!                              └───────────────┴── gave up, done, stopped by a person ──┘
//! ```
//!
//! An epoch is run once: what was released under it never starts again before the group was given anew. A group that is
//! given to this node is accepted only at an epoch later than its term and than all it had before, and only while the
//! deadline stands.

use super::machine::Cluster;
use super::register::{State, Why};
use super::term::Life;
use super::{Down, Effect, Epoch, Fact, Fencing, Held, Name};
use crate::time::Time;

/// One group on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub here: Here,
    /// The last epoch it had here in this term.
    pub seen: Epoch,
    /// Since when it is known to need an owner, by this node's own clock.
    pub free: Option<Time>,
    /// The note that it gave up here is taken away then.
    pub forgive: Option<Time>,
    /// When a failback or its rollback was last seen, whoever did it.
    pub flapped: Option<Time>,
    /// What a failback was last said to wait for.
    pub waits: Option<String>,
    /// The better node is to be asked (again) whether it could run it.
    pub ask: Option<Name>,
    /// It was last asked then.
    pub asked: Option<Time>,
    /// A person's wish of that revision cannot be met, and is to be taken away.
    pub forget: Option<u64>,
    /// A probe of another node's group runs here, asked for under that epoch; then its result.
    pub probing: Option<(Epoch, Option<Result<(), String>>)>,
    /// Milliseconds its last start and its last stop took here.
    pub start_took: Option<u64>,
    pub stop_took: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Here {
    /// Nothing of it runs.
    #[default]
    Nothing,
    /// It comes up.
    Starting { epoch: Epoch, since: Time },
    /// It is up, and nothing of it was restarted since `quiet`.
    Active { epoch: Epoch, quiet: Time },
    /// It goes down.
    Stopping { epoch: Epoch, since: Time, then: Then },
    /// It is down, and still ours in the register.
    Released { epoch: Epoch, then: Then },
}

/// What is said of a group that was not up within its `start_within`.
pub(super) const LATE: &str = "it was not ready in time";

/// What shall become of a group that leaves this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Then {
    pub why: Why,
    /// There, if it is able then.
    pub to: Option<Name>,
    /// It failed here: this node is avoided for a while; its words.
    pub failed: Option<String>,
}

impl Then {
    pub fn because(why: Why) -> Then {
        Then { why, to: None, failed: None }
    }

    /// What the daemon before this one had begun.
    fn resumed(why: Why) -> Then {
        let failed = match &why {
            Why::GaveUp(words) | Why::Rollback(words) => Some(words.clone()),
            Why::Late => Some(LATE.into()),
            _ => None,
        };
        Then { failed, ..Then::because(why) }
    }
}

impl Part {
    /// The only way to change what is here.
    fn turn(&mut self, here: Here) {
        self.here = here;
        if let Some(epoch) = self.epoch() {
            self.seen = self.seen.max(epoch);
        }
    }

    /// What it runs under, or has not given away yet.
    pub fn epoch(&self) -> Option<Epoch> {
        match self.here {
            Here::Nothing => None,
            Here::Starting { epoch, .. }
            | Here::Active { epoch, .. }
            | Here::Stopping { epoch, .. }
            | Here::Released { epoch, .. } => Some(epoch),
        }
    }

    /// For the next daemon.
    pub fn held(&self, group: &Name) -> Option<Held> {
        let (epoch, up, stopping) = match &self.here {
            Here::Nothing | Here::Released { .. } => return None,
            Here::Starting { epoch, .. } => (*epoch, false, None),
            Here::Active { epoch, .. } => (*epoch, true, None),
            Here::Stopping { epoch, then, .. } => (*epoch, false, Some(then.why.clone())),
        };
        Some(Held { group: group.clone(), epoch, up, stopping })
    }
}

impl Cluster {
    pub(super) fn resume_groups(&mut self, held: &[Held]) {
        let Life::Member(_) = self.life else { return };
        for held in held {
            let Some(i) = self.index(&held.group) else { continue };
            let (epoch, since) = (held.epoch, self.now);
            self.parts[i].turn(match &held.stopping {
                Some(why) => Here::Stopping { epoch, since, then: Then::resumed(why.clone()) },
                None if held.up => Here::Active { epoch, quiet: since },
                None => Here::Starting { epoch, since },
            });
        }
    }

    /// Says what goes on, to the daemon that has found it running.
    pub(super) fn keep_what_was_found(&self, fx: &mut Vec<Effect>) {
        if self.standing().is_none() {
            return;
        }
        for (group, part) in self.config.groups.iter().zip(&self.parts) {
            let group = group.name.clone();
            match part.here {
                Here::Starting { epoch, .. } | Here::Active { epoch, .. } => {
                    fx.push(Effect::Keep { group, epoch })
                }
                Here::Stopping { epoch, .. } => {
                    fx.push(Effect::Keep { group: group.clone(), epoch });
                    fx.push(Effect::Stop { group, epoch });
                }
                Here::Nothing | Here::Released { .. } => {}
            }
        }
    }

    /// Takes what was given to this node, in the order in which groups start.
    pub(super) fn accept(&mut self, fx: &mut Vec<Effect>) {
        let Some(standing) = self.standing().filter(|standing| standing.armed) else { return };
        if !self.reading.is_known() || self.leaving.is_some() {
            return;
        }
        let (term, oldest) = (standing.term, standing.seen);
        for i in 0..self.parts.len() {
            let Some(epoch) = self.mine(i) else { continue };
            let part = &self.parts[i];
            let new = part.here == Here::Nothing && epoch.0 > oldest && epoch > part.seen;
            if !new || self.is_kept_out(i) {
                continue;
            }
            let part = &mut self.parts[i];
            part.turn(Here::Starting { epoch, since: self.now });
            part.waits = None;
            (part.ask, part.asked) = (None, None);
            let group = self.config.groups[i].name.clone();
            fx.push(Effect::Fact(Fact::Starting { group: group.clone(), epoch }));
            fx.push(Effect::Start { group, epoch, term });
        }
        // Later than all that: remembered for the next daemon.
        let newest = self.parts.iter().map(|part| part.seen.0).max().unwrap_or(0);
        if let Some(standing) = self.standing_mut() {
            standing.accepted = standing.accepted.max(newest);
        }
    }

    /// The epoch under which the register says that a group is this node's.
    pub(super) fn mine(&self, i: usize) -> Option<Epoch> {
        let (epoch, owner) = self.register.owner(&self.config.groups[i].name)?;
        (owner.node.as_ref() == Some(&self.config.me)).then_some(epoch)
    }

    /// In this node's name, but given before its term, or released since: nothing of it runs, and it is given out anew.
    pub(super) fn is_stale(&self, i: usize) -> bool {
        let (Some(standing), Some(epoch)) = (self.standing(), self.mine(i)) else { return false };
        let old = epoch.0 <= standing.seen || epoch <= self.parts[i].seen;
        self.parts[i].here == Here::Nothing && (old || self.leaving.is_some() || self.is_kept_out(i))
    }

    /// Something is here that it must not share a node with: two who decided at once did not know of each other.
    fn is_kept_out(&self, i: usize) -> bool {
        let group = &self.config.groups[i];
        let here = self.config.groups.iter().zip(&self.parts).filter(|(_, part)| part.here != Here::Nothing);
        here.map(|(other, _)| other)
            .any(|other| group.apart.contains(&other.name) || other.apart.contains(&group.name))
    }

    /// Brings a group down, to become what `then` says.
    pub(super) fn stop_group(&mut self, i: usize, then: Then, fx: &mut Vec<Effect>) {
        let (Here::Starting { epoch, .. } | Here::Active { epoch, .. }) = self.parts[i].here else { return };
        self.parts[i].turn(Here::Stopping { epoch, since: self.now, then });
        let group = self.config.groups[i].name.clone();
        fx.push(Effect::Fact(Fact::Stopping { group: group.clone(), epoch }));
        fx.push(Effect::Stop { group, epoch });
        self.dirty = true;
    }

    pub(super) fn up(&mut self, group: &Name, epoch: Epoch, fx: &mut Vec<Effect>) {
        let now = self.now;
        let Some(i) = self.index(group) else { return };
        let Here::Starting { epoch: own, since } = self.parts[i].here else { return };
        if own != epoch {
            return;
        }
        let took = now.since(since).as_millis() as u64;
        self.parts[i].start_took = Some(took);
        self.parts[i].turn(Here::Active { epoch, quiet: now });
        fx.push(Effect::Fact(Fact::Active { group: group.clone(), epoch, took }));
        self.dirty = true;
    }

    pub(super) fn restarted(&mut self, group: &Name) {
        let now = self.now;
        let Some(i) = self.index(group) else { return };
        if let Here::Active { epoch, .. } = self.parts[i].here {
            self.parts[i].turn(Here::Active { epoch, quiet: now });
            self.dirty = true;
        }
    }

    pub(super) fn down(&mut self, group: &Name, epoch: Epoch, how: Down, fx: &mut Vec<Effect>) {
        let Some(i) = self.index(group).filter(|&i| self.parts[i].epoch() == Some(epoch)) else { return };
        let (took, then) = match (&self.parts[i].here, how) {
            (Here::Nothing | Here::Released { .. }, _) => return,
            (Here::Stopping { since, .. }, Down::Stopped) => {
                (Some(*since), Then::because(Why::Stopped("stopped by a person".into())))
            }
            (Here::Stopping { since, then, .. }, _) => (Some(*since), then.clone()),
            (_, Down::GaveUp(why)) => (None, self.gave_up(i, why)),
            (_, Down::Asked) => (None, self.gave_up(i, "it went down and nobody had asked for it".into())),
            (_, Down::Done) => (None, Then::because(Why::Stopped("it is done".into()))),
            (_, Down::Stopped) => (None, Then::because(Why::Stopped("stopped by a person".into()))),
        };
        let took = took.map(|since| self.now.since(since).as_millis() as u64);
        let part = &mut self.parts[i];
        part.stop_took = took.or(part.stop_took);
        part.turn(Here::Released { epoch, then });
        fx.push(Effect::Fact(Fact::Down { group: group.clone(), epoch, took: took.unwrap_or(0) }));
        self.dirty = true;
    }

    /// It has failed here. After a failback it goes back to where it was.
    pub(super) fn gave_up(&self, i: usize, words: String) -> Then {
        let owner = self.register.owner(&self.config.groups[i].name).map(|(_, owner)| owner);
        match owner {
            Some(owner) if owner.why == Why::Failback => {
                Then { why: Why::Rollback(words.clone()), to: owner.from.clone(), failed: Some(words) }
            }
            _ => Then { why: Why::GaveUp(words.clone()), to: None, failed: Some(words) },
        }
    }

    /// Where a node can be fenced, others may go on if it is: the term is ended, and for long enough. Else nobody may start the group while
    /// something of it is left here.
    pub(super) fn stuck(&mut self, group: &Name, epoch: Epoch, fx: &mut Vec<Effect>) {
        let Some(i) = self.index(group).filter(|&i| self.parts[i].epoch() == Some(epoch)) else { return };
        if matches!(self.parts[i].here, Here::Released { .. }) {
            return;
        }
        fx.push(Effect::Fact(Fact::Stuck { group: group.clone(), epoch }));
        if self.config.groups[i].fencing != Fencing::None {
            self.end_term(format!("something of {group} does not end"), fx);
            self.rest();
        }
    }

    /// Compares what runs here with whose it is. What this node runs, nobody else gives away while its term stands: if that
    /// has happened all the same, the term is ended rather than run in doubt.
    pub(super) fn look_at_the_owners(&mut self, fx: &mut Vec<Effect>) {
        for i in 0..self.parts.len() {
            let Some(epoch) = self.parts[i].epoch().filter(|epoch| epoch.0 <= self.register.revision) else {
                continue;
            };
            if self.mine(i) == Some(epoch) {
                continue;
            }
            if matches!(self.parts[i].here, Here::Released { .. }) {
                self.parts[i].turn(Here::Nothing);
                self.dirty = true;
            } else {
                let group = self.config.groups[i].name.clone();
                return self.end_term(format!("the owner of {group} was changed by somebody else"), fx);
            }
        }
    }

    /// The term is over and everything of it was killed.
    pub(super) fn nothing_runs_here(&mut self) {
        for part in &mut self.parts {
            part.turn(Here::Nothing);
            part.seen = Epoch::default();
        }
    }

    /// What others read of a group that is here; `None`: nothing new.
    pub(super) fn state_to_write(&self, i: usize) -> Option<State> {
        use super::register::Phase;
        let part = &self.parts[i];
        let (epoch, phase) = match &part.here {
            Here::Nothing | Here::Released { .. } => return None,
            Here::Starting { epoch, .. } => (*epoch, Phase::Starting),
            Here::Active { epoch, .. } => (*epoch, Phase::Active),
            Here::Stopping { epoch, .. } => (*epoch, Phase::Stopping),
        };
        self.new_state(i, epoch, phase)
    }

    pub(super) fn new_state(&self, i: usize, epoch: Epoch, phase: super::register::Phase) -> Option<State> {
        let before = self.register.state(&self.config.groups[i].name);
        let part = &self.parts[i];
        let start_took = part.start_took.or(before.and_then(|state| state.start_took));
        let stop_took = part.stop_took.or(before.and_then(|state| state.stop_took));
        let state = State { epoch, phase, start_took, stop_took, since: self.wall };
        let same = before.is_some_and(|before| State { since: before.since, ..state.clone() } == *before);
        (!same).then_some(state)
    }
}
