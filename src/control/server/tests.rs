//! The server and the client against each other, over real sockets, with a house without processes.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::Value;
use tokio::sync::broadcast::{self, Receiver, Sender};
use woodward_engine::effect::ErrorKind;
use woodward_engine::{Reply, Time, Verb};

use super::*;
use crate::control::bind::bind;
use crate::control::client::Client;
use crate::control::message::{self, Step};
use crate::control::places::Host;
use crate::os::Members;
use crate::record::Line;
use crate::record::fact::FactLine;
use crate::record::why::Why;
use crate::runtime::faults::{Done, Fault, FaultError};
use crate::runtime::view::View;
use crate::runtime::view::{Kind, Row};
use crate::runtime::{Closed, InstanceError, Nudge, NudgeError, Who};
use crate::tree::Plan;

/// Nothing that works takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon without processes. Each request makes one fact of it and gets `reply`.
#[derive(Clone)]
struct Fake {
    rows: Arc<Vec<Arc<Row>>>,
    facts: Sender<Arc<FactLine>>,
    lines: Sender<Arc<Line>>,
    asked: Arc<Mutex<Vec<(String, Verb, Who)>>>,
    reply: Reply,
}

impl Fake {
    fn of(paths: &[&str]) -> Fake {
        let rows = paths.iter().map(|path| Arc::new(row(path))).collect();
        let (facts, lines) = (broadcast::channel(64).0, broadcast::channel(64).0);
        Fake { rows: Arc::new(rows), facts, lines, asked: Arc::default(), reply: Reply::Ok }
    }

    /// Serves it on `socket` from a thread of its own, for as long as the test's process lives.
    fn serve(self, socket: &Path) {
        let listener = bind(socket, None).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                serve(self, UnixListener::from_std(listener).unwrap(), Door::default()).await
            })
        });
    }
}

impl House for Fake {
    fn view(&self) -> Arc<View> {
        let started = "2026-11-21T00:00:00.000Z".to_owned();
        Arc::new(View { version: 1, started, chunks: vec![self.rows.clone()] })
    }

    fn plans(&self) -> Vec<Arc<Plan>> {
        let roots = self.rows.iter().filter(|row| !row.path.contains('/'));
        roots.map(|row| Arc::new(plan(&row.path))).collect()
    }

    fn now(&self) -> Time {
        Time(1000)
    }

    fn facts(&self, path: &str) -> Vec<Arc<FactLine>> {
        let note =
            |n: u64| FactLine { seq: n, ..FactLine::note(n, 1, "t/a", 2, "ready", format!("fact {n}")) };
        (1..=3).map(note).filter(|fact| is_within(&fact.path, path)).map(Arc::new).collect()
    }

    async fn history(&self) -> Vec<FactLine> {
        self.facts("").iter().map(|fact| (**fact).clone()).collect()
    }

    fn follow_facts(&self) -> Receiver<Arc<FactLine>> {
        self.facts.subscribe()
    }

    fn lines(&self, paths: &[String], n: usize) -> Vec<Arc<Line>> {
        (1..=3)
            .map(line)
            .filter(|line| paths.iter().any(|path| is_within(&line.path, path)))
            .take(n)
            .collect()
    }

    fn follow_lines(&self) -> Receiver<Arc<Line>> {
        self.lines.subscribe()
    }

    fn dropped(&self, _: &str) -> u64 {
        0
    }

    fn memory(&self, _: &str, _: u64, _: i32) -> Option<message::Memory> {
        None
    }

    async fn nudge(&self, path: &str, nudge: Nudge, _: Who) -> Result<(), NudgeError> {
        match nudge {
            Nudge::Reload => Err(NudgeError::NoReload(path.to_owned())),
            Nudge::Signal(_) => Ok(()),
        }
    }

    fn why(&self, path: &str, _: i32) -> Why {
        assert!(path != "t/a", "a mistake");
        Why { path: path.to_owned(), answer: format!("{path} is up"), ..Why::default() }
    }

    fn inject(&self, _: &Fault) -> Result<Done, FaultError> {
        Err(FaultError::NotAllowed)
    }

    fn census(&self) -> Result<Option<Vec<Members>>, FaultError> {
        Err(FaultError::NotAllowed)
    }

    async fn request(&self, path: &str, verb: Verb, who: Who) -> Result<Reply, Closed> {
        self.asked.lock().unwrap().push((path.to_owned(), verb, who));
        let fact = FactLine::note(9, 1, path, 2, "start_failed", "start failed: exit 42".to_owned());
        // Nobody may be listening.
        let _ = self.facts.send(Arc::new(fact));
        Ok(self.reply.clone())
    }

    async fn apply(
        &self,
        _: Option<std::path::PathBuf>,
        _: Vec<(String, String)>,
        _: bool,
        _: Who,
    ) -> Result<Vec<crate::runtime::reload::Reload>, crate::runtime::reload::Refused> {
        Err(crate::runtime::reload::Refused::Closed)
    }

    async fn start_instance(
        &self,
        path: &str,
        _: &[(String, String)],
        _: Who,
    ) -> Result<Reply, InstanceError> {
        Err(InstanceError::Arguments { path: path.to_owned(), why: "`name` is missing".to_owned() })
    }
}

fn row(path: &str) -> Row {
    Row {
        path: path.to_owned(),
        kind: if path.contains('/') { Kind::Service } else { Kind::Supervisor },
        state: RowState::Up,
        pid: None,
        generation: 2,
        restarts: 0,
        since: "2026-11-21T00:00:00.000Z".to_owned(),
        reason: None,
        held: None,
        next: None,
        exit: None,
        strategy: None,
        limit: None,
        waits_for: None,
        dropped_lines: 0,
        status_text: None,
        health: None,
    }
}

fn line(seq: u64) -> Arc<Line> {
    Arc::new(Line { seq, at: seq, path: "t/a".to_owned(), generation: 2, text: format!("line {seq}") })
}

fn plan(id: &str) -> Plan {
    let root = woodward_engine::spec::Supervisor::default();
    let tree = woodward_engine::spec::Tree { id: id.into(), root, shutdown: None, seed: 0 };
    Plan {
        tree,
        workers: Vec::new(),
        supervisors: Vec::new(),
        left_out: Vec::new(),
        failover: None,
        at: None,
    }
}

/// A host on which sockets are in `dirs` only.
fn host(dirs: &[&Path]) -> Host {
    let runtime = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    Host { uid: geteuid().as_raw(), runtime, named: false, others: Vec::new(), state: None }
}

/// One request as curl would send it; head and body of the answer.
fn http(socket: &Path, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn check(socket: &Path, request: &str, status: &str, body: &str) {
    let (head, found) = http(socket, request);
    assert!(head.contains(status), "{request}: {head}\n{found}");
    assert!(found.contains(body), "{request}: {found}");
}

struct Served {
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

fn served(fake: Fake) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("t.sock");
    fake.serve(&socket);
    Served { _dir: dir, socket }
}

const PATHS: &[&str] = &["t", "t/a", "t/g/a", "t/g/b"];

#[test]
fn a_row_has_all_its_keys_always() {
    let served = served(Fake::of(PATHS));
    let (_, body) = http(&served.socket, "GET /v1/status");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(rows.len(), 4);
    let mut keys: Vec<&str> = rows[1].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let promised = "dropped_lines exit generation health held kind limit next path pid reason restarts since state \
                    status_text strategy waits_for";
    assert_eq!(keys.join(" "), promised);
    assert_eq!(rows[1]["pid"], Value::Null);
}

#[test]
fn curl_is_answered_in_json_also_when_it_is_wrong() {
    let served = served(Fake::of(PATHS));
    let s = &served.socket;
    check(s, "GET /v1", "200", "\"trees\":[\"t\"]");
    check(s, "GET /v1/status/t/g/b", "200", "\"path\":\"t/g/b\"");
    check(s, "GET /v1/status/b", "200", "\"path\":\"t/g/b\"");
    check(s, "GET /v1/up", "200", "{\"up\":true,\"missing\":[]}");
    check(s, "GET /v1/why?path=b", "200", "t/g/b is up");
    check(s, "GET /v1/events?path=t/a&n=1", "200", "fact 3");
    check(s, "GET /v1/logs?n=2", "200", "line 2");
    check(s, "GET /v1/status/c", "400", "\"error\":\"cannot find c: no such path\"");
    check(s, "GET /v1/find?path=bb", "200", "\"nearest\":\"t/g/b\"");
    check(s, "GET /v1/status/a", "409", "\"paths\":[\"t/a\",\"t/g/a\"]");
    check(s, "GET /v1/why", "400", "`path=` is missing");
    check(s, "GET /v1/logs?n=many", "400", "not a number");
    check(s, "GET /v1/up?pat=t", "400", "unknown `pat=`");
    check(s, "GET /v2/status", "400", "no such address");
    check(s, "GET /v1/stop?path=b", "400", "wrong method");
    check(s, "POST /v1/status", "400", "wrong method");
    check(s, "POST /v1/explode?path=b", "400", "cannot explode: no such verb");
    check(s, "POST /v1/hold?path=b&for=long", "400", "not a time such as 2h");
    check(s, "POST /v1/stop?path=a", "409", "\"hint\":\"write more of the path\"");
}

#[test]
fn malformed_http_harms_nobody() {
    let served = served(Fake::of(PATHS));
    for nonsense in [&b"\x00\xff\xfe\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"GET /%%% HTTP/1.1\r\n", b""] {
        let mut stream = UnixStream::connect(&served.socket).unwrap();
        stream.write_all(nonsense).unwrap();
        drop(stream);
    }
    check(&served.socket, "GET /v1", "200", "woodward");
}

#[test]
fn a_mistake_in_the_daemon_is_an_answer_too() {
    let served = served(Fake::of(PATHS));
    check(&served.socket, "GET /v1/why?path=t/a", "500", "\"error\":\"cannot answer: a mistake in woodward");
    check(&served.socket, "GET /v1/why?path=b", "200", "t/g/b is up");
}

#[test]
fn a_verb_reaches_the_engine_with_its_asker() {
    let fake = Fake::of(PATHS);
    let asked = fake.asked.clone();
    let served = served(fake);
    check(&served.socket, "POST /v1/hold?path=g/b&for=2s&text=being%20moved", "200", "\"problem\":null");
    check(&served.socket, "POST /v1/restart?path=t/a&only=true", "200", "\"what\":\"outcome\"");
    let name = Peer { uid: Some(geteuid().as_raw()), gid: None }.name();
    let who = |text: Option<&str>| Who { by: name.clone(), text: text.map(str::to_owned) };
    let hold = Verb::Hold { until: Some(Time(3000)) };
    assert_eq!(
        *asked.lock().unwrap(),
        [
            ("t/g/b".to_owned(), hold, who(Some("being moved"))),
            ("t/a".to_owned(), Verb::Restart { only: true }, who(None)),
        ]
    );
}

#[test]
fn a_failed_start_ends_with_its_reason_and_lines() {
    let served = served(Fake { reply: Reply::Error(ErrorKind::StartFailed), ..Fake::of(PATHS) });
    let (_, body) = http(&served.socket, "POST /v1/start?path=t/a");
    let json = |text: &str| serde_json::from_str::<Step>(text).ok();
    let steps: Vec<Step> = body.lines().filter_map(json).collect();
    let Some(Step::Outcome { problem: Some(problem), lines, .. }) = steps.last() else {
        panic!("{body}");
    };
    assert_eq!(problem.error, "cannot start t/a: exit 42");
    assert_eq!((problem.code, lines.len()), (1, 3));
    assert!(matches!(&steps[1], Step::Fact(fact) if fact.kind == "start_failed"), "{body}");
}

#[test]
fn an_instance_without_its_arguments_is_wrong_use() {
    let served = served(Fake::of(PATHS));
    check(&served.socket, "POST /v1/start?path=t/a&arg.x=1", "200", "\"code\":64");
}

#[test]
fn only_the_same_user_and_root_are_let_in() {
    let may = |uid: Option<u32>| Peer { uid, gid: Some(7) }.may(1000, None);
    assert!(may(Some(1000)) && may(Some(0)));
    assert!(!may(Some(1001)) && !may(None));
}

#[test]
fn members_of_a_group_that_was_named_are_let_in() {
    let may = |uid, gid| Peer { uid: Some(uid), gid: Some(gid) }.may(1000, Some(Gid::from_raw(50)));
    assert!(may(1001, 50) && may(1000, 7));
    assert!(!may(1001, 7));
    // By the list of its user: `daemon` is in its own group, whichever the process has now.
    let Ok(Some(daemon)) = User::from_name("daemon") else { panic!("every system has a user daemon") };
    let peer = Peer { uid: Some(daemon.uid.as_raw()), gid: Some(4711) };
    assert!(peer.may(1000, Some(daemon.gid)));
}

#[test]
fn a_follower_gets_what_is_and_what_comes_once() {
    let fake = Fake::of(PATHS);
    let sender = fake.lines.clone();
    let served = served(fake);
    let mut stream = UnixStream::connect(&served.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v1/logs?n=3&follow=true HTTP/1.1\r\nHost: w\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        if let Ok(line) = serde_json::from_str::<Line>(&text) {
            if line.seq == 3 {
                // 3 is known already and must not come twice.
                for seq in 3..=5 {
                    sender.send(super::tests::line(seq)).unwrap();
                }
            }
            seen.push(line.seq);
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[test]
fn a_follower_that_is_too_slow_is_told_how_much_it_missed() {
    let fake = Fake::of(PATHS);
    let sender = fake.lines.clone();
    let served = served(fake);
    let mut stream = UnixStream::connect(&served.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v1/logs?follow=true HTTP/1.1\r\nHost: w\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.contains("line 3") {
        text.clear();
        reader.read_line(&mut text).unwrap();
    }
    // More than socket, batches and broadcast hold together, and nobody reads; the sender never waits.
    let long = "x".repeat(64 * 1024);
    for seq in 4..300 {
        sender.send(Arc::new(Line { text: long.clone(), ..(*line(seq)).clone() })).unwrap();
    }
    check(&served.socket, "GET /v1", "200", "woodward");
    let mut dropped = 0;
    let mut last = 3;
    while last < 299 {
        text.clear();
        reader.read_line(&mut text).unwrap();
        if let Ok(line) = serde_json::from_str::<Line>(&text) {
            assert!(line.seq > last);
            last = line.seq;
        } else if let Ok(gap) = serde_json::from_str::<crate::control::message::Dropped>(&text) {
            dropped += gap.dropped;
        }
    }
    assert!(dropped > 0);
    check(&served.socket, "GET /v1", "200", &format!("\"dropped\":{dropped}"));
}

#[test]
fn a_follower_that_goes_away_leaves_nothing_behind() {
    let fake = Fake::of(PATHS);
    let sender = fake.facts.clone();
    let served = served(fake);
    let mut stream = UnixStream::connect(&served.socket).unwrap();
    write!(stream, "GET /v1/events?follow=true HTTP/1.1\r\nHost: w\r\n\r\n").unwrap();
    wait_for(|| sender.receiver_count() == 1);
    drop(stream);
    wait_for(|| sender.receiver_count() == 0);
}

/// Waits until `condition` holds, with a bound.
fn wait_for(condition: impl Fn() -> bool) {
    let end = crate::os::clock::now() + PATIENCE;
    while !condition() {
        assert!(crate::os::clock::now() < end, "waited in vain");
        Client::pause(Duration::from_millis(5));
    }
}

#[test]
fn ten_thousand_rows_come_in_one_answer() {
    let paths: Vec<String> = (0..10_000).map(|n| format!("t/w{n}")).collect();
    let all: Vec<&str> = std::iter::once("t").chain(paths.iter().map(String::as_str)).collect();
    let served = served(Fake::of(&all));
    let client = Client::find(Some(&served.socket), &host(&[])).unwrap();
    let rows: Vec<Row> = client.get(&client.endpoints()[0], "/v1/status").unwrap();
    assert_eq!(rows.len(), 10_001);
}

#[test]
fn the_path_picks_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    Fake::of(&["one", "one/a", "one/x"]).serve(&dir.path().join("one.sock"));
    Fake::of(&["two", "two/a"]).serve(&dir.path().join("two.sock"));
    drop(bind(&dir.path().join("stale.sock"), None).unwrap());
    let client = Client::find(None, &host(&[dir.path()])).unwrap();
    assert_eq!(client.endpoints().len(), 2);
    let located =
        |asked: &str| client.locate(asked).map(|(endpoint, path)| (endpoint.daemon.trees[0].clone(), path));
    assert_eq!(located("x").unwrap(), ("one".to_owned(), "one/x".to_owned()));
    assert_eq!(located("two/a").unwrap(), ("two".to_owned(), "two/a".to_owned()));
    let several = located("a").unwrap_err();
    assert_eq!((several.code, several.paths), (64, vec!["one/a".to_owned(), "two/a".to_owned()]));
    assert_eq!(located("twoo").unwrap_err().hint.as_deref(), Some("did you mean two?"));
}

#[test]
fn one_id_in_two_daemons_must_be_settled() {
    let dir = tempfile::tempdir().unwrap();
    Fake::of(&["t", "t/a"]).serve(&dir.path().join("one.sock"));
    Fake::of(&["t", "t/a"]).serve(&dir.path().join("two.sock"));
    let problem = Client::find(None, &host(&[dir.path()])).err().unwrap();
    assert_eq!(problem.code, 64);
    assert!(problem.error.contains("one.sock") && problem.error.contains("two.sock"), "{}", problem.error);
    assert!(Client::find(Some(&dir.path().join("two.sock")), &host(&[])).is_ok());
}

#[test]
fn without_a_daemon_it_says_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    drop(bind(&dir.path().join("stale.sock"), None).unwrap());
    let problem = Client::find(None, &host(&[dir.path()])).err().unwrap();
    assert_eq!(problem.code, 69);
    assert!(problem.error.contains(dir.path().to_str().unwrap()), "{}", problem.error);
    let missing = dir.path().join("missing.sock");
    let problem = Client::find(Some(&missing), &host(&[])).err().unwrap();
    assert_eq!((problem.code, problem.error.contains("no such socket")), (69, true), "{}", problem.error);
}

#[test]
fn the_socket_file_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("t.sock");
    let listener = bind(&socket, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server =
            tokio::spawn(serve(Fake::of(PATHS), UnixListener::from_std(listener).unwrap(), Door::default()));
        tokio::task::yield_now().await;
        server.abort();
        assert!(server.await.is_err());
    });
    assert!(!socket.exists());
}
