//! Unit files of other people: read, judged, made into trees.

mod back;
mod fates;

use std::fs;
use std::path::Path;

use woodward::tree::Severity;
use woodward::units::Release;
use woodward::units::read::import;
use woodward::units::read::lint::{self, lint};
use woodward::units::read::{Loaded, Scene, Shelf, keys, load::Entry};

/// Where the units of this machine lie.
const STOCK: &str = "/usr/lib/systemd/system";

/// A directory of unit files, with the directories of drop-ins and links in it.
fn shelf(path: &Path) -> Shelf {
    let mut shelf = Shelf::default();
    let directory = shelf.directory(path.display().to_string());
    let mut left = vec![(path.to_owned(), String::new())];
    while let Some((path, below)) = left.pop() {
        for entry in fs::read_dir(path).expect("a directory").map(|entry| entry.expect("listed")) {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                left.push((entry.path(), format!("{name}/")));
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a link");
                shelf.put(directory, name, Entry::Link(target.display().to_string()));
            } else {
                shelf.put(directory, name, Entry::Text(fs::read(entry.path()).expect("read").into()));
            }
        }
    }
    shelf
}

fn stock() -> Vec<Loaded> {
    let shelf = shelf(Path::new(STOCK));
    let names: Vec<String> = shelf.units(0).map(str::to_owned).collect();
    names.iter().filter_map(|name| shelf.load(name)).collect()
}

#[test]
fn every_unit_of_this_machine_is_read_without_an_error() {
    let units = stock();
    assert!(units.len() > 150, "only {} units lie in {STOCK}", units.len());
    let mut said = Vec::new();
    for unit in &units {
        said.extend(unit.diagnostics.iter().chain(&unit.problems()).map(ToString::to_string));
        assert!(!unit.refused, "{said:?}");
        let unknown = unit.assignments.iter().filter_map(|a| keys::check(&unit.name.kind, a, Release(252)));
        said.extend(unknown.filter(|d| d.severity != Severity::Host).map(|d| d.to_string()));
    }
    said.sort();
    said.dedup();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn what_is_found_in_the_units_of_this_machine_is_true() {
    let shelf = shelf(Path::new(STOCK));
    let names: Vec<String> = shelf.units(0).map(str::to_owned).collect();
    let found = lint(&Scene::new(&shelf, &names, Release(252)));
    // Each was looked at: they have no limit for stopping, leave processes behind, or give up after five quick failures.
    let true_ones = ["kill-mode-process", "limit-at-once", "stop-timeout-zero", "stop-timeout-infinity"];
    let others: Vec<String> = found
        .iter()
        .filter(|finding| !true_ones.contains(&finding.pitfall.name))
        .map(ToString::to_string)
        .collect();
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn every_pitfall_is_explained() {
    let text = fs::read_to_string(crate::bed::repository("units/README.md")).expect("read");
    let row = |p: &lint::Pitfall| format!("| `{}` | {} | {} |", p.name, p.level, p.means);
    let missing: Vec<String> = lint::all().map(row).filter(|row| !text.contains(row)).collect();
    assert!(missing.is_empty(), "units/README.md lacks\n{}", missing.join("\n"));
}

/// A real deployment as its people wrote it: what becomes of it, and what it implements.
#[test]
fn a_deployment_becomes_a_tree_that_can_be_run() {
    let shelf = shelf(&crate::bed::repository("tests/unit_files/acs"));
    let scene = Scene::new(&shelf, &["acs@2.target".to_owned()], Release(252));
    let imported = import::import(&scene, None).expect("there are services");
    assert_eq!(imported.pitfalls, []);
    let strategies: Vec<(&str, usize, bool)> =
        imported.found.iter().map(|f| (&*f.strategy, f.units.len(), f.exact)).collect();
    assert_eq!(strategies, [("one_for_one", 6, true), ("rest_for_one", 2, true)]);
    let mut left: Vec<&str> = imported.left.iter().map(|left| &*left.key).collect();
    left.sort_unstable();
    left.dedup();
    assert_eq!(left, ["After", "OOMPolicy", "OnFailure", "Slice", "SyslogIdentifier"]);
    let plan = back::plan_of(&imported.text);
    assert_eq!(plan.workers.len(), 8);
}
