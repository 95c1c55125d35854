//! woodward as a generator of systemd: trees in /etc are units, at boot and at each reload.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::bed::program;
use crate::systemd::Systemd;

fn tree(id: &str, seconds: u32) -> String {
    format!("id = {id:?}\n[[child]]\nid = \"x\"\ncommand = [\"/bin/sleep\", \"{seconds}\"]\n")
}

#[test]
fn a_reload_picks_up_trees_that_came_changed_and_went() {
    let bed = Systemd::up(&tree("t", 1001), |_, text| text);
    bed.sh(
        "ln -s /usr/bin/woodward /etc/systemd/system-generators/woodward-generator; systemctl daemon-reload",
    );
    bed.sh("systemctl start t.service");
    bed.wait("pgrep -fx '/bin/sleep 1001'");
    assert_eq!(bed.sh("systemctl show t-x.service -P FragmentPath"), "/run/systemd/generator/t-x.service");
    assert_eq!(
        bed.sh("systemctl show multi-user.target -P Wants | tr ' ' '\\n' | grep -x t.service"),
        "t.service"
    );
    assert_eq!(bed.sh("systemctl show t.service -P SourcePath"), "/etc/woodward/trees/t.toml");
    bed.sh("sed -i s/1001/1002/ /etc/woodward/trees/t.toml");
    // A broken tree is told, and costs the others nothing.
    bed.sh("echo 'id = \"b\" nonsense' > /etc/woodward/trees/b.toml");
    bed.sh("systemctl daemon-reload && systemctl restart t.service");
    bed.wait("pgrep -fx '/bin/sleep 1002'");
    // One that went is no longer started; what runs of it is a person's to stop.
    bed.sh("systemctl stop t.service; rm /etc/woodward/trees/*.toml; systemctl daemon-reload");
    assert!(!bed.holds("systemctl cat t.service") && !bed.holds("pgrep -x sleep"));
    // What runs under woodward itself is left to it.
    bed.sh("echo 'id = \"w\"' > /etc/woodward/trees/w.toml; systemctl enable woodward.service");
    bed.sh("systemctl daemon-reload");
    assert!(!bed.holds("systemctl cat w.service"));
}

/// Calls it as systemd does, under its name.
fn generator(trees: &Path, out: &Path) -> Output {
    let name = out.with_file_name("woodward-generator");
    if !name.exists() {
        std::os::unix::fs::symlink(program(), &name).expect("a link can be made");
    }
    let mut command = Command::new(name);
    command.args([out, &out.with_extension("early"), &out.with_extension("late")]);
    command.env("WOODWARD_TREES", trees).output().expect("it starts")
}

#[test]
fn called_twice_it_writes_the_same_and_what_is_broken_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (trees, out) = (dir.path().join("trees"), dir.path().join("normal"));
    fs::create_dir(&trees).and_then(|()| fs::create_dir(&out)).expect("made");
    fs::write(trees.join("a.toml"), tree("a", 1)).expect("written");
    fs::write(trees.join("c.toml"), tree("c", 1)).expect("written");
    let first = generator(&trees, &out);
    assert!(first.status.success() && first.stderr.is_empty(), "{first:?}");
    let text = |name: &str| fs::read_to_string(out.join(name)).expect("a unit");
    let before = text("a-x.service");
    assert_eq!(
        fs::read_link(out.join("multi-user.target.wants/a.service")).ok(),
        Some("../a.service".into())
    );
    fs::write(trees.join("b.toml"), "id = 1\n").expect("written");
    fs::write(trees.join("d.toml"), tree("a", 2)).expect("written");
    let second = generator(&trees, &out);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("b.toml:1:") && said.contains("another tree has a unit a.service"), "{said}");
    assert_eq!(text("a-x.service"), before);
    assert!(out.join("c.service").exists());
    assert!(!out.with_extension("early").exists() && !out.with_extension("late").exists());
}
