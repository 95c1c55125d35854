//! `woodward guard`: what a resource that several nodes share can be put behind, so that nobody who has lost the right to
//! run still writes to it. Each guard asks for the *fencing token*: the epoch of the group, a number that grows with each
//! start of the group on whatever node. Whoever comes with a smaller one than was seen before is refused.

mod connect;
mod lock;
mod preamble;
mod proxy;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::report::{Code, Failure};

/// Guards for what nodes share: older tokens are refused
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    guard: Guard,
}

#[derive(clap::Subcommand)]
enum Guard {
    Proxy(proxy::Args),
    Connect(connect::Args),
    Lock(lock::Args),
}

/// Guards.
pub fn run(args: Args) -> ExitCode {
    let done = match args.guard {
        Guard::Proxy(args) => proxy::run(args),
        Guard::Connect(args) => connect::run(args),
        Guard::Lock(args) => lock::run(args),
    };
    done.unwrap_or_else(|failure| failure.report())
}

/// The token this process runs under: of the file, which also knows when a group goes on under another, else of the
/// environment.
fn token() -> Result<u64, Failure> {
    let file = std::env::var_os("FENCING_TOKEN_FILE").map(PathBuf::from);
    let written = file.and_then(|file| std::fs::read_to_string(file).ok());
    let said = written.or_else(|| std::env::var("FENCING_TOKEN").ok()).ok_or_else(|| {
        Failure::new(Code::Config, "cannot prove the right to run: there is no FENCING_TOKEN")
            .hint("services of a tree with [failover] have it in their environment")
    })?;
    said.trim().parse().map_err(|_| {
        Failure::new(Code::Config, format!("cannot prove the right to run: {:?} is no token", said.trim()))
    })
}

/// The group: as said, else the one this process belongs to.
fn group(said: Option<&String>) -> Result<String, Failure> {
    let group = said.cloned().or_else(|| std::env::var("WOODWARD_GROUP").ok()).ok_or_else(|| {
        Failure::usage("cannot guard: there is no group")
            .hint("--group, or WOODWARD_GROUP in the environment")
    })?;
    match preamble::is_name(&group) {
        true => Ok(group),
        false => Err(Failure::usage(format!("cannot guard {group:?}: a group's name has no blanks"))),
    }
}

/// Puts `text` into `file` by way of `new`, beside it, so that it is there whole or not at all, also after a power cut and on
/// a file server.
fn lasting(file: &Path, new: &Path, text: &str) -> io::Result<()> {
    written(new, text)?;
    in_place(new, file)
}

/// A new file with this text, on the disk. One that is left of an earlier attempt is replaced.
fn written(new: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Moves it to its place, on the disk too.
fn in_place(new: &Path, file: &Path) -> io::Result<()> {
    fs::rename(new, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
