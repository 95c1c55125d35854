//! First hop of the output of a child: FIFO → bounded segment file, by splice, before anybody reads it.
//!
//! The child holds the FIFO open for reading and writing, so it never gets a SIGPIPE, and a new daemon or
//! keeper opens it again by name. What is spliced needs no memory of ours: a daemon that dies loses nothing
//! of it, and the keeper splices into the same segment while the daemon is away. Nobody keeps an offset: the
//! end of the segment file is always the place to write to, and the place of the first byte not yet consumed
//! stands in its header, so a reader that dies repeats at most its last piece and loses nothing.
//!
//! ```text
//! segment file:  magic u64 | consumed u64 | thrown away by the keeper u64 | writer 2 x u64 |
//!                mark: consumed u64, number of the line there u64 | up to byte 64 | bytes ...
//! ```
//!
//! The mark says the place again, together with the number of the line that begins there: both are written at once, so
//! lines are numbered through the deaths of daemons, and a line that is read twice has its number twice.
//!
//! What is consumed is punched out of the file, and when all is, the file is cut back, but for the last [`TAIL`] bytes:
//! the next daemon has them to show. With [`SEGMENT`] bytes not consumed it is full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SpliceFFlags, fallocate, fcntl, splice};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use woodward_keeper::drain;

use super::Os;
use super::client::Client;

/// The output of one child, all its generations. Not cloned: one reader.
#[derive(Debug)]
pub struct LogPipe {
    fifo: OwnedFd,
    writer: Arc<OwnedFd>,
    segment: File,
    /// Place of the first byte not yet read.
    next: u64,
    /// Place of the first byte not yet consumed.
    consumed: u64,
    /// Everything from [`DATA`] to here has been punched out.
    punched: u64,
    /// The file system cannot punch holes.
    solid: bool,
    /// What has to be added to a place to get the number of the byte since this was opened.
    base: u64,
    /// Number of the first line not yet consumed.
    line: u64,
    shared: Option<Shared>,
}

/// The keeper has both descriptors too.
#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    /// What both call this pipe.
    slot: u32,
}

impl Shared {
    fn new(os: &Os, fifo: &OwnedFd, segment: &File) -> io::Result<Shared> {
        let client = os.client.clone();
        let slot = client.share(fifo.try_clone()?, segment.try_clone()?.into());
        Ok(Shared { client, slot })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.client.withdraw(self.slot);
    }
}

/// Bytes a segment may hold.
pub const SEGMENT: u64 = drain::SEGMENT;

/// Bytes moved or read at once.
pub const PIECE: usize = 256 << 10;

/// Place of the first byte of the child.
const DATA: u64 = drain::DATA;
/// `woodlog` and the version of the layout.
const MAGIC: [u8; 8] = *b"woodlog1";
/// Place of what [`LogPipe::set_writer`] remembers.
const WRITER: u64 = 24;
/// Wanted capacity of a FIFO; small ones are accepted.
const CAPACITY: i32 = 256 << 10;
/// Place of the mark.
const MARK: u64 = 40;
/// Bytes kept of what is consumed.
const TAIL: u64 = 4 << 10;
/// Holes are made of whole pages.
const PAGE: u64 = 4096;
/// So much is punched out at once.
const HOLE: u64 = 1 << 20;

/// What was thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thrown {
    /// Bytes.
    pub bytes: u64,
    /// Newlines in them.
    pub lines: u64,
}

impl LogPipe {
    /// Opens (or makes) `dir/log/PATH.fifo` and `dir/log/PATH.segment`, and shares both with the keeper, if
    /// there is one. Unread bytes of an earlier daemon are still there.
    pub fn open(dir: &Path, path: &str, os: Option<&Os>) -> io::Result<LogPipe> {
        let (fifo, segment) = files(dir, path);
        std::fs::create_dir_all(fifo.parent().unwrap_or(dir))?;
        match mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let open = |write, flags: OFlag| {
            OpenOptions::new().read(true).write(write).custom_flags(flags.bits()).open(&fifo)
        };
        let reader = OwnedFd::from(open(false, OFlag::O_NONBLOCK)?);
        let writer = Arc::new(OwnedFd::from(open(true, OFlag::empty())?));
        // Refused when an unprivileged user has many pipes: then it stays as it is.
        let _ = fcntl(&reader, FcntlArg::F_SETPIPE_SZ(CAPACITY));
        let mut options = OpenOptions::new();
        let segment =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&segment)?;
        let (consumed, line) = first_unconsumed(&segment)?;
        let base = 0u64.wrapping_sub(consumed);
        let shared = os.map(|os| Shared::new(os, &reader, &segment)).transpose()?;
        Ok(LogPipe {
            fifo: reader,
            writer,
            segment,
            next: consumed,
            consumed,
            punched: DATA,
            solid: false,
            base,
            line,
            shared,
        })
    }

    /// Removes both files of a child that is no more.
    pub fn remove(dir: &Path, path: &str) {
        let (fifo, segment) = files(dir, path);
        // A file that stays is a little room in a directory that dies with the boot.
        let _ = (std::fs::remove_file(fifo), std::fs::remove_file(segment));
    }

    /// What the child gets as standard output and error.
    pub fn writer(&self) -> Arc<OwnedFd> {
        self.writer.clone()
    }

    /// Remembers who writes from now on, in two numbers of the caller's, for the daemon that follows.
    pub fn set_writer(&self, who: [u64; 2]) -> io::Result<()> {
        let bytes = [who[0].to_le_bytes(), who[1].to_le_bytes()].concat();
        self.segment.write_all_at(&bytes, WRITER)
    }

    /// Who wrote last, perhaps for an earlier daemon; zeros: nobody was remembered.
    pub fn last_writer(&self) -> [u64; 2] {
        let word = |n: u64| u64::from_le(drain::read_word(self.segment.as_raw_fd(), WRITER + 8 * n));
        [word(0), word(1)]
    }

    /// The number of the first line not yet consumed; 1: nobody has consumed any.
    pub fn first_line(&self) -> u64 {
        self.line
    }

    /// The last whole lines that an earlier daemon has consumed, some kilobytes at most, and when they were written:
    /// milliseconds since 1970, UTC.
    pub fn tail(&self) -> io::Result<(Vec<u8>, u64)> {
        let from = self.consumed.saturating_sub(TAIL).max(DATA);
        let mut bytes = vec![0; (self.consumed - from) as usize];
        self.segment.read_exact_at(&mut bytes, from)?;
        if from > DATA {
            let first = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |newline| newline + 1);
            bytes.drain(..first);
        }
        let written = self.segment.metadata()?.modified()?.duration_since(UNIX_EPOCH);
        Ok((bytes, written.map_or(0, |since| since.as_millis() as u64)))
    }

    /// Readable when [`LogPipe::pump`] is worth calling.
    pub fn reader(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }

    /// May this daemon pump? Not while the keeper does it, because the daemon was silent for a second, or has
    /// just begun.
    pub fn is_ours(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.client.reads_logs())
    }

    /// Bytes the keeper has thrown away because the segment was full and the daemon away; each is told once,
    /// when it is this daemon's turn again.
    pub fn take_missed(&mut self) -> u64 {
        let missed = drain::read_word(self.segment.as_raw_fd(), drain::DISCARDED);
        if missed == 0 || !self.is_ours() {
            return 0;
        }
        // What cannot be reset is told again.
        let _ = self.segment.write_all_at(&0u64.to_le_bytes(), drain::DISCARDED);
        missed
    }

    /// Moves up to [`PIECE`] bytes from the FIFO into the segment. Bytes moved; 0 when the FIFO is empty,
    /// there is no room, or it is the keeper's turn. Never blocks on the child.
    pub fn pump(&self) -> io::Result<usize> {
        if !self.is_ours() {
            return Ok(0);
        }
        let mut end = self.end()?;
        let floor = if self.solid { DATA } else { self.consumed };
        let room = SEGMENT.saturating_sub(end - floor).min(PIECE as u64);
        if room == 0 {
            return Ok(0);
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let mut place = end.cast_signed();
        loop {
            match splice(&self.fifo, None, &self.segment, Some(&mut place), room as usize, flags) {
                Ok(n) => return Ok(n),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {
                    end = self.end()?;
                    place = end.cast_signed();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether there is no room to pump into until something is consumed.
    pub fn is_full(&self) -> io::Result<bool> {
        let floor = if self.solid { DATA } else { self.consumed };
        Ok(self.end()? - floor >= SEGMENT)
    }

    /// Bytes in the segment that [`LogPipe::read`] has not returned yet.
    pub fn unread(&self) -> io::Result<u64> {
        Ok(self.end()?.saturating_sub(self.next))
    }

    /// How many bytes [`LogPipe::read`] has returned since this was opened.
    pub fn position(&self) -> u64 {
        self.base.wrapping_add(self.next)
    }

    /// Appends up to [`PIECE`] unread bytes of the segment to `buffer`, continuing after those of the last
    /// call. 0: nothing there.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let wanted = usize::try_from(self.unread()?).unwrap_or(PIECE).min(PIECE);
        let from = buffer.len();
        buffer.resize(from + wanted, 0);
        let read = self.segment.read_at(&mut buffer[from..], self.next);
        let n = *read.as_ref().unwrap_or(&0);
        buffer.truncate(from + n);
        self.next += n as u64;
        read
    }

    /// All bytes before `position` have been dealt with: they are not read again by anybody, and their room
    /// is free. `line`: the number of the line that begins there.
    pub fn consumed(&mut self, position: u64, line: u64) -> io::Result<()> {
        let place = position.wrapping_sub(self.base);
        // A position from before the file was last cut back is an old one.
        if position < self.position().saturating_sub(self.next - DATA) || place <= self.consumed {
            return Ok(());
        }
        self.consumed = place.min(self.next);
        self.line = line;
        let end = self.end()?;
        if self.is_ours() && self.consumed == end && end > DATA + 2 * TAIL {
            let mut tail = [0; TAIL as usize];
            self.segment.read_exact_at(&mut tail, end - TAIL)?;
            self.segment.write_all_at(&tail, DATA)?;
            self.base = self.base.wrapping_add(self.next - DATA - TAIL);
            (self.next, self.consumed, self.punched) = (DATA + TAIL, DATA + TAIL, DATA);
            // First the header: a reader that dies in between repeats, it does not lose.
            self.write_header()?;
            return self.segment.set_len(DATA + TAIL);
        }
        self.write_header()?;
        self.punch()
    }

    /// First the mark: a reader that dies in between is believed by it.
    fn write_header(&self) -> io::Result<()> {
        let [place, line] = [self.consumed, self.line].map(u64::to_le_bytes);
        self.segment.write_all_at(&[place, line].concat(), MARK)?;
        self.segment.write_all_at(&[MAGIC, place].concat(), 0)
    }

    /// Gives the room of what is consumed back to the file system.
    fn punch(&mut self) -> io::Result<()> {
        let from = self.punched.next_multiple_of(PAGE);
        let to = self.consumed.saturating_sub(TAIL) / PAGE * PAGE;
        if self.solid || to < from + HOLE {
            return Ok(());
        }
        let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.segment, mode, from.cast_signed(), (to - from).cast_signed()) {
            Ok(()) => self.punched = to,
            Err(_) => self.solid = true,
        }
        Ok(())
    }

    /// Throws away what is in the FIFO, for when there is no room at all: a child is never blocked.
    pub fn discard(&mut self) -> io::Result<Thrown> {
        let mut waste = vec![0; PIECE];
        loop {
            match nix::unistd::read(&self.fifo, &mut waste) {
                Ok(n) => {
                    let lines = memchr::memchr_iter(b'\n', &waste[..n]).count() as u64;
                    return Ok(Thrown { bytes: n as u64, lines });
                }
                Err(Errno::EAGAIN) => return Ok(Thrown::default()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.segment.metadata()?.len().max(DATA))
    }
}

fn files(dir: &Path, path: &str) -> (PathBuf, PathBuf) {
    let log = dir.join("log");
    (log.join(format!("{path}.fifo")), log.join(format!("{path}.segment")))
}

/// Where an earlier reader left off, and the number of the line there; a header that makes no sense is one of nobody.
fn first_unconsumed(segment: &File) -> io::Result<(u64, u64)> {
    let end = segment.metadata()?.len();
    let word = |place| u64::from_le(drain::read_word(segment.as_raw_fd(), place));
    if end < DATA || word(0) != u64::from_le_bytes(MAGIC) {
        return Ok((DATA, 1));
    }
    let (consumed, mark, line) = (word(drain::CONSUMED), word(MARK), word(MARK + 8));
    let place = if mark == 0 { consumed } else { mark };
    Ok(if (DATA..=end).contains(&place) { (place, line.max(1)) } else { (DATA, line.max(1)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(pipe: &LogPipe, bytes: &[u8]) {
        let mut child = File::from(pipe.writer().try_clone().expect("a descriptor"));
        child.write_all(bytes).expect("room in the pipe");
    }

    fn read(pipe: &mut LogPipe) -> Vec<u8> {
        let mut buffer = Vec::new();
        while pipe.pump().expect("pumped") > 0 {}
        while pipe.read(&mut buffer).expect("read") > 0 {}
        buffer
    }

    #[test]
    fn unconsumed_bytes_are_read_again_by_the_next_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut pipe = LogPipe::open(dir.path(), "t/a", None).expect("a pipe");
        write(&pipe, b"one\ntwo\n");
        assert_eq!((read(&mut pipe).as_slice(), pipe.last_writer()), (b"one\ntwo\n".as_slice(), [0, 0]));
        pipe.consumed(4, 2).expect("consumed");
        pipe.set_writer([7, 9]).expect("written");
        write(&pipe, b"three\n");
        drop(pipe);

        let mut pipe = LogPipe::open(dir.path(), "t/a", None).expect("the pipe again");
        assert_eq!((pipe.first_line(), pipe.tail().expect("read").0), (2, b"one\n".to_vec()));
        assert_eq!(read(&mut pipe), b"two\n", "what was in the FIFO dies with its last holder");
        pipe.consumed(4, 3).expect("consumed");
        assert_eq!(pipe.tail().expect("read").0, b"one\ntwo\n");
        assert_eq!((pipe.unread().expect("a length"), pipe.position()), (0, 4));
        assert_eq!(pipe.last_writer(), [7, 9]);
    }

    #[test]
    fn an_old_position_consumes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut pipe = LogPipe::open(dir.path(), "a", None).expect("a pipe");
        write(&pipe, b"one\n");
        read(&mut pipe);
        pipe.consumed(4, 1).expect("consumed");
        write(&pipe, b"two\n");
        assert_eq!(read(&mut pipe), b"two\n");
        pipe.consumed(3, 1).expect("nothing to do");
        pipe.consumed(4, 1).expect("nothing to do");
        assert_eq!((pipe.consumed, pipe.first_line()), (DATA + 4, 1));
        pipe.consumed(8, 3).expect("consumed");
        assert_eq!((pipe.position(), pipe.consumed, pipe.first_line()), (8, DATA + 8, 3));
    }

    #[test]
    fn a_segment_is_cut_back_to_its_last_lines_and_positions_go_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut pipe = LogPipe::open(dir.path(), "a", None).expect("a pipe");
        let mut position = 0;
        for n in 0..2000 {
            let line = format!("line {n}\n");
            write(&pipe, line.as_bytes());
            assert_eq!(read(&mut pipe), line.as_bytes());
            // What was consumed in between is old news.
            pipe.consumed(position, n).expect("nothing to do");
            position += line.len() as u64;
            pipe.consumed(position, n + 1).expect("consumed");
            assert_eq!((pipe.position(), pipe.unread().expect("a length")), (position, 0));
            assert!(pipe.end().expect("a length") <= DATA + 2 * TAIL);
        }
        drop(pipe);
        let pipe = LogPipe::open(dir.path(), "a", None).expect("the pipe again");
        let tail = String::from_utf8(pipe.tail().expect("read").0).expect("text");
        assert!(tail.starts_with("line ") && tail.ends_with("line 1998\nline 1999\n"));
        assert!(
            tail.len() as u64 > TAIL / 2
                && pipe.first_line() == 2000
                && pipe.unread().expect("a length") == 0
        );
    }

    #[test]
    fn a_full_segment_takes_no_more_until_it_is_consumed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut pipe = LogPipe::open(dir.path(), "a", None).expect("a pipe");
        let block = [b'x'; 32 << 10];
        while !pipe.is_full().expect("a length") {
            write(&pipe, &block);
            pipe.pump().expect("pumped");
        }
        write(&pipe, b"one\ntwo\nthr");
        assert_eq!(pipe.pump().expect("no room"), 0);
        assert_eq!(pipe.discard().expect("thrown away"), Thrown { bytes: 11, lines: 2 });
        assert_eq!(read(&mut pipe).len() as u64, SEGMENT);
        pipe.consumed(2 << 20, 1).expect("consumed");
        write(&pipe, b"again\n");
        assert_eq!(read(&mut pipe), b"again\n");
        use std::os::unix::fs::MetadataExt;
        let held = pipe.segment.metadata().expect("a file").blocks() * 512;
        assert!(held <= (SEGMENT - (2 << 20)) + 4 * PAGE, "{held} bytes are held");
        pipe.consumed(SEGMENT + 6, 1).expect("consumed");
        assert_eq!(pipe.end().expect("a length"), DATA + TAIL);
    }
}
