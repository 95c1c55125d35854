//! A file that is appended to and rotated by size: `x.log`, older ones `x.log.1`, `x.log.2`, ...

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file, opened at its first use and again after an error. Only whole lines are given to it, and only between
/// lines is it rotated.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    /// Bytes after which it is rotated; `None`: never.
    max_size: Option<u64>,
    /// Old files kept.
    keep: u32,
    file: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// The last line lacks its newline: a write failed in the middle, or somebody died there.
    torn: bool,
}

/// Not all was written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// So many bytes were.
    pub(super) written: usize,
    /// Why not more.
    pub(super) error: io::Error,
}

impl Rotating {
    pub(super) fn new(path: PathBuf, max_size: Option<u64>, keep: u32) -> Rotating {
        Rotating { path, max_size, keep, file: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let mut written = 0;
        while written < lines.len() {
            let done = self.append_some(&lines[written..]).map_err(|(more, error)| {
                // Opened anew next time: the disk may have come back, the directory been made.
                self.file = self.file.take().filter(|_| more > 0);
                Unwritten { written: written + more, error }
            })?;
            written += done;
        }
        Ok(())
    }

    /// Brings what was appended to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }

    /// Appends the lines that fit into this file, at least one if it is empty.
    fn append_some(&mut self, lines: &[u8]) -> Result<usize, (usize, io::Error)> {
        let open = match &mut self.file {
            Some(open) => open,
            None => self.file.insert(open(&self.path).map_err(|error| (0, error))?),
        };
        if open.torn {
            open.file.write_all(b"\n").map_err(|error| (0, error))?;
            open.torn = false;
            open.size += 1;
        }
        let Some(fit) = fit(lines, open.size, self.max_size) else {
            self.rotate().map_err(|error| (0, error))?;
            return Ok(0);
        };
        let mut written = 0;
        while written < fit {
            match open.file.write(&lines[written..fit]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n;
                    open.size += n as u64;
                    open.torn = lines[written - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(fit)
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        // More than are kept: there were more before a setting was changed.
        for n in numbers(&self.path).into_iter().filter(|n| *n > self.keep) {
            std::fs::remove_file(older(&self.path, n))?;
        }
        for n in (1..self.keep).rev() {
            rename(&older(&self.path, n), &older(&self.path, n + 1))?;
        }
        if self.keep == 0 {
            std::fs::remove_file(&self.path)
        } else {
            rename(&self.path, &older(&self.path, 1))
        }
    }
}

/// The files of a rotated file, oldest first; the last one need not exist. There may be a gap in their numbers: the power
/// may have failed between two renames.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    numbers(path).into_iter().map(|n| older(path, n)).chain([path.to_owned()]).collect()
}

/// The numbers of the older files there are, the oldest first.
fn numbers(path: &Path) -> Vec<u32> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let name = format!("{}.", name.to_string_lossy());
    let number = |entry: std::fs::DirEntry| -> Option<u32> {
        entry.file_name().to_str()?.strip_prefix(&name)?.parse().ok()
    };
    let entries = std::fs::read_dir(directory);
    let mut numbers: Vec<u32> =
        entries.map(|all| all.flatten().filter_map(number).collect()).unwrap_or_default();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers
}

fn older(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<Open> {
    // A FIFO without a reader must fail, not hang.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    Ok(Open { file, size, torn: size > 0 && last_byte(path).is_ok_and(|byte| byte != b'\n') })
}

fn last_byte(path: &Path) -> io::Result<u8> {
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0])
}

/// How much of `lines` fits behind `size` bytes; `None`: nothing, and it is time to rotate.
fn fit(lines: &[u8], size: u64, max_size: Option<u64>) -> Option<usize> {
    let Some(max) = max_size else { return Some(lines.len()) };
    let room = usize::try_from(max.saturating_sub(size)).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return Some(lines.len());
    }
    match memchr::memrchr(b'\n', &lines[..room]) {
        Some(newline) => Some(newline + 1),
        None if size == 0 => Some(memchr::memchr(b'\n', lines).map_or(lines.len(), |newline| newline + 1)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(max_size: u64, keep: u32, lines: &str, files: &[(&str, &str)]) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.log");
        let mut file = Rotating::new(path.clone(), Some(max_size), keep);
        file.append(lines.as_bytes()).expect("written");
        let mut found: Vec<String> = std::fs::read_dir(dir.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        found.sort();
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, names);
        for (name, text) in files {
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).expect("a file"), *text, "{name}");
        }
    }

    #[test]
    fn a_file_is_rotated_between_lines() {
        check(8, 5, "one\ntwo\nthree\n", &[("x.log", "three\n"), ("x.log.1", "one\ntwo\n")]);
        check(10, 5, "one\ntwo\nthree\n", &[("x.log", "three\n"), ("x.log.1", "one\ntwo\n")]);
    }

    #[test]
    fn only_so_many_old_files_are_kept() {
        check(2, 2, "1\n2\n3\n4\n", &[("x.log", "4\n"), ("x.log.1", "3\n"), ("x.log.2", "2\n")]);
        check(2, 0, "1\n2\n3\n4\n", &[("x.log", "4\n")]);
    }

    #[test]
    fn a_rotation_that_was_cut_off_loses_no_file_and_fewer_are_kept_when_it_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.log");
        for (name, text) in [("x.log.9", "9\n"), ("x.log.3", "3\n"), ("x.log.2", "2\n"), ("x.log", "0\n")] {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        let text = |path: &Path| -> String {
            files(path).iter().map(|file| std::fs::read_to_string(file).expect("a file")).collect()
        };
        assert_eq!(text(&path), "9\n3\n2\n0\n");
        Rotating::new(path.clone(), Some(2), 2).append(b"1\n").expect("written");
        assert_eq!(text(&path), "2\n0\n1\n");
    }

    #[test]
    fn a_line_longer_than_the_file_may_be_stays_whole() {
        check(4, 1, "longer\n1\n", &[("x.log", "1\n"), ("x.log.1", "longer\n")]);
    }

    #[test]
    fn a_torn_last_line_is_closed_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.log");
        std::fs::write(&path, "half").expect("written");
        Rotating::new(path.clone(), None, 0).append(b"whole\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "half\nwhole\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_next_append_tries_again() {
        let mut file = Rotating::new(PathBuf::from("/dev/full"), None, 0);
        for _ in 0..2 {
            let unwritten = file.append(b"line\n").expect_err("no room");
            assert_eq!((unwritten.written, unwritten.error.kind()), (0, io::ErrorKind::StorageFull));
        }
    }
}
