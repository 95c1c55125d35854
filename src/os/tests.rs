//! The client with a keeper thread and real processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

/// A client with a keeper of its own, and the place where it is at home.
struct Bed {
    os: Os,
    _dir: tempfile::TempDir,
}

async fn bed() -> Bed {
    let dir = tempfile::tempdir().expect("a directory");
    let os = Os::connect(library().expect("a keeper"), dir.path()).await.expect("connected");
    Bed { os, _dir: dir }
}

fn program(path: &str, command: &[&str]) -> Program {
    Program {
        path: path.into(),
        command: command.iter().map(|&c| c.to_owned()).collect(),
        environment: Arc::new(vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        identity: Identity::default(),
        working_directory: None,
        directories: Vec::new(),
        stdin: Stdin::Null,
    }
}

struct Events(mpsc::UnboundedReceiver<ProcessEvent>);

impl Events {
    async fn next(&mut self) -> ProcessEvent {
        let next = tokio::time::timeout(Duration::from_secs(20), self.0.recv()).await;
        next.expect("an event in time").expect("a sink")
    }

    async fn started(&mut self) -> i32 {
        match self.next().await {
            ProcessEvent::Started { pid } => pid,
            other => panic!("not started: {other:?}"),
        }
    }

    async fn failed(&mut self) -> SpawnError {
        match self.next().await {
            ProcessEvent::Failed(error) => error,
            other => panic!("did not fail: {other:?}"),
        }
    }

    /// How a main process ended, when nothing is left.
    async fn emptied(&mut self) -> ExitStatus {
        let status = self.exited().await;
        assert!(matches!(self.next().await, ProcessEvent::Emptied));
        status
    }

    async fn exited(&mut self) -> ExitStatus {
        match self.next().await {
            ProcessEvent::Exited(status) => status,
            other => panic!("not exited: {other:?}"),
        }
    }
}

impl Bed {
    fn launch(&self, program: Program, generation: u64) -> Events {
        self.launch_as(program, generation, |_| {})
    }

    fn launch_as(&self, program: Program, generation: u64, change: impl FnOnce(&mut Launch)) -> Events {
        let (sink, events) = mpsc::unbounded_channel();
        let mut launch = Launch {
            program: Arc::new(program),
            generation,
            role: Role::Main,
            additions: Vec::new(),
            output: None,
            descriptors: Vec::new(),
            kill: KillMode::Mixed,
            sink: Box::new(move |event| {
                let _ = sink.send(event);
            }),
        };
        change(&mut launch);
        self.os.launch(launch);
        Events(events)
    }

    /// What a shell script prints.
    async fn output(&self, script: &str, change: impl FnOnce(&mut Launch)) -> String {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let mut events = self.launch_as(program("t/sh", &["sh", "-c", script]), 1, |launch| {
            launch.output = Some(Arc::new(writer));
            change(launch);
        });
        events.started().await;
        events.emptied().await;
        self.os.forget("t/sh");
        text(&reader)
    }
}

/// What is in a pipe.
fn text(reader: &OwnedFd) -> String {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe");
    let mut buffer = vec![0; 1 << 16];
    let n = nix::unistd::read(reader, &mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

#[tokio::test]
async fn an_end_is_told_with_its_status() {
    let bed = bed().await;
    for (generation, (script, status)) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 7", ExitStatus::Code(7)),
        ("kill -9 $$", ExitStatus::Signal(9)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut events = bed.launch(program("t/a", &["sh", "-c", script]), generation as u64 + 1);
        assert!(events.started().await > 0);
        assert_eq!(events.emptied().await, status);
    }
}
