//! The engine decides as Erlang/OTP does: every recorded scenario gives OTP's trace, event by event, report by report,
//! whether outcomes come at once or late and in random order.

#[path = "common/oracle.rs"]
mod oracle;

#[path = "common/random.rs"]
mod random;

use flate2::read::GzDecoder;
use random::Random;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

#[test]
fn named_cases_give_otp_traces() {
    check("cases", 233, None);
}

#[test]
fn timed_cases_give_otp_traces_without_taking_time() {
    check("timed", 15, None);
}

#[test]
fn random_scenarios_give_otp_traces() {
    check("scenarios", 3000, None);
}

#[test]
fn late_outcomes_in_random_order_change_nothing() {
    for seed in 1..=5 {
        check("cases", 233, Some(seed));
    }
    check("scenarios", 3000, Some(6));
}

/// Ties the discipline of dependencies to OTP: every child `after` its predecessor is a list.
#[test]
fn a_chain_of_dependencies_is_otp_rest_for_one() {
    let mut random = Random::new(1);
    for i in 0..400 {
        let listed = random_chain(&mut random, i);
        let mut chained = listed.clone();
        chain(&mut chained["root"]);
        let expected = normal(&oracle::run(&listed, None), &listed);
        for seed in [None, Some(i)] {
            let actual = normal(&oracle::run(&chained, seed), &listed);
            assert_same(&expected, &actual, &chained);
        }
    }
}

fn check(name: &str, count: usize, seed: Option<u64>) {
    let scenarios = read(&format!("{name}.jsonl.gz"));
    let expected: HashMap<String, Value> = read(&format!("{name}-otp-traces.jsonl.gz"))
        .into_iter()
        .map(|trace| (trace["id"].as_str().unwrap_or_default().to_owned(), trace))
        .collect();
    assert_eq!((scenarios.len(), expected.len()), (count, count));
    for (i, scenario) in scenarios.iter().enumerate() {
        let id = scenario["id"].as_str().unwrap_or_default();
        let actual = oracle::run(scenario, seed.map(|s| s * 10_000 + i as u64));
        let (expected, actual) = (normal(&expected[id], scenario), normal(&actual, scenario));
        assert_same(&expected, &actual, scenario);
    }
}

/// Says which part differs first.
fn assert_same(expected: &Value, actual: &Value, scenario: &Value) {
    for part in ["init", "steps", "final", "stop", "leaked"] {
        let none = Vec::new();
        let (steps, mine) =
            (&expected[part].as_array().unwrap_or(&none), &actual[part].as_array().unwrap_or(&none));
        for (i, (e, a)) in steps.iter().zip(mine.iter()).enumerate().filter(|_| part == "steps") {
            let step = &scenario["steps"][i];
            assert!(
                e == a,
                "{}\nstep {}: {step}\nexpected {e}\nactual   {a}\nin {}",
                scenario["id"],
                i + 1,
                scenario["root"]
            );
        }
        let (e, a) = (&expected[part], &actual[part]);
        assert!(e == a, "{}\n{part}:\nexpected {e}\nactual   {a}\nin {}", scenario["id"], scenario["root"]);
    }
}

fn read(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle").join(file);
    let open = File::open(&path).unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
    let lines = BufReader::new(GzDecoder::new(open)).lines();
    lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect()
}

// ---------------------------------------------------------------------- what happens in parallel is sorted

fn normal(trace: &Value, scenario: &Value) -> Value {
    let none = Vec::new();
    let actions = scenario["steps"].as_array().unwrap_or(&none);
    let steps = trace["steps"].as_array().unwrap_or(&none).iter().zip(actions);
    json!({
        "init": normal_step(&trace["init"], &Value::Null),
        "steps": steps.map(|(step, action)| normal_step(step, action)).collect::<Vec<Value>>(),
        "final": trace["final"],
        "stop": normal_step(&trace["stop"], &Value::Null),
        "leaked": trace["leaked"],
    })
}

fn normal_step(step: &Value, action: &Value) -> Value {
    let list = |key: &str| step[key].as_array().cloned().unwrap_or_default();
    let (mut events, mut reports) = (list("events"), list("reports"));
    if action["a"] == "kill_sup" {
        events = orphans_first(action["p"].as_str().unwrap_or_default(), events);
        reports.sort_by_key(Value::to_string);
    } else {
        sort_runs(&mut reports, |r| {
            (r.as_array().is_some_and(|r| r.len() == 5)).then(|| json!([r[0], r[1], r[2]]))
        });
    }
    sort_instances(&mut events);
    json!({"result": step["result"], "events": events, "reports": reports})
}

/// The old subtree of a killed supervisor ends beside what its parent does: right behind the kill, sorted.
fn orphans_first(killed: &str, events: Vec<Value>) -> Vec<Value> {
    let started = |e: &&Value| e[0] == "start" || e[0] == "sup_start";
    let new: HashSet<(String, String)> =
        events.iter().filter(started).map(|e| (e[1].to_string(), e[2].to_string())).collect();
    let below = format!("{killed}/");
    let (mut orphans, mut rest): (Vec<Value>, Vec<Value>) = events.into_iter().partition(|e| {
        (e[0] == "stop" || e[0] == "sup_down")
            && e[1].as_str().is_some_and(|path| path.starts_with(&below))
            && !new.contains(&(e[1].to_string(), e[2].to_string()))
    });
    orphans.sort_by_key(|e| instance(e).1);
    let tail = rest.split_off(rest.len().min(1));
    rest.into_iter().chain(orphans).chain(tail).collect()
}

/// Instances of a pool stop in parallel.
fn sort_instances(events: &mut [Value]) {
    let pool =
        |e: &Value| (e[0] == "stop" && e[1].as_str().is_some_and(|p| p.contains('#'))).then(|| instance(e).0);
    let mut from = 0;
    while from < events.len() {
        let group = pool(&events[from]);
        let to =
            from + 1 + events[from + 1..].iter().take_while(|e| group.is_some() && pool(e) == group).count();
        if group.is_some() {
            events[from..to].sort_by_key(|e| instance(e).1);
        }
        from = to;
    }
}

fn instance(event: &Value) -> (String, (String, u64)) {
    let path = event[1].as_str().unwrap_or_default();
    let (pool, number) = path.split_once('#').unwrap_or((path, "0"));
    (pool.to_owned(), (pool.to_owned(), number.parse().unwrap_or(0)))
}

fn sort_runs(list: &mut [Value], group: impl Fn(&Value) -> Option<Value>) {
    let mut from = 0;
    while from < list.len() {
        let mine = group(&list[from]);
        let to =
            from + 1 + list[from + 1..].iter().take_while(|r| mine.is_some() && group(r) == mine).count();
        if mine.is_some() {
            list[from..to].sort_by_key(Value::to_string);
        }
        from = to;
    }
}

// ---------------------------------------------------------------------- chains

/// Permanent children under `rest_for_one`, now and then a start that fails; then crashes, one at a time.
fn random_chain(random: &mut Random, number: u64) -> Value {
    let mut workers = Vec::new();
    let root = random_level(random, "root", 1, &mut workers);
    let crash = |random: &mut Random| json!({"a": "exit", "p": random.pick(&workers), "r": random.pick(&["crash", "kill"])});
    let steps: Vec<Value> =
        if workers.is_empty() { Vec::new() } else { (0..6).map(|_| crash(random)).collect() };
    json!({"id": format!("chain-{number}"), "root": root, "steps": steps})
}

fn random_level(random: &mut Random, path: &str, level: usize, workers: &mut Vec<String>) -> Value {
    let children: Vec<Value> = (0..1 + random.below(4))
        .map(|i| {
            let id = format!("c{i}");
            let path = format!("{path}/{id}");
            if level < 3 && random.chance(30) {
                let mut sup = random_level(random, &path, level + 1, workers);
                sup["id"] = json!(id);
                sup["type"] = json!("supervisor");
                return sup;
            }
            workers.push(path);
            let start: &[&[&str]] =
                &[&[], &[], &["ok", "error"], &["ok", "error", "error"], &["ok", "ok", "crash"]];
            json!({"id": id, "start": random.pick(start)})
        })
        .collect();
    json!({"strategy": "rest_for_one", "intensity": random.below(6), "period": 86400, "children": children})
}

fn chain(sup: &mut Value) {
    sup["order"] = json!("dependencies");
    let mut before: Option<Value> = None;
    for child in sup["children"].as_array_mut().into_iter().flatten() {
        let id = child["id"].clone();
        child["after"] = Value::Array(before.replace(id).into_iter().collect());
        if child["type"] == "supervisor" {
            chain(child);
        }
    }
}
