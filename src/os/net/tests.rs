//! Against the kernel, each test in a network namespace of its own.
#![allow(clippy::disallowed_methods, reason = "tools look at what we have done, and freeze who did it")]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
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

/// The host at the other end: `v1` with 10.9.0.2 and fd09::2.
struct Outside {
    /// As `nsenter` takes it.
    network: String,
    /// Listens there.
    sink: UdpSocket,
    /// The thread that keeps the network ends with it.
    _end: Sender<()>,
}

impl Outside {
    fn new() -> Outside {
        let (end, ended) = channel::<()>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root can have a network of its own");
            let network = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
            let network = network.replace("self", &std::process::id().to_string());
            tell.send((network, UdpSocket::bind("0.0.0.0:0").expect("a port"))).expect("somebody waits");
            let _ = ended.recv();
        });
        let (network, sink) = told.recv().expect("there is another host");
        sink.set_nonblocking(true).expect("it can be asked");
        ip(&format!("link set v1 netns {network}"));
        let outside = Outside { network, sink, _end: end };
        outside.ip("link set v1 up");
        outside.ip("addr add 10.9.0.2/24 dev v1");
        outside.ip("addr add fd09::2/64 dev v1 nodad");
        outside
    }

    fn ip(&self, words: &str) -> String {
        run("nsenter", &format!("--net={} ip {words}", self.network))
    }

    /// Whether somebody answers for an address.
    fn answered(&self, ip: &str) -> bool {
        let command = format!("--net={} arping -q -f -c 1 -w 1 -I v1 {ip}", self.network);
        let status = Command::new("nsenter").args(command.split(' ')).status();
        status.expect("arping is installed").success()
    }
}

/// What has arrived at a socket.
fn arrived(socket: &UdpSocket) -> usize {
    std::iter::from_fn(|| socket.recv_from(&mut [0; 64]).ok()).count()
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
            for below in ["g/service", "g", ""] {
                let _ = fs::remove_dir(self.root.join(below));
            }
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
            Kernel::route().unwrap().ask(&lasting(&renewal, Duration::from_secs(90))).expect("it is renewed");
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

/// A service that sends to the other host and over loopback every half millisecond, and can be frozen.
struct Writer<'a> {
    place: &'a Place,
    outside: &'a Outside,
    process: Child,
    /// Gets what it sends over loopback.
    inside: UdpSocket,
}

impl Writer<'_> {
    fn new<'a>(place: &'a Place, outside: &'a Outside) -> Writer<'a> {
        let inside = UdpSocket::bind("127.0.0.1:0").expect("a port");
        inside.set_nonblocking(true).expect("it can be asked");
        let port = |socket: &UdpSocket| socket.local_addr().expect("it is bound").port();
        let text = format!(
            "import socket, time\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             while True:\n\
             \x20   try: s.sendto(b'out', ('10.9.0.2', {}))\n\
             \x20   except OSError: pass\n\
             \x20   s.sendto(b'in', ('127.0.0.1', {}))\n\
             \x20   time.sleep(0.0005)\n",
            port(&outside.sink),
            port(&inside)
        );
        Writer { place, outside, process: place.spawn(&["python3", "-c", &text]), inside }
    }

    /// Freezes, waits until that is done, and forgets what was sent before.
    fn freeze(&self) {
        fs::write(self.place.group.join("cgroup.freeze"), "1").expect("it can be frozen");
        let events = self.place.group.join("cgroup.events");
        until("a frozen group", || fs::read_to_string(&events).expect("it is there").contains("frozen 1"));
        self.forget();
    }

    fn thaw(&self) {
        fs::write(self.place.group.join("cgroup.freeze"), "0").expect("it can be thawed");
    }

    fn forget(&self) {
        arrived(&self.outside.sink);
        arrived(&self.inside);
    }

    /// How much of what it sends arrives outside while it sends so much.
    fn sent(&self, inside: usize) -> usize {
        self.forget();
        let (mut out, mut done) = (0, 0);
        until("a writer that writes", || {
            done += arrived(&self.inside);
            out += arrived(&self.outside.sink);
            done >= inside
        });
        out
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn renew(renewals: &[Renewal], left: Duration) -> io::Result<()> {
    for renewal in renewals {
        let route = renewal.protocol == libc::NETLINK_ROUTE;
        let kernel = if route { Kernel::route()? } else { Kernel::netfilter()? };
        kernel.ask(&lasting(renewal, left))?;
    }
    Ok(())
}

#[test]
fn nothing_leaves_a_host_that_wakes_up_too_late() {
    in_a_network(|| {
        let (outside, place) = (Outside::new(), Place::new());
        let net = place.net();
        let presence =
            net.presence(&place.group, &[address("10.9.0.50/24 dev v0")], true).expect("there is one");
        let writer = Writer::new(&place, &outside);
        assert!(writer.sent(50) > 0, "there is no gate yet");
        net.raise().expect("the gate is put up");
        assert!(writer.sent(50) > 0, "nobody is behind it yet");
        presence.admit().expect("it is put behind it");
        assert_eq!(writer.sent(50), 0, "nobody has opened it");
        for round in 0..12 {
            renew(&presence.hidden(), Duration::from_millis(200)).expect("it is opened");
            assert!(writer.sent(20 + round) > 0, "it is open");
            writer.freeze();
            std::thread::sleep(Duration::from_millis(250));
            writer.thaw();
            assert_eq!(writer.sent(200), 0, "its time was over");
        }
        renew(&presence.hidden(), LONG).expect("it is opened");
        assert!(writer.sent(50) > 0);
        renew(&presence.hidden(), LONG * 2).expect("once more while it is open");
        assert!(writer.sent(50) > 0);
        Kernel::netfilter().unwrap().ask(&presence.hidden()[0].end).expect("it is closed");
        assert_eq!(writer.sent(50), 0, "long before the end of its time");
        presence.dismiss().expect("it is let out");
        assert!(writer.sent(50) > 0, "it is nobody's any more");
    });
}

#[test]
fn the_gate_is_for_the_group_and_its_addresses_alone() {
    in_a_network(|| {
        let (outside, place) = (Outside::new(), Place::new());
        let net = place.net();
        let addresses = [address("10.9.0.50/24 dev v0"), address("fd09::50/64 dev v0")];
        let presence = net.presence(&place.group, &addresses, true).expect("there is one");
        presence.check().expect("all is free");
        net.raise().expect("the gate is put up");
        presence.admit().expect("it is put behind it");
        presence.appear(LONG).expect("the addresses are put up");
        let port = outside.sink.local_addr().expect("it is bound").port();
        let passes = |from: &str| {
            let sent = UdpSocket::bind(from).expect("a port").send_to(b"x", ("10.9.0.2", port));
            let got = sent.is_ok() && {
                until("a datagram", || arrived(&outside.sink) > 0);
                true
            };
            assert_eq!(got, sent.is_ok());
            got
        };
        assert!(passes("10.9.0.1:0"), "who is not of the group is not stopped");
        assert!(!passes("10.9.0.50:0"), "but nobody uses its address");
        assert!(!outside.answered("10.9.0.50") && outside.answered("10.9.0.1"));
        let to_neighbour = |from: &str| {
            let command = format!("-6 -c 1 -W 1 -q -I {from} fd09::2");
            Command::new("ping").args(command.split(' ')).status().expect("ping is installed").success()
        };
        assert!(to_neighbour("fd09::1") && !to_neighbour("fd09::50"));
        renew(&presence.hidden(), LONG).expect("it is opened");
        assert!(passes("10.9.0.50:0") && outside.answered("10.9.0.50") && to_neighbour("fd09::50"));
        presence.vanish().expect("the addresses are taken down");
        presence.dismiss().expect("it is let out");
        assert!(!ip("addr").contains("10.9.0.50") && !ip("addr").contains("fd09::50"));
    });
}

#[test]
fn a_gate_that_somebody_has_flushed_is_put_up_again() {
    in_a_network(|| {
        let (outside, place) = (Outside::new(), Place::new());
        let net = place.net();
        let presence = net.presence(&place.group, &[], true).expect("there is one");
        let writer = Writer::new(&place, &outside);
        net.raise().expect("the gate is put up");
        presence.admit().expect("it is put behind it");
        run("nft", "flush ruleset");
        assert!(writer.sent(50) > 0, "there is no gate");
        let refused = renew(&presence.hidden(), LONG).expect_err("there is no gate");
        assert_eq!(refused.raw_os_error(), Some(libc::ENOENT));
        net.mend(&[&presence], Duration::from_millis(300)).expect("it is put up again");
        until("the end of its time", || writer.sent(20) == 0);
        assert!(net.clear(&[]).is_empty(), "it is taken away");
        assert_eq!(run("nft", "list ruleset"), "");
        assert!(net.clear(&[]).is_empty(), "once more does no harm");
    });
}

#[test]
fn what_an_earlier_life_has_left_is_cleared() {
    in_a_network(|| {
        let place = Place::new();
        let addresses = [address("10.9.0.50/24 dev v0"), address("fd09::50/64 dev v0")];
        let net = place.net();
        net.raise().expect("the gate is put up");
        net.presence(&place.group, &addresses, true).unwrap().appear(LONG).expect("the addresses are put up");
        ip("addr add 10.9.0.51/24 dev v0");
        let strange = address("10.9.0.51/24 dev v0");
        let errors = place.net().clear(&[addresses.as_slice(), &[strange]].concat());
        assert!(errors.is_empty(), "{errors:?}");
        let left = ip("addr");
        assert!(
            !left.contains("10.9.0.50") && !left.contains("fd09::50") && left.contains("10.9.0.51"),
            "{left}"
        );
        assert_eq!(run("nft", "list ruleset"), "");
    });
}

#[test]
fn if_one_address_cannot_be_put_up_none_is() {
    in_a_network(|| {
        let place = Place::new();
        let addresses = [address("10.9.0.50/24 dev v0"), address("10.9.0.51/24 dev v9")];
        let presence = place.net().presence(&place.group, &addresses, false).expect("there is one");
        presence.check().expect_err("v9 is missing");
        presence.appear(LONG).expect_err("v9 is missing");
        let alone = place.net().presence(&place.group, &addresses[..1], false).expect("there is one");
        alone.appear(Duration::ZERO).expect_err("the right to run is over");
        assert!(!ip("addr").contains("10.9.0.50"));
        assert!(presence.hidden().is_empty());
    });
}

#[test]
fn neighbours_are_told_where_an_address_is_now() {
    in_a_network(|| {
        let (outside, place) = (Outside::new(), Place::new());
        let addresses = [address("10.9.0.50/24 dev v0"), address("fd09::50/64 dev v0")];
        let presence = place.net().presence(&place.group, &addresses, false).expect("there is one");
        let former = "lladdr 02:00:00:00:00:07 dev v1 nud stale";
        for one in &addresses {
            outside.ip(&format!("neigh replace {} {former}", one.ip));
        }
        presence.appear(LONG).expect("the addresses are put up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(presence.clone().announce());
        let ours = ip("-br link show dev v0");
        let ours = ours.split_whitespace().nth(2).expect("it has an address of its own");
        until("neighbours that know", || outside.ip("neigh").matches(ours).count() >= 2);
        presence.vanish().expect("the addresses are taken down");
        outside.ip(&format!("neigh replace 10.9.0.50 {former}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(presence.announce());
        assert!(outside.ip("neigh").contains("02:00:00:00:00:07"), "what is gone is not announced");
    });
}
