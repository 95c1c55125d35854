//! What the client knows of the keeper's table, and of the generations whose processes are in it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use woodward_keeper::wire::{self, Message, State};

use super::cgroup::Group;
use super::socket::Descriptor;
use super::stage::Watch;
use super::{ExitStatus, Found, Program, Role, Sink, SpawnError};
use crate::tree::KillMode;

/// Separates the path from the number in the name of a helper.
pub(super) const HELPER: char = wire::HELPER as char;

#[derive(Default)]
pub(super) struct Table {
    pub slots: Vec<Slot>,
    pub free: BTreeSet<u32>,
    pub names: HashMap<(Arc<str>, Role), u32>,
    pub children: HashMap<Arc<str>, Child>,
    /// Orders that go with the next ones, as long as it is corked.
    pub message: Message,
    pub corked: bool,
    pub queue: VecDeque<(Vec<u8>, Vec<Descriptor>)>,
    pub logs: Vec<bool>,
    /// Empty groups of former generations: removed when there is time.
    pub stale: Vec<Group>,
    pub orphans: u64,
    pub signals: Option<mpsc::UnboundedSender<i32>>,
    pub receiver: Option<mpsc::UnboundedReceiver<i32>>,
}

/// A process, or the place for one.
pub(super) struct Slot {
    pub path: Arc<str>,
    pub role: Role,
    pub generation: u64,
    pub stage: Stage,
    pub pid: i32,
    pub sink: Option<Sink>,
    pub defined: Option<Defined>,
    pub staging: Staging,
    /// It has ended, and the keeper keeps its end until that is written down here.
    pub owed: bool,
}

/// How far a start that goes through the stage is.
#[derive(Default)]
pub(super) enum Staging {
    /// It does not, or it has come out.
    #[default]
    None,
    /// Asked for.
    Waiting(Watch),
    /// The stage is executed; somebody waits for what it says.
    Watched,
    /// The process has ended; what the stage said is on its way.
    Over(State),
    /// It has failed; the end of its process is on its way.
    Refused(SpawnError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Asked,
    Running,
    /// Found ended; the keeper still keeps it for us.
    Ended,
}

/// What the keeper was told last.
pub(super) struct Defined {
    pub program: Arc<Program>,
    pub file: PathBuf,
    pub output: Option<Arc<OwnedFd>>,
}

/// Whether a stop command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commanded {
    No,
    Yes,
    /// And the main process has ended meanwhile.
    Ended,
}

/// The generation of a path.
pub(super) struct Child {
    pub generation: u64,
    pub kill: KillMode,
    pub group: Option<Group>,
    /// Its main process, also when it has ended.
    pub leader: i32,
    /// Proved to be empty.
    pub empty: bool,
    /// A stop command runs for it, which is not to be swept away with what its main process leaves.
    pub commanded: Commanded,
    /// All of it were sent a signal: they have time until they are killed, also when the main process has
    /// ended.
    pub asked: bool,
}

impl Table {
    /// A line of the snapshot; what it means for whoever adopts.
    pub fn enter(
        &mut self,
        slot: u32,
        generation: u64,
        state: State,
        pid: i32,
        name: &[u8],
    ) -> Option<Found> {
        let name = String::from_utf8_lossy(name).into_owned();
        let (path, role) = match name.split_once(HELPER) {
            Some((path, number)) => (path, Role::Helper(number.parse().unwrap_or(u32::MAX))),
            None => (name.as_str(), Role::Main),
        };
        let path: Arc<str> = path.into();
        let stage = match state {
            State::Idle => Stage::Idle,
            State::Starting => Stage::Asked,
            State::Running => Stage::Running,
            State::Ended(_) | State::Failed { .. } => Stage::Ended,
        };
        self.grow(slot);
        self.free.remove(&slot);
        self.names.insert((path.clone(), role), slot);
        self.slots[slot as usize] = Slot {
            path: path.clone(),
            role,
            generation,
            stage,
            pid,
            sink: None,
            defined: None,
            staging: Staging::None,
            owed: false,
        };
        let ended = match state {
            State::Ended(status) => Some(status.into()),
            State::Failed { .. } => Some(ExitStatus::Unknown),
            _ => None,
        };
        (role == Role::Main && stage != Stage::Idle).then_some(Found { path, generation, role, pid, ended })
    }

    pub fn grow(&mut self, slot: u32) {
        while self.slots.len() <= slot as usize {
            self.free.insert(self.slots.len() as u32);
            self.slots.push(Slot {
                path: "".into(),
                role: Role::Main,
                generation: 0,
                stage: Stage::Idle,
                pid: 0,
                sink: None,
                defined: None,
                staging: Staging::None,
                owed: false,
            });
        }
    }

    /// The slot of this name; a new one if it has none. `None`: the keeper's table is full.
    pub fn slot(&mut self, path: &Arc<str>, role: Role) -> Option<u32> {
        if let Some(&slot) = self.names.get(&(path.clone(), role)) {
            return Some(slot);
        }
        if self.free.is_empty() {
            let next = self.slots.len() as u32;
            if next as usize >= wire::SLOTS {
                return None;
            }
            self.grow(next);
        }
        let slot = self.free.pop_first()?;
        self.names.insert((path.clone(), role), slot);
        let place = &mut self.slots[slot as usize];
        (place.path, place.role, place.generation, place.stage) = (path.clone(), role, 0, Stage::Idle);
        Some(slot)
    }

    pub fn find(&self, path: &str, role: Role) -> Option<u32> {
        self.names.get(&(Arc::from(path), role)).copied()
    }
}
