//! The client with a keeper thread and real processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

/// A client with a keeper of its own, and the place where it is at home.
struct Bed {
    os: Os,
    _dir: tempfile::TempDir,
}

async fn bed() -> Bed {
    let dir = tempfile::tempdir().expect("a directory");
    let os = Os::connect(library().expect("a keeper"), dir.path()).await.expect("connected");
    Bed { os, _dir: dir }
}

fn program(path: &str, command: &[&str]) -> Program {
    Program {
        path: path.into(),
        command: command.iter().map(|&c| c.to_owned()).collect(),
        environment: Arc::new(vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        identity: Identity::default(),
        working_directory: None,
        directories: Vec::new(),
        stdin: Stdin::Null,
        resources: Default::default(),
        sandbox: Default::default(),
        bound: Default::default(),
    }
}

#[tokio::test]
async fn as_a_library_no_deadline_can_be_held() {
    let bed = bed().await;
    let term = woodward_engine::cluster::Term(1);
    let error = bed.os.guard().begin(term, Duration::from_secs(1)).expect_err("refused");
    assert!(matches!(error, guard::GuardError::Library), "{error}");
    assert_eq!(bed.os.guard().found(), None);
}

struct Events(mpsc::UnboundedReceiver<ProcessEvent>);

impl Events {
    async fn next(&mut self) -> ProcessEvent {
        let next = tokio::time::timeout(Duration::from_secs(20), self.0.recv()).await;
        next.expect("an event in time").expect("a sink")
    }

    async fn started(&mut self) -> i32 {
        match self.next().await {
            ProcessEvent::Started { pid } => pid,
            other => panic!("not started: {other:?}"),
        }
    }

    async fn failed(&mut self) -> SpawnError {
        match self.next().await {
            ProcessEvent::Failed(error) => error,
            other => panic!("did not fail: {other:?}"),
        }
    }

    /// How a main process ended, when nothing is left.
    async fn emptied(&mut self) -> ExitStatus {
        let status = self.exited().await;
        assert!(matches!(self.next().await, ProcessEvent::Emptied));
        status
    }

    async fn exited(&mut self) -> ExitStatus {
        match self.next().await {
            ProcessEvent::Exited(status) => status,
            other => panic!("not exited: {other:?}"),
        }
    }
}

impl Bed {
    fn launch(&self, program: Program, generation: u64) -> Events {
        self.launch_as(program, generation, |_| {})
    }

    fn launch_as(&self, program: Program, generation: u64, change: impl FnOnce(&mut Launch)) -> Events {
        let (sink, events) = mpsc::unbounded_channel();
        let mut launch = Launch {
            program: Arc::new(program),
            generation,
            role: Role::Main,
            additions: Vec::new(),
            output: None,
            descriptors: Vec::new(),
            kill: KillMode::Mixed,
            sink: Box::new(move |event| {
                let _ = sink.send(event);
            }),
        };
        change(&mut launch);
        self.os.launch(launch);
        Events(events)
    }

    /// What a shell script prints.
    async fn output(&self, script: &str, change: impl FnOnce(&mut Launch)) -> String {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let mut events = self.launch_as(program("t/sh", &["sh", "-c", script]), 1, |launch| {
            launch.output = Some(Arc::new(writer));
            change(launch);
        });
        events.started().await;
        events.emptied().await;
        self.os.forget("t/sh");
        text(&reader)
    }
}

/// What is in a pipe.
fn text(reader: &OwnedFd) -> String {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe");
    let mut buffer = vec![0; 1 << 16];
    let n = nix::unistd::read(reader, &mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

#[tokio::test]
async fn an_end_is_told_with_its_status() {
    let bed = bed().await;
    for (generation, (script, status)) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 7", ExitStatus::Code(7)),
        ("kill -9 $$", ExitStatus::Signal(9)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut events = bed.launch(program("t/a", &["sh", "-c", script]), generation as u64 + 1);
        assert!(events.started().await > 0);
        assert_eq!(events.emptied().await, status);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Its control groups go with it.
        self.os.exit(0);
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_told_with_its_reason() {
    let bed = bed().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let file = dir.path().join(name);
        std::fs::write(&file, text).expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
        file.to_string_lossy().into_owned()
    };
    let plain = file("plain", "x", 0o644);
    let orphaned = file("orphaned", "#!/no/such/interpreter -x\n", 0o755);
    let binary = file("binary", "\x01\x02", 0o755);
    let mut generation = 0;
    let mut check = async |change: &dyn Fn(&mut Program), message: &str| {
        generation += 1;
        let mut program = program("t/a", &["true"]);
        change(&mut program);
        let error = bed.launch(program, generation).failed().await;
        assert_eq!(error.to_string(), message);
    };
    let command = |p: &mut Program, c: &str| p.command = vec![c.to_owned()];
    let absent = "no-such-program: not found in PATH (/usr/bin:/bin)";
    check(&|p| command(p, "no-such-program"), absent).await;
    check(&|p| command(p, "/no/such"), "/no/such: not found in /no").await;
    check(&|p| command(p, &plain), &format!("{plain}: not executable")).await;
    let interpreter = format!("{orphaned}: its interpreter /no/such/interpreter is not found");
    check(&|p| command(p, &orphaned), &interpreter).await;
    check(&|p| command(p, &binary), &format!("{binary}: Exec format error (os error 8)")).await;
    let directory = "working directory /no/such: No such file or directory (os error 2)";
    check(&|p| p.working_directory = Some("/no/such".into()), directory).await;
    let user = "user nobody-by-this-name: not known on this host";
    check(&|p| p.identity.user = Some("nobody-by-this-name".to_owned()), user).await;
    // After all this it still works.
    let mut events = bed.launch(program("t/a", &["true"]), 100);
    events.started().await;
    assert_eq!(events.emptied().await, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_child_begins_with_clean_signals_a_session_of_its_own_and_three_descriptors() {
    let bed = bed().await;
    let script = "cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)'; ls /proc/self/fd; \
                  set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] && echo leader";
    let output = bed.output(script, |_| {}).await;
    let zero = "0000000000000000";
    // ls itself has the directory open as 3.
    let expected = format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\nSigCgt:\t{zero}\n0\n1\n2\n3\nleader\n");
    assert_eq!(output, expected);
}

#[tokio::test]
async fn descriptors_are_where_they_were_wanted() {
    let bed = bed().await;
    let pipes: Vec<_> = (0..3).map(|_| nix::unistd::pipe().expect("a pipe")).collect();
    let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
    let descriptors = writers.into_iter().zip([5, 3, 4]).map(|(w, n)| (n, Arc::new(w))).collect();
    bed.output("echo five >&5; echo three >&3; echo four >&4", |launch| launch.descriptors = descriptors)
        .await;
    let texts: Vec<_> = readers.iter().map(text).collect();
    assert_eq!(texts, ["five\n", "three\n", "four\n"]);
}

#[tokio::test]
async fn environment_and_identity_are_as_asked() {
    let bed = bed().await;
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().to_path_buf();
    let script = "echo $A $B; pwd; umask; nice; ulimit -c; ulimit -Sn";
    let output = bed
        .output(script, |launch| {
            launch.additions = vec![("B", "of this start".to_owned())];
            let program = Arc::make_mut(&mut launch.program);
            program.environment = Arc::new(vec![("A".to_owned(), "always".to_owned())]);
            program.working_directory = Some(home.clone());
            program.identity.umask = Some(0o027);
            program.identity.nice = Some(7);
            program.identity.limits =
                vec![(crate::tree::Resource::Core, 0, 0), (crate::tree::Resource::Nofile, 64, 128)];
        })
        .await;
    assert_eq!(output, format!("always of this start\n{}\n0027\n7\n0\n64\n", home.display()));
}

#[tokio::test]
async fn a_child_runs_as_its_user_with_its_groups() {
    if !nix::unistd::Uid::effective().is_root() {
        // Only root can become somebody else; what others may do is the step's own error.
        return;
    }
    let bed = bed().await;
    let output = bed
        .output("id -u; id -g; id -G", |launch| {
            let identity = &mut Arc::make_mut(&mut launch.program).identity;
            identity.user = Some("nobody".to_owned());
            identity.group = Some("daemon".to_owned());
            identity.supplementary_groups = vec!["4711".to_owned()];
        })
        .await;
    let mut lines = output.lines();
    assert_eq!((lines.next(), lines.next()), (Some("65534"), Some("1")));
    assert!(lines.next().is_some_and(|groups| groups.split(' ').any(|g| g == "4711")));
}

#[tokio::test]
async fn leftovers_of_a_dead_child_are_killed_before_it_counts_as_empty() {
    let bed = bed().await;
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    // One in its own session, one orphaned twice over, one deaf to SIGTERM; none of them ends by itself.
    let script = "setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & \
                  (setsid sh -c 'sh -c \"echo \\$\\$; exec sleep 1000\" &' &) ; sleep 0.2; exit 3";
    let mut events = bed.launch_as(program("t/a", &["sh", "-c", script]), 1, |launch| {
        launch.output = Some(Arc::new(writer));
    });
    events.started().await;
    assert_eq!(events.emptied().await, ExitStatus::Code(3));
    let left = text(&reader);
    assert_eq!(left.lines().count(), 2, "{left}");
    for pid in left.lines() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

#[tokio::test]
async fn with_kill_mode_process_leftovers_are_left_alone() {
    let bed = bed().await;
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    let script = "setsid sleep 1000 & echo $!; exit 0";
    let mut events = bed.launch_as(program("t/a", &["sh", "-c", script]), 1, |launch| {
        launch.kill = KillMode::Process;
        launch.output = Some(Arc::new(writer));
    });
    events.started().await;
    assert_eq!(events.emptied().await, ExitStatus::Code(0));
    let pid = text(&reader).trim().parse().expect("a process id");
    // SAFETY: asks only, then ends what this test has started.
    assert_eq!(unsafe { libc::kill(pid, 0) }, 0);
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

#[tokio::test]
async fn signals_reach_who_they_are_meant_for() {
    let bed = bed().await;
    let script = "exec 2>/dev/null; trap 'echo main; exit 1' USR1; \
                  sh -c 'trap \"echo child; exit\" USR1; echo up; while :; do sleep 0.01; done' & \
                  while :; do sleep 0.01; done";
    for (generation, (scope, expected)) in
        [(Scope::Main, &["main", "up"][..]), (Scope::All, &["child", "main", "up"])].into_iter().enumerate()
    {
        let generation = generation as u64 + 1;
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let mut events = bed.launch_as(program("t/a", &["sh", "-c", script]), generation, |launch| {
            launch.output = Some(Arc::new(writer));
        });
        events.started().await;
        let mut seen = String::new();
        while !seen.contains("up") {
            seen += &text(&reader);
            tokio::task::yield_now().await;
        }
        // Of a former generation, or of another child: nothing.
        bed.os.signal("t/a", generation + 1, Role::Main, libc::SIGKILL, scope);
        bed.os.signal("t/b", generation, Role::Main, libc::SIGKILL, scope);
        bed.os.signal("t/a", generation, Role::Main, libc::SIGUSR1, scope);
        assert_eq!(events.emptied().await, ExitStatus::Code(1));
        seen += &text(&reader);
        let mut lines: Vec<_> = seen.lines().collect();
        lines.sort_unstable();
        assert!(lines.iter().all(|l| expected.contains(l)) && lines.contains(&"main"), "{lines:?}");
    }
}

#[tokio::test]
async fn kill_ends_everything_of_a_generation() {
    let bed = bed().await;
    let script = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000\" & sleep 1000";
    let mut events = bed.launch(program("t/a", &["sh", "-c", script]), 1);
    events.started().await;
    bed.os.kill("t/a", 1);
    assert_eq!(events.emptied().await, ExitStatus::Signal(9));
}

#[tokio::test]
async fn helpers_share_the_generation_and_what_they_leave_can_be_cleared() {
    let bed = bed().await;
    let hook = program("t/a", &["sh", "-c", "setsid sleep 1000 & exit 4"]);
    let mut events = bed.launch_as(hook, 1, |launch| launch.role = Role::Helper(1));
    events.started().await;
    assert_eq!(events.exited().await, ExitStatus::Code(4));
    let (done, cleared) = tokio::sync::oneshot::channel();
    bed.os.clear(
        "t/a",
        1,
        Box::new(move || {
            let _ = done.send(());
        }),
    );
    let cleared = tokio::time::timeout(Duration::from_secs(20), cleared).await;
    cleared.expect("in time").expect("called");
    // The next generation starts where nothing is left.
    let mut events = bed.launch(program("t/a", &["true"]), 2);
    events.started().await;
    assert_eq!(events.emptied().await, ExitStatus::Code(0));
}

#[tokio::test]
async fn an_older_generation_is_refused() {
    let bed = bed().await;
    let mut first = bed.launch(program("t/a", &["sleep", "1000"]), 5);
    first.started().await;
    bed.os.kill("t/a", 5);
    first.emptied().await;
    let error = bed.launch(program("t/a", &["true"]), 4).failed().await;
    assert_eq!(error.to_string(), "start: another generation is still there");
}

#[tokio::test]
async fn a_notice_counts_only_from_a_process_of_the_service() {
    let bed = bed().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (told, mut strangers) = mpsc::unbounded_channel();
    let server = notify::NotifyServer::open(&bed.os, &dir.path().join("notify"), move |stranger| {
        let _ = told.send(stranger);
    })
    .expect("a server");
    let (said, mut notices) = mpsc::unbounded_channel();
    server.listen("t/a", 1, move |notice| {
        let _ = said.send(notice);
    });
    let send = |text: &str| {
        let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        socket.send_to(text.as_bytes(), server.address()).expect("sent");
    };
    send("READY=1");
    let stranger = tokio::time::timeout(Duration::from_secs(20), strangers.recv()).await;
    assert_eq!(stranger.expect("in time").map(|s| s.pid), Some(std::process::id() as i32));
    assert_eq!(server.strangers(), 1);
    assert!(notices.try_recv().is_err());

    let script = format!(
        "import socket, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         s.sendto(b'STATUS=well\\nREADY=1', '{}')\ntime.sleep(1000)",
        server.address().display()
    );
    let mut events = bed.launch(program("t/a", &["python3", "-c", &script]), 1);
    events.started().await;
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(20), notices.recv()).await.expect("in time");
    assert_eq!(next().await, Some(notify::Notice::Status("well".to_owned())));
    assert_eq!(next().await, Some(notify::Notice::Ready));
    bed.os.kill("t/a", 1);
    events.emptied().await;
}

#[tokio::test]
async fn children_of_the_host_program_are_left_to_it() {
    let bed = bed().await;
    // SAFETY: the child of this test, which does nothing but end.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(5) };
    }
    let mut events = bed.launch(program("t/a", &["true"]), 1);
    events.started().await;
    events.emptied().await;
    let mut status = 0;
    // SAFETY: waits for the child above.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(libc::WEXITSTATUS(status), 5);
}

#[tokio::test]
async fn a_hook_can_run_in_a_generation_that_was_killed() {
    let bed = bed().await;
    let mut events = bed.launch(program("t/a", &["sleep", "1000"]), 1);
    events.started().await;
    bed.os.kill("t/a", 1);
    events.emptied().await;
    let mut hook = bed.launch_as(program("t/a", &["sh", "-c", "exit 6"]), 1, |l| l.role = Role::Helper(1));
    hook.started().await;
    assert_eq!(hook.exited().await, ExitStatus::Code(6));
}

#[tokio::test]
async fn in_group_mode_those_who_were_asked_have_time() {
    let bed = bed().await;
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    let member = "trap 'sleep 0.3; echo done; exit' TERM; echo up; while :; do sleep 0.01; done";
    let script = format!(
        "exec 2>/dev/null; trap 'exit 0' TERM; sh -c '{}' & while :; do sleep 0.01; done",
        member.replace('\'', "'\\''")
    );
    let mut events = bed.launch_as(program("t/a", &["sh", "-c", &script]), 1, |launch| {
        launch.kill = KillMode::Group;
        launch.output = Some(Arc::new(writer));
    });
    events.started().await;
    while text(&reader) != "up\n" {
        tokio::task::yield_now().await;
    }
    bed.os.signal("t/a", 1, Role::Main, libc::SIGTERM, Scope::All);
    assert_eq!(events.emptied().await, ExitStatus::Code(0));
    assert_eq!(text(&reader), "done\n");
}

#[tokio::test]
async fn without_control_groups_the_process_group_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = super::limits::Limits::new("woodward-test".to_owned());
    let os = Os::connect_with(library().expect("a keeper"), None, limits).await.expect("connected");
    let bed = Bed { os, _dir: dir };
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    let script = "sleep 1000 & echo $!; exit 3";
    let mut events = bed.launch_as(program("t/a", &["sh", "-c", script]), 1, |launch| {
        launch.output = Some(Arc::new(writer));
    });
    let leader = events.started().await;
    assert_eq!(events.emptied().await, ExitStatus::Code(3));
    let pid: i32 = text(&reader).trim().parse().expect("a process id");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    // Its mark and its session tell whose a process is.
    let mut events = bed.launch(program("t/a", &["sleep", "1000"]), 2);
    let next = events.started().await;
    assert!(bed.os.owns("t/a", 2, next) && !bed.os.owns("t/a", 1, next) && !bed.os.owns("t/a", 2, leader));
    bed.os.kill("t/a", 2);
    assert_eq!(events.emptied().await, ExitStatus::Signal(9));
}
