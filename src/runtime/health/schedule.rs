//! When what is due: one ordered set of moments for all checks, and the spread of their phases.

use std::collections::BTreeSet;
use std::time::Duration;

use woodward_engine::{Gen, Time};

/// All moments to come; each generation has one at most.
#[derive(Default)]
pub(super) struct Schedule(BTreeSet<(Time, Gen)>);

impl Schedule {
    /// The next moment.
    pub(super) fn first(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Moves a generation from one moment to another.
    pub(super) fn set(&mut self, generation: Gen, from: Option<Time>, to: Option<Time>) {
        if from != to {
            from.map(|at| self.0.remove(&(at, generation)));
            to.map(|at| self.0.insert((at, generation)));
        }
    }

    /// Takes one whose moment has come.
    pub(super) fn due(&mut self, now: Time) -> Option<(Time, Gen)> {
        if self.first()? > now { None } else { self.0.pop_first() }
    }
}

/// The place of one check in its interval. The n-th is a golden section further than the one before, so that however
/// many there are, and however many have gone, the gaps stay even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase(u32);

impl Phase {
    /// Of the n-th check.
    pub(super) fn nth(n: u32) -> Phase {
        Phase(n.wrapping_mul(0x9E37_79B9))
    }

    /// The first moment not before `from` at which a check every `every` falls: the same moments of the clock
    /// whenever the service became ready.
    pub(super) fn next(self, from: Time, every: Duration) -> Time {
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX >> 1).max(1);
        let offset = (u128::from(every) * u128::from(self.0)) >> 32;
        let offset = u64::try_from(offset).unwrap_or(0);
        let behind = (from.0 % every + every - offset) % every;
        if behind == 0 { from } else { Time(from.0 + (every - behind)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_begin_together_are_spread_evenly() {
        let every = Duration::from_secs(10);
        let mut all: Vec<u64> = (0..1000).map(|n| Phase::nth(n).next(Time(123_456), every).0).collect();
        all.sort_unstable();
        assert!(all[0] >= 123_456 && all[999] < 133_456, "{} {}", all[0], all[999]);
        let gaps: Vec<u64> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (3..=20).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn a_phase_is_the_same_moments_whenever_it_is_asked() {
        let (phase, every) = (Phase::nth(7), Duration::from_secs(20));
        let first = phase.next(Time(1), every);
        assert_eq!(phase.next(first, every), first);
        assert_eq!(phase.next(Time(first.0 + 1), every), first + every);
        assert_eq!(phase.next(Time(first.0 + 19_999), every), first + every);
        assert_eq!(Phase::nth(3).next(Time(5), Duration::ZERO), Time(5));
    }

    #[test]
    fn one_generation_has_one_moment() {
        let mut schedule = Schedule::default();
        schedule.set(Gen(1), None, Some(Time(10)));
        schedule.set(Gen(2), None, Some(Time(20)));
        schedule.set(Gen(1), Some(Time(10)), Some(Time(30)));
        assert_eq!(schedule.first(), Some(Time(20)));
        assert_eq!(schedule.due(Time(19)), None);
        assert_eq!(schedule.due(Time(20)), Some((Time(20), Gen(2))));
        schedule.set(Gen(1), Some(Time(30)), None);
        assert_eq!(schedule.first(), None);
    }
}
