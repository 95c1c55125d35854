//! The history: facts on disk, one JSON line each, written behind by the files' thread.
//!
//! ```text
//! {"crc":"9b1c5d02","fact":{"seq":17,"at":1795230760118,...}}
//! ```
//!
//! The sum (CRC-32) is over the bytes of the fact. A line that is torn or damaged is skipped: a power cut costs the
//! facts of its last moment and nothing else. `history.jsonl` is rotated by size, so it is bounded too.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::fact::FactLine;
use super::recent;
use super::rotate::{self, Rotating};
use crate::settings::Settings;

/// What stands before the fact, around its sum.
const HEAD: (&str, &str) = ("{\"crc\":\"", "\",\"fact\":");

/// All facts of a history directory that can be read, oldest first; without a daemon too. Several runs of the daemon
/// follow each other: each begins with a fact of kind `daemon_started`.
pub fn read(directory: &Path) -> io::Result<Vec<FactLine>> {
    let mut facts = Vec::new();
    each(&file(directory), |line, _| facts.push(line))?;
    Ok(facts)
}

/// As [`read`], and what the run state has that was not written behind in time, because both keeper and daemon died.
pub fn read_with(directory: Option<&Path>, run: Option<&Path>) -> io::Result<Vec<FactLine>> {
    let mut facts = directory.map_or(Ok(Vec::new()), read)?;
    let recent = run.map(recent::read).unwrap_or_default();
    let marks: Vec<(u64, u64)> = recent.iter().map(|fact| (fact.seq, fact.at)).collect();
    let known = known(facts.last(), &marks);
    facts.extend(recent.into_iter().skip(known));
    Ok(facts)
}

/// How many facts of the run state (number and time) stand in a history whose last fact is `last`; the others do not.
pub(super) fn known(last: Option<&FactLine>, recent: &[(u64, u64)]) -> usize {
    let Some(last) = last else { return 0 };
    let same = recent.iter().rposition(|mark| *mark == (last.seq, last.at));
    // Of another boot, or so old that the run state has forgotten it: only what is later is certainly not there.
    same.map_or_else(|| recent.iter().take_while(|(_, at)| *at <= last.at).count(), |at| at + 1)
}

/// The last fact of a history: read from the end of its file, not all of it.
pub(super) fn last(directory: &Path) -> Option<FactLine> {
    const TAIL: u64 = 256 << 10;
    let mut file = std::fs::File::open(file(directory)).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let found = bytes.rsplit(|byte| *byte == b'\n').find_map(|line| Some(decode(line)?.0));
    // Just rotated, or all of the tail is damaged: then the long way.
    found.or_else(|| read(directory).ok()?.pop())
}

pub(super) use rotate::files;

/// Each fact of a rotated file that can be read, oldest first, with its text.
pub(super) fn each(path: &Path, mut each: impl FnMut(FactLine, &[u8])) -> io::Result<()> {
    for path in files(path) {
        match std::fs::read(path) {
            Ok(bytes) => {
                let facts = bytes.split(|byte| *byte == b'\n').filter_map(decode);
                facts.for_each(|(line, json)| each(line, json));
            }
            // Rotated at this moment, or there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The file that is appended to. Where it cannot be, the first append will say so.
pub(super) fn open(directory: &Path, settings: &Settings) -> Rotating {
    let _ = std::fs::create_dir_all(directory);
    Rotating::new(file(directory), Some(settings.history_max_size.0), settings.history_keep.0)
}

/// Appends the line of a fact, newline included.
pub(super) fn encode(fact: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("{}{:08x}{}", HEAD.0, crc32(fact), HEAD.1).as_bytes());
    into.extend_from_slice(fact);
    into.extend_from_slice(b"}\n");
}

fn decode(line: &[u8]) -> Option<(FactLine, &[u8])> {
    let rest = line.strip_prefix(HEAD.0.as_bytes())?;
    let (sum, rest) = rest.split_at_checked(8)?;
    let fact = rest.strip_prefix(HEAD.1.as_bytes())?.strip_suffix(b"}")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    if sum != crc32(fact) {
        return None;
    }
    Some((serde_json::from_slice(fact).ok()?, fact))
}

fn file(directory: &Path) -> PathBuf {
    directory.join("history.jsonl")
}

/// CRC-32 (IEEE 802.3, reflected).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(n: u64) -> FactLine {
        FactLine::note(1000 + n, 1, "t/a", n, "started", format!("started\n{n}")).with("pid", 7)
    }

    fn bytes(n: u64) -> Vec<u8> {
        let mut line = Vec::new();
        encode(&serde_json::to_vec(&fact(n)).expect("plain values"), &mut line);
        line
    }

    fn check(bytes: &[u8], found: &[u64]) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(file(dir.path()), bytes).expect("written");
        let facts = read(dir.path()).expect("readable");
        assert_eq!(facts, found.iter().map(|n| fact(*n)).collect::<Vec<_>>());
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn facts_are_read_back_as_they_were() {
        check(&[bytes(1), bytes(2)].concat(), &[1, 2]);
        let line = bytes(1);
        let object: serde_json::Value = serde_json::from_slice(&line).expect("each line is JSON");
        assert_eq!(object["fact"]["fields"]["pid"], 7);
    }

    #[test]
    fn a_torn_tail_is_skipped_and_what_follows_it_is_read() {
        let whole = bytes(2);
        for cut in 1..whole.len() - 1 {
            check(&[&bytes(1), &whole[..cut]].concat(), &[1]);
            check(&[&bytes(1), &whole[..cut], b"\n", &bytes(3)].concat(), &[1, 3]);
        }
    }

    /// What a disk may have after a power cut: the file ends anywhere, with or without blocks of zeros where data should be.
    #[test]
    fn a_power_cut_costs_the_last_moment_and_the_next_daemon_goes_on() {
        let whole: Vec<u8> = (0..20).flat_map(bytes).collect();
        for cut in (0..whole.len()).step_by(7) {
            for zeros in [0, 1, 4096] {
                let dir = tempfile::tempdir().expect("a directory");
                let left = [&whole[..cut], &vec![0; zeros]].concat();
                std::fs::write(file(dir.path()), left).expect("written");
                // A fact that lacks nothing but its newline is whole.
                let end = if zeros == 0 { cut + 1 } else { cut };
                let before = memchr::memchr_iter(b'\n', &whole[..end]).count() as u64;
                let mut history = Rotating::new(file(dir.path()), Some(1 << 20), 1);
                history.append(&bytes(100)).expect("written");
                let found: Vec<u64> =
                    read(dir.path()).expect("readable").iter().map(|fact| fact.generation).collect();
                assert_eq!(
                    found,
                    (0..before).chain([100]).collect::<Vec<_>>(),
                    "cut at {cut}, {zeros} zeros"
                );
                assert_eq!(last(dir.path()), Some(fact(100)));
            }
        }
    }

    #[test]
    fn a_damaged_line_is_skipped() {
        let mut damaged = bytes(2);
        let place = damaged.len() / 2;
        damaged[place] ^= 1;
        check(&[bytes(1), damaged, bytes(3)].concat(), &[1, 3]);
    }

    #[test]
    fn a_history_is_bounded_and_read_back_over_its_files() {
        let dir = tempfile::tempdir().expect("a directory");
        const KEEP: u32 = 7;
        let mut history = Rotating::new(file(dir.path()), Some(10_000), KEEP);
        let last = 1000;
        for n in 0..last {
            history.append(&bytes(n)).expect("written");
        }
        let facts = read(dir.path()).expect("readable");
        assert_eq!(facts.last(), Some(&fact(last - 1)));
        assert!(facts.windows(2).all(|pair| pair[0].generation + 1 == pair[1].generation));
        let files: Vec<_> = std::fs::read_dir(dir.path()).expect("a directory").collect();
        assert_eq!(files.len(), 1 + KEEP as usize);
    }
}
