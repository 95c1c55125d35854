//! The fencing token in a file: for guards that are asked later than a service was started.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use woodward_engine::cluster::Epoch;

/// The file of a group below the run state.
pub(super) fn place(run: &Path, group: &str) -> PathBuf {
    run.join("token").join(group)
}

/// Writes it: whoever reads finds the old number or the new one, each with a newline.
pub(super) fn write(file: &Path, epoch: Epoch) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = directory.join(format!(".{name}.new"));
    fs::write(&new, format!("{}\n", epoch.0))?;
    fs::rename(&new, file)
}
