//! Who guards whom, with a real keeper and a daemon that is a cluster's in little: it arms a deadline, and the next one
//! when the keeper has answered. Run without arguments this program is the test, as `keeper DIR` the keeper, as
//! `daemon DIR` the daemon, as `stage ...` what stands before an isolated service.
//!
//! The test puts lines into the file `orders`; the daemon carries them out and writes what it hears into `log`.

#![allow(clippy::disallowed_methods, reason = "a test starts programs and waits")]
#![allow(clippy::expect_used, reason = "a test")]

mod daemon;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

woodward_keeper::first_instructions!();

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[1..] {
        ["keeper", dir] => keeper(dir),
        ["daemon", dir] => daemon::run(Path::new(dir)),
        ["stage", ..] => {
            // As the program does.
            woodward_keeper::first::unblock();
            woodward::os::stage::enter(std::env::args_os().skip(2))
        }
        _ => {
            woodward_keeper::first::unblock();
            tests(args.get(1).copied().filter(|a| !a.starts_with('-')));
            ExitCode::SUCCESS
        }
    }
}

macro_rules! tests {
    ($($name:ident)*) => { [$((stringify!($name), $name as fn())),*] };
}

fn tests(filter: Option<&str>) {
    let tests = tests![
        a_daemon_that_is_back_in_time_has_lost_nothing
        a_daemon_that_is_stopped_loses_everything_at_the_deadline
        a_keeper_that_is_stopped_is_woken_and_nothing_is_lost
        a_keeper_that_does_not_wake_is_killed_after_what_it_guards
        without_its_keeper_a_daemon_kills_what_was_bound_and_ends
        with_keeper_and_daemon_dead_main_processes_die_and_isolated_ones_with_all_they_started
        what_an_earlier_keeper_left_behind_is_swept
        an_isolated_service_stops_ends_and_is_ready_like_any_other
        a_watchdog_is_given_to_the_keeper_while_something_is_bound
        a_service_under_another_user_and_behind_the_stage_dies_with_the_keeper
    ];
    for (name, test) in tests.iter().filter(|(name, _)| filter.is_none_or(|f| name.contains(f))) {
        println!("test {name} ...");
        test();
    }
    println!("all passed");
}

fn keeper(dir: &str) -> ExitCode {
    let exe = std::env::current_exe().expect("this program");
    let words = [exe.to_str().expect("a path"), "daemon", dir];
    let daemon = words.iter().map(|w| CString::new(*w).expect("no zero byte")).collect();
    let members = woodward::os::members;
    let config = woodward_keeper::Config { daemon, state: dir.into(), notify: None, init: false, members };
    woodward_keeper::run(config).into()
}

// ---- the test's side ------------------------------------------------------------------------------------------------

struct Bed {
    dir: PathBuf,
    keeper: Child,
}

impl Bed {
    fn new(name: &str) -> Bed {
        let dir = std::env::temp_dir().join(format!("woodward-guard-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        let keeper = Bed::start(&dir);
        let bed = Bed { dir, keeper };
        bed.line("ready ", "");
        bed
    }

    fn start(dir: &Path) -> Child {
        let errors = File::options().create(true).append(true).open(dir.join("errors")).expect("a file");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("keeper").arg(dir).stderr(errors).spawn().expect("a keeper")
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait<T>(&self, what: &str, mut condition: impl FnMut(&[String]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let lines = self.lines();
            if let Some(found) = condition(&lines) {
                return found;
            }
            let errors = fs::read_to_string(self.dir.join("errors")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "no {what} in {lines:#?}\n{errors}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for a line that begins with the first and has the second in it; what is behind the first.
    fn line(&self, start: &str, with: &str) -> String {
        self.wait(&format!("{start}...{with}"), |lines| {
            let mut found = lines.iter().filter(|line| line.contains(with));
            found.find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        })
    }

    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        self.wait(what, |_| condition().then_some(()));
    }

    /// Gives orders; they are carried out when this returns.
    fn tell(&self, orders: &str) {
        let (new, place) = (self.dir.join("orders.new"), self.dir.join("orders"));
        fs::write(&new, orders).expect("a file");
        fs::rename(&new, &place).expect("a file");
        self.until("orders taken", || !place.exists());
    }

    fn pid(&self, path: &str) -> i32 {
        self.line(&format!("started {path} "), "").parse().expect("a process id")
    }

    fn daemon(&self) -> i32 {
        let lines = self.lines();
        let last = lines.iter().rev().find_map(|l| l.strip_prefix("ready "));
        last.and_then(|pid| pid.parse().ok()).expect("a process id")
    }

    /// Everything of the group, by its control group.
    fn processes(&self) -> Vec<i32> {
        let root = self.line("root ", "");
        let mut todo = vec![PathBuf::from(root).join("db")];
        let mut all = Vec::new();
        while let Some(dir) = todo.pop() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            all.extend(text.lines().filter_map(|pid| pid.parse().ok()).filter(|&pid| is_there(pid)));
            let below = fs::read_dir(dir).into_iter().flatten().flatten();
            todo.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
        all
    }

    fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.keeper.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the keeper does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        kill(self.daemon(), libc::SIGSTOP);
        let _ = self.keeper.kill();
        kill(self.daemon(), libc::SIGKILL);
        let _ = self.keeper.wait();
        woodward::os::sweep(&self.dir);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: a process this test has started.
    unsafe { libc::kill(pid, signal) };
}

fn is_there(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Forks away into sessions of their own, and minds no signal that can be minded.
const CLINGS: &str =
    "trap '' TERM HUP; (setsid sh -c 'setsid sleep 1000 & sleep 1000' &); while :; do sleep 1000; done";

// ---- the tests ------------------------------------------------------------------------------------------------------

fn a_daemon_that_is_back_in_time_has_lost_nothing() {
    let bed = Bed::new("back");
    bed.tell(&format!("begin 1 3000\nbind db\nbeat 1 3000\nlaunch bound db/s {CLINGS}"));
    let service = bed.pid("db/s");
    bed.until("those it has started", || bed.processes().len() >= 4);
    let before = bed.processes();
    for _ in 0..3 {
        let daemon = bed.daemon();
        kill(daemon, libc::SIGKILL);
        bed.until("another daemon", || bed.daemon() != daemon);
        bed.line(&format!("armed by {} ", bed.daemon()), "");
    }
    // Beyond the deadline that the first one has armed.
    let beats = bed.lines().len();
    bed.until("many beats", || bed.lines().len() > beats + 15);
    assert!(is_there(service));
    assert_eq!(bed.processes().iter().filter(|pid| before.contains(pid)).count(), before.len());
    assert!(!bed.lines().iter().any(|l| l.starts_with("fired")), "{:#?}", bed.lines());
}

fn a_daemon_that_is_stopped_loses_everything_at_the_deadline() {
    let bed = Bed::new("hangs");
    bed.tell(&format!(
        "begin 1 1000\nbind db\nbeat 1 1000\nlaunch bound db/s {CLINGS}\nlaunch free o/s exec sleep 1000"
    ));
    let (service, other) = (bed.pid("db/s"), bed.pid("o/s"));
    bed.until("those it has started", || bed.processes().len() >= 4);
    kill(bed.daemon(), libc::SIGSTOP);
    bed.until("an empty group", || !is_there(service) && bed.processes().is_empty());
    assert!(is_there(other));
    kill(bed.daemon(), libc::SIGCONT);
    bed.line("fired 1", "");
    // Told before the end of what was killed, and by word before that.
    let lines = bed.lines();
    let at = |what: &str| lines.iter().position(|l| l.starts_with(what)).unwrap_or(usize::MAX);
    bed.line("ended db/s ", "");
    assert!(at("on_fired 1") < at("ended db/s"), "{lines:#?}");
    bed.tell("launch bound db/t exec sleep 1000");
    bed.line("failed db/t ", "no right to run it");
}

fn a_keeper_that_is_stopped_is_woken_and_nothing_is_lost() {
    let bed = Bed::new("sleeps");
    bed.tell("begin 1 3000\nbind db\nbeat 1 3000\nlaunch bound db/s exec sleep 1000");
    let service = bed.pid("db/s");
    kill(bed.keeper.id() as i32, libc::SIGSTOP);
    let beats = bed.lines().len();
    bed.until("many beats", || bed.lines().len() > beats + 15);
    assert!(is_there(service));
}

fn a_keeper_that_does_not_wake_is_killed_after_what_it_guards() {
    let mut bed = Bed::new("frozen");
    bed.tell(&format!("begin 1 1500\nbind db\nbeat 1 1500\nlaunch bound db/s {CLINGS}"));
    let service = bed.pid("db/s");
    bed.until("those it has started", || bed.processes().len() >= 4);
    // No SIGCONT wakes what a control group has frozen.
    let group = PathBuf::from(bed.line("root ", "")).with_file_name(format!("frozen-{}", std::process::id()));
    fs::create_dir(&group).expect("a control group");
    fs::write(group.join("cgroup.procs"), bed.keeper.id().to_string()).expect("the keeper in it");
    fs::write(group.join("cgroup.freeze"), "1").expect("frozen");
    bed.line("unguarded", "");
    bed.until("an empty group", || !is_there(service) && bed.processes().is_empty());
    bed.end();
    bed.line("no keeper: 75", "");
    fs::remove_dir(&group).expect("nobody is left in it");
}

fn without_its_keeper_a_daemon_kills_what_was_bound_and_ends() {
    let mut bed = Bed::new("alone");
    bed.tell(&format!(
        "begin 1 60000\nbind db\nbeat 1 60000\nlaunch bound db/s {CLINGS}\nlaunch free o/s exec sleep 1000"
    ));
    let (service, other) = (bed.pid("db/s"), bed.pid("o/s"));
    bed.until("those it has started", || bed.processes().len() >= 4);
    kill(bed.keeper.id() as i32, libc::SIGKILL);
    bed.end();
    bed.line("no keeper: 75", "empty");
    assert!(!is_there(service) && bed.processes().is_empty());
    assert!(is_there(other));
    let lines = bed.lines();
    let at = |what: &str| lines.iter().position(|l| l.starts_with(what)).unwrap_or(usize::MAX);
    assert!(at("unguarded") < at("no keeper"), "{lines:#?}");
}

fn with_keeper_and_daemon_dead_main_processes_die_and_isolated_ones_with_all_they_started() {
    let mut bed = Bed::new("both");
    let clings = CLINGS;
    bed.tell(&format!(
        "begin 1 60000\nbind db\nbeat 1 60000\nlaunch bound db/s {clings}\nlaunch isolated db/i {clings}"
    ));
    let (service, warden) = (bed.pid("db/s"), bed.pid("db/i"));
    let there = || bed.processes().into_iter().filter(|&pid| namespace(pid) != namespace(service));
    bed.until("those it has started in there", || there().count() >= 6);
    let inside: Vec<i32> = there().collect();
    kill(bed.daemon(), libc::SIGSTOP);
    kill(bed.keeper.id() as i32, libc::SIGKILL);
    bed.end();
    bed.until("the end of both", || !is_there(service) && !is_there(warden));
    bed.until("an empty namespace", || !inside.iter().any(|&pid| is_there(pid)));
    kill(bed.daemon(), libc::SIGKILL);
}

fn what_an_earlier_keeper_left_behind_is_swept() {
    let mut bed = Bed::new("swept");
    bed.tell(&format!("begin 1 60000\nbind db\nbeat 1 60000\nlaunch bound db/s {CLINGS}"));
    let service = bed.pid("db/s");
    bed.until("those it has started", || bed.processes().len() >= 4);
    let daemon = bed.daemon();
    kill(daemon, libc::SIGSTOP);
    kill(bed.keeper.id() as i32, libc::SIGKILL);
    bed.end();
    kill(daemon, libc::SIGKILL);
    bed.until("its end", || !is_there(service));
    assert!(!bed.processes().is_empty(), "what has left its session lives on");
    fs::remove_file(bed.dir.join("beat")).expect("a file");
    bed.keeper = Bed::start(&bed.dir);
    bed.until("another daemon", || bed.daemon() != daemon);
    bed.tell("sweep db");
    bed.line("swept db", "Ok");
    assert!(bed.processes().is_empty());
    bed.line(&format!("found by {}: None", bed.daemon()), "");
}

fn an_isolated_service_stops_ends_and_is_ready_like_any_other() {
    let bed = Bed::new("inside");
    bed.tell("begin 1 60000\nbind db\nbeat 1 60000");
    // Its own number is small, and /proc is that of the namespace.
    let says = bed.dir.join("says");
    bed.tell(&format!(
        "launch isolated db/a echo $$ $(ls -d /proc/[0-9]* | wc -l) > {}; exit 7",
        says.display()
    ));
    bed.line("ended db/a ", "Code(7)");
    let said = fs::read_to_string(&says).expect("what it said");
    let numbers: Vec<i32> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(matches!(numbers[..], [2, 2..=6]), "{said}");
    bed.tell("launch isolated db/b kill -SEGV $$; sleep 1000");
    bed.line("ended db/b ", "Signal(11)");
    // A signal to the main process arrives once, whether there is a handler or not.
    let counts = bed.dir.join("counts");
    let script = format!(
        "trap 'echo got >> {0}' USR1; trap 'exit 3' TERM; : > {0}; while :; do sleep 0.01; done",
        counts.display()
    );
    bed.tell(&format!("launch isolated db/c {script}"));
    bed.pid("db/c");
    let got = || fs::read_to_string(&counts).map_or(0, |text| text.lines().count());
    bed.until("a handler", || counts.exists());
    bed.tell("signal main 10 db/c");
    bed.until("the first", || got() > 0);
    bed.tell("signal all 10 db/c");
    bed.until("the second", || got() > 1);
    assert_eq!(got(), 2);
    bed.tell("signal main 15 db/c");
    bed.line("ended db/c ", "Code(3)");
    bed.line("emptied db/c", "");
    bed.tell("launch isolated db/d exec sleep 1000");
    bed.pid("db/d");
    bed.tell("owns db/d");
    bed.line("owns db/d ", "true true true");
    bed.tell("signal all 15 db/d");
    bed.line("ended db/d ", "Signal(15)");
    bed.tell(&format!("launch isolated db/e {CLINGS}"));
    bed.pid("db/e");
    bed.until("those it has started", || bed.processes().len() >= 6);
    bed.tell("kill db/e");
    bed.line("emptied db/e", "");
    assert!(bed.processes().is_empty());
}

fn a_watchdog_is_given_to_the_keeper_while_something_is_bound() {
    let bed = Bed::new("watchdog");
    let path = bed.dir.join("device");
    let name = CString::new(path.to_str().expect("a path")).expect("no zero byte");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let mut options = File::options();
    let mut device =
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a pipe");
    let mut fed = |byte: u8| {
        let mut bytes = [0u8; 4096];
        let n = device.read(&mut bytes).unwrap_or(0);
        bytes[..n].contains(&byte)
    };
    bed.tell(&format!("watchdog {} 1000\nbegin 1 3000\nbeat 1 3000", path.display()));
    bed.line("armed by ", "");
    for _ in 0..2 {
        bed.tell("bind db");
        bed.wait("food", |_| fed(0).then_some(()));
        bed.tell("unbind db");
        bed.wait("the magic close", |_| fed(b'V').then_some(()));
    }
}

fn a_service_under_another_user_and_behind_the_stage_dies_with_the_keeper() {
    let mut bed = Bed::new("user");
    bed.tell("begin 1 60000\nbind db\nbeat 1 60000\nlaunch user db/u exec sleep 1000\nlaunch staged db/v exec sleep 1000");
    let both = [bed.pid("db/u"), bed.pid("db/v")];
    let daemon = bed.daemon();
    kill(daemon, libc::SIGSTOP);
    kill(bed.keeper.id() as i32, libc::SIGKILL);
    bed.end();
    bed.until("their end", || !both.iter().any(|&pid| is_there(pid)));
    kill(daemon, libc::SIGKILL);
}

fn namespace(pid: i32) -> String {
    fs::read_link(format!("/proc/{pid}/ns/pid"))
        .map_or_else(|_| String::new(), |link| link.display().to_string())
}
