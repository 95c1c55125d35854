//! One command, supervised as a small init does it: `woodward run -- COMMAND`. No daemon, no tree, no restart.
//!
//! ```text
//! Running ──the command ends──► Leaving: whoever is left got SIGTERM and has `grace`
//!                                  ├──nobody left──► end
//!                                  └──grace is over, or SIGINT──► Killing: SIGKILL to all ──nobody left──► end
//! ```
//!
//! It works as PID 1 and elsewhere, where it is the sub-reaper of what is below. Signals go on by this rule:
//!
//! * SIGTERM goes to every process there is.
//! * SIGTSTP, SIGTTIN, SIGTTOU and SIGCONT go to the command's process group, as a terminal's do; this process stops
//!   and continues along with it, so that a shell's job control works.
//! * Every other one, real-time signals too, goes to the command alone; with [`Reach::Group`] to its process group.
//! * With [`Reach::Process`] every signal goes to the command alone, and what it leaves behind is not told.
//!
//! A [rewrite](Command::rewrite) comes before the rule. The command has the signals of before (blocked, ignored), a
//! process group of its own, and the terminal, if this process had it. The time a command takes to end after SIGTERM
//! is not limited: that is the business of whoever sent it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::setup::say;
use crate::strays::{self, Strays};
use crate::{first, sys};

/// What `run -- COMMAND` is told.
pub struct Command {
    /// Program, searched in `PATH`, and arguments. Not empty.
    pub arguments: Vec<CString>,
    /// Signals that become others: from, to; 0: nothing.
    pub rewrite: Vec<(u8, u8)>,
    /// Exit codes of the command that are reported as 0.
    pub success: Vec<u8>,
    /// Whom signals reach.
    pub reach: Reach,
    /// Time between SIGTERM and SIGKILL for what the command leaves behind.
    pub grace: Duration,
    /// The signal this process shall get when its parent ends.
    pub parent_death: Option<u8>,
    /// Says on standard error who was reaped.
    pub verbose: bool,
}

/// Whom signals reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// SIGTERM every process, every other signal the command.
    Tree,
    /// SIGTERM every process, every other signal the command's process group.
    Group,
    /// The command and nobody else.
    Process,
}

/// What is left is given this time between SIGTERM and SIGKILL, unless something else is asked for.
pub const GRACE: Duration = Duration::from_secs(5);
/// After SIGKILL nobody is waited for longer, in nanoseconds: it hangs in the kernel.
const HOPELESS: u64 = 2_000_000_000;
/// Not everybody who is left is a child, and so makes a SIGCHLD: looked for this often, in nanoseconds.
const AGAIN: u64 = 20_000_000;
/// Exit codes of a shell: not found, found but not executable.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

enum State {
    Running,
    /// The command has ended with this code; until then the rest may end by itself.
    Leaving {
        code: u8,
        until: u64,
    },
    /// The rest got SIGKILL.
    Killing {
        code: u8,
        until: u64,
    },
}

struct Init {
    command: Command,
    pid: i32,
    state: State,
    strays: Strays,
    terminal: Terminal,
    /// When to kill again.
    again: u64,
    text: sys::Text,
}

/// Runs the command until it and everything below has ended. The exit code: the command's own, 128 + n if signal n
/// ended it, 127 if it is not found, 126 if it cannot be executed; 1 if no process can be made (told on standard
/// error). Call it with one thread.
pub fn supervise(command: Command) -> u8 {
    let ignored = first::ignored();
    let blocked = first::block();
    // SAFETY: plain calls; nothing else runs in this process.
    unsafe {
        let default = [0usize; 4];
        for signal in 1..=64usize {
            sys::raw(libc::SYS_rt_sigaction, [signal, default.as_ptr() as usize, 0, 8, 0]);
        }
        if libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 && std::process::id() != 1 {
            say("orphans cannot be reaped: this process is neither PID 1 nor may it be a sub-reaper");
        }
        if let Some(signal) = command.parent_death {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal), 0, 0, 0);
        }
    }
    let terminal = Terminal::find();
    let pid = match start(&command, &terminal, blocked, ignored) {
        Ok(pid) => pid,
        Err(e) => {
            eprintln!("cannot run {}: {e}", name(&command));
            return 1;
        }
    };
    // SAFETY: plain calls. The command has what was open here; nobody shall wait for this process to close it, nor
    // for a file system that it stands in.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        libc::chdir(c"/".as_ptr());
    }
    Init::new(command, pid, terminal).run()
}

/// Before an init ends with this code: whoever is left is told, given five seconds, then killed.
pub(crate) fn leave(code: u8) -> u8 {
    let command = Command {
        arguments: Vec::new(),
        rewrite: Vec::new(),
        success: Vec::new(),
        reach: Reach::Tree,
        grace: GRACE,
        parent_death: None,
        verbose: false,
    };
    let mut init = Init::new(command, 0, Terminal(None));
    init.ended(code);
    init.run()
}

fn name(command: &Command) -> String {
    command.arguments.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

impl Init {
    fn new(command: Command, pid: i32, terminal: Terminal) -> Init {
        let (state, strays, text) = (State::Running, Strays::default(), sys::Text::find());
        Init { command, pid, state, strays, terminal, again: 0, text }
    }

    fn run(mut self) -> u8 {
        loop {
            self.reap();
            let now = sys::now();
            let wake = match self.state {
                State::Running => None,
                State::Leaving { code, .. } | State::Killing { code, .. }
                    if self.command.reach == Reach::Process || !strays::any() =>
                {
                    return code;
                }
                State::Leaving { code, until } if now >= until => {
                    self.kill(code, now);
                    continue;
                }
                State::Killing { code, until } if now >= until => return code,
                // Again: somebody may have been forked meanwhile.
                State::Killing { .. } if now >= self.again => {
                    self.again = now + AGAIN;
                    strays::kill();
                    continue;
                }
                State::Leaving { until, .. } | State::Killing { until, .. } => Some(until.min(now + AGAIN)),
            };
            if wake.is_none() {
                // Perhaps for weeks.
                self.text.give_back();
            }
            if let Some(signal) = wait_for_signal(wake.map(|at| Duration::from_nanos(at - now))) {
                self.signalled(signal);
            }
        }
    }

    /// Waits for everybody who has ended.
    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: writes to `status`.
            let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::WUNTRACED) };
            if pid <= 0 {
                return;
            }
            let code = match status {
                _ if libc::WIFEXITED(status) => libc::WEXITSTATUS(status),
                _ if libc::WIFSIGNALED(status) => 128 + libc::WTERMSIG(status),
                _ if pid == self.pid => {
                    self.stopped(libc::WSTOPSIG(status));
                    continue;
                }
                _ => continue,
            };
            if pid == self.pid && matches!(self.state, State::Running) {
                self.ended(code as u8);
            } else if self.command.verbose {
                say(&format!("reaped orphan {pid}, exit code {code}"));
            }
        }
    }

    /// The command has ended: whoever is left is told, unless it was already, with the command.
    fn ended(&mut self, code: u8) {
        let code = if self.command.success.contains(&code) { 0 } else { code };
        self.terminal.take_back(self.pid);
        if self.command.verbose {
            say(&format!("{} has ended, exit code {code}", name(&self.command)));
        }
        if self.command.reach != Reach::Process {
            self.strays.tell_new(libc::SIGTERM);
        }
        self.state = State::Leaving { code, until: sys::now() + self.command.grace.as_nanos() as u64 };
    }

    fn kill(&mut self, code: u8, now: u64) {
        self.state = State::Killing { code, until: now + HOPELESS };
    }

    fn signalled(&mut self, signal: i32) {
        if signal == libc::SIGCHLD {
            return;
        }
        let rewritten = self.command.rewrite.iter().find(|(from, _)| i32::from(*from) == signal);
        let signal = rewritten.map_or(signal, |(_, to)| i32::from(*to));
        match self.state {
            State::Running => self.pass_on(signal),
            State::Leaving { code, .. } if signal == libc::SIGINT => self.kill(code, sys::now()),
            State::Leaving { .. } | State::Killing { .. } => {}
        }
    }

    fn pass_on(&mut self, signal: i32) {
        let only = self.command.reach == Reach::Process;
        let group = self.command.reach == Reach::Group;
        match signal {
            0 => {}
            libc::SIGTERM if !only => {
                if !self.strays.tell_all(signal) {
                    sys::kill(self.pid, signal, true);
                }
            }
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                sys::kill(self.pid, signal, !only);
                stop();
            }
            libc::SIGCONT => {
                self.terminal.hand_over(self.pid);
                sys::kill(self.pid, signal, !only);
            }
            _ => sys::kill(self.pid, signal, group),
        }
    }

    /// The command was stopped. If that came from the terminal it has, the shell that waits for this process wants
    /// the terminal back.
    fn stopped(&mut self, signal: i32) {
        let by_terminal = matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
        if by_terminal && self.terminal.take_back(self.pid) {
            stop();
        }
    }
}

/// Stops this process until somebody continues it. The kernel spares PID 1.
fn stop() {
    // SAFETY: plain call.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// The next signal; all are blocked.
#[inline(always)]
fn wait_for_signal(within: Option<Duration>) -> Option<i32> {
    let spec = within.map(|t| libc::timespec {
        tv_sec: t.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(t.subsec_nanos() as i32),
    });
    let spec_at = spec.as_ref().map_or(0, |spec| std::ptr::from_ref(spec) as usize);
    // SAFETY: reads `ALL` and the time; not through libc, which hides the signals of its threads.
    let signal =
        unsafe { sys::raw(libc::SYS_rt_sigtimedwait, [&raw const first::ALL as usize, 0, spec_at, 8, 0]) };
    (signal > 0).then_some(signal as i32)
}

/// Makes the process of the command.
fn start(command: &Command, terminal: &Terminal, blocked: u64, ignored: u64) -> io::Result<i32> {
    // SAFETY: there is one thread.
    let pid = sys::check(unsafe { libc::fork() })?;
    if pid != 0 {
        // Both do it, so that it is done whoever comes first.
        // SAFETY: plain call.
        unsafe { libc::setpgid(pid, pid) };
        terminal.hand_over(pid);
        return Ok(pid);
    }
    // SAFETY: this process's own signals and memory; the pointers live until the exec.
    unsafe {
        libc::setpgid(0, 0);
        terminal.hand_over(libc::getpid());
        for signal in (1..=64usize).filter(|s| ignored >> (s - 1) & 1 == 1) {
            let ignore = [libc::SIG_IGN, 0, 0, 0];
            sys::raw(libc::SYS_rt_sigaction, [signal, ignore.as_ptr() as usize, 0, 8, 0]);
        }
        first::set_mask(blocked);
        let mut argv: Vec<*const libc::c_char> = command.arguments.iter().map(|a| a.as_ptr()).collect();
        argv.push(std::ptr::null());
        libc::execvp(argv[0], argv.as_ptr());
        let (code, why) = not_executed(&command.arguments[0], &io::Error::last_os_error());
        eprintln!("cannot run {}: {why}", name(command));
        libc::_exit(code)
    }
}

/// Exit code and words.
fn not_executed(program: &CStr, error: &io::Error) -> (i32, String) {
    let searched = !program.to_bytes().contains(&b'/');
    match error.raw_os_error() {
        Some(libc::ENOENT) if searched => (NOT_FOUND, "not found in PATH".to_owned()),
        Some(libc::ENOENT) if std::path::Path::new(&*program.to_string_lossy()).exists() => {
            (NOT_FOUND, "its interpreter is not found".to_owned())
        }
        Some(libc::ENOENT | libc::ENOTDIR) => (NOT_FOUND, "not found".to_owned()),
        Some(libc::EACCES) => (NOT_EXECUTABLE, "not executable".to_owned()),
        _ => (NOT_EXECUTABLE, error.to_string()),
    }
}

/// The controlling terminal, if one of the standard descriptors is it.
struct Terminal(Option<RawFd>);

impl Terminal {
    fn find() -> Terminal {
        // SAFETY: plain call; it fails for everything but the controlling terminal.
        Terminal((0..=2).find(|fd| unsafe { libc::tcgetpgrp(*fd) } >= 0))
    }

    /// The group of `child` gets the foreground, if this process's has it.
    fn hand_over(&self, child: i32) {
        // SAFETY: plain calls; SIGTTOU is blocked.
        unsafe {
            if let Some(fd) = self.0
                && libc::tcgetpgrp(fd) == libc::getpgrp()
            {
                libc::tcsetpgrp(fd, child);
            }
        }
    }

    /// Back from the group of `child`; false: it did not have it.
    fn take_back(&self, child: i32) -> bool {
        // SAFETY: plain calls; SIGTTOU is blocked.
        unsafe {
            self.0.is_some_and(|fd| {
                libc::tcgetpgrp(fd) == child && { libc::tcsetpgrp(fd, libc::getpgrp()) == 0 }
            })
        }
    }
}
