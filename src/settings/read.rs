//! From files, environment and flags to layers of checked values; everything that is wrong is said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::layers::Layer;
use super::{Refused, Said, keys};
use crate::tree::nearest;

/// `--set KEY=VALUE`: key and value.
pub type Flag = (String, String);

/// Names of the environment that are woodward's and no settings.
const OTHERS: [&str; 9] =
    ["SETTINGS", "SOCKET", "PATH", "CHILD", "GENERATION", "INCIDENT", "EPOCH", "SEQ", "GROUP"];

/// Where settings are looked for.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files, first to last; each with the drop-ins in the directory `FILE.d`. What is not there is not there.
    pub files: Vec<PathBuf>,
    /// A file that was named and has to be there; `files` are not looked at then.
    pub named: Option<PathBuf>,
    /// Variables of the environment.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// Of this process.
    pub fn here() -> Sources {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut files = vec![PathBuf::from("/etc/woodward/woodward.toml")];
        if !nix::unistd::geteuid().is_root() {
            let home = || from("HOME").map(|home| home.join(".config"));
            let own = from("XDG_CONFIG_HOME").filter(|dir| dir.is_absolute()).or_else(home);
            files.extend(own.map(|dir| dir.join("woodward/woodward.toml")));
        }
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let environment = environment.filter(|(name, _)| name.starts_with("WOODWARD_")).collect();
        Sources { files, named: from("WOODWARD_SETTINGS"), environment }
    }

    /// The layers, lowest first, and hints about variables that are no settings though they look like it.
    pub(super) fn layers(&self, flags: &[Flag]) -> Result<(Vec<Layer>, Vec<String>), Refused> {
        let mut wrong = Vec::new();
        let mut layers = vec![defaults()];
        layers.extend(self.read_files(&mut wrong));
        let (environment, doubtful) = self.environment(&mut wrong);
        layers.extend([environment, of_flags(flags, &mut wrong)]);
        if wrong.is_empty() { Ok((layers, doubtful)) } else { Err(Refused(wrong)) }
    }

    #[cfg(not(feature = "config"))]
    fn read_files(&self, wrong: &mut Vec<String>) -> Vec<Layer> {
        let drop_ins = |file: &PathBuf| file.with_extension("toml.d").is_dir();
        let there = |file: &&PathBuf| self.named.is_some() || file.exists() || drop_ins(file);
        let files = self.named.as_ref().map_or(self.files.as_slice(), std::slice::from_ref);
        wrong.extend(files.iter().filter(there).map(|file| {
            format!(
                "{}: this build of woodward reads no files of settings: WOODWARD_*, or --set",
                file.display()
            )
        }));
        Vec::new()
    }

    #[cfg(feature = "config")]
    fn read_files(&self, wrong: &mut Vec<String>) -> Vec<Layer> {
        let mut layers = Vec::new();
        for file in self.named.as_ref().map_or(self.files.as_slice(), std::slice::from_ref) {
            layers.extend(of_file(file, self.named.is_some(), wrong));
            let mut drop_ins = file.as_os_str().to_owned();
            drop_ins.push(".d");
            let entries = std::fs::read_dir(drop_ins).map(|all| all.flatten().map(|entry| entry.path()));
            let mut files: Vec<PathBuf> = entries.map(Iterator::collect).unwrap_or_default();
            files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
            files.sort();
            layers.extend(files.iter().filter_map(|file| of_file(file, true, wrong)));
        }
        layers
    }

    fn environment(&self, wrong: &mut Vec<String>) -> (Layer, Vec<String>) {
        let (mut layer, mut doubtful) = (Layer::default(), Vec::new());
        for (name, value) in &self.environment {
            let Some(rest) = name.strip_prefix("WOODWARD_") else { continue };
            let Some(key) = keys::KEYS.iter().find(|key| key.variable() == *name) else {
                let lower = rest.to_lowercase();
                if let (false, Some(near)) = (OTHERS.contains(&rest), nearest(&lower, keys::names())) {
                    doubtful.push(format!("{name} is no setting; WOODWARD_{} is", near.to_uppercase()));
                }
                continue;
            };
            match key.check(value) {
                Ok(()) => layer.0.push(said(key.name, value, name)),
                Err(why) => wrong.push(format!("{name}: error: {why}")),
            }
        }
        (layer, doubtful)
    }
}

/// What holds where nobody says anything.
pub(super) fn defaults() -> Layer {
    Layer(keys::KEYS.iter().map(|key| said(key.name, key.default, "default")).collect())
}

fn said(key: &str, value: &str, origin: &str) -> Said {
    Said { key: key.to_owned(), value: value.to_owned(), origin: origin.to_owned() }
}

fn of_flags(flags: &[Flag], wrong: &mut Vec<String>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in flags {
        match keys::find(name).map(|key| key.check(value)) {
            Some(Ok(())) => layer.0.push(said(name, value, "--set")),
            Some(Err(why)) => wrong.push(format!("--set {name}={value}: error: {why}")),
            None => wrong.push(format!("--set {name}={value}: error: {}", unknown(name))),
        }
    }
    layer
}

/// An unknown key, what it might be, and what there is.
fn unknown(name: &str) -> String {
    let near = nearest(name, keys::names()).map(|near| format!(", did you mean `{near}`?"));
    let all: Vec<&str> = keys::names().collect();
    format!("unknown key `{name}`{}; allowed: {}", near.unwrap_or_default(), all.join(", "))
}

/// The values of one file; `None`: it is not there.
#[cfg(feature = "config")]
fn of_file(file: &std::path::Path, must_be_there: bool, wrong: &mut Vec<String>) -> Option<Layer> {
    use toml::de::{DeTable, DeValue};

    let name = file.display();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be_there => return None,
        Err(error) => {
            let why = error.to_string();
            wrong
                .push(format!("{name}: error: cannot read it: {}", why.split(" (os").next().unwrap_or(&why)));
            return None;
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    let place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        (line, column)
    };
    for error in &errors {
        let (line, column) = place(error.span().map_or(0, |span| span.start));
        wrong.push(format!("{name}:{line}:{column}: error: {}", error.message().replace('\n', ", ")));
    }
    if !errors.is_empty() {
        // What else it says is not known.
        return None;
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut layer = Layer::default();
    for (key, value) in entries {
        let ((line, column), key) = (place(key.span().start), key.get_ref().as_ref());
        let known = keys::find(key).ok_or_else(|| unknown(key));
        let value = known.and_then(|known| {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(word) => word.to_string(),
                DeValue::Array(list) if matches!(known.takes, keys::Takes::Urls(_)) => {
                    let text =
                        |value: &toml::Spanned<DeValue<'_>>| value.get_ref().as_str().map(str::to_owned);
                    let texts: Option<Vec<String>> = list.iter().map(text).collect();
                    texts.ok_or_else(|| format!("{key}: a list of strings is wanted"))?.join(", ")
                }
                _ => return Err(format!("{key}: no value of this kind; allowed: {}", known.takes.allowed())),
            };
            known.check(&text).map(|()| text).map_err(|why| format!("{key}: {why}"))
        });
        match value {
            Ok(value) => layer.0.push(said(key, &value, &format!("{name}:{line}"))),
            Err(why) => wrong.push(format!("{name}:{line}:{column}: error: {why}")),
        }
    }
    Some(layer)
}
