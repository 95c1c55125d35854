//! Rendering a tree of 1000 services as units: from the plan to the text of every file, without writing them. Beside it,
//! in the same run, what writing the same bytes to files in memory takes.
//!
//!     cargo bench --bench render
#![allow(clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use woodward::tree::{self, Options as TreeOptions, Plan};
use woodward::units::{self, Mode, Options, Release, Rendering, Scope};

const ROUNDS: usize = 11;

fn main() {
    for (name, tree) in
        [("flat, one_for_one", flat(1000)), ("ten groups of a hundred, by dependencies", groups(10, 100))]
    {
        let plan = planned(&tree);
        for mode in [Mode::Native, Mode::Supervised] {
            let options = options(mode);
            let (time, rendering) = median(|| {
                let rendering = units::generate(&plan, &options).expect("a tree of services can be rendered");
                let files = rendering.units.iter().map(|unit| (unit.name.clone(), unit.to_string()));
                let files: Vec<(String, String)> = files.collect();
                (rendering, files)
            });
            let (Rendering { units, .. }, files) = rendering;
            let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
            let (written, ()) = median(|| write(&files));
            println!(
                "1000 services, {name}, {}: {} units, {bytes} bytes, {:.1} ms; writing them to files: {:.1} ms",
                mode.name(),
                units.len(),
                time.as_secs_f64() * 1e3,
                written.as_secs_f64() * 1e3,
            );
        }
    }
}

fn median<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        last = Some(work());
        times.push(begin.elapsed());
    }
    times.sort();
    (times[ROUNDS / 2], last.expect("there was a round"))
}

fn write(files: &[(String, String)]) {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("written");
    }
}

fn service(n: usize, keys: &str) -> String {
    format!(
        "id = \"w{n}\"\ncommand = [\"/usr/bin/sleep\", \"{n}\"]\nready = {{ tcp = \"127.0.0.1:{}\" }}\n\
         user = \"nobody\"\nmemory_max = \"64M\"\n{keys}\n",
        10_000 + n
    )
}

fn flat(n: usize) -> String {
    (0..n).fold("id = \"t\"\n".to_owned(), |mut text, n| {
        write!(text, "[[child]]\n{}", service(n, "")).expect("a string takes everything");
        text
    })
}

fn groups(groups: usize, each: usize) -> String {
    let mut text = "id = \"t\"\n".to_owned();
    for group in 0..groups {
        write!(text, "[[child]]\nid = \"g{group}\"\nstrategy = \"rest_for_one\"\norder = \"dependencies\"\n")
            .expect("a string takes everything");
        for n in 0..each {
            let after = if n == 0 { String::new() } else { format!("after = [\"w{}\"]", n - 1) };
            write!(text, "[[child.child]]\n{}", service(n, &after)).expect("a string takes everything");
        }
    }
    text
}

fn planned(text: &str) -> Plan {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("t.toml");
    std::fs::write(&file, text).expect("written");
    let options = TreeOptions { host: "host".to_owned(), ..TreeOptions::default() };
    tree::load(&file, &options).expect("the tree is sound").0
}

fn options(mode: Mode) -> Options {
    Options {
        mode,
        release: Release::OLDEST,
        scope: Scope::System,
        prefix: String::new(),
        source: PathBuf::from("/etc/woodward/trees/t.toml"),
        program: PathBuf::from("/usr/bin/woodward"),
        environment: Vec::new(),
        vars: Vec::new(),
        accepted: Vec::new(),
    }
}
