//! Before `main`: every signal is blocked, and what the process was given (blocked, ignored) is noted.
//!
//! PID 1 never gets a signal that it has no handler for: the kernel drops it, unless it is blocked. So the time
//! between exec and the blocking of signals is the time in which a SIGTERM is lost. [`first_instructions`] puts the
//! blocking where it is shortest: a static program begins with it, at an ELF entry of its own (`build.rs` names it
//! to the linker); a dynamic one does it among its constructors, when the loader is through. Verbs that are no init
//! take it back with [`unblock`].
//!
//! [`first_instructions`]: crate::first_instructions

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sys;

/// No process can have blocked all 64: SIGKILL and SIGSTOP never are.
const UNKNOWN: u64 = u64::MAX;

/// The signals that were blocked at exec, bit n-1 for signal n. Written by the first instructions.
#[doc(hidden)]
pub static BLOCKED: AtomicU64 = AtomicU64::new(UNKNOWN);
/// Every signal.
#[doc(hidden)]
pub static ALL: u64 = u64::MAX;
/// SIGPIPE was ignored at exec; Rust's own start ignores it always.
static PIPE: AtomicBool = AtomicBool::new(false);

/// To be used once, in `main.rs` of a program that may become PID 1.
#[macro_export]
macro_rules! first_instructions {
    () => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static FIRST: extern "C" fn() = $crate::first::note;

        // rdx: what `_start` shall do at exit; the kernel gives 0.
        #[cfg(all(target_arch = "x86_64", target_feature = "crt-static"))]
        ::std::arch::global_asm!(
            ".pushsection .text.woodward_entry,\"ax\",@progbits",
            ".globl woodward_entry",
            ".type woodward_entry,@function",
            "woodward_entry:",
            "mov eax, 14",
            "mov edi, 2",
            "lea rsi, [rip + {all}]",
            "lea rdx, [rip + {blocked}]",
            "mov r10d, 8",
            "syscall",
            "xor edx, edx",
            "jmp _start",
            ".popsection",
            all = sym $crate::first::ALL,
            blocked = sym $crate::first::BLOCKED,
        );
        #[cfg(all(target_arch = "aarch64", target_feature = "crt-static"))]
        ::std::arch::global_asm!(
            ".pushsection .text.woodward_entry,\"ax\",@progbits",
            ".globl woodward_entry",
            ".type woodward_entry,@function",
            "woodward_entry:",
            "mov x8, #135",
            "mov x0, #2",
            "adrp x1, {all}",
            "add x1, x1, :lo12:{all}",
            "adrp x2, {blocked}",
            "add x2, x2, :lo12:{blocked}",
            "mov x3, #8",
            "svc 0",
            "mov x0, xzr",
            "b _start",
            ".popsection",
            all = sym $crate::first::ALL,
            blocked = sym $crate::first::BLOCKED,
        );
    };
}

/// The constructor: blocks every signal, unless the entry has, and looks at SIGPIPE.
pub extern "C" fn note() {
    let mut action = [0usize; 4];
    // SAFETY: asks only, into `action`.
    unsafe {
        sys::raw(libc::SYS_rt_sigaction, [libc::SIGPIPE as usize, 0, action.as_mut_ptr() as usize, 8, 0])
    };
    PIPE.store(action[0] == libc::SIG_IGN, Ordering::Relaxed);
    let blocked = set_mask(u64::MAX);
    let _ = BLOCKED.compare_exchange(UNKNOWN, blocked, Ordering::Relaxed, Ordering::Relaxed);
}

/// Gives this process back the signals that it was given: for everything that is no init.
pub fn unblock() {
    match BLOCKED.load(Ordering::Relaxed) {
        UNKNOWN => {}
        blocked => {
            set_mask(blocked);
        }
    }
}

/// As [`unblock`], and SIGPIPE too is what it was: for another program that is executed in this one's place.
pub fn give_back() {
    unblock();
    if !PIPE.load(Ordering::Relaxed) {
        // SAFETY: plain call.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
}

/// Blocks every signal; those that were blocked when this program was executed.
pub(crate) fn block() -> u64 {
    let before = set_mask(u64::MAX);
    match BLOCKED.load(Ordering::Relaxed) {
        UNKNOWN => before,
        blocked => blocked,
    }
}

/// The signals that were ignored when this program was executed. To be asked before any is changed.
pub(crate) fn ignored() -> u64 {
    let mut ignored = 0;
    for signal in (1..=64usize).filter(|s| *s != libc::SIGPIPE as usize) {
        let mut action = [0usize; 4];
        // SAFETY: asks only, into `action`; not through libc, which hides the signals of its threads.
        let known =
            unsafe { sys::raw(libc::SYS_rt_sigaction, [signal, 0, action.as_mut_ptr() as usize, 8, 0]) };
        if known == 0 && action[0] == libc::SIG_IGN {
            ignored |= 1 << (signal - 1);
        }
    }
    ignored | u64::from(PIPE.load(Ordering::Relaxed)) << (libc::SIGPIPE - 1)
}

/// Blocks exactly these for this thread, those of libc included; what was blocked before.
pub(crate) fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    let (how, new, old) = (libc::SIG_SETMASK as usize, &raw const mask as usize, &raw mut before as usize);
    // SAFETY: reads `mask`, writes `before`.
    unsafe { sys::raw(libc::SYS_rt_sigprocmask, [how, new, old, 8, 0]) };
    before
}
