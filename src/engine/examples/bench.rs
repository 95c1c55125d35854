//! How fast the engine decides, and how much memory a child takes.
//!
//! ```text
//! cargo run -q --release -p woodward-engine --example bench
//! ```
//!
//! The times are of this thread on its processor, so that a busy machine does not count. One decision is a whole round:
//! the end of a permanent worker under `one_for_one`, the restart with all its facts, and the outcome of the start.

use std::fs::read_to_string;
use std::time::Duration;
use woodward_engine::spec::{Child, Children, Kind, Restart, Shutdown, Supervisor, Tree, Worker};
use woodward_engine::{Effect, Engine, Event, Exit, Gen, Key, ReqId, Time, Verb};

const ROUNDS: u64 = 500_000;

fn main() {
    println!("{:>9} {:>12} {:>9} {:>12}", "children", "decisions/s", "ns each", "bytes/child");
    // The largest first: what a smaller one takes is lost in what was freed.
    for children in [100_000, 10_000, 1000, 100, 1] {
        let empty = resident();
        let (mut engine, mut generations) = boot(children);
        let memory = match children {
            100_000 => (resident().saturating_sub(empty) / children).to_string(),
            _ => "-".into(),
        };
        // The first pass warms up.
        let passes = (0..4).map(|pass| crash_and_restart(&mut engine, &mut generations, pass));
        let each = passes.skip(1).fold(f64::MAX, f64::min) / ROUNDS as f64;
        println!("{children:>9} {:>12.0} {:>9.0} {memory:>12}", 1.0 / each, each * 1e9);
    }
}

/// A tree of so many children, all up.
fn boot(children: usize) -> (Engine, Vec<Gen>) {
    let (mut engine, mut effects) = (Engine::new(), Vec::new());
    let mut generations = Vec::with_capacity(children);
    let mut events = vec![add_tree(children)];
    while let Some(event) = events.pop() {
        engine.handle(Time(0), event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Start { generation, .. } => {
                    generations.push(generation);
                    events.push(Event::Started { generation });
                }
                Effect::Open { generation, .. } => events.push(Event::Started { generation }),
                _ => {}
            }
        }
    }
    assert_eq!(generations.len(), children);
    (engine, generations)
}

/// Seconds on the processor.
fn crash_and_restart(engine: &mut Engine, generations: &mut [Gen], pass: u64) -> f64 {
    let mut effects = Vec::with_capacity(64);
    let mut at = 0;
    let start = on_processor();
    for round in 0..ROUNDS {
        // A stride, so that neighbours in memory do not follow each other.
        at = (at + 7919) % generations.len();
        let ended = Event::Ended { generation: generations[at], exit: Exit::Code(1) };
        let now = Time(pass * 1_000_000 + round / 1000);
        engine.handle(now, ended, &mut effects);
        for effect in effects.drain(..) {
            if let Effect::Start { generation, .. } = effect {
                generations[at] = generation;
            }
        }
        engine.handle(now, Event::Started { generation: generations[at] }, &mut effects);
        effects.clear();
    }
    on_processor() - start
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok());
    pages.expect("pages") * 4096
}

/// Seconds this thread has run, as the kernel counts them.
fn on_processor() -> f64 {
    let text = read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel with schedstat");
    let ns = text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    ns.expect("nanoseconds") / 1e9
}

fn add_tree(children: usize) -> Event {
    let child = |i: usize| Child {
        id: format!("service-{i}").into(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: Shutdown::Time(Duration::from_secs(5)),
        after: Vec::new(),
        backoff: None,
        kind: Kind::Worker(Worker { key: Key(i as u32), ..Worker::default() }),
    };
    let root = Supervisor {
        intensity: u32::MAX,
        period: 1,
        children: Children::List((0..children).map(child).collect()),
        ..Supervisor::default()
    };
    let tree = Tree { id: "bench".into(), root, shutdown: None, seed: 0 };
    Event::Request { id: ReqId(1), path: "bench".into(), verb: Verb::AddTree(Box::new(tree)) }
}
