//! A file was written after the start. One left over from the last run is no readiness, so what was there before the
//! start is remembered: stamps are compared with stamps, never with a clock.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::NotReady;
use crate::os::clock;
use crate::record::words::about;

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
        Mark::from(tokio::fs::metadata(path).await)
    }

    /// Now, for whoever may wait for the disk.
    #[cfg(feature = "full")]
    pub(crate) fn now(path: &Path) -> Mark {
        Mark::from(std::fs::metadata(path))
    }

    fn from(found: std::io::Result<std::fs::Metadata>) -> Mark {
        let nanos = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Mark(found.ok().map(|m| {
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

/// The file at `path` was last changed at `since` (since 1970, by the wall clock) or later.
#[cfg(feature = "full")]
pub(crate) async fn written_since(path: &Path, since: Duration) -> Result<(), NotReady> {
    let file = tokio::fs::metadata(path).await.map_err(|e| NotReady::because(path.display(), &e))?;
    let second = u64::try_from(file.ctime()).unwrap_or(0);
    let changed = Duration::new(second, u32::try_from(file.ctime_nsec()).unwrap_or(0));
    if changed >= since {
        return Ok(());
    }
    Err(NotReady(format!("{}: not written since the start", path.display())))
}

/// The file at `path` was last written at most `max_age` ago, by the wall clock.
pub(crate) async fn fresh(path: &Path, max_age: Duration) -> Result<(), NotReady> {
    let stamp = tokio::fs::metadata(path).await.and_then(|file| file.modified());
    let stamp = stamp.map_err(|e| NotReady::because(path.display(), &e))?;
    let written = stamp.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let age = Duration::from_millis(clock::wall()).saturating_sub(written);
    if age <= max_age {
        return Ok(());
    }
    Err(NotReady(format!("{}: last written {} ago", path.display(), about(age))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_fresh_for_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("beat");
        let hour = Duration::from_secs(3600);
        assert_eq!(fresh(&path, hour).await, Err(NotReady(format!("{}: not there", path.display()))));
        let beat = std::fs::File::create(&path).unwrap();
        assert_eq!(fresh(&path, hour).await, Ok(()));
        beat.set_modified(std::time::SystemTime::now() - 2 * hour - Duration::from_secs(1)).unwrap();
        assert_eq!(
            fresh(&path, hour).await,
            Err(NotReady(format!("{}: last written 2h ago", path.display())))
        );
    }

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
