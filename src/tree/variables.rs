//! `${...}`: scopes of variables, and the substitution of them in strings.
//!
//! Each file has a scope: its `[vars]`, over which a flag, an environment variable, a layer or the including file may
//! go. A value sees the scope of the file it is written in, wherever it is used. Variables are computed when first
//! used, so their order does not matter, and a cycle is found as one that is asked for while it is being computed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::diagnostic::Report;
use super::expression::{self, Expression};
use super::files::Files;
use super::hints;
use super::source::{Moved, Span};
use super::value::{Data, Value};
use super::words;

/// What a variable is.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A list of strings.
    List(Vec<String>),
}

/// The current item of an enclosing `each`.
#[derive(Clone, Debug)]
pub struct Item {
    /// `x` of `each.x`.
    pub name: String,
    /// Only values of this scope see it.
    pub scope: usize,
    /// `${x}`.
    pub datum: Option<Datum>,
    /// `${x.field}`.
    pub fields: BTreeMap<String, Datum>,
    /// `${x.index}`.
    pub index: usize,
}

/// In whose name a value is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Enclosing `each` items, the innermost last.
    pub items: &'a [Item],
    /// `${id}` and `${path}`.
    pub me: Option<(&'a str, &'a str)>,
    /// What is done with variables.
    pub mode: Mode,
}

/// What is done with variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are replaced.
    #[default]
    Replace,
    /// In a template: they are replaced, but `${arg.name}` stays for the start of an instance.
    Template,
    /// A value with variables is not looked at: only what is literally there is checked.
    Literal,
}

/// A variable with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Value.
    pub datum: Datum,
    /// From where.
    pub origin: Origin,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A file.
    File(Span),
    /// `--var`.
    Flag,
    /// `WOODWARD_VAR_NAME`.
    Environment,
}

/// Everything a `${...}` can name, and the report of what is wrong.
#[derive(Debug, Default)]
pub struct Variables {
    /// What is wrong so far.
    pub report: Report,
    /// `${tree}`, once known.
    pub tree: Option<String>,
    /// `${host}`.
    pub host: String,
    /// Where files are read from.
    pub files: Files,
    /// Where the tree will be carried out, if elsewhere.
    pub moved: Option<Moved>,
    /// `${env.NAME}`.
    pub environment: BTreeMap<String, String>,
    /// Names in it that come from an environment file: their values are never shown.
    pub secrets: BTreeSet<String>,
    used_secrets: BTreeSet<String>,
    scopes: Vec<BTreeMap<String, State>>,
    /// Variables that are being computed.
    chain: Vec<String>,
}

#[derive(Clone, Debug)]
enum State {
    Written(Value),
    Busy,
    Known(Variable),
    Broken,
}

/// Why a `${...}` has no value.
enum Fault {
    /// To be reported at this piece of the string.
    Here { range: Range<usize>, message: String, hint: Option<String> },
    /// Reported where it was found, or not to be looked at.
    Silent,
}

impl Variables {
    /// A new scope of these variables.
    pub fn scope(&mut self) -> usize {
        self.scopes.push(BTreeMap::new());
        self.scopes.len() - 1
    }

    /// Declares a variable as written in a file.
    pub fn declare(&mut self, scope: usize, name: &str, value: Value) {
        self.scopes[scope].insert(name.to_owned(), State::Written(value));
    }

    /// Gives a variable a value from outside of its file.
    pub fn set(&mut self, scope: usize, name: &str, variable: Variable) {
        self.scopes[scope].insert(name.to_owned(), State::Known(variable));
    }

    /// The declared names of a scope.
    pub fn names(&self, scope: usize) -> Vec<String> {
        self.scopes[scope].keys().cloned().collect()
    }

    /// How a variable is written, while it has not been computed.
    pub fn written(&self, scope: usize, name: &str) -> Option<&Value> {
        match self.scopes[scope].get(name) {
            Some(State::Written(value)) => Some(value),
            _ => None,
        }
    }

    /// Computes all variables of a scope; what has been forgotten since is computed anew.
    pub fn compute(&mut self, scope: usize) -> Vec<(String, Variable)> {
        let mut all = Vec::new();
        for name in self.names(scope) {
            if let Ok(Some(variable)) = self.variable(scope, &name) {
                all.push((name, variable));
            }
        }
        all
    }

    /// Replaces the variables in a string. `None`: reported, or not to be looked at in this mode.
    pub fn replace(&mut self, span: Span, text: &str, context: &Context<'_>) -> Option<Datum> {
        match self.pieces(span, text, context) {
            Ok(datum) => Some(datum),
            Err(Fault::Silent) => None,
            Err(Fault::Here { range, message, hint }) => {
                let at = self.inside(span, text, &range);
                self.report.error(at, message).maybe_hint(hint);
                None
            }
        }
    }

    /// The same where a string is wanted.
    pub fn text(&mut self, span: Span, text: &str, context: &Context<'_>) -> Option<String> {
        match self.replace(span, text, context)? {
            Datum::List(_) => {
                self.report.error(span, "a list of strings where one string is wanted");
                None
            }
            datum => Some(datum.to_string()),
        }
    }

    /// The place of a piece of a string, if the string stands in the file as it is; else all of it.
    pub fn inside(&self, span: Span, text: &str, range: &Range<usize>) -> Span {
        let written = self.report.sources.text(span);
        let quotes = match written {
            _ if written == text => Some(0),
            _ if written.len() == text.len() + 2 && written.get(1..written.len() - 1) == Some(text) => {
                Some(1)
            }
            _ => None,
        };
        let piece = u32::try_from(range.start).ok().zip(u32::try_from(range.end.max(range.start + 1)).ok());
        match (quotes, piece) {
            (Some(quotes), Some((start, end))) => {
                let from = span.start + quotes;
                Span { start: from + start, end: from + end, ..span }
            }
            _ => span,
        }
    }

    fn pieces(&mut self, span: Span, text: &str, context: &Context<'_>) -> Result<Datum, Fault> {
        let mut out = String::new();
        let mut at = 0;
        while let Some(dollar) = text[at..].find('$').map(|n| at + n) {
            out.push_str(&text[at..dollar]);
            let rest = &text[dollar..];
            if rest.starts_with("$${") {
                out.push_str(if context.mode == Mode::Template { "$${" } else { "${" });
                at = dollar + 3;
                continue;
            }
            if !rest.starts_with("${") {
                out.push('$');
                at = dollar + 1;
                continue;
            }
            if context.mode == Mode::Literal {
                return Err(Fault::Silent);
            }
            let end = words::end_of_variable(text, dollar)
                .ok_or_else(|| here(dollar..text.len(), "`${` is never closed"))?;
            let datum = self
                .one(span, &text[dollar + 2..end - 1], context)
                .map_err(|fault| fault.moved(dollar + 2))?;
            if dollar == 0 && end == text.len() {
                return Ok(escape(datum, context.mode));
            }
            if let Datum::List(_) = datum {
                let message = "a list can only be an element or a word of its own, not a part of a string";
                return Err(here(dollar..end, message));
            }
            out.push_str(&escape(datum, context.mode).to_string());
            at = end;
        }
        out.push_str(&text[at..]);
        Ok(Datum::Text(out))
    }

    /// What stands between the braces.
    fn one(&mut self, span: Span, inner: &str, context: &Context<'_>) -> Result<Datum, Fault> {
        if let Some(rest) = inner.trim_start().strip_prefix("env.") {
            let name =
                &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())];
            let tail = &rest[name.len()..];
            let set = self.env(name).map(Datum::Text);
            if let Some(default) = tail.strip_prefix(":-") {
                return set
                    .map_or_else(|| self.pieces(span, default, context), Ok)
                    .map_err(|fault| fault.all(inner));
            }
            if let Some(message) = tail.strip_prefix(":?") {
                return set.ok_or_else(|| here(0..inner.len(), format!("{name} is not set: {message}")));
            }
        }
        let expression = expression::parse(inner).map_err(|wrong| here(wrong.range, wrong.message))?;
        match expression {
            Expression::Name(name, range) => self.name(span, &name, range, context),
            expression => self.integer(span, &expression, context).map(Datum::Integer),
        }
    }

    /// A variable of the environment.
    fn env(&mut self, name: &str) -> Option<String> {
        if self.secrets.contains(name) {
            self.used_secrets.insert(name.to_owned());
        }
        self.environment.get(name).cloned()
    }

    /// Takes the values of environment files out of a text that is going to be shown.
    pub fn hide_secrets(&self, text: &mut String) {
        for name in &self.used_secrets {
            if let Some(value) = self.environment.get(name).filter(|value| !value.is_empty()) {
                *text = text.replace(value, "(not shown)");
            }
        }
    }

    fn integer(&mut self, span: Span, expression: &Expression, context: &Context<'_>) -> Result<i64, Fault> {
        match expression {
            Expression::Number(number) => Ok(*number),
            Expression::Minus(inner) => {
                let inner = self.integer(span, inner, context)?;
                inner.checked_neg().ok_or_else(|| here(0..1, format!("-({inner}) does not fit into 64 bits")))
            }
            Expression::Operation(left, operator, right, range) => {
                let left = self.integer(span, left, context)?;
                let right = self.integer(span, right, context)?;
                expression::compute(left, *operator, right).map_err(|message| here(range.clone(), message))
            }
            Expression::Name(name, range) => {
                if name.starts_with("arg.") && context.mode == Mode::Template {
                    return Err(here(
                        range.clone(),
                        format!("`{name}` is a text; it cannot be computed with"),
                    ));
                }
                let datum = self.name(span, name, range.clone(), context)?;
                datum
                    .integer()
                    .ok_or_else(|| here(range.clone(), format!("`{name}` is {datum:#}, no integer")))
            }
        }
    }

    /// The value of a name.
    fn name(
        &mut self,
        span: Span,
        name: &str,
        range: Range<usize>,
        context: &Context<'_>,
    ) -> Result<Datum, Fault> {
        let scope = self.report.sources.file(span.file).scope;
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        if let Some(item) = context.items.iter().rev().find(|item| item.name == first && item.scope == scope)
        {
            return item.get(rest).ok_or_else(|| item.unknown(rest, range));
        }
        let text = |text: &str| Ok(Datum::Text(text.to_owned()));
        match (first, rest) {
            ("env", Some(variable)) => match self.env(variable) {
                Some(value) => text(&value),
                None => Err(Fault::Here {
                    range,
                    message: format!("{variable} is not set in woodward's environment"),
                    hint: Some(format!("give it a default: ${{env.{variable}:-...}}")),
                }),
            },
            ("arg", Some(_)) if context.mode == Mode::Template => Ok(Datum::Text(format!("${{{name}}}"))),
            ("arg", Some(_)) => Err(here(range, format!("`{name}` is known only in a template"))),
            ("tree", None) => match &self.tree {
                Some(tree) => text(tree),
                None => Err(here(range, "`tree` is the id of the root; it is not known here")),
            },
            ("host", None) => text(&self.host),
            ("dir", None) => {
                let dir = &self.report.sources.file(span.file).dir;
                let then = self.moved.as_ref().map(|moved| moved.then(dir));
                text(&then.as_ref().unwrap_or(dir).display().to_string())
            }
            ("id" | "path", None) => match context.me {
                Some((id, path)) => text(if first == "id" { id } else { path }),
                None => Err(here(
                    range,
                    format!("`{first}` is that of the worker that uses the value; there is none here"),
                )),
            },
            _ => match self.variable(scope, name).map_err(|fault| fault.moved(range.start))? {
                Some(variable) => Ok(variable.datum),
                None => Err(self.unknown(scope, name, range, context)),
            },
        }
    }

    fn unknown(&self, scope: usize, name: &str, range: Range<usize>, context: &Context<'_>) -> Fault {
        let items = context.items.iter().filter(|item| item.scope == scope).map(|item| item.name.as_str());
        let known = self.scopes[scope]
            .keys()
            .map(String::as_str)
            .chain(items)
            .chain(["tree", "host", "dir", "id", "path"]);
        let hint = hints::nearest(name, known).map(|name| format!("did you mean `{name}`?"));
        let environment = self.environment.contains_key(name).then(|| format!("did you mean `env.{name}`?"));
        Fault::Here { range, message: format!("unknown variable `{name}`"), hint: hint.or(environment) }
    }

    /// A variable of `[vars]`, computed if it has not been yet. `None`: there is no such.
    fn variable(&mut self, scope: usize, name: &str) -> Result<Option<Variable>, Fault> {
        let Some(state) = self.scopes[scope].get_mut(name) else { return Ok(None) };
        let value = match std::mem::replace(state, State::Busy) {
            State::Known(variable) => {
                *state = State::Known(variable.clone());
                return Ok(Some(variable));
            }
            State::Broken => {
                *state = State::Broken;
                return Err(Fault::Silent);
            }
            State::Busy => {
                let from = self.chain.iter().position(|link| link == name).unwrap_or(0);
                let chain = self.chain[from..].join(" -> ");
                return Err(here(
                    0..name.len(),
                    format!("variable `{name}` is made of itself: {chain} -> {name}"),
                ));
            }
            State::Written(value) => value,
        };
        self.chain.push(name.to_owned());
        let datum = if self.chain.len() > 100 {
            self.report.error(value.span, "variables of variables go too deep here: more than 100");
            None
        } else {
            self.datum(&value)
        };
        self.chain.pop();
        let variable = datum.map(|datum| Variable { datum, origin: Origin::File(value.span) });
        let state = variable.clone().map_or(State::Broken, State::Known);
        self.scopes[scope].insert(name.to_owned(), state);
        variable.map(Some).ok_or(Fault::Silent)
    }

    /// The value of a variable as it is written in a file.
    pub fn datum(&mut self, value: &Value) -> Option<Datum> {
        self.datum_in(value, &Context::default())
    }

    /// A string, integer, boolean or list of strings, variables replaced.
    pub fn datum_in(&mut self, value: &Value, context: &Context<'_>) -> Option<Datum> {
        match &value.data {
            Data::Text(text) => self.replace(value.span, text, context),
            Data::Integer(number) => Some(Datum::Integer(*number)),
            Data::Boolean(boolean) => Some(Datum::Boolean(*boolean)),
            Data::List(list) => self.list(list, context).map(Datum::List),
            _ => {
                let kind = value.kind();
                self.report
                    .error(value.span, format!("{kind} cannot be the value of a variable"))
                    .allowed("a string, an integer, a boolean, a list of strings");
                None
            }
        }
    }

    /// A list of strings; an element that is only a list is spliced in.
    pub fn list(&mut self, list: &[Value], context: &Context<'_>) -> Option<Vec<String>> {
        let mut all = Some(Vec::new());
        for element in list {
            let datum = match &element.data {
                Data::Text(text) => self.replace(element.span, text, context),
                _ => {
                    let kind = element.kind();
                    self.report.error(element.span, format!("{kind} in a list of strings"));
                    None
                }
            };
            all = match (all, datum) {
                (Some(mut all), Some(datum)) => {
                    all.extend(datum.elements());
                    Some(all)
                }
                _ => None,
            };
        }
        all
    }
}

impl Datum {
    /// As elements of a list: a list is its own, anything else is one.
    pub fn elements(self) -> Vec<String> {
        match self {
            Datum::List(list) => list,
            datum => vec![datum.to_string()],
        }
    }

    /// The integer it is or is spelled by.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Datum::Integer(number) => Some(*number),
            Datum::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The boolean it is or is spelled by.
    pub fn boolean(&self) -> Option<bool> {
        match self {
            Datum::Boolean(boolean) => Some(*boolean),
            Datum::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A text from outside, read as what this variable is.
    pub fn like(&self, text: &str) -> Option<Datum> {
        match self {
            Datum::Text(_) => Some(Datum::Text(text.to_owned())),
            Datum::Integer(_) => text.parse().ok().map(Datum::Integer),
            Datum::Boolean(_) => text.parse().ok().map(Datum::Boolean),
            Datum::List(_) => Some(Datum::List(text.split_whitespace().map(str::to_owned).collect())),
        }
    }
}

/// Plain: as it is put into a string. Alternate: as it is written in a file.
impl std::fmt::Display for Datum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Datum::Text(text) if f.alternate() => write!(f, "{}", quoted(text)),
            Datum::Text(text) => f.write_str(text),
            Datum::Integer(number) => write!(f, "{number}"),
            Datum::Boolean(boolean) => write!(f, "{boolean}"),
            Datum::List(list) => {
                write!(f, "[{}]", list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A string as TOML writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Item {
    fn get(&self, field: Option<&str>) -> Option<Datum> {
        match field {
            None => self.datum.clone(),
            Some("index") => i64::try_from(self.index).ok().map(Datum::Integer),
            Some(field) => self.fields.get(field).cloned(),
        }
    }

    fn unknown(&self, field: Option<&str>, range: Range<usize>) -> Fault {
        let name = &self.name;
        let fields = || self.fields.keys().map(String::as_str).chain(["index"]);
        let (message, hint) = match field {
            None => (
                format!("`{name}` is a table"),
                fields().next().map(|field| format!("name a field: `{name}.{field}`")),
            ),
            Some(field) => (
                format!("this `{name}` has no field `{field}`"),
                hints::nearest(field, fields()).map(|field| format!("did you mean `{name}.{field}`?")),
            ),
        };
        Fault::Here { range, message, hint }
    }
}

fn here(range: Range<usize>, message: impl Into<String>) -> Fault {
    Fault::Here { range, message: message.into(), hint: None }
}

/// In a template, what comes out of a variable is not looked at again when an instance is started.
fn escape(datum: Datum, mode: Mode) -> Datum {
    match datum {
        Datum::Text(text) if mode == Mode::Template && !text.starts_with("${arg.") => {
            Datum::Text(text.replace("${", "$${"))
        }
        datum => datum,
    }
}

impl Fault {
    /// The same fault in a text that begins so many bytes earlier.
    fn moved(self, by: usize) -> Fault {
        match self {
            Fault::Here { range, message, hint } => {
                Fault::Here { range: range.start + by..range.end + by, message, hint }
            }
            Fault::Silent => Fault::Silent,
        }
    }

    /// The same fault, about all of a text.
    fn all(self, text: &str) -> Fault {
        match self {
            Fault::Here { message, hint, .. } => Fault::Here { range: 0..text.len(), message, hint },
            Fault::Silent => Fault::Silent,
        }
    }
}
