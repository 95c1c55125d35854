//! The command line of the small build (`--no-default-features`): what an init in a container needs. The verbs it has
//! are those of the full build, word for word; those it has not are refused by name.

mod command;
mod daemon;
#[path = "apart.rs"]
mod member;
mod passing;
pub mod report;
mod run;
mod trial;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::control::message::{Problem, Up};
use crate::control::places::{Host, sockets};
use crate::control::small::get;
use crate::os::{clock, stage};
use crate::runtime::view::Row;
use report::{Code, Failure, end};

/// Milliseconds between two questions while waiting.
const AGAIN: u16 = 100;

const HELP: &str = "\
Supervision trees by Erlang's rules: the small build, an init for containers

Usage: woodward run [OPTIONS] FILE...
       woodward run [OPTIONS] -- COMMAND [ARGS]...
       woodward check [--init] FILE...
       woodward status [--json] [--socket PATH] [PATH]
       woodward is-up [--wait TIME] [--socket PATH] [PATH]

run FILE:       --socket PATH, --state DIR, --var NAME=VALUE, --set KEY=VALUE,
                --at PATH (only the subtree there),
                --init (tell orphans, pass signals on, where this is not PID 1)
run -- COMMAND: --signals tree|group|process, --rewrite FROM:TO,
                --success CODE, --grace TIME, --parent-death SIGNAL, --verbose

Not in this build: all other verbs (why, logs, events, start, stop, restart,
hold, release, plan, simulate, ...) and files of settings.
";

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let mut words: VecDeque<OsString> = std::env::args_os().skip(1).collect();
    if words.front().is_some_and(|verb| verb == stage::VERB) {
        woodward_keeper::first::unblock();
        return stage::enter(words.into_iter().skip(1));
    }
    crate::os::memory::frugal();
    if let Some(code) = woodward_keeper::resume(crate::os::members) {
        return ExitCode::from(code);
    }
    let verb = words.pop_front().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if verb != "run" {
        woodward_keeper::first::unblock();
    }
    let done = match verb.as_str() {
        "run" => return read_run(words).map_or_else(|failure| failure.report(), run::run),
        "trial" => return read_daemon(words).map_or_else(|failure| failure.report(), trial::run),
        "daemon" => return read_daemon(words).map_or_else(|failure| failure.report(), daemon::run),
        "check" => check(words),
        "status" => status(words),
        "is-up" => is_up(words),
        "--help" | "-h" => {
            report::print(HELP);
            Ok(Code::Done)
        }
        "--version" | "-V" => {
            report::print(concat!("woodward ", env!("CARGO_PKG_VERSION"), " (small build)\n"));
            Ok(Code::Done)
        }
        "" => {
            eprint!("{HELP}");
            Ok(Code::Usage)
        }
        _ => Err(Failure::usage(format!("cannot do {verb:?}: no such verb in the small build"))
            .hint("woodward --help")),
    };
    end(done)
}

// ---- reading

/// A command line, taken apart.
#[derive(Default)]
struct Line {
    /// Option and value; of a flag the empty one.
    options: Vec<(String, String)>,
    operands: Vec<OsString>,
    /// Behind `--`.
    command: Vec<OsString>,
}

impl Line {
    /// `valued` options have a value behind them or after `=`.
    fn read(words: VecDeque<OsString>, valued: &[&str], flags: &[&str]) -> Result<Line, Failure> {
        let mut line = Line::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy().into_owned();
            if text == "--" {
                line.command = words.collect();
                break;
            }
            let Some(option) = text.strip_prefix("--") else {
                line.operands.push(word);
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let wrong = |what: &str| {
                Failure::usage(format!("cannot read the command line: --{name}: {what}"))
                    .hint("woodward --help")
            };
            let value = match (valued.contains(&name), flags.contains(&name), value) {
                (true, _, Some(value)) => value,
                (true, _, None) => {
                    let next = words.next().ok_or_else(|| wrong("a value is missing"))?;
                    next.into_string().map_err(|_| wrong("not UTF-8"))?
                }
                (_, true, None) => String::new(),
                (_, true, Some(_)) => return Err(wrong("takes no value")),
                _ => return Err(wrong("no such option in the small build")),
            };
            line.options.push((name.to_owned(), value));
        }
        Ok(line)
    }

    fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| option == name)
    }

    /// All values of an option, each read by `parse`.
    fn all<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Failure> {
        let values = self.options.iter().filter(|(option, _)| option == name);
        values
            .map(|(_, value)| {
                parse(value).map_err(|why| {
                    Failure::usage(format!("cannot read the command line: --{name} {value}: {why}"))
                })
            })
            .collect()
    }

    fn last<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Failure> {
        Ok(self.all(name, parse)?.pop())
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        self.last(name, |value| Ok(PathBuf::from(value)))
    }

    fn trees(&mut self) -> Result<run::Trees, Failure> {
        let files = std::mem::take(&mut self.operands).into_iter().map(PathBuf::from).collect();
        let vars = self.all("var", run::variable)?;
        let at = self.last("at", |path| Ok(path.to_owned()))?;
        Ok(run::Trees { files, vars, at, init: self.has("init") })
    }
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| why.to_string())
}

fn read_run(words: VecDeque<OsString>) -> Result<run::Args, Failure> {
    const OF_TREES: [&str; 5] = ["socket", "state", "var", "at", "set"];
    const OF_COMMAND: [&str; 5] = ["signals", "rewrite", "success", "grace", "parent-death"];
    let mut line = Line::read(words, &[&OF_TREES[..], &OF_COMMAND].concat(), &["init", "verbose"])?;
    let of_trees = !line.operands.is_empty() || line.has("init") || OF_TREES.iter().any(|o| line.has(o));
    if !line.command.is_empty() && of_trees {
        let message = "cannot read the command line: trees and a command do not mix";
        return Err(Failure::usage(message).hint("woodward --help"));
    }
    Ok(run::Args {
        trees: line.trees()?,
        socket: line.path("socket")?,
        state: line.path("state")?,
        set: line.all("set", run::variable)?,
        command: command::Args {
            signals: line.last("signals", command::reach)?,
            rewrite: line.all("rewrite", command::rewrite)?,
            success: line.all("success", |code| code.parse().map_err(|_| "not 0 to 255".to_owned()))?,
            grace: line.last("grace", time)?,
            parent_death: line.last("parent-death", command::signal)?,
            verbose: line.has("verbose"),
            command: line.command,
        },
    })
}

fn read_daemon(words: VecDeque<OsString>) -> Result<daemon::Args, Failure> {
    let mut line =
        Line::read(words, &["socket", "run", "history", "var", "at", "set"], &["notified", "init"])?;
    line.operands = std::mem::take(&mut line.command);
    Ok(daemon::Args {
        trees: line.trees()?,
        socket: line.path("socket")?.unwrap_or_default(),
        run: line.path("run")?.unwrap_or_default(),
        history: line.path("history")?,
        set: line.all("set", run::variable)?,
        notified: line.has("notified"),
    })
}

// ---- verbs

fn check(words: VecDeque<OsString>) -> Result<Code, Failure> {
    let mut line = Line::read(words, &["var"], &["init"])?;
    let (plans, warnings) = run::plans(&line.trees()?)?;
    let services: usize = plans.iter().map(|plan| plan.workers.len()).sum();
    let said: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    report::print(&format!("{said}{services} services, no errors\n"));
    Ok(Code::Done)
}

fn status(words: VecDeque<OsString>) -> Result<Code, Failure> {
    let line = Line::read(words, &["socket"], &["json"])?;
    let below = asked(&line).map(|path| format!("/{path}")).unwrap_or_default();
    for answer in ask(&line, &format!("/v1/status{below}"))? {
        if line.has("json") {
            report::print(&String::from_utf8_lossy(&answer));
            continue;
        }
        let rows: Vec<Row> = understood(&answer)?;
        for row in rows {
            let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let state = format!("{:?}", row.state).to_lowercase();
            let reason = row.reason.unwrap_or_default();
            report::print(&format!("{:30} {state:9} {pid:>7} {:>4}  {reason}\n", row.path, row.restarts));
        }
    }
    Ok(Code::Done)
}

fn is_up(words: VecDeque<OsString>) -> Result<Code, Failure> {
    let line = Line::read(words, &["socket", "wait"], &["json"])?;
    let until = clock::now() + line.last("wait", time)?.unwrap_or_default();
    let address = asked(&line).map_or_else(|| "/v1/up".to_owned(), |path| format!("/v1/up?path={path}"));
    loop {
        let answers = ask(&line, &address).and_then(|all| {
            all.iter().map(|answer| understood::<Up>(answer)).collect::<Result<Vec<Up>, Failure>>()
        });
        let good = answers.as_ref().is_ok_and(|all| all.iter().all(|up| up.up));
        let hopeless = matches!(&answers, Err(failure) if failure.code == Code::NotPermitted);
        if good || hopeless || clock::now() >= until {
            let answers = answers?;
            if line.has("json")
                && let Ok(text) = serde_json::to_string(&Up {
                    up: good,
                    missing: answers.into_iter().flat_map(|up| up.missing).collect(),
                })
            {
                report::print(&(text + "\n"));
            }
            return Ok(if good { Code::Done } else { Code::Failed });
        }
        let _ = nix::poll::poll(&mut [], AGAIN);
    }
}

// ---- asking

fn asked(line: &Line) -> Option<String> {
    Some(line.operands.first()?.to_string_lossy().replace('#', "%23"))
}

/// Asks every daemon there is, or the one at `--socket`.
fn ask(line: &Line, address: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let named = std::env::var_os("WOODWARD_SOCKET").filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(socket) = line.path("socket")?.or(named) {
        return Ok(vec![get(&socket, address)?]);
    }
    let loaded = crate::settings::load(&[]).map_err(|wrong| Failure::new(Code::Config, wrong.to_string()))?;
    let host = Host::here(&loaded.settings);
    let mut answers = Vec::new();
    let mut problem = None;
    for socket in host.searched().iter().flat_map(|dir: &PathBuf| sockets(Path::new(dir))) {
        match get(&socket, address) {
            Ok(answer) => answers.push(answer),
            // Left behind by somebody who was killed.
            Err(Problem { code: 69, .. }) => {}
            Err(other) => problem = Some(other),
        }
    }
    match (answers.is_empty(), problem) {
        (false, _) => Ok(answers),
        (true, Some(problem)) => Err(problem.into()),
        (true, None) => Err(Failure::new(Code::NoDaemon, "cannot reach a daemon: no woodward runs here")
            .hint("woodward run FILE, or --socket PATH")),
    }
}

fn understood<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer)
        .map_err(|why| Failure::new(Code::TryAgain, format!("cannot understand the daemon: {why}")))
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let code = match problem.code {
            64 => Code::Usage,
            69 => Code::NoDaemon,
            75 => Code::TryAgain,
            77 => Code::NotPermitted,
            _ => Code::Failed,
        };
        Failure { code, message: problem.error, hint: problem.hint }
    }
}
