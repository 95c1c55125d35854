//! The drawing of a plan: one line per child, wave by wave.

use std::collections::BTreeMap;
use std::time::Duration;

use woodward_engine::spec::{Child, Exhausted, Kind, Restart, Strategy, Supervisor};

use super::super::style::{Style, WIDTH, blanks, width};
use super::lines;
use crate::record::words;
use crate::tree::outline;
use crate::tree::patience::{self, Patience};
use crate::tree::{Known, Plan, Probe, WorkerPlan};

/// Columns in front of the ids.
const FRONT: usize = 6;
/// Columns of `ready when`.
const READY: usize = 21;
/// Columns of `within`.
const WITHIN: usize = 6;

struct Drawing<'a> {
    plan: &'a Plan,
    style: Style,
    /// Columns of `child`.
    child: usize,
    text: String,
    /// Children with the same patience.
    patience: BTreeMap<Patience, Vec<String>>,
}

/// The whole tree.
pub fn tree(plan: &Plan, variables: &[Known], style: Style) -> String {
    let child = widest(&plan.tree.root, 0).clamp(20, 30);
    let mut drawing = Drawing { plan, style, child, text: String::new(), patience: BTreeMap::new() };
    drawing.head(variables);
    drawing.row(["wave", "child", "ready when", "within", "a crash restarts"], 0);
    drawing.children(&plan.tree.root, &plan.tree.id, 0);
    drawing.patience();
    drawing.stop();
    drawing.text
}

/// Columns that ids take, with their indentation.
fn widest(supervisor: &Supervisor, depth: usize) -> usize {
    let front = |wave: usize| if depth == 0 { 0 } else { 2 * (depth - 1) + wave.to_string().len() + 1 };
    let children = outline::children(supervisor).iter().zip(outline::waves(supervisor));
    let one = |(child, wave): (&Child, usize)| {
        let below = match &child.kind {
            Kind::Supervisor(inner) => widest(inner, depth + 1),
            Kind::Worker(_) => 0,
        };
        (front(wave) + width(&child.id)).max(below)
    };
    children.map(one).max().unwrap_or(0)
}

impl Drawing<'_> {
    fn head(&mut self, variables: &[Known]) {
        let root = &self.plan.tree.root;
        let left = format!("{}: {}, then {}", self.plan.tree.id, flags(root), then(root.exhausted));
        let shown = |known: &&Known| !known.in_file || (known.literal && known.value.parse::<i64>().is_ok());
        let origin = |known: &Known| if known.in_file { "file".to_owned() } else { known.origin.clone() };
        let right = variables
            .iter()
            .filter(shown)
            .map(|known| format!("{} = {} ({})", known.name, known.value, origin(known)));
        let right = right.collect::<Vec<_>>().join(", ");
        let gap = WIDTH.saturating_sub(width(&left) + width(&right));
        if right.is_empty() {
            self.text = format!("{left}\n");
        } else if gap >= 2 {
            self.text = format!("{left}{}{right}\n", blanks(gap));
        } else {
            self.text = format!("{left}\n") + &lines(&format!("  {right}"), 2);
        }
    }

    /// One line; `indent` is that of the id.
    fn row(&mut self, [wave, child, ready, within, restarts]: [&str; 5], depth: usize) {
        let label = match depth {
            0 => format!("{wave:>4}  {child}"),
            _ => format!("{}{wave} {child}", blanks(FRONT + 2 * (depth - 1))),
        };
        let pad =
            |text: &str, columns: usize| format!("{text}{}  ", blanks(columns.saturating_sub(width(text))));
        let mut line = pad(&label, FRONT + self.child);
        if within.is_empty() {
            line += &pad(&shorten(ready, READY + 2 + WITHIN, self.style), READY + 2 + WITHIN);
        } else {
            line += &pad(&shorten(ready, READY, self.style), READY);
            line += &pad(&format!("{within:>WITHIN$}"), WITHIN);
        }
        let room = WIDTH.saturating_sub(width(&line)).max(10);
        let mut rest = super::wrap(restarts, room).into_iter();
        self.text += format!("{line}{}", rest.next().unwrap_or_default()).trim_end();
        self.text.push('\n');
        for more in rest {
            self.text += &format!("{}{more}\n", blanks(width(&line)));
        }
    }

    fn children(&mut self, supervisor: &Supervisor, path: &str, depth: usize) {
        let children = outline::children(supervisor);
        let (waves, groups) = (outline::waves(supervisor), outline::groups(supervisor));
        let mut order: Vec<usize> = (0..children.len()).collect();
        order.sort_by_key(|at| waves[*at]);
        for at in order {
            let child = &children[at];
            let child_path = format!("{path}/{}", child.id);
            let wave = if supervisor.strategy == Strategy::SimpleOneForOne {
                "*".to_owned()
            } else {
                waves[at].to_string()
            };
            let drags = drags(supervisor, &groups[at], at, path);
            match &child.kind {
                Kind::Worker(_) => {
                    let worker = self.worker(child);
                    let (ready, within) = (ready_when(worker, child), within(child));
                    self.row([&wave, &child.id, &ready, &within, &drags], depth);
                    if let Some(patience) = patience::of(supervisor, child) {
                        self.patience.entry(patience).or_default().push(child_path);
                    }
                }
                Kind::Supervisor(inner) => {
                    let then = match inner.exhausted {
                        Exhausted::Park => "then parks".to_owned(),
                        _ if child.restart == Restart::Temporary => "then stays down".to_owned(),
                        _ => format!("then {path} restarts {}", self.it(&groups[at], at, supervisor)),
                    };
                    self.row([&wave, &child.id, &flags(inner), "", &then], depth);
                    self.children(inner, &child_path, depth + 1);
                }
            }
        }
        let here = |left: &&crate::tree::LeftOut| {
            left.path.rsplit_once('/').is_some_and(|(parent, _)| parent == path)
        };
        let left_out: Vec<(String, String)> = self
            .plan
            .left_out
            .iter()
            .filter(here)
            .map(|left| (left.path.clone(), left.reason.clone()))
            .collect();
        for (path, reason) in left_out {
            self.row(["-", words::leaf(&path), &format!("left out: {reason}"), "", ""], depth);
        }
    }

    /// What a supervisor's end restarts: itself, or it and others.
    fn it(&self, group: &[usize], at: usize, supervisor: &Supervisor) -> String {
        let others = group
            .iter()
            .filter(|other| **other != at)
            .map(|other| outline::children(supervisor)[*other].id.to_string());
        let others: Vec<String> = others.collect();
        if others.is_empty() { "it".to_owned() } else { format!("it, {}", others.join(", ")) }
    }

    fn worker(&self, child: &Child) -> Option<&WorkerPlan> {
        match &child.kind {
            Kind::Worker(worker) => self.plan.workers.get(worker.key.0 as usize),
            Kind::Supervisor(_) => None,
        }
    }

    /// How long crashes are put up with, children alike together.
    fn patience(&mut self) {
        let all = self.patience.len() == 1;
        for (patience, paths) in std::mem::take(&mut self.patience) {
            let names: Vec<&str> = paths.iter().map(|path| words::leaf(path)).collect();
            let whom = if all { "any child".to_owned() } else { names.join(", ") };
            let limit = if patience.never() {
                "never, delays outlast the window".to_owned()
            } else if patience.gives_up_after.is_zero() {
                format!("at once by {} crashes in a row", patience.intensity + 1)
            } else {
                format!("after {} of crashes in a row", words::about(patience.gives_up_after))
            };
            let slow = match patience.intensity {
                0 => String::new(),
                _ => format!(", never by crashes over {} apart", words::span(patience.slowest)),
            };
            self.text += &lines(&format!("patience: {whom}: used up {limit}{slow}"), 10);
        }
    }

    fn stop(&mut self) {
        let root = &self.plan.tree.root;
        let chain = outline::slowest_stop(root);
        let sum = outline::total(&chain);
        let most = match (self.plan.tree.shutdown, sum) {
            (Some(deadline), Some(sum)) => Some(deadline.min(sum)),
            (deadline, sum) => deadline.or(sum),
        };
        let most =
            most.map_or_else(|| "with no limit".to_owned(), |most| format!("at most {}", seconds(most)));
        let one = |(at, time): &(usize, Option<Duration>)| {
            let time = time.map_or_else(|| "no limit".to_owned(), seconds);
            format!("{} {time}", outline::children(root)[*at].id)
        };
        let chain: Vec<String> = chain.iter().map(one).collect();
        self.text += &lines(&format!("stop: in reverse, {most} ({})", chain.join(", ")), 6);
    }
}

/// `rest_for_one, 5 in 1m`.
fn flags(supervisor: &Supervisor) -> String {
    let period = words::span(Duration::from_secs(supervisor.period.into()));
    format!("{}, {} in {}", strategy(supervisor.strategy), supervisor.intensity, period.replace(' ', ""))
}

fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::SimpleOneForOne => "simple_one_for_one",
    }
}

fn then(exhausted: Exhausted) -> &'static str {
    match exhausted {
        Exhausted::Escalate | Exhausted::Exit => "exit",
        Exhausted::Park => "park",
        Exhausted::Failover => "failover",
        Exhausted::Reboot => "reboot",
    }
}

/// What a crash of a worker restarts, and what its own limit does.
fn drags(supervisor: &Supervisor, group: &[usize], at: usize, path: &str) -> String {
    let children = outline::children(supervisor);
    let child = &children[at];
    // A temporary sibling is stopped with its group and does not come back.
    let temporary = |at: &usize| children[*at].restart == Restart::Temporary;
    let names = |group: &mut dyn Iterator<Item = &usize>| {
        group.map(|at| children[*at].id.to_string()).collect::<Vec<_>>().join(", ")
    };
    let stopped = names(&mut group.iter().filter(|other| **other != at && temporary(other)));
    let mut text = match group.iter().filter(|at| !temporary(at)).count() {
        _ if temporary(&at) => return "nothing".to_owned(),
        1 => "itself".to_owned(),
        n if n == children.len() && n > 3 => "all".to_owned(),
        _ => names(&mut group.iter().filter(|at| !temporary(at))),
    };
    if !stopped.is_empty() {
        text += &format!("; stops {stopped}");
    }
    if let Kind::Worker(worker) = &child.kind
        && let Some(limit) = &worker.limit
    {
        text += &match limit.exhausted {
            Exhausted::Park => "; then parks".to_owned(),
            _ => format!("; then {path} gives up"),
        };
    }
    text
}

fn ready_when(worker: Option<&WorkerPlan>, child: &Child) -> String {
    let Kind::Worker(spec) = &child.kind else { return String::new() };
    if spec.oneshot {
        return "ended well".to_owned();
    }
    let mut text = match worker.and_then(|worker| worker.ready.as_ref()) {
        None => "executed".to_owned(),
        Some(Probe::Log(text)) => format!("log \"{text}\""),
        Some(Probe::Tcp(address)) => format!("tcp {}", port(address)),
        Some(Probe::Corbaloc(address)) => format!("corbaloc {}", port(address)),
        Some(Probe::Http { url, .. }) => format!("http {}", url.trim_start_matches("http://")),
        Some(Probe::Unix(path)) => format!("unix {}", path.display()),
        Some(Probe::File { path, .. }) => format!("file {}", path.display()),
        Some(Probe::Exec(command)) => format!("exec {}", command.join(" ")),
        Some(Probe::Notify) => "notify".to_owned(),
        Some(Probe::Fd(number)) => format!("newline on {number}"),
    };
    if !spec.ready.settle.is_zero() {
        text += &format!(", {}", words::span(spec.ready.settle));
    }
    text
}

/// The part of an address that differs: `…:3201`.
fn port(address: &str) -> String {
    let address =
        address.strip_prefix("corbaloc:").map_or(address, |rest| rest.split('/').next().unwrap_or(rest));
    address.rsplit_once(':').map_or_else(|| address.to_owned(), |(_, port)| format!("…:{port}"))
}

fn within(child: &Child) -> String {
    match &child.kind {
        Kind::Worker(worker) if worker.oneshot => worker.runtime_max.map(seconds).unwrap_or_default(),
        Kind::Worker(worker) if worker.ready.probe => worker.ready.within.map(seconds).unwrap_or_default(),
        _ => String::new(),
    }
}

/// `50s`, `90s`, `5m`.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 60..=120 if seconds != 60 && seconds != 120 => format!("{seconds}s"),
        _ => words::span(time).replace(' ', ""),
    }
}

/// At most so many characters; a text in quotes keeps its closing quote.
fn shorten(text: &str, columns: usize, style: Style) -> String {
    if width(text) <= columns || text.starts_with("left out") {
        return text.to_owned();
    }
    let tail = format!("{}{}", style.dots(), if text.ends_with('"') { "\"" } else { "" });
    let head: String = text.chars().take(columns - width(&tail)).collect();
    format!("{head}{tail}")
}
