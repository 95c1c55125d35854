//! `isolate = "pid"`: a service whose every descendant dies with the keeper, wherever it has gone.
//!
//! ```text
//! keeper ─► warden (the keeper's child) ─► init (1 of the namespace) ─► the service (2)
//!    └ death ──► kills ────────────────────► kills ───────────────────► and with it everything there is
//! ```
//!
//! The kernel kills a child when its parent dies, if asked to, and everything in a process namespace when the first
//! process of it dies. A service cannot be that first process itself: it would not be ended by a signal it has no handler
//! for. So there are two processes above it, asleep, which pass signals down and the end up: the warden ends as the service
//! has, by the same code or signal.
//!
//! What is different inside: the service's number is not the one that woodward shows, `/proc` shows the namespace alone,
//! and when the service has ended nothing of it lives on. SIGSTOP and SIGKILL reach the warden only: the one stops nothing
//! below it, the other kills all.

use std::os::fd::RawFd;

use super::{Stop, check};

/// The name of the two above the service, by which they are left out when all of a generation are sent a signal.
const NAME: &std::ffi::CStr = c"woodward-warden";

/// What the warden sends down.
fn passed_on() -> i32 {
    libc::SIGRTMAX()
}

/// Comes back in the process that is to become the service; of the two others one has started the other. There is one
/// thread.
pub(super) fn enter() -> Result<(), Stop> {
    let wrong = || Stop::own("isolate");
    // SAFETY: plain calls; the strings are C strings. There is one thread, so a fork copies a process that can go on.
    unsafe {
        // What the two wait for must be blocked from the first child on: the kernel drops the end of a child where nobody
        // has a handler for it.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
            (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        check(libc::sigprocmask(libc::SIG_SETMASK, &all, &mut before)).map_err(wrong())?;
        check(libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS)).map_err(wrong())?;
        let flags = libc::MS_REC | libc::MS_SLAVE;
        let (none, root) = (std::ptr::null(), c"/".as_ptr());
        check(libc::mount(none, root, none, flags, std::ptr::null())).map_err(wrong())?;
        let mut pipe = [0; 2];
        check(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC)).map_err(wrong())?;
        let [end, tell] = pipe;
        let init = check(libc::fork()).map_err(wrong())? as i32;
        if init > 0 {
            watch(init, end);
        }
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map_err(wrong())?;
        let mut poll = libc::pollfd { fd: tell, events: 0, revents: 0 };
        libc::close(end);
        if libc::poll(&mut poll, 1, 0) != 0 {
            // The warden had died before that.
            libc::_exit(1);
        }
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let proc = c"proc".as_ptr();
        check(libc::mount(proc, c"/proc".as_ptr(), proc, flags, std::ptr::null())).map_err(wrong())?;
        let service = check(libc::fork()).map_err(wrong())? as i32;
        if service > 0 {
            mind(service, tell);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut())).map_err(wrong())?;
    }
    tell_own_number();
    Ok(())
}

/// The warden: passes signals down, ends as the service has.
fn watch(init: i32, end: RawFd) -> ! {
    settle(end);
    loop {
        // SAFETY: as for `wait_for_signal`; the numbers are those of a child that is not reaped.
        unsafe {
            let info = wait_for_signal();
            if info.si_signo != libc::SIGCHLD {
                let value = libc::sigval { sival_ptr: info.si_signo as usize as *mut libc::c_void };
                libc::sigqueue(init, passed_on(), value);
                continue;
            }
            let mut status = 0;
            if libc::waitpid(init, &mut status, libc::WNOHANG) == init {
                // What the service's was; of an init that was killed its own.
                let mut told = 0i32;
                if libc::read(end, (&raw mut told).cast(), size_of::<i32>()) == size_of::<i32>() as isize {
                    status = told;
                }
                end_as(status);
            }
        }
    }
}

/// Ends this process by this wait status.
fn end_as(status: i32) -> ! {
    // SAFETY: plain calls on this process alone; `rlimit` and `sigset_t` are plain numbers.
    unsafe {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut set, signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
            libc::_exit(128 + signal);
        }
        libc::_exit(libc::WEXITSTATUS(status));
    }
}

/// The first process of the namespace: reaps, passes signals to the service, tells how it ended.
fn mind(service: i32, tell: RawFd) -> ! {
    settle(tell);
    loop {
        // SAFETY: as for `wait_for_signal`; the service is not reaped before this ends.
        unsafe {
            let info = wait_for_signal();
            if info.si_signo == passed_on() && info.si_code == libc::SI_QUEUE {
                libc::kill(service, info.si_value().sival_ptr as usize as i32);
                continue;
            }
            let mut status = 0;
            loop {
                let pid = libc::waitpid(-1, &mut status, libc::WNOHANG);
                if pid == service {
                    libc::write(tell, (&raw const status).cast(), size_of::<i32>());
                    libc::_exit(0);
                }
                if pid <= 0 {
                    break;
                }
            }
        }
    }
}

/// Makes this process one that only waits: nothing is open but the one descriptor and the standard three.
fn settle(keep: RawFd) {
    let keep_at = keep as libc::c_uint;
    // SAFETY: plain calls; nothing else in this process uses a descriptor from here on.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        if keep_at > 3 {
            libc::syscall(libc::SYS_close_range, 3, keep_at - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, keep_at + 1, libc::c_uint::MAX, 0);
    }
}

/// # Safety
/// Every signal must be blocked.
unsafe fn wait_for_signal() -> libc::siginfo_t {
    // SAFETY: all zeros are values of both; the calls write to them.
    unsafe {
        let (mut all, mut info): (libc::sigset_t, libc::siginfo_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        while libc::sigwaitinfo(&all, &mut info) < 0 {}
        info
    }
}

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

/// The keeper has written the warden's number where the service looks whether sockets are for it: it has another one.
fn tell_own_number() {
    const NAME: &[u8] = b"LISTEN_PID=";
    let own = format!("{}\0", std::process::id());
    // SAFETY: the environment of this process, which has one thread; what is written over is longer than what is written:
    // a number of this process outside the namespace, which is not below that within.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            let variable = std::ffi::CStr::from_ptr(*at).to_bytes();
            if variable.starts_with(NAME) && variable.len() + 1 >= NAME.len() + own.len() {
                std::ptr::copy_nonoverlapping(own.as_ptr(), (*at).add(NAME.len()).cast(), own.len());
            }
            at = at.add(1);
        }
    }
}

/// Is it one of the two above a service?
pub(in crate::os) fn is_warden(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.strip_suffix(b"\n") == Some(NAME.to_bytes()))
}
