//! Places: one record per path of the forest, which outlives the incarnations of what runs there.
//!
//! What a person decided (`hold`, `stop`), what is parked, how often something was restarted, whether it was ever
//! started: all of that belongs to the path and not to the child record of one incarnation. Places of planned children
//! stay for ever; places of children added at run time go with them, at the next call of `handle`.

use crate::child::ChildIx;
use crate::event::{Exit, Gen, PathId, Reason};
use crate::time::Time;
use crate::view::Hold;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// The forest itself: the parent of every tree.
pub(crate) const FOREST: PathId = PathId(0);

#[derive(Debug)]
pub(crate) struct Place {
    pub parent: PathId,
    pub name: Arc<str>,
    /// Places below.
    pub below: Option<Box<Names>>,
    /// The current incarnation.
    pub child: Option<ChildIx>,
    /// Goes when its child goes.
    pub dynamic: bool,
    pub dirty: bool,
    /// Of a pool: instances ever asked for.
    pub instances: u32,
    /// What is remembered of it while nobody is there; the child there has it otherwise.
    pub past: Past,
    pub sticky: Option<Box<Sticky>>,
}

/// Boxed where it is used: most places are leaves.
type Names = HashMap<Arc<str>, PathId>;

/// What outlives an incarnation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Past {
    /// The last one.
    pub generation: Gen,
    /// In its state since.
    pub since: Time,
    pub exit: Option<Exit>,
    pub reason: Option<Reason>,
    pub restarts: u32,
    /// Was started in this run of the tree.
    pub started: bool,
}

/// What sticks to a path, whatever happens above it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sticky {
    /// `hold`.
    pub hold: Option<Hold>,
    /// `stop`: down until `start`.
    pub stopped: bool,
    /// Parked, until a person or that time.
    pub parked: Option<Option<Time>>,
}

#[derive(Debug)]
pub(crate) struct Places {
    places: Vec<Place>,
    free: Vec<PathId>,
    /// Vanished in this call of `handle`.
    vanished: Vec<PathId>,
    dirty: Vec<PathId>,
    /// How many paths are held or stopped by a person: zero spares the walk up.
    pub holds: u32,
}

impl Default for Places {
    fn default() -> Self {
        let forest = Place::new(FOREST, "".into(), false);
        Places { places: vec![forest], free: Vec::new(), vanished: Vec::new(), dirty: Vec::new(), holds: 0 }
    }
}

impl Place {
    fn new(parent: PathId, name: Arc<str>, dynamic: bool) -> Place {
        Place {
            parent,
            name,
            below: None,
            child: None,
            dynamic,
            dirty: false,
            instances: 0,
            past: Past::default(),
            sticky: None,
        }
    }

    pub fn is_held_itself(&self) -> bool {
        self.sticky.as_ref().is_some_and(|s| s.stopped || s.hold.is_some())
    }

    pub fn is_stopped(&self) -> bool {
        self.sticky.as_ref().is_some_and(|s| s.stopped)
    }

    pub fn parked(&self) -> Option<Option<Time>> {
        self.sticky.as_ref().and_then(|s| s.parked)
    }
}

impl Places {
    /// The place of `name` below `parent`, made if need be.
    pub fn intern(&mut self, parent: PathId, name: &Arc<str>, dynamic: bool) -> PathId {
        if let Some(id) = self.below(parent, name) {
            self.vanished.retain(|&v| v != id);
            return id;
        }
        let place = Place::new(parent, name.clone(), dynamic);
        let id = match self.free.pop() {
            Some(id) => {
                self[id] = place;
                id
            }
            None => {
                self.places.push(place);
                PathId(u32::try_from(self.places.len() - 1).expect("fewer than 2^32 paths"))
            }
        };
        self[parent].below.get_or_insert_default().insert(name.clone(), id);
        id
    }

    pub fn below(&self, parent: PathId, name: &str) -> Option<PathId> {
        self[parent].below.as_ref()?.get(name).copied()
    }

    /// The place of a full path.
    pub fn find(&self, path: &str) -> Option<PathId> {
        path.split('/').try_fold(FOREST, |at, name| self.below(at, name))
    }

    /// The full path.
    pub fn spell(&self, id: PathId) -> String {
        let mut names = Vec::new();
        let mut at = id;
        while at != FOREST && names.len() < 1000 {
            let Some(place) = self.places.get(at.0 as usize) else { break };
            names.push(&*place.name);
            at = place.parent;
        }
        names.reverse();
        names.join("/")
    }

    pub fn contains(&self, id: PathId) -> bool {
        self.places.get(id.0 as usize).is_some_and(|place| !place.name.is_empty())
    }

    /// Restarts are suspended here, by a person's word about this path or one above.
    pub fn is_held(&self, id: PathId) -> bool {
        if self.holds == 0 {
            return false;
        }
        let mut at = id;
        loop {
            if self[at].is_held_itself() {
                return true;
            }
            if at == FOREST {
                return false;
            }
            at = self[at].parent;
        }
    }

    /// Stopped by a person or parked, there or above.
    pub fn is_kept_down(&self, id: PathId) -> bool {
        let mut at = id;
        while at != FOREST && !self[at].is_stopped() && self[at].parked().is_none() {
            at = self[at].parent;
        }
        at != FOREST
    }

    /// The only way to change what sticks; keeps the count of held paths.
    pub fn stick(&mut self, id: PathId, change: impl FnOnce(&mut Sticky)) {
        let before = self[id].is_held_itself();
        let mut sticky = self[id].sticky.take().unwrap_or_default();
        change(&mut sticky);
        self[id].sticky = (*sticky != Sticky::default()).then_some(sticky);
        let after = self[id].is_held_itself();
        self.holds = self.holds + u32::from(after) - u32::from(before);
        self.touch(id);
    }

    /// Its row may have changed.
    pub fn touch(&mut self, id: PathId) {
        if !self[id].dirty {
            self[id].dirty = true;
            self.dirty.push(id);
        }
    }

    /// One row that may have changed, and who is there.
    pub fn pop_dirty(&mut self) -> Option<(PathId, Option<ChildIx>)> {
        let id = self.dirty.pop()?;
        self[id].dirty = false;
        Some((id, self[id].child))
    }

    /// The child is gone and leaves its past; the place follows unless it was planned or something sticks to it.
    pub fn vacate(&mut self, id: PathId, child: ChildIx, past: Past) {
        if self[id].child != Some(child) {
            return;
        }
        self[id].child = None;
        self[id].past = past;
        self.touch(id);
        if self[id].dynamic && self[id].sticky.is_none() {
            self.vanished.push(id);
        }
    }

    /// Goes at the next call, unless somebody comes.
    pub fn vanish(&mut self, id: PathId) {
        self.touch(id);
        self.vanished.push(id);
    }

    /// The places directly below.
    pub fn all_below(&self, id: PathId) -> Vec<PathId> {
        let mut below: Vec<PathId> =
            self[id].below.iter().flat_map(|names| names.values().copied()).collect();
        below.sort();
        below
    }

    /// `id` is `above` or somewhere below it.
    pub fn is_below(&self, id: PathId, above: PathId) -> bool {
        let mut at = id;
        while at != above && at != FOREST {
            at = self[at].parent;
        }
        at == above
    }

    /// All places, also free ones, which are empty.
    pub fn iter(&self) -> impl Iterator<Item = (PathId, &Place)> {
        self.places.iter().enumerate().map(|(i, place)| (PathId(i as u32), place))
    }

    /// Frees what vanished in the last call.
    pub fn bury(&mut self) {
        for id in std::mem::take(&mut self.vanished) {
            if self[id].child.is_none() && self.contains(id) {
                if self.is_occupied_below(id) { self.vanished.push(id) } else { self.free_all(id) }
            }
        }
    }

    fn is_occupied_below(&self, id: PathId) -> bool {
        let below = self[id].below.iter().flat_map(|below| below.values());
        below.copied().any(|id| self[id].child.is_some() || self.is_occupied_below(id))
    }

    fn free_all(&mut self, id: PathId) {
        let below = self[id].below.take();
        for (_, id) in below.into_iter().flat_map(|below| *below) {
            self.free_all(id);
        }
        let parent = self[id].parent;
        let name = self[id].name.clone();
        if let Some(below) = &mut self[parent].below {
            below.remove(&name);
        }
        self[id] = Place::new(FOREST, "".into(), false);
        self.free.push(id);
    }
}

impl Index<PathId> for Places {
    type Output = Place;
    fn index(&self, id: PathId) -> &Place {
        &self.places[id.0 as usize]
    }
}

impl IndexMut<PathId> for Places {
    fn index_mut(&mut self, id: PathId) -> &mut Place {
        &mut self.places[id.0 as usize]
    }
}
