//! `woodward cluster audit`: proves from what the nodes have recorded that no two epochs of a group overlapped.

mod proof;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::last;
use super::super::report::{self, Code, Failure};
use super::super::story;
use super::super::style::{Style, WIDTH, wrap};
use super::super::target;
use super::as_json;
use crate::control::client::Client;
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::record::words;
use proof::{Audit, Record, audit};

/// Proves from the records of the nodes that no group ran twice
///
/// Each FILE is the record of one node: a history directory, or what
/// `woodward events --since 30d --json` printed there. Without any, those of
/// this host. Exit 0: proved; 1: two ran at once; 2: not all is proved.
#[derive(clap::Args)]
pub struct Args {
    /// Records: history directories, or files of facts
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also ask the daemon at this socket [repeatable]
    #[arg(long = "node", value_name = "SOCKET")]
    sockets: Vec<PathBuf>,
    /// Only this tree
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Clocks of nodes may differ by this
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    clock_error: Duration,
    /// All of it as an array
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let records = records(args)?;
    let nodes: Vec<&str> = records.iter().map(|record| record.node.as_str()).collect();
    let error = u64::try_from(args.clock_error.as_millis()).unwrap_or(u64::MAX);
    let mut found = audit(&records, error);
    if let Some(group) = &args.group {
        found.retain(|audit| audit.group == *group);
    }
    if found.is_empty() {
        let message = format!("cannot audit: the records of {} tell of no group", nodes.join(", "));
        return Err(Failure::new(Code::Failed, message));
    }
    if args.json {
        report::print(&as_json(&found)?);
    } else {
        let zone = clock::zone(clock::wall());
        let pages: Vec<String> = found.iter().map(|audit| page(audit, error, zone)).collect();
        report::print(&Style::here().text(&pages.join("\n")));
    }
    Ok(match () {
        () if found.iter().any(|audit| !audit.overlaps.is_empty()) => Code::Failed,
        () if found.iter().any(|audit| !audit.unproved.is_empty()) => Code::Unproved,
        () => Code::Done,
    })
}

/// What the nodes have recorded, a record for each node.
fn records(args: &Args) -> Result<Vec<Record>, Failure> {
    let mut all: Vec<Vec<FactLine>> = Vec::new();
    for file in &args.files {
        all.push(of_file(file)?);
    }
    for socket in &args.sockets {
        let client = Client::find(Some(socket), &target::host())?;
        for endpoint in client.endpoints() {
            all.push(client.get(endpoint, "/v1/cluster/record")?);
        }
    }
    if args.files.is_empty() && args.sockets.is_empty() {
        let kept = target::host().kept(None);
        all.extend(kept.values().filter_map(last::facts));
    }
    let mut records: Vec<Record> = Vec::new();
    for facts in all {
        let node = facts.iter().rev().find_map(|fact| fact.word("node").filter(|_| is_told(fact)));
        let Some(node) = node.map(str::to_owned) else { continue };
        match records.iter_mut().find(|record| record.node == node) {
            // The same node twice: as a file and from its daemon, or with a history of each of its trees.
            Some(record) => record.join(facts),
            None => records.push(Record { node, facts }),
        }
    }
    match records.is_empty() {
        true => {
            let hint =
                "woodward cluster audit FILE..., each from `woodward events --since 30d --json` on its node";
            let message = "cannot audit: none of these records tells of a cluster";
            Err(Failure::new(Code::Failed, message).hint(hint))
        }
        false => Ok(records),
    }
}

/// It was told by the cluster's part of a daemon.
fn is_told(fact: &FactLine) -> bool {
    fact.kind.starts_with("group_") || matches!(fact.kind.as_str(), "cluster_joined" | "term_over")
}

fn of_file(file: &Path) -> Result<Vec<FactLine>, Failure> {
    if let Some(facts) = story::find(file, None)? {
        return Ok(facts);
    }
    let cannot = |why: String| Failure::new(Code::Config, format!("cannot audit {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => cannot("no such file".to_owned()),
        _ => cannot(error.to_string()),
    })?;
    if let Ok(facts) = serde_json::from_str::<Vec<FactLine>>(&text) {
        return Ok(facts);
    }
    // A line of a history has its sum around the fact.
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Line {
        Kept { fact: FactLine },
        Told(FactLine),
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| match serde_json::from_str::<Line>(line) {
            Ok(Line::Kept { fact } | Line::Told(fact)) => Ok(fact),
            Err(_) => Err(cannot(format!("line {} is no fact", n + 1))
                .hint("a history directory, or the output of `woodward events --since 30d --json`")),
        })
        .collect()
}

impl Record {
    /// Takes in what is not there yet; each line's place is that of its time, and of its number where these are alike.
    fn join(&mut self, more: Vec<FactLine>) {
        let known: std::collections::HashSet<(u64, u64, String)> =
            self.facts.iter().map(|fact| (fact.at, fact.seq, fact.path.clone())).collect();
        let new = more.into_iter().filter(|fact| !known.contains(&(fact.at, fact.seq, fact.path.clone())));
        self.facts.extend(new);
        self.facts.sort_by_key(|fact| (fact.at, fact.seq));
    }
}

/// What was found about one group: the verdict first.
fn page(audit: &Audit, error: u64, zone: i32) -> String {
    let mut out = String::new();
    let mut say = |text: &str, indent: usize| {
        for (n, line) in wrap(text, WIDTH - indent).iter().enumerate() {
            let front = if n == 0 { indent.saturating_sub(2) } else { indent };
            out.push_str(&format!("{}{line}\n", " ".repeat(front)));
        }
    };
    let nodes: std::collections::BTreeSet<&str> = audit.lives.iter().map(|life| life.node.as_str()).collect();
    let (lives, s) = (audit.lives.len(), if audit.lives.len() == 1 { "" } else { "s" });
    let verdict = match (audit.overlaps.len(), audit.unproved.len()) {
        (0, 0) => "no two overlapped".to_owned(),
        (0, n) => format!("none is seen to overlap, {n} not proved"),
        (n, _) => format!("{n} OVERLAPPED"),
    };
    let nodes: Vec<&str> = nodes.into_iter().collect();
    say(&format!("{}: {lives} epoch{s} on {}: {verdict}", audit.group, nodes.join(", ")), 2);
    if let (Some(first), Some(last)) = (audit.lives.first(), audit.lives.last()) {
        let when = |at: u64| format!("{} {}", words::day(at, zone), words::clock(at, zone));
        say(&format!("from {} to {}", when(first.from), when(last.until.unwrap_or(last.from))), 4);
    }
    let count = |by: &str| audit.proofs.iter().filter(|proof| proof.by == by).count();
    let mut how = Vec::new();
    let kinds = [
        ("order", "on one node, by the order of its record"),
        ("cause", "by cause: the earlier owner gave it away after its end"),
    ];
    for (by, text) in kinds {
        how.extend(Some(count(by)).filter(|n| *n > 0).map(|n| format!("{n} {text}")));
    }
    let gaps = audit.proofs.iter().filter(|proof| proof.by == "clocks").map(|proof| proof.gap);
    if let Some(least) = gaps.min() {
        let n = count("clocks");
        how.push(format!("{n} by clocks, at least {least} ms apart where they may differ by {error} ms"));
    }
    how.iter().for_each(|text| say(text, 4));
    audit.overlaps.iter().for_each(|text| say(&format!("OVERLAP: {text}"), 4));
    audit.unproved.iter().for_each(|text| say(&format!("not proved: {text}"), 4));
    out
}
