//! Going on from what was kept and what is found running: when a daemon begins, and after a panic in a turn.
//!
//! A turn that panics leaves an engine nobody can trust. The event it was looking at is recorded as poison and not looked
//! at again; a new engine goes on from what the journal says, which is the state before that event, and from the seats,
//! which keep their processes and are not told anything. What was queued is still heard. Requests that waited for the
//! old engine are answered that the kernel is gone. Three panics within [`SOON`] are too many: the actor fails, the
//! daemon ends, and its keeper starts the next one.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ractor::ActorProcessingErr;
use tokio::sync::oneshot;
use woodward_engine::adopt::{self, Fate, SavedState};
use woodward_engine::{Engine, Gen, Incident, Key, Verb, spec};

use super::{Hearing, Kernel};
use crate::os::{self, ProcessEvent, Role, Scope, clock};
use crate::record::fact::FactLine;
use crate::runtime::groups::root;
use crate::runtime::health::Ward;
use crate::runtime::journal::Remembered;
use crate::runtime::task::text_of;
use crate::runtime::worker::Seat;
use crate::tree::{self, KillMode};

/// So many panics ...
const PANICS: usize = 3;
/// ... within this time end the daemon.
const SOON: Duration = Duration::from_secs(10);

impl Kernel {
    /// The first turn is prepared: all trees run, as far as they do not run already.
    pub(super) fn begin(&mut self, remembered: Remembered) {
        self.engine.reserve_generations(self.block.bound());
        let mut saved = self.recall(remembered);
        let found = self.take_over(&mut saved);
        self.plant_all(&saved, found);
        self.tell_of_found();
        self.keep_everything();
    }

    /// What was written down, for the engine; the rest is put where it belongs.
    fn recall(&mut self, remembered: Remembered) -> adopt::Saved {
        let Remembered { generation, incident, paths, said, ends } = remembered;
        said.into_values().for_each(|said| self.sayings.recall(said));
        self.trees.ends = ends.into_iter().map(|(tree, how)| (tree, how.into())).collect();
        let mut saved = adopt::Saved {
            last_generation: Gen(generation),
            last_incident: Incident(incident),
            paths: Vec::new(),
        };
        for (path, kept) in paths {
            let mut key = None;
            if kept.is_instance() {
                match self.make_again(&path, &kept.arguments) {
                    Ok(made) => key = made,
                    Err(why) => {
                        let text = format!("cannot make this instance again: {why}");
                        self.record.fact(FactLine::note(clock::wall(), 0, &path, 0, "not_kept", text));
                        continue;
                    }
                }
            }
            saved.paths.push(kept.restore(key));
        }
        saved
    }

    /// An instance of a pool, from its arguments.
    fn make_again(&mut self, path: &str, arguments: &[(String, String)]) -> Result<Option<Key>, String> {
        let pool = path.rsplit_once('/').map_or("", |(pool, _)| pool);
        let (template, plan) = self.table.template(pool).ok_or("it has no template any more")?;
        let plan = tree::instantiate(plan, arguments)?;
        Ok(self.table.add_instance(template, plan, arguments.to_vec()))
    }

    /// Hands all trees to the engine; what has no place in them any more is stopped.
    fn plant_all(&mut self, saved: &adopt::Saved, mut found: Vec<adopt::Found>) {
        for tree in self.table.trees() {
            if self.is_away(&tree.id) {
                continue;
            }
            let (of_it, rest) = found.into_iter().partition(|f| f.path.split('/').next() == Some(&*tree.id));
            found = rest;
            self.plant(tree, saved, of_it);
        }
        for found in found {
            self.live.remove(&found.generation);
            self.evict(&found.path, found.generation);
        }
    }

    fn plant(&mut self, tree: spec::Tree, saved: &adopt::Saved, found: Vec<adopt::Found>) {
        if found.is_empty() && !saved.paths.iter().any(|path| *path.path == *tree.id) {
            return self.ask(&tree.id.clone(), Verb::AddTree(Box::new(tree)));
        }
        let left = self.engine.adopt(clock::now(), tree, saved, found, &mut self.decided);
        self.follow();
        for found in left.into_iter().flatten() {
            self.live.remove(&found.generation);
            self.evict(&found.path, found.generation);
        }
    }

    /// What an earlier daemon started and the keeper kept. Each process gets a worker again, which also tells when it
    /// has ended meanwhile; hooks that were running are killed.
    fn take_over(&mut self, saved: &mut adopt::Saved) -> Vec<adopt::Found> {
        let found = self.house.os.found();
        let last = found.iter().map(|found| found.generation).max().unwrap_or(0);
        self.engine.reserve_generations(Gen(last));
        let memory: HashMap<&str, &adopt::SavedPath> =
            saved.paths.iter().map(|path| (path.path.as_str(), path)).collect();
        let mut mains = Vec::new();
        for os::Found { path, generation, role, pid, ended } in found {
            if role != Role::Main {
                self.house.os.signal(&path, generation, role, libc::SIGKILL, Scope::Main);
                continue;
            }
            let saved = memory.get(&*path);
            if ended.is_some() && saved.is_some_and(|saved| knows_the_end(saved, generation)) {
                // It was written down, and the keeper not told any more.
                self.house.os.dismiss(&path, generation);
                continue;
            }
            let saved = saved.filter(|saved| saved.generation.0 == generation);
            let child = saved.and_then(|saved| saved.child.as_ref());
            let key = child.and_then(|child| child.key);
            let pid = (pid > 0 && ended.is_none()).then_some(pid);
            let state = child.map(|child| child.state);
            mains.push(self.take_over_one((path.to_string(), Gen(generation), pid), key, state));
        }
        // A lazy service without a process has nothing that could be found.
        let running: HashSet<String> = mains.iter().map(|found| found.path.clone()).collect();
        for (path, saved) in memory {
            let is_up =
                saved.child.as_ref().is_some_and(|child| child.state == (SavedState::Up { ready: true }));
            if !is_up || running.contains(path) {
                continue;
            }
            let Some(key) = self.table.find(path) else { continue };
            if self.table.worker(key).is_none_or(|worker| !worker.plan.lazy) {
                continue;
            }
            if let Some(child) = self.make_child(path, key) {
                let seat = Seat::resting(self.house.clone(), child, saved.generation);
                self.give_worker(seat, key, Incident::default());
                let (path, generation) = (path.to_owned(), saved.generation);
                mains.push(adopt::Found { path, generation, key: None, fate: Fate::Ready });
            }
        }
        mains
    }

    fn take_over_one(
        &mut self,
        (path, generation, pid): (String, Gen, Option<i32>),
        key: Option<Key>,
        state: Option<SavedState>,
    ) -> adopt::Found {
        let planned = key.or_else(|| self.table.find(&path));
        let plan = planned.and_then(|key| self.table.worker(key)).map(|entry| &*entry.plan);
        // What runs something else than is planned now is what the engine restarts.
        let former = self.applied.load().former(&path, generation.0, plan);
        let former = former.map(|plan| self.table.former(plan));
        let mut fate = Fate::Ready;
        if let Some(key) = former.or(planned)
            && let Some(child) = self.make_child(&path, key)
        {
            let is_ready = match state {
                Some(SavedState::Starting | SavedState::Up { ready: false }) => false,
                Some(SavedState::Up { ready: true } | SavedState::Stopping { .. }) => true,
                _ => !child.can_be_asked_again(),
            };
            if !is_ready {
                fate = Fate::Started;
            }
            let seat = Seat::adopted(self.house.clone(), child, generation, pid, is_ready);
            self.give_worker(seat, key, Incident::default());
        }
        adopt::Found { path, generation, key: former, fate }
    }

    /// Stops a process that stands in no plan.
    fn evict(&self, path: &str, generation: Gen) {
        let (path, generation, os) = (path.to_owned(), generation.0, self.house.os.clone());
        let (tell, mut gone) = oneshot::channel();
        let mut tell = Some(tell);
        let sink = move |event| {
            if let (ProcessEvent::Emptied, Some(tell)) = (event, tell.take()) {
                // The task below waits for it as long as there is a runtime.
                let _ = tell.send(());
            }
        };
        os.adopt(&path, generation, KillMode::Mixed, Box::new(sink));
        os.signal(&path, generation, Role::Main, libc::SIGTERM, Scope::All);
        let text = match self.is_away(root(&path)) {
            true => "stopped: its right to run here is over".to_owned(),
            false => "stopped: it is in no tree any more".to_owned(),
        };
        self.record.fact(FactLine::note(clock::wall(), 0, &path, generation, "evicted", text));
        let within = self.evict_within;
        tokio::spawn(async move {
            if tokio::time::timeout(within, &mut gone).await.is_err() {
                os.kill(&path, generation);
                // Whatever comes of it, there is nothing else to be done.
                let _ = gone.await;
            }
            os.forget(&path);
        });
    }

    /// A turn has panicked. An error ends the actor.
    pub(super) fn survive(&mut self, mut panic: Box<dyn Any + Send>) -> Result<(), ActorProcessingErr> {
        loop {
            let why = text_of(&*panic);
            let now = clock::now();
            self.panics.push_back(now);
            self.panics.retain(|&at| now.since(at) < SOON);
            if self.panics.len() >= PANICS {
                self.note_poison(&why, "again and again: the daemon ends, the next one goes on");
                self.record.keep();
                self.inbox.close();
                return Err(why.into());
            }
            self.note_poison(&why, "the kernel goes on without it");
            match catch_unwind(AssertUnwindSafe(|| self.rebuild())) {
                Ok(()) => return Ok(()),
                Err(again) => panic = again,
            }
        }
    }

    fn note_poison(&self, why: &str, then: &str) {
        let (path, generation, what) = match &self.hearing {
            Hearing::Deadlines => (String::new(), Gen(0), "a deadline"),
            Hearing::Request(path) => (path.to_string(), Gen(0), "a request"),
            Hearing::Said(generation) => {
                let live = self.live.get(generation);
                let path = live.map_or_else(String::new, |live| live.seat.child.path.to_string());
                (path, *generation, "what its worker said")
            }
            Hearing::Other(what) => (String::new(), Gen(0), *what),
        };
        let text = format!("the kernel failed at {what}: {why}; {then}");
        self.record.fact(FactLine::note(clock::wall(), 0, &path, generation.0, "kernel_failed", text));
    }

    /// A new engine, from what was kept before the event that it panicked at.
    fn rebuild(&mut self) {
        self.keep_sound();
        let remembered = self.journal.read_back();
        self.engine = Engine::new();
        self.effects.clear();
        self.decided.clear();
        self.changed.clear();
        self.starting = None;
        self.publisher.renew();
        self.ward = Ward::default();
        self.live.values_mut().for_each(|live| live.watched = None);
        (self.trees.running, self.trees.not_ready) = (Vec::new(), Vec::new());
        // Whoever waits learns that the answer is lost.
        self.requests.waiting.clear();
        self.requests.asking = None;
        for generation in std::mem::take(&mut self.gone) {
            self.live.remove(&generation);
        }
        let ends = std::mem::take(&mut self.trees.ends);
        let saved = self.recall(remembered);
        if !self.journal.is_on() {
            self.trees.ends = ends;
        }
        let last = self.live.keys().max().copied().unwrap_or_default();
        self.engine.reserve_generations(self.block.bound().max(last));
        self.engine.reserve_incidents(Incident(self.record.last_incident()));
        let found = |(&generation, live): (&Gen, &super::Live)| {
            let (path, fate) = (live.seat.child.path.to_string(), live.seat.fate());
            // Instances have new keys now.
            let key = (!path.contains('#')).then_some(live.key);
            adopt::Found { path, generation, key, fate }
        };
        let found = self.live.iter().map(found).collect();
        self.plant_all(&saved, found);
        self.keep_everything();
        let me = self.house.actor.clone();
        self.inbox.open(me);
        self.inbox.call();
    }
}

/// Whether the end of this generation was looked at when that was saved.
fn knows_the_end(saved: &adopt::SavedPath, generation: u64) -> bool {
    let state = saved.child.as_ref().map(|child| child.state);
    let runs =
        matches!(state, Some(SavedState::Starting | SavedState::Up { .. } | SavedState::Stopping { .. }));
    saved.generation.0 > generation || (saved.generation.0 == generation && !runs)
}

/// For tests of the whole program; a release has nothing of it.
pub(super) fn fail_on_purpose(path: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("WOODWARD_DEBUG_PANIC").is_ok_and(|at| at == path) {
        panic!("a fault on purpose");
    }
    #[cfg(not(debug_assertions))]
    let _ = path;
}
