//! Hints: the nearest word, and the words of other people.

/// What others call it, and what it is called here. Used when such a key is met.
const KEYS: &[(&str, &str)] = &[
    ("name", "id"),
    ("cmd", "command"),
    ("exec", "command"),
    ("program", "command"),
    ("execstart", "command"),
    ("depends_on", "after"),
    ("requires", "after"),
    ("needs", "after"),
    ("env", "environment"),
    ("env_file", "environment_file"),
    ("environmentfile", "environment_file"),
    ("cwd", "working_directory"),
    ("directory", "working_directory"),
    ("working_dir", "working_directory"),
    ("workingdirectory", "working_directory"),
    ("replicas", "each"),
    ("numprocs", "each"),
    ("count", "each"),
    ("healthcheck", "health"),
    ("livenessprobe", "health"),
    ("readinessprobe", "ready"),
    ("startsecs", "ready.settle"),
    ("stopsignal", "stop.signal"),
    ("kill_signal", "stop.signal"),
    ("killsignal", "stop.signal"),
    ("stopwaitsecs", "shutdown"),
    ("kill_timeout", "shutdown"),
    ("stop_grace_period", "shutdown"),
    ("timeoutstopsec", "shutdown"),
    ("stop_within", "shutdown"),
    ("restartsec", "backoff.first"),
    ("max_restarts", "intensity"),
    ("startlimitburst", "intensity"),
    ("window", "period"),
    ("startlimitinterval", "period"),
    ("disabled", "enabled"),
    ("profiles", "only"),
    ("listenstream", "listen"),
    ("listendatagram", "listen"),
    ("sockets", "listen"),
    ("memorymax", "memory_max"),
    ("memory_limit", "memory_max"),
    ("mem_limit", "memory_max"),
    ("memoryhigh", "memory_high"),
    ("mem_reservation", "memory_high"),
    ("cpuweight", "cpu_weight"),
    ("cpu_shares", "cpu_weight"),
    ("cpuquota", "cpu_quota"),
    ("cpus", "cpu_quota"),
    ("tasksmax", "tasks_max"),
    ("pids_limit", "tasks_max"),
    ("ioweight", "io_weight"),
    ("nonewprivileges", "no_new_privileges"),
    ("capabilityboundingset", "capabilities"),
    ("ambientcapabilities", "capabilities"),
    ("cap_add", "capabilities"),
    ("cap_drop", "capabilities"),
    ("privatetmp", "private_tmp"),
    ("readonlypaths", "read_only_paths"),
    ("read_only", "read_only_paths"),
    ("protectsystem", "harden"),
    ("children", "child"),
    ("variables", "vars"),
    ("hosts", "nodes"),
    ("node_list", "nodes"),
    ("members", "nodes"),
    ("vip", "address"),
    ("virtual_ipaddress", "address"),
    ("addresses", "address"),
    ("ip", "address"),
    ("stonith", "fencing"),
    ("fence", "fencing"),
    ("colocation", "with"),
    ("affinity", "with"),
    ("anti_affinity", "apart"),
    ("antiaffinity", "apart"),
    ("resource_stickiness", "failback"),
    ("stickiness", "failback"),
    ("nopreempt", "failback"),
    ("preempt_delay", "failback.steady"),
    ("migration_threshold", "intensity"),
    ("ttl", "timing"),
    ("lease", "timing"),
    ("token", "timing"),
    ("advert_int", "timing"),
    ("dead_interval", "timing.wait"),
    ("interval", "beat"),
    ("cluster", "failover"),
    ("ha", "failover"),
];

/// The same for the values of `restart`.
const RESTARTS: &[(&str, &str)] = &[
    ("always", "permanent"),
    ("unless-stopped", "permanent"),
    ("unless_stopped", "permanent"),
    ("true", "permanent"),
    ("on-failure", "transient"),
    ("on_failure", "transient"),
    ("no", "temporary"),
    ("never", "temporary"),
    ("false", "temporary"),
];

/// Did they mean one of these keys? `-` for `_`, another's word, or a slip of the pen, in this order. Another's word
/// only helps where its translation is a key.
pub fn key<'k>(written: &str, keys: impl Iterator<Item = &'k str> + Clone) -> Option<String> {
    let plain = written.replace('-', "_").to_lowercase();
    let known = |name: &str| keys.clone().any(|key| key == name.split('.').next().unwrap_or(name));
    if known(&plain) {
        return Some(plain);
    }
    let other = KEYS.iter().find(|(theirs, _)| *theirs == plain).map(|(_, ours)| *ours);
    other.filter(|ours| known(ours)).map(str::to_owned).or_else(|| nearest(&plain, keys).map(str::to_owned))
}

/// Did they mean one of these words?
pub fn word(written: &str, allowed: &[&'static str]) -> Option<&'static str> {
    let plain = written.replace('-', "_").to_lowercase();
    let other = RESTARTS.iter().find(|(theirs, _)| *theirs == written.to_lowercase()).map(|(_, ours)| *ours);
    other
        .filter(|ours| allowed.contains(ours))
        .or_else(|| allowed.iter().copied().find(|word| *word == plain))
        .or_else(|| nearest(&plain, allowed.iter().copied()))
}

/// The nearest of `words`, if it is near enough to be meant: a third of its letters wrong at most.
pub fn nearest<'w>(written: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let near = |word: &&str| {
        let wrong = distance(written, word);
        (wrong <= (written.chars().count().max(word.chars().count()) / 3).max(1)).then_some(wrong)
    };
    words.filter_map(|word| near(&word).map(|wrong| (wrong, word))).min().map(|(_, word)| word)
}

/// Letters to insert, delete, replace, or swap with their neighbour to come from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near_enough_to_be_meant() {
        let check = |written, expected| {
            assert_eq!(key(written, ["command", "after", "id"].into_iter()).as_deref(), expected)
        };
        check("comand", Some("command"));
        check("commnad", Some("command"));
        check("ExecStart", Some("command"));
        check("depends-on", Some("after"));
        check("name", Some("id"));
        check("colour", None);
        assert_eq!(word("unless-stopped", &["permanent", "transient"]), Some("permanent"));
        assert_eq!(word("one-for-one", &["one_for_one"]), Some("one_for_one"));
    }
}
