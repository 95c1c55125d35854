//! Random worlds: whatever happens, and in whatever order, the invariants hold.
//!
//! No panic; every request is answered exactly once; at most one live generation per path; nothing is started while its
//! supervisor is not open or is stopping; by list one start at a time, and stops in reverse order; by dependencies
//! nothing starts before what it is `after`; restarts stay within the limit; every stop ends, and nothing runs then. The seed of a failing world is printed with the path of a file
//! that `woodward replay` steps through. `WOODWARD_WORLDS` sets how many worlds, `WOODWARD_SEED` the first.

#[path = "common/random.rs"]
mod random;

#[path = "common/forest.rs"]
mod forest;

#[path = "common/mutate.rs"]
mod mutate;

#[path = "common/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Taste, World};

fn check(name: &str, taste: Taste) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (first, worlds) = (number("WOODWARD_SEED").unwrap_or(1), number("WOODWARD_WORLDS").unwrap_or(2000));
    for seed in first..first + worlds {
        let mut world = World::new(seed, taste);
        let steps = 10 + world.random.below(150);
        let lived = catch_unwind(AssertUnwindSafe(|| world.live(steps)));
        if lived.is_err() {
            let file = std::env::temp_dir().join(format!("woodward-{name}-{seed}.replay"));
            let written = std::fs::write(&file, world.replay.to_string());
            panic!("world {seed} of {name} broke; woodward replay {} ({written:?})", file.display());
        }
    }
}

const PLAIN: Taste = Taste { dependencies: 0, plain: true, nonsense: 0, deaths: 0, applies: 0 };

#[test]
fn invariants_hold_for_what_otp_has() {
    check("otp", PLAIN);
}

#[test]
fn invariants_hold_for_what_goes_beyond_otp() {
    check("listed", Taste { plain: false, ..PLAIN });
}

#[test]
fn invariants_hold_by_dependencies() {
    check("dependencies", Taste { plain: false, dependencies: 100, ..PLAIN });
}

#[test]
fn invariants_hold_for_mixed_trees_and_nonsense() {
    check("nonsense", Taste { plain: false, dependencies: 50, nonsense: 20, ..PLAIN });
}

#[test]
fn invariants_hold_when_the_daemon_dies_and_a_new_one_adopts() {
    check("adoption", Taste { plain: false, dependencies: 30, deaths: 3, ..PLAIN });
}

#[test]
fn invariants_hold_when_other_plans_are_applied() {
    check("apply", Taste { plain: false, dependencies: 30, applies: 8, ..PLAIN });
}

#[test]
fn invariants_hold_when_other_plans_are_applied_and_the_daemon_dies() {
    check("apply_and_adoption", Taste { plain: false, dependencies: 30, applies: 5, deaths: 2, ..PLAIN });
}
