//! Netlink messages: written byte by byte, sent and answered at once. The kernel carries a request out inside `sendto`, so
//! whatever it has to say is there to be read when that returns.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use super::{Place, Renewal, Unit};

/// `NLM_F_*` of `linux/netlink.h`.
pub(super) const REQUEST: u16 = 0x1;
/// The whole table.
pub(super) const DUMP: u16 = 0x300;
/// In place of what is there.
pub(super) const REPLACE: u16 = 0x100;
/// Make it.
pub(super) const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// What the kernel puts into one datagram of a dump at most.
const DATAGRAM: usize = 64 << 10;

/// One message, or several one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Where the last message begins.
    begin: usize,
}

impl Message {
    /// A message with the fixed part of its kind, attributes to follow.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut message = Message::default();
        message.then(kind, flags, fixed);
        message
    }

    /// Another message behind what is there.
    pub fn then(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> &mut Message {
        self.begin = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(fixed);
        self.measured()
    }

    /// An attribute.
    pub fn add(&mut self, kind: u16, value: &[u8]) -> &mut Message {
        self.bytes.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.measured()
    }

    /// A text with its end.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Message {
        self.add(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// A number in the network's order, as netfilter has it.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Message {
        self.add(kind, &value.to_be_bytes())
    }

    /// Attributes within one.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) -> &mut Message {
        let at = self.bytes.len();
        self.add(kind | NESTED, &[]);
        inside(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The lifetime goes into the last attribute, so many bytes into it.
    pub fn lifetime(&mut self, value: usize, unit: Unit) -> &mut Message {
        let at = self.bytes.len() - value;
        self.places.push(Place { at: at as u32, unit });
        self
    }

    /// What this is as a renewal, with what takes it away again.
    pub fn renewal(self, protocol: i32, end: Message) -> Renewal {
        Renewal { protocol, renew: self.bytes, places: self.places, end: end.bytes }
    }

    /// As it goes out.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything is padded to four bytes; the header has the length of its message.
    fn measured(&mut self) -> &mut Message {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - self.begin) as u32;
        self.bytes[self.begin..self.begin + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// A socket to the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    fd: OwnedFd,
}

impl Kernel {
    /// For addresses and devices.
    pub fn route() -> io::Result<Kernel> {
        Kernel::open(SockProtocol::NetlinkRoute)
    }

    /// For the packet filter.
    pub fn netfilter() -> io::Result<Kernel> {
        Kernel::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> io::Result<Kernel> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Kernel { fd })
    }

    /// Sends, and returns the messages (kind, and what is behind the header) that came back. The first error of the kernel
    /// is the error.
    pub fn ask(&self, request: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        sendto(self.fd.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut failed = None;
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let n = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => n,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            for (kind, body) in messages(&buffer[..n]) {
                match kind {
                    NLMSG_ERROR => match number(body) {
                        Some(0) | None => {}
                        Some(code) => _ = failed.get_or_insert(-code),
                    },
                    NLMSG_DONE => {}
                    kind => answers.push((kind, body.to_vec())),
                }
            }
        }
        failed.map_or(Ok(answers), |code| Err(io::Error::from_raw_os_error(code)))
    }
}

fn number(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes of a message, behind its fixed part.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & !NESTED;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::new(20, CREATE, &[2, 24, 0, 0, 1, 0, 0, 0]);
        message
            .text(3, "eth0")
            .nest(4, |m| _ = m.number(1, 7))
            .add(6, &[0; 8])
            .lifetime(8, Unit::Milliseconds);
        message.then(21, 0, &[9]);
        let all: Vec<_> = messages(message.bytes()).collect();
        assert_eq!((all.len(), all[0].0, all[1]), (2, 20, (21, [9, 0, 0, 0].as_slice())));
        let read: Vec<_> = attributes(&all[0].1[8..]).collect();
        assert_eq!(read[0], (3, b"eth0\0".as_slice()));
        assert_eq!(attributes(read[1].1).collect::<Vec<_>>(), [(1, [0, 0, 0, 7].as_slice())]);
        let place = message.places[0].at as usize;
        assert_eq!(place, 16 + 8 + 12 + 12 + 4);
    }

    #[test]
    fn nonsense_from_the_kernel_is_no_panic() {
        for bytes in [&[][..], &[1], &[0; 16], &[255; 64], &[17, 0, 0, 0, 1]] {
            assert!(messages(bytes).count() < 9);
            assert!(attributes(bytes).count() < 9);
        }
    }
}
