//! How late the keeper kills: microseconds from the deadline to the moment when the kernel has been told to kill, with so
//! many busy processes beside it. As root; the load is this program's own.
//!
//! `cargo run --release -p woodward-keeper --example lateness -- ROUNDS BUSY`, see `benches/failover/lateness`.

#![allow(clippy::disallowed_methods, reason = "a measurement starts programs")]
#![allow(clippy::expect_used, reason = "a measurement")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use woodward_keeper::image::Image;
use woodward_keeper::wire::guard::{self, Standing};
use woodward_keeper::wire::{Message, Order, Records, Report, State, Targets};

/// Milliseconds a deadline lies ahead.
const AHEAD: u64 = 40;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[1..] {
        ["keeper", dir, rounds] => keeper(dir, rounds),
        ["daemon", dir, rounds] => daemon(Path::new(dir), rounds.parse().expect("a number")),
        [rounds, busy] => measure(rounds, busy.parse().expect("a number")),
        _ => panic!("lateness ROUNDS BUSY"),
    }
}

fn measure(rounds: &str, busy: usize) {
    let dir = std::env::temp_dir().join(format!("woodward-lateness-{}", std::process::id()));
    fs::create_dir(&dir).expect("a directory");
    // Every other one forks all the time.
    let load =
        (0..busy).map(|n| if n % 2 == 0 { "while :; do :; done" } else { "while :; do /bin/true; done" });
    let load: Vec<_> =
        load.map(|script| Command::new("/bin/sh").args(["-c", script]).spawn().expect("load")).collect();
    let exe = std::env::current_exe().expect("this program");
    let status = Command::new(exe).arg("keeper").arg(&dir).arg(rounds).status().expect("a keeper");
    for mut process in load {
        process.kill().expect("a child");
        process.wait().expect("a child");
    }
    fs::remove_dir_all(dir).expect("its directory");
    std::process::exit(status.code().unwrap_or(1));
}

fn keeper(dir: &str, rounds: &str) {
    let exe = std::env::current_exe().expect("this program");
    let words = [exe.to_str().expect("a path"), "daemon", dir, rounds];
    let daemon = words.iter().map(|w| CString::new(*w).expect("no zero byte")).collect();
    let members = |_: &Path, _: &str, _| Vec::new();
    let config = woodward_keeper::Config { daemon, state: dir.into(), notify: None, init: false, members };
    std::process::exit(woodward_keeper::run(config).into());
}

fn daemon(dir: &Path, rounds: u64) {
    // SAFETY: the keeper has left it there; made to block.
    let channel = unsafe {
        libc::fcntl(woodward_keeper::CHANNEL, libc::F_SETFL, 0);
        OwnedFd::from_raw_fd(woodward_keeper::CHANNEL)
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("control groups, version 2");
    let hierarchy = PathBuf::from(line.split(' ').nth(4).expect("a place"));
    let group = hierarchy.join(dir.file_name().expect("a name"));
    let image = Image {
        program: b"/bin/sleep".to_vec(),
        arguments: vec![b"sleep".to_vec(), b"1000".to_vec()],
        bound: true,
        ..Image::default()
    };
    let image = image.encode();
    // SAFETY: a new descriptor.
    let mut memory =
        File::from(unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC)) });
    memory.write_all(&image).expect("memory");
    order(
        &channel,
        &Order::Define { slot: 0, name: b"g/s", image: image.len() as u32, output: false },
        &[&memory],
    );
    let (mut late, mut last) = (Vec::new(), Standing::default());
    for round in 1..=rounds {
        let place = group.join("s");
        fs::create_dir_all(&place).expect("a control group");
        let open = |name: &str, write: bool| {
            File::options().read(!write).write(write).open(group.join(name)).expect("a file of the group")
        };
        let files = [open("cgroup.kill", true), open("cgroup.events", false)];
        order(&channel, &Order::Begin { term: round, hold: 10_000 }, &[]);
        order(
            &channel,
            &Order::Bind { group: b"g", term: round, cgroup: true, messages: b"" },
            &[&files[0], &files[1]],
        );
        order(&channel, &Order::Arm { term: round, number: 1, deadline: now() + 9_000 }, &[]);
        let directory = File::open(&place).expect("the group");
        let (targets, additions) = (Targets::default(), &b""[..]);
        let spawn = Order::Spawn { slot: 0, generation: round, cgroup: true, targets, additions };
        order(&channel, &spawn, &[&directory]);
        let mut armed = false;
        let mut ended = false;
        while !(ended && last.term == round && last.fired > 0) {
            for (standing, state) in hear(&channel) {
                last = standing.unwrap_or(last);
                ended |= matches!(state, Some(State::Ended(_) | State::Failed { .. }));
                if matches!(state, Some(State::Running)) && !armed {
                    armed = true;
                    order(&channel, &Order::Arm { term: round, number: 2, deadline: now() + AHEAD }, &[]);
                }
            }
        }
        late.push(last.late);
        order(&channel, &Order::Ack { slot: 0, generation: round }, &[]);
        fs::remove_dir(&place).expect("empty");
        fs::remove_dir(&group).expect("empty");
        order(&channel, &Order::Unbind { group: b"g" }, &[]);
    }
    late.sort_unstable();
    let at = |part: usize| late[(late.len() * part / 1000).min(late.len() - 1)] as f64 / 1000.0;
    let has = |bit, name| if last.means & bit != 0 { name } else { "-" };
    println!(
        "{rounds} kills, {} {}: p50 {:.3} ms  p99 {:.3} ms  max {:.3} ms",
        has(guard::REAL_TIME, "real-time"),
        has(guard::MEMORY, "locked memory"),
        at(500),
        at(990),
        at(1000),
    );
    order(&channel, &Order::Exit { code: 0 }, &[]);
}

/// Milliseconds of CLOCK_BOOTTIME.
fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to `t`.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut t) };
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

fn hear(channel: &OwnedFd) -> Vec<(Option<Standing>, Option<State>)> {
    let mut buffer = vec![0u8; 1 << 16];
    // SAFETY: writes into the buffer.
    let n = unsafe { libc::recv(channel.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    let n = usize::try_from(n).ok().filter(|&n| n > 0).expect("a keeper");
    let mut records = Records::of(&buffer[..n]).expect("a message");
    let mut heard = Vec::new();
    while let Some(report) = records.report().expect("a report") {
        heard.push(match report {
            Report::Guard(standing) => (Some(standing), None),
            Report::Entry { state, .. } => (None, Some(state)),
            _ => (None, None),
        });
    }
    heard
}

fn order(channel: &OwnedFd, order: &Order, files: &[&File]) {
    let mut message = Message::default();
    message.order(order);
    let bytes = message.bytes();
    let mut control = [0u64; 8];
    // SAFETY: everything the header points to lives long enough.
    unsafe {
        let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut head: libc::msghdr = std::mem::zeroed();
        (head.msg_iov, head.msg_iovlen) = (&mut piece, 1);
        if !files.is_empty() {
            let length = 4 * files.len() as u32;
            head.msg_control = control.as_mut_ptr().cast();
            head.msg_controllen = libc::CMSG_SPACE(length) as _;
            let c = libc::CMSG_FIRSTHDR(&head);
            ((*c).cmsg_level, (*c).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
            (*c).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(c).cast::<i32>();
            files.iter().enumerate().for_each(|(i, file)| data.add(i).write_unaligned(file.as_raw_fd()));
        }
        assert!(libc::sendmsg(channel.as_raw_fd(), &head, libc::MSG_NOSIGNAL) >= 0, "cannot send");
    }
}
