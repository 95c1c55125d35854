//! The kernel's one timer.

use std::time::Duration;

use tokio::sync::watch;
use woodward_engine::Time;

use super::super::inbox::Inbox;
use crate::os::clock;

/// A deadline that has moved further away than this is set back.
const SLACK: Duration = Duration::from_millis(20);

/// Calls for a turn when a deadline is due. A deadline that has moved a little further away is not set
/// back, it only costs one turn with nothing to do.
pub(super) struct Alarm {
    at: watch::Sender<Option<Time>>,
}

impl Alarm {
    pub(super) fn start(inbox: Inbox) -> Alarm {
        let (at, mut set) = watch::channel(None::<Time>);
        tokio::spawn(async move {
            loop {
                let next = *set.borrow_and_update();
                let due = async {
                    match next {
                        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = set.changed() => if changed.is_err() { return },
                    () = due => {
                        inbox.call();
                        // The turn sets the next deadline.
                        if set.changed().await.is_err() { return }
                    }
                }
            }
        });
        Alarm { at }
    }

    pub(super) fn set(&mut self, next: Option<Time>) {
        let now = clock::now();
        self.at.send_if_modified(|at| {
            let rings_first = match (*at, next) {
                (Some(at), Some(next)) => now < at && at <= next && next.since(at) <= SLACK,
                (None, None) => true,
                _ => false,
            };
            if !rings_first {
                *at = next;
            }
            !rings_first
        });
    }
}
