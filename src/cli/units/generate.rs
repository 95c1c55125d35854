//! `woodward units generate`: a tree as units, in a directory or on standard output.

use super::super::report::{self, Code, Failure};
use super::asked::{Asked, Rendered};
use super::said::Report;

/// Makes systemd units that mean what a tree means
///
/// Where they mean something else, that is said by name on standard error.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Print the units, write nothing
    #[arg(long)]
    dry_run: bool,
    /// The report as an object on standard output
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let rendered = args.asked.render()?;
    tell(&rendered, args.json)?;
    refuse(&rendered, args.asked.strict)?;
    if !args.json {
        let texts = rendered.rendering.units.iter().map(|unit| format!("# {}\n{unit}", unit.name));
        report::print(&texts.collect::<Vec<_>>().join("\n"));
    }
    Ok(Code::Done)
}

/// Warnings about the tree, then what became of it.
pub fn tell(rendered: &Rendered, json: bool) -> Result<(), Failure> {
    rendered.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let said = Report::of(rendered);
    if !json {
        eprint!("{}", said.text());
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&said)
        .map_err(|error| Failure::new(Code::Failed, format!("cannot write the report: {error}")))?;
    report::print(&(text + "\n"));
    Ok(())
}

/// With `--strict`: nothing but what means the same.
pub fn refuse(rendered: &Rendered, strict: bool) -> Result<(), Failure> {
    let mut names: Vec<&str> =
        rendered.rendering.unaccepted(&rendered.options).map(|deviates| deviates.deviation.name()).collect();
    names.sort_unstable();
    names.dedup();
    if !strict || names.is_empty() {
        return Ok(());
    }
    let message =
        format!("cannot make units of {} to the letter: {}", rendered.plan.tree.id, names.join(", "));
    Err(Failure::new(Code::Config, message)
        .hint(format!("--mode supervised, or --accept {}", names.join(","))))
}
