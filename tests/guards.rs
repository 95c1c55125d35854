//! The guards of what nodes share, as processes: whoever has an older token does nothing any more.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bed::program;

/// Nothing that works takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(2));
    }
}

/// A process that is killed with all of its group when it is dropped.
struct Process {
    child: Child,
}

impl Process {
    /// `woodward guard WORDS` as node `node` under a token.
    fn guard(words: &[&str], node: &str, token: u64) -> Process {
        let mut command = Command::new(program());
        command.arg("guard").args(words).stdin(Stdio::null());
        command.env("FENCING_TOKEN", token.to_string()).env("WOODWARD_GROUP", "g").env("WOODWARD_NODE", node);
        Process::of(&mut command)
    }

    fn of(command: &mut Command) -> Process {
        let child = command.env_remove("FENCING_TOKEN_FILE").stderr(Stdio::piped()).process_group(0).spawn();
        Process { child: child.expect("it starts") }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: plain call, to a group of our own.
        unsafe { libc::kill(-(self.child.id() as i32), signal) };
    }

    /// Its exit code, `None` if it was killed, and what it said on standard error.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = until("the end of a process", || self.child.try_wait().expect("it is ours"));
        let mut words = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut words);
        }
        (status.code(), words)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

/// What is shared: takes lines `TOKEN ...` of anybody, and notes them in the order in which they come.
struct Resource {
    listener: TcpListener,
    /// In the order in which they were accepted: what came first is read first.
    connections: Vec<(TcpStream, Vec<u8>)>,
    lines: Vec<u64>,
}

impl Resource {
    fn new() -> Resource {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("it can be asked");
        Resource { listener, connections: Vec::new(), lines: Vec::new() }
    }

    fn address(&self) -> String {
        self.listener.local_addr().expect("it is bound").to_string()
    }

    /// Takes what has come.
    fn turn(&mut self) {
        while let Ok((connection, _)) = self.listener.accept() {
            connection.set_nonblocking(true).expect("it can be asked");
            self.connections.push((connection, Vec::new()));
        }
        for (connection, rest) in &mut self.connections {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = connection.read(&mut piece) {
                rest.extend_from_slice(&piece[..n]);
            }
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let token = String::from_utf8_lossy(&line).split_whitespace().next().map(str::parse);
                self.lines.push(token.expect("a token").expect("a number"));
            }
        }
    }

    fn count(&mut self, token: u64) -> usize {
        self.turn();
        self.lines.iter().filter(|t| **t == token).count()
    }

    /// Writes of a token after one with a greater one.
    fn old(&self) -> usize {
        let mut newest = 0;
        self.lines
            .iter()
            .filter(|token| {
                newest = newest.max(**token);
                **token < newest
            })
            .count()
    }
}

/// A proxy, and where it listens.
struct Proxy {
    process: Process,
    address: String,
    /// Open, so that it can go on to say things.
    errors: BufReader<std::process::ChildStderr>,
}

impl Proxy {
    fn new(to: &str, words: &[&str]) -> Proxy {
        let all = [&["proxy", "--listen", "127.0.0.1:0", "--to", to], words].concat();
        let mut process = Process::guard(&all, "store", 0);
        let mut errors = BufReader::new(process.child.stderr.take().expect("it was asked for"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("it says where it listens");
        let address = line.strip_prefix("listening at ").and_then(|l| l.split(',').next()).expect(&line);
        Proxy { process, address: address.to_owned(), errors }
    }

    /// What it answers to these bytes, until it closes or says yes.
    fn asked(&self, bytes: &[u8]) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(bytes).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).expect("it answers");
        (stream, answer.trim_end().to_owned())
    }
}

/// A service that writes `TOKEN n` every half millisecond through `woodward guard connect`.
fn holder(proxy: &str, token: u64) -> Process {
    let text = format!(
        "import subprocess, sys, time\n\
         p = subprocess.Popen([{:?}, 'guard', 'connect', {proxy:?}], stdin=subprocess.PIPE)\n\
         n = 0\n\
         while True:\n\
         \x20   n += 1\n\
         \x20   p.stdin.write(b'{token} %d\\n' % n); p.stdin.flush()\n\
         \x20   time.sleep(0.0005)\n",
        program().to_string_lossy()
    );
    let mut command = Command::new("python3");
    command.args(["-c", &text]).env("FENCING_TOKEN", token.to_string()).env("WOODWARD_GROUP", "g");
    Process::of(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

#[test]
fn who_was_frozen_writes_nothing_through_the_proxy() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("newest");
    let mut resource = Resource::new();
    let proxy = Proxy::new(&resource.address(), &["--state", &state.to_string_lossy()]);
    let mut old = holder(&proxy.address, 1);
    for token in 2..=12 {
        until("the old one to write", || (resource.count(token - 1) > 20).then_some(()));
        old.signal(libc::SIGSTOP);
        let new = holder(&proxy.address, token);
        until("the new one to write", || (resource.count(token) > 20).then_some(()));
        old.signal(libc::SIGCONT);
        until("the old one to be told", || {
            resource.turn();
            old.child.try_wait().expect("it is ours")
        });
        old = new;
    }
    assert_eq!(resource.old(), 0, "writes with an old token");
    assert_eq!(fs::read_to_string(&state).expect("it is written down"), "g 12\n");
}

#[test]
fn a_proxy_that_was_killed_remembers_the_newest_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("newest");
    let resource = Resource::new();
    let words = ["--state", &state.to_string_lossy()];
    for round in 0..3 {
        let mut proxy = Proxy::new(&resource.address(), &words);
        let newest = 10 + round;
        if round > 0 {
            let (_, answer) = proxy.asked(format!("WOODWARD/1 g {}\n", newest - 2).as_bytes());
            let words = format!(
                "WOODWARD/1 refused: token {} of g is over, {} has been seen",
                newest - 2,
                newest - 1
            );
            assert_eq!(answer, words);
        }
        assert_eq!(proxy.asked(format!("WOODWARD/1 g {newest}\n").as_bytes()).1, "WOODWARD/1 ok");
        assert_eq!(proxy.asked(format!("WOODWARD/1 g {newest}\n").as_bytes()).1, "WOODWARD/1 ok");
        assert_eq!(proxy.asked(b"WOODWARD/1 other 1\n").1, "WOODWARD/1 ok", "each group for itself");
        let all = ["proxy", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1", "--state", words[1]];
        let (code, said) = Process::guard(&all, "store", 0).end();
        assert_eq!((code, said.contains("another proxy uses it")), (Some(1), true), "{said}");
        proxy.process.signal(libc::SIGKILL);
        proxy.process.end();
    }
}

#[test]
fn what_does_not_begin_as_it_should_is_refused() {
    let mut resource = Resource::new();
    let mut proxy = Proxy::new(&resource.address(), &["--group", "g"]);
    let (mut good, answer) = proxy.asked(b"WOODWARD/1 g 7\n7 first\n");
    assert_eq!(answer, "WOODWARD/1 ok");
    for bytes in ["GET / HTTP/1.1\r\n\r\n", "WOODWARD/1 g x\n", "\n", &"x".repeat(5000), "WOODWARD/9 g 8\n"] {
        let answer = proxy.asked(bytes.as_bytes()).1;
        assert!(answer.starts_with("WOODWARD/1 refused: this is not the beginning"), "{bytes:?}: {answer}");
    }
    assert_eq!(proxy.asked(b"WOODWARD/1 h 9\n").1, "WOODWARD/1 refused: nobody of h is let in here");
    // Somebody who only looks is not worth a line.
    drop(TcpStream::connect(&proxy.address).expect("it listens"));
    let (_, answer) = proxy.asked(b"WOODWARD/1 g 6\n6 too late\n");
    assert_eq!(answer, "WOODWARD/1 refused: token 6 of g is over, 7 has been seen");
    good.write_all(b"7 second\n").expect("it is still open");
    until("what was let in", || (resource.count(7) == 2).then_some(()));
    assert_eq!(resource.lines, [7, 7]);
    proxy.process.signal(libc::SIGKILL);
    let mut said = String::new();
    proxy.errors.read_to_string(&mut said).expect("text");
    assert_eq!(said.matches("refused ").count(), 7, "{said}");
}

#[test]
fn many_at_once_are_let_in_in_the_order_of_their_tokens() {
    let mut resource = Resource::new();
    let proxy = Proxy::new(&resource.address(), &[]);
    let clients: Vec<_> = (0..60_u64)
        .map(|n| {
            let (address, token) = (proxy.address.clone(), n * 37 % 60 + 1);
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                let _ = stream.write_all(format!("WOODWARD/1 g {token}\n").as_bytes());
                let mut answer = String::new();
                let _ = BufReader::new(&stream).read_line(&mut answer);
                while answer.trim_end() == "WOODWARD/1 ok"
                    && stream.write_all(format!("{token}\n").as_bytes()).is_ok()
                {
                    sleep(Duration::from_micros(300));
                    if token == 60 {
                        return;
                    }
                }
            })
        })
        .collect();
    until("all to be over", || {
        resource.turn();
        clients.iter().all(|c| c.is_finished()).then_some(())
    });
    until("the newest", || (resource.count(60) == 1).then_some(()));
    assert_eq!(resource.old(), 0, "{:?}", resource.lines);
}

#[test]
fn a_client_that_knows_nothing_of_tokens_is_connected() {
    let mut resource = Resource::new();
    let proxy = Proxy::new(&resource.address(), &[]);
    let mut connect = Process::guard(&["connect", &proxy.address, "--listen", "127.0.0.1:0"], "h1", 5);
    let mut errors = BufReader::new(connect.child.stderr.take().expect("it was asked for"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("it says where it listens");
    let local = line.strip_prefix("listening at ").and_then(|l| l.split(',').next()).expect(&line).to_owned();
    let mut client = TcpStream::connect(&local).expect("it listens");
    client.write_all(b"5 hello\n").expect("it is passed on");
    until("what was written", || (resource.count(5) == 1).then_some(()));
    let (mut other, _) = resource.connections.pop().expect("it is connected");
    other.write_all(b"and back\n").expect("it is connected");
    let mut back = String::new();
    BufReader::new(&client).read_line(&mut back).expect("it comes");
    assert_eq!(back, "and back\n");
    assert_eq!(proxy.asked(b"WOODWARD/1 g 6\n").1, "WOODWARD/1 ok");
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0, "it was cut");
    let mut late = TcpStream::connect(&local).expect("it listens");
    assert_eq!(late.read(&mut [0; 8]).unwrap_or(0), 0, "it was refused");
    let (code, said) = Process::guard(&["connect", &proxy.address], "h1", 5).end();
    assert_eq!(code, Some(1));
    assert!(said.contains("token 5 of g is over, 6 has been seen"), "{said}");
}

/// Commands that append `NODE n` to a file beside the lock, every half millisecond.
struct Storage {
    dir: tempfile::TempDir,
}

impl Storage {
    fn new() -> Storage {
        Storage { dir: tempfile::tempdir().expect("a directory") }
    }

    fn lock(&self) -> PathBuf {
        self.dir.path().join("lock")
    }

    fn run(&self, token: u64, command: &[&str]) -> Process {
        let lock = self.lock();
        let lock = lock.to_string_lossy();
        let words = [&["lock", &lock, "--"], command].concat();
        Process::guard(&words, &format!("h{token}"), token)
    }

    fn writer(&self, token: u64) -> Process {
        let text = format!(
            "import time\nwhile True:\n    open('log', 'a').write('{token}\\n')\n    time.sleep(0.0005)\n"
        );
        let text = text.replace("'log'", &format!("{:?}", self.dir.path().join("log")));
        self.run(token, &["python3", "-c", &text])
    }

    /// How many writes there were with each token, and how many with an older one after a newer one.
    fn log(&self) -> (BTreeMap<u64, usize>, usize) {
        let text = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let (mut counts, mut newest, mut old) = (BTreeMap::new(), 0, 0);
        for token in text.lines().filter_map(|line| line.parse::<u64>().ok()) {
            *counts.entry(token).or_default() += 1;
            newest = newest.max(token);
            old += usize::from(token < newest);
        }
        (counts, old)
    }

    fn writes(&self, token: u64) -> usize {
        self.log().0.get(&token).copied().unwrap_or_default()
    }
}

fn holds(lock: &Path) -> String {
    let text = fs::read_to_string(lock).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("epoch ")).unwrap_or_default().to_owned()
}

#[test]
fn who_was_frozen_does_not_write_beside_the_lock_of_another() {
    let storage = Storage::new();
    let mut old = storage.writer(1);
    for token in 2..=11 {
        until("the old one to write", || (storage.writes(token - 1) > 20).then_some(()));
        old.signal(libc::SIGSTOP);
        // Nobody takes over before; that is what `wait` is for.
        until("the fuse to burn", || old.child.try_wait().expect("it is ours"));
        let new = storage.writer(token);
        until("the new one to write", || (storage.writes(token) > 20).then_some(()));
        old.signal(libc::SIGCONT);
        old = new;
    }
    assert_eq!(storage.log().1, 0, "writes with an old token");
}

#[test]
fn a_newer_token_ends_the_command_of_an_older_one() {
    let storage = Storage::new();
    let mut old = storage.run(
        1,
        &[
            "sh",
            "-c",
            "sleep 1000 & echo $! > \"$0\"; wait",
            &storage.dir.path().join("pid").to_string_lossy(),
        ],
    );
    let behind = until("what it has forked", || {
        fs::read_to_string(storage.dir.path().join("pid")).ok()?.trim().parse::<i32>().ok()
    });
    let new = storage.run(2, &["sleep", "1000"]);
    let (code, said) = old.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("under token 1: h2 has it under token 2"), "{said}");
    // SAFETY: plain call that does nothing.
    assert_ne!(unsafe { libc::kill(behind, 0) }, 0, "what it has forked is gone too");
    let (code, said) =
        storage.run(1, &["touch", &storage.dir.path().join("touched").to_string_lossy()]).end();
    assert_eq!((code, said.contains("h2 has it under token 2")), (Some(1), true), "{said}");
    assert!(!storage.dir.path().join("touched").exists(), "it never began");
    // What an old one has put there in the instant it was frozen in is put right.
    fs::write(storage.lock(), "woodward lock 1\ngroup g\nepoch 1\nnode h1\n").expect("it can be written");
    until("the right epoch", || (holds(&storage.lock()) == "2").then_some(()));
    fs::remove_file(storage.lock()).expect("it can be removed");
    until("the right epoch", || (holds(&storage.lock()) == "2").then_some(()));
    drop(new);
}

#[test]
fn of_many_at_once_the_newest_is_left() {
    let storage = Storage::new();
    let mut all: Vec<Process> = (1..=12).map(|n| storage.run(n * 5 % 13, &["sleep", "1000"])).collect();
    until("one that is left", || {
        let left = all
            .iter_mut()
            .filter_map(|p| p.child.try_wait().expect("it is ours").is_none().then_some(()))
            .count();
        (left == 1 && holds(&storage.lock()) == "12").then_some(())
    });
    let files = fs::read_dir(storage.dir.path()).expect("it is there").count();
    assert_eq!(files, 1, "nothing but the lock is left");
}

#[test]
fn the_command_is_what_it_would_be_without_the_lock() {
    let storage = Storage::new();
    assert_eq!(storage.run(1, &["sh", "-c", "exit 7"]).end().0, Some(7));
    assert_eq!(storage.run(1, &["sh", "-c", "kill -KILL $$"]).end().0, Some(137));
    let mark = storage.dir.path().join("mark");
    let text = format!("trap 'exit 3' TERM; touch {}; while :; do sleep 0.01; done", mark.display());
    let mut told = storage.run(1, &["sh", "-c", &text]);
    until("a command that listens", || mark.exists().then_some(()));
    // SAFETY: plain call, to a child of ours.
    unsafe { libc::kill(told.child.id() as i32, libc::SIGTERM) };
    assert_eq!(told.end().0, Some(3));
    let (code, said) = storage.run(1, &["/no/such/program"]).end();
    assert_eq!((code, said.contains("cannot run /no/such/program")), (Some(1), true), "{said}");
}
