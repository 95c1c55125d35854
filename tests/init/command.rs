//! `run -- COMMAND`: exit codes, signals, orphans, what the command is given.

use super::*;

/// Sleeps until it is told to end; everything written to `out` and files of `$D`.
const SLEEPER: &str = "echo ready; exec sleep 1000";

// ---- exit codes

#[test]
fn every_exit_code_is_kept() {
    for code in 0..=255 {
        assert_eq!(Init::script(As::Process, &[], &format!("exit {code}")).code(), code);
    }
    for code in [0, 1, 2, 42, 126, 127, 128, 255] {
        assert_eq!(Init::script(As::Pid1, &[], &format!("exit {code}")).code(), code);
    }
}

#[test]
fn an_exit_code_can_be_told_as_success() {
    for code in (0..=255).step_by(5) {
        let option = format!("--success={code}");
        assert_eq!(Init::script(As::Process, &[&option], &format!("exit {code}")).code(), 0);
        let other = (code + 1) % 256;
        assert_eq!(Init::script(As::Process, &[&option], &format!("exit {other}")).code(), other);
    }
    assert_eq!(Init::script(As::Process, &["--success=143"], "kill -TERM $$").code(), 0);
}

#[test]
fn death_by_a_signal_is_128_and_its_number() {
    for how in BOTH {
        for signal in [1, 2, 3, 6, 9, 10, 11, 12, 13, 14, 15] {
            assert_eq!(
                Init::script(how, &[], &format!("ulimit -c 0; kill -{signal} $$")).code(),
                128 + signal
            );
        }
    }
}

#[test]
fn a_command_that_is_not_found_is_127_and_one_that_cannot_be_executed_126() {
    for how in BOTH {
        let mut init = Init::run(how, &["run", "--", "no-such-command"]);
        assert_eq!(init.code(), 127);
        assert_eq!(init.read("errors"), "cannot run no-such-command: not found in PATH\n");
        let mut init = Init::run(how, &["run", "--", "/etc/passwd"]);
        assert_eq!(init.code(), 126);
        assert_eq!(init.read("errors"), "cannot run /etc/passwd: not executable\n");
        assert_eq!(Init::run(how, &["run", "--", "/no/such/file"]).code(), 127);
    }
}

#[test]
fn options_of_trees_and_of_a_command_do_not_mix() {
    assert_eq!(Init::run(As::Process, &["run", "--init", "--", "true"]).code(), 64);
    assert_eq!(Init::run(As::Process, &["run", "tree.toml", "--", "true"]).code(), 64);
    assert_eq!(Init::run(As::Process, &["run", "--grace", "1s", "tree.toml"]).code(), 64);
    assert_eq!(Init::run(As::Process, &["run", "--rewrite", "15", "--", "true"]).code(), 64);
}

// ---- signals

/// Says which signals it gets, each once: `got 15`.
const LISTENER: &str = r#"
import os, signal
def got(number, frame):
    os.write(1, b'got %d.\n' % number)
for number in range(1, 65):
    if number not in (9, 17, 19, 32, 33):
        signal.signal(number, got)
os.write(1, b'ready\n')
while True:
    signal.pause()
"#;

fn listener(how: As, options: &[&str]) -> Init {
    let init = Init::run(how, &[&["run"], options, &["--", "python3", "-S", "-c", LISTENER]].concat());
    init.says("ready");
    init
}

#[test]
fn every_ordinary_signal_reaches_the_command() {
    for how in BOTH {
        let init = listener(how, &[]);
        // Not those that stop: another rule. Not 32 and 33, which the C library keeps for itself.
        for signal in (1..=64).filter(|n| ![9, 17, 19, 20, 21, 22, 32, 33].contains(n)) {
            init.signal(signal);
            init.says(&format!("got {signal}."));
        }
        assert_eq!(init.read("out").matches("got").count(), 56, "each once");
    }
}

#[test]
fn a_signal_can_become_another_one() {
    for how in BOTH {
        // A swap, the lowest, the highest.
        let options = ["--rewrite=15:3", "--rewrite=QUIT:TERM", "--rewrite=1:64", "--rewrite=64:SIGHUP"];
        let init = listener(how, &options);
        for (sent, got) in [(15, 3), (3, 15), (1, 64), (64, 1), (12, 12)] {
            init.signal(sent);
            init.says(&format!("got {got}."));
        }
        assert_eq!(init.read("out").matches("got").count(), 5);
    }
}

#[test]
fn a_signal_can_become_nothing() {
    let init = listener(As::Process, &["--rewrite=10:0"]);
    init.signal(10);
    init.signal(12);
    init.says("got 12.");
    assert!(!init.read("out").contains("got 10."));
}

#[test]
fn a_signal_without_a_handler_ends_the_command_with_128_and_its_number() {
    for how in BOTH {
        for signal in [libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGINT, libc::SIGHUP] {
            let mut init = Init::script(how, &[], SLEEPER);
            init.says("ready");
            init.signal(signal);
            assert_eq!(init.code(), 128 + signal);
        }
    }
}

/// A child that ignores the signal, with a child in the same process group that does not.
const DEAF_PARENT: &str = "
    sh -c 'trap \"echo grandchild >> out; exit\" USR1; echo it listens; while :; do sleep 0.01; done' &
    trap '' USR1; echo it is deaf; wait; exit 7";

#[test]
fn a_signal_to_the_group_reaches_a_grandchild_whose_parent_ignores_it() {
    for how in BOTH {
        let mut init = Init::script(how, &["--signals=group"], DEAF_PARENT);
        init.says("it listens");
        init.says("it is deaf");
        init.signal(libc::SIGUSR1);
        init.says("grandchild");
        assert_eq!(init.code(), 7);
    }
}

#[test]
fn sigterm_ends_a_whole_pipeline() {
    for how in BOTH {
        let mut init = Init::script(how, &[], "echo ready; sleep 1000 | sleep 1000 | sleep 1000");
        init.says("ready");
        let below = until("the pipeline to run", || Some(family(init.pid())).filter(|all| all.len() == 4));
        init.signal(libc::SIGTERM);
        assert_eq!(init.code(), 143);
        until("the pipeline to end", || below.iter().all(|pid| state(*pid).is_none()).then_some(()));
    }
}

/// Three processes: the command, one in its group, one in a session of its own; each says when it is told.
const TREE: &str = "
    told='echo told $0 >> out; exit 0'
    sh -c \"trap '$told' TERM; echo up group; while :; do sleep 0.01; done\" group &
    setsid sh -c \"trap '$told' TERM; echo up session; while :; do sleep 0.01; done\" session &
    trap 'echo told command >> out; exit 5' TERM
    echo up command; while :; do sleep 0.01; done";

#[test]
fn sigterm_reaches_the_whole_tree() {
    for how in BOTH {
        let mut init = Init::script(how, &[], TREE);
        ["up group", "up session", "up command"].iter().for_each(|word| init.says(word));
        init.signal(libc::SIGTERM);
        assert_eq!(init.code(), 5);
        let out = init.read("out");
        for who in ["told group", "told session", "told command"] {
            assert_eq!(out.matches(who).count(), 1, "{how:?}: {who} in {out}");
        }
    }
}

#[test]
fn a_single_command_is_the_only_one_that_gets_signals() {
    let mut init = Init::script(As::Process, &["--signals=process"], TREE);
    ["up group", "up session", "up command"].iter().for_each(|word| init.says(word));
    let below = children(children(init.pid())[0]);
    init.signal(libc::SIGTERM);
    assert_eq!(init.code(), 5);
    assert!(init.read("out").contains("told command"));
    assert!(!init.read("out").contains("told session") && !init.read("out").contains("told group"));
    // And what it leaves behind is nobody's business.
    let left: Vec<i32> = below.into_iter().filter(|pid| state(*pid).is_some()).collect();
    assert!(left.len() >= 2, "{left:?}");
    left.iter().for_each(|pid| send(*pid, libc::SIGKILL));
}

#[test]
fn a_stopped_process_is_continued_to_hear_of_its_end() {
    for how in BOTH {
        let mut init =
            Init::script(how, &[], "trap 'echo told; exit 3' TERM; echo ready; kill -STOP $$; sleep 1000");
        init.says("ready");
        let command = children(init.pid())[0];
        until("the command to stop", || (state(command) == Some('T')).then_some(()));
        init.signal(libc::SIGTERM);
        assert_eq!(init.code(), 3);
        init.says("told");
    }
}

#[test]
fn stopping_stops_the_init_with_its_command_and_continuing_wakes_both() {
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        let mut init = Init::script(As::Process, &[], SLEEPER);
        init.says("ready");
        let command = children(init.pid())[0];
        init.signal(signal);
        for pid in [init.pid(), command] {
            until("both to stop", || (state(pid) == Some('T')).then_some(()));
        }
        init.signal(libc::SIGCONT);
        for pid in [init.pid(), command] {
            until("both to go on", || (state(pid) == Some('S')).then_some(()));
        }
        init.signal(libc::SIGTERM);
        assert_eq!(init.code(), 143);
    }
}

// ---- orphans

/// Twenty orphans that end a little later; says how many of them are zombies then.
const ORPHANS: &str = r#"
import os, time
for n in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.02)
        os._exit(n)
    os.wait()
def zombies():
    stats = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            stats.append(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[:2])
        except OSError:
            pass
    return [s for s in stats if s[1] == str(os.getppid()) and s[0] != 'Z'], [s for s in stats if s == ['Z', str(os.getppid())]]
end = time.monotonic() + 20
while zombies() != ([['R', str(os.getppid())]], []) and time.monotonic() < end:
    time.sleep(0.01)
print('zombies', len(zombies()[1]), 'children', len(zombies()[0]))
"#;

#[test]
fn orphans_are_reaped() {
    for how in BOTH {
        let mut init = Init::run(how, &["run", "--", "python3", "-S", "-c", ORPHANS]);
        assert_eq!(init.code(), 0);
        assert_eq!(init.read("out"), "zombies 0 children 1\n", "{how:?}");
    }
}

#[test]
fn orphans_below_another_sub_reaper_come_when_that_one_ends() {
    // A sub-reaper between the two: woodward itself, which leaves its orphan behind.
    let program = bed::program();
    let inner =
        format!("{} run --signals process -- sh -c 'sleep 0.2 & exit 0'; sleep 0.5", program.display());
    let mut init = Init::run(As::Process, &["run", "--verbose", "--", "sh", "-c", &inner]);
    assert_eq!(init.code(), 0);
    assert_eq!(init.read("errors").matches("reaped orphan").count(), 1, "{}", init.read("errors"));
}

#[test]
fn who_is_reaped_can_be_said() {
    for how in BOTH {
        let mut init = Init::script(how, &["--verbose"], "(sh -c 'exit 3' & ) ; sleep 0.5; exit 0");
        assert_eq!(init.code(), 0);
        let said = init.read("errors");
        assert!(said.contains("exit code 3") && said.contains("sh has ended, exit code 0"), "{said}");
    }
}

#[test]
fn what_the_command_leaves_behind_is_told_and_waited_for() {
    for how in BOTH {
        let script = "setsid sh -c \"trap 'echo told >> out; sleep 0.3; echo done >> out; exit' TERM
            echo up; while :; do sleep 0.01; done\" &
            until grep -q up out; do sleep 0.01; done; exit 9";
        let mut init = Init::script(how, &[], script);
        assert_eq!(init.code(), 9);
        assert!(init.read("out").contains("told\ndone"), "{how:?}: {}", init.read("out"));
    }
}

#[test]
fn what_does_not_listen_is_killed_after_its_grace() {
    for how in BOTH {
        let script = "setsid sh -c \"trap '' TERM; echo up; while :; do sleep 0.01; done\" &
            until grep -q up out; do sleep 0.01; done; exit 9";
        let mut init = Init::script(how, &["--grace=300ms"], script);
        init.says("up");
        let below = family(init.pid());
        assert_eq!(init.code(), 9);
        until("it to be killed", || below.iter().all(|pid| state(*pid).is_none()).then_some(()));
    }
}

#[test]
fn a_second_interrupt_ends_the_grace() {
    let script = "trap 'exit 4' INT; setsid sh -c \"trap '' TERM; echo up; while :; do sleep 0.01; done\" &
        until grep -q up out; do sleep 0.01; done; echo ready; while :; do sleep 0.01; done";
    let mut init = Init::script(As::Process, &["--grace=1h"], script);
    init.says("ready");
    let command = children(init.pid())[0];
    init.signal(libc::SIGINT);
    until("the command to end", || state(command).is_none().then_some(()));
    init.signal(libc::SIGINT);
    assert_eq!(init.code(), 4);
}

/// Ten processes that do not listen and are never the same: each forks itself and ends, for ever.
const HOPPERS: &str = r#"
import os, signal
signal.signal(15, signal.SIG_IGN)
for n in range(10):
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
"#;

#[test]
fn a_fork_bomb_does_not_survive_pid_1() {
    let script = "python3 -S -c \"$HOPPERS\"; exit 6";
    let before = format!("export HOPPERS='{HOPPERS}'");
    let args = ["run", "--grace=50ms", "--", "sh", "-c", script];
    let mut init = Init::shell(As::Pid1, directory(), &before, &args);
    assert_eq!(init.code(), 6);
}

// ---- what the command is given

/// What the script prints below woodward, and without it.
fn both_ways(how: As, before: &str, script: &str) -> [String; 2] {
    let mut init = Init::shell(how, directory(), before, &["run", "--", "sh", "-c", script]);
    assert_eq!(init.code(), 0);
    let bare = minds_signals(&mut Command::new("sh"))
        .args(["-c", &format!("{before}\nexec sh -c \"$0\""), script])
        .current_dir(init.path())
        .output()
        .expect("a shell");
    [init.read("out"), String::from_utf8_lossy(&bare.stdout).into_owned()]
}

#[test]
fn the_command_is_given_what_it_would_have_without_an_init() {
    for how in BOTH {
        for before in ["", "exec 7<>pipe", "trap '' HUP USR1", "ulimit -n 77; umask 027"] {
            let script = "grep -E 'SigBlk|SigIgn|SigCgt|Umask|NoNewPrivs|CapEff' /proc/self/status
                ls /proc/self/fd | tr '\\n' ' '; ulimit -n; env | grep -v ^D= | sort | grep -v ^_=";
            let [below, bare] = both_ways(how, before, script);
            assert_eq!(below, bare, "{how:?}, {before:?}");
        }
    }
}

#[test]
fn the_command_gets_back_what_was_ignored_and_blocked_before() {
    // A shell cannot block: python can, and becomes woodward.
    let before = r#"
import os, signal, sys
signal.signal(1, signal.SIG_IGN); signal.signal(13, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {10, 64})
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let program = bed::program();
    let start = ["-S", "-c", before, program.to_str().expect("a path"), "run", "--"];
    let list = ["/bin/grep", "-E", "SigBlk|SigIgn", "/proc/self/status"];
    let run = |args: &[&str]| {
        let out = Command::new("python3").args(args).output().expect("python3 is there");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let below = run(&[&start[..], &list].concat());
    assert_eq!(below, run(&[&start[..3], &list].concat()));
    assert!(below.contains("SigBlk:\t8000000000000200"), "{below}");
}

#[test]
fn the_init_keeps_no_descriptor_open() {
    let script = "while ls /proc/$PPID/fd | grep -q '[3-9]'; do sleep 0.01; done; echo none";
    let mut init = Init::shell(As::Process, directory(), "exec 7<>pipe", &["run", "--", "sh", "-c", script]);
    assert_eq!(init.code(), 0);
    assert_eq!(init.read("out"), "none\n");
}

#[test]
fn the_command_is_where_the_caller_is_and_the_init_at_the_root() {
    for how in BOTH {
        let mut init =
            Init::script(how, &[], "until [ $(readlink /proc/$PPID/cwd) = / ]; do sleep 0.01; done; pwd");
        assert_eq!(init.code(), 0);
        assert_eq!(init.read("out"), format!("{}\n", init.path().display()));
    }
}

#[test]
fn the_command_leads_a_process_group_of_its_own() {
    let mut init = Init::script(As::Process, &[], "ps -o pgid= -p $$ | tr -d ' '; echo $$");
    assert_eq!(init.code(), 0);
    let out = init.read("out");
    let mut lines = out.lines();
    assert_eq!(lines.next(), lines.next());
}

#[test]
fn arguments_arrive_as_they_are() {
    let mut init =
        Init::run(As::Process, &["run", "--", "printf", "<%s>", "a b", "", "--", "--init", "$HOME"]);
    assert_eq!(init.code(), 0);
    assert_eq!(init.read("out"), "<a b><><--><--init><$HOME>");
}

#[test]
fn the_death_of_the_parent_can_be_a_signal() {
    // The shell becomes nobody's parent by ending; woodward is told with SIGTERM.
    let script = "\"$0\" run --parent-death TERM -- sh -c 'trap \"echo told >> out; exit\" TERM; echo ready
        while :; do sleep 0.01; done' & until grep -q ready out; do sleep 0.01; done; exit 0";
    let dir = directory();
    let out = fs::File::create(dir.path().join("out")).expect("a file can be made");
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(bed::program()).current_dir(dir.path()).stdout(out);
    assert!(shell.status().expect("a shell").success());
    until("the command to be told", || {
        fs::read_to_string(dir.path().join("out")).ok().filter(|text| text.contains("told"))
    });
}
