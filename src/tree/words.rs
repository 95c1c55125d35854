//! A command written as one string: split at blanks with quotes and backslashes as a shell would, without a shell.
//!
//! `${...}` is one piece of a word whatever is inside it, also between quotes; splitting comes before substitution. What
//! only a shell could do is an error with a place.

use std::ops::Range;

/// What only a shell could do, and where in the string it stands.
#[derive(Debug, PartialEq)]
pub struct NeedsShell {
    /// Bytes of the string.
    pub range: Range<usize>,
    /// What it is; `None`: a quote that is never closed.
    pub what: Option<String>,
}

/// One word, `${...}` still in it, and where it stood.
#[derive(Debug, PartialEq)]
pub struct Word {
    /// Text.
    pub text: String,
    /// Bytes of the string.
    pub range: Range<usize>,
}

/// Splits a command.
pub fn split(command: &str) -> Result<Vec<Word>, NeedsShell> {
    let mut splitter = Splitter { command, at: 0, words: Vec::new() };
    splitter.run()?;
    Ok(splitter.words)
}

/// Where the `${...}` that begins at `at` ends (behind its brace); `None` if it does not.
pub fn end_of_variable(text: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    let bytes = text.as_bytes();
    let mut i = at;
    while i < bytes.len() {
        if bytes[i..].starts_with(b"${") {
            depth += 1;
            i += 2;
            continue;
        }
        if bytes[i] == b'}' {
            depth -= 1;
            if depth == 0 {
                return Some(i + 1);
            }
        }
        i += 1;
    }
    None
}

/// A program that is a shell, by its name.
pub fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    matches!(name, "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" | "busybox" | "fish")
}

struct Splitter<'c> {
    command: &'c str,
    at: usize,
    words: Vec<Word>,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), NeedsShell> {
        loop {
            let rest = &self.command[self.at..];
            self.at += rest.len() - rest.trim_start().len();
            if self.at >= self.command.len() {
                return Ok(());
            }
            let start = self.at;
            let text = self.word()?;
            let written = &self.command[start..self.at];
            if written.starts_with('~') {
                return Err(needs(start..start + 1, "`~`"));
            }
            if self.words.is_empty() && assigns(written) {
                return Err(needs(start..self.at, format!("`{written}` in front of the program")));
            }
            self.words.push(Word { text, range: start..self.at });
        }
    }

    fn word(&mut self) -> Result<String, NeedsShell> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            match c {
                c if c.is_whitespace() => break,
                '\'' | '"' => self.quoted(c, &mut text)?,
                '\\' => {
                    self.at += 1;
                    self.escaped(&mut text);
                }
                '$' => self.dollar(&mut text, true)?,
                '|' | '&' | ';' | '<' | '>' | '*' | '?' | '(' | ')' | '`' => {
                    let what = if c == '`' { "a backquote".to_owned() } else { format!("`{c}`") };
                    return Err(needs(self.at..self.at + 1, what));
                }
                c => self.push(c, &mut text),
            }
        }
        Ok(text)
    }

    fn quoted(&mut self, quote: char, text: &mut String) -> Result<(), NeedsShell> {
        let start = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            match c {
                c if c == quote => {
                    self.at += 1;
                    return Ok(());
                }
                '\\' if quote == '"' => {
                    self.at += 1;
                    match self.peek() {
                        Some('"' | '\\' | '$' | '`') => self.escaped(text),
                        _ => text.push('\\'),
                    }
                }
                '$' => self.dollar(text, false)?,
                c => self.push(c, text),
            }
        }
        Err(NeedsShell { range: start..start + 1, what: None })
    }

    /// The character behind a backslash; a `$` so escaped begins no variable.
    fn escaped(&mut self, text: &mut String) {
        match self.peek() {
            Some('$') if self.command[self.at..].starts_with("${") => {
                text.push_str("$${");
                self.at += 2;
            }
            Some(c) => self.push(c, text),
            None => text.push('\\'),
        }
    }

    fn dollar(&mut self, text: &mut String, bare: bool) -> Result<(), NeedsShell> {
        let rest = &self.command[self.at..];
        if rest.starts_with("$${") {
            text.push_str("$${");
            self.at += 3;
            return Ok(());
        }
        if rest.starts_with("${") {
            let end = end_of_variable(self.command, self.at).unwrap_or(self.command.len());
            text.push_str(&self.command[self.at..end]);
            self.at = end;
            return Ok(());
        }
        let name =
            rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(rest.len(), |n| n + 1);
        if bare && (name > 1 || rest.starts_with("$(")) {
            return Err(needs(self.at..self.at + name.max(2), format!("`{}`", &rest[..name.max(2)])));
        }
        self.push('$', text);
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.command[self.at..].chars().next()
    }

    fn push(&mut self, c: char, text: &mut String) {
        text.push(c);
        self.at += c.len_utf8();
    }
}

fn needs(range: Range<usize>, what: impl Into<String>) -> NeedsShell {
    NeedsShell { range, what: Some(what.into()) }
}

/// `NAME=value`, as a shell would take it in front of a command.
fn assigns(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let check = |command: &str, expected: &[&str]| {
            let words: Vec<String> = split(command).unwrap().into_iter().map(|word| word.text).collect();
            assert_eq!(words, expected, "{command}");
        };
        check("sleep 1", &["sleep", "1"]);
        check("  a\t b  ", &["a", "b"]);
        check(r#"a "b c" 'd e' f\ g"#, &["a", "b c", "d e", "f g"]);
        check(r#"a "x\"y" 'x\y' """#, &["a", r#"x"y"#, r"x\y", ""]);
        check("a ${b c}d ${x:-e f}", &["a", "${b c}d", "${x:-e f}"]);
        check(r"a \${b} $${c} '$d' 5$", &["a", "$${b}", "$${c}", "$d", "5$"]);
        check("env A=b c", &["env", "A=b", "c"]);
        check("a b~c", &["a", "b~c"]);
    }

    #[test]
    fn what_only_a_shell_could_do_is_refused() {
        let check =
            |command: &str, at: usize| assert_eq!(split(command).unwrap_err().range.start, at, "{command}");
        check("a | b", 2);
        check("a && b", 2);
        check("a >x", 2);
        check("ls *.txt", 3);
        check("echo $HOME", 5);
        check("echo $(date)", 5);
        check("a `b`", 2);
        check("~/bin/a", 0);
        check("A=b c", 0);
        check("a 'b", 2);
        check("a; b", 1);
    }
}
