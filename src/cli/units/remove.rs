//! `woodward units remove`: a tree stopped, and nothing of its units left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::report::{self, Code, Failure};
use super::super::run::id_of;
use super::place::{Place, agreed};
use super::systemctl::{Manager, loaded};
use crate::units::Scope;

/// Stops a tree and removes its units
///
/// What a person has changed is not removed, and nothing is stopped then.
/// Drop-ins stay.
#[derive(clap::Args)]
pub struct Args {
    /// Tree file, or the id of a tree
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// Units of systemctl --user
    #[arg(long)]
    user_scope: bool,
    /// Of the host that lies below this directory
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
    /// Remove what was changed by hand too
    #[arg(long)]
    force: bool,
}

/// Does it.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let scope = if args.user_scope { Scope::User } else { Scope::System };
    let manager = Manager::new(scope, args.root.as_deref());
    let dir = manager.directory()?;
    let id = id_of(&args.tree).unwrap_or_else(|| args.tree.to_string_lossy().into_owned());
    let mut place = Place::look(&dir)?;
    let Some(owned) = place.manifest().trees.get(&id).cloned() else {
        return Err(unknown(&place, &id, &dir));
    };
    place = Place::open(&dir)?;
    let steps = place.steps(&id, &[])?;
    agreed(&dir, &steps, args.force)?;
    let names: Vec<&str> = owned.files.keys().map(String::as_str).collect();
    if manager.runs() {
        manager.tell(&["stop"], loaded(&names).iter().map(String::as_str))?;
    }
    let entries: Vec<&str> =
        names.iter().copied().filter(|name| place.text(name).contains("\n[Install]\n")).collect();
    if !entries.is_empty() {
        let words: &[&str] = if manager.runs() { &["disable", "--no-reload"] } else { &["disable"] };
        manager.tell(words, entries)?;
    }
    let slices = slices(&place, &names);
    let mut after = place.manifest().clone();
    after.trees.remove(&id);
    place.carry_out(&id, after, &[], &steps)?;
    // Only an empty directory can be removed, and what is empty is nobody's.
    names.iter().for_each(|name| drop(std::fs::remove_dir(dir.join(format!("{name}.d")))));
    manager.reload()?;
    if manager.runs() {
        // What is not loaded has nothing to forget, which systemctl calls a failure.
        loaded(&names).iter().for_each(|name| drop(manager.tell(&["reset-failed"], [name.as_str()])));
        for slice in &slices {
            if manager.tell(&["show", "-P", "RequiredBy"], [slice.as_str()])?.is_empty() {
                manager.tell(&["stop"], [slice.as_str()])?;
            }
        }
    }
    let mut out = format!("{}: {} removed\n", dir.display(), steps.len());
    for name in names.iter().filter(|name| dir.join(format!("{name}.d")).is_dir()) {
        out += &format!("{}/{name}.d stays: drop-ins are yours\n", dir.display());
    }
    report::print(&out);
    Ok(Code::Done)
}

/// The slices that units were in, which have no files, the deepest first: systemd keeps them when they are empty.
fn slices(place: &Place, names: &[&str]) -> Vec<String> {
    let mut slices = BTreeSet::new();
    for name in names {
        let text = place.text(name);
        let written = text.lines().filter_map(|line| line.strip_prefix("Slice=")?.strip_suffix(".slice"));
        for slice in written.filter(|slice| !["", "-", "system", "user", "app"].contains(slice)) {
            let ends = slice.match_indices('-').map(|(at, _)| at).chain([slice.len()]);
            slices.extend(ends.map(|end| format!("{}.slice", &slice[..end])));
        }
    }
    let mut slices: Vec<String> = slices.into_iter().collect();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.len()));
    slices
}

fn unknown(place: &Place, id: &str, dir: &Path) -> Failure {
    let failure = Failure::usage(format!("cannot remove {id}: no units of it in {}", dir.display()));
    let trees: Vec<&str> = place.manifest().trees.keys().map(String::as_str).collect();
    if trees.is_empty() { failure } else { failure.hint(format!("there are {}", trees.join(", "))) }
}
