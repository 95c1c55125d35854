//! One unit whose main process is `woodward run`: of a whole tree, or of a subtree (`--at PATH`).
//!
//! | the run ends with | because | the unit of a tree | the unit of a subtree |
//! |---|---|---|---|
//! | 0 | it was stopped, or ended as planned (`auto_shutdown`, `essential`) | stays down | as its restart type says of a calm end |
//! | 1 | it gave up | has failed and stays down; `exhausted = "reboot"`: reboots | as its restart type says of the end of a supervisor |
//! | 64, 77, 78 | wrong use, not permitted, a wrong tree file | has failed and stays down | the same |
//! | 75, 101, a signal, no sign of life | the keeper failed; services live on | is started again and goes on with them | the same, and its parent counts it |
//! | another | its essential child ended with that | has failed and stays down | never: such a subtree is not made alone |
//!
//! What a tree asks for is done by woodward for each service. The unit only restricts what no service below needs.

use std::path::Path;
use std::time::Duration;

use woodward_engine::spec::{Exhausted, Restart};

use super::{Choice, Deviates, Deviation, Release};
use super::{Error, Mode, Options, Rendering, Scope, Section, Unit, escape, hardening, names};
use crate::tree::{Plan, outline};

/// A keeper is silent for so long, and is replaced; and so long after its last deadline it is ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// As many statuses of services that end while no keeper watches are kept.
const STORE: &str = "4096";

/// The units of a tree: one.
pub fn render(plan: &Plan, options: &Options) -> Result<Rendering, Error> {
    Ok(whole(plan, options, "asked for: --mode supervised"))
}

/// The one unit of a tree, with the reason for it.
pub(super) fn whole(plan: &Plan, options: &Options, reason: &str) -> Rendering {
    let path = plan.tree.id.to_string();
    let mut unit = Unit::new(format!("{}.service", names::stem(&options.prefix, &path)), path.clone());
    about(&mut unit, plan, options);
    if options.scope == Scope::System {
        let rule = "what it starts may need addresses";
        unit.set(Section::Unit, "After", "network.target", "", rule);
    }
    let rule = "a keeper that is killed is started again, however often: its services live on meanwhile";
    unit.set(Section::Unit, "StartLimitIntervalSec", "0", "", rule);
    let rule = "a keeper that was killed or hangs is started again; a tree that has ended stays so";
    unit.set(Section::Service, "Restart", "on-abnormal", "exhausted", rule);
    let rule = "the keeper could not go on, which is not an end of the tree: once more";
    unit.set(Section::Service, "RestartForceExitStatus", "75 101", "", rule);
    unit.set(Section::Service, "RestartSec", "0", "", "nobody watches its services meanwhile");
    let slice = format!("{}.slice", names::stem(&options.prefix, &path));
    unit.set(Section::Service, "Slice", slice, "", "a tree has a slice of its own");
    process(&mut unit, plan, None, true, options);
    let mut deviations = Vec::new();
    if plan.tree.root.exhausted == Exhausted::Reboot {
        reboots(&mut unit, options, &mut deviations);
    }
    let target = if options.scope == Scope::User { "default.target" } else { "multi-user.target" };
    unit.set(Section::Install, "WantedBy", target, "", "started with the host");
    unit.set(Section::Woodward, "Mode", Mode::Supervised.name(), "", "what `auto` chose, or was asked for");
    unit.set(
        Section::Woodward,
        "Reason",
        escape::specifiers(reason),
        "",
        "why it is not made of plain units",
    );
    let choices = vec![Choice { path, mode: Mode::Supervised, reason: reason.to_owned() }];
    Rendering { units: vec![unit], deviations, choices }
}

/// What people are told.
fn about(unit: &mut Unit, plan: &Plan, options: &Options) {
    let said = plan.supervisors.iter().find(|s| s.path == unit.path).and_then(|s| s.description.clone());
    let text = said.unwrap_or_else(|| format!("Supervision tree {}", unit.path));
    unit.set(Section::Unit, "Description", escape::specifiers(&text), "description", "for people");
    let source = escape::specifiers(&options.source.display().to_string());
    unit.set(Section::Unit, "SourcePath", source, "", "systemctl status names the tree");
}

/// `exhausted = "reboot"`. Not by `FailureAction=`, which on some releases is taken before a keeper is started again.
fn reboots(unit: &mut Unit, options: &Options, deviations: &mut Vec<Deviates>) {
    if options.scope == Scope::User {
        let text = "`exhausted = \"reboot\"`: the tree ends, and the host goes on".to_owned();
        deviations.push(Deviates { deviation: Deviation::UserManager, path: unit.path.clone(), text });
        return;
    }
    let script = "[ \"$EXIT_CODE $EXIT_STATUS\" != \"exited 1\" ] || exec systemctl --no-block reboot";
    let line = escape::command("", &["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]);
    let rule = "giving up means a reboot; a wrong tree file, or a keeper that was killed, does not";
    unit.set(Section::Service, "ExecStopPost", line, "exhausted", rule);
}

/// The unit of a subtree is restarted by its restart type, as a worker's: its ends are read so that they mean what the
/// end of the supervisor means.
pub(super) fn ends(unit: &mut Unit, restart: Restart) {
    let (prevent, rule) = match restart {
        Restart::Permanent | Restart::Temporary => {
            ("64 77 78", "wrong use, not permitted, a wrong tree file: once more would not help")
        }
        Restart::Transient => (
            "1 64 77 78",
            "a supervisor that gives up ends with `shutdown`, which is calm; the others: once more would not help",
        ),
    };
    unit.set(Section::Service, "RestartPreventExitStatus", prevent, "restart", rule);
}

/// The lines about the process. `plan`: what it hosts, already cut at `at`. `comes_back`: a keeper that dies is started
/// again, and its services wait for the next one.
pub(super) fn process(unit: &mut Unit, plan: &Plan, at: Option<&str>, comes_back: bool, options: &Options) {
    let set = |unit: &mut Unit, key, value: &str, tree_key, rule| {
        unit.set(Section::Service, key, value, tree_key, rule);
    };
    set(unit, "Type", "notify", "", "woodward says when the tree is up");
    set(unit, "NotifyAccess", "main", "", "services have a socket of their own for that");
    let run = line("run", at, true, options);
    set(unit, "ExecStart", &run, "id", "the main process is the keeper of the tree");
    for (name, value) in &options.environment {
        let value = escape::word(&format!("{name}={value}"));
        set(unit, "Environment", &value, "", "the tree was read with it");
    }
    set(unit, "ExecReload", "/bin/kill -HUP $MAINPID", "", "the tree file is read again");
    let sweep = line("sweep", at, false, options);
    set(
        unit,
        "ExecStopPost",
        &sweep,
        "",
        "ends what is left after a stop; after a failure it leaves all alone",
    );
    if comes_back {
        let rule = "only the keeper belongs to systemd; services belong to the keeper, and outlive it";
        set(unit, "KillMode", "process", "", rule);
    } else {
        let rule = "it is not started again: what it leaves has nobody";
        set(unit, "KillMode", "mixed", "restart", rule);
    }
    set(unit, "Delegate", "yes", "", "each service has a control group of its own below it");
    set(
        unit,
        "OOMPolicy",
        "continue",
        "",
        "what runs out of memory is one service, and woodward's to restart",
    );
    set(unit, "TasksMax", "infinity", "tasks_max", "each service has its own limit");
    set(unit, "LogRateLimitIntervalSec", "0", "log_rate_limit", "each service has its own limit");
    set(unit, "FileDescriptorStoreMax", STORE, "", "statuses of what ends while no keeper watches");
    if options.release < Release(254) {
        let value = format!("FDSTORE={STORE}");
        set(unit, "Environment", &value, "", "systemd tells the size itself from 254 on");
    }
    let patience = PATIENCE.as_secs().to_string();
    set(unit, "WatchdogSec", &patience, "", "the keeper answers as long as the daemon does");
    let rule = "the keeper has all signals blocked: SIGABRT would wait for ever";
    set(unit, "WatchdogSignal", "SIGKILL", "", rule);
    set(unit, "TimeoutStartSec", "infinity", "ready.within", "a tree has its own deadlines for starting");
    let (stop, rule) = match longest_stop(plan) {
        Some(time) => (
            (time + PATIENCE).as_secs().to_string(),
            "the slowest stop the tree allows, and time for a hook; woodward asks for more while it is at it",
        ),
        None => ("infinity".to_owned(), "something in the tree may take as long as it likes to stop"),
    };
    set(unit, "TimeoutStopSec", &stop, "shutdown", rule);
    hardening::lines(unit, plan, options);
}

/// The time the plan allows for stopping everything, rounded up to seconds; `None`: no limit.
fn longest_stop(plan: &Plan) -> Option<Duration> {
    let below = outline::total(&outline::slowest_stop(&plan.tree.root));
    let time = match (plan.tree.shutdown, below) {
        (Some(own), Some(below)) => own.min(below),
        (own, below) => own.or(below)?,
    };
    Some(Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0)))
}

/// `woodward VERB TREE`, with what says which tree it is.
fn line(verb: &str, at: Option<&str>, vars: bool, options: &Options) -> String {
    let text = |path: &Path| path.display().to_string();
    let mut words = vec![text(&options.program), verb.to_owned(), text(&options.source)];
    if let Some(at) = at {
        words.extend(["--at".to_owned(), at.to_owned()]);
    }
    // The name of the whole tree may be made of variables; that of a subtree is said.
    if vars || at.is_none() {
        for (name, value) in &options.vars {
            words.extend(["--var".to_owned(), format!("{name}={value}")]);
        }
    }
    escape::command("", &words)
}
