//! `woodward cluster why GROUP`: the chain of facts that put a group where it is, and what keeps it from every other node.

use super::super::report::{self, Code, Failure};
use super::super::style::{Style, WIDTH, blanks, lasted, width, wrap};
use super::super::target::Target;
use super::page::tenths;
use super::{Member, as_json};
use crate::control::cluster::sheet::{Part, Sheet};
use crate::os::clock;
use crate::record::fact::FactLine;
use crate::record::words;

/// Explains why a group is where it is, and not elsewhere
#[derive(clap::Args)]
pub struct Args {
    /// Which tree
    group: String,
    /// The same as an object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Facts shown at most: those of the last ownership and what led to it.
const FACTS: usize = 24;
/// What led to a move happened at most so long before it, milliseconds.
const CAUSES: u64 = 60_000;

#[derive(serde::Serialize)]
struct Told<'a> {
    group: &'a Part,
    facts: &'a [FactLine],
    earlier: &'a [FactLine],
}

/// Explains it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let member = Member::find(&args.target)?;
    let group = member.group(&args.group)?;
    let facts: Vec<FactLine> = member.client.get(&member.endpoint, "/v1/events")?;
    let Some(part) = member.sheet.group(&group) else {
        return Err(Failure::usage(format!("cannot find {group}: no group is called so")));
    };
    let (facts, earlier) = chain(part, &facts);
    let text = match args.json {
        true => as_json(&Told { group: part, facts: &facts, earlier: &earlier })?,
        false => {
            let now = clock::wall();
            page(&member.sheet, part, &facts, &earlier, clock::zone(now), Style::here())
        }
    };
    report::print(&text);
    Ok(Code::Done)
}

/// Of all facts of a daemon those about a group and what it depends on: from the cause of its last move on, and the moves
/// before that.
fn chain(part: &Part, all: &[FactLine]) -> (Vec<FactLine>, Vec<FactLine>) {
    let concerned = |fact: &&FactLine| {
        let own = fact.path == part.group
            && (fact.kind.starts_with("group_")
                || matches!(
                    fact.kind.as_str(),
                    "failback_waits" | "term_over" | "limit_exceeded" | "tree_ended"
                ));
        let whole = fact.path.is_empty()
            && matches!(
                fact.kind.as_str(),
                "cluster_joined"
                    | "node_dead"
                    | "node_back"
                    | "node_fenced"
                    | "store_away"
                    | "store_back"
                    | "store_older"
                    | "maintenance"
            );
        own || whole
    };
    let facts: Vec<FactLine> = all.iter().filter(concerned).cloned().collect();
    let is_move = |fact: &FactLine| fact.kind == "group_given" && fact.path == part.group;
    let begin = facts.iter().position(|fact| is_move(fact) && fact.number("epoch") == Some(part.epoch));
    // A node that neither decided it nor has the group has recorded nothing of it.
    let Some(begin) = begin.or_else(|| facts.iter().rposition(is_move)) else {
        return (Vec::new(), Vec::new());
    };
    let at = facts.get(begin).map_or(0, |fact| fact.at);
    let previous = facts[..begin].iter().rposition(is_move).map_or(0, |n| n + 1);
    let cause = (previous..begin).find(|n| facts[*n].at + CAUSES >= at).unwrap_or(begin);
    let earlier: Vec<FactLine> = facts[..previous].iter().filter(|fact| is_move(fact)).cloned().collect();
    let mut shown = facts[cause..].to_vec();
    if shown.len() > FACTS {
        let cut = shown.len() - FACTS;
        // The move and its cause stay, what came after it in between goes.
        let keep = (begin - cause + 1).min(FACTS / 2);
        shown.drain(keep..keep + cut);
    }
    let few = earlier.len().saturating_sub(5);
    (shown, earlier[few..].to_vec())
}

/// The page: the answer in a sentence, cause to effect, now, and every other node.
pub fn page(
    sheet: &Sheet,
    part: &Part,
    facts: &[FactLine],
    earlier: &[FactLine],
    zone: i32,
    style: Style,
) -> String {
    let mut out = String::new();
    // What goes on in the next line stands below the text, not below its front.
    let mut say = |front: &str, text: &str| {
        let indent = width(front).max(2);
        for (n, line) in wrap(text, WIDTH - indent).iter().enumerate() {
            let front = if n == 0 { front.to_owned() } else { blanks(indent) };
            out.push_str(&format!("{front}{line}\n"));
        }
    };
    let name = &part.group;
    say(
        "",
        &match &part.node {
            Some(node) => format!("{name} is on {node}: {}", part.why),
            None => format!("{name} is on no node: {}", part.why),
        },
    );
    if part.since > 0 {
        let by = part.by.as_deref().map(|by| format!(", decided by {by}")).unwrap_or_default();
        let when = format!("{} {}", words::day(part.since, zone), words::clock(part.since, zone));
        say("  ", &format!("epoch {}, since {when}{by}", part.epoch));
    }
    let known = facts.iter().any(|fact| fact.number("epoch") == Some(part.epoch));
    if !facts.is_empty() {
        say("", &format!("what {} has recorded of it", sheet.node));
    }
    let others = [part.by.as_deref(), part.node.as_deref()];
    let mut others: Vec<&str> = others.into_iter().flatten().filter(|node| *node != sheet.node).collect();
    others.dedup();
    if !known && !others.is_empty() {
        say("", &format!("{} has not recorded this move: ask on {}", sheet.node, others.join(" or ")));
    }
    let first = facts.first().map_or(0, |fact| fact.at);
    for (n, fact) in facts.iter().enumerate() {
        let time = match n {
            0 => words::clock_ms(fact.at, zone),
            _ if fact.at.saturating_sub(first) < 100_000 => format!("+{}", fact.at.saturating_sub(first)),
            _ => words::clock(fact.at, zone),
        };
        let whom = if fact.path.is_empty() { "" } else { name.as_str() };
        let front = format!("{time:>12}  {whom:<w$}  ", w = width(name));
        say(&front, &fact.text);
    }
    say("now   ", &now(sheet, part));
    for candidate in part.candidates.iter().filter(|one| part.node.as_deref() != Some(&one.node)) {
        let mut why = candidate.why_not.join("; ");
        if let Some(avoided) = &candidate.avoided {
            why.push_str(&format!("; avoided for {} more", lasted(avoided.left)));
        }
        let able = if part.node.is_some() { "it could run there" } else { "it could run there, and will" };
        say(&format!("not on {}: ", candidate.node), if why.is_empty() { able } else { &why });
    }
    if !earlier.is_empty() {
        say("", "before that");
        for fact in earlier {
            let when = format!("{} {}", words::day(fact.at, zone), words::clock(fact.at, zone));
            say(&format!("  {when}  "), &fact.text);
        }
    }
    style.text(&out)
}

/// What it is doing, and on what that rests.
fn now(sheet: &Sheet, part: &Part) -> String {
    let mut parts = Vec::new();
    match (&part.node, part.phase.as_deref()) {
        (Some(_), Some("active")) => {
            let time = part.phase_since.map(|since| lasted(sheet.at.saturating_sub(since)));
            parts.push(format!("up for {}", time.unwrap_or_else(|| "?".to_owned())));
        }
        (Some(_), Some(phase)) => parts.push(phase.to_owned()),
        (Some(node), None) => parts.push(format!("given to {node}, not started yet")),
        (None, _) => parts.push("down".to_owned()),
    }
    if let Some(node) = part.node.as_deref().and_then(|node| sheet.node(node)) {
        let term = node.term.map(|term| format!("term {term} of {}", node.name)).unwrap_or_default();
        match (node.name == sheet.node, sheet.term, node.silent) {
            (true, Some(own), _) => {
                parts.push(format!("{term} lasts {} more without a further beat", tenths(own.left)));
            }
            (true, None, _) => parts.push(format!("{} has no right to run anything", node.name)),
            (false, _, Some(silent)) => {
                parts.push(format!("last beat of {} seen {} ago, {term}", node.name, tenths(silent)));
            }
            (false, _, None) => {}
        }
    }
    if let Some(took) = part.start_took {
        parts.push(format!("its last start took {}", tenths(took)));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests;
