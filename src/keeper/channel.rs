//! One end of the channel: messages with their descriptors in, reports out of the table.
//!
//! What has to be told is read from the table when there is room to send it, and counts as told when it has
//! been sent. A new daemon first hears everything: hello, the bank, all entries with their names, end.

use std::collections::VecDeque;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::bank::Bank;
use crate::guard::Guard;
use crate::table::Table;
use crate::wire::{DESCRIPTORS, Message, Report};

/// Both sides of the channel, as far as the keeper is concerned.
pub(crate) struct Channel {
    pub fd: OwnedFd,
    pub phase: Phase,
    /// Waiting for room.
    pub blocked: bool,
    pub refused: VecDeque<(u32, u64)>,
    /// Signals to be told, bit n-1 for signal n.
    pub signals: u64,
    pub ping: bool,
    pub logs: bool,
    pub orphans: u64,
}

/// How much of the snapshot has been sent.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    Hello,
    Bank(usize),
    Guard(usize),
    Entries(u32),
    Live,
}

/// What a message consists of, to be taken note of when it has been sent.
#[derive(Clone, Copy)]
pub(crate) struct Composed {
    pub phase: Phase,
    pub banked: usize,
    pub refused: usize,
    pub news: usize,
    pub signals: u64,
    pub orphans: u64,
    pub guard: bool,
}

/// What there is to be told.
pub(crate) struct Told<'a> {
    pub table: &'a Table,
    pub bank: &'a Bank,
    pub guard: &'a Guard,
    pub orphans: u64,
}

impl Channel {
    pub fn compose(&self, message: &mut Message, state: &Told) -> Composed {
        let &Told { table, bank, guard, orphans } = state;
        let mut composed = Composed {
            phase: self.phase,
            banked: 0,
            refused: 0,
            news: 0,
            signals: 0,
            orphans: self.orphans,
            guard: false,
        };
        // A phase that has nothing to say would never be over.
        let behind_bank = if guard.standing().is_some() { Phase::Guard(0) } else { Phase::Entries(0) };
        match self.phase {
            Phase::Hello => {
                message.report(&Report::Hello { pid: std::process::id() });
                composed.phase = if bank.get(0).is_some() { Phase::Bank(0) } else { behind_bank };
            }
            Phase::Bank(from) => {
                while let Some((name, _)) = bank.get(from + composed.banked)
                    && composed.banked < DESCRIPTORS
                    && message.has_room()
                {
                    message.report(&Report::Bank { name });
                    composed.banked += 1;
                }
                let next = from + composed.banked;
                composed.phase = if bank.get(next).is_some() { Phase::Bank(next) } else { behind_bank };
            }
            Phase::Guard(from) => {
                if let (Some(standing), 0) = (guard.standing(), from) {
                    message.report(&Report::Guard(standing));
                }
                let mut next = from;
                while let Some((group, term)) = guard.bound(next)
                    && message.has_room()
                {
                    message.report(&Report::Bound { group, term });
                    next += 1;
                }
                composed.phase =
                    if guard.bound(next).is_some() { Phase::Guard(next) } else { Phase::Entries(0) };
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
                // First: that the right to run has ended comes before the ends of those who were killed for it.
                if guard.news
                    && let Some(standing) = guard.standing()
                {
                    message.report(&Report::Guard(standing));
                    composed.guard = true;
                }
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

    pub fn sent(&mut self, composed: Composed) {
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
pub(crate) struct Closed;

#[repr(C, align(8))]
struct Control([u8; 64 + 4 * DESCRIPTORS]);

pub(crate) struct Received {
    pub length: usize,
    pub descriptors: Vec<OwnedFd>,
    /// There were more.
    pub lost: bool,
}

/// One message with its descriptors; `None`: there is none now.
pub(crate) fn receive(fd: RawFd, buffer: &mut [u8]) -> Result<Option<Received>, Closed> {
    let mut control = Control([0; 64 + 4 * DESCRIPTORS]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid value; everything it points to lives long enough; descriptors are new and
    // taken once.
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
                // It ended without having read all; said once, before what it had written itself.
                std::io::ErrorKind::ConnectionReset => receive(fd, buffer),
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

/// Sends a message with at most [`DESCRIPTORS`] descriptors; `Err`: errno.
pub(crate) fn send(fd: RawFd, message: &[u8], descriptors: &[RawFd]) -> Result<(), i32> {
    send_to(fd, None, message, descriptors)
}

/// The same to an address.
pub(crate) fn send_to(
    fd: RawFd,
    to: Option<(*const libc::sockaddr_un, libc::socklen_t)>,
    message: &[u8],
    descriptors: &[RawFd],
) -> Result<(), i32> {
    let mut control = Control([0; 64 + 4 * DESCRIPTORS]);
    let mut piece = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    // SAFETY: all zeros is a valid value; everything it points to lives long enough and is only read.
    let n = unsafe {
        let mut head: libc::msghdr = std::mem::zeroed();
        head.msg_iov = &mut piece;
        head.msg_iovlen = 1;
        if let Some((address, length)) = to {
            head.msg_name = address.cast_mut().cast();
            head.msg_namelen = length;
        }
        if !descriptors.is_empty() {
            let length = size_of_val(descriptors) as u32;
            head.msg_control = control.0.as_mut_ptr().cast();
            head.msg_controllen = libc::CMSG_SPACE(length) as _;
            let c = libc::CMSG_FIRSTHDR(&head);
            (*c).cmsg_level = libc::SOL_SOCKET;
            (*c).cmsg_type = libc::SCM_RIGHTS;
            (*c).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(c).cast::<RawFd>();
            for (i, &descriptor) in descriptors.iter().enumerate() {
                data.add(i).write_unaligned(descriptor);
            }
        }
        libc::sendmsg(fd, &head, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if n >= 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
}
