//! Intensity: the meter of a supervisor counts, its abort gives up.
//!
//! Every child that can restart wants the meter and starts behind it. So a crash, with all that restarts because of it,
//! is one transaction with one run of the meter in it: after the group has stopped, before anything starts. It adds up
//! what systemd itself has restarted since the last run (`NRestarts`, which is set back), so that starts and restarts by
//! hand do not count, and two crashes at once count twice where they are two restarts. The times are kept as OTP keeps
//! them: whole seconds of the monotonic clock, in a window that slides. The first run of an incarnation counts nothing.
//!
//! ```text
//! restarts   times of the restarts within the period; not there: nothing has started yet
//! group      the last run was for an automatic restart: temporary children do not start
//! over       more than intensity: nothing below starts any more
//! ```
//!
//! The marks lie in the runtime directory of the anchor and go with it: a new incarnation begins with an empty window.
//! One restart too many: the meter fails, and its `OnFailure=` is the abort. It ends a permanent supervisor by ending its
//! anchor, which is a calm end as in OTP; the supervisor above restarts it and counts. One that would not be restarted is
//! taken down child by child, its anchor last, so that no sibling is touched.

use woodward_engine::spec::{Exhausted, Restart, Supervisor};

use super::layout::{At, Layout, Place};
use super::line;
use crate::units::{Options, Scope, Section, Unit, escape};

/// The script of every meter: directory, intensity, period, then the units it counts.
const COUNT: &str = r#"cd "$0" || exit 1; i=$1 p=$2 n=0 k=0 hit= kept=; shift 2; \
for w in $(CTL show -p NRestarts -p Id "$@"); do case $w in NRestarts=*) c=${w#*=};; \
Id=*) [ "$c" = 0 ] || { hit="$hit ${w#*=}"; n=$((n+c)); };; esac; done; \
[ -z "$hit" ] || CTL reset-failed $hit; \
[ -e restarts ] || { : >restarts; exit 0; }; \
[ $n = 0 ] && rm -f group || : >group; \
read t _ </proc/uptime; t=${t%%.*}; \
for s in $(cat restarts); do [ $((t-s)) -gt $p ] || { kept="$kept $s"; k=$((k+1)); }; done; \
while [ $n -gt 0 ]; do kept="$kept $t"; k=$((k+1)); n=$((n-1)); done; \
echo $kept >restarts; [ $k -le $i ] || { : >over; exit 1; }"#;

/// Says in the unit of a child that its supervisor's meter runs before it.
pub fn of_child(layout: &Layout<'_>, at: At, unit: &mut Unit) {
    let Some(parent) = layout.places[at].parent else { return };
    let meter = format!("{}-meter.service", layout.places[parent].stem);
    let rule = "restarts of the children are counted, and the first too many is not carried out";
    unit.set(Section::Unit, "Wants", meter.clone(), "intensity", rule);
    unit.set(Section::Unit, "After", meter, "intensity", rule);
}

/// Meter and abort of a supervisor.
pub fn units(layout: &Layout<'_>, at: At, supervisor: &Supervisor, options: &Options) -> Vec<Unit> {
    let place = &layout.places[at];
    vec![meter(layout, place, supervisor, options), abort(layout, place, supervisor, options)]
}

fn meter(layout: &Layout<'_>, place: &Place<'_>, supervisor: &Supervisor, options: &Options) -> Unit {
    let mut unit = helper(place, "meter", "counts restarts", options);
    unit.set(Section::Unit, "After", place.unit.clone(), "", "its marks lie in the directory of the anchor");
    unit.set(
        Section::Unit,
        "OnFailure",
        format!("{}-abort.service", place.stem),
        "intensity",
        "more restarts than this: the supervisor gives up",
    );
    let counted: Vec<String> = (place.children.iter())
        .filter(|&&child| !layout.places[child].is(Restart::Temporary))
        .map(|&child| layout.places[child].unit.replace("@.", "@*."))
        .collect();
    let script = COUNT.replace("\\\n", "").replace("CTL", systemctl(options));
    let command = escape::command("", &["/bin/sh".into(), "-c".into(), script]);
    unit.set(
        Section::Service,
        "ExecStart",
        format!(
            "{command} {} {} {} {}",
            place.state(),
            supervisor.intensity,
            supervisor.period,
            escape::command("", &counted)
        )
        .trim_end(),
        "intensity",
        "more than intensity restarts within period: give up; counted as OTP counts",
    );
    unit
}

fn abort(layout: &Layout<'_>, place: &Place<'_>, supervisor: &Supervisor, options: &Options) -> Unit {
    let mut unit = helper(place, "abort", "gives up", options);
    let ctl = systemctl(options);
    let mut run = |command: String, rule| {
        unit.set(Section::Service, "ExecStart", command, "exhausted", rule);
    };
    let anchor = escape::word(&place.unit);
    if place.parent.is_none() {
        run(format!("{ctl} stop {anchor}"), "the root gives up: all is stopped in reverse order");
        return unit;
    }
    let parks = supervisor.exhausted == Exhausted::Park;
    if !parks && place.is(Restart::Permanent) {
        run(
            format!("{ctl} kill --kill-whom=main -s TERM {anchor}"),
            "the supervisor ends; the one above restarts it with all below, and counts",
        );
        return unit;
    }
    let below = layout.units(place.children.iter().copied()).replace("@.", "@*.");
    run(format!("{ctl} stop {}", below), "what is left below stops, in reverse order");
    let (signal, rule) = if parks {
        ("USR1", "parked: the anchor ends with the one status after which it is not started again")
    } else {
        ("TERM", "the supervisor ends calmly: its restart type says that it stays down")
    };
    run(format!("{ctl} kill --kill-whom=main -s {signal} {anchor}"), rule);
    unit
}

/// A one-shot of a supervisor's own.
fn helper(place: &Place<'_>, what: &str, does: &str, options: &Options) -> Unit {
    let mut unit = Unit::new(format!("{}-{what}.service", place.stem), place.path.clone());
    line::description(&mut unit, &format!("{}: {does}", place.path), options);
    unit.set(Section::Unit, "StartLimitIntervalSec", "0", "", "it runs as often as it is needed");
    unit.set(Section::Service, "Type", "oneshot", "", "it does its work and ends");
    unit
}

/// `systemctl` for the manager that reads the units.
pub fn systemctl(options: &Options) -> &'static str {
    match options.scope {
        Scope::System => "/usr/bin/systemctl",
        Scope::User => "/usr/bin/systemctl --user",
    }
}
