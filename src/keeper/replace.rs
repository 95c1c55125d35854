//! The keeper replaced by another file, in the same process: its children stay its children.
//!
//! ```text
//! daemon: trial run of the file, Replace{file}, ends ──► no start under way ──► execve(file) ──► resume: table,
//!                                                        └─ refused: a new daemon of the old file     lock, bank, log pipes
//! ```
//!
//! What the next image has to know that is not in `keeper.tab` goes along in a memory file: configuration, what
//! children inherit, and the numbers of descriptors that must not be closed meanwhile: the lock, the bank, and
//! the log pipes with their segments, so that nothing a service says before it ends is lost. Signals stay blocked, so those that
//! come in between wait. All other descriptors are opened anew: for its own children the number is as good.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::Ordering;

use crate::daemon::{Life, SECOND, Stop};
use crate::foreign::Members;
use crate::guard::{self, HandedGroup, Piece};
use crate::keeper::{Keeper, Owner};
use crate::setup::say;
use crate::start::Inherited;
use crate::{Config, first, sys};

/// The variable that tells an image that it follows another one: number of the memory file.
pub(crate) const VARIABLE: &str = "WOODWARD_KEEPER";
/// First bytes of the memory file.
const MAGIC: &[u8; 8] = b"woodhan2";
/// What is handed over, in words; an image that says the same in its trial run understands it.
pub const LANGUAGE: &str = "woodtab1 woodhand2";
/// Time for the daemon to end, and for starts under way to come to an end.
const PATIENCE: u64 = 5 * SECOND;
/// Between two looks at them.
const AGAIN: u64 = SECOND / 1000;

/// What a keeper that may be replaced holds ready.
#[derive(Default)]
pub(crate) struct Replace {
    config: Items,
    lock: Option<File>,
    /// The file to execute, and until when the daemon may take to end.
    wanted: Option<(OwnedFd, u64)>,
}

/// What has come over from the image before.
pub(crate) struct Handed {
    pub inherited: Inherited,
    pub orphans: u64,
    pub bank: Vec<(Vec<u8>, OwnedFd)>,
    /// Log pipes: slot, pipe, segment.
    pub logs: Vec<(u32, OwnedFd, OwnedFd)>,
    pub guard: guard::Handed,
}

// ---- the image that goes ------------------------------------------------------------------------------------------

impl Keeper {
    /// Makes this keeper one that can be replaced.
    pub fn may_be_replaced(&mut self, config: &Config, inherited: &Inherited, lock: File) {
        let mut items = Items::default();
        config.daemon.iter().for_each(|word| items.put(Tag::Daemon, 0, word.as_bytes()));
        items.put(Tag::State, 0, config.state.as_os_str().as_bytes());
        config.notify.iter().for_each(|notify| items.put(Tag::Notify, 0, notify.as_bytes()));
        items.put(Tag::Init, config.init.into(), b"");
        items.put(Tag::SoftFiles, inherited.files[0], b"");
        items.put(Tag::HardFiles, inherited.files[1], b"");
        items.put(Tag::Slack, inherited.slack as u64, b"");
        items.put(Tag::Blocked, first::BLOCKED.load(Ordering::Relaxed), b"");
        self.replace = Replace { config: items, lock: Some(lock), wanted: None };
    }

    /// The daemon is about to end for this.
    pub fn replace_by(&mut self, file: OwnedFd, now: u64) {
        if self.replace.lock.is_some() && self.stop == Stop::No && self.code.is_none() {
            self.replace.wanted = Some((file, now + PATIENCE));
        }
    }

    pub fn is_being_replaced(&self) -> bool {
        self.replace.wanted.is_some()
    }

    /// When the daemon must have ended.
    pub fn replace_due(&self) -> Option<u64> {
        let (_, until) = self.replace.wanted.as_ref()?;
        matches!(self.life, Life::Alive { .. }).then_some(*until)
    }

    /// The daemon has ended: as soon as no start is under way, the other file takes over. Comes back if that is not
    /// now, or not to be.
    pub fn replace(&mut self, now: u64) {
        let Some((file, until)) = self.replace.wanted.take() else { return };
        let busy = !self.waiting.is_empty() || self.owners.iter().any(|owner| *owner != Owner::Nobody);
        if self.stop != Stop::No {
            return self.start_daemon(now);
        }
        if busy && now < until {
            self.replace.wanted = Some((file, until));
            self.life = Life::Resting { until: now + AGAIN };
            return;
        }
        let error = self.execute(&file).err();
        self.guard.take_back();
        let why = error.map(|e| e.to_string()).unwrap_or_default();
        say(&format!("cannot be replaced: {why}; nothing has changed"));
        self.start_daemon(now);
    }

    fn execute(&mut self, file: &OwnedFd) -> std::io::Result<()> {
        let mut items = Items(self.replace.config.0.clone());
        let mut numbers: Vec<RawFd> = Vec::new();
        let mut keep = |items: &mut Items, tag, fd: RawFd, name: &[u8]| {
            items.put(tag, fd as u64, name);
            numbers.push(fd);
        };
        self.replace.lock.iter().for_each(|lock| keep(&mut items, Tag::Lock, lock.as_raw_fd(), b""));
        for n in 0.. {
            let Some((name, fd)) = self.bank.get(n) else { break };
            keep(&mut items, Tag::Bank, fd.as_raw_fd(), name);
        }
        for (slot, pipe, segment) in self.logs.all() {
            keep(&mut items, Tag::Pipe, pipe, &slot.to_ne_bytes());
            keep(&mut items, Tag::Segment, segment, b"");
        }
        items.put(Tag::Orphans, self.orphans, b"");
        self.guard.hand_on(|piece| match piece {
            Piece::Term(words) => items.put(Tag::Term, 0, words.map(u64::to_ne_bytes).as_flattened()),
            Piece::Group(name, term, files) => {
                items.put(Tag::Group, term, name);
                files.iter().flatten().for_each(|&fd| keep(&mut items, Tag::GroupFile, fd, b""));
            }
            Piece::Messages(messages) => items.put(Tag::Messages, 0, messages),
            Piece::Watchdog(fd, timeout) => keep(&mut items, Tag::Watchdog, fd, &timeout.to_ne_bytes()),
        });
        // SAFETY: a C string; the descriptor is new.
        let memory = sys::owned(unsafe { libc::memfd_create(c"keeper".as_ptr(), 0) })?;
        let mut memory = File::from(memory);
        memory.write_all(MAGIC)?;
        memory.write_all(&items.0)?;

        let text = |text: OsString| CString::new(text.into_vec());
        let arguments = std::env::args_os().map(text).collect::<Result<Vec<_>, _>>()?;
        let handed = format!("{VARIABLE}={}", memory.as_raw_fd());
        let others = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
        let environment = others
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .chain([CString::new(handed)])
            .collect::<Result<Vec<_>, _>>()?;
        let pointers = |all: &[CString]| -> Vec<*const libc::c_char> {
            all.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        numbers.iter().for_each(|&fd| sys::close_on_exec(fd, false));
        // SAFETY: strings and lists of them that end as they must; there is one thread.
        unsafe {
            let (arguments, environment) = (pointers(&arguments), pointers(&environment));
            let empty = c"".as_ptr();
            let at = file.as_raw_fd();
            let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
            libc::syscall(libc::SYS_execveat, at, empty, arguments, environment, libc::AT_EMPTY_PATH);
        }
        let error = std::io::Error::last_os_error();
        numbers.iter().for_each(|&fd| sys::close_on_exec(fd, true));
        Err(error)
    }
}

// ---- the image that comes -----------------------------------------------------------------------------------------

/// What the image before has left to this process; `None`: there was none.
pub(crate) fn handed(members: Members) -> Option<(Config, File, Handed)> {
    let number: RawFd = std::env::var(VARIABLE).ok()?.parse().ok().filter(|n| *n > 2)?;
    // SAFETY: asks only.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: open, and left for this process by the image before; if it is not ours, it is not closed.
    let mut memory = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
    let mut bytes = Vec::new();
    memory.rewind().ok()?;
    memory.read_to_end(&mut bytes).ok()?;
    let items = Items(bytes.strip_prefix(MAGIC)?.to_vec());
    drop(std::mem::ManuallyDrop::into_inner(memory));

    let program = std::env::current_exe().ok()?;
    let mut config =
        Config { daemon: Vec::new(), state: Default::default(), notify: None, init: false, members };
    let mut handed = Handed {
        inherited: Inherited::default(),
        orphans: 0,
        bank: Vec::new(),
        logs: Vec::new(),
        guard: guard::Handed::default(),
    };
    let (mut lock, mut pipe) = (None, None);
    for (tag, value, bytes) in items.iter() {
        // SAFETY: left open for this process, and named once.
        let fd = || unsafe { OwnedFd::from_raw_fd(value as RawFd) };
        let text = || OsString::from_vec(bytes.to_vec());
        match Tag::from_number(tag) {
            Some(Tag::Daemon) => config.daemon.push(CString::new(bytes).ok()?),
            Some(Tag::State) => config.state = text().into(),
            Some(Tag::Notify) => config.notify = text().into_string().ok(),
            Some(Tag::Init) => config.init = value != 0,
            Some(Tag::SoftFiles) => handed.inherited.files[0] = value,
            Some(Tag::HardFiles) => handed.inherited.files[1] = value,
            Some(Tag::Slack) => handed.inherited.slack = value as usize,
            Some(Tag::Blocked) => first::BLOCKED.store(value, Ordering::Relaxed),
            Some(Tag::Orphans) => handed.orphans = value,
            Some(Tag::Lock) => lock = Some(File::from(fd())),
            Some(Tag::Bank) => handed.bank.push((bytes.to_vec(), fd())),
            Some(Tag::Pipe) => pipe = bytes.try_into().ok().map(|slot| (u32::from_ne_bytes(slot), fd())),
            Some(Tag::Segment) => handed.logs.extend(pipe.take().map(|(slot, pipe)| (slot, pipe, fd()))),
            Some(Tag::Term) => handed.guard.term = words(bytes),
            Some(Tag::Group) => handed.guard.groups.push(HandedGroup {
                name: bytes.to_vec(),
                term: value,
                files: Vec::new(),
                messages: Vec::new(),
            }),
            Some(Tag::GroupFile) => handed.guard.groups.last_mut()?.files.push(fd()),
            Some(Tag::Messages) => handed.guard.groups.last_mut()?.messages = bytes.to_vec(),
            Some(Tag::Watchdog) => {
                let timeout = bytes.try_into().map_or(0, u32::from_ne_bytes);
                handed.guard.watchdog = Some((fd(), timeout));
            }
            None => {}
        }
    }
    *config.daemon.first_mut()? = CString::new(program.into_os_string().into_vec()).ok()?;
    Some((config, lock?, handed))
}

impl Handed {
    /// Makes room below: numbers under `least` are for starts.
    pub fn move_above(&mut self, least: RawFd) {
        let logs = self.logs.iter_mut().flat_map(|(_, pipe, segment)| [pipe, segment]);
        let held = self.bank.iter_mut().map(|(_, fd)| fd).chain(logs);
        held.chain(self.guard.descriptors()).for_each(|fd| sys::move_above(fd, least));
    }
}

fn words(bytes: &[u8]) -> Option<[u64; 5]> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect::<Vec<_>>().try_into().ok()
}

// ---- the memory file ------------------------------------------------------------------------------------------------

/// Records: tag, length, number, bytes. Unknown tags are passed over.
#[derive(Default)]
struct Items(Vec<u8>);

#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Daemon = 1,
    State,
    Notify,
    Init,
    SoftFiles,
    HardFiles,
    Slack,
    Blocked,
    Orphans,
    Lock,
    Bank,
    Pipe,
    Segment,
    Term,
    Group,
    GroupFile,
    Messages,
    Watchdog,
}

impl Tag {
    fn from_number(number: u8) -> Option<Tag> {
        use Tag::*;
        let all = [
            Daemon, State, Notify, Init, SoftFiles, HardFiles, Slack, Blocked, Orphans, Lock, Bank, Pipe,
            Segment, Term, Group, GroupFile, Messages, Watchdog,
        ];
        all.into_iter().find(|tag| *tag as u8 == number)
    }
}

impl Items {
    fn put(&mut self, tag: Tag, number: u64, bytes: &[u8]) {
        self.0.push(tag as u8);
        self.0.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
        self.0.extend_from_slice(&number.to_ne_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn iter(&self) -> impl Iterator<Item = (u8, u64, &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&tag, after) = rest.split_first()?;
            let (length, after) = after.split_first_chunk::<4>()?;
            let (number, after) = after.split_first_chunk::<8>()?;
            let (bytes, after) = after.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
            rest = after;
            Some((tag, u64::from_ne_bytes(*number), bytes))
        })
    }
}
