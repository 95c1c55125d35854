//! Trees inside this very program: its keeper is a thread, its tasks run here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use woodward_engine::effect::TreeEnd;

use super::*;
use crate::record::view::{Kind, Row, State};

const SOON: Duration = Duration::from_secs(60);

async fn start(tree: Supervisor) -> Running {
    Builder::new(tree).start().await.unwrap()
}

fn row(running: &Running, path: &str) -> Row {
    running.handle().view().row(path).unwrap().clone()
}

async fn wait(running: &Running, what: &str, condition: impl Fn(&Running) -> bool) {
    for _ in 0..6000 {
        if condition(running) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}: {:?}", running.handle().view());
}

/// Waits until it is asked to stop.
fn patient(id: &str) -> Task {
    Task::new(id, |task: Context| async move {
        task.stopped().await;
        Ok(())
    })
}

/// Crashes at its first start.
fn crashes_once(id: &str, crash: impl Fn() -> Outcome + Send + Sync + 'static) -> Task {
    let starts = AtomicU32::new(0);
    let crash = Arc::new(crash);
    Task::new(id, move |task: Context| {
        let (first, crash) = (starts.fetch_add(1, Ordering::SeqCst) == 0, crash.clone());
        async move {
            if first {
                return crash();
            }
            task.stopped().await;
            Ok(())
        }
    })
}

#[tokio::test]
async fn tasks_and_services_are_children_of_equal_right() {
    let tree = Supervisor::new("t")
        .strategy(Strategy::OneForAll)
        .intensity(3, Duration::from_secs(60))
        .child(Service::new("service", ["sleep", "1000"]))
        .child(patient("task"));
    let running = start(tree).await;
    assert!(running.ready().await);
    let (service, task) = (row(&running, "t/service"), row(&running, "t/task"));
    assert_eq!((task.kind, task.pid), (Kind::Task, None));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(service.pid.unwrap()), nix::sys::signal::SIGKILL)
        .unwrap();
    wait(&running, "both again", |running| {
        let new = |path: &str, old: u64| {
            let row = row(running, path);
            row.state == State::Up && row.generation > old
        };
        new("t/service", service.generation) && new("t/task", task.generation)
    })
    .await;
    assert_eq!(running.stop().await, Ok(TreeEnd::Stopped));
}

#[tokio::test]
async fn an_error_and_a_panic_of_a_task_are_crashes_with_a_reason() {
    async fn check(crash: impl Fn() -> Outcome + Send + Sync + 'static, reason: &str) {
        let running = start(Supervisor::new("t").child(crashes_once("task", crash))).await;
        wait(&running, "the restart", |running| {
            let row = row(running, "t/task");
            row.restarts == 1 && row.state == State::Up
        })
        .await;
        let facts = running.handle().record().facts("t/task");
        assert!(facts.iter().any(|fact| fact.text.contains(reason)), "{reason}: {facts:?}");
        running.stop().await.unwrap();
    }
    check(|| Err("no light".into()), "no light").await;
    check(|| panic!("a fault on purpose"), "panicked: a fault on purpose").await;
}

#[tokio::test]
async fn a_task_that_does_not_stop_is_dropped() {
    struct Held(Arc<AtomicU32>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let held = dropped.clone();
    let deaf = Task::new("deaf", move |_| {
        let held = Held(held.clone());
        async move {
            let _held = held;
            std::future::pending().await
        }
    });
    let running =
        start(Supervisor::new("t").child(deaf.shutdown(Shutdown::Time(Duration::from_millis(50))))).await;
    assert!(running.ready().await);
    assert_eq!(running.stop().await, Ok(TreeEnd::Stopped));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_task_says_itself_when_it_is_ready_and_what_it_does() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let slow = Task::new("slow", move |task: Context| {
        let mut gone = gone.clone();
        async move {
            task.status("warming up");
            gone.wait_for(|gone| *gone).await?;
            task.ready();
            task.stopped().await;
            Ok(())
        }
    });
    let tree = Supervisor::new("t").child(slow.notifies(SOON)).child(patient("next").after(["slow"]));
    let running = start(tree).await;
    wait(&running, "its words", |running| {
        row(running, "t/slow").status_text.as_deref() == Some("warming up")
    })
    .await;
    assert_eq!(row(&running, "t/slow").state, State::Starting);
    assert_eq!(row(&running, "t/next").state, State::Waiting);
    go.send_replace(true);
    assert!(running.ready().await);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_tree_ends_by_itself_when_it_gives_up_or_its_significant_child_is_done() {
    let bad = Task::new("bad", |_| async { Err("always".into()) });
    let mut running = start(Supervisor::new("t").intensity(2, SOON).child(bad)).await;
    assert_eq!(running.ended().await, Ok(TreeEnd::GaveUp));
    let done = Task::new("done", |_| async { Ok(()) }).restart(Restart::Transient).significant();
    let tree =
        Supervisor::new("t").auto_shutdown(AutoShutdown::AnySignificant).child(patient("other")).child(done);
    let mut running = start(tree).await;
    assert_eq!(running.ended().await, Ok(TreeEnd::Shutdown));
}

#[tokio::test]
async fn a_socket_answers_the_verbs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("w.sock");
    let running = Builder::new(Supervisor::new("t").child(patient("task")));
    let running = running.directory(directory.path().join("run")).socket(&socket).start().await.unwrap();
    assert!(running.ready().await);
    tokio::net::UnixStream::connect(&socket).await.unwrap();
    running.stop().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn trees_that_make_no_sense_are_not_started() {
    async fn check(tree: Supervisor, message: &str) {
        match Builder::new(tree).start().await {
            Err(error) => assert_eq!(error.to_string(), message),
            Ok(_) => panic!("started, but: {message}"),
        }
    }
    let t = || Supervisor::new("t");
    check(t().child(patient("a")).child(patient("a")), "cannot build t: two children are called \"a\"").await;
    check(
        t().child(patient("a/b")),
        "cannot build t/a/b: \"a/b\" is no id; allowed: letters, digits and _.:@-",
    )
    .await;
    check(t().child(Service::new("a", [] as [&str; 0])), "cannot build t/a: its command is empty").await;
    check(
        t().child(patient("a").after(["b"])),
        "cannot build t: no child is called \"b\", but another one is after it",
    )
    .await;
    check(
        t().child(patient("a").after(["b"])).child(patient("b").after(["a"])),
        "cannot build t: its children are after each other in a circle",
    )
    .await;
    check(
        t().child(Supervisor::new("s").child(patient("a").significant())),
        "cannot build t/s: \"a\" is significant, but permanent or without an auto_shutdown",
    )
    .await;
}
