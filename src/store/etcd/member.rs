//! One member of etcd: its addresses, its connections, its login, and what is known of it.
//!
//! A question takes a connection that is idle, or makes one, and gives it back when the whole answer has come; a connection
//! on which anything else happened is thrown away. Beats have connections of their own. Addresses are looked up once, and
//! again behind the back of whoever asks when none of them can be reached any more.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use serde::de::DeserializeOwned;
use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::gateway::{self, Headed, LoggedIn, Problem, STATUS, Status};
use super::{Common, User};
use crate::store::http::{self, Connection, Place};
use crate::store::{Seat, StoreError};

/// After a login that was refused, or a name that nobody knows, it is not tried again for so long.
const AGAIN: Duration = Duration::from_secs(2);
/// More idle connections of one kind are not kept.
const IDLE: usize = 2;

/// What a question is about: each kind has connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// A beat.
    Beat,
    /// Anything else.
    Call,
}

/// Why a member gave no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// It may have done what it was asked. `false`: certainly not.
    pub perhaps: bool,
    /// It answered, and refused.
    pub refused: bool,
    /// What happened, in words.
    pub why: String,
}

impl Fault {
    pub(super) fn away(perhaps: bool, why: impl Into<String>) -> Fault {
        Fault { perhaps, refused: false, why: why.into() }
    }

    pub(super) fn refused(perhaps: bool, why: impl Into<String>) -> Fault {
        Fault { perhaps, refused: true, why: why.into() }
    }

    /// For whoever reads.
    pub(super) fn error(self, member: &Member) -> StoreError {
        let (member, why) = (member.name.clone(), self.why);
        if self.refused { StoreError::Refused { member, why } } else { StoreError::Away { member, why } }
    }
}

#[derive(Debug)]
pub(super) struct Member {
    /// As the settings name it.
    pub name: String,
    place: Place,
    common: Arc<Common>,
    known: Mutex<Known>,
    beats: Mutex<Vec<Connection>>,
    calls: Mutex<Vec<Connection>>,
    /// Its place is a number: there is nothing to look up.
    numeric: bool,
    /// A look-up has ended.
    looked: Notify,
    /// Held by whoever logs in.
    login: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    /// At none of them did anybody answer when it was last tried.
    unreachable: bool,
    /// A look-up is under way.
    looking: bool,
    /// Not to be looked up before.
    look_again: Option<Instant>,
    /// Why the last look-up failed.
    no_address: Option<String>,
    token: Option<Arc<str>>,
    /// Why the last login was refused, and when the next may be tried.
    no_login: Option<(Instant, String)>,
    /// The last question was answered in time.
    good: bool,
    fault: Option<String>,
    id: Option<u64>,
    leads: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    pub(super) fn new(name: String, place: Place, common: Arc<Common>) -> Member {
        let fixed = place.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, place.port));
        let known = Known { addresses: fixed.into_iter().collect(), ..Known::default() };
        Member {
            name,
            place,
            common,
            known: Mutex::new(known),
            beats: Mutex::default(),
            calls: Mutex::default(),
            numeric: fixed.is_some(),
            looked: Notify::new(),
            login: tokio::sync::Mutex::new(()),
        }
    }

    /// The last question was answered, and in time.
    pub(super) fn is_good(&self) -> bool {
        lock(&self.known).good
    }

    /// It keeps somebody waiting.
    pub(super) fn is_slow(&self) {
        lock(&self.known).good = false;
    }

    pub(super) fn seat(&self) -> Seat {
        let known = lock(&self.known);
        Seat { member: self.name.clone(), fault: known.fault.clone(), leads: known.leads }
    }

    /// Its number in the cluster, if it has ever answered.
    pub(super) fn id(&self) -> Option<u64> {
        lock(&self.known).id
    }

    pub(super) fn note_leader(&self, leader: u64) {
        let mut known = lock(&self.known);
        known.leads = leader != 0 && known.id == Some(leader);
    }

    /// Remembers what it did, and tells what is new.
    pub(super) fn note(&self, fault: Option<&str>) {
        let mut known = lock(&self.known);
        known.good = fault.is_none();
        if known.fault.as_deref() != fault {
            match fault {
                Some(why) => tracing::warn!(member = %self.name, why, "a member of the store cannot be used"),
                None => tracing::info!(member = %self.name, "a member of the store can be used again"),
            }
            known.fault = fault.map(str::to_owned);
        }
    }

    /// Asks it one thing; whatever comes of it is known by `until`.
    pub(super) async fn ask<T: DeserializeOwned + Headed>(
        self: &Arc<Self>,
        lane: Lane,
        path: &str,
        body: Bytes,
        until: Instant,
    ) -> Result<T, Fault> {
        let answer = self.asked(lane, path, body, until).await;
        self.note(answer.as_ref().err().map(|fault| fault.why.as_str()));
        answer
    }

    async fn asked<T: DeserializeOwned + Headed>(
        self: &Arc<Self>,
        lane: Lane,
        path: &str,
        body: Bytes,
        until: Instant,
    ) -> Result<T, Fault> {
        for again in [true, false] {
            let token = self.token(until).await?;
            match self.told(lane, path, token.as_deref(), body.clone(), until).await {
                Err(Refusal::Problem(problem)) if again && token.is_some() && problem.is_login() => {
                    self.forget(token.as_ref());
                }
                answer => return answer.map_err(Refusal::fault),
            }
        }
        Err(Fault::refused(false, "it does not know its own login"))
    }

    /// One question with all of its answer.
    async fn told<T: DeserializeOwned + Headed>(
        self: &Arc<Self>,
        lane: Lane,
        path: &str,
        token: Option<&str>,
        body: Bytes,
        until: Instant,
    ) -> Result<T, Refusal> {
        let (mut connection, status, incoming) = self.sent(lane, path, token, body, until).await?;
        let body = match timeout_at(until, http::whole(incoming)).await {
            Ok(Ok(body)) => body,
            Ok(Err(why)) => return Err(Refusal::Fault(Fault::away(true, why))),
            Err(_) => return Err(Refusal::Fault(Fault::away(true, "it does not finish its answer"))),
        };
        // The last bytes may be here before the connection knows that it is free.
        if timeout_at(until, connection.ready()).await.is_ok_and(|ready| ready) {
            self.give_back(lane, connection);
        }
        if status != StatusCode::OK {
            return Err(refusal(status, &body));
        }
        let answer: T =
            serde_json::from_slice(&body).map_err(|error| Refusal::Fault(nonsense(true, &error)))?;
        if let Some(header) = answer.header() {
            self.common.check(header).map_err(|why| Refusal::Fault(Fault::refused(true, why)))?;
            lock(&self.known).id = Some(header.member_id);
        }
        Ok(answer)
    }

    /// One question with the head of its answer, on an idle connection or a new one.
    async fn sent(
        self: &Arc<Self>,
        lane: Lane,
        path: &str,
        token: Option<&str>,
        body: Bytes,
        until: Instant,
    ) -> Result<(Connection, StatusCode, Incoming), Refusal> {
        self.common.count(lane, path);
        // Else a watch that is cut off from the others stays silent for ever.
        let mut headers = vec![("grpc-metadata-hasleader", "true")];
        headers.extend(token.map(|token| ("authorization", token)));
        loop {
            let idle = self.idle(lane);
            let fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connected(until).await.map_err(Refusal::Fault)?,
            };
            match timeout_at(until, connection.post(&self.place, path, &headers, body.clone())).await {
                Ok(Ok(response)) => {
                    let (head, incoming) = response.into_parts();
                    return Ok((connection, head.status, incoming));
                }
                // It was closed while it was idle.
                Ok(Err(miss)) if !miss.sent && !fresh => {}
                Ok(Err(miss)) => return Err(Refusal::Fault(Fault::away(miss.sent, miss.why))),
                Err(_) => return Err(Refusal::Fault(Fault::away(true, "it does not answer in time"))),
            }
        }
    }

    /// A stream of answers, on a connection of its own; `within`: for the head.
    pub(super) async fn stream(
        self: &Arc<Self>,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<(Connection, Incoming), Fault> {
        let until = Instant::now() + within;
        for again in [true, false] {
            let token = self.token(until).await?;
            let mut connection = self.connected(until).await?;
            self.common.count(Lane::Call, path);
            let mut headers = vec![("grpc-metadata-hasleader", "true")];
            headers.extend(token.as_deref().map(|token| ("authorization", token)));
            let response =
                match timeout_at(until, connection.post(&self.place, path, &headers, body.clone())).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(miss)) => return Err(Fault::away(miss.sent, miss.why)),
                    Err(_) => return Err(Fault::away(true, "it does not answer in time")),
                };
            let (head, incoming) = response.into_parts();
            if head.status == StatusCode::OK {
                return Ok((connection, incoming));
            }
            let body = timeout_at(until, http::whole(incoming)).await.ok().and_then(Result::ok);
            match refusal(head.status, &body.unwrap_or_default()) {
                Refusal::Problem(problem) if again && token.is_some() && problem.is_login() => {
                    self.forget(token.as_ref());
                }
                refusal => return Err(refusal.fault()),
            }
        }
        Err(Fault::refused(false, "it does not know its own login"))
    }

    /// What to show with each question, if there are logins here.
    async fn token(self: &Arc<Self>, until: Instant) -> Result<Option<Arc<str>>, Fault> {
        let Some(user) = &self.common.user else { return Ok(None) };
        let late = |_| Fault::away(false, "it does not answer a login in time");
        let _alone = timeout_at(until, self.login.lock()).await.map_err(late)?;
        {
            let known = lock(&self.known);
            if let Some(token) = &known.token {
                return Ok((!token.is_empty()).then(|| token.clone()));
            }
            if let Some((again, why)) = &known.no_login
                && Instant::now() < *again
            {
                return Err(Fault::refused(false, why.clone()));
            }
        }
        let User { name, password } = user;
        let asked = self.told::<LoggedIn>(
            Lane::Call,
            "/v3/auth/authenticate",
            None,
            gateway::login(name, password),
            until,
        );
        match asked.await {
            Ok(LoggedIn { token, .. }) if !token.is_empty() => {
                let token: Arc<str> = token.into();
                let mut known = lock(&self.known);
                known.no_login = None;
                known.token = Some(token.clone());
                Ok(Some(token))
            }
            Ok(_) => Err(Fault::refused(false, "it answers a login without a token")),
            Err(Refusal::Problem(problem)) if problem.is_open() => {
                tracing::warn!(member = %self.name, "a login is set up here, and the store asks nobody for one");
                lock(&self.known).token = Some("".into());
                Ok(None)
            }
            Err(refusal) => {
                let Fault { refused, why, .. } = refusal.fault();
                let why = format!("cannot log in as {name}: {why}");
                if refused {
                    lock(&self.known).no_login = Some((Instant::now() + AGAIN, why.clone()));
                }
                Err(Fault { perhaps: false, refused, why })
            }
        }
    }

    /// A token that is not taken any more; another one may have come meanwhile.
    fn forget(&self, token: Option<&Arc<str>>) {
        let mut known = lock(&self.known);
        if known.token.as_ref() == token {
            known.token = None;
        }
    }

    /// Log in anew before the next question.
    pub(super) fn forget_login(&self) {
        lock(&self.known).token = None;
    }

    fn lane(&self, lane: Lane) -> &Mutex<Vec<Connection>> {
        match lane {
            Lane::Beat => &self.beats,
            Lane::Call => &self.calls,
        }
    }

    fn idle(&self, lane: Lane) -> Option<Connection> {
        let mut idle = lock(self.lane(lane));
        idle.retain(Connection::is_ready);
        idle.pop()
    }

    fn give_back(&self, lane: Lane, connection: Connection) {
        let mut idle = lock(self.lane(lane));
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }

    /// A new connection to a member of the right cluster, at whichever of its addresses takes one.
    async fn connected(self: &Arc<Self>, until: Instant) -> Result<Connection, Fault> {
        let mut connection = self.connection(until).await.map_err(|why| Fault::away(false, why))?;
        if self.common.cluster.get().is_none() {
            return Ok(connection);
        }
        // Before anything is written: it may be another etcd than the last time.
        self.common.count(Lane::Call, STATUS);
        let token = lock(&self.known).token.clone().filter(|token| !token.is_empty());
        let headers: Vec<_> = token.as_deref().map(|token| ("authorization", token)).into_iter().collect();
        let asked = async {
            let response = connection.post(&self.place, STATUS, &headers, "{}".into()).await;
            let (head, incoming) = response.map_err(|miss| Fault::away(false, miss.why))?.into_parts();
            let body = http::whole(incoming).await.map_err(|why| Fault::away(false, why))?;
            if head.status == StatusCode::OK {
                let status: Status =
                    serde_json::from_slice(&body).map_err(|error| nonsense(false, &error))?;
                self.common.check(&status.header).map_err(|why| Fault::refused(false, why))?;
            }
            // Who does not tell its state to strangers says in its answer which cluster it is of.
            if connection.ready().await {
                Ok(())
            } else {
                Err(Fault::away(false, "it closes the connection"))
            }
        };
        timeout_at(until, asked)
            .await
            .unwrap_or_else(|_| Err(Fault::away(false, "it does not answer in time")))?;
        Ok(connection)
    }

    async fn connection(self: &Arc<Self>, until: Instant) -> Result<Connection, String> {
        let addresses = self.addresses(until).await?;
        let mut why = String::new();
        for (at, address) in addresses.iter().enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            let share = Instant::now() + left / u32::try_from(addresses.len() - at).unwrap_or(1);
            match timeout_at(share, Connection::to(&self.place, *address, self.common.tls.as_ref())).await {
                Ok(Ok(connection)) => {
                    let mut known = lock(&self.known);
                    known.unreachable = false;
                    if known.addresses == addresses {
                        known.addresses.rotate_left(at);
                    }
                    return Ok(connection);
                }
                Ok(Err(error)) => why = format!("cannot connect: {error}"),
                Err(_) => why = "cannot connect: nobody answers".to_owned(),
            }
        }
        lock(&self.known).unreachable = true;
        self.look_up();
        Err(why)
    }

    /// Where it is, as far as is known. Only who asks when nothing is known waits for the name server.
    async fn addresses(self: &Arc<Self>, until: Instant) -> Result<Vec<SocketAddr>, String> {
        loop {
            let mut looked = pin!(self.looked.notified());
            looked.as_mut().enable();
            self.look_up();
            {
                let known = lock(&self.known);
                if !known.addresses.is_empty() {
                    return Ok(known.addresses.clone());
                }
                if let Some(why) = &known.no_address
                    && !known.looking
                {
                    return Err(why.clone());
                }
            }
            if timeout_at(until, looked).await.is_err() {
                return Err(format!("cannot find {}: the name server does not answer", self.place.host));
            }
        }
    }

    /// Looks its name up behind everybody's back, if nothing is known or nobody answers at what is known, and not too often.
    fn look_up(self: &Arc<Self>) {
        {
            let mut known = lock(&self.known);
            let early = known.look_again.is_some_and(|again| Instant::now() < again);
            let useless = known.addresses.is_empty() || known.unreachable;
            if self.numeric || known.looking || early || !useless {
                return;
            }
            known.looking = true;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let found = lookup_host((this.place.host.as_str(), this.place.port)).await;
            let mut known = lock(&this.known);
            match found.map(Iterator::collect::<Vec<_>>) {
                Ok(found) if !found.is_empty() => {
                    known.addresses = found;
                    known.no_address = None;
                }
                Ok(_) => {
                    known.no_address = Some(format!("cannot find {}: it has no address", this.place.host))
                }
                Err(error) => known.no_address = Some(format!("cannot find {}: {error}", this.place.host)),
            }
            known.looking = false;
            known.look_again = Some(Instant::now() + AGAIN);
            drop(known);
            this.looked.notify_waiters();
        });
    }
}

/// An answer that is none: its own words, or something that happened.
enum Refusal {
    Problem(Problem),
    Fault(Fault),
}

impl Refusal {
    fn fault(self) -> Fault {
        match self {
            Refusal::Problem(problem) => {
                Fault { perhaps: !problem.is_definite(), refused: !problem.is_passing(), why: problem.said() }
            }
            Refusal::Fault(fault) => fault,
        }
    }
}

fn nonsense(perhaps: bool, error: &serde_json::Error) -> Fault {
    Fault::refused(perhaps, format!("it talks nonsense: {error}"))
}

fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    match Problem::read(body) {
        Some(problem) if !problem.message.is_empty() => Refusal::Problem(problem),
        _ if status == StatusCode::NOT_FOUND => Refusal::Fault(Fault::refused(
            false,
            "it has no /v3 gateway: etcd 3.4 or newer is needed, with --enable-grpc-gateway",
        )),
        _ => Refusal::Fault(Fault::refused(true, format!("it answers {status}"))),
    }
}
