//! Beats, hedged. A proposal that a member has passed on to a leader that is dead hangs there for seconds, longer than
//! anybody's right to run: so no beat waits for another, and none relies on one member.
//!
//! In calm a beat goes through one member, each in its turn, so that every connection is in use and known to work. Whoever
//! does not answer within a quarter of a beat, or fails, is not good: the beat goes to all others at once, and until that
//! member answers again every beat goes to it *and* to a good one; when none is good, to all at once. The first definite
//! answer counts. That is one small write a beat as long as nothing is wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, timeout_at};
use woodward_engine::cluster::{Answer, Transaction};

use super::Shared;
use super::gateway::{self, Transacted};
use super::member::{Lane, Member};

/// Sends a beat; what comes of it is known after two beats.
pub(super) async fn hedged(shared: &Arc<Shared>, transaction: &Transaction) -> Answer {
    let now = Instant::now();
    let (patience, until) = (now + shared.beat / 4, now + shared.beat * 2);
    if shared.common.cluster.get().is_none() {
        // Nobody beats before it has read the register, and with that this is settled.
        return Answer::Unknown;
    }
    let body = gateway::transaction(&shared.prefix, transaction);
    let (answers, mut heard) = unbounded_channel();
    let send = |member: &Arc<Member>| {
        let (member, body, answers) = (member.clone(), body.clone(), answers.clone());
        // On its own: whoever has its answer must not cut off the others, whose connections are good for the next beat.
        tokio::spawn(async move {
            let answer = member.ask::<Transacted>(Lane::Beat, "/v3/kv/txn", body, until).await;
            // Nobody may be listening any more.
            let _ = answers.send(answer);
        });
    };
    let (good, doubtful): (Vec<_>, Vec<_>) = shared.members.iter().partition(|member| member.is_good());
    let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
    let first = if good.is_empty() { None } else { Some(turn % good.len()) };
    let mut out = 0;
    for member in doubtful.iter().copied().chain(first.map(|at| good[at])) {
        send(member);
        out += 1;
    }
    let mut rest: Vec<_> =
        good.iter().enumerate().filter(|(at, _)| Some(*at) != first).map(|(_, m)| *m).collect();
    while out > 0 {
        let bound = if rest.is_empty() { until } else { patience };
        match timeout_at(bound, heard.recv()).await {
            Ok(Some(Ok(answer))) => return shared.answered(&answer),
            Ok(Some(Err(_))) => out -= 1,
            Ok(None) => break,
            Err(_) if rest.is_empty() => break,
            Err(_) => {
                if let Some(at) = first {
                    good[at].is_slow();
                }
            }
        }
        for member in rest.drain(..) {
            send(member);
            out += 1;
        }
    }
    Answer::Unknown
}
