//! How two texts differ, as `diff -u` shows it.

use similar::TextDiff;

/// Unchanged lines around a change.
const AROUND: usize = 3;

/// A unified diff of a file; empty if nothing differs.
pub(super) fn unified(name: &str, old: &str, new: &str) -> String {
    let old_name = if old.is_empty() { "/dev/null" } else { name };
    let new_name = if new.is_empty() { "/dev/null" } else { name };
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(AROUND)
        .header(old_name, new_name)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_as_diff_does() {
        assert_eq!(unified("f", "a\nb\n", "a\nc\n"), "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(unified("f", "a\n", "a\n"), "");
        assert_eq!(unified("f", "", "a\n"), "--- /dev/null\n+++ f\n@@ -0,0 +1 @@\n+a\n");
    }
}
