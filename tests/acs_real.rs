//! The tree of a real ACS, and one imported from a database, with stand-ins for the programs of ACS: what they are called
//! with, when they count as ready, who restarts with whom, and how all is stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::acs::{Instance, free_instance};
use crate::bed::{Bed, kill, program, repository};
use crate::systemd::Systemd;

/// Programs of ACS in the PATH of its login profile.
const PROGRAMS: [&str; 15] = [
    "ACSStartContainerPy",
    "acsLogSvc",
    "acsStartJavaContainer",
    "acsncDelChannelsInNameS",
    "acsstartupCreateChannel",
    "acsstartupLoadIFR",
    "alarmService",
    "alarmServiceShutdown",
    "cdbjDAL",
    "cdbjDALShutdown",
    "loggingService",
    "maciContainer",
    "maciManagerJ",
    "maciManagerShutdown",
    "tao_nsadd",
];
/// Those of TAO, below `ACE_ROOT`.
const TAO: [&str; 3] =
    ["Naming_Service/tao_cosnaming", "IFR_Service/tao_ifr_service", "Notify_Service/tao_cosnotification"];

/// Puts stand-ins where a profile with `bin` in its PATH and `ace` for ACE_ROOT finds them.
fn stand_ins(home: &Path) {
    let bin = PROGRAMS.map(|name| format!("bin/{name}"));
    let tao = TAO.map(|name| format!("ace/TAO/orbsvcs/{name}"));
    for path in bin.iter().chain(&tao).map(|path| home.join(path)) {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::copy(repository("tests/stand-ins/acs"), path).expect("a stand-in");
    }
}

/// An ACS that runs.
struct Acs {
    bed: Bed,
    /// Not below /tmp: hardened services have their own.
    home: tempfile::TempDir,
    instance: Instance,
}

impl Acs {
    fn up(tree: &str) -> Acs {
        let instance = free_instance();
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        stand_ins(home.path());
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().expect("a user").name;
        let mut acs = Acs { bed: Bed::new(), home, instance };
        let path = |name: &str| acs.home.path().join(name).display().to_string();
        let profile = format!(
            "PATH={}:{}\nACS_HOST=127.0.0.1\n",
            path("bin"),
            std::env::var("PATH").unwrap_or_default()
        );
        // The login profile as a layer has it: a site's own file.
        fs::write(acs.home.path().join("acs.env"), profile).expect("a profile");
        let text = fs::read_to_string(tree).expect("a tree");
        let own = acs.home.path().join("acs.toml");
        fs::write(&own, text.replace("-/etc/acs/acs.env", "acs.env")).expect("a tree");
        let vars = [
            format!("instance={}", acs.instance.number()),
            format!("account={user}"),
            format!("acsdata={}", path("data")),
            format!("tmp={}", path("tmp")),
            format!("ace={}", path("ace")),
        ];
        let args = [own.display().to_string()];
        let args = args.into_iter().chain(vars.into_iter().flat_map(|var| ["--var".to_owned(), var]));
        acs.bed.run(&args.collect::<Vec<_>>());
        acs.bed.wait_until_up();
        acs
    }

    fn calls_file(&self) -> PathBuf {
        self.home.path().join(format!("tmp/ACS_INSTANCE.{}/calls", self.instance.number()))
    }

    /// Everything that was called so far, a line each.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_file()).expect("calls");
        text.lines().map(str::to_owned).collect()
    }

    /// `kill -9`; the paths of what has another process when all is up again.
    fn kill(&self, victim: &str) -> Vec<String> {
        let services = || {
            let rows = self.bed.status().into_iter().filter(|row| row["kind"] == "service");
            rows.map(|row| (row["path"].as_str().expect("a path").to_owned(), row["generation"].as_u64()))
                .collect::<Vec<_>>()
        };
        let before = services();
        let own = self.bed.generation(victim);
        kill(self.bed.pid(victim), libc::SIGKILL);
        self.bed.wait(&format!("{victim} to be started again"), |bed| bed.generation(victim) > own);
        self.bed.wait_until_up();
        services().into_iter().filter(|service| !before.contains(service)).map(|(path, _)| path).collect()
    }

    /// The base of its ports.
    fn base(&self) -> u16 {
        3000 + 100 * self.instance.number()
    }

    /// Stops everything; what was called meanwhile.
    fn stop(self) -> Vec<String> {
        let before = self.calls().len();
        let Acs { bed, home, instance } = self;
        bed.stop();
        let calls = home.path().join(format!("tmp/ACS_INSTANCE.{}/calls", instance.number()));
        fs::read_to_string(calls).expect("calls").lines().skip(before).map(str::to_owned).collect()
    }
}

#[test]
fn a_real_acs_starts_restarts_and_stops_as_its_services_need_it() {
    let acs = Acs::up(&repository("supervisors/acs-real.toml").display().to_string());
    let base = acs.base();
    let calls = acs.calls();
    let called = |text: &str| {
        calls.iter().position(|call| call.starts_with(text)).unwrap_or_else(|| panic!("no {text}"))
    };
    let manager = called("maciManagerJ -n");
    assert!(
        called("tao_cosnaming") < called("loggingService") && called("loggingService") < called("cdbjDAL")
    );
    assert!(called("cdbjDAL") < manager && manager < called("maciContainer bilboContainer"));
    assert!(calls.contains(&format!(
        "maciContainer bilboContainer -ORBEndpoint iiop://127.0.0.1:{} -m corbaloc::127.0.0.1:{base}/Manager",
        base + 50
    )));
    assert!(calls.contains(&format!(
        "tao_nsadd --rebind --name InterfaceRepository --ior IOR:00 -ORBInitRef NameService=corbaloc::127.0.0.1:{}/NameService",
        base + 1
    )));

    assert_eq!(acs.kill("acs/logging/channel"), ["acs/logging/channel", "acs/logging/logger"]);
    assert_eq!(acs.kill("acs/naming"), ["acs/naming"]);
    assert_eq!(acs.kill("acs/containers/frodoContainer"), ["acs/containers/frodoContainer"]);
    assert_eq!(acs.kill("acs/manager"), ["acs/manager"]);
    assert_eq!(acs.calls().last().expect("a call"), "maciManagerJ", "takes back its containers: no -n");

    let stopped = acs.stop();
    let shutdown = format!("cdbjDALShutdown -d corbaloc::127.0.0.1:{}/CDB", base + 12);
    assert_eq!(stopped.len(), 3, "{stopped:?}");
    let at = |text: &str| {
        stopped.iter().position(|call| call == text).unwrap_or_else(|| panic!("no {text}: {stopped:?}"))
    };
    assert!(at("maciManagerShutdown 0") < at(&shutdown) && at("alarmServiceShutdown") < at(&shutdown));
}

#[test]
fn an_imported_acs_runs() {
    let acs = Acs::up("tests/acs-cdb/sample/expected/gas01/acs.toml");
    let base = acs.base();
    let calls = acs.calls();
    let has =
        |text: String| assert!(calls.iter().any(|call| call.contains(&text)), "no {text} in {calls:#?}");
    has(format!("ACSStartContainerPy CAMERA/SimContainer -ORBendPoint giop:tcp:127.0.0.1:{} -m", base + 54));
    has(format!("tao_cosnotification -ORBEndpoint iiop://127.0.0.1:{} ", base + 20));
    has("-Boot -Factory TelemetryNotifyEventChannelFactory".to_owned());
    assert!(!calls.iter().any(|call| call.contains("AcquisitionContainer")), "it is the manager's to start");
    assert_eq!(acs.kill("acs/containers-ifr/MountContainer"), ["acs/containers-ifr/MountContainer"]);
    acs.stop();
}

#[test]
fn templates_of_a_real_acs_run_side_by_side_under_systemd() {
    let text = fs::read_to_string(repository("supervisors/acs-real.toml")).expect("a tree");
    let text = text.replace("-/etc/acs/acs.env", "-/etc/woodward/trees/acs.env");
    let systemd = Systemd::with(&text, |file, units| {
        let home = file.parent().expect("a directory");
        stand_ins(home);
        let profile = "PATH=/etc/woodward/trees/bin:/usr/bin:/bin\n";
        fs::write(home.join("acs.env"), profile).expect("a profile");
        let mut generate = Command::new(program());
        generate.args(["units", "generate", "--mode", "native", "--template", "instance=0..9"]);
        generate.args([
            "--dir",
            "/etc/woodward/trees",
            "--program",
            "/usr/bin/woodward",
            "--var",
            "account=root",
        ]);
        generate.args([
            "--var",
            "ace=/etc/woodward/trees/ace",
            "--var",
            "acsdata=/srv/acs",
            "--var",
            "tmp=/srv/acs/tmp",
        ]);
        let out = generate.arg("-o").arg(units).arg(file).output().expect("woodward runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    });
    systemd.sh("systemctl start acs@0.service acs@0.target acs@7.service acs@7.target");
    let up = |instance: u8| {
        let names =
            ["naming", "logging-logger", "manager", "containers-bilboContainer", "containers-frodoContainer"];
        let names: Vec<String> = names.iter().map(|name| format!("acs-{name}@{instance}.service")).collect();
        format!("systemctl is-active {}", names.join(" "))
    };
    assert!(systemd.holds(&up(0)) && systemd.holds(&up(7)));
    // The port rule: 4000 and up for instance 0, 3x50 and up for others.
    assert!(
        systemd.holds("grep -q 'maciContainer bilboContainer .*:4000 ' /srv/acs/tmp/ACS_INSTANCE.0/calls")
    );
    assert!(
        systemd.holds("grep -q 'maciContainer bilboContainer .*:3750 ' /srv/acs/tmp/ACS_INSTANCE.7/calls")
    );

    let pids = "systemctl show -p MainPID --value acs-logging-logger@0.service acs-logging-logger@7.service acs-naming@7.service";
    let before: Vec<String> = systemd.sh(pids).split_whitespace().map(str::to_owned).collect();
    systemd.sh("systemctl kill -s KILL --kill-who=main acs-logging-channel@7.service");
    systemd.wait("test $(grep -c '^loggingService' /srv/acs/tmp/ACS_INSTANCE.7/calls) = 2");
    systemd.wait(&up(7));
    let after: Vec<String> = systemd.sh(pids).split_whitespace().map(str::to_owned).collect();
    assert_eq!(
        (&after[0], &after[2]),
        (&before[0], &before[2]),
        "neither the other instance nor the naming service"
    );
    assert_ne!(after[1], before[1], "the logger goes with its channel");
    systemd.sh("systemctl kill -s KILL --kill-who=main acs-manager@7.service");
    systemd.wait("test \"$(tail -n 1 /srv/acs/tmp/ACS_INSTANCE.7/calls)\" = maciManagerJ");

    systemd.sh("systemctl stop acs@7.service");
    assert!(systemd.holds(&up(0)) && !systemd.holds(&up(7)));
    assert!(systemd.holds("grep -q cdbjDALShutdown /srv/acs/tmp/ACS_INSTANCE.7/calls"));
}
