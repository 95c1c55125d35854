//! The two clocks of the guard: the one that goes on while the machine is suspended, for the deadline; the one that people
//! and time servers set, for what the first one has missed.
//!
//! A virtual machine that its host has paused knows nothing of the pause until somebody sets its wall clock. So what the
//! wall clock gains over the boot clock from one look to the next is time that the deadline has to be moved back by. It
//! holds for armings of beats that were sent before, too, for as long as there can be any.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys;

/// Looking at both clocks takes less than this many nanoseconds, unless something came in between.
const QUICK: u64 = 100_000;

pub(crate) struct Clocks {
    /// Goes off at the deadline.
    deadline: OwnedFd,
    /// Goes off when the wall clock is set.
    wall: OwnedFd,
    jumps: Jumps,
}

impl Clocks {
    pub fn new() -> io::Result<Clocks> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: plain calls.
        let deadline = sys::owned(unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, flags) })?;
        // SAFETY: as above.
        let wall = sys::owned(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, flags) })?;
        // In a time that never comes: what counts is that it is cancelled.
        set(&wall, libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET, u64::MAX / 4)?;
        let mut jumps = Jumps::default();
        jumps.look(both());
        Ok(Clocks { deadline, wall, jumps })
    }

    pub fn fds(&self) -> [RawFd; 2] {
        [self.deadline.as_raw_fd(), self.wall.as_raw_fd()]
    }

    /// Wakes the keeper at this time of the boot clock, nanoseconds.
    pub fn set(&self, deadline: u64) {
        let _ = set(&self.deadline, libc::TFD_TIMER_ABSTIME, deadline);
    }

    /// The time by the boot clock, and how far the wall clock has jumped ahead of it since the last look; nanoseconds.
    pub fn look(&mut self) -> (u64, u64) {
        let seen = both();
        (seen.boot[1], self.jumps.look(seen))
    }

    /// A deadline that was worked out from a time before a jump, which `hold` nanoseconds before it.
    pub fn corrected(&self, deadline: u64, hold: u64) -> u64 {
        self.jumps.corrected(deadline, hold)
    }

    /// Armings of beats from before a jump come for so long, nanoseconds.
    pub fn remember(&mut self, hold: u64) {
        self.jumps.span = hold;
    }

    /// The timers have been taken note of.
    pub fn quiet(&self) {
        for fd in self.fds() {
            let mut count = 0u64;
            // SAFETY: reads into `count`. A timer that was cancelled is rid of it by being read, too.
            unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
        }
    }
}

fn set(timer: &OwnedFd, flags: i32, at: u64) -> io::Result<()> {
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Zero would switch it off.
    let at = at.max(1);
    let at = libc::timespec {
        tv_sec: (at / 1_000_000_000) as libc::time_t,
        tv_nsec: (at % 1_000_000_000) as libc::c_long,
    };
    let spec = libc::itimerspec { it_interval: zero, it_value: at };
    // SAFETY: reads `spec`.
    sys::check(unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &spec, std::ptr::null_mut()) })
        .map(drop)
}

/// Nanoseconds of the boot clock.
pub(crate) fn boot() -> u64 {
    sys::since_boot()
}

/// The wall clock, and the boot clock before and after that; nanoseconds.
#[derive(Clone, Copy)]
struct Seen {
    boot: [u64; 2],
    wall: i64,
}

fn both() -> Seen {
    let look = || {
        let before = boot();
        let wall = sys::wall() + tests_own_jump();
        Seen { boot: [before, boot()], wall }
    };
    let mut seen = look();
    for _ in 0..3 {
        if seen.boot[1] - seen.boot[0] < QUICK {
            break;
        }
        seen = look();
    }
    seen
}

/// In a debug build a test can have the wall clock set: milliseconds ahead, in a file.
fn tests_own_jump() -> i64 {
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("WOODWARD_TEST_WALL_CLOCK") {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        return text.trim().parse::<i64>().unwrap_or(0) * 1_000_000;
    }
    0
}

/// How the wall clock was set.
#[derive(Default)]
struct Jumps {
    /// How far the wall clock was ahead of the boot clock at the last look, at most.
    ahead: Option<i64>,
    /// Boot time at which the last jump was seen, and how far it and those that came close before it went.
    last: Option<(u64, u64)>,
    /// Jumps within this time of each other count together.
    span: u64,
}

impl Jumps {
    /// Nanoseconds of a jump forward since the last look.
    fn look(&mut self, seen: Seen) -> u64 {
        let least = seen.wall - seen.boot[1] as i64;
        let most = seen.wall - seen.boot[0] as i64;
        let jump = self.ahead.replace(most).map_or(0, |before| (least - before).max(0) as u64);
        if jump > 0 {
            let recent = self.last.filter(|(at, _)| seen.boot[1].saturating_sub(*at) <= self.span);
            self.last = Some((seen.boot[1], jump + recent.map_or(0, |(_, by)| by)));
        }
        jump
    }

    fn corrected(&self, deadline: u64, hold: u64) -> u64 {
        let by = self.last.filter(|(at, _)| deadline.saturating_sub(hold) <= *at).map_or(0, |(_, by)| by);
        deadline.saturating_sub(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn seen(boot: u64, wall: i64) -> Seen {
        Seen { boot: [boot, boot], wall }
    }

    #[test]
    fn a_jump_forward_is_what_the_wall_clock_gains_and_back_is_none() {
        let mut jumps = Jumps { span: 10 * S, ..Jumps::default() };
        let ns = S as i64;
        let looks =
            [(100, 1000, 0), (101, 1001, 0), (102, 1005, 3), (103, 1006, 0), (104, 900, 0), (105, 902, 1)];
        for (boot, wall, jump) in looks {
            assert_eq!(jumps.look(seen(boot * S, wall * ns)), jump * S, "at {boot}");
        }
    }

    #[test]
    fn being_interrupted_between_two_clocks_is_no_jump() {
        let mut jumps = Jumps::default();
        jumps.look(seen(100 * S, 1000 * S as i64));
        // Half a second between the boot clock and the wall clock, then between the wall clock and the boot clock.
        let late = Seen { boot: [101 * S, 101 * S + S / 2], wall: 1001 * S as i64 + S as i64 / 2 };
        assert_eq!(jumps.look(late), 0);
        let early = Seen { boot: [102 * S, 102 * S + S / 2], wall: 1002 * S as i64 };
        assert_eq!(jumps.look(early), 0);
        assert_eq!(jumps.look(seen(103 * S, 1003 * S as i64)), 0);
    }

    #[test]
    fn a_beat_sent_before_a_jump_gives_no_more_than_one_after_it() {
        let mut jumps = Jumps { span: 2 * S, ..Jumps::default() };
        jumps.look(seen(100 * S, 1000 * S as i64));
        jumps.look(seen(101 * S, 1004 * S as i64));
        assert_eq!(jumps.corrected(103 * S, 2 * S), 100 * S, "sent at 101, with the jump");
        assert_eq!(jumps.corrected(104 * S, 2 * S), 104 * S, "sent at 102");
        jumps.look(seen(102 * S, 1006 * S as i64));
        assert_eq!(jumps.corrected(103 * S, 2 * S), 99 * S, "two jumps");
    }
}
