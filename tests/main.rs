//! The tests of the whole house, one program. Modules by subject; those with real processes use the built `woodward`.
#![allow(clippy::disallowed_methods, reason = "tests start the program and wait for it")]

mod acs;
mod acs_real;
mod availability;
mod bed;
mod chaos;
mod cli;
mod cluster;
mod cluster_verbs;
mod etcd;
mod guards;
mod health;
mod import;
mod init;
mod journal;
mod keeper_death;
mod kills;
mod luck;
mod nodes;
#[path = "../src/engine/tests/common/random.rs"]
mod random;
mod readiness;
mod reload;
mod sandbox;
mod services;
mod settings;
mod simulate;
mod sites;
mod sockets;
mod stopping;
mod store;
mod subtree;
mod supervised;
mod survival;
mod systemd;
mod tidy;
mod trees;
mod unit_apply;
mod unit_explain;
mod unit_files;
mod unit_generated;
mod unit_generator;
mod unit_install;
mod unit_place;
mod units;
mod upgrade;
