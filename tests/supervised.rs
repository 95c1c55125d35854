//! Trees, and subtrees of them, as units that are `woodward run`, in a real systemd.

use std::fs;
use std::path::{Path, PathBuf};

use woodward::tree;
use woodward::units::{self, Deviation, Mode, Options, Release, Scope};

use crate::systemd::Systemd;

fn options(mode: Mode) -> Options {
    Options {
        mode,
        release: Release::default(),
        scope: Scope::System,
        prefix: String::new(),
        source: PathBuf::from("/etc/woodward/trees/t.toml"),
        program: PathBuf::from("/usr/bin/woodward"),
        vars: Vec::new(),
        environment: Vec::new(),
        accepted: Vec::new(),
    }
}

/// A systemd with the units of a tree.
fn made(text: &str, options: &Options) -> Systemd {
    Systemd::with(text, |file, units| write(file, units, options))
}

fn write(file: &Path, into: &Path, options: &Options) {
    let plan = match tree::load(file, &tree::Options::default()) {
        Ok((plan, _)) => plan,
        Err(errors) => panic!("{errors:?}"),
    };
    let rendering = units::generate(&plan, options).expect("it can be rendered");
    for unit in rendering.units {
        fs::write(into.join(&unit.name), unit.to_string()).expect("written");
    }
}

fn child(id: &str, more: &str) -> String {
    format!("[[child]]\nid = {id:?}\ncommand = [\"sleep\", \"1000\"]\nbackoff = false\n{more}\n")
}

const UP: &str = "systemctl -q is-active t && woodward is-up";

#[test]
fn a_tree_as_one_unit_lives_like_one_under_woodward() {
    let bed = made(&format!("id = \"t\"\n{}{}", child("a", ""), child("b", "")), &options(Mode::Supervised));
    bed.sh("systemctl start t");
    assert!(bed.holds(UP));
    let (main, a, b) = (bed.sh("systemctl show -P MainPID t"), bed.pid("t/a"), bed.pid("t/b"));
    // A service that crashes is woodward's to restart.
    bed.sh(&format!("kill -KILL {a}"));
    bed.wait(&format!("woodward is-up && ! [ -e /proc/{a} ]"));
    assert_eq!(bed.pid("t/b"), b);
    // A keeper that is killed is systemd's; its services live on.
    let a = bed.pid("t/a");
    bed.sh(&format!("kill -KILL {main}"));
    bed.wait(&format!("[ $(systemctl show -P MainPID t) != {main} ] && {UP}"));
    assert_eq!((bed.pid("t/a"), bed.pid("t/b")), (a, b));
    // A reload reads the tree again.
    bed.sh("sed -i '0,/1000/s//2000/' /etc/woodward/trees/t.toml; systemctl reload t");
    bed.wait("pgrep -fx 'sleep 2000' && woodward is-up");
    assert_eq!(bed.pid("t/b"), b);
    assert_eq!(bed.sh("systemctl show -P Slice t"), "t.slice");
    bed.sh("systemctl stop t");
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"));
    assert_eq!(bed.sh("systemctl show -P Result t"), "success");
    let journal = bed.journal_of("t");
    let (b, a) = (journal.rfind("t/b: asked to stop"), journal.rfind("t/a: asked to stop"));
    assert!(b.is_some() && b < a, "{journal}");
}

#[test]
fn a_tree_that_has_ended_stays_ended_and_its_unit_says_how() {
    let bed = made(&format!("id = \"t\"\nintensity = 0\n{}", child("a", "")), &options(Mode::Supervised));
    let ended = "[ $(systemctl show -P ActiveState t) = STATE ]";
    // It gives up.
    bed.sh("systemctl start t");
    bed.sh(&format!("kill -KILL {}", bed.pid("t/a")));
    bed.wait(&ended.replace("STATE", "failed"));
    assert_eq!(bed.sh("systemctl show -P ExecMainStatus t"), "1");
    assert_eq!(bed.sh("systemctl show -P NRestarts t"), "0");
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"));
    // Somebody asks it to stop.
    bed.sh("systemctl start t; kill -TERM $(systemctl show -P MainPID t)");
    bed.wait(&ended.replace("STATE", "inactive"));
    assert_eq!(bed.sh("systemctl show -P Result t"), "success");
    // A wrong tree file.
    bed.sh("echo nonsense >> /etc/woodward/trees/t.toml; systemctl start t || true");
    bed.wait(&ended.replace("STATE", "failed"));
    assert_eq!(bed.sh("systemctl show -P ExecMainStatus t"), "78");
    assert_eq!(bed.sh("systemctl show -P NRestarts t"), "0");
}

/// A tree of which `t/s` cannot be said (a file with rotation), and which gives up at the second restart.
fn mixed() -> String {
    let inner = |id: &str, more: &str| child(id, more).replace("[[child]]", "[[child.child]]");
    let flags = "strategy = \"one_for_all\"\nintensity = 1\nperiod = \"1h\"";
    format!(
        "id = \"t\"\n{}\n{}[[child]]\nid = \"s\"\n{flags}\n{}{}{}",
        flags.replace("all", "rest").replace("one_for_rest", "rest_for_one"),
        child("a", ""),
        inner("b", "output = { file = \"/tmp/b.log\", max_size = \"1M\" }"),
        inner("c", ""),
        child("z", "")
    )
}

fn mostly_native() -> Options {
    let but_one = Deviation::ALL.iter().copied().filter(|name| *name != Deviation::LogRotation);
    Options { accepted: but_one.collect(), ..options(Mode::Auto) }
}

#[test]
fn a_supervised_subtree_is_a_worker_of_its_native_parent() {
    let bed = made(&mixed(), &mostly_native());
    assert_eq!(
        bed.sh("cd /etc/systemd/system; ls t*.service | tr '\\n' ' '"),
        "t-a.service t-abort.service t-meter.service t-s.service t-z.service t.service"
    );
    let main = |unit: &str| bed.sh(&format!("systemctl show -P MainPID {unit}"));
    let mains = || ["t", "t-a", "t-s", "t-z"].map(main);
    let all_up = "systemctl -q is-active t t-a t-s t-z && woodward is-up";
    bed.sh("systemctl start t");
    bed.wait(all_up);
    // A crash inside is woodward's; nobody outside notices.
    let (before, b, c) = (mains(), bed.pid("t/s/b"), bed.pid("t/s/c"));
    bed.sh(&format!("kill -KILL {b}"));
    bed.wait(&format!("woodward is-up && ! [ -e /proc/{c} ]"));
    assert_eq!(mains(), before);
    // One too many: the subtree gives up, which is a crash of a child to the tree. What is younger restarts with it.
    bed.sh(&format!("kill -KILL {}", bed.pid("t/s/c")));
    bed.wait(&format!("[ $(systemctl show -P MainPID t-z) != {} ] && {all_up}", before[3]));
    let now = mains();
    assert_eq!((&now[0], &now[1]), (&before[0], &before[1]));
    assert_ne!(now[2], before[2]);
    assert_eq!(bed.sh("pgrep -cx sleep"), "5");
    // Once more: now the tree gives up.
    for _ in 0..2 {
        let b = bed.pid("t/s/b");
        bed.sh(&format!("kill -KILL {b}"));
        bed.wait(&format!("! [ -e /proc/{b} ]; ! systemctl -q is-active t || woodward is-up"));
    }
    bed.wait("! systemctl is-active t t-a t-s t-z | grep -qv inactive");
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"), "{}", bed.sh("ps ax"));
}

#[test]
fn a_mixed_tree_stops_in_order_through_both_worlds() {
    let bed = made(&mixed(), &mostly_native());
    bed.sh("systemctl start t");
    bed.wait("systemctl -q is-active t t-a t-s t-z && woodward is-up");
    bed.sh("systemctl stop t");
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"), "{}", bed.sh("ps ax"));
    let journal = bed.journal_of("t*");
    let ends = ["Stopped t-z", "t/s/c: asked to stop", "t/s/b: asked to stop", "Stopped t-s", "Stopped t-a"];
    let places = ends.map(|end| journal.find(end).unwrap_or_else(|| panic!("no {end}: {journal}")));
    assert!(places.is_sorted(), "{journal}");
}

/// Scores of `systemd-analyze security`: 0 is nothing exposed, 10 all of it.
fn score(bed: &Systemd, unit: &str) -> f64 {
    let out = bed.sh(&format!(
        "systemd-analyze security --offline=true --no-pager /etc/systemd/system/{unit}.service"
    ));
    let overall = out.lines().find(|line| line.contains("Overall exposure level")).expect("a score");
    overall.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
}

#[test]
fn what_no_service_needs_is_forbidden_to_all_and_woodward_still_works() {
    let strict = |id: &str| child(id, "harden = \"strict\"\nuser = \"nobody\"\nmemory_max = \"64M\"");
    let text = format!("id = \"t\"\n{}{}", strict("a"), strict("b"));
    let bed = made(&text, &options(Mode::Supervised));
    bed.sh("systemctl start t");
    assert!(bed.holds(UP), "{}", bed.journal_of("t"));
    let a = bed.pid("t/a");
    assert_eq!(bed.sh(&format!("ps -o user= -p {a}")), "nobody");
    assert_eq!(bed.sh(&format!("grep NoNewPrivs /proc/{a}/status | cut -f2")), "1");
    // Its own sandbox, a restart, a keeper that is killed, a reload: all of it under the unit's restrictions.
    bed.sh(&format!("kill -KILL {a}"));
    bed.wait(&format!("! [ -e /proc/{a} ] && woodward is-up"));
    let (main, a) = (bed.sh("systemctl show -P MainPID t"), bed.pid("t/a"));
    bed.sh(&format!("kill -KILL {main}"));
    bed.wait(&format!("[ $(systemctl show -P MainPID t) != {main} ] && {UP}"));
    assert_eq!(bed.pid("t/a"), a);
    bed.sh("sed -i '0,/1000/s//2000/' /etc/woodward/trees/t.toml; systemctl reload t");
    bed.wait("pgrep -fx 'sleep 2000' && woodward is-up");
    let hardened = score(&bed, "t");
    bed.sh("systemctl stop t");
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"));
    let free = made(&text.replace("harden = \"strict\"\n", ""), &options(Mode::Supervised));
    let open = score(&free, "t");
    assert!(hardened < 7.0 && open > 9.0, "{hardened} of {open}");
}

#[test]
fn a_user_has_a_tree_as_one_unit() {
    let text = format!("id = \"t\"\n{}", child("a", ""));
    let bed = made(&text, &Options { scope: Scope::User, ..options(Mode::Supervised) });
    bed.sh("mkdir -p /etc/systemd/user; mv /etc/systemd/system/t.service /etc/systemd/user/; mkdir -p /run/user/0");
    bed.sh("systemctl start user@0.service");
    let user = "XDG_RUNTIME_DIR=/run/user/0 systemctl --user";
    bed.sh(&format!("{user} start t"));
    assert!(bed.holds(&format!("{user} -q is-active t && woodward is-up")));
    let (main, a) = (bed.sh(&format!("{user} show -P MainPID t")), bed.pid("t/a"));
    bed.sh(&format!("kill -KILL {main}"));
    bed.wait(&format!(
        "[ $({user} show -P MainPID t) != {main} ] && {user} -q is-active t && woodward is-up"
    ));
    assert_eq!(bed.pid("t/a"), a);
    bed.sh(&format!("{user} stop t"));
    assert!(!bed.holds("pgrep -x 'sleep|woodward'"));
}

#[test]
fn a_tree_that_is_to_reboot_does_so_when_it_gives_up_and_for_nothing_else() {
    let text = format!("id = \"t\"\nintensity = 0\nexhausted = \"reboot\"\n{}", child("a", ""));
    let bed = made(&text, &options(Mode::Supervised));
    bed.sh("systemctl start t");
    let main = bed.sh("systemctl show -P MainPID t");
    bed.sh(&format!("kill -KILL {main}"));
    bed.wait(&format!("[ $(systemctl show -P MainPID t) != {main} ] && {UP}"));
    bed.sh("systemctl stop t; cp /etc/woodward/trees/t.toml /root/t.toml; echo nonsense >> /etc/woodward/trees/t.toml");
    bed.sh("systemctl start t || true");
    bed.wait("[ $(systemctl show -P ActiveState t) = failed ]");
    bed.sh("cat /root/t.toml > /etc/woodward/trees/t.toml; systemctl start t");
    assert!(bed.holds(UP));
    let a = bed.pid("t/a");
    bed.holds(&format!("kill -KILL {a}"));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while bed.holds("! systemctl is-system-running | grep -q stopping") {
        assert!(std::time::Instant::now() < end, "it does not go down");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
