//! `woodward ready` under a real systemd: conditions behind the start and around the command, no line lost, health by the
//! watchdog.

use std::time::{Duration, Instant};

use super::bed::Bed;

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program for the tests: `serve PORT` listens until SIGUSR1, and after SIGTERM goes on for a while without;
/// `crash` and `stop` write three thousand lines and end.
const PROGRAM: &str = r#"
import os, signal, socket, sys, time
def lines():
    sys.stdout.write("".join("line %d\n" % n for n in range(3000)))
    sys.stdout.flush()
def serve(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", int(port)))
    s.listen(50)
    def bye(*_):
        s.close()
        time.sleep(3)
        os._exit(0)
    signal.signal(signal.SIGTERM, bye)
    signal.signal(signal.SIGUSR1, lambda *_: s.close())
def ends(*_):
    lines()
    os._exit(0)
print("<3>up", flush=True)
if sys.argv[1] == "serve": serve(sys.argv[2])
if sys.argv[1] == "stop": signal.signal(signal.SIGTERM, ends)
if sys.argv[1] == "crash":
    time.sleep(0.3)
    lines()
    os.kill(os.getpid(), signal.SIGKILL)
while True: time.sleep(60)
"#;

struct Units(Bed);

impl Units {
    /// A systemd with units of these names and `[Service]` lines.
    fn up(units: &[(&str, &str)]) -> Units {
        let mut bed = Bed::up();
        std::fs::write(bed.path().join("program.py"), PROGRAM).expect("written");
        for (name, lines) in units {
            let common = "KillMode=mixed\nNotifyAccess=all\nIgnoreSIGPIPE=no\nTimeoutStartSec=30s\n";
            let text = format!("[Service]\n{common}{}\n", lines.replace("READY", "/usr/bin/woodward ready"));
            std::fs::write(bed.path().join(format!("{name}.service")), text).expect("written");
        }
        bed.sh("cp /proof/*.service /run/systemd/system && systemctl daemon-reload");
        Units(bed)
    }

    fn sh(&mut self, script: &str) -> String {
        self.0.sh(script)
    }

    fn show(&mut self, property: &str, unit: &str) -> String {
        self.sh(&format!("systemctl show -P {property} {unit}"))
    }

    fn journal(&mut self, unit: &str) -> String {
        self.sh(&format!("journalctl -u {unit} -o cat --no-pager"))
    }

    fn wait(&mut self, script: &str) {
        let end = Instant::now() + PATIENCE;
        while self.sh(&format!("if {script}; then echo holds; fi")) != "holds" {
            assert!(Instant::now() < end, "in vain: {script}\n{}", self.sh("journalctl --no-pager -n 40"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The condition of a unit, which is still being started, holds only after this.
    fn ready_after(&mut self, unit: &str, cause: &str) {
        self.sh(&format!("systemctl start --no-block {unit}"));
        self.wait(&format!("[ $(systemctl show -P MainPID {unit}) != 0 ]"));
        assert_eq!(self.show("ActiveState", unit), "activating", "{unit}");
        self.sh(cause);
        self.wait(&format!("systemctl -q is-active {unit}"));
    }

    /// Waits until a unit has another main process and is up.
    fn wait_for_another(&mut self, unit: &str, main: &str) {
        self.wait(&format!(
            "systemctl -q is-active {unit} && [ $(systemctl show -P MainPID {unit}) != {main} ]"
        ));
    }
}

const WAITS: &str = "ExecStart=sh -c 'while [ ! -e /run/go-%N ]; do sleep 0.02; done; ";

#[test]
fn readiness_that_systemd_lacks() {
    let asked = |then: &str, ask: &str| format!("Type=exec\n{WAITS}{then}'\nExecStartPost=READY {ask}");
    let around = |ask: &str, then: &str| {
        let command = WAITS.replace("ExecStart=", "");
        format!("Type=notify\nExecStart=READY {ask} -- {command}{then}; exec sleep 1000'")
    };
    let serve = "exec python3 /proof/program.py serve 4001";
    let mut bed = Units::up(&[
        ("tcp", &asked(serve, "--tcp=127.0.0.1:4001 --within 25s")),
        ("exec", &asked("echo x > /run/made; exec sleep 1000", "--exec test -e /run/made \\; --within 25s")),
        ("settled", &asked("exec sleep 1000", "--exec test -e /run/go-settled \\; --settle 300ms")),
        ("behind", &asked("echo x > /run/behind; exec sleep 1000", "--file=/run/behind --contains=x")),
        ("log", &around("--log=all.up", "printf all.; echo up")),
        ("fd", &around("--fd=7", "echo up >&7")),
        ("file", &around("--file=/run/old", "echo x > /run/old")),
        ("port", &around("--tcp=127.0.0.1:4002", "python3 /proof/program.py serve 4002 & true")),
        (
            "ended",
            "Type=exec\nExecStart=sh -c 'sleep 0.2; exit 3'\nExecStartPost=READY --tcp=127.0.0.1:1 --within 25s",
        ),
        ("late", "Type=exec\nExecStart=sleep 1000\nExecStartPost=READY --tcp=127.0.0.1:1 --within 300ms"),
        ("nothing", "Type=notify\nExecStart=READY --log=x -- /no/such/program"),
    ]);
    bed.sh("echo old > /run/old; echo old > /run/behind; sleep 0.1");
    for unit in ["tcp", "exec", "settled", "behind", "log", "fd", "file", "port"] {
        bed.ready_after(unit, &format!("touch /run/go-{unit}"));
        assert_eq!(bed.show("StatusText", unit), "", "{unit} is not waited for any more");
    }
    // The command is the main process itself.
    let main = bed.show("MainPID", "log");
    assert_eq!(bed.sh(&format!("cat /proc/{main}/comm")), "sleep");

    bed.sh("systemctl start ended late nothing");
    assert!(bed.journal("ended").contains("has ended; last answer: 127.0.0.1:1: connection refused"));
    assert!(
        bed.journal("late").contains("not ready within 300ms; last answer: 127.0.0.1:1: connection refused")
    );
    assert!(bed.journal("nothing").contains("cannot execute /no/such/program: No such file"));
    assert_eq!(bed.show("ExecMainStatus", "nothing"), "203", "systemd's own code for that");
    for unit in ["ended", "late", "nothing"] {
        assert_eq!(bed.show("ActiveState", unit), "failed", "{unit}");
    }
}

#[test]
fn no_line_is_lost_on_its_way_through_woodward_ready() {
    let unit = |which: &str, more: &str| {
        let drain = "ExecStopPost=-READY --drain";
        format!("Type=notify\nExecStart=READY --log=up -- python3 /proof/program.py {which}\n{drain}\n{more}")
    };
    let talks = "Type=notify\nRestart=always\nRestartSec=0\nExecStart=READY --log=up -- sh -c 'while echo up; do sleep 0.05; done'";
    let mut bed = Units::up(&[
        ("crash", &unit("crash", "")),
        ("stop", &unit("stop", "")),
        ("group", &unit("stop", "KillMode=control-group")),
        ("nobody", &unit("stop", "User=nobody")),
        ("talks", talks),
    ]);
    bed.sh("systemctl start crash stop group nobody talks");
    bed.wait("[ $(systemctl show -P ActiveState crash) = failed ]");
    let main = bed.show("MainPID", "stop");
    bed.sh("systemctl stop stop group nobody");
    for unit in ["crash", "stop", "group", "nobody"] {
        let count = format!("journalctl -u {unit} -o cat --no-pager | grep -c '^line'");
        bed.wait(&format!("[ $({count}) = 3000 ]"));
    }
    assert_eq!(bed.show("Result", "crash"), "signal", "its end is its own");
    assert_eq!(bed.show("Result", "stop"), "success");
    // Priority and sender are those that the journal would have seen.
    let first = bed.sh("journalctl -u stop -o json --no-pager PRIORITY=3");
    assert!(
        first.contains("\"MESSAGE\":\"up\"") && first.contains(&format!("\"_PID\":\"{main}\"")),
        "{first}"
    );

    // Without the process that passes it on, a service ends at its next line, and begins anew.
    let main = bed.show("MainPID", "talks");
    bed.sh("kill -KILL $(pgrep -fo '^/usr/bin/woodward ready --log=up -- sh')");
    bed.wait_for_another("talks", &main);
    assert_eq!(bed.show("NRestarts", "talks"), "1");
}

#[test]
fn what_hangs_is_ended_by_the_watchdog() {
    let unit = |port: u16, more: &str| {
        format!(
            "Type=exec\nExecStart=python3 /proof/program.py serve {port}\nRestart=always\nRestartSec=0\n\
             ExecStartPost=READY --tcp=127.0.0.1:{port} --within 25s --health-tcp=127.0.0.1:{port} \
             --every 200ms --timeout 200ms --misses 2\nWatchdogSignal=SIGKILL\nTimeoutAbortSec=2s\n{more}"
        )
    };
    let mut bed = Units::up(&[
        ("hangs", &unit(4001, "")),
        (
            "silent",
            "Type=exec\nExecStart=sleep 1000\nExecStartPost=READY --watchdog=300ms --start-after=300ms",
        ),
        ("stops", &unit(4002, "")),
        ("relies", &unit(4003, "Environment=\"WOODWARD_RELIES_ON=hangs.service other.service\"")),
        ("other", "Type=exec\nExecStart=sleep 1000"),
        ("alone", &unit(4004, "")),
    ]);
    bed.sh("systemctl start hangs stops relies other alone");

    let main = bed.show("MainPID", "hangs");
    bed.sh(&format!("kill -USR1 {main}"));
    bed.wait_for_another("hangs", &main);
    let journal = bed.journal("hangs");
    assert!(journal.contains("hangs: tcp 127.0.0.1:4001: connection refused, 2 times in a row"), "{journal}");
    assert!(journal.contains("Failed with result 'watchdog'"), "{journal}");
    assert_eq!(bed.show("NRestarts", "hangs"), "1");

    // A watchdog may begin later than the main process.
    assert_eq!(bed.sh("systemctl start silent && echo started"), "started");
    bed.wait("[ $(systemctl show -P Result silent) = watchdog ]");

    // One that shuts down owes nobody an answer.
    bed.sh("systemctl stop stops");
    assert_eq!(bed.show("Result", "stops"), "success");

    // Nor does one that relies on what is down: it is judged when that is up again.
    let main = bed.show("MainPID", "relies");
    bed.sh(&format!("systemctl stop other; kill -USR1 {main}"));
    bed.wait(
        "[ \"$(systemctl show -P StatusText relies)\" = 'not asked while what it relies on is not up' ]",
    );
    assert_eq!(bed.show("MainPID", "relies"), main);
    bed.sh("systemctl start other");
    bed.wait_for_another("relies", &main);

    // If nobody asks any more, systemd acts by itself.
    let main = bed.show("MainPID", "alone");
    bed.sh("kill -KILL $(pgrep -fo '^/usr/bin/woodward ready --tcp=127.0.0.1:4004')");
    bed.wait_for_another("alone", &main);
    assert!(bed.journal("alone").contains("Watchdog timeout"), "{}", bed.journal("alone"));
}
