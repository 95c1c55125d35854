//! Readiness: when a service that was executed counts as ready.
//!
//! A condition is tried at once, then again after 100 ms, the pauses growing by the factor 1.3 to 1 s; every attempt
//! has a time-out of its own. The first success ends the matter: readiness is a latch. How long all of it may last
//! (`within`) and how long it must hold (`settle`) is the engine's business, and a process that ends ends its probe.
//!
//! Three conditions need no attempts, they are told: `notify` and `fd` by the service itself, `log` by its stream.

mod corbaloc;
mod file;
mod http;
mod net;

use std::future::Future;
use std::time::Duration;

use crate::tree::Probe;

use corbaloc::corbaloc;
#[cfg(feature = "full")]
pub(crate) use file::written_since;
pub(crate) use file::{Mark, file, fresh};
use http::http;
pub(crate) use net::newline;
use net::{tcp, unix};

/// Pause after the first attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Time-out of an attempt that asks over a socket or reads a file.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(3);
/// Time-out of one run of a probe command.
pub(crate) const COMMAND: Duration = Duration::from_secs(10);

/// Why an attempt did not succeed, as one clause: `127.0.0.1:3201: connection refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotReady(pub(crate) String);

impl NotReady {
    fn because(what: impl std::fmt::Display, error: &std::io::Error) -> NotReady {
        use std::io::ErrorKind::*;
        match error.kind() {
            ConnectionRefused => NotReady(format!("{what}: connection refused")),
            NotFound => NotReady(format!("{what}: not there")),
            UnexpectedEof => NotReady(format!("{what}: closed without an answer")),
            _ => NotReady(format!("{what}: {error}")),
        }
    }
}

/// Asks a condition that needs no process of its own to be asked; `None`: that is not one of them.
pub(crate) async fn ask(probe: &Probe) -> Option<Result<(), NotReady>> {
    Some(match probe {
        Probe::Tcp(address) => tcp(address).await,
        Probe::Unix(path) => unix(path).await,
        Probe::Http { url, status } => http(url, *status).await,
        Probe::Corbaloc(reference) => corbaloc(reference).await,
        Probe::Exec(_) | Probe::Notify | Probe::Fd(_) | Probe::Log(_) | Probe::File { .. } => return None,
    })
}

/// Attempts until one succeeds. `tell` hears of each reason that differs from the one before.
pub(crate) async fn until<F>(
    within: Duration,
    mut attempt: impl FnMut() -> F,
    mut tell: impl FnMut(&NotReady),
) where
    F: Future<Output = Result<(), NotReady>>,
{
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        let outcome = match tokio::time::timeout(within, attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NotReady(format!("no answer within {}", humantime::format_duration(within)))),
        };
        match outcome {
            Ok(()) => return,
            Err(why) if last.as_ref() == Some(&why) => {}
            Err(why) => {
                tell(&why);
                last = Some(why);
            }
        }
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.3).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[tokio::test(start_paused = true)]
    async fn is_tried_at_once_then_with_growing_pauses_up_to_a_second() {
        let began = tokio::time::Instant::now();
        let at = RefCell::new(Vec::new());
        let attempt = || async {
            at.borrow_mut().push(began.elapsed().as_millis());
            if at.borrow().len() < 14 { Err(NotReady("not yet".into())) } else { Ok(()) }
        };
        until(ATTEMPT, attempt, |_| {}).await;
        let at = at.into_inner();
        let pauses: Vec<_> = at.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(at[0], 0);
        assert!((100..=102).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.windows(2).all(|w| w[0] <= w[1] + 1), "{pauses:?}");
        assert!((1000..=1001).contains(pauses.last().unwrap()), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_and_tried_again() {
        let attempts = RefCell::new(0);
        let attempt = || async {
            *attempts.borrow_mut() += 1;
            if *attempts.borrow() == 1 {
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        let told = RefCell::new(Vec::new());
        until(Duration::from_secs(3), attempt, |why| told.borrow_mut().push(why.0.clone())).await;
        assert_eq!(told.into_inner(), ["no answer within 3s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_told_once_until_it_changes() {
        let reasons = RefCell::new(vec!["b", "b", "a", "a", "a"]);
        let attempt = || async {
            match reasons.borrow_mut().pop() {
                Some(why) => Err(NotReady(why.into())),
                None => Ok(()),
            }
        };
        let told = RefCell::new(Vec::new());
        until(ATTEMPT, attempt, |why| told.borrow_mut().push(why.0.clone())).await;
        assert_eq!(told.into_inner(), ["a", "b"]);
    }
}
