//! The register in real etcd: transactions, watches, and everything that may be wrong with a store.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};
use woodward::store::etcd::{Settings, User};
use woodward::store::{Memory, Snapshot, Store, StoreError, Watched, tls};
use woodward_engine::cluster::{Answer, Condition, Key, Timing, Transaction, Value, Write};

use crate::etcd::Etcd;
use crate::random::Random;

type Client = woodward::store::etcd::Etcd;

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

fn settings(members: Vec<String>) -> Settings {
    Settings { members, cluster: "test".into(), beat: Timing::FAST.beat, user: None, tls: None }
}

fn open(settings: Settings) -> Client {
    Client::open(settings).expect("the settings are in order")
}

fn beat_of(node: &str) -> Key {
    Key::Beat(node.into())
}

fn put(conditions: &[(&Key, u64)], key: &Key, n: u64) -> Transaction {
    let conditions =
        conditions.iter().map(|(key, revision)| Condition::At((*key).clone(), *revision)).collect();
    Transaction { conditions, writes: vec![Write::Put(key.clone(), Value::Beat(n))] }
}

/// Commits until it is known to be done; for what may be done twice.
async fn surely(store: &dyn Store, key: &Key, n: u64, beat: bool) -> u64 {
    let tried = async {
        loop {
            match store.commit(put(&[], key, n), beat).await {
                Answer::Done(revision) => return revision,
                Answer::Refused => panic!("nothing was asked for"),
                Answer::Unknown => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("never done: {:?}", store.members()))
}

/// Reads until it succeeds.
async fn read(store: &dyn Store) -> Snapshot {
    let tried = async {
        loop {
            match store.read().await {
                Ok(snapshot) => return snapshot,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("never read: {:?}", store.members()))
}

async fn next(watch: &mut UnboundedReceiver<Watched>) -> Watched {
    let news = timeout(PATIENCE, watch.recv()).await.expect("the watch says nothing");
    news.expect("the watch goes on")
}

/// Everything up to a revision.
async fn until(watch: &mut UnboundedReceiver<Watched>, revision: u64) -> Vec<Watched> {
    let mut all = Vec::new();
    loop {
        let news = next(watch).await;
        let last = matches!(news, Watched::Changed { revision: at, .. } if at >= revision);
        all.push(news);
        if last {
            return all;
        }
    }
}

fn said(error: StoreError) -> String {
    error.to_string()
}

/// What is wrong with the first member that has something wrong.
fn fault(store: &Client) -> String {
    store.members().into_iter().find_map(|seat| seat.fault).unwrap_or_default()
}

#[test]
fn memory_and_etcd_answer_and_tell_the_same() {
    let etcd = Etcd::of(1);
    runtime().block_on(async {
        let (real, memory) = (open(settings(etcd.urls())), Memory::new());
        // Both begin empty, at revision 1.
        assert_eq!(read(&real).await, memory.read().await.expect("memory answers"));
        let (mut real_news, mut memory_news) = (real.watch(1), memory.watch(1));
        let nodes = ["h1", "h2", "h3"];
        let keys: Vec<Key> = nodes
            .iter()
            .flat_map(|node| [beat_of(node), Key::Avoid("db".into(), (*node).into())])
            .chain([Key::Maintenance])
            .collect();
        let mut random = Random::new(4);
        let mut last = 1;
        for round in 0..400 {
            let snapshot = memory.read().await.expect("memory answers");
            let mut transaction = Transaction::default();
            for _ in 0..random.below(3) {
                let key = random.pick(&keys);
                let stands =
                    snapshot.entries.iter().find(|(k, ..)| *k == key).map_or(0, |(_, revision, _)| *revision);
                let revision = if random.chance(25) { random.next() % (round + 2) } else { stands };
                transaction.conditions.push(Condition::At(key, revision));
            }
            let mut left = keys.clone();
            for _ in 0..random.below(4) {
                let key = left.remove(random.below(left.len()));
                let value = match &key {
                    Key::Beat(_) => Value::Beat(random.next() % 9),
                    Key::Avoid(..) => continue,
                    _ => Value::Order(Default::default()),
                };
                transaction.writes.push(match random.below(3) {
                    0 => Write::Delete(key),
                    _ => Write::Put(key, value),
                });
            }
            let beat = random.chance(50);
            let (expected, got) = (
                memory.commit(transaction.clone(), beat).await,
                real.commit(transaction.clone(), beat).await,
            );
            assert_eq!(got, expected, "round {round}: {transaction:?}");
            if let Answer::Done(revision) = got {
                last = revision;
            }
            if round % 50 == 0 {
                assert_eq!(read(&real).await, memory.read().await.expect("memory answers"), "round {round}");
            }
        }
        assert!(last > 100, "{last} revisions are too few to say anything");
        let sorted = |mut all: Vec<Watched>| {
            for news in &mut all {
                if let Watched::Changed { changes, .. } = news {
                    changes.sort_by(|a, b| a.0.cmp(&b.0));
                }
            }
            all
        };
        let (real_told, memory_told) =
            (until(&mut real_news, last).await, until(&mut memory_news, last).await);
        assert_eq!(sorted(real_told), sorted(memory_told));
    });
}

/// Kills or freezes each member in turn, the leader too, while beats and watches go on.
#[test]
fn beats_and_watches_go_on_whichever_member_dies_or_freezes() {
    let mut etcd = Etcd::of(3);
    let runtime = runtime();
    let store = open(settings(etcd.urls()));
    let key = beat_of("h1");
    let mut n = 0;
    let mut seen = 0;
    let first = runtime.block_on(read(&store)).revision;
    let mut watch = store_watch(&runtime, &store, first);
    for (harm, leader) in [("kill", false), ("freeze", false), ("kill", true), ("freeze", true)] {
        let leads = etcd.leader();
        let victim = if leader { leads } else { (leads + 1) % 3 };
        match harm {
            "kill" => etcd.kill(victim),
            _ => etcd.freeze(victim),
        }
        runtime.block_on(async {
            // Beats and ordinary transactions, and the watch tells each of them.
            for beat in [true, true, false, true] {
                n += 1;
                let done = surely(&store, &key, n, beat).await;
                for news in until(&mut watch, done).await {
                    let Watched::Changed { revision, changes } = news else { panic!("a gap: {news:?}") };
                    assert!(revision > seen, "{revision} after {seen}");
                    seen = revision;
                    assert_eq!(changes[0].0, key);
                }
            }
            // A beat that was called unknown may have been done late, and again.
            let (stands, revision, value) = read(&store).await.entries.remove(0);
            assert_eq!((stands, value), (key.clone(), Value::Beat(n)), "{harm} leader: {leader}");
            assert!(revision >= seen, "{revision} before {seen}");
        });
        match harm {
            "kill" => etcd.start(victim),
            _ => etcd.thaw(victim),
        }
        etcd.wait_for(victim);
        // It is good again, and takes its turn.
        runtime.block_on(async {
            let tried = async {
                while store.members().iter().any(|seat| seat.fault.is_some()) {
                    n += 1;
                    seen = surely(&store, &key, n, true).await;
                    until(&mut watch, seen).await;
                }
            };
            timeout(PATIENCE, tried)
                .await
                .unwrap_or_else(|_| panic!("not good again: {:?}", store.members()));
        });
    }
}

fn store_watch(runtime: &Runtime, store: &Client, after: u64) -> UnboundedReceiver<Watched> {
    runtime.block_on(async { store.watch(after) })
}

/// The watch's member goes on listening, and hears nothing: it is cut off from the others.
#[test]
fn without_a_quorum_nothing_is_known_and_with_one_all_goes_on() {
    let etcd = Etcd::of(3);
    runtime().block_on(async {
        let store = open(settings(etcd.urls()));
        let key = beat_of("h1");
        let first = surely_first(&store, &key).await;
        let mut watch = store.watch(first);
        etcd.freeze(0);
        etcd.freeze(1);
        assert_eq!(store.commit(put(&[], &key, 2), true).await, Answer::Unknown);
        assert_eq!(store.commit(put(&[], &key, 2), false).await, Answer::Unknown);
        let error = said(store.read().await.expect_err("nobody can know"));
        assert!(error.starts_with("cannot reach the store at http://127.0.0.1:"), "{error}");
        etcd.thaw(0);
        etcd.thaw(1);
        let done = surely(&store, &key, 3, true).await;
        let told = until(&mut watch, done).await;
        assert!(!told.contains(&Watched::Lost), "{told:?}");
    });
}

async fn surely_first(store: &Client, key: &Key) -> u64 {
    read(store).await;
    surely(store, key, 1, false).await
}

#[test]
fn what_was_compacted_is_a_gap() {
    let etcd = Etcd::of(1);
    runtime().block_on(async {
        let store = open(settings(etcd.urls()));
        let first = surely_first(&store, &beat_of("h1")).await;
        for n in 0..5 {
            surely(&store, &beat_of("h1"), n, false).await;
        }
        let now = read(&store).await.revision;
        etcd.ctl(&["compact", &now.to_string()]);
        assert_eq!(next(&mut store.watch(first)).await, Watched::Lost);
        let mut later = store.watch(now - 1);
        assert!(matches!(next(&mut later).await, Watched::Changed { revision, .. } if revision == now));
    });
}

#[test]
fn a_store_with_logins_wants_the_right_one_and_one_that_it_has_forgotten_is_renewed() {
    let mut etcd = Etcd::of(1);
    for args in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "woodward:pass word"],
        &["role", "add", "register"],
        &["role", "grant-permission", "register", "readwrite", "--prefix=true", "/woodward/test/"],
        &["user", "grant-role", "woodward", "register"],
        &["user", "add", "stranger:x"],
        &["auth", "enable"],
    ] {
        etcd.ctl(args);
    }
    let with = |name: &str, password: &str, urls: Vec<String>| {
        let user = Some(User { name: name.to_owned(), password: password.to_owned() });
        Settings { user, ..settings(urls) }
    };
    let runtime = runtime();
    let key = beat_of("h1");
    let store = runtime.block_on(async {
        for (name, password, why) in [
            ("woodward", "wrong", "cannot log in as woodward: etcd says: "),
            ("stranger", "x", "permission denied"),
        ] {
            let store = open(with(name, password, etcd.urls()));
            let error = said(store.read().await.expect_err("it is not let in"));
            assert!(error.contains(why) && error.starts_with("cannot use the store at "), "{error}");
            assert!(!error.contains("wrong"), "{error}");
            assert_eq!(store.commit(put(&[], &key, 1), false).await, Answer::Unknown);
        }
        let error = said(open(settings(etcd.urls())).read().await.expect_err("nobody is logged in"));
        assert!(error.starts_with("cannot use the store at "), "{error}");
        let store = open(with("woodward", "pass word", etcd.urls()));
        surely_first(&store, &key).await;
        store
    });
    let now = runtime.block_on(read(&store)).revision;
    let mut watch = store_watch(&runtime, &store, now);
    // Tokens are kept in its memory.
    etcd.kill(0);
    etcd.start(0);
    runtime.block_on(async {
        let done = surely(&store, &key, 7, true).await;
        assert!(!until(&mut watch, done).await.contains(&Watched::Lost));
        read(&store).await;
    });
}

/// An authority, a server for 127.0.0.1 and a client, made by openssl.
fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let made =
            Command::new("openssl").current_dir(dir).args(args).output().expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    for authority in ["ca", "other"] {
        let (out, secret) = (format!("{authority}.pem"), format!("{authority}.key"));
        let subject = format!("/CN={authority}");
        openssl(
            &[&["req", "-x509"], &key[..], &["-subj", &subject, "-out", &out, "-keyout", &secret]].concat(),
        );
    }
    for (name, extension) in [
        ("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        let extensions = format!("{name}.ext");
        std::fs::write(dir.join(&extensions), format!("basicConstraints=CA:FALSE\n{extension}\n"))
            .expect("a file can be written");
        let (asked, secret, out) = (format!("{name}.csr"), format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        openssl(&[&["req"], &key[..5], &["-subj", &subject, "-out", &asked, "-keyout", &secret]].concat());
        openssl(&[
            "x509",
            "-req",
            "-in",
            &asked,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            &extensions,
            "-out",
            &out,
        ]);
    }
}

#[test]
fn by_tls_both_sides_show_who_they_are() {
    let flags = [
        "--cert-file={dir}/server.pem",
        "--key-file={dir}/server.key",
        "--trusted-ca-file={dir}/ca.pem",
        "--client-cert-auth",
    ];
    let etcd = Etcd::prepared(1, "https", &flags, certificates);
    let files = |ca: &str, client: bool| tls::Files {
        ca: Some(etcd.file(ca)),
        certificate: client.then(|| etcd.file("client.pem")),
        key: client.then(|| etcd.file("client.key")),
    };
    runtime().block_on(async {
        let with = |files| open(Settings { tls: Some(files), ..settings(etcd.urls()) });
        let store = with(files("ca.pem", true));
        let first = surely_first(&store, &beat_of("h1")).await;
        let mut watch = store.watch(first);
        let done = surely(&store, &beat_of("h1"), 2, true).await;
        until(&mut watch, done).await;
        for (wrong, why) in [(files("other.pem", true), "certificate"), (files("ca.pem", false), "")] {
            let error = said(with(wrong).read().await.expect_err("one of both is not believed"));
            assert!(
                error.starts_with("cannot reach the store at https://") && error.contains(why),
                "{error}"
            );
        }
    });
}

#[test]
fn a_full_store_is_away_and_says_what_helps() {
    let etcd = Etcd::with(1, "http", &["--quota-backend-bytes=1000000"]);
    runtime().block_on(async {
        let store = open(settings(etcd.urls()));
        surely_first(&store, &beat_of("h1")).await;
        let much = "x".repeat(100_000);
        while etcd.asked(&[&etcd.url(0)], &["put", "/filler", &much]).status.success() {}
        for beat in [true, false] {
            assert_eq!(store.commit(put(&[], &beat_of("h1"), 2), beat).await, Answer::Unknown);
            assert!(fault(&store).contains("etcdctl alarm disarm"), "{}", fault(&store));
        }
        // It can still be read.
        let now = read(&store).await.revision;
        etcd.ctl(&["compact", &now.to_string()]);
        etcd.ctl(&["defrag"]);
        etcd.ctl(&["alarm", "disarm"]);
        surely(&store, &beat_of("h1"), 3, true).await;
        assert_eq!(fault(&store), "");
    });
}

#[test]
fn a_member_of_another_cluster_is_not_believed() {
    let (etcd, other) = (Etcd::of(1), Etcd::of(1));
    runtime().block_on(async {
        // No more than half of them say the same.
        let error = said(
            open(settings(vec![etcd.url(0), other.url(0)])).read().await.expect_err("which of them is it?"),
        );
        assert!(error.contains("of different etcd clusters"), "{error}");
        // The same member by two names, and a stranger.
        let twice = etcd.url(0).replace("127.0.0.1", "localhost");
        let store = open(settings(vec![other.url(0), etcd.url(0), twice]));
        surely_first(&store, &beat_of("h1")).await;
        for n in 2..20 {
            surely(&store, &beat_of("h1"), n, true).await;
        }
        let strange = store.members().remove(0).fault.unwrap_or_default();
        assert!(strange.contains("of another etcd cluster"), "{strange}");
        assert_eq!(open(settings(other.urls())).read().await.map(|snapshot| snapshot.entries.len()), Ok(0));
    });
}

#[test]
fn leadership_is_known_and_moved() {
    let etcd = Etcd::of(3);
    runtime().block_on(async {
        let store = open(settings(etcd.urls()));
        surely_first(&store, &beat_of("h1")).await;
        let to = etcd.url((etcd.leader() + 1) % 3);
        store.lead(&to).await.expect("it is moved");
        assert_eq!(etcd.url(etcd.leader()), to);
        let leads = |store: &Client| -> Vec<String> {
            store.members().into_iter().filter(|seat| seat.leads).map(|seat| seat.member).collect()
        };
        assert_eq!(leads(&store), [to]);
        // Moved behind its back: its next answers tell of another term.
        let behind = etcd.url((etcd.leader() + 1) % 3);
        open(settings(etcd.urls())).lead(&behind).await.expect("it is moved");
        let tried = async {
            while leads(&store) != [behind.clone()] {
                surely(&store, &beat_of("h1"), 3, true).await;
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, tried).await.expect("the new leader becomes known");
        assert!(store.lead("http://nowhere").await.is_err());
    });
}

/// Three nodes at the fastest preset: each beat is one small write as long as nothing is wrong.
#[test]
fn in_calm_a_beat_is_one_small_write() {
    let etcd = Etcd::of(3);
    runtime().block_on(async {
        let stores: Vec<Client> = (0..3).map(|_| open(settings(etcd.urls()))).collect();
        for (node, store) in stores.iter().enumerate() {
            surely_first(store, &beat_of(&format!("h{node}"))).await;
        }
        // All members get to be known as good.
        for n in 0..9 {
            for (node, store) in stores.iter().enumerate() {
                surely(store, &beat_of(&format!("h{node}")), n, true).await;
            }
        }
        let asked = || stores.iter().map(|store| store.asked().beats).sum::<u64>();
        let before = (asked(), read(&stores[0]).await.revision);
        const BEATS: u64 = 25;
        for n in 0..BEATS {
            for (node, store) in stores.iter().enumerate() {
                surely(store, &beat_of(&format!("h{node}")), n, true).await;
            }
        }
        let after = (asked(), read(&stores[0]).await.revision);
        let (sent, written) = (after.0 - before.0, after.1 - before.1);
        println!("{} beats: {sent} requests, {written} writes", BEATS * 3);
        // A busy machine makes one or another late; three times as many would be blind hedging.
        assert!(sent < BEATS * 3 * 2, "{sent} requests for {} beats", BEATS * 3);
    });
}
