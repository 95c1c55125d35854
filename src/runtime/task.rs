//! Tasks as children: a future of this program in the place of a process.

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How a task ends: well, or with an error, which is a crash.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// What a task does, once for each generation.
pub type Body = Arc<dyn Fn(Context) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// The tasks of this program, by path.
#[derive(Clone, Default)]
pub struct Tasks(HashMap<Box<str>, Body>);

/// What a task knows of its place.
#[derive(Clone)]
pub struct Context {
    path: Arc<str>,
    generation: u64,
    asked: watch::Receiver<bool>,
    words: Words,
}

/// What a task says of itself.
pub(super) enum Word {
    Ready,
    Status(String),
}

/// Where that goes.
#[derive(Clone)]
pub(super) struct Words(Arc<dyn Fn(Word) + Send + Sync>);

/// How a task has ended.
pub(super) enum End {
    Done,
    Failed(String),
    Aborted,
}

/// By which a running task is led.
#[derive(Debug)]
pub(super) struct Reins {
    ask: watch::Sender<bool>,
    abort: AbortHandle,
}

impl Tasks {
    /// A task at a path.
    pub fn add(&mut self, path: &str, body: Body) {
        self.0.insert(path.into(), body);
    }

    pub(super) fn get(&self, path: &str) -> Option<&Body> {
        self.0.get(path)
    }
}

impl Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Context {
    /// Full path of this child.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The number of this start; greater at each.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Resolves when the task is asked to stop. It then has its `shutdown` time before it is aborted.
    pub async fn stopped(&self) {
        // A sender that is gone means that nobody waits for this task any more.
        let _ = self.asked.clone().wait_for(|asked| *asked).await;
    }

    /// For a task that says itself when it is ready (sd_notify's `READY=1`).
    pub fn ready(&self) {
        (self.words.0)(Word::Ready);
    }

    /// One line that `status` shows (sd_notify's `STATUS=`); empty: none.
    pub fn status(&self, text: impl Into<String>) {
        (self.words.0)(Word::Status(text.into()));
    }
}

impl Words {
    pub(super) fn new(hear: impl Fn(Word) + Send + Sync + 'static) -> Words {
        Words(Arc::new(hear))
    }
}

impl Reins {
    /// Asks it to stop.
    pub(super) fn ask(&self) {
        self.ask.send_replace(true);
    }

    /// Drops the future at its next point of waiting.
    pub(super) fn pull(&self) {
        self.abort.abort();
    }
}

/// Starts a task; `over` is called once, when it has ended and its future is dropped.
pub(super) fn start(
    body: &Body,
    (path, generation): (Arc<str>, u64),
    words: Words,
    over: impl FnOnce(End) + Send + 'static,
) -> Reins {
    let (ask, asked) = watch::channel(false);
    let context = Context { path, generation, asked, words };
    let body = body.clone();
    // Inside the task: a body that panics before its first future is one that crashed.
    let task = tokio::spawn(async move { body(context).await });
    let abort = task.abort_handle();
    tokio::spawn(async move {
        over(match task.await {
            Ok(Ok(())) => End::Done,
            Ok(Err(error)) => End::Failed(error.to_string()),
            Err(error) if error.is_cancelled() => End::Aborted,
            Err(error) => End::Failed(format!("panicked: {}", text_of(&*error.into_panic()))),
        });
    });
    Reins { ask, abort }
}

/// What a panic says.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
