//! Each pitfall once, and next to it what helps.

use std::collections::BTreeSet;

use super::super::load::Entry;
use super::super::{Scene, Shelf};
use super::{all, lint};
use crate::units::Release;

/// Units as text: `# NAME` begins one, every unit is asked for. What is found: `NAME:LINE:COLUMN PITFALL`.
fn found(release: u32, text: &str) -> Vec<String> {
    let mut shelf = Shelf::default();
    let directory = shelf.directory("");
    let mut names = Vec::new();
    for unit in text.split("# ").skip(1) {
        let (name, text) = unit.split_once('\n').expect("a name and a text");
        shelf.put(directory, name, Entry::Text(text.as_bytes().into()));
        names.push(name.to_owned());
    }
    let place = |finding: &super::Finding| {
        let place = finding.said.place.as_ref().expect("a place");
        let file = place.file.trim_start_matches('/');
        format!("{file}:{}:{} {}", place.line, place.column, finding.pitfall.name)
    };
    lint(&Scene::new(&shelf, &names, Release(release))).iter().map(place).collect()
}

/// A service that runs, quietly: what is tried stands in the lines given for `[Unit]` and `[Service]`.
fn unit(name: &str, unit: &str, service: &str) -> String {
    format!("# {name}\n[Unit]\n{unit}\n[Service]\n{service}\nType=exec\nExecStart=/bin/program\n")
}

/// A provider that crashes and is restarted every five seconds.
fn provider(more: &str) -> String {
    unit("p.service", "StartLimitIntervalSec=0", &format!("Restart=always\nRestartSec=5\n{more}"))
}

#[test]
fn each_pitfall_is_found_and_its_remedy_helps() {
    let p = provider("");
    let d = |lines: &str| unit("d.service", lines, "");
    let s = |lines: &str| unit("s.service", "", lines);
    let plain = |text: &str| format!("# s.service\n{text}\n");
    let restarts = "StartLimitIntervalSec=99\nStartLimitBurst=9";
    // The release, units with the pitfall, where it is, units without it.
    let cases: &[(u32, String, &str, String)] = &[
        (252, s("Restart=no\nExecStop=/bin/a 'b"), "s.service:5:17 unreadable", s("ExecStop=/bin/a 'b'")),
        (252, s("Wants-to=x"), "s.service:4:1 unknown-key", s("X-Wants-to=x")),
        (252, s("After=x.service"), "s.service:4:1 wrong-section", d("After=x.service")),
        (252, s("RestartMode=direct"), "s.service:4:1 younger-key", s("OOMPolicy=stop")),
        (
            252,
            plain("[Service]\nType=notify-reload\nExecStart=/bin/a"),
            "s.service:2:6 bad-value",
            s("KillMode=mixed"),
        ),
        (252, s("ExecStart=/bin/a\nExecStart=/bin/b"), "s.service:5:11 refused", s("ExecStartPre=/bin/b")),
        (
            252,
            plain("[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/a"),
            "s.service:3:9 refused",
            plain("[Service]\nType=oneshot\nRestart=on-failure\nRestartSec=5\nExecStart=/bin/a"),
        ),
        (
            252,
            format!("{}{}", d("Wants=t@.service\nAfter=t@.service"), unit("t@.service", "", "")),
            "d.service:2:7 template-without-instance",
            format!("{}{}", d("Wants=t@1.service\nAfter=t@1.service"), unit("t@.service", "", "")),
        ),
        (252, d("Requires=no.service"), "d.service:2:10 nobody", d("Wants=no.service")),
        (
            252,
            p.clone() + &d("BindsTo=p.service\nAfter=p.service\nStartLimitIntervalSec=0"),
            "d.service:2:9 binds-to-loses",
            p.clone() + &d("PartOf=p.service\nAfter=p.service\nStartLimitIntervalSec=0"),
        ),
        (
            252,
            p.clone() + &unit("d.service", "StopPropagatedFrom=p.service", "Restart=always\nRestartSec=9"),
            "d.service:2:20 stop-propagated-loses",
            p.clone() + &d("StopPropagatedFrom=p.service"),
        ),
        (
            252,
            p.clone() + &d("Requires=p.service\nAfter=p.service\nStartLimitIntervalSec=0"),
            "d.service:2:10 requires-first-failure",
            p.clone() + &d("Wants=p.service\nAfter=p.service"),
        ),
        (
            252,
            unit("p.service", "StartLimitIntervalSec=0", "Restart=always\nRestartSec=1")
                + &d("PartOf=p.service\nAfter=p.service"),
            "d.service:2:8 limit-eaten",
            p.clone() + &d("PartOf=p.service\nAfter=p.service\nStartLimitIntervalSec=0"),
        ),
        (
            252,
            d("StartLimitIntervalSec=60"),
            "d.service:2:23 limit-unpinned",
            d("StartLimitIntervalSec=60") + &unit("p.service", "After=d.service", ""),
        ),
        (
            254,
            provider("RestartMode=direct") + &d("PartOf=p.service\nAfter=p.service"),
            "d.service:2:8 direct-keeps-dependents",
            provider("RestartMode=normal") + &d("PartOf=p.service\nAfter=p.service\nStartLimitIntervalSec=0"),
        ),
        (
            252,
            p.clone() + &d("Upholds=p.service\nAfter=p.service"),
            "d.service:2:9 upholds-undoes-stop",
            p.clone() + &d("Wants=p.service\nAfter=p.service"),
        ),
        (
            252,
            d("StopWhenUnneeded=yes"),
            "d.service:2:18 stops-unneeded",
            d("StopWhenUnneeded=yes") + &unit("p.service", "Wants=d.service\nAfter=d.service", ""),
        ),
        (
            252,
            unit("p.service", "", "") + &d("Requires=p.service"),
            "d.service:2:10 order-missing",
            unit("p.service", "", "") + &d("Requires=p.service\nAfter=p.service"),
        ),
        (
            252,
            unit("p.service", "", "") + &d("Wants=p.service"),
            "d.service:2:7 wants-unordered",
            unit("p.service", "", "") + &d("Wants=p.service\nBefore=p.service"),
        ),
        (
            252,
            p.clone()
                + &unit("m.service", "After=p.service", "")
                + &d("PartOf=p.service\nAfter=m.service\nStartLimitIntervalSec=0"),
            "d.service:2:8 after-hole",
            p.clone()
                + &unit("m.service", "After=p.service", "")
                + &d("PartOf=p.service\nAfter=m.service p.service\nStartLimitIntervalSec=0"),
        ),
        (
            252,
            unit("p.service", "", "") + &unit("m.service", "PartOf=p.service", "") + &d("PartOf=m.service"),
            "d.service:2:8 part-of-hole",
            unit("p.service", "", "")
                + &unit("m.service", "PartOf=p.service", "")
                + &d("PartOf=m.service p.service"),
        ),
        (
            252,
            d("After=p.service")
                + &unit("p.service", "Before=s.service", "")
                + &unit("s.service", "Before=d.service\nAfter=d.service", ""),
            "d.service:2:1 order-circle",
            d("After=p.service") + &unit("p.service", "Before=s.service", ""),
        ),
        (252, s("Restart=always"), "s.service:4:9 limit-at-once", s("Restart=always\nRestartSec=1")),
        (
            252,
            unit("s.service", "StartLimitIntervalSec=0", "Restart=always\nRestartSec=0"),
            "s.service:5:12 restart-storm",
            unit("s.service", "StartLimitIntervalSec=0", "Restart=always\nRestartSec=1"),
        ),
        (
            252,
            unit("s.service", "StartLimitBurst=3", "Restart=always\nRestartSec=5"),
            "s.service:2:17 limit-never",
            unit("s.service", "StartLimitBurst=3\nStartLimitIntervalSec=60", "Restart=always\nRestartSec=5"),
        ),
        (
            252,
            unit("s.service", "OnFailure=h.service", "Restart=always\nRestartSec=5"),
            "s.service:2:11 on-failure-never",
            unit("s.service", &format!("OnFailure=h.service\n{restarts}"), "Restart=always\nRestartSec=5"),
        ),
        (
            254,
            unit("s.service", "OnFailure=h.service", "Restart=always\nRestartSec=5"),
            "s.service:2:11 on-failure-each-crash",
            unit("s.service", "OnFailure=h.service", "Restart=always\nRestartSec=5\nRestartMode=direct"),
        ),
        (
            252,
            unit("s.service", "OnSuccess=h.service", "Restart=always\nRestartSec=5"),
            "s.service:2:11 on-success-each-restart",
            unit("s.service", "OnSuccess=h.service", ""),
        ),
        (
            252,
            s("RemainAfterExit=yes\nRestart=always\nRestartSec=5"),
            "s.service:4:17 remains-instead-of-restart",
            s("Restart=always\nRestartSec=5"),
        ),
        (
            252,
            s("KillSignal=SIGKILL"),
            "s.service:4:12 kill-signal-incomplete",
            s("KillSignal=9\nSuccessExitStatus=SIGKILL\nRestartForceExitStatus=KILL"),
        ),
        (254, s("RestartSteps=5"), "s.service:4:14 steps-alone", s("RestartSteps=5\nRestartMaxDelaySec=9")),
        (252, s("StartLimitBurst=3"), "s.service:4:17 limit-in-service", unit("s.service", "", "")),
        (252, s("TimeoutStopSec=0"), "s.service:4:16 stop-timeout-zero", s("TimeoutStopSec=9")),
        (252, s("TimeoutStopSec=infinity"), "s.service:4:16 stop-timeout-infinity", s("TimeoutStopSec=9")),
        (252, s("KillMode=process"), "s.service:4:10 kill-mode-process", s("KillMode=mixed")),
        (252, s("KillMode=none"), "s.service:4:10 kill-mode-none", s("KillMode=mixed")),
        (
            252,
            plain("[Service]\nType=forking\nRestart=always\nRestartSec=5\nExecStart=/bin/a"),
            "s.service:2:6 forking-without-pid-file",
            plain("[Service]\nType=forking\nPIDFile=/run/a\nRestart=always\nRestartSec=5\nExecStart=/bin/a"),
        ),
        (
            252,
            plain("[Service]\nType=notify\nExecStart=sh -c 'cd /tmp; program'"),
            "s.service:3:17 shell-in-front",
            plain("[Service]\nType=notify\nExecStart=sh -c 'cd /tmp; exec program'"),
        ),
        (
            252,
            plain("[Service]\nExecStart=/bin/a") + &d("Wants=s.service\nAfter=s.service"),
            "s.service:2:1 simple-missing-binary",
            plain("[Service]\nType=exec\nExecStart=/bin/a") + &d("Wants=s.service\nAfter=s.service"),
        ),
        (
            252,
            s("WatchdogSec=5"),
            "s.service:4:13 watchdog-without-notify",
            plain("[Service]\nType=notify\nWatchdogSec=5\nExecStart=/bin/a"),
        ),
        (252, s("PIDFile=/var/run/a"), "s.service:4:9 var-run", s("PIDFile=/run/a")),
        (
            252,
            plain("[Service]\nEnvironment=PATH=/opt/bin\nExecStart=a"),
            "s.service:3:11 program-not-in-path",
            plain("[Service]\nEnvironment=PATH=/opt/bin\nExecStart=/usr/bin/env a"),
        ),
        (252, s("ExecStop=/bin/a $HOME/b"), "s.service:4:17 dollar-lost", s("ExecStop=/bin/a ${HOME}/b")),
        (
            252,
            s("ExecStop=/bin/a --b=$HOME"),
            "s.service:4:17 dollar-literal",
            s("ExecStop=/bin/a --b=${HOME}"),
        ),
        (252, s("Environment=PATH=$PATH:/b"), "s.service:4:13 dollar-literal", s("Environment=PATH=/b")),
        (
            252,
            s("ExecStop=sh -c 'for f in *; do rm ${f}; done'"),
            "s.service:4:16 dollar-taken-from-shell",
            s("ExecStop=sh -c 'for f in *; do rm $${f}; done'"),
        ),
        (252, s("ExecStop=date +%%Y%M"), "s.service:4:15 percent", s("ExecStop=date +%%Y%%M")),
    ];
    let (mut named, mut wrong) = (BTreeSet::new(), Vec::new());
    for (release, with, expected, without) in cases {
        let got = found(*release, with);
        if !got.contains(&(*expected).to_owned()) {
            wrong.push(format!("{with}\nexpected {expected}, found {got:#?}"));
        }
        let name = expected.split(' ').next_back().expect("a name");
        let got = found(*release, without);
        if got.iter().any(|finding| finding.ends_with(&format!(" {name}"))) {
            wrong.push(format!("{without}\nfound {got:#?}"));
        }
        named.insert(name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: BTreeSet<&str> = all().map(|pitfall| pitfall.name).collect();
    assert_eq!(named, all, "pitfalls without a case, or the other way round");
}
