//! Without control groups: who belongs to a generation, by what processes cannot easily shake off.
//!
//! Every service begins a session and a process group of its own. What leaves both and loses its parent comes
//! to the keeper, the sub-reaper; there its environment tells whose it is ([`MARK`]). Weaker than a control
//! group: a process that leaves its session and clears its environment is not found, nor in library mode one
//! that has lost its parent.

use std::fs;
use std::io;
use std::time::Duration;

/// Variable that marks the processes of a generation: `path#generation`.
pub(super) use woodward_keeper::wire::MARK;

/// The processes of one generation.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// The keeper's process id.
    pub keeper: i32,
    /// Main process, leader of the session; 0: there was none.
    pub leader: i32,
    /// The value of [`MARK`].
    pub mark: String,
}

impl Family {
    /// Those left when the main process has been reaped: of its process group, and the keeper's foundlings
    /// with this mark.
    pub fn left(&self) -> Vec<i32> {
        let own = std::process::id() as i32;
        let mut left = Vec::new();
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.keeper)).unwrap_or_default();
        for pid in children.split_ascii_whitespace().filter_map(|p| p.parse().ok()) {
            if pid != own
                && pid != self.leader
                && !is_zombie(pid)
                && (session(pid) == self.leader || self.is_marked(pid))
            {
                left.push(pid);
            }
        }
        if self.leader > 1 && group_lives(self.leader) {
            left.push(-self.leader);
        }
        left
    }

    /// Returns when nothing is left; with `kill` it kills, again and again. Nothing tells when: it looks,
    /// more and more seldom.
    pub async fn emptied(&self, kill: bool) {
        let mut pause = Duration::from_millis(1);
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            for pid in left.into_iter().filter(|_| kill) {
                // SAFETY: plain call; a negative one is a process group.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn is_marked(&self, pid: i32) -> bool {
        is_marked(pid, &self.mark)
    }
}

/// Every process with this mark.
pub(super) fn marked(mark: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| is_marked(pid, mark)).collect()
}

/// Every process of a tree, by its mark.
pub(super) fn of_tree(tree: &str) -> Vec<i32> {
    let mark = format!("{MARK}={tree}/");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_of_it = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&b| b == 0).any(|variable| variable.starts_with(mark.as_bytes()))
    };
    pids.filter(is_of_it).collect()
}

/// Kills everything of a tree, again and again, and returns when nothing is left.
pub(super) async fn tree_cleared(tree: &str) {
    loop {
        let left = of_tree(tree);
        if left.is_empty() {
            return;
        }
        for pid in left {
            // SAFETY: plain call.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_marked(pid: i32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mark = format!("{MARK}={mark}");
    environment.split(|&b| b == 0).any(|variable| variable == mark.as_bytes())
}

/// The session of a process; 0: there is no such process.
pub(super) fn session(pid: i32) -> i32 {
    // SAFETY: plain call.
    unsafe { libc::getsid(pid) }.max(0)
}

/// Somebody in this process group is more than a zombie.
fn group_lives(group: i32) -> bool {
    // SAFETY: asks only.
    if unsafe { libc::kill(-group, 0) } != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
    {
        return false;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).any(|pid| {
        let stat = stat(pid);
        let mut fields = stat.split(' ');
        fields.next().is_some_and(|state| state != "Z") && fields.nth(1) == Some(&group.to_string())
    })
}

fn is_zombie(pid: i32) -> bool {
    let stat = stat(pid);
    stat.is_empty() || stat.starts_with('Z')
}

/// What `/proc/PID/stat` says behind the name: state, parent, process group.
fn stat(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}
