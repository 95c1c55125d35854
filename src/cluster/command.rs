//! A command that helps this node's part in the cluster: a fence agent, sendmail. The keeper starts it, in a control group of
//! its own that is emptied when it is over; it reads what it is given and nothing of it reaches a record by itself.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep_until, timeout};

use crate::os::{ExitStatus, Launch, Os, ProcessEvent, Program, Role, clock};
use crate::record::words;
use crate::tree::{Identity, KillMode, Stdin};

/// The end of what a command writes is kept, so many bytes.
const KEPT: usize = 4 << 10;
/// A pipe takes so much at once everywhere; a longer input is cut.
const INPUT: usize = 60 << 10;
/// What is left behind has so long to be gone after SIGKILL.
const GONE: Duration = Duration::from_secs(2);

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    /// The end of what it wrote, both outputs.
    pub output: String,
}

impl Ended {
    /// `exit 1: the last line it wrote`.
    pub(super) fn said(&self) -> String {
        let how = match self.status {
            ExitStatus::Code(code) => format!("exit {code}"),
            ExitStatus::Signal(number) => words::signal(number),
            ExitStatus::Unknown => "an end that nobody saw".to_owned(),
        };
        match self.output.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => {
                let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
                format!("{how}: {line}")
            }
            None => how,
        }
    }
}

/// Runs a command that reads `input`, and waits for its end `within`; then it is killed. `name` begins with `+`, which no
/// child does, and is one's own among those that run at a time. Else why there was no end.
pub(super) async fn run(
    os: &Os,
    name: &str,
    command: &[String],
    input: &[u8],
    within: Duration,
) -> Result<Ended, String> {
    let until = Instant::now() + within;
    let cannot = |error: &dyn std::fmt::Display| format!("cannot make a pipe: {error}");
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| cannot(&error))?;
    fcntl(&write, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| cannot(&error))?;
    let input = &input[..input.len().min(INPUT)];
    std::fs::File::from(write).write_all(input).map_err(|error| cannot(&error))?;
    let (reader, writer) = std::io::pipe().map_err(|error| cannot(&error))?;
    let mut output = pipe::Receiver::from_owned_fd(reader.into()).map_err(|error| cannot(&error))?;

    let (sender, mut events) = unbounded_channel();
    let generation = generation();
    // Descriptors from 3 on are what a launch has to give; the shell makes one its standard input and is gone.
    let script = ["/bin/sh", "-c", "exec \"$@\" <&3 3<&-", "sh"].map(str::to_owned);
    os.launch(Launch {
        program: Arc::new(Program {
            path: name.into(),
            command: script.into_iter().chain(command.iter().cloned()).collect(),
            environment: Arc::new(std::env::vars().collect()),
            identity: Identity::default(),
            working_directory: None,
            directories: Vec::new(),
            stdin: Stdin::Null,
            resources: Default::default(),
            sandbox: Default::default(),
            bound: Default::default(),
        }),
        generation,
        role: Role::Main,
        additions: Vec::new(),
        output: Some(Arc::new(OwnedFd::from(writer))),
        descriptors: vec![(3, Arc::new(read))],
        kill: KillMode::Group,
        sink: Box::new(move |event| {
            // Nobody listens any more when it was given up.
            let _ = sender.send(event);
        }),
    });
    let mut kept = Kept::default();
    let mut piece = [0; 4096];
    let mut open = true;
    let mut status = None;
    let end = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // What it writes must never hold it up.
            length = output.read(&mut piece), if open => {
                open = kept.take(&piece, length);
                continue;
            }
            () = sleep_until(until) => match status {
                Some(_) => break Ok(()),
                None => break Err("it did not end in time".to_owned()),
            },
        };
        match event {
            Some(ProcessEvent::Failed(error)) => {
                os.forget(name);
                return Err(error.to_string());
            }
            Some(ProcessEvent::Exited(how)) => {
                status = Some(how);
                // Its leftovers are nobody's.
                os.kill(name, generation);
            }
            Some(ProcessEvent::Emptied) | None => break Ok(()),
            Some(ProcessEvent::Started { .. }) => {}
        }
    };
    if end.is_err() {
        os.kill(name, generation);
        let gone = async { while !matches!(events.recv().await, Some(ProcessEvent::Emptied) | None) {} };
        // One that hangs in the kernel is left to the keeper.
        let _ = timeout(GONE, gone).await;
    }
    os.forget(name);
    while let Ok(length @ 1..) = output.try_read(&mut piece) {
        kept.take(&piece, Ok(length));
    }
    end?;
    Ok(Ended { status: status.unwrap_or(ExitStatus::Unknown), output: kept.text() })
}

/// Grows with each call, and over the daemons of this host: the keeper wants it so.
fn generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = clock::wall();
    LAST.fetch_max(now, Ordering::Relaxed);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The end of an output.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Kept {
    /// Takes what was read; whether more may come.
    fn take(&mut self, piece: &[u8], length: std::io::Result<usize>) -> bool {
        let length = length.unwrap_or(0);
        self.0.extend_from_slice(&piece[..length]);
        let excess = self.0.len().saturating_sub(KEPT);
        self.0.drain(..excess);
        length > 0
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}
