//! What a start costs when the keeper holds many descriptors: it must not depend on them. The keeper is a thread here, so
//! the descriptors of this program are its own. Run with `cargo bench --bench spawn`.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use woodward::os::{self, Launch, Os, ProcessEvent, Program, Role};
use woodward::tree::{Identity, KillMode, Stdin};

const STARTS: u64 = 300;
const ROUNDS: u64 = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let os = Os::connect(os::library().expect("a keeper"), dir.path()).await.expect("connected");
        let mut held = Vec::new();
        let mut generation = 0;
        let mut none = None;
        for descriptors in [0, 1000, 4000, 16_000] {
            while held.len() < descriptors {
                held.push(File::open("/dev/null").expect("a descriptor; see `ulimit -n`"));
            }
            let mut best = f64::MAX;
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                for _ in 0..STARTS {
                    generation += 1;
                    start(&os, generation).await;
                }
                best = best.min(begun.elapsed().as_micros() as f64 / STARTS as f64);
            }
            let ratio = best / *none.get_or_insert(best);
            println!(
                "{descriptors:>6} descriptors: {best:>6.0} µs from order to proof of the end, {ratio:.2} x"
            );
        }
    });
}

/// Starts `true` and waits until nothing of it is left.
async fn start(os: &Os, generation: u64) {
    let (sink, mut events) = mpsc::unbounded_channel();
    os.launch(Launch {
        program: Arc::new(Program {
            path: "bench/true".into(),
            command: vec!["/bin/true".to_owned()],
            environment: Arc::new(Vec::new()),
            identity: Identity::default(),
            working_directory: None,
            directories: Vec::new(),
            stdin: Stdin::Null,
            resources: Default::default(),
            sandbox: Default::default(),
            bound: Default::default(),
        }),
        generation,
        role: Role::Main,
        additions: Vec::new(),
        output: None,
        descriptors: Vec::new(),
        kill: KillMode::Mixed,
        sink: Box::new(move |event| drop(sink.send(event))),
    });
    while let Some(event) = events.recv().await {
        match event {
            ProcessEvent::Emptied => return,
            ProcessEvent::Failed(error) => panic!("cannot start: {error}"),
            ProcessEvent::Started { .. } | ProcessEvent::Exited(_) => {}
        }
    }
}
