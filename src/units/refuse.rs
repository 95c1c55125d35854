//! What no unit file can hold: asked once, of every line there is, whoever has written it.

use super::{Error, Rendering, escape};

/// Longest line systemd reads: `LONG_LINE_MAX`.
const LONGEST_LINE: usize = 1 << 20;
/// Longest name of a unit: `UNIT_NAME_MAX`.
const LONGEST_NAME: usize = 255;

/// Refuses what cannot be written: NUL, a newline where no escape gives one, blanks around a path, lines of 1 MiB, names
/// beyond 255 bytes.
pub fn refuse(rendering: &Rendering) -> Result<(), Error> {
    for unit in &rendering.units {
        if unit.name.len() > LONGEST_NAME {
            let text =
                format!("{} has {} bytes, and a unit's name has 255 at most", unit.name, unit.name.len());
            return Err(Error::Impossible { path: unit.path.clone(), text });
        }
        for line in &unit.lines {
            if let Some(what) = fault(line.key, &line.value) {
                let text = format!("`{}` ({}= in {}) {what}", line.why.key, line.key, unit.name);
                return Err(Error::Impossible { path: line.why.path.clone(), text });
            }
        }
    }
    Ok(())
}

fn fault(key: &str, value: &str) -> Option<&'static str> {
    // A blank at the end protects a backslash in front of it.
    let padded = value.ends_with([' ', '\t']) && !value.ends_with("\\ ");
    if value.contains('\0') {
        Some("holds a NUL character")
    } else if value.contains(['\n', '\r']) {
        Some("holds the end of a line, which cannot be written there")
    } else if value.chars().any(escape::is_noncharacter) {
        Some("holds a character that is none, and systemd calls the line no UTF-8")
    } else if value.starts_with([' ', '\t']) || padded {
        Some("begins or ends with a blank, which cannot be written there")
    } else if value.len() + key.len() + 1 >= LONGEST_LINE {
        Some("is longer than 1 MiB, the longest line systemd reads")
    } else if value.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
        Some("ends with a backslash, which cannot be written there")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Section, Unit};
    use super::*;

    fn of(value: &str) -> Result<(), Error> {
        let mut unit = Unit::new("t-a.service", "t/a");
        unit.set(Section::Service, "WorkingDirectory", value, "working_directory", "");
        refuse(&Rendering { units: vec![unit], ..Rendering::default() })
    }

    #[test]
    fn what_no_line_can_hold_is_refused_with_the_child() {
        for value in ["a\0b", "/a\nb", "/a ", " /a", "/a\\", "/\u{fffe}", &"x".repeat(1 << 20)] {
            let message = of(value).unwrap_err().to_string();
            assert!(message.starts_with("cannot make a unit of t/a: `working_directory`"), "{message}");
        }
        assert_eq!(of("/a b\\\\"), Ok(()));
        assert_eq!(of("/a\\ "), Ok(()));
    }

    #[test]
    fn a_name_beyond_255_bytes_is_refused() {
        let unit = Unit::new(format!("{}.service", "x".repeat(248)), "t/x");
        let units = Rendering { units: vec![unit], ..Rendering::default() };
        assert!(refuse(&units).unwrap_err().to_string().contains("255"));
    }
}
