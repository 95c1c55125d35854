//! Listening sockets: opened here, held by the keeper, so that they outlive services and this daemon.
//!
//! ```text
//! open ─Put─► keeper        next daemon: snapshot ─Bank─► the same socket
//!   └─ a copy here goes with every start of its service
//! ```
//!
//! A socket is known by its [key](Listen::key), which is its address: a child that has moved, or a tree
//! that was read again, finds it open. Who connects while nobody accepts waits in its backlog.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use woodward_keeper::wire::Order;

use super::client::Client;
use super::program;
use super::socket::Descriptor;
use super::{Os, Program, SpawnError};
use crate::tree::{Address, Identity, Listen};

/// Sockets that are open, by name.
#[derive(Debug, Default)]
pub(super) struct Bank {
    open: Mutex<HashMap<Box<str>, Arc<OwnedFd>>>,
}

impl Bank {
    /// With what the keeper held.
    pub fn of(found: Vec<(String, OwnedFd)>) -> Bank {
        let open = found.into_iter().map(|(name, fd)| (name.into(), Arc::new(fd))).collect();
        Bank { open: Mutex::new(open) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<OwnedFd>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Os {
    /// Opens the sockets of a program, but those that are open, after making its directories. In the order
    /// given.
    pub fn sockets(&self, program: &Program, sockets: &[Listen]) -> Result<Vec<Arc<OwnedFd>>, SpawnError> {
        if !sockets.is_empty() {
            program::make_directories(program)?;
        }
        sockets.iter().map(|socket| self.client.socket(socket)).collect()
    }

    /// Names of all open sockets.
    pub fn open_sockets(&self) -> Vec<Box<str>> {
        self.client.bank.lock().keys().cloned().collect()
    }

    /// Closes a socket, here and in the keeper; the file of a unix socket is removed. Who connects from now
    /// on is refused; a service that has it goes on with its own copy.
    pub fn close_socket(&self, name: &str) {
        self.client.close_socket(name);
    }
}

/// Returns when somebody has connected to, or written to, one of these.
pub async fn called(sockets: &[Arc<OwnedFd>]) -> io::Result<()> {
    let mut watched = Vec::new();
    for socket in sockets {
        // SAFETY: a descriptor behind an `Arc` stays the same and open as long as the `Arc`.
        watched.push(unsafe { AsyncFd::register_with_interest(socket.clone(), Interest::READABLE) }?);
    }
    std::future::poll_fn(|context| {
        for socket in &watched {
            if let std::task::Poll::Ready(ready) = socket.poll_read_ready(context) {
                return std::task::Poll::Ready(ready.map(drop));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Whether somebody waits at one of these now.
pub fn is_called(sockets: &[Arc<OwnedFd>]) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;
    let mut all: Vec<PollFd> = sockets.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut all, 0u8).is_ok_and(|n| n > 0)
}

impl Listen {
    /// Somebody has taken the file away: nobody can reach the socket any more.
    fn is_removed(&self) -> bool {
        matches!(&self.address, Address::Unix(file) if fs::symlink_metadata(file).is_err())
    }
}

impl Client {
    fn socket(&self, wanted: &Listen) -> Result<Arc<OwnedFd>, SpawnError> {
        let name = wanted.key();
        let step = |source| SpawnError::Step { step: format!("socket {}", name), source };
        let mut open = self.bank.lock();
        if let Some(socket) = open.get(&*name).filter(|_| !wanted.is_removed()) {
            dress(socket, wanted).map_err(step)?;
            return Ok(socket.clone());
        }
        let socket = Arc::new(make(wanted).map_err(step)?);
        let order = Order::Put { name: name.as_bytes() };
        self.order(&mut self.lock(), &order, vec![Descriptor::Shared(socket.clone())]);
        open.insert(name.into(), socket.clone());
        Ok(socket)
    }

    fn close_socket(&self, name: &str) {
        if self.bank.lock().remove(name).is_none() {
            return;
        }
        self.order(&mut self.lock(), &Order::Drop { name: name.as_bytes() }, Vec::new());
        if let Some(file) = name.strip_prefix(Listen::UNIX) {
            // Somebody may have been faster.
            let _ = fs::remove_file(file);
        }
    }

    /// Nothing will listen any more.
    pub fn close_sockets(&self) {
        let names: Vec<Box<str>> = self.bank.lock().keys().cloned().collect();
        names.iter().for_each(|name| self.close_socket(name));
    }
}

fn make(wanted: &Listen) -> io::Result<OwnedFd> {
    match &wanted.address {
        Address::Stream(text) => {
            let socket = OwnedFd::from(bound(parse(text)?, TcpListener::bind)?);
            // Again, with the number of those who may wait.
            listen(&socket, backlog(wanted)?)?;
            Ok(socket)
        }
        Address::Datagram(text) => Ok(bound(parse(text)?, UdpSocket::bind)?.into()),
        Address::Unix(file) => {
            let socket = unix(file, wanted.mode)?;
            dress(&socket, wanted)?;
            listen(&socket, backlog(wanted)?)?;
            Ok(socket)
        }
    }
}

fn parse(text: &str) -> io::Result<SocketAddr> {
    Address::parse(text).map_err(io::Error::other)
}

fn backlog(wanted: &Listen) -> io::Result<Backlog> {
    Ok(Backlog::new(wanted.backlog)?)
}

/// An internet socket; where there is no IPv6, all addresses are those of IPv4.
fn bound<S>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    match bind(address) {
        Err(e)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
        {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        other => other,
    }
}

/// A unix socket that nobody but its owner and who `mode` says can connect to, from the first moment. A file
/// that an earlier run has left is replaced; one at which somebody listens is not.
fn unix(file: &Path, mode: u32) -> io::Result<OwnedFd> {
    let address = UnixAddr::new(file)?;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::symlink_metadata(file) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::other("there is a file of this name that is no socket"));
        }
        Ok(_) if UnixStream::connect(file).is_ok() => {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        Ok(_) => fs::remove_file(file)?,
        Err(_) => {}
    }
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Linux makes the file with the mode of the socket itself, less the mask.
    // SAFETY: plain call.
    unsafe { libc::fchmod(socket.as_raw_fd(), mode & 0o777) };
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// Mode and owner of a unix socket's file, as the plan has them now.
fn dress(socket: &OwnedFd, wanted: &Listen) -> io::Result<()> {
    match &wanted.address {
        Address::Unix(file) => {
            fs::set_permissions(file, Permissions::from_mode(wanted.mode))?;
            if wanted.user.is_some() || wanted.group.is_some() {
                let identity = Identity {
                    user: wanted.user.clone(),
                    group: wanted.group.clone(),
                    ..Identity::default()
                };
                let ids = program::ids(&identity).map_err(io::Error::other)?;
                if let Some(ids) = ids {
                    std::os::unix::fs::chown(file, Some(ids.uid), Some(ids.gid))?;
                }
            }
            Ok(())
        }
        Address::Stream(_) => Ok(listen(socket, backlog(wanted)?)?),
        Address::Datagram(_) => Ok(()),
    }
}
