//! The channel to the keeper, as far as bytes and descriptors go.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::io::unix::AsyncFd;
use woodward_keeper::wire;

pub(super) enum Descriptor {
    Own(OwnedFd),
    Shared(Arc<OwnedFd>),
}

impl Descriptor {
    fn number(&self) -> RawFd {
        match self {
            Descriptor::Own(fd) => fd.as_raw_fd(),
            Descriptor::Shared(fd) => fd.as_raw_fd(),
        }
    }
}

pub(super) fn malformed(_: wire::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the keeper speaks another language")
}

pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// One message and its descriptors.
pub(super) async fn receive(
    channel: &AsyncFd<OwnedFd>,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    loop {
        let mut ready = channel.readable().await?;
        let fd = channel.get_ref().as_raw_fd();
        let mut space = nix::cmsg_space!([RawFd; wire::DESCRIPTORS]);
        let mut pieces = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(
            fd,
            &mut pieces,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) if message.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(numbers) = control {
                        // SAFETY: new descriptors that nobody else knows.
                        descriptors.extend(numbers.into_iter().map(|n| unsafe { OwnedFd::from_raw_fd(n) }));
                    }
                }
                return Ok((message.bytes, descriptors));
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// False: no room. A channel without another end takes everything: its end is told elsewhere.
pub(super) fn send(channel: &OwnedFd, message: &[u8], descriptors: &[Descriptor]) -> bool {
    let numbers: Vec<RawFd> = descriptors.iter().map(Descriptor::number).collect();
    let control = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[] } else { &control[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(channel.as_raw_fd(), &[IoSlice::new(message)], control, flags, None);
    !matches!(sent, Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR | Errno::ETOOMANYREFS))
}

pub(super) fn memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"image", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    // What the keeper has is what was meant, whatever becomes of this process.
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}
