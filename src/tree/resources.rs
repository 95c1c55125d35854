//! What a service may use of the machine, and what this host can do about it.
//!
//! Limits belong to control groups. Where a *controller* is, depends on the host: in the one hierarchy of version 2, in
//! a hierarchy of its own (version 1), or nowhere. What cannot be honoured is said by `check`, with what holds instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::diagnostic::Report;
use super::plan::{Resource, WorkerPlan};
use super::settings::{Settings, Typed};

/// Limits of a control group; `None`: none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Bytes; beyond them the kernel kills.
    pub memory_max: Option<u64>,
    /// Bytes; beyond them it is slowed down.
    pub memory_high: Option<u64>,
    /// 1 to 10000, 100 is what everybody has.
    pub cpu_weight: Option<u64>,
    /// Percent of one processor.
    pub cpu_quota: Option<u64>,
    /// Processes and threads.
    pub tasks_max: Option<u64>,
    /// 1 to 10000, 100 is what everybody has.
    pub io_weight: Option<u64>,
}

/// What limits are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Controller {
    Memory,
    Cpu,
    Pids,
    Io,
}

/// Where a controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the hierarchy of version 2, in which this process may hand it down.
    V2,
    /// In a hierarchy of its own: the directory of this process there.
    V1(PathBuf),
    /// Nowhere.
    Nowhere,
}

impl Controller {
    /// All of them.
    pub const ALL: [Controller; 4] = [Controller::Memory, Controller::Cpu, Controller::Pids, Controller::Io];

    /// Its name in version 2.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
            Controller::Io => "io",
        }
    }

    /// Its name in version 1.
    fn old_name(self) -> &'static str {
        if self == Controller::Io { "blkio" } else { self.name() }
    }

    /// Where it is on this host.
    pub fn home(self) -> &'static Home {
        static HOMES: OnceLock<[Home; 4]> = OnceLock::new();
        &HOMES.get_or_init(|| Controller::ALL.map(look))[self as usize]
    }
}

/// The directory of v2 groups in which this process is, apart from the leaf it may have made for itself.
pub const SELF: &str = "woodward.self";

fn look(controller: Controller) -> Home {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let writable = |file: &Path| nix::unistd::access(file, nix::unistd::AccessFlags::W_OK).is_ok();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(names), Some(own)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let own = own.strip_suffix(SELF).map_or(own, |own| own.trim_end_matches('/'));
        let own = if own.is_empty() { "/" } else { own };
        let place = |is: &dyn Fn(&str) -> bool| {
            mounts.lines().find_map(|mount| {
                let (before, after) = mount.split_once(" - ")?;
                let mut fields = before.split(' ').skip(3);
                let (root, at) = (fields.next()?, fields.next()?);
                let below = Path::new(own).strip_prefix(root).ok()?;
                is(after).then(|| Path::new(at).join(below))
            })
        };
        if names.is_empty() {
            let Some(dir) = place(&|after| after.starts_with("cgroup2 ")) else { continue };
            let has = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            let has = has.split_whitespace().any(|name| name == controller.name());
            if has && writable(&dir.join("cgroup.subtree_control")) {
                return Home::V2;
            }
        } else if names.split(',').any(|name| name == controller.old_name()) {
            let is = |after: &str| {
                let options = after.rsplit(' ').next().unwrap_or_default();
                after.starts_with("cgroup ") && options.split(',').any(|o| o == controller.old_name())
            };
            if let Some(dir) = place(&is).filter(|dir| writable(dir)) {
                return Home::V1(dir);
            }
        }
    }
    Home::Nowhere
}

impl Resources {
    /// As written.
    pub fn of(settings: &Settings) -> Resources {
        let number = |key| match settings.get(key)? {
            Typed::Size(number) | Typed::Percent(number) => Some(*number),
            Typed::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        Resources {
            memory_max: number("memory_max"),
            memory_high: number("memory_high"),
            cpu_weight: number("cpu_weight"),
            cpu_quota: number("cpu_quota"),
            tasks_max: number("tasks_max"),
            io_weight: number("io_weight"),
        }
    }

    /// Nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Resources::default()
    }

    /// Which controllers it takes.
    pub fn controllers(&self) -> impl Iterator<Item = Controller> {
        let wanted = [
            (Controller::Memory, self.memory_max.or(self.memory_high)),
            (Controller::Cpu, self.cpu_weight.or(self.cpu_quota)),
            (Controller::Pids, self.tasks_max),
            (Controller::Io, self.io_weight),
        ];
        wanted.into_iter().filter(|(_, limit)| limit.is_some()).map(|(controller, _)| controller)
    }
}

/// What of the limits of a process stands in for a limit that this host does not have: `setrlimit(2)`, soft and hard.
pub fn substitutes(plan: &WorkerPlan) -> Vec<(Resource, u64, u64)> {
    let resources = &plan.resources;
    let free = |resource| !plan.identity.limits.iter().any(|(given, ..)| *given == resource);
    let mut limits = Vec::new();
    if let Some(max) = resources.memory_max.filter(|_| *Controller::Memory.home() == Home::Nowhere)
        && free(Resource::Data)
    {
        limits.push((Resource::Data, max, max));
    }
    if let Some(max) = resources.tasks_max.filter(|_| *Controller::Pids.home() == Home::Nowhere)
        && free(Resource::Nproc)
        && has_a_user(plan)
    {
        limits.push((Resource::Nproc, max, max));
    }
    limits
}

/// Limits by user do not hold for root.
fn has_a_user(plan: &WorkerPlan) -> bool {
    plan.identity.user.as_deref().is_some_and(|user| user != "root" && user != "0")
}

/// What this host cannot do, and what it does instead.
pub fn advise(report: &mut Report, settings: &Settings, plan: &WorkerPlan) {
    let mut say = |key: &str, message: &str| {
        if let Some(span) = settings.span(key).filter(|_| settings.get(key) != Some(&Typed::Infinity)) {
            report.host(span, format!("`{key}`: {message}"));
        }
    };
    match Controller::Memory.home() {
        Home::V2 => {}
        Home::V1(_) => say(
            "memory_high",
            "the memory controller of this host is that of cgroup v1: it holds only while the whole machine is short \
             of memory (soft limit)",
        ),
        Home::Nowhere => {
            let data = "no memory controller is to be had here: RLIMIT_DATA holds instead, for each process by itself";
            say("memory_max", data);
            say("memory_high", "no memory controller is to be had here: nothing holds");
        }
    }
    if *Controller::Cpu.home() == Home::Nowhere {
        say("cpu_weight", "no cpu controller is to be had here: nothing holds; `nice` would");
        say("cpu_quota", "no cpu controller is to be had here: nothing holds");
    }
    if *Controller::Pids.home() == Home::Nowhere {
        let instead = if has_a_user(plan) {
            "RLIMIT_NPROC holds instead, for all processes of its user"
        } else {
            "nothing holds; with a `user` of its own RLIMIT_NPROC would"
        };
        say("tasks_max", &format!("no pids controller is to be had here: {instead}"));
    }
    if *Controller::Io.home() == Home::Nowhere {
        say("io_weight", "no io controller is to be had here: nothing holds");
    }
}
