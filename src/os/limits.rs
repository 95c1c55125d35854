//! Limits of services on their control groups: the directory of the PATH, above those of the generations.
//!
//! Under version 2 the processes are in the right place from their first instruction; controllers only have to be
//! handed down from directory to directory. Under version 1 each controller has a hierarchy of its own with the same
//! paths, and a process has to be put into each: that is the stage's work.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::SpawnError;
use super::cgroup::{Cgroups, escape};
use crate::tree::resources::{Controller, Home, Resources, SELF};

/// Of one woodward.
#[derive(Debug)]
pub(super) struct Limits {
    /// Name of its directories in the hierarchies of version 1.
    id: String,
}

impl Limits {
    pub fn new(id: String) -> Limits {
        Limits { id }
    }

    /// Limits the PATH; its directory under version 2 must be there. The files into which each process of it has to
    /// be put.
    pub fn set(
        &self,
        cgroups: Option<&Cgroups>,
        path: &str,
        resources: &Resources,
    ) -> Result<Vec<PathBuf>, SpawnError> {
        let mut enter = Vec::new();
        for controller in Controller::ALL {
            let wanted = resources.controllers().any(|one| one == controller);
            let result = match controller.home() {
                Home::V1(own) => {
                    let dir = self.dir(own, path);
                    if wanted {
                        enter.push(dir.join("cgroup.procs"));
                    }
                    if wanted {
                        set_old(&dir, controller, resources)
                    } else {
                        // One that is not there is as well.
                        let _ = fs::remove_dir(&dir);
                        Ok(())
                    }
                }
                Home::V2 => match cgroups {
                    Some(cgroups) => set_new(cgroups, path, controller, resources, wanted),
                    None => Ok(()),
                },
                Home::Nowhere => Ok(()),
            };
            result.map_err(|(what, source)| SpawnError::Step { step: what, source })?;
        }
        Ok(enter)
    }

    /// How many processes of the PATH the kernel has killed for want of memory.
    pub fn killed(&self, cgroups: Option<&Cgroups>, path: &str) -> Option<u64> {
        let file = match Controller::Memory.home() {
            Home::V1(own) => self.dir(own, path).join("memory.oom_control"),
            Home::V2 => cgroups?.group(path, 0).parent().dir().join("memory.events"),
            Home::Nowhere => return None,
        };
        let text = fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    /// The PATH is no more.
    pub fn forget(&self, path: &str) {
        for own in old() {
            let _ = fs::remove_dir(self.dir(own, path));
        }
    }

    /// Nothing of this woodward is left.
    pub fn clear(&self) {
        for own in old() {
            remove_all(&own.join(&self.id));
        }
    }

    fn dir(&self, own: &Path, path: &str) -> PathBuf {
        let mut dir = own.join(&self.id);
        dir.extend(path.split('/').map(escape));
        dir
    }
}

fn old() -> impl Iterator<Item = &'static Path> {
    Controller::ALL.into_iter().filter_map(|controller| match controller.home() {
        Home::V1(own) => Some(own.as_path()),
        _ => None,
    })
}

fn remove_all(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_all(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

type Failed = (String, io::Error);

fn write(dir: &Path, file: &str, value: impl std::fmt::Display) -> Result<(), Failed> {
    fs::write(dir.join(file), value.to_string()).map_err(|e| (format!("{file} {value}"), e))
}

/// Microseconds out of 100 000, the kernel's own period.
fn quota(percent: u64) -> u64 {
    (percent * 1000).max(1000)
}

fn set_old(dir: &Path, controller: Controller, resources: &Resources) -> Result<(), Failed> {
    fs::create_dir_all(dir).map_err(|e| (format!("control group {}", dir.display()), e))?;
    let bytes = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
    match controller {
        Controller::Memory => {
            write(dir, "memory.limit_in_bytes", bytes(resources.memory_max))?;
            write(dir, "memory.soft_limit_in_bytes", bytes(resources.memory_high))
        }
        Controller::Cpu => {
            // systemd's conversion: 100 is 1024 shares.
            let shares = resources.cpu_weight.unwrap_or(100) * 1024 / 100;
            write(dir, "cpu.shares", shares.clamp(2, 262_144))?;
            let quota = resources.cpu_quota.map_or_else(|| "-1".to_owned(), |p| quota(p).to_string());
            write(dir, "cpu.cfs_quota_us", quota)
        }
        Controller::Pids => {
            let most = resources.tasks_max.map_or_else(|| "max".to_owned(), |n| n.to_string());
            write(dir, "pids.max", most)
        }
        Controller::Io => {
            // Blocks of version 1 weigh 10 to 1000, and 500 is what everybody has.
            let (old, weight) = ("blkio.weight", resources.io_weight.unwrap_or(100));
            if dir.join(old).exists() {
                write(dir, old, (weight * 5).clamp(10, 1000))
            } else {
                write(dir, "blkio.bfq.weight", weight.clamp(1, 1000))
            }
        }
    }
}

fn set_new(
    cgroups: &Cgroups,
    path: &str,
    controller: Controller,
    resources: &Resources,
    wanted: bool,
) -> Result<(), Failed> {
    let dir = cgroups.group(path, 0).parent();
    let dir = dir.dir();
    let name = controller.name();
    if wanted {
        hand_down(cgroups.root(), dir, name).map_err(|e| (format!("{name} controller"), e))?;
    } else if !has(dir, name) {
        return Ok(());
    }
    let or_max = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |n| n.to_string());
    match controller {
        Controller::Memory => {
            write(dir, "memory.max", or_max(resources.memory_max))?;
            write(dir, "memory.high", or_max(resources.memory_high))
        }
        Controller::Cpu => {
            write(dir, "cpu.weight", resources.cpu_weight.unwrap_or(100))?;
            write(dir, "cpu.max", format!("{} 100000", or_max(resources.cpu_quota.map(quota))))
        }
        Controller::Pids => write(dir, "pids.max", or_max(resources.tasks_max)),
        Controller::Io => {
            let weight = resources.io_weight.unwrap_or(100);
            if dir.join("io.weight").exists() {
                write(dir, "io.weight", weight)
            } else {
                write(dir, "io.bfq.weight", weight.clamp(1, 1000))
            }
        }
    }
}

fn has(dir: &Path, controller: &str) -> bool {
    let has = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    has.split_whitespace().any(|name| name == controller)
}

/// Makes a controller available in `dir`: each directory above hands it down to those in it, from woodward's own on.
fn hand_down(root: &Path, dir: &Path, controller: &str) -> io::Result<()> {
    if has(dir, controller) {
        return Ok(());
    }
    let own = root.parent().unwrap_or(root);
    let above: Vec<&Path> = dir.ancestors().skip(1).take_while(|above| above.starts_with(own)).collect();
    for above in above.into_iter().rev() {
        let give = || fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
        match give() {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && above == own => {
                step_aside(own)?;
                give()?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// A group that hands controllers down has no processes of its own: keeper and daemon go into a leaf of it.
fn step_aside(own: &Path) -> io::Result<()> {
    let leaf = own.join(SELF);
    match fs::create_dir(&leaf) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    for process in [std::os::unix::process::parent_id(), std::process::id()] {
        fs::write(leaf.join("cgroup.procs"), process.to_string())?;
    }
    Ok(())
}
