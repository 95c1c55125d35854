//! Other people's words for our verbs.

use crate::control::resolve;

/// Verb of `systemctl`, `supervisorctl`, `docker compose`, `svc` and what it is called here.
const WORDS: &[(&str, &str)] = &[
    ("cat", "woodward plan FILE PATH"),
    ("crm_mon", "woodward cluster status"),
    ("crm_resource", "woodward cluster move GROUP NODE"),
    ("crm_simulate", "woodward cluster what-if kill NODE"),
    ("crm_standby", "woodward cluster drain NODE"),
    ("daemon-reload", "woodward apply FILE"),
    ("disable", "woodward stop PATH, or `enabled = false` in the tree file"),
    ("down", "woodward stop PATH; to end everything, SIGTERM to `woodward run`"),
    ("drain", "woodward cluster drain NODE"),
    ("enable", "woodward units install FILE"),
    ("exec", "woodward attach PATH (a later version)"),
    ("failover", "woodward cluster move GROUP"),
    ("help", "woodward --help"),
    ("journalctl", "woodward logs [PATH]"),
    ("kill", "woodward signal PATH SIGTERM; to stop it: woodward stop PATH"),
    ("list-units", "woodward status --json"),
    ("log", "woodward logs [PATH]"),
    ("ls", "woodward status"),
    ("maintenance", "woodward cluster maintenance on"),
    ("mask", "woodward hold PATH"),
    ("migrate", "woodward cluster move GROUP NODE"),
    ("move", "woodward cluster move GROUP NODE"),
    ("pcs", "woodward cluster status"),
    ("ps", "woodward status"),
    ("reread", "woodward apply FILE"),
    ("reset-failed", "woodward release PATH, or woodward start PATH"),
    ("show", "woodward status --json"),
    ("standby", "woodward cluster drain NODE"),
    ("switchover", "woodward cluster move GROUP NODE"),
    ("tail", "woodward logs -f [PATH]"),
    ("tree", "woodward status, or woodward plan FILE"),
    ("undrain", "woodward cluster undrain NODE"),
    ("unmask", "woodward release PATH"),
    ("unstandby", "woodward cluster undrain NODE"),
    ("up", "woodward run FILE"),
    ("update", "woodward apply FILE"),
    ("validate", "woodward check FILE"),
    ("what-if", "woodward cluster what-if kill NODE"),
];

/// Verbs that come with a later version.
const LATER: &[&str] = &["attach"];

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
