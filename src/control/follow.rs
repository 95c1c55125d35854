//! Facts and lines: what there is, and what comes, as JSON lines.
//!
//! A follower has a task of its own that reads the record's broadcast and hands on whole batches. It holds no more than
//! a few batches: a follower that does not read makes its own task wait, until the broadcast has gone past it; what it
//! missed is then counted, in its stream ([`Dropped`]) and for the daemon. Nobody else waits for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::sync::mpsc;

use super::house::House;
use super::message::{Dropped, Problem};
use super::params::Params;
use super::server::{Desk, json, one, one_or_all};
use crate::record::Line;
use crate::record::fact::FactLine;
use crate::record::words::is_within;

/// Batches a follower may lie behind before its task waits.
const BATCHES: usize = 4;

/// Bytes after which a batch is handed on.
const BATCH: usize = 64 * 1024;

/// `GET /v1/events?path=&since=&n=&follow=`; `since` in milliseconds since 1970.
pub(super) async fn events<H: House>(
    State(desk): State<Desk<H>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let asked = params.take("path");
    let since = params.parsed("since", "milliseconds since 1970", |text| text.parse::<u64>().ok())?;
    let n = params.parsed("n", "a number", |text| text.parse::<usize>().ok())?;
    let follow = params.flag("follow")?;
    params.finish()?;
    let top = one_or_all(&desk.house, asked)?;
    let record = &desk.house;
    // First the receiver, then what there is: nothing falls between, and `seq` tells what came twice.
    let receiver = record.follow_facts();
    let mut facts = record.facts(&top);
    facts.retain(|fact| since.is_none_or(|since| fact.at >= since));
    facts.drain(..facts.len() - n.unwrap_or(usize::MAX).min(facts.len()));
    if !follow {
        return Ok(json(StatusCode::OK, &plain(&facts)));
    }
    let last = facts.last().map(|fact| fact.seq);
    let wanted =
        move |fact: &FactLine| is_within(&fact.path, &top) && last.is_none_or(|last| fact.seq > last);
    Ok(stream(facts, receiver, wanted, desk.dropped))
}

/// `GET /v1/logs?path=A,B&n=&follow=`; `n` is 10 when not given.
pub(super) async fn logs<H: House>(
    State(desk): State<Desk<H>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let asked = params.take("path").unwrap_or_default();
    let n = params.parsed("n", "a number", |text| text.parse::<usize>().ok())?.unwrap_or(10);
    let follow = params.flag("follow")?;
    params.finish()?;
    let mut tops = Vec::new();
    for path in asked.split(',').filter(|path| !path.is_empty()) {
        tops.push(one(&desk.house, path)?);
    }
    if tops.is_empty() {
        tops.push(String::new());
    }
    let record = &desk.house;
    let receiver = record.follow_lines();
    let lines = record.lines(&tops, n);
    if !follow {
        return Ok(json(StatusCode::OK, &plain(&lines)));
    }
    let shown: std::collections::HashMap<String, u64> =
        lines.iter().map(|line| (line.path.clone(), line.seq)).collect();
    let wanted = move |line: &Line| {
        tops.iter().any(|top| is_within(&line.path, top))
            && shown.get(&line.path).is_none_or(|last| line.seq > *last)
    };
    Ok(stream(lines, receiver, wanted, desk.dropped))
}

/// As they are written: without their counts.
fn plain<T>(items: &[Arc<T>]) -> Vec<&T> {
    items.iter().map(|item| &**item).collect()
}

/// An answer of JSON lines: `first`, then what is `wanted` of what comes.
fn stream<T: Serialize + Send + Sync + 'static>(
    first: Vec<Arc<T>>,
    receiver: broadcast::Receiver<Arc<T>>,
    wanted: impl Fn(&T) -> bool + Send + 'static,
    dropped: Arc<AtomicU64>,
) -> Response {
    let (sender, body) = lines();
    tokio::spawn(async move {
        let mut batch = Batch::default();
        for item in &first {
            batch.push(&**item);
        }
        // Hand on at once, even nothing: the follower then knows that it is connected.
        if sender.send(batch.take()).await.is_ok() {
            pump(receiver, wanted, &sender, &dropped).await;
        }
    });
    body
}

/// Hands on batches until the follower or the record is gone.
async fn pump<T: Serialize>(
    mut receiver: broadcast::Receiver<Arc<T>>,
    wanted: impl Fn(&T) -> bool,
    sender: &mpsc::Sender<Bytes>,
    dropped: &AtomicU64,
) {
    let mut batch = Batch::default();
    loop {
        let mut next = tokio::select! {
            next = receiver.recv() => next,
            () = sender.closed() => return,
        };
        loop {
            match next {
                Ok(item) if wanted(&item) => batch.push(&*item),
                Ok(_) => {}
                Err(RecvError::Lagged(n)) => {
                    dropped.fetch_add(n, Ordering::Relaxed);
                    batch.push(&Dropped { dropped: n });
                }
                Err(RecvError::Closed) => {
                    let _ = sender.send(batch.take()).await;
                    return;
                }
            }
            if batch.0.len() >= BATCH {
                break;
            }
            next = match receiver.try_recv() {
                Ok(item) => Ok(item),
                Err(TryRecvError::Lagged(n)) => Err(RecvError::Lagged(n)),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
                Err(TryRecvError::Empty) => break,
            };
        }
        if !batch.0.is_empty() && sender.send(batch.take()).await.is_err() {
            return;
        }
    }
}

/// JSON lines put together.
#[derive(Default)]
struct Batch(Vec<u8>);

impl Batch {
    fn push<T: Serialize + ?Sized>(&mut self, item: &T) {
        let length = self.0.len();
        match serde_json::to_writer(&mut self.0, item) {
            Ok(()) => self.0.push(b'\n'),
            Err(_) => self.0.truncate(length),
        }
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }
}

/// An answer whose body comes through a channel.
pub(super) fn lines() -> (mpsc::Sender<Bytes>, Response) {
    let (sender, receiver) = mpsc::channel(BATCHES);
    let body = Body::new(Lines { receiver });
    (sender, ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `item` as one JSON line.
pub(super) fn line<T: Serialize>(item: &T) -> Bytes {
    let mut batch = Batch::default();
    batch.push(item);
    batch.take()
}

struct Lines {
    receiver: mpsc::Receiver<Bytes>,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(ready!(self.receiver.poll_recv(context)).map(|bytes| Ok(Frame::data(bytes))))
    }
}
