//! The lines of supervision, on small trees. What they do is tried on a real systemd: `tests/units`.

use std::path::PathBuf;

use super::*;
use crate::tree;
use crate::units::{Mode, Release, Scope, Section};

/// The units of a tree by OTP's defaults; `children` is what stands behind its first line.
fn units(children: &str, release: u32) -> Vec<Unit> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(&file, format!("id = \"t\"\nsemantics = \"otp\"\ninitial_start = \"retry\"\n{children}"))
        .unwrap();
    let plan = tree::load(&file, &tree::Options::default()).unwrap().0;
    let options = Options {
        mode: Mode::Native,
        release: Release(release),
        scope: Scope::System,
        prefix: String::new(),
        source: PathBuf::from("/etc/woodward/trees/t.toml"),
        program: PathBuf::from("/usr/bin/woodward"),
        environment: Vec::new(),
        vars: Vec::new(),
        accepted: Vec::new(),
    };
    render(&plan, &options).unwrap().units
}

fn child(id: &str, keys: &str) -> String {
    format!("[[child]]\nid = \"{id}\"\ncommand = [\"sleep\", \"1000\"]\n{keys}\n")
}

fn abc(strategy: &str, keys: &str) -> Vec<Unit> {
    let children: String = ["a", "b", "c"].iter().map(|id| child(id, keys)).collect();
    units(&format!("strategy = \"{strategy}\"\n{children}"), 252)
}

/// The words of all lines of a key, sorted.
fn words(units: &[Unit], name: &str, section: Section, key: &str) -> Vec<String> {
    let unit = units.iter().find(|unit| unit.name == name).unwrap_or_else(|| panic!("there is no {name}"));
    let mut words: Vec<String> =
        unit.values(section, key).flat_map(str::split_whitespace).map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn part_of_is_the_strategy() {
    let check = |strategy: &str, of_b: &[&str]| {
        let units = abc(strategy, "");
        assert_eq!(words(&units, "t-b.service", Section::Unit, "PartOf"), of_b, "{strategy}");
    };
    check("one_for_one", &["t.service"]);
    check("rest_for_one", &["t-a.service", "t.service"]);
    check("one_for_all", &["t-a.service", "t-c.service", "t.service"]);
}

#[test]
fn everybody_starts_behind_all_elders_and_the_meter() {
    let units = abc("one_for_one", "");
    let behind = words(&units, "t-c.service", Section::Unit, "After");
    assert_eq!(behind, ["t-a.service", "t-b.service", "t-meter.service", "t.service"]);
}

#[test]
fn restart_types_are_those_of_systemd_but_for_its_clean_signals() {
    let check = |restart: &str, line: &str, forced: bool| {
        let units = units(&child("a", &format!("restart = \"{restart}\"")), 252);
        assert_eq!(words(&units, "t-a.service", Section::Service, "Restart"), [line], "{restart}");
        let force = words(&units, "t-a.service", Section::Service, "RestartForceExitStatus");
        assert_eq!(force.iter().any(|word| word == "SIGHUP"), forced, "{restart}: {force:?}");
    };
    check("permanent", "always", false);
    check("transient", "on-failure", true);
    check("temporary", "no", false);
}

#[test]
fn nobody_restarts_with_a_temporary_child() {
    let b = child("b", "restart = \"temporary\"");
    let units = units(&format!("strategy = \"one_for_all\"\n{}{b}", child("a", "")), 252);
    assert_eq!(words(&units, "t-a.service", Section::Unit, "PartOf"), ["t.service"]);
}

#[test]
fn own_start_limits_are_off_everywhere() {
    for unit in abc("rest_for_one", "").iter().filter(|unit| unit.name.ends_with(".service")) {
        let limit: Vec<&str> = unit.values(Section::Unit, "StartLimitIntervalSec").collect();
        assert_eq!(limit, ["0"], "{}", unit.name);
    }
}

#[test]
fn newer_releases_ask_the_conditions_by_a_command_too() {
    let check = |release: u32, command: &[&str]| {
        let units = units(&child("a", ""), release);
        let unit = units.iter().find(|unit| unit.name == "t-a.service").unwrap();
        let found: Vec<&str> = unit.values(Section::Service, "ExecCondition").collect();
        assert_eq!(found, command, "{release}");
    };
    check(253, &[]);
    check(254, &["+/usr/bin/test -e %t/woodward-units/t -a ! -e %t/woodward-units/t/over"]);
}
