//! What goes wrong, carried out.

use super::{MS, Next, Progress, World};
use crate::cluster_world::keeper::Phase;
use crate::plan::What;
use woodward_engine::cluster::{Down, Event};
use woodward_engine::event::ReqId;

impl World {
    pub(super) fn fault(&mut self, f: usize, begins: bool) {
        let what = self.plan.faults[f].what.clone();
        self.note(|| format!("** {what:?} {}", if begins { "begins" } else { "ends" }));
        let count = |n: &mut u32| if begins { *n += 1 } else { *n -= 1 };
        match what {
            What::Freeze(n) => {
                count(&mut self.hosts[n].frozen);
                if !begins && self.hosts[n].frozen == 0 {
                    self.wakes(n);
                }
            }
            What::Nap(n) => {
                count(&mut self.hosts[n].naps);
                if !begins {
                    self.wakes(n);
                }
            }
            What::KeeperNap(n) => {
                count(&mut self.hosts[n].keeper_naps);
                if !begins {
                    self.wakes(n);
                }
            }
            What::Power(n) if begins => self.cut(n),
            What::Power(n) => self.boot(n),
            What::Death(n) if begins => self.dies(n),
            What::Death(n) => self.revive(n),
            What::KeeperDeath(n) if begins => self.keeper_dies(n),
            What::KeeperDeath(n) => self.revive(n),
            What::Deaf(n) => count(&mut self.hosts[n].deaf),
            What::Mute(n) => count(&mut self.hosts[n].mute),
            What::Away(n) => {
                count(&mut self.hosts[n].deaf);
                count(&mut self.hosts[n].mute);
            }
            What::StoreAway => count(&mut self.store_away),
            What::Loss(n, percent) => self.hosts[n].loss = if begins { percent } else { 0 },
            What::Slow(n, ms) => self.hosts[n].slow = if begins { ms } else { 0 },
            What::Tear(n) if begins && self.hosts[n].watch.take().is_some() => {
                let life = self.hosts[n].life;
                self.soon(20 * MS, Next::Hear(n, life, Event::Lost));
            }
            What::Stall(n) => count(&mut self.hosts[n].stalled),
            What::GiveUp(g) if begins => {
                for n in 0..self.hosts.len() {
                    let group = &self.plan.groups[g].name;
                    if let Some(run) =
                        self.hosts[n].keeper.runs.get(group).filter(|r| r.phase != Phase::Stopping)
                    {
                        let (epoch, life) = (run.epoch, self.hosts[n].keeper_life);
                        let how = Progress::Down(Down::GaveUp("too many restarts".into()));
                        self.soon(MS, Next::Tree(n, life, g, epoch, how));
                    }
                }
            }
            What::Bad(g, n) if begins => self.bad.push((g, n)),
            What::Bad(g, n) => self.bad.retain(|bad| *bad != (g, n)),
            What::Late(g, times) => self.late[g] = if begins { times } else { 1 },
            What::Stuck(g) => count(&mut self.stuck[g]),
            What::Restarted(g) if begins => {
                for n in 0..self.hosts.len() {
                    let group = self.plan.groups[g].name.clone();
                    if self.hosts[n].keeper.runs.get(&group).is_some_and(|run| run.phase == Phase::Up) {
                        let life = self.hosts[n].life;
                        self.soon(MS, Next::Hear(n, life, Event::Restarted { group }));
                    }
                }
            }
            What::Wall(n, by) if begins => self.hosts[n].wall += by,
            What::Ask(n, request) if begins => self.ask(n, request),
            _ => {}
        }
    }

    /// A person asks, if there is somebody who listens.
    pub fn ask(&mut self, n: usize, request: woodward_engine::cluster::Request) {
        if self.hosts[n].power && self.hosts[n].daemon.is_some() {
            self.asked += 1;
            let id = ReqId(self.asked);
            let life = self.hosts[n].life;
            self.judge.asked(id, n, life);
            self.soon(MS, Next::Hear(n, life, Event::Request { id, request }));
        }
    }
}
