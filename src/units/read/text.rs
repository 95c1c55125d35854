//! From the bytes of a unit file to its assignments, each character of a value with its place.
//!
//! A line that ends in a backslash goes on in the next one: the backslash becomes a blank, blanks in front of the next
//! line are left out, and comments in between are skipped. What systemd ignores with a warning is a warning here; what
//! makes it refuse the whole file is an error.

use std::ops::Range;
use std::sync::Arc;

use crate::tree::{Diagnostic, Place, Severity};

/// Blanks, for systemd.
pub const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// A file, for places in it.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// As it is shown to people.
    pub name: String,
    /// Its text; what is not UTF-8 is replaced.
    lines: Vec<String>,
}

/// `Key=value` in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// In which file.
    pub file: Arc<File>,
    /// `Service`.
    pub section: String,
    /// `ExecStart`.
    pub key: String,
    /// Continuation lines joined, no blanks around it.
    pub value: String,
    /// Where the key stands: line and column, from 1.
    pub key_at: (u32, u32),
    /// From this byte of the value on, its characters stand at this line and column.
    pieces: Vec<(usize, u32, u32)>,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// In the order of the file.
    pub assignments: Vec<Assignment>,
    /// What systemd ignores or refuses.
    pub diagnostics: Vec<Diagnostic>,
    /// systemd refuses the file.
    pub refused: bool,
}

/// A line with its continuations: text, and from which byte on it stands where.
#[derive(Default)]
struct Logical {
    text: String,
    pieces: Vec<(usize, u32, u32)>,
    valid: bool,
}

impl File {
    /// A diagnostic about a piece of a line: line and column from 1, width in characters.
    pub fn diagnostic(
        &self,
        severity: Severity,
        line: u32,
        column: u32,
        width: usize,
        message: impl Into<String>,
    ) -> Diagnostic {
        let text = self.lines.get(line as usize - 1).map_or("", |text| text.trim_end());
        Diagnostic {
            severity,
            message: message.into(),
            place: Some(Place { file: self.name.clone(), line, column }),
            excerpt: Some((text.to_owned(), u32::try_from(width.max(1)).unwrap_or(u32::MAX))),
            hint: None,
            allowed: None,
        }
    }
}

impl Assignment {
    /// Where a byte of the value stands.
    pub fn place(&self, at: usize) -> Place {
        let (line, column) = self.line_and_column(at);
        Place { file: self.file.name.clone(), line, column }
    }

    /// A diagnostic about the key.
    pub fn at_key(&self, severity: Severity, message: impl Into<String>) -> Diagnostic {
        let (line, column) = self.key_at;
        self.file.diagnostic(severity, line, column, self.key.chars().count(), message)
    }

    /// A diagnostic about some bytes of the value.
    pub fn at_value(
        &self,
        severity: Severity,
        range: Range<usize>,
        message: impl Into<String>,
    ) -> Diagnostic {
        let (line, column) = self.line_and_column(range.start);
        let width = self.value.get(range).map_or(1, |text| text.chars().count());
        self.file.diagnostic(severity, line, column, width, message)
    }

    /// A diagnostic about the whole value; about the key if there is none.
    pub fn whole(&self, severity: Severity, message: impl Into<String>) -> Diagnostic {
        match self.value.len() {
            0 => self.at_key(severity, message),
            length => self.at_value(severity, 0..length, message),
        }
    }

    /// The assignment without a file, for units that were never written.
    pub fn made(name: &str, section: &str, key: &str, value: &str) -> Assignment {
        let lines = vec![format!("{key}={value}")];
        Assignment {
            file: Arc::new(File { name: name.to_owned(), lines }),
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            key_at: (1, 1),
            pieces: vec![(0, 1, u32::try_from(key.chars().count()).unwrap_or(0) + 2)],
        }
    }

    fn line_and_column(&self, at: usize) -> (u32, u32) {
        place(&self.value, &self.pieces, at)
    }
}

/// Line and column of a byte.
fn place(text: &str, pieces: &[(usize, u32, u32)], at: usize) -> (u32, u32) {
    let index = pieces.partition_point(|(from, ..)| *from <= at).max(1) - 1;
    let (from, line, column) = pieces.get(index).copied().unwrap_or((0, 1, 1));
    let before = text.get(from..at.min(text.len())).map_or(0, |text| text.chars().count());
    (line, column + u32::try_from(before).unwrap_or(0))
}

/// Reads a unit file.
pub fn parse(name: &str, bytes: &[u8]) -> Parsed {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let raw: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let lines: Vec<String> = raw.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let file = Arc::new(File { name: name.to_owned(), lines });
    let mut parser = Parser { file: file.clone(), section: None, ignored: false, out: Parsed::default() };
    let mut pending: Option<Logical> = None;
    for (index, line) in file.lines.iter().enumerate() {
        let trimmed = line.trim_start_matches(BLANKS);
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        let mut logical = pending.take().unwrap_or_else(|| Logical { valid: true, ..Logical::default() });
        logical.valid &= std::str::from_utf8(raw[index]).is_ok();
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let column = line.chars().count() - trimmed.chars().count() + 1;
        logical.pieces.push((logical.text.len(), number, u32::try_from(column).unwrap_or(u32::MAX)));
        let text = trimmed.strip_suffix('\r').unwrap_or(trimmed);
        logical.text.push_str(text);
        let escaped = logical.text.chars().fold(false, |escaped, c| !escaped && c == '\\');
        if escaped {
            logical.text.pop();
            logical.text.push(' ');
            pending = Some(logical);
            continue;
        }
        if text.trim_end_matches(BLANKS).ends_with('\\') {
            parser.blank_behind_backslash(&logical);
        }
        parser.line(&logical);
        if parser.out.refused {
            return parser.out;
        }
    }
    if let Some(logical) = pending {
        parser.line(&logical);
    }
    parser.out
}

struct Parser {
    file: Arc<File>,
    section: Option<String>,
    /// The section is one that systemd skips.
    ignored: bool,
    out: Parsed,
}

impl Parser {
    fn line(&mut self, logical: &Logical) {
        let start = logical.text.len() - logical.text.trim_start_matches(BLANKS).len();
        let text = logical.text.trim_matches(BLANKS);
        if text.is_empty() {
            return;
        }
        if !logical.valid {
            return self.say(Severity::Warning, logical, start, text, "a line that is not UTF-8 is ignored");
        }
        if text.starts_with(".include ") {
            return self.refuse(logical, start, text, "`.include` is no longer read");
        }
        if let Some(header) = text.strip_prefix('[') {
            let Some(section) = header.strip_suffix(']') else {
                return self.refuse(
                    logical,
                    start,
                    text,
                    "a section header without its `]`: the file is refused",
                );
            };
            self.ignored = section.starts_with("X-");
            self.section = Some(section.to_owned());
            return;
        }
        if self.ignored && self.section.is_none() {
            return;
        }
        let Some(section) = self.section.clone() else {
            return self.say(Severity::Warning, logical, start, text, "outside of a section: ignored");
        };
        let Some((key, value)) = text.split_once('=') else {
            let message = "a line without `=` is ignored";
            return self.say(Severity::Warning, logical, start, text, message);
        };
        let value_start = start + key.len() + 1 + (value.len() - value.trim_start_matches(BLANKS).len());
        let key = key.trim_end_matches(BLANKS);
        if key.is_empty() {
            return self.say(Severity::Warning, logical, start, text, "no key in front of `=`: ignored");
        }
        let value = value.trim_matches(BLANKS);
        let (line, column) = place(&logical.text, &logical.pieces, value_start);
        let later = logical.pieces.iter().filter(|(from, ..)| *from > value_start);
        let later = later.map(|(from, line, column)| (from - value_start, *line, *column));
        self.out.assignments.push(Assignment {
            file: self.file.clone(),
            section,
            key: key.to_owned(),
            value: value.to_owned(),
            key_at: place(&logical.text, &logical.pieces, start),
            pieces: std::iter::once((0, line, column)).chain(later).collect(),
        });
    }

    fn blank_behind_backslash(&mut self, logical: &Logical) {
        let text = logical.text.trim_end_matches(BLANKS);
        let message = "a backslash with a blank behind it does not continue the line";
        self.say(Severity::Warning, logical, text.len() - 1, "\\", message);
    }

    fn refuse(&mut self, logical: &Logical, start: usize, text: &str, message: &str) {
        self.out.refused = true;
        self.say(Severity::Error, logical, start, text, message);
    }

    fn say(&mut self, severity: Severity, logical: &Logical, start: usize, text: &str, message: &str) {
        let (line, column) = place(&logical.text, &logical.pieces, start);
        let diagnostic = self.file.diagnostic(severity, line, column, text.chars().count(), message);
        self.out.diagnostics.push(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, &str)]) -> Parsed {
        let parsed = parse("a.service", text.as_bytes());
        let got: Vec<(&str, &str, &str)> =
            parsed.assignments.iter().map(|a| (&*a.section, &*a.key, &*a.value)).collect();
        assert_eq!(got, expected, "{text}");
        parsed
    }

    fn said(text: &str, expected: &str) {
        let parsed = parse("a.service", text.as_bytes());
        let got: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(got.join("\n"), expected, "{text}");
    }

    #[test]
    fn a_line_is_read_as_systemd_reads_it() {
        check("[Unit]\nA=b\n", &[("Unit", "A", "b")]);
        check("  [Unit]  \n  A =  b c\t \n", &[("Unit", "A", "b c")]);
        check("[Unit]\n# A=1\n ; A=2\nA=#3\n\n", &[("Unit", "A", "#3")]);
        check("[Unit]\nA=b=c\nA=\n", &[("Unit", "A", "b=c"), ("Unit", "A", "")]);
        check("\u{feff}[Unit]\r\nA=b\r\n", &[("Unit", "A", "b")]);
        check("[X-Mine]\nA=b\n[Unit]\nB=c", &[("X-Mine", "A", "b"), ("Unit", "B", "c")]);
    }

    #[test]
    fn a_continuation_goes_over_comments_and_ends_at_an_empty_line() {
        check("[S]\nA=b\\\n  c\nB=d", &[("S", "A", "b c"), ("S", "B", "d")]);
        check("[S]\nA=b \\\n# no\n ; no \\\nc\nB=d", &[("S", "A", "b  c"), ("S", "B", "d")]);
        check("[S]\nA=b\\\n\nB=d", &[("S", "A", "b"), ("S", "B", "d")]);
        check("[S]\nA=b\\\\\nB=d", &[("S", "A", "b\\\\"), ("S", "B", "d")]);
        check("[S]\nA=b\\\nB=d", &[("S", "A", "b B=d")]);
        check("[S]\nA=b\\", &[("S", "A", "b")]);
    }

    #[test]
    fn every_character_knows_its_line_and_column() {
        let parsed = check("[S]\n A = one \\\n#\n  two\\\nthree", &[("S", "A", "one  two three")]);
        let a = &parsed.assignments[0];
        let at = |offset| {
            let place = a.place(offset);
            (place.line, place.column)
        };
        assert_eq!(a.key_at, (2, 2));
        assert_eq!((at(0), at(2), at(5), at(7), at(9)), ((2, 6), (2, 8), (4, 3), (4, 5), (5, 1)));
    }

    #[test]
    fn what_systemd_ignores_is_said_with_its_place() {
        said(
            "A=b\n[Unit]\nword\n=x\n",
            "a.service:1:1: warning: outside of a section: ignored\n 1 | A=b\n   | ^^^\n\
             a.service:3:1: warning: a line without `=` is ignored\n 3 | word\n   | ^^^^\n\
             a.service:4:1: warning: no key in front of `=`: ignored\n 4 | =x\n   | ^^",
        );
        said(
            "[Unit]\nA=b \\ \nc=d",
            "a.service:2:5: warning: a backslash with a blank behind it does not continue the line\n \
             2 | A=b \\\n   |     ^",
        );
        said(
            "[Unit\nA=b",
            "a.service:1:1: error: a section header without its `]`: the file is refused\n 1 | [Unit\n   | ^^^^^",
        );
    }
}
