//! Listening sockets: opened here, held by the keeper, so that they outlive services and this daemon.
//!
//! ```text
//! open ─Put─► keeper        next daemon: snapshot ─Bank─► the same socket
//!   └─ a copy here goes with every start of its service
//! ```
//!
//! Other descriptors that must outlive this daemon are [kept](Os::keep) beside them, under names with [`OWN`] in front.
//!
//! A socket is known by its [key](Listen::key), which is its address: a child that has moved, or a tree
//! that was read again, finds it open. Who connects while nobody accepts waits in its backlog.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockname, getsockopt, listen, socket,
    sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use woodward_keeper::wire::Order;

use super::client::Client;
use super::program;
use super::socket::Descriptor;
use super::{Os, Program, SpawnError};
use crate::tree::{Address, Identity, Listen};

/// In front of the names of what is no listening socket of a service.
const OWN: char = '@';

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

    /// Looks for sockets that should be open in the process of a generation that was found running: its keeper may
    /// have been killed, and then that process is the only one that has them still.
    pub fn recover_sockets(&self, path: &str, generation: u64, sockets: &[Listen]) {
        self.client.recover_sockets(path, generation, sockets);
    }

    /// Names of all open sockets.
    pub fn open_sockets(&self) -> Vec<Box<str>> {
        self.client.bank.lock().keys().filter(|name| !name.starts_with(OWN)).cloned().collect()
    }

    /// Lets the keeper hold a descriptor for the next daemon. One of the same name is replaced.
    pub fn keep(&self, name: &str, fd: Arc<OwnedFd>) {
        let name = format!("{OWN}{name}");
        let order = Order::Put { name: name.as_bytes() };
        self.client.order(&mut self.client.lock(), &order, vec![Descriptor::Shared(fd.clone())]);
        self.client.bank.lock().insert(name.into(), fd);
    }

    /// What this daemon, or the one before, lets the keeper hold.
    pub fn kept(&self, name: &str) -> Option<Arc<OwnedFd>> {
        self.client.bank.lock().get(&*format!("{OWN}{name}")).cloned()
    }

    /// Closes it in the keeper too, if there is one.
    pub fn drop_kept(&self, name: &str) {
        self.client.close_socket(&format!("{OWN}{name}"));
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

    fn recover_sockets(&self, path: &str, generation: u64, sockets: &[Listen]) {
        let lost: Vec<&Listen> = {
            let open = self.bank.lock();
            sockets.iter().filter(|wanted| !open.contains_key(&*wanted.key())).collect()
        };
        let process = self.found.iter().find(|f| *f.path == *path && f.generation == generation);
        let Some(pid) = process.map(|f| f.pid).filter(|pid| *pid > 0 && !lost.is_empty()) else { return };
        for socket in foreign(pid) {
            let Some(wanted) = lost.iter().find(|wanted| is_bound(&socket, &wanted.address)) else {
                continue;
            };
            let (name, socket) = (wanted.key(), Arc::new(socket));
            self.order(
                &mut self.lock(),
                &Order::Put { name: name.as_bytes() },
                vec![Descriptor::Shared(socket.clone())],
            );
            self.bank.lock().insert(name.into(), socket);
        }
    }

    /// Nothing will listen any more.
    pub fn close_sockets(&self) {
        let names: Vec<Box<str>> = self.bank.lock().keys().cloned().collect();
        names.iter().for_each(|name| self.close_socket(name));
    }
}

/// Copies of the sockets of a process, as far as this one may take them.
fn foreign(pid: i32) -> Vec<OwnedFd> {
    // SAFETY: plain call; the descriptor is new.
    let process = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Vec::new();
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_socket = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
    };
    let numbers =
        numbers.filter(is_socket).filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let copy = |number: i32| {
        // SAFETY: plain call; the descriptor is new.
        unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
            (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
        }
    };
    numbers.filter_map(copy).collect()
}

/// Whether this is the socket that listens there, and not a connection made through it.
fn is_bound(socket: &OwnedFd, address: &Address) -> bool {
    let fd = socket.as_raw_fd();
    let kind = getsockopt(socket, sockopt::SockType);
    let accepts = getsockopt(socket, sockopt::AcceptConn).unwrap_or(false);
    match address {
        Address::Unix(file) => {
            accepts && getsockname::<UnixAddr>(fd).is_ok_and(|bound| bound.path() == Some(file.as_path()))
        }
        Address::Stream(text) | Address::Datagram(text) => {
            let stream = matches!(address, Address::Stream(_));
            let right = if stream { accepts } else { kind == Ok(SockType::Datagram) };
            // Of whatever kind it is: only its name is asked.
            let bound = socket.try_clone().and_then(|copy| UdpSocket::from(copy).local_addr()).ok();
            right && bound.is_some() && bound == Address::parse(text).ok()
        }
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
