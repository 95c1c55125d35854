//! `woodward guard lock`: a file beside what is shared that says under which epoch it is in use.
//!
//! ```text
//! woodward lock 1
//! group acs
//! epoch 812
//! node h2
//! ```
//!
//! It is never locked and never removed: whoever has a greater epoch puts another one in its place, whoever has a smaller
//! one stops. So nobody waits for one who is dead. A new file is written beside it and flushed (`O_EXCL`, `fsync`) *before*
//! the old one is read; between reading and the rename lies next to nothing, and afterwards it is read back. Should an old
//! one have been frozen in just that instant, the new one finds the wrong epoch at its next look and puts its own back.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::super::report::{Code, Failure};
use super::{in_place, written};
use crate::os::fuse::{Fuse, Guarded};
use crate::tree::units;

const MARK: &str = "woodward lock 1";
/// How often it tries to put its record there, against others who do the same.
const ATTEMPTS: usize = 20;

/// Runs a command as long as no newer token is in a shared file
///
/// The file may be on a file server. Whoever comes with a newer token takes it, also
/// from one that is dead; the command of the older one is killed as soon as that is
/// seen, and it cannot begin any more.
#[derive(clap::Args)]
pub struct Args {
    /// The file; its directory must be there
    file: PathBuf,
    /// The group; else that of WOODWARD_GROUP
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Look into the file this often
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = units::duration)]
    every: Duration,
    /// Frozen for so long, the kernel kills both
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    fuse: Duration,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.fuse < args.every * 2 {
        return Err(Failure::usage("cannot guard: --fuse must be twice --every at least"));
    }
    let lock = Lock {
        record: Record {
            group: super::group(args.group.as_ref())?,
            epoch: super::token()?,
            node: std::env::var("WOODWARD_NODE").ok().filter(|node| super::preamble::is_name(node)),
        },
        file: args.file,
    };
    lock.take().map_err(|why| lock.failed("take", &why))?;
    let cannot =
        |e: io::Error| Failure::new(Code::Failed, format!("cannot run {}: {e}", args.command[0].display()));
    let mut fuse = Fuse::light(args.fuse).map_err(cannot)?;
    let mut guarded = Guarded::start(&args.command).map_err(cannot)?;
    let (tell, told) = channel();
    let every = args.every;
    let mut looking = lock.clone();
    // Beside: a file server that hangs is no reason to kill the command, and must not keep us from hearing of anything else.
    std::thread::spawn(move || looking.watch(every, &tell));
    loop {
        fuse.renew().map_err(cannot)?;
        if let Some(code) = guarded.wait(every).map_err(cannot)? {
            return Ok(ExitCode::from(code));
        }
        if let Ok(why) = told.try_recv() {
            guarded.kill().map_err(cannot)?;
            return Err(lock.failed("keep", &why));
        }
    }
}

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    group: String,
    epoch: u64,
    node: Option<String>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{MARK}\ngroup {}\nepoch {}\n", self.group, self.epoch)?;
        self.node.as_ref().map_or(Ok(()), |node| writeln!(f, "node {node}"))
    }
}

impl Record {
    fn read(text: &str) -> Option<Record> {
        let mut lines = text.lines();
        (lines.next()? == MARK && text.ends_with('\n')).then_some(())?;
        let group = lines.next()?.strip_prefix("group ")?.to_owned();
        let epoch = lines.next()?.strip_prefix("epoch ")?.parse().ok()?;
        let node = lines.next().map(|line| line.strip_prefix("node ").map(str::to_owned));
        Some(Record { group, epoch, node: node.map_or(Some(None), |node| node.map(Some))? })
    }

    /// Who has it, for people.
    fn holder(&self) -> String {
        let node = self.node.as_deref().unwrap_or("somebody");
        format!("{node} has it under token {}", self.epoch)
    }
}

/// Why the file is not ours.
#[derive(Debug)]
enum Why {
    /// Somebody else has a better right.
    Lost(String),
    /// Nobody knows.
    Io(io::Error),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Why::Lost(words) => f.write_str(words),
            Why::Io(e) => e.fmt(f),
        }
    }
}

#[derive(Clone)]
struct Lock {
    file: PathBuf,
    record: Record,
}

impl Lock {
    fn failed(&self, what: &str, why: &Why) -> Failure {
        let ours = self.record.epoch;
        Failure::new(Code::Failed, format!("cannot {what} {} under token {ours}: {why}", self.file.display()))
    }

    /// What the file says; `None`: it is not there.
    fn said(&self) -> Result<Option<Record>, Why> {
        match fs::read_to_string(&self.file) {
            Ok(text) => match Record::read(&text) {
                Some(record) => Ok(Some(record)),
                None => Err(Why::Lost(format!(
                    "it is no lock of woodward: {:?}",
                    text.lines().next().unwrap_or_default()
                ))),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Why::Io(e)),
        }
    }

    /// Whether it must be put there: the file is not there, or says something older.
    fn wanting(&self) -> Result<bool, Why> {
        let Some(said) = self.said()? else { return Ok(true) };
        let ours = &self.record;
        if said.group != ours.group {
            return Err(Why::Lost(format!("it is the lock of {}", said.group)));
        }
        let another = said.node.is_some() && ours.node.is_some() && said.node != ours.node;
        if said.epoch > ours.epoch || said.epoch == ours.epoch && another {
            return Err(Why::Lost(said.holder()));
        }
        Ok(said.epoch < ours.epoch)
    }

    /// Puts our record there, unless there is a newer one.
    fn take(&self) -> Result<(), Why> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let node = self.record.node.as_deref().unwrap_or("unnamed");
        let new = self.file.with_file_name(format!(".{name}.{node}.{}", std::process::id()));
        for _ in 0..ATTEMPTS {
            written(&new, &self.record.to_string()).map_err(Why::Io)?;
            match self.wanting() {
                Ok(true) => in_place(&new, &self.file).map_err(Why::Io)?,
                answer => {
                    let _ = fs::remove_file(&new);
                    return answer.map(|_| ());
                }
            }
            if !self.wanting()? {
                return Ok(());
            }
        }
        Err(Why::Lost("others put theirs there again and again".into()))
    }

    /// Looks again and again; tells when it is lost. What cannot be read is not lost: the command cannot write either.
    fn watch(&mut self, every: Duration, lost: &Sender<Why>) {
        let mut silent = false;
        loop {
            std::thread::park_timeout(every);
            // The group goes on under a newer token: so does its lock.
            self.record.epoch = super::token().unwrap_or(self.record.epoch).max(self.record.epoch);
            let looked = match self.wanting() {
                Ok(true) => {
                    eprintln!(
                        "{} says something older than token {}: put right",
                        self.file.display(),
                        self.record.epoch
                    );
                    self.take()
                }
                Ok(false) => Ok(()),
                Err(why) => Err(why),
            };
            match looked {
                Ok(()) => silent = false,
                Err(Why::Io(e)) if silent => drop(e),
                Err(Why::Io(e)) => {
                    silent = true;
                    eprintln!("{} cannot be read: {e}", self.file.display());
                }
                Err(why) => {
                    let _ = lost.send(why);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn lock(directory: &Path, epoch: u64, node: &str) -> Lock {
        let record = Record { group: "g".into(), epoch, node: Some(node.into()) };
        Lock { file: directory.join("lock"), record }
    }

    #[test]
    fn what_is_written_is_read() {
        for node in [None, Some("h1".to_owned())] {
            let record = Record { group: "acs".into(), epoch: 812, node };
            assert_eq!(Record::read(&record.to_string()), Some(record));
        }
        for text in [
            "",
            "woodward lock 1\n",
            "woodward lock 1\ngroup a\nepoch x\n",
            "woodward lock 1\ngroup a\nepoch 1",
        ] {
            assert_eq!(Record::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_newer_token_takes_it() {
        let dir = tempfile::tempdir().expect("a directory");
        lock(dir.path(), 5, "h1").take().expect("nobody has it");
        lock(dir.path(), 5, "h1").take().expect("a service that was restarted");
        lock(dir.path(), 5, "h2").take().expect_err("an epoch has one owner");
        lock(dir.path(), 6, "h2").take().expect("it is newer");
        let why = lock(dir.path(), 5, "h1").take().expect_err("it is older").to_string();
        assert_eq!(why, "h2 has it under token 6");
        let mut other = lock(dir.path(), 9, "h1");
        other.record.group = "other".into();
        other.take().expect_err("it is the lock of g");
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1, "nothing else is left");
        fs::write(dir.path().join("lock"), "precious").expect("it can be written");
        lock(dir.path(), 9, "h1").take().expect_err("what is not ours is left alone");
    }
}
