//! `woodward import acs-cdb`: databases of every shape with the trees they give, damaged files with what is said of
//! them, and imports over trees that are there already. `WOODWARD_UPDATE=1` writes what is expected anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use woodward::acs::{self, File, Input};

const CASES: &str = "tests/acs-cdb";

/// Compares with what is written, or writes it.
fn compare(expected: &Path, actual: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("WOODWARD_UPDATE").is_some() {
        fs::create_dir_all(expected.parent().expect("a directory")).expect("a directory");
        fs::write(expected, actual).expect("what is expected can be written");
    } else if fs::read_to_string(expected).unwrap_or_default() != actual {
        wrong.push(format!("{}:\n--- actual\n{actual}", expected.display()));
    }
}

/// Runs `woodward import acs-cdb` in a directory; code and what it said, with `OUT` for the directory of trees.
fn import(dir: &Path, out: &Path, args: &[&str]) -> (i32, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_woodward"))
        .args(["import", "acs-cdb", "."])
        .args(args)
        .arg("-o")
        .arg(out)
        .current_dir(dir)
        .output();
    let Output { status, stdout, stderr } = run.expect("woodward runs");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().expect("an exit code"), text.replace(&*out.to_string_lossy(), "OUT"))
}

/// The hosts that have a tree.
fn hosts(out: &Path) -> Vec<String> {
    let mut hosts: Vec<String> = fs::read_dir(out)
        .expect("trees")
        .map(|entry| entry.expect("a host").file_name().to_string_lossy().into_owned())
        .collect();
    hosts.sort();
    hosts
}

fn checked(tree: &Path) {
    let check = Command::new(env!("CARGO_BIN_EXE_woodward")).arg("check").arg(tree).output();
    let check = check.expect("woodward runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn databases_give_the_trees_that_are_written_beside_them() {
    let mut wrong = Vec::new();
    for case in ["sample", "encodings", "hierarchy", "unusual"] {
        let dir = Path::new(CASES).join(case);
        let out = tempfile::tempdir().expect("a directory");
        let args = fs::read_to_string(dir.join("args")).expect("arguments");
        let (code, said) = import(&dir, out.path(), &args.lines().collect::<Vec<_>>());
        assert_eq!(code, 0, "{case}: {said}");
        assert!(!said.contains("geheim"), "a password: {said}");
        compare(&dir.join("expected/said"), &said, &mut wrong);
        let hosts = hosts(out.path());
        let expected = fs::read_dir(dir.join("expected")).map_or(0, Iterator::count);
        if expected != hosts.len() + 1 {
            wrong.push(format!("{case} has trees for {hosts:?}, and {expected} files are expected"));
        }
        for host in hosts {
            let tree = out.path().join(&host).join("acs.toml");
            checked(&tree);
            let text = fs::read_to_string(&tree).expect("a tree");
            assert!(!text.contains("geheim"), "a password: {text}");
            compare(&dir.join("expected").join(&host).join("acs.toml"), &text, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "WOODWARD_UPDATE=1 writes it anew:\n{}", wrong.join("\n"));
}

/// A file of `damaged/` in its place; the word before the first `-` says what it is.
fn damaged(path: &Path) -> Input {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let kind = name.split('-').next().unwrap_or_default();
    let file = |path: &str, bytes: Vec<u8>| File { path: path.to_owned(), shown: path.to_owned(), bytes };
    let manager = file("Managers/Manager/Manager.xml", b"<Manager/>".to_vec());
    let bytes = fs::read(path).expect("a damaged file");
    let at = match kind {
        "manager" => "Managers/Manager/Manager.xml",
        "components" => "Components/Components.xml",
        "channels" => "Channels/Channels.xml",
        _ => "Containers/X/X.xml",
    };
    let own = File { path: at.to_owned(), shown: name.clone(), bytes };
    match kind {
        "manager" => Input { records: vec![own], ..Input::default() },
        "project" => Input { records: vec![manager], project: Some(own), ..Input::default() },
        "services" => Input { records: vec![manager], definition: Some(own), ..Input::default() },
        _ => Input { records: vec![manager, own], ..Input::default() },
    }
}

#[test]
fn every_damaged_file_is_refused_with_its_line_and_column() {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(CASES).join("damaged"))
        .expect("damaged files")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "xml"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "only {} damaged files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let options = acs::Options { here: "gas01".to_owned(), ..acs::Options::default() };
        match acs::import(&damaged(&file), &options) {
            Err(said) => {
                let text: String = said.iter().map(|said| format!("{said}\n")).collect();
                compare(&file.with_extension("expected"), &text, &mut wrong);
            }
            Ok(_) => wrong.push(format!("{} was taken", file.display())),
        }
    }
    assert!(wrong.is_empty(), "WOODWARD_UPDATE=1 writes it anew:\n{}", wrong.join("\n"));
}

/// A database in a directory of its own.
struct Site {
    dir: tempfile::TempDir,
    out: PathBuf,
}

impl Site {
    fn new(containers: &[&str]) -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        let site = Site { out: dir.path().join("trees"), dir };
        site.write("Managers/Manager/Manager.xml", "<Manager/>");
        containers.iter().for_each(|name| site.container(name, "ImplLang=\"cpp\""));
        site
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.dir.path().join("CDB/MACI").join(path);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, text).expect("a record");
    }

    fn container(&self, name: &str, attributes: &str) {
        self.write(&format!("Containers/{name}/{name}.xml"), &format!("<Container {attributes}/>"));
    }

    fn tree(&self, host: &str) -> PathBuf {
        self.out.join(host).join("acs.toml")
    }

    fn text(&self, host: &str) -> String {
        fs::read_to_string(self.tree(host)).expect("a tree")
    }

    /// An import that ends with this code and says all of this.
    fn import(&self, args: &[&str], code: i32, texts: &[&str]) -> String {
        let mut all = vec!["--manager-host", "gas01", "--host", "gas01"];
        all.extend(args);
        let (ended, said) = import(self.dir.path(), &self.out, &all);
        assert_eq!(ended, code, "{said}");
        for wanted in texts {
            assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
        }
        said
    }
}

#[test]
fn an_import_shows_what_it_changes_and_containers_keep_their_ports() {
    let site = Site::new(&["b", "d"]);
    site.import(&["--check"], 1, &["OUT/gas01/acs.toml: new"]);
    assert!(!site.out.exists(), "--check writes nothing");
    site.import(&[], 0, &["OUT/gas01/acs.toml: new"]);
    site.import(&["--check"], 0, &["no tree changes"]);
    site.import(&[], 0, &["no tree changes"]);

    site.container("a", "ImplLang=\"py\"");
    site.container("b", "ImplLang=\"cpp\" PingInterval=\"9\"");
    fs::remove_dir_all(site.dir.path().join("CDB/MACI/Containers/d")).expect("a container goes");
    site.container("e", "ImplLang=\"java\"");
    let before = site.text("gas01");
    let changes = [
        "OUT/gas01/acs.toml: differs",
        "  + containers/a\n",
        "  + containers/e\n",
        "  ~ containers-ifr/b: health\n",
        "  - containers-ifr/d\n",
        "--- OUT/gas01/acs.toml\n+++ OUT/gas01/acs.toml\n@@",
        "\n+  health      = { tcp = \"${addr}:${ports}\", every = \"9s\" }\n",
    ];
    site.import(&["--check"], 1, &changes);
    site.import(&["--dry-run"], 0, &changes);
    assert_eq!(site.text("gas01"), before, "neither writes anything");
    site.import(&[], 0, &changes);
    let ports = |name: &str| {
        let text = site.text("gas01");
        let stanza = text.split("[[child.child]]").find(|text| text.contains(&format!("= \"{name}\"")));
        let words = stanza.expect("a container").split("tcp = \"${addr}:").nth(1).expect("a port").to_owned();
        words.split('"').next().expect("a port").to_owned()
    };
    // b stays where it was, a takes the place that d has left, e the next.
    assert_eq!([ports("b"), ports("a"), ports("e")], ["${ports}", "${ports + 2}", "${ports + 4}"]);
    checked(&site.tree("gas01"));
}

#[test]
fn what_was_changed_by_hand_is_not_overwritten_unless_forced() {
    let site = Site::new(&["a"]);
    site.import(&[], 0, &[]);
    let changed = site.text("gas01").replace("intensity = 5", "intensity = 6");
    fs::write(site.tree("gas01"), &changed).expect("a change by hand");
    let said = [
        "changed by hand, and differs",
        "-",
        "hint: move the changes to OUT/gas01/acs.d/site.toml, or --force",
    ];
    site.import(&[], 1, &said);
    assert_eq!(site.text("gas01"), changed);
    site.import(&["--force"], 0, &["changed by hand"]);
    site.import(&["--check"], 0, &["no tree changes"]);

    fs::write(site.tree("gas01"), "id = \"mine\"\n").expect("a tree of somebody else");
    site.import(&[], 1, &["was not written by an import"]);
    assert_eq!(site.text("gas01"), "id = \"mine\"\n");
}

#[test]
fn layers_stay_and_are_checked_with_what_is_written() {
    let site = Site::new(&["a", "b"]);
    site.import(&[], 0, &[]);
    let layers = site.tree("gas01").with_extension("d");
    fs::create_dir(&layers).expect("layers");
    let layer = "[[child]]\nid = \"containers-ifr\"\n[[child.child]]\nid = \"b\"\nshutdown = \"7s\"\n";
    fs::write(layers.join("site.toml"), layer).expect("a layer");
    site.import(&[], 0, &["no tree changes"]);
    fs::remove_dir_all(site.dir.path().join("CDB/MACI/Containers/b")).expect("a container goes");
    site.import(&[], 78, &["cannot plan OUT/gas01/acs.toml with its layers", "site.toml:3:1"]);
    assert_eq!(fs::read_to_string(layers.join("site.toml")).expect("the layer"), layer);
}

#[test]
fn a_host_without_containers_is_said_and_left_there() {
    let site = Site::new(&["a"]);
    site.import(&["--host", "a=gas02"], 0, &["OUT/gas02/acs.toml: new"]);
    let said = ["OUT/gas02/acs.toml: nothing runs on gas02 now; remove it", "+ containers-ifr/a"];
    site.import(&[], 0, &said);
    site.import(&["--check"], 1, &["nothing runs on gas02 now"]);
    assert_eq!(hosts(&site.out), ["gas01", "gas02"]);
}

#[test]
fn a_damaged_record_writes_nothing() {
    let site = Site::new(&["a"]);
    site.write("Containers/b/b.xml", "<Container ImplLang=\"cpp\">\n  <Autoload>\n</Container>\n");
    let said = [
        "./CDB/MACI/Containers/b/b.xml:3:1: error: </Container> where <Autoload> is open",
        "nothing was written",
    ];
    site.import(&[], 78, &said);
    assert!(!site.out.exists());
    let (code, said) = import(site.out.parent().expect("a directory"), &site.out, &["--instance", "10"]);
    assert_eq!(code, 64, "{said}");
}

#[test]
fn hundreds_of_containers_have_ports_of_their_own_and_a_tree_that_can_be_planned() {
    let site = Site::new(&[]);
    let langs = ["cpp", "java", "py"];
    for n in 0..480 {
        site.container(&format!("c{n:03}"), &format!("ImplLang=\"{}\"", langs[n % 3]));
    }
    site.import(&[], 0, &["read: 480 containers"]);
    let text = site.text("gas01");
    let mut ports: Vec<&str> =
        text.split("tcp = \"${addr}:").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 480);
    checked(&site.tree("gas01"));
}
