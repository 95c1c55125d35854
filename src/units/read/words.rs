//! Values split into words: quotes, escapes, command lines, environments. `systemd.syntax(7)`, and where it is silent
//! what systemd 252 does: a quote may open anywhere in a word, an unknown escape stays as it is.

use std::ops::Range;

use super::text::BLANKS;

/// A word of a value, unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its text; bytes that are no UTF-8 (`\xff`) are replaced.
    pub text: String,
    /// The bytes of the value that it was written with.
    pub range: Range<usize>,
}

/// Something wrong in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The bytes of the value.
    pub range: Range<usize>,
    /// What.
    pub message: &'static str,
    /// systemd ignores the rest of the value, of a command line the whole unit.
    pub fatal: bool,
}

/// What becomes of a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// It begins an escape of C: `\n`, `\x20`, `\s` (a blank).
    C,
    /// It stays: names of units.
    Keep,
}

/// A command line of `Exec...=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Characters in front of the program: `-`, `@`, `:`, `+`, `!`, `|`.
    pub prefix: String,
    /// The program.
    pub program: String,
    /// Arguments, the program's own name first.
    pub argv: Vec<Word>,
    /// All bytes of the value that it was written with.
    pub range: Range<usize>,
}

impl Command {
    /// Its failure does not matter.
    pub fn may_fail(&self) -> bool {
        self.prefix.contains('-')
    }

    /// Variables are filled in.
    pub fn expands(&self) -> bool {
        !self.prefix.contains(':')
    }
}

/// Splits a value at blanks.
pub fn split(value: &str, escapes: Escapes) -> (Vec<Word>, Vec<Problem>) {
    let mut splitter = Splitter { value, at: 0, escapes, problems: Vec::new() };
    let mut words = Vec::new();
    while let Some(word) = splitter.word() {
        words.push(word);
    }
    (words, splitter.problems)
}

/// The command lines of one value: a `;` between blanks separates them.
pub fn commands(value: &str) -> (Vec<Command>, Vec<Problem>) {
    let mut splitter = Splitter { value, at: 0, escapes: Escapes::C, problems: Vec::new() };
    let (mut commands, mut current): (Vec<Command>, Option<Command>) = (Vec::new(), None);
    loop {
        splitter.blanks();
        if splitter.lone(";") && current.is_some() {
            splitter.at += 1;
            commands.extend(current.take());
            continue;
        }
        let start = splitter.at;
        if splitter.lone("\\;") && current.is_some() {
            splitter.at += 2;
            let word = Word { text: ";".to_owned(), range: start..start + 2 };
            current.get_or_insert_default().argv.push(word);
            continue;
        }
        let Some(word) = splitter.word() else { break };
        match &mut current {
            Some(command) => {
                command.range.end = word.range.end;
                // After `@` the first argument is the name under which the program runs.
                command.argv.push(word);
            }
            None => current = Some(first(word, &mut splitter.problems)),
        }
    }
    commands.extend(current);
    for command in commands.iter().filter(|command| command.argv.is_empty()) {
        let message = "with `@` a second word must follow, the name under which the program runs";
        splitter.problems.push(Problem { range: command.range.clone(), message, fatal: true });
    }
    (commands, splitter.problems)
}

/// The first word of a command: prefixes, then the program.
fn first(word: Word, problems: &mut Vec<Problem>) -> Command {
    let program = word.text.trim_start_matches(|c| "-@:+!|".contains(c));
    let prefix = word.text[..word.text.len() - program.len()].to_owned();
    let program = program.to_owned();
    let range = word.range.clone();
    let mut wrong = |message| problems.push(Problem { range: range.clone(), message, fatal: true });
    if program.is_empty() {
        wrong("no program behind the prefix");
    } else if program.ends_with('/') {
        wrong("the program is a directory");
    } else if program.contains('/') && !program.starts_with(['/', '%']) {
        wrong("the path of the program is not absolute");
    }
    let argv = if prefix.contains('@') {
        Vec::new()
    } else {
        vec![Word { text: program.clone(), range: word.range.clone() }]
    };
    Command { prefix, program, argv, range: word.range }
}

/// `NAME=value` of an environment; the problem if it is none.
pub fn variable(word: &Word) -> Result<(&str, &str), Problem> {
    let fail = |message| Problem { range: word.range.clone(), message, fatal: false };
    let (name, value) =
        word.text.split_once('=').ok_or_else(|| fail("no `NAME=value`: systemd ignores this word"))?;
    let starts = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(fail("no name of a variable: systemd ignores this word"));
    }
    Ok((name, value))
}

/// How a `$` in an argument is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dollar {
    /// The whole word is `$NAME`: its value, split at blanks; no word if it is not set or empty.
    Words(String),
    /// `${NAME}`: its value, in place.
    Value(String),
    /// `$$`: a `$`.
    Escaped,
    /// Anything else, such as `a$NAME`: it stays as it is.
    Literal,
}

/// The dollars of an argument that is no program, with their bytes in its text.
pub fn dollars(text: &str) -> Vec<(Range<usize>, Dollar)> {
    let rest = text.strip_prefix('$').filter(|rest| !rest.starts_with(['{', '$']));
    if let Some(name) = rest {
        return vec![(0..text.len(), Dollar::Words(name.to_owned()))];
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(dollar) = text[at..].find('$').map(|offset| at + offset) {
        let behind = &text[dollar + 1..];
        let (length, what) = match behind.chars().next() {
            Some('$') => (2, Dollar::Escaped),
            Some('{') if behind.contains('}') => {
                let end = behind.find('}').unwrap_or_default();
                (end + 2, Dollar::Value(behind[1..end].to_owned()))
            }
            _ => (1, Dollar::Literal),
        };
        found.push((dollar..dollar + length, what));
        at = dollar + length;
    }
    found
}

struct Splitter<'v> {
    value: &'v str,
    at: usize,
    escapes: Escapes,
    problems: Vec<Problem>,
}

impl Splitter<'_> {
    fn blanks(&mut self) {
        let rest = &self.value[self.at..];
        self.at += rest.len() - rest.trim_start_matches(BLANKS).len();
    }

    /// `text` stands here as a word of its own.
    fn lone(&self, text: &str) -> bool {
        self.value[self.at..]
            .strip_prefix(text)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(BLANKS))
    }

    fn word(&mut self) -> Option<Word> {
        self.blanks();
        let start = self.at;
        if start == self.value.len() {
            return None;
        }
        let mut text = Vec::new();
        let mut quote = None;
        while let Some(c) = self.value[self.at..].chars().next() {
            match c {
                '\\' if self.escapes == Escapes::C => {
                    self.escape(&mut text)?;
                    continue;
                }
                '\'' | '"' if quote.is_none() => quote = Some((c, self.at)),
                c if quote.is_some_and(|(open, _)| open == c) => quote = None,
                c if quote.is_none() && BLANKS.contains(&c) => break,
                c => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            self.at += c.len_utf8();
        }
        if let Some((_, open)) = quote {
            self.fatal(open..self.value.len(), "a quote that is never closed");
            return None;
        }
        Some(Word { text: String::from_utf8_lossy(&text).into_owned(), range: start..self.at })
    }

    /// An escape of C; one that is unknown stays as it is.
    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let rest = &self.value[self.at + 1..];
        let number = |digits: usize, radix: u32, skip: usize| {
            let digits = rest.get(skip..skip + digits)?;
            let all = digits.chars().all(|c| c.is_digit(radix));
            u32::from_str_radix(digits, radix).ok().filter(|number| all && *number != 0)
        };
        let Some(c) = rest.chars().next() else {
            self.fatal(self.at..self.value.len(), "a backslash with nothing behind it");
            return None;
        };
        let simple = "abfnrtvs\\\"'".find(c).map(|at| b"\x07\x08\x0c\n\r\t\x0b \\\"'"[at]);
        let read = match c {
            _ if simple.is_some() => simple.map(|byte| (1, vec![byte])),
            'x' => number(2, 16, 1).map(|n| (3, vec![n as u8])),
            'u' => number(4, 16, 1).and_then(char::from_u32).map(|c| (5, c.to_string().into_bytes())),
            'U' => number(8, 16, 1).and_then(char::from_u32).map(|c| (9, c.to_string().into_bytes())),
            '0'..='7' => number(3, 8, 0).filter(|n| *n < 256).map(|n| (3, vec![n as u8])),
            _ => None,
        };
        if let Some((length, bytes)) = read {
            text.extend(bytes);
            self.at += 1 + length;
        } else {
            let range = self.at..self.at + 1 + c.len_utf8();
            let message = "an unknown escape: the backslash stays";
            self.problems.push(Problem { range: range.clone(), message, fatal: false });
            text.extend_from_slice(self.value[range].as_bytes());
            self.at += 1 + c.len_utf8();
        }
        Some(())
    }

    fn fatal(&mut self, range: Range<usize>, message: &'static str) {
        self.problems.push(Problem { range, message, fatal: true });
        self.at = self.value.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: &str, expected: &[&str]) {
        let (words, _) = split(value, Escapes::C);
        assert_eq!(words.iter().map(|word| &*word.text).collect::<Vec<_>>(), expected, "{value}");
    }

    fn line(value: &str, expected: &[(&str, &[&str])]) {
        let (commands, problems) = commands(value);
        let got: Vec<(String, Vec<&str>)> = commands
            .iter()
            .map(|c| (c.prefix.clone(), c.argv.iter().map(|word| &*word.text).collect()))
            .collect();
        let expected: Vec<(String, Vec<&str>)> =
            expected.iter().map(|(prefix, argv)| ((*prefix).to_owned(), argv.to_vec())).collect();
        assert_eq!(got, expected, "{value}: {problems:?}");
    }

    #[test]
    fn words_are_unquoted_as_systemd_does() {
        words("a  b\tc", &["a", "b", "c"]);
        words("'a b' \"c d\" e'f g'h", &["a b", "c d", "ef gh"]);
        words("'' \"\"", &["", ""]);
        words(r#""a\"b" 'a\'b' a\sb a\x41b a\101b a\u00e9b"#, &["a\"b", "a'b", "a b", "aAb", "aAb", "aéb"]);
        words(r"a\nb a\tb a\\b", &["a\nb", "a\tb", "a\\b"]);
        words(r"a\qb a\x4 \400", &[r"a\qb", r"a\x4", r"\400"]);
        words("a 'b", &["a"]);
    }

    #[test]
    fn names_of_units_keep_their_backslashes() {
        let (words, problems) = split(r"a\x2db.service c.service", Escapes::Keep);
        assert_eq!(
            words.iter().map(|word| &*word.text).collect::<Vec<_>>(),
            [r"a\x2db.service", "c.service"]
        );
        assert_eq!(problems, []);
    }

    #[test]
    fn command_lines_have_prefixes_and_separators() {
        line("/bin/a b", &[("", &["/bin/a", "b"])]);
        line("-/bin/a", &[("-", &["/bin/a"])]);
        line("@/bin/a name b", &[("@", &["name", "b"])]);
        line("+!!/bin/a ; :/bin/b c", &[("+!!", &["/bin/a"]), (":", &["/bin/b", "c"])]);
        line(r"/bin/a \; ;b ';' ", &[("", &["/bin/a", ";", ";b", ";"])]);
        line("/bin/a 'b", &[("", &["/bin/a"])]);
        let wrong = |value, message| {
            let (_, problems) = commands(value);
            assert_eq!(problems.iter().map(|p| p.message).collect::<Vec<_>>(), [message], "{value}");
        };
        wrong("bin/a", "the path of the program is not absolute");
        wrong("-", "no program behind the prefix");
        wrong("/bin/", "the program is a directory");
        wrong("@/bin/a", "with `@` a second word must follow, the name under which the program runs");
        wrong("/bin/a 'b", "a quote that is never closed");
        wrong(r"/bin/a \q", "an unknown escape: the backslash stays");
    }

    #[test]
    fn a_dollar_is_taken_as_systemd_takes_it() {
        let check = |text: &str, expected: &[Dollar]| {
            let got: Vec<Dollar> = dollars(text).into_iter().map(|(_, dollar)| dollar).collect();
            assert_eq!(got, expected, "{text}");
        };
        check("$A", &[Dollar::Words("A".into())]);
        check("$A/b", &[Dollar::Words("A/b".into())]);
        check("x${A}y$$z$A", &[Dollar::Value("A".into()), Dollar::Escaped, Dollar::Literal]);
        check("100$", &[Dollar::Literal]);
    }
}
