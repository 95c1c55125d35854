//! What the daemon wants: messages read, their orders carried out one by one.
//!
//! The clock is looked at before every message: what was sent before the deadline and is read after it comes too late.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::channel::{Channel, Closed, Phase, receive};
use crate::children::Waiting;
use crate::daemon::{Life, SECOND, Stop};
use crate::keeper::{CHANNEL_EVENT, End, Eye, Keeper};
use crate::setup::say;
use crate::start::Failure;
use crate::sys;
use crate::table::State;
use crate::wire::{Malformed, Order, Records};

/// Time the daemon has to end after it has said its last word.
const LAST_WORD: u64 = 5 * SECOND;
/// What a start fails with when there are no descriptors left for what belongs to it.
const NO_DESCRIPTORS: Failure = Failure { step: crate::image::Step::Prepare, errno: libc::EMFILE };

impl Keeper {
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
            self.look_at_deadline();
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
            Order::Begin { term, hold } => self.begin_term(term, hold)?,
            Order::Bind { group, term, cgroup, messages } => {
                let files = if cgroup { descriptors.next().zip(descriptors.next()) } else { None };
                self.bind_group(group, term, files, messages)?;
            }
            Order::Arm { term, number, deadline } => self.arm(term, number, deadline),
            Order::Unbind { group } => self.unbind_group(group),
            Order::EndTerm { term } => self.end_term(term),
            Order::Watchdog { timeout } => self.feed_watchdog(descriptors.next().ok_or(())?, timeout)?,
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
}
