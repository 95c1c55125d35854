//! What outlives a worker's actor: what has happened to the generation so far, and how far things have got.
//!
//! Whatever happens is first written into the [`Log`], then whoever tends the seat is told to look: its actor, or the
//! kernel if the child is plain. [`Seat::advance`] does what is
//! due now and returns when something else must happen first; it can be called any number of times.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{ActorId, ActorRef, ActorRuntime};
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;
use woodward_engine::{Exit, Fate, Gen, Incident, Reason};

use super::commands::{self, Additions};
use super::listening::Lazy;
use super::{Look, Said, StartError, Worker};
use crate::os::notify::{Notice, NotifyServer};
use crate::os::pressure::Pressure;
use crate::os::{ExitStatus, Launch, Os, ProcessEvent, Program, Role, Scope, SpawnError};
use crate::record::{Stream, words};
use crate::runtime::faults::Faults;
use crate::runtime::health::Life;
use crate::runtime::inbox::{Inbox, Input, Turn};
use crate::runtime::readiness::Mark;
use crate::runtime::table::WorkerRef;
use crate::tree::units;
use crate::tree::{Check, Health, KillMode, Probe, WorkerPlan};

/// What all workers use.
pub(in crate::runtime) struct House {
    pub(in crate::runtime) os: Os,
    pub(in crate::runtime) notify: Option<NotifyServer>,
    pub(in crate::runtime) kernel: Inbox,
    /// The kernel's actor, to which those of the workers are linked.
    pub(in crate::runtime) actor: ActorRef<Turn>,
    /// Harm on purpose.
    pub(in crate::runtime) faults: Faults,
}

/// What all generations of one child share.
pub(in crate::runtime) struct Child {
    /// Full path.
    pub(in crate::runtime) path: Arc<str>,
    /// Its plan.
    pub(in crate::runtime) plan: WorkerRef,
    /// How long its `after_stop` hooks may take when nobody waits for them; `None`: as long as they want.
    pub(in crate::runtime) shutdown: Option<Duration>,
    /// Its output; `None`: not captured.
    pub(in crate::runtime) stream: Option<Stream>,
    first: Arc<Program>,
    again: Option<Arc<Program>>,
}

impl Child {
    pub(in crate::runtime) fn new(
        path: Arc<str>,
        plan: WorkerRef,
        shutdown: Option<Duration>,
        stream: Option<Stream>,
    ) -> Child {
        let first = commands::program(&path, &plan, &plan.command);
        let again = plan.command_on_restart.as_ref().map(|command| commands::program(&path, &plan, command));
        Child { path, plan, shutdown, stream, first, again }
    }

    /// What is executed at the first start.
    pub(super) fn program(&self) -> &Program {
        &self.first
    }

    /// It stands in a tree file under this very path; otherwise it was added at run time.
    pub(in crate::runtime) fn is_planned(&self) -> bool {
        *self.plan.path == *self.path
    }

    /// Whether one that runs can be asked for its readiness again, with the same answer and nothing else happening.
    pub(in crate::runtime) fn can_be_asked_again(&self) -> bool {
        self.plan.ready.as_ref().is_some_and(Probe::repeats) && self.plan.after_ready.is_empty()
    }
}

/// Nothing has to be run or asked beside the main process: the kernel tends it, without an actor.
fn is_plain(plan: &WorkerPlan) -> bool {
    let hooks = [&plan.before_start, &plan.after_ready, &plan.after_stop];
    plan.ready.is_none() && plan.stop.command.is_none() && hooks.iter().all(|hooks| hooks.is_empty())
}

/// One generation of one child.
pub(in crate::runtime) struct Seat {
    pub(in crate::runtime) house: Arc<House>,
    /// Whose.
    pub(in crate::runtime) child: Arc<Child>,
    /// Which.
    pub(in crate::runtime) generation: Gen,
    first: bool,
    incident: Incident,
    /// Another plan of the same process: what of it needs no restart holds from now on.
    later: Mutex<Option<WorkerRef>>,
    log: Mutex<Log>,
}

/// What has happened, and what is next.
pub(super) struct Log {
    /// `None`: there is nothing to do.
    actor: Option<ActorRef<Look>>,
    /// Something has happened since its actor last looked.
    unseen: bool,
    pub(super) step: Step,
    pub(super) aim: Aim,
    main: Main,
    helper: Helper,
    helpers: u32,
    left: Left,
    proof: Proof,
    mark: Mark,
    newline: Option<pipe::Receiver>,
    not_ready: Option<String>,
    killed: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) lazy: Lazy,
    /// Processes of this child the kernel had killed for want of memory when this one began.
    starved: u64,
    #[cfg(test)]
    panic_next: bool,
}

/// See the picture in [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Opening,
    Listening,
    Before(usize),
    Launching,
    Proving,
    Greeting(usize),
    Serving,
    Commanding,
    Signalled,
    Clearing,
    After(usize),
    Sweeping,
    Closing,
    Over,
}

/// What the kernel wants of it; grows only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    Run,
    Stop,
    Kill,
}

/// The main process.
#[derive(Debug)]
enum Main {
    NotYet,
    Launched,
    Refused(SpawnError),
    Running { pid: i32 },
    Exited(ExitStatus),
    Emptied(ExitStatus),
}

/// The hook or stop command of the current step.
#[derive(Debug)]
enum Helper {
    Idle,
    Running(u32),
    Over(Result<ExitStatus, SpawnError>),
}

/// What hooks may have left behind where no main process vouches for emptiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Unknown,
    BeingKilled,
    Nothing,
}

/// The readiness condition.
#[derive(Debug)]
enum Proof {
    Wanted,
    Sought(Option<AbortHandle>),
    Holds,
}

/// How it ended: the last thing said of it.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Failed(StartError),
    Ended(Exit),
}

impl Log {
    /// Another process of the same generation: what was of the one before is forgotten.
    pub(super) fn begin_again(&mut self) {
        (self.main, self.helper, self.left) = (Main::NotYet, Helper::Idle, Left::Unknown);
        (self.proof, self.not_ready, self.killed, self.outcome) = (Proof::Wanted, None, false, None);
    }
}

impl Seat {
    /// A generation that is to be started.
    pub(in crate::runtime) fn new(
        house: Arc<House>,
        child: Arc<Child>,
        generation: Gen,
        first: bool,
        incident: Incident,
    ) -> Arc<Seat> {
        let log = Log {
            actor: None,
            unseen: false,
            step: Step::Opening,
            aim: Aim::Run,
            main: Main::NotYet,
            helper: Helper::Idle,
            helpers: 0,
            left: Left::Unknown,
            proof: Proof::Wanted,
            mark: Mark::NOTHING,
            newline: None,
            not_ready: None,
            killed: false,
            outcome: None,
            lazy: Lazy::default(),
            starved: 0,
            #[cfg(test)]
            panic_next: false,
        };
        let (later, log) = (Mutex::new(None), Mutex::new(log));
        Arc::new(Seat { house, child, generation, first, incident, later, log })
    }

    /// A generation that an earlier daemon started and the keeper still knows. `pid`: of its process, if it runs.
    /// `ready`: it has been.
    pub(in crate::runtime) fn adopted(
        house: Arc<House>,
        child: Arc<Child>,
        generation: Gen,
        pid: Option<i32>,
        ready: bool,
    ) -> Arc<Seat> {
        let seat = Seat::new(house, child, generation, false, Incident::default());
        {
            let mut log = seat.lock();
            log.step = if ready { Step::Serving } else { Step::Proving };
            log.main = pid.map_or(Main::Launched, |pid| Main::Running { pid });
            log.lazy.told = true;
        }
        let starved = seat.starved();
        seat.lock().starved = starved;
        seat.house.os.recover_sockets(&seat.child.path, generation.0, &seat.child.plan.listen);
        if seat.wants_notify() {
            seat.listen();
        }
        if let (Some(Probe::Fd(_)), false) = (&seat.child.plan.ready, ready) {
            let newline = seat.kept_newline_pipe();
            seat.lock().newline = newline;
        }
        let (path, kill) = (&seat.child.path, seat.child.plan.stop.kill);
        if let Some(pid) = seat.house.os.adopt(path, generation.0, kill, seat.main_sink()) {
            // At once: its row is published before the event comes.
            seat.lock().main = Main::Running { pid };
        }
        seat
    }

    /// A lazy one of an earlier daemon's that has no process: it listens again.
    pub(in crate::runtime) fn resting(house: Arc<House>, child: Arc<Child>, generation: Gen) -> Arc<Seat> {
        let seat = Seat::new(house, child, generation, false, Incident::default());
        {
            let mut log = seat.lock();
            log.step = Step::Listening;
            log.lazy.told = true;
        }
        seat
    }

    /// How far it is, for a kernel that has forgotten it.
    pub(in crate::runtime) fn fate(&self) -> Fate {
        match self.lock().step {
            Step::Opening | Step::Before(_) | Step::Launching => Fate::Starting,
            Step::Serving | Step::Listening => Fate::Ready,
            _ => Fate::Started,
        }
    }

    /// Gives it an actor, linked flat under the kernel.
    pub(in crate::runtime) fn employ(self: &Arc<Seat>) {
        self.employ_in(&mut self.lock());
    }

    fn employ_in(self: &Arc<Seat>, log: &mut Log) {
        let kernel = self.house.actor.get_cell();
        let spawned = ActorRuntime::spawn_linked_instant(None, Worker, self.clone(), kernel);
        let (actor, _) = spawned.expect("only a name that is taken keeps an actor from being spawned");
        log.actor = Some(actor);
    }

    /// Whether this is its actor.
    pub(in crate::runtime) fn is_served_by(&self, actor: ActorId) -> bool {
        self.lock().actor.as_ref().is_some_and(|own| own.get_id() == actor)
    }

    /// Begins, or goes on after a panic in the kernel's turn: a plain one when the kernel tends it next.
    pub(in crate::runtime) fn begin(self: &Arc<Seat>) {
        if !self.is_plain() {
            self.employ();
        }
    }

    /// Does what is due, in the kernel's turn; nothing for one that has an actor.
    pub(in crate::runtime) fn tend(self: &Arc<Seat>) {
        if self.is_plain() && self.lock().actor.is_none() {
            self.look_at_all();
            self.advance();
        }
    }

    /// What has happened so far is going to be looked at.
    pub(super) fn look_at_all(&self) {
        self.lock().unseen = false;
    }

    /// Whether its actor has nothing to do any more, or for the time being.
    pub(super) fn leaves(&self) -> bool {
        let mut log = self.lock();
        let leaves = !log.unseen && matches!(log.step, Step::Listening | Step::Serving | Step::Over);
        if leaves {
            log.actor = None;
        }
        leaves
    }

    /// It is to stop: stop command, then signal.
    pub(in crate::runtime) fn ask(self: &Arc<Seat>) {
        self.record(|log| log.aim = log.aim.max(Aim::Stop));
    }

    /// Everything of it is to be killed.
    pub(in crate::runtime) fn kill(self: &Arc<Seat>) {
        self.record(|log| log.aim = Aim::Kill);
        self.house.os.kill(&self.child.path, self.generation.0);
    }

    /// No worker can be found for it: everything of it is killed; `done` is called when nothing is left.
    pub(in crate::runtime) fn give_up(self: &Arc<Seat>, done: impl FnOnce() + Send + 'static) {
        self.kill();
        self.house.os.clear(&self.child.path, self.generation.0, Box::new(done));
    }

    /// The next look panics.
    #[cfg(test)]
    pub(in crate::runtime) fn fault(self: &Arc<Seat>) {
        self.record(|log| log.panic_next = true);
    }

    /// The main process, while one runs.
    pub(in crate::runtime) fn pid(&self) -> Option<i32> {
        match self.lock().main {
            Main::Running { pid } => Some(pid),
            _ => None,
        }
    }

    /// Why the last attempt to prove its readiness did not succeed.
    pub(in crate::runtime) fn not_ready(&self) -> Option<String> {
        self.lock().not_ready.clone()
    }

    /// What was there before the start is the last generation's.
    pub(super) async fn prepare(&self) {
        if let (Step::Opening, Some(Probe::File { path, .. })) = (self.step(), &self.child.plan.ready) {
            let mark = Mark::of(path).await;
            self.lock().mark = mark;
        }
    }

    /// Does what is due now.
    pub(super) fn advance(self: &Arc<Seat>) {
        loop {
            let step = self.step();
            #[cfg(test)]
            if std::mem::take(&mut self.lock().panic_next) {
                panic!("a fault in a worker");
            }
            let next = match step {
                Step::Opening => Some(self.open()),
                Step::Listening => self.listening(),
                Step::Before(n) => self.before(n),
                Step::Launching => self.launching(),
                Step::Proving | Step::Greeting(_) | Step::Serving | Step::Commanding | Step::Signalled => {
                    self.living(step)
                }
                Step::Clearing => self.clearing(),
                Step::After(n) => self.after(n),
                Step::Sweeping => self.sweep().then_some(Step::Closing),
                Step::Closing if self.rests() => Some(Step::Listening),
                Step::Closing => Some(self.close()),
                Step::Over => None,
            };
            match next {
                Some(next) => self.lock().step = next,
                None => return,
            }
        }
    }

    /// What was written so far was the last generation's.
    fn open(&self) -> Step {
        if let Some(stream) = &self.child.stream {
            stream.begin(self.generation.0, self.incident.0);
        }
        if self.child.plan.lazy { Step::Listening } else { Step::Before(0) }
    }

    fn before(self: &Arc<Seat>, n: usize) -> Option<Step> {
        let (aim, helper) = self.aim_and_helper();
        if aim != Aim::Run {
            return Some(self.ends(Outcome::Ended(Exit::Code(0))));
        }
        let hook = self.child.plan.before_start.get(n);
        match (helper, hook) {
            (Helper::Idle, None) => {
                self.launch_main();
                Some(Step::Launching)
            }
            (Helper::Idle, Some(command)) => self.help(command, Vec::new()),
            (Helper::Running(_), _) => None,
            (Helper::Over(end), hook) => match verdict("before_start", hook, end) {
                Ok(()) => Some(Step::Before(n + 1)),
                Err(why) => Some(self.ends(Outcome::Failed(why))),
            },
        }
    }

    fn launching(&self) -> Option<Step> {
        let refused = match &self.lock().main {
            Main::NotYet | Main::Launched => return None,
            Main::Refused(error) => Some(StartError::from(error)),
            Main::Running { .. } | Main::Exited(_) | Main::Emptied(_) => None,
        };
        match refused {
            Some(why) => Some(self.ends(Outcome::Failed(why))),
            None if self.child.plan.lazy => {
                self.say(Said::Status(String::new()));
                Some(Step::Serving)
            }
            None => {
                self.say(Said::Started);
                Some(Step::Proving)
            }
        }
    }

    /// The main process has been executed and has not ended, as far as the current step knows.
    fn living(self: &Arc<Seat>, step: Step) -> Option<Step> {
        if let Some(status) = self.ended().filter(|_| step != Step::Commanding) {
            self.look_for_starvation(status);
            return Some(self.ends(Outcome::Ended(commands::exit(status))));
        }
        if self.lock().aim > Aim::Run && !matches!(step, Step::Commanding | Step::Signalled) {
            return Some(self.stop());
        }
        match step {
            Step::Proving => self.prove(),
            Step::Greeting(n) => self.greet(n),
            Step::Commanding => {
                let aim = self.lock().aim;
                match self.take_helper() {
                    Helper::Running(_) if aim < Aim::Kill => None,
                    Helper::Over(end) => {
                        if let Err(why) = verdict("stop command", self.plan().stop.command.as_ref(), end) {
                            self.say(Said::Note("hook_failed", why.text));
                        }
                        Some(self.signal())
                    }
                    _ => Some(self.signal()),
                }
            }
            _ => None,
        }
    }

    fn prove(self: &Arc<Seat>) -> Option<Step> {
        let plan = &self.child.plan;
        let Some(probe) = plan.ready.as_ref().filter(|_| !plan.oneshot) else {
            return Some(if plan.oneshot { Step::Serving } else { Step::Greeting(0) });
        };
        let mut log = self.lock();
        match log.proof {
            Proof::Holds => Some(Step::Greeting(0)),
            Proof::Sought(_) => None,
            Proof::Wanted => {
                let (mark, newline) = (log.mark, log.newline.take());
                log.proof = Proof::Sought(super::probing::seek(self, probe, mark, newline));
                None
            }
        }
    }

    fn greet(self: &Arc<Seat>, n: usize) -> Option<Step> {
        let plan = &self.child.plan;
        let hook = plan.after_ready.get(n);
        match (self.take_helper(), hook) {
            (Helper::Idle, None) => {
                if plan.ready.is_some() || !plan.after_ready.is_empty() {
                    self.say(Said::Ready);
                }
                Some(Step::Serving)
            }
            (Helper::Idle, Some(command)) => self.help(command, self.main_pid()),
            (Helper::Running(_), _) => None,
            (Helper::Over(end), hook) => match verdict("after_ready", hook, end) {
                Ok(()) => Some(Step::Greeting(n + 1)),
                Err(why) => {
                    // The start has failed: no time to stop is due to what was never ready.
                    self.house.os.kill(&self.child.path, self.generation.0);
                    Some(self.ends(Outcome::Failed(why)))
                }
            },
        }
    }

    fn stop(self: &Arc<Seat>) -> Step {
        self.seek_no_more();
        let aim = self.lock().aim;
        let plan = self.plan();
        match &plan.stop.command {
            Some(command) if aim == Aim::Stop => {
                self.lock().helper = Helper::Idle;
                self.house.os.command(&self.child.path, self.generation.0);
                self.help(command, self.main_pid());
                Step::Commanding
            }
            _ => self.signal(),
        }
    }

    fn signal(&self) -> Step {
        let plan = self.plan();
        let stop = &plan.stop;
        let scope = match stop.kill {
            KillMode::Group => Scope::All,
            KillMode::Mixed | KillMode::Process => Scope::Main,
        };
        let (os, path, generation) = (&self.house.os, &self.child.path, self.generation.0);
        match self.lock().aim {
            // The kill may have come before there was anything to kill.
            Aim::Kill => os.kill(path, generation),
            Aim::Run | Aim::Stop => os.signal(path, generation, Role::Main, stop.signal, scope),
        }
        os.command_over(path, generation);
        Step::Signalled
    }

    /// The outcome is settled, what is left of it must go.
    pub(super) fn ends(&self, outcome: Outcome) -> Step {
        self.seek_no_more();
        self.lock().outcome.get_or_insert(outcome);
        Step::Clearing
    }

    fn clearing(self: &Arc<Seat>) -> Option<Step> {
        let gone = match self.lock().main {
            Main::Emptied(_) => true,
            Main::Launched | Main::Running { .. } | Main::Exited(_) => return None,
            Main::NotYet | Main::Refused(_) => self.child.plan.before_start.is_empty(),
        };
        if !gone && !self.sweep() {
            return None;
        }
        let mut log = self.lock();
        log.helper = Helper::Idle;
        log.left = Left::Unknown;
        if log.aim == Aim::Kill {
            // That was for the process. The hooks have until the kill is repeated.
            log.killed = true;
            log.aim = Aim::Stop;
        }
        let hooks = !self.plan().after_stop.is_empty();
        if let (Aim::Run, true, Some(time)) = (log.aim, hooks, self.child.shutdown) {
            let seat = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                if let Some(seat) = seat.upgrade() {
                    seat.record(|log| {
                        if matches!(log.step, Step::After(_)) {
                            log.aim = Aim::Kill;
                        }
                    });
                }
            });
        }
        Some(if hooks { Step::After(0) } else { Step::Closing })
    }

    fn after(self: &Arc<Seat>, n: usize) -> Option<Step> {
        let plan = self.plan();
        let hook = plan.after_stop.get(n);
        let (aim, helper) = self.aim_and_helper();
        match (helper, hook) {
            (_, None) => Some(Step::Sweeping),
            (Helper::Running(_), Some(command)) if aim == Aim::Kill => {
                self.say(Said::Note(
                    "hook_failed",
                    format!("after_stop {}: killed, it took too long", command[0]),
                ));
                Some(Step::Sweeping)
            }
            (Helper::Running(_), _) => None,
            (Helper::Idle, Some(command)) => {
                let log = self.lock();
                let additions = log.outcome.as_ref().map(|end| {
                    let asked = aim > Aim::Run;
                    commands::result(&self.child.plan, end, asked, log.killed)
                });
                drop(log);
                let additions = additions.unwrap_or_default();
                self.help(command, additions)
            }
            (Helper::Over(end), hook) => {
                if let Err(why) = verdict("after_stop", hook, end) {
                    self.say(Said::Note("hook_failed", why.text));
                }
                Some(Step::After(n + 1))
            }
        }
    }

    /// Kills what hooks left behind; whether nothing is left.
    fn sweep(self: &Arc<Seat>) -> bool {
        let mut log = self.lock();
        match log.left {
            Left::Nothing => return true,
            Left::BeingKilled => return false,
            Left::Unknown => log.left = Left::BeingKilled,
        }
        drop(log);
        let seat = self.clone();
        let done = Box::new(move || seat.record(|log| log.left = Left::Nothing));
        self.house.os.clear(&self.child.path, self.generation.0, done);
        false
    }

    fn close(&self) -> Step {
        if let Some(stream) = &self.child.stream {
            stream.end();
        }
        if let (true, Some(server)) = (self.wants_notify(), &self.house.notify) {
            server.mute(&self.child.path);
        }
        if let Some(Probe::Fd(_)) = self.child.plan.ready {
            self.house.os.drop_kept(&self.newline_name());
        }
        let (outcome, told) = {
            let mut log = self.lock();
            (log.outcome.take(), log.lazy.told)
        };
        self.say(match outcome {
            // A lazy service is ready before its process is: a start that fails is an end.
            Some(Outcome::Failed(why)) if told => {
                self.say(Said::Cause(why.text));
                Said::Ended(Exit::Reason(Reason::FailedStart))
            }
            Some(Outcome::Failed(why)) => Said::Failed(why),
            Some(Outcome::Ended(exit)) => Said::Ended(exit),
            None => Said::Ended(Exit::Unknown),
        });
        Step::Over
    }

    fn launch_main(self: &Arc<Seat>) {
        let plan = &self.child.plan;
        if let Some(error) = self.house.faults.at_launch(&self.child.path) {
            self.lock().main = Main::Refused(error);
            return;
        }
        self.lock().starved = self.starved();
        let mut additions = self.own_names();
        let (mut descriptors, of_sockets) = match self.sockets() {
            Ok(sockets) => sockets,
            Err(error) => {
                self.lock().main = Main::Refused(error);
                return;
            }
        };
        additions.extend(of_sockets);
        if let Some(server) = self.house.notify.as_ref().filter(|_| self.wants_notify()) {
            self.listen();
            additions.push(("NOTIFY_SOCKET", server.address().to_string_lossy().into_owned()));
        }
        if let Some(Check::Watchdog(time)) = plan.health.as_ref().map(|health| &health.check) {
            additions.push(("WATCHDOG_USEC", time.as_micros().to_string()));
        }
        if let Some(Probe::Fd(number)) = &plan.ready {
            match self.newline_pipe() {
                Ok(writer) => descriptors.push((*number, Arc::new(writer))),
                Err(source) => {
                    let step = format!("pipe for descriptor {number}");
                    self.lock().main = Main::Refused(SpawnError::Step { step, source });
                    return;
                }
            }
        }
        let again = self.child.again.as_ref().filter(|_| !self.first);
        self.lock().main = Main::Launched;
        self.house.os.launch(Launch {
            program: again.unwrap_or(&self.child.first).clone(),
            generation: self.generation.0,
            role: Role::Main,
            additions,
            output: self.child.stream.as_ref().and_then(Stream::writer),
            descriptors,
            kill: plan.stop.kill,
            sink: self.main_sink(),
        });
    }

    /// A pipe whose end for the child is open for both directions, so that the child is never killed by SIGPIPE when
    /// nobody reads.
    fn newline_pipe(&self) -> std::io::Result<OwnedFd> {
        let (writer, reader) = pipe::pipe()?;
        let writer = writer.into_blocking_fd()?;
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?;
        self.house.os.keep(&self.newline_name(), Arc::new(reader.as_fd().try_clone_to_owned()?));
        self.lock().newline = Some(reader);
        Ok(both.into())
    }

    /// The end of the former daemon's pipe.
    fn kept_newline_pipe(&self) -> Option<pipe::Receiver> {
        let kept = self.house.os.kept(&self.newline_name())?;
        pipe::Receiver::from_owned_fd(OwnedFd::try_clone(&kept).ok()?).ok()
    }

    fn newline_name(&self) -> String {
        format!("newline {}", self.child.path)
    }

    fn main_sink(self: &Arc<Seat>) -> Box<dyn FnMut(ProcessEvent) + Send> {
        let seat = self.clone();
        Box::new(move |event| {
            if let ProcessEvent::Started { .. } = event {
                seat.house.faults.started(&seat.child.path, seat.generation.0);
            }
            seat.record(|log| {
                let before = std::mem::replace(&mut log.main, Main::NotYet);
                log.main = match (event, before) {
                    (ProcessEvent::Started { pid }, _) => Main::Running { pid },
                    (ProcessEvent::Failed(error), _) => Main::Refused(error),
                    (ProcessEvent::Exited(status), _) => Main::Exited(status),
                    (ProcessEvent::Emptied, Main::Exited(status)) => Main::Emptied(status),
                    (ProcessEvent::Emptied, _) => Main::Emptied(ExitStatus::Unknown),
                };
            });
        })
    }

    /// Runs a helper; its end is found in the log. Never a next step: it has to be waited for.
    fn help(self: &Arc<Seat>, command: &[String], mut additions: Additions) -> Option<Step> {
        let number = {
            let mut log = self.lock();
            log.helpers += 1;
            log.helper = Helper::Running(log.helpers);
            log.helpers
        };
        additions.extend(self.own_names());
        let seat = self.clone();
        self.launch_helper(number, command, additions, move |event| {
            seat.record(|log| {
                if !matches!(log.helper, Helper::Running(current) if current == number) {
                    return;
                }
                match event {
                    ProcessEvent::Failed(error) => log.helper = Helper::Over(Err(error)),
                    ProcessEvent::Exited(status) => log.helper = Helper::Over(Ok(status)),
                    ProcessEvent::Started { .. } | ProcessEvent::Emptied => {}
                }
            });
        });
        None
    }

    /// Runs `command` as helper `number` of this generation.
    pub(super) fn launch_helper(
        &self,
        number: u32,
        command: &[String],
        additions: Additions,
        sink: impl FnMut(ProcessEvent) + Send + 'static,
    ) {
        self.house.os.launch(Launch {
            program: commands::helper(&self.child.path, &self.child.plan, command),
            generation: self.generation.0,
            role: Role::Helper(number),
            additions,
            output: self.child.stream.as_ref().and_then(Stream::writer),
            descriptors: Vec::new(),
            kill: self.child.plan.stop.kill,
            sink: Box::new(sink),
        });
    }

    /// A number for a helper that is not one of the steps.
    pub(super) fn next_helper(&self) -> u32 {
        let mut log = self.lock();
        log.helpers += 1;
        log.helpers
    }

    /// Kills one helper.
    pub(super) fn kill_helper(&self, number: u32) {
        let (path, generation) = (&self.child.path, self.generation.0);
        self.house.os.signal(path, generation, Role::Helper(number), libc::SIGKILL, Scope::Main);
    }

    fn is_plain(&self) -> bool {
        is_plain(&self.child.plan) && is_plain(&self.plan())
    }

    /// The plan that holds for what needs no restart: stop command and signal, `after_stop`, health.
    pub(in crate::runtime) fn plan(&self) -> WorkerRef {
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.as_ref().unwrap_or(&self.child.plan).clone()
    }

    /// Another plan of the same process.
    pub(in crate::runtime) fn replan(&self, plan: WorkerRef) {
        *self.later.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// The condition holds.
    pub(super) fn holds(self: &Arc<Seat>) {
        self.record(|log| log.proof = Proof::Holds);
    }

    /// The condition does not hold yet.
    pub(super) fn holds_not(&self, why: &str) {
        self.lock().not_ready = Some(why.to_owned());
    }

    fn wants_notify(&self) -> bool {
        let watchdog = |health: &Health| matches!(health.check, Check::Watchdog(_));
        self.is_ready_by_word() || self.child.plan.health.as_ref().is_some_and(watchdog)
    }

    fn is_ready_by_word(&self) -> bool {
        self.child.plan.ready == Some(Probe::Notify)
    }

    /// The pressure on it now.
    pub(in crate::runtime) fn pressure(&self) -> Pressure {
        self.house.os.pressure(&self.child.path, self.generation.0)
    }

    fn listen(self: &Arc<Seat>) {
        let Some(server) = &self.house.notify else { return };
        let seat = self.clone();
        server.listen(&self.child.path, self.generation.0, move |notice| match notice {
            Notice::Ready if seat.is_ready_by_word() => seat.holds(),
            Notice::Status(text) => seat.say(Said::Status(text)),
            Notice::Reloading => seat.say(Said::Status("reloading".to_owned())),
            Notice::Stopping => seat.say(Said::Status("stopping".to_owned())),
            Notice::Extend(time) => {
                seat.say(Said::Status(format!("asks for {} more", words::span(time))));
            }
            Notice::Alive => seat.say(Said::Life(Life::Alive)),
            Notice::Trigger => seat.say(Said::Life(Life::Trigger)),
            Notice::WatchdogEvery(time) => seat.say(Said::Life(Life::Every(time))),
            Notice::Ready | Notice::MainPid(_) => {}
        });
    }

    fn starved(&self) -> u64 {
        let limited = self.child.plan.resources.memory_max.is_some();
        limited.then(|| self.house.os.killed_for_memory(&self.child.path)).flatten().unwrap_or(0)
    }

    /// Says so, if the kernel has killed something of it because its memory was used up.
    fn look_for_starvation(&self, status: ExitStatus) {
        let (now, before) = (self.starved(), self.lock().starved);
        let Some(max) = self.child.plan.resources.memory_max.filter(|_| now > before) else { return };
        let max = units::show_size(max);
        self.say(Said::Cause(match status {
            ExitStatus::Signal(libc::SIGKILL) => {
                format!("killed by the kernel: out of memory, memory_max {max}")
            }
            _ => format!("after the kernel killed a process of it: out of memory, memory_max {max}"),
        }));
    }

    fn seek_no_more(&self) {
        if let Proof::Sought(Some(task)) = &self.lock().proof {
            task.abort();
        }
    }

    fn own_names(&self) -> Additions {
        vec![
            ("WOODWARD_PATH", self.child.path.to_string()),
            ("WOODWARD_GENERATION", self.generation.0.to_string()),
        ]
    }

    /// `MAINPID`, for a command of a service that runs.
    pub(in crate::runtime) fn main_pid(&self) -> Additions {
        self.pid().map(|pid| ("MAINPID", pid.to_string())).into_iter().collect()
    }

    fn ended(&self) -> Option<ExitStatus> {
        match self.lock().main {
            Main::Exited(status) | Main::Emptied(status) => Some(status),
            _ => None,
        }
    }

    fn aim_and_helper(&self) -> (Aim, Helper) {
        let aim = self.lock().aim;
        (aim, self.take_helper())
    }

    /// The helper; what is over is taken note of once.
    fn take_helper(&self) -> Helper {
        let mut log = self.lock();
        match log.helper {
            Helper::Idle => Helper::Idle,
            Helper::Running(number) => Helper::Running(number),
            Helper::Over(_) => std::mem::replace(&mut log.helper, Helper::Idle),
        }
    }

    pub(super) fn say(&self, said: Said) {
        self.house.kernel.post(Input::Said { generation: self.generation, said });
    }

    pub(super) fn record(self: &Arc<Seat>, change: impl FnOnce(&mut Log)) {
        let mut log = self.lock();
        change(&mut log);
        let known = std::mem::replace(&mut log.unseen, true);
        match &log.actor {
            // A failed send means a failed actor: the next one looks at everything anyway.
            Some(actor) => drop(actor.cast(Look)),
            None if log.step == Step::Over => {}
            None if !self.is_plain() => self.employ_in(&mut log),
            None if known => {}
            None => self.house.kernel.post(Input::Look { generation: self.generation }),
        }
    }

    fn step(&self) -> Step {
        self.lock().step
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a hook succeeded; if not, one clause: `before_start mkfifo: exit 1`.
fn verdict(
    which: &str,
    hook: Option<&Vec<String>>,
    end: Result<ExitStatus, SpawnError>,
) -> Result<(), StartError> {
    let name = hook.and_then(|command| command.first()).map_or("", String::as_str);
    match end {
        Ok(ExitStatus::Code(0)) => Ok(()),
        Ok(status) => Err(format!("{which} {name}: {}", words::exit(commands::exit(status))).into()),
        Err(error) => {
            let StartError { text, short } = StartError::from(&error);
            Err(StartError { text: format!("{which} {text}"), short: format!("{which} {short}") })
        }
    }
}
