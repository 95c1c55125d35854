//! Every interleaving of a small cluster, with the same code that runs: the machine of `woodward_engine::cluster`, around it a
//! register, keepers, and messages that may be late, lost or overtaken; hosts that freeze, lose power and boot, daemons that
//! stand still, die and are resumed, trees that give up, people who ask. Time goes in steps of 50 ms (beat 1, hold 3, wait 4).
//!
//! In each state must hold: at most one node has a group running and able to act (but for the instant in which a frozen one
//! wakes: its keeper looks at the clock first); a group starts only at its owner with its epoch; its owner changes only when
//! nothing of it runs, by itself or by who ends its term; terms rise; every change has a reason. And what a search is for must
//! happen in it: takeover, rejoin, handover, resume.
//!
//! ```text
//! cargo test -p woodward-engine --test cluster_model -- --nocapture     numbers of states
//! WOODWARD_DEPTH=3 cargo test ...                                       three more steps of time in every search
//! WOODWARD_STATES=50000000 cargo test ...                               no search is cut short before so many
//! ```
//!
//! What is not looked at: how long a start takes (at once, unless trees give up), notes that only people read (written at
//! once), and of a node's late messages more than the newest beat, two answers and one transaction that was given up.
//!
//! A counter-example is the shortest there is, and is printed step by step: time, for each node the steps left to its
//! keeper's deadline and what runs, and what happened. It is the same in every run.

#[path = "cluster_model/broken.rs"]
mod broken;
#[path = "cluster_model/canon.rs"]
mod canon;
mod cluster_world;
#[path = "cluster_model/search.rs"]
mod search;
#[path = "cluster_model/state.rs"]
mod state;

use broken::Broken;
use cluster_world::{group, name};
use search::{Found, search};
use state::{Budget, World};
use woodward_engine::cluster::Request;
use woodward_engine::cluster::register::Order;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn world(nodes: usize, groups: usize, broken: Broken) -> World {
    let names: Vec<_> = ["a", "b", "c"][..nodes].iter().map(|n| name(n)).collect();
    let groups = ["g", "h"][..groups].iter().map(|g| group(&name(g), &names)).collect();
    World { names, groups, broken }
}

fn quiet(nodes: usize, ticks: u64) -> Budget {
    Budget { ticks, ..Budget::none(nodes) }
}

fn run(what: &str, world: &World, mut budget: Budget) -> Found {
    budget.ticks += number("WOODWARD_DEPTH", 0);
    let found = search(world, &budget, number("WOODWARD_STATES", 60_000) as usize);
    println!(
        "{what}: {} states, {} steps deep{}; {}",
        found.states,
        found.depth,
        if found.cut_short { " (cut short)" } else { "" },
        found.seen
    );
    found
}

fn check(what: &str, world: &World, budget: Budget) -> Found {
    let found = run(what, world, budget);
    if let Some(wrong) = &found.wrong {
        panic!("{what}: {wrong}");
    }
    found
}

#[test]
fn one_node_at_work_whatever_comes_late_or_not_at_all() {
    let budget = Budget { late: vec![2, 0], messages: 5, ..quiet(2, 9) };
    let found = check("lost and late messages", &world(2, 1, Broken::Nothing), budget);
    assert!(found.seen.takeover && found.seen.fired, "{}", found.seen);
}

#[test]
fn one_node_at_work_however_old_what_the_others_see_is() {
    let budget = Budget { lags: vec![false, true], messages: 3, crashes: 1, ..quiet(2, 7) };
    let found = check("lagging watches", &world(2, 1, Broken::Nothing), budget);
    assert!(found.seen.takeover, "{}", found.seen);
}

#[test]
fn one_node_at_work_whoever_freezes_and_wakes() {
    let budget = Budget { freezes: 1, ..quiet(2, 12) };
    let found = check("freezing", &world(2, 1, Broken::Nothing), budget);
    assert!(found.seen.takeover && found.seen.rejoin, "{}", found.seen);
}

#[test]
fn one_node_at_work_whose_daemon_dies_or_stands_still() {
    let budget = Budget { deaths: 1, naps: 1, ..quiet(2, 10) };
    let found = check("daemons", &world(2, 1, Broken::Nothing), budget);
    assert!(found.seen.takeover && found.seen.kept, "{}", found.seen);
}

#[test]
fn one_node_at_work_whoever_loses_power() {
    let budget = Budget { crashes: 2, ..quiet(2, 12) };
    let found = check("power", &world(2, 1, Broken::Nothing), budget);
    assert!(found.seen.takeover, "{}", found.seen);
}

#[test]
fn a_group_is_handed_over_when_nothing_of_it_runs() {
    let moved = Request::Move { group: name("g"), to: Some(name("b")), order: Order::default() };
    let budget = Budget { failures: 1, tears: 1, requests: vec![(0, moved)], ..quiet(2, 7) };
    let found = check("handover", &world(2, 1, Broken::Nothing), budget);
    assert!(found.seen.handover && found.seen.gave_up, "{}", found.seen);
}

#[test]
fn one_node_at_work_with_three_nodes_or_two_groups() {
    let budget = Budget { crashes: 2, ..quiet(3, 7) };
    let found = check("three nodes", &world(3, 1, Broken::Nothing), budget);
    assert!(found.seen.takeover, "{}", found.seen);
    let drained = Request::Drain { node: name("a"), order: Order::default() };
    let budget = Budget { crashes: 1, requests: vec![(1, drained)], ..quiet(2, 6) };
    let found = check("two groups", &world(2, 2, Broken::Nothing), budget);
    assert!(found.seen.takeover && found.seen.handover, "{}", found.seen);
}

#[test]
fn one_node_at_work_from_the_very_beginning() {
    let budget = Budget { cold: true, late: vec![1, 0], messages: 2, deaths: 1, ..quiet(2, 6) };
    check("from the beginning", &world(2, 1, Broken::Nothing), budget);
}

/// What brings each broken rule to light.
fn trouble(broken: Broken) -> Budget {
    let moved =
        || vec![(0, Request::Move { group: name("g"), to: Some(name("b")), order: Order::default() })];
    match broken {
        Broken::OldOwner => Budget { tears: 1, requests: moved(), ..quiet(2, 3) },
        Broken::HastyHandover => Budget { requests: moved(), ..quiet(2, 3) },
        Broken::StartBeforeBinding | Broken::ArmedTooFar | Broken::HoldBeyondWait => {
            Budget { naps: 1, ..quiet(2, 9) }
        }
        Broken::FromTheAnswer => {
            Budget { late: vec![3, 0], lags: vec![true, false], messages: 7, ..quiet(2, 6) }
        }
        Broken::AnswerRevives => Budget { freezes: 1, late: vec![2, 0], messages: 1, ..quiet(2, 6) },
        Broken::BlindTakeover => {
            Budget { late: vec![2, 2], lags: vec![false, true], messages: 5, ..quiet(2, 5) }
        }
        Broken::Impatient | Broken::Nothing => Budget { late: vec![3, 0], messages: 4, ..quiet(2, 4) },
    }
}

#[test]
fn every_broken_rule_is_found_out() {
    for broken in Broken::ALL {
        let found = run(&format!("{broken:?}"), &world(2, 1, broken), trouble(broken));
        let wrong = found.wrong.unwrap_or_else(|| panic!("{broken:?}: nothing was found"));
        println!("{broken:?}: {wrong}");
        // The same trouble does no harm to what is whole.
        let whole = search(&world(2, 1, Broken::Nothing), &trouble(broken), 20_000.min(4 * found.states));
        assert_eq!(whole.wrong, None, "{broken:?}");
    }
}
