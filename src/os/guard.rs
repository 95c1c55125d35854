//! The daemon's side of the guard: the keeper holds the deadline of this node's failover groups, this side asks it to, and
//! watches that it does.
//!
//! ```text
//! begin(term) ─► Began   bind(group)   arm(n, deadline) ─► Armed(n) ...                    the deadline passes ─► Fired
//!                                        └─ no answer: HOLD/3 ► SIGCONT, HOLD × 2/3 ► kill, Unguarded, SIGKILL to the keeper
//! ```
//!
//! Whoever may run is whoever has an answer: the daemon sends the next beat only when the keeper has armed the last one, so a
//! keeper that is stopped ends the right to run as one that is dead does. What this side can do without it is to kill:
//! it has the `cgroup.kill` of every bound group open, too. It cannot renew anything.
//!
//! When the keeper is gone, everything bound is killed and waited for; only then the end of the channel is told, and the
//! daemon ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use woodward_engine::Time;
use woodward_engine::cluster::Term;
use woodward_keeper::wire::guard::{self as said, Standing};
use woodward_keeper::wire::{MESSAGE, NAME, Order};

use super::cgroup::Cgroups;
use super::client::Client;
use super::group::TreeGroup;
use super::socket::Descriptor;
use super::{Os, family};

/// Whoever wakes so much later than it wanted to looks once more before it judges others.
const LATE: Duration = Duration::from_millis(50);
/// How long the end of the channel waits for bound groups to be empty.
const EMPTY: Duration = Duration::from_secs(5);
/// Room for a record's head and a name, in a message to the keeper.
const ROOM: usize = MESSAGE / 2;

/// The guard, as the keeper holds it for this daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    client: Arc<Client>,
}

/// What the keeper of this daemon held already when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The last term that began.
    pub term: Term,
    /// When it was over and everything of it killed, on the clock of [`super::clock::lasting`]; `None`: it stands.
    pub fired: Option<Time>,
    /// Its deadline; `None`: it was never armed.
    pub deadline: Option<Time>,
    /// Number of the last arming that was accepted; 0: none.
    pub armed: u64,
    /// Groups that are bound, each to its term.
    pub groups: Vec<(Arc<str>, Term)>,
    /// What the keeper has to be in time.
    pub means: Means,
}

/// What the keeper has to be in time; what it does not have was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// Its memory is locked.
    pub memory: bool,
    /// It goes before every ordinary process.
    pub real_time: bool,
    /// It feeds a watchdog device.
    pub watchdog: bool,
}

/// What the guard tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// The keeper holds this term.
    Began {
        /// Which.
        term: Term,
        /// With what.
        means: Means,
    },
    /// The keeper holds this deadline, and the renewals are sent.
    Armed {
        /// Of which term.
        term: Term,
        /// Number of the arming, and of all before.
        number: u64,
        /// Renewals that the kernel refused.
        refused: Option<Refusal>,
    },
    /// The right to run is over; everything bound was killed.
    Fired {
        /// Which term.
        term: Term,
        /// When, on the clock of [`super::clock::lasting`].
        at: Time,
    },
    /// The watchdog device is not to be had: why.
    NoWatchdog(String),
    /// There is no keeper any more, or none that answers; this side has killed everything bound.
    Unguarded,
}

/// Renewals that were not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How many messages.
    pub messages: u32,
    /// What the kernel said to the first.
    pub errno: i32,
}

/// A message by which the keeper renews something the network sees; see [`super::net`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// `NETLINK_ROUTE` or `NETLINK_NETFILTER`.
    pub protocol: i32,
    /// Sent when there is a new deadline, the lifetime in all its places.
    pub renew: Vec<u8>,
    /// Where the lifetime is in it.
    pub places: Vec<Place>,
    /// Sent when the right to run is over, whatever lifetime is left. The answer does not matter.
    pub end: Vec<u8>,
}

/// Where a lifetime is in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from its beginning.
    pub at: u32,
    /// How it is written there.
    pub unit: Unit,
}

/// How a lifetime is written; always rounded down, and a message with a lifetime of none is not sent (with a `hold` under
/// two seconds a second always is).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Four bytes in the machine's order: seconds.
    Seconds,
    /// Eight bytes in the network's order: milliseconds.
    Milliseconds,
}

/// Why the guard does not do it.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The keeper is a thread of this program: it ends with what it is to watch.
    #[error("cannot hold a deadline: woodward runs as a library of another program")]
    Library,
    /// The keeper is gone, or does not answer.
    #[error("cannot hold a deadline: there is no keeper")]
    Unguarded,
    /// The group cannot be killed as a whole.
    #[error("cannot bind {group}: {why}")]
    Group {
        /// Which.
        group: String,
        /// Why.
        why: io::Error,
    },
    /// Too many addresses and groups of the gate.
    #[error("cannot bind {0}: its renewals are too long")]
    TooLong(String),
    /// Something of it still runs.
    #[error("cannot unbind {group}: processes {left:?} are left")]
    Busy {
        /// Which.
        group: String,
        /// Process ids.
        left: Vec<i32>,
    },
    /// There is no such watchdog device.
    #[error("cannot open the watchdog {path}: {why}")]
    Watchdog {
        /// Which.
        path: String,
        /// Why.
        why: io::Error,
    },
}

impl GuardError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            GuardError::Library => Some("run the tree by `woodward run`"),
            GuardError::Group { why, .. } if why.kind() == io::ErrorKind::NotFound => {
                Some("failover needs cgroup.kill: Linux 5.14 or later")
            }
            GuardError::Watchdog { why, .. } if why.raw_os_error() == Some(libc::EBUSY) => {
                Some("another program feeds it already")
            }
            _ => None,
        }
    }
}

// ---- what is known of it here -----------------------------------------------------------------------------------------

/// The client's part.
pub(super) struct Watch {
    /// Our own keeper; `None`: it is a thread of this program, or not our parent.
    keeper: Option<OwnedFd>,
    held: Option<Held>,
    known: Mutex<Known>,
}

struct Known {
    standing: Standing,
    hold: Duration,
    groups: BTreeMap<Arc<str>, Bound>,
    /// The keeper is gone or was given up.
    unguarded: bool,
    events: UnboundedSender<GuardEvent>,
    receiver: Option<UnboundedReceiver<GuardEvent>>,
    on_fired: Option<Arc<dyn Fn(Term) + Send + Sync>>,
    watchdog: Option<Watchdog>,
}

/// A device that is to be fed while something is bound.
struct Watchdog {
    path: PathBuf,
    timeout: Duration,
    /// The keeper was given it, or it was not to be had, and that was told.
    asked: bool,
}

struct Bound {
    /// `None`: there are no control groups.
    group: Option<TreeGroup>,
    kill: Option<File>,
}

impl Watch {
    /// `keeper`: its process id; `standing`, `bound`: from the snapshot.
    pub fn new(
        keeper: i32,
        standing: Option<Standing>,
        bound: Vec<(Arc<str>, u64)>,
        cgroups: Option<&Cgroups>,
    ) -> Watch {
        let of_tree = |name: &Arc<str>| {
            let group = cgroups.map(|cgroups| TreeGroup::of(cgroups, name));
            let kill = group.as_ref().and_then(|group| group.kill_file().ok()).map(File::from);
            Bound { group, kill }
        };
        let (events, receiver) = unbounded_channel();
        let time = |at: u64| (at > 0).then_some(Time(at));
        let held = standing.map(|standing| Held {
            term: Term(standing.term),
            fired: time(standing.fired),
            deadline: time(standing.deadline),
            armed: standing.armed,
            groups: bound.iter().map(|(group, term)| (group.clone(), Term(*term))).collect(),
            means: means(standing.means),
        });
        Watch {
            keeper: parent(keeper),
            held,
            known: Mutex::new(Known {
                standing: standing.unwrap_or_default(),
                hold: Duration::MAX,
                groups: bound.iter().map(|(name, _)| (name.clone(), of_tree(name))).collect(),
                unguarded: false,
                events,
                receiver: Some(receiver),
                on_fired: None,
                watchdog: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keeper says how it stands.
    pub fn heard(&self, standing: Standing) {
        let mut known = self.lock();
        let before = std::mem::replace(&mut known.standing, standing);
        if known.unguarded {
            return;
        }
        if before.means & !standing.means & said::WATCHDOG != 0
            && let Some(watchdog) = &mut known.watchdog
        {
            // Given up in order, for nothing was bound.
            watchdog.asked = false;
        }
        let term = Term(standing.term);
        let tell = |event| {
            // Nobody listens: there is no cluster.
            let _ = known.events.send(event);
        };
        if standing.term != before.term {
            tell(GuardEvent::Began { term, means: means(standing.means) });
        }
        if standing.armed > 0 && (standing.term, standing.armed) != (before.term, before.armed) {
            let (messages, errno) = (standing.refused, standing.errno);
            let refused = (messages > 0).then_some(Refusal { messages, errno });
            tell(GuardEvent::Armed { term, number: standing.armed, refused });
        }
        if standing.fired > 0 && (standing.term, standing.fired) != (before.term, before.fired) {
            let on_fired = known.on_fired.clone();
            tell(GuardEvent::Fired { term, at: Time(standing.fired) });
            drop(known);
            if let Some(on_fired) = on_fired {
                on_fired(term);
            }
        }
    }

    /// SIGKILL to everything bound, by this side.
    fn kill(&self) {
        for (name, bound) in &mut self.lock().groups {
            if bound.kill.as_mut().is_some_and(|kill| kill.write_all(b"1").is_ok()) {
                continue;
            }
            match &bound.group {
                Some(group) => group.kill(),
                None => family::of_tree(name).into_iter().for_each(kill_process),
            }
        }
    }

    fn signal(&self, signal: i32) {
        if let Some(keeper) = &self.keeper {
            // SAFETY: plain call.
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, keeper.as_raw_fd(), signal, 0usize, 0) };
        }
    }

    /// The keeper is gone, or as good as gone: this side kills, and says so once.
    fn unguarded(&self) {
        self.kill();
        let mut known = self.lock();
        if !std::mem::replace(&mut known.unguarded, true) && !known.groups.is_empty() {
            let _ = known.events.send(GuardEvent::Unguarded);
        }
    }

    fn is_answered(&self, term: u64, number: u64) -> bool {
        let known = self.lock();
        let Standing { term: standing, armed, fired, .. } = known.standing;
        known.unguarded || standing != term || armed >= number || fired > 0
    }
}

/// The process with this number, if it is our parent.
fn parent(pid: i32) -> Option<OwnedFd> {
    // SAFETY: plain calls; the descriptor is new.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
        let fd = (fd >= 0).then(|| OwnedFd::from_raw_fd(fd));
        // Asked behind it: as long as it is our parent, the number was its.
        fd.filter(|_| libc::getppid() == pid)
    }
}

fn kill_process(pid: i32) {
    // SAFETY: plain call.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

fn means(bits: u8) -> Means {
    Means {
        memory: bits & said::MEMORY != 0,
        real_time: bits & said::REAL_TIME != 0,
        watchdog: bits & said::WATCHDOG != 0,
    }
}

// ---- orders -------------------------------------------------------------------------------------------------------

impl Os {
    /// The guard of this node.
    pub fn guard(&self) -> Guard {
        Guard { client: self.client.clone() }
    }

    /// Ends everything of a group and waits until nothing is left, at most `within`; else who is left. For what an earlier
    /// keeper has left behind, and for what was killed at a deadline.
    pub async fn sweep_group(&self, group: &str, within: Duration) -> Result<(), Vec<i32>> {
        let tree = self.tree_group(group);
        let cleared = async {
            match &tree {
                Some(tree) => tree.cleared().await,
                None => family::tree_cleared(group).await,
            }
        };
        match tokio::time::timeout(within, cleared).await {
            Ok(()) => Ok(()),
            Err(_) => Err(left(tree.as_ref(), group))
                .or_else(|left| if left.is_empty() { Ok(()) } else { Err(left) }),
        }
    }
}

/// The processes of a group.
fn left(tree: Option<&TreeGroup>, group: &str) -> Vec<i32> {
    tree.map_or_else(|| family::of_tree(group), TreeGroup::processes)
}

impl Guard {
    /// What there was already; `None`: this keeper has never held a term.
    pub fn found(&self) -> Option<Held> {
        self.watch().held.clone()
    }

    /// What happens. One receiver: the first call has it.
    pub fn events(&self) -> UnboundedReceiver<GuardEvent> {
        self.watch().lock().receiver.take().unwrap_or_else(|| unbounded_channel().1)
    }

    /// Called when the keeper says that a term is over, before any end of a process it was killed for is told; on the
    /// daemon's one thread, must not block.
    pub fn on_fired(&self, called: impl Fn(Term) + Send + Sync + 'static) {
        self.watch().lock().on_fired = Some(Arc::new(called));
    }

    /// A term begins, greater than every one before; a deadline lies at most `hold` ahead. One that stands is ended.
    /// Outcome: `Began`.
    pub fn begin(&self, term: Term, hold: Duration) -> Result<(), GuardError> {
        if self.watch().keeper.is_none() {
            return Err(GuardError::Library);
        }
        let mut known = self.watch().lock();
        if known.unguarded {
            return Err(GuardError::Unguarded);
        }
        known.hold = hold;
        drop(known);
        self.order(&Order::Begin { term: term.0, hold: hold.as_millis() as u64 }, Vec::new());
        Ok(())
    }

    /// A daemon that goes on with what it found says how long `hold` is, for its watch over the keeper.
    pub fn resume(&self, hold: Duration) {
        self.watch().lock().hold = hold;
    }

    /// This group dies with the term. Of one that is bound already the renewals are replaced. If a deadline stands they are
    /// sent at once. Refused by a term that does not stand: then `Fired` was told, or will be.
    pub fn bind(&self, group: &str, term: Term, renewals: &[Renewal]) -> Result<(), GuardError> {
        let messages = messages(renewals).filter(|m| m.len() < ROOM && group.len() <= NAME);
        let messages = messages.ok_or_else(|| GuardError::TooLong(group.to_owned()))?;
        let wrong = |why| GuardError::Group { group: group.to_owned(), why };
        let (tree, mut descriptors) = (self.tree(group), Vec::new());
        let mut kill = None;
        if let Some(tree) = &tree {
            let file = tree.kill_file().map_err(wrong)?;
            kill = Some(file.try_clone().map(File::from).map_err(wrong)?);
            descriptors = vec![Descriptor::Own(file), Descriptor::Own(tree.events_file().map_err(wrong)?)];
        }
        self.watch().lock().groups.insert(group.into(), Bound { group: tree, kill });
        let cgroup = !descriptors.is_empty();
        let order = Order::Bind { group: group.as_bytes(), term: term.0, cgroup, messages: &messages };
        self.order(&order, descriptors);
        Ok(())
    }

    /// The right to run lasts until `deadline`. Outcome: `Armed`; none if it comes too late, or lies more than `hold` ahead.
    pub fn arm(&self, term: Term, number: u64, deadline: Time) {
        self.order(&Order::Arm { term: term.0, number, deadline: deadline.0 }, Vec::new());
        self.give_watchdog();
        let hold = self.watch().lock().hold;
        if hold < Duration::MAX {
            tokio::spawn(watch(Arc::downgrade(&self.client), term.0, number, hold));
        }
    }

    /// Nothing of this group runs any more.
    pub fn unbind(&self, group: &str) -> Result<(), GuardError> {
        let left = left(self.tree(group).as_ref(), group);
        if !left.is_empty() {
            return Err(GuardError::Busy { group: group.to_owned(), left });
        }
        self.watch().lock().groups.remove(group);
        self.order(&Order::Unbind { group: group.as_bytes() }, Vec::new());
        Ok(())
    }

    /// The term is over now. Outcome: `Fired`, if it stood.
    pub fn end(&self, term: Term) {
        self.order(&Order::EndTerm { term: term.0 }, Vec::new());
    }

    /// From now on the keeper feeds this device while something is bound: it resets the machine `timeout` after the keeper has
    /// stopped doing so. It is opened when it is needed, for from then on it counts; fails if there is no such file.
    pub fn use_watchdog(&self, path: &Path, timeout: Duration) -> Result<(), GuardError> {
        path.metadata().map_err(|why| GuardError::Watchdog { path: path.display().to_string(), why })?;
        self.watch().lock().watchdog = Some(Watchdog { path: path.to_owned(), timeout, asked: false });
        Ok(())
    }

    /// Hands the device to the keeper, if there is one, something is bound, and the keeper has none.
    fn give_watchdog(&self) {
        let mut known = self.watch().lock();
        let wanted = !known.groups.is_empty() && known.standing.means & said::WATCHDOG == 0;
        let Some(watchdog) = known.watchdog.as_mut().filter(|watchdog| wanted && !watchdog.asked) else {
            return;
        };
        watchdog.asked = true;
        let timeout = u32::try_from(watchdog.timeout.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        match File::options().write(true).open(&watchdog.path) {
            Ok(device) => {
                drop(known);
                self.order(&Order::Watchdog { timeout }, vec![Descriptor::Own(device.into())]);
            }
            Err(why) => {
                let error = GuardError::Watchdog { path: watchdog.path.display().to_string(), why };
                let _ = known.events.send(GuardEvent::NoWatchdog(error.to_string()));
            }
        }
    }

    fn watch(&self) -> &Watch {
        &self.client.guard
    }

    fn tree(&self, group: &str) -> Option<TreeGroup> {
        Os { client: self.client.clone() }.tree_group(group)
    }

    fn order(&self, order: &Order, descriptors: Vec<Descriptor>) {
        self.client.order(&mut self.client.lock(), order, descriptors);
    }
}

/// As the keeper wants them; `None`: a place lies too far behind.
fn messages(renewals: &[Renewal]) -> Option<Vec<u8>> {
    let mut list = Vec::new();
    for renewal in renewals {
        let patch = |place: &Place| {
            let (form, unit) = match place.unit {
                Unit::Seconds => (said::Form::Native32, said::Unit::Seconds),
                Unit::Milliseconds => (said::Form::Big64, said::Unit::Milliseconds),
            };
            let offset = u16::try_from(place.at).ok()?;
            (offset as usize + form.width() <= renewal.renew.len()).then_some(said::Patch {
                offset,
                form,
                unit,
            })
        };
        let patches: Vec<_> = renewal.places.iter().map(patch).collect::<Option<_>>()?;
        let protocol = u8::try_from(renewal.protocol).ok()?;
        if patches.len() > usize::from(u8::MAX) {
            return None;
        }
        if !renewal.renew.is_empty() {
            said::write(&mut list, said::When::Arm, protocol, &renewal.renew, &patches);
        }
        if !renewal.end.is_empty() {
            said::write(&mut list, said::When::End, protocol, &renewal.end, &[]);
        }
    }
    Some(list)
}

// ---- the watch over the keeper --------------------------------------------------------------------------------------

/// Waits for the answer to an arming, and does without the keeper if there is none.
async fn watch(client: Weak<Client>, term: u64, number: u64, hold: Duration) {
    let start = Instant::now();
    for (at, last) in [(hold / 3, false), (hold * 2 / 3, true)] {
        tokio::time::sleep_until(start + at).await;
        if start.elapsed() > at + LATE {
            // It was this process that did not run: what the keeper has answered is still to be read.
            tokio::time::sleep(LATE).await;
        }
        let Some(client) = client.upgrade() else { return };
        if client.guard.is_answered(term, number) {
            return;
        }
        if last {
            client.guard.unguarded();
            client.guard.signal(libc::SIGKILL);
        } else {
            client.guard.signal(libc::SIGCONT);
        }
    }
}

impl Client {
    /// The keeper is gone: nothing it has guarded runs on.
    pub async fn unguarded(&self) {
        self.guard.unguarded();
        let groups: Vec<(Arc<str>, Option<TreeGroup>)> = {
            let known = self.guard.lock();
            known.groups.iter().map(|(name, bound)| (name.clone(), bound.group.clone())).collect()
        };
        let emptied = async {
            for (name, group) in groups {
                match group.or_else(|| self.tree_group(&name)) {
                    Some(group) => group.cleared().await,
                    None => family::tree_cleared(&name).await,
                }
            }
        };
        // What does not die is nobody's to wait for: the other nodes do not know of it either.
        let _ = tokio::time::timeout(EMPTY, emptied).await;
    }
}
