//! A running woodward in a directory of its own, with what a test needs to look at it. Every wait has a bound and says
//! what it waited for; nothing outlives the bed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

/// The environment variable that every process of a bed inherits; its value is the bed's directory.
const MARK: &str = "WOODWARD_BED";

/// The built program, or another build of it: `PROGRAM_UNDER_TEST`.
pub fn program() -> PathBuf {
    std::env::var_os("PROGRAM_UNDER_TEST")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_woodward")), PathBuf::from)
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// One `woodward run` and its directory. Dropping it ends everything that it started.
pub struct Bed {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
    settings: Option<PathBuf>,
}

impl Bed {
    /// An empty directory; nothing runs yet.
    pub fn new() -> Bed {
        let dir = tempfile::Builder::new()
            .prefix("woodward-bed")
            .tempdir()
            .expect("a temporary directory can be made");
        Bed { dir, daemon: None, settings: None }
    }

    /// Runs a tree file of this text and waits until it is up.
    pub fn up(tree: &str) -> Bed {
        let bed = Bed::started(tree);
        bed.wait_until_up();
        bed
    }

    /// Runs a tree file of this text; returns when the daemon answers.
    pub fn started(tree: &str) -> Bed {
        let mut bed = Bed::new();
        let file = bed.write("tree.toml", tree);
        bed.run(&[file.as_os_str()]);
        bed.wait("the daemon to answer", |bed| bed.client(&["status", "--json"]).status.success());
        bed
    }

    /// Runs a tree file of this text with one more variable in the environment and waits until it is up.
    pub fn up_with(tree: &str, name: &str, value: &str) -> Bed {
        let mut bed = Bed::new();
        let file = bed.write("tree.toml", tree);
        bed.run_with(&[file.as_os_str()], |command| command.env(name, value));
        bed.wait_until_up();
        bed
    }

    /// `woodward run ARGS` with socket and state in this directory; returns at once.
    pub fn run<A: AsRef<OsStr>>(&mut self, args: &[A]) {
        self.run_with(args, |command| command);
    }

    /// The same as this user and the group of that number.
    pub fn run_as<A: AsRef<OsStr>>(&mut self, user: u32, args: &[A]) {
        self.run_with(args, |command| command.uid(user).gid(user));
    }

    /// The same with the command changed before it is run.
    pub fn run_with<A: AsRef<OsStr>>(&mut self, args: &[A], change: impl Fn(&mut Command) -> &mut Command) {
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path().join("output"))
            .expect("a file of the bed can be made");
        let errors = output.try_clone().expect("a descriptor can be doubled");
        let mut command = self.command();
        command
            .arg("run")
            .args(args)
            .arg("--socket")
            .arg(self.socket())
            .arg("--state")
            .arg(self.path().join("state"));
        change(&mut command);
        self.daemon =
            Some(command.stdout(output).stderr(errors).spawn().expect("the program can be started"));
    }

    /// Writes the settings that hold in this bed; before, all are defaults.
    pub fn settings(&mut self, text: &str) {
        self.settings = Some(self.write("woodward.toml", text));
    }

    /// SIGKILL to the keeper, and `woodward run` forgotten: it can be run again.
    pub fn kill_keeper(&mut self) {
        kill(self.daemon(), libc::SIGKILL);
        self.wait_for_the_end();
    }

    /// The program with the environment of this bed.
    pub fn command(&self) -> Command {
        // Each comes from another login: what is taken over must not depend on it.
        static LOGINS: AtomicU32 = AtomicU32::new(0);
        let mut command = Command::new(program());
        command
            .env("SSH_TTY", format!("/dev/pts/{}", LOGINS.fetch_add(1, Ordering::Relaxed)))
            .env(MARK, self.path())
            .env("WOODWARD_SOCKET", self.socket())
            .env("WOODWARD_SETTINGS", self.settings.as_deref().unwrap_or(Path::new("/dev/null")))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("sock")
    }

    /// What the daemon and its services printed so far.
    pub fn output(&self) -> String {
        fs::read(self.path().join("output"))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Writes a file in the directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file of the bed can be written");
        path
    }

    /// A file of the directory, empty if it is not there.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    /// The one file of this name somewhere below the directory.
    pub fn find(&self, name: &str) -> PathBuf {
        let mut open = vec![self.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    _ if entry.file_name() == name => return entry.path(),
                    _ => {}
                }
            }
        }
        panic!("no {name} in {}", self.path().display())
    }

    /// The main process of this service is a `sleep` that ends when it is killed.
    pub fn last_sleeps(&self, path: &str) -> bool {
        self.row(path)["pid"].as_i64().is_some_and(|pid| command_line(pid as i32).starts_with("sleep 1000"))
    }

    /// One client command and how it ended.
    pub fn client(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("the program can be started")
    }

    /// What a client command prints; it must succeed.
    pub fn ask(&self, args: &[&str]) -> String {
        let out = self.client(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            out.status.success(),
            "woodward {args:?}: {}\n{}{}",
            out.status,
            text(&out.stdout),
            text(&out.stderr)
        );
        text(&out.stdout)
    }

    /// `status --json`: supervisors and workers in start order.
    pub fn status(&self) -> Vec<Value> {
        serde_json::from_str(&self.ask(&["status", "--json"])).expect("status --json is a JSON array")
    }

    /// One row of the status.
    pub fn row(&self, path: &str) -> Value {
        self.status()
            .into_iter()
            .find(|row| row["path"] == path)
            .unwrap_or_else(|| panic!("no {path} in the status"))
    }

    /// `up`, `parked`, …
    pub fn state(&self, path: &str) -> String {
        self.row(path)["state"].as_str().expect("a state is text").to_owned()
    }

    /// The main process of a worker that runs.
    pub fn pid(&self, path: &str) -> i32 {
        let row = self.row(path);
        row["pid"].as_i64().unwrap_or_else(|| panic!("{path} has no process: {row}")) as i32
    }

    /// How often a worker was started.
    pub fn generation(&self, path: &str) -> u64 {
        self.row(path)["generation"].as_u64().expect("a generation is a number")
    }

    /// The daemon's first process, the keeper.
    pub fn daemon(&self) -> i32 {
        self.daemon.as_ref().expect("the daemon was started").id() as i32
    }

    /// Waits until everything planned is up.
    pub fn wait_until_up(&self) {
        self.wait("everything to be up", |bed| bed.client(&["is-up"]).status.success());
    }

    /// Waits until `condition` holds; fails with what it waited for and what the daemon said.
    pub fn wait(&self, what: &str, condition: impl Fn(&Bed) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(self) {
            if Instant::now() > end {
                let status = self.client(&["status"]);
                panic!(
                    "waited in vain for {what}\n{}\n{}",
                    String::from_utf8_lossy(&status.stdout),
                    self.output()
                );
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the daemon's own end.
    pub fn wait_for_the_end(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon was started");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = daemon.try_wait().expect("our own child can be waited for") {
                return status;
            }
            if Instant::now() > end {
                self.daemon = Some(daemon);
                panic!("the daemon does not end\n{}", self.output());
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Ordered stop by SIGTERM: must exit 0 and leave nothing running.
    pub fn stop(mut self) {
        kill(self.daemon(), libc::SIGTERM);
        let status = self.wait_for_the_end();
        assert_eq!(status.code(), Some(0), "signal {:?}\n{}", status.signal(), self.output());
        assert_eq!(self.leftovers(), [] as [String; 0]);
    }

    /// Every process that was started in this bed and still runs: number and command line.
    pub fn leftovers(&self) -> Vec<String> {
        self.processes().into_iter().map(|pid| format!("{pid} {}", command_line(pid))).collect()
    }

    fn processes(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.path().display());
        let numbers = fs::read_dir("/proc")
            .expect("/proc is there")
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        numbers
            .filter(|pid: &i32| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|b| *b == 0).any(|entry| entry == mark.as_bytes())
            })
            .collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            kill(daemon.id() as i32, libc::SIGKILL);
            daemon.wait().ok();
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > end {
                break;
            }
            left.into_iter().for_each(|pid| kill(pid, libc::SIGKILL));
            sleep(Duration::from_millis(20));
        }
    }
}

/// Sends a signal; a process that is gone already is fine.
pub fn kill(pid: i32, signal: i32) {
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::try_from(signal).expect("a signal"),
    )
    .ok();
}

/// Whether a process lives; a zombie does not.
pub fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|state| state != "Z" && state != "X")
}

fn command_line(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}
