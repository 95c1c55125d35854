//! What the kernel tells: facts for the record, rows for the view.

use woodward_engine::{Fact, FailedStart, Reason, What};

use super::super::rows::Running;
use super::super::sockets;
use super::super::worker::StartError;
use super::Kernel;
use crate::os::clock;
use crate::record::fact::{Extras, FactLine, Scene};

impl Kernel {
    /// Records a fact, with all that is known here besides.
    pub(super) fn take_down(&mut self, fact: &Fact) {
        let live = self.live.get(&fact.generation);
        if fact.what == What::Starting {
            self.starting = Some((fact.generation, fact.incident));
        }
        let path = self.engine.path(fact.path);
        let delay = (fact.what == What::Started).then(|| self.sayings.take_delay(&path)).flatten();
        let mut extras = Extras { who: self.requests.asking.as_ref(), backoff: delay, ..Extras::default() };
        let mut error = None;
        let mut account = None;
        if let Some(live) = live {
            error = match fact.what {
                What::StartFailed { why: FailedStart::TooLate }
                | What::Ended { reason: Reason::NotReady, .. } => live.seat.not_ready().map(StartError::from),
                What::StartFailed { .. } | What::Ended { .. } => live.error.clone(),
                What::Sick => live.sick.clone().map(StartError::from),
                _ => None,
            };
            extras.pid = live.seat.pid();
            extras.by_hand = live.by_hand;
        }
        let row = self.engine.row(fact.path);
        if let Some(entry) = row.as_ref().and_then(|row| self.table.worker(row.key?)) {
            extras.worker = Some(&entry.plan);
            extras.settle = entry.settle;
            extras.within = entry.within;
            account = entry.limit;
        }
        if let What::ByApply { .. } = fact.what {
            extras.changed = self.changes.get(&path).map_or(&[], |keys| keys.as_slice());
        }
        extras.error = error.as_ref().map(|error| self.sayings.news(&path, error));
        let engine = &self.engine;
        let scene = Scene { at: clock::wall(), now: clock::now(), path: &|id| engine.path(id) };
        let line = FactLine::of(fact, &scene, &extras);
        if let (What::LimitExceeded { .. }, None, Some((above, _))) =
            (fact.what, account, line.path.rsplit_once('/'))
        {
            account = self.table.supervisor_of(above);
        }
        let short = match fact.what {
            What::ByApply { .. } => Some(&*line.text),
            _ => error.as_ref().map(|error| &*error.short),
        };
        self.sayings.note(&line.path, fact, engine, account, short, self.requests.asking.as_ref());
        if fact.what == What::Ready && self.trees.not_ready.contains(&fact.path) {
            self.trees.not_ready.retain(|tree| *tree != fact.path);
        }
        self.hear_of_group(fact, &line.path);
        self.record.fact(line);
    }

    pub(super) fn publish(&mut self) {
        let Kernel { engine, publisher, sayings, table, live, children, .. } = self;
        let mut vanished = Vec::new();
        publisher.publish(
            engine,
            |engine, row| {
                let live = live.get(&row.generation);
                let running = Running {
                    pid: live.and_then(|live| live.seat.pid()),
                    status: live.and_then(|live| live.status.clone()),
                    health: live.and_then(|live| Some(live.watched.as_ref()?.pulse.clone())),
                    dropped: children
                        .get(&*engine.path(row.path))
                        .and_then(|c| c.stream.as_ref())
                        .map_or(0, |s| s.dropped()),
                };
                sayings.print(engine, row, table, running)
            },
            |path| vanished.push(path.to_owned()),
        );
        vanished.iter().for_each(|path| self.forget(path));
        sockets::tidy(&self.house.os, &self.engine, &self.table, self.children.values());
    }
}
