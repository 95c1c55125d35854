//! What outlives a worker's actor: what has happened to the generation so far, and how far things have got.
//!
//! Whatever happens is first written into the [`Log`], then whoever tends the seat is told to look: its actor, or the
//! kernel if the child is plain. [`Seat::advance`] does what is due now and returns when something else must happen
//! first; it can be called any number of times.
//!
//! * `steps`: what is due in each step, and what comes next.
//! * `launch`: the processes of a generation, and what it hears from them.
//! * `task`: what has no process but a future of this program.

mod launch;
mod steps;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{ActorId, ActorRef, ActorRuntime};
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;
use woodward_engine::{Exit, Fate, Gen, Incident};

use super::listening::Lazy;
use super::{Look, Said, StartError, Worker, commands};
use crate::os::notify::NotifyServer;
use crate::os::pressure::Pressure;
use crate::os::{ExitStatus, Os, Program, SpawnError};
use crate::record::Stream;
use crate::runtime::faults::Faults;
use crate::runtime::groups::Groups;
use crate::runtime::inbox::{Inbox, Input, Turn};
use crate::runtime::readiness::Mark;
use crate::runtime::table::WorkerRef;
use crate::runtime::task::{Reins, Tasks};
use crate::tree::{Probe, WorkerPlan};

/// What all workers use.
pub(in crate::runtime) struct House {
    pub(in crate::runtime) os: Os,
    pub(in crate::runtime) notify: Option<NotifyServer>,
    pub(in crate::runtime) kernel: Inbox,
    /// The kernel's actor, to which those of the workers are linked.
    pub(in crate::runtime) actor: ActorRef<Turn>,
    /// Harm on purpose.
    pub(in crate::runtime) faults: Faults,
    /// Trees of a cluster.
    pub(in crate::runtime) groups: Groups,
    /// What the tasks of this program do.
    pub(in crate::runtime) tasks: Tasks,
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
        let program = |command: &Vec<String>| commands::program(&path, &plan, command);
        let first = program(&plan.command);
        let again = plan.command_on_restart.as_ref().map(program);
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
    Running {
        pid: i32,
    },
    /// A task: it can be asked to end, and made to.
    Task(Reins),
    Exited(Exit),
    Emptied(Exit),
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
        self.record(|log| {
            log.aim = Aim::Kill;
            if let Main::Task(reins) = &log.main {
                reins.pull();
            }
        });
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

    /// It has been started and has not ended, as far as is known here; the keeper may know more.
    pub(in crate::runtime) fn is_launched(&self) -> bool {
        matches!(self.lock().main, Main::Launched | Main::Running { .. } | Main::Task(_))
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

    fn is_ready_by_word(&self) -> bool {
        self.child.plan.ready == Some(Probe::Notify)
    }

    /// The pressure on it now.
    pub(in crate::runtime) fn pressure(&self) -> Pressure {
        self.house.os.pressure(&self.child.path, self.generation.0)
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
