//! What a start costs when the keeper holds many descriptors: microseconds per start with none and with 16
//! 000 more.
//!
//! `cargo run --release -p woodward-keeper --example descriptors`

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use woodward_keeper::image::Image;
use woodward_keeper::wire::{Message, Order, Records, Report, State, Targets};

const STARTS: u64 = 1000;
const MANY: usize = 16_000;

fn main() -> io::Result<()> {
    // SAFETY: raises a limit of this process.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    let channel = woodward_keeper::thread()?;
    // SAFETY: this end may block.
    unsafe { libc::fcntl(channel.as_raw_fd(), libc::F_SETFL, 0) };
    let image =
        Image { program: b"/bin/true".to_vec(), arguments: vec![b"true".to_vec()], ..Image::default() };
    let image = image.encode();
    // SAFETY: a new descriptor.
    let mut memory =
        File::from(unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"image".as_ptr(), libc::MFD_CLOEXEC)) });
    memory.write_all(&image)?;
    order(
        &channel,
        &Order::Define { slot: 0, name: b"true", image: image.len() as u32, output: false },
        Some(&memory),
    );

    let mut generation = 0;
    let mut held = Vec::new();
    for round in 0..4 {
        if round % 2 == 0 {
            held.clear();
        } else {
            held = (0..MANY).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<_>>>()?;
        }
        let begin = Instant::now();
        for _ in 0..STARTS {
            generation += 1;
            let targets = Targets::default();
            order(
                &channel,
                &Order::Spawn { slot: 0, generation, cgroup: false, targets, additions: b"" },
                None,
            );
            wait(&channel, generation);
            order(&channel, &Order::Ack { slot: 0, generation }, None);
        }
        println!(
            "{:6} descriptors: {:4} µs per start and end",
            held.len(),
            begin.elapsed().as_micros() as u64 / STARTS
        );
    }
    Ok(())
}

fn order(channel: &OwnedFd, order: &Order, descriptor: Option<&File>) {
    let mut message = Message::default();
    message.order(order);
    let mut control = [0u64; 4];
    // SAFETY: everything the header points to lives long enough.
    unsafe {
        let bytes = message.bytes();
        let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut head: libc::msghdr = std::mem::zeroed();
        (head.msg_iov, head.msg_iovlen) = (&mut piece, 1);
        if let Some(descriptor) = descriptor {
            head.msg_control = control.as_mut_ptr().cast();
            head.msg_controllen = libc::CMSG_SPACE(4) as _;
            let c = libc::CMSG_FIRSTHDR(&head);
            ((*c).cmsg_level, (*c).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
            (*c).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(c).cast::<i32>().write_unaligned(descriptor.as_raw_fd());
        }
        assert!(libc::sendmsg(channel.as_raw_fd(), &head, libc::MSG_NOSIGNAL) >= 0, "the keeper is gone");
    }
}

fn wait(channel: &OwnedFd, wanted: u64) {
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        // SAFETY: writes into the buffer.
        let n = unsafe { libc::recv(channel.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(n @ 1..) = usize::try_from(n) else { panic!("the keeper is gone") };
        let Ok(mut records) = Records::of(&buffer[..n]) else { panic!("not understood") };
        while let Ok(Some(report)) = records.report() {
            if matches!(report, Report::Entry { generation, state: State::Ended(_), .. } if generation == wanted)
            {
                return;
            }
        }
    }
}
