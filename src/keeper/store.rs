//! Whoever started woodward, as far as it helps it to survive: systemd's fd store and its watchdog.
//!
//! Every main process is put into the store as its pidfd, under `woodward-SLOT-GENERATION`, and taken out when it
//! has been reaped. When this keeper is killed, the store keeps the pidfds, and as long as somebody has one open the
//! kernel (6.15 and later) remembers how its process ended: so the next keeper knows it too. The store is only used
//! when `FDSTORE` tells how large it is, as systemd does from 254 on.
//!
//! Nothing waits for systemd: what cannot be sent now is sent later, in order. `WATCHDOG=1` is sent as long as the
//! daemon answers.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::daemon::{Life, SECOND};
use crate::keeper::Keeper;
use crate::sys;

const NAME: &str = "woodward-";
/// Between two attempts while there is no room.
const AGAIN: u64 = SECOND / 50;
/// More than this waits for nobody: the rest stays unknown to the store.
const LONGEST: usize = 64 << 10;

/// What is to be told.
#[derive(Default)]
pub(crate) struct Store {
    used: bool,
    /// Slot, generation, whether it is put or removed.
    queue: VecDeque<(u32, u64, bool)>,
    again: Option<u64>,
    watchdog: Option<Watchdog>,
}

struct Watchdog {
    every: u64,
    next: u64,
}

/// A process that was in the store.
pub(crate) struct Held {
    pub slot: u32,
    pub generation: u64,
    pub pidfd: OwnedFd,
}

impl Store {
    /// As this process was told by its environment.
    pub fn new(now: u64) -> Store {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let micros = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0);
        let used = number("FDSTORE").is_some_and(|size| size > 0);
        let watchdog = micros.map(|micros| Watchdog { every: micros * 1000 / 3, next: now });
        Store { used, watchdog, ..Store::default() }
    }
}

/// What comes back from the store. To be called before descriptors are opened; `least`: lower numbers are for starts.
pub(crate) fn held(least: RawFd) -> Vec<Held> {
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let count: usize = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if !ours {
        return Vec::new();
    }
    let names = names.split(':').take(count).enumerate();
    let held = names.filter_map(|(n, name)| {
        let (slot, generation) = name.strip_prefix(NAME)?.split_once('-')?;
        let (slot, generation) = (slot.parse().ok()?, generation.parse().ok()?);
        // SAFETY: systemd has opened it for this process, and nobody else here takes those of this name.
        let mut pidfd = unsafe { OwnedFd::from_raw_fd(3 + n as RawFd) };
        sys::move_above(&mut pidfd, least);
        Some(Held { slot, generation, pidfd })
    });
    held.collect()
}

impl Keeper {
    /// A process has been cloned; helpers are not worth it.
    pub fn store(&mut self, slot: u32) {
        if let Some(entry) = self.table.get(slot).filter(|entry| entry.is_main()) {
            self.queue(slot, entry.generation, true);
        }
    }

    /// It has been reaped.
    pub fn unstore(&mut self, slot: u32, generation: u64) {
        self.queue(slot, generation, false);
    }

    fn queue(&mut self, slot: u32, generation: u64, put: bool) {
        let queue = &mut self.store.queue;
        if self.store.used && queue.len() < LONGEST {
            queue.push_back((slot, generation, put));
        }
    }

    /// Those that were in the store and are not what lives now: nobody needs them any more.
    pub fn compare_store(&mut self, held: &[(u32, u64)]) {
        let lives =
            |keeper: &Keeper, slot: u32| keeper.table.get(slot).filter(|e| e.lives()).map(|e| e.generation);
        for &(slot, generation) in held {
            if lives(self, slot) != Some(generation) {
                self.unstore(slot, generation);
            }
        }
        let living: Vec<u32> = self.table.iter().filter(|(_, e)| e.lives()).map(|(slot, _)| slot).collect();
        for slot in living.into_iter().filter(|slot| !held.iter().any(|(there, _)| there == slot)) {
            self.store(slot);
        }
    }

    /// When there is something to be told.
    pub fn store_due(&self) -> Option<u64> {
        let queue = (!self.store.queue.is_empty()).then(|| self.store.again.unwrap_or(0));
        let watchdog = self.store.watchdog.as_ref().map(|watchdog| watchdog.next);
        queue.into_iter().chain(watchdog).min()
    }

    /// Tells it.
    pub fn tell_store(&mut self, now: u64) {
        if self.store.watchdog.as_ref().is_some_and(|watchdog| watchdog.next <= now) {
            self.answer_watchdog(now);
        }
        if self.store.again.is_some_and(|again| now < again) {
            return;
        }
        self.store.again = None;
        while let Some(&(slot, generation, put)) = self.store.queue.front() {
            let Some(listener) = &self.listener else { return self.store.queue.clear() };
            let name = format!("FDNAME={NAME}{slot}-{generation}");
            let sent = if put {
                let entry = self.table.get(slot).filter(|entry| entry.generation == generation);
                // It has ended meanwhile: its removal will find nothing.
                entry.and_then(|entry| entry.pidfd.as_ref()).is_none_or(|pidfd| {
                    listener.pass(format!("FDSTORE=1\nFDPOLL=0\n{name}").as_bytes(), Some(pidfd.as_raw_fd()))
                })
            } else {
                listener.pass(format!("FDSTOREREMOVE=1\n{name}").as_bytes(), None)
            };
            if !sent {
                self.store.again = Some(now + AGAIN);
                return;
            }
            self.store.queue.pop_front();
        }
    }

    fn answer_watchdog(&mut self, now: u64) {
        let answers =
            matches!(self.life, Life::Alive { .. }) && self.silence.is_none_or(|(_, seconds)| seconds == 0);
        if answers && let Some(listener) = &self.listener {
            listener.tell(b"WATCHDOG=1");
        }
        if let Some(watchdog) = &mut self.store.watchdog {
            watchdog.next = now + watchdog.every;
        }
        // It has until the next time to say something.
        self.ask(now);
    }
}
