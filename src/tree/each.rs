//! `each`: the items for which one entry makes one child after the other.

use std::collections::BTreeMap;

use super::expand::{Level, MOST_CHILDREN, relative};
use super::layers;
use super::source::Span;
use super::value::{Data, Table, Value};
use super::variables::{Context, Datum, Item, Mode, Variables};

/// An item: `${x}`, and `${x.field}`.
type Row = (Option<Datum>, BTreeMap<String, Datum>);

/// The items of an `each`, each with those of the enclosing ones.
pub fn items(vars: &mut Variables, each: &Value, table: &Table, level: &Level) -> Vec<Vec<Item>> {
    let Some(entry) = each.table().filter(|each| each.entries.len() == 1).map(|each| each.entries[0].clone())
    else {
        vars.report
            .error(each.span, "`each` takes one name")
            .hint("each.x = [...]; for more, nest supervisors");
        return Vec::new();
    };
    let scope = vars.report.sources.file(each.span.file).scope;
    let taken = vars.names(scope).contains(&entry.key)
        || level.items.iter().any(|i| i.name == entry.key && i.scope == scope);
    if let Err(message) = check_name(&entry.key) {
        vars.report.error(entry.key_span, message).allowed("a-z, 0-9, _; a letter first");
    } else if taken {
        vars.report.error(entry.key_span, format!("there is a variable `{}` already", entry.key));
    }
    if table.text("id").is_some_and(|id| !uses(id, &entry.key)) {
        let span = table.get("id").map_or(each.span, |id| id.span);
        vars.report.error(span, format!("`id` must use ${{{}}}: one entry, many children", entry.key));
        return Vec::new();
    }
    let item = |index, datum, fields| Item { name: entry.key.clone(), scope, datum, fields, index };
    let mut all = Vec::new();
    for (index, (datum, fields)) in item_values(vars, &entry.key, &entry.value, level).into_iter().enumerate()
    {
        let mut items = level.items.clone();
        items.push(item(index, datum, fields));
        all.push(items);
    }
    all
}

fn item_values(vars: &mut Variables, name: &str, value: &Value, level: &Level) -> Vec<Row> {
    let context = Context { items: &level.items, me: None, mode: Mode::Replace };
    let plain = |datum| (Some(datum), BTreeMap::new());
    match &value.data {
        Data::List(list) if list.iter().all(|element| element.table().is_some()) => {
            let tables: Vec<&Table> = list.iter().filter_map(Value::table).collect();
            rows(vars, &tables, &context)
        }
        Data::List(list) => {
            let list = vars.list(list, &context).unwrap_or_default();
            list.into_iter().map(|text| plain(Datum::Text(text))).collect()
        }
        Data::Integer(count) => numbers(vars, *count, value.span),
        Data::Text(text) => match vars.replace(value.span, text, &context) {
            Some(Datum::List(list)) => list.into_iter().map(|text| plain(Datum::Text(text))).collect(),
            Some(Datum::Text(file)) if file.ends_with(".toml") => {
                inventory(vars, name, &file, value.span, &context)
            }
            Some(datum) => match datum.integer() {
                Some(count) => numbers(vars, count, value.span),
                None => no_items(vars, value.span),
            },
            None => Vec::new(),
        },
        _ => no_items(vars, value.span),
    }
}

fn no_items(vars: &mut Variables, span: Span) -> Vec<Row> {
    let allowed = "a list of strings, a list of tables, an integer, \"file.toml\"";
    vars.report.error(span, "`each` has nothing to repeat over").allowed(allowed);
    Vec::new()
}

fn numbers(vars: &mut Variables, count: i64, span: Span) -> Vec<Row> {
    if (0..=MOST_CHILDREN as i64).contains(&count) {
        return (0..count).map(|n| (Some(Datum::Integer(n)), BTreeMap::new())).collect();
    }
    vars.report
        .error(span, format!("`each` cannot repeat {count} times"))
        .allowed(format!("0 to {MOST_CHILDREN}"));
    Vec::new()
}

fn rows(vars: &mut Variables, tables: &[&Table], context: &Context<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for table in tables {
        let mut fields = BTreeMap::new();
        for entry in &table.entries {
            if entry.key == "index" || !is_name(&entry.key) {
                let message = format!("`{}` cannot be the name of a field", entry.key);
                vars.report.error(entry.key_span, message).allowed("a-z, 0-9, _; not `index`");
            }
            if let Some(datum) = vars.datum_in(&entry.value, context) {
                fields.insert(entry.key.clone(), datum);
            }
        }
        rows.push((None, fields));
    }
    rows
}

/// `each.x = "file.toml"`: its `[[x]]` entries.
fn inventory(vars: &mut Variables, name: &str, file: &str, span: Span, context: &Context<'_>) -> Vec<Row> {
    let source = vars.report.sources.file(span.file);
    let (path, scope) = (relative(&source.dir.join(file)), source.scope);
    let Some(table) = layers::read_file(vars, &path, scope, Some(span)) else {
        return Vec::new();
    };
    for entry in table.entries.iter().filter(|entry| entry.key != name) {
        vars.report
            .error(entry.key_span, format!("unknown key `{}` in an inventory of [[{name}]]", entry.key));
    }
    if !table.has(name) {
        vars.report.error(span, format!("{file} has no [[{name}]]"));
    }
    let tables: Vec<&Table> = table.tables(name).collect();
    rows(vars, &tables, context)
}

/// `[a-z][a-z0-9_]*`, and none of the words that mean something by themselves.
pub fn check_name(name: &str) -> Result<(), String> {
    if ["tree", "host", "dir", "id", "path", "arg", "env"].contains(&name) {
        return Err(format!("`{name}` means something by itself in ${{}}: take another name"));
    }
    if is_name(name) { Ok(()) } else { Err(format!("`{name}` cannot be the name of a variable")) }
}

/// `[a-z][a-z0-9_]*`.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits)
}

/// Whether an id uses an item.
fn uses(id: &str, name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    id.match_indices(name).any(|(at, _)| {
        id[..at].contains("${") && !id[..at].ends_with(word) && !id[at + name.len()..].starts_with(word)
    })
}
