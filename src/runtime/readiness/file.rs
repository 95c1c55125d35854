//! A file was written after the start. One left over from the last run is no readiness, so what was there before the
//! start is remembered: stamps are compared with stamps, never with a clock.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tokio::io::AsyncReadExt;

use super::NotReady;

/// So much of a file is searched, in bytes.
const SEARCHED: u64 = 16 << 20;

/// What was at a path at one moment: device, inode, size, time of last write and of last change, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(Option<(u64, u64, u64, i128, i128)>);

impl Mark {
    /// Of an empty place.
    pub(crate) const NOTHING: Mark = Mark(None);

    /// Now.
    pub(crate) async fn of(path: &Path) -> Mark {
        let nanos = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Mark(tokio::fs::metadata(path).await.ok().map(|m| {
            (m.dev(), m.ino(), m.size(), nanos(m.mtime(), m.mtime_nsec()), nanos(m.ctime(), m.ctime_nsec()))
        }))
    }
}

/// The file at `path` is not what it was at `before`, and contains `text` if that is given.
pub(crate) async fn file(path: &Path, before: Mark, contains: Option<&str>) -> Result<(), NotReady> {
    let now = Mark::of(path).await;
    if now == Mark::NOTHING {
        return Err(NotReady(format!("{}: not there", path.display())));
    }
    if now == before {
        return Err(NotReady(format!("{}: not written since the start", path.display())));
    }
    let Some(text) = contains else { return Ok(()) };
    let mut content = Vec::new();
    let opened = tokio::fs::File::open(path).await.map_err(|e| NotReady::because(path.display(), &e))?;
    opened
        .take(SEARCHED)
        .read_to_end(&mut content)
        .await
        .map_err(|e| NotReady::because(path.display(), &e))?;
    let found = content.windows(text.len().max(1)).any(|w| w == text.as_bytes());
    if found { Ok(()) } else { Err(NotReady(format!("{}: does not contain {text:?}", path.display()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_counts_only_when_written_after_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("up");
        let not = |why: &str| Err(NotReady(format!("{}: {why}", path.display())));

        assert_eq!(file(&path, Mark::NOTHING, None).await, not("not there"));
        std::fs::write(&path, "old").unwrap();
        let before = Mark::of(&path).await;
        assert_eq!(file(&path, before, None).await, not("not written since the start"));
        std::fs::write(&path, "serving").unwrap();
        assert_eq!(file(&path, before, None).await, Ok(()));
        assert_eq!(file(&path, before, Some("serv")).await, Ok(()));
        assert_eq!(file(&path, before, Some("IOR:")).await, not("does not contain \"IOR:\""));
    }
}
