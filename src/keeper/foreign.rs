//! Processes that are there although this keeper has not started them: those of a keeper that was killed.
//!
//! ```text
//! keeper.tab says        found to be                               becomes
//! alive, pid known       the same process                          running, watched by its pidfd
//!                        gone, or its number is somebody else's    ended, status unknown
//! cloning                its generation has such a process         running
//!                        nothing there                             ended, status unknown
//! ended, failed                                                    as it was
//! ```
//!
//! They are not our children: their end is told by their pidfd, and who reaps them is somebody else. How they
//! ended is known all the same where the kernel remembers it for a pidfd (6.15 and later), or while nobody has
//! reaped them yet; else it is unknown, and said so. Nothing is signalled by number.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use crate::keeper::{ENTRY_EVENT, Keeper};
use crate::setup::say;
use crate::start::Child;
use crate::sys;
use crate::tab::{self, Mark, Stage};
use crate::table::State;
use crate::wire::Status;

/// Finds the processes of a generation: state directory, name and generation as the daemon gave them; numbers.
pub type Members = fn(&Path, &str, u64) -> Vec<i32>;

/// What tells a process from every other one that has or will have its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub pid: i32,
    /// Of its pidfd, unique until the next boot; 0: this kernel has none.
    pub inode: u64,
    /// Nanoseconds of the boot clock it was cloned between.
    pub born: [u64; 2],
}

impl Identity {
    /// A child just cloned; `before`: the boot clock before that.
    pub fn of(child: &Child, before: u64) -> Identity {
        let inode = sys::pidfd_inode(child.pidfd.as_raw_fd()).unwrap_or(0);
        Identity { pid: child.pid, inode, born: [before, sys::since_boot()] }
    }

    /// The process, if it is still that one: running, or ended and not reaped.
    pub fn open(&self) -> Option<OwnedFd> {
        let pidfd = sys::pidfd(self.pid)?;
        let same = match sys::pidfd_inode(pidfd.as_raw_fd()) {
            Some(inode) if self.inode != 0 => inode == self.inode,
            _ => {
                // In clock ticks, so a tick more on both sides.
                let tick = sys::tick();
                let born = Stat::of(self.pid)?.started.saturating_mul(tick);
                self.born[0].saturating_sub(tick) <= born && born <= self.born[1].saturating_add(tick)
            }
        };
        same.then_some(pidfd)
    }
}

/// What `/proc/PID/stat` says.
pub(crate) struct Stat {
    pub zombie: bool,
    session: i32,
    /// In clock ticks of the boot clock.
    started: u64,
    /// As `wait` tells it; 0 also when it is none of our business.
    status: i32,
}

impl Stat {
    pub fn of(pid: i32) -> Option<Stat> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let end = text.iter().rposition(|&b| b == b')')?;
        let rest = std::str::from_utf8(text.get(end + 2..)?).ok()?;
        // The third field is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Stat {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            status: fields.get(49)?.parse().ok()?,
        })
    }
}

/// How a process that is no child of ours has ended; `None`: it has not.
pub(crate) fn wait(pidfd: RawFd, pid: i32) -> Option<Status> {
    if !sys::readable(pidfd, Duration::ZERO) {
        return None;
    }
    Some(
        sys::exit_of(pidfd)
            .or_else(|| Stat::of(pid).filter(|stat| stat.zombie && sys::is_root()).map(|stat| stat.status))
            // Reaped between the two.
            .or_else(|| sys::exit_of(pidfd))
            .map_or(Status::Unknown, |status| {
                if libc::WIFEXITED(status) {
                    Status::Code(libc::WEXITSTATUS(status))
                } else {
                    Status::Signal(libc::WTERMSIG(status))
                }
            }),
    )
}

/// Processes, but this one, in whose environment a variable begins with one of these.
pub(crate) fn with_environment(beginnings: &[Vec<u8>]) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_marked = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|&byte| byte == 0);
        variables.any(|variable| beginnings.iter().any(|beginning| variable.starts_with(beginning)))
    };
    pids.filter(|&pid| pid != std::process::id() as i32).filter(is_marked).collect()
}

impl Keeper {
    /// Takes over what a former keeper has left, before the first daemon starts: how many live, how many have
    /// ended. `held`: pidfds that somebody kept for us meanwhile.
    pub fn take_over(
        &mut self,
        past: Vec<(usize, Mark)>,
        held: &mut Vec<OwnedFd>,
        members: &dyn Fn(&str, u64) -> Vec<i32>,
    ) -> (u32, u32) {
        let (mut alive, mut ended) = (0, 0);
        for (at, mark) in past {
            if at == tab::DAEMON {
                end_former_daemon(&mark);
                continue;
            }
            let slot = (at - 1) as u32;
            let (identity, process) = match mark.stage {
                Stage::Idle => continue,
                Stage::Cloning => find(&mark, members),
                Stage::Alive => (mark.identity, mark.identity.open().or_else(|| take(held, &mark.identity))),
                Stage::Ended(_) | Stage::Failed(_) => (mark.identity, None),
            };
            let Some(entry) = self.table.define(slot, &mark.name) else { continue };
            entry.generation = mark.generation;
            entry.pid = identity.pid;
            entry.identity = identity;
            entry.order = mark.order;
            self.order = self.order.max(mark.order);
            let state = match (mark.stage, process) {
                (Stage::Ended(status), _) => State::Ended(status),
                (Stage::Failed(failure), _) => State::Failed(failure),
                (_, Some(pidfd)) => {
                    let data = ENTRY_EVENT | (mark.generation & 0x0fff_ffff) << 32 | u64::from(slot);
                    let _ = self.epoll.add(pidfd.as_raw_fd(), libc::EPOLLIN, data);
                    entry.pidfd = Some(pidfd);
                    State::Running
                }
                (_, None) => State::Ended(Status::Unknown),
            };
            self.table.adopt(slot, state);
            self.reap(slot);
            match self.table.get(slot).is_some_and(|entry| entry.lives()) {
                true => alive += 1,
                false => ended += 1,
            }
        }
        (alive, ended)
    }
}

/// One that was cloned and not noted: the oldest of its generation that leads a session and is not older than
/// the clone.
fn find(mark: &Mark, members: &dyn Fn(&str, u64) -> Vec<i32>) -> (Identity, Option<OwnedFd>) {
    let name = String::from_utf8_lossy(&mark.name);
    let tick = sys::tick();
    let oldest = members(&name, mark.generation)
        .into_iter()
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .filter(|(pid, stat)| stat.session == *pid && (stat.started + 1) * tick >= mark.identity.born[0])
        .min_by_key(|(pid, stat)| (stat.started, *pid));
    let Some((pid, stat)) = oldest else { return (Identity::default(), None) };
    let Some(pidfd) = sys::pidfd(pid) else { return (Identity::default(), None) };
    let inode = sys::pidfd_inode(pidfd.as_raw_fd()).unwrap_or(0);
    (Identity { pid, inode, born: [stat.started * tick; 2] }, Some(pidfd))
}

/// The pidfd of this process, if it is among these.
fn take(held: &mut Vec<OwnedFd>, identity: &Identity) -> Option<OwnedFd> {
    let is_it =
        |fd: &OwnedFd| identity.inode != 0 && sys::pidfd_inode(fd.as_raw_fd()) == Some(identity.inode);
    let at = held.iter().position(is_it)?;
    Some(held.swap_remove(at))
}

/// Two daemons would fight for socket and log pipes. A daemon ends by itself when its keeper is gone, unless it
/// hangs.
fn end_former_daemon(mark: &Mark) {
    if mark.stage != Stage::Alive {
        return;
    }
    if let Some(pidfd) = mark.identity.open() {
        sys::signal(pidfd.as_raw_fd(), libc::SIGKILL, false);
        if !sys::readable(pidfd.as_raw_fd(), Duration::from_secs(5)) {
            say("the daemon of an earlier keeper does not die");
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test starts a program")]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_number_is_refused() {
        let before = sys::since_boot();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("a process");
        let pid = child.id() as i32;
        let inode = sys::pidfd(pid).and_then(|fd| sys::pidfd_inode(fd.as_raw_fd())).unwrap_or(0);
        let born = [before, sys::since_boot()];
        let second = 1_000_000_000;
        let earlier = [born[0] - 2 * second, born[1] - second];
        let is_it = |inode, born| Identity { pid, inode, born }.open().is_some();
        assert!(is_it(inode, born), "the process itself");
        assert!(is_it(0, born), "and by its time alone");
        assert!(inode == 0 || !is_it(inode + 1, born), "another one with this number");
        assert!(!is_it(0, earlier), "one that began later than the one that is looked for");
        child.kill().expect("killed");
        let fd = sys::pidfd(pid).expect("not reaped yet");
        assert!(sys::readable(fd.as_raw_fd(), Duration::from_secs(60)));
        assert!(is_it(inode, born), "its zombie");
        child.wait().expect("reaped");
        assert!(!is_it(inode, born), "nobody");
    }

    #[test]
    fn the_status_of_a_process_that_somebody_else_reaps_is_known() {
        let mut child = std::process::Command::new("sh").args(["-c", "exit 7"]).spawn().expect("a process");
        let pid = child.id() as i32;
        let fd = sys::pidfd(pid).expect("not reaped yet");
        assert!(sys::readable(fd.as_raw_fd(), Duration::from_secs(60)));
        if sys::is_root() {
            assert_eq!(wait(fd.as_raw_fd(), pid), Some(Status::Code(7)), "its zombie");
        }
        child.wait().expect("reaped");
        let known = if sys::exit_of(fd.as_raw_fd()).is_some() { Status::Code(7) } else { Status::Unknown };
        assert_eq!(wait(fd.as_raw_fd(), pid), Some(known));
    }
}
