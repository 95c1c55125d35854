//! A tree that runs inside this program.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use woodward_engine::effect::TreeEnd;

use super::{BuildError, Builder, child};
use crate::control::{BindError, Door, bind, serve};
use crate::os::notify::NotifyServer;
use crate::os::{self, Os};
use crate::record::view::State;
use crate::record::{Places, Record, Who};
use crate::runtime::applied::Applied;
use crate::runtime::faults::Faults;
use crate::runtime::groups::Groups;
use crate::runtime::{self, Ends, Handle, Surroundings};

/// How long the end of the tree waits for services that are in no plan.
const EVICT_WITHIN: Duration = Duration::from_secs(10);

/// The view is looked at so often while somebody waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a tree was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It makes no sense.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its socket.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// Everything else.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// The kernel is gone: how the tree ended is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot tell how the tree ended: its kernel has failed")]
pub struct Lost;

/// A tree that runs. Dropped, it is told to stop, but nobody waits for that: better [`Running::stop`].
pub struct Running {
    handle: Handle,
    ended: oneshot::Receiver<Ends>,
    /// Answers on the socket, if there is one.
    server: Option<JoinHandle<io::Result<()>>>,
    _directory: Directory,
}

pub(super) async fn start(builder: Builder) -> Result<Running, StartError> {
    let (plan, tasks) = child::plan(&builder.tree)?;
    let failed = |what: &'static str| move |source: io::Error| StartError::Io { what, source };
    let directory =
        Directory::open(builder.directory).map_err(failed("make the directory of the run state"))?;
    let keeper = os::library().map_err(failed("start the keeper's thread"))?;
    let os = Os::connect(keeper, &directory.path).await.map_err(failed("reach the keeper's thread"))?;
    let places = Places { console: builder.console, ..Places::new(directory.path.clone(), builder.history) };
    let record = Record::open(places, Some(os.clone())).map_err(failed("keep records"))?;
    let notify = NotifyServer::open(&os, &directory.path.join("notify"), |_| ());
    let notify = notify.map_err(failed("listen for sd_notify"))?;
    let listener = match &builder.socket {
        Some(socket) => {
            Some(UnixListener::from_std(bind(socket, None)?).map_err(failed("listen on the socket"))?)
        }
        None => None,
    };
    let surroundings = Surroundings {
        faults: Faults::new(false, os.clone(), record.clone(), None),
        os,
        notify: Some(notify),
        record,
        run: None,
        evict_within: EVICT_WITHIN,
        applied: Applied::default(),
        groups: Groups::default(),
        tasks,
    };
    let (handle, ended) = runtime::start(surroundings, vec![plan]).await;
    while handle.view().rows().next().is_none() && ended.is_empty() {
        // Its first turn publishes the tree.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let door = Door {
        group: None,
        settings: Vec::new(),
        upgrades: None,
        #[cfg(feature = "full")]
        cluster: None,
    };
    let server = listener.map(|listener| tokio::spawn(serve(handle.clone(), listener, door)));
    Ok(Running { handle, ended, server, _directory: directory })
}

impl Running {
    /// To look at it and to ask it for things: requests, the published view, facts and lines.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Resolves when every child is up, or has done its work: true; or when the tree is over before that: false.
    pub async fn ready(&self) -> bool {
        loop {
            let view = self.handle.view();
            let root = view.rows().next().map(|row| row.state);
            match root {
                Some(State::Stopped | State::Parked) => return false,
                Some(_) if view.rows().all(|row| matches!(row.state, State::Up | State::Done)) => {
                    return true;
                }
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Resolves when the tree has ended by itself: it gave up, or shut down as its significant children had ended.
    ///
    /// # Errors
    /// The kernel failed.
    pub async fn ended(&mut self) -> Result<TreeEnd, Lost> {
        let ends = (&mut self.ended).await.map_err(|_| Lost)?;
        ends.into_iter().next().map(|(_, end)| end).ok_or(Lost)
    }

    /// Stops everything in order and waits until nothing of it is left.
    ///
    /// # Errors
    /// The kernel failed.
    pub async fn stop(mut self) -> Result<TreeEnd, Lost> {
        self.handle.shut_down(Who::default());
        let end = self.ended().await;
        if let Some(server) = self.server.take() {
            server.abort();
            // Dropping the server removes its socket.
            let _ = server.await;
        }
        self.handle.record().close().await;
        end
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shut_down(Who::default());
        self.server.iter().for_each(JoinHandle::abort);
    }
}

/// Where the run state is.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Made here, so removed here.
    ours: bool,
}

impl Directory {
    fn open(wanted: Option<PathBuf>) -> io::Result<Directory> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if let Some(path) = wanted {
            make(&path, true)?;
            return Ok(Directory { path, ours: false });
        }
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("woodward-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match make(&path, false) {
                Ok(()) => return Ok(Directory { path, ours: true }),
                // Left behind by a program that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// For the owner only: whoever may write there could pretend to be a service.
fn make(path: &Path, recursive: bool) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(recursive).create(path)
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.ours {
            // What is left of it is left in a directory for temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
