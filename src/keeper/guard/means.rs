//! What the keeper takes to be in time while it guards something: its memory locked, and a place before every ordinary
//! process. Both are for itself alone: a new program has no locked memory, and a child is an ordinary process
//! (`SCHED_RESET_ON_FORK`). What is refused is told; the deadline is then missed by milliseconds on a busy machine.

use crate::setup::say;
use crate::wire::guard::{MEMORY, REAL_TIME};

/// The least of the real-time priorities is before all that have none.
const PRIORITY: i32 = 1;
/// What the kernel locks now and later, but no page before it is used. Not in every libc.
const ON_FAULT: i32 = 4;
/// `CAP_IPC_LOCK`.
const LOCK: u32 = 14;

#[derive(Default)]
pub(crate) struct Means {
    memory: bool,
    real_time: bool,
    /// Policy and priority before.
    before: Option<(i32, i32)>,
    told: bool,
}

impl Means {
    /// As the daemon is told.
    pub fn bits(&self) -> u8 {
        let bit = |has, bit| if has { bit } else { 0 };
        bit(self.memory, MEMORY) | bit(self.real_time, REAL_TIME)
    }

    /// Takes what is to be had and not taken yet.
    pub fn take(&mut self) {
        let mut refused = Vec::new();
        if !self.memory {
            self.memory = lock();
            refused.extend((!self.memory).then_some("locked memory"));
        }
        if !self.real_time {
            // SAFETY: plain calls; `sched_param` is plain numbers.
            unsafe {
                let mut former: libc::sched_param = std::mem::zeroed();
                let policy = libc::sched_getscheduler(0);
                libc::sched_getparam(0, &mut former);
                self.before = self.before.or(Some((policy, former.sched_priority)));
                let mut wanted: libc::sched_param = std::mem::zeroed();
                wanted.sched_priority = PRIORITY;
                let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
                self.real_time = libc::sched_setscheduler(0, policy, &wanted) == 0;
            }
            refused.extend((!self.real_time).then_some("a real-time priority"));
        }
        if !refused.is_empty() && !std::mem::replace(&mut self.told, true) {
            say(&format!(
                "the keeper has no {}: on a busy machine it may kill late",
                refused.join(" and no ")
            ));
        }
    }

    /// Is like every other process again.
    pub fn give_back(&mut self) {
        if std::mem::take(&mut self.memory) {
            // SAFETY: plain call.
            unsafe { libc::munlockall() };
        }
        if let Some((policy, priority)) = self.before.take().filter(|_| std::mem::take(&mut self.real_time)) {
            // SAFETY: plain calls; `sched_param` is plain numbers.
            unsafe {
                let mut former: libc::sched_param = std::mem::zeroed();
                former.sched_priority = priority;
                libc::sched_setscheduler(0, policy, &former);
            }
        }
    }
}

/// Locks what there is and what will come. Not where only a little may be locked: then a later allocation would fail.
fn lock() -> bool {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | ON_FAULT;
    // SAFETY: plain call.
    may_lock_all() && unsafe { libc::mlockall(flags) } == 0
}

fn may_lock_all() -> bool {
    // SAFETY: `rlimit` is plain numbers, written by the call.
    let unlimited = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) == 0 && limit.rlim_cur == libc::RLIM_INFINITY
    };
    let mut sets = [[0u32; 3]; 2];
    let head = [0x2008_0522u32, 0];
    // SAFETY: version 3 writes two sets of three words.
    let known = unsafe { libc::syscall(libc::SYS_capget, head.as_ptr(), sets.as_mut_ptr()) == 0 };
    unlimited || (known && sets[0][0] >> LOCK & 1 == 1)
}
