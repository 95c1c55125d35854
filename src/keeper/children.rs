//! Starts and ends of children, from order to report.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::daemon::{Life, SECOND};
use crate::foreign::{self, Identity};
use crate::guard::Right;
use crate::image::Step;
use crate::keeper::{ENTRY_EVENT, Keeper, Owner};
use crate::start::{Failure, NO_RIGHT, Source, Start};
use crate::sys;
use crate::table::{Entry, State};
use crate::wire::Status;

/// Waiting for any child costs a walk over all of them; an orphan can wait that long.
pub(crate) const ORPHANS: u64 = SECOND / 20;

/// A start in the queue.
pub(crate) struct Waiting {
    pub slot: u32,
    pub generation: u64,
    pub cgroup: Option<OwnedFd>,
    pub extras: Vec<(u32, OwnedFd)>,
    pub additions: Vec<u8>,
}

impl Keeper {
    pub fn start_waiting(&mut self, now: u64) {
        while !self.waiting.is_empty() && self.starter.has_room(now) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            self.start(waiting, now);
        }
    }

    fn start(&mut self, waiting: Waiting, now: u64) {
        let slot = waiting.slot;
        self.look_at_deadline();
        let name = self.table.get(slot).map(Entry::name);
        let right = name.map_or(Right::Unbound, |name| self.guard.right(name));
        if right == Right::Over {
            return self.table.set(slot, State::Failed(NO_RIGHT));
        }
        self.table.cloning(slot);
        let Some(entry) = self.table.get(slot) else { return };
        let Some((image, length)) = &entry.image else { return };
        let started = self.starter.start(
            &Start {
                image: Source::File(image.as_raw_fd(), *length),
                additions: &waiting.additions,
                output: entry.output.as_ref().map(AsRawFd::as_raw_fd),
                cgroup: waiting.cgroup.as_ref().map(AsRawFd::as_raw_fd),
                extras: &waiting.extras,
                bound: right == Right::Stands,
            },
            now,
        );
        match started {
            Ok(child) => {
                let data = ENTRY_EVENT | (waiting.generation & 0x0fff_ffff) << 32 | u64::from(slot);
                if self.epoll.add(child.pidfd.as_raw_fd(), libc::EPOLLIN, data).is_err() {
                    // Its end comes to light with the orphans.
                    sys::kill(child.pid, libc::SIGKILL, false);
                }
                self.owners[child.slot] = Owner::Entry(slot);
                self.order += 1;
                if let Some(entry) = self.table.get_mut(slot) {
                    entry.pid = child.pid;
                    entry.identity = Identity::of(&child, entry.identity.born[0]);
                    entry.pidfd = Some(child.pidfd);
                    entry.order = self.order;
                    entry.oom_score_adjust = child.oom_score_adjust;
                }
                self.table.set(slot, State::Starting { slot: child.slot });
                self.store(slot);
            }
            Err(failure) => self.table.set(slot, State::Failed(failure)),
        }
    }

    /// Takes a start out of the queue.
    pub fn cancel(&mut self, slot: u32) {
        self.waiting.retain(|w| w.slot != slot);
        self.table.set(slot, State::Failed(Failure { step: Step::Prepare, errno: libc::ECANCELED }));
    }

    /// Looks at all starts under way.
    pub fn outcomes(&mut self, now: u64) {
        for slot in 0..self.owners.len() {
            match self.owners[slot] {
                Owner::Nobody => {}
                Owner::Daemon => {
                    if let Some(outcome) = self.outcome(slot) {
                        self.daemon_started(outcome, now);
                    }
                }
                Owner::Entry(entry) => match self.outcome(slot) {
                    Some(Ok(())) => self.executed(entry),
                    Some(Err(failure)) => {
                        // It has ended or is about to: reaped as any other, but reported as this.
                        if let Some(e) = self.table.get(entry) {
                            wait_for(e.pid);
                        }
                        self.ended(entry, State::Failed(failure));
                    }
                    None => {}
                },
            }
        }
    }

    pub fn outcome(&mut self, slot: usize) -> Option<Result<(), Failure>> {
        let outcome = self.starter.outcome(slot)?;
        self.owners[slot] = Owner::Nobody;
        Some(outcome)
    }

    fn executed(&mut self, slot: u32) {
        self.table.set(slot, State::Running);
        if let Some(entry) = self.table.get(slot)
            && let Some(adjust) = entry.oom_score_adjust
            && let Ok(mut file) =
                File::options().write(true).open(format!("/proc/{}/oom_score_adj", entry.pid))
        {
            // Not before the exec: a process that shares the keeper's memory would set it for the keeper too.
            let _ = write!(file, "{adjust}");
        }
    }

    /// A child of the table may have ended. False: not yet.
    pub fn reap(&mut self, slot: u32) -> bool {
        let Some(entry) = self.table.get(slot) else { return false };
        let (state, pid) = (entry.state(), entry.pid);
        let Some(pidfd) = entry.pidfd.as_ref().map(AsRawFd::as_raw_fd) else { return false };
        if let State::Starting { slot: place } = state {
            match self.outcome(place) {
                Some(Ok(())) => {}
                Some(Err(failure)) => {
                    wait_for(pid);
                    self.ended(slot, State::Failed(failure));
                    return true;
                }
                None => return false,
            }
        }
        let Some(status) = wait(pidfd, pid) else { return false };
        self.ended(slot, State::Ended(status));
        true
    }

    fn ended(&mut self, slot: u32, state: State) {
        if let Some(entry) = self.table.get_mut(slot)
            && let Some(pidfd) = entry.pidfd.take()
        {
            self.epoll.remove(pidfd.as_raw_fd());
            if matches!(state, State::Failed(_)) {
                entry.pid = 0;
            }
            let generation = entry.generation;
            self.table.set(slot, state);
            self.unstore(slot, generation);
        }
    }

    pub fn reap_orphans(&mut self, now: u64) {
        loop {
            // SAFETY: all zeros is a valid value; WNOWAIT takes nothing away.
            let pid = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
                if libc::waitid(libc::P_ALL, 0, &mut info, how) != 0 {
                    return;
                }
                info.si_pid()
            };
            let known = self.table.iter().find(|(_, e)| e.lives() && e.pid == pid).map(|(slot, _)| slot);
            match (pid, known, &self.life) {
                (0, ..) => return,
                (_, Some(slot), _) => {
                    if !self.reap(slot) {
                        self.orphans_due = Some(now + ORPHANS);
                        return;
                    }
                }
                (_, None, Life::Alive { pid: daemon, .. }) if *daemon == pid => self.daemon_ended(now),
                _ => {
                    wait_for(pid);
                    self.orphans += 1;
                }
            }
        }
    }
}

/// How the process of this descriptor ended; `None`: it has not.
pub(crate) fn wait(pidfd: RawFd, pid: i32) -> Option<Status> {
    // SAFETY: all zeros is a valid value; writes to `info`.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &mut info, libc::WEXITED | libc::WNOHANG) != 0 {
            // No child of ours: a former keeper's, or somebody else in this program waits for any child.
            return foreign::wait(pidfd, pid);
        }
        match (info.si_pid(), info.si_code) {
            (0, _) => None,
            (_, libc::CLD_EXITED) => Some(Status::Code(info.si_status())),
            _ => Some(Status::Signal(info.si_status())),
        }
    }
}

/// Reaps a child that is known to end at once.
pub(crate) fn wait_for(pid: i32) {
    // SAFETY: all zeros is a valid value.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED);
    }
}
