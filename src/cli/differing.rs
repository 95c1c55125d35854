//! How two texts differ, as `diff -u` shows it.

use similar::{ChangeTag, TextDiff};

use super::style::{Colour, Style};

/// Unchanged lines around a change.
const AROUND: usize = 3;

/// A unified diff; empty if nothing differs.
pub(super) fn unified(from: &str, to: &str, old: &str, new: &str, style: Style) -> String {
    let hunks = hunks(old, new, style);
    if hunks.is_empty() { hunks } else { format!("--- {from}\n+++ {to}\n{hunks}") }
}

/// A unified diff without its first two lines.
pub(super) fn hunks(old: &str, new: &str, style: Style) -> String {
    let mut out = String::new();
    for hunk in TextDiff::from_lines(old, new).unified_diff().context_radius(AROUND).iter_hunks() {
        out += &format!("{}\n", style.paint(Colour::Cyan, &hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches('\n');
            let line = match change.tag() {
                ChangeTag::Equal => format!(" {line}"),
                ChangeTag::Delete => style.paint(Colour::BoldRed, &format!("-{line}")),
                ChangeTag::Insert => style.paint(Colour::Green, &format!("+{line}")),
            };
            out += &format!("{line}\n");
        }
    }
    out
}
