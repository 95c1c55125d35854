//! What is refused, with which exit code, and what is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{TREE, check};
use crate::bed::{Bed, program};

#[test]
fn a_path_that_fits_several_is_listed_and_nothing_is_done() {
    let tree = "id = \"t\"\n[[child]]\nid = \"a\"\n[[child.child]]\nid = \"x\"\ncommand = [\"sleep\", \"1000\"]\n\
                [[child]]\nid = \"b\"\n[[child.child]]\nid = \"x\"\ncommand = [\"sleep\", \"1000\"]\n";
    let bed = Bed::up(tree);
    let pids = (bed.pid("t/a/x"), bed.pid("t/b/x"));
    check(&bed, &["stop", "x"], 64, &["cannot tell which x is meant", "\n  t/a/x\n  t/b/x\n", "hint: "]);
    assert_eq!((bed.pid("t/a/x"), bed.pid("t/b/x")), pids);
    check(&bed, &["status", "a/x"], 0, &["t/a/x"]);
    bed.stop();
}

#[test]
fn without_a_daemon_every_verb_says_so() {
    let bed = Bed::new();
    for verb in ["status", "is-up", "logs", "events"] {
        check(&bed, &[verb], 69, &["cannot reach a daemon at ", "no such socket", "hint: woodward run FILE"]);
    }
    for verb in ["why", "start", "stop", "restart", "hold", "release"] {
        check(&bed, &[verb, "web"], 69, &["cannot reach a daemon at ", "hint: woodward run FILE"]);
    }
}

#[test]
fn wrong_use_is_64_and_help_is_0() {
    let bed = Bed::new();
    check(&bed, &[], 64, &["Usage: woodward"]);
    check(&bed, &["--help"], 0, &["status", "why", "restart"]);
    check(&bed, &["ps"], 64, &["cannot do \"ps\": no such verb", "hint: woodward status"]);
    check(&bed, &["stop"], 64, &["cannot read the command line", "hint: woodward stop --help"]);
    check(&bed, &["hold", "web", "--for", "soon"], 64, &["--for"]);
    check(&bed, &["start", "a", "b", "--arg", "n=1"], 64, &["several templates"]);
}

#[test]
fn completions_know_the_verbs() {
    let bed = Bed::new();
    for shell in ["bash", "zsh", "fish"] {
        check(&bed, &["completions", shell], 0, &["is-up", "simulate"]);
    }
}

#[test]
fn the_socket_is_its_owners_and_strangers_are_refused() {
    let bed = Bed::up(TREE);
    let mode = |path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(bed.socket()), 0o600);
    if !nix::unistd::geteuid().is_root() {
        // Only root can become somebody else to try it.
        return bed.stop();
    }
    let open = |path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the owner may do that");
    };
    open(bed.path(), 0o755);
    // The program itself may be where a stranger cannot go.
    let copy = bed.path().join("woodward");
    fs::copy(program(), &copy).expect("the program can be copied");
    let stranger = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        let out = command.arg("status").arg("--socket").arg(bed.socket()).output().expect("setpriv is there");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, text) = stranger();
    assert!(code == Some(77) && text.contains("it is another user's"), "{code:?} {text}");
    // The daemon does not rely on the mode alone.
    open(&bed.socket(), 0o666);
    let (code, text) = stranger();
    assert!(code == Some(77) && text.contains("belongs to another user"), "{code:?} {text}");
    bed.stop();
}
