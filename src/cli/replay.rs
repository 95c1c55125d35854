//! `woodward replay`: goes through a recorded engine trace, event by event, and shows what each one does; or through the
//! history of a real run ([`super::story`]).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use woodward_engine::trace::{self, Replay};
use woodward_engine::view::State;
use woodward_engine::{Effect, Engine, Event, Gen, PathId, Time};

use super::report::{self, Code, Failure};
use super::story::{self, Story};
use super::style::Style;
use crate::os::clock;
use crate::record::fact::{Extras, FactLine, Scene};
use crate::record::words;

/// Step through the history of a real run, or a trace of the engine
///
/// Of a history each fact, and whose state it changed. Of a trace each event:
/// what the engine was told, what it asked for and told, and whose state
/// changed. A failing property test of the engine prints such a file.
#[derive(clap::Args)]
pub struct Args {
    /// The id of a tree, its history directory, or a trace file
    #[arg(value_name = "ID|DIR|FILE")]
    file: PathBuf,
    /// Of a history only this child or subtree
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// Wait for Enter before each step
    #[arg(long)]
    step: bool,
    /// Where `run --state` put the history
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    report::end(replay(&args))
}

fn replay(args: &Args) -> Result<Code, Failure> {
    let style = Style::here();
    if let Some(mut facts) = story::find(&args.file, args.state.as_deref())? {
        facts.retain(|fact| words::is_within(&fact.path, args.path.as_deref().unwrap_or_default()));
        let mut story = Story::new(clock::zone(clock::wall()));
        for fact in &facts {
            report::print(&style.text(&story.step(fact, facts.len())));
            if args.step && !asked_for_more() {
                break;
            }
        }
        report::print(&style.text(&story.end()));
        return Ok(Code::Done);
    }
    let replay = read(&args.file)?;
    let mut debugger = Debugger::default();
    let all = replay.events.len();
    for (at, event) in replay.events {
        report::print(&style.text(&debugger.step(at, event, all)));
        if args.step && !asked_for_more() {
            break;
        }
    }
    report::print(&style.text(&debugger.end()));
    Ok(Code::Done)
}

/// Waits for Enter; `false`: there is nobody to press it.
fn asked_for_more() -> bool {
    std::io::stdin().lock().read_line(&mut String::new()).is_ok_and(|read| read > 0)
}

fn read(file: &Path) -> Result<Replay, Failure> {
    let cannot = |why: String| Failure::new(Code::Config, format!("cannot replay {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => cannot("no such file".to_owned()),
        _ => cannot(error.to_string()),
    })?;
    let at = |error: trace::ReplayError| cannot(format!("line {}: {}", error.line, error.problem));
    text.parse().map_err(at).map_err(|failure: Failure| failure.hint("`woodward simulate` reads tree files"))
}

/// An engine that is told the events of a trace, and its state before the last one.
#[derive(Default)]
struct Debugger {
    engine: Engine,
    steps: usize,
    states: BTreeMap<String, (State, Gen)>,
}

impl Debugger {
    /// One event and what follows from it.
    fn step(&mut self, at: Time, event: Event, all: usize) -> String {
        self.steps += 1;
        let whom = generation(&event).map(|generation| match self.engine.path_of(generation) {
            Some(path) => format!("  ({})", self.engine.path(path)),
            None => "  (not current: dropped)".to_owned(),
        });
        let told = trace::line_of(&event);
        let mut effects = Vec::new();
        self.engine.handle(at, event, &mut effects);
        let mut text = format!("{}/{all}  at {} ms  {told}{}\n", self.steps, at.0, whom.unwrap_or_default());
        for effect in &effects {
            let _ = writeln!(text, "    {}", self.effect(at, effect));
        }
        let states = self.now();
        let paths: std::collections::BTreeSet<&String> = self.states.keys().chain(states.keys()).collect();
        for path in paths {
            let (before, after) = (self.states.get(path), states.get(path));
            if before != after {
                let _ = writeln!(text, "    {path}: {} -> {}", state(before), state(after));
            }
        }
        self.states = states;
        text
    }

    fn end(&self) -> String {
        let mut text =
            format!("end after {} events, {} of them dropped\n", self.steps, self.engine.stale_events());
        for (path, found) in &self.states {
            let _ = writeln!(text, "    {path}: {}", state(Some(found)));
        }
        text
    }

    fn now(&self) -> BTreeMap<String, (State, Gen)> {
        let row = |row: woodward_engine::view::Row| (self.engine.path(row.path), (row.state, row.generation));
        self.engine.rows().into_iter().map(row).collect()
    }

    fn effect(&self, at: Time, effect: &Effect) -> String {
        let path = |id: PathId| self.engine.path(id);
        match effect {
            Effect::Start { generation, path: id, key, first } => {
                let first = if *first { ", for the first time" } else { "" };
                format!("start {} as {}, key {}{first}", path(*id), generation.0, key.0)
            }
            Effect::Open { generation, path: id } => format!("open {} as {}", path(*id), generation.0),
            Effect::Close { generation, path: id } => format!("close {}, {}", path(*id), generation.0),
            Effect::Ask { generation, within } => match within {
                Some(time) => format!("ask {} to stop within {}", generation.0, words::span(*time)),
                None => format!("ask {} to stop", generation.0),
            },
            Effect::Kill { generation } => format!("kill {}", generation.0),
            Effect::Reply { id, reply } => format!("reply to {}: {reply:?}", id.0),
            Effect::TreeEnded { path: id, how } => format!("tree {} ended: {how:?}", path(*id)),
            Effect::Fact(fact) => {
                let scene = Scene { at: at.0, now: at, path: &path };
                let line = FactLine::of(fact, &scene, &Extras::default());
                format!("fact {}: {}", line.path, line.text)
            }
        }
    }
}

fn state(found: Option<&(State, Gen)>) -> String {
    let Some((state, generation)) = found else { return "not there".to_owned() };
    let word = format!("{state:?}").to_lowercase();
    if generation.0 == 0 { word } else { format!("{word} as {}", generation.0) }
}

/// The generation an event is about.
fn generation(event: &Event) -> Option<Gen> {
    match event {
        Event::Started { generation }
        | Event::Ready { generation }
        | Event::Declined { generation }
        | Event::Failed { generation, .. }
        | Event::Ended { generation, .. }
        | Event::Sick { generation } => Some(*generation),
        Event::Request { .. } | Event::Tick => None,
    }
}
