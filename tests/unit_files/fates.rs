//! What is foretold about units happens in a real systemd: each pitfall that names an event, with the event.

use std::fs;
use std::path::Path;

use woodward::units::Release;
use woodward::units::read::import::group;
use woodward::units::read::lint::lint;
use woodward::units::read::{Scene, Shelf, load::Entry};

use crate::units::bed::Bed;

/// A case: units, what happens to them, and what is foretold.
struct Case {
    /// The pitfall that is found in the last unit.
    pitfall: &'static str,
    /// `# NAME` begins a unit.
    units: String,
    /// A script that makes it happen; units are started before by `systemctl start` of the last one.
    event: &'static str,
    /// A condition that becomes true.
    outcome: &'static str,
}

/// A service that runs for ever.
fn unit(name: &str, unit: &str, service: &str) -> String {
    format!("# {name}\n[Unit]\n{unit}\n[Service]\nType=exec\nExecStart=/bin/sleep 1000\n{service}\n")
}

fn provider(more: &str) -> String {
    unit("p.service", "StartLimitIntervalSec=0", &format!("Restart=always\nRestartSec=200ms\n{more}"))
}

const CRASH: &str = "systemctl kill --kill-whom=main -s KILL p";

fn cases() -> Vec<Case> {
    let case = |pitfall, units, event, outcome| Case { pitfall, units, event, outcome };
    vec![
        case(
            "binds-to-loses",
            provider("")
                + &unit(
                    "d.service",
                    "BindsTo=p.service\nAfter=p.service\nStartLimitIntervalSec=0",
                    "Restart=always",
                ),
            CRASH,
            "is p active && is d inactive && sleep 0.5 && is d inactive",
        ),
        case(
            "stop-propagated-loses",
            provider("")
                + &unit(
                    "d.service",
                    "Wants=p.service\nStopPropagatedFrom=p.service\nAfter=p.service",
                    "Restart=always\nRestartSec=1",
                ),
            CRASH,
            "is p active && is d inactive",
        ),
        case(
            "requires-first-failure",
            unit(
                "p.service",
                "",
                "Restart=always\nRestartSec=200ms\nExecStartPre=/bin/sh -c '[ -e /run/second ] || { : >/run/second; exit 1; }'",
            ) + &unit("d.service", "Requires=p.service\nAfter=p.service\nStartLimitIntervalSec=0", ""),
            "true",
            "is p active && is d inactive && sleep 0.5 && is d inactive",
        ),
        case(
            "limit-eaten",
            provider("") + &unit("d.service", "Wants=p.service\nPartOf=p.service\nAfter=p.service", ""),
            "for n in 1 2 3 4 5 6; do systemctl kill --kill-whom=main -s KILL p; until [ $(systemctl show -P NRestarts p) -ge $n ] && is p active; do sleep 0.05; done; sleep 0.1; done",
            "is p active && is d failed && [ $(systemctl show -P Result d) = start-limit-hit ]",
        ),
        case(
            "upholds-undoes-stop",
            unit("p.service", "", "") + &unit("d.service", "Upholds=p.service\nAfter=p.service", ""),
            "systemctl stop p",
            "is p active",
        ),
        case("stops-unneeded", unit("d.service", "StopWhenUnneeded=yes", ""), "true", "is d inactive"),
        case(
            "order-missing",
            unit(
                "p.service",
                "StartLimitBurst=1\nStartLimitIntervalSec=60",
                "Restart=always\nRestartSec=200ms",
            ) + &unit("d.service", "Requires=p.service", ""),
            "systemctl show -P InvocationID d >/run/before; systemctl kill --kill-whom=main -s KILL p",
            "is p failed && is d active && [ $(systemctl show -P InvocationID d) != $(cat /run/before) ]",
        ),
        case(
            "part-of-hole",
            unit("p.service", "", "")
                + &unit("m.service", "Wants=p.service\nPartOf=p.service", "")
                    .replace("/bin/sleep 1000", "/usr/bin/tail -f /dev/null")
                + &unit("d.service", "Wants=m.service\nAfter=m.service\nPartOf=m.service", ""),
            "systemctl kill --kill-whom=main -s TERM m; until is m inactive; do sleep 0.05; done; systemctl stop p",
            "is p inactive && is d active",
        ),
        case(
            "limit-at-once",
            unit("d.service", "", "Restart=always")
                .replace("/bin/sleep 1000", "/bin/sh -c '[ -e /run/repaired ]'"),
            "sleep 1; : >/run/repaired",
            "is d failed && sleep 0.5 && is d failed",
        ),
        case(
            "on-failure-never",
            unit("h.service", "", "")
                + &unit(
                    "d.service",
                    "OnFailure=h.service\nStartLimitIntervalSec=0",
                    "Restart=always\nRestartSec=100ms",
                )
                .replace("/bin/sleep 1000", "/bin/false"),
            "until [ $(systemctl show -P NRestarts d) -gt 8 ]; do sleep 0.1; done",
            "is h inactive",
        ),
        case(
            "remains-instead-of-restart",
            unit("d.service", "", "RemainAfterExit=yes\nRestart=always\nRestartSec=5")
                .replace("/bin/sleep 1000", "/bin/true"),
            "sleep 0.3",
            "[ $(systemctl show -P SubState d) = exited ] && [ $(systemctl show -P NRestarts d) = 0 ]",
        ),
        case(
            "kill-signal-incomplete",
            unit("d.service", "", "KillSignal=SIGKILL"),
            "systemctl stop d",
            "is d failed && [ $(systemctl show -P Result d) = signal ]",
        ),
        case(
            "kill-mode-process",
            unit("d.service", "", "KillMode=process")
                .replace("/bin/sleep 1000", "/bin/sh -c 'sleep 4711 & wait'"),
            "until pgrep -f 'sleep 4711'; do sleep 0.05; done; systemctl stop d",
            "is d inactive && pgrep -fx 'sleep 4711' && pkill -fx 'sleep 4711'",
        ),
        case(
            "stop-timeout-zero",
            unit("d.service", "", "TimeoutStopSec=0"),
            "true",
            "[ $(systemctl show -P TimeoutStopUSec d) = infinity ] && systemctl stop d",
        ),
        case(
            "watchdog-without-notify",
            unit("d.service", "", "WatchdogSec=500ms"),
            "true",
            "[ $(systemctl show -P Result d) = watchdog ]",
        ),
        case(
            "simple-missing-binary",
            unit("d.service", "Wants=p.service\nAfter=p.service", "")
                + "# p.service\n[Service]\nExecStart=/bin/does-not-exist\n",
            "systemctl start d",
            "is p failed && is d active",
        ),
        case(
            "shell-in-front",
            unit("d.service", "", "TimeoutStartSec=1").replace("Type=exec", "Type=notify").replace(
                "/bin/sleep 1000",
                "/bin/sh -c 'cd /; sh -c \"systemd-notify --ready; sleep 1000\"'",
            ),
            "true",
            "is d failed && [ $(systemctl show -P Result d) = timeout ]",
        ),
        case(
            "dollar-lost",
            unit(
                "d.service",
                "",
                "Environment=HOME=/root\nExecStartPost=/bin/sh -c 'echo $$# >/run/count' sh $HOME/a b",
            ),
            "true",
            "[ $(cat /run/count) = 1 ]",
        ),
        case(
            "dollar-taken-from-shell",
            unit("d.service", "", "ExecStartPost=/bin/sh -c 'for f in a b; do echo x${f} >/run/last; done'"),
            "true",
            "[ $(cat /run/last) = x ]",
        ),
        case(
            "template-without-instance",
            "# t@.service\n[Service]\nType=exec\nExecStart=/bin/sleep 1000\n".to_owned()
                + &unit("d.service", "Wants=t@.service\nAfter=t@.service", ""),
            "true",
            "is t@d active",
        ),
        case(
            "refused",
            "# d.service\n[Service]\nType=oneshot\nRestart=always\nExecStart=/bin/true\n".to_owned(),
            "true",
            "[ $(systemctl show -P LoadState d) = bad-setting ]",
        ),
        case(
            "order-circle",
            unit("p.service", "After=d.service", "")
                + &unit("d.service", "Requires=p.service\nAfter=p.service", ""),
            "true",
            "journalctl -b | grep -q 'Found ordering cycle on'",
        ),
    ]
}

/// The units of a case, read from a directory.
fn scene(units: &[(String, String)]) -> Scene {
    let mut shelf = Shelf::default();
    let directory = shelf.directory("");
    for (name, text) in units {
        shelf.put(directory, name.clone(), Entry::Text(text.as_bytes().into()));
    }
    let names: Vec<String> = units.iter().map(|(name, _)| name.clone()).collect();
    Scene::new(&shelf, &names, Release(252))
}

fn split(text: &str) -> Vec<(String, String)> {
    let text = format!("\n{text}");
    let units = text.split("\n# ").skip(1).filter_map(|unit| unit.split_once('\n'));
    units.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// Takes the units of the last case away and brings these.
fn load(bed: &mut Bed, units: &[(String, String)]) {
    let directory = bed.path().join("units");
    fs::remove_dir_all(&directory).ok();
    fs::create_dir(&directory).expect("made");
    units.iter().for_each(|(name, text)| fs::write(directory.join(name), text).expect("written"));
    bed.sh(
        "cd /etc/systemd/system && for u in *.service; do systemctl kill -s KILL $u; systemctl stop $u; done; \
         rm -f /etc/systemd/system/*.service /run/second /run/repaired; cp /proof/units/* /etc/systemd/system/; \
         systemctl daemon-reload; systemctl reset-failed",
    );
}

fn wait(bed: &mut Bed, condition: &str) -> bool {
    let script = format!(
        "for n in $(seq 100); do {{ {condition}; }} >/dev/null && echo yes && break; sleep 0.05; done"
    );
    bed.sh(&script).ends_with("yes")
}

/// `is UNIT STATE`.
const IS: &str = "is() { [ $(systemctl show -P ActiveState $1) = $2 ]; }";

#[test]
fn what_lint_foretells_happens() {
    let mut bed = Bed::up();
    bed.sh(IS);
    let mut wrong = Vec::new();
    for case in cases() {
        let units = split(&case.units);
        let found: Vec<&str> = lint(&scene(&units)).iter().map(|finding| finding.pitfall.name).collect();
        if !found.contains(&case.pitfall) {
            wrong.push(format!("{}: found {found:?} only", case.pitfall));
        }
        load(&mut bed, &units);
        let last =
            units.iter().map(|(name, _)| &**name).find(|name| *name == "d.service").unwrap_or("p.service");
        bed.sh(&format!("systemctl start {last}"));
        bed.sh(case.event);
        if !wait(&mut bed, case.outcome) {
            let state = bed.sh(
                "systemctl --no-pager list-units --all 'p.*' 'd.*' 'm.*' 'h.*'; journalctl -b -n 20 -o cat",
            );
            wrong.push(format!("{}: not so: {}\n{state}", case.pitfall, case.outcome));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each dependency of one unit on another, and whether `After=` is there: what a crash does is what `import` says.
#[test]
fn a_crash_restarts_whom_the_units_say() {
    let mut bed = Bed::up();
    bed.sh(IS);
    let mut wrong = Vec::new();
    let delays = ["200ms", "0"];
    let keys = ["Wants", "Requires", "Requisite", "BindsTo", "PartOf", "StopPropagatedFrom"];
    for (delay, key) in delays.iter().flat_map(|delay| keys.iter().map(move |key| (delay, key))) {
        // e is PartOf d: it goes with it.
        let units = split(
            &(provider("").replace("200ms", delay)
                + &unit(
                    "d.service",
                    &format!("{key}=p.service\nAfter=p.service\nStartLimitIntervalSec=0"),
                    "",
                )
                + &unit("e.service", "PartOf=d.service\nAfter=d.service\nStartLimitIntervalSec=0", "")),
        );
        let scene = scene(&units);
        let at = |name: &str| scene.find(name).expect("it is there");
        let fates = group::crash(&scene, at("p.service"));
        load(&mut bed, &units);
        bed.sh("systemctl start p d e; for u in d e; do systemctl show -P InvocationID $u >/run/$u; done");
        bed.sh("systemctl kill --kill-whom=main -s KILL p");
        assert!(
            wait(&mut bed, "[ $(systemctl show -P NRestarts p) = 1 ] && is p active"),
            "p is not restarted"
        );
        for name in ["d", "e"] {
            let unit = at(&format!("{name}.service"));
            let invocation = format!("$(systemctl show -P InvocationID {name})");
            let condition = if fates.lost.contains(&unit) {
                format!("is {name} inactive")
            } else if fates.restarted.contains(&unit) {
                format!("is {name} active && [ {invocation} != $(cat /run/{name}) ]")
            } else {
                format!("sleep 0.3; is {name} active && [ {invocation} = $(cat /run/{name}) ]")
            };
            if !wait(&mut bed, &condition) {
                wrong.push(format!("{key} RestartSec={delay}: {name}: not so: {condition}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_are_what_systemd_reads() {
    let stock = Path::new(super::STOCK);
    let shelf = super::shelf(stock);
    let names: Vec<String> =
        shelf.units(0).filter(|name| name.ends_with(".service")).map(str::to_owned).collect();
    let mut bed = Bed::up();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for name in names.iter().filter(|name| !name.contains("@.")) {
        let Some(unit) = shelf.load(name).filter(|unit| !unit.masked) else { continue };
        let said =
            bed.sh(&format!("systemctl show -p FragmentPath -p ExecStart -p Environment -p Restart {name}"));
        if !said.contains(&format!("lib/systemd/system/{name}\n")) && !said.ends_with(&format!("/{name}")) {
            continue;
        }
        for line in said.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let argv = line.split_once("argv[]=").and_then(|(_, rest)| rest.split_once(" ; ignore_errors"));
            let Some((argv, _)) = argv else { continue };
            let ours = unit.commands("Service", "ExecStart");
            let shown = |argv: &[woodward::units::read::Word]| {
                let words: Vec<String> = argv.iter().map(|word| unit.name.expand(&word.text).0).collect();
                words.join(" ")
            };
            // A specifier of the host is not known here.
            let unknown = |text: &str| text.contains('%');
            compared += 1;
            if !ours.iter().any(|(_, command)| shown(&command.argv) == argv || unknown(&shown(&command.argv)))
            {
                wrong.push(format!("{name}: {argv}"));
            }
        }
        let restart = unit.text("Service", "Restart", "no");
        if !said.contains(&format!("Restart={restart}")) {
            wrong.push(format!("{name}: Restart={restart}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 50, "only {compared} command lines were compared");
}
