//! Files of units, as a careful operator expects them: what is ours is kept up to date, what is a person's is left.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::program;

const TREE: &str = r#"
id = "t"

[[child]]
id      = "web"
command = ["/bin/sleep", "1000"]

[[child]]
id      = "mail"
command = ["/bin/sleep", "2000"]
"#;

/// A tree file, and a directory for its units.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new(tree: &str) -> Desk {
        let desk = Desk { dir: tempfile::tempdir().expect("a temporary directory can be made") };
        desk.tree(tree);
        desk
    }

    fn tree(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("t.toml");
        fs::write(&path, text).expect("a tree can be written");
        path
    }

    fn units(&self) -> PathBuf {
        self.dir.path().join("units")
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.units().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.unit(name)).expect("a unit can be read")
    }

    /// `woodward units VERB t.toml …`, which must end with this code; what it printed, errors last.
    fn check(&self, verb: &str, args: &[&str], code: i32, texts: &[&str]) -> String {
        let mut command = Command::new(program());
        command.current_dir(self.dir.path()).args(["units", verb, "t.toml"]).args(args);
        for (flag, value) in [("--systemd", "252"), ("--mode", "native")] {
            if !args.contains(&flag) {
                command.args([flag, value]);
            }
        }
        let out = command.env("NOT_FOR_UNITS", "secret").output().expect("the program starts");
        let text = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert_eq!(out.status.code(), Some(code), "woodward units {verb} {args:?}\n{text}");
        for wanted in texts {
            assert!(text.contains(wanted), "no {wanted:?} from woodward units {verb} {args:?}:\n{text}");
        }
        text
    }

    fn generate(&self) {
        self.check("generate", &["-o", "units"], 0, &[]);
    }
}

/// Names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory can be listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_the_same_is_not_touched() {
    let desk = Desk::new(TREE);
    desk.generate();
    let before = fs::metadata(desk.unit("t-web.service")).expect("it is there");
    desk.check("generate", &["-o", "units"], 0, &[" 0 new, 0 changed, 0 removed"]);
    let after = fs::metadata(desk.unit("t-web.service")).expect("it is there");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert!(names(&desk.units()).iter().all(|name| !name.ends_with(".new")));
}

#[test]
fn a_child_that_the_tree_no_longer_has_leaves_no_file_and_its_drop_ins_stay() {
    let desk = Desk::new(TREE);
    desk.generate();
    let mine = desk.unit("t-mail.service.d");
    fs::create_dir(&mine).expect("made");
    fs::write(desk.unit("other.service"), "[Service]\nExecStart=/bin/true\n").expect("written");
    desk.tree(&TREE.replace("\"mail\"", "\"post\""));
    let said = desk.check("generate", &["-o", "units"], 0, &["t-mail.service.d stays"]);
    assert!(!said.contains(" 0 new") && !said.contains(" 0 removed"), "{said}");
    assert!(!desk.unit("t-mail.service").exists() && desk.unit("t-post.service").exists());
    assert!(mine.exists() && desk.unit("other.service").exists());
}

#[test]
fn what_a_person_wrote_or_changed_is_neither_overwritten_nor_removed() {
    let desk = Desk::new(TREE);
    fs::create_dir(desk.units()).expect("made");
    fs::write(desk.unit("t-web.service"), "[Service]\nExecStart=/bin/true\n").expect("written");
    let wrong = ["cannot overwrite units/t-web.service: it was not generated", "--force"];
    desk.check("generate", &["-o", "units"], 1, &wrong);
    assert_eq!(names(&desk.units()), ["t-web.service"], "nothing is half done");
    desk.check("generate", &["-o", "units", "--force"], 0, &[" 1 changed"]);

    let edited = desk.read("t-mail.service").replace("2000", "3000");
    fs::write(desk.unit("t-mail.service"), &edited).expect("written");
    desk.check(
        "generate",
        &["-o", "units"],
        1,
        &["cannot overwrite units/t-mail.service: it was changed by"],
    );
    desk.tree(&TREE.replace("\"mail\"", "\"post\""));
    desk.check(
        "generate",
        &["-o", "units"],
        1,
        &["cannot remove units/t-mail.service: it was changed by hand"],
    );
    assert_eq!(desk.read("t-mail.service"), edited);
    desk.check("generate", &["-o", "units", "--force"], 0, &[]);
    assert!(!desk.unit("t-mail.service").exists());

    fs::remove_file(desk.unit("t-web.service")).expect("removed");
    std::os::unix::fs::symlink("/dev/null", desk.unit("t-web.service")).expect("a link can be made");
    desk.check("generate", &["-o", "units"], 1, &["cannot overwrite units/t-web.service: it is masked"]);
}

#[test]
fn two_trees_share_a_directory_and_take_nothing_from_each_other() {
    let desk = Desk::new(TREE);
    desk.generate();
    let first = names(&desk.units());
    desk.tree(&TREE.replace("id = \"t\"", "id = \"u\""));
    desk.generate();
    assert!(first.iter().all(|name| desk.unit(name).exists()));
    assert!(desk.unit("u-web.service").exists());
    // The same names: those of the first stay.
    let before = desk.read("t-web.service");
    desk.tree("id = \"t-web\"\n[[child]]\nid = \"x\"\ncommand = \"/bin/true\"\n");
    let wrong = ["cannot overwrite units/t-web.service: it belongs to the tree t", "--prefix"];
    desk.check("generate", &["-o", "units", "--force"], 1, &wrong);
    assert_eq!(desk.read("t-web.service"), before);
}

#[test]
fn check_and_diff_say_what_differs_and_end_with_1() {
    let desk = Desk::new(TREE);
    desk.check("check", &["-o", "units"], 1, &["units/t-web.service: missing"]);
    desk.generate();
    desk.check("check", &["-o", "units"], 0, &["as the tree says"]);
    desk.check("generate", &["--check", "-o", "units"], 0, &["as the tree says"]);
    assert_eq!(desk.check("diff", &["-o", "units"], 0, &[]), "");
    desk.tree(&TREE.replace("1000", "1001").replace("\"mail\"", "\"post\""));
    let differs =
        ["t-web.service: differs", "t-post.service: missing", "t-mail.service: the tree no longer has it"];
    desk.check("check", &["-o", "units"], 1, &differs);
    desk.check("generate", &["--check", "-o", "units"], 1, &differs);
    let diff = ["-ExecStart=/bin/sleep 1000", "+ExecStart=/bin/sleep 1001", "--- /dev/null", "+++ /dev/null"];
    let diff = desk.check("diff", &["-o", "units"], 1, &diff);
    assert!(!diff.contains('\x1b'), "{diff}");
    assert!(desk.unit("t-mail.service").exists(), "asking changes nothing");
    desk.generate();
    fs::set_permissions(desk.unit("t-web.service"), fs::Permissions::from_mode(0o600)).expect("changed");
    desk.check("diff", &["-o", "units"], 1, &["permissions become 0644"]);
}

#[test]
fn a_dry_run_prints_every_file_and_writes_none() {
    let desk = Desk::new(TREE);
    let said = desk.check("generate", &["-o", "units", "--dry-run"], 0, &["# t-web.service\n", "[Service]"]);
    assert!(!desk.units().exists());
    assert_eq!(said, desk.check("generate", &[], 0, &[]), "the same bytes, and the same without a directory");
}

#[test]
fn units_hold_nothing_of_the_machine_that_made_them() {
    let tree = r#"
id = "t"
[[child]]
id      = "web"
command = ["${dir}/bin/${host}", "${env.NOT_FOR_UNITS:-default}", "${env.FOR_UNITS:-default}"]
"#;
    let desk = Desk::new(tree);
    let fixed = ["--host", "gas01", "--dir", "/usr/share/trees", "--program", "/usr/bin/woodward"];
    let said = desk.check("generate", &[&fixed[..], &["--env", "FOR_UNITS=let-in"]].concat(), 0, &[]);
    assert!(said.contains("/usr/share/trees/bin/gas01 default let-in"), "{said}");
    assert!(said.contains("from /usr/share/trees/t.toml") && !said.contains("is not found"), "{said}");
    let here = desk.dir.path().display().to_string();
    assert!(!said.contains(&here) && !said.contains("secret"), "{said}");
    let said = desk.check("generate", &[&fixed[..], &["--env", "NOT_FOR_UNITS"]].concat(), 0, &[]);
    assert!(said.contains("gas01 secret default"), "{said}");
}

#[test]
fn what_lies_beside_a_tree_is_read_here_and_named_where_it_will_lie() {
    let desk = Desk::new("id = \"t\"\n[[child]]\nid = \"sub\"\ninclude = \"${dir}/sub/s.toml\"\n");
    let sub = desk.dir.path().join("sub");
    fs::create_dir(&sub).expect("made");
    let included = "id = \"s\"\n[[child]]\nid = \"web\"\ncommand = [\"${dir}/bin/web\"]\nenvironment_file = \"${dir}/e\"\n";
    fs::write(sub.join("s.toml"), included).expect("written");
    fs::write(sub.join("e"), "A=1\n").expect("written");
    let said = desk.check("generate", &["--dir", "/srv/trees", "--host", "gas01"], 0, &[]);
    assert!(
        said.contains("/srv/trees/sub/bin/web") && said.contains("EnvironmentFile=/srv/trees/sub/e"),
        "{said}"
    );
    assert!(!said.contains(&desk.dir.path().display().to_string()), "{said}");
}

#[test]
fn a_unit_with_a_secret_in_it_is_for_root_alone() {
    let tree = TREE.replace("\"2000\"]", "\"2000\"]\nenvironment_file = \"secrets\"");
    let desk = Desk::new(&tree);
    // A file that systemd would read in another way: its values stand in the unit.
    fs::write(desk.dir.path().join("secrets"), "PASSWORD=hunter2 # \\x\n").expect("written");
    desk.generate();
    let mode = |name: &str| fs::metadata(desk.unit(name)).expect("it is there").mode() & 0o777;
    assert!(desk.read("t-mail.service").contains("hunter2"));
    assert_eq!((mode("t-mail.service"), mode("t-web.service")), (0o600, 0o644));
    assert!(!fs::read_to_string(desk.unit(".woodward-units.json")).expect("it is there").contains("hunter2"));
}

#[test]
fn a_broken_tree_writes_nothing_and_ends_with_78() {
    let desk = Desk::new("id = \"t\"\n[[child]]\nid = \"web\"\ncomand = \"x\"\n");
    desk.check(
        "generate",
        &["-o", "units"],
        78,
        &["t.toml:4:1: error: unknown key `comand`", "cannot read t.toml"],
    );
    assert!(!desk.units().exists());
    desk.check("generate", &["--mode", "nativ"], 64, &["native, supervised, auto"]);
    desk.check("generate", &["--accept", "x"], 64, &["one of "]);
    desk.check("generate", &["--systemd", "249"], 64, &["from 252 on"]);
}
