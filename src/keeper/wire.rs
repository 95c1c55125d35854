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
/// Without control groups: the variable that marks the processes of a generation, `path#generation`.
pub const MARK: &str = "WOODWARD_CHILD";
/// Slots of the keeper's table.
pub const SLOTS: usize = 16 << 10;
/// Descriptors the bank can hold.
pub const BANK: usize = 4 << 10;
/// Log pipes the keeper can hold.
pub const LOGS: usize = 16 << 10;

const HEAD: usize = 16;

pub mod guard;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::Records;
pub use write::Message;

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
    /// A term begins; one that stands is ended first. Refused if it is not greater than every one before.
    Begin {
        /// Which.
        term: u64,
        /// Milliseconds a deadline may lie ahead.
        hold: u64,
    },
    /// This group dies with the term. Descriptors if `cgroup`: `cgroup.kill` and `cgroup.events` of the group's directory.
    Bind {
        /// First part of the names of its slots.
        group: &'a [u8],
        /// Which; of another one than that which stands: refused.
        term: u64,
        /// There are control groups.
        cgroup: bool,
        /// What the keeper sends with it: see [`guard::read`].
        messages: &'a [u8],
    },
    /// The right to run lasts until then. Refused if that is not later than now, or farther ahead than the term's hold, or
    /// the term does not stand.
    Arm {
        /// Which.
        term: u64,
        /// Comes back in [`Report::Guard`].
        number: u64,
        /// Milliseconds of CLOCK_BOOTTIME.
        deadline: u64,
    },
    /// Nothing of this group runs: it is forgotten.
    Unbind {
        /// Which.
        group: &'a [u8],
    },
    /// The term is over now, whatever the clock says.
    EndTerm {
        /// Which.
        term: u64,
    },
    /// Descriptor: a watchdog device, to be fed as long as the right to run stands, or nothing of any group runs.
    Watchdog {
        /// Seconds until it resets the machine.
        timeout: u32,
    },
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
    /// How the guard stands: in the snapshot, and whenever an order of it was carried out or refused, or the deadline has
    /// passed.
    Guard(guard::Standing),
    /// In the snapshot: this group is bound.
    Bound {
        /// Which.
        group: &'a [u8],
        /// To which term.
        term: u64,
    },
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
