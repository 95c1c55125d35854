//! Where file systems are mounted, by the kernel's table: the file systems themselves are not asked, because one of them
//! may hang.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The place where the file system of an absolute path is mounted; `/` where nobody knows.
pub(super) fn of(path: &Path) -> PathBuf {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    in_table(&table, path)
}

/// In a table as of `proc_pid_mountinfo(5)`: the fifth word of each line is a place.
fn in_table(table: &[u8], path: &Path) -> PathBuf {
    let places =
        table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let above = places.map(place).filter(|place| path.starts_with(place));
    above.max_by_key(|place| place.components().count()).unwrap_or_else(|| PathBuf::from("/"))
}

/// A word of the table: blanks and the like are written `\040`.
fn place(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, more)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| more.get(..3)).flatten();
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[3..] } else { more };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_meant() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/a rw\n30 22 0:5 / /log rw - nfs a:/x rw\n\
                      31 30 0:6 / /log/a\\040b rw - nfs a:/y rw\n";
        let of = |path: &str| in_table(table, Path::new(path));
        assert_eq!(of("/var/x.log"), Path::new("/"));
        assert_eq!(of("/logs/x.log"), Path::new("/"));
        assert_eq!(of("/log/x.log"), Path::new("/log"));
        assert_eq!(of("/log/a b/x.log"), Path::new("/log/a b"));
        assert_eq!(in_table(b"", Path::new("/x")), Path::new("/"));
    }
}
