//! Servers that talk nonsense, hang, cut off and lie: what real etcd does too seldom.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use woodward_engine::cluster::{Answer, Key, Timing, Transaction, Value, Write};

use super::gateway::base64;
use super::{Etcd, Settings};
use crate::store::{Store, StoreError, Watched};

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server does with a question.
enum Does {
    /// Answers with this JSON.
    Says(String),
    /// Writes this and closes.
    Writes(Vec<u8>),
    /// Answers with lines in pieces, and then nothing more.
    Streams(Vec<String>),
    /// Nothing, for ever.
    Hangs,
}

type Script = Arc<dyn Fn(&str, &str, usize) -> Does + Send + Sync>;

/// A server that does what its script says of path, body, and how many questions of this path came before.
#[derive(Clone)]
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Fake {
    async fn new(script: impl Fn(&str, &str, usize) -> Does + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Fake { url, asked: Arc::default() };
        let (script, this): (Script, Fake) = (Arc::new(script), fake.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(this.clone().serve(stream, script.clone()));
            }
        });
        fake
    }

    async fn serve(self, mut stream: TcpStream, script: Script) {
        while let Some((path, body)) = question(&mut stream).await {
            let before = self.count(&path);
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), body.clone()));
            match script(&path, &body, before) {
                Does::Says(text) => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                    let _ = stream.write_all((head + &text).as_bytes()).await;
                }
                Does::Writes(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return;
                }
                Does::Streams(pieces) => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                    for piece in pieces {
                        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                        let _ = stream.write_all(chunk.as_bytes()).await;
                        sleep(Duration::from_millis(5)).await;
                    }
                    std::future::pending::<()>().await;
                }
                Does::Hangs => std::future::pending().await,
            }
        }
    }

    fn count(&self, path: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(of, _)| of == path).count()
    }

    fn bodies(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(of, _)| of == path).map(|(_, body)| body.clone()).collect()
    }
}

/// The next question: path and body.
async fn question(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length?.parse().ok()?;
            if body.len() >= length {
                return Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()));
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend_from_slice(&piece[..n]),
        }
    }
}

const TXN: &str = "/v3/kv/txn";
const WATCH: &str = "/v3/watch";

/// As a member of cluster 7 at revision 5 would.
fn sound(path: &str) -> Does {
    let header = r#""header":{"cluster_id":"7","member_id":"1","revision":"5","raft_term":"2"}"#;
    Does::Says(match path {
        TXN => format!("{{{header},\"succeeded\":true}}"),
        _ => format!("{{{header},\"leader\":\"1\"}}"),
    })
}

fn store(fakes: &[&Fake]) -> Etcd {
    let members = fakes.iter().map(|fake| fake.url.clone()).collect();
    open(members)
}

fn open(members: Vec<String>) -> Etcd {
    let beat = Timing::FAST.beat;
    Etcd::open(Settings { members, cluster: "c".into(), beat, user: None, tls: None })
        .expect("it can be opened")
}

fn beat() -> Transaction {
    let write = Write::Put(Key::Beat("h1".into()), Value::Beat(1));
    Transaction { conditions: Vec::new(), writes: vec![write] }
}

#[tokio::test]
async fn what_may_have_been_sent_is_never_sent_again() {
    let cuts = |path: &str, _: &str, _| if path == TXN { Does::Writes(Vec::new()) } else { sound(path) };
    let (one, other) = (Fake::new(cuts).await, Fake::new(cuts).await);
    let store = store(&[&one, &other]);
    store.read().await.expect("it can be read");
    assert_eq!(store.commit(beat(), false).await, Answer::Unknown);
    assert_eq!(one.count(TXN) + other.count(TXN), 1);
}

#[tokio::test]
async fn what_was_certainly_not_sent_goes_to_another_member() {
    let sound = Fake::new(|path, _, _| sound(path)).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let nobody = format!("http://{}", closed.local_addr().expect("an address"));
    let store = open(vec![nobody, sound.url.clone(), sound.url.replace("127.0.0.1", "localhost")]);
    drop(closed);
    assert_eq!(store.commit(beat(), false).await, Answer::Done(5));
    // The first one is asked first again only when it is good.
    assert_eq!(store.commit(beat(), false).await, Answer::Done(5));
    let fault = store.members().remove(0).fault.unwrap_or_default();
    assert!(fault.starts_with("cannot connect: "), "{fault}");
}

#[tokio::test]
async fn nonsense_is_a_sentence_and_never_a_panic() {
    let answers: [&[u8]; 12] = [
        b"",
        b"\r\n\r\n\0\0\0",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"header\":{\"cluster_id\":\"-1\"}}          ",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nNot Found",
        b"HTTP/1.1 301 Moved\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 19\r\n\r\n{\"error\":\"\\u0007\xff\"} ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n",
    ];
    for answer in answers {
        let shown = String::from_utf8_lossy(answer);
        let fake = Fake::new(move |_, _, _| Does::Writes(answer.to_vec())).await;
        let away = store(&[&fake]);
        let error = away.read().await.expect_err(&shown).to_string();
        assert!(error.starts_with("cannot ") && !error.contains(char::is_control), "{error:?}");
        assert_eq!(away.commit(beat(), false).await, Answer::Unknown, "{shown}");
        // The same where it began well.
        let fake = Fake::new(move |path, _, _| match path {
            "/v3/maintenance/status" => sound(path),
            _ => Does::Writes(answer.to_vec()),
        })
        .await;
        let odd = store(&[&fake]);
        assert!(odd.read().await.is_err(), "{shown}");
        for is_beat in [true, false] {
            assert_eq!(odd.commit(beat(), is_beat).await, Answer::Unknown, "{shown}");
        }
        let mut watch = odd.watch(5);
        assert!(timeout(Duration::from_millis(50), watch.recv()).await.is_err(), "{shown}");
    }
}

#[tokio::test]
async fn a_member_that_hangs_costs_no_beat() {
    let hangs = Fake::new(|path, _, _| if path == TXN { Does::Hangs } else { sound(path) }).await;
    let (one, other) = (Fake::new(|path, _, _| sound(path)).await, Fake::new(|path, _, _| sound(path)).await);
    let store = store(&[&hangs, &one, &other]);
    store.read().await.expect("it can be read");
    for _ in 0..12 {
        assert_eq!(store.commit(beat(), true).await, Answer::Done(5));
    }
    // It is still being asked: it may be well again.
    assert!(hangs.count(TXN) > 3, "{}", hangs.count(TXN));
    let all = Fake::new(|path, _, _| if path == TXN { Does::Hangs } else { sound(path) }).await;
    let store = open(vec![all.url.clone()]);
    store.read().await.expect("it can be read");
    let begun = Instant::now();
    assert_eq!(timeout(PATIENCE, store.commit(beat(), true)).await, Ok(Answer::Unknown));
    assert!(begun.elapsed() >= Timing::FAST.beat * 2);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_said_and_waited_for() {
    let store = open(vec!["http://nowhere.invalid".to_owned()]);
    match timeout(PATIENCE, store.read()).await.expect("it is known in time") {
        Err(StoreError::Away { member, why }) => {
            assert_eq!(member, "http://nowhere.invalid");
            assert!(why.starts_with("cannot find nowhere.invalid: "), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

/// A change as etcd tells it.
fn change(key: &str, value: &str, revision: u64) -> String {
    let (key, value) = (base64(key.as_bytes()), base64(value.as_bytes()));
    format!(r#"{{"kv":{{"key":"{key}","value":"{value}","mod_revision":"{revision}"}}}}"#)
}

fn batch(events: &[String], more: &str) -> String {
    let header = r#""header":{"cluster_id":"7","member_id":"1","revision":"9"}"#;
    format!("{{\"result\":{{{header},\"events\":[{}]{more}}}}}\n", events.join(","))
}

#[tokio::test]
async fn a_watch_gives_each_revision_whole_and_goes_on_where_it_broke_off() {
    let (first, second) = ("/woodward/c/node/h1/beat", "/woodward/c/node/h2/beat");
    let events = [
        change(first, "1", 6),
        change(second, "x", 6),
        change("/woodward/c/odd", "1", 6),
        change(first, "2", 7),
    ];
    let whole = batch(&events, "");
    let (head, tail) = whole.split_at(100);
    let pieces = vec![
        batch(&[], ",\"created\":true"),
        head.to_owned(),
        tail.to_owned(),
        batch(&[change(first, "3", 8)], ",\"fragment\":true"),
        batch(&[change(second, "4", 8)], ""),
        "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n".to_owned(),
    ];
    let again = [batch(&[change(first, "3", 8), change(first, "5", 9)], "")];
    let lost = batch(&[], ",\"canceled\":true,\"compact_revision\":\"12\"");
    let fake = Fake::new(move |path, _, before| match (path, before) {
        (WATCH, 0) => Does::Streams(pieces.clone()),
        (WATCH, 1) => Does::Streams(again.iter().cloned().chain(["nonsense\n".to_owned()]).collect()),
        (WATCH, _) => Does::Streams(vec![lost.clone()]),
        _ => sound(path),
    })
    .await;
    let store = store(&[&fake]);
    let mut watch = store.watch(5);
    let (h1, h2) = (Key::Beat("h1".into()), Key::Beat("h2".into()));
    let beat = |key: &Key, n: u64| (key.clone(), Some(Value::Beat(n)));
    let told = [
        Watched::Changed { revision: 6, changes: vec![beat(&h1, 1), (h2.clone(), None)] },
        Watched::Changed { revision: 7, changes: vec![beat(&h1, 2)] },
        Watched::Changed { revision: 8, changes: vec![beat(&h1, 3), beat(&h2, 4)] },
        Watched::Changed { revision: 9, changes: vec![beat(&h1, 5)] },
        Watched::Lost,
    ];
    for expected in told {
        let news = timeout(PATIENCE, watch.recv()).await.expect("it goes on");
        assert_eq!(news, Some(expected));
    }
    let from: Vec<bool> = fake
        .bodies(WATCH)
        .iter()
        .zip([6, 9, 10])
        .map(|(body, from)| body.contains(&format!("\"start_revision\":\"{from}\"")))
        .collect();
    assert_eq!(from, [true; 3], "{:?}", fake.bodies(WATCH));
}

#[tokio::test]
async fn a_watch_that_is_silent_though_the_store_goes_on_is_opened_elsewhere() {
    let silent = |path: &str, _: &str, _: usize| match path {
        WATCH => Does::Streams(vec![batch(&[], ",\"created\":true")]),
        _ => sound(path),
    };
    let (one, other) = (Fake::new(silent).await, Fake::new(silent).await);
    let store = store(&[&one, &other]);
    // The store is at 5, and the watch has told nothing since 3.
    let _watch = store.watch(3);
    let tried = async {
        while one.count(WATCH) == 0 || other.count(WATCH) == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, tried).await.expect("both are asked in turn");
    // A store that is older than what was told of it is a gap.
    assert_eq!(timeout(PATIENCE, store.watch(8).recv()).await, Ok(Some(Watched::Lost)));
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_hurry() {
    let cuts =
        Fake::new(|path, _, _| if path == WATCH { Does::Writes(Vec::new()) } else { sound(path) }).await;
    let store = store(&[&cuts]);
    let _watch = store.watch(5);
    sleep(Duration::from_secs(2)).await;
    // 40, 80, ... milliseconds, then a second.
    assert!((2..12).contains(&cuts.count(WATCH)), "{} times", cuts.count(WATCH));
}
