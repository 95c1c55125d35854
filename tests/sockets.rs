//! Sockets that woodward opens and keeps: whoever connects is served or waits, and is never refused.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::bed::{Bed, kill};
use crate::survival::kill_the_daemon;

/// An address nobody has now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    listener.local_addr().expect("a bound socket has an address")
}

/// Answers each connection at descriptor 3 with its process id and ends after `connections` of them (0: never).
fn server(connections: u32) -> String {
    let script = format!(
        "import os, socket\n\
         s = socket.socket(fileno=3)\n\
         n = 0\n\
         while True:\n\
         \x20   c, _ = s.accept()\n\
         \x20   c.sendall(b\"%d\\n\" % os.getpid())\n\
         \x20   c.close()\n\
         \x20   n += 1\n\
         \x20   if n == {connections}:\n\
         \x20       break\n"
    );
    format!("command = [\"python3\", \"-c\", '''{script}''']\n")
}

/// Connects and reads the answer.
fn ask(address: SocketAddr) -> std::io::Result<i32> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.trim().parse().map_err(std::io::Error::other)
}

#[test]
fn a_service_finds_its_sockets_their_names_and_its_own_number() {
    let (tcp, udp) = (free_address(), free_address());
    let bed = Bed::new();
    let dir = bed.path().display().to_string();
    drop(bed);
    let bed = Bed::up(&format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\n\
         command = [\"sh\", \"-c\", 'echo $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$ > said; ls -l /proc/$$/fd > fds; exec sleep 1000']\n\
         ready.file = \"fds\"\n\
         listen = [{{ name = \"web\", stream = \"{tcp}\" }}, {{ name = \"log\", datagram = \"{udp}\" }}, \
         {{ name = \"ctl\", unix = \"{dir}-sock/s\", mode = \"0600\" }}]\n"
    ));
    let said = bed.read("said");
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..2], ["3", "web:log:ctl"]);
    assert_eq!((words[2], words[2]), (words[3], bed.pid("t/s").to_string().as_str()));
    let fds = bed.read("fds");
    for number in 3..6 {
        assert!(fds.contains(&format!(" {number} -> socket:")), "{fds}");
    }
    assert!(!fds.contains(" 6 -> "), "{fds}");
    assert!(TcpStream::connect(tcp).is_ok());
    let file = format!("{dir}-sock/s");
    let meta = fs::symlink_metadata(&file).expect("the socket is there");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert!(UnixStream::connect(&file).is_ok());
    bed.stop();
    assert!(fs::symlink_metadata(&file).is_err(), "the socket was left behind");
    fs::remove_dir(format!("{dir}-sock")).expect("nothing else is in its directory");
    assert!(TcpStream::connect(tcp).is_err());
}

#[test]
fn no_connection_is_refused_across_restarts_and_the_death_of_the_daemon() {
    let address = free_address();
    let bed = Bed::up(&format!(
        "id = \"t\"\nintensity = 1000\n[[child]]\nid = \"s\"\nbackoff = {{ immediate = 1, first = \"200ms\", factor = 1 }}\n\
         listen = [{{ stream = \"{address}\" }}]\n{}",
        server(0)
    ));
    let (over, answered, refused) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let client = std::thread::spawn({
        let (over, answered, refused) = (over.clone(), answered.clone(), refused.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                match TcpStream::connect(address) {
                    Ok(mut stream) => {
                        // What the dead one had accepted is lost, as it is with any server.
                        let mut text = String::new();
                        let _ = stream.read_to_string(&mut text);
                        answered.fetch_add(u64::from(!text.is_empty()), Ordering::Relaxed);
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                    Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                }
            }
        }
    });
    for n in 0..20 {
        let (pid, before) = (bed.pid("t/s"), answered.load(Ordering::Relaxed));
        if n % 5 == 4 {
            kill_the_daemon(&bed);
        }
        kill(pid, libc::SIGKILL);
        bed.wait("the next one to answer", |bed| {
            bed.row("t/s")["pid"].as_i64().is_some_and(|new| new != i64::from(pid))
                && answered.load(Ordering::Relaxed) > before
        });
    }
    over.store(true, Ordering::Relaxed);
    client.join().expect("the client does not fail");
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    bed.stop();
}

#[test]
fn a_lazy_service_starts_at_the_first_connection_and_listens_again_after_a_calm_end() {
    let address = free_address();
    let bed = Bed::up(&format!(
        "id = \"t\"\nintensity = 0\n[[child]]\nid = \"s\"\nlisten = [{{ stream = \"{address}\", lazy = true }}]\n{}\
         [[child]]\nid = \"behind\"\ncommand = \"sleep 1000\"\n",
        server(2)
    ));
    let text = "listens, starts at the first connection";
    assert_eq!((bed.row("t/s")["pid"].as_i64(), bed.row("t/s")["status_text"].as_str()), (None, Some(text)));
    let generation = bed.generation("t/s");
    let mut pids = Vec::new();
    for _ in 0..3 {
        let pid = ask(address).expect("an answer");
        assert_eq!(bed.pid("t/s"), pid);
        assert_eq!(ask(address).expect("an answer"), pid);
        bed.wait("it to listen again", |bed| bed.row("t/s")["status_text"].as_str() == Some(text));
        assert!(!pids.contains(&pid));
        pids.push(pid);
    }
    // The tree has noticed nothing: with intensity 0 it would be down.
    assert_eq!((bed.state("t/s").as_str(), bed.generation("t/s")), ("up", generation));
    kill_the_daemon(&bed);
    bed.wait_until_up();
    let pid = ask(address).expect("an answer");
    kill_the_daemon(&bed);
    bed.wait_until_up();
    assert_eq!((bed.pid("t/s"), ask(address).expect("an answer")), (pid, pid));
    bed.wait("it to listen again", |bed| bed.row("t/s")["status_text"].as_str() == Some(text));
    bed.stop();
}

#[test]
fn a_lazy_service_is_started_by_a_datagram_and_its_crash_is_a_crash() {
    let address = free_address();
    let bed = Bed::up(&format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nlisten = [{{ datagram = \"{address}\", lazy = true }}]\n\
         command = [\"python3\", \"-c\", '''\nimport socket\ns = socket.socket(fileno=3)\n\
         open(\"got\", \"ab\").write(s.recv(100))\nraise SystemExit(3)''']\n"
    ));
    let before = bed.generation("t/s");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a port can be bound");
    sender.send_to(b"hello\n", address).expect("a datagram can be sent");
    bed.wait("the restart", |bed| bed.generation("t/s") > before && bed.state("t/s") == "up");
    assert_eq!(bed.read("got"), "hello\n");
    assert!(bed.ask(&["why", "t/s"]).contains("exit 3"), "{}", bed.ask(&["why", "t/s"]));
    assert_eq!(bed.row("t/s")["pid"].as_i64(), None);
    bed.stop();
}

#[test]
fn a_lazy_service_that_ends_calmly_without_serving_is_not_started_in_a_circle() {
    let address = free_address();
    let bed = Bed::started(&format!(
        "id = \"t\"\nintensity = 3\nperiod = \"1m\"\n[[child]]\nid = \"s\"\ncommand = \"true\"\nbackoff = false\n\
         limit = {{ intensity = 3, period = \"1m\" }}\nlisten = [{{ stream = \"{address}\", lazy = true }}]\n"
    ));
    bed.wait("it to listen", |bed| bed.state("t/s") == "up");
    let mut stream = TcpStream::connect(address).expect("a connection");
    bed.wait("it to be parked", |bed| bed.state("t/s") == "parked");
    // Parked: who waited is told, and whoever comes is refused.
    let mut nothing = Vec::new();
    let _ = stream.write(b"x");
    let _ = stream.read_to_end(&mut nothing);
    bed.wait("it to be closed", |_| TcpStream::connect(address).is_err());
    bed.stop();
}

#[test]
fn sockets_are_closed_while_a_service_is_stopped_by_hand_and_opened_when_it_is_started() {
    let address = free_address();
    let bed = Bed::up(&format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nlisten = [{{ stream = \"{address}\" }}]\n{}",
        server(0)
    ));
    let first = ask(address).expect("an answer");
    bed.ask(&["restart", "t/s"]);
    assert_ne!(ask(address).expect("an answer"), first);
    bed.ask(&["stop", "t/s"]);
    bed.wait("it to be closed", |_| TcpStream::connect(address).is_err());
    bed.ask(&["start", "t/s"]);
    assert!(ask(address).is_ok());
    bed.stop();
}

#[test]
fn a_unix_socket_left_by_a_dead_run_is_replaced_and_one_in_use_is_not() {
    let bed = Bed::new();
    let file = bed.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&file).expect("a socket can be bound"));
    let tree = format!(
        "id = \"t\"\ninitial_start = \"fail\"\n[[child]]\nid = \"s\"\ncommand = \"sleep 1000\"\nlisten = [{{ unix = \"{}\" }}]\n",
        file.display()
    );
    let run = |bed: &mut Bed| {
        let tree = bed.write("tree.toml", &tree);
        bed.run(&[tree]);
    };
    let mut first = Bed::new();
    run(&mut first);
    first.wait("it to be up", |bed| bed.client(&["is-up"]).status.success());
    let mut second = Bed::new();
    run(&mut second);
    second.wait("its end", |bed| bed.output().contains("Address already in use"));
    assert!(second.output().contains(&format!("socket unix {}", file.display())), "{}", second.output());
    assert_ne!(second.wait_for_the_end().code(), Some(0));
    assert!(UnixStream::connect(&file).is_ok());
    first.stop();
}

#[test]
fn a_socket_is_taken_back_from_its_service_when_the_keeper_was_killed() {
    let address = free_address();
    let mut bed = Bed::new();
    let file = bed.path().join("s.sock");
    let tree = format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nbackoff = {{ immediate = 0, first = \"10m\", max = \"10m\" }}\n\
         listen = [{{ stream = \"{address}\" }}, {{ name = \"u\", unix = \"{}\" }}]\n{}",
        file.display(),
        server(0)
    );
    let tree = bed.write("tree.toml", &tree);
    bed.run(&[&tree]);
    bed.wait("it to be up", |bed| bed.client(&["is-up"]).status.success());
    let pid = ask(address).expect("an answer");
    bed.kill_keeper();
    assert_eq!(ask(address).expect("an answer"), pid);
    bed.run(&[&tree]);
    bed.wait("it to be up", |bed| bed.client(&["is-up"]).status.success());
    assert_eq!((bed.pid("t/s"), ask(address).expect("an answer")), (pid, pid));
    kill(pid, libc::SIGKILL);
    bed.wait("its back-off", |bed| bed.state("t/s") == "backoff");
    assert!(TcpStream::connect(address).is_ok() && UnixStream::connect(&file).is_ok());
    bed.stop();
}

#[test]
fn libsystemd_finds_the_sockets_through_the_stage() {
    let address = free_address();
    let port = address.port();
    let sockets = tempfile::tempdir().expect("a directory can be made");
    let file = sockets.path().join("s.sock").display().to_string();
    let bed = Bed::up(&format!(
        "id = \"t\"\n[[child]]\nid = \"s\"\nharden = \"strict\"\noutput = \"inherit\"\nready.log = \"found\"\n\
         listen = [{{ name = \"web\", stream = \"{address}\" }}, {{ name = \"u\", unix = \"{file}\" }}]\n\
         command = [\"python3\", \"-c\", '''\nimport ctypes, time\ns = ctypes.CDLL(\"libsystemd.so.0\")\n\
         names = ctypes.POINTER(ctypes.c_char_p)()\nn = s.sd_listen_fds_with_names(0, ctypes.byref(names))\n\
         inet = s.sd_is_socket_inet(3, 0, 1, 1, ctypes.c_uint16({port}))\n\
         unix = s.sd_is_socket_unix(4, 1, 1, b\"{file}\", 0)\n\
         print(\"found\", n, [names[i].decode() for i in range(n)], inet, unix, flush=True)\ntime.sleep(1000)''']\n"
    ));
    assert!(bed.output().contains("found 2 ['web', 'u'] 1 1"), "{}", bed.output());
    bed.stop();
}
