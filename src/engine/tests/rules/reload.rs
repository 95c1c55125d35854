//! Reload: the rules of applying another plan, one by one. Workers with the same `key` are the same.

use crate::play::check_apply;
use woodward_engine::Outlook;

const THREE: &str = "supervisor t
     worker t/a
     worker t/b
     worker t/c";

// ---------------------------------------------------------------------- what stays, goes, comes

#[test]
fn an_equal_plan_changes_nothing() {
    check_apply(
        THREE,
        &[("same", THREE)],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of same => reply ok",
    );
}

#[test]
fn a_changed_key_restarts_exactly_that_one() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/a\n worker t/b key=1\n worker t/c")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask b 5000
         b exit 0 => start b
         b started => reply ok",
    );
}

#[test]
fn live_keys_restart_nobody() {
    check_apply(
        THREE,
        &[(
            "new",
            "supervisor t strategy=one_for_all intensity=9 period=7 exhausted=park
             worker t/a restart=transient shutdown=77
             worker t/b within=5 probe limit=3,9,park
             worker t/c backoff=0,1000,2,5000,0,9000",
        )],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => reply ok
         c exit 1 => restart c 1, backoff c 1000, ask b 5000
         b exit 0 => ask a 77
         a exit 0 =>
         at 1000 => start a, start b
         b ready => start c",
    );
}

#[test]
fn what_is_removed_stops_in_reverse_and_what_is_new_starts_in_order() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/x\n worker t/b\n worker t/y")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask c 5000
         c exit 0 => ask a 5000
         a exit 0 => start x, start y, reply ok
         t: stop_tree => ask y 5000
         y exit 0 => ask b 5000
         b exit 0 => ask x 5000
         x exit 0 => close t, reply ok, ended Stopped",
    );
}

#[test]
fn a_rename_is_one_removed_and_one_new() {
    let stage = check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/a\n worker t/d\n worker t/c")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         b: hold => reply ok
         apply of new => ask b 5000
         b exit 0 => start d, reply ok
         at 1 =>",
    );
    assert_eq!(stage.engine.find("t/b"), None);
}

#[test]
fn a_worker_that_becomes_a_supervisor_is_removed_and_new() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/a\n supervisor t/b\n worker t/b/x\n worker t/c")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask b 5000
         b exit 0 => open b, start b/x, ready b, reply ok",
    );
}

#[test]
fn a_new_order_moves_nobody_and_holds_from_now_on() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/c\n worker t/b\n worker t/a")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => reply ok
         t: stop_tree => ask a 5000
         a exit 0 => ask b 5000
         b exit 0 => ask c 5000
         c exit 0 => close t, reply ok, ended Stopped",
    );
}

#[test]
fn the_order_of_stops_is_that_of_the_old_plan_and_the_order_of_starts_that_of_the_new() {
    check_apply(
        THREE,
        &[("new", "supervisor t strategy=one_for_all\n worker t/c key=7\n worker t/b\n worker t/a")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => start c
         c started => start b, start a, reply ok",
    );
}

#[test]
fn one_that_is_removed_below_goes_and_its_supervisor_stays() {
    check_apply(
        "supervisor t\n supervisor t/s\n worker t/s/a\n worker t/s/b\n worker t/z",
        &[("new", "supervisor t\n supervisor t/s\n worker t/s/b\n worker t/z")],
        "boot => open t, open s, start s/a, start s/b, ready s, start z, ready t, reply ok
         apply of new => ask s/a 5000
         s/a exit 0 => reply ok",
    );
}

#[test]
fn a_supervisor_that_goes_stops_with_all_its_children() {
    let stage = check_apply(
        "supervisor t\n supervisor t/s\n worker t/s/a\n worker t/s/b\n worker t/z",
        &[("new", "supervisor t\n worker t/z")],
        "boot => open t, open s, start s/a, start s/b, ready s, start z, ready t, reply ok
         apply of new => ask s/b 5000
         s/b exit 0 => ask s/a 5000
         s/a exit 0 => close s, reply ok
         at 1 =>
         z: restart => restart z 0, ask z 5000",
    );
    assert_eq!((stage.engine.find("t/s"), stage.engine.find("t/s/a")), (None, None));
}

#[test]
fn what_is_new_below_a_supervisor_that_is_down_waits_for_it() {
    check_apply(
        "supervisor t\n supervisor t/s\n worker t/s/a",
        &[("new", "supervisor t\n supervisor t/s\n worker t/s/b")],
        "boot => open t, open s, start s/a, ready s, ready t, reply ok
         s: stop => ask s/a 5000
         s/a exit 0 => close s, reply ok
         apply of new => reply ok
         s: start => open s, start s/b, ready s, reply ok",
    );
}

// ---------------------------------------------------------------------- dragged along

#[test]
fn a_restart_drags_along_what_a_crash_would_under_the_new_plan() {
    check_apply(
        "supervisor t\n worker t/a\n worker t/b\n worker t/c",
        &[("new", "supervisor t strategy=rest_for_one\n worker t/b key=1\n worker t/a\n worker t/c")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => start b
         b started => start a, start c, reply ok",
    );
}

#[test]
fn by_dependencies_the_dependents_under_the_new_plan_go_along() {
    check_apply(
        "supervisor t strategy=rest_for_one order=dependencies\n worker t/a\n worker t/b\n worker t/c after=a",
        &[(
            "new",
            "supervisor t strategy=rest_for_one order=dependencies
             worker t/a key=1
             worker t/b after=a
             worker t/c",
        )],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask b 5000, ask a 5000
         b exit 0 =>
         a exit 0 => start a, reply ok
         a started => start b",
    );
}

#[test]
fn nothing_of_it_is_counted() {
    check_apply(
        "supervisor t intensity=0\n worker t/a",
        &[
            ("one", "supervisor t intensity=0\n worker t/a key=1"),
            ("two", "supervisor t intensity=0\n worker t/a"),
        ],
        "boot => open t, start a, ready t, reply ok
         apply of one => ask a 5000
         a exit 0 => start a
         a started => reply ok
         apply of two => ask a 5000
         a exit 0 => start a, reply ok",
    );
}

#[test]
fn windows_stay_and_act_at_the_next_restart() {
    check_apply(
        "supervisor t intensity=5 period=100\n worker t/a\n worker t/b",
        &[("new", "supervisor t intensity=1 period=100\n worker t/a\n worker t/b")],
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, start a
         a exit 1 => restart a 2, start a
         apply of new => reply ok
         b exit 1 => limit b, ask a 5000
         a exit 0 => close t, ended GaveUp",
    );
}

// ---------------------------------------------------------------------- by hand, parked, pending

#[test]
fn what_was_added_through_the_api_stays_at_the_end() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/a\n worker t/e")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         t: terminate_child c => ask c 5000
         c exit 0 => reply ok
         t: delete_child c => reply ok
         apply of new => ask b 5000
         b exit 0 => start e, reply ok",
    );
}

#[test]
fn what_was_deleted_through_the_api_comes_back_with_the_next_incarnation() {
    check_apply(
        "supervisor t\n supervisor t/s\n worker t/s/a\n worker t/s/b",
        &[("new", "supervisor t\n supervisor t/s\n worker t/s/a key=1\n worker t/s/b")],
        "boot => open t, open s, start s/a, start s/b, ready s, ready t, reply ok
         s: terminate_child b => ask s/b 5000
         s/b exit 0 => reply ok
         s: delete_child b => reply ok
         apply of new => ask s/a 5000
         s/a exit 0 => start s/a
         s/a started => reply ok
         s: restart => restart s 0, ask s/a 5000
         s/a exit 0 => close s, open s, start s/a
         s/a started => start s/b, ready s, reply ok",
    );
}

#[test]
fn what_a_person_stopped_or_holds_stays_so_with_the_new_specification() {
    check_apply(
        THREE,
        &[("new", "supervisor t strategy=one_for_all\n worker t/a key=1\n worker t/b key=2\n worker t/c")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         a: stop => ask a 5000
         a exit 0 => reply ok
         b: hold => reply ok
         apply of new => reply ok
         a: start => start a
         a started => reply ok
         b: release => reply ok
         apply of new => ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => start a
         a started => start b
         b started => start c, reply ok",
    );
}

#[test]
fn a_parked_child_stays_parked_with_the_new_specification() {
    check_apply(
        "supervisor t\n worker t/a limit=0,10,park\n worker t/b",
        &[("new", "supervisor t\n worker t/a key=1 limit=0,10,park\n worker t/b")],
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => limit a, parked a
         apply of new => reply ok
         a: start => start a
         a started => reply ok",
    );
}

#[test]
fn a_pending_child_keeps_its_delay_and_a_changed_one_starts_at_once() {
    check_apply(
        "supervisor t intensity=9\n worker t/a backoff=0,1000,2,9000,0,9000\n worker t/b backoff=0,1000,2,9000,0,9000",
        &[(
            "new",
            "supervisor t intensity=9
             worker t/a key=1 backoff=0,1000,2,9000,0,9000
             worker t/b backoff=0,1000,2,9000,0,9000",
        )],
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, backoff a 1000
         b exit 1 => restart b 2, backoff b 1000
         apply of new => start a
         a started => reply ok
         at 1000 => start b
         a exit 1 => restart a 3, backoff a 2000",
    );
}

#[test]
fn those_that_waited_for_a_pending_one_which_goes_start() {
    check_apply(
        "supervisor t strategy=rest_for_one intensity=9\n worker t/a backoff=0,1000,2,9000,0,9000\n worker t/b",
        &[("new", "supervisor t strategy=rest_for_one intensity=9\n worker t/b")],
        "boot => open t, start a, start b, ready t, reply ok
         a exit 1 => restart a 1, backoff a 1000, ask b 5000
         b exit 0 =>
         apply of new => start b, reply ok
         at 1000 =>",
    );
}

#[test]
fn a_done_one_shot_that_changed_runs_again() {
    check_apply(
        "supervisor t\n worker t/a oneshot restart=transient\n worker t/b",
        &[("new", "supervisor t\n worker t/a oneshot restart=transient key=1\n worker t/b")],
        "boot => open t, start a
         a exit 0 => start b, ready t, reply ok
         apply of new => start a
         a started => reply ok
         a exit 0 =>",
    );
}

#[test]
fn a_temporary_child_is_never_restarted() {
    check_apply(
        "supervisor t\n worker t/a restart=temporary\n worker t/b",
        &[("new", "supervisor t\n worker t/a restart=temporary key=1\n worker t/b")],
        "boot => open t, start a, start b, ready t, reply ok
         apply of new => reply ok
         a exit 0 =>",
    );
}

// ---------------------------------------------------------------------- pools

const POOL: &str = "supervisor t\n supervisor t/p strategy=simple_one_for_one\n worker t/p/x";

#[test]
fn instances_survive_when_their_template_is_equal() {
    check_apply(
        POOL,
        &[(
            "new",
            "supervisor t\n supervisor t/p strategy=simple_one_for_one intensity=7\n worker t/p/x shutdown=77",
        )],
        "boot => open t, open p, ready p, ready t, reply ok
         p: start_instance => start p/x#1, reply ok
         apply of new => reply ok
         p: stop => ask p/x#1 77
         p/x#1 exit 0 => close p, reply ok",
    );
}

#[test]
fn instances_of_a_changed_template_restart_one_after_the_other() {
    check_apply(
        POOL,
        &[("new", "supervisor t\n supervisor t/p strategy=simple_one_for_one\n worker t/p/x key=1")],
        "boot => open t, open p, ready p, ready t, reply ok
         p: start_instance => start p/x#1, reply ok
         p: start_instance => start p/x#2, reply ok
         apply of new => ask p/x#1 5000
         p/x#1 exit 0 => start p/x#1
         p/x#1 started => ask p/x#2 5000
         p/x#2 exit 0 => start p/x#2
         p/x#2 started => reply ok",
    );
}

#[test]
fn an_instance_with_a_key_of_its_own_gets_what_the_embedder_says() {
    check_apply(
        POOL,
        &[
            ("one", "supervisor t\n supervisor t/p strategy=simple_one_for_one\n worker t/p/x keys 5>6"),
            ("two", "supervisor t\n supervisor t/p strategy=simple_one_for_one\n worker t/p/x keys 7>7"),
        ],
        "boot => open t, open p, ready p, ready t, reply ok
         p: start_instance 5 => start p/x#1
         p/x#1 started => reply ok
         apply of two => reply ok
         apply of one => ask p/x#1 5000
         p/x#1 exit 0 => start p/x#1
         p/x#1 started => reply ok",
    );
}

#[test]
fn a_pool_that_becomes_a_list_loses_its_instances() {
    check_apply(
        POOL,
        &[("new", "supervisor t\n supervisor t/p\n worker t/p/x\n worker t/p/y")],
        "boot => open t, open p, ready p, ready t, reply ok
         p: start_instance => start p/x#1, reply ok
         apply of new => ask p/x#1 5000
         p/x#1 exit 0 => start p/x, start p/y, reply ok",
    );
}

// ---------------------------------------------------------------------- in the middle of something

#[test]
fn an_apply_waits_while_something_stops() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/a\n worker t/b key=1\n worker t/c")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         a: restart => restart a 0, ask a 5000
         apply of new =>
         a exit 0 => start a, reply ok, ask b 5000
         b exit 0 => start b
         b started => reply ok",
    );
}

#[test]
fn a_start_that_is_not_ready_can_be_mended() {
    check_apply(
        "supervisor t\n worker t/a probe\n worker t/b",
        &[("new", "supervisor t\n worker t/a key=1\n worker t/b")],
        "boot => open t, start a
         apply of new => ask a 5000
         a exit 0 => start a
         a started => start b, ready t, reply ok, reply ok",
    );
}

#[test]
fn a_second_apply_replaces_what_the_first_has_not_done() {
    check_apply(
        THREE,
        &[
            ("one", "supervisor t\n worker t/a key=1\n worker t/b key=1\n worker t/x"),
            ("two", "supervisor t\n worker t/a\n worker t/b key=2\n worker t/c"),
            ("three", "supervisor t\n worker t/a\n worker t/b key=3\n worker t/c"),
        ],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of one => ask c 5000
         apply of two => reply Overtaken
         apply of three => reply Overtaken
         c exit 0 => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => start a
         a started => start b
         b started => start x, ask x 5000
         x exit 0 => ask b 5000
         b exit 0 => ask a 5000
         a exit 0 => start a, start b
         b started => start c, reply ok",
    );
}

#[test]
fn by_dependencies_a_second_apply_spares_what_was_not_yet_asked() {
    let tree = "supervisor t order=dependencies strategy=rest_for_one\n worker t/a\n worker t/b after=a\n worker t/c";
    check_apply(
        tree,
        &[
            (
                "one",
                "supervisor t order=dependencies strategy=rest_for_one
                 worker t/a key=1\n worker t/b after=a\n worker t/c",
            ),
            ("two", tree),
        ],
        "boot => open t, start a, start c, start b, ready t, reply ok
         apply of one => ask b 5000
         apply of two => reply Overtaken
         b exit 0 => start b, reply ok",
    );
}

#[test]
fn a_stop_from_above_overtakes_an_apply() {
    check_apply(
        THREE,
        &[("new", "supervisor t\n worker t/a\n worker t/b key=1\n worker t/c\n worker t/d")],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of new => ask b 5000
         t: stop_tree => ask c 5000, reply Overtaken
         b exit 0 =>
         c exit 0 => ask a 5000
         a exit 0 => close t, reply ok, ended Stopped
         t: start => open t, start a, start b
         b started => start c, start d, ready t, reply ok",
    );
}

#[test]
fn the_discipline_may_change() {
    check_apply(
        THREE,
        &[
            ("deps", "supervisor t order=dependencies\n worker t/a\n worker t/b after=c key=1\n worker t/c"),
            ("list", "supervisor t\n worker t/a\n worker t/b\n worker t/c"),
        ],
        "boot => open t, start a, start b, start c, ready t, reply ok
         apply of deps => ask b 5000
         b exit 0 => start b, reply ok
         b started =>
         apply of list => ask b 5000
         b exit 0 => start b, reply ok
         t: stop_tree => ask c 5000",
    );
}

#[test]
fn another_tree_or_a_broken_one_is_refused() {
    check_apply(
        THREE,
        &[("broken", "supervisor t\n worker t/a after=nobody"), ("good", THREE)],
        "apply of good => reply NotFound
         boot => open t, start a, start b, start c, ready t, reply ok
         apply of broken => reply BadSpec",
    );
}

#[test]
fn what_was_found_running_something_else_restarts() {
    check_apply(
        "supervisor t strategy=rest_for_one\n worker t/a key=1\n worker t/b\n worker t/c",
        &[],
        "found a=ready:1 b=ready:9 c=ready => open t, adopted a, adopted b, adopted c, ready t, ask c 5000
         c exit 0 => ask b 5000
         b exit 0 => start b, start c",
    );
}

// ---------------------------------------------------------------------- before it is done

#[test]
fn what_is_foreseen_is_what_is_done() {
    let stage = check_apply(
        "supervisor t strategy=rest_for_one
         worker t/a\n worker t/b\n supervisor t/s\n worker t/s/x\n worker t/s/y\n worker t/z",
        &[(
            "new",
            "supervisor t strategy=rest_for_one
             worker t/a\n worker t/b key=1\n supervisor t/s\n worker t/s/x\n worker t/s/w\n worker t/new",
        )],
        "boot => open t, start a, start b, open s, start s/x, start s/y, ready s, start z, ready t, reply ok",
    );
    let foreseen = stage.foresee("new");
    let with_b = || Outlook::Restarts(Some("t/b".into()));
    let expected = [
        ("t", Outlook::Stays),
        ("t/a", Outlook::Stays),
        ("t/b", Outlook::Restarts(None)),
        ("t/s", with_b()),
        ("t/s/x", with_b()),
        ("t/s/y", Outlook::Stops),
        ("t/s/w", Outlook::Starts),
        ("t/new", Outlook::Starts),
        ("t/z", Outlook::Stops),
    ];
    let foreseen: Vec<(&str, Outlook)> = foreseen.iter().map(|p| (&*p.path, p.what.clone())).collect();
    assert_eq!(foreseen, expected);
}
