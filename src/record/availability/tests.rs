//! Each rule with the facts that it is about. Times in the tables are seconds.

use super::*;
use crate::record::fact::FactLine;

/// One fact: second, incident, path, kind, and what else it says.
type Row<'a> = (u64, u64, &'a str, &'a str, &'a [(&'a str, &'a str)]);

const NONE: &[(&str, &str)] = &[];
const CRASH: &[(&str, &str)] = &[("exit", "SIGKILL"), ("exit_signal", "9"), ("reason", "crash")];
const ASKED: &[(&str, &str)] = &[("exit", "SIGTERM"), ("exit_signal", "15"), ("asked", "true")];
const CALM: &[(&str, &str)] = &[("exit", "exit 0"), ("exit_code", "0"), ("reason", "normal")];
const ANA: &[(&str, &str)] = &[("by", "ana")];

fn facts(rows: &[Row<'_>]) -> Vec<FactLine> {
    let mut generations = std::collections::HashMap::new();
    let mut last = 0;
    let fact = |(at, incident, path, kind, fields): &Row<'_>| {
        last += 1;
        let generation = generations.entry((*path).to_owned()).or_insert(last);
        if *kind == "starting" {
            *generation = last;
        }
        let generation = *generation;
        let mut fact = FactLine::note(at * 1000, *incident, path, generation, kind, (*kind).to_owned());
        if *kind == "starting" && !path.contains('/') {
            fact = fact.with("supervisor", true);
        }
        for (name, value) in *fields {
            fact = match (value.parse::<u64>(), value.parse::<bool>()) {
                (Ok(number), _) => fact.with(name, number),
                (_, Ok(flag)) => fact.with(name, flag),
                _ => fact.with(name, *value),
            };
        }
        fact
    };
    rows.iter().map(fact).collect()
}

fn figures(rows: &[Row<'_>], now: u64, live: bool) -> Availability {
    availability(&Asked { facts: &facts(rows), path: "", since: None, now: now * 1000, live })
}

fn row<'a>(all: &'a Availability, path: &str) -> &'a Figures {
    let row = all.rows.iter().find(|row| row.path == path);
    row.unwrap_or_else(|| panic!("no {path} in {:?}", all.rows))
}

/// Seconds up, down, planned, unknown.
#[track_caller]
fn check(all: &Availability, path: &str, expected: [u64; 4], interruptions: u32) {
    let row = row(all, path);
    let found = [row.up_ms, row.down_ms, row.planned_ms, row.unknown_ms].map(|ms| ms / 1000);
    assert_eq!((found, row.interruptions), (expected, interruptions), "{row:?}");
}

fn causes(all: &Availability, path: &str) -> Vec<String> {
    let shares = row(all, path).causes.iter();
    shares.map(|share| format!("{} {} {}", share.times, share.path, share.text)).collect()
}

/// A tree of two that is up from second 10 on, then more.
fn two<'a>(more: &[Row<'a>]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = vec![
        (0, 0, "", "daemon_started", &[("boot", "one")]),
        (0, 1, "t", "starting", NONE),
        (0, 1, "t/a", "starting", NONE),
        (10, 1, "t/a", "ready", NONE),
        (10, 1, "t/b", "starting", NONE),
        (10, 1, "t/b", "ready", NONE),
        (10, 1, "t", "ready", NONE),
    ];
    rows.extend(more);
    rows
}

#[test]
fn what_was_never_down_was_up_all_the_time_and_its_first_start_is_planned() {
    let all = figures(&two(&[]), 100, true);
    check(&all, "t/a", [90, 0, 10, 0], 0);
    check(&all, "t/b", [90, 0, 0, 0], 0);
    check(&all, "t", [90, 0, 10, 0], 0);
    assert_eq!(
        (row(&all, "t").ratio, row(&all, "t").mttr_ms, row(&all, "t").mtbf_ms),
        (Some(1.0), None, None)
    );
    assert!(row(&all, "t").supervisor);
}

#[test]
fn a_crash_lasts_until_it_is_ready_again() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CRASH),
            (20, 2, "t/a", "restart", &[("count", "1")]),
            (21, 2, "t/a", "starting", NONE),
            (22, 2, "t/a", "started", NONE),
            (25, 2, "t/a", "ready", NONE),
            (40, 3, "t/a", "ended", CRASH),
            (41, 3, "t/a", "starting", NONE),
            (43, 3, "t/a", "ready", NONE),
        ]),
        110,
        true,
    );
    check(&all, "t/a", [92, 8, 10, 0], 2);
    check(&all, "t", [92, 8, 10, 0], 2);
    let row = row(&all, "t/a");
    assert_eq!((row.mttr_ms, row.mtbf_ms, row.ratio), (Some(4000), Some(46_000), Some(0.92)));
    assert_eq!(causes(&all, "t/a"), ["2 t/a killed by SIGKILL"]);
    assert_eq!(causes(&all, "t"), ["2 t/a killed by SIGKILL"]);
    assert_eq!(row.goals[0].met, None);
}

#[test]
fn a_crash_that_is_over_within_a_millisecond_is_an_interruption() {
    let crash = two(&[
        (20, 2, "t/a", "ended", CRASH),
        (20, 2, "t/a", "starting", NONE),
        (20, 2, "t/a", "ready", NONE),
    ]);
    let all = figures(&crash, 100, true);
    check(&all, "t/a", [90, 0, 10, 0], 1);
    check(&all, "t", [90, 0, 10, 0], 1);
    assert_eq!(row(&all, "t").mttr_ms, Some(0));
}

#[test]
fn a_stop_by_hand_is_planned_until_it_is_up_again() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "stopped_by_hand", ANA),
            (20, 2, "t/a", "asked", NONE),
            (22, 2, "t/a", "ended", ASKED),
            (50, 2, "t/a", "started_by_hand", ANA),
            (50, 3, "t/a", "starting", NONE),
            (55, 3, "t/a", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [55, 0, 45, 0], 0);
    check(&all, "t", [55, 0, 45, 0], 0);
    assert!(row(&all, "t").planned.iter().any(|share| share.text == "stopped by ana"));
}

#[test]
fn a_restart_by_hand_is_planned_and_a_failure_in_it_is_not() {
    let restart = |more: &[Row<'static>]| {
        let mut rows = two(&[
            (20, 2, "t/a", "restart", &[("count", "0"), ("by", "ana")]),
            (20, 2, "t/a", "asked", NONE),
            (21, 2, "t/a", "ended", ASKED),
            (21, 2, "t/a", "starting", NONE),
        ]);
        rows.extend(more);
        rows
    };
    let all = figures(&restart(&[(25, 2, "t/a", "ready", NONE)]), 100, true);
    check(&all, "t/a", [85, 0, 15, 0], 0);
    let failed = [
        (25, 2, "t/a", "start_failed", NONE),
        (26, 2, "t/a", "starting", NONE),
        (30, 2, "t/a", "ready", NONE),
    ];
    let all = figures(&restart(&failed), 100, true);
    check(&all, "t/a", [80, 5, 15, 0], 1);
}

#[test]
fn what_ends_while_it_is_held_is_planned() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "held", ANA),
            (30, 3, "t/a", "ended", CRASH),
            (60, 4, "t/a", "released", NONE),
            (60, 5, "t/a", "starting", NONE),
            (65, 5, "t/a", "ready", NONE),
            (80, 6, "t/a", "ended", CRASH),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [35, 20, 45, 0], 1);
    assert_eq!(row(&all, "t/a").planned[0].text, "held by ana");
}

#[test]
fn a_hold_on_what_is_down_makes_the_rest_planned() {
    let all = figures(&two(&[(20, 2, "t/a", "ended", CRASH), (30, 3, "t", "held", ANA)]), 100, true);
    check(&all, "t/a", [10, 10, 80, 0], 1);
    assert_eq!(row(&all, "t/a").mttr_ms, None, "nobody repaired it");
}

#[test]
fn what_is_parked_is_down() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CALM),
            (20, 2, "t/a", "limit_exceeded", NONE),
            (20, 2, "t/a", "parked", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [10, 80, 10, 0], 1);
    assert_eq!(causes(&all, "t"), ["1 t/a exit 0"]);
}

#[test]
fn a_transient_that_ended_calmly_is_done() {
    let all = figures(&two(&[(20, 2, "t/a", "ended", CALM)]), 100, true);
    check(&all, "t/a", [90, 0, 10, 0], 0);
}

#[test]
fn a_permanent_that_ended_calmly_was_interrupted() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CALM),
            (20, 2, "t/a", "restart", &[("count", "1")]),
            (20, 2, "t/a", "starting", NONE),
            (24, 2, "t/a", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [86, 4, 10, 0], 1);
}

#[test]
fn a_oneshot_does_its_work_without_an_interruption() {
    let all = figures(
        &two(&[
            (10, 1, "t/s", "starting", NONE),
            (12, 1, "t/s", "ended", CALM),
            (12, 1, "t/s", "done", NONE),
            (20, 2, "t/s", "starting", NONE),
            (21, 2, "t/s", "ended", CALM),
            (21, 2, "t/s", "done", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/s", [88, 0, 2, 0], 0);
}

#[test]
fn a_restart_with_a_sibling_counts_with_that_cause() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CRASH),
            (20, 2, "t/a", "restart", &[("count", "1"), ("others", "1")]),
            (20, 2, "t/b", "dragged_along", &[("with", "t/a")]),
            (20, 2, "t/b", "asked", NONE),
            (22, 2, "t/b", "ended", ASKED),
            (22, 2, "t/a", "starting", NONE),
            (24, 2, "t/a", "ready", NONE),
            (24, 2, "t/b", "starting", NONE),
            (25, 2, "t/b", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [86, 4, 10, 0], 1);
    check(&all, "t/b", [85, 5, 0, 0], 1);
    check(&all, "t", [85, 5, 10, 0], 1);
    assert_eq!(causes(&all, "t/b"), ["1 t/a killed by SIGKILL"]);
}

#[test]
fn incidents_that_overlap_are_one_interruption_of_the_tree() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CRASH),
            (25, 3, "t/b", "ended", CRASH),
            (30, 2, "t/a", "ready", NONE),
            (32, 4, "t/a", "ended", CRASH),
            (40, 3, "t/b", "ready", NONE),
            (50, 4, "t/a", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [62, 28, 10, 0], 2);
    check(&all, "t/b", [75, 15, 0, 0], 1);
    check(&all, "t", [60, 30, 10, 0], 1);
    assert_eq!(causes(&all, "t"), ["1 t/a killed by SIGKILL"]);
}

#[test]
fn a_crash_during_its_repair_is_the_same_interruption() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CRASH),
            (21, 2, "t/a", "starting", NONE),
            (22, 3, "t/a", "ended", CRASH),
            (23, 3, "t/a", "starting", NONE),
            (24, 3, "t/a", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [86, 4, 10, 0], 1);
}

#[test]
fn a_failed_health_check_is_a_fault() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "sick", NONE),
            (20, 2, "t/a", "asked", NONE),
            (21, 2, "t/a", "ended", &[("exit", "SIGTERM"), ("asked", "true"), ("reason", "sick")]),
            (24, 2, "t/a", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [86, 4, 10, 0], 1);
    assert_eq!(causes(&all, "t/a"), ["1 t/a its health check failed"]);
}

#[test]
fn an_ordered_stop_of_the_tree_is_planned_until_the_next_run() {
    let stop = [
        (20, 2, "t", "asked", NONE),
        (20, 2, "t/b", "asked", NONE),
        (20, 2, "t/b", "ended", ASKED),
        (20, 2, "t/a", "asked", NONE),
        (20, 2, "t/a", "ended", ASKED),
        (20, 2, "t", "tree_ended", &[("how", "stopped")] as &[_]),
    ];
    check(&figures(&two(&stop), 100, false), "t", [10, 0, 90, 0], 0);
    let mut rows = two(&stop);
    rows.extend(
        two(&[])
            .into_iter()
            .map(|(at, incident, path, kind, fields)| (at + 50, incident, path, kind, fields)),
    );
    let all = figures(&rows, 100, true);
    check(&all, "t/a", [50, 0, 50, 0], 0);
    check(&all, "t/b", [50, 0, 40, 0], 0);
}

#[test]
fn a_tree_that_gave_up_is_down() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "ended", CRASH),
            (20, 2, "t/a", "limit_exceeded", NONE),
            (20, 2, "t/b", "asked", NONE),
            (21, 2, "t/b", "ended", ASKED),
            (21, 2, "t", "tree_ended", &[("how", "gave_up")]),
        ]),
        100,
        false,
    );
    check(&all, "t/b", [10, 80, 0, 0], 1);
    check(&all, "t", [10, 80, 10, 0], 1);
}

#[test]
fn a_daemon_that_was_killed_is_no_interruption_of_what_lived_on() {
    let all = figures(
        &two(&[
            (50, 0, "", "daemon_started", &[("boot", "one")]),
            (50, 1, "t", "starting", NONE),
            (50, 1, "t/a", "adopted", NONE),
            (51, 1, "t/a", "ready", NONE),
            (50, 1, "t/b", "adopted", NONE),
            (51, 1, "t/b", "ready", NONE),
            (51, 1, "t", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [90, 0, 10, 0], 0);
    check(&all, "t", [90, 0, 10, 0], 0);
}

#[test]
fn what_died_unseen_was_interrupted_after_a_time_nobody_knows() {
    let mut rows = two(&[]);
    rows.extend(
        two(&[])
            .into_iter()
            .map(|(at, incident, path, kind, fields)| (at + 50, incident, path, kind, fields)),
    );
    let all = figures(&rows, 100, true);
    check(&all, "t/a", [40, 10, 10, 40], 1);
    check(&all, "t/b", [40, 10, 0, 40], 1);
    check(&all, "t", [40, 10, 10, 40], 1);
    assert_eq!(causes(&all, "t/a"), ["1  not known: nobody saw its end"]);
}

#[test]
fn a_host_that_was_down_is_counted_apart() {
    let mut rows = two(&[]);
    rows.extend(
        two(&[])
            .into_iter()
            .map(|(at, incident, path, kind, fields)| (at + 50, incident, path, kind, fields)),
    );
    let started: Vec<usize> = (0..rows.len()).filter(|n| rows[*n].3 == "daemon_started").collect();
    rows[started[1]].4 = &[("boot", "two")];
    let all = figures(&rows, 100, true);
    check(&all, "t/a", [40, 0, 60, 0], 0);
    assert_eq!(row(&all, "t/a").planned[0].text, "the host was down");
}

#[test]
fn after_the_last_fact_nothing_is_known_without_a_daemon() {
    check(&figures(&two(&[(40, 0, "t", "note", NONE)]), 100, false), "t/a", [30, 0, 10, 60], 0);
}

#[test]
fn a_child_counts_from_its_first_mention_until_it_leaves_the_plan() {
    let all = figures(
        &two(&[
            (30, 5, "t/new", "starting", NONE),
            (35, 5, "t/new", "ready", NONE),
            (50, 0, "", "daemon_started", NONE),
            (50, 1, "t/a", "adopted", NONE),
            (50, 1, "t/new", "adopted", NONE),
            (50, 0, "t/b", "evicted", NONE),
            (50, 1, "t", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/new", [65, 0, 5, 0], 0);
    check(&all, "t/b", [40, 0, 0, 0], 0);
    check(&all, "t", [85, 0, 15, 0], 0);
}

#[test]
fn what_no_daemon_speaks_of_any_more_has_left_the_plan() {
    let all = figures(
        &two(&[
            (50, 0, "", "daemon_started", NONE),
            (50, 1, "t/a", "adopted", NONE),
            (50, 1, "t", "ready", NONE),
        ]),
        100,
        true,
    );
    check(&all, "t/b", [0, 0, 0, 0], 0);
    check(&all, "t", [90, 0, 10, 0], 0);
}

#[test]
fn what_apply_does_is_planned_and_what_it_takes_out_counts_no_more() {
    let all = figures(
        &two(&[
            (20, 2, "t/a", "restarted_by_apply", NONE),
            (20, 2, "t/a", "asked", NONE),
            (21, 2, "t/a", "ended", ASKED),
            (21, 2, "t/a", "starting", NONE),
            (25, 2, "t/a", "ready", NONE),
            (30, 3, "t/b", "stopped_by_apply", NONE),
            (30, 3, "t/b", "asked", NONE),
            (31, 3, "t/b", "ended", ASKED),
        ]),
        100,
        true,
    );
    check(&all, "t/a", [85, 0, 15, 0], 0);
    check(&all, "t/b", [20, 0, 0, 0], 0);
    check(&all, "t", [85, 0, 15, 0], 0);
    assert!(row(&all, "t/a").planned.iter().any(|share| share.text == "restarted by apply"));
}

#[test]
fn an_instance_that_was_stopped_is_no_more() {
    let all = figures(
        &two(&[
            (20, 2, "t/w#1", "starting", NONE),
            (20, 2, "t/w#1", "ready", NONE),
            (40, 3, "t/w#1", "stopped_by_hand", ANA),
            (40, 3, "t/w#1", "asked", NONE),
            (40, 3, "t/w#1", "ended", ASKED),
        ]),
        100,
        true,
    );
    check(&all, "t/w#1", [20, 0, 0, 0], 0);
    check(&all, "t", [90, 0, 10, 0], 0);
}

#[test]
fn records_that_begin_in_the_middle_are_taken_from_there() {
    let all = figures(&[(10, 7, "t/a", "ended", CRASH), (14, 7, "t/a", "ready", NONE)], 100, true);
    check(&all, "t/a", [86, 4, 0, 0], 1);
    assert_eq!(all.records_since, 10_000);
}

#[test]
fn goals_are_met_by_the_records_there_are() {
    let facts = facts(&[
        (0, 1, "t/a", "starting", NONE),
        (0, 1, "t/a", "ready", NONE),
        (86_400, 2, "t/a", "ended", CRASH),
        (86_400 + 60, 2, "t/a", "ready", NONE),
    ]);
    let all =
        availability(&Asked { facts: &facts, path: "t/a", since: None, now: 2 * 86_400_000, live: true });
    let goals: Vec<_> =
        all.rows[0].goals.iter().map(|goal| (goal.window.as_str(), goal.recorded_ms, goal.met)).collect();
    // A minute of a day is 0.07 %, of two days 0.035 %.
    let expected = [
        ("day", 86_400_000, Some(99_900)),
        ("week", 172_800_000, Some(99_900)),
        ("month", 172_800_000, Some(99_900)),
    ];
    assert_eq!(goals, expected);
    assert_eq!(
        (figures::met(0.99999), figures::met(0.99989), figures::met(0.98)),
        (Some(99_999), Some(99_900), None)
    );
}

#[test]
fn only_what_lies_in_the_time_asked_for_is_counted() {
    let rows = facts(&two(&[(20, 2, "t/a", "ended", CRASH), (30, 2, "t/a", "ready", NONE)]));
    let asked = Asked { facts: &rows, path: "t/a", since: Some(25_000), now: 125_000, live: true };
    let all = availability(&asked);
    assert_eq!((all.rows.len(), all.since), (1, 25_000));
    check(&all, "t/a", [95, 5, 0, 0], 1);
    let later = availability(&Asked { since: Some(40_000), ..asked });
    check(&later, "t/a", [85, 0, 0, 0], 0);
}
