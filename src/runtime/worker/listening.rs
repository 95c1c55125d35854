//! Sockets of a service, and services that are started by them.
//!
//! ```text
//! Opening ─► Listening ─somebody connects─► Before ─► Launching ─► ... ─► Serving
//!                ▲                                                          │
//!                └───────── nothing of it is left ◄── a calm end ───────────┘
//! ```
//!
//! To the tree a *lazy* service is ready from the moment it listens: its socket takes whoever comes. A calm end is
//! none of the tree's business then, it only listens again; every other end is an end as usual, and so is a calm one
//! that came at once and left somebody waiting, or it would be started in a circle.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use woodward_engine::spec::Status;
use woodward_engine::{Exit, Time};

use super::Said;
use super::commands::Additions;
use super::seat::{Aim, Outcome, Seat, Step};
use crate::os::{SpawnError, bank, clock};
use crate::tree::sockets::FIRST;

/// A calm end within this time of the start, with somebody waiting, is no rest.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Room for the number of any process: the child writes its own there.
const OWN_PID: &str = "##########";

/// What a lazy service has to remember.
#[derive(Default)]
pub(super) struct Lazy {
    /// The tree knows that it has started.
    pub(super) told: bool,
    /// Somebody is waited for.
    waits: bool,
    /// Somebody has come.
    called: bool,
    /// When its process was asked for.
    since: Time,
}

/// Numbers in the process, descriptors here.
type Descriptors = Vec<(i32, Arc<OwnedFd>)>;

impl Seat {
    /// Its sockets, opened if they are not open, and what its process is told of them.
    pub(super) fn sockets(&self) -> Result<(Descriptors, Additions), SpawnError> {
        let wanted = &self.child.plan.listen;
        let open = self.house.os.sockets(self.child.program(), wanted)?;
        let mut additions = Additions::new();
        if !open.is_empty() {
            let names: Vec<&str> = wanted.iter().map(|listen| listen.name.as_str()).collect();
            additions.push(("LISTEN_FDS", open.len().to_string()));
            additions.push(("LISTEN_FDNAMES", names.join(":")));
            additions.push(("LISTEN_PID", OWN_PID.to_owned()));
        }
        Ok(((FIRST..).zip(open).collect(), additions))
    }

    /// Waits for the first connection.
    pub(super) fn listening(self: &Arc<Seat>) -> Option<Step> {
        let mut log = self.lock();
        if log.aim > Aim::Run {
            drop(log);
            return Some(self.ends(Outcome::Ended(Exit::Code(0))));
        }
        if log.lazy.called {
            log.lazy.since = clock::now();
            return Some(Step::Before(0));
        }
        if std::mem::replace(&mut log.lazy.waits, true) {
            return None;
        }
        let told = std::mem::replace(&mut log.lazy.told, true);
        drop(log);
        let sockets: Vec<_> = match self.sockets() {
            Ok((sockets, _)) => sockets.into_iter().map(|(_, socket)| socket).collect(),
            Err(error) => {
                self.lock().lazy.told = told;
                return Some(self.ends(Outcome::Failed((&error).into())));
            }
        };
        if !told {
            self.say(Said::Started);
        }
        self.say(Said::Status("listens, starts at the first connection".to_owned()));
        let seat = Arc::downgrade(self);
        tokio::spawn(async move {
            // If nobody can be waited for, the process looks itself.
            let _ = bank::called(&sockets).await;
            if let Some(seat) = seat.upgrade() {
                seat.record(|log| log.lazy.called = log.step == Step::Listening);
            }
        });
        None
    }

    /// Whether it listens again after this end. Nothing of it is left.
    pub(super) fn rests(&self) -> bool {
        let plan = &self.child.plan;
        let mut log = self.lock();
        let calm = match log.outcome {
            Some(Outcome::Ended(Exit::Code(code))) => {
                code == 0 || plan.calm_ends.contains(&Status::Code(code))
            }
            Some(Outcome::Ended(Exit::Signal(signal))) => plan.calm_ends.contains(&Status::Signal(signal)),
            _ => false,
        };
        if !plan.lazy || !calm || log.aim > Aim::Run {
            return false;
        }
        let at_once = clock::now().since(log.lazy.since) < AT_ONCE;
        drop(log);
        let waiting = || {
            self.sockets().is_ok_and(|(all, _)| {
                bank::is_called(&all.into_iter().map(|(_, socket)| socket).collect::<Vec<_>>())
            })
        };
        if at_once && waiting() {
            return false;
        }
        self.house.os.rest(&self.child.path, self.generation.0);
        log = self.lock();
        log.begin_again();
        log.lazy = Lazy { told: true, ..Lazy::default() };
        drop(log);
        self.say(Said::Note("rests", "ended calmly, listens again".to_owned()));
        true
    }
}
