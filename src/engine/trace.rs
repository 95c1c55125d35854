//! Replay files: what an engine was told, as plain lines, and a stepper through it.
//!
//! ```text
//! # definitions, each supervisor before its children; times in milliseconds; what is not said is OTP's default
//! supervisor acs strategy=rest_for_one intensity=3 period=10
//! worker acs/naming key=0 probe within=5000
//! worker acs/log key=1 restart=transient shutdown=infinity
//! # then events at times
//! at 0 request 1 acs add_tree seed=7
//! at 3 started 1
//! at 9 failed 2 ended code:1
//! at 20 request 2 acs/log hold 5000
//! at 25 tick
//! ```
//!
//! `add_tree` takes the definitions below its own name, `start_child NAME` those below `@REQUEST/NAME`. Paths have no
//! blanks in them. Everything the engine does follows from such a file.

use crate::event::{Event, Exit, FailedStart, Gen, Key, Reason, ReqId, Verb};
use crate::spec::{
    AutoShutdown, Backoff, Child, Children, Ends, Exhausted, InitialStart, Kind, Limit, Order, Ready,
    Restart, Shutdown, Status, Strategy, Supervisor, Tree, Worker,
};
use crate::{Effect, Engine, Time};
use std::collections::HashMap;
use std::fmt::{self, Display, Write};
use std::str::FromStr;
use std::time::Duration;

/// Events at times, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// When, and what.
    pub events: Vec<(Time, Event)>,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ReplayError {}

/// Goes through a replay, one event at a time.
#[derive(Debug)]
pub struct Stepper {
    /// As it is after the steps made.
    pub engine: Engine,
    events: std::vec::IntoIter<(Time, Event)>,
}

/// One step: what the engine was told, and what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: Time,
    /// What it was told.
    pub event: Event,
    /// What it did.
    pub effects: Vec<Effect>,
}

impl Stepper {
    /// At the beginning.
    pub fn new(replay: Replay) -> Stepper {
        Stepper { engine: Engine::new(), events: replay.events.into_iter() }
    }
}

impl Iterator for Stepper {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let (at, event) = self.events.next()?;
        let mut effects = Vec::new();
        self.engine.handle(at, event.clone(), &mut effects);
        Some(Step { at, event, effects })
    }
}

// ---------------------------------------------------------------------- writing

impl Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, event) in &self.events {
            if let Event::Request { id, verb, .. } = event {
                match verb {
                    Verb::AddTree(tree) => write_supervisor(f, &tree.id, "", &tree.root)?,
                    Verb::StartChild(child) => write_child(f, &format!("@{}", id.0), child)?,
                    _ => {}
                }
            }
            writeln!(f, "at {} {}", at.0, line_of(event))?;
        }
        Ok(())
    }
}

/// One event as it stands in a replay file, without its time.
pub fn line_of(event: &Event) -> String {
    match event {
        Event::Started { generation } => format!("started {}", generation.0),
        Event::Ready { generation } => format!("ready {}", generation.0),
        Event::Declined { generation } => format!("declined {}", generation.0),
        Event::Failed { generation, why } => {
            let why = match why {
                FailedStart::Error => "error".into(),
                FailedStart::TooLate => "too_late".into(),
                FailedStart::Child => "child".into(),
                FailedStart::Ended(exit) => format!("ended {}", exit_text(*exit)),
            };
            format!("failed {} {why}", generation.0)
        }
        Event::Ended { generation, exit } => format!("ended {} {}", generation.0, exit_text(*exit)),
        Event::Sick { generation } => format!("sick {}", generation.0),
        Event::Request { id, path, verb } => {
            let path = if path.is_empty() { "\"\"" } else { path };
            format!("request {} {path} {}", id.0, verb_text(verb))
        }
        Event::Tick => "tick".into(),
    }
}

fn verb_text(verb: &Verb) -> String {
    match verb {
        Verb::StartChild(child) => format!("start_child {}", child.id),
        Verb::StartInstance { key: None } => "start_instance".into(),
        Verb::StartInstance { key: Some(key) } => format!("start_instance {}", key.0),
        Verb::TerminateChild(id) => format!("terminate_child {id}"),
        Verb::RestartChild(id) => format!("restart_child {id}"),
        Verb::DeleteChild(id) => format!("delete_child {id}"),
        Verb::GetChildspec(id) => format!("get_childspec {id}"),
        Verb::WhichChildren => "which_children".into(),
        Verb::CountChildren => "count_children".into(),
        Verb::StopSelf(reason) => format!("stop_self {reason}"),
        Verb::Suspend => "suspend".into(),
        Verb::Resume => "resume".into(),
        Verb::Start => "start".into(),
        Verb::Stop { with_dependents } => {
            if *with_dependents { "stop with_dependents" } else { "stop" }.into()
        }
        Verb::Restart { only } => if *only { "restart only" } else { "restart" }.into(),
        Verb::Hold { until: None } => "hold".into(),
        Verb::Hold { until: Some(until) } => format!("hold {}", until.0),
        Verb::Release => "release".into(),
        Verb::Abandon => "abandon".into(),
        Verb::AddTree(tree) => {
            let mut text = format!("add_tree seed={}", tree.seed);
            if let Some(shutdown) = tree.shutdown {
                let _ = write!(text, " shutdown={}", shutdown.as_millis());
            }
            text
        }
        Verb::StopTree => "stop_tree".into(),
    }
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(n) => format!("code:{n}"),
        Exit::Signal(n) => format!("signal:{n}"),
        Exit::Reason(reason) => format!("reason:{reason}"),
        Exit::Unknown => "unknown".into(),
    }
}

fn write_supervisor(
    f: &mut fmt::Formatter<'_>,
    path: &str,
    child_keys: &str,
    sup: &Supervisor,
) -> fmt::Result {
    let mut keys = format!("strategy={}", name_of(STRATEGIES, sup.strategy));
    let _ = write!(keys, " intensity={} period={}", sup.intensity, sup.period);
    let default = Supervisor::default();
    if sup.auto_shutdown != default.auto_shutdown {
        let _ = write!(keys, " auto_shutdown={}", name_of(AUTO, sup.auto_shutdown));
    }
    if sup.order != default.order {
        keys += " order=dependencies";
    }
    if sup.initial_start != default.initial_start {
        keys += " initial_start=retry";
    }
    if sup.exhausted != default.exhausted {
        let _ = write!(keys, " exhausted={}", name_of(EXHAUSTED, sup.exhausted));
    }
    if let Some(after) = sup.retry_after {
        let _ = write!(keys, " retry_after={}", after.as_millis());
    }
    writeln!(f, "supervisor {path} {keys}{child_keys}")?;
    match &sup.children {
        Children::List(children) => children.iter().try_for_each(|child| write_child(f, path, child)),
        Children::Template(child) => write_child(f, path, child),
    }
}

fn write_child(f: &mut fmt::Formatter<'_>, above: &str, child: &Child) -> fmt::Result {
    let path = format!("{above}/{}", child.id);
    let mut keys = String::new();
    if child.restart != Restart::Permanent {
        let _ = write!(keys, " restart={}", name_of(RESTARTS, child.restart));
    }
    if child.significant {
        keys += " significant";
    }
    match child.shutdown {
        Shutdown::BrutalKill => keys += " shutdown=brutal_kill",
        Shutdown::Infinity => keys += " shutdown=infinity",
        Shutdown::Time(time) => drop(write!(keys, " shutdown={}", time.as_millis())),
    }
    if !child.after.is_empty() {
        let _ = write!(keys, " after={}", child.after.join(","));
    }
    if let Some(b) = &child.backoff {
        let (first, max, reset) = (b.first.as_millis(), b.max.as_millis(), b.reset_after.as_millis());
        let _ =
            write!(keys, " backoff={},{first},{},{max},{},{reset}", b.immediate, b.factor, b.jitter_percent);
    }
    match &child.kind {
        Kind::Supervisor(sup) => write_supervisor(f, &path, &keys, sup),
        Kind::Worker(worker) => {
            writeln!(f, "worker {path} key={}{keys}{}", worker.key.0, worker_keys(worker))
        }
    }
}

fn worker_keys(worker: &Worker) -> String {
    let mut keys = String::new();
    for (flag, name) in
        [(worker.oneshot, " oneshot"), (worker.essential, " essential"), (worker.ready.probe, " probe")]
    {
        if flag {
            keys += name;
        }
    }
    let times = [("within", worker.ready.within), ("runtime_max", worker.runtime_max)];
    for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
        let _ = write!(keys, " {name}={}", time.as_millis());
    }
    if !worker.ready.settle.is_zero() {
        let _ = write!(keys, " settle={}", worker.ready.settle.as_millis());
    }
    if let Some(limit) = &worker.limit {
        let _ = write!(
            keys,
            " limit={},{},{}",
            limit.intensity,
            limit.period,
            name_of(EXHAUSTED, limit.exhausted)
        );
        if let Some(after) = limit.retry_after {
            let _ = write!(keys, ",{}", after.as_millis());
        }
    }
    let ends = &worker.ends;
    for (name, list) in [("success", &ends.success), ("prevent", &ends.prevent), ("force", &ends.force)] {
        if !list.is_empty() {
            let list: Vec<String> = list
                .iter()
                .map(|s| match s {
                    Status::Code(n) => format!("code:{n}"),
                    Status::Signal(n) => format!("signal:{n}"),
                })
                .collect();
            let _ = write!(keys, " {name}={}", list.join(","));
        }
    }
    if ends.stop_signal != 0 {
        let _ = write!(keys, " stop_signal={}", ends.stop_signal);
    }
    keys
}

// ---------------------------------------------------------------------- names

const STRATEGIES: &[(&str, Strategy)] = &[
    ("one_for_one", Strategy::OneForOne),
    ("one_for_all", Strategy::OneForAll),
    ("rest_for_one", Strategy::RestForOne),
    ("simple_one_for_one", Strategy::SimpleOneForOne),
];
const AUTO: &[(&str, AutoShutdown)] = &[
    ("never", AutoShutdown::Never),
    ("any_significant", AutoShutdown::AnySignificant),
    ("all_significant", AutoShutdown::AllSignificant),
];
const EXHAUSTED: &[(&str, Exhausted)] = &[
    ("escalate", Exhausted::Escalate),
    ("park", Exhausted::Park),
    ("exit", Exhausted::Exit),
    ("failover", Exhausted::Failover),
    ("reboot", Exhausted::Reboot),
];
const RESTARTS: &[(&str, Restart)] = &[
    ("permanent", Restart::Permanent),
    ("transient", Restart::Transient),
    ("temporary", Restart::Temporary),
];
const REASONS: &[(&str, Reason)] = &[
    ("normal", Reason::Normal),
    ("shutdown", Reason::Shutdown),
    ("shutdown_term", Reason::ShutdownTerm),
    ("crash", Reason::Crash),
    ("killed", Reason::Killed),
    ("failed_start", Reason::FailedStart),
    ("bad_spec", Reason::BadSpec),
    ("not_ready", Reason::NotReady),
    ("sick", Reason::Sick),
];

fn name_of<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, v)| *v == value).map_or("", |(name, _)| name)
}

fn value_of<T: Copy>(names: &[(&'static str, T)], name: &str) -> Result<T, String> {
    let found = names.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let allowed: Vec<&str> = names.iter().map(|(n, _)| *n).collect();
        format!("`{name}` is none of {}", allowed.join(", "))
    })
}

// ---------------------------------------------------------------------- reading

/// Definitions not yet used: path, keys, is a supervisor.
type Definitions<'a> = Vec<(&'a str, Keys<'a>, bool)>;

impl FromStr for Replay {
    type Err = ReplayError;

    fn from_str(text: &str) -> Result<Replay, ReplayError> {
        let mut replay = Replay::default();
        let mut definitions = Definitions::new();
        for (i, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let read = match words.as_slice() {
                [] => Ok(()),
                [word, ..] if word.starts_with('#') => Ok(()),
                ["supervisor", path, keys @ ..] => define(&mut definitions, path, keys, true),
                ["worker", path, keys @ ..] => define(&mut definitions, path, keys, false),
                ["at", at, event @ ..] => number(at).and_then(|at| {
                    replay.events.push((Time(at), read_event(event, &mut definitions)?));
                    Ok(())
                }),
                [word, ..] => Err(format!("`{word}` is none of supervisor, worker, at")),
            };
            read.map_err(|problem| ReplayError { line: i + 1, problem })?;
        }
        Ok(replay)
    }
}

/// `name=value` and flags.
struct Keys<'a>(HashMap<&'a str, &'a str>);

impl<'a> Keys<'a> {
    fn new(words: &[&'a str]) -> Keys<'a> {
        Keys(words.iter().map(|word| word.split_once('=').unwrap_or((word, ""))).collect())
    }

    fn flag(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.0.get(name).map(|value| number(value)).transpose()
    }

    fn time(&self, name: &str) -> Result<Option<Duration>, String> {
        Ok(self.parsed(name)?.map(Duration::from_millis))
    }

    fn named<T: Copy>(&self, name: &str, names: &[(&'static str, T)]) -> Result<Option<T>, String> {
        self.0.get(name).map(|value| value_of(names, value)).transpose()
    }

    fn list(&self, name: &str) -> Vec<&'a str> {
        self.0.get(name).map_or(Vec::new(), |value| value.split(',').collect())
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number that fits"))
}

fn define<'a>(
    definitions: &mut Definitions<'a>,
    path: &&'a str,
    keys: &[&'a str],
    sup: bool,
) -> Result<(), String> {
    definitions.push((path, Keys::new(keys), sup));
    Ok(())
}

fn read_event(words: &[&str], definitions: &mut Definitions<'_>) -> Result<Event, String> {
    let generation = |text: &str| Ok::<Gen, String>(Gen(number(text)?));
    Ok(match words {
        ["tick"] => Event::Tick,
        ["started", g] => Event::Started { generation: generation(g)? },
        ["ready", g] => Event::Ready { generation: generation(g)? },
        ["declined", g] => Event::Declined { generation: generation(g)? },
        ["sick", g] => Event::Sick { generation: generation(g)? },
        ["ended", g, exit] => Event::Ended { generation: generation(g)?, exit: read_exit(exit)? },
        ["failed", g, why @ ..] => {
            let why = match why {
                ["error"] => FailedStart::Error,
                ["too_late"] => FailedStart::TooLate,
                ["child"] => FailedStart::Child,
                ["ended", exit] => FailedStart::Ended(read_exit(exit)?),
                _ => return Err("a failed start is error, too_late, child or ended EXIT".into()),
            };
            Event::Failed { generation: generation(g)?, why }
        }
        ["request", id, path, verb @ ..] => {
            let id = ReqId(number(id)?);
            let path = if *path == "\"\"" { "" } else { path };
            Event::Request { id, path: path.into(), verb: read_verb(id, path, verb, definitions)? }
        }
        _ => return Err(format!("no such event: {}", words.join(" "))),
    })
}

fn read_verb(
    id: ReqId,
    path: &str,
    words: &[&str],
    definitions: &mut Definitions<'_>,
) -> Result<Verb, String> {
    Ok(match words {
        ["add_tree", keys @ ..] => {
            let keys = Keys::new(keys);
            Verb::AddTree(Box::new(Tree {
                id: path.into(),
                root: take_supervisor(path, definitions)?,
                shutdown: keys.time("shutdown")?,
                seed: keys.parsed("seed")?.unwrap_or(0),
            }))
        }
        ["start_child", name] => {
            Verb::StartChild(Box::new(take_child(&format!("@{}/{name}", id.0), definitions)?))
        }
        ["start_instance"] => Verb::StartInstance { key: None },
        ["start_instance", key] => Verb::StartInstance { key: Some(Key(number(key)?)) },
        ["terminate_child", child] => Verb::TerminateChild((*child).into()),
        ["restart_child", child] => Verb::RestartChild((*child).into()),
        ["delete_child", child] => Verb::DeleteChild((*child).into()),
        ["get_childspec", child] => Verb::GetChildspec((*child).into()),
        ["which_children"] => Verb::WhichChildren,
        ["count_children"] => Verb::CountChildren,
        ["stop_self", reason] => Verb::StopSelf(value_of(REASONS, reason)?),
        ["suspend"] => Verb::Suspend,
        ["resume"] => Verb::Resume,
        ["start"] => Verb::Start,
        ["stop"] => Verb::Stop { with_dependents: false },
        ["stop", "with_dependents"] => Verb::Stop { with_dependents: true },
        ["restart"] => Verb::Restart { only: false },
        ["restart", "only"] => Verb::Restart { only: true },
        ["hold"] => Verb::Hold { until: None },
        ["hold", until] => Verb::Hold { until: Some(Time(number(until)?)) },
        ["release"] => Verb::Release,
        ["abandon"] => Verb::Abandon,
        ["stop_tree"] => Verb::StopTree,
        _ => return Err(format!("no such request: {}", words.join(" "))),
    })
}

fn read_exit(text: &str) -> Result<Exit, String> {
    Ok(match text.split_once(':') {
        None if text == "unknown" => Exit::Unknown,
        Some(("code", n)) => Exit::Code(number(n)?),
        Some(("signal", n)) => Exit::Signal(number(n)?),
        Some(("reason", reason)) => Exit::Reason(value_of(REASONS, reason)?),
        _ => return Err(format!("`{text}` is none of code:N, signal:N, reason:R, unknown")),
    })
}

fn read_status(text: &str) -> Result<Status, String> {
    match read_exit(text)? {
        Exit::Code(n) => Ok(Status::Code(n)),
        Exit::Signal(n) => Ok(Status::Signal(n)),
        _ => Err(format!("`{text}` is no exit status")),
    }
}

fn take<'a>(path: &str, definitions: &mut Definitions<'a>) -> Result<(&'a str, Keys<'a>, bool), String> {
    let i = definitions
        .iter()
        .position(|(p, ..)| *p == path)
        .ok_or_else(|| format!("{path} is not defined above"))?;
    Ok(definitions.remove(i))
}

fn take_supervisor(path: &str, definitions: &mut Definitions<'_>) -> Result<Supervisor, String> {
    let (_, keys, is_supervisor) = take(path, definitions)?;
    if !is_supervisor {
        return Err(format!("{path} is not a supervisor"));
    }
    supervisor(path, &keys, definitions)
}

fn supervisor(path: &str, keys: &Keys<'_>, definitions: &mut Definitions<'_>) -> Result<Supervisor, String> {
    let prefix = format!("{path}/");
    let direct = |p: &str| p.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'));
    let names: Vec<String> =
        definitions.iter().filter(|(p, ..)| direct(p)).map(|(p, ..)| (*p).into()).collect();
    let mut children =
        names.iter().map(|path| take_child(path, definitions)).collect::<Result<Vec<Child>, String>>()?;
    let default = Supervisor::default();
    let strategy = keys.named("strategy", STRATEGIES)?.unwrap_or(default.strategy);
    Ok(Supervisor {
        strategy,
        intensity: keys.parsed("intensity")?.unwrap_or(default.intensity),
        period: keys.parsed("period")?.unwrap_or(default.period),
        auto_shutdown: keys.named("auto_shutdown", AUTO)?.unwrap_or(default.auto_shutdown),
        order: keys
            .named("order", &[("listed", Order::Listed), ("dependencies", Order::Dependencies)])?
            .unwrap_or(default.order),
        initial_start: keys
            .named("initial_start", &[("fail", InitialStart::Fail), ("retry", InitialStart::Retry)])?
            .unwrap_or(default.initial_start),
        exhausted: keys.named("exhausted", EXHAUSTED)?.unwrap_or(default.exhausted),
        retry_after: keys.time("retry_after")?,
        children: match strategy {
            Strategy::SimpleOneForOne if children.len() == 1 => {
                Children::Template(Box::new(children.remove(0)))
            }
            Strategy::SimpleOneForOne => return Err(format!("{path} needs exactly one template")),
            _ => Children::List(children),
        },
    })
}

fn take_child(path: &str, definitions: &mut Definitions<'_>) -> Result<Child, String> {
    let (_, keys, is_supervisor) = take(path, definitions)?;
    let kind = if is_supervisor {
        Kind::Supervisor(supervisor(path, &keys, definitions)?)
    } else {
        Kind::Worker(worker(&keys)?)
    };
    Ok(Child {
        id: path.rsplit('/').next().unwrap_or(path).into(),
        restart: keys.named("restart", RESTARTS)?.unwrap_or(Restart::Permanent),
        significant: keys.flag("significant"),
        shutdown: match keys.0.get("shutdown") {
            None if is_supervisor => Shutdown::Infinity,
            None => Shutdown::Time(Duration::from_secs(5)),
            Some(&"brutal_kill") => Shutdown::BrutalKill,
            Some(&"infinity") => Shutdown::Infinity,
            Some(ms) => Shutdown::Time(Duration::from_millis(number(ms)?)),
        },
        after: keys.list("after").into_iter().map(Into::into).collect(),
        backoff: backoff(&keys)?,
        kind,
    })
}

fn backoff(keys: &Keys<'_>) -> Result<Option<Backoff>, String> {
    let time = |text: &str| Ok::<Duration, String>(Duration::from_millis(number(text)?));
    match keys.list("backoff").as_slice() {
        [] => Ok(None),
        [immediate, first, factor, max, jitter, reset_after] => Ok(Some(Backoff {
            immediate: number(immediate)?,
            first: time(first)?,
            factor: number(factor)?,
            max: time(max)?,
            jitter_percent: number(jitter)?,
            reset_after: time(reset_after)?,
        })),
        _ => Err("backoff is immediate,first,factor,max,jitter,reset_after".into()),
    }
}

fn worker(keys: &Keys<'_>) -> Result<Worker, String> {
    let limit = match keys.list("limit").as_slice() {
        [] => None,
        [intensity, period, exhausted, after @ ..] => Some(Limit {
            intensity: number(intensity)?,
            period: number(period)?,
            exhausted: value_of(EXHAUSTED, exhausted)?,
            retry_after: after.first().map(|ms| number(ms)).transpose()?.map(Duration::from_millis),
        }),
        _ => return Err("limit is intensity,period,exhausted[,retry_after]".into()),
    };
    let statuses =
        |name: &str| keys.list(name).into_iter().map(read_status).collect::<Result<Vec<Status>, String>>();
    Ok(Worker {
        key: Key(keys.parsed("key")?.unwrap_or(0)),
        oneshot: keys.flag("oneshot"),
        ready: Ready {
            probe: keys.flag("probe"),
            within: keys.time("within")?,
            settle: keys.time("settle")?.unwrap_or_default(),
        },
        limit,
        ends: Ends {
            success: statuses("success")?,
            prevent: statuses("prevent")?,
            force: statuses("force")?,
            stop_signal: keys.parsed("stop_signal")?.unwrap_or(0),
        },
        essential: keys.flag("essential"),
        runtime_max: keys.time("runtime_max")?,
    })
}
