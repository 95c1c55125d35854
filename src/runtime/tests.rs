//! The kernel with a keeper of its own as a thread, and real processes.

use std::time::Duration;

use super::faults::Faults;
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
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        let (plan, _) = tree::load(&file, &Options::of_this_process()).unwrap();
        let os = Os::connect(os::library().unwrap(), dir.path()).await.unwrap();
        let record = Record::open(Places::new(dir.path().to_owned(), None), Some(os.clone())).unwrap();
        let surroundings = Surroundings {
            faults: Faults::new(false, os.clone(), record.clone(), None),
            os,
            notify: None,
            record,
            run: None,
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
