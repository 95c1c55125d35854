//! The client of the keeper: one table of slots that mirrors the keeper's, one task that reads the channel.
//!
//! Whoever calls [`super::Os`] writes orders at once (or into a queue while the channel is full). What comes
//! back, and what this side finds out itself (a program that is not there, a group that has become empty), is
//! delivered by the one task, in order, and never with the lock held: a sink may call back.
//!
//! ```text
//! slot:        idle ─launch─► asked ─Running─► running ─Ended─► idle        asked ─Failed─► idle
//! generation:  main ended ─► is anything left? ─yes─► kill until empty ─► Emptied
//! ```

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use woodward_keeper::drain::Turn;
use woodward_keeper::image::Step;
use woodward_keeper::wire::{self, Order, Records, Report, State, Status};

use super::bank::Bank;
use super::cgroup::{Cgroups, Group};
use super::family::{self, Family};
use super::guard;
use super::limits::Limits;
use super::slots::{Commanded, Slot, Stage, Staging, Table};
use super::socket::{Descriptor, malformed, receive, set_nonblocking};
use super::stage::Outcome;
use super::{ExitStatus, Found, Launch, ProcessEvent, Role, Sink, SpawnError, program};
use crate::tree::KillMode;

pub(super) struct Client {
    pub channel: Arc<AsyncFd<OwnedFd>>,
    pub keeper: i32,
    pub turn: Turn,
    pub turned: Notify,
    pub cgroups: Option<Cgroups>,
    pub bank: Bank,
    pub limits: Limits,
    /// Our own program, for the stage; `None`: we are a library of another one.
    pub exe: Option<Arc<OwnedFd>>,
    pub state: Mutex<Table>,
    pub inbox: mpsc::UnboundedSender<Local>,
    pub found: Vec<Found>,
    pub guard: guard::Watch,
}

/// What this side tells itself.
pub(super) enum Local {
    /// There is something in the queue of orders.
    Blocked,
    /// A start that did not get as far as the keeper.
    Refused(Sink, SpawnError),
    /// Nothing of this generation is left, main process included.
    Emptied(Arc<str>, u64),
    /// A found main process has a sink now; how it ended, if it has.
    Adopted(u32, u64, Option<ExitStatus>),
    /// A start that goes through the stage has come out.
    Staged(u32, u64, Outcome),
    /// The stop command of a main process that has ended is over.
    Uncommanded(Arc<str>, u64),
    /// What was left of the generation before is gone.
    Launch(Launch),
    /// Somebody wants to know.
    Call(Box<dyn FnOnce() + Send>),
}

/// Processes of a generation, by whatever means there are.
pub(super) enum Left {
    Group(Group),
    Family(Family),
}

impl Left {
    pub fn is_nothing(&self) -> bool {
        match self {
            Left::Group(group) => group.is_empty(),
            Left::Family(family) => family.left().is_empty(),
        }
    }

    /// Returns when nothing is left; with `kill` it kills, again and again.
    pub async fn emptied(self, kill: bool) {
        match self {
            Left::Group(group) => group.emptied(kill).await,
            Left::Family(family) => family.emptied(kill).await,
        }
    }
}

// ---- connecting -----------------------------------------------------------------------------------------------------

impl Client {
    /// Reads the snapshot, kills what no keeper knows, starts the task.
    pub async fn connect(
        channel: OwnedFd,
        cgroups: Option<Cgroups>,
        limits: Limits,
    ) -> io::Result<Arc<Client>> {
        set_nonblocking(&channel)?;
        // SAFETY: an owned descriptor stays the same and open as long as its owner.
        let channel = Arc::new(unsafe { AsyncFd::register(channel) }?);
        let mut buffer = vec![0; wire::MESSAGE];
        let (mut keeper, mut page, mut ended) = (0, None, false);
        let mut table = Table::default();
        let (mut found, mut banked) = (Vec::new(), Vec::new());
        let (mut standing, mut bound) = (None, Vec::new());
        while !ended {
            let (length, descriptors) = receive(&channel, &mut buffer).await?;
            let mut descriptors = descriptors.into_iter();
            let mut records = Records::of(&buffer[..length]).map_err(malformed)?;
            while let Some(report) = records.report().map_err(malformed)? {
                match report {
                    Report::Hello { pid } => (keeper, page) = (pid as i32, descriptors.next()),
                    Report::Bank { name } => {
                        let name = String::from_utf8_lossy(name).into_owned();
                        banked.extend(descriptors.next().map(|fd| (name, fd)));
                    }
                    Report::Entry { slot, generation, state, pid, name } => {
                        found.extend(table.enter(slot, generation, state, pid, name));
                    }
                    Report::Guard(guard) => standing = Some(guard),
                    Report::Bound { group, term } => {
                        bound.push((Arc::from(String::from_utf8_lossy(group)), term));
                    }
                    Report::End => ended = true,
                    _ => {}
                }
            }
        }
        let page = page.ok_or_else(|| malformed(wire::Malformed))?;
        if let Some(cgroups) = &cgroups {
            sweep(cgroups, &found).await;
        }
        let (inbox, locals) = mpsc::unbounded_channel();
        let (signals, receiver) = mpsc::unbounded_channel();
        (table.signals, table.receiver) = (Some(signals), Some(receiver));
        let guard = guard::Watch::new(keeper, standing, bound, cgroups.as_ref());
        let client = Arc::new(Client {
            channel: channel.clone(),
            keeper,
            turn: Turn::map(&page)?,
            turned: Notify::new(),
            cgroups,
            bank: Bank::of(banked),
            limits,
            exe: if keeper == std::process::id() as i32 { None } else { Some(own_program()?) },
            state: Mutex::new(table),
            inbox,
            found,
            guard,
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

/// Groups of an earlier run under this name: nobody knows how their services are doing, and nothing may run
/// twice.
async fn sweep(cgroups: &Cgroups, found: &[Found]) {
    let kept: Vec<Group> = found.iter().map(|f| cgroups.group(&f.path, f.generation)).collect();
    let themselves: HashSet<&Path> = kept.iter().map(Group::dir).collect();
    let above: HashSet<&Path> = kept.iter().flat_map(|k| k.dir().ancestors()).collect();
    for group in cgroups.all().iter().skip(1).rev() {
        let is_theirs =
            above.contains(group.dir()) || group.dir().ancestors().any(|dir| themselves.contains(dir));
        if !is_theirs {
            group.emptied(true).await;
            group.remove();
        }
    }
}

impl Client {
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
        client.unguarded().await;
        // Whoever waits for signals learns that there will be none.
        client.lock().signals = None;
    }
    while let (Some(local), Some(client)) = (locals.recv().await, client.upgrade()) {
        client.deliver(local);
    }
}

impl Client {
    /// Obeys a message; what is answered goes back in one piece.
    fn read(&self, message: &[u8], refused: &mut Option<(u32, u64)>) -> Result<(), wire::Malformed> {
        self.lock().corked = true;
        let result = self.read_records(message, refused);
        self.uncork(&mut self.lock());
        result
    }

    fn read_records(&self, message: &[u8], refused: &mut Option<(u32, u64)>) -> Result<(), wire::Malformed> {
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
                Report::Guard(standing) => self.guard.heard(standing),
                Report::Hello { .. } | Report::Bank { .. } | Report::Bound { .. } | Report::End => {}
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
        if before == Stage::Asked && self.is_on_stage(place, slot, state, pid) {
            if let Some(child) = table.children.get_mut(&path).filter(|c| c.generation == generation)
                && role == Role::Main
            {
                child.leader = pid;
            }
            return;
        }
        let refused = match std::mem::take(&mut place.staging) {
            Staging::Refused(error) => Some(error),
            _ => None,
        };
        let mut events = Vec::with_capacity(2);
        let mut failed = false;
        match state {
            State::Running if before == Stage::Asked => {
                (place.stage, place.pid) = (Stage::Running, pid);
                events.push(ProcessEvent::Started { pid });
            }
            State::Ended(_) if refused.is_some() => {
                events.extend(refused.map(ProcessEvent::Failed));
                failed = true;
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
            place.owed = true;
            if role != Role::Main {
                self.settle(&mut table, slot);
            }
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
            (Role::Main, State::Ended(_)) if !failed => self.main_ended(slot, &path, generation),
            (Role::Main, State::Running) => self.tidy(),
            _ => {}
        }
        let mut table = self.lock();
        let place = &table.slots[slot as usize];
        let same = place.generation == generation && *place.path == *path && place.stage == Stage::Idle;
        // Nobody will start it again: helpers never are, and the child may have been forgotten meanwhile.
        if over && same && (role != Role::Main || !table.children.contains_key(&path)) {
            self.release(&mut table, slot);
        }
    }

    /// Whether the start goes through the stage and has not come out; then what the keeper says waits for that.
    fn is_on_stage(&self, place: &mut Slot, slot: u32, state: State, pid: i32) -> bool {
        if !matches!(state, State::Running | State::Ended(_)) {
            return false;
        }
        let generation = place.generation;
        let on = match std::mem::take(&mut place.staging) {
            Staging::Waiting(watch) => {
                let inbox = self.inbox.clone();
                tokio::spawn(async move {
                    let outcome = watch.outcome().await;
                    let _ = inbox.send(Local::Staged(slot, generation, outcome));
                });
                Staging::Watched
            }
            other @ (Staging::Watched | Staging::Over(_)) => other,
            other @ (Staging::None | Staging::Refused(_)) => {
                place.staging = other;
                return false;
            }
        };
        place.pid = pid;
        place.staging = if matches!(state, State::Ended(_)) { Staging::Over(state) } else { on };
        true
    }

    fn staged(&self, slot: u32, generation: u64, outcome: Outcome) {
        let mut table = self.lock();
        let Some(place) = table.slots.get_mut(slot as usize).filter(|p| p.generation == generation) else {
            return;
        };
        let (before, pid) = (std::mem::take(&mut place.staging), place.pid);
        match outcome {
            Outcome::Executed if matches!(before, Staging::Watched) => {
                place.stage = Stage::Running;
                drop(table);
                return self.tell(slot, generation, ProcessEvent::Started { pid });
            }
            Outcome::Executed | Outcome::Died => {}
            Outcome::Failed(why) => {
                let error = place.defined.as_ref().map(|d| why(&d.program, &d.file));
                place.staging = error.map_or(Staging::None, Staging::Refused);
            }
        }
        drop(table);
        if let Staging::Over(state) = before {
            self.entry(slot, generation, state, pid);
        }
    }

    /// Emptied, now or as soon as what is left has been killed.
    fn main_ended(&self, slot: u32, path: &Arc<str>, generation: u64) {
        let mut table = self.lock();
        let Some(child) = table.children.get_mut(path).filter(|c| c.generation == generation) else { return };
        if child.commanded != Commanded::No {
            child.commanded = Commanded::Ended;
            return;
        }
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
                    self.note_end(&mut table, slot, generation);
                    (table.slots[slot as usize].path.clone(), table.slots[slot as usize].pid)
                };
                self.tell(slot, generation, ProcessEvent::Started { pid });
                if let Some(status) = ended {
                    self.tell(slot, generation, ProcessEvent::Exited(status));
                    self.main_ended(slot, &path, generation);
                }
            }
            Local::Staged(slot, generation, outcome) => self.staged(slot, generation, outcome),
            Local::Uncommanded(path, generation) => {
                let slot = self.lock().find(&path, Role::Main);
                if let Some(slot) = slot {
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

fn own_program() -> io::Result<Arc<OwnedFd>> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    let file = options.read(true).custom_flags(libc::O_PATH).open("/proc/self/exe")?;
    Ok(Arc::new(file.into()))
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

/// How long [`super::Os::connect`] waits for a keeper that says nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
