//! Waits for a condition, as long as the main process lives and there is time.

use std::os::fd::RawFd;
use std::time::Duration;

use tokio::sync::Notify;

use crate::os::aside::{self, Manager, Process};
use crate::os::clock;
use crate::record::words::span;
use crate::runtime::readiness::{self, ATTEMPT, COMMAND, Mark, NotReady, until};
use crate::tree::Probe;

/// Two stamps of the same moment differ by so much: the kernel counts births in hundredths of a second, and stamps of
/// files in ticks.
const GRAIN: Duration = Duration::from_millis(20);

/// A condition, and whose.
pub(super) struct Asking {
    /// `None`: only `settle`.
    pub(super) probe: Option<Probe>,
    /// What was at the place of a file before the start; `None`: nobody looked.
    pub(super) before: Option<Mark>,
    pub(super) within: Option<Duration>,
    pub(super) settle: Duration,
    /// The main process of the unit; `None`: by hand, outside of a unit.
    pub(super) main: Option<Process>,
    pub(super) manager: Option<Manager>,
}

/// The main process of the unit that this is a command of; `None`: it is none. Fails when it has ended.
pub(super) fn main_process() -> Result<Option<Process>, String> {
    let number = std::env::var("MAINPID").ok().and_then(|text| text.parse::<i32>().ok());
    let own = std::process::id().to_string();
    match number {
        Some(pid) => Process::open(pid).map(Some).map_err(|_| gone(Some(pid))),
        // systemd names a main process as long as there is one.
        None if std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == own) => Err(gone(None)),
        None => Ok(None),
    }
}

fn gone(pid: Option<i32>) -> String {
    let pid = pid.map(|pid| format!(", pid {pid},")).unwrap_or_default();
    format!("not ready: the main process{pid} has ended")
}

impl Asking {
    /// Descriptors that it needs.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let main = self.main.as_ref().map(Process::descriptor);
        main.into_iter().chain(self.manager.as_ref().map(Manager::descriptor)).collect()
    }

    /// Tells systemd, if it listens. What it does not take is lost: nobody waits for it.
    pub(super) fn tell(&self, text: &str) {
        if let Some(manager) = &self.manager {
            let _ = manager.tell(text);
        }
    }

    /// Returns when systemd has understood what it was told; without an answer nothing is lost but the wait for it.
    pub(super) fn understood(&self) {
        if let Some(manager) = &self.manager {
            let _ = manager.understood();
        }
    }

    /// Returns when the main process has ended, if there is one.
    pub(super) async fn ended(&self) {
        match &self.main {
            Some(main) => main.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Returns when the condition has held for `settle`, or why it does not. `told` is notified when the process itself
    /// has said it, in its output or through its descriptor.
    pub(super) async fn until_ready(&self, told: Option<&Notify>) -> Result<(), String> {
        let age = self.main.as_ref().and_then(Process::age).unwrap_or_default();
        let left = self.within.map(|within| within.saturating_sub(age));
        let mut last = None;
        let over = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let holds = async {
            self.holds(told, |why| {
                self.tell(&format!("STATUS=not ready yet: {}", why.0));
                last = Some(why.0.clone());
            })
            .await;
            tokio::time::sleep(self.settle).await;
        };
        let outcome = tokio::select! {
            biased;
            () = self.ended() => Err::<(), String>(gone(self.main.as_ref().map(Process::pid))),
            () = holds => Ok(()),
            () = over => Err(format!("not ready within {}", span(self.within.unwrap_or_default()))),
        };
        match (outcome, last) {
            (Ok(()), Some(_)) => self.tell("STATUS="),
            (Ok(()), None) => {}
            (Err(why), Some(last)) => return Err(format!("{why}; last answer: {last}")),
            (Err(why), None) => return Err(why),
        }
        Ok(())
    }

    async fn holds(&self, told: Option<&Notify>, tell: impl FnMut(&NotReady)) {
        match (&self.probe, told) {
            (None | Some(Probe::Notify), _) => {}
            (Some(Probe::Log(_) | Probe::Fd(_)), Some(told)) => told.notified().await,
            (Some(Probe::Log(_) | Probe::Fd(_)), None) => std::future::pending().await,
            (Some(Probe::File { path, contains }), _) => {
                let born = self.main.as_ref().and_then(Process::age).map(|age| {
                    Duration::from_millis(clock::wall()).saturating_sub(age).saturating_sub(GRAIN)
                });
                let attempt = || async move {
                    match self.before {
                        Some(before) => readiness::file(path, before, contains.as_deref()).await,
                        None => {
                            readiness::file(path, Mark::NOTHING, contains.as_deref()).await?;
                            readiness::written_since(path, born.unwrap_or_default()).await
                        }
                    }
                };
                until(ATTEMPT, attempt, tell).await;
            }
            (Some(probe @ Probe::Exec(_)), _) => until(COMMAND, || ask(probe), tell).await,
            (Some(probe), _) => until(ATTEMPT, || ask(probe), tell).await,
        }
    }
}

/// Asks once.
pub(super) async fn ask(probe: &Probe) -> Result<(), NotReady> {
    match probe {
        Probe::Exec(command) => aside::run(command).await.map_err(NotReady),
        _ => match readiness::ask(probe).await {
            Some(answer) => answer,
            None => Err(NotReady("it cannot be asked".to_owned())),
        },
    }
}

/// Looks for a text in lines that come in pieces.
pub(super) struct Lines {
    finder: memchr::memmem::Finder<'static>,
    /// The end of the last piece, as far as a text that goes on in the next one can begin in it.
    rest: Vec<u8>,
    found: bool,
}

impl Lines {
    pub(super) fn containing(text: &str) -> Lines {
        let finder = memchr::memmem::Finder::new(text.as_bytes()).into_owned();
        Lines { finder, rest: Vec::new(), found: false }
    }

    /// Whether a line contains the text, now for the first time.
    pub(super) fn look(&mut self, piece: &[u8]) -> bool {
        if self.found {
            return false;
        }
        let carried = self.finder.needle().len().saturating_sub(1);
        let seam = piece.len().min(carried);
        self.rest.extend_from_slice(&piece[..seam]);
        self.found = self.finder.find(&self.rest).is_some() || self.finder.find(piece).is_some();
        self.rest.truncate(self.rest.len() - seam);
        let end = &piece[piece.len() - seam..];
        self.rest.extend_from_slice(end);
        let surplus = self.rest.len().saturating_sub(carried);
        self.rest.drain(..surplus);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, pieces: &[&str], expected: &[bool]) {
        let mut lines = Lines::containing(text);
        let found: Vec<bool> = pieces.iter().map(|piece| lines.look(piece.as_bytes())).collect();
        assert_eq!(found, expected, "{text:?} in {pieces:?}");
    }

    #[test]
    fn a_text_is_found_however_the_output_is_cut() {
        check("is ready", &["it is ready\n"], &[true]);
        check("is ready", &["it is rea", "dy\n", "is ready"], &[false, true, false]);
        check("abc", &["a", "b", "c"], &[false, false, true]);
        check("abc", &["a", "b", "x", "c", "xxabcx"], &[false, false, false, false, true]);
        check("abc", &["ab\n", "c"], &[false, false]);
        check("aab", &["aa", "ab"], &[false, true]);
        check("x", &["", "y", "x"], &[false, false, true]);
    }
}
