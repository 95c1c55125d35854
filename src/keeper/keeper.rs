//! The loop: one thread, one epoll, nothing that blocks.
//!
//! Each wake-up does the same things in the same order: what happened (orders, ends, signals, log pipes),
//! outcomes of starts and starts that waited, what is due, and last the reports. Reports are made from the
//! table when there is room to send them; a full channel loses nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::bank::Bank;
use crate::channel::{Channel, Closed, Phase, receive, send};
use crate::children::Waiting;
use crate::daemon::{Life, Rest, SECOND, Stop};
use crate::drain::Logs;
use crate::replace::{Handed, Replace};
use crate::setup::{self, Listener, say};
use crate::start::{self, Failure, Starter};
use crate::store::{self, Store};
use crate::sys::{self, Epoll};
use crate::tab::Tab;
use crate::table::{State, Table};
use crate::wire::{DESCRIPTORS, MESSAGE, Malformed, Message, Order, Records};
use crate::{Config, TRY_AGAIN};

// What an epoll event is about: the upper four bits; an entry has its slot and the low bits of its generation
// below.
const CHANNEL_EVENT: u64 = 0;
pub(crate) const DAEMON_EVENT: u64 = 1 << 60;
const SIGNAL_EVENT: u64 = 2 << 60;
const LOGS_EVENT: u64 = 3 << 60;
pub(crate) const ENTRY_EVENT: u64 = 4 << 60;

/// Time the daemon has to end after it has said its last word.
const LAST_WORD: u64 = 5 * SECOND;
/// What a start fails with when there are no descriptors left for what belongs to it.
const NO_DESCRIPTORS: Failure = Failure { step: crate::image::Step::Prepare, errno: libc::EMFILE };
/// Between the moment the daemon may no longer read log pipes and the moment the keeper does.
pub(crate) const TAKING: u64 = SECOND / 100;
/// Messages read in one wake-up.
const MESSAGES: usize = 64;

/// Who keeps an eye on the log pipes.
pub(crate) enum Eye {
    /// Nobody: the keeper reads them itself.
    Shut,
    /// The next readable pipe makes the keeper ask the daemon.
    Open,
    /// It has been asked.
    Asked,
    /// It has answered.
    Resting { until: u64 },
    /// It has not: the keeper reads them from now on. What the daemon was just doing with them is done by
    /// then.
    Taking { until: u64 },
}

/// Why nothing more is heard from the other side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It has closed the channel, most likely because it is about to end.
    Closed,
    /// It cannot be understood.
    Nonsense,
}

/// Whose a slot of the starter is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Daemon,
    Entry(u32),
}

pub(crate) struct Keeper {
    pub epoll: Epoll,
    pub table: Table,
    pub starter: Starter,
    pub owners: Vec<Owner>,
    pub waiting: VecDeque<Waiting>,
    pub bank: Bank,
    pub logs: Logs,
    pub eye: Eye,
    pub cgroup_kill: Option<File>,
    pub channel: Option<Channel>,
    pub life: Life,
    /// It is an init: whoever is left at the end is told first, after the loop.
    pub init: bool,
    pub rest: Rest,
    pub image: Vec<u8>,
    pub listener: Option<Listener>,
    pub signals: Option<OwnedFd>,
    pub stop: Stop,
    pub replace: Replace,
    pub store: Store,
    /// The daemon has said its last word: the exit code.
    pub code: Option<u8>,
    /// The next second of silence, and how many there were.
    pub silence: Option<(u64, u32)>,
    /// The next second of a stop.
    pub second: Option<u64>,
    pub orphans_due: Option<u64>,
    pub orphans: u64,
    pub order: u64,
    pub message: Message,
    pub buffer: Vec<u8>,
}

impl Keeper {
    /// The keeper process.
    pub fn process(config: &Config, lock: File, handed: Option<Handed>) -> std::io::Result<Keeper> {
        let mut inherited = setup::prepare()?;
        // Windows for starts must be low, and leave most descriptors to the services.
        let slots = (inherited.files[1] / 64).clamp(4, 64) as usize;
        let handed = handed.map(|mut handed| {
            handed.move_above(start::low(slots));
            inherited = handed.inherited;
            handed
        });
        // The image before has had those of its own, and they are closed.
        let held = if handed.is_none() { store::held(start::low(slots)) } else { Vec::new() };
        let starter = Starter::new(slots, inherited, true)?;
        // Above the windows of starts, so that no child that hangs in its exec has it.
        let lock = lock.try_clone().unwrap_or(lock);
        // SAFETY: fills and reads `set`.
        let signals = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            if config.init {
                libc::sigfillset(&mut set);
            }
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGPWR, libc::SIGHUP, libc::SIGCHLD] {
                libc::sigaddset(&mut set, signal);
            }
            sys::owned(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
        };
        let mut keeper = Keeper::new(starter, slots)?;
        keeper.epoll.add(signals.as_raw_fd(), libc::EPOLLIN, SIGNAL_EVENT)?;
        keeper.signals = Some(signals);
        keeper.image = setup::image(config);
        keeper.listener = config.notify.as_deref().and_then(|address| Listener::new(address).ok());
        keeper.life = Life::Resting { until: 0 };
        keeper.init = config.init;
        keeper.may_be_replaced(config, &inherited, lock);
        keeper.store = Store::new(sys::now());
        let stored: Vec<_> = held.iter().map(|held| (held.slot, held.generation)).collect();
        let mut held = held.into_iter().map(|held| held.pidfd).collect();
        match Tab::open(&config.state) {
            Ok((tab, past)) => {
                keeper.table.tab = Some(tab);
                let (alive, ended) = keeper.take_over(past, &mut held, &|name, generation| {
                    (config.members)(&config.state, name, generation)
                });
                if alive + ended > 0 && handed.is_none() {
                    let text = format!("{alive} of its processes go on, {ended} have ended");
                    say(&format!("an earlier keeper is gone: {text}"));
                }
            }
            Err(e) => say(&format!("nothing that runs will survive this process: cannot note it: {e}")),
        }
        if handed.is_none() {
            keeper.compare_store(&stored);
        }
        if let Some(handed) = handed {
            handed.bank.into_iter().for_each(|(name, fd)| keeper.bank.put(&name, fd));
            for (slot, pipe, segment) in handed.logs {
                // What cannot be taken up is opened again by the daemon.
                let _ = keeper.logs.put(slot, pipe, segment);
            }
            keeper.logs.take(true);
            keeper.orphans = handed.orphans;
        }
        Ok(keeper)
    }

    /// The keeper thread of this program; `fd` is its end of the channel.
    pub fn thread(fd: OwnedFd) -> std::io::Result<Keeper> {
        let inherited = setup::block_signals();
        let mut keeper = Keeper::new(Starter::new(16, inherited, true)?, 16)?;
        keeper.life = Life::Program;
        keeper.open(fd)?;
        Ok(keeper)
    }

    fn new(starter: Starter, slots: usize) -> std::io::Result<Keeper> {
        let (epoll, logs) = (Epoll::new()?, Logs::new()?);
        epoll.add(logs.fd(), libc::EPOLLIN, LOGS_EVENT)?;
        Ok(Keeper {
            epoll,
            table: Table::new(),
            starter,
            owners: vec![Owner::Nobody; slots],
            waiting: VecDeque::with_capacity(64),
            bank: Bank::default(),
            logs,
            eye: Eye::Shut,
            cgroup_kill: None,
            channel: None,
            life: Life::Gone,
            init: false,
            rest: Rest::default(),
            image: Vec::new(),
            listener: None,
            signals: None,
            stop: Stop::No,
            replace: Replace::default(),
            store: Store::default(),
            code: None,
            silence: None,
            second: None,
            orphans_due: None,
            orphans: 0,
            order: 0,
            message: Message::default(),
            buffer: vec![0; MESSAGE],
        })
    }

    /// Runs until everything has ended. The exit code.
    pub fn run(mut self) -> u8 {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        let mut now = sys::now();
        self.due(now);
        self.send();
        loop {
            if let Some(code) = self.finished() {
                return code;
            }
            let timeout = self.deadline(now).map(|at| Duration::from_nanos(at.saturating_sub(now)));
            let n = self.epoll.wait(&mut events, timeout);
            now = sys::now();
            for event in &events[..n] {
                self.event(event.u64, event.events, now);
            }
            self.outcomes(now);
            self.start_waiting(now);
            self.due(now);
            self.send();
        }
    }

    pub fn finished(&self) -> Option<u8> {
        let alone = matches!(self.life, Life::Gone | Life::Resting { .. } | Life::Program);
        let stopped = matches!(self.stop, Stop::Terminated { .. } | Stop::Killed);
        let code = self.code.or(stopped.then_some(TRY_AGAIN))?;
        (alone && self.channel.is_none() && self.table.living() == 0).then_some(code)
    }

    fn event(&mut self, data: u64, events: u32, now: u64) {
        match data & (15 << 60) {
            CHANNEL_EVENT => {
                if events & libc::EPOLLOUT as u32 != 0
                    && let Some(channel) = &mut self.channel
                {
                    channel.blocked = false;
                    let _ = self.epoll.change(channel.fd.as_raw_fd(), libc::EPOLLIN, CHANNEL_EVENT);
                }
                if events & !(libc::EPOLLOUT as u32) != 0 {
                    self.receive(now, MESSAGES);
                }
            }
            DAEMON_EVENT => self.daemon_ended(now),
            SIGNAL_EVENT => self.signalled(now),
            LOGS_EVENT => self.pipes_readable(now),
            _ => {
                let (slot, generation) = (data as u32, data >> 32 & 0x0fff_ffff);
                if self.table.get(slot).is_some_and(|e| e.lives() && e.generation & 0x0fff_ffff == generation)
                {
                    self.reap(slot);
                }
            }
        }
    }

    // ---- orders ---------------------------------------------------------------------------------------------------

    /// Takes up a channel to a daemon that has still to hear everything.
    pub fn open(&mut self, fd: OwnedFd) -> std::io::Result<()> {
        self.epoll.add(fd.as_raw_fd(), libc::EPOLLIN, CHANNEL_EVENT)?;
        let stop = if self.stop == Stop::No { 0 } else { 1 << (libc::SIGTERM - 1) };
        self.channel = Some(Channel {
            fd,
            phase: Phase::Hello,
            blocked: false,
            refused: VecDeque::new(),
            signals: stop,
            ping: stop != 0,
            logs: false,
            orphans: 0,
        });
        Ok(())
    }

    /// Reads up to `most` messages.
    pub fn receive(&mut self, now: u64, most: usize) {
        for _ in 0..most {
            let Some(fd) = self.channel.as_ref().map(|c| c.fd.as_raw_fd()) else { return };
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = receive(fd, &mut buffer);
            let end = match received {
                Ok(Some(received)) => {
                    let lost = received.lost;
                    let obeyed = self.obey(&buffer[..received.length], received.descriptors, lost, now);
                    obeyed.err().map(|()| End::Nonsense)
                }
                Ok(None) => {
                    self.buffer = buffer;
                    return;
                }
                Err(Closed) => Some(End::Closed),
            };
            self.buffer = buffer;
            if let Some(end) = end {
                self.hang_up(end, now);
                return;
            }
        }
    }

    /// The other side talks nonsense or no longer at all.
    fn hang_up(&mut self, end: End, now: u64) {
        self.close_channel();
        match (&self.life, end) {
            (Life::Alive { pid, .. }, End::Nonsense) => {
                say("the daemon talks nonsense and is killed");
                sys::kill(*pid, libc::SIGKILL, false);
            }
            (Life::Alive { .. }, End::Closed) => self.silence = Some((now + SECOND, 0)),
            (Life::Program, _) => self.terminate(now),
            (Life::Resting { .. } | Life::Gone, _) => {}
        }
    }

    pub fn close_channel(&mut self) {
        if let Some(channel) = self.channel.take() {
            self.epoll.remove(channel.fd.as_raw_fd());
        }
        self.silence = None;
        self.logs.take(true);
        self.read_logs();
    }

    /// Carries out the orders of a message. `lost`: the keeper had no numbers free for its descriptors.
    fn obey(&mut self, message: &[u8], descriptors: Vec<OwnedFd>, lost: bool, now: u64) -> Result<(), ()> {
        self.silence = None;
        if let Stop::Told { silent, .. } = &mut self.stop {
            *silent = 0;
        }
        if matches!(self.eye, Eye::Asked) {
            self.eye = Eye::Resting { until: now + SECOND };
        }
        let mut descriptors = descriptors.into_iter();
        let mut records = Records::of(message).map_err(drop)?;
        while let Some((order, count)) = records.order().map_err(|Malformed| ())? {
            if descriptors.len() >= count {
                self.carry_out(order, &mut descriptors, now)?;
            } else if lost {
                self.miss(order)?;
            } else {
                return Err(());
            }
        }
        if descriptors.len() == 0 { Ok(()) } else { Err(()) }
    }

    /// One order; as many descriptors are there as it needs. `Err`: it makes no sense.
    fn carry_out(
        &mut self,
        order: Order,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
        now: u64,
    ) -> Result<(), ()> {
        match order {
            Order::Define { slot, name, image, output } => {
                let file = descriptors.next().ok_or(())?;
                let output = if output { Some(descriptors.next().ok_or(())?) } else { None };
                let entry = self.table.define(slot, name).ok_or(())?;
                entry.image = Some((file, image as usize));
                entry.output = output;
            }
            Order::Spawn { slot, generation, cgroup, targets, additions } => {
                let cgroup = if cgroup { Some(descriptors.next().ok_or(())?) } else { None };
                let targets = targets.as_slice();
                let extras = targets.iter().copied().zip(descriptors.by_ref().take(targets.len())).collect();
                let entry = self.table.get_mut(slot).ok_or(())?;
                let stopping = matches!(self.stop, Stop::Terminated { .. } | Stop::Killed);
                if stopping || entry.state() != State::Idle || generation <= entry.generation {
                    if let Some(channel) = &mut self.channel {
                        channel.refused.push_back((slot, generation));
                    }
                    return Ok(());
                }
                (entry.generation, entry.pid) = (generation, 0);
                if entry.image.is_none() {
                    // Its definition was missed.
                    self.table.set(slot, State::Failed(NO_DESCRIPTORS));
                    return Ok(());
                }
                self.table.set(slot, State::Waiting);
                let additions = additions.to_vec();
                self.waiting.push_back(Waiting { slot, generation, cgroup, extras, additions });
                self.start_waiting(now);
            }
            Order::Signal { slot, generation, signal, group } => {
                let Some(entry) = self.table.get(slot).filter(|e| e.generation == generation) else {
                    return Ok(());
                };
                if entry.lives() {
                    entry.signal(i32::from(signal), group);
                } else if entry.state() == State::Waiting
                    && matches!(i32::from(signal), libc::SIGTERM | libc::SIGKILL)
                {
                    self.cancel(slot);
                }
            }
            Order::Ack { slot, generation } => {
                let entry = self.table.get(slot).filter(|e| e.generation == generation);
                if entry.is_some_and(|e| matches!(e.state(), State::Ended(_) | State::Failed(_))) {
                    self.table.set(slot, State::Idle);
                }
            }
            Order::Forget { slot } => {
                self.table.forget(slot);
            }
            Order::Cgroup => self.cgroup_kill = descriptors.next().map(File::from),
            Order::Log { slot } => {
                let fifo = descriptors.next().ok_or(())?;
                let segment = descriptors.next().ok_or(())?;
                self.logs.put(slot, fifo, segment).map_err(drop)?;
            }
            Order::DropLog { slot } => self.logs.drop(slot),
            Order::Logs => {
                self.logs.give(now);
                self.open_eye();
                if let Some(channel) = &mut self.channel {
                    channel.logs = true;
                }
            }
            Order::Put { name } => self.bank.put(name, descriptors.next().ok_or(())?),
            Order::Drop { name } => self.bank.drop(name),
            Order::Pong => {}
            Order::Notify { text } => {
                if let Some(listener) = &self.listener {
                    listener.tell(text);
                }
            }
            Order::Replace => self.replace_by(descriptors.next().ok_or(())?, now),
            Order::Exit { code } => {
                self.code = Some(code);
                self.second = Some(now + LAST_WORD);
            }
        }
        Ok(())
    }

    /// An order whose descriptors did not arrive.
    fn miss(&mut self, order: Order) -> Result<(), ()> {
        match order {
            Order::Define { slot, name, .. } => self.table.define(slot, name).ok_or(())?.image = None,
            Order::Spawn { slot, generation, .. } => {
                let entry = self.table.get_mut(slot).ok_or(())?;
                if entry.state() == State::Idle && generation > entry.generation {
                    (entry.generation, entry.pid) = (generation, 0);
                    self.table.set(slot, State::Failed(NO_DESCRIPTORS));
                }
            }
            _ => {}
        }
        Ok(())
    }

    // ---- log pipes ------------------------------------------------------------------------------------------------

    pub fn open_eye(&mut self) {
        self.eye = Eye::Open;
        let _ = self.epoll.change(self.logs.fd(), libc::EPOLLIN | libc::EPOLLONESHOT, LOGS_EVENT);
    }

    pub fn read_logs(&mut self) {
        self.eye = Eye::Shut;
        let _ = self.epoll.change(self.logs.fd(), libc::EPOLLIN, LOGS_EVENT);
    }

    fn pipes_readable(&mut self, now: u64) {
        if self.logs.is_ours() {
            self.logs.drain();
        } else if matches!(self.eye, Eye::Open) {
            self.eye = Eye::Asked;
            self.ask(now);
        }
    }

    // ---- time -----------------------------------------------------------------------------------------------------

    fn deadline(&self, now: u64) -> Option<u64> {
        let resting = if let Life::Resting { until } = self.life { Some(until) } else { None };
        let eye = match self.eye {
            Eye::Resting { until } | Eye::Taking { until } => Some(until),
            Eye::Shut | Eye::Open | Eye::Asked => None,
        };
        let silence = self.silence.map(|(at, _)| at);
        let (replace, held) = (self.replace_due(), self.logs.held_until());
        let all = [
            held,
            self.store_due(),
            self.starter.look_at(now),
            resting,
            eye,
            silence,
            self.second,
            self.orphans_due,
            replace,
        ];
        all.into_iter().flatten().min()
    }

    fn due(&mut self, now: u64) {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.orphans_due) {
            self.orphans_due = None;
            self.reap_orphans(now);
        }
        if due(self.silence.map(|(at, _)| at)) {
            self.silent(now);
        }
        if due(self.second) {
            self.stop_second(now);
        }
        match self.eye {
            Eye::Resting { until } if until <= now => self.open_eye(),
            Eye::Taking { until } if until <= now => self.read_logs(),
            _ => {}
        }
        if due(self.store_due()) {
            self.tell_store(now);
        }
        if due(self.logs.held_until()) {
            self.logs.let_go();
        }
        if due(self.replace_due())
            && let Life::Alive { pid, .. } = &self.life
        {
            sys::kill(*pid, libc::SIGKILL, false);
        }
        if matches!(self.life, Life::Resting { until } if until <= now) && self.finished().is_none() {
            if self.is_being_replaced() { self.replace(now) } else { self.start_daemon(now) }
        }
    }

    // ---- reports --------------------------------------------------------------------------------------------------

    fn send(&mut self) {
        while let Some(channel) = self.channel.as_mut().filter(|c| !c.blocked) {
            self.message.clear();
            let composed = channel.compose(&mut self.message, &self.table, &self.bank, self.orphans);
            if self.message.is_empty() {
                return;
            }
            let mut descriptors = [0; DESCRIPTORS];
            let count = match channel.phase {
                Phase::Hello => {
                    descriptors[0] = self.logs.page.as_raw_fd();
                    1
                }
                Phase::Bank(from) => {
                    let held = (from..from + composed.banked).filter_map(|n| self.bank.get(n));
                    held.zip(&mut descriptors).map(|((_, fd), place)| *place = fd.as_raw_fd()).count()
                }
                Phase::Entries(_) | Phase::Live => 0,
            };
            match send(channel.fd.as_raw_fd(), self.message.bytes(), &descriptors[..count]) {
                Ok(()) => {
                    self.table.told(composed.news);
                    channel.sent(composed);
                }
                Err(libc::EAGAIN) => {
                    channel.blocked = true;
                    let _ = self.epoll.change(
                        channel.fd.as_raw_fd(),
                        libc::EPOLLIN | libc::EPOLLOUT,
                        CHANNEL_EVENT,
                    );
                }
                // Nobody there: its end is on the way.
                Err(_) => channel.blocked = true,
            }
        }
    }
}
