//! Bytes of an XML file into text. A byte order mark goes first, then the encoding of the XML declaration, then UTF-8.
//!
//! Databases in use declare ISO-8859-1 or UTF-8, in any case. The single-byte relatives of Latin-1 are a few lines, so
//! no crate is needed for them; anything else is refused with the line where it is declared.

/// What the text cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undecodable {
    /// The file with its wrong bytes replaced, so that the place can be shown.
    pub text: String,
    /// First byte of the wrong part, in `text`.
    pub at: usize,
    /// What is wrong.
    pub message: String,
    /// A remedy.
    pub hint: &'static str,
}

/// Encodings by their names, in lower case.
const LATIN_1: &[&str] = &["iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1"];
const LATIN_9: &[&str] = &["iso-8859-15", "iso8859-15", "iso_8859-15", "latin9", "latin-9"];
const WINDOWS: &[&str] = &["windows-1252", "cp1252"];
const UTF_8: &[&str] = &["utf-8", "utf8", "us-ascii", "ascii"];

/// What ISO-8859-15 has in place of Latin-1's characters.
const LATIN_9_OWN: [(u8, char); 8] =
    [(0xa4, '€'), (0xa6, 'Š'), (0xa8, 'š'), (0xb4, 'Ž'), (0xb8, 'ž'), (0xbc, 'Œ'), (0xbd, 'œ'), (0xbe, 'Ÿ')];
/// What Windows-1252 has from 0x80 to 0x9f; five places are empty.
const WINDOWS_OWN: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The text of an XML file.
pub(super) fn decode(bytes: &[u8]) -> Result<String, Undecodable> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf_8(rest),
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        _ => declared(bytes),
    }
}

fn declared(bytes: &[u8]) -> Result<String, Undecodable> {
    let Some((at, name)) = declaration(bytes) else { return utf_8(bytes) };
    let lower = name.to_ascii_lowercase();
    let is = |names: &[&str]| names.contains(&lower.as_str());
    if is(UTF_8) {
        utf_8(bytes)
    } else if is(LATIN_1) {
        Ok(bytes.iter().copied().map(char::from).collect())
    } else if is(LATIN_9) {
        let own = |b: u8| LATIN_9_OWN.iter().find(|(byte, _)| *byte == b).map_or(char::from(b), |(_, c)| *c);
        Ok(bytes.iter().copied().map(own).collect())
    } else if is(WINDOWS) {
        let own = |b: u8| match b {
            0x80..=0x9f => WINDOWS_OWN[usize::from(b - 0x80)],
            _ => char::from(b),
        };
        Ok(bytes.iter().copied().map(own).collect())
    } else {
        Err(Undecodable {
            text: String::from_utf8_lossy(bytes).into_owned(),
            at,
            message: format!("the encoding {name} is not read"),
            hint: "UTF-8, ISO-8859-1, ISO-8859-15 or Windows-1252",
        })
    }
}

/// The encoding that the XML declaration names, and where.
fn declaration(bytes: &[u8]) -> Option<(usize, &str)> {
    let end = bytes.windows(2).take(256).position(|two| two == b"?>")?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let from = text.starts_with("<?xml").then(|| text.find("encoding"))??;
    let rest = &text[from + "encoding".len()..];
    let open = rest.find(['"', '\''])?;
    if !rest[..open].chars().all(|c| c == '=' || c.is_whitespace()) {
        return None;
    }
    let name = rest[open + 1..].split(['"', '\'']).next()?;
    Some((from + "encoding".len() + open + 1, name))
}

fn utf_8(bytes: &[u8]) -> Result<String, Undecodable> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(Undecodable {
            text: String::from_utf8_lossy(bytes).into_owned(),
            at: error.valid_up_to(),
            message: format!("byte 0x{:02x} is not UTF-8", bytes[error.valid_up_to()]),
            hint: "encoding=\"ISO-8859-1\" in the first line, if it is that",
        }),
    }
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Undecodable> {
    let units: Vec<u16> = bytes.chunks(2).map(|two| unit([two[0], *two.get(1).unwrap_or(&0)])).collect();
    String::from_utf16(&units).map_err(|_| Undecodable {
        text: String::new(),
        at: 0,
        message: "a byte order mark of UTF-16, and what follows is not UTF-16".to_owned(),
        hint: "save it as UTF-8",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_read_as_declared_whatever_the_case() {
        let check = |bytes: &[u8], text: &str| {
            let read = decode(bytes).expect("readable");
            assert!(read.ends_with(text), "{read:?} does not end with {text:?}");
        };
        check(b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\xfc\xa4", "ü¤");
        check(b"<?xml version='1.0' encoding = 'iso-8859-1'?>\xfc", "ü");
        check(b"<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?>\xa4", "€");
        check(b"<?xml version=\"1.0\" encoding=\"Windows-1252\"?>\x80\xfc", "€ü");
        check("<?xml version=\"1.0\" encoding=\"uTf-8\"?>ü".as_bytes(), "ü");
        check("\u{feff}<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>ü".as_bytes(), "ü");
        check("<a>ü</a>".as_bytes(), "<a>ü</a>");
        check(&[0xff, 0xfe, b'<', 0, 0xfc, 0], "<ü");
        check(&[0xfe, 0xff, 0, b'<', 0, 0xfc], "<ü");
        check(b"", "");
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        let error = decode(b"<?xml version=\"1.0\" encoding=\"EBCDIC\"?>").expect_err("unknown");
        assert_eq!((error.at, error.message.as_str()), (30, "the encoding EBCDIC is not read"));
        let error = decode(b"<a>\xfc</a>").expect_err("Latin-1 without saying so");
        assert_eq!((error.at, error.message.as_str()), (3, "byte 0xfc is not UTF-8"));
    }
}
