//! How long is waited for what.

use std::time::Duration;

/// The rhythm of a node. All trees of a node with `[failover]` have the same; nodes tell each other theirs, so that
/// nodes of different rhythm are safe together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// A beat is sent this often, whatever became of the one before.
    pub beat: Duration,
    /// The right to run lasts so long after the sending of a beat that was confirmed.
    pub hold: Duration,
    /// A node whose beat has not changed for so long, on the watcher's clock, is dead to the watcher.
    pub wait: Duration,
}

/// The time a kill may take, counted between `hold` and `wait`: what 99 of 100 take on a host with thirty busy processes to
/// a processor where the keeper may have no real-time priority (`benches/failover/lateness`; with it, below 1 ms).
pub const KILL: Duration = Duration::from_millis(120);
/// Two clocks run apart by one part in so many, at most.
pub const DRIFT: u32 = 20;

impl Timing {
    /// For an etcd with a heartbeat of 50 ms and an election time of 500 ms.
    pub const FAST: Timing = Timing::millis(200, 1200, 1500);
    /// For an etcd as it comes (100 ms, 1000 ms).
    pub const NORMAL: Timing = Timing::millis(500, 2500, 3000);
    /// For slow disks and busy hosts.
    pub const CALM: Timing = Timing::millis(2000, 20_000, 25_000);

    /// These times in milliseconds.
    pub const fn millis(beat: u64, hold: u64, wait: u64) -> Timing {
        Timing {
            beat: Duration::from_millis(beat),
            hold: Duration::from_millis(hold),
            wait: Duration::from_millis(wait),
        }
    }

    /// Whether at most one node can be at work with it: `hold + KILL < wait` even if clocks drift apart, and at least three
    /// beats to a `hold`. Else which of the two does not hold, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.beat.is_zero() || self.beat * 3 > self.hold {
            return Err("hold must be at least three times beat");
        }
        if self.hold + KILL >= self.wait - self.wait / DRIFT {
            return Err("wait must be longer than hold by a twentieth and 120 ms");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_safe_and_what_is_not_is_refused() {
        for timing in [Timing::FAST, Timing::NORMAL, Timing::CALM] {
            assert_eq!(timing.check(), Ok(()), "{timing:?}");
        }
        for timing in
            [Timing::millis(0, 900, 1200), Timing::millis(500, 1200, 2000), Timing::millis(200, 1200, 1250)]
        {
            assert!(timing.check().is_err(), "{timing:?}");
        }
    }
}
