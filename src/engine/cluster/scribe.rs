//! What is written for others to read and decides nothing by itself: how far each group is, questions and answers of
//! probes. On a desk of its own, so that no decision waits for it.

use super::desk::What;
use super::groups::Here;
use super::machine::Cluster;
use super::owners::Draft;
use super::register::Probe;
use super::{Effect, Epoch, Key, Transaction, Value};

impl Cluster {
    /// Writes what has changed.
    pub(super) fn write_down(&mut self, fx: &mut Vec<Effect>) {
        if !self.may_decide() || !self.is_free(|cluster| &mut cluster.scribe) {
            return;
        }
        let mut draft = Draft::default();
        for i in 0..self.parts.len() {
            if draft.is_full() {
                break;
            }
            self.note_group(i, &mut draft);
        }
        if draft.writes.is_empty() {
            return;
        }
        let revision = self.standing().map_or(0, |standing| standing.revision);
        draft.require(Key::Epoch(self.config.me.clone()), revision);
        let transaction = Transaction { conditions: draft.conditions, writes: draft.writes };
        self.send(transaction, What::Note, |cluster| &mut cluster.scribe, fx);
    }

    fn note_group(&mut self, i: usize, draft: &mut Draft) {
        let group = self.config.groups[i].name.clone();
        let answer = self.probe_to_answer(i);
        let answers = answer.is_some();
        if let Some((revision, answer)) = answer {
            draft.require(Key::Probe(group.clone()), revision);
            draft.put(Key::Probe(group.clone()), answer);
        }
        if let Some(state) = self.state_to_write(i) {
            draft.require(Key::Owner(group.clone()), state.epoch.0);
            draft.put(Key::State(group.clone()), Value::State(state));
        }
        // A transaction writes each key once.
        let Some(node) = self.parts[i].ask.take_if(|_| !answers) else { return };
        if let Here::Active { epoch, .. } = self.parts[i].here {
            let Epoch(revision) = epoch;
            self.parts[i].asked = Some(self.now);
            draft.require(Key::Owner(group.clone()), revision);
            draft.put(Key::Probe(group), Value::Probe(Probe { node, epoch, result: None }));
        }
    }
}
