//! Against the kernel, each test in a network namespace of its own.
#![allow(clippy::disallowed_methods, reason = "tools look at what we have done, and freeze who did it")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};

use super::message::Kernel;
use super::*;

/// Long enough for anything that is to happen.
const LONG: Duration = Duration::from_secs(20);

/// Runs `test` on a thread with a network of its own: `v0` with 10.9.0.1/24 and fd09::1/64, its other end `v1`.
fn in_a_network(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root can have a network of its own");
        ip("link set lo up");
        ip("link add v0 type veth peer name v1");
        ip("link set v0 up");
        ip("link set v1 up");
        ip("addr add 10.9.0.1/24 dev v0");
        ip("addr add fd09::1/64 dev v0 nodad");
        test();
    };
    let done = std::thread::spawn(run).join();
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// The output of `ip WORDS`; this thread's network is its.
fn ip(words: &str) -> String {
    run("ip", words)
}

fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().expect("the tool is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn address(text: &str) -> Address {
    let (network, device) = text.split_once(" dev ").expect("a device");
    let (ip, prefix) = network.split_once('/').expect("a prefix");
    Address { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap(), device: device.to_owned() }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "{what} did not come to be");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A woodward's directories: state, and a group of control groups with one group in it.
struct Place {
    state: tempfile::TempDir,
    root: PathBuf,
    group: PathBuf,
}

impl Place {
    fn new() -> Place {
        let state = tempfile::tempdir().expect("a directory");
        let own = cgroup::own_directory().expect("control groups");
        let root = own.join(cgroup::id_of(state.path()).expect("it is there"));
        let group = root.join("g");
        fs::create_dir_all(&group).expect("a control group");
        Place { state, root, group }
    }

    fn net(&self) -> Net {
        Net::new(self.state.path(), &self.root).expect("control groups are found")
    }

    /// Runs a command in the group's second level, as services are.
    fn spawn(&self, command: &[&str]) -> Child {
        let dir = self.group.join("service");
        fs::create_dir_all(&dir).expect("a control group");
        let procs = dir.join("cgroup.procs");
        let mut child = Command::new(command[0]);
        child.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: a file is opened and written to, nothing else.
        unsafe { child.pre_exec(move || fs::write(&procs, "0")) };
        child.spawn().expect("it starts")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.kill"), "1");
        until("an empty group", || {
            ["g/service", "g", ""].map(|below| fs::remove_dir(self.root.join(below)));
            !self.root.exists()
        });
    }
}

#[test]
fn an_address_comes_lasts_is_renewed_and_goes() {
    in_a_network(|| {
        for text in
            ["10.9.0.50/24 dev v0", "10.8.0.50/24 dev v0", "fd09::50/64 dev v0", "fd08::50/128 dev v0"]
        {
            let one = address(text);
            let there = || ip("addr show dev v0").contains(&format!("{}/{}", one.ip, one.prefix));
            address::check(&one).expect("it is free");
            address::put(&one, Duration::from_millis(5900)).expect("it is put up");
            let shown = ip("addr show dev v0");
            assert!(there() && shown.contains("valid_lft 5sec"), "{shown}");
            assert!(!ip("addr show dev v0 scope global").contains("tentative"), "{shown}");
            let renewal = address::renewal(&one).expect("it can be renewed");
            Kernel::route().unwrap().ask(&renewal.lasting(Duration::from_secs(90))).expect("it is renewed");
            assert!(ip("addr show dev v0").contains("valid_lft 90sec"));
            address::put(&one, Duration::from_millis(300)).expect("it is put up again");
            assert!(ip("addr show dev v0").contains("valid_lft 1sec"), "a second at least");
            until("the end of its life", || !there());
            address::put(&one, LONG).expect("it is put up");
            Kernel::route().unwrap().ask(&renewal.end).expect("the end is its end");
            assert!(!there());
            address::put(&one, LONG).expect("it is put up");
            address::remove(&one).expect("it is taken down");
            assert!(!there());
            address::remove(&one).expect("once more does no harm");
        }
        let routes = ip("route");
        assert_eq!(routes.matches("10.9.0.0/24").count(), 1, "{routes}");
    });
}

#[test]
fn what_cannot_be_put_up_says_why() {
    in_a_network(|| {
        ip("link add v2 type veth peer name v3");
        ip("addr add 10.9.0.60/24 dev v1");
        for (text, words) in [
            ("10.9.0.50/24 dev v9", "cannot put up 10.9.0.50/24 dev v9: there is no network interface v9"),
            ("10.9.0.50/24 dev v2", "cannot put up 10.9.0.50/24 dev v2: v2 is down"),
            ("10.9.0.60/24 dev v0", "cannot put up 10.9.0.60/24 dev v0: it is on v1 already, and not by us"),
            ("10.9.0.1/24 dev v0", "cannot put up 10.9.0.1/24 dev v0: it is on v0 already, and not by us"),
            ("fd09::1/64 dev v0", "cannot put up fd09::1/64 dev v0: it is on v0 already, and not by us"),
        ] {
            let one = address(text);
            assert_eq!(address::check(&one).expect_err(text).to_string(), words);
            assert_eq!(address::put(&one, LONG).expect_err(text).to_string(), words);
            address::remove(&one).expect("what is not ours is left alone");
        }
        assert!(ip("addr").contains("10.9.0.60/24"), "what is not ours is left alone");
    });
}

#[test]
fn the_gate_is_put_up_and_taken_away() {
    in_a_network(|| {
        let place = Place::new();
        let net = place.net();
        net.raise().expect("it can be put up");
        assert!(run("nft", "list ruleset").contains("socket cgroupv2 level"));
        assert!(net.clear(&[]).is_empty());
        assert_eq!(run("nft", "list ruleset"), "");
    });
}
