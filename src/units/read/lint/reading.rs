//! What systemd does not read as it was meant.

use super::super::keys::{self, Wrong};
use super::super::scene::{RESTARTS, TYPES};
use super::super::text::Assignment;
use super::super::values;
use super::{Findings, Level, Pitfall};
use crate::tree::{Severity, nearest};

const UNREADABLE: Pitfall = Pitfall {
    name: "unreadable",
    level: Level::Error,
    means: "a line, word, quote or escape that systemd ignores; in a command line it refuses the unit",
    remedy: "",
};
const UNKNOWN_KEY: Pitfall = Pitfall {
    name: "unknown-key",
    level: Level::Error,
    means: "a key that no release has: systemd ignores the line and says so in the journal only",
    remedy: "",
};
const WRONG_SECTION: Pitfall = Pitfall {
    name: "wrong-section",
    level: Level::Error,
    means: "a key in a section that does not have it is ignored, such as StartLimitIntervalSec in [Service]",
    remedy: "",
};
const YOUNGER_KEY: Pitfall = Pitfall {
    name: "younger-key",
    level: Level::Error,
    means: "a key that a later release brought: this one ignores the line, and the unit runs without it",
    remedy: "",
};
const BAD_VALUE: Pitfall = Pitfall {
    name: "bad-value",
    level: Level::Error,
    means: "a value that this release does not know: the line is ignored, and the default holds",
    remedy: "",
};
const REFUSED: Pitfall = Pitfall {
    name: "refused",
    level: Level::Error,
    means: "systemd refuses the unit: it cannot be started at all",
    remedy: "",
};
const NO_INSTANCE: Pitfall = Pitfall {
    name: "template-without-instance",
    level: Level::Warning,
    means: "a dependency on a template takes the name of the unit that says it as the instance",
    remedy: "write the instance: name@instance.service, or name@%i.service in a template",
};
const NOBODY: Pitfall = Pitfall {
    name: "nobody",
    level: Level::Warning,
    means: "a requirement on a unit that has no file: every start fails with \"Unit not found\"",
    remedy: "Wants= where it may be missing",
};

pub const ALL: &[&Pitfall] =
    &[&UNREADABLE, &UNKNOWN_KEY, &WRONG_SECTION, &YOUNGER_KEY, &BAD_VALUE, &REFUSED, &NO_INSTANCE, &NOBODY];

pub fn unit(findings: &mut Findings<'_>, at: usize) {
    let loaded = &findings.unit(at).loaded;
    for said in loaded.diagnostics.iter().cloned().chain(loaded.problems()) {
        findings.say(&UNREADABLE, at, said);
    }
    for assignment in &loaded.assignments {
        key(findings, at, assignment);
        value(findings, at, assignment);
    }
    commands(findings, at);
    forced(findings, at);
    dependencies(findings, at);
}

fn key(findings: &mut Findings<'_>, at: usize, assignment: &Assignment) {
    let (release, loaded) = (findings.scene.release, &findings.unit(at).loaded);
    let Some(wrong) = keys::wrong(&loaded.name.kind, assignment, release) else { return };
    let Some(mut said) = keys::check(&loaded.name.kind, assignment, release) else { return };
    let pitfall = match wrong {
        Wrong::Younger(_) => &YOUNGER_KEY,
        Wrong::Unknown(_) => &UNKNOWN_KEY,
        Wrong::Section | Wrong::Elsewhere(_) => &WRONG_SECTION,
    };
    let instead = match &*assignment.key {
        "StartLimitIntervalSec" => "; the interval stays 10s",
        "RestartMode" => "; restarts are told to dependents as always",
        "RestartSteps" | "RestartMaxDelaySec" => "; the delay does not grow",
        _ => "",
    };
    said.message += instead;
    findings.say(pitfall, at, said);
}

/// Keys with a span of time, by their ending; these are no spans.
const NO_SPANS: &[&str] = &["CPUQuotaPeriodSec"];

/// Keys with a truth.
const BOOLEANS: &[&str] = &[
    "RemainAfterExit",
    "DefaultDependencies",
    "StopWhenUnneeded",
    "RefuseManualStart",
    "RefuseManualStop",
    "SendSIGKILL",
    "SendSIGHUP",
    "GuessMainPID",
    "NoNewPrivileges",
    "DynamicUser",
    "IgnoreSIGPIPE",
    "Accept",
    "Persistent",
];

fn value(findings: &mut Findings<'_>, at: usize, a: &Assignment) {
    let (release, loaded) = (findings.scene.release, &findings.unit(at).loaded);
    let value = loaded.name.expand(&a.value).0;
    if value.is_empty() || value.contains('%') || keys::wrong(&loaded.name.kind, a, release).is_some() {
        return;
    }
    let words: Option<Vec<&str>> = match &*a.key {
        "Type" if a.section == "Service" => {
            Some(TYPES.iter().filter(|(_, since)| *since <= release.0).map(|(name, _)| *name).collect())
        }
        "Restart" => Some(RESTARTS.to_vec()),
        "KillMode" => Some(vec!["control-group", "mixed", "process", "none"]),
        "NotifyAccess" => Some(vec!["none", "main", "exec", "all"]),
        "OOMPolicy" => Some(vec!["continue", "stop", "kill"]),
        "ExitType" => Some(vec!["main", "cgroup"]),
        "RestartMode" if release.0 >= 257 => Some(vec!["normal", "direct", "debug"]),
        "RestartMode" => Some(vec!["normal", "direct"]),
        _ => None,
    };
    if let Some(words) = words {
        if !words.contains(&&*value) {
            let mut said = a.whole(Severity::Error, format!("systemd {release} ignores {}={value}", a.key));
            if let Some((_, since)) = TYPES.iter().find(|(name, _)| *name == value && a.key == "Type") {
                said.message += ": the type is \"simple\", without a notify socket";
                said.hint = Some(format!("systemd {since} brought it"));
            } else {
                said.hint =
                    nearest(&value, words.iter().copied()).map(|near| format!("did you mean {near}?"));
                said.allowed = Some(words.join(", "));
            }
            findings.say(&BAD_VALUE, at, said);
        }
        return;
    }
    let wrong = match &*a.key {
        key if BOOLEANS.contains(&key) => values::boolean(&value).is_none(),
        key if key.ends_with("Sec") && !NO_SPANS.contains(&key) => values::span(&value).is_none(),
        "KillSignal" | "RestartKillSignal" | "FinalKillSignal" => values::signal(&value).is_none(),
        _ => false,
    };
    if wrong {
        let message = format!("systemd ignores {}={value}: it cannot be read", a.key);
        findings.value(&BAD_VALUE, at, a, message);
    }
}

/// How many commands a service may have, and how it may be restarted.
fn commands(findings: &mut Findings<'_>, at: usize) {
    let unit = findings.unit(at);
    let Some(service) = &unit.service else { return };
    if unit.loaded.files.is_empty() || unit.loaded.refused {
        return;
    }
    let starts = unit.loaded.commands("Service", "ExecStart");
    let has = |key| unit.loaded.last("Service", key).is_some() || unit.loaded.last("Unit", key).is_some();
    if service.kind != "oneshot" && starts.len() > 1 {
        let said = starts[1].0.at_value(
            Severity::Error,
            starts[1].1.range.clone(),
            format!("a second ExecStart=, which only Type=oneshot may have (here: {})", service.kind),
        );
        findings.say(&REFUSED, at, said);
    }
    let ends_alone = has("ExecStop") || has("SuccessAction");
    if starts.is_empty() && !(ends_alone && (service.kind == "oneshot" || service.remains)) {
        let message = format!("{} has no ExecStart=", unit.loaded.name.full);
        findings.say(&REFUSED, at, findings.scene.about(at, message));
    }
    if service.kind == "oneshot" && matches!(&*service.restart, "always" | "on-success") {
        let message = format!("Type=oneshot may not have Restart={}", service.restart);
        findings.key(&REFUSED, at, ("Service", "Restart"), message);
    }
}

/// What a one-shot may not have.
fn forced(findings: &mut Findings<'_>, at: usize) {
    let unit = findings.unit(at);
    let oneshot = unit.service.as_ref().is_some_and(|service| service.kind == "oneshot");
    if oneshot && unit.loaded.last("Service", "RestartForceExitStatus").is_some() {
        let message = "Type=oneshot may not have RestartForceExitStatus=";
        findings.key(&REFUSED, at, ("Service", "RestartForceExitStatus"), message);
    }
}

fn dependencies(findings: &mut Findings<'_>, at: usize) {
    let scene = findings.scene;
    for edge in scene.edges.iter().filter(|edge| edge.from == at) {
        if let Some((assignment, range)) = &edge.at
            && assignment.value.get(range.clone()).is_some_and(|text| text.contains("@."))
            && scene.units[at].loaded.name.instance.is_none()
        {
            let message = format!("no instance: this means {}", edge.name);
            findings.say(&NO_INSTANCE, at, scene.at(edge, message));
        }
        let known = ["service", "socket", "timer", "path"].iter().any(|end| edge.name.ends_with(end));
        let template = scene.units[at].loaded.name.is_template();
        if matches!(edge.key, "Requires" | "BindsTo") && edge.to.is_none() && known && !template {
            let message = format!("there is no {}: this unit cannot be started", edge.name);
            findings.say(&NOBODY, at, scene.at(edge, message));
        }
    }
}
