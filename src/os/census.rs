//! Who is there: all processes of all generations by control group, and a signal to exactly one of them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroups;
use super::client::Client;

/// The processes of one generation of one child, zombies left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Path of the child.
    pub path: String,
    /// Its generation.
    pub generation: u64,
    /// Their process ids, in the order the kernel lists them.
    pub pids: Vec<i32>,
}

impl Cgroups {
    /// Where each group with processes in it is, below the root: `acs/naming/17`, and who they are.
    fn inhabited(&self) -> Vec<(String, Vec<i32>)> {
        let mut found = Vec::new();
        for group in self.all() {
            let text = std::fs::read_to_string(group.directory().join("cgroup.procs")).unwrap_or_default();
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            if let (false, Some(place)) = (pids.is_empty(), self.place(group.directory())) {
                found.push((place, pids));
            }
        }
        found
    }
}

impl Client {
    /// See [`super::Os::census`].
    pub fn census(&self) -> Option<Vec<Members>> {
        let inhabited = self.cgroups.as_ref()?.inhabited();
        let table = self.lock();
        let mut found: BTreeMap<(String, u64), Vec<i32>> = BTreeMap::new();
        for (place, pids) in inhabited {
            // acs/naming/17, and below it what the service has made itself.
            let mut ends = place.match_indices('/').map(|(at, _)| at);
            let known = ends.find_map(|end| {
                let generation = place[end + 1..].split('/').next()?.parse().ok()?;
                table.children.contains_key(&place[..end]).then(|| (place[..end].to_owned(), generation))
            });
            found.entry(known.unwrap_or((place, 0))).or_default().extend(pids);
        }
        let members = |((path, generation), pids)| Members { path, generation, pids };
        Some(found.into_iter().map(members).collect())
    }

    /// See [`super::Os::signal_member`].
    pub fn signal_member(&self, path: &str, generation: u64, pid: i32, signal: i32) -> io::Result<()> {
        // SAFETY: plain call; the result is a descriptor of our own or an error.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else knows of it.
        let process = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // From here on the number cannot become another process unnoticed: what is looked at is what gets the signal.
        if !self.owner(pid).is_some_and(|(owner, of)| *owner == *path && of == generation) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: an open pidfd; no information is passed.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
