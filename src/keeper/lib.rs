//! The keeper: the one small process that is the parent of every service, and of the daemon that thinks about
//! them.
//!
//! ```text
//!  shell | systemd | container
//!     └─ keeper     one thread, no look-ups, decides nothing; PID 1 or sub-reaper
//!          ├─ daemon    may crash, hang, be killed: it is started again and told what is there
//!          └─ services  do not notice
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`wire`] | what the two say to each other |
//! | [`image`] | everything a start executes, laid out by the daemon |
//! | `keeper` | the loop: what is done at each wake-up |
//! | `orders` | what the daemon wants, carried out |
//! | `channel` | messages in, reports out |
//! | `children` | starts and ends |
//! | `daemon` | the daemon's life; what happens when it is dead, hangs or talks nonsense |
//! | `table` | one entry for each name |
//! | [`init`] | one command instead of a daemon; [`first`]: before `main`; `strays`: processes nobody minds |
//! | `bank` | descriptors that outlive the daemon: listening sockets |
//! | `tab`, `foreign` | the table as a file; what a keeper that was killed has left behind |
//! | `guard` | the right to run of failover groups: a deadline, and what happens when it has passed |
//! | `store` | systemd's fd store and watchdog |
//! | `sweep` | the end of what nobody serves |
//! | `replace` | another file takes over in the same process |
//! | `start`, `child` | from an image to a process, and what happens in the child |
//! | [`drain`] | log pipes while the daemon is away |
//! | `setup` | lock, limits, signals, before the loop begins |
//! | `sys` | system calls |
//!
//! Conditions on all of it: it never waits for an exec, a disk or the daemon; what a start costs does not
//! depend on how much it holds; an end stays in the table until the daemon has acknowledged it; nothing the
//! daemon sends can harm it.

mod bank;
mod channel;
mod child;
mod children;
mod daemon;
pub mod drain;
pub mod first;
mod foreign;
mod guard;
pub mod image;
pub mod init;
mod keeper;
mod orders;
mod replace;
mod setup;
mod start;
mod store;
mod strays;
mod sweep;
mod sys;
mod tab;
mod table;
pub mod wire;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the keeper knows the system calls of x86_64 and aarch64");

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the keeper process has to know. It reads no file and no environment.
pub struct Config {
    /// Program and arguments of the daemon. It finds its channel at descriptor [`CHANNEL`].
    pub daemon: Vec<CString>,
    /// State directory, must exist; locked as long as the keeper lives.
    pub state: PathBuf,
    /// The value of `NOTIFY_SOCKET`, if whoever started woodward wants to be told.
    pub notify: Option<String>,
    /// Be an init: pass every signal on to the daemon, and tell whoever is left before the end. As PID 1 it
    /// must be one.
    pub init: bool,
    /// Finds processes a former keeper was killed over before it could note them.
    pub members: Members,
}

pub use foreign::Members;
pub use replace::LANGUAGE;
pub use sweep::sweep;

use replace::Handed;

/// Where the daemon finds its channel.
pub const CHANNEL: i32 = 3;

/// The exit code for *try again*: the state directory is taken, or the services had to be stopped without the
/// daemon.
pub const TRY_AGAIN: u8 = 75;

/// Runs the daemon and everything it asks for until it is told to end. Call it first thing in `main`, with
/// one thread. Returns the exit code; [`TRY_AGAIN`] if another keeper has the state directory (told on
/// standard error with its process id) or services had to be stopped without the daemon; 1 if the keeper
/// cannot be set up (told on standard error).
pub fn run(config: Config) -> u8 {
    let at = config.state.display();
    let state = match setup::lock(&config.state) {
        Ok(Ok(lock)) => lock,
        Ok(Err(pid)) => {
            eprintln!("error: cannot run in {at}: another woodward does already (pid {pid})");
            return TRY_AGAIN;
        }
        Err(e) => {
            eprintln!("error: cannot lock {at}: {e}");
            return 1;
        }
    };
    serve(&config, state, None)
}

/// Goes on in place of another file that this process has executed until now ([`wire::Order::Replace`]); `None`:
/// there was none. Call it first thing in `main`, with one thread. Returns the exit code as [`run`].
pub fn resume(members: Members) -> Option<u8> {
    let (config, lock, handed) = replace::handed(members)?;
    Some(serve(&config, lock, Some(handed)))
}

/// How many processes are noted in the table of this state directory, whoever may be its keeper. Fails if there is
/// none of this boot, or in another [`LANGUAGE`].
pub fn look(state: &Path) -> io::Result<usize> {
    tab::look(state).map(|marks| marks.len())
}

fn serve(config: &Config, lock: File, handed: Option<Handed>) -> u8 {
    match keeper::Keeper::process(config, lock, handed) {
        Ok(keeper) => {
            sys::Text::find().give_back();
            let code = keeper.run();
            if config.init { init::leave(code) } else { code }
        }
        Err(e) => {
            eprintln!("error: cannot set up the keeper: {e}");
            1
        }
    }
}

/// A keeper as a thread of this program, for embedders: returns the daemon's end of the channel. It knows its
/// own children only, reaps no others, and stops its services when the channel is closed: SIGTERM, ten
/// seconds, SIGKILL.
pub fn thread() -> io::Result<OwnedFd> {
    let (ours, theirs) = sys::channel()?;
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
        match keeper::Keeper::thread(ours) {
            Ok(keeper) => {
                let _ = ready.send(Ok(()));
                keeper.run();
            }
            Err(e) => {
                let _ = ready.send(Err(e));
            }
        };
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the keeper's thread is gone")))?;
    Ok(theirs)
}
