//! How a row of the view is printed, and the one clause that says why it is as it is.

use std::collections::HashMap;
use std::time::Duration;

use woodward_engine::view::{self, Hold};
use woodward_engine::{Engine, Exit, Fact, FailedStart, Reason, Time, What, spec};

use super::Who;
use super::journal::Said;
use super::table::{Account, Table};
use super::view::{Exhausted, Held, Kind, Limit, Pulse, Row, State};
use super::worker::StartError;
use crate::os::clock;
use crate::record::fact::{probe, strategy};
use crate::record::words::{exit, leaf, rfc3339, signal, span};

/// What the kernel knows of a running generation and the engine does not.
#[derive(Default)]
pub(super) struct Running {
    pub(super) pid: Option<i32>,
    pub(super) status: Option<String>,
    pub(super) health: Option<Pulse>,
    pub(super) dropped: u64,
}

/// What is said in a row besides what the engine says, by path.
#[derive(Default)]
pub(super) struct Sayings {
    by_path: HashMap<Box<str>, Saying>,
    /// Whose reason or hand has changed since it was written down.
    changed: Vec<Box<str>>,
}

#[derive(Default)]
struct Saying {
    /// The last change, in one clause.
    reason: Option<String>,
    /// Who holds or stopped it.
    hand: Option<Who>,
    /// How long its next start is delayed.
    delay: Option<Duration>,
    /// Why its last start failed that did.
    error: Option<StartError>,
}

impl Sayings {
    /// Notes what a fact means for the row of `path`. `error`: why a start failed. `who`: who asked for it.
    pub(super) fn note(
        &mut self,
        path: &str,
        fact: &Fact,
        engine: &Engine,
        account: Option<Account>,
        error: Option<&str>,
        who: Option<&Who>,
    ) {
        match fact.what {
            What::Held { .. } | What::StoppedByHand => self.set_hand(path, who.cloned()),
            What::Released | What::StartedByHand => self.set_hand(path, None),
            What::Backoff { until, .. } => self.of(path).delay = Some(until.since(clock::now())),
            _ => {}
        }
        let by = |what: &str| who.map_or(format!("{what} by hand"), |who| format!("{what} by {}", who.by));
        let late = || match error {
            Some(error) => format!("not ready in time: {error}"),
            None => "not ready in time".to_owned(),
        };
        let reason = match fact.what {
            What::Ended { reason: Reason::NotReady, .. } => late(),
            What::Ended { asked: false, .. } if error.is_some() => error.unwrap_or_default().to_owned(),
            What::Ended { exit: Exit::Signal(number), asked: false, .. } => {
                format!("killed by {}", signal(number))
            }
            What::Ended { exit: end, asked: false, .. } => exit(end),
            What::StartFailed { why: FailedStart::Ended(end) } => {
                format!("{} before it was ready", exit(end))
            }
            What::StartFailed { why: FailedStart::TooLate } => late(),
            What::StartFailed { why: FailedStart::Error } => {
                error.unwrap_or("could not be started").to_owned()
            }
            What::StartFailed { why: FailedStart::Child } => "a child of it could not be started".to_owned(),
            What::DraggedAlong { with } => format!("restarted with {}", leaf(&engine.path(with))),
            What::ByApply { .. } => error.unwrap_or("by apply").to_owned(),
            What::Stuck => "killed, but not gone".to_owned(),
            What::Sick => error.map_or("its health check failed".to_owned(), |why| format!("health: {why}")),
            What::StoppedByHand => by("stopped"),
            What::StartedByHand => by("started"),
            What::LimitExceeded { .. } => {
                let Some(account) = account else { return };
                let last = self.by_path.get(path).and_then(|said| said.reason.as_deref()).unwrap_or("ended");
                let period = span(Duration::from_secs(account.period.into()));
                format!("{last}, {} times in {period}", account.intensity.saturating_add(1))
            }
            _ => return,
        };
        let said = self.of(path);
        if said.reason.as_ref() != Some(&reason) {
            said.reason = Some(reason);
            self.changed.push(path.into());
        }
    }

    fn set_hand(&mut self, path: &str, hand: Option<Who>) {
        let said = self.of(path);
        if said.hand != hand {
            said.hand = hand;
            self.changed.push(path.into());
        }
    }

    /// What has to be written down since the last time, or with `all` everything.
    pub(super) fn take_changed(&mut self, all: bool) -> Vec<Said> {
        let mut changed = std::mem::take(&mut self.changed);
        if all {
            changed = self.by_path.keys().cloned().collect();
        }
        changed.sort_unstable();
        changed.dedup();
        let words = |path: Box<str>| {
            let said = self.by_path.get(&path)?;
            Some(Said { path: path.into(), reason: said.reason.clone(), hand: said.hand.clone() })
        };
        changed.into_iter().filter_map(words).collect()
    }

    /// What an earlier daemon wrote down.
    pub(super) fn recall(&mut self, said: Said) {
        let Said { path, reason, hand } = said;
        let saying = self.of(&path);
        (saying.reason, saying.hand) = (reason, hand);
    }

    /// The last change of a path, in one clause.
    pub(super) fn reason(&self, path: &str) -> Option<&str> {
        self.by_path.get(path)?.reason.as_deref()
    }

    /// How long the start that now goes out was delayed; asked once.
    pub(super) fn take_delay(&mut self, path: &str) -> Option<Duration> {
        self.by_path.get_mut(path)?.delay.take()
    }

    /// The error as it is to be recorded: in full, or shortly if it is the same as the last time.
    pub(super) fn news<'a>(&mut self, path: &str, error: &'a StartError) -> &'a str {
        let last = &mut self.of(path).error;
        if last.as_ref() == Some(error) {
            return &error.short;
        }
        *last = Some(error.clone());
        &error.text
    }

    /// The path is no more.
    pub(super) fn forget(&mut self, path: &str) {
        self.by_path.remove(path);
    }

    fn of(&mut self, path: &str) -> &mut Saying {
        self.by_path.entry(path.into()).or_default()
    }

    /// The row as it is published.
    pub(super) fn print(&self, engine: &Engine, row: &view::Row, table: &Table, running: Running) -> Row {
        let path = engine.path(row.path);
        let said = self.by_path.get(&*path);
        let worker = row.key.and_then(|key| table.worker(key));
        let account = match worker {
            Some(worker) => worker.limit,
            None => table.supervisor_of(&path),
        };
        let kind = match worker {
            None => Kind::Supervisor,
            Some(worker) if worker.plan.task => Kind::Task,
            Some(worker) if worker.plan.unit.is_some() => Kind::Unit,
            Some(worker) if worker.plan.oneshot => Kind::Oneshot,
            Some(_) => Kind::Service,
        };
        let moment = Moment::now();
        let held = row.hold.map(|hold| held(hold, said.and_then(|said| said.hand.as_ref()), &moment));
        let reason = said.and_then(|said| said.reason.clone());
        let condition = worker.and_then(|worker| worker.plan.ready.as_ref());
        let waits_for = match row.state {
            view::State::Starting => condition.map(probe),
            view::State::Waiting => row.waits_for.map(|id| engine.path(id)),
            _ => None,
        };
        Row {
            path,
            kind,
            state: state(row.state),
            pid: running.pid,
            generation: row.generation.0,
            restarts: row.restarts,
            since: moment.spell(row.since),
            reason,
            held,
            next: row.next.map(|at| moment.spell(at)),
            exit: row.exit.map(exit),
            strategy: account.and_then(|account| account.strategy).map(|s| strategy(s).to_owned()),
            limit: account.map(|a| Limit {
                used: row.used,
                intensity: a.intensity,
                period: a.period,
                exhausted: Some(exhausted(a.exhausted)),
            }),
            waits_for,
            dropped_lines: running.dropped,
            status_text: running.status,
            health: running.health,
        }
    }
}

fn held(hold: Hold, hand: Option<&Who>, moment: &Moment) -> Held {
    let who = hand.cloned().unwrap_or_default();
    Held { by: who.by, text: who.text, until: hold.until.map(|at| moment.spell(at)) }
}

/// The same moment on both clocks.
struct Moment {
    now: Time,
    wall: u64,
}

impl Moment {
    fn now() -> Moment {
        Moment { now: clock::now(), wall: clock::wall() }
    }

    fn spell(&self, at: Time) -> String {
        rfc3339((self.wall + at.0).saturating_sub(self.now.0))
    }
}

fn exhausted(then: spec::Exhausted) -> Exhausted {
    match then {
        spec::Exhausted::Escalate => Exhausted::Escalate,
        spec::Exhausted::Park => Exhausted::Park,
        spec::Exhausted::Exit => Exhausted::Exit,
        spec::Exhausted::Failover => Exhausted::Failover,
        spec::Exhausted::Reboot => Exhausted::Reboot,
    }
}

fn state(state: view::State) -> State {
    match state {
        view::State::Waiting => State::Waiting,
        view::State::Starting => State::Starting,
        view::State::Up => State::Up,
        view::State::Backoff => State::Backoff,
        view::State::Stopping => State::Stopping,
        view::State::Stopped => State::Stopped,
        view::State::Done => State::Done,
        view::State::Parked => State::Parked,
    }
}
