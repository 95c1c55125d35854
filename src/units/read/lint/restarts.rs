//! Restart, its limits, and what hangs on the failure.

use std::time::Duration;

use super::super::values::{self, INFINITY};
use super::{Findings, Level, Pitfall};
use crate::tree::units::show;

const LIMIT_AT_ONCE: Pitfall = Pitfall {
    name: "limit-at-once",
    level: Level::Note,
    means: "restarts follow so closely that a fault of a second uses up the start limit: the unit stays failed until \
            a person starts it",
    remedy: "a longer RestartSec=, or a longer StartLimitIntervalSec= with more StartLimitBurst=",
};
const RESTART_STORM: Pitfall = Pitfall {
    name: "restart-storm",
    level: Level::Warning,
    means: "RestartSec=0 without a start limit: a unit that cannot start is started again and again without a pause",
    remedy: "a RestartSec= of 100ms at least",
};
const LIMIT_NEVER: Pitfall = Pitfall {
    name: "limit-never",
    level: Level::Warning,
    means: "RestartSec= spreads the restarts wider than the start limit counts: it can never be reached",
    remedy: "StartLimitIntervalSec= longer than RestartSec= times StartLimitBurst=",
};
const ON_FAILURE_NEVER: Pitfall = Pitfall {
    name: "on-failure-never",
    level: Level::Warning,
    means: "before systemd 254 OnFailure= is triggered only when restarts have come to an end; with a limit that \
            cannot be reached it never is",
    remedy: "a start limit that is reached, or ExecStopPost= that looks at $SERVICE_RESULT",
};
const ON_FAILURE_OFTEN: Pitfall = Pitfall {
    name: "on-failure-each-crash",
    level: Level::Note,
    means: "from systemd 254 on OnFailure= is triggered at every crash that is restarted, and again at the start \
            limit; before, at the limit alone",
    remedy: "RestartMode=direct, or the hook on a unit without Restart=",
};
const ON_SUCCESS_OFTEN: Pitfall = Pitfall {
    name: "on-success-each-restart",
    level: Level::Note,
    means: "systemd 252 triggers OnSuccess= at systemctl stop and at the restart of a crashed unit as well",
    remedy: "ask for $MONITOR_EXIT_STATUS in the hook",
};
const REMAINS: Pitfall = Pitfall {
    name: "remains-instead-of-restart",
    level: Level::Warning,
    means: "RemainAfterExit= with Restart=: after a clean end the unit is active (exited) and is never restarted",
    remedy: "RemainAfterExit=no, unless Type=oneshot",
};
const KILL_SIGNAL: Pitfall = Pitfall {
    name: "kill-signal-incomplete",
    level: Level::Warning,
    means: "KillSignal=SIGKILL alone leaves the unit failed after each stop; with SuccessExitStatus=SIGKILL alone a \
            crash by SIGKILL is no longer restarted",
    remedy: "KillSignal=SIGKILL with SuccessExitStatus=SIGKILL and RestartForceExitStatus=SIGKILL",
};
const STEPS_ALONE: Pitfall = Pitfall {
    name: "steps-alone",
    level: Level::Error,
    means: "RestartSteps= and RestartMaxDelaySec= only work together: one alone is ignored, the delay does not grow",
    remedy: "both, or none",
};
const OLD_LIMIT: Pitfall = Pitfall {
    name: "limit-in-service",
    level: Level::Note,
    means: "StartLimitBurst= and StartLimitInterval= are still read in [Service], StartLimitIntervalSec= is not: a \
            line moved or renamed by half is lost",
    remedy: "[Unit] StartLimitIntervalSec= and StartLimitBurst=",
};

pub const ALL: &[&Pitfall] = &[
    &LIMIT_AT_ONCE,
    &RESTART_STORM,
    &LIMIT_NEVER,
    &ON_FAILURE_NEVER,
    &ON_FAILURE_OFTEN,
    &ON_SUCCESS_OFTEN,
    &REMAINS,
    &KILL_SIGNAL,
    &STEPS_ALONE,
    &OLD_LIMIT,
];

/// A fault shorter than this is common: a host that boots, a name server that restarts.
const HICCUP: Duration = Duration::from_secs(2);

pub fn unit(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let Some(service) = &scene.units[at].service else { return };
    let (loaded, own) = (&scene.units[at].loaded, scene.name(at));
    limit(findings, at);
    let old = |key: &&str| loaded.last("Service", key).is_some();
    if let Some(key) = ["StartLimitBurst", "StartLimitInterval"].into_iter().find(old) {
        findings.key(&OLD_LIMIT, at, ("Service", key), format!("{key}= belongs into [Unit]"));
    }
    if service.remains && service.kind != "oneshot" && matches!(&*service.restart, "always" | "on-success") {
        let message = format!(
            "when {own} ends well it is active (exited), and Restart={} is not obeyed",
            service.restart
        );
        findings.key(&REMAINS, at, ("Service", "RemainAfterExit"), message);
    }
    kill_signal(findings, at);
    let said = |key| loaded.last("Service", key).is_some();
    if scene.release.0 >= 254 && said("RestartSteps") != said("RestartMaxDelaySec") {
        let key = if said("RestartSteps") { "RestartSteps" } else { "RestartMaxDelaySec" };
        findings.key(&STEPS_ALONE, at, ("Service", key), format!("{key}= alone is ignored"));
    }
    if let Some(edge) =
        scene.said(at, &["OnFailure"]).next().filter(|_| service.restarts() && !service.direct)
    {
        let other = &edge.name;
        if scene.release.0 >= 254 {
            let message = format!("{other} is started at every crash of {own}, not only when it is given up");
            findings.say(&ON_FAILURE_OFTEN, at, scene.at(edge, message));
        } else if !service.limit_is_reached() {
            let message = format!("{own} crashes and is restarted for ever: {other} is never started");
            findings.say(&ON_FAILURE_NEVER, at, scene.at(edge, message));
        }
    }
    if let Some(edge) =
        scene.said(at, &["OnSuccess"]).next().filter(|_| service.restarts() && scene.release.0 < 254)
    {
        let message = format!("{} is started at each crash of {own} too", edge.name);
        findings.say(&ON_SUCCESS_OFTEN, at, scene.at(edge, message));
    }
}

fn limit(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let Some(service) = scene.units[at].service.as_ref().filter(|service| service.restarts()) else { return };
    let own = scene.name(at);
    let restart = ("Service", "Restart");
    let Some((starts, interval)) = service.limit else {
        // Counted by another unit that it waits for and that gives up, or a program that only sleeps.
        let counted = scene.said(at, &["Wants", "Requires"]).filter_map(|edge| edge.to).any(|other| {
            scene.is_after(at, other)
                && scene.units[other].service.as_ref().is_some_and(|s| s.kind == "oneshot")
        });
        let start = scene.units[at].loaded.commands("Service", "ExecStart");
        let sleeps = start.first().is_some_and(|(_, command)| command.program.ends_with("/sleep"));
        if service.delay.is_zero() && service.kind != "oneshot" && !counted && !sleeps {
            let message = format!("{own} is restarted without a pause and without an end");
            findings.key(&RESTART_STORM, at, ("Service", "RestartSec"), message);
        }
        return;
    };
    if !service.limit_is_reached() && service.limit_said && interval != INFINITY {
        let key = if scene.units[at].loaded.last("Unit", "StartLimitBurst").is_some() {
            "StartLimitBurst"
        } else {
            "StartLimitIntervalSec"
        };
        let message = format!(
            "{starts} starts take {} at least, the limit counts {}: it is never reached",
            show(service.delay.saturating_mul(starts)),
            show(interval)
        );
        findings.key(&LIMIT_NEVER, at, ("Unit", key), message);
    }
    let over = service.delay.saturating_mul(starts);
    if service.limit_is_reached() && over < HICCUP && service.kind != "oneshot" {
        let message = if over.is_zero() {
            format!("a fault that lasts a moment uses up {starts} starts: {own} stays failed")
        } else {
            format!("a fault that lasts {} uses up {starts} starts: {own} stays failed", show(over))
        };
        findings.key(&LIMIT_AT_ONCE, at, restart, message);
    }
}

fn kill_signal(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    let (loaded, own) = (&scene.units[at].loaded, scene.name(at));
    let Some(service) = &scene.units[at].service else { return };
    let kill = loaded.last("Service", "KillSignal").and_then(|a| values::signal(&a.value));
    let listed =
        |key| loaded.words("Service", key).iter().any(|(_, word)| values::signal(&word.text) == Some(9));
    let message = match (listed("SuccessExitStatus"), listed("RestartForceExitStatus")) {
        (false, _) => format!("each stop leaves {own} failed (Result=signal)"),
        (true, false) if service.restart == "on-failure" => {
            format!("{own} killed by SIGKILL from elsewhere counts as a clean end and is not restarted")
        }
        _ => return,
    };
    if kill == Some(9) {
        findings.key(&KILL_SIGNAL, at, ("Service", "KillSignal"), message);
    }
}
