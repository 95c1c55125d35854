//! `woodward run`: becomes the keeper of a daemon.
//!
//! This process is the parent of everything and knows nothing of trees, so it reads no more of them than the name of the
//! first, which names the places. The daemon is this same program under the hidden verb `daemon`: it plans all trees
//! before it binds or starts anything, and if one is wrong, all errors are said and both end with 78.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::command;
use super::report::{Code, Failure, end};
use crate::control::places::{Host, Places};
use crate::control::{BindError, bind};
use crate::os;
use crate::settings::{self, Flag, Refused, Settings};
use crate::tree::failover::{self, Site};
use crate::tree::{self, Diagnostic, Options, Plan, Severity, sockets, together};

/// Runs the trees of these files: the daemon, in the foreground.
#[cfg_attr(feature = "full", derive(clap::Args))]
#[cfg_attr(
    feature = "full",
    command(after_help = "woodward settings: all that --set takes, and what holds.")
)]
pub struct Args {
    #[cfg_attr(feature = "full", command(flatten))]
    pub(super) trees: Trees,
    /// Listen on this socket
    #[cfg_attr(feature = "full", arg(long, value_name = "PATH"))]
    pub(super) socket: Option<PathBuf>,
    /// Keep run state and history in this directory
    #[cfg_attr(feature = "full", arg(long, value_name = "DIR"))]
    pub(super) state: Option<PathBuf>,
    /// Change a setting, such as format=json
    #[cfg_attr(feature = "full", arg(long, value_name = "KEY=VALUE", value_parser = variable))]
    pub(super) set: Vec<Flag>,
    #[cfg_attr(feature = "full", command(flatten))]
    pub(super) command: command::Args,
}

/// Which trees.
#[cfg_attr(feature = "full", derive(clap::Args))]
pub(super) struct Trees {
    /// Tree files [default: all in the setting `trees`]
    #[cfg_attr(feature = "full", arg(value_name = "FILE"))]
    pub(super) files: Vec<PathBuf>,
    /// Set a variable of the trees
    #[cfg_attr(feature = "full", arg(long = "var", value_name = "NAME=VALUE", value_parser = variable))]
    pub(super) vars: Vec<(String, String)>,
    /// Only the subtree at this path, as a tree of its own
    #[cfg_attr(feature = "full", arg(long, value_name = "PATH"))]
    pub(super) at: Option<String>,
    /// Be an init where this is not PID 1
    #[cfg_attr(feature = "full", arg(long))]
    pub(super) init: bool,
}

pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no `=` in it")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    if args.command.is_stray() {
        let message = "cannot read the command line: an option for a command, and no -- COMMAND";
        return Failure::usage(message).hint("woodward run --help").report();
    }
    if args.command.is_given() {
        return command::run(args.command);
    }
    match prepare(args) {
        Ok(config) => ExitCode::from(woodward_keeper::run(config)),
        Err(failure) => end(Err(failure)),
    }
}

fn prepare(mut args: Args) -> Result<woodward_keeper::Config, Failure> {
    let settings = settings::load(&args.set).map_err(refused)?;
    settings.doubtful.iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    let settings = settings.settings;
    let id = first_id(&mut args.trees, &settings)?;
    // A socket that was named is looked at before anything is made: a refused run leaves nothing behind.
    args.socket.as_deref().map_or(Ok(()), alone_on)?;
    let init = args.trees.init || std::process::id() == 1;
    let host = Host::here(&settings);
    let places = host.places(&id, args.socket.as_deref(), args.state.as_deref()).map_err(|e| {
        let failure = Failure::new(Code::NotPermitted, format!("cannot run {id}: {e}"));
        if init { failure.hint("a container needs a place to write: --tmpfs /run") } else { failure }
    })?;
    if init
        && !host.runtime.iter().take(1).any(|first| places.socket.starts_with(first))
        && args.socket.is_none()
    {
        eprintln!("woodward: the socket is {}", places.socket.display());
    }
    alone_on(&places.socket)?;
    let notify = std::env::var("NOTIFY_SOCKET").ok().filter(|address| !address.is_empty());
    let daemon = daemon(&args, &places, notify.is_some())?;
    Ok(woodward_keeper::Config { daemon, state: places.run, notify, init, members: os::members })
}

/// The name of the first tree, which names the places; of a subtree its path, `acs+logging`: no tree can be called so.
/// Without files: of those of this host.
fn first_id(trees: &mut Trees, settings: &Settings) -> Result<String, Failure> {
    if trees.files.is_empty() {
        trees.files = installed(&settings.trees)?;
    }
    if let Some(at) = &trees.at {
        if trees.files.len() != 1 {
            return Err(Failure::usage("cannot run a subtree: --at needs one tree file")
                .hint("woodward run FILE --at PATH"));
        }
        if !at.split('/').all(is_id) {
            return Err(
                Failure::usage(format!("cannot run {at:?} alone: it is no path")).hint("woodward plan FILE")
            );
        }
        return Ok(at.replace('/', "+"));
    }
    if let Some(id) = trees.files.first().and_then(|file| id_of(file)) {
        return Ok(id);
    }
    let (plans, _) = plans(trees)?;
    let first = plans.first().map(|plan| plan.tree.id.to_string());
    first.ok_or_else(|| Failure::usage("cannot run: no tree file given"))
}

/// Where the run state of a run of these trees is.
#[cfg(feature = "full")]
pub(super) fn state_of(trees: &mut Trees, state: Option<&Path>) -> Result<PathBuf, Failure> {
    let settings = settings::load(&[]).map_err(refused)?.settings;
    let id = first_id(trees, &settings)?;
    let places = Host::here(&settings).places(&id, None, state);
    let failed = |e| Failure::new(Code::NotPermitted, format!("cannot find the run state of {id}: {e}"));
    places.map(|places| places.run).map_err(failed)
}

/// The name of a tree, if it stands there as it is: without variables, and in a file that is TOML at least.
pub(super) fn id_of(file: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Head {
        id: String,
    }
    let head: Head = toml::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    is_id(&head.id).then_some(head.id)
}

fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:@-".contains(c);
    !text.is_empty() && text.chars().all(plain) && !text.starts_with('.')
}

/// Reads these files: the plans and the warnings. If there are errors, all is said; `Err` carries the exit code.
pub(super) fn plans(trees: &Trees) -> Result<(Vec<Plan>, Vec<Diagnostic>), Failure> {
    let files = trees.files.iter().map(|file| (file.as_path(), trees.vars.as_slice()));
    read(files, &options(trees))
}

/// How they are read, but for the variables.
pub(super) fn options(trees: &Trees) -> Options {
    let options = Options::of_this_process();
    Options { init: options.init || trees.init, at: trees.at.clone(), ..options }
}

/// As above, each file with variables of its own.
pub(super) fn read<'t>(
    files: impl Iterator<Item = (&'t Path, &'t [(String, String)])>,
    options: &Options,
) -> Result<(Vec<Plan>, Vec<Diagnostic>), Failure> {
    let mut plans: Vec<Plan> = Vec::new();
    let mut all = Vec::new();
    for (file, vars) in files {
        let options = Options { vars: vars.to_vec(), ..options.clone() };
        let (plan, said) = match tree::load(file, &options) {
            Ok((plan, said)) => (Some(plan), said),
            Err(said) => (None, said),
        };
        all.extend(said);
        plans.extend(plan);
    }
    let errors = all.iter().filter(|d| d.severity == Severity::Error).count();
    let config = |message| Failure::new(Code::Config, message);
    if errors > 0 {
        all.iter().for_each(|diagnostic| eprintln!("{diagnostic}"));
        let s = if errors == 1 { "" } else { "s" };
        return Err(config(format!("cannot run: {errors} error{s}; nothing was started")));
    }
    for (n, plan) in plans.iter().enumerate() {
        if plans[..n].iter().any(|other| other.tree.id == plan.tree.id) {
            let message = format!("cannot run: two trees are called {}; nothing was started", plan.tree.id);
            return Err(config(message).hint("their ids must differ"));
        }
    }
    for (n, plan) in plans.iter().enumerate() {
        if let Some((address, first, second)) =
            plans[..n].iter().find_map(|other| sockets::shared(other, plan))
        {
            let message = format!("cannot run: {second} listens on {address}, and so does {first}");
            return Err(config(format!("{message}; nothing was started")));
        }
    }
    if let Some(wrong) = together::contradictions(&plans).first() {
        return Err(config(format!("cannot run: {wrong}; nothing was started")));
    }
    Ok((plans, all))
}

/// Refuses a `strict` group on a host that does not offer what it asks for, and says which failure would split it.
pub(super) fn strict(plans: &[Plan], settings: &Settings) -> Result<(), Failure> {
    let splits: Vec<String> = plans.iter().flat_map(|plan| splits(plan, settings)).collect();
    match splits.is_empty() {
        true => Ok(()),
        false => {
            let message = format!("cannot run: {}; nothing was started", splits.join("\ncannot run: "));
            Err(Failure::new(Code::Config, message)
                .hint("woodward settings; or take policy = \"strict\" away"))
        }
    }
}

/// What keeps a `strict` group from this host.
pub(super) fn splits(plan: &Plan, settings: &Settings) -> Vec<String> {
    let Some(failover) = &plan.failover else { return Vec::new() };
    let watchdog = !settings.watchdog_device.as_os_str().is_empty();
    let site = Site { members: settings.etcd.0.len(), watchdog };
    let splits = failover.splits(failover::guarded(plan), site).into_iter();
    splits.map(|split| format!("{} is strict, and {split}", plan.tree.id)).collect()
}

/// Settings that cannot be used.
pub(super) fn refused(refused: Refused) -> Failure {
    let n = refused.0.len();
    let s = if n == 1 { "" } else { "s" };
    let message = format!("{refused}\ncannot run: {n} error{s} in the settings; nothing was started");
    Failure::new(Code::Config, message).hint("woodward settings")
}

/// The trees of this host.
pub(super) fn installed(trees: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(trees).map(|all| all.flatten().map(|entry| entry.path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
    files.sort();
    match files.is_empty() {
        false => Ok(files),
        true => {
            let message = format!("cannot run: no tree file given, and none in {}", trees.display());
            Err(Failure::usage(message).hint("woodward run FILE"))
        }
    }
}

/// Nobody answers on `socket`. The daemon will bind it; a second one is better told before it is anybody's keeper.
fn alone_on(socket: &Path) -> Result<(), Failure> {
    match bind(socket, None) {
        Ok(_) => Ok(()),
        // A daemon whose keeper was killed: it ends, or the next keeper ends it.
        Err(BindError::Running { pid, .. }) if is_orphan(pid) => Ok(()),
        Err(BindError::Running { socket, pid }) => {
            let error = BindError::Running { socket, pid: keeper_of(pid) };
            Err(Failure::new(Code::TryAgain, error.to_string()).hint("woodward status, or another --socket"))
        }
        Err(error) => Err(Failure::new(Code::NotPermitted, error.to_string())),
    }
}

/// The process that was started as `woodward run`: the parent of `daemon`, if that is the same program.
fn keeper_of(daemon: i32) -> i32 {
    let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let stat = std::fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1)?.parse().ok());
    match parent {
        Some(parent) if program(parent).is_some_and(|exe| Some(exe) == program(daemon)) => parent,
        _ => daemon,
    }
}

/// A `woodward daemon` that has lost its keeper, or has ended since it answered.
fn is_orphan(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.is_empty() || line.split(|b| *b == 0).nth(1) == Some(b"daemon") && keeper_of(pid) == pid
}

/// The command line of the daemon.
fn daemon(args: &Args, places: &Places, notified: bool) -> Result<Vec<CString>, Failure> {
    let failed = |why: String| Failure::new(Code::Failed, format!("cannot run: {why}"));
    let program = std::env::current_exe().map_err(|e| failed(format!("this program is not found: {e}")))?;
    let mut line: Vec<OsString> = vec![program.into(), "daemon".into()];
    for (option, path) in [
        ("--socket", Some(&places.socket)),
        ("--run", Some(&places.run)),
        ("--history", places.history.as_ref()),
    ] {
        if let Some(path) = path {
            line.extend([option.into(), absolute(path).into_os_string()]);
        }
    }
    if args.trees.init || std::process::id() == 1 {
        line.push("--init".into());
    }
    if notified {
        line.push("--notified".into());
    }
    for (option, pairs) in [("--var", &args.trees.vars), ("--set", &args.set)] {
        for (name, value) in pairs {
            line.extend([option.into(), format!("{name}={value}").into()]);
        }
    }
    if let Some(at) = &args.trees.at {
        line.extend(["--at".into(), at.into()]);
    }
    line.push("--".into());
    line.extend(args.trees.files.iter().map(|file| file.clone().into_os_string()));
    let word = |word: OsString| CString::new(word.into_vec()).map_err(|e| failed(e.to_string()));
    line.into_iter().map(word).collect()
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
