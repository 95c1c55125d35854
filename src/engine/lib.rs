//! The decisions of woodward: OTP's `supervisor` for a whole forest of trees as one pure, total function.
//!
//! [`Engine::handle`] takes the time and one [`Event`] and appends [`Effect`]s. It never waits, never looks at a
//! clock, calls nothing. Whoever embeds it carries the effects out in their order and reports every outcome as an
//! event. Rules: OTP's `supervisor` to the letter, and beyond it the keys of [`spec`] that OTP does not have.

#![forbid(unsafe_code)]

pub mod adopt;
mod apply;
mod child;
pub mod cluster;
mod decide;
mod dependencies;
pub mod difference;
pub mod effect;
pub mod engine;
pub mod event;
pub mod fact;
mod forest;
mod hold;
mod incarnation;
mod listed;
mod node;
mod outcome;
mod place;
mod plan;
mod request;
mod restart;
mod restore;
pub mod spec;
mod stop;
pub mod time;
mod timers;
pub mod trace;
pub mod view;

pub use adopt::{Fate, Found, Saved};
pub use difference::{Outlook, Prospect};
pub use effect::{Effect, Reply};
pub use engine::Engine;
pub use event::{Apply, Event, Exit, FailedStart, Gen, Key, PathId, Reason, ReqId, Verb};
pub use fact::{ByApply, Fact, Incident, What};
pub use time::Time;
