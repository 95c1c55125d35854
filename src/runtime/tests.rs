//! The kernel with a keeper of its own as a thread, and real processes.

mod groups;

use std::time::Duration;

use super::applied::Applied;
use super::faults::Faults;
use super::groups::Groups;
use super::task::Tasks;
use super::view::{Row, State};
use super::{Ends, Handle, Input, Surroundings, Who};
use crate::os::{self, Os};
use crate::record::{Places, Record};
use crate::tree::{self, Options};
use tokio::sync::oneshot;
use woodward_engine::effect::TreeEnd;
use woodward_engine::{Reply, Verb};

struct House {
    handle: Handle,
    ended: oneshot::Receiver<Ends>,
    _dir: tempfile::TempDir,
}

impl House {
    async fn of(text: &str) -> House {
        House::with(text, false).await
    }

    /// With a journal.
    async fn kept(text: &str) -> House {
        House::with(text, true).await
    }

    async fn of_groups(text: &str, groups: Groups) -> House {
        House::made(text, false, groups).await
    }

    async fn with(text: &str, kept: bool) -> House {
        House::made(text, kept, Groups::default()).await
    }

    async fn made(text: &str, kept: bool, groups: Groups) -> House {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        let (mut plan, _) = tree::load(&file, &Options::of_this_process()).unwrap();
        // A keeper within this program holds no deadlines.
        plan.workers.iter_mut().for_each(|worker| worker.bound = Default::default());
        let os = Os::connect(os::library().unwrap(), dir.path()).await.unwrap();
        let record = Record::open(Places::new(dir.path().to_owned(), None), Some(os.clone())).unwrap();
        let surroundings = Surroundings {
            faults: Faults::new(false, os.clone(), record.clone(), None),
            os,
            notify: None,
            record,
            run: kept.then(|| dir.path().to_owned()),
            applied: Applied::default(),
            groups,
            tasks: Tasks::default(),
            evict_within: Duration::from_secs(10),
        };
        let (handle, ended) = super::start(surroundings, vec![plan]).await;
        House { handle, ended, _dir: dir }
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Handle) -> bool) {
        for _ in 0..6000 {
            if condition(&self.handle) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain for {what}: {:?}", self.handle.view());
    }

    fn row(&self, path: &str) -> Row {
        self.handle.view().row(path).unwrap().clone()
    }

    async fn stop(self) -> Ends {
        self.handle.shut_down(Who::default());
        self.ended.await.unwrap()
    }
}

const SLEEPERS: &str = r#"
id = "t"
[[child]]
id = "a"
command = ["sleep", "1000"]
[[child]]
id = "b"
command = ["sleep", "1000"]
"#;

fn is_up(handle: &Handle) -> bool {
    handle.view().rows().count() > 0 && handle.view().rows().all(|row| row.state == State::Up)
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_panic_in_a_worker_is_an_event_and_not_the_end() {
    let house = House::of(SLEEPERS).await;
    house.wait("both", is_up).await;
    let before = house.row("t/a");
    for n in 1..=2 {
        house.handle.inbox.post(Input::Fault { path: "t/a".into() });
        let told = |handle: &Handle| {
            handle.record().facts("t/a").iter().filter(|fact| fact.kind == "worker_failed").count() == n
        };
        house.wait("the fact", told).await;
    }
    let after = house.row("t/a");
    assert_eq!((after.pid, after.generation, after.restarts), (before.pid, before.generation, 0));
    kill(before.pid.unwrap());
    house.wait("the restart", |handle| handle.view().row("t/a").is_some_and(|row| row.restarts == 1)).await;
    house.wait("both again", is_up).await;
    assert!(house.row("t/a").generation > before.generation);
    assert_eq!(house.stop().await, [("t".to_owned(), TreeEnd::Stopped)]);
}

#[tokio::test]
async fn a_worker_that_panics_again_and_again_is_given_up_and_its_service_restarted() {
    let house = House::of(SLEEPERS).await;
    house.wait("both", is_up).await;
    let before = house.row("t/a");
    for n in 1..=4 {
        house.handle.inbox.post(Input::Fault { path: "t/a".into() });
        let told = |handle: &Handle| {
            handle.record().facts("t/a").iter().filter(|fact| fact.kind == "worker_failed").count() == n
        };
        house.wait("the fact", told).await;
    }
    house.wait("the restart", |handle| handle.view().row("t/a").is_some_and(|row| row.restarts == 1)).await;
    house.wait("both again", is_up).await;
    assert_ne!(house.row("t/a").pid, before.pid);
    house.stop().await;
}

#[tokio::test]
async fn the_view_of_a_reply_is_published_before_it_is_answered() {
    let house = House::of(SLEEPERS).await;
    house.wait("both", is_up).await;
    for _ in 0..20 {
        let reply = house.handle.request("t/a", Verb::Stop { with_dependents: false }, Who::default()).await;
        assert_eq!((reply.unwrap(), house.row("t/a").state), (Reply::Ok, State::Stopped));
        let reply = house.handle.request("t/a", Verb::Start, Who::default()).await;
        assert_eq!((reply.unwrap(), house.row("t/a").state), (Reply::Ok, State::Up));
    }
    house.stop().await;
}

#[tokio::test]
async fn a_tree_that_a_person_stopped_can_be_started_again() {
    let house = House::of(SLEEPERS).await;
    house.wait("both", is_up).await;
    let reply = house.handle.request("t", Verb::Stop { with_dependents: false }, Who::default()).await;
    assert_eq!(reply.unwrap(), Reply::Ok);
    assert_eq!(house.row("t/a").pid, None);
    let reply = house.handle.request("t", Verb::Start, Who::default()).await;
    assert_eq!(reply.unwrap(), Reply::Ok);
    house.wait("both again", is_up).await;
    house.stop().await;
}

#[tokio::test]
async fn an_instance_is_made_of_a_template_and_forgotten_with_its_end() {
    let text = r#"
id = "t"
[[child]]
id = "pool"
strategy = "simple_one_for_one"
[child.template]
id = "w"
restart = "temporary"
command = ["sleep", "${arg.time}"]
"#;
    let house = House::of(text).await;
    house.wait("the pool", is_up).await;
    let missing = house.handle.start_instance("t/pool", &[], Who::default()).await.unwrap_err();
    assert!(missing.to_string().starts_with("cannot start an instance of t/pool: "), "{missing}");
    let args = [("time".to_owned(), "1000".to_owned())];
    let reply = house.handle.start_instance("t/pool", &args, Who::default()).await.unwrap();
    assert_eq!((reply, house.row("t/pool/w#1").state), (Reply::Ok, State::Up));
    kill(house.row("t/pool/w#1").pid.unwrap());
    house.wait("its end", |handle| handle.view().row("t/pool/w#1").is_none()).await;
    house.stop().await;
}

impl House {
    /// The kernel panics in the middle of a turn.
    fn poison(&self, path: &str) {
        self.handle.inbox.post(Input::Poison { path: path.into() });
    }

    fn failures(handle: &Handle) -> usize {
        handle.record().facts("").iter().filter(|fact| fact.kind == "kernel_failed").count()
    }

    async fn wait_for_failures(&self, n: usize) {
        self.wait("the fact", |handle| House::failures(handle) == n).await;
    }
}

fn crowd(n: usize, keys: &str) -> String {
    let child = |n: usize| format!("[[child]]\nid = \"w{n}\"\ncommand = [\"sleep\", \"1000\"]\n{keys}\n");
    let children: String = (0..n).map(child).collect();
    format!("id = \"t\"\nintensity = 5\nperiod = \"1h\"\n{children}")
}

#[tokio::test]
async fn a_thousand_workers_survive_a_panic_of_the_kernel() {
    let house = House::kept(&crowd(1000, "")).await;
    house.wait("all", is_up).await;
    let processes = || -> Vec<_> {
        let view = house.handle.view();
        view.rows().map(|row| (row.path.clone(), row.pid, row.generation, row.restarts)).collect()
    };
    let before = processes();
    let version = house.handle.view().version;
    house.poison("t/w7");
    house.wait_for_failures(1).await;
    house.wait("the view", |handle| handle.view().version > version && is_up(handle)).await;
    assert_eq!(processes(), before);
    // The event was skipped: nothing is held.
    assert!(house.row("t/w7").held.is_none());
    kill(house.row("t/w7").pid.unwrap());
    house.wait("the restart", |handle| handle.view().row("t/w7").is_some_and(|row| row.restarts == 1)).await;
    house.wait("all again", is_up).await;
    assert_eq!(house.stop().await, [("t".to_owned(), TreeEnd::Stopped)]);
}

#[tokio::test]
async fn what_came_before_a_panic_in_the_same_turn_is_kept() {
    let house = House::kept(&crowd(3, "")).await;
    house.wait("all", is_up).await;
    let handle = house.handle.clone();
    let who = Who { by: "ada".to_owned(), text: None };
    let (path, verb) = (Box::from("t/w1"), Verb::Hold { until: None });
    let (answer, answered) = oneshot::channel();
    // Nothing is awaited between these two, so one turn hears both.
    handle.inbox.post(Input::Request { path, verb, who, answer });
    house.poison("t/w2");
    house.wait_for_failures(1).await;
    house.wait("the view", |handle| is_up(handle) && handle.view().row("t/w1").unwrap().held.is_some()).await;
    assert_eq!(answered.await.unwrap(), Reply::Ok);
    assert!(house.row("t/w2").held.is_none());
    assert_eq!(house.stop().await, [("t".to_owned(), TreeEnd::Stopped)]);
}

#[tokio::test]
async fn words_counts_and_delays_survive_a_panic_of_the_kernel() {
    let keys = "backoff = { immediate = 1, first = \"1h\", max = \"1h\" }";
    let house = House::kept(&crowd(4, keys)).await;
    house.wait("all", is_up).await;
    for restarts in 1..=2 {
        kill(house.row("t/w0").pid.unwrap());
        house
            .wait("what follows", |handle| {
                let row = handle.view().row("t/w0").unwrap().clone();
                row.state == State::Backoff || (row.restarts == restarts && row.pid.is_some())
            })
            .await;
    }
    let who = || Who { by: "ada".to_owned(), text: Some("measuring".to_owned()) };
    house.handle.request("t/w1", Verb::Hold { until: None }, who()).await.unwrap();
    house.handle.request("t/w2", Verb::Stop { with_dependents: false }, who()).await.unwrap();
    let rows = || house.handle.view().rows().cloned().collect::<Vec<_>>();
    let before = rows();
    assert_eq!(house.row("t/w0").state, State::Backoff);
    house.poison("t/w3");
    house.wait_for_failures(1).await;
    house.handle.request("t/w3", Verb::Release, Who::default()).await.unwrap();
    // Times are printed from two clocks.
    let plain = |rows: Vec<Row>| -> Vec<Row> {
        rows.into_iter().map(|row| Row { next: None, since: String::new(), ..row }).collect()
    };
    assert_eq!(plain(rows()), plain(before));
    assert_eq!(house.row("t/w1").held.unwrap().by, "ada");
    house.stop().await;
}

#[tokio::test]
async fn without_a_journal_a_panic_of_the_kernel_costs_no_process_either() {
    let house = House::of(&crowd(10, "")).await;
    house.wait("all", is_up).await;
    let pids = |house: &House| -> Vec<_> { house.handle.view().rows().map(|row| row.pid).collect() };
    let before = pids(&house);
    house.poison("t");
    house.wait_for_failures(1).await;
    house.wait("all again", is_up).await;
    assert_eq!(pids(&house), before);
    house.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_is_answered_when_the_kernel_panics() {
    let tree = crowd(1, "")
        .replace("\"sleep\", \"1000\"", "\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"");
    let house = House::kept(&tree).await;
    house.wait("it", is_up).await;
    let handle = house.handle.clone();
    let asked = tokio::spawn(async move {
        handle.request("t/w0", Verb::Stop { with_dependents: false }, Who::default()).await
    });
    house.wait("the stop", |handle| handle.view().row("t/w0").unwrap().state == State::Stopping).await;
    house.poison("t");
    asked.await.unwrap().unwrap_err();
    // What was being stopped goes on being stopped.
    house.handle.kill_all();
    house.wait("its end", |handle| handle.view().row("t/w0").unwrap().state == State::Stopped).await;
    house.stop().await;
}

#[tokio::test]
async fn a_kernel_that_panics_again_and_again_ends_its_daemon() {
    let mut house = House::kept(&crowd(2, "")).await;
    house.wait("both", is_up).await;
    for _ in 0..3 {
        house.poison("t");
    }
    (&mut house.ended).await.unwrap_err();
    assert_eq!(House::failures(&house.handle), 3);
    house.handle.request("t", Verb::Release, Who::default()).await.unwrap_err();
}
