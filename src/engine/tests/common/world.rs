//! A random world: a random forest, and everything that can happen to it, late, twice and at the wrong moment.
//!
//! The world keeps its own books and checks the invariants of the engine against them. What the engine was told is
//! recorded; a broken invariant becomes a replay file.

use crate::forest::{Flavour, random_child, random_tree};
use crate::mutate::mutate;
use crate::random::Random;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use woodward_engine::adopt::{SavedPath, SavedState};
use woodward_engine::event::{FailedStart, PathId};
use woodward_engine::spec::*;
use woodward_engine::trace::Replay;
use woodward_engine::{
    Apply, Effect, Engine, Event, Exit, Fate, Found, Gen, Reason, Reply, ReqId, Saved, Time, Verb, What,
};

/// What kind of worlds.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    /// Share of supervisors by dependencies, in percent.
    pub dependencies: u64,
    /// Only what OTP has.
    pub plain: bool,
    /// Events that fit nothing, in percent.
    pub nonsense: u64,
    /// The daemon dies and a new engine adopts, in percent of the steps.
    pub deaths: u64,
    /// Another plan is applied, in percent of the steps.
    pub applies: u64,
}

impl Taste {
    fn flavour(self) -> Flavour {
        Flavour { dependencies: self.dependencies, plain: self.plain }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Run {
    /// Start or open emitted, no outcome told.
    Asked,
    /// Started told.
    Started,
    Ready,
}

#[derive(Clone, Debug)]
struct Process {
    path: String,
    run: Run,
    is_supervisor: bool,
    stopping: bool,
    killed: bool,
    hangs: bool,
}

pub struct World {
    pub random: Random,
    taste: Taste,
    engine: Engine,
    now: Time,
    pub replay: Replay,
    tree: Tree,
    processes: BTreeMap<Gen, Process>,
    /// Live generation by path.
    live: HashMap<String, Gen>,
    /// Supervisors whose children may run.
    open: HashMap<String, Gen>,
    ending: HashSet<String>,
    /// Specifications seen, by path.
    orders: HashMap<String, (Order, Strategy)>,
    position: HashMap<String, usize>,
    /// By dependencies: whom it is `after`.
    after: HashMap<String, Vec<String>>,
    windows: HashMap<String, Vec<u64>>,
    unanswered: HashSet<ReqId>,
    requests: u64,
    last_gen: u64,
    ended: usize,
    suspended: HashSet<String>,
    /// Supervisors that were given another order of children.
    moved: HashSet<String>,
    /// Supervisors that were given another discipline, children that were given others to be after.
    strange: HashSet<String>,
    names: Vec<String>,
    fx: Vec<Effect>,
    /// What an embedder that saves what has changed has written down.
    kept: BTreeMap<String, SavedPath>,
    changed: Vec<PathId>,
    /// A new engine takes over: what it opens has been open.
    adopting: bool,
    /// The last start attempt.
    starting: Gen,
}

impl World {
    pub fn new(seed: u64, taste: Taste) -> World {
        let mut random = Random::new(seed);
        let tree = random_tree(&mut random, taste.flavour());
        let mut world = World {
            random,
            taste,
            engine: Engine::new(),
            now: Time(1000),
            replay: Replay::default(),
            tree,
            processes: BTreeMap::new(),
            live: HashMap::new(),
            open: HashMap::new(),
            ending: HashSet::new(),
            orders: HashMap::new(),
            position: HashMap::new(),
            after: HashMap::new(),
            windows: HashMap::new(),
            unanswered: HashSet::new(),
            requests: 0,
            last_gen: 0,
            ended: 0,
            suspended: HashSet::new(),
            moved: HashSet::new(),
            strange: HashSet::new(),
            names: Vec::new(),
            fx: Vec::new(),
            kept: BTreeMap::new(),
            changed: Vec::new(),
            adopting: false,
            starting: Gen(0),
        };
        let root = world.tree.root.clone();
        world.know("t", &root);
        world
    }

    fn know(&mut self, path: &str, sup: &Supervisor) {
        self.orders.insert(path.into(), (sup.order, sup.strategy));
        self.names.push(path.into());
        match &sup.children {
            Children::List(list) => {
                for child in list {
                    self.know_child(path, child);
                }
            }
            Children::Template(template) => {
                for i in 1..4 {
                    self.names.push(format!("{path}/{}#{i}", template.id));
                }
            }
        }
    }

    fn know_child(&mut self, above: &str, child: &Child) {
        let path = format!("{above}/{}", child.id);
        self.after.insert(path.clone(), child.after.iter().map(|id| format!("{above}/{id}")).collect());
        match &child.kind {
            Kind::Supervisor(sup) => self.know(&path, sup),
            Kind::Worker(_) => self.names.push(path),
        }
    }

    /// A whole life.
    pub fn live(&mut self, steps: usize) {
        let tree = Box::new(self.tree.clone());
        self.ask("t", Verb::AddTree(tree));
        for _ in 0..steps {
            self.step();
        }
        self.stop();
    }

    fn step(&mut self) {
        if self.random.chance(self.taste.deaths) {
            self.die_and_adopt();
        }
        if self.random.chance(self.taste.nonsense) {
            self.nonsense();
        }
        if self.random.chance(self.taste.applies) {
            self.apply();
        }
        match self.random.below(20) {
            0..10 => self.progress(),
            10..13 => self.crash(),
            13..16 => self.request(),
            16..18 => self.pass_time(),
            _ => {
                for _ in 0..10 {
                    self.progress();
                }
            }
        }
    }

    /// Some process goes on with what it is doing.
    fn progress(&mut self) {
        let moving: Vec<Gen> =
            self.processes.iter().filter(|(_, p)| !p.hangs || p.killed).map(|(g, _)| *g).collect();
        if moving.is_empty() {
            return;
        }
        let generation = self.random.pick(&moving);
        let process = self.processes[&generation].clone();
        let event = match process.run {
            _ if process.killed && self.random.chance(90) => self.end(generation, Exit::Signal(9)),
            _ if process.stopping && !process.is_supervisor && self.random.chance(70) => {
                if self.random.chance(15) {
                    self.hang(generation);
                    return;
                }
                let exit = self.random.pick(&[Exit::Code(0), Exit::Signal(15), Exit::Code(1)]);
                self.end(generation, exit)
            }
            Run::Asked if self.random.chance(80) => {
                self.set_run(generation, Run::Started);
                Event::Started { generation }
            }
            Run::Asked => {
                self.forget(generation);
                if self.random.chance(70) {
                    Event::Failed { generation, why: FailedStart::Error }
                } else {
                    Event::Declined { generation }
                }
            }
            Run::Started if !process.is_supervisor => {
                if self.random.chance(20) {
                    let exit = self.random.pick(&[Exit::Code(0), Exit::Code(1), Exit::Code(78)]);
                    self.end(generation, exit)
                } else {
                    self.set_run(generation, Run::Ready);
                    Event::Ready { generation }
                }
            }
            _ => return,
        };
        self.tell(event);
    }

    fn set_run(&mut self, generation: Gen, run: Run) {
        if let Some(process) = self.processes.get_mut(&generation) {
            process.run = run;
            if run == Run::Started && process.is_supervisor {
                let path = process.path.clone();
                self.ending.remove(&path);
                self.windows.remove(&path);
                self.open.insert(path, generation);
            }
        }
    }

    fn hang(&mut self, generation: Gen) {
        if let Some(process) = self.processes.get_mut(&generation) {
            process.hangs = true;
        }
    }

    fn end(&mut self, generation: Gen, exit: Exit) -> Event {
        self.forget(generation);
        Event::Ended { generation, exit }
    }

    fn forget(&mut self, generation: Gen) {
        if let Some(process) = self.processes.remove(&generation) {
            self.live.remove(&process.path);
        }
    }

    fn crash(&mut self) {
        let workers: Vec<Gen> = self
            .processes
            .iter()
            .filter(|(_, p)| !p.is_supervisor && p.run != Run::Asked)
            .map(|(g, _)| *g)
            .collect();
        if workers.is_empty() {
            return;
        }
        let generation = self.random.pick(&workers);
        if self.random.chance(10) {
            self.tell(Event::Sick { generation });
            return;
        }
        let exits = [Exit::Code(1), Exit::Code(0), Exit::Signal(11), Exit::Code(78), Exit::Unknown];
        let exit = self.random.pick(&exits);
        let event = self.end(generation, exit);
        self.tell(event);
    }

    fn request(&mut self) {
        let path = self.random.pick(&self.names.clone());
        let (above, id) = path.rsplit_once('/').unwrap_or(("t", "c0"));
        let (above, id) = (above.to_owned(), Box::<str>::from(id));
        let time = self.now + Duration::from_millis(self.random.next() % 3000);
        let (to, verb) = match self.random.below(if self.taste.plain { 11 } else { 22 }) {
            0 => {
                let name = format!("d{}", self.random.below(4));
                // The same name always means the same child: what is refused and what runs cannot be mixed up.
                let seed =
                    format!("{above}/{name}").bytes().fold(7, |h: u64, b| h.wrapping_mul(31) + u64::from(b));
                let child =
                    random_child(&mut Random::new(seed), self.taste.flavour(), 2, &name, AutoShutdown::Never);
                self.know_child(&above, &child);
                (above, Verb::StartChild(Box::new(child)))
            }
            1 | 2 => (path, Verb::StartInstance { key: None }),
            3 => (above, Verb::TerminateChild(id)),
            4 => (above, Verb::RestartChild(id)),
            5 => (above, Verb::DeleteChild(id)),
            6 => (above, Verb::GetChildspec(id)),
            7 => (above, Verb::WhichChildren),
            8 => (above, Verb::CountChildren),
            9 if self.random.chance(20) => (path, Verb::StopSelf(Reason::Crash)),
            10 if self.suspended.insert(above.clone()) => (above, Verb::Suspend),
            9 | 10 => {
                self.suspended.remove(&above);
                (above, Verb::Resume)
            }
            11..14 => (path, Verb::Start),
            14 | 15 => (path, Verb::Stop { with_dependents: self.random.chance(30) }),
            16 => (path, Verb::Restart { only: self.random.chance(50) }),
            17 => (path, Verb::Hold { until: self.random.chance(50).then_some(time) }),
            18 | 19 => (path, Verb::Release),
            20 => (path, Verb::Abandon),
            _ if self.random.chance(10) => ("t".into(), Verb::StopTree),
            _ => (path, Verb::WhichChildren),
        };
        if let Verb::Abandon = verb {
            self.abandon(&to);
            return;
        }
        self.ask(&to, verb);
    }

    /// From now on by another plan. Supervisors whose children changed place or discipline are in between for a while.
    fn apply(&mut self) {
        let mut tree = self.tree.clone();
        mutate(&mut self.random, self.taste.flavour(), &mut tree);
        let apply = Apply { tree: tree.clone(), instances: Vec::new() };
        let prospects = self.engine.foresee("t", &apply);
        assert!(prospects.is_ok_and(|prospects| !prospects.is_empty()), "a sound plan");
        let (orders, after) = (self.orders.clone(), self.after.clone());
        self.know("t", &tree.root);
        for (path, was) in orders {
            if self.orders.get(&path).is_some_and(|now| now.0 != was.0) {
                self.strange.insert(path.clone());
            }
            self.moved.insert(path);
        }
        for (path, was) in after {
            if self.after.get(&path).is_some_and(|now| *now != was) {
                self.strange.insert(path);
            }
        }
        self.tree = tree;
        self.ask("t", Verb::Apply(Box::new(apply)));
    }

    /// What a person gives up on is not the engine's any more.
    fn abandon(&mut self, path: &str) {
        let abandoned = self
            .live
            .get(path)
            .copied()
            .filter(|g| self.processes[g].stopping && !self.processes[g].is_supervisor);
        if let Some(generation) = abandoned {
            self.forget(generation);
        }
        self.ask(path, Verb::Abandon);
    }

    fn nonsense(&mut self) {
        let old = Gen(self.random.next() % (self.last_gen + 3));
        let path = self.random.pick(&["", "t", "nobody", "t/nobody", "t/c0/x", "/"]);
        let known = self.processes.contains_key(&old);
        let event = match self.random.below(7) {
            0 if !known => Event::Started { generation: old },
            // A generation that is ready may be told to be so again, and one that is up can decline nothing.
            1 => Event::Ready { generation: self.somebody(Run::Ready).unwrap_or(Gen(0)) },
            2 if !known => Event::Declined { generation: old },
            3 if !known => Event::Failed { generation: old, why: FailedStart::TooLate },
            4 if !known => Event::Ended { generation: old, exit: Exit::Unknown },
            5 if !known => Event::Sick { generation: old },
            _ => {
                self.ask(path, Verb::RestartChild("nobody".into()));
                return;
            }
        };
        self.tell(event);
    }

    fn somebody(&mut self, run: Run) -> Option<Gen> {
        self.processes.iter().find(|(_, p)| p.run == run && !p.is_supervisor).map(|(g, _)| *g)
    }

    fn pass_time(&mut self) {
        let ms = self.random.pick(&[1, 50, 500, 2000]);
        self.now = self.now + Duration::from_millis(ms);
        self.tell(Event::Tick);
    }

    /// A new engine takes over what runs. Some of it ended meanwhile, of some nobody knows; what was saved may be lost.
    fn die_and_adopt(&mut self) {
        if self.processes.is_empty() || self.ended > 0 {
            return;
        }
        // In between two plans: some of what was there is planned no more, and who is on its way may stand behind others.
        let applied = !self.moved.is_empty();
        self.strange.extend(self.moved.drain());
        let whole = self.engine.save();
        self.check_kept(&whole.paths);
        let remembers = self.random.chance(80);
        let saved = if remembers { whole } else { Saved::default() };
        self.engine = Engine::new();
        self.engine.reserve_generations(Gen(self.last_gen));
        self.replay = Replay::default();
        self.unanswered.clear();
        self.suspended.clear();
        self.open.clear();
        self.ending.clear();
        if !remembers {
            self.windows.clear();
        }
        let calm = self.random.chance(60);
        let mut found = Vec::new();
        for (generation, process) in std::mem::take(&mut self.processes) {
            if process.is_supervisor {
                self.live.remove(&process.path);
                continue;
            }
            let ended = !calm && self.random.chance(20);
            let lost = remembers && !calm && self.random.chance(10);
            if lost || (process.run == Run::Asked && !process.stopping && self.random.chance(30)) {
                self.live.remove(&process.path);
                continue;
            }
            let told_later = remembers && process.run == Run::Asked && !ended && self.random.chance(50);
            let fate = match process.run {
                _ if ended => Fate::Ended(Exit::Code(1)),
                Run::Ready => Fate::Ready,
                Run::Asked if told_later => Fate::Starting,
                Run::Asked | Run::Started => Fate::Started,
            };
            found.push(Found { path: process.path.clone(), generation, key: None, fate });
            if ended {
                self.live.remove(&process.path);
            } else {
                let run = match process.run {
                    Run::Ready => Run::Ready,
                    Run::Asked if told_later => Run::Asked,
                    Run::Asked | Run::Started => Run::Started,
                };
                self.processes.insert(
                    generation,
                    Process { run, stopping: false, killed: false, hangs: false, ..process },
                );
            }
        }
        let mut fx = Vec::new();
        let unwanted = self.engine.adopt(self.now, self.tree.clone(), &saved, found, &mut fx);
        for lost in unwanted.expect("no such tree lives in a new engine") {
            self.forget(lost.generation);
        }
        (self.adopting, self.starting) = (true, Gen(0));
        self.keep();
        let whole = self.engine.save().paths;
        self.kept = whole.into_iter().map(|saved| (saved.path.clone(), saved)).collect();
        self.check(fx);
        self.adopting = false;
        // Ends that nobody had looked at are looked at now, and who was ending may end.
        let is_news = |path: &SavedPath| {
            let state = path.child.as_ref().map(|child| child.state);
            let ends = path.child.as_ref().and_then(|child| child.supervisor.as_ref()?.ending).is_some();
            ends || matches!(state, Some(SavedState::Ended { .. } | SavedState::Pending { until: None }))
        };
        if calm && remembers && !applied && !saved.paths.iter().any(is_news) {
            self.check_restored(&saved.paths);
        }
    }

    /// What was written down path by path is what is saved at once.
    fn check_kept(&self, whole: &[SavedPath]) {
        let comparable = |path: &SavedPath| {
            let mut path = path.clone();
            if let Some(child) = &mut path.child {
                (child.incident, child.at) = Default::default();
            }
            path
        };
        let whole: BTreeMap<&str, SavedPath> =
            whole.iter().map(|path| (path.path.as_str(), comparable(path))).collect();
        let kept: BTreeMap<&str, SavedPath> =
            self.kept.iter().map(|(name, path)| (name.as_str(), comparable(path))).collect();
        for (name, path) in &whole {
            assert_eq!(kept.get(name), Some(path), "{name} was not saved again");
        }
        let is_gone = |name: &str| self.engine.find(name).is_none();
        let more: Vec<_> = kept.keys().filter(|name| !whole.contains_key(*name) && !is_gone(name)).collect();
        assert!(more.is_empty(), "{more:?} is not to be remembered any more");
    }

    /// Nothing ended meanwhile: accounts, words of persons and delays are as they were.
    fn check_restored(&self, before: &[SavedPath]) {
        let after = self.engine.save();
        for old in before {
            let Some(new) = after.paths.iter().find(|new| new.path == old.path) else {
                // Added by request, or never started.
                assert!(old.path.contains("/d") || old.generation == Gen(0), "{old:?} is forgotten");
                continue;
            };
            assert_eq!(
                (new.hold, new.stopped, new.parked, new.restarts, new.instances),
                (old.hold, old.stopped, old.parked, old.restarts, old.instances),
                "{}",
                old.path
            );
            let (Some(was), Some(is)) = (&old.child, &new.child) else { continue };
            // What was ending may have ended, since nothing of it runs.
            if was.supervisor.is_some() == is.supervisor.is_some() {
                assert_eq!(new.window, old.window, "{}", old.path);
            }
            assert_eq!((is.n, is.delay), (was.n, was.delay), "{}", old.path);
            let waits = |state| matches!(state, SavedState::Pending { until: Some(_) } | SavedState::Done);
            // Who ends leaves nothing waiting.
            if waits(was.state) && is.state != SavedState::Down {
                assert_eq!((is.state, is.until), (was.state, was.until.or(is.until)), "{}", old.path);
            }
            if was.state == (SavedState::Up { ready: true }) && was.supervisor.is_none() && !is.stops {
                assert_eq!((is.state, new.since, is.at), (was.state, old.since, was.at), "{}", old.path);
            }
        }
    }

    /// Saves what has changed, as an embedder does.
    fn keep(&mut self) {
        self.engine.take_changed(&mut self.changed);
        for id in self.changed.drain(..) {
            match self.engine.saved(id) {
                Some(mut saved) => {
                    let mut window = self.kept.remove(&saved.path).map(|old| old.window).unwrap_or_default();
                    window.go_on(saved.window);
                    saved.window = window;
                    self.kept.insert(saved.path.clone(), saved);
                }
                None => drop(self.kept.remove(&self.engine.path(id))),
            }
        }
    }

    /// Stops everything at whatever moment it is, and waits until nothing runs.
    fn stop(&mut self) {
        for path in self.suspended.clone() {
            self.ask(&path, Verb::Resume);
        }
        self.ask("t", Verb::StopTree);
        for _ in 0..3000 {
            if self.processes.is_empty() {
                break;
            }
            let before = self.processes.len();
            for _ in 0..20 {
                self.progress();
            }
            if self.processes.len() == before {
                self.now = self.now + Duration::from_millis(700);
                self.tell(Event::Tick);
                let hanging: Vec<Gen> =
                    self.processes.iter().filter(|(_, p)| p.hangs).map(|(g, _)| *g).collect();
                if self.random.chance(20) && !hanging.is_empty() {
                    let generation = self.random.pick(&hanging);
                    let event = self.end(generation, Exit::Code(0));
                    self.tell(event);
                }
            }
        }
        assert!(self.processes.is_empty(), "the stop does not end: {:?}", self.processes);
        assert!(self.unanswered.is_empty(), "not answered: {:?}", self.unanswered);
        assert!(self.open.is_empty(), "never closed: {:?}", self.open);
        for row in self.engine.rows() {
            let path = self.engine.path(row.path);
            use woodward_engine::view::State;
            assert!(
                matches!(row.state, State::Stopped | State::Parked | State::Done),
                "{path} is {:?}",
                row.state
            );
        }
    }

    fn ask(&mut self, path: &str, verb: Verb) {
        self.requests += 1;
        let id = ReqId(self.requests);
        self.unanswered.insert(id);
        self.tell(Event::Request { id, path: path.into(), verb });
    }

    fn tell(&mut self, event: Event) {
        self.replay.events.push((self.now, event.clone()));
        let mut fx = std::mem::take(&mut self.fx);
        self.engine.handle(self.now, event, &mut fx);
        self.keep();
        self.check(fx);
        if let Some(at) = self.engine.next_deadline() {
            assert!(at > Time(0));
        }
    }

    fn check(&mut self, mut fx: Vec<Effect>) {
        for effect in fx.drain(..) {
            self.check_one(effect);
        }
        self.fx = fx;
        self.position =
            self.engine.rows().iter().enumerate().map(|(i, row)| (self.engine.path(row.path), i)).collect();
    }

    fn check_one(&mut self, effect: Effect) {
        match effect {
            Effect::Start { generation, path, .. } => self.begin(generation, path, false),
            Effect::Open { generation, path } => self.begin(generation, path, true),
            Effect::Close { generation, path } => {
                let path = self.engine.path(path);
                assert_eq!(self.open.remove(&path), Some(generation), "{path} was not open");
                self.forget(generation);
                let below = format!("{path}/");
                let left: Vec<&String> = self.live.keys().filter(|p| p.starts_with(&below)).collect();
                assert!(left.is_empty(), "{path} closes over {left:?}");
            }
            Effect::Ask { generation, .. } => self.stopped(generation, false),
            Effect::Kill { generation } => self.stopped(generation, true),
            Effect::Reply { id, reply } => {
                assert!(self.unanswered.remove(&id), "{id:?} is answered again, with {reply:?}");
                if let Reply::Children(list) = reply {
                    assert!(list.len() < 10_000);
                }
            }
            Effect::TreeEnded { path, .. } => {
                assert_eq!(self.engine.path(path), "t");
                assert!(self.processes.is_empty(), "the tree ends over {:?}", self.processes);
            }
            Effect::Fact(fact) => {
                let path = self.engine.path(fact.path);
                match fact.what {
                    What::Stopping { .. } => drop(self.ending.insert(path)),
                    What::Starting => self.starting = fact.generation,
                    What::Restart { count, intensity, period, own_limit, .. } if count > 0 => {
                        assert!(count <= intensity, "{path}: restart {count} of {intensity}");
                        if !own_limit {
                            let above = path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
                            let second = self.now.seconds();
                            let window = self.windows.entry(above).or_default();
                            window.retain(|s| s + u64::from(period) >= second);
                            window.push(second);
                            assert!(
                                window.len() <= intensity as usize,
                                "{path}: {window:?} within {period} s"
                            );
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn begin(&mut self, generation: Gen, path: woodward_engine::PathId, is_supervisor: bool) {
        let was_open = self.adopting && is_supervisor && generation != self.starting;
        let path = self.engine.path(path);
        if was_open {
            self.last_gen = self.last_gen.max(generation.0);
            self.open.insert(path.clone(), generation);
            self.live.insert(path.clone(), generation);
            let run = Run::Started;
            let process = Process { path, run, is_supervisor, stopping: false, killed: false, hangs: false };
            self.processes.insert(generation, process);
            return;
        }
        assert!(generation.0 > self.last_gen, "generation {generation:?} after {}", self.last_gen);
        self.last_gen = generation.0;
        assert!(!self.live.contains_key(&path), "{path} is started twice");
        if let Some((above, _)) = path.rsplit_once('/') {
            assert!(self.open.contains_key(above), "{path} is started and {above} is not open");
            assert!(!self.ending.contains(above), "{path} is started and {above} is stopping");
            if let Some((Order::Listed, strategy)) = self.orders.get(above)
                && !self.strange.contains(above)
            {
                let starting: Vec<&Process> = self
                    .processes
                    .values()
                    .filter(|p| {
                        p.run == Run::Asked
                            && !p.stopping
                            && p.path.rsplit_once('/').is_some_and(|(a, _)| a == above)
                    })
                    .collect();
                assert!(starting.is_empty(), "{path} ({strategy:?}) is started beside {starting:?}");
            }
        }
        let is_strange = |path: &str| {
            self.strange.contains(path)
                || path.rsplit_once('/').is_some_and(|(above, _)| self.strange.contains(above))
        };
        let after = self.after.get(&path).filter(|_| !is_strange(&path));
        for before in after.into_iter().flatten() {
            let process = self.live.get(before).map(|g| &self.processes[g]);
            let is_there = process.is_none_or(|p| p.run != Run::Asked && !p.stopping);
            assert!(is_there, "{path} is started after {process:?}");
        }
        self.live.insert(path.clone(), generation);
        let process =
            Process { path, run: Run::Asked, is_supervisor, stopping: false, killed: false, hangs: false };
        self.processes.insert(generation, process);
    }

    fn stopped(&mut self, generation: Gen, killed: bool) {
        let Some(process) = self.processes.get_mut(&generation) else {
            panic!("{generation:?} does not run and is stopped");
        };
        let again = process.stopping;
        process.stopping = true;
        process.killed |= killed;
        let path = process.path.clone();
        let Some((above, _)) = path.rsplit_once('/') else { return };
        let swept = killed;
        let listed = !self.moved.contains(above)
            && matches!(self.orders.get(above), Some((Order::Listed, s)) if *s != Strategy::SimpleOneForOne);
        if again || swept || !listed || !self.ending.contains(above) {
            return;
        }
        let (Some(&mine), below) = (self.position.get(&path), format!("{above}/")) else { return };
        for other in self
            .live
            .keys()
            .filter(|p| **p != path && p.starts_with(&below) && !p.starts_with(&format!("{path}/")))
        {
            // What was found and not yet taken over has no turn.
            if !other.rsplit_once('/').is_some_and(|(above, _)| self.open.contains_key(above)) {
                continue;
            }
            let position = self.position.get(other).copied().unwrap_or(usize::MAX);
            assert!(position < mine, "{path} is asked to stop before {other}");
        }
    }
}
