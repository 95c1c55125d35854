//! Before the loop begins: the lock of the state directory, what the process is to be like, what the daemon
//! executes; and those outside who want to be told.

use std::ffi::OsStr;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::Config;
use crate::channel;
use crate::foreign::Stat;
use crate::image::{Image, Stdin};
use crate::replace::VARIABLE;
use crate::start::Inherited;
use crate::sys;

/// What the daemon executes: its environment is the keeper's.
pub(crate) fn image(config: &Config) -> Vec<u8> {
    let arguments: Vec<Vec<u8>> = config.daemon.iter().map(|a| a.as_bytes().to_vec()).collect();
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        [name.into_vec(), b"=".to_vec(), value.into_vec()].concat()
    };
    Image {
        program: arguments.first().cloned().unwrap_or_default(),
        arguments,
        environment: std::env::vars_os().filter(|(name, _)| name != VARIABLE).map(variable).collect(),
        stdin: Stdin::Inherit,
        ..Image::default()
    }
    .encode()
}

/// The lock of a state directory, or the process id of who has it.
pub(crate) fn lock(state: &Path) -> io::Result<Result<std::fs::File, i32>> {
    let mut options = std::fs::File::options();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(state.join("keeper.pid"))?;
    let mut patience = 200;
    // SAFETY: plain call.
    while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        let pid = text.trim().parse().unwrap_or(0);
        if patience == 0 || Stat::of(pid).is_some_and(|stat| !stat.zombie) {
            return Ok(Err(pid));
        }
        // It has just died, and the kernel has not closed all it had yet.
        patience -= 1;
        // SAFETY: waits ten milliseconds.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 10) };
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Ok(file))
}

/// Makes this process fit to be a keeper: every signal blocked, none ignored, parent of orphans, as many
/// descriptors as it may have, none of them for children.
pub(crate) fn prepare() -> io::Result<Inherited> {
    while sys::open(c"/dev/null", libc::O_RDWR)?.as_raw_fd() <= 2 {
        // A standard descriptor was closed: it stays /dev/null.
        std::mem::forget(sys::open(c"/dev/null", libc::O_RDWR)?);
    }
    let mut inherited = Inherited { ignored: 0, ..block_signals() };
    // SAFETY: plain calls; all zeros is a valid value for what is written.
    unsafe {
        let default = [0usize; 4];
        for signal in 1..=64usize {
            sys::raw(libc::SYS_rt_sigaction, [signal, default.as_ptr() as usize, 0, 8, 0]);
        }
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 4);
        sys::check(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))?;
        let mut limit: libc::rlimit = std::mem::zeroed();
        sys::check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        inherited.files = [limit.rlim_cur, limit.rlim_max];
        limit.rlim_cur = limit.rlim_max;
        sys::check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
    }
    Ok(inherited)
}

/// Blocks every signal for this thread and makes its timers exact.
pub(crate) fn block_signals() -> Inherited {
    let mut inherited = Inherited::default();
    // SAFETY: plain calls; all zeros is a valid value for what is written.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        inherited.slack = usize::try_from(libc::prctl(libc::PR_GET_TIMERSLACK)).unwrap_or(50_000);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        inherited.files = [limit.rlim_cur, limit.rlim_max];
        for signal in 1..=64usize {
            // Not through libc, which hides the signals of its threads.
            let mut action = [0usize; 4];
            let known =
                sys::raw(libc::SYS_rt_sigaction, [signal, 0, action.as_mut_ptr() as usize, 8, 0]) == 0;
            if known && action[0] == libc::SIG_IGN {
                inherited.ignored |= 1 << (signal - 1);
            }
        }
    }
    inherited
}

/// Whoever started woodward and wants to be told (sd_notify).
pub(crate) struct Listener {
    socket: OwnedFd,
    address: libc::sockaddr_un,
    length: libc::socklen_t,
}

impl Listener {
    /// `address`: a path, or `@` and an abstract name.
    pub fn new(address: &str) -> io::Result<Listener> {
        // SAFETY: plain call.
        let socket =
            sys::owned(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: all zeros is a valid value.
        let mut to: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        to.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let bytes = OsStr::new(address).as_bytes();
        if bytes.len() >= to.sun_path.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        for (place, &byte) in to.sun_path.iter_mut().zip(bytes) {
            *place = byte as libc::c_char;
        }
        if bytes.first() == Some(&b'@') {
            to.sun_path[0] = 0;
        }
        let length = size_of::<libc::sa_family_t>() + bytes.len();
        Ok(Listener { socket, address: to, length: length as libc::socklen_t })
    }

    /// The same with a descriptor. False: there is no room now.
    pub fn pass(&self, text: &[u8], descriptor: Option<RawFd>) -> bool {
        let to = Some((&raw const self.address, self.length));
        let descriptors = descriptor.as_slice();
        !matches!(
            channel::send_to(self.socket.as_raw_fd(), to, text, descriptors),
            Err(libc::EAGAIN | libc::ENOBUFS)
        )
    }

    /// Best effort: nobody there, or no room, is no error.
    pub fn tell(&self, text: &[u8]) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let to = std::ptr::from_ref(&self.address).cast();
        // SAFETY: reads `text` and the address.
        unsafe {
            libc::sendto(self.socket.as_raw_fd(), text.as_ptr().cast(), text.len(), flags, to, self.length);
        }
    }
}

/// Writes a line to standard error, unless that would block.
pub(crate) fn say(text: &str) {
    let mut poll = libc::pollfd { fd: 2, events: libc::POLLOUT, revents: 0 };
    // SAFETY: writes to `poll`.
    if unsafe { libc::poll(&mut poll, 1, 0) } == 1 && poll.revents == libc::POLLOUT {
        eprintln!("woodward: {text}");
    }
}
