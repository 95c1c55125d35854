//! How text is written so that systemd reads it back as it was: `systemd.syntax(7)`, `systemd.service(5)`, and
//! `systemd-escape(1)` for names.
//!
//! | value | written by |
//! |---|---|
//! | one text up to the end of the line (`Description=`, a path) | [`text`], [`specifiers`] |
//! | words with blanks between them (`Environment=`, `ReadOnlyPaths=`) | [`word`] |
//! | a command line | [`command`] |
//! | an address (`Documentation=`) | [`address`] |
//! | directories with colons between them (`ExecSearchPath=`) | [`colons`] |
//! | a piece of a script of `sh -c` | [`shell`] |
//!
//! What cannot be written in any way (a NUL, a path with a newline, a line over 1 MiB) comes out as it is; it is refused
//! once for all lines, in [`super::refuse`].

use std::fmt::Write as _;
use std::time::Duration;

/// A value that takes specifiers: `%` is `%%`.
pub fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// Free text for people up to the end of the line: what would end the line becomes a blank. A backslash at the very end
/// would go on in the next line, so a blank follows it, which systemd takes off again.
pub fn text(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() || is_noncharacter(c) { ' ' } else { c }).collect();
    let line = specifiers(line.trim());
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    if backslashes % 2 == 1 { line + " " } else { line }
}

/// One word of a value that is split at blanks, in quotes if it needs them. Specifiers are escaped, `$` is not.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%^~$#&*?!<>{}()[]|".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return specifiers(text);
    }
    let mut out = String::from("\"");
    for c in specifiers(text).chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // No escape gives it, and systemd refuses it.
            '\0' => out.push(c),
            c if c.is_control() || is_noncharacter(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(out, "\\x{byte:02x}").expect("a string takes everything");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Words with blanks between them.
pub fn words<'t>(words: impl IntoIterator<Item = &'t str>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A command line for `Exec…=`, taken literally: no variable is replaced in it. `prefix` is systemd's, such as `-` or
/// `+`; empty: none. The first word must be one that [`is_program`].
pub fn command(prefix: &str, command: &[impl AsRef<str>]) -> String {
    let literal = if command.iter().any(|argument| argument.as_ref().contains('$')) { ":" } else { "" };
    format!("{prefix}{literal}{}", words(command.iter().map(AsRef::as_ref)))
}

/// Whether systemd takes this as the first word of a command: an absolute path or the name of a file, without what
/// would be one of its prefixes, quotes, backslashes and control characters.
pub fn is_program(text: &str) -> bool {
    let safe = !text.chars().any(|c| c.is_control() || is_noncharacter(c) || "\"'\\".contains(c));
    let name = !text.contains('/')
        && !text.starts_with(['-', '@', ':', '+', '!', '|'])
        && !matches!(text, "" | "." | "..");
    safe && (name || (text.starts_with('/') && !text.ends_with('/'))) && text.len() < 4096
}

/// Whether systemd takes this as a variable of the environment: it drops others with a warning.
pub fn is_variable(name: &str, value: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit());
    named && !value.chars().any(is_noncharacter)
}

/// Absolute directories with colons between them; others cannot stand there and are left out.
pub fn colons(path: &str) -> String {
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| specifiers(&directory.replace('\\', "\\\\"))).collect::<Vec<_>>().join(":")
}

/// The name of one directory of `RuntimeDirectory=`, where a colon would begin the name of a link to it.
pub fn directory(name: &str) -> String {
    specifiers(&name.replace('\\', "\\\\").replace(':', "\\:"))
}

/// The address of a file, for `Documentation=`.
pub fn address(path: &str) -> String {
    let mut out = String::from("file:");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~+:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%%{byte:02X}").expect("a string takes everything");
        }
    }
    out
}

/// One word of a script for `sh`.
pub fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+%@^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A command as a piece of a script for `sh`.
pub fn shell_words(command: &[impl AsRef<str>]) -> String {
    command.iter().map(|argument| shell(argument.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A span of time that has to pass before something happens. Nothing at all would mean "never" to systemd, so it is a
/// microsecond at least.
pub fn time(time: Duration) -> String {
    let micros = time.as_micros().max(1);
    match (micros % 1_000_000, micros % 1000) {
        (0, _) => format!("{}s", micros / 1_000_000),
        (_, 0) => format!("{}ms", micros / 1000),
        _ => format!("{micros}us"),
    }
}

/// Characters that Unicode will never give a meaning; to systemd a line with one of them is no UTF-8.
pub(super) fn is_noncharacter(c: char) -> bool {
    let number = u32::from(c);
    (0xfdd0..=0xfdef).contains(&number) || number & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        let check = |text: &str, written: &str| assert_eq!(word(text), written);
        check("a=b", "a=b");
        check("", "\"\"");
        check("a b", "\"a b\"");
        check(";", "\";\"");
        check("100%", "100%%");
        check("\\", "\"\\\\\"");
        check("a\n\r\u{85}'", "\"a\\n\\x0d\\xc2\\x85'\"");
        check("\u{fffe}é", "\"\\xef\\xbf\\xbeé\"");
    }

    #[test]
    fn a_command_with_a_dollar_is_taken_literally() {
        assert_eq!(command("-", &["/bin/echo", "$HOME", "%n"]), "-:/bin/echo $HOME %%n");
        assert_eq!(command("", &["echo", "x"]), "echo x");
    }

    #[test]
    fn programs_that_systemd_would_misread_are_told_apart() {
        for program in ["/bin/a", "a", "a$b", "/a:b", "/-x", "a=b", "é"] {
            assert!(is_program(program), "{program}");
        }
        for program in
            ["", "-a", "@a", ":a", "+a", "!a", "|a", "./a", "a/b", "/a/", ".", "/a'", "/a\\b", "/a\n"]
        {
            assert!(!is_program(program), "{program}");
        }
    }

    #[test]
    fn text_stays_in_its_line() {
        assert_eq!(text(" a\nb% "), "a b%%");
        assert_eq!(text("a\\"), "a\\ ");
        assert_eq!(text("a\\\\"), "a\\\\");
    }

    #[test]
    fn no_time_at_all_is_not_never() {
        let check = |millis, written: &str| assert_eq!(time(Duration::from_millis(millis)), written);
        check(0, "1us");
        check(1500, "1500ms");
        check(60_000, "60s");
    }

    #[test]
    fn addresses_hold_no_blank() {
        assert_eq!(address("/a b/é.toml"), "file:/a%%20b/%%C3%%A9.toml");
    }

    #[test]
    fn scripts_get_words_as_they_are() {
        assert_eq!(shell_words(&["exec", "a'b", "", "$x"]), "exec 'a'\\''b' '' '$x'");
    }
}
