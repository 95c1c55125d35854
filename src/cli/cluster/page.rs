//! `woodward cluster status`: who is alive, who has what since when and why, on one page for 3 a.m.

use std::time::Duration;

use super::super::report::{self, Code, Failure};
use super::super::style::{Colour, Style, WIDTH, blanks, lasted, width, wrap};
use super::super::target::Target;
use super::{Member, as_json};
use crate::control::client::Client;
use crate::control::cluster::sheet::{self, Node, Part, Seen, Sheet, Word};

/// Shows nodes and groups: who is alive, who has what and why
#[derive(clap::Args)]
pub struct Args {
    /// Again every second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// The same as an object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Where the second column begins, the right end of the third, and where the last begins.
const SECOND: usize = 18;
const THIRD: usize = 45;
const LAST: usize = 48;

/// Shows it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let style = Style::here();
    loop {
        let shown = Member::find(&args.target);
        if !args.watch {
            let member = shown?;
            report::print(&if args.json { as_json(&member.sheet)? } else { page(&member.sheet, style) });
            return Ok(Code::Done);
        }
        let text = shown.map_or_else(|failure| format!("{failure}\n"), |member| page(&member.sheet, style));
        let clear = |text: &str| format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        report::print(&if style.colour { clear(&text) } else { format!("{text}\n") });
        Client::pause(Duration::from_secs(1));
    }
}

/// The page. Lines end with newlines and fit 80 columns.
pub fn page(sheet: &Sheet, style: Style) -> String {
    let mut out = head(sheet, style);
    let heading = |first: &str, second: &str, third: &str, last: &str| {
        let left = format!("{first}{}{second}", blanks(SECOND.saturating_sub(width(first))));
        let gap = THIRD.saturating_sub(width(&left) + width(third));
        style.paint(Colour::Dim, format!("{left}{}{third}   {last}", blanks(gap)).trim_end()) + "\n"
    };
    out.push_str(&heading("node", "", "last beat", "has"));
    for node in &sheet.nodes {
        out.push_str(&node_line(sheet, node, style));
    }
    if !sheet.store.is_empty() {
        out.push_str(&heading("etcd", "", "", ""));
        sheet.store.iter().for_each(|member| out.push_str(&member_line(member, style)));
    }
    out.push_str(&heading("group", "node", "for", "why"));
    for part in &sheet.groups {
        out.push_str(&group_lines(sheet, part, style));
    }
    if sheet.groups.is_empty() {
        out.push_str("no tree has [failover]\n");
    }
    out.push_str(&footer(sheet));
    style.text(&out)
}

/// `cluster woodward seen from gas01: degraded, 2 of 3 groups up`.
fn head(sheet: &Sheet, style: Style) -> String {
    let up = sheet.groups.iter().filter(|part| part.phase.as_deref() == Some("active")).count();
    let all = sheet.groups.len();
    let count = format!("{up} of {all} group{} up", if all == 1 { "" } else { "s" });
    let dead = sheet.nodes.iter().any(|node| matches!(node.state, Seen::Silent | Seen::Fenced));
    let (word, colour) = match () {
        () if sheet.term.is_none() => ("this node may run nothing", Colour::BoldRed),
        () if sheet.maintenance.is_some() => ("maintenance", Colour::Cyan),
        () if up < all => ("degraded", Colour::Yellow),
        () if dead => ("running, without all nodes", Colour::Yellow),
        () => ("running", Colour::Green),
    };
    let mut out =
        format!("cluster {} on {}: {}, {count}\n", sheet.cluster, sheet.node, style.paint(colour, word));
    if let Some(word) = &sheet.maintenance {
        let text =
            format!("maintenance by {}: nothing is started, moved or taken over by itself", said(word));
        wrap(&text, WIDTH).iter().for_each(|line| out.push_str(&format!("{line}\n")));
    }
    match sheet.term {
        Some(term) => out.push_str(&format!(
            "right to run here: {} more, without a further beat (term {})\n",
            tenths(term.left),
            term.number
        )),
        None => out.push_str("right to run here: none; it joins as soon as the store answers\n"),
    }
    out.push('\n');
    out
}

fn node_line(sheet: &Sheet, node: &Node, style: Style) -> String {
    let own = node.name == sheet.node;
    let (mark, colour, state) = match node.state {
        Seen::Alive if node.drained.is_some() => ("-", Colour::Dim, String::new()),
        Seen::Alive => (dot(style), Colour::Green, String::new()),
        Seen::Silent => ("!", Colour::BoldRed, "silent".to_owned()),
        Seen::Fenced => {
            let by = node.fenced_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
            ("!", Colour::BoldRed, format!("fenced{by}"))
        }
        Seen::Absent => ("-", Colour::Dim, "not there".to_owned()),
    };
    let drained = node.drained.as_ref().map(|word| format!("drained by {}", said(word)));
    let beat = match (own, node.silent) {
        (true, _) if node.state == Seen::Alive => "here".to_owned(),
        (_, Some(ms)) => format!("{} ago", tenths(ms)),
        _ => "-".to_owned(),
    };
    let mut has = vec![node.groups.join(", ")];
    if node.groups.is_empty() {
        has = vec!["nothing".to_owned()];
    }
    has.extend(drained);
    row(style.paint(colour, mark), [&node.name, &state, &beat, &has.join("; ")])
}

fn member_line(member: &sheet::Member, style: Style) -> String {
    let (mark, colour) = match member.fault {
        None => (dot(style), Colour::Green),
        Some(_) => ("!", Colour::BoldRed),
    };
    let says = match (&member.fault, member.leads) {
        (Some(fault), _) => format!(": {fault}"),
        (None, true) => ", leads".to_owned(),
        (None, false) => String::new(),
    };
    let lines = wrap(&format!("{}{says}", member.member), WIDTH - 2);
    let mut out = String::new();
    for (n, line) in lines.iter().enumerate() {
        let front = if n == 0 { format!("{} ", style.paint(colour, mark)) } else { "  ".to_owned() };
        out.push_str(&format!("{front}{line}\n"));
    }
    out
}

fn group_lines(sheet: &Sheet, part: &Part, style: Style) -> String {
    let phase = part.phase.as_deref();
    let dead = part
        .node
        .as_deref()
        .and_then(|node| sheet.node(node))
        .is_some_and(|node| matches!(node.state, Seen::Silent | Seen::Fenced));
    let (mark, colour) = match (&part.node, phase) {
        (None, _) if part.why.starts_with("stopped") => ("-", Colour::Dim),
        (None, _) => ("!", Colour::BoldRed),
        (Some(_), _) if dead => ("!", Colour::BoldRed),
        (Some(_), Some("active")) => (dot(style), Colour::Green),
        (Some(_), _) => ("~", Colour::Yellow),
    };
    let mut why: Vec<String> = Vec::new();
    match phase {
        Some("active") | None => {}
        Some(phase) => why.push(phase.to_owned()),
    }
    if dead {
        why.push("its node is dead".to_owned());
    }
    why.push(part.why.clone());
    if let Some(wish) = &part.wish {
        let to = wish.to.as_deref().unwrap_or("another node");
        why.push(format!("wanted on {to} by {}", said(&wish.by)));
    }
    if let Some(probe) = &part.probe {
        why.push(match (probe.able, &probe.why) {
            (None, _) => format!("{} is asked whether it could run it", probe.node),
            (Some(true), _) => format!("{} could run it", probe.node),
            (Some(false), why) => {
                format!("{} could not run it: {}", probe.node, why.as_deref().unwrap_or("no reason given"))
            }
        });
    }
    let time = match part.since {
        0 => "-".to_owned(),
        since => lasted(sheet.at.saturating_sub(since)),
    };
    let node = part.node.as_deref().unwrap_or("-");
    let mut out = row(style.paint(colour, mark), [&part.group, node, &time, &why.join("; ")]);
    for candidate in &part.candidates {
        let Some(avoided) = &candidate.avoided else { continue };
        let text = format!("avoids {} for {} more: {}", candidate.node, lasted(avoided.left), avoided.why);
        for line in wrap(&text, WIDTH - 4) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

/// A line in columns; what is too long for the last one goes on below.
fn row(mark: String, [first, second, third, last]: [&str; 4]) -> String {
    let left = format!("{first}{}{second}", blanks(SECOND.saturating_sub(2 + width(first)).max(1)));
    let gap = THIRD.saturating_sub(2 + width(&left) + width(third)).max(1);
    let front = format!("{left}{}{third}   ", blanks(gap));
    // Names that are too long push the reason out; then it stands below.
    let below = 2 + width(&front) > LAST;
    let lines = wrap(last, WIDTH - LAST);
    let beside = if below { "" } else { lines.first().map_or("", String::as_str) };
    let mut out = format!("{mark} {front}{beside}").trim_end().to_owned() + "\n";
    for line in lines.iter().skip(usize::from(!below)) {
        out.push_str(&format!("{}{line}\n", blanks(LAST)));
    }
    out
}

fn footer(sheet: &Sheet) -> String {
    let mut hints = Vec::new();
    let ill = sheet.groups.iter().find(|part| part.phase.as_deref() != Some("active"));
    if let Some(part) = ill.or(sheet.groups.first()) {
        hints.push(format!("why: woodward cluster why {}", part.group));
    }
    if let Some(node) = sheet.nodes.iter().find(|node| !node.groups.is_empty()) {
        hints.push(format!("if it dies: woodward cluster what-if kill {}", node.name));
    }
    if hints.is_empty() { String::new() } else { format!("\n{}\n", hints.join("\n")) }
}

/// `ana: "mirror is being moved"`.
fn said(word: &Word) -> String {
    match &word.text {
        Some(text) => format!("{}: \"{text}\"", word.by),
        None => word.by.clone(),
    }
}

fn dot(style: Style) -> &'static str {
    if style.unicode { "●" } else { "*" }
}

/// Seconds with a tenth below ten of them, for what matters by the tenth.
pub fn tenths(ms: u64) -> String {
    if ms < 10_000 { format!("{}.{}s", ms / 1000, ms % 1000 / 100) } else { lasted(ms) }
}

#[cfg(test)]
mod tests;
