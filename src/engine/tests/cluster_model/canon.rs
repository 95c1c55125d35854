//! States that differ in nothing but how late it is and how often the register was written are one state.
//!
//! The machine compares revisions, ids and counters with each other and times with the present; it does nothing else with
//! them. So a state is known by its `Debug` text, in which revisions stand as their ranks among all revisions of
//! the state, ids and counters likewise, and times as distances from now.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{Debug, Write};
use std::hash::{Hash, Hasher};

/// How a number is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Compared with now.
    Time,
    /// Compared with other terms.
    Term,
    /// Compared with other revisions.
    Revision,
    /// Compared with other ids of the same part.
    Id,
    /// Beat counters.
    Beat,
    /// Written down for people or for failback, which no search here uses.
    Told,
    /// As it stands.
    Plain,
}

/// The text of a part without its numbers, and these.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    text: (u64, u64),
    numbers: Vec<(Class, u64)>,
}

fn hash_of(seed: u64, what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    hasher.finish()
}

fn class(word: &str, separator: u8) -> Class {
    match word {
        "Time" => Class::Time,
        "Term" => Class::Term,
        "Epoch" | "Revision" | "revision" | "seen" | "accepted" | "Done" => Class::Revision,
        "id" | "number" | "last_id" => Class::Id,
        "Beat" | "beat" => Class::Beat,
        // `(12, Beat(7))` of a register's entries, `At(Beat("a"), 12)`.
        "" if separator == b'(' => Class::Revision,
        "At" => Class::Revision,
        _ => Class::Plain,
    }
}

impl Digest {
    /// Of one part, by its `Debug` text.
    pub fn new(part: &impl Debug) -> Digest {
        let mut text = String::with_capacity(4096);
        write!(text, "{part:?}").expect("a string takes everything");
        Digest::of_text(text.as_bytes())
    }

    fn of_text(text: &[u8]) -> Digest {
        let mut rest = Vec::with_capacity(text.len());
        let mut numbers = Vec::new();
        let (mut word, mut field, mut i) = (0..0, 0..0, 0);
        let mut quoted = false;
        while i < text.len() {
            let byte = text[i];
            if byte == b'"' {
                quoted = !quoted;
            }
            let inside = i > 0 && (text[i - 1].is_ascii_alphanumeric() || text[i - 1] == b'_');
            if !quoted && byte.is_ascii_digit() && !inside {
                let end = (i..text.len()).find(|at| !text[*at].is_ascii_digit()).unwrap_or(text.len());
                let number =
                    text[i..end].iter().fold(0u64, |n, d| n.wrapping_mul(10).wrapping_add((d - b'0').into()));
                let separator = text[i - 1];
                // `Name(12`, `name: 12`: the word before counts; after a comma the one that opened the tuple.
                let before = std::str::from_utf8(&text[word.clone()]).unwrap_or("");
                let near = i - word.end <= 2;
                let told = matches!(
                    &text[field.clone()],
                    b"start_took" | b"stop_took" | b"silent" | b"quiet" | b"steady"
                );
                let of = match near {
                    _ if told && matches!(before, "Time" | "Some" | "silent") => Class::Told,
                    true => class(before, separator),
                    false => tuple(text, i),
                };
                numbers.push((of, number));
                i = end;
                continue;
            }
            if !quoted && (byte.is_ascii_alphabetic() || byte == b'_') {
                if !inside {
                    word = i..i + 1;
                } else {
                    word.end = i + 1;
                }
            }
            if !quoted && byte == b':' && inside {
                field = word.clone();
            }
            rest.push(byte);
            i += 1;
        }
        Digest { text: (hash_of(1, &rest), hash_of(2, &rest)), numbers }
    }
}

/// The class of a number that no word stands before: by the word before the bracket it is in.
fn tuple(text: &[u8], at: usize) -> Class {
    if text[at - 1] == b'(' {
        return Class::Revision;
    }
    let mut depth = 0;
    for open in (0..at).rev() {
        match text[open] {
            b')' | b']' | b'}' => depth += 1,
            b'(' | b'[' | b'{' if depth > 0 => depth -= 1,
            b'(' | b'[' | b'{' => {
                let begin = (0..open).rev().find(|i| !text[*i].is_ascii_alphabetic()).map_or(0, |i| i + 1);
                return class(std::str::from_utf8(&text[begin..open]).unwrap_or(""), b',');
            }
            _ => {}
        }
    }
    Class::Plain
}

/// Of a whole state: each part with its own present; nothing is told apart that lies longer ago than `past`.
pub fn key<'a>(parts: impl Iterator<Item = (&'a Digest, u64)> + Clone, past: u64) -> u128 {
    let ranks = |class: Class| {
        let mut all: Vec<u64> = parts
            .clone()
            .flat_map(|(digest, _)| digest.numbers.iter().filter(|(of, _)| *of == class).map(|(_, n)| *n))
            .collect();
        all.push(0);
        all.sort_unstable();
        all.dedup();
        all
    };
    let (revisions, beats, terms) = (ranks(Class::Revision), ranks(Class::Beat), ranks(Class::Term));
    let mut ids: Vec<u64> = Vec::new();
    let (mut a, mut b) = (DefaultHasher::new(), DefaultHasher::new());
    1u8.hash(&mut b);
    let mut add = |n: u64| {
        n.hash(&mut a);
        n.hash(&mut b);
    };
    for (digest, now) in parts {
        ids.clear();
        ids.extend(digest.numbers.iter().filter(|(of, _)| *of == Class::Id).map(|(_, n)| *n));
        ids.sort_unstable();
        ids.dedup();
        add(digest.text.0);
        add(digest.text.1);
        for (class, n) in &digest.numbers {
            let rank = |all: &[u64]| all.partition_point(|other| other < n) as u64;
            add(match class {
                Class::Time => (n + past).saturating_sub(now).min(1 << 40),
                Class::Revision => rank(&revisions),
                Class::Beat => rank(&beats),
                Class::Id => rank(&ids),
                Class::Term => rank(&terms),
                Class::Told => 0,
                Class::Plain => *n,
            });
        }
    }
    (u128::from(a.finish()) << 64) | u128::from(b.finish())
}
