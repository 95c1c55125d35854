//! The guard: holder of this node's right to run the services of its failover groups.
//!
//! ```text
//! none ─Begin─► standing ─the deadline passes, End, the next Begin─► over ─Begin of a greater one─► standing
//!                  └Arm┘ deadline = later
//! ```
//!
//! The right ends at a *deadline*, on the clock that goes on while the machine is suspended. The daemon moves it on (`Arm`)
//! whenever the cluster has confirmed that it may; the keeper only compares. At every wake-up it looks at the clock
//! **first**, before it reads a message, and again before each start, so that whoever was frozen kills before it obeys:
//!
//! 1. every entry of a bound group by pidfd and process group, then all the rest by one write for each group into its
//!    `cgroup.kill`, opened when it was bound;
//! 2. the messages that take addresses and gates away;
//! 3. only then what can wait: starts in the queue, processes known by their mark, the report.
//!
//! Nothing of 1 and 2 allocates, or waits for an exec, a disk or a network. A term that is over is never armed again, and
//! nothing is started in a group of it, nor in a group nobody has bound.
//!
//! A wall clock that is set forward tells of time that this machine has slept through unknowingly: the deadline comes
//! nearer by as much ([`clocks`]). One that is set back tells nothing.
//!
//! When the daemon is dead nothing happens here: a new one that arms in time has lost nothing.

mod clocks;
mod means;
mod netlink;
mod watchdog;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use self::clocks::Clocks;
use self::means::Means;
use self::netlink::Sockets;
use self::watchdog::Watchdog;
use crate::daemon::Life;
use crate::foreign;
use crate::keeper::{GUARD_EVENT, Keeper};
use crate::setup::say;
use crate::wire::guard::{self as said, Standing, When};
use crate::wire::{HELPER, MARK};

/// Groups there may be.
const GROUPS: usize = 256;
/// The longest a deadline may lie ahead: a day, in milliseconds.
const LONGEST: u64 = 24 * 60 * 60 * 1000;
/// Nanoseconds.
const MILLISECOND: u64 = 1_000_000;
/// A `hold` under which a lifetime in seconds is sent though it is less than one.
const COARSE: u64 = 2_000 * MILLISECOND;
/// How often processes are looked for by their mark.
const LOOKS: usize = 16;

/// The guard of a keeper.
#[derive(Default)]
pub(crate) struct Guard {
    term: Option<Term>,
    groups: Vec<Group>,
    clocks: Option<Clocks>,
    sockets: Sockets,
    means: Means,
    watchdog: Option<Watchdog>,
    /// How many messages of the last arming were refused, and the first errno.
    refused: (u32, i32),
    /// Nanoseconds from the last deadline that was missed until all was killed.
    late: u64,
    /// The daemon has to be told how it stands.
    pub news: bool,
}

/// The last term that began.
#[derive(Clone, Copy)]
struct Term {
    number: u64,
    /// Nanoseconds a deadline may lie ahead.
    hold: u64,
    /// Nanoseconds of the boot clock; `None`: it was never armed, and nothing may run yet.
    deadline: Option<u64>,
    armed: u64,
    /// When it was over; `None`: it stands.
    fired: Option<u64>,
}

/// A group that dies with a term.
struct Group {
    name: Vec<u8>,
    term: u64,
    /// `cgroup.kill` and `cgroup.events` of its directory; `None`: there are no control groups.
    files: Option<(File, File)>,
    /// As the daemon said them, and as they are sent.
    said: Vec<u8>,
    messages: Vec<netlink::Message>,
}

/// May something of this name be started?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Nobody has bound its group.
    Unbound,
    /// The term of its group stands, and is armed.
    Stands,
    /// It does not.
    Over,
}

impl Guard {
    /// Nanoseconds of the boot clock at which the right to run ends.
    fn deadline(&self) -> Option<u64> {
        self.term.filter(|term| term.fired.is_none())?.deadline
    }

    /// The right of what has this name in the table.
    pub fn right(&self, name: &[u8]) -> Right {
        let Some(group) = self.groups.iter().find(|group| group.has(name)) else { return Right::Unbound };
        let stands = self
            .term
            .is_some_and(|term| term.number == group.term && term.fired.is_none() && term.deadline.is_some());
        if stands { Right::Stands } else { Right::Over }
    }

    /// As the daemon is told; `None`: there has never been a term.
    pub fn standing(&self) -> Option<Standing> {
        let term = self.term?;
        let watchdog = if self.watchdog.is_some() { said::WATCHDOG } else { 0 };
        Some(Standing {
            term: term.number,
            fired: term.fired.map_or(0, |at| (at / MILLISECOND).max(1)),
            deadline: term.deadline.map_or(0, |at| at / MILLISECOND),
            armed: term.armed,
            refused: self.refused.0,
            errno: self.refused.1,
            late: self.late / 1000,
            means: self.means.bits() | watchdog,
        })
    }

    /// Name and term of the nth bound group.
    pub fn bound(&self, n: usize) -> Option<(&[u8], u64)> {
        self.groups.get(n).map(|group| (group.name.as_slice(), group.term))
    }

    /// Sends the messages of one kind, of all groups. `left`: nanoseconds until the deadline.
    fn send(&mut self, when: When, left: u64) {
        self.refused = (0, 0);
        // Whole seconds are too coarse for a short rhythm: an address that was not renewed for want of a whole second would
        // vanish from a node whose beats are only slow.
        let coarse = self.term.as_ref().is_some_and(|term| term.hold < COARSE);
        let least = u64::from(coarse && left > 0);
        for group in &mut self.groups {
            for message in group.messages.iter_mut().filter(|message| message.when == when) {
                if let Err(errno) = self.sockets.send(message, left, least) {
                    self.refused =
                        (self.refused.0 + 1, if self.refused.0 == 0 { errno } else { self.refused.1 });
                }
            }
        }
    }

    /// SIGKILL to everything of all groups. False: of some only the entries of the table are known.
    fn kill(&mut self) -> bool {
        let mut all = true;
        for group in &mut self.groups {
            all &= group.files.as_mut().is_some_and(|(kill, _)| kill.write_all(b"1").is_ok());
        }
        all
    }

    /// Once without harm what has to go fast when it is needed, so that it is in memory then.
    fn rehearse(&mut self) {
        let Ok(null) = File::options().read(true).write(true).open("/dev/null") else { return };
        let Ok(events) = null.try_clone() else { return };
        let files = Some((null, events));
        let groups = vec![Group { name: Vec::new(), term: 0, files, said: Vec::new(), messages: Vec::new() }];
        let groups = std::mem::replace(&mut self.groups, groups);
        self.kill();
        self.send(When::End, 0);
        self.groups = groups;
    }

    /// Everything that is only needed while something is bound.
    fn relax(&mut self) {
        self.means.give_back();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.close();
        }
    }
}

impl Group {
    /// Is this a name of the table that belongs to it?
    fn has(&self, name: &[u8]) -> bool {
        let rest = name.strip_prefix(self.name.as_slice());
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(&(b'/' | HELPER))))
    }
}

// ---- orders -------------------------------------------------------------------------------------------------------

impl Keeper {
    /// See [`crate::wire::Order::Begin`]. `Err`: nonsense.
    pub fn begin_term(&mut self, number: u64, hold: u64) -> Result<(), ()> {
        if !(1..=LONGEST).contains(&hold) || number == 0 || matches!(self.life, Life::Program) {
            return Err(());
        }
        self.guard.news = true;
        if self.guard.term.is_some_and(|term| number <= term.number) {
            return Ok(());
        }
        if self.guard.term.is_some_and(|term| term.fired.is_none()) {
            self.fire();
        }
        self.watch_clocks()?;
        self.guard.means.take();
        self.guard.rehearse();
        let hold = hold * MILLISECOND;
        self.remember_jumps(hold);
        self.guard.term = Some(Term { number, hold, deadline: None, armed: 0, fired: None });
        Ok(())
    }

    fn remember_jumps(&mut self, hold: u64) {
        if let Some(clocks) = &mut self.guard.clocks {
            clocks.remember(hold);
        }
    }

    fn watch_clocks(&mut self) -> Result<(), ()> {
        if self.guard.clocks.is_none() {
            let clocks = Clocks::new().map_err(|e| say(&format!("cannot hold a deadline: {e}")))?;
            for fd in clocks.fds() {
                self.epoll.add(fd, libc::EPOLLIN, GUARD_EVENT).map_err(drop)?;
            }
            self.guard.clocks = Some(clocks);
        }
        Ok(())
    }

    /// See [`crate::wire::Order::Bind`]. `Err`: nonsense.
    pub fn bind_group(
        &mut self,
        name: &[u8],
        term: u64,
        files: Option<(OwnedFd, OwnedFd)>,
        messages: &[u8],
    ) -> Result<(), ()> {
        self.guard.news = true;
        let stands = self.guard.term.filter(|standing| standing.fired.is_none() && standing.number == term);
        let Some(standing) = stands else { return Ok(()) };
        let known = self.guard.groups.iter().position(|group| group.name == name);
        if known.is_none() && self.guard.groups.len() >= GROUPS {
            return Err(());
        }
        let files = files.map(|(kill, events)| (File::from(kill), File::from(events)));
        let group = Group {
            name: name.to_vec(),
            term,
            files,
            said: messages.to_vec(),
            messages: said::read(messages).flatten().map(|ready| self.guard.sockets.keep(&ready)).collect(),
        };
        match known {
            Some(at) => self.guard.groups[at] = group,
            None => self.guard.groups.push(group),
        }
        self.guard.means.take();
        if let Some(deadline) = standing.deadline {
            self.guard.send(When::Arm, deadline.saturating_sub(clocks::boot()));
        }
        Ok(())
    }

    /// See [`crate::wire::Order::Arm`].
    pub fn arm(&mut self, number: u64, arming: u64, deadline: u64) {
        self.guard.news = true;
        let Some(term) = self.guard.term.filter(|term| term.number == number && term.fired.is_none()) else {
            return;
        };
        let now = clocks::boot();
        let Some(clocks) = &mut self.guard.clocks else { return };
        let deadline = clocks.corrected(deadline.saturating_mul(MILLISECOND), term.hold);
        if deadline <= now || deadline > now + term.hold {
            return;
        }
        clocks.set(deadline);
        self.guard.term = Some(Term { deadline: Some(deadline), armed: arming, ..term });
        self.guard.send(When::Arm, deadline.saturating_sub(clocks::boot()));
    }

    /// See [`crate::wire::Order::Unbind`].
    pub fn unbind_group(&mut self, name: &[u8]) {
        self.guard.news = true;
        self.guard.groups.retain(|group| group.name != name);
        if self.guard.groups.is_empty() {
            self.guard.relax();
        }
    }

    /// See [`crate::wire::Order::EndTerm`].
    pub fn end_term(&mut self, number: u64) {
        self.guard.news = true;
        if self.guard.term.is_some_and(|term| term.number == number && term.fired.is_none()) {
            self.fire();
        }
    }

    /// See [`crate::wire::Order::Watchdog`]. `Err`: nonsense.
    pub fn feed_watchdog(&mut self, device: OwnedFd, timeout: u32) -> Result<(), ()> {
        self.guard.news = true;
        let watchdog = Watchdog::new(device, timeout).ok_or(())?;
        if let Some(former) = self.guard.watchdog.replace(watchdog) {
            former.close();
        }
        Ok(())
    }
}

// ---- the clock ----------------------------------------------------------------------------------------------------

impl Keeper {
    /// Looks at the clock: the first thing at every wake-up, before every message and before every start.
    pub fn look_at_deadline(&mut self) {
        let Some(deadline) = self.guard.deadline() else { return };
        let Some(clocks) = &mut self.guard.clocks else { return };
        let (now, jump) = clocks.look();
        let nearer = deadline.saturating_sub(jump);
        if now >= nearer {
            self.fire();
        } else if jump > 0 {
            clocks.set(nearer);
            self.guard.term = self.guard.term.map(|term| Term { deadline: Some(nearer), ..term });
            self.guard.send(When::Arm, nearer - now);
            self.guard.news = true;
        }
    }

    /// One of the timers has gone off; what that means has been looked at already.
    pub fn timers(&mut self) {
        if let Some(clocks) = &self.guard.clocks {
            clocks.quiet();
        }
    }

    /// When the watchdog is to be fed next, in nanoseconds of `sys::now`.
    pub fn watchdog_due(&self) -> Option<u64> {
        self.guard.watchdog.as_ref().map(Watchdog::due)
    }

    /// Feeds the watchdog, unless something may run that has no right to.
    pub fn feed(&mut self, now: u64) {
        let safe = self.guard.deadline().is_some() || self.is_everything_gone();
        if let Some(watchdog) = &mut self.guard.watchdog {
            watchdog.tend(safe, now);
        }
    }

    /// Nothing of any bound group is left.
    fn is_everything_gone(&self) -> bool {
        self.guard.groups.iter().all(|group| match &group.files {
            Some((_, events)) => is_empty(events),
            None => !self.table.iter().any(|(_, entry)| entry.lives() && group.has(entry.name())),
        })
    }

    /// The term is over: everything of it is killed.
    fn fire(&mut self) {
        // Main processes first, each by itself: the files of control groups have a lock that others on the machine hold for
        // tens of milliseconds while they move processes about.
        self.kill_entries();
        let all = self.guard.kill();
        let killed = clocks::boot();
        self.guard.late = self.guard.deadline().map_or(0, |deadline| killed.saturating_sub(deadline));
        self.guard.send(When::End, 0);
        let at = clocks::boot();
        if let Some(term) = &mut self.guard.term {
            term.fired = Some(at);
        }
        // From here on nothing is urgent.
        if !all {
            self.kill_marked();
        }
        let guard = &self.guard;
        let over = |slot: u32| self.table.get(slot).is_some_and(|e| guard.right(e.name()) == Right::Over);
        let waiting: Vec<u32> = self.waiting.iter().map(|w| w.slot).filter(|&slot| over(slot)).collect();
        waiting.into_iter().for_each(|slot| self.cancel(slot));
        self.guard.news = true;
        if !self.guard.groups.is_empty() {
            say("the right to run has ended: the failover groups are killed");
        }
    }

    /// Every entry of every bound group, whether there are control groups or not.
    fn kill_entries(&self) {
        for (_, entry) in self.table.iter().filter(|(_, entry)| entry.lives()) {
            if self.guard.groups.iter().any(|group| group.has(entry.name())) {
                entry.signal(libc::SIGKILL, true);
                entry.signal(libc::SIGKILL, false);
            }
        }
    }

    /// Without control groups: what has left its session is known by its environment.
    fn kill_marked(&self) {
        let marks = self.guard.groups.iter().filter(|group| group.files.is_none());
        let marks: Vec<Vec<u8>> =
            marks.map(|group| [MARK.as_bytes(), b"=", &group.name, b"/"].concat()).collect();
        for _ in 0..LOOKS {
            let marked = foreign::with_environment(&marks);
            if marked.is_empty() {
                return;
            }
            marked.into_iter().for_each(|pid| crate::sys::kill(pid, libc::SIGKILL, false));
        }
    }

    /// The keeper ends, and what it guarded has ended before it.
    pub fn leave_guard(&mut self) {
        if self.is_everything_gone() {
            self.guard.relax();
        }
    }
}

/// Nothing but zombies, as `cgroup.events` says; a directory that is gone is empty.
fn is_empty(events: &File) -> bool {
    let mut text = [0u8; 128];
    // SAFETY: writes into `text`.
    let n = unsafe { libc::pread(events.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
    let text = text.get(..usize::try_from(n).unwrap_or(0)).unwrap_or_default();
    !text.windows(11).any(|piece| piece == b"populated 1")
}

// ---- handed on to another image -----------------------------------------------------------------------------------

/// What the next image has to know: a term, then groups, each with its two files if it has them.
pub(crate) enum Piece<'a> {
    /// Five numbers.
    Term([u64; 5]),
    /// Its name, its term, its files.
    Group(&'a [u8], u64, Option<[RawFd; 2]>),
    /// Messages of the group before.
    Messages(&'a [u8]),
    /// The watchdog device and its timeout.
    Watchdog(RawFd, u32),
}

impl Guard {
    /// Everything there is to hand on, in order. What the next image takes for itself is given back.
    pub fn hand_on(&mut self, mut put: impl FnMut(Piece)) {
        self.means.give_back();
        let Some(term) = self.term else { return };
        let of = |at: Option<u64>| at.unwrap_or(0);
        put(Piece::Term([term.number, term.hold, of(term.deadline), term.armed, of(term.fired)]));
        for group in &self.groups {
            let files = group.files.as_ref().map(|(kill, events)| [kill.as_raw_fd(), events.as_raw_fd()]);
            put(Piece::Group(&group.name, group.term, files));
            put(Piece::Messages(&group.said));
        }
        if let Some(watchdog) = &self.watchdog {
            put(Piece::Watchdog(watchdog.fd(), watchdog.timeout()));
        }
    }

    /// The other image was not executed: everything is as before.
    pub fn take_back(&mut self) {
        if !self.groups.is_empty() {
            self.means.take();
        }
    }
}

/// A guard on its way from the image before.
#[derive(Default)]
pub(crate) struct Handed {
    /// As in [`Piece::Term`].
    pub term: Option<[u64; 5]>,
    /// Name, term, files, messages.
    pub groups: Vec<HandedGroup>,
    /// Device and timeout.
    pub watchdog: Option<(OwnedFd, u32)>,
}

/// See [`Piece::Group`].
pub(crate) struct HandedGroup {
    pub name: Vec<u8>,
    pub term: u64,
    pub files: Vec<OwnedFd>,
    pub messages: Vec<u8>,
}

impl Handed {
    /// All descriptors.
    pub fn descriptors(&mut self) -> impl Iterator<Item = &mut OwnedFd> {
        let groups = self.groups.iter_mut().flat_map(|group| &mut group.files);
        groups.chain(self.watchdog.as_mut().map(|(fd, _)| fd))
    }
}

impl Keeper {
    /// Goes on where the image before was; the first thing it does is to look at the clock.
    pub fn take_guard(&mut self, handed: Handed) {
        let Some([number, hold, deadline, armed, fired]) = handed.term else { return };
        let some = |at: u64| Some(at).filter(|&at| at > 0);
        let term = Term { number, hold, deadline: some(deadline), armed, fired: some(fired) };
        self.guard.term = Some(term);
        for HandedGroup { name, term, files, messages } in handed.groups {
            let mut files = files.into_iter().map(File::from);
            let files = files.next().zip(files.next());
            let kept = said::read(&messages).flatten().map(|ready| self.guard.sockets.keep(&ready)).collect();
            self.guard.groups.push(Group { name, term, files, said: messages, messages: kept });
        }
        if let Some((device, timeout)) = handed.watchdog {
            self.guard.watchdog = Watchdog::new(device, timeout);
        }
        if self.watch_clocks().is_err() {
            // Nobody would notice the deadline.
            return self.fire();
        }
        self.remember_jumps(hold);
        if let (Some(deadline), Some(clocks)) = (self.guard.deadline(), &mut self.guard.clocks) {
            clocks.set(deadline);
        }
        if !self.guard.groups.is_empty() {
            self.guard.means.take();
            self.guard.rehearse();
        }
        self.look_at_deadline();
    }
}
