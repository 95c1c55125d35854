//! What is executed: the command, what stands before and behind it, and what ends it.
//!
//! Most commands are one `ExecStart=` as they stand. Some need a word of shell in front, which replaces itself by the
//! command, so that it stays the main process:
//!
//! | for | the script |
//! |---|---|
//! | `stdin = "open"` | `exec <>PIPE`: opened for both directions, so it never ends |
//! | `command_on_restart` | `[ -e MARK ] && exec THE OTHER` |
//! | a log file in one of its own `directories` | `exec >>FILE 2>&1`: systemd opens files before the directory is made |
//! | a variable systemd's `Environment=` does not take (`a.b=1`) | `exec env -- a.b=1 COMMAND` |
//! | a program systemd does not take (`./run`, quotes in its name) | `exec COMMAND` |
//!
//! The mark of `command_on_restart` is made when a process has ended, in a directory that belongs to the anchor of the
//! root: it outlives restarts of every kind, stops by hand and restarts of supervisors above, and is gone when the tree
//! has been stopped.

use std::path::Path;

use woodward_engine::spec::Shutdown;

use super::Writer;
use super::streams::own_log;
use crate::tree::units::signal_name;
use crate::tree::{KillMode, Reload, Stdin};
use crate::units::{Deviation, Scope, escape, names, readiness};

/// Programs of our own scripts are found whatever `PATH` the child has.
const SCRIPT_PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// Where every system has it.
const SHELL: &str = "/bin/sh";

impl Writer<'_> {
    pub(super) fn command(&mut self) {
        let plan = self.plan;
        self.directories();
        if plan.stdin == Stdin::Open {
            self.pipe();
        }
        for hook in &plan.before_start {
            let line = self.line("", hook);
            self.set("ExecStartPre", line, "before_start", "Before the start; a failure is a failed start.");
        }
        if let Some((rest, key)) = self.script() {
            let script = [SHELL.to_owned(), "-c".to_owned(), rest];
            let line = self.main(&script);
            self.set("ExecStart", line, key, "A word of shell that replaces itself by the command.");
        } else {
            let line = self.main(&self.plain(&plan.command).unwrap_or_default());
            self.set("ExecStart", line, "command", "Program and arguments, word for word.");
        }
        for hook in &plan.after_ready {
            let line = self.line("", hook);
            self.set("ExecStartPost", line, "after_ready", "After readiness; a failure is a failed start.");
        }
        for hook in &plan.after_stop {
            let line = self.line("-", hook);
            self.set("ExecStopPost", line, "after_stop", "After the end; a failure is reported and no more.");
        }
        if plan.command_on_restart.is_some() {
            let script = format!("{SCRIPT_PATH}; : > {}", self.mark());
            let prefix = if self.options.scope == Scope::User { "-" } else { "-+" };
            let line = prefix.to_owned() + &self.literal(&[SHELL.to_owned(), "-c".to_owned(), script]);
            let rule = "It has been started in this run of the tree: the next start is a restart.";
            self.set("ExecStopPost", line, "command_on_restart", rule);
        }
        if let Some(reload) = &plan.reload {
            match reload {
                Reload::Signal(number) => {
                    let name = signal(*number);
                    let script =
                        format!("kill -s {} \"$MAINPID\"", name.strip_prefix("SIG").unwrap_or(&name));
                    let line = self.literal(&[SHELL.to_owned(), "-c".to_owned(), script]);
                    self.set("ExecReload", line, "reload.signal", "This signal to the main process.");
                }
                Reload::Command(command) => {
                    let line = self.line("", command);
                    self.set("ExecReload", line, "reload.command", "The service's own way to reload.");
                }
            }
        }
    }

    /// How it is ended.
    pub(super) fn stop(&mut self) {
        let (stop, shutdown) = (&self.plan.stop, self.child.shutdown);
        let brutal = shutdown == Shutdown::BrutalKill;
        if let Some(command) = stop.command.as_ref().filter(|_| !brutal) {
            let line = self.line("-", command);
            self.set("ExecStop", line, "stop.command", "Whoever is left when it returns gets the signal.");
            let text = "`stop.command`: it has the whole of `shutdown`, and so has the signal behind it";
            self.deviates(Deviation::TimePerCommand, text);
        }
        let (kill, rule) = match stop.kill {
            KillMode::Mixed => ("mixed", "The signal to the main process, SIGKILL to all that is left."),
            KillMode::Group => ("control-group", "The signal and SIGKILL to all its processes."),
            KillMode::Process => {
                ("process", "Signal and SIGKILL to the main process; others are left alone.")
            }
        };
        self.set("KillMode", kill, "stop.kill", rule);
        if stop.kill == KillMode::Group {
            let text = "`stop.kill = \"group\"`: after a crash too what is left has its time to stop";
            self.deviates(Deviation::LeftoversAsked, text);
        }
        if brutal {
            self.set("KillSignal", "SIGKILL", "shutdown", "OTP's brutal_kill: not asked, killed at once.");
        } else if stop.signal != 15 {
            self.set(
                "KillSignal",
                signal(stop.signal),
                "stop.signal",
                "The signal by which it is asked to stop.",
            );
        }
        let time = match shutdown {
            Shutdown::Time(time) => escape::time(time),
            Shutdown::Infinity => "infinity".to_owned(),
            Shutdown::BrutalKill => "5s".to_owned(),
        };
        self.set("TimeoutStopSec", time, "shutdown", "OTP's shutdown: asked, and killed after this time.");
        if stop.command.is_some() && !brutal {
            let rule = "A stop command that takes too long is not followed by a second time to stop.";
            self.set("TimeoutStopFailureMode", "kill", "shutdown", rule);
        }
    }

    /// The main process, behind a proxy where readiness needs one.
    fn main(&self, command: &[String]) -> String {
        self.literal(&readiness::wrap(self.plan, self.child, self.options, command))
    }

    /// A command as it is, or by a shell where systemd does not take its first word.
    fn line(&mut self, prefix: &str, command: &[String]) -> String {
        let odd = self.odd_variables();
        match self.plain(command) {
            Some(command) if odd.is_empty() => prefix.to_owned() + &self.literal(&command),
            _ => {
                let script = self.exec(command);
                prefix.to_owned() + &self.literal(&[SHELL.to_owned(), "-c".to_owned(), script])
            }
        }
    }

    fn literal(&self, command: &[String]) -> String {
        escape::command("", command)
    }

    /// The words of a command if systemd takes its first one, perhaps as a path from the root on.
    fn plain(&self, command: &[String]) -> Option<Vec<String>> {
        let program = command.first()?;
        if escape::is_program(program) {
            let path = !program.contains('/') && self.searches_by_env();
            let env = path.then(|| "/usr/bin/env".to_owned());
            return Some(env.into_iter().chain(command.iter().cloned()).collect());
        }
        None
    }

    /// The script for a main process that is more than its command, and the key that makes it one.
    fn script(&self) -> Option<(String, &'static str)> {
        let plan = self.plan;
        let mut steps = Vec::new();
        let mut key = "command";
        if plan.stdin == Stdin::Open {
            steps.push(format!("exec <>{}; unset RUNTIME_DIRECTORY", self.pipe_file()));
            key = "stdin";
        }
        if let Some(file) = own_log(plan) {
            steps.push(format!("exec >>{} 2>&1", escape::shell(&file.display().to_string())));
            key = "output.file";
        }
        if let Some(again) = &plan.command_on_restart {
            steps.push(format!("[ -e {} ] && {}", self.mark(), self.exec(again)));
            key = "command_on_restart";
        }
        if steps.is_empty() && self.odd_variables().is_empty() && self.plain(&plan.command).is_some() {
            return None;
        }
        steps.push(self.exec(&plan.command));
        Some((steps.join("; "), key))
    }

    /// A shell's way to become a command.
    fn exec(&self, command: &[String]) -> String {
        let odd = self.odd_variables();
        let program = command.first().map_or("", String::as_str);
        // Not every shell's exec knows `--`.
        if odd.is_empty() && !program.starts_with('-') {
            return format!("exec {}", escape::shell_words(command));
        }
        let variable = |(name, value): &(&str, &str)| escape::shell(&format!("{name}={value}")) + " ";
        let variables: String = odd.iter().map(variable).collect();
        // env would take a program with `=` in its name for a variable; nice takes it as it is.
        let behind = if program.contains('=') { "/usr/bin/nice -n 0 -- " } else { "" };
        format!("exec /usr/bin/env -- {variables}{behind}{}", escape::shell_words(command))
    }

    /// Directories, made before each start. `+`: as the manager, outside of the sandbox.
    fn directories(&mut self) {
        let plan = self.plan;
        if plan.directories.is_empty() {
            return;
        }
        let identity = &plan.identity;
        let owner = match (&identity.user, &identity.group) {
            _ if self.options.scope == Scope::User => None,
            (Some(user), Some(group)) => Some(format!("{user}:{group}")),
            (Some(user), None) => Some(format!("{user}:")),
            (None, Some(group)) => Some(format!(":{group}")),
            (None, None) => None,
        };
        let own =
            owner.map(|owner| format!(" && chown -- {} \"$d\"", escape::shell(&owner))).unwrap_or_default();
        let script = format!(
            "{SCRIPT_PATH}; umask 022; for d; do [ -d \"$d\" ] || {{ mkdir -p -- \"$d\"{own}; }} || exit; done"
        );
        let directories = plan.directories.iter().map(|directory| directory.display().to_string());
        let words = [SHELL, "-c", &script, "sh"].map(str::to_owned).into_iter().chain(directories);
        let prefix = if self.options.scope == Scope::User { "" } else { "+" };
        let line = prefix.to_owned() + &self.literal(&words.collect::<Vec<_>>());
        self.set(
            "ExecStartPre",
            line,
            "directories",
            "Made before each start if they are not there, owned by the user.",
        );
    }

    /// The pipe of `stdin = "open"`.
    fn pipe(&mut self) {
        let directory = escape::directory(&self.pipe_directory());
        self.set("RuntimeDirectory", directory, "stdin", "Holds the pipe that is its standard input.");
        let file = self.pipe_file();
        let script = format!("{SCRIPT_PATH}; [ -p {file} ] || mkfifo -m 600 {file}");
        let line = self.literal(&[SHELL.to_owned(), "-c".to_owned(), script]);
        self.set("ExecStartPre", line, "stdin", "A pipe that nobody writes to and that never ends.");
    }

    fn pipe_directory(&self) -> String {
        format!("woodward-units/{}.stdin", self.stem())
    }

    /// As a word of a script.
    fn pipe_file(&self) -> String {
        self.at_run_time(&format!("/{}/pipe", self.pipe_directory()))
    }

    /// As a word of a script: there if it has been started in this run of the tree.
    fn mark(&self) -> String {
        let tree = self.plan.path.split('/').next().unwrap_or_default();
        let root = names::stem(&self.options.prefix, tree).replace('\\', "+");
        self.at_run_time(&format!("/woodward-units/{root}/started-{}", self.stem()))
    }

    /// Where `RuntimeDirectory=` is.
    fn at_run_time(&self, file: &str) -> String {
        match self.options.scope {
            Scope::System => escape::shell(&format!("/run{file}")),
            Scope::User => format!("\"$XDG_RUNTIME_DIR\"{}", escape::shell(file)),
        }
    }
}

/// Whether a directory is made before each start.
pub(super) fn is_made(directories: &[std::path::PathBuf], path: &Path) -> bool {
    directories.iter().any(|made| path.starts_with(made) || made.starts_with(path))
}

/// In systemd's words.
fn signal(number: i32) -> String {
    let first = nix::libc::SIGRTMIN();
    if number >= first { format!("SIGRTMIN+{}", number - first) } else { signal_name(number) }
}
