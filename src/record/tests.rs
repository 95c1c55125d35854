//! Whole streams: a child's descriptor at one end, memory and sinks at the other.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::tree::RateLimit;

/// A worker about which nothing is special.
pub(super) fn worker(output: Output) -> WorkerPlan {
    WorkerPlan { path: "t/a".to_owned(), command: vec!["true".to_owned()], output, ..WorkerPlan::default() }
}

/// A record in a directory of its own, and a child in it.
struct Bed {
    dir: TempDir,
    record: Record,
    stream: Stream,
}

impl Bed {
    fn new(worker: &WorkerPlan) -> Bed {
        Bed::with_journal(worker, |_| {})
    }

    fn with_journal(worker: &WorkerPlan, listen: impl FnOnce(&Path)) -> Bed {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = dir.path().join("journal");
        listen(&journal);
        let places =
            Places { journal, ..Places::new(dir.path().join("run"), Some(dir.path().join("history"))) };
        let record = Record::open(places, None).expect("a record");
        let stream = record.stream(worker, "t/a").expect("a stream");
        Bed { dir, record, stream }
    }

    /// With a log file `a.log`.
    fn with_file(max_size: Option<u64>, keep: u32, rate: Option<RateLimit>) -> Bed {
        let dir = tempfile::tempdir().expect("a directory").keep();
        let file = dir.join("a.log");
        let worker = worker(Output::File { file, max_size, keep });
        let bed = Bed::new(&WorkerPlan { log_rate_limit: rate, ..worker });
        // The directory of the log file goes with the bed.
        std::os::unix::fs::symlink(&dir, bed.dir.path().join("logs")).expect("a link");
        bed
    }

    fn child(&self) -> File {
        let writer = self.stream.writer().expect("captured");
        File::from(writer.try_clone().expect("a descriptor"))
    }

    fn write(&self, bytes: impl AsRef<[u8]>) {
        self.child().write_all(bytes.as_ref()).expect("written");
    }

    /// Lines in memory, with their generations.
    async fn lines(&self) -> Vec<(u64, String)> {
        self.record.settled().await;
        let lines = self.record.lines(&["t".to_owned()], usize::MAX);
        lines.iter().map(|line| (line.generation, line.text.clone())).collect()
    }

    async fn file(&self) -> String {
        self.record.close().await;
        let files = rotate::files(&self.dir.path().join("logs/a.log"));
        files.iter().map(|file| std::fs::read_to_string(file).expect("a file")).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.record.facts("").iter().map(|fact| fact.kind.clone()).collect()
    }
}

/// Waits for what another thread is about to do.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "{what}");
}

fn line(generation: u64, text: &str) -> (u64, String) {
    (generation, text.to_owned())
}

#[tokio::test]
async fn lines_belong_to_the_generation_that_wrote_them() {
    let bed = Bed::new(&worker(Output::Auto));
    bed.stream.begin(2, 7);
    bed.write("one\ntwo\n");
    bed.stream.end();
    bed.write("of a grandchild\n");
    bed.stream.begin(5, 8);
    bed.write("three\n");
    let lines = [line(2, "one"), line(2, "two"), line(2, "of a grandchild"), line(5, "three")];
    assert_eq!(bed.lines().await, lines);
    assert_eq!(bed.record.lines(&["t/a".to_owned()], 1)[0].seq, 4);
    assert_eq!(bed.record.lines(&["t/b".to_owned()], 1), []);
}

#[tokio::test]
async fn a_line_without_newline_is_kept_and_closed_at_the_end() {
    let bed = Bed::with_file(None, 0, None);
    bed.stream.begin(1, 0);
    bed.write("name: ");
    assert_eq!(bed.lines().await, [line(1, "name: ")]);
    bed.write("ana\nlast");
    bed.stream.end();
    bed.stream.begin(2, 0);
    bed.write("next\n");
    assert_eq!(bed.lines().await, [line(1, "name: ana"), line(1, "last"), line(2, "next")]);
    assert_eq!(bed.file().await, "name: ana\nlast\nnext\n");
}

#[tokio::test]
async fn a_line_that_never_ends_is_cut_and_says_so() {
    let bed = Bed::with_file(None, 0, None);
    bed.stream.begin(1, 0);
    let mut child = bed.child();
    let writer = std::thread::spawn(move || child.write_all(&[b'x'; 1 << 20]));
    until("the writer is never blocked", || writer.is_finished()).await;
    bed.stream.end();
    let lines = bed.lines().await;
    assert!(lines.iter().rev().skip(1).all(|(_, text)| text.ends_with(" [woodward: goes on]")));
    let kept: usize = lines.iter().map(|(_, text)| text.len()).sum();
    assert!((32 << 10..=64 << 10).contains(&kept), "{kept}");
    assert_eq!(bed.file().await.matches('x').count(), 1 << 20);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced_in_memory_and_kept_in_files() {
    let bed = Bed::with_file(None, 0, None);
    bed.write(b"\xff\0ok\n");
    assert_eq!(bed.lines().await, [line(0, "\u{fffd}\0ok")]);
    bed.record.close().await;
    assert_eq!(std::fs::read(bed.dir.path().join("logs/a.log")).expect("a file"), b"\xff\0ok\n");
}

#[tokio::test]
async fn lines_beyond_the_rate_limit_are_counted_and_shown() {
    let limit = RateLimit { lines: 10, per: Duration::from_secs(3600) };
    let bed = Bed::with_file(None, 0, Some(limit));
    bed.stream.begin(1, 0);
    bed.write("x\n".repeat(322));
    bed.stream.end();
    let lines = bed.lines().await;
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10].1, "woodward: 312 lines dropped by log_rate_limit");
    assert_eq!(bed.stream.dropped(), 312);
    assert!(bed.file().await.ends_with("x\nwoodward: 312 lines dropped by log_rate_limit\n"));
}

#[tokio::test]
async fn drops_are_shown_though_the_child_goes_on() {
    let limit = RateLimit { lines: 1, per: Duration::from_secs(3600) };
    let bed = Bed::with_file(None, 0, Some(limit));
    bed.write("x\n".repeat(3));
    let shown = || bed.record.lines(&[], 1).first().is_some_and(|line| line.text.contains("2 lines dropped"));
    until("the drops are shown within a second or so", shown).await;
}

#[tokio::test]
async fn a_flood_is_in_the_file_or_counted() {
    const LINES: usize = 300_000;
    let bed = Bed::with_file(Some(1 << 20), 100, None);
    bed.stream.begin(1, 0);
    let mut child = bed.child();
    let text = [[b'x'; 99].as_slice(), b"\n"].concat();
    let writer = std::thread::spawn(move || (0..LINES).try_for_each(|_| child.write_all(&text)));
    until("the writer is never blocked", || writer.is_finished()).await;
    bed.stream.end();
    let file = bed.file().await;
    let whole = file.lines().filter(|line| line.len() == 99 && !line.starts_with("woodward")).count();
    assert_eq!(whole as u64 + bed.stream.dropped(), LINES as u64);
    assert!(file.lines().all(|line| line.len() == 99 || line.starts_with("woodward: ")));
    let segment = bed.dir.path().join("run/log/t/a.segment");
    assert!(segment.metadata().expect("a segment").len() <= 64 + 8192, "all is consumed");
}

#[tokio::test]
async fn a_full_disk_drops_counts_and_says_so_once() {
    let file = PathBuf::from("/dev/full");
    let bed = Bed::new(&worker(Output::File { file, max_size: None, keep: 0 }));
    for n in 0..3 {
        bed.write(format!("line {n}\n"));
        bed.record.close().await;
    }
    assert_eq!(bed.stream.dropped(), 3);
    assert_eq!(bed.kinds(), ["daemon_started", "output_lost"]);
    let text = "cannot write /dev/full: No space left on device; its lines are dropped and counted";
    assert_eq!(bed.record.facts("t/a")[0].text, text);
    assert_eq!(bed.lines().await.len(), 3, "memory goes on");
}

#[tokio::test]
async fn a_file_that_can_be_written_again_says_what_it_missed() {
    let bed = Bed::with_file(None, 0, None);
    let real = std::fs::canonicalize(bed.dir.path().join("logs")).expect("a directory");
    let away = real.with_extension("away");
    std::fs::rename(&real, &away).expect("renamed");
    bed.write("one\ntwo\n");
    bed.record.close().await;
    std::fs::rename(&away, &real).expect("renamed");
    bed.write("three\n");
    let missed = "woodward: 2 lines dropped: No such file or directory\nthree\n";
    assert_eq!(bed.file().await, missed);
    assert_eq!(bed.kinds(), ["daemon_started", "output_lost", "output_back"]);
}

#[tokio::test]
async fn a_history_that_cannot_be_written_costs_memory_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = dir.path().join("file");
    std::fs::write(&nowhere, "in the way").expect("written");
    let places = Places { journal: dir.path().join("none"), ..Places::new(dir.path().into(), Some(nowhere)) };
    let record = Record::open(places, None).expect("a record");
    record.fact(FactLine::note(0, 1, "t/a", 1, "ended", "ended: exit 1".to_owned()));
    record.keep();
    record.close().await;
    let mut kinds: Vec<_> = record.facts("").iter().map(|fact| fact.kind.clone()).collect();
    // It is said whenever the disk is first asked.
    kinds.sort();
    assert_eq!(kinds, ["daemon_started", "ended", "history_lost"]);
}

#[tokio::test]
async fn facts_are_numbered_followed_and_in_the_history() {
    let bed = Bed::new(&worker(Output::Null));
    let mut followed = bed.record.follow_facts();
    for n in 0..3 {
        bed.record.fact(FactLine::note(n, n, "t/a", n, "test", format!("fact {n}")));
        bed.record.keep();
    }
    let seqs: Vec<u64> = bed.record.facts("").iter().map(|fact| fact.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(followed.recv().await.expect("a fact").text, "fact 0");
    bed.record.close().await;
    let read = history::read(&bed.dir.path().join("history")).expect("readable");
    let kept: Vec<FactLine> = bed.record.facts("").iter().map(|fact| (**fact).clone()).collect();
    assert_eq!(read, kept);
}

#[tokio::test]
async fn a_line_is_waited_for_in_this_generation_only() {
    let bed = Bed::new(&worker(Output::Auto));
    bed.stream.begin(1, 0);
    bed.write("it is ready\n");
    bed.stream.wait_for(1, "is ready".to_owned()).await;
    bed.stream.end();
    bed.stream.begin(2, 0);
    let waiting = bed.stream.wait_for(2, "is ready".to_owned());
    tokio::pin!(waiting);
    bed.write("not yet\n");
    bed.lines().await;
    assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
    bed.write("it is re");
    bed.write("ady");
    waiting.await;
}

#[tokio::test]
async fn followers_get_every_line() {
    let bed = Bed::new(&worker(Output::Auto));
    let mut follower = bed.record.follow_lines();
    bed.write("one\ntwo\n");
    for (seq, text) in [(1, "one"), (2, "two")] {
        let line = follower.recv().await.expect("a line");
        assert_eq!((line.seq, line.path.as_str(), line.text.as_str()), (seq, "t/a", text));
    }
}

#[tokio::test]
async fn null_is_not_captured_unless_readiness_needs_it() {
    assert!(Bed::new(&worker(Output::Null)).stream.writer().is_none());
    let ready = Some(Probe::Log("up".to_owned()));
    let bed = Bed::new(&WorkerPlan { ready, ..worker(Output::Null) });
    bed.stream.begin(1, 0);
    bed.write("up\n");
    bed.stream.wait_for(1, "up".to_owned()).await;
}

#[tokio::test]
async fn a_child_that_closes_its_output_takes_nothing_from_the_next() {
    let bed = Bed::new(&worker(Output::Auto));
    bed.stream.begin(1, 0);
    let child = bed.child();
    drop(child);
    bed.stream.begin(2, 0);
    bed.write("here\n");
    assert_eq!(bed.lines().await, [line(2, "here")]);
}

#[tokio::test]
async fn a_stream_that_is_forgotten_leaves_no_files() {
    let bed = Bed::new(&worker(Output::Auto));
    let fifo = bed.dir.path().join("run/log/t/a.fifo");
    assert!(fifo.exists());
    bed.record.forget("t/a");
    assert!(!fifo.exists());
    assert_eq!(bed.lines().await, []);
}

#[tokio::test]
async fn a_daemon_that_follows_reads_what_was_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut pipe = LogPipe::open(&dir.path().join("run"), "t/a", None).expect("a pipe");
    let mut child = File::from(pipe.writer().try_clone().expect("a descriptor"));
    child.write_all(b"left\n").expect("written");
    pipe.pump().expect("pumped");
    pipe.read(&mut Vec::new()).expect("read, but not consumed");
    pipe.set_writer([7, 1]).expect("written");
    drop((pipe, child));
    let places = Places { journal: dir.path().join("none"), ..Places::new(dir.path().join("run"), None) };
    let record = Record::open(places, None).expect("a record");
    record.stream(&worker(Output::Auto), "t/a").expect("a stream");
    record.settled().await;
    let line = &record.lines(&[], 1)[0];
    assert_eq!((line.text.as_str(), line.generation), ("left", 7));
}

#[tokio::test]
async fn lines_are_numbered_and_shown_through_the_deaths_of_daemons() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut seen = Vec::new();
    for n in 0..3 {
        let record = follower(dir.path(), false);
        let stream = record.stream(&worker(Output::Auto), "t/a").expect("a stream");
        stream.begin(n + 1, 0);
        let mut child = File::from(stream.writer().expect("captured").try_clone().expect("a descriptor"));
        for line in 0..2 {
            child.write_all(format!("{n}.{line}\n").as_bytes()).expect("written");
        }
        record.close().await;
        seen = record.lines(&[], 100).iter().map(|line| (line.seq, line.text.clone())).collect();
    }
    let expected = [(1, "0.0"), (2, "0.1"), (3, "1.0"), (4, "1.1"), (5, "2.0"), (6, "2.1")];
    assert_eq!(seen, expected.map(|(seq, text)| (seq, text.to_owned())));
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let shm = tempfile::tempdir_in("/dev/shm").expect("a directory of another file system");
    let record = follower(dir.path(), true);
    let stream = |name: &str, dir: &Path| {
        let output = Output::File { file: dir.join(name), max_size: None, keep: 0 };
        record.stream(&worker(output), &format!("t/{name}")).expect("a stream")
    };
    let (hangs, lives) = (stream("hangs", shm.path()), stream("lives", dir.path()));
    let write = |stream: &Stream, text: &str| {
        stream.begin(1, 0);
        let mut child = File::from(stream.writer().expect("captured").try_clone().expect("a descriptor"));
        child.write_all(text.as_bytes()).expect("written");
    };
    let [stream::Sink::File(file, _)] = hangs.source.sinks.as_slice() else { panic!("it goes to a file") };
    let disk = file.hang();
    write(&hangs, "one\n");
    write(&lives, "two\n");
    record.fact(FactLine::note(1, 1, "t/lives", 1, "ended", "ended: exit 1".to_owned()));
    record.keep();
    let there = |path: &Path, text: &str| std::fs::read_to_string(path).is_ok_and(|all| all.contains(text));
    until("the other file", || there(&dir.path().join("lives"), "two")).await;
    until("the history", || there(&dir.path().join("history/history.jsonl"), "exit 1")).await;
    assert!(!there(&shm.path().join("hangs"), "one"));
    drop(disk);
    until("the file that was held up", || there(&shm.path().join("hangs"), "one")).await;
}

/// A second daemon in the places of `bed`, whose own record is gone.
fn follower(dir: &Path, history: bool) -> Record {
    let history = history.then(|| dir.join("history"));
    let places = Places { journal: dir.join("none"), ..Places::new(dir.join("run"), history) };
    Record::open(places, None).expect("a record")
}

#[tokio::test]
async fn a_daemon_that_follows_knows_what_happened_before_it_and_numbers_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    for history in [true, false] {
        let first = follower(dir.path(), history);
        first.fact(FactLine::note(5, 0x7f3a, "t/a", 1, "ended", "ended: exit 1".to_owned()));
        first.keep();
        let (last, seq) = (first.last_incident(), first.facts("").last().expect("a fact").seq);
        // No `close`: it was killed.
        drop(first);
        let second = follower(dir.path(), history);
        assert_eq!((second.last_incident(), last), (0x7f3a, 0x7f3a));
        let facts = second.facts("");
        let numbers: Vec<u64> = facts.iter().map(|fact| fact.seq).collect();
        assert_eq!(numbers, (1..=seq + 1).collect::<Vec<_>>());
        assert_eq!(facts[facts.len() - 2].text, "ended: exit 1");
        second.close().await;
    }
}

#[tokio::test]
async fn what_a_killed_daemon_had_not_written_yet_its_follower_adds_to_the_history_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = follower(dir.path(), false);
    first.fact(FactLine::note(5, 1, "t/a", 1, "ended", "ended: exit 1".to_owned()));
    first.keep();
    drop(first);
    for _ in 0..2 {
        let next = follower(dir.path(), true);
        next.close().await;
    }
    let facts = history::read(&dir.path().join("history")).expect("a history");
    let numbers: Vec<u64> = facts.iter().map(|fact| fact.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(facts[1].text, "ended: exit 1");
    // Without the daemon: what only the run state has.
    let last = follower(dir.path(), false);
    drop(last);
    let all =
        history::read_with(Some(&dir.path().join("history")), Some(&dir.path().join("run"))).expect("read");
    assert_eq!(all.iter().map(|fact| fact.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn the_run_state_of_another_boot_is_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(follower(dir.path(), false));
    std::fs::write(dir.path().join("run/facts.boot"), "another").expect("written");
    let next = follower(dir.path(), false);
    assert_eq!(next.facts("").len(), 1);
}

/// The fields of the next record but one's own facts.
fn next_of_child(socket: &UnixDatagram) -> String {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = socket.recv(&mut buffer).expect("a record");
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        if !text.contains("SYSLOG_IDENTIFIER=woodward\n") {
            return text;
        }
    }
}

#[tokio::test]
async fn the_journal_gets_lines_and_facts_with_our_fields() {
    let mut journal = None;
    let bed = Bed::with_journal(&worker(Output::Auto), |path| journal = UnixDatagram::bind(path).ok());
    let journal = journal.expect("a socket");
    bed.stream.begin(3, 0x7f3a);
    bed.write("hello\n");
    let fields = "MESSAGE=hello\nPRIORITY=6\nSYSLOG_IDENTIFIER=t/a\nWOODWARD_PATH=t/a\nWOODWARD_CHILD=a\n\
                  WOODWARD_GENERATION=3\nWOODWARD_INCIDENT=32570\nWOODWARD_SEQ=1\n";
    assert_eq!(next_of_child(&journal), fields);

    let text = "ended: SIGKILL, not sent by woodward".to_owned();
    bed.record.fact(FactLine::note(0, 0x7f3a, "t/a", 3, "ended", text).with("exit", "SIGKILL"));
    bed.record.keep();
    let mut buffer = [0; 4096];
    let n = journal.recv(&mut buffer).expect("a record");
    let fact = String::from_utf8_lossy(&buffer[..n]);
    for field in [
        "MESSAGE=t/a: ended: SIGKILL, not sent by woodward",
        "MESSAGE_ID=a00ee72ac0de8314b98d566db8101924",
        "WOODWARD_CHILD=a",
        "PRIORITY=4",
        "WOODWARD_KIND=ended",
        "WOODWARD_EXIT=SIGKILL",
    ] {
        assert!(fact.lines().any(|line| line == field), "{field} in {fact}");
    }
}

#[tokio::test]
async fn a_record_too_big_for_a_datagram_goes_as_a_file() {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let mut journal = None;
    let bed = Bed::with_journal(&worker(Output::Auto), |path| journal = UnixDatagram::bind(path).ok());
    let journal = journal.expect("a socket");
    let text = "x".repeat(1 << 20);
    bed.record.fact(FactLine::note(0, 0, "t/a", 0, "big", text));
    bed.record.keep();
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut buffer = [0; 4096];
    let file = loop {
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(journal.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
        let message = message.expect("a record");
        if let Some(ControlMessageOwned::ScmRights(files)) = message.cmsgs().expect("whole").next() {
            break files[0];
        }
    };
    let record = std::fs::read_to_string(format!("/proc/self/fd/{file}")).expect("readable");
    assert!(record.len() > 1 << 20 && record.contains("WOODWARD_KIND=big\n"));
}

#[tokio::test]
async fn a_journal_that_reads_nothing_blocks_no_child_and_every_loss_is_counted() {
    let mut journal = None;
    let bed = Bed::with_journal(&worker(Output::Auto), |path| journal = UnixDatagram::bind(path).ok());
    let journal = journal.expect("a socket");
    bed.stream.begin(1, 0);
    let mut child = bed.child();
    let text = [[b'x'; 9999].as_slice(), b"\n"].concat();
    let writer = std::thread::spawn(move || (0..2000).try_for_each(|_| child.write_all(&text)));
    until("the writer is never blocked", || writer.is_finished()).await;
    bed.record.settled().await;
    assert!(bed.stream.dropped() > 0);
    let dropped = bed.stream.dropped();
    // It wakes up: what was taken comes, what was not is said.
    let reader = std::thread::spawn(move || {
        let mut lines = 0;
        loop {
            let record = next_of_child(&journal);
            if record.contains(" lines dropped: what they go to is too slow") {
                return lines;
            }
            lines += 1;
        }
    });
    until("the loss is said in the journal", || {
        bed.write("more\n");
        reader.is_finished()
    })
    .await;
    let lines: u64 = reader.join().expect("no panic");
    assert!(lines + dropped >= 2000, "{lines} + {dropped}");
}
