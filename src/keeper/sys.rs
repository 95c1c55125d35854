//! System calls: raw ones for the child, which shares the keeper's memory and must not touch libc's `errno`,
//! and small safe wrappers for the keeper's loop.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// One raw system call; negative: `-errno`.
///
/// # Safety
/// As the system call itself.
#[inline(always)]
pub(crate) unsafe fn raw(number: libc::c_long, args: [usize; 5]) -> isize {
    let result: isize;
    let [a, b, c, d, e] = args;
    // SAFETY: the kernel's calling convention; the caller answers for the call.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, options(nostack));
    }
    result
}

/// A clone whose child begins in `entry(argument)` on another stack and never comes back. `args` are those of
/// the system call `number`, which must put the child on that stack. Negative: `-errno`.
///
/// # Safety
/// `entry` must never return, and stay away from everything its parent may use meanwhile.
#[inline(never)]
pub(crate) unsafe fn clone_into(
    number: libc::c_long,
    args: [usize; 5],
    entry: unsafe extern "C" fn(usize) -> !,
    argument: usize,
) -> isize {
    let result: isize;
    let [a, b, c, d, e] = args;
    // SAFETY: the parent runs on unchanged; the child has a stack of its own and jumps off it at once.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            in("r12") argument, in("r13") entry, lateout("rcx") _, lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x19",
            "blr x20",
            "brk 1",
            "2:",
            in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            in("x19") argument, in("x20") entry,
        );
    }
    result
}

/// The result of a libc call, or `errno`.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that make a descriptor.
pub(crate) fn owned(result: i32) -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor that nobody else knows.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `t`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// `fd` at exactly `number`, closed on exec.
pub(crate) fn copy_to(fd: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: plain call; `number` is one of the keeper's own.
    check(unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) }).map(drop)
}

/// A copy of `fd` at `least` or above, closed on exec.
pub(crate) fn copy_above(fd: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain call.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) })
}

/// Whether this descriptor is closed at an exec.
pub(crate) fn close_on_exec(fd: RawFd, close: bool) {
    // SAFETY: plain call.
    unsafe { libc::fcntl(fd, libc::F_SETFD, if close { libc::FD_CLOEXEC } else { 0 }) };
}

/// Gives a descriptor a number not below `least`, if there is one.
pub(crate) fn move_above(fd: &mut OwnedFd, least: RawFd) {
    if fd.as_raw_fd() < least
        && let Ok(above) = copy_above(fd.as_raw_fd(), least)
    {
        *fd = above;
    }
}

/// A pipe: reader, writer.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: writes to `ends`.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both are new.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// A pair of non-blocking `SOCK_SEQPACKET` sockets.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: writes to `ends`.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: both are new.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Opens `path`, closed on exec.
pub(crate) fn open(path: &std::ffi::CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: a C string.
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })
}

/// Sends a signal to a process, or with `group` to its process group. Only for children that are not reaped
/// yet: no other process can have their number.
pub(crate) fn kill(pid: i32, signal: i32, group: bool) {
    if pid > 1 {
        // SAFETY: plain call.
        unsafe { libc::kill(if group { -pid } else { pid }, signal) };
    }
}

/// Where the text of this program and its libraries lies.
pub(crate) struct Text(Vec<(usize, usize)>);

impl Text {
    pub fn find() -> Text {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let text = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains('/'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        let ranges = text.filter_map(|line| {
            let (from, to) = line.split_once(' ')?.0.split_once('-')?;
            Some((number(from)?, number(to)?))
        });
        Text(ranges.collect())
    }

    /// Gives its pages back; what is needed again comes from the page cache. Text is never written to, so
    /// nothing is lost. Inlined, and without libc: what runs after it is in memory again.
    #[inline(always)]
    pub fn give_back(&self) {
        for &(from, to) in &self.0 {
            // SAFETY: a mapping of this process, unwritable and of a file.
            unsafe { raw(libc::SYS_madvise, [from, to - from, libc::MADV_DONTNEED as usize, 0, 0]) };
        }
    }
}

/// What `epoll` is told of each descriptor, and gives back.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: plain call.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Epoll)
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn control(&self, what: i32, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: reads `event`.
        check(unsafe { libc::epoll_ctl(self.fd(), what, fd, &mut event) }).map(drop)
    }

    pub fn add(&self, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, data)
    }

    pub fn change(&self, fd: RawFd, events: i32, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, data)
    }

    /// Always before the descriptor is closed: a copy in a child that has not executed yet would keep it
    /// alive here.
    pub fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// Waits; `None`: for ever. Kernels before 5.11 count whole milliseconds.
    pub fn wait(&self, events: &mut [libc::epoll_event], timeout: Option<Duration>) -> usize {
        let spec = timeout.map(|t| libc::timespec {
            tv_sec: t.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(t.subsec_nanos() as i32),
        });
        let spec_at = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (fd, at, length) = (self.fd(), events.as_mut_ptr(), events.len() as libc::c_int);
        // SAFETY: writes at most `length` events.
        let mut n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                fd,
                at,
                length,
                spec_at,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        if n < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
            let millis = timeout.map_or(-1, |t| t.as_micros().div_ceil(1000).min(1 << 30) as i32);
            // SAFETY: as above.
            n = unsafe { libc::epoll_wait(fd, at, length, millis) }.into();
        }
        usize::try_from(n).unwrap_or(0)
    }
}

// ---- processes by descriptor ----------------------------------------------------------------------------------------

/// The process that has this number now.
pub(crate) fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: plain call; the descriptor is new.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(fd as i32).ok()
}

/// The number of a pidfd's inode, never used twice between two boots; `None`: this kernel (before 6.9) has one
/// inode for all.
pub(crate) fn pidfd_inode(pidfd: RawFd) -> Option<u64> {
    const PIDFS: i64 = 0x5049_4446;
    // SAFETY: all zeros is a valid value for both; the calls write to them.
    unsafe {
        let mut system: libc::statfs = std::mem::zeroed();
        let mut file: libc::stat = std::mem::zeroed();
        let known = libc::fstatfs(pidfd, &mut system) == 0
            && system.f_type as i64 == PIDFS
            && libc::fstat(pidfd, &mut file) == 0;
        known.then_some(file.st_ino)
    }
}

/// Sends a signal to a process, or with `group` to the process group it leads (or led). False: the kernel cannot.
pub(crate) fn signal(pidfd: RawFd, signal: i32, group: bool) -> bool {
    const PROCESS_GROUP: usize = 1 << 2;
    let flags = if group { PROCESS_GROUP } else { 0 };
    // SAFETY: plain call.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, 0usize, flags) == 0 };
    sent || !matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

/// Is there something to be read (of a pidfd: has it ended), within this time?
pub(crate) fn readable(fd: RawFd, within: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: writes to `poll`.
    unsafe { libc::poll(&mut poll, 1, within.as_millis() as libc::c_int) == 1 && poll.revents != 0 }
}

/// How a process that has been reaped had ended, as `wait` would tell it; `None`: not reaped, or the kernel
/// (before 6.15) does not keep it.
pub(crate) fn exit_of(pidfd: RawFd) -> Option<i32> {
    const EXIT: u64 = 1 << 3;
    /// The kernel's `struct pidfd_info` as far as its first version goes.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        numbers: [u32; 12],
    }
    const _: () = assert!(size_of::<Info>() == 64);
    // _IOWR(0xFF, 11, struct pidfd_info)
    const GET_INFO: libc::c_ulong = 3 << 30 | 64 << 16 | 0xff << 8 | 11;
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: writes 64 bytes into `info`.
    let result = unsafe { libc::ioctl(pidfd, GET_INFO as _, &raw mut info) };
    (result == 0 && info.mask & EXIT != 0).then_some(info.numbers[11] as i32)
}

/// Nanoseconds of the boot clock.
pub(crate) fn since_boot() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `t`.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Nanoseconds of the wall clock since 1970.
pub(crate) fn wall() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `t`.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut t) };
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

/// Nanoseconds of a clock tick.
pub(crate) fn tick() -> u64 {
    // SAFETY: plain call.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / u64::try_from(per_second).unwrap_or(100).max(1)
}

/// May this process see everything of others?
pub(crate) fn is_root() -> bool {
    // SAFETY: plain call.
    unsafe { libc::geteuid() == 0 }
}
