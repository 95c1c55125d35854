//! The journal, by its native protocol: one datagram per line or fact, with fields of our own.
//!
//! | field | of |
//! |---|---|
//! | `WOODWARD_PATH`, `WOODWARD_CHILD` (its last part), `WOODWARD_GENERATION`, `WOODWARD_INCIDENT` | lines and facts |
//! | `WOODWARD_SEQ` | number of the line within the output of its child, or of the fact: it goes on over deaths of the daemon, so a repeated one tells a repetition, and a gap shows lines that were dropped |
//! | `SYSLOG_IDENTIFIER` | of lines the path, of facts `woodward` |
//! | `PRIORITY` | of lines 6, or what `<N>` in front of them says (`sd-daemon(3)`); of facts their weight |
//! | `MESSAGE_ID`, `WOODWARD_KIND`, and each field of the fact as `WOODWARD_<NAME>` (`WOODWARD_REASON`, `WOODWARD_STRATEGY`, ...) | facts |
//!
//! Facts come as `tracing` events through [`super::own`]; lines come in batches, because their journey from the pipe is
//! only over when the journal has them. Both end in this device: it waits for journald, nobody else does.
//!
//! Format: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use tracing::Dispatch;
use tracing::dispatcher::with_default;

use super::device::Work;
use super::fact::FactLine;
use super::own::{self, Own, To};
use super::stream::Batch;
use super::words::leaf;
use super::{Back, lock};
use crate::settings::Level;

/// What can be asked of it.
#[derive(Debug)]
pub(super) enum Job {
    /// Lines of a child.
    Lines(Arc<Batch>),
    /// Facts.
    Facts(Arc<Vec<FactLine>>),
    /// A diagnostic, as it is sent.
    Own(Vec<u8>),
}

/// The journal's thread.
pub(super) struct Journal {
    socket: UnixDatagram,
    address: PathBuf,
    /// Records refused since the last that was taken; while there are any, that has been said.
    lost: u64,
    /// Records of our own that found no room in the queue.
    unsent: Arc<AtomicU64>,
    /// Makes records of facts.
    facts: Dispatch,
    /// What it has made.
    made: Arc<Mutex<Vec<Vec<u8>>>>,
    back: Back,
}

/// Informational, in syslog's numbers.
const INFO: u8 = 6;

impl Journal {
    /// `unsent`: counted up by whoever has a record of woodward's own that the queue does not take.
    pub(super) fn open(address: &Path, unsent: Arc<AtomicU64>, back: Back) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        let made = Arc::default();
        let facts = Dispatch::new(Own::new(Some(To::Here(Arc::clone(&made))), None, Level::Off));
        Ok(Journal { socket, address: address.to_owned(), lost: 0, unsent, facts, made, back })
    }

    fn send(&mut self, datagram: &[u8]) -> bool {
        let result = match self.socket.send_to(datagram, &self.address) {
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => self.send_file(datagram),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        };
        match result {
            Ok(()) => {
                let lost = std::mem::take(&mut self.lost) + self.unsent.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let s = if lost == 1 { "" } else { "s" };
                    let text = format!("writes to the journal again; {lost} record{s} did not reach it");
                    self.back.note("", "journal_back", text);
                }
                true
            }
            Err(error) => {
                self.lost += 1;
                if self.lost == 1 {
                    let address = self.address.display();
                    let text = format!(
                        "cannot write to the journal at {address}: {error}; lines are dropped and counted"
                    );
                    self.back.note("", "journal_lost", text);
                }
                false
            }
        }
    }

    /// A record too big for a datagram goes as a sealed file in memory.
    fn send_file(&self, datagram: &[u8]) -> io::Result<()> {
        let mut file =
            File::from(memfd_create("woodward", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
        file.write_all(datagram)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
        let descriptors = [file.as_raw_fd()];
        let address = UnixAddr::new(&self.address)?;
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&[])],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            Some(&address),
        )?;
        Ok(())
    }
}

impl Work for Journal {
    type Job = Job;

    fn work(&mut self, job: Job) {
        match job {
            Job::Lines(batch) => {
                let mut lost = 0;
                batch.each(|seq, line| lost += u64::from(!self.send(&of_line(&batch, seq, line))));
                batch.source.count_dropped(lost);
            }
            Job::Facts(facts) => {
                with_default(&self.facts, || facts.iter().for_each(own::tell));
                let records = std::mem::take(&mut *lock(&self.made));
                for record in records {
                    self.send(&record);
                }
            }
            Job::Own(record) => {
                self.send(&record);
            }
        }
    }
}

fn of_line(batch: &Batch, seq: u64, line: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(line.len() + 256);
    let (priority, line) = match line {
        [b'<', digit @ b'0'..=b'7', b'>', rest @ ..] => (digit - b'0', rest),
        _ => (INFO, line),
    };
    let path = &*batch.source.path;
    put(&mut record, "MESSAGE", line);
    put_number(&mut record, "PRIORITY", u64::from(priority));
    put(&mut record, "SYSLOG_IDENTIFIER", path.as_bytes());
    put(&mut record, "WOODWARD_PATH", path.as_bytes());
    put(&mut record, "WOODWARD_CHILD", leaf(path).as_bytes());
    put_number(&mut record, "WOODWARD_GENERATION", batch.turn.generation);
    put_number(&mut record, "WOODWARD_INCIDENT", batch.turn.incident);
    put_number(&mut record, "WOODWARD_SEQ", seq);
    record
}

pub(super) fn put_number(record: &mut Vec<u8>, name: &str, value: u64) {
    put(record, name, value.to_string().as_bytes());
}

/// `NAME=value`, or with a length where the value has newlines.
pub(super) fn put(record: &mut Vec<u8>, name: &str, value: &[u8]) {
    record.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        record.push(b'\n');
        record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        record.push(b'=');
    }
    record.extend_from_slice(value);
    record.push(b'\n');
}
