//! Units read back, as systemd reads them: text, values, and what of several files makes one unit.
//!
//! ```text
//! bytes ─ text ─ Assignment (place of every character) ─┬─ keys: what the release does not know
//!                                                       ├─ words, values: what it makes of the value
//! shelf (directories) ─ load: fragment + drop-ins ──────┴─ Loaded ─ lint, import
//! ```
//!
//! Rules: `systemd.syntax(7)`, `systemd.unit(5)`, and what systemd 252 does where they are silent. Nothing here reads a
//! disk: a [`Shelf`] holds the files.

pub mod import;
pub mod keys;
pub mod lint;
pub mod load;
pub mod scene;
pub mod specifiers;
pub mod text;
pub mod values;
pub mod words;

pub use load::{Entry, Loaded, Shelf};
pub use scene::Scene;
pub use text::{Assignment, File};
pub use words::Word;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{Section, Unit, escape};
    use super::specifiers::Name;
    use super::{text, words};

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z/=._-]{1,8}",
            "[ -~\\t\\n]{0,12}",
            any::<String>().prop_map(|text| text.replace('\0', "")),
            Just(";".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_read_back(
            argv in vec(word(), 0..5),
            variables in vec(word(), 0..3),
            text in "[a-z%é\"' ]{1,20}",
        ) {
            let argv: Vec<String> = std::iter::once("/bin/program".to_owned()).chain(argv).collect();
            let mut unit = Unit::new("a.service", "t/a");
            unit.set(Section::Unit, "Description", escape::specifiers(text.trim()), "", "");
            unit.set(Section::Service, "ExecStart", escape::command("-", &argv), "", "");
            for value in &variables {
                unit.set(Section::Service, "Environment", escape::word(&format!("NAME={value}")), "", "");
            }
            let parsed = text::parse("a.service", unit.to_string().as_bytes());
            prop_assert_eq!(&parsed.diagnostics, &vec![]);
            let lines: Vec<_> =
                unit.lines.iter().map(|l| (l.section.to_string(), l.key.to_owned(), l.value.clone())).collect();
            let read: Vec<_> =
                parsed.assignments.iter().map(|a| (a.section.clone(), a.key.clone(), a.value.clone())).collect();
            prop_assert_eq!(read, lines);

            let name = Name::of("a.service");
            let plain = |text: &str| name.expand(text).0;
            let value = |key| parsed.assignments.iter().filter(move |a| a.key == key).map(|a| &*a.value);
            prop_assert_eq!(value("Description").map(plain).collect::<Vec<_>>(), [text.trim()]);
            let (commands, problems) = words::commands(value("ExecStart").next().unwrap_or_default());
            prop_assert_eq!(problems, []);
            prop_assert!(commands[0].may_fail());
            let dollar = if commands[0].expands() { "$$" } else { "$" };
            let read: Vec<String> = commands[0].argv.iter().map(|w| plain(&w.text).replace(dollar, "$")).collect();
            prop_assert_eq!(read, argv);
            let read: Vec<String> = value("Environment")
                .flat_map(|value| words::split(value, words::Escapes::C).0)
                .map(|word| plain(&word.text)["NAME=".len()..].to_owned())
                .collect();
            prop_assert_eq!(read, variables);
        }
    }
}
