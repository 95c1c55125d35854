//! How many lines a second of one child are captured into a file, one `write(2)` per line, beside the floor: a thread
//! that reads the same pipe and writes the same file, with nothing in between.
//!
//! ```text
//! cargo bench --bench log_capture [-- LINES [BYTES [DIRECTORY]]]
//! ```

#![allow(clippy::disallowed_methods, reason = "the bench starts its writer and looks at the clock itself")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use woodward::record::{Places, Record};
use woodward::tree::{Output, WorkerPlan};

const WRITER: &str = "LOG_CAPTURE_WRITER";

fn main() {
    if let Ok(job) = std::env::var(WRITER) {
        return write_lines(&job);
    }
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let lines: u64 = args.next().map_or(2_000_000, |arg| arg.parse().expect("a number of lines"));
    let bytes: usize = args.next().map_or(200, |arg| arg.parse().expect("a number of bytes"));
    let dir = match args.next() {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a directory");
    println!("{lines} lines of {bytes} bytes, one write each, into {}", dir.path().display());
    println!("{:<10} {:>12} {:>12} {:>10} {:>8}", "", "lines/s", "in the file", "dropped", "cpu");
    for _ in 0..3 {
        floor(&dir.path().join("floor.log"), lines, bytes);
        ours(dir.path(), lines, bytes);
    }
}

/// In another process: lines to standard output, each by one system call.
fn write_lines(job: &str) {
    let (lines, bytes) = job.split_once(' ').expect("two numbers");
    let lines: u64 = lines.parse().expect("a number of lines");
    let mut line = vec![b'x'; bytes.parse().expect("a number of bytes")];
    *line.last_mut().expect("a newline at least") = b'\n';
    let out = std::io::stdout();
    for _ in 0..lines {
        assert_eq!(nix::unistd::write(&out, &line), Ok(line.len()));
    }
}

fn writer(lines: u64, bytes: usize, output: OwnedFd) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(WRITER, format!("{lines} {bytes}")).stdout(Stdio::from(output));
    command.spawn().expect("a writer")
}

fn floor(file: &Path, lines: u64, bytes: usize) {
    let (from, to) = std::io::pipe().expect("a pipe");
    let mut from = File::from(OwnedFd::from(from));
    let (begun, cpu) = (Instant::now(), cpu());
    let mut writer = writer(lines, bytes, to.into());
    let mut out = File::create(file).expect("a file");
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = from.read(&mut buffer).expect("readable");
        if n == 0 {
            break;
        }
        out.write_all(&buffer[..n]).expect("room");
    }
    print("floor", lines, begun.elapsed(), self::cpu() - cpu, file, 0);
    writer.wait().expect("a writer");
}

fn ours(dir: &Path, lines: u64, bytes: usize) {
    let file = dir.join("ours.log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let places = Places { journal: dir.join("none"), ..Places::new(dir.join("run"), None) };
        let record = Record::open(places, None).expect("a record");
        let output = Output::File { file: file.clone(), max_size: None, keep: 0 };
        let stream = record.stream(&worker(output), "bench/writer").expect("a stream");
        stream.begin(1, 0);
        let output = stream.writer().expect("captured").try_clone().expect("a descriptor");
        let (begun, cpu) = (Instant::now(), cpu());
        let mut writer = writer(lines, bytes, output);
        let waited = tokio::task::spawn_blocking(move || writer.wait());
        waited.await.expect("no panic").expect("a writer");
        stream.end();
        record.close().await;
        print("woodward", lines, begun.elapsed(), self::cpu() - cpu, &file, stream.dropped());
    });
    std::fs::remove_dir_all(dir.join("run")).expect("the run directory");
}

fn print(who: &str, lines: u64, took: Duration, cpu: Duration, file: &Path, dropped: u64) {
    let rate = lines as f64 / took.as_secs_f64();
    let share = 100.0 * cpu.as_secs_f64() / took.as_secs_f64();
    let mut found = 0;
    let mut buffer = vec![0; 1 << 20];
    let mut read = File::open(file).expect("a file");
    loop {
        let n = read.read(&mut buffer).expect("readable");
        if n == 0 {
            break;
        }
        found += memchr::memchr_iter(b'\n', &buffer[..n]).count();
    }
    println!("{who:<10} {rate:>12.0} {found:>12} {dropped:>10} {share:>7.0}%");
    std::fs::remove_file(file).expect("the file");
}

/// Time of all threads of this process on a processor.
fn cpu() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    let (user, system) = (usage.user_time(), usage.system_time());
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    Duration::from_micros((micros(user) + micros(system)).cast_unsigned())
}

fn worker(output: Output) -> WorkerPlan {
    WorkerPlan { path: "bench/writer".to_owned(), output, ..WorkerPlan::default() }
}
