//! `run -- COMMAND` at a terminal, which `script` of util-linux gives.

use std::io::Write;

use super::*;

/// A terminal in which a shell has become a command.
struct Terminal {
    dir: tempfile::TempDir,
    script: Child,
}

impl Terminal {
    fn new(line: &str) -> Terminal {
        let dir = directory();
        let out = fs::File::create(dir.path().join("screen")).expect("a file can be made");
        let line = line.replace("WOODWARD", &bed::program().display().to_string());
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-f", "-c", &line, "/dev/null"]).current_dir(dir.path()).env("PS1", "$ ");
        command.stdin(Stdio::piped()).stdout(out).stderr(Stdio::null());
        Terminal { script: minds_signals(&mut command).spawn().expect("script is there"), dir }
    }

    fn types(&mut self, text: &str) {
        let keyboard = self.script.stdin.as_mut().expect("it is piped");
        keyboard.write_all(text.as_bytes()).expect("the terminal is there");
    }

    fn screen(&self) -> String {
        fs::read(self.dir.path().join("screen"))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    fn shows(&self, word: &str) {
        until_because(
            || format!("{word:?} on {:?}", self.screen()),
            || self.screen().contains(word).then_some(()),
        );
    }

    fn code(&mut self) -> Option<i32> {
        let ended =
            until("the command to end", || self.script.try_wait().expect("a child can be waited for"));
        ended.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        family(self.script.id() as i32).into_iter().for_each(|pid| send(pid, libc::SIGKILL));
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

/// As any process, as PID 1 in the terminal of another, as PID 1 with a terminal of its own.
const PLACES: [&str; 3] = [
    "exec WOODWARD run -- ",
    "exec unshare --pid --fork --mount-proc WOODWARD run -- ",
    "exec unshare --pid --fork --mount-proc setsid -c WOODWARD run -- ",
];

#[test]
fn an_exit_typed_in_the_terminal_ends_it_with_its_code() {
    for place in PLACES {
        let mut terminal = Terminal::new(&format!("{place} sh -c 'echo ready; exec sh'"));
        terminal.shows("ready");
        terminal.types("exit 7\n");
        assert_eq!(terminal.code(), Some(7), "{place}");
    }
}

#[test]
fn control_c_goes_to_the_command() {
    for place in PLACES {
        let mut terminal = Terminal::new(&format!("{place} sh -c 'echo ready; exec sleep 1000'"));
        terminal.shows("ready");
        terminal.types("\x03");
        assert_eq!(terminal.code(), Some(130), "{place}");
    }
}

#[test]
fn the_command_has_the_terminal_and_is_in_its_foreground() {
    for place in PLACES {
        let mut terminal = Terminal::new(&format!(
            "{place} python3 -S -c 'import os; t = os.open(\"/dev/tty\", 2); \
             print(os.tcgetpgrp(t) == os.getpgrp() == os.getpid())'"
        ));
        assert_eq!(terminal.code(), Some(0), "{place}: {}", terminal.screen());
        terminal.shows("True");
    }
}

#[test]
fn handing_the_terminal_over_sends_no_signal() {
    for place in PLACES {
        let mut terminal = Terminal::new(&format!(
            "{place} python3 -S -c 'import os, signal, time; got = []; \
             [signal.signal(n, lambda n, f: got.append(n)) for n in (1, 18)]; time.sleep(0.3); print(got, \"got\")'"
        ));
        assert_eq!(terminal.code(), Some(0));
        terminal.shows("[] got");
    }
}

#[test]
fn a_shell_can_suspend_and_resume_it() {
    let mut terminal = Terminal::new("exec bash --norc -i");
    let program = bed::program();
    terminal.types(&format!("{} run -- sh -c 'echo rea''dy; exec sleep 1000'\n", program.display()));
    terminal.shows("ready");
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("fg\n");
    terminal.shows("fg");
    // The command has the terminal again when it is what Ctrl-C ends.
    until("the command to go on", || {
        let all = family(terminal.script.id() as i32);
        all.iter().all(|pid| state(*pid) != Some('T')).then_some(())
    });
    terminal.types("\x03");
    terminal.types("echo code $?; exit\n");
    terminal.shows("code 130");
}

#[test]
fn in_the_background_it_leaves_the_terminal_alone() {
    let mut terminal = Terminal::new("exec bash --norc -i");
    let program = bed::program();
    terminal.types(&format!("{} run -- sh -c 'echo rea''dy; exec sleep 1000' &\n", program.display()));
    terminal.shows("ready");
    // The shell still reads what is typed.
    terminal.types("echo st''ill here; kill %1; wait %1; echo code $?; exit\n");
    terminal.shows("still here");
    terminal.shows("code 143");
}
