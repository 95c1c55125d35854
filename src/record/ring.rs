//! The last lines of one child, in a bounded number of bytes. Empty and without memory until there is a line.

use std::collections::VecDeque;

use super::Line;

/// One line for so many of the bytes that may be kept: many short lines are bounded too.
const PER_LINE: usize = 64;

/// Lines, oldest first. Pushing drops the oldest beyond the bounds: they are in the sink, so nothing is lost by it.
#[derive(Debug)]
pub(super) struct Ring {
    /// Bytes of text kept.
    bound: usize,
    bytes: VecDeque<u8>,
    lines: VecDeque<Meta>,
    /// The line that has no newline yet.
    open: Option<(Meta, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    seq: u64,
    at: u64,
    generation: u64,
    len: u32,
}

impl Ring {
    /// Empty, for so many bytes of text.
    pub(super) fn new(bound: usize) -> Ring {
        Ring { bound, bytes: VecDeque::new(), lines: VecDeque::new(), open: None }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, seq: u64, at: u64, generation: u64, text: &[u8]) {
        let text = &text[..text.len().min(self.bound)];
        while self.lines.len() >= self.bound / PER_LINE || self.bytes.len() + text.len() > self.bound {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes.drain(..oldest.len as usize);
        }
        self.bytes.extend(text);
        self.lines.push_back(Meta { seq, at, generation, len: u32::try_from(text.len()).unwrap_or(0) });
    }

    /// How many of the last lines of a batch are worth pushing: the others would fall out at once.
    pub(super) fn worth<'b>(&self, batch: &'b [u8]) -> &'b [u8] {
        let mut from = batch.len().saturating_sub(self.bound);
        if from > 0 {
            // Of one line that is longer than all the room its end is kept.
            let first =
                memchr::memchr(b'\n', &batch[from..]).filter(|newline| from + newline + 1 < batch.len());
            from += first.map_or(0, |newline| newline + 1);
        }
        let mut newlines = memchr::memrchr_iter(b'\n', &batch[from..]);
        // The newline before the last lines there is room for.
        match newlines.nth(self.bound / PER_LINE) {
            Some(before) => &batch[from + before + 1..],
            None => &batch[from..],
        }
    }

    /// What stands in the unfinished line; empty: there is none.
    pub(super) fn set_open(&mut self, seq: u64, at: u64, generation: u64, text: &[u8]) {
        self.open = (!text.is_empty()).then(|| (Meta { seq, at, generation, len: 0 }, text.to_vec()));
    }

    /// The last `n` lines, oldest first; the unfinished one counts.
    pub(super) fn last(&self, n: usize, path: &str) -> Vec<Line> {
        let line = |meta: &Meta, text: &[u8]| Line {
            seq: meta.seq,
            at: meta.at,
            path: path.to_owned(),
            generation: meta.generation,
            text: String::from_utf8_lossy(text).into_owned(),
        };
        let mut found: Vec<Line> = self.open.iter().map(|(meta, text)| line(meta, text)).collect();
        let mut end = self.bytes.len();
        for meta in self.lines.iter().rev().take(n.saturating_sub(found.len())) {
            let start = end - meta.len as usize;
            let text: Vec<u8> = self.bytes.range(start..end).copied().collect();
            found.push(line(meta, &text));
            end = start;
        }
        found.truncate(n);
        found.reverse();
        found
    }

    /// Whether a line of this generation contains `text`.
    pub(super) fn contains(&self, generation: u64, text: &str) -> bool {
        let lines = self.last(usize::MAX, "");
        lines.iter().any(|line| line.generation == generation && line.text.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 64 << 10;
    const LINES: usize = BYTES / PER_LINE;

    fn texts(ring: &Ring, n: usize) -> Vec<String> {
        ring.last(n, "a").into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_last_lines_come_oldest_first_and_the_unfinished_one_last() {
        let mut ring = Ring::new(BYTES);
        for (seq, text) in [b"one", b"two"].iter().enumerate() {
            ring.push(seq as u64, 0, 1, *text);
        }
        assert_eq!(texts(&ring, 10), ["one", "two"]);
        assert_eq!(texts(&ring, 1), ["two"]);
        ring.set_open(2, 0, 1, b"thr");
        assert_eq!(texts(&ring, 2), ["two", "thr"]);
        assert!(ring.contains(1, "hr") && !ring.contains(2, "hr"));
        ring.set_open(2, 0, 1, b"");
        assert_eq!(texts(&ring, 0), [""; 0]);
    }

    #[test]
    fn a_ring_is_bounded_in_bytes_and_lines() {
        let mut ring = Ring::new(BYTES);
        for seq in 0..5000 {
            ring.push(seq, 0, 1, b"x");
        }
        assert_eq!(ring.lines.len(), LINES);
        assert_eq!(ring.bytes.len(), LINES);
        assert_eq!(ring.last(1, "a")[0].seq, 4999);
        for seq in 0..100 {
            ring.push(seq, 0, 1, &[b'y'; 1000]);
        }
        assert!(ring.bytes.len() <= BYTES && ring.lines.len() == BYTES / 1000);
        ring.push(0, 0, 1, &vec![b'z'; 2 * BYTES]);
        assert_eq!((ring.bytes.len(), ring.lines.len()), (BYTES, 1));
    }

    #[test]
    fn only_the_tail_of_a_batch_is_worth_pushing() {
        let batch = b"0123456789\n".repeat(BYTES / 5);
        let tail = Ring::new(BYTES).worth(&batch);
        assert_eq!(tail.iter().filter(|byte| **byte == b'\n').count(), LINES);
        assert_eq!(&tail[..3], b"012");
        assert_eq!(Ring::new(BYTES).worth(b"a\nb\n"), b"a\nb\n");
        let long = [vec![b'x'; 2 * BYTES], b"\nend\n".to_vec()].concat();
        assert_eq!(Ring::new(BYTES).worth(&long), b"end\n");
        assert_eq!(Ring::new(BYTES).worth(&long[..long.len() - 4]).len(), BYTES);
    }
}
