//! What is asked of a rendering on the command line, the same for all verbs that render: which tree, for whom.

use std::path::{Path, PathBuf};

use super::super::check::{reading, variable};
use super::super::report::{Code, Failure};
use super::systemctl;
use crate::tree::{self, Diagnostic, Plan, Severity};
use crate::units::template::{self, Instances, Misfit};
use crate::units::{self, Deviation, Mode, Options, Release, Rendering, Scope};

/// Which tree, and how it becomes units.
#[derive(clap::Args)]
pub struct Asked {
    /// Tree file
    #[arg(value_name = "TREE")]
    pub tree: PathBuf,
    /// native, supervised or auto
    ///
    /// native: plain units, nothing of woodward runs. supervised: one unit that
    /// is `woodward run`. auto: per subtree the first of them that means what
    /// the tree means.
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = mode)]
    pub mode: Mode,
    /// Release that reads them [default: the host's]
    #[arg(long, value_name = "RELEASE")]
    pub systemd: Option<Release>,
    /// Units for systemctl --user
    #[arg(long)]
    pub user_scope: bool,
    /// In front of the name of every unit
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true, value_parser = prefix)]
    pub prefix: String,
    /// Nothing, if the units would mean something else
    #[arg(long)]
    pub strict: bool,
    /// Deviations that are agreed to, by name
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = deviation)]
    pub accept: Vec<Deviation>,
    /// What the tree may see of the environment
    ///
    /// NAME (its value here) or NAME=VALUE. Without it the tree is read with an
    /// empty environment: the units are the same whoever makes them.
    #[arg(long, value_name = "NAME")]
    pub env: Vec<String>,
    /// Short name of their host [default: this one's]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Where the tree will lie [default: where it lies]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Give a variable of the tree a value
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub vars: Vec<(String, String)>,
    /// Templates by a variable: instance=0..9
    ///
    /// NAME=FIRST..LAST or NAME=A,B,C. Each unit becomes NAME@.service, in which
    /// %i is the value; where no template gives the text of a value, it has a
    /// unit of its own, and that is said.
    #[arg(long, value_name = "NAME=VALUES", value_parser = values)]
    pub template: Option<(String, Vec<String>)>,
    /// Where woodward will lie [default: where it lies]
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
}

/// A tree as units.
pub struct Rendered {
    /// The tree.
    pub plan: Plan,
    /// How.
    pub options: Options,
    /// The units.
    pub rendering: Rendering,
    /// With templates: what did not fit them.
    pub misfits: Vec<Misfit>,
    /// Warnings about the tree; about this host only if the units are for it.
    pub warnings: Vec<Diagnostic>,
}

impl Asked {
    /// Reads the tree and renders it.
    pub fn render(&self) -> Result<Rendered, Failure> {
        let Some((name, values)) = &self.template else { return self.once(&self.vars) };
        let mut first = None;
        let mut renderings = Vec::new();
        for value in values {
            let given = [(name.clone(), value.clone())];
            let vars: Vec<_> =
                self.vars.iter().filter(|(other, _)| other != name).chain(&given).cloned().collect();
            let mut rendered = self.once(&vars)?;
            renderings.push((value.clone(), std::mem::take(&mut rendered.rendering)));
            first.get_or_insert(rendered);
        }
        let Instances { rendering, misfits } = template::instances(&renderings);
        let mut first = first.ok_or_else(|| Failure::new(Code::Usage, "no value for the template"))?;
        (first.rendering, first.misfits) = (rendering, misfits);
        Ok(first)
    }

    /// With these variables.
    fn once(&self, vars: &[(String, String)]) -> Result<Rendered, Failure> {
        let how = self.for_reading(vars);
        let (reading, plan) = reading(&self.tree, &how)?;
        let options = self.options(how);
        let rendering = units::generate(&plan, &options)
            .map_err(|error| Failure::new(Code::Config, error.to_string()))?;
        let mut warnings = reading.diagnostics;
        if self.host.is_some() || self.dir.is_some() {
            warnings.retain(|warning| warning.severity != Severity::Host);
        }
        Ok(Rendered { plan, options, rendering, misfits: Vec::new(), warnings })
    }

    /// How the tree is read: as on the host where the units will run, without what is here by chance.
    pub fn for_reading(&self, vars: &[(String, String)]) -> tree::Options {
        let here = tree::Options::of_this_process();
        let given = |given: &String| match given.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => here.environment.get_key_value(given).map(|(name, value)| (name.clone(), value.clone())),
        };
        tree::Options {
            vars: vars.to_vec(),
            environment: self.env.iter().filter_map(given).collect(),
            host: self.host.clone().unwrap_or_else(|| here.host.clone()),
            dir: self.dir.clone(),
            ..tree::Options::default()
        }
    }

    /// How it is rendered, if it was read like this.
    pub fn options(&self, reading: tree::Options) -> Options {
        let file = self.tree.file_name().map(PathBuf::from).unwrap_or_default();
        let host = self.host.clone().map(|host| ("host".to_owned(), host));
        Options {
            mode: self.mode,
            release: self.systemd.unwrap_or_else(systemctl::release),
            scope: if self.user_scope { Scope::User } else { Scope::System },
            prefix: self.prefix.clone(),
            source: self.dir.as_ref().map_or_else(|| absolute(&self.tree), |dir| dir.join(file)),
            program: self.program.clone().unwrap_or_else(this_program),
            vars: reading.vars.into_iter().chain(host).collect(),
            environment: reading.environment.into_iter().collect(),
            accepted: self.accept.clone(),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Where this program lies.
pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/woodward"))
}

fn values(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, values) = text.split_once('=').ok_or("NAME=FIRST..LAST or NAME=A,B,C")?;
    Ok((name.to_owned(), template::values(values)?))
}

fn mode(text: &str) -> Result<Mode, String> {
    let names = || one_of(Mode::ALL.iter().map(|mode| mode.name()));
    Mode::ALL.iter().copied().find(|mode| mode.name() == text).ok_or_else(names)
}

fn deviation(text: &str) -> Result<Deviation, String> {
    Deviation::named(text).ok_or_else(|| one_of(Deviation::ALL.iter().map(|deviation| deviation.name())))
}

fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("one of {}", names.collect::<Vec<_>>().join(", "))
}

/// What the name of a unit may begin with.
fn prefix(text: &str) -> Result<String, String> {
    let fits =
        text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c)) && !text.starts_with('.');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, `_`, `-`, `:` and `.`, which is not the first".to_owned())
    }
}
