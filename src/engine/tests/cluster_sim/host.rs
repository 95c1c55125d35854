//! A host: its power, its daemon, which carries out what the machine asks for, and its keeper.

use super::words::{is_of_beats, short, short_effect};
use super::{MS, Next, Order, Progress, World};
use crate::cluster_world::keeper::{Keeper, Phase};
use woodward_engine::cluster::{Cluster, Config, Down, Effect, Event, Name, Term};

impl World {
    /// The power is cut.
    pub fn cut(&mut self, n: usize) {
        if self.hosts[n].power {
            self.keeper_dies(n);
            self.hosts[n].power = false;
            self.hosts[n].greatest = Term::default();
            self.hosts[n].held.clear();
        }
    }

    /// The host boots.
    pub fn boot(&mut self, n: usize) {
        if !self.hosts[n].power {
            self.hosts[n].power = true;
            self.revive(n);
        }
    }

    pub(super) fn keeper_dies(&mut self, n: usize) {
        self.dies(n);
        let host = &mut self.hosts[n];
        host.keeper = Keeper::default();
        host.keeper_life += 1;
        host.saved = None;
    }

    pub(super) fn dies(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        host.daemon = None;
        host.life += 1;
        host.open.clear();
        (host.watch, host.news_under_way, host.waits) = (None, false, None);
        let life = host.life;
        self.judge.died(n, life);
    }

    /// A daemon that has left is started anew.
    pub fn begin_again(&mut self, n: usize) {
        self.hosts[n].left = false;
        self.revive(n);
    }

    pub(super) fn revive(&mut self, n: usize) {
        let life = self.hosts[n].life;
        if self.hosts[n].power && self.hosts[n].daemon.is_none() && !self.hosts[n].left {
            self.soon(200 * MS, Next::Born(n, life));
        }
    }

    /// What a node is told of itself.
    pub fn config(&self, n: usize) -> Config {
        let me = self.name(n);
        let groups = self.plan.groups.iter().filter(|group| group.nodes.contains(&me)).cloned().collect();
        Config { me, timing: self.plan.timing, groups, after: self.hosts[n].greatest }
    }

    pub(super) fn born(&mut self, n: usize) {
        if !self.hosts[n].power {
            return;
        }
        let (config, now) = (self.config(n), self.clock(n));
        let host = &mut self.hosts[n];
        let found = (host.keeper.term, host.keeper.deadline);
        let mut kept = false;
        let cluster = match (host.saved.take(), found) {
            (Some(mut saved), (Some(term), Some(deadline))) if saved.term == term && now < deadline => {
                saved.deadline = deadline;
                kept = true;
                Cluster::resume(config, saved, now)
            }
            _ => Cluster::new(config, now),
        };
        host.daemon = Some(cluster);
        host.left = false;
        host.pong = self.now;
        let life = host.life;
        self.note(|| format!("n{} has a new daemon, {}", n + 1, if kept { "resumed" } else { "anew" }));
        let naps = |fault: &crate::plan::Fault| matches!(fault.what, crate::plan::What::KeeperNap(_));
        if self.plan.faults.iter().any(naps) {
            self.at(self.now + 50 * MS, Next::Ping(n, life));
        }
        self.tell(n, Event::Tick);
    }

    pub(super) fn tell(&mut self, n: usize, event: Event) {
        let (now, wall) = (self.clock(n), self.wall(n));
        if !self.hosts[n].power || self.hosts[n].daemon.is_none() {
            return;
        }
        if !is_of_beats(&event) {
            self.note(|| format!("n{} < {}", n + 1, short(&event)));
        }
        let mut effects = Vec::new();
        let host = &mut self.hosts[n];
        let cluster = host.daemon.as_mut().expect("looked at");
        cluster.handle(now, wall, event, &mut effects);
        host.saved = cluster.saved();
        for effect in effects {
            self.obey(n, effect);
        }
        let due = self.hosts[n].daemon.as_ref().and_then(Cluster::next_deadline);
        if let Some(due) = due {
            let when = self.when(n, due);
            let life = self.hosts[n].life;
            if self.hosts[n].waits.is_none_or(|(at, of)| of != life || at > when || at <= self.now) {
                self.hosts[n].waits = Some((when, life));
                let at = when + self.random.next() % (2 * MS);
                self.at(at, Next::Turn(n, life));
            }
        }
    }

    pub(super) fn obey(&mut self, n: usize, effect: Effect) {
        let (life, keeper_life) = (self.hosts[n].life, self.hosts[n].keeper_life);
        if !matches!(&effect, Effect::Commit { beat: true, .. } | Effect::Arm { .. }) {
            self.note(|| format!("n{} > {}", n + 1, short_effect(&effect)));
        }
        match effect {
            Effect::Read => {
                self.hosts[n].watch = None;
                self.soon(10 * MS, Next::Reading(n, life));
            }
            Effect::Commit { id, transaction, beat } => self.commit(n, id, transaction, beat),
            Effect::Begin { term } => self.soon(2 * MS, Next::Order(n, keeper_life, Order::Begin(term))),
            Effect::Arm { term, number, deadline } => {
                self.soon(2 * MS, Next::Order(n, keeper_life, Order::Arm(term, number, deadline)));
            }
            Effect::End { term } => self.soon(2 * MS, Next::Order(n, keeper_life, Order::End(term))),
            Effect::Start { group, epoch, term } => self.start(n, &group, epoch, term),
            Effect::Keep { group, epoch } => match self.hosts[n].keeper.runs.get_mut(&group) {
                Some(run) => {
                    run.epoch = epoch;
                    match run.phase {
                        Phase::Up => self.soon(5 * MS, Next::Hear(n, life, Event::Up { group, epoch })),
                        _ => {
                            let g = self.number_of(&group);
                            self.soon(500 * MS, Next::Tree(n, keeper_life, g, epoch, Progress::Up));
                        }
                    }
                }
                None => {
                    let how = Down::GaveUp("found dead".into());
                    self.soon(MS, Next::Hear(n, life, Event::Down { group, epoch, how }));
                }
            },
            Effect::Stop { group, epoch } => self.stop(n, &group, epoch),
            Effect::Probe { group } => {
                let g = self.number_of(&group);
                let result =
                    if self.bad.contains(&(g, n)) { Err("it would not start".into()) } else { Ok(()) };
                self.soon(300 * MS, Next::Hear(n, life, Event::Probed { group, result }));
            }
            Effect::Fence { node, .. } => self.soon(800 * MS, Next::Fence { by: n, life, node }),
            Effect::Reply { id, result } => {
                self.judge.answered(id);
                if let Err(why) = result {
                    self.note(|| format!("n{} says: cannot: {why}", n + 1));
                }
            }
            Effect::Left => {
                self.dies(n);
                self.hosts[n].left = self.now < self.plan.heal * MS;
                self.revive(n);
            }
            Effect::Fact(fact) => self.judge.fact(n, &fact),
        }
    }

    pub(super) fn order(&mut self, n: usize, order: Order) {
        let (now, life) = (self.clock(n), self.hosts[n].life);
        let hold = self.plan.timing.hold;
        self.keeper_looks(n);
        let host = &mut self.hosts[n];
        match order {
            Order::Begin(term) => {
                if !host.keeper.begin(term, hold) {
                    self.judge.blame(|| format!("term {term:?} is begun again on n{}", n + 1));
                    return;
                }
                host.greatest = host.greatest.max(term);
            }
            Order::Arm(term, number, deadline) => {
                if host.keeper.arm(term, deadline, now) {
                    let at = self.when(n, deadline);
                    let keeper_life = self.hosts[n].keeper_life;
                    let at = at + self.random.next() % (10 * MS);
                    self.at(at, Next::Look(n, keeper_life));
                    self.soon(2 * MS, Next::Hear(n, life, Event::Armed { number }));
                    self.hosts[n].pong = self.now;
                }
            }
            Order::End(term) => {
                host.keeper.end(term);
                self.soon(2 * MS, Next::Hear(n, life, Event::Fired { term }));
            }
            Order::Ping => self.soon(MS, Next::Pong(n, life)),
        }
    }

    pub(super) fn keeper_looks(&mut self, n: usize) {
        let now = self.clock(n);
        let host = &mut self.hosts[n];
        if host.keeper.due(now) {
            let term = host.keeper.term.expect("due");
            let killed: Vec<Name> = host.keeper.runs.keys().cloned().collect();
            host.keeper.end(term);
            let life = host.life;
            self.note(|| format!("n{}'s keeper kills {killed:?}", n + 1));
            self.soon(2 * MS, Next::Hear(n, life, Event::Fired { term }));
        }
    }

    /// The daemon's watch over its keeper: without an answer it kills by itself.
    pub(super) fn ping(&mut self, n: usize) {
        let (now, life, keeper_life) = (self.clock(n), self.hosts[n].life, self.hosts[n].keeper_life);
        let hold = self.plan.timing.hold.as_micros() as u64;
        let silent = self.now - self.hosts[n].pong;
        let overdue = self.hosts[n].keeper.due(now) && self.hosts[n].keeper_naps > 0;
        if silent > hold * 2 / 3 || overdue {
            if let Some(term) = self.hosts[n].keeper.term {
                self.note(|| format!("n{}'s keeper does not answer; its daemon kills", n + 1));
                self.hosts[n].keeper.end(term);
                self.soon(MS, Next::Hear(n, life, Event::Unguarded));
                self.soon(MS, Next::Hear(n, life, Event::Fired { term }));
            }
            self.hosts[n].pong = self.now;
        }
        self.soon(MS, Next::Order(n, keeper_life, Order::Ping));
        self.at(self.now + 20 * MS, Next::Ping(n, life));
    }
}
