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
//! `add_tree` and `apply` take the definitions below their own name, `start_child NAME` those below `@REQUEST/NAME`. Paths have no
//! blanks in them. Everything the engine does follows from such a file.

mod read;

use crate::event::{Event, Exit, FailedStart, Reason, Verb};
use crate::spec::{
    AutoShutdown, Child, Children, Exhausted, Kind, Restart, Shutdown, Status, Strategy, Supervisor, Tree,
    Worker,
};
use crate::{Effect, Engine, Time};
use std::fmt::{self, Display, Write};

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
                    Verb::Apply(apply) => write_supervisor(f, &apply.tree.id, "", &apply.tree.root)?,
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
        Verb::AddTree(tree) => format!("add_tree {}", tree_keys(tree)),
        Verb::Apply(apply) => {
            let mut text = format!("apply {}", tree_keys(&apply.tree));
            for (from, to) in &apply.instances {
                let _ = write!(text, " {}>{}", from.0, to.0);
            }
            text
        }
        Verb::StopTree => "stop_tree".into(),
    }
}

fn tree_keys(tree: &Tree) -> String {
    let shutdown = tree.shutdown.map(|time| format!(" shutdown={}", time.as_millis())).unwrap_or_default();
    format!("seed={}{shutdown}", tree.seed)
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
    keys += &shutdown("shutdown", child.shutdown);
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

fn shutdown(name: &str, shutdown: Shutdown) -> String {
    match shutdown {
        Shutdown::BrutalKill => format!(" {name}=brutal_kill"),
        Shutdown::Infinity => format!(" {name}=infinity"),
        Shutdown::Time(time) => format!(" {name}={}", time.as_millis()),
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
    if let Some(written) = worker.shutdown_if_sick {
        keys += &shutdown("shutdown_if_sick", written);
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
