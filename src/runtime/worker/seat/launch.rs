//! What a generation runs: its main process, its hooks and probes, and what it hears from them.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::net::unix::pipe;
use woodward_engine::Exit;

use super::{Helper, Main, Seat, Step};
use crate::os::notify::Notice;
use crate::os::{Launch, ProcessEvent, Role, Scope, SpawnError};
use crate::record::{Stream, words};
use crate::runtime::health::Life;
use crate::runtime::worker::Said;
use crate::runtime::worker::commands::{self, Additions};
use crate::tree::{Check, Health, Probe, units};

impl Seat {
    pub(super) fn launch_main(self: &Arc<Seat>) {
        let plan = &self.child.plan;
        if let Some(error) = self.house.faults.at_launch(&self.child.path) {
            self.lock().main = Main::Refused(error);
            return;
        }
        if let Some(task) = self.house.tasks.get(&self.child.path) {
            return self.launch_task(task);
        }
        self.lock().starved = self.starved();
        let mut additions = self.own_names();
        let (mut descriptors, of_sockets) = match self.sockets() {
            Ok(sockets) => sockets,
            Err(error) => {
                self.lock().main = Main::Refused(error);
                return;
            }
        };
        additions.extend(of_sockets);
        additions.extend(self.house.groups.additions(&self.child.path));
        if let Some(server) = self.house.notify.as_ref().filter(|_| self.wants_notify()) {
            self.listen();
            additions.push(("NOTIFY_SOCKET", server.address().to_string_lossy().into_owned()));
        }
        if let Some(Check::Watchdog(time)) = plan.health.as_ref().map(|health| &health.check) {
            additions.push(("WATCHDOG_USEC", time.as_micros().to_string()));
        }
        if let Some(Probe::Fd(number)) = &plan.ready {
            match self.newline_pipe() {
                Ok(writer) => descriptors.push((*number, Arc::new(writer))),
                Err(source) => {
                    let step = format!("pipe for descriptor {number}");
                    self.lock().main = Main::Refused(SpawnError::Step { step, source });
                    return;
                }
            }
        }
        let again = self.child.again.as_ref().filter(|_| !self.first);
        self.lock().main = Main::Launched;
        self.house.os.launch(Launch {
            program: again.unwrap_or(&self.child.first).clone(),
            generation: self.generation.0,
            role: Role::Main,
            additions,
            output: self.child.stream.as_ref().and_then(Stream::writer),
            descriptors,
            kill: plan.stop.kill,
            sink: self.main_sink(),
        });
    }

    /// A pipe whose end for the child is open for both directions, so that the child is never killed by SIGPIPE when
    /// nobody reads.
    fn newline_pipe(&self) -> std::io::Result<OwnedFd> {
        let (writer, reader) = pipe::pipe()?;
        let writer = writer.into_blocking_fd()?;
        let both = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?;
        self.house.os.keep(&self.newline_name(), Arc::new(reader.as_fd().try_clone_to_owned()?));
        self.lock().newline = Some(reader);
        Ok(both.into())
    }

    /// The end of the former daemon's pipe.
    pub(super) fn kept_newline_pipe(&self) -> Option<pipe::Receiver> {
        let kept = self.house.os.kept(&self.newline_name())?;
        pipe::Receiver::from_owned_fd(OwnedFd::try_clone(&kept).ok()?).ok()
    }

    pub(super) fn newline_name(&self) -> String {
        format!("newline {}", self.child.path)
    }

    pub(super) fn main_sink(self: &Arc<Seat>) -> Box<dyn FnMut(ProcessEvent) + Send> {
        let seat = self.clone();
        Box::new(move |event| {
            if let ProcessEvent::Started { .. } = event {
                seat.house.faults.started(&seat.child.path, seat.generation.0);
            }
            seat.record(|log| {
                let before = std::mem::replace(&mut log.main, Main::NotYet);
                log.main = match (event, before) {
                    (ProcessEvent::Started { pid }, _) => Main::Running { pid },
                    (ProcessEvent::Failed(error), _) => Main::Refused(error),
                    (ProcessEvent::Exited(status), _) => Main::Exited(commands::exit(status)),
                    (ProcessEvent::Emptied, Main::Exited(exit)) => Main::Emptied(exit),
                    (ProcessEvent::Emptied, _) => Main::Emptied(Exit::Unknown),
                };
            });
        })
    }

    /// Runs a helper; its end is found in the log. Never a next step: it has to be waited for.
    pub(super) fn help(self: &Arc<Seat>, command: &[String], mut additions: Additions) -> Option<Step> {
        let number = {
            let mut log = self.lock();
            log.helpers += 1;
            log.helper = Helper::Running(log.helpers);
            log.helpers
        };
        additions.extend(self.own_names());
        let seat = self.clone();
        self.launch_helper(number, command, additions, move |event| {
            seat.record(|log| {
                if !matches!(log.helper, Helper::Running(current) if current == number) {
                    return;
                }
                match event {
                    ProcessEvent::Failed(error) => log.helper = Helper::Over(Err(error)),
                    ProcessEvent::Exited(status) => log.helper = Helper::Over(Ok(status)),
                    ProcessEvent::Started { .. } | ProcessEvent::Emptied => {}
                }
            });
        });
        None
    }

    /// Runs `command` as helper `number` of this generation.
    pub(in crate::runtime::worker) fn launch_helper(
        &self,
        number: u32,
        command: &[String],
        additions: Additions,
        sink: impl FnMut(ProcessEvent) + Send + 'static,
    ) {
        let mut additions = additions;
        additions.extend(self.house.groups.additions(&self.child.path));
        self.house.os.launch(Launch {
            program: commands::helper(&self.child.path, &self.child.plan, command),
            generation: self.generation.0,
            role: Role::Helper(number),
            additions,
            output: self.child.stream.as_ref().and_then(Stream::writer),
            descriptors: Vec::new(),
            kill: self.child.plan.stop.kill,
            sink: Box::new(sink),
        });
    }

    /// A number for a helper that is not one of the steps.
    pub(in crate::runtime::worker) fn next_helper(&self) -> u32 {
        let mut log = self.lock();
        log.helpers += 1;
        log.helpers
    }

    /// Kills one helper.
    pub(in crate::runtime::worker) fn kill_helper(&self, number: u32) {
        let (path, generation) = (&self.child.path, self.generation.0);
        self.house.os.signal(path, generation, Role::Helper(number), libc::SIGKILL, Scope::Main);
    }

    pub(super) fn wants_notify(&self) -> bool {
        let watchdog = |health: &Health| matches!(health.check, Check::Watchdog(_));
        self.is_ready_by_word() || self.child.plan.health.as_ref().is_some_and(watchdog)
    }

    pub(super) fn listen(self: &Arc<Seat>) {
        let Some(server) = &self.house.notify else { return };
        let seat = self.clone();
        server.listen(&self.child.path, self.generation.0, move |notice| match notice {
            Notice::Ready if seat.is_ready_by_word() => seat.holds(),
            Notice::Status(text) => seat.say(Said::Status(text)),
            Notice::Reloading => seat.say(Said::Status("reloading".to_owned())),
            Notice::Stopping => seat.say(Said::Status("stopping".to_owned())),
            Notice::Extend(time) => {
                seat.say(Said::Status(format!("asks for {} more", words::span(time))));
            }
            Notice::Alive => seat.say(Said::Life(Life::Alive)),
            Notice::Trigger => seat.say(Said::Life(Life::Trigger)),
            Notice::WatchdogEvery(time) => seat.say(Said::Life(Life::Every(time))),
            Notice::Ready | Notice::MainPid(_) => {}
        });
    }

    pub(super) fn starved(&self) -> u64 {
        let limited = self.child.plan.resources.memory_max.is_some();
        limited.then(|| self.house.os.killed_for_memory(&self.child.path)).flatten().unwrap_or(0)
    }

    /// Says so, if the kernel has killed something of it because its memory was used up.
    pub(super) fn look_for_starvation(&self, exit: Exit) {
        let (now, before) = (self.starved(), self.lock().starved);
        let Some(max) = self.child.plan.resources.memory_max.filter(|_| now > before) else { return };
        let max = units::show_size(max);
        self.say(Said::Cause(match exit {
            Exit::Signal(libc::SIGKILL) => {
                format!("killed by the kernel: out of memory, memory_max {max}")
            }
            _ => format!("after the kernel killed a process of it: out of memory, memory_max {max}"),
        }));
    }

    fn own_names(&self) -> Additions {
        vec![
            ("WOODWARD_PATH", self.child.path.to_string()),
            ("WOODWARD_GENERATION", self.generation.0.to_string()),
        ]
    }

    /// `MAINPID`, for a command of a service that runs.
    pub(in crate::runtime) fn main_pid(&self) -> Additions {
        self.pid().map(|pid| ("MAINPID", pid.to_string())).into_iter().collect()
    }
}
