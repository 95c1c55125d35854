//! The journal, by its native protocol: one datagram per line or fact, with fields of our own.
//!
//! | field | of |
//! |---|---|
//! | `WOODWARD_PATH`, `WOODWARD_GENERATION`, `WOODWARD_INCIDENT`, `WOODWARD_SEQ` | lines and facts; the last is a number within this daemon, a gap in it shows lines that were dropped |
//! | `WOODWARD_KIND`, `MESSAGE_ID`, and each field of the fact as `WOODWARD_<NAME>` | facts |
//!
//! Format: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use super::Back;
use super::device::Work;
use super::fact::FactLine;
use super::stream::Batch;

/// What can be asked of it.
#[derive(Debug)]
pub(super) enum Job {
    /// Lines of a child.
    Lines(Arc<Batch>),
    /// A fact.
    Fact(Arc<FactLine>),
}

/// The journal's thread.
pub(super) struct Journal {
    socket: UnixDatagram,
    address: PathBuf,
    /// The last record was refused, and that has been said.
    refused: bool,
    back: Back,
}

/// Informational, and what a person should see, in syslog's numbers.
const INFO: u8 = 6;
const WARNING: u8 = 4;

impl Journal {
    pub(super) fn open(address: &Path, back: Back) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        Ok(Journal { socket, address: address.to_owned(), refused: false, back })
    }

    fn send(&mut self, datagram: &[u8]) -> bool {
        let result = match self.socket.send_to(datagram, &self.address) {
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => self.send_file(datagram),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        };
        let refused = std::mem::replace(&mut self.refused, result.is_err());
        let Err(error) = result else { return true };
        if !refused {
            let address = self.address.display();
            let text =
                format!("cannot write to the journal at {address}: {error}; lines are dropped and counted");
            self.back.note("", "journal_lost", text);
        }
        false
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
            Job::Fact(line) => {
                self.send(&of_fact(&line));
            }
        }
    }
}

fn of_line(batch: &Batch, seq: u64, line: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(line.len() + 256);
    put(&mut record, "MESSAGE", line);
    put_number(&mut record, "PRIORITY", u64::from(INFO));
    put(&mut record, "SYSLOG_IDENTIFIER", batch.source.path.as_bytes());
    put(&mut record, "WOODWARD_PATH", batch.source.path.as_bytes());
    put_number(&mut record, "WOODWARD_GENERATION", batch.turn.generation);
    put_number(&mut record, "WOODWARD_INCIDENT", batch.turn.incident);
    put_number(&mut record, "WOODWARD_SEQ", seq);
    record
}

fn of_fact(line: &FactLine) -> Vec<u8> {
    let mut record = Vec::with_capacity(512);
    let space = if line.path.is_empty() { "" } else { ": " };
    put(&mut record, "MESSAGE", format!("{}{space}{}", line.path, line.text).as_bytes());
    put(&mut record, "MESSAGE_ID", message_id(&line.kind).as_bytes());
    put_number(&mut record, "PRIORITY", u64::from(priority(line)));
    put(&mut record, "SYSLOG_IDENTIFIER", b"woodward");
    put(&mut record, "WOODWARD_PATH", line.path.as_bytes());
    put_number(&mut record, "WOODWARD_GENERATION", line.generation);
    put_number(&mut record, "WOODWARD_INCIDENT", line.incident);
    put_number(&mut record, "WOODWARD_SEQ", line.seq);
    put(&mut record, "WOODWARD_KIND", line.kind.as_bytes());
    for (name, value) in &line.fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        put(&mut record, &format!("WOODWARD_{}", name.to_uppercase()), value.as_bytes());
    }
    record
}

/// Warnings are what nobody asked for.
fn priority(line: &FactLine) -> u8 {
    let crash = line.kind == "ended" && !line.flag("asked") && line.word("reason") != Some("normal");
    let trouble =
        ["start_failed", "sick", "killed", "stuck", "limit_exceeded", "parked"].contains(&line.kind.as_str());
    if crash || trouble || line.kind.ends_with("_lost") || line.kind.ends_with("_failed") {
        WARNING
    } else {
        INFO
    }
}

/// A name of 128 bits for each kind of fact, the same for ever: FNV-1a of `woodward:KIND`.
fn message_id(kind: &str) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = b"woodward:".iter().chain(kind.as_bytes());
    let id = bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{id:032x}")
}

fn put_number(record: &mut Vec<u8>, name: &str, value: u64) {
    put(record, name, value.to_string().as_bytes());
}

/// `NAME=value`, or with a length where the value has newlines.
fn put(record: &mut Vec<u8>, name: &str, value: &[u8]) {
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
