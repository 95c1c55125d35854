//! Health of a service under systemd: woodward's own watch ([`crate::runtime::health::watch`]), and systemd's watchdog as
//! its arm.
//!
//! ```text
//! begins            WATCHDOG_USEC=   as long as a hang takes to be found, and LEEWAY: if this process goes, systemd acts
//! an answer, a miss WATCHDOG=1       this process watches
//! a hang            WATCHDOG=trigger systemd ends the service, and Restart= decides
//! ```
//!
//! What it relies on ($WOODWARD_RELIES_ON) is looked at when it does not answer: while one of these is not up it is not
//! asked, and while one is in doubt itself, which its text of status says, the verdict waits.
//!
//! The unit needs no `WatchdogSec=`, so the service finds no `WATCHDOG_USEC` that it would take for its own. While the unit
//! is being stopped nothing is triggered: a service that shuts down owes nobody an answer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::ask::{Asking, ask};
use crate::os::{aside, clock, pressure};
use crate::runtime::health::watch::{Moment, Todo, Watch};
use crate::runtime::health::{LATE, told};
use crate::runtime::readiness;
use crate::tree::{Check, Health};
use crate::units::readiness::RELIES_ON;

/// So much later than this process systemd finds a hang itself.
const LEEWAY: Duration = Duration::from_secs(10);
/// For systemd to say what it is doing.
const PATIENCE: Duration = Duration::from_secs(2);

/// A text of status that begins like this is in doubt.
const NOT_WELL: &str = "not well: ";

type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// Watches until the main process has ended.
pub(super) async fn watch(asking: &Asking, health: &Health) {
    if let Check::Watchdog(every) = health.check {
        return begin(asking, health.start_after, every).await;
    }
    let found = health.start_after + health.every * health.misses + health.timeout + LEEWAY;
    asking.tell(&format!("WATCHDOG_USEC={}", found.as_micros()));
    let mut watch = Watch::new(health, std::process::id(), clock::now());
    let mut open: Option<(u32, Answer<'_>)> = None;
    let (mut why, mut suspended) = (String::new(), false);
    let relied = Relied::find();
    loop {
        let due = Duration::from_millis(watch.next().0.saturating_sub(clock::now().0));
        let answered = async {
            match &mut open {
                Some((n, answer)) => (*n, answer.await),
                None => std::future::pending().await,
            }
        };
        // What happens next; a step of the watch only when it is known how those are that it relies on.
        let next = tokio::select! {
            biased;
            () = asking.ended() => return,
            (n, answer) = answered => {
                open = None;
                Next::Answer(n, answer)
            }
            () = tokio::time::sleep(due) => Next::Due(clock::now().since(watch.next()) > LATE),
        };
        let bad =
            matches!(&next, Next::Answer(_, Err(_))) || watch.is_doubtful() || suspended || open.is_some();
        let others = if bad { relied.look().await } else { Others::default() };
        let todo = match next {
            Next::Answer(n, answer) => watch.answered(n, answer, &moment(false, others)),
            Next::Due(late) => watch.due(&moment(late, others)),
        };
        for todo in todo {
            match todo {
                Todo::Ask(n) => open = Some((n, question(&health.check))),
                Todo::Abandon => open = None,
                Todo::Good => {
                    if !why.is_empty() {
                        why.clear();
                        asking.tell("STATUS=");
                    }
                    asking.tell("WATCHDOG=1");
                }
                Todo::Missed(reason) => {
                    why = told(health, &reason);
                    asking.tell(&format!("WATCHDOG=1\nSTATUS={NOT_WELL}{why}"));
                }
                Todo::Starved(figures) => eprintln!("{NOT_WELL}{why}; starved, one grace period: {figures}"),
                Todo::Sick => {
                    if !is_being_stopped().await {
                        eprintln!("<3>hangs: {why}, {} times in a row", health.misses);
                        asking.tell("WATCHDOG=trigger");
                    }
                }
                Todo::Suspended => {
                    suspended = true;
                    why.clear();
                    asking.tell("STATUS=not asked while what it relies on is not up");
                }
                Todo::Resumed => {
                    suspended = false;
                    asking.tell("STATUS=");
                }
            }
        }
    }
}

/// A service that speaks for itself: its time begins now, and systemd minds it.
async fn begin(asking: &Asking, start_after: Duration, every: Duration) {
    tokio::select! {
        () = asking.ended() => {}
        () = tokio::time::sleep(start_after) => {
            asking.tell(&format!("WATCHDOG_USEC={}", every.as_micros()));
            asking.understood();
        }
    }
}

/// What happens next to a watch.
enum Next {
    /// An answer to this question.
    Answer(u32, Result<(), String>),
    /// Its time has come; whether that is heard of too late.
    Due(bool),
}

fn moment(late: bool, others: Others) -> Moment<'static> {
    let Others { down, doubt } = others;
    Moment { now: clock::now(), down, doubt, late, pressure: &pressure::around }
}

/// How those are that a service relies on.
#[derive(Clone, Copy, Default)]
struct Others {
    /// One of them is not up.
    down: bool,
    /// One of them misses answers.
    doubt: bool,
}

/// Units that a service relies on. They are looked at only while it does not answer.
struct Relied(Vec<String>);

impl Relied {
    fn find() -> Relied {
        let units = std::env::var(RELIES_ON).unwrap_or_default();
        Relied(units.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// If systemd cannot be asked, the service is judged alone.
    async fn look(&self) -> Others {
        if self.0.is_empty() {
            return Others::default();
        }
        let said = show(&["ActiveState", "StatusText"], &self.0).await.unwrap_or_default();
        let states = said.lines().filter_map(|line| line.strip_prefix("ActiveState="));
        let mut texts = said.lines().filter_map(|line| line.strip_prefix("StatusText="));
        Others {
            down: states.into_iter().any(|state| state != "active"),
            doubt: texts.any(|text| text.starts_with(NOT_WELL)),
        }
    }
}

fn question(check: &Check) -> Answer<'_> {
    Box::pin(async move {
        let answer = match check {
            Check::Probe(probe) => ask(probe).await,
            Check::Fresh { path, max_age } => readiness::fresh(path, *max_age).await,
            Check::Watchdog(_) => Ok(()),
        };
        answer.map_err(|why| why.0)
    })
}

/// systemd says that it is stopping this unit. Asked only when a verdict is due; without an answer it is not.
async fn is_being_stopped() -> bool {
    let Some(unit) = aside::own_unit() else { return false };
    show(&["ActiveState"], &[unit]).await.is_some_and(|said| said.contains("ActiveState=deactivating"))
}

/// What systemd says of units; `None`: it does not answer.
async fn show(properties: &[&str], units: &[String]) -> Option<String> {
    let scope = if std::env::var_os("MANAGERPID").is_some() { "--user" } else { "--system" };
    let properties = format!("--property={}", properties.join(","));
    let mut command = ["systemctl", scope, "show", &properties, "--"].map(str::to_owned).to_vec();
    command.extend(units.iter().cloned());
    tokio::time::timeout(PATIENCE, aside::said(&command)).await.ok()?.ok()
}
