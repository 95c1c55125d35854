//! The differential test: the same trees with the same incidents under woodward and as native units of a real systemd,
//! compared by what the processes saw.
//!
//! ```text
//! tree ─┬─ woodward run ──── processes ── log ─┐
//!       └─ units ─ systemd ─ processes ── log ─┴─ equal, or a named deviation
//! ```

mod acs;
pub mod bed;
mod boot;
mod deviations;
mod equal;
mod escaping;
mod field;
mod incident;
mod process;
pub mod random_tree;
mod ready;
mod shape;
mod sides;
mod stand_ins;
mod trace;
mod user;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use woodward::tree::{self, Plan};
use woodward::units::{self, Mode, Options, Release, Rendering, Scope};

use self::bed::Bed;
use self::field::{Against, Case, Verdict};
use crate::bed::repository;
use crate::random::Random;

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// The plan of a tree of this text.
fn plan(id: &str, text: &str) -> Plan {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join(format!("{id}.toml"));
    std::fs::write(&file, text).expect("a tree can be written");
    load(&file)
}

fn load(file: &Path) -> Plan {
    match tree::load(file, &tree::Options::default()) {
        Ok((plan, _)) => plan,
        Err(errors) => panic!("{}: {errors:?}", file.display()),
    }
}

fn options() -> Options {
    Options {
        mode: Mode::Native,
        release: std::env::var("UNITS_RELEASE")
            .map_or_else(|_| Release::default(), |r| r.parse().expect("a release")),
        scope: Scope::System,
        prefix: String::new(),
        source: PathBuf::from("/proof/tree.toml"),
        program: PathBuf::from("/usr/bin/woodward"),
        vars: Vec::new(),
        environment: Vec::new(),
        accepted: Vec::new(),
    }
}

fn render(plan: &Plan) -> Rendering {
    render_with(plan, &options())
}

fn render_with(plan: &Plan, options: &Options) -> Rendering {
    units::generate(plan, options).expect("every tree can be rendered")
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Fails with what is wrong; says what was compared.
fn check(verdicts: &[Verdict]) {
    let same: usize = verdicts.iter().map(|v| v.same).sum();
    let wrong: Vec<&Verdict> = verdicts.iter().filter(|v| !v.wrong.is_empty()).collect();
    println!("{} trees, {same} incidents the same, {} trees wrong", verdicts.len(), wrong.len());
    let texts: Vec<String> = wrong.iter().map(|v| format!("==== {}\n{}", v.id, v.wrong)).collect();
    assert!(wrong.is_empty(), "\n{}", texts.join("\n"));
}

/// So many random trees from this seed on, a few dozen at a time.
fn random_trees(seed: u64, count: u64, against: Against) -> Vec<Verdict> {
    let mut bed = Bed::up();
    let all: Vec<u64> = (seed..seed + count).collect();
    let case = |seed: &u64| {
        let mut random = Random::new(*seed);
        let id = format!("t{seed}");
        Case { text: random_tree::tree(&id, &mut random), id, incidents: 7, random }
    };
    let some = all.chunks(24).map(|some| some.iter().map(case).collect());
    some.flat_map(|cases| field::run(&mut bed, cases, against)).collect()
}

#[test]
fn random_trees_do_the_same_as_units() {
    let (seed, count) = (number("UNITS_SEED", 1), number("UNITS_TREES", 200));
    check(&random_trees(seed, count, Against::Units(|_, text| text)));
}

/// Each tree of `supervisors/` several times, with other incidents each time.
#[test]
fn the_trees_of_this_repository_do_the_same_as_units() {
    let mut bed = Bed::up();
    let files = std::fs::read_dir(repository("supervisors")).expect("supervisors can be listed");
    let mut trees: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    trees.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    trees.sort();
    assert!(trees.len() > 1, "{trees:?}");
    let mut cases = Vec::new();
    for file in trees {
        let tree = load(&file).tree;
        let name = file.file_stem().expect("a name").to_string_lossy().replace('-', "_");
        for seed in 0..4 {
            let id = format!("{name}{seed}");
            cases.push(Case {
                text: stand_ins::text(&tree, &id),
                id,
                incidents: 14,
                random: Random::new(seed),
            });
        }
    }
    check(&field::run(&mut bed, cases, Against::Units(|_, text| text)));
}

#[test]
fn nothing_is_found_between_two_woodwards() {
    check(&random_trees(1000, number("UNITS_TREES", 24), Against::Itself));
}
