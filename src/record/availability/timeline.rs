//! Facts read into time lines: for each child, from when to when it was up, down, down on purpose, or unknown.
//!
//! ```text
//!             ready, done, declined                    asked or ended, because of a fault
//! planned ───────────────────────────► up ───────────────────────────────────────────────► down
//!    ▲  ▲                              │ ▲                       ready                       │
//!    │  └─ asked or ended, by a person ┘ └────────────────────────────────────────────────── ┤
//!    └────────────── stopped or held by a person while it was down ──────────────────────────┘
//! ```
//!
//! What follows from one cause has one incident, so the first fact of an incident says whose fault the rest of it is.
//! Incidents are numbered anew by a daemon that follows none of the same boot. Between two daemons there is a gap: what is adopted after it was up all
//! the time; what has to be started again ended in it, nobody saw when, and is down from the second daemon's start.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::super::DAEMON_STARTED;
use super::super::fact::FactLine;
use super::super::words::{is_within, leaf};

/// How a child is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// Not there: not planned yet, or no more.
    Absent,
    /// Up, or its work is done.
    Up,
    /// Not up, and somebody wanted that.
    Planned,
    /// Nobody knows.
    Unknown,
    /// Not up, and nobody wanted that.
    Down,
}

/// Why it was not up.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Cause {
    /// With whom it began; empty: with nobody.
    pub(super) path: String,
    /// In one clause: `killed by SIGKILL`, `stopped by ana`.
    pub(super) text: String,
}

/// One condition for one time.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// Milliseconds since 1970, UTC.
    pub(super) from: u64,
    /// The first moment that is not of it any more.
    pub(super) until: u64,
    pub(super) condition: Condition,
    pub(super) cause: Rc<Cause>,
}

/// All time lines.
pub(super) struct Timelines {
    /// Paths of supervisors and children in order of first mention.
    pub(super) order: Vec<String>,
    /// Spans of each child that is no supervisor, without holes from its first to the end.
    pub(super) spans: HashMap<String, Vec<Span>>,
}

/// Reads `facts`, oldest first, up to the moment `now`. `live`: a daemon runs, so that what was so with the last fact
/// is so still.
pub(super) fn read(facts: &[FactLine], now: u64, live: bool) -> Timelines {
    let mut reader = Reader::new(facts.first().map_or(now, |fact| fact.at));
    facts.iter().filter(|fact| fact.at <= now).for_each(|fact| reader.fact(fact));
    reader.finish(now, live)
}

struct Reader {
    /// The moment of the last fact: the wall clock may be set back, time lines only go on.
    at: u64,
    order: Vec<String>,
    tracks: HashMap<String, Track>,
    /// What the incidents of this daemon began with.
    origins: HashMap<u64, Origin>,
    held: HashMap<String, Rc<Cause>>,
    /// Trees that have ended, and no daemon has anything to do with them.
    over: HashSet<String>,
    gap: Option<Gap>,
    /// Of the boot in which the last daemon was started.
    boot: Option<String>,
    /// First fact of the daemon of which facts are being read.
    begin: u64,
    nothing: Rc<Cause>,
}

/// One child on its way through the facts.
struct Track {
    spans: Vec<Span>,
    since: u64,
    condition: Condition,
    cause: Rc<Cause>,
    generation: u64,
    /// It ended calmly by itself; that is an interruption only if it is to be started again.
    calm: bool,
    /// Its work is done; doing it again is no interruption.
    done: bool,
    /// The present daemon has said something about it.
    mentioned: bool,
    /// It is in no plan any more.
    leaves: bool,
    supervisor: bool,
}

/// Between two daemons.
#[derive(Clone, Copy)]
struct Gap {
    from: u64,
    rebooted: bool,
}

#[derive(Clone)]
struct Origin {
    condition: Condition,
    cause: Rc<Cause>,
}

impl Track {
    fn set(&mut self, at: u64, condition: Condition, cause: Rc<Cause>) {
        if condition == self.condition {
            return;
        }
        let from = self.since;
        self.since = at.max(from);
        let before = std::mem::replace(&mut self.condition, condition);
        let because = std::mem::replace(&mut self.cause, cause);
        // What was over within a millisecond was an interruption all the same.
        if self.since > from || before == Condition::Down {
            self.spans.push(Span { from, until: self.since, condition: before, cause: because });
        }
    }

    /// It had ended calmly, and that was all there was to it.
    fn was_done(&mut self) {
        if std::mem::take(&mut self.calm) && self.condition == Condition::Down {
            self.condition = Condition::Up;
        }
    }
}

impl Reader {
    fn new(begin: u64) -> Reader {
        Reader {
            at: begin,
            order: Vec::new(),
            tracks: HashMap::new(),
            origins: HashMap::new(),
            held: HashMap::new(),
            over: HashSet::new(),
            gap: None,
            boot: None,
            begin,
            nothing: because("", ""),
        }
    }

    fn fact(&mut self, fact: &FactLine) {
        let before = self.at;
        self.at = self.at.max(fact.at);
        if fact.kind == DAEMON_STARTED {
            return self.daemon_started(before, fact);
        }
        if fact.path.is_empty() || fact.incident == 0 && fact.kind != "evicted" {
            return;
        }
        let origin = self.origin(fact);
        let fresh = self.enter(fact);
        match fact.kind.as_str() {
            "starting" => self.starting(fact, &origin, fresh),
            "adopted" => self.adopted(fact),
            "ready" | "done" | "declined" => {
                let nothing = self.nothing.clone();
                self.set(&fact.path, Condition::Up, nothing);
                if let Some(track) = self.tracks.get_mut(&fact.path) {
                    track.done = fact.kind != "ready";
                }
                if fact.kind == "ready" && !fact.path.contains('/') {
                    self.all_are_mentioned(&fact.path);
                }
            }
            "ended" => self.ended(fact, &origin),
            "asked" => self.down_from_up(&fact.path, &origin),
            "start_failed" => {
                self.settle(&fact.path);
                let cause = because(&fact.path, fact.text.trim_start_matches("start failed: "));
                self.down(&fact.path, cause);
            }
            "restart" => {
                self.settle(&fact.path);
                if fact.number("count") != Some(0) {
                    // Nothing is restarted under a hold: this one is over.
                    self.held.retain(|held, _| !is_within(&fact.path, held));
                }
            }
            "backoff" | "limit_exceeded" | "parked" => self.settle(&fact.path),
            "auto_shutdown" => {
                let cause = because(&fact.path, "ended, and its supervisor with it");
                self.origins.insert(fact.incident, Origin { condition: Condition::Planned, cause });
            }
            "stopped_by_hand" => self.planned_below(&fact.path, &origin.cause),
            "stopped_by_apply" => self.leaves(&fact.path),
            "held" => {
                let cause = because(&fact.path, &by("held", fact));
                self.held.insert(fact.path.clone(), cause.clone());
                self.planned_below(&fact.path, &cause);
            }
            "released" => drop(self.held.remove(&fact.path)),
            "evicted" => {
                let nothing = self.nothing.clone();
                self.set(&fact.path, Condition::Absent, nothing);
            }
            "tree_ended" => {
                self.over.insert(fact.path.clone());
                if matches!(fact.word("how"), Some("stopped" | "shutdown" | "essential")) {
                    self.planned_below(&fact.path, &because(&fact.path, "the tree has ended"));
                }
            }
            _ => {}
        }
    }

    fn daemon_started(&mut self, before: u64, fact: &FactLine) {
        let boot = fact.word("boot").map(str::to_owned);
        let last = std::mem::replace(&mut self.boot, boot);
        let rebooted = last.is_some() && self.boot.is_some() && last != self.boot;
        self.gap = (!self.tracks.is_empty()).then_some(Gap { from: before, rebooted });
        self.begin = self.at;
        if !fact.flag("follows") {
            self.origins.clear();
        }
        self.tracks.values_mut().for_each(|track| track.mentioned = false);
    }

    /// What the incident of this fact began with.
    fn origin(&mut self, fact: &FactLine) -> Origin {
        let origin = self.origins.entry(fact.incident).or_insert_with(|| {
            let (condition, text) = match fact.kind.as_str() {
                "ended" if !fact.flag("asked") => (Condition::Down, fate(fact)),
                "sick" => (Condition::Down, "its health check failed".to_owned()),
                "start_failed" => {
                    (Condition::Down, fact.text.trim_start_matches("start failed: ").to_owned())
                }
                "limit_exceeded" | "stuck" => (Condition::Down, fact.text.clone()),
                "stopped_by_hand" => (Condition::Planned, by("stopped", fact)),
                "restart" if fact.number("count") == Some(0) => (Condition::Planned, by("restarted", fact)),
                "started_by_hand" => (Condition::Planned, by("started", fact)),
                "started_by_apply" | "stopped_by_apply" | "restarted_by_apply" => {
                    (Condition::Planned, fact.kind.replace('_', " "))
                }
                "released" => (Condition::Planned, by("released", fact)),
                "starting" => (Condition::Planned, "was being started".to_owned()),
                "asked" | "stopping" if !fact.path.contains('/') => {
                    (Condition::Planned, "the tree was stopped".to_owned())
                }
                _ => (Condition::Planned, "stopped as planned".to_owned()),
            };
            Origin { condition, cause: because(&fact.path, &text) }
        });
        origin.clone()
    }

    /// With the first fact about a path its time line begins. Whether it is the present daemon's first.
    fn enter(&mut self, fact: &FactLine) -> bool {
        if let Some(track) = self.tracks.get_mut(&fact.path) {
            track.supervisor |= fact.flag("supervisor");
            return !std::mem::replace(&mut track.mentioned, true);
        }
        self.order.push(fact.path.clone());
        // What ends, or is asked to, was there before: its start is in a file that is no more.
        let was_up = matches!(fact.kind.as_str(), "ended" | "asked" | "sick" | "dragged_along");
        let condition = if was_up { Condition::Up } else { Condition::Absent };
        let track = Track {
            spans: Vec::new(),
            since: self.begin,
            condition,
            cause: self.nothing.clone(),
            generation: fact.generation,
            calm: false,
            done: false,
            mentioned: true,
            leaves: false,
            supervisor: fact.flag("supervisor"),
        };
        self.tracks.insert(fact.path.clone(), track);
        true
    }

    fn starting(&mut self, fact: &FactLine, origin: &Origin, fresh: bool) {
        let (at, gap) = (self.at, self.gap);
        if !fact.path.contains('/') {
            self.over.remove(&fact.path);
        }
        let Some(track) = self.tracks.get_mut(&fact.path) else { return };
        track.was_done();
        track.leaves = false;
        // After a gap it would have been adopted if it had lived.
        let died_in = gap.filter(|_| fresh);
        track.generation = fact.generation;
        match (track.condition, died_in) {
            (Condition::Up, _) if track.done => {}
            (Condition::Up | Condition::Down, Some(gap)) if gap.rebooted => {
                track.set(gap.from, Condition::Planned, because("", "the host was down"));
            }
            (Condition::Up, Some(gap)) => {
                let cause = because("", "not known: nobody saw its end");
                track.set(gap.from, Condition::Unknown, cause.clone());
                track.set(self.begin, Condition::Down, cause);
            }
            (Condition::Up, None) => track.set(at, origin.condition, origin.cause.clone()),
            (Condition::Absent, _) => {
                track.set(at, Condition::Planned, because(&fact.path, "was being started"));
            }
            (Condition::Down | Condition::Planned | Condition::Unknown, _) => {}
        }
    }

    fn adopted(&mut self, fact: &FactLine) {
        let (at, gap) = (self.at, self.gap);
        let nothing = self.nothing.clone();
        let Some(track) = self.tracks.get_mut(&fact.path) else { return };
        match gap {
            // Another one than was known: its start was not written down any more.
            Some(gap) if track.generation != fact.generation && track.condition == Condition::Up => {
                track.set(gap.from, Condition::Unknown, because("", "not known: nobody saw its end"));
                track.set(at, Condition::Up, nothing);
            }
            _ if track.condition == Condition::Absent => track.set(at, Condition::Up, nothing),
            _ => {}
        }
        track.generation = fact.generation;
    }

    fn ended(&mut self, fact: &FactLine, origin: &Origin) {
        if fact.flag("asked") {
            return self.down_from_up(&fact.path, origin);
        }
        let calm = matches!(fact.word("reason"), Some("normal" | "shutdown"));
        if let Some(held) = self.held.iter().find(|(held, _)| is_within(&fact.path, held)) {
            let cause = held.1.clone();
            return self.set(&fact.path, Condition::Planned, cause);
        }
        let Some(track) = self.tracks.get_mut(&fact.path) else { return };
        if calm && track.done {
            return;
        }
        if calm && track.condition == Condition::Up {
            track.calm = true;
        }
        if !calm || track.calm {
            self.down(&fact.path, because(&fact.path, &fate(fact)));
        }
    }

    /// An end that somebody asked for, or woodward because of something else.
    fn down_from_up(&mut self, path: &str, origin: &Origin) {
        let Some(track) = self.tracks.get(path).filter(|track| track.condition == Condition::Up) else {
            return;
        };
        // What is added at run time and stopped by hand is no more, nor is what has left the plan.
        let made = leaf(path).contains('#') && origin.condition == Condition::Planned;
        let condition = if made || track.leaves { Condition::Absent } else { origin.condition };
        self.set(path, condition, origin.cause.clone());
    }

    /// It is in no plan any more; what is up is so until it is asked to stop.
    fn leaves(&mut self, path: &str) {
        let (at, nothing) = (self.at, self.nothing.clone());
        for (_, track) in self.tracks.iter_mut().filter(|(key, _)| is_within(key, path)) {
            track.leaves = true;
            if track.condition != Condition::Up {
                track.set(at, Condition::Absent, nothing.clone());
            }
        }
    }

    /// Not up, by a fault: of what is down already the first cause stays.
    fn down(&mut self, path: &str, cause: Rc<Cause>) {
        self.set(path, Condition::Down, cause);
    }

    fn set(&mut self, path: &str, condition: Condition, cause: Rc<Cause>) {
        let at = self.at;
        if let Some(track) = self.tracks.get_mut(path) {
            track.set(at, condition, cause);
        }
    }

    /// A calm end is not the end of it: the child is wanted up.
    fn settle(&mut self, path: &str) {
        if let Some(track) = self.tracks.get_mut(path) {
            track.calm = false;
        }
    }

    /// What is not up at or below `path` is so on purpose from now on.
    fn planned_below(&mut self, path: &str, cause: &Rc<Cause>) {
        let at = self.at;
        let below = self.tracks.iter_mut().filter(|(key, _)| is_within(key, path));
        for (_, track) in below.filter(|(_, track)| track.condition == Condition::Down) {
            track.was_done();
            if track.condition == Condition::Down {
                track.set(at, Condition::Planned, cause.clone());
            }
        }
    }

    /// A tree is ready: what its daemon has not spoken of is not in its plan any more.
    fn all_are_mentioned(&mut self, root: &str) {
        let Some(gap) = self.gap else { return };
        for (path, track) in &mut self.tracks {
            if !track.mentioned && is_within(path, root) {
                track.set(gap.from, Condition::Absent, self.nothing.clone());
            }
        }
    }

    fn finish(mut self, now: u64, live: bool) -> Timelines {
        let mut spans = HashMap::new();
        let supervisors: HashSet<&str> =
            self.order.iter().filter_map(|path| path.rsplit_once('/')).map(|(above, _)| above).collect();
        let unseen = because("", "no daemon runs");
        for (path, mut track) in std::mem::take(&mut self.tracks) {
            if track.supervisor || supervisors.contains(path.as_str()) {
                continue;
            }
            track.was_done();
            let root = path.split('/').next().unwrap_or_default();
            let seen = live || self.over.contains(root);
            if !seen && matches!(track.condition, Condition::Up | Condition::Down) {
                track.set(self.at, Condition::Unknown, unseen.clone());
            }
            if now > track.since {
                let Track { since: from, condition, cause, .. } = track;
                track.spans.push(Span { from, until: now, condition, cause });
            }
            spans.insert(path, track.spans);
        }
        Timelines { order: self.order, spans }
    }
}

fn because(path: &str, text: &str) -> Rc<Cause> {
    Rc::new(Cause { path: path.to_owned(), text: text.to_owned() })
}

/// `stopped by ana`.
fn by(what: &str, fact: &FactLine) -> String {
    fact.word("by").map_or_else(|| format!("{what} by hand"), |by| format!("{what} by {by}"))
}

/// How something ended by itself: `killed by SIGKILL`, `exit 1`.
fn fate(ended: &FactLine) -> String {
    let exit = ended.word("exit").unwrap_or("not known");
    match (ended.word("reason"), ended.number("exit_signal")) {
        (Some("sick"), _) => "its health check failed".to_owned(),
        (Some("not_ready"), _) => "not ready in time".to_owned(),
        (_, Some(_)) => format!("killed by {exit}"),
        _ if exit == "not known" => "not known: nobody saw its end".to_owned(),
        _ => exit.to_owned(),
    }
}
