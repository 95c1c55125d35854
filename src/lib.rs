//! woodward: supervision trees by Erlang's rules for the services of a machine.

pub mod cli;
pub mod control;
pub mod os;
pub mod record;
pub mod runtime;
pub mod settings;
pub mod tree;
