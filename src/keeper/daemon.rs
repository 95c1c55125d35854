//! The daemon's life, as its parent sees it.
//!
//! ```text
//! alive ──ended without Exit──► resting (0, 10, 100 ms, then 1 s) ──► alive …
//!   └─asked something, silent: 1 s ► log pipes are drained for it, 5 s ► SIGABRT, 6 s ► SIGKILL
//! ```
//!
//! Seconds of silence are counted in wake-ups of the keeper and not read from the clock: when the whole
//! machine was suspended, nobody is to blame.
//!
//! A request to stop (SIGTERM, SIGINT) is the daemon's to carry out. When it says nothing for five seconds,
//! or is dead so long, or ends again and again, the keeper does it: SIGTERM to all, those started last first, ten seconds, then
//! SIGKILL, and exit code 75.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::CHANNEL;
use crate::children::{ORPHANS, wait, wait_for};
use crate::foreign::Identity;
use crate::keeper::{DAEMON_EVENT, Eye, Keeper, Owner, TAKING};
use crate::setup::say;
use crate::start::{Failure, Source, Start};
use crate::sys;
use crate::wire::Status;

/// Nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Wake-ups without an answer before the keeper reads the log pipes.
pub(crate) const SILENT: u32 = 1;
/// ... before the daemon gets SIGABRT.
pub(crate) const HUNG: u32 = 5;
/// Time between SIGTERM and SIGKILL when the keeper stops the services.
pub(crate) const GRACE: u64 = 10 * SECOND;

/// What is on the other side of the channel.
pub(crate) enum Life {
    /// This program itself: the keeper is a thread of it.
    Program,
    /// A child.
    Alive {
        pid: i32,
        pidfd: OwnedFd,
        since: u64,
        /// Its slot of the starter until it has executed.
        starting: Option<usize>,
    },
    /// To be started at this time.
    Resting { until: u64 },
    /// Ended for good.
    Gone,
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nobody asked.
    No,
    /// The daemon has been told; seconds without a word of it, and how often it has ended since.
    Told { silent: u32, deaths: u32 },
    /// Everything got SIGTERM from the keeper.
    Terminated { until: u64 },
    /// Everything got SIGKILL.
    Killed,
}

/// Times the daemon's starts.
#[derive(Default)]
pub(crate) struct Rest {
    failures: u32,
}

impl Rest {
    /// When to start again, if it lived from `since` to `now`.
    pub fn after(&mut self, since: u64, now: u64) -> u64 {
        if now.saturating_sub(since) > 10 * SECOND {
            self.failures = 0;
        }
        let pause = [0, SECOND / 100, SECOND / 10].get(self.failures as usize).copied().unwrap_or(SECOND);
        self.failures = self.failures.saturating_add(1);
        now + pause
    }
}

impl Keeper {
    /// Makes the daemon say something, or the silence is counted.
    pub fn ask(&mut self, now: u64) {
        if let Some(channel) = &mut self.channel {
            channel.ping = true;
            if self.silence.is_none() {
                self.silence = Some((now + SECOND, 0));
            }
        }
    }

    pub fn start_daemon(&mut self, now: u64) {
        if !self.starter.has_room(now) {
            return;
        }
        let Ok((ours, theirs)) = sys::channel() else { return self.daemon_rests(now, now) };
        let extras = [(CHANNEL as u32, theirs)];
        let image = Source::Bytes(&self.image);
        let start =
            Start { image, additions: b"", output: None, cgroup: None, extras: &extras, bound: false };
        let born = sys::since_boot();
        match self.starter.start(&start, now) {
            Ok(child) => {
                self.owners[child.slot] = Owner::Daemon;
                let _ = self.epoll.add(child.pidfd.as_raw_fd(), libc::EPOLLIN, DAEMON_EVENT);
                self.table.note_daemon(&Identity::of(&child, born));
                self.life = Life::Alive {
                    pid: child.pid,
                    pidfd: child.pidfd,
                    since: now,
                    starting: Some(child.slot),
                };
                if self.open(ours).is_err() {
                    sys::kill(child.pid, libc::SIGKILL, false);
                }
            }
            Err(failure) => {
                say(&format!("cannot start the daemon: {failure}"));
                self.daemon_rests(now, now);
            }
        }
    }

    pub fn daemon_started(&mut self, outcome: Result<(), Failure>, now: u64) {
        match (outcome, &mut self.life) {
            (Ok(()), Life::Alive { starting, .. }) => *starting = None,
            (Err(failure), Life::Alive { pid, pidfd, since, .. }) => {
                say(&format!("cannot start the daemon: {failure}"));
                self.epoll.remove(pidfd.as_raw_fd());
                wait_for(*pid);
                let since = *since;
                self.life = Life::Gone;
                self.daemon_gone(since, now);
            }
            (_, Life::Program | Life::Resting { .. } | Life::Gone) => {}
        }
    }

    pub fn daemon_ended(&mut self, now: u64) {
        let Life::Alive { pid, pidfd, starting, .. } = &self.life else { return };
        let (pid, pidfd, starting) = (*pid, pidfd.as_raw_fd(), *starting);
        if let Some(slot) = starting {
            match self.outcome(slot) {
                Some(outcome @ Err(_)) => return self.daemon_started(outcome, now),
                Some(Ok(())) => {}
                None => return,
            }
        }
        let Some(status) = wait(pidfd, pid) else { return };
        // It is reaped: its number may be somebody else's from now on.
        let Life::Alive { pidfd, since, .. } = std::mem::replace(&mut self.life, Life::Gone) else { return };
        self.epoll.remove(pidfd.as_raw_fd());
        // What it said before it ended still counts.
        self.receive(now, usize::MAX);
        if self.code.is_none() && self.stop == Stop::No && !self.is_being_replaced() {
            let how = match status {
                Status::Code(code) => format!("exit {code}"),
                Status::Signal(signal) => format!("signal {signal}"),
                Status::Unknown => "unknown status".to_owned(),
            };
            say(&format!("the daemon has ended ({how}) and is started again; services go on"));
        }
        self.table.note_daemon(&Identity::default());
        self.daemon_gone(since, now);
    }

    fn daemon_gone(&mut self, since: u64, now: u64) {
        self.close_channel();
        match (self.code, self.stop) {
            (Some(_), _) if self.init && self.table.living() == 0 => {}
            (Some(_), _) => self.kill_all(now),
            (None, Stop::No) if self.is_being_replaced() => self.life = Life::Resting { until: now },
            // One that ends again and again gets nothing done, whatever it says in between.
            (None, Stop::Told { deaths, .. }) if deaths >= HUNG => self.terminate(now),
            (None, Stop::Told { silent, deaths }) => {
                self.stop = Stop::Told { silent, deaths: deaths + 1 };
                self.daemon_rests(since, now);
            }
            (None, Stop::No) => self.daemon_rests(since, now),
            (None, Stop::Terminated { .. } | Stop::Killed) => {}
        }
    }

    fn daemon_rests(&mut self, since: u64, now: u64) {
        self.life = Life::Resting { until: self.rest.after(since, now) };
    }

    /// One more second without a word.
    pub fn silent(&mut self, now: u64) {
        let Some((_, seconds)) = &mut self.silence else { return };
        *seconds += 1;
        let seconds = *seconds;
        self.silence = Some((now + SECOND, seconds));
        if seconds == SILENT && !self.logs.is_ours() {
            self.logs.take(false);
            self.eye = Eye::Taking { until: now + TAKING };
            if let Some(channel) = &mut self.channel {
                channel.logs = true;
            }
        }
        let Life::Alive { pid, .. } = &self.life else { return };
        if self.stop == Stop::No && seconds >= HUNG {
            say("the daemon hangs and is killed");
            sys::kill(*pid, if seconds == HUNG { libc::SIGABRT } else { libc::SIGKILL }, false);
        }
    }

    // ---- signals and stop -----------------------------------------------------------------------------------------

    pub fn signalled(&mut self, now: u64) {
        let Some(fd) = self.signals.as_ref().map(AsRawFd::as_raw_fd) else { return };
        loop {
            // SAFETY: all zeros is a valid value; reads into `info`.
            let (n, info) = unsafe {
                let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                let size = size_of::<libc::signalfd_siginfo>();
                (libc::read(fd, std::ptr::from_mut(&mut info).cast(), size), info)
            };
            if n <= 0 {
                return;
            }
            let signal = info.ssi_signo as i32;
            if signal == libc::SIGCHLD {
                self.orphans_due = self.orphans_due.or(Some(now + ORPHANS));
                continue;
            }
            if let Some(channel) = &mut self.channel {
                channel.signals |= 1 << (signal - 1);
            }
            let stops = matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGPWR);
            if stops && self.stop == Stop::No {
                self.stop = Stop::Told { silent: 0, deaths: 0 };
                self.second = Some(now + SECOND);
                self.ask(now);
            }
        }
    }

    /// One more second since the keeper was asked to stop, or the daemon has said its last word.
    pub fn stop_second(&mut self, now: u64) {
        self.second = Some(now + SECOND);
        if self.code.is_some() {
            match &self.life {
                Life::Alive { pid, .. } => sys::kill(*pid, libc::SIGKILL, false),
                _ => self.kill_all(now),
            }
            return;
        }
        match &mut self.stop {
            Stop::No => self.second = None,
            Stop::Told { silent, .. } => {
                *silent += 1;
                if *silent > HUNG { self.terminate(now) } else { self.ask(now) }
            }
            Stop::Terminated { until } if now >= *until => self.kill_all(now),
            Stop::Terminated { .. } => {}
            Stop::Killed => self.kill_all(now),
        }
    }

    /// The keeper stops the services itself.
    pub fn terminate(&mut self, now: u64) {
        if matches!(self.life, Life::Alive { .. }) {
            say("the daemon does not answer: the keeper stops the services");
        }
        self.stop = Stop::Terminated { until: now + GRACE };
        self.second = Some(now + SECOND);
        if let Life::Alive { pid, .. } = &self.life {
            sys::kill(*pid, libc::SIGKILL, false);
        }
        self.cancel_waiting();
        let mut living: Vec<_> =
            self.table.iter().filter(|(_, e)| e.lives()).map(|(_, e)| (e.order, e)).collect();
        living.sort_unstable_by_key(|(order, _)| *order);
        for (_, entry) in living.into_iter().rev() {
            entry.signal(libc::SIGTERM, false);
        }
    }

    /// Repeated every second until nothing is left.
    fn kill_all(&mut self, now: u64) {
        self.stop = Stop::Killed;
        self.second = Some(now + SECOND);
        self.cancel_waiting();
        if let Some(file) = &mut self.cgroup_kill {
            let _ = file.write_all(b"1");
        }
        for (_, entry) in self.table.iter().filter(|(_, e)| e.lives()) {
            entry.signal(libc::SIGKILL, false);
            entry.signal(libc::SIGKILL, true);
        }
    }

    fn cancel_waiting(&mut self) {
        while let Some(slot) = self.waiting.front().map(|w| w.slot) {
            self.cancel(slot);
        }
    }
}
