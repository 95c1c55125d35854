//! The client of the keeper: one table of slots that mirrors the keeper's, one task that reads the channel.
//!
//! Whoever calls [`super::Os`] writes orders at once (or into a queue while the channel is full). What comes back, and what this
//! side finds out itself (a program that is not there, a group that has become empty), is delivered by the one task, in order, and never with
//! the lock held: a sink may call back.
//!
//! ```text
//! slot:        idle ─launch─► asked ─Running─► running ─Ended─► idle        asked ─Failed─► idle
//! generation:  main ended ─► is anything left? ─yes─► kill until empty ─► Emptied
//! ```

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use woodward_keeper::drain::Turn;
use woodward_keeper::image::Step;
use woodward_keeper::wire::{self, Message, Order, Records, Report, State, Status, Targets};

use super::cgroup::{Cgroups, Group};
use super::family::{self, Family, MARK};
use super::{ExitStatus, Found, Launch, ProcessEvent, Program, Role, Scope, Sink, SpawnError, program};
use crate::tree::KillMode;

/// Separates the path from the number in the name of a helper.
const HELPER: char = '\u{1f}';

pub(super) struct Client {
    channel: Arc<AsyncFd<OwnedFd>>,
    keeper: i32,
    turn: Turn,
    turned: Notify,
    cgroups: Option<Cgroups>,
    state: Mutex<Table>,
    inbox: mpsc::UnboundedSender<Local>,
    found: Vec<Found>,
}

/// What this side tells itself.
enum Local {
    /// There is something in the queue of orders.
    Blocked,
    /// A start that did not get as far as the keeper.
    Refused(Sink, SpawnError),
    /// Nothing of this generation is left, main process included.
    Emptied(Arc<str>, u64),
    /// A found main process has a sink now; how it ended, if it has.
    Adopted(u32, u64, Option<ExitStatus>),
    /// What was left of the generation before is gone.
    Launch(Launch),
    /// Somebody wants to know.
    Call(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: BTreeSet<u32>,
    names: HashMap<(Arc<str>, Role), u32>,
    children: HashMap<Arc<str>, Child>,
    message: Message,
    queue: VecDeque<(Vec<u8>, Vec<Descriptor>)>,
    logs: Vec<bool>,
    /// Empty groups of former generations: removed when there is time.
    stale: Vec<Group>,
    orphans: u64,
    signals: Option<mpsc::UnboundedSender<i32>>,
    receiver: Option<mpsc::UnboundedReceiver<i32>>,
}

/// A process, or the place for one.
struct Slot {
    path: Arc<str>,
    role: Role,
    generation: u64,
    stage: Stage,
    pid: i32,
    sink: Option<Sink>,
    defined: Option<Defined>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Asked,
    Running,
    /// Found ended; the keeper still keeps it for us.
    Ended,
}

/// What the keeper was told last.
struct Defined {
    program: Arc<Program>,
    file: PathBuf,
    output: Option<Arc<OwnedFd>>,
}

/// The generation of a path.
struct Child {
    generation: u64,
    kill: KillMode,
    group: Option<Group>,
    /// Its main process, also when it has ended.
    leader: i32,
    /// Proved to be empty.
    empty: bool,
    /// All of it were sent a signal: they have time until they are killed, also when the main process has ended.
    asked: bool,
}

enum Descriptor {
    Own(OwnedFd),
    Shared(Arc<OwnedFd>),
}

impl Descriptor {
    fn number(&self) -> RawFd {
        match self {
            Descriptor::Own(fd) => fd.as_raw_fd(),
            Descriptor::Shared(fd) => fd.as_raw_fd(),
        }
    }
}

/// Processes of a generation, by whatever means there are.
enum Left {
    Group(Group),
    Family(Family),
}

impl Left {
    fn is_nothing(&self) -> bool {
        match self {
            Left::Group(group) => group.is_empty(),
            Left::Family(family) => family.left().is_empty(),
        }
    }

    /// Returns when nothing is left; with `kill` it kills, again and again.
    async fn emptied(self, kill: bool) {
        match self {
            Left::Group(group) => group.emptied(kill).await,
            Left::Family(family) => family.emptied(kill).await,
        }
    }
}

// ---- connecting -----------------------------------------------------------------------------------------------------

impl Client {
    /// Reads the snapshot, kills what no keeper knows, starts the task.
    pub async fn connect(channel: OwnedFd, state: &Path) -> io::Result<Arc<Client>> {
        set_nonblocking(&channel)?;
        // SAFETY: an owned descriptor stays the same and open as long as its owner.
        let channel = Arc::new(unsafe { AsyncFd::register(channel) }?);
        let mut buffer = vec![0; wire::MESSAGE];
        let (mut keeper, mut page, mut ended) = (0, None, false);
        let mut table = Table::default();
        let mut found = Vec::new();
        while !ended {
            let (length, descriptor) = receive(&channel, &mut buffer).await?;
            page = page.or(descriptor);
            let mut records = Records::of(&buffer[..length]).map_err(malformed)?;
            while let Some(report) = records.report().map_err(malformed)? {
                match report {
                    Report::Hello { pid } => keeper = pid as i32,
                    Report::Entry { slot, generation, state, pid, name } => {
                        found.extend(table.enter(slot, generation, state, pid, name));
                    }
                    Report::End => ended = true,
                    _ => {}
                }
            }
        }
        let page = page.ok_or_else(|| malformed(wire::Malformed))?;
        let cgroups = Cgroups::find(state);
        if let Some(cgroups) = &cgroups {
            sweep(cgroups, &found).await;
        }
        let (inbox, locals) = mpsc::unbounded_channel();
        let (signals, receiver) = mpsc::unbounded_channel();
        (table.signals, table.receiver) = (Some(signals), Some(receiver));
        let client = Arc::new(Client {
            channel: channel.clone(),
            keeper,
            turn: Turn::map(&page)?,
            turned: Notify::new(),
            cgroups,
            state: Mutex::new(table),
            inbox,
            found,
        });
        {
            let mut table = client.lock();
            if let Some(Ok(file)) = client.cgroups.as_ref().map(Cgroups::kill_file) {
                client.order(&mut table, &Order::Cgroup, vec![Descriptor::Own(file)]);
            }
            client.order(&mut table, &Order::Logs, Vec::new());
            client.tidy_helpers(&mut table);
        }
        tokio::spawn(serve(Arc::downgrade(&client), channel, locals, buffer));
        Ok(client)
    }

    /// Helpers of an earlier daemon: nobody waits for them.
    fn tidy_helpers(&self, table: &mut Table) {
        for slot in 0..table.slots.len() as u32 {
            let Slot { role, generation, stage, .. } = table.slots[slot as usize];
            match (role, stage) {
                (Role::Main, _) => {}
                (_, Stage::Asked | Stage::Running) => {
                    let signal = libc::SIGKILL as u8;
                    self.order(table, &Order::Signal { slot, generation, signal, group: true }, Vec::new());
                }
                (_, Stage::Idle | Stage::Ended) if !table.free.contains(&slot) => {
                    self.order(table, &Order::Ack { slot, generation }, Vec::new());
                    self.release(table, slot);
                }
                _ => {}
            }
        }
    }
}

/// Groups of an earlier run under this name: nobody knows how their services are doing, and nothing may run twice.
async fn sweep(cgroups: &Cgroups, found: &[Found]) {
    let kept: Vec<Group> = found.iter().map(|f| cgroups.group(&f.path, f.generation)).collect();
    for group in cgroups.all().iter().skip(1).rev() {
        if !kept.iter().any(|k| k == group || k.is_below(group) || group.is_below(k)) {
            group.emptied(true).await;
            group.remove();
        }
    }
}

impl Table {
    /// A line of the snapshot; what it means for whoever adopts.
    fn enter(&mut self, slot: u32, generation: u64, state: State, pid: i32, name: &[u8]) -> Option<Found> {
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
        self.slots[slot as usize] =
            Slot { path: path.clone(), role, generation, stage, pid, sink: None, defined: None };
        let ended = match state {
            State::Ended(status) => Some(status.into()),
            State::Failed { .. } => Some(ExitStatus::Unknown),
            _ => None,
        };
        (role == Role::Main && stage != Stage::Idle).then_some(Found { path, generation, role, pid, ended })
    }

    fn grow(&mut self, slot: u32) {
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
            });
        }
    }

    /// The slot of this name; a new one if it has none. `None`: the keeper's table is full.
    fn slot(&mut self, path: &Arc<str>, role: Role) -> Option<u32> {
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

    fn find(&self, path: &str, role: Role) -> Option<u32> {
        self.names.get(&(Arc::from(path), role)).copied()
    }
}

// ---- orders ---------------------------------------------------------------------------------------------------------

impl Client {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // A sink that panicked did so without the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an order, or puts it at the end of the queue.
    fn order(&self, table: &mut Table, order: &Order, descriptors: Vec<Descriptor>) {
        let Table { message, queue, .. } = table;
        message.clear();
        message.order(order);
        if queue.is_empty() && send(self.channel.get_ref(), message.bytes(), &descriptors) {
            return;
        }
        queue.push_back((message.bytes().to_vec(), descriptors));
        let _ = self.inbox.send(Local::Blocked);
    }

    /// Sends what is in the queue; false: the channel is full.
    fn flush(&self) -> bool {
        let mut table = self.lock();
        while let Some((bytes, descriptors)) = table.queue.front() {
            if !send(self.channel.get_ref(), bytes, descriptors) {
                return false;
            }
            table.queue.pop_front();
        }
        true
    }

    fn release(&self, table: &mut Table, slot: u32) {
        self.order(table, &Order::Forget { slot }, Vec::new());
        let place = &mut table.slots[slot as usize];
        (place.sink, place.defined) = (None, None);
        let name = (std::mem::replace(&mut place.path, "".into()), place.role);
        table.names.remove(&name);
        table.free.insert(slot);
    }

    /// See [`super::Os::launch`].
    pub fn launch(&self, mut launch: Launch) {
        if let Some(left) = self.left_of_former(&launch) {
            let inbox = self.inbox.clone();
            tokio::spawn(async move {
                left.emptied(true).await;
                let _ = inbox.send(Local::Launch(launch));
            });
            return;
        }
        if let Err(error) = self.spawn(&mut launch) {
            let mut table = self.lock();
            if let (Role::Helper(_), Some(slot)) =
                (launch.role, table.find(&launch.program.path, launch.role))
            {
                self.release(&mut table, slot);
            }
            let _ = self.inbox.send(Local::Refused(launch.sink, error));
        }
    }

    /// What has to go before this start: leftovers of the generation before.
    fn left_of_former(&self, launch: &Launch) -> Option<Left> {
        let table = self.lock();
        let former = table.children.get(&launch.program.path)?;
        if former.generation >= launch.generation || former.empty || former.kill == KillMode::Process {
            return None;
        }
        Some(self.left(&launch.program.path, former)).filter(|left| !left.is_nothing())
    }

    /// Everything that can fail here; takes the sink if nothing does.
    fn spawn(&self, launch: &mut Launch) -> Result<(), SpawnError> {
        let step = |step: &str, source: io::Error| SpawnError::Step { step: step.to_owned(), source };
        let Launch { program, generation, role, additions, output, descriptors, kill, sink } = launch;
        let (generation, role) = (*generation, *role);
        let file = program::search(program)?;
        program::make_directories(program)?;
        let targets: Vec<u32> = descriptors.iter().map(|&(number, _)| number as u32).collect();
        let targets = Targets::new(&targets)
            .ok_or_else(|| step("descriptors", io::Error::other("more than 12, or a number below 3")))?;
        let mut guard = self.lock();
        let table = &mut *guard;
        let slot = table.slot(&program.path, role);
        let slot = slot.ok_or_else(|| step("start", io::Error::other("too many processes")))?;
        let group = self.enter_generation(table, &program.path, generation, role, *kill);

        let same_output = |a: &Option<Arc<OwnedFd>>, b: &Option<Arc<OwnedFd>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let defined = table.slots[slot as usize].defined.as_ref();
        if !defined.is_some_and(|d| {
            Arc::ptr_eq(&d.program, program) && d.file == file && same_output(&d.output, output)
        }) {
            let image = program::image(program, &file)?.encode();
            let memory = memory(&image).map_err(|e| step("image", e))?;
            let name = match role {
                Role::Main => program.path.to_string(),
                Role::Helper(number) => format!("{}{HELPER}{number}", program.path),
            };
            if name.len() > wire::NAME {
                return Err(step("start", io::Error::other("path too long")));
            }
            let order = Order::Define {
                slot,
                name: name.as_bytes(),
                image: image.len() as u32,
                output: output.is_some(),
            };
            let both = [Some(Descriptor::Own(memory)), output.clone().map(Descriptor::Shared)];
            self.order(table, &order, both.into_iter().flatten().collect());
            let (program, output) = (program.clone(), output.clone());
            table.slots[slot as usize].defined = Some(Defined { program, file, output });
        }

        let mut text = Vec::new();
        for (name, value) in additions.iter() {
            text.extend_from_slice(format!("{name}={value}\0").as_bytes());
        }
        if group.is_none() {
            text.extend_from_slice(format!("{MARK}={}#{generation}\0", program.path).as_bytes());
        }
        let directory = group.map(|g| g.open()).transpose().map_err(|e| step("control group", e))?;
        let order = Order::Spawn { slot, generation, cgroup: directory.is_some(), targets, additions: &text };
        let shared = descriptors.drain(..).map(|(_, fd)| Descriptor::Shared(fd));
        self.order(table, &order, directory.map(Descriptor::Own).into_iter().chain(shared).collect());
        let place = &mut table.slots[slot as usize];
        (place.generation, place.stage, place.pid) = (generation, Stage::Asked, 0);
        place.sink = Some(std::mem::replace(sink, Box::new(drop)));
        Ok(())
    }

    /// The group of this generation, which is now the path's; the one before is to be removed some time.
    fn enter_generation(
        &self,
        table: &mut Table,
        path: &Arc<str>,
        generation: u64,
        role: Role,
        kill: KillMode,
    ) -> Option<Group> {
        let child = table.children.entry(path.clone()).or_insert_with(|| Child {
            generation: 0,
            kill,
            group: None,
            leader: 0,
            empty: true,
            asked: false,
        });
        if child.generation != generation {
            table.stale.extend(child.group.take());
            *child = Child {
                generation,
                kill,
                group: self.cgroups.as_ref().map(|c| c.group(path, generation)),
                leader: 0,
                empty: true,
                asked: false,
            };
        }
        child.empty = false;
        if role == Role::Main {
            child.kill = kill;
        }
        child.group.clone()
    }

    /// See [`super::Os::signal`].
    pub fn signal(&self, path: &str, generation: u64, role: Role, signal: i32, scope: Scope) {
        let mut table = self.lock();
        let child = table.children.get_mut(path).filter(|c| c.generation == generation);
        let Some(child) = child else { return };
        child.asked |= scope == Scope::All;
        match (scope, &child.group) {
            (Scope::All, Some(group)) => group.signal(signal),
            _ => {
                let Some(slot) = table.find(path, role) else { return };
                let (signal, group) = (signal as u8, scope == Scope::All);
                self.order(&mut table, &Order::Signal { slot, generation, signal, group }, Vec::new());
            }
        }
    }

    /// See [`super::Os::kill`].
    pub fn kill(&self, path: &str, generation: u64) {
        let mut table = self.lock();
        self.know(&mut table, path, generation);
        let Some(child) = table.children.get(path).filter(|c| c.generation == generation) else { return };
        let everything = child.kill != KillMode::Process;
        let group = child.group.clone().filter(|_| everything);
        if everything && group.is_none() {
            // The keeper reaches its process group only while the main process lives.
            tokio::spawn(self.left(path, child).emptied(true));
        }
        if let Some(slot) = table.find(path, Role::Main) {
            let signal = libc::SIGKILL as u8;
            let order = Order::Signal { slot, generation, signal, group: everything && group.is_none() };
            self.order(&mut table, &order, Vec::new());
            self.acknowledge(&mut table, slot, generation);
        }
        if let Some(group) = group {
            group.kill();
        }
    }

    /// A generation of an earlier daemon becomes the path's.
    fn know(&self, table: &mut Table, path: &str, generation: u64) {
        if !table.children.contains_key(path)
            && let Some(found) = self.found.iter().find(|f| *f.path == *path && f.generation == generation)
        {
            self.enter_generation(table, &found.path, generation, Role::Main, KillMode::Mixed);
            if let Some(child) = table.children.get_mut(path) {
                child.leader = found.pid;
            }
        }
    }

    /// Takes note of the end of a process that was found ended.
    fn acknowledge(&self, table: &mut Table, slot: u32, generation: u64) {
        let place = &mut table.slots[slot as usize];
        if place.stage == Stage::Ended && place.generation == generation {
            place.stage = Stage::Idle;
            self.order(table, &Order::Ack { slot, generation }, Vec::new());
        }
    }

    /// See [`super::Os::clear`].
    pub fn clear(&self, path: &str, generation: u64, done: Box<dyn FnOnce() + Send>) {
        let mut table = self.lock();
        self.know(&mut table, path, generation);
        let left =
            table.children.get(path).filter(|c| c.generation == generation && c.kill != KillMode::Process);
        let left = left.map(|child| self.left(path, child)).filter(|left| !left.is_nothing());
        let inbox = self.inbox.clone();
        match left {
            None => {
                let _ = inbox.send(Local::Call(done));
            }
            Some(left) => {
                tokio::spawn(async move {
                    left.emptied(true).await;
                    let _ = inbox.send(Local::Call(done));
                });
            }
        }
    }

    fn left(&self, path: &str, child: &Child) -> Left {
        match &child.group {
            Some(group) => Left::Group(group.clone()),
            None => Left::Family(Family {
                keeper: self.keeper,
                leader: child.leader,
                mark: format!("{path}#{}", child.generation),
            }),
        }
    }

    /// See [`super::Os::adopt`].
    pub fn adopt(&self, path: &str, generation: u64, kill: KillMode, sink: Sink) {
        let mut table = self.lock();
        self.know(&mut table, path, generation);
        let found = self.found.iter().find(|f| *f.path == *path && f.generation == generation);
        let (Some(slot), Some(found)) = (table.find(path, Role::Main), found) else { return };
        if let Some(child) = table.children.get_mut(path) {
            child.kill = kill;
        }
        table.slots[slot as usize].sink = Some(sink);
        let ended = found.ended.filter(|_| table.slots[slot as usize].stage == Stage::Ended);
        let _ = self.inbox.send(Local::Adopted(slot, generation, ended));
    }

    /// See [`super::Os::forget`].
    pub fn forget(&self, path: &str) {
        let mut table = self.lock();
        if let Some(slot) = table.find(path, Role::Main) {
            self.release(&mut table, slot);
        }
        if let Some(group) = table.children.remove(path).and_then(|c| c.group) {
            group.remove();
            group.parent().remove();
        }
    }

    /// See [`super::Os::exit`].
    pub fn exit(&self, code: u8) {
        for group in self.cgroups.iter().flat_map(Cgroups::all).collect::<Vec<_>>().iter().rev() {
            group.remove();
        }
        self.order(&mut self.lock(), &Order::Exit { code }, Vec::new());
        // The caller is about to end: now or never.
        for _ in 0..100 {
            if self.flush() {
                return;
            }
            let mut wait =
                [nix::poll::PollFd::new(self.channel.get_ref().as_fd(), nix::poll::PollFlags::POLLOUT)];
            let _ = nix::poll::poll(&mut wait, 10u8);
        }
    }

    /// See [`super::Os::notify`].
    pub fn notify(&self, text: &str) {
        let text = &text.as_bytes()[..text.len().min(wire::MESSAGE / 2)];
        self.order(&mut self.lock(), &Order::Notify { text }, Vec::new());
    }

    // ---- questions --------------------------------------------------------------------------------------------------

    pub fn found(&self) -> Vec<Found> {
        self.found.clone()
    }

    pub fn orphans(&self) -> u64 {
        self.lock().orphans
    }

    pub fn signals(&self) -> mpsc::UnboundedReceiver<i32> {
        self.lock().receiver.take().unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// The path and the generation a process belongs to.
    pub fn owner(&self, pid: i32) -> Option<(Arc<str>, u64)> {
        let place = self.cgroups.as_ref().map(|c| c.owner(pid));
        let table = self.lock();
        match place {
            Some(place) => {
                // acs/naming/17, and below it what the service has made itself.
                let place = place?;
                let mut ends = place.match_indices('/').map(|(i, _)| i);
                ends.find_map(|end| {
                    let generation = place[end + 1..].split('/').next()?.parse().ok()?;
                    let (path, child) = table.children.get_key_value(&place[..end])?;
                    (child.generation == generation).then(|| (path.clone(), generation))
                })
            }
            None => {
                let leader = family::session(pid);
                let mut children = table.children.iter();
                let (path, child) = children.find(|(_, c)| c.leader == leader && leader > 0)?;
                Some((path.clone(), child.generation))
            }
        }
    }

    // ---- log pipes --------------------------------------------------------------------------------------------------

    /// Lets the keeper empty this pipe while the daemon is away. The number is for [`Client::withdraw`].
    pub fn share(&self, fifo: OwnedFd, segment: OwnedFd) -> u32 {
        let mut table = self.lock();
        let free = table.logs.iter().position(|&used| !used);
        let slot = free.unwrap_or(table.logs.len());
        if free.is_some() {
            table.logs[slot] = true;
        } else {
            table.logs.push(true);
        }
        let slot = slot as u32;
        if (slot as usize) < wire::LOGS {
            let both = vec![Descriptor::Own(fifo), Descriptor::Own(segment)];
            self.order(&mut table, &Order::Log { slot }, both);
        }
        slot
    }

    /// The pipe is no longer there.
    pub fn withdraw(&self, slot: u32) {
        let mut table = self.lock();
        if let Some(used) = table.logs.get_mut(slot as usize) {
            *used = false;
            self.order(&mut table, &Order::DropLog { slot }, Vec::new());
        }
    }

    /// Does this daemon read the log pipes, or the keeper?
    pub fn reads_logs(&self) -> bool {
        self.turn.is_daemons()
    }
}

// ---- the task -------------------------------------------------------------------------------------------------------

/// Reads the channel until the keeper is gone or nobody needs this client any more.
async fn serve(
    client: Weak<Client>,
    channel: Arc<AsyncFd<OwnedFd>>,
    mut locals: mpsc::UnboundedReceiver<Local>,
    mut buffer: Vec<u8>,
) {
    let mut refused = None;
    let mut blocked = false;
    loop {
        tokio::select! {
            biased;
            local = locals.recv() => match (local, client.upgrade()) {
                (Some(Local::Blocked), Some(_)) => blocked = true,
                (Some(local), Some(client)) => client.deliver(local),
                _ => return,
            },
            received = receive(&channel, &mut buffer) => {
                let (Ok((length, _)), Some(client)) = (received, client.upgrade()) else { break };
                if client.read(&buffer[..length], &mut refused).is_err() {
                    break;
                }
            }
            writable = channel.writable(), if blocked => {
                let (Ok(mut ready), Some(client)) = (writable, client.upgrade()) else { break };
                if client.flush() {
                    blocked = false;
                } else {
                    ready.clear_ready();
                }
            }
        }
    }
    if let Some(client) = client.upgrade() {
        // Whoever waits for signals learns that there will be none.
        client.lock().signals = None;
    }
    while let (Some(local), Some(client)) = (locals.recv().await, client.upgrade()) {
        client.deliver(local);
    }
}

impl Client {
    fn read(&self, message: &[u8], refused: &mut Option<(u32, u64)>) -> Result<(), wire::Malformed> {
        let mut records = Records::of(message)?;
        while let Some(report) = records.report()? {
            match report {
                Report::Entry { slot, generation, state, pid, .. } => {
                    if let Some((_, wanted)) = refused.take().filter(|r| r.0 == slot && r.1 != generation) {
                        self.refuse(slot, wanted);
                    }
                    self.entry(slot, generation, state, pid);
                }
                Report::Refused { slot, generation } => *refused = Some((slot, generation)),
                Report::Orphans { count } => self.lock().orphans = count,
                Report::Signalled { signal } => {
                    if let Some(signals) = &self.lock().signals {
                        let _ = signals.send(i32::from(signal));
                    }
                }
                Report::Ping => self.order(&mut self.lock(), &Order::Pong, Vec::new()),
                Report::Logs if self.turn.is_daemons() => self.turned.notify_one(),
                // We did not answer for a while.
                Report::Logs => self.order(&mut self.lock(), &Order::Logs, Vec::new()),
                Report::Hello { .. } | Report::End => {}
            }
        }
        Ok(())
    }

    /// Something else of this name is there.
    fn refuse(&self, slot: u32, generation: u64) {
        let mut table = self.lock();
        let place = &mut table.slots[slot as usize];
        if (place.generation, place.stage) == (generation, Stage::Asked) {
            place.stage = Stage::Idle;
            drop(table);
            let source = io::Error::other("another generation is still there");
            let error = SpawnError::Step { step: "start".to_owned(), source };
            self.tell(slot, generation, ProcessEvent::Failed(error));
        }
    }

    /// The keeper says how a slot stands.
    fn entry(&self, slot: u32, generation: u64, state: State, pid: i32) {
        let mut table = self.lock();
        let Some(place) = table.slots.get_mut(slot as usize).filter(|p| p.generation == generation) else {
            self.order(&mut table, &Order::Ack { slot, generation }, Vec::new());
            return;
        };
        let (path, role, before) = (place.path.clone(), place.role, place.stage);
        let mut events = Vec::with_capacity(2);
        match state {
            State::Running if before == Stage::Asked => {
                (place.stage, place.pid) = (Stage::Running, pid);
                events.push(ProcessEvent::Started { pid });
            }
            State::Ended(status) if matches!(before, Stage::Asked | Stage::Running) => {
                if before == Stage::Asked {
                    events.push(ProcessEvent::Started { pid });
                }
                events.push(ProcessEvent::Exited(status.into()));
            }
            State::Failed { step, errno } if before == Stage::Asked => {
                let why = place.defined.as_ref().map(|d| program::explain(&d.program, &d.file, step, errno));
                events.extend(why.map(ProcessEvent::Failed));
                if Step::from_number(step) == Some(Step::Prepare) {
                    // The keeper may have missed the definition.
                    place.defined = None;
                }
            }
            _ => return,
        }
        let over = !matches!(state, State::Running);
        if over {
            place.stage = Stage::Idle;
            self.order(&mut table, &Order::Ack { slot, generation }, Vec::new());
        }
        if role == Role::Main
            && let Some(child) = table.children.get_mut(&path).filter(|c| c.generation == generation)
            && pid > 0
        {
            child.leader = pid;
        }
        drop(table);
        for event in events {
            self.tell(slot, generation, event);
        }
        match (role, state) {
            (Role::Main, State::Ended(_)) => self.main_ended(slot, &path, generation),
            (Role::Main, _) => self.tidy(),
            (Role::Helper(_), _) if over => {
                let mut table = self.lock();
                if table.slots[slot as usize].generation == generation
                    && *table.slots[slot as usize].path == *path
                {
                    self.release(&mut table, slot);
                }
            }
            (Role::Helper(_), _) => {}
        }
    }

    /// Emptied, now or as soon as what is left has been killed.
    fn main_ended(&self, slot: u32, path: &Arc<str>, generation: u64) {
        let mut table = self.lock();
        let Some(child) = table.children.get_mut(path).filter(|c| c.generation == generation) else { return };
        let left = match child.kill {
            KillMode::Process => None,
            KillMode::Mixed | KillMode::Group => {
                Some(self.left(path, child)).filter(|left| !left.is_nothing())
            }
        };
        let Some(left) = left else {
            child.empty = child.kill != KillMode::Process;
            drop(table);
            self.tell(slot, generation, ProcessEvent::Emptied);
            return;
        };
        let kill = !child.asked;
        drop(table);
        let (inbox, path) = (self.inbox.clone(), path.clone());
        tokio::spawn(async move {
            left.emptied(kill).await;
            let _ = inbox.send(Local::Emptied(path, generation));
        });
    }

    fn deliver(&self, local: Local) {
        match local {
            Local::Blocked => {}
            Local::Refused(mut sink, error) => sink(ProcessEvent::Failed(error)),
            Local::Emptied(path, generation) => {
                let slot = self.lock().find(&path, Role::Main);
                if let Some(slot) = slot {
                    self.tell(slot, generation, ProcessEvent::Emptied);
                }
            }
            Local::Adopted(slot, generation, ended) => {
                let (path, pid) = {
                    let mut table = self.lock();
                    self.acknowledge(&mut table, slot, generation);
                    (table.slots[slot as usize].path.clone(), table.slots[slot as usize].pid)
                };
                self.tell(slot, generation, ProcessEvent::Started { pid });
                if let Some(status) = ended {
                    self.tell(slot, generation, ProcessEvent::Exited(status));
                    self.main_ended(slot, &path, generation);
                }
            }
            Local::Launch(launch) => self.launch(launch),
            Local::Call(done) => done(),
        }
    }

    /// Calls the sink of a slot, without the lock.
    fn tell(&self, slot: u32, generation: u64, event: ProcessEvent) {
        let sink = |table: &mut Table| {
            let place = table.slots.get_mut(slot as usize).filter(|p| p.generation == generation);
            place.and_then(|p| p.sink.take())
        };
        let Some(mut called) = sink(&mut self.lock()) else { return };
        called(event);
        let mut table = self.lock();
        let place =
            table.slots.get_mut(slot as usize).filter(|p| p.generation == generation && p.sink.is_none());
        if let Some(place) = place {
            place.sink = Some(called);
        }
    }

    /// Removes the groups of former generations.
    fn tidy(&self) {
        let stale = std::mem::take(&mut self.lock().stale);
        stale.iter().for_each(Group::remove);
    }

    /// Resolves when the keeper has handed the log pipes back.
    pub async fn log_turn(&self) {
        self.turned.notified().await;
    }
}

impl From<Status> for ExitStatus {
    fn from(status: Status) -> ExitStatus {
        match status {
            Status::Code(code) => ExitStatus::Code(code),
            Status::Signal(signal) => ExitStatus::Signal(signal),
            Status::Unknown => ExitStatus::Unknown,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("keeper", &self.keeper)
            .field("cgroups", &self.cgroups)
            .finish_non_exhaustive()
    }
}

/// The last one gone: a keeper thread stops its services when the channel ends.
impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: plain call on an open socket.
        unsafe { libc::shutdown(self.channel.get_ref().as_raw_fd(), libc::SHUT_RDWR) };
    }
}

// ---- descriptors ----------------------------------------------------------------------------------------------------

fn malformed(_: wire::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the keeper speaks another language")
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// One message; with the first comes a descriptor.
async fn receive(channel: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    loop {
        let mut ready = channel.readable().await?;
        let fd = channel.get_ref().as_raw_fd();
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let mut pieces = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(
            fd,
            &mut pieces,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) if message.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(message) => {
                let mut descriptor = None;
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(numbers) = control {
                        // SAFETY: new descriptors that nobody else knows.
                        let owned = numbers.into_iter().map(|n| unsafe { OwnedFd::from_raw_fd(n) });
                        descriptor = owned.reduce(|_, last| last);
                    }
                }
                return Ok((message.bytes, descriptor));
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// False: no room. A channel without another end takes everything: its end is told elsewhere.
fn send(channel: &OwnedFd, message: &[u8], descriptors: &[Descriptor]) -> bool {
    let numbers: Vec<RawFd> = descriptors.iter().map(Descriptor::number).collect();
    let control = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[] } else { &control[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(channel.as_raw_fd(), &[IoSlice::new(message)], control, flags, None);
    !matches!(sent, Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR | Errno::ETOOMANYREFS))
}

fn memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"image", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// How long [`super::Os::connect`] waits for a keeper that says nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
