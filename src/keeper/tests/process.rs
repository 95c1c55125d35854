//! The keeper as a process, with a daemon that dies, hangs and talks nonsense. This program is all of them:
//! run without arguments it is the test, as `keeper DIR ROLE` the keeper of a daemon, as `daemon DIR ROLE`
//! that daemon.
//!
//! Daemons write what they learn into the file `log`, one line each; the test waits for lines.

#![allow(clippy::disallowed_methods, reason = "a test starts programs and waits")]
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use woodward_keeper::image::Image;
use woodward_keeper::wire::{Message, Order, Records, Report, State, Status, Targets};

const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[1..] {
        ["keeper", dir, role] => keeper(dir, role),
        ["daemon", dir, role] => daemon(Path::new(dir), role),
        _ => tests(args.get(1).copied().filter(|a| !a.starts_with('-'))),
    }
}

fn tests(filter: Option<&str>) {
    let tests: [(&str, fn()); 9] = [
        (
            "a_killed_daemon_loses_no_end_and_doubles_no_start",
            a_killed_daemon_loses_no_end_and_doubles_no_start,
        ),
        ("an_exec_that_hangs_delays_nothing_else", an_exec_that_hangs_delays_nothing_else),
        ("a_daemon_that_talks_nonsense_is_replaced", a_daemon_that_talks_nonsense_is_replaced),
        ("a_daemon_that_hangs_is_replaced", a_daemon_that_hangs_is_replaced),
        ("orphans_are_reaped_and_counted", orphans_are_reaped_and_counted),
        ("a_second_keeper_is_told_who_is_first", a_second_keeper_is_told_who_is_first),
        ("the_last_word_of_the_daemon_is_the_exit_code", the_last_word_of_the_daemon_is_the_exit_code),
        (
            "asked_to_stop_without_a_daemon_the_keeper_stops_all",
            asked_to_stop_without_a_daemon_the_keeper_stops_all,
        ),
        ("log_pipes_are_emptied_while_the_daemon_is_away", log_pipes_are_emptied_while_the_daemon_is_away),
    ];
    for (name, test) in tests.iter().filter(|(name, _)| filter.is_none_or(|f| name.contains(f))) {
        println!("test {name} ...");
        test();
    }
    println!("all passed");
}

// ---- the test's side ------------------------------------------------------------------------------------------------

/// A keeper with its directory.
struct Bed {
    dir: PathBuf,
    keeper: Child,
}

impl Bed {
    fn new(role: &str) -> Bed {
        let dir = std::env::temp_dir().join(format!("woodward-keeper-{}-{role}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        let keeper = Bed::start(&dir, role);
        Bed { dir, keeper }
    }

    fn start(dir: &Path, role: &str) -> Child {
        let errors = File::options().create(true).append(true).open(dir.join("errors")).expect("a file");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("keeper").arg(dir).arg(role).stderr(errors);
        command.spawn().expect("a keeper")
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

    /// Waits for a line that begins with this; what follows.
    fn line(&self, start: &str) -> String {
        self.wait(start, |lines| {
            lines.iter().find_map(|l| l.strip_prefix(start)).map(|l| l.trim().to_owned())
        })
    }

    fn signal(&self, signal: i32) {
        kill(self.keeper.id() as i32, signal);
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
        if self.keeper.try_wait().is_ok_and(|status| status.is_none()) {
            for pid in children(self.keeper.id()) {
                kill(pid, libc::SIGSTOP);
            }
            let left = children(self.keeper.id());
            self.signal(libc::SIGKILL);
            left.into_iter().for_each(|pid| kill(pid, libc::SIGKILL));
            let _ = self.keeper.wait();
        }
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

fn children(pid: u32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|p| p.parse().ok()).collect()
}

fn a_killed_daemon_loses_no_end_and_doubles_no_start() {
    let bed = Bed::new("storm");
    let mut killed = 0;
    let mut pause = 1;
    let mut last = String::new();
    while killed < 40 {
        let pid = bed.wait("the next daemon", |lines| {
            let pid = lines.iter().rev().find_map(|l| l.strip_prefix("ready "))?;
            (pid != last).then(|| pid.to_owned())
        });
        // From the first microsecond to well in the middle.
        pause = (pause * 7 + 3) % 41;
        std::thread::sleep(Duration::from_millis(pause));
        kill(pid.parse().expect("a process id"), libc::SIGKILL);
        last = pid;
        killed += 1;
    }
    fs::write(bed.dir.join("enough"), "").expect("a file");
    bed.line("stopped");
    let runs = fs::read_to_string(bed.dir.join("runs")).expect("what the services wrote");
    let mut ends: HashMap<(u32, u64), u64> = HashMap::new();
    let journal = fs::read_to_string(bed.dir.join("journal")).expect("what the daemons wrote");
    let number = |word: Option<&str>| word.and_then(|w| w.parse().ok()).expect("a number");
    for line in journal.lines() {
        let mut words = line.split(' ');
        if let (Some("end"), service, generation, code) =
            (words.next(), words.next(), words.next(), words.next())
        {
            let key = (number(service) as u32, number(generation));
            assert_eq!(ends.insert(key, number(code)), None, "{key:?} ended twice");
        }
    }
    let mut started: HashMap<(u32, u64), u64> = HashMap::new();
    for line in runs.lines() {
        let mut words = line.split(' ');
        *started.entry((number(words.next()) as u32, number(words.next()))).or_default() += 1;
    }
    assert!(started.len() > 200, "only {} starts", started.len());
    for (key, times) in &started {
        assert_eq!(*times, 1, "{key:?} started more than once");
        assert_eq!(ends.get(key), Some(&(key.1 % 100)), "the end of {key:?}");
    }
    assert_eq!(started.len(), ends.len(), "ends without a start");
    for service in 0..SERVICES {
        let generations = started.keys().filter(|k| k.0 == service).count() as u64;
        assert!(
            (1..=generations).all(|g| started.contains_key(&(service, g))),
            "a generation of {service} is missing"
        );
    }
}

fn an_exec_that_hangs_delays_nothing_else() {
    let bed = Bed::new("hang");
    if bed.line("fanotify ") == "refused" {
        panic!("this test needs the right to hold an exec (CAP_SYS_ADMIN)");
    }
    bed.line("asked to hang");
    // Many others start and end while the first has not executed its program yet.
    bed.line("200 ended while one hangs");
    bed.line("then it ran");
}

fn a_daemon_that_talks_nonsense_is_replaced() {
    let bed = Bed::new("nonsense");
    let service: i32 = bed.line("service ").parse().expect("a process id");
    bed.wait("many daemons", |lines| {
        (lines.iter().filter(|l| l.starts_with("ready")).count() > 8).then_some(())
    });
    assert!(is_there(service));
    let found: Vec<String> = bed.lines().into_iter().filter(|l| l.starts_with("found")).collect();
    assert!(found.iter().all(|l| *l == format!("found s 1 Running {service}")), "{found:?}");
}

fn a_daemon_that_hangs_is_replaced() {
    let bed = Bed::new("silent");
    let first = bed.line("ready ");
    bed.signal(libc::SIGHUP);
    // Asked nothing it may be silent; SIGHUP is told but not asked. An end that is not acknowledged is.
    bed.wait("a second daemon", |lines| {
        lines.iter().find(|l| l.starts_with("ready ") && !l.ends_with(&first)).map(drop)
    });
}

fn orphans_are_reaped_and_counted() {
    let bed = Bed::new("orphans");
    bed.wait("three orphans", |lines| lines.iter().any(|l| l == "orphans 3").then_some(()));
    let zombies = children(bed.keeper.id()).into_iter().filter(|&pid| !is_there(pid)).count();
    assert_eq!(zombies, 0);
}

fn a_second_keeper_is_told_who_is_first() {
    let bed = Bed::new("quiet");
    bed.line("ready ");
    let mut second = Bed::start(&bed.dir, "quiet");
    assert_eq!(second.wait().expect("a child").code(), Some(75));
    let errors = fs::read_to_string(bed.dir.join("errors")).expect("a file");
    assert!(errors.contains(&format!("(pid {})", bed.keeper.id())), "{errors}");
}

fn the_last_word_of_the_daemon_is_the_exit_code() {
    let mut bed = Bed::new("exit");
    assert_eq!(bed.end().code(), Some(42));
    let service = bed.line("service ").parse().expect("a process id");
    assert!(!is_there(service));
}

fn asked_to_stop_without_a_daemon_the_keeper_stops_all() {
    let mut bed = Bed::new("dead");
    let service = bed.line("service ").parse().expect("a process id");
    bed.signal(libc::SIGTERM);
    assert_eq!(bed.end().code(), Some(75));
    assert!(!is_there(service));
}

fn log_pipes_are_emptied_while_the_daemon_is_away() {
    let bed = Bed::new("logs");
    let first: i32 = bed.line("ready ").parse().expect("a process id");
    bed.line("service ");
    kill(first, libc::SIGKILL);
    // More than a pipe holds: the writer gets through because somebody reads.
    let length = || fs::metadata(bed.dir.join("segment")).map_or(0, |m| m.len());
    bed.wait("a segment", |_| (length() == 64 + 2_000_000).then_some(()));
    let bytes = fs::read(bed.dir.join("segment")).expect("a segment");
    assert!(bytes[64..].iter().all(|&b| b == b'x'));
}

// ---- the keeper -----------------------------------------------------------------------------------------------------

fn keeper(dir: &str, role: &str) {
    let exe = std::env::current_exe().expect("this program");
    let words = [exe.to_str().expect("a path"), "daemon", dir, role];
    let daemon = words.iter().map(|w| CString::new(*w).expect("no zero byte")).collect();
    let members = |_: &Path, _: &str, _| Vec::new();
    let config = woodward_keeper::Config { daemon, state: dir.into(), notify: None, init: false, members };
    std::process::exit(woodward_keeper::run(config).into());
}

// ---- the daemon -----------------------------------------------------------------------------------------------------

const SERVICES: u32 = 12;

struct Daemon {
    channel: OwnedFd,
    dir: PathBuf,
}

#[derive(Debug)]
enum Said {
    Entry { slot: u32, generation: u64, state: State, pid: i32, name: String },
    End,
    Orphans(u64),
    Ping,
    Other,
}

impl Daemon {
    fn log(&self, line: &str) {
        self.write("log", line);
    }

    fn write(&self, file: &str, line: &str) {
        let mut file = File::options().create(true).append(true).open(self.dir.join(file)).expect("a file");
        file.write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    fn order(&self, order: &Order, descriptors: &[&OwnedFd]) {
        let mut message = Message::default();
        message.order(order);
        self.send(message.bytes(), descriptors);
    }

    fn send(&self, bytes: &[u8], descriptors: &[&OwnedFd]) {
        let mut control = [0u64; 16];
        // SAFETY: everything the header points to lives long enough.
        unsafe {
            let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let mut head: libc::msghdr = std::mem::zeroed();
            (head.msg_iov, head.msg_iovlen) = (&mut piece, 1);
            if !descriptors.is_empty() {
                let length = 4 * descriptors.len() as u32;
                head.msg_control = control.as_mut_ptr().cast();
                head.msg_controllen = libc::CMSG_SPACE(length) as _;
                let c = libc::CMSG_FIRSTHDR(&head);
                ((*c).cmsg_level, (*c).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
                (*c).cmsg_len = libc::CMSG_LEN(length) as _;
                let data = libc::CMSG_DATA(c).cast::<i32>();
                descriptors.iter().enumerate().for_each(|(i, d)| data.add(i).write_unaligned(d.as_raw_fd()));
            }
            assert!(libc::sendmsg(self.channel.as_raw_fd(), &head, libc::MSG_NOSIGNAL) >= 0, "cannot send");
        }
    }

    fn hear(&self) -> Vec<Said> {
        let mut buffer = vec![0u8; 1 << 16];
        // SAFETY: writes into the buffer.
        let n = unsafe { libc::recv(self.channel.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if n <= 0 {
            std::process::exit(1);
        }
        let mut records = Records::of(&buffer[..n as usize]).expect("a message");
        let mut said = Vec::new();
        while let Some(report) = records.report().expect("a report") {
            said.push(match report {
                Report::Entry { slot, generation, state, pid, name } => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    Said::Entry { slot, generation, state, pid, name }
                }
                Report::End => Said::End,
                Report::Orphans { count } => Said::Orphans(count),
                Report::Ping => Said::Ping,
                _ => Said::Other,
            });
        }
        said
    }

    /// Everything until the end of the snapshot.
    fn snapshot(&self) -> Vec<Said> {
        let mut all = Vec::new();
        while !all.iter().any(|s| matches!(s, Said::End)) {
            all.extend(self.hear());
        }
        all
    }

    fn define(&self, slot: u32, name: &str, program: &str, arguments: &[&str]) {
        let text = |s: &&str| s.as_bytes().to_vec();
        let image = Image {
            program: program.as_bytes().to_vec(),
            arguments: [program].iter().chain(arguments).map(text).collect(),
            environment: vec![b"PATH=/usr/bin:/bin".to_vec()],
            ..Image::default()
        }
        .encode();
        // SAFETY: a new descriptor.
        let memory =
            unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC)) };
        let mut file = File::from(memory);
        file.write_all(&image).expect("memory");
        let order = Order::Define { slot, name: name.as_bytes(), image: image.len() as u32, output: false };
        self.order(&order, &[&file.into()]);
    }

    fn spawn(&self, slot: u32, generation: u64, additions: &str) {
        let targets = Targets::default();
        let additions = additions.as_bytes();
        self.order(&Order::Spawn { slot, generation, cgroup: false, targets, additions }, &[]);
    }

    /// The process id of this slot, when it has executed (and perhaps ended already).
    fn started(&self, wanted: u32) -> i32 {
        loop {
            for said in self.hear() {
                if let Said::Entry { slot, pid, state: State::Running | State::Ended(_), .. } = said
                    && slot == wanted
                {
                    return pid;
                }
            }
        }
    }

    fn wait(&self) -> ! {
        loop {
            self.hear();
        }
    }
}

fn daemon(dir: &Path, role: &str) {
    // SAFETY: the keeper has left it there; made to block, for this daemon has nothing else to do.
    let channel = unsafe {
        libc::fcntl(woodward_keeper::CHANNEL, libc::F_SETFL, 0);
        OwnedFd::from_raw_fd(woodward_keeper::CHANNEL)
    };
    let daemon = Daemon { channel, dir: dir.to_path_buf() };
    let found = daemon.snapshot();
    let empty = !found.iter().any(|s| matches!(s, Said::Entry { .. }));
    for said in &found {
        if let Said::Entry { generation, state, pid, name, .. } = said
            && role != "storm"
        {
            daemon.log(&format!("found {name} {generation} {state:?} {pid}"));
        }
    }
    daemon.log(&format!("ready {}", std::process::id()));
    match role {
        "storm" => storm(&daemon, &found),
        "hang" => hang(&daemon),
        "nonsense" => nonsense(&daemon, empty),
        "silent" => silent(&daemon, empty),
        "orphans" => orphans(&daemon),
        "exit" => {
            daemon.define(0, "s", "/bin/sleep", &["1000"]);
            daemon.spawn(0, 1, "");
            daemon.log(&format!("service {}", daemon.started(0)));
            daemon.order(&Order::Exit { code: 42 }, &[]);
        }
        "dead" => {
            if empty {
                daemon.define(0, "s", "/bin/sh", &["-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]);
                daemon.spawn(0, 1, "");
                daemon.log(&format!("service {}", daemon.started(0)));
            }
            std::process::exit(1);
        }
        "logs" => logs(&daemon, empty),
        _ => daemon.wait(),
    }
}

/// Services that end at once are started again at once; every start and end is written down before the keeper
/// is told.
fn storm(daemon: &Daemon, found: &[Said]) {
    let journal = fs::read_to_string(daemon.dir.join("journal")).unwrap_or_default();
    // Only whole lines: this daemon may have been killed while it wrote.
    let ended: Vec<&str> = journal.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')).collect();
    let mut last = [0u64; SERVICES as usize];
    let mut intents = [0u64; SERVICES as usize];
    for line in &ended {
        let mut words = line.split(' ');
        let what = words.next();
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
        let (service, generation) = (number() as usize, number());
        match what {
            Some("end") => last[service] = last[service].max(generation),
            Some("intent") => intents[service] = intents[service].max(generation),
            _ => {}
        }
    }
    let script = "echo $S $G >> $RUNS; sleep 0.00$((G % 10)); exit $((G % 100))";
    let mut live = [false; SERVICES as usize];
    let mut known = [false; SERVICES as usize];
    let start = |service: u32, generation: u64| {
        daemon.write("journal", &format!("intent {service} {generation}"));
        let runs = daemon.dir.join("runs");
        daemon.spawn(service, generation, &format!("S={service}\0G={generation}\0RUNS={}\0", runs.display()));
    };
    // False: known already; what was told in the snapshot may be told once more.
    let end = |last: &mut [u64; SERVICES as usize], service: usize, generation: u64, code: i32| {
        let news = generation > last[service];
        if news {
            daemon.write("journal", &format!("end {service} {generation} {code}"));
            last[service] = generation;
        }
        daemon.order(&Order::Ack { slot: service as u32, generation }, &[]);
        news
    };
    let enough = || daemon.dir.join("enough").exists();
    for said in found {
        if let Said::Entry { slot, generation, state, .. } = said {
            known[*slot as usize] = true;
            match state {
                State::Ended(Status::Code(code)) => {
                    end(&mut last, *slot as usize, *generation, *code);
                }
                State::Idle => {}
                _ => live[*slot as usize] = true,
            }
        }
    }
    let mut running = 0;
    for service in 0..SERVICES {
        let place = service as usize;
        if !known[place] {
            daemon.define(service, &format!("s{service}"), "/bin/sh", &["-c", script]);
        }
        if live[place] {
            running += 1;
        } else {
            // An intent without an end, and nothing of it there: the same generation again.
            start(service, intents[place].max(last[place] + 1));
            running += 1;
        }
    }
    while running > 0 {
        for said in daemon.hear() {
            match said {
                Said::Entry { slot, generation, state: State::Ended(Status::Code(code)), .. } => {
                    if !end(&mut last, slot as usize, generation, code) {
                        continue;
                    }
                    if enough() {
                        running -= 1;
                    } else {
                        start(slot, generation + 1);
                    }
                }
                Said::Entry { state: State::Running, .. } | Said::Other | Said::Orphans(_) => {}
                Said::Ping => daemon.order(&Order::Pong, &[]),
                other => daemon.log(&format!("strange: {other:?}")),
            }
        }
    }
    daemon.log("stopped");
    daemon.order(&Order::Exit { code: 0 }, &[]);
}

/// Holds the exec of one program by a fanotify permission event, and starts others meanwhile.
fn hang(daemon: &Daemon) {
    let program = daemon.dir.join("held");
    fs::copy("/bin/true", &program).expect("a program");
    let path = CString::new(program.to_str().expect("a path")).expect("no zero byte");
    const FAN_CLASS_CONTENT: libc::c_uint = 4;
    const FAN_OPEN_EXEC_PERM: u64 = 0x0004_0000;
    // SAFETY: plain calls.
    let group = unsafe {
        let group = libc::fanotify_init(FAN_CLASS_CONTENT | 1, libc::O_RDONLY as u32);
        let marked =
            libc::fanotify_mark(group, libc::FAN_MARK_ADD, FAN_OPEN_EXEC_PERM, libc::AT_FDCWD, path.as_ptr());
        if group < 0 || marked != 0 {
            daemon.log("fanotify refused");
            daemon.wait();
        }
        OwnedFd::from_raw_fd(group)
    };
    daemon.log("fanotify there");
    daemon.define(0, "held", path.to_str().expect("a path"), &[]);
    daemon.define(1, "other", "/bin/true", &[]);
    daemon.spawn(0, 1, "");
    // The event: 24 bytes, in it a descriptor. No answer yet.
    let mut events = File::from(group);
    let mut event = [0u8; 24];
    events.read_exact(&mut event).expect("an event");
    daemon.log("asked to hang");
    for generation in 1..=200 {
        daemon.spawn(1, generation, "");
        'ended: loop {
            for said in daemon.hear() {
                match said {
                    Said::Entry { slot: 0, state, .. } => panic!("held, and yet {state:?}"),
                    Said::Entry { slot: 1, state: State::Ended(_), .. } => break 'ended,
                    _ => {}
                }
            }
        }
        daemon.order(&Order::Ack { slot: 1, generation }, &[]);
    }
    daemon.log("200 ended while one hangs");
    let mut answer = event[16..20].to_vec();
    answer.extend_from_slice(&1u32.to_ne_bytes());
    events.write_all(&answer).expect("allowed");
    daemon.started(0);
    daemon.log("then it ran");
    daemon.wait();
}

/// Every kind of malformed message, a different one each time this daemon is started.
fn nonsense(daemon: &Daemon, empty: bool) {
    if empty {
        daemon.define(0, "s", "/bin/sleep", &["1000"]);
        daemon.spawn(0, 1, "");
        daemon.log(&format!("service {}", daemon.started(0)));
    }
    let log = fs::read_to_string(daemon.dir.join("log")).unwrap_or_default();
    let turn = log.lines().filter(|l| l.starts_with("ready")).count();
    let mut message = Message::default();
    let image = File::open("/dev/null").expect("a file").into();
    match turn % 8 {
        0 => return daemon.send(&[9; 64], &[]),
        1 => return daemon.send(&[1, 0, 0, 0, 0, 0, 0, 0, 200, 0, 1, 0], &[]),
        // Descriptors too few, and too many.
        2 => message.order(&Order::Cgroup),
        3 => {
            message.order(&Order::Pong);
            daemon.send(message.bytes(), &[&image]);
            daemon.wait();
        }
        // A name in the place of another, and a slot that was never defined.
        4 => {
            message.order(&Order::Define { slot: 0, name: b"t", image: 8, output: false });
            daemon.send(message.bytes(), &[&image]);
            daemon.wait();
        }
        5 => {
            let targets = Targets::default();
            message.order(&Order::Spawn { slot: 77, generation: 1, cgroup: false, targets, additions: b"" });
        }
        6 => message.order(&Order::Forget { slot: 1 << 30 }),
        // An image that is none: no malformed message, a failed start.
        _ => {
            daemon.order(&Order::Define { slot: 9, name: b"bad", image: 8, output: false }, &[&image]);
            daemon.spawn(9, 1, "");
            loop {
                if daemon
                    .hear()
                    .iter()
                    .any(|s| matches!(s, Said::Entry { slot: 9, state: State::Failed { .. }, .. }))
                {
                    daemon.order(&Order::Ack { slot: 9, generation: 1 }, &[]);
                    daemon.order(&Order::Forget { slot: 9 }, &[]);
                    std::process::exit(1);
                }
            }
        }
    }
    daemon.send(message.bytes(), &[]);
    daemon.wait();
}

/// Does not answer a question.
fn silent(daemon: &Daemon, empty: bool) {
    if !empty {
        daemon.wait();
    }
    let (fifo, segment) = log_files(daemon);
    daemon.define(0, "s", "/bin/sleep", &["1000"]);
    daemon.order(&Order::Log { slot: 0 }, &[&fifo, &segment]);
    daemon.order(&Order::Logs, &[]);
    File::from(fifo).write_all(b"x").expect("written");
    std::thread::sleep(Duration::from_secs(3600));
}

/// Three grandchildren lose their parent.
fn orphans(daemon: &Daemon) {
    daemon.define(0, "s", "/bin/sh", &["-c", "for i in 1 2 3; do (setsid sleep 0.1 &) ; done; exit 0"]);
    daemon.spawn(0, 1, "");
    loop {
        for said in daemon.hear() {
            if let Said::Orphans(count) = said {
                daemon.log(&format!("orphans {count}"));
            }
        }
    }
}

fn log_files(daemon: &Daemon) -> (OwnedFd, OwnedFd) {
    let fifo = daemon.dir.join("fifo");
    let path = CString::new(fifo.to_str().expect("a path")).expect("no zero byte");
    // SAFETY: plain call.
    unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    let fifo = File::options().read(true).write(true).open(fifo).expect("a fifo");
    let mut segment = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(daemon.dir.join("segment"))
        .expect("a file");
    segment.write_all(&[0; 64]).expect("written");
    (fifo.into(), segment.into())
}

/// A service that writes two megabytes as soon as the daemon is dead.
fn logs(daemon: &Daemon, empty: bool) {
    if !empty {
        std::process::exit(1);
    }
    let (fifo, segment) = log_files(daemon);
    let script = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.01; done; head -c 2000000 /dev/zero | tr '\\0' x > {}",
        std::process::id(),
        daemon.dir.join("fifo").display()
    );
    daemon.define(0, "s", "/bin/sh", &["-c", &script]);
    daemon.order(&Order::Log { slot: 0 }, &[&fifo, &segment]);
    daemon.order(&Order::Logs, &[]);
    daemon.spawn(0, 1, "");
    daemon.log(&format!("service {}", daemon.started(0)));
    daemon.wait();
}
