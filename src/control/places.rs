//! Where things are: socket, run state, history.
//!
//! | | root | others |
//! |---|---|---|
//! | socket | `/run/woodward/ID.sock` | `$XDG_RUNTIME_DIR/woodward/ID.sock` |
//! | run state | `/run/woodward/ID/` | `$XDG_RUNTIME_DIR/woodward/ID/` |
//! | history | `/var/lib/woodward/ID/` | `$XDG_STATE_HOME/woodward/ID/`, else `~/.local/state` |
//!
//! Where the first is not to be had (no such directory, read-only), socket and run state go to `/tmp/woodward-UID/`,
//! then `/dev/shm/woodward-UID/`, `/dev/woodward-UID/` (in containers with a read-only root): mode 0700, owner checked, because others may write beside them. `--state DIR` puts
//! run state into `DIR/ID/run` and history into `DIR/ID/history`; `--socket` settles the socket. The settings
//! `runtime_directory` and `state_directory` take the place of the first two columns for all trees of a host; a
//! directory named there is used or refused, nothing else is tried.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use crate::settings::Settings;

/// Where the socket and the run state of root's daemons are.
pub const SYSTEM: &str = "/run/woodward";

/// Nowhere to put a socket or the run state.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {source}", .directory.display())]
pub struct PlacesError {
    /// The last directory tried.
    pub directory: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The places of one daemon. The directories exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Its socket; the file need not exist.
    pub socket: PathBuf,
    /// Run state, dies with the boot.
    pub run: PathBuf,
    /// History; `None`: nowhere to write it.
    pub history: Option<PathBuf>,
}

/// What a daemon leaves behind to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Directory of its history.
    pub history: Option<PathBuf>,
    /// Its run state of this boot.
    pub run: Option<PathBuf>,
}

/// What the places depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Effective user id.
    pub uid: u32,
    /// Directories for sockets and run state, best first.
    pub runtime: Vec<PathBuf>,
    /// The first of them was named by a setting: it is made as others may look into it, and left as it is.
    pub named: bool,
    /// Where clients look too: root's directory.
    pub others: Vec<PathBuf>,
    /// Directory for histories.
    pub state: Option<PathBuf>,
}

impl Host {
    /// This process's user and environment, and what the settings say.
    pub fn here(settings: &Settings) -> Host {
        let uid = geteuid().as_raw();
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let (first, state) = if uid == 0 {
            (Some(PathBuf::from(SYSTEM)), Some(PathBuf::from("/var/lib/woodward")))
        } else {
            let home = || from("HOME").map(|home| home.join(".local/state"));
            (
                from("XDG_RUNTIME_DIR").map(|dir| dir.join("woodward")),
                from("XDG_STATE_HOME").or_else(home).map(|dir| dir.join("woodward")),
            )
        };
        let shared = ["/tmp", "/dev/shm", "/dev"].map(|dir| PathBuf::from(format!("{dir}/woodward-{uid}")));
        let others = vec![PathBuf::from(SYSTEM)];
        let set = |directory: &PathBuf| Some(directory.clone()).filter(|dir| !dir.as_os_str().is_empty());
        let named = set(&settings.runtime_directory);
        let state = set(&settings.state_directory).or(state);
        match named {
            Some(runtime) => Host { uid, runtime: vec![runtime], named: true, others, state },
            None => {
                let runtime = first.into_iter().chain(shared).collect();
                Host { uid, runtime, named: false, others, state }
            }
        }
    }

    /// Directories in which a client looks for sockets: its own, then root's.
    pub fn searched(&self) -> Vec<PathBuf> {
        let mut all = self.runtime.clone();
        all.extend(self.others.iter().filter(|dir| !self.runtime.contains(dir)).cloned());
        all
    }

    /// The places of the daemon of tree `id`; makes the directories. Fails when no directory is usable; an unusable
    /// history directory is no failure.
    pub fn places(
        &self,
        id: &str,
        socket: Option<&Path>,
        state: Option<&Path>,
    ) -> Result<Places, PlacesError> {
        let (run, history) = match state {
            Some(dir) => (self.private(&dir.join(id).join("run"))?, dir.join(id).join("history")),
            None => (
                self.private(&self.runtime_dir()?.join(id))?,
                self.state.clone().unwrap_or_default().join(id),
            ),
        };
        let history = (state.is_some() || self.state.is_some()).then_some(history);
        Ok(Places {
            socket: match socket {
                Some(socket) => socket.to_owned(),
                None => self.runtime_dir()?.join(format!("{id}.sock")),
            },
            run,
            history: history.and_then(|dir| self.private(&dir).ok()),
        })
    }

    /// What there is to read of daemons that run or have run, by the names of their first trees.
    pub fn kept(&self, state: Option<&Path>) -> BTreeMap<String, Kept> {
        let mut found: BTreeMap<String, Kept> = BTreeMap::new();
        let name = |dir: &Path| Some(dir.file_name()?.to_str()?.to_owned());
        let (histories, below) = match (state, &self.state) {
            (Some(dir), _) => (entries(dir), "history"),
            (None, own) => (own.as_deref().map(entries).unwrap_or_default(), ""),
        };
        for dir in histories {
            let history = if below.is_empty() { dir.clone() } else { dir.join(below) };
            if let Some(id) = name(&dir).filter(|_| history.is_dir()) {
                found.entry(id).or_default().history = Some(history);
            }
        }
        let (runs, below) = match state {
            Some(dir) => (entries(dir), "run"),
            None => (self.runtime.iter().flat_map(|dir| entries(dir)).collect(), ""),
        };
        for dir in runs {
            let run = if below.is_empty() { dir.clone() } else { dir.join(below) };
            if let Some(id) = name(&dir).filter(|_| run.join("facts").exists()) {
                found.entry(id).or_default().run.get_or_insert(run);
            }
        }
        found
    }

    /// The first directory for sockets that is usable.
    fn runtime_dir(&self) -> Result<PathBuf, PlacesError> {
        let mut last = None;
        for dir in &self.runtime {
            match self.usable(dir) {
                Ok(()) => return Ok(dir.clone()),
                Err(source) => last = Some(PlacesError { directory: dir.clone(), source }),
            }
        }
        Err(last.unwrap_or_else(|| PlacesError {
            directory: PathBuf::from(SYSTEM),
            source: io::ErrorKind::NotFound.into(),
        }))
    }

    /// Makes `dir` if need be. Root's own is open to look into, so that others can be told whose daemon they see.
    fn usable(&self, dir: &Path) -> io::Result<()> {
        let mode = if self.is_open(dir) { 0o755 } else { 0o700 };
        if self.named {
            DirBuilder::new().mode(mode).recursive(true).create(dir)?;
        } else if !dir.is_dir() {
            // Only the last part: a missing `$XDG_RUNTIME_DIR` is not ours to make.
            DirBuilder::new().mode(mode).create(dir)?;
        }
        self.owned(dir)?;
        access(dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
    }

    /// Whether others may look into it.
    fn is_open(&self, dir: &Path) -> bool {
        self.named || dir == Path::new(SYSTEM)
    }

    /// A directory of our own, 0700, parents included.
    fn private(&self, dir: &Path) -> Result<PathBuf, PlacesError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| access(dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from));
        match made {
            Ok(()) => Ok(dir.to_owned()),
            Err(source) => Err(PlacesError { directory: dir.to_owned(), source }),
        }
    }

    /// In a directory where everybody may write, somebody else could have made ours first.
    fn owned(&self, dir: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(dir)?;
        if !meta.is_dir() || meta.uid() != self.uid {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"));
        }
        if self.named && meta.permissions().mode() & 0o022 != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may write there"));
        }
        if !self.is_open(dir) && meta.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }
}

/// Sockets of daemons in `dir`, sorted.
pub fn sockets(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        entries(dir).into_iter().filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    found.sort();
    found
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(runtime: &[&Path], state: Option<&Path>) -> Host {
        Host {
            uid: geteuid().as_raw(),
            runtime: runtime.iter().map(|dir| dir.to_path_buf()).collect(),
            named: false,
            others: Vec::new(),
            state: state.map(Path::to_path_buf),
        }
    }

    #[test]
    fn the_first_usable_directory_wins() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no/such");
        let good = dir.path().join("good");
        let places = host(&[&missing, &good], None).places("acs", None, None).unwrap();
        assert_eq!(places.socket, good.join("acs.sock"));
        assert_eq!(places.run, good.join("acs"));
        assert_eq!(places.history, None);
    }

    #[test]
    fn a_shared_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        host(&[&open], None).places("acs", None, None).unwrap();
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_put_there_by_somebody_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let error = host(&[&link], None).places("acs", None, None).unwrap_err();
        assert!(error.to_string().contains("belongs to somebody else"), "{error}");
    }

    #[test]
    fn state_takes_run_state_and_history() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(&[&dir.path().join("run")], None);
        let state = dir.path().join("state");
        let places = host.places("acs", None, Some(&state)).unwrap();
        assert_eq!(places.socket, dir.path().join("run/acs.sock"));
        assert_eq!(places.run, state.join("acs/run"));
        assert_eq!(places.history, Some(state.join("acs/history")));
        let kept = Kept { history: Some(state.join("acs/history")), run: None };
        assert_eq!(host.kept(Some(&state)), [("acs".to_owned(), kept.clone())].into());
        fs::write(state.join("acs/run/facts"), "").unwrap();
        let kept = Kept { run: Some(state.join("acs/run")), ..kept };
        assert_eq!(host.kept(Some(&state)), [("acs".to_owned(), kept)].into());
    }

    #[test]
    fn a_directory_that_was_named_is_used_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { runtime_directory: dir.path().join("a/b"), ..Settings::default() };
        settings.state_directory = dir.path().join("state");
        let places = Host::here(&settings).places("acs", None, None).unwrap();
        assert_eq!(places.socket, dir.path().join("a/b/acs.sock"));
        assert_eq!(places.history, Some(dir.path().join("state/acs")));
        let mode = |dir: &Path| fs::metadata(dir).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&settings.runtime_directory), mode(&places.run)), (0o755, 0o700));
        fs::set_permissions(&settings.runtime_directory, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Host::here(&settings).places("acs", None, None).unwrap_err();
        assert!(error.to_string().contains("others may write there"), "{error}");
    }

    #[test]
    fn an_unwritable_history_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let places = host(&[&dir.path().join("run")], Some(&file)).places("acs", None, None).unwrap();
        assert_eq!(places.history, None);
    }
}
