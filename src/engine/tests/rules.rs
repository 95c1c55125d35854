//! The rules that go beyond OTP, one by one.

#[path = "common/play.rs"]
mod play;
#[path = "rules/reload.rs"]
mod reload;

use play::{Stage, check};

// ---------------------------------------------------------------------- started and ready

#[test]
fn the_next_by_list_waits_for_readiness() {
    check(
        "supervisor t
         worker t/a probe
         worker t/b",
        "boot => open t, start a
         a ready => start b, ready t, reply ok",
    );
}

#[test]
fn a_lonely_restart_does_not_wait_for_readiness() {
    // Two siblings with slow readiness come back side by side, not one after the other.
    check(
        "supervisor t intensity=5
         worker t/a probe
         worker t/b probe",
        "boot => open t, start a
         a ready => start b
         b ready => ready t, reply ok
         a exit 1 => restart a 1, start a
         b exit 1 => restart b 2, start b",
    );
}

#[test]
fn a_crash_during_readiness_wait_is_merged() {
    check(
        "supervisor t intensity=5
         worker t/a
         worker t/b probe
         worker t/c",
        "boot => open t, start a, start b
         a exit 1 => restart a 1, start a
         b ready => start c, ready t, reply ok",
    );
}

#[test]
fn a_group_restart_during_readiness_wait_stops_the_waiting_one_too() {
    check(
        "supervisor t strategy=rest_for_one intensity=5
         worker t/a
         worker t/b probe
         worker t/c",
        "boot => open t, start a, start b
         a exit 1 => restart a 1, ask b 5000
         b exit 0 => start a, start b
         b ready => start c, ready t, reply ok",
    );
}

#[test]
fn requests_wait_while_readiness_is_awaited_but_stops_do_not() {
    check(
        "supervisor t
         worker t/a
         worker t/b probe
         worker t/c",
        "boot => open t, start a, start b
         t: count_children =>
         t: terminate_child a => ask a 5000
         a exit 0 => reply ok
         b ready => start c, ready t, reply ok, reply Counts([3, 2, 0, 3])",
    );
}

#[test]
fn too_late_is_stopped_and_then_a_failed_start() {
    check(
        "supervisor t intensity=5 initial_start=retry
         worker t/a probe within=1000
         worker t/b",
        "boot => open t, start a
         at 999 =>
         at 1000 => ask a 5000
         a signal 15 => start b, restart a 1, start a
         a ready => ready t, reply ok",
    );
}

#[test]
fn too_late_with_nobody_waiting_is_a_crash() {
    check(
        "supervisor t intensity=5
         worker t/a probe within=1000",
        "boot => open t, start a
         a ready => ready t, reply ok
         a exit 1 => restart a 1, start a
         at 1000 => ask a 5000
         a exit 0 => restart a 2, start a",
    );
}

#[test]
fn an_end_before_readiness_is_a_failed_start() {
    check(
        "supervisor t
         worker t/a
         worker t/b probe restart=transient",
        "boot => open t, start a, start b
         b exit 0 => ask a 5000
         a exit 0 => close t, reply StartFailed, ended GaveUp",
    );
}

#[test]
fn settle_delays_readiness() {
    check(
        "supervisor t
         worker t/a settle=300
         worker t/b probe settle=200",
        "boot => open t, start a
         at 299 =>
         at 300 => start b
         b ready =>
         at 499 =>
         at 500 => ready t, reply ok",
    );
}

#[test]
fn readiness_is_a_latch() {
    check(
        "supervisor t intensity=5
         supervisor t/s intensity=5
         worker t/s/a probe
         worker t/b",
        "boot => open t, open s, start s/a
         s/a ready => ready s, start b, ready t, reply ok
         s/a exit 1 => restart s/a 1, start s/a",
    );
}

#[test]
fn the_parent_is_open_while_a_child_supervisor_waits_for_readiness() {
    check(
        "supervisor t intensity=5
         worker t/a
         supervisor t/s
         worker t/s/x probe
         worker t/s/y
         worker t/b",
        "boot => open t, start a, open s, start s/x
         a exit 1 => restart a 1, start a
         s/x ready => start s/y, ready s, start b, ready t, reply ok",
    );
}

// ---------------------------------------------------------------------- stop overtakes start

#[test]
fn a_stop_from_above_overtakes_a_start() {
    check(
        "supervisor t
         worker t/a
         worker t/b key=1
         worker t/c",
        "boot => open t, start a, start b
         t: stop_tree => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => close t, reply Overtaken, reply ok, ended Stopped",
    );
}

#[test]
fn a_start_in_flight_is_asked_when_its_turn_comes() {
    // By then it may be up, or have failed: no retry, no report.
    check(
        "supervisor t intensity=5
         worker t/a
         worker t/b key=1
         worker t/c",
        "boot => open t, start a, start b
         b started => start c, ready t, reply ok
         b exit 1 => restart b 1, start b
         t: stop_tree => ask c 5000
         b failed =>
         c exit 0 => ask a 5000
         a exit 0 => close t, reply ok, ended Stopped",
    );
}

#[test]
fn stopping_what_is_in_flight_is_as_if_it_had_declined() {
    check(
        "supervisor t
         worker t/a key=1
         worker t/b",
        "boot => open t, start a
         a: stop => ask a 5000
         a signal 9 => reply ok, start b, ready t, reply ok",
    );
    check(
        "supervisor t
         worker t/a key=1
         worker t/b",
        "boot => open t, start a
         t: terminate_child b => reply ok
         a started => ready t, reply ok",
    );
}

#[test]
fn a_supervisor_stopped_before_it_is_open_opens_and_ends() {
    let mut stage = Stage::new("supervisor t\nworker t/a");
    let mut effects = Vec::new();
    use woodward_engine::{Effect, Event, ReqId, Verb};
    stage.happens("boot");
    stage.tell(Event::Request { id: ReqId(9), path: "t".into(), verb: Verb::StopTree });
    stage.engine.handle(stage.now, Event::Tick, &mut effects);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. })));
}

// ---------------------------------------------------------------------- how ends are read

#[test]
fn restart_prevent_parks_at_once_and_uncounted() {
    check(
        "supervisor t intensity=0 strategy=one_for_all
         worker t/a prevent=code:78
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 78 => parked a
         a: start => start a, reply ok",
    );
}

#[test]
fn restart_force_restarts_whatever_its_type() {
    check(
        "supervisor t intensity=1
         worker t/a restart=transient force=code:0",
        "boot => open t, start a, ready t, reply ok
         a exit 0 => restart a 1, start a",
    );
}

#[test]
fn success_statuses_are_calm() {
    check(
        "supervisor t intensity=1
         worker t/a restart=transient success=code:3,signal:1
         worker t/b restart=transient success=code:3,signal:1
         worker t/c restart=transient",
        "boot => open t, start a, start b, start c, ready t, reply ok
         a exit 3 =>
         b signal 1 =>
         c signal 15 => restart c 1, start c",
    );
}

#[test]
fn a_sick_child_is_stopped_and_restarted_with_its_group() {
    check(
        "supervisor t intensity=2 strategy=rest_for_one
         worker t/a
         worker t/b
         worker t/c",
        "boot => open t, start a, start b, start c, ready t, reply ok
         b sick => restart b 1, ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => start b, start c",
    );
}

#[test]
fn a_sick_child_is_stopped_in_the_time_for_the_sick() {
    check(
        "supervisor t intensity=2
         worker t/a shutdown=60000 shutdown_if_sick=2000
         worker t/b shutdown=60000 shutdown_if_sick=brutal_kill
         worker t/c shutdown=60000",
        "boot => open t, start a, start b, start c, ready t, reply ok
         a sick => restart a 1, ask a 2000
         at 2000 => kill a
         a signal 9 => start a
         a: restart => restart a 0, ask a 60000
         a exit 0 => start a, reply ok
         b sick => restart b 2, kill b
         b signal 9 => start b
         c: stop => ask c 60000",
    );
}

#[test]
fn one_that_hangs_is_decided_once_however_often_it_is_reported() {
    check(
        "supervisor t intensity=1 strategy=rest_for_one order=dependencies
         worker t/a
         worker t/b after=a",
        "boot => open t, start a, start b, ready t, reply ok
         a sick => restart a 1, ask b 5000
         a sick =>
         b exit 0 => ask a 5000
         a exit 0 => start a, start b",
    );
}

#[test]
fn a_sick_temporary_child_is_just_stopped() {
    check(
        "supervisor t intensity=0
         worker t/a restart=temporary",
        "boot => open t, start a, ready t, reply ok
         a sick => ask a 5000
         a exit 0 =>",
    );
}

#[test]
fn what_does_not_die_is_stuck_and_can_be_abandoned() {
    check(
        "supervisor t intensity=0
         worker t/a shutdown=500",
        "boot => open t, start a, ready t, reply ok
         a: stop => ask a 500
         at 500 => kill a
         at 1500 => stuck a, kill a
         at 2500 => stuck a, kill a
         a: abandon => reply ok, reply ok",
    );
}

// ---------------------------------------------------------------------- back-off

#[test]
fn a_restart_counts_at_once_and_starts_later() {
    check(
        "supervisor t intensity=3 period=60
         worker t/a backoff=1,100,2,300,0,10000
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, start a
         a exit 1 => restart a 2, backoff a 100
         at 99 =>
         at 100 => start a
         a exit 1 => restart a 3, backoff a 300
         at 300 => start a
         a exit 1 => limit a, ask b 5000
         b exit 0 => close t, ended GaveUp",
    );
}

#[test]
fn backoff_is_reset_after_a_quiet_time() {
    check(
        "supervisor t intensity=30 period=60
         worker t/a backoff=0,100,2,300,0,1000",
        "boot => open t, start a, ready t, reply ok
         a exit 1 => restart a 1, backoff a 100
         at 100 => start a
         at 1100 =>
         a exit 1 => restart a 2, backoff a 1200
         at 1200 => start a
         at 1250 =>
         a exit 1 => restart a 3, backoff a 1450",
    );
}

#[test]
fn siblings_stop_at_once_and_start_when_the_delay_is_over() {
    check(
        "supervisor t intensity=3 period=60 strategy=one_for_all
         worker t/a backoff=0,1000,2,3000,0,10000
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, backoff a 1000, ask b 5000
         at 300 =>
         b exit 0 =>
         at 1000 => start a, start b",
    );
}

#[test]
fn the_delay_runs_beside_the_stops() {
    check(
        "supervisor t intensity=3 period=60 strategy=one_for_all
         worker t/a backoff=0,1000,2,3000,0,10000
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, backoff a 1000, ask b 5000
         at 2000 =>
         b exit 0 => start a, start b",
    );
}

#[test]
fn a_failed_restart_is_counted_when_its_message_comes_and_then_delayed() {
    check(
        "supervisor t intensity=3 period=60
         worker t/a key=1 backoff=1,100,2,300,0,10000",
        "boot => open t, start a
         a started => ready t, reply ok
         a exit 1 => restart a 1, start a
         a failed => restart a 2, backoff a 100
         at 100 => start a
         a failed => restart a 3, backoff a 300
         at 300 => start a
         a failed => limit a, close t, ended GaveUp",
    );
}

#[test]
fn start_hurries_and_stop_cancels_a_pending_restart() {
    let tree = "supervisor t intensity=3 period=60
                worker t/a backoff=0,1000,2,3000,0,10000";
    check(
        tree,
        "boot => open t, start a, ready t, reply ok
         a exit 1 => restart a 1, backoff a 1000
         t: restart_child a => reply Restarting
         t: delete_child a => reply Restarting
         a: start => start a, reply ok
         at 5000 =>",
    );
    check(
        tree,
        "boot => open t, start a, ready t, reply ok
         a exit 1 => restart a 1, backoff a 1000
         t: terminate_child a => reply ok
         at 5000 =>",
    );
}

#[test]
fn a_group_restart_voids_the_delay_of_a_member() {
    check(
        "supervisor t intensity=5 period=60 strategy=rest_for_one
         worker t/a
         worker t/b backoff=0,1000,2,3000,0,10000",
        "boot => open t, start a, start b, ready t, reply ok
         b exit 1 => restart b 1, backoff b 1000
         a exit 1 => restart a 2, start a, start b
         at 5000 =>",
    );
}

#[test]
fn jitter_is_a_function_and_stays_within_its_share() {
    let tree = "supervisor t intensity=9 period=60
                worker t/a backoff=0,1000,1,1000,10,100000";
    let mut delays = Vec::new();
    for _ in 0..2 {
        let mut stage = Stage::new(tree);
        stage.happens("boot");
        let mut seen = Vec::new();
        for _ in 0..5 {
            stage.happens("a exit 1");
            let at = stage.engine.next_deadline().expect("a delay");
            seen.push(at.0 - stage.now.0);
            stage.happens(&format!("at {}", at.0));
        }
        delays.push(seen);
    }
    assert_eq!(delays[0], delays[1]);
    assert!(delays[0].iter().all(|d| (900..=1100).contains(d)), "{delays:?}");
    assert!(delays[0].iter().any(|&d| d != delays[0][0]), "{delays:?}");
}

// ---------------------------------------------------------------------- initial_start

#[test]
fn a_failed_initial_start_is_retried_and_one_for_one_goes_on() {
    check(
        "supervisor t intensity=3 period=60 initial_start=retry
         worker t/a key=1 backoff=0,500,2,3000,0,10000
         worker t/b",
        "boot => open t, start a
         a failed => start b, restart a 1, backoff a 500
         at 500 => start a
         a started => ready t, reply ok",
    );
}

#[test]
fn behind_a_failed_initial_start_the_rest_waits() {
    check(
        "supervisor t intensity=3 period=60 initial_start=retry strategy=rest_for_one
         worker t/a
         worker t/b key=1 backoff=0,500,2,3000,0,10000
         worker t/c",
        "boot => open t, start a, start b
         b failed => restart b 1, backoff b 500
         at 500 => start b
         b started => start c, ready t, reply ok",
    );
}

#[test]
fn a_child_supervisor_that_gives_up_while_starting_is_a_failed_start_of_its_parent() {
    check(
        "supervisor t intensity=1 period=60 initial_start=retry
         supervisor t/s intensity=0 period=60 initial_start=retry
         worker t/s/a key=1
         worker t/b",
        "boot => open t, open s, start s/a
         s/a failed => limit s/a, close s, start b, restart s 1, open s, start s/a
         s/a started => ready s, ready t, reply ok",
    );
}

// ---------------------------------------------------------------------- accounts, parking

#[test]
fn an_account_of_its_own_parks_only_the_child() {
    check(
        "supervisor t intensity=0 strategy=one_for_all
         worker t/a limit=1,60,park,3000
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, ask b 5000
         b exit 0 => start a, start b
         a exit 1 => limit a, parked a 3000
         at 2999 =>
         at 3000 => start a
         a exit 1 => restart a 1, ask b 5000",
    );
}

#[test]
fn an_account_of_its_own_may_escalate() {
    check(
        "supervisor t intensity=9
         worker t/a limit=0,60,escalate
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => limit a, ask b 5000
         b exit 0 => close t, ended GaveUp",
    );
}

#[test]
fn a_parked_supervisor_does_not_escalate() {
    check(
        "supervisor t intensity=0
         supervisor t/s intensity=0 exhausted=park retry_after=2000
         worker t/s/a
         worker t/s/b
         worker t/c",
        "boot => open t, open s, start s/a, start s/b, ready s, start c, ready t, reply ok
         s/a exit 1 => limit s/a, ask s/b 5000
         s/b exit 0 => close s, parked s 2000
         at 2000 => open s, start s/a, start s/b, ready s
         s/a exit 1 => limit s/a, ask s/b 5000
         s/b exit 0 => close s, parked s 4000
         s: start => open s, start s/a, start s/b, ready s, reply ok",
    );
}

#[test]
fn parked_sticks_to_the_path_whatever_happens_above() {
    check(
        "supervisor t intensity=1 strategy=one_for_all
         supervisor t/s intensity=9 strategy=one_for_all
         worker t/s/a limit=0,60,park
         worker t/s/b
         worker t/c",
        "boot => open t, open s, start s/a, start s/b, ready s, start c, ready t, reply ok
         s/a exit 1 => limit s/a, parked s/a
         s/b exit 1 => restart s/b 1, start s/b
         c exit 1 => restart c 1, ask s/b 5000
         s/b exit 0 => close s, open s, start s/b, ready s, start c",
    );
}

#[test]
fn a_parked_root_stays_down_until_start() {
    check(
        "supervisor t intensity=0 exhausted=park
         worker t/a
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => limit a, ask b 5000
         b exit 0 => close t, parked t
         at 9999 =>
         t: start => open t, start a, start b, ready t, reply ok",
    );
}

#[test]
fn the_root_says_what_giving_up_means() {
    for (exhausted, how) in [("failover", "Failover"), ("reboot", "Reboot"), ("exit", "GaveUp")] {
        check(
            &format!("supervisor t intensity=0 exhausted={exhausted}\nworker t/a"),
            &format!("boot => open t, start a, ready t, reply ok\na exit 1 => limit a, close t, ended {how}"),
        );
    }
}

// ---------------------------------------------------------------------- hold, stop, start, restart

#[test]
fn an_end_while_held_is_only_recorded() {
    check(
        "supervisor t intensity=0 strategy=one_for_all
         worker t/a
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a: hold => reply ok
         a exit 1 =>
         a: release => reply ok, start a",
    );
}

#[test]
fn a_hold_may_end_by_itself() {
    check(
        "supervisor t intensity=0
         worker t/a
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         t: hold 1000 => reply ok
         b exit 1 =>
         a exit 1 =>
         at 1000 => start a, start b",
    );
}

#[test]
fn a_new_hold_replaces_the_end_of_the_old_one() {
    check(
        "supervisor t intensity=0
         worker t/a",
        "boot => open t, start a, ready t, reply ok
         a: hold 1000 => reply ok
         a: hold 2000 => reply ok
         a exit 1 =>
         at 1999 =>
         at 2000 => start a",
    );
}

#[test]
fn group_restarts_neither_stop_nor_start_what_is_held() {
    check(
        "supervisor t intensity=3 strategy=one_for_all
         worker t/a
         worker t/b
         worker t/c",
        "boot => open t, start a, start b, start c, ready t, reply ok
         b: hold => reply ok
         c: stop => ask c 5000
         c exit 0 => reply ok
         a exit 1 => restart a 1, start a",
    );
}

#[test]
fn a_stop_from_above_stops_what_is_held_and_a_new_incarnation_does_not_start_it() {
    check(
        "supervisor t intensity=3 strategy=one_for_all
         supervisor t/s
         worker t/s/a
         worker t/s/b
         worker t/c",
        "boot => open t, open s, start s/a, start s/b, ready s, start c, ready t, reply ok
         s/a: hold => reply ok
         c exit 1 => restart c 1, ask s/b 5000
         s/b exit 0 => ask s/a 5000
         s/a exit 0 => close s, open s, start s/b, ready s, start c
         s/a: release => reply ok, start s/a",
    );
}

#[test]
fn stop_lasts_until_start() {
    check(
        "supervisor t intensity=3 strategy=one_for_all
         worker t/a
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         b: stop => ask b 5000
         b exit 0 => reply ok
         a exit 1 => restart a 1, start a
         b: release => reply ok
         b: start => start b, reply ok
         a exit 1 => restart a 2, ask b 5000
         b exit 0 => start a, start b",
    );
}

#[test]
fn a_persons_start_is_uncounted_but_its_failure_is_counted() {
    check(
        "supervisor t intensity=1
         worker t/a key=1 restart=transient",
        "boot => open t, start a
         a started => ready t, reply ok
         a exit 0 =>
         a: start => start a
         a failed => reply StartFailed, restart a 1, start a
         a started =>",
    );
}

#[test]
fn a_persons_failed_start_of_what_is_held_is_not_retried() {
    check(
        "supervisor t intensity=1
         worker t/a key=1",
        "boot => open t, start a
         a started => ready t, reply ok
         a: hold => reply ok
         a exit 1 =>
         a: start => start a
         a failed => reply StartFailed",
    );
}

#[test]
fn restart_is_the_group_of_a_crash_uncounted() {
    check(
        "supervisor t intensity=0 strategy=rest_for_one
         worker t/a
         worker t/b
         worker t/c",
        "boot => open t, start a, start b, start c, ready t, reply ok
         b: restart => restart b 0, ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => start b, reply ok, start c
         b: restart only => restart b 0, ask b 5000
         b exit 0 => start b, reply ok",
    );
    check(
        "supervisor t
         worker t/a restart=temporary",
        "boot => open t, start a, ready t, reply ok
         a: restart => reply Temporary",
    );
}

#[test]
fn an_ended_temporary_child_can_be_started_again_by_a_person() {
    check(
        "supervisor t
         worker t/a restart=temporary",
        "boot => open t, start a, ready t, reply ok
         a exit 0 =>
         t: count_children => reply Counts([0, 0, 0, 0])
         a: start => start a, reply ok",
    );
}

#[test]
fn a_temporary_child_started_again_by_a_person_stands_where_it_is_planned() {
    check(
        "supervisor t
         worker t/a restart=temporary
         worker t/b",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 0 =>
         a: start => start a, reply ok
         t: stop => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => close t, reply ok, ended Stopped",
    );
}

#[test]
fn a_whole_tree_can_be_stopped_and_started_by_a_person() {
    check(
        "supervisor t
         worker t/a",
        "boot => open t, start a, ready t, reply ok
         t: stop => ask a 5000
         a exit 0 => close t, reply ok, ended Stopped
         t: start => open t, start a, ready t, reply ok
         t: restart => restart t 0, ask a 5000
         a exit 0 => close t, open t, start a, ready t, reply ok",
    );
}

#[test]
fn below_a_supervisor_that_is_down_there_is_nobody() {
    check(
        "supervisor t
         supervisor t/s
         worker t/s/a",
        "boot => open t, open s, start s/a, ready s, ready t, reply ok
         s: stop => ask s/a 5000
         s/a exit 0 => close s, reply ok
         s: which_children => reply Noproc
         s/a: start => reply Noproc
         s/a: stop => reply ok
         s: start => open s, ready s, reply ok
         s/a: start => start s/a, reply ok",
    );
}

// ---------------------------------------------------------------------- deadlines of subtrees

#[test]
fn a_subtree_shares_its_deadline_out() {
    // Three times 5 s within 3 s: the first hang leaves something for the last in line.
    check(
        "supervisor t
         worker t/a
         worker t/b
         worker t/c
         tree shutdown=3000",
        "boot => open t, start a, start b, start c, ready t, reply ok
         t: stop_tree => ask c 1000
         at 1000 => kill c
         c signal 9 => ask b 1000
         b exit 0 => ask a 2000
         at 3000 => kill a
         a signal 9 => close t, reply ok, ended Stopped",
    );
}

#[test]
fn at_the_deadline_everything_left_is_killed_in_one_sweep() {
    check(
        "supervisor t
         supervisor t/s shutdown=infinity
         worker t/s/a
         worker t/s/b shutdown=infinity
         worker t/c shutdown=brutal_kill
         tree shutdown=1000",
        "boot => open t, open s, start s/a, start s/b, ready s, start c, ready t, reply ok
         t: stop_tree => kill c
         c signal 9 => ask s/b 166
         at 166 => kill s/b
         at 1000 => kill s/a
         s/a signal 9 =>
         s/b signal 9 => close s, close t, reply ok, ended Stopped",
    );
}

#[test]
fn a_group_restart_has_no_deadline() {
    check(
        "supervisor t strategy=one_for_all intensity=2
         worker t/a
         worker t/b
         tree shutdown=1000",
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, ask b 5000",
    );
}

// ---------------------------------------------------------------------- one-shots, essential

#[test]
fn a_oneshot_that_ends_well_is_done_and_the_next_starts() {
    check(
        "supervisor t intensity=1
         worker t/a oneshot restart=transient
         worker t/b",
        "boot => open t, start a
         a exit 0 => start b, ready t, reply ok
         b exit 1 => restart b 1, start b",
    );
}

#[test]
fn a_failed_oneshot_is_a_failed_start() {
    check(
        "supervisor t intensity=1 initial_start=retry
         worker t/a oneshot restart=transient
         worker t/b",
        "boot => open t, start a
         a exit 1 => start b, restart a 1, start a
         a exit 0 => ready t, reply ok",
    );
}

#[test]
fn a_group_restart_runs_a_oneshot_again() {
    check(
        "supervisor t intensity=1 strategy=one_for_all
         worker t/a oneshot restart=transient
         worker t/b",
        "boot => open t, start a
         a exit 0 => start b, ready t, reply ok
         b exit 1 => restart b 1, start a
         a exit 0 => start b",
    );
}

#[test]
fn a_oneshot_that_runs_too_long_has_failed() {
    check(
        "supervisor t
         worker t/a oneshot restart=transient runtime_max=1000",
        "boot => open t, start a
         at 1000 => ask a 5000
         a signal 15 => close t, reply StartFailed, ended GaveUp",
    );
}

#[test]
fn the_final_end_of_an_essential_child_stops_the_tree() {
    check(
        "supervisor t
         supervisor t/s
         worker t/s/a restart=temporary essential
         worker t/b",
        "boot => open t, open s, start s/a, ready s, start b, ready t, reply ok
         s/a exit 7 => ask b 5000
         b exit 0 => close s, close t, ended by essential Code(7)",
    );
    check(
        "supervisor t
         worker t/a restart=temporary essential",
        "boot => open t, start a, ready t, reply ok
         a: stop => ask a 5000
         a exit 0 => reply ok",
    );
}

// ---------------------------------------------------------------------- dependencies

const DIAMOND: &str = "supervisor t order=dependencies strategy=rest_for_one intensity=3
     worker t/db probe
     worker t/api after=db
     worker t/web after=db
     worker t/top after=api,web
     worker t/alone";

#[test]
fn by_dependencies_independent_ones_start_side_by_side() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok",
    );
}

#[test]
fn by_dependencies_a_crash_takes_its_dependents_along() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         api exit 1 => restart api 1, ask top 5000
         top exit 0 => start api, start top
         db exit 1 => restart db 2, ask top 5000
         top exit 0 => ask web 5000, ask api 5000
         api exit 0 =>
         web exit 0 => start db
         db ready => start api, start web, start top",
    );
}

#[test]
fn by_dependencies_nothing_starts_over_a_running_dependent() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         db exit 1 => restart db 1, ask top 5000
         at 4000 =>
         top exit 0 => ask web 5000, ask api 5000
         web exit 0 =>
         api exit 0 => start db",
    );
}

#[test]
fn by_dependencies_a_marked_child_that_ends_by_itself_is_consumed() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         db exit 1 => restart db 1, ask top 5000
         web exit 1 =>
         top exit 0 => ask api 5000
         api exit 0 => start db",
    );
}

#[test]
fn by_dependencies_only_dependents_wait_for_a_failed_initial_start() {
    check(
        "supervisor t order=dependencies strategy=rest_for_one intensity=3 initial_start=retry
         worker t/db key=1 backoff=0,500,2,3000,0,10000
         worker t/api after=db
         worker t/alone",
        "boot => open t, start db, start alone
         db failed => restart db 1, backoff db 500
         at 500 => start db
         db started => start api, ready t, reply ok",
    );
}

#[test]
fn by_dependencies_a_person_stops_one_child_alone() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         db: stop => ask db 5000
         db exit 0 => reply ok
         api exit 1 => restart api 1, ask top 5000
         top exit 0 =>
         db: start => start db
         db ready => reply ok, start api, start top",
    );
}

#[test]
fn by_dependencies_a_person_may_stop_with_dependents() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         api: stop with_dependents => ask top 5000
         top exit 0 => ask api 5000
         api exit 0 => reply ok
         api: start => start api, reply ok",
    );
}

#[test]
fn by_dependencies_the_stop_of_all_is_the_reverse() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         t: stop_tree => ask alone 5000, ask top 5000
         alone exit 0 =>
         top exit 0 => ask web 5000, ask api 5000
         api exit 0 =>
         web exit 0 => ask db 5000
         db exit 0 => close t, reply ok, ended Stopped",
    );
}

#[test]
fn by_dependencies_one_for_all_starts_when_everybody_is_down() {
    check(
        "supervisor t order=dependencies strategy=one_for_all intensity=3
         worker t/a
         worker t/b
         worker t/c after=b",
        "boot => open t, start a, start b, start c, ready t, reply ok
         a exit 1 => restart a 1, ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => start a, start b, start c",
    );
}

#[test]
fn by_dependencies_a_slow_stop_does_not_keep_others_from_being_restarted() {
    check(
        DIAMOND,
        "boot => open t, start db, start alone
         db ready => start api, start web, start top, ready t, reply ok
         top: stop => ask top 5000
         alone exit 1 => restart alone 1, start alone
         top exit 0 => reply ok",
    );
}

// ---------------------------------------------------------------------- adoption

#[test]
fn what_is_found_running_is_not_started_again() {
    check(
        "supervisor t intensity=3
         worker t/a
         supervisor t/s
         worker t/s/b
         worker t/s/c
         worker t/d",
        "found a=ready s/b=ready d=ready => open t, adopted a, open s, adopted s/b, adopted d, start s/c, ready s, ready t
         s/b exit 1 => restart s/b 1, start s/b",
    );
}

#[test]
fn what_ended_in_the_gap_is_an_end_by_itself() {
    check(
        "supervisor t intensity=3 strategy=rest_for_one
         worker t/a
         worker t/b
         worker t/c",
        "found a=ready b=ended c=ready => open t, adopted a, adopted b, adopted c, ready t, restart b 1, ask c 5000
         c exit 0 => start b, start c",
    );
}

#[test]
fn what_is_found_not_ready_has_to_become_ready() {
    check(
        "supervisor t intensity=3
         worker t/a probe within=1000
         worker t/b",
        "found a=started => open t, adopted a
         a ready => start b, ready t",
    );
}

#[test]
fn what_is_found_and_not_in_the_plan_is_handed_back() {
    check(
        "supervisor t
         worker t/a
         supervisor t/p strategy=simple_one_for_one
         worker t/p/x",
        "found old=ready p/x#3=ready p/y#1=ready => unwanted t/old, unwanted t/p/y#1, open t, open p, adopted p/x#3, start a, ready p, ready t
         p: start_instance => start p/x#4, reply ok",
    );
}

#[test]
fn what_was_taken_over_is_stopped_when_the_tree_does_not_come_up() {
    check(
        "supervisor t
         worker t/a key=1
         supervisor t/s
         worker t/s/b",
        "found s/b=ready => open t, open s, adopted s/b, start a, ready s
         a failed => ask s/b 5000
         s/b exit 0 => close s, close t, ended GaveUp",
    );
}

#[test]
fn generations_continue_above_what_was_found() {
    let mut stage = Stage::new("supervisor t\nworker t/a\nworker t/b");
    stage.happens("found a=ready");
    assert!(stage.engine.last_generation().0 > 100);
}

#[test]
fn what_sticks_is_saved_and_kept_by_the_next_engine() {
    let tree = "supervisor t intensity=5 period=60\nworker t/a\nworker t/b\nworker t/c prevent=code:78";
    let mut old = Stage::new(tree);
    for event in ["boot", "a exit 1", "b: stop", "b exit 0", "a: hold", "c exit 78"] {
        old.happens(event);
    }
    let saved = old.engine.save();
    assert_eq!(saved.paths[0].window.runs.iter().map(|(_, n)| n).sum::<u32>(), 1);
    let mut new = Stage::new(tree);
    new.saved = saved;
    new.happens("found a=ready");
    assert_eq!(new.follows(), "open t, adopted a");
    new.happens("a exit 1");
    assert_eq!(new.follows(), "");
    new.happens("b: start");
    assert_eq!(new.follows(), "start b, reply ok");
    new.happens("c: start");
    assert_eq!(new.follows(), "start c, reply ok");
    new.happens("a: release");
    assert_eq!(new.follows(), "reply ok, start a");
    new.happens("a exit 1");
    assert_eq!(new.follows(), "restart a 2, start a");
}

#[test]
fn parking_sleeps_while_held_and_is_made_up_for() {
    check(
        "supervisor t intensity=9
         worker t/a limit=0,60,park,1000",
        "boot => open t, start a, ready t, reply ok
         a exit 1 => limit a, parked a 1000
         a: hold => reply ok
         at 1500 =>
         a: release => reply ok, start a",
    );
}

#[test]
fn a_parked_tree_can_be_stopped_for_good() {
    check(
        "supervisor t intensity=0 exhausted=park
         worker t/a",
        "boot => open t, start a, ready t, reply ok
         a exit 1 => limit a, close t, parked t
         t: stop_tree => ended Stopped, reply ok
         t: stop_tree => reply Noproc",
    );
}
