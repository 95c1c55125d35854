//! What a start through the stage costs against a plain one: one-shots that do nothing, one after the other, from order
//! to proof of the end, by the built program. Run with `cargo bench --bench stage`.
#![allow(clippy::disallowed_methods, reason = "a bench starts the program and reads the clock")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STARTS: u32 = 100;
const ROUNDS: u32 = 3;

/// What is measured, and the keys that make it so.
const KINDS: [(&str, &str); 5] = [
    ("plain", ""),
    ("no_new_privileges", "no_new_privileges = true"),
    ("read_only_paths", "read_only_paths = [\"/usr\"]"),
    ("private_tmp", "private_tmp = true"),
    ("harden = \"strict\"", "harden = \"strict\""),
];

fn main() {
    let mut best = [Duration::MAX; KINDS.len()];
    for _ in 0..ROUNDS {
        // In turn, so that a busy moment is everybody's.
        for (kind, best) in KINDS.iter().zip(&mut best) {
            let time = run(STARTS, kind.1).saturating_sub(run(0, kind.1));
            *best = time.min(*best);
        }
    }
    for ((name, _), time) in KINDS.iter().zip(best) {
        let (one, plain) =
            (time.as_secs_f64() / f64::from(STARTS), best[0].as_secs_f64() / f64::from(STARTS));
        println!("{name:<20} {:>6.0} µs a start, {:>+6.0} µs", one * 1e6, (one - plain) * 1e6);
    }
}

/// From the program's own start to the end of the last one.
fn run(starts: u32, keys: &str) -> Duration {
    let dir = tempfile::tempdir().expect("a directory");
    let done = dir.path().join("done");
    let tree = format!(
        "id = \"t\"\n[[child]]\nid = \"c${{n}}\"\neach.n = {}\nkind = \"oneshot\"\ncommand = \"/bin/true\"\noutput = \"null\"\n{keys}\n\
         [[child]]\nid = \"last\"\nkind = \"oneshot\"\noutput = \"null\"\ncommand = [\"/usr/bin/touch\", \"{}\"]\n",
        starts.max(1),
        done.display()
    );
    let file = dir.path().join("tree.toml");
    std::fs::write(&file, tree).expect("a file");
    let begun = Instant::now();
    let mut woodward = daemon(dir.path(), &file);
    while !done.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the last one was never started");
        std::thread::sleep(Duration::from_micros(200));
    }
    let time = begun.elapsed();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(woodward.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("it runs");
    woodward.wait().expect("our own child can be waited for");
    time
}

fn daemon(dir: &Path, file: &Path) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_woodward"));
    command.arg("run").arg(file).arg("--socket").arg(dir.join("sock")).arg("--state").arg(dir.join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program can be started")
}
