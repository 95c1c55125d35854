//! A watchdog device: it resets the machine when it is not fed.
//!
//! It is fed as long as nothing can be at work that has no right to: until the deadline, and after it as soon as nothing of
//! any group is left. What does not die, or a keeper that does not run, is so ended by the hardware. When the last group is
//! given up in order the device is told so (the *magic close*) and leaves the machine alone.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys;

/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)`.
const SET_TIMEOUT: u32 = 3 << 30 | 4 << 16 | (b'W' as u32) << 8 | 6;
/// Fed so often in its timeout.
const OFTEN: u64 = 4;
/// A device that may not be closed by anybody else is closed by this.
const MAGIC: &[u8] = b"V";

pub(crate) struct Watchdog {
    device: File,
    timeout: u32,
    next: u64,
}

impl Watchdog {
    /// Takes the device and sets its timeout in seconds; one that does not know how keeps its own. `None`: no timeout.
    pub fn new(device: OwnedFd, timeout: u32) -> Option<Watchdog> {
        let mut seconds = i32::try_from(timeout).ok().filter(|&s| s > 0)?;
        // SAFETY: reads and writes `seconds`.
        let set = unsafe { libc::ioctl(device.as_raw_fd(), SET_TIMEOUT as _, &raw mut seconds) };
        let timeout = if set == 0 { u32::try_from(seconds).unwrap_or(timeout).max(1) } else { timeout };
        Some(Watchdog { device: File::from(device), timeout, next: sys::now() })
    }

    pub fn fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }

    /// Seconds.
    pub fn timeout(&self) -> u32 {
        self.timeout
    }

    /// When it is to be looked after, in nanoseconds of the keeper's clock.
    pub fn due(&self) -> u64 {
        self.next
    }

    /// Feeds it if it is time and all is safe.
    pub fn tend(&mut self, safe: bool, now: u64) {
        if now < self.next {
            return;
        }
        self.next = now + u64::from(self.timeout) * 1_000_000_000 / OFTEN;
        if safe {
            // Any byte but the magic one.
            let _ = self.device.write(b"\0");
        }
    }

    /// In order: it need not reset anything.
    pub fn close(mut self) {
        let _ = self.device.write(MAGIC);
    }
}
