//! The watch over one generation: a state machine without clock and without system calls.
//!
//! ```text
//!            due                  bad answer, time over
//! Waiting ────────► Asking ────────────────────────────► miss ── misses in a row ──► verdict
//!    ▲                │ good answer                                                    │
//!    └────────────────┴────────────── once per episode: grace ◄── starved ─────────────┤
//!                                                                                      └──► sick
//! ```
//!
//! A watchdog is never asked: each word of the service moves its deadline, and a deadline that comes is one miss of one.
//!
//! * **Episode**: from the first miss to the next good answer. In one episode there is one grace period, as long as the
//!   misses that led to it; what still fails after it is sick, starved or not.
//! * **Suspended**: something it relies on is down. Nothing is asked and no miss counts; one fact when that begins, one
//!   when it is over. What it had missed before is forgiven.
//! * **In doubt**: something it relies on misses answers too. Its verdict waits for that one's, else all that hang on
//!   one service would be ended with it.
//! * **Hearing**: when the time of an answer is over, what has already been said is heard first, for [`HEARING`]: it may
//!   wait in a socket while the daemon did not run.
//! * **Late**: woodward itself did not run when the time came. That was not the service's fault: the same grace.

use std::time::Duration;

use woodward_engine::Time;

use super::schedule::Phase;
use super::starved::starved;
use crate::os::pressure::Pressure;
use crate::record::words::span;
use crate::tree::{Check, Health};

/// So long after its time an answer is still heard.
const HEARING: Duration = Duration::from_millis(100);

/// The watch over one generation.
pub(crate) struct Watch {
    every: Duration,
    timeout: Duration,
    misses: u32,
    /// Of a watchdog: how often the service says that it is alive.
    watchdog: Option<Duration>,
    phase: Phase,
    state: State,
    asked: u32,
    /// The time of an answer is over; whether woodward was late to see that.
    hearing: Option<bool>,
    missed: u32,
    graced: bool,
    suspended: bool,
    good: Time,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until the next question, or the deadline of a watchdog.
    Waiting(Time),
    /// Question number n is open until then.
    Asking { n: u32, until: Time },
}

/// What is known when something is due.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Time,
    /// Something it relies on is down.
    pub(crate) down: bool,
    /// Something it relies on misses answers.
    pub(crate) doubt: bool,
    /// The daemon did not run when this was due.
    pub(crate) late: bool,
    /// Reads the pressure on it.
    pub(crate) pressure: &'a dyn Fn() -> Pressure,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Ask question n.
    Ask(u32),
    /// Nobody waits for an answer any more.
    Abandon,
    /// It is not watched for now.
    Suspended,
    /// It is watched again.
    Resumed,
    /// It has answered well.
    Good,
    /// It has missed an answer, for this reason.
    Missed(String),
    /// It starved, by these figures: it has one grace period.
    Starved(String),
    /// It hangs.
    Sick,
}

impl Watch {
    /// Over one that has just become ready; the n-th watch of this daemon.
    pub(crate) fn new(health: &Health, n: u32, now: Time) -> Watch {
        let phase = Phase::nth(n);
        let from = now + health.start_after;
        let watchdog = if let Check::Watchdog(time) = health.check { Some(time) } else { None };
        let first = watchdog.map_or_else(|| phase.next(from, health.every), |time| from + time);
        Watch {
            every: health.every,
            timeout: health.timeout,
            misses: if watchdog.is_some() { 1 } else { health.misses },
            watchdog,
            phase,
            state: State::Waiting(first),
            asked: 0,
            hearing: None,
            missed: 0,
            graced: false,
            suspended: false,
            good: now,
        }
    }

    /// When it has to be looked at.
    pub(crate) fn next(&self) -> Time {
        match self.state {
            State::Waiting(at) | State::Asking { until: at, .. } => at,
        }
    }

    /// It has missed answers and not yet given one.
    pub(crate) fn is_doubtful(&self) -> bool {
        (self.missed > 0 || self.graced) && !self.suspended
    }

    /// Its moment has come.
    pub(crate) fn due(&mut self, moment: &Moment<'_>) -> Vec<Todo> {
        if self.watchdog.is_none() && matches!(self.state, State::Waiting(_)) {
            return self.ask(moment);
        }
        let Some(late) = self.hearing.take() else {
            self.hearing = Some(moment.late);
            let (State::Waiting(at) | State::Asking { until: at, .. }) = &mut self.state;
            *at = moment.now + HEARING;
            return Vec::new();
        };
        let moment = &Moment { late, ..*moment };
        match (self.state, self.watchdog) {
            (State::Waiting(_), time) => {
                let time = time.unwrap_or(self.timeout);
                self.state = State::Waiting(moment.now + time);
                let said = format!("no WATCHDOG=1 within {}", span(time));
                self.failed(said, moment)
            }
            (State::Asking { .. }, _) => {
                let said = format!("no answer within {}", span(self.timeout));
                let mut todo = vec![Todo::Abandon];
                todo.extend(self.over(said, moment));
                todo
            }
        }
    }

    /// There is no process to be watched just now: a lazy service that waits for its first connection, which a check
    /// would be.
    pub(crate) fn skip(&mut self, now: Time) {
        (self.missed, self.graced, self.hearing, self.good) = (0, false, None, now);
        self.state = State::Waiting(self.watchdog.map_or_else(|| self.slot(now), |time| now + time));
    }

    fn ask(&mut self, moment: &Moment<'_>) -> Vec<Todo> {
        if moment.down {
            self.state = State::Waiting(self.slot(moment.now));
            return self.suspend();
        }
        let mut todo = self.resume();
        self.asked = self.asked.wrapping_add(1);
        let n = self.asked;
        self.state = State::Asking { n, until: moment.now + self.timeout };
        todo.push(Todo::Ask(n));
        todo
    }

    /// Question n has been answered; one that nobody asks any more is not heard.
    pub(crate) fn answered(&mut self, n: u32, answer: Result<(), String>, moment: &Moment<'_>) -> Vec<Todo> {
        match self.state {
            State::Asking { n: open, .. } if open == n => match answer {
                Ok(()) => {
                    self.state = State::Waiting(self.slot(moment.now));
                    self.is_good(moment)
                }
                Err(why) => self.over(why, moment),
            },
            _ => Vec::new(),
        }
    }

    /// `WATCHDOG=1`.
    pub(crate) fn alive(&mut self, moment: &Moment<'_>) -> Vec<Todo> {
        let Some(time) = self.watchdog else { return Vec::new() };
        self.state = State::Waiting(moment.now + time);
        self.is_good(moment)
    }

    /// `WATCHDOG_USEC=`: from now on this often; it is a sign of life too.
    pub(crate) fn watchdog_every(&mut self, time: Duration, moment: &Moment<'_>) -> Vec<Todo> {
        if self.watchdog.is_some() {
            self.watchdog = Some(time);
        }
        self.alive(moment)
    }

    fn is_good(&mut self, moment: &Moment<'_>) -> Vec<Todo> {
        (self.missed, self.graced, self.good) = (0, false, moment.now);
        self.hearing = None;
        let mut todo = if moment.down { Vec::new() } else { self.resume() };
        todo.push(Todo::Good);
        todo
    }

    fn over(&mut self, why: String, moment: &Moment<'_>) -> Vec<Todo> {
        self.hearing = None;
        self.state = State::Waiting(self.slot(moment.now));
        self.failed(why, moment)
    }

    fn failed(&mut self, why: String, moment: &Moment<'_>) -> Vec<Todo> {
        if moment.down {
            return self.suspend();
        }
        let mut todo = self.resume();
        if !todo.is_empty() {
            // It relied on something that was down until a moment ago: its time begins now.
            return todo;
        }
        todo.push(Todo::Missed(why));
        if moment.late && !self.graced {
            (self.graced, self.missed) = (true, 0);
            todo.push(Todo::Starved("woodward itself did not run when the answer was due".to_owned()));
            return todo;
        }
        self.missed += 1;
        if self.missed < self.misses || moment.doubt {
            return todo;
        }
        self.missed = 0;
        let figures =
            if self.graced { None } else { starved((moment.pressure)(), moment.now.since(self.good)) };
        todo.push(match figures {
            Some(figures) => {
                self.graced = true;
                Todo::Starved(figures)
            }
            None => Todo::Sick,
        });
        todo
    }

    fn suspend(&mut self) -> Vec<Todo> {
        (self.missed, self.graced) = (0, false);
        let begins = !std::mem::replace(&mut self.suspended, true);
        if begins { vec![Todo::Suspended] } else { Vec::new() }
    }

    fn resume(&mut self) -> Vec<Todo> {
        let ends = std::mem::replace(&mut self.suspended, false);
        if ends { vec![Todo::Resumed] } else { Vec::new() }
    }

    fn slot(&self, now: Time) -> Time {
        self.phase.next(now + Duration::from_millis(1), self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::pressure::Source;
    use crate::tree::Probe;

    const IDLE: Pressure = Pressure::Stall { source: Source::Group, cpu: 0.0, io: 0.0, memory: 0.0 };
    const PRESSED: Pressure = Pressure::Stall { source: Source::Group, cpu: 99.0, io: 0.0, memory: 0.0 };

    fn health(check: Check) -> Health {
        let seconds = Duration::from_secs;
        Health { check, every: seconds(10), timeout: seconds(3), misses: 3, start_after: seconds(5) }
    }

    fn tcp() -> Watch {
        Watch::new(&health(Check::Probe(Probe::Tcp("h:1".to_owned()))), 0, Time(0))
    }

    /// What follows when its next moment comes and the answer, if it asks, is this one.
    fn round(watch: &mut Watch, bad: bool, set: impl Fn(&mut Moment<'_>)) -> String {
        let mut moment =
            Moment { now: watch.next(), down: false, doubt: false, late: false, pressure: &|| IDLE };
        set(&mut moment);
        let mut todo = watch.due(&moment);
        if watch.hearing.is_some() {
            todo.extend(watch.due(&Moment { now: watch.next(), late: false, ..moment }));
        }
        if let Some(&Todo::Ask(n)) = todo.last() {
            todo.pop();
            let answer = if bad { Err("refused".to_owned()) } else { Ok(()) };
            todo.extend(watch.answered(n, answer, &moment));
        }
        todo.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    fn word(todo: &Todo) -> &'static str {
        match todo {
            Todo::Ask(_) => "ask",
            Todo::Abandon => "abandon",
            Todo::Suspended => "suspended",
            Todo::Resumed => "resumed",
            Todo::Good => "good",
            Todo::Missed(_) => "missed",
            Todo::Starved(_) => "starved",
            Todo::Sick => "sick",
        }
    }

    fn plain(_: &mut Moment<'_>) {}

    fn at(now: u64) -> Moment<'static> {
        Moment { now: Time(now), down: false, doubt: false, late: false, pressure: &|| IDLE }
    }

    #[test]
    fn so_many_misses_in_a_row_mean_that_it_hangs() {
        let mut watch = tcp();
        assert_eq!(watch.next(), Time(10_000), "nothing before start_after, then its place in the interval");
        for (bad, expected) in [
            (false, "good"),
            (true, "missed"),
            (true, "missed"),
            (false, "good"),
            (true, "missed"),
            (true, "missed"),
            (true, "missed sick"),
            (true, "missed"),
        ] {
            assert_eq!(round(&mut watch, bad, plain), expected);
        }
    }

    #[test]
    fn a_question_without_an_answer_is_a_miss_when_its_time_is_over() {
        let mut watch = tcp();
        let quiet = at(10_000);
        let Some(&Todo::Ask(n)) = watch.due(&quiet).first() else { panic!("it asks") };
        assert_eq!(watch.next(), Time(13_000));
        assert_eq!(watch.due(&Moment { now: Time(13_000), ..quiet }), [], "what was said is heard first");
        let over = Moment { now: Time(13_100), ..quiet };
        let missed = Todo::Missed("no answer within 3s".to_owned());
        assert_eq!(watch.due(&over), [Todo::Abandon, missed]);
        assert_eq!(watch.next(), Time(20_000));
        assert_eq!(watch.answered(n, Ok(()), &over), [], "an answer that comes too late is not heard");
    }

    #[test]
    fn a_starved_service_gets_one_grace_period_per_episode() {
        let mut watch = tcp();
        let pressed = |moment: &mut Moment<'_>| moment.pressure = &|| PRESSED;
        let mut heard = Vec::new();
        for bad in [true, true, true, true, true, true, false, true, true, true] {
            heard.push(round(&mut watch, bad, pressed));
        }
        let expected = [
            "missed",
            "missed",
            "missed starved",
            "missed",
            "missed",
            "missed sick",
            "good",
            "missed",
            "missed",
            "missed starved",
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn a_deadline_missed_while_woodward_did_not_run_is_forgiven_once() {
        let mut watch = Watch::new(&health(Check::Watchdog(Duration::from_secs(2))), 0, Time(0));
        let late = |moment: &mut Moment<'_>| moment.late = true;
        assert_eq!(watch.next(), Time(7000), "counted from readiness and start_after");
        assert_eq!(round(&mut watch, true, late), "missed starved");
        assert_eq!(round(&mut watch, true, late), "missed sick");
        assert_eq!(watch.alive(&at(12_000)), [Todo::Good]);
        assert_eq!(round(&mut watch, true, late), "missed starved");
    }

    #[test]
    fn a_watchdog_is_moved_by_each_word_of_the_service() {
        let mut watch = Watch::new(&health(Check::Watchdog(Duration::from_secs(2))), 0, Time(0));
        assert_eq!(watch.alive(&at(6000)), [Todo::Good]);
        assert_eq!(watch.next(), Time(8000));
        watch.watchdog_every(Duration::from_secs(60), &at(7000));
        assert_eq!(watch.next(), Time(67_000));
        assert_eq!(round(&mut watch, true, plain), "missed sick");
    }

    #[test]
    fn without_a_process_nothing_is_asked_and_nothing_missed() {
        for check in [Check::Probe(Probe::Tcp("h:1".to_owned())), Check::Watchdog(Duration::from_secs(10))] {
            let mut watch = Watch::new(&health(check), 0, Time(0));
            assert!(round(&mut watch, true, plain).starts_with("missed"));
            let before = watch.next();
            watch.skip(before);
            assert!(!watch.is_doubtful());
            assert_eq!(watch.next(), before + Duration::from_secs(10));
        }
    }

    #[test]
    fn what_relies_on_a_dead_service_is_not_asked_and_misses_nothing() {
        let mut watch = tcp();
        let down = |moment: &mut Moment<'_>| moment.down = true;
        assert_eq!(round(&mut watch, true, plain), "missed");
        assert_eq!(round(&mut watch, true, plain), "missed");
        assert_eq!(round(&mut watch, true, down), "suspended");
        assert!(!watch.is_doubtful());
        assert_eq!(round(&mut watch, true, down), "", "said once");
        assert_eq!(
            round(&mut watch, true, plain),
            "resumed missed",
            "asked again; the old misses are forgiven"
        );
        assert_eq!(round(&mut watch, true, plain), "missed");
        assert_eq!(round(&mut watch, true, plain), "missed sick");
    }

    #[test]
    fn a_question_open_when_the_other_one_died_counts_for_nothing() {
        let mut watch = tcp();
        let quiet = at(10_000);
        let Some(&Todo::Ask(n)) = watch.due(&quiet).first() else { panic!("it asks") };
        let down = Moment { down: true, ..quiet };
        assert_eq!(watch.answered(n, Err("refused".to_owned()), &down), [Todo::Suspended]);
    }

    #[test]
    fn a_watchdog_begins_anew_when_what_it_relies_on_is_back() {
        let mut watch = Watch::new(&health(Check::Watchdog(Duration::from_secs(2))), 0, Time(0));
        assert_eq!(round(&mut watch, true, |moment| moment.down = true), "suspended");
        let down = Moment { down: true, ..at(9000) };
        assert_eq!(watch.alive(&down), [Todo::Good], "it lives, and what it relies on is still away");
        assert_eq!(round(&mut watch, true, plain), "resumed");
        assert_eq!(round(&mut watch, true, plain), "missed sick");
    }

    #[test]
    fn a_verdict_waits_for_that_on_what_it_relies_on() {
        let mut watch = tcp();
        let doubt = |moment: &mut Moment<'_>| moment.doubt = true;
        for _ in 0..9 {
            assert_eq!(round(&mut watch, true, doubt), "missed");
        }
        assert_eq!(round(&mut watch, true, plain), "missed sick");
    }
}
