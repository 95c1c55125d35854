//! `woodward units apply`: the units of a tree made what the tree now says, with no more restarts than that takes, and
//! told before it is done.
//!
//! ```text
//! files there, files as they shall be, what is up ─ forecast ─ told ─┬─ --dry-run: that was all
//!                                                                    └─ stop what goes ─ write ─ daemon-reload ─ restart, start
//! ```
//!
//! What goes is stopped by its own old file and takes nobody along. What restarts is marked first and then enqueued in
//! one go, so that systemd orders all of it as one transaction; what follows a restart by `PartOf=` it adds itself.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::super::report::{self, Code, Failure};
use super::super::style::{blanks, width};
use super::asked::{Asked, Rendered};
use super::generate::refused;
use super::place::{Place, agreed};
use super::said::Report;
use super::systemctl::{Manager, loaded};
use crate::units::forecast::{Because, Fate, Forecast, Model, What, forecast};
use crate::units::manifest::{self, File, Step};

/// Makes running units those of a tree: says who restarts, then does it
///
/// Only units whose change takes a restart are restarted, and whom systemd
/// restarts with them. Units that are down stay down.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Where they are [default: where systemd looks]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Say what would happen, do nothing
    #[arg(long)]
    dry_run: bool,
    /// Start the tree if it is down
    #[arg(long)]
    now: bool,
    /// Also what was changed by hand
    #[arg(long)]
    force: bool,
    /// What happens as an array on standard output
    #[arg(long)]
    json: bool,
}

/// What happens to a unit.
#[derive(Serialize)]
struct Said {
    unit: String,
    what: &'static str,
    because: String,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let rendered = args.asked.render()?;
    rendered.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    if let Some(refused) = refused(&rendered, args.asked.strict) {
        Report::of(&rendered).tell(&rendered, false)?;
        return Err(refused);
    }
    let manager = Manager::new(rendered.options.scope, None);
    let dir = args.output.clone().map_or_else(|| manager.directory(), Ok)?;
    let files = manifest::files(&rendered.plan, &rendered.options, &rendered.rendering);
    let mut place = if args.dry_run { Place::look(&dir)? } else { Place::open(&dir)? };
    let steps = place.steps(&rendered.plan.tree.id, &files)?;
    let forecast = foretell(args, &rendered, &manager, &place, &files, &steps)?;
    tell(&rendered, &forecast, args.json)?;
    agreed(&dir, &steps, args.force)?;
    if args.dry_run {
        return Ok(Code::Done);
    }
    let stops = forecast.of(What::Stop);
    if !stops.is_empty() {
        manager.tell(&["stop", "--job-mode=ignore-requirements"], stops)?;
    }
    let tree = &rendered.plan.tree.id;
    let after = place.manifest().clone().with(tree, &rendered.options, &files);
    place.carry_out(tree, after, &files, &steps)?;
    if manager.runs() {
        manager.reload()?;
        carry_out(&manager, &forecast)?;
    }
    Ok(Code::Done)
}

/// What writing these files would do to what is up.
fn foretell(
    args: &Args,
    rendered: &Rendered,
    manager: &Manager,
    place: &Place,
    files: &[File],
    steps: &[Step],
) -> Result<Forecast, Failure> {
    let there: Vec<(&str, String)> = steps
        .iter()
        .filter(|step| step.what != manifest::What::New)
        .map(|step| (step.name.as_str(), place.text(&step.name)))
        .collect();
    let names: BTreeSet<&str> =
        there.iter().map(|(name, _)| *name).chain(files.iter().map(|file| file.name.as_str())).collect();
    let (up, instances) = now(manager, &names)?;
    let old = Model::of(there.iter().map(|(name, text)| (*name, text.as_str())), &instances);
    let new = Model::of(files.iter().map(|file| (file.name.as_str(), file.text.as_str())), &instances);
    let root = rendered.rendering.units.first().map(|unit| unit.name.clone());
    let wanted = root.into_iter().filter(|_| args.now).collect();
    Ok(forecast(&old, &new, &up, &wanted))
}

/// Which of these units are up, and the instances of templates among them that systemd knows.
fn now(manager: &Manager, names: &BTreeSet<&str>) -> Result<(BTreeSet<String>, BTreeSet<String>), Failure> {
    let (mut up, mut instances) = (BTreeSet::new(), BTreeSet::new());
    if !manager.runs() {
        eprintln!("warning: systemd does not run here: this is about files alone");
        return Ok((up, instances));
    }
    let names: Vec<&str> = names.iter().copied().collect();
    let patterns = loaded(&names);
    let list = ["list-units", "--all", "--plain", "--full", "--no-legend", "--no-pager"];
    for line in manager.tell(&list, patterns.iter().map(String::as_str))?.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(state)) = (words.next(), words.nth(1)) else { continue };
        if !names.contains(&name) {
            instances.insert(name.to_owned());
        }
        if matches!(state, "active" | "activating" | "reloading") {
            up.insert(name.to_owned());
        }
    }
    Ok((up, instances))
}

/// Restarts and starts what was foretold, as one transaction.
fn carry_out(manager: &Manager, forecast: &Forecast) -> Result<(), Failure> {
    let starts = forecast.of(What::Start);
    if !starts.is_empty() {
        // Not waited for here: what restarts may have to start behind it.
        manager.tell(&["start", "--no-block"], starts.iter().copied())?;
    }
    let roots = forecast.roots();
    for unit in &roots {
        manager.tell(&["set-property", "--runtime"], [*unit, "Markers=+needs-restart"])?;
    }
    if !roots.is_empty() {
        manager.tell(&["reload-or-restart", "--marked"], [])?;
    }
    if !starts.is_empty() {
        manager.tell(&["start"], starts)?;
    }
    Ok(())
}

fn tell(rendered: &Rendered, forecast: &Forecast, json: bool) -> Result<(), Failure> {
    let said: Vec<Said> = forecast.fates.iter().map(said).collect();
    if json {
        let text = serde_json::to_string_pretty(&said)
            .map_err(|error| Failure::new(Code::Failed, format!("cannot write the report: {error}")))?;
        report::print(&(text + "\n"));
        return Ok(());
    }
    let count = |what| forecast.of(what).len();
    let [stop, restart, start] = [What::Stop, What::Restart, What::Start].map(count);
    let mut out = format!("{}: {restart} restart, {start} start, {stop} stop", rendered.plan.tree.id);
    out += if said.is_empty() { "; nothing changes\n" } else { "\n" };
    let wide = said.iter().map(|said| width(&said.unit)).max().unwrap_or(0);
    for Said { unit, what, because } in said {
        out += &format!("  {what:8}  {unit}{}  {because}\n", blanks(wide - width(&unit)));
    }
    report::print(&out);
    Ok(())
}

fn said(fate: &Fate) -> Said {
    let what = match fate.what {
        What::Stop => "stops",
        What::Restart => "restarts",
        What::Start => "starts",
        What::Reread => "goes on",
    };
    let because = match &fate.because {
        Because::Keys(keys) => {
            format!("{} differ{}", keys.join(", "), if keys.len() == 1 { "s" } else { "" })
        }
        Because::Follows { unit, key } if fate.what == What::Start => {
            format!("{unit} {} it", key.to_lowercase())
        }
        Because::Follows { unit, key } => format!("{key}={unit}"),
        Because::New => "new in the tree".to_owned(),
        Because::Gone => "no longer in the tree".to_owned(),
        Because::Wanted => "--now".to_owned(),
    };
    Said { unit: fate.unit.clone(), what, because }
}
