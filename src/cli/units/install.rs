//! `woodward units install`: the units of a tree where systemd looks for them, enabled as this host wants it.

use std::path::PathBuf;

use super::super::report::{self, Code, Failure};
use super::asked::Asked;
use super::generate::refused;
use super::place::{Place, agreed};
use super::said::Report;
use super::systemctl::{Manager, loaded};
use crate::units::manifest::{self, Step, What};
use crate::units::{Section, Unit};

/// Puts a tree's units where systemd looks for them
///
/// Into /etc/systemd/system, or ~/.config/systemd/user with --user-scope.
/// Whether the tree starts at boot is the host's decision: its presets are
/// applied (systemd.preset(5)), and `systemctl enable` overrides them. Units
/// that the tree no longer has are stopped and removed; those that have changed
/// go on as they are until they are restarted.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Start the tree, too
    #[arg(long, conflicts_with = "root")]
    now: bool,
    /// Into the host that lies below this directory
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
    /// Also what was changed by hand
    #[arg(long)]
    force: bool,
    /// The report as an object on standard output
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let rendered = args.asked.render()?;
    let mut report = Report::of(&rendered);
    let manager = Manager::new(rendered.options.scope, args.root.as_deref());
    let dir = manager.directory()?;
    if args.now && !manager.runs() {
        let failure =
            Failure::new(Code::Failed, format!("cannot start {}: systemd does not run", report.tree));
        return Err(failure.hint("nothing was written; without --now the units are only put in place"));
    }
    if let Some(refused) = refused(&rendered, args.asked.strict) {
        report.tell(&rendered, args.json)?;
        return Err(refused);
    }
    let entries =
        rendered.rendering.units.iter().filter(|unit| is_entry(unit)).map(|unit| unit.name.as_str());
    let (templates, entries): (Vec<&str>, Vec<&str>) = entries.partition(|name| name.contains("@."));
    if let Some(template) = templates.first().filter(|_| args.now) {
        let failure = Failure::usage(format!("cannot start {template}: it is a template"));
        let instance = template.replace("@.", "@INSTANCE.");
        return Err(
            failure.hint(format!("nothing was written; without --now, then systemctl start {instance}"))
        );
    }
    let files = manifest::files(&rendered.plan, &rendered.options, &rendered.rendering);
    let tree = &rendered.plan.tree.id;
    let mut place = Place::open(&dir)?;
    let steps = place.steps(tree, &files)?;
    agreed(&dir, &steps, args.force)?;
    report.files(&dir, &steps);
    let going = steps.iter().filter(|step| step.what == What::Removed).map(|step| step.name.as_str());
    let going: Vec<&str> = going.collect();
    stop_alone(&manager, &going)?;
    let after = place.manifest().clone().with(tree, &rendered.options, &files);
    place.carry_out(tree, after, &files, &steps)?;
    report.done();
    let fresh = entries.iter().copied().filter(|name| is_new(&steps, name));
    let fresh: Vec<&str> = fresh.collect();
    if !fresh.is_empty() {
        let words: &[&str] = if manager.runs() { &["preset", "--no-reload"] } else { &["preset"] };
        manager.tell(words, fresh)?;
    }
    manager.reload()?;
    report.tell(&rendered, args.json)?;
    if args.now {
        manager.tell(&["start"], entries.iter().copied())?;
    }
    if !args.json {
        report::print(&outcome(&manager, &entries));
        templates.iter().for_each(|template| {
            let instance = template.replace("@.", "@INSTANCE.");
            report::print(&format!("{template}: a template: systemctl enable --now {instance}\n"));
        });
    }
    Ok(Code::Done)
}

/// It is started with the host, and all others by it.
fn is_entry(unit: &Unit) -> bool {
    unit.lines.iter().any(|line| line.section == Section::Install)
}

fn is_new(steps: &[Step], name: &str) -> bool {
    steps.iter().any(|step| step.name == name && step.what == What::New)
}

/// Stops units that are going, by their own rules and without those that would go with them.
fn stop_alone(manager: &Manager, units: &[&str]) -> Result<(), Failure> {
    if units.is_empty() || !manager.runs() {
        return Ok(());
    }
    let units = loaded(units);
    manager.tell(&["stop", "--job-mode=ignore-dependencies"], units.iter().map(String::as_str)).map(drop)
}

/// A line for each unit that is started with the host.
fn outcome(manager: &Manager, entries: &[&str]) -> String {
    let mut out = String::new();
    for unit in entries {
        // Both end with 1 where the answer is no.
        let enabled = manager.tell(&["is-enabled"], [*unit]).is_ok();
        let enabled = if enabled { "enabled" } else { "not enabled: systemctl enable, or a preset" };
        let active = manager.runs() && manager.tell(&["is-active"], [*unit]).is_ok();
        out += &format!("{unit}: {enabled}{}\n", if active { "; running" } else { "" });
    }
    out
}
