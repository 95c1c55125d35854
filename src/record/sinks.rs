//! Where lines and facts go besides memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
use super::{Back, Places, history};
use crate::settings;
use crate::tree::Output;

/// The devices of this daemon.
#[derive(Debug)]
pub(super) struct Sinks {
    journal: Option<Arc<Device<journal::Job>>>,
    console: Arc<Device<console::Job>>,
    /// Somebody looks at it: it gets the lines and facts that the journal gets.
    terminal: bool,
    files: Device<files::Job>,
    history: bool,
    /// Own records that the journal's queue did not take.
    unsent: Arc<AtomicU64>,
    /// Takes woodward's own diagnostics.
    own: Dispatch,
}

impl Sinks {
    /// Starts the devices there are.
    pub(super) fn start(places: &Places, logger: &Arc<Logger>, back: &Back) -> io::Result<Sinks> {
        let room = || {
            let logger = Arc::downgrade(logger);
            move || {
                if let Some(logger) = logger.upgrade() {
                    logger.look_at_blocked();
                }
            }
        };
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
        let console = Console::new(settings.format);
        let terminal = console.is_terminal();
        let console = Arc::new(Device::start("console", bound, console, room())?);
        let looked_at = Some(console.clone()).filter(|_| terminal || journal.is_none());
        let to = journal.as_ref().map(|journal| To::Queue(journal.clone(), unsent.clone()));
        let own = Own::new(to, looked_at, settings.log_level);
        Ok(Sinks {
            unsent,
            own: Dispatch::new(own),
            journal,
            terminal,
            console,
            history: history.is_some(),
            files: Device::start("files", bound, Files::new(history, back.clone()), room())?,
        })
    }

    /// What an `output` of a tree file means here.
    pub(super) fn of(&self, output: &Output) -> Vec<Sink> {
        match output {
            Output::Null => Vec::new(),
            Output::Inherit => vec![Sink::Console(Out::Output)],
            Output::Auto | Output::Journal if self.journal.is_none() => vec![Sink::Console(Out::Error)],
            Output::Auto if self.terminal => vec![Sink::Journal, Sink::Console(Out::Error)],
            Output::Auto | Output::Journal => vec![Sink::Journal],
            Output::File { file, max_size, keep } => {
                vec![Sink::File(Arc::new(LogFile::new(file.clone(), *max_size, *keep)))]
            }
        }
    }

    /// Whether all of these would take lines now.
    pub(super) fn have_room(&self, sinks: &[Sink]) -> bool {
        sinks.iter().all(|sink| match sink {
            Sink::Journal => self.journal.as_ref().is_none_or(|journal| journal.has_room()),
            Sink::Console(_) => self.console.has_room(),
            Sink::File(_) => self.files.has_room(),
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
                Sink::File(file) => self.files.send(files::Job::Lines(file.clone(), batch.clone()), bytes),
            };
            lost += if taken { 0 } else { lines };
        }
        lost
    }

    /// What earlier daemons have recorded in this boot, oldest first: the history may lack the last of it.
    pub(super) fn earlier(&self, facts: Vec<Earlier>) {
        if self.history {
            self.files.send(files::Job::Earlier(facts), 0);
        }
    }

    /// Facts to everybody; `lines` is how the history has them. What is not taken is in memory still, and the console is
    /// no archive.
    pub(super) fn facts(&self, facts: Vec<FactLine>, lines: Vec<u8>) {
        let (count, bytes) = (facts.len() as u64, lines.len());
        if self.history {
            self.files.send(files::Job::Facts(lines, count), bytes);
        }
        let facts = Arc::new(facts);
        if let Some(journal) = &self.journal
            && !journal.send(journal::Job::Facts(facts.clone()), bytes)
        {
            self.unsent.fetch_add(count, Ordering::Relaxed);
        }
        if self.journal.is_none() || self.terminal {
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
        let _ = self.files.flushed().await;
    }
}
