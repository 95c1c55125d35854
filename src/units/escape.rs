//! How text is written so that systemd reads it back as it was: `systemd.syntax(7)`, `systemd.service(5)`, and
//! `systemd-escape(1)` for names.

use std::fmt::Write as _;

/// A value that takes specifiers: `%` is `%%`.
pub fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
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
            c if c.is_control() => {
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

/// A command line for `Exec…=`. `prefix` is systemd's, such as `-` or `+`; empty: none.
pub fn command(prefix: &str, command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|argument| word(argument).replace('$', "$$")).collect();
    let words = words.iter().map(|w| if w == ";" { "\\;" } else { w.as_str() });
    format!("{prefix}{}", words.collect::<Vec<_>>().join(" "))
}
