//! `keeper.tab`: the table as a file in the state directory, so that the next keeper can take over what this one
//! leaves behind when it is killed.
//!
//! ```text
//! header (one page): magic, boot id, PID namespace
//! place 0: the daemon    place 1 + slot: that entry    each place: two copies of a record
//! ```
//!
//! The file is mapped and written by plain stores; the kernel keeps them when the writer dies. A record is
//! written over the older of its two copies, its sequence number and its check word make it valid: a store torn
//! by a kill leaves the other copy. The only file call is made when a place is used for the first time: the
//! room for it and its neighbours is set aside, so that no store can fail.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::foreign::Identity;
use crate::image::Step;
use crate::start::Failure;
use crate::wire::{NAME, SLOTS, Status};

/// Name of the file in the state directory.
const FILE: &str = "keeper.tab";
/// `woodtab` and the version of the layout.
const MAGIC: [u8; 8] = *b"woodtab1";
const HEADER: usize = 4096;
const PLACES: usize = SLOTS + 1;
const LENGTH: usize = HEADER + PLACES * 2 * RECORD;
/// Places whose room is set aside at once.
const PIECE: usize = 64;
/// The place of the daemon.
pub(crate) const DAEMON: usize = 0;

/// The place of an entry.
pub(crate) fn place(slot: u32) -> usize {
    1 + slot as usize
}

/// What a keeper that is gone knew of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub name: Vec<u8>,
    pub generation: u64,
    pub stage: Stage,
    pub identity: Identity,
    /// Counts the starts of all entries.
    pub order: u64,
}

/// How far it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing runs, nothing is owed to the daemon.
    Idle,
    /// About to be cloned, or cloned and not yet noted: its process id is not known.
    Cloning,
    /// Cloned.
    Alive,
    /// Reaped, not acknowledged.
    Ended(Status),
    /// Never executed, not acknowledged.
    Failed(Failure),
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Record {
    sequence: u64,
    generation: u64,
    born: [u64; 2],
    inode: u64,
    order: u64,
    pid: i32,
    value: i32,
    stage: u8,
    detail: u8,
    length: u8,
    unused: [u8; 5],
    name: [u8; NAME + 1],
    check: u64,
}

const RECORD: usize = size_of::<Record>();
const WORDS: usize = RECORD / 8;
const _: () = assert!(RECORD == 328 && LENGTH.is_multiple_of(8));

impl Record {
    fn of(mark: &Mark, sequence: u64) -> Record {
        let (stage, detail, value) = match mark.stage {
            Stage::Idle => (0, 0, 0),
            Stage::Cloning => (1, 0, 0),
            Stage::Alive => (2, 0, 0),
            Stage::Ended(Status::Code(code)) => (3, 0, code),
            Stage::Ended(Status::Signal(signal)) => (3, 1, signal),
            Stage::Ended(Status::Unknown) => (3, 2, 0),
            Stage::Failed(failure) => (4, failure.step as u8, failure.errno),
        };
        let mut name = [0; NAME + 1];
        let length = mark.name.len().min(NAME);
        name[..length].copy_from_slice(&mark.name[..length]);
        let Identity { pid, inode, born } = mark.identity;
        let (generation, order, length) = (mark.generation, mark.order, length as u8);
        let unused = [0; 5];
        let mut record = Record {
            sequence,
            generation,
            born,
            inode,
            order,
            pid,
            value,
            stage,
            detail,
            length,
            unused,
            name,
            check: 0,
        };
        record.check = record.sum();
        record
    }

    fn words(&self) -> [u64; WORDS] {
        // SAFETY: plain numbers without padding, as the size above proves.
        unsafe { std::mem::transmute_copy(self) }
    }

    /// Of everything but itself.
    fn sum(&self) -> u64 {
        let words = self.words();
        words[..WORDS - 1].iter().fold(0x5bd1_e995_9d1b_54a5, |sum, &word| {
            (sum ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29)
        })
    }

    /// `None`: torn, never written, or nonsense.
    fn mark(&self) -> Option<Mark> {
        let stage = match (self.stage, self.detail) {
            _ if self.sequence == 0 || self.check != self.sum() => return None,
            (0, _) => Stage::Idle,
            (1, _) => Stage::Cloning,
            (2, _) => Stage::Alive,
            (3, 0) => Stage::Ended(Status::Code(self.value)),
            (3, 1) => Stage::Ended(Status::Signal(self.value)),
            (3, 2) => Stage::Ended(Status::Unknown),
            (4, step) => Stage::Failed(Failure { step: Step::from_number(step)?, errno: self.value }),
            _ => return None,
        };
        Some(Mark {
            name: self.name[..usize::from(self.length)].to_vec(),
            generation: self.generation,
            stage,
            identity: Identity { pid: self.pid, inode: self.inode, born: self.born },
            order: self.order,
        })
    }
}

/// The file, mapped.
pub(crate) struct Tab {
    base: *mut u8,
    file: File,
    /// Places there is room for.
    room: usize,
    /// The sequence number each place was written under last.
    sequences: Vec<u64>,
}

// SAFETY: the mapping is this structure's own.
unsafe impl Send for Tab {}

impl Tab {
    /// Opens or makes the file in this state directory, whose lock the caller has. Also what a former keeper
    /// wrote into it, unless that was before the last boot or in another PID namespace.
    pub fn open(state: &Path) -> io::Result<(Tab, Vec<(usize, Mark)>)> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(state.join(FILE))?;
        let header = header();
        let mut old = vec![0; header.len()];
        let same = file.metadata()?.len() == LENGTH as u64
            && file.read_exact_at(&mut old, 0).is_ok()
            && old == header;
        if !same {
            file.set_len(0)?;
            file.set_len(LENGTH as u64)?;
            file.write_all_at(&header, 0)?;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping; stores go only where room was set aside.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), LENGTH, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut tab = Tab { base: base.cast(), file, room: 0, sequences: Vec::new() };
        let mut past = Vec::new();
        for (at, copies) in if same { read(&tab.file)? } else { Vec::new() } {
            tab.sequences.resize(tab.sequences.len().max(at + 1), 0);
            tab.sequences[at] = copies.sequence;
            past.extend(copies.mark().map(|mark| (at, mark)));
        }
        Ok((tab, past))
    }

    /// Notes how a place stands. Without room for it on the disk, nothing is noted.
    pub fn write(&mut self, at: usize, mark: &Mark) {
        if at >= self.room && !self.make_room(at) {
            return;
        }
        if self.sequences.len() <= at {
            self.sequences.resize(at + 1, 0);
        }
        let sequence = self.sequences[at] + 1;
        self.sequences[at] = sequence;
        let record = Record::of(mark, sequence).words();
        // SAFETY: within the mapping, aligned, and room was set aside for it.
        unsafe {
            let copy = self.base.add(HEADER + (2 * at + (sequence & 1) as usize) * RECORD).cast::<u64>();
            for (i, word) in record.into_iter().enumerate() {
                copy.add(i).write_volatile(word);
            }
        }
    }

    fn make_room(&mut self, at: usize) -> bool {
        let places = (at + 1).next_multiple_of(PIECE).min(PLACES);
        let from = HEADER + self.room * 2 * RECORD;
        let length = (places - self.room) * 2 * RECORD;
        // SAFETY: plain call.
        let result =
            unsafe { libc::fallocate(self.file.as_raw_fd(), 0, from as libc::off_t, length as libc::off_t) };
        if result != 0 {
            let error = io::Error::last_os_error();
            crate::setup::say(&format!("cannot note what runs in {FILE}: {error}"));
            return false;
        }
        self.room = places;
        true
    }
}

/// The newer valid record of each place that was ever written.
fn read(file: &File) -> io::Result<Vec<(usize, Record)>> {
    let mut found = Vec::new();
    let mut bytes = vec![0; 2 * RECORD * PIECE];
    // Where there never was room, there is nothing to read.
    let blocks = file.metadata()?.blocks() * 512;
    let mut seen = 0;
    for from in (0..PLACES).step_by(PIECE) {
        let places = PIECE.min(PLACES - from);
        let bytes = &mut bytes[..2 * RECORD * places];
        file.read_exact_at(bytes, (HEADER + from * 2 * RECORD) as u64)?;
        for at in 0..places {
            let copy = |n: usize| {
                let start = (2 * at + n) * RECORD;
                // SAFETY: that many bytes are there; any bytes are a record.
                unsafe { bytes[start..start + RECORD].as_ptr().cast::<Record>().read_unaligned() }
            };
            let valid = [copy(0), copy(1)].into_iter().filter(|record| record.mark().is_some());
            found.extend(valid.max_by_key(|record| record.sequence).map(|record| (from + at, record)));
        }
        seen += bytes.len() as u64;
        if seen > blocks {
            break;
        }
    }
    Ok(found)
}

/// What is noted of processes in this state directory, whoever may be writing it just now.
pub(crate) fn look(state: &Path) -> io::Result<Vec<Mark>> {
    let file = File::open(state.join(FILE))?;
    let header = header();
    let mut there = vec![0; header.len()];
    file.read_exact_at(&mut there, 0)?;
    if there != header || file.metadata()?.len() != LENGTH as u64 {
        return Err(io::Error::other(format!("{FILE} is of another version, boot or namespace")));
    }
    let marks = read(&file)?.into_iter().filter(|(at, _)| *at != DAEMON).filter_map(|(_, r)| r.mark());
    Ok(marks.filter(|mark| mark.stage != Stage::Idle).collect())
}

/// Magic, boot id, PID namespace: processes of another boot or namespace are none of ours.
fn header() -> Vec<u8> {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino());
    [MAGIC.as_slice(), &namespace.to_ne_bytes(), &boot].concat()
}

impl Drop for Tab {
    fn drop(&mut self) {
        // SAFETY: this structure's own mapping.
        unsafe { libc::munmap(self.base.cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("woodward-tab-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir).expect("a directory");
            Dir(dir)
        }

        fn past(&self) -> Vec<(usize, Mark)> {
            Tab::open(&self.0).expect("the table again").1
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mark(generation: u64, stage: Stage) -> Mark {
        let identity = Identity { pid: 4711, inode: 8, born: [15, 16] };
        Mark { name: b"acs/naming".to_vec(), generation, stage, identity, order: 23 }
    }

    #[test]
    fn the_next_keeper_reads_what_was_noted_last() {
        let dir = Dir::new("last");
        let (mut tab, past) = Tab::open(&dir.0).expect("a table");
        assert_eq!(past, []);
        let stages = [
            Stage::Cloning,
            Stage::Alive,
            Stage::Ended(Status::Code(3)),
            Stage::Ended(Status::Signal(9)),
            Stage::Ended(Status::Unknown),
            Stage::Failed(Failure { step: Step::Execute, errno: 2 }),
            Stage::Idle,
        ];
        for (n, stage) in stages.into_iter().enumerate() {
            for at in [DAEMON, place(0), place(63), place(wire_last())] {
                tab.write(at, &mark(n as u64, stage));
            }
            let expected =
                [DAEMON, place(0), place(63), place(wire_last())].map(|at| (at, mark(n as u64, stage)));
            assert_eq!(dir.past(), expected);
        }
    }

    fn wire_last() -> u32 {
        SLOTS as u32 - 1
    }

    #[test]
    fn a_record_torn_by_a_kill_leaves_the_one_before() {
        let dir = Dir::new("torn");
        let (mut tab, _) = Tab::open(&dir.0).expect("a table");
        for generation in 1..=2 {
            tab.write(place(7), &mark(generation, Stage::Alive));
        }
        let next = Record::of(&mark(3, Stage::Ended(Status::Code(0))), 3).words();
        let over = (HEADER + (2 * place(7) + 1) * RECORD) as u64;
        let older = Record::of(&mark(1, Stage::Alive), 1).words();
        for words in 0..WORDS {
            let torn: Vec<u8> =
                next[..words].iter().chain(&older[words..]).flat_map(|w| w.to_ne_bytes()).collect();
            tab.file.write_all_at(&torn, over).expect("written");
            assert_eq!(dir.past(), [(place(7), mark(2, Stage::Alive))], "{words} words");
        }
        let (mut tab, _) = Tab::open(&dir.0).expect("the table again");
        tab.write(place(7), &mark(4, Stage::Alive));
        assert_eq!(dir.past(), [(place(7), mark(4, Stage::Alive))]);
    }

    #[test]
    fn a_table_of_another_boot_is_void() {
        let dir = Dir::new("boot");
        let (mut tab, _) = Tab::open(&dir.0).expect("a table");
        tab.write(place(7), &mark(1, Stage::Alive));
        tab.file.write_all_at(b"another boot id", 16).expect("written");
        assert_eq!(dir.past(), []);
        assert_eq!(dir.past(), [], "nor is anything of it there later");
    }
}
