//! First hop of the output of a child: FIFO → bounded segment file, by splice, before anybody reads it.
//!
//! The child holds the FIFO open for reading and writing, so it never gets a SIGPIPE, and a new daemon or keeper opens
//! it again by name. The keeper splices into the same segment while the daemon is away or hangs; whose turn
//! it is stands in a word both see. The end of the segment file is always the place to write to, and the number of the first
//! byte not yet consumed stands in its header, so a reader that dies repeats at most its last piece and loses nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::Os;

/// The output of one child, all its generations. Not cloned: one reader.
#[derive(Debug)]
pub struct LogPipe {}

/// Bytes a segment may hold.
pub const SEGMENT: u64 = 4 << 20;

impl LogPipe {
    /// Opens (or makes) `dir/log/PATH.fifo` and `dir/log/PATH.segment`, and shares both with the keeper, if there is one. Must be called
    /// inside the tokio runtime. Unread bytes of an earlier daemon are still there.
    pub fn open(dir: &Path, path: &str, os: Option<&Os>) -> io::Result<LogPipe> {
        let _ = (dir, path, os);
        todo!()
    }

    /// What the child gets as standard output and error.
    pub fn writer(&self) -> Arc<OwnedFd> {
        todo!()
    }

    /// Waits until [`LogPipe::pump`] or [`LogPipe::read`] is worth calling.
    pub async fn readable(&self) -> io::Result<()> {
        todo!()
    }

    /// Moves what is in the FIFO into the segment, until the FIFO is empty or the segment full. Bytes moved; 0 too while the keeper does
    /// it. Never blocks.
    pub fn pump(&self) -> io::Result<usize> {
        todo!()
    }

    /// Appends up to 1 MiB of unread bytes of the segment to `buffer`, continuing after those of the last call. 0: nothing there.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let _ = buffer;
        todo!()
    }

    /// The next `n` bytes have been dealt with: they are not read again by anybody. The segment is emptied when nothing in it is unread.
    pub fn consumed(&mut self, n: usize) -> io::Result<()> {
        let _ = n;
        todo!()
    }

    /// Bytes thrown away so far because the segment was full and the daemon away.
    pub fn discarded(&self) -> u64 {
        todo!()
    }
}
