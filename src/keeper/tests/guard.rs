//! The guard of a real keeper, with a daemon that does what the test tells it: run without arguments this program is the
//! test, as `keeper DIR ROLE` the keeper, as `daemon DIR ROLE` the daemon. The test puts lines into the file `orders`; the
//! daemon takes them one after the other and writes what it hears into `log`.

#![allow(clippy::disallowed_methods, reason = "a test starts programs and waits")]
#![allow(clippy::expect_used, reason = "a test")]

mod common;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::{Bed, Daemon, Said, children, hold_exec, is_there, keeper, kill};
use woodward_keeper::image::{Ids, Image};
use woodward_keeper::wire::guard::{self as said, Standing};
use woodward_keeper::wire::{Order, Targets};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[1..] {
        ["keeper", dir, role] => keeper(dir, role),
        ["daemon", dir, _] => daemon(Path::new(dir)),
        _ => tests(args.get(1).copied().filter(|a| !a.starts_with('-'))),
    }
}

macro_rules! tests {
    ($($name:ident)*) => { [$((stringify!($name), $name as fn())),*] };
}

fn tests(filter: Option<&str>) {
    let tests = tests![
        past_the_deadline_everything_bound_is_killed_and_no_late_arming_counts
        nothing_is_started_without_a_right
        a_term_ends_by_word_and_by_the_next_one_and_never_comes_back
        a_new_daemon_finds_what_is_held_and_goes_on_with_it
        a_daemon_that_is_stopped_ends_the_right_to_run
        what_forks_away_again_and_again_is_killed_at_the_deadline
        an_exec_that_hangs_does_not_hold_the_deadline_up
        without_control_groups_entries_and_marked_processes_are_killed
        nonsense_about_terms_replaces_the_daemon
        another_file_of_the_keeper_holds_the_deadline_on
        a_wall_clock_set_forward_brings_the_deadline_nearer_and_back_does_nothing
        a_watchdog_is_fed_as_long_as_nothing_runs_without_a_right
        the_keeper_goes_before_others_while_something_is_bound_and_no_child_does
        what_is_bound_dies_with_the_keeper_and_nothing_else
    ];
    for (name, test) in tests.iter().filter(|(name, _)| filter.is_none_or(|f| name.contains(f))) {
        println!("test {name} ...");
        test();
    }
    println!("all passed");
}

// ---- the test's side ------------------------------------------------------------------------------------------------

/// A keeper with a daemon that is told what to do, and a control group.
struct Guarded {
    bed: Bed,
    group: PathBuf,
}

impl Guarded {
    fn new(name: &str) -> Guarded {
        let bed = Bed::new(name);
        let group = hierarchy().join(format!("guard-{}-{name}", std::process::id()));
        fs::create_dir_all(group.join("db")).expect("a control group");
        bed.line("ready ");
        Guarded { bed, group }
    }

    /// Gives orders; they are carried out when this returns.
    fn tell(&self, orders: &str) {
        let (new, place) = (self.bed.dir.join("orders.new"), self.bed.dir.join("orders"));
        fs::write(&new, orders).expect("a file");
        fs::rename(&new, &place).expect("a file");
        self.bed.wait("orders taken", |_| (!place.exists()).then_some(()));
    }

    /// Waits for a line that begins with the first and has the second in it.
    fn line(&self, start: &str, with: &str) -> String {
        self.bed.wait(&format!("{start}...{with}"), |lines| {
            lines.iter().find(|l| l.starts_with(start) && l.contains(with)).cloned()
        })
    }

    /// The process of this slot.
    fn pid(&self, slot: u32) -> i32 {
        let line = self.line(&format!("entry {slot} "), "Running");
        line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id")
    }

    fn processes(&self) -> Vec<i32> {
        let groups = fs::read_dir(self.group.join("db")).into_iter().flatten().flatten();
        let texts = groups.filter_map(|group| fs::read_to_string(group.path().join("cgroup.procs")).ok());
        let pids = texts.flat_map(|text| text.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>());
        pids.filter(|&pid| is_there(pid)).collect()
    }

    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        self.bed.wait(what, |_| condition().then_some(()));
    }

    fn last_daemon(&self) -> i32 {
        let lines = self.bed.lines();
        let last = lines.iter().rev().find_map(|l| l.strip_prefix("ready "));
        last.and_then(|pid| pid.parse().ok()).expect("a process id")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("cgroup.kill"), "1");
        for _ in 0..500 {
            for group in fs::read_dir(self.group.join("db")).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(group.path());
            }
            let _ = fs::remove_dir(self.group.join("db"));
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Where control groups of version 2 can be made.
fn hierarchy() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("control groups, version 2");
    line.split(' ').nth(4).expect("a place").into()
}

const STAYS: &str = "trap '' TERM HUP; (setsid sleep 1000 &); while :; do sleep 1000; done";

fn past_the_deadline_everything_bound_is_killed_and_no_late_arming_counts() {
    let it = Guarded::new("late");
    it.tell(&format!("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s {STAYS}\nspawn 0 1"));
    it.line("guard ", "armed=1 ");
    it.pid(0);
    it.wait_until("a process that went away", || it.processes().len() >= 3);
    it.tell("arm 1 2 200");
    it.line("guard ", "armed=2 ");
    let fired = it.line("guard 1 ", "over");
    it.wait_until("an empty group", || it.processes().is_empty());
    // Told before the end of what was killed.
    let lines = it.bed.lines();
    let at = |what: &str| lines.iter().position(|l| l.contains(what));
    it.bed.line("entry 0 1 Ended(Signal(9))");
    assert!(at(&fired) < at("Ended(Signal(9))").or(Some(usize::MAX)), "{lines:#?}");
    it.tell("arm 1 3 50000\nack 0 1\nspawn 0 2");
    it.line("entry 0 2 ", "Failed { step: 13");
    assert!(!it.bed.lines().iter().any(|l| l.contains("armed=3")), "a late arming was accepted");
    assert!(it.processes().is_empty());
}

fn nothing_is_started_without_a_right() {
    let it = Guarded::new("right");
    it.tell("sh 0 db/s exec sleep 1000\nspawn 0 1");
    it.line("entry 0 1 ", "Failed { step: 13");
    it.tell("begin 1 60000\nbind db 1\nack 0 1\nspawn 0 2");
    it.line("entry 0 2 ", "Failed { step: 13");
    // Of another group whose name only begins alike.
    it.tell("arm 1 1 50000\nsh 1 dbx/s exec sleep 1000\nspawn 1 1");
    it.line("entry 1 1 ", "Failed { step: 13");
    it.tell("arm 1 2 60001\narm 1 3 0\narm 2 4 5000\nack 0 2\nspawn 0 3");
    it.pid(0);
    let lines = it.bed.lines();
    let last = lines.iter().rev().find(|l| l.starts_with("guard ")).expect("a state");
    assert!(last.contains("armed=1 "), "too far ahead, not later than now, of another term: {last}");
    // A service of no group needs no right.
    it.tell("free 2 other/s exec sleep 1000\nspawn 2 1");
    it.pid(2);
}

fn a_term_ends_by_word_and_by_the_next_one_and_never_comes_back() {
    let it = Guarded::new("terms");
    it.tell(&format!("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s {STAYS}\nspawn 0 1"));
    it.pid(0);
    it.tell("end 7\nend 1");
    it.line("guard 1 ", "over");
    it.wait_until("an empty group", || it.processes().is_empty());
    it.tell("unbind db\nbegin 1 60000\nbegin 3 60000\nbind db 1\nack 0 1\narm 3 1 50000\nspawn 0 2");
    it.line("guard 3 ", "stands");
    it.line("entry 0 2 ", "Failed { step: 13");
    it.tell("bind db 3\nack 0 2\nspawn 0 3");
    it.line("entry 0 3 ", "Running");
    // The next one ends it.
    it.tell("begin 4 60000");
    it.line("guard 4 ", "stands");
    it.line("entry 0 3 ", "Ended(Signal(9))");
    it.wait_until("an empty group", || it.processes().is_empty());
    it.tell("begin 2 60000\nask");
    let lines = it.bed.lines();
    assert!(lines.iter().rev().find(|l| l.starts_with("guard ")).is_some_and(|l| l.starts_with("guard 4 ")));
}

fn a_new_daemon_finds_what_is_held_and_goes_on_with_it() {
    let it = Guarded::new("found");
    it.tell("begin 5 60000\nbind db 5\narm 5 9 50000\nsh 0 db/s exec sleep 1000\nspawn 0 1");
    let service = it.pid(0);
    kill(it.last_daemon(), libc::SIGKILL);
    it.line("found guard 5 ", "stands armed=9 ");
    it.line("found bound db 5", "");
    it.line(&format!("found db/s 1 Running {service}"), "");
    it.tell("arm 5 10 50000");
    it.line("guard 5 ", "armed=10 ");
    assert!(is_there(service));
    // The daemon ends again, and this time none comes in time: one that hangs is none.
    it.tell("arm 5 11 300\nhang");
    it.wait_until("its end", || !is_there(service));
    kill(it.last_daemon(), libc::SIGKILL);
    it.line("found guard 5 ", "over armed=11 ");
}

fn a_daemon_that_is_stopped_ends_the_right_to_run() {
    let it = Guarded::new("stopped");
    it.tell(&format!("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s {STAYS}\nspawn 0 1"));
    let service = it.pid(0);
    it.tell("arm 1 2 300");
    let daemon = it.last_daemon();
    kill(daemon, libc::SIGSTOP);
    it.wait_until("its end", || !is_there(service) && it.processes().is_empty());
    kill(daemon, libc::SIGCONT);
    it.line("guard 1 ", "over");
}

fn what_forks_away_again_and_again_is_killed_at_the_deadline() {
    let it = Guarded::new("forks");
    // Thirty that are replaced by a child of theirs all the time, in sessions of their own.
    let runner = "r() { setsid sh -c \"$1\" r \"$1\" & exit; }; trap '' TERM; sleep 0.01; r \"$1\"";
    let script =
        format!("for i in 1 2 3 4 5 6 7 8 9 10; do sh -c '{runner}' r '{runner}' & done; sleep 1000")
            .replace("trap '' TERM; ", "");
    it.tell(&format!("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s {script}\nspawn 0 1"));
    it.pid(0);
    let first = it.processes();
    it.wait_until("others", || it.processes().iter().filter(|pid| !first.contains(pid)).count() > 5);
    it.tell("arm 1 2 200");
    it.line("guard 1 ", "over");
    it.wait_until("an empty group", || it.processes().is_empty());
}

fn an_exec_that_hangs_does_not_hold_the_deadline_up() {
    let it = Guarded::new("exec");
    let held = it.bed.dir.join("held");
    fs::copy("/bin/sleep", &held).expect("a program");
    let mut events = hold_exec(&held).expect("the right to hold an exec (CAP_SYS_ADMIN)");
    it.tell(&format!(
        "begin 1 60000\nbind db 1\narm 1 1 50000\nprogram 0 db/s {}\nspawn 0 1",
        held.display()
    ));
    events.read_exact(&mut [0u8; 24]).expect("an exec that waits");
    assert_eq!(it.processes().len(), 1);
    it.tell("arm 1 2 200");
    it.line("guard 1 ", "over");
    it.wait_until("an empty group", || it.processes().is_empty());
}

fn without_control_groups_entries_and_marked_processes_are_killed() {
    let it = Guarded::new("bare");
    let away = it.bed.dir.join("away");
    let script = format!("setsid sh -c 'echo $$ > {}; sleep 1000' & sleep 1000", away.display());
    it.tell(&format!(
        "begin 1 60000\nbare db 1\narm 1 1 50000\nsh 0 db/s {script}\nfree 1 o/s exec sleep 1000"
    ));
    it.tell("marked 0 1 db/s#1\nmarked 1 1 o/s#1");
    let (service, other) = (it.pid(0), it.pid(1));
    let left = || fs::read_to_string(&away).ok()?.trim().parse::<i32>().ok();
    it.wait_until("one that left", || left().is_some_and(is_there));
    it.tell("arm 1 2 200");
    it.line("guard 1 ", "over");
    it.wait_until("their end", || !is_there(service) && !left().is_some_and(is_there));
    assert!(is_there(other));
}

fn nonsense_about_terms_replaces_the_daemon() {
    let it = Guarded::new("nonsense");
    let mut last = it.last_daemon();
    for order in ["begin 1 0", "begin 0 5000", "begin 1 99999999999", "raw", "watchdog /dev/null 0"] {
        it.tell(order);
        last = it.bed.wait("another daemon", |_| Some(it.last_daemon()).filter(|pid| *pid != last));
    }
    assert!(!it.bed.lines().iter().any(|l| l.contains("found guard")), "nothing of it was taken");
}

fn another_file_of_the_keeper_holds_the_deadline_on() {
    let it = Guarded::new("image");
    it.tell("begin 5 60000\nbind db 5\narm 5 1 50000\nsh 0 db/s exec sleep 1000\nspawn 0 1");
    let (service, before) = (it.pid(0), it.last_daemon());
    it.tell("replace");
    it.bed.wait("another daemon", |_| Some(it.last_daemon()).filter(|pid| *pid != before));
    it.line("found guard 5 ", "stands armed=1 ");
    it.line("found bound db 5", "");
    assert!(is_there(service));
    it.tell("arm 5 2 200");
    it.line("guard 5 ", "armed=2 ");
    it.line("guard 5 ", "over");
    it.wait_until("its end", || !is_there(service));
    let errors = fs::read_to_string(it.bed.dir.join("errors")).expect("a file");
    assert!(!errors.contains("cannot be replaced"), "{errors}");
}

fn a_wall_clock_set_forward_brings_the_deadline_nearer_and_back_does_nothing() {
    let it = Guarded::new("wall");
    let set = |ms: i64| fs::write(it.bed.dir.join("wall"), ms.to_string()).expect("a file");
    it.tell("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s exec sleep 1000\nspawn 0 1");
    let service = it.pid(0);
    let deadline = || {
        it.tell("ask");
        let lines = it.bed.lines();
        let last = lines.iter().rev().find(|l| l.starts_with("guard ")).cloned().expect("a state");
        last.rsplit('=').next().and_then(|n| n.parse::<i64>().ok()).expect("a deadline")
    };
    let first = deadline();
    set(-60_000);
    assert_eq!(deadline(), first);
    set(-50_000);
    let near = deadline();
    assert!((9_900..=10_100).contains(&(first - near)), "ten seconds nearer: {first} {near}");
    assert!(is_there(service));
    set(0);
    it.tell("ask");
    it.line("guard 1 ", "over");
    it.wait_until("its end", || !is_there(service));
}

fn a_watchdog_is_fed_as_long_as_nothing_runs_without_a_right() {
    let it = Guarded::new("watchdog");
    let (device, events) = (it.bed.dir.join("device"), it.bed.dir.join("events"));
    let path = CString::new(device.to_str().expect("a path")).expect("no zero byte");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let mut options = File::options();
    let fifo = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&device).expect("a pipe");
    let fed = || {
        let mut bytes = [0u8; 4096];
        // SAFETY: writes into `bytes`.
        let n = unsafe { libc::read(fifo.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        bytes[..usize::try_from(n).unwrap_or(0)].to_vec()
    };
    fs::write(&events, "populated 1\n").expect("a file");
    it.tell(&format!(
        "watchdog {} 1\nbegin 1 60000\nfake db 1 {}\narm 1 1 50000",
        device.display(),
        events.display()
    ));
    it.line("guard 1 ", "watchdog");
    it.wait_until("food", || fed().contains(&0));
    it.tell("end 1");
    it.line("guard 1 ", "over");
    fed();
    // It is looked after (four times a second), and gets nothing: something is still alive.
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert_eq!(fed(), []);
    fs::write(&events, "populated 0\n").expect("a file");
    it.wait_until("food", || fed().contains(&0));
    it.tell("unbind db");
    it.wait_until("the magic close", || fed().contains(&b'V'));
}

fn the_keeper_goes_before_others_while_something_is_bound_and_no_child_does() {
    let it = Guarded::new("means");
    let keeper = it.bed.keeper.id() as i32;
    // SAFETY: asks only.
    let policy = |pid: i32| unsafe { libc::sched_getscheduler(pid) };
    let locked = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmLck:")).map(str::to_owned);
        line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert_eq!((policy(keeper), locked(keeper)), (libc::SCHED_OTHER, 0));
    it.tell("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s exec sleep 1000\nspawn 0 1");
    let service = it.pid(0);
    it.line("guard 1 ", "memory real_time");
    assert_eq!(policy(keeper), libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK);
    assert!(locked(keeper) > 0);
    assert_eq!((policy(service), locked(service)), (libc::SCHED_OTHER, 0));
    let before = it.last_daemon();
    kill(before, libc::SIGKILL);
    let daemon = it.bed.wait("another daemon", |_| Some(it.last_daemon()).filter(|pid| *pid != before));
    assert_eq!((policy(daemon), locked(daemon)), (libc::SCHED_OTHER, 0));
    it.tell("end 1\nunbind db\nask");
    it.wait_until("an ordinary keeper", || (policy(keeper), locked(keeper)) == (libc::SCHED_OTHER, 0));
}

fn what_is_bound_dies_with_the_keeper_and_nothing_else() {
    let it = Guarded::new("death");
    it.tell("begin 1 60000\nbind db 1\narm 1 1 50000\nsh 0 db/s exec sleep 1000\nspawn 0 1");
    it.tell("user 1 db/u exec sleep 1000\nspawn 1 1\nfree 2 o/s exec sleep 1000\nspawn 2 1");
    let (service, user, other) = (it.pid(0), it.pid(1), it.pid(2));
    it.bed.signal(libc::SIGKILL);
    it.wait_until("their end", || !is_there(service) && !is_there(user));
    assert!(is_there(other));
    kill(other, libc::SIGKILL);
    assert!(children(it.bed.keeper.id()).is_empty());
}

// ---- the daemon -----------------------------------------------------------------------------------------------------

fn state(standing: &Standing) -> String {
    let Standing { term, fired, deadline, armed, means, .. } = *standing;
    let stands = if fired > 0 { "over" } else { "stands" };
    let bit = |bit, name| if means & bit != 0 { name } else { "" };
    let means =
        [bit(said::MEMORY, "memory "), bit(said::REAL_TIME, "real_time "), bit(said::WATCHDOG, "watchdog ")];
    format!("guard {term} {stands} armed={armed} {}deadline={deadline}", means.concat())
}

fn daemon(dir: &Path) {
    // SAFETY: the keeper has left it there; made to block, for what is there is asked before.
    let channel = unsafe {
        libc::fcntl(woodward_keeper::CHANNEL, libc::F_SETFL, 0);
        OwnedFd::from_raw_fd(woodward_keeper::CHANNEL)
    };
    let daemon = Daemon { channel, dir: dir.to_path_buf() };
    for said in daemon.snapshot() {
        match said {
            Said::Guard(standing) => daemon.log(&format!("found {}", state(&standing))),
            Said::Bound(group, term) => daemon.log(&format!("found bound {group} {term}")),
            Said::Entry { generation, state, pid, name, .. } => {
                daemon.log(&format!("found {name} {generation} {state:?} {pid}"));
            }
            _ => {}
        }
    }
    daemon.log(&format!("ready {}", std::process::id()));
    loop {
        let mut poll = libc::pollfd { fd: daemon.channel.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: writes to `poll`.
        if unsafe { libc::poll(&mut poll, 1, 5) } == 1 {
            for said in daemon.hear() {
                match said {
                    Said::Guard(standing) => daemon.log(&state(&standing)),
                    Said::Entry { slot, generation, state, pid, .. } => {
                        daemon.log(&format!("entry {slot} {generation} {state:?} {pid}"));
                    }
                    Said::Ping => daemon.order(&Order::Pong, &[]),
                    _ => {}
                }
            }
        }
        let orders = daemon.dir.join("orders");
        if let Ok(text) = fs::read_to_string(&orders) {
            let hangs = text.ends_with("hang");
            text.lines().for_each(|line| obey(&daemon, line));
            fs::remove_file(&orders).expect("taken");
            if text.contains("replace") {
                std::process::exit(0);
            }
            if hangs {
                // SAFETY: waits.
                unsafe { libc::pause() };
            }
        }
    }
}

fn open(path: &Path, write: bool) -> OwnedFd {
    File::options().read(!write).write(write).open(path).expect("a file").into()
}

fn group() -> PathBuf {
    // The test is the keeper's parent; the group has its number in its name.
    let dir = std::env::args().nth(2).expect("a directory");
    let name = dir.rsplit("woodward-keeper-").next().expect("a name").to_owned();
    hierarchy().join(format!("guard-{name}")).join("db")
}

fn obey(daemon: &Daemon, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |n: usize| words[n].parse::<u64>().expect("a number");
    let rest = |n: usize| words[n..].join(" ");
    let bind = |term, files: Option<[OwnedFd; 2]>| {
        let order = Order::Bind { group: b"db", term, cgroup: files.is_some(), messages: b"" };
        let files = files.iter().flatten().collect::<Vec<_>>();
        daemon.order(&order, &files);
    };
    let image = |script: String, bound| Image {
        program: b"/bin/sh".to_vec(),
        arguments: [b"sh".to_vec(), b"-c".to_vec(), script.into_bytes()].into(),
        environment: vec![b"PATH=/usr/bin:/bin".to_vec()],
        bound,
        ..Image::default()
    };
    match words[0] {
        "begin" => daemon.order(&Order::Begin { term: number(1), hold: number(2) }, &[]),
        "bind" => {
            let dir = group();
            bind(
                number(2),
                Some([open(&dir.join("cgroup.kill"), true), open(&dir.join("cgroup.events"), false)]),
            );
        }
        "bare" => bind(number(2), None),
        "fake" => {
            let events = Path::new(words[3]);
            bind(number(2), Some([open(Path::new("/dev/null"), true), open(events, false)]));
        }
        "arm" => {
            let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: writes to `t`.
            unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut t) };
            let deadline = t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000 + number(3);
            // One that is too far ahead stays so, however long the message takes.
            let deadline = if number(3) > 60_000 { deadline + 30_000 } else { deadline };
            daemon.order(&Order::Arm { term: number(1), number: number(2), deadline }, &[]);
        }
        // Something refused is answered with how it stands.
        "ask" => daemon.order(&Order::Begin { term: 1, hold: 60_000 }, &[]),
        "unbind" => daemon.order(&Order::Unbind { group: words[1].as_bytes() }, &[]),
        "end" => daemon.order(&Order::EndTerm { term: number(1) }, &[]),
        "watchdog" => {
            let device = open(Path::new(words[1]), true);
            daemon.order(&Order::Watchdog { timeout: number(2) as u32 }, &[&device]);
        }
        "sh" => daemon.define_image(number(1) as u32, words[2], &image(rest(3), true)),
        "free" => daemon.define_image(number(1) as u32, words[2], &image(rest(3), false)),
        "user" => {
            let ids = Some(Ids { uid: 65534, gid: 65534, groups: Vec::new() });
            daemon.define_image(number(1) as u32, words[2], &Image { ids, ..image(rest(3), true) });
        }
        "program" => {
            let program = words[3].as_bytes().to_vec();
            let image = Image { program, ..image(String::new(), true) };
            daemon.define_image(number(1) as u32, words[2], &image);
        }
        "spawn" => {
            let (slot, generation) = (number(1) as u32, number(2));
            // A group that was killed is none to start in: the kernel would kill that too.
            let directory = group().join(format!("{slot}-{generation}"));
            fs::create_dir(&directory).expect("a control group");
            let directory = open(&directory, false);
            let targets = Targets::default();
            daemon.order(
                &Order::Spawn { slot, generation, cgroup: true, targets, additions: b"" },
                &[&directory],
            );
        }
        "marked" => daemon.spawn(number(1) as u32, number(2), &format!("WOODWARD_CHILD={}\0", words[3])),
        "ack" => daemon.order(&Order::Ack { slot: number(1) as u32, generation: number(2) }, &[]),
        "raw" => {
            let mut bytes = vec![1u8, 0, 0, 0, 0, 0, 0, 0];
            // A group without a name.
            let length = 24u16.to_ne_bytes();
            bytes.extend([length[0], length[1], 17, 0, 0, 0, 0, 0]);
            bytes.extend([0u8; 16]);
            daemon.send(&bytes, &[]);
        }
        "replace" => {
            let file = File::open("/proc/self/exe").expect("this program");
            daemon.order(&Order::Replace, &[&file.into()]);
        }
        "hang" => {}
        other => panic!("what is {other}?"),
    }
}
