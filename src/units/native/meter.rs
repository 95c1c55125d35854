//! Intensity: the meter of a supervisor counts, its abort gives up.
//!
//! Every child wants the meter and starts behind it. So a crash, with all that restarts because of it, is one transaction
//! with one run of the meter in it: after the group has stopped, before anything starts. It adds up what systemd itself
//! has restarted since the last run (`NRestarts`, which is set back), so that starts and restarts by hand do not count,
//! and two crashes at once count twice where they are two restarts. The times are kept as OTP keeps them: whole seconds
//! of a clock that only goes forward, in a window that slides. The first run of an incarnation counts nothing. A child
//! with a `limit` has a meter of its own and is not counted by its supervisor's.
//!
//! ```text
//! restarts   times of the restarts within the period; not there: nothing has started yet
//! hit-UNIT   this unit crashed and waits for its back-off
//! group      the last run was for an automatic restart: temporary children do not start
//! over       more than intensity: nothing below starts any more
//! ```
//!
//! The marks lie in the runtime directory of the anchor and go with it: a new incarnation begins with an empty window.
//! One restart too many: the meter fails, and its `OnFailure=` is the abort. It stops what is left below, and
//! then ends the anchor, calmly as in OTP: the supervisor above restarts a permanent one and counts; one that is not
//! restarted touches no sibling, as nothing followed a job of its own. A parked child has no abort: it is not started,
//! and that is all.

use std::time::Duration;

use woodward_engine::spec::{Exhausted, Limit, Restart, Strategy, Supervisor};

use super::layout::{At, Layout, Place, What};
use super::{delay, line};
use crate::units::{Options, Release, Scope, Section, Unit, escape};

/// Adds up what has been restarted, names it, and sets it back.
const SCAN: &str = r#"cd "$0" || exit 0; i=$1 p=$2 n=0 k=0 c= hit= kept=; shift 2; for w in $(CTL show -p NRestarts -p Id "$@"); do case $w in NRestarts=*) c=${w#*=};; Id=*) [ "$c" = 0 ] || { hit="$hit ${w#*=}"; n=$((n+c)); };; esac; done; [ -z "$hit" ] || CTL reset-failed $hit; "#;
/// Keeps the times within the period; fails when there are more than intensity. Marks are made by `true`, not by `:`: a shell
/// ends when a special builtin cannot open a file, and a meter whose directory has just gone with its supervisor is content.
const COUNT: &str = r#"read t _ </proc/uptime; t=${t%.*}; for s in $(cat restartsOF); do [ $((t-s)) -gt $p ] || { kept="$kept $s"; k=$((k+1)); }; done; while [ $n -gt 0 ]; do kept="$kept $t"; k=$((k+1)); n=$((n-1)); done; echo $kept >restartsOF; [ $k -le $i ] || { true >overOF || exit 0; exit 1; }"#;

/// Says in the unit of a child that a meter runs before it.
pub fn of_child(layout: &Layout<'_>, at: At, options: &Options, unit: &mut Unit) {
    let place = &layout.places[at];
    let Some(parent) = place.parent else { return };
    let rule = "restarts of the children are counted, and the first too many is not carried out";
    let meter = match place.limit() {
        Some(_) => Some((format!("{}-meter.service", place.stem), "limit")),
        None if has_meter(layout, parent) => {
            Some((format!("{}-meter.service", layout.places[parent].stem), "intensity"))
        }
        None => None,
    };
    if let Some((meter, key)) = meter {
        unit.set(Section::Unit, "Wants", meter.clone(), key, rule);
        unit.set(Section::Unit, "After", meter, key, rule);
    }
    let state = layout.places[parent].state();
    let rule = "nothing starts while its supervisor is down";
    unit.set(Section::Unit, "ConditionPathExists", state.clone(), "", rule);
    for &above in place.ancestors.iter().filter(|&&above| may_give_up(layout, above)) {
        unit.set(
            Section::Unit,
            "ConditionPathExists",
            format!("!{}/over", layout.places[above].state()),
            "intensity",
            "once a supervisor has given up, the restart that was one too many is not carried out",
        );
    }
    if place.limit().is_some() {
        unit.set(
            Section::Unit,
            "ConditionPathExists",
            format!("!{state}/over-{}", place.mark()),
            "limit",
            "once its own account is used up, it is not restarted",
        );
    }
    if is_blocked_in_groups(layout, at) {
        unit.set(
            Section::Unit,
            "ConditionPathExists",
            format!("!{state}/group"),
            "restart",
            "it ends with its group, and is not started again with it",
        );
    }
    if options.release >= CONDITIONS_ARE_SKIPPED {
        ask_again(options, unit);
    }
}

/// systemd 254 and later do not look at the conditions of a unit that it restarts by itself: it calls one that waits for
/// that *activating*, and of those it asks nothing. So they are asked by a command as well, whose failure is a condition
/// that does not hold and no failed start (`systemd.service(5)`).
const CONDITIONS_ARE_SKIPPED: Release = Release(254);

fn ask_again(options: &Options, unit: &mut Unit) {
    let one = |path: &str| match path.strip_prefix('!') {
        Some(path) => format!("! -e {path}"),
        None => format!("-e {path}"),
    };
    let conditions: Vec<String> = unit.values(Section::Unit, "ConditionPathExists").map(one).collect();
    let prefix = if options.scope == Scope::System { "+" } else { "" };
    let command = format!("{prefix}/usr/bin/test {}", conditions.join(" -a "));
    let rule = "this release does not look at conditions before an automatic restart";
    unit.set(Section::Service, "ExecCondition", command, "intensity", rule);
}

/// A temporary child with a group, and an instance of a pool.
fn is_blocked_in_groups(layout: &Layout<'_>, at: At) -> bool {
    layout.is_template(at) || layout.places[at].is(Restart::Temporary) && !layout.drags(at).is_empty()
}

/// Children whose restarts a supervisor counts.
fn counted(layout: &Layout<'_>, at: At) -> Vec<At> {
    let counts = |child: &Place<'_>| child.limit().is_none() && !child.is(Restart::Temporary);
    layout.places[at].children.iter().copied().filter(|&child| counts(&layout.places[child])).collect()
}

/// Whether there is anything to count or to mark.
fn has_meter(layout: &Layout<'_>, at: At) -> bool {
    layout.strategy(at) == Some(Strategy::SimpleOneForOne) || !counted(layout, at).is_empty()
}

/// Whether a supervisor can give up, by its own account or by a child's.
fn may_give_up(layout: &Layout<'_>, at: At) -> bool {
    let escalates =
        |child: &At| layout.places[*child].limit().is_some_and(|limit| limit.exhausted != Exhausted::Park);
    has_meter(layout, at) || layout.places[at].children.iter().any(escalates)
}

/// Meter and abort of a supervisor.
pub fn of_supervisor(layout: &Layout<'_>, at: At, supervisor: &Supervisor, options: &Options) -> Vec<Unit> {
    let place = &layout.places[at];
    let counted = counted(layout, at);
    let mut unit = helper(place, "meter", "counts restarts", options);
    unit.set(Section::Unit, "After", place.unit.clone(), "", "its marks lie in the directory of the anchor");
    gives_up(&mut unit, format!("{}-abort.service", place.stem));
    let group = if supervisor.strategy == Strategy::SimpleOneForOne {
        Group::Pool
    } else if place.children.iter().any(|&child| is_blocked_in_groups(layout, child)) {
        Group::Told
    } else {
        Group::None
    };
    let script = script(layout, &counted, "", group, options);
    let limits = (supervisor.intensity, supervisor.period);
    count(layout, &mut unit, &script, &place.state(), limits, &counted, "intensity");
    let mut units = Vec::new();
    if has_meter(layout, at) {
        units.push(unit);
    }
    units.push(abort(layout, place, supervisor, options));
    units.extend(supervisor.retry_after.map(|after| retry(place, place, after, options)));
    units
}

/// The meter of a child's own account, and the retry of a parked one.
pub fn of_limit(layout: &Layout<'_>, at: At, limit: &Limit, options: &Options) -> Vec<Unit> {
    let place = &layout.places[at];
    let Some((parent, _)) = layout.above(at) else { return Vec::new() };
    let above = &layout.places[parent];
    let mut unit = helper(place, "meter", "counts its restarts", options);
    let after = format!("{} {}-meter.service", above.unit, above.stem);
    unit.set(Section::Unit, "After", after, "", "its marks lie in the directory of the anchor");
    match (limit.exhausted, limit.retry_after) {
        (Exhausted::Park, None) => {}
        (Exhausted::Park, Some(_)) => gives_up(&mut unit, format!("{}-retry.service", place.stem)),
        _ => gives_up(&mut unit, format!("{}-abort.service", above.stem)),
    }
    let siblings: Vec<At> = layout.places[parent].children.iter().copied().filter(|&c| c != at).collect();
    if !layout.dragged(at).is_empty() {
        let siblings = layout.units(siblings.into_iter().filter(|&sibling| !layout.is_template(sibling)));
        let rule = "it counts before anybody of its group starts";
        unit.set(Section::Unit, "Before", siblings, "limit", rule);
    }
    let of = format!("-{}", place.mark());
    let told = above.children.iter().any(|&child| is_blocked_in_groups(layout, child));
    let group = if told { Group::Added } else { Group::None };
    let mut script = script(layout, &[at], &of, group, options);
    if limit.exhausted != Exhausted::Park {
        script = script.replace("exit 1; }", "true >over; exit 1; }");
    }
    count(layout, &mut unit, &script, &above.state(), (limit.intensity, limit.period), &[at], "limit");
    let mut units = vec![unit];
    if let (Exhausted::Park, Some(after)) = (limit.exhausted, limit.retry_after) {
        units.push(retry(place, above, after, options));
    }
    units
}

/// What a meter does about the mark `group`.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    /// Nobody looks at it.
    None,
    /// It says whether this is an automatic restart.
    Told,
    /// The supervisor's meter, which runs before, has taken it away; it is set for a restart by this account.
    Added,
    /// Instances do not start with their supervisor, but by hand and after their own crashes.
    Pool,
}

fn script(layout: &Layout<'_>, counted: &[At], of: &str, group: Group, options: &Options) -> String {
    let mut script = SCAN.to_owned();
    if !of.is_empty() {
        script.push_str("[ ! -e overOF ] || { rm overOF; true >restartsOF; exit 0; }; ");
    }
    let first = if group == Group::Pool { "true >group; " } else { "" };
    script.push_str(&format!("[ -e restartsOF ] || {{ true >restartsOF; {first}exit 0; }}; "));
    script.push_str(match group {
        Group::None => "",
        Group::Told => "if [ $n = 0 ]; then rm -f group; else true >group; fi; ",
        Group::Added => "[ $n = 0 ] || true >group; ",
        Group::Pool => "rm -f group; ",
    });
    if counted.iter().any(|&child| delay::backoff(&layout.places[child]).is_some()) {
        script.push_str("for u in $hit; do true >\"hit-$u\"; done; ");
    }
    script.push_str(COUNT);
    script.replace("OF", of).replace("CTL", systemctl(options))
}

fn count(
    layout: &Layout<'_>,
    unit: &mut Unit,
    script: &str,
    state: &str,
    (intensity, period): (u32, u32),
    counted: &[At],
    key: &'static str,
) {
    let units: Vec<String> =
        counted.iter().map(|&child| layout.places[child].unit.replace("@.", "@*.")).collect();
    let command = escape::command("", &["/bin/sh", "-c", script]);
    let counted = escape::command("", &units);
    unit.set(
        Section::Service,
        "ExecStart",
        format!("{command} {state} {intensity} {period} {counted}").trim_end(),
        key,
        "more than intensity restarts within period: give up; counted as OTP counts",
    );
}

fn gives_up(unit: &mut Unit, then: String) {
    unit.set(
        Section::Unit,
        "OnFailure",
        then,
        "exhausted",
        "more restarts than intensity: what giving up means",
    );
}

fn abort(layout: &Layout<'_>, place: &Place<'_>, supervisor: &Supervisor, options: &Options) -> Unit {
    let mut unit = helper(place, "abort", "gives up", options);
    let ctl = systemctl(options);
    let anchor = escape::word(&place.unit);
    let parks = supervisor.exhausted == Exhausted::Park;
    let mut run = |command: String, rule| {
        unit.set(Section::Service, "ExecStart", command, "exhausted", rule);
    };
    if place.parent.is_none() {
        run(format!("{ctl} stop {anchor}"), "the root gives up: all is stopped in reverse order");
    } else {
        // The target takes all below it along in one transaction; the children are named to be waited for.
        let mut below = vec![format!("{}.target", place.stem)];
        below.extend(place.children.iter().map(|&child| layout.places[child].unit.replace("@.", "@*.")));
        let below = escape::command("", &below);
        run(format!("{ctl} stop {below}"), "what is left below stops, in one go and in reverse order");
        let (signal, rule) = if parks {
            ("USR1", "parked: the anchor ends with the one status after which it is not started again")
        } else {
            ("TERM", "the supervisor ends, calmly; the one above does what its restart type says")
        };
        run(format!("{ctl} kill --kill-whom=main -s {signal} {anchor}"), rule);
    }
    if supervisor.retry_after.is_some() {
        let retry = escape::word(&format!("{}-retry.service", place.stem));
        unit.set(
            Section::Service,
            "ExecStart",
            format!("{ctl} --no-block start {retry}"),
            "retry_after",
            "a parked supervisor is tried again after this time",
        );
    }
    if supervisor.exhausted == Exhausted::Reboot && options.scope == Scope::System {
        let rule = "the machine is rebooted when all has stopped";
        unit.set(Section::Unit, "SuccessAction", "reboot", "exhausted", rule);
    }
    unit
}

/// Starts what is parked after a time, unless what is above stops before.
fn retry(place: &Place<'_>, above: &Place<'_>, after: Duration, options: &Options) -> Unit {
    let mut unit = helper(place, "retry", "tried again", options);
    if place.parent.is_some() {
        let rule = "nobody waits for what is stopped as a whole";
        unit.set(Section::Unit, "PartOf", above.unit.clone(), "retry_after", rule);
    }
    let rule = "a parked child is tried again after this time, its account empty";
    let sleep = format!("/usr/bin/sleep {}", after.as_secs_f64());
    unit.set(Section::Service, "ExecStart", sleep, "retry_after", rule);
    let start = format!("{} --no-block start {}", systemctl(options), escape::word(&place.unit));
    unit.set(Section::Service, "ExecStart", start, "retry_after", rule);
    unit
}

/// A one-shot that belongs to a child.
pub fn helper(place: &Place<'_>, what: &str, does: &str, options: &Options) -> Unit {
    let mut unit = Unit::new(format!("{}-{what}.service", place.stem), place.path.clone());
    line::description(&mut unit, &format!("{}: {does}", place.path), options);
    unit.set(Section::Unit, "StartLimitIntervalSec", "0", "", "it runs as often as it is needed");
    unit.set(Section::Service, "Type", "oneshot", "", "it does its work and ends");
    unit.set(Section::Service, "SuccessExitStatus", "SIGTERM", "", "one that is stopped has not failed");
    unit
}

/// `systemctl` for the manager that reads the units.
pub fn systemctl(options: &Options) -> &'static str {
    match options.scope {
        Scope::System => "/usr/bin/systemctl",
        Scope::User => "/usr/bin/systemctl --user",
    }
}

impl Place<'_> {
    /// Its own account of restarts.
    pub fn limit(&self) -> Option<&Limit> {
        match self.what {
            What::Worker(worker) | What::Template(worker) => worker.limit.as_ref(),
            What::Supervisor(_) => None,
        }
    }
}
