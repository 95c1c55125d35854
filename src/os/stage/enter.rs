//! The stage itself: one thread, in the process that becomes the service.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use woodward_keeper::image::Step;

use super::{Settings, Stop, Verdict, check, isolate, landlock, mounts, rights, seccomp};

/// Nobody sees it but who starts the stage by hand.
const FAILED: u8 = 126;

/// `stage EXE SOCKET FILE ARGS`: does what the settings at the descriptor SOCKET say and executes FILE. Returns if
/// something of that fails, which it has told the daemon then.
pub fn enter(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.to_str()?.parse::<i32>().ok());
    let (Some(exe), Some(socket), Some(_)) = (number(0), number(1), args.get(3)) else {
        eprintln!("error: the stage is woodward's own");
        return ExitCode::from(FAILED);
    };
    // SAFETY: the daemon has put both there for us, and nothing else in this program knows of them.
    let mut daemon = unsafe {
        libc::close(exe);
        libc::fcntl(socket, libc::F_SETFD, libc::FD_CLOEXEC);
        UnixStream::from_raw_fd(socket)
    };
    let Err(Stop(verdict)) = go(&mut daemon, args.into_iter().skip(2));
    tell(&mut daemon, &verdict);
    ExitCode::from(FAILED)
}

fn tell(daemon: &mut UnixStream, verdict: &Verdict) {
    let mut line = serde_json::to_vec(verdict).unwrap_or_default();
    line.push(b'\n');
    // There is nobody else to tell.
    let _ = daemon.write_all(&line);
}

fn go(daemon: &mut UnixStream, args: impl Iterator<Item = OsString>) -> Result<Infallible, Stop> {
    let settings = read(daemon).map_err(Stop::own("stage"))?;
    for group in &settings.groups_of_v1 {
        fs::write(group, "0").map_err(Stop::own(format!("control group {}", group.display())))?;
    }
    // SAFETY: plain call.
    let keeper = unsafe { libc::getppid() };
    if settings.isolate {
        isolate::enter()?;
    }
    if let Some(adjust) = settings.oom_score_adjust {
        fs::write("/proc/self/oom_score_adj", adjust.to_string()).map_err(Stop::own("oom_score_adjust"))?;
    }
    let here = std::env::current_dir().ok();
    if let Some(mounts) = &settings.mounts {
        mounts::make(mounts)?;
    }
    for &(resource, soft, hard) in &settings.limits {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: reads `limit`.
        check(unsafe { libc::setrlimit(resource, &limit) }).map_err(Stop::at(Step::Limits))?;
    }
    if let Some(umask) = settings.umask {
        // SAFETY: plain call.
        unsafe { libc::umask(umask) };
    }
    rights::take(&settings)?;
    if settings.bound && !settings.isolate {
        // SAFETY: plain calls.
        let parent = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::getppid()
        };
        if parent != keeper {
            return Err(Stop::at(Step::Guard)(io::Error::from_raw_os_error(libc::ESRCH)));
        }
    }
    match (&settings.directory, &settings.mounts) {
        (Some(directory), _) => std::env::set_current_dir(directory).map_err(Stop::at(Step::Directory))?,
        // The directory we are in is that of the other mounts: through it everything could be written.
        (None, Some(_)) => {
            let stays = here.is_some_and(|here| std::env::set_current_dir(here).is_ok());
            if !stays {
                std::env::set_current_dir("/").map_err(Stop::at(Step::Directory))?;
            }
        }
        (None, None) => {}
    }
    if settings.no_new_privileges || !settings.read_only.is_empty() {
        // SAFETY: plain call.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
            .map_err(Stop::own("no_new_privileges"))?;
    }
    if !settings.read_only.is_empty() {
        landlock::protect(&settings.read_only)?;
    }
    let mut args = args.map(OsString::into_vec).map(CString::new);
    let file = args.next().transpose().ok().flatten().unwrap_or_default();
    let arguments: Vec<CString> = args.filter_map(Result::ok).collect();
    let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|arg| arg.as_ptr()).collect();
    pointers.push(std::ptr::null());
    tell(daemon, &Verdict::Leaving);
    // Last: it may forbid what was done before.
    if settings.seccomp {
        seccomp::forbid()?;
    }
    // SAFETY: plain calls; the strings live until the exec, the environment is this process's own, with one thread.
    let error = unsafe {
        // Rust ignores SIGPIPE; a service shall find what every other one finds.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        woodward_keeper::first::unblock();
        libc::execve(file.as_ptr(), pointers.as_ptr(), environ);
        io::Error::last_os_error()
    };
    Err(Stop::at(Step::Execute)(error))
}

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

fn read(daemon: &UnixStream) -> io::Result<Settings> {
    let mut line = String::new();
    BufReader::new(daemon).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
