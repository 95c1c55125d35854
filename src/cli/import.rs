//! `woodward import`: trees from what others have written down about a deployment. What an import means stands in
//! [`crate::acs`]; here are directories, files that are there already, and what is said.
//!
//! | what lies there | what happens |
//! |---|---|
//! | nothing | written |
//! | a tree of an import, as it was written | written anew, the differences are shown |
//! | a tree that somebody changed, or wrote | refused with the differences; written with `--force` |
//! | a tree of an import for a host that has nothing now | left there, and said |

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::check::summary;
use super::differing::unified;
use super::report::{self, Code, Failure};
use super::style::Style;
use crate::acs::{self, Hand};
use crate::tree;

/// Make trees of what others have written down
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    AcsCdb(AcsCdb),
}

/// Make trees of the configuration database of an ACS
///
/// One tree for each host, DIR/HOST/acs.toml: on the manager's host the
/// services of ACS and its containers, elsewhere containers. Changes of a site
/// belong in layers beside them, acs.d/*.toml: a tree that was changed by hand
/// is not overwritten.
#[derive(clap::Args)]
struct AcsCdb {
    /// Directory with CDB in it (ACS_CDB), or CDB itself
    cdb: PathBuf,
    /// Project of the command centre: hosts and accounts
    #[arg(long, value_name = "FILE")]
    project: Option<PathBuf>,
    /// Definition of services, as the services daemon takes it
    #[arg(long, value_name = "FILE")]
    services: Option<PathBuf>,
    /// Instance; else the project's, else 0
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    instance: Option<u8>,
    /// Host of manager and services; else the project's
    #[arg(long, value_name = "HOST")]
    manager_host: Option<String>,
    /// Host of a container, or of all that have none
    #[arg(long = "host", value_name = "[CONTAINER=]HOST", value_parser = host)]
    hosts: Vec<(Option<String>, String)>,
    /// Where trees go
    #[arg(short, long = "output", value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Write nothing; trees or differences on standard output
    #[arg(long)]
    dry_run: bool,
    /// Write nothing; exit 1 if trees would change
    #[arg(long, requires = "output", conflicts_with = "dry_run")]
    check: bool,
    /// Overwrite trees that were changed by hand, too
    #[arg(long)]
    force: bool,
}

/// Name of a tree file in the directory of its host.
const TREE: &str = "acs.toml";
/// Directories of a database deeper than this are a loop of links.
const DEEP: usize = 64;

/// Does it.
pub fn run(args: Args) -> ExitCode {
    let From::AcsCdb(args) = args.from;
    report::end(acs_cdb(&args))
}

/// `[CONTAINER=]HOST`.
fn host(text: &str) -> Result<(Option<String>, String), String> {
    let (container, host) = match text.rsplit_once('=') {
        Some((container, host)) => (Some(container.to_owned()), host),
        None => (None, text),
    };
    if host.is_empty() { Err("no host".to_owned()) } else { Ok((container, host.to_owned())) }
}

fn acs_cdb(args: &AcsCdb) -> Result<Code, Failure> {
    let input = input(args)?;
    let there = match &args.output {
        Some(dir) => there(dir)?,
        None => BTreeMap::new(),
    };
    let options = acs::Options {
        instance: args.instance,
        manager_host: args.manager_host.clone(),
        hosts: args.hosts.clone(),
        here: tree::Options::of_this_process().host,
        there: there.clone(),
    };
    let import = acs::import(&input, &options).map_err(|said| {
        report::print(&said.iter().map(|said| format!("{said}\n")).collect::<String>());
        Failure::new(
            Code::Config,
            format!("cannot import {}: {}; nothing was written", args.cdb.display(), summary(&said)),
        )
    })?;
    let said: String = import.said.iter().map(|said| format!("{said}\n")).collect();
    let said = said + &import.summary;
    let Some(dir) = &args.output else {
        eprint!("{said}");
        report::print(&import.trees.into_values().collect::<Vec<_>>().join("\n"));
        return Ok(Code::Done);
    };
    let changes = Changes::of(dir, &import.trees, &there);
    let said = said + &changes.text();
    if args.check || args.dry_run {
        report::print(&said);
        let differs = args.check && !changes.is_none();
        return Ok(if differs { Code::Failed } else { Code::Done });
    }
    if let Some(file) = changes.by_hand.first().filter(|_| !args.force) {
        report::print(&said);
        let message = format!("cannot write {}: it was changed by hand; nothing was written", file.display());
        let layers = file.with_extension("d");
        let hint = format!("move the changes to {}/site.toml, or --force", layers.display());
        return Err(Failure::new(Code::Failed, message).hint(hint));
    }
    let trees = import.trees.iter().filter(|(host, text)| there.get(*host) != Some(*text));
    // Before anything is said: a reader that goes away ends the program.
    let written = write(dir, &trees.collect::<Vec<_>>());
    report::print(&said);
    written?;
    with_layers(dir, import.trees.keys())
}

/// Trees that are written are checked with the layers of the site, which may name what is no longer there.
fn with_layers<'a>(dir: &Path, hosts: impl Iterator<Item = &'a String>) -> Result<Code, Failure> {
    for host in hosts {
        let file = dir.join(host).join(TREE);
        if file.with_extension("d").is_dir()
            && let Err(said) = tree::load(&file, &tree::Options::of_this_process())
        {
            report::print(&said.iter().map(|said| format!("{said}\n")).collect::<String>());
            let message = format!("cannot plan {} with its layers: {}", file.display(), summary(&said));
            return Err(
                Failure::new(Code::Config, message).hint("the tree is written; its layers do not fit it")
            );
        }
    }
    Ok(Code::Done)
}

/// What would become of the files that are there.
struct Changes {
    lines: Vec<String>,
    diffs: String,
    by_hand: Vec<PathBuf>,
}

impl Changes {
    fn of(dir: &Path, trees: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Changes {
        let mut changes = Changes { lines: Vec::new(), diffs: String::new(), by_hand: Vec::new() };
        for (host, new) in trees {
            let file = dir.join(host).join(TREE);
            let name = file.display();
            let Some(old) = there.get(host) else {
                changes.lines.push(format!("{name}: new"));
                continue;
            };
            if old == new {
                continue;
            }
            let whose = match acs::hand(old) {
                Hand::Import => "differs",
                Hand::Changed => "was changed by hand, and differs",
                Hand::Foreign => "was not written by an import, and differs",
            };
            changes.lines.push(format!("{name}: {whose}"));
            changes.lines.extend(acs::changes(old, new).into_iter().map(|line| format!("  {line}")));
            changes.diffs += &unified(&name.to_string(), &name.to_string(), old, new, Style::here());
            if acs::hand(old) != Hand::Import {
                changes.by_hand.push(file);
            }
        }
        for (host, old) in there.iter().filter(|(host, _)| !trees.contains_key(*host)) {
            if acs::hand(old) != Hand::Foreign {
                let file = dir.join(host).join(TREE);
                changes.lines.push(format!("{}: nothing runs on {host} now; remove it", file.display()));
            }
        }
        changes
    }

    fn is_none(&self) -> bool {
        self.lines.is_empty()
    }

    fn text(&self) -> String {
        if self.is_none() {
            return "no tree changes\n".to_owned();
        }
        let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        lines + &self.diffs
    }
}

/// Trees that lie in the directory, by host.
fn there(dir: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let mut there = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(there),
        Err(error) => return Err(cannot("read", dir, &error)),
    };
    for entry in entries {
        let host = entry.map_err(|error| cannot("read", dir, &error))?.file_name();
        let file = dir.join(&host).join(TREE);
        match fs::read(&file) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                there.insert(host.to_string_lossy().into_owned(), text);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(cannot("read", &file, &error)),
        }
    }
    Ok(there)
}

/// Writes everything beside its place first and then puts it there: a reader sees an old tree or a new one, and a full
/// disk changes nothing.
fn write(dir: &Path, trees: &[(&String, &String)]) -> Result<(), Failure> {
    let mut ready = Vec::new();
    for (host, text) in trees {
        let file = dir.join(host).join(TREE);
        let fresh = dir.join(host).join(format!(".{TREE}.new"));
        let written = fs::create_dir_all(dir.join(host)).and_then(|()| {
            let mut out = fs::File::create(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()
        });
        ready.push((fresh, file));
        if let Err(error) = written {
            ready.iter().for_each(|(fresh, _)| drop(fs::remove_file(fresh)));
            return Err(cannot("write", &ready[ready.len() - 1].1, &error));
        }
    }
    for (fresh, file) in ready {
        fs::rename(&fresh, &file).map_err(|error| cannot("write", &file, &error))?;
    }
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let code =
        if error.kind() == io::ErrorKind::PermissionDenied { Code::NotPermitted } else { Code::Failed };
    Failure::new(code, format!("cannot {what} {}: {error}", path.display()))
}

fn input(args: &AcsCdb) -> Result<acs::Input, Failure> {
    let maci = maci(&args.cdb)?;
    let mut records = Vec::new();
    collect(&maci, "", 0, &mut records)?;
    let file = |path: &PathBuf| -> Result<acs::File, Failure> {
        let bytes = fs::read(path).map_err(|error| cannot("read", path, &error))?;
        Ok(acs::File { path: String::new(), shown: path.display().to_string(), bytes })
    };
    Ok(acs::Input {
        records,
        project: args.project.as_ref().map(file).transpose()?,
        definition: args.services.as_ref().map(file).transpose()?,
    })
}

/// The directory of the records.
fn maci(cdb: &Path) -> Result<PathBuf, Failure> {
    let itself = (cdb.file_name().is_some_and(|name| name == "MACI")).then(|| cdb.to_path_buf());
    let candidates = [cdb.join("CDB/MACI"), cdb.join("MACI")].into_iter().chain(itself);
    candidates.into_iter().find(|dir| dir.is_dir()).ok_or_else(|| {
        let message = format!("cannot read {}: neither CDB/MACI nor MACI is in it", cdb.display());
        Failure::usage(message).hint("the directory that ACS_CDB names")
    })
}

/// All XML files below a directory; what begins with a dot belongs to somebody else.
fn collect(dir: &Path, path: &str, depth: usize, records: &mut Vec<acs::File>) -> Result<(), Failure> {
    if depth > DEEP {
        return Err(Failure::new(Code::Config, format!("cannot read {}: a loop of links", dir.display())));
    }
    for entry in fs::read_dir(dir).map_err(|error| cannot("read", dir, &error))? {
        let name = entry.map_err(|error| cannot("read", dir, &error))?.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let (file, path) =
            (dir.join(name), if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") });
        if file.is_dir() {
            collect(&file, &path, depth + 1, records)?;
        } else if name.ends_with(".xml") {
            let bytes = fs::read(&file).map_err(|error| cannot("read", &file, &error))?;
            records.push(acs::File { path, shown: file.display().to_string(), bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_for_one_container_or_for_all_without() {
        assert_eq!(host("gas01"), Ok((None, "gas01".to_owned())));
        assert_eq!(host("CAMERA/Sim=gas02"), Ok((Some("CAMERA/Sim".to_owned()), "gas02".to_owned())));
        assert!(host("X=").is_err());
    }
}
