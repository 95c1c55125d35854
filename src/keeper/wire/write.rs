//! Messages being written.

use super::{EXTRAS, HEAD, MESSAGE, NAME, Order, Report, State, Status, VERSION};

/// A message being written.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Default for Message {
    fn default() -> Self {
        let mut bytes = Vec::with_capacity(MESSAGE);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
        Message { bytes }
    }
}

impl Message {
    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == 8
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empty again.
    pub fn clear(&mut self) {
        self.bytes.truncate(8);
    }

    /// Room for a record with the longest name, and then some?
    pub fn has_room(&self) -> bool {
        self.bytes.len() + HEAD + 64 + NAME <= MESSAGE
    }

    fn record(&mut self, kind: u8, descriptors: usize, slot: u32, generation: u64, payload: &[&[u8]]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, kind, descriptors as u8]);
        self.bytes.extend_from_slice(&slot.to_ne_bytes());
        self.bytes.extend_from_slice(&generation.to_ne_bytes());
        for piece in payload {
            self.bytes.extend_from_slice(piece);
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds an order. The caller adds its descriptors, and keeps the message within [`MESSAGE`].
    pub fn order(&mut self, order: &Order) {
        match order {
            Order::Define { slot, name, image, output } => {
                let lengths = [name.len() as u8, u8::from(*output), 0, 0];
                let descriptors = 1 + usize::from(*output);
                self.record(1, descriptors, *slot, 0, &[&image.to_ne_bytes(), &lengths, name]);
            }
            Order::Spawn { slot, generation, cgroup, targets, additions } => {
                let mut numbers = [0u8; 4 * EXTRAS];
                for (i, n) in targets.as_slice().iter().enumerate() {
                    numbers[4 * i..4 * i + 4].copy_from_slice(&n.to_ne_bytes());
                }
                let head = [u8::from(*cgroup), targets.count as u8, 0, 0];
                let length = (additions.len() as u32).to_ne_bytes();
                let descriptors = targets.count + usize::from(*cgroup);
                let numbers = &numbers[..4 * targets.count];
                self.record(2, descriptors, *slot, *generation, &[&head, &length, numbers, additions]);
            }
            Order::Signal { slot, generation, signal, group } => {
                self.record(3, 0, *slot, *generation, &[&[*signal, u8::from(*group)]]);
            }
            Order::Ack { slot, generation } => self.record(4, 0, *slot, *generation, &[]),
            Order::Forget { slot } => self.record(5, 0, *slot, 0, &[]),
            Order::Cgroup => self.record(6, 1, 0, 0, &[]),
            Order::Log { slot } => self.record(7, 2, *slot, 0, &[]),
            Order::DropLog { slot } => self.record(8, 0, *slot, 0, &[]),
            Order::Logs => self.record(9, 0, 0, 0, &[]),
            Order::Pong => self.record(10, 0, 0, 0, &[]),
            Order::Notify { text } => self.record(11, 0, text.len() as u32, 0, &[text]),
            Order::Replace => self.record(15, 1, 0, 0, &[]),
            Order::Exit { code } => self.record(12, 0, u32::from(*code), 0, &[]),
            Order::Begin { term, hold } => self.record(16, 0, 0, *term, &[&hold.to_ne_bytes()]),
            Order::Bind { group, term, cgroup, messages } => {
                let head = [group.len() as u8, u8::from(*cgroup), 0, 0];
                let descriptors = if *cgroup { 2 } else { 0 };
                self.record(17, descriptors, messages.len() as u32, *term, &[&head, group, messages]);
            }
            Order::Arm { term, number, deadline } => {
                self.record(18, 0, 0, *term, &[&number.to_ne_bytes(), &deadline.to_ne_bytes()]);
            }
            Order::Unbind { group } => self.record(19, 0, group.len() as u32, 0, &[group]),
            Order::EndTerm { term } => self.record(20, 0, 0, *term, &[]),
            Order::Watchdog { timeout } => self.record(21, 1, *timeout, 0, &[]),
            Order::Put { name } => self.record(13, 1, name.len() as u32, 0, &[name]),
            Order::Drop { name } => self.record(14, 0, name.len() as u32, 0, &[name]),
        }
    }

    /// Adds a report.
    pub fn report(&mut self, report: &Report) {
        match report {
            Report::Hello { pid } => self.record(1, 1, *pid, 0, &[]),
            Report::Entry { slot, generation, state, pid, name } => {
                let (kind, detail, value) = match *state {
                    State::Idle => (0, 0, 0),
                    State::Starting => (1, 0, 0),
                    State::Running => (2, 0, 0),
                    State::Ended(Status::Code(code)) => (3, 0, code),
                    State::Ended(Status::Signal(signal)) => (3, 1, signal),
                    State::Ended(Status::Unknown) => (3, 2, 0),
                    State::Failed { step, errno } => (4, step, errno),
                };
                let head = [kind, detail, name.len() as u8, 0];
                self.record(
                    2,
                    0,
                    *slot,
                    *generation,
                    &[&head, &value.to_ne_bytes(), &pid.to_ne_bytes(), name],
                );
            }
            Report::End => self.record(3, 0, 0, 0, &[]),
            Report::Refused { slot, generation } => self.record(4, 0, *slot, *generation, &[]),
            Report::Orphans { count } => self.record(5, 0, 0, *count, &[]),
            Report::Signalled { signal } => self.record(6, 0, u32::from(*signal), 0, &[]),
            Report::Ping => self.record(7, 0, 0, 0, &[]),
            Report::Logs => self.record(8, 0, 0, 0, &[]),
            Report::Guard(standing) => {
                let words = standing.words();
                self.record(10, 0, standing.means.into(), standing.term, &[words.as_flattened()]);
            }
            Report::Bound { group, term } => self.record(11, 0, group.len() as u32, *term, &[group]),
            Report::Bank { name } => self.record(9, 1, name.len() as u32, 0, &[name]),
        }
    }
}
