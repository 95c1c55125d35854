//! `woodward units import`: existing units into a tree, with what they really do and what was not carried over.

use std::path::{Path, PathBuf};

use super::super::report::{self, Code, Failure};
use super::lint;
use super::shelf::Named;
use crate::tree::{self, Files, Severity};
use crate::units::read::import::{self, Imported};

/// Makes a tree of existing units
///
/// Says which strategy they really implement and which pitfalls they have.
/// What a tree has no key for is listed here and in comments of the tree; the
/// exit status is 0 only if there is none.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// The tree file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Id of the tree [default: the common part]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let scene = args.named.read()?;
    let Some(imported) = import::import(&scene, args.id.as_deref()) else {
        return Err(Failure::new(Code::Config, "cannot make a tree: there is no service among these units")
            .hint("a target is followed to the services that it wants"));
    };
    check(&imported.text)?;
    match &args.output {
        Some(path) => std::fs::write(path, &imported.text).map_err(|error| {
            Failure::new(Code::Failed, format!("cannot write {}: {error}", path.display()))
        })?,
        None => report::print(&imported.text),
    }
    eprint!("{}", said(&imported));
    Ok(if imported.left.is_empty() { Code::Done } else { Code::Failed })
}

/// A tree with an error is not written.
fn check(text: &str) -> Result<(), Failure> {
    let failed =
        |why: String| Failure::new(Code::Failed, format!("cannot make a tree of these units: {why}"));
    let file = Path::new("tree.toml");
    let options = tree::Options { files: Files::of(file, text), ..tree::Options::of_this_process() };
    let errors = match tree::load(file, &options) {
        Ok(_) => Vec::new(),
        Err(said) => said.into_iter().filter(|said| said.severity == Severity::Error).collect(),
    };
    match errors.first() {
        Some(first) => Err(failed(format!("{first}\n{text}"))),
        None => Ok(()),
    }
}

/// For people.
fn said(imported: &Imported) -> String {
    let mut out = String::new();
    for found in &imported.found {
        let units = found.units.join(", ");
        let exact = if found.exact { "" } else { ", nearly" };
        out += &format!("{}{exact}: {units}\n  {}\n", found.strategy, found.text.replace('\n', "\n  "));
    }
    for finding in &imported.pitfalls {
        out += &format!("{finding}\n");
    }
    for (unit, text) in &imported.remarks {
        out += &format!("{unit}: note: {text}\n");
    }
    for left in &imported.left {
        let place = left.place.as_ref();
        let place = place.map_or(left.unit.clone(), |p| format!("{}:{}:{}", p.file, p.line, p.column));
        out += &format!("{place}: left: {}={}: {}\n", left.key, left.value, left.why);
    }
    let left = match imported.left.len() {
        0 => "everything was carried over".to_owned(),
        1 => "1 line was not carried over".to_owned(),
        n => format!("{n} lines were not carried over"),
    };
    out + &format!("{left}; pitfalls: {}\n", lint::summary(&imported.pitfalls))
}
