//! Back-off: a unit that waits before a child that crashed.
//!
//! The child's siblings stop at once, and only the start waits: so it is not `RestartSec=`, which would let them run on,
//! but a one-shot that the child wants and starts behind. It runs before every start and returns at once unless the meter
//! has marked the child as crashed. Restart n comes at once while n < immediate, else after first * factor^(n -
//! immediate), at most max, from the end of the process on; n is 0 again when the child was up for reset_after. Under
//! `one_for_all` everybody waits, so the supervisor has one for all; else those behind the child wait by their order.

use woodward_engine::spec::{Backoff, Restart, Strategy};

use super::layout::{At, Layout, Place};
use super::meter::{helper, systemctl};
use crate::units::{Options, Section, Unit, escape};

/// Directory, then per child: unit, immediate, first, factor in percent, max, reset_after, jitter in percent; times in
/// milliseconds. The number of the process is what jitter is made of.
const WAIT: &str = r#"cd "$0" || exit 0; left=0; while [ $# -gt 0 ]; do if [ -e "hit-$1" ]; then rm "hit-$1"; n=0 b=0 x=0 e=0 a=0; [ ! -e "tries-$1" ] || read n <"tries-$1"; for w in $(CTL show -p ExecMainStartTimestampMonotonic -p ExecMainExitTimestampMonotonic -p ActiveEnterTimestampMonotonic -p ActiveExitTimestampMonotonic "$1"); do v=$((${w#*=}/1000)); case $w in ExecMainS*) b=$v;; ExecMainE*) x=$v;; ActiveEn*) e=$v;; ActiveEx*) a=$v;; esac; done; [ $e -lt $b ] || [ $((a-e)) -lt $6 ] || n=0; echo $((n+1)) >"tries-$1"; if [ $n -ge $2 ]; then d=$3; while [ $n -gt $2 ] && [ $d -lt $5 ]; do d=$((d*$4/100)) n=$((n-1)); done; [ $d -le $5 ] || d=$5; d=$((d*(100-$7+($$*7919)%($7*2+1))/100)); read t _ </proc/uptime; t=$((${t%.*}*1000+1${t#*.}0-1000)); l=$((x+d-t)); [ $l -le $left ] || left=$l; fi; fi; shift 7; done; [ $left = 0 ] || exec sleep $((left/1000)).$(printf %03d $((left%1000)))"#;

/// The delays of a child, if it has any.
pub fn backoff<'p>(place: &Place<'p>) -> Option<&'p Backoff> {
    let child = place.child.filter(|child| child.restart != Restart::Temporary)?;
    child.backoff.as_ref().filter(|backoff| !backoff.first.min(backoff.max).is_zero())
}

/// Says in the unit of a child that a delay goes before it.
pub fn of_child(layout: &Layout<'_>, at: At, unit: &mut Unit) {
    let place = &layout.places[at];
    let Some((parent, supervisor)) = layout.above(at) else { return };
    let delay = if supervisor.strategy == Strategy::OneForAll {
        let siblings = &layout.places[parent].children;
        if !siblings.iter().any(|&sibling| backoff(&layout.places[sibling]).is_some()) {
            return;
        }
        format!("{}-delay.service", layout.places[parent].stem)
    } else if backoff(place).is_some() && !layout.is_template(at) {
        format!("{}-delay.service", place.stem)
    } else {
        return;
    };
    let rule = "its group stops at once, its start waits for the back-off";
    unit.set(Section::Unit, "Wants", delay.clone(), "backoff", rule);
    unit.set(Section::Unit, "After", delay, "backoff", rule);
}

/// The delay beside a child, or that of a whole group beside its supervisor.
pub fn units(layout: &Layout<'_>, at: At, options: &Options) -> Option<Unit> {
    let place = &layout.places[at];
    let all = |at: At| layout.strategy(at) == Some(Strategy::OneForAll);
    if all(at) {
        let waiting: Vec<At> =
            place.children.iter().copied().filter(|&c| backoff(&layout.places[c]).is_some()).collect();
        let own = (!waiting.is_empty()).then(|| unit(layout, at, place, &waiting, options));
        if own.is_some() {
            return own;
        }
    }
    let (parent, _) = layout.above(at)?;
    if all(parent) || backoff(place).is_none() || layout.is_template(at) {
        return None;
    }
    Some(unit(layout, parent, place, &[at], options))
}

fn unit(layout: &Layout<'_>, supervisor: At, beside: &Place<'_>, waiting: &[At], options: &Options) -> Unit {
    let above = &layout.places[supervisor];
    let mut unit = helper(beside, "delay", "waits before a restart", options);
    let mut meters = vec![format!("{}-meter.service", above.stem)];
    meters.extend(
        (waiting.iter().map(|&child| &layout.places[child]))
            .filter(|child| child.limit().is_some())
            .map(|child| format!("{}-meter.service", child.stem)),
    );
    let rule = "the meter has marked who crashed";
    unit.set(Section::Unit, "After", format!("{} {}", above.unit, meters.join(" ")), "backoff", rule);
    let mut over: Vec<At> = above.ancestors.clone();
    over.push(supervisor);
    let rule = "a restart that is not wanted any more is not waited for";
    unit.set(Section::Unit, "PartOf", layout.units(over), "backoff", rule);
    let script = WAIT.replace("CTL", systemctl(options));
    let mut command = format!("{} {}", escape::command("", &["/bin/sh", "-c", &script]), above.state());
    for &child in waiting {
        let place = &layout.places[child];
        let Some(backoff) = backoff(place) else { continue };
        let percent = (backoff.factor.clamp(1.0, 1e6) * 100.0).round();
        command.push_str(&format!(
            " {} {} {} {percent} {} {} {}",
            escape::word(&place.unit),
            backoff.immediate,
            backoff.first.as_millis(),
            backoff.max.as_millis(),
            backoff.reset_after.as_millis(),
            backoff.jitter_percent,
        ));
    }
    unit.set(Section::Service, "ExecStart", command, "backoff", "at once, then longer and longer");
    unit
}
