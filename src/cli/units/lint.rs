//! `woodward units lint`: what is wrong with units although systemd takes them.

use serde::Serialize;

use super::super::report::{self, Code, Failure};
use super::super::style::{WIDTH, blanks, wrap};
use super::shelf::Named;
use crate::units::read::lint::{self, Finding, Level};

/// Says what existing units do at faults that nobody wants
///
/// Each finding has a name, a place, what happens on which event, and a remedy.
/// Errors: systemd ignores or refuses it. Warnings: something stays dead or is
/// lost. Notes: it works, but not as it looks.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Warnings count as errors: exit 78
    #[arg(long)]
    strict: bool,
    /// Pitfalls that are agreed to, by name
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = pitfall)]
    accept: Vec<&'static str>,
    /// Findings as an array of objects
    #[arg(long)]
    json: bool,
    /// List all pitfalls and what they mean
    #[arg(long)]
    pitfalls: bool,
}

/// A finding, for programs.
#[derive(Serialize)]
struct Row<'f> {
    unit: &'f str,
    name: &'static str,
    severity: String,
    file: Option<&'f str>,
    line: Option<u32>,
    column: Option<u32>,
    message: &'f str,
    hint: Option<&'f str>,
    text: Option<&'f str>,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    if args.pitfalls {
        report::print(&pitfalls());
        return Ok(Code::Done);
    }
    let scene = args.named.read()?;
    let mut found = lint::lint(&scene);
    found.retain(|finding| !args.accept.contains(&finding.pitfall.name));
    if args.json {
        let text = serde_json::to_string_pretty(&found.iter().map(row).collect::<Vec<_>>())
            .map_err(|error| Failure::new(Code::Failed, format!("cannot write the findings: {error}")))?;
        report::print(&(text + "\n"));
    } else {
        let units = scene.units.iter().filter(|unit| unit.asked).count();
        let text: String = found.iter().map(|finding| format!("{finding}\n")).collect();
        report::print(&format!(
            "{text}{units} unit{}: {}\n",
            if units == 1 { "" } else { "s" },
            summary(&found)
        ));
    }
    let worst = found.iter().map(|finding| finding.pitfall.level).min();
    let bad = match worst {
        Some(Level::Error) => true,
        Some(Level::Warning) => args.strict,
        _ => false,
    };
    Ok(if bad { Code::Config } else { Code::Done })
}

/// `1 error, 2 warnings`.
pub fn summary(found: &[Finding]) -> String {
    let levels = [Level::Error, Level::Warning, Level::Note].map(|level| {
        let n = found.iter().filter(|finding| finding.pitfall.level == level).count();
        (n > 0).then(|| format!("{n} {level}{}", if n == 1 { "" } else { "s" }))
    });
    let levels: Vec<String> = levels.into_iter().flatten().collect();
    if levels.is_empty() { "nothing found".to_owned() } else { levels.join(", ") }
}

fn row(finding: &Finding) -> Row<'_> {
    let place = finding.said.place.as_ref();
    Row {
        unit: &finding.unit,
        name: finding.pitfall.name,
        severity: finding.pitfall.level.to_string(),
        file: place.map(|place| &*place.file),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        message: &finding.said.message,
        hint: finding.said.hint.as_deref(),
        text: finding.said.excerpt.as_ref().map(|(line, _)| &**line),
    }
}

fn pitfalls() -> String {
    let one = |pitfall: &lint::Pitfall| {
        let lines = wrap(pitfall.means, WIDTH - 4).into_iter().map(|line| format!("{}{line}\n", blanks(4)));
        format!("{} ({})\n{}", pitfall.name, pitfall.level, lines.collect::<String>())
    };
    lint::all().map(one).collect()
}

fn pitfall(text: &str) -> Result<&'static str, String> {
    let names =
        || format!("one of {}", lint::all().map(|pitfall| pitfall.name).collect::<Vec<_>>().join(", "));
    lint::all().map(|pitfall| pitfall.name).find(|name| *name == text).ok_or_else(names)
}
