//! A directory of units on the disk: what is there, and making it what a rendering says.
//!
//! Files are written beside their place and renamed, and those that are the same are not touched. The manifest lists
//! what was and what will be while that goes on, so that whoever comes after a power cut finds everything.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::report::{Code, Failure};
use crate::tree;
use crate::units::manifest::{self, File, Found, HandsOff, Manifest, Step, What};

/// A directory with units, ours and others'. One process at a time changes it.
pub struct Place {
    dir: PathBuf,
    manifest: Manifest,
    /// Locked while this is there.
    _lock: Option<fs::File>,
}

impl Place {
    /// To look at; it need not be there.
    pub fn look(dir: &Path) -> Result<Place, Failure> {
        let manifest = manifest(dir)?;
        Ok(Place { dir: dir.to_path_buf(), manifest, _lock: None })
    }

    /// To change; it is made.
    pub fn open(dir: &Path) -> Result<Place, Failure> {
        let lock = fs::create_dir_all(dir)
            .and_then(|()| fs::File::open(dir))
            .and_then(|dir| dir.lock().map(|()| dir))
            .map_err(|error| cannot("write to", dir, &error))?;
        Ok(Place { _lock: Some(lock), ..Place::look(dir)? })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it says of a tree.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What must be done so that the files of a tree are these.
    pub fn steps(&self, tree: &str, files: &[File]) -> Result<Vec<Step>, Failure> {
        let mut wrong = None;
        let steps = manifest::steps(tree, files, &self.manifest, |name| match found(&self.dir.join(name)) {
            Ok(found) => found,
            Err(error) => {
                wrong.get_or_insert(cannot("read", &self.dir.join(name), &error));
                Found::Nothing
            }
        });
        wrong.map_or(Ok(steps), Err)
    }

    /// The text that is there, empty if there is none.
    pub fn text(&self, name: &str) -> String {
        fs::read(self.dir.join(name))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Does the steps, the manifest first and last. All files are on the disk before the first of them is in its place.
    pub fn carry_out(
        &mut self,
        tree: &str,
        after: Manifest,
        files: &[File],
        steps: &[Step],
    ) -> Result<(), Failure> {
        if steps.iter().any(|step| step.what == What::New) {
            self.note(after.clone().and(tree, &self.manifest))?;
        }
        let writes = |step: &&Step| matches!(step.what, What::New | What::Changed);
        let written: Vec<(&File, PathBuf)> = steps
            .iter()
            .filter(writes)
            .filter_map(|step| files.iter().find(|file| file.name == step.name))
            .map(|file| (file, self.dir.join(&file.name)))
            .collect();
        for (n, (file, path)) in written.iter().enumerate() {
            stage(path, &file.text, file.mode).map_err(|error| {
                written[..=n].iter().for_each(|(_, path)| drop(fs::remove_file(beside(path))));
                cannot("write", path, &error)
            })?;
        }
        if !written.is_empty() {
            sync(&self.dir)?;
        }
        for (_, path) in &written {
            fs::rename(beside(path), path).map_err(|error| cannot("write", path, &error))?;
        }
        for step in steps.iter().filter(|step| step.what == What::Removed) {
            let path = self.dir.join(&step.name);
            gone(fs::remove_file(&path)).map_err(|error| cannot("remove", &path, &error))?;
        }
        self.note(after)
    }

    /// Writes the manifest if it says something else; without trees there is none.
    fn note(&mut self, manifest: Manifest) -> Result<(), Failure> {
        let path = self.dir.join(manifest::FILE);
        let text = manifest.text();
        let mode = if manifest.is_secret() { 0o600 } else { 0o644 };
        let shall = match manifest.trees.is_empty() {
            true => Found::Nothing,
            false => Found::File { text: Some(text.clone()), mode },
        };
        self.manifest = manifest;
        if found(&path).is_ok_and(|found| found == shall) {
            return Ok(());
        }
        let done = match shall {
            Found::Nothing => fs::remove_file(&path),
            _ => stage(&path, &text, mode).and_then(|()| fs::rename(beside(&path), &path)),
        };
        done.map_err(|error| cannot("write", &path, &error))?;
        sync(&self.dir)
    }
}

/// Those steps that a person has to agree to, as one failure; nothing is done then.
pub fn agreed(dir: &Path, steps: &[Step], force: bool) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let mut yields = true;
    for (step, hands_off) in steps.iter().filter_map(|step| Some((step, step.hands_off.as_ref()?))) {
        if force && hands_off.yields() {
            continue;
        }
        yields &= hands_off.yields();
        let verb = if step.what == What::Removed { "remove" } else { "overwrite" };
        lines.push(format!("cannot {verb} {}: {}", dir.join(&step.name).display(), why(hands_off)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let hint = if yields {
        "nothing was written; changes belong into drop-ins; --force takes these files"
    } else {
        "nothing was written; --prefix gives the units other names"
    };
    Err(Failure::new(Code::Failed, lines.join("\n")).hint(hint))
}

/// Whose it is, in words.
pub fn why(hands_off: &HandsOff) -> String {
    match hands_off {
        HandsOff::Stranger(what) => what.clone(),
        HandsOff::ByHand => "it was changed by hand".to_owned(),
        HandsOff::OfTree(tree) => format!("it belongs to the tree {tree}"),
    }
}

fn manifest(dir: &Path) -> Result<Manifest, Failure> {
    let path = dir.join(manifest::FILE);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Manifest::default()),
        Err(error) => Err(cannot("read", &path, &error)),
        Ok(text) => Manifest::read(&text).map_err(|error| {
            Failure::new(Code::Failed, format!("cannot read {}: {error}", path.display()))
                .hint("it lists which files are woodward's; without it old ones are no longer found")
        }),
    }
}

fn found(path: &Path) -> io::Result<Found> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        about => about?,
    };
    if about.is_symlink() {
        return Ok(Found::NoFile(match fs::read_link(path)? {
            to if to == Path::new("/dev/null") => "masked".to_owned(),
            to => format!("a link to {}", to.display()),
        }));
    }
    if !about.is_file() {
        return Ok(Found::NoFile("no file".to_owned()));
    }
    let text = String::from_utf8(fs::read(path)?).ok();
    Ok(Found::File { text, mode: about.mode() & 0o7777 })
}

/// Where a file is written before it is renamed.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Writes a file beside its place.
fn stage(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let path = beside(path);
    gone(fs::remove_file(&path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())
}

/// It is no error that there was nothing.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// What was written there is on the disk.
fn sync(dir: &Path) -> Result<(), Failure> {
    let synced = fs::File::open(dir).and_then(|dir| Ok(nix::unistd::syncfs(dir)?));
    synced.map_err(|error| cannot("write to", dir, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    let code = if denied { Code::NotPermitted } else { Code::Failed };
    Failure::new(code, format!("cannot {what} {}: {}", path.display(), tree::plain(error)))
}
