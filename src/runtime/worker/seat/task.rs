//! A generation that is a task: a future of this program instead of a process.
//!
//! It is started, asked to end and made to end where a process would be forked, signalled and killed; its end is said in
//! OTP's words. What it holds goes with the future, so that there is nothing left to be cleared.

use std::sync::Arc;

use woodward_engine::{Exit, Reason};

use super::{Main, Seat};
use crate::runtime::task::{self, Body, Words};
use crate::runtime::worker::Said;

impl Seat {
    pub(super) fn launch_task(self: &Arc<Seat>, body: &Body) {
        let (seat, words) = (Arc::downgrade(self), Arc::downgrade(self));
        let words = Words::new(move |word| {
            let Some(seat) = words.upgrade() else { return };
            match word {
                task::Word::Ready if seat.is_ready_by_word() => seat.holds(),
                task::Word::Ready => {}
                task::Word::Status(text) => seat.say(Said::Status(text)),
            }
        });
        let over = move |end: task::End| {
            let Some(seat) = seat.upgrade() else { return };
            let reason = match end {
                task::End::Done => Reason::Normal,
                task::End::Aborted => Reason::Killed,
                task::End::Failed(why) => {
                    seat.say(Said::Cause(why));
                    Reason::Crash
                }
            };
            seat.record(|log| log.main = Main::Emptied(Exit::Reason(reason)));
        };
        // Locked until the reins are in: a task that ends at once is heard after that.
        let mut log = self.lock();
        log.main = Main::Task(task::start(body, (self.child.path.clone(), self.generation.0), words, over));
    }
}
