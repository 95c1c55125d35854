//! woodward: supervision trees by Erlang's rules for the services of a machine.

#[cfg(feature = "full")]
pub mod acs;
#[cfg(feature = "full")]
pub mod cli;
#[cfg(not(feature = "full"))]
#[path = "cli/small.rs"]
pub mod cli;
#[cfg(feature = "full")]
pub mod cluster;
pub mod control;
pub mod embed;
pub mod os;
pub mod record;
pub mod runtime;
pub mod settings;
#[cfg(feature = "full")]
pub mod store;
pub mod tree;
#[cfg(feature = "full")]
pub mod units;
