//! The output of one child: a pipe, a bounded segment behind it, a bounded ring of lines, the sinks.
//!
//! Several threads meet here, and none waits for another longer than a copy takes: the daemon's thread marks where a
//! generation begins and ends, the logger's reads and cuts, the devices' say what is dealt with.
//!
//! A generation is a place in the bytes: when one begins or ends, the FIFO is pumped empty first, so everything before the mark
//! was written by the one before.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::console::Out;
use super::device::Device;
use super::files::{self, LogFile};
use super::lock;
use super::logger::Logger;
use super::ring::Ring;
use crate::os::pipe::LogPipe;

/// The output of one child. Cheap to clone; all clones are the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(super) source: Arc<Source>,
    pub(super) logger: Arc<Logger>,
}

impl Stream {
    /// What the child gets as standard output and error; `None`: not captured.
    pub fn writer(&self) -> Option<Arc<OwnedFd>> {
        self.source.intake.as_ref().map(|intake| lock(intake).pipe.writer())
    }

    /// Everything written so far was the last generation's; from now on it is this one's.
    pub fn begin(&self, generation: u64, incident: u64) {
        self.mark(|_| Turn { generation, incident, ended: false });
    }

    /// The generation has ended and nothing of it is left: what it wrote is read to the end, an unfinished line is
    /// closed. Best called between *emptied* and telling the engine, so that `why` has the last lines.
    pub fn end(&self) {
        self.mark(|turn| Turn { ended: true, ..turn });
    }

    /// Resolves when a line of this generation contains `text`.
    pub async fn wait_for(&self, generation: u64, text: String) {
        let (done, found) = oneshot::channel();
        let waiter = Waiter { generation, text: text.clone(), done };
        lock(&self.source.waiters).push(waiter);
        if lock(&self.source.ring).contains(generation, &text) {
            return;
        }
        if found.await.is_err() {
            // Nobody reads any more: it will never be there.
            std::future::pending().await
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.source.dropped.load(Ordering::Relaxed)
    }

    fn mark(&self, next: impl FnOnce(Turn) -> Turn) {
        let Some(intake) = &self.source.intake else { return };
        if lock(intake).mark(next) {
            self.logger.look_at(self.source.token);
        }
    }
}

/// What the threads share of a child's output.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: Arc<str>,
    /// Its number with the logger.
    pub(super) token: u64,
    /// `None`: not captured.
    pub(super) intake: Option<Mutex<Intake>>,
    pub(super) ring: Mutex<Ring>,
    pub(super) waiters: Mutex<Vec<Waiter>>,
    /// Lines dropped.
    pub(super) dropped: AtomicU64,
    /// All of them get every line.
    pub(super) sinks: Vec<Sink>,
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Sink {
    Journal,
    Console(Out),
    File(Arc<LogFile>, Arc<Device<files::Job>>),
}

/// Whose bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) generation: u64,
    pub(super) incident: u64,
    /// What still comes is of somebody it left behind.
    pub(super) ended: bool,
}

/// Bytes on their way from the child to the logger.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) pipe: LogPipe,
    /// Whose the next byte to be read is.
    turn: Turn,
    /// Positions at which that changes, in order.
    marks: VecDeque<(u64, Turn)>,
    /// The logger holds an unfinished line, or has losses to say.
    pub(super) pending: bool,
}

/// What [`Intake::read`] found.
#[derive(Debug)]
pub(super) struct Piece {
    /// Bytes added to the buffer.
    pub(super) len: usize,
    /// After so many of them it is somebody else's.
    pub(super) marks: Vec<(usize, Turn)>,
    /// Position after the last of them.
    pub(super) position: u64,
}

impl Intake {
    pub(super) fn new(pipe: LogPipe) -> Intake {
        // A child that an earlier daemon started goes on under its own generation.
        let [generation, incident] = pipe.last_writer();
        let turn = Turn { generation, incident, ended: false };
        Intake { pipe, turn, marks: VecDeque::new(), pending: false }
    }

    /// From here on it is the next one's. Whether the logger has to do something about it now.
    fn mark(&mut self, next: impl FnOnce(Turn) -> Turn) -> bool {
        // When there is no room the rest gets the wrong generation; the logger makes room at once.
        while self.pipe.pump().is_ok_and(|moved| moved > 0) {}
        let unread = self.pipe.unread().unwrap_or(0);
        let last = self.marks.back().map_or(self.turn, |(_, turn)| *turn);
        let next = next(last);
        // Without it the next daemon would not know whose lines they are; they would still be there.
        let _ = self.pipe.set_writer([next.generation, next.incident]);
        if unread == 0 && self.marks.is_empty() {
            self.turn = next;
        } else {
            self.marks.push_back((self.pipe.position() + unread, next));
        }
        unread > 0 || self.pending
    }

    /// The last lines that an earlier daemon has passed on: number, time, generation, text. The time is that of the last of
    /// them, the generation that of the last writer: nobody wrote down more.
    pub(super) fn last_lines(&self, each: &mut impl FnMut((u64, u64, u64, &[u8]))) -> io::Result<()> {
        let (bytes, at) = self.pipe.tail()?;
        let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
        let first = self.pipe.first_line().saturating_sub(lines);
        each_line(&bytes, first, &mut |seq, text| each((seq, at, self.turn.generation, text)));
        Ok(())
    }

    /// Whose the next byte to be read is.
    pub(super) fn turn(&self) -> Turn {
        self.turn
    }

    /// Appends the next bytes to `buffer`.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Piece> {
        let start = self.pipe.position();
        let len = self.pipe.read(buffer)?;
        let position = self.pipe.position();
        let mut marks = Vec::new();
        while let Some((place, turn)) = self.marks.front().copied().filter(|(place, _)| *place <= position) {
            marks.push(((place - start) as usize, turn));
            self.turn = turn;
            self.marks.pop_front();
        }
        Ok(Piece { len, marks, position })
    }
}

/// Somebody who waits for a text.
#[derive(Debug)]
pub(super) struct Waiter {
    generation: u64,
    text: String,
    done: oneshot::Sender<()>,
}

impl Source {
    /// Tells those who wait for something that stands in `bytes`; forgets those who have gone.
    pub(super) fn tell_waiters(&self, generation: u64, bytes: &[u8]) {
        let mut waiters = lock(&self.waiters);
        let mut at = 0;
        while at < waiters.len() {
            let waiter = &waiters[at];
            let here = waiter.generation == generation
                && memchr::memmem::find(bytes, waiter.text.as_bytes()).is_some();
            if here || waiter.done.is_closed() {
                let _ = waiters.swap_remove(at).done.send(());
            } else {
                at += 1;
            }
        }
    }

    /// Counts lines that nobody will see.
    pub(super) fn count_dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Whole lines of one generation on their way to the sinks. What was read is consumed when the last of them has let go of it:
/// a daemon that dies before that reads it again.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) source: Arc<Source>,
    /// Each line with its newline.
    pub(super) bytes: Vec<u8>,
    /// How many.
    pub(super) lines: u64,
    /// Number of the first.
    pub(super) seq: u64,
    /// Number of the first line after them that was passed on or dropped.
    pub(super) next: u64,
    /// When they were read.
    pub(super) at: u64,
    pub(super) turn: Turn,
    /// Position after the last of them; 0: they do not come from the pipe.
    pub(super) position: u64,
}

impl Batch {
    /// Each line with its number, without its newline, cut where it is too long.
    pub(super) fn each(&self, mut each: impl FnMut(u64, &[u8])) {
        each_line(&self.bytes, self.seq, &mut each);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(intake) = self.source.intake.as_ref().filter(|_| self.position > 0) {
            // A cursor that cannot be written costs a repetition after the daemon's death, nothing now.
            let _ = lock(intake).pipe.consumed(self.position, self.next);
        }
    }
}

/// Bytes of one line at most; a longer one becomes several, and says so.
pub(super) const LONGEST: usize = 16 << 10;
/// Ends a piece of a line that goes on in the next.
pub(super) const GOES_ON: &str = " [woodward: goes on]";

/// Each line of `bytes` without its newline, the pieces of a long one under one number.
pub(super) fn each_line(bytes: &[u8], first: u64, each: &mut impl FnMut(u64, &[u8])) {
    let mut rest = bytes;
    let mut seq = first;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let mut line = &rest[..end];
        while line.len() > LONGEST + GOES_ON.len() {
            each(seq, &[&line[..LONGEST], GOES_ON.as_bytes()].concat());
            line = &line[LONGEST..];
        }
        each(seq, line);
        seq += 1;
        rest = rest.get(end + 1..).unwrap_or_default();
    }
}
