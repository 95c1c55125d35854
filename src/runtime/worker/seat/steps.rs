//! From step to step: what is due now, and what comes next. See the picture in [`super::super`].

use std::sync::Arc;

use woodward_engine::{Exit, Reason};

use super::{Aim, Helper, Left, Main, Outcome, Proof, Seat, Step};
use crate::os::{ExitStatus, Role, Scope, SpawnError};
use crate::record::words;
use crate::runtime::worker::{Said, StartError, commands, probing};
use crate::tree::{KillMode, Probe};

impl Seat {
    /// Does what is due now.
    pub(in crate::runtime::worker) fn advance(self: &Arc<Seat>) {
        loop {
            let step = self.step();
            #[cfg(test)]
            if std::mem::take(&mut self.lock().panic_next) {
                panic!("a fault in a worker");
            }
            let next = match step {
                Step::Opening => Some(self.open()),
                Step::Listening => self.listening(),
                Step::Before(n) => self.before(n),
                Step::Launching => self.launching(),
                Step::Proving | Step::Greeting(_) | Step::Serving | Step::Commanding | Step::Signalled => {
                    self.living(step)
                }
                Step::Clearing => self.clearing(),
                Step::After(n) => self.after(n),
                Step::Sweeping => self.sweep().then_some(Step::Closing),
                Step::Closing if self.rests() => Some(Step::Listening),
                Step::Closing => Some(self.close()),
                Step::Over => None,
            };
            match next {
                Some(next) => self.lock().step = next,
                None => return,
            }
        }
    }

    /// What was written so far was the last generation's.
    pub(super) fn open(&self) -> Step {
        if let Some(stream) = &self.child.stream {
            stream.begin(self.generation.0, self.incident.0);
        }
        if self.child.plan.lazy { Step::Listening } else { Step::Before(0) }
    }

    fn before(self: &Arc<Seat>, n: usize) -> Option<Step> {
        let (aim, helper) = self.aim_and_helper();
        if aim != Aim::Run {
            return Some(self.ends(Outcome::Ended(Exit::Code(0))));
        }
        let hook = self.child.plan.before_start.get(n);
        match (helper, hook) {
            (Helper::Idle, None) => {
                self.launch_main();
                Some(Step::Launching)
            }
            (Helper::Idle, Some(command)) => self.help(command, Vec::new()),
            (Helper::Running(_), _) => None,
            (Helper::Over(end), hook) => match verdict("before_start", hook, end) {
                Ok(()) => Some(Step::Before(n + 1)),
                Err(why) => Some(self.ends(Outcome::Failed(why))),
            },
        }
    }

    fn launching(&self) -> Option<Step> {
        let refused = match &self.lock().main {
            Main::NotYet | Main::Launched => return None,
            Main::Refused(error) => Some(StartError::from(error)),
            Main::Running { .. } | Main::Task(_) | Main::Exited(_) | Main::Emptied(_) => None,
        };
        match refused {
            Some(why) => Some(self.ends(Outcome::Failed(why))),
            None if self.child.plan.lazy => {
                self.say(Said::Status(String::new()));
                Some(Step::Serving)
            }
            None => {
                self.say(Said::Started);
                Some(Step::Proving)
            }
        }
    }

    /// The main process has been executed and has not ended, as far as the current step knows.
    fn living(self: &Arc<Seat>, step: Step) -> Option<Step> {
        if let Some(exit) = self.ended().filter(|_| step != Step::Commanding) {
            self.look_for_starvation(exit);
            return Some(self.ends(Outcome::Ended(exit)));
        }
        if self.lock().aim > Aim::Run && !matches!(step, Step::Commanding | Step::Signalled) {
            return Some(self.stop());
        }
        match step {
            Step::Proving => self.prove(),
            Step::Greeting(n) => self.greet(n),
            Step::Commanding => {
                let aim = self.lock().aim;
                match self.take_helper() {
                    Helper::Running(_) if aim < Aim::Kill => None,
                    Helper::Over(end) => {
                        if let Err(why) = verdict("stop command", self.plan().stop.command.as_ref(), end) {
                            self.say(Said::Note("hook_failed", why.text));
                        }
                        Some(self.signal())
                    }
                    _ => Some(self.signal()),
                }
            }
            _ => None,
        }
    }

    fn prove(self: &Arc<Seat>) -> Option<Step> {
        let plan = &self.child.plan;
        let Some(probe) = plan.ready.as_ref().filter(|_| !plan.oneshot) else {
            return Some(if plan.oneshot { Step::Serving } else { Step::Greeting(0) });
        };
        let mut log = self.lock();
        match log.proof {
            Proof::Holds => Some(Step::Greeting(0)),
            Proof::Sought(_) => None,
            Proof::Wanted => {
                let (mark, newline) = (log.mark, log.newline.take());
                log.proof = Proof::Sought(probing::seek(self, probe, mark, newline));
                None
            }
        }
    }

    fn greet(self: &Arc<Seat>, n: usize) -> Option<Step> {
        let plan = &self.child.plan;
        let hook = plan.after_ready.get(n);
        match (self.take_helper(), hook) {
            (Helper::Idle, None) => {
                if plan.ready.is_some() || !plan.after_ready.is_empty() {
                    self.say(Said::Ready);
                }
                Some(Step::Serving)
            }
            (Helper::Idle, Some(command)) => self.help(command, self.main_pid()),
            (Helper::Running(_), _) => None,
            (Helper::Over(end), hook) => match verdict("after_ready", hook, end) {
                Ok(()) => Some(Step::Greeting(n + 1)),
                Err(why) => {
                    // The start has failed: no time to stop is due to what was never ready.
                    self.house.os.kill(&self.child.path, self.generation.0);
                    Some(self.ends(Outcome::Failed(why)))
                }
            },
        }
    }

    fn stop(self: &Arc<Seat>) -> Step {
        self.seek_no_more();
        let aim = self.lock().aim;
        let plan = self.plan();
        match &plan.stop.command {
            Some(command) if aim == Aim::Stop => {
                self.lock().helper = Helper::Idle;
                self.house.os.command(&self.child.path, self.generation.0);
                self.help(command, self.main_pid());
                Step::Commanding
            }
            _ => self.signal(),
        }
    }

    pub(super) fn signal(&self) -> Step {
        if let Main::Task(reins) = &self.lock().main {
            reins.ask();
            return Step::Signalled;
        }
        let plan = self.plan();
        let stop = &plan.stop;
        let scope = match stop.kill {
            KillMode::Group => Scope::All,
            KillMode::Mixed | KillMode::Process => Scope::Main,
        };
        let (os, path, generation) = (&self.house.os, &self.child.path, self.generation.0);
        match self.lock().aim {
            // The kill may have come before there was anything to kill.
            Aim::Kill => os.kill(path, generation),
            Aim::Run | Aim::Stop => os.signal(path, generation, Role::Main, stop.signal, scope),
        }
        os.command_over(path, generation);
        Step::Signalled
    }

    /// The outcome is settled, what is left of it must go.
    pub(in crate::runtime::worker) fn ends(&self, outcome: Outcome) -> Step {
        self.seek_no_more();
        self.lock().outcome.get_or_insert(outcome);
        Step::Clearing
    }

    fn clearing(self: &Arc<Seat>) -> Option<Step> {
        let gone = match self.lock().main {
            Main::Emptied(_) => true,
            Main::Launched | Main::Running { .. } | Main::Task(_) | Main::Exited(_) => return None,
            Main::NotYet | Main::Refused(_) => self.child.plan.before_start.is_empty(),
        };
        if !gone && !self.sweep() {
            return None;
        }
        let mut log = self.lock();
        log.helper = Helper::Idle;
        log.left = Left::Unknown;
        if log.aim == Aim::Kill {
            // That was for the process. The hooks have until the kill is repeated.
            log.killed = true;
            log.aim = Aim::Stop;
        }
        let hooks = !self.plan().after_stop.is_empty();
        if let (Aim::Run, true, Some(time)) = (log.aim, hooks, self.child.shutdown) {
            let seat = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                if let Some(seat) = seat.upgrade() {
                    seat.record(|log| {
                        if matches!(log.step, Step::After(_)) {
                            log.aim = Aim::Kill;
                        }
                    });
                }
            });
        }
        Some(if hooks { Step::After(0) } else { Step::Closing })
    }

    fn after(self: &Arc<Seat>, n: usize) -> Option<Step> {
        let plan = self.plan();
        let hook = plan.after_stop.get(n);
        let (aim, helper) = self.aim_and_helper();
        match (helper, hook) {
            (_, None) => Some(Step::Sweeping),
            (Helper::Running(_), Some(command)) if aim == Aim::Kill => {
                self.say(Said::Note(
                    "hook_failed",
                    format!("after_stop {}: killed, it took too long", command[0]),
                ));
                Some(Step::Sweeping)
            }
            (Helper::Running(_), _) => None,
            (Helper::Idle, Some(command)) => {
                let log = self.lock();
                let additions = log.outcome.as_ref().map(|end| {
                    let asked = aim > Aim::Run;
                    commands::result(&self.child.plan, end, asked, log.killed)
                });
                drop(log);
                let additions = additions.unwrap_or_default();
                self.help(command, additions)
            }
            (Helper::Over(end), hook) => {
                if let Err(why) = verdict("after_stop", hook, end) {
                    self.say(Said::Note("hook_failed", why.text));
                }
                Some(Step::After(n + 1))
            }
        }
    }

    /// Kills what hooks left behind; whether nothing is left.
    fn sweep(self: &Arc<Seat>) -> bool {
        let mut log = self.lock();
        match log.left {
            Left::Nothing => return true,
            Left::BeingKilled => return false,
            Left::Unknown => log.left = Left::BeingKilled,
        }
        drop(log);
        let seat = self.clone();
        let done = Box::new(move || seat.record(|log| log.left = Left::Nothing));
        self.house.os.clear(&self.child.path, self.generation.0, done);
        false
    }

    fn close(&self) -> Step {
        if let Some(stream) = &self.child.stream {
            stream.end();
        }
        if let (true, Some(server)) = (self.wants_notify(), &self.house.notify) {
            server.mute(&self.child.path);
        }
        if let Some(Probe::Fd(_)) = self.child.plan.ready {
            self.house.os.drop_kept(&self.newline_name());
        }
        let (outcome, told) = {
            let mut log = self.lock();
            (log.outcome.take(), log.lazy.told)
        };
        self.say(match outcome {
            // A lazy service is ready before its process is: a start that fails is an end.
            Some(Outcome::Failed(why)) if told => {
                self.say(Said::Cause(why.text));
                Said::Ended(Exit::Reason(Reason::FailedStart))
            }
            Some(Outcome::Failed(why)) => Said::Failed(why),
            Some(Outcome::Ended(exit)) => Said::Ended(exit),
            None => Said::Ended(Exit::Unknown),
        });
        Step::Over
    }

    fn seek_no_more(&self) {
        if let Proof::Sought(Some(task)) = &self.lock().proof {
            task.abort();
        }
    }

    fn ended(&self) -> Option<Exit> {
        match self.lock().main {
            Main::Exited(exit) | Main::Emptied(exit) => Some(exit),
            _ => None,
        }
    }

    fn aim_and_helper(&self) -> (Aim, Helper) {
        let aim = self.lock().aim;
        (aim, self.take_helper())
    }

    /// The helper; what is over is taken note of once.
    fn take_helper(&self) -> Helper {
        let mut log = self.lock();
        match log.helper {
            Helper::Idle => Helper::Idle,
            Helper::Running(number) => Helper::Running(number),
            Helper::Over(_) => std::mem::replace(&mut log.helper, Helper::Idle),
        }
    }
}

/// Whether a hook succeeded; if not, one clause: `before_start mkfifo: exit 1`.
fn verdict(
    which: &str,
    hook: Option<&Vec<String>>,
    end: Result<ExitStatus, SpawnError>,
) -> Result<(), StartError> {
    let name = hook.and_then(|command| command.first()).map_or("", String::as_str);
    match end {
        Ok(ExitStatus::Code(0)) => Ok(()),
        Ok(status) => Err(format!("{which} {name}: {}", words::exit(commands::exit(status))).into()),
        Err(error) => {
            let StartError { text, short } = StartError::from(&error);
            Err(StartError { text: format!("{which} {text}"), short: format!("{which} {short}") })
        }
    }
}
