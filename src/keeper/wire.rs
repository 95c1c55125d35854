//! The channel between keeper and daemon: what is said, byte by byte.
//!
//! A `SOCK_SEQPACKET` pair carries messages of at most [`MESSAGE`] bytes. A message is eight bytes of which
//! the first is the [`VERSION`], then records, each a multiple of eight bytes long:
//!
//! ```text
//! u16 length  u8 kind  u8 descriptors  u32 slot  u64 generation  payload, zero padding
//! ```
//!
//! Numbers are in the machine's own byte order: both ends are the same file. Descriptors travel with the
//! message, in the order of its records. A *slot* is a place in the keeper's table; the daemon chooses it,
//! the name in it says whose it is.
//!
//! The daemon gives [`Order`]s. The keeper answers with [`Report`]s, which tell the *present state* of a slot
//! and not what happened to it: a report that was merged with the next one or sent twice does no harm, so the
//! keeper needs no queue.

/// First byte of every message.
pub const VERSION: u8 = 1;
/// Bytes of the longest message.
pub const MESSAGE: usize = 64 << 10;
/// Descriptors that may travel with one message.
pub const DESCRIPTORS: usize = 64;
/// Descriptors a process can get besides the three standard ones.
pub const EXTRAS: usize = 16;
/// Bytes of the longest name.
pub const NAME: usize = 255;
/// Separates the name of a service from the number of its helper.
pub const HELPER: u8 = 0x1f;
/// Slots of the keeper's table.
pub const SLOTS: usize = 16 << 10;
/// Descriptors the bank can hold.
pub const BANK: usize = 4 << 10;
/// Log pipes the keeper can hold.
pub const LOGS: usize = 16 << 10;

const HEAD: usize = 16;

/// What the daemon wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// What a start of this slot executes. Descriptors: the [image](crate::image), the output if `output`. An
    /// earlier definition of the same name is replaced; a slot in use by another name is not to be had.
    Define {
        /// Which.
        slot: u32,
        /// Whose.
        name: &'a [u8],
        /// Bytes of the image.
        image: u32,
        /// Standard output and error come with it; else they are `/dev/null`.
        output: bool,
    },
    /// Start it, unless something of this slot runs, or its end is not acknowledged, or the generation is not
    /// newer than the last. Descriptors: the directory of the control group if `cgroup`, then one for each
    /// target.
    Spawn {
        /// Which.
        slot: u32,
        /// As what.
        generation: u64,
        /// A control group comes with it.
        cgroup: bool,
        /// Numbers in the child.
        targets: Targets,
        /// `NAME=value` strings, each ended by a zero byte, in front of the image's environment.
        additions: &'a [u8],
    },
    /// Send a signal. Of another generation: nothing happens.
    Signal {
        /// Which.
        slot: u32,
        /// Which start.
        generation: u64,
        /// Number.
        signal: u8,
        /// To its process group.
        group: bool,
    },
    /// The end (or the failed start) of this generation is recorded.
    Ack {
        /// Which.
        slot: u32,
        /// Which start.
        generation: u64,
    },
    /// Nothing of it runs; the slot is free.
    Forget {
        /// Which.
        slot: u32,
    },
    /// Descriptor: `cgroup.kill` of the directory all services are in.
    Cgroup,
    /// Descriptors: FIFO and segment of a log pipe.
    Log {
        /// Which; chosen by the daemon, anew by each daemon.
        slot: u32,
    },
    /// No longer that one.
    DropLog {
        /// Which.
        slot: u32,
    },
    /// The daemon has told all its log pipes and reads them from now on.
    Logs,
    /// Answer to [`Report::Ping`].
    Pong,
    /// For whoever started the keeper (sd_notify).
    Notify {
        /// The message.
        text: &'a [u8],
    },
    /// Descriptor: to be held under this name until [`Order::Drop`], whatever becomes of the daemon.
    Put {
        /// Chosen by the daemon.
        name: &'a [u8],
    },
    /// No longer to be held.
    Drop {
        /// As it was put.
        name: &'a [u8],
    },
    /// When the daemon has ended, execute another keeper. Descriptor: its file.
    Replace,
    /// When the daemon has ended, end with this code.
    Exit {
        /// Exit code.
        code: u8,
    },
}

/// Descriptor numbers in the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    count: usize,
    numbers: [u32; EXTRAS],
}

impl Targets {
    /// `None` if there are too many or one is a standard descriptor or unreasonably high.
    pub fn new(numbers: &[u32]) -> Option<Targets> {
        if numbers.len() > EXTRAS || numbers.iter().any(|&n| !(3..=1 << 16).contains(&n)) {
            return None;
        }
        let mut targets = Targets { count: numbers.len(), ..Targets::default() };
        targets.numbers[..numbers.len()].copy_from_slice(numbers);
        Some(targets)
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[u32] {
        &self.numbers[..self.count]
    }
}

/// What the keeper says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report<'a> {
    /// First of all. Descriptor: the [page](crate::drain::Turn) that says who reads the log pipes.
    Hello {
        /// The keeper's process id; 0: it is a thread of this program.
        pid: u32,
    },
    /// The state of a slot. In the snapshot with its name.
    Entry {
        /// Which.
        slot: u32,
        /// Of which start; of an idle one the last.
        generation: u64,
        /// How it stands.
        state: State,
        /// Process id; 0 if there is none.
        pid: i32,
        /// Whose; empty after the snapshot.
        name: &'a [u8],
    },
    /// In the snapshot. Descriptor: what is held under this name.
    Bank {
        /// As it was put.
        name: &'a [u8],
    },
    /// Everything has been told.
    End,
    /// This start was refused; the entry follows.
    Refused {
        /// Which.
        slot: u32,
        /// Refused generation.
        generation: u64,
    },
    /// Unknown children reaped so far.
    Orphans {
        /// How many.
        count: u64,
    },
    /// The keeper got this signal.
    Signalled {
        /// Number.
        signal: u8,
    },
    /// Say [`Order::Pong`].
    Ping,
    /// Whose turn it is to read the log pipes has changed: look at the page.
    Logs,
}

/// How a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Defined, nothing runs, nothing to acknowledge.
    Idle,
    /// Waits for its turn to be started, or has not executed its program yet.
    Starting,
    /// Executed.
    Running,
    /// Ended and reaped; not acknowledged.
    Ended(Status),
    /// Never executed; not acknowledged.
    Failed {
        /// A [`crate::image::Step`] as a number.
        step: u8,
        /// Of that step.
        errno: i32,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `exit(n)`.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else waited for it.
    Unknown,
}

/// The message cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

// ---- writing ------------------------------------------------------------------------------------------------------

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
            Report::Bank { name } => self.record(9, 1, name.len() as u32, 0, &[name]),
        }
    }
}

// ---- reading ------------------------------------------------------------------------------------------------------

/// The records of a message, each with the number of descriptors that belong to it.
pub struct Records<'a> {
    rest: &'a [u8],
}

struct Record<'a> {
    kind: u8,
    descriptors: usize,
    slot: u32,
    generation: u64,
    payload: &'a [u8],
}

impl<'a> Records<'a> {
    /// Starts to read a message.
    pub fn of(message: &'a [u8]) -> Result<Records<'a>, Malformed> {
        match message {
            [VERSION, _, _, _, _, _, _, _, rest @ ..] => Ok(Records { rest }),
            _ => Err(Malformed),
        }
    }

    /// The next order and its number of descriptors.
    pub fn order(&mut self) -> Result<Option<(Order<'a>, usize)>, Malformed> {
        let Some(r) = self.record()? else { return Ok(None) };
        let order = match r.kind {
            1 => {
                let (image, rest) = number(r.payload)?;
                let &[length, output @ (0 | 1), _, _, ref name @ ..] = rest else { return Err(Malformed) };
                let name = name.get(..usize::from(length)).filter(|n| !n.is_empty()).ok_or(Malformed)?;
                Order::Define { slot: below(r.slot, SLOTS)?, name, image, output: output == 1 }
            }
            2 => {
                let &[cgroup @ (0 | 1), count, _, _, ref rest @ ..] = r.payload else {
                    return Err(Malformed);
                };
                let (length, mut rest) = number(rest)?;
                let mut numbers = [0; EXTRAS];
                let numbers = numbers.get_mut(..usize::from(count)).ok_or(Malformed)?;
                for n in numbers.iter_mut() {
                    (*n, rest) = number(rest)?;
                }
                let targets = Targets::new(numbers).ok_or(Malformed)?;
                let additions = rest.get(..length as usize).ok_or(Malformed)?;
                if additions.last().is_some_and(|&last| last != 0) {
                    return Err(Malformed);
                }
                let (slot, generation) = (below(r.slot, SLOTS)?, r.generation);
                Order::Spawn { slot, generation, cgroup: cgroup == 1, targets, additions }
            }
            3 => {
                let &[signal @ 1..=64, group @ (0 | 1), ..] = r.payload else { return Err(Malformed) };
                let (slot, generation) = (below(r.slot, SLOTS)?, r.generation);
                Order::Signal { slot, generation, signal, group: group == 1 }
            }
            4 => Order::Ack { slot: below(r.slot, SLOTS)?, generation: r.generation },
            5 => Order::Forget { slot: below(r.slot, SLOTS)? },
            6 => Order::Cgroup,
            7 => Order::Log { slot: below(r.slot, LOGS)? },
            8 => Order::DropLog { slot: below(r.slot, LOGS)? },
            9 => Order::Logs,
            10 => Order::Pong,
            11 => Order::Notify { text: r.payload.get(..r.slot as usize).ok_or(Malformed)? },
            12 => Order::Exit { code: u8::try_from(r.slot).map_err(|_| Malformed)? },
            13 => Order::Put { name: name_of(&r)? },
            14 => Order::Drop { name: name_of(&r)? },
            15 => Order::Replace,
            _ => return Err(Malformed),
        };
        let expected = match &order {
            Order::Define { output, .. } => 1 + usize::from(*output),
            Order::Spawn { cgroup, targets, .. } => targets.count + usize::from(*cgroup),
            Order::Cgroup | Order::Put { .. } | Order::Replace => 1,
            Order::Log { .. } => 2,
            _ => 0,
        };
        if r.descriptors == expected { Ok(Some((order, expected))) } else { Err(Malformed) }
    }

    /// The next report.
    pub fn report(&mut self) -> Result<Option<Report<'a>>, Malformed> {
        let Some(r) = self.record()? else { return Ok(None) };
        Ok(Some(match r.kind {
            1 => Report::Hello { pid: r.slot },
            2 => {
                let &[kind, detail, length, _, ref rest @ ..] = r.payload else { return Err(Malformed) };
                let (value, rest) = number(rest)?;
                let (pid, name) = number(rest)?;
                let value = value as i32;
                let state = match (kind, detail) {
                    (0, _) => State::Idle,
                    (1, _) => State::Starting,
                    (2, _) => State::Running,
                    (3, 0) => State::Ended(Status::Code(value)),
                    (3, 1) => State::Ended(Status::Signal(value)),
                    (3, 2) => State::Ended(Status::Unknown),
                    (4, step) => State::Failed { step, errno: value },
                    _ => return Err(Malformed),
                };
                let name = name.get(..usize::from(length)).ok_or(Malformed)?;
                Report::Entry { slot: r.slot, generation: r.generation, state, pid: pid as i32, name }
            }
            3 => Report::End,
            4 => Report::Refused { slot: r.slot, generation: r.generation },
            5 => Report::Orphans { count: r.generation },
            6 => Report::Signalled { signal: r.slot as u8 },
            7 => Report::Ping,
            8 => Report::Logs,
            9 => Report::Bank { name: name_of(&r)? },
            _ => return Err(Malformed),
        }))
    }

    fn record(&mut self) -> Result<Option<Record<'a>>, Malformed> {
        let &[a, b, kind, descriptors, ref rest @ ..] = self.rest else {
            return if self.rest.is_empty() { Ok(None) } else { Err(Malformed) };
        };
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if length < HEAD || !length.is_multiple_of(8) || length > self.rest.len() {
            return Err(Malformed);
        }
        let (slot, _) = number(rest)?;
        let generation = u64::from_ne_bytes(self.rest[8..HEAD].try_into().map_err(|_| Malformed)?);
        let payload = &self.rest[HEAD..length];
        self.rest = &self.rest[length..];
        Ok(Some(Record { kind, descriptors: usize::from(descriptors), slot, generation, payload }))
    }
}

/// A name whose length stands where other records have their slot.
fn name_of<'a>(r: &Record<'a>) -> Result<&'a [u8], Malformed> {
    let length = below(r.slot, NAME + 1)? as usize;
    r.payload.get(..length).filter(|name| !name.is_empty()).ok_or(Malformed)
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let (four, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok((u32::from_ne_bytes(*four), rest))
}

fn below(slot: u32, bound: usize) -> Result<u32, Malformed> {
    if (slot as usize) < bound { Ok(slot) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let orders = [
            Order::Define { slot: 7, name: b"acs/naming", image: 4711, output: true },
            Order::Spawn {
                slot: 7,
                generation: 1 << 40,
                cgroup: true,
                targets: Targets::new(&[3, 9]).unwrap(),
                additions: b"A=1\0B=\0",
            },
            Order::Signal { slot: 7, generation: 3, signal: 15, group: true },
            Order::Ack { slot: 7, generation: 3 },
            Order::Forget { slot: 7 },
            Order::Cgroup,
            Order::Log { slot: 1 },
            Order::DropLog { slot: 1 },
            Order::Logs,
            Order::Pong,
            Order::Notify { text: b"READY=1" },
            Order::Put { name: b"stream 127.0.0.1:80" },
            Order::Drop { name: b"stream 127.0.0.1:80" },
            Order::Replace,
            Order::Exit { code: 75 },
        ];
        let mut message = Message::default();
        orders.iter().for_each(|o| message.order(o));
        let mut records = Records::of(message.bytes()).unwrap();
        for order in &orders {
            assert_eq!(&records.order().unwrap().unwrap().0, order);
        }
        assert_eq!(records.order(), Ok(None));
    }

    #[test]
    fn reports_arrive_as_they_were_given() {
        let entry = |state, name| Report::Entry { slot: 5, generation: 6, state, pid: 77, name };
        let reports = [
            Report::Hello { pid: 1 },
            entry(State::Idle, b"a/b".as_slice()),
            entry(State::Starting, b""),
            entry(State::Running, b""),
            entry(State::Ended(Status::Code(3)), b""),
            entry(State::Ended(Status::Signal(9)), b""),
            entry(State::Ended(Status::Unknown), b""),
            entry(State::Failed { step: 4, errno: 2 }, b""),
            Report::Bank { name: b"unix /run/x" },
            Report::End,
            Report::Refused { slot: 5, generation: 6 },
            Report::Orphans { count: 12 },
            Report::Signalled { signal: 15 },
            Report::Ping,
            Report::Logs,
        ];
        let mut message = Message::default();
        reports.iter().for_each(|r| message.report(r));
        let mut records = Records::of(message.bytes()).unwrap();
        for report in &reports {
            assert_eq!(&records.report().unwrap().unwrap(), report);
        }
        assert_eq!(records.report(), Ok(None));
    }

    #[test]
    fn nonsense_is_malformed_and_never_a_panic() {
        let mut message = Message::default();
        message.order(&Order::Define { slot: 7, name: b"acs/naming", image: 4711, output: true });
        let targets = Targets::new(&[3, 9]).unwrap();
        message.order(&Order::Spawn { slot: 7, generation: 1, cgroup: true, targets, additions: b"A=1\0" });
        let good = message.bytes().to_vec();
        let read = |bytes: &[u8]| {
            let mut records = Records::of(bytes)?;
            while records.order()?.is_some() {}
            Ok::<(), Malformed>(())
        };
        assert_eq!(read(&good), Ok(()));
        for cut in 0..good.len() {
            if cut != 8 && cut != 48 {
                let _ = read(&good[..cut]);
            }
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[cut] = value;
                let _ = read(&bad);
            }
        }
        assert_eq!(read(&[]), Err(Malformed));
        assert_eq!(read(&good[..good.len() - 1]), Err(Malformed));
        assert_eq!(Targets::new(&[2]), None);
    }
}
