//! Processes below this one that nobody minds: as PID 1 everything else in the namespace, elsewhere (as sub-reaper)
//! all descendants. They are told with SIGTERM before this process ends, and killed when that was not enough.
//!
//! Who is there stands in `/proc`. Where that is missing, or another namespace's, PID 1 asks the kernel to reach
//! all; elsewhere nobody can be found then.

use std::collections::HashMap;
use std::os::fd::AsRawFd;

use crate::sys;

/// Walks over `/proc` for one telling: who is born during one is met in the next.
const WALKS: usize = 8;
/// The kernel's flag of its own threads.
const KTHREAD: u64 = 0x0020_0000;

/// A living process.
struct Process {
    pid: i32,
    parent: i32,
    stopped: bool,
    /// Since when, in ticks: with the number, its identity.
    since: u64,
}

/// Whom a telling has reached.
#[derive(Default)]
pub(crate) struct Strays {
    told: Vec<i32>,
}

impl Strays {
    /// Sends `signal` to every process there is, whoever was told before or not. False: nobody can be found.
    pub fn tell_all(&mut self, signal: i32) -> bool {
        self.told.clear();
        self.tell_new(signal)
    }

    /// Sends `signal` to whoever has not been told yet. False: nobody can be found.
    pub fn tell_new(&mut self, signal: i32) -> bool {
        for _ in 0..WALKS {
            let Some(processes) = below() else {
                // SAFETY: plain call: everything but this process.
                return std::process::id() == 1 && unsafe { libc::kill(-1, signal) } == 0;
            };
            let new: Vec<Process> = processes.into_iter().filter(|p| !self.told.contains(&p.pid)).collect();
            if new.is_empty() {
                return true;
            }
            for process in &new {
                send(process, signal);
                if process.stopped {
                    // It could not act on it.
                    send(process, libc::SIGCONT);
                }
            }
            self.told.extend(new.iter().map(|p| p.pid));
        }
        true
    }
}

/// SIGKILL to everything.
pub(crate) fn kill() {
    if std::process::id() == 1 {
        // SAFETY: plain call: everything but this process.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    } else {
        Strays::default().tell_new(libc::SIGKILL);
    }
}

/// Is anybody left? The dead must have been waited for.
pub(crate) fn any() -> bool {
    if std::process::id() == 1 {
        if let Some(processes) = below() {
            return !processes.is_empty();
        }
        // SAFETY: plain call: asks.
        return unsafe { libc::kill(-1, 0) } == 0;
    }
    // Whoever is below is a child, or below one. SAFETY: all zeros is a valid value; WNOWAIT takes nothing away.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

fn send(process: &Process, signal: i32) {
    // SAFETY: plain calls. Another process may have the number meanwhile, so it is looked at again once it is held.
    unsafe {
        let Ok(held) = sys::owned(libc::syscall(libc::SYS_pidfd_open, process.pid, 0) as i32) else { return };
        let same = read(process.pid).is_some_and(|now| now.since == process.since);
        if same {
            let info = std::ptr::null::<libc::siginfo_t>();
            libc::syscall(libc::SYS_pidfd_send_signal, held.as_raw_fd(), signal, info, 0);
        }
    }
}

/// `None`: there is no `/proc` of this namespace.
fn below() -> Option<Vec<Process>> {
    let own = std::process::id() as i32;
    let name = std::fs::read_link("/proc/self").ok()?;
    if name.to_str()?.parse() != Ok(own) {
        return None;
    }
    let all = std::fs::read_dir("/proc").ok()?;
    let numbers = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut processes: Vec<Process> = numbers.filter(|pid| *pid != own).filter_map(read).collect();
    if own != 1 {
        let parents: HashMap<i32, i32> = processes.iter().map(|p| (p.pid, p.parent)).collect();
        let is_below = |mut pid: i32| {
            // As many steps as there are processes: parents may change while they are read.
            for _ in 0..parents.len() {
                match parents.get(&pid) {
                    Some(parent) if *parent == own => return true,
                    Some(parent) => pid = *parent,
                    None => return false,
                }
            }
            false
        };
        processes.retain(|p| is_below(p.pid));
    }
    Some(processes)
}

/// One process, unless it is dead or a thread of the kernel.
fn read(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
    let state = *fields.first()?;
    let living = !matches!(state, "Z" | "X") && number(6)? & KTHREAD == 0;
    living.then_some(Process {
        pid,
        parent: number(1)? as i32,
        stopped: matches!(state, "T" | "t"),
        since: number(19)?,
    })
}
