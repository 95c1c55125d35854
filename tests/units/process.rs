//! Every kind of line about a process, looked at from inside the process, on a real systemd. One boot for all.

use std::fs;
use std::process::Command;

use woodward::units::template;

use super::bed::Bed;
use crate::bed::{program as program_of_woodward, repository};

use super::{load, plan, render, wait};

const TREE: &str = r#"
id = "p"
intensity = 1000
defaults = { backoff = false }

[[child]]
id = "who"
command = ["sleep", "infinity"]
user = "games"
group = "daemon"
supplementary_groups = ["adm", "tty"]
umask = "0027"
nice = 5
oom_score_adjust = 300
limits = { nofile = "100:200", core = "infinity", memlock = "64K" }
working_directory = "/proof/place/deep"
directories = ["/proof/place", "/proof/place/deep", "/proof/place/it's 100% \"odd\""]

[[child]]
id = "open"
command = ["sleep", "infinity"]
stdin = "open"

[[child]]
id = "env"
command = ["sleep", "infinity"]
environment_file = ["-/proof/missing.env", "/proof/plain.env"]
environment = { OURS = "table", SECOND = "100%\n\"$HOME\"" }

[[child]]
id = "hooks"
command = ["sh", "-c", "trap 'echo usr1 >> /proof/hooks; exit 0' USR1; while :; do sleep 0.05; done"]
before_start = [["sh", "-c", "echo before >> /proof/hooks"], ["sh", "-c", "echo \"$WOODWARD_PATH\" >> /proof/hooks"]]
after_ready = ["sh", "-c", "[ -d /proc/$MAINPID ] && echo ready >> /proof/hooks"]
after_stop = ["sh", "-c", "echo stopped $SERVICE_RESULT >> /proof/hooks; false"]
stop = { command = ["sh", "-c", "[ -d /proc/$MAINPID ] && echo asked >> /proof/hooks"], signal = "SIGUSR1" }

[[child]]
id = "brutal"
command = ["sh", "-c", "trap 'echo asked > /proof/brutal' TERM; while :; do sleep 0.05; done"]
shutdown = "brutal_kill"

[[child]]
id = "group"
command = ["sh", "-c", "sh -c 'trap \"echo asked > /proof/group; exit\" TERM; while :; do sleep 0.05; done' & trap '' TERM; wait; wait"]
stop = { kill = "group" }
shutdown = "3s"

[[child]]
id = "file"
command = ["sh", "-c", "echo said; echo complained >&2; sleep infinity"]
output = { file = "/proof/some.log", max_size = "1M" }

[[child]]
id = "own-file"
command = ["sh", "-c", "echo said; echo complained >&2; sleep infinity"]
user = "games"
directories = ["/proof/logs"]
output = { file = "/proof/logs/own.log" }

[[child]]
id = "lines"
command = ["sh", "-c", "echo a line; sleep infinity"]

[[child]]
id = "many"
command = ["sh", "-c", "i=0; while [ $i -lt 300 ]; do echo many $i; i=$((i+1)); done; sleep infinity"]
log_rate_limit = { lines = 10, per = "1m" }

[[child]]
id = "resources"
command = ["sleep", "infinity"]
memory_max = "64M"
memory_high = "48M"
cpu_weight = 50
cpu_quota = "150%"
tasks_max = 77
io_weight = 200

[[child]]
id = "caps"
command = ["sleep", "infinity"]
user = "games"
no_new_privileges = true
capabilities = ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]
private_tmp = true
read_only_paths = ["/usr", "/proof/fixed"]

[[child]]
id = "strict"
command = ["sh", "-c", "for f in /etc/x /usr/x /home/x /proof/x /proof/mine/x /tmp/x /proc/sys/kernel/hostname; do if (echo strict > $f) 2>/dev/null; then echo $f; fi; done > /tmp/can; mount -t tmpfs none /mnt 2>/dev/null && echo mounted >> /tmp/can; ls /dev > /proof/mine/dev; cp /tmp/can /proof/mine/can; exec sleep infinity"]
harden = "strict"
directories = ["/proof/mine"]

[[child]]
id = "reload"
command = ["sh", "-c", "trap 'echo hup >> /proof/reload' HUP; while :; do sleep 0.05; done"]
reload = { signal = "SIGHUP" }

[[child]]
id = "reload-command"
command = ["sleep", "infinity"]
reload = { command = ["sh", "-c", "echo $MAINPID > /proof/reload-command"] }

[[child]]
id = "relative"
command = ["./prog", "x"]
working_directory = "/proof/bin"

[[child]]
id = "sigpipe"
command = ["sleep", "infinity"]

[[child]]
id = "again"
strategy = "one_for_all"

  [[child.child]]
  id = "w"
  command = ["sh", "-c", "echo first >> /proof/again; exec sleep infinity"]
  command_on_restart = ["sh", "-c", "echo again >> /proof/again; exec sleep infinity"]

  [[child.child]]
  id = "sibling"
  command = ["sleep", "infinity"]

[[child]]
id = "socket"
command = ["sh", "-c", "echo \"$LISTEN_FDS $LISTEN_FDNAMES $([ $LISTEN_PID = $$ ] && echo mine)\" > /proof/socket; exec sleep infinity"]
listen = [{ name = "web", unix = "/proof/web.sock", mode = "0640", group = "adm" }]

[[child]]
id = "lazy"
command = ["sh", "-c", "echo ran >> /proof/lazy; exec sleep infinity"]
listen = [{ unix = "/proof/lazy.sock", lazy = true }]

[[child]]
id = "pool"
strategy = "simple_one_for_one"
[child.template]
id = "w"
command = ["sh", "-c", "sleep infinity; :", "sh", "--id=${arg.id}"]
before_start = ["sh", "-c", "echo \"$1\" > /proof/pool", "sh", "${arg.id}"]
"#;

/// What is done, and what is seen then.
const LOOKS: &[(&str, &str)] = &[
    (
        "grep -E '^(Uid|Gid|Groups|Umask)' /proc/$(pid who)/status | tr -s '\\t \\n' ' '",
        "Umask: 0027 Uid: 5 5 5 5 Gid: 1 1 1 1 Groups: 1 4 5",
    ),
    (
        "grep -E 'open files|core file|locked' /proc/$(pid who)/limits | awk '{print $(NF-2), $(NF-1)}' | tr '\\n' ' '",
        "unlimited unlimited 100 200 65536 65536",
    ),
    (
        "cat /proc/$(pid who)/oom_score_adj; ps -o ni= -p $(pid who) | tr -d ' '; readlink /proc/$(pid who)/cwd",
        "300\n5\n/proof/place/deep",
    ),
    (
        "stat -c '%U:%G %n' /proof/place/*",
        "games:daemon /proof/place/deep\ngames:daemon /proof/place/it's 100% \"odd\"",
    ),
    (
        "readlink /proc/$(pid who)/fd/0 /proc/$(pid open)/fd/0",
        "/dev/null\n/run/woodward-units/p-open.stdin/pipe",
    ),
    (
        "tr '\\0' '\\n' < /proc/$(pid env)/environ | grep -E '^(OURS|SECRET|SECOND|\"|WOODWARD)' ",
        "SECOND=100%\n\"$HOME\"\nWOODWARD_PATH=p/env\nSECRET=it's 100% mine\nOURS=table",
    ),
    ("systemctl show p-env | grep -c mine; grep -c mine /etc/systemd/system/p-env.service", "0\n0"),
    (
        "cat /proof/hooks; systemctl stop p-hooks; tail -n +4 /proof/hooks; systemctl show -P ActiveState p-hooks",
        "before\np/hooks\nready\nasked\nusr1\nstopped success\ninactive",
    ),
    (
        "systemctl stop p-brutal; ls /proof/brutal 2>&1 | grep -c cannot; systemctl show -P ActiveState p-brutal",
        "1\ninactive",
    ),
    ("systemctl stop p-group; cat /proof/group", "asked"),
    (
        "cat /proof/some.log; cat /proof/logs/own.log; stat -c %U /proof/some.log /proof/logs/own.log",
        "said\ncomplained\nsaid\ncomplained\nroot\ngames",
    ),
    (
        "journalctl -o cat WOODWARD_PATH=p/lines WOODWARD_CHILD=lines SYSLOG_IDENTIFIER=p/lines _TRANSPORT=stdout",
        "a line",
    ),
    (
        "journalctl -o cat -t p/many | grep -c many | awk '{ print ($1 < 300) ? \"fewer\" : \"all\" }'",
        "fewer",
    ),
    (
        "systemctl show -P MemoryMax -P MemoryHigh -P CPUWeight -P CPUQuotaPerSecUSec -P TasksMax -P IOWeight p-resources",
        "50\n1.500000s\n200\n50331648\n67108864\n77",
    ),
    (
        "grep -E '^(NoNewPrivs|CapBnd|CapEff|CapAmb)' /proc/$(pid caps)/status | tr -s '\\t \\n' ' '",
        "CapEff: 0000000000000401 CapBnd: 0000000000000401 CapAmb: 0000000000000401 NoNewPrivs: 1",
    ),
    (
        "nsenter -t $(pid caps) -m sh -c 'ls -A /tmp | wc -l; touch /usr/x /proof/fixed/x 2>&1 | grep -c Read-only'",
        "0\n2",
    ),
    (
        "cat /proof/mine/can; tr '\\n' ' ' < /proof/mine/dev; grep -E '^(CapBnd|Seccomp:)' /proc/$(pid strict)/status | tr -s '\\t \\n' ' '",
        "/proof/mine/x\n/tmp/x\nchar fd full hugepages log mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero CapBnd: 0000000000000000 Seccomp: 2",
    ),
    ("systemctl reload p-reload; until [ -e /proof/reload ]; do sleep 0.05; done; cat /proof/reload", "hup"),
    (
        "systemctl reload p-reload-command; [ $(cat /proof/reload-command) = $(pid reload-command) ] && echo same",
        "same",
    ),
    ("tr '\\0' ' ' < /proc/$(pid relative)/cmdline", "/bin/sh ./prog x"),
    ("ignored=0x$(sed -n 's/SigIgn:.//p' /proc/$(pid sigpipe)/status); echo $((ignored & 0x1000))", "0"),
    ("stat -c '%a %G %F' /proof/web.sock; cat /proof/socket", "640 adm socket\n1 web mine"),
    (
        "old=$(pid socket); kill -KILL $old; until [ $(pid socket) != 0 ] && [ $(pid socket) != $old ]; do sleep 0.05; done; \
      systemctl is-active p-socket.socket; python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/proof/web.sock\"); print(\"taken\")'",
        "active\ntaken",
    ),
    (
        "systemctl is-active p-lazy; python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/proof/lazy.sock\")'; \
      until [ -e /proof/lazy ]; do sleep 0.05; done; systemctl is-active p-lazy",
        "inactive\nactive",
    ),
    ("systemctl start \"p-pool-w@$(systemd-escape \"a b/c's\").service\"; cat /proof/pool", "a b/c's"),
];

/// How `command_on_restart` goes, in this order.
const AGAIN: &[(&str, &str)] = &[
    ("true", "first"),
    // A crash; a crash of a sibling of its group; a stop and a start by hand; a new incarnation of its supervisor.
    ("kill -KILL $(pid again-w)", "first again"),
    ("kill -KILL $(pid again-sibling)", "first again again"),
    ("systemctl stop p-again-w; systemctl start p-again-w", "first again again again"),
    ("systemctl restart p-again", "first again again again again"),
    // Another run of the tree.
    ("systemctl stop p; systemctl start p", "first again again again again first"),
];

#[test]
fn what_a_tree_says_of_a_process_is_what_the_process_finds() {
    let mut bed = Bed::up();
    let at = bed.path();
    for directory in ["fixed", "bin", "units"] {
        fs::create_dir(at.join(directory)).expect("made");
    }
    let program = at.join("bin/prog");
    fs::write(&program, "#!/bin/sh\nsleep infinity\n").expect("written");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    fs::set_permissions(&at, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    let plain = at.join("plain.env");
    fs::write(&plain, "# ours\nSECRET=\"it's 100% mine\"\nOURS=file\n").expect("written");
    let text = TREE.replace("/proof/plain.env", &plain.display().to_string());
    let tree = at.join("tree.toml");
    fs::write(&tree, text).expect("written");
    let rendering = render(&load(&tree));
    for unit in &rendering.units {
        let text = unit.to_string().replace(&plain.display().to_string(), "/proof/plain.env");
        fs::write(at.join("units").join(&unit.name), text).expect("written");
    }
    let verified = bed.sh("cp /proof/units/* /etc/systemd/system/ && systemctl daemon-reload; \
                           journalctl -o cat -p warning _PID=1");
    assert_eq!(verified, "");
    let verify = Command::new(repository("tests/systemd-bed/systemd-bed"))
        .args(["verify", "-b", &format!("{}:/proof", at.display())])
        .args(["-b", &format!("{}:/usr/bin/woodward", program_of_woodward().display())])
        .arg(at.join("units"))
        .output()
        .expect("the verifier can be started");
    let said = String::from_utf8_lossy(&verify.stdout) + String::from_utf8_lossy(&verify.stderr);
    assert!(verify.status.success(), "{said}");
    bed.sh("pid() { systemctl show -P MainPID p-$1; }");
    bed.sh("systemctl start p");
    let up = "[ \"$(cat /proof/again)\" = first ] && [ -e /proof/mine/can ] && ! systemctl list-jobs --no-legend | grep -qv '^No jobs'";
    let mut looks = 0;
    wait("everything to be up", || {
        looks += 1;
        looks > 300 || bed.sh(&format!("if {up}; then echo up; fi")) == "up"
    });
    let late = bed.sh(&format!(
        "({up}) || {{ systemctl list-jobs; systemctl list-units --failed; journalctl -o cat | tail -50; }}"
    ));
    assert_eq!(late, "");
    let mut wrong = String::new();
    for (script, expected) in LOOKS {
        let seen = bed.sh(script);
        if seen != *expected {
            wrong += &format!("$ {script}\n{seen}\ninstead of\n{expected}\n\n");
        }
    }
    for (script, expected) in AGAIN {
        bed.sh(script);
        wait(script, || {
            let seen = bed.sh("tr '\\n' ' ' < /proof/again");
            seen.len() >= expected.len()
                && bed.sh("systemctl list-jobs --no-legend | grep -v '^No jobs'").is_empty()
        });
        let seen = bed.sh("tr '\\n' ' ' < /proof/again");
        if seen != *expected {
            wrong += &format!("$ {script}\n{seen}\ninstead of\n{expected}\n\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

const INSTANCES: &str = r#"
id = "i"
[vars]
instance = 0
base = 0

[[child]]
id = "group"
strategy = "one_for_all"

  [[child.child]]
  id = "a"
  command = ["sh", "-c", "sleep infinity; :", "--port=${base + 100 * instance + 1}"]
  command_on_restart = ["sh", "-c", "sleep infinity; :", "--again=${instance}"]

  [[child.child]]
  id = "b"
  command = ["sleep", "infinity"]
  environment = { DATA = "/data/${instance}" }
"#;

#[test]
fn instances_of_one_template_live_and_die_apart() {
    let mut bed = Bed::up();
    let at = bed.path();
    fs::create_dir(at.join("units")).expect("made");
    let of = |instance: u32| {
        let base = if instance == 0 { 4000 } else { 3000 };
        let text = INSTANCES
            .replace("instance = 0", &format!("instance = {instance}"))
            .replace("base = 0", &format!("base = {base}"));
        (instance.to_string(), render(&plan("i", &text)))
    };
    let renderings: Vec<_> = (0..5).map(of).collect();
    let all = template::instances(&renderings);
    let misfits: Vec<&str> = all.misfits.iter().map(|misfit| misfit.unit.as_str()).collect();
    assert_eq!(misfits, ["i-group-a@0.service"]);
    fs::write(at.join("tree.toml"), "").expect("written");
    for unit in &all.rendering.units {
        fs::write(at.join("units").join(&unit.name), unit.to_string()).expect("written");
    }
    bed.sh("cp /proof/units/* /etc/systemd/system/ && systemctl daemon-reload");
    bed.sh(
        "words() { { tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID $1)/cmdline; } 2>&1 | tail -n 1; }",
    );
    bed.sh("systemctl start i@0 i@2 i@3");
    assert_eq!(bed.sh("journalctl -o cat -p warning _PID=1"), "");
    let up = "systemctl is-active i-group-b@0 i-group-b@2 i-group-b@3 | sort -u";
    let mut looks = 0;
    wait("three instances to be up", || {
        looks += 1;
        looks > 200 || bed.sh(up) == "active"
    });
    let late =
        format!("[ \"$({up})\" = active ] || {{ systemctl list-jobs; journalctl -o cat | tail -40; }}");
    assert_eq!(bed.sh(&late), "");
    let seen = bed.sh("words i-group-a@0; words i-group-a@2; words i-group-a@3").replace('\n', " ");
    assert_eq!(seen, "--port=4001 --port=3201 --port=3301");
    let data = "tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID i-group-b@3)/environ | grep DATA";
    assert_eq!(bed.sh(data), "DATA=/data/3");
    let pids = "systemctl show -P MainPID i-group-a@2 i-group-b@2 i-group-a@0";
    let before = bed.sh(pids);
    bed.sh("systemctl kill -s KILL i-group-b@3");
    wait("its group to restart", || bed.sh("words i-group-a@3") == "--again=3");
    assert_eq!(bed.sh(pids), before);
    bed.sh("systemctl stop i@3");
    assert_eq!(bed.sh("systemctl is-active i-group-a@3 i-group-b@3 i-group@3 | sort -u"), "inactive");
    assert_eq!(bed.sh(pids), before);
}
