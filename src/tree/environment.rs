//! The environment of workers, and the files it may come from.
//!
//! Later wins: woodward's own, then at each level from the root down its `environment_file`, then its `environment`,
//! then the worker's. Files are read with the tree, not at each start: what `plan` shows is what runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::decode::{self, At};
use super::keys;
use super::layers;
use super::plan::EnvironmentFile;
use super::settings::Typed;
use super::source::Span;
use super::value::{Table, Value};
use super::variables::{Context, Variables};

/// Where a variable of an environment comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum From {
    /// woodward's own environment.
    Own,
    /// An `environment` table.
    Table(Span),
    /// An `environment_file`: its value is never shown.
    File(Span),
}

/// A whole environment, by name.
pub type Environment = BTreeMap<String, (String, From)>;

/// What a level says of the environment.
#[derive(Clone, Debug, Default)]
pub struct Says {
    file: Option<Value>,
    table: Option<Value>,
}

impl Says {
    /// What is written in the table of a root, supervisor or worker.
    pub fn of(table: &Table) -> Says {
        Says { file: table.get("environment_file").cloned(), table: table.get("environment").cloned() }
    }
}

/// Files that were read, and the last environment that was made: workers with the same environment share it.
#[derive(Debug, Default)]
pub struct Environments {
    files: BTreeMap<PathBuf, Rc<Contents>>,
    last: Arc<Vec<(String, String)>>,
}

/// What a file says.
#[derive(Debug, Default)]
struct Contents {
    pairs: Vec<(String, String)>,
    there: bool,
    plain: bool,
}

/// Variables of woodward itself that mean something to nobody but woodward: its readiness, its watchdog, its own output
/// and memory, this one invocation of it (systemd.exec(5)).
pub fn is_private(name: &str) -> bool {
    matches!(name, "NOTIFY_SOCKET" | "FDSTORE" | "INVOCATION_ID" | "JOURNAL_STREAM" | "SYSTEMD_EXEC_PID")
        || name.starts_with("LISTEN_")
        || name.starts_with("MEMORY_PRESSURE_")
        || name.starts_with("WATCHDOG_")
}

impl Environments {
    /// Adds what a level says.
    pub fn add(&mut self, to: &mut Environment, vars: &mut Variables, says: &Says, context: &Context<'_>) {
        for (name, value, span) in self.of_files(vars, says, context) {
            to.insert(name, (value, From::File(span)));
        }
        let Some(value) = &says.table else { return };
        let at = At { keys: &[], name: "", around: None };
        let pairs = keys::find(keys::AT_WORKER, "environment")
            .and_then(|key| decode::value(vars, key, value, at, context));
        if let (Some(Typed::Pairs(pairs)), Some(table)) = (pairs, value.table()) {
            for (name, value) in pairs {
                let span = table.get(&name).map_or(table.span, |value| value.span);
                to.insert(name, (value, From::Table(span)));
            }
        }
    }

    /// What the files of a level say, in their order.
    pub fn of_files(
        &mut self,
        vars: &mut Variables,
        says: &Says,
        context: &Context<'_>,
    ) -> Vec<(String, String, Span)> {
        let Some(value) = &says.file else { return Vec::new() };
        let elements = value.list().unwrap_or(std::slice::from_ref(value));
        let mut all = Vec::new();
        for element in elements {
            for file in vars.list(std::slice::from_ref(element), context).unwrap_or_default() {
                let contents = self.file(vars, &file, element.span);
                let pairs = contents.pairs.iter();
                all.extend(pairs.map(|(name, text)| (name.clone(), text.clone(), element.span)));
            }
        }
        all
    }

    /// The files of these levels, and what of each the environment that came out of them has from elsewhere.
    pub fn files<'s>(
        &mut self,
        vars: &mut Variables,
        levels: impl Iterator<Item = &'s Says>,
        context: &Context<'_>,
        environment: &Environment,
    ) -> Vec<EnvironmentFile> {
        let mut all = Vec::new();
        for value in levels.filter_map(|says| says.file.as_ref()) {
            for element in value.list().unwrap_or(std::slice::from_ref(value)) {
                for file in vars.list(std::slice::from_ref(element), context).unwrap_or_default() {
                    let contents = self.file(vars, &file, element.span);
                    let (name, may_miss) = optional(&file);
                    let dir = &vars.report.sources.file(element.span.file).dir;
                    let dir = vars.moved.as_ref().map_or_else(|| dir.clone(), |moved| moved.then(dir));
                    let elsewhere = |(name, _): &&(String, String)| {
                        environment.get(name).is_some_and(|(_, from)| !matches!(from, From::File(_)))
                    };
                    let overridden = contents.pairs.iter().filter(elsewhere).map(|(name, _)| name.clone());
                    all.push(EnvironmentFile {
                        path: dir.join(name),
                        may_miss,
                        there: contents.there,
                        plain: contents.plain,
                        overridden: overridden.collect(),
                    });
                }
            }
        }
        all
    }

    /// The environment as a sorted list, shared with the last worker if it is the same.
    pub fn shared(&mut self, environment: &Environment) -> Arc<Vec<(String, String)>> {
        let same = self.last.len() == environment.len()
            && self.last.iter().zip(environment).all(|((n, v), (name, (value, _)))| n == name && v == value);
        if !same {
            let pairs = environment.iter().map(|(name, (value, _))| (name.clone(), value.clone()));
            self.last = Arc::new(pairs.collect());
        }
        Arc::clone(&self.last)
    }

    fn file(&mut self, vars: &mut Variables, written: &str, span: Span) -> Rc<Contents> {
        let (name, may_miss) = optional(written);
        let path = vars.report.sources.file(span.file).dir.join(name);
        let path = vars.moved.as_ref().map_or_else(|| path.clone(), |moved| moved.now(&path));
        if let Some(contents) = self.files.get(&path) {
            return Rc::clone(contents);
        }
        let mut there = true;
        let bytes = match vars.files.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if may_miss && error.kind() == std::io::ErrorKind::NotFound => {
                there = false;
                Vec::new()
            }
            Err(error) => {
                vars.report
                    .error(span, format!("cannot read {name}: {}", layers::plain(&error)))
                    .hint("a `-` in front: it may be missing");
                Vec::new()
            }
        };
        let pairs =
            if bytes.contains(&0) { nul_separated(&bytes) } else { dotenv(&String::from_utf8_lossy(&bytes)) };
        let pairs = pairs.unwrap_or_else(|message| {
            vars.report.error(span, format!("cannot read {name}: {message}"));
            Vec::new()
        });
        warn_if_everybody_may_read(vars, &path, name, &pairs, span);
        let contents = Rc::new(Contents { pairs, there, plain: is_plain(&bytes) });
        self.files.insert(path, Rc::clone(&contents));
        contents
    }
}

/// Name of a file, and whether it may be missing.
fn optional(written: &str) -> (&str, bool) {
    written.strip_prefix('-').map_or((written, false), |name| (name, true))
}

/// Nothing in a file that its readers understand in different ways: shells, systemd, docker, woodward.
fn is_plain(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).all(|line| {
        let Some((name, value)) = line.split_once('=') else { return false };
        let value = value.trim();
        let inner = match value.chars().next() {
            Some(quote @ ('"' | '\'')) if value.len() > 1 => {
                value[1..].strip_suffix(quote).filter(|inner| !inner.contains(quote))
            }
            _ => Some(value).filter(|value| !value.contains(['"', '\''])),
        };
        !name.contains(char::is_whitespace)
            && inner.is_some_and(|inner| !inner.contains(['\\', '$', '`', '\0']))
    })
}

/// A name that says that its value is nobody's business.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    ["secret", "password", "passwd", "credential", "token", "api_key", "private_key"]
        .iter()
        .any(|word| name.contains(word))
}

fn warn_if_everybody_may_read(
    vars: &mut Variables,
    path: &Path,
    name: &str,
    pairs: &[(String, String)],
    span: Span,
) {
    let secret = is_secret_name(name) || pairs.iter().any(|(name, _)| is_secret_name(name));
    if secret && vars.files.is_open_to_all(path) {
        vars.report.warning(span, format!("everybody on this host may read {name}, and it holds secrets"));
    }
}

/// `env -0` writes it so.
fn nul_separated(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let text = String::from_utf8_lossy(entry);
            let (name, value) = text.split_once('=').ok_or("an entry without `=`")?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// `NAME=value` lines, as systemd's EnvironmentFile and docker's env files have them. Messages never show a value.
fn dotenv(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let wrong = |what: &str| format!("line {}: {what}", number + 1);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("no `=`"))?;
        let name = name.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong("no name of a variable before `=`"));
        }
        pairs
            .push((name.to_owned(), unquoted(value.trim()).ok_or_else(|| wrong("a quote is never closed"))?));
    }
    Ok(pairs)
}

fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.strip_suffix('\'').map(str::to_owned);
    }
    let Some(rest) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_file_that_everybody_reads_alike_is_plain() {
        for text in ["", "A=1\n# c'\n\nB=x y #z\nC='a \"b'\nD=\"e f\"\n"] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
        for text in ["export A=1", "A=a\\b", "A=\"$B\"", "A='b' c", "A=it's", "A", "A=1\0B=2\0"] {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn environment_files_of_both_forms() {
        let text = "# c\nA=1\n export B = \"x y\\n\" \nC='$D'\n\nE=\n";
        assert_eq!(
            dotenv(text).unwrap(),
            [pair("A", "1"), pair("B", "x y\n"), pair("C", "$D"), pair("E", "")]
        );
        assert_eq!(dotenv("A=secret\nno\n").unwrap_err(), "line 2: no `=`");
        assert!(dotenv("A=\"x").is_err() && dotenv("1=x").is_err());
        let frozen = b"A=1\0B=x\ny\0";
        assert_eq!(nul_separated(frozen).unwrap(), [pair("A", "1"), pair("B", "x\ny")]);
    }
}
