//! woodward as a generator of systemd (`systemd.generator(7)`): called as `woodward-generator` with the directories for
//! units of normal, early and late priority, at boot and at each `daemon-reload`.
//!
//! Each tree of the setting `trees` becomes units in the normal directory, as `units generate` would make them, and is
//! started with the host. Units in /etc go before them, by name. It talks to nobody: systemd waits for it. A tree that
//! cannot be read is told, and the others are made; one that already runs under `woodward.service` is left to that.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::report::Code;
use super::super::run::installed;
use super::asked::this_program;
use super::systemctl;
use crate::settings;
use crate::tree::{self, Severity};
use crate::units::manifest::{self, File};
use crate::units::{self, Mode, Options, Rendering, Scope, Section};

/// The name it is called by.
pub const NAME: &str = "woodward-generator";

/// Makes units of all installed trees, called by systemd
#[derive(clap::Args)]
pub struct Args {
    /// Where units of normal priority go
    #[arg(value_name = "NORMAL")]
    pub normal: PathBuf,
    /// Where those go that come before /etc: none
    #[arg(value_name = "EARLY")]
    pub early: Option<PathBuf>,
    /// Where those go that come last: none
    #[arg(value_name = "LATE")]
    pub late: Option<PathBuf>,
}

/// Does it. 1 if there is a tree without units: systemd notes that, and goes on.
pub fn run(args: &Args) -> ExitCode {
    let settings = settings::load(&[]).map(|loaded| loaded.settings).unwrap_or_else(|_| {
        tell("cannot read the settings: woodward settings says why");
        settings::Settings::default()
    });
    if is_enabled("woodward.service") {
        tell("woodward.service runs the trees: no units are made of them");
        return Code::Done.into();
    }
    let release = systemctl::release();
    let (mut code, mut taken) = (Code::Done, BTreeSet::new());
    for file in installed(&settings.trees).unwrap_or_default() {
        let of_its_own =
            format!("woodward@{}.service", file.file_stem().unwrap_or_default().to_string_lossy());
        if is_enabled(&of_its_own) {
            continue;
        }
        let options = Options {
            mode: Mode::Auto,
            release,
            scope: Scope::System,
            prefix: String::new(),
            source: file.clone(),
            program: this_program(),
            accepted: Vec::new(),
            environment: Vec::new(),
            vars: Vec::new(),
        };
        let made = catch_unwind(AssertUnwindSafe(|| make(&file, &options, &args.normal, &taken)));
        match made.unwrap_or_else(|_| Err("an error of woodward's own".to_owned())) {
            Ok(names) => taken.extend(names),
            Err(why) => {
                tell(&format!("cannot make units of {}: {why}", file.display()));
                code = Code::Failed;
            }
        }
    }
    code.into()
}

/// The units of one tree, all or none; their names.
fn make(tree: &Path, options: &Options, dir: &Path, taken: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let here = tree::Options::of_this_process();
    let reading = tree::Options { host: here.host, ..tree::Options::default() };
    let (plan, _) = tree::load(tree, &reading).map_err(|wrong| {
        let errors = wrong.iter().filter(|wrong| wrong.severity == Severity::Error);
        errors
            .map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
            .join("; ")
    })?;
    let rendering = units::generate(&plan, options).map_err(|error| error.to_string())?;
    let files = manifest::files(&plan, options, &rendering);
    if let Some(twice) = files.iter().find(|file| taken.contains(&file.name)) {
        return Err(format!("another tree has a unit {}", twice.name));
    }
    files.iter().try_for_each(|file| write(dir, file)).and_then(|()| link(dir, &rendering)).map_err(
        |error| {
            files.iter().for_each(|file| drop(fs::remove_file(dir.join(&file.name))));
            error.to_string()
        },
    )?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

fn write(dir: &Path, file: &File) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut out =
        options.write(true).create(true).truncate(true).mode(file.mode).open(dir.join(&file.name))?;
    out.write_all(file.text.as_bytes())
}

/// What `systemctl enable` would do.
fn link(dir: &Path, rendering: &Rendering) -> io::Result<()> {
    for unit in &rendering.units {
        for target in unit.values(Section::Install, "WantedBy") {
            let wants = dir.join(format!("{target}.wants"));
            fs::create_dir_all(&wants)?;
            match symlink(Path::new("..").join(&unit.name), wants.join(&unit.name)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_enabled(unit: &str) -> bool {
    Path::new("/etc/systemd/system/multi-user.target.wants").join(unit).is_symlink()
}

/// To the log of the kernel, which is there before all others, and to standard error.
fn tell(text: &str) {
    eprintln!("{text}");
    if let Ok(mut log) = fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        // There is nobody left to tell that it cannot be told.
        drop(writeln!(log, "<3>{NAME}[{}]: {text}", std::process::id()));
    }
}
