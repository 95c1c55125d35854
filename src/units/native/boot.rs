//! `initial_start = "fail"`: a child that fails in the first start of its supervisor takes back what has started.
//!
//! A child that has been ready once in this incarnation leaves the mark `up-UNIT`, made by the last `ExecStartPost=`. An
//! end that is no success, without that mark, is a failed first start: the supervisor is over, so that nothing below it
//! starts any more, and gives up as if its intensity were exceeded. If a supervisor above it is in its own first start
//! still, which its target tells, that one has failed as well, up to the first that retries or has been up.

use std::fmt::Write as _;

use woodward_engine::spec::{InitialStart, Strategy, Supervisor};

use super::layout::{At, Layout, What};
use super::meter::systemctl;
use crate::units::{Options, Scope, Section, Unit, escape};

/// Leaves the mark. `$0`: where the marks are, `$1`: the unit's.
pub const UP: &str = r#"true >"$0/up-$1" || exit 0"#;

/// Writes what a failed first start of a worker ends.
pub fn lines(layout: &Layout<'_>, at: At, options: &Options, unit: &mut Unit) {
    let place = &layout.places[at];
    let Some((parent, supervisor)) = layout.above(at) else { return };
    if !matches!(place.what, What::Worker(_)) || !fails(supervisor) {
        return;
    }
    let prefix = if options.scope == Scope::System { "+" } else { "" };
    let mut set = |key: &'static str, script: &str, rule: &'static str| {
        let command = escape::command(prefix, &["/bin/sh", "-c", script]);
        let (state, mark) = (layout.places[parent].state(), place.mark());
        unit.set(Section::Service, key, format!("{command} {state} {mark}"), "initial_start", rule);
    };
    let rule = "it has been ready in this incarnation: what follows is no first start";
    set("ExecStartPost", UP, rule);
    let rule = "a failed first start takes back what has started before";
    set("ExecStopPost", &roll_back(layout, parent, options), rule);
}

/// Whether a failed first start is its own.
fn fails(supervisor: &Supervisor) -> bool {
    supervisor.initial_start == InitialStart::Fail && supervisor.strategy != Strategy::SimpleOneForOne
}

fn roll_back(layout: &Layout<'_>, parent: At, options: &Options) -> String {
    let ctl = systemctl(options);
    let mut script =
        r#"[ "$SERVICE_RESULT" = success ] || [ -e "$0/up-$1" ] || [ ! -d "$0" ] && exit 0; "#.to_owned();
    script.push_str(r#"true >"$0/over"; "#);
    let stem = |at: At| escape::shell(&layout.places[at].stem);
    let mut put = |text: std::fmt::Arguments<'_>| script.write_fmt(text).expect("a string takes everything");
    put(format_args!("s={}; while :; do ", stem(parent)));
    let mut below = parent;
    while let Some((above, _)) = layout.above(below).filter(|(_, supervisor)| fails(supervisor)) {
        let target = escape::shell(&format!("{}.target", layout.places[above].stem));
        put(format_args!("{ctl} -q is-active {target} && break; s={}; ", stem(above)));
        below = above;
    }
    put(format_args!("break; done; {ctl} --no-block start \"$s-abort.service\""));
    script
}
