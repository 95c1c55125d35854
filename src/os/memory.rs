//! How this process asks the kernel for memory.

/// One arena, small steps, and what is free at the end goes back: keeper and daemon live for months, mostly asleep, with
/// one thread that allocates. For the whole process; call it first. With another C library than glibc it does nothing
/// (mallopt(3)).
pub fn frugal() {
    #[cfg(target_env = "gnu")]
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, 16 << 10), (libc::M_TRIM_THRESHOLD, 64 << 10)]
    {
        // SAFETY: plain call; no other thread runs yet.
        unsafe { libc::mallopt(option, value) };
    }
}
