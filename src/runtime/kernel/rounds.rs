//! The kernel's rounds through the ward: at the end of each turn it tells the [`Ward`] who is up, looks after those
//! whose moment has come, records what comes of it, and tells the engine who hangs.
//!
//! [`Ward`]: super::super::health::Ward

use woodward_engine::view::State;
use woodward_engine::{Event, Gen};

use super::super::health::{Life, Outcome};
use super::Kernel;
use crate::os::clock;
use crate::record::fact::FactLine;

impl Kernel {
    /// One round. What it decides is carried out in the next turn.
    pub(super) fn make_rounds(&mut self) {
        self.see_who_is_up();
        let now = clock::now();
        while let Some((generation, late)) = self.ward.due(now) {
            let Kernel { engine, ward, live, .. } = self;
            let Some(live) = live.get_mut(&generation) else { continue };
            let Some(watched) = &mut live.watched else { continue };
            let outcomes = ward.look(engine, &live.seat, watched, late);
            self.take_up(generation, outcomes);
        }
    }

    /// Begins and ends watches with what has changed.
    fn see_who_is_up(&mut self) {
        let Kernel { engine, publisher, table, ward, live, .. } = self;
        for &id in publisher.collect(engine) {
            let Some(row) = engine.row(id) else {
                ward.note(id, true);
                continue;
            };
            ward.note(id, matches!(row.state, State::Up | State::Done));
            let worker = row.key.and_then(|key| table.worker(key));
            let (Some(live), Some(worker)) = (live.get_mut(&row.generation), worker) else { continue };
            let up = row.state == State::Up;
            if let Some(watched) = live.watched.take_if(|watched| !up || !watched.is_by(&worker.plan)) {
                ward.end(row.generation, &watched);
            }
            if up && live.watched.is_none() {
                live.watched = ward.begin(row.generation, id, &worker.plan, clock::now());
            }
        }
    }

    /// A service speaks of its own liveness.
    pub(super) fn hear_life(&mut self, generation: Gen, life: Life) {
        let Kernel { engine, ward, live, .. } = self;
        let Some(live) = live.get_mut(&generation) else { return };
        let Some(watched) = &mut live.watched else { return };
        let outcomes = ward.spoke(engine, &live.seat, watched, life);
        self.take_up(generation, outcomes);
    }

    /// A question was answered.
    pub(super) fn hear_answer(&mut self, generation: Gen, n: u32, answer: Result<(), String>) {
        let Kernel { engine, ward, live, .. } = self;
        let Some(live) = live.get_mut(&generation) else { return };
        let Some(watched) = &mut live.watched else { return };
        let outcomes = ward.answered(engine, &live.seat, watched, (n, answer));
        self.take_up(generation, outcomes);
    }

    fn take_up(&mut self, generation: Gen, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            let Some(live) = self.live.get_mut(&generation) else { return };
            match outcome {
                Outcome::Fact(kind, text) => {
                    let path = &live.seat.child.path;
                    self.record.fact(FactLine::note(clock::wall(), 0, path, generation.0, kind, text));
                }
                Outcome::Sick(why) => {
                    live.sick = Some(why);
                    self.tell(Event::Sick { generation });
                }
            }
        }
    }
}
