//! `units/generated`: the units of every tree in `supervisors`, as they are committed. `WOODWARD_UPDATE=1` (`make units`)
//! writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use crate::bed::{program, repository};

/// For whom: nothing of the machine that makes them.
const FIXED: [&str; 10] = [
    "--mode",
    "native",
    "--systemd",
    "252",
    "--host",
    "acs01",
    "--dir",
    "/usr/share/woodward/supervisors",
    "--program",
    "/usr/bin/woodward",
];

/// Trees with the directories of their units.
fn trees() -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(repository("supervisors")).expect("supervisors can be listed");
    let mut trees: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    trees.retain(|tree| tree.extension().is_some_and(|end| end == "toml"));
    trees.sort();
    assert!(trees.len() >= 3, "{trees:?}");
    let units = |tree: &Path| repository("units/generated").join(tree.file_stem().expect("a name"));
    let trees: Vec<_> = trees.into_iter().map(|tree| (tree.clone(), units(&tree))).collect();
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if std::env::var_os("WOODWARD_UPDATE").is_some() {
            trees.iter().for_each(|(tree, units)| write(tree, units));
        }
    });
    trees
}

/// The units of a tree and their scores, as they are to be.
fn write(tree: &Path, units: &Path) {
    let out = generate(tree, units, "--force");
    assert!(out.status.success(), "{}", text(&out));
    for (name, text) in table(&scores(units)) {
        fs::write(units.join(name), text).expect("written");
    }
}

fn generate(tree: &Path, units: &Path, how: &str) -> Output {
    let mut command = Command::new(program());
    command.args(["units", "generate"]).arg(tree).arg("-o").arg(units).args(FIXED).arg(how);
    command.output().expect("it starts")
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Verifies a directory of units as another systemd may: what the host lacks is there as something that can be executed.
fn verify(units: &Path, programs: &[String]) -> Output {
    let mut command = Command::new(repository("tests/systemd-bed/systemd-bed"));
    command.arg("verify").arg("-b").arg(format!("{}:/usr/bin/woodward", program().display()));
    for missing in programs.iter().filter(|program| !Path::new(program).exists()) {
        command.arg("-b").arg(format!("/bin/true:{missing}"));
    }
    command.arg(units).output().expect("the bed can be started")
}

/// What units start, but for woodward itself: where it lies, or would lie.
fn programs(units: &Path) -> Vec<String> {
    let mut programs = Vec::new();
    for (_, text) in services(units) {
        let lines = text.lines().filter_map(|line| line.strip_prefix("Exec")?.split_once('='));
        let lines = lines.filter(|(key, _)| *key != "SearchPath");
        let firsts = lines.map(|(_, value)| value.trim_start_matches(['-', ':', '+', '!', '@']));
        let firsts = firsts.filter_map(|value| value.split_whitespace().next());
        programs.extend(firsts.map(|first| match first.starts_with('/') {
            true => first.to_owned(),
            false if Path::new("/usr/sbin").join(first).exists() => format!("/usr/sbin/{first}"),
            false => format!("/usr/bin/{first}"),
        }));
    }
    programs.sort();
    programs.dedup();
    programs.retain(|program| program != "/usr/bin/woodward");
    programs
}

/// Services of a directory, by name.
fn services(units: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(units).expect("units can be listed");
    let paths = entries.map(|entry| entry.expect("listed").path());
    let services = paths.filter(|path| path.extension().is_some_and(|end| end == "service"));
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    services.map(|path| (name(&path), fs::read_to_string(&path).expect("a unit"))).collect()
}

/// What `systemd-analyze security` of 252 thinks of each service: 0 is best, 10 worst.
fn scores(units: &Path) -> BTreeMap<String, String> {
    let files = services(units).into_keys().map(|name| units.join(name));
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]).args(files).env("LC_ALL", "C");
    let out = command.output().expect("systemd-analyze can be started");
    let said = text(&out);
    let lines = said.lines().filter_map(|line| line.split_once("Overall exposure level for "));
    let score = |(_, line): (&str, &str)| {
        let (unit, score) = line.split_once(": ")?;
        Some((unit.to_owned(), score.split_whitespace().next()?.to_owned()))
    };
    let scores: BTreeMap<_, _> = lines.filter_map(score).collect();
    assert_eq!(scores.len(), services(units).len(), "a score for each service: {said}");
    scores
}

/// The table of scores, for people and for programs.
fn table(scores: &BTreeMap<String, String>) -> [(&'static str, String); 2] {
    let mut rows: Vec<(&String, &String)> = scores.iter().collect();
    let worst = |score: &str| score.parse::<f64>().expect("a number");
    rows.sort_by(|(a, left), (b, right)| worst(right).total_cmp(&worst(left)).then(a.cmp(b)));
    let rows = rows.into_iter().map(|(unit, score)| format!("| {unit} | {score} |\n"));
    let text = format!(
        "# Exposure\n\n`systemd-analyze security --offline=true` of systemd 252: 0 is best, 10 worst. `make units` writes it.\n\n\
         | unit | exposure |\n|---|--:|\n{}",
        rows.collect::<String>()
    );
    let numbers = scores.iter().map(|(unit, score)| format!("  {unit:?}: {score}"));
    let json = format!("{{\n{}\n}}\n", numbers.collect::<Vec<_>>().join(",\n"));
    [("security.md", text), ("security.json", json)]
}

#[test]
fn generated_units_are_those_of_the_trees() {
    let mut wrong = Vec::new();
    for (tree, units) in trees() {
        let out = generate(&tree, &units, "--check");
        if !out.status.success() {
            wrong.push(text(&out));
        }
        let differs =
            |(name, text): &(&str, String)| fs::read_to_string(units.join(name)).ok().as_ref() != Some(text);
        let tables = table(&scores(&units)).into_iter().filter(differs);
        wrong.extend(tables.map(|(name, _)| format!("{}: differs\n", units.join(name).display())));
    }
    assert!(wrong.is_empty(), "{}make units writes them anew", wrong.concat());
}

#[test]
fn every_generated_unit_passes_the_verifier() {
    for (tree, units) in trees() {
        let out = verify(&units, &programs(&units));
        assert!(out.status.success(), "{}: {}", tree.display(), text(&out));
    }
}

/// The verifier is no formality: each of these is a finding.
#[test]
fn the_verifier_sees_a_wrong_key_a_wrong_value_and_a_program_that_is_not_there() {
    let (_, units) =
        trees().into_iter().find(|(tree, _)| tree.ends_with("minimal.toml")).expect("it is there");
    let there = programs(&units);
    let check = |from: &str, to: &str| {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        for (name, text) in services(&units) {
            assert!(name != "minimal-server.service" || text.contains(from), "no {from} in {text}");
            fs::write(dir.path().join(name), text.replace(from, to)).expect("written");
        }
        assert!(!verify(dir.path(), &there).status.success(), "{to} was not seen");
    };
    check("\nKillMode=", "\nKilMode=");
    check("\nKillMode=mixed", "\nKillMode=mixd");
    check("/usr/bin/woodward ready", "/usr/bin/no-such-woodward ready");
}
