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
    /// An absolute path of a file, or nothing.
    File,
    /// A name, or nothing.
    Name,
    /// A name that is part of a key in the store, or nothing.
    Id,
    /// Any text, such as this.
    Text(&'static str),
    /// Addresses of the web, or nothing; so many at most.
    Urls(usize),
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
    key("node", "", Takes::Id, "name of this node in its cluster; empty: the host's"),
    key("cluster", "woodward", Takes::Id, "name of the cluster: the first part of its keys in etcd"),
    key("etcd", "", Takes::Urls(9), "members of etcd; empty: no cluster"),
    key("etcd_user", "", Takes::Text("a user of etcd"), "who logs in; empty: nobody"),
    key("etcd_password_file", "", Takes::File, "with the password in its first line"),
    key("etcd_ca", "", Takes::File, "certificates that etcd's must be signed by; empty: the system's"),
    key("etcd_certificate", "", Takes::File, "certificate shown to etcd"),
    key("etcd_key", "", Takes::File, "its key"),
    key("mail_to", "", Takes::Text("addresses, separated by commas"), "who is told of moves; empty: nobody"),
    key("mail_from", "", Takes::Text("an address"), "whose mail that is; empty: woodward at this host"),
    key("sendmail", "/usr/sbin/sendmail", Takes::File, "program that sends mail"),
    key("webhook", "", Takes::Urls(1), "where moves are posted to, as JSON; empty: nowhere"),
    key("watchdog_device", "", Takes::File, "device that resets this host past the deadline; empty: none"),
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
            Takes::File if text.is_empty() || text.starts_with('/') && !text.ends_with('/') => Ok(()),
            Takes::File => allowed(format!("\"{text}\" is no absolute path of a file")),
            Takes::Id if is_id(text) && (!text.is_empty() || self.default.is_empty()) => Ok(()),
            Takes::Id => allowed(format!("\"{text}\" is no name")),
            Takes::Text(_) if text.contains(char::is_control) => allowed("it is more than a line".to_owned()),
            Takes::Text(_) => Ok(()),
            Takes::Urls(most) => {
                let urls = urls(text);
                match urls.iter().find_map(|url| wrong_url(url)) {
                    Some(why) => allowed(why),
                    None if urls.len() > most => allowed(format!("{} are too many", urls.len())),
                    None => Ok(()),
                }
            }
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
            Takes::File => "an absolute path such as \"/etc/woodward/etcd.pem\", or \"\"".to_owned(),
            Takes::Name => "the name of a group, or \"\"".to_owned(),
            Takes::Id => "letters, digits and _ . : @ -".to_owned(),
            Takes::Text(what) => format!("{what}, or \"\""),
            Takes::Urls(1) => "\"http://host:port/path\", or https, or \"\"".to_owned(),
            Takes::Urls(most) => {
                format!(
                    "up to {most} such as \"http://10.0.0.1:2379\" or https, separated by commas; or a list"
                )
            }
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

fn is_id(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:@-".contains(c)) && !text.starts_with('.')
}

fn urls(text: &str) -> Vec<String> {
    let parts = text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.trim_end_matches('/').to_owned()).collect()
}

/// What is wrong with an address of the web.
fn wrong_url(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        None => Some(format!("\"{url}\" begins with neither http:// nor https://")),
        Some(rest) if rest.is_empty() || rest.starts_with([':', '/']) => {
            Some(format!("\"{url}\" names no host"))
        }
        Some(rest) if rest.contains('@') => Some(format!("\"{url}\" has a user in it, which is not read")),
        Some(_) => None,
    }
}

/// Addresses of the web, written `"http://a:2379, http://b:2379"` or as a list; without a slash at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Urls(pub Vec<String>);

impl From<String> for Urls {
    fn from(text: String) -> Urls {
        Urls(urls(&text))
    }
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
