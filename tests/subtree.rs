//! `woodward run FILE --at PATH`: one subtree as a tree of its own.

use crate::bed::{Bed, kill};

/// A tree of which only `t/s` is run; `inner` is said of that supervisor.
fn tree(inner: &str, child: &str) -> String {
    let a = "[[child]]\nid = \"a\"\ncommand = [\"sleep\", \"1000\"]\n";
    format!(
        "id = \"t\"\nstrategy = \"one_for_all\"\nenvironment = {{ FROM = \"above\" }}\n{a}\
         [[child]]\nid = \"s\"\n{inner}\n[[child.child]]\nid = \"b\"\n{child}\n"
    )
}

fn at(path: &str, text: &str) -> Bed {
    let mut bed = Bed::new();
    let file = bed.write("tree.toml", text);
    bed.run(&[file.as_os_str(), "--at".as_ref(), path.as_ref()]);
    bed
}

const SLEEPS: &str = "command = [\"sh\", \"-c\", \"echo $FROM > from; exec sleep 1000\"]";

#[test]
fn a_subtree_runs_alone_under_its_full_path() {
    let bed = at("t/s", &tree("", SLEEPS));
    bed.wait_until_up();
    let paths: Vec<String> =
        bed.status().iter().map(|row| row["path"].as_str().expect("text").to_owned()).collect();
    assert_eq!(paths, ["t", "t/s", "t/s/b"]);
    bed.wait("what is inherited", |bed| bed.read("from") == "above\n");
    let (first, generation) = (bed.pid("t/s/b"), bed.generation("t/s/b"));
    kill(first, libc::SIGKILL);
    bed.wait("the restart", |bed| bed.generation("t/s/b") > generation);
    bed.stop();
}

#[test]
fn the_end_of_a_subtree_is_the_end_of_the_run_and_its_code_says_which() {
    fn check(inner: &str, child: &str, code: i32) {
        let mut bed = at("t/s", &tree(inner, child));
        assert_eq!(bed.wait_for_the_end().code(), Some(code), "{inner}\n{}", bed.output());
        assert_eq!(bed.leftovers(), [] as [String; 0]);
    }
    let fails = "command = [\"sh\", \"-c\", \"exit 3\"]\nbackoff = false";
    check("intensity = 2", fails, 1);
    check("intensity = 0\ninitial_start = \"fail\"", fails, 1);
    let ends = "command = [\"sh\", \"-c\", \"sleep 0.1\"]\nrestart = \"transient\"\nsignificant = true";
    check("auto_shutdown = \"any_significant\"", ends, 0);
}

#[test]
fn a_reload_looks_at_the_subtree_alone() {
    let bed = at("t/s", &tree("", SLEEPS));
    bed.wait_until_up();
    let before = i64::from(bed.pid("t/s/b"));
    bed.write("tree.toml", &tree("", SLEEPS).replacen("1000", "2000", 1));
    kill(bed.daemon(), libc::SIGHUP);
    bed.wait("the reload", |bed| bed.output().contains("applied t"));
    assert_eq!(i64::from(bed.pid("t/s/b")), before);
    bed.write("tree.toml", &tree("", SLEEPS).replace("1000", "2000"));
    kill(bed.daemon(), libc::SIGHUP);
    bed.wait("the restart", |bed| bed.row("t/s/b")["pid"].as_i64().is_some_and(|pid| pid != before));
    bed.stop();
}

#[test]
fn what_runs_is_taken_over_by_the_next_run_of_the_same_subtree() {
    let mut bed = at("t/s", &tree("", SLEEPS));
    bed.wait_until_up();
    let before = (bed.pid("t/s/b"), bed.generation("t/s/b"));
    bed.kill_keeper();
    let file = bed.path().join("tree.toml");
    bed.run(&[file.as_os_str(), "--at".as_ref(), "t/s".as_ref()]);
    bed.wait_until_up();
    assert_eq!((bed.pid("t/s/b"), bed.generation("t/s/b")), before);
    bed.stop();
}

#[test]
fn what_cannot_be_run_alone_starts_nothing() {
    fn check(path: &str, code: i32, said: &str) {
        let mut bed = at(path, &tree("", SLEEPS));
        assert_eq!(bed.wait_for_the_end().code(), Some(code), "{}", bed.output());
        assert!(bed.output().contains(said), "{}", bed.output());
        assert_eq!(bed.leftovers(), [] as [String; 0]);
    }
    check("t/s/b", 78, "cannot run t/s/b alone: it is no supervisor\nhint: --at t/s\n");
    check("t/z", 78, "cannot run t/z alone: no such path");
    check("../x", 64, "it is no path");
}
