//! Files on top of files: a tree file with its layers (`NAME.d/*.toml`), and how one table goes over another.
//!
//! The same rule serves layers, `include` and inheritance: tables merge key by key, children are matched by their ids,
//! everything else replaces; a probe replaces the probe below it.

use std::path::Path;

use super::diagnostic::Severity;
use super::keys;
use super::source::{self, Source, Span};
use super::value::{self, Data, Table, Value};
use super::variables::Variables;

/// Reads one file, and tells where it is named if it cannot be read.
pub fn read_file(vars: &mut Variables, path: &Path, scope: usize, named: Option<Span>) -> Option<Table> {
    let wrong = |vars: &mut Variables, why: String| {
        let message = format!("cannot read {}: {why}", path.display());
        match named {
            Some(span) => vars.report.error(span, message),
            None => vars.report.placeless(Severity::Error, message),
        };
    };
    let moved = vars.moved.as_ref().map(|moved| moved.now(path));
    let path = moved.as_deref().unwrap_or(path);
    let bytes = match vars.files.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            wrong(vars, plain(&error));
            return None;
        }
    };
    if u32::try_from(bytes.len()).is_err() {
        wrong(vars, "it is larger than 4 GiB".to_owned());
        return None;
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            wrong(vars, format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()));
            return None;
        }
    };
    let dir = source::directory(path);
    let file = vars.report.sources.add(Source { name: path.display().to_string(), dir, text, scope });
    Some(value::parse(&mut vars.report, file))
}

/// Reads a tree file with its layers.
pub fn read_tree(vars: &mut Variables, path: &Path, scope: usize, named: Option<Span>) -> Option<Table> {
    let mut tree = read_file(vars, path, scope, named)?;
    for layer in vars.files.layers(path) {
        if let Some(layer) = read_file(vars, &layer, scope, None) {
            merge(&mut tree, layer);
        }
    }
    Some(tree)
}

/// Puts a table over another.
pub fn merge(base: &mut Table, over: Table) {
    for overlay in over.overlays {
        merge_child(base, overlay);
    }
    for entry in over.entries {
        if entry.key == "child" {
            let children = if let Data::List(children) = entry.value.data { children } else { Vec::new() };
            for child in children {
                if let Data::Table(child) = child.data {
                    merge_child(base, child);
                }
            }
            continue;
        }
        let Some(below) = base.entries.iter_mut().find(|below| below.key == entry.key) else {
            base.entries.push(entry);
            continue;
        };
        match (&mut below.value, entry.value) {
            (Value { data: Data::Table(below), .. }, Value { data: Data::Table(over), .. }) => {
                match entry.key.as_str() {
                    "ready" | "health" => replace_probe(below, &over),
                    "reload" => replace_rival(below, &over, ["signal", "command"]),
                    _ => {}
                }
                merge(below, over);
            }
            (value, over) => {
                *value = over;
                below.key_span = entry.key_span;
            }
        }
    }
}

fn merge_child(base: &mut Table, over: Table) {
    let same = |table: &Table| over.text("id").is_some() && table.text("id") == over.text("id");
    let child = base.entries.iter_mut().find(|entry| entry.key == "child").and_then(|entry| match &mut entry
        .value
        .data
    {
        Data::List(children) => children.iter_mut().find_map(|child| match &mut child.data {
            Data::Table(table) if same(table) => Some(table),
            _ => None,
        }),
        _ => None,
    });
    match child {
        Some(child) => merge(child, over),
        None => match base.overlays.iter_mut().find(|overlay| same(overlay)) {
            Some(overlay) => merge(overlay, over),
            None => base.overlays.push(over),
        },
    }
}

/// An inner probe takes the outer one away, with all that only means something beside it; so does `class` to `every`.
fn replace_probe(below: &mut Table, over: &Table) {
    let is_probe = |key: &str| keys::PROBES.contains(&key);
    replace_rival(below, over, ["every", "class"]);
    if over.entries.iter().any(|entry| is_probe(&entry.key)) {
        let detail = |key: &str| keys::PROBE_DETAILS.iter().any(|(detail, _)| *detail == key);
        below.entries.retain(|entry| !is_probe(&entry.key) && !detail(&entry.key));
    }
}

/// Of two keys that exclude each other the inner one takes the outer one away.
fn replace_rival(below: &mut Table, over: &Table, [one, other]: [&str; 2]) {
    for (stays, goes) in [(one, other), (other, one)] {
        if over.has(stays) {
            below.entries.retain(|entry| entry.key != goes);
        }
    }
}

/// An error of the operating system without its number.
pub fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}
