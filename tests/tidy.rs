//! The walls of the house, checked on its text: what the compiler and clippy cannot see. Each test is named for the
//! invariant of ARCHITECTURE.md that it guards.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, each knowing only those before it. `engine` and `keeper` are crates of their own.
const ROOMS: [&str; 14] = [
    "engine", "keeper", "tree", "units", "acs", "settings", "os", "store", "record", "runtime", "cluster",
    "control", "embed", "cli",
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn room(&self) -> Option<&'static str> {
        let below = self.path.strip_prefix(root().join("src")).expect("only files of src are read");
        let first = below.iter().next()?.to_str()?;
        ROOMS.into_iter().find(|room| first == *room || first == format!("{room}.rs"))
    }

    /// Lines with their numbers, from 1, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    fn collect(dir: &Path, into: &mut Vec<Source>) {
        for entry in fs::read_dir(dir).expect("src can be listed") {
            let path = entry.expect("src can be listed").path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a source file can be read");
                into.push(Source { path, text });
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 20, "only {} source files: is this the right directory?", found.len());
    found
}

/// Fails with every place in `src` where `wrong` gives a message.
fn check(wrong: impl Fn(&Source) -> Vec<(usize, String)>) {
    let places: Vec<String> = sources()
        .iter()
        .flat_map(|s| {
            wrong(s)
                .into_iter()
                .map(|(n, what)| format!("{}:{n}: {what}", s.path.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(places.is_empty(), "\n{}", places.join("\n"));
}

fn manifest(path: &str) -> toml::Table {
    fs::read_to_string(root().join(path))
        .expect("a manifest can be read")
        .parse()
        .expect("a manifest is TOML")
}

fn dependencies(manifest: &toml::Table) -> Vec<&str> {
    manifest
        .get("dependencies")
        .and_then(|d| d.as_table())
        .map(|d| d.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

#[test]
fn the_engine_has_no_dependency() {
    assert_eq!(dependencies(&manifest("src/engine/Cargo.toml")), [] as [&str; 0]);
}

#[test]
fn the_engine_has_no_clock_and_no_unsafe() {
    let lib = fs::read_to_string(root().join("src/engine/lib.rs")).expect("the engine is there");
    assert!(lib.contains("#![forbid(unsafe_code)]"));
    check(|s| {
        let aside =
            |c: std::path::Component| ["tests", "examples", "benches"].iter().any(|d| c.as_os_str() == *d);
        if s.room() != Some("engine") || s.path.components().any(aside) {
            return Vec::new();
        }
        let outside = [
            "std::time::Instant",
            "SystemTime",
            "std::thread",
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "println!",
        ];
        s.code()
            .filter_map(|(n, line)| {
                Some((n, format!("the engine knows no {}", outside.iter().find(|o| line.contains(**o))?)))
            })
            .collect()
    });
}

#[test]
fn the_keeper_knows_libc_only() {
    assert_eq!(dependencies(&manifest("src/keeper/Cargo.toml")), ["libc"]);
}

#[test]
fn unsafe_lives_in_keeper_and_os_only() {
    check(|s| match s.room() {
        Some("keeper" | "os") => Vec::new(),
        _ => s
            .code()
            .filter(|(_, line)| line.contains("unsafe "))
            .map(|(n, _)| (n, "unsafe outside its rooms".into()))
            .collect(),
    });
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    check(|s| {
        let lines: Vec<&str> = s.text.lines().collect();
        let explained = |n: usize| {
            lines[n.saturating_sub(6)..=n].iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety"))
        };
        s.code()
            .filter(|(n, line)| {
                (line.contains("unsafe {") || line.contains("unsafe impl")) && !explained(n - 1)
            })
            .map(|(n, _)| (n, "an unsafe block without a SAFETY line".into()))
            .collect()
    });
}

#[test]
fn a_room_knows_only_the_rooms_before_it() {
    check(|s| {
        // Engine and keeper are crates of their own, in which `crate` is not this house; their manifests are looked at.
        let room = s.room().filter(|room| !matches!(*room, "engine" | "keeper"));
        let Some(own) = room.and_then(|room| ROOMS.iter().position(|r| *r == room)) else {
            return Vec::new();
        };
        s.code()
            .flat_map(|(n, line)| {
                let later =
                    ROOMS[own + 1..].iter().filter(move |room| names(line, &format!("crate::{room}")));
                later.map(move |room| (n, format!("{} must not know {room}", ROOMS[own])))
            })
            .collect()
    });
}

/// Whether `line` has `path` as a whole path segment.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let next = line[at + path.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn nothing_is_left_to_be_done() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!(", "allow(dead_code"];
    check(|s| {
        let lines = s.text.lines().enumerate();
        lines
            .filter_map(|(n, line)| {
                Some((n + 1, format!("{} is left", marks.iter().find(|m| line.contains(**m))?)))
            })
            .collect()
    });
}

#[test]
fn a_panic_is_an_event_and_not_the_end() {
    let profiles = manifest("Cargo.toml");
    assert!(
        !profiles["profile"].to_string().contains("panic"),
        "ractor catches unwinds: never panic = \"abort\""
    );
}

#[test]
fn architecture_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let mut all: String = sources().iter().map(|s| s.text.as_str()).collect();
    let mut directories = vec![root().join("tests")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("tests can be listed") {
            let path = entry.expect("tests can be listed").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                all += &fs::read_to_string(path).expect("a test can be read");
            }
        }
    }
    let invariants = text
        .split("\n## Invariants")
        .nth(1)
        .expect("a section of invariants")
        .split("\n## ")
        .next()
        .unwrap_or_default();
    let named: Vec<&str> = invariants
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|w| w.contains('_') && !w.contains(['/', '.', ':', '(']))
        .collect();
    assert!(named.len() > 10, "the invariants name only {} tests", named.len());
    let missing: Vec<&str> = named.into_iter().filter(|test| !all.contains(&format!("fn {test}("))).collect();
    assert_eq!(missing, [] as [&str; 0], "tests that ARCHITECTURE.md names and nobody wrote");
}
