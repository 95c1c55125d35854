//! Saving what runs, and taking over what is found running.
//!
//! After the death of a daemon its services go on. A new engine is given the plan and what was found, and boots as
//! always, with one difference: as soon as a supervisor is open, those of its children that were found alive are taken
//! over under their old generation; one that ended in the gap counts as up, and its end is looked at like any other.
//! So nothing is started twice, what is missing starts in order, and what is to follow from an end follows.
//!
//! | found | when its supervisor is open |
//! |---|---|
//! | alive, ready | up |
//! | alive, not ready | started; its readiness and its time for that begin anew |
//! | ended | up, then an end by itself |
//! | not found | started |
//! | not in the plan, stopped by a person, parked | handed back: the embedder kills it |

use crate::child::{ChildIx, St};
use crate::event::{Exit, Gen, Key, PathId};
use crate::fact::What;
use crate::node::NodeIx;
use crate::place::FOREST;
use crate::plan::Item;
use crate::restart::{self, Window};
use crate::spec;
use crate::timers::Alarm;
use crate::view::{Hold, State};
use crate::{Effect, Engine, Time};
use std::collections::HashMap;

/// Something of a former engine's, found by the embedder.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Full path.
    pub path: String,
    /// Its generation.
    pub generation: Gen,
    /// Of an instance of a pool, its own key.
    pub key: Option<Key>,
    /// What has become of it.
    pub fate: Fate,
}

/// What has become of something found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, and has been ready.
    Ready,
    /// It runs; whether it is ready has to be seen.
    Started,
    /// It ended while nobody was looking.
    Ended(Exit),
}

/// All that a later engine has to know, as plain values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// The greatest generation given out.
    pub last_generation: Gen,
    /// Every path that has something to remember.
    pub paths: Vec<SavedPath>,
    /// Every child of a running supervisor.
    pub children: Vec<SavedChild>,
    /// Every running supervisor with restarts in its window.
    pub supervisors: Vec<SavedSupervisor>,
}

/// What sticks to a path.
#[derive(Clone, Debug, PartialEq)]
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
}

/// One child.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedChild {
    /// Full path.
    pub path: String,
    /// A number that changes with its specification.
    pub spec_hash: u64,
    /// Its generation; 0: never started.
    pub generation: Gen,
    /// Its state.
    pub state: State,
    /// Whether its supervisor wants it up.
    pub wanted: bool,
    /// When its delay or deadline ends.
    pub until: Option<Time>,
    /// Restarts since it was last quiet.
    pub n: u32,
}

/// One supervisor.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSupervisor {
    /// Full path.
    pub path: String,
    /// Its window: second and number of restarts, oldest first.
    pub window: Vec<(u64, u32)>,
}

/// What waits for the turn of its child.
#[derive(Debug, Default)]
pub(crate) struct Foundlings {
    by_path: HashMap<PathId, (Gen, Option<Key>)>,
    fates: HashMap<Gen, Fate>,
    windows: HashMap<PathId, Window>,
    counts: HashMap<PathId, u32>,
    /// Killed, because their tree ended before it came to them.
    dying: HashMap<Gen, (Mourner, PathId)>,
}

/// Who has ended above something that was found and not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mourner {
    Supervisor(NodeIx),
    Tree(ChildIx),
}

impl Engine {
    /// Everything a later engine needs to go on from here.
    pub fn save(&self) -> Saved {
        let mut saved = Saved { last_generation: self.last_generation(), ..Saved::default() };
        for c in self.children(crate::node::FOREST_NODE) {
            self.save_below(c, &mut saved);
        }
        for (path, place) in self.places.iter().filter(|(id, _)| *id != FOREST) {
            let sticky = place.sticky.as_deref().cloned().unwrap_or_default();
            let past = place.child.map_or(place.past, |c| self.kids[c].past);
            if place.sticky.is_some() || past.started {
                saved.paths.push(SavedPath {
                    path: self.places.spell(path),
                    hold: sticky.hold,
                    stopped: sticky.stopped,
                    parked: sticky.parked,
                    started: past.started,
                    restarts: past.restarts,
                });
            }
        }
        saved
    }

    fn save_below(&self, c: ChildIx, saved: &mut Saved) {
        let child = &self.kids[c];
        let row = self.row_of(c);
        let path = self.places.spell(child.path);
        saved.children.push(SavedChild {
            path: path.clone(),
            spec_hash: spec_hash(&child.item),
            generation: child.generation,
            state: row.state,
            wanted: child.want == crate::child::Want::Up,
            until: row.next,
            n: child.beyond.as_ref().map_or(0, |b| b.n),
        });
        let Some(n) = child.sub else { return };
        let window: Vec<(u64, u32)> = self.nodes[n].window.runs().collect();
        if !window.is_empty() {
            saved.supervisors.push(SavedSupervisor { path, window });
        }
        for c in self.children(n) {
            self.save_below(c, saved);
        }
    }

    /// Adds a tree as `AddTree` does and takes over what was found of it. `saved` may be empty; its times must be of
    /// the same clock. Returns what is not wanted any more: it is the embedder's to kill, and the engine never hears
    /// of it again. Nothing is answered. `None`: a tree of that name lives.
    pub fn adopt(
        &mut self,
        now: Time,
        tree: spec::Tree,
        saved: &Saved,
        found: Vec<Found>,
        effects: &mut Vec<Effect>,
    ) -> Option<Vec<Found>> {
        self.begin_turn(now, effects);
        self.cause = self.new_incident();
        let name = tree.id.clone();
        let root = self.plant(tree);
        let unwanted = root.map(|root| {
            self.remember(&name, saved);
            let unwanted = found.into_iter().filter_map(|found| self.expect(&name, found)).collect();
            match self.places[self.kids[root].path].parked() {
                Some(until) => self.park(root, until),
                None => self.bring_up(root),
            }
            unwanted
        });
        self.end_turn(effects);
        unwanted
    }

    fn remember(&mut self, tree: &str, saved: &Saved) {
        self.reserve_generations(saved.last_generation);
        let mine = |path: &str| path.split('/').next() == Some(tree);
        for past in saved.paths.iter().filter(|p| mine(&p.path)) {
            let Some(id) = self.places.find(&past.path) else { continue };
            self.places[id].past.started = past.started;
            self.places[id].past.restarts = past.restarts;
            self.places.stick(id, |s| (s.hold, s.stopped, s.parked) = (past.hold, past.stopped, past.parked));
            if let Some(Hold { until: Some(until) }) = past.hold {
                self.timers.set(until, Alarm::Release(id));
            }
        }
        for past in saved.supervisors.iter().filter(|s| mine(&s.path)) {
            if let Some(id) = self.places.find(&past.path) {
                self.foundlings.windows.insert(id, Window::from_runs(past.window.iter().copied()));
            }
        }
        for past in saved.children.iter().filter(|c| mine(&c.path) && c.n > 0) {
            if let Some(id) = self.places.find(&past.path) {
                self.foundlings.counts.insert(id, past.n);
            }
        }
    }

    /// Keeps what was found for the turn of its child, or hands it back.
    fn expect(&mut self, tree: &str, found: Found) -> Option<Found> {
        self.reserve_generations(found.generation);
        let ended = matches!(found.fate, Fate::Ended(_));
        let place = self.places.find(&found.path).filter(|_| found.path.split('/').next() == Some(tree));
        let place = place.or_else(|| self.expect_instance(tree, &found.path));
        match place {
            Some(id) if self.is_worker_of_plan(id) && !self.places.is_kept_down(id) => {
                self.places[id].past.started = true;
                self.foundlings.by_path.insert(id, (found.generation, found.key));
                self.foundlings.fates.insert(found.generation, found.fate);
                None
            }
            _ => (!ended).then_some(found),
        }
    }

    /// The place of an instance of a planned pool.
    fn expect_instance(&mut self, tree: &str, path: &str) -> Option<PathId> {
        let (above, name) = path.rsplit_once('/')?;
        let (template, number) = name.split_once('#')?;
        let pool = self.places.find(above).filter(|_| path.split('/').next() == Some(tree))?;
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

    /// Instances found of a pool that has just been opened.
    pub(crate) fn found_instances(&mut self, n: NodeIx) -> Vec<ChildIx> {
        if self.foundlings.by_path.is_empty() {
            return Vec::new();
        }
        let path = self.nodes[n].path;
        let mut found: Vec<(Gen, Option<Key>, PathId)> = self
            .foundlings
            .by_path
            .iter()
            .filter(|(id, _)| self.places[**id].parent == path)
            .map(|(&id, &(generation, key))| (generation, key, id))
            .collect();
        found.sort();
        let template = self.nodes[n].sup.items[0].clone();
        let add = |(_, key, id): (Gen, Option<Key>, PathId)| {
            let c = self.add_child(n, template.clone(), id, St::Waiting);
            if let Some(key) = key {
                self.kids[c].key = key;
            }
            c
        };
        found.into_iter().map(add).collect()
    }

    /// The window a supervisor had.
    pub(crate) fn remembered_window(&mut self, path: PathId) -> Window {
        self.foundlings.windows.remove(&path).unwrap_or_default()
    }

    /// Somebody was found there or below: what is held and runs is left alone, so its supervisors must be there.
    pub(crate) fn is_expected(&self, path: PathId) -> bool {
        self.foundlings.by_path.keys().any(|&id| self.places.is_below(id, path))
    }

    /// A found child ended before its supervisor came to it.
    pub(crate) fn foundling_ended(&mut self, generation: Gen, exit: Exit) -> bool {
        match self.foundlings.fates.get_mut(&generation) {
            Some(fate @ (Fate::Ready | Fate::Started)) => {
                *fate = Fate::Ended(exit);
                true
            }
            Some(Fate::Ended(_)) => false,
            None => self.dying_ended(generation),
        }
    }

    /// Takes over whom of a supervisor's children was found, as soon as it is open.
    pub(crate) fn adopt_children(&mut self, n: NodeIx) {
        if self.foundlings.by_path.is_empty() {
            return;
        }
        for c in self.list_children(n) {
            if let Some((generation, _)) = self.foundlings.by_path.remove(&self.kids[c].path)
                && let Some(fate) = self.foundlings.fates.remove(&generation)
            {
                self.take_over(c, generation, fate);
            }
        }
    }

    fn take_over(&mut self, c: ChildIx, generation: Gen, fate: Fate) {
        let path = self.kids[c].path;
        self.generations.insert(generation, c);
        self.kids[c].generation = generation;
        self.kids[c].past.generation = generation;
        if let Some(n) = self.foundlings.counts.remove(&path) {
            self.kids[c].beyond().n = n;
        }
        self.set(c, St::Starting);
        self.fact(c, What::Adopted);
        match fate {
            Fate::Ready => self.became_ready(c),
            Fate::Started => {
                if let Some(within) = self.kids[c].worker().and_then(|w| w.ready.within) {
                    self.arm(c, self.now + within, Alarm::TooLate(c));
                }
                self.started(c);
            }
            Fate::Ended(exit) => {
                self.became_ready(c);
                self.child_ended(c, exit, None);
            }
        }
    }

    /// `mourner` has ended: what was found below it and nobody came to take over is killed, and it waits for that.
    pub(crate) fn mourns(&mut self, path: PathId, mourner: Mourner) -> bool {
        if self.foundlings.by_path.is_empty() && self.foundlings.dying.is_empty() {
            return false;
        }
        let mut lost: Vec<(Gen, PathId)> =
            self.foundlings.by_path.iter().map(|(&id, &(g, _))| (g, id)).collect();
        lost.retain(|&(_, id)| self.places.is_below(id, path));
        lost.sort();
        for (generation, id) in lost {
            self.foundlings.by_path.remove(&id);
            if !matches!(self.foundlings.fates.remove(&generation), Some(Fate::Ended(_))) {
                self.foundlings.dying.insert(generation, (mourner, id));
                self.fx.push(Effect::Kill { generation });
            }
        }
        self.foundlings.dying.values().any(|&(m, _)| m == mourner)
    }

    /// A tree that has ended is not started again before that is over.
    pub(crate) fn is_mourning(&self, root: ChildIx) -> bool {
        self.foundlings.dying.values().any(|&(m, _)| m == Mourner::Tree(root))
    }

    /// A person gives up waiting for one that was found and killed.
    pub(crate) fn abandon_foundling(&mut self, path: PathId) -> bool {
        let dying =
            self.foundlings.dying.iter().find(|(_, (_, id))| *id == path).map(|(&generation, _)| generation);
        dying.is_some_and(|generation| self.dying_ended(generation))
    }

    fn dying_ended(&mut self, generation: Gen) -> bool {
        match self.foundlings.dying.remove(&generation).map(|(mourner, _)| mourner) {
            Some(Mourner::Supervisor(n)) => self.wake(n),
            Some(Mourner::Tree(root)) if self.is_mourning(root) => {}
            Some(Mourner::Tree(root)) if self.kids[root].st == St::Waiting => self.set(root, St::Waiting),
            Some(Mourner::Tree(root)) => self.tree_ended(root),
            None => return false,
        }
        true
    }
}

fn spec_hash(item: &Item) -> u64 {
    restart::salt(0, &format!("{item:?}"))
}
