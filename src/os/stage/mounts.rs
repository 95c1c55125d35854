//! A mount namespace of the service's own. It goes with its last process, and everything in it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Mounts, Stop, check};

/// Devices of `harden = "strict"`.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Whole directories of devices that stay.
const DIRECTORIES: [&str; 4] = ["pts", "shm", "mqueue", "hugepages"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Of `/proc`: what sets the kernel.
const TUNABLES: [&str; 7] = ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "mtrr"];

const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const MOUNT_ATTR_RDONLY: u64 = 1;

#[repr(C)]
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

pub(super) fn make(mounts: &Mounts) -> Result<(), Stop> {
    if mounts.user_namespace {
        user_namespace().map_err(Stop::own("user namespace"))?;
    }
    // SAFETY: plain call; this process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map_err(Stop::own("mount namespace"))?;
    // Nothing of what follows is seen outside; what is unmounted there, goes here too.
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_SLAVE, None)
        .map_err(Stop::own("mount namespace"))?;
    if let Some(writable) = &mounts.strict {
        strict(writable)?;
    }
    if mounts.private_tmp {
        for tmp in ["/tmp", "/var/tmp"].map(Path::new).into_iter().filter(|tmp| tmp.is_dir()) {
            temporary(tmp, "mode=1777").map_err(Stop::own(format!("private {}", tmp.display())))?;
        }
    }
    for path in &mounts.read_only {
        read_only(path).map_err(Stop::own(format!("read-only path {}", path.display())))?;
    }
    Ok(())
}

/// Same user, same group, in a namespace in which this process may mount.
fn user_namespace() -> io::Result<()> {
    // SAFETY: plain calls; this process has one thread.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: as above.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Everything read-only, but the service's own directories and what the kernel or memory is behind. What stays as it
/// is, is taken out before and put back on top.
fn strict(writable: &[PathBuf]) -> Result<(), Stop> {
    let mut kept = Vec::new();
    for path in writable.iter().map(PathBuf::as_path).chain([Path::new("/proc")]) {
        let tree = open_tree(path).map_err(Stop::own(format!("directory {}", path.display())))?;
        kept.push((path, tree));
    }
    let dev = Path::new("/dev");
    let mut devices = Vec::new();
    for path in DEVICES.iter().chain(&DIRECTORIES).map(|name| dev.join(name)).filter(|path| path.exists()) {
        let tree = open_tree(&path).map_err(Stop::own(format!("device {}", path.display())))?;
        let directory = path.is_dir();
        devices.push((path, tree, directory));
    }
    set_read_only(Path::new("/")).map_err(Stop::own("read-only system"))?;
    for (path, tree) in kept {
        attach(&tree, path).map_err(Stop::own(format!("directory {}", path.display())))?;
    }
    let few = || {
        temporary(dev, "mode=755")?;
        for (path, tree, directory) in devices {
            if directory {
                fs::create_dir(&path)?
            } else {
                drop(fs::File::create(&path)?)
            }
            attach(&tree, &path)?;
        }
        LINKS.iter().try_for_each(|(name, to)| symlink(to, dev.join(name)))
    };
    few().map_err(Stop::own("private devices"))?;
    for tunable in TUNABLES.map(|name| Path::new("/proc").join(name)).iter().filter(|path| path.exists()) {
        read_only(tunable).map_err(Stop::own(format!("kernel tunables {}", tunable.display())))?;
    }
    Ok(())
}

/// What is mounted at a path, with everything below, once more and nowhere yet. Nodes of devices are taken so: nobody
/// but root could make them anew.
fn open_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = text(path)?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: a C string; the descriptor is new.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

fn temporary(at: &Path, options: &str) -> io::Result<()> {
    mount(Some("tmpfs"), at, Some("tmpfs"), libc::MS_NOSUID | libc::MS_STRICTATIME, Some(options))
}

fn attach(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    let at = text(at)?;
    // SAFETY: C strings; the descriptor is open.
    check(unsafe {
        let (empty, flags) = (c"".as_ptr(), MOVE_MOUNT_F_EMPTY_PATH);
        libc::syscall(libc::SYS_move_mount, tree.as_raw_fd(), empty, libc::AT_FDCWD, at.as_ptr(), flags)
    })?;
    Ok(())
}

/// A mount of its own, set apart from what is around it.
fn read_only(path: &Path) -> io::Result<()> {
    attach(&open_tree(path)?, path)?;
    set_read_only(path)
}

/// With everything that is mounted below.
fn set_read_only(path: &Path) -> io::Result<()> {
    let path = text(path)?;
    let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    // SAFETY: reads `attributes` and a C string.
    check(unsafe {
        let (at, flags, size) = (path.as_ptr(), libc::AT_RECURSIVE, size_of::<Attributes>());
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, at, flags, &raw const attributes, size)
    })?;
    Ok(())
}

fn mount(
    what: Option<&str>,
    at: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    options: Option<&str>,
) -> io::Result<()> {
    let or_null = |text: Option<&str>| text.map(CString::new).transpose();
    let (what, kind, options) = (or_null(what)?, or_null(kind)?, or_null(options)?);
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    let at = text(at)?;
    // SAFETY: C strings or null.
    check(unsafe {
        libc::mount(pointer(&what), at.as_ptr(), pointer(&kind), flags, pointer(&options).cast())
    })?;
    Ok(())
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
