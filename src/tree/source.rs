//! The files a tree was read from, and places in them.

use std::path::{Path, PathBuf};

/// One file that was read; a file that is included twice is two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A piece of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// In which file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// First byte after it.
    pub end: u32,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it is shown to people.
    pub name: String,
    /// Where it lies: `${dir}`, and the start of relative paths.
    pub dir: PathBuf,
    /// Its text.
    pub text: String,
    /// Whose variables its values see (an index into the reader's scopes).
    pub scope: usize,
}

/// A tree that is read in one directory and carried out in another; what lies beside it lies there too.
#[derive(Clone, Debug)]
pub struct Moved {
    from: PathBuf,
    to: PathBuf,
}

impl Moved {
    /// The tree of this file will lie in the directory `to`.
    pub fn new(file: &Path, to: &Path) -> Moved {
        Moved { from: itself(&directory(file)), to: to.to_path_buf() }
    }

    /// Where a file will lie.
    pub fn then(&self, path: &Path) -> PathBuf {
        let itself = itself(path);
        itself.strip_prefix(&self.from).map_or_else(|_| path.to_path_buf(), |rest| join(&self.to, rest))
    }

    /// Where a file lies now.
    pub fn now(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.to).map_or_else(|_| path.to_path_buf(), |rest| join(&self.from, rest))
    }
}

/// Links followed; as written if there is nothing.
fn itself(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Without a slash at the end if there is nothing to join.
fn join(dir: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { dir.to_path_buf() } else { dir.join(rest) }
}

/// The absolute directory of a file.
pub fn directory(file: &Path) -> PathBuf {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf())
}

/// All files of one reading.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    /// Of each file, where its lines start: places are asked for once per key, in files of thousands of lines.
    lines: Vec<Vec<usize>>,
}

/// A place as people count: lines and columns from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as shown.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl Sources {
    /// Takes a file in.
    pub fn add(&mut self, source: Source) -> FileId {
        let starts = source.text.match_indices('\n').map(|(at, _)| at + 1);
        self.lines.push(std::iter::once(0).chain(starts).collect());
        self.files.push(source);
        FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
    }

    /// The file of an id given by [`Sources::add`].
    pub fn file(&self, id: FileId) -> &Source {
        &self.files[id.0 as usize]
    }

    /// The text of a span; empty if it does not fit the file.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.file).text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Line and column of a span's start.
    pub fn place(&self, span: Span) -> Place {
        let file = self.file(span.file);
        let at = floor(&file.text, span.start as usize);
        let lines = &self.lines[span.file.0 as usize];
        let line = lines.partition_point(|start| *start <= at);
        let column = file.text[lines[line - 1]..at].chars().count() + 1;
        Place { file: file.name.clone(), line: count(line), column: count(column) }
    }

    /// The line a span starts in, and how many characters of it the span covers (at least 1).
    pub fn line(&self, span: Span) -> (String, u32) {
        let text = &self.file(span.file).text;
        let start = floor(text, span.start as usize);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, span.end as usize).clamp(start, line_end);
        let width = count(text[start..end].trim_end().chars().count()).max(1);
        (text[line_start..line_end].trim_end().to_owned(), width)
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
