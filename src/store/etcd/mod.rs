//! The register in etcd 3.4, 3.5 or 3.6, by its JSON gateway: no code made from its protocol's description, one connection
//! like that of any browser. Five questions are all that is asked: transaction, range, watch, login, state.
//!
//! | what | how |
//! |---|---|
//! | a beat | [`beats`]: hedged over the members, unknown after two beats |
//! | any other transaction | one member, the one that was last good; the next one only if it was certainly not sent |
//! | reading everything | one member after the other |
//! | a watch | [`watch`]: a stream from one member; another when it ends, or is silent though the store has changed |
//! | one member | [`member`]: addresses, connections, login |
//!
//! Members are those of the settings, and no others: an etcd that tells of members at addresses nobody here can reach would
//! be worse than none. **Which cluster it is** is settled by more than half of them saying the same number; from then on
//! whoever says another is not believed, so that a member that was set up anew can give no node a register of its own.

mod beats;
mod gateway;
mod member;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;
use woodward_engine::cluster::{Answer, Key, Name, Transaction};

use self::gateway::{Header, Led, Ranged, Status, Transacted};
use self::member::{Fault, Lane, Member};
use super::http::Place;
use super::tls::{self, Tls, TlsError};
use super::words::Prefix;
use super::{Later, Seat, Snapshot, Store, StoreError, Watched};

/// Where etcd listens unless it is told otherwise.
const PORT: u16 = 2379;

/// What the settings say of a store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses of all members: `http://h1:2379`, `https://...`, `h1`.
    pub members: Vec<String>,
    /// Name of the cluster: its keys are below `/woodward/CLUSTER/`.
    pub cluster: Name,
    /// The rhythm of this node; also the measure of patience.
    pub beat: Duration,
    /// Who logs in; `None`: nobody.
    pub user: Option<User>,
    /// For https; `None`: whom this system trusts, and no certificate is shown.
    pub tls: Option<tls::Files>,
}

/// A login.
#[derive(Clone)]
pub struct User {
    /// Name.
    pub name: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for User {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a store cannot even be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Nobody is named.
    #[error("cannot use etcd: no member is named")]
    Nobody,
    /// A member is no address.
    #[error("cannot use {member} as a member of etcd: {why}")]
    Member {
        /// As it was written.
        member: String,
        /// What is wrong.
        why: String,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How much was asked since this handle was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Beats, each time one was sent to a member.
    pub beats: u64,
    /// Other transactions.
    pub transactions: u64,
    /// All else: reading, watching, logins, questions for the state.
    pub others: u64,
}

/// A store in etcd. Cheap to clone; the last clone closes all connections.
#[derive(Clone, Debug)]
pub struct Etcd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    members: Vec<Arc<Member>>,
    common: Arc<Common>,
    prefix: Prefix,
    beat: Duration,
    /// Which member was last good for something that is no beat.
    last: AtomicUsize,
    /// Whose turn it is to be asked first for a beat.
    turn: AtomicUsize,
    /// Where the store's leader is is being asked.
    asking: AtomicBool,
    /// Of which of the store's terms the leader is known.
    led: AtomicU64,
}

/// What all members share.
#[derive(Debug)]
struct Common {
    user: Option<User>,
    tls: Option<Tls>,
    /// Which cluster it is, once that is settled.
    cluster: OnceLock<u64>,
    /// The greatest revision that was answered to a transaction of this side.
    written: AtomicU64,
    /// The store's own term as of the last answer; a new one may have a new leader.
    raft: AtomicU64,
    beats: AtomicU64,
    transactions: AtomicU64,
    others: AtomicU64,
}

impl Common {
    /// Whether an answer may be believed; else why not.
    fn check(&self, header: &Header) -> Result<(), String> {
        self.raft.fetch_max(header.raft_term, Ordering::Relaxed);
        match self.cluster.get() {
            _ if header.cluster_id == 0 => {
                Err("it talks nonsense: it does not say which cluster it is of".to_owned())
            }
            Some(cluster) if *cluster != header.cluster_id => {
                Err(format!("it is of another etcd cluster ({:x}, not {cluster:x})", header.cluster_id))
            }
            _ => Ok(()),
        }
    }

    fn count(&self, lane: Lane, path: &str) {
        let counter = match (lane, path) {
            (Lane::Beat, _) => &self.beats,
            (Lane::Call, "/v3/kv/txn") => &self.transactions,
            _ => &self.others,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Etcd {
    /// Gets everything ready; nothing is asked yet, so that a store that is away is no error here. To be called within a
    /// runtime of tokio.
    pub fn open(settings: Settings) -> Result<Etcd, OpenError> {
        let Settings { members, cluster, beat, user, tls } = settings;
        let mut places = Vec::new();
        for member in members {
            match Place::read(&member, Some(PORT)) {
                Ok(place) if place.path == "/" => places.push((member, place)),
                Ok(place) => {
                    let why = format!("nothing may follow the port, and {} does", place.path);
                    return Err(OpenError::Member { member, why });
                }
                Err(why) => return Err(OpenError::Member { member, why }),
            }
        }
        if places.is_empty() {
            return Err(OpenError::Nobody);
        }
        let secure = places.iter().any(|(_, place)| place.secure);
        let tls = if secure { Some(Tls::open(&tls.unwrap_or_default())?) } else { None };
        let common = Arc::new(Common {
            user,
            tls,
            cluster: OnceLock::new(),
            written: AtomicU64::new(0),
            raft: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            others: AtomicU64::new(0),
        });
        let members =
            places.into_iter().map(|(name, place)| Arc::new(Member::new(name, place, common.clone())));
        Ok(Etcd(Arc::new(Shared {
            members: members.collect(),
            common,
            prefix: Prefix::of(&cluster),
            beat,
            last: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            asking: AtomicBool::new(false),
            led: AtomicU64::new(0),
        })))
    }

    /// How much was asked so far.
    pub fn asked(&self) -> Asked {
        let Common { beats, transactions, others, .. } = &*self.0.common;
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Asked { beats: now(beats), transactions: now(transactions), others: now(others) }
    }
}

impl Shared {
    /// Anything but a beat that has no answer by then has none. Four beats, but never so short that a slow disk is taken for a dead
    /// member, nor so long that a takeover waits for one.
    fn patience(&self) -> Duration {
        (self.beat * 4).clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// All members, the one that was last good first, then others that are.
    fn by_merit(&self) -> Vec<(usize, Arc<Member>)> {
        let last = self.last.load(Ordering::Relaxed);
        let mut all: Vec<_> = self.members.iter().cloned().enumerate().collect();
        all.sort_by_key(|(at, member)| (!member.is_good(), *at != last, *at));
        all
    }

    /// Settles which cluster this is, unless it is settled.
    async fn settled(self: &Arc<Self>) -> Result<(), StoreError> {
        let cluster = &self.common.cluster;
        if cluster.get().is_some() {
            return Ok(());
        }
        let until = Instant::now() + self.patience();
        let mut asked = JoinSet::new();
        for member in self.members.iter().cloned() {
            asked.spawn(async move { (member.state(until).await, member) });
        }
        let mut said: Vec<u64> = Vec::new();
        let mut faults = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((Ok(status), _)) => said.push(status.header.cluster_id),
                Ok((Err(fault), member)) => faults.push(fault.error(&member)),
                Err(_) => {}
            }
            let most = said.last().map_or(0, |last| said.iter().filter(|id| *id == last).count());
            if let Some(last) = said.last().filter(|_| most * 2 > self.members.len()) {
                // Whoever else has settled it meanwhile has asked the same members.
                let settled = *cluster.get_or_init(|| *last);
                tracing::info!("the store is the etcd cluster {settled:x}");
                asked.detach_all();
                return Ok(());
            }
        }
        said.sort_unstable();
        said.dedup();
        let (of, members) = (self.members.len(), "members");
        Err(match faults.into_iter().next() {
            _ if said.len() > 1 => StoreError::Refused {
                member: "all its members".to_owned(),
                why: "they are of different etcd clusters, and none has more than half of them".to_owned(),
            },
            Some(StoreError::Away { member, why }) if !said.is_empty() => StoreError::Away {
                member,
                why: format!("{why}; more than half of {of} {members} must answer at first"),
            },
            Some(error) => error,
            None => StoreError::Away { member: "any member".to_owned(), why: "nobody answers".to_owned() },
        })
    }

    /// Asks who leads if the store's term is another one than when it was last known, behind everybody's back.
    fn look_for_leader(self: &Arc<Self>) {
        let term = self.common.raft.load(Ordering::Relaxed);
        if term <= self.led.load(Ordering::Relaxed) || self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let until = Instant::now() + this.patience();
            let mut asked = JoinSet::new();
            for member in &this.members {
                let member = member.clone();
                asked.spawn(async move { member.state(until).await });
            }
            let mut newest = Status::default();
            while let Some(answer) = asked.join_next().await {
                if let Ok(Ok(status)) = answer
                    && status.leader != 0
                    && status.header.raft_term >= newest.header.raft_term
                {
                    newest = status;
                }
            }
            if newest.leader != 0 {
                for member in &this.members {
                    member.note_leader(newest.leader);
                }
                this.led.fetch_max(newest.header.raft_term, Ordering::Relaxed);
            }
            this.asking.store(false, Ordering::Release);
        });
    }

    /// A transaction, through one member, or, if it was certainly not sent, through another.
    async fn commit(self: &Arc<Self>, transaction: &Transaction) -> Answer {
        if self.settled().await.is_err() {
            return Answer::Unknown;
        }
        let body = gateway::transaction(&self.prefix, transaction);
        let until = Instant::now() + self.patience();
        for (at, member) in self.by_merit() {
            match member.ask::<Transacted>(Lane::Call, "/v3/kv/txn", body.clone(), until).await {
                Ok(answer) => {
                    self.last.store(at, Ordering::Relaxed);
                    return self.answered(&answer);
                }
                Err(fault) if fault.perhaps => return Answer::Unknown,
                Err(_) => {}
            }
        }
        Answer::Unknown
    }

    fn answered(self: &Arc<Self>, answer: &Transacted) -> Answer {
        self.look_for_leader();
        if !answer.succeeded {
            return Answer::Refused;
        }
        let revision = answer.header.revision;
        self.common.written.fetch_max(revision, Ordering::Relaxed);
        Answer::Done(revision)
    }

    /// A range, which may be asked again and again: of one member after the other.
    async fn range(self: &Arc<Self>, body: hyper::body::Bytes) -> Result<Ranged, StoreError> {
        self.settled().await?;
        let mut last = None;
        for (at, member) in self.by_merit() {
            let until = Instant::now() + self.patience();
            match member.ask::<Ranged>(Lane::Call, "/v3/kv/range", body.clone(), until).await {
                Ok(answer) => {
                    self.last.store(at, Ordering::Relaxed);
                    self.look_for_leader();
                    return Ok(answer);
                }
                Err(fault) => last = Some(fault.error(&member)),
            }
        }
        Err(last
            .unwrap_or(StoreError::Away { member: "any member".to_owned(), why: "none is left".to_owned() }))
    }

    async fn read(self: &Arc<Self>) -> Result<Snapshot, StoreError> {
        let answer = self.range(gateway::range(&self.prefix)).await?;
        let mut entries = Vec::new();
        for entry in answer.kvs {
            match self.prefix.read(&entry.key, &entry.value) {
                Ok((key, value)) => entries.push((key, entry.mod_revision, value)),
                Err(nonsense) => tracing::warn!("{nonsense}"),
            }
        }
        entries.sort_by(|one: &(Key, _, _), other| one.0.cmp(&other.0));
        Ok(Snapshot { revision: answer.header.revision, entries })
    }

    async fn lead(self: &Arc<Self>, wanted: &str) -> Result<(), StoreError> {
        let refused = |why: &str| Err(StoreError::Refused { member: wanted.to_owned(), why: why.to_owned() });
        self.settled().await?;
        let until = Instant::now() + self.patience();
        let Some(to) = self.members.iter().find(|member| member.name == wanted) else {
            return refused("the settings name no such member");
        };
        let status = to.state(until).await.map_err(|fault| fault.error(to))?;
        let id = status.header.member_id;
        if status.leader == id {
            return Ok(());
        }
        for member in &self.members {
            if member.id().is_none() {
                // One that does not answer does not lead either.
                let _ = member.state(until).await;
            }
        }
        let Some(leader) = self.members.iter().find(|member| member.id() == Some(status.leader)) else {
            return refused("its leader is not among the members that the settings name");
        };
        let body = gateway::lead(id);
        let asked = leader.ask::<Led>(Lane::Call, "/v3/maintenance/transfer-leadership", body, until);
        asked.await.map_err(|fault| fault.error(leader))?;
        self.members.iter().for_each(|member| member.note_leader(id));
        Ok(())
    }
}

impl Member {
    /// Asks it for its state, which says whose member it is and who leads.
    async fn state(self: &Arc<Self>, until: Instant) -> Result<Status, Fault> {
        self.ask(Lane::Call, gateway::STATUS, "{}".into(), until).await
    }
}

impl Store for Etcd {
    fn commit(&self, transaction: Transaction, beat: bool) -> Later<Answer> {
        let shared = self.0.clone();
        Box::pin(async move {
            match beat {
                true => beats::hedged(&shared, &transaction).await,
                false => shared.commit(&transaction).await,
            }
        })
    }

    fn read(&self) -> Later<Result<Snapshot, StoreError>> {
        let shared = self.0.clone();
        Box::pin(async move { shared.read().await })
    }

    fn watch(&self, after: u64) -> UnboundedReceiver<Watched> {
        let (news, receiver) = unbounded_channel();
        tokio::spawn(watch::run(self.0.clone(), after, news));
        receiver
    }

    fn members(&self) -> Vec<Seat> {
        self.0.members.iter().map(|member| member.seat()).collect()
    }

    fn lead(&self, member: &str) -> Later<Result<(), StoreError>> {
        let (shared, member) = (self.0.clone(), member.to_owned());
        Box::pin(async move { shared.lead(&member).await })
    }
}
