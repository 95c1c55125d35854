//! Trees that start, stop, give up and get stuck; fence agents.

use super::{MS, Next, Progress, World};
use crate::cluster_world::keeper::Phase;
use woodward_engine::cluster::{Down, Epoch, Event, Name, Term};

impl World {
    pub(super) fn start(&mut self, n: usize, group: &Name, epoch: Epoch, term: Term) {
        let (now, life) = (self.clock(n), self.hosts[n].keeper_life);
        if self.hosts[n].keeper.runs.contains_key(group) {
            self.judge.blame(|| format!("I1: {group} is started on n{} over what runs of it", n + 1));
            return;
        }
        if !self.hosts[n].keeper.bind(group, epoch, term, now) {
            // The right to run has ended a moment ago; that is told by itself.
            self.note(|| format!("n{} may not start {group} any more", n + 1));
            return;
        }
        let waking = self.waking(n);
        let register = &self.store.register;
        self.judge.started(register, n, group, epoch, waking);
        let g = self.number_of(group);
        let took = self.plan.takes[g].0 * self.late[g] * MS;
        if self.bad.contains(&(g, n)) {
            let how = Progress::Down(Down::GaveUp("it does not start here".into()));
            self.soon(took + 1, Next::Tree(n, life, g, epoch, how));
        } else {
            let at = self.now + took / 2 + self.random.next() % took.max(1);
            self.at(at, Next::Tree(n, life, g, epoch, Progress::Up));
        }
    }

    pub(super) fn stop(&mut self, n: usize, group: &Name, epoch: Epoch) {
        let (life, keeper_life) = (self.hosts[n].life, self.hosts[n].keeper_life);
        let g = self.number_of(group);
        match self.hosts[n].keeper.runs.get_mut(group) {
            Some(run) => {
                run.phase = Phase::Stopping;
                let took = self.plan.takes[g].1 * MS;
                let at = self.now + took / 2 + self.random.next() % took.max(1);
                self.at(at, Next::Tree(n, keeper_life, g, epoch, Progress::Stopped));
            }
            None => {
                let down = Event::Down { group: group.clone(), epoch, how: Down::Asked };
                self.soon(MS, Next::Hear(n, life, down));
            }
        }
    }

    pub(super) fn tree(&mut self, n: usize, g: usize, epoch: Epoch, progress: Progress) {
        let group = self.plan.groups[g].name.clone();
        let (life, keeper_life) = (self.hosts[n].life, self.hosts[n].keeper_life);
        let stuck = self.stuck[g] > 0;
        let Some(run) = self.hosts[n].keeper.runs.get_mut(&group).filter(|run| run.epoch == epoch) else {
            return;
        };
        match progress {
            Progress::Up if run.phase == Phase::Starting => {
                run.phase = Phase::Up;
                self.soon(2 * MS, Next::Hear(n, life, Event::Up { group, epoch }));
            }
            Progress::Down(how) if run.phase != Phase::Stopping => {
                self.hosts[n].keeper.runs.remove(&group);
                self.soon(2 * MS, Next::Hear(n, life, Event::Down { group, epoch, how }));
            }
            Progress::Stopped if run.phase == Phase::Stopping && stuck => {
                let said = Event::Stuck { group: group.clone(), epoch };
                self.soon(2 * MS, Next::Hear(n, life, said));
                self.at(self.now + 700 * MS, Next::Tree(n, keeper_life, g, epoch, Progress::Stopped));
            }
            Progress::Stopped if run.phase == Phase::Stopping => {
                self.hosts[n].keeper.runs.remove(&group);
                self.soon(2 * MS, Next::Hear(n, life, Event::Down { group, epoch, how: Down::Asked }));
            }
            _ => {}
        }
    }

    pub(super) fn fence(&mut self, by: usize, life: u64, node: &Name) {
        let n = self.plan.nodes.iter().position(|name| name == node).expect("known");
        let works = self.random.chance(if self.now < self.plan.heal * MS { 70 } else { 100 });
        if works {
            self.note(|| format!("{node} is fenced"));
            let off = self.hosts[n].power;
            self.cut(n);
            if off {
                // Power comes back by itself.
                let life = self.hosts[n].life;
                self.hosts[n].power = true;
                let at = self.now + 3000 * MS;
                self.at(at, Next::Born(n, life));
            }
        }
        let result = if works { Ok(()) } else { Err("no answer from the power switch".into()) };
        if self.hosts[by].life == life {
            self.soon(10 * MS, Next::Hear(by, life, Event::Fenced { node: node.clone(), result }));
        }
    }
}
