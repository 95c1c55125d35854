//! A watch: a stream of lines from one member, and from another when that one fails.
//!
//! A member that is cut off from the others goes on listening and says nothing. So silence is looked into: if something that
//! this side has written is not told within two beats, or the store, asked through any member, has gone on, the watch goes on
//! from where it was through the next member. A store that has gone *back* (it was restored from a backup) is a gap.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep, sleep_until};
use woodward_engine::cluster::{Key, Value};

use super::Shared;
use super::gateway::{self, Batch, Kind, Line};
use super::member::{Fault, Member};
use crate::store::Watched;

/// The first pause before another member is asked; it doubles up to [`LONGEST`] as long as nothing is heard.
const SHORTEST: Duration = Duration::from_millis(20);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);
/// No line that makes sense is longer, in bytes.
const LONGEST_LINE: usize = 64 << 20;

/// A key, and what stands there now.
type Changed = (Key, Option<Value>);

/// Why a stream is at its end.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// There is a gap.
    Lost,
    /// This member cannot go on.
    Fault(Fault),
}

/// Tells all that is changed after `told` until nobody listens, or there is a gap.
pub(super) async fn run(shared: Arc<Shared>, mut told: u64, news: UnboundedSender<Watched>) {
    let mut pause = SHORTEST;
    let mut failed = None;
    let mut said = String::new();
    loop {
        // The one that has just failed is the last to be asked again.
        let mut members = shared.by_merit();
        members.sort_by_key(|(at, _)| failed == Some(*at));
        let Some((at, member)) = members.into_iter().next() else { return };
        let before = told;
        let end = if shared.settled().await.is_ok() {
            follow(&shared, &member, &mut told, &news).await
        } else {
            End::Fault(Fault::away(false, "it is not known which cluster it is of"))
        };
        match end {
            End::Unwanted => return,
            End::Lost => {
                // Nobody may be listening any more.
                let _ = news.send(Watched::Lost);
                return;
            }
            End::Fault(fault) => {
                failed = Some(at);
                if said != fault.why {
                    tracing::warn!(member = %member.name, why = %fault.why, "a watch goes on through another member");
                    said = fault.why;
                }
            }
        }
        pause = if told > before { SHORTEST } else { (pause * 2).min(LONGEST) };
        tokio::select! {
            () = sleep(pause) => {}
            () = news.closed() => return,
        }
    }
}

async fn follow(
    shared: &Arc<Shared>,
    member: &Arc<Member>,
    told: &mut u64,
    news: &UnboundedSender<Watched>,
) -> End {
    let lag = (shared.beat * 2).max(Duration::from_millis(400));
    let patience = shared.patience();
    let body = gateway::watch(&shared.prefix, *told + 1);
    // `_connection`: the stream ends with it.
    let (_connection, mut lines) = match member.stream("/v3/watch", body, patience).await {
        Ok(stream) => stream,
        Err(fault) => return End::Fault(fault),
    };
    let mut rest: Vec<u8> = Vec::new();
    let mut split = Vec::new();
    let mut heard = Instant::now();
    let mut look = heard + lag;
    let mut asked = heard;
    // What this side had written when it was last looked at.
    let mut owed = 0;
    loop {
        let frame = tokio::select! {
            frame = lines.frame() => frame,
            () = news.closed() => return End::Unwanted,
            () = sleep_until(look) => {
                look = Instant::now() + lag;
                if owed > *told {
                    return End::Fault(Fault::away(false, "its watch does not tell what has changed"));
                }
                owed = shared.common.written.load(Ordering::Relaxed);
                if heard.max(asked).elapsed() >= patience {
                    asked = Instant::now();
                    match shared.range(gateway::revision(&shared.prefix)).await {
                        Ok(now) if now.header.revision < *told => return End::Lost,
                        Ok(now) if now.header.revision > *told => {
                            return End::Fault(Fault::away(false, "its watch is silent though the store has gone on"));
                        }
                        // Nothing new, or nobody to ask: another member would tell no more.
                        Ok(_) | Err(_) => {}
                    }
                }
                continue;
            }
        };
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                return End::Fault(Fault::away(false, format!("its watch broke off: {error}")));
            }
            None => return End::Fault(Fault::away(false, "its watch has ended")),
        };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            match serde_json::from_slice::<Line>(&line) {
                Ok(Line { error: Some(problem), .. }) => {
                    return End::Fault(Fault::refused(false, problem.said()));
                }
                Ok(Line { result: Some(batch), .. }) => {
                    if let Some(end) = tell(shared, member, batch, &mut split, told, news) {
                        return end;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    return End::Fault(Fault::refused(false, format!("its watch talks nonsense: {error}")));
                }
            }
            heard = Instant::now();
            look = heard + lag;
        }
        if rest.len() > LONGEST_LINE {
            return End::Fault(Fault::refused(false, "its watch talks nonsense: a line without end"));
        }
    }
}

/// Tells one batch, each of its revisions whole. `split`: what came of a revision that the server cut in pieces.
fn tell(
    shared: &Shared,
    member: &Member,
    batch: Batch,
    split: &mut Vec<gateway::Change>,
    told: &mut u64,
    news: &UnboundedSender<Watched>,
) -> Option<End> {
    if let Err(why) = shared.common.check(&batch.header) {
        return Some(End::Fault(Fault::refused(false, why)));
    }
    if batch.compact_revision > 0 {
        return Some(End::Lost);
    }
    if batch.canceled {
        member.forget_login();
        let why = if batch.cancel_reason.is_empty() { "no reason given" } else { &batch.cancel_reason };
        return Some(End::Fault(Fault::refused(false, format!("it has ended the watch: {why}"))));
    }
    split.extend(batch.events);
    if batch.fragment {
        return None;
    }
    let mut changed: Option<(u64, Vec<Changed>)> = None;
    let mut all = Vec::new();
    for change in split.drain(..) {
        let revision = change.kv.mod_revision;
        if revision <= *told {
            continue;
        }
        let Some(change) = read(shared, &change) else { continue };
        match &mut changed {
            Some((at, changes)) if *at == revision => changes.push(change),
            _ => all.extend(changed.replace((revision, vec![change]))),
        }
    }
    all.extend(changed);
    for (revision, changes) in all {
        if news.send(Watched::Changed { revision, changes }).is_err() {
            return Some(End::Unwanted);
        }
        *told = revision;
    }
    None
}

/// What a change says; `None`: nothing that is known here.
fn read(shared: &Shared, change: &gateway::Change) -> Option<Changed> {
    let key = shared.prefix.read_key(&String::from_utf8_lossy(&change.kv.key));
    if change.kind == Kind::Delete {
        return Some((key?, None));
    }
    match shared.prefix.read(&change.kv.key, &change.kv.value) {
        Ok((key, value)) => Some((key, Some(value))),
        Err(nonsense) => {
            tracing::warn!("{nonsense}");
            Some((key?, None))
        }
    }
}
