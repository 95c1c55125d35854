//! Readiness and health of a worker in the words of systemd.
//!
//! | the tree | the unit |
//! |---|---|
//! | no condition | `Type=exec`; `settle` is a `sleep` behind it |
//! | `notify` | `Type=notify`; `settle` is a `sleep` behind it |
//! | `tcp`, `unix`, `http`, `exec`, `corbaloc` | `Type=exec`, and `ExecStartPost=woodward ready --tcp ...` |
//! | `log`, `fd`, `file` | `Type=notify`, and `ExecStart=woodward ready --log ... -- COMMAND`: needs the process's own descriptors, or what was there before it |
//! | a one-shot | `Type=oneshot` |
//! | `health.watchdog` | `WatchdogSec=`; if it shall begin later than the main process, by `woodward ready` |
//! | `health`, all others | `woodward ready` stays behind after readiness, asks, and speaks the watchdog's language |
//!
//! `within` is `TimeoutStartSec=`; where `woodward ready` asks, it minds `within` itself and says why it was in vain,
//! and systemd's time is a second longer. A hung process is asked to stop by the stop signal, and killed after
//! `health.shutdown`.
//!
//! The order of `ExecStartPost=` is: condition, `after_ready`, health.

use std::time::Duration;

use woodward_engine::spec::{self, Kind, Shutdown};

use super::{Deviates, Deviation, Options, Section, Unit, escape};
use crate::tree::{Check, Health, Probe, WorkerPlan, units};

/// Longer than `within`, so that who asks can still say why it was in vain.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Writes `Type=`, the condition, its times and the checks of a worker into its unit.
///
/// Lines of `after_ready` that are there already stay behind the condition and in front of the checks.
pub fn lines(
    unit: &mut Unit,
    plan: &WorkerPlan,
    child: &spec::Child,
    options: &Options,
    deviates: &mut Vec<Deviates>,
) {
    let Kind::Worker(worker) = &child.kind else { return };
    if worker.oneshot {
        unit.set(Section::Service, "Type", "oneshot", "kind", "it is ready when it has ended well");
        let limit = [worker.runtime_max, worker.ready.within].into_iter().flatten().min();
        time(unit, "TimeoutStartSec", limit, "runtime_max", "longer is a failed start");
        return;
    }
    let watchdog = matches!(&plan.health, Some(Health { check: Check::Watchdog(_), .. }));
    let form = Form::of(plan);
    match (form, &plan.ready) {
        (Form::Wrapped, _) => {
            let rule =
                "woodward ready says so when the condition holds; only it and the command are in the way";
            unit.set(Section::Service, "Type", "notify", "ready", rule);
        }
        (Form::Told, Some(_)) => {
            unit.set(Section::Service, "Type", "notify", "ready.notify", "ready when the service says so");
        }
        (Form::Told, None) => {
            let rule = "without a condition it is ready when it is executed, not before";
            unit.set(Section::Service, "Type", "exec", "ready", rule);
        }
        (Form::Asked, _) => {
            let rule = "the condition is asked for behind it: ExecStartPost=";
            unit.set(Section::Service, "Type", "exec", "ready", rule);
        }
    }
    let helped = form != Form::Told || helper(plan, form).is_some();
    if helped || watchdog || plan.ready == Some(Probe::Notify) {
        let rule = if helped {
            "woodward ready, which is not the main process, tells as well"
        } else {
            "any process of the service may tell"
        };
        unit.set(Section::Service, "NotifyAccess", "all", "ready", rule);
    }
    let within = worker.ready.within.map(|within| match form {
        Form::Asked => within + LAST_WORD,
        Form::Told if plan.ready.is_none() => within + worker.ready.settle + LAST_WORD,
        Form::Told | Form::Wrapped => within,
    });
    time(unit, "TimeoutStartSec", within, "ready.within", "later is a failed start");
    if !plan.before_start.is_empty() || !plan.after_ready.is_empty() {
        deviates.push(Deviates {
            deviation: Deviation::TimePerCommand,
            path: plan.path.clone(),
            text: format!(
                "each command of the start has {} for itself",
                worker.ready.within.map_or("no limit".to_owned(), units::show)
            ),
        });
    }
    condition(unit, plan, worker, form, options);
    health(unit, plan, child, form, options, deviates);
}

/// The variable by which checks know the units that a worker relies on.
pub const RELIES_ON: &str = "WOODWARD_RELIES_ON";

/// Writes on which `units`, a list, a worker relies, if anybody checks it: as long as one of them is not up the worker
/// is not judged.
pub fn relies(unit: &mut Unit, plan: &WorkerPlan, units: &str) {
    if asks(plan).is_some() && !units.is_empty() {
        let value = escape::word(&format!("{RELIES_ON}={units}"));
        let rule = "while one of these is down, or is in doubt itself, it is not judged";
        unit.set(Section::Service, "Environment", value, "health", rule);
    }
}

/// The command of a worker as its unit executes it: itself, or behind `woodward ready ... --` where its own
/// descriptors, or what was there before it, have to be seen.
pub fn wrap(plan: &WorkerPlan, child: &spec::Child, options: &Options, command: &[String]) -> Vec<String> {
    let Kind::Worker(worker) = &child.kind else { return command.to_vec() };
    let form = Form::of(plan);
    if worker.oneshot || form != Form::Wrapped {
        return command.to_vec();
    }
    let mut words = ready(options);
    words.extend(plan.ready.iter().flat_map(|probe| asking("", probe)));
    words.extend(settle(worker));
    if plan.after_ready.is_empty() {
        words.extend(helper(plan, form).iter().flat_map(|health| checks(health)));
    }
    words.push("--".to_owned());
    words.extend(command.iter().cloned());
    words
}

/// Who finds out that a worker is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// systemd itself: the service tells, or there is no condition.
    Told,
    /// `woodward ready` behind the start.
    Asked,
    /// `woodward ready` around the command.
    Wrapped,
}

impl Form {
    fn of(plan: &WorkerPlan) -> Form {
        match plan.ready {
            None | Some(Probe::Notify) => Form::Told,
            Some(Probe::Fd(_) | Probe::Log(_) | Probe::File { .. }) => Form::Wrapped,
            Some(
                Probe::Tcp(_) | Probe::Unix(_) | Probe::Http { .. } | Probe::Exec(_) | Probe::Corbaloc(_),
            ) => Form::Asked,
        }
    }
}

/// The checks that somebody has to make.
fn asks(plan: &WorkerPlan) -> Option<&Health> {
    plan.health.as_ref().filter(|health| !matches!(health.check, Check::Watchdog(_)))
}

/// The health that `woodward ready` minds: all that has to be asked, and a watchdog that does not begin with the main
/// process.
fn helper(plan: &WorkerPlan, form: Form) -> Option<&Health> {
    let at_once = form == Form::Told && plan.after_ready.is_empty();
    let by_systemd = |health: &Health| {
        matches!(health.check, Check::Watchdog(_)) && at_once && health.start_after.is_zero()
    };
    plan.health.as_ref().filter(|health| !by_systemd(health))
}

/// `ExecStartPost=` of the condition and of `settle`, in front of those of `after_ready`.
fn condition(unit: &mut Unit, plan: &WorkerPlan, worker: &spec::Worker, form: Form, options: &Options) {
    let mut posts = Vec::new();
    match form {
        Form::Asked => {
            let mut words = ready(options);
            words.extend(plan.ready.iter().flat_map(|probe| asking("", probe)));
            words.extend(
                worker.ready.within.iter().flat_map(|time| ["--within".to_owned(), units::show(*time)]),
            );
            words.extend(settle(worker));
            if plan.after_ready.is_empty() {
                words.extend(helper(plan, form).iter().flat_map(|health| checks(health)));
            }
            posts.push((words, "ready", "asks until the condition holds; fails when the main process ends"));
        }
        Form::Told if !worker.ready.settle.is_zero() => {
            let seconds = format!("{}", worker.ready.settle.as_secs_f64());
            posts.push((vec!["sleep".to_owned(), seconds], "ready.settle", "it must have run this long"));
        }
        Form::Told | Form::Wrapped => {}
    }
    for (words, key, rule) in posts.into_iter().rev() {
        unit.set_first(Section::Service, "ExecStartPost", escape::command("", &words), key, rule);
    }
    if let (Form::Wrapped, Some(Probe::Log(_))) = (form, &plan.ready) {
        let mut words = ready(options);
        words.push("--drain".to_owned());
        let rule = "its last lines are passed on before systemd kills what is left";
        unit.set_first(Section::Service, "ExecStopPost", escape::command("-", &words), "ready.log", rule);
    }
}

/// Checks, and what becomes of a process that fails them.
fn health(
    unit: &mut Unit,
    plan: &WorkerPlan,
    child: &spec::Child,
    form: Form,
    options: &Options,
    deviates: &mut Vec<Deviates>,
) {
    let (Some(health), Kind::Worker(worker)) = (&plan.health, &child.kind) else { return };
    let mut deviate = |deviation, text: &str| {
        deviates.push(Deviates { deviation, path: plan.path.clone(), text: text.to_owned() });
    };
    match health.check {
        Check::Watchdog(every) => {
            if helper(plan, form).is_none() {
                time(unit, "WatchdogSec", Some(every), "health.watchdog", "silent for so long: it hangs");
            } else {
                let value = format!("WATCHDOG_USEC={}", every.as_micros());
                let rule = "as WatchdogSec=, which would begin before readiness and start_after";
                unit.set(Section::Service, "Environment", value, "health.watchdog", rule);
            }
            if form == Form::Wrapped {
                deviate(Deviation::ReadyByItsOwnWord, "READY=1 from it counts, whatever `ready` says");
            }
        }
        Check::Probe(_) | Check::Fresh { .. } => {}
    }
    if let Some(health) = helper(plan, form).filter(|_| form == Form::Told || !plan.after_ready.is_empty()) {
        let mut words = ready(options);
        words.extend(checks(health));
        let rule = "from here on; a hang is told to systemd as its watchdog";
        unit.set(Section::Service, "ExecStartPost", escape::command("", &words), "health", rule);
    }
    let (signal, shutdown) = match worker.shutdown_if_sick.unwrap_or(child.shutdown) {
        Shutdown::BrutalKill => (libc::SIGKILL, Some(Duration::from_secs(1))),
        Shutdown::Time(time) => (plan.stop.signal, Some(time)),
        Shutdown::Infinity => (plan.stop.signal, None),
    };
    let rule = "one that hangs is asked to stop as any other";
    let name = units::signal_names().find(|name| units::signal(name) == Ok(signal));
    let name = name.map_or(signal.to_string(), str::to_owned);
    unit.set(Section::Service, "WatchdogSignal", name, "stop.signal", rule);
    time(unit, "TimeoutAbortSec", shutdown, "health.shutdown", "and killed after this time");
    if plan.stop.command.is_some() {
        deviate(Deviation::NoStopCommandWhenSick, "one that hangs gets the stop signal at once");
    }
}

/// A time, or none.
fn time(
    unit: &mut Unit,
    key: &'static str,
    time: Option<Duration>,
    tree_key: &'static str,
    rule: &'static str,
) {
    let value = time.map_or("infinity".to_owned(), |time| units::show(time.max(Duration::from_millis(1))));
    unit.set(Section::Service, key, value, tree_key, rule);
}

/// `woodward ready`.
fn ready(options: &Options) -> Vec<String> {
    vec![options.program.display().to_string(), "ready".to_owned()]
}

fn settle(worker: &spec::Worker) -> Vec<String> {
    match worker.ready.settle {
        Duration::ZERO => Vec::new(),
        time => vec!["--settle".to_owned(), units::show(time)],
    }
}

/// The words for a probe; `of` stands in front of each name: empty or `health-`.
fn asking(of: &str, probe: &Probe) -> Vec<String> {
    let one = |name: &str, value: String| vec![format!("--{of}{name}={value}")];
    match probe {
        Probe::Notify => Vec::new(),
        Probe::Fd(number) => one("fd", number.to_string()),
        Probe::Tcp(address) => one("tcp", address.clone()),
        Probe::Unix(path) => one("unix", path.display().to_string()),
        Probe::Http { url, status } => {
            let mut words = one("http", url.clone());
            words.extend(status.iter().flat_map(|status| one("status", status.to_string())));
            words
        }
        Probe::Exec(command) => {
            let mut words = vec![format!("--{of}exec")];
            if command.iter().any(|word| word == ";") {
                words.extend(["sh".to_owned(), "-c".to_owned(), shell(command)]);
            } else {
                words.extend(command.iter().cloned());
            }
            words.push(";".to_owned());
            words
        }
        Probe::Log(text) => one("log", text.clone()),
        Probe::File { path, contains } => {
            let mut words = one("file", path.display().to_string());
            words.extend(contains.iter().flat_map(|text| one("contains", text.clone())));
            words
        }
        Probe::Corbaloc(reference) => one("corbaloc", reference.clone()),
    }
}

/// A command with a `;` of its own, which would end it, for a shell.
fn shell(command: &[String]) -> String {
    let quoted = command.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// The words for checks.
fn checks(health: &Health) -> Vec<String> {
    let mut words = match &health.check {
        Check::Probe(probe) => asking("health-", probe),
        Check::Fresh { path, max_age } => {
            vec![format!("--health-file={}", path.display()), "--max-age".to_owned(), units::show(*max_age)]
        }
        Check::Watchdog(every) => vec!["--watchdog".to_owned(), units::show(*every)],
    };
    let asked = !matches!(health.check, Check::Watchdog(_));
    for (name, value) in [
        ("--every", units::show(health.every)),
        ("--timeout", units::show(health.timeout)),
        ("--misses", health.misses.to_string()),
    ]
    .into_iter()
    .filter(|_| asked)
    {
        words.extend([name.to_owned(), value]);
    }
    if !health.start_after.is_zero() {
        words.extend(["--start-after".to_owned(), units::show(health.start_after)]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    /// The lines of a worker with these keys, and the names of what deviates.
    fn written(keys: &str) -> (Vec<String>, Vec<&'static str>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, format!("id = \"t\"\n[[child]]\nid = \"s\"\ncommand = [\"serve\"]\n{keys}\n"))
            .unwrap();
        let plan = tree::load(&file, &tree::Options::default()).map_err(|e| format!("{e:?}")).unwrap().0;
        let options = Options { program: "/w".into(), ..crate::units::tests::options() };
        let spec::Children::List(children) = &plan.tree.root.children else { panic!("a list") };
        let (child, worker) = (&children[0], &plan.workers[0]);
        let (mut unit, mut deviates) = (Unit::new("s.service", "t/s"), Vec::new());
        let command = wrap(worker, child, &options, &worker.command);
        unit.set(Section::Service, "ExecStart", escape::command("", &command), "command", "");
        for hook in &worker.after_ready {
            unit.set(Section::Service, "ExecStartPost", escape::command("", hook), "after_ready", "");
        }
        lines(&mut unit, worker, child, &options, &mut deviates);
        relies(&mut unit, worker, "a.service b.service");
        let text = unit.lines.iter().map(|line| format!("{}={}", line.key, line.value)).collect();
        (text, deviates.iter().map(|deviates| deviates.deviation.name()).collect())
    }

    fn check(keys: &str, expected: &[&str]) {
        assert_eq!(written(keys).0, expected, "{keys}");
    }

    #[test]
    fn readiness_is_what_systemd_has_where_it_has_it() {
        check("", &["ExecStart=serve", "Type=exec", "TimeoutStartSec=1m1s"]);
        check(
            "ready = { settle = \"1500ms\", within = \"20s\" }",
            &["ExecStart=serve", "Type=exec", "TimeoutStartSec=22s500ms", "ExecStartPost=sleep 1.5"],
        );
        check(
            "ready = { notify = true }",
            &["ExecStart=serve", "Type=notify", "NotifyAccess=all", "TimeoutStartSec=1m"],
        );
        check(
            "kind = \"oneshot\"\nruntime_max = \"5s\"",
            &["ExecStart=serve", "Type=oneshot", "TimeoutStartSec=5s"],
        );
    }

    #[test]
    fn what_systemd_lacks_is_asked_behind_the_start_or_seen_around_the_command() {
        check(
            "ready = { tcp = \"h:1\", settle = \"1s\", within = \"20s\" }\nafter_ready = [[\"hook\"]]\nhealth = false",
            &[
                "ExecStart=serve",
                "ExecStartPost=/w ready --tcp=h:1 --within 20s --settle 1s",
                "ExecStartPost=hook",
                "Type=exec",
                "NotifyAccess=all",
                "TimeoutStartSec=21s",
            ],
        );
        check(
            "ready = { exec = [\"a\", \";\", \"$b\"] }",
            &[
                "ExecStart=serve",
                "Type=exec",
                "NotifyAccess=all",
                "TimeoutStartSec=1m1s",
                "ExecStartPost=:/w ready --exec sh -c \"'a' ';' '$b'\" \";\" --within 1m",
            ],
        );
        check(
            "ready.log = \"is up\"",
            &[
                "ExecStart=/w ready \"--log=is up\" -- serve",
                "Type=notify",
                "NotifyAccess=all",
                "TimeoutStartSec=1m",
                "ExecStopPost=-/w ready --drain",
            ],
        );
        check(
            "ready = { file = \"/f\", contains = \"x\" }",
            &[
                "ExecStart=/w ready --file=/f --contains=x -- serve",
                "Type=notify",
                "NotifyAccess=all",
                "TimeoutStartSec=1m",
            ],
        );
    }

    #[test]
    fn health_is_a_watchdog_that_systemd_minds_or_somebody_speaks() {
        check(
            "ready.notify = true\nhealth = { watchdog = \"10s\", shutdown = \"brutal_kill\" }",
            &[
                "ExecStart=serve",
                "Type=notify",
                "NotifyAccess=all",
                "TimeoutStartSec=1m",
                "WatchdogSec=10s",
                "WatchdogSignal=SIGKILL",
                "TimeoutAbortSec=1s",
            ],
        );
        check(
            "ready.notify = true\nhealth = { watchdog = \"10s\", start_after = \"1m\" }\nstop.signal = \"SIGINT\"",
            &[
                "ExecStart=serve",
                "Type=notify",
                "NotifyAccess=all",
                "TimeoutStartSec=1m",
                "Environment=WATCHDOG_USEC=10000000",
                "ExecStartPost=/w ready --watchdog 10s --start-after 1m",
                "WatchdogSignal=SIGINT",
                "TimeoutAbortSec=5s",
            ],
        );
        check(
            "ready.fd = 3\nhealth = { tcp = \"h:1\", misses = 2, shutdown = \"2s\" }",
            &[
                "ExecStart=/w ready --fd=3 --health-tcp=h:1 --every 10s --timeout 3s --misses 2 -- serve",
                "Type=notify",
                "NotifyAccess=all",
                "TimeoutStartSec=1m",
                "WatchdogSignal=SIGTERM",
                "TimeoutAbortSec=2s",
                "Environment=\"WOODWARD_RELIES_ON=a.service b.service\"",
            ],
        );
    }

    #[test]
    fn what_systemd_cannot_say_about_starts_and_hangs_is_named() {
        let deviations = |keys: &str| written(keys).1;
        assert_eq!(deviations("before_start = [[\"a\"]]"), ["time-per-command"]);
        assert_eq!(
            deviations("ready.log = \"x\"\nhealth = { watchdog = \"1s\" }"),
            ["ready-by-its-own-word"]
        );
        let asked = "health = { tcp = \"h:1\" }\nstop.command = [\"s\"]";
        assert_eq!(deviations(asked), ["no-stop-command-when-sick"]);
    }
}
