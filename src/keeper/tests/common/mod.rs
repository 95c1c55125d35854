//! A keeper with its directory, as the test has it, and a daemon's end of its channel.

#![allow(unused, reason = "each test program uses a part")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use woodward_keeper::image::Image;
use woodward_keeper::wire::guard::Standing;
use woodward_keeper::wire::{Message, Order, Records, Report, State, Targets};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A keeper with its directory.
pub struct Bed {
    pub dir: PathBuf,
    pub keeper: Child,
}

impl Bed {
    pub fn new(role: &str) -> Bed {
        let dir = std::env::temp_dir().join(format!("woodward-keeper-{}-{role}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        let keeper = Bed::start(&dir, role);
        Bed { dir, keeper }
    }

    pub fn start(dir: &Path, role: &str) -> Child {
        let errors = File::options().create(true).append(true).open(dir.join("errors")).expect("a file");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("keeper").arg(dir).arg(role).stderr(errors);
        command.env("WOODWARD_TEST_WALL_CLOCK", dir.join("wall"));
        command.spawn().expect("a keeper")
    }

    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn wait<T>(&self, what: &str, mut condition: impl FnMut(&[String]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let lines = self.lines();
            if let Some(found) = condition(&lines) {
                return found;
            }
            let errors = fs::read_to_string(self.dir.join("errors")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "no {what} in {lines:#?}\n{errors}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for a line that begins with this; what follows.
    pub fn line(&self, start: &str) -> String {
        self.wait(start, |lines| {
            lines.iter().find_map(|l| l.strip_prefix(start)).map(|l| l.trim().to_owned())
        })
    }

    pub fn signal(&self, signal: i32) {
        kill(self.keeper.id() as i32, signal);
    }

    pub fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.keeper.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the keeper does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.keeper.try_wait().is_ok_and(|status| status.is_none()) {
            for pid in children(self.keeper.id()) {
                kill(pid, libc::SIGSTOP);
            }
            let left = children(self.keeper.id());
            self.signal(libc::SIGKILL);
            left.into_iter().for_each(|pid| kill(pid, libc::SIGKILL));
            let _ = self.keeper.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: a process this test has started.
    unsafe { libc::kill(pid, signal) };
}

pub fn is_there(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

pub fn children(pid: u32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|p| p.parse().ok()).collect()
}

// ---- the keeper -----------------------------------------------------------------------------------------------------

pub fn keeper(dir: &str, role: &str) {
    let exe = std::env::current_exe().expect("this program");
    let words = [exe.to_str().expect("a path"), "daemon", dir, role];
    let daemon = words.iter().map(|w| CString::new(*w).expect("no zero byte")).collect();
    let members = |_: &Path, _: &str, _| Vec::new();
    if let Some(code) = woodward_keeper::resume(members) {
        std::process::exit(code.into());
    }
    let config = woodward_keeper::Config { daemon, state: dir.into(), notify: None, init: false, members };
    std::process::exit(woodward_keeper::run(config).into());
}

// ---- the daemon -----------------------------------------------------------------------------------------------------

pub struct Daemon {
    pub channel: OwnedFd,
    pub dir: PathBuf,
}

#[derive(Debug)]
pub enum Said {
    Entry { slot: u32, generation: u64, state: State, pid: i32, name: String },
    End,
    Orphans(u64),
    Ping,
    Guard(Standing),
    Bound(String, u64),
    Other,
}

impl Daemon {
    pub fn log(&self, line: &str) {
        self.write("log", line);
    }

    pub fn write(&self, file: &str, line: &str) {
        let mut file = File::options().create(true).append(true).open(self.dir.join(file)).expect("a file");
        file.write_all(format!("{line}\n").as_bytes()).expect("written");
    }

    pub fn order(&self, order: &Order, descriptors: &[&OwnedFd]) {
        let mut message = Message::default();
        message.order(order);
        self.send(message.bytes(), descriptors);
    }

    pub fn send(&self, bytes: &[u8], descriptors: &[&OwnedFd]) {
        let mut control = [0u64; 16];
        // SAFETY: everything the header points to lives long enough.
        unsafe {
            let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let mut head: libc::msghdr = std::mem::zeroed();
            (head.msg_iov, head.msg_iovlen) = (&mut piece, 1);
            if !descriptors.is_empty() {
                let length = 4 * descriptors.len() as u32;
                head.msg_control = control.as_mut_ptr().cast();
                head.msg_controllen = libc::CMSG_SPACE(length) as _;
                let c = libc::CMSG_FIRSTHDR(&head);
                ((*c).cmsg_level, (*c).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
                (*c).cmsg_len = libc::CMSG_LEN(length) as _;
                let data = libc::CMSG_DATA(c).cast::<i32>();
                descriptors.iter().enumerate().for_each(|(i, d)| data.add(i).write_unaligned(d.as_raw_fd()));
            }
            assert!(libc::sendmsg(self.channel.as_raw_fd(), &head, libc::MSG_NOSIGNAL) >= 0, "cannot send");
        }
    }

    pub fn hear(&self) -> Vec<Said> {
        let mut buffer = vec![0u8; 1 << 16];
        // SAFETY: writes into the buffer.
        let n = unsafe { libc::recv(self.channel.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if n <= 0 {
            std::process::exit(1);
        }
        let mut records = Records::of(&buffer[..n as usize]).expect("a message");
        let mut said = Vec::new();
        while let Some(report) = records.report().expect("a report") {
            said.push(match report {
                Report::Entry { slot, generation, state, pid, name } => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    Said::Entry { slot, generation, state, pid, name }
                }
                Report::End => Said::End,
                Report::Orphans { count } => Said::Orphans(count),
                Report::Ping => Said::Ping,
                Report::Guard(standing) => Said::Guard(standing),
                Report::Bound { group, term } => {
                    Said::Bound(String::from_utf8_lossy(group).into_owned(), term)
                }
                _ => Said::Other,
            });
        }
        said
    }

    /// Everything until the end of the snapshot.
    pub fn snapshot(&self) -> Vec<Said> {
        let mut all = Vec::new();
        while !all.iter().any(|s| matches!(s, Said::End)) {
            all.extend(self.hear());
        }
        all
    }

    pub fn define(&self, slot: u32, name: &str, program: &str, arguments: &[&str]) {
        let text = |s: &&str| s.as_bytes().to_vec();
        let image = Image {
            program: program.as_bytes().to_vec(),
            arguments: [program].iter().chain(arguments).map(text).collect(),
            environment: vec![b"PATH=/usr/bin:/bin".to_vec()],
            ..Image::default()
        };
        self.define_image(slot, name, &image);
    }

    pub fn define_image(&self, slot: u32, name: &str, image: &Image) {
        let image = image.encode();
        // SAFETY: a new descriptor.
        let memory =
            unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC)) };
        let mut file = File::from(memory);
        file.write_all(&image).expect("memory");
        let order = Order::Define { slot, name: name.as_bytes(), image: image.len() as u32, output: false };
        self.order(&order, &[&file.into()]);
    }

    pub fn spawn(&self, slot: u32, generation: u64, additions: &str) {
        let targets = Targets::default();
        let additions = additions.as_bytes();
        self.order(&Order::Spawn { slot, generation, cgroup: false, targets, additions }, &[]);
    }

    /// The process id of this slot, when it has executed (and perhaps ended already).
    pub fn started(&self, wanted: u32) -> i32 {
        loop {
            for said in self.hear() {
                if let Said::Entry { slot, pid, state: State::Running | State::Ended(_), .. } = said
                    && slot == wanted
                {
                    return pid;
                }
            }
        }
    }

    pub fn wait(&self) -> ! {
        loop {
            self.hear();
        }
    }
}

/// From now on an exec of this file waits for an answer that nobody gives; `None`: that needs CAP_SYS_ADMIN.
pub fn hold_exec(path: &Path) -> Option<File> {
    const FAN_CLASS_CONTENT: libc::c_uint = 4;
    const FAN_OPEN_EXEC_PERM: u64 = 0x0004_0000;
    let path = CString::new(path.to_str().expect("a path")).expect("no zero byte");
    // SAFETY: plain calls; the descriptor is new.
    unsafe {
        let group = libc::fanotify_init(FAN_CLASS_CONTENT | 1, libc::O_RDONLY as u32);
        let mark = libc::FAN_MARK_ADD;
        let marked = libc::fanotify_mark(group, mark, FAN_OPEN_EXEC_PERM, libc::AT_FDCWD, path.as_ptr());
        (group >= 0 && marked == 0).then(|| File::from_raw_fd(group))
    }
}
