//! Control groups: who belongs to a generation, and the proof that nothing of it is left.
//!
//! ```text
//! <own group>/woodward-<state directory's number>/acs/naming/17
//!             └ cgroup.kill of all, held by the keeper    └ generation: all its processes, from their first instruction
//! ```
//!
//! Any writable v2 hierarchy will do, with or without controllers, so also `/sys/fs/cgroup/unified` of hybrid
//! hosts. There is none? Then [`super::family`] does what can be done with sessions and the sub-reaper.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{Interest, unix::AsyncFd};

use super::stage::is_warden;
use crate::tree::resources::SELF;

/// File of the state directory that tells where the groups are.
const NOTE: &str = "cgroup";

/// Where this woodward's groups are.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: PathBuf,
    /// The same as `/proc/PID/cgroup` spells it.
    name: String,
}

/// The name of a woodward's directory.
pub(super) fn id_of(state: &Path) -> io::Result<String> {
    let state = fs::metadata(state)?;
    Ok(format!("woodward-{:x}-{:x}", state.dev(), state.ino()))
}

impl Cgroups {
    /// Finds the hierarchy and makes the directory of this state directory in it. `None`: there is none that
    /// can be used.
    pub fn find(state: &Path) -> Option<Cgroups> {
        if let Some(former) = Cgroups::former(state) {
            return Some(former);
        }
        let own = group_of("self")?;
        // What keeper and daemon may have made for themselves is not what services are in.
        let own = own.strip_suffix(SELF).map_or(own.as_str(), |own| own.trim_end_matches('/'));
        let own = if own.is_empty() { "/" } else { own };
        let mount = mounted(own)?;
        let id = id_of(state).ok()?;
        let root = mount.join(&id);
        match fs::create_dir(&root) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        // A process may be put somewhere else only by those who may write where it comes from, too.
        File::options().write(true).open(mount.join("cgroup.procs")).ok()?;
        File::options().write(true).open(root.join("cgroup.procs")).ok()?;
        let name = format!("{}/{id}", own.trim_end_matches('/'));
        // What cannot be noted is found again as long as woodward is run from the same place.
        let _ = fs::write(state.join(NOTE), format!("{}\n{name}\n", root.display()));
        Some(Cgroups { root, name })
    }

    /// Where an earlier woodward with this state directory had its groups, if there is still somebody in them:
    /// it may have been run from another group.
    fn former(state: &Path) -> Option<Cgroups> {
        let note = fs::read_to_string(state.join(NOTE)).ok()?;
        let mut lines = note.lines();
        let (root, name) = (PathBuf::from(lines.next()?), lines.next()?.to_owned());
        (!Group::new(root.clone()).is_empty()).then_some(Cgroups { root, name })
    }

    /// Kills everything in all groups when a `1` is written to it.
    pub fn kill_file(&self) -> io::Result<OwnedFd> {
        File::options().write(true).open(self.root.join("cgroup.kill")).map(OwnedFd::from)
    }

    /// The directory of all.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The group of a generation; it need not exist.
    pub fn group(&self, path: &str, generation: u64) -> Group {
        let mut dir = self.root.clone();
        dir.extend(path.split('/').map(escape));
        dir.push(generation.to_string());
        Group::new(dir)
    }

    /// The group of a whole tree.
    pub fn tree(&self, tree: &str) -> Group {
        Group::new(self.root.join(escape(tree)))
    }

    /// `PATH/GENERATION`, and what may be below it, of the group a process is in.
    pub fn owner(&self, pid: i32) -> Option<String> {
        let group = group_of(&pid.to_string())?;
        let rest = group.strip_prefix(&self.name)?.strip_prefix('/')?;
        Some(rest.split('/').map(unescape).collect::<Vec<_>>().join("/"))
    }

    /// `PATH/GENERATION`, and what may be below it, of a directory.
    pub fn place(&self, directory: &Path) -> Option<String> {
        let parts = directory.strip_prefix(&self.root).ok()?.iter().map(|part| part.to_str().map(unescape));
        Some(parts.collect::<Option<Vec<&str>>>()?.join("/"))
    }

    /// Everything that is there.
    pub fn all(&self) -> Vec<Group> {
        let mut found = Vec::new();
        let mut todo = vec![self.root.clone()];
        while let Some(dir) = todo.pop() {
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            todo.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            found.push(Group::new(dir));
        }
        found
    }
}

/// One generation's directory.
#[derive(Clone, Debug)]
pub(super) struct Group {
    dir: PathBuf,
    /// `cgroup.kill` was used: the kernel then kills what is cloned into it later, too.
    killed: Arc<AtomicBool>,
}

impl PartialEq for Group {
    fn eq(&self, other: &Group) -> bool {
        self.dir == other.dir
    }
}

impl Group {
    fn new(dir: PathBuf) -> Group {
        Group { dir, killed: Arc::new(AtomicBool::new(false)) }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Makes it, if need be, and opens it for a start.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let killed = self.killed.load(Ordering::Relaxed);
        let mut dir = &self.dir;
        let below = self.dir.join("again");
        if killed {
            // A new one in its place, or, while there is something in it, below it.
            if fs::remove_dir(dir).is_ok() {
                self.killed.store(false, Ordering::Relaxed);
            } else {
                let _ = fs::remove_dir(&below);
                dir = &below;
            }
        }
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(dir)?,
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let flags = libc::O_DIRECTORY | libc::O_PATH;
        File::options().read(true).custom_flags(flags).open(dir).map(OwnedFd::from)
    }

    /// Nothing but zombies in it.
    pub fn is_empty(&self) -> bool {
        match File::open(self.dir.join("cgroup.events")) {
            Ok(mut events) => is_empty(&mut events),
            Err(_) => true,
        }
    }

    /// SIGKILL to everything in it. Kernels before 5.14 have no `cgroup.kill`.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        match fs::write(self.dir.join("cgroup.kill"), "1") {
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.signal(libc::SIGKILL),
            _ => {}
        }
    }

    /// The processes in it.
    pub fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The processes in it and below it.
    pub fn all_processes(&self) -> Vec<i32> {
        let below = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let below = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| Group::new(e.path()));
        self.processes().into_iter().chain(below.flat_map(|group| group.all_processes())).collect()
    }

    /// A signal to each process in it, but not to those that would pass it on to others of it.
    pub fn signal(&self, signal: i32) {
        for pid in self.processes().into_iter().filter(|&pid| signal == libc::SIGKILL || !is_warden(pid)) {
            // SAFETY: plain call.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Returns when nothing is left; with `kill` it kills, again and again.
    pub async fn emptied(&self, kill: bool) {
        let Ok(events) = File::open(self.dir.join("cgroup.events")) else { return };
        // SAFETY: a file's descriptor stays the same and open as long as the file.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::PRIORITY) };
        let Ok(mut events) = events else { return };
        while !is_empty(events.get_mut()) {
            if kill {
                self.kill();
            }
            if is_empty(events.get_mut()) {
                return;
            }
            // The kernel wakes us when it becomes empty; a process that was just being forked may need one
            // more kill.
            let pause = if kill { Duration::from_millis(100) } else { Duration::MAX };
            let _ = tokio::time::timeout(pause, async {
                if let Ok(mut ready) = events.ready(Interest::PRIORITY).await {
                    ready.clear_ready();
                }
            })
            .await;
        }
    }

    /// Removes an empty one, and what was made below it.
    pub fn remove(&self) {
        if fs::remove_dir(&self.dir).is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY)) && self.is_empty()
        {
            for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    Group::new(entry.path()).remove();
                }
            }
            let _ = fs::remove_dir(&self.dir);
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the child, above that of the generation.
    pub fn parent(&self) -> Group {
        Group::new(self.dir.parent().map_or_else(PathBuf::new, Path::to_path_buf))
    }
}

fn is_empty(events: &mut File) -> bool {
    let mut text = [0; 128];
    let n = io::Seek::rewind(events).and_then(|()| events.read(&mut text)).unwrap_or(0);
    // An error: it has been removed.
    !text[..n].windows(11).any(|w| w == b"populated 1")
}

/// The directory of the group that this process itself is in.
pub(super) fn own_directory() -> Option<PathBuf> {
    mounted(&group_of("self")?)
}

/// The directory of a group of the v2 hierarchy.
fn mounted(group: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        // Mounted is the part of the hierarchy below `root`.
        let below = Path::new(group).strip_prefix(root).ok()?;
        after.starts_with("cgroup2 ").then(|| Path::new(at).join(below))
    })
}

/// How deep a directory is in the v2 hierarchy; its root, as this process sees it, is 0.
#[cfg(feature = "full")]
pub(super) fn level(directory: &Path) -> Option<u32> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let depth = |path: &Path| path.iter().filter(|part| *part != "/").count();
    let levels = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (Path::new(fields.next()?), Path::new(fields.next()?));
        let below = directory.strip_prefix(at).ok()?;
        let inside = after.starts_with("cgroup2 ") && !root.starts_with("/..");
        inside.then(|| (depth(at), depth(root) + depth(below)))
    });
    // The innermost mount is the one that is seen.
    levels.max().map(|(_, level)| level as u32)
}

/// What `/proc/PID/cgroup` says of the v2 hierarchy.
pub(super) fn group_of(pid: &str) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(|group| group.trim_end_matches(" (deleted)").to_owned())
}

/// The kernel's own files all have a dot in their names.
pub(super) fn escape(id: &str) -> String {
    if id.contains('.') || id.starts_with('_') { format!("_{id}") } else { id.to_owned() }
}

fn unescape(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_child_can_be_taken_for_a_file_of_the_kernel() {
        for id in ["naming", "cgroup.procs", "_x", "..", "memory.max", "a.b"] {
            assert_eq!(unescape(&escape(id)), id);
        }
        assert_eq!(escape("cgroup.procs"), "_cgroup.procs");
        assert_eq!(escape(".."), "_..");
    }
}
