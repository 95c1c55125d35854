//! Bytes of one child into lines: the logger's side of a stream.
//!
//! Work per line is done only when somebody wants single lines: a follower, the journal, the console. The ring needs the
//! tail of a batch, a file the batch as it is. That is what makes a flood cheap.
//!
//! A line is lost for one of four reasons: rate limit, a sink that is too slow, no room for the segment, no room for it
//! while the keeper read instead of us. Each is counted at
//! once and said in the stream itself, at most once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use woodward_engine::Time;

use super::rate::Bucket;
use super::sinks::Sinks;
use super::stream::{Batch, GOES_ON, LONGEST, Source, Turn, each_line};
use super::{Line, lock};
use crate::os::clock;
use crate::os::pipe::LogPipe;
use crate::tree::RateLimit;

/// How long a child may be held back because a sink is full, before its lines are dropped. It is held back only when its
/// segment has filled up too.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long losses are gathered before they are said.
const GATHER: Duration = Duration::from_secs(1);

/// What the logger keeps of one child.
pub(super) struct Cutter {
    pub(super) source: Arc<Source>,
    sinks: Arc<Sinks>,
    followers: broadcast::Sender<Arc<Line>>,
    bucket: Option<Bucket>,
    turn: Turn,
    /// Number of the next line.
    seq: u64,
    /// The line that has no newline yet.
    unfinished: Vec<u8>,
    /// Position after the last byte taken.
    position: u64,
    missed: Missed,
    /// When they have to be said.
    say_at: Option<Time>,
    flow: Flow,
}

/// Whether lines are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// As they come.
    Free,
    /// A sink is full: they stay in the segment until then.
    Waiting(Time),
    /// It has been full for too long: they are dropped until it has room.
    Dropping,
}

/// Lines lost and not yet said.
#[derive(Clone, Copy, Debug, Default)]
struct Missed {
    rate: u64,
    slow: u64,
    room: u64,
    /// Bytes.
    away: u64,
}

/// What became of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing was there.
    Nothing,
    /// Something was, and there may be more.
    Something,
    /// It has to wait for room; see [`Cutter::due`].
    Later,
}

impl Cutter {
    pub(super) fn new(
        source: Arc<Source>,
        sinks: Arc<Sinks>,
        followers: broadcast::Sender<Arc<Line>>,
        rate: Option<RateLimit>,
    ) -> Cutter {
        // Lines are numbered through the deaths of daemons.
        let seq = source.intake.as_ref().map_or(1, |intake| lock(intake).pipe.first_line());
        let bucket = rate.map(|limit| Bucket::new(limit, clock::now()));
        Cutter {
            source,
            sinks,
            followers,
            bucket,
            turn: Turn::default(),
            seq,
            unfinished: Vec::new(),
            position: 0,
            missed: Missed::default(),
            say_at: None,
            flow: Flow::Free,
        }
    }

    /// Moves what the child has written one piece further: into the segment, into lines, to the sinks.
    pub(super) fn look(&mut self) -> Look {
        let source = self.source.clone();
        let Some(intake) = &source.intake else { return Look::Nothing };
        let mut intake = lock(intake);
        let moved = match intake.pipe.pump() {
            Ok(moved) if moved > 0 || !intake.pipe.is_full().unwrap_or(false) => moved,
            _ => self.make_room(&mut intake.pipe),
        };
        if intake.turn() != self.turn {
            let turn = intake.turn();
            drop(intake);
            self.hand_over_to(turn);
            return Look::Something;
        }
        if self.has_to_wait() {
            return if moved > 0 { Look::Something } else { Look::Later };
        }
        let mut bytes = std::mem::take(&mut self.unfinished);
        let mut before = bytes.len();
        let piece = intake.read(&mut bytes);
        drop(intake);
        let Some(piece) = piece.ok().filter(|piece| piece.len > 0 || !piece.marks.is_empty()) else {
            self.unfinished = bytes;
            return if moved > 0 { Look::Something } else { Look::Nothing };
        };
        let start = piece.position - piece.len as u64;
        let mut done = 0;
        for (place, turn) in &piece.marks {
            let rest = bytes.split_off(before + place - done);
            self.take(bytes, start + *place as u64);
            self.hand_over_to(*turn);
            (bytes, done, before) = (rest, *place, 0);
        }
        self.take(bytes, piece.position);
        if let Some(intake) = &source.intake {
            lock(intake).pending = !self.unfinished.is_empty() || self.say_at.is_some();
        }
        Look::Something
    }

    /// Asks what the keeper had to throw away.
    pub(super) fn look_for_missed(&mut self) {
        let source = self.source.clone();
        let bytes = source.intake.as_ref().map_or(0, |intake| lock(intake).pipe.take_missed());
        if bytes > 0 {
            // How many lines that were nobody knows.
            self.missed.away += bytes;
            self.source.count_dropped(1);
            self.say_soon();
        }
    }

    /// When it has to be looked at again at the latest.
    pub(super) fn due(&self) -> Option<Time> {
        match self.flow {
            Flow::Waiting(until) => Some(self.say_at.map_or(until, |say| say.min(until))),
            Flow::Free | Flow::Dropping => self.say_at,
        }
    }

    /// Says what was lost, if it is time.
    pub(super) fn say_if_due(&mut self, now: Time) {
        if self.say_at.is_some_and(|at| at <= now) {
            self.say_at = Some(now + GATHER);
            self.say();
        }
    }

    fn has_to_wait(&mut self) -> bool {
        self.flow = match self.flow {
            _ if self.sinks.have_room(&self.source.sinks) => Flow::Free,
            Flow::Free => Flow::Waiting(clock::now() + PATIENCE),
            Flow::Waiting(until) if clock::now() < until => Flow::Waiting(until),
            Flow::Waiting(_) | Flow::Dropping => Flow::Dropping,
        };
        matches!(self.flow, Flow::Waiting(_))
    }

    /// Says in the stream what was lost; later, if that would be lost too.
    fn say(&mut self) {
        if self.say_at.is_none() || !self.sinks.have_room(&self.source.sinks) {
            return;
        }
        self.say_at = None;
        let missed = std::mem::take(&mut self.missed);
        if missed.away > 0 {
            let text = format!(
                "woodward: {} bytes dropped: no room for them while the daemon was away\n",
                missed.away
            );
            self.pass(text.into_bytes(), 1, 0);
        }
        for (lines, why) in [
            (missed.rate, " by log_rate_limit"),
            (missed.slow, ": what they go to is too slow"),
            (missed.room, ": no room for them in the run directory"),
        ] {
            if lines > 0 {
                let some = if lines == 1 { "line" } else { "lines" };
                self.pass(format!("woodward: {lines} {some} dropped{why}\n").into_bytes(), 1, 0);
            }
        }
    }

    /// The segment is full or the run directory is: what was read counts as dealt with, and if that is not enough,
    /// what stands in the FIFO is thrown away. Bytes moved.
    fn make_room(&mut self, pipe: &mut LogPipe) -> usize {
        let read = pipe.position().saturating_sub(self.unfinished.len() as u64);
        let _ = pipe.consumed(read, self.seq);
        if let Ok(moved) = pipe.pump()
            && (moved > 0 || !pipe.is_full().unwrap_or(false))
        {
            return moved;
        }
        // There is still something to be read first.
        if pipe.unread().unwrap_or(0) > 0 {
            return 0;
        }
        let thrown = pipe.discard().unwrap_or_default();
        if thrown.bytes > 0 {
            self.miss(|missed| &mut missed.room, thrown.lines.max(1));
        }
        usize::try_from(thrown.bytes).unwrap_or(usize::MAX)
    }

    /// What still comes is somebody else's.
    fn hand_over_to(&mut self, turn: Turn) {
        self.close();
        self.say();
        self.turn = turn;
    }

    /// Takes bytes of one generation; `position` is the one after the last of them.
    fn take(&mut self, mut bytes: Vec<u8>, position: u64) {
        self.position = position;
        match memchr::memrchr(b'\n', &bytes) {
            Some(last) => {
                self.unfinished = bytes.split_off(last + 1);
                self.pass_limited(bytes, position - self.unfinished.len() as u64);
            }
            None => self.unfinished = bytes,
        }
        if self.unfinished.len() > LONGEST {
            self.unfinished.extend_from_slice(GOES_ON.as_bytes());
            self.close();
        }
        self.source.tell_waiters(self.turn.generation, &self.unfinished);
        let mut ring = lock(&self.source.ring);
        ring.set_open(self.seq, clock::wall(), self.turn.generation, &self.unfinished);
    }

    /// Nothing more will come of the unfinished line.
    fn close(&mut self) {
        if self.unfinished.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.unfinished);
        bytes.push(b'\n');
        self.pass_limited(bytes, self.position);
        lock(&self.source.ring).set_open(0, 0, 0, &[]);
    }

    /// Whole lines that count for the rate limit.
    fn pass_limited(&mut self, mut bytes: Vec<u8>, position: u64) {
        self.source.tell_waiters(self.turn.generation, &bytes);
        let mut lines = memchr::memchr_iter(b'\n', &bytes).count();
        let mut dropped = 0;
        if let Some(bucket) = &mut self.bucket {
            let given = bucket.take(lines, clock::now());
            if given < lines {
                let end = match given {
                    0 => 0,
                    n => memchr::memchr_iter(b'\n', &bytes).nth(n - 1).map_or(0, |newline| newline + 1),
                };
                bytes.truncate(end);
                dropped = (lines - given) as u64;
                self.miss(|missed| &mut missed.rate, dropped);
                lines = given;
            }
        }
        self.pass_before(bytes, lines as u64, dropped, position);
    }

    /// Whole lines to everybody who wants them.
    fn pass(&mut self, bytes: Vec<u8>, lines: u64, position: u64) {
        self.pass_before(bytes, lines, 0, position);
    }

    /// As [`Cutter::pass`]; so many lines after them were dropped, which leaves a gap in the numbers.
    fn pass_before(&mut self, bytes: Vec<u8>, lines: u64, dropped: u64, position: u64) {
        let (at, seq, turn) = (clock::wall(), self.seq, self.turn);
        let next = seq + lines + dropped;
        self.seq = next;
        let source = self.source.clone();
        let batch = Batch { source, bytes, lines, seq, next, at, turn, position };
        {
            let mut ring = lock(&self.source.ring);
            let worth = ring.worth(&batch.bytes);
            let skipped = lines - memchr::memchr_iter(b'\n', worth).count() as u64;
            each_line(worth, seq + skipped, &mut |seq, text| ring.push(seq, at, turn.generation, text));
        }
        if self.followers.receiver_count() > 0 {
            batch.each(|seq, text| {
                let text = String::from_utf8_lossy(text).into_owned();
                let path = self.source.path.to_string();
                let line = Line { seq, at, path, generation: turn.generation, text };
                // Nobody follows any more: nobody misses it.
                let _ = self.followers.send(Arc::new(line));
            });
        }
        let lost = self.sinks.pass(batch);
        if lost > 0 {
            self.miss(|missed| &mut missed.slow, lost);
        }
    }

    fn miss(&mut self, which: impl FnOnce(&mut Missed) -> &mut u64, lines: u64) {
        *which(&mut self.missed) += lines;
        self.source.count_dropped(lines);
        self.say_soon();
    }

    fn say_soon(&mut self) {
        self.say_at.get_or_insert_with(|| clock::now() + GATHER);
    }
}
