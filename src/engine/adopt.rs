//! What a later engine has to know, and taking over what is found running.
//!
//! After the death of a daemon its services go on. What the engine knew is saved path by path: [`Engine::saved`] gives
//! one path, after each call of `handle` those that [`Engine::take_changed`] names have to be saved again, and
//! [`Engine::save`] gives all of them. A new engine is given the plan, what was saved and what was found, and goes on
//! from there ([`crate::restore`]): nothing is started twice, what is missing starts in order, what was being stopped is
//! asked again, what waited waits for the rest of its time, and what is to follow from an end follows.
//!
//! | saved as | found alive | ended, or not found |
//! |---|---|---|
//! | up | up | an end by itself |
//! | starting, not ready | started; its readiness and its time for that begin anew | a failed start; never started: started |
//! | stopping | asked again, until the same deadline | as asked |
//! | a delay, parked, done, down, waiting | – | the same, for the rest of the time |
//! | not saved | by what was found: ready, or started | started |
//! | not in the plan, or to be down | handed back: the embedder kills it | forgotten |

use crate::child::{ChildIx, Want};
use crate::effect::TreeEnd;
use crate::event::{Exit, Gen, Key, PathId, Reason};
use crate::fact::Incident;
use crate::node::Phase;
use crate::place::FOREST;
use crate::restore::Memory;
use crate::spec;
use crate::timers::Alarm;
use crate::view::Hold;
use crate::{Effect, Engine, Time};
use std::time::Duration;

pub use crate::child::{St as SavedState, Stop};

/// Something of a former engine's, found by the embedder.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Full path.
    pub path: String,
    /// Its generation.
    pub generation: Gen,
    /// What it runs, if that is not what is planned: it restarts then. Of an instance that was not saved, its own key.
    pub key: Option<Key>,
    /// What has become of it.
    pub fate: Fate,
}

/// What has become of something found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, and has been ready, as far as the embedder knows; what was saved knows better.
    Ready,
    /// It runs; whether it is ready has to be seen.
    Started,
    /// It is being started: how that went will be told.
    Starting,
    /// It ended while nobody was looking.
    Ended(Exit),
}

/// All that a later engine has to know, as plain values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// The greatest generation given out.
    pub last_generation: Gen,
    /// The greatest number of an incident given out.
    pub last_incident: Incident,
    /// Every path that has something to remember.
    pub paths: Vec<SavedPath>,
}

/// What is to be remembered of one path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedPath {
    /// Full path.
    pub path: String,
    /// Held by a person.
    pub hold: Option<Hold>,
    /// Stopped by a person.
    pub stopped: bool,
    /// Parked, and until when.
    pub parked: Option<Option<Time>>,
    /// Was started in this run of the tree.
    pub started: bool,
    /// Restarts since the tree was started.
    pub restarts: u32,
    /// The last generation; 0: never started.
    pub generation: Gen,
    /// In its state since.
    pub since: Time,
    /// How it ended last.
    pub exit: Option<Exit>,
    /// As it was judged.
    pub reason: Option<Reason>,
    /// Of a pool: instances ever asked for.
    pub instances: u32,
    /// Restarts counted: a supervisor's, or of a child with an account of its own.
    pub window: SavedWindow,
    /// Who is there.
    pub child: Option<SavedChild>,
}

/// A window of restarts, or its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedWindow {
    /// How many seconds are in the window.
    pub len: usize,
    /// The last of them at least, oldest first: second and number of restarts.
    pub runs: Vec<(u64, u32)>,
}

/// The child at a path whose supervisor runs.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedChild {
    /// Its state.
    pub state: SavedState,
    /// Whether its supervisor wants it up.
    pub wanted: bool,
    /// The chain it belongs to.
    pub incident: Incident,
    /// Ready: since when. Down: when it ended or failed.
    pub at: Time,
    /// Was ready once in this incarnation of its supervisor.
    pub was_ready: bool,
    /// When its delay or deadline ends.
    pub until: Option<Time>,
    /// Restarts since it was last quiet.
    pub n: u32,
    /// Once down, its restart waits so long.
    pub delay: Duration,
    /// A health check of what runs has failed, and that has been decided.
    pub sick: bool,
    /// Of an instance, what it runs.
    pub key: Option<Key>,
    /// It still has to stop.
    pub stops: bool,
    /// It still has to start.
    pub starts: bool,
    /// Of a supervisor that is open.
    pub supervisor: Option<SavedSupervisor>,
    /// Of a tree: why it is ending.
    pub end: Option<TreeEnd>,
}

/// A supervisor that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSupervisor {
    /// Its initial start is not over.
    pub boots: bool,
    /// All of its children have been ready once.
    pub ready: bool,
    /// It ends, with this reason.
    pub ending: Option<Reason>,
    /// It gave up.
    pub gave_up: bool,
}

impl SavedWindow {
    /// Takes in what was saved later.
    pub fn go_on(&mut self, later: SavedWindow) {
        for (second, count) in later.runs {
            match self.runs.iter_mut().find(|(at, _)| *at == second) {
                Some(run) => run.1 = count,
                None => self.runs.push((second, count)),
            }
        }
        self.len = later.len;
        self.runs.drain(..self.runs.len().saturating_sub(later.len));
    }
}

impl Engine {
    /// Everything a later engine needs to go on from here.
    pub fn save(&self) -> Saved {
        let ids = self.places.iter().map(|(id, _)| id);
        let whole = |id| {
            let mut saved = self.saved(id)?;
            saved.window.runs = self.window_runs(id, usize::MAX);
            Some(saved)
        };
        Saved {
            last_generation: self.last_generation(),
            last_incident: self.last_incident(),
            paths: ids.filter_map(whole).collect(),
        }
    }

    /// What is to be remembered of one path, with the end of its window only; `None`: nothing, or not any more.
    pub fn saved(&self, id: PathId) -> Option<SavedPath> {
        if id == FOREST || !self.places.contains(id) {
            return None;
        }
        let place = &self.places[id];
        let sticky = place.sticky.as_deref().cloned().unwrap_or_default();
        let past = place.child.map_or(place.past, |c| self.kids[c].past);
        let is_nothing = place.child.is_none()
            && place.sticky.is_none()
            && (place.dynamic || (past.generation == Gen(0) && place.instances == 0));
        if is_nothing {
            return None;
        }
        let len = self.window_of(id).map_or(0, |window| window.runs().count());
        Some(SavedPath {
            path: self.places.spell(id),
            hold: sticky.hold,
            stopped: sticky.stopped,
            parked: sticky.parked,
            started: past.started,
            restarts: past.restarts,
            generation: past.generation,
            since: past.since,
            exit: past.exit,
            reason: past.reason,
            instances: place.instances,
            window: SavedWindow { len, runs: self.window_runs(id, 1) },
            child: place.child.map(|c| self.saved_child(c)),
        })
    }

    fn saved_child(&self, c: ChildIx) -> SavedChild {
        let child = &self.kids[c];
        let node = &self.nodes[child.node];
        let seq = |x: ChildIx| self.kids[x].seq;
        let listed = |slots: Option<&crate::listed::Slots>| slots.is_some_and(|slots| slots.contains(c, seq));
        let beyond = child.beyond.as_deref();
        SavedChild {
            state: child.st,
            wanted: child.want == Want::Up,
            incident: child.incident,
            at: child.at,
            was_ready: child.was_ready,
            until: beyond.filter(|_| self.is_armed(c)).map(|b| b.deadline),
            n: beyond.map_or(0, |b| b.n),
            delay: beyond.map_or(Duration::ZERO, |b| b.delay),
            sick: child.is_sick(),
            key: node.sup.is_pool().then_some(child.wanted_key),
            stops: child.mark || listed(node.op.as_ref().map(|op| &op.stop)),
            starts: listed(node.op.as_ref().map(|op| &op.start)) || self.starts_after_swap(c),
            supervisor: child.sub.and_then(|n| {
                let node = &self.nodes[n];
                let ending = match node.phase {
                    Phase::Opening | Phase::Gone => return None,
                    Phase::Boot | Phase::Run => None,
                    Phase::Ending(reason) => Some(reason),
                };
                let (boots, gave_up) = (node.phase == Phase::Boot, node.gave_up.is_some());
                Some(SavedSupervisor { boots, ready: node.ready, ending, gave_up })
            }),
            end: self.trees.iter().find(|tree| tree.root == c).and_then(|tree| tree.end),
        }
    }

    fn window_of(&self, id: PathId) -> Option<&crate::restart::Window> {
        let c = self.places[id].child?;
        match self.kids[c].sub {
            Some(n) => Some(&self.nodes[n].window),
            None => self.kids[c].beyond.as_ref().map(|b| &b.window),
        }
    }

    fn window_runs(&self, id: PathId, most: usize) -> Vec<(u64, u32)> {
        let Some(window) = self.window_of(id) else { return Vec::new() };
        let runs: Vec<(u64, u32)> = window.runs().rev().take(most).collect();
        runs.into_iter().rev().collect()
    }

    /// Adds a tree as `AddTree` does and goes on with what was saved and found of it. `saved` may be empty; its times
    /// must be of the same clock. Supervisors that were open are opened again under their old generation; the answer
    /// to that does not matter. Returns what is not wanted any more: it is the embedder's to kill, and the engine never
    /// hears of it again. Nothing is answered. `None`: a tree of that name lives.
    pub fn adopt(
        &mut self,
        now: Time,
        tree: spec::Tree,
        saved: &Saved,
        found: Vec<Found>,
        effects: &mut Vec<Effect>,
    ) -> Option<Vec<Found>> {
        self.begin_turn(now, effects);
        self.reserve_generations(saved.last_generation);
        self.reserve_incidents(saved.last_incident);
        self.cause = self.new_incident();
        let name = tree.id.clone();
        let left = self.plant(tree).map(|root| {
            let mut memory = Memory::default();
            self.remember(&name, saved, &mut memory);
            self.kids[root].past = self.places[self.kids[root].path].past;
            let mut left: Vec<Found> =
                found.into_iter().filter_map(|found| self.expect(&name, found, &mut memory)).collect();
            self.restore_tree(root, &mut memory);
            left.extend(memory.left().filter(|found| !matches!(found.fate, Fate::Ended(_))));
            left
        });
        self.end_turn(effects);
        left
    }

    fn remember(&mut self, tree: &str, saved: &Saved, memory: &mut Memory) {
        let mine = |path: &str| path.split('/').next() == Some(tree);
        for past in saved.paths.iter().filter(|p| mine(&p.path)) {
            let place = self.places.find(&past.path).or_else(|| self.place_of_instance(&past.path));
            let Some(id) = place else { continue };
            let place = &mut self.places[id];
            place.instances = place.instances.max(past.instances);
            place.past.started = past.started;
            place.past.restarts = past.restarts;
            place.past.generation = past.generation;
            place.past.since = past.since;
            place.past.exit = past.exit;
            place.past.reason = past.reason;
            self.places.stick(id, |s| (s.hold, s.stopped, s.parked) = (past.hold, past.stopped, past.parked));
            if let Some(Hold { until: Some(until) }) = past.hold {
                self.timers.set(until, Alarm::Release(id));
            }
            memory.past.insert(id, past.clone());
        }
    }

    /// Keeps what was found for its child, or hands it back.
    fn expect(&mut self, tree: &str, found: Found, memory: &mut Memory) -> Option<Found> {
        self.reserve_generations(found.generation);
        let mine = found.path.split('/').next() == Some(tree);
        let place = self.places.find(&found.path).or_else(|| self.place_of_instance(&found.path));
        let place = place.filter(|&id| mine && self.is_worker_of_plan(id));
        match place {
            Some(id) if memory.knows(id, found.generation) || !self.places.is_kept_down(id) => {
                memory.found.insert(id, found);
                None
            }
            _ => (!matches!(found.fate, Fate::Ended(_))).then_some(found),
        }
    }

    /// The place of an instance of a planned pool.
    fn place_of_instance(&mut self, path: &str) -> Option<PathId> {
        let (above, name) = path.rsplit_once('/')?;
        let (template, number) = name.split_once('#')?;
        let pool = self.places.find(above)?;
        let item = self.planned_at(pool)?;
        let number: u32 = number.parse().ok()?;
        if !item.supervisor().is_some_and(|sup| sup.is_pool() && *sup.items[0].id == *template) {
            return None;
        }
        let instances = &mut self.places[pool].instances;
        *instances = (*instances).max(number);
        Some(self.places.intern(pool, &name.into(), true))
    }

    fn is_worker_of_plan(&self, id: PathId) -> bool {
        match self.planned_at(id) {
            Some(item) => item.worker().is_some(),
            None => self.places[id].name.contains('#'),
        }
    }
}
