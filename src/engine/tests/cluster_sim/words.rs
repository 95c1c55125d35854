//! What happens, in short.

use woodward_engine::cluster::{Answer, Effect, Event, Key, Transaction, Value, Write};

pub(super) fn short(event: &Event) -> String {
    match event {
        Event::Read { revision, .. } => format!("read {revision}"),
        Event::Changed { revision, changes } => {
            let keys: Vec<_> = changes.iter().map(|(key, _)| format!("{key:?}")).collect();
            format!("sees {revision} {}", keys.join(" "))
        }
        other => format!("{other:?}"),
    }
}

pub(super) fn short_effect(effect: &Effect) -> String {
    match effect {
        Effect::Commit { id, transaction, .. } => format!("commit {id} {}", short_transaction(transaction)),
        other => format!("{other:?}"),
    }
}

pub(super) fn short_transaction(transaction: &Transaction) -> String {
    let writes: Vec<_> = transaction
        .writes
        .iter()
        .map(|write| match write {
            Write::Put(Key::Owner(group), Value::Owner(owner)) => {
                format!("{group} -> {:?} because {:?}", owner.node, owner.why)
            }
            Write::Put(Key::Epoch(node), Value::Epoch(m)) => {
                format!("{node} {:?} fenced {:?}", m.term, m.fenced)
            }
            Write::Put(Key::State(group), Value::State(state)) => format!("{group} is {:?}", state.phase),
            other => format!("{other:?}"),
        })
        .collect();
    writes.join(", ")
}

/// What happens all the time and is not told.
pub(super) fn is_of_beats(event: &Event) -> bool {
    match event {
        Event::Changed { changes, .. } => changes.iter().all(|(key, _)| matches!(key, Key::Beat(_))),
        Event::Answered { answer: Answer::Done(_), .. } | Event::Armed { .. } | Event::Tick => true,
        _ => false,
    }
}
