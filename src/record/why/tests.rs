use super::*;
use crate::record::view::{Exhausted, Failure, Health, Held, Kind, Limit, State};
use crate::record::words::{clock, rfc3339};

/// 03:12:40.118 of some day.
const AT: u64 = 20_000 * 86_400_000 + 11_560_118;

fn fact(after: u64, path: &str, generation: u64, kind: &str, text: &str) -> FactLine {
    FactLine::note(AT + after, 0x7f3a, path, generation, kind, text.to_owned())
}

fn row(path: &str, state: State, since: u64) -> Row {
    Row {
        path: path.to_owned(),
        kind: Kind::Service,
        state,
        pid: None,
        generation: 3,
        restarts: 2,
        since: rfc3339(since),
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

fn supervisor(path: &str, strategy: &str, used: u32, intensity: u32, period: u32) -> Row {
    let exhausted = Some(if path.contains('/') { Exhausted::Escalate } else { Exhausted::Exit });
    Row {
        kind: Kind::Supervisor,
        strategy: Some(strategy.to_owned()),
        limit: Some(Limit { used, intensity, period, exhausted }),
        ..row(path, State::Up, AT - 1_000_000)
    }
}

fn line(path: &str, generation: u64, at: u64, text: &str) -> Arc<Line> {
    Arc::new(Line { seq: 1, at, path: path.to_owned(), generation, text: text.to_owned() })
}

fn check(path: &str, facts: &[FactLine], rows: &[Row], lines: &[Arc<Line>], now: u64) -> String {
    let rows: Vec<&Row> = rows.iter().collect();
    let why = explain(&Known { path, facts, rows: &rows, lines, now, zone: 0 });
    let text = why.text();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    text
}

/// channel was killed, rest_for_one takes logger along.
fn mock_up() -> Vec<FactLine> {
    let (channel, logger) = ("acs/logging/channel", "acs/logging/logger");
    let restart = fact(0, channel, 2, "restart", "rest_for_one: 1 more goes too; restart 2, limit 5 in 1m");
    vec![
        fact(0, channel, 2, "ended", "ended: SIGKILL, not sent by woodward")
            .with("exit", "SIGKILL")
            .with("exit_signal", 9)
            .with("asked", false),
        fact(0, channel, 2, "report_child_terminated", "report: child_terminated, killed"),
        restart
            .with("strategy", "rest_for_one")
            .with("others", 1)
            .with("count", 2)
            .with("intensity", 5)
            .with("period", 60),
        fact(0, channel, 2, "backoff", "backing off, again in 100ms"),
        fact(1, logger, 2, "dragged_along", "goes along with channel").with("with", channel),
        fact(3, logger, 2, "asked", "asked to stop: SIGTERM, 10s"),
        fact(519, logger, 2, "ended", "ended: exit 0; its group is empty")
            .with("exit", "exit 0")
            .with("asked", true),
        fact(520, channel, 3, "starting", "starting"),
        fact(520, channel, 3, "started", "started, pid 91223, generation 3; back-off was 100ms"),
        fact(1604, channel, 3, "ready", "ready: tcp 127.0.0.1:3205, held for 1s"),
        fact(1605, logger, 3, "starting", "starting"),
        fact(1605, logger, 3, "started", "started, pid 91240, generation 3"),
        fact(1829, logger, 3, "ready", "ready: \"ACS Centralized Logger is running\""),
    ]
}

fn forest() -> Vec<Row> {
    vec![
        supervisor("acs", "one_for_one", 0, 3, 300),
        row("acs/naming", State::Up, 0),
        supervisor("acs/logging", "rest_for_one", 2, 5, 60),
        row("acs/logging/channel", State::Up, AT + 1604),
        row("acs/logging/logger", State::Up, AT + 1829),
        row("acs/cdb", State::Up, 0),
    ]
}

#[test]
fn a_restart_is_told_from_cause_to_effect() {
    let lines = [
        line("acs/logging/channel", 2, AT - 1000, "event queue 4127 entries"),
        line("acs/logging/channel", 3, AT + 600, "up again"),
        line("acs/logging/logger", 2, AT - 500, "not asked about"),
    ];
    let text = check("acs/logging/logger", &mock_up(), &forest(), &lines, AT + 1829 + 38_000);
    insta::assert_snapshot!(text, @r#"
    acs/logging/logger was restarted because acs/logging/channel was killed
                                                             incident 7f3a, 03:12:40
    03:12:40.118  channel   ended: SIGKILL, not sent by woodward
              +0  logging   rest_for_one: logger goes too; restart 2, limit 5 in 1m
              +3  logger    asked to stop: SIGTERM, 10s
            +519  logger    ended: exit 0; its group is empty
            +520  channel   started, pid 91223, generation 3; back-off was 100ms
           +1604  channel   ready: tcp 127.0.0.1:3205, held for 1s
           +1605  logger    started, pid 91240, generation 3
           +1829  logger    ready: "ACS Centralized Logger is running"
    now   up for 38s
    next  4 more crashes below acs/logging by 03:13:40 and it gives up: acs restarts
          it, which counts there (0 of 3 in 5m); naming and cdb stay up
    last lines of channel before its end (woodward logs acs/logging/channel):
          03:12:39 event queue 4127 entries
    "#);
}

#[test]
fn the_one_that_was_killed_is_told_about_itself() {
    let text = check("acs/logging/channel", &mock_up(), &forest(), &[], AT + 1604 + 90_000);
    insta::assert_snapshot!(text, @r"
    acs/logging/channel was restarted because it was killed
                                                             incident 7f3a, 03:12:40
    03:12:40.118  channel   ended: SIGKILL, not sent by woodward
              +0  logging   rest_for_one: logger goes too; restart 2, limit 5 in 1m
            +520  channel   started, pid 91223, generation 3; back-off was 100ms
           +1604  channel   ready: tcp 127.0.0.1:3205, held for 1s
    now   up for 1m 30s
    next  4 more crashes below acs/logging within 1m and it gives up: acs restarts
          it, which counts there (0 of 3 in 5m); naming and cdb stay up
    ");
}

#[test]
fn a_supervisor_is_told_what_happened_below_it() {
    let text = check("acs/logging", &mock_up(), &forest(), &[], AT + 40_000);
    insta::assert_snapshot!(text, @r#"
    acs/logging restarted channel and logger because acs/logging/channel was killed
                                                             incident 7f3a, 03:12:40
    03:12:40.118  channel   ended: SIGKILL, not sent by woodward
              +0  logging   rest_for_one: logger goes too; restart 2, limit 5 in 1m
              +3  logger    asked to stop: SIGTERM, 10s
            +519  logger    ended: exit 0; its group is empty
            +520  channel   started, pid 91223, generation 3; back-off was 100ms
           +1604  channel   ready: tcp 127.0.0.1:3205, held for 1s
           +1605  logger    started, pid 91240, generation 3
           +1829  logger    ready: "ACS Centralized Logger is running"
    now   up for 17m 20s
    next  4 more crashes below acs/logging by 03:13:40 and it gives up: acs restarts
          it, which counts there (0 of 3 in 5m); naming and cdb stay up
    "#);
}

#[test]
fn what_did_not_happen_is_told_too() {
    let mut rows = forest();
    rows[5].state = State::Parked;
    rows.push(Row { waits_for: Some("acs/cdb".to_owned()), ..row("acs/manager", State::Waiting, AT) });
    let text = check("acs/manager", &[], &rows, &[], AT + 5000);
    insta::assert_snapshot!(text, @r"
    acs/manager is not started: waits for acs/cdb, which is parked
    now   waiting for 5s; waits for acs/cdb
    next  4 crashes below acs within 5m and it gives up: the tree ends
    ");
    rows[5].state = State::Starting;
    rows[6].waits_for = None;
    let text = check("acs/manager", &[], &rows, &[], AT + 5000);
    insta::assert_snapshot!(text, @r"
    acs/manager is not started: it is the turn of acs/cdb, which is starting
    now   waiting for 5s
    next  4 crashes below acs within 5m and it gives up: the tree ends
    ");
}

#[test]
fn a_parked_child_says_when_it_is_tried_again() {
    let path = "acs/interface-repository";
    let facts = [
        fact(0, path, 9, "ended", "ended: exit 1").with("exit", "exit 1").with("exit_code", 1),
        fact(0, path, 9, "limit_exceeded", "its own limit is exceeded: it is parked"),
        fact(0, path, 9, "parked", "parked, again in 15m"),
    ];
    let parked = Row { next: Some(rfc3339(AT + 900_000)), ..row(path, State::Parked, AT) };
    let lines = [line(path, 9, AT - 3, "cannot open ifr.db")];
    let text =
        check(path, &facts, &[supervisor("acs", "one_for_one", 0, 3, 300), parked], &lines, AT + 720_000);
    insta::assert_snapshot!(text, @r"
    acs/interface-repository is parked because it ended with exit 1, once more than
    its limit allows
                                                             incident 7f3a, 03:12:40
    03:12:40.118  interface-repository   ended: exit 1
              +0  interface-repository   its own limit is exceeded: it is parked
              +0  interface-repository   parked, again in 15m
    now   parked for 12m; again in 3m
    last lines of interface-repository before its end (woodward logs
    acs/interface-repository):
          03:12:40 cannot open ifr.db
    ");
}

#[test]
fn a_start_that_fails_over_and_over_is_shortened() {
    let path = "acs/x";
    let mut facts = vec![fact(0, path, 1, "ended", "ended: exit 1").with("exit", "exit 1")];
    for n in 1..20 {
        facts.push(fact(n * 1000, path, n, "started", &format!("started, pid {n}, generation {n}")));
        facts.push(fact(n * 1000 + 9, path, n, "start_failed", "start failed: exit 1 before it was ready"));
    }
    facts.push(fact(20_000, path, 20, "backoff", "backing off, again in 30s"));
    let backoff = Row { next: Some(rfc3339(AT + 50_000)), ..row(path, State::Backoff, AT + 20_000) };
    let text = check(path, &facts, &[supervisor("acs", "one_for_one", 3, 3, 300), backoff], &[], AT + 41_000);
    insta::assert_snapshot!(text, @r"
    acs/x waits for its restart because it ended with exit 1
                                                             incident 7f3a, 03:12:40
    03:12:40.118  x         ended: exit 1
           +1000  x         started, pid 1, generation 1
           +1009  x         start failed: exit 1 before it was ready
           +2000  x         started, pid 2, generation 2
           +2009  x         start failed: exit 1 before it was ready
           +3000  x         started, pid 3, generation 3
                  ... 16 more (woodward events acs/x) ...
          +11009  x         start failed: exit 1 before it was ready
          +12000  x         started, pid 12, generation 12
          +12009  x         start failed: exit 1 before it was ready
          +13000  x         started, pid 13, generation 13
          +13009  x         start failed: exit 1 before it was ready
          +14000  x         started, pid 14, generation 14
          +14009  x         start failed: exit 1 before it was ready
          +15000  x         started, pid 15, generation 15
          +15009  x         start failed: exit 1 before it was ready
          +16000  x         started, pid 16, generation 16
          +16009  x         start failed: exit 1 before it was ready
          +17000  x         started, pid 17, generation 17
          +17009  x         start failed: exit 1 before it was ready
          +18000  x         started, pid 18, generation 18
          +18009  x         start failed: exit 1 before it was ready
          +19000  x         started, pid 19, generation 19
          +19009  x         start failed: exit 1 before it was ready
          +20000  x         backing off, again in 30s
    now   backing off for 21s; again in 9s
    next  1 more crash below acs within 5m and it gives up: the tree ends
    ");
}

#[test]
fn a_hand_is_named() {
    let path = "acs/containers/mount";
    let mut facts = vec![
        fact(0, "acs/containers", 0, "stopped_by_hand", "stopped by ana").with("by", "ana"),
        fact(1, path, 2, "asked", "asked to stop: SIGTERM, 10s"),
        fact(5, path, 2, "ended", "ended: exit 0; its group is empty")
            .with("exit", "exit 0")
            .with("asked", true),
    ];
    let mut rows = vec![
        supervisor("acs", "one_for_one", 0, 3, 300),
        supervisor("acs/containers", "one_for_one", 0, 3, 300),
        row(path, State::Stopped, AT + 5),
    ];
    let text = check(path, &facts, &rows, &[], AT + 9_000);
    insta::assert_snapshot!(text, @r"
    acs/containers/mount was stopped because acs/containers was stopped by ana
                                                             incident 7f3a, 03:12:40
    03:12:40.118  containers   stopped by ana
              +1  mount        asked to stop: SIGTERM, 10s
              +5  mount        ended: exit 0; its group is empty
    now   stopped for 8.9s
    ");

    let text = Some("mirror is being moved".to_owned());
    rows[1].held = Some(Held { by: "ana".to_owned(), text, until: Some(rfc3339(AT + 3_600_000)) });
    facts.truncate(0);
    let text = check(path, &facts, &rows, &[], AT + 9_000);
    insta::assert_snapshot!(text, @r#"
    acs/containers/mount is not restarted: acs/containers is held by ana until
    04:12: "mirror is being moved"
    now   stopped for 8.9s; acs/containers is held by ana until 04:12: "mirror is
          being moved"
    "#);
}

#[test]
fn a_child_that_never_ended_says_so() {
    let facts = [fact(0, "acs", 1, "starting", "starting"), fact(4, "acs/naming", 2, "ready", "ready")];
    let naming = Row { restarts: 0, ..row("acs/naming", State::Up, AT + 4) };
    let text =
        check("acs/naming", &facts, &[supervisor("acs", "one_for_one", 0, 3, 300), naming], &[], AT + 90_000);
    insta::assert_snapshot!(text, @r"
    acs/naming was started with acs and has not been restarted since
                                                             incident 7f3a, 03:12:40
    03:12:40.118  acs       starting
              +4  naming    ready
    now   up for 1m 29s
    next  4 crashes below acs within 5m and it gives up: the tree ends
    ");
}

#[test]
fn without_a_daemon_the_last_run_that_knows_it_is_told() {
    let mut facts = mock_up();
    let path = "acs/logging/logger";
    facts.insert(0, fact(0, "", 0, DAEMON_STARTED, "daemon started"));
    facts.push(fact(9000, "", 0, DAEMON_STARTED, "daemon started"));
    // The same number, another daemon.
    facts.push(fact(9001, "acs/naming", 1, "started", "started"));
    let text = check(path, &facts, &[], &[], AT + 2 * 86_400_000);
    insta::assert_snapshot!(text, @r#"
    acs/logging/logger was restarted because acs/logging/channel was killed
                                                  incident 7f3a, 2024-10-04 03:12:40
    03:12:40.118  channel   ended: SIGKILL, not sent by woodward
              +0  logging   rest_for_one: logger goes too; restart 2, limit 5 in 1m
              +3  logger    asked to stop: SIGTERM, 10s
            +519  logger    ended: exit 0; its group is empty
            +520  channel   started, pid 91223, generation 3; back-off was 100ms
           +1604  channel   ready: tcp 127.0.0.1:3205, held for 1s
           +1605  logger    started, pid 91240, generation 3
           +1829  logger    ready: "ACS Centralized Logger is running"
    "#);
    assert_eq!(check("acs/other", &facts, &[], &[], AT), "nothing is recorded about acs/other\n");
}

#[test]
fn harm_on_purpose_is_told_as_the_cause() {
    let mut facts = mock_up();
    let channel = "acs/logging/channel";
    let text = "chaos: SIGKILL to its main process, pid 91211".to_owned();
    facts.insert(0, FactLine::note(AT - 1, 0, channel, 2, "chaos", text));
    let text = check("acs/logging/logger", &facts, &[], &[], AT + 5000);
    assert!(
        text.starts_with("acs/logging/logger was restarted because acs/logging/channel was killed by chaos"),
        "{text}"
    );
    assert!(text.contains("channel   chaos: SIGKILL to its main process, pid 91211"), "{text}");
    assert!(!text.contains("not sent by woodward"), "{text}");
}

#[test]
fn now_tells_the_health_of_what_is_up() {
    let of = |health: Health| {
        let row = Row { health: Some(health.into()), ..row("t/a", State::Up, AT) };
        let rows = [&row];
        explain(&Known { path: "t/a", facts: &[], rows: &rows, lines: &[], now: AT + 38_000, zone: 0 }).now
    };
    let good = Health { good: 7, asked: 7, ..Health::default() };
    assert_eq!(of(good.clone()).as_deref(), Some("up for 38s, health 7 of 7"));
    let waits = Health { waits_for: Some("t/db".to_owned()), ..good.clone() };
    assert_eq!(of(waits).as_deref(), Some("up for 38s, health 7 of 7; not asked while t/db is not up"));
    let failure = Failure { at: rfc3339(AT), text: "tcp h:1: connection refused".to_owned() };
    let starved = Some("80% of the last 10s it waited for a processor".to_owned());
    let missed = Health { asked: 8, starved, last_failure: Some(failure), ..good };
    let expected = format!(
        "up for 38s, health 7 of 8; starved, one grace period: 80% of the last 10s it waited for a processor; \
         last failure {}: tcp h:1: connection refused",
        clock(AT, 0)
    );
    assert_eq!(of(missed), Some(expected));
}
