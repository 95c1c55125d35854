//! The network and the store behind it.

use super::words::short_transaction;
use super::{MS, Next, World};
use woodward_engine::cluster::{Answer, Event, Name, Transaction};

impl World {
    pub(super) fn delay(&mut self, n: usize) -> u64 {
        let slow = self.hosts[n].slow;
        let usual = MS / 2 + self.random.next() % (4 * MS);
        let spike = if self.random.chance(1) { self.random.next() % (200 * MS) } else { 0 };
        usual + spike + if slow > 0 { self.random.next() % (slow * MS) } else { 0 }
    }

    pub(super) fn lost(&mut self, n: usize) -> bool {
        let loss = self.hosts[n].loss;
        self.random.chance(loss)
    }

    pub(super) fn commit(&mut self, n: usize, id: u64, transaction: Transaction, beat: bool) {
        let life = self.hosts[n].life;
        self.hosts[n].open.push(id);
        let patience = if beat { 2 * self.plan.timing.beat.as_micros() as u64 } else { 1000 * MS };
        self.at(self.now + patience, Next::Outcome(n, life, id, Answer::Unknown));
        let copies = if beat && self.random.chance(15) { 2 } else { 1 };
        for _ in 0..copies {
            if self.hosts[n].deaf > 0 || self.lost(n) {
                continue;
            }
            let at = self.now + self.delay(n);
            let transaction = transaction.clone();
            self.at(at, Next::Arrive { node: n, life, id, transaction, beat });
        }
    }

    pub(super) fn arrive(&mut self, n: usize, life: u64, id: u64, transaction: &Transaction, beat: bool) {
        if self.store_away > 0 {
            // A proposal may hang and be done when there is a leader again.
            if self.random.chance(50) {
                let at = self.now + 100 * MS + self.random.next() % (2000 * MS);
                self.at(at, Next::Arrive { node: n, life, id, transaction: transaction.clone(), beat });
            }
            return;
        }
        let before = (!beat).then(|| self.store.register.clone());
        let answer = self.store.commit(transaction);
        if let Answer::Done(revision) = answer {
            if let Some(before) = before {
                self.note(|| {
                    format!("register {revision} by n{}: {}", n + 1, short_transaction(transaction))
                });
                let able: Vec<Vec<Name>> = (0..self.hosts.len())
                    .map(|n| {
                        if self.able(n) {
                            self.hosts[n].keeper.runs.keys().cloned().collect()
                        } else {
                            Vec::new()
                        }
                    })
                    .collect();
                let now = self.now;
                self.judge.changed(now, &before, transaction, n, &able);
            }
            for n in 0..self.hosts.len() {
                self.poke(n);
            }
        } else if !beat {
            self.note(|| format!("register refuses n{}: {}", n + 1, short_transaction(transaction)));
        }
        if self.hosts[n].mute == 0 && !self.lost(n) {
            let at = self.now + self.delay(n);
            self.at(at, Next::Outcome(n, life, id, answer));
        }
    }

    pub(super) fn poke(&mut self, n: usize) {
        if self.hosts[n].watch.is_some() && !self.hosts[n].news_under_way {
            self.hosts[n].news_under_way = true;
            let (at, life) = (self.now + self.delay(n), self.hosts[n].life);
            self.at(at, Next::News(n, life));
        }
    }

    pub(super) fn news(&mut self, n: usize) {
        self.hosts[n].news_under_way = false;
        let Some(mut at) = self.hosts[n].watch else { return };
        if self.hosts[n].mute > 0
            || self.hosts[n].deaf > 0
            || self.hosts[n].stalled > 0
            || self.store_away > 0
        {
            let life = self.hosts[n].life;
            self.hosts[n].news_under_way = true;
            self.at(self.now + 100 * MS, Next::News(n, life));
            return;
        }
        while let Some((revision, changes)) = self.store.after(at).cloned() {
            at = revision;
            self.hosts[n].watch = Some(at);
            self.tell(n, Event::Changed { revision, changes });
            if self.hosts[n].watch != Some(at) {
                return;
            }
        }
    }

    pub(super) fn reading(&mut self, n: usize) {
        let life = self.hosts[n].life;
        if self.hosts[n].mute > 0 || self.hosts[n].deaf > 0 || self.store_away > 0 || self.lost(n) {
            self.soon(400 * MS, Next::Reading(n, life));
            return;
        }
        let (revision, entries) = (self.store.register.revision, self.store.entries());
        self.hosts[n].watch = Some(revision);
        let at = self.now + self.delay(n);
        // What changes meanwhile is told after it.
        self.hosts[n].news_under_way = true;
        self.at(at, Next::Hear(n, life, Event::Read { revision, entries }));
        self.at(at + 1, Next::News(n, life));
    }
}
