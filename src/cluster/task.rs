//! The one loop around the engine's `Cluster`.
//!
//! A turn takes one event, hands it over with the time, writes down what the next daemon must know, carries out what
//! follows, and publishes. It awaits nothing: transactions, reads, commands are futures of their own, so that no beat
//! waits for anything. Time passes last: what has been said up to a moment is heard before it is concluded that nobody
//! said anything.

use std::collections::HashMap;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use woodward_engine::ReqId;
use woodward_engine::Time;
use woodward_engine::cluster::{Cluster, Effect, Event, Fact, Name, Request, Term, Timing, View};

use super::handle::Ask;
use super::life::{Life, Means, Word};
use super::mail::Mail;
use super::network::Network;
use super::saved::SavedFile;
use super::{Prepared, command, config, failovers, fence, words};
use crate::os::guard::{Guard, GuardEvent, Refusal};
use crate::os::{ExitStatus, Os, clock};
use crate::record::Record;
use crate::record::fact::FactLine;
use crate::runtime::Handle;
use crate::runtime::groups::{Happening, News};
use crate::store::{Snapshot, Store, StoreError, Watched};
use crate::tree::failover::Agent;

/// A store that could not be read is asked again after this time.
const AGAIN: Duration = Duration::from_millis(500);

/// How long the probe of a group may take.
const PROBE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Task {
    cluster: Cluster,
    effects: Vec<Effect>,
    node: Name,
    timing: Timing,
    kernel: Handle,
    record: Record,
    store: Arc<dyn Store>,
    mail: Mail,
    os: Os,
    guard: Guard,
    network: Network,
    after: Term,
    keeper: i32,
    saved: SavedFile,
    lives: HashMap<Name, UnboundedSender<Word>>,
    /// Everything that takes time; a panic in any of it is one of this task.
    jobs: JoinSet<()>,
    /// What jobs and lives have to say.
    heard: UnboundedSender<Event>,
    hearing: UnboundedReceiver<Event>,
    /// Registers that were read.
    read: UnboundedSender<Snapshot>,
    reading: UnboundedReceiver<Snapshot>,
    watch: Option<UnboundedReceiver<Watched>>,
    guarding: UnboundedReceiver<GuardEvent>,
    news: UnboundedReceiver<News>,
    asked: HashMap<ReqId, Asked>,
    last_request: u64,
    /// Why the store is of no use, as it was last told.
    refused: Option<String>,
    view: Arc<ArcSwap<View>>,
    left: bool,
}

/// Who waits for an answer.
enum Asked {
    Somebody(oneshot::Sender<Result<(), String>>),
    /// Whoever wants this node to leave is answered when it has left.
    Leaver(oneshot::Sender<Result<(), String>>),
    Nobody,
}

impl Task {
    /// The task and where it publishes.
    pub(super) fn new(
        prepared: Prepared,
        kernel: Handle,
        record: Record,
        store: Arc<dyn Store>,
        mail: Mail,
    ) -> (Task, Arc<ArcSwap<View>>) {
        let now = clock::lasting();
        let Prepared { node, os, guard, run, after, saved, file, plans, network, news, .. } = prepared;
        let config = config(&node, &plans, after);
        let of_kernel = kernel.clone();
        guard.on_fired(move |_| of_kernel.term_over());
        let timing = config.timing;
        let groups: Vec<Name> = config.groups.iter().map(|group| group.name.clone()).collect();
        let running: HashMap<Name, _> = saved
            .iter()
            .flat_map(|saved| saved.groups.iter().map(|held| (held.group.clone(), (held.epoch, saved.term))))
            .collect();
        let cluster = match saved {
            Some(saved) => {
                guard.resume(timing.hold);
                network.arm(saved.deadline);
                Cluster::resume(config, saved, now)
            }
            None => Cluster::new(config, now),
        };
        let (heard, hearing) = unbounded_channel();
        let (read, reading) = unbounded_channel();
        let (keeper, guarding) = (os.keeper(), guard.events());
        let means = Means {
            os: os.clone(),
            guard: guard.clone(),
            network: network.clone(),
            kernel: kernel.clone(),
            run,
            events: heard.clone(),
        };
        let mut jobs = JoinSet::new();
        let mut lives = HashMap::new();
        for group in groups {
            let (life, tell) = Life::begin(&group, means.clone(), running.get(&group).copied());
            jobs.spawn(life);
            lives.insert(group, tell);
        }
        let view = Arc::new(ArcSwap::from_pointee(cluster.view()));
        let task = Task {
            cluster,
            effects: Vec::new(),
            node,
            timing,
            kernel,
            record,
            store,
            mail,
            os,
            guard,
            network,
            after,
            keeper,
            saved: file,
            lives,
            jobs,
            heard,
            hearing,
            read,
            reading,
            watch: None,
            guarding,
            news,
            asked: HashMap::new(),
            last_request: 0,
            refused: None,
            view: view.clone(),
            left: false,
        };
        (task, view)
    }

    /// Until this node has left.
    pub(super) async fn run(mut self, mut asks: UnboundedReceiver<Ask>) {
        self.turn(Event::Tick);
        while !self.left {
            tokio::select! {
                biased;
                Some(event) = self.guarding.recv() => self.hear_guard(event),
                Some(event) = self.hearing.recv() => self.turn(event),
                Some(snapshot) = self.reading.recv() => self.hear_register(snapshot),
                watched = next(&mut self.watch) => self.hear_store(watched),
                Some(news) = self.news.recv() => self.hear_kernel(news),
                Some(ask) = asks.recv() => self.hear_request(ask),
                Some(done) = self.jobs.join_next() => hear_job(done),
                () = until(self.cluster.next_deadline()) => self.turn(Event::Tick),
            }
        }
    }

    /// One event, and everything that follows from it.
    fn turn(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        self.cluster.handle(clock::lasting(), clock::wall(), event, &mut effects);
        if let Err(error) = self.saved.write(self.keeper, self.cluster.saved()) {
            let text = format!("what the next daemon must know of the cluster is not kept: {error}");
            self.record.fact(FactLine::note(clock::wall(), 0, "", 0, "not_kept", text));
        }
        let told = effects.iter().any(|effect| matches!(effect, Effect::Fact(_)));
        effects.drain(..).for_each(|effect| self.carry_out(effect));
        self.effects = effects;
        if told {
            self.record.keep();
        }
        self.view.store(Arc::new(self.cluster.view()));
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Read => self.read_register(),
            Effect::Commit { id, transaction, beat } => {
                let answer = self.store.commit(transaction, beat);
                self.later(async move { Event::Answered { id, answer: answer.await } });
            }
            Effect::Begin { term } => {
                if let Err(error) = self.guard.begin(term, self.timing.hold) {
                    self.note("unguarded", format!("no deadline can be held: {error}"));
                    self.hear_later(Event::Unguarded);
                }
            }
            Effect::Arm { term, number, deadline } => {
                self.network.arm(deadline);
                self.guard.arm(term, number, deadline);
            }
            Effect::End { term } => {
                self.kernel.term_over();
                self.guard.end(term);
            }
            Effect::Start { group, epoch, term } => self.tell_life(&group, Word::Start { epoch, term }),
            Effect::Keep { group, epoch } => self.tell_life(&group, Word::Keep { epoch }),
            Effect::Stop { group, epoch } => self.tell_life(&group, Word::Stop { epoch }),
            Effect::Probe { group } => self.probe(group),
            Effect::Fence { node, groups } => self.fence(node, &groups),
            Effect::Reply { id, result } => match self.asked.remove(&id) {
                Some(Asked::Leaver(answer)) if result.is_ok() => {
                    self.asked.insert(id, Asked::Leaver(answer));
                }
                // Whoever asked may have gone away.
                Some(Asked::Somebody(answer) | Asked::Leaver(answer)) => drop(answer.send(result)),
                Some(Asked::Nobody) | None => {}
            },
            Effect::Left => {
                self.left = true;
                for (_, asked) in self.asked.drain() {
                    if let Asked::Leaver(answer) = asked {
                        // As above.
                        let _ = answer.send(Ok(()));
                    }
                }
            }
            Effect::Fact(fact) => {
                self.mail.tell(&fact);
                self.tell(&fact);
            }
        }
    }

    /// Runs the command that says whether a group could run here.
    fn probe(&mut self, group: Name) {
        let plans = self.kernel.plans();
        let command = failovers(&plans).find(|failover| failover.group.name == group);
        let Some(command) = command.and_then(|failover| failover.probe.clone()) else {
            return self.hear_later(Event::Probed { group, result: Ok(()) });
        };
        let (os, name) = (self.os.clone(), format!("+probe-{group}"));
        self.later(async move {
            let ended = command::run(&os, &name, &command, b"", PROBE).await;
            let result = ended.and_then(|ended| match ended.status {
                ExitStatus::Code(0) => Ok(()),
                _ => Err(ended.said()),
            });
            Event::Probed { group, result }
        });
    }

    /// Asks the agents of these groups, each once.
    fn fence(&mut self, node: Name, groups: &[Name]) {
        let plans = self.kernel.plans();
        let of_groups = failovers(&plans).filter(|failover| groups.contains(&failover.group.name));
        let mut agents: Vec<Agent> = Vec::new();
        for agent in of_groups.flat_map(|failover| &failover.agents) {
            if !agents.contains(agent) {
                agents.push(agent.clone());
            }
        }
        let os = self.os.clone();
        self.later(async move {
            let result = fence::fence(&os, &node, &agents).await;
            Event::Fenced { node, result }
        });
    }

    /// What takes time: its outcome is an event.
    fn later(&mut self, outcome: impl Future<Output = Event> + Send + 'static) {
        let heard = self.heard.clone();
        self.jobs.spawn(async move {
            // The task has ended if nobody hears it.
            let _ = heard.send(outcome.await);
        });
    }

    /// Reads the register, again and again until it can be read; the outcome is followed by a watch.
    fn read_register(&mut self) {
        self.watch = None;
        let (store, read) = (self.store.clone(), self.read.clone());
        let (record, mut refused) = (self.record.clone(), self.refused.take());
        self.jobs.spawn(async move {
            loop {
                match store.read().await {
                    // The task has ended if nobody hears it.
                    Ok(snapshot) => return drop(read.send(snapshot)),
                    Err(error @ StoreError::Refused { .. }) => {
                        let why = error.to_string();
                        if refused.as_ref() != Some(&why) {
                            record.fact(FactLine::note(
                                clock::wall(),
                                0,
                                "",
                                0,
                                "store_refused",
                                why.clone(),
                            ));
                            record.keep();
                            refused = Some(why);
                        }
                    }
                    Err(error @ StoreError::Away { .. }) => tracing::info!(%error, "the store is not read"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    fn hear_register(&mut self, Snapshot { revision, entries }: Snapshot) {
        self.watch = Some(self.store.watch(revision));
        self.turn(Event::Read { revision, entries });
    }

    fn hear_store(&mut self, watched: Option<Watched>) {
        match watched {
            Some(Watched::Changed { revision, changes }) => self.turn(Event::Changed { revision, changes }),
            Some(Watched::Lost) | None => {
                self.watch = None;
                self.turn(Event::Lost);
            }
        }
    }

    fn hear_guard(&mut self, event: GuardEvent) {
        match event {
            GuardEvent::Began { means, .. } if !means.real_time => {
                let text = "the keeper has no real-time priority: on a busy machine it may kill too late";
                self.note("kills_late", text.to_owned());
            }
            GuardEvent::Began { .. } => {}
            GuardEvent::NoWatchdog(why) => self.note("kills_late", why),
            GuardEvent::Armed { number, refused, .. } => {
                if let Some(refused) = refused {
                    self.mend(refused);
                }
                self.turn(Event::Armed { number });
            }
            GuardEvent::Fired { term, .. } => {
                self.over();
                self.turn(Event::Fired { term });
            }
            GuardEvent::Unguarded => self.turn(Event::Unguarded),
        }
    }

    /// The kernel has refused to renew something: somebody has taken it away.
    fn mend(&self, refused: Refusal) {
        let Refusal { messages, errno } = refused;
        let why = std::io::Error::from_raw_os_error(errno);
        let text = match self.network.mend() {
            Ok(()) => format!("{messages} of its parts were gone ({why}): it is put up again"),
            Err(error) => {
                format!("{messages} of its parts were gone ({why}), and it is not put up again: {error}")
            }
        };
        self.note("network_mended", text);
    }

    /// Nothing of any group runs by right any more.
    fn over(&mut self) {
        for life in self.lives.values() {
            // A life ends with this task alone.
            let _ = life.send(Word::Over);
        }
    }

    fn hear_kernel(&mut self, news: News) {
        match news.what {
            Happening::Wanted { by } => {
                tracing::info!(group = %news.group, by = %by.by, "wanted up");
                self.ask(Request::Start { group: news.group }, Asked::Nobody);
            }
            Happening::Replanned => {
                let plans = self.kernel.plans();
                self.cluster.configure(clock::lasting(), config(&self.node, &plans, self.after));
                self.turn(Event::Tick);
            }
            _ => {
                let group = news.group.clone();
                self.tell_life(&group, Word::Tree(news));
            }
        }
    }

    fn hear_request(&mut self, Ask { request, answer }: Ask) {
        fail_on_purpose();
        let asked = match request {
            Request::Leave => Asked::Leaver(answer),
            _ => Asked::Somebody(answer),
        };
        self.ask(request, asked);
    }

    fn ask(&mut self, request: Request, asked: Asked) {
        self.last_request += 1;
        let id = ReqId(self.last_request);
        self.asked.insert(id, asked);
        self.turn(Event::Request { id, request });
    }

    fn tell_life(&self, group: &Name, word: Word) {
        if let Some(life) = self.lives.get(group) {
            // A life ends with this task alone.
            let _ = life.send(word);
        }
    }

    /// What is known already, as an event of its own.
    fn hear_later(&self, event: Event) {
        // This task itself hears it.
        let _ = self.heard.send(event);
    }

    fn tell(&self, fact: &Fact) {
        for line in words::lines(fact, &self.node, clock::wall(), 0) {
            self.record.fact(line);
        }
    }

    fn note(&self, kind: &str, text: String) {
        self.record.fact(FactLine::note(clock::wall(), 0, "", 0, kind, text));
        self.record.keep();
    }
}

/// Resolves at this moment; never without one.
async fn until(deadline: Option<Time>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(clock::lasting())).await,
        None => pending().await,
    }
}

async fn next(watch: &mut Option<UnboundedReceiver<Watched>>) -> Option<Watched> {
    match watch {
        Some(watch) => watch.recv().await,
        None => pending().await,
    }
}

/// For tests of the whole program; a release has nothing of it.
fn fail_on_purpose() {
    #[cfg(debug_assertions)]
    if std::env::var("WOODWARD_DEBUG_PANIC").is_ok_and(|at| at == "cluster") {
        panic!("a fault on purpose");
    }
}

/// A panic goes on.
fn hear_job(done: Result<(), JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        resume_unwind(error.into_panic());
    }
}
