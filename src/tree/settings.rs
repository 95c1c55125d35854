//! What was written in a table, each value of its kind: what decoding gives and plans are made from.

use std::fmt;
use std::time::Duration;

use woodward_engine::spec::Status;

use super::source::Span;
use super::units;
use super::variables::quoted;

/// A value of its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// `false` for a table: the inherited one is taken away.
    Off,
    /// A string.
    Text(String),
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A duration.
    Duration(Duration),
    /// `"infinity"`.
    Infinity,
    /// `"brutal_kill"`.
    BrutalKill,
    /// Bytes.
    Size(u64),
    /// Percent.
    Share(u8),
    /// Percent, more than 100 too.
    Percent(u64),
    /// A file mode mask.
    Mask(u32),
    /// The number of a signal.
    Signal(i32),
    /// Exit statuses.
    Statuses(Vec<Status>),
    /// Soft and hard.
    Rlimit(u64, u64),
    /// One of the allowed words.
    Word(&'static str),
    /// A command, or a list of strings.
    Strings(Vec<String>),
    /// Commands.
    Commands(Vec<Vec<String>>),
    /// Names and values.
    Pairs(Vec<(String, String)>),
    /// A table.
    Table(Settings),
    /// A list of tables.
    Tables(Vec<Settings>),
}

/// A key that was written, with its value and place.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Key.
    pub key: &'static str,
    /// Value.
    pub typed: Typed,
    /// Where the value stands.
    pub span: Span,
}

/// What was written in a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// In the order of the text.
    pub all: Vec<Setting>,
}

impl Settings {
    /// What was written for a key.
    pub fn get(&self, key: &str) -> Option<&Typed> {
        self.all.iter().find(|setting| setting.key == key).map(|setting| &setting.typed)
    }

    /// Where it was written.
    pub fn span(&self, key: &str) -> Option<Span> {
        self.all.iter().find(|setting| setting.key == key).map(|setting| setting.span)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Typed::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A word.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        match self.get(key)? {
            Typed::Word(word) => Some(word),
            _ => None,
        }
    }

    /// An integer that fits.
    pub fn integer<N: TryFrom<i64>>(&self, key: &str) -> Option<N> {
        match self.get(key)? {
            Typed::Integer(number) => N::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A boolean; `false` if not written.
    pub fn boolean(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Typed::Boolean(true)))
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key)? {
            Typed::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// A list of strings, or the words of a command.
    pub fn strings(&self, key: &str) -> Option<Vec<String>> {
        match self.get(key)? {
            Typed::Strings(strings) => Some(strings.clone()),
            _ => None,
        }
    }

    /// Commands.
    pub fn commands(&self, key: &str) -> Vec<Vec<String>> {
        match self.get(key) {
            Some(Typed::Commands(commands)) => commands.clone(),
            _ => Vec::new(),
        }
    }

    /// A list of tables.
    pub fn tables(&self, key: &str) -> &[Settings] {
        match self.get(key) {
            Some(Typed::Tables(tables)) => tables,
            _ => &[],
        }
    }

    /// A table.
    pub fn table(&self, key: &str) -> Option<&Settings> {
        match self.get(key)? {
            Typed::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// As an inline table.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |setting: &Setting| format!("{} = {}", setting.key, setting.typed);
        write!(f, "{{ {} }}", self.all.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

/// As it is written in a file.
impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strings =
            |strings: &[String]| strings.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let limit = |n: u64| if n == u64::MAX { "infinity".to_owned() } else { n.to_string() };
        match self {
            Typed::Off => f.write_str("false"),
            Typed::Text(text) => f.write_str(&quoted(text)),
            Typed::Boolean(boolean) => write!(f, "{boolean}"),
            Typed::Integer(number) => write!(f, "{number}"),
            Typed::Number(number) => write!(f, "{number}"),
            Typed::Duration(duration) => write!(f, "\"{}\"", units::show(*duration)),
            Typed::Infinity => f.write_str("\"infinity\""),
            Typed::BrutalKill => f.write_str("\"brutal_kill\""),
            Typed::Size(bytes) => write!(f, "\"{}\"", units::show_size(*bytes)),
            Typed::Share(share) => write!(f, "\"{share}%\""),
            Typed::Percent(percent) => write!(f, "\"{percent}%\""),
            Typed::Mask(mask) => write!(f, "\"{mask:04o}\""),
            Typed::Signal(signal) => write!(f, "\"{}\"", units::signal_name(*signal)),
            Typed::Word(word) => write!(f, "\"{word}\""),
            Typed::Rlimit(soft, hard) if soft == hard => write!(f, "\"{}\"", limit(*soft)),
            Typed::Rlimit(soft, hard) => write!(f, "\"{}:{}\"", limit(*soft), limit(*hard)),
            Typed::Strings(list) => write!(f, "[{}]", strings(list)),
            Typed::Commands(list) => {
                write!(
                    f,
                    "[{}]",
                    list.iter().map(|one| format!("[{}]", strings(one))).collect::<Vec<_>>().join(", ")
                )
            }
            Typed::Pairs(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
                write!(f, "{{ {} }}", pairs.join(", "))
            }
            Typed::Statuses(statuses) => {
                let one = |status: &Status| match status {
                    Status::Code(code) => code.to_string(),
                    Status::Signal(signal) => format!("\"{}\"", units::signal_name(*signal)),
                };
                write!(f, "[{}]", statuses.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Typed::Table(settings) => write!(f, "{settings}"),
            Typed::Tables(list) => {
                write!(f, "[{}]", list.iter().map(Settings::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
