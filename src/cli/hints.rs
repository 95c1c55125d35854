//! Other people's words for our verbs.

use crate::control::resolve;

/// Verb of `systemctl`, `supervisorctl`, `docker compose`, `svc` and what it is called here.
const WORDS: &[(&str, &str)] = &[
    ("cat", "woodward plan FILE PATH"),
    ("daemon-reload", "woodward apply FILE"),
    ("disable", "woodward stop PATH, or `enabled = false` in the tree file"),
    ("down", "woodward stop PATH; to end everything, SIGTERM to `woodward run`"),
    ("enable", "woodward units install (a later version)"),
    ("exec", "woodward attach PATH (a later version)"),
    ("help", "woodward --help"),
    ("journalctl", "woodward logs [PATH]"),
    ("kill", "woodward signal PATH SIGTERM; to stop it: woodward stop PATH"),
    ("list-units", "woodward status --json"),
    ("log", "woodward logs [PATH]"),
    ("ls", "woodward status"),
    ("mask", "woodward hold PATH"),
    ("ps", "woodward status"),
    ("reread", "woodward apply FILE"),
    ("reset-failed", "woodward release PATH, or woodward start PATH"),
    ("show", "woodward status --json"),
    ("tail", "woodward logs -f [PATH]"),
    ("tree", "woodward status, or woodward plan FILE"),
    ("unmask", "woodward release PATH"),
    ("up", "woodward run FILE"),
    ("update", "woodward apply FILE"),
    ("validate", "woodward check FILE"),
];

/// Verbs that come with a later version.
const LATER: &[&str] = &["attach", "cluster", "import", "units", "upgrade"];

/// What to type instead of `word`, which is none of `ours`.
pub fn verb(word: &str, ours: &[&str]) -> Option<String> {
    if let Some((_, hint)) = WORDS.iter().find(|(theirs, _)| *theirs == word) {
        return Some((*hint).to_owned());
    }
    if LATER.contains(&word) {
        return Some(format!("{word} comes with a later version; woodward --help lists what there is"));
    }
    resolve::nearest(word, ours.iter().copied()).map(|near| format!("woodward {near}"))
}
