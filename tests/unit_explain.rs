//! `woodward units explain`: every line of a unit has a key of the tree, or a person, behind it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bed::{program, repository};

fn woodward(args: &[&str]) -> String {
    let out = Command::new(program()).arg("units").args(args).output().expect("the program can be started");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The units of a tree, in a directory.
fn generated(tree: &Path, flags: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |path: &Path| path.display().to_string();
    let (tree, into) = (path(tree), path(dir.path()));
    woodward(&[&["generate", &tree, "-o", &into, "--program", "/usr/bin/woodward"], flags].concat());
    dir
}

fn lines(unit: &Path, key: &str) -> Vec<Value> {
    let unit = unit.display().to_string();
    let key = [key].into_iter().filter(|key| !key.is_empty());
    let args: Vec<&str> = ["explain", &unit, "--json"].into_iter().chain(key).collect();
    serde_json::from_str(&woodward(&args)).expect("an array")
}

#[test]
fn every_line_of_every_unit_is_of_the_tree() {
    let check = |flags: &[&str]| {
        let dir = generated(&repository("supervisors/acs.toml"), flags);
        let files = fs::read_dir(dir.path()).expect("it is there").map(|entry| entry.expect("a file").path());
        let units: Vec<_> = files
            .filter(|file| !file.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
            .collect();
        assert!(!units.is_empty());
        // Every third: each is a run of the program.
        for unit in units.iter().step_by(3) {
            for line in lines(unit, "") {
                let origin = line["origin"].as_str().expect("text");
                assert!(matches!(origin, "tree" | "mark"), "{}: {line}", unit.display());
                assert!(
                    origin == "mark" || line["rule"].as_str().is_some_and(|rule| !rule.is_empty()),
                    "{line}"
                );
            }
        }
    };
    check(&["--mode", "native", "--prefix", "site-"]);
    check(&["--mode", "supervised"]);
}

#[test]
fn a_line_leads_to_its_place_in_the_tree_or_to_whoever_wrote_it() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let tree = dir.path().join("t.toml");
    let text = "id = \"t\"\nstrategy = \"one_for_all\"\nshutdown = \"1m\"\n[defaults]\nshutdown = \"3s\"\n\
                [[child]]\nid = \"a\"\ncommand = [\"sleep\", \"9\"]\n[[child]]\nid = \"b\"\ncommand = [\"sleep\", \"9\"]\n";
    fs::write(&tree, text).expect("written");
    let units = generated(&tree, &["--mode", "native"]);
    let unit = units.path().join("t-b.service");
    let check = |key: &str, at: usize, origin: &str, path: Option<&str>, place: Option<u32>| {
        let found = lines(&unit, key);
        let line = &found[at];
        assert_eq!(line["origin"], origin, "{line}");
        assert_eq!(line["path"].as_str(), path, "{line}");
        let place = place.map(|place| format!("{}:{place}", tree.display()));
        assert_eq!(line["place"].as_str(), place.as_deref(), "{line}");
    };
    check("ExecStart", 0, "tree", Some("t/b"), Some(11));
    check("TimeoutStopSec", 0, "tree", Some("t/b"), Some(5));
    // By the strategy of the supervisor.
    let of_strategy = lines(&unit, "PartOf").iter().position(|line| line["tree_key"] == "strategy");
    check("PartOf", of_strategy.expect("it follows its sibling"), "tree", Some("t"), Some(2));
    // A tree that is another now.
    fs::write(&tree, text.replace("\"3s\"", "\"4s\"")).expect("written");
    check("TimeoutStopSec", 0, "former", None, None);
    check("TimeoutStopSec", 1, "missing", Some("t/b"), Some(5));
    fs::write(&tree, text).expect("written");
    // A person.
    let own = fs::read_to_string(&unit).expect("it is there");
    fs::write(&unit, own.replace("TimeoutStopSec=3s", "TimeoutStopSec=8s")).expect("written");
    check("TimeoutStopSec", 0, "hand", None, None);
    fs::write(&unit, own).expect("written");
    fs::create_dir(units.path().join("t-b.service.d")).expect("made");
    fs::write(units.path().join("t-b.service.d/10-mine.conf"), "[Service]\nTimeoutStopSec=8s\n")
        .expect("written");
    check("TimeoutStopSec", 0, "tree", Some("t/b"), Some(5));
    check("TimeoutStopSec", 1, "drop_in", None, None);
}
