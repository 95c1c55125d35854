//! How long a supervisor puts up with a child that keeps crashing: a figure that follows from limit and back-off.

use std::time::Duration;

use woodward_engine::spec::{self, Backoff, Kind, Restart};

/// The figures of one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience {
    /// A child that crashes as soon as it is started: so long after its first crash its limit is exceeded.
    pub gives_up_after: Duration,
    /// Crashes that are further apart than this never exceed it.
    pub slowest: Duration,
    /// More restarts than this ...
    pub intensity: u32,
    /// ... within this time.
    pub period: Duration,
}

impl Patience {
    /// Delays alone spread the crashes wider than the window.
    pub fn never(&self) -> bool {
        self.gives_up_after > self.period + Duration::from_secs(1)
    }
}

/// The patience with a child under its supervisor; `None`: it is never restarted.
pub fn of(supervisor: &spec::Supervisor, child: &spec::Child) -> Option<Patience> {
    if child.restart == Restart::Temporary {
        return None;
    }
    let (intensity, period) = match &child.kind {
        Kind::Worker(spec::Worker { limit: Some(limit), .. }) => (limit.intensity, limit.period),
        _ => (supervisor.intensity, supervisor.period),
    };
    let period = Duration::from_secs(period.into());
    let delay = |n| child.backoff.as_ref().map_or(Duration::ZERO, |backoff| delay(backoff, n));
    let mut gives_up_after = Duration::ZERO;
    for n in 0..intensity.min(10_000) {
        gives_up_after = gives_up_after.saturating_add(delay(n));
    }
    Some(Patience { gives_up_after, slowest: period / intensity.max(1), intensity, period })
}

/// The delay before restart `n`, without jitter.
fn delay(backoff: &Backoff, n: u32) -> Duration {
    let Some(n) = n.checked_sub(backoff.immediate) else { return Duration::ZERO };
    let seconds = backoff.first.as_secs_f64() * backoff.factor.powi(i32::try_from(n).unwrap_or(i32::MAX));
    if seconds < backoff.max.as_secs_f64() { Duration::from_secs_f64(seconds) } else { backoff.max }
}
