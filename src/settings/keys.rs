//! What can be set: each key with its default, its meaning and what it takes.

use std::time::Duration;

use serde::Deserialize;

use crate::tree::units;

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its name in files; in the environment `WOODWARD_` and this in capitals.
    pub name: &'static str,
    /// Its default as it would be written.
    pub default: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it does, in a clause.
    pub about: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// An absolute path of a directory, or nothing.
    Directory,
    /// A name, or nothing.
    Name,
    /// One of these.
    Word(&'static [&'static str]),
    /// Bytes, from so many to so many.
    Size(u64, u64),
    /// A number, from this to that.
    Count(u32, u32),
    /// A time, up to this one.
    Time(Duration),
}

const fn key(name: &'static str, default: &'static str, takes: Takes, about: &'static str) -> Key {
    Key { name, default, takes, about }
}

const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

/// All keys, in the order they are shown.
pub const KEYS: &[Key] = &[
    key("trees", "/etc/woodward/trees", Takes::Directory, "tree files that run when none is named"),
    key("runtime_directory", "", Takes::Directory, "sockets and run state; empty: by user"),
    key("state_directory", "", Takes::Directory, "histories; empty: by user"),
    key("socket_group", "", Takes::Name, "group whose members may talk to the daemon; empty: none"),
    key("format", "text", Takes::Word(&["text", "json"]), "facts and lines on the console"),
    key(
        "journal",
        "auto",
        Takes::Word(&["auto", "on", "off"]),
        "write to the journal; auto: if there is one",
    ),
    key(
        "log_level",
        "warn",
        Takes::Word(&["off", "error", "warn", "info", "debug", "trace"]),
        "woodward's own diagnostics, from this weight on",
    ),
    key("history_max_size", "4M", Takes::Size(64 << 10, G), "size of one file of the history"),
    key("history_keep", "7", Takes::Count(0, 1000), "old files of the history kept"),
    key("memory_facts", "2M", Takes::Size(64 << 10, G), "facts in memory, all children together"),
    key("memory_facts_per_child", "256", Takes::Count(16, 100_000), "facts in memory for each child"),
    key("memory_lines", "64K", Takes::Size(1 << 10, 64 * M), "lines of output in memory for each child"),
    key("memory_queue", "8M", Takes::Size(64 << 10, G), "what may wait for each slow disk, journal, console"),
    key(
        "evict_within",
        "10s",
        Takes::Time(Duration::from_secs(3600)),
        "what runs and is in no tree any more has so long to stop",
    ),
    key("chaos", "off", Takes::Word(&["off", "on"]), "let `woodward chaos` do harm here"),
    key(
        "flush_within",
        "2s",
        Takes::Time(Duration::from_secs(60)),
        "how long the daemon's end waits for disk, journal and console",
    ),
];

/// The names of all keys.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    KEYS.iter().map(|key| key.name)
}

/// A key by its name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("WOODWARD_{}", self.name.to_uppercase())
    }

    /// Whether it takes this; else why not, the part behind `KEY: `.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let allowed = |why: String| Err(format!("{why}; allowed: {}", self.takes.allowed()));
        match self.takes {
            Takes::Directory if text.is_empty() || text.starts_with('/') => Ok(()),
            Takes::Directory => allowed(format!("\"{text}\" is no absolute path")),
            Takes::Name if text.contains(char::is_whitespace) => allowed(format!("\"{text}\" is no name")),
            Takes::Name => Ok(()),
            Takes::Word(words) if words.contains(&text) => Ok(()),
            Takes::Word(words) => {
                let near = crate::tree::nearest(text, words.iter().copied());
                let near = near.map(|word| format!(", did you mean \"{word}\"?")).unwrap_or_default();
                allowed(format!("unknown word \"{text}\"{near}"))
            }
            Takes::Size(least, most) => match units::size(text) {
                Ok(size) if (least..=most).contains(&size) => Ok(()),
                Ok(_) => allowed(format!("\"{text}\" is out of range")),
                Err(why) => allowed(why),
            },
            Takes::Count(least, most) => match text.parse::<u32>() {
                Ok(count) if (least..=most).contains(&count) => Ok(()),
                Ok(_) => allowed(format!("{text} is out of range")),
                Err(_) => allowed(format!("\"{text}\" is no number")),
            },
            Takes::Time(most) => match units::duration(text) {
                Ok(time) if time <= most => Ok(()),
                Ok(_) => allowed(format!("\"{text}\" is too long")),
                Err(why) => allowed(why),
            },
        }
    }
}

impl Takes {
    /// What is allowed, for a person.
    pub fn allowed(self) -> String {
        match self {
            Takes::Directory => "an absolute path such as \"/srv/woodward\", or \"\"".to_owned(),
            Takes::Name => "the name of a group, or \"\"".to_owned(),
            Takes::Word(words) => words.join(", "),
            Takes::Size(least, most) => format!("{} to {}, such as \"512K\"", bytes(least), bytes(most)),
            Takes::Count(least, most) => format!("{least} to {most}"),
            Takes::Time(most) => format!("a time such as \"1m30s\", up to {}", units::show(most)),
        }
    }
}

fn bytes(size: u64) -> String {
    const UNITS: [(u64, char); 3] = [(G, 'G'), (M, 'M'), (1 << 10, 'K')];
    let unit = UNITS.iter().find(|(unit, _)| size >= *unit && size.is_multiple_of(*unit));
    unit.map_or(size.to_string(), |(unit, letter)| format!("{}{letter}", size / unit))
}

/// Bytes, written `"512K"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Count(pub u32);

/// A time, written `"1m30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Size, String> {
        units::size(&text).map(Size)
    }
}

impl TryFrom<String> for Count {
    type Error = String;
    fn try_from(text: String) -> Result<Count, String> {
        text.parse().map(Count).map_err(|_| format!("\"{text}\" is no number"))
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Span, String> {
        units::duration(&text).map(Span)
    }
}

impl Size {
    /// As a number of bytes in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}
