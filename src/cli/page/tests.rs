use super::*;
use crate::runtime::view::Limit;

/// 2026-11-21T03:13:20Z.
const NOW: u64 = 1_795_230_800_000;

/// A row that has been in its state for `seconds`.
fn row(path: &str, kind: Kind, state: State, seconds: u64) -> Row {
    Row {
        path: path.to_owned(),
        kind,
        state,
        pid: None,
        generation: 1,
        restarts: 0,
        since: words::rfc3339(NOW - seconds * 1000),
        reason: None,
        held: None,
        next: None,
        exit: None,
        strategy: (kind == Kind::Supervisor).then(|| "one_for_one".to_owned()),
        limit: None,
        waits_for: None,
        dropped_lines: 0,
        status_text: None,
        health: None,
    }
}

fn service(path: &str, state: State, pid: i32, seconds: u64) -> Row {
    Row { pid: (pid > 0).then_some(pid), ..row(path, Kind::Service, state, seconds) }
}

fn supervisor(path: &str, strategy: &str, seconds: u64) -> Row {
    Row { strategy: Some(strategy.to_owned()), ..row(path, Kind::Supervisor, State::Up, seconds) }
}

const DAYS: u64 = 3 * 86_400 + 4 * 3600;

/// The page of the design.
fn drawn() -> Vec<Row> {
    let text = |text: &str| Some(text.to_owned());
    let mut rows = vec![
        supervisor("acs", "one_for_one", DAYS),
        service("acs/naming", State::Up, 4211, DAYS),
        Row {
            restarts: 4,
            reason: text("exit 1, 4 times in 10m"),
            next: Some(words::rfc3339(NOW + 180_000)),
            ..service("acs/interface-repository", State::Parked, 0, 12 * 60)
        },
        service("acs/notify", State::Up, 4230, DAYS),
        Row {
            restarts: 2,
            limit: Some(Limit { used: 2, intensity: 5, period: 60, exhausted: None }),
            ..supervisor("acs/logging", "rest_for_one", DAYS)
        },
        Row {
            restarts: 2,
            reason: text("killed by SIGKILL"),
            ..service("acs/logging/channel", State::Up, 91_223, 41)
        },
        Row {
            restarts: 2,
            reason: text("restarted with channel"),
            ..service("acs/logging/logger", State::Up, 91_240, 40)
        },
        Row {
            restarts: 1,
            next: Some(words::rfc3339(NOW + 48_000)),
            waits_for: text("log \"Manager Application …\""),
            ..service("acs/manager", State::Starting, 91_310, 2)
        },
        Row {
            held: Some(Held {
                by: "ana".to_owned(),
                text: text("mirror is being moved"),
                until: Some("2026-11-21T04:00:00.000Z".to_owned()),
            }),
            ..supervisor("acs/containers", "one_for_one", 25 * 60)
        },
        Row {
            reason: text("stopped by ana"),
            ..service("acs/containers/MountContainer", State::Stopped, 0, 9 * 60)
        },
    ];
    rows.extend((1..=31).map(|n| service(&format!("acs/containers/c{n}"), State::Up, 5000 + n, DAYS)));
    rows
}

fn render(rows: &[Row], all: bool, style: Style) -> String {
    let text = page(&Page {
        rows,
        host: "gas01",
        daemon: "up 3d 4h, woodward 0.1",
        left: None,
        now: NOW,
        zone: 0,
        all,
        others: false,
        style,
    });
    for line in text.lines() {
        assert!(width(line) <= WIDTH, "too wide: {line}");
    }
    text
}

#[test]
fn the_page_is_as_drawn() {
    insta::assert_snapshot!(render(&drawn(), false, Style::plain(true)), @r#"
    acs on gas01: degraded, 35 of 38 up                      up 3d 4h, woodward 0.1
                                    pid     for  restarts
    ● naming                       4211   3d 4h         0
    ! interface-repository            -     12m         4  parked, again in 3m:
    │                                                      exit 1, 4 times in 10m
    ● notify                       4230   3d 4h         0
    ● logging        rest_for_one         3d 4h         2  limit 5 in 1m: used 2
    │ ● channel                   91223     41s         2  killed by SIGKILL
    │ ● logger                    91240     40s         2  restarted with channel
    ~ manager                     91310      2s         1  starting, 2 of 50s: log
    │                                                      "Manager Application …"
    = containers     one_for_one            25m         0  held by ana until 04:00:
    │ ● 31 of 32 up                                        "mirror is being moved"
    │ - MountContainer                -      9m         0  stopped by ana

    why: woodward why interface-repository    lines: woodward logs -n 20 manager
    "#);
}

#[test]
fn ascii_where_the_locale_is_not_utf8() {
    let text = render(&drawn(), false, Style::plain(false));
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text.lines().take(10).collect::<Vec<_>>().join("\n"), @r#"
    acs on gas01: degraded, 35 of 38 up                      up 3d 4h, woodward 0.1
                                    pid     for  restarts
    * naming                       4211   3d 4h         0
    ! interface-repository            -     12m         4  parked, again in 3m:
    |                                                      exit 1, 4 times in 10m
    * notify                       4230   3d 4h         0
    * logging        rest_for_one         3d 4h         2  limit 5 in 1m: used 2
    | * channel                   91223     41s         2  killed by SIGKILL
    | * logger                    91240     40s         2  restarted with channel
    ~ manager                     91310      2s         1  starting, 2 of 50s: log
    "#);
}

#[test]
fn all_shows_all() {
    let text = render(&drawn(), true, Style::plain(true));
    assert!(text.contains("● c31"), "{text}");
    assert!(!text.contains("31 of 32"), "{text}");
}

#[test]
fn colours_change_no_column() {
    let coloured = render_coloured();
    let mut plain = String::new();
    let mut skip = false;
    for letter in coloured.chars() {
        match letter {
            '\x1b' => skip = true,
            'm' if skip => skip = false,
            _ if skip => {}
            _ => plain.push(letter),
        }
    }
    assert_eq!(plain, render(&drawn(), false, Style::plain(true)));
    assert_ne!(coloured, plain);
}

fn render_coloured() -> String {
    let style = Style { unicode: true, colour: true };
    let rows = drawn();
    page(&Page {
        rows: &rows,
        host: "gas01",
        daemon: "up 3d 4h, woodward 0.1",
        left: None,
        now: NOW,
        zone: 0,
        all: false,
        others: false,
        style,
    })
}

#[test]
fn a_quiet_crowd_is_one_line() {
    let mut rows = vec![supervisor("t", "one_for_one", 60)];
    rows.extend((0..40).map(|n| service(&format!("t/w{n}"), State::Up, 100 + n, 60)));
    insta::assert_snapshot!(render(&rows, false, Style::plain(true)), @r#"
    t on gas01: running, 40 of 40 up                         up 3d 4h, woodward 0.1
    ● 40 of 40 up
    "#);
}

#[test]
fn what_is_too_long_goes_on_below() {
    let long = "an-identifier-as-long-as-they-come-in-observatories";
    let rows = vec![
        supervisor("t", "one_for_one", 60),
        supervisor("t/deep", "simple_one_for_one", 60),
        supervisor("t/deep/rather-long-id", "simple_one_for_one", 60),
        Row {
            reason: Some("cannot be said in few words, neverbrokenanywhereneverbrokenanywhere".to_owned()),
            ..service(&format!("t/deep/rather-long-id/{long}"), State::Backoff, 0, 3)
        },
        service("t/next", State::Up, 4_194_304, 5),
    ];
    insta::assert_snapshot!(render(&rows, false, Style::plain(true)), @r#"
    t on gas01: degraded, 1 of 2 up                          up 3d 4h, woodward 0.1
                                    pid     for  restarts
    ● deep           simple_one_for_one      1m         0
    │ ● rather-long-id                       1m         0  simple_one_for_one
    │ │ ~ an-identifier-as-long-as-they-come-in-observatories
    │ │ │                             -      3s         0  to be restarted: cannot
    │ │ │                                                  be said in few words,
    │ │ │                                                  neverbrokenanywherenever
    │ │ │                                                  brokenanywhere
    ● next                      4194304      5s         0

    why: woodward why an-identifier-as-long-as-they-come-in-observatories
    lines: woodward logs -n 20 an-identifier-as-long-as-they-come-in-observatories
    "#);
}

#[test]
fn the_head_says_what_the_tree_is() {
    let check = |top: State, child: State, expected: &str| {
        let rows =
            vec![Row { state: top, ..supervisor("t", "one_for_one", 60) }, service("t/a", child, 0, 60)];
        assert_eq!(word(&rows).0, expected, "{top:?} {child:?}");
    };
    check(State::Up, State::Up, "running");
    check(State::Up, State::Done, "running");
    check(State::Up, State::Parked, "degraded");
    check(State::Starting, State::Waiting, "starting");
    check(State::Starting, State::Backoff, "degraded");
    check(State::Stopping, State::Stopping, "stopping");
    check(State::Stopped, State::Stopped, "stopped");
    check(State::Parked, State::Stopped, "gave up");
}

#[test]
fn a_reason_is_one_clause() {
    let check = |row: Row, expected: &str| assert_eq!(reason(&row, NOW, 3600), expected);
    let told = |row: Row, text: &str| Row { reason: Some(text.to_owned()), ..row };
    let next = |row: Row, ms: u64| Row { next: Some(words::rfc3339(NOW + ms)), ..row };
    check(service("t/a", State::Up, 1, 1), "");
    check(told(next(service("t/a", State::Backoff, 0, 1), 400), "exit 1"), "again in 400ms: exit 1");
    check(next(service("t/a", State::Stopping, 1, 2), 8000), "stopping, 2 of 10s");
    check(told(service("t/a", State::Parked, 0, 2), "exit 78"), "parked: exit 78");
    check(
        Row { waits_for: Some("t/cdb".to_owned()), ..service("t/a", State::Waiting, 0, 2) },
        "waits for cdb",
    );
    check(service("t/a", State::Waiting, 0, 2), "waits for its turn");
    check(Row { dropped_lines: 12, ..service("t/a", State::Up, 1, 2) }, "12 lines dropped");
    check(Row { status_text: Some("serving".to_owned()), ..service("t/a", State::Up, 1, 2) }, "\"serving\"");
    let held = Held { by: "ana".to_owned(), text: None, until: Some(words::rfc3339(NOW)) };
    check(Row { held: Some(held), ..service("t/a", State::Up, 1, 2) }, "held by ana until 04:13");
}

#[test]
fn ten_thousand_rows_fit_one_page() {
    let mut rows = vec![supervisor("t", "one_for_one", 60)];
    for group in 0..100 {
        rows.push(supervisor(&format!("t/g{group}"), "one_for_one", 60));
        rows.extend((0..100).map(|n| service(&format!("t/g{group}/w{n}"), State::Stopping, 1000 + n, 2)));
    }
    assert_eq!(render(&rows, false, Style::plain(true)).lines().count(), 10_104);
}
