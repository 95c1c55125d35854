//! Clusters of two to five nodes in virtual time, thousands of them: the machine of `woodward_engine::cluster` with random trees,
//! preferences and rules, and everything that goes wrong. Hosts freeze, lose power and boot, clocks run up to 2 % apart,
//! daemons and keepers stand still or die, requests and answers are late, lost, doubled or overtaken, watches lag, tear
//! and stall, the store is away, trees give up, are late or stuck, people ask for anything. Then all is mended, and what
//! should run must run.
//!
//! What must hold (I1 to I8) is looked at after everything that happens (`judge.rs`); afterwards (`after.rs`): everything is active on
//! exactly one node, on the best one where it comes back by itself; nothing moves any more; when a node dies its groups
//! are taken over; a drained node becomes empty.
//!
//! ```text
//! cargo test -p woodward-engine --test cluster_sim                        500 seeds of each kind
//! WOODWARD_WORLDS=20000 WOODWARD_SEED=1000 cargo test ...                 more of them, from another first one
//! WOODWARD_TRACE=1234 cargo test ... NAME -- --nocapture                  one seed of the kind NAME, told
//! ```
//!
//! A seed that fails is made smaller: faults are left out as long as it still fails. What is left is printed with its trace, and
//! `WOODWARD_TRACE` does the same again.

#[path = "cluster_sim/after.rs"]
mod after;
mod cluster_world;
#[path = "cluster_sim/judge.rs"]
mod judge;
#[path = "cluster_sim/plan.rs"]
mod plan;
#[path = "common/random.rs"]
mod random;
#[path = "cluster_sim/world.rs"]
mod world;

use plan::{Plan, Taste};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// Lives a plan to its end: what is wrong with it, what was told if it was to be, and how often groups moved.
fn live(plan: &Plan, tell: bool) -> (Option<String>, Vec<(u64, String)>, usize) {
    let mut world = World::new(plan.clone());
    world.judge.trace = tell.then(Vec::new);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        world.live(plan.heal);
        after::all_is_well_in_the_end(&mut world);
    }));
    let wrong = match lived {
        Ok(()) => world.judge.wrong.clone(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            Some(format!("a panic: {}", text.unwrap_or_default()))
        }
    };
    (wrong, world.judge.trace.take().unwrap_or_default(), world.judge.moves.len())
}

/// The kind of a complaint: what it is about, without names and numbers.
fn kind(wrong: &str) -> String {
    wrong.split(|c: char| c.is_whitespace()).next().unwrap_or_default().to_owned()
}

/// Leaves out faults as long as it fails in the same way.
fn shrink(mut plan: Plan, wrong: &str) -> Plan {
    let mut size = plan.faults.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = plan.faults.len();
        while at < plan.faults.len() {
            let mut less = plan.clone();
            less.faults.drain(at..(at + size).min(less.faults.len()));
            match live(&less, false).0 {
                Some(other) if kind(&other) == kind(wrong) => plan = less,
                _ => at += size,
            }
        }
        if size == 1 && plan.faults.len() == before {
            return plan;
        }
        size = size.div_ceil(2).max(1);
    }
}

fn report(name: &str, seed: u64, plan: &Plan) -> String {
    let (wrong, trace, _) = live(plan, true);
    let lines: Vec<String> =
        trace.iter().map(|(at, text)| format!("{:>9.3} {text}", *at as f64 / 1e6)).collect();
    let from = if number("WOODWARD_TRACE").is_some() { 0 } else { lines.len().saturating_sub(250) };
    format!(
        "seed {seed} of {name}: {}\n{plan}{}\n(WOODWARD_TRACE={seed} tells all of it)",
        wrong.unwrap_or_else(|| "nothing wrong".into()),
        lines[from..].join("\n")
    )
}

fn check(name: &str, taste: Taste) {
    if let Some(seed) = number("WOODWARD_TRACE") {
        let plan = Plan::new(seed, taste);
        let plan = match live(&plan, false).0 {
            Some(wrong) if number("WOODWARD_WHOLE").is_none() => shrink(plan, &wrong),
            _ => plan,
        };
        println!("{}", report(name, seed, &plan));
        return;
    }
    let (first, worlds) = (number("WOODWARD_SEED").unwrap_or(1), number("WOODWARD_WORLDS").unwrap_or(500));
    let (mut moves, mut failed) = (0, Vec::new());
    for seed in first..first + worlds {
        let plan = Plan::new(seed, taste);
        let (wrong, _, moved) = live(&plan, false);
        moves += moved;
        if let Some(wrong) = wrong {
            println!("{name} {seed}: {wrong}");
            failed.push((seed, wrong));
            if failed.len() as u64 > number("WOODWARD_FAILURES").unwrap_or(0) {
                break;
            }
        }
    }
    println!("{name}: {worlds} seeds, {moves} moves");
    if let Some((seed, wrong)) = failed.first() {
        let plan = shrink(Plan::new(*seed, taste), wrong);
        panic!("{}", report(name, *seed, &plan));
    }
}

#[test]
fn one_node_at_work_and_all_well_in_the_end_whatever_goes_wrong() {
    check("all", Taste::All);
}

#[test]
fn one_node_at_work_at_every_instant_if_nothing_freezes() {
    check("awake", Taste::Awake);
}

#[test]
fn trees_that_give_up_and_people_who_ask_move_groups_and_not_more_than_that() {
    check("calm", Taste::Calm);
}

#[test]
fn links_that_flap_move_groups_a_bounded_number_of_times() {
    check("flapping", Taste::Flapping);
}
