//! The words of persons: each goes into the register, and then it is watched until it has come true.
//!
//! What is waited for is seen in the sheets of one daemon, so the times said are by one clock.

use std::collections::BTreeMap;
use std::time::Duration;

use woodward_engine::Time;

use super::super::report::{self, Code, Failure};
use super::super::target::Target;
use super::{Member, as_json};
use crate::control::client::{Client, encode};
use crate::control::cluster::sheet::{Part, Sheet};
use crate::os::clock;
use crate::record::words::about;

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(50);

/// By then this node has seen what it has written itself.
const SEEN: Duration = Duration::from_secs(3);

/// How a word is given.
#[derive(clap::Args)]
pub struct Manner {
    /// Why, for those who see it
    #[arg(short, long = "message", value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    looks: Looks,
}

/// How it is told.
#[derive(clap::Args)]
pub struct Looks {
    /// What is known afterwards, as an object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// How long is waited.
#[derive(clap::Args)]
pub struct Patience {
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Wait so long for it
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    within: Duration,
}

/// Moves a group to another node
#[derive(clap::Args)]
pub struct MoveArgs {
    /// Which tree
    group: String,
    /// Where to [default: the next best node]
    node: Option<String>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    manner: Manner,
}

/// Moves all groups off a node, and none back until `undrain`
#[derive(clap::Args)]
pub struct DrainArgs {
    /// Which node
    node: String,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    manner: Manner,
}

/// Lets a node run groups again
#[derive(clap::Args)]
pub struct UndrainArgs {
    /// Which node
    node: String,
    #[command(flatten)]
    looks: Looks,
}

/// Stops or resumes all that is done by itself, on all nodes
#[derive(clap::Args)]
pub struct MaintenanceArgs {
    /// on or off
    #[arg(value_parser = ["on", "off"])]
    on: String,
    #[command(flatten)]
    manner: Manner,
}

/// Forgets that a group gave up on a node
#[derive(clap::Args)]
pub struct ForgiveArgs {
    /// Which tree
    group: String,
    /// Where [default: on all nodes]
    node: Option<String>,
    #[command(flatten)]
    looks: Looks,
}

/// Lets a group run again that was stopped, or is broken
#[derive(clap::Args)]
pub struct StartArgs {
    /// Which tree
    group: String,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    looks: Looks,
}

/// Says that a dead node is off, where fencing could not tell
#[derive(clap::Args)]
pub struct ConfirmArgs {
    /// Which node: its power is cut, or it was started anew
    node: String,
    #[command(flatten)]
    looks: Looks,
}

/// Moves a group.
pub fn shift(args: &MoveArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.manner.looks.target)?;
    let group = member.group(&args.group)?;
    let node = args.node.as_deref().map(|node| member.node(node)).transpose()?;
    let before = member.sheet.group(&group).cloned();
    ask(&member, "move", &[("group", Some(&group)), ("node", node.as_deref())], &args.manner.message)?;
    let Some(before) = before.filter(|_| !args.patience.no_wait) else {
        return end(&mut member, &args.manner.looks, &format!("{group}: move asked for, not waited for"));
    };
    let mut tale = Tale::new(args.manner.looks.json);
    // What was written is seen a moment later; a wish that was seen and is gone was met, or could not be.
    let (asked, mut wished) = (clock::now(), false);
    let after = wait(&mut member, args.patience.within, |sheet| {
        let part = sheet.group(&group)?;
        tale.look(part);
        let moved = part.epoch > before.epoch && is_settled(part);
        wished |= part.wish.is_some();
        let gone = part.wish.is_none() && (wished || clock::now() > asked + SEEN);
        let given_up = gone && part.epoch == before.epoch && is_settled(part);
        (moved || given_up).then(|| part.clone())
    })?;
    tale.close();
    let Some(part) = after else { return late(&group, "move", args.patience.within) };
    if part.epoch == before.epoch {
        let on = part.node.unwrap_or_default();
        let message = format!("cannot move {group}: it stays on {on}");
        return Err(Failure::new(Code::Failed, message).hint(format!("woodward cluster why {group}")));
    }
    let missed = node.as_deref().filter(|wanted| part.node.as_deref() != Some(wanted));
    let gap = tale.without.map(|time| format!(", {} without service", about(time))).unwrap_or_default();
    if let (Some(on), None, Some("active")) = (&part.node, missed, part.phase.as_deref()) {
        return end(
            &mut member,
            &args.manner.looks,
            &format!("{group} is on {on}, epoch {}{gap}", part.epoch),
        );
    }
    let where_to = part.node.as_deref().unwrap_or("no node");
    let message = format!("cannot move {group}: it is on {where_to}: {}", part.why);
    Err(Failure::new(Code::Failed, message).hint(format!("woodward cluster why {group}")))
}

/// Drains a node.
pub fn drain(args: &DrainArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.manner.looks.target)?;
    let node = member.node(&args.node)?;
    let moved: Vec<String> = member.sheet.node(&node).map(|node| node.groups.clone()).unwrap_or_default();
    ask(&member, "drain", &[("node", Some(&node))], &args.manner.message)?;
    if args.patience.no_wait {
        return end(&mut member, &args.manner.looks, &format!("{node}: drain asked for, not waited for"));
    }
    let mut tales: BTreeMap<String, Tale> = BTreeMap::new();
    let quiet = args.manner.looks.json;
    let done = wait(&mut member, args.patience.within, |sheet| {
        let mut all = sheet.node(&node)?.drained.is_some();
        for name in &moved {
            let part = sheet.group(name)?;
            tales.entry(name.clone()).or_insert_with(|| Tale::new(quiet).of_several()).look(part);
            all &= part.node.as_deref() != Some(&node) && is_settled(part);
        }
        all.then(|| sheet.clone())
    })?;
    let Some(sheet) = done else { return late(&node, "drain", args.patience.within) };
    let down: Vec<&str> = moved
        .iter()
        .filter_map(|name| sheet.group(name))
        .filter(|part| part.node.is_none())
        .map(|part| part.group.as_str())
        .collect();
    let rest =
        if down.is_empty() { String::new() } else { format!("; no node could take {}", down.join(", ")) };
    let text = format!("{node} runs nothing, until woodward cluster undrain {node}{rest}");
    let code = end(&mut member, &args.manner.looks, &text)?;
    Ok(if down.is_empty() { code } else { Code::Failed })
}

/// Takes that back.
pub fn undrain(args: &UndrainArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.looks.target)?;
    let node = member.node(&args.node)?;
    ask(&member, "undrain", &[("node", Some(&node))], &None)?;
    end(&mut member, &args.looks, &format!("{node} may run groups again"))
}

/// Stops or resumes what is done by itself.
pub fn maintenance(args: &MaintenanceArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.manner.looks.target)?;
    let on = args.on == "on";
    let flag = if on { "true" } else { "false" };
    ask(&member, "maintenance", &[("on", Some(flag))], &args.manner.message)?;
    let text = match on {
        true => {
            "maintenance: nothing is started, moved or taken over by itself, until woodward cluster maintenance off"
        }
        false => "maintenance is over",
    };
    end(&mut member, &args.manner.looks, text)
}

/// Forgets that a group gave up.
pub fn forgive(args: &ForgiveArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.looks.target)?;
    let group = member.group(&args.group)?;
    let node = args.node.as_deref().map(|node| member.node(node)).transpose()?;
    ask(&member, "forgive", &[("group", Some(&group)), ("node", node.as_deref())], &None)?;
    let nodes = node.unwrap_or_else(|| "every node".to_owned());
    end(&mut member, &args.looks, &format!("{group} may run on {nodes} again"))
}

/// Lets a group run again.
pub fn start(args: &StartArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.looks.target)?;
    let group = member.group(&args.group)?;
    let before = member.sheet.group(&group).map_or(0, |part| part.epoch);
    ask(&member, "start", &[("group", Some(&group))], &None)?;
    if args.patience.no_wait {
        return end(&mut member, &args.looks, &format!("{group}: start asked for, not waited for"));
    }
    let mut tale = Tale::new(args.looks.json);
    let part = wait(&mut member, args.patience.within, |sheet| {
        let part = sheet.group(&group)?;
        tale.look(part);
        // First nobody has it, at a revision of its own: that is not the end of it.
        let up = part.phase.as_deref() == Some("active");
        let broken = part.node.is_none() && part.why.starts_with("no node is able");
        (part.epoch > before && (up || broken)).then(|| part.clone())
    })?;
    tale.close();
    match part {
        None => late(&group, "start", args.patience.within),
        Some(Part { node: Some(node), epoch, .. }) => {
            end(&mut member, &args.looks, &format!("{group} is on {node}, epoch {epoch}"))
        }
        Some(part) => {
            let message = format!("cannot start {group}: {}", part.why);
            Err(Failure::new(Code::Failed, message).hint(format!("woodward cluster why {group}")))
        }
    }
}

/// Says that a node is off.
pub fn confirm(args: &ConfirmArgs) -> Result<Code, Failure> {
    let mut member = Member::find(&args.looks.target)?;
    let node = member.node(&args.node)?;
    ask(&member, "confirm", &[("node", Some(&node))], &None)?;
    end(&mut member, &args.looks, &format!("{node} is taken to be off: its groups may be taken over"))
}

/// Neither on its way anywhere nor wanted elsewhere.
fn is_settled(part: &Part) -> bool {
    match part.phase.as_deref() {
        Some("active" | "stopped") => true,
        Some(_) => false,
        None => part.node.is_none(),
    }
}

/// Writes a word into the register.
fn ask(
    member: &Member,
    verb: &str,
    query: &[(&str, Option<&str>)],
    message: &Option<String>,
) -> Result<(), Failure> {
    let mut pairs: Vec<String> = Vec::new();
    for (name, value) in query.iter().copied().chain([("text", message.as_deref())]) {
        pairs.extend(value.map(|value| format!("{name}={}", encode(value))));
    }
    let uri = format!("/v1/cluster/{verb}?{}", pairs.join("&"));
    Ok(member.client.post::<()>(&member.endpoint, &uri)?)
}

/// Looks again and again, until `done` says what is to be known, or the time is over.
fn wait<T>(
    member: &mut Member,
    within: Duration,
    mut done: impl FnMut(&Sheet) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let end = clock::now() + within;
    loop {
        if let Some(known) = done(member.look()?) {
            return Ok(Some(known));
        }
        if clock::now() >= end {
            return Ok(None);
        }
        Client::pause(AGAIN);
    }
}

fn late(what: &str, verb: &str, within: Duration) -> Result<Code, Failure> {
    let message =
        format!("cannot wait for the {verb} of {what} any longer: not done after {}", about(within));
    Err(Failure::new(Code::TryAgain, message).hint("it goes on: woodward cluster status"))
}

/// The last line, or all that is known.
fn end(member: &mut Member, looks: &Looks, text: &str) -> Result<Code, Failure> {
    if looks.json {
        report::print(&as_json(member.look()?)?);
    } else {
        report::print(&format!("{text}\n"));
    }
    Ok(Code::Done)
}

/// What a group goes through while it is watched: told in a line, and how long nobody served.
struct Tale {
    quiet: bool,
    /// Each step on a line of its own: others are told in between.
    several: bool,
    told: Vec<String>,
    down: Option<Time>,
    /// From leaving one node until it was up on the other.
    without: Option<Duration>,
}

impl Tale {
    fn new(quiet: bool) -> Tale {
        Tale { quiet, several: false, told: Vec::new(), down: None, without: None }
    }

    fn of_several(self) -> Tale {
        Tale { several: true, ..self }
    }

    fn look(&mut self, part: &Part) {
        let now = clock::now();
        let up = part.phase.as_deref() == Some("active");
        match (up, self.down) {
            (false, None) => self.down = Some(now),
            (true, Some(since)) if self.without.is_none() => self.without = Some(now.since(since)),
            _ => {}
        }
        let node = part.node.as_deref().unwrap_or("no node");
        let step = match part.phase.as_deref() {
            Some("stopping") => format!("stops on {node}"),
            Some("starting") => format!("starts on {node}"),
            Some("active") => format!("up on {node}"),
            Some(phase) => format!("{phase} on {node}"),
            None if part.node.is_some() => format!("given to {node}"),
            None => "on no node".to_owned(),
        };
        if self.told.last() == Some(&step) || (self.told.is_empty() && up) {
            return;
        }
        let begins = self.told.is_empty() || self.several;
        let front = if begins { format!("{}  ", part.group) } else { ", ".to_owned() };
        if !self.quiet {
            report::print(&format!("{front}{step}{}", if self.several { "\n" } else { "" }));
        }
        self.told.push(step);
    }

    /// Ends the line.
    fn close(&mut self) {
        if !self.told.is_empty() && !self.quiet && !self.several {
            report::print("\n");
        }
    }
}
