//! Names of units out of paths of children.

/// The name of a unit without its ending: prefix, then the ids from the root on, joined by `-`. Ids hold
/// `[A-Za-z0-9_.:@-]` only; `@` would make a template and is escaped as `systemd-escape(1)` does.
pub fn stem(prefix: &str, path: &str) -> String {
    format!("{prefix}{}", path.replace('/', "-").replace('@', "\\x40"))
}
