//! woodward as an init: `run -- COMMAND`, and a tree as PID 1. What tini's and dumb-init's own suites ask for, and what
//! they do not. Namespaces are real, so these need root and util-linux.

#[path = "init/command.rs"]
mod command;
#[path = "init/container.rs"]
mod container;
#[path = "init/terminal.rs"]
mod terminal;
#[path = "init/tree.rs"]
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bed;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where an init runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// As PID 1 of a namespace of its own.
    Pid1,
    /// As any process.
    Process,
}

pub const BOTH: [As; 2] = [As::Pid1, As::Process];

/// woodward with something below it. Dropping it ends all.
pub struct Init {
    dir: tempfile::TempDir,
    how: As,
    /// `unshare`, or woodward itself.
    outer: Child,
}

/// Whoever runs the tests in the background ignores what a terminal sends, and a process inherits that.
fn minds_signals(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    let by_default = || {
        for signal in [libc::SIGINT, libc::SIGQUIT] {
            // SAFETY: sets no handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(by_default) }
}

impl Init {
    /// `woodward run OPTIONS -- sh -c SCRIPT`, in a directory of its own, which is `$D` of the script.
    pub fn script(how: As, options: &[&str], script: &str) -> Init {
        Init::run(how, &[&["run"], options, &["--", "sh", "-c", script]].concat())
    }

    /// `woodward ARGS`.
    pub fn run(how: As, args: &[&str]) -> Init {
        Init::run_in(how, directory(), args)
    }

    pub fn run_in(how: As, dir: tempfile::TempDir, args: &[&str]) -> Init {
        Init::shell(how, dir, "", args)
    }

    /// The shell does `before`, then becomes woodward.
    pub fn shell(how: As, dir: tempfile::TempDir, before: &str, args: &[&str]) -> Init {
        let mut command = match how {
            As::Pid1 => {
                let mut command = Command::new("unshare");
                command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh"]);
                command
            }
            As::Process => Command::new("sh"),
        };
        let file = |name: &str| fs::File::create(dir.path().join(name)).expect("a file can be made");
        command
            .args(["-c", &format!("{before}\nexec \"$0\" \"$@\"")])
            .arg(bed::program())
            .args(args)
            .env("D", dir.path())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("errors"));
        let outer = minds_signals(&mut command).spawn().expect("the program can be started");
        Init { dir, how, outer }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// woodward's number out here.
    pub fn pid(&self) -> i32 {
        let outer = self.outer.id() as i32;
        match self.how {
            As::Process => outer,
            As::Pid1 => until("unshare to fork", || children(outer).first().copied()),
        }
    }

    pub fn signal(&self, signal: i32) {
        send(self.pid(), signal);
    }

    /// What was written to standard output, or a file of the directory.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Waits until standard output or error has this word.
    pub fn says(&self, word: &str) {
        until_because(
            || format!("{word:?} in {:?}; errors: {:?}", self.read("out"), self.read("errors")),
            || (self.read("out") + &self.read("errors")).contains(word).then_some(()),
        );
    }

    /// Waits for the end; the exit code, 128 + n if signal n ended it.
    pub fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.outer.try_wait().expect("a child can be waited for") {
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            let said = (self.read("out"), self.read("errors"));
            assert!(Instant::now() < end, "it does not end: {said:?}");
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if self.outer.try_wait().is_ok_and(|status| status.is_none()) {
            for pid in family(self.outer.id() as i32) {
                send(pid, libc::SIGKILL);
            }
            send(self.outer.id() as i32, libc::SIGKILL);
            self.outer.wait().ok();
        }
    }
}

pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("woodward-init").tempdir().expect("a temporary directory can be made")
}

/// Sends any signal, real-time ones too.
pub fn send(pid: i32, signal: i32) {
    Command::new("kill")
        .args([&format!("-{signal}"), "--", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .ok();
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Everything below a process.
pub fn family(pid: i32) -> Vec<i32> {
    let below = children(pid);
    below.iter().flat_map(|child| family(*child)).chain(below.clone()).collect()
}

/// The state of a process, a letter.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}

pub fn until<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    until_because(|| what.to_owned(), found)
}

fn until_because<T>(what: impl Fn() -> String, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {}", what());
        sleep(Duration::from_millis(2));
    }
}
