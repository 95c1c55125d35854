//! A thread in front of something that may be slow: files, the journal, the console.
//!
//! Each device has its own, so that a paused terminal does not hold the log files up and a hanging disk does not
//! hold the journal up. Whoever writes never waits: what does not fit into the bounded queue is handed back, to be
//! counted and shown as dropped. An idle device sleeps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use tokio::sync::oneshot;

/// Bytes that may wait for one device.
const BOUND: usize = 8 << 20;

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
    waiting: Arc<AtomicUsize>,
}

enum Message<J> {
    Job(J, usize),
    /// Everything before it is done.
    Flushed(oneshot::Sender<()>),
}

impl<J: Send + 'static> Device<J> {
    /// Starts the thread.
    pub(super) fn start(name: &str, mut work: impl Work<Job = J>) -> io::Result<Device<J>> {
        let (queue, jobs) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let account = waiting.clone();
        let body = move || run(&mut work, &jobs, &account);
        std::thread::Builder::new().name(format!("woodward-{name}")).stack_size(256 << 10).spawn(body)?;
        Ok(Device { queue, waiting })
    }

    /// Hands over a job of so many bytes; `false`: there is no room, it is dropped.
    pub(super) fn send(&self, job: J, bytes: usize) -> bool {
        if self.waiting.load(Ordering::Relaxed) > BOUND {
            return false;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
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

fn run<W: Work>(work: &mut W, jobs: &Receiver<Message<W::Job>>, waiting: &AtomicUsize) {
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
                waiting.fetch_sub(bytes, Ordering::Relaxed);
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
        let done = Arc::new(Mutex::new(Vec::new()));
        let device = Device::start("test", Slow { gate, done: done.clone() }).expect("a thread");
        let taken = (0..100).filter(|n| device.send(*n, 1 << 20)).count();
        assert_eq!(taken, (BOUND >> 20) + 1);
        drop(open);
        let _ = device.flushed().await;
        assert_eq!(*done.lock().expect("no panic"), (0..9).collect::<Vec<u32>>());
        assert!(device.send(100, 1));
    }
}
