//! From a [`Program`] to what the keeper executes: the file is searched, names of users and groups become
//! numbers, directories are made. And back: from the step that failed to an error a person understands.

use std::fs;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use woodward_keeper::image::{self, Ids, Image, Step};

use super::{Program, SpawnError};
use crate::tree::accounts::{self, User};
use crate::tree::{Bound, Identity, Resource, Stdin};

/// Searched when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file to execute. With a slash in it: as written, and the kernel decides.
pub(super) fn search(program: &Program) -> Result<PathBuf, SpawnError> {
    let name = program.command.first().map_or("", String::as_str);
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = program.environment.iter().find(|(n, _)| n == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    let base = program.working_directory.as_deref().unwrap_or(Path::new(""));
    let mut refused = false;
    for dir in path.split(':').filter(|_| !name.is_empty()) {
        let file = base.join(dir).join(name);
        match fs::metadata(&file) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(file),
            Ok(_) => refused = true,
            Err(_) => {}
        }
    }
    let name = name.to_owned();
    Err(if refused {
        SpawnError::NotExecutable { program: name }
    } else {
        SpawnError::NotFound { program: name, searched: format!("PATH ({path})") }
    })
}

/// Everything but the descriptors.
pub(super) fn image(program: &Program, file: &Path) -> Result<Image, SpawnError> {
    let identity = &program.identity;
    let variable = |(name, value): &(String, String)| format!("{name}={value}").into_bytes();
    Ok(Image {
        program: file.as_os_str().as_bytes().to_vec(),
        arguments: program.command.iter().map(|a| a.clone().into_bytes()).collect(),
        environment: program.environment.iter().map(variable).collect(),
        directory: program.working_directory.as_ref().map(|d| d.as_os_str().as_bytes().to_vec()),
        stdin: match program.stdin {
            Stdin::Null => image::Stdin::Null,
            Stdin::Open => image::Stdin::Open,
            Stdin::Inherit => image::Stdin::Inherit,
        },
        ids: ids(identity)?,
        umask: identity.umask,
        nice: identity.nice,
        oom_score_adjust: identity.oom_score_adjust,
        limits: identity.limits.iter().map(|&(what, soft, hard)| (number(what), soft, hard)).collect(),
        bound: program.bound != Bound::No,
    })
}

/// `None`: those of the keeper.
pub(super) fn ids(identity: &Identity) -> Result<Option<Ids>, SpawnError> {
    let Identity { user, group, supplementary_groups, .. } = identity;
    if user.is_none() && group.is_none() && supplementary_groups.is_empty() {
        return Ok(None);
    }
    let user = user.as_deref().map(find_user).transpose()?;
    let own = (Uid::effective().as_raw(), Gid::effective().as_raw());
    let uid = user.as_ref().map_or(own.0, |u| u.uid);
    let gid = match (group.as_deref(), &user) {
        (Some(name), _) => find_group(name)?,
        (None, Some(user)) => user.gid,
        (None, None) => own.1,
    };
    let mut groups = match &user {
        Some(user) if !user.name.is_empty() => accounts::groups_of(&user.name, gid)
            .map_err(|source| SpawnError::Step { step: format!("groups of user {}", user.name), source })?,
        _ => vec![gid],
    };
    for name in supplementary_groups {
        groups.push(find_group(name)?);
    }
    if own.0 != 0 && (uid, gid) == own && supplementary_groups.is_empty() {
        // It is what it shall be, and may not ask for it.
        return Ok(None);
    }
    Ok(Some(Ids { uid, gid, groups }))
}

/// A number nobody has is a user without a name, whose group has the same number.
fn find_user(text: &str) -> Result<User, SpawnError> {
    let number: Option<u32> = text.parse().ok();
    let found = number.map_or_else(|| accounts::user(text), accounts::user_numbered);
    match (found, number) {
        (Ok(Some(user)), _) => Ok(user),
        (Ok(None), Some(number)) => Ok(User { name: String::new(), uid: number, gid: number }),
        (Ok(None), None) => Err(SpawnError::NoUser(text.to_owned())),
        (Err(source), _) => Err(SpawnError::Step { step: format!("user {text}"), source }),
    }
}

fn find_group(text: &str) -> Result<u32, SpawnError> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match accounts::group(text) {
        Ok(Some(group)) => Ok(group),
        Ok(None) => Err(SpawnError::NoGroup(text.to_owned())),
        Err(source) => Err(SpawnError::Step { step: format!("group {text}"), source }),
    }
}

/// Makes the directories that are missing, owned by the user.
pub(super) fn make_directories(program: &Program) -> Result<(), SpawnError> {
    for directory in program.directories.iter().filter(|d| !d.is_dir()) {
        let step = |source| SpawnError::Step { step: format!("directory {}", directory.display()), source };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(step)?;
        if let Some(ids) = ids(&program.identity)? {
            std::os::unix::fs::chown(directory, Some(ids.uid), Some(ids.gid)).map_err(step)?;
        }
    }
    Ok(())
}

fn number(resource: Resource) -> u32 {
    match resource {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Locks => libc::RLIMIT_LOCKS,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Rss => libc::RLIMIT_RSS,
        Resource::Rtprio => libc::RLIMIT_RTPRIO,
        Resource::Rttime => libc::RLIMIT_RTTIME,
        Resource::Sigpending => libc::RLIMIT_SIGPENDING,
        Resource::Stack => libc::RLIMIT_STACK,
    }
}

/// The keeper says at which step it ended, and with which errno.
pub(super) fn explain(program: &Program, file: &Path, step: u8, errno: i32) -> SpawnError {
    let source = io::Error::from_raw_os_error(errno);
    let name = program.command.first().cloned().unwrap_or_default();
    let identity = &program.identity;
    let directory = program.working_directory.as_deref().unwrap_or(Path::new("."));
    let at =
        |what: &str, value: &Option<String>| format!("{what} {}", value.as_deref().unwrap_or("of woodward"));
    let step = match Step::from_number(step) {
        Some(Step::Guard) => {
            return SpawnError::NoRight;
        }
        Some(Step::Execute) => {
            let whole = directory.join(file);
            match (errno, interpreter(&whole)) {
                (libc::ENOENT, Some(interpreter)) if whole.exists() => {
                    return SpawnError::NoInterpreter { program: name, interpreter };
                }
                (libc::ENOENT | libc::ENOTDIR, _) => {
                    let searched = whole.parent().unwrap_or(Path::new("/")).display().to_string();
                    return SpawnError::NotFound { program: name, searched };
                }
                (libc::EACCES, _) => return SpawnError::NotExecutable { program: name },
                _ => name,
            }
        }
        Some(Step::Directory) => format!("working directory {}", directory.display()),
        Some(Step::User) => at("user", &identity.user),
        Some(Step::Group) => at("group", &identity.group),
        Some(Step::Groups) => at("groups of user", &identity.user),
        Some(Step::Limits) => "limits".to_owned(),
        Some(Step::Nice) => format!("nice {}", identity.nice.unwrap_or(0)),
        Some(Step::Cgroup) => "control group".to_owned(),
        Some(Step::Session) => "session".to_owned(),
        Some(Step::Descriptors) => "descriptors".to_owned(),
        Some(Step::Clone) => "new process".to_owned(),
        Some(Step::Prepare) | None => "preparations".to_owned(),
    };
    SpawnError::Step { step, source }
}

/// From the first line of a script, or the loader an ELF file asks for.
fn interpreter(file: &Path) -> Option<String> {
    let mut start = Vec::new();
    fs::File::open(file).ok()?.take(4096).read_to_end(&mut start).ok()?;
    match start.strip_prefix(b"#!") {
        Some(rest) => {
            let line = rest.lines().next()?.ok()?;
            line.split_ascii_whitespace().next().map(str::to_owned)
        }
        None if start.starts_with(b"\x7fELF") => {
            let text = start
                .split(|&b| b == 0)
                .find(|t| t.starts_with(b"/") && t.windows(3).any(|w| w == b"ld-"))?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        None => None,
    }
}
