//! The stage: our own program in the place of a service, for the moment between the keeper and the service.
//!
//! ```text
//! keeper ─clone, exec─► stage: groups of v1, namespaces, mounts, identity, restrictions ─exec─► service     one process
//!                         │ settings ▲
//!                         ▼ verdict  │
//!                       daemon, at the other end of a socket pair
//! ```
//!
//! Only starts that need it go through it. Its socket is closed by the exec of the service: an end of file after
//! [`Verdict::Leaving`] means that the service runs, anything else what went wrong, and then the start has failed; an
//! end of file alone, that the process was killed on its way.

mod enter;
mod isolate;
mod landlock;
mod mounts;
mod rights;
mod seccomp;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use woodward_keeper::image::{Image, Step};

use super::{Program, SpawnError, program};
use crate::tree::Bound;

pub use enter::enter;
pub(super) use isolate::is_warden;

/// The hidden verb.
pub const VERB: &str = "stage";

/// What the stage is to do, in this order.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Settings {
    /// Control groups of version 1: their `cgroup.procs`.
    groups_of_v1: Vec<PathBuf>,
    mounts: Option<Mounts>,
    /// By Landlock: these cannot be written.
    read_only: Vec<PathBuf>,
    limits: Vec<(u32, u64, u64)>,
    umask: Option<u32>,
    /// User, group, all supplementary groups.
    ids: Option<(u32, u32, Vec<u32>)>,
    directory: Option<PathBuf>,
    capabilities: Option<Vec<u8>>,
    no_new_privileges: bool,
    seccomp: bool,
    /// It dies with the keeper: that has been asked for, but a change of the user takes it back.
    bound: bool,
    /// And so does all it starts.
    isolate: bool,
    /// The keeper writes it for its own child; of an isolated service that is another process.
    oom_score_adjust: Option<i32>,
}

/// A mount namespace and what is different in it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Mounts {
    /// In a user namespace: whoever is not root can do it only there.
    user_namespace: bool,
    private_tmp: bool,
    read_only: Vec<PathBuf>,
    /// Everything else is read-only, devices are few, the kernel is not to be set.
    strict: Option<Vec<PathBuf>>,
}

/// What the stage says, one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
enum Verdict {
    /// Everything is done, the service is executed next.
    Leaving,
    /// A step that every start has.
    Step(u8, i32),
    /// One of the stage's own: what, and the error.
    Own(String, i32),
}

/// The daemon's end of the socket pair.
#[derive(Debug)]
pub(super) struct Watch(UnixStream);

/// How a start that went through the stage has come out.
pub(super) enum Outcome {
    /// The service has been executed.
    Executed,
    /// The process was killed, or ended, before that.
    Died,
    /// Something was not to be had: why, for the program and its file.
    Failed(Why),
}

/// The error of a program and its file.
type Why = Box<dyn Fn(&Program, &Path) -> SpawnError + Send>;

/// Whether a start has to go through the stage.
pub(super) fn is_needed(program: &Program, groups_of_v1: &[PathBuf]) -> bool {
    !groups_of_v1.is_empty() || !program.sandbox.is_none() || program.bound == Bound::Namespace
}

/// Turns the image of a service into one of the stage for it. `exe` and `socket` are the numbers that our own file and
/// the child's end of the pair will have.
pub(super) fn wrap(image: &mut Image, exe: i32, socket: i32) {
    let arguments = std::mem::take(&mut image.arguments);
    let file = std::mem::replace(&mut image.program, format!("/proc/self/fd/{exe}").into_bytes());
    let own = ["woodward".to_owned(), VERB.to_owned(), exe.to_string(), socket.to_string()];
    image.arguments = own.into_iter().map(String::into_bytes).chain([file]).chain(arguments).collect();
    (image.ids, image.umask, image.directory) = (None, None, None);
    image.limits.clear();
}

/// The two ends; the settings wait in the child's.
pub(super) fn prepare(
    image: &Image,
    program: &Program,
    groups_of_v1: Vec<PathBuf>,
) -> io::Result<(Watch, OwnedFd)> {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = &program.sandbox;
    let root = nix::unistd::Uid::effective().is_root();
    let path = |bytes: &Vec<u8>| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let mounts = sandbox.needs_mounts() || (root && !sandbox.read_only_paths.is_empty());
    let settings = Settings {
        groups_of_v1,
        mounts: mounts.then(|| Mounts {
            user_namespace: !root,
            private_tmp: sandbox.private_tmp,
            read_only: sandbox.read_only_paths.clone(),
            strict: sandbox.strict.clone(),
        }),
        read_only: if mounts { Vec::new() } else { sandbox.read_only_paths.clone() },
        limits: image.limits.clone(),
        umask: image.umask,
        ids: image.ids.as_ref().map(|ids| (ids.uid, ids.gid, ids.groups.clone())),
        directory: image.directory.as_ref().map(path),
        capabilities: sandbox.capabilities.clone(),
        no_new_privileges: sandbox.no_new_privileges || (!root && sandbox.capabilities.is_some()),
        seccomp: sandbox.strict.is_some(),
        bound: program.bound != Bound::No,
        isolate: program.bound == Bound::Namespace,
        oom_score_adjust: image.oom_score_adjust.filter(|_| program.bound == Bound::Namespace),
    };
    let (ours, theirs) = UnixStream::pair()?;
    let mut text = serde_json::to_vec(&settings)?;
    text.push(b'\n');
    // Nobody reads yet: it has to fit, or the daemon would wait for itself.
    ours.set_nonblocking(true)?;
    (&ours).write_all(&text)?;
    Ok((Watch(ours), theirs.into()))
}

impl Watch {
    /// Waits until the start has come out.
    pub async fn outcome(self) -> Outcome {
        let mut text = String::new();
        if let Ok(mut stream) = tokio::net::UnixStream::from_std(self.0) {
            // What was read until an error counts.
            let _ = stream.read_to_string(&mut text).await;
        }
        judge(&text)
    }
}

fn judge(text: &str) -> Outcome {
    let mut outcome = Outcome::Died;
    for line in text.lines() {
        outcome = match serde_json::from_str(line) {
            Ok(Verdict::Leaving) => Outcome::Executed,
            Ok(Verdict::Step(step, errno)) => {
                return Outcome::Failed(Box::new(move |program, file| {
                    program::explain(program, file, step, errno)
                }));
            }
            Ok(Verdict::Own(step, errno)) => {
                return Outcome::Failed(Box::new(move |_, _| SpawnError::Step {
                    step: step.clone(),
                    source: io::Error::from_raw_os_error(errno),
                }));
            }
            Err(_) => outcome,
        };
    }
    outcome
}

/// Why the stage goes no further.
struct Stop(Verdict);

impl Stop {
    fn own(what: impl Into<String>) -> impl FnOnce(io::Error) -> Stop {
        let what = what.into();
        move |error| Stop(Verdict::Own(what, error.raw_os_error().unwrap_or(libc::EIO)))
    }

    fn at(step: Step) -> impl FnOnce(io::Error) -> Stop {
        move |error| Stop(Verdict::Step(step as u8, error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

/// The result of a libc call, or `errno`.
fn check(result: impl Into<i64>) -> io::Result<i64> {
    let result = result.into();
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
