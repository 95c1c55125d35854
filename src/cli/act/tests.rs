use super::*;
use crate::record::Line;
use crate::runtime::view::Kind;
use serde_json::json;

/// 2026-11-21T03:13:20Z.
const NOW: u64 = 1_795_230_800_000;

fn fact(at: u64, path: &str, kind: &str, text: &str) -> Step {
    Step::Fact(FactLine::note(NOW + at, 1, path, 3, kind, text.to_owned()))
}

fn with(step: Step, name: &str, value: serde_json::Value) -> Step {
    match step {
        Step::Fact(mut fact) => {
            fact.fields.insert(name.to_owned(), value);
            Step::Fact(fact)
        }
        other => other,
    }
}

fn row(path: &str, state: State, pid: Option<i32>) -> Row {
    Row {
        path: path.to_owned(),
        kind: Kind::Service,
        state,
        pid,
        generation: 3,
        restarts: 0,
        since: words::rfc3339(NOW),
        reason: None,
        held: None,
        next: None,
        exit: None,
        strategy: None,
        limit: None,
        waits_for: None,
        dropped_lines: 0,
        status_text: None,
        health: None,
    }
}

fn outcome(row: Row, problem: Option<Problem>, lines: &[&str]) -> Step {
    let line = |text: &&str| Line {
        seq: 1,
        at: NOW,
        path: row.path.clone(),
        generation: 3,
        text: (*text).to_owned(),
    };
    Step::Outcome {
        path: row.path.clone(),
        lines: lines.iter().map(line).collect(),
        row: Some(Box::new(row)),
        problem,
    }
}

fn tell(verb: &'static str, path: &str, steps: &[Step]) -> (String, Result<(), Failure>) {
    let mut teller = Teller::new(verb, path, true, Style::plain(true));
    let text = steps.iter().map(|step| teller.step(step, NOW)).collect();
    (text, teller.end())
}

#[test]
fn a_failed_start_says_why_and_its_last_lines() {
    let failed = "start failed: exit 42 before it was ready";
    let problem = Problem::new(1, "cannot start acs/manager: exit 42 before it was ready");
    let row = Row { next: Some(words::rfc3339(NOW + 400)), ..row("acs/manager", State::Backoff, None) };
    let (text, end) = tell(
        "start",
        "acs/manager",
        &[
            fact(0, "acs/manager", "starting", "starting"),
            fact(3, "acs/manager", "started", "started"),
            fact(1204, "acs/manager", "start_failed", failed),
            outcome(row, Some(problem), &["cannot reach the configuration database at 127.0.0.1:3212"]),
        ],
    );
    insta::assert_snapshot!(text, @r#"
    manager  starting … failed after 1.2s: exit 42 before it was ready
             | cannot reach the configuration database at 127.0.0.1:3212
    acs/manager is backing off, again in 400ms
    "#);
    assert_eq!(end.unwrap_err().code, Code::Failed);
}

#[test]
fn a_restart_says_who_goes_along() {
    let path = "acs/logging/channel";
    let logger = "acs/logging/logger";
    let asked = |step: Step| with(step, "asked", json!(true));
    let plan = Step::Plan { path: path.into(), goes_along: vec![logger.into()], stays_up: Vec::new() };
    let (text, end) = tell(
        "restart",
        path,
        &[
            plan,
            fact(0, logger, "asked", "asked to stop: SIGTERM, 10s"),
            asked(fact(519, logger, "ended", "ended: exit 0; its group is empty")),
            fact(519, path, "asked", "asked to stop: SIGTERM, 10s"),
            asked(fact(10_519, path, "ended", "ended: SIGKILL")),
            fact(10_520, path, "starting", "starting"),
            with(fact(10_521, path, "started", "started"), "pid", json!(91_223)),
            fact(11_604, path, "ready", "ready"),
            fact(11_605, logger, "starting", "starting"),
            with(fact(11_606, logger, "started", "started"), "pid", json!(91_240)),
            fact(11_829, logger, "ready", "ready"),
            outcome(row(path, State::Up, Some(91_223)), None, &[]),
        ],
    );
    insta::assert_snapshot!(text, @r#"
    restarts with acs/logging/channel: logger
    logger  stopping … stopped after 519ms: exit 0
    channel  stopping … stopped after 10s: SIGKILL
    channel  starting … up after 1s, pid 91223
    logger  starting … up after 224ms, pid 91240
    acs/logging/channel is up, pid 91223
    "#);
    assert!(end.is_ok());
}

#[test]
fn a_stop_says_who_stays_up() {
    let stays_up = vec!["acs/manager".to_owned(), "acs/logging".to_owned()];
    let (text, _) = tell(
        "stop",
        "acs/naming",
        &[
            Step::Plan { path: "acs/naming".into(), goes_along: Vec::new(), stays_up },
            fact(0, "acs/naming", "asked", "asked to stop: SIGTERM, 10s"),
            with(fact(20, "acs/naming", "ended", "ended: exit 0; its group is empty"), "asked", json!(true)),
            outcome(row("acs/naming", State::Stopped, None), None, &[]),
        ],
    );
    insta::assert_snapshot!(text, @r#"
    stays up, although after acs/naming: manager, logging
    naming  stopping … stopped after 20ms: exit 0
    acs/naming is stopped, until woodward start acs/naming
    "#);
}

#[test]
fn children_that_start_together_have_lines_of_their_own() {
    let (text, _) = tell(
        "start",
        "t/g",
        &[
            fact(0, "t/g", "starting", ""),
            fact(1, "t/g/a", "starting", ""),
            fact(1, "t/g/b", "starting", ""),
            fact(300, "t/g/b", "ready", "ready"),
            fact(400, "t/g/a", "ready", "ready"),
            fact(400, "t/g", "ready", "ready"),
            outcome(Row { kind: Kind::Supervisor, ..row("t/g", State::Up, None) }, None, &[]),
        ],
    );
    insta::assert_snapshot!(text, @r#"
    g  starting …
    g/a  starting …
    g/b  starting … up after 299ms
    g/a  up after 399ms
    g  up after 400ms
    t/g is up
    "#);
}

#[test]
fn a_daemon_that_goes_away_is_no_success() {
    let (_, end) = tell("stop", "t/a", &[fact(0, "t/a", "asked", "")]);
    assert_eq!(end.unwrap_err().code, Code::TryAgain);
}
