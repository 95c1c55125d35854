//! `log_rate_limit`: a bucket of lines that fills evenly.

use woodward_engine::Time;

use crate::tree::RateLimit;

/// Full at first, so that a burst of `lines` passes at once.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: RateLimit,
    /// Lines it holds.
    held: f64,
    filled: Time,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(limit: RateLimit, now: Time) -> Bucket {
        Bucket { limit, held: f64::from(limit.lines), filled: now }
    }

    /// Takes up to `wanted` lines; how many it gave.
    pub(super) fn take(&mut self, wanted: usize, now: Time) -> usize {
        let full = f64::from(self.limit.lines);
        let passed = now.since(self.filled).as_secs_f64() / self.limit.per.as_secs_f64().max(0.001);
        self.held = (self.held + passed * full).min(full);
        self.filled = now;
        let given = wanted.min(self.held as usize);
        self.held -= given as f64;
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_lines_and_fills_evenly() {
        let limit = RateLimit { lines: 100, per: Duration::from_secs(1) };
        let mut bucket = Bucket::new(limit, Time(0));
        assert_eq!(bucket.take(70, Time(0)), 70);
        assert_eq!(bucket.take(70, Time(0)), 30);
        assert_eq!(bucket.take(70, Time(500)), 50);
        assert_eq!(bucket.take(1000, Time(60_000)), 100);
        assert_eq!(bucket.take(1, Time(60_001)), 0);
    }
}
