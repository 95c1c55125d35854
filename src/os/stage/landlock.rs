//! Read-only paths without root: Landlock takes the right to write from everything but what is listed.
//!
//! Landlock only knows what is allowed, so what is *not* read-only is listed: everything beside the read-only paths
//! and their parents, as it is at the start. What is made beside them later is not among it.

use std::fs;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Stop, check};

const WRITE_FILE: u64 = 1 << 1;
/// Removing and making of every kind: bits 4 to 12.
const MAKE_AND_REMOVE: u64 = 0x1ff0;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const VERSION: u32 = 1;
const PATH_BENEATH: u32 = 1;

/// From now on these cannot be written. no_new_privileges must be set.
pub(super) fn protect(read_only: &[PathBuf]) -> Result<(), Stop> {
    let real = |path: &PathBuf| {
        fs::canonicalize(path).map_err(Stop::own(format!("read-only path {}", path.display())))
    };
    let read_only = read_only.iter().map(real).collect::<Result<Vec<_>, _>>()?;
    restrict(&all_but(&read_only))
}

/// What can be written when these cannot.
fn all_but(read_only: &[PathBuf]) -> Vec<PathBuf> {
    let mut writable = Vec::new();
    let mut todo = vec![PathBuf::from("/")];
    while let Some(dir) = todo.pop() {
        if read_only.iter().any(|path| dir.starts_with(path)) {
            continue;
        }
        if !read_only.iter().any(|path| path.starts_with(&dir)) {
            writable.push(dir);
            continue;
        }
        let below = fs::read_dir(&dir).into_iter().flatten().flatten();
        // A link leads to something that is listed itself.
        todo.extend(below.filter(|e| e.file_type().is_ok_and(|t| !t.is_symlink())).map(|e| e.path()));
    }
    writable
}

#[repr(C)]
struct Ruleset {
    handled: u64,
}

#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// From now on nothing can be written but below these.
fn restrict(writable: &[PathBuf]) -> Result<(), Stop> {
    let wrong = || Stop::own("read-only paths by Landlock");
    // SAFETY: asks for the version.
    let version = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0usize, VERSION)
    })
    .map_err(wrong())?;
    let mut handled = WRITE_FILE | MAKE_AND_REMOVE;
    if version >= 2 {
        handled |= REFER;
    }
    if version >= 3 {
        handled |= TRUNCATE;
    }
    let ruleset = Ruleset { handled };
    // SAFETY: reads `ruleset`; the descriptor is new.
    let rules = unsafe {
        let size = size_of::<Ruleset>();
        let fd = check(libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0))
            .map_err(wrong())?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    for path in writable {
        allow(&rules, path, handled).map_err(Stop::own(format!("writable path {}", path.display())))?;
    }
    // SAFETY: plain call.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) })
        .map_err(wrong())?;
    Ok(())
}

/// What cannot be opened cannot be written either.
fn allow(rules: &OwnedFd, path: &Path, handled: u64) -> std::io::Result<()> {
    let Ok(parent) = File::options().read(true).custom_flags(libc::O_PATH).open(path) else { return Ok(()) };
    let of_files = WRITE_FILE | TRUNCATE;
    let allowed = if parent.metadata()?.is_dir() { handled } else { handled & of_files };
    let beneath = Beneath { allowed, parent: parent.as_raw_fd() };
    // SAFETY: reads `beneath`.
    check(unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), PATH_BENEATH, &raw const beneath, 0)
    })?;
    Ok(())
}
