//! Tree files: from TOML text to a [`Plan`], or to *all* the reasons why not.
//!
//! ```text
//! text ─ value ─ layers ──┬─ expand ─┬─ supervisor ─┬─ Plan
//!        (places) (merge) │ (include,│              │
//!                         │  each)   └─ worker ─────┘
//!              rules::shape          decode, variables, environment
//! ```
//!
//! Every value keeps its place. A tree is checked as it is written ([`rules`]), then expanded child by child, and each
//! child is decoded after inheritance with its variables replaced. Keys, kinds and defaults are tables in [`keys`].

pub mod accounts;
mod advice;
pub mod cut;
mod decode;
mod diagnostic;
pub mod diff;
mod each;
mod environment;
mod expand;
mod expression;
pub mod failover;
pub mod files;
mod health;
mod hints;
mod instance;
pub(crate) mod keys;
mod layers;
pub mod outline;
pub mod patience;
mod plan;
pub mod resources;
mod rules;
mod said;
pub mod sandbox;
pub mod schema;
mod settings;
pub mod sockets;
mod source;
mod supervisor;
pub mod together;
pub mod unit;
pub mod units;
mod value;
mod variables;
mod words;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use woodward_engine::spec;

#[cfg(feature = "full")]
pub(crate) use diagnostic::Report;
pub use diagnostic::{Diagnostic, Severity};
pub use expand::relative;
pub use files::Files;
pub(crate) use hints::nearest;
pub use instance::instantiate;
#[cfg(feature = "full")]
pub(crate) use layers::plain;
pub use plan::*;
pub use resources::Resources;
pub use said::Said;
pub use sandbox::Sandbox;
pub use sockets::{Address, Listen};
use source::Moved;
pub use source::Place;
#[cfg(feature = "full")]
pub(crate) use source::{FileId, Source, Span};

use decode::At;
use environment::Says;
use expand::{Level, Reader};
use value::{Data, Table, Value};
use variables::{Context, Datum, Mode, Origin, Variable, Variables};

/// What is said of a tree besides its files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--var name=value`, in the order given.
    pub vars: Vec<(String, String)>,
    /// woodward's own environment: for `${env.NAME}`, `WOODWARD_VAR_NAME` and `pass_environment`.
    pub environment: BTreeMap<String, String>,
    /// Short name of this host: `${host}`. `--var host=` goes before it.
    pub host: String,
    /// The tree runs as an init: PID 1 is given only so long to stop, so an unlimited `shutdown` is a warning.
    pub init: bool,
    /// Only the subtree at this path, as a tree of its own; `None`: all of it.
    pub at: Option<String>,
    /// Where files are read from: the disk.
    pub files: Files,
    /// Where the tree file will lie when the plan is carried out, if not where it lies now: `${dir}`.
    pub dir: Option<PathBuf>,
}

impl Options {
    /// Environment and host name of this process.
    pub fn of_this_process() -> Options {
        let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
        let host = nix::unistd::gethostname().map(text).unwrap_or_default();
        Options {
            vars: Vec::new(),
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            host: host.split('.').next().unwrap_or_default().to_owned(),
            init: std::process::id() == 1,
            at: None,
            files: Files::default(),
            dir: None,
        }
    }
}

/// Everything that reading a tree file gives.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The plan, if there are no errors.
    pub plan: Option<Plan>,
    /// Errors and warnings, file by file in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// What was written about each child, and where.
    pub said: Vec<Said>,
    /// The root's variables.
    pub variables: Vec<Known>,
}

/// A variable of the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Name.
    pub name: String,
    /// As it would be written.
    pub value: String,
    /// Literally there, as opposed to computed from others.
    pub literal: bool,
    /// `acs.toml:12`, `--var` or `WOODWARD_VAR_NAME`.
    pub origin: String,
    /// It stands in a file.
    pub in_file: bool,
}

/// Reads a tree file, its layers and everything it includes. With the plan come the warnings; without one, all errors
/// and warnings.
pub fn load(path: &Path, options: &Options) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let reading = reading(path, options, false);
    match reading.plan {
        Some(plan) => Ok((plan, reading.diagnostics)),
        None => Err(reading.diagnostics),
    }
}

/// As [`load`], with what `plan` shows besides the plan.
pub fn read(path: &Path, options: &Options) -> Reading {
    reading(path, options, true)
}

fn reading(path: &Path, options: &Options, tell: bool) -> Reading {
    let mut vars = Variables::default();
    vars.host.clone_from(&options.host);
    vars.files = options.files.clone();
    vars.moved = options.dir.as_ref().map(|dir| Moved::new(path, dir));
    vars.environment.clone_from(&options.environment);
    let scope = vars.scope();
    let tree = layers::read_tree(&mut vars, path, scope, None);
    let mut reader = Reader::new(vars, options.environment.clone());
    reader.said = tell.then(Vec::new);
    let mut known = Vec::new();
    let tree = tree.and_then(|tree| {
        rules::shape(&mut reader.vars, &tree, keys::AT_ROOT, tree.text("id").unwrap_or_default());
        declare(&mut reader, scope, &tree, options);
        let id = id_of(&mut reader, &tree);
        known = variables_of(&mut reader.vars, scope);
        root(&mut reader, &tree, id, options)
    });
    rules::strangers(&mut reader);
    sockets::twice(&mut reader);
    let failed = reader.report().errors() > 0;
    let Reader { mut vars, workers, supervisors, left_out, said, .. } = reader;
    let plan = tree.filter(|_| !failed).map(|(tree, failover)| Plan {
        tree,
        workers,
        supervisors,
        left_out,
        failover,
        at: None,
    });
    let mut plan = plan.and_then(|plan| cut_out(plan, options.at.as_deref(), &mut vars));
    plan.iter_mut().for_each(Plan::bind);
    let mut said = said.unwrap_or_default();
    let (_, mut diagnostics) = std::mem::take(&mut vars.report).finish();
    let messages = diagnostics.iter_mut().map(|diagnostic| &mut diagnostic.message);
    let values = said.iter_mut().map(|said| &mut said.value);
    let known_values = known.iter_mut().map(|known| &mut known.value);
    messages.chain(values).chain(known_values).for_each(|text| vars.hide_secrets(text));
    Reading { plan, diagnostics, said, variables: known }
}

/// The subtree that is wanted.
fn cut_out(plan: Plan, at: Option<&str>, vars: &mut Variables) -> Option<Plan> {
    let Some(at) = at else { return Some(plan) };
    cut::at(&plan, at)
        .map_err(|error| {
            let hint = error.instead.as_ref().map(|instead| format!("--at {instead}"));
            vars.report.placeless(Severity::Error, error.to_string()).maybe_hint(hint);
        })
        .ok()
}

/// Declares the root's variables: the file's, over them the environment's, over them the flags. A file of the
/// environment goes over `${env.NAME}`; its name may itself have variables, so they are declared twice.
fn declare(reader: &mut Reader, scope: usize, tree: &Table, options: &Options) {
    given(reader, scope, tree, options);
    let context = Context::default();
    for (name, value, _) in reader.environments.of_files(&mut reader.vars, &Says::of(tree), &context) {
        reader.vars.secrets.insert(name.clone());
        reader.vars.environment.insert(name, value);
    }
    given(reader, scope, tree, options);
}

fn given(reader: &mut Reader, scope: usize, tree: &Table, options: &Options) {
    reader.declare(scope, tree);
    let vars = &mut reader.vars;
    for (name, text) in &options.environment {
        let Some(short) = name.strip_prefix("WOODWARD_VAR_") else { continue };
        give(vars, scope, tree, (&short.to_lowercase(), text), Origin::Environment, name);
    }
    for (name, text) in &options.vars {
        if name == "host" {
            vars.host.clone_from(text);
        } else {
            give(vars, scope, tree, (name, text), Origin::Flag, &format!("--var {name}"));
        }
    }
}

/// Gives a variable a value from outside, if there is such a variable and the value fits it.
fn give(
    vars: &mut Variables,
    scope: usize,
    tree: &Table,
    (name, text): (&str, &str),
    origin: Origin,
    from: &str,
) {
    let names = vars.names(scope);
    if !names.iter().any(|known| known == name) {
        let severity = if origin == Origin::Flag { Severity::Error } else { Severity::Warning };
        let hint = hints::nearest(name, names.iter().map(String::as_str).chain(["host"]));
        let hint = hint.map(|name| format!("did you mean `{name}`?"));
        vars.report
            .placeless(severity, format!("{from}: the tree has no variable `{name}`"))
            .maybe_hint(hint);
        return;
    }
    let like = match tree
        .get("vars")
        .and_then(Value::table)
        .and_then(|vars| vars.get(name))
        .map(|value| &value.data)
    {
        Some(Data::Integer(_)) => Datum::Integer(0),
        Some(Data::Boolean(_)) => Datum::Boolean(false),
        Some(Data::List(_)) => Datum::List(Vec::new()),
        _ => Datum::Text(String::new()),
    };
    match like.like(text) {
        Some(datum) => vars.set(scope, name, Variable { datum, origin }),
        None => {
            let what = if let Datum::Integer(_) = like { "an integer" } else { "true or false" };
            vars.report.placeless(Severity::Error, format!("{from}: `{name}` is {what}, not \"{text}\""));
        }
    }
}

fn variables_of(vars: &mut Variables, scope: usize) -> Vec<Known> {
    let written = |value: &Value| value.text().is_none_or(|text| !text.contains("${"));
    let literal: Vec<String> =
        vars.names(scope).into_iter().filter(|name| vars.written(scope, name).is_some_and(written)).collect();
    let mut known = Vec::new();
    for (name, variable) in vars.compute(scope) {
        let origin = match variable.origin {
            Origin::File(span) => {
                let place = vars.report.sources.place(span);
                format!("{}:{}", place.file, place.line)
            }
            Origin::Flag => "--var".to_owned(),
            Origin::Environment => format!("WOODWARD_VAR_{}", name.to_uppercase()),
        };
        let value = format!("{:#}", variable.datum);
        let in_file = matches!(variable.origin, Origin::File(_));
        known.push(Known { literal: literal.contains(&name), name, value, origin, in_file });
    }
    known
}

/// The id of the root; from now on `${tree}` is known.
fn id_of(reader: &mut Reader, tree: &Table) -> String {
    let id = match tree.get("id") {
        Some(value) => value.text().and_then(|text| reader.vars.text(value.span, text, &Context::default())),
        None => {
            reader.report().error(tree.span, "the tree has no `id`").hint("id = \"...\" in the first line");
            None
        }
    };
    let id = id.unwrap_or_else(|| "tree".to_owned());
    reader.vars.tree = Some(id.clone());
    id
}

/// Plans the tree.
fn root(
    reader: &mut Reader,
    tree: &Table,
    id: String,
    options: &Options,
) -> Option<(spec::Tree, Option<failover::Failover>)> {
    let context = Context { items: &[], me: Some((&id, &id)), mode: Mode::Replace };
    let settings =
        decode::table(&mut reader.vars, tree, At { keys: keys::AT_ROOT, name: &id, around: None }, &context);
    let otp = settings.word("semantics") == Some("otp");
    said::say(reader, &id, &settings, keys::AT_ROOT, otp);
    let level = Level {
        path: id.clone(),
        items: Vec::new(),
        defaults: Table::empty(tree.span),
        environments: Vec::new(),
        otp: false,
    };
    let root = reader.supervisor(tree, &settings, &level);
    if options.init && settings.duration("shutdown").is_none() {
        let message =
            format!("{id} has no `shutdown`: an init that does not stop in time is killed with everything");
        reader
            .report()
            .warning(tree.span, message)
            .hint("shutdown = \"8s\" (docker waits 10 s, kubernetes 30 s)");
    }
    let failover = failover::read(&mut reader.vars, tree, &settings, &id);
    let seed = seed(&[&id, &options.host]);
    Some((spec::Tree { id: id.into(), root, shutdown: settings.duration("shutdown"), seed }, failover))
}

/// FNV-1a: jitter differs from tree to tree and from host to host, but not from start to start.
fn seed(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
