//! Messages being read: whatever the bytes are, an order, a report, or malformed.

use super::guard::{self, Standing};
use super::{EXTRAS, HEAD, LOGS, Malformed, NAME, Order, Report, SLOTS, State, Status, Targets, VERSION};

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
            16 => Order::Begin { term: r.generation, hold: long(r.payload, 0)? },
            17 => {
                let &[length, cgroup @ (0 | 1), _, _, ref rest @ ..] = r.payload else {
                    return Err(Malformed);
                };
                let (group, rest) = rest.split_at_checked(usize::from(length)).ok_or(Malformed)?;
                let messages = rest.get(..r.slot as usize).ok_or(Malformed)?;
                if group.is_empty() || guard::read(messages).any(|message| message.is_err()) {
                    return Err(Malformed);
                }
                Order::Bind { group, term: r.generation, cgroup: cgroup == 1, messages }
            }
            18 => {
                let (number, deadline) = (long(r.payload, 0)?, long(r.payload, 1)?);
                Order::Arm { term: r.generation, number, deadline }
            }
            19 => Order::Unbind { group: name_of(&r)? },
            20 => Order::EndTerm { term: r.generation },
            21 => Order::Watchdog { timeout: r.slot },
            _ => return Err(Malformed),
        };
        let expected = match &order {
            Order::Define { output, .. } => 1 + usize::from(*output),
            Order::Spawn { cgroup, targets, .. } => targets.count + usize::from(*cgroup),
            Order::Cgroup | Order::Put { .. } | Order::Replace | Order::Watchdog { .. } => 1,
            Order::Bind { cgroup, .. } => 2 * usize::from(*cgroup),
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
            10 => Report::Guard(Standing::of(r.generation, r.slot, r.payload)?),
            11 => Report::Bound { group: name_of(&r)?, term: r.generation },
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

/// The nth number of eight bytes.
pub(super) fn long(bytes: &[u8], n: usize) -> Result<u64, Malformed> {
    let bytes = bytes.get(8 * n..8 * n + 8).ok_or(Malformed)?;
    Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| Malformed)?))
}

fn below(slot: u32, bound: usize) -> Result<u32, Malformed> {
    if (slot as usize) < bound { Ok(slot) } else { Err(Malformed) }
}
