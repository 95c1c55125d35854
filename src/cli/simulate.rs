//! `woodward simulate`: the engine under a virtual clock, driven by the tree file alone.

mod fault;
mod world;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use woodward_engine::Time;
use woodward_engine::effect::TreeEnd;
use woodward_engine::view::State;

use super::check::{reading, variable};
use super::report::{self, Code, Failure};
use super::style::{Style, WIDTH, blanks, width, wrap};
use crate::control::resolve;
use crate::record::fact::FactLine;
use crate::record::words;
use crate::tree::{Options, Plan};
use fault::{Fault, Reason};
use world::World;

/// Show what would happen, on a virtual clock
///
/// Every start succeeds and every stop is obeyed, but for the faults. Without
/// any fault: a start and a stop.
///
/// A fault is PATH[=REASON][*TIMES][@TIME].
///
/// REASON: crash (exit 1; the default), normal (exit 0), kill, exit:N,
/// signal:NAME, fails_to_start, hangs_in_start, hangs_in_stop.
///
/// TIMES: a number, or `always`. A crash comes again 0.1 s after the child is
/// up again; the others with its next starts or stops.
///
/// TIME: on the clock of the simulation, as 90s (0s: with the first start);
/// else 10 s after the tree has come to rest.
#[derive(clap::Args)]
pub struct Args {
    /// Tree file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What goes wrong; may be given several times
    #[arg(long = "fault", value_name = "PATH[=REASON]")]
    faults: Vec<Fault>,
    /// Give a variable of the tree a value
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    report::end(simulate(args))
}

fn simulate(args: Args) -> Result<Code, Failure> {
    let options = Options { vars: args.vars, ..Options::of_this_process() };
    let (_, plan) = reading(&args.file, &options)?;
    let faults =
        args.faults.into_iter().map(|fault| resolved(&plan, fault)).collect::<Result<Vec<_>, _>>()?;
    report::print(&Style::here().text(&story(&plan, faults)));
    Ok(Code::Done)
}

/// A fault with the full path of its child.
fn resolved(plan: &Plan, fault: Fault) -> Result<Fault, Failure> {
    let paths = || plan.workers.iter().map(|worker| worker.path.as_str());
    match resolve::candidates(&fault.path, paths())[..] {
        [path] => Ok(Fault { path: path.to_owned(), ..fault }),
        [] => {
            let failure = Failure::usage(format!("cannot simulate {}: no service of the tree", fault.path));
            let near = resolve::nearest(&fault.path, paths());
            Err(near.map(|near| failure.clone().hint(format!("did you mean {near}?"))).unwrap_or(failure))
        }
        ref found => {
            Err(Failure::usage(format!("cannot simulate {}: it may be {}", fault.path, found.join(", ")))
                .hint("write more of the path"))
        }
    }
}

/// Everything that is printed.
fn story(plan: &Plan, faults: Vec<Fault>) -> String {
    let mut telling = Telling { plan, text: String::new(), lines: 0 };
    let mut world = World::new(plan);
    let stops = faults.is_empty() || faults.iter().any(|fault| fault.reason == Reason::HangsInStop);
    let mut rests = true;
    let (before, later): (Vec<Fault>, Vec<Fault>) = faults
        .into_iter()
        .partition(|fault| fault.reason.is_about_starts() && fault.at == Some(Duration::ZERO));
    for fault in before {
        world.fault(&fault);
    }
    world.start();
    if later.first().is_some_and(|fault| fault.at.is_none()) {
        rests &= world.rest(None);
        world.facts.clear();
        telling.state(&world);
    }
    for fault in later {
        let at = match fault.at {
            Some(at) => Time(0) + at,
            None => {
                rests &= world.rest(None);
                world.now + PAUSE
            }
        };
        world.rest(Some(at));
        telling.facts(&mut world);
        if world.ended.is_some() || !rests {
            break;
        }
        world.now = world.now.max(at);
        if !world.fault(&fault) {
            telling.line(world.now, &fault.path, "is not running: nothing to go wrong");
        }
        telling.facts(&mut world);
    }
    rests &= world.rest(None);
    telling.facts(&mut world);
    if stops && rests && world.ended.is_none() {
        telling.state(&world);
        world.now = world.now + PAUSE;
        world.stop();
        rests &= world.rest(None);
        telling.facts(&mut world);
    }
    telling.end(&world, rests, stops);
    telling.text
}

/// Between a tree at rest and the next thing that happens to it.
const PAUSE: Duration = Duration::from_secs(10);

struct Telling<'p> {
    plan: &'p Plan,
    text: String,
    lines: usize,
}

/// What is printed of a tree that never rests.
const MOST_LINES: usize = 400;

impl Telling<'_> {
    fn facts(&mut self, world: &mut World<'_>) {
        for fact in std::mem::take(&mut world.facts).iter().filter(|fact| matters(fact)) {
            self.line(Time(fact.at), &fact.path, &fact.text);
        }
    }

    /// One line: time, name, what.
    fn line(&mut self, at: Time, path: &str, what: &str) {
        self.lines += 1;
        if self.lines == MOST_LINES {
            self.text += "            and so on\n";
        }
        if self.lines >= MOST_LINES {
            return;
        }
        let longest = self.paths().map(|path| width(self.name(path))).max().unwrap_or(0).clamp(8, 28);
        let name = self.name(path);
        let front = format!("{:>10}  {name}{}  ", clock(at), blanks(longest.saturating_sub(width(name))));
        let lines = wrap(what, WIDTH.saturating_sub(width(&front)).max(20));
        for (n, line) in lines.iter().enumerate() {
            let front = if n == 0 { front.clone() } else { blanks(width(&front)) };
            let _ = writeln!(self.text, "{front}{line}");
        }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let supervisors = self.plan.supervisors.iter().map(|supervisor| supervisor.path.as_str());
        self.plan.workers.iter().map(|worker| worker.path.as_str()).chain(supervisors)
    }

    /// The id, if no other child has it, else the path below the root.
    fn name<'a>(&self, path: &'a str) -> &'a str {
        let id = words::leaf(path);
        match self.paths().filter(|other| words::leaf(other) == id).nth(1) {
            None => id,
            Some(_) => path.split_once('/').map_or(path, |(_, below)| below),
        }
    }

    /// How many are up.
    fn state(&mut self, world: &World<'_>) {
        let (up, others) = world.children();
        self.line(world.now, &self.plan.tree.id, &format!("{up} of {} up", up + others.len()));
    }

    fn end(&mut self, world: &World<'_>, rests: bool, stopped: bool) {
        let (up, others) = world.children();
        let all = up + others.len();
        let text = match world.ended {
            Some(TreeEnd::Stopped) if stopped => return,
            Some(TreeEnd::Stopped) => "the tree has stopped".to_owned(),
            Some(TreeEnd::Shutdown) => "the tree has shut itself down".to_owned(),
            Some(TreeEnd::GaveUp) => "the tree gave up; nothing is left running".to_owned(),
            Some(TreeEnd::Failover) => "the tree gave up; another node would have it".to_owned(),
            Some(TreeEnd::Reboot) => "the tree gave up; the machine would be rebooted".to_owned(),
            Some(TreeEnd::Essential(_)) => "the essential child ended; nothing is left running".to_owned(),
            None if !rests => format!("{up} of {all} up; it would go on like this and never rest"),
            None => format!("{up} of {all} up"),
        };
        let mut text = format!("now  {text}");
        for (path, state) in others.iter().filter(|_| world.ended.is_none()) {
            let _ = write!(text, "; {path} {}", word(*state));
        }
        for (n, line) in wrap(&text, WIDTH - 5).iter().enumerate() {
            let line = if n == 0 { line.replacen("now ", "now  ", 1) } else { format!("     {line}") };
            let _ = writeln!(self.text, "{line}");
        }
    }
}

/// What a reader of causes and effects needs; reports and requests to start only repeat it.
fn matters(fact: &FactLine) -> bool {
    fact.kind != "starting" && !fact.kind.starts_with("report_")
}

fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waits",
        State::Starting => "is starting",
        State::Up => "is up",
        State::Backoff => "is backing off",
        State::Stopping => "is stopping",
        State::Stopped => "is stopped",
        State::Done => "is done",
        State::Parked => "is parked",
    }
}

/// `1:02:03.456`, from 0.
fn clock(at: Time) -> String {
    let (seconds, ms) = (at.0 / 1000, at.0 % 1000);
    match seconds {
        0..60 => format!("{seconds}.{ms:03}"),
        60..3600 => format!("{}:{:02}.{ms:03}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}
