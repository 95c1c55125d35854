//! What is left of a run that nobody serves any more, and that nobody is to go on with.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::tab::{self, Stage, Tab};
use crate::{setup, sys};

/// Ends the main processes a keeper of this state directory has left: SIGTERM, those started last first, SIGKILL to
/// those that live on after `within`. `rest` is called then, to end what they have left behind, before the table is
/// emptied. How many there were; `Err` inside: a keeper serves them, its process id.
pub fn sweep(state: &Path, within: Duration, rest: impl FnOnce()) -> io::Result<Result<usize, i32>> {
    let _lock = match setup::lock(state)? {
        Ok(lock) => lock,
        Err(pid) => return Ok(Err(pid)),
    };
    let (mut tab, past) = Tab::open(state)?;
    let alive = past.iter().filter(|(_, mark)| mark.stage == Stage::Alive);
    let mut left: Vec<(bool, u64, OwnedFd)> = alive
        .filter_map(|(at, mark)| Some((*at == tab::DAEMON, mark.order, mark.identity.open()?)))
        .collect();
    left.sort_by_key(|(daemon, order, _)| (!daemon, std::cmp::Reverse(*order)));
    for (daemon, _, pidfd) in &left {
        sys::signal(pidfd.as_raw_fd(), if *daemon { libc::SIGKILL } else { libc::SIGTERM }, false);
    }
    let end = sys::now() + within.as_nanos() as u64;
    for (_, _, pidfd) in &left {
        if !sys::readable(pidfd.as_raw_fd(), Duration::from_nanos(end.saturating_sub(sys::now()))) {
            sys::signal(pidfd.as_raw_fd(), libc::SIGKILL, false);
            sys::signal(pidfd.as_raw_fd(), libc::SIGKILL, true);
        }
    }
    rest();
    for (at, mut mark) in past {
        mark.stage = Stage::Idle;
        tab.write(at, &mark);
    }
    Ok(Ok(left.iter().filter(|(daemon, ..)| !daemon).count()))
}
