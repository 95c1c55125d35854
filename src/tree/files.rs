//! The files that readings see: those on the disk, or as they were when an earlier reading saw them.
//!
//! Every reading remembers what it was told: contents, the names of layers, where a link leads. So that what was
//! applied can be planned again, whatever lies on the disk by then.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Where a reading gets its files from. Clones share what they remember.
#[derive(Clone, Debug, Default)]
pub struct Files {
    seen: Arc<Mutex<Seen>>,
    /// Nothing but what was seen.
    only: bool,
}

/// What readings saw, by absolute path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    files: BTreeMap<PathBuf, Content>,
    layers: BTreeMap<PathBuf, Vec<PathBuf>>,
    links: BTreeMap<PathBuf, PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl Files {
    /// The files as they were seen; what was not seen is not there.
    pub fn as_seen(seen: Seen) -> Files {
        Files { seen: Arc::new(Mutex::new(seen)), only: true }
    }

    /// One file with this text, and no other.
    pub fn of(path: &Path, text: &str) -> Files {
        let mut seen = Seen::default();
        seen.files.insert(absolute(path), Content::Text(text.to_owned()));
        Files::as_seen(seen)
    }

    /// What readings saw so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// The content of a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let key = absolute(path);
        if self.only {
            return match self.lock().files.get(&key) {
                Some(Content::Text(text)) => Ok(text.clone().into_bytes()),
                Some(Content::Bytes(bytes)) => Ok(bytes.clone()),
                None => Err(io::ErrorKind::NotFound.into()),
            };
        }
        let bytes = std::fs::read(path)?;
        let content = match String::from_utf8(bytes.clone()) {
            Ok(text) => Content::Text(text),
            Err(_) => Content::Bytes(bytes.clone()),
        };
        self.lock().files.insert(key, content);
        Ok(bytes)
    }

    /// `NAME.d/*.toml` beside `NAME.toml`, by name.
    pub fn layers(&self, path: &Path) -> Vec<PathBuf> {
        let key = absolute(path);
        if self.only {
            return self.lock().layers.get(&key).cloned().unwrap_or_default();
        }
        let entries = std::fs::read_dir(path.with_extension("d")).into_iter().flatten().flatten();
        let mut layers: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "toml"))
            .collect();
        layers.sort();
        self.lock().layers.insert(key, layers.clone());
        layers
    }

    /// The file itself, links followed; as written if there is none.
    pub fn itself(&self, path: &Path) -> PathBuf {
        let key = absolute(path);
        if self.only {
            return self.lock().links.get(&key).cloned().unwrap_or(key);
        }
        let itself = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        self.lock().links.insert(key, itself.clone());
        itself
    }

    /// Whether everybody on this host may read it.
    pub fn is_open_to_all(&self, path: &Path) -> bool {
        !self.only && std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Takes in what was seen later.
    pub fn go_on(&mut self, later: Seen) {
        self.files.extend(later.files);
        self.layers.extend(later.layers);
        self.links.extend(later.links);
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_seen_again_whatever_lies_on_the_disk() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("t.toml");
        std::fs::create_dir(dir.path().join("t.d")).expect("a directory");
        std::fs::write(dir.path().join("t.d/x.toml"), [0xff]).expect("a file");
        std::fs::write(&file, "first").expect("a file");
        let disk = Files::default();
        let layers = disk.layers(&file);
        assert_eq!(
            (disk.read(&file).ok(), disk.read(&layers[0]).ok()),
            (Some(b"first".into()), Some(vec![0xff]))
        );
        let json = serde_json::to_string(&disk.seen()).expect("JSON");
        std::fs::write(&file, "second").expect("a file");
        std::fs::remove_dir_all(dir.path().join("t.d")).expect("a directory");
        let again = Files::as_seen(serde_json::from_str(&json).expect("the same"));
        assert_eq!(again.read(&file).ok(), Some(b"first".into()));
        assert_eq!((again.layers(&file), again.read(&layers[0]).ok()), (layers, Some(vec![0xff])));
        assert!(again.read(&dir.path().join("new.toml")).is_err());
    }
}
