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
    let gives_up_after = child.backoff.as_ref().map_or(Duration::ZERO, |backoff| delays(backoff, intensity));
    Some(Patience { gives_up_after, slowest: period / intensity.max(1), intensity, period })
}

/// The sum of the delays before so many restarts, without jitter.
fn delays(backoff: &Backoff, restarts: u32) -> Duration {
    let mut left = restarts.saturating_sub(backoff.immediate);
    let mut delay = backoff.first.min(backoff.max);
    let mut sum = Duration::ZERO;
    while left > 0 && delay < backoff.max && backoff.factor > 1.0 {
        sum += delay;
        left -= 1;
        delay = Duration::try_from_secs_f64(delay.as_secs_f64() * backoff.factor)
            .unwrap_or(backoff.max)
            .min(backoff.max);
    }
    sum.saturating_add(delay.saturating_mul(left))
}
