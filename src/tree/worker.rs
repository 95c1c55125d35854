//! From the merged table of a worker to its plan and to what the engine is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use woodward_engine::spec::{self, Restart, Shutdown, Status};

use super::advice;
use super::decode::{self, At};
use super::environment::{self, Environment, From, Says};
use super::expand::{Level, Reader};
use super::health;
use super::keys;
use super::layers;
use super::plan::{
    Bound, Identity, KillMode, Output, Passes, Probe, RateLimit, Resource, Stdin, Stop, WorkerPlan,
};
use super::resources::{self, Resources};
use super::rules;
use super::said;
use super::sandbox::Sandbox;
use super::settings::{Settings, Typed};
use super::sockets;
use super::source::Span;
use super::supervisor;
use super::value::Table;
use super::variables::{Context, Mode, Variables};

/// Plans a worker; also what it is after, and where that is said.
pub fn worker(
    reader: &mut Reader,
    own: &Table,
    id: &str,
    level: &Level,
    mode: Mode,
) -> (spec::Child, Vec<(String, Span)>) {
    let path = format!("{}/{id}", level.path);
    let context = Context { items: &level.items, me: Some((id, &path)), mode };
    let mut merged = level.defaults.clone();
    merged.span = own.span;
    let own = &rules::without_supervisor_keys(own);
    layers::merge(&mut merged, own.clone());

    let at = At {
        keys: if mode == Mode::Template { keys::AT_TEMPLATE } else { keys::AT_WORKER },
        name: &path,
        around: None,
    };
    let settings = decode::table(&mut reader.vars, &merged, at, &context);
    let environment = environment_of(reader, own, &settings, level, &context);
    said::say(reader, &path, &settings, at.keys, level.otp);
    said::environment(reader, &path, &environment);
    let oneshot = settings.word("kind") == Some("oneshot");
    rules::worker(&mut reader.vars, own, &settings, oneshot, &path);

    let mut plan = plan(reader, &settings, path.clone(), oneshot, &environment);
    let own_says = Says::of(own);
    let says = level.environments.iter().chain([&own_says]);
    plan.environment_files = reader.environments.files(&mut reader.vars, says, &context, &environment);
    sockets::worker(reader, own, &settings, &plan, mode);
    plan.identity.limits.extend(resources::substitutes(&plan));
    advice::worker(&mut reader.vars.report, own, &settings, &plan, mode);
    let after = after_of(&mut reader.vars, own, &context);
    let stop_signal = plan.stop.signal;
    // Hooks after readiness are part of it: the worker says when all of it is done.
    let probe = plan.ready.is_some() || !plan.after_ready.is_empty();
    let key = reader.add_worker(plan);

    let restart = match (oneshot, own.has("restart")) {
        (true, false) => Restart::Transient,
        _ => supervisor::restart(settings.word("restart"), Restart::Permanent),
    };
    let child = spec::Child {
        id: id.into(),
        restart,
        significant: settings.boolean("significant"),
        shutdown: supervisor::shutdown(settings.get("shutdown"), Shutdown::Time(Duration::from_secs(5))),
        after: Vec::new(),
        backoff: match settings.get("backoff") {
            Some(Typed::Table(table)) => Some(supervisor::backoff(table)),
            Some(_) => None,
            None => (!level.otp).then(|| supervisor::backoff(&Settings::default())),
        },
        kind: spec::Kind::Worker(spec::Worker {
            key,
            oneshot,
            ready: if oneshot { spec::Ready::default() } else { ready(&settings, probe) },
            limit: settings.table("limit").map(|table| limit(table, level.otp)),
            ends: spec::Ends {
                success: statuses(&settings, "success_exit_status"),
                prevent: statuses(&settings, "restart_prevent_exit_status"),
                force: statuses(&settings, "restart_force_exit_status"),
                stop_signal,
            },
            essential: settings.boolean("essential"),
            runtime_max: settings.duration("runtime_max").filter(|_| oneshot),
            shutdown_if_sick: health::shutdown(&settings),
        }),
    };
    (child, after)
}

/// What a child is after.
pub fn after_of(vars: &mut Variables, table: &Table, context: &Context<'_>) -> Vec<(String, Span)> {
    let Some(value) = table.get("after") else { return Vec::new() };
    let mut after = Vec::new();
    for element in value.list().unwrap_or_default() {
        let names = vars.list(std::slice::from_ref(element), context).unwrap_or_default();
        after.extend(names.into_iter().map(|name| (name, element.span)));
    }
    if let Some(text) = value.text().filter(|text| decode::is_one_variable(text)) {
        let names = vars.replace(value.span, text, context).map(|datum| datum.elements());
        after.extend(names.unwrap_or_default().into_iter().map(|name| (name, value.span)));
    }
    after
}

fn environment_of(
    reader: &mut Reader,
    own: &Table,
    settings: &Settings,
    level: &Level,
    context: &Context<'_>,
) -> Environment {
    let passes = |name: &str| match settings.get("pass_environment") {
        Some(Typed::Boolean(pass)) => *pass,
        Some(Typed::Strings(names)) => names.iter().any(|passed| passed == name),
        _ => true,
    };
    let mut environment: Environment = reader
        .own_environment
        .iter()
        .filter(|(name, _)| !environment::is_private(name) && passes(name))
        .map(|(name, value)| (name.clone(), (value.clone(), From::Own)))
        .collect();
    for says in level.environments.iter().chain([&Says::of(own)]) {
        reader.environments.add(&mut environment, &mut reader.vars, says, context);
    }
    environment
}

fn plan(
    reader: &mut Reader,
    settings: &Settings,
    path: String,
    oneshot: bool,
    environment: &Environment,
) -> WorkerPlan {
    let working_directory = settings.text("working_directory").map(PathBuf::from);
    let lazy = sockets::is_lazy(settings);
    let id = path.rsplit('/').next().unwrap_or_default().to_owned();
    let at =
        |path: &str| working_directory.as_ref().map_or_else(|| PathBuf::from(path), |dir| dir.join(path));
    let secret =
        |(name, (_, from)): (&String, &(String, From))| matches!(from, From::File(_)).then(|| name.clone());
    let ready = settings.table("ready").filter(|_| !oneshot && !lazy).and_then(|table| probe(table, at));
    let health_probe = settings.table("health").and_then(|table| probe(table, at));
    let unit = settings.text("unit");
    // systemd says when a unit has started.
    let ready = ready.or_else(|| (unit.is_some() && !oneshot).then_some(Probe::Notify));
    let directories: Vec<PathBuf> =
        settings.strings("directories").unwrap_or_default().iter().map(|path| at(path)).collect();
    let after_stop = after_stop(settings, unit.as_deref());
    WorkerPlan {
        path,
        description: settings.text("description"),
        oneshot,
        task: false,
        command: match &unit {
            Some(unit) => super::unit::command(unit),
            None => settings.strings("command").unwrap_or_default(),
        },
        command_on_restart: settings.strings("command_on_restart"),
        identity: identity(settings),
        sandbox: Sandbox::of(settings, &directories, at),
        directories,
        stdin: match settings.word("stdin") {
            Some("open") => Stdin::Open,
            Some("inherit") => Stdin::Inherit,
            _ => Stdin::Null,
        },
        environment: reader.environments.shared(environment),
        before_start: settings.commands("before_start"),
        after_ready: if lazy { Vec::new() } else { settings.commands("after_ready") },
        after_stop,
        unit,
        output: output(settings, at),
        log_rate_limit: settings.table("log_rate_limit").map(|table| RateLimit {
            lines: table.integer("lines").unwrap_or(u32::MAX),
            per: table.duration("per").unwrap_or(Duration::from_secs(1)),
        }),
        calm_ends: if lazy { statuses(settings, "success_exit_status") } else { Vec::new() },
        lazy,
        resources: Resources::of(settings),
        listen: sockets::listen(settings, &id, at),
        stop: stop(settings.table("stop")),
        health: health::health(settings, ready.as_ref(), health_probe, at).filter(|_| !oneshot),
        reload: health::reload(settings),
        ready,
        secret_names: environment.iter().filter_map(secret).collect(),
        environment_files: Vec::new(),
        bound: Bound::No,
        passes: match settings.get("pass_environment") {
            Some(Typed::Boolean(false)) => Passes::None,
            Some(Typed::Strings(names)) => Passes::Names(names.clone()),
            _ => Passes::All,
        },
        working_directory: working_directory.clone(),
    }
}

fn after_stop(settings: &Settings, unit: Option<&str>) -> Vec<Vec<String>> {
    unit.map(super::unit::end).into_iter().chain(settings.commands("after_stop")).collect()
}

fn identity(settings: &Settings) -> Identity {
    let limit = |(name, resource): &(&str, Resource)| match settings.table("limits")?.get(name)? {
        Typed::Rlimit(soft, hard) => Some((*resource, *soft, *hard)),
        _ => None,
    };
    Identity {
        user: settings.text("user"),
        group: settings.text("group"),
        supplementary_groups: settings.strings("supplementary_groups").unwrap_or_default(),
        umask: match settings.get("umask") {
            Some(Typed::Mask(mask)) => Some(*mask),
            _ => None,
        },
        nice: settings.integer("nice"),
        oom_score_adjust: settings.integer("oom_score_adjust"),
        limits: RESOURCES.iter().filter_map(limit).collect(),
    }
}

const RESOURCES: &[(&str, Resource)] = &[
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

fn output(settings: &Settings, at: impl Fn(&str) -> PathBuf) -> Output {
    if let Some(table) = settings.table("output") {
        return Output::File {
            file: at(&table.text("file").unwrap_or_default()),
            max_size: match table.get("max_size") {
                Some(Typed::Size(bytes)) => Some(*bytes),
                _ => None,
            },
            keep: table.integer("keep").unwrap_or(5),
        };
    }
    match settings.word("output") {
        Some("journal") => Output::Journal,
        Some("inherit") => Output::Inherit,
        Some("null") => Output::Null,
        _ => Output::Auto,
    }
}

fn probe(table: &Settings, at: impl Fn(&str) -> PathBuf) -> Option<Probe> {
    let text = |key| table.text(key);
    None.or(table.boolean("notify").then_some(Probe::Notify))
        .or(table.integer("fd").map(Probe::Fd))
        .or(text("tcp").map(Probe::Tcp))
        .or(text("unix").map(|path| Probe::Unix(at(&path))))
        .or(text("http").map(|url| Probe::Http { url, status: table.integer("status") }))
        .or(table.strings("exec").map(Probe::Exec))
        .or(text("log").map(Probe::Log))
        .or(text("file").map(|path| Probe::File { path: at(&path), contains: text("contains") }))
        .or(text("corbaloc").map(Probe::Corbaloc))
}

fn stop(table: Option<&Settings>) -> Stop {
    let Some(table) = table else { return Stop::default() };
    Stop {
        command: table.strings("command"),
        signal: match table.get("signal") {
            Some(Typed::Signal(number)) => *number,
            _ => Stop::default().signal,
        },
        kill: match table.word("kill") {
            Some("group") => KillMode::Group,
            Some("process") => KillMode::Process,
            _ => KillMode::Mixed,
        },
    }
}

fn ready(settings: &Settings, probe: bool) -> spec::Ready {
    let table = settings.table("ready");
    let within = match table.and_then(|table| table.get("within")) {
        Some(Typed::Duration(time)) => Some(*time),
        Some(_) => None,
        None => Some(Duration::from_secs(60)),
    };
    let settle = table.and_then(|table| table.duration("settle")).unwrap_or_default();
    spec::Ready { probe, within, settle }
}

fn limit(table: &Settings, otp: bool) -> spec::Limit {
    let (intensity, period) = supervisor::limit_defaults(otp);
    spec::Limit {
        intensity: table.integer("intensity").unwrap_or(intensity),
        period: table.duration("period").map_or(period, supervisor::seconds),
        exhausted: match table.word("exhausted") {
            Some("escalate") => spec::Exhausted::Escalate,
            _ => spec::Exhausted::Park,
        },
        retry_after: table.duration("retry_after"),
    }
}

fn statuses(settings: &Settings, key: &str) -> Vec<Status> {
    match settings.get(key) {
        Some(Typed::Statuses(statuses)) => statuses.clone(),
        _ => Vec::new(),
    }
}

/// Where a program lies: as written if it has a slash, else the first in `PATH` that may be executed.
pub fn find_program(plan: &WorkerPlan, program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path =
            plan.working_directory.as_ref().map_or_else(|| PathBuf::from(program), |dir| dir.join(program));
        return Some(path).filter(|path| runs(path));
    }
    let path = plan.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    path.unwrap_or(DEFAULT_PATH).split(':').map(|dir| Path::new(dir).join(program)).find(|path| runs(path))
}

/// Where programs are looked for when the environment has no `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
