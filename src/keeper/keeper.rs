//! The loop: one thread, one epoll, nothing that blocks.
//!
//! Each wake-up does the same things in the same order: what happened (orders, ends, signals, log pipes), outcomes of
//! starts and starts that waited, what is due, and last the reports. Reports are made from the table when there is room to send them; a full
//! channel loses nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::daemon::{self, GRACE, HUNG, Life, Listener, Rest, SECOND, SILENT, Stop};
use crate::drain::Logs;
use crate::start::{Failure, Source, Start, Starter};
use crate::sys::{self, Epoll};
use crate::table::{State, Table};
use crate::wire::{DESCRIPTORS, MESSAGE, Malformed, Message, Order, Records, Report, Status};
use crate::{CHANNEL, Config, TRY_AGAIN};

// What an epoll event is about: the upper four bits; an entry has its slot and the low bits of its generation below.
const CHANNEL_EVENT: u64 = 0;
const DAEMON_EVENT: u64 = 1 << 60;
const SIGNAL_EVENT: u64 = 2 << 60;
const LOGS_EVENT: u64 = 3 << 60;
const ENTRY_EVENT: u64 = 4 << 60;

/// Waiting for any child costs a walk over all of them; an orphan can wait that long.
const ORPHANS: u64 = SECOND / 20;
/// Time the daemon has to end after it has said its last word.
const LAST_WORD: u64 = 5 * SECOND;
/// What a start fails with when there are no descriptors left for what belongs to it.
const NO_DESCRIPTORS: Failure = Failure { step: crate::image::Step::Prepare, errno: libc::EMFILE };
/// Between the moment the daemon may no longer read log pipes and the moment the keeper does.
const TAKING: u64 = SECOND / 100;
/// Messages read in one wake-up.
const MESSAGES: usize = 64;

/// Both sides of the channel, as far as the keeper is concerned.
struct Channel {
    fd: OwnedFd,
    phase: Phase,
    /// Waiting for room.
    blocked: bool,
    refused: VecDeque<(u32, u64)>,
    /// Signals to be told, bit n-1 for signal n.
    signals: u64,
    ping: bool,
    logs: bool,
    orphans: u64,
}

/// How much of the snapshot has been sent.
#[derive(Clone, Copy)]
enum Phase {
    Hello,
    Entries(u32),
    Live,
}

/// Who keeps an eye on the log pipes.
enum Eye {
    /// Nobody: the keeper reads them itself.
    Shut,
    /// The next readable pipe makes the keeper ask the daemon.
    Open,
    /// It has been asked.
    Asked,
    /// It has answered.
    Resting { until: u64 },
    /// It has not: the keeper reads them from now on. What the daemon was just doing with them is done by then.
    Taking { until: u64 },
}

/// A start in the queue.
struct Waiting {
    slot: u32,
    generation: u64,
    cgroup: Option<OwnedFd>,
    extras: Vec<(u32, OwnedFd)>,
    additions: Vec<u8>,
}

/// Whose a slot of the starter is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Daemon,
    Entry(u32),
}

pub(crate) struct Keeper {
    epoll: Epoll,
    table: Table,
    starter: Starter,
    owners: Vec<Owner>,
    waiting: VecDeque<Waiting>,
    logs: Logs,
    eye: Eye,
    cgroup_kill: Option<File>,
    channel: Option<Channel>,
    life: Life,
    rest: Rest,
    image: Vec<u8>,
    listener: Option<Listener>,
    signals: Option<OwnedFd>,
    stop: Stop,
    /// The daemon has said its last word: the exit code.
    code: Option<u8>,
    /// The next second of silence, and how many there were.
    silence: Option<(u64, u32)>,
    /// The next second of a stop.
    second: Option<u64>,
    orphans_due: Option<u64>,
    orphans: u64,
    order: u64,
    message: Message,
    buffer: Vec<u8>,
}

impl Keeper {
    /// The keeper process.
    pub fn process(config: &Config) -> std::io::Result<Keeper> {
        let inherited = daemon::prepare()?;
        // Windows for starts must be low, and leave most descriptors to the services.
        let slots = (inherited.files[1] / 64).clamp(4, 64) as usize;
        let starter = Starter::new(slots, inherited, true)?;
        // SAFETY: fills and reads `set`.
        let signals = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD] {
                libc::sigaddset(&mut set, signal);
            }
            sys::owned(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
        };
        let mut keeper = Keeper::new(starter, slots)?;
        keeper.epoll.add(signals.as_raw_fd(), libc::EPOLLIN, SIGNAL_EVENT)?;
        keeper.signals = Some(signals);
        keeper.image = daemon::image(config);
        keeper.listener = config.notify.as_deref().and_then(|address| Listener::new(address).ok());
        keeper.life = Life::Resting { until: 0 };
        Ok(keeper)
    }

    /// The keeper thread of this program; `fd` is its end of the channel.
    pub fn thread(fd: OwnedFd) -> std::io::Result<Keeper> {
        let inherited = daemon::block_signals();
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
            logs,
            eye: Eye::Shut,
            cgroup_kill: None,
            channel: None,
            life: Life::Gone,
            rest: Rest::default(),
            image: Vec::new(),
            listener: None,
            signals: None,
            stop: Stop::No,
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

    fn finished(&self) -> Option<u8> {
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
    fn open(&mut self, fd: OwnedFd) -> std::io::Result<()> {
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
    fn receive(&mut self, now: u64, most: usize) {
        for _ in 0..most {
            let Some(fd) = self.channel.as_ref().map(|c| c.fd.as_raw_fd()) else { return };
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = receive(fd, &mut buffer);
            let done = match received {
                Ok(Some(received)) => {
                    let lost = received.lost;
                    self.obey(&buffer[..received.length], received.descriptors, lost, now)
                }
                Ok(None) => {
                    self.buffer = buffer;
                    return;
                }
                Err(Closed) => Err(()),
            };
            self.buffer = buffer;
            if done.is_err() {
                self.hang_up(now);
                return;
            }
        }
    }

    /// The other side talks nonsense or no longer at all.
    fn hang_up(&mut self, now: u64) {
        self.close_channel();
        match &self.life {
            Life::Alive { pid, .. } => sys::kill(*pid, libc::SIGKILL, false),
            Life::Program => self.terminate(now),
            Life::Resting { .. } | Life::Gone => {}
        }
    }

    fn close_channel(&mut self) {
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
        if let Stop::Told { silent } = &mut self.stop {
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
                    sys::kill(entry.pid, i32::from(signal), group);
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
                self.logs.give();
                self.open_eye();
                if let Some(channel) = &mut self.channel {
                    channel.logs = true;
                }
            }
            Order::Pong => {}
            Order::Notify { text } => {
                if let Some(listener) = &self.listener {
                    listener.tell(text);
                }
            }
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

    // ---- starts and ends ------------------------------------------------------------------------------------------

    fn start_waiting(&mut self, now: u64) {
        while !self.waiting.is_empty() && self.starter.has_room(now) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            self.start(waiting, now);
        }
    }

    fn start(&mut self, waiting: Waiting, now: u64) {
        let slot = waiting.slot;
        let Some(entry) = self.table.get(slot) else { return };
        let Some((image, length)) = &entry.image else { return };
        let started = self.starter.start(
            &Start {
                image: Source::File(image.as_raw_fd(), *length),
                additions: &waiting.additions,
                output: entry.output.as_ref().map(AsRawFd::as_raw_fd),
                cgroup: waiting.cgroup.as_ref().map(AsRawFd::as_raw_fd),
                extras: &waiting.extras,
            },
            now,
        );
        match started {
            Ok(child) => {
                let data = ENTRY_EVENT | (waiting.generation & 0x0fff_ffff) << 32 | u64::from(slot);
                if self.epoll.add(child.pidfd.as_raw_fd(), libc::EPOLLIN, data).is_err() {
                    // Its end comes to light with the orphans.
                    sys::kill(child.pid, libc::SIGKILL, false);
                }
                self.owners[child.slot] = Owner::Entry(slot);
                self.order += 1;
                if let Some(entry) = self.table.get_mut(slot) {
                    entry.pid = child.pid;
                    entry.pidfd = Some(child.pidfd);
                    entry.order = self.order;
                    entry.oom_score_adjust = child.oom_score_adjust;
                }
                self.table.set(slot, State::Starting { slot: child.slot });
            }
            Err(failure) => self.table.set(slot, State::Failed(failure)),
        }
    }

    /// Takes a start out of the queue.
    fn cancel(&mut self, slot: u32) {
        self.waiting.retain(|w| w.slot != slot);
        self.table
            .set(slot, State::Failed(Failure { step: crate::image::Step::Prepare, errno: libc::ECANCELED }));
    }

    /// Looks at all starts under way.
    fn outcomes(&mut self, now: u64) {
        for slot in 0..self.owners.len() {
            match self.owners[slot] {
                Owner::Nobody => {}
                Owner::Daemon => {
                    if let Some(outcome) = self.outcome(slot) {
                        self.daemon_started(outcome, now);
                    }
                }
                Owner::Entry(entry) => match self.outcome(slot) {
                    Some(Ok(())) => self.executed(entry),
                    Some(Err(failure)) => {
                        // It has ended or is about to: reaped as any other, but reported as this.
                        if let Some(e) = self.table.get(entry) {
                            wait_for(e.pid);
                        }
                        self.ended(entry, State::Failed(failure));
                    }
                    None => {}
                },
            }
        }
    }

    fn outcome(&mut self, slot: usize) -> Option<Result<(), Failure>> {
        let outcome = self.starter.outcome(slot)?;
        self.owners[slot] = Owner::Nobody;
        Some(outcome)
    }

    fn executed(&mut self, slot: u32) {
        self.table.set(slot, State::Running);
        if let Some(entry) = self.table.get(slot)
            && let Some(adjust) = entry.oom_score_adjust
            && let Ok(mut file) =
                File::options().write(true).open(format!("/proc/{}/oom_score_adj", entry.pid))
        {
            // Not before the exec: a process that shares the keeper's memory would set it for the keeper too.
            let _ = write!(file, "{adjust}");
        }
    }

    /// A child of the table may have ended. False: not yet.
    fn reap(&mut self, slot: u32) -> bool {
        let Some(entry) = self.table.get(slot) else { return false };
        let (state, pid) = (entry.state(), entry.pid);
        let Some(pidfd) = entry.pidfd.as_ref().map(AsRawFd::as_raw_fd) else { return false };
        if let State::Starting { slot: place } = state {
            match self.outcome(place) {
                Some(Ok(())) => {}
                Some(Err(failure)) => {
                    wait_for(pid);
                    self.ended(slot, State::Failed(failure));
                    return true;
                }
                None => return false,
            }
        }
        let Some(status) = wait(pidfd) else { return false };
        self.ended(slot, State::Ended(status));
        true
    }

    fn ended(&mut self, slot: u32, state: State) {
        if let Some(entry) = self.table.get_mut(slot)
            && let Some(pidfd) = entry.pidfd.take()
        {
            self.epoll.remove(pidfd.as_raw_fd());
            if matches!(state, State::Failed(_)) {
                entry.pid = 0;
            }
            self.table.set(slot, state);
        }
    }

    fn reap_orphans(&mut self, now: u64) {
        loop {
            // SAFETY: all zeros is a valid value; WNOWAIT takes nothing away.
            let pid = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
                if libc::waitid(libc::P_ALL, 0, &mut info, how) != 0 {
                    return;
                }
                info.si_pid()
            };
            let known = self.table.iter().find(|(_, e)| e.lives() && e.pid == pid).map(|(slot, _)| slot);
            match (pid, known, &self.life) {
                (0, ..) => return,
                (_, Some(slot), _) => {
                    if !self.reap(slot) {
                        self.orphans_due = Some(now + ORPHANS);
                        return;
                    }
                }
                (_, None, Life::Alive { pid: daemon, .. }) if *daemon == pid => self.daemon_ended(now),
                _ => {
                    wait_for(pid);
                    self.orphans += 1;
                }
            }
        }
    }

    // ---- log pipes ------------------------------------------------------------------------------------------------

    fn open_eye(&mut self) {
        self.eye = Eye::Open;
        let _ = self.epoll.change(self.logs.fd(), libc::EPOLLIN | libc::EPOLLONESHOT, LOGS_EVENT);
    }

    fn read_logs(&mut self) {
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

    // ---- the daemon -----------------------------------------------------------------------------------------------

    /// Makes the daemon say something, or the silence is counted.
    fn ask(&mut self, now: u64) {
        if let Some(channel) = &mut self.channel {
            channel.ping = true;
            if self.silence.is_none() {
                self.silence = Some((now + SECOND, 0));
            }
        }
    }

    fn start_daemon(&mut self, now: u64) {
        if !self.starter.has_room(now) {
            return;
        }
        let Ok((ours, theirs)) = sys::channel() else { return self.daemon_rests(now, now) };
        let extras = [(CHANNEL as u32, theirs)];
        let image = Source::Bytes(&self.image);
        let start = Start { image, additions: b"", output: None, cgroup: None, extras: &extras };
        match self.starter.start(&start, now) {
            Ok(child) => {
                self.owners[child.slot] = Owner::Daemon;
                let _ = self.epoll.add(child.pidfd.as_raw_fd(), libc::EPOLLIN, DAEMON_EVENT);
                self.life = Life::Alive {
                    pid: child.pid,
                    pidfd: child.pidfd,
                    since: now,
                    starting: Some(child.slot),
                };
                if self.open(ours).is_err() {
                    sys::kill(child.pid, libc::SIGKILL, false);
                }
            }
            Err(failure) => {
                daemon::say(&format!("cannot start the daemon: {failure}"));
                self.daemon_rests(now, now);
            }
        }
    }

    fn daemon_started(&mut self, outcome: Result<(), Failure>, now: u64) {
        if let Life::Alive { pid, starting, .. } = &mut self.life {
            *starting = None;
            if let Err(failure) = outcome {
                wait_for(*pid);
                daemon::say(&format!("cannot start the daemon: {failure}"));
                self.daemon_gone(now);
            }
        }
    }

    fn daemon_ended(&mut self, now: u64) {
        let Life::Alive { pidfd, starting, .. } = &self.life else { return };
        let (pidfd, starting) = (pidfd.as_raw_fd(), *starting);
        if let Some(slot) = starting {
            match self.outcome(slot) {
                Some(outcome @ Err(_)) => return self.daemon_started(outcome, now),
                Some(Ok(())) => {}
                None => return,
            }
        }
        let Some(status) = wait(pidfd) else { return };
        // What it said before it ended still counts.
        self.receive(now, usize::MAX);
        if self.code.is_none() && self.stop == Stop::No {
            let how = match status {
                Status::Code(code) => format!("exit {code}"),
                Status::Signal(signal) => format!("signal {signal}"),
                Status::Unknown => "unknown status".to_owned(),
            };
            daemon::say(&format!("the daemon has ended ({how}) and is started again; services go on"));
        }
        self.daemon_gone(now);
    }

    fn daemon_gone(&mut self, now: u64) {
        let Life::Alive { pidfd, since, .. } = std::mem::replace(&mut self.life, Life::Gone) else { return };
        self.epoll.remove(pidfd.as_raw_fd());
        self.close_channel();
        match (self.code, self.stop) {
            (Some(_), _) => self.kill_all(now),
            (None, Stop::No | Stop::Told { .. }) => self.daemon_rests(since, now),
            (None, Stop::Terminated { .. } | Stop::Killed) => {}
        }
    }

    fn daemon_rests(&mut self, since: u64, now: u64) {
        self.life = Life::Resting { until: self.rest.after(since, now) };
    }

    /// One more second without a word.
    fn silent(&mut self, now: u64) {
        let Some((_, seconds)) = &mut self.silence else { return };
        *seconds += 1;
        let seconds = *seconds;
        self.silence = Some((now + SECOND, seconds));
        if seconds == SILENT && !self.logs.is_ours() {
            self.logs.take(false);
            self.eye = Eye::Taking { until: now + TAKING };
            if let Some(channel) = &mut self.channel {
                channel.logs = true;
            }
        }
        let Life::Alive { pid, .. } = &self.life else { return };
        if self.stop == Stop::No && seconds >= HUNG {
            daemon::say("the daemon hangs and is killed");
            sys::kill(*pid, if seconds == HUNG { libc::SIGABRT } else { libc::SIGKILL }, false);
        }
    }

    // ---- signals and stop -----------------------------------------------------------------------------------------

    fn signalled(&mut self, now: u64) {
        let Some(fd) = self.signals.as_ref().map(AsRawFd::as_raw_fd) else { return };
        loop {
            // SAFETY: all zeros is a valid value; reads into `info`.
            let (n, info) = unsafe {
                let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                let size = size_of::<libc::signalfd_siginfo>();
                (libc::read(fd, std::ptr::from_mut(&mut info).cast(), size), info)
            };
            if n <= 0 {
                return;
            }
            let signal = info.ssi_signo as i32;
            if signal == libc::SIGCHLD {
                self.orphans_due = self.orphans_due.or(Some(now + ORPHANS));
                continue;
            }
            if let Some(channel) = &mut self.channel {
                channel.signals |= 1 << (signal - 1);
            }
            if signal != libc::SIGHUP && self.stop == Stop::No {
                self.stop = Stop::Told { silent: 0 };
                self.second = Some(now + SECOND);
                self.ask(now);
            }
        }
    }

    /// One more second since the keeper was asked to stop, or the daemon has said its last word.
    fn stop_second(&mut self, now: u64) {
        self.second = Some(now + SECOND);
        if self.code.is_some() {
            match &self.life {
                Life::Alive { pid, .. } => sys::kill(*pid, libc::SIGKILL, false),
                _ => self.kill_all(now),
            }
            return;
        }
        match &mut self.stop {
            Stop::No => self.second = None,
            Stop::Told { silent } => {
                *silent += 1;
                if *silent > HUNG { self.terminate(now) } else { self.ask(now) }
            }
            Stop::Terminated { until } if now >= *until => self.kill_all(now),
            Stop::Terminated { .. } => {}
            Stop::Killed => self.kill_all(now),
        }
    }

    /// The keeper stops the services itself.
    fn terminate(&mut self, now: u64) {
        if matches!(self.life, Life::Alive { .. }) {
            daemon::say("the daemon does not answer: the keeper stops the services");
        }
        self.stop = Stop::Terminated { until: now + GRACE };
        self.second = Some(now + SECOND);
        if let Life::Alive { pid, .. } = &self.life {
            sys::kill(*pid, libc::SIGKILL, false);
        }
        self.cancel_waiting();
        let mut living: Vec<_> =
            self.table.iter().filter(|(_, e)| e.lives()).map(|(_, e)| (e.order, e.pid)).collect();
        living.sort_unstable();
        for (_, pid) in living.into_iter().rev() {
            sys::kill(pid, libc::SIGTERM, false);
        }
    }

    /// Repeated every second until nothing is left.
    fn kill_all(&mut self, now: u64) {
        self.stop = Stop::Killed;
        self.second = Some(now + SECOND);
        self.cancel_waiting();
        if let Some(file) = &mut self.cgroup_kill {
            let _ = file.write_all(b"1");
        }
        for (_, entry) in self.table.iter().filter(|(_, e)| e.lives()) {
            sys::kill(entry.pid, libc::SIGKILL, false);
            sys::kill(entry.pid, libc::SIGKILL, true);
        }
    }

    fn cancel_waiting(&mut self) {
        while let Some(slot) = self.waiting.front().map(|w| w.slot) {
            self.cancel(slot);
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
        let all = [self.starter.look_at(now), resting, eye, silence, self.second, self.orphans_due];
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
        if matches!(self.life, Life::Resting { until } if until <= now) && self.finished().is_none() {
            self.start_daemon(now);
        }
    }

    // ---- reports --------------------------------------------------------------------------------------------------

    fn send(&mut self) {
        while let Some(channel) = self.channel.as_mut().filter(|c| !c.blocked) {
            self.message.clear();
            let composed = channel.compose(&mut self.message, &self.table, self.orphans);
            if self.message.is_empty() {
                return;
            }
            let hello = matches!(channel.phase, Phase::Hello).then(|| self.logs.page.as_raw_fd());
            match send(channel.fd.as_raw_fd(), self.message.bytes(), hello) {
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

/// What a message consists of, to be taken note of when it has been sent.
#[derive(Clone, Copy)]
struct Composed {
    phase: Phase,
    refused: usize,
    news: usize,
    signals: u64,
    orphans: u64,
}

impl Channel {
    fn compose(&self, message: &mut Message, table: &Table, orphans: u64) -> Composed {
        let mut composed =
            Composed { phase: self.phase, refused: 0, news: 0, signals: 0, orphans: self.orphans };
        match self.phase {
            Phase::Hello => {
                message.report(&Report::Hello { pid: std::process::id() });
                composed.phase = Phase::Entries(0);
            }
            Phase::Entries(from) => {
                let mut next = from;
                while (next as usize) < table.len() && message.has_room() {
                    if let Some(entry) = table.get(next) {
                        message.report(&entry.report(next, true));
                    }
                    next += 1;
                }
                composed.phase = Phase::Entries(next);
                if next as usize == table.len() && message.has_room() {
                    message.report(&Report::End);
                    composed.phase = Phase::Live;
                }
            }
            Phase::Live => {
                while let Some(&(slot, generation)) = self.refused.get(composed.refused)
                    && message.has_room()
                {
                    message.report(&Report::Refused { slot, generation });
                    if let Some(entry) = table.get(slot) {
                        message.report(&entry.report(slot, false));
                    }
                    composed.refused += 1;
                }
                while let Some(slot) = table.news(composed.news)
                    && message.has_room()
                {
                    if let Some(entry) = table.get(slot) {
                        message.report(&entry.report(slot, false));
                    }
                    composed.news += 1;
                }
                if message.has_room() {
                    for signal in (1..=64).filter(|s| self.signals >> (s - 1) & 1 == 1) {
                        message.report(&Report::Signalled { signal });
                        composed.signals |= 1 << (signal - 1);
                    }
                    if self.logs {
                        message.report(&Report::Logs);
                    }
                    if self.orphans != orphans {
                        message.report(&Report::Orphans { count: orphans });
                        composed.orphans = orphans;
                    }
                    if self.ping {
                        message.report(&Report::Ping);
                    }
                }
            }
        }
        composed
    }

    fn sent(&mut self, composed: Composed) {
        let was_live = matches!(self.phase, Phase::Live);
        self.phase = composed.phase;
        self.refused.drain(..composed.refused);
        self.signals &= !composed.signals;
        self.orphans = composed.orphans;
        if was_live {
            (self.ping, self.logs) = (false, false);
        }
    }
}

// ---- descriptors in messages, statuses ------------------------------------------------------------------------------

/// The other side has closed the channel, or its message did not fit.
struct Closed;

#[repr(C, align(8))]
struct Control([u8; 64 + 4 * DESCRIPTORS]);

struct Received {
    length: usize,
    descriptors: Vec<OwnedFd>,
    /// There were more.
    lost: bool,
}

/// One message with its descriptors; `None`: there is none now.
fn receive(fd: RawFd, buffer: &mut [u8]) -> Result<Option<Received>, Closed> {
    let mut control = Control([0; 64 + 4 * DESCRIPTORS]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid value; everything it points to lives long enough; descriptors are new and taken once.
    unsafe {
        let mut head: libc::msghdr = std::mem::zeroed();
        head.msg_iov = &mut piece;
        head.msg_iovlen = 1;
        head.msg_control = control.0.as_mut_ptr().cast();
        head.msg_controllen = control.0.len() as _;
        let n = libc::recvmsg(fd, &mut head, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC);
        if n < 0 {
            let error = std::io::Error::last_os_error();
            return match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted => Ok(None),
                _ => Err(Closed),
            };
        }
        let mut descriptors = Vec::new();
        let mut c = libc::CMSG_FIRSTHDR(&head);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let count = ((*c).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                let data = libc::CMSG_DATA(c).cast::<RawFd>();
                descriptors.extend((0..count).map(|i| OwnedFd::from_raw_fd(data.add(i).read_unaligned())));
            }
            c = libc::CMSG_NXTHDR(&head, c);
        }
        match n {
            0 => Err(Closed),
            _ if head.msg_flags & libc::MSG_TRUNC != 0 => Err(Closed),
            n => {
                let lost = head.msg_flags & libc::MSG_CTRUNC != 0;
                Ok(Some(Received { length: n as usize, descriptors, lost }))
            }
        }
    }
}

/// Sends a message, with at most one descriptor; `Err`: errno.
fn send(fd: RawFd, message: &[u8], descriptor: Option<RawFd>) -> Result<(), i32> {
    let mut control = Control([0; 64 + 4 * DESCRIPTORS]);
    let mut piece = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    // SAFETY: all zeros is a valid value; everything it points to lives long enough and is only read.
    let n = unsafe {
        let mut head: libc::msghdr = std::mem::zeroed();
        head.msg_iov = &mut piece;
        head.msg_iovlen = 1;
        if let Some(descriptor) = descriptor {
            head.msg_control = control.0.as_mut_ptr().cast();
            head.msg_controllen = libc::CMSG_SPACE(4) as _;
            let c = libc::CMSG_FIRSTHDR(&head);
            (*c).cmsg_level = libc::SOL_SOCKET;
            (*c).cmsg_type = libc::SCM_RIGHTS;
            (*c).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(c).cast::<RawFd>().write_unaligned(descriptor);
        }
        libc::sendmsg(fd, &head, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if n >= 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}

/// How the child of this descriptor ended; `None`: it has not.
fn wait(pidfd: RawFd) -> Option<Status> {
    // SAFETY: all zeros is a valid value; writes to `info`.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &mut info, libc::WEXITED | libc::WNOHANG) != 0 {
            // Readable, and yet no child of ours: somebody else in this program waits for any child.
            return Some(Status::Unknown);
        }
        match (info.si_pid(), info.si_code) {
            (0, _) => None,
            (_, libc::CLD_EXITED) => Some(Status::Code(info.si_status())),
            _ => Some(Status::Signal(info.si_status())),
        }
    }
}

/// Reaps a child that is known to end at once.
fn wait_for(pid: i32) {
    // SAFETY: all zeros is a valid value.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED);
    }
}
