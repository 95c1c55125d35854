//! What the daemon asks for, on its way to the keeper.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, MutexGuard, PoisonError};

use woodward_keeper::wire::{self, Order, Targets};

use super::cgroup::{Cgroups, Group};
use super::client::{Client, Left, Local};
use super::family::{Family, MARK};
use super::slots::{Child, Commanded, Defined, HELPER, Stage, Staging, Table};
use super::socket::{Descriptor, memory, send};
use super::{Launch, Role, Scope, Sink, SpawnError, program, stage};
use crate::tree::KillMode;

impl Client {
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        // A sink that panicked did so without the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an order. Small ones go together as long as the table is corked.
    pub fn order(&self, table: &mut Table, order: &Order, descriptors: Vec<Descriptor>) {
        let small =
            matches!(order, Order::Ack { .. } | Order::Forget { .. } | Order::Signal { .. } | Order::Pong);
        if !(table.corked && small && table.message.has_room()) {
            self.send_waiting(table);
        }
        table.message.order(order);
        if !(table.corked && small) {
            self.post(table, descriptors);
        }
    }

    /// Sends the orders that have waited for each other; none waits from now on.
    pub fn uncork(&self, table: &mut Table) {
        table.corked = false;
        self.send_waiting(table);
    }

    fn send_waiting(&self, table: &mut Table) {
        if !table.message.is_empty() {
            self.post(table, Vec::new());
        }
    }

    /// Sends the message, or puts it at the end of the queue.
    fn post(&self, table: &mut Table, descriptors: Vec<Descriptor>) {
        let Table { message, queue, .. } = table;
        if !queue.is_empty() || !send(self.channel.get_ref(), message.bytes(), &descriptors) {
            queue.push_back((message.bytes().to_vec(), descriptors));
            let _ = self.inbox.send(Local::Blocked);
        }
        message.clear();
    }

    /// Sends what is in the queue; false: the channel is full.
    pub fn flush(&self) -> bool {
        let mut table = self.lock();
        while let Some((bytes, descriptors)) = table.queue.front() {
            if !send(self.channel.get_ref(), bytes, descriptors) {
                return false;
            }
            table.queue.pop_front();
        }
        true
    }

    pub fn release(&self, table: &mut Table, slot: u32) {
        self.settle(table, slot);
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
        let mut guard = self.lock();
        let table = &mut *guard;
        let slot = table.slot(&program.path, role);
        let slot = slot.ok_or_else(|| step("start", io::Error::other("too many processes")))?;
        self.settle(table, slot);
        let group = self.enter_generation(table, &program.path, generation, role, *kill);

        let directory = group.as_ref().map(Group::open).transpose().map_err(|e| step("control group", e))?;
        let groups_of_v1 = self.limits.set(self.cgroups.as_ref(), &program.path, &program.resources)?;
        let mut watch = None;
        let mut image = None;
        if stage::is_needed(program, &groups_of_v1) {
            let exe = self.exe.clone();
            let exe = exe.ok_or_else(|| step("stage", io::Error::other("only woodward itself has one")))?;
            let mut wrapped = program::image(program, &file)?;
            let prepared = stage::prepare(&wrapped, program, groups_of_v1);
            let (ours, theirs) = prepared.map_err(|e| step("stage", e))?;
            let free = descriptors.iter().map(|&(number, _)| number + 1).max().unwrap_or(3);
            stage::wrap(&mut wrapped, free, free + 1);
            descriptors.extend([(free, exe), (free + 1, Arc::new(theirs))]);
            (watch, image) = (Some(ours), Some(wrapped));
        }
        let targets: Vec<u32> = descriptors.iter().map(|&(number, _)| number as u32).collect();
        let targets = Targets::new(&targets)
            .ok_or_else(|| step("descriptors", io::Error::other("too many, or a number below 3")))?;

        let same_output = |a: &Option<Arc<OwnedFd>>, b: &Option<Arc<OwnedFd>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let defined = table.slots[slot as usize].defined.as_ref();
        if !defined.is_some_and(|d| {
            Arc::ptr_eq(&d.program, program) && d.file == file && same_output(&d.output, output)
        }) {
            let image = image.map_or_else(|| program::image(program, &file), Ok)?.encode();
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
        let order = Order::Spawn { slot, generation, cgroup: directory.is_some(), targets, additions: &text };
        let shared = descriptors.drain(..).map(|(_, fd)| Descriptor::Shared(fd));
        self.order(table, &order, directory.map(Descriptor::Own).into_iter().chain(shared).collect());
        let place = &mut table.slots[slot as usize];
        (place.generation, place.stage, place.pid) = (generation, Stage::Asked, 0);
        place.staging = watch.map_or(Staging::None, Staging::Waiting);
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
            commanded: Commanded::No,
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
                commanded: Commanded::No,
            };
        }
        child.empty = false;
        if role == Role::Main {
            child.kill = kill;
        }
        child.group.clone()
    }

    /// Directory of the control group of a generation that runs.
    pub fn group(&self, path: &str, generation: u64) -> Option<std::path::PathBuf> {
        let table = self.lock();
        let child = table.children.get(path).filter(|child| child.generation == generation)?;
        child.group.as_ref().map(|group| group.dir().to_path_buf())
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

    /// See [`super::Os::command`].
    pub fn command(&self, path: &str, generation: u64) {
        if let Some(child) = self.lock().children.get_mut(path).filter(|c| c.generation == generation) {
            child.commanded = Commanded::Yes;
        }
    }

    /// See [`super::Os::command_over`].
    pub fn command_over(&self, path: &str, generation: u64) {
        let mut table = self.lock();
        let Some(child) = table.children.get_mut(path).filter(|c| c.generation == generation) else { return };
        let before = std::mem::replace(&mut child.commanded, Commanded::No);
        if before == Commanded::Ended {
            let _ = self.inbox.send(Local::Uncommanded(path.into(), generation));
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
            self.note_end(&mut table, slot, generation);
            if table.slots[slot as usize].sink.is_none() {
                // Nobody will hear of it.
                self.settle(&mut table, slot);
            }
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

    /// Takes note of the end of a process that was found ended: it is the sink's now.
    pub fn note_end(&self, table: &mut Table, slot: u32, generation: u64) {
        let place = &mut table.slots[slot as usize];
        if place.stage == Stage::Ended && place.generation == generation {
            place.stage = Stage::Idle;
            place.owed = true;
        }
    }

    /// See [`super::Os::acknowledge`].
    pub fn acknowledge(&self, path: &str, generation: u64) {
        let mut table = self.lock();
        let slot = table.find(path, Role::Main);
        if let Some(slot) = slot.filter(|&slot| table.slots[slot as usize].generation == generation) {
            self.settle(&mut table, slot);
        }
    }

    /// See [`super::Os::dismiss`].
    pub fn dismiss(&self, path: &str, generation: u64) {
        let mut table = self.lock();
        self.know(&mut table, path, generation);
        if let Some(slot) = table.find(path, Role::Main) {
            self.note_end(&mut table, slot, generation);
            self.settle(&mut table, slot);
        }
    }

    /// The keeper need not keep this end any longer.
    pub fn settle(&self, table: &mut Table, slot: u32) {
        let place = &mut table.slots[slot as usize];
        if std::mem::take(&mut place.owed) {
            let generation = place.generation;
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

    pub fn left(&self, path: &str, child: &Child) -> Left {
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
    pub fn adopt(&self, path: &str, generation: u64, kill: KillMode, sink: Sink) -> Option<i32> {
        let mut table = self.lock();
        self.know(&mut table, path, generation);
        let found = self.found.iter().find(|f| *f.path == *path && f.generation == generation);
        let (Some(slot), Some(found)) = (table.find(path, Role::Main), found) else { return None };
        if let Some(child) = table.children.get_mut(path) {
            child.kill = kill;
        }
        table.slots[slot as usize].sink = Some(sink);
        let ended = found.ended.filter(|_| table.slots[slot as usize].stage == Stage::Ended);
        let _ = self.inbox.send(Local::Adopted(slot, generation, ended));
        Some(found.pid).filter(|_| ended.is_none())
    }

    /// See [`super::Os::rest`].
    pub fn rest(&self, path: &str, generation: u64) {
        let mut table = self.lock();
        let slot = table.find(path, Role::Main);
        if let Some(slot) = slot.filter(|&slot| {
            let place = &table.slots[slot as usize];
            place.generation == generation && place.stage == Stage::Idle
        }) {
            self.settle(&mut table, slot);
            self.release(&mut table, slot);
        }
    }

    /// See [`super::Os::forget`].
    pub fn forget(&self, path: &str) {
        let mut table = self.lock();
        let idle = |table: &Table, slot: u32| table.slots[slot as usize].stage == Stage::Idle;
        if let Some(slot) = table.find(path, Role::Main).filter(|&slot| idle(&table, slot)) {
            self.release(&mut table, slot);
        }
        self.limits.forget(path);
        if let Some(group) = table.children.remove(path).and_then(|c| c.group) {
            group.remove();
            group.parent().remove();
        }
    }

    /// See [`super::Os::exit`].
    pub fn exit(&self, code: u8) {
        let table = self.lock();
        for group in table.children.values().filter_map(|child| child.group.as_ref()) {
            group.remove();
            group.parent().remove();
        }
        for group in self.cgroups.iter().flat_map(Cgroups::all).collect::<Vec<_>>().iter().rev() {
            group.remove();
        }
        // Without a keeper the services go on, and with them what they listen at.
        let keeper = table.signals.is_some();
        drop(table);
        if keeper {
            self.limits.clear();
            self.close_sockets();
        }
        self.order(&mut self.lock(), &Order::Exit { code }, Vec::new());
        self.say_the_rest();
    }

    /// See [`super::Os::replace`].
    pub fn replace(&self, file: OwnedFd) {
        self.order(&mut self.lock(), &Order::Replace, vec![Descriptor::Own(file)]);
        self.say_the_rest();
    }

    /// The caller is about to end: now or never.
    fn say_the_rest(&self) {
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
}
