//! Processes: what counts as started, who is killed, what a command line really says.

use super::super::scene::Service;
use super::super::text::Assignment;
use super::super::values::{self, INFINITY};
use super::super::words::{self, Command, Dollar, Word};
use super::{Findings, Level, Pitfall};
use crate::tree::Severity;

const STOP_ZERO: Pitfall = Pitfall {
    name: "stop-timeout-zero",
    level: Level::Warning,
    means: "TimeoutStopSec=0 is no time limit at all: a process that ignores SIGTERM holds up every restart and the \
            shutdown of the host",
    remedy: "a time; for killing at once KillSignal=SIGKILL with SuccessExitStatus=SIGKILL and \
             RestartForceExitStatus=SIGKILL",
};
const STOP_INFINITY: Pitfall = Pitfall {
    name: "stop-timeout-infinity",
    level: Level::Note,
    means: "a stop without a time limit: a process that hangs holds up every restart that waits for it, and the \
            shutdown of the host",
    remedy: "a time after which the process may be killed",
};
const KILL_PROCESS: Pitfall = Pitfall {
    name: "kill-mode-process",
    level: Level::Note,
    means: "KillMode=process leaves the other processes of the unit running after a stop or crash: the next start \
            meets them, with their ports, locks and files",
    remedy: "KillMode=mixed, unless they are meant to stay",
};
const KILL_NONE: Pitfall = Pitfall {
    name: "kill-mode-none",
    level: Level::Warning,
    means: "KillMode=none kills nothing: after a stop or a failed start the processes run on, outside of systemd's \
            knowledge, and the next start meets them",
    remedy: "KillMode=mixed",
};
const FORKING_GUESS: Pitfall = Pitfall {
    name: "forking-without-pid-file",
    level: Level::Warning,
    means: "Type=forking without PIDFile=: the main process is guessed, and with several processes not known at \
            all; then its crash is not seen and not restarted",
    remedy: "run it in the foreground with Type=notify or exec, or PIDFile=",
};
const SHELL: Pitfall = Pitfall {
    name: "shell-in-front",
    level: Level::Warning,
    means: "the main process is a shell that waits for the program: READY=1 from the program is refused \
            (NotifyAccess=main), and with KillMode=mixed or process SIGTERM reaches the shell alone",
    remedy: "exec in front of the last command",
};
const SIMPLE: Pitfall = Pitfall {
    name: "simple-missing-binary",
    level: Level::Note,
    means: "with Type=simple a unit is started as soon as it is forked: those behind it start even if the program \
            does not exist or ends at once",
    remedy: "Type=exec; Type=notify when \"started\" shall mean that it works",
};
const WATCHDOG: Pitfall = Pitfall {
    name: "watchdog-without-notify",
    level: Level::Warning,
    means: "WatchdogSec= on a service that is neither of type notify nor dbus: if the program does not send WATCHDOG=1 it is \
            killed each time the interval has passed",
    remedy: "Type=notify for a program that speaks sd_notify, else no WatchdogSec=",
};
const VAR_RUN: Pitfall = Pitfall {
    name: "var-run",
    level: Level::Note,
    means: "a path below /var/run: systemd changes it to /run with a warning at each load",
    remedy: "write /run",
};
const BARE_PROGRAM: Pitfall = Pitfall {
    name: "program-not-in-path",
    level: Level::Warning,
    means: "a program without a slash is looked for in directories fixed when systemd was built; PATH= in \
            Environment= changes nothing",
    remedy: "an absolute path, ExecSearchPath=, or /usr/bin/env in front",
};
const DOLLAR_LOST: Pitfall = Pitfall {
    name: "dollar-lost",
    level: Level::Warning,
    means: "a word that begins with $ is one variable to its end: $HOME/bin is the variable \"HOME/bin\", which is \
            not set, and the whole word is left out",
    remedy: "${NAME} inside of words",
};
const DOLLAR_LITERAL: Pitfall = Pitfall {
    name: "dollar-literal",
    level: Level::Warning,
    means: "$NAME in the middle of a word stays as it is: only ${NAME} is filled in there; in Environment= nothing is",
    remedy: "${NAME}; in Environment= write the value itself",
};
const DOLLAR_TAKEN: Pitfall = Pitfall {
    name: "dollar-taken-from-shell",
    level: Level::Warning,
    means: "${NAME} in a shell script of ExecStart= is filled in by systemd before the shell runs, with nothing if \
            the unit does not set it",
    remedy: "$${NAME}",
};
const PERCENT: Pitfall = Pitfall {
    name: "percent",
    level: Level::Warning,
    means: "a % begins a specifier: date +%Y passes the directory of the unit file, and what is unknown stays only \
            until a release gives it a meaning",
    remedy: "%%",
};

pub const ALL: &[&Pitfall] = &[
    &STOP_ZERO,
    &STOP_INFINITY,
    &KILL_PROCESS,
    &KILL_NONE,
    &FORKING_GUESS,
    &SHELL,
    &SIMPLE,
    &WATCHDOG,
    &VAR_RUN,
    &BARE_PROGRAM,
    &DOLLAR_LOST,
    &DOLLAR_LITERAL,
    &DOLLAR_TAKEN,
    &PERCENT,
];

pub fn unit(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let loaded = &scene.units[at].loaded;
    for assignment in &loaded.assignments {
        if matches!(&*assignment.key, "PIDFile" | "ListenStream" | "ListenDatagram" | "ListenFIFO")
            && assignment.value.starts_with("/var/run/")
        {
            findings.value(&VAR_RUN, at, assignment, "/var/run is /run");
        }
    }
    let Some(service) = &scene.units[at].service else { return };
    stopping(findings, at, service);
    starting(findings, at, service);
    for key in EXECS {
        for (assignment, command) in loaded.commands("Service", key) {
            exec(findings, at, service, assignment, &command);
        }
    }
    for assignment in loaded.many("Service", "Environment") {
        for word in words::split(&assignment.value, words::Escapes::C).0 {
            let Ok((_, value)) = words::variable(&word) else { continue };
            if let Some(name) = variable(value) {
                let message = format!("${name} is not filled in here: the value has the dollar in it");
                findings.say(&DOLLAR_LITERAL, at, said(assignment, &word, message));
            }
        }
    }
}

/// Keys with command lines.
const EXECS: &[&str] = &[
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

fn stopping(findings: &mut Findings<'_>, at: usize, service: &Service) {
    let scene = findings.scene;
    let (loaded, own) = (&scene.units[at].loaded, scene.name(at));
    let timeout = loaded
        .assignments
        .iter()
        .rfind(|a| a.section == "Service" && matches!(&*a.key, "TimeoutStopSec" | "TimeoutSec"));
    let time = timeout.and_then(|a| values::span(&a.value));
    let runs = service.kind != "oneshot";
    match (timeout, time) {
        (Some(a), Some(time)) if time.is_zero() && runs => {
            findings.value(&STOP_ZERO, at, a, format!("0 is no limit: {own} may take for ever to stop"));
        }
        (Some(a), Some(time)) if time == INFINITY && runs => {
            findings.value(&STOP_INFINITY, at, a, format!("{own} may take for ever to stop"));
        }
        _ => {}
    }
    match &*loaded.text("Service", "KillMode", "control-group") {
        "process" if runs => {
            let message = format!("what {own} has started besides its main process runs on after its end");
            findings.key(&KILL_PROCESS, at, ("Service", "KillMode"), message);
        }
        "none" => {
            let message = format!("nothing of {own} is killed when it is stopped");
            findings.key(&KILL_NONE, at, ("Service", "KillMode"), message);
        }
        _ => {}
    }
}

fn starting(findings: &mut Findings<'_>, at: usize, service: &Service) {
    let scene = findings.scene;
    let (loaded, own) = (&scene.units[at].loaded, scene.name(at));
    let guesses = values::boolean(&loaded.text("Service", "GuessMainPID", "yes")) != Some(false);
    if service.kind == "forking" && loaded.last("Service", "PIDFile").is_none() && service.restart != "no" {
        let message = if guesses {
            format!("the main process of {own} is guessed; a wrong guess is a crash that nobody sees")
        } else {
            format!("{own} has no main process: it is restarted when the last of its processes is gone")
        };
        findings.key(&FORKING_GUESS, at, ("Service", "Type"), message);
    }
    let behind = (0..scene.units.len()).find(|other| {
        let needs = scene.said(*other, &["Requires", "Requisite", "BindsTo", "Wants"]);
        scene.is_after(*other, at)
            && scene.units[*other].service.is_some()
            && needs.into_iter().any(|e| e.to == Some(at))
    });
    if let Some(other) = behind.filter(|_| service.kind == "simple") {
        let message = format!("{} starts although the program of {own} may be missing", scene.name(other));
        findings.key(&SIMPLE, at, ("Service", "Type"), message);
    }
    let watchdog = loaded.last("Service", "WatchdogSec").and_then(|a| values::span(&a.value));
    if watchdog.is_some_and(|time| !time.is_zero() && time != INFINITY)
        && !service.kind.starts_with("notify")
        && service.kind != "dbus"
        && loaded.last("Service", "NotifyAccess").is_none()
    {
        let message = format!("{own} is killed each time this has passed without a WATCHDOG=1 from it");
        findings.key(&WATCHDOG, at, ("Service", "WatchdogSec"), message);
    }
}

fn exec(findings: &mut Findings<'_>, at: usize, service: &Service, a: &Assignment, command: &Command) {
    let loaded = &findings.unit(at).loaded;
    let words = loaded.words("Service", "Environment");
    let path = words.iter().any(|(_, word)| word.text.starts_with("PATH="));
    if !command.program.contains(['/', '%']) && path && loaded.last("Service", "ExecSearchPath").is_none() {
        let message = format!("{} is not looked for in the PATH of this unit", command.program);
        let said = a.at_value(Severity::Warning, command.range.start..command.range.start + 1, message);
        findings.say(&BARE_PROGRAM, at, said);
    }
    let script = script(command);
    if a.key == "ExecStart" && service.kind != "oneshot" && service.kind != "forking" {
        shell(findings, at, service, a, script);
    }
    for word in &command.argv {
        percent(findings, at, a, word, command);
        if command.expands() {
            dollars(findings, at, a, word, script.is_some_and(|script| script.range == word.range));
        }
    }
}

/// The script of `sh -c SCRIPT`.
fn script(command: &Command) -> Option<&Word> {
    let program = command.program.rsplit('/').next().unwrap_or_default();
    if !matches!(program, "sh" | "bash" | "dash" | "ksh" | "zsh") {
        return None;
    }
    let flag = command.argv.iter().skip(1).position(|w| w.text.starts_with('-') && w.text.ends_with('c'))?;
    command.argv.get(flag + 2)
}

/// A shell that stays in front of the program.
fn shell(findings: &mut Findings<'_>, at: usize, service: &Service, a: &Assignment, script: Option<&Word>) {
    let Some(script) = script else { return };
    let loaded = &findings.unit(at).loaded;
    let text = script.text.trim();
    let last = text.rsplit([';', '|', '&', '\n']).next().unwrap_or_default().trim();
    let several = text.contains([';', '|', '&', '\n']) || text.starts_with("trap ");
    if !several || last.starts_with("exec ") || last.is_empty() || !is_command(last) {
        return;
    }
    let access = loaded.text("Service", "NotifyAccess", "main");
    let mixed = matches!(&*loaded.text("Service", "KillMode", "control-group"), "mixed" | "process");
    let message = if service.kind.starts_with("notify") && access == "main" {
        "READY=1 from the program behind this shell is refused: the start fails when its time is over"
    } else if mixed {
        "SIGTERM reaches this shell alone, the program behind it is killed or left behind"
    } else {
        return;
    };
    findings.say(&SHELL, at, said(a, script, message.to_owned()));
}

/// The last piece of a script is a program that runs, not the end of a loop or a word of the shell.
fn is_command(piece: &str) -> bool {
    let first = piece.split_whitespace().next().unwrap_or_default();
    !matches!(first, "done" | "fi" | "esac" | "}" | ")" | "wait" | "true" | "false" | "exit" | ":" | "echo")
}

fn dollars(findings: &mut Findings<'_>, at: usize, a: &Assignment, word: &Word, script: bool) {
    let loaded = &findings.unit(at).loaded;
    if a.value.get(word.range.clone()).is_some_and(|written| written == "$") {
        return;
    }
    for (range, dollar) in words::dollars(&word.text) {
        match dollar {
            Dollar::Words(name) if !is_name(&name) => {
                let message = format!("no variable is called \"{name}\": the whole word is left out");
                findings.say(&DOLLAR_LOST, at, said(a, word, message));
            }
            Dollar::Literal if !script => {
                if let Some(name) = variable(&word.text[range.start..]) {
                    let message = format!("${name} in the middle of a word stays as it is");
                    findings.say(&DOLLAR_LITERAL, at, said(a, word, message));
                }
            }
            Dollar::Value(name) if script && sets(&word.text, &name) => {
                let set = loaded.words("Service", "Environment");
                let set = set.iter().any(|(_, w)| w.text.starts_with(&format!("{name}=")));
                if !set && loaded.last("Service", "EnvironmentFile").is_none() {
                    let message = format!("${{{name}}} is filled in before the shell runs, with nothing");
                    findings.say(&DOLLAR_TAKEN, at, said(a, word, message));
                }
            }
            _ => {}
        }
    }
}

/// A script gives this variable a value itself.
fn sets(script: &str, name: &str) -> bool {
    [format!("{name}="), format!("for {name} "), format!("read {name}")]
        .iter()
        .any(|text| script.contains(text))
}

/// The name behind a dollar in this text: `$NAME` or `${NAME}`.
fn variable(text: &str) -> Option<String> {
    let behind = &text[text.find('$')? + 1..];
    let name: String = behind
        .trim_start_matches('{')
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    is_name(&name).then_some(name)
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn percent(findings: &mut Findings<'_>, at: usize, a: &Assignment, word: &Word, command: &Command) {
    use super::super::specifiers::Percent;
    let loaded = &findings.unit(at).loaded;
    let (_, found) = loaded.name.expand(&word.text);
    let date = command.argv.iter().any(|w| w.text.contains("date")) && word.text.contains("+%");
    for (_, what) in found {
        let message = match what {
            Percent::Unknown(c) => format!("%{c} is no specifier: it stays as it is, for now"),
            Percent::Host(c) if date => format!("%{c} is filled in by systemd before the program runs"),
            _ => continue,
        };
        return findings.say(&PERCENT, at, said(a, word, message));
    }
}

fn said(a: &Assignment, word: &Word, message: String) -> crate::tree::Diagnostic {
    a.at_value(Severity::Warning, word.range.clone(), message)
}
