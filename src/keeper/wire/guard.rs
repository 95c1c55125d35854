//! What the keeper is told about the deadline beside plain numbers: netlink messages it sends by itself, and how the
//! guard stands.
//!
//! A message is made by the daemon and sent by the keeper as it is, but for the places that say how long something is to
//! live: there the keeper writes the time that is left until the deadline, always rounded down. A message that would
//! have to say *zero* is not sent: what was sent before lasts as long.

use super::Malformed;
use super::read::long;

/// A netlink message (or a batch of them: one datagram) that the keeper sends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready<'a> {
    /// When.
    pub when: When,
    /// Netlink protocol: `NETLINK_ROUTE`, `NETLINK_NETFILTER`, ...
    pub protocol: u8,
    /// The datagram.
    pub bytes: &'a [u8],
    /// Where it says how long something lives.
    pub patches: Patches<'a>,
}

/// When a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At every arming: renewals.
    Arm,
    /// When the term is over, after everything has been killed: expiries. They have no patches.
    End,
}

/// A place in a message where the remaining time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Bytes from the beginning of the datagram.
    pub offset: u16,
    /// How it is written there.
    pub form: Form,
    /// What is counted.
    pub unit: Unit,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Four bytes in the machine's order (rtnetlink).
    Native32,
    /// Eight bytes in the machine's order.
    Native64,
    /// Four bytes, most significant first.
    Big32,
    /// Eight bytes, most significant first (nf_tables).
    Big64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds (rtnetlink).
    Seconds,
    /// Milliseconds (nf_tables).
    Milliseconds,
}

impl Form {
    /// Bytes of the number.
    pub fn width(self) -> usize {
        match self {
            Form::Native32 | Form::Big32 => 4,
            Form::Native64 | Form::Big64 => 8,
        }
    }

    /// Writes it.
    pub fn put(self, number: u64, place: &mut [u8]) {
        let short = u32::try_from(number).unwrap_or(u32::MAX);
        match self {
            Form::Native32 => place.copy_from_slice(&short.to_ne_bytes()),
            Form::Native64 => place.copy_from_slice(&number.to_ne_bytes()),
            Form::Big32 => place.copy_from_slice(&short.to_be_bytes()),
            Form::Big64 => place.copy_from_slice(&number.to_be_bytes()),
        }
    }
}

/// The patches of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patches<'a>(&'a [[u8; 4]]);

impl Patches<'_> {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Patch> {
        self.0.iter().filter_map(|bytes| Patch::of(*bytes))
    }
}

impl Patch {
    fn of([low, high, form, unit]: [u8; 4]) -> Option<Patch> {
        let form = match form {
            0 => Form::Native32,
            1 => Form::Native64,
            2 => Form::Big32,
            3 => Form::Big64,
            _ => return None,
        };
        let unit = match unit {
            0 => Unit::Seconds,
            1 => Unit::Milliseconds,
            _ => return None,
        };
        Some(Patch { offset: u16::from_ne_bytes([low, high]), form, unit })
    }
}

// when, protocol, number of patches, 0, length as u32; the patches; the bytes
const HEAD: usize = 8;

/// Appends a message to those of an order [`super::Order::Bind`]. At most 255 patches, each within the bytes.
pub fn write(list: &mut Vec<u8>, when: When, protocol: u8, bytes: &[u8], patches: &[Patch]) {
    list.extend_from_slice(&[when as u8, protocol, patches.len() as u8, 0]);
    list.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
    for patch in patches {
        list.extend_from_slice(&patch.offset.to_ne_bytes());
        list.extend_from_slice(&[patch.form as u8, patch.unit as u8]);
    }
    list.extend_from_slice(bytes);
}

/// The messages of an order.
pub fn read(mut list: &[u8]) -> impl Iterator<Item = Result<Ready<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if list.is_empty() {
            return None;
        }
        let read = next(list);
        list = read.as_ref().map_or(&[], |(_, rest)| rest);
        Some(read.map(|(message, _)| message))
    })
}

fn next(list: &[u8]) -> Result<(Ready<'_>, &[u8]), Malformed> {
    let (head, rest) = list.split_first_chunk::<HEAD>().ok_or(Malformed)?;
    let &[when, protocol, count, _, a, b, c, d] = head;
    let (patches, rest) = rest.split_at_checked(4 * usize::from(count)).ok_or(Malformed)?;
    let length = u32::from_ne_bytes([a, b, c, d]) as usize;
    let (bytes, rest) =
        rest.split_at_checked(length).filter(|(bytes, _)| !bytes.is_empty()).ok_or(Malformed)?;
    let (patches, _) = patches.as_chunks::<4>();
    let within = |p: Patch| usize::from(p.offset) + p.form.width() <= length;
    if !patches.iter().all(|p| Patch::of(*p).is_some_and(within)) {
        return Err(Malformed);
    }
    let when = match when {
        0 => When::Arm,
        1 if patches.is_empty() => When::End,
        _ => return Err(Malformed),
    };
    Ok((Ready { when, protocol, bytes, patches: Patches(patches) }, rest))
}

/// How the guard stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last term that began; 0: none yet.
    pub term: u64,
    /// When it was over, and everything of it killed: milliseconds of CLOCK_BOOTTIME; 0: it stands.
    pub fired: u64,
    /// The deadline of a term that stands; of one that is over the one it missed. Milliseconds of CLOCK_BOOTTIME; 0: it was
    /// never armed.
    pub deadline: u64,
    /// Number of the last arming that was accepted; 0: none.
    pub armed: u64,
    /// How many of the messages sent last were refused by the kernel.
    pub refused: u32,
    /// The errno of the first of them; 0: none.
    pub errno: i32,
    /// Microseconds from the deadline to the moment when everything bound had been sent its SIGKILL; 0: it was not missed.
    pub late: u64,
    /// What the keeper has to be in time: [`MEMORY`] and so on.
    pub means: u8,
}

/// In [`Standing::means`]: its memory is locked.
pub const MEMORY: u8 = 1;
/// In [`Standing::means`]: it goes before every ordinary process.
pub const REAL_TIME: u8 = 2;
/// In [`Standing::means`]: it feeds a watchdog device.
pub const WATCHDOG: u8 = 4;

impl Standing {
    pub(super) fn words(&self) -> [[u8; 8]; 6] {
        [
            self.fired.to_ne_bytes(),
            self.deadline.to_ne_bytes(),
            self.armed.to_ne_bytes(),
            u64::from(self.refused).to_ne_bytes(),
            (self.errno as u64).to_ne_bytes(),
            self.late.to_ne_bytes(),
        ]
    }

    pub(super) fn of(term: u64, means: u32, payload: &[u8]) -> Result<Standing, Malformed> {
        Ok(Standing {
            term,
            fired: long(payload, 0)?,
            deadline: long(payload, 1)?,
            armed: long(payload, 2)?,
            refused: long(payload, 3)? as u32,
            errno: long(payload, 4)? as i32,
            late: long(payload, 5)?,
            means: means as u8,
        })
    }
}
