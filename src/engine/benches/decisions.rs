//! How many crash → restart decisions a second the engine takes, and whether a large supervisor makes each dearer.
//!
//! One decision = `Ended` (matrix, window, the start that follows) and `Started` of the replacement. One crash a
//! millisecond on the virtual clock, so 5000 restarts are in the window. Run with `cargo bench -p woodward-engine`.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use woodward_engine::spec::{
    Child, Children, Kind, Order, Restart, Shutdown, Strategy, Supervisor, Tree, Worker,
};
use woodward_engine::{Effect, Engine, Event, Exit, Gen, Reason, ReqId, Time, Verb};

const DECISIONS: u64 = 1_000_000;
const ROUNDS: usize = 5;

fn main() {
    println!("{:<14} {:>9} {:>14} {:>9}", "order", "children", "decisions/s", "ns each");
    for order in [Order::Listed, Order::Dependencies] {
        for children in [1, 100, 1000, 10_000, 100_000] {
            let best = (0..ROUNDS).map(|_| nanoseconds(order, children)).fold(f64::MAX, f64::min);
            println!("{:<14} {children:>9} {:>14.0} {best:>9.0}", format!("{order:?}"), 1e9 / best);
        }
    }
}

/// Nanoseconds per decision under one supervisor with so many children.
fn nanoseconds(order: Order, children: usize) -> f64 {
    let mut engine = Engine::new();
    let mut effects = Vec::new();
    let mut current = Vec::with_capacity(children);
    let tree = Event::Request {
        id: ReqId(1),
        path: "t".into(),
        verb: Verb::AddTree(Box::new(tree(order, children))),
    };
    engine.handle(Time(0), tree, &mut effects);
    while !effects.is_empty() {
        for effect in std::mem::take(&mut effects) {
            if let Effect::Start { generation, .. } | Effect::Open { generation, .. } = effect {
                if matches!(effect, Effect::Start { .. }) {
                    current.push(generation);
                }
                engine.handle(Time(0), Event::Started { generation }, &mut effects);
            }
        }
    }
    assert_eq!(current.len(), children, "all are up");

    let mut random = 1_u64;
    let begun = Instant::now();
    for n in 0..DECISIONS {
        // A linear congruential generator: no sibling is favoured, nothing else is measured.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 33) as usize % children;
        let exit = Exit::Reason(Reason::Crash);
        engine.handle(Time(n), Event::Ended { generation: current[victim], exit }, &mut effects);
        let generation = effects.iter().find_map(started).expect("a crash is answered with a start");
        current[victim] = generation;
        engine.handle(Time(n), Event::Started { generation }, &mut effects);
        black_box(&effects);
        effects.clear();
    }
    begun.elapsed().as_nanos() as f64 / DECISIONS as f64
}

fn started(effect: &Effect) -> Option<Gen> {
    match effect {
        Effect::Start { generation, .. } => Some(*generation),
        _ => None,
    }
}

fn tree(order: Order, children: usize) -> Tree {
    let child = |n: usize| Child {
        id: n.to_string().into(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: Shutdown::BrutalKill,
        after: Vec::new(),
        backoff: None,
        kind: Kind::Worker(Worker::default()),
    };
    let root = Supervisor {
        strategy: Strategy::OneForOne,
        intensity: 10_000,
        period: 5,
        order,
        children: Children::List((0..children).map(child).collect()),
        ..Supervisor::default()
    };
    Tree { id: "t".into(), root, shutdown: None, seed: 0 }
}
