//! No key of a worker is passed over in silence.

use std::collections::BTreeSet;

use crate::tree::{self, keys};
use crate::units::{self, Mode, Options};

/// Decided when the tree is planned: nothing of them is left for a unit.
const PLANNED: &[&str] = &["each", "only", "enabled"];

/// One way to write each key, beside what it needs. Dotted: in a table.
const WRITTEN: &[(&str, &str)] = &[
    ("id", "id = \"other\""),
    ("description", "description = \"words\""),
    ("kind", "kind = \"oneshot\""),
    ("command", "command = \"another thing\""),
    ("command_on_restart", "command_on_restart = \"another\""),
    ("unit", "unit = \"x.service\""),
    ("environment", "environment = { A = \"b\" }"),
    ("environment_file", "environment_file = \"-/some/file\""),
    ("restart", "restart = \"transient\""),
    ("significant", "significant = true\nrestart = \"transient\""),
    ("after", "after = [\"first\"]"),
    ("shutdown", "shutdown = \"7s\""),
    ("runtime_max", "kind = \"oneshot\"\nruntime_max = \"7s\""),
    ("backoff.immediate", "backoff = { immediate = 7 }"),
    ("backoff.first", "backoff = { first = \"7s\" }"),
    ("backoff.factor", "backoff = { factor = 7 }"),
    ("backoff.max", "backoff = { max = \"7s\" }"),
    ("backoff.jitter", "backoff = { jitter = \"7%\" }"),
    ("backoff.reset_after", "backoff = { reset_after = \"7s\" }"),
    ("limit.intensity", "limit = { intensity = 7 }"),
    ("limit.period", "limit = { period = \"7s\" }"),
    ("limit.exhausted", "limit = { exhausted = \"escalate\" }"),
    ("limit.retry_after", "limit = { retry_after = \"7s\" }"),
    ("success_exit_status", "success_exit_status = [7]"),
    ("restart_prevent_exit_status", "restart_prevent_exit_status = [7]"),
    ("restart_force_exit_status", "restart_force_exit_status = [7]"),
    ("essential", "essential = true"),
    ("user", "user = \"nobody\""),
    ("group", "group = \"daemon\""),
    ("supplementary_groups", "supplementary_groups = [\"adm\"]"),
    ("umask", "umask = \"0027\""),
    ("nice", "nice = 7"),
    ("oom_score_adjust", "oom_score_adjust = 7"),
    ("limits.as", "limits = { as = 7 }"),
    ("limits.core", "limits = { core = 7 }"),
    ("limits.cpu", "limits = { cpu = 7 }"),
    ("limits.data", "limits = { data = 7 }"),
    ("limits.fsize", "limits = { fsize = 7 }"),
    ("limits.locks", "limits = { locks = 7 }"),
    ("limits.memlock", "limits = { memlock = 7 }"),
    ("limits.msgqueue", "limits = { msgqueue = 7 }"),
    ("limits.nice", "limits = { nice = 7 }"),
    ("limits.nofile", "limits = { nofile = 7 }"),
    ("limits.nproc", "limits = { nproc = 7 }"),
    ("limits.rss", "limits = { rss = 7 }"),
    ("limits.rtprio", "limits = { rtprio = 7 }"),
    ("limits.rttime", "limits = { rttime = 7 }"),
    ("limits.sigpending", "limits = { sigpending = 7 }"),
    ("limits.stack", "limits = { stack = 7 }"),
    ("working_directory", "working_directory = \"/srv\""),
    ("directories", "directories = [\"/srv/x\"]"),
    ("stdin", "stdin = \"open\""),
    ("pass_environment", "pass_environment = false"),
    ("before_start", "before_start = \"another\""),
    ("after_ready", "after_ready = \"another\""),
    ("after_stop", "after_stop = \"another\""),
    ("output", "output = \"null\""),
    ("output.file", "output = { file = \"/x.log\" }"),
    ("output.max_size", "output = { file = \"/x.log\", max_size = \"7M\" }"),
    ("output.keep", "output = { file = \"/x.log\", max_size = \"7M\", keep = 7 }"),
    ("log_rate_limit.lines", "log_rate_limit = { lines = 7 }"),
    ("log_rate_limit.per", "log_rate_limit = { lines = 7, per = \"7s\" }"),
    ("ready.notify", "ready = { notify = true }"),
    ("ready.fd", "ready = { fd = 3 }"),
    ("ready.tcp", "ready = { tcp = \"127.0.0.1:7\" }"),
    ("ready.unix", "ready = { unix = \"/x\" }"),
    ("ready.http", "ready = { http = \"http://127.0.0.1:7/\" }"),
    ("ready.status", "ready = { http = \"http://127.0.0.1:7/\", status = 204 }"),
    ("ready.exec", "ready = { exec = \"another\" }"),
    ("ready.log", "ready = { log = \"words\" }"),
    ("ready.file", "ready = { file = \"/x\" }"),
    ("ready.contains", "ready = { file = \"/x\", contains = \"words\" }"),
    ("ready.corbaloc", "ready = { corbaloc = \"corbaloc::127.0.0.1:7/X\" }"),
    ("ready.within", "ready = { within = \"7s\" }"),
    ("ready.settle", "ready = { settle = \"7s\" }"),
    ("health.tcp", "health = { tcp = \"127.0.0.1:7\" }"),
    ("health.unix", "health = { unix = \"/x\" }"),
    ("health.http", "health = { http = \"http://127.0.0.1:7/\" }"),
    ("health.status", "health = { http = \"http://127.0.0.1:7/\", status = 204 }"),
    ("health.exec", "health = { exec = \"another\" }"),
    ("health.corbaloc", "health = { corbaloc = \"corbaloc::127.0.0.1:7/X\" }"),
    ("health.file", "health = { file = \"/x\", max_age = \"1m\" }"),
    ("health.max_age", "health = { file = \"/x\", max_age = \"7s\" }"),
    ("health.watchdog", "health = { watchdog = \"7s\" }"),
    ("health.class", "health = { exec = \"another\", class = \"critical\" }"),
    ("health.every", "health = { exec = \"another\", every = \"7s\" }"),
    ("health.timeout", "health = { exec = \"another\", timeout = \"7s\" }"),
    ("health.misses", "health = { exec = \"another\", misses = 7 }"),
    ("health.start_after", "health = { exec = \"another\", start_after = \"7s\" }"),
    ("health.shutdown", "health = { exec = \"another\", shutdown = \"7s\" }"),
    ("stop.command", "stop = { command = \"another\" }"),
    ("stop.signal", "stop = { signal = \"SIGUSR1\" }"),
    ("stop.kill", "stop = { kill = \"group\" }"),
    ("reload.signal", "reload = { signal = \"SIGHUP\" }"),
    ("reload.command", "reload = { command = \"another\" }"),
    ("listen.name", "listen = [{ stream = \"127.0.0.1:7\", name = \"words\" }]"),
    ("listen.stream", "listen = [{ stream = \"127.0.0.1:7\" }]"),
    ("listen.datagram", "listen = [{ datagram = \"127.0.0.1:7\" }]"),
    ("listen.unix", "listen = [{ unix = \"/x\" }]"),
    ("listen.mode", "listen = [{ unix = \"/x\", mode = \"0600\" }]"),
    ("listen.user", "listen = [{ unix = \"/x\", user = \"nobody\" }]"),
    ("listen.group", "listen = [{ unix = \"/x\", group = \"adm\" }]"),
    ("listen.backlog", "listen = [{ stream = \"127.0.0.1:7\", backlog = 7 }]"),
    ("listen.lazy", "listen = [{ stream = \"127.0.0.1:7\", lazy = true }]"),
    ("memory_max", "memory_max = \"7M\""),
    ("memory_high", "memory_high = \"7M\""),
    ("cpu_weight", "cpu_weight = 7"),
    ("cpu_quota", "cpu_quota = \"7%\""),
    ("tasks_max", "tasks_max = 7"),
    ("io_weight", "io_weight = 7"),
    ("no_new_privileges", "no_new_privileges = true"),
    ("capabilities", "capabilities = [\"CAP_CHOWN\"]"),
    ("private_tmp", "private_tmp = true"),
    ("read_only_paths", "read_only_paths = [\"/usr\"]"),
    ("harden", "harden = \"strict\""),
];

/// What a tree with a worker of these keys says: its units, and where they deviate.
fn said(own: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("t.toml");
    let order = if own.contains("after = ") { "dependencies" } else { "listed" };
    let id = if own.starts_with("id = ") { "" } else { "id = \"w\"" };
    let command =
        if own.starts_with("command = ") || own.contains("unit = \"") { "" } else { "command = \"thing\"" };
    let text = format!(
        "id = \"t\"\norder = \"{order}\"\nauto_shutdown = \"any_significant\"\n\
         [[child]]\nid = \"first\"\ncommand = \"x\"\n[[child]]\n{id}\n{command}\n{own}\n"
    );
    std::fs::write(&file, &text).expect("a tree can be written");
    let (plan, _) = tree::load(&file, &tree::Options::default()).unwrap_or_else(|errors| {
        panic!("{own}: {}", errors.iter().map(ToString::to_string).collect::<String>());
    });
    let options = Options { mode: Mode::Native, ..units::tests::options() };
    let rendering = units::generate(&plan, &options).unwrap_or_else(|error| panic!("{own}: {error}"));
    let units: Vec<String> = rendering.units.iter().map(|unit| format!("{}\n{unit}", unit.name)).collect();
    format!("{}{:?}", units.concat(), rendering.deviations)
}

/// What stands in the place of a key when only that key is missing.
fn without(key: &str, own: &str) -> String {
    let written = |k: &str| WRITTEN.iter().find(|(known, _)| *known == k).map(|(_, text)| *text);
    let instead = match key {
        "significant" => "restart = \"transient\"",
        "runtime_max" => "kind = \"oneshot\"",
        "after" => "after = []",
        "output.max_size" | "output.keep" => "output = { file = \"/x.log\" }",
        "log_rate_limit.per" => "log_rate_limit = { lines = 7 }",
        "ready.status" => "ready = { http = \"http://127.0.0.1:7/\" }",
        "ready.contains" => "ready = { file = \"/x\" }",
        "health.status" => "health = { http = \"http://127.0.0.1:7/\" }",
        "health.max_age" => "health = { file = \"/x\", max_age = \"1m\" }",
        "health.class" | "health.every" | "health.timeout" | "health.misses" | "health.start_after"
        | "health.shutdown" => written("health.exec").unwrap_or_default(),
        "listen.mode" | "listen.user" | "listen.group" => "listen = [{ unix = \"/x\" }]",
        "listen.name" | "listen.backlog" | "listen.lazy" => "listen = [{ stream = \"127.0.0.1:7\" }]",
        _ if key.starts_with("limit.") => "limit = {}",
        _ => "",
    };
    assert_ne!(instead, own);
    instead.to_owned()
}

fn names(table: &[keys::Key], prefix: &str, all: &mut BTreeSet<String>) {
    for key in table.iter().filter(|key| key.support == keys::Support::Yes) {
        let name = format!("{prefix}{}", key.name);
        match key.kind {
            keys::Kind::Table(inner) | keys::Kind::Tables(inner) | keys::Kind::TableOrTables(inner) => {
                inner.iter().for_each(|table| names(table, &format!("{name}."), all));
            }
            keys::Kind::ChoiceOrTable(_, inner) => {
                inner.iter().for_each(|table| names(table, &format!("{name}."), all));
                all.insert(name);
            }
            _ => drop(all.insert(name)),
        }
    }
}

#[test]
fn every_key_of_a_worker_has_a_line_or_a_deviation() {
    let mut all = BTreeSet::new();
    keys::AT_WORKER.iter().for_each(|table| names(table, "", &mut all));
    let mut silent = Vec::new();
    for name in all.iter().filter(|name| !PLANNED.contains(&name.as_str())) {
        match WRITTEN.iter().find(|(known, _)| known == name) {
            None => silent.push(format!("{name}: this test does not know it")),
            Some((_, own)) if said(own) == said(&without(name, own)) => silent.push(name.clone()),
            Some(_) => {}
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
