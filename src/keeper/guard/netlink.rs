//! Messages made by the daemon, with the remaining time written into them, on sockets of the keeper's own.
//!
//! The kernel carries a netlink message out within the call that sends it; an answer is there when the call is over, or
//! there is none.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys;
use crate::wire::guard::{Patch, Ready, Unit, When};

/// Bytes of `nlmsghdr`.
const HEAD: usize = 16;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;

/// One socket for each protocol.
#[derive(Default)]
pub(crate) struct Sockets(Vec<(u8, io::Result<OwnedFd>)>);

/// A message ready to be sent.
pub(crate) struct Message {
    pub when: When,
    protocol: u8,
    bytes: Vec<u8>,
    patches: Vec<Patch>,
}

impl Sockets {
    /// Makes room for a message, and the socket it is sent on. What is wrong with that is told when it is to be sent.
    pub fn keep(&mut self, ready: &Ready) -> Message {
        if !self.0.iter().any(|(protocol, socket)| *protocol == ready.protocol && socket.is_ok()) {
            self.0.retain(|(protocol, _)| *protocol != ready.protocol);
            self.0.push((ready.protocol, open(ready.protocol)));
        }
        let (bytes, patches) = (ready.bytes.to_vec(), ready.patches.iter().collect());
        Message { when: ready.when, protocol: ready.protocol, bytes, patches }
    }

    /// Sends it; what lives for some time lives `left` nanoseconds, rounded down, but `least` seconds where it counts in
    /// seconds. Nothing is sent if that were none. `Err`: errno.
    pub fn send(&self, message: &mut Message, left: u64, least: u64) -> Result<(), i32> {
        for patch in &message.patches {
            let number = match patch.unit {
                Unit::Seconds => (left / 1_000_000_000).max(least),
                Unit::Milliseconds => left / 1_000_000,
            };
            if number == 0 {
                return Ok(());
            }
            let at = usize::from(patch.offset);
            if let Some(place) = message.bytes.get_mut(at..at + patch.form.width()) {
                patch.form.put(number, place);
            }
        }
        let socket = self.0.iter().find(|(protocol, _)| *protocol == message.protocol);
        match socket {
            Some((_, Ok(socket))) => exchange(socket, &message.bytes),
            Some((_, Err(error))) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
            None => Err(libc::EBADF),
        }
    }
}

fn open(protocol: u8) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain call.
    let socket = sys::owned(unsafe { libc::socket(libc::AF_NETLINK, kind, i32::from(protocol)) })?;
    // Once in vain, so that everything is in memory when it counts.
    let mut noop = [0u8; HEAD];
    noop[..4].copy_from_slice(&(HEAD as u32).to_ne_bytes());
    noop[4..6].copy_from_slice(&NLMSG_NOOP.to_ne_bytes());
    let _ = exchange(&socket, &noop);
    Ok(socket)
}

/// Sends a datagram to the kernel and takes its answers. `Err`: the errno of the first that is an error.
fn exchange(socket: &OwnedFd, bytes: &[u8]) -> Result<(), i32> {
    let fd = socket.as_raw_fd();
    let mut answer = [0u8; 8 << 10];
    let mut refused = Ok(());
    // SAFETY: reads `bytes`; the kernel's address is all zeros.
    let sent = unsafe {
        let mut kernel: libc::sockaddr_nl = std::mem::zeroed();
        kernel.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        libc::sendto(fd, bytes.as_ptr().cast(), bytes.len(), flags, (&raw const kernel).cast(), length)
    };
    if sent < 0 {
        refused = Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    }
    loop {
        // SAFETY: writes into `answer`.
        let n = unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT) };
        match usize::try_from(n) {
            Ok(n) if n > 0 => refused = refused.and(judge(&answer[..n])),
            Ok(_) => return refused,
            // More answers than there was room for: go on with those that are there.
            Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(_) => return refused,
        }
    }
}

/// The first error in an answer.
fn judge(mut answer: &[u8]) -> Result<(), i32> {
    while let (Some(head), Some(error)) = (answer.first_chunk::<6>(), answer.get(HEAD..)) {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        if kind == NLMSG_ERROR
            && let Some(code) = error.first_chunk::<4>()
            && i32::from_ne_bytes(*code) != 0
        {
            return Err(-i32::from_ne_bytes(*code));
        }
        answer = answer.get(length.max(HEAD).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::guard::{self, Form};

    #[test]
    fn the_time_that_is_left_is_written_rounded_down_and_none_is_not_sent() {
        let mut list = Vec::new();
        let patch = |offset, form, unit| Patch { offset, form, unit };
        let patches = [patch(0, Form::Native32, Unit::Seconds), patch(4, Form::Big64, Unit::Milliseconds)];
        guard::write(&mut list, When::Arm, 255, &[0xee; 12], &patches);
        let mut sockets = Sockets::default();
        let ready = guard::read(&list).next().unwrap().unwrap();
        let mut message = sockets.keep(&ready);
        // There is no such protocol: that is told where it is to be sent.
        assert_eq!(sockets.send(&mut message, 2_999_999_999, 0), Err(libc::EPROTONOSUPPORT));
        assert_eq!(message.bytes[..4], 2u32.to_ne_bytes());
        assert_eq!(message.bytes[4..], 2999u64.to_be_bytes());
        assert_eq!(sockets.send(&mut message, 999_999_999, 0), Ok(()), "less than a second: not sent");
        assert_eq!(sockets.send(&mut message, 999_999_999, 1), Err(libc::EPROTONOSUPPORT));
        assert_eq!(message.bytes[..4], 1u32.to_ne_bytes());
        assert_eq!(message.bytes[4..], 999u64.to_be_bytes(), "milliseconds are exact all the same");
    }

    #[test]
    fn the_first_error_of_an_answer_counts() {
        let mut answer = Vec::new();
        for (kind, code) in
            [(NLMSG_ERROR, 0i32), (3, 0), (NLMSG_ERROR, -libc::EPERM), (NLMSG_ERROR, -libc::ENOENT)]
        {
            answer.extend_from_slice(&20u32.to_ne_bytes());
            answer.extend_from_slice(&kind.to_ne_bytes());
            answer.extend_from_slice(&[0; 10]);
            answer.extend_from_slice(&code.to_ne_bytes());
        }
        assert_eq!(judge(&answer), Err(libc::EPERM));
        assert_eq!(judge(&answer[..30]), Ok(()));
        assert_eq!(judge(&[]), Ok(()));
    }

    #[test]
    fn the_kernel_answers_within_the_call() {
        let socket = open(libc::NETLINK_ROUTE as u8).unwrap();
        // RTM_DELLINK (17) of a link that is not there, with an acknowledgement wanted.
        let mut bytes = [0u8; 32];
        bytes[..4].copy_from_slice(&32u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&17u16.to_ne_bytes());
        bytes[6..8].copy_from_slice(&5u16.to_ne_bytes());
        bytes[20..24].copy_from_slice(&i32::MAX.to_ne_bytes());
        assert!(exchange(&socket, &bytes).is_err());
        // One that says nothing.
        bytes[4..6].copy_from_slice(&NLMSG_NOOP.to_ne_bytes());
        assert_eq!(exchange(&socket, &bytes), Ok(()));
    }
}
