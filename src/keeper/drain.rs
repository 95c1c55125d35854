//! Log pipes: the keeper empties them into their segments while the daemon is away or hangs, so that no
//! service is blocked and no line is lost.
//!
//! A segment is a file that begins with a header of [`DATA`] bytes; the end of the file is always the place
//! to write to. Whose turn it is stands in a page both have mapped, the [`Turn`]: who does not have it leaves
//! pipes and segments alone. When a segment holds [`SEGMENT`] bytes or the disk is full, the keeper throws
//! bytes away and counts them in the header.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::sys::{self, Epoll};

/// Bytes of a segment's header.
pub const DATA: u64 = 64;
/// Bytes a segment may hold behind its header.
pub const SEGMENT: u64 = 4 << 20;
/// Time for a new daemon to open its pipes.
const HELD: u64 = 10_000_000_000;
/// Place of the first byte that is not consumed, in the header.
pub const CONSUMED: u64 = 8;
/// Place of the number of bytes thrown away by the keeper, in the header.
pub const DISCARDED: u64 = 16;

/// The page that says who reads the log pipes.
#[derive(Debug)]
pub struct Turn {
    word: *const AtomicU32,
}

// SAFETY: one atomic word in memory that is never unmapped while this lives.
unsafe impl Send for Turn {}
// SAFETY: as above.
unsafe impl Sync for Turn {}

const KEEPER: u32 = 0;
const DAEMON: u32 = 1;

impl Turn {
    /// Maps the page the keeper sent.
    pub fn map(page: &OwnedFd) -> io::Result<Turn> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a page that exists.
        let word = unsafe {
            libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, page.as_raw_fd(), 0)
        };
        if word == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Turn { word: word.cast() })
        }
    }

    /// Does the daemon read?
    pub fn is_daemons(&self) -> bool {
        // SAFETY: mapped as long as this lives.
        unsafe { (*self.word).load(Ordering::Acquire) == DAEMON }
    }

    pub(crate) fn give(&self, to_daemon: bool) {
        let who = if to_daemon { DAEMON } else { KEEPER };
        // SAFETY: mapped as long as this lives.
        unsafe { (*self.word).store(who, Ordering::Release) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // SAFETY: this mapping, used by nobody else.
        unsafe { libc::munmap(self.word.cast_mut().cast(), 4096) };
    }
}

struct Log {
    fifo: OwnedFd,
    segment: OwnedFd,
    /// Told by the daemon that now lives.
    fresh: bool,
}

/// All log pipes.
pub(crate) struct Logs {
    logs: Vec<Option<Log>>,
    epoll: Epoll,
    null: OwnedFd,
    turn: Turn,
    pub page: OwnedFd,
    /// Pipes of the daemon before, and how long they stay open.
    held: Option<(Vec<OwnedFd>, u64)>,
}

impl Logs {
    pub fn new() -> io::Result<Logs> {
        // SAFETY: a C string.
        let page = sys::owned(unsafe { libc::memfd_create(c"turn".as_ptr(), libc::MFD_CLOEXEC) })?;
        // SAFETY: plain call.
        sys::check(unsafe { libc::ftruncate(page.as_raw_fd(), 4096) })?;
        let null = sys::open(c"/dev/null", libc::O_WRONLY)?;
        Ok(Logs { logs: Vec::new(), epoll: Epoll::new()?, null, turn: Turn::map(&page)?, page, held: None })
    }

    /// Readable when one of the pipes is.
    pub fn fd(&self) -> RawFd {
        self.epoll.fd()
    }

    pub fn is_ours(&self) -> bool {
        !self.turn.is_daemons()
    }

    /// Pipes and segments with their slots, for the image that follows.
    pub fn all(&self) -> impl Iterator<Item = (u32, RawFd, RawFd)> {
        let logs = self.logs.iter().enumerate();
        logs.filter_map(|(slot, log)| {
            let log = log.as_ref()?;
            Some((slot as u32, log.fifo.as_raw_fd(), log.segment.as_raw_fd()))
        })
    }

    pub fn put(&mut self, slot: u32, fifo: OwnedFd, segment: OwnedFd) -> io::Result<()> {
        self.drop(slot);
        while self.logs.len() <= slot as usize {
            self.logs.push(None);
        }
        self.epoll.add(fifo.as_raw_fd(), libc::EPOLLIN, u64::from(slot))?;
        self.logs[slot as usize] = Some(Log { fifo, segment, fresh: true });
        Ok(())
    }

    pub fn drop(&mut self, slot: u32) {
        if let Some(log) = self.logs.get_mut(slot as usize).and_then(Option::take) {
            self.epoll.remove(log.fifo.as_raw_fd());
        }
    }

    /// The daemon reads from now on. Pipes it has not named (yet) stay open for a while: when a service has ended,
    /// nobody else may have its last words.
    pub fn give(&mut self, now: u64) {
        let mut stale = Vec::new();
        for log in self.logs.iter_mut() {
            if let Some(log) = log.take_if(|log| !log.fresh) {
                self.epoll.remove(log.fifo.as_raw_fd());
                stale.push(log.fifo);
            }
        }
        if !stale.is_empty() {
            self.held = Some((stale, now + HELD));
        }
        self.turn.give(true);
    }

    /// When pipes that nobody has named are closed.
    pub fn held_until(&self) -> Option<u64> {
        self.held.as_ref().map(|(_, until)| *until)
    }

    /// Closes them.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// The daemon is away or hangs.
    pub fn take(&mut self, dead: bool) {
        self.turn.give(false);
        for log in self.logs.iter_mut().flatten() {
            log.fresh = !dead && log.fresh;
        }
    }

    /// Empties what is readable, a bounded piece of each.
    pub fn drain(&mut self) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let n = self.epoll.wait(&mut events, Some(Duration::ZERO));
        for event in &events[..n] {
            if let Some(log) = self.logs.get(event.u64 as usize).and_then(Option::as_ref) {
                log.drain(self.null.as_raw_fd());
            }
        }
    }
}

impl Log {
    fn drain(&self, null: RawFd) {
        let (fifo, segment) = (self.fifo.as_raw_fd(), self.segment.as_raw_fd());
        let end = length(segment).max(DATA);
        let consumed = u64::from_le(read_word(segment, CONSUMED)).clamp(DATA, end);
        let room = (consumed + SEGMENT).saturating_sub(end) as usize;
        if room > 0 && splice(fifo, segment, Some(end), room) != Err(libc::ENOSPC) {
            return;
        }
        if let Ok(lost) = splice(fifo, null, None, SEGMENT as usize) {
            write_word(segment, DISCARDED, read_word(segment, DISCARDED) + lost as u64);
        }
    }
}

/// Moves up to `most` bytes without blocking, to this place; `Err`: errno.
fn splice(from: RawFd, to: RawFd, place: Option<u64>, most: usize) -> Result<usize, i32> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let mut place = place.map(|p| p as libc::loff_t);
    let at = place.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: `at` is null or leads to `place`.
    let n = unsafe { libc::splice(from, std::ptr::null_mut(), to, at, most, flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn length(file: RawFd) -> u64 {
    // SAFETY: all zeros is a valid value; writes to `stat`.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(file, &mut stat);
        stat.st_size as u64
    }
}

/// A word of a segment's header; 0 if it cannot be read.
pub fn read_word(segment: RawFd, at: u64) -> u64 {
    let mut word = [0; 8];
    // SAFETY: writes at most 8 bytes into `word`.
    unsafe { libc::pread(segment, word.as_mut_ptr().cast(), 8, at as libc::off_t) };
    u64::from_ne_bytes(word)
}

/// Sets a word of a segment's header.
fn write_word(segment: RawFd, at: u64, word: u64) {
    // SAFETY: reads 8 bytes of `word`.
    unsafe { libc::pwrite(segment, word.to_ne_bytes().as_ptr().cast(), 8, at as libc::off_t) };
}
