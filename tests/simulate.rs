//! `woodward simulate` and `check`, `plan` as programs: what they print, and with which code they end.

use std::path::Path;
use std::process::{Command, Output};

use woodward::tree::{self, Options};

fn woodward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_woodward"))
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("WOODWARD_SOCKET")
        .output()
        .expect("the program can be run")
}

/// What is printed, after the exit code.
fn check(args: &[&str], code: i32, expected: &str) {
    let output = woodward(args);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.trim_end(), expected.trim_start_matches('\n').trim_end(), "{args:?}");
    assert_eq!(output.status.code(), Some(code), "{args:?}");
}

#[test]
fn a_crash_of_each_child_of_each_tree_comes_to_rest() {
    for file in ["supervisors/acs.toml", "supervisors/minimal.toml"] {
        let (plan, _) = tree::load(Path::new(file), &Options::of_this_process()).expect("the tree is valid");
        for worker in &plan.workers {
            let output = woodward(&["simulate", file, "--fault", &worker.path]);
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{}: {text}", worker.path);
            let id = worker.path.rsplit('/').next().expect("a path has an end");
            let ended = text.lines().position(|line| line.contains(id) && line.ends_with("ended: exit 1"));
            let again =
                text.lines().enumerate().filter(|(_, line)| line.contains(id) && line.ends_with("started"));
            let again = again.map(|(n, _)| n).last();
            assert!(ended.is_some() && ended < again, "{} did not come back:\n{text}", worker.path);
            assert!(!text.contains("never rest"), "{}:\n{text}", worker.path);
        }
    }
}

#[test]
fn a_simulation_tells_cause_and_effects_on_a_clock_from_0() {
    let expected = "
     0.103  t         3 of 3 up
    10.103  b         ended: SIGKILL, not sent by woodward
    10.103  b         rest_for_one: 1 more goes too; restart 1, limit 1 in 1m
    10.103  c         goes along with b
    10.103  c         asked to stop: SIGTERM, 5s
    10.123  c         ended: exit 0; its group is empty
    10.124  b         started
    10.224  b         ready: \"up\"
    10.225  c         started
    10.225  c         ready
    10.324  b         ended: SIGKILL, not sent by woodward
    10.324  b         limit exceeded: t gives up, the tree ends
    10.324  t         stopping: shutdown
    10.324  c         asked to stop: SIGTERM, 5s
    10.344  c         ended: exit 0; its group is empty
    10.344  a         asked to stop: SIGTERM, 5s
    10.364  a         ended: exit 0; its group is empty
    10.364  t         ended: shutdown
    10.364  t         tree ended: it gave up
now  the tree gave up; nothing is left running";
    check(&["simulate", "tests/cli/three.toml", "--fault", "b=kill*2"], 0, expected);
}

#[test]
fn a_simulation_without_faults_is_a_start_and_a_stop() {
    let expected = "
     0.000  t         started
     0.001  web       started
     0.001  web       ready
     0.001  t         ready
     0.001  t         1 of 1 up
    10.001  t         asked to stop
    10.001  t         stopping: shutdown
    10.001  web       asked to stop: SIGTERM, 5s
    10.021  web       ended: exit 0; its group is empty
    10.021  t         ended: shutdown
    10.021  t         tree ended: stopped as asked";
    check(&["simulate", "tests/cli/one.toml"], 0, expected);
}

#[test]
fn a_hanging_start_gives_up_after_six_tries() {
    let output = woodward(&["simulate", "tests/cli/one.toml", "--fault", "web=hangs_in_start*always"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("the tree gave up"), "{text}");
    assert_eq!(text.matches("start failed: not ready within 1m").count(), 5, "{text}");
}

#[test]
fn a_replay_shows_events_effects_and_changes_of_state() {
    let output = woodward(&["replay", "tests/cli/trace.txt"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let step = "
5/8  at 500 ms  ended 2 signal:9  (t/a)
    fact t/a: ended: SIGKILL, not sent by woodward
    fact t/a: report: child_terminated, crash
    fact t/a: rest_for_one: 1 more goes too; restart 1, limit 3 in 10s
    fact t/b: goes along with a
    fact t/b: asked to stop: 5s
    ask 3 to stop within 5s
    t/a: up as 2 -> waiting as 2
    t/b: up as 3 -> stopping as 3
";
    assert!(text.contains(step), "{text}");
    assert!(
        text.contains(
            "8/8  at 602 ms  started 9  (not current: dropped)\nend after 8 events, 1 of them dropped"
        ),
        "{text}"
    );
    let expected = "
cannot replay tests/cli/one.toml: line 1: `id` is none of supervisor, worker, at
hint: `woodward simulate` reads tree files";
    check(&["replay", "tests/cli/one.toml"], 78, expected);
}

#[test]
fn check_says_one_friendly_line_about_a_good_file() {
    check(&["check", "tests/cli/one.toml"], 0, "tests/cli/one.toml: 1 service, no errors");
}

#[test]
fn check_says_what_is_wrong_and_where_and_ends_with_78() {
    let expected = "
tests/cli/site.toml:2:12: error: unknown strategy \"one_for_on\"
 2 | strategy = \"one_for_on\"
   |            ^^^^^^^^^^^^ did you mean \"one_for_one\"?
   = allowed: one_for_one, one_for_all, rest_for_one, simple_one_for_one
tests/cli/site.toml:6:1: error: unknown key `comand` in t/a
 6 | comand = \"sleep 1\"
   | ^^^^^^ did you mean `command`?
tests/cli/site.toml:9:6: warning: t/b would give up 0.7s after its first crash
2 errors, 1 warning; nothing was changed";
    check(&["check", "tests/cli/site.toml"], 78, expected);
    check(
        &["check", "nowhere.toml"],
        78,
        "error: cannot read nowhere.toml: no such file\n1 error; nothing was changed",
    );
}

#[test]
fn warnings_are_errors_when_strict() {
    assert_eq!(woodward(&["check", "tests/valid/warnings.toml"]).status.code(), Some(0));
    assert_eq!(woodward(&["check", "--strict", "tests/valid/warnings.toml"]).status.code(), Some(78));
}

#[test]
fn plan_draws_waves_and_what_each_crash_drags_along() {
    let expected = "
t: rest_for_one, 1 in 1m, then exit                              most = 1 (file)
wave  child                 ready when             within  a crash restarts
   1  a                     executed                       a, b, c
   2  b                     log \"up\"                   1m  b, c
   3  c                     executed                       itself
patience: any child: used up at once by 2 crashes in a row, never by
          crashes over 1m apart
stop: in reverse, at most 15s (c 5s, b 5s, a 5s)";
    check(&["plan", "tests/cli/three.toml"], 0, expected);
}

#[test]
fn plan_by_dependencies_draws_waves_and_transitive_dependents() {
    let expected = "
g: rest_for_one, 5 in 10m, then exit
wave  child                 ready when             within  a crash restarts
   1  db                    executed                       db, api, web; then
                                                           parks
   1  bus                   executed                       bus, api, web, jobs
   2  api                   executed                       api, web
   2  jobs                  one_for_all, 5 in 10m          then parks
      1 migrate             ended well                 1m  itself; stops queue
      2 queue               executed                       nothing
   3  web                   tcp …:80, 1s               1m  itself
   -  cache                 left out: enabled = false
patience: db: used up after 6s of crashes in a row, never by crashes
          over 20s apart
patience: bus, api, migrate, web: used up after 30s of crashes in a
          row, never by crashes over 2m apart
stop: in reverse, at most 30s (web 5s, api 5s, db 20s)";
    check(&["plan", "tests/cli/graph.toml"], 0, expected);
}

#[test]
fn plan_of_one_child_names_the_line_of_every_key() {
    let expected = "
t/b
  id         \"b\"                                         tests/cli/three.toml:14
  command    [\"sleep\", \"2\"]                              tests/cli/three.toml:15
  ready.log  \"up\"                                        tests/cli/three.toml:16
  defaults: kind = \"service\", restart = \"permanent\", significant = false,
    enabled = true, shutdown = \"5s\", backoff.immediate = 1, backoff.first =
    \"2s\", backoff.factor = 2, backoff.max = \"30s\", backoff.jitter = \"10%\",
    essential = false, stdin = \"null\", pass_environment = true, output = \"auto\",
    ready.within = \"1m\", ready.settle = \"0ms\", stop.signal = \"SIGTERM\",
    stop.kill = \"mixed\"";
    check(&["plan", "tests/cli/three.toml", "b"], 0, expected);
    check(
        &["plan", "tests/cli/three.toml", "bb"],
        64,
        "cannot show bb: the tree has no such path\nhint: did you mean t/b?",
    );
}
