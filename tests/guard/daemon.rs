//! The daemon of the test.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use woodward::os::guard::{Guard, GuardEvent};
use woodward::os::{self, Launch, Os, ProcessEvent, Program, Role, Scope};
use woodward::tree::{Bound, Identity, KillMode, Stdin};
use woodward_engine::Time;
use woodward_engine::cluster::Term;

struct Daemon {
    dir: PathBuf,
    os: Os,
    guard: Guard,
    term: Term,
    hold: Option<Duration>,
    number: u64,
}

/// One line of the log.
fn log(dir: &Path, line: &str) {
    let mut file = File::options().create(true).append(true).open(dir.join("log")).expect("a file");
    file.write_all(format!("{line}\n").as_bytes()).expect("written");
}

pub fn run(dir: &Path) -> ExitCode {
    woodward_keeper::first::unblock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let os = Os::connect(os::channel().expect("a keeper"), dir).await.expect("connected");
        let guard = os.guard();
        let mut events = guard.events();
        let log_fired = dir.to_path_buf();
        guard.on_fired(move |term| log(&log_fired, &format!("on_fired {}", term.0)));
        let (mut daemon, found) =
            (Daemon { dir: dir.to_path_buf(), os, guard, term: Term(0), hold: None, number: 0 }, "found by");
        daemon.log(&format!("{found} {}: {:?}", std::process::id(), daemon.guard.found()));
        let root = daemon.os.tree_group("db").expect("control groups").directory().to_path_buf();
        daemon.log(&format!("root {}", root.parent().expect("a root").display()));
        if let (Some(held), Ok(hold)) = (daemon.guard.found(), fs::read_to_string(dir.join("beat"))) {
            let hold = Duration::from_millis(hold.parse().expect("a number"));
            (daemon.term, daemon.hold, daemon.number) = (held.term, Some(hold), held.armed);
            daemon.guard.resume(hold);
            daemon.arm();
        }
        daemon.log(&format!("ready {}", std::process::id()));
        daemon.serve(&mut events).await
    })
}

impl Daemon {
    fn log(&self, line: &str) {
        log(&self.dir, line);
    }

    fn arm(&mut self) {
        if let Some(hold) = self.hold {
            self.number += 1;
            let deadline = Time(os::clock::lasting().0 + hold.as_millis() as u64);
            self.guard.arm(self.term, self.number, deadline);
        }
    }

    async fn serve(&mut self, events: &mut UnboundedReceiver<GuardEvent>) -> ExitCode {
        let mut signals = self.os.signals();
        let mut answered = true;
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                Some(event) = events.recv() => match event {
                    GuardEvent::Armed { number, .. } => {
                        answered = number >= self.number;
                        self.log(&format!("armed by {} {number}", std::process::id()));
                    }
                    GuardEvent::Fired { term, .. } => {
                        self.hold = None;
                        self.log(&format!("fired {}", term.0));
                    }
                    GuardEvent::NoWatchdog(why) => self.log(&why),
                    GuardEvent::Unguarded => self.log("unguarded"),
                    GuardEvent::Began { term, .. } => self.log(&format!("began {}", term.0)),
                },
                signal = signals.recv() => if signal.is_none() {
                    let left = self.os.tree_group("db").is_some_and(|group| !group.is_empty());
                    self.log(&format!("no keeper: 75 {}", if left { "left" } else { "empty" }));
                    return ExitCode::from(75);
                },
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            if let Some(hold) = self.hold
                && answered
                && tokio::time::Instant::now() >= next
            {
                next = tokio::time::Instant::now() + hold / 10;
                answered = false;
                self.arm();
            }
            let orders = self.dir.join("orders");
            if let Ok(text) = fs::read_to_string(&orders) {
                for line in text.lines() {
                    self.obey(line).await;
                }
                fs::remove_file(&orders).expect("taken");
            }
        }
    }

    async fn obey(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words[n].parse::<u64>().expect("a number");
        match words[0] {
            "begin" => {
                self.term = Term(number(1));
                self.guard.begin(self.term, Duration::from_millis(number(2))).expect("a keeper");
            }
            "watchdog" => {
                let timeout = Duration::from_millis(number(2));
                self.guard.use_watchdog(Path::new(words[1]), timeout).expect("a device");
            }
            "unbind" => self.guard.unbind(words[1]).expect("empty"),
            "bind" => self.guard.bind(words[1], self.term, &[]).expect("bound"),
            "beat" => {
                fs::write(self.dir.join("beat"), words[2]).expect("a file");
                self.hold = Some(Duration::from_millis(number(2)));
                self.arm();
            }
            "launch" => self.launch(words[1], words[2], words[3..].join(" ")),
            "signal" => {
                let scope = if words[1] == "all" { Scope::All } else { Scope::Main };
                self.os.signal(words[3], 1, Role::Main, number(2) as i32, scope);
            }
            "kill" => self.os.kill(words[1], 1),
            "owns" => {
                let census = self.os.census().expect("control groups");
                let pids: Vec<i32> =
                    census.iter().filter(|m| *m.path == *words[1]).flat_map(|m| m.pids.clone()).collect();
                let owns = pids.iter().map(|&pid| self.os.owns(words[1], 1, pid).to_string());
                self.log(&format!("owns {} {}", words[1], owns.collect::<Vec<_>>().join(" ")));
            }
            "sweep" => {
                let swept = self.os.sweep_group(words[1], Duration::from_secs(20)).await;
                self.log(&format!("swept {} {swept:?}", words[1]));
            }
            other => panic!("what is {other}?"),
        }
    }

    fn launch(&self, how: &str, path: &str, script: String) {
        let mut program = Program {
            path: path.into(),
            command: ["/bin/sh".to_owned(), "-c".to_owned(), script].into(),
            environment: Arc::new(vec![("PATH".to_owned(), "/usr/sbin:/usr/bin:/bin".to_owned())]),
            identity: Identity::default(),
            working_directory: None,
            directories: Vec::new(),
            stdin: Stdin::Null,
            resources: Default::default(),
            sandbox: Default::default(),
            bound: match how {
                "free" => Bound::No,
                "isolated" => Bound::Namespace,
                _ => Bound::Keeper,
            },
        };
        if matches!(how, "user" | "staged") {
            program.identity.user = Some("65534".to_owned());
            program.sandbox.no_new_privileges = how == "staged";
        }
        let (dir, name) = (self.dir.clone(), path.to_owned());
        self.os.launch(Launch {
            program: Arc::new(program),
            generation: 1,
            role: Role::Main,
            additions: Vec::new(),
            output: None,
            descriptors: Vec::new(),
            kill: KillMode::Group,
            sink: Box::new(move |event| {
                let line = match event {
                    ProcessEvent::Started { pid } => format!("started {name} {pid}"),
                    ProcessEvent::Failed(error) => format!("failed {name} {error}"),
                    ProcessEvent::Exited(status) => format!("ended {name} {status:?}"),
                    ProcessEvent::Emptied => format!("emptied {name}"),
                };
                log(&dir, &line);
            }),
        });
    }
}
