//! Does it hang, or does it starve? Readings in, verdict out.
//!
//! A service whose processes want to run and cannot is not helped by a restart: its successor starves too, and
//! starting costs more than running. So a service is called starved when, for most of the time since it last answered,
//! something of it waited:
//!
//! | reading | threshold | reason |
//! |---|---|---|
//! | group, cpu some | 60 % | it got less than half of the processor time it asked for; one that sleeps, is stopped or is deadlocked asks for none and shows 0 |
//! | group, io some | 60 % | it mostly waited for a disk; a busy database in good health stays below |
//! | group, memory some | 40 % | reclaim and refaults take nearly half of its time: it thrashes |
//! | machine, cpu some | 90 % | somebody waits on every busy machine; only "nearly always" says anything about one service |
//! | machine, io full, memory full | 60 %, 40 % | `full`: nobody at all got on with their work |
//! | load per processor | 4 | each gets a quarter at most |
//!
//! The kernel's `avg10` is an average with a decay of ten seconds: a stall that began t seconds ago shows only
//! 1 - e^(-t/10) of itself. The threshold is scaled by that, t being the time since the last good answer, less the two
//! seconds between two updates of the average, and at least these.

use std::time::Duration;

use crate::os::pressure::{Pressure, Source};

/// Decay of the kernel's average, in seconds.
const DECAY: f64 = 10.0;
/// Between two updates of the average, in seconds.
const UPDATES: f64 = 2.0;
/// Runnable tasks per processor beyond which anybody starves.
const LOAD: f64 = 4.0;

/// Figures that say that a service starved in the time `since` it last answered; `None`: it did not.
pub(super) fn starved(pressure: Pressure, since: Duration) -> Option<String> {
    match pressure {
        Pressure::Stall { source, cpu, io, memory } => {
            let (whose, cpu_at, io_at, memory_at) = match source {
                Source::Group => ("of the last 10s it", 60.0, 60.0, 40.0),
                Source::Machine => ("of the last 10s the machine", 90.0, 60.0, 40.0),
            };
            let seen = 1.0 - (-(since.as_secs_f64() - UPDATES).max(UPDATES) / DECAY).exp();
            let all = [
                ("for a processor", cpu, cpu_at),
                ("for a disk", io, io_at),
                ("for memory", memory, memory_at),
            ];
            let worst = all.into_iter().filter(|(_, share, at)| *share >= at * seen);
            let worst = worst.max_by(|(_, a, at_a), (_, b, at_b)| (a / at_a).total_cmp(&(b / at_b)));
            worst.map(|(what, share, _)| format!("{share:.0}% {whose} waited {what}"))
        }
        Pressure::Load(load) if load >= LOAD => Some(format!("{load:.1} runnable tasks per processor")),
        Pressure::Load(_) | Pressure::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: Source, shares: [f64; 3], seconds: u64, expected: Option<&str>) {
        let [cpu, io, memory] = shares;
        let verdict = starved(Pressure::Stall { source, cpu, io, memory }, Duration::from_secs(seconds));
        assert_eq!(verdict.as_deref(), expected, "{source:?} {shares:?} after {seconds}s");
    }

    #[test]
    fn one_that_waits_for_most_of_the_time_starves() {
        use Source::{Group, Machine};
        check(Group, [0.0, 0.0, 0.0], 30, None);
        check(Group, [50.0, 50.0, 30.0], 30, None);
        check(Group, [80.0, 0.0, 0.0], 30, Some("80% of the last 10s it waited for a processor"));
        check(Group, [0.0, 70.0, 0.0], 30, Some("70% of the last 10s it waited for a disk"));
        check(Group, [0.0, 0.0, 45.0], 30, Some("45% of the last 10s it waited for memory"));
        check(Group, [80.0, 0.0, 95.0], 30, Some("95% of the last 10s it waited for memory"));
        check(Machine, [80.0, 0.0, 0.0], 30, None);
        check(Machine, [95.0, 0.0, 0.0], 30, Some("95% of the last 10s the machine waited for a processor"));
    }

    #[test]
    fn a_short_stall_shows_only_a_part_of_itself_in_the_average() {
        check(Source::Group, [30.0, 0.0, 0.0], 60, None);
        check(Source::Group, [30.0, 0.0, 0.0], 6, Some("30% of the last 10s it waited for a processor"));
        // Before the average has been updated once, the time is taken for that long.
        check(Source::Group, [10.0, 0.0, 0.0], 0, None);
        check(Source::Group, [12.0, 0.0, 0.0], 0, Some("12% of the last 10s it waited for a processor"));
    }

    #[test]
    fn without_stall_information_the_load_tells() {
        let since = Duration::from_secs(30);
        assert_eq!(starved(Pressure::Load(3.9), since), None);
        assert_eq!(starved(Pressure::Load(8.25), since).as_deref(), Some("8.2 runnable tasks per processor"));
        assert_eq!(starved(Pressure::Unknown, since), None);
    }
}
