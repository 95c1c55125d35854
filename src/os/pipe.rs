//! First hop of the output of a child: FIFO → bounded segment file, by splice, before anybody reads it.
//!
//! The child holds the FIFO open for reading and writing, so it never gets a SIGPIPE, and a new daemon or keeper opens
//! it again by name. What is spliced needs no memory of ours: a daemon that dies loses nothing of it, and the keeper
//! splices into the same segment while the daemon is away. Nobody keeps an offset: the end of the segment file is
//! always the place to write to, and the place of the first byte not yet consumed stands in its header, so a reader
//! that dies repeats at most its last piece and loses nothing.
//!
//! ```text
//! segment file:  magic u64 | consumed u64 | unused, up to byte 64 | bytes of the child ...
//! ```
//!
//! When all is consumed the file is cut back to its header; when [`SEGMENT`] bytes are in it, it is full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Os;

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
    discarded: u64,
}

/// Bytes a segment may hold.
pub const SEGMENT: u64 = 4 << 20;

/// Bytes of one [`LogPipe::read`] at most.
pub const PIECE: usize = 256 << 10;

/// Place of the first byte of the child.
const DATA: u64 = 64;
/// `woodlog` and the version of the layout.
const MAGIC: [u8; 8] = *b"woodlog1";
/// Wanted capacity of a FIFO; small ones are accepted.
const CAPACITY: i32 = 256 << 10;

impl LogPipe {
    /// Opens (or makes) `dir/log/PATH.fifo` and `dir/log/PATH.segment`, and shares both with the keeper, if there is
    /// one. Unread bytes of an earlier daemon are still there.
    pub fn open(dir: &Path, path: &str, os: Option<&Os>) -> io::Result<LogPipe> {
        let _ = os;
        let log = dir.join("log");
        let (fifo, segment) = (log.join(format!("{path}.fifo")), log.join(format!("{path}.segment")));
        std::fs::create_dir_all(fifo.parent().unwrap_or(&log))?;
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
        let consumed = first_unconsumed(&segment)?;
        Ok(LogPipe { fifo: reader, writer, segment, next: consumed, consumed, discarded: 0 })
    }

    /// What the child gets as standard output and error.
    pub fn writer(&self) -> Arc<OwnedFd> {
        self.writer.clone()
    }

    /// Readable (level-triggered) when [`LogPipe::pump`] is worth calling.
    pub fn reader(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }

    /// Moves what is in the FIFO into the segment, until the FIFO is empty or the segment full. Bytes moved; 0 too
    /// when there is no room. Never blocks on the child.
    pub fn pump(&self) -> io::Result<usize> {
        let mut moved = 0;
        loop {
            let mut end = self.end()?.cast_signed();
            let room = (DATA + SEGMENT).saturating_sub(end.cast_unsigned());
            if room == 0 {
                return Ok(moved);
            }
            let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
            match splice(&self.fifo, None, &self.segment, Some(&mut end), room as usize, flags) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(moved),
                Ok(n) => moved += n,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bytes in the segment that [`LogPipe::read`] has not returned yet.
    pub fn unread(&self) -> io::Result<u64> {
        Ok(self.end()?.saturating_sub(self.next))
    }

    /// Appends up to [`PIECE`] unread bytes of the segment to `buffer`, continuing after those of the last call. 0:
    /// nothing there.
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

    /// The next `n` bytes have been dealt with: they are not read again by anybody. The segment is emptied when
    /// nothing in it is left.
    pub fn consumed(&mut self, n: usize) -> io::Result<()> {
        self.consumed = (self.consumed + n as u64).min(self.next);
        let empty = self.consumed == self.end()?;
        if empty {
            self.consumed = DATA;
            self.next = DATA;
        }
        // First the header: a reader that dies in between repeats, it does not lose.
        let mut header = [0; 16];
        header[..8].copy_from_slice(&MAGIC);
        header[8..].copy_from_slice(&self.consumed.to_le_bytes());
        self.segment.write_all_at(&header, 0)?;
        if empty { self.segment.set_len(DATA) } else { Ok(()) }
    }

    /// Throws away what is in the FIFO: the segment is full, and a child is never blocked. Bytes thrown away.
    pub fn discard(&mut self) -> io::Result<usize> {
        let mut waste = vec![0; 64 << 10];
        let mut thrown = 0;
        // Bounded, so that a flood cannot hold whoever discards.
        while thrown < PIECE {
            match nix::unistd::read(&self.fifo, &mut waste) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(n) => thrown += n,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.discarded += thrown as u64;
        Ok(thrown)
    }

    /// Bytes thrown away so far.
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.segment.metadata()?.len().max(DATA))
    }
}

/// Where an earlier reader left off; a header that makes no sense is one of nobody.
fn first_unconsumed(segment: &File) -> io::Result<u64> {
    let mut header = [0; 16];
    let end = segment.metadata()?.len();
    if end <= DATA {
        return Ok(DATA);
    }
    segment.read_exact_at(&mut header, 0)?;
    let (magic, place) = header.split_at(8);
    let place = place.try_into().map_or(DATA, u64::from_le_bytes);
    Ok(if magic == MAGIC && (DATA..=end).contains(&place) { place } else { DATA })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(pipe: &LogPipe, bytes: &[u8]) {
        let mut child = File::from(pipe.writer().try_clone().expect("a descriptor"));
        child.write_all(bytes).expect("room in the pipe");
    }

    #[test]
    fn unconsumed_bytes_are_read_again_by_the_next_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut pipe = LogPipe::open(dir.path(), "t/a", None).expect("a pipe");
        write(&pipe, b"one\ntwo\n");
        assert_eq!(pipe.pump().expect("pumped"), 8);
        let mut buffer = Vec::new();
        assert_eq!(pipe.read(&mut buffer).expect("read"), 8);
        pipe.consumed(4).expect("consumed");
        write(&pipe, b"three\n");
        drop(pipe);

        let mut pipe = LogPipe::open(dir.path(), "t/a", None).expect("the pipe again");
        let mut buffer = Vec::new();
        pipe.pump().expect("pumped");
        pipe.read(&mut buffer).expect("read");
        assert_eq!(buffer, b"two\n", "what was in the FIFO dies with its last holder");
        pipe.consumed(4).expect("consumed");
        assert_eq!(pipe.segment.metadata().expect("a file").len(), DATA);
        assert_eq!(pipe.unread().expect("a length"), 0);
    }

    #[test]
    fn a_full_segment_takes_no_more_until_it_is_consumed() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut pipe = LogPipe::open(dir.path(), "a", None).expect("a pipe");
        let block = vec![b'x'; 64 << 10];
        let mut pumped = 0;
        while pumped < SEGMENT as usize {
            write(&pipe, &block);
            pumped += pipe.pump().expect("pumped");
        }
        write(&pipe, &block);
        assert_eq!(pipe.pump().expect("no room"), 0);
        assert_eq!(pipe.discard().expect("thrown away"), block.len());
        assert_eq!(pipe.discarded(), block.len() as u64);
        let mut buffer = Vec::new();
        while pipe.read(&mut buffer).expect("read") > 0 {}
        assert_eq!(buffer.len(), SEGMENT as usize);
        pipe.consumed(buffer.len()).expect("consumed");
        write(&pipe, b"again\n");
        assert_eq!(pipe.pump().expect("room again"), 6);
    }
}
