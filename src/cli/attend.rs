//! `woodward attend`, hidden: stands for a service of systemd in a tree (`unit` in a tree file).
//!
//! ```text
//! Starting ── systemctl start has succeeded: READY=1 ──► Running ── the unit is no longer active ──► end as it ended
//!     └──────────────── asked to end (SIGTERM) ─────────────┴──► systemctl stop ──► exit 0
//! ```
//!
//! The main process of the unit is watched by its pidfd, so that its end is known at once; a unit without one is looked
//! at every [`LOOK_AGAIN`]. A unit that is active already is taken over as it is. When this process is killed, its unit
//! goes on until `attend --end`, the last thing that is run for the child.
#![allow(clippy::disallowed_methods, reason = "asks systemctl, and waits for it")]

use std::collections::HashMap;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};
use tokio::task::JoinHandle;

use super::report::{Code, Failure};
use crate::os::aside::{self, Manager, Process};

/// How often a unit without a main process is looked at, and one that is on its way from one state to another.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// Stands for a service of systemd, as a child of a tree
#[derive(clap::Args)]
pub struct Args {
    /// Its name
    #[arg(value_name = "UNIT")]
    unit: String,
    /// Only end what is left of it
    #[arg(long)]
    end: bool,
}

/// What becomes of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Well, or by an orderly stop.
    Well,
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return Failure::new(Code::TryAgain, format!("cannot run: {e}")).report(),
    };
    let ended = runtime.block_on(async {
        match args.end {
            true => end(&args.unit).await.map(|()| End::Well),
            false => attend(&args.unit).await,
        }
    });
    // The thread that waits for a signal is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(End::Well) => ExitCode::SUCCESS,
        Ok(End::Code(code)) => ExitCode::from(code),
        Ok(End::Signal(number)) => end_by(number),
        Err(failure) => failure.report(),
    }
}

async fn attend(unit: &str) -> Result<End, Failure> {
    let failed =
        |what: &str, error: std::io::Error| Failure::new(Code::TryAgain, format!("cannot {what}: {error}"));
    let mut asked = asked().map_err(|e| failed("wait for signals", e.into()))?;
    fits(unit, &State::of(unit)?)?;
    let begun = async {
        // A unit that has failed too often would be refused; how often it may is for the tree to say.
        let _ = tell("reset-failed", unit).await;
        tell("start", unit).await
    };
    tokio::select! {
        started = begun => started.map_err(|why| Failure::new(Code::Failed, format!("cannot start {unit}: {why}")))?,
        _ = &mut asked => return stop(unit).await,
    }
    if let Some(manager) = Manager::find() {
        manager.tell("READY=1").map_err(|e| failed("tell that it is ready", e))?;
    }
    tokio::select! {
        ended = over(unit) => ended,
        _ = &mut asked => stop(unit).await,
    }
}

async fn stop(unit: &str) -> Result<End, Failure> {
    let stopped = tell("stop", unit).await;
    stopped.map_err(|why| Failure::new(Code::Failed, format!("cannot stop {unit}: {why}")))?;
    Ok(End::Well)
}

/// Whatever is left of it is killed.
async fn end(unit: &str) -> Result<(), Failure> {
    if State::of(unit)?.is_over() {
        return Ok(());
    }
    // It may have ended meanwhile.
    let _ = systemctl(["kill", "--kill-whom=all", "--signal=SIGKILL", unit]).await;
    stop(unit).await.map(drop)
}

/// Whether a tree can have it.
fn fits(unit: &str, state: &State) -> Result<(), Failure> {
    let cannot = |why: &str| Failure::new(Code::Config, format!("cannot start {unit}: {why}"));
    match (state.value("LoadState"), state.value("Restart")) {
        ("loaded", "no") => Ok(()),
        ("loaded", other) => {
            let hint = "Restart=no there: only one of the two may decide";
            Err(cannot(&format!("systemd restarts it by itself, Restart={other}")).hint(hint))
        }
        ("not-found", _) => Err(cannot("there is no such unit")),
        (state, _) => Err(cannot(&format!("it is {state}")).hint("systemctl status says more")),
    }
}

/// Resolves when it has ended.
async fn over(unit: &str) -> Result<End, Failure> {
    loop {
        let state = State::of(unit)?;
        if state.is_over() {
            return Ok(state.end());
        }
        let main = state.number("MainPID").filter(|pid| *pid > 0).and_then(|pid| Process::open(pid).ok());
        match main {
            Some(main) => {
                main.ended().await;
                tokio::time::sleep(ON_ITS_WAY).await;
            }
            None if state.value("ActiveState") == "active" => tokio::time::sleep(LOOK_AGAIN).await,
            None => tokio::time::sleep(ON_ITS_WAY).await,
        }
    }
}

/// What systemd says of a unit.
struct State(HashMap<String, String>);

impl State {
    fn of(unit: &str) -> Result<State, Failure> {
        let wanted = "LoadState,ActiveState,Restart,MainPID,Result,ExecMainCode,ExecMainStatus";
        let mut command = Command::new("systemctl");
        let out = command.args(scope()).args(["show", "-p", wanted, "--", unit]).output();
        let cannot = |why: String| {
            let hint = "`unit` in a tree needs a running systemd";
            Failure::new(Code::TryAgain, format!("cannot ask for {unit}: {why}")).hint(hint)
        };
        match out {
            Ok(out) if out.status.success() => Ok(State::parse(&String::from_utf8_lossy(&out.stdout))),
            Ok(out) => Err(cannot(String::from_utf8_lossy(&out.stderr).trim().to_owned())),
            Err(error) => Err(cannot(format!("systemctl: {error}"))),
        }
    }

    fn parse(text: &str) -> State {
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        State(text.lines().filter_map(pair).collect())
    }

    fn value(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> Option<i32> {
        self.value(key).parse().ok()
    }

    fn is_over(&self) -> bool {
        matches!(self.value("ActiveState"), "inactive" | "failed")
    }

    /// How its main process ended (`ExecMainCode` is the `si_code` of `waitid(2)`), where systemd does not call that a
    /// success.
    fn end(&self) -> End {
        let status = self.number("ExecMainStatus").unwrap_or(0);
        match (self.value("Result"), self.number("ExecMainCode")) {
            ("success", _) => End::Well,
            (_, Some(libc::CLD_KILLED | libc::CLD_DUMPED)) => End::Signal(status),
            // A failure that is none of the main process: a hook, a time that was over.
            (_, _) => End::Code(u8::try_from(status).ok().filter(|code| *code != 0).unwrap_or(1)),
        }
    }
}

async fn tell(verb: &str, unit: &str) -> Result<(), String> {
    systemctl([verb, "--", unit]).await
}

async fn systemctl<const N: usize>(words: [&str; N]) -> Result<(), String> {
    let command = ["systemctl"].iter().chain(scope()).chain(&words).map(|word| (*word).to_owned());
    aside::run(&command.collect::<Vec<_>>()).await
}

/// Whose systemd: that of the machine for root, else that of the user.
fn scope() -> &'static [&'static str] {
    if nix::unistd::geteuid().is_root() { &[] } else { &["--user"] }
}

/// Resolves when this process is asked to end.
fn asked() -> nix::Result<JoinHandle<nix::Result<Signal>>> {
    let mut signals = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().for_each(|signal| signals.add(signal));
    signals.thread_block()?;
    Ok(tokio::task::spawn_blocking(move || signals.wait()))
}

/// Ends as the unit did, so that whoever reads the status sees the same.
fn end_by(number: i32) -> ExitCode {
    if let Ok(signal) = Signal::try_from(number) {
        // The core is the unit's.
        let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
        let mut signals = SigSet::empty();
        signals.add(signal);
        let _ = signals.thread_unblock();
        let _ = raise(signal);
    }
    ExitCode::from(u8::try_from(128 + number).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_as_its_unit_did() {
        let check = |text: &str, end: End| assert_eq!(State::parse(text).end(), end, "{text}");
        check("Result=success\nExecMainCode=1\nExecMainStatus=143", End::Well);
        check("Result=exit-code\nExecMainCode=1\nExecMainStatus=3", End::Code(3));
        check("Result=signal\nExecMainCode=2\nExecMainStatus=9", End::Signal(9));
        check("Result=core-dump\nExecMainCode=3\nExecMainStatus=6", End::Signal(6));
        check("Result=timeout\nExecMainCode=1\nExecMainStatus=0", End::Code(1));
    }

    #[test]
    fn only_one_of_the_two_may_restart() {
        let check = |text: &str, message: Option<&str>| {
            let said = fits("x.service", &State::parse(text)).err().map(|failure| failure.to_string());
            assert_eq!(
                said.as_deref().map(|said| said.lines().next().unwrap_or_default()),
                message,
                "{text}"
            );
        };
        check("LoadState=loaded\nRestart=no", None);
        check(
            "LoadState=loaded\nRestart=always",
            Some("cannot start x.service: systemd restarts it by itself, Restart=always"),
        );
        check("LoadState=not-found\nRestart=no", Some("cannot start x.service: there is no such unit"));
    }
}
