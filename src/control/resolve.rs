//! What a PATH on the command line means: a full path, or any unique end of one, in whole ids.

/// All paths `asked` may mean. A full path means itself, whatever else ends like it.
pub fn candidates<'a>(asked: &str, paths: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let asked = asked.trim_matches('/');
    let mut found = Vec::new();
    for path in paths {
        if path == asked {
            return vec![path];
        }
        if ends_with(path, asked) {
            found.push(path);
        }
    }
    found
}

/// Whether the last ids of `path` are `end`.
pub fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|front| front.is_empty() || front.ends_with('/')) && !end.is_empty()
}

/// Several paths, one a line, for an error message; not more than a screen of them.
pub fn listed<T: AsRef<str>>(paths: &[T]) -> String {
    const SHOWN: usize = 10;
    let mut text: String = paths.iter().take(SHOWN).map(|path| format!("\n  {}", path.as_ref())).collect();
    if paths.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", paths.len() - SHOWN));
    }
    text
}

/// The path whose last id is most like the last id of `asked`, for a hint; `None` when none is near.
pub fn nearest<'a>(asked: &str, paths: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    let wanted = asked.rsplit('/').next().unwrap_or(asked);
    let (distance, path) = paths
        .into_iter()
        .map(|path| (distance(wanted, last(path)), path))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + wanted.chars().count() / 4).then_some(path)
}

/// Letters to insert, leave out, change, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let one = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if swapped { one.min(rows[i - 2][j - 2] + 1) } else { one }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: &[&str] =
        &["acs", "acs/logging", "acs/logging/channel", "acs/logging/logger", "acs/x/logger", "acs/web/acs"];

    fn check(asked: &str, expected: &[&str]) {
        assert_eq!(candidates(asked, PATHS.iter().copied()), expected, "{asked}");
    }

    #[test]
    fn a_path_is_full_or_a_unique_end() {
        check("acs/logging/channel", &["acs/logging/channel"]);
        check("channel", &["acs/logging/channel"]);
        check("x/logger", &["acs/x/logger"]);
        check("logger", &["acs/logging/logger", "acs/x/logger"]);
        check("acs", &["acs"]);
        check("acs/", &["acs"]);
    }

    #[test]
    fn only_whole_ids_count() {
        check("hannel", &[]);
        check("ging/channel", &[]);
        check("", &[]);
        check("acs/logging/chann", &[]);
    }

    #[test]
    fn a_list_fits_a_screen() {
        assert_eq!(listed(&["a", "b"]), "\n  a\n  b");
        assert!(listed(&["a"; 25]).ends_with("\n  a\n  and 15 more"));
    }

    #[test]
    fn a_near_word_is_hinted() {
        assert_eq!(nearest("chanel", PATHS.iter().copied()), Some("acs/logging/channel"));
        assert_eq!(nearest("acs/wbe", ["acs/web"].into_iter()), Some("acs/web"));
        assert_eq!(nearest("completely", PATHS.iter().copied()), None);
    }
}
