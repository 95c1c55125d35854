//! The kinds of facts: how grave each is, its name of 128 bits in the journal, and what the journal's catalog says of it.
//!
//! A kind's `MESSAGE_ID` is made of its name, so it is the same for ever, on every machine and in every version. The
//! catalog `units/woodward.catalog` is made of this table; after `journalctl --update-catalog` every record is explained
//! by `journalctl -x`.

/// How grave, in syslog's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Somebody has to do something.
    Error = 3,
    /// Nobody asked for it.
    Warning = 4,
    /// It changes what runs, and was asked for or follows from something else.
    Notice = 5,
    /// Everything else.
    Info = 6,
}

use Weight::{Error, Info, Notice, Warning};

/// A kind of facts.
#[derive(Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How grave.
    pub weight: Weight,
    /// What happened, in a few words.
    pub subject: &'static str,
    /// What it means and what to do: for somebody who was woken up by it.
    pub text: &'static str,
}

const fn kind(name: &'static str, weight: Weight, subject: &'static str, text: &'static str) -> Kind {
    Kind { name, weight, subject, text }
}

/// All kinds.
pub const KINDS: &[Kind] = &[
    kind(
        "adopted",
        Info,
        "A process was taken over",
        "It was running when a new daemon began and goes on undisturbed.",
    ),
    kind(
        "applied",
        Notice,
        "A tree file was applied",
        "What differs from what ran restarts, starts or stops; the facts after this one say which and why.",
    ),
    kind(
        "apply_refused",
        Warning,
        "A tree file was not applied",
        "Nothing was changed. `woodward check FILE` says what is wrong with it.",
    ),
    kind(
        "asked",
        Info,
        "A child was asked to stop",
        "It has the time named in the message; then it is killed.",
    ),
    kind(
        "auto_shutdown",
        Notice,
        "A significant child has ended",
        "Its supervisor was told to shut down with it: `auto_shutdown` in the tree file.",
    ),
    kind(
        "backoff",
        Info,
        "A restart waits",
        "The pause before a restart grows with each crash in a row. To start at once: woodward start @WOODWARD_PATH@.",
    ),
    kind(
        "chaos",
        Warning,
        "A fault was made on purpose",
        "`woodward chaos` is trying what this tree endures; what follows from it is no accident.",
    ),
    kind(
        "cluster_joined",
        Notice,
        "This node has joined its cluster",
        "Whatever it had to run before has ended; from now on it may be given groups. woodward cluster status.",
    ),
    kind(
        "daemon_started",
        Notice,
        "A woodward daemon has started",
        "If nobody started it, the one before has died. Services do not notice that; what they wrote meanwhile is kept.",
    ),
    kind("declined", Info, "A child declined to start", "Its condition did not hold, so it counts as done."),
    kind("done", Info, "A task is done", "It ended as it should and is not started again."),
    kind(
        "dragged_along",
        Notice,
        "A child is restarted with another one",
        "The strategy of its supervisor says that it goes along with @WOODWARD_WITH@. It is not counted against any limit.",
    ),
    kind(
        "ended",
        Info,
        "A process has ended",
        "How it ended stands in the message. A signal that woodward did not send came from a person, from the kernel (out of memory: look at `journalctl -k`), or was a fault of the program.\nThe whole story: woodward why @WOODWARD_PATH@. Its last words: woodward logs @WOODWARD_PATH@.",
    ),
    kind(
        "evicted",
        Warning,
        "A process in no tree was stopped",
        "It was found running, and the tree file does not name it any more.",
    ),
    kind(
        "move_refused",
        Warning,
        "A group could not be moved where it was wanted",
        "The node is not able any more; why: woodward cluster why @WOODWARD_PATH@.",
    ),
    kind(
        "failback_waits",
        Info,
        "A group would go back to a better node",
        "It does when that node has proved itself: `failback` in the tree file. At once: woodward cluster move @WOODWARD_PATH@.",
    ),
    kind(
        "group_active",
        Notice,
        "A group is up on this node",
        "All of it is ready, and its addresses are here.",
    ),
    kind(
        "group_broken",
        Error,
        "No node is able to run a group",
        "Of each node the message says why not. When the reason is mended: woodward cluster forgive @WOODWARD_PATH@. The whole story: woodward cluster why @WOODWARD_PATH@.",
    ),
    kind(
        "group_down",
        Notice,
        "A group has ended on this node",
        "Nothing of it runs here any more, and it has no address here.",
    ),
    kind(
        "group_given",
        Notice,
        "A group has another owner",
        "The message says from whom, to whom and why. The whole story: woodward cluster why @WOODWARD_PATH@.",
    ),
    kind(
        "group_starting",
        Notice,
        "A group is brought up on this node",
        "Its addresses come last, when all of it is ready.",
    ),
    kind("group_stopping", Notice, "A group is brought down on this node", "Its addresses have gone first."),
    kind(
        "group_stuck",
        Error,
        "A group was killed and does not end",
        "A process of it hangs in the kernel, most often on a disk or a file server that does not answer. No other node starts the group before this one is dead or the process gone: mend that, or cut this node's power.",
    ),
    kind(
        "held",
        Notice,
        "Restarts are suspended",
        "A person holds it: it is not restarted until the end of the hold, or until woodward release @WOODWARD_PATH@.",
    ),
    kind(
        "history_back",
        Notice,
        "The history is written again",
        "Facts that were not written stand neither in it nor anywhere else on disk.",
    ),
    kind(
        "history_lost",
        Error,
        "The history cannot be written",
        "Services are not affected. Facts are kept in memory only, so look at the disk before the daemon ends.",
    ),
    kind(
        "hook_failed",
        Warning,
        "A command beside a child has failed",
        "A command of `before_start`, `after_stop` or the like ended badly; the message says which.",
    ),
    kind(
        "journal_back",
        Notice,
        "The journal takes records again",
        "So many records did not reach it; facts among them are in the history.",
    ),
    kind(
        "journal_lost",
        Warning,
        "The journal did not take a record",
        "Services are not affected. Records are counted and dropped until it takes them again: systemctl status systemd-journald.",
    ),
    kind(
        "kept_again",
        Notice,
        "The run state is written again",
        "What a new daemon needs to know stands there again.",
    ),
    kind(
        "kernel_failed",
        Error,
        "A mistake in woodward itself",
        "The part that decides failed and was built anew from what was written down; services are not affected. Please report it with this record.",
    ),
    kind(
        "killed",
        Warning,
        "A child was killed",
        "It did not stop in time, so all processes of it got SIGKILL. If that happens each time, give it more: `shutdown` in the tree file.",
    ),
    kind(
        "kills_late",
        Warning,
        "A deadline may be missed here",
        "The keeper lacks what the message names. A real-time priority: CAP_SYS_NICE, or LimitRTPRIO=1 in the unit of woodward.",
    ),
    kind(
        "limit_exceeded",
        Error,
        "A restart limit was exceeded",
        "More crashes in a row than its limit allows, so the supervisor stops trying; the message says who decides now. Look for the cause of the first crash: woodward why @WOODWARD_PATH@.",
    ),
    kind(
        "maintenance",
        Warning,
        "Maintenance of the cluster",
        "While it is on, nothing is started, moved or taken over by itself. woodward cluster maintenance off.",
    ),
    kind(
        "no_stream",
        Error,
        "The output of a child is not captured",
        "The pipe for it could not be made, so its output is lost. Is the run directory full?",
    ),
    kind(
        "network_mended",
        Warning,
        "Addresses or the gate of a group were gone",
        "Somebody has taken away what woodward had put up: another program that writes nftables rules or addresses. It is put up again; have that program leave the table of woodward alone.",
    ),
    kind(
        "node_back",
        Notice,
        "A node of the cluster is back",
        "Its beats come again, or it has joined anew.",
    ),
    kind(
        "node_dead",
        Warning,
        "A node of the cluster is dead",
        "It was not seen for the `wait` of its timing: it lost its power, froze, or was cut off. What it ran goes to others. woodward cluster status.",
    ),
    kind(
        "node_fenced",
        Warning,
        "A node of the cluster was fenced",
        "Its power was cut by an agent of `fencing`, or the message says why not.",
    ),
    kind(
        "not_kept",
        Error,
        "The run state cannot be written",
        "Services run, but after the death of the daemon the next one may know less of them. Is the run directory full?",
    ),
    kind("output_back", Notice, "A log file is written again", "So many lines are missing in it."),
    kind(
        "output_lost",
        Error,
        "A log file cannot be written",
        "The child is not affected. Its lines are dropped and counted until the file can be written.",
    ),
    kind(
        "parked",
        Error,
        "A child is parked",
        "It crashed too often and is left alone, until the time in the message or until somebody starts it: woodward start @WOODWARD_PATH@. Why: woodward why @WOODWARD_PATH@.",
    ),
    kind("ready", Info, "A child is ready", "What waited for it may start now."),
    kind("released", Notice, "Restarts are on again", "The hold has ended."),
    kind("reloaded", Notice, "A service was asked to reload", "By its own `reload` in the tree file."),
    kind(
        "report_child_terminated",
        Info,
        "OTP's report of an end",
        "Says again, in the words of Erlang/OTP, what other records say.",
    ),
    kind(
        "report_shutdown_error",
        Info,
        "OTP's report of a bad shutdown",
        "Says again, in the words of Erlang/OTP, what other records say.",
    ),
    kind(
        "report_start_error",
        Info,
        "OTP's report of a failed start",
        "Says again, in the words of Erlang/OTP, what other records say.",
    ),
    kind(
        "restart",
        Notice,
        "A supervisor restarts a child",
        "By its strategy @WOODWARD_STRATEGY@; who goes along and how much of the limit is used stand in the message.",
    ),
    kind(
        "restarted_by_apply",
        Notice,
        "A new tree restarts a child",
        "`woodward apply` found keys of it changed; the message says which.",
    ),
    kind(
        "rests",
        Info,
        "A service waits for a connection",
        "It ended calmly; its sockets stay open, and the next connection starts it.",
    ),
    kind("resumed", Info, "Health is checked again", "What it depends on is up."),
    kind(
        "settings_refused",
        Error,
        "Settings cannot be read",
        "The daemon was started anew while its services run, and goes on with the settings of the one before. Mend the file: woodward settings.",
    ),
    kind(
        "sick",
        Warning,
        "A health check has failed",
        "Too many checks in a row, so the child is stopped and treated as after a crash.",
    ),
    kind(
        "signal",
        Notice,
        "A signal was passed on",
        "woodward got it and passed it to the services, as an init does.",
    ),
    kind(
        "signalled",
        Notice,
        "A signal was sent on demand",
        "A person asked for it; the message says which.",
    ),
    kind(
        "start_failed",
        Warning,
        "A start has failed",
        "It never was ready. The message says why; its last words: woodward logs @WOODWARD_PATH@.",
    ),
    kind("started", Info, "A process was started", "It is not ready yet, unless the next record says so."),
    kind(
        "started_by_apply",
        Notice,
        "A new tree brought a child",
        "`woodward apply` started what is new in the tree file.",
    ),
    kind(
        "started_by_hand",
        Notice,
        "A person started a child",
        "What was stopped by hand or parked runs again.",
    ),
    kind("starting", Info, "A start begins", "Hooks run first, then the process."),
    kind(
        "starved",
        Warning,
        "A check failed for want of the machine",
        "The service got too little processor, memory or disk to answer in time, so it gets one grace period before the check counts: look for what takes the machine.",
    ),
    kind(
        "stopped_by_apply",
        Notice,
        "A new tree does without a child",
        "`woodward apply` stopped what is no longer in the tree file.",
    ),
    kind(
        "stopped_by_hand",
        Notice,
        "A person stopped a child",
        "It stays so until somebody starts it: woodward start @WOODWARD_PATH@.",
    ),
    kind("stopping", Info, "A supervisor stops", "Its children are stopped in reverse order."),
    kind(
        "store_away",
        Warning,
        "The store of the cluster does not answer",
        "If it does not before the time in the message is over, everything that fails over is killed on this node. Look at etcd: woodward cluster status.",
    ),
    kind(
        "store_back",
        Notice,
        "The store of the cluster answers again",
        "Groups that were killed meanwhile are started again, here or elsewhere.",
    ),
    kind(
        "store_older",
        Error,
        "The store of the cluster is older than it was",
        "It was restored from a backup or emptied. Nothing is run by it before it has gone beyond what was seen of it; if that is meant, start woodward anew on all nodes.",
    ),
    kind(
        "store_refused",
        Error,
        "The store of the cluster cannot be used",
        "It answers and refuses: a login, a permission, no room, a version. Its words are in the message; this node runs nothing of the cluster until it is mended.",
    ),
    kind(
        "stranger",
        Warning,
        "A message of a stranger was not obeyed",
        "A process that belongs to no service sent what only services may send.",
    ),
    kind(
        "stuck",
        Error,
        "A killed process is not gone",
        "It hangs in the kernel, most often on a disk or a file server that does not answer. It is not started again before it is gone.",
    ),
    kind(
        "suspended",
        Info,
        "Health is not checked for now",
        "Something it depends on is down; that it cannot answer then says nothing about it.",
    ),
    kind(
        "term_over",
        Error,
        "The right of this node to run groups is over",
        "Everything that fails over was killed here; the message says why. The node joins anew by itself as soon as the store answers.",
    ),
    kind(
        "tree_ended",
        Notice,
        "A tree has ended",
        "How stands in the message; after giving up, the reasons stand before it.",
    ),
    kind(
        "unguarded",
        Error,
        "No deadline can be held here",
        "The keeper cannot hold the deadline of this node: what fails over does not run here. The reason is in the message.",
    ),
    kind(
        "worker_failed",
        Error,
        "A mistake in woodward itself",
        "A part of the daemon failed and was started again; services are not affected. Please report it with this record.",
    ),
];

/// The table's row of a kind; `None`: it is not in this version.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// A kind's `MESSAGE_ID`: 128 bits of FNV-1a of `woodward:KIND`, marked as RFC 9562 wants it of a UUID made in a way of
/// one's own (version 8).
pub fn message_id(name: &str) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = b"woodward:".iter().chain(name.as_bytes());
    let id = bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    let id = id & !(0xf << 76) | (8 << 76);
    let id = id & !(0b11 << 62) | (0b10 << 62);
    format!("{id:032x}")
}

/// The catalog of the journal, as it is installed.
pub fn catalog() -> String {
    let mut text =
        "# What `journalctl -x` says of woodward's records. Installed in /usr/lib/systemd/catalog/;\n\
                    # journalctl --update-catalog reads it. Made of src/record/kinds.rs.\n"
            .to_owned();
    for kind in KINDS {
        text.push_str(&format!(
            "\n-- {}\nSubject: {}\nDefined-By: woodward\n\n{}\n",
            message_id(kind.name),
            kind.subject,
            kind.text
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_catalog_is_made_of_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/woodward.catalog");
        if std::env::var_os("WOODWARD_UPDATE").is_some() {
            std::fs::write(&path, catalog()).expect("written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, catalog(), "WOODWARD_UPDATE=1 writes it");
    }

    #[test]
    fn every_kind_has_a_name_of_its_own_that_never_changes() {
        let mut ids: Vec<String> = KINDS.iter().map(|kind| message_id(kind.name)).collect();
        assert_eq!(message_id("ended"), "a00ee72ac0de8314b98d566db8101924");
        assert!(ids.iter().all(|id| id.len() == 32 && id[12..].starts_with('8')));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), KINDS.len());
    }

    /// Kinds are words of the sources: of the engine's facts in `fact.rs`, of notes wherever they are made.
    #[test]
    fn every_kind_of_the_sources_is_in_the_table() {
        fn collect(dir: &Path, into: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).expect("src can be listed").flatten() {
                let path = entry.path();
                let name = entry.file_name();
                match path.is_dir() {
                    true if name != "engine" && name != "keeper" && name != "tree" => collect(&path, into),
                    false if path.extension().is_some_and(|end| end == "rs") && name != "tests.rs" => {
                        let text = std::fs::read_to_string(&path).expect("a source can be read");
                        into.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
                    }
                    _ => {}
                }
            }
        }
        let mut sources = Vec::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
        let is_kind =
            |word: &&str| word.len() > 3 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let mut missing = Vec::new();
        for text in &sources {
            for start in ["back.note(", "::note(", "Said::Note(", "Outcome::Fact("] {
                for (at, _) in text.match_indices(start) {
                    let call = text[at..].split(");").next().unwrap_or_default();
                    let first = call.split('"').skip(1).step_by(2).find(is_kind);
                    missing.extend(first.filter(|word| find(word).is_none()).map(str::to_owned));
                }
            }
        }
        let fact = sources.iter().find(|text| text.contains("fn tell(&mut self)")).expect("fact.rs");
        let told = fact.split("fn tell(&mut self)").nth(1).and_then(|rest| rest.split("\n    fn ").next());
        let told = told.unwrap_or_default().replace(".put(\"", "");
        let words = told.split("(\"").skip(1).filter_map(|rest| rest.split_once("\","));
        missing.extend(
            words
                .map(|(word, _)| word)
                .filter(is_kind)
                .filter(|word| find(word).is_none())
                .map(str::to_owned),
        );
        assert_eq!(missing, [] as [&str; 0], "kinds without a row in the table");
    }
}
