//! The sd_notify server: one datagram socket for all services.
//!
//! Whose message it is, the kernel tells: the sender's process id comes with each datagram, and its control
//! group (without control groups: its session) names the child and the generation. What a sender writes about
//! itself decides nothing. Senders that belong to no running generation are strangers: counted, reported, not
//! obeyed.

use std::collections::HashMap;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::task::AbortHandle;

use super::Os;

/// The server. Cheap to clone; ends with its last clone.
#[derive(Clone, Debug)]
pub struct NotifyServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: PathBuf,
    task: AbortHandle,
    ears: Arc<Ears>,
}

/// Who listens.
#[derive(Default)]
struct Ears {
    sinks: Mutex<HashMap<Box<str>, Ear>>,
    strangers: AtomicU64,
}

struct Ear {
    generation: u64,
    /// Away while it is being called.
    sink: Option<Sink>,
}

type Sink = Box<dyn FnMut(Notice) + Send>;

/// The socket's name among what the keeper holds.
const KEPT: &str = "notify";
/// Bytes of the longest message; longer ones are cut.
const LONGEST: usize = 4096;

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
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it says itself that it hangs.
    Trigger,
    /// `WATCHDOG_USEC=n`: it will say that it is alive at least this often from now on.
    WatchdogEvery(Duration),
    /// `EXTEND_TIMEOUT_USEC=n`: it needs so much longer; noted only.
    Extend(Duration),
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
    /// Binds `file` (an old one is removed), open to all users of the machine: senders are checked one by
    /// one. The socket of a daemon that was killed is taken over, with what was sent to it meanwhile. Must be
    /// called inside the tokio runtime. `stranger` is told of each message that is not obeyed.
    pub fn open(
        os: &Os,
        file: &Path,
        stranger: impl FnMut(Stranger) + Send + 'static,
    ) -> io::Result<NotifyServer> {
        let socket = match os.kept(KEPT).filter(|_| fs::symlink_metadata(file).is_ok()) {
            Some(kept) => UnixDatagram::from_std(OwnedFd::try_clone(&kept)?.into())?,
            None => bind(os, file)?,
        };
        let ears = Arc::new(Ears::default());
        let task = tokio::spawn(serve(socket, os.clone(), Arc::downgrade(&ears), stranger)).abort_handle();
        Ok(NotifyServer { shared: Arc::new(Shared { address: file.to_path_buf(), task, ears }) })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &Path {
        &self.shared.address
    }

    /// From now on the messages of this generation go to `sink`, from the daemon's one thread; it must not
    /// block. Replaces the sink of an older generation.
    pub fn listen(&self, path: &str, generation: u64, sink: impl FnMut(Notice) + Send + 'static) {
        let ear = Ear { generation, sink: Some(Box::new(sink)) };
        self.shared.ears.lock().insert(path.into(), ear);
    }

    /// No longer.
    pub fn mute(&self, path: &str) {
        self.shared.ears.lock().remove(path);
    }

    /// Messages of strangers so far.
    pub fn strangers(&self) -> u64 {
        self.shared.ears.strangers.load(Ordering::Relaxed)
    }
}

fn bind(os: &Os, file: &Path) -> io::Result<UnixDatagram> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = UnixDatagram::bind(file)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o666))?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    os.keep(KEPT, Arc::new(socket.as_fd().try_clone_to_owned()?));
    Ok(socket)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.address);
    }
}

impl Ears {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Ear>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the sink of this generation, without the lock: it may listen or mute.
    fn tell(&self, path: &str, generation: u64, notices: Vec<Notice>) {
        let sink =
            self.lock().get_mut(path).filter(|e| e.generation == generation).and_then(|e| e.sink.take());
        let Some(mut sink) = sink else { return };
        notices.into_iter().for_each(&mut sink);
        if let Some(ear) =
            self.lock().get_mut(path).filter(|e| e.generation == generation && e.sink.is_none())
        {
            ear.sink = Some(sink);
        }
    }
}

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ears").field("strangers", &self.strangers).finish_non_exhaustive()
    }
}

async fn serve(
    socket: UnixDatagram,
    os: Os,
    ears: Weak<Ears>,
    mut stranger: impl FnMut(Stranger) + Send + 'static,
) {
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(&socket)).await;
        let Some(ears) = ears.upgrade() else { return };
        let Ok((text, Some(sender))) = received else { continue };
        match os.client.owner(sender.pid()) {
            Some((path, generation)) => ears.tell(&path, generation, parse(&text)),
            None => {
                ears.strangers.fetch_add(1, Ordering::Relaxed);
                stranger(Stranger { pid: sender.pid(), uid: sender.uid() });
            }
        }
    }
}

/// One datagram and who sent it. Descriptors that come with it are closed: that is what `BARRIER=1` waits
/// for.
fn receive(socket: &UnixDatagram) -> io::Result<(String, Option<UnixCredentials>)> {
    let mut buffer = [0; LONGEST];
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut pieces = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(&mut space), flags)?;
    let sender = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(sender) => Some(sender),
        _ => None,
    });
    let length = message.bytes;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), sender))
}

fn parse(text: &str) -> Vec<Notice> {
    let notice = |line: &str| {
        let (name, value) = line.split_once('=')?;
        match (name, value) {
            ("READY", "1") => Some(Notice::Ready),
            ("RELOADING", "1") => Some(Notice::Reloading),
            ("STOPPING", "1") => Some(Notice::Stopping),
            ("STATUS", text) => Some(Notice::Status(text.to_owned())),
            ("MAINPID", pid) => pid.parse().ok().map(Notice::MainPid),
            ("WATCHDOG", "1") => Some(Notice::Alive),
            ("WATCHDOG", "trigger") => Some(Notice::Trigger),
            ("WATCHDOG_USEC", n) => micros(n).map(Notice::WatchdogEvery),
            ("EXTEND_TIMEOUT_USEC", n) => micros(n).map(Notice::Extend),
            _ => None,
        }
    };
    text.lines().filter_map(notice).collect()
}

/// A time in microseconds; none and for ever are nothing that can be kept.
fn micros(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|&n| n > 0 && n < u64::MAX).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_assignments_count() {
        let text = "READY=1\nSTATUS=a=b\nMAINPID=x\nMAINPID=12\nREADY=0\nnonsense\nSTOPPING=1";
        let notices =
            [Notice::Ready, Notice::Status("a=b".to_owned()), Notice::MainPid(12), Notice::Stopping];
        assert_eq!(parse(text), notices);

        let text = "WATCHDOG=1\nWATCHDOG=2\nWATCHDOG=trigger\nWATCHDOG_USEC=0\nWATCHDOG_USEC=2500\n\
                    EXTEND_TIMEOUT_USEC=1000000\nEXTEND_TIMEOUT_USEC=x";
        let every = Notice::WatchdogEvery(Duration::from_micros(2500));
        let notices = [Notice::Alive, Notice::Trigger, every, Notice::Extend(Duration::from_secs(1))];
        assert_eq!(parse(text), notices);
    }
}
