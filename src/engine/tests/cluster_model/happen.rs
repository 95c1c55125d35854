//! What follows from what happens.

use super::*;

impl State {
    /// The state after it.
    pub fn after(&self, world: &World, act: &Act, seen: &mut Seen) -> State {
        let mut next = self.clone();
        next.happen(world, act, seen);
        next.judge(world);
        next.settle(world, seen);
        next
    }

    pub(super) fn happen(&mut self, world: &World, act: &Act, seen: &mut Seen) {
        match act {
            Act::Clock => {
                self.now += TICK;
                self.left.change().ticks -= 1;
                let mut some_late = false;
                for n in 0..self.nodes.len() {
                    if self.node(n).woke {
                        self.nodes[n].change().woke = false;
                    }
                    let node = self.node(n);
                    let behind = node.watch.is_some_and(|Revision(at)| self.store.get().after(at).is_some());
                    let pending = node.flights.iter().any(|f| !f.given_up) || node.reading || behind;
                    some_late |= node.listens() && pending;
                }
                if some_late && self.left.get().messages > 0 {
                    self.left.change().messages -= 1;
                }
                // Of what nobody waits for, the oldest is forgotten.
                for n in 0..self.nodes.len() {
                    let oldest = self.clock(n).0 - 6 * TICK;
                    if self.node(n).flights.iter().any(|f| f.sent.0 < oldest) {
                        self.nodes[n].change().flights.retain(|f| f.sent.0 >= oldest);
                    }
                }
            }
            Act::Turn(n) => self.tell(world, *n, Event::Tick, seen),
            Act::Fire(n) => {
                let node = self.nodes[*n].change();
                let term = node.keeper.term.expect("due");
                node.keeper.end(term);
                seen.fired = true;
                self.tell(world, *n, Event::Fired { term }, seen);
            }
            Act::Carry(n, f) => {
                let flight = &self.node(*n).flights[*f];
                let (transaction, given_up) = (flight.transaction.clone(), flight.given_up);
                let answer = self.carry(world, *n, &transaction, seen);
                let flights = &mut self.nodes[*n].change().flights;
                if given_up {
                    flights.remove(*f);
                } else {
                    flights[*f].answer = Some(answer);
                }
            }
            Act::Answer(n, f) => {
                let flight = self.nodes[*n].change().flights.remove(*f);
                let answer = flight.answer.expect("carried out");
                if flight.beat && matches!(answer, Answer::Done(_)) {
                    self.revive(world, *n);
                }
                let newest = self.node(*n).flights.iter().rfind(|other| other.beat && !other.given_up);
                let id = match newest {
                    Some(newest) if flight.beat && world.broken == Broken::FromTheAnswer => newest.id,
                    _ => flight.id,
                };
                self.tell(world, *n, Event::Answered { id, answer }, seen);
            }
            Act::GiveUp(n, f) => {
                let flights = &mut self.nodes[*n].change().flights;
                let id = flights[*f].id;
                flights[*f].given_up = true;
                // A beat that is still on its way may as well be lost.
                let gone = flights[*f].answer.is_some() || flights[*f].beat;
                // One alone is done later than anybody hopes.
                flights.retain(|flight| flight.id == id || !flight.given_up);
                if gone {
                    flights.retain(|flight| flight.id != id);
                }
                self.tell(world, *n, Event::Answered { id, answer: Answer::Unknown }, seen);
            }
            Act::Lose(n, f) => {
                self.nodes[*n].change().flights.remove(*f);
            }
            Act::Read(n) => {
                let store = self.store.get();
                let (revision, mut entries) = (store.register.revision, store.entries());
                let node = self.nodes[*n].change();
                node.reading = false;
                node.watch = Some(Revision(revision));
                world.broken.read(&world.names[*n], &mut entries);
                self.forget();
                self.tell(world, *n, Event::Read { revision, entries }, seen);
            }
            Act::News(n) => {
                let Revision(at) = self.node(*n).watch.expect("it watches");
                let (revision, changes) = self.store.get().after(at).expect("there is something").clone();
                self.nodes[*n].change().watch = Some(Revision(revision));
                self.forget();
                self.tell(world, *n, Event::Changed { revision, changes }, seen);
            }
            Act::Tear(n) => {
                self.left.change().tears -= 1;
                self.nodes[*n].change().watch = None;
                self.forget();
                self.tell(world, *n, Event::Lost, seen);
            }
            Act::Freeze(n) => {
                self.left.change().freezes -= 1;
                self.nodes[*n].change().frozen = true;
            }
            Act::Thaw(n) => {
                let node = self.nodes[*n].change();
                (node.frozen, node.woke) = (false, true);
            }
            Act::Nap(n) => {
                self.left.change().naps -= 1;
                self.nodes[*n].change().naps = true;
            }
            Act::Wake(n) => {
                self.nodes[*n].change().naps = false;
                let inbox = std::mem::take(&mut self.nodes[*n].change().inbox);
                for event in inbox {
                    self.tell(world, *n, event, seen);
                }
            }
            Act::Cut(n) => {
                self.left.change().crashes -= 1;
                let node = self.nodes[*n].change();
                (node.power, node.frozen, node.cluster) = (false, false, None);
                (node.keeper, node.saved) = (Keeper::default(), None);
                node.orphaned();
                self.forget();
            }
            Act::Boot(n) => {
                self.nodes[*n].change().power = true;
                self.born(world, *n, seen);
            }
            Act::Die(n) => {
                self.left.change().deaths -= 1;
                let node = self.nodes[*n].change();
                node.cluster = None;
                node.orphaned();
                self.forget();
            }
            Act::Born(n) => self.born(world, *n, seen),
            Act::Up(n, group) => {
                let run = self.nodes[*n].change().keeper.runs.get_mut(group).expect("starting");
                run.phase = Phase::Up;
                let epoch = run.epoch;
                self.tell(world, *n, Event::Up { group: group.clone(), epoch }, seen);
            }
            Act::Gone(n, group) => self.down(world, *n, group, Down::Asked, seen),
            Act::Fail(n, group) => {
                self.left.change().failures -= 1;
                seen.gave_up = true;
                self.down(world, *n, group, Down::GaveUp("too many restarts".into()), seen);
            }
            Act::Ask(r) => {
                let (n, request) = self.left.change().requests.remove(*r);
                self.tell(world, n, Event::Request { id: ReqId(*r as u64), request }, seen);
            }
        }
    }
}
