//! Tree files: every rule has an invalid file with its expected message beside it, every way to write something has a
//! valid file with the plan it gives. `WOODWARD_UPDATE=1` writes what is expected anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use woodward::tree::{self, Diagnostic, Options, Plan, Severity};

/// A host and an environment that are the same everywhere.
fn options() -> Options {
    let environment =
        [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ana"), ("NOTIFY_SOCKET", "/run/x"), ("LISTEN_FDS", "1")];
    Options {
        vars: Vec::new(),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        host: "gas01".to_owned(),
        ..Options::default()
    }
}

fn samples(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory of samples can be listed");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a sample can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "toml"));
    files.sort();
    assert!(!files.is_empty(), "no samples in {dir}");
    files
}

/// Compares with what is written beside the sample, or writes it.
fn compare(beside: &Path, actual: &str, wrong: &mut Vec<String>) {
    let actual = &actual.replace(env!("CARGO_MANIFEST_DIR"), "<here>");
    if std::env::var_os("WOODWARD_UPDATE").is_some() {
        fs::write(beside, actual).expect("what is expected can be written");
        return;
    }
    let expected = fs::read_to_string(beside).unwrap_or_default();
    if expected != *actual {
        wrong.push(format!("{}:\n--- expected\n{expected}--- actual\n{actual}", beside.display()));
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

#[test]
fn every_invalid_file_is_refused_with_its_message() {
    let mut wrong = Vec::new();
    for file in samples("tests/invalid") {
        match tree::load(&file, &options()) {
            Err(diagnostics) => compare(&file.with_extension("expected"), &shown(&diagnostics), &mut wrong),
            Ok(_) => wrong.push(format!("{} was taken", file.display())),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn trees_of_one_node_that_contradict_each_other_are_refused() {
    let told = |parts: [&str; 2]| {
        let plans: Vec<Plan> =
            parts.iter().enumerate().map(|(n, part)| grouped(&format!("g{n}"), part)).collect();
        tree::together::contradictions(&plans)
    };
    let check = |parts, expected: &[&str]| assert_eq!(told(parts), expected, "{parts:?}");
    check(["nodes = [\"a\", \"b\"]", "nodes = [\"c\"]"], &[]);
    check(["nodes = [\"a\", \"b\"]\nwith = [\"g1\"]", "nodes = [\"b\"]"], &[]);
    check(
        ["nodes = [\"a\"]\ntiming = \"fast\"", "nodes = [\"a\"]"],
        &["g0 has the timing 200ms/1s200ms/1s500ms and g1 500ms/2s500ms/3s: a node has one"],
    );
    let address = "nodes = [\"a\"]\naddress = [\"10.0.0.5/24 dev eth0\"]";
    check([address, address], &["g0 and g1 both have the address 10.0.0.5"]);
    check(
        ["nodes = [\"a\"]\nwith = [\"g1\"]", "nodes = [\"a\"]\napart = [\"g0\"]"],
        &["g1 must be apart from g0, and `with` wants both on one node"],
    );
    check(
        ["nodes = [\"a\"]\nwith = [\"g1\"]", "nodes = [\"b\"]"],
        &["g0, g1 are to be together, and no node is in all their `nodes`"],
    );
}

/// A tree with one service and these keys in `[failover]`.
fn grouped(id: &str, failover: &str) -> Plan {
    let path = Path::new("tests/grouped.toml");
    let text =
        format!("id = \"{id}\"\n[failover]\n{failover}\n[[child]]\nid = \"a\"\ncommand = \"sleep 1\"\n");
    let options = Options { files: tree::Files::of(path, &text), ..options() };
    tree::load(path, &options).unwrap_or_else(|said| panic!("{}", shown(&said))).0
}

#[test]
fn every_valid_file_gives_its_plan() {
    let mut wrong = Vec::new();
    for file in samples("tests/valid") {
        match tree::load(&file, &options()) {
            Ok((plan, mut warnings)) => {
                // Where the controllers are, is another thing on every host.
                warnings.retain(|warning| !warning.message.contains("controller"));
                let text = format!("{}{}", told(&plan), shown(&warnings));
                compare(&file.with_extension("expected"), &text, &mut wrong);
            }
            Err(diagnostics) => {
                wrong.push(format!("{} was refused:\n{}", file.display(), shown(&diagnostics)))
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A plan in words: the engine's tree, then each worker, with what is not a default.
fn told(plan: &Plan) -> String {
    let mut text = format!("{:#?}\n", plan.tree);
    for worker in &plan.workers {
        let environment: BTreeMap<&String, &String> =
            worker.environment.iter().map(|(n, v)| (n, v)).collect();
        let _ = writeln!(text, "{}: {:?}", worker.path, worker.command);
        let _ = writeln!(text, "  environment {environment:?}, not shown {:?}", worker.secret_names);
        let _ = writeln!(text, "  ready {:?}, {:?}", worker.ready, worker.stop);
        let _ = writeln!(
            text,
            "  in {:?}, makes {:?}, {:?}",
            worker.working_directory, worker.directories, worker.output
        );
        let _ = writeln!(
            text,
            "  hooks {:?} {:?} {:?}",
            worker.before_start, worker.after_ready, worker.after_stop
        );
        if let Some(health) = &worker.health {
            let _ = writeln!(text, "  {health:?}");
        }
        if let Some(reload) = &worker.reload {
            let _ = writeln!(text, "  reload {reload:?}");
        }
        if !worker.resources.is_none() {
            let _ = writeln!(text, "  {:?}", worker.resources);
        }
        if !worker.sandbox.is_none() {
            let _ = writeln!(text, "  {:?}", worker.sandbox);
        }
        for listen in &worker.listen {
            let _ = writeln!(text, "  listens {listen:?}, lazy {} {:?}", worker.lazy, worker.calm_ends);
        }
    }
    if let Some(failover) = &plan.failover {
        let _ = writeln!(text, "{failover:#?}");
    }
    for left in &plan.left_out {
        let _ = writeln!(text, "left out: {} ({})", left.path, left.reason);
    }
    text
}

#[test]
fn the_trees_that_come_with_woodward_are_valid() {
    for file in samples("supervisors") {
        let result = tree::load(&file, &Options::of_this_process());
        let diagnostics = result.map_or_else(|diagnostics| diagnostics, |(_, warnings)| warnings);
        let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
        assert!(errors.is_empty(), "\n{}", shown(&errors));
    }
}

#[test]
fn the_schema_for_editors_is_up_to_date() {
    let mut wrong = Vec::new();
    compare(Path::new("supervisors/schema.json"), &tree::schema::schema(), &mut wrong);
    assert!(wrong.is_empty(), "WOODWARD_UPDATE=1 writes it anew:\n{}", wrong.join("\n"));
}

#[test]
fn variables_are_given_by_flag_before_environment_before_file() {
    let file = Path::new("tests/valid/variables.toml");
    let origin = |options: &Options| {
        let reading = tree::read(file, options);
        assert!(reading.plan.is_some(), "{}", shown(&reading.diagnostics));
        let known = reading.variables.into_iter().find(|known| known.name == "instance");
        known.map(|known| (known.value, known.origin)).expect("the variable is there")
    };
    let mut options = options();
    assert_eq!(origin(&options), ("2".to_owned(), "tests/valid/variables.toml:5".to_owned()));
    options.environment.insert("WOODWARD_VAR_INSTANCE".to_owned(), "3".to_owned());
    assert_eq!(origin(&options), ("3".to_owned(), "WOODWARD_VAR_INSTANCE".to_owned()));
    options.vars.push(("instance".to_owned(), "4".to_owned()));
    assert_eq!(origin(&options), ("4".to_owned(), "--var".to_owned()));

    let refused = |name: &str, value: &str, message: &str| {
        let mut options = options.clone();
        options.vars.push((name.to_owned(), value.to_owned()));
        let mut diagnostics = tree::load(file, &options).expect_err("it is refused");
        diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
        assert_eq!(shown(&diagnostics).trim_end(), message);
    };
    refused(
        "instanse",
        "1",
        "error: --var instanse: the tree has no variable `instanse`\nhint: did you mean `instance`?",
    );
    refused("instance", "x", "error: --var instance: `instance` is an integer, not \"x\"");
}

#[test]
fn values_of_environment_files_are_never_shown() {
    let reading = tree::read(Path::new("tests/valid/variables.toml"), &options());
    let said: Vec<&str> = reading.said.iter().map(|said| said.value.as_str()).collect();
    let known = reading.variables.iter().map(|known| known.value.as_str());
    let shown =
        said.iter().copied().chain(known).chain([shown(&reading.diagnostics).as_str()]).collect::<String>();
    assert!(!shown.contains("hidden") && !shown.contains("Paranal"), "{shown}");
    assert!(said.contains(&"(not shown)"), "{said:?}");
    let plan = reading.plan.expect("the sample is valid");
    assert!(plan.workers[0].command.contains(&"Paranal".to_owned()), "{:?}", plan.workers[0].command);
}

#[test]
fn an_instance_of_a_template_takes_exactly_its_arguments() {
    let (plan, _) =
        tree::load(Path::new("tests/valid/template.toml"), &options()).expect("the sample is valid");
    let template = &plan.workers[0];
    let args = |names: &[&str]| {
        names.iter().map(|name| ((*name).to_owned(), format!("<{name}>"))).collect::<Vec<_>>()
    };
    let instance = tree::instantiate(template, &args(&["job", "size"])).expect("all arguments are there");
    assert_eq!(instance.command, ["convert", "--size=<size>", "<job>", "${HOME}"]);
    assert_eq!(
        tree::instantiate(template, &args(&["job"])).unwrap_err(),
        "t/pool/convert needs an argument `size`"
    );
    let error = tree::instantiate(template, &args(&["job", "size", "sise"])).unwrap_err();
    assert_eq!(error, "t/pool/convert takes no argument `sise`; did you mean `size`?");
}

/// Changes bytes of every sample, by a seeded generator: whatever comes out, it is read or refused.
#[test]
fn no_input_panics() {
    let dir = tempfile::tempdir().expect("a directory for the changed files");
    let pieces = [
        "${",
        "}",
        "$${",
        "[",
        "]",
        "[[child]]",
        "\"",
        "'",
        "=",
        "\n",
        "\\",
        "\u{e4}",
        "-",
        "9",
        ".",
        ",",
        "{",
        "${x.index}",
        "${9223372036854775807}",
        "each.x = ",
        "include = \"x.toml\"",
        "\0",
    ];
    let mut state = 0x5eed_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below.max(1)
    };
    let mut files = samples("tests/valid");
    files.extend(samples("tests/invalid"));
    files.extend(samples("supervisors"));
    let changed = dir.path().join("x.toml");
    for file in files {
        let original = fs::read(&file).expect("a sample can be read");
        for _ in 0..20 {
            let mut bytes = original.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => drop(bytes.drain(at..(at + 1 + random(8)).min(bytes.len()))),
                    1 => bytes[at] = u8::try_from(random(256)).unwrap_or(0),
                    _ => drop(bytes.splice(at..at, pieces[random(pieces.len())].bytes())),
                }
                bytes.push(b'\n');
            }
            fs::write(&changed, &bytes).expect("a changed sample can be written");
            let _ = tree::load(&changed, &options()).map_err(|diagnostics| shown(&diagnostics));
        }
    }
}
