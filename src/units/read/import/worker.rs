//! One service as a worker: every key of its unit becomes one of the tree, or is left, with the reason.

mod process;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use woodward_engine::spec::Status;

use super::super::scene::{Scene, Service, Unit};
use super::super::text::Assignment;
use super::super::values::{self, INFINITY};
use super::Left;
use super::command;
use super::text::{string, table};
use crate::tree::units::{show, signal_name};

/// Signals that systemd calls clean.
pub const CLEAN: [i32; 4] = [1, 2, 13, 15];

/// A service on its way into a tree.
pub struct Reader<'s> {
    /// All units.
    pub scene: &'s Scene,
    /// Which.
    pub at: usize,
    /// It was rendered by woodward: restarts are counted by its supervisor.
    pub own: bool,
    /// Key and value.
    pub lines: Vec<(String, String)>,
    /// What has no key in a tree.
    pub left: Vec<Left>,
    /// What is carried over with a small difference.
    pub remarks: Vec<String>,
    used: BTreeSet<(String, String)>,
    environment: BTreeMap<String, String>,
}

impl<'s> Reader<'s> {
    /// Reads it.
    pub fn new(scene: &'s Scene, at: usize, own: bool) -> Reader<'s> {
        let mut reader = Reader {
            scene,
            at,
            own,
            lines: Vec::new(),
            left: Vec::new(),
            remarks: Vec::new(),
            used: BTreeSet::new(),
            environment: BTreeMap::new(),
        };
        let Some(service) = scene.units[at].service.as_ref() else { return reader };
        reader.about(service);
        reader.environment();
        reader.commands(service);
        reader.restart(service);
        reader.ready(service);
        reader.stop();
        reader.identity();
        reader.streams();
        reader.resources();
        reader.sockets();
        if own {
            reader.ours();
        }
        reader.rest();
        reader
    }

    fn unit(&self) -> &'s Unit {
        &self.scene.units[self.at]
    }

    /// Adds a line.
    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.lines.push((key.to_owned(), value.into()));
    }

    /// A key is dealt with.
    fn used(&mut self, section: &str, key: &str) {
        self.used.insert((section.to_owned(), key.to_owned()));
    }

    /// The value that counts, dealt with.
    fn take(&mut self, key: &str) -> Option<&'s Assignment> {
        self.used("Service", key);
        self.unit().loaded.last("Service", key)
    }

    /// The same as text, with specifiers filled in.
    fn text(&mut self, key: &str) -> Option<String> {
        let assignment = self.take(key)?;
        match command::plain(&self.unit().loaded.name, &assignment.value) {
            Ok(text) => Some(text),
            Err(why) => {
                self.leave(assignment, why);
                None
            }
        }
    }

    /// A span of time.
    fn span(&mut self, key: &str) -> Option<Duration> {
        self.text(key).and_then(|text| values::span(&text))
    }

    /// All words of a key.
    fn words(&mut self, key: &str) -> Vec<String> {
        self.used("Service", key);
        let words = self.unit().loaded.words("Service", key);
        words.into_iter().map(|(_, word)| self.unit().loaded.name.expand(&word.text).0).collect()
    }

    /// A key is not carried over.
    fn leave(&mut self, assignment: &Assignment, why: impl Into<String>) {
        self.left.push(Left::new(&self.unit().loaded.name.full, assignment, why));
    }

    fn about(&mut self, service: &Service) {
        self.used("Unit", "Description");
        self.used("Unit", "Documentation");
        if let Some(description) = self.unit().loaded.last("Unit", "Description") {
            let text = self.unit().loaded.name.expand(&description.value).0;
            let path = self.unit().loaded.last("X-Woodward", "Path").map(|a| a.value.clone());
            let text = match &path {
                Some(path) if text == *path => return self.kind(service),
                Some(path) => text.strip_prefix(&format!("{path}: ")).unwrap_or(&text).to_owned(),
                None => text,
            };
            self.set("description", string(&text));
        }
        self.kind(service);
    }

    fn kind(&mut self, service: &Service) {
        if service.kind == "oneshot" {
            self.set("kind", "\"oneshot\"");
        }
    }

    fn restart(&mut self, service: &Service) {
        let assignment = self.take("Restart");
        for key in ["RemainAfterExit", "RestartSec", "RestartSteps", "RestartMaxDelaySec", "RestartMode"] {
            self.used("Service", key);
        }
        for key in ["StartLimitIntervalSec", "StartLimitInterval", "StartLimitBurst"] {
            self.used("Unit", key);
            self.used("Service", key);
        }
        let oneshot = service.kind == "oneshot";
        let word = match &*service.restart {
            "no" => "temporary",
            "always" => "permanent",
            "on-failure" => "transient",
            other => {
                if let Some(assignment) = assignment {
                    self.leave(
                        assignment,
                        format!("Restart={other} has no word in a tree; on-failure is the nearest"),
                    );
                }
                "transient"
            }
        };
        // The default of a one-shot is another one.
        if word != if oneshot { "transient" } else { "permanent" } {
            self.set("restart", string(word));
        }
        self.statuses(service, word);
        if self.own || word == "temporary" {
            return;
        }
        self.set("backoff", self.backoff(service));
        let limit = match service.limit {
            Some((starts, interval)) => {
                let seconds = if interval == INFINITY { 31_536_000 } else { interval.as_secs().max(1) };
                table([
                    ("intensity", starts.to_string()),
                    ("period", string(&show(Duration::from_secs(seconds)))),
                ])
            }
            None => table([("intensity", "1000000".to_owned()), ("period", "\"1s\"".to_owned())]),
        };
        self.set("limit", limit);
    }

    fn backoff(&self, service: &Service) -> String {
        if service.delay.is_zero() {
            return "false".to_owned();
        }
        let loaded = &self.unit().loaded;
        let steps: Option<f64> = loaded.last("Service", "RestartSteps").and_then(|a| a.value.parse().ok());
        let most = loaded.last("Service", "RestartMaxDelaySec").and_then(|a| values::span(&a.value));
        let (factor, max) = match (steps, most) {
            (Some(steps), Some(most))
                if steps > 0.0 && most > service.delay && self.scene.release.0 >= 254 =>
            {
                ((most.as_secs_f64() / service.delay.as_secs_f64()).powf(1.0 / steps), most)
            }
            _ => (1.0, service.delay),
        };
        table([
            ("immediate", "0".to_owned()),
            ("first", time(service.delay)),
            ("factor", format!("{:.3}", factor.clamp(1.0, 1000.0))),
            ("max", time(max)),
            ("jitter", "\"0%\"".to_owned()),
        ])
    }

    /// Which ends are calm, and which are restarted whatever the type.
    fn statuses(&mut self, service: &Service, word: &str) {
        let read =
            |words: Vec<String>| words.iter().filter_map(|word| values::status(word)).collect::<Vec<_>>();
        let mut success = read(self.words("SuccessExitStatus"));
        let mut force = read(self.words("RestartForceExitStatus"));
        let prevent = read(self.words("RestartPreventExitStatus"));
        let clean: Vec<Status> = CLEAN.iter().copied().map(Status::Signal).collect();
        if service.kind != "oneshot"
            && word == "transient"
            && !(self.own && clean.iter().all(|s| force.contains(s)))
        {
            success.extend(clean.iter().filter(|status| !force.contains(status)));
        }
        // What both lists have is the signal of our own sending: a crash when a stranger sends it.
        let asked = |status: &Status| success.contains(status) && matches!(status, Status::Signal(_));
        let both: Vec<Status> = force.iter().copied().filter(asked).collect();
        let signal = self.unit().loaded.last("Service", "KillSignal").and_then(|a| values::signal(&a.value));
        let ours = Status::Signal(signal.unwrap_or(15));
        let strange = |status: &Status| self.own && *status == ours;
        success.retain(|status| !both.contains(status) && !strange(status));
        force.retain(|status| !both.contains(status) && !clean.contains(status));
        let lists = [
            ("success_exit_status", success),
            ("restart_prevent_exit_status", prevent),
            ("restart_force_exit_status", force),
        ];
        for (key, mut statuses) in lists {
            let mut seen = Vec::new();
            statuses.retain(|status| {
                !seen.contains(status) && {
                    seen.push(*status);
                    true
                }
            });
            if !statuses.is_empty() {
                let shown = statuses.iter().map(|status| match status {
                    Status::Code(code) => code.to_string(),
                    Status::Signal(number) => string(&signal_name(*number)),
                });
                self.set(key, format!("[{}]", shown.collect::<Vec<_>>().join(", ")));
            }
        }
    }

    fn ready(&mut self, service: &Service) {
        let kind = self.take("Type");
        let whole = self.span("TimeoutSec");
        let start = self.span("TimeoutStartSec").or(whole);
        let asked = self.lines.iter().any(|(key, _)| key.starts_with("ready."));
        match &*service.kind {
            "notify" | "notify-reload" if !asked => self.set("ready.notify", "true"),
            "forking" | "dbus" => {
                let why = if service.kind == "dbus" {
                    "readiness by a name on D-Bus"
                } else {
                    "a program that puts itself into the background: give it the option to stay in the foreground"
                };
                match kind.or_else(|| self.unit().loaded.last("Service", "BusName")) {
                    Some(assignment) => self.leave(assignment, why),
                    None => self.remarks.push(why.to_owned()),
                }
                self.used("Service", "BusName");
                self.used("Service", "PIDFile");
                self.used("Service", "GuessMainPID");
            }
            _ => {}
        }
        if service.kind == "oneshot" {
            if let Some(time) = start.filter(|time| *time != INFINITY && !time.is_zero()) {
                self.set("runtime_max", string(&show(time)));
            }
        } else if let Some(time) = start.filter(|_| !self.lines.iter().any(|(key, _)| key == "ready.within"))
        {
            // Our own units give a second more where systemd is not the one that minds it.
            let settle = self.lines.iter().find(|(key, _)| key == "ready.settle");
            let settle =
                settle.and_then(|(_, value)| values::span(value.trim_matches('"'))).unwrap_or_default();
            let time = match self.own && service.kind == "exec" && time != INFINITY {
                true => time.saturating_sub(Duration::from_secs(1) + settle),
                false => time,
            };
            let time = if time.is_zero() || time == INFINITY { "infinity".to_owned() } else { show(time) };
            self.set("ready.within", string(&time));
        }
        if let Some(time) = self.span("WatchdogSec").filter(|time| !time.is_zero()) {
            self.set("health.watchdog", string(&show(time)));
        }
        self.used("Service", "NotifyAccess");
    }

    fn stop(&mut self) {
        let whole = self.span("TimeoutSec");
        let signal = self.text("KillSignal").and_then(|text| values::signal(&text));
        let time = self.span("TimeoutStopSec").or(whole);
        match time {
            _ if signal == Some(9) => self.set("shutdown", "\"brutal_kill\""),
            Some(time) if time.is_zero() || time == INFINITY => self.set("shutdown", "\"infinity\""),
            Some(time) => self.set("shutdown", string(&show(time))),
            None => {}
        }
        if let Some(signal) = signal.filter(|signal| !matches!(signal, 9 | 15)) {
            self.set("stop.signal", string(&signal_name(signal)));
        }
        let mode = self.take("KillMode");
        match mode.map(|a| &*a.value) {
            Some("mixed") => self.set("stop.kill", "\"mixed\""),
            Some("process") => self.set("stop.kill", "\"process\""),
            Some("none") => {
                if let Some(mode) = mode {
                    self.leave(mode, "woodward leaves nothing running behind a service");
                }
            }
            Some(_) if self.own => self.set("stop.kill", "\"group\""),
            _ => {}
        }
        self.used("Service", "TimeoutStopFailureMode");
    }

    /// What woodward writes into its own units beside the keys of the tree.
    fn ours(&mut self) {
        let loaded = &self.unit().loaded;
        let harden = loaded.last("Service", "ProtectSystem").is_some();
        if harden {
            self.set("harden", "\"strict\"");
        }
        for key in OURS {
            self.used("Service", key);
        }
        let hardening: Vec<String> = loaded
            .assignments
            .iter()
            .filter(|a| {
                harden
                    && (a.key.starts_with("Protect")
                        || a.key.starts_with("Restrict")
                        || HARDENING.contains(&&*a.key))
            })
            .map(|a| a.key.clone())
            .collect();
        hardening.iter().for_each(|key| self.used("Service", key));
        for key in ["SourcePath", "ConditionPathExists", "OnFailure"] {
            self.used("Unit", key);
        }
    }

    /// Everything that nobody has asked for.
    fn rest(&mut self) {
        let unit = self.unit();
        let mut last: BTreeMap<(&str, &str), &Assignment> = BTreeMap::new();
        for a in &unit.loaded.assignments {
            let place = (a.section.clone(), a.key.clone());
            let skipped = a.section.starts_with("X-") || a.key.starts_with("X-") || a.value.is_empty();
            // Who names whom is judged for the whole tree, not here.
            let dependency = a.section == "Unit" && super::TOGETHER.contains(&&*a.key);
            if !skipped && !dependency && !self.used.contains(&place) {
                last.insert((&a.section, &a.key), a);
            }
        }
        let mut left: Vec<&Assignment> = last.into_values().collect();
        left.sort_by_key(|a| (a.file.name.clone(), a.key_at));
        for assignment in left {
            let asked = |name: &str| {
                let name = self.unit().loaded.name.expand(name).0;
                self.scene.find(&name).is_some_and(|at| self.scene.units[at].asked)
            };
            if assignment.section == "Install" && assignment.value.split_whitespace().all(asked) {
                continue;
            }
            let why = match (&*assignment.section, &*assignment.key) {
                ("Install", _) => "woodward's own unit is what is enabled",
                (_, key) if key.starts_with("Condition") || key.starts_with("Assert") => {
                    "a tree is planned before it runs: `only` and `enabled`"
                }
                (_, "OnFailure" | "OnSuccess") => "a supervisor above acts, or `after_stop`",
                _ => "no key in a tree",
            };
            self.leave(assignment, why);
        }
    }
}

/// A delay as a tree writes it, which has milliseconds at least.
fn time(time: Duration) -> String {
    string(&show(time.max(Duration::from_millis(1))))
}

/// Lines of our own units that follow from others or from woodward's defaults.
const OURS: &[&str] = &[
    "Slice",
    "ExecCondition",
    "ExecSearchPath",
    "SyslogIdentifier",
    "LogExtraFields",
    "LogRateLimitIntervalSec",
    "OOMPolicy",
    "IgnoreSIGPIPE",
    "WatchdogSignal",
    "TimeoutAbortSec",
    "TimeoutStartFailureMode",
    "UnsetEnvironment",
];

/// Keys of `harden = "strict"` besides those that begin with `Protect` or `Restrict`.
const HARDENING: &[&str] = &[
    "PrivateDevices",
    "ReadWritePaths",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "SystemCallErrorNumber",
    "ProcSubset",
    "KeyringMode",
    "RemoveIPC",
    "DevicePolicy",
    "PrivateUsers",
    "PrivateIPC",
];
