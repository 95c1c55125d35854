//! woodward's own standard output and error: lines of children and facts, the path in front, or JSON.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Line;
use super::device::Work;
use super::fact::FactLine;
use super::stream::Batch;
use crate::settings::Format;

/// What can be asked of it.
#[derive(Debug)]
pub(super) enum Job {
    /// Lines of a child.
    Lines(Out, Arc<Batch>),
    /// Facts.
    Facts(Arc<Vec<FactLine>>),
    /// A diagnostic of woodward's own, newline included.
    Own(String),
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Output,
    Error,
}

/// The console's thread.
pub(super) struct Console {
    format: Format,
    terminal: bool,
    colour: bool,
}

/// Kinds of facts that say what another one beside them says better.
const QUIET: [&str; 5] =
    ["starting", "dragged_along", "report_child_terminated", "report_start_error", "report_shutdown_error"];

/// Whether a person at a terminal wants to see it.
fn shows(line: &FactLine) -> bool {
    !QUIET.contains(&line.kind.as_str())
}

impl Console {
    pub(super) fn new(format: Format) -> Console {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Console { format, terminal, colour }
    }

    /// Whether somebody looks.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn lines(&self, batch: &Batch) -> Vec<u8> {
        let path = &*batch.source.path;
        let mut text = Vec::with_capacity(batch.bytes.len() + batch.lines as usize * (path.len() + 16));
        batch.each(|seq, line| match self.format {
            Format::Text => {
                let (on, off) = if self.colour { ("\x1b[36m", "\x1b[0m") } else { ("", "") };
                text.extend_from_slice(format!("{on}{path}{off}: ").as_bytes());
                text.extend_from_slice(line);
                text.push(b'\n');
            }
            Format::Json => {
                let line = String::from_utf8_lossy(line).into_owned();
                let generation = batch.turn.generation;
                json(&mut text, &Line { seq, at: batch.at, path: path.to_owned(), generation, text: line });
            }
        });
        text
    }

    fn fact(&self, line: &FactLine) -> Vec<u8> {
        let mut text = Vec::new();
        match self.format {
            Format::Text => {
                let (on, off) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
                let space = if line.path.is_empty() { "" } else { " " };
                text.extend_from_slice(
                    format!("{on}woodward:{off} {}{space}{}\n", line.path, line.text).as_bytes(),
                );
            }
            Format::Json => json(&mut text, line),
        }
        text
    }
}

impl Work for Console {
    type Job = Job;

    fn work(&mut self, job: Job) {
        let (out, text) = match job {
            Job::Lines(out, batch) => (out, self.lines(&batch)),
            Job::Facts(lines) => {
                let shown = lines.iter().filter(|line| shows(line));
                (Out::Error, shown.flat_map(|line| self.fact(line)).collect())
            }
            Job::Own(text) => (Out::Error, text.into_bytes()),
        };
        match out {
            Out::Output => write_all(&std::io::stdout(), &text),
            Out::Error => write_all(&std::io::stderr(), &text),
        }
    }
}

fn json(text: &mut Vec<u8>, value: &impl serde::Serialize) {
    if let Ok(json) = serde_json::to_vec(value) {
        text.extend_from_slice(&json);
        text.push(b'\n');
    }
}

/// Writes all of it and waits for a slow reader, also where somebody has made the descriptor non-blocking. A console that is gone
/// gets nothing: there is nowhere to say so.
fn write_all(to: &impl AsFd, mut text: &[u8]) {
    while !text.is_empty() {
        match nix::unistd::write(to, text) {
            Ok(n) => text = &text[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut room, PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}
