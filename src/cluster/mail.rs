//! Tells people what they want to be woken for: every move, a group that no node can run, a store that is away, a fencing in
//! vain, what cannot be killed. By `sendmail -t`, and by a webhook as JSON.
//!
//! Nobody waits for it: [`Mail::tell`] puts a message into two short queues, one for each way, and each way takes its time
//! and tries again. What does not fit or cannot be delivered is counted, and the next message that gets through says how
//! many there were. What is said again within [`QUIET`] is left out: a group that comes and goes must not fill a mailbox.

mod letter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::net::lookup_host;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, timeout};
use woodward_engine::cluster::{Fact, Name};

use self::letter::Letter;
use super::command;
use crate::os::{ExitStatus, Os, clock};
use crate::store::http::{self, Connection, Place};
use crate::store::tls::{self, Tls};

/// So many messages may wait for each way.
const QUEUE: usize = 64;
/// A delivery has failed if it has not ended after this time.
const WITHIN: Duration = Duration::from_secs(30);
/// Pauses before a delivery is tried again; after the last it is lost.
const AGAIN: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60)];
/// The same is not said twice within this time.
const QUIET: Duration = Duration::from_secs(600);
/// An absence of the store that is over so soon (an election) is not worth a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where messages go.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses; empty: no mail.
    pub to: Vec<String>,
    /// Whose mail it is; `None`: sendmail knows.
    pub from: Option<String>,
    /// Program and arguments in front of `-t -i`, e.g. `/usr/sbin/sendmail`.
    pub sendmail: Vec<String>,
    /// `http://` or `https://`; `None`: none.
    pub webhook: Option<String>,
    /// This node.
    pub node: String,
    /// Its cluster.
    pub cluster: String,
}

/// Takes messages. Cheap to clone; with the last clone what waits is still delivered, as long as the runtime lives.
#[derive(Clone, Debug)]
pub struct Mail {
    me: Arc<Settings>,
    ways: Arc<Vec<Way>>,
    /// Since when the store is away, if that was said.
    away: Arc<std::sync::Mutex<Away>>,
    said: Arc<std::sync::Mutex<BTreeMap<String, Instant>>>,
}

#[derive(Debug)]
struct Way {
    queue: Sender<Letter>,
    lost: Arc<AtomicU64>,
}

/// Whether the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// It answers.
    No,
    /// It does not, since the absence of this number; nobody was told yet.
    Silent(u64),
    /// People know.
    Told,
}

/// How a letter is delivered.
enum Carrier {
    Sendmail(Os, Arc<Settings>),
    Webhook(Place, Option<Tls>),
}

impl Mail {
    /// Sets the ways up; a webhook that cannot be used is an error in words. To be called within a runtime of tokio.
    pub fn start(settings: Settings, os: Os) -> Result<Mail, String> {
        let me = Arc::new(settings);
        let mut carriers = Vec::new();
        if !me.to.is_empty() && !me.sendmail.is_empty() {
            carriers.push(Carrier::Sendmail(os, me.clone()));
        }
        if let Some(webhook) = &me.webhook {
            let place = Place::read(webhook, None).map_err(|why| format!("cannot use webhook: {why}"))?;
            let tls = match place.secure {
                true => Some(Tls::open(&tls::Files::default()).map_err(|error| error.to_string())?),
                false => None,
            };
            carriers.push(Carrier::Webhook(place, tls));
        }
        let ways = carriers.into_iter().map(|carrier| {
            let (queue, letters) = channel(QUEUE);
            let lost = Arc::new(AtomicU64::new(0));
            tokio::spawn(deliver(carrier, letters, lost.clone()));
            Way { queue, lost }
        });
        let ways = Arc::new(ways.collect());
        Ok(Mail { me, ways, away: Arc::new(std::sync::Mutex::new(Away::No)), said: Arc::default() })
    }

    /// Tells a fact of this node if it is worth a message. Returns at once.
    pub fn tell(&self, fact: &Fact) {
        match fact {
            Fact::StoreAway { .. } => return self.store_away(fact.clone()),
            Fact::StoreBack => {
                let mut away = lock(&self.away);
                if std::mem::replace(&mut *away, Away::No) != Away::Told {
                    return;
                }
            }
            _ => {}
        }
        self.send(fact);
    }

    /// Messages that did not get through so far, on all ways.
    pub fn lost(&self) -> u64 {
        self.ways.iter().map(|way| way.lost.load(Ordering::Relaxed)).sum()
    }

    /// Tells it if the store does not come back soon.
    fn store_away(&self, fact: Fact) {
        static ABSENCES: AtomicU64 = AtomicU64::new(0);
        let absence = ABSENCES.fetch_add(1, Ordering::Relaxed);
        {
            let mut away = lock(&self.away);
            if *away != Away::No {
                return;
            }
            *away = Away::Silent(absence);
        }
        let mail = self.clone();
        tokio::spawn(async move {
            sleep(PATIENCE).await;
            if *lock(&mail.away) == Away::Silent(absence) {
                *lock(&mail.away) = Away::Told;
                mail.send(&fact);
            }
        });
    }

    fn send(&self, fact: &Fact) {
        let (node, cluster): (Name, &str) = (self.me.node.as_str().into(), &self.me.cluster);
        let Some(letter) = letter::of(fact, &node, cluster, clock::wall()) else { return };
        {
            let mut said = lock(&self.said);
            let now = Instant::now();
            said.retain(|_, at| now.duration_since(*at) < QUIET);
            if letter.repeats && said.insert(letter.subject.clone(), now).is_some() {
                return;
            }
        }
        for way in self.ways.iter() {
            if way.queue.try_send(letter.clone()).is_err() {
                way.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Delivers letters one after the other until nobody sends any more.
async fn deliver(carrier: Carrier, mut letters: Receiver<Letter>, lost: Arc<AtomicU64>) {
    let mut confessed = 0;
    while let Some(mut letter) = letters.recv().await {
        let losses = lost.load(Ordering::Relaxed);
        letter.lost = losses - confessed;
        let mut pauses = AGAIN.iter();
        loop {
            let tried = timeout(WITHIN, carrier.carry(&letter)).await;
            let Err(why) = tried.unwrap_or_else(|_| Err("it takes too long".to_owned())) else {
                confessed = losses;
                break;
            };
            tracing::warn!(way = carrier.name(), subject = letter.subject, why, "cannot deliver a message");
            let Some(pause) = pauses.next() else {
                lost.fetch_add(1, Ordering::Relaxed);
                break;
            };
            sleep(*pause).await;
        }
    }
}

impl Carrier {
    fn name(&self) -> &'static str {
        match self {
            Carrier::Sendmail(..) => "sendmail",
            Carrier::Webhook(..) => "webhook",
        }
    }

    async fn carry(&self, letter: &Letter) -> Result<(), String> {
        match self {
            Carrier::Sendmail(os, me) => {
                let mut command = me.sendmail.clone();
                command.extend(["-t".to_owned(), "-i".to_owned()]);
                let text = letter.mail(&me.to, me.from.as_deref());
                let ended = command::run(os, "+mail", &command, text.as_bytes(), WITHIN).await?;
                if ended.status == ExitStatus::Code(0) { Ok(()) } else { Err(ended.said()) }
            }
            Carrier::Webhook(place, tls) => {
                let mut addresses = lookup_host((place.host.as_str(), place.port))
                    .await
                    .map_err(|error| format!("cannot find {}: {error}", place.host))?;
                let address = addresses.next().ok_or("it has no address")?;
                let mut connection = Connection::to(place, address, tls.as_ref())
                    .await
                    .map_err(|error| format!("cannot connect: {error}"))?;
                let body = json!(letter.json()).to_string();
                let response = connection.post(place, &place.path, &[], body.into());
                let (head, body) = response.await.map_err(|miss| miss.why)?.into_parts();
                // Its words are of no use, its status is.
                let _ = http::whole(body).await;
                if head.status.is_success() { Ok(()) } else { Err(format!("it answers {}", head.status)) }
            }
        }
    }
}
