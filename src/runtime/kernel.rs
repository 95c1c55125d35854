//! The kernel: one actor that owns the engine.
//!
//! A *turn* empties the mailbox: every input is handed to the engine and what that decides is carried out, effect by
//! effect, before the next input is looked at. Then, all of this moment having been heard, deadlines that are due act
//! (`Tick`); the view is published, at once if somebody waits for an answer, else after [`STALE`] at most; requests
//! are answered; the one timer is set. Nothing in a turn waits for a child:
//! outcomes come back as inputs. A turn that has carried out [`SLICE`] effects ends early and calls for the next one,
//! so that other tasks breathe while a big pool stops. Orders to the keeper that a turn gives go together.
//!
//! What changes is written to the journal of the run state ([`keep`]) before a start that follows from it goes out, and
//! at the end of a turn before anybody is answered. A daemon that begins, and a kernel whose turn has panicked, go on
//! from there ([`take_over`]).
//!
//! Who held or stopped what, why a start failed, which process it is: what the engine does not need to decide is kept
//! beside it, by path or generation, and joined when a fact is recorded or a row printed.

mod alarm;
mod group;
mod keep;
mod nudge;
mod reload;
mod rounds;
mod take_over;
mod tell;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use woodward_engine::effect::TreeEnd;
use woodward_engine::view::State;
use woodward_engine::{
    Effect, Engine, Event, Exit, FailedStart, Gen, Incident, Key, PathId, Reply, ReqId, Time, Verb,
};

use super::applied::Applied;
use super::block::Block;
use super::groups::Groups;
use super::health::{Ward, Watched};
use super::inbox::{Inbox, Input, InstanceAnswer, Turn};
use super::journal::Journal;
use super::publish::Publisher;
use super::rows::Sayings;
use super::table::Table;
use super::task::text_of;
use super::view::View;
use super::worker::{Child, House, Said, Seat, StartError};
use super::{Ends, Handle, InstanceError, Surroundings, Who};
use crate::os::clock;
use crate::record::Record;
use crate::record::fact::FactLine;
use crate::record::words::rfc3339;
use crate::tree::{self, Plan};
use alarm::Alarm;
use group::Planted;
use keep::Unkept;

/// Effects carried out in one turn.
const SLICE: usize = 256;
/// How old a published view may be while things happen.
const STALE: Duration = Duration::from_millis(5);
/// A worker whose actor panics more often than this for one generation is given up, and the generation killed.
const PANICS: u32 = 3;

/// Starts a kernel; see [`super::start`].
pub(super) async fn start(surroundings: Surroundings, plans: Vec<Plan>) -> (Handle, oneshot::Receiver<Ends>) {
    let plans: Vec<Arc<Plan>> = plans.into_iter().map(Arc::new).collect();
    let handle = Handle {
        os: surroundings.os.clone(),
        inbox: Inbox::default(),
        view: Arc::new(ArcSwap::from_pointee(View::default())),
        record: surroundings.record.clone(),
        plans: Arc::new(ArcSwap::from_pointee(plans.clone())),
        applied: Arc::new(ArcSwap::from_pointee(surroundings.applied.clone())),
        reloading: Arc::default(),
        faults: surroundings.faults.clone(),
        groups: surroundings.groups.clone(),
    };
    let (end, ended) = oneshot::channel();
    let setup = Setup { handle: handle.clone(), surroundings, plans, end };
    let kernel = Actor::spawn(None, KernelActor, setup).await;
    debug_assert!(kernel.is_ok(), "a kernel has no name that could be taken and starts without fail");
    (handle, ended)
}

/// The actor; everything is in [`Kernel`].
struct KernelActor;

struct Setup {
    handle: Handle,
    surroundings: Surroundings,
    plans: Vec<Arc<Plan>>,
    end: oneshot::Sender<Ends>,
}

impl Actor for KernelActor {
    type Msg = Turn;
    type State = Kernel;
    type Arguments = Setup;

    async fn pre_start(&self, me: ActorRef<Turn>, setup: Setup) -> Result<Kernel, ActorProcessingErr> {
        Ok(Kernel::new(me, setup))
    }

    async fn handle(
        &self,
        _: ActorRef<Turn>,
        _: Turn,
        kernel: &mut Kernel,
    ) -> Result<(), ActorProcessingErr> {
        match catch_unwind(AssertUnwindSafe(|| kernel.turn())) {
            Ok(()) => Ok(()),
            Err(panic) => kernel.survive(panic),
        }
    }

    /// A worker's end is what the worker says; this is the safety net for a panic in its actor. The event overtakes
    /// messages, so it queues behind what the worker had still to say.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Turn>,
        event: SupervisionEvent,
        kernel: &mut Kernel,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(worker, why) = event {
            kernel.inbox.post(Input::WorkerFailed { actor: worker.get_id(), why: why.to_string() });
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Turn>, kernel: &mut Kernel) -> Result<(), ActorProcessingErr> {
        kernel.inbox.close();
        Ok(())
    }
}

struct Kernel {
    engine: Engine,
    inbox: Inbox,
    inputs: VecDeque<Input>,
    effects: VecDeque<Effect>,
    decided: Vec<Effect>,
    house: Arc<House>,
    record: Record,
    table: Table,
    children: HashMap<Arc<str>, Arc<Child>>,
    live: HashMap<Gen, Live>,
    /// Generations whose last word has been heard; they are needed until its effects are carried out.
    gone: Vec<Gen>,
    /// The start attempt whose fact was the last to be recorded: the start itself follows.
    starting: Option<(Gen, Incident)>,
    requests: Requests,
    sayings: Sayings,
    journal: Journal,
    /// What the events of this turn have changed that is not in the journal yet, but for the one looked at now.
    sound: Unkept,
    /// What that one has.
    unkept: Unkept,
    /// Paths that have changed just now.
    changed: Vec<PathId>,
    /// What is being looked at now, for the record of a panic.
    hearing: Hearing,
    panics: VecDeque<Time>,
    publisher: Publisher,
    published: Time,
    ward: Ward,
    alarm: Alarm,
    trees: Trees,
    groups: Groups,
    planted: Planted,
    block: Block,
    plans: Arc<ArcSwap<Vec<Arc<Plan>>>>,
    applied: Arc<ArcSwap<Applied>>,
    /// Keys because of which the last apply restarts a path.
    changes: HashMap<String, Vec<String>>,
    evict_within: Duration,
}

/// A generation with a worker.
struct Live {
    seat: Arc<Seat>,
    /// What it runs.
    key: Key,
    incident: Incident,
    error: Option<StartError>,
    status: Option<String>,
    panics: u32,
    /// Its health, while it is up.
    watched: Option<Box<Watched>>,
    /// Why its health check failed.
    sick: Option<String>,
    /// The signal a person has sent it last.
    by_hand: Option<i32>,
}

/// Requests that wait for the engine's answer, and answers that wait for the view.
#[derive(Default)]
struct Requests {
    last: u64,
    waiting: HashMap<ReqId, Answer>,
    answered: Vec<(Answer, Reply)>,
    /// Who asked for what is being carried out now.
    asking: Option<Who>,
}

enum Answer {
    Plain(oneshot::Sender<Reply>),
    Instance(InstanceAnswer),
}

/// Trees that run, and how the others ended.
struct Trees {
    running: Vec<PathId>,
    not_ready: Vec<PathId>,
    /// Whoever started woodward has been told that all are ready.
    told: bool,
    ends: Ends,
    stop: Stop,
    end: Option<oneshot::Sender<Ends>>,
}

/// What a turn looks at.
#[derive(Clone, Debug)]
enum Hearing {
    Deadlines,
    Request(Box<str>),
    Said(Gen),
    Other(&'static str),
}

impl Hearing {
    fn of(input: &Input) -> Hearing {
        match input {
            Input::Request { path, .. } | Input::Instance { path, .. } => Hearing::Request(path.clone()),
            Input::Said { generation, .. } | Input::Look { generation } => Hearing::Said(*generation),
            Input::WorkerFailed { .. } => Hearing::Other("the failure of a worker"),
            Input::Nudge { .. } => Hearing::Other("a signal to a child"),
            Input::Apply { .. } => Hearing::Other("a reload"),
            Input::ShutDown { .. } | Input::KillAll => Hearing::Other("the stop of everything"),
            Input::Plant { .. } | Input::Uproot { .. } | Input::TermOver => {
                Hearing::Other("a word of the cluster")
            }
            #[cfg(test)]
            Input::Poison { .. } | Input::Fault { .. } => Hearing::Other("a fault"),
        }
    }
}

/// Whether the daemon is to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    No,
    Ordered,
    Killing,
}

impl Kernel {
    fn new(me: ActorRef<Turn>, setup: Setup) -> Kernel {
        let Setup { handle, surroundings, plans, end } = setup;
        let inbox = handle.inbox;
        let Surroundings { os, notify, record, run, evict_within, faults, groups, tasks, applied: _ } =
            surroundings;
        inbox.open(me.clone());
        let mut engine = Engine::new();
        engine.reserve_incidents(Incident(record.last_incident()));
        let found = os.found();
        let (journal, remembered) = Journal::open(run.as_deref(), os.keeper(), !found.is_empty());
        let mut kernel = Kernel {
            engine,
            inputs: VecDeque::new(),
            effects: VecDeque::new(),
            decided: Vec::new(),
            house: Arc::new(House {
                os,
                notify,
                kernel: inbox.clone(),
                actor: me,
                faults,
                groups: groups.clone(),
                tasks,
            }),
            record,
            table: Table::default(),
            children: HashMap::new(),
            live: HashMap::new(),
            gone: Vec::new(),
            starting: None,
            requests: Requests::default(),
            sayings: Sayings::default(),
            journal,
            sound: Unkept::default(),
            unkept: Unkept::default(),
            changed: Vec::new(),
            hearing: Hearing::Deadlines,
            panics: VecDeque::new(),
            publisher: Publisher::new(handle.view, rfc3339(clock::wall())),
            published: Time::default(),
            ward: Ward::default(),
            alarm: Alarm::start(inbox.clone()),
            trees: Trees {
                running: Vec::new(),
                not_ready: Vec::new(),
                told: false,
                ends: Vec::new(),
                stop: Stop::No,
                end: Some(end),
            },
            planted: Planted::found(groups.tokens()),
            groups,
            plans: handle.plans,
            applied: handle.applied,
            changes: HashMap::new(),
            evict_within,
            block: Block::open(run.map(|run| run.join("generations"))),
            inbox,
        };
        plans.into_iter().for_each(|plan| kernel.table.add(plan));
        kernel.begin(remembered);
        kernel.house.faults.release_left();
        kernel.inbox.call();
        kernel
    }

    fn turn(&mut self) {
        let os = self.house.os.clone();
        let together = os.together();
        let mut left = SLICE;
        let mut again = false;
        loop {
            self.carry_out(&mut left);
            if left == 0 {
                again = true;
                break;
            }
            if self.inputs.is_empty() {
                self.inputs.extend(self.inbox.take());
            }
            match self.inputs.pop_front() {
                Some(input) => {
                    self.trust();
                    self.hear(input);
                }
                None if self.engine.next_deadline().is_some_and(|at| at <= clock::now()) => {
                    self.trust();
                    self.hearing = Hearing::Deadlines;
                    self.tell(Event::Tick);
                    self.carry_out(&mut left);
                    again = !self.effects.is_empty();
                    break;
                }
                None => break,
            }
        }
        let any = !self.trees.running.is_empty() || self.has_groups();
        let settled = self.effects.is_empty() && any;
        if settled && self.trees.not_ready.is_empty() && !self.trees.told {
            // After the death of a keeper there is another one to be told, though nothing became ready.
            self.trees.told = true;
            self.house.os.notify("READY=1");
        }
        self.make_rounds();
        again |= !self.effects.is_empty();
        self.keep_all();
        drop(together);
        self.record.keep();
        let (now, next) = (clock::now(), self.published + STALE);
        let fresh = now < next && self.requests.answered.is_empty() && self.publisher.has_news();
        if !fresh {
            self.publish();
            self.published = now;
        }
        for (answer, reply) in self.requests.answered.drain(..) {
            // Whoever asked may have gone away.
            match answer {
                Answer::Plain(answer) => drop(answer.send(reply)),
                Answer::Instance(answer) => drop(answer.send(Ok(reply))),
            }
        }
        let next = if fresh { Some(next) } else { self.publisher.deadline() };
        let dues = [self.engine.next_deadline(), self.ward.next(), next];
        self.alarm.set(dues.into_iter().flatten().min());
        self.end_if_over();
        self.inbox.rest(again);
    }

    fn hear(&mut self, input: Input) {
        self.requests.asking = None;
        self.hearing = Hearing::of(&input);
        match input {
            Input::Request { path, verb, who, answer } => {
                take_over::fail_on_purpose(&path);
                let Some((verb, answer)) = self.ask_of_group(&path, verb, &who, answer) else { return };
                self.requests.asking = Some(who);
                let id = self.requests.enter(Answer::Plain(answer));
                self.tell(Event::Request { id, path, verb });
            }
            Input::Instance { path, args, who, answer } => self.instance(path, &args, who, answer),
            Input::Look { generation } => self.tend(generation),
            Input::Nudge { path, nudge, who, answer } => self.nudge(&path, nudge, &who, answer),
            Input::Said { generation, said } => self.hear_worker(generation, said),
            Input::WorkerFailed { actor, why } => self.worker_failed(actor, &why),
            Input::Apply { proposal, dry, who, answer } => self.apply(*proposal, dry, who, answer),
            Input::Plant { group, epoch } => self.plant_group(&group, epoch),
            Input::Uproot { group, epoch, kill } => self.uproot(&group, epoch, kill),
            Input::TermOver => self.term_over(),
            Input::ShutDown { who } => {
                self.requests.asking = Some(who);
                self.trees.stop = self.trees.stop.max(Stop::Ordered);
                for tree in self.trees.running.clone() {
                    self.ask(&self.engine.path(tree), Verb::StopTree);
                }
            }
            Input::KillAll => {
                self.trees.stop = Stop::Killing;
                self.live.values().for_each(|live| live.seat.kill());
            }
            #[cfg(test)]
            Input::Poison { path } => {
                self.ask(&path, Verb::Hold { until: None });
                panic!("a fault in the kernel");
            }
            #[cfg(test)]
            Input::Fault { path } => {
                let of_path = |live: &&Live| *live.seat.child.path == *path;
                self.live.values().filter(of_path).for_each(|live| live.seat.fault());
            }
        }
    }

    fn hear_worker(&mut self, generation: Gen, said: Said) {
        let Some(live) = self.live.get_mut(&generation) else { return };
        match said {
            Said::Started => self.tell(Event::Started { generation }),
            Said::Ready => self.tell(Event::Ready { generation }),
            Said::Failed(error) => {
                live.error = Some(error);
                self.unkept.owe(live.seat.child.path.clone(), generation);
                self.gone.push(generation);
                self.tell(Event::Failed { generation, why: FailedStart::Error });
            }
            Said::Ended(exit) => {
                self.unkept.owe(live.seat.child.path.clone(), generation);
                self.gone.push(generation);
                self.tell(Event::Ended { generation, exit });
            }
            Said::Cause(text) => live.error = Some(text.into()),
            Said::Note(kind, text) => {
                let (incident, path) = (live.incident.0, &live.seat.child.path);
                self.record.fact(FactLine::note(clock::wall(), incident, path, generation.0, kind, text));
            }
            Said::Life(life) => self.hear_life(generation, life),
            Said::Answered(n, answer) => self.hear_answer(generation, n, answer),
            Said::Status(text) => {
                live.status = Some(text).filter(|text| !text.is_empty());
                self.publisher.touch(self.engine.path_of(generation));
            }
        }
    }

    fn worker_failed(&mut self, actor: ractor::ActorId, why: &str) {
        let found = self.live.iter().find(|(_, live)| live.seat.is_served_by(actor));
        if let Some((&generation, _)) = found {
            self.step_failed(generation, why);
        }
    }

    /// Takes the next steps of a generation that has no actor.
    fn tend(&mut self, generation: Gen) {
        let Some(live) = self.live.get(&generation) else { return };
        // What a seat knows is changed in single strokes; one that was left in the middle of its steps goes on there.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| live.seat.tend())) {
            self.step_failed(generation, &text_of(&*panic));
        }
        // Its process may be another, or known at last.
        self.publisher.touch(self.engine.path_of(generation));
    }

    fn step_failed(&mut self, generation: Gen, why: &str) {
        let Some(live) = self.live.get_mut(&generation) else { return };
        live.panics += 1;
        let (seat, given_up) = (live.seat.clone(), live.panics > PANICS);
        let then = if given_up { "given up, the generation is killed" } else { "another one goes on" };
        let (incident, path) = (live.incident.0, &seat.child.path);
        let text = format!("its worker failed: {why}; {then}");
        self.record.fact(FactLine::note(clock::wall(), incident, path, generation.0, "worker_failed", text));
        if given_up {
            let inbox = self.inbox.clone();
            seat.give_up(move || inbox.post(Input::Said { generation, said: Said::Ended(Exit::Unknown) }));
        } else {
            seat.employ();
        }
    }

    fn instance(&mut self, path: Box<str>, args: &[(String, String)], who: Who, answer: InstanceAnswer) {
        let made = match self.table.template(&path) {
            Some((key, template)) => tree::instantiate(template, args).map(|plan| (key, plan)),
            None => Err("it has no template".to_owned()),
        };
        match made {
            Ok((template, plan)) => {
                let key = self.table.add_instance(template, plan, args.to_vec());
                self.requests.asking = Some(who);
                let id = self.requests.enter(Answer::Instance(answer));
                self.tell(Event::Request { id, path, verb: Verb::StartInstance { key } });
            }
            Err(why) => {
                // Whoever asked may have gone away.
                let _ = answer.send(Err(InstanceError::Arguments { path: path.into(), why }));
            }
        }
    }

    /// A request of the kernel's own; nobody waits for the answer.
    fn ask(&mut self, path: &str, verb: Verb) {
        let id = self.requests.number();
        self.tell(Event::Request { id, path: path.into(), verb });
    }

    fn tell(&mut self, event: Event) {
        self.engine.handle(clock::now(), event, &mut self.decided);
        self.follow();
    }

    fn carry_out(&mut self, left: &mut usize) {
        while *left > 0 {
            let Some(effect) = self.effects.pop_front() else {
                self.bury();
                return;
            };
            *left -= 1;
            self.interpret(effect);
        }
    }

    /// Generations of which the last word has been heard. Of a child that went with its generation no row may ever
    /// have been published, so that it has to be looked for here.
    fn bury(&mut self) {
        for generation in std::mem::take(&mut self.gone) {
            let Some(live) = self.live.remove(&generation) else { continue };
            if let Some(watched) = &live.watched {
                self.ward.end(generation, watched);
            }
            let path = &live.seat.child.path;
            if self.engine.find(path).and_then(|id| self.engine.row(id)).is_none() {
                self.forget(path);
            }
        }
    }

    fn interpret(&mut self, effect: Effect) {
        match effect {
            Effect::Start { generation, path, key, first } => self.start(generation, path, key, first),
            Effect::Open { generation, path } => {
                if !self.engine.path(path).contains('/') && !self.trees.running.contains(&path) {
                    self.trees.running.push(path);
                    let row = self.engine.row(path);
                    let counts = !self.planted.has(&self.engine.path(path));
                    if counts && row.is_none_or(|row| row.state != State::Up) {
                        self.trees.not_ready.push(path);
                    }
                }
                // The subtree's place is made with its first process: nothing can fail here, nothing is to be waited for.
                self.tell(Event::Started { generation });
            }
            Effect::Close { .. } => {}
            Effect::Ask { generation, .. } => {
                let kills = self.kills(generation);
                if let Some(live) = self.live.get(&generation) {
                    match kills {
                        true => live.seat.kill(),
                        false => live.seat.ask(),
                    }
                    self.tend(generation);
                }
            }
            Effect::Kill { generation } => {
                if let Some(live) = self.live.get(&generation) {
                    live.seat.kill();
                    self.tend(generation);
                }
            }
            Effect::Reply { id, reply } => {
                if let Some(answer) = self.requests.waiting.remove(&id) {
                    self.requests.answered.push((answer, reply));
                }
            }
            Effect::Fact(fact) => self.take_down(&fact),
            Effect::TreeEnded { path, how } => {
                self.trees.running.retain(|tree| *tree != path);
                // Stopped along with the daemon: the status of its essential child is the tree's all the same.
                let essential = (how == TreeEnd::Stopped && self.trees.stop != Stop::No)
                    .then(|| self.engine.essential_exit(path))
                    .flatten();
                let how = essential.map_or(how, TreeEnd::Essential);
                let path = self.engine.path(path);
                if self.group_ended(&path, how) {
                    return;
                }
                self.unkept.end(path.clone(), how.into());
                self.trees.ends.push((path, how));
            }
        }
    }

    fn start(&mut self, generation: Gen, path: PathId, key: Key, first: bool) {
        if let Err(error) = self.block.cover(generation) {
            let text = format!("the number of its generation is not kept: {error}");
            let path = self.engine.path(path);
            self.record.fact(FactLine::note(clock::wall(), 0, &path, generation.0, "not_kept", text));
        }
        self.note_if_outdated(generation, path, key);
        let Some(child) = self.child(path, key) else {
            // A key nobody knows can only come through the library's `start_child`.
            self.tell(Event::Failed { generation, why: FailedStart::Error });
            return;
        };
        let incident = match self.starting.take() {
            Some((of, incident)) if of == generation => incident,
            _ => Incident::default(),
        };
        let seat = Seat::new(self.house.clone(), child, generation, first, incident);
        self.give_worker(seat, key, incident);
    }

    fn give_worker(&mut self, seat: Arc<Seat>, key: Key, incident: Incident) {
        let generation = seat.generation;
        seat.begin();
        let live = Live {
            seat,
            key,
            incident,
            error: None,
            status: None,
            panics: 0,
            watched: None,
            sick: None,
            by_hand: None,
        };
        self.live.insert(generation, live);
        self.tend(generation);
    }

    /// What all generations of a child share; made at its first start.
    fn child(&mut self, id: PathId, key: Key) -> Option<Arc<Child>> {
        let path = self.engine.path(id);
        let planned = self.table.worker(key).map(|entry| &entry.plan);
        if let Some(child) =
            self.children.get(&*path).filter(|child| planned.is_some_and(|p| p.is(&child.plan)))
        {
            return Some(child.clone());
        }
        self.make_child(&path, key)
    }

    fn make_child(&mut self, path: &str, key: Key) -> Option<Arc<Child>> {
        let entry = self.table.worker(key)?;
        if let Some(old) = self.children.get(path)
            && (old.plan.output != entry.plan.output || old.plan.log_rate_limit != entry.plan.log_rate_limit)
        {
            self.record.forget(path);
        }
        let stream = self.record.stream(&entry.plan, path);
        if let Err(error) = &stream {
            let text = format!("its output is not captured: {error}");
            self.record.fact(FactLine::note(clock::wall(), 0, path, 0, "no_stream", text));
        }
        let child = Arc::new(Child::new(path.into(), entry.plan.clone(), entry.shutdown, stream.ok()));
        self.children.insert(child.path.clone(), child.clone());
        Some(child)
    }

    /// A child is no more. What was planned may be asked for its lines and its past all the same, and may come back.
    fn forget(&mut self, path: &str) {
        if self.children.get(path).is_none_or(|child| child.is_planned()) {
            return;
        }
        self.children.remove(path);
        self.sayings.forget(path);
        self.house.os.forget(path);
        self.record.forget(path);
    }

    /// The daemon ends with its trees; a tree that a person stopped may be started again, and one that a cluster places
    /// may be given back, so they only count when the daemon is to stop anyway.
    fn end_if_over(&mut self) {
        let by_hand = |(_, how): &(String, TreeEnd)| *how == TreeEnd::Stopped;
        let over = self.trees.ends.last().is_some_and(|end| !by_hand(end)) && !self.has_groups();
        let stays = self.trees.stop == Stop::No && !over;
        if !self.trees.running.is_empty() || stays || !self.effects.is_empty() {
            return;
        }
        if let Some(end) = self.trees.end.take() {
            // The daemon may have gone already.
            self.journal.remove();
            let _ = end.send(std::mem::take(&mut self.trees.ends));
        }
    }
}

impl Requests {
    fn number(&mut self) -> ReqId {
        self.last += 1;
        ReqId(self.last)
    }

    fn enter(&mut self, answer: Answer) -> ReqId {
        let id = self.number();
        self.waiting.insert(id, answer);
        id
    }
}
