//! The sd_notify server: one datagram socket for all services.
//!
//! Whose message it is, the kernel tells: the sender's process id comes with each datagram, and its control group
//! (without control groups: its session) names the child and the generation. What a sender writes about itself
//! decides nothing. Senders that belong to no running generation are strangers: counted, reported, not obeyed.

use std::io;
use std::path::{Path, PathBuf};

use super::Os;

/// The server. Cheap to clone; ends with its last clone.
#[derive(Clone, Debug)]
pub struct NotifyServer {
    address: PathBuf,
}

/// One assignment of a message of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`.
    Ready,
    /// `RELOADING=1`.
    Reloading,
    /// `STOPPING=1`.
    Stopping,
    /// `STATUS=text`.
    Status(String),
    /// `MAINPID=n`: noted only, the main process is the one woodward started.
    MainPid(i32),
}

/// A sender that belongs to no running generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Its process id.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

impl NotifyServer {
    /// Binds `file` (an old one is removed), open to all users of the machine: senders are checked one by one. Must be
    /// called inside the tokio runtime. `stranger` is told of each message that is not obeyed.
    pub fn open(
        os: &Os,
        file: &Path,
        stranger: impl FnMut(Stranger) + Send + 'static,
    ) -> io::Result<NotifyServer> {
        let _ = (os, stranger);
        Ok(NotifyServer { address: file.to_path_buf() })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &Path {
        &self.address
    }

    /// From now on the messages of this generation go to `sink`, from the daemon's one thread; it must not block. Replaces
    /// the sink of an older generation.
    pub fn listen(&self, path: &str, generation: u64, sink: impl FnMut(Notice) + Send + 'static) {
        let _ = (path, generation, sink);
        todo!()
    }

    /// No longer.
    pub fn mute(&self, path: &str) {
        let _ = path;
        todo!()
    }

    /// Messages of strangers so far.
    pub fn strangers(&self) -> u64 {
        todo!()
    }
}
