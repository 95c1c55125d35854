//! `woodward units check`: whether a directory holds the units of a tree, and nothing old of it.

use std::path::{Path, PathBuf};

use super::super::report::{self, Code, Failure};
use super::asked::{Asked, Rendered};
use super::generate::refused;
use super::place::{Place, why};
use super::said::Report;
use crate::units::manifest::{self, File, Step, What};

/// Exit 1 if a directory holds anything but a tree's units
///
/// Says which files differ. Drop-ins and files of others do not count.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Where the units are
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The report as an object on standard output
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let rendered = args.asked.render()?;
    let report = Report::of(&rendered);
    if let Some(refused) = refused(&rendered, args.asked.strict) {
        report.tell(&rendered, args.json)?;
        return Err(refused);
    }
    let files = manifest::files(&rendered.plan, &rendered.options, &rendered.rendering);
    check(&rendered, &files, &args.output, report, args.json)
}

/// What differs, a line each, and the exit code.
pub fn check(
    rendered: &Rendered,
    files: &[File],
    dir: &Path,
    mut report: Report,
    json: bool,
) -> Result<Code, Failure> {
    let place = Place::look(dir)?;
    let tree = &rendered.plan.tree.id;
    let steps = place.steps(tree, files)?;
    let listed = place.manifest().clone().with(tree, &rendered.options, files) == *place.manifest();
    report.files(dir, &steps);
    if json {
        report.tell(rendered, json)?;
    } else {
        report::print(&text(dir, &steps, listed));
    }
    let same = listed && steps.iter().all(|step| step.what == What::Same);
    Ok(if same { Code::Done } else { Code::Failed })
}

fn text(dir: &Path, steps: &[Step], listed: bool) -> String {
    let mut out = String::new();
    for step in steps.iter().filter(|step| step.what != What::Same) {
        let what = match step.what {
            What::New => "missing",
            What::Changed => "differs",
            What::Removed => "the tree no longer has it",
            What::Same => continue,
        };
        let whose = step.hands_off.as_ref().map(|hands_off| format!("; {}", why(hands_off)));
        out += &format!("{}: {what}{}\n", dir.join(&step.name).display(), whose.unwrap_or_default());
    }
    let different = out.lines().count();
    let units = steps.iter().filter(|step| step.what != What::Removed).count();
    let plural = if units == 1 { "" } else { "s" };
    match (different, listed) {
        (0, true) => out += &format!("{}: {units} unit{plural}, as the tree says\n", dir.display()),
        (0, false) => out += &format!("{}: out of date\n", dir.join(manifest::FILE).display()),
        _ => out += &format!("{different} differ; woodward units diff shows how\n"),
    }
    out
}
