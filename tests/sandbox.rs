//! What a service may use and do, looked at from inside one.

use std::fs;
use std::path::Path;

use crate::bed::{Bed, kill, lives};

/// A directory that private temporary directories do not hide.
fn outside() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("woodward-outside").tempdir_in("/var").expect("/var can be written")
}

/// One service `t/s` with these keys that runs a script and stays; the script's words are in the bed's output.
fn inside(keys: &str, script: &str) -> String {
    format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\noutput = \"inherit\"\nready.log = \"that is all\"\n{keys}\n\
         command = [\"sh\", \"-c\", '''{script}\necho that is all; exec sleep 1000''']\n"
    )
}

/// What a line of the service's output says behind `start`.
fn said(bed: &Bed, start: &str) -> String {
    let output = bed.output();
    let line = output.lines().find_map(|line| line.split_once(start));
    line.unwrap_or_else(|| panic!("no {start} in {output}")).1.trim().to_owned()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

fn status_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs")
}

#[test]
fn memory_max_kills_and_is_explained() {
    let bed = Bed::started(
        "id = \"t\"\n[[child]]\nid = \"s\"\nmemory_max = \"48M\"\nbackoff = { immediate = 0, first = \"10m\", max = \"10m\" }\n\
         command = [\"python3\", \"-c\", \"import time; time.sleep(0.2); b = bytearray(400 << 20); time.sleep(1000)\"]\n",
    );
    let text = "killed by the kernel: out of memory, memory_max 48M";
    bed.wait("the end of it", |bed| bed.state("t/s") == "backoff");
    assert_eq!(bed.row("t/s")["reason"].as_str(), Some(text), "{}", bed.output());
    let why = bed.ask(&["why", "t/s"]);
    assert!(why.split_whitespace().collect::<Vec<_>>().join(" ").contains(text), "{why}");
    bed.stop();
}

#[test]
fn tasks_max_holds_a_fork_bomb() {
    let bed = Bed::up(
        "id = \"t\"\n[[child]]\nid = \"s\"\ntasks_max = 12\noutput = \"inherit\"\nready.log = \"that is all\"\n\
         command = [\"python3\", \"-c\", '''\nimport os, time\nfor _ in range(200):\n\
         \x20   try:\n\x20       if os.fork() == 0: time.sleep(1000)\n\x20   except OSError: pass\n\
         print(\"that is all\", flush=True)\ntime.sleep(1000)''']\n",
    );
    let text = bed.output();
    let count = bed.leftovers().iter().filter(|line| line.contains("os.fork")).count();
    assert_eq!(count, 12, "{text}");
    bed.stop();
}

#[test]
fn limits_are_on_the_group_and_gone_with_woodward() {
    let bed = Bed::up(&inside(
        "memory_max = \"64M\"\nmemory_high = \"48M\"\ncpu_weight = 200\ncpu_quota = \"150%\"\ntasks_max = 20\nio_weight = 50",
        "cat /proc/self/cgroup",
    ));
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", bed.pid("t/s"))).expect("the process runs");
    let mut found = Vec::new();
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.max", "67108864"),
        ("cpu", "cpu.shares", "2048"),
        ("cpu", "cpu.cfs_quota_us", "150000"),
        ("cpu", "cpu.max", "150000 100000"),
        ("pids", "pids.max", "20"),
    ] {
        for dir in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new) {
            for line in groups.lines() {
                let mut fields = line.splitn(3, ':').skip(1);
                let (names, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
                let base = if names.is_empty() { dir.to_path_buf() } else { dir.join(controller) };
                // The limits of a generation are those of its path.
                for place in [path, path.rsplit_once('/').map_or("", |(above, _)| above)] {
                    let file = base.join(place.trim_start_matches('/')).join(file);
                    if file.components().any(|c| c.as_os_str() == "t")
                        && fs::read_to_string(&file).is_ok_and(|text| text.trim() == value)
                    {
                        found.push((controller, file));
                    }
                }
            }
        }
    }
    for controller in ["memory", "cpu", "pids"] {
        assert!(found.iter().any(|(of, _)| *of == controller), "no {controller} in {found:?}\n{groups}");
    }
    bed.stop();
    assert!(found.iter().all(|(_, file)| !file.exists()), "{found:?} are left");
}
