//! Trees that a cluster places.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use woodward_engine::effect::{ErrorKind, TreeEnd};
use woodward_engine::{Reply, Verb};

use super::{House, Who, is_up, kill};
use crate::runtime::Handle;
use crate::runtime::groups::{Groups, Happening, News, Token};

const GROUP: &str = r#"
id = "g"
intensity = 1
period = "1m"
[failover]
nodes = ["h1", "h2"]
gate = false
[[child]]
id = "a"
before_start = "sh -c 'echo hook $FENCING_TOKEN $WOODWARD_PATH >> $OUT'"
command = "sh -c 'echo $FENCING_TOKEN $(cat $FENCING_TOKEN_FILE) $WOODWARD_GROUP $WOODWARD_NODE >> $OUT; exec sleep 1000'"
environment = { OUT = "${OUT}" }
"#;

struct Cluster {
    house: House,
    news: UnboundedReceiver<News>,
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn of(tree: &str) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let (tell, news) = unbounded_channel();
        let tree = tree.replace("${OUT}", &dir.path().join("out").display().to_string());
        let house = House::of_groups(&tree, Groups::new("h1", tell, [])).await;
        Cluster { house, news, dir }
    }

    fn plant(&self, epoch: u64) {
        let file = self.dir.path().join("token");
        std::fs::write(&file, format!("{epoch}\n")).unwrap();
        self.house.handle.plant(&Arc::from("g"), Token { epoch, file });
    }

    async fn hear(&mut self) -> (u64, Happening) {
        let news = tokio::time::timeout(Duration::from_secs(30), self.news.recv()).await;
        let news = news.expect("news in time").expect("a kernel");
        assert_eq!(&*news.group, "g");
        (news.epoch, news.what)
    }

    async fn pid(&self) -> i32 {
        let pid = |handle: &Handle| handle.view().row("g/a").and_then(|row| row.pid);
        self.house.wait("its process", |handle| pid(handle).is_some()).await;
        pid(&self.house.handle).unwrap()
    }
}

fn ended(how: TreeEnd, words: &str) -> Happening {
    Happening::Ended { how, by: None, words: words.to_owned() }
}

fn is_away(handle: &Handle) -> bool {
    handle.view().row("g/a").is_none_or(|row| row.pid.is_none())
}

#[tokio::test]
async fn a_group_runs_from_planting_to_uprooting_and_its_processes_know_the_token() {
    let mut cluster = Cluster::of(GROUP).await;
    assert!(is_away(&cluster.house.handle), "nothing runs by being in a file");
    for epoch in [7, 9] {
        cluster.plant(epoch);
        assert_eq!(cluster.hear().await, (epoch, Happening::Ready));
        let out = cluster.dir.path().join("out");
        let said = |out: &Path| std::fs::read_to_string(out).unwrap_or_default();
        let wanted = format!("hook {epoch} g/a\n{epoch} {epoch} g h1\n");
        cluster.house.wait("its words", |_| said(&out) == wanted).await;
        std::fs::remove_file(&out).unwrap();
        cluster.house.handle.uproot(&Arc::from("g"), epoch, false);
        assert_eq!(cluster.hear().await, (epoch, ended(TreeEnd::Stopped, "")));
        cluster.house.wait("nothing", is_away).await;
    }
    // Late, for one that is over.
    cluster.house.handle.uproot(&Arc::from("g"), 7, false);
    assert_eq!(cluster.hear().await, (7, ended(TreeEnd::Stopped, "")));
    assert_eq!(cluster.house.stop().await, []);
}

#[tokio::test]
async fn a_group_that_gives_up_says_so_with_its_last_words_and_the_daemon_stays() {
    let mut cluster = Cluster::of(GROUP).await;
    cluster.plant(7);
    assert_eq!(cluster.hear().await, (7, Happening::Ready));
    kill(cluster.pid().await);
    assert_eq!(cluster.hear().await, (7, Happening::Restarted));
    let again =
        |handle: &Handle| handle.view().row("g/a").is_some_and(|row| row.restarts == 1) && is_up(handle);
    cluster.house.wait("the restart", again).await;
    kill(cluster.pid().await);
    let words = "a: killed by SIGKILL, 2 times in 1m";
    assert_eq!(cluster.hear().await, (7, ended(TreeEnd::Failover, words)));
    cluster.plant(8);
    assert_eq!(cluster.hear().await, (8, Happening::Ready));
    cluster.house.handle.shut_down(Who::default());
    assert_eq!(cluster.hear().await, (8, ended(TreeEnd::Stopped, "")));
    assert_eq!(cluster.house.stop().await, []);
}

#[tokio::test]
async fn what_dies_because_the_term_is_over_is_not_restarted() {
    let mut cluster = Cluster::of(GROUP).await;
    cluster.plant(7);
    assert_eq!(cluster.hear().await, (7, Happening::Ready));
    // The keeper kills and says so before it says who has died.
    let pid = cluster.pid().await;
    cluster.house.handle.term_over();
    kill(pid);
    assert_eq!(cluster.hear().await, (7, ended(TreeEnd::Stopped, "")));
    let facts = cluster.house.handle.record().facts("g");
    let counts = |kind: &str| facts.iter().filter(|fact| fact.kind == kind).count();
    assert_eq!((counts("restart"), counts("limit_exceeded"), counts("started")), (0, 0, 2));
    cluster.house.stop().await;
}

#[tokio::test]
async fn a_person_stops_a_group_where_it_runs_and_wants_it_back() {
    let mut cluster = Cluster::of(GROUP).await;
    let ana = || Who { by: "ana".to_owned(), text: None };
    let stop = || Verb::Stop { with_dependents: false };
    let ask = |verb, handle: &Handle| {
        let handle = handle.clone();
        async move { handle.request("g", verb, ana()).await.unwrap() }
    };
    assert_eq!(ask(stop(), &cluster.house.handle).await, Reply::Error(ErrorKind::Noproc));
    cluster.plant(7);
    assert_eq!(cluster.hear().await, (7, Happening::Ready));
    assert_eq!(ask(stop(), &cluster.house.handle).await, Reply::Ok);
    let by_hand = Happening::Ended { how: TreeEnd::Stopped, by: Some(ana()), words: String::new() };
    assert_eq!(cluster.hear().await, (7, by_hand));
    assert_eq!(ask(Verb::Start, &cluster.house.handle).await, Reply::Ok);
    assert_eq!(cluster.hear().await, (0, Happening::Wanted { by: ana() }));
    cluster.plant(8);
    assert_eq!(cluster.hear().await, (8, Happening::Ready));
    cluster.house.stop().await;
}
