//! TOML values that remember where they stand, in the order of the text.
//!
//! Read by the `toml` crate, which goes on after a syntax error, so that all of them are reported. The crate reads
//! TOML 1.1; what TOML 1.0 would refuse (an inline table over several lines) is refused here too, so that every other
//! tool can read a tree file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Report;
use super::source::{FileId, Span};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Value {
    /// Where.
    pub span: Span,
    /// What.
    pub data: Data,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Data {
    /// A string; variables are still in it.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A date or a time; no key takes one.
    Date,
    /// A list.
    List(Vec<Value>),
    /// A table.
    Table(Table),
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its header, or all of an inline table.
    pub span: Span,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Children that a layer names and the file below it does not (yet): an item of an `each`, or a new child.
    pub overlays: Vec<Table>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Value.
    pub value: Value,
}

impl Table {
    /// An empty one.
    pub fn empty(span: Span) -> Table {
        Table { span, entries: Vec::new(), overlays: Vec::new() }
    }

    /// An entry by its key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// A value by its key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// A string by its key, as written.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::text)
    }

    /// The tables in the list under a key: `[[child]]`.
    pub fn tables(&self, key: &str) -> impl Iterator<Item = &Table> {
        self.get(key).and_then(Value::list).unwrap_or_default().iter().filter_map(Value::table)
    }
}

impl Value {
    /// The string.
    pub fn text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data { Some(text) } else { None }
    }

    /// The elements.
    pub fn list(&self) -> Option<&[Value]> {
        if let Data::List(list) = &self.data { Some(list) } else { None }
    }

    /// The table.
    pub fn table(&self) -> Option<&Table> {
        if let Data::Table(table) = &self.data { Some(table) } else { None }
    }

    /// What it is, with an article.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Text(_) => "a string",
            Data::Integer(_) => "an integer",
            Data::Float(_) => "a number",
            Data::Boolean(_) => "a boolean",
            Data::Date => "a date",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
        }
    }
}

/// Reads the text of a file; syntax errors are reported, what could be read is returned.
pub fn parse(report: &mut Report, file: FileId) -> Table {
    let text = report.sources.file(file).text.clone();
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        report.error(span(file, &range), message);
    }
    let mut convert = Convert { report, file, text: &text };
    let range = table.span();
    convert.table(table.into_inner(), &range)
}

fn span(file: FileId, range: &std::ops::Range<usize>) -> Span {
    let byte = |at| u32::try_from(at).unwrap_or(u32::MAX);
    Span { file, start: byte(range.start), end: byte(range.end) }
}

struct Convert<'r> {
    report: &'r mut Report,
    file: FileId,
    text: &'r str,
}

impl Convert<'_> {
    fn table(&mut self, table: DeTable<'_>, range: &std::ops::Range<usize>) -> Table {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| Entry {
                key_span: span(self.file, &key.span()),
                key: key.into_inner().into_owned(),
                value: self.value(value),
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        Table { span: span(self.file, range), entries, overlays: Vec::new() }
    }

    fn value(&mut self, value: Spanned<DeValue<'_>>) -> Value {
        let range = value.span();
        let at = span(self.file, &range);
        let data = match value.into_inner() {
            DeValue::String(text) => Data::Text(text.into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Data::Integer(number),
                Err(_) => {
                    self.report.error(at, "the number does not fit into 64 bits");
                    Data::Integer(0)
                }
            },
            DeValue::Float(number) => Data::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => Data::Boolean(boolean),
            DeValue::Datetime(_) => Data::Date,
            DeValue::Array(list) => Data::List(list.into_iter().map(|value| self.value(value)).collect()),
            DeValue::Table(table) => {
                let table = self.table(table, &range);
                self.one_line(&table);
                Data::Table(table)
            }
        };
        Value { span: at, data }
    }

    /// TOML 1.0: no line break between the entries of an inline table, no comma after the last.
    fn one_line(&mut self, table: &Table) {
        let text = self.report.sources.text(table.span);
        if !(text.starts_with('{') && text.ends_with('}')) {
            return;
        }
        let mut at = table.span.start as usize + 1;
        let mut broken = false;
        for entry in &table.entries {
            broken |= self.breaks(at, entry.key_span.start as usize);
            broken |= self.breaks(entry.key_span.end as usize, entry.value.span.start as usize);
            at = entry.value.span.end as usize;
        }
        broken |= self.breaks(at, table.span.end as usize);
        if broken {
            self.report
                .error(table.span, "an inline table over several lines is not TOML 1.0")
                .hint("keep it on one line, or write dotted keys or a [header]");
        } else if self.text.get(at..table.span.end as usize).is_some_and(|rest| rest.contains(',')) {
            self.report.error(table.span, "a comma behind the last entry of an inline table is not TOML 1.0");
        }
    }

    fn breaks(&self, from: usize, to: usize) -> bool {
        self.text.get(from..to).is_some_and(|gap| gap.contains('\n'))
    }
}
