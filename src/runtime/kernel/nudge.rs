//! Signals and reloads: what is done to a running service without the engine. Each is a fact; a reload command is a
//! helper of the generation, and whoever asked waits for its end, nobody else.

use tokio::sync::oneshot;
use woodward_engine::view::State;

use super::super::worker::run_once;
use super::super::{Nudge, NudgeError, Who};
use super::Kernel;
use crate::os::{Role, Scope, clock};
use crate::record::fact::FactLine;
use crate::record::words;
use crate::tree::Reload;

impl Kernel {
    pub(super) fn nudge(
        &mut self,
        path: &str,
        nudge: Nudge,
        who: &Who,
        answer: oneshot::Sender<Result<(), NudgeError>>,
    ) {
        let done = self.try_to_nudge(path, nudge, who, answer);
        if let Err((error, answer)) = done {
            // Whoever asked may have gone away.
            let _ = answer.send(Err(error));
        }
    }

    fn try_to_nudge(
        &mut self,
        path: &str,
        nudge: Nudge,
        who: &Who,
        answer: oneshot::Sender<Result<(), NudgeError>>,
    ) -> Result<(), (NudgeError, oneshot::Sender<Result<(), NudgeError>>)> {
        let owned = || path.to_owned();
        let verb = if nudge == Nudge::Reload { "reload" } else { "signal" };
        let row = self.engine.find(path).and_then(|id| self.engine.row(id));
        let Some(row) = row.filter(|row| row.key.is_some()) else {
            return Err((NudgeError::NoWorker(owned()), answer));
        };
        let plan = row.key.and_then(|key| self.table.worker(key)).map(|entry| &entry.plan);
        let reload = plan.and_then(|plan| plan.reload.clone());
        if nudge == Nudge::Reload && reload.is_none() {
            return Err((NudgeError::NoReload(owned()), answer));
        }
        let runs = matches!(row.state, State::Up | State::Starting | State::Stopping);
        let live = self.live.get(&row.generation).filter(|live| runs && live.seat.is_launched());
        let Some(live) = live else { return Err((NudgeError::NotRunning { verb, path: owned() }, answer)) };
        let (seat, record) = (live.seat.clone(), self.record.clone());
        let by = if who.by.is_empty() { String::new() } else { format!(" by {}", who.by) };
        let (kind, generation) = (if verb == "reload" { "reloaded" } else { "signalled" }, row.generation.0);
        let fact = {
            let path = owned();
            let by_field = who.by.clone();
            move |text: String| {
                let fact = FactLine::note(clock::wall(), 0, &path, generation, kind, text);
                record.fact(fact.with("by", by_field));
            }
        };
        let number = match (nudge, reload) {
            (Nudge::Signal(number), _) | (Nudge::Reload, Some(Reload::Signal(number))) => number,
            (Nudge::Reload, Some(Reload::Command(command))) => {
                let path = owned();
                tokio::spawn(async move {
                    let done = run_once(&seat, &command, seat.main_pid()).await;
                    let result = match done {
                        Ok(()) => {
                            fact(format!("reloaded{by}"));
                            Ok(())
                        }
                        Err(why) => {
                            fact(format!("reload{by} failed: {}", why.0));
                            Err(NudgeError::Failed { path, why: why.0 })
                        }
                    };
                    // Whoever asked may have gone away.
                    let _ = answer.send(result);
                });
                return Ok(());
            }
            (Nudge::Reload, None) => return Err((NudgeError::NoReload(owned()), answer)),
        };
        self.house.os.signal(path, generation, Role::Main, number, Scope::Main);
        if let Some(live) = self.live.get_mut(&row.generation) {
            live.by_hand = Some(number);
        }
        let name = words::signal(number);
        fact(if verb == "reload" {
            format!("told to reload{by}: {name}")
        } else {
            format!("sent {name}{by}")
        });
        // Whoever asked may have gone away.
        let _ = answer.send(Ok(()));
        Ok(())
    }
}
