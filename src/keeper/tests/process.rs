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
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use woodward_keeper::wire::{Message, Order, State, Status, Targets};

mod common;

use common::{Bed, Daemon, Said, children, hold_exec, is_there, keeper, kill};

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

// ---- the daemon -----------------------------------------------------------------------------------------------------

const SERVICES: u32 = 12;

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
    let Some(mut events) = hold_exec(&program) else {
        daemon.log("fanotify refused");
        daemon.wait();
    };
    daemon.log("fanotify there");
    daemon.define(0, "held", program.to_str().expect("a path"), &[]);
    daemon.define(1, "other", "/bin/true", &[]);
    daemon.spawn(0, 1, "");
    // The event: 24 bytes, in it a descriptor. No answer yet.
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
