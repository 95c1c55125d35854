//! `woodward units diff`: what generating would change in a directory, as a unified diff.

use std::path::{Path, PathBuf};

use super::super::differing::hunks;
use super::super::report::{self, Code, Failure};
use super::super::style::Style;
use super::asked::Asked;
use super::place::{Place, why};
use crate::units::manifest::{self, File, Step, What};

/// Shows what generating would change in a directory
///
/// A unified diff; exit 1 if there is one, like diff.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Where the units are
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let rendered = args.asked.render()?;
    let files = manifest::files(&rendered.plan, &rendered.options, &rendered.rendering);
    let place = Place::look(&args.output)?;
    let steps = place.steps(&rendered.plan.tree.id, &files)?;
    let style = Style::here();
    let mut out = String::new();
    for step in steps.iter().filter(|step| step.what != What::Same) {
        let file = files.iter().find(|file| file.name == step.name);
        out += &one(place.dir(), step, &place.text(&step.name), file, style);
    }
    report::print(&out);
    Ok(if out.is_empty() { Code::Done } else { Code::Failed })
}

/// The difference in one file.
fn one(dir: &Path, step: &Step, there: &str, file: Option<&File>, style: Style) -> String {
    let path = dir.join(&step.name).display().to_string();
    let mut out = String::new();
    if let Some(hands_off) = &step.hands_off {
        out += &format!("# {path}: {}\n", why(hands_off));
    }
    let shall = file.map(|file| file.text.as_str()).unwrap_or_default();
    if there == shall {
        let mode = file.map(|file| file.mode).unwrap_or_default();
        return out + &format!("# {path}: permissions become {mode:04o}\n");
    }
    let from = if step.what == What::New { "/dev/null" } else { &path };
    let to = if step.what == What::Removed { "/dev/null" } else { &path };
    out += &format!("--- {from}\n+++ {to}\n");
    let (there, shall) = (without_hash(there), without_hash(shall));
    out += &hunks(&there, &shall, style);
    out
}

/// The hash follows from all the other lines.
fn without_hash(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("Hash=")).map(|line| format!("{line}\n")).collect()
}
