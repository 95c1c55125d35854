//! The only clocks of the house.

use std::time::{SystemTime, UNIX_EPOCH};
use woodward_engine::Time;

/// Milliseconds of the machine's monotonic clock, which stands still while it is suspended. Not shared
/// between boots.
pub fn now() -> Time {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place to write to; CLOCK_MONOTONIC exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    Time(t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000)
}

/// Milliseconds of the clock that goes on while the machine is suspended (CLOCK_BOOTTIME): the cluster's. Not shared
/// between boots or machines.
pub fn lasting() -> Time {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place to write to; CLOCK_BOOTTIME exists since Linux 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut t) };
    Time(t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000)
}

/// Milliseconds since 1970, UTC. For people only: it may jump.
pub fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Seconds that local time is ahead of UTC at the moment `wall` (milliseconds since 1970); 0 where nobody
/// knows.
pub fn zone(wall: u64) -> i32 {
    let Ok(seconds) = libc::time_t::try_from(wall / 1000) else { return 0 };
    // SAFETY: `tm` is plain numbers and a pointer; all zeros is a value of it.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; the result is the second one, or null.
    let known = unsafe { libc::localtime_r(&seconds, &mut local) };
    if known.is_null() { 0 } else { i32::try_from(local.tm_gmtoff).unwrap_or(0) }
}

/// When a process was started, in clock ticks since the boot; 0: it is not there. With its number it is a name that no
/// other process of this boot has.
pub fn started(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The twenty-second field; the second, a name, may hold anything but ends with the last bracket.
    let ticks = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(19)?.parse().ok());
    ticks.unwrap_or(0)
}

/// Which boot of the host this is; another one after each.
pub fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}
