//! Daemons and keepers: they hear, and do what the machine asks for.

use super::*;

impl State {
    /// A broken keeper: whenever an answer comes, it lets run what runs for another hold.
    pub(super) fn revive(&mut self, world: &World, n: usize) {
        let deadline = self.clock(n) + TIMING.hold;
        if world.broken == Broken::AnswerRevives {
            self.nodes[n].change().keeper.deadline = Some(deadline);
        }
    }

    pub(super) fn down(&mut self, world: &World, n: usize, group: &Name, how: Down, seen: &mut Seen) {
        let run = self.nodes[n].change().keeper.runs.remove(group).expect("it runs");
        self.tell(world, n, Event::Down { group: group.clone(), epoch: run.epoch, how }, seen);
    }

    /// A daemon begins: where another left off if the keeper still holds its term, else anew.
    pub(super) fn born(&mut self, world: &World, n: usize, seen: &mut Seen) {
        let now = self.clock(n);
        let config = Config {
            me: world.names[n].clone(),
            timing: world.broken.timing(TIMING),
            groups: world.groups.clone(),
            after: self.node(n).keeper.greatest,
        };
        let node = self.nodes[n].change();
        node.reading = false;
        node.watch = None;
        let found = (node.keeper.term, node.keeper.deadline);
        let cluster = match (node.saved.take(), found) {
            (Some(mut saved), (Some(term), Some(deadline))) if saved.term == term && now < deadline => {
                saved.deadline = deadline;
                seen.kept |= !saved.groups.is_empty();
                Cluster::resume(config, saved, now)
            }
            _ => Cluster::new(config, now),
        };
        node.cluster = Some(cluster);
        self.tell(world, n, Event::Tick, seen);
    }

    /// What no node can be told any more is forgotten.
    pub(super) fn forget(&mut self) {
        let needed = self.nodes.iter().filter_map(|node| node.get().watch.map(|Revision(at)| at)).min();
        let needed = needed.unwrap_or(self.store.get().register.revision);
        if self.store.get().past.first().is_some_and(|(revision, _)| *revision <= needed) {
            self.store.change().forget(needed);
        }
    }

    /// Lets a daemon hear something, and does what it asks for.
    pub(super) fn tell(&mut self, world: &World, n: usize, event: Event, seen: &mut Seen) {
        let now = self.clock(n);
        let node = self.nodes[n].change();
        if node.cluster.is_none() || !node.power {
            return;
        }
        if node.naps || node.frozen {
            node.inbox.push(event);
            return;
        }
        let event = world.broken.event(event);
        let mut effects = Vec::new();
        let cluster = node.cluster.as_mut().expect("looked at");
        cluster.handle(now, 0, event, &mut effects);
        node.saved = cluster.saved();
        for effect in effects {
            // The machine has a deadline of its own, too; here it is to be the keeper's alone.
            if world.broken == Broken::AnswerRevives && matches!(effect, Effect::End { .. }) {
                continue;
            }
            let effect = world.broken.effect(effect);
            self.obey(world, n, effect, seen);
        }
    }

    pub(super) fn obey(&mut self, world: &World, n: usize, effect: Effect, seen: &mut Seen) {
        let now = self.clock(n);
        let node = self.nodes[n].change();
        match effect {
            Effect::Read => (node.reading, node.watch) = (true, None),
            Effect::Commit { id, transaction, beat } => {
                // Of beats that were not carried out the newest is looked at, and two answers: the older ones are lost.
                let older = |flight: &&Flight| beat && flight.beat;
                let asked =
                    node.flights.iter().filter(older).filter(|flight| flight.answer.is_none()).map(|f| f.id);
                let answers =
                    node.flights.iter().filter(older).filter(|flight| flight.answer.is_some()).map(|f| f.id);
                let lost: Vec<u64> = asked.chain(answers.rev().skip(1)).collect();
                let untold =
                    node.flights.iter().filter(|f| lost.contains(&f.id) && !f.given_up).map(|f| f.id);
                let untold: Vec<u64> = untold.collect();
                node.flights.retain(|flight| !lost.contains(&flight.id));
                node.flights.push(Flight { id, transaction, sent: now, answer: None, given_up: false, beat });
                for id in untold {
                    self.tell(world, n, Event::Answered { id, answer: Answer::Unknown }, seen);
                }
            }
            Effect::Begin { term } => {
                let begun = node.keeper.begin(term, world.broken.timing(TIMING).hold);
                self.require(begun, || format!("{} begins term {term:?} again", world.names[n]));
            }
            Effect::Arm { term, number, deadline } => {
                if world.broken.arm(&mut node.keeper, term, deadline, now, &TIMING) {
                    self.tell(world, n, Event::Armed { number }, seen);
                }
            }
            Effect::End { term } => {
                node.keeper.end(term);
                self.tell(world, n, Event::Fired { term }, seen);
            }
            Effect::Start { group, epoch, term } => self.start(world, n, &group, epoch, term),
            Effect::Keep { group, epoch } => match node.keeper.runs.get_mut(&group) {
                Some(run) => {
                    run.epoch = epoch;
                    if run.phase == Phase::Up {
                        self.tell(world, n, Event::Up { group, epoch }, seen);
                    }
                }
                None => {
                    let how = Down::GaveUp("found dead".into());
                    self.tell(world, n, Event::Down { group, epoch, how }, seen);
                }
            },
            Effect::Stop { group, epoch } => {
                match node.keeper.runs.get_mut(&group) {
                    Some(run) if run.epoch == epoch => run.phase = Phase::Stopping,
                    _ => {}
                }
                if !node.keeper.runs.contains_key(&group) || world.broken == Broken::HastyHandover {
                    self.tell(world, n, Event::Down { group, epoch, how: Down::Asked }, seen);
                }
            }
            Effect::Probe { group } => self.tell(world, n, Event::Probed { group, result: Ok(()) }, seen),
            Effect::Fence { node, .. } => self.tell(world, n, Event::Fenced { node, result: Ok(()) }, seen),
            Effect::Fact(fact) => {
                if let Fact::Given { why: Why::Broken(text), .. } = fact {
                    self.require(!text.is_empty(), || "I7: broken without a word".into());
                }
            }
            Effect::Reply { .. } | Effect::Left => {}
        }
    }

    /// A group is brought up: by its owner, with its token, bound to a deadline that stands.
    pub(super) fn start(
        &mut self,
        world: &World,
        n: usize,
        group: &Name,
        epoch: woodward_engine::cluster::Epoch,
        term: woodward_engine::cluster::Term,
    ) {
        let (now, me) = (self.clock(n), &world.names[n]);
        let node = self.nodes[n].change();
        let waking = node.woke && node.keeper.due(now);
        let double = node.keeper.runs.contains_key(group);
        let bound = world.broken.bind(&mut node.keeper, group, epoch, term, now);
        self.require(!double, || format!("I1: {me} starts {group} over what runs of it"));
        let owner = self.store.get().register.owner(group).map(|(epoch, owner)| (epoch, owner.node.clone()));
        let rightful = owner.as_ref().is_some_and(|(at, node)| *at == epoch && node.as_ref() == Some(me));
        self.require(rightful || waking || !bound, || {
            format!("I3: {me} starts {group} with {epoch:?}, and the register says {owner:?}")
        });
    }
}
