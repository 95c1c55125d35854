//! How pressed a generation is: what the kernel says of the time its processes wanted to run and could not.
//!
//! Pressure stall information of the generation's control group if the kernel has it (Linux 4.20, any v2 hierarchy),
//! else that of the machine, else the load. And how much memory it takes.

use std::fs;
use std::path::Path;

use super::Os;

/// Where a reading comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `cpu.pressure`, `io.pressure`, `memory.pressure` of the control group.
    Group,
    /// `/proc/pressure/*`: of the whole machine.
    Machine,
}

/// What is known of the pressure; shares are percent of the last ten seconds, as `avg10` has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pressure {
    /// Stall information.
    Stall {
        /// Of whom.
        source: Source,
        /// Some task waited for a processor.
        cpu: f64,
        /// Of a group: some task waited for a disk; of the machine: nobody worked because of it.
        io: f64,
        /// The same, for memory.
        memory: f64,
    },
    /// Runnable tasks per processor, over the last minute.
    Load(f64),
    /// The kernel says nothing.
    Unknown,
}

/// Memory of a generation, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// `memory.current` of its control group.
    Group(u64),
    /// Proportional set size of its main process.
    Main(u64),
}

impl Os {
    /// The pressure on a generation now.
    pub fn pressure(&self, path: &str, generation: u64) -> Pressure {
        let group = self.client.group(path, generation);
        group.and_then(|dir| of_group(&dir)).or_else(of_machine).unwrap_or_else(load)
    }

    /// What a generation takes now, if that can be told; `pid` is its main process.
    pub fn memory(&self, path: &str, generation: u64, pid: i32) -> Option<Memory> {
        let current = self
            .client
            .group(path, generation)
            .and_then(|dir| fs::read_to_string(dir.join("memory.current")).ok()?.trim().parse().ok());
        current.map(Memory::Group).or_else(|| proportional(pid).map(Memory::Main))
    }
}

/// The pressure on the control group that this process itself is in.
pub fn around() -> Pressure {
    super::cgroup::own_directory().and_then(|dir| of_group(&dir)).or_else(of_machine).unwrap_or_else(load)
}

fn of_group(dir: &Path) -> Option<Pressure> {
    let read = |name: &str| average(&fs::read_to_string(dir.join(name)).ok()?, "some");
    let cpu = read("cpu.pressure")?;
    let (io, memory) = (read("io.pressure").unwrap_or(0.0), read("memory.pressure").unwrap_or(0.0));
    Some(Pressure::Stall { source: Source::Group, cpu, io, memory })
}

fn of_machine() -> Option<Pressure> {
    let read = |name: &str, who: &str| {
        average(&fs::read_to_string(Path::new("/proc/pressure").join(name)).ok()?, who)
    };
    let cpu = read("cpu", "some")?;
    let (io, memory) = (read("io", "full").unwrap_or(0.0), read("memory", "full").unwrap_or(0.0));
    Some(Pressure::Stall { source: Source::Machine, cpu, io, memory })
}

fn load() -> Pressure {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    match text.split(' ').next().and_then(|minute| minute.parse::<f64>().ok()) {
        Some(minute) => Pressure::Load(minute / processors as f64),
        None => Pressure::Unknown,
    }
}

/// `avg10` of the line `some` or `full`, in percent.
fn average(text: &str, who: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(who))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// What a process takes, shared pages by their share.
fn proportional(pid: i32) -> Option<u64> {
    let kilobytes = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    let rollup = rollup.and_then(|text| kilobytes(&text, "Pss:"));
    let rss = || kilobytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:");
    rollup.or_else(rss).map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_files_are_read_by_line_and_name() {
        let text = "some avg10=98.11 avg60=79.06 avg300=55.51 total=348513026\nfull avg10=0.50 avg60=0.00\n";
        assert_eq!(average(text, "some"), Some(98.11));
        assert_eq!(average(text, "full"), Some(0.5));
        assert_eq!(average("", "some"), None);
    }

    #[test]
    fn a_process_takes_memory() {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        assert!(proportional(own).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(proportional(0), None);
    }
}
