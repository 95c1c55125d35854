//! Verbs that change something: the request goes to the engine, its facts go to the asker as they happen, the outcome
//! comes last. An asker that goes away stops the telling, not the work.

use std::time::Duration;

use axum::extract::{self, ConnectInfo, Path};
use axum::response::Response;
use hyper::body::Bytes;
use tokio::sync::broadcast;
use tokio::sync::mpsc::Sender;
use woodward_engine::effect::ErrorKind;
use woodward_engine::{Reply, Verb};

use super::company;
use super::follow;
use super::house::House;
use super::message::{Problem, Step};
use super::params::Params;
use super::server::{Desk, Peer, one};
use crate::record::fact::FactLine;
use crate::record::words::is_within;
use crate::runtime::view::State;
use crate::runtime::{Closed, InstanceError, Nudge, NudgeError, Who};
use crate::tree::units::signal;

/// Between two looks at those that go along.
const AGAIN: Duration = Duration::from_millis(20);

/// What a person may want changed.
#[derive(Debug)]
enum Wish {
    Engine(&'static str, Verb),
    Instance(Vec<(String, String)>),
    Nudge(&'static str, Nudge),
}

impl Wish {
    /// Reads what the verb of the address and its query say.
    fn read<H: House>(verb: &str, params: &mut Params, house: &H) -> Result<Wish, Problem> {
        Ok(match verb {
            "start" => match params.all_below("arg") {
                args if args.is_empty() => Wish::Engine("start", Verb::Start),
                args => Wish::Instance(args),
            },
            "stop" => Wish::Engine("stop", Verb::Stop { with_dependents: false }),
            "restart" => Wish::Engine("restart", Verb::Restart { only: params.flag("only")? }),
            "hold" => {
                let time =
                    params.parsed("for", "a time such as 2h", |text| humantime::parse_duration(text).ok())?;
                Wish::Engine("hold", Verb::Hold { until: time.map(|time| house.now() + time) })
            }
            "release" => Wish::Engine("release", Verb::Release),
            "signal" => {
                let signal = params.parsed("signal", "a signal such as SIGUSR1", |text| signal(text).ok())?;
                let signal =
                    signal.ok_or_else(|| Problem::new(64, "cannot signal: which signal?".to_owned()))?;
                Wish::Nudge("signal", Nudge::Signal(signal))
            }
            "reload" => Wish::Nudge("reload", Nudge::Reload),
            other => {
                return Err(Problem::new(64, format!("cannot {other}: no such verb"))
                    .hint("start, stop, restart, hold, release, signal, reload"));
            }
        })
    }

    fn verb(&self) -> &'static str {
        match self {
            Wish::Engine(verb, _) | Wish::Nudge(verb, _) => verb,
            Wish::Instance(_) => "start",
        }
    }
}

/// `POST /v1/VERB?path=&text=&wait=&only=&for=&arg.NAME=`.
pub(super) async fn ask<H: House>(
    extract::State(desk): extract::State<Desk<H>>,
    Path(verb): Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut params: Params,
) -> Result<Response, Problem> {
    let house = desk.house;
    let wish = Wish::read(&verb, &mut params, &house)?;
    let asked = params.required("path")?;
    let who = Who { by: peer.name(), text: params.take("text") };
    let wait = !params.flag("no_wait")?;
    params.finish()?;
    let path = one(&house, &asked)?;
    let (sender, response) = follow::lines();
    tokio::spawn(async move {
        let asker = Asker { house, path, sender };
        asker.serve(wish, who, wait).await;
    });
    Ok(response)
}

/// Why it was not done.
enum Refused {
    Instance(InstanceError),
    Nudge(NudgeError),
}

impl From<Closed> for Refused {
    fn from(closed: Closed) -> Refused {
        Refused::Instance(InstanceError::Closed(closed))
    }
}

/// One who waits for an outcome.
struct Asker<H> {
    house: H,
    path: String,
    sender: Sender<Bytes>,
}

impl<H: House> Asker<H> {
    async fn serve(self, wish: Wish, who: Who, wait: bool) {
        let verb = wish.verb();
        let plans = self.house.plans();
        let goes_along = match &wish {
            Wish::Engine(_, Verb::Restart { only: false }) => company::goes_along(&plans, &self.path),
            _ => Vec::new(),
        };
        let stays_up = match &wish {
            Wish::Engine(_, Verb::Stop { .. }) => company::stays_up(&plans, &self.path),
            _ => Vec::new(),
        };
        let concerned: Vec<String> =
            [self.path.clone()].into_iter().chain(goes_along.iter().cloned()).collect();
        self.say(&Step::Plan { path: self.path.clone(), goes_along, stays_up }).await;

        // Before the request, so that its first fact is not missed.
        let mut facts = self.house.follow_facts();
        let house = self.house.clone();
        let path = self.path.clone();
        let request = tokio::spawn(async move {
            match wish {
                Wish::Engine(_, verb) => house.request(&path, verb, who).await.map_err(Refused::from),
                Wish::Instance(args) => {
                    house.start_instance(&path, &args, who).await.map_err(Refused::Instance)
                }
                Wish::Nudge(_, nudge) => match house.nudge(&path, nudge, who).await {
                    Ok(()) => Ok(Reply::Ok),
                    Err(error) => Err(Refused::Nudge(error)),
                },
            }
        });
        if !wait {
            self.say(&self.outcome(&self.path, None, &[])).await;
            return;
        }
        let mut told = Told::default();
        let reply = {
            tokio::pin!(request);
            loop {
                tokio::select! {
                    biased;
                    fact = facts.recv() => match fact {
                        Ok(fact) => self.tell(&fact, &concerned, &mut told).await,
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => break request.await,
                    },
                    reply = &mut request => break reply,
                }
            }
        };
        loop {
            while let Ok(fact) = facts.try_recv() {
                self.tell(&fact, &concerned, &mut told).await;
            }
            if self.sender.is_closed() || !self.is_on_its_way(&concerned) {
                break;
            }
            // Those that go along are still coming up; the engine's answer was about the one that was asked for.
            tokio::time::sleep(AGAIN).await;
        }
        let about = told.instance.as_deref().unwrap_or(&self.path);
        let problem = match reply {
            Ok(Ok(reply)) => refusal(verb, about, &reply, told.failure.as_deref()),
            Ok(Err(Refused::Nudge(error @ (NudgeError::NoReload(_) | NudgeError::NoWorker(_))))) => {
                let hint = match &error {
                    NudgeError::NoReload(_) => "reload = { signal = \"SIGHUP\" } in the tree file says how",
                    _ => "woodward status shows what is below it",
                };
                Some(Problem::new(64, error.to_string()).hint(hint))
            }
            Ok(Err(Refused::Nudge(error @ (NudgeError::NotRunning { .. } | NudgeError::Failed { .. })))) => {
                Some(Problem::new(1, error.to_string()).hint(format!("woodward why {about}")))
            }
            Ok(Err(Refused::Instance(InstanceError::Closed(_)) | Refused::Nudge(NudgeError::Closed(_)))) => {
                Some(Problem::new(75, format!("cannot {verb} {about}: the daemon is stopping")))
            }
            Ok(Err(Refused::Instance(error @ InstanceError::Arguments { .. }))) => Some(
                Problem::new(64, error.to_string())
                    .hint(format!("woodward start {} --arg NAME=VALUE", self.path)),
            ),
            Err(_) => Some(Problem::new(1, format!("cannot {verb} {about}: the daemon lost the request"))),
        };
        let failed: &[String] = match (&problem, &told.failed) {
            (Some(_), Some(path)) => std::slice::from_ref(path),
            _ => &[],
        };
        self.say(&self.outcome(about, problem, failed)).await;
    }

    /// Whether any of these is just being stopped or started.
    fn is_on_its_way(&self, concerned: &[String]) -> bool {
        concerned.len() > 1
            && self.house.view().rows().any(|row| {
                matches!(row.state, State::Starting | State::Stopping) && concerned.contains(&row.path)
            })
    }

    fn outcome(&self, path: &str, problem: Option<Problem>, failed: &[String]) -> Step {
        let lines = if failed.is_empty() { Vec::new() } else { self.house.lines(failed, 5) };
        Step::Outcome {
            path: path.to_owned(),
            row: self.house.view().row(path).cloned().map(Box::new),
            problem,
            lines: lines.iter().map(|line| (**line).clone()).collect(),
        }
    }

    async fn tell(&self, fact: &FactLine, concerned: &[String], told: &mut Told) {
        if concerned.iter().any(|top| is_within(&fact.path, top)) {
            told.note(fact);
            self.say(&Step::Fact(fact.clone())).await;
        }
    }

    async fn say(&self, step: &Step) {
        // An asker that went away is no error.
        let _ = self.sender.send(follow::line(step)).await;
    }
}

/// What the facts told so far mean for the outcome.
#[derive(Default)]
struct Told {
    /// Path of the new instance.
    instance: Option<String>,
    /// Who failed to start last.
    failed: Option<String>,
    /// And why.
    failure: Option<String>,
}

impl Told {
    fn note(&mut self, fact: &FactLine) {
        match fact.kind.as_str() {
            "starting" if self.instance.is_none() && fact.path.contains('#') => {
                self.instance = Some(fact.path.clone());
            }
            "start_failed" => {
                let why = fact.text.strip_prefix("start failed: ").unwrap_or(&fact.text);
                self.failed = Some(fact.path.clone());
                self.failure = Some(why.to_owned());
            }
            _ => {}
        }
    }
}

/// Why the engine did not do it; `None`: it did.
fn refusal(verb: &str, path: &str, reply: &Reply, failure: Option<&str>) -> Option<Problem> {
    let Reply::Error(kind) = reply else { return None };
    let cannot = |why: &str| Problem::new(1, format!("cannot {verb} {path}: {why}"));
    Some(match kind {
        ErrorKind::StartFailed => {
            cannot(failure.unwrap_or("its start failed")).hint(format!("woodward why {path}"))
        }
        ErrorKind::Noproc => match path.rsplit_once('/') {
            Some((above, _)) => cannot("its supervisor is not running")
                .hint(format!("woodward start {above}, or woodward why {above}")),
            None => cannot("the tree is not running"),
        },
        ErrorKind::NotFound => cannot("it is gone"),
        ErrorKind::AlreadyStarted | ErrorKind::Running => cannot("it runs already"),
        ErrorKind::AlreadyPresent => cannot("that id exists already"),
        ErrorKind::Restarting => cannot("a restart of it is pending").hint(format!("woodward status {path}")),
        ErrorKind::BadSpec => cannot("its specification is refused"),
        ErrorKind::SimpleOneForOne => {
            cannot("it holds instances of a template").hint(format!("woodward start {path} --arg NAME=VALUE"))
        }
        ErrorKind::Temporary => cannot("it is temporary, and its supervisor has forgotten it"),
        ErrorKind::Overtaken => cannot("another request or a stop from above came in between")
            .hint(format!("woodward why {path}")),
        ErrorKind::TreeExists => cannot("that tree runs already"),
        ErrorKind::Held => cannot("it is held").hint(format!("woodward release {path}")),
    })
}
