//! Health: what is asked of services that are ready, and whether one that does not answer hangs or starves.
//!
//! * [`watch`]: the watch over one generation, a pure state machine: misses, grace, suspension.
//! * [`schedule`]: one ordered set of moments for all of them, and the spread of their phases.
//! * [`starved`]: readings of pressure in, verdict out.
//!
//! The kernel keeps the [`Ward`] and looks after it at the end of each turn: its next moment is one more input of the
//! kernel's one alarm, so a thousand services cost no task, no timer and no wake-up but those of their checks. A check
//! that is open is a task for as long as it lasts. The verdict is one event to the engine, which decides.
//!
//! **Who relies on whom** is the engine's answer (`relies_on`): of its siblings and those of the supervisors above it,
//! by dependencies those it is `after`, transitively; by list, under `rest_for_one` and `one_for_all`, those started
//! before it. As long as anything at or below one of these is not up (down, starting, stopping, backing off, parked,
//! stopped by a person), the service is not asked, and its watchdog is not counted.

mod schedule;
mod starved;
pub(crate) mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use woodward_engine::{Engine, Gen, PathId, Time};

use super::inbox::Input;
use super::table::WorkerRef;
use super::view::{Failure, Pulse};
use super::worker::{Said, Seat, ask_once};
use crate::os::clock;
use crate::record::fact;
use crate::record::words::rfc3339;
use crate::tree::{Check, Health};
use schedule::Schedule;
use watch::{Moment, Todo, Watch};

/// A moment that is heard of later than this was missed by woodward, not by the service: ten times the longest that a
/// task waits on a processor shared by a hundred.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// What a service says of its own liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// `WATCHDOG=1`.
    Alive,
    /// `WATCHDOG=trigger`.
    Trigger,
    /// `WATCHDOG_USEC=`.
    Every(Duration),
}

/// What all watches share.
#[derive(Default)]
pub(super) struct Ward {
    schedule: Schedule,
    /// Paths that are not up.
    down: HashSet<PathId>,
    /// Paths that miss answers.
    doubtful: HashSet<PathId>,
    begun: u32,
}

/// One generation that is watched.
pub(super) struct Watched {
    watch: Watch,
    path: PathId,
    /// Where its `health` stands; another plan may have another one.
    plan: WorkerRef,
    asking: Option<AbortHandle>,
    /// What it waited for when it was suspended.
    waited_for: String,
    pub(super) pulse: Pulse,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

/// What comes of a look at one that is watched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A fact: its kind and its text.
    Fact(&'static str, String),
    /// It hangs, because of this.
    Sick(String),
}

impl Ward {
    /// When something is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.schedule.first()
    }

    /// A path is up, or not.
    pub(super) fn note(&mut self, path: PathId, up: bool) {
        if up {
            self.down.remove(&path)
        } else {
            self.down.insert(path)
        };
    }

    /// Begins to watch a generation that is ready, as its plan says now.
    pub(super) fn begin(
        &mut self,
        generation: Gen,
        path: PathId,
        plan: &WorkerRef,
        now: Time,
    ) -> Option<Box<Watched>> {
        let watch = Watch::new(plan.health.as_ref()?, self.begun, now);
        self.begun = self.begun.wrapping_add(1);
        self.schedule.set(generation, None, Some(watch.next()));
        let (plan, asking, waited_for, pulse) = (plan.clone(), None, String::new(), Pulse::default());
        Some(Box::new(Watched { watch, path, plan, asking, waited_for, pulse }))
    }

    /// It is not watched any more.
    pub(super) fn end(&mut self, generation: Gen, watched: &Watched) {
        self.schedule.set(generation, Some(watched.watch.next()), None);
        self.doubtful.remove(&watched.path);
    }

    /// A generation whose moment has come, and whether that is heard of too late.
    pub(super) fn due(&mut self, now: Time) -> Option<(Gen, bool)> {
        let (at, generation) = self.schedule.due(now)?;
        Some((generation, now.since(at) > LATE))
    }

    /// Its moment has come and was taken from the schedule.
    pub(super) fn look(
        &mut self,
        engine: &Engine,
        seat: &Arc<Seat>,
        watched: &mut Watched,
        late: bool,
    ) -> Vec<Outcome> {
        if seat.pid().is_none() {
            watched.watch.skip(clock::now());
            self.schedule.set(seat.generation, None, Some(watched.watch.next()));
            return Vec::new();
        }
        self.change(engine, seat, watched, None, late, |watch, moment| watch.due(moment))
    }

    /// A question was answered.
    pub(super) fn answered(
        &mut self,
        engine: &Engine,
        seat: &Arc<Seat>,
        watched: &mut Watched,
        (n, answer): (u32, Result<(), String>),
    ) -> Vec<Outcome> {
        let at = Some(watched.watch.next());
        self.change(engine, seat, watched, at, false, |watch, moment| watch.answered(n, answer, moment))
    }

    /// The service speaks for itself.
    pub(super) fn spoke(
        &mut self,
        engine: &Engine,
        seat: &Arc<Seat>,
        watched: &mut Watched,
        life: Life,
    ) -> Vec<Outcome> {
        let at = Some(watched.watch.next());
        match life {
            Life::Alive => self.change(engine, seat, watched, at, false, |watch, moment| watch.alive(moment)),
            Life::Every(time) => self
                .change(engine, seat, watched, at, false, |watch, moment| watch.watchdog_every(time, moment)),
            Life::Trigger => {
                let why = "it said WATCHDOG=trigger".to_owned();
                watched.missed(&why);
                vec![Outcome::Sick(why)]
            }
        }
    }

    /// One step of a watch, its moment in the schedule being `at`.
    fn change(
        &mut self,
        engine: &Engine,
        seat: &Arc<Seat>,
        watched: &mut Watched,
        at: Option<Time>,
        late: bool,
        step: impl FnOnce(&mut Watch, &Moment<'_>) -> Vec<Todo>,
    ) -> Vec<Outcome> {
        let down = relied_on(engine, watched.path, &self.down);
        let moment = Moment {
            now: clock::now(),
            down: down.is_some(),
            doubt: relied_on(engine, watched.path, &self.doubtful).is_some(),
            late,
            pressure: &|| seat.pressure(),
        };
        let todo = step(&mut watched.watch, &moment);
        self.schedule.set(seat.generation, at, Some(watched.watch.next()));
        if watched.watch.is_doubtful() {
            self.doubtful.insert(watched.path);
        } else {
            self.doubtful.remove(&watched.path);
        }
        let plan = watched.plan.clone();
        let Some(health) = &plan.health else { return Vec::new() };
        let mut outcomes = Vec::new();
        for todo in todo {
            match todo {
                Todo::Ask(n) => watched.asking = Some(ask(seat, health, n)),
                Todo::Abandon => {
                    if let Some(asking) = watched.asking.take() {
                        asking.abort();
                    }
                }
                Todo::Good => watched.good(),
                Todo::Missed(why) => watched.missed(&told(health, &why)),
                Todo::Suspended => {
                    let whom = down.map(|id| engine.path(id)).unwrap_or_default();
                    watched.pulse.change(|health| health.waits_for = Some(whom.clone()));
                    let text = format!("health is not asked while {whom} is not up");
                    watched.waited_for = whom;
                    outcomes.push(Outcome::Fact("suspended", text));
                }
                Todo::Resumed => {
                    watched.pulse.change(|health| health.waits_for = None);
                    let text = format!("health is asked again: {} is up", watched.waited_for);
                    outcomes.push(Outcome::Fact("resumed", text));
                }
                Todo::Starved(figures) => {
                    watched.pulse.change(|health| health.starved = Some(figures.clone()));
                    let text = format!("{}; starved, one grace period: {figures}", watched.pulse.why());
                    outcomes.push(Outcome::Fact("starved", text));
                }
                Todo::Sick => {
                    let (why, times) = (watched.pulse.why(), health.misses);
                    let many = !matches!(health.check, Check::Watchdog(_)) && times > 1;
                    let times = if many { format!(", {times} times in a row") } else { String::new() };
                    let grace = watched.pulse.now().starved;
                    let grace = grace.map(|figures| format!("; it has had its grace period: {figures}"));
                    outcomes.push(Outcome::Sick(format!("{why}{times}{}", grace.unwrap_or_default())));
                }
            }
        }
        outcomes
    }
}

impl Watched {
    /// Whether it is watched as this plan says.
    pub(super) fn is_by(&self, plan: &WorkerRef) -> bool {
        self.plan.health == plan.health
    }

    fn good(&mut self) {
        self.pulse.change(|health| {
            health.good = health.good.saturating_add(1);
            health.asked = health.asked.saturating_add(1);
            health.starved = None;
        });
    }

    fn missed(&mut self, why: &str) {
        self.pulse.change(|health| {
            health.asked = health.asked.saturating_add(1);
            health.last_failure = Some(Failure { at: rfc3339(clock::wall()), text: why.to_owned() });
        });
    }
}

/// The first of `which` that stands at or below something `path` relies on.
fn relied_on(engine: &Engine, path: PathId, which: &HashSet<PathId>) -> Option<PathId> {
    if which.is_empty() {
        return None;
    }
    let relied = engine.relies_on(path);
    if relied.is_empty() {
        return None;
    }
    let mut found: Vec<PathId> = which
        .iter()
        .copied()
        .filter(|&id| {
            let above = std::iter::successors(Some(id), |&id| engine.row(id).and_then(|row| row.parent));
            above.into_iter().any(|id| relied.contains(&id))
        })
        .collect();
    found.sort_unstable();
    found.first().copied()
}

/// Why a check failed, with what was asked: `tcp 127.0.0.1:3201: connection refused`.
pub(crate) fn told(health: &Health, why: &str) -> String {
    let what = match &health.check {
        Check::Probe(probe) => fact::probe(probe),
        Check::Fresh { .. } | Check::Watchdog(_) => return why.to_owned(),
    };
    let target = what.split_once(' ').map_or(&*what, |(_, target)| target);
    let rest = why.strip_prefix(target).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why);
    format!("{what}: {rest}")
}

/// Asks once; the answer comes to the kernel.
fn ask(seat: &Arc<Seat>, health: &Health, n: u32) -> AbortHandle {
    let (seat, check) = (seat.clone(), health.check.clone());
    let task = tokio::spawn(async move {
        let answer = match &check {
            Check::Probe(probe) => ask_once(&seat, probe).await.map_err(|why| why.0),
            Check::Fresh { path, max_age } => {
                super::readiness::fresh(path, *max_age).await.map_err(|why| why.0)
            }
            Check::Watchdog(_) => return,
        };
        let said = Said::Answered(n, answer);
        seat.house.kernel.post(Input::Said { generation: seat.generation, said });
    });
    task.abort_handle()
}
