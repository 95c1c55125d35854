//! `woodward daemon`: the keeper's child, in which everything but the processes lives. Hidden: `woodward run` starts it.
//!
//! One thread. In order: the keeper's channel, the trees, record, socket, kernel; then it waits for signals and for
//! the end of all trees. A failure before the trees run ends `woodward run` with its code; after a restart by the
//! keeper nothing that runs may suffer from it, so the daemon then only ends, and the keeper tries again.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::Gid;
use tokio::net::UnixListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use woodward_engine::Exit;
use woodward_engine::effect::TreeEnd;

use super::member::{self, Joined, Member};
use super::passing;
use super::report::{Code, Failure};
use super::run::{self, Trees, refused};
use super::trial;
use crate::control::{BindError, Door, Upgrade, bind, serve};
use crate::os::notify::{NotifyServer, Stranger};
use crate::os::{self, Os, clock};
use crate::record::fact::FactLine;
use crate::record::{Places, Record};
use crate::runtime::applied::{Applied, Source};
use crate::runtime::faults::Faults;
use crate::runtime::groups::Groups;
use crate::runtime::task::Tasks;
use crate::runtime::view::State;
use crate::runtime::{self, Ends, Handle, Surroundings, Who};
use crate::settings::{self, Chaos, Flag, Loaded, Said, Settings};
use crate::tree::{Diagnostic, Options, Plan, accounts};

/// Who is waited for is said after this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Whoever started woodward is told of a new state this often at most.
const PAUSE: Duration = Duration::from_secs(1);
/// While it starts or stops, whoever started woodward is asked for more time this often, for three times as long.
const EXTEND: Duration = Duration::from_secs(10);

/// The daemon itself, started by its keeper.
#[cfg_attr(feature = "full", derive(clap::Args))]
pub struct Args {
    #[cfg_attr(feature = "full", command(flatten))]
    pub(super) trees: Trees,
    #[cfg_attr(feature = "full", arg(long))]
    pub(super) socket: PathBuf,
    #[cfg_attr(feature = "full", arg(long))]
    pub(super) run: PathBuf,
    #[cfg_attr(feature = "full", arg(long))]
    pub(super) history: Option<PathBuf>,
    #[cfg_attr(feature = "full", arg(long, value_parser = super::run::variable))]
    pub(super) set: Vec<Flag>,
    /// Whoever started woodward wants to be told (sd_notify)
    #[cfg_attr(feature = "full", arg(long))]
    pub(super) notified: bool,
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return Failure::new(Code::TryAgain, format!("cannot run: {e}")).report(),
    };
    let code = runtime.block_on(daemon(args));
    // Threads that wait for a name server or a disk are not waited for.
    runtime.shutdown_background();
    code
}

async fn daemon(args: Args) -> ExitCode {
    let connected = match os::channel() {
        Ok(channel) => Os::connect(channel, &args.run).await,
        Err(e) => Err(e),
    };
    let os = match connected {
        Ok(os) => os,
        Err(e) => {
            let failure = Failure::new(Code::Usage, format!("cannot reach the keeper: {e}"));
            return failure.hint("woodward run starts the daemon").report();
        }
    };
    // From the moment the trees run, a failure of this daemon is not theirs.
    let running = Cell::new(!os.found().is_empty());
    match live(args, &os, &running).await {
        Ok(code) => {
            os.exit(code);
            ExitCode::from(code)
        }
        Err(failure) => {
            if !running.get() {
                os.exit(failure.code.number());
            }
            failure.report()
        }
    }
}

/// How a daemon ends that has lived.
enum End {
    /// Everything has ended: woodward does, with this code.
    Code(u8),
    /// This file takes over.
    Replaced(OwnedFd),
}

/// Reads trees and settings as the next daemon of this run will.
pub(super) fn could_run(args: &Args) -> Result<(), Failure> {
    match Applied::kept(&args.run) {
        Some(applied) => as_applied(&applied)?,
        None => run::plans(&args.trees)?,
    };
    let loaded = settings::load(&args.set).map_err(refused)?;
    group(&loaded.settings).map(drop)
}

async fn live(args: Args, os: &Os, runs: &Cell<bool>) -> Result<u8, Failure> {
    let running = runs.get();
    let cannot = |what: &str, e: std::io::Error| Failure::new(Code::TryAgain, format!("cannot {what}: {e}"));
    let signals = os.signals();
    let Begun { plans, warnings, applied } = begin(&args, running)?;
    if !running {
        warnings.iter().for_each(|warning| eprintln!("{warning}"));
    }
    let (loaded, spoilt) = settings(&args, running)?;
    let group = group(&loaded.settings)?;
    if !running {
        run::strict(&plans, &loaded.settings)?;
    }
    let settings = loaded.settings.clone();
    let member = member::of(&plans, &settings, args.trees.at.as_deref(), os, &args.run).await?;
    let evict_within = settings.evict_within();
    let places = Places { settings: settings.clone(), ..Places::new(args.run.clone(), args.history.clone()) };
    let record = Record::open(places, Some(os.clone()));
    let record = record.map_err(|e| cannot("keep records", e))?;
    // There is one already only where this runs twice in a program, as in a test.
    let _ = tracing::dispatcher::set_global_default(record.diagnostics());
    if let Some(why) = spoilt {
        record.fact(FactLine::note(clock::wall(), 0, "", 0, "settings_refused", why));
        record.keep();
    }
    let listener = bind(&args.socket, group).map_err(|e| {
        let code = if matches!(e, BindError::Running { .. }) { Code::TryAgain } else { Code::NotPermitted };
        Failure::new(code, e.to_string())
    })?;
    let listener = UnixListener::from_std(listener).map_err(|e| cannot("listen", e))?;
    let notify = NotifyServer::open(os, &args.run.join("notify"), report_strangers(record.clone()));
    let notify = notify.map_err(|e| cannot("listen for sd_notify", e))?;

    let faults = Faults::new(settings.chaos == Chaos::On, os.clone(), record.clone(), Some(args.run.clone()));
    let surroundings = Surroundings {
        faults,
        os: os.clone(),
        notify: Some(notify),
        record,
        run: Some(args.run.clone()),
        evict_within,
        applied,
        groups: member.as_ref().map_or_else(Groups::default, Member::groups),
        tasks: Tasks::default(),
    };
    let (upgrades, wishes) = unbounded_channel();
    tracing::info!(found = os.found().len(), socket = %args.socket.display(), "the daemon has its records and its socket");
    runs.set(true);
    let (handle, ended) = runtime::start(surroundings, plans).await;
    let mut joined = member.map(|member| member.join(handle.clone(), handle.record().clone()));
    let cluster = joined.as_ref().map(|joined| joined.handle.clone());
    let door = Door {
        group,
        settings: used(&args, loaded.said),
        upgrades: Some(upgrades),
        #[cfg(feature = "full")]
        cluster: cluster.clone(),
    };
    let server = tokio::spawn(serve(handle.clone(), listener, door));
    let leave = cluster.map(|cluster| Box::pin(Joined::leave(cluster)));
    let obey = obey(handle.clone(), signals, os.clone(), leave);
    let tell = args.notified.then(|| tokio::spawn(tell(handle.clone(), os.clone())));

    let end = tokio::select! {
        ends = ended => {
            let ends = ends.map_err(|_| Failure::new(Code::TryAgain, "cannot go on: the kernel failed"))?;
            End::Code(code(&ends))
        }
        file = upgraded(wishes, os) => End::Replaced(file),
        _ = obey => return Err(Failure::new(Code::TryAgain, "cannot go on: the keeper is gone")),
        () = failed(&mut joined) => {
            return Err(Failure::new(Code::TryAgain, "cannot go on: this node's part in the cluster failed"));
        }
    };
    if let End::Code(_) = end {
        os.notify("STOPPING=1");
    }
    server.abort();
    tell.inspect(|tell| tell.abort());
    // Dropping the server removes its socket.
    let _ = server.await;
    handle.record().close().await;
    match end {
        End::Code(code) => Ok(code),
        End::Replaced(file) => {
            os.replace(file);
            // At once, as if killed: services go on writing, and what is read of it now and not yet written must stay
            // unread for the next daemon.
            std::process::exit(0)
        }
    }
}

/// Resolves when a file has shown that it can take over; whoever asked has been told.
async fn upgraded(mut wishes: UnboundedReceiver<Upgrade>, os: &Os) -> OwnedFd {
    loop {
        let Some(Upgrade { file, answer }) = wishes.recv().await else { std::future::pending().await };
        let tried = trial::of(&file, os).await;
        // Who asked may have gone away: the wish stands.
        match tried {
            Ok(file) => {
                let _ = answer.send(Ok(()));
                return file;
            }
            Err(problem) => {
                let _ = answer.send(Err(problem));
            }
        }
    }
}

/// What this daemon runs.
struct Begun {
    plans: Vec<Plan>,
    warnings: Vec<Diagnostic>,
    applied: Applied,
}

fn as_applied(applied: &Applied) -> Result<(Vec<Plan>, Vec<Diagnostic>), Failure> {
    let files = applied.sources().iter().map(|source| (source.file.as_path(), source.vars.as_slice()));
    run::read(files, &applied.options_as_seen())
}

/// The trees: after an earlier daemon of the same keeper what that one had applied; else what lies on the disk. Services
/// that are found running are compared as if by an apply, so with the environment and the host their run began with:
/// another login, or another invocation by systemd, is no reason to restart them.
fn begin(args: &Args, running: bool) -> Result<Begun, Failure> {
    let earlier = Applied::kept(&args.run);
    if let Some(applied) = earlier.as_ref().filter(|earlier| earlier.is_ours()) {
        let (plans, _) = as_applied(applied)?;
        return Ok(Begun { plans, warnings: Vec::new(), applied: applied.clone() });
    }
    let options = match earlier.as_ref().filter(|_| running) {
        Some(earlier) => Options { init: args.trees.init, at: args.trees.at.clone(), ..earlier.options() },
        None => run::options(&args.trees),
    };
    let files = args.trees.files.iter().map(|file| (file.as_path(), args.trees.vars.as_slice()));
    let (plans, warnings) = run::read(files, &options)?;
    let of = |(file, plan): (&PathBuf, &Plan)| Source {
        id: plan.tree.id.to_string(),
        file: run::absolute(file),
        vars: args.trees.vars.clone(),
    };
    let sources = args.trees.files.iter().zip(&plans).map(of).collect();
    let applied = Applied::new(Some(args.run.clone()), &options, sources);
    let applied = match &earlier {
        Some(earlier) => applied.after(earlier, &plans),
        None => applied,
    };
    applied.keep().map_err(|e| {
        Failure::new(Code::TryAgain, format!("cannot keep what was read in {}: {e}", args.run.display()))
    })?;
    Ok(Begun { plans, warnings, applied })
}

/// What holds for this daemon. One that follows another while services run must not fail because a file was spoilt
/// meanwhile: it goes on with what the last one had, and says so.
fn settings(args: &Args, running: bool) -> Result<(Loaded, Option<String>), Failure> {
    let kept = args.run.join("settings.json");
    let why = match settings::load(&args.set) {
        Ok(loaded) => {
            // Without it the next daemon would end on a spoilt file, and the keeper try again until it is mended.
            let _ = serde_json::to_vec(&loaded.said).map(|json| std::fs::write(&kept, json));
            return Ok((loaded, None));
        }
        Err(why) => why,
    };
    let last = || settings::again(&serde_json::from_slice::<Vec<Said>>(&std::fs::read(&kept).ok()?).ok()?);
    match last().filter(|_| running) {
        Some(loaded) => Ok((loaded, Some(format!("settings stay as they were: {}", why.0.join("; "))))),
        None => Err(refused(why)),
    }
}

/// Who is let in besides the owner.
fn group(settings: &Settings) -> Result<Option<Gid>, Failure> {
    let name = &settings.socket_group;
    if name.is_empty() {
        return Ok(None);
    }
    match accounts::group(name) {
        Ok(Some(group)) => Ok(Some(Gid::from_raw(group))),
        _ => {
            let message =
                format!("cannot let group {name} in (setting `socket_group`): there is no such group");
            Err(Failure::new(Code::Config, message))
        }
    }
}

/// What this daemon goes by: the settings, and the places that follow from them and from flags.
fn used(args: &Args, mut said: Vec<Said>) -> Vec<Said> {
    let text = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
    let places =
        [("socket", Some(&args.socket)), ("run state", Some(&args.run)), ("history", args.history.as_ref())];
    let said_of =
        |(key, path): (&str, _)| Said { key: key.to_owned(), value: text(path), origin: "in use".to_owned() };
    said.extend(places.map(said_of));
    said
}

/// A record of messages that were not obeyed: of the first, the second, the fourth and so on, so that a flood of them
/// floods nothing else.
fn report_strangers(record: Record) -> impl FnMut(Stranger) + Send {
    let mut count = 0u64;
    move |Stranger { pid, uid }| {
        count += 1;
        if count.is_power_of_two() {
            let text =
                format!("a message of a stranger was not obeyed: pid {pid}, user {uid} ({count} so far)");
            record.fact(FactLine::note(clock::wall(), 0, "", 0, "stranger", text));
            record.keep();
        }
    }
}

/// The exit code: of the first essential child, else 1 if a tree gave up.
fn code(ends: &Ends) -> u8 {
    let essential = ends.iter().find_map(|(_, how)| match how {
        TreeEnd::Essential(exit) => Some(*exit),
        _ => None,
    });
    match essential {
        Some(Exit::Code(code)) => u8::try_from(code).unwrap_or(1),
        Some(Exit::Signal(number)) => u8::try_from(128 + number).unwrap_or(1),
        Some(Exit::Reason(reason)) => u8::from(!reason.is_calm()),
        Some(Exit::Unknown) => 1,
        None => u8::from(
            ends.iter().any(|(_, how)| matches!(how, TreeEnd::GaveUp | TreeEnd::Failover | TreeEnd::Reboot)),
        ),
    }
}

/// Resolves when this node's part in a cluster has failed: what runs goes on, and the next daemon takes the part up again.
async fn failed(joined: &mut Option<Joined>) {
    match joined {
        Some(joined) => joined.failed().await,
        None => std::future::pending().await,
    }
}

/// The first signal stops everything in order, the second kills; a node leaves its cluster first. Returns when there is
/// no keeper any more.
async fn obey(
    handle: Handle,
    mut signals: UnboundedReceiver<i32>,
    os: Os,
    leave: Option<impl Future<Output = ()> + Unpin>,
) {
    loop {
        match signals.recv().await {
            Some(signal) if passing::stops(signal) => break,
            Some(libc::SIGHUP) => drop(tokio::spawn(reload(handle.clone(), os.clone()))),
            Some(signal) => passing::pass_on(&handle, signal).await,
            None => return,
        }
    }
    os.notify("STOPPING=1");
    let mut impatient = false;
    if let Some(mut leave) = leave {
        impatient = loop {
            tokio::select! {
                () = &mut leave => break false,
                signal = signals.recv() => match signal {
                    Some(signal) if passing::stops(signal) => break true,
                    Some(signal) => passing::pass_on(&handle, signal).await,
                    None => return,
                },
            }
        };
    }
    handle.shut_down(Who { by: "a signal".to_owned(), text: None });
    if impatient {
        handle.kill_all();
    }
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let mut said = false;
    loop {
        tokio::select! {
            signal = signals.recv() => match signal {
                Some(signal) if passing::stops(signal) => handle.kill_all(),
                Some(signal) => passing::pass_on(&handle, signal).await,
                None => return,
            },
            () = &mut patience, if !said => {
                said = true;
                let waited_for = waited_for(&handle);
                if !waited_for.is_empty() {
                    eprintln!("waiting for {waited_for}; once more to kill");
                }
            }
        }
    }
}

/// SIGHUP: every tree from where it was read last. What comes of it is said, and whoever started woodward told.
async fn reload(handle: Handle, os: Os) {
    let now = clock::now().0.saturating_mul(1000);
    os.notify(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    match handle.apply(None, Vec::new(), false, Who { by: "SIGHUP".to_owned(), text: None }).await {
        Ok(reloads) => {
            for reload in reloads {
                eprintln!("applied {}: {}", reload.forecast.tree, reload.forecast.count());
                if let Some(done) = reload.done {
                    // A tree that ends meanwhile says so itself.
                    let _ = done.await;
                }
            }
        }
        Err(refused) => {
            eprintln!("{refused}");
            let text = refused.to_string();
            let last = text.lines().last().unwrap_or_default().to_owned();
            handle.record().fact(FactLine::note(clock::wall(), 0, "", 0, "apply_refused", last));
            handle.record().keep();
        }
    }
    os.notify("READY=1");
}

/// The children that are being stopped: `acs/a, acs/b and 7 more`.
fn waited_for(handle: &Handle) -> String {
    let view = handle.view();
    let mut rows = view.rows().filter(|row| row.state == State::Stopping && row.strategy.is_none());
    let first: Vec<&str> = rows.by_ref().take(3).map(|row| row.path.as_str()).collect();
    match rows.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Tells whoever started woodward how things are, and asks for time while they are not yet, or no more, up.
async fn tell(handle: Handle, os: Os) {
    let mut facts = handle.record().follow_facts();
    let mut last = String::new();
    loop {
        let (line, settled) = head(&handle);
        if line != last {
            os.notify(&format!("STATUS={line}"));
            last = line;
        }
        if !settled {
            os.notify(&format!("EXTEND_TIMEOUT_USEC={}", 3 * EXTEND.as_micros()));
        }
        let fact = facts.recv();
        if settled {
            // An overrun is news as well; a closed channel is the end.
            if matches!(fact.await, Err(tokio::sync::broadcast::error::RecvError::Closed)) {
                return;
            }
        } else {
            // Whether something happened or the time is over, there is something to say.
            let _ = tokio::time::timeout(EXTEND, fact).await;
        }
        tokio::time::sleep(PAUSE).await;
        facts = facts.resubscribe();
    }
}

/// All trees in one line, and whether nothing of them is on its way up or down.
fn head(handle: &Handle) -> (String, bool) {
    let view = handle.view();
    let workers = || view.rows().filter(|row| row.strategy.is_none());
    let up = workers().filter(|row| matches!(row.state, State::Up | State::Done)).count();
    let all = workers().count();
    let on_its_way =
        |state| matches!(state, State::Waiting | State::Starting | State::Backoff | State::Stopping);
    let settled = !view.rows().any(|row| on_its_way(row.state));
    (format!("{up} of {all} up"), settled)
}
