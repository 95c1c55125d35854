//! What the model check and the simulation of a cluster have in common: the register and the keepers around the machine.
#![allow(unused)] // Each of the two programs uses its part of it.

pub mod keeper;
pub mod store;

use std::time::Duration;
use woodward_engine::cluster::group::{Failback, Fencing};
use woodward_engine::cluster::{Group, Name};

/// A name.
pub fn name(text: &str) -> Name {
    Name::from(text)
}

/// A group that asks for nothing special.
pub fn group(name: &Name, nodes: &[Name]) -> Group {
    Group {
        name: name.clone(),
        nodes: nodes.to_vec(),
        failback: Failback::Manual,
        fencing: Fencing::None,
        with: Vec::new(),
        apart: Vec::new(),
        failure_timeout: Duration::from_secs(60),
        start_within: None,
        priority: 0,
    }
}
