//! Where lines and facts go besides memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tracing::Dispatch;

use super::console::{self, Console, Out};
use super::device::Device;
use super::fact::FactLine;
use super::files::{self, Files, LogFile};
use super::journal::{self, Journal};
use super::logger::Logger;
use super::own::{Own, To};
use super::recent::Earlier;
use super::stream::{Batch, Sink};
use super::{Back, Places, history, lock, mounts};
use crate::settings;
use crate::tree::Output;

/// The devices of this daemon.
#[derive(Debug)]
pub(super) struct Sinks {
    journal: Option<Arc<Device<journal::Job>>>,
    console: Arc<Device<console::Job>>,
    /// It may be written to without being asked for.
    ours: bool,
    /// Somebody looks at it: it gets the lines and facts that the journal gets.
    terminal: bool,
    /// The history's.
    history: Option<Device<files::Job>>,
    /// Those of log files, by the places where their file systems are mounted.
    files: Mutex<BTreeMap<PathBuf, Arc<Device<files::Job>>>>,
    bound: usize,
    logger: Weak<Logger>,
    back: Back,
    /// Own records that the journal's queue did not take.
    unsent: Arc<AtomicU64>,
    /// Takes woodward's own diagnostics.
    own: Dispatch,
}

impl Sinks {
    /// Starts the devices there are.
    pub(super) fn start(places: &Places, logger: &Arc<Logger>, back: &Back) -> io::Result<Sinks> {
        let room = || room(Arc::downgrade(logger));
        let settings = &places.settings;
        let bound = settings.memory_queue.bytes();
        let unsent = Arc::new(AtomicU64::new(0));
        let wanted = match settings.journal {
            settings::Journal::Auto => places.journal.exists(),
            settings::Journal::On => true,
            settings::Journal::Off => false,
        };
        let journal = match wanted {
            true => Some(Journal::open(&places.journal, unsent.clone(), back.clone())?),
            false => None,
        };
        let journal = journal.map(|journal| Device::start("journal", bound, journal, room())).transpose()?;
        let journal = journal.map(Arc::new);
        let history = places.history.as_deref().map(|history| history::open(history, settings));
        let history = history.map(|history| Files::new(Some(history), back.clone()));
        let history = history.map(|files| Device::start("history", bound, files, room())).transpose()?;
        let console = Console::new(settings.format);
        let ours = places.console;
        let terminal = ours && console.is_terminal();
        let console = Arc::new(Device::start("console", bound, console, room())?);
        let looked_at = Some(console.clone()).filter(|_| terminal || (ours && journal.is_none()));
        let to = journal.as_ref().map(|journal| To::Queue(journal.clone(), unsent.clone()));
        let own = Own::new(to, looked_at, settings.log_level);
        Ok(Sinks {
            unsent,
            own: Dispatch::new(own),
            journal,
            ours,
            terminal,
            console,
            history,
            files: Mutex::default(),
            bound,
            logger: Arc::downgrade(logger),
            back: back.clone(),
        })
    }

    /// What an `output` of a tree file means here.
    pub(super) fn of(&self, output: &Output) -> Vec<Sink> {
        match output {
            Output::Null => Vec::new(),
            Output::Inherit => vec![Sink::Console(Out::Output)],
            Output::Auto | Output::Journal if self.journal.is_none() && !self.ours => Vec::new(),
            Output::Auto | Output::Journal if self.journal.is_none() => vec![Sink::Console(Out::Error)],
            Output::Auto if self.terminal => vec![Sink::Journal, Sink::Console(Out::Error)],
            Output::Auto | Output::Journal => vec![Sink::Journal],
            Output::File { file, max_size, keep } => match self.device_of(file) {
                Ok(device) => {
                    vec![Sink::File(Arc::new(LogFile::new(file.clone(), *max_size, *keep)), device)]
                }
                Err(error) => {
                    let text = format!("cannot start a thread for {}: {error}", file.display());
                    self.back.note("", "output_lost", text);
                    vec![Sink::Console(Out::Error)]
                }
            },
        }
    }

    /// The thread that writes to the file system of this file, which may be one that hangs: it is not touched to find it.
    fn device_of(&self, file: &Path) -> io::Result<Arc<Device<files::Job>>> {
        let mount = mounts::of(file);
        let mut devices = lock(&self.files);
        if let Some(device) = devices.get(&mount) {
            return Ok(device.clone());
        }
        let work = Files::new(None, self.back.clone());
        let device = Arc::new(Device::start("files", self.bound, work, room(self.logger.clone()))?);
        devices.insert(mount, device.clone());
        Ok(device)
    }

    /// Whether all of these would take lines now.
    pub(super) fn have_room(&self, sinks: &[Sink]) -> bool {
        sinks.iter().all(|sink| match sink {
            Sink::Journal => self.journal.as_ref().is_none_or(|journal| journal.has_room()),
            Sink::Console(_) => self.console.has_room(),
            Sink::File(_, device) => device.has_room(),
        })
    }

    /// Lines to all sinks of their child. How many were not taken.
    pub(super) fn pass(&self, batch: Batch) -> u64 {
        let (lines, bytes) = (batch.lines, batch.bytes.len());
        let batch = Arc::new(batch);
        let mut lost = 0;
        for sink in &batch.source.sinks {
            let taken = match sink {
                Sink::Journal => match &self.journal {
                    Some(journal) => journal.send(journal::Job::Lines(batch.clone()), bytes),
                    None => false,
                },
                Sink::Console(out) => self.console.send(console::Job::Lines(*out, batch.clone()), bytes),
                Sink::File(file, device) => {
                    device.send(files::Job::Lines(file.clone(), batch.clone()), bytes)
                }
            };
            lost += if taken { 0 } else { lines };
        }
        lost
    }

    /// What earlier daemons have recorded in this boot, oldest first: the history may lack the last of it.
    pub(super) fn earlier(&self, facts: Vec<Earlier>) {
        if let Some(history) = &self.history {
            history.send(files::Job::Earlier(facts), 0);
        }
    }

    /// Facts to everybody; `lines` is how the history has them. What is not taken is in memory still, and the console is
    /// no archive.
    pub(super) fn facts(&self, facts: Vec<FactLine>, lines: Vec<u8>) {
        let (count, bytes) = (facts.len() as u64, lines.len());
        if let Some(history) = &self.history {
            history.send(files::Job::Facts(lines, count), bytes);
        }
        let facts = Arc::new(facts);
        if let Some(journal) = &self.journal
            && !journal.send(journal::Job::Facts(facts.clone()), bytes)
        {
            self.unsent.fetch_add(count, Ordering::Relaxed);
        }
        if self.terminal || (self.ours && self.journal.is_none()) {
            self.console.send(console::Job::Facts(facts), bytes);
        }
    }

    /// Who takes woodward's own diagnostics.
    pub(super) fn own(&self) -> Dispatch {
        self.own.clone()
    }

    /// Resolves when all that was handed over is done.
    pub(super) async fn flushed(&self) {
        if let Some(journal) = &self.journal {
            let _ = journal.flushed().await;
        }
        let _ = self.console.flushed().await;
        if let Some(history) = &self.history {
            let _ = history.flushed().await;
        }
        let devices: Vec<_> = lock(&self.files).values().cloned().collect();
        for device in devices {
            let _ = device.flushed().await;
        }
    }
}

/// What a device calls when there is room again.
fn room(logger: Weak<Logger>) -> impl Fn() + Send + 'static {
    move || {
        if let Some(logger) = logger.upgrade() {
            logger.look_at_blocked();
        }
    }
}
