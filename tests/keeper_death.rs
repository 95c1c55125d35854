//! The keeper dies, alone or with its daemon: the services do not notice, and the next `woodward run` takes them over.

use std::collections::HashMap;

use crate::bed::{Bed, kill, lives};
use crate::survival::engine_room;

/// How often everything is killed in the long test: `WOODWARD_ROUNDS`, or this.
const ROUNDS: u64 = 100;

/// `woodward run` of the same file once more; returns when it answers.
fn run_again(bed: &mut Bed) {
    let file = bed.path().join("tree.toml");
    bed.run(&[file.as_os_str()]);
    bed.wait("the next daemon to answer", |bed| bed.client(&["status", "--json"]).status.success());
}

/// SIGKILL to the keeper, and first to its daemon if `both`.
fn kill_keeper(bed: &mut Bed, both: bool) {
    if let Some(daemon) = engine_room(bed).filter(|_| both) {
        kill(daemon, libc::SIGKILL);
    }
    bed.kill_keeper();
}

fn steady(ids: &[&str]) -> String {
    let child = |id: &&str| {
        format!("[[child]]\nid = {id:?}\ncommand = [\"sh\", \"-c\", \"echo {id} >> log; exec sleep 1000\"]\n")
    };
    format!("id = \"t\"\nintensity = 1000000\n{}", ids.iter().map(child).collect::<String>())
}

#[test]
fn services_survive_their_keeper_with_process_and_generation() {
    let mut bed = Bed::up(&steady(&["a", "b", "c"]));
    let paths = ["t/a", "t/b", "t/c"];
    let before = paths.map(|path| (bed.pid(path), bed.generation(path)));
    for both in [false, true, false] {
        kill_keeper(&mut bed, both);
        run_again(&mut bed);
        bed.wait_until_up();
        assert_eq!(paths.map(|path| (bed.pid(path), bed.generation(path))), before);
    }
    assert_eq!(bed.read("log").lines().count(), 3);
    // They are no children of this keeper, and yet their end is seen, and how they ended.
    kill(before[1].0, libc::SIGKILL);
    bed.wait("the restart", |bed| {
        bed.row("t/b")["pid"].as_i64().is_some_and(|pid| pid != i64::from(before[1].0))
    });
    assert!(bed.generation("t/b") > before[1].1);
    let why = bed.ask(&["why", "t/b"]);
    assert!(why.contains("KILL"), "{why}");
    bed.stop();
}

#[test]
fn what_ended_while_nobody_was_watching_is_said_and_restarted() {
    let mut bed = Bed::up(&steady(&["a", "b"]));
    let (kept, ended) = (bed.pid("t/a"), bed.pid("t/b"));
    // Orphans come to us, and we take the status away, as init does.
    nix::sys::prctl::set_child_subreaper(true).expect("allowed to everybody");
    kill_keeper(&mut bed, true);
    kill(ended, libc::SIGKILL);
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(ended), None).expect("it is ours now");
    run_again(&mut bed);
    bed.wait_until_up();
    assert_eq!(bed.pid("t/a"), kept);
    assert_ne!(bed.pid("t/b"), ended);
    let why = bed.ask(&["why", "t/b"]);
    assert!(why.contains("while nobody was watching"), "{why}");
    assert_eq!(bed.read("log").lines().count(), 3);
    bed.stop();
}

#[test]
fn a_daemon_that_hangs_does_not_outlive_its_keeper_for_long() {
    let mut bed = Bed::up(&steady(&["a"]));
    let (service, daemon) = (bed.pid("t/a"), engine_room(&bed).expect("a daemon runs"));
    kill(daemon, libc::SIGSTOP);
    bed.kill_keeper();
    assert!(lives(daemon));
    run_again(&mut bed);
    assert!(!lives(daemon));
    assert_eq!(bed.pid("t/a"), service);
    bed.stop();
}

#[test]
fn a_daemon_without_a_keeper_ends_and_touches_no_service() {
    let mut bed = Bed::up(&steady(&["a"]));
    let (service, daemon) = (bed.pid("t/a"), engine_room(&bed).expect("a daemon runs"));
    bed.kill_keeper();
    bed.wait("the end of the daemon", |_| !lives(daemon));
    assert!(lives(service));
    run_again(&mut bed);
    assert_eq!(bed.pid("t/a"), service);
    bed.stop();
}

#[test]
fn a_service_that_is_no_longer_in_the_file_is_stopped_by_the_next_run() {
    let mut bed = Bed::up(&steady(&["a", "b"]));
    let (kept, dropped) = (bed.pid("t/a"), bed.pid("t/b"));
    kill_keeper(&mut bed, true);
    bed.write("tree.toml", &steady(&["a"]));
    run_again(&mut bed);
    bed.wait("the end of b", |_| !lives(dropped));
    assert_eq!(bed.pid("t/a"), kept);
    bed.stop();
}

#[test]
fn no_line_of_a_service_that_lives_is_lost_with_keeper_and_daemon() {
    let tree = "id = \"t\"\n[[child]]\nid = \"a\"\noutput.file = \"lines\"\ncommand = [\"sh\", \"-c\", \
                \"n=0; while :; do n=$((n + 1)); echo line $n; sleep 0.002; done\"]\n";
    let mut bed = Bed::up(tree);
    let service = bed.pid("t/a");
    let numbers = |bed: &Bed| -> Vec<u64> {
        let text = bed.read("lines");
        text.lines().filter_map(|line| line.rsplit_once("line ")?.1.parse().ok()).collect()
    };
    for round in 0..4 {
        let so_far = numbers(&bed).len();
        bed.wait("more lines", |bed| numbers(bed).len() > so_far + 100);
        kill_keeper(&mut bed, round % 2 == 0);
        run_again(&mut bed);
    }
    let so_far = numbers(&bed).len();
    bed.wait("more lines", |bed| numbers(bed).len() > so_far + 100);
    assert_eq!(bed.pid("t/a"), service);
    let mut all = numbers(&bed);
    all.dedup();
    all.sort_unstable();
    all.dedup();
    let last = *all.last().expect("lines");
    let missing: Vec<u64> = (1..=last).filter(|n| all.binary_search(n).is_err()).collect();
    assert_eq!(missing, [0; 0], "of {last} lines");
    bed.stop();
}

#[test]
fn sweep_ends_what_nobody_serves_and_nothing_else() {
    let leftover = "[[child]]\nid = \"c\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; setsid sleep 1000 & exec sleep 1000\"]\n";
    let mut bed = Bed::up(&(steady(&["a", "b"]) + leftover));
    let sweep = |bed: &Bed| {
        let mut command = bed.command();
        command.args(["sweep", "tree.toml", "--within", "100ms", "--state"]).arg(bed.path().join("state"));
        command.output().expect("the program can be started")
    };
    let served = sweep(&bed);
    assert_eq!(served.status.code(), Some(75), "{}", String::from_utf8_lossy(&served.stderr));
    kill_keeper(&mut bed, true);
    let mut failed = bed.command();
    failed.args(["sweep", "tree.toml"]).env("SERVICE_RESULT", "signal");
    assert!(failed.output().expect("started").status.success());
    assert_ne!(bed.leftovers(), [] as [String; 0], "after a failure the next one goes on with what runs");
    let swept = sweep(&bed);
    assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stderr));
    assert_eq!(String::from_utf8_lossy(&swept.stdout), "3 processes ended\n");
    bed.wait("nothing to be left", |bed| bed.leftovers().is_empty());
    run_again(&mut bed);
    bed.wait_until_up();
    assert_eq!(bed.read("log").lines().count(), 4);
    bed.stop();
}

/// Services that crash all the time and write down each start; one that finds its predecessor alive says so.
pub fn restless(count: usize) -> String {
    let mut tree = steady(&["a", "b"]);
    for n in 0..count {
        let script = format!(
            "exec 9> lock{n}; flock -n 9 || echo {n} $WOODWARD_GENERATION >> doubled; \
             echo {n} $WOODWARD_GENERATION $$ >> starts; sleep 0.0{n}; exit 1"
        );
        tree +=
            &format!("[[child]]\nid = \"r{n}\"\ncommand = [\"sh\", \"-c\", {script:?}]\nbackoff = false\n");
    }
    tree
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_doubled() {
    let mut bed = Bed::started(&restless(8));
    bed.wait("the steady ones", |bed| ["t/a", "t/b"].iter().all(|path| bed.state(path) == "up"));
    let before = ["t/a", "t/b"].map(|path| (bed.pid(path), bed.generation(path)));
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let rounds = std::env::var("WOODWARD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for round in 0..rounds {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let starts = bed.read("starts").lines().count();
        // At a moment that the services choose: after so many starts of theirs from the first answer on.
        let more = (chance >> 33) as usize % 12;
        bed.wait("starts", |bed| bed.read("starts").lines().count() >= starts + more);
        kill_keeper(&mut bed, round % 2 == 0);
        let file = bed.path().join("tree.toml");
        bed.run(&[file.as_os_str()]);
        if round % 4 != 3 {
            bed.wait("an answer", |bed| bed.client(&["status", "--json"]).status.success());
        }
    }
    bed.wait("an answer", |bed| bed.client(&["status", "--json"]).status.success());
    let starts = bed.read("starts").lines().count();
    bed.wait("everything to go on", |bed| bed.read("starts").lines().count() > starts + 50);
    assert_eq!(["t/a", "t/b"].map(|path| (bed.pid(path), bed.generation(path))), before, "{}", bed.output());
    assert_eq!(doubled_or_lost(&bed), "");
    bed.stop();
}

/// What a tree of [`restless`] services has written down that must not be.
pub fn doubled_or_lost(bed: &Bed) -> String {
    let mut wrong = bed.read("doubled");
    let log = bed.read("log");
    if log.lines().count() != 2 {
        wrong += &format!("steady ones were started again: {log}");
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    for line in bed.read("starts").lines() {
        let start = line.rsplit_once(' ').expect("three words").0;
        *seen.entry(start.to_owned()).or_default() += 1;
    }
    let twice = seen.iter().filter(|(_, count)| **count > 1).map(|(start, _)| format!("{start} twice\n"));
    wrong + &twice.collect::<String>()
}
