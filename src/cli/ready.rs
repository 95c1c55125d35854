//! `woodward ready`: the conditions of readiness and the checks of a tree for units of systemd.
//!
//! ```text
//! ExecStartPost=woodward ready --tcp H:P              asks, and ends: 0 when it holds
//! ExecStartPost=woodward ready --tcp H:P --health-…   asks, and ends; the process aside goes on to watch
//! ExecStart=woodward ready --log T … -- COMMAND       becomes COMMAND; the process aside tells READY=1, watches
//! ExecStopPost=woodward ready --drain                 waits until the process aside has passed on the last lines
//! ```
//!
//! What holds of a condition in a tree holds here ([`crate::runtime::readiness`]), and so does what makes a service sick
//! ([`crate::runtime::health::watch`]); [`ask`] and [`watch`] tell it to systemd.

mod ask;
mod watch;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::report::{Code, Failure};
use crate::os::aside::{self, Manager, Passing, Process, Side, State};
use crate::runtime::readiness::Mark;
use crate::tree::{Check, Health, Probe, units};
use ask::Asking;

/// For the last lines of a service that has ended.
const DRAINED: Duration = Duration::from_secs(2);

/// Readiness and health of a unit of systemd, as a tree has them
///
/// As ExecStartPost= it returns 0 when the condition holds, and fails when the main
/// process ($MAINPID) ends or the time is over. As ExecStart=, with -- COMMAND, it
/// becomes the command, and a small process beside it tells systemd READY=1
/// (Type=notify, NotifyAccess=all); --log and --fd need this, and --file is exact
/// only so. With --health-..., a process stays that asks the service and has it
/// ended by systemd's watchdog when it hangs (NotifyAccess=all).
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    condition: Condition,
    /// Fail when it takes longer, from the start of the main process on
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    within: Option<Duration>,
    /// The condition must hold (without one: it must have run) this long
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    settle: Option<Duration>,
    #[command(flatten)]
    checks: Checks,
    /// As ExecStopPost= behind --log: wait until the last lines are passed on
    #[arg(long, exclusive = true)]
    drain: bool,
    /// Become this command, and tell systemd when it is ready
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct Kinds {
    /// Somebody accepts connections there
    #[arg(long, value_name = "HOST:PORT")]
    tcp: Option<String>,
    /// Somebody accepts connections at this socket
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// A GET answers 2xx or 3xx, or exactly --status
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// A command, closed by `;`, ends with 0
    #[arg(long, value_name = "COMMAND", num_args = 1.., value_terminator = ";", allow_hyphen_values = true)]
    exec: Option<Vec<String>>,
    /// A file was written after the start
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// A CORBA object is there
    #[arg(long, value_name = "REFERENCE")]
    corbaloc: Option<String>,
    /// A line of output contains this
    #[arg(long, value_name = "TEXT", requires = "command")]
    log: Option<String>,
    /// A newline comes on this descriptor
    #[arg(long, value_name = "NUMBER", requires = "command")]
    fd: Option<i32>,
}

#[derive(clap::Args)]
struct Condition {
    #[command(flatten)]
    kinds: Kinds,
    /// The one HTTP status wanted
    #[arg(long, value_name = "NUMBER", requires = "http")]
    status: Option<u16>,
    /// The file contains this
    #[arg(long, value_name = "TEXT", requires = "file")]
    contains: Option<String>,
}

#[derive(clap::Args)]
#[group(multiple = false, id = "asked")]
struct Asked {
    /// Check: somebody accepts connections there
    #[arg(long, value_name = "HOST:PORT")]
    health_tcp: Option<String>,
    /// Check: somebody accepts connections at this socket
    #[arg(long, value_name = "PATH")]
    health_unix: Option<PathBuf>,
    /// Check: a GET answers 2xx or 3xx, or exactly --health-status
    #[arg(long, value_name = "URL")]
    health_http: Option<String>,
    /// Check: a command, closed by `;`, ends with 0
    #[arg(long, value_name = "COMMAND", num_args = 1.., value_terminator = ";", allow_hyphen_values = true)]
    health_exec: Option<Vec<String>>,
    /// Check: a CORBA object is there
    #[arg(long, value_name = "REFERENCE")]
    health_corbaloc: Option<String>,
    /// Check: a file was written at most --max-age ago
    #[arg(long, value_name = "PATH", requires = "max_age")]
    health_file: Option<PathBuf>,
    /// Check: from readiness on, it says WATCHDOG=1 this often
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    watchdog: Option<Duration>,
}

#[derive(clap::Args)]
struct Checks {
    #[command(flatten)]
    asked: Asked,
    /// The one HTTP status wanted
    #[arg(long, value_name = "NUMBER", requires = "health_http")]
    health_status: Option<u16>,
    /// For --health-file
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    max_age: Option<Duration>,
    /// From one check to the next
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    every: Duration,
    /// For one check
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    timeout: Duration,
    /// So many failures in a row mean that it hangs
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    misses: u32,
    /// From readiness to the first check
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration)]
    start_after: Duration,
}

impl Condition {
    fn probe(self) -> Option<Probe> {
        let Kinds { tcp, unix, http, exec, file, corbaloc, log, fd } = self.kinds;
        let (status, contains) = (self.status, self.contains);
        tcp.map(Probe::Tcp)
            .or(unix.map(Probe::Unix))
            .or(http.map(|url| Probe::Http { url, status }))
            .or(exec.map(Probe::Exec))
            .or(file.map(|path| Probe::File { path, contains }))
            .or(corbaloc.map(Probe::Corbaloc))
            .or(log.map(Probe::Log))
            .or(fd.map(Probe::Fd))
    }
}

impl Checks {
    fn health(self) -> Option<Health> {
        let Asked {
            health_tcp,
            health_unix,
            health_http,
            health_exec,
            health_corbaloc,
            health_file,
            watchdog,
        } = self.asked;
        let status = self.health_status;
        let probe = health_tcp
            .map(Probe::Tcp)
            .or(health_unix.map(Probe::Unix))
            .or(health_http.map(|url| Probe::Http { url, status }))
            .or(health_exec.map(Probe::Exec))
            .or(health_corbaloc.map(Probe::Corbaloc));
        let fresh = health_file.zip(self.max_age).map(|(path, max_age)| Check::Fresh { path, max_age });
        Some(Health {
            check: probe.map(Check::Probe).or(fresh).or(watchdog.map(Check::Watchdog))?,
            every: self.every,
            timeout: self.timeout,
            misses: self.misses,
            start_after: self.start_after,
        })
    }
}

/// Does what is asked for, whichever it is.
pub fn run(args: Args) -> ExitCode {
    if args.drain {
        aside::drained(DRAINED);
        return Code::Done.into();
    }
    let Args { condition, within, settle, checks, command, .. } = args;
    let (probe, health) = (condition.probe(), checks.health());
    let settle = settle.unwrap_or_default();
    let outcome = if command.is_empty() {
        behind(probe, within, settle, health)
    } else {
        around(probe, within, settle, health, &command)
    };
    super::report::end(outcome.map(|()| Code::Done))
}

/// Behind the start: `ExecStartPost=`.
fn behind(
    probe: Option<Probe>,
    within: Option<Duration>,
    settle: Duration,
    health: Option<Health>,
) -> Result<(), Failure> {
    if probe.is_none() && health.is_none() && settle.is_zero() {
        let failure = Failure::usage("cannot wait: there is no condition");
        return Err(failure.hint("--tcp HOST:PORT, --log TEXT -- COMMAND, ...; woodward ready --help"));
    }
    let main = ask::main_process().map_err(|why| Failure::new(Code::Failed, why))?;
    let asking = Asking { probe, before: None, within, settle, main, manager: Manager::find() };
    let Some(health) = health else {
        return runtime()?.block_on(asking.until_ready(None)).map_err(|why| Failure::new(Code::Failed, why));
    };
    if asking.main.is_none() {
        return Err(Failure::usage("cannot watch a service: MAINPID is not set")
            .hint("checks belong into ExecStartPost= of a service, or in front of -- COMMAND"));
    }
    // The verdict comes through a pipe: one byte is "ready", an end without it is not.
    let (told, tell) = aside::pipe().map_err(|error| cannot("make a pipe", &error))?;
    let mut keep = asking.descriptors();
    keep.extend([told.as_raw_fd(), tell.as_raw_fd()]);
    match aside::aside(&keep).map_err(|error| cannot("fork", &error))? {
        Side::Main => {
            drop(tell);
            let ready = std::fs::File::from(told).read(&mut [0]).is_ok_and(|n| n == 1);
            std::process::exit(if ready { Code::Done } else { Code::Failed }.number().into());
        }
        Side::Aside => {
            drop(told);
            runtime()?.block_on(async {
                if let Err(why) = asking.until_ready(None).await {
                    eprintln!("{why}");
                    return;
                }
                // Whoever waited for this may have been killed meanwhile.
                if std::fs::File::from(tell).write(&[1]).is_ok() {
                    watch::watch(&asking, &health).await;
                }
            });
            std::process::exit(0);
        }
    }
}

/// Around the command: `ExecStart=`. Returns only when it could not be executed.
fn around(
    probe: Option<Probe>,
    within: Option<Duration>,
    settle: Duration,
    health: Option<Health>,
    command: &[OsString],
) -> Result<(), Failure> {
    let before = match &probe {
        Some(Probe::File { path, .. }) => Some(Mark::now(path)),
        _ => None,
    };
    let main = Process::own().map_err(|error| cannot("look at its own process", &error))?;
    let manager = Manager::find();
    let asking = Asking { probe, before, within, settle, main: Some(main), manager };
    let taps = Taps::of(asking.probe.as_ref()).map_err(|error| cannot("make a pipe", &error))?;
    let mut keep = asking.descriptors();
    keep.extend(taps.descriptors());
    match aside::aside(&keep).map_err(|error| cannot("fork", &error))? {
        Side::Main => {
            // What goes wrong from here on is said where it does not depend on the process aside.
            let complain = std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
            for (writer, number) in &taps.writers {
                aside::put(writer, *number).map_err(|error| cannot("set up its descriptors", &error))?;
            }
            // A service that says itself that it lives is told where; else READY=1 would count from it, too.
            let watchdog = std::env::var_os("WATCHDOG_USEC").is_some();
            let without = if watchdog { &aside::OURS[1..] } else { aside::OURS };
            let error = aside::execute(command, without);
            let program = command.first().map(|word| word.display().to_string()).unwrap_or_default();
            if let Ok(mut complain) = complain {
                // Nobody is left to whom a failure of this could be told.
                let _ = writeln!(complain, "cannot execute {program}: {error}");
            }
            std::process::exit(aside::CANNOT_EXECUTE.into());
        }
        Side::Aside => {
            beside(asking, taps, health);
            std::process::exit(0);
        }
    }
}

/// The life of the process aside of a command.
fn beside(asking: Asking, taps: Taps, health: Option<Health>) {
    let Ok(runtime) = runtime() else { return };
    let (told, over) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (states, newline) = taps.tapped(&asking, &told, &over);
    runtime.block_on(async {
        let meeting = (!states.is_empty()).then(|| tokio::spawn(answer(states.clone())));
        if let Some(pipe) = newline
            && let Ok(pipe) = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe)
        {
            let told = told.clone();
            tokio::spawn(async move {
                crate::runtime::readiness::newline(pipe).await;
                told.notify_one();
            });
        }
        // How it failed, or that it takes too long, systemd says itself.
        if asking.until_ready(Some(&told)).await.is_ok() {
            asking.tell("READY=1\nSTATUS=");
            asking.understood();
            if let Some(health) = &health {
                watch::watch(&asking, health).await;
            }
        }
        if let Some(meeting) = meeting {
            // The last lines of whoever can still write.
            while !states.iter().all(|state| state.is_over()) {
                over.notified().await;
            }
            meeting.abort();
        }
    });
}

/// Whoever comes is kept waiting until all that was written so far has been passed on.
async fn answer(states: Arc<[Arc<State>]>) {
    let Some(meeting) = aside::meet() else { return };
    loop {
        let Ok((stream, _)) = meeting.accept().await else { return };
        let states = states.clone();
        tokio::spawn(async move {
            while !states.iter().all(|state| state.is_idle()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(stream);
        });
    }
}

/// Pipes in place of descriptors of the command.
struct Taps {
    /// What the command gets, and as which number.
    writers: Vec<(OwnedFd, RawFd)>,
    /// What is read, and where it goes.
    readers: Vec<(OwnedFd, RawFd)>,
}

impl Taps {
    fn of(probe: Option<&Probe>) -> std::io::Result<Taps> {
        let mut taps = Taps { writers: Vec::new(), readers: Vec::new() };
        match probe {
            Some(Probe::Log(_)) => {
                // One pipe for both if both are one now: so the order of lines stays.
                let one = aside::one_output();
                for number in if one { 1..=1 } else { 1..=2 } {
                    let (reader, writer) = aside::pipe()?;
                    taps.readers.push((reader, number));
                    if one {
                        taps.writers.push((writer.try_clone()?, 2));
                    }
                    taps.writers.push((writer, number));
                }
            }
            Some(Probe::Fd(number)) => {
                let (reader, writer) = aside::pipe()?;
                taps.readers.push((reader, *number));
                taps.writers.push((aside::both_directions(&writer)?, *number));
            }
            _ => {}
        }
        Ok(taps)
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.writers.iter().chain(&self.readers).map(|(fd, _)| fd.as_raw_fd())
    }

    /// In the process aside: reads them. Gives the states of the threads that pass on output, and the pipe for a newline.
    /// `told`: the text was found; `over`: nobody can write any more.
    fn tapped(
        self,
        asking: &Asking,
        told: &Arc<Notify>,
        over: &Arc<Notify>,
    ) -> (Arc<[Arc<State>]>, Option<OwnedFd>) {
        drop(self.writers);
        let Some(Probe::Log(text)) = &asking.probe else {
            return (Arc::new([]), self.readers.into_iter().next().map(|(reader, _)| reader));
        };
        let started = self.readers.into_iter().filter_map(|(reader, to)| {
            let main = asking.main.as_ref().map_or(0, Process::pid);
            let passing = Passing::new(reader, to, main).ok()?;
            let (state, told, over) = (passing.state(), told.clone(), over.clone());
            let mut lines = ask::Lines::containing(text);
            let thread = std::thread::Builder::new().name("passing".to_owned()).spawn(move || {
                passing.run(|piece| {
                    if lines.look(piece) {
                        told.notify_one();
                    }
                });
                over.notify_one();
            });
            thread.ok().map(|_| state)
        });
        (started.collect(), None)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| cannot("begin", &error))
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::Failed, format!("cannot {what}: {error}"))
}
