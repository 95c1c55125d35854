//! `woodward cluster`: which node runs which tree, and the words of persons about it.
//!
//! Every verb asks one daemon of this host that is in a cluster; what it knows is what the whole cluster knows, up to its
//! last look at the register. `audit` reads records instead, also of nodes that are gone.

mod act;
mod audit;
mod page;
#[cfg(test)]
mod samples;
mod what_if;
mod why;

use std::process::ExitCode;

use super::report::{self, Code, Failure};
use super::style::lasted;
use super::target::Target;
use crate::control::client::{Client, Endpoint};
use crate::control::cluster::sheet::{Part, Sheet};

/// Says which node runs which tree, and moves trees
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Status(page::Args),
    Why(why::Args),
    WhatIf(what_if::Args),
    Move(act::MoveArgs),
    Drain(act::DrainArgs),
    Undrain(act::UndrainArgs),
    Maintenance(act::MaintenanceArgs),
    Forgive(act::ForgiveArgs),
    Start(act::StartArgs),
    Confirm(act::ConfirmArgs),
    Audit(audit::Args),
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    report::end(match args.verb {
        Verb::Status(args) => page::run(&args),
        Verb::Why(args) => why::run(&args),
        Verb::WhatIf(args) => what_if::run(&args),
        Verb::Move(args) => act::shift(&args),
        Verb::Drain(args) => act::drain(&args),
        Verb::Undrain(args) => act::undrain(&args),
        Verb::Maintenance(args) => act::maintenance(&args),
        Verb::Forgive(args) => act::forgive(&args),
        Verb::Start(args) => act::start(&args),
        Verb::Confirm(args) => act::confirm(&args),
        Verb::Audit(args) => audit::run(&args),
    })
}

/// A daemon that is in a cluster, and what it knows.
struct Member {
    client: Client,
    endpoint: Endpoint,
    sheet: Sheet,
}

impl Member {
    /// The one daemon here that is in a cluster.
    fn find(target: &Target) -> Result<Member, Failure> {
        let client = target.client()?;
        let mut found = Vec::new();
        let mut without = None;
        for endpoint in client.endpoints() {
            match client.get::<Sheet>(endpoint, "/v1/cluster") {
                Ok(sheet) => found.push((endpoint.clone(), sheet)),
                Err(problem) => without = Some(problem),
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some((endpoint, sheet)), true) => Ok(Member { client, endpoint, sheet }),
            (Some(_), false) => {
                Err(Failure::usage("cannot tell which cluster is meant: several daemons here are in one")
                    .hint("--socket PATH, or WOODWARD_SOCKET"))
            }
            (None, _) => {
                Err(without
                    .map_or_else(|| Failure::new(Code::NoDaemon, "cannot reach a daemon"), Failure::from))
            }
        }
    }

    /// What it knows now.
    fn look(&mut self) -> Result<&Sheet, Failure> {
        self.sheet = self.client.get(&self.endpoint, "/v1/cluster")?;
        Ok(&self.sheet)
    }

    /// The full name of a group: itself, or one that looks like it.
    fn group(&self, asked: &str) -> Result<String, Failure> {
        let names: Vec<&str> = self.sheet.groups.iter().map(|part| part.group.as_str()).collect();
        self.named(asked, "group", &names)
    }

    /// The full name of a node.
    fn node(&self, asked: &str) -> Result<String, Failure> {
        let names: Vec<&str> = self.sheet.nodes.iter().map(|node| node.name.as_str()).collect();
        self.named(asked, "node", &names)
    }

    fn named(&self, asked: &str, what: &str, names: &[&str]) -> Result<String, Failure> {
        if names.contains(&asked) {
            return Ok(asked.to_owned());
        }
        let failure = Failure::usage(format!("cannot find {asked}: no {what} is called so"));
        Err(match crate::tree::nearest(asked, names.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint(match names {
                [] => format!("there is no {what} in the cluster {}", self.sheet.cluster),
                names => names.join(", "),
            }),
        })
    }
}

/// Groups of the cluster of a daemon that run elsewhere or nowhere, a line each.
pub fn elsewhere(client: &Client, endpoint: &Endpoint) -> Vec<(String, String)> {
    // A daemon in no cluster says so, an older one knows no such address.
    let Ok(sheet) = client.get::<Sheet>(endpoint, "/v1/cluster") else { return Vec::new() };
    let away = sheet.groups.iter().filter(|part| part.node.as_deref() != Some(&sheet.node));
    away.map(|part| (part.group.clone(), where_it_is(part, sheet.at))).collect()
}

fn where_it_is(part: &Part, now: u64) -> String {
    let group = &part.group;
    let ago = lasted(now.saturating_sub(part.since));
    match (&part.node, part.phase.as_deref()) {
        (Some(node), Some("active") | None) => format!("{group}: on {node} for {ago}: {}", part.why),
        (Some(node), Some(phase)) => format!("{group}: {phase} on {node}: {}", part.why),
        (None, _) if part.since == 0 => format!("{group}: on no node: {}", part.why),
        (None, _) => format!("{group}: on no node for {ago}: {}", part.why),
    }
}

/// As JSON, with a newline at the end.
fn as_json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| super::target::misread(&error).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use samples::{NOW, night};

    #[test]
    fn where_a_group_is_that_is_not_here() {
        let lines: Vec<String> = night().groups.iter().map(|part| where_it_is(part, NOW)).collect();
        assert_eq!(lines[0], "acs: on gas02 for 4m: its node was dead: no beat for 3s");
        assert_eq!(lines[1], "grid: starting on gas03: moved by ana: \"disk of gas02\"");
        assert!(lines[2].starts_with("integral: on no node for 10m: no node is able: gas01"), "{}", lines[2]);
    }
}
