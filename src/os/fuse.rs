//! A command that does not outlive its guard, and a guard that does not outlive a freeze.
//!
//! ```text
//! guard ──► command          the guard dies: so does the command (PDEATHSIG)
//!   └ fuse: a timer of the kernel that kills the guard unless it is renewed
//! ```
//!
//! The kernel's timers go on while processes are frozen or stopped, and a frozen process can be killed. So when a host whose
//! processes were frozen for longer than the fuse wakes up, guard and command are dead already: there is no instant in which
//! the command runs and the guard does not yet. What the command has forked away is not killed so; whoever has the
//! control group does that.
#![allow(clippy::disallowed_methods, reason = "there is no keeper here: the command is a child of its guard")]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigEvent, SigSet, SigevNotify, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::time::ClockId;
use nix::unistd::Pid;

/// What is passed on to the command.
const PASSED: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// A timer that kills this process when it has not been renewed for so long, whatever this process does meanwhile.
pub struct Fuse {
    timer: Timer,
    burns: Duration,
}

impl Fuse {
    /// Lights it.
    pub fn light(burns: Duration) -> io::Result<Fuse> {
        let end = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
        let timer = Timer::new(ClockId::CLOCK_BOOTTIME, SigEvent::new(end))?;
        let mut fuse = Fuse { timer, burns };
        fuse.renew()?;
        Ok(fuse)
    }

    /// It burns from here again.
    pub fn renew(&mut self) -> io::Result<()> {
        self.timer.set(Expiration::OneShot(self.burns.into()), TimerSetTimeFlags::empty())?;
        Ok(())
    }
}

/// A command that ends with this process. To be used by the process's first thread, before there is another.
pub struct Guarded {
    child: Child,
    signals: SignalFd,
}

impl Guarded {
    /// Starts it. From here on signals to this process are for the command.
    pub fn start(command: &[OsString]) -> io::Result<Guarded> {
        let mut set = SigSet::from_iter(PASSED);
        set.add(Signal::SIGCHLD);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let mut to_be = Command::new(&command[0]);
        to_be.args(&command[1..]);
        let guard = std::process::id();
        // SAFETY: plain system calls, no allocation.
        unsafe {
            to_be.pre_exec(move || {
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // It may have died before.
                if libc::getppid() as u32 != guard {
                    return Err(Errno::ESRCH.into());
                }
                Ok(())
            });
        }
        // What it forks away comes to us when it dies.
        // SAFETY: plain call.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        Ok(Guarded { child: to_be.spawn()?, signals })
    }

    /// Waits for so long at most and passes signals on meanwhile. Its exit code when it has ended, as a shell has it.
    pub fn wait(&mut self, longest: Duration) -> io::Result<Option<u8>> {
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        let mut on = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut on, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        while let Some(signal) = self.signals.read_signal()? {
            let signal = Signal::try_from(signal.ssi_signo as i32)?;
            if signal != Signal::SIGCHLD && self.child.try_wait()?.is_none() {
                let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
            }
        }
        self.reap();
        let ended = self.child.try_wait()?;
        Ok(ended.map(|status| {
            let signalled = status.signal().map(|signal| 128 + signal);
            status.code().or(signalled).map_or(1, |code| code as u8)
        }))
    }

    /// Takes note of the ends of those that the command has left to us.
    fn reap(&self) {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(ended) = waitid(Id::All, peek) {
            match ended.pid() {
                Some(pid) if pid.as_raw() != self.child.id() as i32 => _ = waitpid(pid, None),
                _ => return,
            }
        }
    }

    /// Kills the command and everything that it has left behind, and returns when all is gone.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // Each comes to us when its parent has died.
        loop {
            let own = std::process::id();
            let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
            let left: Vec<i32> = children.split_ascii_whitespace().filter_map(|p| p.parse().ok()).collect();
            if left.is_empty() {
                return Ok(());
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                let _ = waitpid(Pid::from_raw(pid), None);
            }
        }
    }
}
