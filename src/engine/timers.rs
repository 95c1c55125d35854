//! Deadlines: a heap of moments. At most one per child is valid, and the child knows which.
//!
//! A deadline is never searched and removed; it is forgotten by its child, and the heap is swept when more than half
//! of it is forgotten.

use crate::child::ChildIx;
use crate::event::PathId;
use crate::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a moment means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// Not ready in time.
    TooLate(ChildIx),
    /// Has been up long enough to count as ready.
    Settled(ChildIx),
    /// The time to stop is over.
    Kill(ChildIx),
    /// Killed, and still not gone.
    Stuck(ChildIx),
    /// A back-off is over.
    Go(ChildIx),
    /// A parked child is tried again.
    Unpark(ChildIx),
    /// A supervisor's whole subtree should be down.
    Sweep(ChildIx),
    /// A person's hold ends.
    Release(PathId),
}

/// Which deadline of a child is valid; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, Ticket, Alarm)>>,
    last: u64,
    forgotten: usize,
}

impl Alarm {
    pub fn child(self) -> Option<ChildIx> {
        match self {
            Alarm::TooLate(c)
            | Alarm::Settled(c)
            | Alarm::Kill(c)
            | Alarm::Stuck(c)
            | Alarm::Go(c)
            | Alarm::Unpark(c)
            | Alarm::Sweep(c) => Some(c),
            Alarm::Release(_) => None,
        }
    }
}

impl Timers {
    pub fn set(&mut self, at: Time, alarm: Alarm) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.heap.push(Reverse((at, ticket, alarm)));
        ticket
    }

    /// The holder of a ticket has thrown it away.
    pub fn forget(&mut self) {
        self.forgotten += 1;
    }

    pub fn first(&self) -> Option<(Time, Ticket, Alarm)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    pub fn pop(&mut self) {
        self.heap.pop();
    }

    /// Drops forgotten deadlines from the front, and everywhere once they are the majority.
    pub fn tidy(&mut self, is_valid: impl Fn(Time, Ticket, Alarm) -> bool) {
        while let Some((at, ticket, alarm)) = self.first() {
            if is_valid(at, ticket, alarm) {
                break;
            }
            self.pop();
            self.forgotten = self.forgotten.saturating_sub(1);
        }
        if self.forgotten > 64 && self.forgotten > self.heap.len() / 2 {
            self.heap.retain(|Reverse((at, ticket, alarm))| is_valid(*at, *ticket, *alarm));
            self.forgotten = 0;
        }
    }
}
