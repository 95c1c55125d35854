//! Between clone and exec. The child shares the keeper's memory, and until its second step its descriptors
//! too, while the keeper runs on: it makes raw system calls, reads its [`Job`] and writes the outcome into
//! it, and does nothing else. No libc, no allocation, nothing that can panic.

use std::ffi::c_char;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::image::{BOUND, HAS_DIRECTORY, HAS_IDS, HAS_NICE, HAS_UMASK, Head, Limit, Step};
use crate::start::Inherited;
use crate::sys::raw;
use crate::wire::EXTRAS;

/// What one child has to do; all pointers lead into its slot.
#[repr(C)]
pub(crate) struct Job {
    /// Not 0 as long as the child uses the keeper's memory: the kernel clears it (`CLONE_CHILD_CLEARTID`).
    pub alive: AtomicI32,
    /// 0, or the [`Step`] that failed in the upper half, its errno in the lower.
    pub outcome: AtomicU64,
    pub head: Head,
    pub program: *const c_char,
    pub directory: *const c_char,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
    pub limits: *const Limit,
    pub groups: *const u32,
    /// Sources of descriptors 0, 1 and 2; negative: the keeper's own stays.
    pub standard: [RawFd; 3],
    /// Number in the child, source.
    pub extras: [(RawFd, RawFd); EXTRAS],
    pub extra_count: usize,
    /// From here on no descriptor is the child's.
    pub window_end: RawFd,
    /// Directory to enter, if the clone could not do it; else negative.
    pub cgroup: RawFd,
    /// Where the child writes its process id, [`PID_DIGITS`] and a zero byte at most; null: nowhere.
    pub own_pid: *mut u8,
    /// Whose child it is.
    pub keeper: u32,
    pub inherited: Inherited,
}

/// Digits of the highest process id.
pub(crate) const PID_DIGITS: usize = 10;

const SIG_SETMASK: usize = libc::SIG_SETMASK as usize;
const CLOSE_RANGE_UNSHARE: usize = 2;
const CLOSE_RANGE_CLOEXEC: usize = 4;

/// Where the child begins.
///
/// # Safety
/// `job` is the address of a [`Job`] that stays untouched until `alive` is 0.
pub(crate) unsafe extern "C" fn begin(job: usize) -> ! {
    // SAFETY: the caller's promise.
    let job = unsafe { &*(job as *const Job) };
    // SAFETY: every pointer of the job leads into its slot; see `run`.
    let (step, errno) = unsafe { run(job) };
    job.outcome.store((step as u64) << 32 | errno as u64, Ordering::Release);
    loop {
        // SAFETY: ends this process only.
        unsafe { raw(libc::SYS_exit_group, [127, 0, 0, 0, 0]) };
    }
}

/// Five arguments, zeros behind those given.
#[inline(always)]
fn padded<const N: usize>(given: [usize; N]) -> [usize; 5] {
    let mut args = [0; 5];
    let mut i = 0;
    while i < N && i < 5 {
        // SAFETY: within both arrays.
        unsafe { *args.as_mut_ptr().add(i) = *given.as_ptr().add(i) };
        i += 1;
    }
    args
}

/// All steps in their order; returns what failed.
///
/// # Safety
/// As [`begin`].
unsafe fn run(job: &Job) -> (Step, isize) {
    macro_rules! step {
        ($step:expr, $number:expr $(, $arg:expr)*) => {{
            let given = [$($arg as usize),*];
            let result = raw($number, padded(given));
            if result < 0 {
                return ($step, -result);
            }
            result
        }};
    }
    let head = &job.head;
    // SAFETY: pointers are those of the job; descriptors are this child's own copies once they are unshared.
    unsafe {
        if job.cgroup >= 0 {
            let file = c"cgroup.procs".as_ptr();
            let procs =
                step!(Step::Cgroup, libc::SYS_openat, job.cgroup, file, libc::O_WRONLY | libc::O_CLOEXEC, 0);
            let entered = raw(libc::SYS_write, [procs as usize, c"0".as_ptr() as usize, 1, 0, 0]);
            raw(libc::SYS_close, [procs as usize, 0, 0, 0, 0]);
            if entered < 0 {
                return (Step::Cgroup, -entered);
            }
        }
        step!(Step::Session, libc::SYS_setsid);

        // Until here the table of descriptors is the keeper's: nothing may be opened, closed or moved before
        // this.
        let unshared = raw(
            libc::SYS_close_range,
            [job.window_end as usize, u32::MAX as usize, CLOSE_RANGE_UNSHARE, 0, 0],
        );
        if unshared < 0 {
            step!(Step::Descriptors, libc::SYS_unshare, libc::CLONE_FILES);
        }
        raw(libc::SYS_close_range, [3, u32::MAX as usize, CLOSE_RANGE_CLOEXEC, 0, 0]);
        let mut i = 0;
        while i < 3 {
            let source = *job.standard.as_ptr().add(i);
            if source >= 0 {
                step!(Step::Descriptors, libc::SYS_dup3, source, i, 0);
            }
            i += 1;
        }
        // Sources lie low, where the targets are: first all out of the way, then each to its place.
        let mut moved = [0isize; EXTRAS];
        let mut above = 3;
        i = 0;
        while i < job.extra_count {
            let target = (*job.extras.as_ptr().add(i)).0;
            above = if target >= above { target + 1 } else { above };
            i += 1;
        }
        i = 0;
        while i < job.extra_count {
            let source = (*job.extras.as_ptr().add(i)).1;
            *moved.as_mut_ptr().add(i) =
                step!(Step::Descriptors, libc::SYS_fcntl, source, libc::F_DUPFD_CLOEXEC, above);
            i += 1;
        }
        i = 0;
        while i < job.extra_count {
            let target = (*job.extras.as_ptr().add(i)).0;
            step!(Step::Descriptors, libc::SYS_dup3, *moved.as_ptr().add(i), target, 0);
            i += 1;
        }

        // Refused if somebody has lowered the keeper's own meanwhile: then the child has those.
        let files = job.inherited.files.as_ptr() as usize;
        raw(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, files, 0, 0]);
        i = 0;
        while i < head.limits as usize {
            let limit = job.limits.add(i);
            step!(Step::Limits, libc::SYS_prlimit64, 0, (*limit).resource, &raw const (*limit).soft, 0);
            i += 1;
        }
        if head.flags & HAS_NICE != 0 {
            step!(Step::Nice, libc::SYS_setpriority, libc::PRIO_PROCESS, 0, head.nice);
        }
        if head.flags & HAS_UMASK != 0 {
            raw(libc::SYS_umask, [head.umask as usize, 0, 0, 0, 0]);
        }
        if head.flags & HAS_IDS != 0 {
            step!(Step::Groups, libc::SYS_setgroups, head.groups, job.groups);
            step!(Step::Group, libc::SYS_setresgid, head.gid, head.gid, head.gid);
            step!(Step::User, libc::SYS_setresuid, head.uid, head.uid, head.uid);
        }
        if head.flags & BOUND != 0 {
            // Behind the change of the user, which would take it back. The kernel tells of no death before it.
            step!(Step::Guard, libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            if raw(libc::SYS_getppid, [0; 5]) != job.keeper as isize {
                return (Step::Guard, libc::ESRCH as isize);
            }
        }
        if head.flags & HAS_DIRECTORY != 0 {
            step!(Step::Directory, libc::SYS_chdir, job.directory);
        }

        if !job.own_pid.is_null() {
            let mut left = raw(libc::SYS_getpid, [0; 5]) as usize;
            let mut length = 0;
            let mut rest = left;
            while rest > 0 {
                (rest, length) = (rest / 10, length + 1);
            }
            job.own_pid.add(length).write(0);
            while length > 0 {
                length -= 1;
                job.own_pid.add(length).write(b'0' + (left % 10) as u8);
                left /= 10;
            }
        }

        raw(libc::SYS_prctl, [libc::PR_SET_TIMERSLACK as usize, job.inherited.slack, 0, 0, 0]);

        // Handlers were cleared by the clone; what was ignored is not.
        let default = [0usize; 4];
        i = 1;
        while i <= 64 {
            if job.inherited.ignored >> (i - 1) & 1 == 1 {
                raw(libc::SYS_rt_sigaction, [i, default.as_ptr() as usize, 0, 8, 0]);
            }
            i += 1;
        }
        let none = 0u64;
        raw(libc::SYS_rt_sigprocmask, [SIG_SETMASK, &raw const none as usize, 0, 8, 0]);
        let failed =
            raw(libc::SYS_execve, [job.program as usize, job.argv as usize, job.envp as usize, 0, 0]);
        (Step::Execute, -failed)
    }
}
