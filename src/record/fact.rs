//! A fact as it is recorded: what the engine or a worker said, with names and wall-clock time.
//!
//! This is the one place that puts facts into words. The engine's [`Fact`] knows paths as numbers and time as its own
//! clock; the [`Scene`] translates both, the [`Extras`] add what only the kernel knows (pid, probe, the text of a
//! spawn error, who asked). What did not come from the engine is a [`FactLine::note`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use woodward_engine::effect::TreeEnd;
use woodward_engine::spec::{Exhausted, Strategy};
use woodward_engine::{ByApply, Exit, Fact, FailedStart, PathId, Reason, Time, What};

use super::Who;
use super::words::{self, leaf, span};
use crate::tree::{Probe, WorkerPlan};

/// One line of `events`, one step of `why`, one row of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FactLine {
    /// Grows by one with each fact of this daemon.
    pub seq: u64,
    /// Milliseconds since 1970, UTC.
    pub at: u64,
    /// The chain of cause and effect it belongs to.
    pub incident: u64,
    /// Whom it is about.
    pub path: String,
    /// Which attempt; 0 when none.
    pub generation: u64,
    /// What kind, e.g. `ended`, `restart`, `ready`: snake_case names of the engine's facts and the workers' notes.
    pub kind: String,
    /// The clause a person reads: `ended: SIGKILL, not sent by woodward`.
    pub text: String,
    /// Everything else of it, by name (`exit`, `reason`, `strategy`, `others`, `count`, `with`, `until`, `pid`, ...).
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// The moment of a fact, and how its paths are spelled.
pub struct Scene<'a> {
    /// Wall clock: milliseconds since 1970, UTC.
    pub at: u64,
    /// The same moment on the engine's clock.
    pub now: Time,
    /// Spells out a path; of `woodward_engine::Engine::path`.
    pub path: &'a dyn Fn(PathId) -> String,
}

/// What the kernel knows besides. Each fact takes what it needs; `Extras::default()` is always good enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// The child's plan: probe, stop command and signal.
    pub worker: Option<&'a WorkerPlan>,
    /// `Started`: the process.
    pub pid: Option<i32>,
    /// `Started`: how long its back-off was.
    pub backoff: Option<Duration>,
    /// `Ready`: how long readiness had to hold.
    pub settle: Duration,
    /// `StartFailed` by lateness: the time it had.
    pub within: Option<Duration>,
    /// `StartFailed`: why, the part after `cannot start PATH: `. `Ended`: the cause, if it is known. `Sick`: the last miss.
    pub error: Option<&'a str>,
    /// Who asked, for what a person did.
    pub who: Option<&'a Who>,
    /// `ByApply`: the keys of the tree file that differ.
    pub changed: &'a [String],
    /// `Ended`: the signal a person had sent it last.
    pub by_hand: Option<i32>,
}

impl FactLine {
    /// A fact of the engine in words. Its `seq` is filled in when it is recorded.
    pub fn of(fact: &Fact, scene: &Scene<'_>, extras: &Extras<'_>) -> FactLine {
        let path = (scene.path)(fact.path);
        let mut telling = Telling { fact, scene, extras, path: &path, fields: Map::new() };
        let (kind, text) = telling.tell();
        let fields = telling.fields;
        let kind = kind.to_owned();
        FactLine {
            seq: 0,
            at: scene.at,
            incident: fact.incident.0,
            generation: fact.generation.0,
            path,
            kind,
            text,
            fields,
        }
    }

    /// Something that did not come from the engine: a hook that failed, leftovers that were killed, a worker that
    /// panicked. `kind` is one word in snake_case, `text` one clause in the tone of the others.
    pub fn note(at: u64, incident: u64, path: &str, generation: u64, kind: &str, text: String) -> FactLine {
        let (path, kind) = (path.to_owned(), kind.to_owned());
        FactLine { seq: 0, at, incident, path, generation, kind, text, fields: Map::new() }
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> FactLine {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    /// A field that is a text.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A field that says yes.
    pub fn flag(&self, name: &str) -> bool {
        self.fields.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// What is waited for, as a person reads it: `tcp 127.0.0.1:3205`, `"ACS Logger is running"`.
pub fn probe(probe: &Probe) -> String {
    match probe {
        Probe::Notify => "notify".to_owned(),
        Probe::Fd(number) => format!("newline on descriptor {number}"),
        Probe::Tcp(address) => format!("tcp {address}"),
        Probe::Unix(path) => format!("unix {}", path.display()),
        Probe::Http { url, .. } => url.clone(),
        Probe::Exec(command) => format!("exec {}", command.join(" ")),
        Probe::Log(text) => format!("\"{text}\""),
        Probe::File { path, contains: None } => format!("file {}", path.display()),
        Probe::File { path, contains: Some(text) } => format!("file {} with \"{text}\"", path.display()),
        Probe::Corbaloc(url) => url.clone(),
    }
}

/// OTP's word for a strategy.
pub fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::SimpleOneForOne => "simple_one_for_one",
    }
}

/// The tree file's word for what giving up means.
fn exhausted(then: Exhausted) -> &'static str {
    match then {
        Exhausted::Escalate => "escalate",
        Exhausted::Park => "park",
        Exhausted::Exit => "exit",
        Exhausted::Failover => "failover",
        Exhausted::Reboot => "reboot",
    }
}

/// The decision to restart, in one clause; `along` names those who go along.
pub(super) fn restart_clause(line: &FactLine, along: &str) -> String {
    let count = line.number("count").unwrap_or(0);
    let account = if count == 0 {
        let by = line.word("by").map(|by| format!(" by {by}")).unwrap_or_default();
        format!("asked for{by}, not counted")
    } else {
        let period = span(Duration::from_secs(line.number("period").unwrap_or(0)));
        let own = if line.flag("own_limit") { "its own limit" } else { "limit" };
        format!("restart {count}, {own} {} in {period}", line.number("intensity").unwrap_or(0))
    };
    let strategy = line.word("strategy").unwrap_or("restart");
    if along.is_empty() {
        format!("{strategy}: {account}")
    } else {
        format!("{strategy}: {along}; {account}")
    }
}

/// One fact on its way into words.
struct Telling<'a> {
    fact: &'a Fact,
    scene: &'a Scene<'a>,
    extras: &'a Extras<'a>,
    path: &'a str,
    fields: Map<String, Value>,
}

impl Telling<'_> {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// Notes the moment and says how far off it is.
    fn put_until(&mut self, until: Option<Time>) -> Option<String> {
        let left = until?.since(self.scene.now);
        let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.put("until", self.scene.at.saturating_add(ms));
        // What a person set is told as it was set, though a moment of it has passed.
        let rounded = if ms < 10_000 { left } else { Duration::from_secs((ms + 500) / 1000) };
        Some(span(rounded))
    }

    fn put_exit(&mut self, exit: Exit) -> String {
        let text = words::exit(exit);
        self.put("exit", text.clone());
        match exit {
            Exit::Code(code) => self.put("exit_code", code),
            Exit::Signal(number) => self.put("exit_signal", number),
            Exit::Reason(_) | Exit::Unknown => {}
        }
        text
    }

    /// ` by ana: "mirror is being moved"`, if somebody asked.
    fn by(&mut self) -> String {
        let Some(who) = self.extras.who.filter(|who| !who.by.is_empty()) else { return String::new() };
        self.put("by", who.by.clone());
        let Some(text) = &who.text else { return format!(" by {}", who.by) };
        self.put("text", text.clone());
        format!(" by {}: \"{text}\"", who.by)
    }

    fn supervisor(&self) -> &str {
        words::parent(self.path).unwrap_or(self.path)
    }

    fn tell(&mut self) -> (&'static str, String) {
        match self.fact.what {
            What::Starting => {
                if self.extras.worker.is_none() {
                    self.put("supervisor", true);
                }
                ("starting", "starting".to_owned())
            }
            What::Adopted => ("adopted", "found running and taken over".to_owned()),
            What::Started => ("started", self.started()),
            What::Ready => ("ready", self.ready()),
            What::Declined => ("declined", "declined to start".to_owned()),
            What::Done => ("done", "done".to_owned()),
            What::StartFailed { why } => ("start_failed", self.start_failed(why)),
            What::Ended { exit, reason, asked } => ("ended", self.ended(exit, reason, asked)),
            What::Sick => ("sick", self.sick()),
            What::Restart { .. } => ("restart", self.restart()),
            What::DraggedAlong { with } => {
                let with = (self.scene.path)(with);
                let text = format!("goes along with {}", leaf(&with));
                self.put("with", with);
                ("dragged_along", text)
            }
            What::ByApply { what } => self.by_apply(what),
            What::Backoff { until, n } => {
                let left = self.put_until(Some(until)).unwrap_or_default();
                self.put("n", n);
                ("backoff", format!("backing off, again in {left}"))
            }
            What::Asked { within } => ("asked", self.asked(within)),
            What::Killed => ("killed", "killed: SIGKILL to all of it".to_owned()),
            What::Stuck => ("stuck", "killed, but not gone".to_owned()),
            What::ReportChildTerminated { reason } => {
                self.report("report_child_terminated", Some(reason), None)
            }
            What::ReportStartError => self.report("report_start_error", None, None),
            What::ReportShutdownError { reason, count } => {
                self.report("report_shutdown_error", Some(reason), count)
            }
            What::LimitExceeded { then, own_limit } => {
                ("limit_exceeded", self.limit_exceeded(then, own_limit))
            }
            What::AutoShutdown => {
                let text = format!("significant: its end shuts {} down", leaf(self.supervisor()));
                ("auto_shutdown", text)
            }
            What::Parked { until } => {
                let text = match self.put_until(until) {
                    Some(left) => format!("parked, again in {left}"),
                    None => "parked until somebody starts it".to_owned(),
                };
                ("parked", text)
            }
            What::Held { until } => {
                let left = self.put_until(until).map(|left| format!(" for {left}")).unwrap_or_default();
                ("held", format!("held{left}{}", self.by()))
            }
            What::Released => ("released", format!("released{}", self.by())),
            What::StoppedByHand => ("stopped_by_hand", format!("stopped{}", self.by())),
            What::StartedByHand => ("started_by_hand", format!("started{}", self.by())),
            What::Stopping { reason } => {
                self.put("reason", reason.to_string());
                ("stopping", format!("stopping: {reason}"))
            }
            What::TreeEnded { how } => ("tree_ended", self.tree_ended(how)),
        }
    }

    /// `restarted by apply: command changed`.
    fn by_apply(&mut self, what: ByApply) -> (&'static str, String) {
        let keys = self.extras.changed;
        if !keys.is_empty() {
            self.put("changed", keys.to_vec());
        }
        match what {
            ByApply::Started => ("started_by_apply", "started by apply: new in the tree".to_owned()),
            ByApply::Stopped => ("stopped_by_apply", "stopped by apply: no longer in the tree".to_owned()),
            ByApply::Restarted if keys.is_empty() => ("restarted_by_apply", "restarted by apply".to_owned()),
            ByApply::Restarted => {
                ("restarted_by_apply", format!("restarted by apply: {} changed", keys.join(", ")))
            }
        }
    }

    fn started(&mut self) -> String {
        let mut text = "started".to_owned();
        if let Some(pid) = self.extras.pid {
            self.put("pid", pid);
            text.push_str(&format!(", pid {pid}, generation {}", self.fact.generation.0));
        }
        if let Some(backoff) = self.extras.backoff.filter(|time| !time.is_zero()) {
            self.put("backoff_ms", u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX));
            text.push_str(&format!("; back-off was {}", span(backoff)));
        }
        text
    }

    fn ready(&mut self) -> String {
        let condition = self.extras.worker.and_then(|worker| worker.ready.as_ref()).map(probe);
        let held = Some(self.extras.settle).filter(|time| !time.is_zero());
        let held = held.map(|time| format!("held for {}", span(time)));
        match (condition, held) {
            (Some(condition), Some(held)) => format!("ready: {condition}, {held}"),
            (Some(text), None) | (None, Some(text)) => format!("ready: {text}"),
            (None, None) => "ready".to_owned(),
        }
    }

    fn start_failed(&mut self, why: FailedStart) -> String {
        let (word, text) = match why {
            FailedStart::Error => {
                ("error", self.extras.error.unwrap_or("it could not be started").to_owned())
            }
            FailedStart::Ended(exit) => ("ended", format!("{} before it was ready", self.put_exit(exit))),
            FailedStart::TooLate => {
                let within = self.extras.within.map(|time| format!("within {}", span(time)));
                ("too_late", format!("not ready {}", within.as_deref().unwrap_or("in time")))
            }
            FailedStart::Child => ("child", "one of its children could not be started".to_owned()),
        };
        self.put("why", word);
        if let Some(error) = self.extras.error {
            self.put("error", error);
        }
        format!("start failed: {text}")
    }

    fn ended(&mut self, exit: Exit, reason: Reason, asked: bool) -> String {
        let how = self.put_exit(exit);
        self.put("reason", reason.to_string());
        self.put("asked", asked);
        if let Some(error) = self.extras.error.filter(|_| !matches!(reason, Reason::NotReady | Reason::Sick))
        {
            self.put("error", error);
            return format!("ended: {how}, {error}");
        }
        match (exit, reason) {
            (_, Reason::NotReady) => format!("ended: {how}; it was not ready in time"),
            (_, Reason::Sick) => format!("ended: {how}; its health check had failed"),
            (Exit::Reason(_), _) => format!("ended: {how}"),
            (Exit::Unknown, _) => "ended while nobody was watching: status unknown".to_owned(),
            _ if asked => format!("ended: {how}; its group is empty"),
            (Exit::Signal(number), _) if self.extras.by_hand == Some(number) => {
                format!("ended: {how}, sent by hand")
            }
            (Exit::Signal(_), _) => format!("ended: {how}, not sent by woodward"),
            (Exit::Code(_), _) => format!("ended: {how}"),
        }
    }

    fn sick(&mut self) -> String {
        let Some(why) = self.extras.error else { return "its health check failed".to_owned() };
        self.put("error", why);
        format!("its health check failed: {why}")
    }

    fn restart(&mut self) -> String {
        let What::Restart { strategy: by, others, count, intensity, period, own_limit } = self.fact.what
        else {
            return String::new();
        };
        self.put("strategy", strategy(by));
        self.put("others", others);
        self.put("count", count);
        self.put("intensity", intensity);
        self.put("period", period);
        self.put("own_limit", own_limit);
        if count == 0 {
            self.by();
        }
        let along = match others {
            0 => String::new(),
            1 => "1 more goes too".to_owned(),
            n => format!("{n} more go too"),
        };
        let fields = std::mem::take(&mut self.fields);
        let line = FactLine::note(0, 0, "", 0, "restart", String::new());
        let line = FactLine { fields, ..line };
        let text = restart_clause(&line, &along);
        self.fields = line.fields;
        text
    }

    fn asked(&mut self, within: Option<Duration>) -> String {
        let time = match within {
            Some(time) => span(time),
            None => "no time limit".to_owned(),
        };
        if let Some(within) = within {
            self.put("within_ms", u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        }
        let Some(worker) = self.extras.worker.filter(|worker| !worker.task) else {
            // A supervisor or a task, which gets no signal.
            return within.map_or("asked to stop".to_owned(), |_| format!("asked to stop: {time}"));
        };
        let signal = words::signal(worker.stop.signal);
        self.put("signal", signal.clone());
        match worker.stop.command.as_ref().and_then(|command| command.first()) {
            Some(program) => format!("asked to stop: {program}, then {signal}, {time}"),
            None => format!("asked to stop: {signal}, {time}"),
        }
    }

    fn report(
        &mut self,
        kind: &'static str,
        reason: Option<Reason>,
        count: Option<u32>,
    ) -> (&'static str, String) {
        let mut text = kind.replacen("report_", "report: ", 1);
        if let Some(reason) = reason {
            self.put("reason", reason.to_string());
            text.push_str(&format!(", {reason}"));
        }
        if let Some(count) = count {
            self.put("count", count);
            text.push_str(&format!(", {count} instances"));
        }
        (kind, text)
    }

    fn limit_exceeded(&mut self, then: Exhausted, own_limit: bool) -> String {
        self.put("then", exhausted(then));
        self.put("own_limit", own_limit);
        let limit = if own_limit { "its own limit is exceeded" } else { "limit exceeded" };
        if own_limit && then == Exhausted::Park {
            return format!("{limit}: it is parked");
        }
        let supervisor = self.supervisor();
        let name = leaf(supervisor);
        let what = match (then, words::parent(supervisor)) {
            (Exhausted::Park, _) => "is parked".to_owned(),
            (Exhausted::Failover, _) => "gives up, another node shall have it".to_owned(),
            (Exhausted::Reboot, _) => "gives up, the machine shall be rebooted".to_owned(),
            (Exhausted::Escalate, Some(above)) => format!("gives up, {} decides", leaf(above)),
            (Exhausted::Escalate | Exhausted::Exit, _) => "gives up, the tree ends".to_owned(),
        };
        format!("{limit}: {name} {what}")
    }

    fn tree_ended(&mut self, how: TreeEnd) -> String {
        let (word, text) = match how {
            TreeEnd::Stopped => ("stopped", "stopped as asked".to_owned()),
            TreeEnd::Essential(exit) => {
                ("essential", format!("its essential child ended with {}", self.put_exit(exit)))
            }
            TreeEnd::GaveUp => ("gave_up", "it gave up".to_owned()),
            TreeEnd::Shutdown => ("shutdown", "it shut itself down".to_owned()),
            TreeEnd::Failover => ("failover", "it gave up, another node shall have it".to_owned()),
            TreeEnd::Reboot => ("reboot", "it gave up, the machine shall be rebooted".to_owned()),
        };
        self.put("how", word);
        format!("tree ended: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Output;
    use woodward_engine::{Gen, Incident};

    const PATHS: [&str; 4] = ["acs", "acs/logging", "acs/logging/channel", "acs/logging/logger"];

    fn plan(ready: Probe) -> WorkerPlan {
        WorkerPlan { ready: Some(ready), ..crate::record::tests::worker(Output::Auto) }
    }

    fn line(path: u32, what: What, extras: &Extras<'_>) -> FactLine {
        let spell = |id: PathId| PATHS[id.0 as usize].to_owned();
        let scene = Scene { at: 1_000_000, now: Time(5000), path: &spell };
        let fact = Fact { incident: Incident(0x7f3a), path: PathId(path), generation: Gen(3), what };
        FactLine::of(&fact, &scene, extras)
    }

    fn check(path: u32, what: What, extras: &Extras<'_>, text: &str) {
        assert_eq!(line(path, what, extras).text, text);
    }

    #[test]
    fn an_end_says_who_sent_the_signal() {
        let ended = |exit, reason, asked| What::Ended { exit, reason, asked };
        let none = Extras::default();
        check(2, ended(Exit::Signal(9), Reason::Crash, false), &none, "ended: SIGKILL, not sent by woodward");
        let by_hand = Extras { by_hand: Some(10), ..none };
        check(2, ended(Exit::Signal(10), Reason::Crash, false), &by_hand, "ended: SIGUSR1, sent by hand");
        check(
            2,
            ended(Exit::Signal(9), Reason::Crash, false),
            &by_hand,
            "ended: SIGKILL, not sent by woodward",
        );
        check(
            2,
            ended(Exit::Signal(15), Reason::Shutdown, true),
            &none,
            "ended: SIGTERM; its group is empty",
        );
        check(2, ended(Exit::Code(0), Reason::Normal, true), &none, "ended: exit 0; its group is empty");
        check(2, ended(Exit::Code(1), Reason::Crash, false), &none, "ended: exit 1");
        check(
            2,
            ended(Exit::Unknown, Reason::Crash, false),
            &none,
            "ended while nobody was watching: status unknown",
        );
        let end = Exit::Reason(Reason::Shutdown);
        check(1, ended(end, Reason::Shutdown, false), &none, "ended: shutdown");
        let text = "ended: SIGTERM; it was not ready in time";
        check(2, ended(Exit::Signal(15), Reason::NotReady, true), &none, text);
    }

    #[test]
    fn a_start_names_process_probe_and_back_off() {
        let worker = plan(Probe::Tcp("127.0.0.1:3205".to_owned()));
        let extras = Extras {
            worker: Some(&worker),
            pid: Some(91223),
            backoff: Some(Duration::from_millis(100)),
            settle: Duration::from_secs(1),
            ..Extras::default()
        };
        check(2, What::Started, &extras, "started, pid 91223, generation 3; back-off was 100ms");
        check(2, What::Ready, &extras, "ready: tcp 127.0.0.1:3205, held for 1s");
        let worker = plan(Probe::Log("ACS Centralized Logger is running".to_owned()));
        let extras = Extras { worker: Some(&worker), ..Extras::default() };
        check(3, What::Ready, &extras, "ready: \"ACS Centralized Logger is running\"");
        check(1, What::Ready, &Extras::default(), "ready");
    }

    #[test]
    fn a_failed_start_says_why() {
        let failed = |why| What::StartFailed { why };
        let extras = Extras { error: Some("omniNames: not found in /usr/bin:/bin"), ..Extras::default() };
        let text = "start failed: omniNames: not found in /usr/bin:/bin";
        check(2, failed(FailedStart::Error), &extras, text);
        let text = "start failed: exit 42 before it was ready";
        check(2, failed(FailedStart::Ended(Exit::Code(42))), &Extras::default(), text);
        let extras = Extras { within: Some(Duration::from_secs(50)), ..Extras::default() };
        check(2, failed(FailedStart::TooLate), &extras, "start failed: not ready within 50s");
    }

    #[test]
    fn a_restart_says_strategy_company_and_account() {
        let restart = |others, count, own_limit| What::Restart {
            strategy: Strategy::RestForOne,
            others,
            count,
            intensity: 5,
            period: 60,
            own_limit,
        };
        let none = Extras::default();
        check(2, restart(1, 2, false), &none, "rest_for_one: 1 more goes too; restart 2, limit 5 in 1m");
        check(2, restart(0, 2, true), &none, "rest_for_one: restart 2, its own limit 5 in 1m");
        check(2, restart(2, 0, false), &none, "rest_for_one: 2 more go too; asked for, not counted");
        check(3, What::DraggedAlong { with: PathId(2) }, &none, "goes along with channel");
    }

    #[test]
    fn a_stop_says_how_and_how_long() {
        let mut worker = plan(Probe::Notify);
        let asked = What::Asked { within: Some(Duration::from_secs(10)) };
        fn extras(worker: &WorkerPlan) -> Extras<'_> {
            Extras { worker: Some(worker), ..Extras::default() }
        }
        check(2, asked, &extras(&worker), "asked to stop: SIGTERM, 10s");
        check(2, What::Asked { within: None }, &extras(&worker), "asked to stop: SIGTERM, no time limit");
        worker.stop.command = Some(vec!["acsStopManager".to_owned(), "2".to_owned()]);
        check(2, asked, &extras(&worker), "asked to stop: acsStopManager, then SIGTERM, 10s");
        worker.task = true;
        check(2, asked, &extras(&worker), "asked to stop: 10s");
    }

    #[test]
    fn giving_up_says_who_decides_now() {
        let exceeded = |then, own_limit| What::LimitExceeded { then, own_limit };
        let none = Extras::default();
        let check = |path, then, own, text: &str| check(path, exceeded(then, own), &none, text);
        check(2, Exhausted::Escalate, false, "limit exceeded: logging gives up, acs decides");
        check(1, Exhausted::Exit, false, "limit exceeded: acs gives up, the tree ends");
        check(2, Exhausted::Park, false, "limit exceeded: logging is parked");
        check(2, Exhausted::Park, true, "its own limit is exceeded: it is parked");
    }

    #[test]
    fn a_hold_says_who_why_and_until_when() {
        let who = Who { by: "ana".to_owned(), text: Some("mirror is being moved".to_owned()) };
        let extras = Extras { who: Some(&who), ..Extras::default() };
        let held = line(1, What::Held { until: Some(Time(7_205_000)) }, &extras);
        assert_eq!(held.text, "held for 2h by ana: \"mirror is being moved\"");
        assert_eq!(held.number("until"), Some(1_000_000 + 7_200_000));
        check(1, What::Released, &Extras::default(), "released");
    }
}
