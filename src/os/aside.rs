//! A process beside a service that is not ours: what `woodward ready` needs of the operating system under a manager
//! that is not woodward.
//!
//! ```text
//! systemd ──► woodward ready ──exec──► COMMAND                 the main process: same pid, same limits, same parent
//!                   └─fork─fork─► aside: reads its pipes, tells $NOTIFY_SOCKET
//! ```
//!
//! The process aside is forked twice, so that it is nobody's child that the command could wait for by mistake. It is in a
//! session of its own and blocks every signal, so a signal to the group of the service is not for it; it holds none of the
//! service's descriptors but the two it writes to.
#![allow(
    clippy::disallowed_methods,
    reason = "there is no keeper here: a probe command is a child of its asker"
)]

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, UnixCredentials, sendmsg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2, setsid, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The end that systemd knows for a command that could not be executed (`systemd.exec(5)`).
pub const CANNOT_EXECUTE: u8 = 203;
/// Variables of the service that are not for its command when `woodward ready` speaks for it.
pub const OURS: &[&str] = &["NOTIFY_SOCKET", "JOURNAL_STREAM"];
/// For the answer to a barrier.
const BARRIER: Duration = Duration::from_secs(5);
/// Bytes that are passed on at once: what a pipe holds.
const PIECE: usize = 64 << 10;

/// Who this process is after [`aside`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that was there before.
    Main,
    /// The one beside it.
    Aside,
}

/// Makes the process aside. It keeps standard output, standard error and the descriptors `keep`, no others. To be called
/// while there is one thread.
pub fn aside(keep: &[RawFd]) -> io::Result<Side> {
    // SAFETY: there is one thread, so the child may do what it likes.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
            Ok(Side::Main)
        }
        ForkResult::Child => {
            // SAFETY: as above.
            if !matches!(unsafe { fork() }, Ok(ForkResult::Child)) {
                // SAFETY: plain call; nothing of the parent's is flushed twice.
                unsafe { libc::_exit(0) };
            }
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
            let _ = setsid();
            forget_all_but(keep);
            Ok(Side::Aside)
        }
    }
}

fn forget_all_but(keep: &[RawFd]) {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| !keep.contains(fd) && !(1..=2).contains(fd)) {
        // SAFETY: nothing of this process knows these: they were given to the service.
        unsafe { libc::close(fd) };
    }
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null")
        && null.as_raw_fd() == 0
    {
        std::mem::forget(null);
    }
}

/// Executes a command in place of this process, found in `PATH`, with the signals this one was given and without the
/// variables named. Returns why that was not possible.
pub fn execute(command: &[OsString], without: &[&str]) -> io::Error {
    let text = |text: &OsString| CString::new(text.as_bytes());
    let variables = std::env::vars_os().filter(|(name, _)| !without.iter().any(|of| name == of));
    let variables =
        variables.map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    let prepared = command.iter().map(text).collect::<Result<Vec<_>, _>>();
    let prepared = prepared.and_then(|command| Ok((command, variables.collect::<Result<Vec<_>, _>>()?)));
    let (command, variables) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return error.into(),
    };
    let Some(program) = command.first() else { return io::ErrorKind::InvalidInput.into() };
    woodward_keeper::first::give_back();
    match nix::unistd::execvpe(program, &command, &variables) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}

/// A pipe; both ends are closed by an exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}

/// The end of a pipe that is written to, open for both directions, so that nobody who writes to it is ever killed by
/// SIGPIPE when its reader has gone.
pub fn both_directions(writer: &OwnedFd) -> io::Result<OwnedFd> {
    let file = format!("/proc/self/fd/{}", writer.as_raw_fd());
    Ok(File::options().read(true).write(true).open(file)?.into())
}

/// `fd` becomes what `of` is, for whatever is executed next.
pub fn put(of: &OwnedFd, fd: RawFd) -> io::Result<()> {
    // SAFETY: plain calls. What was at this number was the service's, or is not needed any more before the exec.
    let done = unsafe {
        match of.as_raw_fd() == fd {
            true => libc::fcntl(fd, libc::F_SETFD, 0),
            false => libc::dup2(of.as_raw_fd(), fd),
        }
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether standard output and standard error are one and the same.
pub fn one_output() -> bool {
    let of = |fd: RawFd| nix::sys::stat::fstat(borrowed(fd)).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((of(1), of(2)), (Ok(out), Ok(error)) if out == error)
}

fn borrowed(fd: RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: used for standard output and standard error, which nobody closes.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

/// Another process, by its pidfd.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// This one.
    pub fn own() -> io::Result<Process> {
        Process::open(std::process::id().cast_signed())
    }

    /// Fails with ESRCH if there is none.
    pub fn open(pid: i32) -> io::Result<Process> {
        // SAFETY: plain call; the result is a descriptor of our own or an error.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: just opened, and nobody else knows of it.
        Ok(Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The number of its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }

    /// For how long it has been there.
    pub fn age(&self) -> Option<Duration> {
        let ticks = super::clock::started(self.pid);
        let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        let born = Duration::from_millis(ticks.checked_mul(1000)? / u64::try_from(second).ok()?);
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
        (ticks > 0).then(|| Duration::from(now).saturating_sub(born))
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        // SAFETY: the descriptor stays the same and open as long as `self`, which this borrows.
        let watched = unsafe { AsyncFd::register_with_interest(self.pidfd.as_fd(), Interest::READABLE) };
        match watched {
            Ok(watched) => drop(watched.readable().await),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Runs a command with this process's environment (but [`OURS`]) and standard output; what it ended with, in words, if
/// that was not 0. Killed, with its group, when nobody waits for it any more.
pub async fn run(command: &[String]) -> Result<(), String> {
    Running::start(command, Stdio::inherit())?.succeeds().await
}

/// The same, and what it has said: at most what a pipe holds.
pub async fn said(command: &[String]) -> Result<String, String> {
    let mut running = Running::start(command, Stdio::piped())?;
    let output = running.child.stdout.take();
    running.succeeds().await?;
    let mut text = String::new();
    if let Some(mut output) = output {
        output.read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    Ok(text)
}

/// A command that is running.
struct Running {
    program: String,
    child: std::process::Child,
}

impl Running {
    fn start(command: &[String], output: Stdio) -> Result<Running, String> {
        let Some((program, arguments)) = command.split_first() else { return Err("no command".to_owned()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).process_group(0);
        for name in OURS {
            command.env_remove(name);
        }
        // SAFETY: one system call, which may be made between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?))
        };
        let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        Ok(Running { program: program.clone(), child })
    }

    async fn succeeds(&mut self) -> Result<(), String> {
        let told = |program: &str, error: io::Error| format!("{program}: {error}");
        let process = Process::open(self.child.id().cast_signed()).map_err(|e| told(&self.program, e))?;
        process.ended().await;
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{}: {status}", self.program)),
            Err(error) => Err(told(&self.program, error)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// systemd, or whoever else listens at `$NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: OsString,
}

impl Manager {
    /// `None`: nobody listens.
    pub fn find() -> Option<Manager> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        Some(Manager { socket: UnixDatagram::unbound().ok()?, address })
    }

    /// The number of its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Tells it; waits while it is too busy to take it.
    pub fn tell(&self, text: &str) -> io::Result<()> {
        let address = match self.address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsString::from_vec(path.to_vec()))?,
        };
        self.socket.send_to_addr(text.as_bytes(), &address).map(drop)
    }

    /// Returns when all that was told has been understood, so that who told it may end. For a few seconds at most.
    pub fn understood(&self) -> io::Result<()> {
        let (reader, writer) = pipe()?;
        let address = match self.address.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            path => UnixAddr::new(path)?,
        };
        let (text, descriptors) = ([io::IoSlice::new(b"BARRIER=1")], [writer.as_raw_fd()]);
        let with = [ControlMessage::ScmRights(&descriptors)];
        sendmsg(self.socket.as_raw_fd(), &text, &with, MsgFlags::empty(), Some(&address))?;
        drop(writer);
        let time = PollTimeout::try_from(BARRIER).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLHUP)], time)?;
        Ok(())
    }
}

/// What a service writes, passed on to where it would have gone. Ends when nobody can write any more.
#[derive(Debug)]
pub struct Passing {
    pipe: File,
    to: RawFd,
    main: i32,
    state: Arc<State>,
}

/// What others may know of a [`Passing`].
#[derive(Debug)]
pub struct State {
    reader: OwnedFd,
    busy: AtomicBool,
    over: AtomicBool,
}

impl State {
    /// All that was written so far has been passed on.
    pub fn is_idle(&self) -> bool {
        let mut left: libc::c_int = 0;
        // SAFETY: writes to `left`; the descriptor is our own.
        let asked = unsafe { libc::ioctl(self.reader.as_raw_fd(), libc::FIONREAD, &mut left) };
        // In this order: what has just been taken out of the pipe is noted as busy before.
        let empty = asked != 0 || left == 0;
        empty && !self.busy.load(Ordering::SeqCst) || self.is_over()
    }

    /// Nobody can write any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

impl Passing {
    /// From `pipe` to standard output (1) or standard error (2), in the name of the process `main`, as far as that is
    /// allowed: the journal then knows the lines as its lines.
    pub fn new(pipe: OwnedFd, to: RawFd, main: i32) -> io::Result<Passing> {
        let reader = pipe.try_clone()?;
        let state = State { reader, busy: AtomicBool::new(false), over: AtomicBool::new(false) };
        Ok(Passing { pipe: pipe.into(), to, main, state: Arc::new(state) })
    }

    /// What others may know of it.
    pub fn state(&self) -> Arc<State> {
        self.state.clone()
    }

    /// Passes on until nobody can write any more; `look` sees every piece first. Waits as long as whoever takes it
    /// makes it wait. If nobody takes it any more, it is dropped, so that the service goes on.
    pub fn run(mut self, mut look: impl FnMut(&[u8])) {
        let mut buffer = vec![0; PIECE];
        let mut way = Some(Way::InItsName(self.main));
        loop {
            let _ = poll(&mut [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            self.state.busy.store(true, Ordering::SeqCst);
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    look(&buffer[..n]);
                    way = way.and_then(|way| pass(self.to, way, &buffer[..n]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            self.state.busy.store(false, Ordering::SeqCst);
        }
        self.state.over.store(true, Ordering::SeqCst);
    }
}

/// How lines are passed on.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// With the credentials of this process, which takes a socket and CAP_SYS_ADMIN.
    InItsName(i32),
    /// As this process's own.
    Plainly,
}

/// Writes all of it; how it went, or `None`: nobody takes it any more.
fn pass(to: RawFd, mut way: Way, mut text: &[u8]) -> Option<Way> {
    use nix::errno::Errno::{EAGAIN, EINTR};
    while !text.is_empty() {
        let written = match way {
            Way::InItsName(pid) => write_as(to, pid, text),
            Way::Plainly => write(borrowed(to), text),
        };
        match (written, way) {
            (Ok(n), _) => text = &text[n..],
            (Err(EINTR), _) => {}
            (Err(EAGAIN), _) => {
                let _ = poll(&mut [PollFd::new(borrowed(to), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            // It is no socket, this is not allowed, or that process is gone: its last lines are passed on all the same.
            (Err(_), Way::InItsName(_)) => way = Way::Plainly,
            (Err(_), Way::Plainly) => return None,
        }
    }
    Some(way)
}

fn write_as(to: RawFd, pid: i32, text: &[u8]) -> nix::Result<usize> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let credentials = UnixCredentials::from(libc::ucred { pid, uid, gid });
    let with = [ControlMessage::ScmCredentials(&credentials)];
    sendmsg::<()>(to, &[io::IoSlice::new(text)], &with, MsgFlags::MSG_NOSIGNAL, None)
}

/// The place, among abstract sockets, where the process aside of this start of the unit can be asked for.
fn meeting() -> Option<SocketAddr> {
    let start = std::env::var("INVOCATION_ID").ok()?;
    SocketAddr::from_abstract_name(format!("woodward-ready/{start}")).ok()
}

/// Waits there for others.
pub fn meet() -> Option<tokio::net::UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&meeting()?).ok()?;
    listener.set_nonblocking(true).ok()?;
    tokio::net::UnixListener::from_std(listener).ok()
}

/// Returns when the process aside of this start has passed on what there was, or at the end of `patience`; at once if
/// there is none.
pub fn drained(patience: Duration) {
    let Some(mut stream) = meeting().and_then(|at| std::os::unix::net::UnixStream::connect_addr(&at).ok())
    else {
        return;
    };
    let _ = stream.set_read_timeout(Some(patience));
    let _ = stream.read(&mut [0]);
}

/// The unit that this process is in, by its control group.
pub fn own_unit() -> Option<String> {
    let group = super::cgroup::group_of("self")?;
    group.rsplit('/').find(|name| name.ends_with(".service")).map(str::to_owned)
}
