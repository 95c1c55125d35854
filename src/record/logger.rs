//! The logger: one thread that reads what all children write. Without output it sleeps for ever.
//!
//! It never waits for anything but output: whatever may be slow stands behind a [`super::device`].

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::cutter::{Cutter, Look};
use super::lock;
use crate::os::clock;

/// The token of the bell.
const BELL: u64 = 0;
/// Pieces of one child that are dealt with before it is the next one's turn.
const SLICE: usize = 16;

/// The door to the thread, which ends when this is dropped.
pub(super) struct Logger {
    commands: Mutex<Sender<Command>>,
    bell: Arc<Bell>,
}

struct Bell {
    event: EventFd,
    rung: AtomicBool,
}

enum Command {
    Add(Box<Cutter>),
    Remove(u64),
    LookAt(u64),
    LookAtAll,
    LookAtBlocked,
    Settle(oneshot::Sender<()>),
    End,
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logger")
    }
}

impl Logger {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Logger> {
        let (sender, commands) = channel();
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let bell = Arc::new(Bell { event, rung: AtomicBool::new(false) });
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&bell.event, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let mut thread = Thread {
            epoll,
            bell: bell.clone(),
            commands,
            cutters: HashMap::new(),
            again: HashSet::new(),
            timed: HashSet::new(),
            settling: Vec::new(),
        };
        let name = "woodward-logger".to_owned();
        std::thread::Builder::new().name(name).stack_size(256 << 10).spawn(move || thread.run())?;
        Ok(Logger { commands: Mutex::new(sender), bell })
    }

    /// Reads this one too.
    pub(super) fn add(&self, cutter: Cutter) {
        self.tell(Command::Add(Box::new(cutter)));
    }

    /// Reads it to its end, and then no more.
    pub(super) fn remove(&self, token: u64) {
        self.tell(Command::Remove(token));
    }

    /// A generation has begun or ended.
    pub(super) fn look_at(&self, token: u64) {
        self.tell(Command::LookAt(token));
    }

    /// The keeper has read what was written meanwhile, and now it is our turn again.
    pub(super) fn look_at_all(&self) {
        self.tell(Command::LookAtAll);
    }

    /// A device that was full has room again.
    pub(super) fn look_at_blocked(&self) {
        self.tell(Command::LookAtBlocked);
    }

    /// Resolves when all that was written before has been cut into lines and handed to the sinks.
    pub(super) fn settled(&self) -> oneshot::Receiver<()> {
        let (done, settled) = oneshot::channel();
        self.tell(Command::Settle(done));
        settled
    }

    fn tell(&self, command: Command) {
        // A thread that is gone hears nothing, and there is nobody left to hear of it.
        let _ = lock(&self.commands).send(command);
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            let _ = self.bell.event.write(1);
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.tell(Command::End);
    }
}

struct Thread {
    epoll: Epoll,
    bell: Arc<Bell>,
    commands: Receiver<Command>,
    cutters: HashMap<u64, Cutter>,
    /// Had more to say when their slice was over.
    again: HashSet<u64>,
    /// Have losses to be said, or wait for a device that is full.
    timed: HashSet<u64>,
    settling: Vec<oneshot::Sender<()>>,
}

impl Thread {
    fn run(&mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let found = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(found) => found,
                Err(Errno::EINTR) => 0,
                Err(_) => return,
            };
            let mut ready: HashSet<u64> = std::mem::take(&mut self.again);
            ready.extend(events[..found].iter().map(EpollEvent::data).filter(|token| *token != BELL));
            let rung = events[..found].iter().any(|event| event.data() == BELL);
            if rung && !self.obey(&mut ready) {
                return;
            }
            if ready.is_empty() && !rung {
                // Nobody has anything to say any more.
                for done in self.settling.drain(..) {
                    let _ = done.send(());
                }
            }
            for token in ready {
                self.look_at(token);
            }
            self.see_to_timed();
        }
    }

    /// For ever, unless something waits.
    fn timeout(&self) -> EpollTimeout {
        if !self.again.is_empty() || !self.settling.is_empty() {
            return EpollTimeout::ZERO;
        }
        let times = self.timed.iter().filter_map(|token| self.cutters.get(token)?.due());
        let Some(next) = times.min() else { return EpollTimeout::NONE };
        // One more, so that it is not a moment too early.
        let ms = next.since(clock::now()).as_millis() + 1;
        EpollTimeout::from(u16::try_from(ms).unwrap_or(u16::MAX))
    }

    /// Carries commands out; `false`: it is over.
    fn obey(&mut self, ready: &mut HashSet<u64>) -> bool {
        let _ = self.bell.event.read();
        self.bell.rung.store(false, Ordering::Release);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add(cutter) => {
                    let token = cutter.source.token;
                    if let Some(intake) = &cutter.source.intake {
                        // Edges: a FIFO that is the keeper's to read must not keep this thread awake.
                        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, token);
                        // Only a lack of kernel memory could refuse it; then it is read when it begins and ends.
                        let _ = self.epoll.add(lock(intake).pipe.reader(), event);
                    }
                    self.cutters.insert(token, *cutter);
                    // Something of an earlier daemon may be there.
                    ready.insert(token);
                }
                Command::Remove(token) => {
                    let Some(mut cutter) = self.cutters.remove(&token) else { continue };
                    while cutter.look() == Look::Something {}
                    if let Some(intake) = &cutter.source.intake {
                        let _ = self.epoll.delete(lock(intake).pipe.reader());
                    }
                }
                Command::LookAt(token) => {
                    ready.insert(token);
                }
                Command::LookAtAll => {
                    for (token, cutter) in &mut self.cutters {
                        cutter.look_for_missed();
                        ready.insert(*token);
                    }
                }
                Command::LookAtBlocked => ready.extend(&self.timed),
                Command::Settle(done) => self.settling.push(done),
                Command::End => return false,
            }
        }
        true
    }

    fn look_at(&mut self, token: u64) {
        let Some(cutter) = self.cutters.get_mut(&token) else { return };
        let looks = (0..SLICE).take_while(|_| cutter.look() == Look::Something).count();
        if cutter.due().is_some() {
            self.timed.insert(token);
        }
        if looks == SLICE {
            self.again.insert(token);
        }
    }

    /// Whose time has come says what it lost, or waits no longer.
    fn see_to_timed(&mut self) {
        if self.timed.is_empty() {
            return;
        }
        let now = clock::now();
        let timed = std::mem::take(&mut self.timed);
        for token in timed {
            let Some(cutter) = self.cutters.get_mut(&token) else { continue };
            cutter.say_if_due(now);
            match cutter.due() {
                Some(due) if due <= now => self.look_at(token),
                Some(_) => drop(self.timed.insert(token)),
                None => {}
            }
        }
    }
}
