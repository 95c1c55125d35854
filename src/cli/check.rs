//! `woodward check`: all errors of tree files, on standard output, so that editors can jump to them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::report::{self, Code, Failure};
use super::run::splits;
use crate::settings;
use crate::tree::{self, Diagnostic, Options, Plan, Severity, together};

/// Read tree files and report every error in them
#[derive(clap::Args)]
pub struct Args {
    /// Tree files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Warnings count as errors: exit 78
    #[arg(long)]
    strict: bool,
    /// The tree is to run as an init: PID 1, or run --init
    #[arg(long)]
    init: bool,
    /// Give a variable of the tree a value
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,
}

/// Does it.
pub fn run(args: Args) -> ExitCode {
    let mut options = Options { vars: args.vars, ..Options::of_this_process() };
    options.init |= args.init;
    let mut worst = Code::Done;
    let mut plans = Vec::new();
    for file in &args.files {
        let (text, code, plan) = check(file, &options, args.strict);
        report::print(&text);
        plans.extend(plan);
        if code != Code::Done {
            worst = code;
        }
    }
    // A site is looked at only for those who ask much of it.
    if plans.iter().any(|plan| plan.failover.as_ref().is_some_and(|failover| failover.strict)) {
        let settings = settings::load(&[]).map(|loaded| loaded.settings).unwrap_or_default();
        for split in plans.iter().flat_map(|plan| splits(plan, &settings)) {
            report::print(&format!("warning: {split}\n"));
            worst = if args.strict { Code::Config } else { worst };
        }
    }
    for wrong in together::contradictions(&plans) {
        report::print(&format!("error: {wrong}\n"));
        worst = Code::Config;
    }
    worst.into()
}

/// What is printed about one file, and the exit code it deserves.
fn check(file: &Path, options: &Options, strict: bool) -> (String, Code, Option<Plan>) {
    let (plan, said) = match tree::load(file, options) {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(errors) => (None, errors),
    };
    let mut text: String = said.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
    let summary = summary(&said);
    match &plan {
        Some(plan) => {
            let services = count(plan.workers.len(), "service");
            let summary =
                if said.is_empty() { "no errors".to_owned() } else { format!("no errors, {summary}") };
            text += &format!("{}: {services}, {summary}\n", file.display());
        }
        None => text += &format!("{summary}; nothing was changed\n"),
    }
    let bad = plan.is_none() || (strict && !said.is_empty());
    (text, if bad { Code::Config } else { Code::Done }, plan)
}

/// `2 errors, 1 warning`.
pub fn summary(said: &[Diagnostic]) -> String {
    let errors = said.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let parts = [(errors, "error"), (said.len() - errors, "warning")];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(*n, what)).collect();
    parts.join(", ")
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `NAME=VALUE` of `--var`.
pub fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is given as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a tree for a verb that needs a plan; what is wrong goes to standard output, as `check` prints it.
pub fn reading(file: &Path, options: &Options) -> Result<(tree::Reading, Plan), Failure> {
    let mut reading = tree::read(file, options);
    match reading.plan.take() {
        Some(plan) => Ok((reading, plan)),
        None => {
            report::print(&reading.diagnostics.iter().map(|said| format!("{said}\n")).collect::<String>());
            let message = format!("cannot read {}: {}", file.display(), summary(&reading.diagnostics));
            Err(Failure::new(Code::Config, message))
        }
    }
}
