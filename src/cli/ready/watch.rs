//! Health of a service under systemd: woodward's own watch ([`crate::runtime::health::watch`]), and systemd's watchdog as
//! its arm.
//!
//! ```text
//! begins            WATCHDOG_USEC=   as long as a hang takes to be found, and LEEWAY: if this process goes, systemd acts
//! an answer, a miss WATCHDOG=1       this process watches
//! a hang            WATCHDOG=trigger systemd ends the service, and Restart= decides
//! ```
//!
//! The unit needs no `WatchdogSec=`, so the service finds no `WATCHDOG_USEC` that it would take for its own. While the unit
//! is being stopped nothing is triggered: a service that shuts down owes nobody an answer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::ask::{Asking, ask};
use crate::os::{aside, clock, pressure};
use crate::record::fact;
use crate::runtime::health::LATE;
use crate::runtime::health::watch::{Moment, Todo, Watch};
use crate::runtime::readiness;
use crate::tree::{Check, Health};

/// So much later than this process systemd finds a hang itself.
const LEEWAY: Duration = Duration::from_secs(10);
/// For systemd to say what it is doing.
const PATIENCE: Duration = Duration::from_secs(2);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// Watches until the main process has ended.
pub(super) async fn watch(asking: &Asking, health: &Health) {
    let found = health.start_after + health.every * health.misses + health.timeout + LEEWAY;
    asking.tell(&format!("WATCHDOG_USEC={}", found.as_micros()));
    let mut watch = Watch::new(health, std::process::id(), clock::now());
    let mut open: Option<(u32, Answer<'_>)> = None;
    let mut why = String::new();
    loop {
        let due = Duration::from_millis(watch.next().0.saturating_sub(clock::now().0));
        let answered = async {
            match &mut open {
                Some((n, answer)) => (*n, answer.await),
                None => std::future::pending().await,
            }
        };
        let todo = tokio::select! {
            biased;
            () = asking.ended() => return,
            (n, answer) = answered => {
                open = None;
                watch.answered(n, answer, &moment(false))
            }
            () = tokio::time::sleep(due) => {
                let late = clock::now().since(watch.next()) > LATE;
                watch.due(&moment(late))
            }
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
                    why = match &health.check {
                        Check::Probe(probe) => format!("{}: {reason}", fact::probe(probe)),
                        Check::Fresh { .. } | Check::Watchdog(_) => reason,
                    };
                    asking.tell(&format!("WATCHDOG=1\nSTATUS=not well: {why}"));
                }
                Todo::Starved(figures) => eprintln!("not well: {why}; starved, one grace period: {figures}"),
                Todo::Sick => {
                    if !is_being_stopped().await {
                        eprintln!("<3>hangs: {why}, {} times in a row", health.misses);
                        asking.tell("WATCHDOG=trigger");
                    }
                }
                // Both are said only of what relies on others, and here nobody knows who relies on whom.
                Todo::Suspended | Todo::Resumed => {}
            }
        }
    }
}

fn moment(late: bool) -> Moment<'static> {
    Moment { now: clock::now(), down: false, doubt: false, late, pressure: &pressure::around }
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
    let scope = if std::env::var_os("MANAGERPID").is_some() { "--user" } else { "--system" };
    let asks = format!("[ \"$(systemctl {scope} show -P ActiveState -- \"$0\")\" = deactivating ]");
    let command = ["sh", "-c", &asks, &unit].map(str::to_owned);
    tokio::time::timeout(PATIENCE, aside::run(&command)).await.is_ok_and(|said| said.is_ok())
}
