//! `woodward trial`, hidden: what a file has to do before it may take over, and the daemon's side of it.
//!
//! The trial runs with the arguments the daemon would get. It reads settings and trees as the daemon will, and the
//! keeper's table as the keeper will, and says in which language; it starts and changes nothing.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::daemon;
use super::report::{self, Code, Failure, end};
use crate::control::message::Problem;
use crate::os::{ExitStatus, Launch, Os, ProcessEvent, Program, Role, clock};
use crate::tree::{Identity, KillMode, Stdin};

/// A file that takes longer is refused.
const PATIENCE: Duration = Duration::from_secs(30);
/// What its process is called; no child can be called so.
const NAME: &str = "+upgrade";
/// Begins the line that a successful trial ends with.
const READY: &str = "woodward can take over:";

/// Says whether this file could take over.
pub fn run(args: daemon::Args) -> ExitCode {
    end(daemon::could_run(&args).and_then(|()| {
        let table = woodward_keeper::look(&args.run);
        let failed = |e| Failure::new(Code::Failed, format!("cannot take over: the keeper's table: {e}"));
        table.map_err(failed)?;
        report::print(&format!("{READY} {}\n", woodward_keeper::LANGUAGE));
        Ok(Code::Done)
    }))
}

/// Runs the trial of `file`: the open file if it may take over, else why not.
pub async fn of(file: &Path, os: &Os) -> Result<OwnedFd, Problem> {
    let cannot = |why: String| Problem::new(1, format!("cannot upgrade to {}: {why}", file.display()));
    let opened = File::open(file).map_err(|e| cannot(e.to_string()))?;
    let (reader, writer) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|e| cannot(e.to_string()))?;
    // Exactly the file that will be executed, whatever gets its name meanwhile.
    let program = format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
    let name = (program.clone(), file.display().to_string());
    let arguments = std::env::args().skip(2);
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let generation = clock::wall();
    os.launch(Launch {
        program: Arc::new(Program {
            path: NAME.into(),
            command: [program, "trial".to_owned()].into_iter().chain(arguments).collect(),
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
        output: Some(Arc::new(writer)),
        descriptors: Vec::new(),
        kill: KillMode::Group,
        sink: Box::new(move |event| {
            // Nobody listens any more when it was given up.
            let _ = sender.send(event);
        }),
    });
    let outcome = tokio::time::timeout(PATIENCE, async {
        let mut status = None;
        loop {
            match events.recv().await {
                Some(ProcessEvent::Failed(error)) => return Err(error.to_string()),
                Some(ProcessEvent::Exited(how)) => status = Some(how),
                Some(ProcessEvent::Emptied) | None => return Ok(status),
                Some(ProcessEvent::Started { .. }) => {}
            }
        }
    })
    .await;
    if outcome.is_err() {
        os.kill(NAME, generation);
    }
    os.forget(NAME);
    let mut output = vec![0; 64 << 10];
    let length = File::from(reader).read(&mut output).unwrap_or(0);
    let output = String::from_utf8_lossy(&output[..length]).trim().to_owned();
    let ready = format!("{READY} {}", woodward_keeper::LANGUAGE);
    let why = match outcome {
        Err(_) => format!("its trial run did not end within {} s", PATIENCE.as_secs()),
        Ok(Err(error)) => error.replace(&name.0, &name.1),
        Ok(Ok(Some(ExitStatus::Code(0)))) if output.lines().any(|line| line == ready) => {
            return Ok(opened.into());
        }
        Ok(Ok(Some(ExitStatus::Code(0)))) => {
            "it is no woodward that could take over from this one".to_owned()
        }
        Ok(Ok(_)) if !output.is_empty() => format!("its trial run failed: {output}"),
        Ok(Ok(status)) => format!("its trial run failed: {status:?}"),
    };
    Err(cannot(why).hint("nothing has changed"))
}
