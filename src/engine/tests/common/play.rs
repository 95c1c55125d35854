//! A tiny stage for rule tests: a tree and a script, as text.
//!
//! The tree is written as in a replay file, without the events; its root is `t`. A line of the script is
//! `WHAT HAPPENS => WHAT FOLLOWS`. Supervisors open at once, workers with `key=0` start at once, those with another key
//! when the script says so. Paths are below `t`.
//!
//! | happens | |
//! |---|---|
//! | `boot` | the tree is added |
//! | `found a=ready b=ended` | instead: a new engine adopts it with what was found |
//! | `a started`, `a ready`, `a declined`, `a failed`, `a sick` | an outcome of the running generation |
//! | `a exit 1`, `a signal 9` | it ends |
//! | `apply of NAME` | another plan |
//! | `at 500` | the clock reaches 500 ms, every deadline on the way is told |
//! | `a: stop`, `s: terminate_child a`, ... | a request |
//!
//! | follows | |
//! |---|---|
//! | `open s`, `close s`, `start a`, `ask a`, `kill a` | effects; after `ask` the milliseconds it is given |
//! | `restart a 1`, `backoff a 500`, `limit a`, `parked a`, `ready s` | facts; a back-off with its end |
//! | `reply ok` | an answer |
//! | `ended gave_up` | the tree |

use std::collections::HashMap;
use woodward_engine::effect::TreeEnd;
use woodward_engine::event::FailedStart;
use woodward_engine::trace::Replay;
use woodward_engine::{
    Effect, Engine, Event, Exit, Fate, Found, Gen, Key, PathId, Prospect, Reply, ReqId, Saved, Time, Verb,
    What,
};

/// Plays a script; every line must be followed by exactly what it says.
#[track_caller]
pub fn check(tree: &str, script: &str) {
    play(Stage::new(tree), script);
}

/// The same with other plans to be applied, by name.
#[track_caller]
pub fn check_apply(tree: &str, plans: &[(&str, &str)], script: &str) -> Stage {
    let mut stage = Stage::new(tree);
    plans.iter().for_each(|(name, plan)| stage.plan(name, plan));
    play(stage, script)
}

#[track_caller]
fn play(mut stage: Stage, script: &str) -> Stage {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (happens, expected) = line.split_once("=>").unwrap_or((line, ""));
        stage.happens(happens.trim());
        assert_eq!(expected.trim(), stage.follows(), "after `{}` at {} ms", happens.trim(), stage.now.0);
    }
    stage
}

pub struct Stage {
    pub engine: Engine,
    pub now: Time,
    /// What an engine before this one saved.
    pub saved: Saved,
    boot: Option<Event>,
    plans: HashMap<String, Event>,
    running: HashMap<String, Gen>,
    requests: u64,
    events: Vec<Event>,
    follows: Vec<String>,
    supervisors: Vec<PathId>,
}

impl Stage {
    pub fn new(tree: &str) -> Stage {
        let (definitions, keys) = match tree.rsplit_once("tree ") {
            Some((definitions, keys)) => (definitions, keys.trim()),
            None => (tree, ""),
        };
        let replay: Replay =
            format!("{definitions}\nat 0 request 0 t add_tree {keys}\n").parse().expect("a tree");
        let again: Replay = replay.to_string().parse().expect("what is written can be read");
        assert_eq!(replay, again);
        Stage {
            engine: Engine::new(),
            now: Time(0),
            saved: Saved::default(),
            boot: replay.events.into_iter().next().map(|(_, event)| event),
            plans: HashMap::new(),
            running: HashMap::new(),
            requests: 0,
            events: Vec::new(),
            follows: Vec::new(),
            supervisors: Vec::new(),
        }
    }

    /// Keeps a tree under a name, for `apply of NAME`.
    pub fn plan(&mut self, name: &str, tree: &str) {
        let (definitions, keys) = tree.rsplit_once("keys ").unwrap_or((tree, ""));
        let replay: Replay =
            format!("{definitions}\nat 0 request 0 t apply {keys}\n").parse().expect("a tree");
        let again: Replay = replay.to_string().parse().expect("what is written can be read");
        assert_eq!(replay, again);
        let event = replay.events.into_iter().next().expect("one event").1;
        self.plans.insert(name.to_owned(), event);
    }

    fn apply(&mut self, plan: &str) -> Event {
        self.requests += 1;
        let Event::Request { path, verb, .. } = self.plans[plan].clone() else { panic!("a request") };
        Event::Request { id: ReqId(self.requests), path, verb }
    }

    /// What applying a plan would do.
    pub fn foresee(&self, plan: &str) -> Vec<Prospect> {
        match &self.plans[plan] {
            Event::Request { path, verb: Verb::Apply(apply), .. } => {
                self.engine.foresee(path, apply).expect("a sound plan")
            }
            _ => panic!("a plan to apply"),
        }
    }

    /// What has followed since the last call.
    pub fn follows(&mut self) -> String {
        std::mem::take(&mut self.follows).join(", ")
    }

    pub fn happens(&mut self, what: &str) {
        let words: Vec<&str> = what.split_whitespace().collect();
        let generation = |who: &str| {
            let running = self.running.get(&full(who)).copied();
            running.unwrap_or_else(|| panic!("{who} does not run at {what}"))
        };
        let event = match words.as_slice() {
            ["boot"] => self.boot.take().expect("one boot"),
            ["found", found @ ..] => return self.adopt(found),
            ["apply", "of", plan] => self.apply(plan),
            ["at", ms] => return self.pass(Time(ms.parse().expect("milliseconds"))),
            [who, "started"] => Event::Started { generation: generation(who) },
            [who, "ready"] => Event::Ready { generation: generation(who) },
            [who, "declined"] => Event::Declined { generation: generation(who) },
            [who, "failed"] => Event::Failed { generation: generation(who), why: FailedStart::Error },
            [who, "sick"] => Event::Sick { generation: generation(who) },
            [who, "exit", n] => {
                Event::Ended { generation: generation(who), exit: Exit::Code(n.parse().expect("a code")) }
            }
            [who, "signal", n] => {
                Event::Ended { generation: generation(who), exit: Exit::Signal(n.parse().expect("a signal")) }
            }
            [who, ..] if who.ends_with(':') => self.request(what),
            _ => panic!("cannot play `{what}`"),
        };
        self.tell(event);
    }

    /// In place of `boot`: a new engine takes over. `a=ready`, `a=started`, `a=ended`; `a=ready:1`: running key 1.
    fn adopt(&mut self, found: &[&str]) {
        let Some(Event::Request { verb: Verb::AddTree(tree), .. }) = self.boot.take() else {
            panic!("one boot")
        };
        let read = |(i, word): (usize, &&str)| {
            let (who, fate) = word.split_once('=').expect("WHO=FATE");
            let (fate, key) = match fate.split_once(':') {
                Some((fate, key)) => (fate, Some(Key(key.parse().expect("a key")))),
                None => (fate, None),
            };
            let fate = match fate {
                "ready" => Fate::Ready,
                "started" => Fate::Started,
                _ => Fate::Ended(Exit::Code(1)),
            };
            Found { path: full(who), generation: Gen(100 + i as u64), key, fate }
        };
        let found: Vec<Found> = found.iter().enumerate().map(read).collect();
        self.running = found.iter().map(|found| (found.path.clone(), found.generation)).collect();
        let mut effects = Vec::new();
        let unwanted = self.engine.adopt(self.now, *tree, &self.saved, found, &mut effects);
        for lost in unwanted.expect("no such tree lives") {
            self.follows.push(format!("unwanted {}", lost.path));
        }
        self.follow(effects);
        self.go_on();
    }

    fn request(&mut self, what: &str) -> Event {
        let (who, verb) = what.split_once(':').expect("a colon");
        self.requests += 1;
        let line = format!("at 0 request {} {} {verb}", self.requests, full(who));
        let replay: Replay = line.parse().expect("a request");
        replay.events.into_iter().next().expect("one event").1
    }

    fn pass(&mut self, end: Time) {
        while let Some(at) = self.engine.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.tell(Event::Tick);
        }
        self.now = end;
    }

    pub fn tell(&mut self, event: Event) {
        self.events.push(event);
        self.go_on();
    }

    fn go_on(&mut self) {
        while !self.events.is_empty() {
            let event = self.events.remove(0);
            let mut effects = Vec::new();
            self.engine.handle(self.now, event, &mut effects);
            self.follow(effects);
        }
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(line) = self.carry_out(effect) {
                self.follows.push(line);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<String> {
        Some(match effect {
            Effect::Start { generation, path, key, .. } => {
                self.running.insert(self.engine.path(path), generation);
                if key == Key(0) {
                    self.events.push(Event::Started { generation });
                }
                format!("start {}", self.name(path))
            }
            Effect::Open { generation, path } => {
                self.supervisors.push(path);
                self.events.push(Event::Started { generation });
                format!("open {}", self.name(path))
            }
            Effect::Close { path, .. } => format!("close {}", self.name(path)),
            Effect::Ask { generation, within } => {
                let within = within.map_or("infinity".into(), |within| within.as_millis().to_string());
                format!("ask {} {within}", self.name_of(generation))
            }
            Effect::Kill { generation } => format!("kill {}", self.name_of(generation)),
            Effect::Reply { reply, .. } => match reply {
                Reply::Ok => "reply ok".into(),
                Reply::Ignored => "reply ignored".into(),
                Reply::Error(kind) => format!("reply {kind:?}"),
                other => format!("reply {other:?}"),
            },
            Effect::TreeEnded { how, .. } => match how {
                TreeEnd::Essential(exit) => format!("ended by essential {exit:?}"),
                how => format!("ended {how:?}"),
            },
            Effect::Fact(fact) => {
                let name = self.name(fact.path);
                match fact.what {
                    What::Restart { count, .. } => format!("restart {name} {count}"),
                    What::Backoff { until, .. } => format!("backoff {name} {}", until.0),
                    What::LimitExceeded { .. } => format!("limit {name}"),
                    What::Parked { until: None } => format!("parked {name}"),
                    What::Parked { until: Some(until) } => format!("parked {name} {}", until.0),
                    What::Adopted => format!("adopted {name}"),
                    What::Stuck => format!("stuck {name}"),
                    What::Ready if self.supervisors.contains(&fact.path) => format!("ready {name}"),
                    _ => return None,
                }
            }
        })
    }

    fn name(&self, path: PathId) -> String {
        let path = self.engine.path(path);
        path.strip_prefix("t/").unwrap_or(&path).to_owned()
    }

    fn name_of(&self, generation: Gen) -> String {
        let found = self.running.iter().find(|(_, g)| **g == generation);
        found.map_or("nobody".into(), |(path, _)| path.strip_prefix("t/").unwrap_or(path).to_owned())
    }
}

fn full(who: &str) -> String {
    if who == "t" { who.into() } else { format!("t/{who}") }
}
