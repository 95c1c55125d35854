//! When a child is restarted: restart type and reason, the window of restarts, the back-off.

use crate::event::{Exit, Reason};
use crate::spec::{Backoff, Ends, Restart, Status};
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// What follows from an end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Restarted, and counted.
    Restart,
    /// Not restarted.
    Stay,
    /// No retry can help (`restart_prevent_exit_status`): parked, uncounted.
    Park,
}

/// OTP's matrix: permanent always, transient unless the reason is calm, temporary never. Beyond OTP, statuses may
/// prevent or force.
pub(crate) fn verdict(restart: Restart, reason: Reason, exit: Exit, ends: Option<&Ends>) -> Verdict {
    if let Some(ends) = ends {
        if ends.prevent.iter().any(|s| s.matches(exit)) {
            return Verdict::Park;
        }
        if ends.force.iter().any(|s| s.matches(exit)) {
            return Verdict::Restart;
        }
    }
    match restart {
        Restart::Permanent => Verdict::Restart,
        Restart::Transient if reason.is_calm() => Verdict::Stay,
        Restart::Transient => Verdict::Restart,
        Restart::Temporary => Verdict::Stay,
    }
}

/// How an end is judged: OTP's reason of what an OS process did.
pub(crate) fn reason_of(exit: Exit, ends: &Ends, asked: bool, killed: bool) -> Reason {
    let calm = if asked { Reason::Shutdown } else { Reason::Normal };
    match exit {
        Exit::Reason(reason) => reason,
        Exit::Code(0) => calm,
        _ if ends.success.iter().any(|s| s.matches(exit)) => calm,
        Exit::Signal(9) if killed => Reason::Killed,
        Exit::Signal(n) if asked && n == ends.stop_signal => Reason::Shutdown,
        Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => Reason::Crash,
    }
}

impl Status {
    fn matches(self, exit: Exit) -> bool {
        match (self, exit) {
            (Status::Code(a), Exit::Code(b)) | (Status::Signal(a), Exit::Signal(b)) => a == b,
            _ => false,
        }
    }
}

/// The restarts of the last `period` seconds, run-length by second. OTP truncates its clock to whole seconds and keeps
/// restarts that are exactly `period` old.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    runs: VecDeque<(u64, u32)>,
    total: u32,
}

impl Window {
    /// Counts a restart now; the number in the window, this one included.
    pub fn add(&mut self, now: Time, period: u32) -> u32 {
        let second = now.seconds();
        while let Some(&(at, n)) = self.runs.front() {
            if at + u64::from(period) >= second {
                break;
            }
            self.runs.pop_front();
            self.total -= n;
        }
        match self.runs.back_mut() {
            Some((at, n)) if *at == second => *n = n.saturating_add(1),
            _ => self.runs.push_back((second, 1)),
        }
        self.total = self.total.saturating_add(1);
        self.total
    }

    /// How many are in the window now.
    pub fn count(&self, now: Time, period: u32) -> u32 {
        let second = now.seconds();
        self.runs.iter().filter(|(at, _)| at + u64::from(period) >= second).map(|(_, n)| n).sum()
    }

    pub fn clear(&mut self) {
        *self = Window::default();
    }

    /// Seconds and counts, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> + '_ {
        self.runs.iter().copied()
    }

    pub fn from_runs(runs: impl IntoIterator<Item = (u64, u32)>) -> Window {
        let runs: VecDeque<(u64, u32)> = runs.into_iter().collect();
        let total = runs.iter().map(|(_, n)| n).sum();
        Window { runs, total }
    }
}

/// How long restart `n` (from 0 since it was last quiet) waits. `salt` is a hash of tree seed and path: a function and
/// not a generator, so that replays agree and children do not disturb each other.
pub(crate) fn delay(backoff: &Backoff, n: u32, salt: u64) -> Duration {
    if n < backoff.immediate {
        return Duration::ZERO;
    }
    let exponent = i32::try_from(n - backoff.immediate).unwrap_or(i32::MAX);
    let max = backoff.max.as_secs_f64();
    let grown = backoff.first.as_secs_f64() * backoff.factor.max(0.0).powi(exponent);
    let plain = if grown.is_finite() { grown.min(max) } else { max };
    let spread = f64::from(backoff.jitter_percent.min(100)) / 100.0;
    let die = mix(salt ^ u64::from(n)) as f64 / u64::MAX as f64 * 2.0 - 1.0;
    Duration::from_millis((plain * (1.0 + spread * die) * 1000.0).round().max(0.0) as u64)
}

/// A hash of a name below a hash: FNV-1a, finished by [`mix`].
pub(crate) fn salt(seed: u64, name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    mix(hash)
}

/// The finisher of splitmix64.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
