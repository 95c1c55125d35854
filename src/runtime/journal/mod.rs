//! The journal of the run state: what the engine and the kernel must know after the death of a daemon.
//!
//! `journal` in the run directory is a header and records, each a length, a sum and JSON, written by one `write` and
//! never synced: what is written survives the death of the writer, and the machine's death ends what it is about. A
//! record holds what has changed since the one before ([`words::Entry`]); reading is taking them in one after the
//! other, up to the first that is torn. When a daemon begins, and whenever the file has grown, it is written anew as a
//! single record.
//!
//! A journal counts only for the boot and the process id namespace it was written in. One that another keeper's daemon
//! wrote counts if something of it was found running.
//!
//! ```text
//! Off (no run directory)     Kept ──a write fails──► Lost (said once) ──written anew, a second later at the earliest──► Kept
//! ```
//!
//! A full disk never stops a restart: while the journal is lost everything goes on, and a daemon that dies then leaves
//! what was written last.

mod words;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use woodward_engine::Time;

use crate::os::clock;
use crate::record::history::crc32;
pub(super) use words::{Entry, Said, SavedEnd, SavedPath};

/// Bytes before a record: its length and its sum, little-endian.
const HEAD: usize = 8;
/// Written anew when it is so many times as long as it was then, but not below [`SMALL`].
const GROWTH: u64 = 4;
/// Bytes.
const SMALL: u64 = 2 << 20;
/// How long after a failed write the next attempt is made.
const AGAIN: Duration = Duration::from_secs(1);

/// The file.
pub(super) struct Journal {
    path: Option<PathBuf>,
    file: Option<File>,
    keeper: Writer,
    length: u64,
    limit: u64,
    lost: Option<Time>,
    buffer: Vec<u8>,
}

/// Whose journal it is.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Writer {
    boot: String,
    /// Inode of the process id namespace.
    namespace: u64,
    /// The keeper, and when it was started.
    keeper: (i32, u64),
}

impl Writer {
    fn of(keeper: i32) -> Writer {
        Writer {
            boot: clock::boot().unwrap_or_default(),
            namespace: fs::metadata("/proc/self/ns/pid").map_or(0, |file| file.ino()),
            keeper: (keeper, clock::started(keeper)),
        }
    }

    /// What this one wrote is about processes that may be ours.
    fn is_heard_by(&self, us: &Writer, found: bool) -> bool {
        (&self.boot, self.namespace) == (&us.boot, us.namespace) && (self.keeper == us.keeper || found)
    }
}

/// Everything a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Remembered {
    /// Greatest generation given out.
    pub(super) generation: u64,
    /// Greatest number of an incident given out.
    pub(super) incident: u64,
    /// Paths with something to remember.
    pub(super) paths: BTreeMap<String, SavedPath>,
    /// What is said in their rows.
    pub(super) said: BTreeMap<String, Said>,
    /// Trees that have ended, in that order.
    pub(super) ends: Vec<(String, SavedEnd)>,
}

impl Journal {
    /// The journal of this run directory and what it says; `None`: nothing outlives this process. `keeper`: the process
    /// this daemon works for. `found`: something was found running. The file is not touched before it is written anew.
    pub(super) fn open(directory: Option<&Path>, keeper: i32, found: bool) -> (Journal, Remembered) {
        let path = directory.map(|directory| directory.join("journal"));
        let writer = Writer::of(keeper);
        let bytes = path.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let remembered = read(&bytes, &writer, found);
        let buffer = Vec::new();
        let journal = Journal { path, file: None, keeper: writer, length: 0, limit: 0, lost: None, buffer };
        (journal, remembered)
    }

    /// Whether anything is kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.path.is_some()
    }

    /// Appends what has changed. An error is told once, by the first write that fails.
    pub(super) fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.buffer.clear();
        frame(&mut self.buffer, entry)?;
        match file.write(&self.buffer) {
            Ok(written) if written == self.buffer.len() => {
                self.length += written as u64;
                Ok(())
            }
            outcome => {
                // Half a record would hide those after it.
                let _ = file.set_len(self.length);
                self.file = None;
                self.lost = Some(clock::now());
                Err(outcome.err().unwrap_or_else(|| io::ErrorKind::StorageFull.into()))
            }
        }
    }

    /// Whether it is time to write everything anew: it has grown, or a write has failed.
    pub(super) fn wants_all(&self) -> bool {
        match self.lost {
            Some(since) => clock::now().since(since) >= AGAIN,
            None => self.file.is_some() && self.length > self.limit,
        }
    }

    /// Writes everything anew; true: it was lost before. An error is told once.
    pub(super) fn rewrite(&mut self, all: &Entry) -> io::Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        let was_lost = self.lost.is_some();
        match create(path, &self.keeper, all) {
            Ok((file, length)) => {
                self.file = Some(file);
                (self.length, self.limit, self.lost) = (length, SMALL.max(GROWTH * length), None);
                Ok(was_lost)
            }
            Err(error) => {
                self.file = None;
                self.lost = Some(clock::now());
                if was_lost { Ok(false) } else { Err(error) }
            }
        }
    }

    /// What it says now: for a kernel that is built anew within this process.
    pub(super) fn read_back(&self) -> Remembered {
        let bytes = self.path.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        read(&bytes, &self.keeper, true)
    }

    /// The run is over: the next one begins with nothing.
    pub(super) fn remove(&mut self) {
        self.file = None;
        if let Some(path) = &self.path {
            // What is left of it is another keeper's, of which nothing runs.
            let _ = fs::remove_file(path);
        }
    }
}

/// A new file in place of the old one, and its length.
fn create(path: &Path, writer: &Writer, all: &Entry) -> io::Result<(File, u64)> {
    let new = path.with_extension("new");
    let mut bytes = Vec::new();
    frame(&mut bytes, writer)?;
    frame(&mut bytes, all)?;
    let mut file = File::options().create(true).write(true).truncate(true).open(&new)?;
    file.write_all(&bytes)?;
    fs::rename(&new, path)?;
    Ok((file, bytes.len() as u64))
}

/// One record.
fn frame(buffer: &mut Vec<u8>, value: &impl serde::Serialize) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD]);
    serde_json::to_writer(&mut *buffer, value)?;
    let body = &buffer[start + HEAD..];
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let sum = crc32(body);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Bodies of all records that are whole.
fn bodies(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (body, rest) = rest.split_at_checked(number(0) as usize)?;
        bytes = rest;
        (crc32(body) == number(4)).then_some(body)
    })
}

fn read(bytes: &[u8], us: &Writer, found: bool) -> Remembered {
    let mut remembered = Remembered::default();
    let mut bodies = bodies(bytes);
    let writer: Option<Writer> = bodies.next().and_then(|body| serde_json::from_slice(body).ok());
    if writer.is_some_and(|writer| writer.is_heard_by(us, found)) {
        bodies
            .map_while(|body| serde_json::from_slice(body).ok())
            .for_each(|entry| remembered.take_in(entry));
    }
    remembered
}

impl Remembered {
    fn take_in(&mut self, entry: Entry) {
        self.generation = self.generation.max(entry.generation);
        self.incident = self.incident.max(entry.incident);
        for path in entry.gone {
            self.paths.remove(&path);
            self.said.remove(&path);
        }
        for mut path in entry.paths {
            let old = self.paths.remove(&path.path);
            path.go_on_from(old);
            self.paths.insert(path.path.clone(), path);
        }
        self.said.extend(entry.said.into_iter().map(|said| (said.path.clone(), said)));
        for (tree, how) in entry.ends {
            self.ends.retain(|(of, _)| *of != tree);
            self.ends.push((tree, how));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        let mut path = SavedPath::default();
        (path.path, path.generation) = (format!("t/{}", n % 3), n);
        Entry { generation: n, paths: vec![path], ..Entry::default() }
    }

    fn open(directory: &Path, keeper: i32, found: bool) -> (Journal, Remembered) {
        Journal::open(Some(directory), keeper, found)
    }

    fn us() -> i32 {
        std::process::id() as i32
    }

    #[test]
    fn what_is_written_is_read_by_the_next_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, nothing) = open(directory.path(), us(), false);
        assert_eq!(nothing, Remembered::default());
        journal.rewrite(&entry(1)).unwrap();
        (2..=7).for_each(|n| journal.write(&entry(n)).unwrap());
        journal.write(&Entry { generation: 8, gone: vec!["t/0".into()], ..Entry::default() }).unwrap();
        let (_, found) = open(directory.path(), us(), false);
        assert_eq!(found.generation, 8);
        let paths: Vec<_> = found.paths.values().map(|path| (path.path.as_str(), path.generation)).collect();
        assert_eq!(paths, [("t/1", 7), ("t/2", 5)]);
        assert_eq!(journal.read_back(), found);
        journal.remove();
        assert_eq!(open(directory.path(), us(), true).1, Remembered::default());
    }

    #[test]
    fn a_torn_tail_is_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(directory.path(), us(), false);
        journal.rewrite(&entry(1)).unwrap();
        let whole = fs::metadata(directory.path().join("journal")).unwrap().len() as usize;
        journal.write(&entry(2)).unwrap();
        let bytes = fs::read(directory.path().join("journal")).unwrap();
        for cut in whole..bytes.len() {
            assert_eq!(read(&bytes[..cut], &journal.keeper, false).generation, 1);
            let mut damaged = bytes.clone();
            damaged[cut] ^= 1;
            assert!(read(&damaged, &journal.keeper, false).generation <= 2);
            assert_ne!(
                read(&damaged, &journal.keeper, false).paths.get("t/2").map(|p| p.generation),
                Some(2)
            );
        }
    }

    #[test]
    fn another_boot_has_nothing_to_say_and_another_keeper_only_if_something_runs() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(directory.path(), us(), false);
        journal.rewrite(&entry(1)).unwrap();
        assert_eq!(open(directory.path(), 1, false).1, Remembered::default());
        assert_eq!(open(directory.path(), 1, true).1.generation, 1);
        journal.keeper.boot = "another".to_owned();
        journal.rewrite(&entry(1)).unwrap();
        assert_eq!(open(directory.path(), us(), true).1, Remembered::default());
    }

    #[test]
    fn a_full_disk_is_told_once_and_everything_is_written_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(directory.path(), us(), false);
        journal.rewrite(&entry(1)).unwrap();
        journal.file = Some(File::options().write(true).open("/dev/full").unwrap());
        journal.write(&entry(2)).unwrap_err();
        journal.write(&entry(3)).unwrap();
        assert!(!journal.wants_all());
        journal.lost = Some(Time(0));
        assert!(journal.wants_all());
        assert!(journal.rewrite(&entry(4)).unwrap());
        assert!(!journal.rewrite(&entry(5)).unwrap());
        assert_eq!(journal.read_back().generation, 5);
    }

    #[test]
    fn a_journal_that_has_grown_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(directory.path(), us(), false);
        journal.rewrite(&entry(1)).unwrap();
        let mut n = 1;
        while !journal.wants_all() {
            n += 1;
            journal.write(&entry(n)).unwrap();
        }
        assert!(journal.length > SMALL && journal.length < SMALL + 1000);
        journal.rewrite(&entry(n)).unwrap();
        assert!(!journal.wants_all() && journal.length < 1000);
    }
}
