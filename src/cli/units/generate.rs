//! `woodward units generate`: a tree as units, in a directory or on standard output.

use std::path::PathBuf;

use super::super::report::{self, Code, Failure};
use super::asked::{Asked, Rendered};
use super::check;
use super::place::{Place, agreed};
use super::said::Report;
use crate::units::manifest;

/// Makes systemd units that mean what a tree means
///
/// Where they mean something else, that is said by name on standard error.
/// Files that a person has written or changed are left alone, and so are
/// drop-ins; units that the tree no longer has are removed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Where the units go [default: standard output]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the units, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write nothing; exit 1 if DIR holds anything else
    #[arg(long, requires = "output", conflicts_with = "dry_run")]
    check: bool,
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
    if let Some(refused) = refused(&rendered, args.asked.strict) {
        report.tell(&rendered, args.json)?;
        return Err(refused);
    }
    let files = manifest::files(&rendered.plan, &rendered.options, &rendered.rendering);
    let Some(dir) = args.output.as_ref().filter(|_| !args.dry_run) else {
        if args.json {
            report.texts(&files);
        }
        report.tell(&rendered, args.json)?;
        if !args.json {
            report::print(&manifest::together(&files));
        }
        return Ok(Code::Done);
    };
    if args.check {
        return check::check(&rendered, &files, dir, report, args.json);
    }
    let mut place = Place::open(dir)?;
    let steps = place.steps(&rendered.plan.tree.id, &files)?;
    report.files(dir, &steps);
    let agreed = agreed(dir, &steps, args.force);
    if agreed.is_ok() {
        let tree = &rendered.plan.tree.id;
        let after = place.manifest().clone().with(tree, &rendered.options, &files);
        place.carry_out(tree, after, &files, &steps)?;
        report.done();
    }
    report.tell(&rendered, args.json)?;
    agreed.map(|()| Code::Done)
}

/// With `--strict`: nothing but what means the same.
pub fn refused(rendered: &Rendered, strict: bool) -> Option<Failure> {
    let unaccepted = rendered.rendering.unaccepted(&rendered.options);
    let mut names: Vec<&str> = unaccepted.map(|deviates| deviates.deviation.name()).collect();
    names.sort_unstable();
    names.dedup();
    if !strict || names.is_empty() {
        return None;
    }
    let names = names.join(",");
    let message = format!("cannot make units of {} to the letter: {names}", rendered.plan.tree.id);
    Some(
        Failure::new(Code::Config, message)
            .hint(format!("nothing was written; --mode supervised, or --accept {names}")),
    )
}
