//! `%i` and its like: what the name of a unit says. What the host says (`%H`, `%h`) is not known here.

use std::ops::Range;

/// The parts of a unit's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// `acs-naming@2.service`.
    pub full: String,
    /// `acs-naming`.
    pub prefix: String,
    /// `2`; `None`: no instance. Empty: a template.
    pub instance: Option<String>,
    /// `service`.
    pub kind: String,
}

/// A `%` in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Percent {
    /// Filled in.
    Known,
    /// `%%`.
    Escaped,
    /// Known when the unit is loaded on its host: `%H`.
    Host(char),
    /// No specifier: it stays as it is.
    Unknown(char),
}

/// Specifiers that systemd 252 knows besides those that are filled in here.
const HOSTS: &str = "abBACdDEfgGhHIJkKlLmMoqrRsSTtuUvVwWyYc";

impl Name {
    /// Takes a name apart.
    pub fn of(full: &str) -> Name {
        let (stem, kind) = full.rsplit_once('.').unwrap_or((full, ""));
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_owned())),
            None => (stem, None),
        };
        Name { full: full.to_owned(), prefix: prefix.to_owned(), instance, kind: kind.to_owned() }
    }

    /// It has an `@` and nothing behind it: it cannot be started.
    pub fn is_template(&self) -> bool {
        self.instance.as_deref() == Some("")
    }

    /// The template of an instance: `acs-naming@.service`.
    pub fn template(&self) -> Option<String> {
        self.instance.as_deref().filter(|i| !i.is_empty()).map(|_| format!("{}@.{}", self.prefix, self.kind))
    }

    /// Fills in what the name says. Also the bytes of every `%` and what it is.
    pub fn expand(&self, text: &str) -> (String, Vec<(Range<usize>, Percent)>) {
        let (mut out, mut found, mut at) = (String::new(), Vec::new(), 0);
        while let Some(percent) = text[at..].find('%').map(|offset| at + offset) {
            out.push_str(&text[at..percent]);
            let Some(c) = text[percent + 1..].chars().next() else {
                found.push((percent..percent + 1, Percent::Unknown('%')));
                out.push('%');
                at = percent + 1;
                continue;
            };
            at = percent + 1 + c.len_utf8();
            let known = match c {
                '%' => Some("%".to_owned()),
                'n' => Some(self.full.clone()),
                'N' => Some(self.full.rsplit_once('.').map_or(&*self.full, |(stem, _)| stem).to_owned()),
                'p' => Some(self.prefix.clone()),
                'P' => Some(unescape(&self.prefix)),
                'i' => Some(self.instance.clone().unwrap_or_default()),
                'I' => Some(unescape(self.instance.as_deref().unwrap_or_default())),
                'j' => self.prefix.rsplit('-').next().map(str::to_owned),
                'J' => self.prefix.rsplit('-').next().map(unescape),
                'f' => {
                    let name = self.instance.as_deref().filter(|i| !i.is_empty()).unwrap_or(&self.prefix);
                    Some(format!("/{}", unescape(name).trim_start_matches('/')))
                }
                _ => None,
            };
            let what = match (&known, c) {
                (_, '%') => Percent::Escaped,
                (Some(_), _) => Percent::Known,
                (None, c) if HOSTS.contains(c) => Percent::Host(c),
                (None, c) => Percent::Unknown(c),
            };
            found.push((percent..at, what));
            match known {
                Some(known) => out.push_str(&known),
                None => out.push_str(&text[percent..at]),
            }
        }
        out.push_str(&text[at..]);
        (out, found)
    }
}

/// `systemd-escape --unescape`: `-` is `/`, `\x2d` is `-`.
pub fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        let byte = rest
            .strip_prefix("\\x")
            .and_then(|hex| hex.get(..2))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = byte {
            out.push(byte);
            rest = &rest[4..];
            continue;
        }
        match c {
            '-' => out.push(b'/'),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[c.len_utf8()..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_parts_and_fills_in_specifiers() {
        let check = |name: &str, text: &str, expected: &str| {
            assert_eq!(Name::of(name).expand(text).0, expected, "{name} {text}");
        };
        check(
            "acs-naming@2.service",
            "%n %N %p %i %j",
            "acs-naming@2.service acs-naming@2 acs-naming 2 naming",
        );
        check(r"mount@dev-sd\x2da.service", "%i %I %f", r"dev-sd\x2da dev/sd-a /dev/sd-a");
        check("a.service", "100%% %i. %H %", "100% . %H %");
        assert_eq!(Name::of("a@b.service").template().as_deref(), Some("a@.service"));
        assert!(Name::of("a@.service").is_template());
        let (_, found) = Name::of("a.service").expand("%% %H %z %p");
        let found: Vec<Percent> = found.into_iter().map(|(_, what)| what).collect();
        assert_eq!(found, [Percent::Escaped, Percent::Host('H'), Percent::Unknown('z'), Percent::Known]);
    }
}
