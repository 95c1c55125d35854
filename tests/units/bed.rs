//! One boot of a real systemd with a shell in it and a directory that both see: here `path()`, there `/proof`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bed::{program, repository};

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(90);
/// Ends the answer of the shell.
const MARK: &str = "@end@";

/// A systemd with `woodward` in `/usr/bin` and the services' program in `/opt/proof`. Dropping it ends all.
pub struct Bed {
    name: String,
    dir: tempfile::TempDir,
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Bed {
    /// The release is that of this host, or of the tree of another one: `UNITS_ROOT`.
    pub fn up() -> Bed {
        Bed::seeing(&[])
    }

    /// The same, with further directories of this host at their places.
    pub fn seeing(directories: &[&Path]) -> Bed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("proof-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir =
            tempfile::Builder::new().prefix("proof").tempdir().expect("a temporary directory can be made");
        let tools = dir.path().join("tools");
        fs::create_dir(&tools).expect("a directory can be made");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-static", "-Os", "-o"])
            .arg(tools.join("worker"))
            .arg(repository("tests/units/worker.c"));
        assert!(compiler.status().expect("cc is there").success(), "the services' program does not build");
        let bind = |from: &Path, to: &str| format!("{}:{to}", from.display());
        let mut up = bed(&name, "up");
        if let Some(root) = std::env::var_os("UNITS_ROOT") {
            up.arg("-r").arg(root);
        }
        up.args(["-b", &bind(dir.path(), "/proof"), "-b", &bind(&tools, "/opt/proof")]);
        up.args(["-b", &bind(&program(), "/usr/bin/woodward")]);
        for directory in directories {
            up.args(["-b", &bind(directory, &directory.to_string_lossy())]);
        }
        assert!(up.status().expect("the bed can be started").success(), "no systemd");
        let mut shell = bed(&name, "exec");
        shell.args(["--raw", "--", "sh"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell can be started");
        let input = shell.stdin.take().expect("it was asked for");
        let lines = BufReader::new(shell.stdout.take().expect("it was asked for")).lines();
        let (sender, output) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut bed = Bed { name, dir, shell, input, output };
        bed.sh("exec 2>&1; export SYSTEMD_COLORS=0 SYSTEMD_PAGER=");
        bed
    }

    /// The directory, as it is called out here.
    pub fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Writes units, by name and text, to where the manager reads them.
    pub fn load(&mut self, units: &[(String, String)]) {
        self.write(units, "/etc/systemd/system");
        assert_eq!(self.sh("systemctl daemon-reload"), "", "systemd does not take the units");
    }

    /// Writes files, by name and text, to a directory of the inside.
    pub fn write(&mut self, files: &[(String, String)], to: &str) {
        let dir = self.path().join("files");
        fs::create_dir_all(&dir).expect("a directory can be made");
        for (name, text) in files {
            fs::write(dir.join(name), text).expect("a file can be written");
        }
        assert_eq!(self.sh(&format!("mkdir -p {to} && cp /proof/files/* {to}/")), "");
        fs::remove_dir_all(dir).expect("a directory can be removed");
    }

    /// Waits until a script succeeds.
    pub fn wait(&mut self, script: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.sh(&format!("if {script}; then echo; echo it-is-so; fi")).ends_with("it-is-so") {
            assert!(
                Instant::now() < end,
                "in vain: {script}\n{}",
                self.sh("systemctl status 't*'; journalctl -n 50")
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// What a script prints, errors too.
    pub fn sh(&mut self, script: &str) -> String {
        writeln!(self.input, "{script}\necho; echo {MARK}").expect("the shell listens");
        let mut said = String::new();
        loop {
            let line =
                self.output.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no end of: {script}\n{said}"));
            if line == MARK {
                return said.trim().to_owned();
            }
            said += &line;
            said.push('\n');
        }
    }
}

fn bed(name: &str, verb: &str) -> Command {
    let mut command = Command::new(repository("tests/systemd-bed/systemd-bed"));
    command.arg(verb).args(["-n", name]).env("SYSTEMD_BED_QUIET", "1");
    command
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.shell.kill().ok();
        self.shell.wait().ok();
        bed(&self.name, "down").arg("--now").status().ok();
    }
}
