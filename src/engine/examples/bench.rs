//! How fast the engine decides, and how much memory a child takes.
//!
//! ```text
//! cargo run -q --release -p woodward-engine --example bench
//! ```
//!
//! The times are of this thread on its processor, so that a busy machine does not count. One decision is a whole round: the end of a permanent worker under `one_for_one`, the restart with all its facts,
//! and the outcome of the start.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use woodward_engine::spec::{Child, Children, Kind, Restart, Shutdown, Supervisor, Tree, Worker};
use woodward_engine::{Effect, Engine, Event, Exit, Gen, Key, ReqId, Time, Verb};

/// Counts what is allocated.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    println!(
        "{:>9} {:>12} {:>9} {:>14} {:>16}",
        "children", "decisions/s", "ns each", "bytes/child", "allocations each"
    );
    for children in [1, 100, 1000, 10_000, 100_000] {
        run(children);
    }
}

fn run(children: usize) {
    let empty = BYTES.load(Ordering::Relaxed);
    let (mut engine, mut effects) = (Engine::new(), Vec::new());
    let mut generations: Vec<Gen> = Vec::new();
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
    effects = Vec::with_capacity(64);
    let held = BYTES.load(Ordering::Relaxed) - empty - generations.capacity() * size_of::<Gen>();

    let rounds = 500_000;
    let mut best = f64::MAX;
    let mut allocations = 0;
    // The first pass warms up.
    for pass in 0..4 {
        let (before, start) = (CALLS.load(Ordering::Relaxed), on_processor());
        let mut at = 0;
        for round in 0..rounds {
            // A stride, so that neighbours in memory do not follow each other.
            at = (at + 7919) % children;
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
        if pass > 0 {
            best = best.min(on_processor() - start);
            allocations = CALLS.load(Ordering::Relaxed) - before;
        }
    }
    let each = best / rounds as f64;
    println!(
        "{children:>9} {:>12.0} {:>9.0} {:>14} {:>16.3}",
        1.0 / each,
        each * 1e9,
        held / children,
        allocations as f64 / rounds as f64
    );
}

/// Seconds this thread has run, as the kernel counts them.
fn on_processor() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel with schedstat");
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
