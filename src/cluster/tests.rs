//! Fence agents, sendmail and a webhook that are not real, run by a real keeper.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use woodward_engine::cluster::register::Why;
use woodward_engine::cluster::{Epoch, Fact};

use super::fence::fence;
use super::mail::{Mail, Settings};
use crate::os::{Os, library};
use crate::tree::failover::Agent;

/// Nothing that works takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bed {
    os: Os,
    dir: tempfile::TempDir,
}

async fn bed() -> Bed {
    let dir = tempfile::tempdir().expect("a directory");
    let os = Os::connect(library().expect("a keeper"), dir.path()).await.expect("connected");
    Bed { os, dir }
}

impl Bed {
    /// A program that this shell text is; `$dir` is the bed's directory.
    fn program(&self, name: &str, text: &str) -> String {
        let file = self.dir.path().join(name);
        let text = format!("#!/bin/sh\ndir={}\n{text}\n", self.dir.path().display());
        std::fs::write(&file, text).expect("a program can be written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("it can be made executable");
        file.display().to_string()
    }

    fn agent(&self, name: &str, text: &str) -> Agent {
        Agent {
            command: vec![self.program(name, text)],
            options_file: None,
            within: Duration::from_secs(20),
            nodes: Vec::new(),
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Waits until a file says something.
    async fn written(&self, name: &str) -> String {
        let tried = async {
            while self.read(name).is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.read(name)
        };
        timeout(PATIENCE, tried).await.unwrap_or_else(|_| panic!("{name} was never written"))
    }
}

/// Notes what it reads; `off` is remembered and told by `status`.
const SWITCH: &str = r#"
options=$(cat); echo "$options" >>$dir/asked
case "$options" in
  *action=off*) touch $dir/off;;
  *action=status*) if [ -e $dir/off ]; then exit 2; else exit 0; fi;;
esac"#;

#[tokio::test]
async fn a_fence_agent_reads_its_options_and_is_believed_when_the_node_is_off() {
    let bed = bed().await;
    let options = bed.dir.path().join("options");
    std::fs::write(&options, "ip=10.0.0.9\npasswd=s3cret\nplug={node}-ipmi\n").expect("options");
    let agent = Agent { options_file: Some(options), ..bed.agent("switch", SWITCH) };
    assert_eq!(fence(&bed.os, "h2", &[agent]).await, Ok(()));
    let options = "ip=10.0.0.9\npasswd=s3cret\nplug=h2-ipmi\n";
    assert_eq!(bed.read("asked"), format!("action=off\n{options}action=status\n{options}"));
}

#[tokio::test]
async fn agents_are_tried_in_turn_and_a_failed_one_again_the_next_time() {
    let bed = bed().await;
    let broken = bed.agent(
        "broken",
        "[ -e $dir/mended ] && exec $dir/switch; cat >/dev/null; echo x >>$dir/tries; echo 'no route' >&2; exit 1",
    );
    let other = Agent { nodes: vec!["h9".into()], ..bed.agent("other", "touch $dir/other.asked; exit 0") };
    let alone = [broken.clone(), other.clone()];
    for tries in 1..=2 {
        assert_eq!(
            fence(&bed.os, "h2", &alone).await,
            Err("broken: action=off: exit 1: no route".to_owned())
        );
        assert_eq!(bed.read("tries").lines().count(), tries);
    }
    let all = [broken, other, bed.agent("switch", SWITCH)];
    assert_eq!(fence(&bed.os, "h2", &all).await, Ok(()));
    std::fs::write(bed.dir.path().join("mended"), "").expect("it is mended");
    assert_eq!(fence(&bed.os, "h2", &alone).await, Ok(()));
    assert!(!bed.dir.path().join("other.asked").exists(), "an agent of another node was asked");
    assert_eq!(fence(&bed.os, "h2", &[]).await, Err("no fence agent is named for h2".to_owned()));
}

#[tokio::test]
async fn an_agent_that_hangs_lies_or_is_not_there_has_failed_and_tells_no_secret() {
    let bed = bed().await;
    let options = bed.dir.path().join("options");
    std::fs::write(&options, "passwd=s3cret\n").expect("options");
    let hangs = Agent {
        within: Duration::from_millis(300),
        ..bed.agent("hangs", "echo $$ >$dir/hangs.pid; sleep 1000 & echo $! >>$dir/hangs.pid; sleep 1000")
    };
    let lies = Agent { within: Duration::from_secs(2), ..bed.agent("lies", "cat >/dev/null; exit 0") };
    let tells = Agent { options_file: Some(options), ..bed.agent("tells", "echo $(cat) >&2; exit 3") };
    let gone = Agent { command: vec!["/nowhere/fence_it".to_owned()], ..bed.agent("unused", "exit 0") };
    let why = fence(&bed.os, "h2", &[hangs, lies, tells, gone]).await.expect_err("none has done it");
    assert!(why.contains("hangs: action=off: it did not end in time"), "{why}");
    assert!(why.contains("lies: it says that the node was switched off, and that it is on"), "{why}");
    assert!(
        why.contains("tells: action=off: exit 3: action=off passwd=*** plug=h2") && !why.contains("s3cret"),
        "{why}"
    );
    assert!(why.contains("fence_it: action=off: exit 127"), "{why}");
    for pid in bed.read("hangs.pid").lines() {
        assert!(!Path::new(&format!("/proc/{pid}/cwd/.")).exists(), "{pid} is left behind");
    }
}

#[tokio::test]
async fn an_agent_that_floods_its_output_is_not_held_up() {
    let bed = bed().await;
    let flood =
        bed.agent("flood", "cat >/dev/null; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo bad; exit 1");
    assert_eq!(fence(&bed.os, "h2", &[flood]).await, Err("flood: action=off: exit 1: bad".to_owned()));
}

fn moved() -> Fact {
    let why = Why::GaveUp("3 restarts in 5s".to_owned());
    Fact::Given { group: "acs".into(), epoch: Epoch(7), from: Some("h1".into()), to: Some("h2".into()), why }
}

fn settings() -> Settings {
    Settings { node: "h2".to_owned(), cluster: "site".to_owned(), ..Settings::default() }
}

#[tokio::test]
async fn a_move_is_mailed_and_posted() {
    let bed = bed().await;
    let sendmail =
        bed.program("sendmail", "echo \"$@\" >$dir/args; cat >$dir/mail.new; mv $dir/mail.new $dir/mail");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hook = format!("http://{}/moves?room=ops", listener.local_addr().expect("an address"));
    let mail = Mail::start(
        Settings {
            to: vec!["ops@site".to_owned()],
            from: Some("woodward@h2".to_owned()),
            sendmail: vec![sendmail],
            webhook: Some(hook),
            ..settings()
        },
        bed.os.clone(),
    )
    .expect("all is in order");
    mail.tell(&moved());
    let text = bed.written("mail").await;
    assert!(
        text.starts_with(
            "To: ops@site\nFrom: woodward@h2\nSubject: [woodward site] acs moves from h1 to h2\n"
        )
    );
    assert!(text.contains("\nWhy:  it gave up: 3 restarts in 5s\n"), "{text}");
    assert_eq!(bed.read("args"), "-t -i\n");
    let (mut stream, _) =
        timeout(PATIENCE, listener.accept()).await.expect("somebody posts").expect("accepted");
    let mut posted = String::new();
    while !posted.contains("\"why\":\"it gave up: 3 restarts in 5s\"") || !posted.trim_end().ends_with('}') {
        let mut piece = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.expect("more of it").expect("read");
        posted += &String::from_utf8_lossy(&piece[..read]);
    }
    assert!(posted.starts_with("POST /moves?room=ops HTTP/1.1\r\n"), "{posted}");
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("answered");
    assert_eq!(mail.lost(), 0);
}

#[tokio::test]
async fn a_way_that_hangs_holds_nobody_up_and_what_is_lost_is_counted() {
    let bed = bed().await;
    let sendmail = bed.program("sendmail", "cat >/dev/null; sleep 1000");
    let mail = Mail::start(
        Settings { to: vec!["ops@site".to_owned()], sendmail: vec![sendmail], ..settings() },
        bed.os.clone(),
    )
    .expect("all is in order");
    // One is being delivered, and the queue is full.
    for _ in 0..100 {
        mail.tell(&moved());
    }
    assert!((35..=36).contains(&mail.lost()), "{} are lost", mail.lost());
}

#[tokio::test]
async fn what_goes_on_and_on_is_said_once() {
    let bed = bed().await;
    let sendmail = bed.program("sendmail", "grep Subject >>$dir/mails");
    let mail = Mail::start(
        Settings { to: vec!["ops@site".to_owned()], sendmail: vec![sendmail], ..settings() },
        bed.os.clone(),
    )
    .expect("all is in order");
    for _ in 0..5 {
        mail.tell(&Fact::Fenced { node: "h1".into(), result: Err("no route".to_owned()) });
    }
    // An election: over before anybody need know.
    mail.tell(&Fact::StoreAway { left: 900 });
    mail.tell(&Fact::StoreBack);
    mail.tell(&moved());
    let tried = async {
        while !bed.read("mails").contains("acs moves") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, tried).await.expect("the last one comes");
    let subjects = bed.read("mails");
    assert_eq!(subjects.lines().count(), 2, "{subjects}");
    assert!(subjects.starts_with("Subject: [woodward site] h1 cannot be fenced\n"), "{subjects}");
}

#[tokio::test]
async fn a_webhook_that_is_no_address_is_refused() {
    let bed = bed().await;
    let settings = Settings { webhook: Some("ftp://x".to_owned()), ..settings() };
    assert!(Mail::start(settings, bed.os.clone()).is_err_and(|why| why.starts_with("cannot use webhook: ")));
}
