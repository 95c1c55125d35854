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
use crate::channel::{Channel, Phase, Told, send};
use crate::children::Waiting;
use crate::daemon::{Life, Rest, SECOND, Stop};
use crate::drain::Logs;
use crate::guard::Guard;
use crate::replace::{Handed, Replace};
use crate::setup::{self, Listener, say};
use crate::start::{self, Starter};
use crate::store::{self, Store};
use crate::sys::{self, Epoll};
use crate::tab::Tab;
use crate::table::Table;
use crate::wire::{DESCRIPTORS, MESSAGE, Message};
use crate::{Config, TRY_AGAIN};

// What an epoll event is about: the upper four bits; an entry has its slot and the low bits of its generation
// below.
pub(crate) const CHANNEL_EVENT: u64 = 0;
pub(crate) const DAEMON_EVENT: u64 = 1 << 60;
const SIGNAL_EVENT: u64 = 2 << 60;
const LOGS_EVENT: u64 = 3 << 60;
pub(crate) const ENTRY_EVENT: u64 = 4 << 60;
pub(crate) const GUARD_EVENT: u64 = 5 << 60;

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
    pub guard: Guard,
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
            keeper.take_guard(handed.guard);
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
            guard: Guard::default(),
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
                self.leave_guard();
                return code;
            }
            let timeout = self.deadline(now).map(|at| Duration::from_nanos(at.saturating_sub(now)));
            let n = self.epoll.wait(&mut events, timeout);
            self.look_at_deadline();
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
            GUARD_EVENT => self.timers(),
            _ => {
                let (slot, generation) = (data as u32, data >> 32 & 0x0fff_ffff);
                if self.table.get(slot).is_some_and(|e| e.lives() && e.generation & 0x0fff_ffff == generation)
                {
                    self.reap(slot);
                }
            }
        }
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
            self.watchdog_due(),
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
        if due(self.watchdog_due()) {
            self.feed(now);
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
            let state =
                Told { table: &self.table, bank: &self.bank, guard: &self.guard, orphans: self.orphans };
            let composed = channel.compose(&mut self.message, &state);
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
                Phase::Guard(_) | Phase::Entries(_) | Phase::Live => 0,
            };
            match send(channel.fd.as_raw_fd(), self.message.bytes(), &descriptors[..count]) {
                Ok(()) => {
                    self.table.told(composed.news);
                    self.guard.news &= !composed.guard;
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
