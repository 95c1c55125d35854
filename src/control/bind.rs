//! The listening end: one daemon per socket, mode 0600 (0660 for a group that is let in), stale ones replaced.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, chown};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there: exit 75.
    #[error("cannot listen on {}: woodward runs there already, pid {pid}", .socket.display())]
    Running {
        /// Where.
        socket: PathBuf,
        /// The daemon (its keeper, if that holds the socket).
        pid: i32,
    },
    /// Something else has the name.
    #[error("cannot listen on {}: it is there and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// Anything else.
    #[error("cannot listen on {}: {source}", .socket.display())]
    Io {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How often a socket may vanish under our hands: a daemon that is about to end removes its own.
const ATTEMPTS: usize = 10;

/// Listens on `socket`, for its owner and the members of `group`. A socket nobody answers on is removed first.
pub fn bind(socket: &Path, group: Option<Gid>) -> Result<UnixListener, BindError> {
    let vanished = |error: &BindError| matches!(error, BindError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    let mut last = bind_once(socket, group);
    for _ in 1..ATTEMPTS {
        match last {
            Err(error) if vanished(&error) => last = bind_once(socket, group),
            _ => break,
        }
    }
    last
}

fn bind_once(socket: &Path, group: Option<Gid>) -> Result<UnixListener, BindError> {
    let io = |source| BindError::Io { socket: socket.to_owned(), source };
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NotASocket(socket.to_owned())),
        Ok(_) => match UnixStream::connect(socket) {
            Ok(stream) => {
                let pid = getsockopt(&stream, PeerCredentials).map_or(0, |peer| peer.pid());
                return Err(BindError::Running { socket: socket.to_owned(), pid });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(socket).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        },
    }
    let listener = UnixListener::bind(socket).map_err(io)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(io)?;
    if let Some(group) = group {
        chown(socket, None, Some(group)).map_err(|error| io(error.into()))?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o660)).map_err(io)?;
    }
    listener.set_nonblocking(true).map_err(io)?;
    Ok(listener)
}

/// Removes the socket file when dropped, unless another daemon has put its own there meanwhile.
pub(super) struct Unlink {
    socket: PathBuf,
    file: FileId,
}

/// Number and last change: the number alone may be given to the next file at once.
type FileId = (u64, i64, i64);

fn file_id(socket: &Path) -> Option<FileId> {
    let meta = fs::symlink_metadata(socket).ok()?;
    Some((meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

impl Unlink {
    /// For the file `listener` is bound to.
    pub(super) fn of(listener: &tokio::net::UnixListener) -> Option<Unlink> {
        let socket = listener.local_addr().ok()?.as_pathname()?.to_owned();
        let file = file_id(&socket)?;
        Some(Unlink { socket, file })
    }
}

impl Drop for Unlink {
    fn drop(&mut self) {
        if file_id(&self.socket) == Some(self.file) {
            // Nobody is left to be told; the next daemon removes it.
            let _ = fs::remove_file(&self.socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _listener = bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_group_that_is_let_in_owns_the_socket_with_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let own = nix::unistd::getegid();
        let _listener = bind(&path, Some(own)).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.gid()), (0o660, own.as_raw()));
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(bind(&path, None).unwrap());
        assert!(path.exists());
        let _listener = bind(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_second_daemon_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _listener = bind(&path, None).unwrap();
        match bind(&path, None) {
            Err(BindError::Running { pid, .. }) => assert_eq!(pid, std::process::id().cast_signed()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_of_that_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path, None), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
