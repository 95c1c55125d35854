//! A thread in front of something that may be slow: files, the journal, the console.
//!
//! Each device has its own, so that a paused terminal does not hold the log files up and a hanging disk does not
//! hold the journal up. Whoever writes never waits: what does not fit into the bounded queue is refused, to be counted
//! and shown as dropped. Who would rather come again later asks first, and is called when there is room. An idle device
//! sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use tokio::sync::oneshot;

/// What a device does.
pub(super) trait Work: Send + 'static {
    /// One piece of it.
    type Job: Send + 'static;
    /// Does it; may block.
    fn work(&mut self, job: Self::Job);
    /// Called when nothing waits.
    fn idle(&mut self) {}
}

/// The queue of a device. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Device<J> {
    queue: Sender<Message<J>>,
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    /// Bytes that may wait.
    bound: usize,
    /// Bytes handed over and not yet dealt with.
    waiting: AtomicUsize,
    /// Somebody found no room.
    wanted: AtomicBool,
}

enum Message<J> {
    Job(J, usize),
    /// Everything before it is done.
    Flushed(oneshot::Sender<()>),
}

impl<J: Send + 'static> Device<J> {
    /// Starts the thread. About `bound` bytes may wait for it. `room` is called there when there is room again for somebody who found none.
    pub(super) fn start(
        name: &str,
        bound: usize,
        mut work: impl Work<Job = J>,
        room: impl Fn() + Send + 'static,
    ) -> io::Result<Device<J>> {
        let (queue, jobs) = channel();
        let account = Account { bound, waiting: AtomicUsize::new(0), wanted: AtomicBool::new(false) };
        let account = Arc::new(account);
        let shared = account.clone();
        let body = move || run(&mut work, &jobs, &shared, &room);
        std::thread::Builder::new().name(format!("woodward-{name}")).stack_size(256 << 10).spawn(body)?;
        Ok(Device { queue, account })
    }

    /// Whether a job would be taken now.
    pub(super) fn has_room(&self) -> bool {
        let full = || self.account.waiting.load(Ordering::SeqCst) > self.account.bound;
        if !full() {
            return true;
        }
        self.account.wanted.store(true, Ordering::SeqCst);
        // Looked at again: it may have become empty before it saw that it is wanted.
        !full()
    }

    /// Hands over a job of so many bytes; `false`: there is no room, it is dropped.
    pub(super) fn send(&self, job: J, bytes: usize) -> bool {
        if self.account.waiting.load(Ordering::SeqCst) > self.account.bound {
            return false;
        }
        self.account.waiting.fetch_add(bytes, Ordering::SeqCst);
        self.queue.send(Message::Job(job, bytes)).is_ok()
    }

    /// Resolves when everything handed over so far is done.
    pub(super) fn flushed(&self) -> oneshot::Receiver<()> {
        let (done, flushed) = oneshot::channel();
        // A thread that is gone drops `done`, which resolves `flushed` too.
        let _ = self.queue.send(Message::Flushed(done));
        flushed
    }
}

fn run<W: Work>(work: &mut W, jobs: &Receiver<Message<W::Job>>, account: &Account, room: &impl Fn()) {
    loop {
        let message = match jobs.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return work.idle(),
            Err(TryRecvError::Empty) => {
                work.idle();
                let Ok(message) = jobs.recv() else { return };
                message
            }
        };
        match message {
            Message::Job(job, bytes) => {
                work.work(job);
                let waiting = account.waiting.fetch_sub(bytes, Ordering::SeqCst) - bytes;
                if waiting <= account.bound / 2 && account.wanted.swap(false, Ordering::SeqCst) {
                    room();
                }
            }
            Message::Flushed(done) => {
                work.idle();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const BOUND: usize = 8 << 20;

    struct Slow {
        gate: Receiver<()>,
        done: Arc<Mutex<Vec<u32>>>,
    }

    impl Work for Slow {
        type Job = u32;
        fn work(&mut self, job: u32) {
            let _ = self.gate.recv();
            self.done.lock().expect("no panic").push(job);
        }
    }

    #[tokio::test]
    async fn a_stuck_device_takes_a_bounded_number_of_bytes_and_loses_none_of_them() {
        let (open, gate) = channel();
        let (called, calls) = channel();
        let done = Arc::new(Mutex::new(Vec::new()));
        let slow = Slow { gate, done: done.clone() };
        let device = Device::start("test", BOUND, slow, move || {
            let _ = called.send(());
        })
        .expect("a thread");
        let taken = (0..100).filter(|n| device.send(*n, 1 << 20)).count();
        assert_eq!(taken, (BOUND >> 20) + 1);
        assert!(!device.has_room() && calls.try_recv().is_err());
        drop(open);
        let _ = device.flushed().await;
        assert_eq!(*done.lock().expect("no panic"), (0..9).collect::<Vec<u32>>());
        assert!(device.has_room() && device.send(100, 1));
        assert_eq!(calls.try_iter().count(), 1);
    }
}
