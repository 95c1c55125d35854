//! How things look: marks, colours, widths, spans of time, line breaks.

use std::io::IsTerminal;

/// Columns of output.
pub const WIDTH: usize = 80;

/// What the output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Marks and lines beyond ASCII.
    pub unicode: bool,
    /// ANSI colours.
    pub colour: bool,
}

/// Colours, each used for one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Up.
    Green,
    /// Done.
    DimGreen,
    /// On its way.
    Yellow,
    /// Parked, given up.
    BoldRed,
    /// Held.
    Cyan,
    /// Stopped; what is only there for orientation.
    Dim,
}

impl Style {
    /// For standard output: colours on a terminal without `NO_COLOR`, marks by the locale.
    pub fn here() -> Style {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Style {
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            colour: std::io::stdout().is_terminal()
                && set("NO_COLOR").is_none()
                && set("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Neither colours nor anything but ASCII, or as the arguments say.
    #[cfg(test)]
    pub const fn plain(unicode: bool) -> Style {
        Style { unicode, colour: false }
    }

    /// `text` in `colour`, if colours are shown.
    pub fn paint(self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::DimGreen => "2;32",
            Colour::Yellow => "33",
            Colour::BoldRed => "1;31",
            Colour::Cyan => "36",
            Colour::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The line that leads down to children.
    pub fn line(self) -> &'static str {
        if self.unicode { "│" } else { "|" }
    }

    /// Something goes on.
    pub fn dots(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// `text` as far as the locale can show it.
    pub fn text(self, text: &str) -> String {
        if self.unicode {
            return text.to_owned();
        }
        text.replace('…', "...").chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
    }
}

/// How long something has lasted, for a narrow column: `41s`, `12m`, `5h 12m`, `3d 4h`.
pub fn lasted(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m"),
        3600..86_400 if minutes % 60 == 0 => format!("{hours}h"),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ if days >= 100 || hours % 24 == 0 => format!("{days}d"),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `text` in lines of at most `width` characters, broken at blanks where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        length += word.len();
        line.extend(word);
    }
    if length > 0 {
        lines.push(line);
    }
    lines
}

/// Characters of `text`.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Blanks.
pub fn blanks(n: usize) -> String {
    " ".repeat(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_fits_its_column() {
        let check = |seconds: u64, text: &str| assert_eq!(lasted(seconds * 1000), text);
        check(0, "0s");
        check(59, "59s");
        check(12 * 60 + 59, "12m");
        check(3600, "1h");
        check(5 * 3600 + 12 * 60, "5h 12m");
        check(3 * 86_400 + 4 * 3600, "3d 4h");
        check(400 * 86_400 + 3600, "400d");
    }

    #[test]
    fn text_is_broken_at_blanks_or_anywhere() {
        assert_eq!(wrap("parked, again in 3m: exit 1", 20), ["parked, again in 3m:", "exit 1"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""; 0]);
    }

    #[test]
    fn ascii_is_ascii() {
        assert_eq!(Style::plain(false).text("Manager … ä"), "Manager ... ?");
    }
}
