//! Unit files from the disk: what is named on the command line, and the directories that systemd reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::report::{Code, Failure};
use crate::units::read::keys;
use crate::units::read::load::Entry;
use crate::units::read::specifiers::Name;
use crate::units::read::{Scene, Shelf};
use crate::units::{Release, Scope};

/// Where systemd looks for units, first to last.
const SYSTEM: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// The same for `systemctl --user`.
const USER: &[&str] = &[
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/share/systemd/user",
    "/usr/share/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
];

/// Which units, and who reads them.
#[derive(clap::Args)]
pub struct Named {
    /// Unit files, directories of them, or names of units of this host
    #[arg(value_name = "UNIT")]
    units: Vec<PathBuf>,
    /// Release that reads them [default: the host's]
    #[arg(long, value_name = "RELEASE")]
    systemd: Option<Release>,
    /// Units of systemctl --user
    #[arg(long)]
    user_scope: bool,
}

impl Named {
    /// One unit: a name or a file.
    pub fn one(unit: &Path, user_scope: bool) -> Named {
        Named { units: vec![unit.to_path_buf()], systemd: None, user_scope }
    }

    /// Reads them, and all units of this host for what they refer to. Units that were named come first.
    pub fn read(&self) -> Result<Scene, Failure> {
        let scope = if self.user_scope { Scope::User } else { Scope::System };
        let directories = if scope == Scope::User { USER } else { SYSTEM };
        if self.units.is_empty() {
            return Err(Failure::usage("cannot read units: none is named")
                .hint("files, directories, or names of units"));
        }
        let (mut shelf, mut asked, mut seen) = (Shelf::default(), Vec::new(), BTreeSet::new());
        for unit in &self.units {
            let metadata = fs::metadata(unit);
            let text = unit.display().to_string();
            if metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
                let at = directory(&mut shelf, &mut seen, unit)?;
                let names: Vec<String> =
                    at.map(|at| shelf.units(at).map(str::to_owned).collect()).unwrap_or_default();
                if names.is_empty() {
                    return Err(failure(&text, "no unit file in this directory"));
                }
                asked.extend(names);
            } else if text.contains('/') || metadata.is_ok() {
                let name =
                    unit.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                // An instance is there with its template.
                let template = Name::of(&name).template().map(|template| unit.with_file_name(template));
                if !template.is_some_and(|template| template.is_file()) {
                    metadata.map_err(|error| failure(&text, error))?;
                }
                if !keys::is_kind(&Name::of(&name).kind) {
                    return Err(failure(&text, "its name does not end like a unit's").hint(
                        "`.service`, `.socket`, `.target`, `.timer`, `.path`, `.mount`, `.slice` and the like",
                    ));
                }
                let parent = unit.parent().filter(|parent| !parent.as_os_str().is_empty());
                directory(&mut shelf, &mut seen, parent.unwrap_or(Path::new(".")))?;
                asked.push(name);
            } else {
                let known = keys::is_kind(&Name::of(&text).kind);
                asked.push(if known { text } else { format!("{text}.service") });
            }
        }
        for path in directories.iter().map(Path::new).filter(|path| path.is_dir()) {
            directory(&mut shelf, &mut seen, path)?;
        }
        let missing = asked.iter().find(|name| shelf.load(name).is_none());
        if let Some(name) = missing {
            let places = directories.iter().filter(|path| Path::new(path).is_dir()).copied();
            return Err(failure(name, format!("no such unit in {}", places.collect::<Vec<_>>().join(", "))));
        }
        Ok(Scene::new(&shelf, &asked, self.systemd.unwrap_or_else(super::systemctl::release)))
    }
}

fn failure(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Config, format!("cannot read {what}: {why}"))
}

/// Puts a directory on the shelf, once; its place there.
fn directory(shelf: &mut Shelf, seen: &mut BTreeSet<PathBuf>, path: &Path) -> Result<Option<usize>, Failure> {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if !seen.insert(whole) {
        return Ok(None);
    }
    let at = shelf.directory(path.display().to_string().trim_end_matches('/'));
    files(shelf, at, path, "").map_err(|error| failure(&path.display().to_string(), error))?;
    Ok(Some(at))
}

/// Unit files, and below `NAME.d`, `NAME.wants` and the like what lies there.
fn files(shelf: &mut Shelf, at: usize, path: &Path, below: &str) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if below.is_empty() && [".d", ".wants", ".requires", ".upholds"].iter().any(|e| name.ends_with(e))
            {
                files(shelf, at, &entry.path(), &format!("{name}/"))?;
            }
            continue;
        }
        let unit = keys::is_kind(&Name::of(&name).kind);
        let drop_in = below.ends_with(".d/");
        if !unit && !drop_in {
            continue;
        }
        let found = match link(&entry.path(), &name, kind.is_symlink() && !drop_in) {
            Some(link) => Entry::Link(link),
            None if !below.is_empty() && !drop_in => Entry::Link(name.clone()),
            None => match fs::read(entry.path()) {
                Ok(bytes) => Entry::Text(bytes.into()),
                Err(_) => continue,
            },
        };
        shelf.put(at, format!("{below}{name}"), found);
    }
    Ok(())
}

/// Where a link leads, if to another unit or to nowhere.
fn link(path: &Path, name: &str, is_link: bool) -> Option<String> {
    let target = fs::read_link(path).ok().filter(|_| is_link)?;
    let last = target.file_name()?.to_string_lossy().into_owned();
    if target == Path::new("/dev/null") {
        return Some("/dev/null".to_owned());
    }
    (last != name && keys::is_kind(&Name::of(&last).kind)).then_some(last)
}
