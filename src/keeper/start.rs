//! Starts: from an image to a process that has executed its program, without ever waiting for it.
//!
//! A *slot* holds what one child needs between clone and exec: a stack, a [`Job`], a copy of the image, and a
//! *window*, a set of low descriptor numbers. `CLONE_VM | CLONE_FILES` without `CLONE_VFORK` copies neither
//! memory nor descriptors and lets the keeper run on; so the slot belongs to the child until the kernel has
//! cleared the word `alive`, which it does when the program has been executed or the child is gone. The
//! child's unshared table ends above its window, so a start costs the same however many descriptors the
//! keeper has.
//!
//! At most 2 × CPUs starts are under way; one that hangs for more than [`HANGING`] does not count. When all
//! slots hang, the rest waits. Nothing tells the keeper of a successful exec, so it looks: at every wake-up,
//! and while a start is under way after a quarter of its age.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::child::{self, Job, PID_DIGITS};
use crate::image::{Checked, Head, LARGEST, Stdin, Step};
use crate::sys;
use crate::wire::EXTRAS;

/// Nanoseconds after which a start no longer keeps others waiting.
pub(crate) const HANGING: u64 = 100_000_000;

const STACK: usize = 64 << 10;
const PAGE: usize = 4 << 10;
/// Output, control group, and what else the child gets.
const WINDOW: usize = 2 + EXTRAS;
/// guard page, stack, job, image with pointers.
const SLOT: usize = PAGE + STACK + PAGE + LARGEST;
const SLOTS: usize = 64;
/// An addition that begins like this, with room for [`PID_DIGITS`] digits, tells the child its own number.
const OWN_PID: &[u8] = b"LISTEN_PID=";

const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Descriptors below this one may belong to the windows of so many slots.
pub(crate) fn low(slots: usize) -> RawFd {
    (slots * WINDOW + 64) as RawFd
}

/// A start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub step: Step,
    pub errno: i32,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.step, io::Error::from_raw_os_error(self.errno))
    }
}

/// What a start fails with whose group is not bound to a term that stands.
pub(crate) const NO_RIGHT: Failure = Failure { step: Step::Guard, errno: libc::ESTALE };

impl Failure {
    fn at(step: Step) -> impl Fn(io::Error) -> Failure {
        move |e| Failure { step, errno: e.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// Where the image of a start comes from.
pub(crate) enum Source<'a> {
    File(RawFd, usize),
    Bytes(&'a [u8]),
}

/// What is to be started. Descriptors stay the caller's and may be closed when [`Starter::start`] has
/// returned.
pub(crate) struct Start<'a> {
    pub image: Source<'a>,
    pub additions: &'a [u8],
    pub output: Option<RawFd>,
    pub cgroup: Option<RawFd>,
    pub extras: &'a [(u32, OwnedFd)],
    /// Its group is bound to a term that stands: what wants that may be started.
    pub bound: bool,
}

/// A child just cloned.
pub(crate) struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Its slot, for [`Starter::outcome`].
    pub slot: usize,
    /// To be written when it has executed.
    pub oom_score_adjust: Option<i32>,
}

struct Slot {
    base: *mut u8,
    window: Vec<OwnedFd>,
    /// Numbers of the window in use.
    used: usize,
    /// Since when a child has it; `None`: free.
    since: Option<u64>,
}

// SAFETY: the memory is this structure's own; the library's keeper thread takes it along.
unsafe impl Send for Slot {}

/// All slots.
pub(crate) struct Starter {
    slots: Vec<Slot>,
    null: OwnedFd,
    hush: OwnedFd,
    /// Keeps `hush` from ending.
    _hush: OwnedFd,
    at_once: usize,
    inherited: Inherited,
    clone3: bool,
}

/// What the keeper has changed for itself and children get as it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inherited {
    /// Soft and hard limit of descriptors.
    pub files: [u64; 2],
    /// Timer slack in nanoseconds.
    pub slack: usize,
    /// Signals this process ignores, bit n-1 for signal n.
    pub ignored: u64,
}

impl Starter {
    /// Takes low descriptors for `slots` windows: to be made before other descriptors are opened. Without
    /// `clone3`: the way of older kernels.
    pub fn new(slots: usize, inherited: Inherited, clone3: bool) -> io::Result<Starter> {
        let null = sys::open(c"/dev/null", libc::O_RDWR)?;
        let (reader, _hush) = sys::pipe()?;
        // Opened for both, it never ends for those who have it, whatever becomes of the keeper.
        let both = std::ffi::CString::new(format!("/proc/self/fd/{}", reader.as_raw_fd()))?;
        let hush = sys::open(&both, libc::O_RDWR).unwrap_or(reader);
        // SAFETY: plain call.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        let mut starter = Starter {
            slots: Vec::with_capacity(slots),
            null,
            hush,
            _hush,
            at_once: 2 * usize::try_from(cpus).unwrap_or(1).max(1),
            inherited,
            clone3,
        };
        for _ in 0..slots.min(SLOTS) {
            let window = (0..WINDOW)
                .map(|_| sys::copy_above(starter.null.as_raw_fd(), 3))
                .collect::<io::Result<_>>()?;
            // SAFETY: new memory; only what is touched is used.
            let base = unsafe {
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
                libc::mmap(std::ptr::null_mut(), SLOT, protection, flags, -1, 0)
            };
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the first page of the new memory.
            sys::check(unsafe { libc::mprotect(base, PAGE, libc::PROT_NONE) })?;
            starter.slots.push(Slot { base: base.cast(), window, used: 0, since: None });
        }
        Ok(starter)
    }

    /// May another one be started now?
    pub fn has_room(&self, now: u64) -> bool {
        let counts = |s: &&Slot| s.since.is_some_and(|since| now.saturating_sub(since) < HANGING);
        self.slots.iter().filter(counts).count() < self.at_once
            && self.slots.iter().any(|s| s.since.is_none())
    }

    /// When to look again for outcomes.
    pub fn look_at(&self, now: u64) -> Option<u64> {
        let youngest = self.slots.iter().filter_map(|s| s.since).max()?;
        Some(now + (now.saturating_sub(youngest) / 4).clamp(50_000, 250_000_000))
    }

    /// Starts a child. Call it only if there is room.
    pub fn start(&mut self, start: &Start, now: u64) -> Result<Child, Failure> {
        let prepare = Failure::at(Step::Prepare);
        let at = self
            .slots
            .iter()
            .position(|s| s.since.is_none())
            .ok_or(Failure { step: Step::Prepare, errno: libc::EAGAIN })?;
        let (null, hush) = (self.null.as_raw_fd(), self.hush.as_raw_fd());
        let slot = &mut self.slots[at];
        slot.used = 0;
        let mut job = load(slot, start)?;

        let mut place = |fd: RawFd| -> Result<RawFd, Failure> {
            let number = slot.window[slot.used].as_raw_fd();
            sys::copy_to(fd, number).map_err(&prepare)?;
            slot.used += 1;
            Ok(number)
        };
        let output = match start.output {
            Some(fd) => place(fd)?,
            None => null,
        };
        job.standard = match job.head.stdin {
            n if n == Stdin::Open as u32 => [hush, output, output],
            n if n == Stdin::Inherit as u32 && start.output.is_none() => [-1; 3],
            n if n == Stdin::Inherit as u32 => [-1, output, output],
            _ => [null, output, output],
        };
        for (i, (target, fd)) in start.extras.iter().enumerate() {
            job.extras[i] = (*target as RawFd, place(fd.as_raw_fd())?);
        }
        job.extra_count = start.extras.len();
        if let Some(fd) = start.cgroup.filter(|_| !self.clone3) {
            job.cgroup = place(fd)?;
        }
        let highest = slot.window.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(2);
        job.window_end = highest.max(null).max(hush) + 1;
        job.inherited = self.inherited;

        let place = slot.job();
        let oom_score_adjust =
            (job.head.flags & crate::image::HAS_OOM != 0).then_some(job.head.oom_score_adjust);
        // SAFETY: the slot is free, so nobody reads the job.
        unsafe { place.write(job) };
        let mut pidfd: RawFd = -1;
        let mut pid = if self.clone3 {
            self.slots[at].clone3(&mut pidfd, start.cgroup)
        } else {
            -(libc::ENOSYS as isize)
        };
        if pid == -(libc::ENOSYS as isize) || (self.clone3 && pid == -(libc::EPERM as isize)) {
            if std::mem::take(&mut self.clone3) && start.cgroup.is_some() {
                self.release(at);
                return self.start(start, now);
            }
            pid = self.slots[at].clone2(&mut pidfd);
        }
        if pid < 0 {
            self.release(at);
            return Err(Failure { step: Step::Clone, errno: -pid as i32 });
        }
        self.slots[at].since = Some(now);
        let pidfd = sys::owned(pidfd).map_err(Failure::at(Step::Clone))?;
        Ok(Child { pid: pid as i32, pidfd, slot: at, oom_score_adjust })
    }

    /// What became of the child in this slot: `None` as long as it is on its way. Asked again, it is another
    /// child's.
    pub fn outcome(&mut self, slot: usize) -> Option<Result<(), Failure>> {
        let job = self.slots[slot].job();
        // SAFETY: written before the clone; the two words are atomic.
        let (alive, outcome) = unsafe { (&(*job).alive, &(*job).outcome) };
        if alive.load(Ordering::Acquire) != 0 {
            return None;
        }
        let outcome = outcome.load(Ordering::Acquire);
        self.release(slot);
        Some(match Step::from_number((outcome >> 32) as u8) {
            Some(step) => Err(Failure { step, errno: outcome as u32 as i32 }),
            None => Ok(()),
        })
    }

    fn release(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        for fd in &slot.window[..slot.used] {
            // What a window held must not stay open until the slot is used again: a socket would seem alive.
            let _ = sys::copy_to(self.null.as_raw_fd(), fd.as_raw_fd());
        }
        slot.used = 0;
        slot.since = None;
    }
}

impl Slot {
    fn job(&self) -> *mut Job {
        // SAFETY: within the slot; pages are aligned enough.
        unsafe { self.base.add(PAGE + STACK).cast() }
    }

    fn buffer(&mut self) -> &mut [u8] {
        // SAFETY: within the slot, which is free when this is called.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(PAGE + STACK + PAGE), LARGEST) }
    }

    fn clone3(&self, pidfd: &mut RawFd, cgroup: Option<RawFd>) -> isize {
        let job = self.job();
        let flags =
            (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::CLONE_CHILD_CLEARTID) as u64;
        // SAFETY: all zeros is a valid value; the child gets this slot's stack and job.
        unsafe {
            let mut args: libc::clone_args = std::mem::zeroed();
            args.flags = flags | CLONE_CLEAR_SIGHAND | cgroup.map_or(0, |_| CLONE_INTO_CGROUP);
            args.pidfd = std::ptr::from_mut(pidfd) as u64;
            args.child_tid = &raw const (*job).alive as u64;
            args.exit_signal = libc::SIGCHLD as u64;
            args.stack = self.base.add(PAGE) as u64;
            args.stack_size = STACK as u64;
            args.cgroup = cgroup.unwrap_or(0) as u64;
            let size = size_of::<libc::clone_args>();
            sys::clone_into(
                libc::SYS_clone3,
                [&raw const args as usize, size, 0, 0, 0],
                child::begin,
                job as usize,
            )
        }
    }

    /// Where `clone3` is not to be had (kernels before 5.7, some containers). The child enters its control
    /// group itself, and all handlers there could be are the keeper's own: it has none.
    fn clone2(&self, pidfd: &mut RawFd) -> isize {
        let job = self.job();
        let flags = libc::CLONE_VM
            | libc::CLONE_FILES
            | libc::CLONE_PIDFD
            | libc::CLONE_CHILD_CLEARTID
            | libc::SIGCHLD;
        // SAFETY: as in `clone3`.
        unsafe {
            let stack = self.base.add(PAGE + STACK) as usize;
            let (pidfd, alive) = (std::ptr::from_mut(pidfd) as usize, &raw const (*job).alive as usize);
            #[cfg(target_arch = "x86_64")]
            let args = [flags as usize, stack, pidfd, alive, 0];
            #[cfg(target_arch = "aarch64")]
            let args = [flags as usize, stack, pidfd, 0, alive];
            sys::clone_into(libc::SYS_clone, args, child::begin, job as usize)
        }
    }
}

/// Reads the image into the slot, adds the additions, makes pointers of offsets.
fn load(slot: &mut Slot, start: &Start) -> Result<Job, Failure> {
    let failure = |errno| Failure { step: Step::Prepare, errno };
    let buffer = slot.buffer();
    let length = match start.image {
        Source::Bytes(bytes) => {
            buffer.get_mut(..bytes.len()).ok_or(failure(libc::E2BIG))?.copy_from_slice(bytes);
            bytes.len()
        }
        Source::File(fd, length) => {
            let piece = buffer.get_mut(..length).ok_or(failure(libc::E2BIG))?;
            // SAFETY: writes into `piece`.
            let n = unsafe { libc::pread(fd, piece.as_mut_ptr().cast(), length, 0) };
            if usize::try_from(n).ok() != Some(length) {
                return Err(failure(libc::EBADMSG));
            }
            length
        }
    };
    let image = Checked::new(&buffer[..length]).ok_or(failure(libc::EBADMSG))?;
    let (head, limits, groups) = (image.head, image.limits_at(), image.groups_at());
    if head.flags & crate::image::BOUND != 0 && !start.bound {
        return Err(NO_RIGHT);
    }
    let additions_at = length;
    let table_at = (length + start.additions.len()).next_multiple_of(8);
    let added = start.additions.iter().filter(|&&b| b == 0).count();
    let pointers = head.arguments as usize + head.environment as usize + added + 2;
    if table_at + 8 * pointers > LARGEST {
        return Err(failure(libc::E2BIG));
    }
    buffer[additions_at..additions_at + start.additions.len()].copy_from_slice(start.additions);

    let base = buffer.as_ptr();
    let (strings, table) = buffer.split_at_mut(table_at);
    let image = Checked::new(&strings[..length]).ok_or(failure(libc::EBADMSG))?;
    let mut places = table.as_chunks_mut::<8>().0.iter_mut();
    let mut put = |offset: Option<usize>| {
        let pointer = offset.map_or(0, |o| base as usize + o);
        if let Some(place) = places.next() {
            *place = pointer.to_ne_bytes();
        }
    };
    let mut offsets = image.strings().map(|o| o as usize);
    offsets.by_ref().take(head.arguments as usize).for_each(|o| put(Some(o)));
    put(None);
    let mut next = additions_at;
    let mut own_pid = None;
    for text in start.additions.split_inclusive(|&b| b == 0) {
        put(Some(next));
        if text.starts_with(OWN_PID) && text.len() > OWN_PID.len() + PID_DIGITS {
            own_pid = Some(next + OWN_PID.len());
        }
        next += text.len();
    }
    offsets.for_each(|o| put(Some(o)));
    put(None);

    let at = |offset: usize| base.wrapping_add(offset);
    let argv = at(table_at).cast();
    Ok(Job {
        alive: AtomicI32::new(1),
        outcome: AtomicU64::new(0),
        head: Head { ..head },
        program: at(head.program as usize).cast(),
        directory: at(head.directory as usize).cast(),
        argv,
        envp: argv.wrapping_add(head.arguments as usize + 1),
        limits: at(limits).cast(),
        groups: at(groups).cast(),
        standard: [-1; 3],
        extras: [(-1, -1); EXTRAS],
        extra_count: 0,
        window_end: 3,
        cgroup: -1,
        own_pid: own_pid.map_or(std::ptr::null_mut(), |at| base.cast_mut().wrapping_add(at)),
        keeper: std::process::id(),
        inherited: Inherited::default(),
    })
}

impl Drop for Starter {
    fn drop(&mut self) {
        for slot in &self.slots {
            // A child that still hangs in an exec keeps its memory.
            if slot.since.is_none() {
                // SAFETY: this slot's memory, used by nobody.
                unsafe { libc::munmap(slot.base.cast(), SLOT) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    /// Starts `/bin/sh -c SCRIPT` and returns the outcome of the start and, if it executed, the exit code.
    fn check(clone3: bool, program: &str, script: &str) -> (Result<(), Failure>, i32) {
        let inherited = Inherited { files: [1024, 1024], slack: 50_000, ignored: 0 };
        let mut starter = Starter::new(2, inherited, clone3).expect("slots");
        let text = |s: &str| s.as_bytes().to_vec();
        let arguments = vec![text("sh"), text("-c"), text(script)];
        let image = Image { program: text(program), arguments, ..Image::default() }.encode();
        let source = Source::Bytes(&image);
        let additions = b"X=7\0LISTEN_PID=##########\0";
        let start = Start { image: source, additions, output: None, cgroup: None, extras: &[], bound: false };
        let child = starter.start(&start, sys::now()).expect("cloned");
        let mut status = 0;
        // SAFETY: waits for the child above.
        assert_eq!(unsafe { libc::waitpid(child.pid, &mut status, 0) }, child.pid);
        (starter.outcome(child.slot).expect("its slot is free"), libc::WEXITSTATUS(status))
    }

    #[test]
    fn both_kinds_of_clone_execute_and_tell_why_not() {
        for clone3 in [true, false] {
            assert_eq!(
                check(clone3, "/bin/sh", "[ $LISTEN_PID = $$ ] && exit $X"),
                (Ok(()), 7),
                "clone3: {clone3}"
            );
            let failure = Failure { step: Step::Execute, errno: libc::ENOENT };
            assert_eq!(check(clone3, "/no/such", "").0, Err(failure), "clone3: {clone3}");
        }
    }
}
