//! The table: one entry for each name the daemon has defined, and what has to be told about it.
//!
//! ```text
//! idle ─Spawn─► waiting ─► starting ─► running ─► ended ─Ack─► idle
//!                  └──────────┴──────► failed ──────────Ack──► idle
//! ```
//!
//! States tell *now*. An entry whose state the daemon has to know is *news* until it has been sent; it stays
//! in its state until acknowledged, so a daemon that comes later finds it in the snapshot. Room for all
//! entries is set aside at the start and used when touched.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::foreign::Identity;
use crate::start::Failure;
use crate::sys;
use crate::tab::{self, Mark, Stage, Tab};
use crate::wire::{self, HELPER, NAME, SLOTS, Status};

/// How an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing runs.
    Idle,
    /// In the queue of those to be started.
    Waiting,
    /// Cloned; in this slot of the starter.
    Starting { slot: usize },
    /// Executed.
    Running,
    /// Reaped, not acknowledged.
    Ended(Status),
    /// Never executed, not acknowledged.
    Failed(Failure),
}

/// One name.
pub(crate) struct Entry {
    name: [u8; NAME],
    length: u8,
    state: State,
    news: bool,
    /// Of the present or the last start.
    pub generation: u64,
    pub pid: i32,
    pub identity: Identity,
    /// As long as it is not reaped.
    pub pidfd: Option<OwnedFd>,
    pub image: Option<(OwnedFd, usize)>,
    pub output: Option<OwnedFd>,
    /// Counts the starts of all entries: who came last goes first.
    pub order: u64,
    pub oom_score_adjust: Option<i32>,
}

impl Entry {
    pub fn name(&self) -> &[u8] {
        &self.name[..usize::from(self.length)]
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Defined and not forgotten.
    pub fn is_used(&self) -> bool {
        self.length > 0
    }

    /// The main process of a service, and not a helper of it.
    pub fn is_main(&self) -> bool {
        !self.name().contains(&HELPER)
    }

    /// A process that is not reaped yet.
    pub fn lives(&self) -> bool {
        self.pidfd.is_some()
    }

    /// To the process, or with `group` to its process group; to nobody if it is reaped.
    pub fn signal(&self, signal: i32, group: bool) {
        if let Some(pidfd) = &self.pidfd
            && !sys::signal(pidfd.as_raw_fd(), signal, group)
        {
            // Kernels before 5.1, and of groups before 6.9.
            sys::kill(self.pid, signal, group);
        }
    }

    /// For the next keeper.
    fn mark(&self, stage: Stage) -> Mark {
        let (name, generation) = (self.name().to_vec(), self.generation);
        Mark { name, generation, stage, identity: self.identity, order: self.order }
    }

    /// As the daemon is told.
    pub fn report(&self, slot: u32, named: bool) -> wire::Report<'_> {
        let state = match self.state {
            State::Idle => wire::State::Idle,
            State::Waiting | State::Starting { .. } => wire::State::Starting,
            State::Running => wire::State::Running,
            State::Ended(status) => wire::State::Ended(status),
            State::Failed(f) => wire::State::Failed { step: f.step as u8, errno: f.errno },
        };
        let name = if named { self.name() } else { &[] };
        wire::Report::Entry { slot, generation: self.generation, state, pid: self.pid, name }
    }
}

/// All entries.
pub(crate) struct Table {
    entries: Vec<Entry>,
    news: VecDeque<u32>,
    living: usize,
    /// Where the next keeper finds them; `None`: there will be none.
    pub tab: Option<Tab>,
}

impl Table {
    pub fn new() -> Table {
        Table { entries: Vec::with_capacity(SLOTS), news: VecDeque::with_capacity(64), living: 0, tab: None }
    }

    /// Entries so far, used or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize).filter(|e| e.is_used())
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize).filter(|e| e.is_used())
    }

    /// Used entries with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter().enumerate().filter(|(_, e)| e.is_used()).map(|(i, e)| (i as u32, e))
    }

    /// Entries with a process that is not reaped.
    pub fn living(&self) -> usize {
        self.living
    }

    /// The entry for this name at this slot, made if the slot is free; `None` if another name has it. `slot`
    /// is below [`SLOTS`].
    pub fn define(&mut self, slot: u32, name: &[u8]) -> Option<&mut Entry> {
        while self.entries.len() <= slot as usize {
            self.entries.push(Entry {
                name: [0; NAME],
                length: 0,
                state: State::Idle,
                news: false,
                generation: 0,
                pid: 0,
                identity: Identity::default(),
                pidfd: None,
                image: None,
                output: None,
                order: 0,
                oom_score_adjust: None,
            });
        }
        let entry = &mut self.entries[slot as usize];
        if !entry.is_used() {
            entry.name[..name.len()].copy_from_slice(name);
            entry.length = name.len() as u8;
            entry.generation = 0;
        }
        (entry.name() == name).then_some(entry)
    }

    /// Frees an idle entry.
    pub fn forget(&mut self, slot: u32) -> bool {
        match self.get_mut(slot) {
            Some(entry) if entry.state == State::Idle => {
                entry.length = 0;
                entry.image = None;
                entry.output = None;
                true
            }
            _ => false,
        }
    }

    /// The one place where states are written.
    pub fn set(&mut self, slot: u32, state: State) {
        let entry = &mut self.entries[slot as usize];
        match (entry.state, state) {
            (_, State::Starting { .. }) => self.living += 1,
            (State::Starting { .. } | State::Running, State::Ended(_) | State::Failed(_)) => self.living -= 1,
            _ => {}
        }
        entry.state = state;
        self.note(slot);
        if matches!(state, State::Running | State::Ended(_) | State::Failed(_)) {
            self.tell(slot);
        }
    }

    /// An entry of a former keeper's: its process was found, or how it ended.
    pub fn adopt(&mut self, slot: u32, state: State) {
        self.living += usize::from(self.entries[slot as usize].lives());
        self.entries[slot as usize].state = state;
        self.note(slot);
    }

    /// From here on there may be a process that nobody but its control group knows.
    pub fn cloning(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        entry.identity = Identity { pid: 0, inode: 0, born: [sys::since_boot(), 0] };
        let mark = entry.mark(Stage::Cloning);
        if let Some(tab) = &mut self.tab {
            tab.write(tab::place(slot), &mark);
        }
    }

    /// The daemon that lives now; one without a number: none.
    pub fn note_daemon(&mut self, identity: &Identity) {
        let stage = if identity.pid > 0 { Stage::Alive } else { Stage::Idle };
        let mark = Mark { name: b"daemon".to_vec(), generation: 0, stage, identity: *identity, order: 0 };
        if let Some(tab) = &mut self.tab {
            tab.write(tab::DAEMON, &mark);
        }
    }

    fn note(&mut self, slot: u32) {
        let entry = &self.entries[slot as usize];
        let stage = match entry.state {
            State::Idle | State::Waiting => Stage::Idle,
            State::Starting { .. } | State::Running => Stage::Alive,
            State::Ended(status) => Stage::Ended(status),
            State::Failed(failure) => Stage::Failed(failure),
        };
        let mark = entry.mark(stage);
        if let Some(tab) = &mut self.tab {
            tab.write(tab::place(slot), &mark);
        }
    }

    /// The daemon has to be told how this entry stands.
    pub fn tell(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if !std::mem::replace(&mut entry.news, true) {
            self.news.push_back(slot);
        }
    }

    /// The `n`-th of the news.
    pub fn news(&self, n: usize) -> Option<u32> {
        self.news.get(n).copied()
    }

    /// The first `n` of the news have been sent.
    pub fn told(&mut self, n: usize) {
        for slot in self.news.drain(..n) {
            self.entries[slot as usize].news = false;
        }
    }
}
