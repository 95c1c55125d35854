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

/// Everything a script can find out, a line each.
const LOOK: &str = "grep -E \"^(NoNewPrivs|Cap(Inh|Prm|Eff|Bnd|Amb)|Seccomp|Uid|Groups):\" /proc/self/status\n\
                    for f in /usr/x /etc/x /boot/x /var/x /tmp/x /var/tmp/x /run/x /dev/x; do \
                    if ( : > $f ) 2>/dev/null; then echo can write $f; fi; done\n\
                    echo in tmp: $(ls -A /tmp | tr \"\\n\" \" \")\n\
                    echo in dev: $(ls /dev | tr \"\\n\" \" \")\n\
                    if ( : > /proc/sys/kernel/hostname ) 2>/dev/null; then echo can set the kernel; fi";

/// What is mounted, as this process sees it.
fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("/proc is there")
}

fn lines<'o>(output: &'o str, start: &str) -> Vec<&'o str> {
    output.lines().filter_map(|line| line.split_once(start)).map(|(_, rest)| rest.trim()).collect()
}

#[test]
fn strict_is_strict_looked_at_from_inside() {
    let (dir, before) = (outside(), mounts());
    let own = dir.path().join("own");
    let (own, path) = (own.display(), dir.path().display());
    let bed = Bed::up(&inside(
        &format!("harden = \"strict\"\nuser = \"nobody\"\ndirectories = [\"{own}\"]"),
        &format!(
            "{LOOK}\n: > {own}/mine && echo own directory\n( : > {path}/x ) 2>/dev/null && echo beside it\npwd"
        ),
    ));
    let status = status_of(bed.pid("t/s"));
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "Seccomp"), "2");
    assert!(field(&status, "Uid").starts_with("65534"), "{status}");
    let output = bed.output();
    assert_eq!(lines(&output, "can write "), ["/tmp/x", "/var/tmp/x"], "{output}");
    assert_eq!(lines(&output, "in tmp: "), ["x"]);
    let devices = said(&bed, "in dev: ");
    let allowed = [
        "fd",
        "full",
        "hugepages",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    ];
    assert!(
        devices.split(' ').all(|device| allowed.contains(&device)) && devices.contains("urandom"),
        "{devices}"
    );
    assert!(output.contains("own directory") && !output.contains("beside it"), "{output}");
    assert!(!output.contains("can set the kernel"), "{output}");
    assert!(!Path::new("/var/tmp/x").exists());
    bed.stop();
    assert_eq!(mounts(), before);
}

#[test]
fn root_under_strict_can_do_as_little() {
    let bed =
        Bed::up(&inside("harden = \"strict\"", &format!("{LOOK}\nmount -t tmpfs x /mnt 2>&1 | head -1")));
    let status = status_of(bed.pid("t/s"));
    assert_eq!(field(&status, "CapEff"), "0000000000000000");
    assert_eq!(field(&status, "CapBnd"), "0000000000000000");
    let output = bed.output();
    assert_eq!(lines(&output, "can write "), ["/tmp/x", "/var/tmp/x", "/dev/x"], "{output}");
    assert!(!output.contains("can set the kernel"), "{output}");
    bed.stop();
}

#[test]
fn a_user_has_exactly_the_capabilities_that_are_listed() {
    let bed =
        Bed::up(&inside("user = \"nobody\"\ncapabilities = [\"CAP_NET_BIND_SERVICE\", \"CAP_BPF\"]", ""));
    let status = status_of(bed.pid("t/s"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000008000000400", "{set}");
    }
    assert_eq!((field(&status, "NoNewPrivs"), field(&status, "Seccomp")), ("0".to_owned(), "0".to_owned()));
    bed.stop();
    let bed = Bed::up(&inside("capabilities = [\"CAP_CHOWN\"]\nno_new_privileges = true", ""));
    let status = status_of(bed.pid("t/s"));
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status, set), "0000000000000001", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    bed.stop();
}

#[test]
fn read_only_paths_cannot_be_written_and_a_private_tmp_is_empty_at_each_start() {
    let (dir, before) = (outside(), mounts());
    let path = dir.path().display();
    fs::create_dir(dir.path().join("ro")).expect("a directory can be made");
    let bed = Bed::up(&inside(
        &format!("read_only_paths = [\"{path}/ro\"]\nprivate_tmp = true"),
        &format!(
            "( : > {path}/ro/x ) 2>/dev/null && echo written\n: > {path}/beside\necho in tmp: $(ls -A /tmp)\n: > /tmp/left"
        ),
    ));
    let first = bed.pid("t/s");
    kill(first, libc::SIGKILL);
    bed.wait("the next one", |bed| bed.output().matches("in tmp:").count() == 2);
    bed.wait_until_up();
    assert_eq!(lines(&bed.output(), "in tmp: "), Vec::<&str>::new(), "{}", bed.output());
    assert_eq!(bed.output().matches("in tmp:").count(), 2);
    assert!(!bed.output().contains("written") && dir.path().join("beside").exists());
    assert!(!Path::new("/tmp/left").exists() && !lives(first));
    bed.stop();
    assert_eq!(mounts(), before);
}

#[test]
fn what_fails_in_the_stage_is_a_failed_start_with_its_reason() {
    let check = |keys: &str, command: &str, why: &str| {
        let bed = Bed::started(&format!(
            "id = \"t\"\n[[child]]\nid = \"s\"\n{keys}\nbackoff = {{ immediate = 0, first = \"10m\", max = \"10m\" }}\n\
             command = [{command}]\n"
        ));
        bed.wait("the failed start", |bed| bed.state("t/s") == "backoff");
        let row = bed.row("t/s");
        assert!(row["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{row}\n{}", bed.output());
        assert!(bed.output().contains("start failed: "), "{}", bed.output());
        bed.stop();
    };
    check("read_only_paths = [\"/no/such\"]", "\"sleep\", \"9\"", "read-only path /no/such: No such file");
    check("no_new_privileges = true", "\"/no/such/program\"", "/no/such/program: not found");
    check("no_new_privileges = true", "\"/etc/passwd\"", "/etc/passwd: not executable");
    check(
        "no_new_privileges = true\nworking_directory = \"/no/such\"",
        "\"/bin/sleep\", \"9\"",
        "working directory /no/such: No such file",
    );
}

#[test]
fn descriptors_numbers_and_limits_go_through_the_stage() {
    let sockets = tempfile::tempdir().expect("a directory can be made");
    let file = sockets.path().join("s.sock").display().to_string();
    let dir = outside();
    let said = dir.path().join("said");
    let bed = Bed::up(&format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nharden = \"strict\"\nready.fd = 4\nlimits.nofile = 77\numask = \"0027\"\n\
         directories = [\"{}\"]\nworking_directory = \"{}\"\nlisten = [{{ unix = \"{file}\" }}]\n\
         command = [\"sh\", \"-c\", 'echo $LISTEN_PID $$ $LISTEN_FDS $(ulimit -n) $(umask) > said; ls /proc/$$/fd >> said; \
         echo >&4; exec sleep 1000']\n",
        dir.path().display(),
        dir.path().display()
    ));
    let text = fs::read_to_string(said).expect("it has said something");
    let words: Vec<&str> = text.split_whitespace().collect();
    let pid = bed.pid("t/s").to_string();
    assert_eq!(words[..5], [&pid, &pid, "1", "77", "0027"]);
    let open = &words[5..];
    assert!(open.contains(&"3") && open.contains(&"4"), "{text}");
    assert!(!open.contains(&"5") && !open.contains(&"6"), "{text}");
    bed.stop();
}

/// Runs woodward as nobody.
fn unprivileged(tree: &str) -> Bed {
    let mut bed = Bed::new();
    std::os::unix::fs::chown(bed.path(), Some(65534), Some(65534)).expect("root runs this");
    let file = bed.write("tree.toml", tree);
    bed.run_as(65534, &[file.as_os_str()]);
    bed.wait("the daemon to answer", |bed| bed.client(&["status", "--json"]).status.success());
    bed
}

#[test]
fn without_root_landlock_and_user_namespaces_do_what_they_can() {
    let dir = outside();
    let path = dir.path().display();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    for name in ["ro", "rw"] {
        fs::create_dir(dir.path().join(name)).expect("a directory can be made");
        fs::set_permissions(dir.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("it is ours");
    }
    fs::set_permissions(dir.path(), mode).expect("it is ours");
    let script = format!(
        "( : > {path}/ro/x ) 2>/dev/null && echo wrote it\n: > {path}/rw/x && echo beside\n: > /tmp/woodward-unprivileged"
    );
    let bed =
        unprivileged(&inside(&format!("read_only_paths = [\"{path}/ro\"]\ncapabilities = []"), &script));
    bed.wait_until_up();
    assert_eq!(field(&status_of(bed.pid("t/s")), "NoNewPrivs"), "1");
    assert!(bed.output().contains("beside") && !bed.output().contains("wrote it"), "{}", bed.output());
    assert!(bed.output().contains("without root Landlock holds them"), "{}", bed.output());
    assert!(fs::remove_file("/tmp/woodward-unprivileged").is_ok());
    bed.stop();

    let keys =
        format!("read_only_paths = [\"{path}/ro\"]\nharden = \"strict\"\ndirectories = [\"{path}/rw\"]");
    let bed = unprivileged(&inside(&keys, &format!("{script}\n{LOOK}")));
    bed.wait_until_up();
    let output = bed.output();
    assert_eq!(lines(&output, "can write "), ["/tmp/x", "/var/tmp/x", "/dev/x"], "{output}");
    assert!(output.contains("beside") && !output.contains("wrote it"), "{output}");
    assert!(!Path::new("/tmp/woodward-unprivileged").exists());
    let status = status_of(bed.pid("t/s"));
    assert_eq!(
        (field(&status, "CapEff").as_str(), field(&status, "Seccomp").as_str()),
        ("0000000000000000", "2")
    );
    bed.stop();

    let bed = unprivileged(
        "id = \"t\"\n[[child]]\nid = \"s\"\ncommand = \"sleep 9\"\ncapabilities = [\"CAP_CHOWN\"]\nbackoff = { immediate = 0, first = \"10m\", max = \"10m\" }\n",
    );
    bed.wait("the failed start", |bed| bed.state("t/s") == "backoff");
    assert!(bed.output().contains("only root can give capabilities"), "{}", bed.output());
    assert!(bed.output().contains("start failed: capabilities: Operation not permitted"), "{}", bed.output());
    bed.stop();
}
