//! Every key of a tree file: its name, what it takes, its default, the part of the work that brings it. The reader,
//! the hints and the JSON schema are driven by these tables, so they cannot disagree.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Default as a person would write it; empty: none.
    pub default: &'static str,
    /// Whether this build honours it.
    pub support: Support,
    /// One sentence, shown by editors.
    pub about: &'static str,
}

/// Whether this build honours a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Yes.
    Yes,
    /// It may come: an error until then.
    Later,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `[A-Za-z0-9_.:@-]+`.
    Id,
    /// Any string.
    Text,
    /// A path of the file system.
    Path,
    /// A boolean.
    Boolean,
    /// An integer in this range.
    Integer(i64, i64),
    /// A number in this range.
    Number(f64, f64),
    /// `"10s"`.
    Duration,
    /// Whole seconds, at least one.
    Seconds,
    /// `"10s"`, `"infinity"`.
    DurationOrInfinity,
    /// `"10s"`, `"infinity"`, `"brutal_kill"`.
    Shutdown,
    /// `"10M"`.
    Size,
    /// `"10M"`, `"infinity"`.
    SizeOrInfinity,
    /// A number from 1 on, `"infinity"`.
    CountOrInfinity,
    /// `"150%"`.
    Percent,
    /// `"50%"`.
    Share,
    /// `"0022"`.
    Octal,
    /// `"SIGTERM"`.
    Signal,
    /// Exit codes and signals.
    Statuses,
    /// A name or a number.
    Account,
    /// A soft limit, or `"soft:hard"`.
    Rlimit,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of strings.
    Strings,
    /// One string or a list of them.
    Paths,
    /// A command: a list, or one string split at blanks.
    Command,
    /// One command, or a list of lists.
    Commands,
    /// Names and strings.
    Environment,
    /// Names and values.
    Vars,
    /// A boolean or a list of names.
    Pass,
    /// `true` only.
    Yes,
    /// A table with these keys; `false` takes an inherited one away.
    Table(Keys),
    /// A list of tables with these keys.
    Tables(Keys),
    /// A table with these keys, or a list of them.
    TableOrTables(Keys),
    /// One of these words, or a table with these keys.
    ChoiceOrTable(&'static [&'static str], Keys),
    /// `each = { x = ... }`.
    Each,
    /// `only = { name = ... }`.
    Only,
    /// `[[child]]`.
    Children,
    /// `[defaults]`.
    Defaults,
    /// `[child.template]`.
    Template,
    /// Nothing this build reads.
    Unread,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, support: Support::Yes, about }
}

const fn coming(name: &'static str, support: Support, about: &'static str) -> Key {
    Key { name, kind: Kind::Unread, default: "", support, about }
}

/// Words of `restart`.
pub const RESTART: &[&str] = &["permanent", "transient", "temporary"];
/// Words of `strategy`.
pub const STRATEGY: &[&str] = &["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"];

/// Keys of every supervisor, the root too.
pub const SUPERVISOR: &[Key] = &[
    key("id", Kind::Id, "", "Its part of the path: letters, digits and _ . : @ -"),
    key("description", Kind::Text, "", "Free text."),
    key("strategy", Kind::Choice(STRATEGY), "one_for_one", "What the end of one child does to its siblings."),
    key("intensity", Kind::Integer(0, 1_000_000), "5", "More restarts than this within period: give up."),
    key("period", Kind::Seconds, "10m", "Window in which restarts are counted, whole seconds."),
    key(
        "semantics",
        Kind::Choice(&["services", "otp"]),
        "services",
        "Whose defaults: otp = 1 in 5s, no back-off, a failed first start is final.",
    ),
    key(
        "order",
        Kind::Choice(&["listed", "dependencies"]),
        "listed",
        "One after the other, or all at once but for `after`.",
    ),
    key(
        "initial_start",
        Kind::Choice(&["retry", "fail"]),
        "retry",
        "A child that fails at boot: a crash, or the end of the supervisor.",
    ),
    key(
        "auto_shutdown",
        Kind::Choice(&["never", "any_significant", "all_significant"]),
        "never",
        "Whether calm ends of significant children end the supervisor.",
    ),
    key("retry_after", Kind::Duration, "", "A parked supervisor is tried again after this time."),
    key("environment", Kind::Environment, "", "Variables for every worker below."),
    key(
        "environment_file",
        Kind::Paths,
        "",
        "Files with variables for every worker below; a - in front: may be missing.",
    ),
    key("defaults", Kind::Defaults, "", "Worker keys for every worker below."),
    key("child", Kind::Children, "", "The children, in start order."),
    key("template", Kind::Template, "", "The worker of which simple_one_for_one starts instances."),
];

/// Keys of the root only.
pub const ROOT: &[Key] = &[
    key(
        "exhausted",
        Kind::Choice(&["exit", "park", "failover", "reboot"]),
        "exit",
        "What giving up means; with [failover] the default is failover.",
    ),
    key("shutdown", Kind::DurationOrInfinity, "infinity", "Deadline for stopping the whole tree."),
    key("vars", Kind::Vars, "", "Variables: ${name} in every string below."),
    key("failover", Kind::Table(&[FAILOVER]), "", "Which nodes may run the tree, and by what rules."),
];

/// Keys of a supervisor that is a child.
pub const INNER: &[Key] = &[
    key("exhausted", Kind::Choice(&["escalate", "park"]), "escalate", "What giving up means."),
    key("shutdown", Kind::Shutdown, "infinity", "Deadline for stopping the whole subtree."),
    key("include", Kind::Path, "", "Another tree file that becomes this supervisor."),
    key("vars", Kind::Vars, "", "Beside include: values for the variables of that file."),
    key("backoff", Kind::Table(&[BACKOFF]), "", "Delays between restarts of the whole supervisor."),
];

/// Keys of every child, supervisor or worker.
pub const CHILD: &[Key] = &[
    key("restart", Kind::Choice(RESTART), "permanent", "When it is restarted."),
    key("significant", Kind::Boolean, "false", "Its calm end counts for auto_shutdown."),
    key("after", Kind::Strings, "", "Siblings that must be ready first, under order = \"dependencies\"."),
    key("each", Kind::Each, "", "One child per item."),
    key("only", Kind::Only, "", "Planned only where these variables have these values."),
    key("enabled", Kind::Boolean, "true", "false: not planned."),
];

/// Keys that say what a worker is; they are not inherited.
pub const WORKER: &[Key] = &[
    key("id", Kind::Id, "", "Its part of the path: letters, digits and _ . : @ -"),
    key("description", Kind::Text, "", "Free text."),
    key("kind", Kind::Choice(&["service", "oneshot"]), "service", "A one-shot does its work and ends."),
    key(
        "command",
        Kind::Command,
        "",
        "Program and arguments: a list, or one string split as a shell would, without a shell.",
    ),
    key("command_on_restart", Kind::Command, "", "For every start of this run of the tree but the first."),
    key(
        "unit",
        Kind::Text,
        "",
        "An existing service of systemd instead of a command; its own Restart= must be no.",
    ),
    key("environment", Kind::Environment, "", "Variables of its environment."),
    key("environment_file", Kind::Paths, "", "Files with variables; a - in front: may be missing."),
    coming("console", Support::Later, "A terminal that stays open."),
    coming("schedule", Support::Later, "When a one-shot runs."),
    coming("credentials", Support::Later, "Secrets in files."),
    coming("container", Support::Later, "A container instead of a command."),
];

/// Keys that say how a worker is run; `[defaults]` takes exactly these.
pub const INHERITED: &[Key] = &[
    key("restart", Kind::Choice(RESTART), "permanent", "When it is restarted."),
    key("shutdown", Kind::Shutdown, "5s", "Time between being asked to stop and being killed."),
    key("significant", Kind::Boolean, "false", "Its calm end counts for auto_shutdown."),
    key("runtime_max", Kind::Duration, "", "Longest time a one-shot may run."),
    key("backoff", Kind::Table(&[BACKOFF]), "", "Delays between restarts; false: none."),
    key(
        "limit",
        Kind::Table(&[LIMIT]),
        "",
        "An account of restarts of its own, instead of the supervisor's.",
    ),
    key("success_exit_status", Kind::Statuses, "", "Calm besides exit 0."),
    key("restart_prevent_exit_status", Kind::Statuses, "", "No retry can help: parked at once."),
    key("restart_force_exit_status", Kind::Statuses, "", "Restarted, whatever its type."),
    key("essential", Kind::Boolean, "false", "Its final end stops the tree, and its status is woodward's."),
    key("user", Kind::Account, "", "Who it runs as."),
    key("group", Kind::Account, "", "Default: the user's."),
    key("supplementary_groups", Kind::Strings, "", "Further groups."),
    key("umask", Kind::Octal, "", "File mode creation mask."),
    key("nice", Kind::Integer(-20, 19), "", "Scheduling priority."),
    key(
        "oom_score_adjust",
        Kind::Integer(-1000, 1000),
        "",
        "How gladly the kernel kills it when memory is short.",
    ),
    key("limits", Kind::Table(&[LIMITS]), "", "setrlimit(2)."),
    key("working_directory", Kind::Path, "", "Default: woodward's own."),
    key("directories", Kind::Strings, "", "Made before each start, owned by the user."),
    key("stdin", Kind::Choice(&["null", "open", "inherit"]), "null", "Standard input; open: never ends."),
    key(
        "pass_environment",
        Kind::Pass,
        "true",
        "Whether woodward's own environment is passed on, or which names.",
    ),
    key("before_start", Kind::Commands, "", "Commands before the start; each must succeed."),
    key("after_ready", Kind::Commands, "", "Commands after readiness; each must succeed."),
    key("after_stop", Kind::Commands, "", "Commands after the end; failures are reported."),
    key(
        "output",
        Kind::ChoiceOrTable(&["auto", "journal", "inherit", "null"], &[OUTPUT]),
        "auto",
        "Where its output goes.",
    ),
    key("log_rate_limit", Kind::Table(&[RATE]), "", "Lines beyond this are dropped and counted."),
    key("ready", Kind::Table(&[READY]), "", "When it counts as ready; without a probe: when executed."),
    key("health", Kind::Table(&[HEALTH]), "", "Checks while it runs; without a probe that of ready."),
    key("stop", Kind::Table(&[STOP]), "", "How it is asked to stop."),
    key("reload", Kind::Table(&[RELOAD]), "", "The service's own reload: a signal or a command."),
    key("listen", Kind::Tables(LISTEN), "", "Sockets that are kept open across restarts."),
    key("memory_max", Kind::SizeOrInfinity, "", "Memory of all its processes beyond which the kernel kills."),
    key("memory_high", Kind::SizeOrInfinity, "", "Memory beyond which it is slowed down."),
    key(
        "cpu_weight",
        Kind::Integer(1, 10_000),
        "",
        "Share of the processors under load; 100 is everybody's.",
    ),
    key("cpu_quota", Kind::Percent, "", "Most it gets, in percent of one processor: \"150%\"."),
    key("tasks_max", Kind::CountOrInfinity, "", "Most processes and threads."),
    key("io_weight", Kind::Integer(1, 10_000), "", "Share of the disks under load; 100 is everybody's."),
    key("no_new_privileges", Kind::Boolean, "", "No program it executes gives it more rights."),
    key(
        "capabilities",
        Kind::Strings,
        "",
        "All capabilities there are for it: \"CAP_NET_BIND_SERVICE\"; [] is none.",
    ),
    key("private_tmp", Kind::Boolean, "", "A /tmp and a /var/tmp of its own, empty at each start."),
    key("read_only_paths", Kind::Strings, "", "It cannot write below these."),
    key(
        "harden",
        Kind::Choice(&["strict"]),
        "",
        "All of that, a read-only system, few devices; see the README.",
    ),
];

/// Keys of `backoff`.
pub const BACKOFF: &[Key] = &[
    key("immediate", Kind::Integer(0, 1_000_000), "1", "So many restarts without delay."),
    key("first", Kind::Duration, "2s", "First delay."),
    key("factor", Kind::Number(1.0, 1000.0), "2", "Growth."),
    key("max", Kind::Duration, "30s", "Longest delay."),
    key("jitter", Kind::Share, "10%", "More or less."),
    key("reset_after", Kind::Duration, "", "Ready for so long: delays begin anew. Default: max."),
];

/// Keys of `limit`.
pub const LIMIT: &[Key] = &[
    key("intensity", Kind::Integer(0, 1_000_000), "5", "More restarts than this within period."),
    key("period", Kind::Seconds, "10m", "Window, whole seconds."),
    key("exhausted", Kind::Choice(&["park", "escalate"]), "park", "What then."),
    key("retry_after", Kind::Duration, "", "A parked child is tried again after this time."),
];

/// Keys of one of `listen`.
pub const LISTEN: Keys = &[&[
    key("name", Kind::Text, "", "Its name in LISTEN_FDNAMES; default: the id."),
    key("stream", Kind::Text, "", "TCP, \"host:port\"; the host is an address, localhost or *."),
    key("datagram", Kind::Text, "", "UDP, \"host:port\"."),
    key("unix", Kind::Path, "", "A stream socket of the file system."),
    key("mode", Kind::Octal, "0666", "With unix: who may connect."),
    key("user", Kind::Account, "", "With unix: whose file; default: woodward's own."),
    key("group", Kind::Account, "", "With unix: whose file."),
    key("backlog", Kind::Integer(1, 65_535), "4096", "So many connections wait to be accepted."),
    key("lazy", Kind::Boolean, "false", "The process is started at the first connection."),
]];

/// Keys of `limits`.
pub const LIMITS: &[Key] = &[
    key("as", Kind::Rlimit, "", "Address space, bytes."),
    key("core", Kind::Rlimit, "", "Core files, bytes."),
    key("cpu", Kind::Rlimit, "", "Processor time, seconds."),
    key("data", Kind::Rlimit, "", "Data segment, bytes."),
    key("fsize", Kind::Rlimit, "", "Files written, bytes."),
    key("locks", Kind::Rlimit, "", "File locks."),
    key("memlock", Kind::Rlimit, "", "Locked memory, bytes."),
    key("msgqueue", Kind::Rlimit, "", "Message queues, bytes."),
    key("nice", Kind::Rlimit, "", "20 minus the lowest nice value."),
    key("nofile", Kind::Rlimit, "", "Open files."),
    key("nproc", Kind::Rlimit, "", "Processes of the user."),
    key("rss", Kind::Rlimit, "", "Resident memory, bytes."),
    key("rtprio", Kind::Rlimit, "", "Real-time priority."),
    key("rttime", Kind::Rlimit, "", "Real-time processor time, microseconds."),
    key("sigpending", Kind::Rlimit, "", "Queued signals."),
    key("stack", Kind::Rlimit, "", "Stack, bytes."),
];

/// Keys of `output` as a table.
pub const OUTPUT: &[Key] = &[
    key("file", Kind::Path, "", "Which file."),
    key("max_size", Kind::Size, "", "Rotated beyond this; default: never."),
    key("keep", Kind::Integer(0, 1000), "5", "Old files kept."),
];

/// Keys of `log_rate_limit`.
pub const RATE: &[Key] = &[
    key("lines", Kind::Integer(1, 1_000_000_000), "", "So many lines"),
    key("per", Kind::Duration, "1s", "in this time."),
];

/// Keys of `ready`.
pub const READY: &[Key] = &[
    key("notify", Kind::Yes, "", "READY=1 on NOTIFY_SOCKET."),
    key("fd", Kind::Integer(3, 1023), "", "A newline on this descriptor."),
    key("tcp", Kind::Text, "", "A connection to host:port is accepted."),
    key("unix", Kind::Path, "", "A connection to this socket is accepted."),
    key("http", Kind::Text, "", "A GET answers 2xx or 3xx, or exactly status."),
    key("status", Kind::Integer(100, 599), "", "With http: the one status wanted."),
    key("exec", Kind::Command, "", "This command ends with 0."),
    key("log", Kind::Text, "", "A line of output contains this text."),
    key("file", Kind::Path, "", "This file is written after the start."),
    key("contains", Kind::Text, "", "With file: it contains this text."),
    key("corbaloc", Kind::Text, "", "This CORBA object is there."),
    key("within", Kind::DurationOrInfinity, "1m", "Later is a failed start."),
    key("settle", Kind::Duration, "0ms", "It must hold, or without a probe have run, this long."),
];

/// Keys of `ready` and `health` of which one table may have at most one: the inner one replaces the outer one.
pub const PROBES: &[&str] =
    &["notify", "fd", "tcp", "unix", "http", "exec", "log", "file", "corbaloc", "watchdog"];

/// Keys that only mean something beside their probe.
pub const PROBE_DETAILS: &[(&str, &str)] = &[("status", "http"), ("contains", "file"), ("max_age", "file")];

/// Keys of `health`.
pub const HEALTH: &[Key] = &[
    key("tcp", Kind::Text, "", "A connection to host:port is accepted."),
    key("unix", Kind::Path, "", "A connection to this socket is accepted."),
    key("http", Kind::Text, "", "A GET answers 2xx or 3xx, or exactly status."),
    key("status", Kind::Integer(100, 599), "", "With http: the one status wanted."),
    key("exec", Kind::Command, "", "This command ends with 0."),
    key("corbaloc", Kind::Text, "", "This CORBA object is there."),
    key("file", Kind::Path, "", "This file is at most max_age old."),
    key("max_age", Kind::Duration, "", "With file."),
    key("watchdog", Kind::Duration, "", "WATCHDOG=1 on NOTIFY_SOCKET at least this often."),
    key(
        "class",
        Kind::Choice(&["critical", "not_so_critical", "not_critical"]),
        "",
        "Sets every: 20s, 40s, 60s.",
    ),
    key("every", Kind::Duration, "10s", "Between checks."),
    key("timeout", Kind::Duration, "3s", "For one check."),
    key("misses", Kind::Integer(1, 1000), "3", "So many in a row."),
    key("start_after", Kind::Duration, "0ms", "First check."),
    key("shutdown", Kind::Shutdown, "", "For ending a hung process; default: the child's."),
];

/// Keys of `stop`.
pub const STOP: &[Key] = &[
    key("command", Kind::Command, "", "Whoever is left when it returns gets the signal."),
    key("signal", Kind::Signal, "SIGTERM", "The signal by which it is asked."),
    key(
        "kill",
        Kind::Choice(&["mixed", "group", "process"]),
        "mixed",
        "Who gets the signal, and who is waited for.",
    ),
];

/// Keys of `reload`.
pub const RELOAD: &[Key] = &[
    key("signal", Kind::Signal, "", "To the main process."),
    key("command", Kind::Command, "", "This command, with MAINPID; it must end with 0."),
];

/// Keys of `[failover]`.
pub const FAILOVER: &[Key] = &[
    key(
        "engine",
        Kind::Choice(&["etcd", "pacemaker"]),
        "etcd",
        "Who keeps the register; where it is: the daemon's settings.",
    ),
    key("nodes", Kind::Strings, "", "Nodes that may run the tree, best first."),
    key(
        "timing",
        Kind::ChoiceOrTable(&["fast", "normal", "calm"], &[TIMING]),
        "normal",
        "How soon a silent node counts as dead.",
    ),
    key("address", Kind::Strings, "", "Addresses that go where the tree is: \"10.0.0.50/24 dev eth0\"."),
    key(
        "failback",
        Kind::ChoiceOrTable(FAILBACK_MODES, &[FAILBACK]),
        "earned",
        "When it goes back to a better node.",
    ),
    key(
        "fencing",
        Kind::TableOrTables(&[FENCING]),
        "",
        "Cuts a dead node's power before another takes over.",
    ),
    key("with", Kind::Strings, "", "Groups it must share a node with."),
    key("apart", Kind::Strings, "", "Groups it must not share a node with."),
    key(
        "failure_timeout",
        Kind::Duration,
        "10m",
        "A node on which it gave up is tried again after this time.",
    ),
    key(
        "start_within",
        Kind::Duration,
        "",
        "Not ready so long after it was given to a node: it gave up there.",
    ),
    key(
        "priority",
        Kind::Integer(-1000, 1000),
        "0",
        "Greater ones start first on a node that starts several.",
    ),
    key(
        "isolate",
        Kind::Choice(&["pid"]),
        "",
        "Its services get process namespaces, so that nothing forks away.",
    ),
    key("gate", Kind::Boolean, "true", "The kernel drops what it sends when its right to run is over."),
    key(
        "policy",
        Kind::Choice(&["best_effort", "strict"]),
        "best_effort",
        "strict: refused where one more failure could make it run twice.",
    ),
];

/// Words of `failback`.
pub const FAILBACK_MODES: &[&str] = &["earned", "manual", "never"];

/// Keys of `timing` as a table.
pub const TIMING: &[Key] = &[
    key("beat", Kind::Duration, "500ms", "Between beats of a node."),
    key(
        "hold",
        Kind::Duration,
        "2500ms",
        "A node may run its groups so long after a beat that was confirmed.",
    ),
    key("wait", Kind::Duration, "3s", "Without a beat for so long a node is dead."),
];

/// Keys of `failback` as a table.
pub const FAILBACK: &[Key] = &[
    key("mode", Kind::Choice(FAILBACK_MODES), "earned", "By itself, by a person, or not at all."),
    key("steady", Kind::Duration, "5m", "The better node's beats have come without a gap for so long,"),
    key("quiet", Kind::Duration, "10m", "nothing of the tree was restarted for so long,"),
    key("flap", Kind::Duration, "1h", "and it did not go back within this time."),
    key("probe", Kind::Command, "", "And this command succeeds on the better node."),
];

/// Keys of `fencing`.
pub const FENCING: &[Key] = &[
    key("command", Kind::Command, "", "A fence agent: reads name=value lines from standard input."),
    key("options_file", Kind::Path, "", "These lines; {node} is the node to be fenced."),
    key("nodes", Kind::Strings, "", "Nodes that it can fence; default: all."),
    key(
        "policy",
        Kind::Choice(&["required", "best_effort"]),
        "required",
        "Whether another node takes over if it fails.",
    ),
    key("within", Kind::Duration, "30s", "It has failed if it has not ended by then."),
];

/// A group of tables that together say what a place takes.
pub type Keys = &'static [&'static [Key]];

/// The top of a tree file.
pub const AT_ROOT: Keys = &[SUPERVISOR, ROOT];
/// A supervisor that is a child.
pub const AT_INNER: Keys = &[SUPERVISOR, INNER, CHILD];
/// A worker. What is inherited comes second: `restart` and `significant` are in both.
pub const AT_WORKER: Keys = &[WORKER, CHILD, INHERITED];
/// `[defaults]`.
pub const AT_DEFAULTS: Keys = &[INHERITED];
/// `[child.template]`.
pub const AT_TEMPLATE: Keys = &[WORKER, INHERITED];

/// A key of a place.
pub fn find(keys: Keys, name: &str) -> Option<&'static Key> {
    keys.iter().flat_map(|group| group.iter()).find(|key| key.name == name)
}

/// Names of all keys of a place.
pub fn names(keys: Keys) -> impl Iterator<Item = &'static str> + Clone {
    keys.iter().flat_map(|group| group.iter()).map(|key| key.name)
}
