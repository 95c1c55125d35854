//! Settings of the daemon: what a site decides once for all its trees.
//!
//! Later places win, key by key:
//!
//! 1. the defaults of [`keys::KEYS`];
//! 2. `/etc/woodward/woodward.toml`, then `/etc/woodward/woodward.toml.d/*.toml` in the order of their names;
//! 3. for users but root, whose daemon is the system's: `woodward.toml` and its drop-ins in
//!    `$XDG_CONFIG_HOME/woodward/` (`~/.config`);
//! 4. the environment: `WOODWARD_HISTORY_KEEP=3` is `history_keep = 3`;
//! 5. flags: `woodward run --set history_keep=3`.
//!
//! `WOODWARD_SETTINGS=FILE` names the one file that is read instead of those of 2 and 3 (with `FILE.d/*.toml`). All
//! files are read and checked as a whole before anything happens: unknown keys and values that cannot be read are all
//! said, each with its place. The keeper reads none of this: it is the parent of everything.

pub mod keys;
mod layers;
mod read;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use read::{Flag, Sources};

/// The settings, typed. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Directory of the tree files that run when none is named.
    pub trees: PathBuf,
    /// Directory of sockets and run state; empty: by user.
    pub runtime_directory: PathBuf,
    /// Directory of histories; empty: by user.
    pub state_directory: PathBuf,
    /// Whose members may talk to the daemon besides its user and root; empty: nobody.
    pub socket_group: String,
    /// How facts and lines look on the console.
    pub format: Format,
    /// Whether the journal is written.
    pub journal: Journal,
    /// woodward's own diagnostics that are said.
    pub log_level: Level,
    /// Bytes of one file of the history.
    pub history_max_size: keys::Size,
    /// Old files of the history kept.
    pub history_keep: keys::Count,
    /// Bytes of facts in memory, all paths together.
    pub memory_facts: keys::Size,
    /// Facts in memory for each path.
    pub memory_facts_per_child: keys::Count,
    /// Bytes of lines in memory for each child.
    pub memory_lines: keys::Size,
    /// Bytes that may wait for each of disk, journal and console.
    pub memory_queue: keys::Size,
    /// What runs and stands in no tree is killed when it has not stopped after this time.
    pub evict_within: keys::Span,
    /// Whether `woodward chaos` may do harm here.
    pub chaos: Chaos,
    /// Longest that the end of the daemon waits for disk, journal and console.
    pub flush_within: keys::Span,
    /// Name of this node in its cluster; empty: the host's. See [`Settings::node`].
    pub node: String,
    /// First part of the cluster's keys in the store.
    pub cluster: String,
    /// Members of etcd; none: no cluster.
    pub etcd: keys::Urls,
    /// Who logs in to etcd; empty: nobody.
    pub etcd_user: String,
    /// The password of that user is this file's first line.
    pub etcd_password_file: PathBuf,
    /// Certificates that etcd's must be signed by; empty: the system's.
    pub etcd_ca: PathBuf,
    /// Certificate shown to etcd; empty: none.
    pub etcd_certificate: PathBuf,
    /// Its key.
    pub etcd_key: PathBuf,
    /// Who is told of moves, separated by commas; empty: nobody.
    pub mail_to: String,
    /// Whose mail that is; empty: woodward's at this host.
    pub mail_from: String,
    /// Program that sends mail.
    pub sendmail: PathBuf,
    /// Where moves are posted to; none: nowhere.
    pub webhook: keys::Urls,
    /// Device that resets this host past the deadline; empty: none.
    pub watchdog_device: PathBuf,
}

/// How facts and lines look on woodward's own standard output and error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The path in front.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Whether the journal is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Journal {
    /// If there is one when the daemon starts.
    #[default]
    Auto,
    /// It is, whether it is there yet or not.
    On,
    /// It is not.
    Off,
}

/// Whether `woodward chaos` may do harm to what runs here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chaos {
    /// It may not.
    #[default]
    Off,
    /// It may.
    On,
}

/// From which weight on woodward's own diagnostics are said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Off,
    Error,
    #[default]
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for Settings {
    /// The defaults, whatever this host says.
    fn default() -> Settings {
        match layers::merge(vec![read::defaults()]) {
            Ok((settings, _)) => settings,
            Err(why) => unreachable!("a test reads all defaults: {why}"),
        }
    }
}

impl Settings {
    /// The time of a [`keys::Span`] key, for those who need it.
    pub fn evict_within(&self) -> Duration {
        self.evict_within.0
    }

    /// This node's name in its cluster, on a host of this name.
    pub fn node<'s>(&'s self, host: &'s str) -> &'s str {
        if self.node.is_empty() { host } else { &self.node }
    }
}

/// One value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Key.
    pub key: String,
    /// As it is written; empty: not set.
    pub value: String,
    /// `default`, `/etc/woodward/woodward.toml:3`, `WOODWARD_HISTORY_KEEP`, `--set`.
    pub origin: String,
}

/// Settings that were read, each with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Typed.
    pub settings: Settings,
    /// As they were written, in the order of [`keys::KEYS`].
    pub said: Vec<Said>,
    /// Variables of the environment that look like settings and are none: a hint each.
    pub doubtful: Vec<String>,
}

/// Settings that cannot be used: everything that is wrong with them, one a line, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Refused(pub Vec<String>);

/// Reads the settings of this process: its user's files, its environment, and these flags.
pub fn load(flags: &[Flag]) -> Result<Loaded, Refused> {
    load_from(&Sources::here(), flags)
}

/// Settings as they once were said; `None`: they make no sense to this version.
pub fn again(said: &[Said]) -> Option<Loaded> {
    let known =
        said.iter().filter(|said| keys::find(&said.key).is_some_and(|key| key.check(&said.value).is_ok()));
    let layer = layers::Layer(known.cloned().collect());
    let (settings, said) = layers::merge(vec![read::defaults(), layer]).ok()?;
    Some(Loaded { settings, said, doubtful: Vec::new() })
}

/// Reads the settings there are in `sources`.
pub fn load_from(sources: &Sources, flags: &[Flag]) -> Result<Loaded, Refused> {
    let (layers, doubtful) = sources.layers(flags)?;
    let (settings, said) = layers::merge(layers).map_err(|why| Refused(vec![why]))?;
    Ok(Loaded { settings, said, doubtful })
}
