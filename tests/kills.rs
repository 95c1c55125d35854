//! The daemon is killed a thousand times, each time just after something was decided: what it wrote to its journal then
//! is what the test waits for. The trees are random: strategies, order, readiness, back-off, pools, services that crash, words
//! of persons.
//!
//! After each kill: who is steady has its process and generation, words stand, counts have not gone back. In the end:
//! no generation twice, no two processes of one service at once, every crash counted once, nothing left.
//!
//! `WOODWARD_SEED` sets the first seed, `WOODWARD_KILLS` the number of kills. The keeper lets a daemon that dies often
//! rest a second, so several trees are tried side by side.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, kill};
use crate::random::Random;
use crate::survival::engine_room;

/// Trees side by side.
const TREES: u64 = 12;
/// Kills, all trees together.
const KILLS: u64 = 1000;

/// What is known of a tree that was made up.
#[derive(Default)]
struct Known {
    /// Nothing ever stops them.
    steady: Vec<String>,
    /// They crash, and nothing else is restarted with them: (supervisor, service).
    alone: Vec<(String, String)>,
    held: Option<String>,
    stopped: Option<String>,
    done: Vec<String>,
    pools: Vec<String>,
}

/// A service that writes down its start, and whether the process before still lives; `then` is what it does.
fn command(then: &str) -> String {
    let text = format!(
        "f=pid.$(echo $WOODWARD_PATH | tr / .); p=$(cat $f 2>/dev/null); \
         [ -n \"$p\" ] && kill -0 $p 2>/dev/null && echo $WOODWARD_PATH $p $$ >> doubled; echo $$ > $f; \
         echo $WOODWARD_PATH $WOODWARD_GENERATION >> starts; {then}"
    );
    format!("[\"sh\", \"-c\", {text:?}]")
}

const FOREVER: &str = "exec sleep 1000";

/// Crashes after this many milliseconds, until the file `calm` is there.
fn crash(after: usize) -> String {
    format!("[ -e calm ] && {FOREVER}; sleep 0.{after:03}; exit 1")
}

fn random_tree(random: &mut Random) -> (String, Known) {
    let mut known = Known::default();
    let mut text = "id = \"t\"\nintensity = 1000000\nperiod = \"1h\"\n".to_owned();
    let ready = |random: &mut Random, name: &str| match random.below(5) {
        0 => ("echo >&3; ".to_owned(), "ready = { fd = 3 }\n".to_owned()),
        1 => ("echo it is ready; ".to_owned(), "ready = { log = \"it is ready\" }\n".to_owned()),
        2 => (format!("echo up > up.{name}; "), format!("ready = {{ file = \"up.{name}\" }}\n")),
        3 => (String::new(), "ready = { exec = [\"true\"] }\n".to_owned()),
        _ => (String::new(), String::new()),
    };
    let backoff = |random: &mut Random| match random.below(3) {
        0 => "backoff = { immediate = 1, first = \"20ms\", max = \"50ms\" }\n",
        1 => "backoff = { immediate = 0, first = \"100ms\", max = \"100ms\" }\n",
        _ => "backoff = false\n",
    };
    for s in 0..2 + random.below(2) {
        let strategy = random.pick(&["one_for_one", "rest_for_one", "one_for_all"]);
        let order = random.pick(&["listed", "dependencies"]);
        let _ = write!(
            text,
            "[[child]]\nid = \"s{s}\"\nstrategy = \"{strategy}\"\norder = \"{order}\"\n\
             intensity = 1000000\nperiod = \"1h\"\n"
        );
        for c in 0..2 + random.below(3) {
            let path = format!("t/s{s}/c{c}");
            let (say, condition) = ready(random, &format!("s{s}c{c}"));
            let crashes = random.chance(50);
            let then = if crashes { crash(random.below(200)) } else { FOREVER.to_owned() };
            let after = match order {
                "dependencies" if c > 0 && random.chance(60) => {
                    format!("after = [\"c{}\"]\n", random.below(c))
                }
                _ => String::new(),
            };
            let _ = write!(
                text,
                "[[child.child]]\nid = \"c{c}\"\ncommand = {}\n{condition}{after}{}",
                command(&(say + &then)),
                backoff(random)
            );
            match strategy {
                "one_for_one" if crashes => known.alone.push((format!("t/s{s}"), path)),
                "one_for_one" => known.steady.push(path),
                _ => {}
            }
        }
    }
    for name in ["steady", "held", "stopped"] {
        let _ = write!(text, "[[child]]\nid = \"{name}\"\ncommand = {}\n", command(FOREVER));
    }
    known.steady.push("t/steady".to_owned());
    known.held = Some("t/held".to_owned());
    known.stopped = Some("t/stopped".to_owned());
    let _ = write!(text, "[[child]]\nid = \"once\"\nkind = \"oneshot\"\ncommand = {}\n", command("exit 0"));
    known.done.push("t/once".to_owned());
    text.push_str(
        "[[child]]\nid = \"pool\"\nstrategy = \"simple_one_for_one\"\nintensity = 1000000\nperiod = \"1h\"\n",
    );
    let instance = "echo $0 >> arguments; exec sleep 1000";
    let instance = command(instance);
    let instance = instance.trim_end_matches(']');
    let _ = write!(text, "[child.template]\nid = \"w\"\ncommand = {instance}, \"${{arg.name}}\"]\n");
    known.pools.push("t/pool".to_owned());
    (text, known)
}

/// Rows by path.
type Rows = HashMap<String, Value>;

fn rows(bed: &Bed) -> Rows {
    bed.status().into_iter().map(|row| (row["path"].as_str().expect("a path").to_owned(), row)).collect()
}

fn number(rows: &Rows, path: &str, key: &str) -> u64 {
    rows[path][key].as_u64().unwrap_or(0)
}

fn used(rows: &Rows, path: &str) -> u64 {
    rows[path]["limit"]["used"].as_u64().unwrap_or(0)
}

fn identity(rows: &Rows, path: &str) -> (Value, Value) {
    (rows[path]["pid"].clone(), rows[path]["generation"].clone())
}

/// Waits until the journal has grown this many times, but not for ever: a tree may be quiet.
fn wait_for_decisions(journal: &PathBuf, n: usize) {
    let length = || std::fs::metadata(journal).map_or(0, |file| file.len());
    let (mut before, mut seen) = (length(), 0);
    let end = Instant::now() + Duration::from_millis(300);
    while seen < n && Instant::now() < end {
        let now = length();
        if now != before {
            (before, seen) = (now, seen + 1);
        }
        thread::sleep(Duration::from_micros(30));
    }
}

fn one_tree(seed: u64, kills: u64) {
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (text, known) = random_tree(&mut random);
    let bed = Bed::started(&text);
    let (held, stopped) = (known.held.as_deref().expect("one"), known.stopped.as_deref().expect("one"));
    bed.wait("the first starts", |bed| {
        let rows = rows(bed);
        rows["t/once"]["state"] == "done" && [held, stopped].iter().all(|path| rows[*path]["state"] == "up")
    });
    bed.ask(&["hold", held, "-m", "measuring"]);
    bed.ask(&["stop", stopped]);
    for name in ["ada", "bob"] {
        bed.ask(&["start", "t/pool", "--arg", &format!("name={name}")]);
    }
    let instances = ["t/pool/w#1", "t/pool/w#2"];
    let steady: Vec<&str> = known.steady.iter().map(String::as_str).chain(instances).chain([held]).collect();
    bed.wait("the steady ones", |bed| {
        let rows = rows(bed);
        steady.iter().all(|path| rows[*path]["state"] == "up")
    });
    let journal = bed.find("journal");
    let first = rows(&bed);
    let mut before = rows(&bed);
    for n in 0..kills {
        let pause = if random.chance(30) { random.below(3000) } else { 0 };
        wait_for_decisions(&journal, random.below(12));
        thread::sleep(Duration::from_micros(pause as u64));
        let old = engine_room(&bed).expect("a daemon runs");
        kill(old, libc::SIGKILL);
        bed.wait("another daemon", |bed| {
            engine_room(bed).is_some_and(|new| new != old)
                && bed.client(&["status", "--json"]).status.success()
        });
        let after = rows(&bed);
        let place = format!("kill {n} of seed {seed}\n{text}\n{}", bed.output());
        for path in &steady {
            assert_eq!(identity(&after, path), identity(&first, path), "{path} after {place}");
            assert_eq!(after[*path]["state"], "up", "{path} after {place}");
        }
        assert_eq!(after[held]["held"]["text"], "measuring", "{place}");
        assert_eq!(after[stopped]["state"], "stopped", "{place}");
        for path in &known.done {
            assert_eq!(after[path]["state"], "done", "{place}");
        }
        for path in before.keys() {
            for key in ["generation", "restarts"] {
                let (was, is) = (number(&before, path, key), number(&after, path, key));
                assert!(is >= was, "{path}: {key} {was} became {is} after {place}");
            }
            let (was, is) = (used(&before, path), used(&after, path));
            assert!(is >= was, "{path}: used {was} became {is} after {place}");
        }
        before = after;
    }
    bed.write("calm", "");
    bed.wait("everything to be calm", |bed| {
        let rows = rows(bed);
        rows.iter().all(|(path, row)| path == stopped || row["state"] == "up" || row["state"] == "done")
            && known.alone.iter().all(|(_, path)| bed.last_sleeps(path))
    });
    let place = format!("seed {seed}\n{text}\n{}", bed.output());
    let last = rows(&bed);
    let mut starts: HashMap<&str, Vec<u64>> = HashMap::new();
    let all = bed.read("starts");
    for (path, generation) in all.lines().filter_map(|line| line.split_once(' ')) {
        starts.entry(path).or_default().push(generation.parse().expect("a number"));
    }
    for (path, generations) in &starts {
        assert!(generations.windows(2).all(|pair| pair[0] < pair[1]), "{path}: {generations:?}\n{place}");
    }
    assert_eq!(bed.read("doubled"), "", "{place}");
    assert_eq!(bed.read("arguments"), "ada\nbob\n", "{place}");
    for (_, path) in &known.alone {
        let restarts = starts[path.as_str()].len() as u64 - 1;
        assert_eq!(number(&last, path, "restarts"), restarts, "restarts of {path}\n{place}");
    }
    let supervisors: std::collections::BTreeSet<&String> =
        known.alone.iter().map(|(above, _)| above).collect();
    for above in supervisors {
        let own = known.alone.iter().filter(|(of, _)| of == above);
        let restarts: u64 = own.map(|(_, path)| number(&last, path, "restarts")).sum();
        assert_eq!(used(&last, above), restarts, "restarts counted by {above}\n{place}");
    }
    bed.stop();
}

#[test]
fn a_thousand_kills_lose_nothing_and_double_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (first, kills) = (number("WOODWARD_SEED").unwrap_or(1), number("WOODWARD_KILLS").unwrap_or(KILLS));
    let tree = |n: u64| thread::spawn(move || one_tree(first + n, kills.div_ceil(TREES)));
    let trees: Vec<_> = (0..TREES).map(tree).collect();
    let broken = trees.into_iter().filter_map(|tree| tree.join().err()).count();
    assert_eq!(broken, 0, "of {TREES} trees");
}
