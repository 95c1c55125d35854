//! From the readiness condition of a plan to the attempts that prove it.

use std::sync::Arc;

use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use woodward_engine::Exit;

use super::commands::{self, Additions};
use super::seat::Seat;
use crate::os::ProcessEvent;
use crate::record::words;
use crate::runtime::readiness::{self, ATTEMPT, COMMAND, Mark, NotReady, until};
use crate::tree::Probe;

/// Begins to look for readiness; the seat is told. `None`: nothing to be done but wait for the service's own word.
pub(super) fn seek(
    seat: &Arc<Seat>,
    probe: &Probe,
    before: Mark,
    newline: Option<pipe::Receiver>,
) -> Option<AbortHandle> {
    let (seat, probe) = (seat.clone(), probe.clone());
    if probe == Probe::Notify {
        return None;
    }
    let task = tokio::spawn(async move {
        let tell = |why: &NotReady| seat.holds_not(&why.0);
        match &probe {
            Probe::Notify => {}
            Probe::Fd(_) => match newline {
                Some(reader) => readiness::newline(reader).await,
                None => std::future::pending().await,
            },
            Probe::Log(text) => match &seat.child.stream {
                Some(stream) => stream.wait_for(seat.generation.0, text.clone()).await,
                None => std::future::pending().await,
            },
            Probe::File { path, contains } => {
                until(ATTEMPT, || readiness::file(path, before, contains.as_deref()), tell).await;
            }
            Probe::Exec(_) => until(COMMAND, || ask_once(&seat, &probe), tell).await,
            Probe::Tcp(_) | Probe::Unix(_) | Probe::Http { .. } | Probe::Corbaloc(_) => {
                until(ATTEMPT, || ask_once(&seat, &probe), tell).await;
            }
        }
        seat.holds();
    });
    Some(task.abort_handle())
}

/// Asks a probe that can be asked again.
pub(in crate::runtime) async fn ask_once(seat: &Arc<Seat>, probe: &Probe) -> Result<(), NotReady> {
    match probe {
        Probe::Exec(command) => run_once(seat, command, Vec::new()).await,
        _ => match readiness::ask(probe).await {
            Some(answer) => answer,
            None => Err(NotReady("it cannot be asked again".to_owned())),
        },
    }
}

/// One run of a command of the service; killed when nobody waits for it any more.
pub(in crate::runtime) async fn run_once(
    seat: &Arc<Seat>,
    command: &[String],
    additions: Additions,
) -> Result<(), NotReady> {
    let number = seat.next_helper();
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let name = command.first().map_or("", String::as_str);
    seat.launch_helper(number, command, additions, move |event| {
        let outcome = match event {
            ProcessEvent::Started { .. } | ProcessEvent::Emptied => return,
            ProcessEvent::Failed(error) => Err(error.to_string()),
            ProcessEvent::Exited(status) => Ok(commands::exit(status)),
        };
        if let Some(tell) = tell.take() {
            // Nobody waits when the attempt was given up.
            let _ = tell.send(outcome);
        }
    });
    let _running = Running { seat, number };
    match told.await {
        Ok(Ok(Exit::Code(0))) => Ok(()),
        Ok(Ok(exit)) => Err(NotReady(format!("{name}: {}", words::exit(exit)))),
        Ok(Err(error)) => Err(NotReady(error)),
        Err(_) => Err(NotReady(format!("{name}: nobody saw how it ended"))),
    }
}

/// A probe command; killed if nobody waits for its end any more, which is nothing to one that has ended.
struct Running<'a> {
    seat: &'a Arc<Seat>,
    number: u32,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.seat.kill_helper(self.number);
    }
}
