//! What is written is what arrives: random commands and environments go through unit files and a real systemd, and
//! each process tells what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use woodward::tree::{Stdin, WorkerPlan};
use woodward::units::{Options, Rendering, Unit, names, readiness, service};
use woodward_engine::spec;

use super::bed::Bed;
use super::{number, wait};
use crate::random::Random;

/// What systemd, or the shell in front, adds of its own.
const SYSTEMDS: &[&str] = &[
    "PATH",
    "LANG",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "PWD",
    "WOODWARD_PATH",
    "MANAGERPID",
    "RUNTIME_DIRECTORY",
    "USER",
    "HOME",
    "LOGNAME",
    "SHELL",
];
const NASTY: &[&str] = &[
    "$",
    "%",
    "\"",
    "'",
    "\\",
    "\t",
    "\n",
    "\r",
    ";",
    " ",
    "é",
    "${X}",
    "%n",
    "%%",
    "$$",
    "#",
    "-",
    "@",
    "+",
    "!",
    ":",
    "~",
    "a",
    "B",
    "7",
    "=",
    "|",
    "&",
    "*",
    "?",
    "[x]",
    "{",
    "}",
    "(",
    ")",
    "<",
    ">",
    "`",
    "^",
    ",",
    ".",
    "/",
    "\\x41",
    "\\n",
    "\u{1}",
    "\u{1b}",
    "\u{7f}",
    "\u{81}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{fdd0}",
    "\u{fffe}",
    "\u{10ffff}",
    "日本",
    "🦀",
    "$HOME",
    "${HOME}",
    "%i",
    "%h",
    "%",
    "\\;",
    " ; ",
    "\\",
    "//",
    "..",
];

fn text(random: &mut Random) -> String {
    match random.below(40) {
        0 => "x ".repeat(3000),
        1 => NASTY.iter().copied().collect::<String>().repeat(40),
        2..6 => String::new(),
        6 => ";".to_owned(),
        _ => (0..random.below(7)).map(|_| random.pick(NASTY)).collect(),
    }
}

/// Prints who it is into a file.
fn told(program: &str, file: &str, random: &mut Random) -> Vec<String> {
    let script = format!("cat /proc/$$/cmdline /proof/between /proc/$$/environ > /proof/told/{file}");
    let fixed = [program, "-c", &script, "sh"].map(str::to_owned);
    fixed.into_iter().chain((0..random.below(8)).map(|_| text(random))).collect()
}

fn environment(random: &mut Random) -> Vec<(String, String)> {
    let odd = ["a.b", "1X", "x-y", "é", "A B", "-x", "$x", "'"];
    let mut all = BTreeMap::new();
    for n in 0..random.below(6) {
        let name = if random.chance(8) { random.pick(&odd).to_owned() } else { format!("V_{n}") };
        all.insert(name, text(random));
    }
    all.into_iter().collect()
}

/// A program of any name: the shell.
fn program(bin: &Path, n: u64, random: &mut Random) -> String {
    if random.chance(70) {
        return random.pick(&["/bin/sh", "sh", "dash"]).to_owned();
    }
    let name: String = format!("{n}") + &(0..random.below(4)).map(|_| random.pick(NASTY)).collect::<String>();
    let name = name.replace('/', "_");
    std::os::unix::fs::symlink("/bin/sh", bin.join(&name)).expect("a link can be made");
    format!("/proof/bin/{name}")
}

struct Case {
    id: String,
    plan: WorkerPlan,
    /// By file: what is to be told.
    told: Vec<(String, Vec<String>)>,
}

fn case(n: u64, bin: &Path, random: &mut Random) -> Case {
    let letters = "abcXYZ019_.:@-";
    let letters: Vec<char> = letters.chars().collect();
    let id: String = (0..random.below(12)).map(|_| random.pick(&letters)).collect();
    let id = format!("{id}{n}");
    let command = told(&program(bin, n, random), &format!("{n}"), random);
    let before: Vec<Vec<String>> =
        (0..random.below(4)).map(|hook| told("/bin/sh", &format!("{n}.{hook}"), random)).collect();
    let mut told: Vec<_> =
        before.iter().enumerate().map(|(hook, c)| (format!("{n}.{hook}"), c.clone())).collect();
    told.push((n.to_string(), command.clone()));
    let plan = WorkerPlan {
        path: format!("e/{id}"),
        oneshot: true,
        environment: Arc::new(environment(random)),
        stdin: if random.chance(10) { Stdin::Open } else { Stdin::Null },
        command_on_restart: random.chance(10).then(|| vec!["/bin/false".to_owned(), text(random)]),
        description: Some(text(random)),
        before_start: before,
        command,
        ..WorkerPlan::default()
    };
    Case { id, plan, told }
}

fn child(id: &str) -> spec::Child {
    spec::Child {
        id: id.into(),
        restart: spec::Restart::Temporary,
        significant: false,
        shutdown: spec::Shutdown::Time(std::time::Duration::from_secs(5)),
        after: Vec::new(),
        backoff: None,
        kind: spec::Kind::Worker(spec::Worker { oneshot: true, ..spec::Worker::default() }),
    }
}

fn unit(case: &Case, options: &Options) -> Unit {
    let mut unit = Unit::new(format!("{}.service", names::stem("", &case.plan.path)), case.plan.path.clone());
    let (child, mut deviations) = (child(&case.id), Vec::new());
    service::lines(&mut unit, &case.plan, &child, options, &mut deviations);
    readiness::lines(&mut unit, &case.plan, &child, options, &mut deviations);
    assert_eq!(deviations, [], "{}", case.id);
    unit
}

fn zero_separated(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).expect("UTF-8")).collect()
}

/// What is different; nothing if all has arrived.
fn difference(case: &Case, command: &[String], bytes: &[u8]) -> Option<String> {
    let between = b"\0--between--\0";
    let Some(at) = bytes.windows(between.len()).position(|window| window == between) else {
        return Some("it has told nothing".to_owned());
    };
    let (said, environ) = (zero_separated(&bytes[..at]), zero_separated(&bytes[at + between.len()..]));
    if said != command {
        return Some(format!("{command:?}\narrived as {said:?}"));
    }
    let found: BTreeMap<&str, &str> = environ.iter().filter_map(|pair| pair.split_once('=')).collect();
    for (name, value) in case.plan.environment.iter() {
        if found.get(name.as_str()) != Some(&value.as_str()) {
            return Some(format!("{name}={value:?}\narrived as {:?}", found.get(name.as_str())));
        }
    }
    if found.get("WOODWARD_PATH") != Some(&case.plan.path.as_str()) {
        return Some(format!("WOODWARD_PATH is {:?}", found.get("WOODWARD_PATH")));
    }
    let ours: BTreeSet<&str> = case.plan.environment.iter().map(|(name, _)| name.as_str()).collect();
    let strange: Vec<_> =
        found.keys().filter(|name| !ours.contains(*name) && !SYSTEMDS.contains(name)).collect();
    (!strange.is_empty()).then(|| format!("nobody has set {strange:?}"))
}

#[test]
fn commands_and_environments_arrive_as_they_were_written() {
    let mut bed = Bed::up();
    let (seed, count) = (number("UNITS_SEED", 1), number("UNITS_WORKERS", 800));
    let mut random = Random::new(seed);
    for directory in ["told", "bin", "units"] {
        fs::create_dir(bed.path().join(directory)).expect("made");
    }
    fs::write(bed.path().join("between"), "\0--between--\0").expect("written");
    let bin = bed.path().join("bin");
    let source = "it's 100%\\é.toml";
    fs::write(bed.path().join(source), "").expect("written");
    let options = Options { source: format!("/proof/{source}").into(), ..super::options() };
    let cases: Vec<Case> = (0..count).map(|n| case(n, &bin, &mut random)).collect();
    let units: Vec<Unit> = cases.iter().map(|case| unit(case, &options)).collect();
    woodward::units::refuse(&Rendering { units: units.clone(), ..Rendering::default() })
        .expect("nothing is refused");
    for unit in &units {
        fs::write(bed.path().join("units").join(&unit.name), unit.to_string()).expect("written");
    }
    let said = bed.sh("cp /proof/units/* /run/systemd/system/ && systemctl daemon-reload");
    assert_eq!(said, "");
    let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    fs::write(bed.path().join("names"), names.join("\n")).expect("written");
    let said =
        bed.sh("tr '\\n' '\\0' < /proof/names | xargs -0 systemctl start --no-block -- 2>&1 | head -5");
    assert_eq!(said, "", "{}", bed.sh("journalctl -o cat --no-pager -p warning _PID=1 | head -20"));
    let total: usize = cases.iter().map(|case| case.told.len()).sum();
    wait("all jobs to be done", || {
        let jobs = bed.sh("systemctl list-jobs --no-legend | head -3");
        jobs.is_empty() || jobs.starts_with("No jobs")
    });
    let warned = bed.sh("journalctl -o cat --no-pager -p warning _PID=1 | head -20");
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| case.told.iter().map(move |told| (case, told)))
        .filter_map(|(case, (file, command))| {
            let bytes = fs::read(bed.path().join("told").join(file)).unwrap_or_default();
            difference(case, command, &bytes)
                .map(|what| format!("{file}: {what}\n{}\n", unit(case, &options)))
        })
        .collect();
    println!("{count} units, {total} commands, {} wrong", wrong.len());
    assert!(
        wrong.is_empty(),
        "{}\n{}\n{warned}",
        wrong.len(),
        wrong.iter().take(3).cloned().collect::<String>()
    );
    assert_eq!(warned, "");
}
